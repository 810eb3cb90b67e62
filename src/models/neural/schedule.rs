//! How rates, momentum and the layers that learn change over a training: a plan that is made before it begins, and pure
//! functions of it.
//!
//! Conventions: the position of a step is the number of steps before it over all steps, as in fastai. One cycle is fastai's
//! `fit_one_cycle`: half cosines from rate / 25 up to the rate and down to rate / 100,000, the momentum from 0.95 down to 0.85
//! and up again; a `momentum` of 0 stays 0. `fine_tune` is fastai's: the head alone at the rate, up to 99 % of the way; then,
//! with a fresh optimiser, all layers at half the rate for the head, down to a hundredth of that at the input, div 5 and peak at
//! 30 %. Batch norms of frozen layers go on learning there, as fastai's do (`train_bn`), at a tenth of the rate. Where layers
//! are frozen by `freeze_epochs` alone, their batch norms keep weights and statistics.
//! `step` counts epochs as PyTorch's StepLR; `plateau` and patience as Keras: the rate falls after that many epochs without a
//! better value.

use std::f64::consts::PI;

use super::optimizer::Setting;
use crate::models::training::{Preset, Schedule, Training};

const HIGH_MOMENTUM: f64 = 0.95;
const LOW_MOMENTUM: f64 = 0.85;
const DIV: f64 = 25.0;
const DIV_FINAL: f64 = 1e5;

/// What happens when.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    stages: Vec<Stage>,
    /// Steps of an epoch.
    steps: usize,
    groups: usize,
    momentum: f64,
}

/// Some epochs under one schedule.
#[derive(Clone, Debug, PartialEq)]
struct Stage {
    epochs: usize,
    shape: Shape,
    /// Steps in which the rate rises from zero, before the shape begins.
    warmup: usize,
    /// What the learning rate of the spec is multiplied by, a factor a group.
    factors: Vec<f64>,
    learning: Learning,
    /// Whether the optimiser begins with an empty memory.
    afresh: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    Constant,
    OneCycle { peak_at: f64, div: f64 },
    Cosine,
    Step { epochs: usize, factor: f64 },
    Plateau { patience: usize, factor: f64 },
}

/// Which layers learn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Learning {
    All,
    /// The head; and the batch norms of the other layers.
    HeadAndBatchNorms,
    /// The head for some epochs, then all.
    HeadFirst {
        epochs: usize,
    },
    /// The head for some epochs, then one more group each epoch.
    Gradual {
        epochs: usize,
    },
}

/// Which layers learn in an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thawed {
    /// Groups from this one on learn.
    pub from: usize,
    /// Whether batch norms of the groups below do, too.
    pub batch_norms: bool,
}

impl Plan {
    pub fn new(training: &Training, groups: usize, steps: usize) -> Plan {
        let stages = match training.preset {
            Preset::None => vec![Stage {
                epochs: training.epochs,
                shape: match training.schedule {
                    Schedule::Constant => Shape::Constant,
                    Schedule::OneCycle => Shape::OneCycle { peak_at: training.peak_at, div: DIV },
                    Schedule::Cosine => Shape::Cosine,
                    Schedule::Step => Shape::Step { epochs: training.step_epochs, factor: training.factor },
                    Schedule::Plateau => {
                        Shape::Plateau { patience: training.plateau_patience, factor: training.factor }
                    }
                },
                warmup: (training.warmup_epochs * steps as f64).round() as usize,
                factors: factors(&training.group_rates, groups),
                learning: learning(training),
                afresh: false,
            }],
            Preset::FitOneCycle => vec![Stage {
                epochs: training.epochs,
                shape: Shape::OneCycle { peak_at: 0.25, div: DIV },
                warmup: 0,
                factors: factors(&training.group_rates, groups),
                learning: learning(training),
                afresh: false,
            }],
            Preset::FineTune => {
                let mut tenth = vec![0.1; groups];
                tenth[groups - 1] = 1.0;
                let head = Stage {
                    epochs: training.freeze_epochs.unwrap_or(1),
                    shape: Shape::OneCycle { peak_at: 0.99, div: DIV },
                    warmup: 0,
                    factors: tenth,
                    learning: Learning::HeadAndBatchNorms,
                    afresh: false,
                };
                let all = Stage {
                    epochs: training.epochs,
                    shape: Shape::OneCycle { peak_at: 0.3, div: 5.0 },
                    warmup: 0,
                    factors: spread(0.005, 0.5, groups),
                    learning: Learning::All,
                    afresh: true,
                };
                vec![head, all].into_iter().filter(|stage| stage.epochs > 0).collect()
            }
        };
        Plan { stages, steps, groups, momentum: training.momentum }
    }

    /// Epochs of all stages.
    pub fn epochs(&self) -> usize {
        self.stages.iter().map(|stage| stage.epochs).sum()
    }

    /// The stage of an epoch, and the epochs of that stage before it.
    fn stage(&self, epoch: usize) -> (&Stage, usize) {
        let mut before = 0;
        for stage in &self.stages {
            if epoch < before + stage.epochs {
                return (stage, epoch - before);
            }
            before += stage.epochs;
        }
        panic!("the plan ends before epoch {epoch}")
    }

    /// Whether the optimiser begins an epoch (from 0) with an empty memory.
    pub fn begins_afresh(&self, epoch: usize) -> bool {
        let (stage, epoch) = self.stage(epoch);
        stage.afresh && epoch == 0
    }

    /// Which layers learn in an epoch (from 0).
    pub fn thawed(&self, epoch: usize) -> Thawed {
        let (stage, epoch) = self.stage(epoch);
        let head = self.groups - 1;
        let thawed = |from| Thawed { from, batch_norms: false };
        match stage.learning {
            Learning::All => thawed(0),
            Learning::HeadAndBatchNorms => Thawed { from: head, batch_norms: true },
            Learning::HeadFirst { epochs } | Learning::Gradual { epochs } if epoch < epochs => thawed(head),
            Learning::HeadFirst { .. } => thawed(0),
            Learning::Gradual { epochs } => thawed(head.saturating_sub(epoch - epochs + 1)),
        }
    }

    /// Rates and momentum of a step of an epoch (both from 0). `falls` says how often a plateau has lowered the rate
    /// ([`Plan::plateau`]).
    pub fn setting(&self, rate: f64, epoch: usize, step: usize, falls: usize) -> Setting {
        let (stage, epoch) = self.stage(epoch);
        let done = epoch * self.steps + step;
        let (share, momentum) = if done < stage.warmup {
            let (_, momentum) = self.shaped(stage, 0, falls);
            ((done + 1) as f64 / stage.warmup as f64, momentum)
        } else {
            self.shaped(stage, done - stage.warmup, falls)
        };
        Setting { rates: stage.factors.iter().map(|factor| rate * factor * share).collect(), momentum }
    }

    /// The setting of a step at a rate that is tried.
    pub fn trial(&self, rate: f64) -> Setting {
        let (stage, _) = self.stage(0);
        Setting { rates: stage.factors.iter().map(|factor| rate * factor).collect(), momentum: self.momentum }
    }

    /// The share of the full rate, and the momentum, some steps after the warm-up.
    fn shaped(&self, stage: &Stage, done: usize, falls: usize) -> (f64, f64) {
        let all = (stage.epochs * self.steps).saturating_sub(stage.warmup).max(1);
        let position = done as f64 / all as f64;
        let share = match stage.shape {
            Shape::Constant => 1.0,
            Shape::Cosine => half_cosine(1.0, 0.0, position),
            Shape::Step { epochs, factor } => factor.powi((done / self.steps / epochs) as i32),
            Shape::Plateau { factor, .. } => factor.powi(falls as i32),
            Shape::OneCycle { peak_at, div } => {
                let share = up_and_down(1.0 / div, 1.0, 1.0 / DIV_FINAL, peak_at, position);
                let momentum = up_and_down(HIGH_MOMENTUM, LOW_MOMENTUM, HIGH_MOMENTUM, peak_at, position);
                return (share, if self.momentum == 0.0 { 0.0 } else { momentum });
            }
        };
        (share, self.momentum)
    }

    /// Patience and, where the schedule waits for a plateau, how often the rate has fallen after epochs with these values.
    pub fn falls(&self, values: &[f64], is_better: impl Fn(f64, f64) -> bool) -> usize {
        let Some(Stage { shape: Shape::Plateau { patience, .. }, .. }) = self.stages.first() else { return 0 };
        let (mut best, mut waited, mut falls) = (None, 0, 0);
        for &value in values {
            if best.is_none_or(|best| is_better(value, best)) {
                (best, waited) = (Some(value), 0);
            } else {
                waited += 1;
                if waited == *patience {
                    (waited, falls) = (0, falls + 1);
                }
            }
        }
        falls
    }
}

fn learning(training: &Training) -> Learning {
    match (training.freeze_epochs, training.gradual_unfreezing) {
        (epochs, true) => Learning::Gradual { epochs: epochs.unwrap_or(1) },
        (Some(epochs), false) if epochs > 0 => Learning::HeadFirst { epochs },
        _ => Learning::All,
    }
}

/// A factor a group: as written, or in equal ratios between two.
fn factors(group_rates: &[f64], groups: usize) -> Vec<f64> {
    match group_rates {
        [] => vec![1.0; groups],
        each if each.len() == groups => each.to_vec(),
        [first, last] => spread(*first, *last, groups),
        _ => panic!("the faults of a spec are told before it is planned"),
    }
}

/// Numbers from `first` to `last` in equal ratios: fastai's `even_mults`.
fn spread(first: f64, last: f64, count: usize) -> Vec<f64> {
    match count {
        1 => vec![last],
        _ => (0..count).map(|i| first * (last / first).powf(i as f64 / (count - 1) as f64)).collect(),
    }
}

/// From `start` at 0 to `end` at 1 in half a cosine.
fn half_cosine(start: f64, end: f64, position: f64) -> f64 {
    start + (1.0 + (PI * (1.0 - position)).cos()) * (end - start) / 2.0
}

/// From `start` to `peak` at `peak_at`, then to `end`.
fn up_and_down(start: f64, peak: f64, end: f64, peak_at: f64, position: f64) -> f64 {
    if position < peak_at {
        half_cosine(start, peak, position / peak_at)
    } else if peak_at < 1.0 {
        half_cosine(peak, end, (position - peak_at) / (1.0 - peak_at))
    } else {
        peak
    }
}
