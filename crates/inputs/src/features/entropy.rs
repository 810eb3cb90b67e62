//! `entropy`: the spectral entropy of each frame, `-Σ p log2 p` over the bins, where p is the power divided by its sum
//! (`scipy.stats.entropy(power, base=2)`); librosa has no such feature. A silent frame has entropy 0.

use crate::features::framewise::{Image, OfSpectrogram, from_powers};

framewise_spec! {
    /// The entropy of the power spectrum of each frame: one row, one column per frame.
    pub struct Entropy {
        /// Whether to divide by the largest possible entropy, the logarithm of the number of bins: noise is near 1. If
        /// false, the entropy is in bits. Default true.
        pub norm: bool = true,
    }
}

of_spectrogram!("entropy", Entropy);

impl OfSpectrogram for Entropy {
    fn image(&self, _sample_rate: u32) -> Image {
        let unit = if self.norm { (self.stft().bins() as f64).log2() } else { 1.0 };
        Box::new(move |spectrogram| from_powers(spectrogram, 1, |powers, out| out[0] = (entropy(powers) / unit) as f32))
    }
}

/// The entropy in bits.
fn entropy(powers: &[f32]) -> f64 {
    let total: f64 = powers.iter().map(|&power| f64::from(power)).sum();
    if total <= 0.0 {
        return 0.0;
    }
    // -Σ p/T log2(p/T) = log2 T - Σ p log2 p / T, with one division.
    let sum: f64 = powers.iter().filter(|&&p| p > 0.0).map(|&p| f64::from(p) * libm::log2(f64::from(p))).sum();
    (libm::log2(total) - sum / total).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bins_have_the_largest_entropy_and_one_bin_has_none() {
        assert!((entropy(&[0.3; 64]) - 6.0).abs() < 1e-6);
        assert_eq!(entropy(&[0.0, 5.0, 0.0]), 0.0);
        assert_eq!(entropy(&[0.0; 3]), 0.0);
        assert!((entropy(&[1.0, 1.0, 2.0]) - 1.5).abs() < 1e-12);
    }
}
