//! The points of a grid with their signatures: what is there already, and what is to be run.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use indexmap::IndexMap;
use serde_json::Value as Json;

use super::table;
use crate::execution::run::prepare::PreparedDataset;
use crate::execution::run::{self, Settings};
use timbre_core::cancel::Cancelled;
use timbre_experiment::{ExpandedGrid, Experiment, ResolvedExperiment, point_name};
use timbre_runs::run_dir::{self, RunRecord, Status};
use timbre_runs::sweep_record::{PointRecord, PointStatus};

/// One point in one round.
pub struct Candidate<'a> {
    /// Its place in the grid, from 1.
    pub number: usize,
    /// Of a halving, from 1; 1 without.
    pub round: usize,
    pub name: String,
    pub values: &'a IndexMap<String, Json>,
    pub budget: Option<u64>,
    pub resolved: &'a ResolvedExperiment,
    /// With its signature; or why its recordings cannot be read.
    pub dataset: Result<(Arc<PreparedDataset>, String), Arc<anyhow::Error>>,
}

/// What of a point lies in the folder of runs.
pub enum There {
    Nothing,
    /// Half done.
    Begun,
    Failed {
        run: PathBuf,
        record: Box<RunRecord>,
    },
    Finished {
        run: PathBuf,
        record: Box<RunRecord>,
    },
}

/// Reads the recordings of points, of points that share them once.
pub struct Gathering<'a> {
    settings: &'a Settings,
    known: HashMap<String, Result<Arc<PreparedDataset>, Arc<anyhow::Error>>>,
}

impl<'a> Gathering<'a> {
    pub fn new(settings: &'a Settings) -> Gathering<'a> {
        Gathering { settings, known: HashMap::new() }
    }

    fn dataset(&mut self, experiment: &Experiment) -> Result<Result<Arc<PreparedDataset>, Arc<anyhow::Error>>> {
        let key = PreparedDataset::sharing_key(experiment);
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let gathered = match PreparedDataset::new(experiment, self.settings) {
            Err(error) if error.is::<Cancelled>() => return Err(error),
            gathered => gathered.map(Arc::new).map_err(Arc::new),
        };
        self.known.insert(key, gathered.clone());
        Ok(gathered)
    }

    /// The points in a round. Of points that are the same run the first.
    pub fn round<'d>(&mut self, declared: &'d ExpandedGrid, round: usize, of: &[usize]) -> Result<Vec<Candidate<'d>>> {
        let budgets = declared.halving.as_ref().map(|halving| halving.budgets());
        let mut candidates: Vec<Candidate> = Vec::with_capacity(of.len());
        for &index in of {
            let point = &declared.points[index];
            let resolved = &point.rounds[round - 1];
            let with_signature = |dataset: Arc<PreparedDataset>| {
                let signature = dataset.signature(&resolved.experiment);
                (dataset, signature)
            };
            let dataset = self.dataset(&resolved.experiment)?.map(with_signature);
            let name = point_name(&point.values);
            let twin = candidates.iter().find(|other| {
                other.signature().is_some() && other.signature() == dataset.as_ref().ok().map(|m| m.1.as_str())
            });
            if let Some(twin) = twin {
                self.settings.printer.message(&format!("{name} is the same run as {}: left out", twin.name));
                continue;
            }
            let budget = budgets.as_ref().map(|budgets| budgets[round - 1]);
            candidates.push(Candidate {
                number: index + 1,
                round,
                name,
                values: &point.values,
                budget,
                resolved,
                dataset,
            });
        }
        Ok(candidates)
    }
}

impl Candidate<'_> {
    pub fn experiment(&self) -> &Experiment {
        &self.resolved.experiment
    }

    pub fn signature(&self) -> Option<&str> {
        self.dataset.as_ref().ok().map(|(_, signature)| signature.as_str())
    }

    /// `models.knn.k=3`, of a halving with the budget.
    pub fn title(&self) -> String {
        self.budget.map_or(self.name.clone(), |budget| format!("{} ({budget})", self.name))
    }

    /// Looks for the run of this point, in the folder of any experiment.
    pub fn there(&self, settings: &Settings) -> There {
        let Some(signature) = self.signature() else { return There::Nothing };
        let mut found = There::Nothing;
        for run in run_dir::of_signature(&settings.runs, &self.experiment().name, signature) {
            let own =
                run.parent().and_then(Path::file_name).is_some_and(|home| home == self.experiment().name.as_str());
            let Ok(record) = run_dir::read_record(&run) else { continue };
            if record.signature != signature {
                continue;
            }
            if record.status.is_final() && run::is_complete(&run, self.experiment(), settings) {
                return There::Finished { run, record: Box::new(record) };
            }
            if own && matches!(found, There::Nothing) {
                found = match record.status {
                    Status::Failed => There::Failed { run, record: Box::new(record) },
                    _ => There::Begun,
                };
            }
        }
        found
    }

    /// As `grid.json` shows it.
    pub fn record(&self, there: &There) -> PointRecord {
        let mut point = PointRecord {
            number: self.number,
            round: self.round,
            name: self.name.clone(),
            values: self.values.clone(),
            budget: self.budget,
            signature: self.signature().map(str::to_owned),
            status: PointStatus::Waiting,
            run: None,
            why: None,
            trials: run::trials_of(self.experiment()).len(),
            seconds: None,
            score: None,
        };
        match there {
            There::Nothing | There::Begun => {}
            There::Failed { run, record } | There::Finished { run, record } => fill(&mut point, run, record),
        }
        point
    }
}

/// What a run that ended says of its point.
pub fn fill(point: &mut PointRecord, run: &Path, record: &RunRecord) {
    point.run = Some(run.to_owned());
    point.status = match record.status {
        Status::Done => PointStatus::Done,
        Status::TooManyUnusable => PointStatus::TooManyUnusable,
        Status::Failed => PointStatus::Failed,
        Status::Running | Status::Stopped => PointStatus::Waiting,
    };
    let failures: Vec<String> = record.failures.iter().map(|(trial, why)| format!("{trial}: {why}")).collect();
    point.why = (point.status == PointStatus::Failed).then(|| match failures.is_empty() {
        true => "its last run failed; see its log".to_owned(),
        false => failures.join("; "),
    });
    point.score = point.status.is_final().then(|| table::score(record, None)).flatten();
}
