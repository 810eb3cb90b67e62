//! Every registered network on a GPU against the CPU. `TIMBRE_TEST_DEVICE` names the device (default: `wgpu`).

use burn::tensor::TensorData;

use super::*;
use crate::device::{Device, DeviceChoice, guarded, read};
use crate::training::parameters;

const CLIPS: usize = 4;
const CLASSES: usize = 3;

/// The device under test.
pub fn device() -> Device {
    let choice = std::env::var("TIMBRE_TEST_DEVICE").unwrap_or_else(|_| "wgpu".to_owned());
    let chosen = choice.parse::<DeviceChoice>().unwrap().choose().expect("a GPU, or a driver that computes on the CPU");
    assert!(!chosen.device.is_cpu(), "TIMBRE_TEST_DEVICE is a GPU");
    eprintln!("{}", chosen.message);
    chosen.device
}

/// The named results of one training step without dropout: logits, gradients, and statistics of batch norms.
fn step(kind: &dyn NetworkKind, input: InputShape, images: &[f32], device: &BurnDevice) -> Vec<(String, Vec<f32>)> {
    let network = kind.build(input, CLASSES, Seed::new(1), device).unwrap();
    let images = TensorData::new(images.to_vec(), [CLIPS, input.channels, input.height, input.width]);
    let logits = network.forward(Tensor::from_data(images, device), None);
    let mut found = vec![("logits".to_owned(), read(logits.clone()))];
    // A loss whose gradient differs from output to output.
    let factors: Vec<f32> = (0..CLIPS * CLASSES).map(|i| 0.3 + (i as f32 * 1.7).sin()).collect();
    let factors = Tensor::<2>::from_data(TensorData::new(factors, [CLIPS, CLASSES]), device);
    let mut gradients = (logits.tanh() * factors).sum().backward();
    found.extend(parameters::gradients(&network, &mut gradients).into_iter().map(|(path, g)| (path, read(g))));
    let tensors = state_dict::tensors(&network).into_iter();
    let statistics = tensors.filter(|tensor| state_dict::is_statistic(&tensor.name));
    found.extend(statistics.map(|tensor| (tensor.name.clone(), tensor.into_values().unwrap())));
    found
}

/// Images so large that batch norms of the last layers see more than a few values: with four of them, rounding decides the gradient.
fn well_conditioned(smallest: InputShape) -> InputShape {
    InputShape { height: smallest.height.max(64), width: smallest.width.max(64), ..smallest }
}

/// The square root of the sum of squares; NaN if a value is.
fn norm(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt()
}

#[test]
#[ignore = "needs a GPU or a Vulkan driver that computes on the CPU: make test-gpu"]
fn a_training_step_of_every_network_agrees_with_the_cpu() {
    let only = std::env::var("TIMBRE_TEST_NETWORK").unwrap_or_default();
    let device = device();
    let (cpu, gpu) = (BurnDevice::flex().autodiff(), device.burn().autodiff());
    let mut failures = Vec::new();
    for case in every_network().into_iter().filter(|case| case.name.starts_with(&only)) {
        let (name, kind) = (&case.name, case.kind());
        let input = well_conditioned(case.input);
        let images = read(noise(InputShape { channels: 1, ..input }, CLIPS, &BurnDevice::flex()));
        let clock = std::time::Instant::now();
        let expected = step(kind, input, &images, &cpu);
        let found = match guarded(&device, CLIPS, || Ok(step(kind, input, &images, &gpu))) {
            Ok(found) => found,
            // llvmpipe binds at most 128 MiB, and the first dense layer of AlexNet has 151 MB.
            Err(error) if error.to_string().contains("too little free memory") => {
                eprintln!("{name}: left out: {error}");
                continue;
            }
            Err(error) => panic!("{name}: {error}"),
        };
        let (mut worst, mut difference, mut whole) = ((0.0, ""), 0.0, 0.0);
        for ((path, expected), (found_path, found)) in expected.iter().zip(&found) {
            assert_eq!((path, expected.len()), (found_path, found.len()), "{name}");
            let apart = norm(expected.iter().zip(found).map(|(a, b)| a - b));
            let size = norm(expected.iter().copied());
            if path != "logits" {
                (difference, whole) = (difference + apart * apart, whole + size * size);
            } else if !(apart < 1e-3 * size) {
                failures.push(format!("{name}: the logits differ by {}", apart / size));
            }
            if apart > worst.0 * size && size > 0.0 {
                worst = (apart / size, path);
            }
        }
        let apart = (difference / whole).sqrt();
        eprintln!(
            "{name}: {apart:.1e}, at most {:.1e} in `{}`, {:.1} s",
            worst.0,
            worst.1,
            clock.elapsed().as_secs_f64()
        );
        // Rounding moves a few values to the other side of a ReLU, which changes the gradient of a whole channel.
        if !(apart < 1e-2 && worst.0 < 0.1) {
            failures.push(format!("{name}: gradients differ by {apart}, those of `{}` by {}", worst.1, worst.0));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
