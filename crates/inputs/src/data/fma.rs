//! The Free Music Archive data set (FMA): tracks of 161 genres in nested subsets with an official split.
//!
//! `fma_metadata/tracks.csv` has two header lines, which name each column by two words, and a third line with the name of the
//! index. The column of the subset holds the smallest one that has the track: `medium` reads the tracks of `small` too. The song
//! of a track is its artist.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entries::{Entries, Entry};
use super::table::{Table, csv_rows, list_items};
use super::{CommonKeys, DataDirs, DataKind, DataSet, subset_named};

const TRACKS: &str = "fma_metadata/tracks.csv";
const GENRES: &str = "fma_metadata/genres.csv";
/// Tracks of FMA-small that have no sound or less than two seconds of it.
const DAMAGED: [u32; 6] = [98565, 98567, 98569, 99134, 108925, 133297];

/// FMA in its published layout: `fma_metadata/tracks.csv` and `fma_small/000/000002.mp3`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Fma {
    #[serde(flatten)]
    pub common: CommonKeys,
    /// The subset, and with it the folder `fma_SUBSET` of the recordings. Default: `small`.
    pub subset: FmaSubset,
    /// The genres of a track. Default: `top`, one of the top genres.
    pub genres: FmaGenres,
    /// Whether tracks that are not on disk are left out, and counted in a note, instead of being a fault.
    #[serde(skip_serializing_if = "super::is_false")]
    pub skip_missing: bool,
}

/// A subset of FMA: each contains the smaller ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FmaSubset {
    /// 8,000 tracks of 30 s, eight balanced top genres.
    #[default]
    Small,
    /// 25,000 tracks of 30 s, 16 top genres.
    Medium,
    /// 106,574 tracks of 30 s, 161 genres.
    Large,
}

/// Which genres are the classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FmaGenres {
    /// The top genre; a track without one has no class.
    #[default]
    Top,
    /// The genres that the artist gave.
    Own,
    /// Those and all their parents.
    All,
}

impl DataKind for Fma {
    fn version(&self) -> u32 {
        1
    }

    fn common_keys(&self) -> &CommonKeys {
        &self.common
    }

    fn load(&self, dirs: &DataDirs) -> Result<DataSet> {
        let folder = match self.subset {
            FmaSubset::Small => "fma_small",
            FmaSubset::Medium => "fma_medium",
            FmaSubset::Large => "fma_large",
        };
        let mut needed = vec![TRACKS, folder];
        needed.extend((self.genres != FmaGenres::Top).then_some(GENRES));
        let mut set = Entries::begin(&self.common, "fma", dirs, &needed, TRACKS)?;
        set.skip_missing = self.skip_missing;
        self.read(&mut set, folder).with_context(|| format!("read data set `{}`", set.name))?;
        set.leave_out(|entry| is_damaged(&entry.path));
        set.into_set()
    }

    fn is_no_recording(&self, file: &str) -> bool {
        is_damaged(file)
    }
}

fn is_damaged(file: &str) -> bool {
    DAMAGED.iter().any(|id| file.ends_with(&format!("/{id:06}.mp3")))
}

impl Fma {
    fn read(&self, set: &mut Entries, folder: &str) -> Result<()> {
        let titles: HashMap<String, String> = match self.genres {
            FmaGenres::Top => HashMap::new(),
            _ => {
                let rows = Table::read(&set.root.join(GENRES))?.texts(["genre_id", "title"]).with_context(|| GENRES)?;
                rows.into_iter().map(|(_, [id, title])| (id, title)).collect()
            }
        };
        let text = std::fs::read_to_string(set.root.join(TRACKS)).with_context(|| TRACKS)?;
        let (rows, faults) = csv_rows(&text, ',');
        faults.into_iter().for_each(|fault| set.faults.add("rows cannot be read", fault));
        ensure!(rows.len() > 3, "{TRACKS} has no tracks");
        let (first, second) = (&rows[0].1, &rows[1].1);
        let column = |group: &str, name: &str| {
            let at = (0..first.len().min(second.len())).find(|&i| first[i] == group && second[i] == name);
            at.with_context(|| format!("{TRACKS} has no column ({group}, {name})"))
        };
        let (split, subset, artist) = (column("set", "split")?, column("set", "subset")?, column("artist", "id")?);
        let genre = match self.genres {
            FmaGenres::Top => column("track", "genre_top")?,
            FmaGenres::Own => column("track", "genres")?,
            FmaGenres::All => column("track", "genres_all")?,
        };
        // The third line is the name of the index.
        for (line, cells) in &rows[3..] {
            if cells.len() != first.len() {
                let what = format!("line {line} has {} cells, and the header {}", cells.len(), first.len());
                set.faults.add("rows cannot be read", what);
                continue;
            }
            let own = match cells[subset].as_str() {
                "small" => FmaSubset::Small,
                "medium" => FmaSubset::Medium,
                _ => FmaSubset::Large,
            };
            if own > self.subset {
                continue;
            }
            let Ok(id) = cells[0].parse::<u32>() else {
                set.faults.add("rows have no number of a track", format!("{:?} (line {line})", cells[0]));
                continue;
            };
            let labels = match self.genres {
                FmaGenres::Top => vec![cells[genre].clone()],
                _ => list_items(&cells[genre]).unwrap_or_default(),
            };
            let labels = labels.into_iter().filter(|label| !label.is_empty());
            let labels = labels.map(|label| titles.get(&label).cloned().unwrap_or(label)).collect();
            let part = subset_named(&cells[split]);
            if part.is_none() {
                set.faults.add("rows have an unknown split", format!("{id}: {:?} (line {line})", cells[split]));
            }
            set.entries.push(Entry {
                path: format!("{folder}/{:03}/{id:06}.mp3", id / 1000),
                labels,
                group: Some(format!("artist {}", cells[artist])),
                subset: part,
                line: *line,
                ..Entry::default()
            });
        }
        Ok(())
    }
}
