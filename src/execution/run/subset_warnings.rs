//! What a reader of the results should know of the subsets: recordings and folds without a part, songs that models know, classes
//! without recordings.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;

use super::inspect::examples_of_clip;
use super::model_source::ModelSource;
use super::prepare::PreparedDataset;
use timbre_core::text::count;
use timbre_experiment::Experiment;
use timbre_inputs::data::{
    ClipRecord, Subset, some_of,
    split::{SplitSpec, Splits},
};
use timbre_models::ModelSpec;

/// Recordings that are left out are named if they are no more than these.
const NAMED: usize = 3;

impl PreparedDataset {
    /// The recordings of other declared subsets, which a hold-out does not use.
    pub(super) fn left_out(&self, experiment: &Experiment) -> Option<String> {
        let left: Vec<&ClipRecord> = self.left_out.iter().map(|&i| &self.set.records[i]).collect();
        let of = |subset: Subset, word: &str| {
            let n = left.iter().filter(|record| record.subset == subset).count();
            (n > 0).then(|| format!("{n} of the {word} subset"))
        };
        let counts: Vec<String> =
            [of(Subset::Validation, "validation"), of(Subset::Testing, "testing")].into_iter().flatten().collect();
        // Of many, some names say nothing more.
        let names = match left.len() {
            n if n <= NAMED => format!(" ({})", some_of(n, left.iter().map(|record| record.id.as_str()))),
            _ => String::new(),
        };
        (!left.is_empty()).then(|| {
            format!(
                "{} no part, because the split `{}` divides the training recordings alone: {}{names}; `kind = \"official\"` in \
                 [split] uses them",
                if left.len() == 1 { "1 recording takes".to_owned() } else { format!("{} recordings take", left.len()) },
                experiment.split.kind(),
                counts.join(" and "),
            )
        })
    }

    /// The test recordings that had a part in the training of the models, or whose songs had, where that is not what the split says.
    pub(super) fn left_out_as_seen(
        &self,
        experiment: &Experiment,
        clips: &[usize],
        splits: &IndexMap<u64, Splits>,
    ) -> Option<String> {
        let used: BTreeSet<usize> = splits.values().flat_map(|split| split.test.iter().copied()).collect();
        let seen: Vec<usize> = match experiment.split {
            SplitSpec::TestOnly(_) => (0..clips.len()).filter(|row| !used.contains(row)).collect(),
            _ => return None,
        };
        let names = seen.iter().map(|&row| self.set.records[clips[row]].id.as_str());
        (!seen.is_empty()).then(|| {
            format!(
                "{} left out, because the models were trained or chosen on them or, in the same data set, on their songs: {}",
                if seen.len() == 1 { "1 recording is".to_owned() } else { format!("{} recordings are", seen.len()) },
                some_of(3, names)
            )
        })
    }

    /// A warning about songs on test that have the names of songs which the models know.
    pub(super) fn seen_songs(
        &self,
        source: &ModelSource,
        experiment: &Experiment,
        clips: &[usize],
        splits: &IndexMap<u64, Splits>,
    ) -> Option<String> {
        if experiment.split.is_leaky() {
            return None;
        }
        let song = |&row: &usize| self.set.records[clips[row]].group.as_str();
        let tested = || splits.iter().flat_map(|(&seed, split)| split.test.iter().map(move |row| (song(row), seed)));
        let all: BTreeSet<&str> = tested().map(|(song, _)| song).collect();
        let seen: BTreeSet<&str> =
            tested().filter(|(song, seed)| source.has_seen_song(song, *seed)).map(|(song, _)| song).collect();
        (!seen.is_empty()).then(|| {
            format!(
                "{} of the {} on test {} of songs that the models were trained on or chosen with: {}",
                seen.len(),
                count(all.len(), "song"),
                if seen.len() == 1 { "has the name" } else { "have the names" },
                some_of(3, seen.iter().copied())
            )
        })
    }

    /// A warning about folds of the set that the split does not use.
    pub(super) fn unused_folds(&self, experiment: &Experiment, clips: &[usize]) -> Option<String> {
        let folds: BTreeSet<&str> = clips.iter().filter_map(|&i| self.set.records[i].fold.as_deref()).collect();
        (folds.len() > 1 && experiment.split.divides_training_alone()).then(|| {
            format!(
                "the {} of the data set have no part in the split `{}`, so its scores do not compare with published ones; \
                 `kind = \"cross_validation\"` with `folds = \"official\"` in [split] tests each once",
                count(folds.len(), "fold"),
                experiment.split.kind()
            )
        })
    }

    /// A warning about folds of a cross-validation that no seed tests, or several do.
    pub(super) fn untested_folds(&self, experiment: &Experiment, clips: &[usize]) -> Option<String> {
        let records: Vec<&ClipRecord> = clips.iter().map(|&i| &self.set.records[i]).collect();
        let all = experiment.split.number_of_folds(&records)?;
        let seeds = experiment.seeds.len();
        (seeds != all).then(|| {
            format!(
                "{} and {}: seed n tests fold n, so a list of the seeds 1 to {all} tests each fold once",
                count(all, "fold"),
                count(seeds, "seed")
            )
        })
    }

    /// A warning about classes without a recording in a subset, which is given for each seed.
    pub(super) fn missing_classes(&self, word: &str, clips: &[usize], splits: Vec<(u64, &[usize])>) -> Option<String> {
        let mut seeds_without: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        for &(seed, rows) in &splits {
            let mut present: BTreeSet<usize> = BTreeSet::new();
            rows.iter().for_each(|&row| present.extend(&self.set.records[clips[row]].labels));
            let absent = (0..self.set.classes.len()).filter(|class| !present.contains(class));
            absent.for_each(|class| seeds_without.entry(class).or_default().push(seed));
        }
        let names = || seeds_without.keys().map(|&class| self.set.classes.name(class));
        let mut seeds: Vec<u64> = seeds_without.values().flatten().copied().collect();
        seeds.sort_unstable();
        seeds.dedup();
        let of_seeds = if seeds_without.values().all(|own| own.len() == splits.len()) {
            String::new()
        } else {
            format!(" (seed {})", seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", "))
        };
        (!seeds_without.is_empty()).then(|| {
            format!(
                "no {word} recording of {} of {}: {}{of_seeds}",
                seeds_without.len(),
                count(self.set.classes.len(), "class"),
                some_of(20, names())
            )
        })
    }

    /// Warnings about classes with too few training clips for a model.
    pub(super) fn small_classes(
        &self,
        experiment: &Experiment,
        clips: &[usize],
        splits: &IndexMap<u64, Splits>,
    ) -> Vec<String> {
        let counts = splits.values().flat_map(|split| {
            let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
            let labels = split.train.iter().flat_map(|&row| self.set.records[clips[row]].labels.iter());
            labels.for_each(|&class| *counts.entry(class).or_default() += 1);
            counts.into_values()
        });
        let Some(fewest) = counts.min().filter(|_| self.models_from.is_none()) else { return Vec::new() };
        let warning = |(model, spec): (&String, &ModelSpec)| {
            let fault = spec.as_kind().class_size_warning(fewest * examples_of_clip(experiment))?;
            Some(format!("models.{model}.{}: {}", fault.key, fault.sentence))
        };
        experiment.models.iter().filter_map(warning).collect()
    }
}
