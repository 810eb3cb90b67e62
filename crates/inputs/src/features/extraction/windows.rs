//! The windows of a recording in the feature cache.
//!
//! The matrices of the windows are stored one after the other in one record, [windows × rows, columns]; a new record
//! begins after every [`WINDOWS_PER_RECORD`] windows, so that an hour-long recording is never in memory as a whole. The
//! recipe consists of sample rate, window and feature; the length and position of training clips do not affect it. The
//! number of windows follows from the length of the recording, which has a record of its own.

use std::ops::Range;

use anyhow::Result;
use serde_json::{Value, json};

use crate::features::cache::{CacheEntry, CachedMatrix, FeatureCache, Hash, Recipe};
use crate::features::{ClipAnalysis, ClipOrigin, Extractor, FeatureMatrix, WindowedSignal};
use timbre_signal::{
    audio::{AudioSpec, Clip, Recording, resample},
    windows::{self, WindowSpec},
};

/// A record of this many windows takes tens of megabytes for the largest features.
const WINDOWS_PER_RECORD: usize = 64;

/// One feature of every window of a recording, in the cache.
#[derive(Clone, Debug)]
pub struct CachedWindows {
    /// The first sample of each window, ascending.
    starts: Vec<usize>,
    records: Vec<CachedMatrix>,
    shape: [usize; 2],
}

impl CachedWindows {
    /// `None` if the records do not hold the matrices of this many windows.
    fn new(starts: Vec<usize>, records: Vec<CachedMatrix>) -> Option<CachedWindows> {
        let first = records.first()?;
        let shape = [first.rows / starts.len().min(WINDOWS_PER_RECORD), first.cols];
        let mut left = starts.len();
        for record in &records {
            let here = left.min(WINDOWS_PER_RECORD);
            if [record.rows, record.cols] != [here * shape[0], shape[1]] {
                return None;
            }
            left -= here;
        }
        (left == 0).then_some(CachedWindows { starts, records, shape })
    }

    pub fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// Bands and frames of the matrix of a window.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// Copies the values `range` (row-major) of the matrix of a window to `out`.
    pub fn read(&self, window: usize, range: Range<usize>, out: &mut [f32]) -> Result<()> {
        let before = window % WINDOWS_PER_RECORD * self.shape[0] * self.shape[1];
        self.records[window / WINDOWS_PER_RECORD].read(before + range.start..before + range.end, out)
    }
}

/// How recordings are cut into windows, and under which keys the cache stores their features.
pub(super) struct Windowing {
    spec: WindowSpec,
    /// Sample rate, resampler, trimming and level.
    audio: AudioSpec,
    /// The recipe under which the cache stores the length of a recording.
    pub length: Recipe,
}

impl Windowing {
    /// `stages`: the versions of the stages before.
    pub fn new(spec: WindowSpec, audio: &AudioSpec, stages: &Value) -> Windowing {
        let length = Recipe::new(recipe(audio, stages, &[("measure", json!("length"))]));
        Windowing { spec, audio: audio.clone(), length }
    }

    /// The recipe of a feature of windows.
    pub fn recipe(&self, stages: &Value, feature: &Value, version: u32) -> Recipe {
        let parts = [
            ("feature", feature.clone()),
            ("extraction", json!(version)),
            ("window", json!(self.spec)),
            ("windows", json!(windows::VERSION)),
        ];
        Recipe::new(recipe(&self.audio, stages, &parts))
    }

    /// The first samples of the windows of a recording, if the cache knows its length.
    pub fn starts(&self, content: &Hash, cache: &FeatureCache) -> Option<Vec<usize>> {
        let length = matrix(cache, content, &self.length.hash)?;
        if length.dims() != 2 || !length.is_intact() {
            return None;
        }
        let mut halves = [0.0; 2];
        length.read(0..2, &mut halves).ok()?;
        Some(self.spec.starts(halves[0] as usize * HALF + halves[1] as usize, self.audio.sample_rate))
    }

    /// The windows of a recording under a recipe, if the cache has all of them; `intact` verifies them.
    pub fn find(
        &self,
        content: &Hash,
        recipe: &Hash,
        starts: &[usize],
        cache: &FeatureCache,
        intact: bool,
    ) -> Option<CachedWindows> {
        let records: Option<Vec<CachedMatrix>> = (0..starts.len().div_ceil(WINDOWS_PER_RECORD))
            .map(|n| matrix(cache, content, &key(recipe, n)).filter(|record| !intact || record.is_intact()).cloned())
            .collect();
        CachedWindows::new(starts.to_vec(), records?)
    }

    /// The keys under which the cache has the windows of a recording under a recipe.
    pub fn keys(&self, content: &Hash, recipe: &Hash, cache: &FeatureCache) -> Vec<Hash> {
        let windows = self.starts(content, cache).map_or(0, |starts| starts.len());
        (0..windows.div_ceil(WINDOWS_PER_RECORD)).map(|n| key(recipe, n)).collect()
    }

    /// The whole recording at the sample rate of the features.
    pub fn whole(&self, recording: Recording) -> Recording {
        let sample_rate = self.audio.sample_rate;
        let samples = resample(&recording.samples, recording.sample_rate, sample_rate, self.audio.resampler);
        Recording { samples, sample_rate, ..recording }
    }

    /// Computes features of every window of a [`whole`](Self::whole) recording, with shared spectrograms, and stores
    /// them in the cache. For a feature that cannot be computed, returns the reason.
    pub fn compute(
        &self,
        (recording, content): (&str, &Hash),
        whole: &Recording,
        features: &[(&Recipe, &dyn Extractor)],
        cache: &FeatureCache,
    ) -> Result<Vec<Result<CachedWindows>>> {
        let (samples, sample_rate) = (whole.samples.len(), self.audio.sample_rate);
        if self.starts(content, cache).is_none() {
            let halves = vec![(samples / HALF) as f32, (samples % HALF) as f32];
            cache.put(content, &self.length.hash, &FeatureMatrix { rows: 1, cols: 2, values: halves })?;
        }
        let starts = self.spec.starts(samples, sample_rate);
        let mut records: Vec<Result<Vec<CachedMatrix>>> = features.iter().map(|_| Ok(Vec::new())).collect();
        for (n, starts) in starts.chunks(WINDOWS_PER_RECORD).enumerate() {
            let mut matrices: Vec<FeatureMatrix> =
                features.iter().map(|_| FeatureMatrix { rows: 0, cols: 0, values: Vec::new() }).collect();
            let (length, hop) = (self.spec.length(sample_rate), self.spec.hop_length(sample_rate));
            let (begin, end) = (starts[0], (starts[starts.len() - 1] + length).min(samples));
            let stretch = WindowedSignal::new(&whole.samples[begin..end], length, hop);
            for &start in starts {
                let clip = Clip { samples: self.spec.cut(&whole.samples, start, sample_rate), sample_rate };
                let is_whole = start + length <= samples;
                let analysis = if is_whole {
                    ClipAnalysis::window(&clip, &stretch, start - begin)
                } else {
                    ClipAnalysis::new(&clip)
                };
                let seconds = start as f64 / f64::from(sample_rate);
                let analysis = analysis.at(ClipOrigin { recording, start: Some(seconds) });
                for ((matrix, (_, extractor)), records) in matrices.iter_mut().zip(features).zip(&mut records) {
                    if records.is_err() {
                        continue;
                    }
                    match extractor.extract_finite(&analysis) {
                        Ok(of_window) => {
                            matrix.rows += of_window.rows;
                            matrix.cols = of_window.cols;
                            matrix.values.extend(of_window.values);
                        }
                        Err(why) => *records = Err(why),
                    }
                }
            }
            for ((matrix, (recipe, _)), records) in matrices.iter().zip(features).zip(&mut records) {
                if let Ok(records) = records {
                    records.push(cache.put(content, &key(&recipe.hash, n), matrix)?);
                }
            }
        }
        let stored =
            |records| CachedWindows::new(starts.clone(), records).expect("every window has a matrix of one shape");
        Ok(records.into_iter().map(|records| records.map(stored)).collect())
    }
}

/// The length is stored as a matrix of two whole numbers, because a single f32 cannot represent it.
const HALF: usize = 1 << 16;

fn recipe(audio: &AudioSpec, stages: &Value, parts: &[(&str, Value)]) -> Value {
    let mut recipe = json!({ "audio": { "sample_rate": audio.sample_rate, "resampler": audio.resampler } });
    if let Some(top_db) = audio.trim {
        recipe["audio"]["trim"] = json!(top_db);
    }
    if let Some(normalize) = audio.normalize {
        recipe["audio"]["normalize"] = json!(normalize);
    }
    let stages = stages.as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), value.clone()));
    for (key, value) in stages.chain(parts.iter().cloned()) {
        recipe[key] = value;
    }
    recipe
}

/// The key of the n-th record of a recipe.
fn key(recipe: &Hash, n: usize) -> Hash {
    if n == 0 {
        return *recipe;
    }
    *blake3::keyed_hash(recipe, &(n as u64).to_le_bytes()).as_bytes()
}

fn matrix<'a>(cache: &'a FeatureCache, content: &Hash, recipe: &Hash) -> Option<&'a CachedMatrix> {
    match cache.get(content, recipe) {
        Some(CacheEntry::Matrix(stored)) => Some(stored),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::FeatureSpec;
    use timbre_signal::audio::ResampleFilter;

    const RATE: u32 = 1000;

    fn feature(json: Value) -> (Value, Box<dyn Extractor>) {
        let spec: FeatureSpec = serde_json::from_value(json.clone()).unwrap();
        (json, spec.as_kind().build(RATE).unwrap())
    }

    fn noise(samples: usize) -> Recording {
        let samples = (0..samples as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0);
        Recording { samples: samples.collect(), sample_rate: RATE, channels: 1 }
    }

    fn read(windows: &CachedWindows, window: usize) -> Vec<f32> {
        let [rows, cols] = windows.shape();
        let mut out = vec![0.0; rows * cols];
        windows.read(window, 0..rows * cols, &mut out).unwrap();
        out
    }

    #[test]
    fn windows_are_read_back_as_computed_alone_for_any_length() {
        let spec = WindowSpec { seconds: 0.3, hop: 0.1, ..WindowSpec::default() };
        let stages = json!({ "decoding": 1 });
        let (raw, raw_extractor) = feature(json!({ "kind": "raw" }));
        let folder = tempfile::tempdir().unwrap();
        // One window, a few, exactly one record, and more than two records; with and without frames that windows share.
        let cases = [120, 300, 555, 6600, 14_321].into_iter().flat_map(|samples| [(samples, 32), (samples, 25)]);
        for (n, (samples, hop_length)) in cases.enumerate() {
            let (mel, mel_extractor) =
                feature(json!({ "kind": "mel", "n_fft": 128, "hop_length": hop_length, "n_mels": 10 }));
            let (content, whole) = ([n as u8; 32], noise(samples));
            let windowing = Windowing::new(spec, &AudioSpec::at(RATE), &stages);
            let recipes = [windowing.recipe(&stages, &raw, 1), windowing.recipe(&stages, &mel, 1)];
            let features: Vec<(&Recipe, &dyn Extractor)> =
                vec![(&recipes[0], raw_extractor.as_ref()), (&recipes[1], mel_extractor.as_ref())];
            let cache = FeatureCache::open(folder.path()).unwrap();
            assert!(windowing.starts(&content, &cache).is_none());
            let made = windowing.compute(("x", &content), &whole, &features, &cache).unwrap();
            let made: Vec<CachedWindows> = made.into_iter().map(Result::unwrap).collect();
            cache.close().unwrap();
            let cache = FeatureCache::open(folder.path()).unwrap();
            let starts = windowing.starts(&content, &cache).unwrap();
            assert_eq!(starts, spec.starts(samples, RATE));
            for (recipe, made) in recipes.iter().zip(&made) {
                let found = windowing.find(&content, &recipe.hash, &starts, &cache, true).unwrap();
                assert_eq!((found.starts(), found.shape()), (made.starts(), made.shape()));
                assert!((0..starts.len()).all(|w| read(&found, w) == read(made, w)));
            }
            for (w, &start) in starts.iter().enumerate() {
                let clip = Clip { samples: spec.cut(&whole.samples, start, RATE), sample_rate: RATE };
                let alone = mel_extractor.extract(&ClipAnalysis::new(&clip)).unwrap();
                assert_eq!(made[1].shape(), [alone.rows, alone.cols]);
                assert!(read(&made[1], w) == alone.values, "window {w} of {samples} samples");
                assert!(read(&made[0], w) == clip.samples);
            }
        }
    }

    #[test]
    fn the_recipe_depends_on_the_window_and_not_on_the_clip_length() {
        let stages = json!({ "decoding": 1, "cache": 1 });
        let recipe = |spec: WindowSpec, rate| {
            Windowing::new(spec, &AudioSpec::at(rate), &stages).recipe(&stages, &json!({ "kind": "raw" }), 1).hash
        };
        let spec = WindowSpec::default();
        assert_eq!(recipe(spec, RATE), recipe(spec, RATE));
        assert_ne!(recipe(spec, RATE), recipe(WindowSpec { hop: 0.5, ..spec }, RATE));
        assert_ne!(recipe(spec, RATE), recipe(spec, 2 * RATE));
        let length = |audio: &AudioSpec| Windowing::new(spec, audio, &stages).length.hash;
        assert_ne!(length(&AudioSpec::at(RATE)), length(&AudioSpec::at(2 * RATE)));
        let soxr = AudioSpec { resampler: ResampleFilter::SoxrHq, ..AudioSpec::at(RATE) };
        assert_ne!(length(&AudioSpec::at(RATE)), length(&soxr));
    }
}
