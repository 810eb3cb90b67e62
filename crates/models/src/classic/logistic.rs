//! Logistic regression with an L2, L1 or elastic-net penalty.
//!
//! Conventions: the objective is ½‖W‖² + C · Σ loss over the training clips with an unpenalized bias, as in scikit-learn's
//! LogisticRegression with solver "lbfgs"; with `penalize_bias` as with "liblinear", which finds another minimum. With `penalty` "l1" or "elasticnet" it is that of solver "saga" (`l1.rs`). `ovr` is its
//! OneVsRestClassifier around that: each class against the rest, with the probabilities divided by their sum. `multinomial` is
//! one softmax over all classes; for two classes both peers fit a single column, and so does this model.
//! With several labels per clip it is OneVsRestClassifier on an indicator matrix: each class has its own probability, and they
//! need not sum to one. As in scikit-learn, a class that every training clip has gets probability 1.
//! Differences: columns are standardized by default, since the penalty treats all columns alike whatever their unit;
//! `tolerance` is relative to the start (see the key), and scikit-learn's default stops far earlier on ill-conditioned data;
//! a class without training clips gets probability 0.
//!
//! The solver for the L2 penalty (`newton.rs`) works on one coefficient per clip (`dual.rs`) if there are more columns than clips, and on one
//! coefficient per column (`primal.rs`) otherwise. Both find the same minimum. The other penalties have a solver of their own.
//!
//! Memory: with an L1 or elastic-net penalty the training rows in f32. Otherwise at most `MEMORY_BUDGET` for half the Gram matrix or for the scaled rows, beside the block buffers. A set that fits
//! neither way (more than about 11,500 clips with more columns than that) is read from its source again at each step.

use anyhow::{Result, bail, ensure};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dual::{self, Dual};
use super::l1::{self, ByColumn, Penalized};
use super::newton::{Link, Problem, Solution, Targets, sigmoid};
use super::primal::{self, Primal};
use super::reduced;
use super::row_model::{ClassWeight, Prepared};
use super::scaling::{Scaler, Scaling};
use super::{ensure_columns, predict_row_by_row};
use crate::classifier::ensure_trainable;
use crate::classifier::probability_row;
use crate::device::Device;
use crate::products::dot;
use crate::tensor::{take_matrix, take_tensor};
use crate::{Classifier, FeatureChoice, FitContext, Importances, ModelColumn, ModelKind, Tensor};
use timbre_core::{labels::Task, registry::Fault};
use timbre_evaluation::{
    metrics::DecisionRule,
    predictions::{Predictions, argmax},
};
use timbre_inputs::dataset::feature_set::FeatureSet;

/// The tensor that marks a model for several labels.
const MULTI_LABEL: &str = "output.several_labels";

/// A bias that gives probability 1 and that safetensors and JSON can store.
const CERTAIN: f64 = f32::MAX as f64;

/// The bytes of training data that the solver may hold in memory.
const MEMORY_BUDGET: usize = 512 << 20;

/// How several classes are separated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MultiClass {
    /// One regression per class, against all other classes.
    #[default]
    Ovr,
    /// One softmax over all classes.
    Multinomial,
}

/// What is added to the loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Penalty {
    /// Half the sum of the squared weights.
    #[default]
    L2,
    /// The sum of the absolute weights: the weights of columns that do not help are 0.
    L1,
    /// Both, in the proportion that `l1_ratio` says.
    ElasticNet,
}

impl Penalty {
    fn is_l2(&self) -> bool {
        *self == Penalty::L2
    }
}

row_spec! {
    /// Logistic regression: one linear score per class, turned into probabilities.
    pub struct Logistic {
        /// Standardize every column to zero mean and unit variance over the training clips first, so that the penalty treats all
        /// columns alike whatever their unit. Default: true.
        pub standardize: bool = true,
        /// How several classes are separated: "ovr" (one regression per class, against the rest) or "multinomial" (one softmax over all
        /// classes). Default: "ovr".
        pub multi: MultiClass = MultiClass::Ovr,
        /// What is added to the loss: "l2" (half the sum of the squared weights), "l1" (the sum of the absolute weights, which leaves those of
        /// columns that do not help at 0) or "elasticnet" (both; see `l1_ratio`). The last two need `multi = "ovr"`. Default: "l2".
        #[serde(skip_serializing_if = "Penalty::is_l2")]
        pub penalty: Penalty = Penalty::L2,
        /// With `penalty = "elasticnet"`: the share of the L1 penalty, from 0 (L2 alone) to 1 (L1 alone).
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(range(min = 0.0, max = 1.0))]
        pub l1_ratio: Option<f64> = None,
        /// The weight of the training loss against the penalty: smaller values regularize more. Default: 1.0.
        #[schemars(range(min = 1e-12, max = 1e12))]
        pub c: f64 = 1.0,
        /// When to stop: the 2-norm of the gradient of the objective (the smallest subgradient) as a share of that at zero weights (of the
        /// loss). Default: 1e-6.
        #[schemars(range(min = 1e-12, max = 0.1))]
        pub tolerance: f64 = 1e-6,
        /// The maximum number of Newton steps. A fit that needs more warns in its notes and in the log. Default: 100.
        #[schemars(range(min = 1))]
        pub max_iterations: usize = 100,
        /// Penalize the bias as if it were the weight of a column of ones, like scikit-learn's solver "liblinear". For `penalty = "l2"`.
        /// Default: false.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        pub penalize_bias: bool = false,
        /// "balanced" weights the clips in inverse proportion to the frequency of their class; with
        /// "ovr", each class against the rest. Default: all count 1.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub class_weight: Option<ClassWeight> = None,
    }
}

impl ModelKind for Logistic {
    fn version(&self) -> u32 {
        2
    }

    fn features(&self) -> &FeatureChoice {
        &self.features
    }

    fn fit(&self, train: &FeatureSet, context: &FitContext) -> Result<Box<dyn Classifier>> {
        if self.preparing().reduces() {
            return reduced::fit(self, &self.preparing(), &self.of_prepared(), train, context);
        }
        ensure_trainable(self, train)?;
        if let Some(Fault { key, sentence }) = self.task_faults(&context.decision_rule).into_iter().next() {
            bail!("fit logistic: `{key}`: {sentence}");
        }
        let fit = self.minimum(train, context.decision_rule.task, MEMORY_BUDGET)?;
        if !fit.converged {
            tracing::warn!(
                "logistic stopped after {} Newton steps without reaching its tolerance; raise `max_iterations`, lower `c`, or standardize",
                self.max_iterations
            );
        }
        let weights = fit.weights.iter().map(|&w| w as f32).collect();
        let bias = fit.bias.iter().map(|&b| b as f32).collect();
        let scaler = self.standardize.then_some(fit.scaler);
        let output = Output::of(self.multi, context.decision_rule.task);
        Ok(Box::new(Fitted { output, dims: train.dims(), weights, bias, scaler, notes: fit.notes }))
    }

    fn restore(&self, mut tensors: Vec<Tensor>, n_classes: usize, device: &Device) -> Result<Box<dyn Classifier>> {
        if self.preparing().reduces() {
            return reduced::restore(&self.preparing(), &self.of_prepared(), tensors, n_classes, device);
        }
        let (classes, dims, weights) = take_matrix(&mut tensors, "weights")?;
        let bias = take_tensor(&mut tensors, "bias")?;
        ensure!(
            classes == n_classes && bias.len() == n_classes,
            "`weights` has {classes} classes and `bias` {}, expected {n_classes}",
            bias.len()
        );
        let scaler = Scaler::take(&mut tensors, self.standardize, dims)?;
        let task = if tensors.iter().any(|t| t.name == MULTI_LABEL) { Task::MultiLabel } else { Task::SingleLabel };
        let output = Output::of(self.multi, task);
        Ok(Box::new(Fitted { output, dims, weights, bias, scaler, notes: Vec::new() }))
    }

    fn uses_weights(&self) -> bool {
        true
    }

    fn has_importances(&self) -> bool {
        true
    }

    fn task_faults(&self, decision_rule: &DecisionRule) -> Vec<Fault> {
        if decision_rule.task == Task::SingleLabel || self.multi == MultiClass::Ovr {
            return Vec::new();
        }
        let sentence = "one softmax over all classes gives one class per recording, but evaluate.task has several: write \
                        \"ovr\"";
        vec![Fault::new("multi", sentence)]
    }

    fn size_faults(&self, clips: usize, columns: Option<usize>) -> Vec<Fault> {
        self.preparing().size_faults(clips, columns)
    }

    fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut fault = |key: &str, sentence: &str| faults.push(Fault::new(key, sentence));
        if !(1e-12..=1e12).contains(&self.c) {
            fault("c", "write a weight of the loss between 1e-12 and 1e12");
        }
        if !(1e-12..=0.1).contains(&self.tolerance) {
            fault("tolerance", "write a share of the gradient between 1e-12 and 0.1");
        }
        if self.max_iterations == 0 {
            fault("max_iterations", "write 1 or more: at least one step is needed");
        }
        if !self.penalty.is_l2() && self.multi == MultiClass::Multinomial {
            fault(
                "penalty",
                "one softmax over all classes has the L2 penalty alone: write penalty = \"l2\" or multi = \"ovr\"",
            );
        }
        if !self.penalty.is_l2() && self.penalize_bias {
            fault("penalize_bias", "only penalty = \"l2\" can include the bias: leave it out");
        }
        match self.l1_ratio {
            None if self.penalty == Penalty::ElasticNet => {
                fault("l1_ratio", "write the share of the L1 penalty, between 0 and 1");
            }
            Some(ratio) if !(0.0..=1.0).contains(&ratio) => {
                fault("l1_ratio", "write a share between 0 and 1");
            }
            _ => {}
        }
        faults.extend(self.preparing().faults());
        faults
    }
}

/// The minimum in f64, for all classes of the set.
struct Minimum {
    /// Row-major, one row per class, for standardized columns if the spec standardizes, otherwise for raw columns.
    weights: Vec<f64>,
    bias: Vec<f64>,
    scaler: Scaler,
    converged: bool,
    notes: Vec<(String, String)>,
}

/// What a solver found: the weights of each column of the targets, for scaled columns of the features.
struct Solved {
    weights: Vec<f64>,
    bias: Vec<f64>,
    scaler: Scaler,
    /// That of the worst problem, as a share of that at zero.
    gradient_norm: f64,
    notes: Vec<(String, String)>,
}

impl Logistic {
    /// The minimum is the same with and without centring unless the bias is penalized, and easier to find with it.
    fn scaling(&self) -> Scaling {
        match (self.standardize, self.penalize_bias) {
            (true, _) => Scaling::Standardized,
            (false, false) => Scaling::Centred,
            (false, true) => Scaling::Raw,
        }
    }

    fn minimum(&self, train: &FeatureSet, task: Task, memory_budget: usize) -> Result<Minimum> {
        let (n_classes, dims) = (train.n_classes(), train.dims());
        let mut clips = vec![0; n_classes];
        train.labels().iter().flatten().for_each(|&class| clips[class] += 1);
        let present: Vec<usize> = (0..n_classes).filter(|&class| clips[class] > 0).collect();
        // Classes that every clip has, or none, need no fit.
        let open: Vec<usize> = present.iter().copied().filter(|&class| clips[class] < train.len()).collect();
        // With one label per clip, two classes are one problem.
        let mirrored = task == Task::SingleLabel && open.len() == 2;
        let fitted_classes = if mirrored { &open[1..] } else { &open[..] };
        let link = if fitted_classes.len() > 1 && self.multi == MultiClass::Multinomial {
            Link::Softmax
        } else {
            Link::Sigmoid
        };
        let targets = Targets::new(train.len(), fitted_classes.len(), |row, column| {
            train.labels()[row].contains(&fitted_classes[column])
        });
        let of_class = |row: usize, column: usize| {
            let (n, labels) = (train.len() as f64, &train.labels()[row]);
            if link == Link::Softmax {
                return n / (present.len() * clips[labels[0]]) as f64;
            }
            let having = clips[fitted_classes[column]];
            let side = if labels.contains(&fitted_classes[column]) { having } else { train.len() - having };
            n / (2 * side) as f64
        };
        let targets = match (self.class_weight, train.weights()) {
            (None, None) => targets,
            (balanced, own) => targets.weighted(|row, column| {
                let of_class = balanced.map_or(1.0, |ClassWeight::Balanced| of_class(row, column));
                own.map_or(1.0, |own| own[row]) * of_class
            }),
        };
        let columns = fitted_classes.len();
        let Solved { weights: solved, bias: solved_bias, scaler, gradient_norm, mut notes } = if self.penalty.is_l2() {
            self.solve(train, link, &targets, columns, memory_budget)?
        } else {
            self.solve_l1(train, &targets, columns)?
        };

        let mut weights = vec![0.0; n_classes * dims];
        // A class without clips has probability 0.
        let mut bias = vec![f64::NEG_INFINITY; n_classes];
        present.iter().for_each(|&class| bias[class] = if task == Task::MultiLabel { CERTAIN } else { 0.0 });
        let mut put = |class: usize, column: usize, factor: f64| {
            let row = &solved[column * dims..(column + 1) * dims];
            weights[class * dims..(class + 1) * dims].iter_mut().zip(row).for_each(|(w, &x)| *w = factor * x);
            bias[class] = factor * solved_bias[column];
            if !self.standardize {
                // The solver may have seen centred columns.
                bias[class] -= factor * row.iter().zip(scaler.mean()).map(|(w, &m)| w * f64::from(m)).sum::<f64>();
            }
        };
        if mirrored {
            // The other class is the mirror image. In a softmax only the difference counts, so each class takes half.
            let factor = if self.multi == MultiClass::Multinomial { 0.5 } else { 1.0 };
            put(open[1], 0, factor);
            put(open[0], 0, -factor);
        } else {
            fitted_classes.iter().enumerate().for_each(|(column, &class)| put(class, column, 1.0));
        }
        let converged = gradient_norm <= self.tolerance;
        notes.push(("gradient norm".to_owned(), format!("{gradient_norm:.2e}")));
        notes.push(("converged".to_owned(), converged.to_string()));
        Ok(Minimum { weights, bias, scaler, converged, notes })
    }

    /// The minimum with an L2 penalty.
    fn solve(
        &self,
        train: &FeatureSet,
        link: Link,
        targets: &Targets,
        columns: usize,
        memory_budget: usize,
    ) -> Result<Solved> {
        let solved = |weights: Vec<f64>, solution: Solution, scaler: Scaler, solver: String| {
            let notes = vec![
                ("solver".to_owned(), solver),
                ("newton steps".to_owned(), solution.iterations.to_string()),
                ("conjugate gradient steps".to_owned(), solution.inner_steps.to_string()),
            ];
            Solved { weights, bias: solution.point.bias, scaler, gradient_norm: solution.gradient_norm, notes }
        };
        if train.dims() > train.len() && dual::bytes(train.len()) <= memory_budget {
            let (span, scaler) = Dual::new(train, self.scaling())?;
            let solution = self.problem(&span, link, targets, columns).solve()?;
            drop(span);
            let weights = Dual::weights(train, &scaler, &solution.point.coefficients)?;
            return Ok(solved(weights, solution, scaler, format!("dual, {} clips", train.len())));
        }
        let scaler = Scaler::fit_with(train, self.scaling())?;
        let hold = primal::bytes(train) <= memory_budget;
        let solution = self.problem(&Primal::new(train, &scaler, hold)?, link, targets, columns).solve()?;
        let weights = solution.point.coefficients.values.clone();
        let solver = format!("primal, {} columns {}", train.dims(), if hold { "in memory" } else { "streamed" });
        Ok(solved(weights, solution, scaler, solver))
    }

    /// The minimum with an L1 or elastic-net penalty.
    fn solve_l1(&self, train: &FeatureSet, targets: &Targets, columns: usize) -> Result<Solved> {
        let (by_column, scaler) = ByColumn::read(train, self.scaling())?;
        let l1_ratio = if self.penalty == Penalty::L1 { 1.0 } else { self.l1_ratio.unwrap_or(1.0) };
        let minimum = |column: usize| {
            let problem = Penalized {
                columns: &by_column,
                has: targets.column(column),
                weights: &targets.weights(column),
                c: self.c,
                l1_ratio,
                tolerance: self.tolerance,
                max_iterations: self.max_iterations,
            };
            problem.solve()
        };
        let minima: Vec<l1::Minimum> = (0..columns).into_par_iter().map(minimum).collect::<Result<_>>()?;
        let most = |of: fn(&l1::Minimum) -> usize| minima.iter().map(of).max().unwrap_or(0).to_string();
        let notes = vec![
            ("solver".to_owned(), format!("coordinate descent, {} columns", train.dims())),
            ("newton steps".to_owned(), most(|minimum| minimum.iterations)),
            ("coordinate descent sweeps".to_owned(), most(|minimum| minimum.sweeps)),
        ];
        let gradient_norm = minima.iter().map(|minimum| minimum.gradient_norm).fold(0.0, f64::max);
        let bias = minima.iter().map(|minimum| minimum.bias).collect();
        let weights = minima.into_iter().flat_map(|minimum| minimum.weights).collect();
        Ok(Solved { weights, bias, scaler, gradient_norm, notes })
    }

    fn problem<'a, S: super::newton::Space>(
        &self,
        space: &'a S,
        link: Link,
        targets: &'a Targets,
        columns: usize,
    ) -> Problem<'a, S> {
        Problem {
            space,
            link,
            targets,
            columns,
            strength: self.c,
            penalizes_bias: self.penalize_bias,
            tolerance: self.tolerance,
            max_iterations: self.max_iterations,
        }
    }
}

/// How scores become probabilities.
#[derive(Clone, Copy)]
enum Output {
    /// Sigmoids divided by their sum.
    SigmoidShares,
    Softmax,
    /// One sigmoid per class.
    Sigmoids,
}

impl Output {
    fn of(multi: MultiClass, task: Task) -> Output {
        match (task, multi) {
            (Task::MultiLabel, _) => Output::Sigmoids,
            (Task::SingleLabel, MultiClass::Ovr) => Output::SigmoidShares,
            (Task::SingleLabel, MultiClass::Multinomial) => Output::Softmax,
        }
    }
}

struct Fitted {
    output: Output,
    dims: usize,
    /// Row-major, one row per class.
    weights: Vec<f32>,
    bias: Vec<f32>,
    scaler: Option<Scaler>,
    notes: Vec<(String, String)>,
}

impl Fitted {
    fn probabilities(&self, row: &[f32]) -> Vec<f32> {
        let scores: Vec<f64> =
            self.weights.chunks_exact(self.dims).zip(&self.bias).map(|(w, &b)| dot(row, w) + f64::from(b)).collect();
        let winner = argmax(&scores);
        // In logarithms, so that even a clip far from every class gets shares that sum to one.
        let logs: Vec<f64> = match self.output {
            Output::Sigmoids => return scores.iter().map(|&z| sigmoid(z) as f32).collect(),
            Output::Softmax => scores,
            Output::SigmoidShares => scores.iter().map(|&z| z.min(0.0) - (-z.abs()).exp().ln_1p()).collect(),
        };
        let top = logs[argmax(&logs)];
        let shares: Vec<f64> = logs.iter().map(|log| (log - top).exp()).collect();
        let total: f64 = shares.iter().sum();
        probability_row(&shares.iter().map(|share| share / total).collect::<Vec<_>>(), winner)
    }
}

impl Classifier for Fitted {
    fn predict(&self, set: &FeatureSet) -> Result<Predictions> {
        ensure_columns(set, self.dims)?;
        predict_row_by_row(set, self.scaler.as_ref(), self.bias.len(), |row| self.probabilities(row))
    }

    fn tensors(&self) -> Result<Vec<Tensor>> {
        let n_classes = self.bias.len();
        let mut tensors = vec![
            Tensor::new("weights", vec![n_classes, self.dims], self.weights.clone()),
            Tensor::new("bias", vec![n_classes], self.bias.clone()),
        ];
        if let Output::Sigmoids = self.output {
            tensors.push(Tensor::new(MULTI_LABEL, vec![1], vec![1.0]));
        }
        tensors.extend(self.scaler.iter().flat_map(Scaler::tensors));
        Ok(tensors)
    }

    fn importances(&self) -> Vec<Importances> {
        let classes = self.weights.chunks_exact(self.dims).zip(&self.bias).enumerate();
        // A class that every training clip has, or none, has no weights.
        let fitted = classes.filter(|(_, (_, bias))| bias.abs() < f32::MAX);
        let of_class = |(class, (weights, _)): (usize, (&[f32], &f32))| Importances {
            class: Some(class),
            columns: weights.iter().enumerate().map(|(at, &weight)| (ModelColumn::Feature(at), weight)).collect(),
        };
        fitted.map(of_class).collect()
    }

    fn notes(&self) -> Vec<(String, String)> {
        self.notes.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbre_core::seed::{Seed, uniform};

    fn set(rows: usize, dims: usize, n_classes: usize) -> FeatureSet {
        let mut rng = Seed::new(4).rng();
        let targets: Vec<usize> = (0..rows).map(|row| row % n_classes).collect();
        let values = targets
            .iter()
            .flat_map(|&class| (0..dims).map(move |column| (class, column)))
            .map(|(class, column)| {
                let signal = if column % n_classes == class { 0.3 } else { 0.0 };
                ((uniform(&mut rng) - 0.5 + signal) * (1.0 + column as f64 / 10.0) + 7.0) as f32
            })
            .collect();
        FeatureSet::from_memory(values, dims, targets, n_classes)
    }

    fn spec(multi: MultiClass, standardize: bool) -> Logistic {
        Logistic { multi, standardize, c: 0.5, ..Logistic::default() }
    }

    fn every_spec() -> impl Iterator<Item = Logistic> {
        [MultiClass::Ovr, MultiClass::Multinomial]
            .into_iter()
            .flat_map(|multi| [true, false].map(|standardize| spec(multi, standardize)))
    }

    /// The slow twin: the norm of the gradient of the primal objective at the weights, as a share of that at zero.
    fn gradient_share(spec: &Logistic, train: &FeatureSet, weights: &[f64], bias: &[f64]) -> f64 {
        let (n, dims, k) = (train.len(), train.dims(), train.n_classes());
        let mut rows = Vec::new();
        train.read_rows(0..n, &mut rows).unwrap();
        if spec.standardize {
            Scaler::fit(train).unwrap().apply(&mut rows);
        }
        // Centred, because the norm at zero weights depends on it, although the minimum does not.
        let means: Vec<f64> = (0..dims)
            .map(|c| rows.iter().skip(c).step_by(dims).map(|&x| f64::from(x)).sum::<f64>() / n as f64)
            .collect();
        let norm = |weights: &[f64], bias: &[f64]| {
            let mut gradient = weights.to_vec();
            let mut bias_gradient = vec![0.0; k];
            for (row, &target) in rows.chunks_exact(dims).zip(train.targets()) {
                let z: Vec<f64> = (0..k)
                    .map(|class| {
                        bias[class] + (0..dims).map(|c| weights[class * dims + c] * f64::from(row[c])).sum::<f64>()
                    })
                    .collect();
                let total: f64 = z.iter().map(|z| z.exp()).sum();
                for class in 0..k {
                    let p = match spec.multi {
                        MultiClass::Ovr => 1.0 / (1.0 + (-z[class]).exp()),
                        MultiClass::Multinomial => z[class].exp() / total,
                    };
                    let residual = spec.c * (p - f64::from(u8::from(class == target)));
                    bias_gradient[class] += residual;
                    (0..dims).for_each(|c| gradient[class * dims + c] += residual * (f64::from(row[c]) - means[c]));
                }
            }
            gradient.iter().chain(&bias_gradient).map(|g| g * g).sum::<f64>().sqrt()
        };
        norm(weights, bias) / norm(&vec![0.0; k * dims], &vec![0.0; k])
    }

    #[test]
    fn the_gradient_of_the_primal_objective_is_within_the_tolerance() {
        for spec in every_spec() {
            for (rows, dims) in [(60, 90), (90, 20)] {
                let train = set(rows, dims, 3);
                let fit = spec.minimum(&train, Task::SingleLabel, MEMORY_BUDGET).unwrap();
                let share = gradient_share(&spec, &train, &fit.weights, &fit.bias);
                // The worst of the one-against-rest problems decides; the share of all together is no larger.
                assert!(fit.converged && share <= 1.1e-6, "{spec:?} {rows}×{dims}: {share}");
            }
        }
    }

    #[test]
    fn dual_primal_in_memory_and_streamed_find_the_same_minimum() {
        for spec in every_spec() {
            let spec = Logistic { tolerance: 1e-9, ..spec };
            let wide = set(150, 300, 4);
            let by_dual = spec.minimum(&wide, Task::SingleLabel, MEMORY_BUDGET).unwrap();
            assert!(by_dual.notes[0].1.contains("dual"));
            // Half of G takes less memory than the rows: between the two the rows would be held if G were not preferred.
            let streamed = spec.minimum(&wide, Task::SingleLabel, 0).unwrap();
            assert!(streamed.notes[0].1.contains("streamed"));
            let tall = set(150, 40, 4);
            let held = (
                spec.minimum(&tall, Task::SingleLabel, MEMORY_BUDGET).unwrap(),
                spec.minimum(&tall, Task::SingleLabel, 0).unwrap(),
            );
            assert!(held.0.notes[0].1.contains("in memory"));
            for (a, b) in [(&by_dual, &streamed), (&held.0, &held.1)] {
                let size = a.weights.iter().fold(0.0f64, |size, w| size.max(w.abs()));
                let off = a.weights.iter().zip(&b.weights).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                assert!(off < 1e-6 * size, "{spec:?}: {off} of {size}");
            }
        }
    }

    #[test]
    fn a_class_without_clips_gets_probability_0() {
        for spec in every_spec() {
            let mut train = set(60, 5, 3);
            let mut values = Vec::new();
            train.read_rows(0..60, &mut values).unwrap();
            // Classes 1, 2 and 4 of six; then class 3 alone.
            let targets = train.targets().iter().map(|&class| [1, 2, 4][class]).collect();
            train = FeatureSet::from_memory(values.clone(), 5, targets, 6);
            let predictions = spec.fit(&train, &FitContext::standalone(Seed::new(1))).unwrap().predict(&train).unwrap();
            for clip in 0..60 {
                let row = predictions.row(clip);
                assert_eq!([row[0], row[3], row[5]], [0.0; 3]);
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            }
            let alone = FeatureSet::from_memory(values, 5, vec![3; 60], 6);
            let predictions = spec.fit(&alone, &FitContext::standalone(Seed::new(1))).unwrap().predict(&alone).unwrap();
            assert!((0..60).all(|clip| predictions.row(clip) == [0.0, 0.0, 0.0, 1.0, 0.0, 0.0]));
        }
    }

    #[test]
    fn nan_in_the_features_is_an_error_that_names_it() {
        for dims in [2, 90] {
            let mut values = vec![1.0; 20 * dims];
            values[7] = f32::NAN;
            let train = FeatureSet::from_memory(values, dims, (0..20).map(|row| row % 3).collect(), 3);
            let error = Logistic::default()
                .fit(&train, &FitContext::standalone(Seed::new(1)))
                .err()
                .expect("NaN is refused")
                .to_string();
            assert!(error.contains("NaN"), "{error}");
        }
    }

    #[test]
    fn what_an_l1_penalty_cannot_be_combined_with_is_a_fault_that_names_the_key() {
        let keys = |spec: Logistic| spec.faults().into_iter().map(|fault| fault.key).collect::<Vec<_>>();
        let l1 = Logistic { penalty: Penalty::L1, ..Logistic::default() };
        assert!(keys(l1.clone()).is_empty());
        assert_eq!(keys(Logistic { multi: MultiClass::Multinomial, ..l1.clone() }), ["penalty"]);
        assert_eq!(keys(Logistic { penalize_bias: true, ..l1.clone() }), ["penalize_bias"]);
        for (l1_ratio, expected) in [(None, &["l1_ratio"][..]), (Some(1.5), &["l1_ratio"]), (Some(0.5), &[])] {
            assert_eq!(keys(Logistic { penalty: Penalty::ElasticNet, l1_ratio, ..l1.clone() }), expected);
        }
    }

    #[test]
    fn an_elastic_net_without_l1_is_the_l2_penalty() {
        for standardize in [true, false] {
            let train = set(90, 20, 3);
            let l2 = Logistic { tolerance: 1e-9, ..spec(MultiClass::Ovr, standardize) };
            let net = Logistic { penalty: Penalty::ElasticNet, l1_ratio: Some(0.0), ..l2.clone() };
            let [a, b] = [l2, net].map(|spec| spec.minimum(&train, Task::SingleLabel, MEMORY_BUDGET).unwrap());
            assert!(b.converged, "{:?}", b.notes);
            let size = a.weights.iter().fold(0.0f64, |size, w| size.max(w.abs()));
            let pairs = a.weights.iter().zip(&b.weights).chain(a.bias.iter().zip(&b.bias));
            let off = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(off < 1e-5 * size.max(1.0), "standardize {standardize}: {off} of {size}");
        }
    }

    #[test]
    fn a_fit_that_did_not_converge_has_a_note() {
        let hasty = Logistic { max_iterations: 1, tolerance: 1e-10, ..Logistic::default() };
        let notes = hasty.fit(&set(60, 90, 3), &FitContext::standalone(Seed::new(1))).unwrap().notes();
        assert!(notes.contains(&("converged".to_owned(), "false".to_owned())), "{notes:?}");
    }
}
