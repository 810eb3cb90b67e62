//! Explains why a stored configuration leads to another signature, from the files of the run.

use std::collections::HashSet;
use std::path::Path;

use crate::execution::run::prepare::PreparedDataset;
use crate::execution::run::{STAGES, trials_of};
use timbre_core::dotted_keys;
use timbre_experiment::Experiment;
use timbre_runs::run_dir::{self, RunRecord, Trial};

/// The number of missing recordings that are named.
const MAX_NAMES: usize = 5;

/// The version of the program that made a run.
pub fn program(record: &RunRecord) -> &str {
    record.environment["timbre"].as_str().unwrap_or("of an unknown version")
}

/// What has changed since the run; at least one reason.
pub fn reasons(run: &Path, record: &RunRecord, experiment: &Experiment, dataset: &PreparedDataset) -> Vec<String> {
    let mut reasons = Vec::new();
    if record.data.hash != dataset.data_hash {
        reasons.push(data(run, record, experiment, dataset));
    }
    let (then, now) = (&record.environment[STAGES], dataset.stages_summary(experiment));
    let known = then.is_object();
    if known {
        let changed = dotted_keys::differences(then, &now).into_iter();
        reasons.extend(
            changed.map(|(path, then, now)| format!("the stage `{path}` was {then} and is {now} in this version")),
        );
    }
    let (then, now) = (program(record), env!("CARGO_PKG_VERSION"));
    if reasons.is_empty() && known {
        reasons.push(format!(
            "the recordings and the versions of all stages are equal, so the configuration has changed: config.resolved.toml was \
             edited, or timbre {now} reads it differently than {then}"
        ));
    } else if reasons.is_empty() {
        reasons.push(format!(
            "the recordings are equal, so a stage has changed, or the configuration was edited: the run was made by timbre {then}, \
             which did not record its stages; this is {now}"
        ));
    }
    reasons
}

fn data(run: &Path, record: &RunRecord, experiment: &Experiment, dataset: &PreparedDataset) -> String {
    let set = &dataset.set;
    let existing: HashSet<&str> = set.records.iter().map(|clip| clip.id.as_str()).collect();
    let then = record.data.clips + record.data.unusable;
    let mut sentence = format!(
        "the recordings of `{}` have changed, or their labels or songs: the hash was {}… and is {}…",
        record.data.name,
        record.data.hash.get(..8).unwrap_or(&record.data.hash),
        &dataset.data_hash[..8]
    );
    // With a limit per class only some recordings were used.
    let is_all = experiment.data.as_kind().common_keys().limit_per_class.is_none();
    if is_all && then != dataset.eligible.len() {
        sentence += &format!("; there were {then}, there are {}", dataset.eligible.len());
    }
    let mut gone: Vec<String> =
        evaluated(run, experiment).into_iter().filter(|path| !existing.contains(path.as_str())).collect();
    gone.sort();
    gone.dedup();
    if !gone.is_empty() {
        let more =
            if gone.len() > MAX_NAMES { format!(", and {} more", gone.len() - MAX_NAMES) } else { String::new() };
        gone.truncate(MAX_NAMES);
        sentence += &format!("; recordings that the run was evaluated on are missing: {}{more}", gone.join(", "));
    }
    sentence
}

/// The recordings on which the trials of the first seed were evaluated.
fn evaluated(run: &Path, experiment: &Experiment) -> Vec<String> {
    let of_trial = |trial: &Trial| run_dir::read_trial(run, trial);
    let Some(record) = trials_of(experiment).iter().find_map(of_trial) else { return Vec::new() };
    record.splits.into_iter().flat_map(|split| split.clips).map(|clip| clip.path).collect()
}
