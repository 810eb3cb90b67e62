//! GTZAN: 1,000 excerpts of 30 s of ten genres.
//!
//! Repetitions and artists that are in several subsets make a random split far too good. `filtered` reads the split by artists that
//! leaves them out (B. Sturm's faults, in lists of files). `jazz.00054` is damaged in a widespread copy and is left out.

use std::path::Path;

use anyhow::{Context, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entries::{Entries, Entry};
use super::walk::{files_below, folders_in};
use super::{CommonKeys, DataDirs, DataKind, DataSet, DataSpec, MissingData, Subset};
use timbre_core::labels::Classes;

const GENRES: [&str; 10] =
    ["blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock"];
/// The folder of the genres, in the original and in later copies.
const FOLDERS: [&str; 3] = ["genres", "genres_original", "."];

/// GTZAN: `genres/GENRE/GENRE.000NN.wav` (or `.au`, or in `genres_original`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Gtzan {
    #[serde(flatten)]
    pub common: CommonKeys,
    /// Whether to read only the recordings of the artist-filtered split, from train_filtered.txt, valid_filtered.txt and
    /// test_filtered.txt in the root: one path such as `blues/blues.00029.wav` a line. Default: all recordings, without a split.
    pub filtered: bool,
}

impl DataKind for Gtzan {
    fn version(&self) -> u32 {
        1
    }

    fn common_keys(&self) -> &CommonKeys {
        &self.common
    }

    fn known_classes(&self) -> Option<Classes> {
        Some(Classes::new(GENRES))
    }

    fn as_published(&self, _root: &Path) -> Option<DataSpec> {
        Some(DataSpec::Gtzan(Gtzan { filtered: false, ..self.clone() }))
    }

    fn is_no_recording(&self, file: &str) -> bool {
        is_damaged(file)
    }

    fn load(&self, dirs: &DataDirs) -> Result<DataSet> {
        let lists = ["train_filtered.txt", "valid_filtered.txt", "test_filtered.txt"];
        let needed: &[&str] = if self.filtered { &lists } else { &["."] };
        let mut set = Entries::begin(&self.common, "gtzan", dirs, needed, "its folder")?;
        let has_genres = |folder: &&&str| {
            folders_in(&set.root.join(folder))
                .is_ok_and(|all| all.iter().any(|(name, _)| GENRES.contains(&name.as_str())))
        };
        let Some(folder) = FOLDERS.iter().find(has_genres) else {
            let wanted = vec![set.root.join("genres/blues/blues.00000.wav")];
            return Err(MissingData::new(&set.name, wanted, set.root, &self.common).into());
        };
        let mut read = || -> Result<()> {
            let files = files_below(&set.root.join(folder))?;
            let mut push = |names: &[String], subset: Option<Subset>| {
                let (path, class) = (names.join("/"), names[0].clone());
                let path = if *folder == "." { path } else { format!("{folder}/{path}") };
                set.entries.push(Entry { path, labels: vec![class], subset, ..Entry::default() });
            };
            let recordings = files
                .iter()
                .filter(|file| file.is_audio() && file.names.len() == 2 && GENRES.contains(&file.names[0].as_str()));
            if !self.filtered {
                recordings.for_each(|file| push(&file.names, None));
                return Ok(());
            }
            // The lists name `.wav`, also where the files are `.au`.
            let stem = |path: &str| path.rsplit_once('.').map_or(path, |(stem, _)| stem).to_owned();
            let by_stem: std::collections::HashMap<String, &[String]> =
                recordings.map(|file| (stem(&file.names.join("/")), &file.names[..])).collect();
            for (list, subset) in lists.iter().zip(Subset::ALL) {
                let text = std::fs::read_to_string(set.root.join(list)).with_context(|| format!("read {list}"))?;
                for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
                    match by_stem.get(&stem(line)) {
                        Some(names) => push(names, Some(subset)),
                        None => set.faults.add("recordings of the lists are not on disk", format!("{line} ({list})")),
                    }
                }
            }
            Ok(())
        };
        read().with_context(|| format!("read data set `{}`", set.name))?;
        set.classes = Some(GENRES.map(str::to_owned).to_vec());
        set.leave_out(|entry| is_damaged(&entry.path));
        set.into_set()
    }
}

fn is_damaged(file: &str) -> bool {
    file.contains("jazz.00054.")
}
