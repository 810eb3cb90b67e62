//! `poly`: the coefficients of a polynomial fitted to the magnitudes of a frame over frequency in Hz,
//! `librosa.feature.poly_features`. The highest power comes first.

use crate::features::Fault;
use crate::features::framewise::{Image, OfSpectrogram, from_magnitudes};

framewise_spec! {
    /// The coefficients of a polynomial over the spectrum of each frame: one row per coefficient, the highest power first.
    pub struct Poly {
        /// The degree of the polynomial. Default 1.
        #[schemars(range(min = 0, max = 8))]
        pub order: usize = 1,
    }
}

of_spectrogram!("poly", Poly);

impl OfSpectrogram for Poly {
    fn rows(&self) -> usize {
        self.order + 1
    }

    fn own_faults(&self, _sample_rate: u32) -> Vec<Fault> {
        let most = 8.min(self.n_fft / 2);
        let sentence = || format!("a degree of {} is not possible; choose 0 to {most}", self.order);
        Fault::of_keys([("order", (self.order > most).then(sentence))])
    }

    fn image(&self, sample_rate: u32) -> Image {
        let fit = least_squares(&self.stft().frequencies(sample_rate), self.order);
        let rows = self.rows();
        Box::new(move |spectrogram| {
            from_magnitudes(spectrogram, rows, |magnitudes, out| {
                for (out, weights) in out.iter_mut().zip(&fit) {
                    *out = weights.iter().zip(magnitudes).map(|(w, &m)| w * f64::from(m)).sum::<f64>() as f32;
                }
            })
        })
    }
}

/// For each coefficient, from the highest power down, the weights whose product with the values is the least-squares fit at the
/// points `x`.
fn least_squares(x: &[f64], order: usize) -> Vec<Vec<f64>> {
    let scale = x.iter().fold(0.0f64, |most, x| most.max(x.abs())).max(f64::MIN_POSITIVE);
    let x: Vec<f64> = x.iter().map(|x| x / scale).collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    // Orthonormal polynomials: their values at the points, and their coefficients of ascending powers.
    let mut basis: Vec<(Vec<f64>, Vec<f64>)> = Vec::new();
    for power in 0..=order {
        let mut values: Vec<f64> = x.iter().map(|x| x.powi(power as i32)).collect();
        let mut coefficients = vec![0.0; order + 1];
        coefficients[power] = 1.0;
        // Twice, which leaves only rounding of what is not orthogonal.
        for _ in 0..2 {
            for (other, other_coefficients) in &basis {
                let share = dot(&values, other);
                values.iter_mut().zip(other).for_each(|(value, other)| *value -= share * other);
                coefficients.iter_mut().zip(other_coefficients).for_each(|(c, other)| *c -= share * other);
            }
        }
        let length = dot(&values, &values).sqrt();
        values.iter_mut().chain(&mut coefficients).for_each(|value| *value /= length);
        basis.push((values, coefficients));
    }
    let weights = |power: usize| {
        let unit = scale.powi(power as i32);
        let at = |i: usize| basis.iter().map(|(values, c)| values[i] * c[power]).sum::<f64>() / unit;
        (0..x.len()).map(at).collect()
    };
    (0..=order).rev().map(weights).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_polynomial_is_fitted_by_its_own_coefficients() {
        let x: Vec<f64> = (0..50).map(|k| f64::from(k) * 200.0).collect();
        let y = |x: f64| 3.0 - 2e-3 * x + 5e-7 * x * x;
        let fit: Vec<f64> =
            least_squares(&x, 2).iter().map(|w| w.iter().zip(&x).map(|(w, &x)| w * y(x)).sum()).collect();
        for (found, expected) in fit.iter().zip([5e-7, -2e-3, 3.0]) {
            assert!((found / expected - 1.0).abs() < 1e-9, "{fit:?}");
        }
    }
}
