//! The optimizers: SGD, Adam and AdamW.
//!
//! Conventions: PyTorch's `SGD` (without dampening), `Adam` (weight decay is added to the gradient) and `AdamW` (the weight
//! shrinks by rate × decay before the step), with f32 state and f64 constants; `clip_norm` is its `clip_grad_norm_`.
//! Differences: weight decay does not apply to one-dimensional tensors (biases, batch norms), as in fastai.
//!
//! On the CPU a step is one in-place pass over each weight with its gradient and state. On other devices it consists of tensor
//! operations.

use burn::tensor::{Device, Tensor};
use indexmap::IndexMap;
use rayon::prelude::*;

use crate::hyperparameters::{self, Training};
use crate::networks::Network;
use crate::networks::parameters::{self, ParameterInfo, flat_tensor, in_place};

/// Values per task of a thread. Sums of a norm are also split here, whatever the number of threads.
const CHUNK: usize = 1 << 15;

/// Added to a norm before it divides, as in PyTorch.
const NORM_GUARD: f64 = 1e-6;

/// The values that the schedule sets for one step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepSettings {
    /// The learning rate of each parameter group.
    pub rates: Vec<f64>,
    pub momentum: f64,
}

/// The update rule and its state for each weight.
#[derive(Clone)]
pub struct Optimizer {
    rule: Rule,
    decay: f64,
    clip_norm: Option<f64>,
    on_cpu: bool,
    states: IndexMap<String, OptimizerState>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    Sgd,
    Adam { beta2: f64, epsilon: f64, decoupled: bool },
}

/// The state of one weight.
#[derive(Clone)]
pub struct OptimizerState {
    /// Steps of this weight.
    pub steps: u64,
    /// The velocity of SGD, or the two moments of Adam.
    pub moments: Vec<Tensor<1>>,
}

/// The constants of one step of one weight.
#[derive(Clone, Copy)]
struct Step {
    rule: Rule,
    settings: WeightStep,
    decay: f64,
    /// The number of the step, from 1.
    number: u64,
}

/// The part of the constants that differs from step to step.
#[derive(Clone, Copy)]
struct WeightStep {
    rate: f64,
    momentum: f64,
    /// Twice the strength of an L2 penalty of the network.
    penalty: f64,
    /// The factor of gradient clipping.
    scale: f64,
}

impl Optimizer {
    pub fn new(training: &Training, on_cpu: bool) -> Optimizer {
        let rule = match training.optimizer {
            hyperparameters::Optimizer::Sgd => Rule::Sgd,
            hyperparameters::Optimizer::Adam | hyperparameters::Optimizer::Adamw => Rule::Adam {
                beta2: training.beta2,
                epsilon: training.epsilon,
                decoupled: training.optimizer == hyperparameters::Optimizer::Adamw,
            },
        };
        let (decay, clip_norm) = (training.weight_decay, training.clip_norm);
        Optimizer { rule, decay, clip_norm, on_cpu, states: IndexMap::new() }
    }

    /// Takes one step of every weight that has a gradient. `rate_of` and `l2_of` return the learning rate of a path and the
    /// strength of its L2 penalty.
    pub fn step(
        &mut self,
        network: Network,
        mut gradients: IndexMap<String, Tensor<1>>,
        momentum: f64,
        rate_of: &dyn Fn(&str) -> f64,
        l2_of: &dyn Fn(&str) -> f64,
    ) -> Network {
        let scale = self.scale(&mut gradients);
        parameters::map_trainable(network, &mut |info, values| {
            let Some(gradient) = gradients.swap_remove(&info.path) else { return values };
            let (rate, penalty) = (rate_of(&info.path), 2.0 * l2_of(&info.path));
            self.update(info, values, gradient, WeightStep { rate, momentum, penalty, scale })
        })
    }

    fn update(
        &mut self,
        info: &ParameterInfo,
        values: Tensor<1>,
        gradient: Tensor<1>,
        settings: WeightStep,
    ) -> Tensor<1> {
        let moments = if self.rule == Rule::Sgd { 1 } else { 2 };
        let state = self.states.entry(info.path.clone()).or_insert_with(|| OptimizerState {
            steps: 0,
            moments: vec![Tensor::zeros(values.dims(), &values.device()); moments],
        });
        state.steps += 1;
        let decay = if info.shape.len() > 1 { self.decay } else { 0.0 };
        let step = Step { rule: self.rule, settings, decay, number: state.steps };
        let before = std::mem::take(&mut state.moments);
        let (values, after) = if self.on_cpu {
            step.on_slices(values, gradient, before)
        } else {
            step.on_tensors(values, gradient, before)
        };
        state.moments = after;
        values
    }

    /// The factor on the gradients that keeps their norm at most `clip_norm`.
    fn scale(&self, gradients: &mut IndexMap<String, Tensor<1>>) -> f64 {
        match self.clip_norm {
            Some(most) => (most / (self.norm(gradients) + NORM_GUARD)).min(1.0),
            None => 1.0,
        }
    }

    /// The 2-norm of all gradients together.
    fn norm(&self, gradients: &mut IndexMap<String, Tensor<1>>) -> f64 {
        let square_sum: f64 = if self.on_cpu {
            gradients
                .values_mut()
                .map(|gradient| {
                    let mut sum = 0.0;
                    let taken = std::mem::replace(gradient, Tensor::empty([0], &gradient.device()));
                    *gradient = in_place(taken, |values| sum = square_sum(values));
                    sum
                })
                .sum()
        } else {
            let sums: Vec<Tensor<1>> =
                gradients.values().map(|gradient| gradient.clone().powi_scalar(2).sum()).collect();
            parameters::to_vec(Tensor::cat(sums, 0)).into_iter().map(f64::from).sum()
        };
        square_sum.sqrt()
    }

    /// Resets the state of all weights.
    pub fn reset(&mut self) {
        self.states.clear();
    }

    /// The state of each weight, by path.
    pub fn states(&self) -> &IndexMap<String, OptimizerState> {
        &self.states
    }

    /// Restores the state from a checkpoint.
    pub fn restore(&mut self, states: IndexMap<String, OptimizerState>) {
        self.states = states;
    }
}

/// The sum of squares in f64, chunk by chunk in a fixed order.
fn square_sum(values: &[f32]) -> f64 {
    let sums: Vec<f64> =
        values.par_chunks(CHUNK).map(|chunk| chunk.iter().map(|&v| f64::from(v) * f64::from(v)).sum()).collect();
    sums.into_iter().sum()
}

impl Step {
    fn on_slices(self, values: Tensor<1>, gradient: Tensor<1>, moments: Vec<Tensor<1>>) -> (Tensor<1>, Vec<Tensor<1>>) {
        let device = values.device();
        let (mut values, gradient) = (values.into_data(), gradient.into_data());
        let mut moments: Vec<_> = moments.into_iter().map(Tensor::into_data).collect();
        {
            let gradient = gradient.as_slice::<f32>().expect("gradients are f32");
            let values = values.as_mut_slice::<f32>().expect("weights are f32");
            let mut moments = moments.iter_mut().map(|m| m.as_mut_slice::<f32>().expect("moments are f32"));
            let pieces = values.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK));
            let first = moments.next().expect("every rule has a moment").par_chunks_mut(CHUNK);
            match (self.rule, moments.next()) {
                (Rule::Adam { beta2, epsilon, decoupled }, Some(second)) => {
                    let adam = self.adam(beta2, epsilon, decoupled);
                    let pieces = pieces.zip(first).zip(second.par_chunks_mut(CHUNK));
                    pieces.for_each(|(((w, g), m), v)| adam.chunk(w, g, m, v));
                }
                _ => {
                    let (scale, pull) = (self.settings.scale as f32, (self.decay + self.settings.penalty) as f32);
                    let (momentum, rate) = (self.settings.momentum as f32, self.settings.rate as f32);
                    pieces.zip(first).for_each(|((w, g), m)| {
                        for ((w, &g), m) in w.iter_mut().zip(g).zip(m) {
                            *m = momentum * *m + (g * scale + pull * *w);
                            *w -= rate * *m;
                        }
                    });
                }
            }
        }
        let tensor = |data| Tensor::from_data(data, &device);
        (tensor(values), moments.into_iter().map(tensor).collect())
    }

    fn on_tensors(
        self,
        values: Tensor<1>,
        gradient: Tensor<1>,
        moments: Vec<Tensor<1>>,
    ) -> (Tensor<1>, Vec<Tensor<1>>) {
        let mut moments = moments.into_iter();
        let first = moments.next().expect("every rule has a moment");
        let mut gradient = if self.settings.scale == 1.0 { gradient } else { gradient.mul_scalar(self.settings.scale) };
        match (self.rule, moments.next()) {
            (Rule::Adam { beta2, epsilon, decoupled }, Some(second)) => {
                let adam = self.adam(beta2, epsilon, decoupled);
                if adam.pull != 0.0 {
                    gradient = gradient + values.clone().mul_scalar(adam.pull);
                }
                let first = first.mul_scalar(self.settings.momentum)
                    + gradient.clone().mul_scalar(1.0 - self.settings.momentum);
                let second = second.mul_scalar(beta2) + gradient.powi_scalar(2).mul_scalar(1.0 - beta2);
                let root = second.clone().sqrt().div_scalar(adam.correction).add_scalar(epsilon);
                let values = values.mul_scalar(adam.shrink) - (first.clone() / root).mul_scalar(adam.size);
                (values, vec![first, second])
            }
            _ => {
                let pull = self.decay + self.settings.penalty;
                if pull != 0.0 {
                    gradient = gradient + values.clone().mul_scalar(pull);
                }
                let velocity = first.mul_scalar(self.settings.momentum) + gradient;
                (values - velocity.clone().mul_scalar(self.settings.rate), vec![velocity])
            }
        }
    }

    fn adam(self, beta2: f64, epsilon: f64, decoupled: bool) -> AdamStep {
        let steps = self.number as i32;
        AdamStep {
            beta1: self.settings.momentum as f32,
            rest1: (1.0 - self.settings.momentum) as f32,
            beta2: beta2 as f32,
            rest2: (1.0 - beta2) as f32,
            epsilon: epsilon as f32,
            scale: self.settings.scale as f32,
            pull: (self.settings.penalty + if decoupled { 0.0 } else { self.decay }) as f32,
            shrink: (1.0 - if decoupled { self.settings.rate * self.decay } else { 0.0 }) as f32,
            size: (self.settings.rate / (1.0 - self.settings.momentum.powi(steps))) as f32,
            correction: (1.0 - beta2.powi(steps)).sqrt() as f32,
        }
    }
}

/// The constants of one step of Adam.
#[derive(Clone, Copy)]
struct AdamStep {
    beta1: f32,
    rest1: f32,
    beta2: f32,
    rest2: f32,
    epsilon: f32,
    scale: f32,
    pull: f32,
    shrink: f32,
    size: f32,
    correction: f32,
}

impl AdamStep {
    fn chunk(self, weights: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]) {
        for (((w, &g), m), v) in weights.iter_mut().zip(gradient).zip(first).zip(second) {
            let g = g * self.scale + self.pull * *w;
            *m = self.beta1 * *m + self.rest1 * g;
            *v = self.beta2 * *v + self.rest2 * g * g;
            *w = *w * self.shrink - self.size * *m / (v.sqrt() / self.correction + self.epsilon);
        }
    }
}

/// Conversion for checkpoints.
impl OptimizerState {
    pub fn to_vecs(&self) -> Vec<Vec<f32>> {
        self.moments.iter().cloned().map(parameters::to_vec).collect()
    }

    pub fn from_vecs(steps: u64, moments: Vec<Vec<f32>>, device: &Device) -> OptimizerState {
        OptimizerState { steps, moments: moments.into_iter().map(|values| flat_tensor(values, device)).collect() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::training::test_fit::{golden, numbers};

    fn optimizer(spec: &Value, on_cpu: bool) -> Optimizer {
        let mut training = serde_json::to_value(Training::default()).unwrap();
        training.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        Optimizer::new(&serde_json::from_value(training).unwrap(), on_cpu)
    }

    fn tensor(values: &Value) -> Tensor<1> {
        flat_tensor(numbers(values).into_iter().map(|v| v as f32).collect(), &Device::flex())
    }

    #[test]
    fn twenty_steps_equal_those_of_pytorch() {
        let golden = golden();
        let golden = &golden["optimizers"];
        let place = |path: &str, shape: Vec<usize>| ParameterInfo {
            path: path.to_owned(),
            shape,
            requires_grad: true,
            in_batch_norm: false,
        };
        let places = [place("matrix", vec![3, 5]), place("bias", vec![5])];
        for case in golden["cases"].as_array().unwrap() {
            for on_cpu in [true, false] {
                let mut optimizer = optimizer(&case["spec"], on_cpu);
                let mut weights = [tensor(&golden["matrix"]), tensor(&golden["bias"])];
                for gradients in golden["gradients"].as_array().unwrap() {
                    let of = |i: usize| (places[i].path.clone(), tensor(&gradients[i]));
                    let mut gradients: IndexMap<String, Tensor<1>> = [of(0), of(1)].into_iter().collect();
                    let scale = optimizer.scale(&mut gradients);
                    for (info, weight) in places.iter().zip(&mut weights) {
                        let gradient = gradients.swap_remove(&info.path).unwrap();
                        let momentum = case["spec"]["momentum"].as_f64().unwrap();
                        let step = WeightStep { rate: case["rate"].as_f64().unwrap(), momentum, penalty: 0.0, scale };
                        *weight = optimizer.update(info, weight.clone(), gradient, step);
                    }
                }
                for (weight, expected) in weights.into_iter().zip([&case["matrix"], &case["bias"]]) {
                    for (ours, theirs) in parameters::to_vec(weight).into_iter().zip(numbers(expected)) {
                        assert!((f64::from(ours) - theirs).abs() < 1e-5, "{ours}, not {theirs}: {}", case["spec"]);
                    }
                }
            }
        }
    }

    #[test]
    fn a_step_on_the_cpu_updates_the_weights_in_place() {
        let mut values = flat_tensor(vec![1.0; 100_000], &Device::flex());
        let mut address = 0;
        for _ in 0..3 {
            values = in_place(values, |values| {
                assert!(address == 0 || address == values.as_ptr() as usize, "the values were copied");
                address = values.as_ptr() as usize;
            });
        }
    }
}
