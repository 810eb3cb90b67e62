//! A moving average of all weights and batch-norm statistics, which predicts instead of them.
//!
//! Conventions: after step n the average moves by 1 − min(decay, (1 + n) / (10 + n)) of the way to the weights, as
//! TensorFlow's ExponentialMovingAverage with `num_updates`: at the beginning it forgets the first weights faster than the
//! decay would.

use burn::tensor::{Device, Tensor};
use indexmap::IndexMap;

use super::parameters::{self, flat};
use crate::models::networks::Network;

#[derive(Clone)]
pub struct Average {
    decay: f64,
    steps: u64,
    values: IndexMap<String, Tensor<1>>,
}

impl Average {
    /// Begins at the weights of a network.
    pub fn new(decay: f64, network: &Network) -> Average {
        let mut values = IndexMap::new();
        parameters::settle(network);
        parameters::visit(network, &mut |place, tensor| {
            values.insert(place.path.clone(), tensor);
        });
        Average { decay, steps: 0, values }
    }

    /// Moves towards a network after a step.
    pub fn follow(&mut self, network: &Network) {
        self.steps += 1;
        let n = self.steps as f64;
        let share = 1.0 - self.decay.min((1.0 + n) / (10.0 + n));
        parameters::settle(network);
        parameters::visit(network, &mut |place, tensor| {
            if let Some(value) = self.values.get_mut(&place.path) {
                // What stands still is left alone to the bit.
                let way = (tensor - value.clone()).mul_scalar(share);
                *value = value.clone() + way;
            }
        });
    }

    /// A network with the average for its weights.
    pub fn applied(&self, network: Network) -> Network {
        parameters::map(network, &mut |place, values| self.values.get(&place.path).cloned().unwrap_or(values))
    }

    /// What is written to a checkpoint.
    pub fn copied(&self) -> (u64, Vec<(String, Vec<f32>)>) {
        let copied = |(path, tensor): (&String, &Tensor<1>)| (path.clone(), parameters::copied(tensor.clone()));
        (self.steps, self.values.iter().map(copied).collect())
    }

    pub fn restored(decay: f64, steps: u64, values: Vec<(String, Vec<f32>)>, device: &Device) -> Average {
        let values = values.into_iter().map(|(path, values)| (path, flat(values, device))).collect();
        Average { decay, steps, values }
    }
}
