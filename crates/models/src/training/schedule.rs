//! The schedule of learning rates, momentum and frozen layers: a plan made before the training, and pure functions of it.
//!
//! Conventions: the position of a step is the number of steps before it divided by the number of all steps, as in fastai. One
//! cycle is fastai's `fit_one_cycle`: half cosines from rate / 25 up to the rate and down to rate / 100,000, the momentum from
//! 0.95 down to 0.85 and up again; a `momentum` of 0 stays 0. `fine_tune` is fastai's: first the head alone, with the peak of the
//! rate at 99 %; then, with a reset optimizer, all layers at half the rate for the head, down to a hundredth of that at the input,
//! starting from rate / 5 with the peak at 30 %. Batch norms of frozen layers are trained in that preset, as in fastai
//! (`train_bn`), at a tenth of the rate. Layers frozen by `freeze_epochs` alone keep the weights and statistics of their batch
//! norms.
//! `step` counts epochs like PyTorch's StepLR; `plateau` and patience count like Keras: the rate is reduced after that many
//! epochs without improvement.

use std::f64::consts::PI;

use super::optimizer::StepSettings;
use crate::hyperparameters::{Preset, Schedule, Training};

const HIGH_MOMENTUM: f64 = 0.95;
const LOW_MOMENTUM: f64 = 0.85;
const DIV: f64 = 25.0;
const DIV_FINAL: f64 = 1e5;

/// The schedule of a whole training.
#[derive(Clone, Debug, PartialEq)]
pub struct SchedulePlan {
    stages: Vec<Stage>,
    /// Steps per epoch.
    steps: usize,
    groups: usize,
    momentum: f64,
}

/// Consecutive epochs with one schedule.
#[derive(Clone, Debug, PartialEq)]
struct Stage {
    epochs: usize,
    shape: Shape,
    /// Warm-up steps from zero before the shape begins.
    warmup: usize,
    /// Factors on the learning rate of the spec, one per parameter group.
    factors: Vec<f64>,
    trainable: Trainable,
    /// Whether the optimizer is reset at the beginning.
    resets_optimizer: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    Constant,
    OneCycle { peak_at: f64, div: f64 },
    Cosine,
    Step { epochs: usize, factor: f64 },
    Plateau { patience: usize, factor: f64 },
}

/// Which layers are trained in a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trainable {
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

/// The layers that are trained in an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnfrozenGroups {
    /// The first parameter group that is trained.
    pub from: usize,
    /// Whether the batch norms of the groups below are trained too.
    pub batch_norms: bool,
}

impl SchedulePlan {
    pub fn new(training: &Training, groups: usize, steps: usize) -> SchedulePlan {
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
                trainable: trainable(training),
                resets_optimizer: false,
            }],
            Preset::FitOneCycle => vec![Stage {
                epochs: training.epochs,
                shape: Shape::OneCycle { peak_at: 0.25, div: DIV },
                warmup: 0,
                factors: factors(&training.group_rates, groups),
                trainable: trainable(training),
                resets_optimizer: false,
            }],
            Preset::FineTune => {
                let mut tenth = vec![0.1; groups];
                tenth[groups - 1] = 1.0;
                let head = Stage {
                    epochs: training.freeze_epochs.unwrap_or(1),
                    shape: Shape::OneCycle { peak_at: 0.99, div: DIV },
                    warmup: 0,
                    factors: tenth,
                    trainable: Trainable::HeadAndBatchNorms,
                    resets_optimizer: false,
                };
                let all = Stage {
                    epochs: training.epochs,
                    shape: Shape::OneCycle { peak_at: 0.3, div: 5.0 },
                    warmup: 0,
                    factors: spread(0.005, 0.5, groups),
                    trainable: Trainable::All,
                    resets_optimizer: true,
                };
                vec![head, all].into_iter().filter(|stage| stage.epochs > 0).collect()
            }
        };
        SchedulePlan { stages, steps, groups, momentum: training.momentum }
    }

    /// Epochs in all stages.
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
        panic!("the schedule ends before epoch {epoch}")
    }

    /// Whether the optimizer is reset before an epoch (from 0).
    pub fn resets_optimizer(&self, epoch: usize) -> bool {
        let (stage, epoch) = self.stage(epoch);
        stage.resets_optimizer && epoch == 0
    }

    /// The layers that are trained in an epoch (from 0).
    pub fn unfrozen(&self, epoch: usize) -> UnfrozenGroups {
        let (stage, epoch) = self.stage(epoch);
        let head = self.groups - 1;
        let unfrozen = |from| UnfrozenGroups { from, batch_norms: false };
        match stage.trainable {
            Trainable::All => unfrozen(0),
            Trainable::HeadAndBatchNorms => UnfrozenGroups { from: head, batch_norms: true },
            Trainable::HeadFirst { epochs } | Trainable::Gradual { epochs } if epoch < epochs => unfrozen(head),
            Trainable::HeadFirst { .. } => unfrozen(0),
            Trainable::Gradual { epochs } => unfrozen(head.saturating_sub(epoch - epochs + 1)),
        }
    }

    /// Rates and momentum of a step of an epoch (both from 0). `reductions` is how often a plateau has reduced the rate
    /// ([`SchedulePlan::plateau_reductions`]).
    pub fn step_settings(&self, rate: f64, epoch: usize, step: usize, reductions: usize) -> StepSettings {
        let (stage, epoch) = self.stage(epoch);
        let done = epoch * self.steps + step;
        let (share, momentum) = if done < stage.warmup {
            let (_, momentum) = self.shaped(stage, 0, reductions);
            ((done + 1) as f64 / stage.warmup as f64, momentum)
        } else {
            self.shaped(stage, done - stage.warmup, reductions)
        };
        StepSettings { rates: stage.factors.iter().map(|factor| rate * factor * share).collect(), momentum }
    }

    /// The settings of a step of the learning-rate finder.
    pub fn finder_settings(&self, rate: f64) -> StepSettings {
        let (stage, _) = self.stage(0);
        StepSettings { rates: stage.factors.iter().map(|factor| rate * factor).collect(), momentum: self.momentum }
    }

    /// The share of the full rate and the momentum, `done` steps after the warm-up.
    fn shaped(&self, stage: &Stage, done: usize, reductions: usize) -> (f64, f64) {
        let all = (stage.epochs * self.steps).saturating_sub(stage.warmup).max(1);
        let position = done as f64 / all as f64;
        let share = match stage.shape {
            Shape::Constant => 1.0,
            Shape::Cosine => half_cosine(1.0, 0.0, position),
            Shape::Step { epochs, factor } => factor.powi((done / self.steps / epochs) as i32),
            Shape::Plateau { factor, .. } => factor.powi(reductions as i32),
            Shape::OneCycle { peak_at, div } => {
                let share = up_and_down(1.0 / div, 1.0, 1.0 / DIV_FINAL, peak_at, position);
                let momentum = up_and_down(HIGH_MOMENTUM, LOW_MOMENTUM, HIGH_MOMENTUM, peak_at, position);
                return (share, if self.momentum == 0.0 { 0.0 } else { momentum });
            }
        };
        (share, self.momentum)
    }

    /// How often the plateau schedule has reduced the rate after epochs with these values.
    pub fn plateau_reductions(&self, values: &[f64], is_better: impl Fn(f64, f64) -> bool) -> usize {
        let Some(Stage { shape: Shape::Plateau { patience, .. }, .. }) = self.stages.first() else { return 0 };
        let (mut best, mut waited, mut reductions) = (None, 0, 0);
        for &value in values {
            if best.is_none_or(|best| is_better(value, best)) {
                (best, waited) = (Some(value), 0);
            } else {
                waited += 1;
                if waited == *patience {
                    (waited, reductions) = (0, reductions + 1);
                }
            }
        }
        reductions
    }
}

fn trainable(training: &Training) -> Trainable {
    match (training.freeze_epochs, training.gradual_unfreezing) {
        (epochs, true) => Trainable::Gradual { epochs: epochs.unwrap_or(1) },
        (Some(epochs), false) if epochs > 0 => Trainable::HeadFirst { epochs },
        _ => Trainable::All,
    }
}

/// A factor for each group: as given, or spread geometrically between two.
fn factors(group_rates: &[f64], groups: usize) -> Vec<f64> {
    match group_rates {
        [] => vec![1.0; groups],
        each if each.len() == groups => each.to_vec(),
        [first, last] => spread(*first, *last, groups),
        _ => panic!("the faults of a spec are reported before it is planned"),
    }
}

/// A geometric sequence from `first` to `last`: fastai's `even_mults`.
fn spread(first: f64, last: f64, count: usize) -> Vec<f64> {
    match count {
        1 => vec![last],
        _ => (0..count).map(|i| first * (last / first).powf(i as f64 / (count - 1) as f64)).collect(),
    }
}

/// Half a cosine from `start` at position 0 to `end` at position 1.
fn half_cosine(start: f64, end: f64, position: f64) -> f64 {
    start + (1.0 + (PI * (1.0 - position)).cos()) * (end - start) / 2.0
}

/// Half cosines from `start` to `peak` at `peak_at`, then to `end`.
fn up_and_down(start: f64, peak: f64, end: f64, peak_at: f64, position: f64) -> f64 {
    if position < peak_at {
        half_cosine(start, peak, position / peak_at)
    } else if peak_at < 1.0 {
        half_cosine(peak, end, (position - peak_at) / (1.0 - peak_at))
    } else {
        peak
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn training(change: impl FnOnce(&mut Training)) -> Training {
        let mut training = Training { epochs: 4, learning_rate: 0.2, momentum: 0.9, ..Training::default() };
        change(&mut training);
        training
    }

    /// The rate of the head and the momentum at a step of the whole training, with ten steps per epoch.
    fn at(training: &Training, step: usize) -> (f64, f64) {
        let setting = SchedulePlan::new(training, 1, 10).step_settings(training.learning_rate, step / 10, step % 10, 0);
        (setting.rates[0], setting.momentum)
    }

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12 * expected.abs().max(1e-3), "{found}, not {expected}");
    }

    #[test]
    fn one_cycle_rises_to_the_peak_and_falls_to_almost_zero() {
        let training = training(|t| t.schedule = Schedule::OneCycle);
        let expected = [
            (0, 0.2 / 25.0, 0.95),
            // Half-way up or down, a half cosine is in the middle.
            (5, (0.2 / 25.0 + 0.2) / 2.0, 0.9),
            (10, 0.2, 0.85),
            (25, (0.2 + 0.2 / 1e5) / 2.0, 0.9),
        ];
        for (step, rate, momentum) in expected {
            close(at(&training, step).0, rate);
            close(at(&training, step).1, momentum);
        }
        let (last, momentum) = at(&training, 39);
        assert!(last > 0.2 / 1e5 && last < 0.2 / 300.0 && momentum < 0.95, "{last} {momentum}");
        close(at(&Training { momentum: 0.0, ..training }, 7).1, 0.0);
    }

    #[test]
    fn the_other_schedules_have_the_expected_rates() {
        let cosine = training(|t| t.schedule = Schedule::Cosine);
        for (step, rate) in
            [(0, 0.2), (10, 0.1 * (1.0 + (PI / 4.0).cos())), (20, 0.1), (30, 0.1 * (1.0 - (PI / 4.0).cos()))]
        {
            close(at(&cosine, step).0, rate);
            close(at(&cosine, step).1, 0.9);
        }
        let steps = training(|t| (t.schedule, t.step_epochs, t.factor) = (Schedule::Step, 2, 0.5));
        for (step, rate) in [(0, 0.2), (19, 0.2), (20, 0.1), (39, 0.1)] {
            close(at(&steps, step).0, rate);
        }
        close(at(&training(|t| t.schedule = Schedule::Constant), 39).0, 0.2);
    }

    #[test]
    fn warm_up_rises_to_the_rate_before_the_schedule_begins() {
        let warm = training(|t| (t.schedule, t.warmup_epochs) = (Schedule::Cosine, 0.5));
        for (step, rate) in [(0, 0.04), (1, 0.08), (4, 0.2), (5, 0.2)] {
            close(at(&warm, step).0, rate);
        }
        close(at(&warm, 5 + 35 / 5).0, 0.1 * (1.0 + (PI / 5.0).cos()));
    }

    #[test]
    fn a_plateau_reduces_the_rate_after_epochs_without_improvement() {
        let training = training(|t| (t.schedule, t.plateau_patience, t.factor) = (Schedule::Plateau, 2, 0.5));
        let plan = SchedulePlan::new(&training, 1, 10);
        let lower = |a: f64, b: f64| a < b;
        let reductions = |values: &[f64]| plan.plateau_reductions(values, lower);
        assert_eq!([reductions(&[]), reductions(&[3.0, 2.0, 2.0]), reductions(&[3.0, 2.0, 2.0, 2.5])], [0, 0, 1]);
        assert_eq!(reductions(&[3.0, 2.0, 2.0, 2.5, 1.0, 1.5, 1.5, 1.5, 1.5]), 3);
        close(plan.step_settings(0.2, 2, 0, 2).rates[0], 0.05);
        let other = SchedulePlan::new(&Training::default(), 1, 10);
        assert_eq!(other.plateau_reductions(&[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], lower), 0);
    }

    #[test]
    fn fine_tune_trains_the_head_first_and_then_all_layers_with_separate_rates() {
        let training = training(|t| t.preset = Preset::FineTune);
        let plan = SchedulePlan::new(&training, 3, 10);
        assert_eq!(plan.epochs(), 5);
        assert_eq!(plan.unfrozen(0), UnfrozenGroups { from: 2, batch_norms: true });
        assert_eq!(plan.unfrozen(1), UnfrozenGroups { from: 0, batch_norms: false });
        assert!(!plan.resets_optimizer(0) && plan.resets_optimizer(1) && !plan.resets_optimizer(2));
        let rates = |epoch, step| plan.step_settings(0.2, epoch, step, 0).rates;
        let all = |found: Vec<f64>, expected: [f64; 3]| found.into_iter().zip(expected).for_each(|(f, e)| close(f, e));
        all(rates(0, 0), [0.02 / 25.0, 0.02 / 25.0, 0.2 / 25.0]);
        // Half the rate at the head, a hundredth of that at the input, the geometric mean between; a fifth of each at the start.
        all(rates(1, 0), [0.001 / 5.0, 0.01 / 5.0, 0.1 / 5.0]);
        // The peak is at 30 % of forty steps.
        all(rates(2, 2), [0.001, 0.01, 0.1]);
        let once = SchedulePlan::new(&Training { freeze_epochs: Some(0), ..training }, 3, 10);
        assert_eq!((once.epochs(), once.unfrozen(0).from), (4, 0));
    }

    #[test]
    fn groups_have_the_given_rates_or_rates_spread_between_two() {
        let rates = |group_rates: &[f64], groups| {
            let training = training(|t| (t.schedule, t.group_rates) = (Schedule::Constant, group_rates.to_vec()));
            SchedulePlan::new(&training, groups, 10).step_settings(1.0, 0, 0, 0).rates
        };
        assert_eq!(rates(&[], 3), [1.0, 1.0, 1.0]);
        assert_eq!(rates(&[0.5, 2.0, 3.0], 3), [0.5, 2.0, 3.0]);
        rates(&[0.01, 1.0], 3).into_iter().zip([0.01, 0.1, 1.0]).for_each(|(f, e)| close(f, e));
        assert_eq!(rates(&[0.25, 0.5], 2), [0.25, 0.5]);
    }

    #[test]
    fn layers_are_unfrozen_as_configured() {
        let from = |change: fn(&mut Training), epoch| SchedulePlan::new(&training(change), 3, 10).unfrozen(epoch).from;
        assert_eq!([0, 1, 2, 3].map(|e| from(|_| {}, e)), [0, 0, 0, 0]);
        assert_eq!([0, 1, 2, 3].map(|e| from(|t| t.freeze_epochs = Some(2), e)), [2, 2, 0, 0]);
        assert_eq!([0, 1, 2, 3].map(|e| from(|t| t.gradual_unfreezing = true, e)), [2, 1, 0, 0]);
        let late: fn(&mut Training) = |t| (t.freeze_epochs, t.gradual_unfreezing) = (Some(2), true);
        assert_eq!([0, 1, 2, 3].map(|e| from(late, e)), [2, 2, 1, 0]);
    }
}
