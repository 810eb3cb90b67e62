//! The training loop: epochs of steps, validation after each epoch, checkpoints in between.
//!
//! All random numbers come from seeds named after epoch and step. On the CPU, a training that is killed and resumed from its last
//! checkpoint therefore ends with the same bits as an uninterrupted one.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use burn::tensor::{Tensor, TensorData};
use indexmap::IndexMap;

use super::batch_source::BatchSource;
use super::checkpoint::{self, Checkpoint, CheckpointState, Checkpoints, NamedArrays};
use super::early_stopping::Monitor;
use super::epoch_log::{self, EpochTable};
use super::epoch_loss::{EpochLoss, scalar};
use super::inputs::{self, Normalization};
use super::learner::{GradientSum, Learner, TrainingSetup};
use super::learning_rate_finder::LearningRateFinder;
use super::loss::Objective;
use super::optimizer::Optimizer;
use super::sampler;
use super::schedule::SchedulePlan;
use super::trained_network::{self, TrainedNetwork};
use super::weight_ema::WeightEma;
use crate::hyperparameters::Training;
use crate::networks::{NetworkModel, pretrained, state_dict};
use crate::{Epoch, FitContext, RateCurve};
use timbre_core::{cancel::Cancelled, seed::Seed};
use timbre_inputs::dataset::feature_set::FeatureSet;

/// Raised by hand when the same training gives other numbers than before.
pub const VERSION: u32 = 1;

/// Trains a network.
pub fn train(model: &dyn NetworkModel, train: &FeatureSet, context: &FitContext) -> Result<TrainedNetwork> {
    let (kind, training) = (model.kind(), model.training());
    let objective = Objective::new(training, context.decision_rule.task, train)?;
    let monitor =
        Monitor::new(&training.monitor, training.patience, &context.decision_rule, context.validation.is_some())?;
    let shape = inputs::shape_of(train);
    let normalization = Normalization::fit(training.normalize, train)?;
    let batches = BatchSource::new(train, normalization, training.batch_size, context.device)?;
    let network =
        kind.build(shape, train.n_outputs(), context.seed.child("weights"), &context.device.burn().autodiff())?;
    let (parameters, _) = state_dict::counts(&network);
    let Training { layer_decay, precision, .. } = *training;
    context.device.ensure_computes(precision)?;
    let setup = TrainingSetup { kind, objective: &objective, device: context.device, layer_decay, precision };
    let clips = whole_batches(train.len(), training.batch_size);
    let steps = clips.div_ceil(training.batch_size).div_ceil(training.accumulate);
    let plan = SchedulePlan::new(training, kind.groups(), steps);
    let with_best = training.restore_best && context.validation.is_some();
    let checkpoints =
        context.checkpoints.map(|folder| Checkpoints::new(folder, training.keep_checkpoints, with_best)).transpose()?;
    let run =
        TrainingRun { context, train, training, setup, plan, monitor, batches, checkpoints, clips, steps, with_best };
    let learner = Learner::new(setup, network, Optimizer::new(training, context.device.is_cpu()));
    run.all(learner, parameters)
}

/// The number of clips of an epoch. A single clip that would be a batch of its own is left out, since a batch norm needs more.
fn whole_batches(len: usize, batch_size: usize) -> usize {
    if batch_size > 1 && len > 1 && len % batch_size == 1 { len - 1 } else { len }
}

struct TrainingRun<'a> {
    context: &'a FitContext<'a>,
    train: &'a FeatureSet,
    training: &'a Training,
    setup: TrainingSetup<'a>,
    plan: SchedulePlan,
    monitor: Monitor,
    batches: BatchSource<'a>,
    checkpoints: Option<Checkpoints<'a>>,
    /// Clips per epoch.
    clips: usize,
    /// Steps per epoch.
    steps: usize,
    with_best: bool,
}

/// The state of a training between two epochs.
struct TrainingState {
    rate: f64,
    curve: Option<RateCurve>,
    history: Vec<Epoch>,
    steps: u64,
    best: Option<NamedArrays>,
}

/// The results of the training steps of an epoch.
struct EpochStats {
    loss: f64,
    /// The rate of the head at its end.
    rate: f64,
    trained: Duration,
    waited: Duration,
}

impl TrainingRun<'_> {
    fn all(&self, mut learner: Learner, parameters: u64) -> Result<TrainedNetwork> {
        let clock = Instant::now();
        let mut state = match self.resume(&mut learner)? {
            Some(state) => state,
            None => self.begin(&mut learner)?,
        };
        let (start, mut unfrozen_before) = (state.history.len(), None);
        let (mut trained, mut waited) = (Duration::ZERO, Duration::ZERO);
        while self.stop_reason(&state.history).is_none() {
            let epoch = state.history.len();
            if self.plan.resets_optimizer(epoch) {
                learner.optimizer.reset();
            }
            let unfrozen = self.plan.unfrozen(epoch);
            if unfrozen_before != Some(unfrozen) {
                learner.unfreeze(unfrozen);
                unfrozen_before = Some(unfrozen);
            }
            let clock_of_epoch = Instant::now();
            let stats = self.epoch(&mut learner, &state, epoch)?;
            state.steps += self.steps as u64;
            trained += stats.trained;
            waited += stats.waited;
            self.validate(&learner, &mut state, &stats, clock_of_epoch)?;
            self.write(&learner, &state)?;
            self.context.callback.on_epoch_end(&state.history)?;
            let done = (state.history.len() - start) as u32;
            let left = clock.elapsed() / done * (self.plan.epochs() - state.history.len()) as u32;
            let printer = self.context.printer;
            let (model, epochs, width) = (self.context.name, self.plan.epochs(), printer.width());
            let table = EpochTable { model, epochs, monitor: &self.monitor, width };
            if done == 1 {
                printer.message(&table.header());
            }
            printer.message(&table.line(&state.history, left));
        }
        let ended = self.stop_reason(&state.history).expect("the loop has ended");
        let mut network = learner.inference_network();
        if let Some(best) = &state.best {
            network = checkpoint::with_values(network, best)?;
        }
        let share = waited.as_secs_f64() / trained.as_secs_f64().max(f64::MIN_POSITIVE);
        let notes = epoch_log::Notes {
            parameters,
            epochs: state.history.len(),
            best: self.monitor.best(&state.history).filter(|_| self.with_best),
            device: self.context.device.name(),
            steps: state.steps,
            waited: (done(&state.history, start) > 0).then_some(share),
            found: state.curve.as_ref().map(|curve| curve.suggestion),
            resumed: (start > 0).then_some(start),
            ended,
        };
        Ok(TrainedNetwork {
            network,
            normalization: self.batches.normalization().clone(),
            shape: inputs::shape_of(self.train),
            output: self.setup.objective.output(),
            n_classes: self.train.n_classes(),
            auxiliary: self.train.n_outputs() - self.train.n_classes(),
            tag_rows: self.train.tag_rows(),
            batch_size: self.training.batch_size,
            device: self.context.device.clone(),
            notes: notes.into_pairs(),
        })
    }

    /// Why the training ends here, if it does.
    fn stop_reason(&self, history: &[Epoch]) -> Option<String> {
        if self.monitor.is_exhausted(history) {
            let patience = self.training.patience.unwrap_or_default();
            return Some(format!("no improvement of the {} for {patience} epochs", self.monitor.name()));
        }
        (history.len() >= self.plan.epochs()).then(|| "all epochs completed".to_owned())
    }

    /// Identifies this training, so that it never resumes from a checkpoint of another.
    fn signature(&self, learner: &Learner) -> Result<String> {
        let identity = serde_json::json!({
            "training": self.training,
            "tensors": state_dict::shapes(learner.network()),
            "seed": self.context.seed.number(),
            "clips": self.train.len(),
            "classes": self.train.n_classes(),
            "versions": [VERSION, self.setup.kind.version()],
        });
        Ok(blake3::hash(&serde_json::to_vec(&identity)?).to_hex().to_string())
    }

    /// Resumes from the newest checkpoint, if there is one.
    fn resume(&self, learner: &mut Learner) -> Result<Option<TrainingState>> {
        let Some(checkpoints) = &self.checkpoints else { return Ok(None) };
        let signature = self.signature(learner)?;
        let Some(found) = checkpoints.newest(&signature, self.training.ema, &self.context.device.burn()) else {
            return Ok(None);
        };
        let Checkpoint { progress, weights, memory, average, best } = found;
        learner.replace(|network| checkpoint::with_values(network, &weights))?;
        learner.optimizer.restore(memory);
        learner.average = average;
        let CheckpointState { rate, curve, history, steps, .. } = progress;
        let (name, done, all) = (self.context.name, history.len(), self.plan.epochs());
        self.context.printer.message(&format!("{name}: resuming after epoch {done} of {all}"));
        if let Some(curve) = &curve {
            self.context.callback.on_rates_found(curve)?;
        }
        self.context.callback.on_epoch_end(&history)?;
        Ok(Some(TrainingState { rate, curve, history, steps, best }))
    }

    /// Starts a new training.
    fn begin(&self, learner: &mut Learner) -> Result<TrainingState> {
        if let Some(path) = &self.training.init {
            let mut report = None;
            learner.replace(|network| {
                let (network, found) = pretrained::import(Path::new(path), network)?;
                report = Some(found);
                Ok(network)
            })?;
            let report = report.expect("an import returns a report");
            self.context.printer.message(&format!("{}: initial weights from {path}: {report}", self.context.name));
        }
        learner.average = self.training.ema.map(|decay| WeightEma::new(decay, learner.network()));
        if self.context.validation.is_none() {
            let name = self.context.name;
            self.context
                .printer
                .message(&format!("{name}: no validation subset: the training loss selects the best epoch"));
        }
        let curve = if self.training.find_rate { Some(self.find_rate(learner)?) } else { None };
        let rate = curve.as_ref().map_or(self.training.learning_rate, |curve| curve.suggestion);
        if let Some(curve) = &curve {
            self.context.callback.on_rates_found(curve)?;
            self.context.printer.message(&format!("{}: learning rate found: {rate:.2e}", self.context.name));
        }
        Ok(TrainingState { rate, curve, history: Vec::new(), steps: 0, best: None })
    }

    /// Runs the training steps of an epoch.
    fn epoch(&self, learner: &mut Learner, state: &TrainingState, epoch: usize) -> Result<EpochStats> {
        let clock = Instant::now();
        let order = self.order(self.context.seed, epoch);
        let reductions =
            self.plan.plateau_reductions(&self.monitor.values(&state.history), |a, b| self.monitor.is_better(a, b));
        let seed = self.context.seed.child("step").child(epoch);
        let mut losses = EpochLoss {
            context: self.context,
            train: self.train,
            normalization: self.batches.normalization(),
            batch_size: self.training.batch_size,
            epoch,
            order: &order,
            pending: None,
            sum: 0.0,
        };
        let (mut step, mut rate) = (0, state.rate);
        let mut gradients = GradientSum::default();
        let waited = self.batches.for_each(&order, epoch, |batch, number| {
            self.check_cancelled()?;
            // Each batch is weighted by its share of the clips of the step.
            let group = number / self.training.accumulate * self.training.accumulate * self.training.batch_size;
            let of_step = (self.training.accumulate * self.training.batch_size).min(order.len() - group);
            let clips = batch.rows.len();
            let loss =
                learner.add_gradients(batch, clips as f64 / of_step as f64, seed.child(number), &mut gradients)?;
            losses.push(loss, number, clips)?;
            let last = (number + 1) * self.training.batch_size >= order.len();
            if (number + 1) % self.training.accumulate == 0 || last {
                let settings = self.plan.step_settings(state.rate, epoch, step, reductions);
                learner.step(std::mem::take(&mut gradients), &settings);
                rate = *settings.rates.last().expect("a network has groups");
                step += 1;
            }
            Ok(true)
        })?;
        losses.flush()?;
        Ok(EpochStats { loss: losses.sum / order.len() as f64, rate, trained: clock.elapsed(), waited })
    }

    /// The rows of an epoch.
    fn order(&self, seed: Seed, epoch: usize) -> Vec<usize> {
        let mut order =
            sampler::epoch_order(self.training.sampling, self.train.labels(), self.train.n_classes(), seed, epoch);
        order.truncate(self.clips);
        order
    }

    fn check_cancelled(&self) -> Result<()> {
        if self.context.stop.load(Ordering::Relaxed) {
            return Err(Cancelled.into());
        }
        Ok(())
    }

    /// Validates the network and adds the epoch to the history.
    fn validate(&self, learner: &Learner, state: &mut TrainingState, stats: &EpochStats, clock: Instant) -> Result<()> {
        let (mut validation_loss, mut metrics) = (None, IndexMap::new());
        if let Some(set) = self.context.validation {
            let (network, device) = (learner.inference_network(), self.context.device.burn());
            let batch_size = self.training.batch_size;
            let mut before_each = || self.check_cancelled();
            let logits = trained_network::logits(
                &network,
                set,
                self.batches.normalization(),
                batch_size,
                &device,
                &mut before_each,
            )?;
            // A number that is not finite would be meaningless in a table, and JSON cannot hold it.
            validation_loss = Some(self.loss_of(set, &logits)).filter(|loss| loss.is_finite());
            let (outputs, output) = (self.train.n_outputs(), self.setup.objective.output());
            let predictions = trained_network::probabilities(&logits, outputs, set.n_classes(), output);
            metrics = self.context.decision_rule.scores(set.labels(), &predictions).metrics;
            metrics.retain(|_, value| value.is_finite());
        }
        let history = &mut state.history;
        let seconds = stats.trained.as_secs_f64();
        history.push(Epoch {
            epoch: history.len() + 1,
            learning_rate: stats.rate,
            train_loss: stats.loss,
            validation_loss,
            metrics,
            best: false,
            seconds: clock.elapsed().as_secs_f64(),
            clips_per_second: self.clips as f64 / seconds.max(f64::MIN_POSITIVE),
            waited: stats.waited.as_secs_f64() / seconds.max(f64::MIN_POSITIVE),
        });
        if self.monitor.best(history) == Some(history.len() - 1) {
            history.last_mut().expect("just added").best = true;
            if self.with_best {
                state.best = Some(checkpoint::values_of(&learner.inference_network()));
            }
        }
        Ok(())
    }

    /// The loss over all clips of a set.
    fn loss_of(&self, set: &FeatureSet, logits: &[f32]) -> f64 {
        let cpu = burn::tensor::Device::flex();
        let sizes = [set.len(), self.train.n_outputs()];
        let logits = Tensor::<2>::from_data(TensorData::new(logits.to_vec(), sizes), &cpu);
        scalar(self.setup.objective.loss(logits, self.setup.objective.targets(set), None))
    }

    /// Writes a checkpoint, after the best weights that it refers to.
    fn write(&self, learner: &Learner, state: &TrainingState) -> Result<()> {
        let Some(checkpoints) = &self.checkpoints else { return Ok(()) };
        let last = state.history.last().context("a checkpoint follows an epoch")?;
        if let Some(best) = state.best.as_ref().filter(|_| last.best) {
            checkpoints.write_best(last.epoch, best)?;
        }
        let (signature, history) = (self.signature(learner)?, state.history.clone());
        let progress = CheckpointState::new(signature, state.rate, state.curve.clone(), history, state.steps);
        checkpoints.write(progress, learner.network(), learner.optimizer.states(), learner.average.as_ref())
    }

    /// Runs the learning-rate finder on a copy of the network.
    fn find_rate(&self, learner: &Learner) -> Result<RateCurve> {
        let mut trial = learner.detached_copy(Optimizer::new(self.training, self.context.device.is_cpu()));
        trial.unfreeze(self.plan.unfrozen(0));
        let (mut finder, seed) = (LearningRateFinder::default(), self.context.seed.child("finder"));
        for epoch in 0.. {
            if finder.next_rate().is_none() {
                break;
            }
            let order = self.order(seed, epoch);
            // The finder may take more epochs than the training, for which no draws were recorded: it replays the recorded ones
            // again. Without a replay, crops and draws are derived from the epoch, and any epoch has some.
            let replayed = if self.training.replay.is_some() { epoch % self.plan.epochs().max(1) } else { epoch };
            self.batches.for_each(&order, replayed, |batch, number| {
                self.check_cancelled()?;
                let Some(rate) = finder.next_rate() else { return Ok(false) };
                let mut gradients = GradientSum::default();
                let loss = trial.add_gradients(batch, 1.0, seed.child(epoch).child(number), &mut gradients)?;
                finder.push(scalar(loss));
                trial.step(gradients, &self.plan.finder_settings(rate));
                Ok(true)
            })?;
        }
        finder.curve()
    }
}

fn done(history: &[Epoch], start: usize) -> usize {
    history.len() - start
}
