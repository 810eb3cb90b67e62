//! Networks and features on a GPU, or on a Vulkan driver that computes on the CPU (`TIMBRE_TEST_DEVICE`, default `wgpu`). Run
//! them with `make test-gpu`.

use std::sync::Mutex;

use burn::tensor::{Tensor, TensorData};
use timbre_core::seed::Seed;
use timbre_evaluation::predictions::Predictions;
use timbre_inputs::{dataset::feature_set::FeatureSet, features::mel::Mel};
use timbre_models::{
    Epoch, FitContext, ModelKind, TrainingCallback,
    device::{Device, DeviceChoice},
    hyperparameters::{Schedule, Training},
    networks::{CnnSmall, cnn_small},
    training::device_mel::DeviceMel,
};

fn device() -> Device {
    let choice = std::env::var("TIMBRE_TEST_DEVICE").unwrap_or_else(|_| "wgpu".to_owned());
    let chosen = choice.parse::<DeviceChoice>().unwrap().choose().expect("a GPU, or a driver that computes on the CPU");
    println!("{}", chosen.message);
    chosen.device
}

/// Pseudo-random values between -1 and 1.
fn noise(count: usize) -> Vec<f32> {
    (0..count as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
}

/// Records the losses of a training.
#[derive(Default)]
struct Losses(Mutex<Vec<f64>>);

impl TrainingCallback for Losses {
    fn on_epoch_end(&self, history: &[Epoch]) -> anyhow::Result<()> {
        *self.0.lock().unwrap() = history.iter().map(|epoch| epoch.train_loss).collect();
        Ok(())
    }
}

/// The losses of sixty steps of a small network on eight clips of two classes, and its predictions for them afterwards.
fn overfit(device: &Device) -> (Vec<f64>, Predictions) {
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
    let predictions = model.predict(&clips).unwrap();
    let again = spec.restore(model.tensors().unwrap(), 2, device).unwrap().predict(&clips).unwrap();
    let apart =
        predictions.probabilities.iter().zip(&again.probabilities).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(apart < 1e-5, "predictions of the restored network differ by {apart}");
    (losses.0.into_inner().unwrap(), predictions)
}

#[test]
#[ignore = "needs a GPU or a Vulkan driver that computes on the CPU: make test-gpu"]
fn a_network_overfits_eight_clips_on_a_gpu_as_on_the_cpu() {
    let device = device();
    let ((here, _), (there, predictions)) = (overfit(&Device::cpu()), overfit(&device));
    println!("losses on {}: {} at the start, {} at the end", device.name(), there[0], there[59]);
    // After some steps rounding differences grow; both end with a small loss.
    for (step, (a, b)) in here.iter().zip(&there).take(3).enumerate() {
        assert!((a - b).abs() < 1e-3 * a, "step {step}: {a} on the CPU, {b} on {}", device.name());
    }
    for losses in [&here, &there] {
        assert!(losses[0] > 0.3 && losses[59] < 0.05, "{losses:?}");
    }
    assert_eq!(predictions.most_likely_classes(), [0, 1, 1, 0, 1, 0, 0, 1]);
}

#[test]
#[ignore = "needs a GPU or a Vulkan driver that computes on the CPU: make test-gpu"]
fn mel_spectrograms_on_a_gpu_equal_those_of_the_cpu() {
    let device = device();
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
            let samples = Tensor::from_data(TensorData::new(clips.clone(), [3, samples]), &device.burn());
            mel.forward(samples).try_into_vec_as().unwrap()
        };
        let (here, there) = (image(&Device::cpu()), image(&device));
        let worst = here.iter().zip(&there).map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max);
        assert!(worst < 0.08, "{worst} dB on {}: {spec:?}", device.name());
    }
}
