//! `dither`: rounds to a bit depth after adding triangular noise of one step, which makes the error independent of the signal.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use super::bit_depth::{BitDepthDraw, MAX_BITS, draw_bits};
use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};
use timbre_core::seed::Seed;
use timbre_signal::dsp::level;

augment_spec! {
    /// Adds triangular noise of one step of a bit depth, then rounds to it. A silent clip stays silent.
    pub struct Dither {
        /// Bits per sample. Default: 6 to 16.
        pub bits: Amount = Amount::Range(6.0, 16.0),
    }

    pub struct DitherDraw {
        pub bits: u32,
        /// Seed of the noise samples.
        pub seed: u64,
    }
}

impl Kind for Dither {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([("bits", self.bits.whole_fault(1.0, f64::from(MAX_BITS)))])
    }
}

impl AugmentKind for Dither {
    fn draw(&self, _context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        Ok(vec![DitherDraw { bits: draw_bits(&self.bits, rng), seed: rng.next_u64() }.into()])
    }
}

impl Effect for DitherDraw {
    fn apply_to_waveform(&self, clip: &mut Waveform, pool: &dyn ClipPool) -> Result<()> {
        if level::peak(&clip.samples) == 0.0 {
            return Ok(());
        }
        let bits = self.bits.clamp(1, MAX_BITS);
        let step = 1.0 / f64::from(1u32 << (bits - 1));
        let mut rng = Seed::new(self.seed).rng();
        for sample in &mut clip.samples {
            // The difference of two uniform numbers.
            let difference = i64::from(rng.next_u32()) - i64::from(rng.next_u32());
            *sample += (step * difference as f64 / (1u64 << 32) as f64) as f32;
        }
        BitDepthDraw { bits }.apply_to_waveform(clip, pool)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::kind_tests::{apply, tone};

    #[test]
    fn the_error_has_half_a_step_and_no_relation_to_the_signal() {
        // Variances of 1/6 of the noise and 1/12 of the rounding, for a loud tone and for constants between two levels.
        let step = 1.0 / 128.0f32;
        let half: Vec<f32> = tone(20_000).iter().map(|x| 0.5 * x).collect();
        for clip in [half, vec![0.3 * step; 20_000], vec![-5.5 * step; 20_000]] {
            let output = apply(&DitherDraw { bits: 8, seed: 7 }, &clip);
            let error: Vec<f32> = output.iter().zip(&clip).map(|(output, sample)| (output - sample) / step).collect();
            let mean = error.iter().sum::<f32>() / 20_000.0;
            assert!(mean.abs() < 0.015 && (level::rms(&error) - 0.5).abs() < 0.01, "{mean} {}", level::rms(&error));
            assert!(output.iter().all(|x| (x / step).fract() == 0.0));
        }
    }

    #[test]
    fn the_noise_depends_on_the_seed_of_the_draw_and_silence_stays_silent() {
        let dithered = |seed| apply(&DitherDraw { bits: 8, seed }, &tone(500));
        assert!(dithered(1) == dithered(1) && dithered(1) != dithered(2));
        assert_eq!(apply(&DitherDraw { bits: 8, seed: 1 }, &[0.0; 9]), [0.0; 9]);
    }
}
