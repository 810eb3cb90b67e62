//! Properties of every registered network.

use burn::tensor::{Device as BurnDevice, Distribution};

use serde_json::json;

use super::head::HeadKind;
use super::*;
use crate::{ModelSpec, Tensor as Named};

fn image(height: usize, width: usize) -> InputShape {
    InputShape { channels: 1, height, width }
}

struct Case {
    /// The kind and the head.
    name: String,
    spec: ModelSpec,
    input: InputShape,
}

impl Case {
    fn kind(&self) -> &dyn NetworkKind {
        self.spec.as_network().expect("a network").kind()
    }
}

/// Every registered network with the heads that it accepts, and the smallest image that it accepts.
fn every_network() -> Vec<Case> {
    let mut cases = Vec::new();
    for (kind, head) in ModelSpec::KINDS.iter().flat_map(|kind| HeadKind::ALL.map(|head| (kind, head))) {
        let mut table = json!({ "kind": kind });
        // "linear" is the default, and a network may have no other.
        if head != HeadKind::Linear {
            table["head"] = json!(head);
        }
        // The published sizes have up to 80 million parameters.
        let small = match *kind {
            "cnn10" | "cnn14" => json!({ "filters": 4 }),
            "ast" | "passt" => json!({ "embed_dim": 24, "depth": 2, "heads": 3 }),
            "beats" => json!({ "patch_dim": 16, "embed_dim": 24, "hidden_dim": 48, "depth": 2, "heads": 3,
                "conv_pos": 8, "conv_pos_groups": 4 }),
            "masked_autoencoder" => {
                json!({ "embed_dim": 24, "depth": 2, "heads": 3, "decoder_dim": 16, "decoder_depth": 1,
                "decoder_heads": 2 })
            }
            "mobilenet_v3_large" | "efficientnet_v2_s" | "convnext_tiny" => json!({ "width": 0.2 }),
            _ => json!({}),
        };
        table.as_object_mut().unwrap().extend(small.as_object().unwrap().clone());
        let Ok(spec) = serde_json::from_value::<ModelSpec>(table) else { continue };
        if let Some(network) = spec.as_network().filter(|_| spec.as_kind().faults().is_empty()) {
            let input = smallest_image(network.kind());
            cases.push(Case { name: format!("{kind}, {head:?}"), spec, input });
        }
    }
    // The heavy networks with one head each: the heads are the same for all. VGG's own has 500 MB.
    let is_wanted = |case: &Case| match case.name.split_once(", ").expect("a kind and a head") {
        ("vgg16_bn", head) => head == "PerClass",
        ("alexnet" | "resnet34" | "resnet50", head) => head == "Linear",
        _ => true,
    };
    cases.retain(is_wanted);
    cases
}

/// A few bands and frames more than the least, so that a pool leaves a remainder.
fn smallest_image(kind: &dyn NetworkKind) -> InputShape {
    let accepts = |height, width| kind.layers(image(height, width), 3).is_ok();
    let width = (1..).find(|&width| accepts(1000, width)).expect("some width will do");
    let height = (1..).find(|&height| accepts(height, width)).expect("some height will do");
    image(height + 1, width + 1)
}

/// The networks for which a training step is cheap, with their own heads; the smallest one with every head.
fn light_networks() -> impl Iterator<Item = Case> {
    let is_light = |case: &Case| {
        let rows = case.kind().layers(case.input, 3).unwrap();
        let has_wanted_head = case.name.starts_with("cnn_small") || case.name.ends_with("Linear");
        has_wanted_head && rows.iter().map(|row| row.parameters).sum::<u64>() < 12_000_000
    };
    every_network().into_iter().filter(is_light)
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
    network.forward(images, None).into_data().try_into_vec::<f32>().unwrap()
}

#[test]
fn the_layer_table_agrees_with_the_network() {
    let device = BurnDevice::flex();
    for case in every_network() {
        let (name, kind, input) = (&case.name, case.kind(), case.input);
        let rows = kind.layers(input, 7).unwrap();
        let network = kind.build(input, 7, Seed::new(1), &device).unwrap();
        let sums = rows.iter().fold((0, 0), |(p, s), row| (p + row.parameters, s + row.statistics));
        assert_eq!(sums, state_dict::counts(&network), "{name}");
        assert_eq!(rows.last().unwrap().output, [7], "{name}");
        assert_eq!(network.forward(noise(input, 2, &device), None).dims(), [2, 7], "{name}");
    }
}

#[test]
fn the_onnx_graph_of_every_network_ends_with_its_logits() {
    for case in every_network() {
        let network = case.kind().build(case.input, 7, Seed::new(1), &BurnDevice::flex()).unwrap();
        let InputShape { channels, height, width } = case.input;
        let (mut graph, images) = onnx::Graph::new([channels, height, width]);
        assert_eq!(network.graph(&mut graph, &images).shape, [1, 7], "{}", case.name);
    }
}

#[test]
fn the_parameters_of_each_row_are_those_of_its_layer() {
    for case in every_network() {
        let (name, kind, input) = (&case.name, case.kind(), case.input);
        let rows = kind.layers(input, 5).unwrap();
        let network = kind.build(input, 5, Seed::new(1), &BurnDevice::flex()).unwrap();
        let mut counted = std::collections::HashMap::<String, u64>::new();
        for (tensor, shape) in state_dict::shapes(&network) {
            let parent = tensor.rsplit_once('.').map(|(layer, _)| layer.to_owned());
            // A tensor of the network itself has a row of its own.
            *counted.entry(parent.unwrap_or(tensor)).or_default() += shape.iter().product::<usize>() as u64;
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
    for case in every_network() {
        let (name, kind, input) = (&case.name, case.kind(), case.input);
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
fn initial_weights_depend_only_on_seed_and_name() {
    let device = BurnDevice::flex();
    for case in light_networks() {
        let (name, kind, input) = (&case.name, case.kind(), case.input);
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
fn statistics_are_up_to_date_after_a_step_and_loading_leaves_clones_alone() {
    let device = BurnDevice::flex().autodiff();
    for case in light_networks() {
        let (name, kind, input) = (&case.name, case.kind(), case.input);
        let network = kind.build(input, 3, Seed::new(1), &device).unwrap();
        let before = state_dict::tensors(&network);
        let images = noise(input, 3, &device);
        network.forward(images.clone(), None);
        let after = state_dict::tensors(&network);
        for (old, new) in bits(&before).into_iter().zip(bits(&after)) {
            let (tensor, old, new) = (old.0, old.1, new.1);
            assert_eq!(old != new, state_dict::is_statistic(&tensor), "{name}: `{tensor}` after one step");
        }
        network.forward(images.clone(), None);
        let (clone, trained) = (network.clone(), state_dict::tensors(&network));
        let loaded = state_dict::load(network, &before).unwrap();
        assert_eq!(bits(&state_dict::tensors(&loaded)), bits(&before), "{name}");
        assert_eq!(bits(&state_dict::tensors(&clone)), bits(&trained), "{name}: the clone was changed");
        // The loaded network can still be trained.
        let pass = TrainingPass::new(Seed::new(3));
        let logits = loaded.forward(images, Some(&pass)).sum();
        let loss = pass.take_loss().map_or(logits.clone(), |own| logits + own);
        let gradients = loss.backward();
        let with_gradient = WithGradient::count(&loaded, &gradients);
        // PaSST's second classifier is only stored.
        let learns =
            |tensor: &&Named| !state_dict::is_statistic(&tensor.name) && !tensor.name.starts_with("head_dist.");
        let trainable = before.iter().filter(learns).count();
        assert_eq!(with_gradient, trainable, "{name}");
    }
}

/// Counts the tensors that have a gradient.
struct WithGradient<'a> {
    gradients: &'a burn::tensor::Gradients,
    count: usize,
}

impl WithGradient<'_> {
    fn count(network: &Network, gradients: &burn::tensor::Gradients) -> usize {
        let mut visitor = WithGradient { gradients, count: 0 };
        network.visit(&mut visitor);
        visitor.count
    }
}

impl burn::module::ModuleVisitor for WithGradient<'_> {
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
    assert!(fault(4, &tensors).contains("`fc.weight` has the shape [3, 8], the network [4, 8]"));
    let mut more = tensors.clone();
    more.push(Named::new("fc.scale", vec![1], vec![1.0]));
    assert!(fault(3, &more).contains("no tensor `fc.scale`"));
    more.pop();
    more.push(tensors[0].clone());
    assert!(fault(3, &more).contains("`blocks.0.conv.weight` occurs twice"));
}

#[test]
fn parameter_groups_are_ordered_from_the_input_to_the_head() {
    for case in every_network() {
        let (name, kind, input) = (&case.name, case.kind(), case.input);
        let network = kind.build(input, 3, Seed::new(1), &BurnDevice::flex()).unwrap();
        let groups: Vec<usize> = state_dict::shapes(&network).iter().map(|(tensor, _)| kind.group_of(tensor)).collect();
        assert!(groups.is_sorted(), "{name}: {groups:?}");
        assert_eq!(groups[0], 0, "{name}");
        assert_eq!(*groups.last().unwrap(), kind.groups() - 1, "{name}");
        assert!((0..kind.groups()).all(|group| groups.contains(&group)), "{name}: {groups:?}");
        let layers: Vec<usize> = state_dict::shapes(&network).iter().map(|(tensor, _)| kind.depth_of(tensor)).collect();
        assert!(layers.is_sorted(), "{name}: {layers:?}");
        assert!((0..kind.depth()).all(|layer| layers.contains(&layer)), "{name}: {layers:?}");
    }
}

#[test]
fn burns_paths_become_pytorchs_names() {
    assert_eq!(state_dict::torch_name("Resnet18.layer1.0.bn1.gamma"), "layer1.0.bn1.weight");
    assert_eq!(state_dict::torch_name("Resnet18.output.Head.Concat.bn2.beta"), "head.bn2.bias");
    assert_eq!(state_dict::torch_name("layer2.0.downsample.1.running_var"), "layer2.0.downsample.1.running_var");
}

#[cfg(any(feature = "cuda", feature = "wgpu"))]
mod gpu;
