//! `flanger`: adds a copy of the clip with a short oscillating delay and feedback: a comb whose teeth move through the spectrum.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::chorus::draw_voice;
use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};
use timbre_signal::dsp::modulation::{self, ChorusVoice};

augment_spec! {
    /// Adds a copy of the clip with a short oscillating delay, which is fed back.
    pub struct Flanger {
        /// Mean delay in milliseconds. Default: 1 to 5.
        pub delay_ms: Amount = Amount::Range(1.0, 5.0),
        /// Amplitude of the oscillation of the delay in milliseconds. Default: 0.5 to 2.
        pub depth_ms: Amount = Amount::Range(0.5, 2.0),
        /// Frequency of the oscillation in Hz. Default: 0.1 to 1, log-uniform.
        pub rate_hz: Amount = Amount::Log(0.1, 1.0),
        /// Share of the copy that is delayed again, -0.95 to 0.95. Default: 0 to 0.7.
        pub feedback: Amount = Amount::Range(0.0, 0.7),
        /// Weight of the copy; the clip has the remaining weight. Default: 0.3 to 0.5.
        pub wet: Amount = Amount::Range(0.3, 0.5),
    }

    pub struct FlangerDraw {
        pub voice: ChorusVoice,
        pub feedback: f64,
        pub wet: f64,
    }
}

impl Kind for Flanger {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([
            ("delay_ms", self.delay_ms.fault(0.0, 1000.0)),
            ("depth_ms", self.depth_ms.fault(0.0, 1000.0)),
            ("rate_hz", self.rate_hz.fault(0.001, 100.0)),
            ("feedback", self.feedback.fault(-0.95, 0.95)),
            ("wet", self.wet.fault(0.0, 1.0)),
        ])
    }
}

impl AugmentKind for Flanger {
    fn draw(&self, _context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let voice = draw_voice(&self.delay_ms, &self.depth_ms, &self.rate_hz, rng);
        Ok(vec![FlangerDraw { voice, feedback: self.feedback.draw(rng), wet: self.wet.draw(rng) }.into()])
    }
}

impl Effect for FlangerDraw {
    fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        modulation::flanger(&mut clip.samples, &self.voice, self.feedback, self.wet, clip.sample_rate);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::kind_tests::{apply, gain_at, tone};

    fn fixed(feedback: f64, wet: f64) -> FlangerDraw {
        // 21 samples at 22,050 Hz.
        let voice = ChorusVoice { delay: 21.0 / 22_050.0, depth: 0.0, hz: 1.0, phase: 0.0 };
        FlangerDraw { voice, feedback, wet }
    }

    #[test]
    fn the_gains_are_those_of_a_comb_with_feedback() {
        // A delay of 21 samples repeats every 1050 Hz. There all repetitions add up; in between they alternate in sign.
        for (feedback, wet) in [(0.0, 0.5), (0.6, 0.4), (-0.5, 0.3)] {
            for (hz, sign) in [(1050.0, 1.0), (2100.0, 1.0), (1575.0, -1.0), (2625.0, -1.0)] {
                let gain: f64 = (1.0 - wet) + sign * wet / (1.0 - sign * feedback);
                let expected = 20.0 * gain.abs().log10();
                let found = gain_at(&fixed(feedback, wet), hz);
                assert!(
                    (found - expected).abs() < 0.01 || expected < -60.0 && found < -60.0,
                    "{hz}: {found} {expected}"
                );
            }
        }
    }

    #[test]
    fn a_weight_of_zero_changes_nothing() {
        assert_eq!(apply(&fixed(0.9, 0.0), &tone(500)), tone(500));
    }
}
