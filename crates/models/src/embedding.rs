//! Pretrained networks for the feature `embedding`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

use anyhow::{Context, Result, bail, ensure};
use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Tensor, TensorData};

use crate::networks::{
    Ast, Beats, Cnn6, Cnn10, Cnn14, InputShape, Musicnn, MusicnnVgg, Network, NetworkModel, Passt, head, pretrained,
};
use timbre_core::{files::FileStamp, seed::Seed};
use timbre_inputs::features::embedding::{Embedding, EmbeddingLayer, LoadedNetwork, PretrainedNetwork, set_loader};

/// Makes the feature `embedding` available.
pub fn register() {
    set_loader(load);
}

/// A network, and the file of its weights with its stamp.
type Weights = (PretrainedNetwork, PathBuf, FileStamp);

/// The networks in use: several features may take layers of one network.
static IN_USE: Mutex<Vec<(Weights, Weak<Pretrained>)>> = Mutex::new(Vec::new());

fn load(spec: &Embedding) -> Result<Arc<dyn LoadedNetwork>> {
    let path = PathBuf::from(&spec.weights);
    let stamp = FileStamp::of(&path).with_context(|| format!("read {}", path.display()))?;
    let mut in_use = IN_USE.lock().expect("no loading thread panics");
    in_use.retain(|(_, network)| network.strong_count() > 0);
    let wanted = (spec.network, path, stamp);
    let known = in_use.iter().find(|(weights, _)| *weights == wanted).and_then(|(_, network)| network.upgrade());
    if let Some(network) = known {
        return Ok(network);
    }
    let network = Arc::new(read(spec.network, &wanted.1)?);
    in_use.push((wanted, Arc::downgrade(&network)));
    Ok(network)
}

fn read(network: PretrainedNetwork, path: &Path) -> Result<Pretrained> {
    let model: Box<dyn NetworkModel> = match network {
        PretrainedNetwork::Musicnn => Box::new(Musicnn::default()),
        PretrainedNetwork::MusicnnVgg => Box::new(MusicnnVgg::default()),
        PretrainedNetwork::Cnn6 => Box::new(Cnn6::default()),
        PretrainedNetwork::Cnn10 => Box::new(Cnn10::default()),
        PretrainedNetwork::Cnn14 => Box::new(Cnn14::default()),
        PretrainedNetwork::Ast => Box::new(Ast::default()),
        PretrainedNetwork::Passt => Box::new(Passt::default()),
        PretrainedNetwork::Beats => Box::new(Beats::default()),
    };
    let (classes, [height, width]) = (network.values(EmbeddingLayer::Scores), network.image());
    // All initial weights are replaced, so the seed does not matter.
    let shape = InputShape { channels: 1, height, width };
    let network = model.kind().build(shape, classes, Seed::new(0), &Device::flex())?;
    let (network, report) = pretrained::import(path, network)?;
    // Weights of a pretraining without labels have no classifier, which only the scores need.
    let lacks_classifier = !report.missing.is_empty() && report.missing.iter().all(|name| head::is_head(name));
    ensure!(
        report.missing.is_empty() || lacks_classifier,
        "{} has {} of the {} tensors of the network: {report}",
        path.display(),
        report.loaded.len() + report.reshaped.len(),
        report.loaded.len() + report.reshaped.len() + report.missing.len()
    );
    Ok(Pretrained { network, lacks_classifier, path: path.to_owned(), classes })
}

struct Pretrained {
    network: Network,
    lacks_classifier: bool,
    path: PathBuf,
    classes: usize,
}

impl LoadedNetwork for Pretrained {
    fn layer(&self, images: Vec<f32>, [bands, frames]: [usize; 2], layer: EmbeddingLayer) -> Result<Vec<f32>> {
        let clips = images.len() / (bands * frames);
        let images = Tensor::<4>::from_data(TensorData::new(images, [clips, 1, bands, frames]), &Device::flex());
        let values = match layer {
            EmbeddingLayer::Scores if self.lacks_classifier => bail!(
                "{} holds no classifier for {} classes: write `layer = \"penultimate\"`, or take fine-tuned weights",
                self.path.display(),
                self.classes
            ),
            EmbeddingLayer::Scores => sigmoid(self.network.forward(images, None)),
            EmbeddingLayer::Penultimate => match &self.network {
                Network::Musicnn(net) => net.penultimate(images),
                Network::MusicnnVgg(net) => net.penultimate(images),
                Network::Cnn6(net) | Network::Cnn10(net) | Network::Cnn14(net) => net.penultimate(images),
                Network::Ast(net) => net.penultimate(images),
                Network::Passt(net) => net.penultimate(images),
                Network::Beats(net) => net.penultimate(images),
                _ => bail!("only pretrained networks are loaded here"),
            }
            .context("a pretrained network has its own classifier")?,
        };
        values.into_data().try_into_vec::<f32>().ok().context("networks are f32")
    }
}
