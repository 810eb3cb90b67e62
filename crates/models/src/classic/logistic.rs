//! Logistic regression with an L2 penalty.
//!
//! Conventions: the objective is ½‖W‖² + C · Σ loss over the training clips with a bias that is not penalised, as in
//! scikit-learn's LogisticRegression with solver "lbfgs" (its "liblinear" penalises the bias too, and finds another
//! minimum). `ovr` is its OneVsRestClassifier around that: each class against the rest, the probabilities divided by their
//! sum. `multinomial` is one softmax over all classes; of two classes both peers fit a single column, so does this.
//! With several labels a clip it is OneVsRestClassifier on an indicator matrix: each class has its own probability, and they
//! need not sum to one. As there, a class that every training clip has gets probability 1.
//! Differences: columns are standardised by default, as the penalty treats all columns alike whatever their unit;
//! `tolerance` is relative to the start (see the key), and scikit-learn's default stops far earlier on ill-conditioned data;
//! a class without training clips gets probability 0.
//!
//! The solver (`newton.rs`) works in the span of the clips (`span.rs`) when a clip has more columns than there are clips, and
//! in the columns (`primal.rs`) else. Both find the same minimum.
//!
//! Memory: at most `HELD_BYTES` for half the Gram matrix or for the scaled rows, beside the block buffers; a set that fits
//! neither way (beyond about 11,500 clips of more columns than that) is read from its source again at each step.

use anyhow::{Result, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dual::{self, Dual};
use super::newton::{Columns, Link, Marks, Problem, Solution, sigmoid};
use super::primal::{self, Primal};
use super::products::dot;
use super::scaling::Scaler;
use crate::device::Device;
use crate::{
    Classifier, FeatureChoice, FitContext, ModelKind, Tensor, argmax, ensure_columns, ensure_trainable,
    predict_row_by_row, probability_row, take_matrix, take_scaler, take_tensor,
};
use timbre_core::labels::Task;
use timbre_core::registry::Fault;
use timbre_evaluation::metrics::DecisionRule;
use timbre_evaluation::predictions::Predictions;
use timbre_inputs::dataset::feature_set::FeatureSet;

/// Beside the weights of a model for several labels.
const SEVERAL: &str = "output.several_labels";

/// A bias whose probability is 1, and which safetensors and JSON can hold.
const CERTAIN: f64 = f32::MAX as f64;

/// What the solver may hold of the data at once.
const HELD_BYTES: usize = 512 << 20;

/// How several classes are told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Multi {
    /// One regression a class, against all others.
    #[default]
    Ovr,
    /// One softmax over all classes.
    Multinomial,
}

/// Logistic regression: a linear score a class, turned into probabilities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Logistic {
    /// The feature, or features, to train on: a name or a list of names. Left out: every feature of the experiment.
    #[serde(skip_serializing_if = "FeatureChoice::is_all")]
    pub features: FeatureChoice,
    /// Bring every column to zero mean and unit variance of the training clips first, so that the penalty treats all
    /// columns alike whatever their unit. Default: true.
    pub standardize: bool,
    /// How several classes are told apart: "ovr" (one regression a class, against the rest) or "multinomial" (one softmax
    /// over all classes). Default: "ovr".
    pub multi: Multi,
    /// The weight of the training loss against the L2 penalty: smaller values regularise more. Default: 1.0.
    #[schemars(range(min = 1e-12, max = 1e12))]
    pub c: f64,
    /// When to stop: the 2-norm of the gradient of the objective, as a share of that at zero weights. Default: 1e-6.
    #[schemars(range(min = 1e-12, max = 0.1))]
    pub tolerance: f64,
    /// Newton steps at most; a fit that needs more says so in its notes and in the log. Default: 100.
    #[schemars(range(min = 1))]
    pub max_iterations: usize,
}

impl Default for Logistic {
    fn default() -> Self {
        Logistic {
            features: FeatureChoice::default(),
            standardize: true,
            multi: Multi::Ovr,
            c: 1.0,
            tolerance: 1e-6,
            max_iterations: 100,
        }
    }
}

impl ModelKind for Logistic {
    fn version(&self) -> u32 {
        1
    }

    fn features(&self) -> &FeatureChoice {
        &self.features
    }

    fn fit(&self, train: &FeatureSet, context: &FitContext) -> Result<Box<dyn Classifier>> {
        ensure_trainable(self, train)?;
        if let Some(Fault { key, sentence }) = self.task_faults(&context.decision_rule).into_iter().next() {
            bail!("fit logistic: `{key}`: {sentence}");
        }
        let fit = self.minimum(train, context.decision_rule.task, HELD_BYTES)?;
        if !fit.converged {
            tracing::warn!(
                "logistic stopped after {} Newton steps before its tolerance; raise `max_iterations`, lower `c`, or standardize",
                self.max_iterations
            );
        }
        let weights = fit.weights.iter().map(|&w| w as f32).collect();
        let bias = fit.bias.iter().map(|&b| b as f32).collect();
        let scaler = self.standardize.then_some(fit.scaler);
        let output = Output::of(self.multi, context.decision_rule.task);
        Ok(Box::new(Fitted { output, dims: train.dims(), weights, bias, scaler, notes: fit.notes }))
    }

    fn restore(&self, mut tensors: Vec<Tensor>, n_classes: usize, _device: &Device) -> Result<Box<dyn Classifier>> {
        let (classes, dims, weights) = take_matrix(&mut tensors, "weights")?;
        let bias = take_tensor(&mut tensors, "bias")?;
        ensure!(
            classes == n_classes && bias.len() == n_classes,
            "`weights` has {classes} classes and `bias` {}, {n_classes} are wanted",
            bias.len()
        );
        let scaler = take_scaler(&mut tensors, self.standardize, dims)?;
        let task = if tensors.iter().any(|t| t.name == SEVERAL) { Task::MultiLabel } else { Task::SingleLabel };
        let output = Output::of(self.multi, task);
        Ok(Box::new(Fitted { output, dims, weights, bias, scaler, notes: Vec::new() }))
    }

    fn task_faults(&self, decision_rule: &DecisionRule) -> Vec<Fault> {
        if decision_rule.task == Task::SingleLabel || self.multi == Multi::Ovr {
            return Vec::new();
        }
        let sentence = "one softmax over all classes gives one class a recording, and evaluate.task asks for several: write \
                        \"ovr\"";
        vec![Fault::new("multi", sentence)]
    }

    fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut fault = |key: &str, sentence: &str| faults.push(Fault::new(key, sentence));
        if !(1e-12..=1e12).contains(&self.c) {
            fault("c", "the weight of the loss lies between 1e-12 and 1e12");
        }
        if !(1e-12..=0.1).contains(&self.tolerance) {
            fault("tolerance", "the share of the gradient that may be left lies between 1e-12 and 0.1");
        }
        if self.max_iterations == 0 {
            fault("max_iterations", "at least one step is needed: write 1 or more");
        }
        faults
    }
}

/// The minimum in f64, for all classes of the set.
struct Minimum {
    /// Row-major, a row a class, for scaled columns if the spec standardises and for raw ones else.
    weights: Vec<f64>,
    bias: Vec<f64>,
    scaler: Scaler,
    converged: bool,
    notes: Vec<(String, String)>,
}

impl Logistic {
    fn minimum(&self, train: &FeatureSet, task: Task, held_bytes: usize) -> Result<Minimum> {
        let (n_classes, dims) = (train.n_classes(), train.dims());
        let mut clips = vec![0; n_classes];
        train.labels().iter().flatten().for_each(|&class| clips[class] += 1);
        let present: Vec<usize> = (0..n_classes).filter(|&class| clips[class] > 0).collect();
        // What every clip has, or none, is no question.
        let open: Vec<usize> = present.iter().copied().filter(|&class| clips[class] < train.len()).collect();
        // Two classes of which a clip has one are one question.
        let mirrored = task == Task::SingleLabel && open.len() == 2;
        let asked = if mirrored { &open[1..] } else { &open[..] };
        let link = if asked.len() > 1 && self.multi == Multi::Multinomial { Link::Softmax } else { Link::Sigmoid };
        let marks = Marks::new(train.len(), asked.len(), |row, column| train.labels()[row].contains(&asked[column]));
        let (solved, solution, scaler, way) = self.solve(train, link, &marks, asked.len(), held_bytes)?;

        let mut weights = vec![0.0; n_classes * dims];
        // A class that was never seen has probability 0.
        let mut bias = vec![f64::NEG_INFINITY; n_classes];
        present.iter().for_each(|&class| bias[class] = if task == Task::MultiLabel { CERTAIN } else { 0.0 });
        let mut put = |class: usize, column: usize, factor: f64| {
            let row = &solved[column * dims..(column + 1) * dims];
            weights[class * dims..(class + 1) * dims].iter_mut().zip(row).for_each(|(w, &x)| *w = factor * x);
            bias[class] = factor * solution.place.bias[column];
            if !self.standardize {
                // The solver saw centred columns.
                bias[class] -= factor * row.iter().zip(scaler.mean()).map(|(w, &m)| w * f64::from(m)).sum::<f64>();
            }
        };
        if mirrored {
            // The other class is the mirror image. In a softmax the difference counts, so each takes half.
            let factor = if self.multi == Multi::Multinomial { 0.5 } else { 1.0 };
            put(open[1], 0, factor);
            put(open[0], 0, -factor);
        } else {
            asked.iter().enumerate().for_each(|(column, &class)| put(class, column, 1.0));
        }
        let notes = vec![
            ("solved in".to_owned(), way),
            ("newton steps".to_owned(), solution.iterations.to_string()),
            ("conjugate gradient steps".to_owned(), solution.inner_steps.to_string()),
            ("gradient left".to_owned(), format!("{:.2e}", solution.reached)),
            ("converged".to_owned(), (solution.reached <= self.tolerance).to_string()),
        ];
        Ok(Minimum { weights, bias, scaler, converged: solution.reached <= self.tolerance, notes })
    }

    /// The weights of each column, the solution, the scaler and in which space it was found.
    fn solve(
        &self,
        train: &FeatureSet,
        link: Link,
        marks: &Marks,
        columns: usize,
        held_bytes: usize,
    ) -> Result<(Vec<f64>, Solution, Scaler, String)> {
        if train.dims() > train.len() && dual::bytes(train.len()) <= held_bytes {
            let (span, scaler) = Dual::new(train, self.standardize)?;
            let solution = self.problem(&span, link, marks, columns).solve()?;
            drop(span);
            let weights = Dual::weights(train, &scaler, &solution.place.coefficients)?;
            return Ok((weights, solution, scaler, format!("the span of {} clips", train.len())));
        }
        let scaler = Scaler::fit_with(train, self.standardize)?;
        let hold = primal::bytes(train) <= held_bytes;
        let solution = self.problem(&Primal::new(train, &scaler, hold)?, link, marks, columns).solve()?;
        let Columns { values, .. } = solution.place.coefficients.clone();
        let way = format!("{} columns, {}", train.dims(), if hold { "held" } else { "streamed" });
        Ok((values, solution, scaler, way))
    }

    fn problem<'a, S: super::newton::Space>(
        &self,
        space: &'a S,
        link: Link,
        marks: &'a Marks,
        columns: usize,
    ) -> Problem<'a, S> {
        Problem {
            space,
            link,
            marks,
            columns,
            strength: self.c,
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
    /// A sigmoid a class.
    Sigmoids,
}

impl Output {
    fn of(multi: Multi, task: Task) -> Output {
        match (task, multi) {
            (Task::MultiLabel, _) => Output::Sigmoids,
            (Task::SingleLabel, Multi::Ovr) => Output::SigmoidShares,
            (Task::SingleLabel, Multi::Multinomial) => Output::Softmax,
        }
    }
}

struct Fitted {
    output: Output,
    dims: usize,
    /// Row-major, a row a class.
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
        // Logarithms, so that a clip far from every class still gets shares that sum to one.
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
            tensors.push(Tensor::new(SEVERAL, vec![1], vec![1.0]));
        }
        tensors.extend(self.scaler.iter().flat_map(Scaler::tensors));
        Ok(tensors)
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

    fn spec(multi: Multi, standardize: bool) -> Logistic {
        Logistic { multi, standardize, c: 0.5, ..Logistic::default() }
    }

    fn every_spec() -> impl Iterator<Item = Logistic> {
        [Multi::Ovr, Multi::Multinomial]
            .into_iter()
            .flat_map(|multi| [true, false].map(|standardize| spec(multi, standardize)))
    }

    /// The slow twin: the norm of the gradient of the primal objective, at the weights and as a share of that at zero.
    fn gradient_share(spec: &Logistic, train: &FeatureSet, weights: &[f64], bias: &[f64]) -> f64 {
        let (n, dims, k) = (train.len(), train.dims(), train.n_classes());
        let mut rows = Vec::new();
        train.read_rows(0..n, &mut rows).unwrap();
        if spec.standardize {
            Scaler::fit(train).unwrap().apply(&mut rows);
        }
        // Centred, as the norm at zero weights depends on it where the minimum does not.
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
                        Multi::Ovr => 1.0 / (1.0 + (-z[class]).exp()),
                        Multi::Multinomial => z[class].exp() / total,
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
    fn the_gradient_of_the_primal_objective_is_as_small_as_the_tolerance_says() {
        for spec in every_spec() {
            for (rows, dims) in [(60, 90), (90, 20)] {
                let train = set(rows, dims, 3);
                let fit = spec.minimum(&train, Task::SingleLabel, HELD_BYTES).unwrap();
                let share = gradient_share(&spec, &train, &fit.weights, &fit.bias);
                // Of one-against-rest problems the worst decides; the share of all of them together is no larger.
                assert!(fit.converged && share <= 1.1e-6, "{spec:?} {rows}×{dims}: {share}");
            }
        }
    }

    #[test]
    fn the_span_the_held_columns_and_the_streamed_ones_lead_to_one_minimum() {
        for spec in every_spec() {
            let spec = Logistic { tolerance: 1e-9, ..spec };
            let wide = set(150, 300, 4);
            let by_span = spec.minimum(&wide, Task::SingleLabel, HELD_BYTES).unwrap();
            assert!(by_span.notes[0].1.contains("span"));
            // Half of G takes less than the rows: between the two the rows would still be held if G were not preferred.
            let streamed = spec.minimum(&wide, Task::SingleLabel, 0).unwrap();
            assert!(streamed.notes[0].1.contains("streamed"));
            let tall = set(150, 40, 4);
            let held = (
                spec.minimum(&tall, Task::SingleLabel, HELD_BYTES).unwrap(),
                spec.minimum(&tall, Task::SingleLabel, 0).unwrap(),
            );
            assert!(held.0.notes[0].1.contains("held"));
            for (a, b) in [(&by_span, &streamed), (&held.0, &held.1)] {
                let size = a.weights.iter().fold(0.0f64, |size, w| size.max(w.abs()));
                let off = a.weights.iter().zip(&b.weights).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                assert!(off < 1e-6 * size, "{spec:?}: {off} of {size}");
            }
        }
    }

    #[test]
    fn a_class_without_clips_gets_probability_zero() {
        for spec in every_spec() {
            let mut train = set(60, 5, 3);
            let mut values = Vec::new();
            train.read_rows(0..60, &mut values).unwrap();
            // Classes 1, 2 and 4 of six; then 3 alone.
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
    fn nan_in_the_features_is_an_error_that_says_so() {
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
    fn an_unfinished_fit_says_so_in_its_notes() {
        let hasty = Logistic { max_iterations: 1, tolerance: 1e-10, ..Logistic::default() };
        let notes = hasty.fit(&set(60, 90, 3), &FitContext::standalone(Seed::new(1))).unwrap().notes();
        assert!(notes.contains(&("converged".to_owned(), "false".to_owned())), "{notes:?}");
    }
}
