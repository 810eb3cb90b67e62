//! Networks and features on wgpu. Any Vulkan driver will do, also one that is a CPU (in Debian: `mesa-vulkan-drivers`); without
//! one there is nothing to test. `cargo test --release --features wgpu --test gpu`: the first step tunes kernels, for about a
//! minute on a CPU.
#![cfg(feature = "wgpu")]

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Int, Tensor, TensorData};
use timbre::features::device_mel::DeviceMel;
use timbre::features::mel::Mel;
use timbre::models::device::{Backend, Device, DeviceChoice};
use timbre::models::networks::cnn_small::CnnSmall;
use timbre::models::networks::{InputShape, NetworkKind};
use timbre::seed::Seed;

/// The first wgpu device that works, with a line about it; nothing where there is no driver.
fn wgpu() -> Option<Device> {
    match DeviceChoice::Gpu(Backend::Wgpu, None).choose() {
        Ok(chosen) => {
            println!("{}", chosen.sentence);
            Some(chosen.device)
        }
        Err(error) => {
            println!("not tested: {error}");
            assert!(Backend::Wgpu.look().is_err(), "a device that is there works: {error}");
            None
        }
    }
}

/// Numbers between -1 and 1 that look random.
fn noise(count: usize) -> Vec<f32> {
    (0..count as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
}

/// The loss before each of `steps` steps of a small network on eight clips of two classes.
fn losses(device: &Device, steps: usize) -> Vec<f32> {
    let spec = CnnSmall { filters: vec![4, 8], dropout: 0.0, ..CnnSmall::default() };
    let input = InputShape { channels: 1, height: 16, width: 16 };
    // The same first weights everywhere: those of the CPU.
    let cpu = Device::cpu().burn().autodiff();
    cpu.seed(7);
    let network = spec.build(input, 2, Seed::new(7), &cpu).unwrap();
    let device = device.burn().autodiff();
    let mut network = network.to_device(&device);
    let images = Tensor::<4>::from_data(TensorData::new(noise(8 * 256), [8, 1, 16, 16]), &device);
    let labels = Tensor::<1, Int>::from_ints([0, 1, 1, 0, 1, 0, 0, 1], &device);
    let judge = CrossEntropyLossConfig::new().init(&device);
    let mut adam = AdamConfig::new().init();
    let mut losses = Vec::new();
    for _ in 0..steps {
        let loss = judge.forward(network.forward(images.clone()), labels.clone());
        losses.push(loss.clone().into_scalar::<f32>());
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        network = adam.step(0.03, network, gradients);
    }
    losses
}

#[test]
fn a_network_learns_eight_clips_by_heart_on_wgpu_as_on_the_cpu() {
    let Some(device) = wgpu() else { return };
    let (here, there) = (losses(&Device::cpu(), 60), losses(&device, 60));
    // Beyond some steps rounding grows; both end where they should.
    for (step, (a, b)) in here.iter().zip(&there).take(3).enumerate() {
        assert!((a - b).abs() < 1e-3 * a, "step {step}: {a} on the CPU, {b} on {}", device.name());
    }
    for losses in [&here, &there] {
        assert!(losses[0] > 0.3 && losses[59] < 0.05, "{losses:?}");
    }
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
