//! Faster or slower at the same pitch (`dsp/vocoder`).
//!
//! A clip stays as long as it is: a faster one takes more of the recording (and ends in silence where the recording ends), a
//! slower one less.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Sound};
use timbre_signal::dsp::vocoder::{MAX_FACTOR, time_stretch};

augment_spec! {
    /// Faster or slower at the same pitch. A faster clip takes more of the recording, a slower one less; its length stays.
    pub struct TimeStretch {
        /// How many times as fast, 0.25 to 4. Default: 0.8 to 1.25, in equal ratios.
        pub rate: Amount = Amount::Log(0.8, 1.25),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeStretchDraw {
    pub rate: f64,
}

impl AugmentKind for TimeStretch {
    fn version(&self) -> u32 {
        1
    }

    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        self.rate.fault(1.0 / MAX_FACTOR, MAX_FACTOR).map(|why| ("rate".to_owned(), why)).into_iter().collect()
    }

    fn draw(&self, _scene: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        Ok(vec![TimeStretchDraw { rate: self.rate.draw(rng).clamp(1.0 / MAX_FACTOR, MAX_FACTOR) }.into()])
    }
}

impl Effect for TimeStretchDraw {
    fn fault(&self) -> Option<String> {
        Amount::Fixed(self.rate).fault(1.0 / MAX_FACTOR, MAX_FACTOR).map(|why| format!("`rate`: {why}"))
    }

    /// Never too few; what is left over is cut off behind.
    fn span(&self, samples: usize) -> usize {
        (samples as f64 * self.rate).ceil() as usize
    }

    fn on_sound(&self, sound: &mut Sound, _company: &dyn ClipPool) -> Result<()> {
        sound.samples = time_stretch(&sound.samples, sound.sample_rate, self.rate);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::augment::tests::{alone, sound};

    proptest! {
        #[test]
        fn what_it_asks_for_is_enough_and_hardly_more(samples in 0usize..3000, rate in 0.25f64..=4.0) {
            let draw = TimeStretchDraw { rate };
            let mut heard = sound(&vec![0.1; draw.span(samples)]);
            draw.on_sound(&mut heard, &alone()).unwrap();
            prop_assert!((samples..=samples + 4).contains(&heard.samples.len()), "{} for {samples}", heard.samples.len());
        }
    }

    #[test]
    fn rates_beyond_four_either_way_are_refused() {
        assert!(TimeStretch { rate: Amount::Range(0.1, 1.0), ..Default::default() }.faults(22050)[0].1.contains("0.1"));
    }
}
