//! A training that was killed and taken up again ends as one that was not.

use std::fs;
use std::path::Path;

use super::tests::{TestFit, bits, note, one_label, small};
use crate::networks::cnn_small::CnnSmall;
use crate::training::hyperparameters::{Optimizer, Preset, Sampling, Schedule};
use timbre_core::cancel::Cancelled;
use timbre_inputs::dataset::feature_set::FeatureSet;

/// Specs whose state is as different as can be.
fn specs() -> Vec<CnnSmall> {
    let small = || CnnSmall { dropout: 0.3, ..small() };
    vec![
        CnnSmall {
            optimizer: Optimizer::Sgd,
            schedule: Schedule::Plateau,
            plateau_patience: 1,
            factor: 0.5,
            learning_rate: 0.3,
            sampling: Sampling::Balanced,
            patience: Some(9),
            ..small()
        },
        CnnSmall { ema: Some(0.9), clip_norm: Some(0.5), accumulate: 2, keep_checkpoints: 2, ..small() },
        CnnSmall {
            optimizer: Optimizer::Adam,
            preset: Preset::FineTune,
            epochs: 3,
            sampling: Sampling::Weighted,
            monitor: "f1_macro".to_owned(),
            ..small()
        },
        CnnSmall {
            gradual_unfreezing: true,
            warmup_epochs: 0.5,
            schedule: Schedule::Cosine,
            find_rate: true,
            restore_best: false,
            ..small()
        },
    ]
}

fn train() -> FeatureSet {
    one_label(1, 14)
}

fn scene() -> TestFit {
    TestFit::new(Some(one_label(2, 7)))
}

#[test]
fn killed_after_any_epoch_and_taken_up_again_is_never_killed() {
    for spec in specs() {
        let undisturbed = scene();
        let model = undisturbed.fit(&spec, &train()).unwrap();
        for epoch in 1..=4 {
            let mut killed = TestFit { fails_after: Some(epoch), ..scene().with_checkpoints() };
            assert!(killed.error(&spec, &train()).to_string().contains("disk is full"));
            killed.fails_after = None;
            let again = killed.fit(&spec, &train()).unwrap();
            assert_eq!(note(again.as_ref(), "taken up after epoch"), Some(epoch.to_string()));
            assert_eq!(killed.told(), undisturbed.told(), "killed after {epoch}: {spec:?}");
            assert!(bits(again.as_ref()) == bits(model.as_ref()), "killed after {epoch}: {spec:?}");
            assert_eq!(*killed.curve.lock().unwrap(), *undisturbed.curve.lock().unwrap());
        }
    }
}

#[test]
fn killed_within_every_epoch_it_still_ends_the_same() {
    let spec = CnnSmall { epochs: 3, ..specs().remove(1) };
    let undisturbed = scene();
    let model = undisturbed.fit(&spec, &train()).unwrap();
    let mut stopped = scene().with_checkpoints();
    for epoch in 1..3 {
        stopped.stops_after = Some(epoch);
        // The signal comes in the first batch of the next epoch.
        assert!(stopped.error(&spec, &train()).is::<Cancelled>());
        assert_eq!(stopped.told().len(), epoch);
    }
    stopped.stops_after = None;
    let again = stopped.fit(&spec, &train()).unwrap();
    assert_eq!(stopped.told(), undisturbed.told());
    assert!(bits(again.as_ref()) == bits(model.as_ref()));
}

#[test]
fn a_damaged_checkpoint_is_passed_over_and_nothing_is_lost_but_time() {
    let spec = CnnSmall { keep_checkpoints: 2, ema: Some(0.8), ..small() };
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
        // Every one of them.
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
        assert_ne!(note(again.as_ref(), "taken up after epoch"), Some("3".to_owned()));
        assert!(bits(again.as_ref()) == bits(model.as_ref()));
    }
}

#[test]
fn the_last_checkpoints_and_the_best_weights_stay() {
    let spec = CnnSmall { keep_checkpoints: 2, learning_rate: 0.05, ..small() };
    let scene = scene().with_checkpoints();
    scene.fit(&spec, &train()).unwrap();
    let mut names: Vec<String> =
        fs::read_dir(scene.folder()).unwrap().flatten().map(|e| e.file_name().into_string().unwrap()).collect();
    names.sort();
    let best_of = |epochs: usize| scene.told()[..epochs].iter().rev().find(|epoch| epoch.best).unwrap().epoch;
    let mut expected = vec![3, 4].into_iter().map(|epoch| format!("epoch-{epoch:04}.safetensors")).collect::<Vec<_>>();
    expected.extend([3, 4].map(|epochs| format!("best-{:04}.safetensors", best_of(epochs))));
    expected.sort();
    expected.dedup();
    assert_eq!(names, expected);
}

#[test]
fn a_checkpoint_of_another_training_is_left_alone() {
    let scene = TestFit { fails_after: Some(2), ..scene().with_checkpoints() };
    scene.error(&small(), &train());
    let other = CnnSmall { learning_rate: 0.002, ..small() };
    let scene = TestFit { fails_after: None, ..scene };
    let model = scene.fit(&other, &train()).unwrap();
    assert_eq!(note(model.as_ref(), "taken up after epoch"), None);
}
