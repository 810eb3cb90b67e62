//! MusicNet: recordings of classical music with every note, cut into clips that are labelled by the instruments that sound in them.
//!
//! Times in `…_labels/ID.csv` are samples at 44,100 Hz, and instruments are numbers of General MIDI, from 1.

use anyhow::{Context, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entries::{Entries, Entry, Sounding, clip_length_faults, clips_of};
use super::table::Table;
use super::walk::files_below;
use super::{CommonKeys, DataDirs, DataKind, DataSet, Subset};
use timbre_core::registry::Fault;

const PARTS: [(&str, &str, Subset); 2] =
    [("train_data", "train_labels", Subset::Training), ("test_data", "test_labels", Subset::Testing)];
const RATE: f64 = 44_100.0;

/// MusicNet in its published layout: `train_data/1727.wav` and `train_labels/1727.csv`, and the same for test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MusicNet {
    #[serde(flatten)]
    pub common: CommonKeys,
    /// Length of a clip in seconds. Its classes are the instruments of the notes that sound in it.
    #[schemars(range(min = 0.1))]
    pub seconds: f64,
}

impl Default for MusicNet {
    fn default() -> Self {
        MusicNet { common: CommonKeys::default(), seconds: 3.0 }
    }
}

/// The instruments that occur, by their numbers.
fn instrument(number: &str) -> Option<&'static str> {
    Some(match number {
        "1" => "piano",
        "7" => "harpsichord",
        "41" => "violin",
        "42" => "viola",
        "43" => "cello",
        "44" => "contrabass",
        "61" => "horn",
        "69" => "oboe",
        "71" => "bassoon",
        "72" => "clarinet",
        "74" => "flute",
        _ => return None,
    })
}

impl DataKind for MusicNet {
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
        let needed: Vec<&str> = PARTS.iter().flat_map(|(data, labels, _)| [*data, *labels]).collect();
        let mut set = Entries::begin(&self.common, "musicnet", dirs, &needed, "the table of notes")?;
        let mut read = || -> Result<()> {
            for (data, labels, subset) in PARTS {
                let mut labelled: Vec<String> = Vec::new();
                for file in files_below(&set.root.join(labels))? {
                    let (id, extension) = file.stem_and_extension();
                    if extension != "csv" {
                        continue;
                    }
                    let rows = Table::read(&file.path)?.texts(["start_time", "end_time", "instrument"]);
                    let mut notes = Vec::new();
                    for (line, [start, end, number]) in rows.with_context(|| file.path.display().to_string())? {
                        match (start.parse::<f64>(), end.parse::<f64>(), instrument(&number)) {
                            (Ok(start), Ok(end), Some(class)) => {
                                notes.push(Sounding { start: start / RATE, end: end / RATE, class: class.to_owned() });
                            }
                            _ => {
                                let what = format!("{labels}/{id}.csv: {start}, {end}, {number} (line {line})");
                                set.faults.add("notes cannot be read", what);
                            }
                        }
                    }
                    if notes.is_empty() {
                        set.faults.add("tables have no notes", format!("{labels}/{id}.csv"));
                    }
                    labelled.push(id.to_owned());
                    let whole = Entry {
                        path: format!("{data}/{id}.wav"),
                        group: Some(id.to_owned()),
                        subset: Some(subset),
                        ..Entry::default()
                    };
                    set.entries.extend(clips_of(&whole, &notes, self.seconds));
                }
                for file in files_below(&set.root.join(data))? {
                    let (id, extension) = file.stem_and_extension();
                    if extension == "wav" && !labelled.iter().any(|known| known == id) {
                        set.faults.add("recordings have no table of notes", format!("{data}/{id}.wav"));
                    }
                }
            }
            Ok(())
        };
        read().with_context(|| format!("read data set `{}`", set.name))?;
        set.into_set()
    }
}
