//! Louder or softer. Nothing is clipped: samples are f32 and may leave -1 to 1.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Sound};

augment_spec! {
    /// Louder or softer by so many decibels.
    pub struct Gain {
        /// Decibels. Default: -6 to 6.
        pub db: Amount = Amount::Range(-6.0, 6.0),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GainDraw {
    pub db: f64,
}

impl AugmentKind for Gain {
    fn version(&self) -> u32 {
        1
    }

    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        self.db.fault(-120.0, 120.0).map(|why| ("db".to_owned(), why)).into_iter().collect()
    }

    fn draw(&self, _scene: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        Ok(vec![GainDraw { db: self.db.draw(rng) }.into()])
    }
}

impl Effect for GainDraw {
    fn on_sound(&self, sound: &mut Sound, _company: &dyn ClipPool) -> Result<()> {
        let factor = libm::pow(10.0, self.db / 20.0) as f32;
        sound.samples.iter_mut().for_each(|sample| *sample *= factor);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::tests::{alone, sound};

    #[test]
    fn six_decibels_are_about_twice() {
        let mut heard = sound(&[0.5, -0.25]);
        GainDraw { db: 20.0 * 2f64.log10() }.on_sound(&mut heard, &alone()).unwrap();
        assert!((heard.samples[0] - 1.0).abs() < 1e-6 && (heard.samples[1] + 0.5).abs() < 1e-6);
    }
}
