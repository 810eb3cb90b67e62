//! `echo`: adds delayed and attenuated repetitions of the clip.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};
use timbre_signal::dsp::level;

augment_spec! {
    /// Adds repetitions of the clip, each later and softer.
    pub struct Echo {
        /// Milliseconds to the first echo and from each echo to the next. Default: 50 to 500.
        pub delay_ms: Amount = Amount::Range(50.0, 500.0),
        /// Level of the first echo in decibels. Default: -20 to -6.
        pub level_db: Amount = Amount::Range(-20.0, -6.0),
        /// Amplitude of each echo relative to the one before it: 0 gives a single echo. Default: 0 to 0.6.
        pub feedback: Amount = Amount::Range(0.0, 0.6),
    }

    pub struct EchoDraw {
        /// In samples.
        pub delay: usize,
        pub level_db: f64,
        pub feedback: f64,
    }
}

impl Kind for Echo {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([
            ("delay_ms", self.delay_ms.fault(0.1, 600_000.0)),
            ("level_db", self.level_db.fault(-120.0, 20.0)),
            ("feedback", self.feedback.fault(0.0, 0.999)),
        ])
    }
}

impl AugmentKind for Echo {
    fn draw(&self, context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let delay = (1e-3 * self.delay_ms.draw(rng) * f64::from(context.sample_rate)).round() as usize;
        let (level_db, feedback) = (self.level_db.draw(rng), self.feedback.draw(rng));
        Ok(vec![EchoDraw { delay: delay.max(1), level_db, feedback }.into()])
    }
}

impl Effect for EchoDraw {
    fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        let delay = self.delay.max(1);
        let samples = &mut clip.samples;
        if delay >= samples.len() {
            return Ok(());
        }
        let (level, feedback) = (level::db_to_amplitude(self.level_db) as f32, self.feedback as f32);
        // The sum of all echoes; each block of `delay` samples depends on the block before it.
        let mut echoes = vec![0.0f32; samples.len()];
        for start in (delay..samples.len()).step_by(delay) {
            let end = (start + delay).min(samples.len());
            let (before, now) = echoes.split_at_mut(start);
            let dry = &samples[start - delay..end - delay];
            for ((echo, &dry), &last) in now[..end - start].iter_mut().zip(dry).zip(&before[start - delay..]) {
                *echo = dry + feedback * last;
            }
        }
        for (sample, echo) in samples.iter_mut().zip(&echoes) {
            *sample += level * echo;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::kind_tests::apply;

    #[test]
    fn a_click_is_repeated_with_decreasing_amplitude() {
        let mut click = vec![0.0; 10];
        click[1] = 1.0;
        let output = apply(&EchoDraw { delay: 3, level_db: -20.0, feedback: 0.5 }, &click);
        for (n, expected) in [1.0, 0.0, 0.0, 0.1, 0.0, 0.0, 0.05, 0.0, 0.0].into_iter().enumerate() {
            assert!((output[n + 1] - expected).abs() < 1e-7, "{output:?}");
        }
    }

    #[test]
    fn an_echo_after_the_end_of_the_clip_changes_nothing() {
        let samples = [1.0, 2.0, 3.0];
        assert_eq!(apply(&EchoDraw { delay: 3, level_db: 0.0, feedback: 0.9 }, &samples), samples);
        assert!(apply(&EchoDraw { delay: 1, level_db: 0.0, feedback: 0.9 }, &[]).is_empty());
    }
}
