//! ESC-50 and ESC-10: environmental sounds of 5 s in five official folds.
//!
//! The name of a recording has all that is needed: `FOLD-SOURCE-TAKE-TARGET.wav`. `meta/esc50.csv` says the same and is compared
//! with the names if it is there. Clips of one Freesound recording (the source) are one song, and always in one fold.

use std::path::Path;

use anyhow::{Context, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entries::{Entries, Entry};
use super::table::Table;
use super::walk::files_below;
use super::{CommonKeys, DataDirs, DataKind, DataSet, DataSpec};

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

    fn as_published(&self, _root: &Path) -> Option<DataSpec> {
        Some(DataSpec::Esc(Esc { esc10: false, ..self.clone() }))
    }

    fn load(&self, dirs: &DataDirs) -> Result<DataSet> {
        let mut set = Entries::begin(&self.common, "esc", dirs, &["audio"], "the folder audio")?;
        self.read(&mut set).with_context(|| format!("read data set `{}`", set.name))?;
        set.into_set()
    }
}

impl Esc {
    fn read(&self, set: &mut Entries) -> Result<()> {
        let has_table = set.root.join(TABLE).is_file();
        let rows = if has_table { rows_of_table(set)? } else { rows_of_names(set)? };
        set.table = if has_table { TABLE.to_owned() } else { set.table.clone() };
        for Row { file, fold, class, is_esc10, source, line } in rows {
            if !self.esc10 || is_esc10 {
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
        Ok(())
    }
}

struct Row {
    file: String,
    fold: String,
    class: String,
    is_esc10: bool,
    source: String,
    line: usize,
}

fn rows_of_table(set: &mut Entries) -> Result<Vec<Row>> {
    let columns = ["filename", "fold", "category", "esc10", "src_file"];
    let rows = Table::read(&set.root.join(TABLE))?.texts(columns)?.into_iter();
    let rows = rows.map(|(line, [file, fold, class, esc10, source])| {
        if file.split('-').next() != Some(&fold) {
            set.faults.add("files have another fold in their names", format!("{file}: {fold} (line {line})"));
        }
        Row { file, fold, class, is_esc10: esc10.eq_ignore_ascii_case("true"), source, line }
    });
    Ok(rows.collect())
}

fn rows_of_names(set: &mut Entries) -> Result<Vec<Row>> {
    let files = files_below(&set.root.join("audio"))?;
    let mut rows = Vec::new();
    for file in files.iter().filter(|file| file.is_audio() && file.names.len() == 1) {
        let name = file.names.join("/");
        let (stem, _) = file.stem_and_extension();
        let parts: Vec<&str> = stem.split('-').collect();
        let target = parts.get(3).and_then(|target| target.parse().ok());
        match (&parts[..], target.and_then(|target: usize| Some((target, CLASSES.get(target)?)))) {
            ([fold, source, _, _], Some((target, class))) => rows.push(Row {
                fold: (*fold).to_owned(),
                class: (*class).to_owned(),
                is_esc10: ESC10.contains(&target),
                source: (*source).to_owned(),
                line: 0,
                file: name,
            }),
            _ => set.faults.add("names are not FOLD-SOURCE-TAKE-TARGET.wav", name),
        }
    }
    Ok(rows)
}

/// The classes in the order of their targets.
const CLASSES: [&str; 50] = [
    "dog",
    "rooster",
    "pig",
    "cow",
    "frog",
    "cat",
    "hen",
    "insects",
    "sheep",
    "crow",
    "rain",
    "sea_waves",
    "crackling_fire",
    "crickets",
    "chirping_birds",
    "water_drops",
    "wind",
    "pouring_water",
    "toilet_flush",
    "thunderstorm",
    "crying_baby",
    "sneezing",
    "clapping",
    "breathing",
    "coughing",
    "footsteps",
    "laughing",
    "brushing_teeth",
    "snoring",
    "drinking_sipping",
    "door_wood_knock",
    "mouse_click",
    "keyboard_typing",
    "door_wood_creaks",
    "can_opening",
    "washing_machine",
    "vacuum_cleaner",
    "clock_alarm",
    "clock_tick",
    "glass_breaking",
    "helicopter",
    "chainsaw",
    "siren",
    "car_horn",
    "engine",
    "train",
    "church_bells",
    "airplane",
    "fireworks",
    "hand_saw",
];
/// The targets of ESC-10.
const ESC10: [usize; 10] = [0, 1, 10, 11, 12, 20, 21, 38, 40, 41];
