//! The rule: who has fallen, and whether the run passes.

use std::path::PathBuf;

use anyhow::{Result, bail};
use indexmap::IndexMap;

use super::comparability::{self, Issue, IssueKind};
use super::reference::ReferenceScores;
use super::tolerance::Tolerance;
use timbre_core::error::UserError;
use timbre_evaluation::metrics::is_loss;

/// Sums of floats in another order differ by less than this; nothing that counts does. A metric may be worse by the tolerance
/// exactly, and 0.72 − 0.71 is a little more than 0.01 in binary.
pub const ROUNDING: f64 = 1e-9;

/// By how much `run` is worse than `baseline`: negative where it is better.
pub fn worse_by(metric: &str, baseline: f64, run: f64) -> f64 {
    if is_loss(metric) { run - baseline } else { baseline - run }
}

/// What is not a number has fallen, too.
pub fn has_fallen(worse_by: f64, tolerance: f64) -> bool {
    let within = worse_by <= tolerance + ROUNDING;
    !within
}

/// A metric of a trial, held against the baseline.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// `mel.knn`
    pub trial: String,
    pub metric: String,
    pub baseline: f64,
    /// The 95 % interval of the baseline, where it has one.
    pub interval: Option<(f64, f64)>,
    pub tolerance: f64,
    pub finding: Finding,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    Held {
        run: f64,
        worse_by: f64,
    },
    Fell {
        run: f64,
        worse_by: f64,
    },
    /// The run has no such trial or metric, for this reason.
    Missing {
        why: String,
    },
}

impl Check {
    pub fn run(&self) -> Option<f64> {
        match self.finding {
            Finding::Held { run, .. } | Finding::Fell { run, .. } => Some(run),
            Finding::Missing { .. } => None,
        }
    }

    /// Whether the run's score lies inside the interval of the baseline.
    pub fn is_inside(&self) -> Option<bool> {
        let ((low, high), run) = (self.interval?, self.run()?);
        Some((low..=high).contains(&run))
    }
}

/// What came of holding a run against a baseline.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckReport {
    /// `quickstart 0799b5bc`, and its folder.
    pub run: (String, PathBuf),
    /// The same, and its file or folder.
    pub baseline: (String, PathBuf),
    pub experiment: String,
    pub split: String,
    /// How many recordings the baseline was judged on, of its first seed; nothing where it does not say.
    pub clips: Option<usize>,
    /// By trial and metric, in the order of the baseline.
    pub checks: Vec<Check>,
    pub doubts: Vec<Issue>,
    pub notes: Vec<String>,
    /// What is no reason to fail.
    pub allowed: Vec<IssueKind>,
}

impl CheckReport {
    pub fn allows(&self, kind: IssueKind) -> bool {
        self.allowed.contains(&kind)
    }

    /// Whether nothing fell, and nothing is in doubt that was not allowed.
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| !self.fails(check)) && self.doubts.iter().all(|doubt| self.allows(doubt.kind))
    }

    pub fn fails(&self, check: &Check) -> bool {
        match check.finding {
            Finding::Held { .. } => false,
            Finding::Fell { .. } => true,
            Finding::Missing { .. } => !self.allows(IssueKind::Missing),
        }
    }

    pub fn fallen(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| matches!(check.finding, Finding::Fell { .. }))
    }

    pub fn missing(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| matches!(check.finding, Finding::Missing { .. }))
    }
}

/// Holds `run` against `baseline` by the metrics of `tolerances`; without any by the headline metric, which must not be worse.
pub fn compare(
    run: &ReferenceScores,
    baseline: &ReferenceScores,
    tolerances: &[Tolerance],
    allowed: &[IssueKind],
) -> Result<CheckReport> {
    let tolerances = asked(baseline, tolerances)?;
    let split = baseline.split();
    let mut checks = Vec::new();
    for trial in baseline.trials_of(split) {
        let own = run.trials_of(split).find(|own| own.features == trial.features && own.model == trial.model);
        for (metric, &tolerance) in &tolerances {
            let Some(&before) = trial.metrics.get(metric) else { continue };
            let finding = match own.map(|own| own.metrics.get(metric).copied()) {
                Some(Some(now)) => {
                    let worse_by = worse_by(metric, before, now);
                    match has_fallen(worse_by, tolerance) {
                        true => Finding::Fell { run: now, worse_by },
                        false => Finding::Held { run: now, worse_by },
                    }
                }
                Some(None) => {
                    Finding::Missing { why: format!("{metric} is undefined for it, or for one of its seeds") }
                }
                None => Finding::Missing { why: why_missing(run, &trial.name()) },
            };
            let interval = trial.intervals.get(metric).copied();
            checks.push(Check {
                trial: trial.name(),
                metric: metric.clone(),
                baseline: before,
                interval,
                tolerance,
                finding,
            });
        }
    }
    let first = baseline.clips.get(split).and_then(|clips| clips.values().next());
    Ok(CheckReport {
        run: (run.title(), run.origin.path.clone()),
        baseline: (baseline.title(), baseline.origin.path.clone()),
        experiment: run.experiment.clone(),
        split: split.to_owned(),
        clips: first.map(|clips| clips.n),
        checks,
        doubts: comparability::doubts(run, baseline, split),
        notes: comparability::notes(run, baseline, split),
        allowed: allowed.to_vec(),
    })
}

/// What is asked of the run, by metric: the baseline has to know each.
fn asked(baseline: &ReferenceScores, tolerances: &[Tolerance]) -> Result<IndexMap<String, f64>> {
    let mut asked = IndexMap::new();
    for Tolerance { metric, by } in tolerances {
        if asked.insert(metric.clone(), *by).is_some_and(|earlier| earlier != *by) {
            bail!(UserError::usage(format!("--tolerance is given twice for {metric}, with two numbers")));
        }
    }
    if tolerances.is_empty() {
        asked.insert(baseline.metric.clone(), 0.0);
    }
    let split = baseline.split();
    let trials: Vec<_> = baseline.trials_of(split).collect();
    if trials.is_empty() {
        bail!(UserError::usage(format!(
            "the baseline {} has no results to be held against",
            baseline.origin.path.display()
        )));
    }
    for metric in asked.keys() {
        if trials.iter().all(|trial| !trial.metrics.contains_key(metric)) {
            let mut known: Vec<&str> =
                trials.iter().flat_map(|trial| trial.metrics.keys().map(String::as_str)).collect();
            known.sort_unstable();
            known.dedup();
            bail!(UserError::usage(format!(
                "the baseline {} knows no {metric}, only: {}",
                baseline.origin.path.display(),
                known.join(", ")
            )));
        }
    }
    Ok(asked)
}

fn why_missing(run: &ReferenceScores, trial: &str) -> String {
    let of_unit = |key: &str| key.strip_prefix(trial).is_some_and(|rest| rest.starts_with(".s"));
    match run.origin.failures.iter().find(|(key, _)| of_unit(key)) {
        Some((key, why)) => format!("{key} could not be fitted: {why}"),
        None if run.trials.is_empty() => "the run has no results".to_owned(),
        None => "the run has no such trial".to_owned(),
    }
}
