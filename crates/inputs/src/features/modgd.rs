//! `modgd`: the modified group delay (Hegde, Murthy and Gadde 2007): the negative derivative of the phase of each frame, tamed:
//! `sign(τ) |τ|^alpha` with `τ = (Xr Yr + Xi Yi) / S^(2 gamma)`.
//!
//! X is the transform of the windowed frame x(n), Y that of n x(n), and S the magnitude of X smoothed by keeping the first `lifter`
//! coefficients of its cepstrum (the inverse transform of the logarithm of the magnitudes, which are raised to 1e-10). No peer
//! library has it; the golden numbers are a direct formula in numpy. A silent frame gets 0.

use std::sync::Arc;

use anyhow::{Result, ensure};
use timbre_fft::{Complex, ComplexToReal, RealPlannerF64, RealToComplex};

use crate::features::framewise::{PostProcess, stft_faults};
use crate::features::{ClipAnalysis, Extractor, Fault, FeatureKind, FeatureMatrix, Kind, ensure_valid};
use timbre_signal::dsp::{stft::StftSpec, transpose};

framewise_spec! {
    /// The modified group delay: one row per bin from 0 Hz to half the sample rate, one column per frame.
    pub struct Modgd {
        /// Exponent of the group delay: below 1 it reduces spikes. Default 0.4.
        #[schemars(range(min = 0.01, max = 1.0))]
        pub alpha: f64 = 0.4,
        /// Exponent of the smoothed spectrum: below 1 it reduces zeros near the unit circle less. Default 0.9.
        #[schemars(range(min = 0.0, max = 1.0))]
        pub gamma: f64 = 0.9,
        /// Number of cepstral coefficients of the smoothed spectrum. Default 8.
        #[schemars(range(min = 1, max = 4096))]
        pub lifter: usize = 8,
        /// Height and width in pixels to which the image is resized (bilinear, antialiased). Default: not resized.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub resize: Option<[usize; 2]> = None,
    }
}

impl Kind for Modgd {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        let mut faults = stft_faults(&self.stft());
        faults.extend(self.post_of(self.resize).faults());
        let alpha = !(self.alpha > 0.0 && self.alpha <= 1.0);
        let gamma = !(0.0..=1.0).contains(&self.gamma);
        let lifter = self.lifter == 0 || self.lifter > self.n_fft / 2;
        faults.extend(Fault::of_keys([
            (
                "alpha",
                alpha.then(|| format!("an exponent of {} is not possible; choose one above 0, up to 1", self.alpha)),
            ),
            ("gamma", gamma.then(|| format!("an exponent of {} is not possible; choose 0 to 1", self.gamma))),
            (
                "lifter",
                lifter.then(|| {
                    format!("{} coefficients are not possible; choose 1 to n_fft / 2, such as 8", self.lifter)
                }),
            ),
        ]));
        faults
    }
}

impl FeatureKind for Modgd {
    fn shape(&self, samples: usize) -> Option<[usize; 2]> {
        self.post_of(self.resize).shape(self.stft().bins(), self.stft().frames(samples))
    }

    fn frame_length(&self) -> Option<usize> {
        Some(self.n_fft)
    }

    fn build(&self, sample_rate: u32) -> Result<Box<dyn Extractor>> {
        ensure_valid("modgd", self.faults(sample_rate))?;
        let stft = self.stft();
        let mut planner = RealPlannerF64::new();
        Ok(Box::new(GroupDelay {
            window: stft.window.periodic(stft.win_length),
            forward: planner.forward(stft.n_fft),
            inverse: planner.inverse(stft.n_fft),
            stft,
            alpha: self.alpha,
            gamma: self.gamma,
            lifter: self.lifter,
            post: self.post_of(self.resize),
        }))
    }
}

/// Smaller magnitudes are raised to this one before the logarithm.
const LEAST_MAGNITUDE: f64 = 1e-10;

struct GroupDelay {
    stft: StftSpec,
    window: Vec<f64>,
    forward: Arc<dyn RealToComplex<f64>>,
    inverse: Arc<dyn ComplexToReal<f64>>,
    alpha: f64,
    gamma: f64,
    lifter: usize,
    post: PostProcess,
}

impl GroupDelay {
    fn transform(&self, frame: &mut [f64], scratch: &mut [Complex<f64>]) -> Vec<Complex<f64>> {
        let mut spectrum = self.forward.make_output_vec();
        self.forward.process_with_scratch(frame, &mut spectrum, scratch).expect("buffers of the plan's lengths");
        spectrum
    }

    /// The delays of a windowed frame.
    fn delays(&self, frame: &[f64], scratch: &mut [Complex<f64>]) -> Vec<f32> {
        let n_fft = self.stft.n_fft;
        let mut ramp: Vec<f64> = frame.iter().enumerate().map(|(n, x)| n as f64 * x).collect();
        let x = self.transform(&mut frame.to_vec(), scratch);
        let y = self.transform(&mut ramp, scratch);
        // The cepstrum is real and symmetric, so the logarithms are a spectrum without imaginary part.
        let logarithm = |z: &Complex<f64>| Complex::new(libm::log(z.norm().max(LEAST_MAGNITUDE)) / n_fft as f64, 0.0);
        let mut spectrum: Vec<Complex<f64>> = x.iter().map(logarithm).collect();
        let mut cepstrum = vec![0.0; n_fft];
        self.inverse
            .process_with_scratch(&mut spectrum, &mut cepstrum, scratch)
            .expect("buffers of the plan's lengths");
        cepstrum[self.lifter..n_fft - self.lifter + 1].fill(0.0);
        let smooth = self.transform(&mut cepstrum, scratch);
        let delay = |((x, y), smooth): ((&Complex<f64>, &Complex<f64>), &Complex<f64>)| {
            let delay = (x.re * y.re + x.im * y.im) * libm::exp(-2.0 * self.gamma * smooth.re);
            (libm::pow(delay.abs(), self.alpha).copysign(delay)) as f32
        };
        x.iter().zip(&y).zip(&smooth).map(delay).collect()
    }
}

impl Extractor for GroupDelay {
    fn extract(&self, clip: &ClipAnalysis) -> Result<FeatureMatrix> {
        let samples = clip.samples()?;
        let (bins, frames) = (self.stft.bins(), self.stft.frames(samples.len()));
        ensure!(
            frames > 0,
            "compute modgd: the clip has {} samples but a frame needs {}; set center = true, a smaller n_fft, or longer clips",
            samples.len(),
            self.stft.n_fft
        );
        let lead = (self.stft.n_fft - self.window.len()) / 2;
        let mut scratch = vec![Complex::default(); self.forward.get_scratch_len().max(self.inverse.get_scratch_len())];
        let mut frame = vec![0.0; self.stft.n_fft];
        let mut delays = Vec::with_capacity(bins * frames);
        for t in 0..frames {
            for (i, weight) in self.window.iter().enumerate() {
                let sample = self.stft.sample_at(t, lead + i, samples.len()).map_or(0.0, |at| f64::from(samples[at]));
                frame[lead + i] = weight * sample;
            }
            delays.extend(self.delays(&frame, &mut scratch));
        }
        Ok(self.post.apply(bins, frames, transpose(&delays, frames, bins)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbre_signal::{audio::Clip, dsp::window::Window};

    #[test]
    fn the_delay_of_an_impulse_is_its_position() {
        let mut samples = vec![0.0; 64];
        samples[10] = 1.0;
        let clip = Clip { samples, sample_rate: 8000 };
        let spec =
            Modgd { n_fft: 64, hop_length: 64, window: Window::Boxcar, center: false, alpha: 1.0, ..Modgd::default() };
        let matrix = spec.build(8000).unwrap().extract(&ClipAnalysis::new(&clip)).unwrap();
        assert_eq!((matrix.rows, matrix.cols), (33, 1));
        assert!(matrix.values.iter().all(|delay| (delay - 10.0).abs() < 1e-4), "{:?}", matrix.values);
    }

    #[test]
    fn silence_has_no_delay() {
        let clip = Clip { samples: vec![0.0; 3000], sample_rate: 22050 };
        let matrix = Modgd::default().build(22050).unwrap().extract(&ClipAnalysis::new(&clip)).unwrap();
        assert!(matrix.values.iter().all(|&delay| delay == 0.0));
    }
}
