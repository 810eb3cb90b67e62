//! Many runs of one experiment: the points of its grid, one after the other or some at once, in one process or in several.
//!
//! A grid is a declared set of signatures. A point whose run lies finished anywhere in the folder of runs is not run again; so
//! a second start does only what is missing or failed, and a value that is taken from an axis leaves its runs alone. What a
//! process works on it holds by the lock of the run folder: another that comes to the point waits for it, and runs it if the
//! first one dies.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};

use crate::execution::run::{self, Settings};
use timbre_core::cancel::Cancelled;
use timbre_core::error::{ExitStatus, UserError};
use timbre_core::progress::{Printer, seconds};
use timbre_experiment::{ExpandedGrid, HalvingSpec};
use timbre_runs::run_dir::{self, Busy, RunRecord};

pub mod point;
pub mod estimate;
pub mod features;
mod halving;
mod queue;
mod point_filter;
pub mod plan;
mod rounds;
pub mod table;
pub mod failures;
pub mod watch;

use failures::{MissingReport, Told, counted};
use point::{Candidate, Gathering, There, fill};
use queue::Line;
use table::short_name;
use timbre_runs::sweep_record::{PointRecord, PointScore, PointStatus, SCHEMA, SweepDir, SweepRecord, SweepStatus};

/// How often a point that another process holds is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// What of a grid is run, and what happens when a point fails.
#[derive(Clone, Debug)]
pub struct SweepOptions {
    /// After the first failure no further point is begun.
    pub fail_fast: bool,
    /// Only the points that failed before.
    pub retry_failed: bool,
    /// Only the points for which all of these hold; all where there is none.
    pub only: Vec<String>,
    /// So many points at once.
    pub at_once: usize,
}

/// What a start of a grid came to.
pub struct SweepOutcome {
    pub home: SweepDir,
    pub record: SweepRecord,
    /// Points that this start ran, also those that failed; all others were there.
    pub ran: usize,
    /// Points whose run is finished, and whose report could not be written.
    pub no_report: Vec<MissingReport>,
}

/// Runs what is missing of a grid.
pub fn run(declared: &ExpandedGrid, settings: &Settings, how: &SweepOptions) -> Result<SweepOutcome> {
    if declared.halving.is_some() && (!how.only.is_empty() || how.retry_failed) {
        let sentence = "a halving compares all its points: --only and --retry-failed would change which are the best";
        bail!(UserError::usage(sentence.to_owned()));
    }
    let home = SweepDir::new(&settings.runs, &declared.name);
    let mut gathering = Gathering::new(settings);
    let rounds = declared.points[0].rounds.len();
    let mut indices: Vec<usize> = (0..declared.points.len()).collect();
    let first = gathering.round(declared, 1, &indices)?;
    // Where nothing can be read at all there is one reason, and no grid.
    if first.iter().all(|candidate| candidate.dataset.is_err()) {
        drop(gathering);
        let error = first.into_iter().next().and_then(|candidate| candidate.dataset.err()).expect("there is a point");
        return Err(std::sync::Arc::try_unwrap(error).unwrap_or_else(|shared| anyhow!("{shared:#}")));
    }
    // Twins are gone for all rounds.
    indices = first.iter().map(|candidate| candidate.number - 1).collect();
    let mut alone = !home.is_running();
    let presence = match home.enter() {
        Ok(presence) => presence,
        Err(error) => return rounds::shown_again(declared, settings, gathering, first, home, error),
    };
    let begun = Begun {
        home: &home,
        settings,
        how,
        halving: declared.halving.as_ref(),
        started: run_dir::now(),
        told: Told::default(),
    };
    let mut current = first;
    let mut ran = 0;
    let mut earlier: Vec<PointRecord> = Vec::new();
    let ended = loop {
        let round = current[0].round;
        if let Err(error) = begun.declare(declared, &earlier, &current, alone) {
            break Err(error);
        }
        // From now on the file is this grid's, whoever else works on it.
        alone = false;
        match begun.round(&current) {
            Ok(done) => ran += done,
            Err(error) => break Err(error),
        }
        let record = match home.read() {
            Ok(record) => record,
            Err(error) => break Err(error),
        };
        let is_whole = current.iter().all(|c| begun.find(&record, c).is_some_and(|p| p.status != PointStatus::Waiting));
        if round == rounds || !is_whole {
            break Ok(());
        }
        let halving = declared.halving.as_ref().expect("only a halving has rounds");
        let kept = halving::kept(&record.points, round, halving);
        if kept.is_empty() {
            break Ok(());
        }
        settings.printer.message(&halving::sentence(&record.points, round, halving, &kept));
        indices.retain(|index| kept.contains(&(index + 1)));
        earlier.extend(record.points.into_iter().filter(|point| point.round == round));
        current = match gathering.round(declared, round + 1, &indices) {
            Ok(next) => next,
            Err(error) => break Err(error),
        };
    };
    let left = home.leave(presence).and_then(|()| {
        let record = home.read()?;
        table::write(&home.table(), &record)?;
        Ok(record)
    });
    let mut record = ended.and(left).inspect_err(|_| begun.told.again(declared.points.len()))?;
    // Another process that is about to leave has not written it yet.
    record.status = record.final_status();
    Ok(SweepOutcome { record, ran, no_report: begun.told.without_report(), home })
}

fn declared_as(declared: &ExpandedGrid, started: String, points: Vec<PointRecord>) -> SweepRecord {
    SweepRecord {
        schema: SCHEMA,
        experiment: declared.name.clone(),
        description: declared.points[0].rounds[0].experiment.description.clone(),
        status: SweepStatus::Running,
        started,
        ended: None,
        axes: declared.axes.clone(),
        halving: declared.halving.clone(),
        points,
    }
}

/// A start of a grid, under way.
struct Begun<'a> {
    home: &'a SweepDir,
    settings: &'a Settings,
    how: &'a SweepOptions,
    halving: Option<&'a HalvingSpec>,
    started: String,
    told: Told,
}

/// How the attempt at a point ended.
enum Attempt {
    /// Somebody else is at work on it.
    Busy,
    /// Its run has ended; whether this process ran it.
    Ended { run: PathBuf, record: Box<RunRecord>, ran: bool, no_report: Option<String> },
    /// There is no run, or none that could end.
    Broken { run: Option<PathBuf>, why: String },
}

impl Begun<'_> {
    fn declare(
        &self,
        declared: &ExpandedGrid,
        earlier: &[PointRecord],
        current: &[Candidate],
        alone: bool,
    ) -> Result<()> {
        let records = current.iter().map(|candidate| {
            let there = if self.settings.fresh { There::Nothing } else { candidate.there(self.settings) };
            rounds::declared_as(candidate, &there)
        });
        let points = earlier.iter().cloned().chain(records).collect();
        self.home.declare(declared_as(declared, self.started.clone(), points), alone)
    }

    fn find<'r>(&self, record: &'r SweepRecord, candidate: &Candidate) -> Option<&'r PointRecord> {
        record.points.iter().find(|point| point.round == candidate.round && point.name == candidate.name)
    }

    /// Runs what is missing of these points; returns how many that were.
    fn round(&self, candidates: &[Candidate]) -> Result<usize> {
        let record = self.home.read()?;
        let status = |c: &&Candidate| self.find(&record, c).map_or(PointStatus::Waiting, |point| point.status);
        let meant: Vec<&Candidate> = candidates.iter().filter(|c| point_filter::is_meant(c, &self.how.only)).collect();
        let meant: Vec<&Candidate> = meant
            .into_iter()
            .filter(|candidate| !self.how.retry_failed || status(candidate) == PointStatus::Failed)
            .collect();
        if meant.is_empty() {
            bail!(UserError::new(
                ExitStatus::NothingSelected,
                match self.how.retry_failed {
                    true => "no point of the grid has failed that is meant here".to_owned(),
                    false => point_filter::none_is_meant(candidates, &self.how.only),
                }
            ));
        }
        let open: Vec<&Candidate> = meant.iter().copied().filter(|candidate| !status(candidate).is_final()).collect();
        let round = self.how_called(candidates);
        let there = candidates.iter().filter(|candidate| status(candidate).is_final()).count();
        self.settings.printer.message(&format!(
            "{round}{}: {there} there, {} to run",
            counted(candidates.len()),
            open.len()
        ));
        self.write_missing_reports(&meant, &record)?;
        let readable: Vec<&Candidate> = open.iter().copied().filter(|candidate| candidate.dataset.is_ok()).collect();
        for candidate in open.iter().filter(|candidate| candidate.dataset.is_err()) {
            let why = candidate.dataset.as_ref().err().map(|error| format!("{error:#}"));
            self.told.failure(candidate, None, &why.unwrap_or_default(), None);
        }
        if self.how.fail_fast && readable.len() < open.len() {
            return Ok(0);
        }
        features::compute(&readable, self.settings)?;
        self.work(&readable)
    }

    fn how_called(&self, candidates: &[Candidate]) -> String {
        match (candidates[0].budget, self.halving) {
            (Some(budget), Some(halving)) => {
                let key = short_name(&halving.key);
                format!("round {} of {} ({key} = {budget}): ", candidates[0].round, halving.budgets().len())
            }
            _ => "grid: ".to_owned(),
        }
    }

    /// A kill, or a full disk, can leave a finished run without its report.
    fn write_missing_reports(&self, meant: &[&Candidate], record: &SweepRecord) -> Result<()> {
        let mut written = 0;
        for candidate in meant {
            let point = self.find(record, candidate).filter(|point| point.status.is_final());
            let Some(run) = point.and_then(|point| point.run.as_deref()) else { continue };
            let Ok((dataset, _)) = &candidate.dataset else { continue };
            if run_dir::has_report(run) {
                continue;
            }
            if self.settings.is_cancelled() {
                return Err(Cancelled.into());
            }
            match run::write_missing_report(run, dataset, self.settings) {
                Some(why) => self.told.no_report(candidate, run, why),
                None => written += 1,
            }
        }
        if written > 0 {
            self.settings.printer.message(&format!("{} had no report: written now", counted(written)));
        }
        Ok(())
    }

    /// The points from a queue, by as many workers as are wanted.
    fn work(&self, candidates: &[&Candidate]) -> Result<usize> {
        let line = Line::of(candidates);
        let workers = self.how.at_once.clamp(1, candidates.len().max(1));
        if workers == 1 {
            self.worker(&line, self.settings.printer);
        } else {
            // Bars of several points at once would write over each other.
            std::thread::scope(|scope| {
                (0..workers).for_each(|_| drop(scope.spawn(|| self.worker(&line, Printer::Quiet))));
            });
        }
        let ran = line.ran();
        line.error.into_inner().expect("no worker panics").map_or(Ok(ran), Err)
    }

    fn worker(&self, line: &Line, printer: Printer) {
        loop {
            if line.quit.load(Ordering::Relaxed) {
                return;
            }
            let Some(candidate) = line.queue.lock().expect("no worker panics").pop_front() else { return };
            match self.one(line, candidate, printer) {
                Ok(true) => {}
                Ok(false) => {
                    line.queue.lock().expect("no worker panics").push_back(candidate);
                    std::thread::sleep(LOOK_AGAIN);
                }
                Err(error) => {
                    line.quit.store(true, Ordering::Relaxed);
                    line.error.lock().expect("no worker panics").get_or_insert(error);
                }
            }
        }
    }

    /// Runs a point, or finds it run; false while another process holds it.
    fn one(&self, line: &Line, candidate: &Candidate, printer: Printer) -> Result<bool> {
        if self.settings.is_cancelled() {
            return Err(Cancelled.into());
        }
        let change = |change: &dyn Fn(&mut PointRecord)| {
            self.home.change_point(candidate.round, &candidate.name, |point| change(point))
        };
        let clock = Instant::now();
        let attempt = self.attempt(candidate, printer, &|| change(&|point| point.status = PointStatus::Running))?;
        let took = clock.elapsed();
        let (run, why) = match attempt {
            Attempt::Busy => return Ok(false),
            Attempt::Broken { run, why } => {
                line.ended(took, true);
                (run, Some(why))
            }
            Attempt::Ended { run, record, ran, no_report } => {
                let mut ended = candidate.record(&There::Nothing);
                fill(&mut ended, &run, &record);
                let left = line.ended(took, ran);
                if ended.why.is_none() {
                    self.eprint_line(line, candidate, ended.score.as_ref(), ran.then_some(took), left);
                }
                no_report.into_iter().for_each(|why| self.told.no_report(candidate, &run, why));
                change(&|point| {
                    fill(point, &run, &record);
                    point.seconds = ran.then_some(took.as_secs_f64()).or(point.seconds);
                })?;
                (Some(run), ended.why)
            }
        };
        if let Some(why) = why {
            // Before it is written: what stops that may be the very reason.
            self.told.failure(candidate, run.as_deref(), &why, Some(took));
            change(&|point| {
                (point.status, point.why) = (PointStatus::Failed, Some(why.clone()));
                point.run.clone_from(&run);
            })?;
            if self.how.fail_fast {
                line.quit.store(true, Ordering::Relaxed);
            }
        }
        Ok(true)
    }

    fn attempt(&self, candidate: &Candidate, printer: Printer, begin: &dyn Fn() -> Result<()>) -> Result<Attempt> {
        let settings = &self.settings;
        // Another process may have come first, with whatever end.
        let there = if settings.fresh { There::Nothing } else { candidate.there(settings) };
        match there {
            There::Finished { run, record } => {
                return Ok(Attempt::Ended { run, record, ran: false, no_report: None });
            }
            There::Failed { run, record } if record.ended.as_deref() >= Some(self.started.as_str()) => {
                return Ok(Attempt::Ended { run, record, ran: false, no_report: None });
            }
            _ => {}
        }
        begin()?;
        let (dataset, _) = candidate.dataset.as_ref().expect("only what can be read is run");
        // Features lie in the cache: the quick models of a grid need no bar of their own.
        let has_networks = candidate.experiment().models.values().any(|spec| spec.as_kind().is_network());
        let settings = Settings { printer: if has_networks { printer } else { Printer::Quiet }, ..(*settings).clone() };
        let begun = Instant::now();
        let outcome =
            catch_unwind(AssertUnwindSafe(|| run::run_prepared(candidate.resolved, &settings, dataset, begun)));
        let run = || match candidate.there(&settings) {
            There::Failed { run, .. } | There::Finished { run, .. } => Some(run),
            _ => None,
        };
        match outcome {
            Ok(Ok(outcome)) => {
                let record = Box::new(outcome.record);
                let (run, ran, no_report) = (outcome.path, !outcome.reused, outcome.report_error);
                Ok(Attempt::Ended { run, record, ran, no_report })
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

    fn eprint_line(
        &self,
        line: &Line,
        candidate: &Candidate,
        score: Option<&PointScore>,
        took: Option<Duration>,
        left: usize,
    ) {
        let score = score.map_or(String::new(), |s| format!("  {} {:.3} ({})", s.metric, s.value, s.split));
        let took = took.map_or("  was there".to_owned(), |took| format!("  {}", seconds(took)));
        let rest = match (left, line.pace()) {
            (0, _) | (_, None) => String::new(),
            (left, Some(pace)) => {
                format!(", about {} left", seconds(pace.mul_f64(left as f64 / self.how.at_once as f64)))
            }
        };
        let done = line.total - left;
        self.settings.printer.message(&format!("[{done}/{}] {}{score}{took}{rest}", line.total, candidate.title()));
    }
}

/// Only the features of all points. Returns hits, misses and how many recordings could not be used.
pub fn only_features(declared: &ExpandedGrid, settings: &Settings) -> Result<(run_dir::CacheRecord, usize)> {
    let all: Vec<usize> = (0..declared.points.len()).collect();
    let candidates = Gathering::new(settings).round(declared, 1, &all)?;
    if let Some(Err(error)) = candidates.iter().map(|candidate| &candidate.dataset).find(|m| m.is_err()) {
        bail!("{error:#}");
    }
    features::compute(&candidates.iter().collect::<Vec<_>>(), settings)
}
