//! The loop: epochs of steps, a judgement after each, checkpoints between them.
//!
//! Everything random has an address (seed, epoch, step), so that a training which was killed and begun again at its last
//! checkpoint ends with the same bits as one that was not, on the CPU.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use burn::tensor::{Tensor, TensorData};
use indexmap::IndexMap;

use super::average::WeightEma;
use super::checkpoint::{self, Checkpoint, CheckpointState, Checkpoints, NamedArrays};
use super::finder::LearningRateFinder;
use super::inputs::{self, Normalization};
use super::learner::{GradientSum, Learner, TrainingSetup};
use super::loss::Objective;
use super::losses::{EpochLoss, number_of};
use super::model::{self, TrainedNetwork};
use super::monitor::Monitor;
use super::optimizer::Optimizer;
use super::report;
use super::sampler;
use super::schedule::SchedulePlan;
use super::supply::BatchSource;
use crate::networks::{NetworkKind, state, weights};
use crate::training::hyperparameters::Training;
use crate::{Epoch, FitContext, RateCurve};
use timbre_core::cancel::Cancelled;
use timbre_core::seed::Seed;
use timbre_inputs::dataset::feature_set::FeatureSet;

/// Raised by hand when the same training gives other numbers than before.
pub const VERSION: u32 = 1;

/// Trains a network of that kind.
pub fn train(kind: &dyn NetworkKind, train: &FeatureSet, context: &FitContext) -> Result<TrainedNetwork> {
    let training = kind.training();
    let objective = Objective::new(&training, context.decision_rule.task, train)?;
    let monitor =
        Monitor::new(&training.monitor, training.patience, &context.decision_rule, context.validation.is_some())?;
    let shape = inputs::shape_of(train);
    let normalization = Normalization::fit(training.normalize, train)?;
    let supply = BatchSource::new(train, normalization, training.batch_size, context.device)?;
    let network =
        kind.build(shape, train.n_classes(), context.seed.child("weights"), &context.device.burn().autodiff())?;
    let (parameters, _) = state::counts(&network);
    let lesson = TrainingSetup { kind, objective: &objective, device: context.device };
    let clips = whole_batches(train.len(), training.batch_size);
    let steps = clips.div_ceil(training.batch_size).div_ceil(training.accumulate);
    let plan = SchedulePlan::new(&training, kind.groups(), steps);
    let with_best = training.restore_best && context.validation.is_some();
    let checkpoints =
        context.checkpoints.map(|folder| Checkpoints::new(folder, training.keep_checkpoints, with_best)).transpose()?;
    let run = Run { context, train, training, lesson, plan, monitor, supply, checkpoints, clips, steps, with_best };
    let learner = Learner::new(lesson, network, Optimizer::new(&run.training, context.device.is_cpu()));
    run.all(learner, parameters)
}

/// The clips of an epoch. A single one that would be a batch of its own is left out: a batch norm learns nothing from it.
fn whole_batches(len: usize, batch_size: usize) -> usize {
    if batch_size > 1 && len > 1 && len % batch_size == 1 { len - 1 } else { len }
}

struct Run<'a> {
    context: &'a FitContext<'a>,
    train: &'a FeatureSet,
    training: Training,
    lesson: TrainingSetup<'a>,
    plan: SchedulePlan,
    monitor: Monitor,
    supply: BatchSource<'a>,
    checkpoints: Option<Checkpoints<'a>>,
    /// Of an epoch.
    clips: usize,
    /// Of an epoch.
    steps: usize,
    with_best: bool,
}

/// Where a training is.
struct Course {
    rate: f64,
    curve: Option<RateCurve>,
    history: Vec<Epoch>,
    steps: u64,
    best: Option<NamedArrays>,
}

/// What an epoch of training gave.
struct Seen {
    loss: f64,
    /// Of the head, at its end.
    rate: f64,
    trained: Duration,
    waited: Duration,
}

impl Run<'_> {
    fn all(&self, mut learner: Learner, parameters: u64) -> Result<TrainedNetwork> {
        let clock = Instant::now();
        let mut course = match self.newest(&mut learner)? {
            Some(course) => course,
            None => self.begin(&mut learner)?,
        };
        let (begun, mut seen_before) = (course.history.len(), None);
        let (mut trained, mut waited) = (Duration::ZERO, Duration::ZERO);
        while self.ends(&course.history).is_none() {
            let epoch = course.history.len();
            if self.plan.resets_optimizer(epoch) {
                learner.optimizer.forget();
            }
            let unfrozen = self.plan.unfrozen(epoch);
            if seen_before != Some(unfrozen) {
                learner.unfreeze(unfrozen);
                seen_before = Some(unfrozen);
            }
            let clock_of_epoch = Instant::now();
            let seen = self.epoch(&mut learner, &course, epoch)?;
            course.steps += self.steps as u64;
            trained += seen.trained;
            waited += seen.waited;
            self.decision_rule(&learner, &mut course, &seen, clock_of_epoch)?;
            self.write(&learner, &course)?;
            self.context.callback.on_epoch_end(&course.history)?;
            let done = (course.history.len() - begun) as u32;
            let left = clock.elapsed() / done * (self.plan.epochs() - course.history.len()) as u32;
            self.context.printer.message(&report::line(&course.history, self.plan.epochs(), &self.monitor, left));
        }
        let ended = self.ends(&course.history).expect("the loop has ended");
        let mut network = learner.predicting();
        if let Some(best) = &course.best {
            network = checkpoint::with_values(network, best)?;
        }
        let share = waited.as_secs_f64() / trained.as_secs_f64().max(f64::MIN_POSITIVE);
        let notes = report::Notes {
            parameters,
            epochs: course.history.len(),
            best: self.monitor.best(&course.history).filter(|_| self.with_best),
            device: self.context.device.name(),
            steps: course.steps,
            waited: (done(&course.history, begun) > 0).then_some(share),
            found: course.curve.as_ref().map(|curve| curve.suggestion),
            resumed: (begun > 0).then_some(begun),
            ended,
        };
        Ok(TrainedNetwork {
            network,
            normalization: self.supply.normalization().clone(),
            shape: inputs::shape_of(self.train),
            output: self.lesson.objective.output(),
            n_classes: self.train.n_classes(),
            batch_size: self.training.batch_size,
            device: self.context.device.burn(),
            notes: notes.listed(),
        })
    }

    /// Why the training ends here, if it does.
    fn ends(&self, history: &[Epoch]) -> Option<String> {
        if self.monitor.is_exhausted(history) {
            let patience = self.training.patience.unwrap_or_default();
            return Some(format!("no better {} for {patience} epochs", self.monitor.name()));
        }
        (history.len() >= self.plan.epochs()).then(|| "all epochs were run".to_owned())
    }

    /// What this training is, so that no checkpoint of another is taken for one of it.
    fn signature(&self, learner: &Learner) -> Result<String> {
        let what = serde_json::json!({
            "training": self.training,
            "tensors": state::shapes(learner.network()),
            "seed": self.context.seed.number(),
            "clips": self.train.len(),
            "classes": self.train.n_classes(),
            "versions": [VERSION, NetworkKind::version(self.lesson.kind)],
        });
        Ok(blake3::hash(&serde_json::to_vec(&what)?).to_hex().to_string())
    }

    /// Goes on from the newest checkpoint.
    fn newest(&self, learner: &mut Learner) -> Result<Option<Course>> {
        let Some(checkpoints) = &self.checkpoints else { return Ok(None) };
        let signature = self.signature(learner)?;
        let Some(found) = checkpoints.newest(&signature, self.training.ema, &self.context.device.burn()) else {
            return Ok(None);
        };
        let Checkpoint { progress, weights, memory, average, best } = found;
        learner.change(|network| checkpoint::with_values(network, &weights))?;
        learner.optimizer.recall(memory);
        learner.average = average;
        let CheckpointState { rate, curve, history, steps, .. } = progress;
        self.context.printer.message(&format!("going on after epoch {} of {}", history.len(), self.plan.epochs()));
        if let Some(curve) = &curve {
            self.context.callback.on_rates_found(curve)?;
        }
        self.context.callback.on_epoch_end(&history)?;
        Ok(Some(Course { rate, curve, history, steps, best }))
    }

    fn begin(&self, learner: &mut Learner) -> Result<Course> {
        if let Some(path) = &self.training.init {
            let mut report = None;
            learner.change(|network| {
                let (network, found) = weights::import(Path::new(path), network)?;
                report = Some(found);
                Ok(network)
            })?;
            let report = report.expect("an import ends with a report");
            self.context.printer.message(&format!("begins with {path}: {report}"));
        }
        learner.average = self.training.ema.map(|decay| WeightEma::new(decay, learner.network()));
        if self.context.validation.is_none() {
            self.context.printer.message("there is no validation split: epochs are judged by their training loss");
        }
        let curve = if self.training.find_rate { Some(self.find_rate(learner)?) } else { None };
        let rate = curve.as_ref().map_or(self.training.learning_rate, |curve| curve.suggestion);
        if let Some(curve) = &curve {
            self.context.callback.on_rates_found(curve)?;
            self.context.printer.message(&format!("learning rate found: {rate:.2e}"));
        }
        Ok(Course { rate, curve, history: Vec::new(), steps: 0, best: None })
    }

    /// One epoch of steps.
    fn epoch(&self, learner: &mut Learner, course: &Course, epoch: usize) -> Result<Seen> {
        let clock = Instant::now();
        let order = self.order(self.context.seed, epoch);
        let falls = self.plan.falls(&self.monitor.values(&course.history), |a, b| self.monitor.is_better(a, b));
        let seed = self.context.seed.child("step").child(epoch);
        let mut losses = EpochLoss {
            context: self.context,
            train: self.train,
            normalization: self.supply.normalization(),
            batch_size: self.training.batch_size,
            epoch,
            order: &order,
            pending: None,
            sum: 0.0,
        };
        let (mut step, mut rate) = (0, course.rate);
        let mut summed = GradientSum::default();
        let waited = self.supply.feed(&order, epoch, |batch, number| {
            self.may_go_on()?;
            // Each batch weighs as many clips as it has among those of its step.
            let group = number / self.training.accumulate * self.training.accumulate * self.training.batch_size;
            let of_step = (self.training.accumulate * self.training.batch_size).min(order.len() - group);
            let clips = batch.rows.len();
            let loss = learner.add_gradients(batch, clips as f64 / of_step as f64, seed.child(number), &mut summed)?;
            losses.push(loss, number, clips)?;
            let last = (number + 1) * self.training.batch_size >= order.len();
            if (number + 1) % self.training.accumulate == 0 || last {
                let setting = self.plan.setting(course.rate, epoch, step, falls);
                learner.step(std::mem::take(&mut summed), &setting);
                rate = *setting.rates.last().expect("a network has groups");
                step += 1;
            }
            Ok(true)
        })?;
        losses.settle()?;
        Ok(Seen { loss: losses.sum / order.len() as f64, rate, trained: clock.elapsed(), waited })
    }

    /// The rows of an epoch.
    fn order(&self, seed: Seed, epoch: usize) -> Vec<usize> {
        let mut order =
            sampler::order(self.training.sampling, self.train.labels(), self.train.n_classes(), seed, epoch);
        order.truncate(self.clips);
        order
    }

    fn may_go_on(&self) -> Result<()> {
        if self.context.stop.load(Ordering::Relaxed) {
            return Err(Cancelled.into());
        }
        Ok(())
    }

    /// Adds the epoch to the history, with what the validation split says of it.
    fn decision_rule(&self, learner: &Learner, course: &mut Course, seen: &Seen, clock: Instant) -> Result<()> {
        let (mut validation_loss, mut metrics) = (None, IndexMap::new());
        if let Some(set) = self.context.validation {
            let (network, device) = (learner.predicting(), self.context.device.burn());
            let batch_size = self.training.batch_size;
            let mut before_each = || self.may_go_on();
            let logits =
                model::logits(&network, set, self.supply.normalization(), batch_size, &device, &mut before_each)?;
            // A loss that is no number stands for nothing in a table.
            validation_loss = Some(self.loss_of(set, &logits)).filter(|loss| loss.is_finite());
            let predictions = model::probabilities(&logits, set.n_classes(), self.lesson.objective.output());
            metrics = self.context.decision_rule.scores(set.labels(), &predictions).metrics;
        }
        let history = &mut course.history;
        let seconds = seen.trained.as_secs_f64();
        history.push(Epoch {
            epoch: history.len() + 1,
            learning_rate: seen.rate,
            train_loss: seen.loss,
            validation_loss,
            metrics,
            best: false,
            seconds: clock.elapsed().as_secs_f64(),
            clips_per_second: self.clips as f64 / seconds.max(f64::MIN_POSITIVE),
            waited: seen.waited.as_secs_f64() / seconds.max(f64::MIN_POSITIVE),
        });
        if self.monitor.best(history) == Some(history.len() - 1) {
            history.last_mut().expect("just added").best = true;
            if self.with_best {
                course.best = Some(checkpoint::values_of(&learner.predicting()));
            }
        }
        Ok(())
    }

    /// The loss on all clips of a set together.
    fn loss_of(&self, set: &FeatureSet, logits: &[f32]) -> f64 {
        let cpu = burn::tensor::Device::flex();
        let sizes = [set.len(), set.n_classes()];
        let targets = self.lesson.objective.targets(set);
        let tensor = |values: Vec<f32>| Tensor::<2>::from_data(TensorData::new(values, sizes), &cpu);
        number_of(self.lesson.objective.loss(tensor(logits.to_vec()), tensor(targets)))
    }

    /// The best weights first: the checkpoint refers to them.
    fn write(&self, learner: &Learner, course: &Course) -> Result<()> {
        let Some(checkpoints) = &self.checkpoints else { return Ok(()) };
        let last = course.history.last().context("a checkpoint follows an epoch")?;
        if let Some(best) = course.best.as_ref().filter(|_| last.best) {
            checkpoints.write_best(last.epoch, best)?;
        }
        let (signature, history) = (self.signature(learner)?, course.history.clone());
        let progress = CheckpointState::new(signature, course.rate, course.curve.clone(), history, course.steps);
        checkpoints.write(progress, learner.network(), learner.optimizer.memory(), learner.average.as_ref())
    }

    /// Tries rates on a network that is thrown away.
    fn find_rate(&self, learner: &Learner) -> Result<RateCurve> {
        let mut trial = learner.apart(Optimizer::new(&self.training, self.context.device.is_cpu()));
        trial.unfreeze(self.plan.unfrozen(0));
        let (mut finder, seed) = (LearningRateFinder::default(), self.context.seed.child("finder"));
        for epoch in 0.. {
            if finder.next_rate().is_none() {
                break;
            }
            let order = self.order(seed, epoch);
            // A search may take more epochs than the training has, and nobody has recorded draws of those: it hears the recorded
            // ones again. Without a replay, crops and draws have the address of their epoch, and any epoch has some.
            let heard = if self.training.replay.is_some() { epoch % self.plan.epochs().max(1) } else { epoch };
            self.supply.feed(&order, heard, |batch, number| {
                self.may_go_on()?;
                let Some(rate) = finder.next_rate() else { return Ok(false) };
                let mut summed = GradientSum::default();
                let loss = trial.add_gradients(batch, 1.0, seed.child(epoch).child(number), &mut summed)?;
                finder.push(number_of(loss));
                trial.step(summed, &self.plan.trial(rate));
                Ok(true)
            })?;
        }
        finder.curve()
    }
}

fn done(history: &[Epoch], begun: usize) -> usize {
    history.len() - begun
}
