//! The loss functions.
//!
//! Conventions: means over clips (cross-entropy) or over clips and classes (the others), as in PyTorch. Label smoothing of
//! cross-entropy is PyTorch's: the share s of a target is spread evenly over all classes. Smoothing of the others moves a target
//! y to y · (1 − s) + s / 2, as in Keras. Mixed targets: cross-entropy divides those of a clip by their sum, the others use them
//! unchanged; smoothing comes after. An unknown class (a target that is NaN) has no loss, and the mean is over the others: a
//! `BCEWithLogitsLoss` of the known entries of a batch. Weights of clips make a weighted mean, with the sum of the weights below. `focal` is torchvision's `sigmoid_focal_loss` without its alpha, which `pos_weight` replaces.

use anyhow::{Result, ensure};
use burn::tensor::activation::{log_sigmoid, log_softmax, sigmoid};
use burn::tensor::{Tensor, TensorData};

use crate::hyperparameters::{Loss, Training};
use timbre_core::labels::Task;
use timbre_evaluation::predictions::argmax;
use timbre_inputs::dataset::feature_set::FeatureSet;

/// The least base of the focal power, whose gradient is not finite at zero.
const MIN_BASE: f32 = 1e-7;

/// A teacher's probability counts as at least this, whose logarithm is finite.
const LEAST_PROBABILITY: f64 = 1e-7;

/// How logits become probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputActivation {
    Softmax,
    Sigmoid,
    /// A sigmoid per class, divided by their sum: for one label per clip with a binary loss.
    SigmoidShares,
}

/// The loss of a training.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    kind: Kind,
    smoothing: f64,
    /// One per class.
    pos_weight: Option<Vec<f32>>,
    gamma: f64,
    output: OutputActivation,
    n_classes: usize,
    /// The number of values of each tag that is learnt beside the classes, and the weight of its loss.
    auxiliary: Vec<(usize, f64)>,
    teacher: Option<Teacher>,
}

/// How a teacher's predictions are learnt beside the labels.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Teacher {
    weight: f64,
    temperature: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    CrossEntropy,
    Bce,
    Focal,
}

impl Objective {
    /// Fails if the loss does not suit the task or the labels.
    pub fn new(training: &Training, task: Task, train: &FeatureSet) -> Result<Objective> {
        let kind = match (training.loss, task) {
            (Loss::CrossEntropy, _) | (Loss::Auto, Task::SingleLabel) => Kind::CrossEntropy,
            (Loss::Bce, _) | (Loss::Auto, Task::MultiLabel) => Kind::Bce,
            (Loss::Focal, _) => Kind::Focal,
        };
        let output = match (kind, task) {
            (Kind::CrossEntropy, _) => OutputActivation::Softmax,
            (_, Task::MultiLabel) => OutputActivation::Sigmoid,
            (_, Task::SingleLabel) => OutputActivation::SigmoidShares,
        };
        if kind == Kind::CrossEntropy {
            ensure!(
                train.labels().iter().all(|labels| labels.len() == 1 && labels.unknown().is_empty()),
                "train with cross-entropy: it needs one label per clip, and some clips have none, several or unknown ones; \
                 write `loss = \"bce\"`"
            );
        }
        let n_classes = train.n_classes();
        let pos_weight = match training.pos_weight[..] {
            [] => None,
            [one] => Some(vec![one as f32; n_classes]),
            ref each => {
                ensure!(
                    each.len() == n_classes,
                    "`pos_weight` has {} numbers, and there are {n_classes} classes: write one number or one per class",
                    each.len()
                );
                Some(each.iter().map(|&weight| weight as f32).collect())
            }
        };
        let (smoothing, gamma) = (training.label_smoothing, training.focal_gamma);
        let auxiliary = train.auxiliary().map_or_else(Vec::new, |targets| targets.tags.clone());
        let teacher = Teacher { weight: training.teacher_weight, temperature: training.temperature };
        let teacher = train.has_teacher().then_some(teacher);
        Ok(Objective { kind, smoothing, pos_weight, gamma, output, n_classes, auxiliary, teacher })
    }

    pub fn output(&self) -> OutputActivation {
        self.output
    }

    /// The smoothed targets of the clips of a set from its labels, row-major, a column per class and per target beside the classes.
    pub fn targets(&self, set: &FeatureSet) -> Vec<f32> {
        let mut present = vec![0.0; set.len() * set.n_targets()];
        let rows = present.chunks_exact_mut(set.n_targets().max(1)).enumerate();
        rows.for_each(|(row, targets)| set.write_targets(row, targets));
        self.smoothed(present, set.n_targets())
    }

    /// Applies label smoothing to targets (the presence of each class in each clip), row-major, `columns` per clip. Those beside the
    /// classes stay as they are.
    pub fn smoothed(&self, mut present: Vec<f32>, columns: usize) -> Vec<f32> {
        let spread = match self.kind {
            Kind::CrossEntropy => self.smoothing / self.n_classes as f64,
            Kind::Bce | Kind::Focal => self.smoothing / 2.0,
        };
        for targets in present.chunks_exact_mut(columns.max(1)) {
            let targets = &mut targets[..self.n_classes];
            let whole = match self.kind {
                Kind::CrossEntropy => targets.iter().map(|&target| f64::from(target)).sum(),
                Kind::Bce | Kind::Focal => 1.0,
            };
            // A clip without a class stays one.
            let certain = if whole > 0.0 { (1.0 - self.smoothing) / whole } else { 0.0 };
            targets.iter_mut().for_each(|target| *target = (f64::from(*target) * certain + spread) as f32);
        }
        present
    }

    /// The mean loss of a batch, as a tensor with one value. `targets`: row-major, a column per class; NaN is an unknown class. If
    /// columns for tags follow, their cross-entropy is added; a teacher's probabilities come last. `weights`: how much each clip counts;
    /// None: all the same.
    pub fn loss(&self, logits: Tensor<2>, targets: Vec<f32>, weights: Option<&[f32]>) -> Tensor<1> {
        let [clips, outputs] = logits.dims();
        let columns = targets.len() / clips.max(1);
        if outputs == self.n_classes && columns == outputs {
            return self.loss_of_classes(logits, targets, weights);
        }
        let part = |first: usize, count: usize| -> Vec<f32> {
            targets.chunks_exact(columns.max(1)).flat_map(|row| &row[first..first + count]).copied().collect()
        };
        let of = |first: usize, count: usize| logits.clone().slice([0..clips, first..first + count]);
        let mut loss = self.loss_of_classes(of(0, self.n_classes), part(0, self.n_classes), weights);
        if let Some(teacher) = self.teacher.filter(|_| columns > outputs) {
            let taught = self.loss_of_teacher(of(0, self.n_classes), part(outputs, self.n_classes), weights, teacher);
            loss = loss.mul_scalar(1.0 - teacher.weight) + taught.mul_scalar(teacher.weight);
        }
        let mut first = self.n_classes;
        for &(count, weight) in self.auxiliary.iter().filter(|_| columns > self.n_classes) {
            loss = loss + cross_entropy(of(first, count), part(first, count), weights).mul_scalar(weight);
            first += count;
        }
        loss
    }

    fn loss_of_classes(&self, logits: Tensor<2>, mut targets: Vec<f32>, weights: Option<&[f32]>) -> Tensor<1> {
        let ([clips, classes], device) = (logits.dims(), logits.device());
        let tensor = |values: Vec<f32>| Tensor::<2>::from_data(TensorData::new(values, [clips, classes]), &device);
        // How much each pair of clip and class counts, if not all the same.
        let mut counts: Option<Vec<f32>> = weights.map(|own| own.iter().flat_map(|&w| vec![w; classes]).collect());
        if targets.iter().any(|target| target.is_nan()) {
            let known = counts.get_or_insert_with(|| vec![1.0; targets.len()]);
            for (known, target) in known.iter_mut().zip(&mut targets).filter(|(_, target)| target.is_nan()) {
                (*known, *target) = (0.0, 0.0);
            }
        }
        let targets = tensor(targets);
        // The mean is over clips, or over pairs of clip and class.
        let (pairs, step, sign) = match self.kind {
            Kind::CrossEntropy => (targets * log_softmax(logits, 1), classes.max(1), -1.0),
            Kind::Bce => (self.binary(logits, targets), 1, 1.0),
            Kind::Focal => {
                let present = sigmoid(logits.clone());
                // 1 − p for a present class, p for an absent one.
                let base = targets.clone() + present.clone() - (targets.clone() * present).mul_scalar(2.0);
                let mut loss = self.binary(logits, targets);
                if self.gamma != 0.0 {
                    loss = loss * base.clamp_min(MIN_BASE).powf_scalar(self.gamma);
                }
                (loss, 1, 1.0)
            }
        };
        let (pairs, whole) = match counts {
            Some(counts) => {
                let whole: f64 = counts.iter().step_by(step).map(|&count| f64::from(count)).sum();
                // A batch without a known class has the loss 0.
                (pairs * tensor(counts), if whole > 0.0 { whole } else { 1.0 })
            }
            None => (pairs, (clips * classes / step) as f64),
        };
        pairs.sum().mul_scalar(sign / whole)
    }

    /// The loss of Hinton, Vinyals and Dean (2015): the divergence (Kullback-Leibler) of the student's probabilities from the teacher's, both
    /// softened by the temperature T, times T², which keeps its gradient as large as that of the labels. With a sigmoid per class
    /// it is the mean of the divergences of the classes. `probabilities`: the teacher's, row-major.
    fn loss_of_teacher(
        &self,
        logits: Tensor<2>,
        mut probabilities: Vec<f32>,
        weights: Option<&[f32]>,
        Teacher { temperature, .. }: Teacher,
    ) -> Tensor<1> {
        let ([clips, classes], device) = (logits.dims(), logits.device());
        let tensor =
            |values: Vec<f32>, columns| Tensor::<2>::from_data(TensorData::new(values, [clips, columns]), &device);
        let mut weights = weights.map_or_else(|| vec![1.0; clips], <[f32]>::to_vec);
        // Softened: the logits of a probability divided by T are its power 1 / T, up to the normalization.
        let power = |p: f32| f64::from(p).clamp(LEAST_PROBABILITY, 1.0).powf(1.0 / temperature);
        let is_softmax = self.kind == Kind::CrossEntropy;
        // The divergence is the cross-entropy without the teacher's own entropy.
        let share = |p: f64| if p > 0.0 { -p * p.ln() } else { 0.0 };
        let mut entropy = 0.0;
        for (row, weight) in probabilities.chunks_exact_mut(classes.max(1)).zip(&mut weights) {
            // What the teacher would predict for this clip is unknown.
            if row.iter().any(|p| p.is_nan()) {
                row.fill(0.0);
                *weight = 0.0;
            }
            let total: f64 = row.iter().map(|&p| power(p)).sum();
            for p in row {
                let whole = if is_softmax { total } else { power(*p) + power(1.0 - *p) };
                let soft = power(*p) / whole;
                let own = if is_softmax { share(soft) } else { share(soft) + share(1.0 - soft) };
                entropy += f64::from(*weight) * own;
                *p = soft as f32;
            }
        }
        let whole: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
        let (targets, logits) = (tensor(probabilities, classes), logits.div_scalar(temperature));
        let (loss, per_clip) = match is_softmax {
            true => ((targets * log_softmax(logits, 1)).neg(), 1),
            false => (binary(logits, targets, None), classes),
        };
        let whole = if whole > 0.0 { whole * per_clip as f64 } else { 1.0 };
        ((loss * tensor(weights, 1)).sum() - entropy).mul_scalar(temperature * temperature / whole)
    }

    /// Binary cross-entropy with logits for each clip and class.
    fn binary(&self, logits: Tensor<2>, targets: Tensor<2>) -> Tensor<2> {
        binary(logits, targets, self.pos_weight.as_deref())
    }
}

/// Binary cross-entropy with logits for each clip and class; `pos_weight`: the weight of each class where it is present.
fn binary(logits: Tensor<2>, targets: Tensor<2>, pos_weight: Option<&[f32]>) -> Tensor<2> {
    let absent = (targets.clone().neg() + 1.0) * log_sigmoid(logits.clone().neg());
    let mut present = targets * log_sigmoid(logits.clone());
    if let Some(weights) = pos_weight {
        let weights = TensorData::new(weights.to_vec(), [1, weights.len()]);
        present = present * Tensor::<2>::from_data(weights, &logits.device());
    }
    (present + absent).neg()
}

/// The mean cross-entropy over the clips that have a target.
fn cross_entropy(logits: Tensor<2>, mut targets: Vec<f32>, weights: Option<&[f32]>) -> Tensor<1> {
    let ([clips, values], device) = (logits.dims(), logits.device());
    let mut whole = 0.0;
    for (clip, target) in targets.chunks_exact_mut(values.max(1)).enumerate() {
        let weight = weights.map_or(1.0, |weights| weights[clip]);
        if target[0].is_nan() {
            target.fill(0.0);
        } else {
            whole += f64::from(weight);
            target.iter_mut().for_each(|value| *value *= weight);
        }
    }
    let targets = Tensor::<2>::from_data(TensorData::new(targets, [clips, values]), &device);
    (targets * log_softmax(logits, 1)).sum().mul_scalar(if whole > 0.0 { -1.0 / whole } else { 0.0 })
}

impl OutputActivation {
    /// The number that is saved with a model.
    pub fn code(self) -> f32 {
        match self {
            OutputActivation::Softmax => 0.0,
            OutputActivation::Sigmoid => 1.0,
            OutputActivation::SigmoidShares => 2.0,
        }
    }

    /// How logits become probabilities, in words.
    pub fn describe(self) -> &'static str {
        match self {
            OutputActivation::Softmax => "softmax",
            OutputActivation::Sigmoid => "sigmoid",
            OutputActivation::SigmoidShares => "sigmoid, divided by the sum over the classes",
        }
    }

    pub fn from_code(code: f32) -> Option<OutputActivation> {
        [OutputActivation::Softmax, OutputActivation::Sigmoid, OutputActivation::SigmoidShares]
            .into_iter()
            .find(|output| output.code() == code)
    }

    /// The probabilities of a clip.
    pub fn probabilities(self, logits: &[f32]) -> Vec<f32> {
        let logits: Vec<f64> = logits.iter().map(|&logit| f64::from(logit)).collect();
        let winner = argmax(&logits);
        let sigmoids = || logits.iter().map(|&logit| 1.0 / (1.0 + (-logit).exp()));
        let shares: Vec<f64> = match self {
            OutputActivation::Sigmoid => return sigmoids().map(|p| p as f32).collect(),
            OutputActivation::Softmax => logits.iter().map(|&logit| (logit - logits[winner]).exp()).collect(),
            // Relative to the largest, so that a clip far from every class still gets probabilities.
            OutputActivation::SigmoidShares => {
                let log = |z: f64| z.min(0.0) - (-z.abs()).exp().ln_1p();
                logits.iter().map(|&logit| (log(logit) - log(logits[winner])).exp()).collect()
            }
        };
        let total: f64 = shares.iter().sum();
        crate::classifier::probability_row(&shares.iter().map(|share| share / total).collect::<Vec<_>>(), winner)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use serde_json::Value;

    use timbre_core::labels::Labels;
    use timbre_inputs::dataset::tags::AuxiliaryTargets;

    use super::*;
    use crate::training::test_fit::{golden, numbers};

    fn set(labels: &Value, classes: usize) -> FeatureSet {
        let labels: Vec<Vec<usize>> = serde_json::from_value(labels.clone()).unwrap();
        FeatureSet::from_matrices(vec![0.0; labels.len()], [1, 1], labels, classes)
    }

    fn training(spec: &Value) -> Training {
        let mut training = serde_json::to_value(Training::default()).unwrap();
        training.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        serde_json::from_value(training).unwrap()
    }

    /// The loss, and its gradient by the logits.
    fn loss_of(objective: &Objective, logits: &[f32], set: &FeatureSet) -> (f64, Vec<f32>) {
        let device = Device::flex().autodiff();
        let tensor =
            |values: Vec<f32>| Tensor::<2>::from_data(TensorData::new(values, [set.len(), set.n_classes()]), &device);
        let logits = tensor(logits.to_vec()).require_grad();
        let weights: Option<Vec<f32>> = set.weights().map(|own| own.iter().map(|&weight| weight as f32).collect());
        let loss = objective.loss(logits.clone(), objective.targets(set), weights.as_deref());
        let gradient = logits.grad(&loss.backward()).unwrap();
        (f64::from(loss.into_scalar::<f32>()), gradient.into_data().try_into_vec().unwrap())
    }

    #[test]
    fn losses_and_their_gradients_equal_those_of_pytorch() {
        let golden = golden();
        let losses = &golden["losses"];
        let classes = losses["classes"].as_u64().unwrap() as usize;
        let logits: Vec<f32> = numbers(&losses["logits"]).into_iter().map(|v| v as f32).collect();
        for case in losses["cases"].as_array().unwrap() {
            let mut set = set(&case["labels"], classes);
            if case["teacher"].is_array() {
                set = set.with_teacher(numbers(&case["teacher"]).into_iter().map(|p| p as f32).collect());
            }
            let several = set.labels().iter().any(|labels| labels.len() != 1);
            let task = if several { Task::MultiLabel } else { Task::SingleLabel };
            let objective = Objective::new(&training(&case["spec"]), task, &set).unwrap();
            let (loss, gradient) = loss_of(&objective, &logits, &set);
            let expected = case["loss"].as_f64().unwrap();
            assert!(
                (loss - expected).abs() < 1e-5 * expected.abs().max(1.0),
                "{loss}, not {expected}: {}",
                case["spec"]
            );
            for (ours, theirs) in gradient.iter().zip(numbers(&case["gradient"])) {
                assert!((f64::from(*ours) - theirs).abs() < 1e-6, "{ours}, not {theirs}: {}", case["spec"]);
            }
        }
    }

    #[test]
    fn a_teacher_is_ignored_for_a_clip_that_it_does_not_know() {
        let training = Training { teacher: Some("run".to_owned()), teacher_weight: 1.0, ..Training::default() };
        let labels = || vec![vec![0], vec![1]];
        let with = |taught: Vec<f32>, rows: usize, loss| {
            let set = FeatureSet::from_matrices(vec![0.0; rows], [1, 1], labels()[..rows].to_vec(), 2);
            let training = Training { loss, ..training.clone() };
            let objective =
                Objective::new(&training, Task::SingleLabel, &set.clone().with_teacher(taught.clone())).unwrap();
            let (loss, gradient) = loss_of(&objective, &[1.0, -1.0, 0.5, 2.0][..2 * rows], &set.with_teacher(taught));
            (loss, gradient[..2].to_vec())
        };
        for loss in [Loss::CrossEntropy, Loss::Bce] {
            let alone = with(vec![0.8, 0.2], 1, loss);
            assert!(alone.0 > 0.01 && alone.1[0].abs() > 1e-3, "{alone:?}");
            assert_eq!(with(vec![0.8, 0.2, f32::NAN, f32::NAN], 2, loss), alone);
            assert_eq!(with(vec![f32::NAN; 2], 1, loss), (0.0, vec![0.0; 2]));
        }
    }

    #[test]
    fn cross_entropy_shares_between_the_classes_of_a_mix_and_the_others_do_not() {
        let set = FeatureSet::from_matrices(vec![0.0; 2], [1, 1], vec![vec![0], vec![1]], 4);
        let smoothed = |loss, label_smoothing, present: [f32; 4]| {
            let training = Training { loss, label_smoothing, ..Training::default() };
            Objective::new(&training, Task::SingleLabel, &set).unwrap().smoothed(present.to_vec(), 4)
        };
        assert_eq!(smoothed(Loss::CrossEntropy, 0.0, [1.0, 1.0, 0.0, 0.0]), [0.5, 0.5, 0.0, 0.0]);
        assert_eq!(smoothed(Loss::CrossEntropy, 0.0, [0.75, 0.0, 0.25, 0.0]), [0.75, 0.0, 0.25, 0.0]);
        assert_eq!(smoothed(Loss::CrossEntropy, 0.5, [1.0, 1.0, 0.0, 0.0]), [0.375, 0.375, 0.125, 0.125]);
        assert_eq!(smoothed(Loss::Bce, 0.0, [1.0, 1.0, 0.0, 0.25]), [1.0, 1.0, 0.0, 0.25]);
        assert_eq!(smoothed(Loss::Focal, 0.5, [1.0, 0.0, 0.0, 0.5]), [0.75, 0.25, 0.25, 0.5]);
    }

    #[test]
    fn a_certain_answer_has_a_finite_gradient_under_any_focal_exponent() {
        let set = FeatureSet::from_matrices(vec![0.0; 2], [1, 1], vec![vec![0], vec![]], 2);
        for gamma in [0.0, 0.3, 1.0, 2.0] {
            let training = Training { loss: Loss::Focal, focal_gamma: gamma, ..Training::default() };
            let objective = Objective::new(&training, Task::MultiLabel, &set).unwrap();
            let (loss, gradient) = loss_of(&objective, &[90.0, -90.0, 90.0, -90.0], &set);
            assert!(loss.is_finite() && gradient.iter().all(|g| g.is_finite()), "{gamma}: {loss} {gradient:?}");
        }
    }

    #[test]
    fn auto_is_cross_entropy_for_one_label_and_sigmoids_for_several() {
        let set = FeatureSet::from_matrices(vec![0.0; 2], [1, 1], vec![vec![0], vec![1]], 2);
        let of = |loss, task| Objective::new(&Training { loss, ..Training::default() }, task, &set).unwrap();
        assert_eq!(of(Loss::Auto, Task::SingleLabel), of(Loss::CrossEntropy, Task::SingleLabel));
        assert_eq!(of(Loss::Auto, Task::MultiLabel), of(Loss::Bce, Task::MultiLabel));
        assert_eq!(of(Loss::Auto, Task::SingleLabel).output(), OutputActivation::Softmax);
        assert_eq!(of(Loss::Bce, Task::SingleLabel).output(), OutputActivation::SigmoidShares);
        assert_eq!(of(Loss::Focal, Task::MultiLabel).output(), OutputActivation::Sigmoid);
    }

    #[test]
    fn losses_that_do_not_suit_the_labels_are_refused() {
        let set = FeatureSet::from_matrices(vec![0.0; 2], [1, 1], vec![vec![0], vec![0, 1]], 2);
        let refusal = |training: Training| Objective::new(&training, Task::MultiLabel, &set).unwrap_err().to_string();
        assert!(refusal(Training { loss: Loss::CrossEntropy, ..Training::default() }).contains("loss = \"bce\""));
        assert!(refusal(Training { pos_weight: vec![1.0; 3], ..Training::default() }).contains("there are 2 classes"));
    }

    #[test]
    fn probabilities_follow_the_loss() {
        let close = |output: OutputActivation, logits: &[f32], expected: &[f64]| {
            let found = output.probabilities(logits);
            assert!(
                found.iter().zip(expected).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-6),
                "{found:?} {expected:?}"
            );
        };
        let (e, s) = (std::f64::consts::E, |z: f64| 1.0 / (1.0 + (-z).exp()));
        close(OutputActivation::Softmax, &[1.0, 0.0], &[e / (e + 1.0), 1.0 / (e + 1.0)]);
        close(OutputActivation::Sigmoid, &[1.0, -2.0], &[s(1.0), s(-2.0)]);
        close(
            OutputActivation::SigmoidShares,
            &[1.0, -2.0],
            &[s(1.0) / (s(1.0) + s(-2.0)), s(-2.0) / (s(1.0) + s(-2.0))],
        );
        // Far from every class, but not zero.
        close(OutputActivation::SigmoidShares, &[-800.0, -801.0], &[e / (e + 1.0), 1.0 / (e + 1.0)]);
    }

    #[test]
    fn an_unknown_class_has_no_loss_and_no_gradient() {
        let logits = [0.5f32, -1.0, 2.0, 0.25, -0.5, 1.5];
        let labels = vec![Labels::new(vec![0], vec![1]), Labels::new(vec![2], vec![0])];
        let set = FeatureSet::from_labelled(vec![0.0; 2], [1, 1], labels, 3);
        // Both clips have two known classes: the mean over them is the log loss.
        let probability = |logit: f32| 1.0 / (1.0 + (-logit).exp());
        let known = [(0, 1.0), (2, 0.0), (4, 0.0), (5, 1.0)];
        let log_loss = |of: [(usize, f64); 2]| {
            let present: Vec<usize> = (0..2).filter(|&at| of[at].1 == 1.0).collect();
            timbre_evaluation::metrics::log_loss::multi_label(&present, &of.map(|(at, _)| probability(logits[at])))
        };
        let expected = (log_loss([known[0], known[1]]) + log_loss([known[2], known[3]])) / 2.0;
        let objective = Objective::new(&Training::default(), Task::MultiLabel, &set).unwrap();
        let (loss, gradient) = loss_of(&objective, &logits, &set);
        assert!((loss - expected).abs() < 1e-6, "{loss}, not {expected}");
        assert_eq!((gradient[1], gradient[3]), (0.0, 0.0));
        for (at, truth) in known {
            let expected = (f64::from(probability(logits[at])) - truth) / 4.0;
            assert!((f64::from(gradient[at]) - expected).abs() < 1e-6, "{at}: {}", gradient[at]);
        }
        let focal = Training { loss: Loss::Focal, label_smoothing: 0.1, ..Training::default() };
        let (loss, gradient) = loss_of(&Objective::new(&focal, Task::MultiLabel, &set).unwrap(), &logits, &set);
        assert!(loss.is_finite() && (gradient[1], gradient[3]) == (0.0, 0.0));
        let refused = Training { loss: Loss::CrossEntropy, ..Training::default() };
        assert!(Objective::new(&refused, Task::MultiLabel, &set).unwrap_err().to_string().contains("unknown"));
    }

    #[test]
    fn a_clip_of_weight_two_is_that_clip_twice() {
        let logits = [0.5f32, -1.0, 2.0, 0.25, -0.5, 1.5];
        let twice = [&logits[..], &logits[3..]].concat();
        for (loss, task) in
            [(Loss::Auto, Task::SingleLabel), (Loss::Auto, Task::MultiLabel), (Loss::Focal, Task::MultiLabel)]
        {
            let set = |labels: &[usize]| FeatureSet::from_memory(vec![0.0; labels.len()], 1, labels.to_vec(), 3);
            let (weighted, repeated) = (set(&[0, 2]).with_weights(vec![1.0, 2.0]), set(&[0, 2, 2]));
            let objective = Objective::new(&Training { loss, ..Training::default() }, task, &weighted).unwrap();
            let ((a, own), (b, all)) =
                (loss_of(&objective, &logits, &weighted), loss_of(&objective, &twice, &repeated));
            assert!((a - b).abs() < 1e-6, "{loss:?} {task:?}: {a} {b}");
            let sums = (0..3).map(|at| all[at + 3] + all[at + 6]);
            let expected: Vec<f32> = all[..3].iter().copied().chain(sums).collect();
            assert!(own.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6), "{own:?} {expected:?}");
        }
    }

    #[test]
    fn the_loss_of_tags_is_added_with_its_weight_and_an_unknown_tag_has_none() {
        let plain = FeatureSet::from_matrices(vec![0.0; 2], [1, 1], vec![vec![0], vec![1]], 2);
        let rows = vec![vec![Some(2)], vec![None]];
        let set = plain.clone().with_auxiliary(AuxiliaryTargets { tags: vec![(3, 0.25)], rows });
        let of = |set: &FeatureSet, logits: &[f32]| {
            let objective = Objective::new(&Training::default(), Task::SingleLabel, set).unwrap();
            let device = Device::flex().autodiff();
            let sizes = [2, logits.len() / 2];
            let logits = Tensor::<2>::from_data(TensorData::new(logits.to_vec(), sizes), &device).require_grad();
            let loss = objective.loss(logits.clone(), objective.targets(set), None);
            let gradient = logits.grad(&loss.backward()).unwrap().into_data().try_into_vec::<f32>().unwrap();
            (loss.into_scalar::<f32>(), gradient)
        };
        let (classes, own) = of(&plain, &[1.0, 0.0, 0.5, 2.0]);
        let (both, gradient) = of(&set, &[1.0, 0.0, 0.3, -0.2, 0.7, 0.5, 2.0, 9.0, 8.0, 7.0]);
        let exps = [0.3f32, -0.2, 0.7].map(f32::exp);
        let share = exps[2] / exps.iter().sum::<f32>();
        assert!((both - classes + 0.25 * share.ln()).abs() < 1e-6, "{both} and {classes}");
        assert!((gradient[4] - 0.25 * (share - 1.0)).abs() < 1e-6, "{gradient:?}");
        assert_eq!(gradient[7..], [0.0; 3], "the tag of the second clip is unknown");
        for (found, expected) in [gradient[0], gradient[1], gradient[5], gradient[6]].iter().zip(own) {
            assert!((found - expected).abs() < 1e-6);
        }
    }
}
