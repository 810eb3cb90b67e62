//! Clipping: what is louder than a level is cut off, hard or softly.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spec::faults_of;
use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Sound};
use timbre_signal::dsp::decibel::power_of_two;
use timbre_signal::dsp::level;

augment_spec! {
    /// What is louder than a level is cut off: distortion.
    pub struct Clipping {
        /// Per cent of the samples that lie above the level. Default: 0 to 20.
        pub percent: Amount = Amount::Range(0.0, 20.0),
        /// Instead: the level in decibels of full scale.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub level_db: Option<Amount> = None,
        /// "hard": cut off at the level; "soft": a hyperbolic tangent that comes close to it, and bends what lies below, too. Default: hard.
        pub shape: Bend = Bend::Hard,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Bend {
    /// Cut off.
    Hard,
    /// A hyperbolic tangent.
    Soft,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClippingDraw {
    pub at: Level,
    pub shape: Bend,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Exceeded by so many per cent of the samples.
    Percent(f64),
    /// Of full scale.
    Db(f64),
}

impl AugmentKind for Clipping {
    fn version(&self) -> u32 {
        1
    }

    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        faults_of([
            ("percent", self.percent.fault(0.0, 100.0)),
            ("level_db", self.level_db.as_ref().and_then(|db| db.fault(-100.0, 20.0))),
        ])
    }

    fn draw(&self, _scene: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let at = match &self.level_db {
            Some(db) => Level::Db(db.draw(rng)),
            None => Level::Percent(self.percent.draw(rng)),
        };
        Ok(vec![ClippingDraw { at, shape: self.shape }.into()])
    }
}

impl Effect for ClippingDraw {
    fn on_sound(&self, sound: &mut Sound, _company: &dyn ClipPool) -> Result<()> {
        let samples = &mut sound.samples;
        let level = match self.at {
            Level::Percent(percent) => level::magnitude_quantile(samples, percent / 100.0),
            Level::Db(db) => level::db_to_amplitude(db) as f32,
        };
        match self.shape {
            // Where most samples are zero, so may be their quantile: the clip is left alone rather than silenced.
            _ if level < 1e-30 => {}
            Bend::Hard => samples.iter_mut().for_each(|sample| *sample = sample.clamp(-level, level)),
            Bend::Soft => {
                let inverse = 1.0 / level;
                samples.iter_mut().for_each(|sample| *sample = level * tangent(*sample * inverse));
            }
        }
        Ok(())
    }
}

/// The hyperbolic tangent, off by at most 2e-7 of full scale; in vectors.
#[inline(always)]
fn tangent(x: f32) -> f32 {
    const TWO_BY_LN_2: f32 = 2.885_39;
    1.0 - 2.0 / (power_of_two(x * TWO_BY_LN_2) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::probe::{heard, tone};

    fn clipping(at: Level, shape: Bend) -> ClippingDraw {
        ClippingDraw { at, shape }
    }

    #[test]
    fn as_many_samples_are_cut_off_as_were_drawn() {
        let samples: Vec<f32> = (0..1000).map(|n| if n % 2 == 0 { n as f32 } else { -n as f32 } / 1000.0).collect();
        let heard = heard(&clipping(Level::Percent(10.0), Bend::Hard), &samples);
        assert_eq!(heard.iter().zip(&samples).filter(|(heard, sample)| heard != sample).count(), 100);
        assert_eq!(level::peak(&heard), 0.899);
    }

    #[test]
    fn soft_clipping_is_a_tangent_below_the_level() {
        let samples: Vec<f32> = (-400..400).map(|n| n as f32 / 50.0).collect();
        for (heard, sample) in heard(&clipping(Level::Db(-6.0), Bend::Soft), &samples).into_iter().zip(samples) {
            let level = 10f64.powf(-0.3);
            let exact = level * (f64::from(sample) / level).tanh();
            assert!((f64::from(heard) - exact).abs() < 2e-7, "{sample}: {heard} {exact}");
        }
    }

    #[test]
    fn nothing_exceeded_is_nothing_changed_and_silence_stays() {
        let samples = tone(500);
        assert_eq!(heard(&clipping(Level::Percent(0.0), Bend::Hard), &samples), samples);
        for shape in [Bend::Hard, Bend::Soft] {
            assert_eq!(heard(&clipping(Level::Percent(20.0), shape), &[0.0; 9]), [0.0; 9]);
            assert!(heard(&clipping(Level::Percent(20.0), shape), &[]).is_empty());
        }
    }
}
