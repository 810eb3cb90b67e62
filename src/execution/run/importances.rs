//! The coefficients and importances of the saved models of a run, with the names of the columns.

use anyhow::{Context, Result};

use timbre_experiment::Experiment;
use timbre_inputs::features::{FeatureSpec, column_names::column_names};
use timbre_models::{Importances, ModelColumn, device::Device};
use timbre_runs::run_dir::{self, RunDir, Trial, TrialRecord};
use timbre_runs::tables::Importance;

/// A model that sees more columns is listed in part.
const ALL_COLUMNS: usize = 4096;
/// The columns of such a model that are listed for each class.
const LISTED: usize = 100;

/// One row per model, class and column. The models are read from their files, so resumed, copied and restored ones are there, too.
pub fn rows<'a>(dir: &RunDir, experiment: &Experiment, trials: &'a [TrialRecord]) -> Result<Vec<Importance<'a>>> {
    let mut rows = Vec::new();
    for TrialRecord { trial, .. } in trials {
        if !experiment.models[&trial.model].as_kind().has_importances() || !run_dir::has_model(dir.path(), trial) {
            continue;
        }
        let what = || format!("importances of {trial}");
        let (saved, tensors) = run_dir::read_model(dir.path(), &trial.to_string()).with_context(what)?;
        let model = saved.model.restore(tensors, saved.classes.len(), &Device::cpu()).with_context(what)?;
        let names = names(experiment, trial);
        for importances in model.importances() {
            rows.extend(of_class(trial, importances, &names));
        }
    }
    Ok(rows)
}

/// The names of the columns of the feature of a trial; empty if its shape is not known before the recordings are read.
fn names(experiment: &Experiment, trial: &Trial) -> Vec<String> {
    let audio = &experiment.audio;
    // Without a length of clips a feature with a fixed shape has it for every length.
    let samples = audio.clip_samples().unwrap_or(10 * audio.sample_rate as usize);
    let part_name = |part: &FeatureSpec| {
        let known = experiment.features.iter().find(|(_, spec)| *spec == part);
        known.map_or_else(|| part.kind().to_owned(), |(name, _)| name.clone())
    };
    column_names(&trial.features, &experiment.features[&trial.features], samples, &part_name).unwrap_or_default()
}

fn of_class<'a>(trial: &'a Trial, importances: Importances, names: &[String]) -> Vec<Importance<'a>> {
    let Importances { class, mut columns } = importances;
    if columns.len() > ALL_COLUMNS {
        columns.retain(|(_, value)| *value != 0.0);
        columns.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
        columns.truncate(LISTED);
    }
    let row = |(column, value): (ModelColumn, f32)| {
        let (column, name) = match column {
            ModelColumn::Component(at) => (at, format!("pca[{at}]")),
            ModelColumn::Feature(at) => {
                (at, names.get(at).cloned().unwrap_or_else(|| format!("{}[{at}]", trial.features)))
            }
        };
        Importance { trial, class, column, name, value }
    };
    columns.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_columns_those_with_the_largest_values_are_listed() {
        let trial = Trial { features: "raw".into(), model: "logistic".into(), seed: 1 };
        let importances = |count: usize| Importances {
            class: Some(2),
            columns: (0..count).map(|at| (ModelColumn::Feature(at), at as f32 * [1.0, -1.0][at % 2])).collect(),
        };
        let all = of_class(&trial, importances(ALL_COLUMNS), &[]);
        assert_eq!((all.len(), all[7].name.as_str(), all[7].value), (ALL_COLUMNS, "raw[7]", -7.0));
        let some = of_class(&trial, importances(ALL_COLUMNS + 1), &["first".to_owned()]);
        assert_eq!((some.len(), some[0].column, some[99].column), (LISTED, ALL_COLUMNS, ALL_COLUMNS - 99));
        let component = Importances { class: None, columns: vec![(ModelColumn::Component(3), 0.5)] };
        assert_eq!(of_class(&trial, component, &[])[0].name, "pca[3]");
    }
}
