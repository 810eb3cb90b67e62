//! `noise`: adds white or coloured noise at a signal-to-noise ratio or at an absolute level.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};
use timbre_core::seed::uniform_below;
use timbre_signal::dsp::{
    level,
    noise::{self, Colour},
};

augment_spec! {
    /// Adds Gaussian noise.
    pub struct Noise {
        /// Colours, one drawn with equal probability: "white", "pink" (power as 1 / f), "brown" (1 / f²), "blue" (f),
        /// "violet" (f²). Default: white.
        pub colours: Vec<Colour> = vec![Colour::White],
        /// Signal-to-noise ratio in decibels, both powers measured over the whole clip. Default: 10 to 40, if
        /// `amplitude` is not set.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub snr_db: Option<Amount> = None,
        /// Alternative to `snr_db`: root mean square of the noise, independent of the clip; 1 is full scale.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub amplitude: Option<Amount> = None,
    }

    pub struct NoiseDraw {
        pub colour: Colour,
        pub level: NoiseLevel,
        /// Seed of the noise samples.
        pub seed: u64,
    }
}

/// NoiseLevel of a sound that is added to a clip.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoiseLevel {
    /// Decibels below the clip; nothing is added to a silent clip.
    SnrDb(f64),
    /// Root mean square.
    Amplitude(f64),
}

impl Kind for Noise {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        let both = self.snr_db.is_some() && self.amplitude.is_some();
        Fault::of_keys([
            ("colours", self.colours.is_empty().then(|| "name at least one colour".to_owned())),
            ("snr_db", self.snr_db.as_ref().and_then(|amount| amount.fault(-100.0, 200.0))),
            ("amplitude", self.amplitude.as_ref().and_then(|amount| amount.fault(0.0, 10.0))),
            ("amplitude", both.then(|| "set either `snr_db` or `amplitude`, not both".to_owned())),
        ])
    }
}

impl AugmentKind for Noise {
    fn draw(&self, _context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let colour = self.colours[uniform_below(rng, self.colours.len() as u64) as usize];
        let level = match (&self.amplitude, &self.snr_db) {
            (Some(amplitude), _) => NoiseLevel::Amplitude(amplitude.draw(rng)),
            (None, snr_db) => NoiseLevel::SnrDb(snr_db.as_ref().unwrap_or(&Amount::Range(10.0, 40.0)).draw(rng)),
        };
        Ok(vec![NoiseDraw { colour, level, seed: rng.next_u64() }.into()])
    }
}

impl NoiseLevel {
    /// The factor for a sound of power `power` before it is added to `samples`. It is 0 for a silent clip and for a
    /// silent sound.
    pub fn factor(&self, samples: &[f32], power: f64) -> f32 {
        let wanted = match *self {
            NoiseLevel::SnrDb(db) => level::power(samples) * libm::pow(10.0, -db / 10.0),
            NoiseLevel::Amplitude(amplitude) => amplitude * amplitude,
        };
        if power > 0.0 && wanted > 0.0 { (wanted / power).sqrt() as f32 } else { 0.0 }
    }
}

impl Effect for NoiseDraw {
    fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        let mut noise_samples = vec![0.0; clip.samples.len()];
        noise::fill(self.colour, self.seed, &mut noise_samples);
        let factor = self.level.factor(&clip.samples, level::power(&noise_samples));
        for (sample, noise) in clip.samples.iter_mut().zip(&noise_samples) {
            *sample += factor * noise;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::augment::kind_tests::tone;
    use crate::augment::tests::{empty_pool, waveform};

    const COLOURS: [Colour; 5] = [Colour::White, Colour::Pink, Colour::Brown, Colour::Blue, Colour::Violet];

    fn added(draw: NoiseDraw, samples: &[f32]) -> Vec<f32> {
        let mut output = waveform(samples);
        draw.apply_to_waveform(&mut output, &empty_pool()).unwrap();
        output.samples.iter().zip(samples).map(|(output, sample)| output - sample).collect()
    }

    // At least two samples: the first sample of the tone is 0, and nothing is added to silence.
    proptest! {
        #[test]
        fn the_noise_has_the_drawn_ratio(db in -10.0f64..60.0, n in 2usize..4000, colour in 0usize..5, seed: u64) {
            let samples = tone(n);
            let noise = added(NoiseDraw { colour: COLOURS[colour], level: NoiseLevel::SnrDb(db), seed }, &samples);
            let measured = 10.0 * (level::energy(&samples) / level::energy(&noise)).log10();
            prop_assert!((measured - db).abs() < 0.1, "{} dB", measured);
        }
    }

    #[test]
    fn the_noise_has_the_drawn_amplitude_even_in_silence() {
        for colour in COLOURS {
            let noise = added(NoiseDraw { colour, level: NoiseLevel::Amplitude(0.01), seed: 1 }, &[0.0; 3000]);
            assert!((level::rms(&noise) - 0.01).abs() < 1e-6);
        }
    }

    #[test]
    fn the_noise_samples_depend_on_the_seed_of_the_draw_only() {
        let draw = |seed| NoiseDraw { colour: Colour::White, level: NoiseLevel::Amplitude(0.1), seed };
        let silence = [0.0; 1000];
        assert_eq!(added(draw(5), &silence), added(draw(5), &silence));
        assert_ne!(added(draw(5), &silence), added(draw(6), &silence));
    }

    #[test]
    fn a_ratio_adds_nothing_to_silence() {
        let draw = NoiseDraw { colour: Colour::Pink, level: NoiseLevel::SnrDb(0.0), seed: 3 };
        assert!(added(draw.clone(), &[0.0; 100]).iter().all(|&x| x == 0.0));
        assert!(added(draw, &[]).is_empty());
    }

    #[test]
    fn ratio_and_amplitude_together_are_a_fault() {
        let both =
            Noise { snr_db: Some(Amount::Fixed(10.0)), amplitude: Some(Amount::Fixed(0.1)), ..Default::default() };
        assert_eq!(both.faults(8000).len(), 1);
    }
}
