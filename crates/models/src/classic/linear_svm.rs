//! Linear support vector machine: each class against the rest.
//!
//! Conventions: as scikit-learn's LinearSVC with its defaults: the objective is ½‖w‖² + C · Σ max(0, 1 - margin)², in which the
//! bias is the weight of a constant column and penalized too. The solver is dual coordinate descent (Hsieh et al. 2008), like
//! liblinear's, without shrinking; `tolerance` bounds the range of the projected gradient, as liblinear's `eps` does.
//!
//! Probabilities and decisions are those of `CalibratedClassifierCV(LinearSVC(), method="sigmoid", ensemble=False)`: a logistic
//! curve per class, fitted to scores of five stratified folds, divided by their sum. The most likely class is not always the one
//! with the largest score.
//!
//! Memory: one f64 per class and training clip.

use anyhow::{Result, ensure};
use rayon::prelude::*;

use super::calibrated_centroids::platt;
use super::calibration::{FOLDS, stratified_folds};
use super::newton::sigmoid;
use super::preparation::Rows;
use super::products::dot;
use super::row_model::{ClassWeight, Problem, RowClassifier, RowModel};
use crate::Tensor;
use crate::tensor::{take_matrix, take_tensor};
use timbre_core::{
    registry::Fault,
    seed::{Seed, shuffle},
};
use timbre_evaluation::predictions::argmax;

row_spec! {
    /// Linear support vector machine: one score per class, against the rest, with the widest margin.
    pub struct LinearSvm {
        /// Standardize every column to zero mean and unit variance over the training clips first. Default: true.
        pub standardize: bool = true,
        /// The weight of the training loss: smaller values regularize more. Default: 1.0.
        #[schemars(range(min = 1e-12, max = 1e12))]
        pub c: f64 = 1.0,
        /// When to stop: the range of the projected gradient. Default: 1e-4.
        #[schemars(range(min = 1e-12, max = 1.0))]
        pub tolerance: f64 = 1e-4,
        /// The maximum number of passes over the clips. A fit that needs more warns in its notes and in the log. Default: 1000.
        #[schemars(range(min = 1))]
        pub max_iterations: usize = 1000,
        /// "balanced" weights the clips in inverse proportion to the frequency of their class. Default: all count 1.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub class_weight: Option<ClassWeight> = None,
    }
}

row_model!(LinearSvm, version 1);

impl RowModel for LinearSvm {
    type Fitted = Scores;

    const USES_WEIGHTS: bool = true;
    const HAS_IMPORTANCES: bool = true;

    fn own_faults(&self) -> Vec<Fault> {
        let c = !(1e-12..=1e12).contains(&self.c);
        let tolerance = !(1e-12..=1.0).contains(&self.tolerance);
        Fault::of_keys([
            ("c", c.then(|| "write a weight of the loss between 1e-12 and 1e12".to_owned())),
            ("tolerance", tolerance.then(|| "write a range between 1e-12 and 1".to_owned())),
            (
                "max_iterations",
                (self.max_iterations == 0).then(|| "write 1 or more: at least one pass is needed".to_owned()),
            ),
        ])
    }

    fn fit_rows(&self, problem: &Problem) -> Result<Scores> {
        let &Problem { rows, targets, classes, seed, .. } = problem;
        let costs: Vec<f64> = problem.row_weights(self.class_weight).iter().map(|w| w * self.c).collect();
        let squares: Vec<f64> = rows.iter().map(|row| dot(row, row) + 1.0).collect();
        let folds = stratified_folds(targets, classes);
        let all: Vec<usize> = (0..rows.len()).collect();
        // Two classes are one problem.
        let columns: Vec<usize> = if classes == 2 { vec![1] } else { (0..classes).collect() };
        let fit = |&class: &usize| {
            let signs: Vec<f64> = targets.iter().map(|&target| if target == class { 1.0 } else { -1.0 }).collect();
            let seed = seed.child("column").child(class);
            let descent = Descent { spec: self, rows, squares: &squares, costs: &costs, signs: &signs };
            let whole = descent.solve(&all, vec![0.0; rows.len()], seed.child("all"));
            let mut margins = vec![0.0; rows.len()];
            for fold in 0..FOLDS {
                let kept: Vec<usize> = all.iter().copied().filter(|&row| folds[row] != fold).collect();
                // From the solution of all rows, which is near.
                let without = descent.solve(&kept, whole.multipliers.clone(), seed.child(fold));
                for row in all.iter().copied().filter(|&row| folds[row] == fold) {
                    margins[row] = score(&without.weights, rows.row(row));
                }
            }
            let has: Vec<bool> = signs.iter().map(|&sign| sign > 0.0).collect();
            let (slope, offset) = platt(&margins, &has);
            (whole, [slope as f32, offset as f32])
        };
        let solved: Vec<(Solved, [f32; 2])> = columns.par_iter().map(fit).collect();
        let passes = solved.iter().map(|(solved, _)| solved.passes).max().unwrap_or(0);
        let converged = solved.iter().all(|(solved, _)| solved.converged);
        if !converged {
            tracing::warn!(
                "linear_svm stopped after {} passes without reaching its tolerance; raise `max_iterations`, lower `c`, or standardize",
                self.max_iterations
            );
        }
        let part = |range: std::ops::Range<usize>| -> Vec<f32> {
            solved.iter().flat_map(|(solved, _)| solved.weights[range.clone()].iter().map(|&w| w as f32)).collect()
        };
        Ok(Scores {
            classes,
            dims: rows.dims,
            weights: part(0..rows.dims),
            bias: part(rows.dims..rows.dims + 1),
            curves: solved.iter().flat_map(|&(_, curve)| curve).collect(),
            notes: vec![("passes".to_owned(), passes.to_string()), ("converged".to_owned(), converged.to_string())],
        })
    }

    fn restore_rows(&self, tensors: &mut Vec<Tensor>, prefix: &str, classes: usize, dims: usize) -> Result<Scores> {
        let (count, columns, weights) = take_matrix(tensors, &format!("{prefix}weights"))?;
        let mut take = |name: &str| take_tensor(tensors, &format!("{prefix}{name}"));
        let (bias, curves) = (take("bias")?, take("curves")?);
        let expected = if classes == 2 { 1 } else { classes };
        ensure!(
            columns == dims && [count, bias.len(), curves.len() / 2] == [expected; 3],
            "`{prefix}weights` has {count} rows of {columns}, expected {expected} of {dims}"
        );
        Ok(Scores { classes, dims, weights, bias, curves, notes: Vec::new() })
    }
}

/// The score of a row; the bias is the last weight.
fn score(weights: &[f64], row: &[f32]) -> f64 {
    let (lanes, rest) = row.as_chunks::<8>();
    let (wide, wide_rest) = weights[..row.len()].as_chunks::<8>();
    let mut sums = [0.0f64; 8];
    for (x, w) in lanes.iter().zip(wide) {
        (0..8).for_each(|i| sums[i] += f64::from(x[i]) * w[i]);
    }
    let rest: f64 = rest.iter().zip(wide_rest).map(|(&x, w)| f64::from(x) * w).sum();
    sums.iter().sum::<f64>() + rest + weights[row.len()]
}

struct Solved {
    weights: Vec<f64>,
    multipliers: Vec<f64>,
    passes: usize,
    converged: bool,
}

struct Descent<'a> {
    spec: &'a LinearSvm,
    rows: &'a Rows,
    /// The squared length of each row with its constant column.
    squares: &'a [f64],
    costs: &'a [f64],
    signs: &'a [f64],
}

impl Descent<'_> {
    /// Minimizes over the `active` rows, beginning at `multipliers` (one per row of the set).
    fn solve(&self, active: &[usize], mut multipliers: Vec<f64>, seed: Seed) -> Solved {
        let mut rng = seed.rng();
        let mut weights = vec![0.0; self.rows.dims + 1];
        let add = |weights: &mut [f64], row: usize, factor: f64| {
            weights.iter_mut().zip(self.rows.row(row)).for_each(|(w, &x)| *w += factor * f64::from(x));
            weights[self.rows.dims] += factor;
        };
        for &row in active.iter().filter(|&&row| multipliers[row] != 0.0) {
            add(&mut weights, row, multipliers[row] * self.signs[row]);
        }
        let mut order = active.to_vec();
        for pass in 1..=self.spec.max_iterations {
            shuffle(&mut order, &mut rng);
            let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
            for &row in &order {
                let (sign, soft) = (self.signs[row], 0.5 / self.costs[row]);
                let old = multipliers[row];
                let gradient = sign * score(&weights, self.rows.row(row)) - 1.0 + soft * old;
                let projected = if old == 0.0 { gradient.min(0.0) } else { gradient };
                least = least.min(projected);
                most = most.max(projected);
                if projected.abs() > 1e-12 {
                    multipliers[row] = (old - gradient / (self.squares[row] + soft)).max(0.0);
                    add(&mut weights, row, (multipliers[row] - old) * sign);
                }
            }
            if most - least <= self.spec.tolerance {
                return Solved { weights, multipliers, passes: pass, converged: true };
            }
        }
        Solved { weights, multipliers, passes: self.spec.max_iterations, converged: false }
    }
}

/// The fitted scores; for two classes only that of the second.
pub struct Scores {
    classes: usize,
    dims: usize,
    /// Row-major, one row per class.
    weights: Vec<f32>,
    bias: Vec<f32>,
    /// Slope and offset of each class.
    curves: Vec<f32>,
    notes: Vec<(String, String)>,
}

impl RowClassifier for Scores {
    fn shares(&self, row: &[f32]) -> (Vec<f64>, usize) {
        let scores: Vec<f64> =
            self.weights.chunks_exact(self.dims).zip(&self.bias).map(|(w, &b)| dot(row, w) + f64::from(b)).collect();
        let curves = self.curves.chunks_exact(2);
        let at = |(curve, score): (&[f32], &f64)| sigmoid(f64::from(curve[0]) * score + f64::from(curve[1]));
        let mut shares: Vec<f64> = curves.zip(&scores).map(at).collect();
        if self.classes == 2 {
            return (vec![1.0 - shares[0], shares[0]], usize::from(shares[0] > 0.5));
        }
        let total: f64 = shares.iter().sum();
        let even = 1.0 / self.classes as f64;
        shares.iter_mut().for_each(|share| *share = if total > 0.0 { *share / total } else { even });
        let winner = argmax(&shares);
        (shares, winner)
    }

    fn tensors(&self, prefix: &str) -> Vec<Tensor> {
        let count = self.bias.len();
        let tensor =
            |name: &str, shape, values: &Vec<f32>| Tensor::new(&format!("{prefix}{name}"), shape, values.clone());
        vec![
            tensor("weights", vec![count, self.dims], &self.weights),
            tensor("bias", vec![count], &self.bias),
            tensor("curves", vec![count, 2], &self.curves),
        ]
    }

    fn importances(&self) -> Vec<(Option<usize>, Vec<f32>)> {
        if self.classes == 2 {
            let first = self.weights.iter().map(|weight| -weight).collect();
            return vec![(Some(0), first), (Some(1), self.weights.clone())];
        }
        self.weights
            .chunks_exact(self.dims)
            .enumerate()
            .map(|(class, weights)| (Some(class), weights.to_vec()))
            .collect()
    }

    fn notes(&self) -> Vec<(String, String)> {
        self.notes.clone()
    }
}
