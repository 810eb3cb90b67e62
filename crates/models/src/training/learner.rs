//! A network in training: computes the gradients of a batch and takes optimizer steps.

use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use indexmap::IndexMap;

use super::batch_source::DeviceBatch;
use super::loss::Objective;
use super::optimizer::{Optimizer, StepSettings};
use super::schedule::UnfrozenGroups;
use super::weight_ema::WeightEma;
use crate::hyperparameters::Precision;
use crate::networks::parameters;
use crate::networks::{Network, NetworkKind};
use crate::networks::{precision, training_pass::TrainingPass};
use timbre_core::seed::Seed;

/// Devices other than the CPU have one random generator that all trainings share.
static DEVICE_RANDOM: Mutex<()> = Mutex::new(());

/// The parts of a training that do not change.
#[derive(Clone, Copy)]
pub struct TrainingSetup<'a> {
    pub kind: &'a dyn NetworkKind,
    pub objective: &'a Objective,
    pub device: &'a crate::device::Device,
    /// The factor on the rate of each layer below the head, relative to the one above it.
    pub layer_decay: f64,
    pub precision: Precision,
}

/// The parts of a training that change with each step.
pub struct Learner<'a> {
    setup: TrainingSetup<'a>,
    /// The device with autodiff.
    device: Device,
    /// `None` only within a step.
    network: Option<Network>,
    pub optimizer: Optimizer,
    pub average: Option<WeightEma>,
}

/// The summed gradients of several batches, by path.
#[derive(Default)]
pub struct GradientSum(IndexMap<String, Tensor<1>>);

impl<'a> Learner<'a> {
    /// A learner without a moving average.
    pub fn new(setup: TrainingSetup<'a>, network: Network, optimizer: Optimizer) -> Learner<'a> {
        Learner { setup, device: setup.device.burn().autodiff(), network: Some(network), optimizer, average: None }
    }

    /// The network in training.
    pub fn network(&self) -> &Network {
        self.network.as_ref().expect("the network is missing only within a step")
    }

    /// A copy of the network for inference, with the moving average if there is one.
    pub fn inference_network(&self) -> Network {
        // Without autodiff and with its own statistics: burn shares them between clones.
        let network = self.network().valid();
        match &self.average {
            Some(average) => average.apply(network),
            None => network,
        }
    }

    /// Replaces the network in training.
    pub fn replace(&mut self, change: impl FnOnce(Network) -> Result<Network>) -> Result<()> {
        let network = self.network.take().expect("the network is missing only within a step");
        self.network = Some(change(network)?);
        Ok(())
    }

    /// Freezes all layers but these.
    pub fn unfreeze(&mut self, unfrozen: UnfrozenGroups) {
        let kind = self.setup.kind;
        let above = |path: &str| kind.group_of(path) >= unfrozen.from;
        let trainable = |path: &str, in_batch_norm: bool| above(path) || (in_batch_norm && unfrozen.batch_norms);
        let updates_statistics = |path: &str| above(path) || unfrozen.batch_norms;
        let network = self.network.take().expect("the network is missing only within a step");
        self.network = Some(parameters::set_trainable(network, &trainable, &updates_statistics));
    }

    /// Adds the gradients of a batch, times `share`, to `sum`. Returns the loss of the batch, still on its device. All random
    /// numbers come from `seed`.
    pub fn add_gradients(
        &self,
        batch: DeviceBatch,
        share: f64,
        seed: Seed,
        sum: &mut GradientSum,
    ) -> Result<Tensor<1>> {
        let _guard = self.seed_device(seed);
        let pass = TrainingPass::new(seed);
        let columns = batch.targets.len() / batch.rows.len().max(1);
        let targets = self.setup.objective.smoothed(batch.targets, columns);
        let forward = || self.network().forward(batch.images, Some(&pass));
        let logits = precision::with(self.setup.precision, forward);
        let mut loss = self.setup.objective.loss(logits, targets, batch.weights.as_deref());
        if let Some(own) = pass.take_loss() {
            loss = loss + own;
        }
        let shared = if share == 1.0 { loss.clone() } else { loss.clone().mul_scalar(share) };
        let mut gradients = shared.backward();
        for (path, gradient) in parameters::gradients(self.network(), &mut gradients) {
            let total = match sum.0.swap_remove(&path) {
                Some(before) => before + gradient,
                None => gradient,
            };
            sum.0.insert(path, total);
        }
        Ok(loss.inner())
    }

    /// Takes one optimizer step with the summed gradients.
    pub fn step(&mut self, gradients: GradientSum, settings: &StepSettings) {
        let kind = self.setup.kind;
        let network = self.network.take().expect("the network is missing only within a step");
        let StepSettings { rates, momentum } = settings;
        // BEiT's layer-wise decay: each layer learns more slowly than the one above it.
        let below_head = |path: &str| (kind.depth() - 1 - kind.depth_of(path)) as i32;
        let rate_of = |path: &str| rates[kind.group_of(path)] * self.setup.layer_decay.powi(below_head(path));
        self.network = Some(self.optimizer.step(network, gradients.0, *momentum, &rate_of, &|path| kind.l2(path)));
        if let Some(average) = &mut self.average {
            average.update(self.network.as_ref().expect("just put back"));
        }
    }

    /// Seeds the random generator of the device for a step. The guard keeps other trainings from drawing meanwhile.
    fn seed_device(&self, seed: Seed) -> Option<MutexGuard<'static, ()>> {
        if self.setup.device.is_cpu() {
            return None;
        }
        let guard = DEVICE_RANDOM.lock().unwrap_or_else(PoisonError::into_inner);
        self.device.seed(seed.number());
        Some(guard)
    }

    /// A learner of a copy of the network that shares nothing with this one.
    pub fn detached_copy(&self, optimizer: Optimizer) -> Learner<'a> {
        Learner {
            setup: self.setup,
            device: self.device.clone(),
            network: Some(self.network().valid().train()),
            optimizer,
            average: None,
        }
    }
}
