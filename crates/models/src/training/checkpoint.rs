//! Checkpoints, from which a training resumes after a kill: one file per epoch.
//!
//! `epoch-0007.safetensors` is the whole state after seven epochs: weights, optimizer state, moving average, history.
//! `best-0005.safetensors` holds the weights of the best epoch, as long as a checkpoint that is kept refers to it. Both contain a
//! checksum. A file that is damaged, incomplete or of another training is skipped with a warning, and the one before it is used.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use burn::tensor::Device;
use indexmap::IndexMap;
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

use super::optimizer::OptimizerState;
use super::weight_ema::WeightEma;
use crate::networks::Network;
use crate::networks::parameters;
use crate::tensor_file::write_safetensors;
use crate::{Epoch, RateCurve, Tensor};
use timbre_core::files;

/// The state after an epoch, except for the values stored as tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckpointState {
    /// The signature of the training; no other training resumes from here.
    pub training: String,
    /// The learning rate of the spec, or the one of the learning-rate finder.
    pub rate: f64,
    pub curve: Option<RateCurve>,
    pub history: Vec<Epoch>,
    /// Steps in all epochs.
    pub steps: u64,
    /// Optimizer steps of each weight, by path.
    memory: IndexMap<String, u64>,
    /// Steps of the moving average.
    averaged: Option<u64>,
}

/// The whole state of a training.
pub struct Checkpoint {
    pub progress: CheckpointState,
    pub weights: NamedArrays,
    pub memory: IndexMap<String, OptimizerState>,
    pub average: Option<WeightEma>,
    /// The weights of the best epoch.
    pub best: Option<NamedArrays>,
}

/// The values of a network by path, in the layout of the network.
pub type NamedArrays = IndexMap<String, Vec<f32>>;

/// All values of a network.
pub fn values_of(network: &Network) -> NamedArrays {
    let mut values = NamedArrays::new();
    parameters::sync_statistics(network);
    parameters::visit(network, &mut |info, tensor| {
        values.insert(info.path.clone(), parameters::to_vec(tensor));
    });
    values
}

/// The network with these values. Fails if they belong to another network.
pub fn with_values(network: Network, values: &NamedArrays) -> Result<Network> {
    let (mut fault, mut used) = (None, 0);
    let network = parameters::map(network, &mut |info, tensor| match values.get(&info.path) {
        Some(values) if values.len() == tensor.dims()[0] => {
            used += 1;
            parameters::flat_tensor(values.clone(), &tensor.device())
        }
        _ => {
            fault.get_or_insert_with(|| info.path.clone());
            tensor
        }
    });
    if let Some(path) = fault {
        bail!("the values of `{path}` are missing or have another size");
    }
    ensure!(used == values.len(), "there are {} tensors, the network has {used}", values.len());
    Ok(network)
}

/// The folder of the checkpoints of one training.
pub struct Checkpoints<'a> {
    folder: &'a Path,
    keep: usize,
    /// Whether the weights of the best epoch are kept.
    with_best: bool,
}

impl<'a> Checkpoints<'a> {
    pub fn new(folder: &'a Path, keep: usize, with_best: bool) -> Result<Checkpoints<'a>> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        files::remove_temp_files(folder);
        Ok(Checkpoints { folder, keep: keep.max(1), with_best })
    }

    /// Writes the weights of the best epoch, which is the last of the history.
    pub fn write_best(&self, epoch: usize, values: &NamedArrays) -> Result<()> {
        let tensors = values.iter().map(|(path, values)| tensor(BEST, path, values.clone())).collect();
        write(&self.best_path(epoch), tensors, String::new())
    }

    /// Writes the state after an epoch and removes files that are no longer needed.
    pub fn write(
        &self,
        mut progress: CheckpointState,
        network: &Network,
        memory: &IndexMap<String, OptimizerState>,
        average: Option<&WeightEma>,
    ) -> Result<()> {
        let mut tensors: Vec<Tensor> =
            values_of(network).into_iter().map(|(path, values)| tensor(WEIGHTS, &path, values)).collect();
        for (path, memory) in memory {
            progress.memory.insert(path.clone(), memory.steps);
            for (moment, values) in memory.to_vecs().into_iter().enumerate() {
                tensors.push(tensor(MOMENTS[moment], path, values));
            }
        }
        if let Some(average) = average {
            let (steps, values) = average.to_vecs();
            progress.averaged = Some(steps);
            tensors.extend(values.into_iter().map(|(path, values)| tensor(AVERAGE, &path, values)));
        }
        let epoch = progress.history.len();
        write(&self.epoch_path(epoch), tensors, serde_json::to_string(&progress)?)?;
        self.prune(&progress.history);
        Ok(())
    }

    /// Keeps the last checkpoints and the best weights that they refer to.
    fn prune(&self, history: &[Epoch]) {
        let last = history.len();
        let kept = last.saturating_sub(self.keep) + 1..=last;
        let referred: Vec<usize> = kept.clone().filter_map(|epoch| self.best_epoch(&history[..epoch])).collect();
        for (epoch, path) in self.found(EPOCH) {
            if !kept.contains(&epoch) {
                let _ = fs::remove_file(path);
            }
        }
        for (epoch, path) in self.found(BEST) {
            if !referred.contains(&epoch) {
                let _ = fs::remove_file(path);
            }
        }
    }

    /// The newest readable checkpoint of this training.
    pub fn newest(&self, training: &str, ema: Option<f64>, device: &Device) -> Option<Checkpoint> {
        let mut found = self.found(EPOCH);
        found.sort_by_key(|(epoch, _)| std::cmp::Reverse(*epoch));
        found.into_iter().find_map(|(_, path)| match self.read(&path, training, ema, device) {
            Ok(checkpoint) => Some(checkpoint),
            Err(error) => {
                tracing::warn!("skipping the checkpoint {}: {error:#}", path.display());
                None
            }
        })
    }

    fn read(&self, path: &Path, training: &str, ema: Option<f64>, device: &Device) -> Result<Checkpoint> {
        let (text, mut parts) = read(path)?;
        let progress: CheckpointState = serde_json::from_str(&text).context("its description cannot be read")?;
        ensure!(progress.training == training, "it belongs to another training");
        let mut part = |name: &str| parts.swap_remove(name).unwrap_or_default();
        let weights = part(WEIGHTS);
        let mut moments = MOMENTS.map(&mut part);
        let memory = progress.memory.iter().map(|(path, &steps)| {
            let moments = moments.iter_mut().filter_map(|values| values.swap_remove(path)).collect();
            (path.clone(), OptimizerState::from_vecs(steps, moments, device))
        });
        let memory = memory.collect();
        let average = match (ema, progress.averaged) {
            (Some(decay), Some(steps)) => {
                Some(WeightEma::from_vecs(decay, steps, part(AVERAGE).into_iter().collect(), device))
            }
            _ => None,
        };
        let best = match self.best_epoch(&progress.history) {
            None => None,
            Some(epoch) => {
                let path = self.best_path(epoch);
                let best = read(&path).with_context(|| format!("it refers to {}", path.display()));
                Some(best?.1.swap_remove(BEST).context("it refers to weights that are missing")?)
            }
        };
        Ok(Checkpoint { progress, weights, memory, average, best })
    }

    /// The best epoch (from 1), if its weights were kept.
    fn best_epoch(&self, history: &[Epoch]) -> Option<usize> {
        history.iter().rev().find(|epoch| self.with_best && epoch.best).map(|epoch| epoch.epoch)
    }

    fn epoch_path(&self, epoch: usize) -> PathBuf {
        self.folder.join(format!("{EPOCH}-{epoch:04}.safetensors"))
    }

    fn best_path(&self, epoch: usize) -> PathBuf {
        self.folder.join(format!("{BEST}-{epoch:04}.safetensors"))
    }

    /// The files `<word>-<epoch>.safetensors`.
    fn found(&self, word: &str) -> Vec<(usize, PathBuf)> {
        let number = |path: &Path| {
            let name = path.file_name()?.to_str()?;
            name.strip_prefix(word)?.strip_prefix('-')?.strip_suffix(".safetensors")?.parse().ok()
        };
        let entries = fs::read_dir(self.folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| Some((number(&entry.path())?, entry.path()))).collect()
    }
}

impl CheckpointState {
    pub fn new(
        training: String,
        rate: f64,
        curve: Option<RateCurve>,
        history: Vec<Epoch>,
        steps: u64,
    ) -> CheckpointState {
        CheckpointState { training, rate, curve, history, steps, memory: IndexMap::new(), averaged: None }
    }
}

const EPOCH: &str = "epoch";
const BEST: &str = "best";
const WEIGHTS: &str = "weights";
const AVERAGE: &str = "average";
const MOMENTS: [&str; 2] = ["first", "second"];

fn tensor(part: &str, path: &str, values: Vec<f32>) -> Tensor {
    Tensor::new(&format!("{part}/{path}"), vec![values.len()], values)
}

fn write(path: &Path, tensors: Vec<Tensor>, state: String) -> Result<()> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(state.as_bytes());
    for tensor in &tensors {
        hasher.update(tensor.name.as_bytes());
        tensor.for_each_block(|values| {
            hasher.update(bytemuck::cast_slice(values));
            Ok(())
        })?;
    }
    let texts = [("state", state), ("blake3", hasher.finalize().to_hex().to_string())];
    files::write_atomically(path, |out| write_safetensors(&tensors, &texts, out))
}

/// The state, and the values by part and path.
fn read(path: &Path) -> Result<(String, IndexMap<String, NamedArrays>)> {
    let bytes = fs::read(path).context("it cannot be read")?;
    let (_, head) = SafeTensors::read_metadata(&bytes).context("it is truncated, or not a safetensors file")?;
    let file = SafeTensors::deserialize(&bytes).context("it is truncated, or not a safetensors file")?;
    let texts = head.metadata().as_ref().context("it has no description")?;
    let state = texts.get("state").context("it has no description")?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(state.as_bytes());
    let mut parts: IndexMap<String, NamedArrays> = IndexMap::new();
    // In the order of the bytes, in which they were written.
    let mut names = head.offset_keys();
    for name in names.drain(..) {
        let data = file.tensor(&name)?.data();
        hasher.update(name.as_bytes()).update(data);
        let (part, path) = name.split_once('/').context("it contains a tensor without a part")?;
        let values = data.as_chunks::<4>().0.iter().map(|&word| f32::from_le_bytes(word)).collect();
        parts.entry(part.to_owned()).or_default().insert(path.to_owned(), values);
    }
    ensure!(texts.get("blake3") == Some(&hasher.finalize().to_hex().to_string()), "its checksum does not match");
    Ok((state.clone(), parts))
}
