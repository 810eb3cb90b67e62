//! The points of a sweep: their data sets, their signatures, and the runs that exist already.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use indexmap::IndexMap;
use serde_json::Value as Json;

use crate::execution::run::prepare::PreparedDataset;
use crate::execution::run::{self, Settings};
use timbre_core::cancel::Cancelled;
use timbre_experiment::{ExpandedGrid, Experiment, ResolvedExperiment, point_name};
use timbre_runs::{
    run_dir::{self, RunRecord, Status},
    sweep_record::{PointRecord, PointStatus},
    sweep_table,
};

/// One point in one round.
pub struct SweepPoint<'a> {
    /// Its number in the grid, from 1.
    pub number: usize,
    /// The round of successive halving, from 1; 1 without it.
    pub round: usize,
    pub name: String,
    pub values: &'a IndexMap<String, Json>,
    pub budget: Option<u64>,
    pub resolved: &'a ResolvedExperiment,
    /// The data set and the signature, or why the data cannot be read.
    pub dataset: Result<(Arc<PreparedDataset>, String), Arc<anyhow::Error>>,
}

/// The run of a point that exists already.
pub enum PriorRun {
    None,
    /// Unfinished: a start continues it.
    Started,
    Failed {
        run: PathBuf,
        record: Box<RunRecord>,
    },
    Finished {
        run: PathBuf,
        record: Box<RunRecord>,
    },
}

type Prepare<'a> = dyn Fn(&Experiment, &Settings) -> Result<PreparedDataset> + 'a;

/// Prepares the data sets of points; points with an equal data set share it.
pub struct PointLoader<'a> {
    settings: &'a Settings,
    prepare: Box<Prepare<'a>>,
    known: HashMap<String, Result<Arc<PreparedDataset>, Arc<anyhow::Error>>>,
}

impl<'a> PointLoader<'a> {
    pub fn new(settings: &'a Settings) -> PointLoader<'a> {
        Self::prepared_by(settings, PreparedDataset::new)
    }

    /// A loader that generates no data set.
    pub fn planned(settings: &'a Settings) -> PointLoader<'a> {
        Self::prepared_by(settings, PreparedDataset::planned)
    }

    /// A loader that prepares data sets in this way.
    pub fn prepared_by(
        settings: &'a Settings,
        prepare: impl Fn(&Experiment, &Settings) -> Result<PreparedDataset> + 'a,
    ) -> PointLoader<'a> {
        PointLoader { settings, prepare: Box::new(prepare), known: HashMap::new() }
    }

    fn dataset(&mut self, experiment: &Experiment) -> Result<Result<Arc<PreparedDataset>, Arc<anyhow::Error>>> {
        let key = PreparedDataset::sharing_key(experiment);
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let prepared = match (self.prepare)(experiment, self.settings) {
            Err(error) if error.is::<Cancelled>() => return Err(error),
            prepared => prepared.map(Arc::new).map_err(Arc::new),
        };
        self.known.insert(key, prepared.clone());
        Ok(prepared)
    }

    /// The points of a round. Of points with an equal signature, only the first is kept.
    pub fn round<'d>(
        &mut self,
        grid: &'d ExpandedGrid,
        round: usize,
        indices: &[usize],
    ) -> Result<Vec<SweepPoint<'d>>> {
        let budgets = grid.halving.as_ref().map(|halving| halving.budgets());
        let mut points: Vec<SweepPoint> = Vec::with_capacity(indices.len());
        let mut known: HashMap<String, usize> = HashMap::with_capacity(indices.len());
        for &index in indices {
            let declared = &grid.points[index];
            let resolved = &declared.rounds[round - 1];
            let with_signature = |dataset: Arc<PreparedDataset>| {
                let signature = dataset.signature(&resolved.experiment);
                (dataset, signature)
            };
            let dataset = self.dataset(&resolved.experiment)?.map(with_signature);
            let name = point_name(&declared.values);
            if let Ok((_, signature)) = &dataset {
                if let Some(&other) = known.get(signature) {
                    let other: &SweepPoint = &points[other];
                    self.settings.printer.message(&format!("{name} is the same run as {}: left out", other.name));
                    continue;
                }
                known.insert(signature.clone(), points.len());
            }
            let budget = budgets.as_ref().map(|budgets| budgets[round - 1]);
            points.push(SweepPoint {
                number: index + 1,
                round,
                name,
                values: &declared.values,
                budget,
                resolved,
                dataset,
            });
        }
        Ok(points)
    }
}

impl SweepPoint<'_> {
    pub fn experiment(&self) -> &Experiment {
        &self.resolved.experiment
    }

    pub fn signature(&self) -> Option<&str> {
        self.dataset.as_ref().ok().map(|(_, signature)| signature.as_str())
    }

    /// `models.knn.k=3`; with successive halving followed by the budget.
    pub fn title(&self) -> String {
        self.budget.map_or(self.name.clone(), |budget| format!("{} ({budget})", self.name))
    }

    /// [`title`](Self::title) with short keys and values, for a line of a terminal.
    pub fn short_title(&self) -> String {
        let name = sweep_table::short_title(self.values);
        self.budget.map_or(name.clone(), |budget| format!("{name} ({budget})"))
    }

    /// The existing run of this point; none with `--fresh`.
    pub fn prior_run(&self, settings: &Settings) -> PriorRun {
        if settings.fresh { PriorRun::None } else { self.existing_run(settings) }
    }

    /// Looks for the run of this point in the folders of all experiments.
    pub fn existing_run(&self, settings: &Settings) -> PriorRun {
        let Some(signature) = self.signature() else { return PriorRun::None };
        let mut found = PriorRun::None;
        for run in run_dir::of_signature(&settings.runs, &self.experiment().name, signature) {
            let own =
                run.parent().and_then(Path::file_name).is_some_and(|folder| folder == self.experiment().name.as_str());
            let Ok(record) = run_dir::read_record(&run) else { continue };
            if record.signature != signature {
                continue;
            }
            if record.status.is_final() && run::is_complete(&run, self.experiment(), settings) {
                return PriorRun::Finished { run, record: Box::new(record) };
            }
            if own && matches!(found, PriorRun::None) {
                found = match record.status {
                    Status::Failed => PriorRun::Failed { run, record: Box::new(record) },
                    _ => PriorRun::Started,
                };
            }
        }
        found
    }

    /// The point as `grid.json` has it.
    pub fn record(&self, prior: &PriorRun) -> PointRecord {
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
            rescored: false,
            results: Vec::new(),
        };
        match prior {
            PriorRun::None | PriorRun::Started => {}
            PriorRun::Failed { run, record } | PriorRun::Finished { run, record } => {
                update_from_run(&mut point, run, record)
            }
        }
        point
    }
}

/// Copies the result of an ended run into the record of its point.
pub fn update_from_run(point: &mut PointRecord, run: &Path, record: &RunRecord) {
    point.run = Some(run.to_owned());
    point.status = match record.status {
        Status::Done => PointStatus::Done,
        Status::TooManyUnusable => PointStatus::TooManyUnusable,
        Status::Failed => PointStatus::Failed,
        Status::Running | Status::Stopped => PointStatus::Waiting,
    };
    let failures: Vec<String> = record.failures.iter().map(|(trial, why)| format!("{trial}: {why}")).collect();
    point.why = (point.status == PointStatus::Failed).then(|| match failures.is_empty() {
        true => "its last run failed: see its log".to_owned(),
        false => failures.join("; "),
    });
    point.score = point.status.is_final().then(|| sweep_table::score(record, None)).flatten();
}
