//! Writes `metrics.json` for DVC: nested tables of numbers, such as `test.mel.knn.accuracy`.
//!
//! With several seeds a metric is the mean, followed by `<metric>_sd` (sample standard deviation), and `seeds` is their number. The
//! ends of the bootstrap intervals belong to one seed each and are then left out. Undefined metrics are left out.

use serde_json::{Map, Value, json};

use crate::run_dir::{ResultRow, replicates};
use timbre_evaluation::metrics::replicates::{deviation, mean, metric_of_interval_bound};

/// split → features → model → metric.
pub fn metrics(rows: &[ResultRow]) -> Value {
    let mut splits = Map::new();
    for ((features, model, split), rows) in replicates(rows) {
        splits.entry(split).or_insert_with(|| json!({}))[features][model] = over_seeds(&rows);
    }
    splits.into()
}

fn over_seeds(rows: &[&ResultRow]) -> Value {
    let mut metrics = Map::new();
    for name in rows.iter().flat_map(|row| row.metrics.keys()) {
        let is_interval = metric_of_interval_bound(name).is_some_and(|of| rows[0].metrics.contains_key(of));
        if metrics.contains_key(name) || (rows.len() > 1 && is_interval) {
            continue;
        }
        let values: Vec<f64> =
            rows.iter().filter_map(|row| row.metrics.get(name).copied()).filter(|v| v.is_finite()).collect();
        let Some(mean) = mean(&values) else { continue };
        metrics.insert(name.clone(), json!(mean));
        if let Some(sd) = deviation(&values) {
            metrics.insert(format!("{name}_sd"), json!(sd));
        }
    }
    if rows.len() > 1 {
        metrics.insert("seeds".to_owned(), json!(rows.len()));
    }
    metrics.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_dir::Trial;

    fn row(model: &str, seed: u64, metrics: &[(&str, f64)]) -> ResultRow {
        ResultRow {
            trial: Trial { features: "mel".into(), model: model.into(), seed },
            split: "test".into(),
            n: 8,
            metrics: metrics.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
        }
    }

    #[test]
    fn a_single_seed_keeps_every_number_with_its_interval() {
        let rows = [row("knn", 1, &[("accuracy", 0.1 + 0.2), ("accuracy_low", 0.25), ("f1_macro", f64::NAN)])];
        assert_eq!(
            metrics(&rows).to_string(),
            r#"{"test":{"mel":{"knn":{"accuracy":0.30000000000000004,"accuracy_low":0.25}}}}"#
        );
    }

    #[test]
    fn several_seeds_give_a_mean_and_a_deviation() {
        let rows = [
            row("knn", 1, &[("accuracy", 0.25), ("accuracy_low", 0.1)]),
            row("average", 1, &[("accuracy", 1.0)]),
            row("knn", 2, &[("accuracy", 0.75), ("accuracy_low", 0.2)]),
        ];
        let found = metrics(&rows);
        let sd = 0.125f64.sqrt();
        assert_eq!(found["test"]["mel"]["knn"], json!({ "accuracy": 0.5, "accuracy_sd": sd, "seeds": 2 }));
        assert_eq!(found["test"]["mel"]["average"], json!({ "accuracy": 1.0 }));
    }
}
