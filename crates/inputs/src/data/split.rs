//! Splits a data set into training, validation and test sets without dividing songs.
//!
//! Hold-out differs from scikit-learn's `GroupShuffleSplit`: shares count recordings, not songs, and classes are balanced as
//! well as whole songs allow. The held-out songs depend only on the seed and the songs, not on the order of the records: each
//! song derives its place in the queue from its own name.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use serde::Serialize;

use super::{ClipRecord, Subset};
use timbre_core::{registry::Fault, seed::Seed, text};

mod folds;
mod spec;

pub use spec::*;

pub use folds::grouped_folds;
use folds::{by_fold, cross_validation};

/// Increase when the same records, spec and seed give another split.
pub const VERSION: u32 = 1;

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
    /// Left out of the training by `train`.
    Unused,
}

/// Splits `records`. A hold-out and folds of songs use the training subset only; `folds` and `official` use all. `number` is the
/// seed of the run as it is written, which chooses the tested fold of a cross-validation.
pub fn split(records: &[&ClipRecord], n_classes: usize, spec: &SplitSpec, seed: Seed, number: u64) -> Result<Splits> {
    if let Some(Fault { key, sentence }) = spec.faults().first() {
        bail!("split the recordings: `{key}` {sentence}");
    }
    let sets = match spec {
        SplitSpec::Holdout(holdout) => hold_out(records, n_classes, |record| &record.group, holdout, seed)?,
        SplitSpec::Random(random) => {
            if !random.leaky {
                check_no_song_has_several(records)?;
            }
            // Every recording is a song of its own.
            hold_out(records, n_classes, |record| &record.id, &random.holdout(), seed)?
        }
        SplitSpec::Official(official) => {
            let holdout = Holdout { test: official.held_out, validation: official.validation, train: None, seed: None };
            let held = hold_out(records, n_classes, |record| &record.group, &holdout, seed)?;
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
            Some(SplitSet::Unused) | None => {}
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
    name_of: fn(&ClipRecord) -> &str,
    takes_part: impl Fn(&ClipRecord) -> bool,
) -> Result<Vec<Song<'a>>> {
    let mut by_name: BTreeMap<&str, Song<'_>> = BTreeMap::new();
    for (i, &record) in records.iter().enumerate().filter(|(_, record)| takes_part(record)) {
        let name = name_of(record);
        let song = by_name.entry(name).or_insert_with(|| Song {
            name,
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

fn hold_out(
    records: &[&ClipRecord],
    n_classes: usize,
    name_of: fn(&ClipRecord) -> &str,
    spec: &Holdout,
    seed: Seed,
) -> Result<Vec<Option<SplitSet>>> {
    let seed = spec.seed.map_or(seed, Seed::new).child("holdout");
    let mut songs = songs_of(records, n_classes, name_of, |record| record.subset == Subset::Training)?;
    let whole = class_sums(&songs, n_classes);
    assign(&mut songs, &whole, spec.test, SplitSet::Test, seed.child("test"));
    assign(&mut songs, &whole, spec.validation, SplitSet::Validation, seed.child("validation"));
    if let Some(train) = spec.train {
        let unused = 1.0 - spec.test - spec.validation - train;
        assign(&mut songs, &whole, unused, SplitSet::Unused, seed.child("unused"));
    }
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
    let wants_validation = spec.may_have_validation() && !matches!(spec, SplitSpec::Official(_));
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
            "songs are held out as a whole, and a class keeps its last song for training; the set has {}: use more recordings \
             (`limit_per_class`), a larger share, or check the `group` of the data set",
            text::count(songs.len(), "song")
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
