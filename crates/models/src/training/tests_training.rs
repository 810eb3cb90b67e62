//! Trains tiny networks from start to end.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use burn::tensor::Tensor;

use super::test_fit::{TestFit, bits, note, one_label, several_labels, small};
use crate::ModelKind;
use crate::device::Device;
use crate::hyperparameters::{Loss, Normalize, Optimizer, Precision, Schedule, Training};
use crate::networks::NetworkKind;
use crate::networks::parameters;
use crate::networks::{CnnSmall, cnn_small};
use crate::training::batch_source::DeviceBatch;
use crate::training::learner::{GradientSum, Learner, TrainingSetup};
use crate::training::loss::Objective;
use crate::training::schedule::UnfrozenGroups;
use crate::training::{checkpoint, inputs, optimizer};
use timbre_core::{
    cancel::Cancelled,
    labels::Task,
    seed::{Seed, uniform},
};
use timbre_evaluation::metrics::DecisionRule;
use timbre_inputs::dataset::{feature_set::FeatureSet, row_source::ExampleGenerator};

#[test]
fn a_network_overfits_eight_clips_to_near_zero_loss() {
    let network = cnn_small::CnnSmall { filters: vec![8, 16], dropout: 0.0, ..Default::default() };
    let patient = |loss| CnnSmall {
        training: Training { epochs: 80, batch_size: 8, learning_rate: 0.02, loss, ..Training::default() },
        ..network.clone().into()
    };
    for (train, task, loss) in [
        (one_label(1, 8), Task::SingleLabel, Loss::Auto),
        (several_labels(1, 8), Task::MultiLabel, Loss::Auto),
        (several_labels(1, 8), Task::MultiLabel, Loss::Focal),
    ] {
        let scene = TestFit { task, ..TestFit::new(None) };
        let model = scene.fit(&patient(loss), &train).unwrap();
        let last = scene.epochs().pop().unwrap();
        assert!(last.train_loss < 0.01, "{task:?}: {}", last.train_loss);
        let decision_rule = DecisionRule { task, ..DecisionRule::default() };
        let decided = decision_rule.decide(&model.predict(&train).unwrap());
        assert!(train.labels().iter().zip(&decided).all(|(labels, decided)| labels.is_exactly(decided)));
    }
}

#[test]
fn bf16_gives_losses_near_those_of_f32_and_the_same_answers() {
    let train = one_label(1, 24);
    let trained = |precision| {
        let mut spec = small(|t| (t.epochs, t.learning_rate, t.precision) = (30, 0.02, precision));
        spec.network.dropout = 0.0;
        let scene = TestFit::new(None);
        let model = scene.fit(&spec, &train).unwrap();
        let losses: Vec<f64> = scene.epochs().iter().map(|epoch| epoch.train_loss).collect();
        (losses, accuracy(model.as_ref(), &train))
    };
    let ((full, full_right), (half, half_right)) = (trained(Precision::F32), trained(Precision::Bf16));
    assert_ne!(full, half);
    assert!(half.iter().all(|loss| loss.is_finite()));
    // Eight bits are a relative error of 0.4 % in each factor.
    assert!((full[0] - half[0]).abs() < 0.02 * full[0], "{} {}", full[0], half[0]);
    assert!(full[29] < 0.2 && half[29] < 0.2, "{} {}", full[29], half[29]);
    assert!(full_right == 1.0 && half_right == 1.0, "{full_right} {half_right}");
}

/// The share of clips whose most likely class is theirs.
fn accuracy(model: &dyn crate::Classifier, set: &FeatureSet) -> f64 {
    DecisionRule::default().scores(set.labels(), &model.predict(set).unwrap()).metrics["accuracy"]
}

#[test]
fn a_restored_network_predicts_the_same_bits() {
    for (spec, task) in [
        (small(|t| (t.normalize, t.ema) = (Normalize::Rows, Some(0.5))), Task::SingleLabel),
        (small(|t| (t.loss, t.normalize) = (Loss::Bce, Normalize::None)), Task::SingleLabel),
        (small(|_| ()), Task::MultiLabel),
    ] {
        let scene = TestFit { task, ..TestFit::new(None) };
        let model = scene.fit(&spec, &one_label(1, 10)).unwrap();
        let restored = ModelKind::restore(&spec, model.tensors().unwrap(), 3, &Device::cpu()).unwrap();
        let unseen = one_label(3, 9);
        assert_eq!(model.predict(&unseen).unwrap(), restored.predict(&unseen).unwrap());
        assert_eq!(bits(model.as_ref()), bits(restored.as_ref()));
        let wide = FeatureSet::from_matrices(vec![0.0; 72], [8, 9], vec![vec![0]], 3);
        assert!(restored.predict(&wide).unwrap_err().to_string().contains("8 × 8"));
        for missing in 0..model.tensors().unwrap().len() {
            let mut fewer = model.tensors().unwrap();
            let name = fewer.remove(missing).name;
            let error = ModelKind::restore(&spec, fewer, 3, &Device::cpu()).err().expect("a tensor is missing");
            assert!(format!("{error:#}").contains(&name), "{error:#}");
        }
    }
}

#[test]
fn a_network_much_larger_than_its_file_is_refused_before_it_is_built() {
    let model = TestFit::new(None).fit(&small(|_| ()), &one_label(1, 10)).unwrap();
    let mut larger = small(|_| ());
    larger.network.filters = vec![4096; 3];
    let restored = ModelKind::restore(&larger, model.tensors().unwrap(), 3, &Device::cpu());
    let error = restored.err().expect("a gigabyte of weights").to_string();
    assert!(error.contains("another network"), "{error}");
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    // Large enough that convolutions, their gradients and batch norms are divided among threads.
    let mut rng = Seed::new(4).rng();
    let values = (0..24 * 48 * 40).map(|_| uniform(&mut rng) as f32).collect();
    let train = FeatureSet::from_matrices(values, [48, 40], (0..24).map(|clip| vec![clip % 3]).collect(), 3);
    let mut spec = small(|t| (t.epochs, t.batch_size, t.clip_norm, t.ema) = (2, 12, Some(0.1), Some(0.9)));
    spec.network.filters = vec![16, 32, 32];
    let trained = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let scene = TestFit::new(Some(train.clone()));
            let model = scene.fit(&spec, &train).unwrap();
            (bits(model.as_ref()), scene.epochs(), model.predict(&train).unwrap())
        })
    };
    let alone = trained(1);
    assert!([2, 3].into_iter().all(|threads| trained(threads) == alone));
}

/// Runs `act` with a learner of a tiny network without batch statistics and dropout, and with its clips.
fn with_learner<R>(training: Training, act: impl FnOnce(&mut Learner, &FeatureSet) -> R) -> R {
    let train = one_label(1, 8);
    let spec = cnn_small::CnnSmall { dropout: 0.0, ..small(|_| ()).network };
    let objective = Objective::new(&training, Task::SingleLabel, &train).unwrap();
    let device = Device::cpu();
    let shape = inputs::shape_of(&train);
    let network = spec.build(shape, 3, Seed::new(1), &device.burn().autodiff()).unwrap();
    let Training { layer_decay, precision, .. } = training;
    let setup = TrainingSetup { kind: &spec, objective: &objective, device: &device, layer_decay, precision };
    let mut learner = Learner::new(setup, network, optimizer::Optimizer::new(&training, true));
    learner
        .replace(|network| Ok(parameters::set_trainable(network, &|path, _| !path.contains("running"), &|_| false)))
        .unwrap();
    act(&mut learner, &train)
}

fn batch(set: &FeatureSet, rows: std::ops::Range<usize>) -> DeviceBatch {
    let mut values = Vec::new();
    set.read_rows(rows.clone(), &mut values).unwrap();
    let images = inputs::image_batch(values, inputs::shape_of(set), &Device::cpu().burn().autodiff()).unwrap();
    let mut targets = vec![0.0; rows.len() * set.n_classes()];
    targets
        .chunks_exact_mut(set.n_classes())
        .zip(rows.clone())
        .for_each(|(targets, row)| set.write_targets(row, targets));
    DeviceBatch { rows: rows.collect(), images, targets, weights: None }
}

#[test]
fn two_accumulated_batches_of_four_equal_a_batch_of_eight() {
    let training = || Training { optimizer: Optimizer::Sgd, ..Training::default() };
    let setting = optimizer::StepSettings { rates: vec![0.5, 0.5], momentum: 0.9 };
    let whole = with_learner(training(), |learner, set| {
        let mut gradients = GradientSum::default();
        learner.add_gradients(batch(set, 0..8), 1.0, Seed::new(1), &mut gradients).unwrap();
        learner.step(gradients, &setting);
        checkpoint::values_of(learner.network())
    });
    let halves = with_learner(training(), |learner, set| {
        let mut gradients = GradientSum::default();
        for rows in [0..4, 4..8] {
            learner.add_gradients(batch(set, rows), 0.5, Seed::new(1), &mut gradients).unwrap();
        }
        learner.step(gradients, &setting);
        checkpoint::values_of(learner.network())
    });
    let first = with_learner(training(), |learner, _| checkpoint::values_of(learner.network()));
    for (path, whole) in &whole {
        let far = |others: &[f32]| whole.iter().zip(others).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(far(&halves[path]) < 1e-6, "{path}: {}", far(&halves[path]));
        assert!(path.contains("running") || far(&first[path]) > 1e-4, "{path} has not moved");
    }
}

/// How far each parameter moves in a step on eight clips at the rate 1.
fn step_of(training: Training) -> checkpoint::NamedArrays {
    with_learner(training, |learner, set| {
        let before = checkpoint::values_of(learner.network());
        let mut gradients = GradientSum::default();
        learner.add_gradients(batch(set, 0..8), 1.0, Seed::new(1), &mut gradients).unwrap();
        learner.step(gradients, &optimizer::StepSettings { rates: vec![1.0, 1.0], momentum: 0.0 });
        let after = checkpoint::values_of(learner.network());
        let step = |(path, values): (&String, &Vec<f32>)| {
            (path.clone(), values.iter().zip(&after[path]).map(|(a, b)| b - a).collect())
        };
        before.iter().map(step).collect()
    })
}

#[test]
fn layer_decay_shortens_the_steps_of_the_layers_below_the_head() {
    let steps = |layer_decay| {
        let training = Training { optimizer: Optimizer::Sgd, weight_decay: 0.0, layer_decay, ..Training::default() };
        let moved = step_of(training);
        ["blocks.0.conv.weight", "fc.weight"].map(|path| moved[path].clone())
    };
    let ([full, head], [shorter, same]) = (steps(1.0), steps(0.25));
    assert_eq!(head, same);
    assert!(full.iter().any(|step| step.abs() > 1e-3));
    full.iter().zip(&shorter).for_each(|(full, shorter)| assert!((full * 0.25 - shorter).abs() < 1e-6));
}

#[test]
fn clipped_gradients_take_a_step_of_the_given_norm() {
    let norm_of_step = |clip_norm| {
        let training = Training { optimizer: Optimizer::Sgd, weight_decay: 0.0, clip_norm, ..Training::default() };
        step_of(training).values().flatten().map(|&step| f64::from(step).powi(2)).sum::<f64>().sqrt()
    };
    let free = norm_of_step(None);
    assert!(free > 0.02, "{free}");
    assert!((norm_of_step(Some(0.01)) - 0.01).abs() < 1e-5);
    assert!((norm_of_step(Some(free * 2.0)) - free).abs() < 1e-5);
}

#[test]
fn a_loss_that_is_not_finite_ends_the_fit_and_saves_its_batch() {
    /// Clip 5 holds a NaN in the second epoch.
    struct Faulty(FeatureSet);
    impl ExampleGenerator for Faulty {
        fn example(&self, row: usize, epoch: usize, out: &mut [f32], _targets: &mut [f32]) -> Result<()> {
            self.0.read_row(row, out)?;
            if row == 5 && epoch == 1 {
                out[3] = f32::NAN;
            }
            Ok(())
        }
    }
    let train = one_label(1, 9).with_generator(Arc::new(Faulty(one_label(1, 9))));
    let scene = TestFit::new(None).with_checkpoints();
    let error = format!("{:#}", scene.error(&small(|_| ()), &train));
    assert!(error.contains("in epoch 2") && error.contains("learning_rate"), "{error}");
    assert_eq!(scene.epochs().len(), 1);
    let named = |path: &&PathBuf| error.contains(path.to_str().unwrap());
    let paths: Vec<PathBuf> = std::fs::read_dir(scene.folder()).unwrap().flatten().map(|e| e.path()).collect();
    let bytes = std::fs::read(paths.iter().find(named).unwrap()).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let (_, head) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let texts = head.metadata().clone().unwrap();
    let rows: Vec<usize> = serde_json::from_str(&texts["rows"]).unwrap();
    let place = rows.iter().position(|&row| row == 5).unwrap();
    assert_eq!((texts["epoch"].as_str(), rows.len()), ("2", 4));
    let values = |name: &str| -> Vec<f32> {
        let data = file.tensor(name).unwrap().data();
        data.as_chunks::<4>().0.iter().map(|&word| f32::from_le_bytes(word)).collect()
    };
    assert_eq!(file.tensor("inputs").unwrap().shape(), [4, 1, 8, 8]);
    let faulty: Vec<usize> = values("inputs").iter().enumerate().filter(|(_, v)| v.is_nan()).map(|(i, _)| i).collect();
    assert_eq!(faulty, [place * 64 + 3]);
    assert_eq!(values("labels")[place * 3..][..3], [0.0, 0.0, 1.0]);
}

#[test]
fn a_signal_ends_the_fit_at_the_next_batch() {
    let scene = TestFit { stops_after: Some(1), ..TestFit::new(None) };
    assert!(scene.error(&small(|_| ()), &one_label(1, 9)).is::<Cancelled>());
    assert_eq!(scene.epochs().len(), 1);
}

#[test]
fn early_stopping_ends_the_fit_and_the_best_weights_predict() {
    let (train, validation) = (one_label(1, 12), one_label(2, 30));
    let spec = small(|t| {
        (t.epochs, t.patience, t.learning_rate, t.schedule) = (40, Some(3), 0.05, Schedule::Constant);
    });
    let scene = TestFit::new(Some(validation.clone()));
    let model = scene.fit(&spec, &train).unwrap();
    let epochs = scene.epochs();
    assert!(epochs.len() < 40, "the loss never rose");
    let losses: Vec<f64> = epochs.iter().map(|epoch| epoch.validation_loss.unwrap()).collect();
    let best = (0..losses.len()).min_by(|&a, &b| losses[a].total_cmp(&losses[b])).unwrap();
    assert_eq!(epochs.len(), best + 1 + 3);
    assert_eq!(note(model.as_ref(), "best epoch"), Some((best + 1).to_string()));
    assert!(epochs[best].best && !epochs[best + 1].best);
    let predictions = model.predict(&validation).unwrap();
    let likelihood = (0..validation.len()).map(|clip| f64::from(predictions.row(clip)[clip % 3]).ln());
    let loss = -likelihood.sum::<f64>() / validation.len() as f64;
    assert!((loss - losses[best]).abs() < 1e-5, "{loss} of {losses:?}");
}

#[test]
fn frozen_layers_do_not_change() {
    let train = one_label(1, 12);
    let first = |spec: &CnnSmall| {
        let scene = TestFit::new(None);
        let training = Training { learning_rate: 1e-12, epochs: 1, freeze_epochs: Some(1), ..spec.training.clone() };
        bits(scene.fit(&CnnSmall { training, ..spec.clone() }, &train).unwrap().as_ref())
    };
    let moved = |spec: CnnSmall| -> Vec<String> {
        let before = first(&spec);
        let after = bits(TestFit::new(None).fit(&spec, &train).unwrap().as_ref());
        before.into_iter().zip(after).filter(|(a, b)| a.1 != b.1).map(|(a, _)| a.0).collect()
    };
    let all = |name: &str| moved(small(|_| ())).iter().any(|moved| moved == name);
    assert!(all("blocks.0.conv.weight") && all("blocks.1.bn.running_mean") && all("fc.weight"));
    let head = moved(small(|t| t.freeze_epochs = Some(4)));
    assert_eq!(head, ["fc.weight", "fc.bias"]);
    // As in fastai, batch norms of frozen layers are trained.
    with_learner(Training::default(), |learner, set| {
        learner.unfreeze(UnfrozenGroups { from: 1, batch_norms: true });
        let before = checkpoint::values_of(learner.network());
        let mut gradients = GradientSum::default();
        learner.add_gradients(batch(set, 0..8), 1.0, Seed::new(1), &mut gradients).unwrap();
        learner.step(gradients, &optimizer::StepSettings { rates: vec![0.1, 0.1], momentum: 0.9 });
        let after = checkpoint::values_of(learner.network());
        let unchanged = before.iter().filter(|(path, values)| after[*path] == **values).map(|(path, _)| path.as_str());
        assert_eq!(unchanged.collect::<Vec<_>>(), ["blocks.0.conv.weight", "blocks.1.conv.weight"]);
    });
}

#[test]
fn the_learning_rate_finder_changes_only_the_learning_rate() {
    let train = one_label(1, 12);
    let scene = TestFit::new(None);
    let found = scene.fit(&small(|t| t.find_rate = true), &train).unwrap();
    let curve = scene.curve.lock().unwrap().clone().unwrap();
    assert!(curve.points.len() > 20 && curve.points.windows(2).all(|pair| pair[0].0 < pair[1].0));
    assert!((1e-6..1.0).contains(&curve.suggestion), "{}", curve.suggestion);
    assert!(note(found.as_ref(), "learning rate found").is_some());
    let given = small(|t| t.learning_rate = curve.suggestion);
    assert!(bits(TestFit::new(None).fit(&given, &train).unwrap().as_ref()) == bits(found.as_ref()));
}

#[test]
fn a_clip_that_would_be_alone_in_its_batch_is_skipped() {
    let scene = TestFit::new(None);
    // Nine clips in batches of four, then a single clip.
    let model = scene.fit(&small(|_| ()), &one_label(1, 9)).unwrap();
    assert_eq!(note(model.as_ref(), "steps"), Some("8".to_owned()));
    let one = FeatureSet::from_matrices(vec![0.5; 64], [8, 8], vec![vec![0]], 3);
    assert_eq!(note(scene.fit(&small(|_| ()), &one).unwrap().as_ref(), "steps"), Some("4".to_owned()));
}

#[test]
fn a_step_updates_the_weights_in_place() {
    with_learner(Training::default(), |learner, set| {
        let addresses = |learner: &Learner| {
            let mut addresses = Vec::new();
            parameters::visit(learner.network(), &mut |info, tensor: Tensor<1>| {
                if info.requires_grad {
                    addresses.push(address(tensor));
                }
            });
            addresses
        };
        let mut before = Vec::new();
        for _ in 0..2 {
            let mut gradients = GradientSum::default();
            learner.add_gradients(batch(set, 0..8), 1.0, Seed::new(1), &mut gradients).unwrap();
            learner.step(gradients, &optimizer::StepSettings { rates: vec![0.1, 0.1], momentum: 0.9 });
            before.push(addresses(learner));
        }
        assert_eq!(before[0], before[1]);
    });
}

/// The address of the values of a tensor.
fn address(tensor: Tensor<1>) -> usize {
    let primitive = tensor.try_into_primitive::<burn::backend::Flex>().expect("it is on the CPU");
    primitive.bytes().as_ptr() as usize
}

#[test]
fn layers_are_unfrozen_from_the_head_down() {
    with_learner(Training::default(), |learner, _| {
        let mut trainable = |from| {
            learner.unfreeze(UnfrozenGroups { from, batch_norms: false });
            let mut found = Vec::new();
            parameters::visit(learner.network(), &mut |info, _| {
                if info.requires_grad {
                    found.push(info.path.clone());
                }
            });
            found
        };
        assert_eq!(trainable(1), ["fc.weight", "fc.bias"]);
        let all = trainable(0);
        assert_eq!((all.len(), &all[0]), (8, &"blocks.0.conv.weight".to_owned()));
        assert!(!all.iter().any(|path| path.contains("running")), "{all:?}");
    });
}
