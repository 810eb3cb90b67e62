//! Augmentations: what a network sees of a clip differs from epoch to epoch, and the test recordings are left as they are.
//!
//! Describe, then do. What happens to a clip is drawn first: a spec and a random stream with an address (seed, epoch, clip)
//! give [`Draw`]s, small values that can be printed, stored and played again. A draw then does its work without any further
//! chance (noise holds the seed of its samples), so neither the number of threads nor the order of the clips nor a resumed
//! training changes a sample.
//!
//! The order: the clip is cut; every draw on the wave in the order of the file, those that change the length first, as all others
//! are drawn for the length of the clip; the feature is computed; every draw on the image in the order of the file.
//!
//! An augmentation is one file: its spec (`augment_spec!`), its draw, what that does, and its tests; and one line in the list below.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use timbre_core::seed::uniform_below;
use timbre_signal::dsp::key::Key;

pub mod amount;
pub mod chain;
pub mod stripes;
#[macro_use]
pub mod spec;
pub mod gain;
pub mod translate;
pub mod pitch_shift;
pub mod time_stretch;
pub mod silence;
pub mod noise;
pub mod background;
pub mod polarity;
pub mod normalize;
pub mod fade;
pub mod low_pass;
pub mod high_pass;
pub mod band_pass;
pub mod band_stop;
pub mod low_shelf;
pub mod high_shelf;
pub mod peaking;
pub mod equalizer;
pub mod compressor;
pub mod limiter;
pub mod clipping;
pub mod reverb;
pub mod echo;
pub mod chorus;
pub mod tremolo;
pub mod resample_loss;
pub mod bit_depth;
pub mod codec_loss;
pub mod crop;
pub mod reverse;
pub mod repeat;
#[cfg(test)]
pub(crate) mod probe;
pub mod mix;
pub mod time_mask;
pub mod frequency_mask;
pub mod frequency_warp;
pub mod time_warp;
pub mod random_erasing;
pub mod mixup;
pub mod cutmix;
pub mod one_of;
pub mod some_of;

pub use amount::Amount;
pub use chain::Chain;
pub use spec::Common;

/// Lists the kinds: the enum of specs that a TOML file is read into, and the enum of draws that are written down. A kind without
/// a draw of its own chooses among those of others.
use timbre_core::registry;

macro_rules! augmentations {
    ($($name:literal => $module:ident::$Spec:ident $(, $Draw:ident)?;)+) => {
        registry! {
            /// An augmentation: `kind` says which, the other keys are those of the kind.
            pub enum AugmentSpec: AugmentKind { $($name => $module::$Spec,)+ }
        }
        registry! {
            /// What was drawn for one clip: the same numbers do the same to it again.
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
    "time_stretch" => time_stretch::TimeStretch, TimeStretchDraw;
    "silence" => silence::Silence, SilenceDraw;
    "noise" => noise::Noise, NoiseDraw;
    "background" => background::Background, BackgroundDraw;
    "polarity" => polarity::Polarity, PolarityDraw;
    "normalize" => normalize::Normalize, NormalizeDraw;
    "fade" => fade::Fade, FadeDraw;
    "low_pass" => low_pass::LowPass, LowPassDraw;
    "high_pass" => high_pass::HighPass, HighPassDraw;
    "band_pass" => band_pass::BandPass, BandPassDraw;
    "band_stop" => band_stop::BandStop, BandStopDraw;
    "low_shelf" => low_shelf::LowShelf, LowShelfDraw;
    "high_shelf" => high_shelf::HighShelf, HighShelfDraw;
    "peaking" => peaking::Peaking, PeakingDraw;
    "equalizer" => equalizer::Equalizer, EqualizerDraw;
    "compressor" => compressor::Compressor, CompressorDraw;
    "limiter" => limiter::Limiter, LimiterDraw;
    "clipping" => clipping::Clipping, ClippingDraw;
    "reverb" => reverb::Reverb, ReverbDraw;
    "echo" => echo::Echo, EchoDraw;
    "chorus" => chorus::Chorus, ChorusDraw;
    "tremolo" => tremolo::Tremolo, TremoloDraw;
    "resample_loss" => resample_loss::ResampleLoss, ResampleLossDraw;
    "bit_depth" => bit_depth::BitDepth, BitDepthDraw;
    "codec_loss" => codec_loss::CodecLoss, CodecLossDraw;
    "crop" => crop::Crop, CropDraw;
    "reverse" => reverse::Reverse, ReverseDraw;
    "repeat" => repeat::Repeat, RepeatDraw;
    "mix" => mix::Mix, MixDraw;
    "time_mask" => time_mask::TimeMask, TimeMaskDraw;
    "frequency_mask" => frequency_mask::FrequencyMask, FrequencyMaskDraw;
    "frequency_warp" => frequency_warp::FrequencyWarp, FrequencyWarpDraw;
    "time_warp" => time_warp::TimeWarp, TimeWarpDraw;
    "random_erasing" => random_erasing::RandomErasing, RandomErasingDraw;
    "mixup" => mixup::Mixup, MixupDraw;
    "cutmix" => cutmix::Cutmix, CutmixDraw;
    "one_of" => one_of::OneOf;
    "some_of" => some_of::SomeOf;
}

/// A key and a sentence about what is wrong with its value.
pub type Fault = (String, String);

/// What each kind of augmentation gives.
pub trait AugmentKind: Common {
    /// Raised by hand when the same spec does something else than before.
    fn version(&self) -> u32;

    /// Everything that is wrong with the keys, on clips of that rate (`p` is looked after by the schema).
    fn faults(&self, sample_rate: u32) -> Vec<Fault>;

    /// Draws what happens to the clip of `scene`; whether it happens at all (`p`) has been drawn before. Draws nothing where it
    /// cannot be done to this clip.
    fn draw(&self, scene: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>>;

    /// Whether its draws may be on the wave. Where none is, nothing is decoded.
    fn is_on_sound(&self) -> bool {
        true
    }

    /// Whether it chooses partners by [`ClipPool::music`].
    fn wants_music(&self) -> bool {
        false
    }

    /// The recordings that it reads beside the training clips: what lies in them changes what is heard.
    fn files(&self) -> Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }
}

/// What a draw does. A draw on the wave leaves images alone and the other way round.
pub trait Effect {
    /// Which of the two it is.
    fn is_on_image(&self) -> bool {
        false
    }

    /// How many samples of the recording it takes to make `samples`: other than that many for what changes the tempo.
    fn span(&self, samples: usize) -> usize {
        samples
    }

    /// What is wrong with its numbers, which may have been written by hand, if it could not be done to any clip.
    fn fault(&self) -> Option<String> {
        None
    }

    fn on_sound(&self, _sound: &mut Sound, _company: &dyn ClipPool) -> Result<()> {
        Ok(())
    }

    fn on_image(&self, _image: &mut Image, _company: &dyn ClipPool) -> Result<()> {
        Ok(())
    }
}

/// The clip that is drawn for, and those around it.
pub struct AugmentContext<'a> {
    pub sample_rate: u32,
    /// Of a clip.
    pub samples: usize,
    /// The number of the clip among its company.
    pub row: usize,
    pub company: &'a dyn ClipPool,
}

impl AugmentContext<'_> {
    /// Another row than that of the clip, any as likely as the others; nothing where there is none.
    pub fn another(&self, rng: &mut ChaCha8Rng) -> Option<usize> {
        let others = (self.company.len() as u64).checked_sub(1).filter(|others| *others > 0)?;
        let drawn = uniform_below(rng, others) as usize;
        Some(if drawn >= self.row { drawn + 1 } else { drawn })
    }
}

/// The training clips, from which backgrounds and partners are taken; never a clip of another side of the split.
pub trait ClipPool: Sync {
    fn len(&self) -> usize;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn companion(&self, row: usize) -> ClipInfo<'_>;

    /// The clip of a row, cut where the draw number `cut` says (uniform over all places), as long as all clips.
    fn waveform(&self, row: usize, cut: u64) -> Result<Vec<f32>>;

    /// The feature of a row as no augmentation has touched it.
    fn image(&self, row: usize, out: &mut [f32]) -> Result<()>;

    /// Bands and frames of all images.
    fn shape(&self) -> [usize; 2] {
        [0, 0]
    }

    /// The row of a clip that a draw names.
    fn row_of(&self, id: &str) -> Option<usize> {
        (0..self.len()).find(|&row| self.companion(row).id == id)
    }

    /// What a recording is estimated to be played in, where an augmentation of the network wants to know it.
    fn music(&self, _row: usize) -> Option<Music> {
        None
    }
}

/// Tempo and key of a recording, estimated; silence has neither.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Music {
    /// Beats a minute.
    pub tempo: Option<f64>,
    pub key: Option<Key>,
}

/// What is known of a training clip before it is decoded.
#[derive(Clone, Copy, Debug)]
pub struct ClipInfo<'a> {
    pub id: &'a str,
    /// Ascending.
    pub labels: &'a [usize],
    pub song: &'a str,
    /// What the data set says (IRMAS: `genre`, `drums`).
    pub tags: &'a BTreeMap<String, String>,
}

/// A clip on its way through the draws on the wave.
#[derive(Clone, Debug, PartialEq)]
pub struct Sound {
    pub samples: Vec<f32>,
    pub sample_rate: u32,
    /// How much of each class is in it: 1 for its labels, 0 for the others, until something is mixed in.
    pub targets: Vec<f32>,
}

/// A feature on its way through the draws on the image: rows are bands, columns are frames, row-major.
#[derive(Debug, PartialEq)]
pub struct Image<'a> {
    pub rows: usize,
    pub cols: usize,
    pub values: &'a mut [f32],
    /// As in [`Sound`].
    pub targets: &'a mut [f32],
}

#[cfg(test)]
pub(crate) mod tests {
    use anyhow::bail;

    use super::*;

    /// A clip without company.
    pub fn alone() -> impl ClipPool {
        struct Nobody;
        impl ClipPool for Nobody {
            fn len(&self) -> usize {
                0
            }
            fn companion(&self, row: usize) -> ClipInfo<'_> {
                panic!("there is no clip {row}")
            }
            fn waveform(&self, row: usize, _cut: u64) -> Result<Vec<f32>> {
                bail!("there is no clip {row}")
            }
            fn image(&self, row: usize, _out: &mut [f32]) -> Result<()> {
                bail!("there is no clip {row}")
            }
        }
        Nobody
    }

    /// Bands and frames of the images of [`friends`].
    pub const IMAGE: [usize; 2] = [6, 10];

    /// Clips of [`friends`].
    pub const FRIENDS: usize = 5;

    /// Five clips of up to two of three classes: noise as waves, images that hold nothing but their row.
    pub fn friends() -> impl ClipPool {
        struct Friends {
            ids: Vec<String>,
            tags: Vec<BTreeMap<String, String>>,
        }
        impl ClipPool for Friends {
            fn len(&self) -> usize {
                FRIENDS
            }
            fn companion(&self, row: usize) -> ClipInfo<'_> {
                let labels: [&[usize]; FRIENDS] = [&[0], &[1], &[0, 2], &[2], &[1, 2]];
                ClipInfo { id: &self.ids[row], labels: labels[row], song: "", tags: &self.tags[row] }
            }
            fn waveform(&self, row: usize, cut: u64) -> Result<Vec<f32>> {
                let mut rng = timbre_core::seed::Seed::new(row as u64).child(cut).rng();
                Ok((0..800).map(|_| timbre_core::seed::uniform(&mut rng) as f32 - 0.5).collect())
            }
            fn image(&self, row: usize, out: &mut [f32]) -> Result<()> {
                out.fill(row as f32);
                Ok(())
            }
            fn shape(&self) -> [usize; 2] {
                IMAGE
            }
            fn music(&self, row: usize) -> Option<Music> {
                let tempo = [100.0, 113.0, 123.0, 135.0, 50.4][row];
                let tonic = [4, 5, 6, 4, 7][row];
                Some(Music { tempo: Some(tempo), key: Some(Key { tonic, minor: false }) })
            }
        }
        let genre = |row: usize| BTreeMap::from([("genre".to_owned(), ["a", "b", "a", "c", "d"][row].to_owned())]);
        Friends { ids: (0..FRIENDS).map(|row| format!("{row}.wav")).collect(), tags: (0..FRIENDS).map(genre).collect() }
    }

    /// A clip at 8 kHz of one class.
    pub fn sound(samples: &[f32]) -> Sound {
        Sound { samples: samples.to_vec(), sample_rate: 8000, targets: vec![1.0] }
    }

    #[test]
    fn a_draw_is_written_down_and_read_again() {
        let company = alone();
        let scene = AugmentContext { sample_rate: 8000, samples: 800, row: 0, company: &company };
        // Those that choose among others have no defaults that could do anything.
        for kind in AugmentSpec::KINDS.iter().filter(|kind| !kind.ends_with("_of")) {
            let spec: AugmentSpec = serde_json::from_value(serde_json::json!({ "kind": kind })).unwrap();
            assert!(spec.as_kind().faults(22050).is_empty(), "the defaults of {kind}");
            let draws = spec.as_kind().draw(&scene, &mut timbre_core::seed::Seed::new(1).rng()).unwrap();
            let text = serde_json::to_string(&draws).unwrap();
            assert_eq!(serde_json::from_str::<Vec<Draw>>(&text).unwrap(), draws, "{text}");
        }
    }
}
