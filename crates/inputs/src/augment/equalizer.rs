//! `equalizer`: a graphic equaliser with a shelf at each end and peaking filters in between, each with its own gain.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};
use timbre_signal::dsp::iir::{Filter, Section};

augment_spec! {
    /// Boosts or cuts several bands, each by its own gain.
    pub struct Equalizer {
        /// Frequencies of the bands in Hz, ascending: the first is a low shelf, the last a high shelf, the others are
        /// peaking filters. Default: 60, 150, 400, 1000, 2400, 6000.
        pub bands_hz: Vec<f64> = vec![60.0, 150.0, 400.0, 1000.0, 2400.0, 6000.0],
        /// Gain in decibels, drawn for each band. Default: -9 to 9.
        pub gain_db: Amount = Amount::Range(-9.0, 9.0),
        /// Quality factor of the peaking filters. Default: 1.
        pub q: Amount = Amount::Fixed(1.0),
    }

    pub struct EqualizerDraw {
        /// Frequency in Hz and gain in decibels of each band.
        pub bands: Vec<[f64; 2]>,
        pub q: f64,
    }
}

impl Kind for Equalizer {
    fn faults(&self, sample_rate: u32) -> Vec<Fault> {
        let half = f64::from(sample_rate) / 2.0;
        let bands = &self.bands_hz;
        let why = if bands.is_empty() {
            Some("name at least one band".to_owned())
        } else if !bands.windows(2).all(|pair| pair[0] < pair[1]) {
            Some("the bands must ascend".to_owned())
        } else {
            let outside = bands.iter().find(|hz| !(1.0..=half).contains(*hz));
            outside.map(|hz| format!("{hz} is outside 1 to {half} (half the sample rate)"))
        };
        Fault::of_keys([
            ("bands_hz", why),
            ("gain_db", self.gain_db.fault(-60.0, 60.0)),
            ("q", self.q.fault(0.05, 50.0)),
        ])
    }
}

impl AugmentKind for Equalizer {
    fn draw(&self, _context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
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
    fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        self.filter(clip.sample_rate).run(&mut clip.samples);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::kind_tests::{drawn, gain_at};

    #[test]
    fn every_band_has_its_own_gain() {
        let draw = EqualizerDraw { bands: vec![[60.0, 9.0], [700.0, -9.0], [8000.0, 6.0]], q: 1.0 };
        for (hz, expected) in [(10.0, 9.0), (700.0, -9.0), (10_900.0, 6.0)] {
            assert!((gain_at(&draw, hz) - expected).abs() < 0.4, "{hz} Hz: {} dB", gain_at(&draw, hz));
        }
        let Draw::EqualizerDraw(draw) = drawn(&Equalizer::default(), 100, 1).remove(0) else { panic!("one draw") };
        assert!(draw.bands.windows(2).all(|pair| pair[0][1] != pair[1][1]));
    }

    #[test]
    fn bands_must_ascend_and_lie_below_half_the_sample_rate() {
        for bands_hz in [vec![], vec![500.0, 200.0], vec![100.0, 5000.0]] {
            assert_eq!(Equalizer { bands_hz, ..Default::default() }.faults(8000).len(), 1);
        }
    }
}
