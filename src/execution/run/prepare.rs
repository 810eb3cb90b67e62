//! Prepares the data set of an experiment: loads it, hashes its recordings and splits them.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::settings::Settings;
use timbre_core::{
    error::{ExitStatus, UserError},
    labels::Task,
    seed::Seed,
};
use timbre_experiment::Experiment;
use timbre_inputs::data::split::{self, SplitSpec, Splits};
use timbre_inputs::data::{ClipRecord, DataSet, DataSpec, MissingData, Subset};
use timbre_inputs::dataset::examples::{ExampleCaches, ExampleSource};
use timbre_inputs::features::cache::content_hashes::{ContentHashes, Unreadable};
use timbre_inputs::features::cache::{Hash, hex};
use timbre_models::ModelSpec;
use timbre_runs::tables::{Recording, class_list};

/// Marks an error of the data set as the user's to correct; [`MissingData`] is marked already.
fn unless_missing(error: anyhow::Error) -> anyhow::Error {
    if error.is::<MissingData>() { error } else { UserError::from_cause(error) }
}

/// The data set of an experiment with the hash of each recording.
pub struct PreparedDataset {
    pub set: DataSet,
    /// Recordings that the experiment can use, as indices into the set.
    pub eligible: Vec<usize>,
    /// Recordings with several labels, which a single-label experiment cannot use.
    pub set_aside: usize,
    pub data_hash: String,
    /// Hashes of the files that models start from, by the name of the model.
    pub(super) model_files: BTreeMap<String, String>,
    /// Hashes of the recordings that augmentations read.
    pub(super) augment_files: Vec<String>,
    pub(super) contents: HashMap<usize, Result<Hash, Unreadable>>,
    /// Shared by the training sets of all trials.
    pub(super) example_caches: Arc<ExampleCaches>,
}

impl PreparedDataset {
    /// Loads the set and hashes its recordings. A recording whose size and times have not changed is not read again.
    pub fn new(experiment: &Experiment, settings: &Settings) -> Result<PreparedDataset> {
        make_demo(&experiment.data, settings)?;
        let set = experiment.data.as_kind().load(&settings.data_dirs()).map_err(unless_missing)?;
        if let Some(sentence) = experiment.evaluate.unknown_classes(&set.classes) {
            bail!(UserError::usage(sentence));
        }
        let in_subset =
            |r: &ClipRecord| !matches!(experiment.split, SplitSpec::Holdout(_)) || r.subset == Subset::Training;
        let of_subset: Vec<usize> = (0..set.records.len()).filter(|&i| in_subset(&set.records[i])).collect();
        let has_usable_labels = |&i: &usize| match experiment.evaluate.task {
            Task::SingleLabel => set.records[i].labels.len() == 1,
            Task::MultiLabel => true,
        };
        let eligible: Vec<usize> = of_subset.iter().copied().filter(has_usable_labels).collect();
        if eligible.is_empty() {
            bail!(UserError::new(
                ExitStatus::NothingSelected,
                format!("the data set `{}` has no recording that this experiment can use", set.name)
            ));
        }
        let mut hashes_on_disk = ContentHashes::open(&settings.cache);
        let paths: Vec<&Path> = eligible.iter().map(|&i| set.records[i].path.as_path()).collect();
        std::fs::create_dir_all(&settings.cache)
            .with_context(|| format!("cannot create the cache {}", settings.cache.display()))?;
        let progress = settings.printer.start("recordings", paths.len());
        let hashes = hashes_on_disk.hash_all(&paths, || settings.step(&progress))?;
        progress.finish();
        let contents: HashMap<_, _> = eligible.iter().copied().zip(hashes).collect();
        let data_hash = manifest_hash(&set, &eligible, &contents);
        let set_aside = of_subset.len() - eligible.len();
        Ok(PreparedDataset {
            set_aside,
            set,
            eligible,
            data_hash,
            model_files: model_files(experiment)?,
            augment_files: augment_files(experiment, &mut hashes_on_disk, settings)?,
            contents,
            example_caches: Arc::default(),
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
                content: self.contents[&i].as_ref().map_or_else(|_| "unreadable".to_owned(), hex),
            }
        };
        self.eligible.iter().map(one).collect()
    }

    /// Experiments with an equal key can share one prepared data set.
    pub fn sharing_key(experiment: &Experiment) -> String {
        let files: Vec<_> = experiment.models.iter().map(|(name, spec)| (name, spec.as_kind().files())).collect();
        let files: Vec<_> = files.into_iter().filter(|(_, files)| !files.is_empty()).collect();
        let is_holdout = matches!(experiment.split, SplitSpec::Holdout(_));
        let evaluate = &experiment.evaluate;
        json!([experiment.data, is_holdout, evaluate.task, evaluate.cutoffs, experiment.augment, files]).to_string()
    }

    /// The records of these clips, where songs that share a byte-identical recording become one song: a copy in another
    /// subset would leak the answer.
    fn with_merged_copies(&self, clips: &[usize]) -> Vec<ClipRecord> {
        let mut records: Vec<ClipRecord> = clips.iter().map(|&c| self.set.records[c].clone()).collect();
        let mut first_with: HashMap<Hash, usize> = HashMap::new();
        let mut merged = 0;
        for (i, clip) in clips.iter().enumerate() {
            let Ok(content) = &self.contents[clip] else { continue };
            let first = *first_with.entry(*content).or_insert(i);
            let (keep, lose) = (records[first].group.clone(), records[i].group.clone());
            if keep != lose {
                merged += 1;
                records.iter_mut().filter(|r| r.group == lose).for_each(|r| r.group.clone_from(&keep));
            }
        }
        if merged > 0 {
            tracing::warn!(
                "{merged} songs share identical recordings with other songs: each such group stays in one subset"
            );
        }
        records
    }

    /// Splits these clips into subsets, as indices into `clips`.
    pub fn split(&self, experiment: &Experiment, clips: &[usize], seed: u64) -> Result<Splits> {
        let records = self.with_merged_copies(clips);
        let records: Vec<&ClipRecord> = records.iter().collect();
        let splits = split::split(&records, self.set.classes.len(), &experiment.split, Seed::new(seed).child("split"))
            .map_err(UserError::from_cause)?;
        // Whether a data set declares a validation subset is not known from the configuration alone.
        let needs = |(name, spec): (&String, &ModelSpec)| {
            let (key, word) = spec.as_kind().as_ensemble()?.needs_validation()?;
            Some(format!(
                "models.{name}.{key} is {word:?}, which needs a validation split, and `{}` declares none: hold some of the \
                 training recordings out with `validation = 0.1` in [split]",
                self.set.name
            ))
        };
        match experiment.models.iter().find_map(needs) {
            Some(sentence) if splits.validation.is_empty() => bail!(UserError::usage(sentence)),
            _ => Ok(splits),
        }
    }

    /// The source of training examples of a recording whose features are in the cache.
    pub fn source(&self, clip: usize) -> ExampleSource {
        let record = &self.set.records[clip];
        let content = *self.contents[&clip].as_ref().expect("its features are in the cache, so it could be read");
        let (song, tags) = (record.group.clone(), record.tags.clone());
        ExampleSource { path: record.path.clone(), id: record.id.clone(), content, song, tags }
    }
}

/// Generates the demo set before it is loaded, to show its progress.
fn make_demo(data: &DataSpec, settings: &Settings) -> Result<()> {
    let Some(demo) = data.as_kind().generator() else { return Ok(()) };
    if demo.common.root.is_some() || demo.cache_folder(&settings.cache).is_dir() {
        return Ok(());
    }
    let progress = settings.printer.start("making demo", demo.recordings());
    demo.ensure_in_cache(&settings.cache, &|| settings.step(&progress))?;
    progress.finish();
    Ok(())
}

/// Hashes the files that models start from or replay: their content is part of the signature.
fn model_files(experiment: &Experiment) -> Result<BTreeMap<String, String>> {
    let files = experiment.models.iter().flat_map(|(name, spec)| {
        let files = spec.as_kind().files();
        // The first file of a model has the name of the model.
        let key = |(n, file)| (if n == 0 { name.clone() } else { format!("{name}#{n}") }, name, file);
        files.into_iter().enumerate().map(key).collect::<Vec<_>>()
    });
    let hash = |(key, name, file): (String, &String, PathBuf)| {
        let bytes = std::fs::read(&file)
            .with_context(|| format!("cannot read {}, which the model `{name}` needs", file.display()))
            .map_err(UserError::from_cause)?;
        Ok((key, blake3::hash(&bytes).to_hex().to_string()))
    };
    files.map(hash).collect()
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
    let hashes = hashes_on_disk.hash_all(&paths, || settings.step(&progress))?;
    progress.finish();
    let named = |((file, name), hash): (&(PathBuf, &str), Result<Hash, Unreadable>)| {
        hash.map(|hash| hex(&hash)).map_err(|Unreadable(why)| {
            let file = file.display();
            UserError::usage(format!("cannot read {file}, which the augmentation `{name}` needs: {why}")).into()
        })
    };
    files.iter().zip(hashes).map(named).collect()
}

/// One hash over ids, labels, groups, subsets, folds and contents of the recordings.
fn manifest_hash(set: &DataSet, eligible: &[usize], contents: &HashMap<usize, Result<Hash, Unreadable>>) -> String {
    let mut hasher = blake3::Hasher::new();
    for &i in eligible {
        let r = &set.records[i];
        let labels: Vec<&str> = r.labels.iter().map(|&l| set.classes.name(l)).collect();
        let content = contents[&i].as_ref().map_or("unreadable".to_owned(), hex);
        let line = json!([r.id, labels, r.group, format!("{:?}", r.subset), r.fold, content]);
        hasher.update(line.to_string().as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}
