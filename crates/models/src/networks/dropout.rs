//! Dropout whose masks have an address: the seed of the step, and the number of the mask within it.
//!
//! Conventions: PyTorch's inverted dropout; kept values are divided by the share that is kept. On the CPU a mask is drawn from
//! a named seed, block by block on all threads with the same bits on any number of them. Elsewhere the device draws it, from a
//! seed that the training loop sets before each step.

use std::cell::RefCell;

use burn::module::{Flag, Module, Param};
use burn::tensor::{Device, Distribution, Tensor, TensorData};
use rand_core::Rng;
use rayon::prelude::*;

use timbre_core::seed::Seed;

/// Values of a mask that one generator draws.
const BLOCK: usize = 1 << 14;

#[derive(Clone, Debug)]
pub struct DropoutConfig {
    /// The share that is dropped.
    share: f64,
}

impl DropoutConfig {
    pub fn new(share: f64) -> Self {
        DropoutConfig { share }
    }

    pub fn init(&self) -> Dropout {
        assert!((0.0..1.0).contains(&self.share), "a dropout of {} is not from 0 to below 1", self.share);
        Dropout { share: self.share, training: Param::from_bool(true) }
    }
}

/// Drops a share of its input at random while a network is trained.
#[derive(Module, Debug)]
pub struct Dropout {
    share: f64,
    training: Param<Flag>,
}

impl Dropout {
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        let device = input.device();
        if self.share == 0.0 || !self.training.is_enabled() || !device.is_autodiff() {
            return input;
        }
        let kept = 1.0 - self.share;
        if device == Device::flex() {
            let mask = TensorData::new(mask(next_seed(), input.shape().num_elements(), kept), input.dims());
            return input * Tensor::from_data(mask, &device);
        }
        let mask = input.random_like(Distribution::Bernoulli(kept));
        input * mask * (1.0 / kept)
    }
}

/// 1 / `kept` for a share `kept` of the values, 0 for the others.
fn mask(seed: Seed, len: usize, kept: f64) -> Vec<f32> {
    let (below, value) = ((kept * (1u64 << 32) as f64) as u64, (1.0 / kept) as f32);
    let mut mask = vec![0.0; len];
    mask.par_chunks_mut(BLOCK).enumerate().for_each(|(block, values)| {
        let mut rng = seed.child(block).rng();
        values.iter_mut().for_each(|v| *v = if u64::from(rng.next_u32()) < below { value } else { 0.0 });
    });
    mask
}

thread_local! {
    /// The seed of the step that this thread takes, and the masks drawn in it.
    static STEP: RefCell<(Seed, u64)> = RefCell::new((Seed::new(0), 0));
}

/// Masks of this thread are from now on drawn from `seed`, the first, the second, and so on.
pub fn begin_step(seed: Seed) {
    STEP.set((seed, 0));
}

fn next_seed() -> Seed {
    STEP.with_borrow_mut(|(seed, drawn)| {
        *drawn += 1;
        seed.child("dropout").child(*drawn)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dropped(seed: u64, input: &Tensor<2>) -> Vec<f32> {
        begin_step(Seed::new(seed));
        DropoutConfig::new(0.25).init().forward(input.clone()).into_data().try_into_vec().unwrap()
    }

    #[test]
    fn a_quarter_is_dropped_and_the_rest_is_scaled() {
        let input = Tensor::<2>::ones([300, 100], &Device::flex().autodiff());
        let output = dropped(1, &input);
        assert!(output.iter().all(|&v| v == 0.0 || v == 1.0 / 0.75));
        let share = output.iter().filter(|&&v| v == 0.0).count() as f64 / output.len() as f64;
        assert!((share - 0.25).abs() < 0.01, "{share}");
    }

    #[test]
    fn a_mask_is_that_of_its_step_on_any_number_of_threads() {
        let input = Tensor::<2>::ones([300, 200], &Device::flex().autodiff());
        let output = dropped(1, &input);
        assert_ne!(output, dropped(2, &input));
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert!(pool.install(|| dropped(1, &input)) == output);
        }
        begin_step(Seed::new(1));
        let layer = DropoutConfig::new(0.25).init();
        let [first, second] = [(); 2].map(|_| layer.forward(input.clone()).into_data().try_into_vec::<f32>().unwrap());
        assert!(first == output && second != output);
    }

    #[test]
    fn nothing_is_dropped_where_nothing_is_trained() {
        let input = Tensor::<2>::ones([8, 8], &Device::flex());
        assert!(dropped(1, &input).iter().all(|&v| v == 1.0));
        let trained = Tensor::<2>::ones([8, 8], &Device::flex().autodiff());
        let output =
            DropoutConfig::new(0.25).init().valid().forward(trained).into_data().try_into_vec::<f32>().unwrap();
        assert!(output.iter().all(|&v| v == 1.0));
    }
}
