//! Chooses one of the saved models of a run.

use anyhow::{Result, bail};

use timbre_core::error::UserError;
use timbre_runs::run_dir::RunRecord;

/// The named model (`<features>.<model>` where it has one seed), the only one, or the best on the validation split. Never the best on the test split: that would bias its
/// test score.
pub(super) fn choose(record: &RunRecord, saved: &[String], named: Option<&str>, run: &str) -> Result<String> {
    let list = || saved.join(", ");
    match (named, saved) {
        (_, []) => bail!(UserError::usage(match record.failures.first() {
            Some((model, why)) if record.results.is_empty() =>
                format!("the run {run} has no models: all failed, {model} because of this: {why}"),
            _ =>
                format!("the run {run} has no saved models: remove `save_models = false` and run it again with --fresh"),
        })),
        (Some(named), _) if saved.iter().any(|model| model == named) => Ok(named.to_owned()),
        (Some(named), _) => match &seeds_of(named, saved)[..] {
            [only] => Ok((*only).clone()),
            [] => bail!(UserError::usage(format!("the run {run} has no model `{named}`; it has {}", list()))),
            seeds => {
                let names = seeds.iter().map(|seed| format!("{run}:{seed}")).collect::<Vec<_>>().join(", ");
                bail!(UserError::usage(format!("`{named}` has {} seeds: name one of {names}", seeds.len())))
            }
        },
        (None, [only]) => Ok(only.clone()),
        (None, _) => match best_on_validation(record, saved) {
            Some(model) => Ok(model),
            None => bail!(UserError::usage(format!(
                "the run {run} has {} models and no validation split to choose by (choosing on the test split would bias the \
                 test score): name one, e.g. {run}:{}. Models: {}",
                saved.len(),
                saved[0],
                list()
            ))),
        },
    }
}

/// The saved models `<named>.s<seed>`.
fn seeds_of<'a>(named: &str, saved: &'a [String]) -> Vec<&'a String> {
    let is_seed = |model: &&String| {
        let seed = model.strip_prefix(named).and_then(|rest| rest.strip_prefix(".s"));
        seed.is_some_and(|seed| !seed.is_empty() && seed.bytes().all(|byte| byte.is_ascii_digit()))
    };
    saved.iter().filter(is_seed).collect()
}

/// The best model by the headline metric, which is better when larger; the first of several.
fn best_on_validation(record: &RunRecord, saved: &[String]) -> Option<String> {
    let mut best: Option<(f64, String)> = None;
    for row in record.results.iter().filter(|row| row.split == "validation" && !row.is_baseline()) {
        let (name, score) = (row.trial.to_string(), row.metrics.get(&record.metric).copied());
        let Some(score) = score.filter(|score| score.is_finite() && saved.contains(&name)) else { continue };
        if best.as_ref().is_none_or(|(most, _)| score > *most) {
            best = Some((score, name));
        }
    }
    best.map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(rows: &[(&str, &str, f64)]) -> RunRecord {
        let results: Vec<_> = rows
            .iter()
            .map(|(model, split, accuracy)| {
                json!({ "features": if *model == "commonest" { "-" } else { "mel" }, "model": model, "seed": 1,
                        "split": split, "n": 9, "metrics": { "accuracy": accuracy, "f1_macro": 1.0 - accuracy } })
            })
            .collect();
        serde_json::from_value(json!({
            "schema": 1, "experiment": "x", "description": "", "signature": "0123456789", "status": "done", "started": "",
            "ended": null, "seeds": [1], "classes": ["a"], "metric": "accuracy",
            "data": { "name": "d", "hash": "", "clips": 1, "unusable": 0, "set_aside": 0 }, "cache": { "hits": 0, "misses": 0 },
            "seconds": {}, "failures": {}, "results": results, "environment": null
        }))
        .unwrap()
    }

    fn saved(models: &[&str]) -> Vec<String> {
        models.iter().map(|model| format!("mel.{model}.s1")).collect()
    }

    #[test]
    fn the_best_model_on_the_validation_split_is_chosen_whatever_its_test_score() {
        let mut record = record(&[
            ("knn", "validation", 0.6),
            ("knn", "test", 0.9),
            ("lost", "validation", 0.95),
            ("logistic", "validation", 0.7),
            ("logistic", "test", 0.5),
            ("average", "validation", 0.7),
            ("commonest", "validation", 0.99),
        ]);
        let saved = saved(&["average", "knn", "logistic"]);
        assert_eq!(choose(&record, &saved, None, "x").unwrap(), "mel.logistic.s1");
        record.metric = "f1_macro".into();
        assert_eq!(choose(&record, &saved, None, "x").unwrap(), "mel.knn.s1");
    }

    #[test]
    fn without_a_validation_split_the_models_are_listed_and_none_is_chosen() {
        let record = record(&[("knn", "test", 0.9), ("logistic", "test", 0.5)]);
        let error = choose(&record, &saved(&["knn", "logistic"]), None, "x/latest").unwrap_err();
        assert!(error.is::<UserError>());
        let sentence = error.to_string();
        for part in ["x/latest:mel.knn.s1", "mel.knn.s1, mel.logistic.s1", "test split"] {
            assert!(sentence.contains(part), "{sentence}");
        }
        assert_eq!(choose(&record, &saved(&["knn"]), None, "x").unwrap(), "mel.knn.s1");
    }

    #[test]
    fn a_named_model_must_exist() {
        let record = record(&[("knn", "validation", 0.9)]);
        let models = saved(&["knn", "logistic"]);
        assert_eq!(choose(&record, &models, Some("mel.logistic.s1"), "x").unwrap(), "mel.logistic.s1");
        let error = choose(&record, &models, Some("mel.svm.s1"), "x").unwrap_err().to_string();
        assert!(error.contains("`mel.svm.s1`") && error.contains("mel.knn.s1"), "{error}");
        assert!(choose(&record, &[], None, "x").unwrap_err().to_string().contains("save_models"));
        let mut failed = record.clone();
        failed.results.clear();
        failed.failures.insert("mel.knn.s1".to_owned(), "too few clips".to_owned());
        let error = choose(&failed, &[], None, "x").unwrap_err().to_string();
        assert!(error.contains("mel.knn.s1 because of this: too few clips"), "{error}");
    }

    #[test]
    fn a_model_with_one_seed_is_named_without_it_and_of_several_seeds_one_must_be_named() {
        let record = record(&[("knn", "validation", 0.9)]);
        let mut models = saved(&["knn", "knn.s2x", "logistic"]);
        assert_eq!(choose(&record, &models, Some("mel.knn"), "x").unwrap(), "mel.knn.s1");
        models.push("mel.knn.s12".to_owned());
        let error = choose(&record, &models, Some("mel.knn"), "x/latest").unwrap_err().to_string();
        assert_eq!(error, "`mel.knn` has 2 seeds: name one of x/latest:mel.knn.s1, x/latest:mel.knn.s12");
        assert_eq!(choose(&record, &models, Some("mel.knn.s12"), "x").unwrap(), "mel.knn.s12");
        for wrong in ["mel", "mel.kn", "mel.knn.s", "knn"] {
            assert!(choose(&record, &models, Some(wrong), "x").unwrap_err().to_string().contains("has no model"));
        }
    }
}
