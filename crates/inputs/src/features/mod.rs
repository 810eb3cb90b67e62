//! Features: a [`Clip`] becomes a [`FeatureMatrix`].
//!
//! A spec is checked (`faults`) and built once for a sample rate (`build`). The built [`Extractor`] reads any number of
//! clips through a [`ClipAnalysis`], which keeps the spectrograms that several features share. The numbers equal those
//! of librosa 0.11 with the same keys (`tests/features_golden.rs`).

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{LazyLock, Mutex};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};

use cache::content_hashes::hash_file;
use timbre_core::registry;
use timbre_core::registry::{Fault, Kind};
use timbre_signal::{
    audio::Clip,
    dsp::stft::{Spectrogram, StftPlan, StftSpec},
};

#[macro_use]
pub mod framewise;
#[macro_use]
mod samplewise;
mod post_process;
mod raw;
pub mod axes;
pub mod cache;
pub mod column_names;
pub mod extraction;
mod fft;
pub mod stft;
pub mod mel;
mod mfcc;
pub mod centroid;
pub mod bandwidth;
mod rolloff;
mod flatness;
mod contrast;
mod entropy;
mod flux;
mod zcr;
mod rms;
mod chroma;
mod tonnetz;
mod onset_strength;
mod tempogram;
mod poly;
mod lfcc;
mod modgd;
mod kaldi_fbank;
mod passt_mel;
mod cqt;
mod beat_frames;
mod harmonic;
mod delta;
mod concat;
pub mod embedding;
mod onnx;
mod imported;

registry! {
    /// A feature: `kind` selects it, the other keys belong to the kind.
    pub enum FeatureSpec: FeatureKind {
        "raw" => raw::Raw,
        "fft" => fft::Fft,
        "stft" => stft::Stft,
        "mel" => mel::Mel,
        "mfcc" => mfcc::Mfcc,
        "centroid" => centroid::Centroid,
        "bandwidth" => bandwidth::Bandwidth,
        "rolloff" => rolloff::Rolloff,
        "flatness" => flatness::Flatness,
        "contrast" => contrast::Contrast,
        "entropy" => entropy::Entropy,
        "flux" => flux::Flux,
        "zcr" => zcr::Zcr,
        "rms" => rms::Rms,
        "chroma" => chroma::Chroma,
        "tonnetz" => tonnetz::Tonnetz,
        "onset_strength" => onset_strength::OnsetStrength,
        "tempogram" => tempogram::Tempogram,
        "tempo" => tempogram::Tempo,
        "poly" => poly::Poly,
        "lfcc" => lfcc::Lfcc,
        "modgd" => modgd::Modgd,
        "kaldi_fbank" => kaldi_fbank::KaldiFbank,
        "passt_mel" => passt_mel::PasstMel,
        "cqt" => cqt::Cqt,
        "vqt" => cqt::Vqt,
        "chroma_cqt" => cqt::ChromaCqt,
        "tonnetz_cqt" => tonnetz::TonnetzCqt,
        "beat_frames" => beat_frames::BeatFrames,
        "harmonic" => harmonic::Harmonic,
        "percussive" => harmonic::Percussive,
        "delta" => delta::Delta,
        "concat" => concat::Concat,
        "stack" => concat::Stack,
        "embedding" => embedding::Embedding,
        "onnx" => onnx::Onnx,
        "imported" => imported::Imported,
    }
}

impl FeatureSpec {
    /// The BLAKE3 hashes of the files that the feature reads ([`FeatureKind::files`]), in their order.
    pub fn file_hashes(&self) -> Result<Vec<String>> {
        let hash = |path: PathBuf| hash_of(&path).with_context(|| format!("cannot read {}", path.display()));
        self.as_kind().files().into_iter().map(hash).collect()
    }
}

/// The size, time and hash of a file.
type HashedFile = (u64, Option<SystemTime>, String);

/// The hash of a file, which is read once as long as its size and time stay the same: weights have hundreds of megabytes.
fn hash_of(path: &Path) -> std::io::Result<String> {
    static KNOWN: LazyLock<Mutex<HashMap<PathBuf, HashedFile>>> = LazyLock::new(Mutex::default);
    let about = fs::metadata(path)?;
    let (size, modified) = (about.len(), about.modified().ok());
    let known = KNOWN.lock().expect("no thread panics here").get(path).cloned();
    if let Some((_, _, hash)) = known.filter(|known| (known.0, known.1) == (size, modified)) {
        return Ok(hash);
    }
    let hash = cache::hex(&hash_file(path)?);
    KNOWN.lock().expect("no thread panics here").insert(path.to_owned(), (size, modified, hash.clone()));
    Ok(hash)
}

/// Rows are bands (or the single row of a series), columns are frames; row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureMatrix {
    pub rows: usize,
    pub cols: usize,
    pub values: Vec<f32>,
}

/// What every kind of feature provides.
pub trait FeatureKind: Kind {
    /// Rows and columns of the matrix of a clip of `samples` samples, for a spec without faults; `None` if the clip is too short.
    fn shape(&self, samples: usize) -> Option<[usize; 2]>;

    /// The images of equal size of which the rows of the matrix consist, one below the other: the input channels of a network.
    fn channels(&self) -> usize {
        1
    }

    /// The samples of a frame, for features that cut a clip into frames.
    fn frame_length(&self) -> Option<usize> {
        None
    }

    /// Files that the feature reads beside the clip. Their contents change its values.
    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Computes tables and plans once for all clips; fails if the spec has faults.
    fn build(&self, sample_rate: u32) -> Result<Box<dyn Extractor>>;
}

/// A feature that is ready for clips of its sample rate.
pub trait Extractor: Send + Sync {
    /// The final matrix. Its shape is [`FeatureKind::shape`] of the number of samples.
    fn extract(&self, clip: &ClipAnalysis) -> Result<FeatureMatrix>;

    /// [`extract`](Self::extract), but a value that is not finite is an error: a high power of a loud clip leaves the range of f32.
    fn extract_finite(&self, clip: &ClipAnalysis) -> Result<FeatureMatrix> {
        let matrix = self.extract(clip)?;
        let infinite = matrix.values.iter().filter(|value| !value.is_finite()).count();
        ensure!(
            infinite == 0,
            "{infinite} of its {} values are not finite: the recording is too loud for it; lower `power` or the level",
            matrix.values.len()
        );
        Ok(matrix)
    }
}

/// A clip under analysis, with the spectrograms that extractors have asked for.
pub struct ClipAnalysis<'a> {
    clip: &'a Clip,
    spectrograms: RefCell<Vec<(StftSpec, Rc<Spectrogram>)>>,
    /// The signal of which the clip is a window, and the first sample of the window.
    window_of: Option<(&'a WindowedSignal<'a>, usize)>,
    origin: Option<ClipOrigin<'a>>,
}

/// Where an unchanged clip comes from.
#[derive(Clone, Copy, Debug)]
pub struct ClipOrigin<'a> {
    /// The id of the recording in its data set.
    pub recording: &'a str,
    /// The first second of a window; None for the clip of the recording.
    pub start: Option<f64>,
}

/// A part of a recording over which windows slide. Where windows overlap by whole frames, each frame is computed once.
pub struct WindowedSignal<'a> {
    samples: &'a [f32],
    /// Samples from one window to the next; 0 if windows have no frame in common.
    hop: usize,
    spectrograms: RefCell<Vec<(StftSpec, Rc<Spectrogram>)>>,
}

impl<'a> WindowedSignal<'a> {
    /// A signal of several windows, each `length` samples long and `hop` samples after the one before.
    pub fn new(samples: &'a [f32], length: usize, hop: usize) -> Self {
        let overlap = hop < length && length < samples.len();
        WindowedSignal { samples, hop: if overlap { hop } else { 0 }, spectrograms: RefCell::default() }
    }

    /// The spectrogram of the whole signal, if the frames of windows are frames of it.
    fn spectrogram(&self, plan: &StftPlan) -> Option<Rc<Spectrogram>> {
        let shared = self.hop > 0 && self.hop.is_multiple_of(plan.spec().hop_length);
        shared.then(|| shared_spectrogram(&self.spectrograms, plan.spec(), || plan.power(self.samples)))
    }
}

/// The spectrogram of this plan in the list, computed if it is missing.
fn shared_spectrogram(
    list: &RefCell<Vec<(StftSpec, Rc<Spectrogram>)>>,
    spec: &StftSpec,
    make: impl FnOnce() -> Spectrogram,
) -> Rc<Spectrogram> {
    let known = list.borrow().iter().find(|(known, _)| known == spec).map(|(_, s)| Rc::clone(s));
    known.unwrap_or_else(|| {
        let made = Rc::new(make());
        list.borrow_mut().push((*spec, Rc::clone(&made)));
        made
    })
}

impl<'a> ClipAnalysis<'a> {
    pub fn new(clip: &'a Clip) -> Self {
        ClipAnalysis { clip, spectrograms: RefCell::default(), window_of: None, origin: None }
    }

    /// A complete window of a signal, starting at sample `start`: the same numbers with less work.
    pub fn window(clip: &'a Clip, signal: &'a WindowedSignal<'a>, start: usize) -> Self {
        debug_assert!(signal.samples[start..start + clip.samples.len()] == clip.samples);
        ClipAnalysis { clip, spectrograms: RefCell::default(), window_of: Some((signal, start)), origin: None }
    }

    /// States where the clip comes from.
    pub fn at(mut self, origin: ClipOrigin<'a>) -> Self {
        self.origin = Some(origin);
        self
    }

    /// Where the clip comes from, if it is an unchanged clip of a data set.
    pub fn origin(&self) -> Option<ClipOrigin<'a>> {
        self.origin
    }

    /// The samples; fails if there are none.
    pub fn samples(&self) -> Result<&'a [f32]> {
        ensure!(!self.clip.samples.is_empty(), "compute a feature: the clip has no samples; exclude empty recordings");
        Ok(&self.clip.samples)
    }

    /// Fails if the clip has another sample rate than the feature was built for.
    pub fn ensure_sample_rate(&self, sample_rate: u32) -> Result<()> {
        let found = self.clip.sample_rate;
        ensure!(
            found == sample_rate,
            "compute a feature: the clip has {found} Hz but the feature was built for {sample_rate} Hz; resample the clip first"
        );
        Ok(())
    }

    /// The power spectrogram of this plan, computed on the first call.
    pub fn spectrogram(&self, plan: &StftPlan) -> Result<Rc<Spectrogram>> {
        let samples = self.samples()?;
        let spectrogram = shared_spectrogram(&self.spectrograms, plan.spec(), || {
            let buffer = SPARE_BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_default();
            let window_of = self.window_of.filter(|(_, start)| start.is_multiple_of(plan.spec().hop_length));
            match window_of.and_then(|(signal, start)| Some((signal.spectrogram(plan)?, start))) {
                Some((whole, start)) => plan.power_of_window_into(buffer, samples, &whole, start),
                None => plan.power_into(buffer, samples),
            }
        });
        ensure!(
            spectrogram.frames > 0,
            "compute a spectrogram: the clip has {} samples but a frame needs {}; set center = true, a smaller n_fft, or longer clips",
            samples.len(),
            plan.spec().n_fft
        );
        Ok(spectrogram)
    }
}

/// Buffers that a thread keeps from one clip to the next.
const BUFFERS_KEPT: usize = 4;

thread_local! {
    /// The memory of past spectrograms: half a megabyte each, which would otherwise be mapped again for every clip.
    static SPARE_BUFFERS: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

impl Drop for ClipAnalysis<'_> {
    fn drop(&mut self) {
        let owned = self.spectrograms.take().into_iter().filter_map(|(_, spectrogram)| Rc::into_inner(spectrogram));
        // While a thread ends, its buffers may be gone already and are not needed.
        let _ = SPARE_BUFFERS.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            spare.extend(owned.map(|spectrogram| spectrogram.power));
            spare.truncate(BUFFERS_KEPT);
        });
    }
}

/// Fails with a list of the faults, if there are any.
pub fn ensure_valid(kind: &str, faults: Vec<Fault>) -> Result<()> {
    let list: Vec<String> = faults.into_iter().map(|Fault { key, sentence }| format!("{key}: {sentence}")).collect();
    ensure!(list.is_empty(), "build the feature {kind}: {}", list.join("; "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::fingerprint::{self, Fingerprint};

    /// The spec; `concat` and `stack`, which need parts, get some.
    fn spec(mut json: serde_json::Value) -> FeatureSpec {
        if json["kind"] == "concat" || json["kind"] == "stack" {
            json["of"] = json!([{ "kind": "centroid" }, { "kind": "rms" }]);
        }
        serde_json::from_value(json).unwrap()
    }

    fn noise(samples: usize) -> Clip {
        let samples = (0..samples as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0);
        Clip { samples: samples.collect(), sample_rate: 22050 }
    }

    /// The kinds that need no file: their defaults can be built.
    static SELF_CONTAINED: LazyLock<Vec<&str>> = LazyLock::new(|| {
        let has_faults = |kind: &&str| !spec(json!({ "kind": kind })).as_kind().faults(22050).is_empty();
        FeatureSpec::KINDS.iter().copied().filter(|kind| !has_faults(kind)).collect()
    });

    fn every_spec() -> impl Iterator<Item = FeatureSpec> {
        SELF_CONTAINED.iter().map(|kind| spec(json!({ "kind": kind })))
    }

    #[test]
    fn features_with_the_same_transform_share_one_spectrogram() {
        let clip = noise(8000);
        let analysis = ClipAnalysis::new(&clip);
        let others =
            [json!({ "kind": "mel", "n_mels": 40, "power": 1.0 }), json!({ "kind": "mfcc", "win_length": 2048 })];
        for spec in every_spec().chain(others.map(spec)) {
            spec.as_kind().build(22050).unwrap().extract(&analysis).unwrap();
        }
        assert_eq!(analysis.spectrograms.borrow().len(), 1);
        let FeatureSpec::Mel(other) = spec(json!({"kind": "mel", "hop_length": 256})) else { unreachable!() };
        let plan = StftPlan::new(other.stft());
        let first = analysis.spectrogram(&plan).unwrap();
        assert!(Rc::ptr_eq(&first, &analysis.spectrogram(&plan).unwrap()));
        assert!(Rc::ptr_eq(&first, &analysis.spectrogram(&StftPlan::new(other.stft())).unwrap()));
        assert_eq!(analysis.spectrograms.borrow().len(), 2);
    }

    #[test]
    fn a_window_of_a_signal_gives_the_numbers_of_the_window_alone() {
        let whole = noise(30_000);
        for kind in SELF_CONTAINED.iter() {
            let extractor = spec(json!({ "kind": kind })).as_kind().build(22050).unwrap();
            let whole_analysis = ClipAnalysis::new(&whole);
            extractor.extract(&whole_analysis).unwrap();
            // A hop that is a multiple of the frames' hop, and one that is not.
            for hop in [2048, 3000] {
                let signal = WindowedSignal::new(&whole.samples, 9000, hop);
                let starts = (0..7).map(|k| k * hop).chain([21_000]);
                for start in starts.filter(|start| start + 9000 <= 30_000) {
                    let samples = whole.samples[start..start + 9000].to_vec();
                    let clip = Clip { samples, sample_rate: 22050 };
                    let alone = extractor.extract(&ClipAnalysis::new(&clip)).unwrap();
                    let shared = extractor.extract(&ClipAnalysis::window(&clip, &signal, start)).unwrap();
                    assert!(alone == shared, "{kind} at {start} of hops of {hop}");
                }
                let of_frames = !whole_analysis.spectrograms.borrow().is_empty();
                assert_eq!(signal.spectrograms.borrow().len(), usize::from(of_frames && hop == 2048), "{kind}, {hop}");
            }
        }
    }

    #[test]
    fn shared_spectrograms_change_no_number() {
        let clip = noise(8000);
        let shared = ClipAnalysis::new(&clip);
        for kind in SELF_CONTAINED.iter() {
            let extractor = spec(json!({ "kind": kind })).as_kind().build(22050).unwrap();
            assert_eq!(
                extractor.extract(&shared).unwrap(),
                extractor.extract(&ClipAnalysis::new(&clip)).unwrap(),
                "{kind}"
            );
        }
    }

    #[test]
    fn every_kind_builds_from_its_defaults_and_fills_its_matrix() {
        for kind in SELF_CONTAINED.iter() {
            let spec = spec(json!({ "kind": kind }));
            assert_eq!(spec.kind(), *kind);
            let extractor = spec.as_kind().build(22050).unwrap();
            for samples in [1, 2, 700, 5000] {
                let matrix = extractor.extract(&ClipAnalysis::new(&noise(samples))).unwrap();
                assert_eq!(matrix.values.len(), matrix.rows * matrix.cols, "{kind}");
                assert!(matrix.values.iter().all(|v| v.is_finite()), "{kind}");
            }
            assert!(extractor.extract(&ClipAnalysis::new(&noise(0))).is_err());
        }
    }

    #[test]
    fn a_spec_is_written_and_read_as_the_same_spec() {
        for kind in FeatureSpec::KINDS {
            let first = spec(json!({ "kind": kind }));
            let text = toml::to_string(&first).unwrap();
            assert_eq!(toml::from_str::<FeatureSpec>(&text).unwrap(), first, "{text}");
        }
    }

    #[test]
    fn a_misspelt_key_is_refused() {
        for kind in FeatureSpec::KINDS {
            let text = format!("kind = \"{kind}\"\nn_ftt = 2048");
            assert!(toml::from_str::<FeatureSpec>(&text).unwrap_err().to_string().contains("n_ftt"));
        }
    }

    #[test]
    fn a_clip_of_another_rate_is_refused() {
        let clip = Clip { sample_rate: 44100, ..noise(8000) };
        let error = spec(json!({"kind": "mel"})).as_kind().build(22050).unwrap();
        let error = error.extract(&ClipAnalysis::new(&clip)).unwrap_err().to_string();
        assert!(error.contains("44100") && error.contains("22050"), "{error}");
    }

    #[test]
    fn without_centring_a_clip_shorter_than_a_frame_is_refused() {
        let extractor = spec(json!({"kind": "stft", "center": false})).as_kind().build(22050).unwrap();
        let error = extractor.extract(&ClipAnalysis::new(&noise(2047))).unwrap_err().to_string();
        assert!(error.contains("2047") && error.contains("2048"), "{error}");
        assert_eq!(extractor.extract(&ClipAnalysis::new(&noise(2048))).unwrap().cols, 1);
    }

    #[test]
    fn all_faults_are_found_at_once_and_named_by_their_keys() {
        let keys = |json| spec(json).as_kind().faults(22050).into_iter().map(|fault| fault.key).collect::<Vec<_>>();
        assert_eq!(
            keys(json!({
                "kind": "mel", "n_fft": 512, "win_length": 1024, "hop_length": 0, "fmin": -1.0, "fmax": 12000.0,
                "power": 0.0, "top_db": -1.0, "resize": [0, 10]
            })),
            ["hop_length", "win_length", "resize", "fmin", "fmax", "power", "top_db"]
        );
        assert_eq!(keys(json!({"kind": "mel", "n_fft": 256})), ["n_mels"]);
        assert_eq!(keys(json!({"kind": "mel", "fmin": 5000.0, "fmax": 400.0})), ["fmin"]);
        assert_eq!(keys(json!({"kind": "mfcc", "n_mfcc": 41, "n_mels": 40})), ["n_mfcc"]);
        assert_eq!(keys(json!({"kind": "mfcc", "lifter": -2.0})), ["lifter"]);
        assert_eq!(keys(json!({"kind": "bandwidth", "p": 0.0, "n_fft": 0})), ["n_fft", "p"]);
        assert_eq!(keys(json!({"kind": "centroid", "summary": ["mean", "mean"]})), ["summary"]);
        let error = spec(json!({"kind": "mel", "fmax": 12000.0})).as_kind().build(22050).err().unwrap();
        assert!(error.to_string().contains("fmax: 12000 Hz is above half the sample rate (11025 Hz)"), "{error}");
    }

    proptest! {
        #[test]
        fn the_shape_is_known_before_extraction(
            kind in prop::sample::select(&SELF_CONTAINED[..]), samples in 0usize..3000, n_fft in 2usize..600, hop_length in 1usize..400,
            center: bool, sides in (1usize..20, 1usize..20), chosen: [bool; 6], statistics in 1usize..3, n_mels in 1usize..12,
        ) {
            let keys = [
                ("n_fft", json!(n_fft)),
                ("hop_length", json!(hop_length)),
                ("center", json!(center)),
                ("resize", json!([sides.0, sides.1])),
                ("summary", json!(&["std", "mean"][..statistics])),
                ("n_mels", json!(n_mels)),
            ];
            let mut json = json!({ "kind": kind, "n_mfcc": n_mels.min(5) });
            // Only the keys that this kind has.
            for ((key, value), _) in keys.into_iter().zip(chosen).filter(|(_, chosen)| *chosen) {
                json[key] = value;
            }
            let all = json.as_object().unwrap().clone();
            for key in all.keys().filter(|key| *key != "kind") {
                if serde_json::from_value::<FeatureSpec>(json!({ "kind": kind, key: all[key] })).is_err() {
                    json.as_object_mut().unwrap().remove(key);
                }
            }
            let spec = spec(json);
            let clip = noise(samples);
            if let Ok(extractor) = spec.as_kind().build(22050) {
                let matrix = extractor.extract(&ClipAnalysis::new(&clip));
                let shape = matrix.ok().map(|matrix| [matrix.rows, matrix.cols]);
                prop_assert_eq!(spec.as_kind().shape(samples), shape, "{:?}", spec);
            }
        }
    }

    #[test]
    #[cfg_attr(not(target_arch = "x86_64"), ignore = "fingerprints are those of x86-64")]
    fn the_numbers_of_every_kind_belong_to_its_version() {
        let clip = noise(30_000);
        let of_spec = |spec: FeatureSpec| {
            let matrix = spec.as_kind().build(22050).unwrap().extract(&ClipAnalysis::new(&clip)).unwrap();
            let bytes: Vec<u8> = matrix.values.iter().flat_map(|value| value.to_le_bytes()).collect();
            Fingerprint::new(spec.kind(), spec.as_kind().version(), &bytes)
        };
        fingerprint::check("features", every_spec().map(of_spec));
    }
}
