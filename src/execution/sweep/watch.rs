//! Follows a sweep or a run from another terminal (`timbre watch`). Only reads the folder of runs.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use timbre_core::{
    error::UserError,
    files,
    progress::{Printer, duration, seconds, time_left},
    text::{count, for_terminal},
};
use timbre_runs::run_dir::{self, RunRecord, Status, Table, Trial};
use timbre_runs::sweep_record::{self, PointRecord, PointStatus, SweepDir, SweepRecord, SweepStatus};
use timbre_runs::{sweep_table, tables};

/// The time between two reads, and between two lines without a terminal.
const POLL_EVERY: Duration = Duration::from_millis(500);
const LINE_EVERY: Duration = Duration::from_secs(5);

/// A run that starts in another terminal needs a moment until its folder exists.
const WAIT_FOR_START: Duration = Duration::from_secs(5);

/// What is followed.
#[derive(Debug)]
pub enum Watched {
    Sweep(SweepDir),
    Run(PathBuf),
}

/// Finds what to follow. Waits a few seconds for an experiment that has no run yet.
pub fn wait_for(runs: &Path, experiment: Option<&str>, printer: Printer, stop: &AtomicBool) -> Result<Watched> {
    let since = Instant::now();
    let mut is_announced = false;
    loop {
        match find(runs, experiment, printer) {
            Err(error) if experiment.is_some() && error.is::<UserError>() && since.elapsed() < WAIT_FOR_START => {
                if !std::mem::replace(&mut is_announced, true) {
                    printer.message(&format!("{error} yet; waiting {} for it", seconds(WAIT_FOR_START)));
                }
                if stop.load(Ordering::Relaxed) {
                    return Err(error);
                }
                std::thread::sleep(POLL_EVERY);
            }
            found => return found,
        }
    }
}

/// The sweep of an experiment, or its latest run. Without a name: what is running, or what ran last.
fn find(runs: &Path, experiment: Option<&str>, printer: Printer) -> Result<Watched> {
    if let Some(name) = experiment {
        let stem = name.rsplit('/').next().unwrap_or(name).trim_end_matches(".toml");
        let sweep = SweepDir::new(runs, stem);
        if is_readable(&sweep, printer)
            && (sweep.is_running() || run_dir::newest(&runs.join(stem)).is_none_or(|run| !is_in_progress(&run)))
        {
            return Ok(Watched::Sweep(sweep));
        }
        return match run_dir::newest(&runs.join(stem)) {
            Some(run) => Ok(Watched::Run(run)),
            None => bail!(UserError::usage(format!("there is no run of `{stem}` in {}", runs.display()))),
        };
    }
    let sweeps: Vec<_> = sweep_record::all(runs).into_iter().filter(|(_, sweep)| is_readable(sweep, printer)).collect();
    if let Some((_, sweep)) = sweeps.iter().rev().find(|(_, sweep)| sweep.is_running()) {
        return Ok(Watched::Sweep(sweep.clone()));
    }
    let mut all = run_dir::all(runs);
    // The name of a run folder begins with its time, in every experiment.
    all.sort_by_key(|run| run.file_name().map(ToOwned::to_owned));
    match (all.iter().rev().find(|run| is_in_progress(run)), sweeps.last(), all.last()) {
        (Some(run), ..) => Ok(Watched::Run(run.clone())),
        (None, Some((_, sweep)), _) => Ok(Watched::Sweep(sweep.clone())),
        (None, None, Some(run)) => Ok(Watched::Run(run.clone())),
        (None, None, None) => bail!(UserError::usage(format!("there is no run in {}", runs.display()))),
    }
}

/// Whether there is a readable sweep. A damaged record counts as none: the next start of the sweep makes it anew.
fn is_readable(sweep: &SweepDir, printer: Printer) -> bool {
    let read = sweep.exists().then(|| sweep.read());
    if let Some(Err(error)) = &read {
        printer.message(&format!("{error:#}; the next start of the sweep replaces this file"));
    }
    matches!(read, Some(Ok(_)))
}

fn is_in_progress(run: &Path) -> bool {
    run_dir::is_in_progress(run) && run_dir::read_record(run).is_ok_and(|record| record.status == Status::Running)
}

/// Shows the progress until the end, or until a signal.
pub fn until_it_ends(watched: &Watched, stop: &AtomicBool) -> Result<()> {
    let terminal = std::io::stdout().is_terminal();
    let mut printed: Option<Instant> = None;
    loop {
        let (text, line, ended) = poll(watched)?;
        let (text, line) = (for_terminal(&text), for_terminal(&line));
        let mut out = std::io::stdout().lock();
        if terminal {
            // Redrawn from the top of the screen: wide lines wrap, so the cursor cannot go back by a number of lines.
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
        std::thread::sleep(POLL_EVERY);
    }
}

/// Whether a process works on the sweep. A process that has just left writes the final status a moment later.
fn is_alive(sweep: &SweepDir) -> Result<bool> {
    let alive = sweep.is_running();
    if !alive && sweep.read()?.status == SweepStatus::Running {
        std::thread::sleep(POLL_EVERY);
    }
    Ok(alive)
}

/// The screen, the line, and whether the sweep or run has ended.
fn poll(watched: &Watched) -> Result<(String, String, bool)> {
    match watched {
        Watched::Sweep(sweep) => {
            let alive = is_alive(sweep)?;
            let mut record = sweep.read()?;
            let runs = sweep.runs();
            let experiment = record.experiment.clone();
            for point in record.points.iter_mut().filter(|point| point.status == PointStatus::Running) {
                let signature = point.signature.as_deref().filter(|_| point.run.is_none());
                point.run = signature.and_then(|s| run_dir::of_signature(runs, &experiment, s).into_iter().next());
            }
            let ended = !alive || record.status != SweepStatus::Running;
            Ok((screen(&record, alive), line(&record, alive), ended))
        }
        Watched::Run(run) => {
            let record = run_dir::read_record(run)?;
            let ended = record.status != Status::Running || !run_dir::is_in_progress(run);
            let line = line_of_run(run, &record, ended);
            Ok((format!("{line}\n"), line, ended))
        }
    }
}

/// The status in words.
fn status(record: &SweepRecord, alive: bool) -> &'static str {
    match (record.status, alive) {
        (SweepStatus::Running, true) => "running",
        (SweepStatus::Running, false) => "killed: the same command continues it",
        (SweepStatus::Stopped, _) => "stopped",
        (SweepStatus::Failed, _) => "finished with failures",
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
    let running: Vec<String> = running_points(record)
        .map(|point| format!("{}{}", sweep_table::short_title(&point.values), trials_done(point)))
        .collect();
    if alive && !running.is_empty() {
        line += &format!(", running {}", running.join(" and "));
    }
    if let Some(left) = left(record).filter(|_| alive) {
        line += &format!(", {}", time_left(left));
    }
    let missing = record.waiting();
    if !alive && missing > 0 {
        line += &format!(", {missing} missing");
    }
    format!("{line} ({})", status(record, alive))
}

fn running_points(record: &SweepRecord) -> impl Iterator<Item = &PointRecord> {
    record.points.iter().filter(|point| point.status == PointStatus::Running)
}

/// The time left, from the points that were run. With successive halving the time of a point grows with its budget.
fn left(record: &SweepRecord) -> Option<Duration> {
    let work = |budget: Option<u64>| budget.unwrap_or(1) as f64;
    let ran = record.points.iter().filter_map(|point| Some((point.seconds?, work(point.budget))));
    let (took, done) = ran.fold((0.0, 0.0), |sum, (seconds, work)| (sum.0 + seconds, sum.1 + work));
    let is_missing = |point: &&PointRecord| matches!(point.status, PointStatus::Waiting | PointStatus::Running);
    let known: f64 = record.points.iter().filter(is_missing).map(|point| work(point.budget)).sum();
    let later: f64 = record.later_rounds().iter().map(|&(budget, points)| budget as f64 * points as f64).sum();
    let at_once = running_points(record).count().max(1) as f64;
    let missing = known + later;
    (done > 0.0 && missing > 0.0).then(|| Duration::from_secs_f64(took / done * missing / at_once))
}

/// ` (2 of 3 models)`: the progress of a point, if its run is known.
fn trials_done(point: &PointRecord) -> String {
    let Some(run) = &point.run else { return String::new() };
    format!(" ({} of {} models)", run_dir::trials_done(run), point.trials)
}

/// The screen: a bar, the last finished points, the last failed ones, and the running ones.
fn screen(record: &SweepRecord, alive: bool) -> String {
    const BAR: usize = 30;
    const LAST: usize = 8;
    let all = record.expected().max(1);
    let there = record.finished();
    let full = BAR * there / all;
    let mut text = format!("{}{} {}\n", "█".repeat(full), "░".repeat(BAR - full), line(record, alive));
    let shown = |point: &PointRecord| {
        let end = match (&point.score, point.seconds, &point.why) {
            (_, _, Some(why)) => why.lines().next().unwrap_or_default().chars().take(60).collect(),
            (score, took, _) if point.status.is_final() => {
                let took = took.map_or("finished before".to_owned(), duration);
                score.as_ref().map_or(took.clone(), |score| format!("{score}  {took}"))
            }
            _ => trials_done(point),
        };
        let budget = point.budget.map_or(String::new(), |budget| format!(" ({budget})"));
        format!("  {:>9}  {}{budget}  {end}\n", point.status.name(), sweep_table::short_title(&point.values))
    };
    let through: Vec<&PointRecord> = record.points.iter().filter(|point| point.status.is_final()).collect();
    text.extend(through[through.len().saturating_sub(LAST)..].iter().map(|point| shown(point)));
    let failed: Vec<&PointRecord> = record.points.iter().filter(|point| point.status == PointStatus::Failed).collect();
    text.extend(failed[failed.len().saturating_sub(LAST)..].iter().map(|point| shown(point)));
    text.extend(running_points(record).filter(|_| alive).map(shown));
    text
}

fn line_of_run(run: &Path, record: &RunRecord, ended: bool) -> String {
    let done = run_dir::trials_done(run);
    let status = match (record.status, ended) {
        (Status::Running, true) => "killed: the same command continues it",
        (Status::Running, false) => "running",
        (Status::Stopped, _) => "stopped",
        (Status::Failed, _) => "failed",
        (Status::TooManyUnusable, _) => "done, with too many unusable recordings",
        (Status::Done, _) => "done",
    };
    let training = if ended { None } else { training(run) };
    let training = training.map_or(String::new(), |training| format!(", {training}"));
    format!("{}: {} done{training} ({status})  {}", record.experiment, count(done, "model"), run.display())
}

/// `mel.cnn_small.s1 at epoch 7 of 30, loss 1.0705, validation loss 1.2932, about 41 s left`: the network that is being trained, from the
/// last line of its epochs.
fn training(run: &Path) -> Option<String> {
    let epochs = tables::read_csv(&run.join(Table::Epochs.file())).ok()?;
    let last = |column: &str| epochs.get(column)?.last();
    let number = |column: &str| last(column)?.parse::<f64>().ok();
    let trial =
        Trial { features: last("features")?.clone(), model: last("model")?.clone(), seed: last("seed")?.parse().ok()? };
    let written: toml::Table = std::fs::read_to_string(run_dir::resolved_config(run)).ok()?.parse().ok()?;
    let (epoch, all) =
        (number("epoch")?, written.get("models")?.get(&trial.model)?.get("epochs")?.as_integer()? as f64);
    if epoch >= all || run_dir::read_trial(run, &trial).is_some() {
        return None;
    }
    let losses = [("loss", "train_loss"), ("validation loss", "validation_loss")];
    let losses = losses.into_iter().filter_map(|(name, column)| Some(format!(", {name} {:.4}", number(column)?)));
    let left = time_left(Duration::from_secs_f64(number("seconds")? * (all - epoch)));
    Some(format!("{trial} at epoch {epoch} of {all}{}, {left}", losses.collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbre_experiment::HalvingSpec;

    /// Nine points; the first `done` are finished.
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
            rescored: false,
            results: Vec::new(),
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
            tpe: None,
            points: (1..=9).map(point).collect(),
        }
    }

    #[test]
    fn a_network_in_training_is_shown_with_its_epoch_and_the_time_left() {
        let run = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| std::fs::write(run.path().join(file), text).unwrap();
        write("config.resolved.toml", "[models.cnn]\nepochs = 30\n");
        let head = "features,model,seed,epoch,train_loss,validation_loss,seconds\n";
        write("epochs.csv", &format!("{head}mel,cnn,1,6,1.5,1.7,2.0\nmel,cnn,1,7,1.07051,,2.0\n"));
        assert_eq!(training(run.path()).unwrap(), "mel.cnn.s1 at epoch 7 of 30, loss 1.0705, about 46 s left");
        write("epochs.csv", &format!("{head}mel,cnn,1,30,1.5,1.7,2.0\n"));
        assert_eq!(training(run.path()), None, "the next model has no epoch yet");
    }

    #[test]
    fn the_points_of_later_rounds_are_counted() {
        let record = halving(6);
        // Nine points for one epoch, three for 3 epochs, one for 9: 3 + 9 + 9 epochs are left, two seconds each.
        assert_eq!(line(&record, true), "halv: 6/13 points done, about 42 s left (running)");
        assert_eq!(record.final_status(), SweepStatus::Stopped);
        assert_eq!(halving(9).final_status(), SweepStatus::Stopped, "two rounds are missing");
    }

    #[test]
    fn the_missing_points_of_a_killed_sweep_are_counted() {
        assert_eq!(
            line(&halving(6), false),
            "halv: 6/13 points done, 7 missing (killed: the same command continues it)"
        );
    }

    #[test]
    fn a_damaged_record_counts_as_no_sweep() {
        let runs = tempfile::tempdir().unwrap();
        let sweep = SweepDir::new(runs.path(), "x");
        std::fs::create_dir_all(runs.path().join("x")).unwrap();
        std::fs::write(sweep.file(), "{ half").unwrap();
        assert!(find(runs.path(), Some("x"), Printer::Quiet).unwrap_err().is::<UserError>());
        assert!(find(runs.path(), None, Printer::Quiet).unwrap_err().is::<UserError>());
    }
}
