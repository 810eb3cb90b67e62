//! A saved model of a run, ready to hear recordings: the same front end, the same weights, the same bits as in the run.
//!
//! A recording is brought to the length of the run's clips exactly as there (`audio.clip_seconds`, `audio.crop`): of a longer
//! one, only that part is heard.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use thiserror::Error;

use crate::audio::{self, AudioSpec, Clip};
use crate::dataset::FeatureSet;
use crate::features::{ClipAnalysis, Extractor, FeatureMatrix};
use crate::labels::Classes;
use crate::metrics::Judge;
use crate::models::Classifier;
use crate::models::device::Device;
use crate::precompute::LeftOut;
use crate::predictions::Predictions;
use crate::run_dir::{self, RunRecord};

/// The run has several models, and nothing says which is meant.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct WhichModel(String);

/// A model with the front end that it was trained behind.
pub struct Predictor {
    name: ModelName,
    classes: Classes,
    audio: AudioSpec,
    judge: Judge,
    extractor: Box<dyn Extractor>,
    classifier: Box<dyn Classifier>,
}

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelName {
    pub experiment: String,
    /// The signature of the run.
    pub signature: String,
    /// `<features>.<model>.s<seed>`
    pub model: String,
}

impl std::fmt::Display for ModelName {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let signature: String = self.signature.chars().take(8).collect();
        write!(f, "{} of {} {signature}", self.model, self.experiment)
    }
}

/// What the model says of one recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// One a class, in the order of the classes.
    pub probabilities: Vec<f32>,
    /// The length of the whole recording.
    pub seconds: f64,
    pub timings: Timings,
}

/// Seconds a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Timings {
    pub decode: f64,
    pub features: f64,
    pub model: f64,
}

impl Heard {
    /// The classes with their probabilities, the likeliest first; of equals the first class.
    pub fn ranked<'a>(&self, classes: &'a Classes) -> Vec<(&'a str, f32)> {
        let mut ranked: Vec<(&str, f32)> =
            classes.names().iter().map(String::as_str).zip(self.probabilities.iter().copied()).collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranked
    }
}

impl Predictor {
    /// The model that a person calls `RUN` or `RUN:MODEL`, on the CPU; see [`run_dir::find`] for what a run may be called.
    pub fn open(runs: &Path, name: &str) -> Result<Predictor> {
        Predictor::open_on(runs, name, &Device::cpu())
    }

    /// [`open`](Self::open) on another device, which matters to networks alone.
    pub fn open_on(runs: &Path, name: &str, device: &Device) -> Result<Predictor> {
        let (run, model) = match (run_dir::find(runs, name), name.rsplit_once(':')) {
            (Ok(run), _) => (run, None),
            (Err(_), Some((run, model))) => (run_dir::find(runs, run)?, Some(model)),
            (Err(error), None) => return Err(error),
        };
        let record = run_dir::read_record(&run)?;
        let called = name.rsplit_once(':').filter(|_| model.is_some()).map_or(name, |(run, _)| run);
        let model = choose(&record, &run_dir::models(&run), model, called)?;
        Predictor::read(&run, &record, &model, device)
    }

    fn read(run: &Path, record: &RunRecord, model: &str, device: &Device) -> Result<Predictor> {
        let (saved, tensors) = run_dir::read_model(run, model)?;
        let refused = || format!("the model {model} of {} cannot be used", run.display());
        ensure!(!saved.classes.is_empty(), "{}: it knows no class", refused());
        check_audio(&saved.audio).with_context(refused)?;
        let extractor = saved.feature.as_kind().build(saved.audio.sample_rate).with_context(refused)?;
        if let Some((key, sentence)) = saved.model.as_kind().faults().into_iter().next() {
            bail!("{}: `{key}`: {sentence}", refused());
        }
        let classifier = saved.model.restore(tensors, saved.classes.len(), device).with_context(refused)?;
        let name = ModelName {
            experiment: record.experiment.clone(),
            signature: record.signature.clone(),
            model: model.to_owned(),
        };
        let predictor =
            Predictor { name, classes: saved.classes, audio: saved.audio, judge: saved.judge, extractor, classifier };
        predictor.try_out().with_context(refused)?;
        Ok(predictor)
    }

    /// Where all clips have one length, the shape of the feature is known before the first recording: weights of another
    /// shape are found now, not at the first request.
    fn try_out(&self) -> Result<()> {
        let Some(seconds) = self.audio.clip_seconds else { return Ok(()) };
        let frames = (seconds * f64::from(self.audio.sample_rate)).round() as usize;
        let samples = (0..frames).map(|i| if i % 100 < 50 { 0.1 } else { -0.1 }).collect();
        self.ask(self.extract(&Clip { samples, sample_rate: self.audio.sample_rate })?).map(drop)
    }

    pub fn name(&self) -> &ModelName {
        &self.name
    }

    pub fn classes(&self) -> &Classes {
        &self.classes
    }

    /// The classes that are decided for what was heard: the likeliest, or with several labels all that reach the cut-off of
    /// the run.
    pub fn decided(&self, heard: &Heard) -> Vec<&str> {
        let row = Predictions { n_classes: self.classes.len(), probabilities: heard.probabilities.clone() };
        self.judge.decide(&row).concat().into_iter().map(|class| self.classes.name(class)).collect()
    }

    /// How many seconds of a recording are heard; all of it where this is none.
    pub fn clip_seconds(&self) -> Option<f64> {
        self.audio.clip_seconds
    }

    /// Hears the bytes of a file; `extension` is the file's, without the dot.
    pub fn hear(&self, bytes: &[u8], extension: Option<&str>) -> Result<Heard, LeftOut> {
        let mut clock = Instant::now();
        let mut lap = || std::mem::replace(&mut clock, Instant::now()).elapsed().as_secs_f64();
        let recording = audio::decode(bytes, extension)
            .map_err(|why| LeftOut { code: why.code().to_owned(), sentence: why.to_string() })?;
        let seconds = recording.samples.len() as f64 / f64::from(recording.sample_rate);
        let clip = recording.into_clip(&self.audio);
        let decode = lap();
        let left_out = |code: &str| {
            let code = code.to_owned();
            move |error: anyhow::Error| LeftOut { code, sentence: format!("{error:#}") }
        };
        let row = self.extract(&clip).map_err(left_out("no_feature"))?;
        // While the model computes in parallel, this thread may begin with another recording.
        drop(clip);
        let features = lap();
        let probabilities = self.ask(row).map_err(left_out("no_prediction"))?;
        Ok(Heard { probabilities, seconds, timings: Timings { decode, features, model: lap() } })
    }

    /// [`hear`](Self::hear) for a file.
    pub fn hear_file(&self, path: &Path) -> Result<Heard, LeftOut> {
        let unreadable = |error: std::io::Error| LeftOut {
            code: "unreadable".to_owned(),
            sentence: format!("the file cannot be read: {error}"),
        };
        let bytes = std::fs::read(path).map_err(unreadable)?;
        self.hear(&bytes, path.extension().and_then(|extension| extension.to_str()))
    }

    fn extract(&self, clip: &Clip) -> Result<FeatureMatrix> {
        self.extractor.extract(&ClipAnalysis::new(clip))
    }

    fn ask(&self, matrix: FeatureMatrix) -> Result<Vec<f32>> {
        let shape = [matrix.rows, matrix.cols];
        // The classes are not looked at; a set has some a row.
        let set = FeatureSet::images(matrix.values, shape, vec![vec![0]], self.classes.len());
        let predictions = self.classifier.predict(&set)?;
        let probabilities = predictions.probabilities;
        ensure!(
            probabilities.len() == self.classes.len() && probabilities.iter().all(|p| p.is_finite()),
            "the model gives no finite probability for each of its {} classes",
            self.classes.len()
        );
        Ok(probabilities)
    }
}

/// The ranges of the experiment's schema, for a description that was changed by hand.
fn check_audio(audio: &AudioSpec) -> Result<()> {
    ensure!((1000..=384_000).contains(&audio.sample_rate), "its sample rate is {} Hz", audio.sample_rate);
    if let Some(seconds) = audio.clip_seconds {
        ensure!((0.01..=36_000.0).contains(&seconds), "its clips are {seconds} s long");
    }
    Ok(())
}

/// Which of the `saved` models is meant: the one that is named, the only one, or the best on the validation split.
fn choose(record: &RunRecord, saved: &[String], named: Option<&str>, run: &str) -> Result<String> {
    let list = || saved.join(", ");
    match (named, saved) {
        (_, []) => bail!(WhichModel(format!(
            "the run {run} has saved no model: leave out `save_models = false`, and run it with --fresh"
        ))),
        (Some(named), _) => match saved.iter().find(|model| *model == named) {
            Some(model) => Ok(model.clone()),
            None => bail!(WhichModel(format!("the run {run} has no model `{named}`; it has {}", list()))),
        },
        (None, [only]) => Ok(only.clone()),
        (None, _) => match best_on_validation(record, saved) {
            Some(model) => Ok(model),
            None => bail!(WhichModel(format!(
                "the run {run} has {} models and no validation split to choose by (the best on the test split would no \
                 longer have an honest test score): name one, e.g. {run}:{}. There are {}",
                saved.len(),
                saved[0],
                list()
            ))),
        },
    }
}

/// The first of the best by the headline metric; all metrics are better when they are larger.
fn best_on_validation(record: &RunRecord, saved: &[String]) -> Option<String> {
    let mut best: Option<(f64, String)> = None;
    for row in record.results.iter().filter(|row| row.split == "validation" && !row.is_baseline()) {
        let (name, score) = (row.unit.to_string(), row.metrics.get(&record.metric).copied());
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
    fn the_best_on_the_validation_split_is_taken_whatever_the_test_split_says() {
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
    fn without_a_validation_split_the_models_are_listed_and_none_is_taken() {
        let record = record(&[("knn", "test", 0.9), ("logistic", "test", 0.5)]);
        let error = choose(&record, &saved(&["knn", "logistic"]), None, "x/latest").unwrap_err();
        assert!(error.is::<WhichModel>());
        let sentence = error.to_string();
        for part in ["x/latest:mel.knn.s1", "mel.knn.s1, mel.logistic.s1", "test split"] {
            assert!(sentence.contains(part), "{sentence}");
        }
        assert_eq!(choose(&record, &saved(&["knn"]), None, "x").unwrap(), "mel.knn.s1");
    }

    #[test]
    fn a_named_model_must_be_there() {
        let record = record(&[("knn", "validation", 0.9)]);
        let models = saved(&["knn", "logistic"]);
        assert_eq!(choose(&record, &models, Some("mel.logistic.s1"), "x").unwrap(), "mel.logistic.s1");
        let error = choose(&record, &models, Some("mel.svm.s1"), "x").unwrap_err().to_string();
        assert!(error.contains("`mel.svm.s1`") && error.contains("mel.knn.s1"), "{error}");
        assert!(choose(&record, &[], None, "x").unwrap_err().to_string().contains("save_models"));
    }

    #[test]
    fn the_likeliest_class_comes_first_and_of_equals_the_first() {
        let heard = Heard { probabilities: vec![0.2, 0.4, 0.4], seconds: 1.0, timings: Timings::default() };
        let classes = Classes::new(["a", "b", "c"]);
        assert_eq!(heard.ranked(&classes), [("b", 0.4), ("c", 0.4), ("a", 0.2)]);
    }
}
