//! A grid or a run as somebody sees it who looks on from another terminal. Everything is read from the folder of runs; nothing
//! is written there, and the process at work does not know.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use timbre_core::error::UserError;
use timbre_core::files;
use timbre_core::progress::{Printer, seconds};
use timbre_runs::run_dir::{self, RunRecord, Status};
use timbre_runs::sweep_record::{self, PointRecord, PointStatus, SweepDir, SweepRecord, SweepStatus};

/// How often it is looked, and how often a line is printed where there is no terminal.
const LOOK: Duration = Duration::from_millis(500);
const LINE_EVERY: Duration = Duration::from_secs(5);

/// A run that is started in another terminal needs a moment until it is there.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is looked at.
#[derive(Debug)]
pub enum Watched {
    Grid(SweepDir),
    Run(PathBuf),
}

/// `find`, with patience where a name is given of which there is nothing yet.
pub fn wait_for(runs: &Path, experiment: Option<&str>, printer: Printer, stop: &AtomicBool) -> Result<Watched> {
    let since = Instant::now();
    let mut is_told = false;
    loop {
        match find(runs, experiment, printer) {
            Err(error) if experiment.is_some() && error.is::<UserError>() && since.elapsed() < PATIENCE => {
                if !std::mem::replace(&mut is_told, true) {
                    printer.message(&format!("{error} yet; waiting {} for it", seconds(PATIENCE)));
                }
                if stop.load(Ordering::Relaxed) {
                    return Err(error);
                }
                std::thread::sleep(LOOK);
            }
            found => return found,
        }
    }
}

/// The grid of an experiment, or its latest run; without a name what is at work, or what was last.
fn find(runs: &Path, experiment: Option<&str>, printer: Printer) -> Result<Watched> {
    if let Some(name) = experiment {
        let stem = name.rsplit('/').next().unwrap_or(name).trim_end_matches(".toml");
        let home = SweepDir::new(runs, stem);
        if is_sound(&home, printer)
            && (home.is_running() || run_dir::newest(&runs.join(stem)).is_none_or(|run| !is_in_progress(&run)))
        {
            return Ok(Watched::Grid(home));
        }
        return match run_dir::newest(&runs.join(stem)) {
            Some(run) => Ok(Watched::Run(run)),
            None => bail!(UserError::usage(format!("there is no run of `{stem}` in {}", runs.display()))),
        };
    }
    let grids: Vec<_> = sweep_record::all(runs).into_iter().filter(|(_, home)| is_sound(home, printer)).collect();
    if let Some((_, home)) = grids.iter().rev().find(|(_, home)| home.is_running()) {
        return Ok(Watched::Grid(home.clone()));
    }
    let mut all = run_dir::all(runs);
    // A folder is named by its time, whatever the experiment is called.
    all.sort_by_key(|run| run.file_name().map(ToOwned::to_owned));
    match (all.iter().rev().find(|run| is_in_progress(run)), grids.last(), all.last()) {
        (Some(run), ..) => Ok(Watched::Run(run.clone())),
        (None, Some((_, home)), _) => Ok(Watched::Grid(home.clone())),
        (None, None, Some(run)) => Ok(Watched::Run(run.clone())),
        (None, None, None) => bail!(UserError::usage(format!("there is no run in {}", runs.display()))),
    }
}

/// Whether there is a grid to look at. One whose file is damaged is as good as none: the next start makes it anew.
fn is_sound(home: &SweepDir, printer: Printer) -> bool {
    let read = home.exists().then(|| home.read());
    if let Some(Err(error)) = &read {
        printer.message(&format!("{error:#}; the next start of the grid makes this file anew"));
    }
    matches!(read, Some(Ok(_)))
}

fn is_in_progress(run: &Path) -> bool {
    run_dir::is_in_progress(run) && run_dir::read_record(run).is_ok_and(|record| record.status == Status::Running)
}

/// Shows what there is until it ends, or until the signal.
pub fn until_it_ends(watched: &Watched, stop: &AtomicBool) -> Result<()> {
    let terminal = std::io::stdout().is_terminal();
    let mut printed: Option<Instant> = None;
    loop {
        let (text, line, ended) = look(watched)?;
        let mut out = std::io::stdout().lock();
        if terminal {
            // From the first line of the screen: lines that are wider than it take two, so they cannot be counted back.
            write!(out, "\x1b[H\x1b[J{text}")?;
            out.flush()?;
        } else if ended || printed.is_none_or(|at| at.elapsed() >= LINE_EVERY) {
            printed = Some(Instant::now());
            if files::reader_closed(writeln!(out, "{line}"))? {
                return Ok(());
            }
        }
        drop(out);
        if ended || stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
}

/// Whether somebody works on it. Who has just left writes how it ended a moment later.
fn is_alive(home: &SweepDir) -> Result<bool> {
    let alive = home.is_running();
    if !alive && home.read()?.status == SweepStatus::Running {
        std::thread::sleep(LOOK);
    }
    Ok(alive)
}

/// A picture, a line, and whether it has ended.
fn look(watched: &Watched) -> Result<(String, String, bool)> {
    match watched {
        Watched::Grid(home) => {
            let alive = is_alive(home)?;
            let mut record = home.read()?;
            let runs = home.runs();
            let experiment = record.experiment.clone();
            for point in record.points.iter_mut().filter(|point| point.status == PointStatus::Running) {
                let signature = point.signature.as_deref().filter(|_| point.run.is_none());
                point.run = signature.and_then(|s| run_dir::of_signature(runs, &experiment, s).into_iter().next());
            }
            let ended = !alive || record.status != SweepStatus::Running;
            Ok((picture(&record, alive), line(&record, alive), ended))
        }
        Watched::Run(run) => {
            let record = run_dir::read_record(run)?;
            let ended = record.status != Status::Running || !run_dir::is_in_progress(run);
            let line = line_of_run(run, &record, ended);
            Ok((format!("{line}\n"), line, ended))
        }
    }
}

/// How it stands, in a word.
fn word(record: &SweepRecord, alive: bool) -> &'static str {
    match (record.status, alive) {
        (SweepStatus::Running, true) => "at work",
        (SweepStatus::Running, false) => "killed: the same command goes on",
        (SweepStatus::Stopped, _) => "stopped",
        (SweepStatus::Failed, _) => "through, with failures",
        (SweepStatus::Done, _) => "done",
    }
}

fn line(record: &SweepRecord, alive: bool) -> String {
    let there = record.finished();
    let failed = record.count(PointStatus::Failed);
    let mut line = format!("{}: {there}/{} points done", record.experiment, record.expected());
    if failed > 0 {
        line += &format!(", {failed} failed");
    }
    let running: Vec<String> =
        now_at_work(record).map(|point| format!("{}{}", point.name, trials_done(point))).collect();
    if alive && !running.is_empty() {
        line += &format!(", at {}", running.join(" and "));
    }
    if let Some(left) = left(record).filter(|_| alive) {
        line += &format!(", about {} left", seconds(left));
    }
    let missing = record.waiting();
    if !alive && missing > 0 {
        line += &format!(", {missing} missing");
    }
    format!("{line} ({})", word(record, alive))
}

fn now_at_work(record: &SweepRecord) -> impl Iterator<Item = &PointRecord> {
    record.points.iter().filter(|point| point.status == PointStatus::Running)
}

/// From the points that were run: how long the others will take. In a halving it takes as long as the budget is large.
fn left(record: &SweepRecord) -> Option<Duration> {
    let work = |budget: Option<u64>| budget.unwrap_or(1) as f64;
    let ran = record.points.iter().filter_map(|point| Some((point.seconds?, work(point.budget))));
    let (took, done) = ran.fold((0.0, 0.0), |sum, (seconds, work)| (sum.0 + seconds, sum.1 + work));
    let is_open = |point: &&PointRecord| matches!(point.status, PointStatus::Waiting | PointStatus::Running);
    let known: f64 = record.points.iter().filter(is_open).map(|point| work(point.budget)).sum();
    let later: f64 = record.later_rounds().iter().map(|&(budget, points)| budget as f64 * points as f64).sum();
    let at_once = now_at_work(record).count().max(1) as f64;
    let open = known + later;
    (done > 0.0 && open > 0.0).then(|| Duration::from_secs_f64(took / done * open / at_once))
}

/// ` (2 of 3 models)` of the point's run, where it is known.
fn trials_done(point: &PointRecord) -> String {
    let Some(run) = &point.run else { return String::new() };
    format!(" ({} of {} models)", run_dir::trials_done(run), point.trials)
}

/// Points that are through are many: the last few of them, all that failed, what is at work.
fn picture(record: &SweepRecord, alive: bool) -> String {
    const BAR: usize = 30;
    const LAST: usize = 8;
    let all = record.expected().max(1);
    let there = record.finished();
    let full = BAR * there / all;
    let mut text = format!("{}{} {}\n", "█".repeat(full), "░".repeat(BAR - full), line(record, alive));
    let shown = |point: &PointRecord| {
        let end = match (&point.score, point.seconds, &point.why) {
            (_, _, Some(why)) => why.lines().next().unwrap_or_default().chars().take(60).collect(),
            (Some(score), took, _) => {
                let took = took.map_or("was there".to_owned(), |took| seconds(Duration::from_secs_f64(took)));
                format!("{} {:.3} ({})  {took}", score.metric, score.value, score.split)
            }
            _ => trials_done(point),
        };
        let budget = point.budget.map_or(String::new(), |budget| format!(" ({budget})"));
        format!("  {:>9}  {}{budget}  {end}\n", point.status.name(), point.name)
    };
    let through: Vec<&PointRecord> = record.points.iter().filter(|point| point.status.is_final()).collect();
    text.extend(through[through.len().saturating_sub(LAST)..].iter().map(|point| shown(point)));
    let failed: Vec<&PointRecord> = record.points.iter().filter(|point| point.status == PointStatus::Failed).collect();
    text.extend(failed[failed.len().saturating_sub(LAST)..].iter().map(|point| shown(point)));
    text.extend(now_at_work(record).filter(|_| alive).map(shown));
    text
}

fn line_of_run(run: &Path, record: &RunRecord, ended: bool) -> String {
    let done = run_dir::trials_done(run);
    let status = match (record.status, ended) {
        (Status::Running, true) => "killed: the same command goes on",
        (Status::Running, false) => "at work",
        (Status::Stopped, _) => "stopped",
        (Status::Failed, _) => "failed",
        (Status::TooManyUnusable, _) => "done, with too many unusable recordings",
        (Status::Done, _) => "done",
    };
    format!("{}: {done} models done ({status})  {}", record.experiment, run.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbre_experiment::HalvingSpec;

    /// Nine points of which some are done, by their number.
    fn halving(done: usize) -> SweepRecord {
        let halving = HalvingSpec { key: "models.net.epochs".into(), from: 1, to: 9, eta: 3 };
        let point = |number: usize| PointRecord {
            number,
            round: 1,
            name: format!("models.net.dropout={number}"),
            values: Default::default(),
            budget: Some(1),
            signature: None,
            status: if number <= done { PointStatus::Done } else { PointStatus::Waiting },
            run: None,
            why: None,
            trials: 1,
            seconds: (number <= done).then_some(2.0),
            score: None,
        };
        SweepRecord {
            schema: sweep_record::SCHEMA,
            experiment: "halv".into(),
            description: String::new(),
            status: SweepStatus::Running,
            started: String::new(),
            ended: None,
            axes: Vec::new(),
            halving: Some(halving),
            points: (1..=9).map(point).collect(),
        }
    }

    #[test]
    fn a_halving_counts_the_points_of_the_rounds_to_come() {
        let record = halving(6);
        // 9 points for one epoch, 3 for three, 1 for nine; at two seconds an epoch 3 + 9 + 9 epochs are left.
        assert_eq!(line(&record, true), "halv: 6/13 points done, about 42 s left (at work)");
        assert_eq!(record.final_status(), SweepStatus::Stopped);
        assert_eq!(halving(9).final_status(), SweepStatus::Stopped, "two rounds are missing");
    }

    #[test]
    fn of_a_killed_grid_it_is_said_how_many_points_are_missing() {
        assert_eq!(line(&halving(6), false), "halv: 6/13 points done, 7 missing (killed: the same command goes on)");
    }

    #[test]
    fn a_damaged_grid_is_none_and_its_runs_can_be_looked_at() {
        let runs = tempfile::tempdir().unwrap();
        let home = SweepDir::new(runs.path(), "x");
        std::fs::create_dir_all(runs.path().join("x")).unwrap();
        std::fs::write(home.file(), "{ half").unwrap();
        assert!(find(runs.path(), Some("x"), Printer::Quiet).unwrap_err().is::<UserError>());
        assert!(find(runs.path(), None, Printer::Quiet).unwrap_err().is::<UserError>());
    }
}
