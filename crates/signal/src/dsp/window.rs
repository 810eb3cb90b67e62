//! Window functions in the periodic form for spectral analysis (scipy's `fftbins=True`, librosa's default): a window of
//! length N is the first N values of the symmetric one of length N + 1.

use std::f64::consts::TAU;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use timbre_fft::Complex;

/// The window function that each frame is multiplied by before the transform.
///
/// ```
/// use timbre_signal::dsp::window::Window;
///
/// let hann = Window::Hann.periodic(4);
/// assert!(hann.iter().zip([0.0, 0.5, 1.0, 0.5]).all(|(a, b)| (a - b).abs() < 1e-15));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    Hann,
    Hamming,
    Blackman,
    /// Rectangular: all samples have equal weight.
    Boxcar,
}

impl Window {
    /// The coefficients of `c0 - c1 cos(x) + c2 cos(2x)`.
    fn cosines(self) -> [f64; 3] {
        match self {
            Window::Hann => [0.5, 0.5, 0.0],
            Window::Hamming => [0.54, 0.46, 0.0],
            Window::Blackman => [0.42, 0.5, 0.08],
            Window::Boxcar => [1.0, 0.0, 0.0],
        }
    }

    /// The `length` values of the window. A window of length 1 is a one, as in scipy.
    pub fn periodic(self, length: usize) -> Vec<f64> {
        if length == 1 {
            return vec![1.0];
        }
        let [c0, c1, c2] = self.cosines();
        (0..length)
            .map(|n| {
                let x = TAU * n as f64 / length as f64;
                c0 - c1 * x.cos() + c2 * (2.0 * x).cos()
            })
            .collect()
    }
}

impl Window {
    /// Every `step`-th value of the window from `first` on, without the others.
    pub fn periodic_steps(self, length: usize, first: usize, step: usize) -> impl Iterator<Item = f64> {
        let [c0, c1, c2] = if length == 1 { [1.0, 0.0, 0.0] } else { self.cosines() };
        let turn = Complex::from_polar(1.0, TAU * step as f64 / length as f64);
        let mut z = Complex::from_polar(1.0, TAU * first as f64 / length as f64);
        (first..length).step_by(step).map(move |_| {
            // The cosine of the doubled angle is the real part of the square.
            let value = c0 - c1 * z.re + c2 * (z.re * z.re - z.im * z.im);
            z *= turn;
            value
        })
    }

    /// The sum of [`periodic`](Self::periodic): the cosines of a whole period cancel.
    pub fn sum(self, length: usize) -> f64 {
        if length < 3 { self.periodic(length).iter().sum() } else { self.cosines()[0] * length as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Window; 4] = [Window::Hann, Window::Hamming, Window::Blackman, Window::Boxcar];

    proptest! {
        #[test]
        fn a_window_sums_to_its_constant_coefficient_times_its_length(length in 3usize..3000) {
            // The cosines of a whole period cancel, in the periodic form only.
            for window in ALL {
                let sum: f64 = window.periodic(length).iter().sum();
                prop_assert!((sum - window.sum(length)).abs() < 1e-9, "{window:?}: {sum}");
            }
        }

        #[test]
        fn single_values_are_those_of_the_window(length in 1usize..40_000, first in 0usize..64, step in 1usize..64) {
            for window in ALL {
                let whole = window.periodic(length);
                let expected = whole.iter().skip(first).step_by(step);
                let found: Vec<f64> = window.periodic_steps(length, first, step).collect();
                prop_assert_eq!(found.len(), expected.len());
                prop_assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-10));
            }
        }

        #[test]
        fn a_window_is_symmetric_about_its_middle(length in 2usize..500) {
            for window in ALL {
                let w = window.periodic(length);
                prop_assert!((1..length).all(|n| (w[n] - w[length - n]).abs() < 1e-12));
            }
        }

        #[test]
        fn hann_windows_a_quarter_apart_add_up_to_two(quarter in 1usize..300) {
            let w = Window::Hann.periodic(4 * quarter);
            for n in 0..quarter {
                let sum: f64 = (0..4).map(|q| w[n + q * quarter]).sum();
                prop_assert!((sum - 2.0).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn a_short_hann_window_has_the_values_computed_by_hand() {
        let w = Window::Hann.periodic(4);
        assert!(w.iter().zip([0.0, 0.5, 1.0, 0.5]).all(|(a, b)| (a - b).abs() < 1e-15), "{w:?}");
        assert_eq!(Window::Hann.periodic(1), [1.0]);
    }
}
