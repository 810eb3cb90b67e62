//! Noise, white or coloured, at a ratio to the clip or at a level of its own.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spec::faults_of;
use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Sound};
use timbre_core::seed::uniform_below;
use timbre_signal::dsp::level;
use timbre_signal::dsp::noise::{self, Colour};

augment_spec! {
    /// Gaussian noise is added.
    pub struct Noise {
        /// Each as likely as the others: "white", "pink" (power as 1 / f), "brown" (1 / f²), "blue" (f), "violet" (f²). Default: white.
        pub colours: Vec<Colour> = vec![Colour::White],
        /// Decibels from the noise up to the clip, over the whole of both. Default: 10 to 40, unless `amplitude` is given.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub snr_db: Option<Amount> = None,
        /// Instead: the root mean square of the noise, whatever the clip's; 1 is full scale.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub amplitude: Option<Amount> = None,
    }
}

/// How loud something is that is added to a clip.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Decibels below the clip; next to a silent clip, nothing is added.
    SnrDb(f64),
    /// Its root mean square.
    Amplitude(f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoiseDraw {
    pub colour: Colour,
    pub level: Level,
    /// Of its samples.
    pub seed: u64,
}

impl AugmentKind for Noise {
    fn version(&self) -> u32 {
        1
    }

    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        let both = self.snr_db.is_some() && self.amplitude.is_some();
        faults_of([
            ("colours", self.colours.is_empty().then(|| "name at least one colour".to_owned())),
            ("snr_db", self.snr_db.as_ref().and_then(|amount| amount.fault(-100.0, 200.0))),
            ("amplitude", self.amplitude.as_ref().and_then(|amount| amount.fault(0.0, 10.0))),
            (
                "amplitude",
                both.then(|| "either `snr_db` or `amplitude` says how loud the noise is, not both".to_owned()),
            ),
        ])
    }

    fn draw(&self, _scene: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let colour = self.colours[uniform_below(rng, self.colours.len() as u64) as usize];
        let level = match (&self.amplitude, &self.snr_db) {
            (Some(amplitude), _) => Level::Amplitude(amplitude.draw(rng)),
            (None, snr_db) => Level::SnrDb(snr_db.as_ref().unwrap_or(&Amount::Range(10.0, 40.0)).draw(rng)),
        };
        Ok(vec![NoiseDraw { colour, level, seed: rng.next_u64() }.into()])
    }
}

impl Level {
    /// By what a sound of that power is multiplied before it is added to `samples`. Nothing is added to a silent clip, nor is
    /// silence lifted to a level.
    pub fn factor(&self, samples: &[f32], power: f64) -> f32 {
        let wanted = match *self {
            Level::SnrDb(db) => level::power(samples) * libm::pow(10.0, -db / 10.0),
            Level::Amplitude(amplitude) => amplitude * amplitude,
        };
        if power > 0.0 && wanted > 0.0 { (wanted / power).sqrt() as f32 } else { 0.0 }
    }
}

impl Effect for NoiseDraw {
    fn on_sound(&self, sound: &mut Sound, _company: &dyn ClipPool) -> Result<()> {
        let mut hiss = vec![0.0; sound.samples.len()];
        noise::fill(self.colour, self.seed, &mut hiss);
        let factor = self.level.factor(&sound.samples, level::power(&hiss));
        for (sample, noise) in sound.samples.iter_mut().zip(&hiss) {
            *sample += factor * noise;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::augment::probe::tone;
    use crate::augment::tests::{alone, sound};

    const COLOURS: [Colour; 5] = [Colour::White, Colour::Pink, Colour::Brown, Colour::Blue, Colour::Violet];

    fn added(draw: NoiseDraw, samples: &[f32]) -> Vec<f32> {
        let mut heard = sound(samples);
        draw.on_sound(&mut heard, &alone()).unwrap();
        heard.samples.iter().zip(samples).map(|(heard, sample)| heard - sample).collect()
    }

    // The first sample of the tone is nothing: alone it would be silence, to which nothing is added.
    proptest! {
        #[test]
        fn the_ratio_is_the_one_drawn(db in -10.0f64..60.0, n in 2usize..4000, colour in 0usize..5, seed: u64) {
            let samples = tone(n);
            let noise = added(NoiseDraw { colour: COLOURS[colour], level: Level::SnrDb(db), seed }, &samples);
            let measured = 10.0 * (level::energy(&samples) / level::energy(&noise)).log10();
            prop_assert!((measured - db).abs() < 0.1, "{} dB", measured);
        }
    }

    #[test]
    fn the_amplitude_is_the_one_drawn_even_in_silence() {
        for colour in COLOURS {
            let noise = added(NoiseDraw { colour, level: Level::Amplitude(0.01), seed: 1 }, &[0.0; 3000]);
            assert!((level::rms(&noise) - 0.01).abs() < 1e-6);
        }
    }

    #[test]
    fn the_seed_of_the_draw_is_all_that_the_samples_depend_on() {
        let draw = |seed| NoiseDraw { colour: Colour::White, level: Level::Amplitude(0.1), seed };
        let silence = [0.0; 1000];
        assert_eq!(added(draw(5), &silence), added(draw(5), &silence));
        assert_ne!(added(draw(5), &silence), added(draw(6), &silence));
    }

    #[test]
    fn nothing_is_added_to_silence_by_ratio() {
        let draw = NoiseDraw { colour: Colour::Pink, level: Level::SnrDb(0.0), seed: 3 };
        assert!(added(draw, &[0.0; 100]).iter().all(|&x| x == 0.0));
        assert!(added(draw, &[]).is_empty());
    }

    #[test]
    fn one_way_to_say_how_loud_it_is() {
        let both =
            Noise { snr_db: Some(Amount::Fixed(10.0)), amplitude: Some(Amount::Fixed(0.1)), ..Default::default() };
        assert_eq!(both.faults(8000).len(), 1);
    }
}
