//! The saved models of a run, written and read: `models/<unit>/model.safetensors` and `model.json`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use safetensors::{Dtype, SafeTensors};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{RunDir, SCHEMA, Trial};
use timbre_core::files;
use timbre_core::labels::Classes;
use timbre_evaluation::aggregation;
use timbre_evaluation::metrics::DecisionRule;
use timbre_inputs::features::FeatureSpec;
use timbre_models::classic::ensemble::{Ensemble, Fuse};
use timbre_models::tensor_file::write_safetensors;
use timbre_models::{ModelKind, ModelSpec, Tensor};
use timbre_signal::audio::{self, AudioSpec};
use timbre_signal::windows;
use timbre_signal::windows::WindowSpec;

/// `model.json`: everything that the weights need to become a classifier again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRecord {
    pub schema: u32,
    pub classes: Classes,
    pub audio: AudioSpec,
    pub feature: FeatureSpec,
    pub model: ModelSpec,
    /// The task, and how probabilities become decisions.
    #[serde(default)]
    #[serde(rename = "decision_rule")]
    pub decision_rule: DecisionRule,
    /// The windows in which recordings were judged; nothing: their clips.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowSpec>,
    pub versions: Versions,
}

/// `model.json` of an ensemble: the folders beside it that hold its members, and how what they say becomes one. Its tensors are
/// those of [`Fusion`](timbre_models::classic::fusion::Fusion).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnsembleRecord {
    pub schema: u32,
    pub classes: Classes,
    /// Names of [`models`] of the same run, among them no ensemble that holds this one.
    pub members: Vec<String>,
    pub fuse: Fuse,
    /// One a member; their sum is 1.
    pub weights: Vec<f64>,
    #[serde(rename = "decision_rule")]
    pub decision_rule: DecisionRule,
    /// The windows in which recordings were judged, and which are fused one by one; nothing: their clips.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowSpec>,
    /// Of the kind `ensemble`.
    pub version: u32,
}

/// The versions of the stages that stand between a recording and a probability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Versions {
    pub decoding: u32,
    pub feature: u32,
    pub model: u32,
    /// Of windows and of decisions.
    #[serde(default = "first_judging")]
    pub judging: [u32; 2],
}

/// What every model was judged by that does not say.
fn first_judging() -> [u32; 2] {
    [1, 1]
}

impl Versions {
    /// Those of this program.
    pub fn now(feature: &FeatureSpec, model: &ModelSpec) -> Versions {
        Versions {
            decoding: audio::VERSION,
            feature: feature.as_kind().version(),
            model: model.as_kind().version(),
            judging: [windows::VERSION, aggregation::VERSION],
        }
    }
}

impl RunDir {
    /// `models/<unit>/`: the weights first, then the description that makes them readable.
    pub fn write_model(&self, unit: &Trial, tensors: &[Tensor], record: &ModelRecord) -> Result<()> {
        self.write_described(unit, tensors, &json!(record))
    }

    /// `models/<unit>/` of an ensemble.
    pub fn write_ensemble(&self, unit: &Trial, tensors: &[Tensor], record: &EnsembleRecord) -> Result<()> {
        self.write_described(unit, tensors, &json!(record))
    }

    fn write_described(&self, unit: &Trial, tensors: &[Tensor], description: &Value) -> Result<()> {
        let folder = self.path().join("models").join(unit.to_string());
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        files::remove_temp_files(&folder);
        files::write_atomically(&folder.join("model.safetensors"), |out| write_safetensors(tensors, &[], out))?;
        files::write_bytes(&description_of(&folder), &serde_json::to_vec_pretty(description)?)
    }
}

/// What every description has, and what tells an ensemble.
#[derive(Deserialize)]
struct Head {
    schema: u32,
    members: Option<IgnoredAny>,
}

const AGAIN: &str = "run the experiment again with --fresh to write it anew";

/// The names (`<features>.<model>.s<seed>`) of the models that the run has saved, in their order by name.
pub fn models(run: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(run.join("models"))
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| description_of(&entry.path()).is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Whether the model of this unit has been saved whole: its description is written last.
pub fn has_model(run: &Path, unit: &Trial) -> bool {
    description_of(&run.join("models").join(unit.to_string())).is_file()
}

fn description_of(folder: &Path) -> PathBuf {
    folder.join("model.json")
}

/// The bytes of a description of this schema, and whether it is an ensemble's.
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

/// The description and the weights of one of [`models`] that is no ensemble.
pub fn read_model(run: &Path, name: &str) -> Result<(ModelRecord, Vec<Tensor>)> {
    let folder = run.join("models").join(name);
    let path = description_of(&folder);
    let (bytes, is_ensemble) = read_description(&path)?;
    ensure!(!is_ensemble, "{} describes an ensemble: its members are the models", path.display());
    let record: ModelRecord = serde_json::from_slice(&bytes).with_context(|| damaged(&path))?;
    ensure!(
        record.versions == Versions::now(&record.feature, &record.model),
        "{} comes from stages that this version computes in another way: {AGAIN}",
        path.display()
    );
    Ok((record, read_tensors(&folder)?))
}

/// The description and the tensors of one of [`models`] that is an ensemble; nothing of another model.
pub fn read_ensemble(run: &Path, name: &str) -> Result<Option<(EnsembleRecord, Vec<Tensor>)>> {
    let folder = run.join("models").join(name);
    let path = description_of(&folder);
    let (bytes, is_ensemble) = read_description(&path)?;
    if !is_ensemble {
        return Ok(None);
    }
    let record: EnsembleRecord = serde_json::from_slice(&bytes).with_context(|| damaged(&path))?;
    ensure!(
        record.version == Ensemble::default().version(),
        "{} was fused in another way than by this version: {AGAIN}",
        path.display()
    );
    Ok(Some((record, read_tensors(&folder)?)))
}

fn read_tensors(folder: &Path) -> Result<Vec<Tensor>> {
    let path = folder.join("model.safetensors");
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    tensors_of(&bytes).with_context(|| damaged(&path))
}

fn tensors_of(bytes: &[u8]) -> Result<Vec<Tensor>> {
    let file = SafeTensors::deserialize(bytes).context("it is cut off, or no safetensors file")?;
    let mut tensors = Vec::new();
    for (name, view) in file.tensors() {
        ensure!(view.dtype() == Dtype::F32, "the tensor `{name}` holds {:?}, not F32", view.dtype());
        ensure!(!view.data().is_empty(), "the tensor `{name}` is empty: its shape is {:?}", view.shape());
        let (words, _) = view.data().as_chunks::<4>();
        let values: Vec<f32> = words.iter().map(|&word| f32::from_le_bytes(word)).collect();
        // A bias of minus infinity is a class that had no training clip.
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

    /// A folder with one saved model, `edit`ed before it is written.
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
        description["versions"] = json!(Versions::now(&feature, &model));
        let mut tensors = vec![
            Tensor::new("centroids", vec![2, 3], vec![0.1, 2.0, 3.0, -0.0, 5.0, f32::MIN]),
            Tensor::new("counts", vec![2], vec![4.0, 5.0]),
        ];
        edit(&mut description, &mut tensors);
        let unit = Trial { features: "mel".into(), model: "average".into(), seed: 1 };
        dir.write_described(&unit, &tensors, &description).unwrap();
        (runs, dir.path().to_owned())
    }

    fn refusal(run: &Path) -> String {
        format!("{:#}", read_model(run, NAME).err().expect("it is refused"))
    }

    #[test]
    fn the_weights_are_read_back_by_the_safetensors_crate() {
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
        assert!(refusal(&run).contains("in another way"));
    }

    #[test]
    fn a_model_that_does_not_say_how_it_was_judged_was_judged_by_the_first_versions() {
        let (_runs, run) = saved(|description, _| {
            description["versions"].as_object_mut().unwrap().remove("judging");
        });
        assert_eq!(read_model(&run, NAME).unwrap().0.versions.judging, [1, 1]);
        let (_runs, run) = saved(|description, _| description["versions"]["judging"] = json!([1, 99]));
        assert!(refusal(&run).contains("in another way"));
    }

    #[test]
    fn a_class_without_training_clips_is_no_damage() {
        let (_runs, run) = saved(|_, tensors| {
            tensors[1] = Tensor::new("bias", vec![2], vec![0.5, f32::NEG_INFINITY]);
        });
        read_model(&run, NAME).unwrap();
    }

    #[test]
    fn what_was_written_is_read_to_the_bit() {
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
    fn every_truncation_of_the_weights_is_refused_with_a_sentence() {
        let (_runs, run) = saved(|_, _| {});
        let path = run.join("models").join(NAME).join("model.safetensors");
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let sentence = refusal(&run);
            assert!(sentence.contains("is damaged") && sentence.contains("--fresh"), "{length}: {sentence}");
        }
    }

    #[test]
    fn a_truncated_description_and_another_schema_are_refused() {
        let (_runs, run) = saved(|description, _| description["schema"] = (SCHEMA + 1).into());
        assert!(refusal(&run).contains(&format!("schema {}", SCHEMA + 1)));
        let path = description_of(&run.join("models").join(NAME));
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert!(refusal(&run).contains("is damaged"));
    }

    #[test]
    fn weights_that_are_not_finite_and_empty_ones_are_refused() {
        let (_runs, run) = saved(|_, tensors| {
            tensors[0] = Tensor::new("centroids", vec![2, 2], vec![0.0, 1.0, 2.0, f32::NAN]);
        });
        assert!(refusal(&run).contains("value 3 of the tensor `centroids` is NaN"));
        let (_runs, run) = saved(|_, tensors| {
            tensors[0] = Tensor::new("centroids", vec![2, 0], vec![]);
        });
        assert!(refusal(&run).contains("is empty"));
    }
}
