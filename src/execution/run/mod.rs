//! Runs one experiment: recordings in, run folder out.
//!
//! The order of work: load the data set and hash its recordings (`prepare`); derive the signature (`signature`); open the run
//! folder and write the configuration; compute the features that the cache lacks (`select`); fit and evaluate each trial that
//! is not done (`trial`, `ensemble`); write the tables (`tables`) and the report (`artifacts`).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::{Result, bail};
use indexmap::IndexMap;
use serde_json::json;

use timbre_core::{cancel::Cancelled, labels::Task};
use timbre_evaluation::metrics::DecisionRule;
use timbre_experiment::{Experiment, ResolvedExperiment, members::ModelOnFeature};
use timbre_inputs::{
    data::split::Splits,
    features::{cache::FeatureCache, extraction::Extraction},
};
use timbre_models::training_distance::TrainingDistance;
use timbre_runs::run_dir::{
    self, Busy, CacheRecord, DataRecord, Opened, RunDir, RunRecord, Status, Table, Trial, TrialRecord,
};

mod settings;
mod headers;
pub mod prepare;
mod importances;
pub mod inspect;
mod lengths;
mod subset_warnings;
mod signature;
pub mod select;
mod trial;
mod trial_data;
mod ensemble;
mod reuse;
pub mod scoring;
mod by_labels;
mod tables;
mod artifacts;
pub mod augmentation_preview;
pub mod environment;
mod feature_files;
pub mod only_trial;
pub mod feature_plot;
mod model_source;
mod teacher;

pub use artifacts::{AudioSource, NoArtifacts, RunArtifacts};
pub use feature_files::FeatureFormat;
pub use settings::Settings;

use prepare::PreparedDataset;
use reuse::EarlierWork;
use scoring::FinishedTrials;
use select::{Selection, extraction_of};

/// The key of `environment` in `run.json` that holds the stage versions of the signature.
pub const STAGES: &str = "stages";

/// The result of a run.
pub struct RunOutcome {
    pub path: PathBuf,
    pub record: RunRecord,
    /// The run was finished before; nothing was computed.
    pub reused: bool,
    /// Why the report could not be written. The run counts as finished all the same.
    pub report_error: Option<String>,
    /// The conclusion of the report, if this call wrote it.
    pub conclusion: Option<String>,
}

/// Runs an experiment, or returns its finished run.
pub fn run(resolved: &ResolvedExperiment, settings: &Settings) -> Result<RunOutcome> {
    let started = Instant::now();
    let data = PreparedDataset::new(&resolved.experiment, settings)?;
    run_prepared(resolved, settings, &data, started)
}

/// [`run`] on a data set that was prepared before, at `started`.
pub fn run_prepared(
    resolved: &ResolvedExperiment,
    settings: &Settings,
    data: &PreparedDataset,
    started: Instant,
) -> Result<RunOutcome> {
    let experiment = &resolved.experiment;
    let signature = data.signature(experiment);
    let extraction = extraction_of(experiment)?;
    let cache = settings.feature_cache_of(&extraction)?;
    let dir = match RunDir::open(&settings.runs, &experiment.name, &signature, settings.fresh)? {
        Opened::Finished { path, record } if is_complete(&path, experiment, settings) => {
            let (hits, _) = data.count_cached(experiment, &extraction, &cache)?;
            let status_before = record.status;
            let outcome = finished_before(path, *record, experiment, hits);
            // The report contains the status of the run.
            let is_current = run_dir::has_report(&outcome.path) && outcome.record.status == status_before;
            let report = if is_current { Ok(None) } else { write_report(&outcome.path, data, settings) };
            return Ok(outcome.with_report(report));
        }
        // A file was removed, or `save_models` was switched on: the run makes what is missing.
        Opened::Finished { path, .. } => RunDir::lock(path)?,
        Opened::ToDo(dir) => dir,
    };
    dir.write_config(&resolved.written, &resolved.resolved_toml)?;
    tables::write_recordings(&dir, experiment, data, None)?;
    let earlier = EarlierWork::new(data.training_signature(experiment), fit_signatures(experiment, data));
    let mut record = new_record(experiment, settings, data, signature);
    record.training = Some(earlier.training().to_owned());
    if experiment.save_models {
        record.fits.clone_from(earlier.fits());
    }
    record.arguments.clone_from(&resolved.arguments);
    // An earlier start of this run may have copied trials; they are not copied again.
    record.reused = run_dir::read_record(dir.path()).ok().and_then(|earlier| earlier.reused);
    note_time(&mut record, "data", started);
    dir.write_record(&record)?;
    dir.log("started", json!({ "signature": record.signature, "clips": data.eligible.len() }));
    let distances = Mutex::default();
    let run = Run { experiment, settings, data, extraction: &extraction, cache: &cache, dir: &dir, earlier, distances };
    let result = run.execute(&mut record);
    // The reason for every error that follows from it.
    let result = dir.ensure_exists().and(result);
    record.ended = Some(run_dir::now());
    note_time(&mut record, "total", started);
    record.peak_memory = timbre_runs::memory::peak();
    match result {
        Ok(()) => {
            record.status = final_status(&record, experiment);
            run_dir::keep_usable_latest(dir.path(), &record)?;
            dir.write_record(&record)?;
            dir.log("ended", json!({ "status": record.status }));
            // The report is a function of the complete folder, so it comes last.
            let clock = Instant::now();
            let report = write_report(dir.path(), data, settings);
            tracing::info!("report: {}", timbre_core::progress::seconds(clock.elapsed()));
            dir.log("report", json!({ "seconds": clock.elapsed().as_secs_f64(), "error": report.as_ref().err() }));
            let path = dir.path().to_owned();
            Ok(RunOutcome { path, record, reused: false, report_error: None, conclusion: None }.with_report(report))
        }
        Err(error) => {
            record.status = if error.is::<Cancelled>() { Status::Stopped } else { Status::Failed };
            dir.log("ended", json!({ "status": record.status, "error": format!("{error:#}") }));
            // The first error matters more than a second one from writing the record.
            let _ = dir.write_record(&record);
            Err(error)
        }
    }
}

/// Computes the features only (`timbre features`), and writes them to the folder `out` if there is one. Returns cache hits and
/// misses, and the number of unusable recordings.
pub fn features(
    experiment: &Experiment,
    settings: &Settings,
    out: Option<(&Path, FeatureFormat)>,
) -> Result<(CacheRecord, usize)> {
    let data = PreparedDataset::new(experiment, settings)?;
    let extraction = extraction_of(experiment)?;
    let selection = data.select(experiment, &extraction, &settings.feature_cache_of(&extraction)?, settings)?;
    if let Some((folder, format)) = out {
        feature_files::write(folder, format, experiment, &data, &selection, settings)?;
    }
    Ok((selection.cache(), selection.unusable.len()))
}

/// The trials of an experiment in the order of its file: features, then seeds, then models. Ensembles come last, because they
/// need the other trials.
pub fn trials_of(experiment: &Experiment) -> Vec<Trial> {
    let pairs = experiment.models_on_features();
    let mut trials = Vec::new();
    for of_one_feature in pairs.chunk_by(|a, b| a.features == b.features) {
        for &seed in &experiment.seeds {
            let trial =
                |pair: &ModelOnFeature| Trial { features: pair.features.clone(), model: pair.model.clone(), seed };
            trials.extend(of_one_feature.iter().map(trial));
        }
    }
    trials
}

fn new_record(experiment: &Experiment, settings: &Settings, data: &PreparedDataset, signature: String) -> RunRecord {
    let mut environment = environment::describe(Some(&settings.device));
    // The signature depends on the stages: `timbre reproduce` reports which of them changed.
    environment[STAGES] = data.stages_summary(experiment);
    RunRecord {
        schema: run_dir::SCHEMA,
        experiment: experiment.name.clone(),
        description: experiment.description.clone(),
        signature,
        status: Status::Running,
        started: run_dir::now(),
        ended: None,
        seeds: experiment.seeds.clone(),
        classes: data.set.classes.names().to_vec(),
        metric: experiment.evaluate.metric().name().to_owned(),
        data: DataRecord {
            name: data.set.name.clone(),
            hash: data.data_hash.clone(),
            clips: 0,
            unusable: 0,
            set_aside: data.set_aside,
        },
        training: None,
        arguments: None,
        reused: None,
        fits: IndexMap::new(),
        fitted_in: IndexMap::new(),
        warnings: Vec::new(),
        cache: CacheRecord::default(),
        seconds: IndexMap::new(),
        peak_memory: None,
        failures: IndexMap::new(),
        results: Vec::new(),
        environment,
    }
}

/// The signatures of the fits, by trial.
fn fit_signatures(experiment: &Experiment, data: &PreparedDataset) -> IndexMap<String, String> {
    let one = |trial: &Trial| Some((trial.to_string(), data.fit_signature(experiment, trial)?));
    trials_of(experiment).iter().filter_map(one).collect()
}

/// Records the time since `start` as that of a stage, and logs it.
fn note_time(record: &mut RunRecord, stage: &str, start: Instant) {
    let took = start.elapsed();
    tracing::info!("{stage}: {}", timbre_core::progress::seconds(took));
    record.seconds.insert(stage.to_owned(), took.as_secs_f64());
}

/// The signature does not contain `max_unusable`: each start applies its own limit.
fn final_status(record: &RunRecord, experiment: &Experiment) -> Status {
    if !record.failures.is_empty() {
        Status::Failed
    } else if are_too_many(record.data.unusable, record.data.clips, experiment) {
        Status::TooManyUnusable
    } else {
        Status::Done
    }
}

/// Whether more recordings are unusable than the experiment allows.
fn are_too_many(unusable: usize, usable: usize, experiment: &Experiment) -> bool {
    unusable as f64 > experiment.max_unusable * (usable + unusable) as f64
}

/// Writes the report of a finished run that lacks it, for example after a kill. Returns why the report could not be written.
/// Does nothing while another process holds the folder: that process writes the report.
pub fn write_missing_report(run: &Path, data: &PreparedDataset, settings: &Settings) -> Option<String> {
    match RunDir::lock(run.to_owned()) {
        Err(error) if error.is::<Busy>() => None,
        Err(error) => Some(format!("{error:#}")),
        Ok(_lock) => write_report(run, data, settings).err(),
    }
}

/// The conclusion of a report, or why it could not be written.
type WrittenReport = Result<Option<String>, String>;

impl RunOutcome {
    fn with_report(self, report: WrittenReport) -> RunOutcome {
        match report {
            Ok(conclusion) => RunOutcome { conclusion, ..self },
            Err(why) => RunOutcome { report_error: Some(why), ..self },
        }
    }
}

fn write_report(run: &Path, data: &PreparedDataset, settings: &Settings) -> WrittenReport {
    let records = data.eligible.iter().map(|&i| &data.set.records[i]);
    let sources: HashMap<&str, AudioSource> = records.map(|r| (r.id.as_str(), (r.path.clone(), r.excerpt))).collect();
    let find = |id: &str| sources.get(id).cloned();
    settings.artifacts.write_report(run, settings.has_media, &find).map_err(|error| format!("{error:#}"))
}

/// The outcome of a run that was finished before: nothing is computed.
fn finished_before(path: PathBuf, mut record: RunRecord, experiment: &Experiment, hits: usize) -> RunOutcome {
    let status = final_status(&record, experiment);
    // A run on a read-only disk is shown all the same.
    if status != record.status {
        record.status = status;
        let _ = run_dir::write_record(&path, &record);
    }
    let _ = run_dir::keep_usable_latest(&path, &record);
    record.cache = CacheRecord { hits, misses: 0 };
    RunOutcome { path, record, reused: true, report_error: None, conclusion: None }
}

/// Whether a finished run has all files that the experiment asks for.
pub fn is_complete(run: &Path, experiment: &Experiment, settings: &Settings) -> bool {
    let trials = trials_of(experiment);
    let has = |table: Table| run_dir::has_table(run, table);
    run_dir::has_all_tables(run)
        && (experiment.evaluate.windows().is_none() || has(Table::Windows))
        && (experiment.evaluate.task != Task::MultiLabel || has(Table::ByLabels))
        && settings.artifacts.has_thresholds(run, experiment, trials.len())
        && (!experiment.save_models || trials.iter().all(|trial| run_dir::has_model(run, trial)))
}

/// How far recordings may be from those of training, by feature and seed; None where there are too few recordings.
type Distances = HashMap<(String, u64), Option<Arc<TrainingDistance>>>;

/// A run in progress: what all its trials share.
struct Run<'a> {
    experiment: &'a Experiment,
    settings: &'a Settings,
    data: &'a PreparedDataset,
    extraction: &'a Extraction<'a>,
    cache: &'a FeatureCache,
    dir: &'a RunDir,
    earlier: EarlierWork,
    /// Those that were fitted already.
    distances: Mutex<Distances>,
}

impl Run<'_> {
    fn decision_rule(&self) -> DecisionRule {
        self.experiment.evaluate.decision_rule(&self.data.set.classes)
    }

    fn execute(&self, record: &mut RunRecord) -> Result<()> {
        // As if every recording were usable, before features are computed for hours.
        let inspection = self.data.inspect(self.experiment)?;
        self.data.warn(self.settings.printer, &inspection.warnings);
        record.warnings = inspection.warnings.clone();
        if let Some(why) = inspection.hopeless(self.experiment) {
            let failures = inspection.failures.iter().map(|(trial, why)| (trial.to_string(), why.clone()));
            record.failures = failures.collect();
            bail!("no model can be fitted: {why}");
        }
        for (trial, why) in &inspection.failures {
            self.settings.printer.message(&format!("warning: {trial} will fail: {why}"));
        }
        self.dir.write_record(record)?;
        let clock = Instant::now();
        let selection = self.data.select(self.experiment, self.extraction, self.cache, self.settings)?;
        record.cache = selection.cache();
        record.data.clips = selection.clips.len();
        record.data.unusable = selection.unusable.len();
        note_time(record, "features", clock);
        self.dir.write_unusable(&self.data.unusable_lines(&selection.unusable))?;
        let splits = self.data.splits(self.experiment, &selection.clips)?;
        inspect::check_threshold_search(self.experiment, &splits)?;
        tables::write_recordings(self.dir, self.experiment, self.data, Some((&selection.clips, &splits)))?;
        let clock = Instant::now();
        if let Some(reused) = self.reuse_trials(record)? {
            record.reused = Some(reused);
            self.dir.write_record(record)?;
        }
        let done = self.run_trials(&selection, &splits, record)?;
        record.fitted_in = self.earlier.used();
        note_time(record, "models", clock);
        let clock = Instant::now();
        let classes = &self.data.set.classes;
        record.results = tables::write_all(self.dir, self.experiment, self.data, &done)?;
        if self.experiment.evaluate.search.is_some() {
            let artifacts = self.settings.artifacts;
            let summaries = artifacts.search_thresholds(self.dir, self.experiment, classes, &done.trials)?;
            summaries.iter().for_each(|summary| self.settings.printer.message(summary));
        }
        note_time(record, "tables", clock);
        Ok(())
    }

    fn run_trials(
        &self,
        selection: &Selection,
        splits: &IndexMap<u64, Splits>,
        record: &mut RunRecord,
    ) -> Result<FinishedTrials> {
        let trials = trials_of(self.experiment);
        let progress = self.settings.printer.start_uneven("models", trials.len());
        let mut done = FinishedTrials::new(self.decision_rule());
        for trial in &trials {
            if self.settings.is_cancelled() {
                return Err(Cancelled.into());
            }
            self.dir.ensure_exists()?;
            if let Some(finished) = self.finished(trial) {
                done.push(self.experiment, finished);
                progress.step();
                continue;
            }
            self.forget_ensembles_of(trial, &trials)?;
            let result = match self.experiment.models[&trial.model].as_ensemble() {
                Some(spec) => self.fuse(trial, spec, &done),
                None => self.run_trial(trial, selection, &splits[&trial.seed], &done),
            };
            match result {
                Ok(finished) => {
                    done.push(self.experiment, finished);
                    // After every trial, so that a killed run leaves a table of its finished trials.
                    tables::write_results(self.dir, self.experiment, &done)?;
                }
                // The next start continues the trial.
                Err(error) if error.is::<Cancelled>() => return Err(error),
                Err(error) => {
                    self.dir.ensure_exists()?;
                    let why = format!("{error:#}");
                    self.settings.printer.message(&format!("{trial} failed: {why}"));
                    self.dir.log("unit failed", json!({ "unit": trial.to_string(), "error": why }));
                    record.failures.insert(trial.to_string(), why);
                }
            }
            progress.step();
        }
        progress.finish();
        Ok(done)
    }

    /// The record of a trial that was finished before, with its model where models are saved.
    fn finished(&self, trial: &Trial) -> Option<TrialRecord> {
        let is_saved = !self.experiment.save_models || run_dir::has_model(self.dir.path(), trial);
        let fits = |record: &TrialRecord| record.trial == *trial && record.fits(self.experiment.evaluate.task);
        self.dir.read_trial(trial).filter(|record| is_saved && fits(record))
    }
}
