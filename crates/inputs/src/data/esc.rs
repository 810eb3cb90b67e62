//! ESC-50 and ESC-10: environmental sounds of 5 s in five official folds.
//!
//! `meta/esc50.csv` names the class of each recording in `audio`; the fold is also the first number of its name. Clips of one
//! Freesound recording (`src_file`) are one song, and always in one fold.

use anyhow::{Context, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entries::{Entries, Entry};
use super::table::Table;
use super::{CommonKeys, DataDirs, DataKind, DataSet};

const TABLE: &str = "meta/esc50.csv";

/// ESC-50 in its published layout, or the ten classes of it that are ESC-10.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Esc {
    #[serde(flatten)]
    pub common: CommonKeys,
    /// Whether to read the 400 recordings of ESC-10 alone. Default: all 2,000 of ESC-50.
    pub esc10: bool,
}

impl DataKind for Esc {
    fn version(&self) -> u32 {
        1
    }

    fn common_keys(&self) -> &CommonKeys {
        &self.common
    }

    fn load(&self, dirs: &DataDirs) -> Result<DataSet> {
        let mut set = Entries::begin(&self.common, "esc", dirs, &[TABLE, "audio"], TABLE)?;
        let read = || Table::read(&set.root.join(TABLE))?.texts(["filename", "fold", "category", "esc10", "src_file"]);
        let rows = read().with_context(|| format!("read data set `{}`", set.name))?;
        for (line, [file, fold, class, esc10, source]) in rows {
            if file.split('-').next() != Some(&fold) {
                set.faults.add("files have another fold in their names", format!("{file}: {fold} (line {line})"));
            }
            if !self.esc10 || esc10.eq_ignore_ascii_case("true") {
                set.entries.push(Entry {
                    path: format!("audio/{file}"),
                    labels: vec![class],
                    group: Some(source),
                    fold: Some(fold),
                    line,
                    ..Entry::default()
                });
            }
        }
        set.into_set()
    }
}
