//! `mfcc`: mel-frequency cepstral coefficients, `librosa.feature.mfcc` with `dct_type=2` and `norm="ortho"`.
//!
//! The energies are in decibels before the cosine transform (not natural logarithms as in HTK and Kaldi), limited to
//! `top_db` below the largest.

use std::f64::consts::PI;

use anyhow::Result;

use crate::features::framewise::{PostProcess, stft_faults};
use crate::features::mel::{MelEnergies, bank_faults};
use crate::features::stft::{top_db, top_db_fault};
use crate::features::{ClipAnalysis, Extractor, Fault, FeatureKind, FeatureMatrix, Kind, ensure_valid};
use timbre_signal::dsp::{
    dct,
    decibel::power_to_db,
    mel::{MelNorm, MelSpec},
    stft::StftPlan,
};

framewise_spec! {
    /// Mel-frequency cepstral coefficients: one row per coefficient, one column per frame.
    pub struct Mfcc {
        /// Number of coefficients. Default 20.
        #[schemars(range(min = 1, max = 4096))]
        pub n_mfcc: usize = 20,
        /// Strength of the liftering, which raises the middle coefficients; 0 is none. Default 0.
        #[schemars(range(min = 0.0))]
        pub lifter: f64 = 0.0,
        /// Exponent of the magnitudes before the sum over a band: 2 is power, 1 is magnitude. Default 2.
        #[schemars(range(min = 0.01, max = 8.0))]
        pub power: f64 = 2.0,
        /// Number of mel bands from which the coefficients are computed. Default 128.
        #[schemars(range(min = 1, max = 4096))]
        pub n_mels: usize = 128,
        /// Lower edge of the lowest band in Hz. Default 0.
        #[schemars(range(min = 0.0))]
        pub fmin: f64 = 0.0,
        /// Upper edge of the highest band in Hz. Default: half the sample rate.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub fmax: Option<f64> = None,
        /// Whether to use the HTK mel scale instead of Slaney's. Default false.
        pub htk: bool = false,
        /// Normalisation of each band: "slaney" (unit area, the default) or "none".
        pub mel_norm: MelNorm = MelNorm::Slaney,
        /// Dynamic range of the energies in dB: bands further below the largest are raised to it; 0 keeps all. Default
        /// 80.
        #[schemars(range(min = 0.0))]
        pub top_db: f64 = 80.0,
        /// Height and width in pixels to which the image is resized (bilinear, antialiased). Default: not resized.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub resize: Option<[usize; 2]> = None,
    }
}

impl Kind for Mfcc {
    fn faults(&self, sample_rate: u32) -> Vec<Fault> {
        let mut faults = stft_faults(&self.stft());
        faults.extend(self.post().faults());
        faults.extend(bank_faults(&self.bank(sample_rate), self.power));
        faults.extend(top_db_fault(self.top_db));
        if self.n_mfcc == 0 || self.n_mfcc > self.n_mels {
            let sentence = format!("{} coefficients cannot come from {} bands (n_mels)", self.n_mfcc, self.n_mels);
            faults.push(Fault::new("n_mfcc", format!("{sentence}; choose 1 to {}", self.n_mels)));
        }
        if !(self.lifter >= 0.0 && self.lifter.is_finite()) {
            faults.push(Fault::new("lifter", format!("{} is not a strength; choose 0 for none, or 22", self.lifter)));
        }
        faults
    }
}

impl FeatureKind for Mfcc {
    fn shape(&self, samples: usize) -> Option<[usize; 2]> {
        self.post().shape(self.n_mfcc, self.stft().frames(samples))
    }

    fn frame_length(&self) -> Option<usize> {
        Some(self.n_fft)
    }

    fn build(&self, sample_rate: u32) -> Result<Box<dyn Extractor>> {
        ensure_valid("mfcc", self.faults(sample_rate))?;
        Ok(Box::new(Cepstrum {
            energies: MelEnergies::new(StftPlan::new(self.stft()), &self.bank(sample_rate), self.power),
            top_db: top_db(self.top_db),
            cosines: self.cosines(),
            n_mfcc: self.n_mfcc,
            post: self.post(),
        }))
    }
}

impl Mfcc {
    fn post(&self) -> PostProcess {
        self.post_of(self.resize)
    }

    fn bank(&self, sample_rate: u32) -> MelSpec {
        MelSpec {
            sample_rate,
            n_fft: self.n_fft,
            n_mels: self.n_mels,
            fmin: self.fmin,
            fmax: self.fmax.unwrap_or(f64::from(sample_rate) / 2.0),
            htk: self.htk,
            norm: self.mel_norm,
        }
    }

    /// The rows of the cosine transform with liftering.
    fn cosines(&self) -> Vec<f32> {
        let mut cosines = dct::matrix(self.n_mfcc, self.n_mels);
        if self.lifter > 0.0 {
            for (k, row) in cosines.chunks_exact_mut(self.n_mels).enumerate() {
                let lift = 1.0 + self.lifter / 2.0 * (PI * (k + 1) as f64 / self.lifter).sin();
                row.iter_mut().for_each(|weight| *weight = (f64::from(*weight) * lift) as f32);
            }
        }
        cosines
    }
}

struct Cepstrum {
    energies: MelEnergies,
    top_db: Option<f32>,
    cosines: Vec<f32>,
    n_mfcc: usize,
    post: PostProcess,
}

impl Extractor for Cepstrum {
    fn extract(&self, clip: &ClipAnalysis) -> Result<FeatureMatrix> {
        let (mut energies, frames) = self.energies.of(clip)?;
        power_to_db(&mut energies, self.top_db);
        let cepstrum = dct::transform_columns(&self.cosines, &energies, self.energies.n_mels(), frames);
        Ok(self.post.apply(self.n_mfcc, frames, cepstrum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbre_signal::audio::Clip;

    #[test]
    fn silence_has_only_a_first_coefficient() {
        let clip = Clip { samples: vec![0.0; 3000], sample_rate: 22050 };
        let matrix = Mfcc::default().build(22050).unwrap().extract(&ClipAnalysis::new(&clip)).unwrap();
        assert_eq!((matrix.rows, matrix.cols), (20, 6));
        let level = -100.0 * 128f32.sqrt();
        assert!(matrix.values[..6].iter().all(|v| (v - level).abs() < 1e-2));
        assert!(matrix.values[6..].iter().all(|v| v.abs() < 1e-3));
    }

    #[test]
    fn the_lifter_scales_each_row_by_its_factor() {
        let clip =
            Clip { samples: (0..3000).map(|n| (n as f32 * n as f32 * 1e-4).sin()).collect(), sample_rate: 22050 };
        let extract = |lifter| {
            let extractor = Mfcc { lifter, ..Mfcc::default() }.build(22050).unwrap();
            extractor.extract(&ClipAnalysis::new(&clip)).unwrap()
        };
        let (plain, lifted) = (extract(0.0), extract(22.0));
        for row in 0..20 {
            let lift = 1.0 + 11.0 * (PI * (row + 1) as f64 / 22.0).sin();
            for col in 0..plain.cols {
                let (plain, lifted) = (plain.values[row * plain.cols + col], lifted.values[row * plain.cols + col]);
                assert!((f64::from(plain) * lift - f64::from(lifted)).abs() < 1e-2, "row {row}: {plain} {lifted}");
            }
        }
    }
}
