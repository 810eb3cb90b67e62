//! Runs a sweep: many runs of one experiment, one per point of its `[grid]`.
//!
//! A sweep is a set of signatures. A point with a finished run anywhere in the folder of runs is not run again: a second start runs
//! only what is missing or failed, and a value that is removed from an axis keeps its runs. Several processes can share a sweep. A
//! process holds the lock of the run folder while it works on a point; another process waits for the lock, and runs the point
//! itself if the first process dies.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};

use crate::execution::run::{self, Settings};
use timbre_core::{
    cancel::Cancelled,
    error::{ExitStatus, UserError},
    progress::{Printer, seconds, time_left},
    text::count,
};
use timbre_experiment::{AxisValues, ExpandedGrid, HalvingSpec};
use timbre_models::device::Device;
use timbre_runs::run_dir::{self, Busy, RunRecord, Status};
use timbre_runs::sweep_record::{PointRecord, PointScore, PointStatus, SCHEMA, SweepDir, SweepRecord, SweepStatus};
use timbre_runs::sweep_table::{self, short_name};

pub mod point;
mod point_filter;
mod queue;
mod rounds;
mod halving;
mod rescoring;
mod tpe;
pub mod features;
pub mod failures;
pub mod plan;
pub mod estimate;
pub mod watch;

use failures::{FailureLog, MissingReport};
use point::{PointLoader, PriorRun, SweepPoint, update_from_run};
use queue::WorkQueue;

/// The time between two attempts at a point that another process holds.
const RETRY_AFTER: Duration = Duration::from_millis(300);

/// Which points of a sweep are run, and what happens when one fails.
#[derive(Clone, Debug)]
pub struct SweepOptions {
    /// Start no further point after the first failure.
    pub fail_fast: bool,
    /// Run only the points that failed before.
    pub retry_failed: bool,
    /// Run only the points that match all of these; empty: all points.
    pub only: Vec<String>,
    /// The device of each of the points that run at the same time.
    pub devices: Vec<Device>,
}

/// The result of one start of a sweep.
pub struct SweepOutcome {
    pub sweep_dir: SweepDir,
    pub record: SweepRecord,
    /// The number of points that this start ran, failed ones included.
    pub ran: usize,
    /// The number of selected points that have neither finished nor failed: their runs were removed meanwhile.
    pub missing: usize,
    /// Finished points whose report could not be written.
    pub missing_reports: Vec<MissingReport>,
}

/// Runs the missing points of a sweep, round by round.
pub fn run(grid: &ExpandedGrid, settings: &Settings, options: &SweepOptions) -> Result<SweepOutcome> {
    if !options.only.is_empty() || options.retry_failed {
        let refused = "--only and --retry-failed would change which ones are kept";
        match (&grid.halving, &grid.tpe) {
            (Some(_), _) => bail!(UserError::usage(format!("successive halving compares all points: {refused}"))),
            (_, Some(_)) => bail!(UserError::usage(
                "`sampler = \"tpe\"` chooses points by the scores of all before: --only and --retry-failed would change the choice".to_owned()
            )),
            _ => {}
        }
    }
    let settings = &Settings { has_media: false, ..settings.clone() };
    let sweep_dir = SweepDir::new(&settings.runs, &grid.name);
    let mut loader = PointLoader::new(settings);
    let mut indices = grid.first_points();
    let first = loader.round(grid, 1, &indices)?;
    // If the data of no point can be read, there is one reason for all.
    if let Some(error) = common_error(&first) {
        drop(loader);
        drop(first);
        return Err(unshared(error));
    }
    // Duplicates are left out of all rounds.
    indices = first.iter().map(|point| point.number - 1).collect();
    let mut alone = !sweep_dir.is_running();
    let lock = match sweep_dir.enter() {
        Ok(lock) => lock,
        Err(error) => return rounds::show_finished(grid, settings, loader, first, sweep_dir, error),
    };
    let rounds = grid.points[0].rounds.len();
    let sweep = Sweep {
        sweep_dir: &sweep_dir,
        settings,
        options,
        halving: grid.halving.as_ref(),
        may_rescore: rescoring::applies(grid),
        started: run_dir::now(),
        failures: FailureLog::default(),
        no_score: Once::new(),
    };
    let mut current = first;
    let mut ran = 0;
    let mut earlier: Vec<PointRecord> = Vec::new();
    let result = loop {
        let round = current[0].round;
        if let Err(error) = sweep.declare(grid, &earlier, &current, alone) {
            break Err(error);
        }
        // From now on the record belongs to this sweep, whichever process writes it.
        alone = false;
        match sweep.run_round(&current) {
            Ok(done) => ran += done,
            Err(error) => break Err(error),
        }
        let record = match sweep_dir.read() {
            Ok(record) => record,
            Err(error) => break Err(error),
        };
        let is_waiting = |p: &SweepPoint| sweep.find(&record, p).is_none_or(|p| p.status == PointStatus::Waiting);
        let has_failed = || record.points.iter().any(|point| point.status == PointStatus::Failed);
        if current.iter().any(is_waiting) || (options.fail_fast && has_failed()) {
            break Ok(());
        }
        if let Some(spec) = &grid.tpe {
            let next = tpe::next(grid, spec, &record.points);
            if next.is_empty() {
                break Ok(());
            }
            earlier = record.points;
            current = match loader.round(grid, 1, &next) {
                Ok(next) => next,
                Err(error) => break Err(error),
            };
            continue;
        }
        if round == rounds {
            break Ok(());
        }
        let halving = grid.halving.as_ref().expect("only successive halving has several rounds");
        let kept = halving::kept(&record.points, round, halving);
        if kept.is_empty() {
            break Ok(());
        }
        settings.printer.message(&halving::summary(&record.points, round, halving, &kept));
        indices.retain(|index| kept.contains(&(index + 1)));
        earlier.extend(record.points.into_iter().filter(|point| point.round == round));
        current = match loader.round(grid, round + 1, &indices) {
            Ok(next) => next,
            Err(error) => break Err(error),
        };
    };
    let left = sweep_dir.leave(lock).and_then(|()| {
        let record = sweep_dir.read_with_results()?;
        sweep_table::write(&sweep_dir.table(), &record)?;
        Ok(record)
    });
    let mut record = result
        .and(left)
        .inspect_err(|_| sweep.failures.print_all(grid.tpe.as_ref().map_or(grid.points.len(), |tpe| tpe.sample)))?;
    // Another process that is about to leave has not written the status yet.
    record.status = record.final_status();
    let is_open = |point: &&SweepPoint| {
        let status = sweep.find(&record, point).map(|point| point.status);
        status.is_some_and(|status| !status.is_final() && status != PointStatus::Failed)
    };
    let missing = match options {
        // Points that have not failed may be open.
        SweepOptions { retry_failed: true, .. } => 0,
        SweepOptions { only, .. } if only.is_empty() => record.waiting(),
        SweepOptions { only, .. } => current.iter().filter(|p| point_filter::matches(p, only)).filter(is_open).count(),
    };
    Ok(SweepOutcome { record, ran, missing, missing_reports: sweep.failures.missing_reports(), sweep_dir })
}

/// The error of the first point if the data of no point can be read.
fn common_error(points: &[SweepPoint]) -> Option<Arc<anyhow::Error>> {
    let errors: Option<Vec<_>> = points.iter().map(|point| point.dataset.as_ref().err()).collect();
    errors?.first().map(|&error| error.clone())
}

/// The error itself if nothing else refers to it: its exit code depends on its type.
pub fn unshared(error: Arc<anyhow::Error>) -> anyhow::Error {
    Arc::try_unwrap(error).unwrap_or_else(|shared| anyhow!("{shared:#}"))
}

fn new_record(grid: &ExpandedGrid, started: String, points: Vec<PointRecord>) -> SweepRecord {
    SweepRecord {
        schema: SCHEMA,
        experiment: grid.name.clone(),
        description: grid.points[0].rounds[0].experiment.description.clone(),
        status: SweepStatus::Running,
        started,
        ended: None,
        axes: axes(grid, &points),
        halving: grid.halving.clone(),
        tpe: grid.tpe.clone(),
        points,
    }
}

/// The axes with their values; of a search, the values of its points.
fn axes(grid: &ExpandedGrid, points: &[PointRecord]) -> Vec<AxisValues> {
    let mut axes = grid.axes.clone();
    if grid.tpe.is_some() {
        for axis in &mut axes {
            axis.values.retain(|value| points.iter().any(|point| point.values.get(&axis.key) == Some(value)));
        }
    }
    axes
}

/// A sweep in progress.
struct Sweep<'a> {
    sweep_dir: &'a SweepDir,
    settings: &'a Settings,
    options: &'a SweepOptions,
    halving: Option<&'a HalvingSpec>,
    /// Whether one run may have the predictions of all points.
    may_rescore: bool,
    started: String,
    failures: FailureLog,
    /// Tells once why points have no score.
    no_score: Once,
}

/// The result of an attempt at a point.
enum Attempt {
    /// Another process is working on it.
    Busy,
    /// Its run has ended, in this process if `ran`.
    Ended { run: PathBuf, record: Box<RunRecord>, ran: bool, report_error: Option<String> },
    /// There is no run, or it could not end.
    Broken { run: Option<PathBuf>, why: String },
}

impl Sweep<'_> {
    fn declare(&self, grid: &ExpandedGrid, earlier: &[PointRecord], current: &[SweepPoint], alone: bool) -> Result<()> {
        let mut records: Vec<PointRecord> =
            current.iter().map(|point| rounds::initial_record(point, &point.prior_run(self.settings))).collect();
        if self.may_rescore && !self.settings.fresh {
            self.keep_rescored(&mut records);
        }
        let points = earlier.iter().cloned().chain(records).collect();
        self.sweep_dir.declare(new_record(grid, self.started.clone(), points), alone)
    }

    /// Takes over the points that an earlier start scored from the predictions of another, if the run with their predictions is still there.
    fn keep_rescored(&self, records: &mut [PointRecord]) {
        let Ok(before) = self.sweep_dir.read_with_results() else { return };
        let rescored = before.points.into_iter().filter(|point| point.rescored && !point.results.is_empty());
        let rescored: HashMap<String, PointRecord> =
            rescored.filter_map(|point| Some((point.signature.clone()?, point))).collect();
        let there: HashSet<&PathBuf> =
            rescored.values().filter_map(|point| point.run.as_ref()).filter(|run| run_dir::has_record(run)).collect();
        for record in records.iter_mut().filter(|record| !record.status.is_final()) {
            let earlier = record.signature.as_ref().and_then(|signature| rescored.get(signature));
            if let Some(earlier) = earlier.filter(|point| point.run.as_ref().is_some_and(|run| there.contains(run))) {
                *record = PointRecord { number: record.number, name: record.name.clone(), ..earlier.clone() };
            }
        }
    }

    fn find<'r>(&self, record: &'r SweepRecord, wanted: &SweepPoint) -> Option<&'r PointRecord> {
        record.points.iter().find(|point| point.round == wanted.round && point.name == wanted.name)
    }

    /// Runs the missing points of a round. Returns how many points were run.
    fn run_round(&self, points: &[SweepPoint]) -> Result<usize> {
        let record = self.sweep_dir.read()?;
        let status = |p: &&SweepPoint| self.find(&record, p).map_or(PointStatus::Waiting, |point| point.status);
        let is_selected = |p: &&SweepPoint| {
            point_filter::matches(p, &self.options.only)
                && (!self.options.retry_failed || status(p) == PointStatus::Failed)
        };
        let selected: Vec<&SweepPoint> = points.iter().filter(is_selected).collect();
        if selected.is_empty() {
            bail!(UserError::new(
                ExitStatus::NothingSelected,
                match self.options.retry_failed {
                    true => "no selected point has failed".to_owned(),
                    false => point_filter::why_none_matches(points, &self.options.only),
                }
            ));
        }
        let missing: Vec<&SweepPoint> = selected.iter().copied().filter(|point| !status(point).is_final()).collect();
        let finished = points.iter().filter(|point| status(point).is_final()).count();
        let (title, all) = (self.round_title(points), count(points.len(), "point"));
        // The points that a search chooses one by one are shown as they end.
        if record.tpe.is_none() || record.points.len() == points.len() {
            self.settings.printer.message(&format!("{title}{all}: {finished} finished, {} to run", missing.len()));
        }
        self.write_missing_reports(&selected, &record)?;
        let (readable, unreadable): (Vec<_>, Vec<_>) = missing.into_iter().partition(|point| point.dataset.is_ok());
        for point in &unreadable {
            let why = point.dataset.as_ref().err().map(|error| format!("{error:#}"));
            self.failures.point_failed(point, None, &why.unwrap_or_default(), None);
        }
        if self.options.fail_fast && !unreadable.is_empty() {
            return Ok(0);
        }
        if self.may_rescore {
            return self.run_and_rescore(points, &readable);
        }
        features::compute(&self.hopeful(&readable), self.settings)?;
        self.run_points(&readable)
    }

    /// Runs the first of these points, unless one of the sweep has a run, and scores the others from its predictions. Points whose models
    /// are others are run, too.
    fn run_and_rescore(&self, all: &[SweepPoint], missing: &[&SweepPoint]) -> Result<usize> {
        let own_run = |point: &SweepPoint| match point.existing_run(self.settings) {
            PriorRun::Finished { run, record } => Some((run, record)),
            _ => None,
        };
        let record = self.sweep_dir.read()?;
        let has_run = |point: &&SweepPoint| {
            self.find(&record, point).is_some_and(|known| known.status.is_final() && !known.rescored)
        };
        let (mut ran, mut left) = (0, missing.to_vec());
        let mut source = all.iter().find(has_run);
        // Where the first point fails, the next one is tried.
        while source.is_none() && !left.is_empty() {
            let point = left.remove(0);
            features::compute(&self.hopeful(&[point]), self.settings)?;
            ran += self.run_points(&[point])?;
            source = own_run(point).is_some().then_some(point);
            if source.is_none() && self.options.fail_fast {
                return Ok(ran);
            }
        }
        let Some(source) = source else { return Ok(ran) };
        let (alike, others): (Vec<&SweepPoint>, Vec<&SweepPoint>) =
            left.into_iter().partition(|point| rescoring::share_models(source, point));
        if !others.is_empty() {
            features::compute(&self.hopeful(&others), self.settings)?;
            ran += self.run_points(&others)?;
        }
        let Some((run, of_run)) = own_run(source).filter(|_| !alike.is_empty()) else { return Ok(ran) };
        let clock = Instant::now();
        let results = rescoring::results(&alike, &run, &self.settings.stop)?;
        let status = match of_run.status {
            Status::TooManyUnusable => PointStatus::TooManyUnusable,
            _ => PointStatus::Done,
        };
        let scores: HashMap<&str, Option<PointScore>> = (alike.iter().map(|point| point.name.as_str()))
            .zip(results.iter().map(|results| sweep_table::score_of(results, &of_run.metric, None)))
            .collect();
        let rescored = scores.len();
        let signatures = alike.iter().filter_map(|point| point.signature().map(str::to_owned));
        self.sweep_dir.add_results(signatures.zip(results).collect())?;
        self.sweep_dir.change(|record| {
            for point in &mut record.points {
                let Some(score) = scores.get(point.name.as_str()) else { continue };
                (point.status, point.run, point.why, point.rescored) = (status, Some(run.clone()), None, true);
                point.score.clone_from(score);
            }
        })?;
        self.settings.printer.message(&format!(
            "{} scored from the predictions of {} in {}",
            count(rescored, "point"),
            run.display(),
            seconds(clock.elapsed())
        ));
        Ok(ran + rescored)
    }

    /// The points for which features are worth computing. Prints the warnings of all, each once.
    fn hopeful<'p>(&self, points: &[&'p SweepPoint<'p>]) -> Vec<&'p SweepPoint<'p>> {
        let is_hopeful = |point: &&&SweepPoint| {
            let Ok((dataset, _)) = &point.dataset else { return false };
            let Ok(found) = dataset.inspect(point.experiment()) else { return false };
            dataset.warn(self.settings.printer, &found.warnings);
            found.hopeless(point.experiment()).is_none()
        };
        points.iter().filter(is_hopeful).copied().collect()
    }

    fn round_title(&self, points: &[SweepPoint]) -> String {
        match (points[0].budget, self.halving) {
            (Some(budget), Some(halving)) => {
                let key = short_name(&halving.key);
                format!("round {} of {} ({key} = {budget}): ", points[0].round, halving.budgets().len())
            }
            _ => "sweep: ".to_owned(),
        }
    }

    /// Writes the reports of finished runs that lack one, for example after a kill or with a full disk.
    fn write_missing_reports(&self, selected: &[&SweepPoint], record: &SweepRecord) -> Result<()> {
        let mut written = 0;
        for point in selected {
            let known = self.find(record, point).filter(|known| known.status.is_final());
            let Some(run) = known.and_then(|known| known.run.as_deref()) else { continue };
            let Ok((dataset, _)) = &point.dataset else { continue };
            if run_dir::has_report(run) {
                continue;
            }
            if self.settings.is_cancelled() {
                return Err(Cancelled.into());
            }
            match run::write_missing_report(run, dataset, self.settings) {
                Some(why) => self.failures.report_failed(point, run, why),
                None => written += 1,
            }
        }
        if written > 0 {
            self.settings.printer.message(&format!("Wrote the missing reports of {}", count(written, "point")));
        }
        Ok(())
    }

    /// Runs points from a queue with a worker for each device.
    fn run_points(&self, points: &[&SweepPoint]) -> Result<usize> {
        let queue = WorkQueue::new(points);
        match &self.options.devices[..self.options.devices.len().min(points.len().max(1))] {
            [device] => self.worker(&queue, self.settings.printer, device),
            devices => std::thread::scope(|scope| {
                let queue = &queue;
                for (number, device) in devices.iter().enumerate() {
                    let thread = std::thread::Builder::new().name(format!("sweep {number}"));
                    // Progress bars of several points would overwrite each other.
                    let work = move || self.worker(queue, Printer::Quiet, device);
                    drop(thread.spawn_scoped(scope, work).expect("a thread can be started"));
                }
            }),
        }
        let ran = queue.ran();
        queue.error.into_inner().expect("no worker panics").map_or(Ok(ran), Err)
    }

    fn worker(&self, queue: &WorkQueue, printer: Printer, device: &Device) {
        loop {
            if queue.quit.load(Ordering::Relaxed) {
                return;
            }
            let Some(point) = queue.points.lock().expect("no worker panics").pop_front() else { return };
            match self.run_point(queue, point, printer, device) {
                Ok(true) => {}
                Ok(false) => {
                    queue.points.lock().expect("no worker panics").push_back(point);
                    std::thread::sleep(RETRY_AFTER);
                }
                Err(error) => {
                    queue.quit.store(true, Ordering::Relaxed);
                    queue.error.lock().expect("no worker panics").get_or_insert(error);
                }
            }
        }
    }

    /// Runs a point, or finds its run. Returns false while another process holds it.
    fn run_point(&self, queue: &WorkQueue, point: &SweepPoint, printer: Printer, device: &Device) -> Result<bool> {
        if self.settings.is_cancelled() {
            return Err(Cancelled.into());
        }
        let change = |change: &dyn Fn(&mut PointRecord)| {
            self.sweep_dir.change_point(point.round, &point.name, |record| change(record))
        };
        let clock = Instant::now();
        let settings = Settings { printer, device: device.clone(), ..self.settings.clone() };
        let attempt = self.attempt(point, settings, &|| change(&|record| record.status = PointStatus::Running))?;
        let took = clock.elapsed();
        let (run, why) = match attempt {
            Attempt::Busy => return Ok(false),
            Attempt::Broken { run, why } => {
                queue.point_ended(took, true);
                (run, Some(why))
            }
            Attempt::Ended { run, record, ran, report_error } => {
                let mut ended = point.record(&PriorRun::None);
                update_from_run(&mut ended, &run, &record);
                let left = queue.point_ended(took, ran);
                if ended.why.is_none() {
                    self.print_progress(queue, point, ended.score.as_ref(), ran.then_some(took), left);
                }
                report_error.into_iter().for_each(|why| self.failures.report_failed(point, &run, why));
                change(&|changed| {
                    update_from_run(changed, &run, &record);
                    changed.seconds = ran.then_some(took.as_secs_f64()).or(changed.seconds);
                })?;
                (Some(run), ended.why)
            }
        };
        if let Some(why) = why {
            // Printed before it is written: the cause may be that nothing can be written.
            self.failures.point_failed(point, run.as_deref(), &why, Some(took));
            change(&|record| {
                (record.status, record.why) = (PointStatus::Failed, Some(why.clone()));
                record.run.clone_from(&run);
            })?;
            if self.options.fail_fast {
                queue.quit.store(true, Ordering::Relaxed);
            }
        }
        Ok(true)
    }

    fn attempt(&self, point: &SweepPoint, settings: Settings, on_start: &dyn Fn() -> Result<()>) -> Result<Attempt> {
        // Another process may have run the point in the meantime, successfully or not.
        match point.prior_run(&settings) {
            PriorRun::Finished { run, record } => {
                return Ok(Attempt::Ended { run, record, ran: false, report_error: None });
            }
            PriorRun::Failed { run, record } if record.ended.as_deref() >= Some(self.started.as_str()) => {
                return Ok(Attempt::Ended { run, record, ran: false, report_error: None });
            }
            _ => {}
        }
        on_start()?;
        let (dataset, _) = point.dataset.as_ref().expect("only readable points are run");
        // The features are in the cache: points without networks are too quick for a progress bar of their own.
        let has_networks = point.experiment().models.values().any(|spec| spec.as_network().is_some());
        let printer = if has_networks { settings.printer } else { Printer::Quiet };
        let settings = Settings { printer, ..settings };
        let clock = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| run::run_prepared(point.resolved, &settings, dataset, clock)));
        let run = || match point.existing_run(&settings) {
            PriorRun::Failed { run, .. } | PriorRun::Finished { run, .. } => Some(run),
            _ => None,
        };
        match outcome {
            Ok(Ok(outcome)) => {
                let record = Box::new(outcome.record);
                let (run, ran, report_error) = (outcome.path, !outcome.reused, outcome.report_error);
                Ok(Attempt::Ended { run, record, ran, report_error })
            }
            Ok(Err(error)) if error.is::<Cancelled>() => Err(error),
            Ok(Err(error)) if error.is::<Busy>() => Ok(Attempt::Busy),
            Ok(Err(error)) => Ok(Attempt::Broken { run: run(), why: format!("{error:#}") }),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                Ok(Attempt::Broken { run: run(), why: format!("it panicked: {}", text.unwrap_or_default()) })
            }
        }
    }

    /// `[3/12] k=3  accuracy 0.812 (mfcc.knn, validation)  2.1 s, about 19 s left`
    fn print_progress(
        &self,
        queue: &WorkQueue,
        point: &SweepPoint,
        score: Option<&PointScore>,
        took: Option<Duration>,
        left: usize,
    ) {
        if score.is_none() {
            self.no_score.call_once(|| {
                self.settings.printer.message(
                    "Points have several models and no validation split to choose one by (choosing on the test split would bias its \
                     score): the lines below have no score, the table at the end has all of them.",
                );
            });
        }
        let score = score.map_or(String::new(), |score| format!("  {score}"));
        let took = took.map_or("  finished before".to_owned(), |took| format!("  {}", seconds(took)));
        let rest = match (left, queue.mean_duration()) {
            (0, _) | (_, None) => String::new(),
            (left, Some(mean)) => {
                format!(", {}", time_left(mean.mul_f64(left as f64 / self.options.devices.len() as f64)))
            }
        };
        let done = queue.total - left;
        self.settings.printer.message(&format!("[{done}/{}] {}{score}{took}{rest}", queue.total, point.short_title()));
    }
}

/// Computes the features of all points only. Returns cache hits and misses, and the number of unusable recordings.
pub fn only_features(grid: &ExpandedGrid, settings: &Settings) -> Result<(run_dir::CacheRecord, usize)> {
    let points = PointLoader::new(settings).round(grid, 1, &grid.first_points())?;
    if let Some(error) = points.iter().find_map(|point| point.dataset.as_ref().err()) {
        bail!("{error:#}");
    }
    features::compute(&points.iter().collect::<Vec<_>>(), settings)
}
