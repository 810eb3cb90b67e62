//! An exponential moving average (EMA) of all weights and batch-norm statistics, used for prediction instead of them.
//!
//! Conventions: after step n the average moves by 1 − min(decay, (1 + n) / (10 + n)) of the distance to the weights, as
//! TensorFlow's ExponentialMovingAverage with `num_updates`: at the beginning it forgets the initial weights faster than with the
//! decay alone.

use burn::tensor::{Device, Tensor};
use indexmap::IndexMap;

use crate::networks::Network;
use crate::networks::parameters::{self, flat_tensor};

#[derive(Clone)]
pub struct WeightEma {
    decay: f64,
    steps: u64,
    values: IndexMap<String, Tensor<1>>,
}

impl WeightEma {
    /// Starts at the weights of a network.
    pub fn new(decay: f64, network: &Network) -> WeightEma {
        let mut values = IndexMap::new();
        parameters::sync_statistics(network);
        parameters::visit(network, &mut |info, tensor| {
            values.insert(info.path.clone(), tensor);
        });
        WeightEma { decay, steps: 0, values }
    }

    /// Moves the average towards the network after a step.
    pub fn update(&mut self, network: &Network) {
        self.steps += 1;
        let n = self.steps as f64;
        let share = 1.0 - self.decay.min((1.0 + n) / (10.0 + n));
        parameters::sync_statistics(network);
        parameters::visit(network, &mut |info, tensor| {
            if let Some(value) = self.values.get_mut(&info.path) {
                // A value that does not change keeps its bits.
                let change = (tensor - value.clone()).mul_scalar(share);
                *value = value.clone() + change;
            }
        });
    }

    /// The network with the average in the place of its weights.
    pub fn apply(&self, network: Network) -> Network {
        parameters::map(network, &mut |info, values| self.values.get(&info.path).cloned().unwrap_or(values))
    }

    /// The number of steps and the values, for a checkpoint.
    pub fn to_vecs(&self) -> (u64, Vec<(String, Vec<f32>)>) {
        let to_vec = |(path, tensor): (&String, &Tensor<1>)| (path.clone(), parameters::to_vec(tensor.clone()));
        (self.steps, self.values.iter().map(to_vec).collect())
    }

    pub fn from_vecs(decay: f64, steps: u64, values: Vec<(String, Vec<f32>)>, device: &Device) -> WeightEma {
        let values = values.into_iter().map(|(path, values)| (path, flat_tensor(values, device))).collect();
        WeightEma { decay, steps, values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::networks::InputShape;
    use crate::networks::NetworkKind;
    use crate::networks::cnn_small::CnnSmall;
    use crate::training::checkpoint::values_of;
    use timbre_core::seed::Seed;

    /// A network in which every value is `value`.
    fn filled(value: f32) -> Network {
        let input = InputShape { channels: 1, height: 4, width: 4 };
        let spec = CnnSmall { filters: vec![2], ..Default::default() };
        let network = spec.build(input, 2, Seed::new(1), &Device::flex()).unwrap();
        parameters::map(network, &mut |_, tensor| tensor.zeros_like() + value)
    }

    #[test]
    fn an_average_follows_weights_and_statistics_faster_at_the_beginning() {
        let mut average = WeightEma::new(0.25, &filled(1.0));
        // Shares of 1 − 2/11, then 1 − 0.25 as 3/12 is no longer below the decay.
        average.update(&filled(2.0));
        let after_one = 1.0 + (1.0 - 2.0 / 11.0);
        average.update(&filled(3.0));
        let after_two = after_one + (3.0 - after_one) * 0.75;
        let values = values_of(&average.apply(filled(0.0)));
        assert!(values.contains_key("blocks.0.bn.running_var") && values.len() == 7);
        assert!(values.values().flatten().all(|v| (f64::from(*v) - after_two).abs() < 1e-6), "{values:?}");
    }

    #[test]
    fn a_constant_value_keeps_its_bits() {
        let mut average = WeightEma::new(0.999, &filled(0.1));
        (0..50).for_each(|_| average.update(&filled(0.1)));
        assert!(values_of(&average.apply(filled(0.0))).values().flatten().all(|v| *v == 0.1));
    }
}
