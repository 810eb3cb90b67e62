//! Says when `latest` of an experiment, or the table of its sweep, passes to runs on other data or of another configuration: the
//! commands that read them then use other models.

use std::fs;
use std::path::Path;

use timbre_reports::comparison;
use timbre_runs::run_dir::{self, RunRecord};
use timbre_runs::sweep_record::{SweepDir, SweepRecord};

/// Keys that are named; of more only the number is.
const MOST: usize = 3;

/// The data and the configuration of a run.
pub struct RunIdentity {
    pub record: RunRecord,
    config: String,
}

impl RunIdentity {
    /// None if the run cannot be read.
    pub fn read(run: &Path) -> Option<RunIdentity> {
        let config = fs::read_to_string(run_dir::resolved_config(run)).ok()?;
        Some(RunIdentity { record: run_dir::read_record(run).ok()?, config })
    }

    /// The run that `latest` points to.
    pub fn of_latest(runs: &Path, experiment: &str) -> Option<RunIdentity> {
        RunIdentity::read(&run_dir::latest(&runs.join(experiment)))
    }

    /// How this run differs from an earlier one: `on other data: b (before: a)`, or
    /// `of another configuration: models.knn.k = 3 (before: 1)`. None if only the keys `axes` differ.
    pub fn change_since(&self, before: &RunIdentity, axes: &[&str]) -> Option<String> {
        let (data, data_before) = (&self.record.data, &before.record.data);
        if data.name != data_before.name {
            return Some(format!("on other data: {} (before: {})", data.name, data_before.name));
        }
        let mut keys = comparison::differing_keys(&before.config, &self.config).ok()?;
        keys.retain(|key| !axes.contains(&key.name.as_str()));
        if keys.is_empty() {
            return (data.hash != data_before.hash && axes.is_empty())
                .then(|| format!("on other recordings of {}", data.name));
        }
        let value = |value: &Option<String>| value.as_deref().map_or("none".to_owned(), short);
        let one = |key: &comparison::DifferingKey| {
            format!("{} = {} (before: {})", key.name, value(&key.values[1]), value(&key.values[0]))
        };
        let mut text = keys.iter().take(MOST).map(one).collect::<Vec<_>>().join(", ");
        if keys.len() > MOST {
            text += &format!(" and {} more keys", keys.len() - MOST);
        }
        Some(format!("of another configuration: {text}"))
    }
}

/// The sweep of an experiment before a start: one of its runs, and its axes.
pub struct SweepIdentity {
    run: RunIdentity,
    axes: Vec<String>,
}

impl SweepIdentity {
    /// None without a sweep that has a finished run.
    pub fn read(sweep_dir: &SweepDir) -> Option<SweepIdentity> {
        SweepIdentity::of(&sweep_dir.read().ok()?)
    }

    pub fn of(record: &SweepRecord) -> Option<SweepIdentity> {
        let run = record.points.iter().filter_map(|point| point.run.as_deref()).find_map(RunIdentity::read)?;
        let axes = record.axes.iter().map(|axis| axis.key.clone());
        Some(SweepIdentity {
            run,
            axes: axes.chain(record.halving.iter().map(|halving| halving.key.clone())).collect(),
        })
    }

    /// How the runs of this sweep differ from those of an earlier one, apart from the axes of both.
    pub fn change_since(&self, before: &SweepIdentity) -> Option<String> {
        let axes: Vec<&str> = self.axes.iter().chain(&before.axes).map(String::as_str).collect();
        self.run.change_since(&before.run, &axes)
    }

    /// How its last run differs from the earlier run of `latest`, apart from the axes.
    pub fn latest_change(&self, runs: &Path, before: &RunIdentity) -> Option<String> {
        let axes: Vec<&str> = self.axes.iter().map(String::as_str).collect();
        RunIdentity::of_latest(runs, &before.record.experiment)?.change_since(before, &axes)
    }

    pub fn record(&self) -> &RunRecord {
        &self.run.record
    }
}

fn short(value: &str) -> String {
    const MOST: usize = 40;
    match value.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &value[..at]),
        None => value.to_owned(),
    }
}
