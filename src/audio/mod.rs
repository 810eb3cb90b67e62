//! A recording becomes a [`Clip`]: mono, f32, at the rate of the experiment; or it is unusable, for a reason that is counted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub mod wav_write;

/// How recordings are read: `[audio]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AudioSpec {
    /// Samples per second after resampling.
    #[schemars(range(min = 1000, max = 384000))]
    pub sample_rate: u32,
    /// Every clip is cut or padded with zeros to this length; left out, a clip is as long as its recording.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.01, max = 36000.0))]
    pub clip_seconds: Option<f64>,
    /// Which part of a longer recording is taken.
    pub crop: Crop,
}

impl Default for AudioSpec {
    fn default() -> Self {
        AudioSpec { sample_rate: 22050, clip_seconds: None, crop: Crop::Centre }
    }
}

/// The part of a recording that is longer than `clip_seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Crop {
    Start,
    Centre,
}

/// Mono samples and their rate. Nominal range -1 to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    pub samples: Vec<f32>,
    pub sample_rate: u32,
}
