//! `compressor`: reduces the level of loud passages.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::limiter::DbReference;
use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};
use timbre_signal::dsp::dynamics::{self, CompressorSettings};

augment_spec! {
    /// Reduces levels above a threshold by a ratio.
    pub struct Compressor {
        /// Threshold in decibels. Default: -40 to -15.
        pub threshold_db: Amount = Amount::Range(-40.0, -15.0),
        /// Reference for 0 decibels: "peak" of the clip, or "full_scale". Default: peak.
        pub of: DbReference = DbReference::Peak,
        /// Decibels above the threshold at the input for one decibel at the output. Default: 2 to 8.
        pub ratio: Amount = Amount::Range(2.0, 8.0),
        /// Width of the knee around the threshold in decibels. Default: 6.
        pub knee_db: Amount = Amount::Fixed(6.0),
        /// Time constant in milliseconds for rising levels. Default: 1 to 30, log-uniform.
        pub attack_ms: Amount = Amount::Log(1.0, 30.0),
        /// Time constant in milliseconds for falling levels. Default: 30 to 300, log-uniform.
        pub release_ms: Amount = Amount::Log(30.0, 300.0),
        /// Gain after compression in decibels. Default: 0.
        pub makeup_db: Amount = Amount::Fixed(0.0),
    }

    pub struct CompressorDraw {
        pub threshold_db: f64,
        pub of: DbReference,
        pub ratio: f64,
        pub knee_db: f64,
        pub attack_ms: f64,
        pub release_ms: f64,
        pub makeup_db: f64,
    }
}

impl Kind for Compressor {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([
            ("threshold_db", self.threshold_db.fault(-120.0, 20.0)),
            ("ratio", self.ratio.fault(1.0, 1e6)),
            ("knee_db", self.knee_db.fault(0.0, 60.0)),
            ("attack_ms", self.attack_ms.fault(0.0, 60_000.0)),
            ("release_ms", self.release_ms.fault(0.0, 60_000.0)),
            ("makeup_db", self.makeup_db.fault(-60.0, 60.0)),
        ])
    }
}

impl Compressor {
    pub fn drawn(&self, rng: &mut ChaCha8Rng) -> CompressorDraw {
        CompressorDraw {
            threshold_db: self.threshold_db.draw(rng),
            of: self.of,
            ratio: self.ratio.draw(rng),
            knee_db: self.knee_db.draw(rng),
            attack_ms: self.attack_ms.draw(rng),
            release_ms: self.release_ms.draw(rng),
            makeup_db: self.makeup_db.draw(rng),
        }
    }
}

impl AugmentKind for Compressor {
    fn draw(&self, _context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        Ok(vec![self.drawn(rng).into()])
    }
}

impl Effect for CompressorDraw {
    fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        let reference = self.of.of(&clip.samples);
        if reference <= 0.0 {
            return Ok(());
        }
        let how = CompressorSettings {
            threshold_db: self.threshold_db + 20.0 * libm::log10(f64::from(reference)),
            ratio: self.ratio,
            knee_db: self.knee_db,
            attack_seconds: 1e-3 * self.attack_ms,
            release_seconds: 1e-3 * self.release_ms,
            makeup_db: self.makeup_db,
        };
        dynamics::compress(&mut clip.samples, &how, clip.sample_rate);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::kind_tests::{apply, tone};
    use timbre_signal::dsp::level;

    fn compressor() -> CompressorDraw {
        CompressorDraw {
            threshold_db: -20.0,
            of: DbReference::Peak,
            ratio: 4.0,
            knee_db: 0.0,
            attack_ms: 1.0,
            release_ms: 1000.0,
            makeup_db: 0.0,
        }
    }

    #[test]
    fn a_tone_is_attenuated_by_the_ratio_at_any_level() {
        for loudness in [1.0, 0.01] {
            let samples: Vec<f32> = tone(16_000).iter().map(|x| loudness * x).collect();
            let output = apply(&compressor(), &samples);
            let gain = 20.0 * (level::rms(&output[12_000..]) / level::rms(&samples[12_000..])).log10();
            // 20 dB above the threshold become 5; the level detector lies slightly below the peak.
            assert!((gain + 15.0).abs() < 0.5, "{gain} dB");
        }
    }

    #[test]
    fn silence_stays_silent() {
        assert_eq!(apply(&compressor(), &[0.0; 9]), [0.0; 9]);
        assert!(apply(&compressor(), &[]).is_empty());
    }
}
