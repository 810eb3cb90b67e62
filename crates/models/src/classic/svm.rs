//! Support vector machine with a kernel.
//!
//! Conventions: as scikit-learn's SVC: one machine per pair of classes, and a clip gets the class with the most votes, the first
//! of equals. `smo.rs` solves each.
//!
//! Probabilities: a logistic curve per pair (Platt; Lin, Lin and Weng 2007), fitted to scores of five stratified folds, and
//! their coupling (Wu, Lin and Weng 2004, second method), solved exactly. libsvm does the same with random folds and stops the
//! coupling early. A class with the most votes has the largest probability, whatever the coupling says.
//!
//! Memory: at most 256 MiB of kernels, whatever the number of clips. Up to 8,192 clips all pairs of classes share the kernel of all
//! clips. Beyond, each pair has that of its own clips, and as many pairs are fitted at once as fit into a quarter of that.

use anyhow::{Result, ensure};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::calibrated_centroids::platt;
use super::calibration::{FOLDS, stratified_folds};
use super::kernel::{Kernel, KernelMatrix, Similarity, matrix_bytes};
use super::newton::sigmoid;
use super::row_model::{ClassWeight, Problem, RowClassifier, RowModel};
use super::rows::Rows;
use super::smo;
use crate::Tensor;
use crate::tensor::{take_matrix, take_tensor};
use timbre_core::registry::Fault;
use timbre_evaluation::predictions::argmax;

/// The most bytes of kernels in memory: all pairs of 8,192 clips.
const KERNEL_BYTES: usize = 256 << 20;

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

row_model!(Svm, version 2);

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
        self.fit_within(problem, KERNEL_BYTES)
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
        let vectors = Rows::new(dims, vectors);
        Ok(Machines { classes, similarity, vectors, coefficients, offsets, curves, notes: Vec::new() })
    }
}

impl Svm {
    /// With at most `most_bytes` of kernels in memory.
    fn fit_within(&self, problem: &Problem, most_bytes: usize) -> Result<Machines> {
        let &Problem { rows, targets, classes, .. } = problem;
        let similarity = Similarity { kernel: self.kernel, gamma: self.gamma_of(rows) };
        let costs: Vec<f64> = problem.row_weights(self.class_weight).iter().map(|w| w * self.c).collect();
        let pairs: Vec<[usize; 2]> = (0..classes).flat_map(|i| (i + 1..classes).map(move |j| [i, j])).collect();
        let members_of = |[first, second]: [usize; 2]| -> Vec<usize> {
            (0..rows.len()).filter(|&row| targets[row] == first || targets[row] == second).collect()
        };
        let machine_of = |kernel: &KernelMatrix, places: &[usize], members: Vec<usize>, first: usize| {
            let firsts: Vec<bool> = members.iter().map(|&row| targets[row] == first).collect();
            let costs: Vec<f64> = members.iter().map(|&row| costs[row]).collect();
            PairMachine::fit(kernel, places, members, &firsts, &costs, self.tolerance)
        };
        let solved: Vec<PairMachine> = if matrix_bytes(rows.len()) <= most_bytes {
            let kernel = KernelMatrix::new(similarity, rows, (0..rows.len()).collect(), most_bytes);
            let fit = |&pair: &[usize; 2]| {
                let members = members_of(pair);
                machine_of(&kernel, &members.clone(), members, pair[0])
            };
            pairs.par_iter().map(fit).collect::<Result<_>>()?
        } else {
            let mut solved = Vec::new();
            for group in groups(&pairs, most_bytes / 4, |&pair| matrix_bytes(members_of(pair).len())) {
                let fit = |&pair: &[usize; 2]| {
                    let members = members_of(pair);
                    let places: Vec<usize> = (0..members.len()).collect();
                    let kernel = KernelMatrix::new(similarity, rows, members.clone(), most_bytes);
                    machine_of(&kernel, &places, members, pair[0])
                };
                solved.extend(group.par_iter().map(fit).collect::<Result<Vec<_>>>()?);
            }
            solved
        };
        let mut is_used = vec![false; rows.len()];
        for machine in &solved {
            machine.of_rows().for_each(|(row, c)| is_used[row] |= c != 0.0);
        }
        let used: Vec<usize> = (0..rows.len()).filter(|&row| is_used[row]).collect();
        let mut coefficients = Vec::with_capacity(pairs.len() * used.len());
        for machine in &solved {
            let mut of_row = vec![0.0; rows.len()];
            machine.of_rows().for_each(|(row, c)| of_row[row] = c);
            coefficients.extend(used.iter().map(|&row| of_row[row]));
        }
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

/// The machine of a pair of classes.
struct PairMachine {
    /// The rows of the clips of the two classes.
    members: Vec<usize>,
    coefficients: Vec<f32>,
    offset: f32,
    /// Slope and offset of the curve from scores to probabilities of the first class.
    curve: [f32; 2],
    steps: usize,
}

impl PairMachine {
    /// Each row of the two classes with its coefficient.
    fn of_rows(&self) -> impl Iterator<Item = (usize, f32)> {
        self.members.iter().copied().zip(self.coefficients.iter().copied())
    }

    /// `places` are the rows of the kernel that belong to the clips of the two classes; `firsts` says which clips have the first.
    fn fit(
        kernel: &KernelMatrix,
        places: &[usize],
        rows: Vec<usize>,
        firsts: &[bool],
        costs: &[f64],
        tolerance: f64,
    ) -> Result<PairMachine> {
        let sign = |member: usize| if firsts[member] { 1.0 } else { -1.0 };
        let solve = |active: &[usize]| {
            let rows: Vec<usize> = active.iter().map(|&member| places[member]).collect();
            let signs: Vec<f64> = active.iter().map(|&member| sign(member)).collect();
            let costs: Vec<f64> = active.iter().map(|&member| costs[member]).collect();
            smo::solve(kernel, &rows, &signs, &costs, tolerance)
        };
        let members: Vec<usize> = (0..places.len()).collect();
        let whole = solve(&members)?;
        let pair: Vec<usize> = firsts.iter().map(|&first| usize::from(!first)).collect();
        let folds = stratified_folds(&pair, 2);
        let scores_of = |fold: usize| -> Result<Vec<(usize, f64)>> {
            let (held_out, kept): (Vec<usize>, Vec<usize>) = members.iter().partition(|&&member| folds[member] == fold);
            let one_class = kept.iter().all(|&member| firsts[member] == firsts[kept[0]]);
            if kept.is_empty() || one_class {
                let score = kept.first().map_or(0.0, |&member| sign(member));
                return Ok(held_out.into_iter().map(|member| (member, score)).collect());
            }
            let solution = solve(&kept)?;
            let score = |&member: &usize| {
                let values = kernel.row(places[member]);
                let terms =
                    kept.iter().zip(&solution.coefficients).map(|(&other, c)| c * f64::from(values[places[other]]));
                (member, terms.sum::<f64>() - solution.threshold)
            };
            Ok(held_out.iter().map(score).collect())
        };
        let scores: Vec<Vec<(usize, f64)>> = (0..FOLDS).into_par_iter().map(scores_of).collect::<Result<_>>()?;
        let (margins, sides): (Vec<f64>, Vec<bool>) =
            scores.into_iter().flatten().map(|(member, score)| (score, firsts[member])).unzip();
        let (slope, offset) = platt(&margins, &sides);
        Ok(PairMachine {
            members: rows,
            coefficients: whole.coefficients.iter().map(|&c| c as f32).collect(),
            offset: -whole.threshold as f32,
            curve: [slope as f32, offset as f32],
            steps: whole.steps,
        })
    }
}

/// Consecutive pairs with at most `most_bytes` together, or one pair.
fn groups<T>(pairs: &[T], most_bytes: usize, bytes: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let (mut groups, mut start, mut sum) = (Vec::new(), 0, 0);
    for (at, pair) in pairs.iter().enumerate() {
        let bytes = bytes(pair);
        if at > start && sum + bytes > most_bytes {
            groups.push(&pairs[start..at]);
            (start, sum) = (at, 0);
        }
        sum += bytes;
    }
    groups.push(&pairs[start..]);
    groups
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
    use timbre_core::seed::Seed;

    #[test]
    fn the_room_for_kernels_decides_no_prediction() {
        let rows = Rows::new(2, (0..240).map(|i| ((i * 37 % 101) as f32).sin() * 3.0 + (i / 80) as f32).collect());
        let targets: Vec<usize> = (0..120).map(|row| row / 40).collect();
        let problem = Problem { rows: &rows, targets: &targets, classes: 3, weights: None, seed: Seed::new(1) };
        let spec = Svm { tolerance: 1e-6, ..serde_json::from_str("{}").unwrap() };
        let shared = spec.fit_within(&problem, usize::MAX).unwrap();
        // A matrix for each pair; rows that are computed when they are asked for.
        for most_bytes in [matrix_bytes(80), 20 * 4 * 80] {
            let fitted = spec.fit_within(&problem, most_bytes).unwrap();
            for row in rows.iter() {
                let ((a, first), (b, second)) = (shared.shares(row), fitted.shares(row));
                assert_eq!(first, second);
                assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-3), "{a:?} and {b:?}");
            }
        }
    }

    #[test]
    fn pairs_are_fitted_together_as_far_as_they_fit() {
        assert_eq!(groups(&[3, 4, 9, 1, 2], 8, |&bytes| bytes), [&[3, 4][..], &[9], &[1, 2]]);
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
