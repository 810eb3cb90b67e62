//! The run whose saved models an experiment evaluates instead of fitting its own (`models_from`).

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use super::{Settings, trials_of};
use timbre_core::error::UserError;
use timbre_core::labels::{Classes, Labels, Task};
use timbre_core::text::count;
use timbre_experiment::{Experiment, load_to_evaluate};
use timbre_inputs::data::{DataDirs, DataSet, DataSpec, generated};
use timbre_inputs::dataset::tags::TagValues;
use timbre_models::Classifier;
use timbre_models::classic::fusion::Fusion;
use timbre_models::device::Device;
use timbre_models::training_distance::TrainingDistance;
use timbre_runs::run_dir::{self, RunRecord, Table, Trial, TrialRecord};
use timbre_runs::tables;

/// Raised when the same models are evaluated on other recordings.
pub const VERSION: u32 = 2;

/// A finished run with models.
pub struct ModelSource {
    run: PathBuf,
    record: RunRecord,
    /// For each column of `recordings.csv`: `split`, or one per seed.
    subsets: HashMap<String, Subsets>,
    /// Whether its data set names no songs, so that every file counts as a song of its own.
    has_no_songs: bool,
    /// Whether it used the data set on which its models are evaluated.
    has_same_set: bool,
    /// One hash over the models of the experiment.
    hash: String,
}

/// The subsets of recordings and songs.
struct Subsets {
    /// By the content of the recording (BLAKE3, hexadecimal). Empty if it was not used.
    of_content: HashMap<String, String>,
    /// Several if the split divides songs.
    of_song: HashMap<String, HashSet<String>>,
}

/// The subsets on which models are fitted, and on which their epochs, weights and thresholds are chosen.
pub const SEEN: [&str; 2] = ["training", "validation"];

/// The recordings that a set has for the classes of the models.
pub struct KnownRecordings {
    /// For each recording of the set, whether the models know its classes.
    pub is_known: Vec<bool>,
    pub warning: Option<String>,
}

impl ModelSource {
    /// Opens the run that `experiment` names. All models of the experiment must be there.
    pub fn open(experiment: &Experiment, settings: &Settings) -> Result<Option<ModelSource>> {
        let Some(name) = &experiment.models_from else { return Ok(None) };
        let run = run_dir::find(&settings.runs, name).map_err(UserError::from_cause)?;
        let record = run_dir::read_record(&run)?;
        let mut hasher = blake3::Hasher::new();
        for trial in trials_of(experiment) {
            if !run_dir::has_model(&run, &trial) {
                let sentence = format!("models_from: {} has no saved model {trial}", run.display());
                bail!(UserError::usage(sentence));
            }
            for file in run_dir::model_files(&run, &trial) {
                hasher.update(&fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?);
            }
        }
        let columns = tables::read_csv(&run.join(Table::Recordings.file()))?;
        let column = |name: &str| columns.get(name).with_context(|| format!("recordings.csv has no column `{name}`"));
        let (paths, songs, contents) = (column("path")?, column("song")?, column("content")?);
        let of_column = |of: &Vec<String>| {
            let mut of_song: HashMap<String, HashSet<String>> = HashMap::new();
            for (song, subset) in songs.iter().zip(of) {
                of_song.entry(song.clone()).or_default().insert(subset.clone());
            }
            Subsets { of_content: contents.iter().cloned().zip(of.iter().cloned()).collect(), of_song }
        };
        let is_split = |name: &str| name == "split" || name.starts_with("split_s");
        let subsets: HashMap<String, Subsets> =
            columns.iter().filter(|(name, _)| is_split(name)).map(|(name, of)| (name.clone(), of_column(of))).collect();
        ensure!(
            !subsets.is_empty(),
            UserError::usage(format!(
                "models_from: {} does not say which recordings it was trained on: run its experiment again with this version",
                run.display()
            ))
        );
        let has_no_songs =
            tables::have_no_songs(paths.iter().zip(songs).map(|(path, song)| (path.as_str(), song.as_str())));
        let dirs = settings.data_dirs();
        let own = load_to_evaluate(&run_dir::resolved_config(&run), &[]).ok();
        let has_same_set = own.is_some_and(|own| are_same_set(&own.data, &experiment.data, &dirs));
        let hash = hasher.finalize().to_hex().to_string();
        Ok(Some(ModelSource { run, record, subsets, has_no_songs, has_same_set, hash }))
    }

    /// One hash over the models.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Gives the set the classes of the models, in their order. Labels that the models do not know are dropped; a recording with no other
    /// label is left out.
    pub fn name_classes(&self, set: &mut DataSet, task: Task) -> KnownRecordings {
        let classes = Classes::new(self.record.classes.iter());
        let new_label: Vec<Option<usize>> = set.classes.names().iter().map(|name| classes.index(name)).collect();
        let unknown: Vec<&str> = set
            .classes
            .names()
            .iter()
            .zip(&new_label)
            .filter(|(_, new)| new.is_none())
            .map(|(name, _)| name.as_str())
            .collect();
        let mut is_known = Vec::with_capacity(set.records.len());
        let mut dropped = 0;
        for record in &mut set.records {
            let had = record.labels.len();
            let renamed = |labels: &[usize]| labels.iter().filter_map(|&label| new_label[label]).collect();
            record.labels = Labels::new(renamed(record.labels.present()), renamed(record.labels.unknown()));
            let lost = had - record.labels.len();
            dropped += lost;
            is_known.push(match task {
                Task::SingleLabel => lost == 0,
                Task::MultiLabel => had == 0 || !record.labels.is_empty(),
            });
        }
        let left_out = is_known.iter().filter(|known| !**known).count();
        let warning = (dropped > 0).then(|| {
            let names = timbre_inputs::data::some_of(10, unknown);
            let left = count(left_out, "recording");
            format!(
                "the models do not know {names}: these labels are ignored, and {left} without another label left out"
            )
        });
        set.classes = classes;
        KnownRecordings { is_known, warning }
    }

    /// Whether the models of a seed were neither trained on this recording nor chosen on it: their epochs, weights and thresholds on the
    /// validation subset. In the same data set this holds for the other recordings of its song, too.
    pub fn may_test(&self, content: &str, song: &str, seed: u64) -> bool {
        !self.is_in(&SEEN, content, song, seed)
    }

    /// Whether the models of a seed were not trained on this recording or, in the same data set, on others of its song.
    pub fn may_validate(&self, content: &str, song: &str, seed: u64) -> bool {
        !self.is_in(&SEEN[..1], content, song, seed)
    }

    fn is_in(&self, subsets: &[&str], content: &str, song: &str, seed: u64) -> bool {
        let own = self.of_seed(seed).and_then(|of_seed| of_seed.of_content.get(content));
        match own.filter(|subset| !subset.is_empty()) {
            Some(subset) => subsets.contains(&subset.as_str()),
            None => self.has_same_set && self.has_song_in(subsets, song, seed),
        }
    }

    fn has_song_in(&self, subsets: &[&str], song: &str, seed: u64) -> bool {
        let own = self.of_seed(seed).and_then(|of_seed| of_seed.of_song.get(song));
        own.is_some_and(|own| subsets.iter().any(|subset| own.contains(*subset)))
    }

    /// Whether the models of a seed were trained or chosen on a song of this name.
    pub fn has_seen_song(&self, song: &str, seed: u64) -> bool {
        self.has_song_in(&SEEN, song, seed)
    }

    fn of_seed(&self, seed: u64) -> Option<&Subsets> {
        self.subsets.get(&format!("split_s{seed}")).or(self.subsets.get("split"))
    }

    /// A warning that the songs of the run are unknown, unless those of the `set` are too and it is the same one.
    pub fn without_songs(&self, set: &DataSet) -> Option<String> {
        (self.has_no_songs && !(self.has_same_set && set.has_no_songs())).then(|| {
            format!(
                "every file counts as a song of its own in {}, whose models are evaluated: `{}` has no `group`, so clips of a recording \
                 that they were trained on may be on test",
                self.name(),
                self.record.data.name
            )
        })
    }

    /// The model of a trial, what the run recorded about its fit, and the values of the tags that it sees.
    pub fn model(&self, trial: &Trial, device: &Device) -> Result<(Box<dyn Classifier>, TrialRecord, TagValues)> {
        let record = self.trial(trial)?;
        let (saved, tensors) = run_dir::read_model(&self.run, &trial.to_string())?;
        Ok((saved.model.restore(tensors, self.record.classes.len(), device)?, record, saved.tags))
    }

    /// How far recordings may be from those on which the model of a trial was trained.
    pub fn training_distance(&self, trial: &Trial) -> Result<Option<TrainingDistance>> {
        run_dir::read_training_distance(&self.run, &trial.to_string())
    }

    fn trial(&self, trial: &Trial) -> Result<TrialRecord> {
        run_dir::read_trial(&self.run, trial)
            .with_context(|| format!("{} has no record of {trial}", self.run.display()))
    }

    /// The weights of an ensemble, and its notes.
    pub fn fusion(&self, trial: &Trial) -> Result<(Fusion, TrialRecord)> {
        let name = trial.to_string();
        let (saved, tensors) =
            run_dir::read_ensemble(&self.run, &name)?.with_context(|| format!("{name} is no ensemble"))?;
        let task = saved.decision_rule.task;
        let fusion = Fusion::restore(saved.fuse, task, saved.weights, tensors, saved.classes.len())?;
        Ok((fusion, self.trial(trial)?))
    }

    /// The name for people.
    pub fn name(&self) -> String {
        self.run.display().to_string()
    }
}

/// Whether two data sets have one name and one folder. Several sets as one have neither.
fn are_same_set(one: &DataSpec, other: &DataSpec, dirs: &DataDirs) -> bool {
    let place = |spec: &DataSpec| {
        let kind = spec.as_kind();
        let folder = match kind.generator().filter(|generator| !generator.has_root()) {
            Some(generator) => generated::cache_folder(generator, dirs).ok()?,
            None => kind.folder(dirs, spec.kind()),
        };
        (!matches!(spec, DataSpec::Several(_))).then(|| (kind.common_keys().name_or(spec.kind()), folder))
    };
    place(one).is_some_and(|own| place(other) == Some(own))
}
