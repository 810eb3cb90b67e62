//! What `ruopus` takes of `spectrograms` 2: a complex Fourier transform in place, on `rustfft`.
//!
//! `ruopus`, the Opus decoder, has a transform of its own that is too slow (10 times real time), and this crate for a fast
//! one (460 times). The real crate brings `ndarray`, `regex`, a `cdylib` and 15,000 lines for it, and through `ndarray` turns
//! on a feature of `num-complex` for which everything that multiplies matrices here is compiled again. `rustfft` is in the
//! house anyway, so `[patch.crates-io]` puts these few lines in its place; the numbers are the same, since the real crate
//! hands the work to `rustfft` too.
//!
//! It can go when `ruopus` uses `rustfft` itself. The version is that of the crate it replaces: with another `ruopus`, cargo
//! refuses or ignores the patch, and this file is looked at again.

use std::sync::Arc;

use rustfft::{Fft, FftNum, FftPlanner};

pub use rustfft::num_complex::Complex;

/// The buffer has another length than the plan.
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
