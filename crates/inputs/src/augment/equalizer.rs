//! An equaliser of several bands: a shelf at each end and bells in between, each with a gain of its own.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spec::faults_of;
use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Sound};
use timbre_signal::dsp::iir::{Filter, Section};

augment_spec! {
    /// Several bands become louder or softer, each by an amount of its own.
    pub struct Equalizer {
        /// The bands in Hz, ascending: the first is a low shelf, the last a high shelf, the others are bells. Default: 60, 150, 400, 1000, 2400, 6000.
        pub bands_hz: Vec<f64> = vec![60.0, 150.0, 400.0, 1000.0, 2400.0, 6000.0],
        /// Decibels, drawn for each band. Default: -9 to 9.
        pub gain_db: Amount = Amount::Range(-9.0, 9.0),
        /// How narrow the bells are. Default: 1.
        pub q: Amount = Amount::Fixed(1.0),
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EqualizerDraw {
    /// Hz and decibels of each.
    pub bands: Vec<[f64; 2]>,
    pub q: f64,
}

impl AugmentKind for Equalizer {
    fn version(&self) -> u32 {
        1
    }

    fn faults(&self, sample_rate: u32) -> Vec<Fault> {
        let half = f64::from(sample_rate) / 2.0;
        let bands = &self.bands_hz;
        let why = if bands.is_empty() {
            Some("name at least one band".to_owned())
        } else if !bands.windows(2).all(|pair| pair[0] < pair[1]) {
            Some("the bands do not ascend".to_owned())
        } else {
            let outside = bands.iter().find(|hz| !(1.0..=half).contains(*hz));
            outside.map(|hz| format!("{hz} lies outside of 1 to {half}, half the sample rate"))
        };
        faults_of([("bands_hz", why), ("gain_db", self.gain_db.fault(-60.0, 60.0)), ("q", self.q.fault(0.05, 50.0))])
    }

    fn draw(&self, _scene: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let bands = self.bands_hz.iter().map(|&hz| [hz, self.gain_db.draw(rng)]).collect();
        Ok(vec![EqualizerDraw { bands, q: self.q.draw(rng) }.into()])
    }
}

impl EqualizerDraw {
    fn filter(&self, sample_rate: u32) -> Filter {
        let last = self.bands.len().saturating_sub(1);
        let flat = std::f64::consts::FRAC_1_SQRT_2;
        let section = |(n, &[hz, gain_db]): (usize, &[f64; 2])| match n {
            0 if last > 0 => Section::low_shelf(hz, flat, gain_db, sample_rate),
            n if n == last && last > 0 => Section::high_shelf(hz, flat, gain_db, sample_rate),
            _ => Section::peaking(hz, self.q, gain_db, sample_rate),
        };
        Filter::from_sections(self.bands.iter().enumerate().map(section).collect())
    }
}

impl Effect for EqualizerDraw {
    fn on_sound(&self, sound: &mut Sound, _company: &dyn ClipPool) -> Result<()> {
        self.filter(sound.sample_rate).run(&mut sound.samples);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::probe::{drawn, gain_at};

    #[test]
    fn every_band_has_a_gain_of_its_own() {
        let draw = EqualizerDraw { bands: vec![[60.0, 9.0], [700.0, -9.0], [8000.0, 6.0]], q: 1.0 };
        for (hz, expected) in [(10.0, 9.0), (700.0, -9.0), (10_900.0, 6.0)] {
            assert!((gain_at(&draw, hz) - expected).abs() < 0.4, "{hz} Hz: {} dB", gain_at(&draw, hz));
        }
        let Draw::EqualizerDraw(draw) = drawn(&Equalizer::default(), 100, 1).remove(0) else { panic!("one draw") };
        assert!(draw.bands.windows(2).all(|pair| pair[0][1] != pair[1][1]));
    }

    #[test]
    fn bands_ascend_and_lie_below_half_the_sample_rate() {
        for bands_hz in [vec![], vec![500.0, 200.0], vec![100.0, 5000.0]] {
            assert_eq!(Equalizer { bands_hz, ..Default::default() }.faults(8000).len(), 1);
        }
    }
}
