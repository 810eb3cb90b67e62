//! What an experiment is made of: the recordings of its set, which of them can be used, and where their features lie.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::settings::Settings;
use timbre_core::labels::Task;
use timbre_core::seed::Seed;
use timbre_evaluation::aggregation;
use timbre_evaluation::metrics;
use timbre_evaluation::threshold_search;
use timbre_experiment::Experiment;
use timbre_inputs::augment::chain;
use timbre_inputs::data::split::{self, SplitSpec, Splits};
use timbre_inputs::data::{self, ClipRecord, DataSet, DataSpec, MissingData, Subset};
use timbre_inputs::dataset::examples::ExampleSource;
use timbre_inputs::features::cache::content_hashes::{ContentHashes, Unreadable};
use timbre_inputs::features::cache::{CachedMatrix, FeatureCache, Hash, hex};
use timbre_inputs::features::extraction::{
    self, CachedWindows, Extraction, ExtractionInput, ExtractionResult, RecordingError,
};
use timbre_models::ModelSpec;
use timbre_runs::run_dir::CacheRecord;
use timbre_runs::tables::{Recording, class_list};
use timbre_signal::audio;
use timbre_signal::windows;

/// Nothing is left to work on: exit code 4.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NothingSelected(String);

/// The data and the experiment do not go together: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(String);

impl NothingSelected {
    pub fn of(sentence: String) -> NothingSelected {
        NothingSelected(sentence)
    }
}

impl Unfit {
    /// Data that is not there has a message of its own.
    fn unless_missing(error: anyhow::Error) -> anyhow::Error {
        if error.is::<MissingData>() { error } else { Unfit::of(error) }
    }

    pub fn of(error: anyhow::Error) -> anyhow::Error {
        Unfit(format!("{error:#}")).into()
    }
}

/// The data set of an experiment with the hash of each recording.
pub struct Material {
    pub set: DataSet,
    /// Recordings that the experiment may use, as indices into the set.
    pub eligible: Vec<usize>,
    /// Recordings with several labels, which a single-label experiment cannot use.
    pub set_aside: usize,
    pub data_hash: String,
    /// The files that models begin with, by name: the hashes of their bytes.
    model_files: BTreeMap<String, String>,
    /// Of the recordings that augmentations read: the hashes of their bytes.
    heard_files: Vec<String>,
    contents: HashMap<usize, Result<Hash, Unreadable>>,
}

/// The recordings in use, with their features.
pub struct Selection {
    /// Indices into the set, ascending.
    pub clips: Vec<usize>,
    /// `stored[i][f]`: feature `f` of `clips[i]`.
    pub stored: Vec<Vec<CachedMatrix>>,
    /// `windows[i][f]`: feature `f` of every window of `clips[i]`; empty where it is not judged in windows.
    pub windows: Vec<Vec<CachedWindows>>,
    pub unusable: Vec<(usize, RecordingError)>,
    pub hits: usize,
    pub misses: usize,
}

impl Selection {
    pub fn cache(&self) -> CacheRecord {
        CacheRecord { hits: self.hits, misses: self.misses }
    }
}

impl Material {
    /// Loads the set and hashes its recordings (those not touched since are not read).
    pub fn gather(experiment: &Experiment, settings: &Settings) -> Result<Material> {
        make_demo(&experiment.data, settings)?;
        let set = experiment.data.as_kind().load(&settings.places()).map_err(Unfit::unless_missing)?;
        if let Some(sentence) = experiment.evaluate.unknown_classes(&set.classes) {
            bail!(Unfit(sentence));
        }
        let in_part =
            |r: &ClipRecord| !matches!(experiment.split, SplitSpec::Holdout(_)) || r.subset == Subset::Training;
        let of_part: Vec<usize> = (0..set.records.len()).filter(|&i| in_part(&set.records[i])).collect();
        let has_its_labels = |&i: &usize| match experiment.evaluate.task {
            Task::SingleLabel => set.records[i].labels.len() == 1,
            Task::MultiLabel => true,
        };
        let eligible: Vec<usize> = of_part.iter().copied().filter(has_its_labels).collect();
        if eligible.is_empty() {
            bail!(NothingSelected(format!(
                "the data set `{}` has no recording that this experiment can use",
                set.name
            )));
        }
        let mut known = ContentHashes::open(&settings.cache);
        let paths: Vec<&Path> = eligible.iter().map(|&i| set.records[i].path.as_path()).collect();
        std::fs::create_dir_all(&settings.cache)
            .with_context(|| format!("cannot create the cache {}", settings.cache.display()))?;
        let progress = settings.printer.start("recordings", paths.len());
        let hashes = known.hash_all(&paths, || settings.step(&progress))?;
        progress.finish();
        let contents: HashMap<_, _> = eligible.iter().copied().zip(hashes).collect();
        let data_hash = manifest_hash(&set, &eligible, &contents);
        let set_aside = of_part.len() - eligible.len();
        Ok(Material {
            set_aside,
            set,
            eligible,
            data_hash,
            model_files: model_files(experiment)?,
            heard_files: heard_files(experiment, &mut known, settings)?,
            contents,
        })
    }

    /// The recordings that the experiment may use, in the order of their ids.
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

    /// What of an experiment its material stands on: experiments that agree in it can share what was gathered.
    pub fn key(experiment: &Experiment) -> String {
        let files: Vec<_> = experiment.models.iter().map(|(name, spec)| (name, spec.as_kind().files())).collect();
        let files: Vec<_> = files.into_iter().filter(|(_, files)| !files.is_empty()).collect();
        let is_holdout = matches!(experiment.split, SplitSpec::Holdout(_));
        let evaluate = &experiment.evaluate;
        json!([experiment.data, is_holdout, evaluate.task, evaluate.cutoffs, experiment.augment, files]).to_string()
    }

    /// The run's name for everything that changes a result: configuration, recordings, versions of the stages.
    pub fn signature(&self, experiment: &Experiment) -> String {
        let text = format!("{}\n{}\n{}", experiment.canonical_json(), self.data_hash, self.stages(experiment));
        blake3::hash(text.as_bytes()).to_hex().to_string()
    }

    /// The version of every stage, and the hashes of the files that are read beside the recordings.
    pub fn stages(&self, experiment: &Experiment) -> Value {
        let mut versions = json!({
            "runner": super::scoring::VERSION,
            "data": experiment.data.as_kind().version(),
            "precompute": extraction::VERSION,
            "decoding": audio::VERSION,
            "metrics": metrics::VERSION,
            "split": split::VERSION,
            "features": experiment.features.iter().map(|(n, f)| (n.clone(), f.as_kind().version())).collect::<Versions>(),
            "models": experiment.models.iter().map(|(n, m)| (n.clone(), m.as_kind().version())).collect::<Versions>(),
            "files": self.model_files,
        });
        if experiment.evaluate.windows().is_some() {
            versions["windows"] = json!([windows::VERSION, aggregation::VERSION]);
        } else if aggregation::VERSION > 1 {
            // The first version does not stand there, so that the runs of before it was named are found again.
            versions["decisions"] = json!(aggregation::VERSION);
        }
        if experiment.evaluate.search.is_some() {
            versions["search"] = json!(threshold_search::VERSION);
        }
        if !experiment.augment.is_empty() {
            versions["augment"] = experiment.augment.iter().map(|spec| spec.as_kind().version()).collect();
            versions["augment_chain"] = json!(chain::VERSION);
        }
        if !self.heard_files.is_empty() {
            versions["augment_files"] = json!(self.heard_files);
        }
        versions
    }

    /// The same for people: thousands of backgrounds are one hash.
    pub fn stages_in_short(&self, experiment: &Experiment) -> Value {
        let mut stages = self.stages(experiment);
        if let Some(files) = stages.get_mut("augment_files") {
            *files = json!(blake3::hash(files.to_string().as_bytes()).to_hex().to_string());
        }
        stages
    }

    /// The name of all that decides what the units of a run are: its signature without what is done with finished units.
    pub fn training_signature(&self, experiment: &Experiment) -> String {
        let mut training = experiment.clone();
        training.evaluate.search = None;
        training.evaluate.bootstrap = 0;
        if !training.models.values().any(|spec| spec.as_kind().depends_on_metric()) {
            training.evaluate.metric = None;
        }
        self.signature(&training)
    }

    /// The records of these clips, with songs that share a byte-identical recording made one: a copy on the other side of
    /// the split would be an answer given away.
    fn with_copies_united(&self, clips: &[usize]) -> Vec<ClipRecord> {
        let mut records: Vec<ClipRecord> = clips.iter().map(|&c| self.set.records[c].clone()).collect();
        let mut first_with: HashMap<Hash, usize> = HashMap::new();
        let mut united = 0;
        for (i, clip) in clips.iter().enumerate() {
            let Ok(content) = &self.contents[clip] else { continue };
            let first = *first_with.entry(*content).or_insert(i);
            let (keep, lose) = (records[first].group.clone(), records[i].group.clone());
            if keep != lose {
                united += 1;
                records.iter_mut().filter(|r| r.group == lose).for_each(|r| r.group.clone_from(&keep));
            }
        }
        if united > 0 {
            tracing::warn!("{united} songs hold copies of recordings of other songs and go to the same side with them");
        }
        records
    }

    /// The sides of the split of these clips, as indices into `clips`.
    pub fn split(&self, experiment: &Experiment, clips: &[usize], seed: u64) -> Result<Splits> {
        let records = self.with_copies_united(clips);
        let records: Vec<&ClipRecord> = records.iter().collect();
        let splits = split::split(&records, self.set.classes.len(), &experiment.split, Seed::new(seed).child("split"))
            .map_err(Unfit::of)?;
        // A set may declare no validation part, which the configuration alone does not tell.
        let needs = |(name, spec): (&String, &ModelSpec)| {
            let (key, word) = spec.as_kind().as_ensemble()?.needs_validation()?;
            Some(format!(
                "models.{name}.{key} is {word:?}, which needs a validation split, and `{}` declares none: hold some of the \
                 training recordings out with `validation = 0.1` in [split]",
                self.set.name
            ))
        };
        match experiment.models.iter().find_map(needs) {
            Some(sentence) if splits.validation.is_empty() => bail!(Unfit(sentence)),
            _ => Ok(splits),
        }
    }

    /// The recordings that the experiment would use if every one were usable.
    pub fn all_chosen(&self, experiment: &Experiment) -> Vec<usize> {
        self.chosen(experiment, |_| true)
    }

    /// The file of a recording that the cache holds.
    pub fn source(&self, clip: usize) -> ExampleSource {
        let record = &self.set.records[clip];
        let content = *self.contents[&clip].as_ref().expect("its features are in the cache, so it could be read");
        let (song, tags) = (record.group.clone(), record.tags.clone());
        ExampleSource { path: record.path.clone(), id: record.id.clone(), content, song, tags }
    }

    fn input(&self, clip: usize, of_clip: bool, windows: bool) -> ExtractionInput<'_> {
        ExtractionInput { record: &self.set.records[clip], content: &self.contents[&clip], clip: of_clip, windows }
    }

    /// Which of these clips are judged in windows: those that some seed validates or tests on.
    fn judged_in_windows(&self, experiment: &Experiment, clips: &[usize]) -> Result<HashSet<usize>> {
        let mut judged = HashSet::new();
        if experiment.evaluate.windows().is_none() {
            return Ok(judged);
        }
        for &seed in &experiment.seeds {
            let splits = self.split(experiment, clips, seed)?;
            judged.extend(splits.evaluated().iter().flat_map(|(_, rows)| *rows).map(|&row| clips[row]));
        }
        Ok(judged)
    }

    /// The first recordings of each class that `usable` lets through, as indices into the set.
    fn chosen(&self, experiment: &Experiment, usable: impl Fn(usize) -> bool) -> Vec<usize> {
        let Some(limit) = experiment.data.as_kind().common_keys().limit_per_class else {
            return self.eligible.iter().copied().filter(|&i| usable(i)).collect();
        };
        let by_id: HashMap<&str, usize> = self.eligible.iter().map(|&i| (self.set.records[i].id.as_str(), i)).collect();
        let records: Vec<ClipRecord> = self.eligible.iter().map(|&i| self.set.records[i].clone()).collect();
        let kept = data::limit_per_class(&records, Some(limit), |r| usable(by_id[r.id.as_str()]));
        kept.into_iter().map(|k| self.eligible[k]).collect()
    }

    /// (hits, misses) of the cache if the experiment ran now and every recording were usable.
    pub fn look(
        &self,
        experiment: &Experiment,
        extraction: &Extraction,
        store: &FeatureCache,
    ) -> Result<(usize, usize)> {
        let clips = self.all_chosen(experiment);
        let judged = self.judged_in_windows(experiment, &clips)?;
        let inputs: Vec<ExtractionInput> = clips.iter().map(|&i| self.input(i, true, judged.contains(&i))).collect();
        Ok(extraction.count_cached(&inputs, store))
    }

    /// Computes the features that the cache lacks. A recording that turns out unusable is replaced by the next of its class,
    /// so that the results are those of a set without it. Windows are computed of what is judged if every recording is
    /// usable, while it is in memory; the few that another one moves to another side are read a second time.
    pub fn select(
        &self,
        experiment: &Experiment,
        extraction: &Extraction,
        store: &FeatureCache,
        settings: &Settings,
    ) -> Result<Selection> {
        let mut outcomes: HashMap<usize, ExtractionResult> = HashMap::new();
        let (mut hits, mut misses) = (0, 0);
        loop {
            let unusable = |i: usize| matches!(outcomes.get(&i), Some(Err(_)));
            let clips = self.chosen(experiment, |i| !unusable(i));
            let judged = self.judged_in_windows(experiment, &clips)?;
            let lacks_windows = |i: &usize| {
                let has =
                    |outcome: &ExtractionResult| outcome.as_ref().is_ok_and(|computed| !computed.windows.is_empty());
                judged.contains(i) && !outcomes.get(i).is_some_and(has)
            };
            let is_open = |i: &usize| !outcomes.contains_key(i) || lacks_windows(i);
            let open: Vec<usize> = clips.iter().copied().filter(is_open).collect();
            if open.is_empty() {
                return self.selection(clips, outcomes, hits, misses);
            }
            let inputs: Vec<ExtractionInput> =
                open.iter().map(|i| self.input(*i, !outcomes.contains_key(i), judged.contains(i))).collect();
            let progress = settings.printer.start("features", open.len());
            let (found, work) = extraction.run(&inputs, store, &settings.stop, || progress.step())?;
            progress.finish();
            for (why, count) in &work.reasons {
                tracing::info!("{count} features computed: {why}");
            }
            hits += work.hits;
            misses += work.misses;
            for (clip, found) in open.into_iter().zip(found) {
                match (outcomes.get_mut(&clip), found) {
                    // Its clip was there before.
                    (Some(Ok(computed)), Ok(found)) => computed.windows = found.windows,
                    (_, found) => drop(outcomes.insert(clip, found)),
                }
            }
        }
    }

    fn selection(
        &self,
        clips: Vec<usize>,
        mut outcomes: HashMap<usize, ExtractionResult>,
        hits: usize,
        misses: usize,
    ) -> Result<Selection> {
        let computed = clips.iter().map(|i| outcomes.remove(i).and_then(Result::ok).expect("a chosen clip is usable"));
        let (stored, windows) = computed.map(|computed| (computed.clip, computed.windows)).unzip();
        let mut unusable: Vec<(usize, RecordingError)> =
            outcomes.into_iter().filter_map(|(i, outcome)| Some((i, outcome.err()?))).collect();
        unusable.sort_by_key(|(i, _)| *i);
        if clips.is_empty() {
            let (_, why) = &unusable[0];
            bail!(NothingSelected(format!(
                "none of the {} recordings of `{}` can be used; the first: {}",
                unusable.len(),
                self.set.name,
                why.sentence
            )));
        }
        Ok(Selection { clips, stored, windows, unusable, hits, misses })
    }

    /// `unusable.jsonl`, a value a line.
    pub fn unusable_lines(&self, selection: &Selection) -> Vec<Value> {
        let line = |(i, why): &(usize, RecordingError)| json!({ "path": self.set.records[*i].id, "reason": why.code, "message": why.sentence });
        selection.unusable.iter().map(line).collect()
    }
}

/// Makes the demo set before it is loaded, so that who waits for it sees why.
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

/// What lies in the files that models begin with, or play again, is part of what is run.
fn model_files(experiment: &Experiment) -> Result<BTreeMap<String, String>> {
    let files = experiment.models.iter().flat_map(|(name, spec)| {
        let files = spec.as_kind().files();
        // One file alone is named by its model.
        let key = |(n, file)| (if n == 0 { name.clone() } else { format!("{name}#{n}") }, name, file);
        files.into_iter().enumerate().map(key).collect::<Vec<_>>()
    });
    let hash = |(key, name, file): (String, &String, std::path::PathBuf)| {
        let bytes = std::fs::read(&file)
            .with_context(|| format!("cannot read {}, which the model `{name}` needs", file.display()))
            .map_err(Unfit::of)?;
        Ok((key, blake3::hash(&bytes).to_hex().to_string()))
    };
    files.map(hash).collect()
}

/// The recordings of backgrounds, in the order in which they can be drawn; those not touched since are not read.
fn heard_files(experiment: &Experiment, known: &mut ContentHashes, settings: &Settings) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for spec in &experiment.augment {
        let of_spec = spec.as_kind().files().map_err(Unfit::of)?;
        files.extend(of_spec.into_iter().map(|file| (file, spec.name())));
    }
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let paths: Vec<&Path> = files.iter().map(|(file, _)| file.as_path()).collect();
    let progress = settings.printer.start("backgrounds", paths.len());
    let hashes = known.hash_all(&paths, || settings.step(&progress))?;
    progress.finish();
    let named = |((file, name), hash): (&(PathBuf, &str), Result<Hash, Unreadable>)| {
        hash.map(|hash| hex(&hash)).map_err(|Unreadable(why)| {
            let file = file.display();
            Unfit(format!("cannot read {file}, which the augmentation `{name}` needs: {why}")).into()
        })
    };
    files.iter().zip(hashes).map(named).collect()
}

type Versions = BTreeMap<String, u32>;

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
