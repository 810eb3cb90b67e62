//! Dropout with masks drawn from named seeds.
//!
//! Conventions: PyTorch's inverted dropout; kept values are divided by the keep probability. On the CPU a mask comes from the
//! seed of the step and the number of the mask within it, block by block on all threads, with the same bits on any number of
//! threads. On other devices the device draws it, from the seed that the training loop sets before each step.

use burn::module::Module;
use burn::tensor::{Device, Distribution, Tensor, TensorData};
use rand_core::Rng;
use rayon::prelude::*;

use super::training_pass::TrainingPass;
use timbre_core::seed::Seed;

/// Values of a mask per random generator.
const BLOCK: usize = 1 << 14;

/// Drops a share of its input at random during training.
#[derive(Module, Debug)]
pub struct Dropout {
    /// The share that is dropped, 0 to below 1.
    share: f64,
}

impl Dropout {
    pub fn new(share: f64) -> Dropout {
        assert!((0.0..1.0).contains(&share), "a dropout of {share} is not at least 0 and below 1");
        Dropout { share }
    }

    /// Outside of training the input is returned unchanged.
    pub fn forward<const D: usize>(&self, input: Tensor<D>, pass: Option<&TrainingPass>) -> Tensor<D> {
        let Some(pass) = pass.filter(|_| self.share > 0.0) else { return input };
        let (device, kept) = (input.device(), 1.0 - self.share);
        if device == Device::flex() {
            let mask = TensorData::new(mask(pass.next_seed(), input.shape().num_elements(), kept), input.dims());
            return input * Tensor::from_data(mask, &device);
        }
        let mask = input.random_like(Distribution::Bernoulli(kept));
        input * mask * (1.0 / kept)
    }
}

/// Stochastic depth: leaves a residual branch out for a share of the clips, and scales it for the others (torchvision's mode "row").
#[derive(Module, Debug)]
pub struct StochasticDepth {
    dropout: Dropout,
}

impl StochasticDepth {
    pub fn new(share: f64) -> StochasticDepth {
        StochasticDepth { dropout: Dropout::new(share) }
    }

    pub fn forward<const D: usize>(&self, branch: Tensor<D>, pass: Option<&TrainingPass>) -> Tensor<D> {
        if pass.is_none() || self.dropout.share == 0.0 {
            return branch;
        }
        let mut of_clips = [1; D];
        of_clips[0] = branch.dims()[0];
        branch.clone() * self.dropout.forward(Tensor::ones(of_clips, &branch.device()), pass)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn dropped(pass: &TrainingPass, input: &Tensor<2>) -> Vec<f32> {
        Dropout::new(0.25).forward(input.clone(), Some(pass)).into_data().try_into_vec().unwrap()
    }

    fn pass(seed: u64) -> TrainingPass {
        TrainingPass::new(Seed::new(seed))
    }

    #[test]
    fn a_quarter_is_dropped_and_the_rest_is_scaled() {
        let input = Tensor::<2>::ones([300, 100], &Device::flex().autodiff());
        let output = dropped(&pass(1), &input);
        assert!(output.iter().all(|&v| v == 0.0 || v == 1.0 / 0.75));
        let share = output.iter().filter(|&&v| v == 0.0).count() as f64 / output.len() as f64;
        assert!((share - 0.25).abs() < 0.01, "{share}");
    }

    #[test]
    fn a_mask_depends_on_step_and_position_and_not_on_the_number_of_threads() {
        let input = Tensor::<2>::ones([300, 200], &Device::flex().autodiff());
        let output = dropped(&pass(1), &input);
        assert_ne!(output, dropped(&pass(2), &input));
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert!(pool.install(|| dropped(&pass(1), &input)) == output);
        }
        let same = pass(1);
        let [first, second] = [(); 2].map(|()| dropped(&same, &input));
        assert!(first == output && second != output);
    }

    #[test]
    fn stochastic_depth_leaves_whole_clips_out_and_scales_the_others() {
        let branch = Tensor::<3>::ones([2000, 3, 2], &Device::flex().autodiff());
        let depth = StochasticDepth::new(0.25);
        let output = depth.forward(branch.clone(), Some(&pass(1))).into_data().try_into_vec::<f32>().unwrap();
        assert!(output.chunks_exact(6).all(|clip| clip.iter().all(|&v| v == clip[0] && (v == 0.0 || v == 1.0 / 0.75))));
        let left_out = output.chunks_exact(6).filter(|clip| clip[0] == 0.0).count();
        assert!((430..570).contains(&left_out), "{left_out}");
        let output = depth.forward(branch, None).into_data().try_into_vec::<f32>().unwrap();
        assert!(output.iter().all(|&v| v == 1.0));
    }

    #[test]
    fn nothing_is_dropped_outside_of_training() {
        let input = Tensor::<2>::ones([8, 8], &Device::flex());
        let output = Dropout::new(0.25).forward(input, None).into_data().try_into_vec::<f32>().unwrap();
        assert!(output.iter().all(|&v| v == 1.0));
    }
}
