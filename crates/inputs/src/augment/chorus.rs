//! `chorus`: adds copies of the clip with oscillating delays, whose pitch therefore rises and falls slightly.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};
use timbre_core::seed::uniform;
use timbre_signal::dsp::modulation::{self, ChorusVoice};

augment_spec! {
    /// Adds copies of the clip, each with an oscillating delay.
    pub struct Chorus {
        /// Number of copies. Default: 2 to 4.
        pub voices: Amount = Amount::Range(2.0, 4.0),
        /// Mean delay in milliseconds. Default: 15 to 35.
        pub delay_ms: Amount = Amount::Range(15.0, 35.0),
        /// Amplitude of the oscillation of the delay in milliseconds. Default: 0.5 to 4.
        pub depth_ms: Amount = Amount::Range(0.5, 4.0),
        /// Frequency of the oscillation in Hz. Default: 0.1 to 1.5, log-uniform.
        pub rate_hz: Amount = Amount::Log(0.1, 1.5),
        /// Weight of the copies; the clip has the remaining weight. Default: 0.3 to 0.6.
        pub wet: Amount = Amount::Range(0.3, 0.6),
    }

    pub struct ChorusDraw {
        pub voices: Vec<ChorusVoice>,
        pub wet: f64,
    }
}

impl Kind for Chorus {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([
            ("voices", self.voices.whole_fault(1.0, 32.0)),
            ("delay_ms", self.delay_ms.fault(0.0, 1000.0)),
            ("depth_ms", self.depth_ms.fault(0.0, 1000.0)),
            ("rate_hz", self.rate_hz.fault(0.001, 100.0)),
            ("wet", self.wet.fault(0.0, 1.0)),
        ])
    }
}

/// An oscillating delay with a random phase.
pub(super) fn draw_voice(delay_ms: &Amount, depth_ms: &Amount, rate_hz: &Amount, rng: &mut ChaCha8Rng) -> ChorusVoice {
    ChorusVoice {
        delay: 1e-3 * delay_ms.draw(rng),
        depth: 1e-3 * depth_ms.draw(rng),
        hz: rate_hz.draw(rng),
        phase: std::f64::consts::TAU * uniform(rng),
    }
}

impl AugmentKind for Chorus {
    fn draw(&self, _context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let count = self.voices.draw_whole(rng);
        let voices = (0..count).map(|_| draw_voice(&self.delay_ms, &self.depth_ms, &self.rate_hz, rng)).collect();
        Ok(vec![ChorusDraw { voices, wet: self.wet.draw(rng) }.into()])
    }
}

impl Effect for ChorusDraw {
    fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        modulation::chorus(&mut clip.samples, &self.voices, self.wet, clip.sample_rate);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::kind_tests::{apply, drawn, tone};

    #[test]
    fn every_copy_has_its_own_delay_and_phase() {
        let spec = Chorus { voices: Amount::Fixed(3.0), ..Default::default() };
        let Draw::ChorusDraw(draw) = drawn(&spec, 100, 1).remove(0) else { panic!("one draw") };
        assert_eq!(draw.voices.len(), 3);
        assert!(draw.voices.windows(2).all(|pair| pair[0].delay != pair[1].delay && pair[0].phase != pair[1].phase));
    }

    #[test]
    fn a_weight_of_zero_changes_nothing_and_silence_stays_silent() {
        let Draw::ChorusDraw(draw) = drawn(&Chorus::default(), 100, 2).remove(0) else { panic!("one draw") };
        assert_eq!(apply(&ChorusDraw { wet: 0.0, ..draw.clone() }, &tone(500)), tone(500));
        assert_eq!(apply(&draw, &[0.0; 300]), [0.0; 300]);
        assert!(apply(&draw, &[]).is_empty());
    }
}
