//! `echo`: adds delayed and attenuated repetitions of the clip. Without the clip itself it is a delay.

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
        /// Weight of the clip itself: 0 leaves the echoes alone. Default: 1.
        #[serde(skip_serializing_if = "is_one")]
        pub dry: Amount = ONE,
    }

    pub struct EchoDraw {
        /// In samples.
        pub delay: usize,
        pub level_db: f64,
        pub feedback: f64,
        #[serde(default = "one", skip_serializing_if = "is_one_exactly")]
        pub dry: f64,
    }
}

const ONE: Amount = Amount::Fixed(1.0);

fn is_one(dry: &Amount) -> bool {
    *dry == ONE
}

// Draws that were written before the key existed have none.
fn one() -> f64 {
    1.0
}

fn is_one_exactly(dry: &f64) -> bool {
    *dry == 1.0
}

impl Kind for Echo {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([
            ("delay_ms", self.delay_ms.fault(0.1, 600_000.0)),
            ("level_db", self.level_db.fault(-120.0, 20.0)),
            ("feedback", self.feedback.fault(0.0, 0.999)),
            ("dry", self.dry.fault(0.0, 1.0)),
        ])
    }
}

impl AugmentKind for Echo {
    fn draw(&self, context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let delay = (1e-3 * self.delay_ms.draw(rng) * f64::from(context.sample_rate)).round() as usize;
        let (level_db, feedback) = (self.level_db.draw(rng), self.feedback.draw(rng));
        Ok(vec![EchoDraw { delay: delay.max(1), level_db, feedback, dry: self.dry.draw(rng) }.into()])
    }
}

impl Effect for EchoDraw {
    fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        let delay = self.delay.max(1);
        let samples = &mut clip.samples;
        let (level, feedback) = (level::db_to_amplitude(self.level_db) as f32, self.feedback as f32);
        let weight = self.dry as f32;
        if delay >= samples.len() {
            level::scale(samples, weight);
            return Ok(());
        }
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
            *sample = weight * *sample + level * echo;
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
        let output = apply(&EchoDraw { delay: 3, level_db: -20.0, feedback: 0.5, dry: 1.0 }, &click);
        for (n, expected) in [1.0, 0.0, 0.0, 0.1, 0.0, 0.0, 0.05, 0.0, 0.0].into_iter().enumerate() {
            assert!((output[n + 1] - expected).abs() < 1e-7, "{output:?}");
        }
    }

    #[test]
    fn an_echo_after_the_end_of_the_clip_changes_nothing() {
        let samples = [1.0, 2.0, 3.0];
        assert_eq!(apply(&EchoDraw { delay: 3, level_db: 0.0, feedback: 0.9, dry: 1.0 }, &samples), samples);
        assert!(apply(&EchoDraw { delay: 1, level_db: 0.0, feedback: 0.9, dry: 1.0 }, &[]).is_empty());
    }
    #[test]
    fn the_clip_has_its_own_weight() {
        let echo =
            |dry, delay| apply(&EchoDraw { delay, level_db: 0.0, feedback: 0.5, dry }, &[1.0, 0.5, 0.0, 0.0, 0.0]);
        assert_eq!(echo(0.0, 2), [0.0, 0.0, 1.0, 0.5, 0.5]);
        assert_eq!(echo(0.5, 2), [0.5, 0.25, 1.0, 0.5, 0.5]);
        assert_eq!(echo(0.0, 5), [0.0; 5], "an echo after the end of the clip");
    }

    #[test]
    fn a_draw_without_the_weight_has_a_weight_of_one_and_is_written_as_before() {
        let written = r#"{"delay":3,"level_db":-6.0,"feedback":0.5}"#;
        let draw: EchoDraw = serde_json::from_str(written).unwrap();
        assert_eq!((draw.dry, serde_json::to_string(&draw).unwrap().as_str()), (1.0, written));
        let halved = EchoDraw { dry: 0.5, ..draw };
        assert_eq!(serde_json::from_str::<EchoDraw>(&serde_json::to_string(&halved).unwrap()).unwrap(), halved);
    }
}
