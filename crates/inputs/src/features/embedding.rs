//! `embedding`: the output of a layer of a pretrained network, as one vector per clip.
//!
//! Conventions and differences from the peers:
//! * Each network has the front end with which it was trained, whatever the sample rate of the experiment: the clip is resampled
//!   to the rate of the network, and its mel spectrogram is computed with the numbers of `features/mel.rs`.
//! * musicnn and its VGG: 16 kHz, 96 bands, log10(1 + 10,000 x), patches of 187 frames (3 s) one after the other; what is left at
//!   the end is not used. The package `musicnn` rounds energies to half precision before the logarithm (and overflows on loud
//!   recordings); here they stay in single precision.
//! * PANNs: 32 kHz, 64 bands from 50 to 14,000 Hz in decibels, the clip as a whole.
//! * AST: 16 kHz, the clip without its mean, 128 Kaldi bands, patches of 1024 frames (10.24 s), shifted and scaled by the numbers of
//!   AudioSet.
//! * PaSST: 32 kHz, its own bands (`passt_mel`), patches of at most 1000 frames (10 s): a shorter clip, and the end of a longer one, is not
//!   filled up. The package `hear21passt` moves its patches by 2.5 s.
//! * BEATs: 16 kHz, 128 Kaldi bands of samples with a full scale of 32768, shifted and scaled by its own numbers, patches of at most 1008
//!   frames (10 s). Its authors take a recording as a whole.
//! * A clip shorter than the least that a network accepts is followed by zeros: of the signal, or for AST of the bands, as its authors
//!   do it.
//!
//! The networks themselves are in the crate of the models, which registers [`set_loader`]. They run on the CPU.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::features::kaldi_fbank::{KaldiFbank, KaldiWindow};
use crate::features::mel::Mel;
use crate::features::passt_mel::PasstMel;
use crate::features::{ClipAnalysis, Extractor, Fault, FeatureKind, FeatureMatrix, FeatureSpec, Kind, ensure_valid};
use timbre_signal::audio::{Clip, ResampleFilter, resample};
use timbre_signal::dsp::stft::PadMode;

/// A layer of a pretrained network as a vector per clip.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Embedding {
    /// The network: "musicnn", "musicnn_vgg", "cnn6", "cnn10", "cnn14", "ast", "passt" or "beats". Default:
    /// "musicnn".
    pub network: PretrainedNetwork,
    /// The file of its weights (.safetensors, .pth, .pt or .ckpt), relative to the folder of the project. Required.
    /// docs/pretrained.md says where they are.
    pub weights: String,
    /// The layer: "penultimate", the input of the last layer, or "scores", the probabilities of the classes for which the network was
    /// trained. Default: "penultimate".
    pub layer: EmbeddingLayer,
    /// How the patches of a clip become one vector: "mean" or "max". Default: "mean".
    pub pool: PatchPool,
}

/// A network whose trained weights are published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PretrainedNetwork {
    #[default]
    Musicnn,
    MusicnnVgg,
    Cnn6,
    Cnn10,
    Cnn14,
    Ast,
    Passt,
    Beats,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EmbeddingLayer {
    #[default]
    Penultimate,
    Scores,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PatchPool {
    #[default]
    Mean,
    Max,
}

/// What goes into a pretrained network.
struct FrontEnd {
    sample_rate: u32,
    image: FeatureSpec,
    /// What is done to the image.
    scale: Scale,
    /// The samples that give the least number of frames.
    least_samples: usize,
    patch: Patch,
}

/// How a clip is cut.
#[derive(Clone, Copy, PartialEq)]
enum Patch {
    Whole,
    /// Into patches of so many frames; a shorter clip is filled up, and what is left at the end is not used.
    Exactly(usize),
    /// Into patches of so many frames; a shorter clip is one patch, and what is left at the end is not used.
    AtMost(usize),
}

#[derive(Clone, Copy, PartialEq)]
enum Scale {
    /// Decibels are already compressed.
    None,
    /// log10(1 + 10,000 x)
    Compress,
    /// The mean and twice the standard deviation of AudioSet become 0 and 1.
    AudioSet,
    /// Samples with a full scale of 32768; the mean and twice the standard deviation of BEATs become 0 and 1.
    Beats,
}

impl PretrainedNetwork {
    fn front_end(self) -> FrontEnd {
        match self {
            PretrainedNetwork::Musicnn | PretrainedNetwork::MusicnnVgg => FrontEnd {
                sample_rate: 16_000,
                image: FeatureSpec::Mel(Mel { n_fft: 512, hop_length: 256, n_mels: 96, db: false, ..Mel::default() }),
                scale: Scale::Compress,
                least_samples: 186 * 256,
                patch: Patch::Exactly(187),
            },
            PretrainedNetwork::Cnn6 | PretrainedNetwork::Cnn10 | PretrainedNetwork::Cnn14 => FrontEnd {
                sample_rate: 32_000,
                image: FeatureSpec::Mel(Mel {
                    n_fft: 1024,
                    hop_length: 320,
                    pad_mode: PadMode::Reflect,
                    n_mels: 64,
                    fmin: 50.0,
                    fmax: Some(14_000.0),
                    top_db: 0.0,
                    ..Mel::default()
                }),
                scale: Scale::None,
                least_samples: 31 * 320,
                patch: Patch::Whole,
            },
            PretrainedNetwork::Ast => FrontEnd {
                sample_rate: 16_000,
                image: FeatureSpec::KaldiFbank(KaldiFbank {
                    num_mel_bins: 128,
                    window_type: KaldiWindow::Hanning,
                    ..KaldiFbank::default()
                }),
                scale: Scale::AudioSet,
                least_samples: 400,
                patch: Patch::Exactly(1024),
            },
            PretrainedNetwork::Passt => FrontEnd {
                sample_rate: 32_000,
                image: FeatureSpec::PasstMel(PasstMel::default()),
                scale: Scale::None,
                least_samples: 15 * 320 + 1,
                patch: Patch::AtMost(1000),
            },
            PretrainedNetwork::Beats => FrontEnd {
                sample_rate: 16_000,
                image: FeatureSpec::KaldiFbank(KaldiFbank { num_mel_bins: 128, ..KaldiFbank::default() }),
                scale: Scale::Beats,
                least_samples: 400 + 15 * 160,
                patch: Patch::AtMost(1008),
            },
        }
    }

    /// The bands and frames of the images on which the network was trained, of which a clip has any number of frames.
    pub fn image(self) -> [usize; 2] {
        let FrontEnd { image, patch, .. } = self.front_end();
        let bands = match image {
            FeatureSpec::Mel(mel) => mel.n_mels,
            FeatureSpec::KaldiFbank(fbank) => fbank.num_mel_bins,
            FeatureSpec::PasstMel(mel) => mel.n_mels,
            _ => unreachable!("every front end is a bank of filters"),
        };
        let frames = match patch {
            Patch::Whole => 1001,
            Patch::Exactly(frames) | Patch::AtMost(frames) => frames,
        };
        [bands, frames]
    }

    /// The number of values of a layer.
    pub fn values(self, layer: EmbeddingLayer) -> usize {
        match (layer, self) {
            (EmbeddingLayer::Penultimate, PretrainedNetwork::Musicnn) => 200,
            (EmbeddingLayer::Penultimate, PretrainedNetwork::MusicnnVgg) => 256,
            (EmbeddingLayer::Penultimate, PretrainedNetwork::Cnn6 | PretrainedNetwork::Cnn10) => 512,
            (EmbeddingLayer::Penultimate, PretrainedNetwork::Cnn14) => 2048,
            (
                EmbeddingLayer::Penultimate,
                PretrainedNetwork::Ast | PretrainedNetwork::Passt | PretrainedNetwork::Beats,
            ) => 768,
            (EmbeddingLayer::Scores, PretrainedNetwork::Musicnn | PretrainedNetwork::MusicnnVgg) => 50,
            (EmbeddingLayer::Scores, _) => 527,
        }
    }
}

/// A loaded network.
pub trait LoadedNetwork: Send + Sync {
    /// The values of the layer for images of the shape bands × frames, image after image.
    fn layer(&self, images: Vec<f32>, shape: [usize; 2], layer: EmbeddingLayer) -> Result<Vec<f32>>;
}

/// Loads a network with the weights of a spec, or finds it among those that are in use.
pub type Loader = fn(&Embedding) -> Result<Arc<dyn LoadedNetwork>>;

static LOADER: OnceLock<Loader> = OnceLock::new();

/// Registers the function that loads networks. The first call counts.
pub fn set_loader(loader: Loader) {
    LOADER.get_or_init(|| loader);
}

impl Kind for Embedding {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        let sentence = "name the file of the trained weights, such as \"weights/mtt_musicnn.safetensors\"; \
                        docs/pretrained.md says where they are";
        Fault::of_keys([("weights", self.weights.is_empty().then(|| sentence.to_owned()))])
    }
}

impl FeatureKind for Embedding {
    fn shape(&self, samples: usize) -> Option<[usize; 2]> {
        (samples > 0).then(|| [self.network.values(self.layer), 1])
    }

    fn files(&self) -> Vec<PathBuf> {
        vec![PathBuf::from(&self.weights)]
    }

    fn build(&self, sample_rate: u32) -> Result<Box<dyn Extractor>> {
        ensure_valid("embedding", self.faults(sample_rate))?;
        let load = LOADER.get().context("this program was built without networks")?;
        let front_end = self.network.front_end();
        Ok(Box::new(Embedder {
            sample_rate,
            image: front_end.image.as_kind().build(front_end.sample_rate)?,
            front_end,
            network: load(self)?,
            spec: self.clone(),
        }))
    }
}

struct Embedder {
    sample_rate: u32,
    front_end: FrontEnd,
    image: Box<dyn Extractor>,
    network: Arc<dyn LoadedNetwork>,
    spec: Embedding,
}

impl Extractor for Embedder {
    fn extract(&self, clip: &ClipAnalysis) -> Result<FeatureMatrix> {
        clip.ensure_sample_rate(self.sample_rate)?;
        let image = self.image(clip.samples()?)?;
        let bands = image.rows;
        let width = match self.front_end.patch {
            Patch::Whole => image.cols,
            Patch::Exactly(frames) => frames,
            Patch::AtMost(frames) => frames.min(image.cols),
        };
        let patches = image.cols / width;
        let mut images = Vec::with_capacity(patches * bands * width);
        for patch in 0..patches {
            image.values.chunks_exact(image.cols).for_each(|band| images.extend(&band[patch * width..][..width]));
        }
        let values = self.network.layer(images, [bands, width], self.spec.layer)?;
        let count = self.spec.network.values(self.spec.layer);
        ensure!(
            values.len() == patches * count,
            "the layer of the network has {} values and {count} were expected: the weights belong to another network",
            values.len() / patches
        );
        let of_value = |number: usize| values[number..].iter().step_by(count).copied();
        let pooled = |number| match self.spec.pool {
            PatchPool::Mean => (of_value(number).map(f64::from).sum::<f64>() / patches as f64) as f32,
            PatchPool::Max => of_value(number).fold(f32::NEG_INFINITY, f32::max),
        };
        Ok(FeatureMatrix { rows: count, cols: 1, values: (0..count).map(pooled).collect() })
    }
}

impl Embedder {
    /// The input of the network for the whole clip.
    fn image(&self, samples: &[f32]) -> Result<FeatureMatrix> {
        let FrontEnd { sample_rate, scale, least_samples, patch, .. } = self.front_end;
        let mut samples = match self.sample_rate == sample_rate {
            true => samples.to_vec(),
            false => resample(samples, self.sample_rate, sample_rate, ResampleFilter::SoxrHq),
        };
        if scale == Scale::AudioSet {
            let mean = samples.iter().map(|&sample| f64::from(sample)).sum::<f64>() / samples.len() as f64;
            samples.iter_mut().for_each(|sample| *sample = (f64::from(*sample) - mean) as f32);
        }
        if scale == Scale::Beats {
            samples.iter_mut().for_each(|sample| *sample *= 32_768.0);
        }
        samples.resize(samples.len().max(least_samples), 0.0);
        let mut image = self.image.extract(&ClipAnalysis::new(&Clip { samples, sample_rate }))?;
        if let Patch::Exactly(frames) = patch
            && image.cols < frames
        {
            let padded = |band: &[f32]| [band, &vec![0.0; frames - band.len()]].concat();
            image.values = image.values.chunks_exact(image.cols).flat_map(padded).collect();
            image.cols = frames;
        }
        let scaled = |value: f32| match scale {
            Scale::None => value,
            Scale::Compress => (f64::from(value) * 10_000.0 + 1.0).log10() as f32,
            Scale::AudioSet => ((f64::from(value) + 4.267_739_3) / (2.0 * 4.568_997_4)) as f32,
            Scale::Beats => ((f64::from(value) - 15.416_63) / (2.0 * 6.555_82)) as f32,
        };
        image.values.iter_mut().for_each(|value| *value = scaled(*value));
        Ok(image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_embedding_without_weights_is_refused_with_the_place_where_they_are() {
        let faults = Embedding::default().faults(22_050);
        assert!(faults[0].key == "weights" && faults[0].sentence.contains("docs/pretrained.md"), "{faults:?}");
    }

    /// Sums each image band by band.
    struct Sums;

    impl LoadedNetwork for Sums {
        fn layer(&self, images: Vec<f32>, [bands, frames]: [usize; 2], _: EmbeddingLayer) -> Result<Vec<f32>> {
            let mut of_image = Vec::new();
            for image in images.chunks_exact(bands * frames) {
                let sums = image.chunks_exact(frames).map(|band| band.iter().sum::<f32>());
                of_image.extend(sums.chain(std::iter::repeat(0.0)).take(200));
            }
            Ok(of_image)
        }
    }

    fn embed(samples: usize, pool: PatchPool) -> Vec<f32> {
        let front_end = PretrainedNetwork::Musicnn.front_end();
        let embedder = Embedder {
            sample_rate: 16_000,
            image: front_end.image.as_kind().build(16_000).unwrap(),
            front_end,
            network: Arc::new(Sums),
            spec: Embedding { pool, ..Default::default() },
        };
        let samples = (0..samples).map(|n| (n as f32 * 0.3).sin() * if n < 48_000 { 0.5 } else { 0.05 }).collect();
        embedder.extract(&ClipAnalysis::new(&Clip { samples, sample_rate: 16_000 })).unwrap().values
    }

    #[test]
    fn patches_of_three_seconds_are_averaged_or_the_largest_is_kept() {
        // A loud patch, then a quiet one.
        let (first, mean, max) =
            (embed(48_000, PatchPool::Mean), embed(96_000, PatchPool::Mean), embed(96_000, PatchPool::Max));
        let band = (0..96).max_by(|&a, &b| first[a].total_cmp(&first[b])).unwrap();
        assert!(mean[band] < 0.95 * first[band], "{} and {}", mean[band], first[band]);
        assert!((max[band] - first[band]).abs() < 0.01 * first[band], "{} and {}", max[band], first[band]);
        // A clip that is too short is followed by silence.
        assert!(embed(16_000, PatchPool::Mean)[band] < 0.5 * first[band]);
    }
}
