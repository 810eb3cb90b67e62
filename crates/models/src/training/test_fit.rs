//! Helpers for tests that train a tiny network.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};
use serde_json::Value;

use crate::device::Device;
use crate::hyperparameters::Training;
use crate::networks::{CnnSmall, cnn_small};
use crate::{Classifier, Epoch, FitContext, ModelKind, RateCurve, TrainingCallback};
use timbre_core::{
    labels::Task,
    progress::Printer,
    seed::{Seed, uniform},
};
use timbre_evaluation::metrics::DecisionRule;
use timbre_inputs::dataset::feature_set::FeatureSet;

/// The results of PyTorch (`tests/golden/make_training.py`).
pub fn golden() -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/training.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

pub fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// Noisy images of 8 × 8 with a bright row for each class.
pub fn images(seed: u64, labels: Vec<Vec<usize>>, n_classes: usize) -> FeatureSet {
    let mut rng = Seed::new(seed).rng();
    let value = |labels: &Vec<usize>, row: usize, noise: f64| {
        let bright = labels.iter().any(|class| row % n_classes == *class);
        (f64::from(u8::from(bright)) * 3.0 + noise - 40.0) as f32
    };
    let pixels = labels.iter().flat_map(|labels| (0..64).map(move |pixel| (labels, pixel / 8)));
    let values = pixels.map(|(labels, row)| value(labels, row, uniform(&mut rng) * 4.0)).collect();
    FeatureSet::from_matrices(values, [8, 8], labels, n_classes)
}

/// Clips with one label each, the classes in turn.
pub fn one_label(seed: u64, clips: usize) -> FeatureSet {
    images(seed, (0..clips).map(|clip| vec![clip % 3]).collect(), 3)
}

/// Clips with no, one or two labels.
pub fn several_labels(seed: u64, clips: usize) -> FeatureSet {
    let labels = |clip: usize| (0..3).filter(|class| (clip >> class) & 1 == 1).take(2).collect();
    images(seed, (0..clips).map(labels).collect(), 3)
}

/// A tiny network that is trained for four epochs in batches of four.
pub fn small(change: impl FnOnce(&mut Training)) -> CnnSmall {
    let network = cnn_small::CnnSmall { filters: vec![4, 8], ..Default::default() };
    let mut spec =
        CnnSmall { training: Training { epochs: 4, batch_size: 4, ..Training::default() }, ..network.into() };
    change(&mut spec.training);
    spec
}

/// The surroundings of a fit, and a record of its callbacks.
pub struct TestFit {
    pub validation: Option<FeatureSet>,
    pub task: Task,
    pub folder: Option<tempfile::TempDir>,
    pub stop: AtomicBool,
    /// The epoch after which the callback fails, or stops the fit.
    pub fails_after: Option<usize>,
    pub stops_after: Option<usize>,
    pub history: Mutex<Vec<Epoch>>,
    pub curve: Mutex<Option<RateCurve>>,
}

impl TestFit {
    pub fn new(validation: Option<FeatureSet>) -> TestFit {
        TestFit {
            validation,
            task: Task::SingleLabel,
            folder: None,
            stop: AtomicBool::new(false),
            fails_after: None,
            stops_after: None,
            history: Mutex::default(),
            curve: Mutex::default(),
        }
    }

    pub fn with_checkpoints(self) -> TestFit {
        TestFit { folder: Some(tempfile::tempdir().unwrap()), ..self }
    }

    pub fn folder(&self) -> &Path {
        self.folder.as_ref().unwrap().path()
    }

    pub fn fit(&self, spec: &dyn ModelKind, train: &FeatureSet) -> Result<Box<dyn Classifier>> {
        self.stop.store(false, Ordering::Relaxed);
        let device = Device::cpu();
        let context = FitContext {
            name: "test",
            seed: Seed::new(1),
            decision_rule: DecisionRule { task: self.task, ..DecisionRule::default() },
            classes: FitContext::standalone(Seed::new(1)).classes,
            metric: "accuracy",
            validation: self.validation.as_ref(),
            device: &device,
            checkpoints: self.folder.as_ref().map(|folder| folder.path()),
            stop: &self.stop,
            printer: Printer::Quiet,
            callback: self,
        };
        spec.fit(train, &context)
    }

    /// The records of all epochs, without the times.
    pub fn epochs(&self) -> Vec<Epoch> {
        let timeless = |epoch: &Epoch| Epoch { seconds: 0.0, clips_per_second: 0.0, waited: 0.0, ..epoch.clone() };
        self.history.lock().unwrap().iter().map(timeless).collect()
    }

    pub fn error(&self, spec: &dyn ModelKind, train: &FeatureSet) -> anyhow::Error {
        self.fit(spec, train).err().expect("the fit fails")
    }
}

impl TrainingCallback for TestFit {
    fn on_epoch_end(&self, history: &[Epoch]) -> Result<()> {
        *self.history.lock().unwrap() = history.to_vec();
        if self.stops_after == Some(history.len()) {
            self.stop.store(true, Ordering::Relaxed);
        }
        if self.fails_after == Some(history.len()) {
            bail!("the disk is full");
        }
        Ok(())
    }

    fn on_rates_found(&self, curve: &RateCurve) -> Result<()> {
        *self.curve.lock().unwrap() = Some(curve.clone());
        Ok(())
    }
}

/// All tensors of a model, bit by bit.
pub fn bits(model: &dyn Classifier) -> Vec<(String, Vec<u32>)> {
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect();
    model.tensors().unwrap().into_iter().map(|t| (t.name.clone(), bits(t.into_values().unwrap()))).collect()
}

pub fn note(model: &dyn Classifier, name: &str) -> Option<String> {
    model.notes().into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
}
