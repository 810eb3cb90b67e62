//! Medley-solos-DB: clips of 2.97 s of eight solo instruments in an official split.
//!
//! Split and class are in the names (`Medley-solos-DB_test-0_….wav`), so that the files may lie in any folders and formats. The
//! metadata of the publisher, where it is present, gives the song of a clip.

use std::collections::HashMap;

use anyhow::{Context, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entries::{Entries, Entry};
use super::table::Table;
use super::walk::files_below;
use super::{CommonKeys, DataDirs, DataKind, DataSet, subset_named};
use timbre_core::labels::Classes;
use timbre_signal::audio::AUDIO_EXTENSIONS;

/// The instruments by their numbers.
const INSTRUMENTS: [&str; 8] = [
    "clarinet",
    "distorted_electric_guitar",
    "female_singer",
    "flute",
    "piano",
    "tenor_saxophone",
    "trumpet",
    "violin",
];
const TABLE: &str = "Medley-solos-DB_metadata.csv";
const PREFIX: &str = "Medley-solos-DB_";

/// Medley-solos-DB, or an excerpt of it, in any folders.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MedleySolos {
    #[serde(flatten)]
    pub common: CommonKeys,
}

impl DataKind for MedleySolos {
    fn version(&self) -> u32 {
        1
    }

    fn common_keys(&self) -> &CommonKeys {
        &self.common
    }

    fn known_classes(&self) -> Option<Classes> {
        Some(Classes::new(INSTRUMENTS))
    }

    fn load(&self, dirs: &DataDirs) -> Result<DataSet> {
        let mut set = Entries::begin(&self.common, "medley_solos", dirs, &["."], "its folder")?;
        set.classes = Some(INSTRUMENTS.map(str::to_owned).to_vec());
        let read = |set: &mut Entries| -> Result<()> {
            let files = files_below(&set.root)?;
            let table = files.iter().find(|file| file.file_name() == TABLE);
            let songs: HashMap<String, String> = match table {
                Some(file) => {
                    let rows = Table::read(&file.path)?.texts(["uuid4", "track_id"])?;
                    rows.into_iter().map(|(_, [uuid, track])| (uuid, track)).collect()
                }
                None => HashMap::new(),
            };
            for file in &files {
                let (stem, extension) = file.stem_and_extension();
                let named = || {
                    let (split, rest) = stem.strip_prefix(PREFIX)?.split_once('-')?;
                    let (number, uuid) = rest.split_once('_')?;
                    Some((subset_named(split)?, *INSTRUMENTS.get(number.parse::<usize>().ok()?)?, uuid))
                };
                if !AUDIO_EXTENSIONS.contains(&extension.as_str()) {
                    continue;
                }
                let path = file.names.join("/");
                match named() {
                    Some((subset, class, uuid)) => set.entries.push(Entry {
                        path,
                        labels: vec![class.to_owned()],
                        group: songs.get(uuid).map(|track| format!("track {track}")),
                        subset: Some(subset),
                        ..Entry::default()
                    }),
                    None => set.faults.add("files are not named Medley-solos-DB_SPLIT-CLASS_ID", path),
                }
            }
            Ok(())
        };
        read(&mut set).with_context(|| format!("read data set `{}`", set.name))?;
        set.into_set()
    }
}
