//! What a finished unit took and keeps, without what it predicted.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use indexmap::IndexMap;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Trial, read_ensemble, trial_path};

/// The cost of one unit; an ensemble's holds those of its members.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrialCost {
    pub fit_seconds: f64,
    pub predict_seconds: f64,
    /// Recordings that it spoke about in that time.
    pub predicted: usize,
    /// Weights of a network; of other models the numbers in the saved file, where there is one.
    pub parameters: Option<u64>,
}

#[derive(Deserialize)]
struct Head {
    splits: Vec<Side>,
    notes: IndexMap<String, String>,
    fit_seconds: f64,
    predict_seconds: f64,
}

#[derive(Deserialize)]
struct Side {
    clips: Vec<IgnoredAny>,
}

/// Nothing where the unit is not finished, or its record is gone.
pub fn read_cost(run: &Path, unit: &Trial) -> Option<TrialCost> {
    cost_of(run, &unit.to_string(), trial_path(run, unit).as_path(), 0)
}

/// Members may be ensembles: as deep as a chain of them is long, and no run has one of this length.
const DEEPEST: usize = 32;

fn cost_of(run: &Path, name: &str, record: &Path, depth: usize) -> Option<TrialCost> {
    let head: Head = serde_json::from_slice(&fs::read(record).ok()?).ok()?;
    let parameters = head.notes.get("parameters").and_then(|text| text.parse().ok());
    let mut cost = TrialCost {
        fit_seconds: head.fit_seconds,
        predict_seconds: head.predict_seconds,
        predicted: head.splits.iter().map(|side| side.clips.len()).sum(),
        parameters: parameters.or_else(|| numbers_in(&run.join("models").join(name).join("model.safetensors"))),
    };
    let Ok(Some((ensemble, _))) = read_ensemble(run, name) else { return Some(cost) };
    if depth == DEEPEST {
        return None;
    }
    for member in &ensemble.members {
        let own = cost_of(run, member, &run.join("units").join(format!("{member}.json")), depth + 1)?;
        cost.fit_seconds += own.fit_seconds;
        cost.predict_seconds += own.predict_seconds;
        cost.parameters = cost.parameters.zip(own.parameters).map(|(a, b)| a + b);
    }
    Some(cost)
}

/// How many numbers a safetensors file holds, from its header alone.
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
    use timbre_models::Tensor;
    use timbre_models::tensor_file::write_safetensors;

    #[test]
    fn the_numbers_of_a_file_are_counted_from_its_header() {
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
