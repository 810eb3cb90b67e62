//! The clip in a room that does not exist: see `dsp::room` for how its response is made.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spec::faults_of;
use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Sound};
use timbre_signal::dsp::convolve::convolve;
use timbre_signal::dsp::room::Room;

augment_spec! {
    /// The clip sounds in a room, another one each time. The direct sound stays where it is, and the level on the whole, too.
    pub struct Reverb {
        /// Seconds until the reverberation has fallen by 60 decibels. Default: 0.2 to 1.5, every ratio as likely as its equals.
        pub rt60: Amount = Amount::Log(0.2, 1.5),
        /// Third root of the room's volume, in metres: when the first reflections come. Default: 3 to 12.
        pub size: Amount = Amount::Log(3.0, 12.0),
        /// Reflections lose their treble from here on, in Hz. Default: 2,000 to 8,000.
        pub cutoff_hz: Amount = Amount::Log(2000.0, 8000.0),
        /// Share of the energy that comes by way of the walls: 0.5 is as much as comes directly. Default: 0.1 to 0.6.
        pub wet: Amount = Amount::Range(0.1, 0.6),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReverbDraw {
    pub rt60: f64,
    pub size: f64,
    pub cutoff_hz: f64,
    pub wet: f64,
    /// Of the room's proportions and its noise.
    pub seed: u64,
}

impl AugmentKind for Reverb {
    fn version(&self) -> u32 {
        1
    }

    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        faults_of([
            ("rt60", self.rt60.fault(0.01, 30.0)),
            ("size", self.size.fault(0.5, 100.0)),
            ("cutoff_hz", self.cutoff_hz.fault(50.0, 200_000.0)),
            ("wet", self.wet.fault(0.0, 1.0)),
        ])
    }

    fn draw(&self, _scene: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        Ok(vec![
            ReverbDraw {
                rt60: self.rt60.draw(rng),
                size: self.size.draw(rng),
                cutoff_hz: self.cutoff_hz.draw(rng),
                wet: self.wet.draw(rng),
                seed: rng.next_u64(),
            }
            .into(),
        ])
    }
}

impl Effect for ReverbDraw {
    fn on_sound(&self, sound: &mut Sound, _company: &dyn ClipPool) -> Result<()> {
        let ReverbDraw { rt60, size, cutoff_hz: cutoff, wet, seed } = *self;
        let response = Room { rt60, size, cutoff, wet, seed }.response(sound.sample_rate, sound.samples.len());
        convolve(&mut sound.samples, &response);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::probe::heard;
    use timbre_signal::dsp::level;

    fn reverb(wet: f64) -> ReverbDraw {
        ReverbDraw { rt60: 0.4, size: 5.0, cutoff_hz: 3000.0, wet, seed: 4 }
    }

    #[test]
    fn the_direct_sound_stays_in_place_and_the_walls_answer_later() {
        let mut click = vec![0.0; 8000];
        click[1000] = 1.0;
        let heard = heard(&reverb(0.5), &click);
        assert_eq!(heard.len(), 8000);
        assert!(heard[..1000].iter().all(|x| x.abs() < 1e-6));
        assert!((heard[1000] - 0.5f32.sqrt()).abs() < 1e-4);
        let walls = level::energy(&heard[1001..]);
        assert!((walls - 0.5).abs() < 0.01, "{walls}");
    }

    #[test]
    fn a_dry_room_changes_nothing_and_silence_stays() {
        let samples: Vec<f32> = (0..500).map(|n| (n as f32 * 0.3).sin()).collect();
        assert!(heard(&reverb(0.0), &samples).iter().zip(&samples).all(|(a, b)| (a - b).abs() < 1e-5));
        assert!(heard(&reverb(1.0), &[0.0; 100]).iter().all(|&x| x == 0.0));
        assert!(heard(&reverb(0.5), &[]).is_empty());
        assert!(heard(&reverb(0.5), &[1.0])[0].is_finite());
    }
}
