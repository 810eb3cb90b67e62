//! Augmentations: what a network sees of a clip differs from epoch to epoch, and the test recordings are left as they are.
//!
//! Describe, then do. What happens to a clip is drawn first: a spec and a random stream with an address (seed, epoch, clip)
//! give [`Draw`]s, small values that can be printed, stored and played again. A draw then does its work without any further
//! chance (noise holds the seed of its samples), so neither the number of threads nor the order of the clips nor a resumed
//! training changes a sample.
//!
//! The order: the clip is cut; every draw on the wave in the order of the file; the feature is computed; every draw on the
//! image in the order of the file.
//!
//! An augmentation is one file: its spec (`augment_spec!`), its draw, what that does, and its tests; and one line in the list below.

use std::collections::BTreeMap;

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

pub mod amount;
#[macro_use]
pub mod spec;
pub mod gain;
pub mod translate;
pub mod pitch_shift;
pub mod time_stretch;

pub use amount::Amount;
pub use spec::Common;

/// Lists the kinds: the enum of specs that a TOML file is read into, and the enum of draws that are written down.
macro_rules! augmentations {
    ($($name:literal => $module:ident::$Spec:ident, $Draw:ident;)+) => {
        registry! {
            /// An augmentation: `kind` says which, the other keys are those of the kind.
            pub enum AugmentSpec: AugmentKind { $($name => $module::$Spec,)+ }
        }
        registry! {
            /// What was drawn for one clip: the same numbers do the same to it again.
            pub enum Draw: Effect { $($name => $module::$Draw,)+ }
        }
        $(impl From<$module::$Draw> for Draw {
            fn from(draw: $module::$Draw) -> Draw {
                Draw::$Draw(draw)
            }
        })+
    };
}

augmentations! {
    "gain" => gain::Gain, GainDraw;
    "translate" => translate::Translate, TranslateDraw;
    "pitch_shift" => pitch_shift::PitchShift, PitchShiftDraw;
    "time_stretch" => time_stretch::TimeStretch, TimeStretchDraw;
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
    fn draw(&self, scene: &Scene, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>>;
}

/// What a draw does. A draw on the wave leaves images alone and the other way round.
pub trait Effect {
    /// How many samples of the recording it takes to make `samples`: other than that many for what changes the tempo.
    fn span(&self, samples: usize) -> usize {
        samples
    }

    fn on_sound(&self, _sound: &mut Sound, _company: &dyn Company) -> Result<()> {
        Ok(())
    }

    fn on_image(&self, _image: &mut Image, _company: &dyn Company) -> Result<()> {
        Ok(())
    }
}

/// The clip that is drawn for, and those around it.
pub struct Scene<'a> {
    pub sample_rate: u32,
    /// Of a clip.
    pub samples: usize,
    /// The number of the clip among its company.
    pub row: usize,
    pub company: &'a dyn Company,
}

/// The training clips, from which backgrounds and partners are taken; never a clip of another side of the split.
pub trait Company: Sync {
    fn len(&self) -> usize;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn companion(&self, row: usize) -> Companion<'_>;

    /// The clip of a row, cut where the draw number `cut` says (uniform over all places), as long as all clips.
    fn wave(&self, row: usize, cut: u64) -> Result<Vec<f32>>;

    /// The feature of a row as no augmentation has touched it.
    fn image(&self, row: usize, out: &mut [f32]) -> Result<()>;
}

/// What is known of a training clip before it is decoded.
#[derive(Clone, Copy, Debug)]
pub struct Companion<'a> {
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
    pub fn alone() -> impl Company {
        struct Nobody;
        impl Company for Nobody {
            fn len(&self) -> usize {
                0
            }
            fn companion(&self, row: usize) -> Companion<'_> {
                panic!("there is no clip {row}")
            }
            fn wave(&self, row: usize, _cut: u64) -> Result<Vec<f32>> {
                bail!("there is no clip {row}")
            }
            fn image(&self, row: usize, _out: &mut [f32]) -> Result<()> {
                bail!("there is no clip {row}")
            }
        }
        Nobody
    }

    /// A clip at 8 kHz of one class.
    pub fn sound(samples: &[f32]) -> Sound {
        Sound { samples: samples.to_vec(), sample_rate: 8000, targets: vec![1.0] }
    }

    #[test]
    fn a_draw_is_written_down_and_read_again() {
        let company = alone();
        let scene = Scene { sample_rate: 8000, samples: 800, row: 0, company: &company };
        for kind in AugmentSpec::KINDS {
            let spec: AugmentSpec = serde_json::from_value(serde_json::json!({ "kind": kind })).unwrap();
            assert!(spec.as_kind().faults(22050).is_empty(), "the defaults of {kind}");
            let draws = spec.as_kind().draw(&scene, &mut crate::seed::Seed::new(1).rng()).unwrap();
            let text = serde_json::to_string(&draws).unwrap();
            assert_eq!(serde_json::from_str::<Vec<Draw>>(&text).unwrap(), draws, "{text}");
        }
    }
}
