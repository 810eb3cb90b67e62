//! A saved model of a run, ready to hear recordings: the same front end, the same weights, the same bits as in the run.
//!
//! A model that was judged on windows hears all of a recording in the same windows, however long it is (`windowed.rs`). For
//! any other a recording is brought to the length of the run's clips exactly as there (`audio.clip_seconds`, `audio.crop`),
//! and of a longer one only that part is heard, unless windows are asked for.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use thiserror::Error;

use timbre_core::labels::{Classes, Task};
use timbre_core::registry::Fault;
use timbre_evaluation::aggregation::Aggregate;
use timbre_evaluation::metrics::DecisionRule;
use timbre_evaluation::predictions::{Predictions, WindowPredictions};
use timbre_inputs::features::extraction::RecordingError;
use timbre_models::device::Device;
use timbre_runs::run_dir::{self, ResultRow, RunRecord};
use timbre_signal::audio::{self, AudioSpec, Clip, DecodeLimits};
use timbre_signal::windows::WindowSpec;

mod window_cutter;
mod weighted_ensemble;
mod micro_batcher;
pub mod output_formats;
mod pipeline;
mod model_choice;
mod windowed;

pub use micro_batcher::BatchStats;
use micro_batcher::MicroBatcher;
use pipeline::{ClipFeatures, InferencePipeline, InferenceSpec};
pub use weighted_ensemble::WeightedEnsemble;
pub use windowed::{PredictionCallback, RecordingSource};

/// The run has several models, and nothing says which is meant.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct WhichModel(pub String);

/// A model with the front end that it was trained behind, or an ensemble of models with theirs.
pub struct Predictor {
    name: ModelName,
    classes: Classes,
    audio: AudioSpec,
    decision_rule: DecisionRule,
    /// Recordings are heard in these windows; nothing: as one clip.
    window: Option<WindowSpec>,
    voices: Arc<InferencePipeline>,
    /// Where the questions of many recordings meet; nothing: each is asked by itself.
    together: Option<MicroBatcher>,
    /// How many windows it is asked about at once.
    batch_size: usize,
    bounds: DecodeLimits,
    measured: RunScores,
}

/// Windows that a network is asked about at once: its larger layers then still fit the cache.
const WINDOWS_OF_A_NETWORK: usize = 16;
/// Windows that any other model is asked about at once: kNN reads all of its training set each time.
const WINDOWS_OF_OTHERS: usize = 64;

/// How good the run found the model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunScores {
    /// The data set.
    pub data: String,
    /// The metric of the run.
    pub metric: String,
    /// One a side of the split.
    pub rows: Vec<ResultRow>,
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
pub struct Prediction {
    /// One a class, in the order of the classes: the probabilities of the clip, or the scores that its windows come to.
    pub probabilities: Vec<f32>,
    /// What was said of each window, where it was heard in windows.
    pub windows: Option<WindowPredictions>,
    /// The length of the whole recording.
    pub seconds: f64,
    pub timings: Timings,
}

/// Seconds a stage. In windows the stages run beside each other, and a stage may use several threads: they need not sum up to
/// the time that passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Timings {
    pub decode: f64,
    pub features: f64,
    pub model: f64,
}

impl Prediction {
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
        let model = model_choice::choose(&record, &run_dir::models(&run), model, called)?;
        Predictor::read(&run, &record, &model, device)
    }

    fn read(run: &Path, record: &RunRecord, model: &str, device: &Device) -> Result<Predictor> {
        let refused = || format!("the model {model} of {} cannot be used", run.display());
        let (voices, InferenceSpec { classes, audio, decision_rule, window: judged }) =
            InferencePipeline::read(run, model, device).with_context(refused)?;
        check_cutoffs(&decision_rule, &classes).with_context(refused)?;
        let name = ModelName {
            experiment: record.experiment.clone(),
            signature: record.signature.clone(),
            model: model.to_owned(),
        };
        let batch_size = if voices.has_network { WINDOWS_OF_A_NETWORK } else { WINDOWS_OF_OTHERS };
        let rows = record.results.iter().filter(|row| row.trial.to_string() == model).cloned().collect();
        let measured = RunScores { data: record.data.name.clone(), metric: record.metric.clone(), rows };
        let (window, voices, together, bounds) = (None, Arc::new(voices), None, DecodeLimits::NONE);
        let predictor =
            Predictor { name, classes, audio, decision_rule, window, voices, together, batch_size, bounds, measured };
        match judged {
            Some(window) => predictor.judging_windows(window).with_context(refused),
            None => {
                predictor.try_out(predictor.audio.clip_samples()).with_context(refused)?;
                Ok(predictor)
            }
        }
    }

    /// The same model, hearing recordings in these windows. One that was judged on clips, of several labels, then counts votes
    /// as an experiment with windows does unless told.
    pub fn with_windows(mut self, window: WindowSpec) -> Result<Predictor> {
        if self.window.is_none() && self.decision_rule.task == Task::MultiLabel {
            self.decision_rule.aggregate = Aggregate::Vote;
        }
        let seconds = window.seconds;
        self.judging_windows(window)
            .with_context(|| format!("windows of {seconds} s cannot be heard by this model: choose another --window"))
    }

    /// The same model, for which a recording that is more than this is unusable.
    pub fn within(self, bounds: DecodeLimits) -> Predictor {
        Predictor { bounds, ..self }
    }

    /// The same model, which is asked about windows of several recordings at once if they come at the same time.
    pub fn with_micro_batching(self) -> Result<Predictor> {
        let together = MicroBatcher::new(self.voices.clone(), self.classes.len(), self.batch_size)?;
        Ok(Predictor { together: Some(together), ..self })
    }

    /// How often questions of several recordings were asked together so far.
    pub fn batch_stats(&self) -> BatchStats {
        self.together.as_ref().map(MicroBatcher::batch_stats).unwrap_or_default()
    }

    fn judging_windows(mut self, window: WindowSpec) -> Result<Predictor> {
        if let Some(Fault { key, sentence }) = window.faults().into_iter().next() {
            bail!("its window.{key}: {sentence}");
        }
        check_seconds(window.seconds)?;
        let length = window.length(self.audio.sample_rate);
        // A feature that is resized has one shape whatever it was made of: the weights would fit, and another tempo be heard.
        if self.voices.has_network && self.audio.clip_samples() != Some(length) {
            let trained_on = self.audio.clip_seconds;
            let clips = trained_on.map_or("as long as their recordings".to_owned(), |s| format!("of {s} s"));
            bail!(
                "a network hears only windows as long as its clips: it was trained on clips {clips}, and these windows last \
                 {} s",
                window.seconds
            );
        }
        self.try_out(Some(length))?;
        self.window = Some(window);
        Ok(self)
    }

    /// Where all clips have one length, the shape of the feature is known before the first recording: weights of another
    /// shape are found now, not at the first request.
    fn try_out(&self, frames: Option<usize>) -> Result<()> {
        let Some(frames) = frames else { return Ok(()) };
        let samples = (0..frames).map(|i| if i % 100 < 50 { 0.1 } else { -0.1 }).collect();
        self.ask(vec![self.extract(&Clip { samples, sample_rate: self.audio.sample_rate })?]).map(drop)
    }

    pub fn name(&self) -> &ModelName {
        &self.name
    }

    pub fn classes(&self) -> &Classes {
        &self.classes
    }

    /// How probabilities become decisions.
    pub fn decision_rule(&self) -> &DecisionRule {
        &self.decision_rule
    }

    pub fn run_scores(&self) -> &RunScores {
        &self.measured
    }

    /// The classes that are decided for what was heard: the likeliest, or with several labels all that reach the cut-off of
    /// the run.
    pub fn decided_classes(&self, heard: &Prediction) -> Vec<&str> {
        let row = Predictions { n_classes: self.classes.len(), probabilities: heard.probabilities.clone() };
        let decided = self.decision_rule.decide_recordings(&row, heard.windows.as_ref()).decided;
        decided.concat().into_iter().map(|class| self.classes.name(class)).collect()
    }

    /// How many seconds of a recording are heard; all of it where this is none.
    pub fn clip_seconds(&self) -> Option<f64> {
        self.audio.clip_seconds.filter(|_| self.window.is_none())
    }

    /// The windows in which recordings are heard; none where they are heard as one clip.
    pub fn window(&self) -> Option<WindowSpec> {
        self.window
    }

    /// The windows in which it hears, or would: as long as the clips it was trained on.
    pub fn window_or_default(&self) -> WindowSpec {
        let usual = WindowSpec::default();
        self.window.unwrap_or(WindowSpec { seconds: self.audio.clip_seconds.unwrap_or(usual.seconds), ..usual })
    }

    /// The rate at which recordings are heard.
    pub fn sample_rate(&self) -> u32 {
        self.audio.sample_rate
    }

    /// From which probability on a window is taken to have the class, a number a class.
    pub fn cutoffs(&self) -> Vec<f64> {
        self.decision_rule.cutoffs(self.classes.len())
    }

    /// Hears the bytes of a file; `extension` is the file's, without the dot.
    pub fn predict(&self, bytes: &[u8], extension: Option<&str>) -> Result<Prediction, RecordingError> {
        self.predict_recording(RecordingSource::Bytes { bytes, extension }, None)
    }

    /// [`predict`](Self::predict) for a file, of which only a part is ever in memory if it is heard in windows.
    pub fn predict_file(&self, path: &Path) -> Result<Prediction, RecordingError> {
        self.predict_recording(RecordingSource::File(path), None)
    }

    fn predict_clip(
        &self,
        bytes: &[u8],
        extension: Option<&str>,
        is_cancelled: impl Fn() -> bool,
    ) -> Result<Prediction, RecordingError> {
        let mut clock = Instant::now();
        let mut lap = || std::mem::replace(&mut clock, Instant::now()).elapsed().as_secs_f64();
        let recording = audio::decode_while(bytes, extension, self.bounds, || !is_cancelled());
        let recording = recording.map_err(|why| windowed::unusable(&why))?.ok_or_else(windowed::left)?;
        let seconds = recording.samples.len() as f64 / f64::from(recording.sample_rate);
        let clip = recording.into_clip(&self.audio);
        let decode = lap();
        let row = self.extract(&clip).map_err(|error| left_out("no_feature", &error))?;
        // While the model computes in parallel, this thread may begin with another recording.
        drop(clip);
        let features = lap();
        let probabilities = self.ask(vec![row]).map_err(|error| left_out("no_prediction", &error))?;
        Ok(Prediction { probabilities, windows: None, seconds, timings: Timings { decode, features, model: lap() } })
    }

    fn extract(&self, clip: &Clip) -> Result<ClipFeatures> {
        self.voices.extract(clip)
    }

    /// The probabilities of clips of one length, a row a clip.
    fn ask(&self, clips: Vec<ClipFeatures>) -> Result<Vec<f32>> {
        match &self.together {
            Some(together) => together.ask(clips),
            None => self.voices.ask(clips, self.classes.len()),
        }
    }
}

fn left_out(code: &str, error: &anyhow::Error) -> RecordingError {
    RecordingError { code: code.to_owned(), sentence: format!("{error:#}") }
}

/// The ranges of the experiment's schema, for a description that was changed by hand.
fn check_audio(audio: &AudioSpec) -> Result<()> {
    ensure!((1000..=384_000).contains(&audio.sample_rate), "its sample rate is {} Hz", audio.sample_rate);
    audio.clip_seconds.map_or(Ok(()), check_seconds)
}

/// For a description that was changed by hand, too.
fn check_cutoffs(decision_rule: &DecisionRule, classes: &Classes) -> Result<()> {
    let (own, all) = (decision_rule.cutoffs.len(), classes.len());
    ensure!(own == 0 || own == all, "it has {own} cut-offs for {all} classes: one a class is needed, or none");
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
    fn the_likeliest_class_comes_first_and_of_equals_the_first() {
        let heard =
            Prediction { probabilities: vec![0.2, 0.4, 0.4], windows: None, seconds: 1.0, timings: Timings::default() };
        let classes = Classes::new(["a", "b", "c"]);
        assert_eq!(heard.ranked(&classes), [("b", 0.4), ("c", 0.4), ("a", 0.2)]);
    }
}
