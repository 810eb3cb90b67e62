//! `time_stretch`: makes the clip faster or slower at the same pitch (`dsp::vocoder`).
//!
//! The clip keeps its length: a faster clip takes more of the recording (and ends in silence where the recording ends),
//! a slower one takes less.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};
use timbre_signal::dsp::vocoder::{MAX_FACTOR, time_stretch};

augment_spec! {
    /// Makes the clip faster or slower at the same pitch. A faster clip takes more of the recording, a slower one less;
    /// the length of the clip stays.
    pub struct TimeStretch {
        /// Speed factor, 0.25 to 4. Default: 0.8 to 1.25, log-uniform.
        pub rate: Amount = Amount::Log(0.8, 1.25),
    }

    pub struct TimeStretchDraw {
        pub rate: f64,
    }
}

impl Kind for TimeStretch {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([("rate", self.rate.fault(1.0 / MAX_FACTOR, MAX_FACTOR))])
    }
}

impl AugmentKind for TimeStretch {
    fn draw(&self, _context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        Ok(vec![TimeStretchDraw { rate: self.rate.draw(rng).clamp(1.0 / MAX_FACTOR, MAX_FACTOR) }.into()])
    }
}

impl Effect for TimeStretchDraw {
    fn fault(&self) -> Option<String> {
        Amount::Fixed(self.rate).fault(1.0 / MAX_FACTOR, MAX_FACTOR).map(|why| format!("`rate`: {why}"))
    }

    /// Rounded up; the caller cuts off what is left over.
    fn source_samples(&self, samples: usize) -> usize {
        (samples as f64 * self.rate).ceil() as usize
    }

    fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        clip.samples = time_stretch(&clip.samples, clip.sample_rate, self.rate);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::augment::tests::{empty_pool, waveform};

    proptest! {
        #[test]
        fn the_requested_source_samples_suffice_with_at_most_four_to_spare(samples in 0usize..3000, rate in 0.25f64..=4.0) {
            let draw = TimeStretchDraw { rate };
            let mut output = waveform(&vec![0.1; draw.source_samples(samples)]);
            draw.apply_to_waveform(&mut output, &empty_pool()).unwrap();
            prop_assert!((samples..=samples + 4).contains(&output.samples.len()), "{} for {samples}", output.samples.len());
        }
    }

    #[test]
    fn rates_outside_a_quarter_to_four_are_faults() {
        let faults = TimeStretch { rate: Amount::Range(0.1, 1.0), ..Default::default() }.faults(22050);
        assert!(faults[0].sentence.contains("0.1"), "{faults:?}");
    }
}
