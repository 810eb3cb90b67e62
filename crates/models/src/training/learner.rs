//! A network on its way: gradients of a batch, a step of the weights.

use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use indexmap::IndexMap;

use super::batch_source::DeviceBatch;
use super::loss::Objective;
use super::optimizer::{Optimizer, StepSettings};
use super::parameters;
use super::schedule::UnfrozenGroups;
use super::weight_ema::WeightEma;
use crate::networks::dropout::DropoutMasks;
use crate::networks::{Network, NetworkKind};
use timbre_core::seed::Seed;

/// Devices other than the CPU have one random generator for all.
static DEVICE_RANDOM: Mutex<()> = Mutex::new(());

/// What stays the same over a training.
#[derive(Clone, Copy)]
pub struct TrainingSetup<'a> {
    pub kind: &'a dyn NetworkKind,
    pub objective: &'a Objective,
    pub device: &'a crate::device::Device,
}

/// What changes with each step.
pub struct Learner<'a> {
    lesson: TrainingSetup<'a>,
    /// For training, with autodiff.
    device: Device,
    /// Taken away only while a step is computed.
    network: Option<Network>,
    pub optimizer: Optimizer,
    pub average: Option<WeightEma>,
}

/// The summed gradients of some batches, by path.
#[derive(Default)]
pub struct GradientSum(IndexMap<String, Tensor<1>>);

impl<'a> Learner<'a> {
    /// Without an average.
    pub fn new(lesson: TrainingSetup<'a>, network: Network, optimizer: Optimizer) -> Learner<'a> {
        Learner { lesson, device: lesson.device.burn().autodiff(), network: Some(network), optimizer, average: None }
    }

    /// The network that learns.
    pub fn network(&self) -> &Network {
        self.network.as_ref().expect("a network is away only within a step")
    }

    /// The network that predicts, apart from training.
    pub fn predicting(&self) -> Network {
        // Apart, and with statistics of its own: burn shares them between clones.
        let network = self.network().valid();
        match &self.average {
            Some(average) => average.applied(network),
            None => network,
        }
    }

    /// Puts another network in the place of the one that learns.
    pub fn change(&mut self, change: impl FnOnce(Network) -> Result<Network>) -> Result<()> {
        let network = self.network.take().expect("a network is away only within a step");
        self.network = Some(change(network)?);
        Ok(())
    }

    /// Lets only these layers learn.
    pub fn unfreeze(&mut self, unfrozen: UnfrozenGroups) {
        let kind = self.lesson.kind;
        let above = |path: &str| kind.group_of(path) >= unfrozen.from;
        let learns = |path: &str, in_batch_norm: bool| above(path) || (in_batch_norm && unfrozen.batch_norms);
        let statistics_move = |path: &str| above(path) || unfrozen.batch_norms;
        let network = self.network.take().expect("a network is away only within a step");
        self.network = Some(parameters::set_trainable(network, &learns, &statistics_move));
    }

    /// Adds the gradients of a batch, times `share`, to `summed`. The loss of the batch is still on its device. Everything
    /// random is drawn from `seed`.
    pub fn add_gradients(
        &self,
        clips: DeviceBatch,
        share: f64,
        seed: Seed,
        summed: &mut GradientSum,
    ) -> Result<Tensor<1>> {
        let _held = self.seed_device(seed);
        let dropout = DropoutMasks::new(seed);
        let targets = self.lesson.objective.goals(clips.targets);
        let sizes = [clips.rows.len(), targets.len() / clips.rows.len()];
        let targets = Tensor::from_data(TensorData::new(targets, sizes), &self.device);
        let loss = self.lesson.objective.loss(self.network().forward(clips.images, Some(&dropout)), targets);
        let shared = if share == 1.0 { loss.clone() } else { loss.clone().mul_scalar(share) };
        let mut gradients = shared.backward();
        for (path, gradient) in parameters::gradients(self.network(), &mut gradients) {
            let sum = match summed.0.swap_remove(&path) {
                Some(sum) => sum + gradient,
                None => gradient,
            };
            summed.0.insert(path, sum);
        }
        Ok(loss.inner())
    }

    /// One step along the summed gradients.
    pub fn step(&mut self, summed: GradientSum, setting: &StepSettings) {
        let kind = self.lesson.kind;
        let network = self.network.take().expect("a network is away only within a step");
        self.network =
            Some(self.optimizer.step(network, summed.0, setting, &|path| kind.group_of(path), &|path| kind.l2(path)));
        if let Some(average) = &mut self.average {
            average.follow(self.network.as_ref().expect("just put back"));
        }
    }

    /// Seeds what is random in a step. The device is held where others could draw between.
    fn seed_device(&self, seed: Seed) -> Option<MutexGuard<'static, ()>> {
        if self.lesson.device.is_cpu() {
            return None;
        }
        let held = DEVICE_RANDOM.lock().unwrap_or_else(PoisonError::into_inner);
        self.device.seed(seed.number());
        Some(held)
    }

    /// A learner of the same network that has nothing in common with this one.
    pub fn apart(&self, optimizer: Optimizer) -> Learner<'a> {
        Learner {
            lesson: self.lesson,
            device: self.device.clone(),
            network: Some(self.network().valid().train()),
            optimizer,
            average: None,
        }
    }
}
