//! MagnaTagATune: clips of 29 s with any of 188 tags, split by their folders, which share no song.
//!
//! The usual split takes the folders 0 to b for training, c for validation, d to f for testing; peers use the 50 most frequent
//! tags (`[data.labels] min_recordings`, `include`). The song is the name of a clip without its times.

use std::sync::LazyLock;

use anyhow::{Context, Result, bail};
use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entries::{Entries, Entry};
use super::table::csv_rows;
use super::{CommonKeys, DataDirs, DataKind, DataSet, Subset};

const TABLE: &str = "annotations_final.csv";
/// Clips whose files are empty.
const DAMAGED: [&str; 3] = [
    "6/norine_braun-now_and_zen-08-gently-117-146.mp3",
    "8/jacob_heringman-josquin_des_prez_lute_settings-19-gintzler__pater_noster-204-233.mp3",
    "9/american_baroque-dances_and_suites_of_rameau_and_couperin-25-le_petit_rien_xiveme_ordre_couperin-88-117.mp3",
];

/// MagnaTagATune: `annotations_final.csv`, and the folders 0 to f.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MagnaTagATune {
    #[serde(flatten)]
    pub common: CommonKeys,
    /// Whether clips that are not on disk are left out, and counted in a note, instead of being a fault.
    #[serde(skip_serializing_if = "super::is_false")]
    pub skip_missing: bool,
}

static TIMES: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"-\d+-\d+\.mp3$").expect("the times of a clip"));

impl DataKind for MagnaTagATune {
    fn version(&self) -> u32 {
        1
    }

    fn common_keys(&self) -> &CommonKeys {
        &self.common
    }

    fn is_no_recording(&self, file: &str) -> bool {
        DAMAGED.contains(&file)
    }

    fn load(&self, dirs: &DataDirs) -> Result<DataSet> {
        let mut set = Entries::begin(&self.common, "magnatagatune", dirs, &[TABLE], TABLE)?;
        set.skip_missing = self.skip_missing;
        let read = |set: &mut Entries| -> Result<()> {
            let (rows, _) = csv_rows(&std::fs::read_to_string(set.root.join(TABLE))?, '\t');
            let Some((_, header)) = rows.first() else { bail!("{TABLE} is empty") };
            for (line, cells) in &rows[1..] {
                let (Some(path), true) = (cells.last(), cells.len() == header.len()) else {
                    set.faults.add("rows cannot be read", format!("line {line} has {} cells", cells.len()));
                    continue;
                };
                let tags = header.iter().zip(cells).filter(|(_, cell)| *cell == "1").map(|(tag, _)| tag.clone());
                let is_tag = |tag: &String| tag != "clip_id" && tag != "mp3_path";
                set.entries.push(Entry {
                    labels: tags.filter(is_tag).collect(),
                    group: Some(TIMES.replace(path, "").into_owned()),
                    subset: Some(match path.as_bytes().first() {
                        Some(b'0'..=b'9' | b'a' | b'b') => Subset::Training,
                        Some(b'c') => Subset::Validation,
                        _ => Subset::Testing,
                    }),
                    path: path.clone(),
                    line: *line,
                    ..Entry::default()
                });
            }
            Ok(())
        };
        read(&mut set).with_context(|| format!("read data set `{}`", set.name))?;
        set.leave_out(|entry| DAMAGED.contains(&entry.path.as_str()));
        set.into_set()
    }
}
