//! `hilbert`: shifts the phase of every frequency by 90 degrees and keeps its level. Inaudible, and almost invisible in a power
//! spectrogram; a network on raw samples sees it.

use std::cell::RefCell;

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use timbre_fft::{Complex, RealPlannerF32};

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};

augment_spec! {
    /// Shifts the phase of every frequency by the same angle and keeps its level.
    pub struct Hilbert {
        /// Delay of the phase in degrees, -360 to 360. Default: 90, the Hilbert transform.
        pub degrees: Amount = Amount::Fixed(90.0),
    }

    pub struct HilbertDraw {
        pub degrees: f64,
    }
}

impl Kind for Hilbert {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([("degrees", self.degrees.fault(-360.0, 360.0))])
    }
}

impl AugmentKind for Hilbert {
    fn draw(&self, _context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        Ok(vec![HilbertDraw { degrees: self.degrees.draw(rng) }.into()])
    }
}

impl Effect for HilbertDraw {
    /// One transform of the whole clip, as if it repeated: so does scipy's `hilbert`.
    fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        let angle = self.degrees.to_radians();
        let factor = Complex::new(libm::cos(angle) as f32, -libm::sin(angle) as f32);
        multiply_spectrum(&mut clip.samples, 0, |_| factor);
        Ok(())
    }
}

thread_local! {
    static PLANNER: RefCell<RealPlannerF32> = RefCell::new(RealPlannerF32::new());
}

/// Multiplies the spectrum of the samples, followed by `padding` zeros, by a factor for each frequency (in cycles per sample).
pub fn multiply_spectrum(samples: &mut [f32], padding: usize, factor: impl Fn(f64) -> Complex<f32>) {
    if samples.is_empty() {
        return;
    }
    let length = samples.len() + padding;
    let (forward, backward) = PLANNER.with_borrow_mut(|planner| (planner.forward(length), planner.inverse(length)));
    let (mut time, mut spectrum) = (forward.make_input_vec(), forward.make_output_vec());
    time[..samples.len()].copy_from_slice(samples);
    forward.process(&mut time, &mut spectrum).expect("buffers of the plan's lengths");
    for (bin, value) in spectrum.iter_mut().enumerate() {
        *value *= factor(bin as f64 / length as f64) / length as f32;
    }
    // The transform requires these to be real.
    spectrum[0].im = 0.0;
    if length.is_multiple_of(2) {
        spectrum[length / 2].im = 0.0;
    }
    backward.process(&mut spectrum, &mut time).expect("buffers of the plan's lengths");
    samples.copy_from_slice(&time[..samples.len()]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::kind_tests::{apply, gain_at, tone_of};

    #[test]
    fn a_sine_becomes_a_negative_cosine_and_after_two_times_its_inverse() {
        for hz in [100.0, 440.0, 3900.0] {
            let clip = tone_of(hz, 4000, 8000);
            let output = apply(&HilbertDraw { degrees: 90.0 }, &clip);
            let twice = apply(&HilbertDraw { degrees: 90.0 }, &output);
            for n in 0..4000 {
                let cosine = (std::f64::consts::TAU * hz * n as f64 / 8000.0).cos() as f32;
                assert!((output[n] + cosine).abs() < 1e-4, "{hz}, sample {n}: {} {cosine}", output[n]);
                assert!((twice[n] + clip[n]).abs() < 1e-4, "{hz}, sample {n}");
            }
        }
    }

    #[test]
    fn every_frequency_keeps_its_level_at_any_angle() {
        for (degrees, hz) in [(90.0, 50.0), (90.0, 9000.0), (30.0, 700.0), (-120.0, 5000.0)] {
            assert!(gain_at(&HilbertDraw { degrees }, hz).abs() < 0.01, "{degrees} {hz}");
        }
        let clip = tone_of(440.0, 999, 8000);
        assert!(apply(&HilbertDraw { degrees: 0.0 }, &clip).iter().zip(&clip).all(|(a, b)| (a - b).abs() < 1e-5));
    }
}
