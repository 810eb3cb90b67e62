//! `pitch_shift`: raises or lowers the pitch at the same tempo and length (`dsp::vocoder`).

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};
use timbre_signal::dsp::vocoder::pitch_shift;

augment_spec! {
    /// Raises or lowers the pitch at the same tempo.
    pub struct PitchShift {
        /// Shift in semitones, fractions allowed, -24 to 24; positive values raise the pitch. Default: -2 to 2.
        pub semitones: Amount = Amount::Range(-2.0, 2.0),
    }

    pub struct PitchShiftDraw {
        pub semitones: f64,
    }
}

impl Kind for PitchShift {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([("semitones", self.semitones.fault(-24.0, 24.0))])
    }
}

impl AugmentKind for PitchShift {
    fn draw(&self, _context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        Ok(vec![PitchShiftDraw { semitones: self.semitones.draw(rng) }.into()])
    }
}

impl Effect for PitchShiftDraw {
    fn fault(&self) -> Option<String> {
        Amount::Fixed(self.semitones).fault(-24.0, 24.0).map(|why| format!("`semitones`: {why}"))
    }

    fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        clip.samples = pitch_shift(&clip.samples, clip.sample_rate, self.semitones);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::tests::{empty_pool, waveform};

    /// Upward zero crossings per second.
    fn crossings(samples: &[f32], sample_rate: u32) -> f64 {
        let count = samples.windows(2).filter(|two| two[0] < 0.0 && two[1] >= 0.0).count();
        count as f64 * f64::from(sample_rate) / samples.len() as f64
    }

    #[test]
    fn an_octave_doubles_the_frequency_and_keeps_the_length() {
        let samples: Vec<f32> = (0..16_000).map(|n| (n as f32 * 0.345).sin()).collect();
        let mut output = waveform(&samples);
        PitchShiftDraw { semitones: 12.0 }.apply_to_waveform(&mut output, &empty_pool()).unwrap();
        assert_eq!(output.samples.len(), 16_000);
        let (before, after) = (crossings(&samples, 8000), crossings(&output.samples, 8000));
        assert!((after / before - 2.0).abs() < 0.01, "{before} became {after}");
    }

    #[test]
    fn shifts_of_more_than_two_octaves_are_faults() {
        let faults = PitchShift { semitones: Amount::Range(-25.0, 0.0), ..Default::default() }.faults(22050);
        assert!(faults[0].sentence.contains("-25"), "{faults:?}");
    }
}
