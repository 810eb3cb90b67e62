//! `lfcc`: linear-frequency cepstral coefficients, as torchaudio's `LFCC`: like `mfcc`, but the triangular bands lie at equal steps
//! in Hz and have a peak of one.

use crate::features::Fault;
use crate::features::centroid::sum_of;
use crate::features::framewise::{Image, OfSpectrogram};
use crate::features::stft::{top_db, top_db_fault};
use timbre_signal::dsp::{dct, decibel::power_to_db};

framewise_spec! {
    /// Linear-frequency cepstral coefficients: one row per coefficient, one column per frame.
    pub struct Lfcc {
        /// Number of coefficients. Default 40.
        #[schemars(range(min = 1, max = 4096))]
        pub n_lfcc: usize = 40,
        /// Number of bands from which the coefficients are computed. Default 128.
        #[schemars(range(min = 1, max = 4096))]
        pub n_filter: usize = 128,
        /// Lower edge of the lowest band in Hz. Default 0.
        #[schemars(range(min = 0.0))]
        pub fmin: f64 = 0.0,
        /// Upper edge of the highest band in Hz. Default: half the sample rate.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub fmax: Option<f64> = None,
        /// Dynamic range of the energies in dB: bands further below the largest are raised to it; 0 keeps all. Default
        /// 80.
        #[schemars(range(min = 0.0))]
        pub top_db: f64 = 80.0,
        /// Height and width in pixels to which the image is resized (bilinear, antialiased). Default: not resized.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub resize: Option<[usize; 2]> = None,
    }
}

of_spectrogram!("lfcc", Lfcc);

impl OfSpectrogram for Lfcc {
    fn rows(&self) -> usize {
        self.n_lfcc
    }

    fn resize(&self) -> Option<[usize; 2]> {
        self.resize
    }

    fn own_faults(&self, sample_rate: u32) -> Vec<Fault> {
        let nyquist = f64::from(sample_rate) / 2.0;
        let fmax = self.fmax.unwrap_or(nyquist);
        let step = (fmax - self.fmin) / (self.n_filter as f64 + 1.0);
        let fmin_is_wrong = !(self.fmin >= 0.0 && self.fmin < fmax);
        let fmax_is_wrong = fmax.is_nan() || fmax > nyquist;
        let n_filter = if self.n_filter == 0 || self.n_filter > 4096 {
            Some(format!("{} bands are not possible; choose 1 to 4096", self.n_filter))
        } else {
            let is_empty = !fmin_is_wrong && !fmax_is_wrong && step * self.n_fft as f64 <= f64::from(sample_rate);
            is_empty.then(|| {
                format!("bands of {step:.1} Hz are narrower than the bins of a {}-sample frame; choose fewer, or raise n_fft", self.n_fft)
            })
        };
        let n_lfcc = (self.n_lfcc == 0 || self.n_lfcc > self.n_filter)
            .then(|| format!("{} coefficients cannot come from {} bands (n_filter)", self.n_lfcc, self.n_filter));
        let mut faults = Fault::of_keys([
            ("fmin", fmin_is_wrong.then(|| format!("the bands begin at {} Hz but end at {fmax} Hz", self.fmin))),
            ("fmax", fmax_is_wrong.then(|| format!("{fmax} Hz is above half the sample rate ({nyquist} Hz)"))),
            ("n_filter", n_filter),
            ("n_lfcc", n_lfcc),
        ]);
        faults.extend(top_db_fault(self.top_db));
        faults
    }

    fn image(&self, sample_rate: u32) -> Image {
        let (fmin, fmax) = (self.fmin, self.fmax.unwrap_or(f64::from(sample_rate) / 2.0));
        let step = (fmax - fmin) / (self.n_filter as f64 + 1.0);
        let frequencies = self.stft().frequencies(sample_rate);
        // The first bin of each triangle, and its weights.
        let bands: Vec<(usize, Vec<f64>)> = (0..self.n_filter)
            .map(|band| {
                let peak = fmin + (band as f64 + 1.0) * step;
                let weight = |&hz: &f64| (1.0 - (hz - peak).abs() / step).max(0.0);
                let first = frequencies.iter().position(|hz| weight(hz) > 0.0).unwrap_or(0);
                (first, frequencies[first..].iter().map(weight).take_while(|&weight| weight > 0.0).collect())
            })
            .collect();
        let cosines = dct::matrix(self.n_lfcc, self.n_filter);
        let top_db = top_db(self.top_db);
        Box::new(move |spectrogram| {
            let mut energies = Vec::with_capacity(bands.len() * spectrogram.frames);
            for (first, weights) in &bands {
                let of_frame =
                    |frame: &[f32]| sum_of(&frame[*first..first + weights.len()], weights, |weight| weight) as f32;
                energies.extend(spectrogram.power.chunks_exact(spectrogram.bins).map(of_frame));
            }
            power_to_db(&mut energies, top_db);
            dct::transform_columns(&cosines, &energies, bands.len(), spectrogram.frames)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_without_bins_and_beyond_the_spectrum_are_faults() {
        let keys = |spec: Lfcc| spec.own_faults(22050).into_iter().map(|fault| fault.key).collect::<Vec<_>>();
        assert!(keys(Lfcc::default()).is_empty());
        assert_eq!(keys(Lfcc { n_fft: 128, ..Lfcc::default() }), ["n_filter"]);
        assert_eq!(keys(Lfcc { fmax: Some(20_000.0), n_lfcc: 200, ..Lfcc::default() }), ["fmax", "n_lfcc"]);
    }
}
