//! One experiment from end to end: recordings in, run folder out.
//!
//! The order of work: find the recordings and hash them; derive the signature; open the run's folder and write the
//! configuration; compute what the feature cache lacks; fit and decision_rule each unit that is not done; write the tables.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use indexmap::IndexMap;
use serde_json::json;

use timbre_core::cancel::Cancelled;
use timbre_core::labels::Task;
use timbre_evaluation::metrics::DecisionRule;
use timbre_experiment::members::ModelOnFeature;
use timbre_experiment::{Experiment, ResolvedExperiment};
use timbre_inputs::data::split::Splits;
use timbre_inputs::features::cache::FeatureCache;
use timbre_inputs::features::extraction::Extraction;
use timbre_reports::run_report;
use timbre_reports::thresholds;
use timbre_runs::run_dir::{self, Busy, CacheRecord, DataRecord, Opened, RunDir, RunRecord, Status, Table, Trial};

mod by_labels;
mod ensemble;
pub mod environment;
pub mod material;
pub mod scoring;
pub mod augmentation_preview;
mod reuse;
mod threshold_search;
mod sets;
mod settings;
mod trial;
mod writing;

pub use settings::Settings;

use material::{Material, Selection};
use scoring::Done;

/// In the environment of `run.json`: the versions of the stages that the signature stands on.
pub const STAGES: &str = "stages";

/// What a run came to.
pub struct RunOutcome {
    pub path: PathBuf,
    pub record: RunRecord,
    /// The same run had been finished before; nothing was computed.
    pub reused: bool,
    /// Why the report could not be written. The run is finished all the same.
    pub no_report: Option<String>,
}

/// Runs `resolved`, or finds it finished.
pub fn run(resolved: &ResolvedExperiment, settings: &Settings) -> Result<RunOutcome> {
    let begun = Instant::now();
    let material = Material::gather(&resolved.experiment, settings)?;
    run_on(resolved, settings, &material, begun)
}

/// The same on material that was gathered before; `begun` is when.
pub fn run_on(
    resolved: &ResolvedExperiment,
    settings: &Settings,
    material: &Material,
    begun: Instant,
) -> Result<RunOutcome> {
    let experiment = &resolved.experiment;
    let signature = material.signature(experiment);
    let store = settings.feature_cache()?;
    let extraction = Extraction::new(&experiment.audio, &experiment.features, experiment.evaluate.windows())?;
    let dir = match RunDir::open(&settings.runs, &experiment.name, &signature, settings.fresh)? {
        Opened::Finished { path, record } if is_whole(&path, experiment) => {
            let (hits, _) = material.look(experiment, &extraction, &store)?;
            let before = record.status;
            let outcome = shown_again(path, *record, experiment, hits)?;
            // A report says how its run ended.
            let is_told = run_dir::has_report(&outcome.path) && outcome.record.status == before;
            let no_report = if is_told { None } else { write_report(&outcome.path, material) };
            return Ok(RunOutcome { no_report, ..outcome });
        }
        // A file was removed, or the models were not saved and now shall be: what is missing is made.
        Opened::Finished { path, .. } => RunDir::lock(path)?,
        Opened::ToDo(dir) => dir,
    };
    dir.write_config(&resolved.written, &resolved.resolved_toml)?;
    writing::write_recordings(&dir, material)?;
    let mut record = new_record(experiment, settings, material, signature);
    record.training = Some(material.training_signature(experiment));
    // Of an earlier start of this run, which is not taken over again.
    record.taken_over = run_dir::read_record(dir.path()).ok().and_then(|earlier| earlier.taken_over);
    record.seconds.insert("data".into(), begun.elapsed().as_secs_f64());
    dir.write_record(&record)?;
    dir.log("started", json!({ "signature": record.signature, "clips": material.eligible.len() }));
    let work = Work { experiment, settings, material, extraction: &extraction, store: &store, dir: &dir };
    let ended = work.all(&mut record);
    record.ended = Some(run_dir::now());
    record.seconds.insert("total".into(), begun.elapsed().as_secs_f64());
    match ended {
        Ok(()) => {
            record.status = final_status(&record, experiment);
            run_dir::make_latest(dir.path())?;
            dir.write_record(&record)?;
            dir.log("ended", json!({ "status": record.status }));
            // A function of the folder, so it comes last, when the folder is whole.
            let clock = Instant::now();
            let no_report = write_report(dir.path(), material);
            dir.log("report", json!({ "seconds": clock.elapsed().as_secs_f64(), "error": no_report }));
            Ok(RunOutcome { path: dir.path().to_owned(), record, reused: false, no_report })
        }
        Err(error) => {
            record.status = if error.is::<Cancelled>() { Status::Stopped } else { Status::Failed };
            dir.log("ended", json!({ "status": record.status, "error": format!("{error:#}") }));
            // The reason of the failure is worth more than a second one, of writing it down.
            let _ = dir.write_record(&record);
            Err(error)
        }
    }
}

/// Only the features: what `timbre features` does. Returns hits, misses and the number of unusable recordings.
pub fn features(experiment: &Experiment, settings: &Settings) -> Result<(CacheRecord, usize)> {
    let material = Material::gather(experiment, settings)?;
    let extraction = Extraction::new(&experiment.audio, &experiment.features, experiment.evaluate.windows())?;
    let selection = material.select(experiment, &extraction, &settings.feature_cache()?, settings)?;
    Ok((selection.cache(), selection.unusable.len()))
}

/// The units of an experiment in the order of its file: features, then seeds, then models; ensembles, which wait for the
/// others, last.
pub fn trials_of(experiment: &Experiment) -> Vec<Trial> {
    let places = experiment.models_on_features();
    let mut units = Vec::new();
    for of_one_feature in places.chunk_by(|a, b| a.features == b.features) {
        for &seed in &experiment.seeds {
            let unit =
                |place: &ModelOnFeature| Trial { features: place.features.clone(), model: place.model.clone(), seed };
            units.extend(of_one_feature.iter().map(unit));
        }
    }
    units
}

fn new_record(experiment: &Experiment, settings: &Settings, material: &Material, signature: String) -> RunRecord {
    let mut environment = environment::describe(Some(&settings.device));
    // Part of the signature: which of them changed is what a run that comes out otherwise is asked.
    environment[STAGES] = material.stages_in_short(experiment);
    RunRecord {
        schema: run_dir::SCHEMA,
        experiment: experiment.name.clone(),
        description: experiment.description.clone(),
        signature,
        status: Status::Running,
        started: run_dir::now(),
        ended: None,
        seeds: experiment.seeds.clone(),
        classes: material.set.classes.names().to_vec(),
        metric: experiment.evaluate.metric().name().to_owned(),
        data: DataRecord {
            name: material.set.name.clone(),
            hash: material.data_hash.clone(),
            clips: 0,
            unusable: 0,
            set_aside: material.set_aside,
        },
        training: None,
        taken_over: None,
        cache: CacheRecord::default(),
        seconds: IndexMap::new(),
        failures: IndexMap::new(),
        results: Vec::new(),
        environment,
    }
}

/// The limit on unusable recordings is no part of the signature: each start judges by its own.
fn final_status(record: &RunRecord, experiment: &Experiment) -> Status {
    let all = record.data.clips + record.data.unusable;
    if !record.failures.is_empty() {
        Status::Failed
    } else if record.data.unusable as f64 > experiment.max_unusable * all as f64 {
        Status::TooManyUnusable
    } else {
        Status::Done
    }
}

/// Writes the report of a finished run that lacks it, as one that was killed in the middle of it does; tells why it cannot. Whoever
/// holds the folder is about to write it.
pub fn write_missing_report(run: &Path, material: &Material) -> Option<String> {
    match RunDir::lock(run.to_owned()) {
        Err(error) if error.is::<Busy>() => None,
        Err(error) => Some(format!("{error:#}")),
        Ok(_held) => write_report(run, material),
    }
}

/// Why there is no report, if there is none.
fn write_report(run: &Path, material: &Material) -> Option<String> {
    let places: HashMap<&str, &Path> = material
        .eligible
        .iter()
        .map(|&i| &material.set.records[i])
        .map(|r| (r.id.as_str(), r.path.as_path()))
        .collect();
    let written = run_report::write(run, &|id| places.get(id).map(|path| path.to_path_buf()));
    written.err().map(|error| format!("{error:#}"))
}

/// A run that was finished before: nothing is computed, and `latest` points to what was just shown.
fn shown_again(path: PathBuf, mut record: RunRecord, experiment: &Experiment, hits: usize) -> Result<RunOutcome> {
    let status = final_status(&record, experiment);
    if status != record.status {
        record.status = status;
        run_dir::write_record(&path, &record)?;
    }
    run_dir::make_latest(&path)?;
    record.cache = CacheRecord { hits, misses: 0 };
    Ok(RunOutcome { path, record, reused: true, no_report: None })
}

/// Whether a finished run has every file that it should have.
pub fn is_whole(run: &Path, experiment: &Experiment) -> bool {
    let has_models = || trials_of(experiment).iter().all(|unit| run_dir::has_model(run, unit));
    // `timbre thresholds` may have written those of another search since.
    let has_thresholds = experiment.evaluate.search.as_ref().is_none_or(|spec| {
        let metric = spec.metric(experiment.evaluate.metric());
        thresholds::is_written(run, spec, metric, trials_of(experiment).len())
    });
    let has_by_labels = experiment.evaluate.task != Task::MultiLabel || run.join(Table::ByLabels.file()).is_file();
    let has_windows = experiment.evaluate.windows().is_none() || run.join(Table::Windows.file()).is_file();
    run_dir::has_all_tables(run)
        && has_windows
        && has_by_labels
        && has_thresholds
        && (!experiment.save_models || has_models())
}

/// Everything that the units share.
struct Work<'a> {
    experiment: &'a Experiment,
    settings: &'a Settings,
    material: &'a Material,
    extraction: &'a Extraction<'a>,
    store: &'a FeatureCache,
    dir: &'a RunDir,
}

impl Work<'_> {
    fn decision_rule(&self) -> DecisionRule {
        self.experiment.evaluate.decision_rule(&self.material.set.classes)
    }

    fn all(&self, record: &mut RunRecord) -> Result<()> {
        // Of the set as it is if every recording can be used: computing features may take hours.
        self.can_search(&self.material.all_chosen(self.experiment))?;
        let clock = Instant::now();
        let selection = self.material.select(self.experiment, self.extraction, self.store, self.settings)?;
        record.cache = selection.cache();
        record.data.clips = selection.clips.len();
        record.data.unusable = selection.unusable.len();
        record.seconds.insert("features".into(), clock.elapsed().as_secs_f64());
        self.dir.write_unusable(&self.material.unusable_lines(&selection))?;
        self.can_search(&selection.clips)?;
        let clock = Instant::now();
        if let Some(taken_over) = self.take_over(record)? {
            record.taken_over = Some(taken_over);
            self.dir.write_record(record)?;
        }
        let done = self.units(&selection, record)?;
        record.seconds.insert("models".into(), clock.elapsed().as_secs_f64());
        let clock = Instant::now();
        record.results = writing::write_all(self.dir, self.experiment, &self.material.set.classes, &done)?;
        self.search(&done.units)?;
        record.seconds.insert("tables".into(), clock.elapsed().as_secs_f64());
        Ok(())
    }

    fn units(&self, selection: &Selection, record: &mut RunRecord) -> Result<Done> {
        let units = trials_of(self.experiment);
        let progress = self.settings.printer.start("models", units.len());
        let mut splits: IndexMap<u64, Splits> = IndexMap::new();
        let mut done = Done::new(self.decision_rule());
        for unit in &units {
            if self.settings.stopped() {
                return Err(Cancelled.into());
            }
            let finished = match self.dir.read_trial(unit).filter(|record| record.trial == *unit && self.is_saved(unit))
            {
                Some(finished) => {
                    done.push(self.experiment, finished);
                    progress.step();
                    continue;
                }
                None => {
                    self.forget_ensembles_of(unit, &units)?;
                    if !splits.contains_key(&unit.seed) {
                        splits.insert(unit.seed, self.material.split(self.experiment, &selection.clips, unit.seed)?);
                    }
                    match self.experiment.models[&unit.model].as_kind().as_ensemble() {
                        Some(spec) => self.fuse(unit, spec, &done),
                        None => self.unit(unit, selection, &splits[&unit.seed], &done),
                    }
                }
            };
            match finished {
                Ok(finished) => {
                    done.push(self.experiment, finished);
                    // After every unit, so that a killed run leaves a table of what it got to.
                    writing::write_results(self.dir, self.experiment, &done)?;
                }
                // What was begun is taken up again by the next run.
                Err(error) if error.is::<Cancelled>() => return Err(error),
                Err(error) => {
                    let why = format!("{error:#}");
                    self.settings.printer.message(&format!("{unit} failed: {why}"));
                    self.dir.log("unit failed", json!({ "unit": unit.to_string(), "error": why }));
                    record.failures.insert(unit.to_string(), why);
                }
            }
            progress.step();
        }
        progress.finish();
        Ok(done)
    }

    fn is_saved(&self, unit: &Trial) -> bool {
        !self.experiment.save_models || run_dir::has_model(self.dir.path(), unit)
    }
}
