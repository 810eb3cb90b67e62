//! Support vector machine with a kernel.
//!
//! Conventions: as scikit-learn's SVC: one machine per pair of classes, and a clip gets the class with the most votes, the first
//! of equals. The solver is sequential minimal optimization with second-order working sets (Fan, Chen and Lin 2005), without
//! shrinking; `tolerance` bounds the violation of the optimality conditions, as libsvm's `eps` does.
//!
//! Probabilities: a logistic curve per pair (Platt; Lin, Lin and Weng 2007), fitted to scores of five stratified folds, and
//! their coupling (Wu, Lin and Weng 2004, second method), solved exactly. libsvm does the same with random folds and stops the
//! coupling early. A class with the most votes has the largest probability, whatever the coupling says.
//!
//! Memory: the kernel of all pairs of training clips in f32, 4n² bytes. Training sets beyond `MOST_ROWS` are refused.

use anyhow::{Result, bail, ensure};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::calibrated_centroids::platt;
use super::calibration::{FOLDS, stratified_folds};
use super::newton::sigmoid;
use super::preparation::Rows;
use super::products::{PANEL_COLUMNS, View, add_product, dot, squared_distance};
use super::row_model::{ClassWeight, Problem, RowClassifier, RowModel};
use crate::Tensor;
use crate::tensor::{chunk_ranges, take_matrix, take_tensor};
use timbre_core::registry::Fault;
use timbre_evaluation::predictions::argmax;

/// The most training clips: their kernel has 2 GiB.
const MOST_ROWS: usize = 23_170;

/// How similar two clips are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kernel {
    /// `exp(-gamma * squared distance)`.
    #[default]
    Rbf,
    /// The inner product.
    Linear,
}

/// The width of the RBF kernel.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Gamma {
    Named(NamedGamma),
    /// The factor of the squared distance.
    Value(f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NamedGamma {
    /// One over the number of columns times the variance of all values.
    Scale,
    /// One over the number of columns.
    Auto,
}

row_spec! {
    /// Support vector machine: a boundary between each pair of classes with the widest margin, in the space of a kernel.
    pub struct Svm {
        /// Standardize every column to zero mean and unit variance over the training clips first. Default: true.
        pub standardize: bool = true,
        /// How similar two clips are: "rbf" (falls with their squared distance) or "linear" (inner product). Default: "rbf".
        pub kernel: Kernel = Kernel::Rbf,
        /// The weight of the training loss: smaller values regularize more. Default: 1.0.
        #[schemars(range(min = 1e-12, max = 1e12))]
        pub c: f64 = 1.0,
        /// How fast the RBF kernel falls: "scale" (1 / (columns * variance of all values)), "auto" (1 / columns), or a number.
        /// Default: "scale".
        pub gamma: Gamma = Gamma::Named(NamedGamma::Scale),
        /// When to stop: the largest violation of the optimality conditions. Default: 1e-3.
        #[schemars(range(min = 1e-12, max = 1.0))]
        pub tolerance: f64 = 1e-3,
        /// "balanced" weights the clips in inverse proportion to the frequency of their class. Default: all count 1.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub class_weight: Option<ClassWeight> = None,
    }
}

row_model!(Svm, version 1);

impl RowModel for Svm {
    type Fitted = Machines;

    const USES_WEIGHTS: bool = true;

    fn own_faults(&self) -> Vec<Fault> {
        let c = !(1e-12..=1e12).contains(&self.c);
        let tolerance = !(1e-12..=1.0).contains(&self.tolerance);
        let gamma = matches!(self.gamma, Gamma::Value(gamma) if !(gamma > 0.0 && gamma.is_finite()));
        Fault::of_keys([
            ("c", c.then(|| "write a weight of the loss between 1e-12 and 1e12".to_owned())),
            ("gamma", gamma.then(|| "write \"scale\", \"auto\" or a positive number".to_owned())),
            ("tolerance", tolerance.then(|| "write a violation between 1e-12 and 1".to_owned())),
        ])
    }

    fn fit_rows(&self, problem: &Problem) -> Result<Machines> {
        let &Problem { rows, targets, classes, .. } = problem;
        ensure!(
            rows.len() <= MOST_ROWS,
            "fit svm: {} training clips are more than the {MOST_ROWS} whose kernel fits into 2 GiB; choose `linear_svm`, or fewer clips",
            rows.len()
        );
        let similarity = Similarity { kernel: self.kernel, gamma: self.gamma_of(rows) };
        let matrix = similarity.matrix(rows);
        let costs: Vec<f64> = problem.row_weights(self.class_weight).iter().map(|w| w * self.c).collect();
        let pairs: Vec<[usize; 2]> = (0..classes).flat_map(|i| (i + 1..classes).map(move |j| [i, j])).collect();
        let solved: Vec<PairMachine> = pairs
            .par_iter()
            .map(|&pair| PairMachine::fit(&matrix, rows.len(), targets, &costs, pair, self.tolerance))
            .collect::<Result<_>>()?;
        let used: Vec<usize> =
            (0..rows.len()).filter(|&row| solved.iter().any(|machine| machine.coefficients[row] != 0.0)).collect();
        let coefficients =
            solved.iter().flat_map(|machine| used.iter().map(|&row| machine.coefficients[row])).collect();
        let steps = solved.iter().map(|machine| machine.steps).sum::<usize>();
        Ok(Machines {
            classes,
            similarity,
            vectors: rows.subset(&used),
            coefficients,
            offsets: solved.iter().map(|machine| machine.offset).collect(),
            curves: solved.iter().flat_map(|machine| machine.curve).collect(),
            notes: vec![
                ("support vectors".to_owned(), used.len().to_string()),
                ("solver steps".to_owned(), steps.to_string()),
            ],
        })
    }

    fn restore_rows(&self, tensors: &mut Vec<Tensor>, prefix: &str, classes: usize, dims: usize) -> Result<Machines> {
        let (count, columns, vectors) = take_matrix(tensors, &format!("{prefix}support_vectors"))?;
        let (pairs, width, coefficients) = take_matrix(tensors, &format!("{prefix}coefficients"))?;
        let mut take = |name: &str| take_tensor(tensors, &format!("{prefix}{name}"));
        let (offsets, curves, gamma) = (take("offsets")?, take("curves")?, take("gamma")?);
        let expected = classes * (classes - 1) / 2;
        ensure!(
            columns == dims
                && width == count
                && gamma.len() == 1
                && [pairs, offsets.len(), curves.len() / 2] == [expected; 3],
            "`{prefix}coefficients` has {pairs} rows of {width}, expected {expected} of {count}"
        );
        let similarity = Similarity { kernel: self.kernel, gamma: gamma[0] };
        let vectors = Rows { dims, values: vectors };
        Ok(Machines { classes, similarity, vectors, coefficients, offsets, curves, notes: Vec::new() })
    }
}

impl Svm {
    fn gamma_of(&self, rows: &Rows) -> f32 {
        let dims = rows.dims as f64;
        let gamma = match self.gamma {
            Gamma::Value(gamma) => gamma,
            Gamma::Named(NamedGamma::Auto) => 1.0 / dims,
            Gamma::Named(NamedGamma::Scale) => {
                let n = rows.values.len() as f64;
                let mean = rows.values.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
                let variance = rows.values.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
                if variance > 0.0 { 1.0 / (dims * variance) } else { 1.0 }
            }
        };
        (gamma as f32).max(f32::MIN_POSITIVE)
    }
}

/// The kernel with its parameter.
#[derive(Clone, Copy)]
struct Similarity {
    kernel: Kernel,
    gamma: f32,
}

/// Rows and columns of a tile of the kernel matrix.
const TILE: usize = 256;

impl Similarity {
    fn of(self, a: &[f32], b: &[f32]) -> f64 {
        match self.kernel {
            Kernel::Rbf => (-f64::from(self.gamma) * squared_distance(a, b)).exp(),
            Kernel::Linear => dot(a, b),
        }
    }

    /// The kernel of all pairs of rows.
    fn matrix(self, rows: &Rows) -> Vec<f32> {
        let n = rows.len();
        // Centred, which changes no distance and keeps a large mean out of the products.
        let mut mean = vec![0.0; rows.dims];
        if self.kernel == Kernel::Rbf {
            rows.iter().for_each(|row| mean.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x)));
            mean.iter_mut().for_each(|sum| *sum /= n as f64);
        }
        let square = |row: &[f32]| row.iter().zip(&mean).map(|(&x, m)| (f64::from(x) - m).powi(2)).sum::<f64>();
        let squares: Vec<f64> = rows.values.par_chunks_exact(rows.dims).map(square).collect();
        let strips = chunk_ranges(n, TILE);
        let widen = |strip: &std::ops::Range<usize>, columns: &std::ops::Range<usize>| -> Vec<f64> {
            let row = |i: usize| rows.row(i)[columns.clone()].iter().zip(&mean[columns.clone()]);
            strip.clone().flat_map(|i| row(i).map(|(&x, m)| f64::from(x) - m)).collect()
        };
        let mut matrix = vec![0.0f32; n * n];
        // One thread makes a strip of rows, up to the diagonal.
        matrix.par_chunks_mut(TILE * n).zip(&strips).for_each(|(out, strip)| {
            for other in &strips[..strip.start / TILE + 1] {
                let mut products = vec![0.0; strip.len() * other.len()];
                for columns in chunk_ranges(rows.dims, PANEL_COLUMNS) {
                    let (a, b) = (widen(strip, &columns), widen(other, &columns));
                    let depth = columns.len();
                    let (a, b) =
                        (View::new(&a, strip.len(), depth, depth, 1), View::new(&b, other.len(), depth, depth, 1));
                    add_product(&mut products, other.len(), 1, a, b.transposed());
                }
                for (r, products) in products.chunks_exact(other.len()).enumerate() {
                    for (c, &product) in products.iter().enumerate() {
                        let value = match self.kernel {
                            Kernel::Linear => product,
                            Kernel::Rbf => {
                                let square = squares[strip.start + r] + squares[other.start + c] - 2.0 * product;
                                (-f64::from(self.gamma) * square.max(0.0)).exp()
                            }
                        };
                        out[r * n + other.start + c] = value as f32;
                    }
                }
            }
        });
        for i in 0..n {
            for j in i + 1..n {
                matrix[i * n + j] = matrix[j * n + i];
            }
        }
        matrix
    }
}

/// The machine of a pair of classes.
struct PairMachine {
    /// Of each row of the training set.
    coefficients: Vec<f32>,
    offset: f32,
    /// Slope and offset of the curve from scores to probabilities of the first class.
    curve: [f32; 2],
    steps: usize,
}

impl PairMachine {
    fn fit(
        matrix: &[f32],
        n: usize,
        targets: &[usize],
        costs: &[f64],
        [first, second]: [usize; 2],
        tolerance: f64,
    ) -> Result<PairMachine> {
        let members: Vec<usize> = (0..n).filter(|&row| targets[row] == first || targets[row] == second).collect();
        let solve = |active: &[usize]| {
            let signs: Vec<f64> = active.iter().map(|&row| if targets[row] == first { 1.0 } else { -1.0 }).collect();
            let costs: Vec<f64> = active.iter().map(|&row| costs[row]).collect();
            let kernel = |i: usize| &matrix[active[i] * n..(active[i] + 1) * n];
            solve(kernel, active, &signs, &costs, tolerance)
        };
        let whole = solve(&members)?;
        let pair: Vec<usize> = members.iter().map(|&row| usize::from(targets[row] == second)).collect();
        let folds = stratified_folds(&pair, 2);
        let scores_of = |fold: usize| -> Result<Vec<(usize, f64)>> {
            let side = |inside: bool| -> Vec<usize> {
                members.iter().zip(&folds).filter(|&(_, &f)| (f == fold) == inside).map(|(&row, _)| row).collect()
            };
            let (held_out, kept) = (side(true), side(false));
            let one_class = kept.iter().all(|&row| targets[row] == targets[kept[0]]);
            if kept.is_empty() || one_class {
                let score = kept.first().map_or(0.0, |&row| if targets[row] == first { 1.0 } else { -1.0 });
                return Ok(held_out.into_iter().map(|row| (row, score)).collect());
            }
            let solution = solve(&kept)?;
            let score = |&row: &usize| {
                let values = &matrix[row * n..(row + 1) * n];
                let terms = kept.iter().zip(&solution.coefficients).map(|(&other, c)| c * f64::from(values[other]));
                (row, terms.sum::<f64>() - solution.threshold)
            };
            Ok(held_out.iter().map(score).collect())
        };
        let scores: Vec<Vec<(usize, f64)>> = (0..FOLDS).into_par_iter().map(scores_of).collect::<Result<_>>()?;
        let (margins, sides): (Vec<f64>, Vec<bool>) =
            scores.into_iter().flatten().map(|(row, score)| (score, targets[row] == first)).unzip();
        let (slope, offset) = platt(&margins, &sides);
        let mut coefficients = vec![0.0; n];
        members.iter().zip(&whole.coefficients).for_each(|(&row, &c)| coefficients[row] = c as f32);
        let curve = [slope as f32, offset as f32];
        Ok(PairMachine { coefficients, offset: -whole.threshold as f32, curve, steps: whole.steps })
    }
}

struct Solution {
    /// Sign times multiplier of each row.
    coefficients: Vec<f64>,
    /// What is subtracted from the weighted sum of the kernel.
    threshold: f64,
    steps: usize,
}

/// A curvature that stands for one that is not positive.
const LEAST_CURVATURE: f64 = 1e-12;

/// Minimizes ½ aᵀQa - Σa with 0 ≤ a ≤ costs and Σ signs·a = 0. `kernel(i)` is a row of the whole matrix, of which the columns
/// `active` count.
fn solve<'a>(
    kernel: impl Fn(usize) -> &'a [f32],
    active: &[usize],
    signs: &[f64],
    costs: &[f64],
    tolerance: f64,
) -> Result<Solution> {
    let n = active.len();
    let diagonal: Vec<f64> = (0..n).map(|i| f64::from(kernel(i)[active[i]])).collect();
    let mut a = vec![0.0f64; n];
    let mut gradient = vec![-1.0f64; n];
    let most_steps = 1_000_000.max(200 * n);
    let mut steps = 0;
    loop {
        let can_rise = |t: usize| if signs[t] > 0.0 { a[t] < costs[t] } else { a[t] > 0.0 };
        let can_fall = |t: usize| if signs[t] > 0.0 { a[t] > 0.0 } else { a[t] < costs[t] };
        // The first of equals, so that the order of the rows decides.
        let (mut i, mut most) = (n, f64::NEG_INFINITY);
        for t in (0..n).filter(|&t| can_rise(t)) {
            let value = -signs[t] * gradient[t];
            if value > most {
                (i, most) = (t, value);
            }
        }
        let Some(row_i) = (i < n).then(|| kernel(i)) else { break };
        let (mut j, mut least, mut best) = (n, f64::INFINITY, 0.0);
        for t in (0..n).filter(|&t| can_fall(t)) {
            let value = -signs[t] * gradient[t];
            least = least.min(value);
            let gain = most - value;
            if gain > 0.0 {
                let curvature = diagonal[i] + diagonal[t] - 2.0 * f64::from(row_i[active[t]]);
                let decrease = gain * gain / if curvature > 0.0 { curvature } else { LEAST_CURVATURE };
                if decrease > best {
                    (j, best) = (t, decrease);
                }
            }
        }
        if most - least < tolerance || j == n {
            break;
        }
        if steps == most_steps {
            bail!("fit svm: no solution after {steps} steps; lower `c`, raise `tolerance`, or standardize");
        }
        steps += 1;
        let row_j = kernel(j);
        let (before_i, before_j) = (a[i], a[j]);
        let curvature = diagonal[i] + diagonal[j] - 2.0 * f64::from(row_i[active[j]]);
        let step = (-signs[i] * gradient[i] + signs[j] * gradient[j])
            / if curvature > 0.0 { curvature } else { LEAST_CURVATURE };
        // Along the line on which the constraint holds, cut to the box.
        let room = |t: usize, a: f64, up: bool| if up { costs[t] - a } else { a };
        let step = step.min(room(i, before_i, signs[i] > 0.0)).min(room(j, before_j, signs[j] < 0.0));
        a[i] = clamped(before_i + signs[i] * step, costs[i]);
        a[j] = clamped(before_j - signs[j] * step, costs[j]);
        let (change_i, change_j) = (signs[i] * (a[i] - before_i), signs[j] * (a[j] - before_j));
        for (t, gradient) in gradient.iter_mut().enumerate() {
            let column = active[t];
            *gradient += signs[t] * (f64::from(row_i[column]) * change_i + f64::from(row_j[column]) * change_j);
        }
    }
    // The threshold from the rows on the margin; without any, midway between the bounds that the others give.
    let (mut sum, mut free, mut low, mut high) = (0.0, 0, f64::NEG_INFINITY, f64::INFINITY);
    for t in 0..n {
        let value = signs[t] * gradient[t];
        if a[t] > 0.0 && a[t] < costs[t] {
            sum += value;
            free += 1;
        } else if (a[t] >= costs[t]) == (signs[t] > 0.0) {
            low = low.max(value);
        } else {
            high = high.min(value);
        }
    }
    let threshold = if free > 0 { sum / f64::from(free) } else { 0.5 * (low + high) };
    let coefficients = a.iter().zip(signs).map(|(a, sign)| a * sign).collect();
    Ok(Solution { coefficients, threshold, steps })
}

/// Within the box; what rounding leaves beside a bound is on it.
fn clamped(a: f64, cost: f64) -> f64 {
    let margin = 1e-12 * cost;
    if a <= margin {
        0.0
    } else if a >= cost - margin {
        cost
    } else {
        a
    }
}

/// The fitted machines of all pairs of classes.
pub struct Machines {
    classes: usize,
    similarity: Similarity,
    vectors: Rows,
    /// Row-major, one row per pair.
    coefficients: Vec<f32>,
    offsets: Vec<f32>,
    /// Slope and offset of each pair.
    curves: Vec<f32>,
    notes: Vec<(String, String)>,
}

impl RowClassifier for Machines {
    fn shares(&self, row: &[f32]) -> (Vec<f64>, usize) {
        let values: Vec<f64> = self.vectors.iter().map(|vector| self.similarity.of(row, vector)).collect();
        let count = values.len().max(1);
        let mut votes = vec![0.0; self.classes];
        // The probability of the first class of each pair, both ways.
        let mut first_of = vec![0.5; self.classes * self.classes];
        let mut pair = 0;
        for i in 0..self.classes {
            for j in i + 1..self.classes {
                let coefficients = &self.coefficients[pair * count..(pair + 1) * count];
                let score = coefficients.iter().zip(&values).map(|(&c, v)| f64::from(c) * v).sum::<f64>()
                    + f64::from(self.offsets[pair]);
                votes[if score > 0.0 { i } else { j }] += 1.0;
                let (slope, offset) = (f64::from(self.curves[2 * pair]), f64::from(self.curves[2 * pair + 1]));
                let share = sigmoid(slope * score + offset).clamp(1e-7, 1.0 - 1e-7);
                first_of[i * self.classes + j] = share;
                first_of[j * self.classes + i] = 1.0 - share;
                pair += 1;
            }
        }
        (coupled(&first_of, self.classes), argmax(&votes))
    }

    fn tensors(&self, prefix: &str) -> Vec<Tensor> {
        let (count, pairs) = (self.vectors.len(), self.offsets.len());
        let tensor =
            |name: &str, shape, values: &Vec<f32>| Tensor::new(&format!("{prefix}{name}"), shape, values.clone());
        vec![
            tensor("support_vectors", vec![count, self.vectors.dims], &self.vectors.values),
            tensor("coefficients", vec![pairs, count], &self.coefficients),
            tensor("offsets", vec![pairs], &self.offsets),
            tensor("curves", vec![pairs, 2], &self.curves),
            tensor("gamma", vec![1], &vec![self.similarity.gamma]),
        ]
    }

    fn notes(&self) -> Vec<(String, String)> {
        self.notes.clone()
    }
}

/// The probabilities p with the least Σ (p_i r_ji - p_j r_ij)² and the sum 1, where r_ij is the probability of i against j.
fn coupled(first_of: &[f64], classes: usize) -> Vec<f64> {
    if classes == 2 {
        return vec![first_of[1], first_of[2]];
    }
    let r = |i: usize, j: usize| first_of[i * classes + j];
    // The conditions of the minimum, with a multiplier for the sum.
    let n = classes + 1;
    let mut system = vec![0.0; n * (n + 1)];
    for i in 0..classes {
        for j in (0..classes).filter(|&j| j != i) {
            system[i * (n + 1) + i] += r(j, i) * r(j, i);
            system[i * (n + 1) + j] = -r(j, i) * r(i, j);
        }
        system[i * (n + 1) + classes] = 1.0;
        system[classes * (n + 1) + i] = 1.0;
    }
    system[classes * (n + 1) + n] = 1.0;
    let mut shares = solve_linear(system, n);
    shares.truncate(classes);
    shares.iter_mut().for_each(|share| *share = share.max(0.0));
    let total: f64 = shares.iter().sum();
    shares.iter().map(|share| share / total).collect()
}

/// Gaussian elimination with row exchange of `n` equations, each with its right side last.
fn solve_linear(mut system: Vec<f64>, n: usize) -> Vec<f64> {
    let width = n + 1;
    for at in 0..n {
        let largest = |a: &usize, b: &usize| system[a * width + at].abs().total_cmp(&system[b * width + at].abs());
        let pivot = (at..n).max_by(largest).expect("a row");
        (0..width).for_each(|column| system.swap(at * width + column, pivot * width + column));
        for row in (0..n).filter(|&row| row != at) {
            let factor = system[row * width + at] / system[at * width + at];
            (at..width).for_each(|column| system[row * width + column] -= factor * system[at * width + column]);
        }
    }
    (0..n).map(|row| system[row * width + n] / system[row * width + row]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_solution_meets_the_optimality_conditions(
            values in prop::collection::vec(-3i8..4, 40), c in 0.1f64..20.0, linear: bool,
        ) {
            let rows = Rows { dims: 2, values: values.iter().map(|&x| f32::from(x) / 2.0).collect() };
            let signs: Vec<f64> = (0..20).map(|i| if i % 3 == 0 { 1.0 } else { -1.0 }).collect();
            let kernel = if linear { Kernel::Linear } else { Kernel::Rbf };
            let matrix = Similarity { kernel, gamma: 0.7 }.matrix(&rows);
            let active: Vec<usize> = (0..20).collect();
            let solution = solve(|i| &matrix[i * 20..(i + 1) * 20], &active, &signs, &[c; 20], 1e-6).unwrap();
            prop_assert!(solution.coefficients.iter().sum::<f64>().abs() < 1e-9 * c.max(1.0));
            for i in 0..20 {
                let a = solution.coefficients[i] * signs[i];
                let score: f64 =
                    (0..20).map(|j| solution.coefficients[j] * f64::from(matrix[i * 20 + j])).sum::<f64>() - solution.threshold;
                let margin = signs[i] * score;
                prop_assert!((0.0..=c).contains(&a));
                prop_assert!(a > 0.0 || margin >= 1.0 - 1e-5, "{i}: {a} {margin}");
                prop_assert!(a < c || margin <= 1.0 + 1e-5, "{i}: {a} {margin}");
                prop_assert!(a == 0.0 || a == c || (margin - 1.0).abs() < 1e-5, "{i}: {a} {margin}");
            }
        }

        #[test]
        fn the_matrix_holds_the_kernel_of_every_pair(values in prop::collection::vec(-2.0f32..2.0, 900), linear: bool) {
            let rows = Rows { dims: 3, values: values.iter().map(|x| x + 50.0).collect() };
            let kernel = if linear { Kernel::Linear } else { Kernel::Rbf };
            let similarity = Similarity { kernel, gamma: 0.5 };
            let matrix = similarity.matrix(&rows);
            for (i, j) in [(0, 0), (3, 280), (280, 3), (299, 299), (257, 256)] {
                let expected = similarity.of(rows.row(i), rows.row(j));
                prop_assert!((f64::from(matrix[i * 300 + j]) - expected).abs() < 1e-5 * expected.max(1.0));
            }
        }
    }

    #[test]
    fn consistent_pairs_give_the_probabilities_that_made_them() {
        let p = [0.5, 0.3, 0.15, 0.05];
        let first_of: Vec<f64> = p.iter().flat_map(|a| p.iter().map(move |b| a / (a + b))).collect();
        for (share, p) in coupled(&first_of, 4).iter().zip(p) {
            assert!((share - p).abs() < 1e-12, "{share} is not {p}");
        }
    }
}
