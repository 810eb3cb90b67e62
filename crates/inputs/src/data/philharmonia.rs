//! The sound samples of the Philharmonia Orchestra: single notes and phrases, with everything in their names.
//!
//! A name reads INSTRUMENT_NOTE_LENGTH_DYNAMICS_ARTICULATION, such as `violin_A4_1_mezzo-forte_arco-normal.mp3`. Notes of one
//! instrument come from one player, so a class has no songs: every file counts as one of its own.

use anyhow::{Context, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entries::{Entries, Entry};
use super::walk::files_below;
use super::{CommonKeys, DataDirs, DataKind, DataSet};
use timbre_signal::audio::AUDIO_EXTENSIONS;

/// The Philharmonia samples, in any folders.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Philharmonia {
    #[serde(flatten)]
    pub common: CommonKeys,
}

impl DataKind for Philharmonia {
    fn version(&self) -> u32 {
        1
    }

    fn common_keys(&self) -> &CommonKeys {
        &self.common
    }

    fn load(&self, dirs: &DataDirs) -> Result<DataSet> {
        let mut set = Entries::begin(&self.common, "philharmonia", dirs, &["."], "its folder")?;
        let files = files_below(&set.root).with_context(|| format!("read data set `{}`", set.name))?;
        for file in &files {
            let (stem, extension) = file.stem_and_extension();
            if !AUDIO_EXTENSIONS.contains(&extension.as_str()) {
                continue;
            }
            let path = file.names.join("/");
            let [class, note, length, dynamics, articulation] = stem.split('_').collect::<Vec<_>>()[..] else {
                set.faults.add("files are not named INSTRUMENT_NOTE_LENGTH_DYNAMICS_ARTICULATION", path);
                continue;
            };
            let tags = [("note", note), ("length", length), ("dynamics", dynamics), ("articulation", articulation)];
            set.entries.push(Entry {
                path,
                labels: vec![class.to_owned()],
                tags: tags.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
                ..Entry::default()
            });
        }
        set.into_set()
    }
}
