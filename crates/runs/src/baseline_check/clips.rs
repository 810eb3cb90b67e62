//! The recordings that a run was evaluated on: two scores are comparable only on equal recordings.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use polars_core::prelude::DataFrame;
use polars_io::prelude::{ParquetReader, SerReader};
use serde::{Deserialize, Serialize};

use crate::run_dir::Table;

/// The recordings of one split with one seed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipsOf {
    pub n: usize,
    /// BLAKE3 over their ids and labels, in the order of the ids.
    pub hash: String,
}

/// By split and seed (as text: JSON keys are text).
pub type ClipsOfSides = BTreeMap<String, BTreeMap<String, ClipsOf>>;

/// Reads the relevant columns of `predictions.parquet`.
pub fn read(run: &Path) -> Result<ClipsOfSides> {
    let path = run.join(Table::Predictions.file());
    let fail = || format!("cannot read {}", path.display());
    let columns = ["features", "model", "seed", "split", "path", "truth"].map(str::to_owned).to_vec();
    let file = File::open(&path).with_context(fail)?;
    let frame = ParquetReader::new(file).with_columns(Some(columns)).finish().with_context(fail)?;
    of_frame(&frame).with_context(fail)
}

fn of_frame(frame: &DataFrame) -> Result<ClipsOfSides> {
    let words = |name: &str| -> Result<Vec<&str>> {
        Ok(frame.column(name)?.str()?.iter().map(Option::unwrap_or_default).collect())
    };
    let (features, models, splits) = (words("features")?, words("model")?, words("split")?);
    let (paths, truths) = (words("path")?, words("truth")?);
    let seeds: Vec<u64> = frame.column("seed")?.u64()?.iter().map(Option::unwrap_or_default).collect();
    // A split depends on the seed alone: the first trial of each seed is enough.
    let mut first: BTreeMap<(&str, u64), (&str, &str)> = BTreeMap::new();
    let mut clips: BTreeMap<(&str, u64), Vec<(&str, &str)>> = BTreeMap::new();
    for row in 0..frame.height() {
        let key = (splits[row], seeds[row]);
        let trial = (features[row], models[row]);
        if *first.entry(key).or_insert(trial) == trial {
            clips.entry(key).or_default().push((paths[row], truths[row]));
        }
    }
    let mut found = ClipsOfSides::new();
    for ((split, seed), clips) in clips {
        found.entry(split.to_owned()).or_default().insert(seed.to_string(), of_clips(clips));
    }
    Ok(found)
}

fn of_clips(mut clips: Vec<(&str, &str)>) -> ClipsOf {
    clips.sort_unstable();
    let mut hasher = blake3::Hasher::new();
    for text in clips.iter().flat_map(|(path, truth)| [path, truth]) {
        // With lengths, so that no two lists give the same bytes.
        hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    }
    ClipsOf { n: clips.len(), hash: hasher.finalize().to_hex().to_string() }
}

#[cfg(test)]
mod tests {
    use polars_core::prelude::Column;

    use super::*;

    fn frame(rows: &[(&str, u64, &str, &str)]) -> DataFrame {
        let of = |word: fn(&(&str, u64, &str, &str)) -> String| rows.iter().map(word).collect::<Vec<_>>();
        let columns = vec![
            Column::new("features".into(), vec!["mel"; rows.len()]),
            Column::new("model".into(), of(|r| r.0.to_owned())),
            Column::new("seed".into(), rows.iter().map(|r| r.1).collect::<Vec<_>>()),
            Column::new("split".into(), vec!["test"; rows.len()]),
            Column::new("path".into(), of(|r| r.2.to_owned())),
            Column::new("truth".into(), of(|r| r.3.to_owned())),
        ];
        DataFrame::new(rows.len(), columns).unwrap()
    }

    #[test]
    fn the_hash_depends_on_ids_and_labels_and_not_on_their_order() {
        let hash = |rows: &[(&str, u64, &str, &str)]| of_frame(&frame(rows)).unwrap()["test"]["1"].clone();
        let own = hash(&[("knn", 1, "a.wav", "gel"), ("knn", 1, "b.wav", "voi")]);
        assert_eq!(own.n, 2);
        assert_eq!(own, hash(&[("knn", 1, "b.wav", "voi"), ("knn", 1, "a.wav", "gel")]));
        assert_ne!(own, hash(&[("knn", 1, "a.wav", "gel"), ("knn", 1, "b.wav", "pia")]));
        assert_ne!(own, hash(&[("knn", 1, "a.wav", "gel")]));
        assert_ne!(hash(&[("knn", 1, "ab", "c")]).hash, hash(&[("knn", 1, "a", "bc")]).hash);
    }

    #[test]
    fn every_seed_has_its_own_recordings() {
        let rows = [("knn", 1, "a", "x"), ("average", 1, "a", "x"), ("knn", 2, "b", "x")];
        let found = of_frame(&frame(&rows)).unwrap();
        assert_eq!(found["test"].keys().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!((found["test"]["1"].n, found["test"]["2"].n), (1, 1));
        assert_ne!(found["test"]["1"].hash, found["test"]["2"].hash);
    }
}
