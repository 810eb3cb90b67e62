//! Inference: predicts the classes of recordings with a saved model of a run.
//!
//! Decoding, features and weights are those of the run, so the probabilities are the bits that the run computed.
//!
//! A model that was evaluated on windows predicts every window of a recording of any length (`windowed.rs`). Any other model
//! predicts one clip, cut as in the run (`audio.clip_seconds`, `audio.crop`): of a longer recording only that part is used,
//! unless windows are requested. Every prediction states the part that it used ([`UsedPart`]).

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use schemars::JsonSchema;
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
use timbre_runs::run_dir::{self, RunRecord};
use timbre_signal::{
    audio::{AudioSpec, CutOff, DecodeLimits, RecordingSource, Stream},
    windows::WindowSpec,
};

mod model_choice;
mod pipeline;
mod run_scores;
mod window_cutter;
mod windowed;
mod micro_batcher;
mod weighted_ensemble;
pub mod output_formats;

pub use micro_batcher::BatchStats;
use micro_batcher::{MicroBatcher, Rows};
use pipeline::{ClipFeatures, InferencePipeline, InferenceSpec};
pub use run_scores::{Confusion, RunScores};
pub use weighted_ensemble::WeightedEnsemble;
pub use windowed::PredictionCallback;

/// A saved model with its feature extractor, or an ensemble of models with theirs.
pub struct Predictor {
    name: ModelName,
    classes: Classes,
    audio: AudioSpec,
    decision_rule: DecisionRule,
    /// The run evaluated one clip of each recording.
    evaluated_on_clips: bool,
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

/// An answer is no better than an even guess below this share of the way from there to certainty.
const EVEN_GUESS: f64 = 0.05;

/// The model that `serve RUN` and `predict RUN` use: the only one, or the best on the validation split.
pub fn default_model(run: &Path, record: &RunRecord) -> Option<String> {
    model_choice::choose(record, &run_dir::models(run), None, "").ok()
}

/// The run and the model named `RUN` or `RUN:MODEL`; [`run_dir::find`] lists the accepted names of a run.
pub fn find_model(runs: &Path, name: &str) -> Result<(PathBuf, RunRecord, String)> {
    let (run, model) = run_dir::find_with_model(runs, name)?;
    let record = run_dir::read_record(&run)?;
    let run_name = name.rsplit_once(':').filter(|_| model.is_some()).map_or(name, |(run, _)| run);
    let model = model_choice::choose(&record, &run_dir::models(&run), model, run_name)?;
    Ok((run, record, model))
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
    /// Length of the recording, as far as its file goes.
    pub seconds: f64,
    /// The file is cut off at its end.
    pub cut_off: Option<CutOff>,
    pub used: UsedPart,
    /// How far the recording is from the training recordings, as a multiple of the distance that 99 % of the validation recordings
    /// keep; the middle one of its windows. None for a model that was saved without it.
    pub training_distance: Option<f64>,
    pub timings: Timings,
}

/// The part of a recording that a prediction used.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct UsedPart {
    /// Where it begins, in seconds.
    pub start: f64,
    /// Its length in seconds, without gaps between windows.
    pub seconds: f64,
    /// Its share of the recording, from 0 to 1.
    pub share: f64,
}

impl UsedPart {
    fn new(start: f64, used: f64, seconds: f64) -> UsedPart {
        let used = used.min(seconds);
        UsedPart { start, seconds: used, share: if seconds > 0.0 { used / seconds } else { 1.0 } }
    }

    /// The time that is in at least one window.
    fn of_windows(starts: &[f64], window: WindowSpec, seconds: f64) -> UsedPart {
        if window.hop <= window.seconds {
            return UsedPart::new(0.0, seconds, seconds);
        }
        let ends = starts.iter().skip(1).copied().chain([seconds]);
        let used = starts.iter().zip(ends).map(|(start, end)| window.seconds.min(end - start)).sum();
        UsedPart::new(0.0, used, seconds)
    }
}

/// A recording whose features are computed, and whose probabilities may still be on their way from the model.
pub struct PendingPrediction<'a> {
    predictor: &'a Predictor,
    /// The first rows, and those that follow.
    probabilities: Vec<f32>,
    pending: VecDeque<Rows>,
    /// The starts of the windows; none for one clip.
    starts: Option<Vec<f64>>,
    seconds: f64,
    cut_off: Option<CutOff>,
    used: UsedPart,
    training_distance: Option<f64>,
    timings: Timings,
}

impl PendingPrediction<'_> {
    /// Waits for the model.
    pub fn finish(self) -> Result<Prediction, RecordingError> {
        let PendingPrediction {
            predictor,
            mut probabilities,
            pending,
            starts,
            seconds,
            cut_off,
            used,
            training_distance,
            mut timings,
        } = self;
        let clock = Instant::now();
        for rows in pending {
            probabilities.extend(rows.wait().map_err(|error| recording_error("no_prediction", &error))?);
        }
        timings.model += clock.elapsed().as_secs_f64();
        let Some(starts) = starts else {
            return Ok(Prediction { probabilities, windows: None, seconds, cut_off, used, training_distance, timings });
        };
        let rows = Predictions { n_classes: predictor.classes.len(), probabilities };
        let windows = WindowPredictions::new(rows, &[starts]);
        let decision_rule = predictor.decision_rule_for(Some(&windows));
        let probabilities = decision_rule.decide_windows(&windows).scores.probabilities;
        Ok(Prediction { probabilities, windows: Some(windows), seconds, cut_off, used, training_distance, timings })
    }
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
    /// Whether the recording is unlike the training recordings: its probabilities mean little. None if the model cannot tell.
    pub fn is_unlike_training(&self) -> Option<bool> {
        self.training_distance.map(|distance| distance > 1.0)
    }

    /// Classes with their probabilities in descending order; ties keep the order of the classes.
    pub fn ranked<'a>(&self, classes: &'a Classes) -> Vec<(&'a str, f32)> {
        let mut ranked: Vec<(&str, f32)> =
            classes.names().iter().map(String::as_str).zip(self.probabilities.iter().copied()).collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranked
    }
}

impl Predictor {
    /// Opens a model on the CPU ([`find_model`]).
    pub fn open(runs: &Path, name: &str) -> Result<Predictor> {
        Predictor::open_on(runs, name, &Device::cpu())
    }

    /// [`open`](Self::open) on another device. Only networks use the device.
    pub fn open_on(runs: &Path, name: &str, device: &Device) -> Result<Predictor> {
        let (run, record, model) = find_model(runs, name)?;
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
        let run_scores = RunScores::read(run, record, model, &classes);
        let predictor = Predictor {
            name,
            classes,
            audio,
            decision_rule,
            evaluated_on_clips: window.is_none(),
            window: None,
            batch_size: if pipeline.has_network { NETWORK_BATCH } else { CLASSIC_BATCH },
            pipeline: Arc::new(pipeline),
            batcher: None,
            limits: DecodeLimits::NONE,
            run_scores,
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

    /// The rule for a recording with these windows. A single window of a model that was evaluated on clips is such a clip: it is
    /// decided by its probabilities, as in the run, and not by a vote.
    pub fn decision_rule_for(&self, windows: Option<&WindowPredictions>) -> DecisionRule {
        let mut decision_rule = self.decision_rule.clone();
        if self.evaluated_on_clips && windows.is_some_and(|windows| windows.starts.len() == 1) {
            decision_rule.aggregate = Aggregate::Mean;
        }
        decision_rule
    }

    pub fn run_scores(&self) -> &RunScores {
        &self.run_scores
    }

    /// The decided classes: the most likely one, or with several labels all that reach the run's threshold.
    pub fn decided_classes(&self, prediction: &Prediction) -> Vec<&str> {
        let row = Predictions { n_classes: self.classes.len(), probabilities: prediction.probabilities.clone() };
        let windows = prediction.windows.as_ref();
        let decided = self.decision_rule_for(windows).decide_recordings(&row, windows).decided;
        decided.concat().into_iter().map(|class| self.classes.name(class)).collect()
    }

    /// Whether the most likely class is hardly likelier than in an even guess among all classes (`isEvenGuess` of the page). Only for a
    /// single-label model whose scores are probabilities.
    pub fn is_even_guess(&self, prediction: &Prediction) -> bool {
        let rule = self.decision_rule_for(prediction.windows.as_ref());
        let has_several = prediction.windows.as_ref().is_some_and(|windows| windows.starts.len() > 1);
        let is_probability = match rule.aggregate {
            Aggregate::Vote => prediction.windows.is_none(),
            Aggregate::Max | Aggregate::Loudest => !has_several,
            Aggregate::Mean | Aggregate::MeanLogits | Aggregate::Attention => true,
        };
        let even = 1.0 / self.classes.len() as f64;
        let first = prediction.probabilities.iter().copied().fold(0.0f32, f32::max);
        rule.task == Task::SingleLabel && is_probability && (f64::from(first) - even) / (1.0 - even) < EVEN_GUESS
    }

    /// Seconds of a recording that are used; none: all of it.
    pub fn clip_seconds(&self) -> Option<f64> {
        self.audio.clip_seconds.filter(|_| self.window.is_none())
    }

    /// The windows; none if the model predicts one clip.
    pub fn window(&self) -> Option<WindowSpec> {
        self.window
    }

    /// The windows, or the default ones for this model: as long as its training clips, and without gaps between them.
    pub fn window_or_default(&self) -> WindowSpec {
        let default = WindowSpec::default();
        let seconds = self.audio.clip_seconds.unwrap_or(default.seconds);
        self.window.unwrap_or(WindowSpec { seconds, hop: default.hop.min(seconds), ..default })
    }

    /// Whether predictions say how far a recording is from the training recordings.
    pub fn has_training_distance(&self) -> bool {
        self.pipeline.has_training_distance()
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

    fn start_clip(
        &self,
        mut stream: Stream,
        is_cancelled: impl Fn() -> bool,
    ) -> Result<PendingPrediction<'_>, RecordingError> {
        let mut clock = Instant::now();
        let mut lap = || std::mem::replace(&mut clock, Instant::now()).elapsed().as_secs_f64();
        let clip = stream.clip(&self.audio, || !is_cancelled()).map_err(|why| windowed::unusable(&why))?;
        let (clip, seconds) = clip.ok_or_else(windowed::cancelled)?;
        let rate = f64::from(self.audio.sample_rate);
        let start = self.audio.clip_range((seconds * rate).ceil() as usize).start as f64 / rate;
        let used = UsedPart::new(start, self.audio.clip_seconds.unwrap_or(seconds), seconds);
        let decode = lap();
        let row = self.pipeline.extract(&clip).map_err(|error| recording_error("no_feature", &error))?;
        // Rayon may run another recording on this thread while the model computes: free the samples before.
        drop(clip);
        let training_distance = self.pipeline.training_distance(&row);
        let features = lap();
        let rows = self.submit(vec![row]).map_err(|error| recording_error("no_prediction", &error))?;
        let timings = Timings { decode, features, model: lap() };
        let (probabilities, pending) = (Vec::new(), VecDeque::from([rows]));
        Ok(PendingPrediction {
            predictor: self,
            probabilities,
            pending,
            starts: None,
            seconds,
            cut_off: stream.cut_off(),
            used,
            training_distance,
            timings,
        })
    }

    /// Passes clips of equal length to the model: one row of probabilities per clip.
    fn submit(&self, clips: Vec<ClipFeatures>) -> Result<Rows> {
        match &self.batcher {
            Some(batcher) => batcher.submit(clips),
            None => self.pipeline.predict(clips, self.classes.len()).map(Rows::Ready),
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
        let prediction = Prediction {
            probabilities: vec![0.2, 0.4, 0.4],
            windows: None,
            seconds: 1.0,
            cut_off: None,
            used: UsedPart::new(0.0, 1.0, 1.0),
            training_distance: None,
            timings: Timings::default(),
        };
        let classes = Classes::new(["a", "b", "c"]);
        assert_eq!(prediction.ranked(&classes), [("b", 0.4), ("c", 0.4), ("a", 0.2)]);
    }

    #[test]
    fn the_used_part_of_windows_leaves_out_the_gaps_between_them() {
        let window = |seconds, hop| WindowSpec { seconds, hop, ..WindowSpec::default() };
        let used = |starts: &[f64], spec, seconds| {
            let UsedPart { start, seconds, share } = UsedPart::of_windows(starts, spec, seconds);
            (start, seconds, share)
        };
        assert_eq!(used(&[0.0, 1.0, 1.5], window(3.0, 1.0), 4.5), (0.0, 4.5, 1.0));
        assert_eq!(used(&[0.0], window(3.0, 1.0), 1.5), (0.0, 1.5, 1.0));
        // 0 to 1, 2 to 3 and 4 to 5 s; the last window begins half a second after the one before it.
        assert_eq!(used(&[0.0, 2.0, 4.0], window(1.0, 2.0), 5.0), (0.0, 3.0, 0.6));
        assert_eq!(used(&[0.0, 2.0, 2.5], window(1.0, 2.0), 3.5), (0.0, 2.5, 2.5 / 3.5));
    }
}
