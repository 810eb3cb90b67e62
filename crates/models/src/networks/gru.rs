//! A gated recurrent unit (GRU) as in Keras 1, which is the third version of the paper: the reset gate is applied to the state
//! before the matrix product, gates are hard sigmoids (0.2 x + 0.5, clipped to 0…1), and there is one bias.
//!
//! Differences from the peers: the GRUs of burn and PyTorch apply the reset gate after the product and have two biases, so
//! their weights do not fit here. Names and layouts are still PyTorch's (`weight_ih_l0` is `[3 · hidden, inputs]`, gates in the
//! order reset, update, new), without `bias_hh_l0`. The inputs of all frames are multiplied in one matrix product.

use burn::module::{Module, Param};
use burn::tensor::activation::hard_sigmoid;
use burn::tensor::{Device, Tensor};

use super::init::{self, Fans, InitDistribution};
use super::layer_table::LayerTable;
use super::onnx::{Attribute, Graph, Value};

#[derive(Module, Debug)]
pub struct Gru {
    weight_ih_l0: Param<Tensor<2>>,
    weight_hh_l0: Param<Tensor<2>>,
    bias_ih_l0: Param<Tensor<1>>,
}

impl Gru {
    pub fn new(inputs: usize, hidden: usize, device: &Device) -> Gru {
        Gru {
            weight_ih_l0: Param::from_tensor(Tensor::zeros([inputs, 3 * hidden], device)),
            weight_hh_l0: Param::from_tensor(Tensor::zeros([hidden, 3 * hidden], device)),
            bias_ih_l0: Param::from_tensor(Tensor::zeros([3 * hidden], device)),
        }
    }

    /// Maps `[clips, frames, inputs]` to the states, `[clips, frames, hidden]`.
    pub fn forward(&self, sequence: Tensor<3>) -> Tensor<3> {
        let [clips, frames, inputs] = sequence.dims();
        let recurrent = self.weight_hh_l0.val();
        let hidden = recurrent.dims()[0];
        let from_inputs = sequence.reshape([clips * frames, inputs]).matmul(self.weight_ih_l0.val())
            + self.bias_ih_l0.val().unsqueeze::<2>();
        let from_inputs = from_inputs.reshape([clips, frames, 3 * hidden]);
        let for_gates = recurrent.clone().narrow(1, 0, 2 * hidden);
        let for_new = recurrent.narrow(1, 2 * hidden, hidden);
        let mut state = Tensor::zeros([clips, hidden], &from_inputs.device());
        let mut states = Vec::with_capacity(frames);
        for frame in 0..frames {
            let input = from_inputs.clone().narrow(1, frame, 1).reshape([clips, 3 * hidden]);
            let gates = input.clone().narrow(1, 0, 2 * hidden) + state.clone().matmul(for_gates.clone());
            let gates = hard_sigmoid(gates, 0.2, 0.5);
            let (reset, update) = (gates.clone().narrow(1, 0, hidden), gates.narrow(1, hidden, hidden));
            let new = input.narrow(1, 2 * hidden, hidden) + (reset * state.clone()).matmul(for_new.clone());
            let new = new.tanh();
            state = update * (state - new.clone()) + new;
            states.push(state.clone());
        }
        Tensor::stack(states, 1)
    }

    /// ONNX has this GRU: `linear_before_reset` is 0. Its gates are in the order update, reset, new.
    pub fn graph(&self, graph: &mut Graph, sequence: &Value) -> Value {
        let hidden = self.weight_hh_l0.dims()[0];
        let reordered = |matrix: Tensor<2>| {
            let gate = |number: usize| matrix.clone().narrow(1, number * hidden, hidden).swap_dims(0, 1);
            Tensor::cat(vec![gate(1), gate(0), gate(2)], 0).unsqueeze::<3>()
        };
        let [inputs, recurrent] =
            [&self.weight_ih_l0, &self.weight_hh_l0].map(|matrix| graph.weights(reordered(matrix.val())));
        // Six biases, of which the last three belong to the recurrent products.
        let bias = reordered(self.bias_ih_l0.val().unsqueeze()).reshape([1, 3 * hidden]);
        let bias = graph.weights(Tensor::cat(vec![bias.clone(), bias.zeros_like()], 1));
        let attributes = [
            Attribute::Int("hidden_size", hidden as i64),
            Attribute::Texts("activations", &["HardSigmoid", "Tanh"]),
            Attribute::Floats("activation_alpha", &[0.2]),
            Attribute::Floats("activation_beta", &[0.5]),
        ];
        // Frames × clips × inputs, and frames × directions × clips × hidden.
        let frames = sequence.shape[1];
        let frames_first = graph.swap(sequence, 0, 1);
        let states =
            graph.node("GRU", &[&frames_first, &inputs, &recurrent, &bias], &attributes, &[frames, 1, 1, hidden]);
        let states = graph.permute(&states, &[2, 0, 1, 3]);
        graph.reshape(&states, &[frames, hidden])
    }
}

/// Adds the row of a GRU whose input is `[frames, inputs]`.
pub fn row(name: &str, hidden: usize, table: &mut LayerTable) {
    let [frames, inputs] = table.shape[..] else { panic!("`{name}` needs a sequence, not {:?}", table.shape) };
    let weights = 3 * hidden * (inputs + hidden);
    table.add(name, format!("gru {hidden}"), vec![frames, hidden], weights + 3 * hidden, weights * frames);
}

/// Keras's: Glorot uniform for each gate, and an orthogonal matrix for the recurrent weights of each gate.
pub fn initial_weights(name: &str, fans: Fans) -> Option<InitDistribution> {
    match name.rsplit('.').next()? {
        "weight_hh_l0" => Some(InitDistribution::Orthogonal(3)),
        "weight_ih_l0" => Some(init::glorot_uniform(name, Fans { outputs: fans.outputs / 3, ..fans })),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn recurrent_matrices_have_orthonormal_rows() {
        let network = super::super::tests::tagging_crnn();
        let tensors = super::super::state_dict::tensors(&network);
        let recurrent = tensors.into_iter().find(|tensor| tensor.name == "gru2.weight_hh_l0").unwrap();
        assert_eq!(recurrent.shape, [96, 32]);
        let values = recurrent.into_values().unwrap();
        let row = |number: usize| &values[number * 32..][..32];
        for gate in 0..3 {
            for (a, b) in (0..32).flat_map(|a| (0..=a).map(move |b| (32 * gate + a, 32 * gate + b))) {
                let product: f32 = row(a).iter().zip(row(b)).map(|(x, y)| x * y).sum();
                assert!((product - f32::from(a == b)).abs() < 1e-5, "rows {a} and {b}: {product}");
            }
        }
        assert_ne!(row(0), row(32), "each gate has its own matrix");
    }
}
