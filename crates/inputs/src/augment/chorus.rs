//! A chorus: copies that lag behind by times that swing, so that they are a little too high and a little too low by turns.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spec::faults_of;
use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Sound};
use timbre_core::seed::uniform;
use timbre_signal::dsp::modulation::{self, ChorusVoice};

augment_spec! {
    /// Copies of the clip come with it, each lagging behind by a time that swings.
    pub struct Chorus {
        /// How many. Default: 2 to 4.
        pub voices: Amount = Amount::Range(2.0, 4.0),
        /// Milliseconds of lag on the average. Default: 15 to 35.
        pub delay_ms: Amount = Amount::Range(15.0, 35.0),
        /// Milliseconds by which it swings to either side. Default: 0.5 to 4.
        pub depth_ms: Amount = Amount::Range(0.5, 4.0),
        /// Swings a second. Default: 0.1 to 1.5, every ratio as likely as its equals.
        pub rate_hz: Amount = Amount::Log(0.1, 1.5),
        /// Weight of the copies; the clip has the rest. Default: 0.3 to 0.6.
        pub wet: Amount = Amount::Range(0.3, 0.6),
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChorusDraw {
    pub voices: Vec<ChorusVoice>,
    pub wet: f64,
}

impl AugmentKind for Chorus {
    fn version(&self) -> u32 {
        1
    }

    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        faults_of([
            ("voices", self.voices.whole_fault(1.0, 32.0)),
            ("delay_ms", self.delay_ms.fault(0.0, 1000.0)),
            ("depth_ms", self.depth_ms.fault(0.0, 1000.0)),
            ("rate_hz", self.rate_hz.fault(0.001, 100.0)),
            ("wet", self.wet.fault(0.0, 1.0)),
        ])
    }

    fn draw(&self, _scene: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let voice = |rng: &mut ChaCha8Rng| ChorusVoice {
            delay: 1e-3 * self.delay_ms.draw(rng),
            depth: 1e-3 * self.depth_ms.draw(rng),
            hz: self.rate_hz.draw(rng),
            phase: std::f64::consts::TAU * uniform(rng),
        };
        let voices = (0..self.voices.draw_whole(rng)).map(|_| voice(rng)).collect();
        Ok(vec![ChorusDraw { voices, wet: self.wet.draw(rng) }.into()])
    }
}

impl Effect for ChorusDraw {
    fn on_sound(&self, sound: &mut Sound, _company: &dyn ClipPool) -> Result<()> {
        modulation::chorus(&mut sound.samples, &self.voices, self.wet, sound.sample_rate);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::probe::{drawn, heard, tone};

    #[test]
    fn every_voice_is_drawn_for_itself() {
        let spec = Chorus { voices: Amount::Fixed(3.0), ..Default::default() };
        let Draw::ChorusDraw(draw) = drawn(&spec, 100, 1).remove(0) else { panic!("one draw") };
        assert_eq!(draw.voices.len(), 3);
        assert!(draw.voices.windows(2).all(|pair| pair[0].delay != pair[1].delay && pair[0].phase != pair[1].phase));
    }

    #[test]
    fn a_chorus_without_weight_is_the_clip_and_silence_stays() {
        let Draw::ChorusDraw(draw) = drawn(&Chorus::default(), 100, 2).remove(0) else { panic!("one draw") };
        assert_eq!(heard(&ChorusDraw { wet: 0.0, ..draw.clone() }, &tone(500)), tone(500));
        assert_eq!(heard(&draw, &[0.0; 300]), [0.0; 300]);
        assert!(heard(&draw, &[]).is_empty());
    }
}
