//! Every registered network on a GPU against the CPU. `TIMBRE_TEST_DEVICE` names the device (default: `wgpu`).

use burn::tensor::TensorData;

use super::*;
use crate::device::{Device, DeviceChoice, guarded, read};
use crate::networks::parameters;

const CLASSES: usize = 3;

/// As many clips as llvmpipe can sum over: it ends a loop after 65,535 rounds of four values, and a batch norm is one loop.
fn clips(input: InputShape) -> usize {
    const LONGEST: usize = 4 * 65_535;
    (LONGEST / (input.height * input.width)).clamp(2, 4)
}

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
    let clips = clips(input);
    let network = kind.build(input, CLASSES, Seed::new(1), device).unwrap();
    let images = TensorData::new(images.to_vec(), [clips, input.channels, input.height, input.width]);
    let logits = network.forward(Tensor::from_data(images, device), None);
    let mut found = vec![("logits".to_owned(), read(logits.clone()))];
    // A loss whose gradient differs from output to output and does not vanish, however large the logits are.
    let factors: Vec<f32> = (0..clips * CLASSES).map(|i| 0.3 + (i as f32 * 1.7).sin()).collect();
    let factors = Tensor::<2>::from_data(TensorData::new(factors, [clips, CLASSES]), device);
    let mut gradients = (logits * factors).sum().backward();
    found.extend(parameters::gradients(&network, &mut gradients).into_iter().map(|(path, g)| (path, read(g))));
    let tensors = state_dict::tensors(&network).into_iter();
    let statistics = tensors.filter(|tensor| state_dict::is_statistic(&tensor.name));
    found.extend(statistics.map(|tensor| (tensor.name.clone(), tensor.into_values().unwrap())));
    found
}

/// Images so large that batch norms of the last layers see more than a few values: with four of them, rounding decides the gradient.
/// Their width is a multiple of four, as the limit of [`clips`] wants.
fn well_conditioned(smallest: InputShape) -> InputShape {
    InputShape { height: smallest.height.max(64), width: smallest.width.max(64).next_multiple_of(4), ..smallest }
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
        let images = read(noise(InputShape { channels: 1, ..input }, clips(input), &BurnDevice::flex()));
        let clock = std::time::Instant::now();
        let expected = step(kind, input, &images, &cpu);
        let found = match guarded(&device, clips(input), || Ok(step(kind, input, &images, &gpu))) {
            Ok(found) => found,
            // llvmpipe binds at most 128 MiB, and the first dense layer of AlexNet has 151 MB.
            Err(error) if error.to_string().contains("too little free memory") => {
                eprintln!("{name}: left out: {error}");
                continue;
            }
            Err(error) => panic!("{name}: {error}"),
        };
        let mut apart = Vec::new();
        for ((path, expected), (found_path, found)) in expected.iter().zip(&found) {
            assert_eq!((path, expected.len()), (found_path, found.len()), "{name}");
            let difference = norm(expected.iter().zip(found).map(|(a, b)| a - b));
            apart.push((difference, norm(expected.iter().copied()), path));
        }
        let (logits, rest) = apart.split_first().expect("the logits come first");
        let whole = |of: fn(&(f64, f64, &String)) -> f64| rest.iter().map(|one| of(one).powi(2)).sum::<f64>().sqrt();
        let (difference, size) = (whole(|one| one.0), whole(|one| one.1));
        // Some gradients are zero but for rounding, such as that of a bias before a batch norm.
        let is_large = |one: &&(f64, f64, &String)| one.1 > 1e-3 * size;
        let worst = rest.iter().filter(is_large).max_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
        let worst = worst.expect("a network has gradients");
        let ratios = [logits.0 / logits.1, difference / size, worst.0 / worst.1];
        eprintln!(
            "{name}: logits {:.1e}, gradients {:.1e}, at most {:.1e} in `{}`, {:.1} s",
            ratios[0],
            ratios[1],
            ratios[2],
            worst.2,
            clock.elapsed().as_secs_f64()
        );
        // The weight gradient of a convolution is one loop over all pixels, value by value, which llvmpipe does not complete either.
        let is_llvmpipe = device.hardware().is_some_and(|name| name.contains("llvmpipe"));
        if is_llvmpipe && clips(input) * input.height * input.width > 65_535 && ratios[0] < 1e-2 {
            eprintln!("{name}: the images are too large for gradients on llvmpipe");
            continue;
        }
        // Rounding moves a few values to the other side of a ReLU, which changes the gradients of the layers below: the more layers, the
        // more. NaN is a failure.
        if !(ratios[0] < 1e-3 && ratios[1] < 0.05 && ratios[2] < 0.2) {
            failures.push(format!("{name}: {ratios:?}, `{}`", worst.2));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
