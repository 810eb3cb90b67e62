//! Compares the layers with burn's, and the running statistics with PyTorch's.

use burn::module::Module;
use burn::nn;
use burn::tensor::{Device, Distribution, Tensor, TensorData};

use super::*;

fn images(shape: [usize; 4], device: &Device) -> Tensor<4> {
    let numbers: Vec<f32> =
        (0..shape.iter().product::<usize>()).map(|at| ((at * 7919) % 1009) as f32 / 504.0 - 1.0).collect();
    Tensor::from_data(TensorData::new(numbers, shape), device)
}

fn largest<const D: usize>(difference: Tensor<D>) -> f32 {
    difference.abs().max().into_scalar()
}

#[test]
fn a_fused_batch_norm_equals_burns_batch_norm_with_shortcut_and_relu() {
    let device = Device::flex().autodiff();
    for shape in [[4, 24, 9, 7], [3, 5, 1, 6]] {
        let (x, shortcut) = (images(shape, &device).require_grad(), (images(shape, &device) * 0.7).require_grad());
        let (ours, theirs) =
            (BatchNormConfig::new(shape[1]).init(&device), nn::BatchNormConfig::new(shape[1]).init(&device));
        let weights = Tensor::random(shape, Distribution::Default, &device);
        let pairs = [
            (ours.forward(x.clone()), theirs.forward(x.clone())),
            (ours.forward_relu(x.clone()), relu(theirs.forward(x.clone()))),
            (ours.forward_add_relu(x.clone(), shortcut.clone()), relu(theirs.forward(x.clone()) + shortcut.clone())),
        ];
        for (ours, theirs) in pairs {
            assert!(largest(ours.clone() - theirs.clone()) < 1e-5);
            let (ours, theirs) =
                ((ours * weights.clone()).sum().backward(), (theirs * weights.clone()).sum().backward());
            for x in [&x, &shortcut] {
                match (x.grad(&ours), x.grad(&theirs)) {
                    (Some(ours), Some(theirs)) => assert!(largest(ours - theirs) < 1e-4),
                    (ours, theirs) => assert_eq!(ours.is_some(), theirs.is_some()),
                }
            }
        }
    }
}

#[test]
fn a_batch_norm_in_inference_equals_burns() {
    let device = Device::flex();
    let (x, shortcut) = (images([4, 24, 9, 7], &device), images([4, 24, 9, 7], &device) * 0.7);
    let (ours, theirs) = (BatchNormConfig::new(24).init(&device), nn::BatchNormConfig::new(24).init(&device));
    let theirs = theirs.forward(x.clone());
    assert!(largest(ours.forward(x.clone()) - theirs.clone()) < 1e-5);
    assert!(largest(ours.forward_add_relu(x, shortcut.clone()) - relu(theirs + shortcut)) < 1e-5);
}

#[test]
fn rows_of_features_are_normalized_like_images_of_one_pixel() {
    let device = Device::flex().autodiff();
    let x = images([16, 6, 1, 1], &device);
    let (ours, theirs) = (BatchNormConfig::new(6).init(&device), nn::BatchNormConfig::new(6).init(&device));
    let rows = x.reshape([16, 6]);
    assert!(largest(ours.forward(rows.clone()) - theirs.forward(rows)) < 1e-5);
}

#[test]
fn a_running_variance_is_unbiased_as_in_pytorch() {
    // torch.nn.BatchNorm2d(1): 0.9 + 0.1 · var([1, 2, 3, 6]), which is 14 / 3 over three and 3.5 over four.
    let device = Device::flex().autodiff();
    let x = Tensor::<4>::from_data(TensorData::new(vec![1.0f32, 2.0, 3.0, 6.0], [1, 1, 2, 2]), &device);
    let norm = BatchNormConfig::new(1).init(&device);
    norm.forward(x);
    let norm = norm.valid();
    assert!((norm.running_mean.value().into_scalar::<f32>() - 0.3).abs() < 1e-6);
    assert!((norm.running_var.value().into_scalar::<f32>() - (0.9 + 1.4 / 3.0)).abs() < 1e-6);
}

#[test]
fn a_convolution_with_bias_and_a_max_pool_equal_burns() {
    let device = Device::flex().autodiff();
    let padding = PaddingConfig2d::Explicit(1, 1, 1, 1);
    let ours = Conv2dConfig::new([3, 20], [3, 3]).with_stride([2, 1]).with_padding(padding.clone()).init(&device);
    let mut theirs =
        nn::conv::Conv2dConfig::new([3, 20], [3, 3]).with_stride([2, 1]).with_padding(padding.clone()).init(&device);
    theirs.weight = ours.weight.clone();
    theirs.bias = ours.bias.clone();
    let our_pool = MaxPool2dConfig::new([3, 3]).with_strides([2, 2]).with_padding(padding.clone()).init();
    let their_pool = nn::pool::MaxPool2dConfig::new([3, 3]).with_strides([2, 2]).with_padding(padding).init();
    let x = images([2, 3, 17, 12], &device).require_grad();
    let (ours, theirs) = (our_pool.forward(ours.forward(x.clone())), their_pool.forward(theirs.forward(x.clone())));
    assert!(largest(ours.clone() - theirs.clone()) < 1e-5);
    let (ours, theirs) = (ours.powf_scalar(2.0).sum().backward(), theirs.powf_scalar(2.0).sum().backward());
    assert!(largest(x.grad(&ours).unwrap() - x.grad(&theirs).unwrap()) < 1e-4);
}

#[test]
fn one_sided_padding_falls_back_to_burn() {
    let device = Device::flex();
    let conv = Conv2dConfig::new([2, 4], [2, 2]).with_padding(PaddingConfig2d::Explicit(0, 0, 1, 1)).init(&device);
    assert_eq!(conv.forward(images([1, 2, 5, 6], &device)).dims(), [1, 4, 5, 6]);
    let pool =
        MaxPool2dConfig::new([2, 2]).with_strides([1, 1]).with_padding(PaddingConfig2d::Explicit(0, 0, 1, 1)).init();
    assert_eq!(pool.forward(images([1, 2, 5, 6], &device)).dims(), [1, 2, 5, 6]);
}
