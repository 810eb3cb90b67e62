//! Runs side by side: what differs in their configuration, and what came of it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use polars::prelude::{Column, DataFrame};

use crate::run_dir::{self, ResultRow, RunRecord};
use crate::tables::cell;

mod comparison;

pub use comparison::*;

/// One run of a comparison.
pub struct Compared {
    pub path: PathBuf,
    pub record: RunRecord,
    /// The resolved configuration, a dotted key a value.
    keys: Vec<(String, String)>,
}

impl Compared {
    pub fn read(run: &Path) -> Result<Compared> {
        let record = run_dir::read_record(run)?;
        let path = run.join("config.resolved.toml");
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let table: toml::Table = text.parse().with_context(|| format!("cannot understand {}", path.display()))?;
        let mut keys = Vec::new();
        flatten(&toml::Value::Table(table), "", &mut keys);
        Ok(Compared { path: run.to_owned(), record, keys })
    }

    /// Experiment and the beginning of the signature.
    fn name(&self) -> String {
        format!("{} {}", self.record.experiment, &self.record.signature[..8])
    }

    fn value(&self, key: &str) -> Option<&str> {
        self.keys.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// The values of one row of the table over the seeds.
    fn cell(&self, row: &RowKey) -> Vec<f64> {
        let same =
            |r: &&ResultRow| r.unit.features == row.features && r.unit.model == row.model && r.split == row.split;
        self.record.results.iter().filter(same).filter_map(|r| r.metrics.get(&self.record.metric).copied()).collect()
    }
}

fn flatten(value: &toml::Value, path: &str, keys: &mut Vec<(String, String)>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                flatten(value, &if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, keys);
            }
        }
        leaf => keys.push((path.to_owned(), leaf.to_string())),
    }
}

#[derive(PartialEq)]
struct RowKey {
    features: String,
    model: String,
    split: String,
}

fn row_keys(runs: &[Compared]) -> Vec<RowKey> {
    let mut keys = Vec::new();
    for row in runs.iter().flat_map(|run| &run.record.results) {
        let key =
            RowKey { features: row.unit.features.clone(), model: row.unit.model.clone(), split: row.split.clone() };
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

/// The configuration keys that are not the same in all runs, with their values.
fn differing(runs: &[Compared]) -> Vec<(&str, Vec<Option<&str>>)> {
    let mut names: Vec<&str> = runs.iter().flat_map(|run| &run.keys).map(|(k, _)| k.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .map(|name| (name, runs.iter().map(|run| run.value(name)).collect::<Vec<_>>()))
        .filter(|(_, values)| values.windows(2).any(|pair| pair[0] != pair[1]))
        .collect()
}

/// One row a (features, model, split), one column a run: the run's headline metric, mean ± sd over its seeds.
pub fn table(runs: &[Compared]) -> Result<DataFrame> {
    let keys = row_keys(runs);
    let words = |word: fn(&RowKey) -> &str| keys.iter().map(word).collect::<Vec<_>>();
    let mut columns = vec![
        Column::new("features".into(), words(|k| &k.features)),
        Column::new("model".into(), words(|k| &k.model)),
        Column::new("split".into(), words(|k| &k.split)),
    ];
    for (i, run) in runs.iter().enumerate() {
        let cells: Vec<String> = keys.iter().map(|key| cell(&run.cell(key))).collect();
        // The number keeps two runs of one signature apart.
        columns.push(Column::new(format!("{}: {} {}", i + 1, run.name(), run.record.metric).into(), cells));
    }
    DataFrame::new(keys.len(), columns).context("cannot build the comparison")
}

/// The comparison as a person reads it.
pub fn text(runs: &[Compared]) -> String {
    let mut text = String::new();
    for (i, run) in runs.iter().enumerate() {
        let r = &run.record;
        text += &format!(
            "{}: {}  {} on {} clips of {}  {}\n",
            i + 1,
            run.name(),
            r.metric,
            r.data.clips,
            r.data.name,
            run.path.display()
        );
    }
    let differing = differing(runs);
    if !differing.is_empty() {
        text += "\nDiffering keys\n";
        for (name, values) in differing {
            let values: Vec<&str> = values.into_iter().map(|v| v.unwrap_or("–")).collect();
            text += &format!("  {name}: {}\n", values.join(" | "));
        }
    }
    let mut lines = vec![["features", "model", "split"].map(str::to_owned).to_vec()];
    lines[0].extend((1..=runs.len()).map(|i| i.to_string()));
    for key in row_keys(runs) {
        let mut line = vec![key.features.clone(), key.model.clone(), key.split.clone()];
        line.extend(runs.iter().map(|run| cell(&run.cell(&key))));
        lines.push(line);
    }
    text.push('\n');
    text + &crate::tables::aligned(&lines, 3)
}
