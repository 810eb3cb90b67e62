//! A recording of any length, heard window by window: decoding, features and model beside each other, in bounded memory.
//!
//! Three stages hand batches on: one thread decodes, resamples and cuts; one computes the features of a batch on all threads
//! of the pool; the caller asks the model. At most two batches lie between two stages, so memory does not grow with the
//! recording, apart from the probabilities. The bits are those of the run, however windows fall into batches. With one
//! thread in the pool (`--jobs 1`) the stages take turns on the caller's.

use std::borrow::Cow;
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, Scope};
use std::time::Instant;

use rayon::prelude::*;

use super::pipeline::ClipFeatures;
use super::window_cutter::{Cut, WindowCutter};
use super::{Prediction, Predictor, Timings, left_out};
use timbre_evaluation::predictions::{Predictions, WindowPredictions};
use timbre_inputs::features::extraction::RecordingError;
use timbre_signal::audio::{Clip, Stream, Unusable};

/// Batches that may lie between two stages.
const AHEAD: usize = 1;

/// Where a recording comes from.
pub enum RecordingSource<'a> {
    Bytes {
        bytes: &'a [u8],
        extension: Option<&'a str>,
    },
    File(&'a Path),
    /// Read to its end.
    Pipe(&'a mut (dyn io::Read + Send)),
}

/// Who looks on while a recording is heard.
pub trait PredictionCallback: Send {
    /// The next samples, mono, at the rate of the model, of a recording that is heard in windows.
    fn on_samples(&mut self, _samples: &[f32]) {}

    /// Whether nobody wants to know any more: then the work ends soon, and the recording is left out (`left`).
    fn is_cancelled(&self) -> bool {
        false
    }
}

pub(super) fn left() -> RecordingError {
    RecordingError { code: "left".to_owned(), sentence: "nobody waits for it any more".to_owned() }
}

pub(super) fn unusable(why: &Unusable) -> RecordingError {
    RecordingError { code: why.code().to_owned(), sentence: why.to_string() }
}

fn unreadable(error: io::Error) -> RecordingError {
    unusable(&Unusable::Unreadable { found: error.to_string() })
}

/// Windows on their way to the model.
struct Batch {
    starts: Vec<usize>,
    what: Vec<ClipFeatures>,
}

impl Predictor {
    /// Hears a recording as the model does it: as one clip, or in windows.
    pub fn predict_recording(
        &self,
        recording: RecordingSource,
        onlooker: Option<&mut dyn PredictionCallback>,
    ) -> Result<Prediction, RecordingError> {
        if self.window.is_none() {
            let (bytes, extension) = match recording {
                RecordingSource::Bytes { bytes, extension } => (Cow::Borrowed(bytes), extension),
                RecordingSource::File(path) => {
                    let extension = path.extension().and_then(|extension| extension.to_str());
                    (Cow::Owned(std::fs::read(path).map_err(unreadable)?), extension)
                }
                RecordingSource::Pipe(pipe) => {
                    let mut bytes = Vec::new();
                    pipe.read_to_end(&mut bytes).map_err(unreadable)?;
                    (Cow::Owned(bytes), None)
                }
            };
            return self
                .predict_clip(&bytes, extension, || onlooker.as_ref().is_some_and(|onlooker| onlooker.is_cancelled()));
        }
        let rate = self.audio.sample_rate;
        let stream = match recording {
            RecordingSource::Bytes { bytes, extension } => Stream::from_bytes(bytes, extension, rate),
            RecordingSource::File(path) => Stream::open(path, rate),
            RecordingSource::Pipe(pipe) => Stream::from_pipe(pipe, rate),
        };
        let stream = stream.and_then(|stream| stream.with_limits(self.bounds));
        self.predict_windows(stream.map_err(|why| unusable(&why))?, onlooker)
    }

    fn predict_windows(
        &self,
        mut stream: Stream,
        onlooker: Option<&mut dyn PredictionCallback>,
    ) -> Result<Prediction, RecordingError> {
        let (window, rate) = (self.window.expect("it hears windows"), self.audio.sample_rate);
        let mut decoding = Cutting {
            stream: &mut stream,
            cutter: WindowCutter::new(window, rate),
            ready: Vec::new(),
            batch_size: self.batch_size,
            onlooker,
            ended: false,
            seconds: 0.0,
        };
        let mut features_seconds = 0.0;
        let mut asked = Asked { predictor: self, starts: Vec::new(), probabilities: Vec::new(), seconds: 0.0 };
        {
            let (decoding, features_seconds, asked) = (&mut decoding, &mut features_seconds, &mut asked);
            let mut features = |cuts: Result<Vec<Cut>, RecordingError>| {
                let clock = Instant::now();
                let batch = cuts.and_then(|cuts| self.batch(cuts));
                *features_seconds += clock.elapsed().as_secs_f64();
                batch
            };
            if rayon::current_num_threads() == 1 {
                decoding.map(features).try_for_each(|batch| asked.take(batch?))?;
            } else {
                thread::scope(|scope| {
                    let cuts = ahead(scope, "decoder", decoding);
                    let batches = ahead(scope, "features", cuts.into_iter().map(&mut features));
                    batches.into_iter().try_for_each(|batch| asked.take(batch?))
                })?;
            }
        }
        let windows = WindowPredictions::new(
            Predictions { n_classes: self.classes.len(), probabilities: asked.probabilities },
            &[asked.starts.iter().map(|&start| start as f64 / f64::from(rate)).collect()],
        );
        let timings = Timings { decode: decoding.seconds, features: features_seconds, model: asked.seconds };
        Ok(Prediction {
            probabilities: self.decision_rule.decide_windows(&windows).scores.probabilities,
            windows: Some(windows),
            seconds: stream.seconds(),
            timings,
        })
    }

    fn batch(&self, cuts: Vec<Cut>) -> Result<Batch, RecordingError> {
        let sample_rate = self.audio.sample_rate;
        let (starts, windows): (Vec<usize>, Vec<Vec<f32>>) = cuts.into_iter().unzip();
        let extract = |samples| self.extract(&Clip { samples, sample_rate });
        let what: anyhow::Result<Vec<ClipFeatures>> = windows.into_par_iter().map(extract).collect();
        Ok(Batch { starts, what: what.map_err(|error| left_out("no_feature", &error))? })
    }
}

/// Takes from `items` on a thread of its own. It ends with the items, or when nobody wants them any more.
fn ahead<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    items: impl Iterator<Item = T> + Send + 'scope,
) -> Receiver<T> {
    let (give, take) = sync_channel(AHEAD);
    let work = move || {
        for item in items {
            if give.send(item).is_err() {
                break;
            }
        }
    };
    thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, work).expect("a thread can be started");
    take
}

/// The first stage: batches of windows, or why the recording cannot be used.
struct Cutting<'a, 's, 'o> {
    stream: &'a mut Stream<'s>,
    cutter: WindowCutter,
    /// Windows of a batch that is not full yet.
    ready: Vec<Cut>,
    batch_size: usize,
    onlooker: Option<&'o mut dyn PredictionCallback>,
    ended: bool,
    seconds: f64,
}

impl Iterator for Cutting<'_, '_, '_> {
    type Item = Result<Vec<Cut>, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        let clock = Instant::now();
        let batch = self.cut();
        self.seconds += clock.elapsed().as_secs_f64();
        self.ended |= matches!(batch, Some(Err(_)));
        batch
    }
}

impl Cutting<'_, '_, '_> {
    fn cut(&mut self) -> Option<Result<Vec<Cut>, RecordingError>> {
        while self.ready.len() < self.batch_size && !self.ended {
            if let Some(cut) = self.cutter.next() {
                self.ready.push(cut);
                continue;
            }
            let held = self.cutter.more();
            let before = held.len();
            match self.stream.next_block(held) {
                Err(why) => return Some(Err(unusable(&why))),
                Ok(true) => {
                    if let Some(onlooker) = &mut self.onlooker {
                        if onlooker.is_cancelled() {
                            return Some(Err(left()));
                        }
                        onlooker.on_samples(&held[before..]);
                    }
                }
                Ok(false) => {
                    self.ended = true;
                    self.ready.extend(self.cutter.rest());
                }
            }
        }
        // The windows that the end adds may be one more than a batch.
        let rest = self.ready.split_off(self.ready.len().min(self.batch_size));
        let batch = std::mem::replace(&mut self.ready, rest);
        (!batch.is_empty()).then_some(Ok(batch))
    }
}

/// The last stage: what the model has said so far.
struct Asked<'a> {
    predictor: &'a Predictor,
    starts: Vec<usize>,
    probabilities: Vec<f32>,
    seconds: f64,
}

impl Asked<'_> {
    fn take(&mut self, batch: Batch) -> Result<(), RecordingError> {
        let clock = Instant::now();
        let said = self.predictor.ask(batch.what).map_err(|error| left_out("no_prediction", &error))?;
        self.starts.extend(batch.starts);
        self.probabilities.extend(said);
        self.seconds += clock.elapsed().as_secs_f64();
        Ok(())
    }
}
