//! `centroid`: the spectral centroid, `librosa.feature.spectral_centroid`: the mean frequency in Hz, weighted by
//! magnitude (not power).
//!
//! A silent frame has no centroid and gets 0, as in librosa.

use crate::features::framewise::{Image, OfSpectrogram, from_magnitudes};

framewise_spec! {
    /// The spectral centroid of each frame in Hz: one row, one column per frame.
    pub struct Centroid {}
}

of_spectrogram!("centroid", Centroid);

impl OfSpectrogram for Centroid {
    fn image(&self, sample_rate: u32) -> Image {
        let frequencies = self.stft().frequencies(sample_rate);
        Box::new(move |spectrogram| {
            from_magnitudes(spectrogram, 1, |magnitudes, out| {
                out[0] = total_and_centroid(magnitudes, &frequencies).map_or(0.0, |(_, centroid)| centroid as f32);
            })
        })
    }
}

/// The sum of magnitudes below which librosa treats a frame as silent: the smallest normal f32.
const SILENCE: f64 = f32::MIN_POSITIVE as f64;

/// The sum of the magnitudes and their mean frequency; `None` for a silent frame.
pub(super) fn total_and_centroid(magnitudes: &[f32], frequencies: &[f64]) -> Option<(f64, f64)> {
    let total = sum_of(magnitudes, frequencies, |_| 1.0);
    (total >= SILENCE).then(|| (total, sum_of(magnitudes, frequencies, |frequency| frequency) / total))
}

/// The sum of `magnitude * weight(frequency)`, in independent lanes.
#[inline]
pub(super) fn sum_of(magnitudes: &[f32], frequencies: &[f64], weight: impl Fn(f64) -> f64) -> f64 {
    const LANES: usize = 4;
    let mut sums = [0.0f64; LANES];
    let ((m, m_rest), (f, f_rest)) = (magnitudes.as_chunks::<LANES>(), frequencies.as_chunks::<LANES>());
    for (m, f) in m.iter().zip(f) {
        for ((sum, &m), &f) in sums.iter_mut().zip(m).zip(f) {
            *sum += f64::from(m) * weight(f);
        }
    }
    let rest: f64 = m_rest.iter().zip(f_rest).map(|(&m, &f)| f64::from(m) * weight(f)).sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{ClipAnalysis, FeatureKind};
    use proptest::prelude::*;
    use timbre_signal::audio::Clip;

    proptest! {
        #[test]
        fn the_centroid_is_the_weighted_mean(magnitudes in prop::collection::vec(0.0f32..10.0, 1..70)) {
            let frequencies: Vec<f64> = (0..magnitudes.len()).map(|k| k as f64 * 10.7).collect();
            let total: f64 = magnitudes.iter().map(|&m| f64::from(m)).sum();
            let moment: f64 = magnitudes.iter().zip(&frequencies).map(|(&m, f)| f64::from(m) * f).sum();
            match total_and_centroid(&magnitudes, &frequencies) {
                Some((sum, centroid)) => {
                    prop_assert!((sum - total).abs() < 1e-9);
                    prop_assert!((centroid - moment / total).abs() < 1e-9);
                }
                None => prop_assert_eq!(total, 0.0),
            }
        }
    }

    #[test]
    fn a_tone_has_its_frequency_and_silence_has_zero() {
        let mut samples: Vec<f32> =
            (0..22050).map(|n| (std::f64::consts::TAU * 1000.0 * f64::from(n) / 22050.0).sin() as f32).collect();
        samples.resize(44100, 0.0);
        let clip = Clip { samples, sample_rate: 22050 };
        let matrix = Centroid::default().build(22050).unwrap().extract(&ClipAnalysis::new(&clip)).unwrap();
        assert_eq!((matrix.rows, matrix.cols), (1, 87));
        assert!((matrix.values[20] - 1000.0).abs() < 5.0, "{}", matrix.values[20]);
        assert_eq!(matrix.values[80], 0.0);
    }
}
