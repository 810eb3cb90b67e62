//! Higher or lower by semitones, at the same pace and as long as before (`dsp/vocoder`).

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Sound};
use timbre_signal::dsp::vocoder::pitch_shift;

augment_spec! {
    /// Higher or lower by so many semitones, at the same pace.
    pub struct PitchShift {
        /// Semitones, fractions too, -24 to 24; up where they are positive. Default: -2 to 2.
        pub semitones: Amount = Amount::Range(-2.0, 2.0),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PitchShiftDraw {
    pub semitones: f64,
}

impl AugmentKind for PitchShift {
    fn version(&self) -> u32 {
        1
    }

    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        self.semitones.fault(-24.0, 24.0).map(|why| ("semitones".to_owned(), why)).into_iter().collect()
    }

    fn draw(&self, _scene: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        Ok(vec![PitchShiftDraw { semitones: self.semitones.draw(rng) }.into()])
    }
}

impl Effect for PitchShiftDraw {
    fn fault(&self) -> Option<String> {
        Amount::Fixed(self.semitones).fault(-24.0, 24.0).map(|why| format!("`semitones`: {why}"))
    }

    fn on_sound(&self, sound: &mut Sound, _company: &dyn ClipPool) -> Result<()> {
        sound.samples = pitch_shift(&sound.samples, sound.sample_rate, self.semitones);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::tests::{alone, sound};

    /// How often it crosses zero upwards, a second.
    fn crossings(samples: &[f32], sample_rate: u32) -> f64 {
        let count = samples.windows(2).filter(|two| two[0] < 0.0 && two[1] >= 0.0).count();
        count as f64 * f64::from(sample_rate) / samples.len() as f64
    }

    #[test]
    fn an_octave_is_twice_the_frequency_and_not_a_sample_more() {
        let samples: Vec<f32> = (0..16_000).map(|n| (n as f32 * 0.345).sin()).collect();
        let mut heard = sound(&samples);
        PitchShiftDraw { semitones: 12.0 }.on_sound(&mut heard, &alone()).unwrap();
        assert_eq!(heard.samples.len(), 16_000);
        let (before, after) = (crossings(&samples, 8000), crossings(&heard.samples, 8000));
        assert!((after / before - 2.0).abs() < 0.01, "{before} became {after}");
    }

    #[test]
    fn more_than_two_octaves_are_refused() {
        assert!(
            PitchShift { semitones: Amount::Range(-25.0, 0.0), ..Default::default() }.faults(22050)[0]
                .1
                .contains("-25")
        );
    }
}
