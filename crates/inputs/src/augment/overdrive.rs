//! `overdrive`: the distortion of an overdriven amplifier, as the effect of the same name in SoX.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};
use timbre_signal::dsp::level;

augment_spec! {
    /// Distorts the waveform as an overdriven amplifier does. The peak of the clip stays.
    pub struct Overdrive {
        /// Gain before the distortion in decibels, 0 to 100. Default: 10 to 30.
        pub gain_db: Amount = Amount::Range(10.0, 30.0),
        /// Strength of even harmonics, 0 to 100: the offset before the distortion, in two-hundredths of the peak. Default: 0 to 40.
        pub colour: Amount = Amount::Range(0.0, 40.0),
    }

    pub struct OverdriveDraw {
        pub gain_db: f64,
        pub colour: f64,
    }
}

impl Kind for Overdrive {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([("gain_db", self.gain_db.fault(0.0, 100.0)), ("colour", self.colour.fault(0.0, 100.0))])
    }
}

impl AugmentKind for Overdrive {
    fn draw(&self, _context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        Ok(vec![OverdriveDraw { gain_db: self.gain_db.draw(rng), colour: self.colour.draw(rng) }.into()])
    }
}

/// A cubic that is flat from 1 on.
fn bent(x: f64) -> f64 {
    let x = x.clamp(-1.0, 1.0);
    x - x * x * x / 3.0
}

impl Effect for OverdriveDraw {
    /// SoX distorts relative to full scale; here it is the peak of the clip, which also stays, so that the level does not matter.
    /// The filter against the offset starts at rest with it; in SoX it starts with a click.
    fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        let peak = level::peak(&clip.samples);
        if peak < 1e-30 {
            return Ok(());
        }
        let (gain, offset) = (level::db_to_amplitude(self.gain_db), self.colour / 200.0);
        let (mut input, mut output) = (bent(offset), 0.0);
        for sample in &mut clip.samples {
            let x = f64::from(*sample / peak);
            let distorted = bent(x * gain + offset);
            output = distorted - input + 0.995 * output;
            input = distorted;
            *sample = (0.5 * x + 0.75 * output) as f32;
        }
        let loudest = level::peak(&clip.samples);
        if loudest > 0.0 {
            level::scale(&mut clip.samples, peak / loudest);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::kind_tests::{apply, tone};

    #[test]
    fn values_are_those_of_the_formula_of_sox_at_any_level() {
        let samples = [0.1, 1.0, -0.5, 0.02, 0.0];
        // A gain of 10 and an offset of 0.1. Distorted: 0.1 → 0.0996667, then 1.1, 10.1, -4.9, 0.3, 0.1, cut at 1.
        let distorted = [2.0 / 3.0, 2.0 / 3.0, -2.0 / 3.0, 0.3 - 0.009, 0.1 - 0.001 / 3.0];
        let (mut before, mut output) = (0.1 - 0.001 / 3.0, 0.0);
        let formula: Vec<f64> = samples
            .iter()
            .zip(distorted)
            .map(|(x, distorted)| {
                output = distorted - before + 0.995 * output;
                before = distorted;
                0.5 * x + 0.75 * output
            })
            .collect();
        let loudest = formula.iter().fold(0.0f64, |peak, x| peak.max(x.abs()));
        for factor in [1.0, 0.01] {
            let clip = samples.map(|x| (factor * x) as f32);
            for (found, expected) in apply(&OverdriveDraw { gain_db: 20.0, colour: 20.0 }, &clip).iter().zip(&formula) {
                assert!((f64::from(*found) - factor * expected / loudest).abs() < 1e-6, "{found}, not {expected}");
            }
        }
    }

    #[test]
    fn the_level_rises_the_peak_stays_and_an_offset_does_not_remain() {
        let clip: Vec<f32> = tone(8000).iter().map(|x| 0.3 * x).collect();
        let output = apply(&OverdriveDraw { gain_db: 30.0, colour: 40.0 }, &clip);
        assert!((level::peak(&output) - level::peak(&clip)).abs() < 1e-6);
        assert!((output[4000..].iter().sum::<f32>() / 4000.0).abs() < 0.003);
        // Half a sine and three quarters of a square wave of 2/3: 1.4 dB above the sine of the same peak.
        let gain = 20.0
            * (level::rms(&apply(&OverdriveDraw { gain_db: 60.0, colour: 0.0 }, &clip)) / level::rms(&clip)).log10();
        assert!((gain - 1.4).abs() < 0.3, "{gain} dB");
    }
}
