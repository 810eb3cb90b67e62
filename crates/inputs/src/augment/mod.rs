//! Augmentations: what a network sees of a training clip differs from epoch to epoch. Validation and test clips are never changed.
//!
//! Parameters are drawn first and applied later. A spec and a random stream with an address (seed, epoch, clip) give [`Draw`]s:
//! small values that can be printed, stored and replayed. Applying a draw uses no further randomness (noise holds the seed of
//! its samples), so neither the number of threads nor the order of the clips nor a resumed training changes a sample.
//!
//! The order: the clip is cut; the waveform draws are applied in the order of the file, those that change the length first,
//! because all others are drawn for the length of the clip; the feature is computed; the image draws are applied in the order
//! of the file.
//!
//! A kind of augmentation is one file (its spec and its draw in `augment_spec!`, how the draw is made and applied, its tests)
//! and one line in the list below. Pairs that mirror each other share a file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use timbre_core::labels::Labels;
use timbre_core::registry;
use timbre_core::{
    registry::{Fault, Kind},
    seed::uniform_below,
};
use timbre_signal::dsp::key::Key;

mod amount;
pub mod chain;
pub mod copies;
#[cfg(test)]
mod kind_tests;
#[macro_use]
mod spec;

mod all_pass;
mod background;
mod band;
mod bend;
mod biquad;
mod bit_depth;
mod chorus;
mod clipping;
mod codec_loss;
mod compressor;
mod concatenate;
mod contrast;
mod crop;
mod cutmix;
mod dc_offset;
mod dither;
mod echo;
mod emphasis;
mod equalizer;
mod fade;
mod flanger;
mod frequency_warp;
mod gain;
mod hilbert;
mod limiter;
mod loudness;
mod mask;
mod mix;
mod mixup;
mod multiband_compressor;
mod noise;
mod normalize;
mod one_of;
mod overdrive;
mod pass;
mod peaking;
mod phaser;
mod pitch_shift;
mod polarity;
mod random_erasing;
mod remove_silence;
mod repeat;
mod resample_loss;
mod reverb;
mod reverse;
mod shelf;
mod silence;
mod some_of;
mod speed;
mod time_stretch;
mod time_warp;
mod translate;
mod tremolo;

pub use amount::Amount;
pub use background::Backgrounds;
pub use chain::Chain;
pub use spec::SharedKeys;

/// Lists the kinds. Makes the enum of specs, which a TOML file is read into, and the enum of draws, which are written
/// to files. A kind without a draw of its own chooses among the draws of others.
macro_rules! augmentations {
    ($($name:literal => $module:ident::$Spec:ident $(, $Draw:ident)?;)+) => {
        registry! {
            /// An augmentation: `kind` selects it, the other keys belong to the kind.
            pub enum AugmentSpec: AugmentKind { $($name => $module::$Spec,)+ }
        }
        registry! {
            /// The parameters drawn for one clip: applying them again gives the same result.
            pub enum Draw: Effect { $($($name => $module::$Draw,)?)+ }
        }
        $($(impl From<$module::$Draw> for Draw {
            fn from(draw: $module::$Draw) -> Draw {
                Draw::$Draw(draw)
            }
        })?)+
    };
}

augmentations! {
    "gain" => gain::Gain, GainDraw;
    "translate" => translate::Translate, TranslateDraw;
    "pitch_shift" => pitch_shift::PitchShift, PitchShiftDraw;
    "speed" => speed::Speed, SpeedDraw;
    "bend" => bend::Bend, BendDraw;
    "time_stretch" => time_stretch::TimeStretch, TimeStretchDraw;
    "silence" => silence::Silence, SilenceDraw;
    "remove_silence" => remove_silence::RemoveSilence, RemoveSilenceDraw;
    "noise" => noise::Noise, NoiseDraw;
    "background" => background::Background, BackgroundDraw;
    "polarity" => polarity::Polarity, PolarityDraw;
    "dc_offset" => dc_offset::DcOffset, DcOffsetDraw;
    "normalize" => normalize::Normalize, NormalizeDraw;
    "fade" => fade::Fade, FadeDraw;
    "low_pass" => pass::LowPass, LowPassDraw;
    "high_pass" => pass::HighPass, HighPassDraw;
    "band_pass" => band::BandPass, BandPassDraw;
    "band_stop" => band::BandStop, BandStopDraw;
    "low_shelf" => shelf::LowShelf, LowShelfDraw;
    "high_shelf" => shelf::HighShelf, HighShelfDraw;
    "peaking" => peaking::Peaking, PeakingDraw;
    "equalizer" => equalizer::Equalizer, EqualizerDraw;
    "loudness" => loudness::Loudness, LoudnessDraw;
    "biquad" => biquad::Biquad, BiquadDraw;
    "pre_emphasis" => emphasis::PreEmphasis, PreEmphasisDraw;
    "de_emphasis" => emphasis::DeEmphasis, DeEmphasisDraw;
    "all_pass" => all_pass::AllPass, AllPassDraw;
    "hilbert" => hilbert::Hilbert, HilbertDraw;
    "compressor" => compressor::Compressor, CompressorDraw;
    "multiband_compressor" => multiband_compressor::MultibandCompressor, MultibandCompressorDraw;
    "limiter" => limiter::Limiter, LimiterDraw;
    "clipping" => clipping::Clipping, ClippingDraw;
    "contrast" => contrast::Contrast, ContrastDraw;
    "overdrive" => overdrive::Overdrive, OverdriveDraw;
    "reverb" => reverb::Reverb, ReverbDraw;
    "echo" => echo::Echo, EchoDraw;
    "chorus" => chorus::Chorus, ChorusDraw;
    "flanger" => flanger::Flanger, FlangerDraw;
    "phaser" => phaser::Phaser, PhaserDraw;
    "tremolo" => tremolo::Tremolo, TremoloDraw;
    "resample_loss" => resample_loss::ResampleLoss, ResampleLossDraw;
    "bit_depth" => bit_depth::BitDepth, BitDepthDraw;
    "dither" => dither::Dither, DitherDraw;
    "codec_loss" => codec_loss::CodecLoss, CodecLossDraw;
    "crop" => crop::Crop, CropDraw;
    "reverse" => reverse::Reverse, ReverseDraw;
    "repeat" => repeat::Repeat, RepeatDraw;
    "mix" => mix::Mix, MixDraw;
    "concatenate" => concatenate::Concatenate, ConcatenateDraw;
    "time_mask" => mask::TimeMask, TimeMaskDraw;
    "frequency_mask" => mask::FrequencyMask, FrequencyMaskDraw;
    "frequency_warp" => frequency_warp::FrequencyWarp, FrequencyWarpDraw;
    "time_warp" => time_warp::TimeWarp, TimeWarpDraw;
    "random_erasing" => random_erasing::RandomErasing, RandomErasingDraw;
    "mixup" => mixup::Mixup, MixupDraw;
    "cutmix" => cutmix::Cutmix, CutmixDraw;
    "one_of" => one_of::OneOf;
    "some_of" => some_of::SomeOf;
}

/// What every kind of augmentation provides.
pub trait AugmentKind: Kind + SharedKeys {
    /// Draws what happens to the clip of `context`, after `p` has decided that it happens. Returns no draw if this clip
    /// does not allow any.
    fn draw(&self, context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>>;

    /// Whether its draws may change the waveform. If none of a chain may, nothing is decoded.
    fn changes_waveform(&self) -> bool {
        true
    }

    /// Whether it can make a fixed copy of a clip: it needs neither other recordings nor the image.
    fn makes_copies(&self) -> bool {
        self.changes_waveform()
    }

    /// Whether it chooses partners by [`ClipPool::tempo_and_key`].
    fn needs_tempo_and_key(&self) -> bool {
        false
    }

    /// The recordings that it reads beside the training clips; their contents change its results.
    fn files(&self) -> Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }
}

/// How a draw is applied. A waveform draw leaves images unchanged, and an image draw leaves waveforms unchanged.
pub trait Effect {
    /// Whether it is an image draw; otherwise it is a waveform draw.
    fn changes_image(&self) -> bool {
        false
    }

    /// The number of source samples for `samples` samples of output; a different number if the draw changes the tempo.
    fn source_samples(&self, samples: usize) -> usize {
        samples
    }

    /// The reason why its numbers, which may have been written by hand, can be applied to no clip.
    fn fault(&self) -> Option<String> {
        None
    }

    fn apply_to_waveform(&self, _clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        Ok(())
    }

    fn apply_to_image(&self, _image: &mut Image, _pool: &dyn ClipPool) -> Result<()> {
        Ok(())
    }
}

/// The clip to draw for, and the clips around it.
pub struct AugmentContext<'a> {
    pub sample_rate: u32,
    /// Samples per clip.
    pub samples: usize,
    /// The row of the clip in the pool.
    pub row: usize,
    pub pool: &'a dyn ClipPool,
}

impl AugmentContext<'_> {
    /// A random other row, uniform over all of them; `None` if there is none.
    pub fn another(&self, rng: &mut ChaCha8Rng) -> Option<usize> {
        let others = (self.pool.len() as u64).checked_sub(1).filter(|others| *others > 0)?;
        let drawn = uniform_below(rng, others) as usize;
        Some(if drawn >= self.row { drawn + 1 } else { drawn })
    }
}

/// The training clips, from which backgrounds and partners are taken. Clips of other subsets are never part of it.
pub trait ClipPool: Sync {
    fn len(&self) -> usize;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn info(&self, row: usize) -> ClipInfo<'_>;

    /// The clip of a row, as long as all clips, cut at the position that the draw `cut` selects (uniform over all
    /// positions).
    fn waveform(&self, row: usize, cut: u64) -> Result<Vec<f32>>;

    /// The unaugmented feature of a row.
    fn image(&self, row: usize, channel: usize, out: &mut [f32]) -> Result<()>;

    /// The recordings of background folders.
    fn backgrounds(&self) -> &Backgrounds;

    /// Bands and frames of every image.
    fn shape(&self) -> [usize; 2] {
        [0, 0]
    }

    /// The row of the clip with this id.
    fn row_of(&self, id: &str) -> Option<usize> {
        (0..self.len()).find(|&row| self.info(row).id == id)
    }

    /// The estimated tempo and key of a recording; `None` unless an augmentation of the network needs them.
    fn tempo_and_key(&self, _row: usize) -> Option<TempoAndKey> {
        None
    }
}

/// Estimated tempo and key of a recording; silence has neither.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TempoAndKey {
    /// Beats per minute.
    pub tempo: Option<f64>,
    pub key: Option<Key>,
}

/// What is known of a training clip before it is decoded.
#[derive(Clone, Copy, Debug)]
pub struct ClipInfo<'a> {
    pub id: &'a str,
    /// Ascending.
    pub labels: &'a Labels,
    pub song: &'a str,
    /// Tags from the data set (IRMAS: `genre`, `drums`).
    pub tags: &'a BTreeMap<String, String>,
}

/// A clip while waveform draws are applied to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Waveform {
    pub samples: Vec<f32>,
    pub sample_rate: u32,
    /// The share of each class: 1 for the labels of the clip, NaN for those that are unknown and 0 for the others, until something is mixed in.
    pub targets: Vec<f32>,
}

/// A feature matrix while image draws are applied to it: rows are bands, columns are frames, row-major.
#[derive(Debug, PartialEq)]
pub struct Image<'a> {
    pub rows: usize,
    pub cols: usize,
    /// Which of the images of the clip this is.
    pub channel: usize,
    pub values: &'a mut [f32],
    /// As in [`Waveform`].
    pub targets: &'a mut [f32],
}

#[cfg(test)]
pub(crate) mod tests {
    use timbre_core::seed::{Seed, uniform};

    use super::*;

    /// Bands and frames of the images of a [`TestPool`].
    pub const IMAGE_SHAPE: [usize; 2] = [6, 10];

    /// Clips of [`five_clips`].
    pub const POOL_SIZE: usize = 5;

    /// Clips in memory. The image of a clip holds its row in every value.
    #[derive(Default)]
    pub struct TestPool {
        pub clips: Vec<TestClip>,
        backgrounds: Backgrounds,
    }

    #[derive(Default)]
    pub struct TestClip {
        pub id: String,
        pub labels: Labels,
        pub tags: BTreeMap<String, String>,
        pub samples: Vec<f32>,
        pub tempo_and_key: Option<TempoAndKey>,
    }

    impl TestPool {
        pub fn new(clips: impl IntoIterator<Item = TestClip>) -> TestPool {
            TestPool { clips: clips.into_iter().collect(), ..TestPool::default() }
        }
    }

    impl ClipPool for TestPool {
        fn len(&self) -> usize {
            self.clips.len()
        }
        fn info(&self, row: usize) -> ClipInfo<'_> {
            let TestClip { id, labels, tags, .. } = &self.clips[row];
            ClipInfo { id, labels, song: "", tags }
        }
        fn waveform(&self, row: usize, _cut: u64) -> Result<Vec<f32>> {
            Ok(self.clips[row].samples.clone())
        }
        fn image(&self, row: usize, _channel: usize, out: &mut [f32]) -> Result<()> {
            out.fill(row as f32);
            Ok(())
        }
        fn backgrounds(&self) -> &Backgrounds {
            &self.backgrounds
        }
        fn shape(&self) -> [usize; 2] {
            IMAGE_SHAPE
        }
        fn tempo_and_key(&self, row: usize) -> Option<TempoAndKey> {
            self.clips[row].tempo_and_key
        }
    }

    pub fn empty_pool() -> TestPool {
        TestPool::default()
    }

    /// Five clips of noise of 800 samples, with up to two of three classes each.
    pub fn five_clips() -> TestPool {
        five_clips_of(800)
    }

    pub fn five_clips_of(samples: usize) -> TestPool {
        let labels: [&[usize]; POOL_SIZE] = [&[0], &[1], &[0, 2], &[2], &[1, 2]];
        TestPool::new((0..POOL_SIZE).map(|row| {
            let mut rng = Seed::new(row as u64).rng();
            let key = Some(Key { tonic: [4, 5, 6, 4, 7][row], minor: false });
            TestClip {
                id: format!("{row}.wav"),
                labels: labels[row].to_vec().into(),
                tags: BTreeMap::from([("genre".to_owned(), ["a", "b", "a", "c", "d"][row].to_owned())]),
                samples: (0..samples).map(|_| uniform(&mut rng) as f32 - 0.5).collect(),
                tempo_and_key: Some(TempoAndKey { tempo: Some([100.0, 113.0, 123.0, 135.0, 50.4][row]), key }),
            }
        }))
    }

    /// The context for a clip of 800 samples at 8 kHz.
    pub fn context(pool: &dyn ClipPool, row: usize) -> AugmentContext<'_> {
        AugmentContext { sample_rate: 8000, samples: 800, row, pool }
    }

    /// A clip at 8 kHz of one class.
    pub fn waveform(samples: &[f32]) -> Waveform {
        Waveform { samples: samples.to_vec(), sample_rate: 8000, targets: vec![1.0] }
    }
}
