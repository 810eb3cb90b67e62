//! A training that is killed and resumed ends like an uninterrupted one.

use std::fs;
use std::path::Path;

use super::test_fit::{TestFit, bits, note, one_label, small};
use crate::hyperparameters::{Optimizer, Preset, Sampling, Schedule, Training};
use crate::networks::{CnnSmall, cnn_small};
use timbre_core::cancel::Cancelled;
use timbre_inputs::dataset::feature_set::FeatureSet;

/// Specs that differ in what a checkpoint has to hold.
fn specs() -> Vec<CnnSmall> {
    let keys = || Training { epochs: 4, batch_size: 4, ..Training::default() };
    let all = [
        Training {
            optimizer: Optimizer::Sgd,
            schedule: Schedule::Plateau,
            plateau_patience: 1,
            factor: 0.5,
            learning_rate: 0.3,
            sampling: Sampling::Balanced,
            patience: Some(9),
            ..keys()
        },
        Training { ema: Some(0.9), clip_norm: Some(0.5), accumulate: 2, keep_checkpoints: 2, ..keys() },
        Training {
            optimizer: Optimizer::Adam,
            preset: Preset::FineTune,
            epochs: 3,
            sampling: Sampling::Weighted,
            monitor: "f1_macro".to_owned(),
            ..keys()
        },
        Training {
            gradual_unfreezing: true,
            warmup_epochs: 0.5,
            schedule: Schedule::Cosine,
            find_rate: true,
            restore_best: false,
            ..keys()
        },
    ];
    let network = cnn_small::CnnSmall { dropout: 0.3, ..small(|_| ()).network };
    all.map(|training| CnnSmall { training, ..network.clone().into() }).to_vec()
}

fn train() -> FeatureSet {
    one_label(1, 14)
}

fn scene() -> TestFit {
    TestFit::new(Some(one_label(2, 7)))
}

#[test]
fn a_training_killed_after_any_epoch_and_resumed_gives_the_same_bits() {
    for spec in specs() {
        let uninterrupted = scene();
        let model = uninterrupted.fit(&spec, &train()).unwrap();
        for epoch in 1..=4 {
            let mut killed = TestFit { fails_after: Some(epoch), ..scene().with_checkpoints() };
            assert!(killed.error(&spec, &train()).to_string().contains("disk is full"));
            killed.fails_after = None;
            let again = killed.fit(&spec, &train()).unwrap();
            assert_eq!(note(again.as_ref(), "resumed after epoch"), Some(epoch.to_string()));
            assert_eq!(killed.epochs(), uninterrupted.epochs(), "killed after {epoch}: {spec:?}");
            assert!(bits(again.as_ref()) == bits(model.as_ref()), "killed after {epoch}: {spec:?}");
            assert_eq!(*killed.curve.lock().unwrap(), *uninterrupted.curve.lock().unwrap());
        }
    }
}

#[test]
fn a_training_stopped_within_every_epoch_gives_the_same_bits() {
    let mut spec = specs().remove(1);
    spec.training.epochs = 3;
    let uninterrupted = scene();
    let model = uninterrupted.fit(&spec, &train()).unwrap();
    let mut stopped = scene().with_checkpoints();
    for epoch in 1..3 {
        stopped.stops_after = Some(epoch);
        // The signal arrives in the first batch of the next epoch.
        assert!(stopped.error(&spec, &train()).is::<Cancelled>());
        assert_eq!(stopped.epochs().len(), epoch);
    }
    stopped.stops_after = None;
    let again = stopped.fit(&spec, &train()).unwrap();
    assert_eq!(stopped.epochs(), uninterrupted.epochs());
    assert!(bits(again.as_ref()) == bits(model.as_ref()));
}

#[test]
fn a_damaged_checkpoint_is_skipped_without_changing_the_result() {
    let spec = small(|t| (t.keep_checkpoints, t.ema) = (2, Some(0.8)));
    let model = scene().fit(&spec, &train()).unwrap();
    type Damage = fn(&Path);
    let damages: [Damage; 4] = [
        |folder| fs::write(folder.join("epoch-0003.safetensors"), b"").unwrap(),
        |folder| {
            let path = folder.join("epoch-0003.safetensors");
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        },
        |folder| {
            let path = folder.join("epoch-0003.safetensors");
            let mut bytes = fs::read(&path).unwrap();
            let at = bytes.len() - 5;
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
        },
        // All checkpoints.
        |folder| {
            fs::read_dir(folder).unwrap().flatten().for_each(|entry| fs::write(entry.path(), b"no tensors").unwrap());
        },
    ];
    for damage in damages {
        let mut killed = TestFit { fails_after: Some(3), ..scene().with_checkpoints() };
        killed.error(&spec, &train());
        damage(killed.folder());
        killed.fails_after = None;
        let again = killed.fit(&spec, &train()).unwrap();
        assert_ne!(note(again.as_ref(), "resumed after epoch"), Some("3".to_owned()));
        assert!(bits(again.as_ref()) == bits(model.as_ref()));
    }
}

#[test]
fn the_last_checkpoints_and_the_best_weights_are_kept() {
    let spec = small(|t| (t.keep_checkpoints, t.learning_rate) = (2, 0.05));
    let scene = scene().with_checkpoints();
    scene.fit(&spec, &train()).unwrap();
    let mut names: Vec<String> =
        fs::read_dir(scene.folder()).unwrap().flatten().map(|e| e.file_name().into_string().unwrap()).collect();
    names.sort();
    let best_of = |epochs: usize| scene.epochs()[..epochs].iter().rev().find(|epoch| epoch.best).unwrap().epoch;
    let mut expected = vec![3, 4].into_iter().map(|epoch| format!("epoch-{epoch:04}.safetensors")).collect::<Vec<_>>();
    expected.extend([3, 4].map(|epochs| format!("best-{:04}.safetensors", best_of(epochs))));
    expected.sort();
    expected.dedup();
    assert_eq!(names, expected);
}

#[test]
fn a_checkpoint_of_another_training_is_ignored() {
    let scene = TestFit { fails_after: Some(2), ..scene().with_checkpoints() };
    scene.error(&small(|_| ()), &train());
    let other = small(|t| t.learning_rate = 0.002);
    let scene = TestFit { fails_after: None, ..scene };
    let model = scene.fit(&other, &train()).unwrap();
    assert_eq!(note(model.as_ref(), "resumed after epoch"), None);
}
