//! `multiband_compressor`: divides the clip into frequency bands and compresses each, as `mcompand` in SoX.
//!
//! The crossovers are Linkwitz-Riley filters of fourth order: each band is 6 dB down at the crossover, and all bands together keep
//! the level of every frequency. For this, each band also passes the all-pass filters of the crossovers above it.

use std::f64::consts::FRAC_1_SQRT_2;

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::compressor::{Compressor, CompressorDraw};
use super::limiter::DbReference;
use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};
use timbre_signal::dsp::iir::{BandType, Filter, Section};

augment_spec! {
    /// Compresses each frequency band by itself.
    pub struct MultibandCompressor {
        /// Frequencies in Hz at which the bands meet, ascending: one fewer than bands. Default: 200, 2000.
        pub crossovers_hz: Vec<f64> = vec![200.0, 2000.0],
        /// Threshold in decibels, drawn for each band. Default: -40 to -15.
        pub threshold_db: Amount = Amount::Range(-40.0, -15.0),
        /// Reference for 0 decibels: "peak" of each band, or "full_scale". Default: peak.
        pub of: DbReference = DbReference::Peak,
        /// Decibels above the threshold at the input for one decibel at the output, drawn for each band. Default: 2 to 8.
        pub ratio: Amount = Amount::Range(2.0, 8.0),
        /// Width of the knee around the threshold in decibels. Default: 6.
        pub knee_db: Amount = Amount::Fixed(6.0),
        /// Time constant in milliseconds for rising levels, drawn for each band. Default: 1 to 30, log-uniform.
        pub attack_ms: Amount = Amount::Log(1.0, 30.0),
        /// Time constant in milliseconds for falling levels, drawn for each band. Default: 30 to 300, log-uniform.
        pub release_ms: Amount = Amount::Log(30.0, 300.0),
        /// Gain after compression in decibels, drawn for each band. Default: 0.
        pub makeup_db: Amount = Amount::Fixed(0.0),
    }

    pub struct MultibandCompressorDraw {
        pub crossovers_hz: Vec<f64>,
        /// From low to high; one more than crossovers.
        pub bands: Vec<CompressorDraw>,
    }
}

impl MultibandCompressor {
    /// The compressor of which each band has its own draw.
    fn of_band(&self) -> Compressor {
        Compressor {
            threshold_db: self.threshold_db.clone(),
            of: self.of,
            ratio: self.ratio.clone(),
            knee_db: self.knee_db.clone(),
            attack_ms: self.attack_ms.clone(),
            release_ms: self.release_ms.clone(),
            makeup_db: self.makeup_db.clone(),
            ..Compressor::default()
        }
    }
}

impl Kind for MultibandCompressor {
    fn faults(&self, sample_rate: u32) -> Vec<Fault> {
        let half = f64::from(sample_rate) / 2.0;
        let hz = &self.crossovers_hz;
        let why = if hz.is_empty() {
            Some("name at least one crossover".to_owned())
        } else if !hz.windows(2).all(|pair| pair[0] < pair[1]) {
            Some("the crossovers must ascend".to_owned())
        } else {
            let outside = hz.iter().find(|hz| !(1.0..=half).contains(*hz));
            outside.map(|hz| format!("{hz} is outside 1 to {half} (half the sample rate)"))
        };
        let mut faults = Fault::of_keys([("crossovers_hz", why)]);
        faults.extend(self.of_band().faults(sample_rate));
        faults
    }
}

impl AugmentKind for MultibandCompressor {
    fn draw(&self, _context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let band = self.of_band();
        let bands = (0..=self.crossovers_hz.len()).map(|_| band.drawn(rng)).collect();
        Ok(vec![MultibandCompressorDraw { crossovers_hz: self.crossovers_hz.clone(), bands }.into()])
    }
}

/// Divides samples at the crossovers, from low to high.
fn divide(samples: &[f32], crossovers_hz: &[f64], sample_rate: u32) -> Vec<Vec<f32>> {
    let mut bands = vec![samples.to_vec()];
    for &hz in crossovers_hz {
        // Two Butterworth filters in a row are one of Linkwitz and Riley.
        let twice = |pass| {
            let sections = Filter::butterworth(2, pass, sample_rate).sections().to_vec();
            Filter::from_sections(sections.repeat(2))
        };
        let all_pass = Filter::from_sections(vec![Section::all_pass(hz, FRAC_1_SQRT_2, sample_rate)]);
        let mut low = bands.pop().expect("there is a band above the last crossover");
        let mut high = low.clone();
        twice(BandType::LowPass(hz)).run(&mut low);
        twice(BandType::HighPass(hz)).run(&mut high);
        bands.iter_mut().for_each(|band| all_pass.run(band));
        bands.extend([low, high]);
    }
    bands
}

impl Effect for MultibandCompressorDraw {
    fn fault(&self) -> Option<String> {
        (self.bands.len() != self.crossovers_hz.len() + 1).then(|| "`bands`: one more than crossovers".to_owned())
    }

    fn apply_to_waveform(&self, clip: &mut Waveform, pool: &dyn ClipPool) -> Result<()> {
        let bands = divide(&clip.samples, &self.crossovers_hz, clip.sample_rate);
        clip.samples.fill(0.0);
        for (samples, compressor) in bands.into_iter().zip(&self.bands) {
            let mut band = Waveform { samples, sample_rate: clip.sample_rate, targets: Vec::new() };
            compressor.apply_to_waveform(&mut band, pool)?;
            clip.samples.iter_mut().zip(&band.samples).for_each(|(sum, sample)| *sum += sample);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::kind_tests::{drawn, gain_at};

    fn three_bands(ratios: [f64; 3], of: DbReference) -> MultibandCompressorDraw {
        let band = |ratio| CompressorDraw {
            threshold_db: -20.0,
            of,
            ratio,
            knee_db: 0.0,
            attack_ms: 1.0,
            release_ms: 1000.0,
            makeup_db: 0.0,
        };
        MultibandCompressorDraw { crossovers_hz: vec![200.0, 2000.0], bands: ratios.map(band).to_vec() }
    }

    #[test]
    fn the_bands_together_keep_the_level_of_every_frequency() {
        for hz in [50.0, 200.0, 350.0, 700.0, 2000.0, 3000.0, 9000.0] {
            let gain = gain_at(&three_bands([1.0; 3], DbReference::Peak), hz);
            assert!(gain.abs() < 0.005, "{hz}: {gain} dB");
        }
    }

    #[test]
    fn a_tone_is_attenuated_by_the_ratio_of_its_band() {
        // 20 dB above the threshold become 5 or 10; the level detector lies slightly below the peak.
        let draw = three_bands([4.0, 1.0, 2.0], DbReference::FullScale);
        for (hz, expected) in [(40.0, -15.0), (640.0, 0.0), (9000.0, -10.0)] {
            let gain = gain_at(&draw, hz);
            assert!((gain - expected).abs() < 0.6, "{hz}: {gain} dB");
        }
    }

    #[test]
    fn every_band_has_its_own_draw_and_crossovers_must_ascend() {
        let Draw::MultibandCompressorDraw(draw) = drawn(&MultibandCompressor::default(), 100, 1).remove(0) else {
            panic!("one draw")
        };
        assert!(draw.bands.len() == 3 && draw.bands.windows(2).all(|pair| pair[0].ratio != pair[1].ratio));
        for crossovers_hz in [vec![], vec![500.0, 200.0], vec![100.0, 5000.0]] {
            assert_eq!(MultibandCompressor { crossovers_hz, ..Default::default() }.faults(8000).len(), 1);
        }
    }
}
