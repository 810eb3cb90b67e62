//! `normalize`: scales the clip to a level measured as peak, root mean square or loudness.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};
use timbre_signal::dsp::{level, loudness};

augment_spec! {
    /// Scales the clip to a level. Silence stays silent.
    pub struct Normalize {
        /// LevelMeasure: "peak", "rms", or "lufs" (integrated loudness, ITU-R BS.1770-4). Default: peak.
        pub by: LevelMeasure = LevelMeasure::Peak,
        /// Target level in decibels of full scale, or in LUFS. Default: 0 for the peak, -20 for the others.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub db: Option<Amount> = None,
    }

    pub struct NormalizeDraw {
        pub by: LevelMeasure,
        pub db: f64,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LevelMeasure {
    /// Largest magnitude.
    Peak,
    /// Root mean square.
    Rms,
    /// Integrated loudness.
    Lufs,
}

impl Kind for Normalize {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([("db", self.db.as_ref().and_then(|db| db.fault(-100.0, 40.0)))])
    }
}

impl AugmentKind for Normalize {
    fn draw(&self, _context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let usual = if self.by == LevelMeasure::Peak { 0.0 } else { -20.0 };
        let db = self.db.as_ref().map_or(usual, |db| db.draw(rng));
        Ok(vec![NormalizeDraw { by: self.by, db }.into()])
    }
}

impl Effect for NormalizeDraw {
    fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        let found = match self.by {
            LevelMeasure::Peak => f64::from(level::peak(&clip.samples)),
            LevelMeasure::Rms => level::rms(&clip.samples),
            LevelMeasure::Lufs => {
                loudness::integrated(&clip.samples, clip.sample_rate).map_or(0.0, level::db_to_amplitude)
            }
        };
        // A clip of the smallest f32 numbers counts as silence too.
        if found > 1e-30 {
            level::scale(&mut clip.samples, (level::db_to_amplitude(self.db) / found) as f32);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::kind_tests::tone;
    use crate::augment::tests::{empty_pool, waveform};

    fn normalized(by: LevelMeasure, db: f64, samples: &[f32]) -> Waveform {
        let mut output = waveform(samples);
        NormalizeDraw { by, db }.apply_to_waveform(&mut output, &empty_pool()).unwrap();
        output
    }

    #[test]
    fn the_output_has_the_requested_level_in_each_measure() {
        let samples: Vec<f32> = tone(8000).iter().map(|x| 0.3 * x).collect();
        let output = normalized(LevelMeasure::Peak, -6.0, &samples);
        assert!((level::peak(&output.samples) - 0.501187).abs() < 1e-5);
        let output = normalized(LevelMeasure::Rms, -26.0, &samples);
        assert!((level::rms(&output.samples) - 0.050119).abs() < 1e-6);
        let output = normalized(LevelMeasure::Lufs, -23.0, &samples);
        assert!((loudness::integrated(&output.samples, 8000).unwrap() + 23.0).abs() < 1e-3);
    }

    #[test]
    fn silence_stays_silent() {
        for by in [LevelMeasure::Peak, LevelMeasure::Rms, LevelMeasure::Lufs] {
            assert_eq!(normalized(by, 0.0, &[0.0; 5000]).samples, [0.0; 5000]);
            assert!(normalized(by, 0.0, &[]).samples.is_empty());
        }
    }
}
