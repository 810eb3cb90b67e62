//! `fft`: the spectrum of the whole clip, `abs(rfft(samples))`, without window or scaling: `1 + n / 2` values in one
//! row.
//!
//! Computed in f64, as numpy transforms f64 samples; scipy keeps f32 and has more rounding noise.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use timbre_fft::{Complex, RealPlannerF64, RealToComplex};

use crate::features::{ClipAnalysis, Extractor, FeatureKind, FeatureMatrix, Kind};

/// The magnitude of the Fourier transform of the whole clip: one row from 0 Hz to half the sample rate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Fft {}

impl Kind for Fft {}

impl FeatureKind for Fft {
    fn shape(&self, samples: usize) -> Option<[usize; 2]> {
        (samples > 0).then_some([1, samples / 2 + 1])
    }

    fn build(&self, _sample_rate: u32) -> Result<Box<dyn Extractor>> {
        Ok(Box::new(WholeSpectrum { plans: Mutex::default() }))
    }
}

type Plan = Arc<dyn RealToComplex<f64>>;

/// The number of plans kept, one for each length: clips of an experiment have one length, test recordings a few.
const PLANS_KEPT: usize = 8;

struct WholeSpectrum {
    /// The most recently used plan is last.
    plans: Mutex<Vec<Plan>>,
}

impl WholeSpectrum {
    fn plan(&self, length: usize) -> Plan {
        // A poisoned list is still a list of valid plans.
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = match plans.iter().position(|plan| plan.len() == length) {
            Some(at) => plans.remove(at),
            None => RealPlannerF64::new().forward(length),
        };
        if plans.len() == PLANS_KEPT {
            plans.remove(0);
        }
        plans.push(Arc::clone(&plan));
        plan
    }
}

/// The working memory of a transform. New buffers of a megabyte per clip would cost more in page faults than the
/// transform itself.
#[derive(Default)]
struct Buffers {
    input: Vec<f64>,
    spectrum: Vec<Complex<f64>>,
    scratch: Vec<Complex<f64>>,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

impl Extractor for WholeSpectrum {
    fn extract(&self, clip: &ClipAnalysis) -> Result<FeatureMatrix> {
        let samples = clip.samples()?;
        let plan = self.plan(samples.len());
        let values: Vec<f32> = BUFFERS.with_borrow_mut(|Buffers { input, spectrum, scratch }| {
            let zero = Complex::default();
            input.clear();
            input.extend(samples.iter().map(|&x| f64::from(x)));
            spectrum.resize(plan.complex_len(), zero);
            scratch.resize(plan.get_scratch_len(), zero);
            plan.process_with_scratch(input, spectrum, scratch).expect("buffers of the plan's lengths");
            spectrum.iter().map(|z| (z.re * z.re + z.im * z.im).sqrt() as f32).collect()
        });
        Ok(FeatureMatrix { rows: 1, cols: values.len(), values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::f64::consts::TAU;
    use timbre_signal::audio::Clip;

    proptest! {
        #[test]
        fn the_spectrum_is_the_sum_over_all_samples(samples in prop::collection::vec(-1.0f32..1.0, 1..200)) {
            let clip = Clip { samples, sample_rate: 8000 };
            let matrix = Fft {}.build(8000).unwrap().extract(&ClipAnalysis::new(&clip)).unwrap();
            let n = clip.samples.len();
            prop_assert_eq!((matrix.rows, matrix.cols), (1, n / 2 + 1));
            for (k, magnitude) in matrix.values.iter().enumerate() {
                let (mut re, mut im) = (0.0, 0.0);
                for (i, &x) in clip.samples.iter().enumerate() {
                    let angle = TAU * ((k * i) % n) as f64 / n as f64;
                    re += f64::from(x) * angle.cos();
                    im += f64::from(x) * angle.sin();
                }
                prop_assert!((f64::from(*magnitude) - re.hypot(im)).abs() < 1e-6 * re.hypot(im) + 1e-11);
            }
        }
    }

    #[test]
    fn clips_of_any_number_of_lengths_keep_a_few_plans() {
        let extractor = WholeSpectrum { plans: Mutex::default() };
        for length in (1..40).chain([40, 40, 39]) {
            let clip = Clip { samples: vec![1.0; length], sample_rate: 8000 };
            let matrix = extractor.extract(&ClipAnalysis::new(&clip)).unwrap();
            assert!((matrix.values[0] - length as f32).abs() < 1e-4);
        }
        let lengths: Vec<usize> = extractor.plans.lock().unwrap().iter().map(|plan| plan.len()).collect();
        assert_eq!(lengths, [33, 34, 35, 36, 37, 38, 40, 39]);
    }
}
