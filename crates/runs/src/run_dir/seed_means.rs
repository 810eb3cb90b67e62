//! Averages the rows of a run over its seeds, per (feature, model) and subset.
//!
//! Conventions: a metric that is undefined for one seed has no mean, because the mean of the others would refer to other data
//! than the rest of the row. The ends of an interval are the means of the ends. The interval says how far other songs would move
//! the score; it says nothing about the spread over seeds.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::ResultRow;
use timbre_evaluation::metrics::replicates::{self, metric_of_interval_bound};

/// One (feature, model) on one subset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialMean {
    pub features: String,
    pub model: String,
    pub split: String,
    /// The averaged seeds, in the order of the rows.
    pub seeds: Vec<u64>,
    pub metrics: IndexMap<String, f64>,
    /// The interval of each metric that has one.
    pub intervals: IndexMap<String, (f64, f64)>,
}

impl TrialMean {
    /// `mel.knn`: the name of a trial without its seed.
    pub fn name(&self) -> String {
        format!("{}.{}", self.features, self.model)
    }
}

/// Groups rows by (feature, model, split), in the order of first appearance: one row per seed.
pub fn replicates<'a>(
    rows: impl IntoIterator<Item = &'a ResultRow>,
) -> IndexMap<(&'a str, &'a str, &'a str), Vec<&'a ResultRow>> {
    let mut groups: IndexMap<_, Vec<&ResultRow>> = IndexMap::new();
    for row in rows {
        let key = (row.trial.features.as_str(), row.trial.model.as_str(), row.split.as_str());
        groups.entry(key).or_default().push(row);
    }
    groups
}

/// The means over seeds in the order of first appearance, without the trivial baselines.
pub fn trial_means(rows: &[ResultRow]) -> Vec<TrialMean> {
    replicates(rows.iter().filter(|row| !row.is_baseline()))
        .into_iter()
        .map(|((features, model, split), rows)| of_rows(features, model, split, &rows))
        .collect()
}

fn of_rows(features: &str, model: &str, split: &str, rows: &[&ResultRow]) -> TrialMean {
    let mean = |name: &str| {
        let values: Vec<f64> = rows.iter().filter_map(|row| row.metrics.get(name).copied()).collect();
        replicates::mean(&values).filter(|_| values.len() == rows.len())
    };
    let names = || rows[0].metrics.keys().filter(|name| metric_of_interval_bound(name).is_none());
    let interval =
        |name: &String| Some((name.clone(), (mean(&format!("{name}_low"))?, mean(&format!("{name}_high"))?)));
    TrialMean {
        features: features.to_owned(),
        model: model.to_owned(),
        split: split.to_owned(),
        seeds: rows.iter().map(|row| row.trial.seed).collect(),
        metrics: names().filter_map(|name| Some((name.clone(), mean(name)?))).collect(),
        intervals: names().filter_map(interval).collect(),
    }
}

/// The split whose scores are reported: the test split if there is one.
pub fn reported_split<'a>(splits: impl IntoIterator<Item = &'a str>) -> &'static str {
    if splits.into_iter().any(|split| split == "test") { "test" } else { "validation" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_dir::Trial;

    fn row(features: &str, model: &str, seed: u64, metrics: &[(&str, f64)]) -> ResultRow {
        ResultRow {
            trial: Trial { features: features.into(), model: model.into(), seed },
            split: "test".into(),
            n: 10,
            metrics: metrics.iter().map(|&(name, value)| (name.to_owned(), value)).collect(),
        }
    }

    #[test]
    fn scores_and_interval_ends_are_averaged_over_seeds() {
        let of = |seed, value: f64| {
            row("mel", "knn", seed, &[("accuracy", value), ("accuracy_low", value - 0.25), ("accuracy_high", 1.0)])
        };
        let means = trial_means(&[of(1, 0.5), row("-", "chance", 1, &[("accuracy", 0.1)]), of(2, 0.75)]);
        assert_eq!(means.len(), 1, "trivial baselines are left out");
        assert_eq!((means[0].name().as_str(), &means[0].seeds[..]), ("mel.knn", &[1, 2][..]));
        assert_eq!(means[0].metrics.iter().collect::<Vec<_>>(), [(&"accuracy".to_owned(), &0.625)]);
        assert_eq!(means[0].intervals["accuracy"], (0.375, 1.0));
    }

    #[test]
    fn a_metric_that_is_missing_for_one_seed_has_no_mean() {
        let rows = [
            row("mel", "knn", 1, &[("accuracy", 0.5), ("roc_auc_macro", 0.75)]),
            row("mel", "knn", 2, &[("accuracy", 0.5)]),
        ];
        assert_eq!(trial_means(&rows)[0].metrics.keys().collect::<Vec<_>>(), ["accuracy"]);
    }
}
