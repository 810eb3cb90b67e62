//! Splits by folds: those of the set, or folds of whole songs.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail, ensure};

use super::{CrossValidation, FoldChoice, Folds, NamedFolds, Song, SplitSet, assign, class_sums, songs_of};
use crate::data::{ClipRecord, Subset};
use timbre_core::{labels::Labels, seed::Seed, text::count};

/// The names of the official folds, sorted; every recording must be in one.
fn official_folds<'a>(records: &[&'a ClipRecord]) -> Result<Vec<&'a str>> {
    if let Some(record) = records.iter().find(|record| record.fold.is_none()) {
        bail!(
            "split by folds: {:?} has no fold: set the `fold` of the data set, or use the split `holdout`",
            record.id
        );
    }
    let known: BTreeSet<&str> = records.iter().filter_map(|record| record.fold.as_deref()).collect();
    Ok(known.into_iter().collect())
}

/// Tests on fold `tested`; of the others, whole songs are held out for validation.
pub(super) fn cross_validation(
    records: &[&ClipRecord],
    n_classes: usize,
    spec: &CrossValidation,
    seed: Seed,
    tested: usize,
) -> Result<Vec<Option<SplitSet>>> {
    let official = match spec.folds {
        FoldChoice::Named(NamedFolds::Official) => Some(official_folds(records)?),
        _ => None,
    };
    let takes_part = |record: &ClipRecord| official.is_some() || record.subset == Subset::Training;
    let mut songs = songs_of(records, n_classes, |record| &record.group, takes_part)?;
    let fold_of: Vec<usize> = match (&official, spec.folds) {
        (Some(names), _) => {
            // A song in several folds is found by the check that follows every split.
            let fold = |song: &Song| records[song.members[0]].fold.as_deref();
            songs.iter().map(|song| names.iter().position(|name| Some(*name) == fold(song)).unwrap_or(0)).collect()
        }
        (None, FoldChoice::Number(n)) => {
            ensure!(songs.len() >= n, "split into {n} folds: the set has only {}", count(songs.len(), "song"));
            assign_to_folds(&songs, n_classes, n, Seed::new(spec.seed.unwrap_or(0)).child("folds"))
        }
        (None, FoldChoice::Named(_)) => (0..songs.len()).collect(),
    };
    let is_tested = |i: usize, song: usize| match &official {
        Some(names) => records[i].fold.as_deref() == Some(names[tested]),
        None => fold_of[song] == tested,
    };
    let mut sets = vec![None; records.len()];
    let mut rest = Vec::new();
    for (n, song) in songs.drain(..).enumerate() {
        for &i in &song.members {
            // A divided song is refused by the check that follows.
            sets[i] = match (is_tested(i, n), fold_of[n] == tested) {
                (true, _) => Some(SplitSet::Test),
                (false, true) => Some(SplitSet::Train),
                (false, false) => None,
            };
        }
        if fold_of[n] != tested {
            rest.push(song);
        }
    }
    let whole = class_sums(&rest, n_classes);
    assign(&mut rest, &whole, spec.validation, SplitSet::Validation, seed.child("cross_validation"));
    for song in &rest {
        for &i in &song.members {
            sets[i].get_or_insert(song.taken.unwrap_or(SplitSet::Train));
        }
    }
    Ok(sets)
}

/// The fold of each song: the largest songs first, each to the fold in which the classes and the number of recordings come
/// closest to equal shares. Songs of one size are taken in the order of the seed.
fn assign_to_folds(songs: &[Song<'_>], n_classes: usize, n: usize, seed: Seed) -> Vec<usize> {
    let whole = class_sums(songs, n_classes);
    let recordings: usize = songs.iter().map(|song| song.members.len()).sum();
    let mut order: Vec<usize> = (0..songs.len()).collect();
    order.sort_by_cached_key(|&i| {
        (std::cmp::Reverse(songs[i].members.len()), seed.child(songs[i].name).number(), songs[i].name)
    });
    let mut have = vec![vec![0usize; n_classes]; n];
    let mut sizes = vec![0usize; n];
    let mut folds = vec![0; songs.len()];
    for i in order {
        let song = &songs[i];
        // The change of the squared distance to an equal share, each class in units of its own size.
        let change = |have: usize, more: usize, whole: usize| {
            let distance = have as f64 - whole as f64 / n as f64;
            more as f64 * (2.0 * distance + more as f64) / whole as f64
        };
        let cost = |fold: usize| {
            let of_classes: f64 =
                song.classes().map(|class| change(have[fold][class], song.per_class[class], whole[class])).sum();
            of_classes + change(sizes[fold], song.members.len(), recordings)
        };
        let costs: Vec<f64> = (0..n).map(cost).collect();
        let best = (0..n).min_by(|&a, &b| costs[a].total_cmp(&costs[b])).expect("there are folds");
        folds[i] = best;
        sizes[best] += song.members.len();
        song.classes().for_each(|class| have[best][class] += song.per_class[class]);
    }
    folds
}

/// The fold of each row, of `n` folds of whole groups with classes spread evenly. `groups` has the group of each row.
pub fn grouped_folds(
    groups: &[usize],
    labels: &[Labels],
    n_classes: usize,
    n: usize,
    seed: Seed,
) -> Result<Vec<usize>> {
    let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    groups.iter().enumerate().for_each(|(row, &group)| members.entry(group).or_default().push(row));
    ensure!(members.len() >= n, "split into {n} folds: the set has only {}", count(members.len(), "song"));
    let names: Vec<String> = members.keys().map(usize::to_string).collect();
    let song = |(name, members)| {
        let mut per_class = vec![0; n_classes];
        let of_rows: &Vec<usize> = &members;
        of_rows.iter().flat_map(|&row| labels[row].iter()).for_each(|&class| per_class[class] += 1);
        Song { name, members, per_class, taken: None }
    };
    let songs: Vec<Song> = names.iter().map(String::as_str).zip(members.into_values()).map(song).collect();
    let folds = assign_to_folds(&songs, n_classes, n, seed);
    let mut of_rows = vec![0; groups.len()];
    for (song, fold) in songs.iter().zip(folds) {
        song.members.iter().for_each(|&row| of_rows[row] = fold);
    }
    Ok(of_rows)
}

pub(super) fn by_fold(records: &[&ClipRecord], folds: &Folds) -> Result<Vec<Option<SplitSet>>> {
    let known = official_folds(records)?;
    for fold in folds.test.iter().chain(&folds.validation) {
        ensure!(known.contains(&fold.as_str()), "split by folds: no fold {fold:?}; the folds are {}", known.join(", "));
    }
    let set = |fold: &String| match () {
        _ if folds.test.contains(fold) => SplitSet::Test,
        _ if folds.validation.contains(fold) => SplitSet::Validation,
        _ => SplitSet::Train,
    };
    Ok(records.iter().map(|record| record.fold.as_ref().map(set)).collect())
}
