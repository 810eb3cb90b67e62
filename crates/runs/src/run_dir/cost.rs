//! The cost of a finished trial: seconds and parameters.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use indexmap::IndexMap;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::saved_models::weights_file;
use super::{Trial, models_folder, read_ensemble, trial_file, trials_folder};

/// The cost of one trial. That of an ensemble includes its members.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrialCost {
    pub fit_seconds: f64,
    pub predict_seconds: f64,
    /// The number of recordings predicted in that time.
    pub predicted: usize,
    /// The weights of a network; for other models the numbers in the saved file, if there is one.
    pub parameters: Option<u64>,
}

#[derive(Deserialize)]
struct Head {
    splits: Vec<Split>,
    notes: IndexMap<String, String>,
    fit_seconds: f64,
    predict_seconds: f64,
}

#[derive(Deserialize)]
struct Split {
    clips: Vec<IgnoredAny>,
}

/// None if the trial has no record.
pub fn read_cost(run: &Path, trial: &Trial) -> Option<TrialCost> {
    cost_of(run, &trial.to_string(), &trial_file(run, trial), 0)
}

/// Members may be ensembles themselves. No run nests them this deep.
const MAX_DEPTH: usize = 32;

fn cost_of(run: &Path, name: &str, record: &Path, depth: usize) -> Option<TrialCost> {
    let head: Head = serde_json::from_slice(&fs::read(record).ok()?).ok()?;
    let parameters = head.notes.get("parameters").and_then(|text| text.parse().ok());
    let mut cost = TrialCost {
        fit_seconds: head.fit_seconds,
        predict_seconds: head.predict_seconds,
        predicted: head.splits.iter().map(|split| split.clips.len()).sum(),
        parameters: parameters.or_else(|| numbers_in(&weights_file(&models_folder(run).join(name)))),
    };
    let Ok(Some((ensemble, _))) = read_ensemble(run, name) else { return Some(cost) };
    if depth == MAX_DEPTH {
        return None;
    }
    for member in &ensemble.members {
        let own = cost_of(run, member, &trials_folder(run).join(format!("{member}.json")), depth + 1)?;
        cost.fit_seconds += own.fit_seconds;
        cost.predict_seconds += own.predict_seconds;
        cost.parameters = cost.parameters.zip(own.parameters).map(|(a, b)| a + b);
    }
    Some(cost)
}

/// The number of values in a safetensors file, from its header alone.
fn numbers_in(path: &Path) -> Option<u64> {
    #[derive(Deserialize)]
    struct Shape {
        shape: Vec<u64>,
    }
    let mut file = File::open(path).ok()?;
    let mut length = [0; 8];
    file.read_exact(&mut length).ok()?;
    let mut header = Vec::new();
    file.take(u64::from_le_bytes(length)).read_to_end(&mut header).ok()?;
    let mut tensors: IndexMap<String, serde_json::Value> = serde_json::from_slice(&header).ok()?;
    tensors.shift_remove("__metadata__");
    let count =
        |value: serde_json::Value| Some(serde_json::from_value::<Shape>(value).ok()?.shape.iter().product::<u64>());
    tensors.into_values().map(count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbre_models::{Tensor, tensor_file::write_safetensors};

    #[test]
    fn values_are_counted_from_the_header() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let tensors = [Tensor::new("a", vec![2, 3], vec![0.0; 6]), Tensor::new("b", vec![4], vec![1.0; 4])];
        let mut bytes = Vec::new();
        write_safetensors(&tensors, &[("note", "x".into())], &mut bytes).unwrap();
        fs::write(&path, &bytes).unwrap();
        assert_eq!(numbers_in(&path), Some(10));
        fs::write(&path, &bytes[..9]).unwrap();
        assert_eq!(numbers_in(&path), None);
        assert_eq!(numbers_in(&folder.path().join("none")), None);
    }
}
