//! Linear support vector machine: each class against the rest.
//!
//! Conventions: as scikit-learn's LinearSVC with its defaults: the objective is ½‖w‖² + C · Σ max(0, 1 - margin)², in which the
//! bias is the weight of a constant column and penalized too. The solver is Newton's method for all classes at once (`newton.rs`); it finds the minimum
//! that liblinear's coordinate descent approaches.
//!
//! Probabilities and decisions are those of `CalibratedClassifierCV(LinearSVC(), method="sigmoid", ensemble=False)`: a logistic
//! curve per class, fitted to scores of five stratified folds, divided by their sum. The most likely class is not always the one
//! with the largest score.
//!
//! Memory: at most `MEMORY_BUDGET` for the training rows in f64 or for half their Gram matrix; about ten f64 for each row and class.

use std::sync::Arc;

use anyhow::{Result, ensure};

use super::calibrated_centroids::platt;
use super::calibration::{FOLDS, stratified_folds};
use super::dual::{self, Dual};
use super::newton::{self, Columns, Link, Solution, Space, Targets, sigmoid};
use super::primal::{self, Primal};
use super::row_model::{ClassWeight, Problem, RowClassifier, RowModel};
use super::scaling::{Scaler, Scaling};
use crate::Tensor;
use crate::products::dot;
use crate::tensor::{take_matrix, take_tensor};
use timbre_core::registry::Fault;
use timbre_evaluation::predictions::argmax;
use timbre_inputs::dataset::feature_set::FeatureSet;

/// The bytes of training data that the solver may hold in memory beside the rows.
const MEMORY_BUDGET: usize = 512 << 20;

row_spec! {
    /// Linear support vector machine: one score per class, against the rest, with the widest margin.
    pub struct LinearSvm {
        /// Standardize every column to zero mean and unit variance over the training clips first. Default: true.
        pub standardize: bool = true,
        /// The weight of the training loss: smaller values regularize more. Default: 1.0.
        #[schemars(range(min = 1e-12, max = 1e12))]
        pub c: f64 = 1.0,
        /// When to stop: the 2-norm of the gradient of the objective as a share of that at zero weights. Default: 1e-6.
        #[schemars(range(min = 1e-12, max = 1.0))]
        pub tolerance: f64 = 1e-6,
        /// The maximum number of Newton steps. A fit that needs more warns in its notes and in the log. Default: 1000.
        #[schemars(range(min = 1))]
        pub max_iterations: usize = 1000,
        /// "balanced" weights the clips in inverse proportion to the frequency of their class. Default: all count 1.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub class_weight: Option<ClassWeight> = None,
    }
}

row_model!(LinearSvm, version 2);

impl RowModel for LinearSvm {
    type Fitted = Scores;

    const USES_WEIGHTS: bool = true;
    const HAS_IMPORTANCES: bool = true;

    fn own_faults(&self) -> Vec<Fault> {
        let c = !(1e-12..=1e12).contains(&self.c);
        let tolerance = !(1e-12..=1.0).contains(&self.tolerance);
        Fault::of_keys([
            ("c", c.then(|| "write a weight of the loss between 1e-12 and 1e12".to_owned())),
            ("tolerance", tolerance.then(|| "write a share between 1e-12 and 1".to_owned())),
            (
                "max_iterations",
                (self.max_iterations == 0).then(|| "write 1 or more: at least one step is needed".to_owned()),
            ),
        ])
    }

    fn fit_rows(&self, problem: &Problem) -> Result<Scores> {
        let &Problem { rows, targets, classes, .. } = problem;
        let set = FeatureSet::from_shared(Arc::clone(&rows.values), rows.dims, targets.to_vec(), classes);
        if rows.dims > rows.len() && dual::bytes(rows.len()) <= MEMORY_BUDGET {
            let (space, scaler) = Dual::new(&set, Scaling::Raw)?;
            return self.fit_in(&space, problem, |point| Dual::weights(&set, &scaler, point));
        }
        let scaler = Scaler::fit_with(&set, Scaling::Raw)?;
        let space = Primal::new(&set, &scaler, primal::bytes(&set) <= MEMORY_BUDGET)?;
        self.fit_in(&space, problem, |point| Ok(point.values.clone()))
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

impl LinearSvm {
    /// Fits all clips, and the curves by folds. `weights_of` gives the weights of coefficients in the space.
    fn fit_in<S: Space>(
        &self,
        space: &S,
        problem: &Problem,
        weights_of: impl Fn(&Columns) -> Result<Vec<f64>>,
    ) -> Result<Scores> {
        let &Problem { rows, targets, classes, .. } = problem;
        let costs = problem.row_weights(self.class_weight);
        // Two classes are one problem.
        let columns: Vec<usize> = if classes == 2 { vec![1] } else { (0..classes).collect() };
        let solve = |cost: &dyn Fn(usize) -> f64| -> Result<Solution> {
            let having = Targets::new(rows.len(), columns.len(), |row, column| targets[row] == columns[column]);
            let problem = newton::Problem {
                space,
                link: Link::SquaredHinge,
                targets: &having.with_row_weights(cost),
                columns: columns.len(),
                strength: self.c,
                penalizes_bias: true,
                tolerance: self.tolerance,
                max_iterations: self.max_iterations,
            };
            problem.solve()
        };
        let Solution { point, iterations, gradient_norm, .. } = solve(&|row| costs[row])?;
        let weights = weights_of(&point.coefficients)?.iter().map(|&w| w as f32).collect();
        let bias = point.bias.iter().map(|&b| b as f32).collect();
        // Its margins make room for those of the folds.
        drop(point);
        let folds = stratified_folds(targets, classes);
        let mut margins = vec![vec![0.0; rows.len()]; columns.len()];
        for fold in 0..FOLDS {
            let without = solve(&|row| if folds[row] == fold { 0.0 } else { costs[row] })?.point;
            for (column, margins) in margins.iter_mut().enumerate() {
                let scores = without.margins.column(column).iter().map(|margin| margin + without.bias[column]);
                let of_fold = margins.iter_mut().zip(scores).zip(&folds).filter(|(_, own)| **own == fold);
                of_fold.for_each(|((margin, score), _)| *margin = score);
            }
        }
        let curve = |(margins, &class): (&Vec<f64>, &usize)| {
            let has: Vec<bool> = targets.iter().map(|&target| target == class).collect();
            let (slope, offset) = platt(margins, &has);
            [slope as f32, offset as f32]
        };
        let converged = gradient_norm <= self.tolerance;
        if !converged && iterations == self.max_iterations {
            tracing::warn!(
                "linear_svm stopped after {} steps without reaching its tolerance; raise `max_iterations`, lower `c`, or standardize",
                self.max_iterations
            );
        }
        Ok(Scores {
            classes,
            dims: rows.dims,
            weights,
            bias,
            curves: margins.iter().zip(&columns).flat_map(curve).collect(),
            notes: vec![
                ("newton steps".to_owned(), iterations.to_string()),
                ("converged".to_owned(), converged.to_string()),
            ],
        })
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
