//! `flatness`: the spectral flatness, `librosa.feature.spectral_flatness`: the geometric mean of the bins of a frame divided by
//! their arithmetic mean. Noise is near 1, a tone near 0; silence is 1, because every bin is raised to `amin`.

use crate::features::Fault;
use crate::features::framewise::{Image, OfSpectrogram, from_powers};

framewise_spec! {
    /// The spectral flatness of each frame: one row, one column per frame.
    pub struct Flatness {
        /// Exponent of the magnitudes: 2 is power, 1 is magnitude. Default 2.
        #[schemars(range(min = 0.01, max = 8.0))]
        pub power: f64 = 2.0,
        /// Smaller values are raised to this one. Default 1e-10.
        #[schemars(range(min = 1e-30, max = 1.0))]
        pub amin: f64 = 1e-10,
    }
}

of_spectrogram!("flatness", Flatness);

impl OfSpectrogram for Flatness {
    fn own_faults(&self, _sample_rate: u32) -> Vec<Fault> {
        let power = || format!("an exponent of {} is not possible; choose 2 for power or 1 for magnitude", self.power);
        let amin = || format!("{} is not a value between 1e-30 and 1; choose 1e-10", self.amin);
        Fault::of_keys([
            ("power", (!(self.power > 0.0 && self.power <= 8.0)).then(power)),
            ("amin", (!(1e-30..=1.0).contains(&self.amin)).then(amin)),
        ])
    }

    fn image(&self, _sample_rate: u32) -> Image {
        let (exponent, amin) = (self.power / 2.0, self.amin);
        Box::new(move |spectrogram| {
            from_powers(spectrogram, 1, |powers, out| {
                out[0] = if exponent == 1.0 {
                    flatness(powers, amin, f64::from)
                } else {
                    flatness(powers, amin, |power| f64::from(power).powf(exponent))
                } as f32;
            })
        })
    }
}

/// Values whose product stays within the range of f64 if each is within that of f32: one logarithm serves them all.
const FACTORS: usize = 7;

#[inline(always)]
fn flatness(powers: &[f32], amin: f64, value: impl Fn(f32) -> f64) -> f64 {
    let (mut logarithms, mut sum) = (0.0, 0.0);
    for powers in powers.chunks(FACTORS) {
        let mut product = 1.0;
        for &power in powers {
            let value = value(power).max(amin);
            product *= value;
            sum += value;
        }
        // With an exponent above 2 a product may leave the range of f64.
        logarithms += if product.is_finite() && product > 1e-300 {
            libm::log(product)
        } else {
            powers.iter().map(|&power| libm::log(value(power).max(amin))).sum()
        };
    }
    let bins = powers.len() as f64;
    libm::exp(logarithms / bins) / (sum / bins)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bins_are_flat_and_a_single_one_is_not() {
        assert!((flatness(&[3.0; 100], 1e-10, f64::from) - 1.0).abs() < 1e-12);
        assert!((flatness(&[0.0; 100], 1e-10, f64::from) - 1.0).abs() < 1e-12);
        let mut tone = [0.0; 100];
        tone[20] = 1.0;
        assert!((flatness(&tone, 1e-10, f64::from) / (1e-10f64.powf(0.99) * 100.0) - 1.0).abs() < 1e-5);
    }

    #[test]
    fn values_beyond_the_range_of_a_product_are_multiplied_one_by_one() {
        let huge = flatness(&[1e30; 20], 1e-10, |power| f64::from(power).powi(4));
        assert!((huge - 1.0).abs() < 1e-9, "{huge}");
    }
}
