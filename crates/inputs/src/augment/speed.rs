//! `speed`: plays the clip faster or slower, which changes tempo and pitch together, like a tape.
//!
//! The clip keeps its length: a faster clip takes more of the recording (and ends in silence where the recording ends). Rates are
//! rounded to hundredths, so that the resampler has a small ratio.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};
use timbre_signal::audio::{ResampleFilter, resample};

const SLOWEST: f64 = 0.25;
const FASTEST: f64 = 4.0;

augment_spec! {
    /// Plays the clip faster and higher, or slower and lower. A faster clip takes more of the recording; the length of the clip stays.
    pub struct Speed {
        /// Speed factor, 0.25 to 4, in hundredths. Default: 0.9 to 1.1.
        pub rate: Amount = Amount::Range(0.9, 1.1),
    }

    pub struct SpeedDraw {
        pub rate: f64,
    }
}

impl Kind for Speed {
    /// The resampler changed in the seventh digit.
    fn version(&self) -> u32 {
        2
    }

    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([("rate", self.rate.fault(SLOWEST, FASTEST))])
    }
}

impl AugmentKind for Speed {
    fn draw(&self, _context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let hundredths = (100.0 * self.rate.draw(rng)).round();
        Ok(vec![SpeedDraw { rate: (hundredths / 100.0).clamp(SLOWEST, FASTEST) }.into()])
    }
}

impl SpeedDraw {
    /// The rate at which the samples are taken to be recorded.
    fn source_rate(&self, sample_rate: u32) -> u32 {
        (f64::from(sample_rate) * self.rate).round() as u32
    }
}

impl Effect for SpeedDraw {
    fn fault(&self) -> Option<String> {
        Amount::Fixed(self.rate).fault(SLOWEST, FASTEST).map(|why| format!("`rate`: {why}"))
    }

    /// Rounded up, with one more for a sample rate that is no multiple of 100; the caller cuts off what is left over.
    fn source_samples(&self, samples: usize) -> usize {
        if self.rate == 1.0 { samples } else { (samples as f64 * self.rate * 1.001).ceil() as usize + 1 }
    }

    fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        let source = self.source_rate(clip.sample_rate);
        clip.samples = resample(&clip.samples, source, clip.sample_rate, ResampleFilter::default());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::kind_tests::{drawn, tone_of};
    use crate::augment::tests::{empty_pool, waveform};
    use timbre_signal::dsp::level;

    #[test]
    fn tempo_and_pitch_change_by_the_rate() {
        for (rate, expected) in [(0.5, 220.0), (1.25, 550.0), (2.0, 880.0)] {
            let draw = SpeedDraw { rate };
            let mut output = waveform(&tone_of(440.0, draw.source_samples(4000), 8000));
            draw.apply_to_waveform(&mut output, &empty_pool()).unwrap();
            assert!(output.samples.len() >= 4000, "{} samples at {rate}", output.samples.len());
            let tone = tone_of(expected, 4000, 8000);
            let off: Vec<f32> = output.samples.iter().zip(&tone).map(|(own, tone)| own - tone).collect();
            // Away from the ends, where the resampler sees silence.
            assert!(level::rms(&off[400..3600]) < 0.01, "{rate}: {}", level::rms(&off[400..3600]));
        }
    }

    #[test]
    fn rates_are_hundredths_within_the_range() {
        for seed in 0..50 {
            let Draw::SpeedDraw(SpeedDraw { rate }) = drawn(&Speed::default(), 100, seed).remove(0) else {
                panic!("one draw")
            };
            assert!((0.9..=1.1).contains(&rate) && ((100.0 * rate).round() - 100.0 * rate).abs() < 1e-9, "{rate}");
        }
        assert_eq!(Speed { rate: Amount::Fixed(5.0), ..Speed::default() }.faults(22050)[0].key, "rate");
    }
}
