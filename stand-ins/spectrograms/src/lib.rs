//! Replaces the crate `spectrograms` 2 for `ruopus`: an in-place complex Fourier transform on `rustfft`.
//!
//! The Opus decoder `ruopus` has a slow transform of its own (decodes 10 times faster than real time) and can use
//! `spectrograms` for a fast one (460 times). The real crate adds `ndarray`, `regex`, a `cdylib` and 15,000 lines, and
//! through `ndarray` enables a feature of `num-complex` that makes cargo compile the matrix products a second time. The
//! project uses `rustfft` already, so `[patch.crates-io]` substitutes these few lines. The numbers are the same, because the
//! real crate calls `rustfft` as well.
//!
//! Remove this crate when `ruopus` uses `rustfft` itself. Its version equals that of the crate it replaces: with another
//! version of `ruopus`, cargo rejects or ignores the patch, and this file needs a review.

use std::sync::Arc;

use rustfft::{Fft, FftNum, FftPlanner};

pub use rustfft::num_complex::Complex;

/// The length of the buffer differs from that of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongLength;

/// A complex transform of one length, in place, not normalised.
pub trait C2cPlan<T> {
    fn forward(&mut self, buffer: &mut [Complex<T>]) -> Result<(), WrongLength>;
    fn inverse(&mut self, buffer: &mut [Complex<T>]) -> Result<(), WrongLength>;
}

pub struct RealFftC2cPlan<T: FftNum> {
    forward: Arc<dyn Fft<T>>,
    inverse: Arc<dyn Fft<T>>,
    scratch: Vec<Complex<T>>,
}

impl<T: FftNum> RealFftC2cPlan<T> {
    pub fn new(length: usize) -> RealFftC2cPlan<T> {
        let mut planner = FftPlanner::new();
        let (forward, inverse) = (planner.plan_fft_forward(length), planner.plan_fft_inverse(length));
        let scratch = forward.get_inplace_scratch_len().max(inverse.get_inplace_scratch_len());
        RealFftC2cPlan { forward, inverse, scratch: vec![Complex::new(T::zero(), T::zero()); scratch] }
    }
}

impl<T: FftNum> C2cPlan<T> for RealFftC2cPlan<T> {
    fn forward(&mut self, buffer: &mut [Complex<T>]) -> Result<(), WrongLength> {
        run(self.forward.as_ref(), buffer, &mut self.scratch)
    }

    fn inverse(&mut self, buffer: &mut [Complex<T>]) -> Result<(), WrongLength> {
        run(self.inverse.as_ref(), buffer, &mut self.scratch)
    }
}

fn run<T: FftNum>(plan: &dyn Fft<T>, buffer: &mut [Complex<T>], scratch: &mut [Complex<T>]) -> Result<(), WrongLength> {
    if buffer.len() != plan.len() {
        return Err(WrongLength);
    }
    plan.process_with_scratch(buffer, scratch);
    Ok(())
}
