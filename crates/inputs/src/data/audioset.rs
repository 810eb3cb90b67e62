//! AudioSet: segments of 10 s of YouTube videos with any of 527 classes, as a person has them on disk.
//!
//! A row of `…_segments.csv` has a space after each comma, and quotes around the list of its classes. Classes are called by their
//! English names, or by their ids (`/m/0342h`); `[data.labels]` with `hierarchy = "…/ontology.json"`, `map`, `include` and `exclude`
//! chooses among them. Videos
//! disappear, so every copy of the set is incomplete: segments that are not on disk are left out and counted.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entries::{Entries, Entry};
use super::table::{Table, csv_rows};
use super::{CommonKeys, DataDirs, DataKind, DataSet, DataSpec, Subset};
use timbre_core::registry::Fault;

const NAMES: &str = "class_labels_indices.csv";

/// AudioSet: its three lists of segments, and a folder with one file for each segment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AudioSet {
    #[serde(flatten)]
    pub common: CommonKeys,
    /// Which lists to read: `balanced_train`, `unbalanced_train`, `eval`.
    #[schemars(length(min = 1))]
    pub parts: Vec<AudioSetPart>,
    /// How the file of a segment is named: `{}` stands for the id of the video.
    pub file_name: String,
    /// Whether classes are called by their ids (`/m/0342h`) instead of their English names, for a `map` of `[data.labels]` that is
    /// written in ids.
    #[serde(skip_serializing_if = "super::is_false")]
    pub ids: bool,
    /// Whether segments that are not on disk are left out and counted in a note.
    pub skip_missing: bool,
}

/// A list of segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AudioSetPart {
    BalancedTrain,
    UnbalancedTrain,
    Eval,
}

impl AudioSetPart {
    fn table(self) -> &'static str {
        match self {
            AudioSetPart::BalancedTrain => "balanced_train_segments.csv",
            AudioSetPart::UnbalancedTrain => "unbalanced_train_segments.csv",
            AudioSetPart::Eval => "eval_segments.csv",
        }
    }
}

impl Default for AudioSet {
    fn default() -> Self {
        AudioSet {
            common: CommonKeys::default(),
            parts: vec![AudioSetPart::BalancedTrain, AudioSetPart::Eval],
            file_name: "audio/Y{}.wav".to_owned(),
            ids: false,
            skip_missing: true,
        }
    }
}

impl DataKind for AudioSet {
    fn version(&self) -> u32 {
        1
    }

    fn common_keys(&self) -> &CommonKeys {
        &self.common
    }

    fn own_faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.parts.is_empty() {
            faults.push(Fault::new("parts", "is empty; name `balanced_train`, `unbalanced_train` or `eval`"));
        }
        if !self.file_name.contains("{}") {
            faults.push(Fault::new("file_name", "has no {}, which stands for the id of the video"));
        }
        faults
    }

    fn as_published(&self, root: &Path) -> Option<DataSpec> {
        let all = [AudioSetPart::BalancedTrain, AudioSetPart::UnbalancedTrain, AudioSetPart::Eval];
        let parts = all.into_iter().filter(|part| root.join(part.table()).is_file()).collect();
        Some(DataSpec::AudioSet(AudioSet { parts, ..self.clone() }))
    }

    fn load(&self, dirs: &DataDirs) -> Result<DataSet> {
        let mut needed = vec![NAMES];
        needed.extend(self.parts.iter().map(|part| part.table()));
        let mut set = Entries::begin(&self.common, "audioset", dirs, &needed, "the lists of segments")?;
        set.skip_missing = self.skip_missing;
        self.read(&mut set).with_context(|| format!("read data set `{}`", set.name))?;
        set.into_set()
    }
}

impl AudioSet {
    fn read(&self, set: &mut Entries) -> Result<()> {
        let names = Table::read(&set.root.join(NAMES))?.texts(["mid", "display_name"]).with_context(|| NAMES)?;
        let names: HashMap<String, String> = names.into_iter().map(|(_, [mid, name])| (mid, name)).collect();
        for part in &self.parts {
            let table = part.table();
            let text = std::fs::read_to_string(set.root.join(table)).with_context(|| table)?;
            let (rows, faults) = csv_rows(&text, ',');
            faults.into_iter().for_each(|fault| set.faults.add("rows cannot be read", format!("{table}: {fault}")));
            for (line, cells) in rows.iter().filter(|(_, cells)| !cells[0].starts_with('#')) {
                let [video, _, _, mids] = &cells[..] else {
                    let what = format!("{table}: line {line} has {} cells, not 4", cells.len());
                    set.faults.add("rows cannot be read", what);
                    continue;
                };
                let mut labels = Vec::new();
                for mid in mids.split(',').map(str::trim).filter(|mid| !mid.is_empty()) {
                    match names.get(mid) {
                        Some(_) if self.ids => labels.push(mid.to_owned()),
                        // The separator of classes in tables is `;`.
                        Some(name) => labels.push(name.replace(';', ",")),
                        None => set.faults.add("rows have an unknown class", format!("{table}: {mid} (line {line})")),
                    }
                }
                set.entries.push(Entry {
                    path: self.file_name.replace("{}", video),
                    labels,
                    group: Some(video.clone()),
                    subset: Some(if *part == AudioSetPart::Eval { Subset::Testing } else { Subset::Training }),
                    line: *line,
                    ..Entry::default()
                });
            }
        }
        Ok(())
    }
}
