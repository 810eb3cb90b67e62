//! Looks at an experiment and its recordings before any recording is decoded: which trials are bound to fail, and what a reader of
//! the results should know.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Result, bail};
use indexmap::IndexMap;
use rayon::prelude::*;
use serde_json::json;

use super::model_source::ModelSource;
use super::prepare::{LENGTH_TAG, PreparedDataset};
use super::{are_too_many, trials_of};
use timbre_core::{
    error::{ExitStatus, UserError},
    progress::Printer,
    text::{count, one_line},
};
use timbre_evaluation::threshold_search::TuneOn;
use timbre_experiment::Experiment;
use timbre_inputs::{
    data::{
        ClipRecord, Subset, some_of,
        split::{self, SplitSpec, Splits},
    },
    features::{
        FeatureSpec,
        extraction::{NO_FEATURE, RecordingError},
    },
};
use timbre_models::{ModelSpec, networks::InputShape};
use timbre_runs::run_dir::Trial;
use timbre_signal::{
    audio::{self, Unusable},
    windows::Short,
};

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
        let fitted = |trial: &Trial| experiment.models[&trial.model].as_kind().as_ensemble().is_none();
        let all = trials_of(experiment).iter().filter(|trial| fitted(trial)).count();
        (self.failures.len() == all).then(|| self.failures.first().map(|(_, why)| why.as_str()))?
    }
}

/// The length of every recording of a set according to its header, or why it is unusable.
pub(super) type Headers = HashMap<usize, Result<Length, RecordingError>>;

/// The length of a recording according to its header.
pub(super) struct Length {
    seconds: f64,
    sample_rate: u32,
    /// Whether the header counts the samples. MPEG headers do not: their length is an estimate.
    is_exact: bool,
}

/// Why a feature has several shapes.
struct UnequalLengths {
    sentence: String,
    /// Whether there are too many such recordings for all to be unusable, and left out.
    is_certain: bool,
}

/// Samples by which the length from a header and the decoded one may differ, because of the rounding of the resampler.
const SLACK: usize = 2;

/// A recording shorter than this share of a clip is worth a warning: most of its clip is silence.
const SHORT: f64 = 0.5;

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

    /// The recordings of other declared subsets, which a hold-out does not use.
    fn left_out(&self, experiment: &Experiment) -> Option<String> {
        let left: Vec<&ClipRecord> = self.left_out.iter().map(|&i| &self.set.records[i]).collect();
        let of = |subset: Subset, word: &str| {
            let n = left.iter().filter(|record| record.subset == subset).count();
            (n > 0).then(|| format!("{n} of the {word} subset"))
        };
        let counts: Vec<String> =
            [of(Subset::Validation, "validation"), of(Subset::Testing, "testing")].into_iter().flatten().collect();
        (!left.is_empty()).then(|| {
            format!(
                "{} no part, because the split `{}` divides the training recordings alone: {} ({}); `kind = \"official\"` in \
                 [split] uses them",
                if left.len() == 1 { "1 recording takes".to_owned() } else { format!("{} recordings take", left.len()) },
                experiment.split.kind(),
                counts.join(" and "),
                some_of(3, left.iter().map(|record| record.id.as_str()))
            )
        })
    }

    /// The test recordings that had a part in the training of the models, or whose songs had, where that is not what the split says.
    fn left_out_as_seen(
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
    fn seen_songs(
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
    fn unused_folds(&self, experiment: &Experiment, clips: &[usize]) -> Option<String> {
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
    fn untested_folds(&self, experiment: &Experiment, clips: &[usize]) -> Option<String> {
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
        let ignores = |spec: &ModelSpec| spec.as_kind().as_ensemble().is_none() && !spec.as_kind().uses_weights();
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
        let training = spec.as_kind().as_network()?.training();
        let seen = self.without_recordings(&format!("models.{model}.tags"), training.tags.iter(), train());
        let learnt =
            || self.without_recordings(&format!("models.{model}.auxiliary"), training.auxiliary.keys(), train());
        seen.or_else(learnt)
    }

    /// A warning about classes without a recording in a subset, which is given for each seed.
    fn missing_classes(&self, word: &str, clips: &[usize], splits: Vec<(u64, &[usize])>) -> Option<String> {
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

    /// Warnings about clips that are mostly padding.
    fn short_clips(&self, experiment: &Experiment, clips: &[usize]) -> Vec<String> {
        let audio = &experiment.audio;
        let mut warnings = Vec::new();
        let mut shorter_than = |seconds: f64, what: String| {
            let short: Vec<(f64, usize)> = clips
                .iter()
                .filter_map(|&i| Some((self.length(i)?.seconds, i)))
                .filter(|(own, _)| *own < seconds)
                .collect();
            if let Some((least, clip)) = short.iter().copied().min_by(|a, b| a.0.total_cmp(&b.0)) {
                warnings.push(format!(
                    "{} shorter than {what}; the shortest, {}, has {least:.2} s",
                    if short.len() == 1 {
                        "1 recording is".to_owned()
                    } else {
                        format!("{} recordings are", short.len())
                    },
                    self.set.records[clip].id
                ));
            }
        };
        match audio.clip_seconds {
            Some(clip) if audio.short == Short::Pad => shorter_than(
                SHORT * clip,
                format!("half a clip (audio.clip_seconds = {clip}), and the rest of its clip is silence"),
            ),
            Some(_) => {}
            None => {
                for (name, frame) in frames(experiment) {
                    let seconds = frame as f64 / f64::from(audio.sample_rate);
                    shorter_than(seconds, format!("a frame of `{name}` (n_fft = {frame}, {seconds:.3} s)"));
                }
            }
        }
        let fixed = [
            audio.clip_samples().map(|samples| ("a clip", samples)),
            experiment.evaluate.windows().map(|window| ("a window", window.length(audio.sample_rate))),
        ];
        for (what, samples) in fixed.into_iter().flatten() {
            for (name, frame) in frames(experiment).into_iter().filter(|(_, frame)| *frame > samples) {
                warnings.push(format!(
                    "{what} of {samples} samples is shorter than a frame of `{name}` (n_fft = {frame}): most of each frame is padding"
                ));
            }
        }
        warnings
    }

    fn failures(
        &self,
        experiment: &Experiment,
        clips: &[usize],
        splits: &IndexMap<u64, Splits>,
        unequal: &HashMap<&str, UnequalLengths>,
    ) -> Vec<(Trial, String)> {
        let samples = self.usual_samples(experiment, clips);
        let shape = |feature: &FeatureSpec| feature.as_kind().shape(samples?);
        let shapes: HashMap<&String, [usize; 2]> =
            experiment.features.iter().filter_map(|(name, feature)| Some((name, shape(feature)?))).collect();
        let examples = examples_of_clip(experiment);
        let unfit = |trial: &Trial| {
            let spec = &experiment.models[&trial.model];
            let train = &splits[&trial.seed].train;
            let shape = shapes.get(&trial.features).copied();
            let columns = shape.map(|[rows, columns]| rows * columns);
            let small = spec.as_kind().size_faults(train.len() * examples, columns).into_iter().next();
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

    /// The number of samples of most clips, if it is known.
    fn usual_samples(&self, experiment: &Experiment, clips: &[usize]) -> Option<usize> {
        let rate = f64::from(experiment.audio.sample_rate);
        experiment.audio.clip_samples().or_else(|| {
            let mut known: Vec<f64> = clips.iter().filter_map(|&clip| Some(self.length(clip)?.seconds)).collect();
            known.sort_by(f64::total_cmp);
            known.get(known.len() / 2).map(|seconds| (seconds * rate).round() as usize)
        })
    }

    /// Why a network cannot start from the weights of its `init`.
    fn foreign_weights(&self, model: &str, spec: &ModelSpec, [height, width]: [usize; 2]) -> Option<String> {
        let network = spec.as_kind().as_network()?;
        network.training().init.as_ref()?;
        let (mut keys, training) = (json!(spec), json!(network.training()));
        // The training does not change which weights the network has.
        let is_own = |key: &String| training.get(key).is_none();
        keys.as_object_mut().expect("a model is a table").retain(|key, _| is_own(key));
        let key = json!([keys, self.model_files.get(model), height, width]).to_string();
        let mut checked = self.checked_weights.lock().expect("no thread panics while it reads weights");
        let check = || {
            let error = network.check_init(InputShape { channels: 1, height, width }, self.set.classes.len()).err()?;
            Some(format!("{error:#}"))
        };
        let why = checked.entry(key).or_insert_with(check).clone()?;
        Some(format!("models.{model}.init: {why}"))
    }

    /// Warnings about classes with too few training clips for a model.
    fn small_classes(&self, experiment: &Experiment, clips: &[usize], splits: &IndexMap<u64, Splits>) -> Vec<String> {
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

    /// The recordings for which a feature has another shape than for most, which no model can read.
    fn unequal_lengths(
        &self,
        experiment: &Experiment,
        (name, feature): (&str, &FeatureSpec),
        clips: &[usize],
        splits: &IndexMap<u64, Splits>,
    ) -> Option<UnequalLengths> {
        if experiment.audio.clip_seconds.is_some() {
            return None;
        }
        // The other subsets are cut into windows.
        let whole = |split: &Splits| {
            let mut rows = [split.train.clone(), split.validation.clone()].concat();
            if experiment.evaluate.windows().is_none() {
                rows.extend(split.test.iter().chain(&split.held_out));
            }
            rows
        };
        let rows: BTreeSet<usize> = splits.values().flat_map(whole).collect();
        let exact =
            |&row: &usize| self.length(clips[row]).filter(|own| own.is_exact).map(|own| (own.seconds, clips[row]));
        let mut known: Vec<(f64, usize)> = rows.iter().filter_map(exact).collect();
        known.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (usual, usual_clip) = *known.get(known.len() / 2)?;
        let samples = |seconds: f64| (seconds * f64::from(experiment.audio.sample_rate)).round() as usize;
        let shape = |samples: usize| feature.as_kind().shape(samples);
        let differs = |seconds: f64| {
            let (less, more) = (samples(seconds).min(samples(usual)), samples(seconds).max(samples(usual)));
            less + SLACK < more.saturating_sub(SLACK) && shape(less + SLACK) != shape(more - SLACK)
        };
        let others: Vec<(f64, usize)> = known.iter().copied().filter(|(seconds, _)| differs(*seconds)).collect();
        let &(other, other_clip) = others.first()?;
        let values = |seconds: f64| shape(samples(seconds)).map_or(0, |[rows, columns]| rows * columns);
        let (usual_path, other_path) = (&self.set.records[usual_clip].id, &self.set.records[other_clip].id);
        Some(UnequalLengths {
            sentence: format!(
                "the clips differ in length, so `{name}` has {} values for one ({usual_path}, {usual:.2} s) and {} for another \
                 ({other_path}, {other:.2} s): set `audio.clip_seconds`, or give the feature a `summary`",
                values(usual),
                values(other)
            ),
            is_certain: others.len() as f64 > experiment.max_unusable * known.len() as f64,
        })
    }

    /// The length of a recording with a readable header.
    fn length(&self, clip: usize) -> Option<&Length> {
        self.headers()[&clip].as_ref().ok()
    }

    /// Why a run will find a recording to be unusable, as far as its size and its header tell.
    fn why_unusable(&self, experiment: &Experiment, clip: usize) -> Option<RecordingError> {
        if self.planned.is_some() {
            return None;
        }
        if let Err(why) = &self.contents[&clip] {
            return Some(RecordingError { code: why.code.to_owned(), sentence: why.sentence.clone() });
        }
        let length = match &self.headers()[&clip] {
            Ok(length) => length,
            Err(why) => return Some(why.clone()),
        };
        let frames = (length.seconds * f64::from(length.sample_rate)).round() as usize;
        let limit = experiment.audio.limits().check_length(frames, length.sample_rate).err();
        limit.filter(|_| length.is_exact).map(error_of)
    }

    /// Why a run will find a recording to be shorter than a frame of a feature. With `clip_seconds` all have the length of a clip.
    fn why_no_feature(&self, experiment: &Experiment, clip: usize) -> Option<RecordingError> {
        let audio = &experiment.audio;
        let length = self.length(clip).filter(|length| length.is_exact && audio.clip_seconds.is_none())?;
        let samples = (length.seconds * f64::from(audio.sample_rate)).round() as usize;
        let (name, frame) = without_frame(experiment, samples + SLACK)?;
        Some(RecordingError {
            code: NO_FEATURE.to_owned(),
            sentence: format!(
                "`{name}` cannot be computed: the recording has {samples} samples but a frame needs {frame}; set center = true, or a \
                 smaller n_fft"
            ),
        })
    }

    fn headers(&self) -> &Headers {
        self.headers.get_or_init(|| match &self.planned {
            Some(seconds) => {
                let length = |i: &usize| {
                    let seconds = seconds.get(&self.set.records[*i].id).copied().unwrap_or_default();
                    (*i, Ok(Length { seconds, sample_rate: 1, is_exact: true }))
                };
                self.eligible.iter().map(length).collect()
            }
            None => self.eligible.par_iter().map(|&i| (i, length_of(&self.set.records[i]).map_err(error_of))).collect(),
        })
    }
}

fn error_of(why: Unusable) -> RecordingError {
    RecordingError { code: why.code().to_owned(), sentence: why.to_string() }
}

fn length_of(record: &ClipRecord) -> Result<Length, Unusable> {
    let header = audio::probe_file(&record.path, record.excerpt.as_ref())?;
    let is_exact = !["mp1", "mp2", "mp3", "aac"].iter().any(|codec| header.codec.starts_with(codec));
    match &record.excerpt {
        _ if header.seconds > 0.0 || !is_exact => {
            Ok(Length { seconds: header.seconds, sample_rate: header.sample_rate, is_exact })
        }
        None => Err(Unusable::NoSamples),
        Some(excerpt) => {
            let seconds = audio::probe_file(&record.path, None)?.seconds;
            Err(Unusable::OutsideRecording { start: excerpt.start, seconds })
        }
    }
}

/// The training examples that classic models have of a clip: itself and its fixed copies.
fn examples_of_clip(experiment: &Experiment) -> usize {
    1 + experiment.augment.iter().map(|spec| spec.as_kind().copies()).sum::<usize>()
}

/// The features that cut a clip into frames, with the samples of a frame.
fn frames(experiment: &Experiment) -> Vec<(&str, usize)> {
    experiment
        .features
        .iter()
        .filter_map(|(name, spec)| Some((name.as_str(), spec.as_kind().frame_length()?)))
        .collect()
}

/// A feature that has no frame in that many samples, and the samples of its frame.
fn without_frame(experiment: &Experiment, samples: usize) -> Option<(&str, usize)> {
    frames(experiment).into_iter().find(|(name, _)| experiment.features[*name].as_kind().shape(samples).is_none())
}

/// A feature without a frame in a clip makes every recording unusable, and one without a frame in a window those that are evaluated.
fn check_frames(experiment: &Experiment) -> Result<()> {
    let without = |samples: usize| Some((samples, without_frame(experiment, samples)?));
    if let Some((samples, (name, frame))) = experiment.audio.clip_samples().and_then(without) {
        bail!(UserError::new(
            ExitStatus::NothingSelected,
            format!(
                "a clip of {samples} samples has no frame of `{name}` (n_fft = {frame}), so no recording can be used: set center = \
                 true, a smaller n_fft, or a longer audio.clip_seconds"
            )
        ));
    }
    let window = experiment.evaluate.windows().map(|window| window.length(experiment.audio.sample_rate));
    if let Some((samples, (name, frame))) = window.and_then(without) {
        bail!(UserError::usage(format!(
            "a window of {samples} samples has no frame of `{name}` (n_fft = {frame}), so no recording can be evaluated: set center = \
             true, a smaller n_fft, or a longer evaluate.window.seconds"
        )));
    }
    Ok(())
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
