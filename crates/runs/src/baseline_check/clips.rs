//! Which recordings a run was judged on: what two scores must have in common to be compared.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use polars::prelude::{DataFrame, ParquetReader, SerReader};
use serde::{Deserialize, Serialize};

use crate::run_dir::Table;

/// The recordings of one side of the split, with one seed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipsOf {
    pub n: usize,
    /// BLAKE3 over their names in the set and their labels, in the order of the names.
    pub hash: String,
}

/// Of each side and each seed (as text: keys of JSON are text).
pub type ClipsOfSides = BTreeMap<String, BTreeMap<String, ClipsOf>>;

/// From `predictions.parquet`, of which only the columns that matter are read.
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
    // A split depends on the seed alone: the first trial of each seed speaks for all.
    let mut first: BTreeMap<(&str, u64), (&str, &str)> = BTreeMap::new();
    let mut clips: BTreeMap<(&str, u64), Vec<(&str, &str)>> = BTreeMap::new();
    for row in 0..frame.height() {
        let side = (splits[row], seeds[row]);
        let trial = (features[row], models[row]);
        if *first.entry(side).or_insert(trial) == trial {
            clips.entry(side).or_default().push((paths[row], truths[row]));
        }
    }
    let mut sides = ClipsOfSides::new();
    for ((split, seed), clips) in clips {
        sides.entry(split.to_owned()).or_default().insert(seed.to_string(), of_clips(clips));
    }
    Ok(sides)
}

fn of_clips(mut clips: Vec<(&str, &str)>) -> ClipsOf {
    clips.sort_unstable();
    let mut hasher = blake3::Hasher::new();
    for text in clips.iter().flat_map(|(path, truth)| [path, truth]) {
        // Lengths first, so that no two lists run together to the same bytes.
        hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    }
    ClipsOf { n: clips.len(), hash: hasher.finalize().to_hex().to_string() }
}

#[cfg(test)]
mod tests {
    use polars::prelude::Column;

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
    fn the_order_of_recordings_does_not_matter_and_their_names_and_labels_do() {
        let hash = |rows: &[(&str, u64, &str, &str)]| of_frame(&frame(rows)).unwrap()["test"]["1"].clone();
        let own = hash(&[("knn", 1, "a.wav", "gel"), ("knn", 1, "b.wav", "voi")]);
        assert_eq!(own.n, 2);
        assert_eq!(own, hash(&[("knn", 1, "b.wav", "voi"), ("knn", 1, "a.wav", "gel")]));
        assert_ne!(own, hash(&[("knn", 1, "a.wav", "gel"), ("knn", 1, "b.wav", "pia")]));
        assert_ne!(own, hash(&[("knn", 1, "a.wav", "gel")]));
        assert_ne!(hash(&[("knn", 1, "ab", "c")]).hash, hash(&[("knn", 1, "a", "bc")]).hash);
    }

    #[test]
    fn every_seed_has_its_own_and_one_unit_speaks_for_all() {
        let rows = [("knn", 1, "a", "x"), ("average", 1, "a", "x"), ("knn", 2, "b", "x")];
        let sides = of_frame(&frame(&rows)).unwrap();
        assert_eq!(sides["test"].keys().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!((sides["test"]["1"].n, sides["test"]["2"].n), (1, 1));
        assert_ne!(sides["test"]["1"].hash, sides["test"]["2"].hash);
    }
}
