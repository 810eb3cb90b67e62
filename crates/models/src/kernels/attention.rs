//! Attention over the tokens of a clip, as one operation of burn's CPU backend.
//!
//! Queries, keys and values stand beside each other in the rows of one matrix, as a single linear layer makes them. The weights of
//! the tokens are computed for some queries at a time and are not kept: the gradient computes them again, which costs one of six
//! products and saves `heads × tokens²` values a clip.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::bridge::{dense, shape_of, values_of};
use super::simd::{Kernel, Vector, exp, on_best};
use super::sums::{LANES, sum};
use crate::products::{View, add_product};

/// Queries at a time: their weights stay in the second-level cache.
const ROWS: usize = 64;

#[backend_extension(Flex, Autodiff)]
pub trait Attend: Backend {
    fn attend(qkv: FloatTensor<Self>, heads: usize) -> FloatTensor<Self>;
}

/// The values of all tokens mixed for each token, on the CPU: `[clip, token, 3 × head × value]` becomes `[clip, token, head × value]`.
pub fn attend(qkv: Tensor<3>, heads: usize) -> Tensor<3> {
    Tensor::from_dispatch(Dispatch::attend(qkv.into_dispatch(), heads))
}

#[derive(Clone, Copy)]
struct Sizes {
    tokens: usize,
    heads: usize,
    /// Values of a head.
    each: usize,
}

impl Sizes {
    fn new(qkv: &FlexTensor, heads: usize) -> (usize, Sizes) {
        let [clips, tokens, columns] = shape_of(qkv);
        (clips, Sizes { tokens, heads, each: columns / (3 * heads) })
    }

    fn columns(self) -> usize {
        self.heads * self.each
    }

    /// Calls `work` for each head of each clip, with the queries, keys and values of the clip.
    fn for_each_head<T: Send>(self, qkv: &[f32], work: impl Fn(usize, Head) -> T + Sync) -> Vec<T> {
        let clips = qkv.len() / (3 * self.tokens * self.columns()).max(1);
        let of = |nth: usize| {
            let (clip, head) = (nth / self.heads, nth % self.heads);
            let row = 3 * self.columns();
            work(nth, Head { sizes: self, qkv: &qkv[clip * self.tokens * row..][..self.tokens * row], head })
        };
        (0..clips * self.heads).into_par_iter().map(of).collect()
    }

    /// Puts the rows of every head of every clip side by side: `parts` matrices for each head.
    fn beside_each_other(self, heads: &[Vec<f32>], parts: usize) -> Vec<f32> {
        let (row, columns) = (parts * self.columns(), self.columns());
        let mut out = vec![0.0; heads.len() / self.heads * self.tokens * row];
        out.par_chunks_mut(row).enumerate().for_each(|(nth, out)| {
            let (clip, token) = (nth / self.tokens, nth % self.tokens);
            for (head, from) in heads[clip * self.heads..][..self.heads].iter().enumerate() {
                for part in 0..parts {
                    let from = &from[(part * self.tokens + token) * self.each..][..self.each];
                    out[part * columns + head * self.each..][..self.each].copy_from_slice(from);
                }
            }
        });
        out
    }
}

/// One head of one clip.
struct Head<'a> {
    sizes: Sizes,
    qkv: &'a [f32],
    head: usize,
}

impl<'a> Head<'a> {
    /// The queries (0), keys (1) or values (2) of tokens.
    fn part(&self, part: usize, tokens: std::ops::Range<usize>) -> View<'a, f32> {
        let Sizes { each, .. } = self.sizes;
        let row = 3 * self.sizes.columns();
        let start = tokens.start * row + part * self.sizes.columns() + self.head * each;
        View::new(&self.qkv[start..], tokens.len(), each, row, 1)
    }

    /// The weights of all tokens for some queries.
    fn weights(&self, queries: std::ops::Range<usize>) -> Vec<f32> {
        let Sizes { tokens, .. } = self.sizes;
        let mut weights = vec![0.0; queries.len() * tokens];
        add_product(&mut weights, tokens, 1, self.part(0, queries), self.part(1, 0..tokens).transposed());
        on_best(0, Softmax { rows: &mut weights, tokens, scale: self.scale() });
        weights
    }

    fn scale(&self) -> f32 {
        (self.sizes.each as f32).sqrt().recip()
    }

    fn blocks(&self) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
        let tokens = self.sizes.tokens;
        (0..tokens).step_by(ROWS).map(move |start| start..(start + ROWS).min(tokens))
    }

    fn forward(&self) -> Vec<f32> {
        let Sizes { tokens, each, .. } = self.sizes;
        let mut out = vec![0.0; tokens * each];
        for block in self.blocks() {
            let weights = self.weights(block.clone());
            let weights = View::new(&weights, block.len(), tokens, tokens, 1);
            add_product(&mut out[block.start * each..], each, 1, weights, self.part(2, 0..tokens));
        }
        out
    }

    /// The gradients of queries, keys and values below each other; `dy` is that of the mixed values of the clip.
    fn gradients(&self, dy: &[f32]) -> Vec<f32> {
        let Sizes { tokens, each, .. } = self.sizes;
        let columns = self.sizes.columns();
        let mut out = vec![0.0; 3 * tokens * each];
        let (dq, rest) = out.split_at_mut(tokens * each);
        let (dk, dv) = rest.split_at_mut(tokens * each);
        for block in self.blocks() {
            let weights = self.weights(block.clone());
            let dy = View::new(&dy[block.start * columns + self.head * each..], block.len(), each, columns, 1);
            let view = View::new(&weights, block.len(), tokens, tokens, 1);
            add_product(dv, each, 1, view.transposed(), dy);
            let mut slopes = vec![0.0; block.len() * tokens];
            add_product(&mut slopes, tokens, 1, dy, self.part(2, 0..tokens).transposed());
            on_best(0, SoftmaxGradient { weights: &weights, slopes: &mut slopes, tokens, scale: self.scale() });
            let slopes = View::new(&slopes, block.len(), tokens, tokens, 1);
            add_product(&mut dq[block.start * each..], each, 1, slopes, self.part(1, 0..tokens));
            add_product(dk, each, 1, slopes.transposed(), self.part(0, block));
        }
        out
    }
}

/// Makes scores weights: the softmax of each row times `scale`.
struct Softmax<'a> {
    rows: &'a mut [f32],
    tokens: usize,
    scale: f32,
}

impl Kernel for Softmax<'_> {
    type Result = ();

    #[inline(always)]
    fn with<V: Vector, const P: usize>(self) {
        for row in self.rows.chunks_exact_mut(self.tokens) {
            let mut largest = [f32::NEG_INFINITY; LANES];
            for part in row.chunks(LANES) {
                for (most, &value) in largest.iter_mut().zip(part) {
                    *most = if value > *most { value } else { *most };
                }
            }
            let largest = largest.into_iter().fold(f32::NEG_INFINITY, f32::max);
            row.iter_mut().for_each(|value| *value = exp((*value - largest) * self.scale));
            let factor = 1.0 / sum(row.len(), |i| row[i]);
            row.iter_mut().for_each(|value| *value *= factor);
        }
    }
}

/// Makes gradients of weights (`slopes`) those of the products of queries and keys.
struct SoftmaxGradient<'a> {
    weights: &'a [f32],
    slopes: &'a mut [f32],
    tokens: usize,
    scale: f32,
}

impl Kernel for SoftmaxGradient<'_> {
    type Result = ();

    #[inline(always)]
    fn with<V: Vector, const P: usize>(self) {
        for (weights, slopes) in self.weights.chunks_exact(self.tokens).zip(self.slopes.chunks_exact_mut(self.tokens)) {
            let mean = sum(weights.len(), |i| weights[i] * slopes[i]);
            slopes.iter_mut().zip(weights).for_each(|(slope, weight)| *slope = weight * (*slope - mean) * self.scale);
        }
    }
}

impl Attend for Flex {
    fn attend(qkv: FlexTensor, heads: usize) -> FlexTensor {
        let (clips, sizes) = Sizes::new(&qkv, heads);
        let qkv = qkv.to_contiguous();
        let mixed = sizes.for_each_head(values_of(&qkv), |_, head| head.forward());
        dense(sizes.beside_each_other(&mixed, 1), [clips, sizes.tokens, sizes.columns()])
    }
}

#[derive(Debug)]
struct AttendBackward;

impl Backward<Flex, 1> for AttendBackward {
    /// Queries, keys and values, and the number of heads.
    type State = (FlexTensor, usize);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let ([Some(node)], (qkv, heads)) = (ops.parents, ops.state) else { return };
        let (clips, sizes) = Sizes::new(&qkv, heads);
        let qkv = qkv.to_contiguous();
        let clip = sizes.tokens * sizes.columns();
        let gradients = sizes.for_each_head(values_of(&qkv), |nth, head| {
            head.gradients(&values_of(&dy)[nth / sizes.heads * clip..][..clip])
        });
        let dqkv = sizes.beside_each_other(&gradients, 3);
        grads.register::<Flex>(node.id, dense(dqkv, [clips, sizes.tokens, 3 * sizes.columns()]));
    }
}

impl<C: CheckpointStrategy> Attend for Autodiff<Flex, C> {
    fn attend(qkv: FloatTensor<Self>, heads: usize) -> FloatTensor<Self> {
        let (qkv, node) = qkv.into_parts();
        let out = Flex::attend(qkv.clone(), heads);
        match AttendBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((qkv, heads), out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::activation::softmax;
    use burn::tensor::{Device, TensorData};

    use super::super::twins::noise;
    use super::*;
    use crate::device::read;

    /// The same with burn's operations.
    fn in_steps(qkv: Tensor<3>, heads: usize) -> Tensor<3> {
        let [clips, tokens, columns] = qkv.dims();
        let each = columns / (3 * heads);
        let qkv = qkv.reshape([clips, tokens, 3 * heads, each]).swap_dims(1, 2);
        let [query, key, value] = [0, 1, 2].map(|part| qkv.clone().narrow(1, part * heads, heads));
        let weights = query.matmul(key.swap_dims(2, 3)) * (each as f64).powf(-0.5);
        softmax(weights, 3).matmul(value).swap_dims(1, 2).reshape([clips, tokens, heads * each])
    }

    #[test]
    fn outputs_and_gradients_equal_those_in_steps() {
        let device = Device::flex().autodiff();
        for (clips, tokens, heads, each) in [(1, 1, 1, 1), (2, 5, 3, 7), (3, 64, 2, 16), (2, 150, 2, 24)] {
            let shape = [clips, tokens, 3 * heads * each];
            let values = noise(shape.iter().product(), 1).into_iter().map(|value| 4.0 * value).collect();
            let qkv = Tensor::<3>::from_data(TensorData::new::<f32, _>(values, shape), &device).require_grad();
            let dy = noise(clips * tokens * heads * each, 2);
            let dy = Tensor::<3>::from_data(TensorData::new(dy, [clips, tokens, heads * each]), &device);
            let of = |out: Tensor<3>| {
                let gradient = qkv.grad(&(out.clone() * dy.clone()).sum().backward()).unwrap();
                (read(out), read(gradient))
            };
            let (ours, theirs) = (of(attend(qkv.clone(), heads)), of(in_steps(qkv.clone(), heads)));
            for (ours, theirs) in [(ours.0, theirs.0), (ours.1, theirs.1)] {
                assert_eq!(ours.len(), theirs.len());
                for (ours, theirs) in ours.iter().zip(&theirs) {
                    assert!((ours - theirs).abs() < 1e-4, "{shape:?}: {ours}, burn {theirs}");
                }
            }
        }
    }

    #[test]
    fn a_clip_alone_gives_the_same_bits_as_in_a_batch() {
        let shape = [3, 70, 3 * 2 * 8];
        let qkv = Tensor::<3>::from_data(TensorData::new(noise(shape.iter().product(), 3), shape), &Device::flex());
        let together = attend(qkv.clone(), 2).narrow(0, 1, 1);
        assert_eq!(together.into_data(), attend(qkv.narrow(0, 1, 1), 2).into_data());
    }

    #[test]
    fn scores_that_are_not_finite_are_not_hidden() {
        let qkv = vec![f32::NAN, 1.0, 1.0, 1.0, 1.0, 1.0];
        let out = attend(Tensor::from_data(TensorData::new(qkv, [1, 2, 3]), &Device::flex()), 1);
        assert!(read(out).iter().any(|value| value.is_nan()));
    }
}
