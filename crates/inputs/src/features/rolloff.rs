//! `rolloff`: the spectral roll-off, `librosa.feature.spectral_rolloff`: the lowest frequency in Hz below which a share of the
//! magnitude (not power) of a frame lies. A silent frame gets 0.

use crate::features::Fault;
use crate::features::framewise::{Image, OfSpectrogram, from_magnitudes};

framewise_spec! {
    /// The spectral roll-off of each frame in Hz: one row, one column per frame.
    pub struct Rolloff {
        /// The share of the magnitude that lies below. Default 0.85.
        #[schemars(range(min = 0.001, max = 0.999))]
        pub roll_percent: f64 = 0.85,
    }
}

of_spectrogram!("rolloff", Rolloff);

impl OfSpectrogram for Rolloff {
    fn own_faults(&self, _sample_rate: u32) -> Vec<Fault> {
        let possible = self.roll_percent > 0.0 && self.roll_percent < 1.0;
        let sentence = || format!("{} is not a share between 0 and 1; choose 0.85", self.roll_percent);
        Fault::of_keys([("roll_percent", (!possible).then(sentence))])
    }

    fn image(&self, sample_rate: u32) -> Image {
        let (frequencies, share) = (self.stft().frequencies(sample_rate), self.roll_percent);
        Box::new(move |spectrogram| {
            from_magnitudes(spectrogram, 1, |magnitudes, out| out[0] = frequencies[rolloff(magnitudes, share)] as f32)
        })
    }
}

/// The first bin at which the sum reaches a share of the total.
fn rolloff(magnitudes: &[f32], share: f64) -> usize {
    let threshold = share * magnitudes.iter().map(|&m| f64::from(m)).sum::<f64>();
    let mut sum = 0.0;
    let reached = magnitudes.iter().position(|&magnitude| {
        sum += f64::from(magnitude);
        sum >= threshold
    });
    reached.unwrap_or(magnitudes.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rolloff_is_the_first_bin_that_reaches_the_share() {
        assert_eq!(rolloff(&[1.0, 1.0, 1.0, 1.0], 0.5), 1);
        assert_eq!(rolloff(&[1.0, 1.0, 1.0, 1.0], 0.51), 2);
        assert_eq!(rolloff(&[0.0, 0.0, 3.0, 0.0], 0.85), 2);
        assert_eq!(rolloff(&[0.0; 4], 0.85), 0);
    }
}
