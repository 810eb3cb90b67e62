//! `bandwidth`: the spectral bandwidth, `librosa.feature.spectral_bandwidth`: `(sum of m |f - centroid|^p)^(1/p)` in
//! Hz, with magnitudes `m` that are scaled to sum to one (`norm = true`) or not.
//!
//! A silent frame gets 0, as in librosa.

use crate::features::Fault;
use crate::features::centroid::{sum_of, total_and_centroid};
use crate::features::framewise::{Image, OfSpectrogram, from_magnitudes};

framewise_spec! {
    /// The spread of the spectrum of each frame about its centroid in Hz: one row, one column per frame.
    pub struct Bandwidth {
        /// Exponent of the deviations: 2 gives a standard deviation. Default 2.
        #[schemars(range(min = 0.01, max = 16.0))]
        pub p: f64 = 2.0,
        /// Whether the magnitudes of a frame are first scaled to sum to one. Default true.
        pub norm: bool = true,
    }
}

of_spectrogram!("bandwidth", Bandwidth);

impl OfSpectrogram for Bandwidth {
    fn own_faults(&self, _sample_rate: u32) -> Vec<Fault> {
        let possible = self.p > 0.0 && self.p.is_finite();
        let sentence = || format!("an exponent of {} is not possible; choose 2 for a standard deviation", self.p);
        Fault::of_keys([("p", (!possible).then(sentence))])
    }

    fn image(&self, sample_rate: u32) -> Image {
        let (frequencies, p, norm) = (self.stft().frequencies(sample_rate), self.p, self.norm);
        Box::new(move |spectrogram| {
            from_magnitudes(spectrogram, 1, |magnitudes, out| {
                out[0] = bandwidth(magnitudes, &frequencies, p, norm) as f32
            })
        })
    }
}

fn bandwidth(magnitudes: &[f32], frequencies: &[f64], p: f64, norm: bool) -> f64 {
    let Some((total, centroid)) = total_and_centroid(magnitudes, frequencies) else { return 0.0 };
    let spread = if p == 2.0 {
        sum_of(magnitudes, frequencies, |frequency| (frequency - centroid) * (frequency - centroid))
    } else {
        sum_of(magnitudes, frequencies, |frequency| (frequency - centroid).abs().powf(p))
    };
    let spread = if norm { spread / total } else { spread };
    if p == 2.0 { spread.sqrt() } else { spread.powf(1.0 / p) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{ClipAnalysis, FeatureKind};
    use timbre_signal::audio::Clip;

    #[test]
    fn two_equal_tones_have_half_their_distance_as_bandwidth() {
        let tone = |hz: f64, n: i32| (std::f64::consts::TAU * hz * f64::from(n) / 22050.0).sin();
        let samples = (0..22050).map(|n| (0.4 * (tone(2000.0, n) + tone(3000.0, n))) as f32).collect();
        let clip = Clip { samples, sample_rate: 22050 };
        for (p, tolerance) in [(2.0, 5.0), (1.0, 5.0), (3.0, 5.0)] {
            let extractor = Bandwidth { p, ..Bandwidth::default() }.build(22050).unwrap();
            let matrix = extractor.extract(&ClipAnalysis::new(&clip)).unwrap();
            assert!((matrix.values[20] - 500.0).abs() < tolerance, "p {p}: {}", matrix.values[20]);
        }
    }

    #[test]
    fn without_norm_a_louder_sound_has_more_bandwidth() {
        let quiet = Clip { samples: (0..4096).map(|n| (n as f32 * 0.3).sin()).collect(), sample_rate: 22050 };
        let loud = Clip { samples: quiet.samples.iter().map(|x| 4.0 * x).collect(), sample_rate: 22050 };
        for (norm, ratio) in [(true, 1.0), (false, 2.0)] {
            let extractor = Bandwidth { norm, ..Bandwidth::default() }.build(22050).unwrap();
            let quiet = extractor.extract(&ClipAnalysis::new(&quiet)).unwrap();
            let loud = extractor.extract(&ClipAnalysis::new(&loud)).unwrap();
            assert!(quiet.values.iter().zip(&loud.values).all(|(q, l)| (l / q - ratio).abs() < 1e-5), "norm {norm}");
        }
    }

    #[test]
    fn silence_has_no_bandwidth() {
        let clip = Clip { samples: vec![0.0; 4096], sample_rate: 22050 };
        let matrix = Bandwidth::default().build(22050).unwrap().extract(&ClipAnalysis::new(&clip)).unwrap();
        assert!(matrix.values.iter().all(|&v| v == 0.0));
    }
}
