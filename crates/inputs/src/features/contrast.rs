//! `contrast`: the spectral contrast, `librosa.feature.spectral_contrast`: for each octave band the level of its strongest
//! bins above that of its weakest.
//!
//! As in librosa: magnitudes are converted to decibels as if they were power; peaks and valleys are each limited to 80 dB below
//! their largest value; a band above the first also has the bin below its lower edge; a band below the last loses its
//! highest bin, but the number of averaged bins is that with it.

use std::ops::Range;

use crate::features::Fault;
use crate::features::framewise::{Image, OfSpectrogram, from_magnitudes};
use timbre_signal::dsp::decibel::power_to_db;

framewise_spec! {
    /// The spectral contrast in dB: one row for the bins below `fmin` and one per octave above, one column per frame.
    pub struct Contrast {
        /// Upper edge of the first band in Hz; each of the `n_bands` bands above it is an octave. Default 200.
        #[schemars(range(min = 0.01))]
        pub fmin: f64 = 200.0,
        /// Number of octave bands above `fmin`. Default 6.
        #[schemars(range(min = 1, max = 16))]
        pub n_bands: usize = 6,
        /// The share of the bins of a band that are averaged as its peak, and as its valley. Default 0.02.
        #[schemars(range(min = 0.0001, max = 0.9999))]
        pub quantile: f64 = 0.02,
        /// Whether to return the difference of the magnitudes instead of decibels. Default false.
        pub linear: bool = false,
    }
}

of_spectrogram!("contrast", Contrast);

/// The bins of a band, and how many are averaged.
struct Band {
    bins: Range<usize>,
    averaged: usize,
}

impl Contrast {
    /// The bands; `None` if one has no bin.
    fn bands(&self, sample_rate: u32) -> Option<Vec<Band>> {
        let frequencies = self.stft().frequencies(sample_rate);
        let bins = frequencies.len();
        let edge = |band: usize| if band == 0 { 0.0 } else { self.fmin * 2f64.powi(band as i32 - 1) };
        let band = |k: usize| {
            let first = frequencies.iter().position(|&hz| hz >= edge(k))?;
            let end = frequencies.iter().rposition(|&hz| hz <= edge(k + 1))? + 1;
            if end <= first {
                return None;
            }
            let first = if k > 0 { first.checked_sub(1)? } else { first };
            let end = if k == self.n_bands { bins } else { end };
            // numpy rounds halves to even.
            let averaged = (self.quantile * (end - first) as f64).round_ties_even().max(1.0) as usize;
            let bins = first..if k < self.n_bands { end - 1 } else { end };
            (!bins.is_empty()).then(|| Band { averaged: averaged.min(bins.len()), bins })
        };
        (0..=self.n_bands).map(band).collect()
    }
}

impl OfSpectrogram for Contrast {
    fn rows(&self) -> usize {
        self.n_bands + 1
    }

    fn own_faults(&self, sample_rate: u32) -> Vec<Fault> {
        let mut faults = Fault::of_keys([
            (
                "fmin",
                (!(self.fmin > 0.0 && self.fmin.is_finite())).then(|| {
                    format!("a band cannot end at {} Hz; choose a positive frequency, such as 200", self.fmin)
                }),
            ),
            (
                "n_bands",
                (!(1..=16).contains(&self.n_bands))
                    .then(|| format!("{} octave bands are not possible; choose 1 to 16", self.n_bands)),
            ),
            (
                "quantile",
                (!(self.quantile > 0.0 && self.quantile < 1.0))
                    .then(|| format!("{} is not a share between 0 and 1; choose 0.02", self.quantile)),
            ),
        ]);
        let nyquist = f64::from(sample_rate) / 2.0;
        let highest = self.fmin * 2f64.powi(self.n_bands.min(16) as i32 - 1);
        if faults.is_empty() && highest >= nyquist {
            let sentence = format!(
                "the highest band begins at {highest} Hz, above half the sample rate ({nyquist} Hz); lower fmin or n_bands"
            );
            faults.push(Fault::new("n_bands", sentence));
        } else if faults.is_empty() && (2..=1 << 20).contains(&self.n_fft) && self.bands(sample_rate).is_none() {
            let sentence = format!("a band contains no bin of a {}-sample frame; raise n_fft or fmin", self.n_fft);
            faults.push(Fault::new("n_fft", sentence));
        }
        faults
    }

    fn image(&self, sample_rate: u32) -> Image {
        let bands = self.bands(sample_rate).expect("a spec without faults");
        let (rows, linear) = (self.rows(), self.linear);
        Box::new(move |spectrogram| {
            let mut sorted = Vec::new();
            // Peaks and valleys of a frame, side by side.
            let both = from_magnitudes(spectrogram, 2 * rows, |magnitudes, out| {
                let (peaks, valleys) = out.split_at_mut(rows);
                for ((band, peak), valley) in bands.iter().zip(peaks).zip(valleys) {
                    (*peak, *valley) = peak_and_valley(&magnitudes[band.bins.clone()], band.averaged, &mut sorted);
                }
            });
            let (peaks, valleys) = both.split_at(both.len() / 2);
            let (mut peaks, mut valleys) = (peaks.to_vec(), valleys.to_vec());
            if !linear {
                power_to_db(&mut peaks, Some(80.0));
                power_to_db(&mut valleys, Some(80.0));
            }
            peaks.iter().zip(&valleys).map(|(peak, valley)| peak - valley).collect()
        })
    }
}

/// The means of the largest and of the smallest values.
fn peak_and_valley(values: &[f32], averaged: usize, sorted: &mut Vec<f32>) -> (f32, f32) {
    sorted.clear();
    sorted.extend_from_slice(values);
    let mean = |values: &[f32]| (values.iter().map(|&x| f64::from(x)).sum::<f64>() / averaged as f64) as f32;
    let (low, _, _) = sorted.select_nth_unstable_by(averaged - 1, f32::total_cmp);
    let below: f64 = low.iter().map(|&x| f64::from(x)).sum();
    let valley = ((below + f64::from(sorted[averaged - 1])) / averaged as f64) as f32;
    let from = sorted.len() - averaged;
    sorted.select_nth_unstable_by(from, f32::total_cmp);
    (mean(&sorted[from..]), valley)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peak_and_valley_are_the_means_of_the_extremes() {
        let values = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!(peak_and_valley(&values, 2, &mut Vec::new()), (4.5, 1.5));
        assert_eq!(peak_and_valley(&values, 5, &mut Vec::new()), (3.0, 3.0));
    }

    #[test]
    fn bands_above_half_the_sample_rate_and_bands_without_bins_are_faults() {
        let keys = |spec: Contrast| spec.own_faults(22050).into_iter().map(|fault| fault.key).collect::<Vec<_>>();
        assert!(keys(Contrast::default()).is_empty());
        assert_eq!(keys(Contrast { n_bands: 8, ..Contrast::default() }), ["n_bands"]);
        assert_eq!(keys(Contrast { fmin: 5.0, ..Contrast::default() }), ["n_fft"]);
        assert_eq!(keys(Contrast { fmin: 0.0, quantile: 1.0, ..Contrast::default() }), ["fmin", "quantile"]);
    }
}
