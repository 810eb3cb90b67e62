//! `codec_loss`: the loss of a lossy codec. `dsp::codec` says what is simulated and what is not.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};
use timbre_signal::dsp::codec;

augment_spec! {
    /// Simulates the loss of a codec like MP3: coefficients are quantised coarsely where louder ones mask them, and a
    /// low-pass follows.
    pub struct CodecLoss {
        /// Bit rate of the single channel in kbit/s. Default: 12 to 64, log-uniform.
        pub kbps: Amount = Amount::Log(12.0, 64.0),
    }

    pub struct CodecLossDraw {
        pub kbps: f64,
    }
}

impl Kind for CodecLoss {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([("kbps", self.kbps.fault(1.0, 1000.0))])
    }
}

impl AugmentKind for CodecLoss {
    fn draw(&self, _context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        Ok(vec![CodecLossDraw { kbps: self.kbps.draw(rng) }.into()])
    }
}

impl Effect for CodecLossDraw {
    fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        codec::encode_decode(&mut clip.samples, self.kbps, clip.sample_rate);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::kind_tests::{apply, gain_at, tone};
    use timbre_signal::dsp::level;

    #[test]
    fn a_tone_survives_and_treble_above_the_limit_of_the_bit_rate_does_not() {
        let draw = CodecLossDraw { kbps: 16.0 };
        assert!(gain_at(&draw, 1000.0).abs() < 0.5);
        assert!(gain_at(&draw, 8000.0) < -40.0, "LAME ends at 5.5 kHz there");
    }

    #[test]
    fn the_output_is_aligned_with_the_clip() {
        let (samples, output) = (tone(4000), apply(&CodecLossDraw { kbps: 64.0 }, &tone(4000)));
        let error: Vec<f32> = samples.iter().zip(&output).map(|(a, b)| a - b).collect();
        assert!(level::energy(&error) < 0.01 * level::energy(&samples));
    }
}
