//! The generated data set: synthetic recordings of eleven instruments in the layout of IRMAS.
//!
//! The same spec gives the same bytes on every machine and with any number of threads: every song and excerpt has its own seed
//! (`seed / demo / training / CODE / SONG / …`), and all arithmetic is independent of the platform (see `filter`). The set is no
//! benchmark of instruments, since its players are models: it lets everything run before any data is downloaded.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::generated::{self, AfterRecording, Generator, Summary};
use super::irmas::{INSTRUMENTS, Irmas, IrmasSubset, classes_fault, is_in_layout, shares_faults};
use super::walk::names_of;
use super::{CommonKeys, DataDirs, DataKind, DataSet, MissingData};
use instruments::Instrument;
pub(super) use plan::SongPlan;
use song::{Band, Models, Song};
use timbre_core::{labels::Classes, registry::Fault, seed::Seed};
use timbre_signal::audio::wav_write::write_pcm16;

pub(super) mod drums_and_bass;
pub(super) mod rng;
mod filter;
mod piano;
pub(super) mod plan;
pub(super) mod mixing;
pub(super) mod composition;
pub(super) mod song;
mod plucked_string;
mod wavetable;
pub(super) mod instruments;

/// Increase when the sound of the set changes.
const VERSION: u32 = 1;

/// The generated data set: synthetic recordings of the eleven IRMAS instruments, made on first use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Demo {
    #[serde(flatten)]
    pub common: CommonKeys,
    /// Only these instruments, in this order, as in IRMAS. Default: all eleven.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub classes: Option<Vec<String>>,
    /// Number of training clips of 3 s per instrument.
    #[schemars(range(min = 1, max = 10000))]
    pub clips_per_class: usize,
    /// Number of testing recordings of 5 to 20 s with one to five instruments.
    #[schemars(range(min = 0, max = 10000))]
    pub test_recordings: usize,
    /// Number of excerpts per song; the last song of a class may have fewer.
    #[schemars(range(min = 1, max = 100))]
    pub excerpts_per_song: usize,
    /// Share of the testing recordings (0 to 1), the first in bytewise order, that moves to training, as in IRMAS.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub training_share_of_test: f64,
    /// Share of the testing recordings (0 to 1), those after the ones that move to training, that moves to validation, as in IRMAS.
    #[serde(skip_serializing_if = "super::is_zero")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub validation_share_of_test: f64,
    /// Whether the testing recordings differ from all training clips: another tempo, out of tune, noisy, and with loud drums and
    /// bass. Default: false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shifted: bool,
    /// Seed of the songs.
    pub seed: u64,
}

impl Default for Demo {
    fn default() -> Self {
        Demo {
            common: CommonKeys::default(),
            classes: None,
            clips_per_class: 40,
            test_recordings: 66,
            excerpts_per_song: 3,
            training_share_of_test: 0.0,
            validation_share_of_test: 0.0,
            shifted: false,
            seed: 1,
        }
    }
}

impl DataKind for Demo {
    fn version(&self) -> u32 {
        VERSION
    }

    fn common_keys(&self) -> &CommonKeys {
        &self.common
    }

    fn known_classes(&self) -> Option<Classes> {
        Some(match &self.classes {
            Some(chosen) => Classes::new(chosen),
            None => Classes::new(INSTRUMENTS),
        })
    }

    fn own_faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if !(1..=10000).contains(&self.clips_per_class) {
            faults.push(Fault::new("clips_per_class", format!("{} is not from 1 to 10000", self.clips_per_class)));
        }
        if self.test_recordings > 10000 {
            faults.push(Fault::new("test_recordings", format!("{} is more than 10000", self.test_recordings)));
        }
        if !(1..=100).contains(&self.excerpts_per_song) {
            faults.push(Fault::new("excerpts_per_song", format!("{} is not from 1 to 100", self.excerpts_per_song)));
        }
        faults.extend(shares_faults(self.training_share_of_test, self.validation_share_of_test));
        faults.extend(classes_fault(self.classes.as_deref()));
        faults
    }

    fn generator(&self) -> Option<&dyn Generator> {
        Some(self)
    }

    fn load(&self, dirs: &DataDirs) -> Result<DataSet> {
        let common = &self.common;
        let root = match &common.root {
            Some(_) => common.root_in(dirs, "demo"),
            None => generated::ensure_in_cache(self, dirs, &|| Ok(()))?,
        };
        let all = (common.root.is_none() && self.classes.is_none()).then(|| self.recordings());
        load_layout(self.layout(), &root, &common.name_or("demo"), common, all)
    }

    fn load_planned(&self, dirs: &DataDirs) -> Result<DataSet> {
        if generated::is_in_place(self, dirs)? {
            return self.load(dirs);
        }
        let folder = generated::cache_folder(self, dirs)?;
        planned_layout(&self.layout(), &plan::plan(self), &folder, &self.common.name_or("demo"))
    }
}

impl Generator for Demo {
    fn kind(&self) -> &'static str {
        "demo"
    }

    fn has_root(&self) -> bool {
        self.common.root.is_some()
    }

    fn fingerprint(&self, _dirs: &DataDirs) -> Result<String> {
        let sounds = (VERSION, self.clips_per_class, self.test_recordings, self.excerpts_per_song, self.seed);
        let shifted = if self.shifted { " shifted" } else { "" };
        Ok(blake3::hash(format!("{sounds:?}{shifted}").as_bytes()).to_hex().to_string())
    }

    fn planned_seconds(&self, _dirs: &DataDirs) -> Result<HashMap<String, f64>> {
        Ok(seconds_of(&plan::plan(self)))
    }

    fn fill(&self, _dirs: &DataDirs, folder: &Path, after_recording: AfterRecording) -> Result<Summary> {
        if let Some(Fault { key, sentence }) = self.faults().first() {
            bail!("generate the demo data set: `{key}`: {sentence}");
        }
        write_songs(&plan::plan(self), folder, |_| &Models, after_recording)
    }
}

/// Reads a generated set in the layout of IRMAS; `all` is the number of recordings that it has to have.
pub(super) fn load_layout(
    layout: Irmas,
    root: &Path,
    name: &str,
    common: &CommonKeys,
    all: Option<usize>,
) -> Result<DataSet> {
    if !is_in_layout(root) {
        return Err(MissingData::new(name, vec![root.join("IRMAS-TrainingData")], root.to_owned(), common).into());
    }
    let test_folders: Vec<u32> = (1..=3).filter(|n| root.join(format!("IRMAS-TestingData-Part{n}")).is_dir()).collect();
    let mut parts = vec![IrmasSubset::Training];
    if !test_folders.is_empty() {
        parts.push(IrmasSubset::Testing);
    }
    let set = Irmas { parts, test_folders, ..layout }.load_from(root, name)?;
    ensure!(
        all.is_none_or(|all| set.records.len() == all),
        "the generated set {} has {} recordings instead of {}: remove the folder to generate it again",
        root.display(),
        set.records.len(),
        all.unwrap_or_default()
    );
    Ok(set)
}

/// The set that will be in `folder`.
pub(super) fn planned_layout(layout: &Irmas, songs: &[SongPlan], folder: &Path, name: &str) -> Result<DataSet> {
    let files = songs.iter().flat_map(|song| {
        song.excerpts.iter().map(|excerpt| (excerpt.path.as_str(), song.labels.as_slice(), song.testing))
    });
    layout.planned(folder, name, files)
}

/// The length of each recording in seconds, by its id.
pub(super) fn seconds_of(songs: &[SongPlan]) -> HashMap<String, f64> {
    let excerpts = songs.iter().flat_map(|song| &song.excerpts);
    excerpts.map(|excerpt| (names_of(&excerpt.path).join("/"), excerpt.frames as f64 / 44100.0)).collect()
}

impl Demo {
    /// Number of recordings in the set.
    pub fn recordings(&self) -> usize {
        self.clips_per_class * INSTRUMENTS.len() + self.test_recordings
    }

    /// The reader of the set.
    fn layout(&self) -> Irmas {
        let Demo { training_share_of_test, validation_share_of_test, .. } = *self;
        Irmas { classes: self.classes.clone(), training_share_of_test, validation_share_of_test, ..Irmas::default() }
    }
}

/// Some seconds of a song that is in no generated set, in which the modelled instruments `labels` (indices of [`INSTRUMENTS`]) play:
/// interleaved 16-bit stereo at 44.1 kHz.
pub fn example(labels: &[usize], seconds: f64) -> Vec<i16> {
    let leads: Vec<Instrument> = labels.iter().map(|&label| Instrument::ALL[label]).collect();
    let seed = labels.iter().fold(Seed::new(1).child("example"), |seed, &label| seed.child(INSTRUMENTS[label]));
    Song::draw(&leads, true, seed).excerpt(0, (seconds * 44100.0) as usize, &Models)
}

/// Writes the set into the new or empty folder `into`, completely or not at all.
pub fn write(spec: &Demo, into: &Path, after_recording: AfterRecording) -> Result<Summary> {
    // No folder is read.
    generated::write(spec, &DataDirs { data_dir: PathBuf::new(), cache_dir: PathBuf::new() }, into, after_recording)
}

/// Writes the recordings of the songs; `band` plays those of training and those of testing.
pub(super) fn write_songs<'b>(
    songs: &[SongPlan],
    root: &Path,
    band: impl Sync + Fn(bool) -> &'b dyn Band,
    after_recording: AfterRecording,
) -> Result<Summary> {
    let mut summary = Summary::default();
    for song in songs {
        let count = song.excerpts.len();
        *(if song.testing { &mut summary.testing_recordings } else { &mut summary.training_clips }) += count;
        for excerpt in &song.excerpts {
            summary.bytes += 44 + 4 * excerpt.frames as u64;
            let folder = root.join(&excerpt.path);
            let folder = folder.parent().expect("a recording lies in a folder");
            fs::create_dir_all(folder).with_context(|| format!("create the folder {folder:?}"))?;
        }
    }
    songs.par_iter().try_for_each(|plan| -> Result<()> {
        let song = plan.song();
        plan.excerpts.par_iter().enumerate().try_for_each(|(k, excerpt)| {
            let path = root.join(&excerpt.path);
            write_pcm16(&path, &song.excerpt(k, excerpt.frames, band(plan.testing)), 2, 44100)?;
            if plan.testing {
                let labels: String = plan.labels.iter().map(|&label| format!("{}\t\n", INSTRUMENTS[label])).collect();
                let stem = excerpt.path.strip_suffix(".wav").expect("a recording ends in .wav");
                let path = root.join(format!("{stem}.txt"));
                fs::write(&path, labels).with_context(|| format!("write {path:?}"))?;
            }
            after_recording()?;
            Ok(())
        })
    })?;
    Ok(summary)
}

#[cfg(test)]
mod tests;
