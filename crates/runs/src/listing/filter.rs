//! Filters and sorts the listed runs.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::{ListedRun, RunState};
use crate::baseline_check::metric_named;
use timbre_core::text::glob_matches;
use timbre_evaluation::metrics::gain;

/// The filter of `timbre runs`. Default: all runs, the newest first.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// Patterns of experiment names with `*` and `?`; a run must match one of them, or be one of `runs`.
    pub experiments: Vec<String>,
    /// Run folders.
    pub runs: Vec<PathBuf>,
    /// A run must be in one of these states.
    pub states: Vec<RunState>,
    /// Shown instead of the headline metric; runs without it are left out.
    pub metric: Option<String>,
    /// A run must meet all of them.
    pub bounds: Vec<MetricBound>,
    pub since: Option<TimeBound>,
    pub until: Option<TimeBound>,
    pub sort: SortBy,
    pub reverse: bool,
    pub limit: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum SortBy {
    /// Newest first
    #[default]
    When,
    /// By name, newest first
    Experiment,
    Status,
    /// Best first, grouped by metric
    Score,
    /// Longest first
    Seconds,
}

impl RunFilter {
    pub fn of(&self, mut runs: Vec<ListedRun>) -> Vec<ListedRun> {
        runs.retain(|run| self.holds(run));
        runs.sort_by(|a, b| self.compare(a, b));
        if self.reverse {
            runs.reverse();
        }
        runs.truncate(self.limit.unwrap_or(usize::MAX));
        runs
    }

    fn holds(&self, run: &ListedRun) -> bool {
        let entry = &run.entry;
        let is_named = || {
            self.experiments.iter().any(|pattern| glob_matches(pattern, &entry.experiment))
                || self.runs.iter().any(|named| is_same(named, &run.run))
        };
        (self.experiments.is_empty() && self.runs.is_empty() || is_named())
            && (self.states.is_empty() || self.states.contains(&run.state))
            && self.metric.as_deref().is_none_or(|metric| entry.best(metric).is_some())
            && self.bounds.iter().all(|bound| entry.best(&bound.metric).is_some_and(|best| bound.holds(best.score)))
            && self.since.as_ref().is_none_or(|day| entry.started.as_str() >= day.0.as_str())
            && self.until.as_ref().is_none_or(|day| day.is_not_before(&entry.started))
    }

    fn compare(&self, a: &ListedRun, b: &ListedRun) -> Ordering {
        let newest = || b.entry.started.cmp(&a.entry.started).then_with(|| a.run.cmp(&b.run));
        let by_key = match self.sort {
            SortBy::When => Ordering::Equal,
            SortBy::Experiment => a.entry.experiment.cmp(&b.entry.experiment),
            SortBy::Status => a.state.name().cmp(b.state.name()),
            SortBy::Score => self.by_score(a, b),
            SortBy::Seconds => descending(a.entry.seconds, b.entry.seconds),
        };
        by_key.then_with(newest)
    }

    /// Scores of different metrics are not comparable: runs are grouped by metric.
    fn by_score(&self, a: &ListedRun, b: &ListedRun) -> Ordering {
        let metric = |run: &ListedRun| self.metric.clone().unwrap_or_else(|| run.entry.metric.clone());
        let (of_a, of_b) = (metric(a), metric(b));
        let score = |run: &ListedRun, metric: &str| run.entry.best(metric).map(|best| best.score);
        of_a.cmp(&of_b).then_with(|| {
            let gain_of = |run: &ListedRun, metric: &str| score(run, metric).map(|score| gain(&of_a, score));
            descending(gain_of(a, &of_a), gain_of(b, &of_b))
        })
    }
}

/// Whether two paths lead to one folder: `latest` is a link.
fn is_same(a: &Path, b: &Path) -> bool {
    a == b || a.canonicalize().ok().zip(b.canonicalize().ok()).is_some_and(|(a, b)| a == b)
}

/// Runs without a value come last.
fn descending(a: Option<f64>, b: Option<f64>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => b.total_cmp(&a),
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

/// `f1_micro>=0.7`
#[derive(Clone, Debug, PartialEq)]
pub struct MetricBound {
    metric: String,
    at_least: bool,
    value: f64,
}

impl MetricBound {
    fn holds(&self, score: f64) -> bool {
        if self.at_least { score >= self.value } else { score <= self.value }
    }
}

impl FromStr for MetricBound {
    type Err = String;

    fn from_str(text: &str) -> Result<MetricBound, String> {
        let (at_least, split) = match (text.split_once(">="), text.split_once("<=")) {
            (Some(parts), _) => (true, parts),
            (None, Some(parts)) => (false, parts),
            (None, None) => {
                return Err("write METRIC>=NUMBER or METRIC<=NUMBER, quoted: the shell interprets > and <".into());
            }
        };
        let value: f64 = split.1.trim().parse().map_err(|_| format!("`{}` is not a number", split.1))?;
        if value.is_nan() {
            return Err("NaN cannot be compared".into());
        }
        Ok(MetricBound { metric: metric_named(split.0.trim())?.to_owned(), at_least, value })
    }
}

/// A time: `2026-11-24`, `2026-11-24T15:00` (UTC), or an age (`36h`, `7d`). Kept as the beginning of the time in `run.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeBound(String);

impl TimeBound {
    /// A day includes its last moment.
    fn is_not_before(&self, started: &str) -> bool {
        started.get(..self.0.len()).unwrap_or(started) <= self.0.as_str()
    }
}

impl FromStr for TimeBound {
    type Err = String;

    fn from_str(text: &str) -> Result<TimeBound, String> {
        use chrono::{NaiveDate, NaiveDateTime, TimeDelta, Utc};
        let ago = |hours: i64| {
            let time = TimeDelta::try_hours(hours).and_then(|span| Utc::now().checked_sub_signed(span));
            time.map(|time| TimeBound(time.format("%Y-%m-%dT%H:%M:%S").to_string()))
        };
        if let Some(number) = text.strip_suffix('d').and_then(|n| n.parse::<u32>().ok()) {
            return ago(i64::from(number) * 24).ok_or_else(|| "the age is too large".into());
        }
        if let Some(number) = text.strip_suffix('h').and_then(|n| n.parse::<u32>().ok()) {
            return ago(i64::from(number)).ok_or_else(|| "the age is too large".into());
        }
        if let Ok(day) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
            return Ok(TimeBound(day.format("%Y-%m-%d").to_string()));
        }
        match NaiveDateTime::parse_from_str(&text.replace(' ', "T"), "%Y-%m-%dT%H:%M") {
            Ok(time) => Ok(TimeBound(time.format("%Y-%m-%dT%H:%M").to_string())),
            Err(_) => Err("write a day (2026-11-24), a time in UTC (2026-11-24T15:00), or an age (36h, 7d)".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_has_a_known_metric_and_a_number() {
        let bound: MetricBound = "f1_micro >= 0.7".parse().unwrap();
        assert!(bound.holds(0.7) && !bound.holds(0.69));
        assert!("log_loss<=1".parse::<MetricBound>().unwrap().holds(0.5));
        assert!("f1_mico>=0.7".parse::<MetricBound>().unwrap_err().contains("`f1_micro`"));
        assert!("f1_micro".parse::<MetricBound>().is_err() && "f1_micro>=x".parse::<MetricBound>().is_err());
    }

    #[test]
    fn a_day_includes_its_first_and_last_moment() {
        let day: TimeBound = "2026-11-24".parse().unwrap();
        assert!("2026-11-24T00:00:00.000Z" >= day.0.as_str() && "2026-11-23T23:59:59.999Z" < day.0.as_str());
        assert!(day.is_not_before("2026-11-24T23:59:59.999Z") && !day.is_not_before("2026-11-25T00:00:00.000Z"));
        for wrong in ["2026-13-01", "tomorrow", "", "d", "-3d", "24.11.2026"] {
            assert!(wrong.parse::<TimeBound>().is_err(), "{wrong}");
        }
        assert!("7d".parse::<TimeBound>().unwrap().0 < "36h".parse::<TimeBound>().unwrap().0);
    }

    #[test]
    fn runs_without_a_score_come_last() {
        let mut scores = [None, Some(0.25), Some(0.75)];
        scores.sort_by(|a, b| descending(*a, *b));
        assert_eq!(scores, [Some(0.75), Some(0.25), None]);
    }
}
