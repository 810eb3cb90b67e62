//! MTG-Jamendo: full tracks with tags of instruments, genres and moods, in five official splits by artist.
//!
//! A row of `autotagging_….tsv` has five columns and then any number of tags, such as `instrument---guitar`.

use anyhow::{Context, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entries::{Entries, Entry};
use super::table::csv_rows;
use super::{CommonKeys, DataDirs, DataKind, DataSet, Subset};
use timbre_core::registry::Fault;

/// MTG-Jamendo: `data/splits` of its repository, and the folder `audio`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MtgJamendo {
    #[serde(flatten)]
    pub common: CommonKeys,
    /// Which tags are the classes.
    pub tags: JamendoTags,
    /// The official split, 0 to 4.
    #[schemars(range(min = 0, max = 4))]
    pub split: u32,
    /// How a track is named: `{}` stands for its path in the table, such as 14/214.mp3.
    pub file_name: String,
    /// Whether tracks that are not on disk are left out, and counted in a note, instead of being a fault.
    #[serde(skip_serializing_if = "super::is_false")]
    pub skip_missing: bool,
}

/// A category of tags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JamendoTags {
    #[default]
    Instrument,
    Genre,
    /// Moods and themes.
    Moodtheme,
}

impl Default for MtgJamendo {
    fn default() -> Self {
        MtgJamendo {
            common: CommonKeys::default(),
            tags: JamendoTags::default(),
            split: 0,
            file_name: "audio/{}".to_owned(),
            skip_missing: false,
        }
    }
}

impl DataKind for MtgJamendo {
    fn version(&self) -> u32 {
        1
    }

    fn common_keys(&self) -> &CommonKeys {
        &self.common
    }

    fn own_faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.split > 4 {
            faults.push(Fault::new("split", "is one of 0 to 4"));
        }
        if !self.file_name.contains("{}") {
            faults.push(Fault::new("file_name", "has no {}, which stands for the path in the table"));
        }
        faults
    }

    /// A list names the tracks with tags of one category; all lists share the audio files.
    fn is_no_recording(&self, _file: &str) -> bool {
        true
    }

    fn load(&self, dirs: &DataDirs) -> Result<DataSet> {
        let category = match self.tags {
            JamendoTags::Instrument => "instrument",
            JamendoTags::Genre => "genre",
            JamendoTags::Moodtheme => "moodtheme",
        };
        let parts = [("train", Subset::Training), ("validation", Subset::Validation), ("test", Subset::Testing)];
        let table = |part: &str| format!("data/splits/split-{}/autotagging_{category}-{part}.tsv", self.split);
        let tables = parts.map(|(part, subset)| (table(part), subset));
        let needed: Vec<&str> = tables.iter().map(|(table, _)| table.as_str()).collect();
        let mut set = Entries::begin(&self.common, "mtg_jamendo", dirs, &needed, "the table of tags")?;
        set.skip_missing = self.skip_missing;
        for (table, subset) in &tables {
            let text = std::fs::read_to_string(set.root.join(table));
            let text = text.with_context(|| format!("read data set `{}`: {table}", set.name))?;
            for (line, cells) in csv_rows(&text, '\t').0.into_iter().skip(1) {
                let [_, artist, _, path, _, tags @ ..] = &cells[..] else {
                    set.faults.add("rows cannot be read", format!("{table}: line {line} has {} cells", cells.len()));
                    continue;
                };
                let own = tags.iter().filter_map(|tag| tag.strip_prefix(category)?.strip_prefix("---"));
                set.entries.push(Entry {
                    path: self.file_name.replace("{}", path),
                    labels: own.map(str::to_owned).collect(),
                    group: Some(artist.clone()),
                    subset: Some(*subset),
                    line,
                    ..Entry::default()
                });
            }
        }
        set.into_set()
    }
}
