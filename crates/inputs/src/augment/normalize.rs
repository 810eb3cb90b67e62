//! Brought to a level: by its peak, by its root mean square, or by its loudness.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spec::faults_of;
use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Sound};
use timbre_signal::dsp::{level, loudness};

augment_spec! {
    /// The clip is brought to a level. Silence stays as it is.
    pub struct Normalize {
        /// What is measured: "peak", "rms", or "lufs" (integrated loudness by ITU-R BS.1770-4). Default: peak.
        pub by: Measure = Measure::Peak,
        /// The level: decibels of full scale, or LUFS. Default: 0 for the peak, -20 for the others.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub db: Option<Amount> = None,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// The largest magnitude.
    Peak,
    /// The root of the mean of the squares.
    Rms,
    /// Loudness.
    Lufs,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NormalizeDraw {
    pub by: Measure,
    pub db: f64,
}

impl AugmentKind for Normalize {
    fn version(&self) -> u32 {
        1
    }

    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        faults_of([("db", self.db.as_ref().and_then(|db| db.fault(-100.0, 40.0)))])
    }

    fn draw(&self, _scene: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let usual = if self.by == Measure::Peak { 0.0 } else { -20.0 };
        let db = self.db.as_ref().map_or(usual, |db| db.draw(rng));
        Ok(vec![NormalizeDraw { by: self.by, db }.into()])
    }
}

impl Effect for NormalizeDraw {
    fn on_sound(&self, sound: &mut Sound, _company: &dyn ClipPool) -> Result<()> {
        let found = match self.by {
            Measure::Peak => f64::from(level::peak(&sound.samples)),
            Measure::Rms => level::rms(&sound.samples),
            Measure::Lufs => {
                loudness::integrated(&sound.samples, sound.sample_rate).map_or(0.0, level::db_to_amplitude)
            }
        };
        // What is as quiet as f32's smallest numbers is silence, too.
        if found > 1e-30 {
            level::scale(&mut sound.samples, (level::db_to_amplitude(self.db) / found) as f32);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::probe::tone;
    use crate::augment::tests::{alone, sound};

    fn normalized(by: Measure, db: f64, samples: &[f32]) -> Sound {
        let mut heard = sound(samples);
        NormalizeDraw { by, db }.on_sound(&mut heard, &alone()).unwrap();
        heard
    }

    #[test]
    fn each_measure_reads_what_was_asked_for() {
        let samples: Vec<f32> = tone(8000).iter().map(|x| 0.3 * x).collect();
        let heard = normalized(Measure::Peak, -6.0, &samples);
        assert!((level::peak(&heard.samples) - 0.501187).abs() < 1e-5);
        let heard = normalized(Measure::Rms, -26.0, &samples);
        assert!((level::rms(&heard.samples) - 0.050119).abs() < 1e-6);
        let heard = normalized(Measure::Lufs, -23.0, &samples);
        assert!((loudness::integrated(&heard.samples, 8000).unwrap() + 23.0).abs() < 1e-3);
    }

    #[test]
    fn silence_stays_silence() {
        for by in [Measure::Peak, Measure::Rms, Measure::Lufs] {
            assert_eq!(normalized(by, 0.0, &[0.0; 5000]).samples, [0.0; 5000]);
            assert!(normalized(by, 0.0, &[]).samples.is_empty());
        }
    }
}
