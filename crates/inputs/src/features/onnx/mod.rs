//! `onnx`: the output of a network from an ONNX file.
//!
//! Conventions:
//! * The input is the clip, or the matrix of another feature (`of`). Axes of size 1, and a first axis of free size that is one too
//!   many, are the batch or the channel and get the size 1. One axis is left for the samples, two for the bands and frames, in
//!   either order: if a size tells them apart, that decides, else the bands are first.
//! * If the network has a fixed length, the clip is cut into patches of it, one after the other; what is left at the end is not used.
//!   A clip of samples that is shorter is followed by zeros. As in `features/embedding.rs`.
//! * One axis of the output (`axis`) holds the values. All others, and the patches, are pooled, or are the columns of the matrix.
//! * A network runs on the CPU in single precision, in one thread for each clip.

#[cfg(feature = "onnx")]
mod extractor;
#[cfg(feature = "onnx")]
mod network;
#[cfg(all(test, feature = "onnx"))]
mod tests;

use std::path::{Path, PathBuf};

use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::features::{Extractor, Fault, FeatureKind, FeatureSpec, Kind, ensure_valid};
use timbre_core::error::UserError;

/// The output of a network from an ONNX file. Only in programs that were built with it: `make build ONNX=1`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Onnx {
    /// The file, relative to the folder of the project. Required.
    pub file: String,
    /// The input: a table with the `kind` and keys of a feature, or the name of another feature of the experiment. Default: the samples of
    /// the clip.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::concat::part_schema")]
    pub of: Option<Box<FeatureSpec>>,
    /// The sample rate in Hz with which the network was trained: clips are resampled to it. Default: that of the experiment.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1000, max = 384000))]
    pub sample_rate: Option<u32>,
    /// The name of an output, or of another tensor within the network. Default: the only output.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub output: String,
    /// The axis of the output with the values, counted from 0; from the end if negative. Default: -1.
    pub axis: i64,
    /// What becomes of the other axes, such as time, and of the patches of a clip: "mean", "max", or "none", which keeps them as columns.
    /// Default: "mean".
    pub pool: FramePool,
}

impl Default for Onnx {
    fn default() -> Self {
        Onnx {
            file: String::new(),
            of: None,
            sample_rate: None,
            output: String::new(),
            axis: -1,
            pool: FramePool::Mean,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FramePool {
    #[default]
    Mean,
    Max,
    None,
}

const NOT_BUILT_IN: &str =
    "ONNX is not built in; rebuild with `make build ONNX=1`, or `cargo build --release --features onnx`";

#[cfg(not(feature = "onnx"))]
impl Onnx {
    fn faults_of_network(&self, _sample_rate: u32) -> Vec<Fault> {
        vec![Fault::new("kind", NOT_BUILT_IN)]
    }

    fn matrix_shape(&self, _samples: usize) -> Result<[usize; 2]> {
        anyhow::bail!(NOT_BUILT_IN)
    }

    fn extractor(&self, _sample_rate: u32) -> Result<Box<dyn Extractor>> {
        anyhow::bail!(NOT_BUILT_IN)
    }
}

impl Kind for Onnx {
    /// Raised with the version of the other feature.
    fn version(&self) -> u32 {
        self.of.as_ref().map_or(1, |of| of.as_kind().version())
    }

    fn faults(&self, sample_rate: u32) -> Vec<Fault> {
        if !cfg!(feature = "onnx") {
            return vec![Fault::new("kind", NOT_BUILT_IN)];
        }
        if self.file.is_empty() {
            return vec![Fault::new("file", "name the file of the network, such as \"weights/network.onnx\"")];
        }
        let rate = self.sample_rate.unwrap_or(sample_rate);
        let of_other = |Fault { key, sentence }: Fault| Fault::new("of", format!("`{key}`: {sentence}"));
        let of = self.of.iter().flat_map(|of| of.as_kind().faults(rate));
        let mut faults: Vec<Fault> = of.map(of_other).collect();
        if self.pool == FramePool::None && rate != sample_rate {
            let sentence = format!(
                "the frames of resampled clips cannot be kept; write `sample_rate = {rate}` in [audio], or choose \"mean\" or \"max\""
            );
            faults.push(Fault::new("pool", sentence));
        }
        // A run reports a missing file when it hashes its files.
        if faults.is_empty() && Path::new(&self.file).is_file() {
            faults.extend(self.faults_of_network(rate));
        }
        faults
    }
}

impl FeatureKind for Onnx {
    fn shape(&self, samples: usize) -> Option<[usize; 2]> {
        self.matrix_shape(samples).ok()
    }

    fn frame_length(&self) -> Option<usize> {
        self.of.as_ref().and_then(|of| of.as_kind().frame_length())
    }

    fn files(&self) -> Vec<PathBuf> {
        let of = self.of.iter().flat_map(|of| of.as_kind().files());
        std::iter::once(PathBuf::from(&self.file)).chain(of).collect()
    }

    fn build(&self, sample_rate: u32) -> Result<Box<dyn Extractor>> {
        if !cfg!(feature = "onnx") {
            return Err(UserError::usage(NOT_BUILT_IN).into());
        }
        ensure_valid("onnx", self.faults(sample_rate))?;
        self.extractor(sample_rate)
    }
}
