//! Data sets: a spec loads to a list of [`ClipRecord`]s.
//!
//! No recording is opened here: whether a file is readable is known only when it is decoded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use timbre_core::{
    error::UserError,
    labels::{Classes, Labels},
    registry::Fault,
    seed::Seed,
    text::one_line,
};
use timbre_signal::audio::Excerpt;

use crate::remote::{self, Downloads, Url};

pub mod about;
pub mod audioset;
pub mod combined;
pub mod corrections;
pub mod demo;
mod describe;
mod entries;
pub mod esc;
pub mod fma;
pub mod folder;
pub mod generated;
pub mod good_sounds;
pub mod gtzan;
pub mod irmas;
pub mod labels;
pub mod magnatagatune;
pub mod manifest;
pub mod medley_solos;
pub mod medleydb;
pub mod missing;
pub mod mtg_jamendo;
pub mod musicnet;
pub mod nsynth;
pub mod openmic;
pub mod philharmonia;
mod published_counts;
pub mod rendered;
pub mod several;
pub mod split;
pub mod table;
pub mod walk;

pub use about::{About, AboutFile};
pub use describe::{ClassCounts, Description, SubsetCounts, describe};
pub use missing::MissingData;
pub use published_counts::PublishedCounts;

use timbre_core::registry;

registry! {
    /// The data set of an experiment: `[data]`, or a file in the folder `data`.
    pub enum DataSpec: DataKind {
        "irmas" => irmas::Irmas,
        "folder" => folder::Folder,
        "manifest" => manifest::Manifest,
        "audioset" => audioset::AudioSet,
        "esc" => esc::Esc,
        "fma" => fma::Fma,
        "good_sounds" => good_sounds::GoodSounds,
        "gtzan" => gtzan::Gtzan,
        "magnatagatune" => magnatagatune::MagnaTagATune,
        "medley_solos" => medley_solos::MedleySolos,
        "medleydb" => medleydb::MedleyDb,
        "mtg_jamendo" => mtg_jamendo::MtgJamendo,
        "musicnet" => musicnet::MusicNet,
        "nsynth" => nsynth::NSynth,
        "openmic" => openmic::OpenMic,
        "philharmonia" => philharmonia::Philharmonia,
        "several" => several::Several,
        "demo" => demo::Demo,
        "rendered" => rendered::Rendered,
        "combined" => combined::Combined,
    }
}

/// A kind of data set.
pub trait DataKind {
    /// Increase when the same files load to other records (for `demo`: when the sound changes).
    fn version(&self) -> u32;

    /// The recordings in order of their ids. Returns [`MissingData`] if they are not on disk.
    fn load(&self, dirs: &DataDirs) -> Result<DataSet>;

    /// The same set without generating it: the files of a generated set need not exist yet.
    fn load_planned(&self, dirs: &DataDirs) -> Result<DataSet> {
        self.load(dirs)
    }

    /// Learns what is below a `root` that is a URL, so that [`load`](Self::load) finds it in its mirror.
    fn list_remote(&self, dirs: &DataDirs) -> Result<()> {
        match self.common_keys().remote_root() {
            Some(url) => remote::list(&url, &dirs.cache_dir),
            None => Ok(()),
        }
    }

    /// The keys that every kind has.
    fn common_keys(&self) -> &CommonKeys;

    /// The generator, if the program generates the recordings of this kind itself.
    fn generator(&self) -> Option<&dyn generated::Generator> {
        None
    }

    /// The folder into which the files of the set belong; `kind` is the name of the kind.
    fn folder(&self, dirs: &DataDirs, kind: &str) -> PathBuf {
        self.common_keys().root_in(dirs, kind)
    }

    /// The classes, if they are known before the recordings are scanned.
    fn known_classes(&self) -> Option<Classes> {
        None
    }

    /// The set with all recordings that its publisher counts and that are on disk below `root`, where keys of this kind leave some
    /// of them out.
    fn as_published(&self, _root: &Path) -> Option<DataSpec> {
        None
    }

    /// Whether an audio file of the set is meant to be in no recording: it is damaged, or another kind of file.
    fn is_no_recording(&self, _file: &str) -> bool {
        false
    }

    /// The numbers of the publisher, without those of parts that are not read.
    fn published_counts(&self) -> PublishedCounts {
        self.common_keys().about.counts.clone()
    }

    /// Invalid keys of this kind, each with a sentence.
    fn own_faults(&self) -> Vec<Fault> {
        Vec::new()
    }

    /// Invalid keys, each with a sentence.
    fn faults(&self) -> Vec<Fault> {
        let mut faults = self.common_keys().faults();
        if self.common_keys().weight.is_some() {
            faults.push(Fault::new("weight", "is for one of several sets, in a table [[data.sets]]"));
        }
        faults.extend(self.own_faults());
        faults
    }
}

impl DataSpec {
    /// Loads the set. Every error is the user's to correct: [`MissingData`], or a [`UserError`].
    pub fn load(&self, dirs: &DataDirs) -> Result<DataSet> {
        with_recordings(self.load_listed(dirs)?)
    }

    /// [`load`](Self::load) without generating the set.
    pub fn load_planned(&self, dirs: &DataDirs) -> Result<DataSet> {
        with_recordings(self.load_listed_planned(dirs)?)
    }

    /// [`load`](Self::load) without downloading the recordings of a `root` that is a URL: [`Downloads`] brings those that are read.
    pub fn load_listed(&self, dirs: &DataDirs) -> Result<DataSet> {
        self.as_kind().list_remote(dirs).map_err(unless_missing)?;
        self.with_labels(self.as_kind().load(dirs), dirs)
    }

    /// [`load_listed`](Self::load_listed) without generating the set.
    pub fn load_listed_planned(&self, dirs: &DataDirs) -> Result<DataSet> {
        self.as_kind().list_remote(dirs).map_err(unless_missing)?;
        self.with_labels(self.as_kind().load_planned(dirs), dirs)
    }

    /// The set as it was published: with its own classes, and without keys that leave recordings out. False where only the chosen part is
    /// on disk: it then is that part.
    pub fn load_published(&self, dirs: &DataDirs) -> Result<(DataSet, bool)> {
        let kind = self.as_kind();
        kind.list_remote(dirs).map_err(unless_missing)?;
        let whole = kind.as_published(&kind.folder(dirs, self.kind()));
        if let Some(Ok(set)) = whole.map(|whole| whole.as_kind().load(dirs)) {
            return Ok((set, true));
        }
        let is_whole = kind.as_published(&kind.folder(dirs, self.kind())).is_none();
        Ok((kind.load(dirs).map_err(unless_missing)?, is_whole))
    }

    /// The classes, if they are known before the recordings are scanned.
    pub fn known_classes(&self) -> Option<Classes> {
        self.as_kind().known_classes().filter(|_| self.as_kind().common_keys().labels.is_default())
    }

    fn with_labels(&self, set: Result<DataSet>, dirs: &DataDirs) -> Result<DataSet> {
        let common = self.as_kind().common_keys();
        set.and_then(|set| common.labels.apply(set, dirs))
            .and_then(|set| corrections::apply(common.corrections.as_deref(), set, dirs))
            .map_err(unless_missing)
    }
}

/// The set with all of its recordings on disk.
fn with_recordings(set: DataSet) -> Result<DataSet> {
    let paths: Vec<&Path> = set.records.iter().map(|record| record.path.as_path()).collect();
    Downloads::of(&paths).run(|| Ok(())).map_err(unless_missing)?;
    Ok(set)
}

/// An error of a data set as one that the user can correct; [`MissingData`] is one already.
pub fn unless_missing(error: anyhow::Error) -> anyhow::Error {
    if error.is::<MissingData>() { error } else { UserError::from_cause(error) }
}

/// The folders of data and cache on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDirs {
    /// Base folder of relative `root`s.
    pub data_dir: PathBuf,
    /// Where generated sets and the mirrors of URLs are stored.
    pub cache_dir: PathBuf,
}

impl DataDirs {
    /// The folder or file that a key names: below the folder `data`, or in the mirror of a URL.
    pub fn local(&self, location: &str) -> PathBuf {
        remote::local(location, &self.data_dir, &self.cache_dir)
    }
}

/// The keys that every kind of data set has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CommonKeys {
    /// Name of the set: `data/NAME.toml`.
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Folder of the recordings; a relative path starts in the folder `data`. Or a URL (`s3://`, `gs://`, `az://`, `https://`), with the
    /// cargo feature `cloud`. Default: the name of the set; of kind `manifest`, the
    /// folder of the table. Sets of the kinds `demo`, `rendered` and `combined` without `root` are generated in the cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// Only the first so many usable training clips of each class, in bytewise order of their names. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub limit_per_class: Option<usize>,
    /// Draws the clips of `limit_per_class` at random by this seed instead of taking the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_seed: Option<u64>,
    /// How much the recordings of this set count in the fit, where it is one of several sets. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub weight: Option<f64>,
    /// Which classes the set has: other names, several as one, only some of them.
    #[serde(skip_serializing_if = "labels::LabelSpec::is_default")]
    pub labels: labels::LabelSpec,
    /// A table of corrected labels with the columns `recording` and `labels` (classes joined by `;`), which `timbre data label-studio import`
    /// writes; a relative path starts in the folder `data`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corrections: Option<String>,
    /// Where the set comes from.
    pub about: About,
}

impl CommonKeys {
    /// The name for messages and tables.
    pub fn name_or(&self, kind: &str) -> String {
        self.name.as_deref().unwrap_or(kind).to_owned()
    }

    /// The folder of the recordings; without `root`, the folder with the name of the set.
    pub fn root_in(&self, dirs: &DataDirs, kind: &str) -> PathBuf {
        match &self.root {
            Some(root) => dirs.local(root),
            None => dirs.data_dir.join(self.name.as_deref().unwrap_or(kind)),
        }
    }

    /// `root`, if it is a URL.
    pub fn remote_root(&self) -> Option<Url> {
        Url::parse(self.root.as_deref()?)?.ok()
    }

    fn faults(&self) -> Vec<Fault> {
        let mut faults = self.labels.faults();
        if let Some(Err(sentence)) = self.root.as_deref().and_then(Url::parse) {
            faults.push(Fault::new("root", sentence));
        }
        faults.extend(self.about.faults());
        if self.limit_per_class == Some(0) {
            faults.push(Fault::new("limit_per_class", "must be at least 1"));
        }
        if self.limit_seed.is_some() && self.limit_per_class.is_none() {
            faults.push(Fault::new("limit_seed", "is for `limit_per_class`, which is not set"));
        }
        faults
    }
}

/// A recording of a data set, before decoding.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipRecord {
    /// Path below the root of the set, with `/`, in Unicode NFC: the name of the clip in every table.
    pub id: String,
    /// Path of the file.
    pub path: PathBuf,
    /// The part of the file, if the recording is not all of it.
    pub excerpt: Option<Excerpt>,
    /// Indices into the classes of the set, ascending. At least one class is known.
    pub labels: Labels,
    /// Song or performer: clips of one group are never divided by a split.
    pub group: String,
    /// The subset that the makers of the set declare.
    pub subset: Subset,
    /// The official fold, if the set has folds.
    pub fold: Option<String>,
    /// Other properties of the recording (IRMAS: `genre`, `drums`).
    pub tags: BTreeMap<String, String>,
    /// How much it counts in the fit of models that take weights; usually 1.
    pub weight: f64,
}

impl ClipRecord {
    /// A whole file of the training subset that is a song of its own.
    pub fn new(id: impl Into<String>, path: impl Into<PathBuf>, labels: impl Into<Labels>) -> ClipRecord {
        let id = id.into();
        ClipRecord {
            path: path.into(),
            excerpt: None,
            labels: labels.into(),
            group: id.clone(),
            subset: Subset::Training,
            fold: None,
            tags: BTreeMap::new(),
            weight: 1.0,
            id,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subset {
    Training,
    Validation,
    Testing,
}

impl Subset {
    pub const ALL: [Subset; 3] = [Subset::Training, Subset::Validation, Subset::Testing];

    pub fn name(self) -> &'static str {
        match self {
            Subset::Training => "training",
            Subset::Validation => "validation",
            Subset::Testing => "testing",
        }
    }
}

/// A loaded data set. Records are sorted bytewise by id.
#[derive(Clone, Debug, PartialEq)]
pub struct DataSet {
    pub name: String,
    pub classes: Classes,
    pub records: Vec<ClipRecord>,
    /// What the loader found and left out, such as an empty class folder, in sentences.
    pub notes: Vec<String>,
}

impl DataSet {
    /// Whether the set names no songs, so that every file counts as a song of its own.
    pub fn has_no_songs(&self) -> bool {
        let is_own = |record: &ClipRecord| record.group == Excerpt::split_name(&record.id).0;
        !self.records.is_empty() && self.records.iter().all(is_own)
    }

    /// What a reader of the results should know about the recordings, whatever the experiment.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.notes.clone();
        if self.has_no_songs() {
            warnings.push(format!(
                "every file counts as a song of its own: `{}` has no `group`, so clips of one recording may be on both sides of \
                 a split, and intervals are over files",
                self.name
            ));
        }
        let first: &[usize] = self.records.first().map_or(&[], |record| &record.labels);
        if let ([only], true) = (first, self.records.iter().all(|record| *record.labels == *first)) {
            warnings.push(format!(
                "all recordings are of one class, {}: a model cannot be wrong, and its scores mean nothing",
                self.classes.name(*only)
            ));
        }
        warnings
    }
}

/// The first names of a list on one line, and how many more there are: `a, b, c and 5 more`.
pub fn some_of<'a>(most: usize, names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let shown: Vec<String> = names.iter().take(most).map(|name| one_line(name)).collect();
    let shown = shown.join(", ");
    if names.len() > most { format!("{shown} and {} more", names.len() - most) } else { shown }
}

/// Whether a key is left out of the resolved configuration, so that the hash of a run without it stays the same.
fn is_false(truth: &bool) -> bool {
    !truth
}

/// Whether a share is left out of the resolved configuration.
fn is_zero(share: &f64) -> bool {
    *share == 0.0
}

/// How many names a message lists, one a line, before it counts the rest.
const LISTED: usize = 20;

/// The first names of a list, one a line.
fn listed(names: &[String]) -> String {
    let mut text: String = names.iter().take(LISTED).map(|name| format!("\n  {name}")).collect();
    if names.len() > LISTED {
        text += &format!("\n  … and {} more", names.len() - LISTED);
    }
    text
}

/// The subset that a folder or a cell names.
fn subset_named(word: &str) -> Option<Subset> {
    match word.trim().to_lowercase().as_str() {
        "training" | "train" => Some(Subset::Training),
        "validation" | "valid" | "val" | "dev" => Some(Subset::Validation),
        "testing" | "test" | "eval" | "evaluation" => Some(Subset::Testing),
        _ => None,
    }
}

/// Indices of the records to use, ascending: of the training subset the first `limit` usable records of each class, in
/// bytewise order of their ids, or in a random order; of the other subsets every usable record.
///
/// A record with several labels counts for each of them, and is used while one of them is below the limit. The place of a record
/// in a random order follows from its id, so another record does not change it.
pub fn limit_per_class(
    records: &[ClipRecord],
    limit: Option<usize>,
    random: Option<Seed>,
    usable: impl Fn(&ClipRecord) -> bool,
) -> Vec<usize> {
    let mut kept: Vec<usize> = (0..records.len()).filter(|&i| usable(&records[i])).collect();
    let Some(limit) = limit else { return kept };
    kept.sort_by_cached_key(|&i| (random.map(|seed| seed.child(&records[i].id).number()), records[i].id.as_bytes()));
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    kept.retain(|&i| {
        let record = &records[i];
        if record.subset != Subset::Training {
            return true;
        }
        let room = record.labels.iter().any(|label| counts.get(label).copied().unwrap_or(0) < limit);
        if room {
            record.labels.iter().for_each(|&label| *counts.entry(label).or_default() += 1);
        }
        room
    });
    kept.sort_unstable();
    kept
}

/// Sorts by id and refuses duplicate ids, which tables could not tell apart.
fn sorted_by_id(mut records: Vec<ClipRecord>, name: &str) -> Result<Vec<ClipRecord>> {
    records.sort_by(|a, b| a.id.as_bytes().cmp(b.id.as_bytes()));
    if let Some(pair) = records.windows(2).find(|pair| pair[0].id == pair[1].id) {
        anyhow::bail!(
            "read data set `{name}`: two files have the same name apart from the encoding of accents: {:?} and \
             {:?}; remove or rename one",
            pair[0].path,
            pair[1].path
        );
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn record(id: &str, label: usize, subset: Subset) -> ClipRecord {
        ClipRecord { group: id[..1].into(), subset, ..ClipRecord::new(id, id, vec![label]) }
    }

    #[test]
    fn the_limit_counts_usable_training_clips_in_bytewise_order_and_keeps_other_subsets() {
        let records = [
            record("b/3", 1, Subset::Training),
            record("a/10", 0, Subset::Training),
            record("a/2", 0, Subset::Training),
            record("a/1", 0, Subset::Training),
            record("t/1", 0, Subset::Testing),
            record("t/2", 0, Subset::Testing),
            record("t/3", 0, Subset::Testing),
        ];
        assert_eq!(limit_per_class(&records, Some(2), None, |_| true), [0, 1, 3, 4, 5, 6], "a/1, a/10 come before a/2");
        assert_eq!(limit_per_class(&records, Some(2), None, |r| r.id != "a/1"), [0, 1, 2, 4, 5, 6]);
        assert_eq!(limit_per_class(&records, None, None, |r| r.id != "t/2"), [0, 1, 2, 3, 4, 6]);
    }

    #[test]
    fn a_random_limit_depends_on_the_seed_and_not_on_the_order_or_on_other_records() {
        let records: Vec<ClipRecord> = (0..40).map(|n| record(&format!("a/{n:02}"), 0, Subset::Training)).collect();
        let ids = |records: &[ClipRecord], seed: u64| -> BTreeSet<String> {
            let kept = limit_per_class(records, Some(10), Some(Seed::new(seed)), |_| true);
            kept.into_iter().map(|i| records[i].id.clone()).collect()
        };
        let first = ids(&records, 1);
        assert_eq!(first.len(), 10);
        assert_ne!(first, ids(&records, 2));
        let mut reversed = records.clone();
        reversed.reverse();
        assert_eq!(ids(&reversed, 1), first);
        let fewer: Vec<ClipRecord> = records[..39].to_vec();
        assert!(ids(&fewer, 1).intersection(&first).count() >= 9);
    }

    #[test]
    fn a_set_without_songs_and_a_set_of_one_class_are_warned_of() {
        let own = |id: &str, label: usize| ClipRecord { group: id.into(), ..record(id, label, Subset::Training) };
        let set = |records: Vec<ClipRecord>| DataSet {
            name: "birds".into(),
            classes: Classes::new(["p", "q"]),
            records,
            notes: Vec::new(),
        };
        assert!(
            set(vec![record("a/1", 0, Subset::Training), record("b/1", 1, Subset::Training)]).warnings().is_empty()
        );
        let warnings = set(vec![own("a/1", 0), own("b/1", 1)]).warnings();
        assert!(warnings.len() == 1 && warnings[0].starts_with("every file counts as a song of its own: `birds`"));
        let warnings = set(vec![own("a/1", 1), own("a/2", 1)]).warnings();
        assert!(warnings.len() == 2 && warnings[1].starts_with("all recordings are of one class, q:"), "{warnings:?}");
    }

    #[test]
    fn a_long_list_of_names_is_cut() {
        assert_eq!(some_of(5, ["a", "b"]), "a, b");
        assert_eq!(some_of(5, ["a\nb", "c"]).lines().count(), 1);
        assert_eq!(some_of(5, ["a", "b", "c", "d", "e", "f", "g"]), "a, b, c, d, e and 2 more");
    }

    #[test]
    fn every_kind_reads_its_common_keys_and_refuses_others() {
        for kind in DataSpec::KINDS {
            let text = format!(
                "kind = \"{kind}\"\nuse = \"n\"\nroot = \"r\"\nlimit_per_class = 3\nabout = {{ title = \"t\" }}\n"
            );
            let spec: DataSpec = toml::from_str(&text).unwrap();
            let common = spec.as_kind().common_keys();
            assert_eq!(
                (common.name.as_deref(), common.root.as_deref(), common.limit_per_class),
                (Some("n"), Some("r"), Some(3))
            );
            assert_eq!(common.about.title.as_deref(), Some("t"));
            assert!(toml::from_str::<DataSpec>(&format!("{text}rooot = 1\n")).is_err());
        }
    }
}
