//! Prepares the data set of an experiment: loads it, hashes its recordings and splits them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use anyhow::{Context, Result, anyhow, bail};
use indexmap::{IndexMap, IndexSet};
use rayon::prelude::*;
use serde_json::json;

use super::headers::Headers;
use super::model_source::ModelSource;
use super::settings::Settings;
use super::teacher::Teachers;
use timbre_core::{
    error::{ExitStatus, UserError},
    labels::Task,
    seed::Seed,
};
use timbre_experiment::Experiment;
use timbre_inputs::data::generated;
use timbre_inputs::data::several::{SET_TAG, exclude_missing_classes};
use timbre_inputs::data::split::{self, DividedSong, SplitSpec, Splits};
use timbre_inputs::data::{ClipRecord, DataSet, DataSpec, Subset, unless_missing};
use timbre_inputs::dataset::examples::{ExampleCaches, ExampleSource};
use timbre_inputs::features::cache::content_hashes::{ContentHashes, Unreadable, content_of, hash_file};
use timbre_inputs::features::cache::{Hash, hex};
use timbre_inputs::remote::Downloads;
use timbre_models::ModelSpec;
use timbre_runs::tables::{Recording, class_list};
use timbre_signal::audio;

/// The data set of an experiment with the hash of each recording.
pub struct PreparedDataset {
    pub set: DataSet,
    /// Recordings that the experiment can use, as indices into the set.
    pub eligible: Vec<usize>,
    /// Recordings with no label or several, which a single-label experiment cannot use.
    pub set_aside: usize,
    /// Recordings of other declared subsets than training, where the split is a hold-out: indices into the set.
    pub(super) left_out: Vec<usize>,
    /// Whether it is several sets as one.
    is_several: bool,
    /// The lengths in seconds of the recordings, by their ids, if the set is still to be generated.
    pub planned: Option<HashMap<String, f64>>,
    pub data_hash: String,
    /// The run whose models are evaluated.
    pub(super) models_from: Option<ModelSource>,
    /// The models that networks learn from.
    pub(super) teachers: Teachers,
    /// Labels that the models do not know.
    pub(super) unknown_labels: Option<String>,
    /// Hashes of the files that models start from, by the name of the model.
    pub(super) model_files: BTreeMap<String, String>,
    /// Hashes of the recordings that augmentations read.
    pub(super) augment_files: Vec<String>,
    pub(super) contents: Vec<Result<Hash, Unreadable>>,
    /// Shared by the training sets of all trials.
    pub(super) example_caches: Arc<ExampleCaches>,
    pub(super) headers: OnceLock<Headers>,
    /// What was found out about the weights that networks start from: the points of a sweep share it.
    pub(super) checked_weights: Mutex<HashMap<String, Option<String>>>,
    /// Warnings that were printed: the points of a sweep print each once.
    pub(super) printed: Mutex<BTreeSet<String>>,
}

impl PreparedDataset {
    /// Loads the set and hashes its recordings. A recording whose size and times have not changed is not read again.
    pub fn new(experiment: &Experiment, settings: &Settings) -> Result<PreparedDataset> {
        Self::of_some(experiment, settings, &|_| true)
    }

    /// [`new`](Self::new) that hashes only the recordings whose ids are `wanted`; all others count as unreadable.
    pub fn of_some(
        experiment: &Experiment,
        settings: &Settings,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<PreparedDataset> {
        generate(&experiment.data, settings)?;
        let progress = settings.printer.start("reading data", 1);
        let set = experiment.data.load_listed(&settings.data_dirs())?;
        progress.finish();
        Self::of_set(set, experiment, settings, None, wanted)
    }

    /// [`new`](Self::new) without generating the set, to plan a run. The signature is that of a run only if the set is in place.
    pub fn planned(experiment: &Experiment, settings: &Settings) -> Result<PreparedDataset> {
        let set = experiment.data.load_listed_planned(&settings.data_dirs())?;
        let dirs = settings.data_dirs();
        let planned = match experiment.data.as_kind().generator() {
            Some(generator) if !generated::is_in_place(generator, &dirs)? => Some(generator.planned_seconds(&dirs)?),
            _ => None,
        };
        Self::of_set(set, experiment, settings, planned, &|_| true)
    }

    fn of_set(
        mut set: DataSet,
        experiment: &Experiment,
        settings: &Settings,
        planned: Option<HashMap<String, f64>>,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<PreparedDataset> {
        let models_from = ModelSource::open(experiment, settings)?;
        if models_from.is_none() && matches!(experiment.split, SplitSpec::TestOnly(_)) {
            let sentence = "split.kind is \"test_only\", which leaves nothing to train on: name a run with `models_from`, or use `timbre evaluate`";
            bail!(UserError::usage(sentence.to_owned()));
        }
        if experiment.evaluate.task == Task::SingleLabel && matches!(experiment.data, DataSpec::Several(_)) {
            exclude_missing_classes(&mut set);
        }
        let known = models_from.as_ref().map(|source| source.name_classes(&mut set, experiment.evaluate.task));
        if let Some(sentence) = experiment.evaluate.unknown_classes(&set.classes) {
            bail!(UserError::usage(sentence));
        }
        let in_subset = |r: &ClipRecord| !experiment.split.divides_training_alone() || r.subset == Subset::Training;
        let (of_subset, left_out): (Vec<usize>, Vec<usize>) =
            (0..set.records.len()).partition(|&i| in_subset(&set.records[i]));
        let has_usable_labels = |&i: &usize| match experiment.evaluate.task {
            Task::SingleLabel => set.records[i].labels.len() == 1,
            Task::MultiLabel => true,
        };
        let is_known = |&i: &usize| known.as_ref().is_none_or(|known| known.is_known[i]);
        let of_subset: Vec<usize> = of_subset.into_iter().filter(is_known).collect();
        let eligible: Vec<usize> = of_subset.iter().copied().filter(has_usable_labels).collect();
        let several = |clips: &[usize]| match clips.iter().filter(|&&i| set.records[i].labels.len() > 1).count() {
            0 => "",
            _ => ": its recordings have several classes (`evaluate.task = \"multi_label\"` uses them)",
        };
        if eligible.is_empty() {
            bail!(UserError::new(
                ExitStatus::NothingSelected,
                format!(
                    "the data set `{}` has no recording that this experiment can use{}",
                    set.name,
                    several(&of_subset)
                )
            ));
        }
        let is_partial = |&&i: &&usize| !set.records[i].labels.unknown().is_empty();
        let partial = eligible.iter().filter(is_partial).count();
        if experiment.evaluate.task == Task::SingleLabel && partial > 0 {
            bail!(UserError::usage(format!(
                "{partial} of {} recordings of `{}` have unknown classes, which a task with one class per recording cannot \
                 have: set `evaluate.task = \"multi_label\"`",
                eligible.len(),
                set.name
            )));
        }
        let mut hashes_on_disk = ContentHashes::open(&settings.cache);
        // Excerpts share files, each of which is read once.
        let is_wanted = |&&i: &&usize| wanted(&set.records[i].id);
        let paths: IndexSet<&Path> =
            eligible.iter().filter(is_wanted).map(|&i| set.records[i].path.as_path()).collect();
        std::fs::create_dir_all(&settings.cache)
            .with_context(|| format!("cannot create the cache {}", settings.cache.display()))?;
        let hashes = if planned.is_some() {
            vec![Err(Unreadable { code: "unreadable", sentence: "not generated yet".to_owned() }); paths.len()]
        } else {
            let files: Vec<&Path> = paths.iter().copied().collect();
            download(&files, settings)?;
            let progress = settings.printer.start("recordings", paths.len());
            let hashes = hashes_on_disk.hash_all(&files, experiment.audio.max_bytes, || settings.step(&progress))?;
            progress.finish();
            hashes
        };
        let content = |record: &ClipRecord| {
            let not_hashed = || Err(Unreadable { code: "unreadable", sentence: "not read here".to_owned() });
            let file = paths.get_index_of(record.path.as_path()).map_or_else(not_hashed, |n| hashes[n].clone());
            file.map(|file| content_of(&file, record.excerpt.as_ref()))
        };
        let contents: Vec<_> = set.records.iter().map(content).collect();
        let data_hash = manifest_hash(&set, &eligible, &contents);
        let set_aside = of_subset.len() - eligible.len();
        let teachers = match models_from {
            Some(_) => Teachers::default(),
            None => Teachers::open(experiment, &set.classes, settings)?,
        };
        Ok(PreparedDataset {
            set_aside,
            left_out,
            is_several: matches!(experiment.data, DataSpec::Several(_)),
            planned,
            set,
            eligible,
            data_hash,
            model_files: model_files(experiment, models_from.as_ref())?,
            teachers,
            models_from,
            unknown_labels: known.and_then(|known| known.warning),
            augment_files: augment_files(experiment, &mut hashes_on_disk, settings)?,
            contents,
            example_caches: Arc::default(),
            headers: OnceLock::new(),
            checked_weights: Mutex::default(),
            printed: Mutex::default(),
        })
    }

    /// The rows of `recordings.csv`: the recordings that the experiment can use, in the order of their ids.
    pub fn recordings(&self) -> Vec<Recording> {
        let one = |&i: &usize| {
            let record = &self.set.records[i];
            Recording {
                path: record.id.clone(),
                song: record.group.clone(),
                labels: class_list(&self.set.classes, &record.labels),
                unknown: class_list(&self.set.classes, record.labels.unknown()),
                set: record.tags.get(SET_TAG).filter(|_| self.is_several).cloned().unwrap_or_default(),
                weight: record.weight,
                content: self.contents[i].as_ref().map_or_else(|_| "unreadable".to_owned(), hex),
            }
        };
        self.eligible.iter().map(one).collect()
    }

    /// The tags of the recordings, by their ids; among the `wanted` ones also the length of those without such a tag.
    pub fn tags(&self, wanted: &[String]) -> HashMap<&str, BTreeMap<String, String>> {
        let measures = wanted.iter().any(|tag| tag == LENGTH_TAG);
        let one = |&clip: &usize| {
            let record = &self.set.records[clip];
            let mut tags = record.tags.clone();
            if measures && !tags.contains_key(LENGTH_TAG) {
                let header = audio::probe_file(&record.path, record.excerpt.as_ref());
                tags.extend(header.ok().map(|header| (LENGTH_TAG.to_owned(), length_range(header.seconds))));
            }
            (record.id.as_str(), tags)
        };
        self.eligible.par_iter().map(one).collect()
    }

    /// Experiments with an equal key can share one prepared data set.
    pub fn sharing_key(experiment: &Experiment) -> String {
        if experiment.models_from.is_some() {
            return json!(experiment).to_string();
        }
        let files: Vec<_> = experiment.models.iter().map(|(name, spec)| (name, spec.as_kind().files())).collect();
        let of_features = experiment.features.iter().map(|(name, spec)| (name, spec.as_kind().files()));
        let files: Vec<_> = files.into_iter().chain(of_features).filter(|(_, files)| !files.is_empty()).collect();
        let is_holdout = experiment.split.divides_training_alone();
        let evaluate = &experiment.evaluate;
        let max_bytes = experiment.audio.max_bytes;
        json!([experiment.data, is_holdout, evaluate.task, evaluate.cutoffs, experiment.augment, files, max_bytes])
            .to_string()
    }

    /// The records of these clips, where songs that share a byte-identical recording become one song: a copy in another
    /// subset would leak the answer. Also the number of songs that were merged into others.
    pub(super) fn with_merged_copies(&self, clips: &[usize]) -> (Vec<ClipRecord>, usize) {
        let mut records: Vec<ClipRecord> = clips.iter().map(|&c| self.set.records[c].clone()).collect();
        let mut first_with: HashMap<Hash, usize> = HashMap::new();
        let mut merged = 0;
        for (i, clip) in clips.iter().enumerate() {
            let Ok(content) = &self.contents[*clip] else { continue };
            let first = *first_with.entry(*content).or_insert(i);
            let (keep, lose) = (records[first].group.clone(), records[i].group.clone());
            if keep != lose {
                merged += 1;
                records.iter_mut().filter(|r| r.group == lose).for_each(|r| r.group.clone_from(&keep));
            }
        }
        (records, merged)
    }

    /// Splits these clips into subsets, as indices into `clips`.
    pub fn split(&self, experiment: &Experiment, clips: &[usize], seed: u64) -> Result<Splits> {
        self.split_merged(experiment, clips, &self.with_merged_copies(clips).0, seed)
    }

    /// [`split`](Self::split) for every seed of the experiment.
    pub fn splits(&self, experiment: &Experiment, clips: &[usize]) -> Result<IndexMap<u64, Splits>> {
        let (records, _) = self.with_merged_copies(clips);
        let split = |&seed: &u64| Ok((seed, self.split_merged(experiment, clips, &records, seed)?));
        experiment.seeds.iter().map(split).collect()
    }

    fn split_merged(
        &self,
        experiment: &Experiment,
        clips: &[usize],
        records: &[ClipRecord],
        number: u64,
    ) -> Result<Splits> {
        let by_reference: Vec<&ClipRecord> = records.iter().collect();
        let seed = Seed::new(number).child("split");
        let mut splits = split::split(&by_reference, self.set.classes.len(), &experiment.split, seed, number)
            .map_err(|error| self.blame_copies(error, clips, records))
            .map_err(UserError::from_cause)?;
        if let Some(source) = &self.models_from {
            let content = |row: &usize| self.contents[clips[*row]].as_ref().map(hex).unwrap_or_default();
            let song = |row: &usize| self.set.records[clips[*row]].group.as_str();
            splits.validation.retain(|row| source.may_validate(&content(row), song(row), number));
            for rows in [&mut splits.test, &mut splits.held_out] {
                rows.retain(|row| source.may_test(&content(row), song(row), number));
            }
            if splits.test.is_empty() {
                bail!(UserError::new(
                    ExitStatus::NothingSelected,
                    format!(
                        "the models of {} were trained or chosen on every test recording of `{}`, or on its song",
                        source.name(),
                        self.set.name
                    )
                ));
            }
        }
        // Whether a data set declares a validation subset is not known from the configuration alone.
        let needs = |(name, spec): (&String, &ModelSpec)| {
            let (key, word) = spec.as_ensemble()?.needs_validation()?;
            Some(format!(
                "models.{name}.{key} is {word:?}, which needs a validation split, and `{}` declares none: hold some of the \
                 training recordings out with `validation = 0.1` in [split]",
                self.set.name
            ))
        };
        match experiment.models.iter().find_map(needs) {
            Some(sentence) if splits.validation.is_empty() && self.models_from.is_none() => {
                bail!(UserError::usage(sentence))
            }
            _ => Ok(splits),
        }
    }

    /// The error that names two byte-identical recordings, if it was their copies that made one song of several.
    fn blame_copies(&self, error: anyhow::Error, clips: &[usize], merged: &[ClipRecord]) -> anyhow::Error {
        let Some(DividedSong { song, .. }) = error.downcast_ref() else { return error };
        let mut copies: HashMap<Hash, Vec<&ClipRecord>> = HashMap::new();
        for (&clip, _) in clips.iter().zip(merged).filter(|(_, record)| record.group == *song) {
            let Ok(content) = &self.contents[clip] else { continue };
            copies.entry(*content).or_default().push(&self.set.records[clip]);
        }
        let pairs = copies.values().flat_map(|same| same.iter().skip(1).map(move |other| (same[0], *other)));
        let pairs = pairs.filter(|(one, other)| one.group != other.group);
        let place = |record: &ClipRecord| (record.subset, record.fold.clone());
        // A pair in two subsets shows the fault at once.
        let worst = pairs.min_by_key(|(one, other)| (place(one) == place(other), one.id.clone(), other.id.clone()));
        match worst {
            Some((one, other)) => anyhow!(
                "split the recordings: {:?} and {:?} are byte-identical, so {:?} and {:?} count as one song, and that is in \
                 different subsets: remove one of the copies (`timbre data check {}` lists them all), or choose the split \
                 `holdout`",
                one.id,
                other.id,
                one.group,
                other.group,
                self.set.name
            ),
            None => error,
        }
    }

    /// The source of training examples of a recording whose features are in the cache.
    pub fn source(&self, clip: usize) -> ExampleSource {
        let record = &self.set.records[clip];
        let content = *self.contents[clip].as_ref().expect("its features are in the cache, so it could be read");
        let (song, tags) = (record.group.clone(), record.tags.clone());
        let (path, excerpt) = (record.path.clone(), record.excerpt);
        ExampleSource { path, excerpt, id: record.id.clone(), content, song, tags }
    }
}

/// Brings the recordings among these that are in a mirror of a URL and not here yet.
pub fn download(files: &[&Path], settings: &Settings) -> Result<()> {
    let downloads = Downloads::of(files);
    if downloads.is_empty() {
        return Ok(());
    }
    let progress = settings.printer.start("downloads", downloads.len());
    downloads.run(|| settings.step(&progress))?;
    progress.finish();
    Ok(())
}

/// Generates the set before it is loaded, to show its progress.
pub fn generate(data: &DataSpec, settings: &Settings) -> Result<()> {
    let Some(set) = data.as_kind().generator() else { return Ok(()) };
    let dirs = settings.data_dirs();
    let recordings = || match generated::is_in_place(set, &dirs)? {
        true => Ok(None),
        false => Ok(Some(set.planned_seconds(&dirs)?.len())),
    };
    // A file that is missing or no SoundFont is the user's to correct.
    let Some(recordings) = recordings().map_err(unless_missing)? else { return Ok(()) };
    let progress = settings.printer.start(&format!("making {}", set.kind()), recordings);
    generated::ensure_in_cache(set, &dirs, &|| settings.step(&progress))?;
    progress.finish();
    Ok(())
}

/// Hashes the files that models start from or replay, and those that features read: their content is part of the signature.
fn model_files(experiment: &Experiment, models_from: Option<&ModelSource>) -> Result<BTreeMap<String, String>> {
    let of_features = experiment.features.iter().flat_map(|(name, spec)| {
        let explain = |error: anyhow::Error| {
            let sentence = format!("{error:#}: the feature `{name}` needs it (docs/pretrained.md)");
            vec![Err(UserError::usage(sentence).into())]
        };
        let named = |(n, hash)| Ok((format!("features.{name}#{n}"), hash));
        spec.file_hashes().map_or_else(explain, |hashes| hashes.into_iter().enumerate().map(named).collect())
    });
    let files = experiment.models.iter().flat_map(|(name, spec)| {
        let files = spec.as_kind().files();
        // The first file of a model has the name of the model.
        let key = |(n, file)| (if n == 0 { name.clone() } else { format!("{name}#{n}") }, name, file);
        files.into_iter().enumerate().map(key).collect::<Vec<_>>()
    });
    let hash = |(key, name, file): (String, &String, PathBuf)| {
        let found = hash_file(&file)
            .with_context(|| format!("cannot read {}, which the model `{name}` needs", file.display()))
            .map_err(UserError::from_cause)?;
        Ok((key, hex(&found)))
    };
    // No model has a name with a space.
    let source = models_from.map(|source| Ok(("models from".to_owned(), source.hash().to_owned())));
    files.map(hash).chain(of_features).chain(source).collect()
}

/// Hashes the background recordings in the order in which they can be drawn. A file whose size and times have not changed
/// is not read again.
fn augment_files(
    experiment: &Experiment,
    hashes_on_disk: &mut ContentHashes,
    settings: &Settings,
) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for spec in &experiment.augment {
        let of_spec = spec.as_kind().files().map_err(UserError::from_cause)?;
        files.extend(of_spec.into_iter().map(|file| (file, spec.name())));
    }
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let paths: Vec<&Path> = files.iter().map(|(file, _)| file.as_path()).collect();
    let progress = settings.printer.start("backgrounds", paths.len());
    let hashes = hashes_on_disk.hash_all(&paths, experiment.audio.max_bytes, || settings.step(&progress))?;
    progress.finish();
    let named = |((file, name), hash): (&(PathBuf, &str), Result<Hash, Unreadable>)| {
        hash.map(|hash| hex(&hash)).map_err(|Unreadable { sentence, .. }| {
            let file = file.display();
            UserError::usage(format!("cannot read {file}, which the augmentation `{name}` needs: {sentence}")).into()
        })
    };
    files.iter().zip(hashes).map(named).collect()
}

/// One hash over ids, labels, groups, subsets, folds and contents of the recordings.
fn manifest_hash(set: &DataSet, eligible: &[usize], contents: &[Result<Hash, Unreadable>]) -> String {
    let mut hasher = blake3::Hasher::new();
    for &i in eligible {
        let r = &set.records[i];
        let labels: Vec<&str> = r.labels.iter().map(|&l| set.classes.name(l)).collect();
        let content = contents[i].as_ref().map_or("unreadable".to_owned(), hex);
        let line = json!([r.id, labels, r.group, format!("{:?}", r.subset), r.fold, content]);
        hasher.update(line.to_string().as_bytes());
        if !r.labels.unknown().is_empty() {
            hasher.update(json!(class_list(&set.classes, r.labels.unknown())).to_string().as_bytes());
        }
        if r.weight != 1.0 {
            hasher.update(&r.weight.to_le_bytes());
        }
    }
    hasher.finalize().to_hex().to_string()
}
/// The name by which `evaluate.by_tag` divides the scores by the length of the recordings.
pub const LENGTH_TAG: &str = "length";

/// The range of a length, such as `5 to 10 s`.
fn length_range(seconds: f64) -> String {
    const EDGES: [f64; 11] = [0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0];
    // A clip that lacks a sample is as long as it says.
    let above = EDGES.partition_point(|&edge| edge <= seconds + 1e-3).max(1);
    match EDGES.get(above) {
        Some(edge) => format!("{} to {edge} s", EDGES[above - 1]),
        None => format!("{} s and more", EDGES[above - 1]),
    }
}
