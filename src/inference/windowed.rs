//! Predicts the windows of a recording of any length in bounded memory: decoding, features and model run concurrently.
//!
//! Three stages pass batches on: one thread decodes, resamples and cuts; one computes the features of a batch on all threads
//! of the pool; the caller's thread runs the model, or passes the features to the micro-batcher. At most two batches are between
//! two stages, so only the probabilities grow with the recording. The bits are those of the run, however the windows are batched.
//! With one thread in the pool (`--jobs 1`) the stages take turns on the caller's thread.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, Scope};
use std::time::Instant;

use rayon::prelude::*;

use super::micro_batcher::Rows;
use super::pipeline::ClipFeatures;
use super::window_cutter::{Cut, WindowCutter};
use super::{PendingPrediction, Prediction, Predictor, Timings, UsedPart, recording_error};
use timbre_inputs::features::extraction::RecordingError;
use timbre_models::training_distance;
use timbre_signal::audio::{Clip, RecordingSource, Stream, Unusable};

/// Batches in the channel between two stages; one more may wait to be sent.
const AHEAD: usize = 1;

/// Receives the samples of a recording during its prediction, and can cancel it.
pub trait PredictionCallback: Send {
    /// The next decoded samples: mono, at the model's sample rate. Called with windows only.
    fn on_samples(&mut self, _samples: &[f32]) {}

    /// Returns true to end the work soon with the error code `left`.
    fn is_cancelled(&self) -> bool {
        false
    }
}

pub(super) fn cancelled() -> RecordingError {
    RecordingError { code: "left".to_owned(), sentence: "the prediction was cancelled".to_owned() }
}

pub(super) fn unusable(why: &Unusable) -> RecordingError {
    RecordingError { code: why.code().to_owned(), sentence: why.to_string() }
}

/// Features of windows, on the way to the model.
struct Batch {
    starts: Vec<usize>,
    features: Vec<ClipFeatures>,
    /// From the training recordings; empty if the model cannot tell.
    distances: Vec<f64>,
}

impl Predictor {
    /// Predicts a recording as one clip or in windows, depending on the model.
    pub fn predict_recording(
        &self,
        recording: RecordingSource,
        callback: Option<&mut dyn PredictionCallback>,
    ) -> Result<Prediction, RecordingError> {
        self.start_recording(recording, callback)?.finish()
    }

    /// Decodes a recording and computes its features. With micro-batching the model may still be at work on them: several
    /// recordings that are started before the first is finished share batches.
    pub fn start_recording(
        &self,
        recording: RecordingSource,
        callback: Option<&mut dyn PredictionCallback>,
    ) -> Result<PendingPrediction<'_>, RecordingError> {
        let stream = Stream::up_to_cut(recording, &self.audio);
        // Windows and clips of a long recording take little memory, a whole recording takes all that it needs.
        let is_whole = self.window.is_none() && self.audio.clip_seconds.is_none();
        let limits = if is_whole { self.limits.and(self.audio.limits()) } else { self.limits };
        let stream = stream.and_then(|stream| stream.with_limits(limits)).map_err(|why| unusable(&why))?;
        if self.window.is_some() {
            self.start_windows(stream, callback)
        } else {
            self.start_clip(stream, || callback.as_ref().is_some_and(|callback| callback.is_cancelled()))
        }
    }

    fn start_windows(
        &self,
        mut stream: Stream,
        callback: Option<&mut dyn PredictionCallback>,
    ) -> Result<PendingPrediction<'_>, RecordingError> {
        let (window, rate) = (self.window.expect("this model uses windows"), self.audio.sample_rate);
        let mut windows = WindowBatches {
            stream: &mut stream,
            cutter: WindowCutter::new(window, rate),
            ready: Vec::new(),
            batch_size: self.batch_size,
            callback,
            ended: false,
            seconds: 0.0,
        };
        let mut features_seconds = 0.0;
        let mut output = Output {
            predictor: self,
            starts: Vec::new(),
            distances: Vec::new(),
            probabilities: Vec::new(),
            pending: VecDeque::new(),
            seconds: 0.0,
        };
        {
            let (windows, features_seconds, output) = (&mut windows, &mut features_seconds, &mut output);
            let mut extract = |cuts: Result<Vec<Cut>, RecordingError>| {
                let clock = Instant::now();
                let batch = cuts.and_then(|cuts| self.extract_batch(cuts));
                *features_seconds += clock.elapsed().as_secs_f64();
                batch
            };
            if rayon::current_num_threads() == 1 {
                windows.map(extract).try_for_each(|batch| output.add(batch?))?;
            } else {
                thread::scope(|scope| {
                    let cuts = run_ahead(scope, "decoder", windows);
                    let batches = run_ahead(scope, "features", cuts.into_iter().map(&mut extract));
                    batches.into_iter().try_for_each(|batch| output.add(batch?))
                })?;
            }
        }
        let timings = Timings { decode: windows.seconds, features: features_seconds, model: output.seconds };
        let seconds = stream.seconds();
        let starts: Vec<f64> = output.starts.iter().map(|&start| start as f64 / f64::from(rate)).collect();
        Ok(PendingPrediction {
            predictor: self,
            probabilities: output.probabilities,
            pending: output.pending,
            used: UsedPart::of_windows(&starts, window, seconds),
            training_distance: training_distance::median(output.distances),
            starts: Some(starts),
            seconds,
            cut_off: stream.cut_off(),
            timings,
        })
    }

    fn extract_batch(&self, cuts: Vec<Cut>) -> Result<Batch, RecordingError> {
        let sample_rate = self.audio.sample_rate;
        let (starts, windows): (Vec<usize>, Vec<Vec<f32>>) = cuts.into_iter().unzip();
        let extract = |samples| self.pipeline.extract(&Clip { samples, sample_rate });
        let features: anyhow::Result<Vec<ClipFeatures>> = windows.into_par_iter().map(extract).collect();
        let features = features.map_err(|error| recording_error("no_feature", &error))?;
        let distances = features.iter().filter_map(|clip| self.pipeline.training_distance(clip)).collect();
        Ok(Batch { starts, features, distances })
    }
}

/// Runs the iterator on a thread of its own. The thread ends with the items, or when the receiver is dropped.
fn run_ahead<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    items: impl Iterator<Item = T> + Send + 'scope,
) -> Receiver<T> {
    let (sender, receiver) = sync_channel(AHEAD);
    let work = move || {
        for item in items {
            if sender.send(item).is_err() {
                break;
            }
        }
    };
    thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, work).expect("a thread can be started");
    receiver
}

/// The first stage: batches of windows, or the error of the recording.
struct WindowBatches<'a, 's, 'o> {
    stream: &'a mut Stream<'s>,
    cutter: WindowCutter,
    /// Windows of an incomplete batch.
    ready: Vec<Cut>,
    batch_size: usize,
    callback: Option<&'o mut dyn PredictionCallback>,
    ended: bool,
    seconds: f64,
}

impl Iterator for WindowBatches<'_, '_, '_> {
    type Item = Result<Vec<Cut>, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        let clock = Instant::now();
        let batch = self.next_batch();
        self.seconds += clock.elapsed().as_secs_f64();
        self.ended |= matches!(batch, Some(Err(_)));
        batch
    }
}

impl WindowBatches<'_, '_, '_> {
    fn next_batch(&mut self) -> Option<Result<Vec<Cut>, RecordingError>> {
        while self.ready.len() < self.batch_size && !self.ended {
            if let Some(cut) = self.cutter.next() {
                self.ready.push(cut);
                continue;
            }
            let buffer = self.cutter.buffer();
            let before = buffer.len();
            match self.stream.next_block(buffer) {
                Err(why) => return Some(Err(unusable(&why))),
                Ok(true) => {
                    if let Some(callback) = &mut self.callback {
                        if callback.is_cancelled() {
                            return Some(Err(cancelled()));
                        }
                        callback.on_samples(&buffer[before..]);
                    }
                }
                Ok(false) => {
                    self.ended = true;
                    self.ready.extend(self.cutter.rest());
                }
            }
        }
        // At the end of the recording there may be one window more than fits in a batch.
        let rest = self.ready.split_off(self.ready.len().min(self.batch_size));
        let batch = std::mem::replace(&mut self.ready, rest);
        (!batch.is_empty()).then_some(Ok(batch))
    }
}

/// The last stage: runs the model and collects its output.
struct Output<'a> {
    predictor: &'a Predictor,
    starts: Vec<usize>,
    distances: Vec<f64>,
    probabilities: Vec<f32>,
    /// The rows of the last batches.
    pending: VecDeque<Rows>,
    seconds: f64,
}

impl Output<'_> {
    fn add(&mut self, batch: Batch) -> Result<(), RecordingError> {
        let clock = Instant::now();
        let failed = |error| recording_error("no_prediction", &error);
        if self.pending.len() > AHEAD
            && let Some(rows) = self.pending.pop_front()
        {
            self.probabilities.extend(rows.wait().map_err(failed)?);
        }
        self.pending.push_back(self.predictor.submit(batch.features).map_err(failed)?);
        self.starts.extend(batch.starts);
        self.distances.extend(batch.distances);
        self.seconds += clock.elapsed().as_secs_f64();
        Ok(())
    }
}
