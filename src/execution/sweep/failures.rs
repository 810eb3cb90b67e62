//! What is said of points that failed, and of runs without a report: when it happens, and once more at the end, where it is
//! seen. On stderr, also with `--quiet`: an exit code alone explains nothing.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use super::point::{Candidate, There};
use timbre_core::progress::{eprint_line, seconds};
use timbre_runs::run_dir;
use timbre_runs::sweep_record::{PointRecord, PointStatus};

/// A point whose run is finished and has no report.
#[derive(Clone, Debug)]
pub struct MissingReport {
    /// The point, as `grid.json` has it.
    pub round: usize,
    pub name: String,
    pub run: PathBuf,
    pub why: String,
}

/// What this start has told so far. The disk may be full: then it stands nowhere else.
#[derive(Default)]
pub struct Told {
    failed: Mutex<Vec<PointRecord>>,
    no_report: Mutex<Vec<MissingReport>>,
}

impl Told {
    pub fn failure(&self, candidate: &Candidate, run: Option<&Path>, why: &str, took: Option<Duration>) {
        let log = run.map_or(String::new(), |run| format!("\n  its log: {}", run_dir::log_file(run).display()));
        let after = took.map_or(String::new(), |took| format!(" after {}", seconds(took)));
        eprint_line(&format!("timbre: {} failed{after}: {why}{log}", candidate.title()));
        let mut record = candidate.record(&There::Nothing);
        (record.status, record.why) = (PointStatus::Failed, Some(why.to_owned()));
        record.run = run.map(Path::to_owned);
        self.failed.lock().expect("nobody panics here").push(record);
    }

    pub fn no_report(&self, candidate: &Candidate, run: &Path, why: String) {
        eprint_line(&format!("timbre: {} is finished, its report is not: {why}", candidate.title()));
        let (round, name, run) = (candidate.round, candidate.name.clone(), run.to_owned());
        self.no_report.lock().expect("nobody panics here").push(MissingReport { round, name, run, why });
    }

    pub fn without_report(&self) -> Vec<MissingReport> {
        self.no_report.lock().expect("nobody panics here").clone()
    }

    /// The end of a start that could not go on.
    pub fn again(&self, points: usize) {
        print_failures(self.failed.lock().expect("nobody panics here").iter(), points);
        print_missing_reports(&self.without_report());
    }
}

/// The points that failed, with their logs.
pub fn print_failures<'p>(failed: impl IntoIterator<Item = &'p PointRecord>, points: usize) {
    let failed: Vec<&PointRecord> = failed.into_iter().collect();
    if failed.is_empty() {
        return;
    }
    eprint_line(&format!("timbre: {} of {} failed:", failed.len(), counted(points)));
    for point in failed {
        let budget = point.budget.map_or(String::new(), |budget| format!(" ({budget})"));
        eprint_line(&format!("  {}{budget}: {}", point.name, point.why.as_deref().unwrap_or("?")));
        point.run.iter().for_each(|run| eprint_line(&format!("    its log: {}", run_dir::log_file(run).display())));
    }
}

pub fn print_missing_reports(missing: &[MissingReport]) {
    if missing.is_empty() {
        return;
    }
    eprint_line(&format!("timbre: {} finished without a report, which the next start writes:", counted(missing.len())));
    for point in missing {
        eprint_line(&format!("  {}: {}\n    its folder: {}", point.name, point.why, point.run.display()));
    }
}

/// `1 point`, `3 points`.
pub fn counted(points: usize) -> String {
    timbre_core::text::count(points, "point")
}
