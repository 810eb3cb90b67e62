//! What holds for every network.

use burn::tensor::{Device as BurnDevice, Distribution};

use super::head::HeadKind;
use super::*;
use crate::Tensor as Named;

fn image(height: usize, width: usize) -> InputShape {
    InputShape { channels: 1, height, width }
}

type Kinds = Vec<(String, Box<dyn NetworkKind>, InputShape)>;

/// Every network with every head that it has, and an image that is large enough.
fn every_network() -> Kinds {
    use HeadKind::{Attention, Concat, Linear, PerClass};
    let mut all = light_networks();
    add(&mut all, "resnet18, 3 channels", resnet::Resnet18 { channels: 3, ..Default::default() }, (33, 33));
    add(&mut all, "resnet34", resnet::Resnet34 { head: Concat, ..Default::default() }, (32, 65));
    // Not its own classifier: 500 MB, and nothing that AlexNet's does not have.
    add(&mut all, "vgg16_bn", vgg16_bn::Vgg16Bn { head: PerClass, ..Default::default() }, (32, 34));
    for head in [Linear, Attention] {
        add(&mut all, "alexnet", alexnet::Alexnet { head, ..Default::default() }, (63, 98));
        add(&mut all, "tagging_cnn", tagging_cnn::TaggingCnn { head, ..Default::default() }, (96, 1280));
    }
    all
}

/// Those that a training step costs little of.
fn light_networks() -> Kinds {
    let mut all = Kinds::new();
    for head in [HeadKind::Linear, HeadKind::Concat, HeadKind::PerClass, HeadKind::Attention] {
        add(&mut all, "cnn_small", cnn_small::CnnSmall { head, ..Default::default() }, (32, 47));
        add(&mut all, "tagging_crnn", tagging_crnn::TaggingCrnn { head, padding: 5, ..Default::default() }, (96, 100));
        add(&mut all, "conv1d_mfcc", conv1d_mfcc::Conv1dMfcc { head, ..Default::default() }, (20, 20));
        add(&mut all, "resnet18", resnet::Resnet18 { head, ..Default::default() }, (33, 40));
    }
    all
}

fn add(
    all: &mut Kinds,
    name: &str,
    kind: impl NetworkKind + std::fmt::Debug + 'static,
    (height, width): (usize, usize),
) {
    if kind.faults().is_empty() {
        let shown = format!("{kind:?}");
        let head = shown.split("head: ").nth(1).and_then(|rest| rest.split(',').next()).unwrap().to_owned();
        all.push((format!("{name}, {head}"), Box::new(kind), image(height, width)));
    }
}

pub fn tagging_crnn() -> Network {
    let kind = tagging_crnn::TaggingCrnn::default();
    kind.build(image(96, 200), 3, Seed::new(1), &BurnDevice::flex()).unwrap()
}

fn noise(input: InputShape, clips: usize, device: &BurnDevice) -> Tensor<4> {
    Tensor::random([clips, input.channels, input.height, input.width], Distribution::Normal(0.0, 1.0), device)
}

/// Each tensor with the hash of its bits.
fn bits(tensors: &[Named]) -> Vec<(String, blake3::Hash)> {
    let hash = |tensor: &Named| blake3::hash(bytemuck::cast_slice(&tensor.clone().into_values().unwrap()));
    tensors.iter().map(|tensor| (tensor.name.clone(), hash(tensor))).collect()
}

fn logits(network: &Network, images: Tensor<4>) -> Vec<f32> {
    network.forward(images).into_data().try_into_vec::<f32>().unwrap()
}

#[test]
fn the_table_has_the_parameters_of_the_network_and_its_logits() {
    let device = BurnDevice::flex();
    for (name, kind, input) in every_network() {
        let rows = kind.layers(input, 7).unwrap();
        let network = kind.build(input, 7, Seed::new(1), &device).unwrap();
        let sums = rows.iter().fold((0, 0), |(p, s), row| (p + row.parameters, s + row.statistics));
        assert_eq!(sums, state_dict::counts(&network), "{name}");
        assert_eq!(rows.last().unwrap().output, [7], "{name}");
        assert_eq!(network.forward(noise(input, 2, &device)).dims(), [2, 7], "{name}");
    }
}

#[test]
fn each_tensor_stands_in_the_row_of_its_layer() {
    for (name, kind, input) in every_network() {
        let rows = kind.layers(input, 5).unwrap();
        let network = kind.build(input, 5, Seed::new(1), &BurnDevice::flex()).unwrap();
        let mut counted = std::collections::HashMap::<String, u64>::new();
        for (tensor, shape) in state_dict::shapes(&network) {
            let (layer, _) = tensor.rsplit_once('.').unwrap();
            *counted.entry(layer.to_owned()).or_default() += shape.iter().product::<usize>() as u64;
        }
        for row in rows {
            let expected = counted.remove(&row.name).unwrap_or(0);
            assert_eq!(row.parameters + row.statistics, expected, "{name}: `{}`", row.name);
        }
        assert!(counted.is_empty(), "{name}: no row for {counted:?}");
    }
}

#[test]
fn a_loaded_network_gives_the_same_bits() {
    let device = BurnDevice::flex();
    for (name, kind, input) in every_network() {
        let first = kind.build(input, 3, Seed::new(1), &device).unwrap();
        let second = kind.build(input, 3, Seed::new(2), &device).unwrap();
        let images = noise(input, 2, &device);
        let tensors = state_dict::tensors(&first);
        assert_ne!(logits(&first, images.clone()), logits(&second, images.clone()), "{name}");
        let loaded = state_dict::load(second, &tensors).unwrap();
        assert_eq!(bits(&state_dict::tensors(&loaded)), bits(&tensors), "{name}");
        assert_eq!(logits(&loaded, images.clone()), logits(&first, images), "{name}");
    }
}

#[test]
fn first_weights_hang_on_the_seed_and_the_name_alone() {
    let device = BurnDevice::flex();
    for (name, kind, input) in light_networks() {
        let of = |seed, device: &BurnDevice, threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| bits(&state_dict::tensors(&kind.build(input, 3, Seed::new(seed), device).unwrap())))
        };
        device.seed(5);
        let weights = of(1, &device, 1);
        device.seed(6);
        assert_eq!(of(1, &device.clone().autodiff(), 3), weights, "{name}");
        assert_ne!(of(2, &device, 1), weights, "{name}");
    }
}

#[test]
fn training_steps_move_statistics_that_are_read_at_once_and_loaded_without_touching_a_clone() {
    let device = BurnDevice::flex().autodiff();
    for (name, kind, input) in light_networks() {
        let network = kind.build(input, 3, Seed::new(1), &device).unwrap();
        let before = state_dict::tensors(&network);
        let images = noise(input, 3, &device);
        network.forward(images.clone());
        let after = state_dict::tensors(&network);
        for (old, new) in bits(&before).into_iter().zip(bits(&after)) {
            let (tensor, old, new) = (old.0, old.1, new.1);
            assert_eq!(old != new, state_dict::is_statistic(&tensor), "{name}: `{tensor}` after one step");
        }
        network.forward(images.clone());
        let (clone, trained) = (network.clone(), state_dict::tensors(&network));
        let loaded = state_dict::load(network, &before).unwrap();
        assert_eq!(bits(&state_dict::tensors(&loaded)), bits(&before), "{name}");
        assert_eq!(bits(&state_dict::tensors(&clone)), bits(&trained), "{name}: the clone was written to");
        // The loaded network still learns.
        let gradients = loaded.forward(images).sum().backward();
        let with_gradient = Learning::count(&loaded, &gradients);
        let learnt = before.iter().filter(|tensor| !state_dict::is_statistic(&tensor.name)).count();
        assert_eq!(with_gradient, learnt, "{name}");
    }
}

/// Counts the tensors that have a gradient.
struct Learning<'a> {
    gradients: &'a burn::tensor::Gradients,
    count: usize,
}

impl Learning<'_> {
    fn count(network: &Network, gradients: &burn::tensor::Gradients) -> usize {
        let mut learning = Learning { gradients, count: 0 };
        network.visit(&mut learning);
        learning.count
    }
}

impl burn::module::ModuleVisitor for Learning<'_> {
    fn visit_float<const D: usize>(&mut self, param: &burn::module::Param<Tensor<D>>) {
        self.count += usize::from(param.val().grad(self.gradients).is_some());
    }
}

#[test]
fn loading_is_strict() {
    let kind = cnn_small::CnnSmall { filters: vec![4, 8], ..Default::default() };
    let build = |classes| kind.build(image(8, 8), classes, Seed::new(1), &BurnDevice::flex()).unwrap();
    let tensors = state_dict::tensors(&build(3));
    let fault =
        |classes, tensors: &[Named]| state_dict::load(build(classes), tensors).expect_err("a fault").to_string();
    for missing in 0..tensors.len() {
        let mut fewer = tensors.clone();
        let name = fewer.remove(missing).name;
        assert!(fault(3, &fewer).contains(&format!("`{name}` is missing")));
    }
    assert!(fault(4, &tensors).contains("`fc.weight` is [3, 8], the network has [4, 8] there"));
    let mut more = tensors.clone();
    more.push(Named::new("fc.scale", vec![1], vec![1.0]));
    assert!(fault(3, &more).contains("no tensor `fc.scale`"));
    more.pop();
    more.push(tensors[0].clone());
    assert!(fault(3, &more).contains("`blocks.0.conv.weight` is there twice"));
}

#[test]
fn groups_run_from_the_input_to_the_head() {
    for (name, kind, input) in every_network() {
        let network = kind.build(input, 3, Seed::new(1), &BurnDevice::flex()).unwrap();
        let groups: Vec<usize> = state_dict::shapes(&network).iter().map(|(tensor, _)| kind.group_of(tensor)).collect();
        assert!(groups.is_sorted(), "{name}: {groups:?}");
        assert_eq!(groups[0], 0, "{name}");
        assert_eq!(*groups.last().unwrap(), kind.groups() - 1, "{name}");
        assert!((0..kind.groups()).all(|group| groups.contains(&group)), "{name}: {groups:?}");
    }
}

#[test]
fn paths_of_burn_become_names_of_pytorch() {
    assert_eq!(state_dict::torch_name("Resnet.layer1.0.bn1.gamma"), "layer1.0.bn1.weight");
    assert_eq!(state_dict::torch_name("Resnet.head.Concat.bn2.beta"), "head.bn2.bias");
    assert_eq!(state_dict::torch_name("layer2.0.downsample.1.running_var"), "layer2.0.downsample.1.running_var");
}
