//! `loudness`: plays the clip at another loudness level, as the effect of the same name in SoX: gain with equal-loudness contours.
//!
//! The gain at a frequency is the difference of its sound pressure on two contours of ISO 226:2003. At 1 kHz it is the gain in
//! decibels. The bass falls less, because the ear becomes less sensitive to it at lower levels: all frequencies sound equally softer,
//! where a plain gain would take the bass away. Between the 29 frequencies of the standard the decibels are interpolated linearly
//! over the logarithm of frequency (SoX: a spline); beyond 20 and 12,500 Hz they stay.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use timbre_fft::Complex;

use super::hilbert::multiply_spectrum;
use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};
use timbre_signal::dsp::level;

augment_spec! {
    /// Changes the level as a volume control with loudness compensation does: the bass changes less than the middle.
    pub struct Loudness {
        /// Gain at 1 kHz in decibels, -50 to 15. Default: -20 to -3.
        pub gain_db: Amount = Amount::Range(-20.0, -3.0),
        /// Loudness level before the gain in phon, 50 to 75. Default: 65.
        pub reference_phon: Amount = Amount::Fixed(65.0),
    }

    pub struct LoudnessDraw {
        pub gain_db: f64,
        pub reference_phon: f64,
    }
}

impl Kind for Loudness {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([
            ("gain_db", self.gain_db.fault(-50.0, 15.0)),
            ("reference_phon", self.reference_phon.fault(50.0, 75.0)),
        ])
    }
}

impl AugmentKind for Loudness {
    fn draw(&self, _context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let (gain_db, reference_phon) = (self.gain_db.draw(rng), self.reference_phon.draw(rng));
        Ok(vec![LoudnessDraw { gain_db, reference_phon }.into()])
    }
}

/// Table 1 of ISO 226:2003: frequency in Hz, exponent of loudness perception, magnitude of the transfer function and threshold of
/// hearing in decibels.
const ISO_226: [[f64; 4]; 29] = [
    [20.0, 0.532, -31.6, 78.5],
    [25.0, 0.506, -27.2, 68.7],
    [31.5, 0.480, -23.0, 59.5],
    [40.0, 0.455, -19.1, 51.1],
    [50.0, 0.432, -15.9, 44.0],
    [63.0, 0.409, -13.0, 37.5],
    [80.0, 0.387, -10.3, 31.5],
    [100.0, 0.367, -8.1, 26.5],
    [125.0, 0.349, -6.2, 22.1],
    [160.0, 0.330, -4.5, 17.9],
    [200.0, 0.315, -3.1, 14.4],
    [250.0, 0.301, -2.0, 11.4],
    [315.0, 0.288, -1.1, 8.6],
    [400.0, 0.276, -0.4, 6.2],
    [500.0, 0.267, 0.0, 4.4],
    [630.0, 0.259, 0.3, 3.0],
    [800.0, 0.253, 0.5, 2.2],
    [1000.0, 0.250, 0.0, 2.4],
    [1250.0, 0.246, -2.7, 3.5],
    [1600.0, 0.244, -4.1, 1.7],
    [2000.0, 0.243, -1.0, -1.3],
    [2500.0, 0.243, 1.7, -4.2],
    [3150.0, 0.243, 2.5, -6.0],
    [4000.0, 0.242, 1.2, -5.4],
    [5000.0, 0.242, -2.1, -1.5],
    [6300.0, 0.245, -7.1, 6.0],
    [8000.0, 0.254, -11.2, 12.6],
    [10_000.0, 0.271, -10.7, 13.9],
    [12_500.0, 0.301, -3.1, 12.3],
];

/// The sound pressure level in decibels of a pure tone with a loudness level in phon.
fn pressure_db([_, exponent, transfer, threshold]: [f64; 4], phon: f64) -> f64 {
    let at_threshold = libm::pow(0.4 * libm::pow(10.0, (threshold + transfer) / 10.0 - 9.0), exponent);
    let loudness = 4.47e-3 * (libm::pow(10.0, 0.025 * phon) - 1.15) + at_threshold;
    10.0 / exponent * libm::log10(loudness) - transfer + 94.0
}

impl LoudnessDraw {
    /// The logarithm of each frequency of the standard and the gain there in decibels.
    fn curve(&self) -> [(f64, f64); 29] {
        let target = self.reference_phon + self.gain_db;
        ISO_226.map(|row| (libm::log(row[0]), pressure_db(row, target) - pressure_db(row, self.reference_phon)))
    }
}

/// The gain in decibels at a frequency in Hz.
fn gain_db(curve: &[(f64, f64)], hz: f64) -> f64 {
    let place = libm::log(hz.clamp(20.0, 12_500.0));
    let above = curve.partition_point(|&(log, _)| log < place).clamp(1, curve.len() - 1);
    let ((low, low_db), (high, high_db)) = (curve[above - 1], curve[above]);
    low_db + (place - low) / (high - low) * (high_db - low_db)
}

impl Effect for LoudnessDraw {
    fn fault(&self) -> Option<String> {
        let gain = Amount::Fixed(self.gain_db).fault(-50.0, 15.0).map(|why| format!("`gain_db`: {why}"));
        let reference = || Amount::Fixed(self.reference_phon).fault(50.0, 75.0);
        gain.or_else(|| reference().map(|why| format!("`reference_phon`: {why}")))
    }

    fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        let (curve, rate) = (self.curve(), f64::from(clip.sample_rate));
        let factor = |frequency: f64| Complex::from(level::db_to_amplitude(gain_db(&curve, rate * frequency)) as f32);
        // The filter has no delay; a quarter of a second of silence separates its response at the two ends.
        multiply_spectrum(&mut clip.samples, clip.sample_rate as usize / 4, factor);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::kind_tests::gain_at;

    #[test]
    fn the_contours_are_those_of_the_standard() {
        // The contour of 40 phon in decibels.
        for (hz, expected) in [
            (20.0, 99.85),
            (63.0, 73.08),
            (100.0, 64.37),
            (1000.0, 40.01),
            (3150.0, 35.61),
            (8000.0, 51.80),
            (12_500.0, 51.49),
        ] {
            let row = *ISO_226.iter().find(|row| row[0] == hz).unwrap();
            assert!((pressure_db(row, 40.0) - expected).abs() < 0.01, "{hz} Hz: {}", pressure_db(row, 40.0));
        }
    }

    #[test]
    fn the_gains_are_the_differences_of_two_contours() {
        let draw = LoudnessDraw { gain_db: -20.0, reference_phon: 65.0 };
        for row in ISO_226.into_iter().filter(|row| row[0] >= 40.0 && row[0] <= 10_000.0) {
            let expected = pressure_db(row, 45.0) - pressure_db(row, 65.0);
            let gain = gain_at(&draw, row[0]);
            assert!((gain - expected).abs() < 0.1, "{} Hz: {gain} dB, not {expected}", row[0]);
        }
    }

    #[test]
    fn the_bass_falls_less_than_the_middle_and_no_gain_changes_nothing() {
        let quieter = LoudnessDraw { gain_db: -20.0, reference_phon: 65.0 };
        assert!((gain_at(&quieter, 1000.0) + 20.0).abs() < 0.05);
        assert!(gain_at(&quieter, 63.0) > gain_at(&quieter, 1000.0) + 3.0);
        for hz in [63.0, 1000.0, 8000.0] {
            assert!(gain_at(&LoudnessDraw { gain_db: 0.0, reference_phon: 65.0 }, hz).abs() < 1e-3);
        }
    }
}
