//! `phaser`: adds the clip to itself through all-pass filters whose frequency oscillates: notches that move through the spectrum.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};
use timbre_core::seed::uniform;
use timbre_signal::dsp::modulation::{self, PhaserSettings};

augment_spec! {
    /// Moves notches through the spectrum, by all-pass filters with an oscillating frequency.
    pub struct Phaser {
        /// Number of all-pass filters; two make one notch. Default: 4.
        pub stages: Amount = Amount::Fixed(4.0),
        /// Middle of the sweep in Hz. Default: 300 to 2,000, log-uniform.
        pub centre_hz: Amount = Amount::Log(300.0, 2000.0),
        /// Width of the sweep in octaves. Default: 1 to 3.
        pub octaves: Amount = Amount::Range(1.0, 3.0),
        /// Frequency of the sweep in Hz. Default: 0.1 to 2, log-uniform.
        pub rate_hz: Amount = Amount::Log(0.1, 2.0),
        /// Weight of the filtered clip; the clip has the remaining weight. At 0.5 the notches are deepest. Default: 0.3 to 0.5.
        pub wet: Amount = Amount::Range(0.3, 0.5),
    }

    pub struct PhaserDraw {
        pub stages: usize,
        pub centre_hz: f64,
        pub octaves: f64,
        pub rate_hz: f64,
        /// Radians.
        pub phase: f64,
        pub wet: f64,
    }
}

impl Kind for Phaser {
    fn faults(&self, sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([
            ("stages", self.stages.whole_fault(1.0, 32.0)),
            ("centre_hz", self.centre_hz.fault(1.0, f64::from(sample_rate) / 2.0)),
            ("octaves", self.octaves.fault(0.0, 10.0)),
            ("rate_hz", self.rate_hz.fault(0.001, 100.0)),
            ("wet", self.wet.fault(0.0, 1.0)),
        ])
    }
}

impl AugmentKind for Phaser {
    fn draw(&self, _context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let draw = PhaserDraw {
            stages: self.stages.draw_whole(rng) as usize,
            centre_hz: self.centre_hz.draw(rng),
            octaves: self.octaves.draw(rng),
            rate_hz: self.rate_hz.draw(rng),
            phase: std::f64::consts::TAU * uniform(rng),
            wet: self.wet.draw(rng),
        };
        Ok(vec![draw.into()])
    }
}

impl Effect for PhaserDraw {
    fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        let PhaserDraw { stages, centre_hz, octaves, rate_hz: hz, phase, wet } = *self;
        let settings = PhaserSettings { stages: stages.min(32), centre_hz, octaves, hz, phase, wet };
        modulation::phaser(&mut clip.samples, &settings, clip.sample_rate);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::kind_tests::{apply, gain_at, tone};

    fn fixed(wet: f64) -> PhaserDraw {
        PhaserDraw { stages: 4, centre_hz: 1000.0, octaves: 0.0, rate_hz: 1.0, phase: 0.0, wet }
    }

    #[test]
    fn four_filters_make_two_notches_and_the_filters_alone_change_no_level() {
        // Four first-order all-pass filters turn the phase by half a cycle where each turns it by 45 degrees: tan(π/8) of the
        // frequency; bilinear, so a little lower above.
        assert!(gain_at(&fixed(0.5), 1000.0 * (std::f64::consts::PI / 8.0).tan()) < -25.0);
        assert!(gain_at(&fixed(0.5), 1000.0).abs() < 0.1);
        for hz in [100.0, 414.0, 1000.0, 5000.0] {
            assert!(gain_at(&fixed(1.0), hz).abs() < 0.05, "{hz}: {}", gain_at(&fixed(1.0), hz));
        }
    }

    #[test]
    fn a_weight_of_zero_changes_nothing() {
        assert_eq!(apply(&fixed(0.0), &tone(500)), tone(500));
    }
}
