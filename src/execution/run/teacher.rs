//! The model of another run that a network learns from (`teacher`).

use std::collections::{BTreeMap, HashSet};

use anyhow::{Context, Result, anyhow};
use rayon::prelude::*;

use super::model_source::SEEN;
use super::settings::Settings;
use crate::inference::{ModelName, Predictor};
use timbre_core::error::UserError;
use timbre_core::labels::Classes;
use timbre_experiment::Experiment;
use timbre_inputs::data::ClipRecord;
use timbre_runs::run_dir::{self, Table};
use timbre_runs::tables;

/// The teachers of an experiment by the names that it gives them.
#[derive(Default)]
pub struct Teachers(BTreeMap<String, Teacher>);

struct Teacher {
    predictor: Predictor,
    /// The contents of the recordings (BLAKE3, hexadecimal) on which it was trained or chosen.
    seen: HashSet<String>,
}

/// Each network that has a teacher, and the name of its teacher.
pub fn names(experiment: &Experiment) -> impl Iterator<Item = (&str, &str)> {
    experiment
        .models
        .iter()
        .filter_map(|(model, spec)| Some((model.as_str(), spec.as_network()?.training().teacher.as_deref()?)))
}

impl Teachers {
    /// Opens the teacher of each network. Its classes must be those of the data set.
    pub fn open(experiment: &Experiment, classes: &Classes, settings: &Settings) -> Result<Teachers> {
        let mut teachers = BTreeMap::new();
        for (model, name) in names(experiment) {
            let explain = |error: anyhow::Error| UserError::usage(format!("models.{model}.teacher: {error:#}"));
            let teacher = Teacher::open(name, settings).map_err(explain)?;
            if let Some(unknown) =
                classes.names().iter().find(|class| teacher.predictor.classes().index(class).is_none())
            {
                return Err(explain(anyhow!("{name} does not know the class `{unknown}` of the data set")).into());
            }
            teachers.insert(name.to_owned(), teacher);
        }
        Ok(Teachers(teachers))
    }

    /// What identifies each teacher of an experiment in the signature of a run: the signature of its own run, and its name there.
    pub fn identities(&self, experiment: &Experiment) -> BTreeMap<String, String> {
        let identity = |name: &str| {
            let ModelName { signature, model, .. } = self.0[name].predictor.name();
            format!("{signature}:{model}")
        };
        let used = names(experiment).filter(|(_, name)| self.0.contains_key(*name));
        used.map(|(_, name)| (name.to_owned(), identity(name))).collect()
    }

    /// Whether a teacher was trained or chosen on the recording with this content.
    pub fn has_seen(&self, name: &str, content: &str) -> bool {
        self.0.get(name).is_some_and(|teacher| teacher.seen.contains(content))
    }

    /// The probability of each class of the data set that a teacher predicts for each of these recordings, row-major.
    pub fn predict(
        &self,
        name: &str,
        records: &[&ClipRecord],
        classes: &Classes,
        settings: &Settings,
    ) -> Result<Vec<f32>> {
        let teacher = &self.0[name].predictor;
        let places: Vec<usize> =
            classes.names().iter().map(|class| teacher.classes().index(class).expect("checked when opened")).collect();
        let progress = settings.printer.start(&format!("predictions of {name}"), records.len());
        let predict = |record: &&ClipRecord| -> Result<Vec<f32>> {
            let why = || format!("the teacher {name} cannot predict {}", record.id);
            if record.excerpt.is_some() {
                return Err(anyhow!("it is a part of a file, and a teacher predicts whole files")).with_context(why);
            }
            let prediction =
                teacher.predict_file(&record.path).map_err(|error| anyhow!(error.sentence)).with_context(why)?;
            settings.step(&progress)?;
            Ok(places.iter().map(|&place| prediction.probabilities[place]).collect())
        };
        let rows: Vec<Vec<f32>> = records.par_iter().map(predict).collect::<Result<_>>()?;
        progress.finish();
        Ok(rows.concat())
    }
}

impl Teacher {
    fn open(name: &str, settings: &Settings) -> Result<Teacher> {
        let predictor = Predictor::open_on(&settings.runs, name, &settings.device)?;
        let (run, _) = run_dir::find_with_model(&settings.runs, name)?;
        // A run of an earlier version has no such table.
        let columns = tables::read_csv(&run.join(Table::Recordings.file())).unwrap_or_default();
        let seed = predictor.name().model.rsplit_once(".s").map_or("", |(_, seed)| seed);
        let split = columns.get("split").or_else(|| columns.get(&format!("split_s{seed}")));
        let contents = columns.get("content").into_iter().flatten().zip(split.into_iter().flatten());
        let seen = contents.filter(|(_, subset)| SEEN.contains(&subset.as_str())).map(|(content, _)| content.clone());
        Ok(Teacher { seen: seen.collect(), predictor })
    }
}
