//! Writes and reads saved models: `models/<trial>/model.safetensors` and `model.json`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use indexmap::IndexMap;
use safetensors::{Dtype, SafeTensors};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{RunDir, SCHEMA, Trial, model_folder, models_folder};
use timbre_core::{
    files,
    labels::{Classes, Task},
};
use timbre_evaluation::{aggregation, metrics::DecisionRule};
use timbre_inputs::{dataset::tags::TagValues, features::FeatureSpec};
use timbre_models::{
    ModelKind, ModelSpec, Tensor,
    classic::ensemble::{Ensemble, Fuse},
    tensor_file::write_safetensors,
    training_distance::TrainingDistance,
};
use timbre_signal::{
    audio::{self, AudioSpec},
    windows::{self, WindowSpec},
};

/// `model.json`: what the weights need to become a classifier again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRecord {
    pub schema: u32,
    pub classes: Classes,
    pub audio: AudioSpec,
    pub feature: FeatureSpec,
    pub model: ModelSpec,
    /// The values that a search within the model chose.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub chosen: IndexMap<String, Value>,
    /// The task, and how probabilities become decisions.
    #[serde(default)]
    #[serde(rename = "judge")]
    pub decision_rule: DecisionRule,
    /// The windows that were evaluated; None if clips were evaluated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowSpec>,
    /// The values of the tags that the network sees beside the image.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub tags: TagValues,
    pub versions: Versions,
}

/// `model.json` of an ensemble: its members (folders beside it), and how their predictions are fused. Its tensors are those of
/// [`Fusion`](timbre_models::classic::fusion::Fusion).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnsembleRecord {
    pub schema: u32,
    pub classes: Classes,
    /// Names of [`models`] of the same run; none is an ensemble that contains this one.
    pub members: Vec<String>,
    pub fuse: Fuse,
    /// One per member; the sum is 1.
    pub weights: Vec<f64>,
    #[serde(rename = "judge")]
    pub decision_rule: DecisionRule,
    /// The windows that were evaluated, and that are fused one by one; None if clips were evaluated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowSpec>,
    /// The version of the kind `ensemble`.
    pub version: u32,
}

/// The versions of the stages from a recording to a probability.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Versions {
    pub decoding: u32,
    pub feature: u32,
    pub model: u32,
    /// Windows and decisions.
    #[serde(rename = "judging", default = "default_evaluation")]
    pub evaluation: [u32; 2],
    /// The hashes of the files that the feature reads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
}

/// The versions of models whose record has none.
fn default_evaluation() -> [u32; 2] {
    [1, 1]
}

impl Versions {
    /// The versions of this program.
    pub fn now(feature: &FeatureSpec, model: &ModelSpec, task: Task) -> Versions {
        Versions {
            decoding: audio::VERSION,
            feature: feature.as_kind().version(),
            model: model.as_kind().version(),
            evaluation: [windows::VERSION, aggregation::version(task)],
            // A model whose feature lacks a file cannot predict, and says so when the feature is built.
            files: feature.file_hashes().unwrap_or_default(),
        }
    }
}

impl RunDir {
    /// Writes `models/<trial>/`: the distance and the weights first, then the description that makes them readable.
    pub fn write_model(
        &self,
        trial: &Trial,
        tensors: &[Tensor],
        distance: Option<&TrainingDistance>,
        record: &ModelRecord,
    ) -> Result<()> {
        let folder = model_folder(self.path(), trial);
        let path = distance_file(&folder);
        // An earlier one would belong to other weights.
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error).with_context(|| format!("cannot remove {}", path.display()));
        }
        if let Some(distance) = distance {
            fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
            files::write_atomically(&path, |out| write_safetensors(&distance.tensors(), &[], out))?;
        }
        self.write_model_files(trial, tensors, &json!(record))
    }

    /// Writes `models/<trial>/` of an ensemble.
    pub fn write_ensemble(&self, trial: &Trial, tensors: &[Tensor], record: &EnsembleRecord) -> Result<()> {
        self.write_model_files(trial, tensors, &json!(record))
    }

    fn write_model_files(&self, trial: &Trial, tensors: &[Tensor], description: &Value) -> Result<()> {
        let folder = model_folder(self.path(), trial);
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        files::write_atomically(&weights_file(&folder), |out| write_safetensors(tensors, &[], out))?;
        files::write_bytes(&description_file(&folder), &serde_json::to_vec_pretty(description)?)
    }
}

/// The keys of every description; `members` marks an ensemble.
#[derive(Deserialize)]
struct Head {
    schema: u32,
    members: Option<IgnoredAny>,
}

const AGAIN: &str = "run the experiment again with --fresh to replace it";

/// The sorted names (`<features>.<model>.s<seed>`) of the saved models of a run.
pub fn models(run: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(models_folder(run))
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| description_file(&entry.path()).is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Whether the model of a trial is saved completely: its description is written last.
pub fn has_model(run: &Path, trial: &Trial) -> bool {
    description_file(&model_folder(run, trial)).is_file()
}

/// The files of the saved model of a trial.
pub fn model_files(run: &Path, trial: &Trial) -> [PathBuf; 2] {
    let folder = model_folder(run, trial);
    [description_file(&folder), weights_file(&folder)]
}

fn description_file(folder: &Path) -> PathBuf {
    folder.join("model.json")
}

fn distance_file(folder: &Path) -> PathBuf {
    folder.join("training_distance.safetensors")
}

pub(super) fn weights_file(folder: &Path) -> PathBuf {
    folder.join("model.safetensors")
}

/// The bytes of a description of the current schema, and whether it describes an ensemble.
fn read_description(path: &Path) -> Result<(Vec<u8>, bool)> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let Head { schema, members } = serde_json::from_slice(&bytes).with_context(|| damaged(path))?;
    ensure!(
        schema == SCHEMA,
        "{} has schema {schema} and this version reads schema {SCHEMA}: {AGAIN}, or use the version that wrote it",
        path.display()
    );
    Ok((bytes, members.is_some()))
}

fn damaged(path: &Path) -> String {
    format!("{} is damaged: {AGAIN}", path.display())
}

/// Reads the description and the weights of a single model.
pub fn read_model(run: &Path, name: &str) -> Result<(ModelRecord, Vec<Tensor>)> {
    let folder = models_folder(run).join(name);
    let path = description_file(&folder);
    let (bytes, is_ensemble) = read_description(&path)?;
    ensure!(!is_ensemble, "{} describes an ensemble: name one of its members", path.display());
    let record: ModelRecord = serde_json::from_slice(&bytes).with_context(|| damaged(&path))?;
    ensure!(
        record.versions == Versions::now(&record.feature, &record.model, record.decision_rule.task),
        "{} was made by other versions of its stages: {AGAIN}",
        path.display()
    );
    Ok((record, read_tensors(&folder)?))
}

/// Reads the description and the tensors of an ensemble; None for a single model.
pub fn read_ensemble(run: &Path, name: &str) -> Result<Option<(EnsembleRecord, Vec<Tensor>)>> {
    let folder = models_folder(run).join(name);
    let path = description_file(&folder);
    let (bytes, is_ensemble) = read_description(&path)?;
    if !is_ensemble {
        return Ok(None);
    }
    let record: EnsembleRecord = serde_json::from_slice(&bytes).with_context(|| damaged(&path))?;
    ensure!(
        record.version == Ensemble::default().version(),
        "{} was made by another version of ensembles: {AGAIN}",
        path.display()
    );
    Ok(Some((record, read_tensors(&folder)?)))
}

/// Reads how far recordings may be from the training recordings of a single model; None for a model that was saved without it.
pub fn read_training_distance(run: &Path, name: &str) -> Result<Option<TrainingDistance>> {
    let path = distance_file(&models_folder(run).join(name));
    if !path.exists() {
        return Ok(None);
    }
    let distance = read_tensor_file(&path).and_then(TrainingDistance::restore);
    distance.with_context(|| damaged(&path)).map(Some)
}

fn read_tensors(folder: &Path) -> Result<Vec<Tensor>> {
    read_tensor_file(&weights_file(folder))
}

fn read_tensor_file(path: &Path) -> Result<Vec<Tensor>> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    tensors_of(&bytes).with_context(|| damaged(path))
}

fn tensors_of(bytes: &[u8]) -> Result<Vec<Tensor>> {
    let file = SafeTensors::deserialize(bytes).context("truncated, or not a safetensors file")?;
    let mut tensors = Vec::new();
    for (name, view) in file.tensors() {
        ensure!(view.dtype() == Dtype::F32, "the tensor `{name}` holds {:?}, not F32", view.dtype());
        ensure!(!view.data().is_empty(), "the tensor `{name}` is empty: its shape is {:?}", view.shape());
        let (words, _) = view.data().as_chunks::<4>();
        let values: Vec<f32> = words.iter().map(|&word| f32::from_le_bytes(word)).collect();
        // A bias of minus infinity belongs to a class without training clips.
        if let Some(at) = values.iter().position(|value| !value.is_finite() && *value != f32::NEG_INFINITY) {
            bail!("value {at} of the tensor `{name}` is {}, not a finite number", values[at]);
        }
        tensors.push(Tensor::new(&name, view.shape().to_vec(), values));
    }
    Ok(tensors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_dir::Opened;
    use timbre_inputs::dataset::feature_set::FeatureSet;
    use timbre_models::TensorValues;

    const NAME: &str = "mel.average.s1";

    /// A run folder with one saved model, `edit`ed before it is written.
    fn saved(edit: impl FnOnce(&mut serde_json::Value, &mut Vec<Tensor>)) -> (tempfile::TempDir, PathBuf) {
        let runs = tempfile::tempdir().unwrap();
        let Opened::ToDo(dir) = RunDir::open(runs.path(), "x", "0123456789abcdef", false).unwrap() else {
            panic!("the folder is new")
        };
        let mut description = serde_json::json!({
            "schema": SCHEMA, "classes": ["a", "b"], "audio": {"clip_seconds": 1.0},
            "feature": {"kind": "mel"}, "model": {"kind": "average"},
        });
        let kinds = (description["feature"].clone(), description["model"].clone());
        let (feature, model) = (serde_json::from_value(kinds.0).unwrap(), serde_json::from_value(kinds.1).unwrap());
        description["versions"] = json!(Versions::now(&feature, &model, Task::SingleLabel));
        let mut tensors = vec![
            Tensor::new("centroids", vec![2, 3], vec![0.1, 2.0, 3.0, -0.0, 5.0, f32::MIN]),
            Tensor::new("counts", vec![2], vec![4.0, 5.0]),
        ];
        edit(&mut description, &mut tensors);
        let trial = Trial { features: "mel".into(), model: "average".into(), seed: 1 };
        dir.write_model_files(&trial, &tensors, &description).unwrap();
        (runs, dir.path().to_owned())
    }

    fn read_error(run: &Path) -> String {
        format!("{:#}", read_model(run, NAME).err().expect("it is an error"))
    }

    #[test]
    fn weights_are_read_back_by_the_safetensors_crate() {
        let set = FeatureSet::from_memory(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3, vec![0, 1], 2);
        let tensors = [
            Tensor { name: "train".into(), shape: vec![2, 3], values: TensorValues::Rows(set) },
            Tensor::new("bias", vec![1], vec![-0.5]),
        ];
        let mut bytes = Vec::new();
        write_safetensors(&tensors, &[], &mut bytes).unwrap();
        let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let train = read.tensor("train").unwrap();
        assert_eq!((train.shape(), train.dtype()), (&[2, 3][..], safetensors::Dtype::F32));
        let values: Vec<f32> =
            train.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        assert_eq!(values, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(read.tensor("bias").unwrap().data(), (-0.5f32).to_le_bytes());
    }

    #[test]
    fn a_model_of_another_stage_version_is_refused() {
        let (_runs, run) = saved(|description, _| {
            let version = description["versions"]["feature"].as_u64().unwrap();
            description["versions"]["feature"] = (version + 1).into();
        });
        assert!(read_error(&run).contains("other versions of its stages"));
    }

    #[test]
    fn a_model_without_evaluation_versions_has_the_first_versions() {
        let (_runs, run) = saved(|description, _| {
            description["versions"].as_object_mut().unwrap().remove("judging");
        });
        assert_eq!(read_model(&run, NAME).unwrap().0.versions.evaluation, [1, 1]);
        let (_runs, run) = saved(|description, _| description["versions"]["judging"] = json!([1, 99]));
        assert!(read_error(&run).contains("other versions of its stages"));
        // The first version compared thresholds in another precision.
        let (_runs, run) = saved(|description, _| description["judge"] = json!({ "task": "multi_label" }));
        assert!(read_error(&run).contains("other versions of its stages"));
    }

    #[test]
    fn a_class_without_training_clips_can_be_read() {
        let (_runs, run) = saved(|_, tensors| {
            tensors[1] = Tensor::new("bias", vec![2], vec![0.5, f32::NEG_INFINITY]);
        });
        read_model(&run, NAME).unwrap();
    }

    #[test]
    fn a_saved_model_is_read_back_to_the_bit() {
        let mut written = Vec::new();
        let (_runs, run) = saved(|_, tensors| written = tensors.clone());
        assert_eq!(models(&run), [NAME]);
        let (record, mut tensors) = read_model(&run, NAME).unwrap();
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(record.classes.names(), ["a", "b"]);
        assert_eq!(record.feature.kind(), "mel");
        let bits = |tensors: Vec<Tensor>| -> Vec<(String, Vec<usize>, Vec<u32>)> {
            let bits = |t: Tensor| t.into_values().unwrap().into_iter().map(f32::to_bits).collect();
            tensors.into_iter().map(|t| (t.name.clone(), t.shape.clone(), bits(t))).collect()
        };
        assert_eq!(bits(tensors), bits(written));
    }

    #[test]
    fn truncated_weights_are_refused_with_a_message() {
        let (_runs, run) = saved(|_, _| {});
        let path = run.join("models").join(NAME).join("model.safetensors");
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let message = read_error(&run);
            assert!(message.contains("is damaged") && message.contains("--fresh"), "{length}: {message}");
        }
    }

    #[test]
    fn a_truncated_description_and_another_schema_are_refused() {
        let (_runs, run) = saved(|description, _| description["schema"] = (SCHEMA + 1).into());
        assert!(read_error(&run).contains(&format!("schema {}", SCHEMA + 1)));
        let path = description_file(&run.join("models").join(NAME));
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert!(read_error(&run).contains("is damaged"));
    }

    #[test]
    fn weights_that_are_not_finite_or_empty_are_refused() {
        let (_runs, run) = saved(|_, tensors| {
            tensors[0] = Tensor::new("centroids", vec![2, 2], vec![0.0, 1.0, 2.0, f32::NAN]);
        });
        assert!(read_error(&run).contains("value 3 of the tensor `centroids` is NaN"));
        let (_runs, run) = saved(|_, tensors| {
            tensors[0] = Tensor::new("centroids", vec![2, 0], vec![]);
        });
        assert!(read_error(&run).contains("is empty"));
    }
}
