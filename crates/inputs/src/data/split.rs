//! Splits a data set into training, validation and test sets without dividing songs.
//!
//! Hold-out differs from scikit-learn's `GroupShuffleSplit`: shares count recordings, not songs, and classes are balanced as
//! well as whole songs allow. The held-out songs depend only on the seed and the songs, not on the order of the records: each
//! song derives its place in the queue from its own name.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ClipRecord, Subset};
use timbre_core::{registry::Fault, seed::Seed};

mod folds;

use folds::{by_fold, cross_validation};

/// Increase when the same records, spec and seed give another split.
pub const VERSION: u32 = 1;

/// What tables, reports and comparisons say of a split that divides songs.
pub const LEAKY: &str = "leaky split: clips of one song may be in training and test, so scores are too good";

/// How to split the recordings: `[split]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SplitSpec {
    Holdout(Holdout),
    Official(Official),
    Folds(Folds),
    TestOnly(TestOnly),
    CrossValidation(CrossValidation),
    Random(Random),
}

/// Holds out a share of the training recordings, in whole songs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Holdout {
    /// Share of the recordings of each class for testing.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub test: f64,
    /// Share of the recordings of each class for validation, on which thresholds and epochs are chosen.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub validation: f64,
    /// Seed of the choice of songs. Default: the seed of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl Default for Holdout {
    fn default() -> Self {
        Holdout { test: 0.2, validation: 0.0, seed: None }
    }
}

/// The subsets that the makers of the set declare.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Official {
    /// Share of the training recordings for validation, in whole songs; for sets without a declared validation subset.
    /// Default: 0.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub validation: f64,
    /// Share of the training recordings, in whole songs, that is evaluated beside the test set as a split `held_out` of its own:
    /// it shows how a model does on songs like its training songs. Default: 0.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub held_out: f64,
}

/// Whether a share is left out of the resolved configuration, so that the hash of a run without the key stays the same.
fn is_zero(share: &f64) -> bool {
    *share == 0.0
}

/// Splits by the official folds of the set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Folds {
    /// Folds for testing.
    pub test: Vec<String>,
    /// Folds for validation. All others are for training.
    pub validation: Vec<String>,
}

impl Default for Folds {
    fn default() -> Self {
        Folds { test: vec!["1".to_owned()], validation: Vec::new() }
    }
}

/// Every recording is a test recording: for the models of another run (`models_from`), on recordings that they were not trained on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TestOnly {}

/// Holds out a share of the training recordings, recording by recording: clips of one song may be on both sides. To repeat published
/// numbers that were measured so. Refused where several recordings are of one song, unless `leaky = true`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Random {
    /// Share of the recordings of each class for testing.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub test: f64,
    /// Share of the recordings of each class for validation.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub validation: f64,
    /// Seed of the choice of recordings. Default: the seed of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Divides songs, which makes scores too good. Tables, reports and comparisons say so. Default: false.
    #[serde(skip_serializing_if = "super::is_false")]
    pub leaky: bool,
}

impl Default for Random {
    fn default() -> Self {
        Random { test: 0.2, validation: 0.0, seed: None, leaky: false }
    }
}

impl Random {
    fn holdout(&self) -> Holdout {
        Holdout { test: self.test, validation: self.validation, seed: self.seed }
    }
}

/// Tests on each fold once: seed 1 on the first fold, seed 2 on the second, and so on, so that the tables show each fold as a seed,
/// and their mean and deviation. With `seeds = [1, 2, 3, 4, 5]` all of five folds are tested.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CrossValidation {
    /// The number of folds of whole songs with similar shares of each class; "official" for the folds of the set; "songs" to
    /// leave one song out at a time. Default: 5.
    pub folds: FoldChoice,
    /// Share of the other recordings for validation, in whole songs. Default: 0.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub validation: f64,
    /// Seed of the assignment of songs to folds, which is the same for all seeds of the run. Default: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// The folds of a cross-validation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum FoldChoice {
    Number(#[schemars(range(min = 2))] usize),
    Named(NamedFolds),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NamedFolds {
    Official,
    Songs,
}

impl Default for CrossValidation {
    fn default() -> Self {
        CrossValidation { folds: FoldChoice::Number(5), validation: 0.0, seed: None }
    }
}

impl Default for SplitSpec {
    fn default() -> Self {
        SplitSpec::Holdout(Holdout::default())
    }
}

impl SplitSpec {
    pub const KINDS: &'static [&'static str] =
        &["holdout", "official", "folds", "test_only", "cross_validation", "random"];

    /// Whether clips of one song may be on both sides.
    pub fn is_leaky(&self) -> bool {
        matches!(self, SplitSpec::Random(Random { leaky: true, .. }))
    }

    /// The kind in a TOML file.
    pub fn kind(&self) -> &'static str {
        match self {
            SplitSpec::Holdout(_) => "holdout",
            SplitSpec::Official(_) => "official",
            SplitSpec::Folds(_) => "folds",
            SplitSpec::TestOnly(_) => "test_only",
            SplitSpec::CrossValidation(_) => "cross_validation",
            SplitSpec::Random(_) => "random",
        }
    }

    /// Whether only recordings of the declared training subset take part.
    pub fn divides_training_alone(&self) -> bool {
        match self {
            SplitSpec::Holdout(_) | SplitSpec::Random(_) => true,
            SplitSpec::CrossValidation(spec) => spec.folds != FoldChoice::Named(NamedFolds::Official),
            SplitSpec::Official(_) | SplitSpec::Folds(_) | SplitSpec::TestOnly(_) => false,
        }
    }

    /// The number of folds of a cross-validation of these recordings.
    pub fn number_of_folds(&self, records: &[&ClipRecord]) -> Option<usize> {
        let SplitSpec::CrossValidation(spec) = self else { return None };
        let distinct = |names: &mut dyn Iterator<Item = &str>| names.collect::<BTreeSet<_>>().len();
        Some(match spec.folds {
            FoldChoice::Number(n) => n,
            FoldChoice::Named(NamedFolds::Official) => distinct(&mut records.iter().filter_map(|r| r.fold.as_deref())),
            FoldChoice::Named(NamedFolds::Songs) => distinct(&mut records.iter().map(|r| r.group.as_str())),
        })
    }

    /// Whether there can be validation recordings. The makers of a set may declare some.
    pub fn may_have_validation(&self) -> bool {
        match self {
            SplitSpec::Holdout(holdout) => holdout.validation > 0.0,
            SplitSpec::Official(_) => true,
            SplitSpec::Folds(folds) => !folds.validation.is_empty(),
            SplitSpec::TestOnly(_) => false,
            SplitSpec::CrossValidation(spec) => spec.validation > 0.0,
            SplitSpec::Random(random) => random.validation > 0.0,
        }
    }

    /// Invalid keys, each with a sentence.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut fault = |key: &str, sentence: String| faults.push(Fault::new(key, sentence));
        match self {
            SplitSpec::TestOnly(_) => {}
            SplitSpec::Official(official) => {
                let (validation, held_out) = (official.validation, official.held_out);
                if !(0.0..1.0).contains(&validation) {
                    fault("validation", format!("{validation} is not a share from 0 to below 1"));
                }
                if !(0.0..1.0).contains(&held_out) {
                    fault("held_out", format!("{held_out} is not a share from 0 to below 1"));
                } else if validation < 1.0 && held_out + validation >= 1.0 {
                    let both = format!("held_out {held_out} and validation {validation}");
                    fault("held_out", format!("{both} leave nothing to train on"));
                }
            }
            SplitSpec::Random(random) => return SplitSpec::Holdout(random.holdout()).faults(),
            SplitSpec::Holdout(holdout) => {
                let (test, validation) = (holdout.test, holdout.validation);
                if !(test > 0.0 && test < 1.0) {
                    fault("test", format!("{test} is not a share between 0 and 1"));
                }
                if !(0.0..1.0).contains(&validation) {
                    fault("validation", format!("{validation} is not a share from 0 to below 1"));
                } else if test < 1.0 && test + validation >= 1.0 {
                    fault("validation", format!("test {test} and validation {validation} leave nothing to train on"));
                }
            }
            SplitSpec::CrossValidation(spec) => {
                if matches!(spec.folds, FoldChoice::Number(0 | 1)) {
                    fault("folds", "must be at least 2: each fold is tested with a model of the others".into());
                }
                if !(0.0..1.0).contains(&spec.validation) {
                    fault("validation", format!("{} is not a share from 0 to below 1", spec.validation));
                }
            }
            SplitSpec::Folds(folds) => {
                if folds.test.is_empty() {
                    fault("test", "is empty; name at least one fold".into());
                }
                if let Some(both) = folds.validation.iter().find(|fold| folds.test.contains(fold)) {
                    fault("validation", format!("fold {both:?} is also in `test`"));
                }
            }
        }
        faults
    }
}

/// Indices of the records of each set, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Splits {
    pub train: Vec<usize>,
    pub validation: Vec<usize>,
    pub test: Vec<usize>,
    /// Recordings like the training recordings, evaluated beside the test set.
    pub held_out: Vec<usize>,
}

impl Splits {
    /// The sets that are predicted and evaluated, with their names in the tables.
    pub fn evaluated(&self) -> [(&'static str, &[usize]); 3] {
        [("validation", &self.validation), ("test", &self.test), ("held_out", &self.held_out)]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SplitSet {
    Train,
    Validation,
    Test,
    HeldOut,
}

/// Splits `records`. A hold-out and folds of songs use the training subset only; `folds` and `official` use all. `number` is the
/// seed of the run as it is written, which chooses the tested fold of a cross-validation.
pub fn split(records: &[&ClipRecord], n_classes: usize, spec: &SplitSpec, seed: Seed, number: u64) -> Result<Splits> {
    if let Some(Fault { key, sentence }) = spec.faults().first() {
        bail!("split the recordings: `{key}` {sentence}");
    }
    let sets = match spec {
        SplitSpec::Holdout(holdout) => hold_out(records, n_classes, holdout, seed)?,
        SplitSpec::Random(random) => {
            if !random.leaky {
                check_no_song_has_several(records)?;
            }
            // Every recording is a song of its own.
            let alone: Vec<ClipRecord> =
                records.iter().map(|&record| ClipRecord { group: record.id.clone(), ..record.clone() }).collect();
            hold_out(&alone.iter().collect::<Vec<_>>(), n_classes, &random.holdout(), seed)?
        }
        SplitSpec::Official(official) => {
            let holdout = Holdout { test: official.held_out, validation: official.validation, seed: None };
            let held = hold_out(records, n_classes, &holdout, seed)?;
            let set = |(record, held): (&&ClipRecord, Option<SplitSet>)| match record.subset {
                Subset::Training => held.map(|set| if set == SplitSet::Test { SplitSet::HeldOut } else { set }),
                Subset::Validation => Some(SplitSet::Validation),
                Subset::Testing => Some(SplitSet::Test),
            };
            records.iter().zip(held).map(set).collect()
        }
        SplitSpec::Folds(folds) => by_fold(records, folds)?,
        SplitSpec::TestOnly(_) => vec![Some(SplitSet::Test); records.len()],
        SplitSpec::CrossValidation(cross) => {
            let all = spec.number_of_folds(records).unwrap_or(0).max(1) as u64;
            cross_validation(records, n_classes, cross, seed, (number.wrapping_sub(1) % all) as usize)?
        }
    };
    if !spec.is_leaky() {
        check_songs_are_whole(records, &sets)?;
    }
    let mut splits = Splits::default();
    for (i, set) in sets.iter().enumerate() {
        match set {
            Some(SplitSet::Train) => splits.train.push(i),
            Some(SplitSet::Validation) => splits.validation.push(i),
            Some(SplitSet::Test) => splits.test.push(i),
            Some(SplitSet::HeldOut) => splits.held_out.push(i),
            None => {}
        }
    }
    check_sets_are_not_empty(records, spec, &splits)?;
    Ok(splits)
}

/// A song of a hold-out: its recordings, its number of recordings per class, and the set it was assigned to.
struct Song<'a> {
    name: &'a str,
    members: Vec<usize>,
    per_class: Vec<usize>,
    taken: Option<SplitSet>,
}

/// The songs of the recordings that take part, by name.
fn songs_of<'a>(
    records: &[&'a ClipRecord],
    n_classes: usize,
    takes_part: impl Fn(&ClipRecord) -> bool,
) -> Result<Vec<Song<'a>>> {
    let mut by_name: BTreeMap<&str, Song<'_>> = BTreeMap::new();
    for (i, record) in records.iter().enumerate().filter(|(_, record)| takes_part(record)) {
        let song = by_name.entry(&record.group).or_insert_with(|| Song {
            name: &record.group,
            members: Vec::new(),
            per_class: vec![0; n_classes],
            taken: None,
        });
        song.members.push(i);
        for &label in &record.labels {
            ensure!(label < n_classes, "split the recordings: {:?} has class {label} of {n_classes}", record.id);
            song.per_class[label] += 1;
        }
    }
    Ok(by_name.into_values().collect())
}

/// The number of recordings of each class.
fn class_sums(songs: &[Song<'_>], n_classes: usize) -> Vec<usize> {
    let mut whole = vec![0usize; n_classes];
    for song in songs {
        song.per_class.iter().zip(&mut whole).for_each(|(n, sum)| *sum += n);
    }
    whole
}

fn hold_out(records: &[&ClipRecord], n_classes: usize, spec: &Holdout, seed: Seed) -> Result<Vec<Option<SplitSet>>> {
    let seed = spec.seed.map_or(seed, Seed::new).child("holdout");
    let mut songs = songs_of(records, n_classes, |record| record.subset == Subset::Training)?;
    let whole = class_sums(&songs, n_classes);
    assign(&mut songs, &whole, spec.test, SplitSet::Test, seed.child("test"));
    assign(&mut songs, &whole, spec.validation, SplitSet::Validation, seed.child("validation"));
    let mut sets = vec![None; records.len()];
    for song in &songs {
        song.members.iter().for_each(|&i| sets[i] = Some(song.taken.unwrap_or(SplitSet::Train)));
    }
    Ok(sets)
}

/// Assigns songs to `set` until it has its share of each class: along the queue, a song is taken if that brings the counts
/// closer to the share. No class loses its last training song; a class without a taken song gives its smallest one, if it has
/// another.
fn assign(songs: &mut [Song<'_>], whole: &[usize], share: f64, set: SplitSet, seed: Seed) {
    if share <= 0.0 {
        return;
    }
    songs.sort_by_key(|song| (seed.child(song.name).number(), song.name));
    let mut have = vec![0usize; whole.len()];
    let mut left: Vec<usize> = vec![0; whole.len()];
    for song in songs.iter().filter(|song| song.taken.is_none()) {
        song.classes().for_each(|class| left[class] += 1);
    }
    for song in songs.iter_mut().filter(|song| song.taken.is_none()) {
        // Squared distance to the share, each class in units of its own size.
        let change: f64 = song
            .classes()
            .map(|class| {
                let distance = have[class] as f64 - share * whole[class] as f64;
                let more = song.per_class[class] as f64;
                more * (2.0 * distance + more) / whole[class] as f64
            })
            .sum();
        if change < 0.0 && song.classes().all(|class| left[class] > 1) {
            song.assign_to(set, &mut have, &mut left);
        }
    }
    for class in 0..whole.len() {
        if have[class] > 0 || left[class] < 2 {
            continue;
        }
        let smallest = songs
            .iter_mut()
            .filter(|song| song.taken.is_none() && song.per_class[class] > 0)
            .filter(|song| song.classes().all(|class| left[class] > 1))
            .min_by_key(|song| song.members.len());
        if let Some(song) = smallest {
            song.assign_to(set, &mut have, &mut left);
        }
    }
}

impl Song<'_> {
    fn classes(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.per_class.len()).filter(|&class| self.per_class[class] > 0)
    }

    fn assign_to(&mut self, set: SplitSet, have: &mut [usize], left: &mut [usize]) {
        self.taken = Some(set);
        for class in 0..self.per_class.len() {
            have[class] += self.per_class[class];
            left[class] -= usize::from(self.per_class[class] > 0);
        }
    }
}

/// A declared split divides a song.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "split the recordings: a song is in two sets: {:?} and {:?} belong to {song:?}, but are in different subsets; choose the \
     split `holdout`, or correct the `group` of the data set",
    ids[0],
    ids[1]
)]
pub struct DividedSong {
    /// Two of its recordings, in different subsets.
    pub ids: [String; 2],
    pub song: String,
}

/// A random split would divide songs.
fn check_no_song_has_several(records: &[&ClipRecord]) -> Result<()> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    records.iter().for_each(|record| *counts.entry(&record.group).or_default() += 1);
    let several = counts.values().filter(|&&count| count > 1).count();
    ensure!(
        several == 0,
        "split the recordings with `random`: {several} of {} songs have several recordings, which would be on both sides, so that \
         scores are too good; choose the split `holdout`, or write `leaky = true` to repeat numbers that were measured so",
        counts.len()
    );
    Ok(())
}

fn check_songs_are_whole(records: &[&ClipRecord], sets: &[Option<SplitSet>]) -> Result<()> {
    let mut set_of: BTreeMap<&str, (SplitSet, &str)> = BTreeMap::new();
    for (record, set) in records.iter().zip(sets) {
        let Some(set) = *set else { continue };
        let (first, other) = *set_of.entry(&record.group).or_insert((set, &record.id));
        if first != set {
            let (ids, song) = ([other.to_owned(), record.id.clone()], record.group.clone());
            return Err(DividedSong { ids, song }.into());
        }
    }
    Ok(())
}

fn check_sets_are_not_empty(records: &[&ClipRecord], spec: &SplitSpec, splits: &Splits) -> Result<()> {
    let wants_validation = match spec {
        SplitSpec::Holdout(holdout) => holdout.validation > 0.0,
        SplitSpec::Folds(folds) => !folds.validation.is_empty(),
        SplitSpec::Official(_) | SplitSpec::TestOnly(_) => false,
        SplitSpec::CrossValidation(spec) => spec.validation > 0.0,
        SplitSpec::Random(random) => random.validation > 0.0,
    };
    let wants_held_out = matches!(spec, SplitSpec::Official(official) if official.held_out > 0.0);
    let empty = match () {
        _ if splits.train.is_empty() && !matches!(spec, SplitSpec::TestOnly(_)) => "train on",
        _ if splits.test.is_empty() => "test on",
        _ if wants_validation && splits.validation.is_empty() => "validate on",
        _ if wants_held_out && splits.held_out.is_empty() => "hold out",
        _ => return Ok(()),
    };
    let count = |subset: Subset| records.iter().filter(|record| record.subset == subset).count();
    let mut songs: Vec<&str> = records.iter().map(|record| record.group.as_str()).collect();
    songs.sort_unstable();
    songs.dedup();
    let advice = match spec {
        SplitSpec::Official(_) => {
            "the set declares no such subset: use the split `holdout`, or read that subset too".to_owned()
        }
        SplitSpec::Folds(_) => "name other folds".to_owned(),
        SplitSpec::TestOnly(_) => "use another data set".to_owned(),
        SplitSpec::CrossValidation(_) => "use fewer folds, or a smaller share for validation".to_owned(),
        SplitSpec::Random(_) => "use more recordings, or a larger share".to_owned(),
        SplitSpec::Holdout(_) => format!(
            "songs are held out as a whole, and a class keeps its last song for training; there are {} songs: use more recordings \
             (`limit_per_class`), a larger share, or check the `group` of the data set",
            songs.len()
        ),
    };
    bail!(
        "split the recordings with `{}`: no recordings left to {empty} ({} training, {} validation, {} testing recordings); \
         {advice}",
        spec.kind(),
        count(Subset::Training),
        count(Subset::Validation),
        count(Subset::Testing)
    )
}
