//! What a lossy codec leaves of a clip: see `dsp::codec` for what it does and what it does not do.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spec::faults_of;
use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Sound};
use timbre_signal::dsp::codec;

augment_spec! {
    /// What a lossy codec of the MP3 kind leaves of the clip: coarse coefficients where louder ones hide it, and a low-pass.
    pub struct CodecLoss {
        /// Bit rate in kbit/s, of the one channel. Default: 12 to 64, every ratio as likely as its equals.
        pub kbps: Amount = Amount::Log(12.0, 64.0),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CodecLossDraw {
    pub kbps: f64,
}

impl AugmentKind for CodecLoss {
    fn version(&self) -> u32 {
        1
    }

    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        faults_of([("kbps", self.kbps.fault(1.0, 1000.0))])
    }

    fn draw(&self, _scene: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        Ok(vec![CodecLossDraw { kbps: self.kbps.draw(rng) }.into()])
    }
}

impl Effect for CodecLossDraw {
    fn on_sound(&self, sound: &mut Sound, _company: &dyn ClipPool) -> Result<()> {
        codec::encode_decode(&mut sound.samples, self.kbps, sound.sample_rate);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::probe::{gain_at, heard, tone};
    use timbre_signal::dsp::level;

    #[test]
    fn a_tone_survives_and_treble_above_the_bit_rate_does_not() {
        let draw = CodecLossDraw { kbps: 16.0 };
        assert!(gain_at(&draw, 1000.0).abs() < 0.5);
        assert!(gain_at(&draw, 8000.0) < -40.0, "LAME ends at 5.5 kHz there");
    }

    #[test]
    fn the_clip_stays_in_place() {
        let (samples, heard) = (tone(4000), heard(&CodecLossDraw { kbps: 64.0 }, &tone(4000)));
        let error: Vec<f32> = samples.iter().zip(&heard).map(|(a, b)| a - b).collect();
        assert!(level::energy(&error) < 0.01 * level::energy(&samples));
    }
}
