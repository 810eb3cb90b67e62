//! `bandwidth`: the spectral bandwidth, `librosa.feature.spectral_bandwidth`: `(sum of m |f - centroid|^p)^(1/p)` in
//! Hz, with magnitudes `m` that are scaled to sum to one (`norm = true`) or not.
//!
//! A silent frame gets 0, as in librosa.

use anyhow::Result;

use crate::features::centroid::{sum_of, total_and_centroid};
use crate::features::framewise::{PostProcess, stft_faults};
use crate::features::{ClipAnalysis, Extractor, Fault, FeatureKind, FeatureMatrix, Kind, ensure_valid};
use timbre_signal::dsp::stft::StftPlan;

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

impl Kind for Bandwidth {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        let mut faults = stft_faults(&self.stft());
        faults.extend(self.post().faults());
        if !(self.p > 0.0 && self.p.is_finite()) {
            faults.push(Fault::new(
                "p",
                format!("an exponent of {} is not possible; choose 2 for a standard deviation", self.p),
            ));
        }
        faults
    }
}

impl FeatureKind for Bandwidth {
    fn shape(&self, samples: usize) -> Option<[usize; 2]> {
        self.post().shape(1, self.stft().frames(samples))
    }

    fn frame_length(&self) -> Option<usize> {
        Some(self.n_fft)
    }

    fn build(&self, sample_rate: u32) -> Result<Box<dyn Extractor>> {
        ensure_valid("bandwidth", self.faults(sample_rate))?;
        Ok(Box::new(BandwidthSeries {
            plan: StftPlan::new(self.stft()),
            frequencies: self.stft().frequencies(sample_rate),
            sample_rate,
            p: self.p,
            norm: self.norm,
            post: self.post(),
        }))
    }
}

impl Bandwidth {
    fn post(&self) -> PostProcess {
        PostProcess::new(None, &self.summary)
    }
}

struct BandwidthSeries {
    plan: StftPlan,
    frequencies: Vec<f64>,
    sample_rate: u32,
    p: f64,
    norm: bool,
    post: PostProcess,
}

impl BandwidthSeries {
    fn bandwidth(&self, magnitudes: &[f32]) -> f64 {
        let Some((total, centroid)) = total_and_centroid(magnitudes, &self.frequencies) else { return 0.0 };
        let spread = if self.p == 2.0 {
            sum_of(magnitudes, &self.frequencies, |frequency| (frequency - centroid) * (frequency - centroid))
        } else {
            sum_of(magnitudes, &self.frequencies, |frequency| (frequency - centroid).abs().powf(self.p))
        };
        let spread = if self.norm { spread / total } else { spread };
        if self.p == 2.0 { spread.sqrt() } else { spread.powf(1.0 / self.p) }
    }
}

impl Extractor for BandwidthSeries {
    fn extract(&self, clip: &ClipAnalysis) -> Result<FeatureMatrix> {
        clip.ensure_sample_rate(self.sample_rate)?;
        let spectrogram = clip.spectrogram(&self.plan)?;
        let mut magnitudes = vec![0.0; spectrogram.bins];
        let mut series = Vec::with_capacity(spectrogram.frames);
        for frame in spectrogram.power.chunks_exact(spectrogram.bins) {
            magnitudes.iter_mut().zip(frame).for_each(|(magnitude, power)| *magnitude = power.sqrt());
            series.push(self.bandwidth(&magnitudes) as f32);
        }
        Ok(self.post.apply(1, spectrogram.frames, series))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
