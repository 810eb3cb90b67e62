//! `clipping`: limits samples at a level, by hard or soft clipping.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};
use timbre_signal::dsp::{decibel::power_of_two, level};

augment_spec! {
    /// Clips samples above a level: distortion.
    pub struct Clipping {
        /// Percentage of the samples that exceed the level. Default: 0 to 20.
        pub percent: Amount = Amount::Range(0.0, 20.0),
        /// Alternative to `percent`: the level in decibels of full scale.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub level_db: Option<Amount> = None,
        /// "hard": samples are cut at the level; "soft": a hyperbolic tangent that approaches the level and bends the
        /// samples below it too. Default: hard.
        pub shape: ClippingShape = ClippingShape::Hard,
    }

    pub struct ClippingDraw {
        pub at: ClippingLevel,
        pub shape: ClippingShape,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClippingShape {
    /// Samples are cut at the level.
    Hard,
    /// Hyperbolic tangent.
    Soft,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClippingLevel {
    /// Exceeded by this percentage of the samples.
    Percent(f64),
    /// Decibels of full scale.
    Db(f64),
}

impl Kind for Clipping {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([
            ("percent", self.percent.fault(0.0, 100.0)),
            ("level_db", self.level_db.as_ref().and_then(|db| db.fault(-100.0, 20.0))),
        ])
    }
}

impl AugmentKind for Clipping {
    fn draw(&self, _context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let at = match &self.level_db {
            Some(db) => ClippingLevel::Db(db.draw(rng)),
            None => ClippingLevel::Percent(self.percent.draw(rng)),
        };
        Ok(vec![ClippingDraw { at, shape: self.shape }.into()])
    }
}

impl Effect for ClippingDraw {
    fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        let samples = &mut clip.samples;
        let level = match self.at {
            ClippingLevel::Percent(percent) => level::magnitude_quantile(samples, percent / 100.0),
            ClippingLevel::Db(db) => level::db_to_amplitude(db) as f32,
        };
        match self.shape {
            // Where most samples are zero, their quantile may be zero too: the clip is left unchanged rather than
            // silenced.
            _ if level < 1e-30 => {}
            ClippingShape::Hard => samples.iter_mut().for_each(|sample| *sample = sample.clamp(-level, level)),
            ClippingShape::Soft => {
                let inverse = 1.0 / level;
                samples.iter_mut().for_each(|sample| *sample = level * tanh(*sample * inverse));
            }
        }
        Ok(())
    }
}

/// The hyperbolic tangent, off by at most 2e-7 of full scale; it compiles to vector instructions.
#[inline(always)]
fn tanh(x: f32) -> f32 {
    const TWO_BY_LN_2: f32 = 2.885_39;
    1.0 - 2.0 / (power_of_two(x * TWO_BY_LN_2) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::kind_tests::{apply, tone};

    fn clipping(at: ClippingLevel, shape: ClippingShape) -> ClippingDraw {
        ClippingDraw { at, shape }
    }

    #[test]
    fn the_drawn_percentage_of_samples_is_clipped() {
        let samples: Vec<f32> = (0..1000).map(|n| if n % 2 == 0 { n as f32 } else { -n as f32 } / 1000.0).collect();
        let output = apply(&clipping(ClippingLevel::Percent(10.0), ClippingShape::Hard), &samples);
        assert_eq!(output.iter().zip(&samples).filter(|(output, sample)| output != sample).count(), 100);
        assert_eq!(level::peak(&output), 0.899);
    }

    #[test]
    fn soft_clipping_follows_the_hyperbolic_tangent() {
        let samples: Vec<f32> = (-400..400).map(|n| n as f32 / 50.0).collect();
        for (output, sample) in
            apply(&clipping(ClippingLevel::Db(-6.0), ClippingShape::Soft), &samples).into_iter().zip(samples)
        {
            let level = 10f64.powf(-0.3);
            let exact = level * (f64::from(sample) / level).tanh();
            assert!((f64::from(output) - exact).abs() < 2e-7, "{sample}: {output} {exact}");
        }
    }

    #[test]
    fn a_level_that_nothing_exceeds_changes_nothing_and_silence_stays_silent() {
        let samples = tone(500);
        assert_eq!(apply(&clipping(ClippingLevel::Percent(0.0), ClippingShape::Hard), &samples), samples);
        for shape in [ClippingShape::Hard, ClippingShape::Soft] {
            assert_eq!(apply(&clipping(ClippingLevel::Percent(20.0), shape), &[0.0; 9]), [0.0; 9]);
            assert!(apply(&clipping(ClippingLevel::Percent(20.0), shape), &[]).is_empty());
        }
    }
}
