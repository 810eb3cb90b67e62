//! MedleyDB: multitrack recordings, cut into clips of the mix that are labelled by the instruments that sound in them.
//!
//! The times of the instruments are in the files `…_SOURCEID.lab`. Songs of one artist, the first part of the name, are one group, as
//! its makers advise.

use std::collections::HashMap;

use anyhow::{Context, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entries::{Entries, Entry, Sounding, clip_length_faults, clips_of};
use super::table::Table;
use super::walk::{FoundFile, files_below};
use super::{CommonKeys, DataDirs, DataKind, DataSet};
use timbre_core::registry::Fault;

/// MedleyDB: files `TRACK_MIX.wav` and `TRACK_SOURCEID.lab`, in any folders.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MedleyDb {
    #[serde(flatten)]
    pub common: CommonKeys,
    /// Length of a clip in seconds. Its classes are the instruments that sound in it.
    #[schemars(range(min = 0.1))]
    pub seconds: f64,
}

impl Default for MedleyDb {
    fn default() -> Self {
        MedleyDb { common: CommonKeys::default(), seconds: 3.0 }
    }
}

impl DataKind for MedleyDb {
    fn version(&self) -> u32 {
        1
    }

    fn common_keys(&self) -> &CommonKeys {
        &self.common
    }

    fn own_faults(&self) -> Vec<Fault> {
        clip_length_faults(self.seconds)
    }

    fn load(&self, dirs: &DataDirs) -> Result<DataSet> {
        let mut set = Entries::begin(&self.common, "medleydb", dirs, &["."], "the files of activations")?;
        let mut read = || -> Result<()> {
            let files = files_below(&set.root)?;
            let named = |ending: &str| -> HashMap<String, &FoundFile> {
                let track = |file: &&FoundFile| file.file_name().strip_suffix(ending).map(str::to_owned);
                files.iter().filter_map(|file| Some((track(&file)?, file))).collect()
            };
            let (mixes, activations) = (named("_MIX.wav"), named("_SOURCEID.lab"));
            let mut tracks: Vec<&String> = mixes.keys().collect();
            tracks.sort();
            for track in tracks {
                let mix = mixes[track];
                let path = mix.names.join("/");
                let Some(file) = activations.get(track) else {
                    set.faults.add("recordings have no TRACK_SOURCEID.lab", path);
                    continue;
                };
                let text = std::fs::read_to_string(&file.path)?;
                let rows = Table::from_csv(&text, Some(',')).texts(["start_time", "end_time", "instrument_label"]);
                let mut sounding = Vec::new();
                for (line, [start, end, class]) in rows.with_context(|| file.path.display().to_string())? {
                    match (start.parse(), end.parse()) {
                        (Ok(start), Ok(end)) => sounding.push(Sounding { start, end, class }),
                        _ => set
                            .faults
                            .add("activations cannot be read", format!("{track}: {start}, {end} (line {line})")),
                    }
                }
                if sounding.is_empty() {
                    set.faults.add("tables have no instrument", format!("{track}_SOURCEID.lab"));
                }
                let artist = track.split('_').next().unwrap_or(track);
                let whole = Entry { path, group: Some(artist.to_owned()), ..Entry::default() };
                set.entries.extend(clips_of(&whole, &sounding, self.seconds));
            }
            Ok(())
        };
        read().with_context(|| format!("read data set `{}`", set.name))?;
        set.into_set()
    }
}
