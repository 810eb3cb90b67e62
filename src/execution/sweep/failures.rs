//! Reports failed points and missing reports: when they occur, and again at the end of a sweep.
//!
//! The messages go to stderr also with `--quiet`, because an exit code alone explains nothing.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use super::point::{PriorRun, SweepPoint};
use timbre_core::{
    progress::{eprint_line, seconds},
    text::count,
};
use timbre_runs::{
    run_dir,
    sweep_record::{PointRecord, PointStatus},
};

/// A finished point whose report could not be written.
#[derive(Clone, Debug)]
pub struct MissingReport {
    /// Round and name as in `grid.json`.
    pub round: usize,
    pub name: String,
    pub run: PathBuf,
    pub why: String,
}

/// The failures of this start. If the disk is full, they are recorded nowhere else.
#[derive(Default)]
pub struct FailureLog {
    failed: Mutex<Vec<PointRecord>>,
    missing_reports: Mutex<Vec<MissingReport>>,
}

impl FailureLog {
    pub fn point_failed(&self, point: &SweepPoint, run: Option<&Path>, why: &str, took: Option<Duration>) {
        let log = run.map_or(String::new(), |run| format!("\n  log: {}", run_dir::log_file(run).display()));
        let after = took.map_or(String::new(), |took| format!(" after {}", seconds(took)));
        eprint_line(&format!("error: {} failed{after}: {why}{log}", point.title()));
        let mut record = point.record(&PriorRun::None);
        (record.status, record.why) = (PointStatus::Failed, Some(why.to_owned()));
        record.run = run.map(Path::to_owned);
        self.failed.lock().expect("no worker panics").push(record);
    }

    pub fn report_failed(&self, point: &SweepPoint, run: &Path, why: String) {
        eprint_line(&format!("warning: {} is finished, but its report could not be written: {why}", point.title()));
        let (round, name, run) = (point.round, point.name.clone(), run.to_owned());
        self.missing_reports.lock().expect("no worker panics").push(MissingReport { round, name, run, why });
    }

    pub fn missing_reports(&self) -> Vec<MissingReport> {
        self.missing_reports.lock().expect("no worker panics").clone()
    }

    /// Prints everything again, at the end of a start that could not continue.
    pub fn print_all(&self, points: usize) {
        print_failures(self.failed.lock().expect("no worker panics").iter(), points);
        print_missing_reports(&self.missing_reports());
    }
}

/// Prints the failed points with their logs.
pub fn print_failures<'p>(failed: impl IntoIterator<Item = &'p PointRecord>, points: usize) {
    let failed: Vec<&PointRecord> = failed.into_iter().collect();
    if failed.is_empty() {
        return;
    }
    eprint_line(&format!("error: {} of {} failed:", failed.len(), count(points, "point")));
    for point in failed {
        let budget = point.budget.map_or(String::new(), |budget| format!(" ({budget})"));
        eprint_line(&format!("  {}{budget}: {}", point.name, point.why.as_deref().unwrap_or("?")));
        point.run.iter().for_each(|run| eprint_line(&format!("    log: {}", run_dir::log_file(run).display())));
    }
}

pub fn print_missing_reports(missing: &[MissingReport]) {
    if missing.is_empty() {
        return;
    }
    eprint_line(&format!(
        "warning: {} finished without a report; the next start writes it:",
        count(missing.len(), "point")
    ));
    for point in missing {
        eprint_line(&format!("  {}: {}\n    run folder: {}", point.name, point.why, point.run.display()));
    }
}
