//! Pretrained networks for the feature `embedding`.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Tensor, TensorData};

use crate::networks::{Ast, Cnn6, Cnn10, Cnn14, InputShape, Musicnn, MusicnnVgg, Network, NetworkModel, pretrained};
use timbre_core::seed::Seed;
use timbre_inputs::features::embedding::{Embedding, EmbeddingLayer, LoadedNetwork, PretrainedNetwork, set_loader};

/// Makes the feature `embedding` available.
pub fn register() {
    set_loader(load);
}

/// The images on which the networks were trained; the number of frames matters for the positions of AST alone.
fn input_of(network: PretrainedNetwork) -> InputShape {
    let [height, width] = match network {
        PretrainedNetwork::Musicnn | PretrainedNetwork::MusicnnVgg => [96, 187],
        PretrainedNetwork::Cnn6 | PretrainedNetwork::Cnn10 | PretrainedNetwork::Cnn14 => [64, 1001],
        PretrainedNetwork::Ast => [128, 1024],
    };
    InputShape { channels: 1, height, width }
}

fn load(spec: &Embedding) -> Result<Box<dyn LoadedNetwork>> {
    let model: Box<dyn NetworkModel> = match spec.network {
        PretrainedNetwork::Musicnn => Box::new(Musicnn::default()),
        PretrainedNetwork::MusicnnVgg => Box::new(MusicnnVgg::default()),
        PretrainedNetwork::Cnn6 => Box::new(Cnn6::default()),
        PretrainedNetwork::Cnn10 => Box::new(Cnn10::default()),
        PretrainedNetwork::Cnn14 => Box::new(Cnn14::default()),
        PretrainedNetwork::Ast => Box::new(Ast::default()),
    };
    let path = Path::new(&spec.weights);
    let classes = spec.network.values(EmbeddingLayer::Scores);
    // All initial weights are replaced, so the seed does not matter.
    let network = model.kind().build(input_of(spec.network), classes, Seed::new(0), &Device::flex())?;
    let (network, report) = pretrained::import(path, network)?;
    ensure!(
        report.missing.is_empty(),
        "{} has {} of the {} tensors of the network: {report}",
        path.display(),
        report.loaded.len() + report.reshaped.len(),
        report.loaded.len() + report.reshaped.len() + report.missing.len()
    );
    Ok(Box::new(Pretrained(network)))
}

struct Pretrained(Network);

impl LoadedNetwork for Pretrained {
    fn layer(&self, images: Vec<f32>, [bands, frames]: [usize; 2], layer: EmbeddingLayer) -> Result<Vec<f32>> {
        let clips = images.len() / (bands * frames);
        let images = Tensor::<4>::from_data(TensorData::new(images, [clips, 1, bands, frames]), &Device::flex());
        let values = match layer {
            EmbeddingLayer::Scores => sigmoid(self.0.forward(images, None)),
            EmbeddingLayer::Penultimate => match &self.0 {
                Network::Musicnn(net) => net.penultimate(images),
                Network::MusicnnVgg(net) => net.penultimate(images),
                Network::Cnn6(net) | Network::Cnn10(net) | Network::Cnn14(net) => net.penultimate(images),
                Network::Ast(net) => net.penultimate(images),
                _ => bail!("only pretrained networks are loaded here"),
            }
            .context("a pretrained network has its own classifier")?,
        };
        values.into_data().try_into_vec::<f32>().ok().context("networks are f32")
    }
}
