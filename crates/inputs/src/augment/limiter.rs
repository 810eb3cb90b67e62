//! `limiter`: a look-ahead limiter that keeps the clip below a ceiling.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};
use timbre_signal::dsp::{dynamics, level};

augment_spec! {
    /// Attenuates peaks above a ceiling down to it, without distortion.
    pub struct Limiter {
        /// Ceiling in decibels. Default: -16 to -4.
        pub ceiling_db: Amount = Amount::Range(-16.0, -4.0),
        /// Reference for 0 decibels: "peak" of the clip, or "full_scale". Default: peak.
        pub of: DbReference = DbReference::Peak,
        /// Milliseconds before a peak over which the gain falls. Default: 1 to 5.
        pub attack_ms: Amount = Amount::Range(1.0, 5.0),
        /// Time constant in milliseconds for the return of the gain. Default: 20 to 200, log-uniform.
        pub release_ms: Amount = Amount::Log(20.0, 200.0),
    }

    pub struct LimiterDraw {
        pub ceiling_db: f64,
        pub of: DbReference,
        pub attack_ms: f64,
        pub release_ms: f64,
    }
}

/// Reference for 0 decibels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DbReference {
    /// The largest magnitude of the clip.
    Peak,
    /// A magnitude of 1.
    FullScale,
}

impl DbReference {
    /// The magnitude at 0 decibels.
    pub fn of(self, samples: &[f32]) -> f32 {
        match self {
            DbReference::Peak => level::peak(samples),
            DbReference::FullScale => 1.0,
        }
    }
}

impl Kind for Limiter {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([
            ("ceiling_db", self.ceiling_db.fault(-100.0, 20.0)),
            ("attack_ms", self.attack_ms.fault(0.0, 1000.0)),
            ("release_ms", self.release_ms.fault(0.0, 60_000.0)),
        ])
    }
}

impl AugmentKind for Limiter {
    fn draw(&self, _context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let (ceiling_db, attack_ms, release_ms) =
            (self.ceiling_db.draw(rng), self.attack_ms.draw(rng), self.release_ms.draw(rng));
        Ok(vec![LimiterDraw { ceiling_db, of: self.of, attack_ms, release_ms }.into()])
    }
}

impl Effect for LimiterDraw {
    fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        let ceiling = self.of.of(&clip.samples) * level::db_to_amplitude(self.ceiling_db) as f32;
        let (attack, release) = (1e-3 * self.attack_ms, 1e-3 * self.release_ms);
        dynamics::limit(&mut clip.samples, ceiling, attack, release, clip.sample_rate);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::kind_tests::{apply, tone};

    fn limiter(of: DbReference) -> LimiterDraw {
        LimiterDraw { ceiling_db: -6.0, of, attack_ms: 2.0, release_ms: 50.0 }
    }

    #[test]
    fn the_ceiling_is_reached_and_not_exceeded() {
        let samples: Vec<f32> = tone(8000).iter().map(|x| 0.5 * x).collect();
        let peak = level::peak(&apply(&limiter(DbReference::Peak), &samples));
        assert!((peak - 0.25059).abs() < 1e-3 && peak <= 0.25060, "{peak}");
        assert_eq!(apply(&limiter(DbReference::FullScale), &samples), samples, "half of full scale lies below");
    }

    #[test]
    fn silence_stays_silent() {
        assert_eq!(apply(&limiter(DbReference::Peak), &[0.0; 9]), [0.0; 9]);
        assert!(apply(&limiter(DbReference::Peak), &[]).is_empty());
    }
}
