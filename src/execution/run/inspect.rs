//! Looks at an experiment and its recordings before any recording is decoded: which trials are bound to fail, and what a reader of
//! the results should know.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Result, bail};
use indexmap::IndexMap;
use serde_json::json;

use super::lengths::{UnequalLengths, check_frames};
use super::prepare::{LENGTH_TAG, PreparedDataset};
use super::teacher;
use super::{are_too_many, trials_of};
use timbre_core::{
    error::UserError,
    progress::Printer,
    text::{count, one_line},
};
use timbre_evaluation::threshold_search::TuneOn;
use timbre_experiment::Experiment;
use timbre_inputs::{
    data::{
        some_of,
        split::{self, Splits},
    },
    features::{FeatureSpec, cache::hex, extraction::RecordingError},
};
use timbre_models::{ModelSpec, networks::InputShape};
use timbre_runs::run_dir::Trial;

/// What is known of a run before its first feature.
#[derive(Debug, Default)]
pub struct Inspection {
    /// What a reader of the results should know.
    pub warnings: Vec<String>,
    /// The trials that are bound to fail, and why. Ensembles of them are not listed.
    pub failures: Vec<(Trial, String)>,
    /// The number of recordings that the run uses, unless more turn out to be unusable.
    pub clips: usize,
    /// The recordings that are unusable by their sizes and headers, as indices into the set.
    pub unusable: Vec<(usize, RecordingError)>,
    /// Whether these are more than `max_unusable` allows.
    pub too_many_unusable: bool,
}

impl Inspection {
    /// Why the run is not worth starting: every model would fail.
    pub fn hopeless(&self, experiment: &Experiment) -> Option<&str> {
        let fitted = |trial: &Trial| experiment.models[&trial.model].as_ensemble().is_none();
        let all = trials_of(experiment).iter().filter(|trial| fitted(trial)).count();
        (self.failures.len() == all).then(|| self.failures.first().map(|(_, why)| why.as_str()))?
    }
}

impl PreparedDataset {
    /// Inspects an experiment as if every recording were usable whose header is. Fails where the run as a whole would.
    pub fn inspect(&self, experiment: &Experiment) -> Result<Inspection> {
        let (clips, unusable) = self.expected_selection(experiment, |i| {
            self.why_unusable(experiment, i).or_else(|| self.why_no_feature(experiment, i))
        });
        self.ensure_some(&clips, &unusable)?;
        let splits = self.splits(experiment, &clips)?;
        check_threshold_search(experiment, &splits)?;
        check_frames(experiment)?;
        let mut warnings = self.set.warnings();
        let (_, merged) = self.with_merged_copies(&clips);
        if merged > 0 {
            warnings.push(format!(
                "{} identical recordings with other songs: each such group stays in one subset",
                if merged == 1 { "1 song shares".to_owned() } else { format!("{merged} songs share") }
            ));
        }
        warnings.extend(self.left_out(experiment));
        warnings.extend(self.unused_folds(experiment, &clips));
        warnings.extend(self.untested_folds(experiment, &clips));
        warnings.extend(self.unknown_labels.clone());
        warnings.extend(experiment.split.is_leaky().then(|| split::LEAKY.to_owned()));
        warnings.extend(self.ignored_weights(experiment, &clips, &splits));
        warnings.extend(self.unknown_tags(experiment, &clips));
        match &self.models_from {
            Some(source) => {
                warnings.extend(self.left_out_as_seen(experiment, &clips, &splits));
                warnings.extend(self.seen_songs(source, experiment, &clips, &splits));
                warnings.extend(source.without_songs(&self.set));
            }
            None => {
                warnings.extend(self.taught_on_test(experiment, &clips, &splits));
                let training = splits.iter().map(|(&seed, split)| (seed, split.train.as_slice()));
                warnings.extend(self.missing_classes("training", &clips, training.collect()));
            }
        }
        let test = splits.iter().map(|(&seed, split)| (seed, split.test.as_slice()));
        warnings.extend(self.missing_classes("test", &clips, test.collect()));
        warnings.extend(self.small_classes(experiment, &clips, &splits));
        warnings.extend(self.short_clips(experiment, &clips));
        let features = experiment.features.iter().map(|(name, spec)| (name.as_str(), spec));
        let unequal: HashMap<&str, UnequalLengths> =
            features.filter_map(|of| Some((of.0, self.unequal_lengths(experiment, of, &clips, &splits)?))).collect();
        let mut doubtful: Vec<String> =
            unequal.values().filter(|f| !f.is_certain).map(|f| f.sentence.clone()).collect();
        doubtful.sort();
        warnings.extend(doubtful);
        Ok(Inspection {
            warnings,
            failures: self.failures(experiment, &clips, &splits, &unequal),
            clips: clips.len(),
            too_many_unusable: are_too_many(unusable.len(), clips.len(), experiment),
            unusable,
        })
    }

    /// A sentence about the recordings that are known to be unusable.
    pub fn unusable_text(&self, experiment: &Experiment, found: &Inspection) -> Option<String> {
        const MOST: usize = 5;
        let (unusable, all) = (found.unusable.len(), found.unusable.len() + found.clips);
        let one = |(i, why): &(usize, RecordingError)| {
            one_line(&format!("{}: {}: {}", self.set.records[*i].id, why.code, why.sentence))
        };
        let named: Vec<String> = found.unusable.iter().take(MOST).map(one).collect();
        let more = if unusable > MOST { format!("; and {} more", unusable - MOST) } else { String::new() };
        let limit = match found.too_many_unusable {
            true => format!(", more than max_unusable = {} allows", experiment.max_unusable),
            false => String::new(),
        };
        (unusable > 0)
            .then(|| format!("{unusable} of {} unusable{limit}: {}{more}", count(all, "recording"), named.join("; ")))
    }

    /// Prints the warnings that were not printed before for this data set.
    pub fn warn(&self, printer: Printer, warnings: &[String]) {
        let mut printed = self.printed.lock().expect("no thread panics while it prints");
        for warning in warnings {
            if printed.insert(warning.clone()) {
                printer.message(&format!("warning: {warning}"));
            }
        }
    }

    /// The networks whose teachers were trained on test recordings of this experiment.
    fn taught_on_test(&self, experiment: &Experiment, clips: &[usize], splits: &IndexMap<u64, Splits>) -> Vec<String> {
        let test: BTreeSet<usize> = splits.values().flat_map(|split| &split.test).map(|&row| clips[row]).collect();
        let contents: Vec<_> = test.iter().filter_map(|&i| self.contents[i].as_ref().ok()).map(hex).collect();
        let taught = |(model, name): (&str, &str)| {
            let known = contents.iter().filter(|content| self.teachers.has_seen(name, content)).count();
            let all = count(test.len(), "test recording");
            (known > 0).then(|| {
                format!(
                    "models.{model}.teacher: {name} was trained on {known} of {all}: scores on them are too good; give both experiments \
                     the same split and seeds"
                )
            })
        };
        teacher::names(experiment).filter_map(taught).collect()
    }

    /// The models that do not take the weights of recordings.
    fn ignored_weights(
        &self,
        experiment: &Experiment,
        clips: &[usize],
        splits: &IndexMap<u64, Splits>,
    ) -> Option<String> {
        let mut trained = splits.values().flat_map(|split| &split.train);
        if self.models_from.is_some() || trained.all(|&row| self.set.records[clips[row]].weight == 1.0) {
            return None;
        }
        let ignores = |spec: &ModelSpec| spec.as_ensemble().is_none() && !spec.as_kind().uses_weights();
        let names = experiment.models.iter().filter(|(_, spec)| ignores(spec)).map(|(name, _)| name.as_str());
        let names: Vec<&str> = names.collect();
        (!names.is_empty()).then(|| {
            format!("recordings have weights, which these models ignore: {}", some_of(10, names.iter().copied()))
        })
    }

    /// Tags of `evaluate.by_tag` that no recording has.
    fn unknown_tags(&self, experiment: &Experiment, clips: &[usize]) -> Option<String> {
        let tags = experiment.evaluate.by_tag.iter().filter(|tag| *tag != LENGTH_TAG);
        self.without_recordings("evaluate.by_tag", tags, clips.iter().copied())
    }

    /// A sentence about the tags of a key that none of these recordings has.
    fn without_recordings<'a>(
        &self,
        key: &str,
        tags: impl Iterator<Item = &'a String>,
        clips: impl Iterator<Item = usize>,
    ) -> Option<String> {
        let mut tags = tags.peekable();
        tags.peek()?;
        let known: BTreeSet<&String> = clips.flat_map(|i| self.set.records[i].tags.keys()).collect();
        let unknown: Vec<&str> = tags.filter(|tag| !known.contains(tag)).map(String::as_str).collect();
        (!unknown.is_empty()).then(|| {
            format!(
                "{key}: no recording has the tag {}; the tags are {}",
                unknown.join(", "),
                some_of(10, known.iter().map(|tag| tag.as_str()))
            )
        })
    }

    /// A sentence about tags that a network sees or learns and that no training recording has.
    fn tags_of_network<C: Iterator<Item = usize>>(
        &self,
        model: &str,
        spec: &ModelSpec,
        train: impl Fn() -> C,
    ) -> Option<String> {
        let training = spec.as_network()?.training();
        let seen = self.without_recordings(&format!("models.{model}.tags"), training.tags.iter(), train());
        let learnt =
            || self.without_recordings(&format!("models.{model}.auxiliary"), training.auxiliary.keys(), train());
        seen.or_else(learnt)
    }

    fn failures(
        &self,
        experiment: &Experiment,
        clips: &[usize],
        splits: &IndexMap<u64, Splits>,
        unequal: &HashMap<&str, UnequalLengths>,
    ) -> Vec<(Trial, String)> {
        let samples = self.usual_samples(experiment, clips);
        let shape = |feature: &FeatureSpec| InputShape::of(feature, samples?);
        let shapes: HashMap<&String, InputShape> =
            experiment.features.iter().filter_map(|(name, feature)| Some((name, shape(feature)?))).collect();
        let examples = examples_of_clip(experiment);
        let unfit = |trial: &Trial| {
            let spec = &experiment.models[&trial.model];
            let train = &splits[&trial.seed].train;
            let shape = shapes.get(&trial.features).copied();
            let columns = shape.map(InputShape::values);
            let small = spec.as_kind().size_faults(train.len() * examples, columns).into_iter().next();
            let small = small.or_else(|| spec.as_kind().class_faults(&self.set.classes).into_iter().next());
            let small = small.map(|fault| format!("models.{}.{}: {}", trial.model, fault.key, fault.sentence));
            let trained = || train.iter().map(|&row| clips[row]);
            small
                .or_else(|| self.tags_of_network(&trial.model, spec, trained))
                .or_else(|| self.foreign_weights(&trial.model, spec, shape?))
        };
        let why = |trial: &Trial| {
            let unequal = || unequal.get(trial.features.as_str()).filter(|found| found.is_certain);
            let unfit = if self.models_from.is_none() { unfit(trial) } else { None };
            unfit.or_else(|| Some(unequal()?.sentence.clone()))
        };
        trials_of(experiment).into_iter().filter_map(|trial| why(&trial).map(|why| (trial, why))).collect()
    }

    /// Why a network cannot start from the weights of its `init`.
    fn foreign_weights(&self, model: &str, spec: &ModelSpec, input: InputShape) -> Option<String> {
        let network = spec.as_network()?;
        network.training().init.as_ref()?;
        let (mut keys, training) = (json!(spec), json!(network.training()));
        // The training does not change which weights the network has.
        let is_own = |key: &String| training.get(key).is_none();
        keys.as_object_mut().expect("a model is a table").retain(|key, _| is_own(key));
        let key = json!([keys, self.model_files.get(model), input.channels, input.height, input.width]).to_string();
        let mut checked = self.checked_weights.lock().expect("no thread panics while it reads weights");
        let check = || {
            let error = network.check_init(input, self.set.classes.len()).err()?;
            Some(format!("{error:#}"))
        };
        let why = checked.entry(key).or_insert_with(check).clone()?;
        Some(format!("models.{model}.init: {why}"))
    }
}

/// The training examples that classic models have of a clip: itself and its fixed copies.
pub(super) fn examples_of_clip(experiment: &Experiment) -> usize {
    1 + experiment.augment.iter().map(|spec| spec.as_kind().copies()).sum::<usize>()
}

/// A threshold search on the validation split needs validation recordings.
pub(super) fn check_threshold_search(experiment: &Experiment, splits: &IndexMap<u64, Splits>) -> Result<()> {
    let Some(search) = &experiment.evaluate.search else { return Ok(()) };
    if search.tune_on == TuneOn::Validation && splits.values().any(|split| split.validation.is_empty()) {
        bail!(UserError::usage(
            "evaluate.search tunes on the validation split, and there is none: set split.validation, such as 0.1"
        ));
    }
    Ok(())
}
