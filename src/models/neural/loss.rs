//! What is minimised.
//!
//! Conventions: means over clips (cross-entropy) or over clips and classes (the others), as in PyTorch. Smoothing of
//! cross-entropy is PyTorch's: the share s of a target is spread evenly over all classes. Smoothing of the others moves a target
//! y to y · (1 − s) + s / 2, as in Keras. `focal` is torchvision's `sigmoid_focal_loss` without its alpha; `pos_weight` takes
//! the place of that.

use anyhow::{Result, ensure};
use burn::tensor::activation::{log_sigmoid, log_softmax, sigmoid};
use burn::tensor::{Tensor, TensorData};

use crate::dataset::FeatureSet;
use crate::labels::Task;
use crate::models::training::{Loss, Training};

/// Below this, the ease of an answer is taken for this: the gradient of a power is not finite at zero.
const LEAST_UNSURE: f32 = 1e-7;

/// How logits become probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    Softmax,
    Sigmoid,
    /// A sigmoid a class, divided by their sum: one label a clip, learnt class by class.
    SigmoidShares,
}

/// The loss of a training.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    kind: Kind,
    smoothing: f64,
    /// One a class.
    pos_weight: Option<Vec<f32>>,
    gamma: f64,
    output: Output,
    n_classes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    CrossEntropy,
    Bce,
    Focal,
}

impl Objective {
    /// Fails if the loss does not fit the task or the labels.
    pub fn new(training: &Training, task: Task, train: &FeatureSet) -> Result<Objective> {
        let kind = match (training.loss, task) {
            (Loss::CrossEntropy, _) | (Loss::Auto, Task::SingleLabel) => Kind::CrossEntropy,
            (Loss::Bce, _) | (Loss::Auto, Task::MultiLabel) => Kind::Bce,
            (Loss::Focal, _) => Kind::Focal,
        };
        let output = match (kind, task) {
            (Kind::CrossEntropy, _) => Output::Softmax,
            (_, Task::MultiLabel) => Output::Sigmoid,
            (_, Task::SingleLabel) => Output::SigmoidShares,
        };
        if kind == Kind::CrossEntropy {
            ensure!(
                train.labels().iter().all(|labels| labels.len() == 1),
                "train with cross-entropy: it needs one label a clip, and some clips have none or several; \
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
                    "`pos_weight` has {} numbers, and there are {n_classes} classes: write one number, or one a class",
                    each.len()
                );
                Some(each.iter().map(|&weight| weight as f32).collect())
            }
        };
        let (smoothing, gamma) = (training.label_smoothing, training.focal_gamma);
        Ok(Objective { kind, smoothing, pos_weight, gamma, output, n_classes })
    }

    pub fn output(&self) -> Output {
        self.output
    }

    /// What the network should say of clips with these labels, row-major, a column a class; smoothed.
    pub fn targets<'a>(&self, labels: impl IntoIterator<Item = &'a Vec<usize>>) -> Vec<f32> {
        let spread = match self.kind {
            Kind::CrossEntropy => self.smoothing / self.n_classes as f64,
            Kind::Bce | Kind::Focal => self.smoothing / 2.0,
        };
        let (absent, present) = (spread as f32, (1.0 - self.smoothing + spread) as f32);
        let mut targets = Vec::new();
        for labels in labels {
            let start = targets.len();
            targets.resize(start + self.n_classes, absent);
            labels.iter().for_each(|&class| targets[start + class] = present);
        }
        targets
    }

    /// The mean loss of some clips, as a tensor of one number.
    pub fn loss(&self, logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
        let [clips, classes] = logits.dims();
        match self.kind {
            Kind::CrossEntropy => (targets * log_softmax(logits, 1)).sum().mul_scalar(-1.0 / clips as f64),
            Kind::Bce => self.binary(logits, targets).sum().mul_scalar(1.0 / (clips * classes) as f64),
            Kind::Focal => {
                let present = sigmoid(logits.clone());
                // 1 − p for a class that is there, p for one that is not.
                let unsure = targets.clone() + present.clone() - (targets.clone() * present).mul_scalar(2.0);
                let mut loss = self.binary(logits, targets);
                if self.gamma != 0.0 {
                    loss = loss * unsure.clamp_min(LEAST_UNSURE).powf_scalar(self.gamma);
                }
                loss.sum().mul_scalar(1.0 / (clips * classes) as f64)
            }
        }
    }

    /// Binary cross-entropy with logits, of each clip and class.
    fn binary(&self, logits: Tensor<2>, targets: Tensor<2>) -> Tensor<2> {
        let absent = (targets.clone().neg() + 1.0) * log_sigmoid(logits.clone().neg());
        let mut present = targets * log_sigmoid(logits.clone());
        if let Some(weights) = &self.pos_weight {
            let weights = TensorData::new(weights.clone(), [1, self.n_classes]);
            present = present * Tensor::<2>::from_data(weights, &logits.device());
        }
        (present + absent).neg()
    }
}

impl Output {
    /// As it is written with a model.
    pub fn number(self) -> f32 {
        match self {
            Output::Softmax => 0.0,
            Output::Sigmoid => 1.0,
            Output::SigmoidShares => 2.0,
        }
    }

    pub fn of_number(number: f32) -> Option<Output> {
        [Output::Softmax, Output::Sigmoid, Output::SigmoidShares].into_iter().find(|output| output.number() == number)
    }

    /// The probabilities of a clip.
    pub fn probabilities(self, logits: &[f32]) -> Vec<f32> {
        let logits: Vec<f64> = logits.iter().map(|&logit| f64::from(logit)).collect();
        let winner = crate::models::first_largest(&logits);
        let sigmoids = || logits.iter().map(|&logit| 1.0 / (1.0 + (-logit).exp()));
        let shares: Vec<f64> = match self {
            Output::Sigmoid => return sigmoids().map(|p| p as f32).collect(),
            Output::Softmax => logits.iter().map(|&logit| (logit - logits[winner]).exp()).collect(),
            // As shares of the largest, so that a clip far from every class still gets some.
            Output::SigmoidShares => {
                let log = |z: f64| z.min(0.0) - (-z.abs()).exp().ln_1p();
                logits.iter().map(|&logit| (log(logit) - log(logits[winner])).exp()).collect()
            }
        };
        let total: f64 = shares.iter().sum();
        crate::models::probability_row(&shares.iter().map(|share| share / total).collect::<Vec<_>>(), winner)
    }
}
