//! Networks and features on wgpu. Any Vulkan driver will do, also one that is a CPU (in Debian: `mesa-vulkan-drivers`); without
//! one there is nothing to test. `cargo test --release --features wgpu --test gpu`: the first step tunes kernels, for about a
//! minute on a CPU.
use std::sync::Mutex;

use burn::tensor::{Tensor, TensorData};
use timbre_core::seed::Seed;
use timbre_evaluation::predictions::Predictions;
use timbre_inputs::dataset::feature_set::FeatureSet;
use timbre_inputs::features::mel::Mel;
use timbre_models::device::{Backend, Device, DeviceChoice};
use timbre_models::networks::{CnnSmall, cnn_small};
use timbre_models::training::device_mel::DeviceMel;
use timbre_models::training::hyperparameters::{Schedule, Training};
use timbre_models::{Epoch, FitContext, ModelKind, TrainingCallback};

/// The first wgpu device that works, with a line about it; nothing where there is no driver.
fn wgpu() -> Option<Device> {
    match DeviceChoice::Gpu(Backend::Wgpu, None).choose() {
        Ok(chosen) => {
            println!("{}", chosen.message);
            Some(chosen.device)
        }
        Err(error) => {
            println!("not tested: {error}");
            assert!(Backend::Wgpu.detect().is_err(), "a device that is there works: {error}");
            None
        }
    }
}

/// Numbers between -1 and 1 that look random.
fn noise(count: usize) -> Vec<f32> {
    (0..count as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
}

/// Keeps the losses of a training.
#[derive(Default)]
struct Losses(Mutex<Vec<f64>>);

impl TrainingCallback for Losses {
    fn on_epoch_end(&self, history: &[Epoch]) -> anyhow::Result<()> {
        *self.0.lock().unwrap() = history.iter().map(|epoch| epoch.train_loss).collect();
        Ok(())
    }
}

/// The losses of sixty steps of a small network on eight clips of two classes, and what it then says of them.
fn learnt_by_heart(device: &Device) -> (Vec<f64>, Predictions) {
    let network = cnn_small::CnnSmall { filters: vec![4, 8], dropout: 0.0, ..Default::default() };
    let training = Training {
        epochs: 60,
        batch_size: 8,
        learning_rate: 0.03,
        schedule: Schedule::Constant,
        ..Training::default()
    };
    let spec = CnnSmall { training, ..network.into() };
    let labels = [0, 1, 1, 0, 1, 0, 0, 1].map(|label| vec![label]).to_vec();
    let clips = FeatureSet::from_matrices(noise(8 * 256), [16, 16], labels, 2);
    let losses = Losses::default();
    let context = FitContext { device, callback: &losses, ..FitContext::standalone(Seed::new(7)) };
    let model = spec.fit(&clips, &context).unwrap();
    let said = model.predict(&clips).unwrap();
    let again = spec.restore(model.tensors().unwrap(), 2, device).unwrap().predict(&clips).unwrap();
    let apart = said.probabilities.iter().zip(&again.probabilities).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(apart < 1e-5, "restored, it says something else by {apart}");
    (losses.0.into_inner().unwrap(), said)
}

#[test]
fn a_network_learns_eight_clips_by_heart_on_wgpu_as_on_the_cpu() {
    let Some(device) = wgpu() else { return };
    let ((here, _), (there, said)) = (learnt_by_heart(&Device::cpu()), learnt_by_heart(&device));
    println!("losses on {}: {} at first, {} at last", device.name(), there[0], there[59]);
    // Beyond some steps rounding grows; both end where they should.
    for (step, (a, b)) in here.iter().zip(&there).take(3).enumerate() {
        assert!((a - b).abs() < 1e-3 * a, "step {step}: {a} on the CPU, {b} on {}", device.name());
    }
    for losses in [&here, &there] {
        assert!(losses[0] > 0.3 && losses[59] < 0.05, "{losses:?}");
    }
    assert_eq!(said.most_likely_classes(), [0, 1, 1, 0, 1, 0, 0, 1]);
}

#[test]
fn mel_spectrograms_on_wgpu_are_those_of_the_cpu() {
    let Some(device) = wgpu() else { return };
    let samples = 9000;
    let clips: Vec<f32> = noise(3 * samples)
        .iter()
        .enumerate()
        .map(|(i, noise)| match i / samples {
            0 => *noise,
            1 => 0.9 * (0.1254 * i as f32).sin() + 1e-3 * noise,
            _ => 0.0,
        })
        .collect();
    for spec in [
        Mel { n_fft: 512, hop_length: 160, n_mels: 40, ..Mel::default() },
        Mel { n_fft: 400, hop_length: 160, n_mels: 23, resize: Some([32, 40]), power: 1.0, ..Mel::default() },
    ] {
        let image = |device: &Device| -> Vec<f32> {
            let mel = DeviceMel::new(&spec, 22050, samples, &device.burn(), device.precision()).unwrap();
            let waves = Tensor::from_data(TensorData::new(clips.clone(), [3, samples]), &device.burn());
            mel.forward(waves).try_into_vec_as().unwrap()
        };
        let (here, there) = (image(&Device::cpu()), image(&device));
        let worst = here.iter().zip(&there).map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max);
        assert!(worst < 0.08, "{worst} dB on {}: {spec:?}", device.name());
    }
}
