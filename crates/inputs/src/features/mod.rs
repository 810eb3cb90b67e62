//! Features: a [`Clip`] becomes a [`FeatureMatrix`].
//!
//! A spec is checked (`faults`), built once for a sample rate (`build`), and the built [`Extractor`] reads any number of clips
//! through a [`ClipAnalysis`], which keeps the spectrograms that several features share. Numbers equal librosa 0.11's with the
//! same keys (`tests/features_golden.rs`).

use std::cell::RefCell;
use std::rc::Rc;

use anyhow::{Result, ensure};

use timbre_signal::audio::Clip;
use timbre_signal::dsp::stft::{Spectrogram, StftPlan, StftSpec};

#[macro_use]
pub mod framewise;
pub mod raw;
pub mod cache;
pub mod extraction;
pub mod fft;
pub mod stft;
pub mod mel;
pub mod mfcc;
pub mod centroid;
pub mod bandwidth;

use timbre_core::registry;

registry! {
    /// A feature: `kind` says which, the other keys are those of the kind.
    pub enum FeatureSpec: FeatureKind {
        "raw" => raw::Raw,
        "fft" => fft::Fft,
        "stft" => stft::Stft,
        "mel" => mel::Mel,
        "mfcc" => mfcc::Mfcc,
        "centroid" => centroid::Centroid,
        "bandwidth" => bandwidth::Bandwidth,
    }
}

/// Rows are bands (or the one row of a series), columns are frames; row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureMatrix {
    pub rows: usize,
    pub cols: usize,
    pub values: Vec<f32>,
}

/// A key and a sentence about what is wrong with its value.
pub type Fault = (String, String);

/// What each kind of feature gives.
pub trait FeatureKind {
    /// Raised by hand when the same spec gives other numbers than before.
    fn version(&self) -> u32;

    /// Everything that is wrong with the keys, on clips of that rate.
    fn faults(&self, sample_rate: u32) -> Vec<Fault>;

    /// Tables and plans, made once for all clips; fails on the faults.
    fn build(&self, sample_rate: u32) -> Result<Box<dyn Extractor>>;
}

/// A feature, ready for clips of its sample rate.
pub trait Extractor: Send + Sync {
    /// The final matrix. Its shape depends on the length of the clip only.
    fn extract(&self, clip: &ClipAnalysis) -> Result<FeatureMatrix>;
}

/// A clip on its way through the extractors, with the spectrograms that they have asked for.
pub struct ClipAnalysis<'a> {
    clip: &'a Clip,
    spectrograms: RefCell<Vec<(StftSpec, Rc<Spectrogram>)>>,
    /// The stretch of which it is a window, and where it begins there.
    of: Option<(&'a WindowedSignal<'a>, usize)>,
}

/// Part of a recording over which windows slide: where they overlap by whole frames, each frame is computed once.
pub struct WindowedSignal<'a> {
    samples: &'a [f32],
    /// Samples from one window to the next; 0 where windows have no frame in common.
    hop: usize,
    spectrograms: RefCell<Vec<(StftSpec, Rc<Spectrogram>)>>,
}

impl<'a> WindowedSignal<'a> {
    /// A stretch of more than one window, each `length` samples long and `hop` after the one before.
    pub fn new(samples: &'a [f32], length: usize, hop: usize) -> Self {
        let overlap = hop < length && length < samples.len();
        WindowedSignal { samples, hop: if overlap { hop } else { 0 }, spectrograms: RefCell::default() }
    }

    /// The spectrogram of the whole stretch, where frames of windows are frames of it.
    fn spectrogram(&self, plan: &StftPlan) -> Option<Rc<Spectrogram>> {
        let shared = self.hop > 0 && self.hop.is_multiple_of(plan.spec().hop_length);
        shared.then(|| kept(&self.spectrograms, plan.spec(), || plan.power(self.samples)))
    }
}

/// The spectrogram of that plan in the list, made where it is not there.
fn kept(
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
        ClipAnalysis { clip, spectrograms: RefCell::default(), of: None }
    }

    /// The window of a stretch that begins at its sample `start`, whole: the same numbers with less work.
    pub fn window(clip: &'a Clip, stretch: &'a WindowedSignal<'a>, start: usize) -> Self {
        debug_assert!(stretch.samples[start..start + clip.samples.len()] == clip.samples);
        ClipAnalysis { clip, spectrograms: RefCell::default(), of: Some((stretch, start)) }
    }

    /// The samples, of which there must be some.
    pub fn samples(&self) -> Result<&'a [f32]> {
        ensure!(
            !self.clip.samples.is_empty(),
            "compute a feature: the clip has no samples; leave empty recordings out"
        );
        Ok(&self.clip.samples)
    }

    /// Fails if the clip has another rate than the feature was built for.
    pub fn expect_rate(&self, sample_rate: u32) -> Result<()> {
        let found = self.clip.sample_rate;
        ensure!(
            found == sample_rate,
            "compute a feature: the clip has {found} Hz but the feature was built for {sample_rate} Hz; resample the clip first"
        );
        Ok(())
    }

    /// The power spectrogram of that plan, computed on the first call.
    pub fn spectrogram(&self, plan: &StftPlan) -> Result<Rc<Spectrogram>> {
        let samples = self.samples()?;
        let spectrogram = kept(&self.spectrograms, plan.spec(), || {
            let buffer = SPARE_BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_default();
            let of = self.of.filter(|(_, start)| start.is_multiple_of(plan.spec().hop_length));
            match of.and_then(|(stretch, start)| Some((stretch.spectrogram(plan)?, start))) {
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

/// How many buffers a thread keeps from one clip to the next.
const BUFFERS_KEPT: usize = 4;

thread_local! {
    /// The memory of past spectrograms: half a megabyte each, which would otherwise be mapped anew for every clip.
    static SPARE_BUFFERS: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

impl Drop for ClipAnalysis<'_> {
    fn drop(&mut self) {
        let owned = self.spectrograms.take().into_iter().filter_map(|(_, spectrogram)| Rc::into_inner(spectrogram));
        // While a thread ends its spare buffers may be gone already, and need not be kept.
        let _ = SPARE_BUFFERS.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            spare.extend(owned.map(|spectrogram| spectrogram.power));
            spare.truncate(BUFFERS_KEPT);
        });
    }
}

/// An error that lists the faults, if there are any.
pub fn refuse(kind: &str, faults: Vec<Fault>) -> Result<()> {
    let list: Vec<String> = faults.into_iter().map(|(key, sentence)| format!("{key}: {sentence}")).collect();
    ensure!(list.is_empty(), "build the feature {kind}: {}", list.join("; "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: serde_json::Value) -> FeatureSpec {
        serde_json::from_value(json).unwrap()
    }

    fn noise(samples: usize) -> Clip {
        let samples = (0..samples as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0);
        Clip { samples: samples.collect(), sample_rate: 22050 }
    }

    #[test]
    fn features_with_the_same_transform_share_one_spectrogram() {
        let clip = noise(8000);
        let analysis = ClipAnalysis::new(&clip);
        for json in [
            serde_json::json!({"kind": "mel"}),
            serde_json::json!({"kind": "mel", "n_mels": 40, "power": 1.0}),
            serde_json::json!({"kind": "mfcc", "win_length": 2048}),
            serde_json::json!({"kind": "stft"}),
            serde_json::json!({"kind": "centroid"}),
            serde_json::json!({"kind": "bandwidth"}),
        ] {
            spec(json).as_kind().build(22050).unwrap().extract(&analysis).unwrap();
        }
        assert_eq!(analysis.spectrograms.borrow().len(), 1);
        let FeatureSpec::Mel(other) = spec(serde_json::json!({"kind": "mel", "hop_length": 256})) else {
            unreachable!()
        };
        let plan = StftPlan::new(other.stft());
        let first = analysis.spectrogram(&plan).unwrap();
        assert!(Rc::ptr_eq(&first, &analysis.spectrogram(&plan).unwrap()));
        assert!(Rc::ptr_eq(&first, &analysis.spectrogram(&StftPlan::new(other.stft())).unwrap()));
        assert_eq!(analysis.spectrograms.borrow().len(), 2);
    }

    #[test]
    fn a_window_of_a_stretch_gives_the_numbers_of_the_window_alone() {
        let whole = noise(30_000);
        for kind in FeatureSpec::KINDS {
            let extractor = spec(serde_json::json!({ "kind": kind })).as_kind().build(22050).unwrap();
            // The hop is a multiple of the frames' hop, or not.
            for hop in [2048, 3000] {
                let stretch = WindowedSignal::new(&whole.samples, 9000, hop);
                let starts = (0..7).map(|k| k * hop).chain([21_000]);
                for start in starts.filter(|start| start + 9000 <= 30_000) {
                    let samples = whole.samples[start..start + 9000].to_vec();
                    let clip = Clip { samples, sample_rate: 22050 };
                    let alone = extractor.extract(&ClipAnalysis::new(&clip)).unwrap();
                    let shared = extractor.extract(&ClipAnalysis::window(&clip, &stretch, start)).unwrap();
                    assert!(alone == shared, "{kind} at {start} of hops of {hop}");
                }
                let of_frames = !["raw", "fft"].contains(kind);
                assert_eq!(stretch.spectrograms.borrow().len(), usize::from(of_frames && hop == 2048), "{kind}, {hop}");
            }
        }
    }

    #[test]
    fn sharing_changes_no_number() {
        let clip = noise(8000);
        let shared = ClipAnalysis::new(&clip);
        for kind in FeatureSpec::KINDS {
            let extractor = spec(serde_json::json!({ "kind": kind })).as_kind().build(22050).unwrap();
            assert_eq!(
                extractor.extract(&shared).unwrap(),
                extractor.extract(&ClipAnalysis::new(&clip)).unwrap(),
                "{kind}"
            );
        }
    }

    #[test]
    fn every_kind_builds_from_its_defaults_and_fills_its_matrix() {
        for kind in FeatureSpec::KINDS {
            let spec = spec(serde_json::json!({ "kind": kind }));
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
            let first = spec(serde_json::json!({ "kind": kind }));
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
        let error = spec(serde_json::json!({"kind": "mel"})).as_kind().build(22050).unwrap();
        let error = error.extract(&ClipAnalysis::new(&clip)).unwrap_err().to_string();
        assert!(error.contains("44100") && error.contains("22050"), "{error}");
    }

    #[test]
    fn without_centring_a_clip_shorter_than_a_frame_is_refused() {
        let extractor = spec(serde_json::json!({"kind": "stft", "center": false})).as_kind().build(22050).unwrap();
        let error = extractor.extract(&ClipAnalysis::new(&noise(2047))).unwrap_err().to_string();
        assert!(error.contains("2047") && error.contains("2048"), "{error}");
        assert_eq!(extractor.extract(&ClipAnalysis::new(&noise(2048))).unwrap().cols, 1);
    }

    #[test]
    fn all_faults_are_found_at_once_and_named_by_their_keys() {
        let keys = |json| spec(json).as_kind().faults(22050).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        assert_eq!(
            keys(serde_json::json!({
                "kind": "mel", "n_fft": 512, "win_length": 1024, "hop_length": 0, "fmin": -1.0, "fmax": 12000.0,
                "power": 0.0, "top_db": -1.0, "resize": [0, 10]
            })),
            ["hop_length", "win_length", "resize", "fmin", "fmax", "power", "top_db"]
        );
        assert_eq!(keys(serde_json::json!({"kind": "mel", "n_fft": 256})), ["n_mels"]);
        assert_eq!(keys(serde_json::json!({"kind": "mel", "fmin": 5000.0, "fmax": 400.0})), ["fmin"]);
        assert_eq!(keys(serde_json::json!({"kind": "mfcc", "n_mfcc": 41, "n_mels": 40})), ["n_mfcc"]);
        assert_eq!(keys(serde_json::json!({"kind": "mfcc", "lifter": -2.0})), ["lifter"]);
        assert_eq!(keys(serde_json::json!({"kind": "bandwidth", "p": 0.0, "n_fft": 0})), ["n_fft", "p"]);
        assert_eq!(keys(serde_json::json!({"kind": "centroid", "summary": ["mean", "mean"]})), ["summary"]);
        let error = spec(serde_json::json!({"kind": "mel", "fmax": 12000.0})).as_kind().build(22050).err().unwrap();
        assert!(error.to_string().contains("fmax: 12000 Hz is above half the sample rate (11025 Hz)"), "{error}");
    }
}
