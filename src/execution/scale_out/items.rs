//! The work items of an experiment: what `timbre plan --json` lists and `timbre launch` hands to an engine.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Serialize;

use super::feature_plan::{FeaturePlan, load_planned};
use super::manifest::PartsFolder;
use super::trials::{ensure_all_are_known, trial_id, unfinished};
use crate::execution::run::{Settings, select::extraction_of};
use crate::execution::sweep::estimate::PastRuns;
use crate::execution::sweep::point::SweepPoint;
use timbre_experiment::{ExpandedGrid, Experiment, shapes};
use timbre_runs::{
    run_dir::{self, Table, Trial},
    sweep_record::SweepDir,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The features of one shard.
    Features,
    /// One trial.
    Fit,
    /// The parts into the feature cache, or the trials into tables.
    Merge,
}

/// One command that an engine runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkItem {
    pub id: String,
    pub kind: Kind,
    pub argv: Vec<String>,
    /// The ids of the items that must have ended well before.
    pub needs: Vec<String>,
    pub cpus: usize,
    pub gpus: usize,
    /// Bytes to ask for.
    pub memory: u64,
    /// From past runs; None without any.
    pub seconds: Option<f64>,
    /// Files that exist afterwards; `*` stands for the time in the name of a run folder.
    pub outputs: Vec<PathBuf>,
}

/// What the items of an experiment depend on beside the experiment.
pub struct Request<'a> {
    /// The program, and the arguments that select the experiment and its folders.
    pub program: &'a str,
    pub experiment: &'a [String],
    pub shards: Option<usize>,
    /// The `--parts` option as written, and the folder itself.
    pub parts: Option<&'a Path>,
    pub cpus: usize,
    pub memory: Option<u64>,
    /// The `--device` option; with `cpu` no item asks for a GPU.
    pub device: &'a str,
}

/// All items of an experiment.
#[derive(Clone, Debug, Serialize)]
pub struct WorkPlan {
    pub plan_hash: String,
    pub shards: usize,
    pub items: Vec<WorkItem>,
    /// The ids of the trials in the order of their items.
    #[serde(skip)]
    pub trials: Vec<String>,
    #[serde(skip)]
    pub name: String,
    #[serde(skip)]
    pub parts: PathBuf,
}

/// One shard for so many recordings.
const RECORDINGS_PER_SHARD: usize = 1000;
/// Enough for the tables of a program that reads the features from disk, block by block.
const BASE_MEMORY: u64 = 1 << 30;
/// A decoded recording with its spectrograms, on each thread.
const MEMORY_PER_THREAD: u64 = 256 << 20;
/// A trial whose feature has the length of each recording.
const UNKNOWN_MEMORY: u64 = 4 << 30;

/// Lists what is missing. Generates and computes nothing.
pub fn work_plan(grid: &ExpandedGrid, settings: &Settings, request: &Request) -> Result<WorkPlan> {
    let points = load_planned(grid, settings)?;
    let recordings = points.iter().filter_map(|point| point.dataset.as_ref().ok());
    let recordings = recordings.map(|(dataset, _)| dataset.eligible.len()).max().unwrap_or(0);
    let shards = request.shards.unwrap_or_else(|| recordings.div_ceil(RECORDINGS_PER_SHARD).max(1));
    let plan = FeaturePlan::new(&points, shards)?;
    let folder = PartsFolder::new(request.parts, settings, &grid.name);
    let past = PastRuns::read(&settings.runs, &grid.name);
    let mut items = feature_items(&plan, settings, request, &folder, &past)?;
    let needs: Vec<String> = items.last().map(|merge| merge.id.clone()).into_iter().collect();
    let mut trials = Vec::new();
    if ensure_all_are_known(grid).is_ok() {
        for (point, trial) in unfinished(&points, settings) {
            let id = trial_id(grid, point.number, &trial);
            items.push(fit_item(point, &trial, &id, &needs, &past, request, settings));
            trials.push(id);
        }
    }
    items.push(last_item(grid, &points, &items, needs, request, settings));
    let (name, parts) = (grid.name.clone(), folder.path().to_owned());
    Ok(WorkPlan { plan_hash: plan.hash, shards, items, trials, name, parts })
}

impl Request<'_> {
    fn argv(&self, command: &str, more: &[&str]) -> Vec<String> {
        let head = [self.program, command].map(str::to_owned);
        head.into_iter()
            .chain(self.experiment.iter().cloned())
            .chain(more.iter().map(|&word| word.to_owned()))
            .collect()
    }

    fn gpus(&self, needs_one: bool) -> usize {
        usize::from(needs_one && self.device != "cpu")
    }
}

/// The shards and their merge; none if the cache has all features.
fn feature_items(
    plan: &FeaturePlan,
    settings: &Settings,
    request: &Request,
    folder: &PartsFolder,
    past: &PastRuns,
) -> Result<Vec<WorkItem>> {
    let extractions = plan.groups.iter().map(|g| extraction_of(&g.experiment)).collect::<Result<Vec<_>>>()?;
    extractions.iter().try_for_each(|extraction| settings.bring_shared(extraction))?;
    let cache = settings.feature_cache()?;
    let (mut left, mut items) = (0, Vec::new());
    let parts: Vec<&str> = request.parts.and_then(Path::to_str).map_or(Vec::new(), |parts| vec!["--parts", parts]);
    for (shard, inputs) in plan.inputs_by_shard()?.iter().enumerate() {
        let mut seconds = Some(0.0);
        for ((group, extraction), inputs) in plan.groups.iter().zip(&extractions).zip(inputs) {
            let (_, misses) = group.dataset.count_cached_of(inputs, extraction, &cache);
            left += misses;
            seconds = match past.features(&group.experiment, misses) {
                _ if misses == 0 => seconds,
                known => known.zip(seconds).map(|(a, b)| a + b),
            };
        }
        let of = format!("{shard}/{}", plan.shards);
        items.push(WorkItem {
            id: format!("features-{shard}"),
            kind: Kind::Features,
            argv: request.argv("features", &[&["--shard", &of], &parts[..]].concat()),
            needs: Vec::new(),
            cpus: request.cpus,
            gpus: 0,
            memory: request.memory.unwrap_or(BASE_MEMORY + request.cpus as u64 * MEMORY_PER_THREAD),
            seconds,
            outputs: vec![folder.manifest_path(shard)],
        });
    }
    if left == 0 {
        return Ok(Vec::new());
    }
    items.push(WorkItem {
        id: "merge".to_owned(),
        kind: Kind::Merge,
        argv: request.argv("merge", &parts),
        needs: items.iter().map(|item| item.id.clone()).collect(),
        cpus: request.cpus,
        gpus: 0,
        memory: request.memory.unwrap_or(BASE_MEMORY),
        seconds: None,
        outputs: vec![settings.feature_folder()],
    });
    Ok(items)
}

fn fit_item(
    point: &SweepPoint,
    trial: &Trial,
    id: &str,
    needs: &[String],
    past: &PastRuns,
    request: &Request,
    settings: &Settings,
) -> WorkItem {
    let experiment = point.experiment();
    let clips = point.dataset.as_ref().map_or(0, |(dataset, _)| dataset.expected_clips(experiment).len());
    let folder = point.signature().map_or("*".to_owned(), |signature| format!("*-{}", &signature[..8]));
    let run = settings.runs.join(&experiment.name).join(folder);
    WorkItem {
        id: format!("fit-{}", id.replace('/', "-")),
        kind: Kind::Fit,
        argv: request.argv("run", &["--only-trial", id, "--device", request.device]),
        needs: needs.to_vec(),
        cpus: request.cpus,
        gpus: request.gpus(is_network(experiment, trial)),
        memory: request.memory.unwrap_or_else(|| memory_of(experiment, trial, clips)),
        seconds: past.trial(experiment, trial, clips),
        outputs: vec![run_dir::trial_file(&run, trial)],
    }
}

/// The item after all others: the tables, or all of a sweep whose trials are not known before.
fn last_item(
    grid: &ExpandedGrid,
    points: &[SweepPoint],
    items: &[WorkItem],
    mut needs: Vec<String>,
    request: &Request,
    settings: &Settings,
) -> WorkItem {
    needs.extend(items.iter().filter(|item| item.kind == Kind::Fit).map(|item| item.id.clone()));
    let are_known = ensure_all_are_known(grid).is_ok();
    let has_networks = |point: &SweepPoint| {
        super::trials::fitted(point.experiment()).iter().any(|trial| is_network(point.experiment(), trial))
    };
    let table = match grid.is_grid() {
        true => SweepDir::new(&settings.runs, &grid.name).table(),
        false => run_dir::latest(&settings.runs.join(&grid.name)).join(Table::ResultsCsv.file()),
    };
    let (kind, argv) = match are_known {
        true => (Kind::Merge, request.argv("merge", &["--trials", "--device", request.device])),
        false => (Kind::Fit, request.argv("run", &["--device", request.device])),
    };
    WorkItem {
        id: "tables".to_owned(),
        kind,
        argv,
        needs,
        cpus: request.cpus,
        gpus: request.gpus(!are_known && points.iter().any(has_networks)),
        memory: request.memory.unwrap_or(UNKNOWN_MEMORY),
        seconds: None,
        outputs: vec![table],
    }
}

fn is_network(experiment: &Experiment, trial: &Trial) -> bool {
    experiment.models[&trial.model].as_network().is_some()
}

/// Thrice the features of all recordings: a model that is its training set holds them, its rows while it sorts them, and its file.
fn memory_of(experiment: &Experiment, trial: &Trial, clips: usize) -> u64 {
    let shape =
        experiment.features.get(&trial.features).and_then(|spec| shapes::feature_shape(&experiment.audio, spec));
    shape.map_or(UNKNOWN_MEMORY, |shape| BASE_MEMORY + (3 * 4 * clips * shape.values()) as u64)
}
