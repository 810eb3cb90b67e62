//! Multilayer perceptron: a small dense network on the CPU, for features that are vectors.
//!
//! Conventions: as scikit-learn's MLPClassifier: rectified linear layers, a softmax, Glorot's uniform initial weights and biases,
//! Adam with the usual constants, batches of at most 200 clips in a new order in each epoch; the fit ends when the mean loss of
//! an epoch has not improved by `tolerance` for ten epochs. The initial weights differ, so the numbers do too. The networks of
//! `networks/` have augmentation, validation and the GPU; this model is for quick comparisons.
//!
//! Everything is f64 until the weights are stored. A batch is divided among threads in fixed parts, whose gradients are added in
//! order, so the number of threads does not change a bit.
//!
//! Memory: four numbers per weight, beside the activations of a batch.

use anyhow::{Result, ensure};
use rayon::prelude::*;

use super::naive_bayes::shares_of_logs;
use super::row_model::{Problem, RowClassifier, RowModel};
use super::rows::Rows;
use crate::Tensor;
use crate::products::{View, add_product};
use crate::tensor::{take_matrix, take_tensor};
use timbre_core::{
    registry::Fault,
    seed::{shuffle, uniform},
};

/// Rows that one thread computes at a time.
const PART: usize = 50;
/// Epochs without improvement after which the fit ends.
const PATIENCE: usize = 10;
/// The decay of the running mean of the gradient, and of its square.
const FIRST_DECAY: f64 = 0.9;
const SECOND_DECAY: f64 = 0.999;
const LEAST_DEVIATION: f64 = 1e-8;

row_spec! {
    /// Multilayer perceptron: dense layers with rectified linear units, and a softmax over the classes.
    pub struct Mlp {
        /// Standardize every column to zero mean and unit variance over the training clips first. Default: true.
        pub standardize: bool = true,
        /// The units of each hidden layer. Default: `[100]`.
        pub hidden_layer_sizes: Vec<usize> = vec![100],
        /// The weight of the squared weights in the loss. Default: 1e-4.
        #[schemars(range(min = 0.0))]
        pub alpha: f64 = 1e-4,
        /// The most clips of a batch. Default: 200.
        #[schemars(range(min = 1))]
        pub batch_size: usize = 200,
        /// The learning rate of Adam. Default: 1e-3.
        #[schemars(range(min = 1e-9, max = 10.0))]
        pub learning_rate: f64 = 1e-3,
        /// The maximum number of epochs. Default: 200.
        #[schemars(range(min = 1))]
        pub max_iterations: usize = 200,
        /// The improvement of the mean loss that counts. Default: 1e-4.
        #[schemars(range(min = 0.0))]
        pub tolerance: f64 = 1e-4,
    }
}

row_model!(Mlp, version 1);

impl RowModel for Mlp {
    type Fitted = Layers;

    fn own_faults(&self) -> Vec<Fault> {
        let fault = |wrong: bool, sentence: &str| wrong.then(|| sentence.to_owned());
        let sizes = &self.hidden_layer_sizes;
        let layers = sizes.len() > 16 || sizes.iter().any(|size| !(1..=65536).contains(size));
        let not_positive = |value: f64| !(value >= 0.0 && value.is_finite());
        Fault::of_keys([
            ("hidden_layer_sizes", fault(layers, "write at most 16 layers of 1 to 65536 units, such as [100]")),
            ("alpha", fault(not_positive(self.alpha), "write 0 for none, or a positive weight such as 1e-4")),
            ("batch_size", fault(self.batch_size == 0, "write 1 or more: a batch needs a clip")),
            (
                "learning_rate",
                fault(!(1e-9..=10.0).contains(&self.learning_rate), "write a rate between 1e-9 and 10, such as 1e-3"),
            ),
            ("max_iterations", fault(self.max_iterations == 0, "write 1 or more: at least one epoch is needed")),
            ("tolerance", fault(not_positive(self.tolerance), "write an improvement of 0 or more, such as 1e-4")),
        ])
    }

    fn fit_rows(&self, problem: &Problem) -> Result<Layers> {
        let &Problem { rows, targets, classes, seed, .. } = problem;
        let sizes: Vec<usize> =
            [rows.dims].into_iter().chain(self.hidden_layer_sizes.iter().copied()).chain([classes]).collect();
        let shape = Shape { sizes };
        let mut rng = seed.child("weights").rng();
        let mut weights = Vec::with_capacity(shape.len());
        for pair in shape.sizes.windows(2) {
            let bound = (6.0 / (pair[0] + pair[1]) as f64).sqrt();
            weights.extend((0..(pair[0] + 1) * pair[1]).map(|_| bound * (2.0 * uniform(&mut rng) - 1.0)));
        }
        let (mut first, mut second) = (vec![0.0; weights.len()], vec![0.0; weights.len()]);
        let mut rng = seed.child("order").rng();
        let mut order: Vec<usize> = (0..rows.len()).collect();
        let (mut best, mut without_improvement, mut steps, mut epochs, mut loss) = (f64::INFINITY, 0, 0i32, 0, 0.0);
        while epochs < self.max_iterations && without_improvement <= PATIENCE {
            epochs += 1;
            shuffle(&mut order, &mut rng);
            let mut total = 0.0;
            for batch in order.chunks(self.batch_size) {
                let parts: Vec<(f64, Vec<f64>)> =
                    batch.par_chunks(PART).map(|part| shape.gradient(&weights, rows, targets, part)).collect();
                let scale = 1.0 / batch.len() as f64;
                let mut gradient = vec![0.0; weights.len()];
                for (loss, part) in parts {
                    total += loss;
                    gradient.iter_mut().zip(part).for_each(|(sum, x)| *sum += scale * x);
                }
                total += shape.add_penalty(&weights, self.alpha * scale, &mut gradient) * batch.len() as f64;
                steps += 1;
                let rate =
                    self.learning_rate * (1.0 - SECOND_DECAY.powi(steps)).sqrt() / (1.0 - FIRST_DECAY.powi(steps));
                let moments = first.iter_mut().zip(&mut second);
                for ((weight, gradient), (first, second)) in weights.iter_mut().zip(gradient).zip(moments) {
                    *first = FIRST_DECAY * *first + (1.0 - FIRST_DECAY) * gradient;
                    *second = SECOND_DECAY * *second + (1.0 - SECOND_DECAY) * gradient * gradient;
                    *weight -= rate * *first / (second.sqrt() + LEAST_DEVIATION);
                }
            }
            loss = total / rows.len() as f64;
            without_improvement = if loss > best - self.tolerance { without_improvement + 1 } else { 0 };
            best = best.min(loss);
        }
        let weights = weights.into_iter().map(|weight| f64::from(weight as f32)).collect();
        let notes = vec![("epochs".to_owned(), epochs.to_string()), ("loss".to_owned(), format!("{loss:.4}"))];
        Ok(Layers { shape, weights, notes })
    }

    fn restore_rows(&self, tensors: &mut Vec<Tensor>, prefix: &str, classes: usize, dims: usize) -> Result<Layers> {
        let sizes: Vec<usize> =
            [dims].into_iter().chain(self.hidden_layer_sizes.iter().copied()).chain([classes]).collect();
        let mut all = Vec::new();
        for (layer, pair) in sizes.windows(2).enumerate() {
            let (inputs, outputs, weights) = take_matrix(tensors, &format!("{prefix}layer{layer}.weights"))?;
            let bias = take_tensor(tensors, &format!("{prefix}layer{layer}.bias"))?;
            ensure!(
                [inputs, outputs] == *pair && bias.len() == outputs,
                "`{prefix}layer{layer}.weights` is {inputs} x {outputs}, expected {} x {}",
                pair[0],
                pair[1]
            );
            all.extend(weights.into_iter().chain(bias).map(f64::from));
        }
        Ok(Layers { shape: Shape { sizes }, weights: all, notes: Vec::new() })
    }
}

/// The sizes of all layers, from the columns to the classes. The weights of a layer (row-major, a row per input) are followed by
/// its biases.
struct Shape {
    sizes: Vec<usize>,
}

impl Shape {
    fn len(&self) -> usize {
        self.sizes.windows(2).map(|pair| (pair[0] + 1) * pair[1]).sum()
    }

    /// Inputs, outputs, weights and biases of each layer.
    fn layers<'a>(&'a self, weights: &'a [f64]) -> impl Iterator<Item = (usize, usize, &'a [f64], &'a [f64])> {
        let mut rest = weights;
        self.sizes.windows(2).map(move |pair| {
            let (matrix, after) = rest.split_at(pair[0] * pair[1]);
            let (bias, after) = after.split_at(pair[1]);
            rest = after;
            (pair[0], pair[1], matrix, bias)
        })
    }

    /// The outputs of every layer for `count` rows: the rows themselves first, then the hidden layers, last the logits.
    fn forward(&self, weights: &[f64], rows: Vec<f64>, count: usize) -> Vec<Vec<f64>> {
        let mut outputs = vec![rows];
        for (layer, (inputs, width, matrix, bias)) in self.layers(weights).enumerate() {
            let mut output = bias.repeat(count);
            let input = View::new(&outputs[layer], count, inputs, inputs, 1);
            add_product(&mut output, width, 1, input, View::new(matrix, inputs, width, width, 1));
            if layer + 2 < self.sizes.len() {
                output.iter_mut().for_each(|x| *x = x.max(0.0));
            }
            outputs.push(output);
        }
        outputs
    }

    /// The sum of the losses of some rows, and its gradient.
    fn gradient(&self, weights: &[f64], rows: &Rows, targets: &[usize], part: &[usize]) -> (f64, Vec<f64>) {
        let count = part.len();
        let input = part.iter().flat_map(|&row| rows.row(row).iter().map(|&x| f64::from(x))).collect();
        let mut outputs = self.forward(weights, input, count);
        let classes = self.sizes[self.sizes.len() - 1];
        let mut back = outputs.pop().expect("the logits");
        let mut loss = 0.0;
        for (logits, &row) in back.chunks_exact_mut(classes).zip(part) {
            let (shares, _) = shares_of_logs(logits);
            loss -= shares[targets[row]].max(f64::MIN_POSITIVE).ln();
            logits.copy_from_slice(&shares);
            logits[targets[row]] -= 1.0;
        }
        let mut gradient = vec![0.0; weights.len()];
        let layers: Vec<_> = self.layers(weights).collect();
        let mut end = weights.len();
        for (layer, &(inputs, width, matrix, _)) in layers.iter().enumerate().rev() {
            let start = end - (inputs + 1) * width;
            let (of_matrix, of_bias) = gradient[start..end].split_at_mut(inputs * width);
            let view = View::new(&back, count, width, width, 1);
            add_product(of_matrix, width, 1, View::new(&outputs[layer], count, inputs, inputs, 1).transposed(), view);
            back.chunks_exact(width).for_each(|row| of_bias.iter_mut().zip(row).for_each(|(sum, x)| *sum += x));
            if layer > 0 {
                let mut before = vec![0.0; count * inputs];
                add_product(&mut before, inputs, 1, view, View::new(matrix, inputs, width, width, 1).transposed());
                // A unit that was cut to 0 passes nothing back.
                before.iter_mut().zip(&outputs[layer]).filter(|&(_, &out)| out <= 0.0).for_each(|(x, _)| *x = 0.0);
                back = before;
            }
            end = start;
        }
        (loss, gradient)
    }

    /// Adds the gradient of half `strength` times the squared weights (biases are free), and returns this penalty.
    fn add_penalty(&self, weights: &[f64], strength: f64, gradient: &mut [f64]) -> f64 {
        let (mut start, mut squares) = (0, 0.0);
        for (inputs, width, matrix, _) in self.layers(weights) {
            gradient[start..].iter_mut().zip(matrix).for_each(|(sum, weight)| *sum += strength * weight);
            squares += matrix.iter().map(|weight| weight * weight).sum::<f64>();
            start += (inputs + 1) * width;
        }
        0.5 * strength * squares
    }
}

/// A fitted network; its weights are those of f32.
pub struct Layers {
    shape: Shape,
    weights: Vec<f64>,
    notes: Vec<(String, String)>,
}

impl RowClassifier for Layers {
    fn shares(&self, row: &[f32]) -> (Vec<f64>, usize) {
        let row = row.iter().map(|&x| f64::from(x)).collect();
        let outputs = self.shape.forward(&self.weights, row, 1);
        shares_of_logs(&outputs[outputs.len() - 1])
    }

    fn tensors(&self, prefix: &str) -> Vec<Tensor> {
        let narrow = |values: &[f64]| values.iter().map(|&x| x as f32).collect();
        let mut tensors = Vec::new();
        for (layer, (inputs, width, matrix, bias)) in self.shape.layers(&self.weights).enumerate() {
            let name = |part: &str| format!("{prefix}layer{layer}.{part}");
            tensors.push(Tensor::new(&name("weights"), vec![inputs, width], narrow(matrix)));
            tensors.push(Tensor::new(&name("bias"), vec![width], narrow(bias)));
        }
        tensors
    }

    fn notes(&self) -> Vec<(String, String)> {
        self.notes.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbre_core::seed::Seed;

    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        let shape = Shape { sizes: vec![3, 4, 2, 3] };
        let mut rng = Seed::new(5).rng();
        let mut numbers = |count: usize| -> Vec<f64> { (0..count).map(|_| uniform(&mut rng) - 0.5).collect() };
        let rows = Rows::new(3, numbers(21).iter().map(|&x| x as f32).collect());
        let weights = numbers(shape.len());
        let (targets, part) = ([0, 1, 2, 0, 1, 2, 0], [0, 1, 2, 3, 4, 5, 6]);
        let loss = |weights: &[f64]| {
            let mut penalty = vec![0.0; weights.len()];
            shape.gradient(weights, &rows, &targets, &part).0 + shape.add_penalty(weights, 0.3, &mut penalty)
        };
        let (_, mut gradient) = shape.gradient(&weights, &rows, &targets, &part);
        shape.add_penalty(&weights, 0.3, &mut gradient);
        for at in 0..weights.len() {
            let moved = |by: f64| {
                let mut weights = weights.clone();
                weights[at] += by;
                loss(&weights)
            };
            let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((slope - gradient[at]).abs() < 1e-6, "weight {at}: {slope} {}", gradient[at]);
        }
    }

    #[test]
    fn a_network_learns_what_no_line_separates() {
        let rows = Rows::new(2, [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]].repeat(20).concat());
        let targets: Vec<usize> = [0, 1, 1, 0].repeat(20);
        let problem = Problem { rows: &rows, targets: &targets, classes: 2, weights: None, seed: Seed::new(1) };
        let layers = Mlp { learning_rate: 0.02, ..Mlp::default() }.fit_rows(&problem).unwrap();
        assert!((0..4).all(|row| layers.shares(rows.row(row)).1 == targets[row]), "{:?}", layers.notes);
    }
}
