//! Plans Fourier transforms with rustfft and realfft.
//!
//! Their planners are generic: every crate that plans a transform compiles the code of all lengths and instruction sets, which was a
//! quarter of the code of `timbre-inputs`. The planners here are not, so that code is compiled once, and edits of other crates do not
//! compile it again.

use std::sync::Arc;

pub use realfft::num_complex::Complex;
pub use realfft::{ComplexToReal, RealToComplex};
pub use rustfft::Fft;

macro_rules! real_planner {
    ($Planner:ident, $float:ty) => {
        /// Plans transforms between real numbers and half spectra. Equal lengths share a plan.
        pub struct $Planner(realfft::RealFftPlanner<$float>);

        impl $Planner {
            #[expect(clippy::new_without_default, reason = "no caller asks for a default")]
            pub fn new() -> Self {
                Self(realfft::RealFftPlanner::new())
            }

            pub fn forward(&mut self, length: usize) -> Arc<dyn RealToComplex<$float>> {
                self.0.plan_fft_forward(length)
            }

            pub fn inverse(&mut self, length: usize) -> Arc<dyn ComplexToReal<$float>> {
                self.0.plan_fft_inverse(length)
            }
        }
    };
}

real_planner!(RealPlannerF32, f32);
real_planner!(RealPlannerF64, f64);

/// Plans transforms of complex numbers. Equal lengths share a plan.
pub struct PlannerF32(rustfft::FftPlanner<f32>);

impl PlannerF32 {
    #[expect(clippy::new_without_default, reason = "no caller asks for a default")]
    pub fn new() -> Self {
        Self(rustfft::FftPlanner::new())
    }

    pub fn forward(&mut self, length: usize) -> Arc<dyn Fft<f32>> {
        self.0.plan_fft_forward(length)
    }

    pub fn inverse(&mut self, length: usize) -> Arc<dyn Fft<f32>> {
        self.0.plan_fft_inverse(length)
    }
}
