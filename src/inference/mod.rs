//! Inference: predicts the classes of recordings with a saved model of a run.
//!
//! Decoding, features and weights are those of the run, so the probabilities are the bits that the run computed.
//!
//! A model that was evaluated on windows predicts every window of a recording of any length (`windowed.rs`). Any other model
//! predicts one clip, cut as in the run (`audio.clip_seconds`, `audio.crop`): of a longer recording only that part is used,
//! unless windows are requested.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use timbre_core::{
    labels::{Classes, Task},
    registry::Fault,
};
use timbre_evaluation::{
    aggregation::Aggregate,
    metrics::DecisionRule,
    predictions::{Predictions, WindowPredictions},
};
use timbre_inputs::features::extraction::RecordingError;
use timbre_models::device::Device;
use timbre_runs::run_dir::{self, ResultRow, RunRecord};
use timbre_signal::{
    audio::{AudioSpec, DecodeLimits, Stream},
    windows::WindowSpec,
};

mod model_choice;
mod pipeline;
mod window_cutter;
mod windowed;
mod micro_batcher;
mod weighted_ensemble;
pub mod output_formats;

pub use micro_batcher::BatchStats;
use micro_batcher::MicroBatcher;
use pipeline::{ClipFeatures, InferencePipeline, InferenceSpec};
pub use weighted_ensemble::WeightedEnsemble;
pub use windowed::{PredictionCallback, RecordingSource};

/// A saved model with its feature extractor, or an ensemble of models with theirs.
pub struct Predictor {
    name: ModelName,
    classes: Classes,
    audio: AudioSpec,
    decision_rule: DecisionRule,
    /// Windows of a recording; none: one clip.
    window: Option<WindowSpec>,
    pipeline: Arc<InferencePipeline>,
    /// Joins requests of several recordings into batches; none: each request runs alone.
    batcher: Option<MicroBatcher>,
    /// Windows in a batch.
    batch_size: usize,
    limits: DecodeLimits,
    run_scores: RunScores,
}

/// Batch size of a network: the activations of its larger layers still fit the CPU cache.
const NETWORK_BATCH: usize = 16;
/// Batch size of a classic model: kNN reads its whole training set for each batch.
const CLASSIC_BATCH: usize = 64;

/// The scores of the model in its run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunScores {
    /// The data set.
    pub data: String,
    /// The headline metric of the run.
    pub metric: String,
    /// One row for each subset of the split.
    pub rows: Vec<ResultRow>,
}

/// Identifies a model: its run and its name in the run.
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

/// The model's output for one recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// One value for each class, in the order of the classes: probabilities of the clip, or aggregated scores of the windows.
    pub probabilities: Vec<f32>,
    /// The probabilities of each window; none for a model that predicts one clip.
    pub windows: Option<WindowPredictions>,
    /// Length of the whole recording.
    pub seconds: f64,
    pub timings: Timings,
}

/// Seconds in each stage. With windows the stages run concurrently, each on one or more threads: the sum may differ from the
/// elapsed time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Timings {
    pub decode: f64,
    pub features: f64,
    pub model: f64,
}

impl Prediction {
    /// Classes with their probabilities in descending order; ties keep the order of the classes.
    pub fn ranked<'a>(&self, classes: &'a Classes) -> Vec<(&'a str, f32)> {
        let mut ranked: Vec<(&str, f32)> =
            classes.names().iter().map(String::as_str).zip(self.probabilities.iter().copied()).collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranked
    }
}

impl Predictor {
    /// Opens the model named `RUN` or `RUN:MODEL` on the CPU; [`run_dir::find`] lists the accepted names of a run.
    pub fn open(runs: &Path, name: &str) -> Result<Predictor> {
        Predictor::open_on(runs, name, &Device::cpu())
    }

    /// [`open`](Self::open) on another device. Only networks use the device.
    pub fn open_on(runs: &Path, name: &str, device: &Device) -> Result<Predictor> {
        let (run, model) = match (run_dir::find(runs, name), name.rsplit_once(':')) {
            (Ok(run), _) => (run, None),
            (Err(_), Some((run, model))) => (run_dir::find(runs, run)?, Some(model)),
            (Err(error), None) => return Err(error),
        };
        let record = run_dir::read_record(&run)?;
        let run_name = name.rsplit_once(':').filter(|_| model.is_some()).map_or(name, |(run, _)| run);
        let model = model_choice::choose(&record, &run_dir::models(&run), model, run_name)?;
        Predictor::read(&run, &record, &model, device)
    }

    fn read(run: &Path, record: &RunRecord, model: &str, device: &Device) -> Result<Predictor> {
        let refused = || format!("the model {model} of {} cannot be used", run.display());
        let (pipeline, InferenceSpec { classes, audio, decision_rule, window }) =
            InferencePipeline::read(run, model, device).with_context(refused)?;
        check_cutoffs(&decision_rule, &classes).with_context(refused)?;
        let name = ModelName {
            experiment: record.experiment.clone(),
            signature: record.signature.clone(),
            model: model.to_owned(),
        };
        let rows = record.results.iter().filter(|row| row.trial.to_string() == model).cloned().collect();
        let predictor = Predictor {
            name,
            classes,
            audio,
            decision_rule,
            window: None,
            batch_size: if pipeline.has_network { NETWORK_BATCH } else { CLASSIC_BATCH },
            pipeline: Arc::new(pipeline),
            batcher: None,
            limits: DecodeLimits::NONE,
            run_scores: RunScores { data: record.data.name.clone(), metric: record.metric.clone(), rows },
        };
        match window {
            Some(window) => predictor.set_window(window).with_context(refused),
            None => {
                predictor.check_shape(predictor.audio.clip_samples()).with_context(refused)?;
                Ok(predictor)
            }
        }
    }

    /// Predicts windows instead of one clip. A multi-label model that was evaluated on clips then aggregates by vote, the
    /// default of an experiment with windows.
    pub fn with_windows(mut self, window: WindowSpec) -> Result<Predictor> {
        if self.window.is_none() && self.decision_rule.task == Task::MultiLabel {
            self.decision_rule.aggregate = Aggregate::Vote;
        }
        let seconds = window.seconds;
        self.set_window(window)
            .with_context(|| format!("this model cannot use windows of {seconds} s: choose another --window"))
    }

    /// Rejects recordings that exceed the limits.
    pub fn with_limits(self, limits: DecodeLimits) -> Predictor {
        Predictor { limits, ..self }
    }

    /// Joins concurrent requests into batches.
    pub fn with_micro_batching(self) -> Result<Predictor> {
        let batcher = MicroBatcher::new(self.pipeline.clone(), self.classes.len(), self.batch_size)?;
        Ok(Predictor { batcher: Some(batcher), ..self })
    }

    /// Counts of batched requests; zeros without micro-batching.
    pub fn batch_stats(&self) -> BatchStats {
        self.batcher.as_ref().map(MicroBatcher::stats).unwrap_or_default()
    }

    fn set_window(mut self, window: WindowSpec) -> Result<Predictor> {
        if let Some(Fault { key, sentence }) = window.faults().into_iter().next() {
            bail!("window.{key}: {sentence}");
        }
        check_seconds(window.seconds)?;
        let length = window.length(self.audio.sample_rate);
        // A resized feature has the same shape for any length: the weights would fit, but the tempo would be scaled.
        if self.pipeline.has_network && self.audio.clip_samples() != Some(length) {
            let trained_on = self.audio.clip_seconds;
            let clips = trained_on.map_or("whole recordings".to_owned(), |s| format!("clips of {s} s"));
            bail!(
                "a network needs windows as long as its training clips: it was trained on {clips}, and these windows last {} s",
                window.seconds
            );
        }
        self.check_shape(Some(length))?;
        self.window = Some(window);
        Ok(self)
    }

    /// Checks that the model accepts clips of this length. Does nothing if clips have no fixed length.
    fn check_shape(&self, clip_samples: Option<usize>) -> Result<()> {
        clip_samples.map_or(Ok(()), |samples| self.pipeline.check_shape(samples, self.classes.len()))
    }

    pub fn name(&self) -> &ModelName {
        &self.name
    }

    pub fn classes(&self) -> &Classes {
        &self.classes
    }

    /// The rule that turns probabilities into decisions.
    pub fn decision_rule(&self) -> &DecisionRule {
        &self.decision_rule
    }

    pub fn run_scores(&self) -> &RunScores {
        &self.run_scores
    }

    /// The decided classes: the most likely one, or with several labels all that reach the run's threshold.
    pub fn decided_classes(&self, prediction: &Prediction) -> Vec<&str> {
        let row = Predictions { n_classes: self.classes.len(), probabilities: prediction.probabilities.clone() };
        let decided = self.decision_rule.decide_recordings(&row, prediction.windows.as_ref()).decided;
        decided.concat().into_iter().map(|class| self.classes.name(class)).collect()
    }

    /// Seconds of a recording that are used; none: all of it.
    pub fn clip_seconds(&self) -> Option<f64> {
        self.audio.clip_seconds.filter(|_| self.window.is_none())
    }

    /// The windows; none if the model predicts one clip.
    pub fn window(&self) -> Option<WindowSpec> {
        self.window
    }

    /// The windows, or the default ones for this model: as long as its training clips.
    pub fn window_or_default(&self) -> WindowSpec {
        let default = WindowSpec::default();
        self.window.unwrap_or(WindowSpec { seconds: self.audio.clip_seconds.unwrap_or(default.seconds), ..default })
    }

    /// The sample rate of the model's input.
    pub fn sample_rate(&self) -> u32 {
        self.audio.sample_rate
    }

    /// The threshold of each class.
    pub fn cutoffs(&self) -> Vec<f64> {
        self.decision_rule.cutoffs(self.classes.len())
    }

    /// Predicts the bytes of an audio file. `extension` is that of the file, without the dot.
    pub fn predict(&self, bytes: &[u8], extension: Option<&str>) -> Result<Prediction, RecordingError> {
        self.predict_recording(RecordingSource::Bytes { bytes, extension }, None)
    }

    /// [`predict`](Self::predict) for a file. With windows or clips only a part of a long file is in memory at a time.
    pub fn predict_file(&self, path: &Path) -> Result<Prediction, RecordingError> {
        self.predict_recording(RecordingSource::File(path), None)
    }

    fn predict_clip(&self, stream: Stream, is_cancelled: impl Fn() -> bool) -> Result<Prediction, RecordingError> {
        let mut clock = Instant::now();
        let mut lap = || std::mem::replace(&mut clock, Instant::now()).elapsed().as_secs_f64();
        let clip = stream.clip(&self.audio, || !is_cancelled()).map_err(|why| windowed::unusable(&why))?;
        let (clip, seconds) = clip.ok_or_else(windowed::cancelled)?;
        let decode = lap();
        let row = self.pipeline.extract(&clip).map_err(|error| recording_error("no_feature", &error))?;
        // Rayon may run another recording on this thread while the model computes: free the samples before.
        drop(clip);
        let features = lap();
        let probabilities = self.probabilities(vec![row]).map_err(|error| recording_error("no_prediction", &error))?;
        Ok(Prediction { probabilities, windows: None, seconds, timings: Timings { decode, features, model: lap() } })
    }

    /// The probabilities of clips of equal length, one row per clip.
    fn probabilities(&self, clips: Vec<ClipFeatures>) -> Result<Vec<f32>> {
        match &self.batcher {
            Some(batcher) => batcher.predict(clips),
            None => self.pipeline.predict(clips, self.classes.len()),
        }
    }
}

fn recording_error(code: &str, error: &anyhow::Error) -> RecordingError {
    RecordingError { code: code.to_owned(), sentence: format!("{error:#}") }
}

/// Checks the ranges of the experiment schema again: `model.json` may have been edited by hand.
fn check_audio(audio: &AudioSpec) -> Result<()> {
    ensure!((1000..=384_000).contains(&audio.sample_rate), "its sample rate is {} Hz", audio.sample_rate);
    audio.clip_seconds.map_or(Ok(()), check_seconds)
}

fn check_cutoffs(decision_rule: &DecisionRule, classes: &Classes) -> Result<()> {
    let (given, all) = (decision_rule.cutoffs.len(), classes.len());
    ensure!(
        given == 0 || given == all,
        "it has {given} thresholds for {all} classes: write one for each class, or none"
    );
    Ok(())
}

fn check_seconds(seconds: f64) -> Result<()> {
    ensure!((0.01..=36_000.0).contains(&seconds), "its clips are {seconds} s long");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_ranked_by_probability_and_ties_keep_their_order() {
        let prediction =
            Prediction { probabilities: vec![0.2, 0.4, 0.4], windows: None, seconds: 1.0, timings: Timings::default() };
        let classes = Classes::new(["a", "b", "c"]);
        assert_eq!(prediction.ranked(&classes), [("b", 0.4), ("c", 0.4), ("a", 0.2)]);
    }
}
