//! Splits that never cut a song in two.
//!
//! Hold-out differs from scikit-learn's `GroupShuffleSplit` in that shares are of recordings, not of songs, and that classes are
//! balanced as well as whole songs allow. Which songs are held out depends on the seed and the songs alone, not on the order of
//! the records: every song draws its place in the queue from its own name.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ClipRecord, Subset};
use timbre_core::registry::Fault;
use timbre_core::seed::Seed;

/// Raised by hand when the same records, spec and seed give other sides.
pub const VERSION: u32 = 1;

/// How recordings are divided into sides: `[split]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SplitSpec {
    Holdout(Holdout),
    Official(Official),
    Folds(Folds),
}

/// A share of the training recordings is held out, whole songs at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Holdout {
    /// Share of the recordings of each class that is tested on.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub test: f64,
    /// Share of the recordings of each class that thresholds and epochs are chosen on.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub validation: f64,
    /// Number from which the songs are drawn. Left out: the seed of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl Default for Holdout {
    fn default() -> Self {
        Holdout { test: 0.2, validation: 0.0, seed: None }
    }
}

/// The parts as the makers of the set declare them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Official {
    /// Share of the training recordings that epochs and thresholds are chosen on, whole songs at a time; for sets whose makers
    /// declare no validation part. Default: 0.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub validation: f64,
    /// Share of the training recordings that are judged beside the test part, whole songs at a time, as a split `held_out` of
    /// its own: how a model does on songs like those it learnt from. Default: 0.
    #[serde(skip_serializing_if = "is_nothing")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub held_out: f64,
}

/// Left out of a resolved configuration: a key that is not used names no other run.
fn is_nothing(share: &f64) -> bool {
    *share == 0.0
}

/// The official folds of the set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Folds {
    /// The folds that are tested on.
    pub test: Vec<String>,
    /// The folds that thresholds and epochs are chosen on. All others are trained on.
    pub validation: Vec<String>,
}

impl Default for Folds {
    fn default() -> Self {
        Folds { test: vec!["1".to_owned()], validation: Vec::new() }
    }
}

impl Default for SplitSpec {
    fn default() -> Self {
        SplitSpec::Holdout(Holdout::default())
    }
}

impl SplitSpec {
    pub const KINDS: &'static [&'static str] = &["holdout", "official", "folds"];

    /// The word that selects this kind in a TOML file.
    pub fn kind(&self) -> &'static str {
        match self {
            SplitSpec::Holdout(_) => "holdout",
            SplitSpec::Official(_) => "official",
            SplitSpec::Folds(_) => "folds",
        }
    }

    /// Whether there can be recordings to choose thresholds and epochs on. The makers of a set may declare some.
    pub fn may_have_validation(&self) -> bool {
        match self {
            SplitSpec::Holdout(holdout) => holdout.validation > 0.0,
            SplitSpec::Official(_) => true,
            SplitSpec::Folds(folds) => !folds.validation.is_empty(),
        }
    }

    /// What is wrong with the values of the keys: the key, and a sentence.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut fault = |key: &str, sentence: String| faults.push(Fault::new(key, sentence));
        match self {
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
            SplitSpec::Folds(folds) => {
                if folds.test.is_empty() {
                    fault("test", "names no fold to test on".into());
                }
                if let Some(both) = folds.validation.iter().find(|fold| folds.test.contains(fold)) {
                    fault("validation", format!("fold {both:?} is tested on as well"));
                }
            }
        }
        faults
    }
}

/// Indices of records, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Splits {
    pub train: Vec<usize>,
    pub validation: Vec<usize>,
    pub test: Vec<usize>,
    /// Recordings like those that are trained on, judged beside the test side.
    pub held_out: Vec<usize>,
}

impl Splits {
    /// The sides that are predicted, by the names they have in the tables.
    pub fn judged(&self) -> [(&'static str, &[usize]); 3] {
        [("validation", &self.validation), ("test", &self.test), ("held_out", &self.held_out)]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Train,
    Validation,
    Test,
    HeldOut,
}

/// Divides `records`. A hold-out takes the training part only and leaves the other parts out; `folds` and `official` take all.
pub fn split(records: &[&ClipRecord], n_classes: usize, spec: &SplitSpec, seed: Seed) -> Result<Splits> {
    if let Some(Fault { key, sentence }) = spec.faults().first() {
        bail!("divide the recordings: `{key}` {sentence}");
    }
    let sides = match spec {
        SplitSpec::Holdout(holdout) => held_out(records, n_classes, holdout, seed)?,
        SplitSpec::Official(official) => {
            let holdout = Holdout { test: official.held_out, validation: official.validation, seed: None };
            let held = held_out(records, n_classes, &holdout, seed)?;
            let side = |(record, held): (&&ClipRecord, Option<Side>)| match record.subset {
                Subset::Training => held.map(|side| if side == Side::Test { Side::HeldOut } else { side }),
                Subset::Validation => Some(Side::Validation),
                Subset::Testing => Some(Side::Test),
            };
            records.iter().zip(held).map(side).collect()
        }
        SplitSpec::Folds(folds) => by_fold(records, folds)?,
    };
    refuse_cut_songs(records, &sides)?;
    let mut splits = Splits::default();
    for (i, side) in sides.iter().enumerate() {
        match side {
            Some(Side::Train) => splits.train.push(i),
            Some(Side::Validation) => splits.validation.push(i),
            Some(Side::Test) => splits.test.push(i),
            Some(Side::HeldOut) => splits.held_out.push(i),
            None => {}
        }
    }
    refuse_empty_sides(records, spec, &splits)?;
    Ok(splits)
}

fn by_fold(records: &[&ClipRecord], folds: &Folds) -> Result<Vec<Option<Side>>> {
    let mut there: Vec<&str> = records.iter().filter_map(|record| record.fold.as_deref()).collect();
    there.sort_unstable();
    there.dedup();
    if let Some(record) = records.iter().find(|record| record.fold.is_none()) {
        bail!(
            "divide the recordings by folds: {:?} has no fold; give the data set its `fold` expression, or choose the split \
             `holdout`",
            record.id
        );
    }
    for fold in folds.test.iter().chain(&folds.validation) {
        ensure!(
            there.contains(&fold.as_str()),
            "divide the recordings by folds: there is no fold {fold:?}; there are {}",
            there.join(", ")
        );
    }
    let side = |fold: &String| match () {
        _ if folds.test.contains(fold) => Side::Test,
        _ if folds.validation.contains(fold) => Side::Validation,
        _ => Side::Train,
    };
    Ok(records.iter().map(|record| record.fold.as_ref().map(side)).collect())
}

/// A song of a hold-out: how many of its recordings carry each class, and where it stands in the queue.
struct Song<'a> {
    name: &'a str,
    members: Vec<usize>,
    per_class: Vec<usize>,
    taken: Option<Side>,
}

fn held_out(records: &[&ClipRecord], n_classes: usize, spec: &Holdout, seed: Seed) -> Result<Vec<Option<Side>>> {
    let seed = spec.seed.map_or(seed, Seed::new).child("holdout");
    let mut by_name: BTreeMap<&str, Song<'_>> = BTreeMap::new();
    for (i, record) in records.iter().enumerate().filter(|(_, record)| record.subset == Subset::Training) {
        let song = by_name.entry(&record.group).or_insert_with(|| Song {
            name: &record.group,
            members: Vec::new(),
            per_class: vec![0; n_classes],
            taken: None,
        });
        song.members.push(i);
        for &label in &record.labels {
            ensure!(label < n_classes, "divide the recordings: {:?} has class {label} of {n_classes}", record.id);
            song.per_class[label] += 1;
        }
    }
    let mut songs: Vec<Song<'_>> = by_name.into_values().collect();
    let mut whole = vec![0usize; n_classes];
    for song in &songs {
        song.per_class.iter().zip(&mut whole).for_each(|(n, sum)| *sum += n);
    }
    take(&mut songs, &whole, spec.test, Side::Test, seed.child("test"));
    take(&mut songs, &whole, spec.validation, Side::Validation, seed.child("validation"));
    let mut sides = vec![None; records.len()];
    for song in &songs {
        song.members.iter().for_each(|&i| sides[i] = Some(song.taken.unwrap_or(Side::Train)));
    }
    Ok(sides)
}

/// Gives `side` its share of each class: along the queue, a song is taken if that brings the counts closer to the share. No class
/// loses its last song of training; a class of which nothing was taken gives its smallest song, if it has another.
fn take(songs: &mut [Song<'_>], whole: &[usize], share: f64, side: Side, seed: Seed) {
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
            song.give_to(side, &mut have, &mut left);
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
            song.give_to(side, &mut have, &mut left);
        }
    }
}

impl Song<'_> {
    fn classes(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.per_class.len()).filter(|&class| self.per_class[class] > 0)
    }

    fn give_to(&mut self, side: Side, have: &mut [usize], left: &mut [usize]) {
        self.taken = Some(side);
        for class in 0..self.per_class.len() {
            have[class] += self.per_class[class];
            left[class] -= usize::from(self.per_class[class] > 0);
        }
    }
}

fn refuse_cut_songs(records: &[&ClipRecord], sides: &[Option<Side>]) -> Result<()> {
    let mut side_of: BTreeMap<&str, (Side, &str)> = BTreeMap::new();
    for (record, side) in records.iter().zip(sides) {
        let Some(side) = *side else { continue };
        let (first, other) = *side_of.entry(&record.group).or_insert((side, &record.id));
        ensure!(
            first == side,
            "divide the recordings: the parts of the set cut a song in two: {other:?} and {:?} belong to {:?} and are on two \
             sides; choose the split `holdout`, or correct the `group` of the data set",
            record.id,
            record.group
        );
    }
    Ok(())
}

fn refuse_empty_sides(records: &[&ClipRecord], spec: &SplitSpec, splits: &Splits) -> Result<()> {
    let wants_validation = match spec {
        SplitSpec::Holdout(holdout) => holdout.validation > 0.0,
        SplitSpec::Folds(folds) => !folds.validation.is_empty(),
        SplitSpec::Official(_) => false,
    };
    let wants_held_out = matches!(spec, SplitSpec::Official(official) if official.held_out > 0.0);
    let empty = match () {
        _ if splits.train.is_empty() => "train on",
        _ if splits.test.is_empty() => "test on",
        _ if wants_validation && splits.validation.is_empty() => "validate on",
        _ if wants_held_out && splits.held_out.is_empty() => "hold out",
        _ => return Ok(()),
    };
    let part = |part: Subset| records.iter().filter(|record| record.subset == part).count();
    let mut songs: Vec<&str> = records.iter().map(|record| record.group.as_str()).collect();
    songs.sort_unstable();
    songs.dedup();
    let advice = match spec {
        SplitSpec::Official(_) => {
            "the set declares no such part: choose the split `holdout`, or read that part of the set too".to_owned()
        }
        SplitSpec::Folds(_) => "name other folds".to_owned(),
        SplitSpec::Holdout(_) => format!(
            "whole songs are held out and a class keeps its last song for training: there are {} songs; take more recordings \
             (`limit_per_class`), a larger share, or check the `group` of the data set",
            songs.len()
        ),
    };
    bail!(
        "divide the recordings with `{}`: nothing is left to {empty} ({} training, {} validation, {} testing recordings); \
         {advice}",
        spec.kind(),
        part(Subset::Training),
        part(Subset::Validation),
        part(Subset::Testing)
    )
}
