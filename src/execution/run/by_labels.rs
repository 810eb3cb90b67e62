//! Scores groups of recordings: by their number of labels (`by_labels.csv`) and by the values of tags (`by_tag.csv`).
//!
//! A model may do well on solo recordings and badly on mixtures, and a single number hides it. Scores of two groups are not
//! comparable by themselves, because chance differs too: each group has its own trivial baselines.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::scoring::FinishedTrials;
use timbre_evaluation::{
    metrics::DecisionRule,
    predictions::{Predictions, WindowPredictions},
};
use timbre_experiment::Experiment;
use timbre_runs::run_dir::{ClipTruth, ResultRow, SplitRecord, TrialRecord};

/// The group of all recordings with two or more labels.
const SEVERAL: &str = "2+";

/// The rows of each group, with its name.
pub fn rows(experiment: &Experiment, decision_rule: &DecisionRule, trials: &[TrialRecord]) -> Vec<(String, ResultRow)> {
    let clips = trials.iter().flat_map(|trial| trial.splits.iter().flat_map(|split| &split.clips));
    let mut numbers: Vec<usize> = clips.map(|clip| clip.truth.len()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let mut rows = Vec::new();
    let mut add = |name: String, holds: &dyn Fn(usize) -> bool| {
        let own = rows_of_group(experiment, decision_rule, trials, &|clip| holds(clip.truth.len()));
        rows.extend(own.into_iter().map(|row| (name.clone(), row)));
    };
    for &number in &numbers {
        add(number.to_string(), &|labels| labels == number);
    }
    if numbers.iter().filter(|&&number| number >= 2).count() > 1 {
        add(SEVERAL.to_owned(), &|labels| labels >= 2);
    }
    rows
}

/// The rows of the recordings with each value of a tag, with tag and value. `tags`: those of the recordings, by their paths.
pub fn rows_by_tag(
    experiment: &Experiment,
    decision_rule: &DecisionRule,
    trials: &[TrialRecord],
    wanted: &[String],
    tags: &HashMap<&str, BTreeMap<String, String>>,
) -> Vec<((String, String), ResultRow)> {
    let mut rows = Vec::new();
    for tag in wanted {
        let value = |clip: &ClipTruth| tags.get(clip.path.as_str()).and_then(|own| own.get(tag));
        let clips = trials.iter().flat_map(|trial| trial.splits.iter().flat_map(|split| &split.clips));
        let values: BTreeSet<&String> = clips.filter_map(value).collect();
        let mut values: Vec<&String> = values.into_iter().collect();
        // Numbers in their order, then names.
        values.sort_by(|a, b| leading_number(a).total_cmp(&leading_number(b)));
        for name in values {
            let own = rows_of_group(experiment, decision_rule, trials, &|clip| value(clip) == Some(name));
            rows.extend(own.into_iter().map(|row| ((tag.clone(), name.clone()), row)));
        }
    }
    rows
}

/// The number with which a value begins; infinity without one.
fn leading_number(value: &str) -> f64 {
    value.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(f64::INFINITY)
}

fn rows_of_group(
    experiment: &Experiment,
    decision_rule: &DecisionRule,
    trials: &[TrialRecord],
    holds: &dyn Fn(&ClipTruth) -> bool,
) -> Vec<ResultRow> {
    let mut done = FinishedTrials::new(decision_rule.clone());
    trials.iter().map(|trial| restrict(trial, holds)).for_each(|trial| done.push(experiment, trial));
    done.rows(experiment)
}

/// The trial restricted to recordings that pass `holds`.
fn restrict(trial: &TrialRecord, holds: &dyn Fn(&ClipTruth) -> bool) -> TrialRecord {
    let restricted = |split: &SplitRecord| {
        let kept: Vec<usize> = (0..split.clips.len()).filter(|&clip| holds(&split.clips[clip])).collect();
        let n_classes = split.predictions.n_classes;
        let probabilities = kept.iter().flat_map(|&clip| split.predictions.row(clip)).copied().collect();
        SplitRecord {
            split: split.split.clone(),
            clips: kept.iter().map(|&clip| split.clips[clip].clone()).collect(),
            predictions: Predictions { n_classes, probabilities },
            windows: split.windows.as_ref().map(|windows| windows_of(windows, &kept)),
            curve: Vec::new(),
        }
    };
    let splits = trial.splits.iter().map(restricted).filter(|split| !split.clips.is_empty()).collect();
    TrialRecord { splits, epochs: Vec::new(), ..trial.clone() }
}

fn windows_of(windows: &WindowPredictions, recordings: &[usize]) -> WindowPredictions {
    let probabilities = recordings.iter().flat_map(|&r| windows.rows_of(r)).flatten().copied().collect();
    let starts: Vec<Vec<f64>> = recordings.iter().map(|&r| windows.starts[windows.windows_of(r)].to_vec()).collect();
    WindowPredictions::new(Predictions { n_classes: windows.n_classes, probabilities }, &starts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbre_core::labels::Task;
    use timbre_runs::run_dir::Trial;

    fn trial() -> TrialRecord {
        let truths = [vec![0], vec![0, 1], vec![2], vec![0, 1, 2], vec![1]];
        let clips = truths.iter().enumerate().map(|(i, truth)| ClipTruth {
            path: format!("{i}.wav"),
            song: i.to_string(),
            truth: truth.clone().into(),
        });
        // Correct on solo recordings; never predicts the second instrument.
        let probabilities = vec![0.9, 0.0, 0.0, 0.9, 0.1, 0.0, 0.0, 0.0, 0.8, 0.9, 0.0, 0.0, 0.0, 0.7, 0.0];
        let predictions = Predictions { n_classes: 3, probabilities };
        // The second recording has two windows, each other one has one.
        let starts = [1, 2, 1, 1, 1].map(|n| (0..n).map(f64::from).collect::<Vec<_>>());
        let of_windows = [0, 1, 1, 2, 3, 4].iter().flat_map(|&r: &usize| predictions.row(r)).copied().collect();
        let windows = WindowPredictions::new(Predictions { n_classes: 3, probabilities: of_windows }, &starts);
        let split = |name: &str| SplitRecord {
            split: name.to_owned(),
            clips: clips.clone().collect(),
            predictions: predictions.clone(),
            windows: (name == "test").then(|| windows.clone()),
            curve: Vec::new(),
        };
        TrialRecord {
            trial: Trial { features: "mel".into(), model: "knn".into(), seed: 1 },
            trained_on: vec![1, 1, 1],
            splits: vec![split("validation"), split("test")],
            windows_hash: None,
            epochs: Vec::new(),
            search: None,
            notes: Default::default(),
            fit_seconds: 0.0,
            predict_seconds: 0.0,
        }
    }

    fn experiment() -> Experiment {
        toml::from_str("[data]\nkind = \"demo\"\n[evaluate]\ntask = \"multi_label\"\nbootstrap = 0").unwrap()
    }

    #[test]
    fn each_number_of_labels_has_its_own_scores_and_baselines() {
        let decision_rule = DecisionRule { task: Task::MultiLabel, ..DecisionRule::default() };
        let rows = rows(&experiment(), &decision_rule, &[trial()]);
        for split in ["validation", "test"] {
            let of = |group: &str, model: &str| {
                let found = rows.iter().find(|(name, r)| name == group && r.trial.model == model && r.split == split);
                &found.unwrap_or_else(|| panic!("{group} {model} {split}")).1
            };
            assert_eq!((of("1", "knn").n, of("1", "knn").metrics["exact_match"]), (3, 1.0));
            assert_eq!((of("2+", "knn").n, of("2+", "knn").metrics["exact_match"]), (2, 0.0));
            assert_eq!(of("2", "knn").metrics["recall_micro"], 0.5);
            assert_eq!((of("3", "knn").n, of("3", "nothing").metrics["hamming"]), (1, 0.0));
            assert_eq!(of("1", "nothing").metrics["hamming"], 2.0 / 3.0);
        }
    }

    #[test]
    fn each_value_of_a_tag_has_its_own_scores() {
        let tag = |value: &str| BTreeMap::from([("mood".to_owned(), value.to_owned())]);
        let (sad, glad) = (tag("sad"), tag("glad"));
        // The fifth recording has no tag.
        let tags = HashMap::from([("0.wav", sad.clone()), ("1.wav", glad.clone()), ("2.wav", sad), ("3.wav", glad)]);
        let decision_rule = DecisionRule { task: Task::MultiLabel, ..DecisionRule::default() };
        let rows = rows_by_tag(&experiment(), &decision_rule, &[trial()], &["mood".into(), "key".into()], &tags);
        let of = |value: &str| {
            let found = rows.iter().find(|((tag, own), row)| {
                tag == "mood" && own == value && row.trial.model == "knn" && row.split == "test"
            });
            &found.unwrap().1
        };
        assert_eq!((of("sad").n, of("sad").metrics["exact_match"]), (2, 1.0));
        assert_eq!((of("glad").n, of("glad").metrics["exact_match"]), (2, 0.0));
        assert!(rows.iter().all(|((tag, _), _)| tag == "mood"), "no recording has the other tag");
    }
}
