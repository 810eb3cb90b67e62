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

use super::irmas::{INSTRUMENTS, Irmas, IrmasSubset, classes_fault, is_in_layout, shares_faults};
use super::walk::names_of;
use super::{CommonKeys, DataDirs, DataKind, DataSet, MissingData};
use plan::SongPlan;
use timbre_core::{labels::Classes, registry::Fault};
use timbre_signal::audio::wav_write::write_pcm16;

mod drums_and_bass;
mod rng;
mod filter;
mod piano;
mod plan;
mod mixing;
mod composition;
mod song;
mod plucked_string;
mod wavetable;
mod instruments;

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

    fn generator(&self) -> Option<&Demo> {
        Some(self)
    }

    fn load(&self, dirs: &DataDirs) -> Result<DataSet> {
        let common = &self.common;
        let name = common.name_or("demo");
        let root = match &common.root {
            Some(_) => common.root_below(&dirs.data_dir, "demo"),
            None => self.ensure_in_cache(&dirs.cache_dir, &|| Ok(()))?,
        };
        if !is_in_layout(&root) {
            return Err(MissingData::new(&name, vec![root.join("IRMAS-TrainingData")], root, common).into());
        }
        let test_folders: Vec<u32> =
            (1..=3).filter(|n| root.join(format!("IRMAS-TestingData-Part{n}")).is_dir()).collect();
        let mut parts = vec![IrmasSubset::Training];
        if !test_folders.is_empty() {
            parts.push(IrmasSubset::Testing);
        }
        let loader = Irmas { parts, test_folders, ..self.layout() };
        let set = loader.load_from(&root, &name)?;
        ensure!(
            common.root.is_some() || self.classes.is_some() || set.records.len() == self.recordings(),
            "the generated set {} has {} recordings instead of {}: remove the folder to generate it again",
            root.display(),
            set.records.len(),
            self.recordings()
        );
        Ok(set)
    }

    fn load_planned(&self, dirs: &DataDirs) -> Result<DataSet> {
        if self.is_in_place(&dirs.cache_dir) {
            return self.load(dirs);
        }
        let songs = plan::plan(self);
        let files = songs.iter().flat_map(|song| {
            song.excerpts.iter().map(|excerpt| (excerpt.path.as_str(), song.labels.as_slice(), song.testing))
        });
        self.layout().planned(&self.cache_folder(&dirs.cache_dir), &self.common.name_or("demo"), files)
    }
}

/// A callback after each recording, to count it or to cancel.
pub type AfterRecording<'a> = &'a (dyn Fn() -> Result<()> + Sync);

/// Numbers and size of a generated set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    pub folder: PathBuf,
    pub classes: usize,
    pub training_clips: usize,
    pub testing_recordings: usize,
    pub songs: usize,
    /// Total size of the recordings.
    pub bytes: u64,
}

impl Demo {
    /// Number of recordings in the set.
    pub fn recordings(&self) -> usize {
        self.clips_per_class * INSTRUMENTS.len() + self.test_recordings
    }

    /// The length of each recording in seconds, by its id, without generating it.
    pub fn planned_seconds(&self) -> HashMap<String, f64> {
        let songs = plan::plan(self);
        let excerpts = songs.iter().flat_map(|song| &song.excerpts);
        excerpts.map(|excerpt| (names_of(&excerpt.path).join("/"), excerpt.frames as f64 / 44100.0)).collect()
    }

    /// The reader of the set.
    fn layout(&self) -> Irmas {
        let Demo { training_share_of_test, validation_share_of_test, .. } = *self;
        Irmas { classes: self.classes.clone(), training_share_of_test, validation_share_of_test, ..Irmas::default() }
    }

    /// Whether nothing has to be generated: the set is in the cache, or in a folder of its own.
    pub fn is_in_place(&self, cache_dir: &Path) -> bool {
        self.common.root.is_some() || self.cache_folder(cache_dir).is_dir()
    }

    /// The folder of this set below `cache_dir`.
    pub fn cache_folder(&self, cache_dir: &Path) -> PathBuf {
        let sounds = (VERSION, self.clips_per_class, self.test_recordings, self.excerpts_per_song, self.seed);
        let shifted = if self.shifted { " shifted" } else { "" };
        let hash = blake3::hash(format!("{sounds:?}{shifted}").as_bytes()).to_hex();
        cache_dir.join(format!("demo-{}", &hash[..12]))
    }

    /// Generates the set in the cache unless it is there, and returns its folder. Several threads call `after_recording` after
    /// each recording; its error cancels the work.
    ///
    /// If two processes call this at once, the second waits and uses the set of the first.
    pub fn ensure_in_cache(&self, cache_dir: &Path, after_recording: AfterRecording) -> Result<PathBuf> {
        let folder = self.cache_folder(cache_dir);
        if folder.is_dir() {
            return Ok(folder);
        }
        let name = folder.file_name().expect("the folder has a name").to_string_lossy().into_owned();
        fs::create_dir_all(cache_dir).with_context(|| format!("create the cache folder {cache_dir:?}"))?;
        let lock_path = cache_dir.join(format!("{name}.lock"));
        let lock = fs::File::create(&lock_path).with_context(|| format!("create the lock file {lock_path:?}"))?;
        // On a file system without locks, both processes generate the set, and the second to finish uses that of the first.
        if lock.lock().is_ok() && folder.is_dir() {
            return Ok(folder);
        }
        if let Err(error) = write(self, &folder, after_recording)
            && !folder.is_dir()
        {
            return Err(error);
        }
        Ok(folder)
    }
}

/// Removes the partial sets that killed processes left. A process locks its own.
fn remove_partial_sets(parent: &Path, prefix: &str) -> Result<()> {
    for (other, path) in super::walk::hidden_folders_in(parent)? {
        if other.starts_with(prefix) && fs::File::open(&path).is_ok_and(|folder| folder.try_lock().is_ok()) {
            fs::remove_dir_all(&path).with_context(|| format!("remove the partial data set {path:?}"))?;
        }
    }
    Ok(())
}

/// Writes the set into the new or empty folder `into`, completely or not at all. Several threads call `after_recording` after
/// each recording; its error cancels the work. A partial set of a killed process is removed by the next call.
pub fn write(spec: &Demo, into: &Path, after_recording: AfterRecording) -> Result<Summary> {
    if let Some(Fault { key, sentence }) = spec.faults().first() {
        bail!("generate the demo data set: `{key}`: {sentence}");
    }
    let holds_something = into.exists() && into.read_dir().map_or(true, |mut entries| entries.next().is_some());
    ensure!(
        !holds_something,
        "generate the demo data set: {into:?} already exists and is not empty; choose another folder, or remove it"
    );
    let into = std::path::absolute(into).with_context(|| format!("find the folder {into:?}"))?;
    let parent = into.parent().with_context(|| format!("{into:?} has no folder above it"))?;
    let name = into.file_name().with_context(|| format!("{into:?} has no name"))?.to_string_lossy().into_owned();
    fs::create_dir_all(parent).with_context(|| format!("create the folder {parent:?}"))?;
    let prefix = format!(".{name}.partial-");
    remove_partial_sets(parent, &prefix)?;
    let partial = tempfile::Builder::new()
        .prefix(&prefix)
        .tempdir_in(parent)
        .with_context(|| format!("create a folder in {parent:?}"))?;
    let lock = fs::File::open(partial.path()).with_context(|| format!("open the folder {:?}", partial.path()))?;
    // Without locks on this file system nothing is removed.
    let _ = lock.try_lock();
    let summary = write_songs(&plan::plan(spec), partial.path(), &into, after_recording)?;
    make_readable(partial.path())?;
    let _ = fs::remove_dir(&into);
    fs::rename(partial.path(), &into).with_context(|| format!("move the demo data set to {into:?}"))?;
    // The folder was moved: there is nothing to remove.
    let _ = partial.keep();
    Ok(summary)
}

fn write_songs(songs: &[SongPlan], root: &Path, into: &Path, after_recording: AfterRecording) -> Result<Summary> {
    let mut summary = Summary {
        folder: into.to_owned(),
        classes: INSTRUMENTS.len(),
        training_clips: 0,
        testing_recordings: 0,
        songs: songs.len(),
        bytes: 0,
    };
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
            write_pcm16(&path, &song.excerpt(k, excerpt.frames), 2, 44100)?;
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

/// Gives the folder the usual permissions: temporary folders are private to their owner.
fn make_readable(folder: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let sibling = folder.join("IRMAS-TrainingData");
        let usual = fs::metadata(&sibling).with_context(|| format!("look at {sibling:?}"))?.permissions().mode();
        fs::set_permissions(folder, fs::Permissions::from_mode(usual))
            .with_context(|| format!("set the permissions of {folder:?}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
