//! Loud passages softer: a compressor.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limiter::Reference;
use super::spec::faults_of;
use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Sound};
use timbre_signal::dsp::dynamics::{self, CompressorSettings};

augment_spec! {
    /// What is louder than a threshold becomes softer by a ratio.
    pub struct Compressor {
        /// Decibels. Default: -40 to -15.
        pub threshold_db: Amount = Amount::Range(-40.0, -15.0),
        /// What 0 decibels are: "peak" of the clip, or "full_scale". Default: peak.
        pub of: Reference = Reference::Peak,
        /// So many decibels above the threshold come out as one. Default: 2 to 8.
        pub ratio: Amount = Amount::Range(2.0, 8.0),
        /// Decibels around the threshold over which the curve bends. Default: 6.
        pub knee_db: Amount = Amount::Fixed(6.0),
        /// Time constant of the level upwards. Default: 1 to 30, every ratio as likely as its equals.
        pub attack_ms: Amount = Amount::Log(1.0, 30.0),
        /// Time constant of the level downwards. Default: 30 to 300, every ratio as likely as its equals.
        pub release_ms: Amount = Amount::Log(30.0, 300.0),
        /// Decibels by which all is lifted at the end. Default: 0.
        pub makeup_db: Amount = Amount::Fixed(0.0),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CompressorDraw {
    pub threshold_db: f64,
    pub of: Reference,
    pub ratio: f64,
    pub knee_db: f64,
    pub attack_ms: f64,
    pub release_ms: f64,
    pub makeup_db: f64,
}

impl AugmentKind for Compressor {
    fn version(&self) -> u32 {
        1
    }

    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        faults_of([
            ("threshold_db", self.threshold_db.fault(-120.0, 20.0)),
            ("ratio", self.ratio.fault(1.0, 1e6)),
            ("knee_db", self.knee_db.fault(0.0, 60.0)),
            ("attack_ms", self.attack_ms.fault(0.0, 60_000.0)),
            ("release_ms", self.release_ms.fault(0.0, 60_000.0)),
            ("makeup_db", self.makeup_db.fault(-60.0, 60.0)),
        ])
    }

    fn draw(&self, _scene: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        Ok(vec![
            CompressorDraw {
                threshold_db: self.threshold_db.draw(rng),
                of: self.of,
                ratio: self.ratio.draw(rng),
                knee_db: self.knee_db.draw(rng),
                attack_ms: self.attack_ms.draw(rng),
                release_ms: self.release_ms.draw(rng),
                makeup_db: self.makeup_db.draw(rng),
            }
            .into(),
        ])
    }
}

impl Effect for CompressorDraw {
    fn on_sound(&self, sound: &mut Sound, _company: &dyn ClipPool) -> Result<()> {
        let reference = self.of.of(&sound.samples);
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
        dynamics::compress(&mut sound.samples, &how, sound.sample_rate);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::probe::{heard, tone};
    use timbre_signal::dsp::level;

    fn compressor() -> CompressorDraw {
        CompressorDraw {
            threshold_db: -20.0,
            of: Reference::Peak,
            ratio: 4.0,
            knee_db: 0.0,
            attack_ms: 1.0,
            release_ms: 1000.0,
            makeup_db: 0.0,
        }
    }

    #[test]
    fn a_tone_is_brought_down_by_what_the_ratio_says_whatever_its_level() {
        for loudness in [1.0, 0.01] {
            let samples: Vec<f32> = tone(16_000).iter().map(|x| loudness * x).collect();
            let heard = heard(&compressor(), &samples);
            let gain = 20.0 * (level::rms(&heard[12_000..]) / level::rms(&samples[12_000..])).log10();
            // 20 dB above the threshold become 5; the followed level lies a little below the peak.
            assert!((gain + 15.0).abs() < 0.5, "{gain} dB");
        }
    }

    #[test]
    fn silence_stays_silence() {
        assert_eq!(heard(&compressor(), &[0.0; 9]), [0.0; 9]);
        assert!(heard(&compressor(), &[]).is_empty());
    }
}
