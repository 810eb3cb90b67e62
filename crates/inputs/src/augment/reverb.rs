//! `reverb`: convolves the clip with the response of a simulated room (`dsp::room`).

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};
use timbre_signal::dsp::{convolve::convolve, room::Room};

augment_spec! {
    /// Places the clip in a simulated room, a different one for each draw. The direct sound keeps its position, and the
    /// overall level stays.
    pub struct Reverb {
        /// Seconds until the reverberation has fallen by 60 decibels (RT60). Default: 0.2 to 1.5, log-uniform.
        pub rt60: Amount = Amount::Log(0.2, 1.5),
        /// Cube root of the volume of the room in metres; it sets when the first reflections arrive. Default: 3 to 12,
        /// log-uniform.
        pub size: Amount = Amount::Log(3.0, 12.0),
        /// Cut-off frequency of the low-pass on the reflections, in Hz. Default: 2,000 to 8,000, log-uniform.
        pub cutoff_hz: Amount = Amount::Log(2000.0, 8000.0),
        /// Share of the energy in the reflections: 0.5 is as much as in the direct sound. Default: 0.1 to 0.6.
        pub wet: Amount = Amount::Range(0.1, 0.6),
    }

    pub struct ReverbDraw {
        pub rt60: f64,
        pub size: f64,
        pub cutoff_hz: f64,
        pub wet: f64,
        /// Seed of the proportions of the room and of its noise.
        pub seed: u64,
    }
}

impl Kind for Reverb {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([
            ("rt60", self.rt60.fault(0.01, 30.0)),
            ("size", self.size.fault(0.5, 100.0)),
            ("cutoff_hz", self.cutoff_hz.fault(50.0, 200_000.0)),
            ("wet", self.wet.fault(0.0, 1.0)),
        ])
    }
}

impl AugmentKind for Reverb {
    fn draw(&self, _context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
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
    fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        let ReverbDraw { rt60, size, cutoff_hz: cutoff, wet, seed } = *self;
        let response = Room { rt60, size, cutoff, wet, seed }.response(clip.sample_rate, clip.samples.len());
        convolve(&mut clip.samples, &response);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::kind_tests::apply;
    use timbre_signal::dsp::level;

    fn reverb(wet: f64) -> ReverbDraw {
        ReverbDraw { rt60: 0.4, size: 5.0, cutoff_hz: 3000.0, wet, seed: 4 }
    }

    #[test]
    fn the_direct_sound_keeps_its_position_and_the_reflections_follow() {
        let mut click = vec![0.0; 8000];
        click[1000] = 1.0;
        let output = apply(&reverb(0.5), &click);
        assert_eq!(output.len(), 8000);
        assert!(output[..1000].iter().all(|x| x.abs() < 1e-6));
        assert!((output[1000] - 0.5f32.sqrt()).abs() < 1e-4);
        let walls = level::energy(&output[1001..]);
        assert!((walls - 0.5).abs() < 0.01, "{walls}");
    }

    #[test]
    fn a_dry_room_changes_nothing_and_silence_stays_silent() {
        let samples: Vec<f32> = (0..500).map(|n| (n as f32 * 0.3).sin()).collect();
        assert!(apply(&reverb(0.0), &samples).iter().zip(&samples).all(|(a, b)| (a - b).abs() < 1e-5));
        assert!(apply(&reverb(1.0), &[0.0; 100]).iter().all(|&x| x == 0.0));
        assert!(apply(&reverb(0.5), &[]).is_empty());
        assert!(apply(&reverb(0.5), &[1.0])[0].is_finite());
    }
}
