//! The rule of the check: which metrics have fallen, and whether the run passes.

use std::path::PathBuf;

use anyhow::{Result, bail};
use indexmap::IndexMap;

use super::comparability::{self, Issue, IssueKind};
use super::reference::ReferenceScores;
use super::tolerance::Tolerance;
use timbre_core::error::UserError;
use timbre_evaluation::metrics::is_loss;

/// Rounding of sums in another order stays below this; real differences do not. A metric may be worse by exactly the tolerance, and
/// 0.72 − 0.71 is a little more than 0.01 in binary.
pub const ROUNDING: f64 = 1e-9;

/// How much worse `run` is than `baseline`; negative if it is better.
pub fn worse_by(metric: &str, baseline: f64, run: f64) -> f64 {
    if is_loss(metric) { run - baseline } else { baseline - run }
}

/// NaN counts as fallen.
pub fn has_fallen(worse_by: f64, tolerance: f64) -> bool {
    let within = worse_by <= tolerance + ROUNDING;
    !within
}

/// One metric of one model, compared with the baseline.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// `mel.knn`
    pub model: String,
    pub metric: String,
    pub baseline: f64,
    /// The 95 % interval of the baseline, if it has one.
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
    /// The run lacks the model or the metric.
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

    /// Whether the score of the run is inside the interval of the baseline.
    pub fn is_inside(&self) -> Option<bool> {
        let ((low, high), run) = (self.interval?, self.run()?);
        Some((low..=high).contains(&run))
    }
}

/// The result of a check.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckReport {
    /// Title (`quickstart 0799b5bc`) and folder.
    pub run: (String, PathBuf),
    /// Title, and file or folder.
    pub baseline: (String, PathBuf),
    pub experiment: String,
    pub split: String,
    /// The number of recordings of the baseline (of its first seed), if known.
    pub clips: Option<usize>,
    /// By model and metric, in the order of the baseline.
    pub checks: Vec<Check>,
    pub issues: Vec<Issue>,
    pub notes: Vec<String>,
    /// Issues that do not fail the check.
    pub allowed: Vec<IssueKind>,
}

impl CheckReport {
    pub fn allows(&self, kind: IssueKind) -> bool {
        self.allowed.contains(&kind)
    }

    /// Whether no metric fell, and every issue is allowed.
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| !self.fails(check)) && self.issues.iter().all(|issue| self.allows(issue.kind))
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

/// Compares `run` with `baseline` by the metrics of `tolerances`; without any, by the headline metric with tolerance 0.
pub fn compare(
    run: &ReferenceScores,
    baseline: &ReferenceScores,
    tolerances: &[Tolerance],
    allowed: &[IssueKind],
) -> Result<CheckReport> {
    let tolerances = tolerance_by_metric(baseline, tolerances)?;
    let split = baseline.split();
    let mut checks = Vec::new();
    for model in baseline.models_of(split) {
        let own = run.models_of(split).find(|own| own.features == model.features && own.model == model.model);
        for (metric, &tolerance) in &tolerances {
            let Some(&before) = model.metrics.get(metric) else { continue };
            let finding = match own.map(|own| own.metrics.get(metric).copied()) {
                Some(Some(now)) => {
                    let worse_by = worse_by(metric, before, now);
                    match has_fallen(worse_by, tolerance) {
                        true => Finding::Fell { run: now, worse_by },
                        false => Finding::Held { run: now, worse_by },
                    }
                }
                Some(None) => Finding::Missing { why: format!("{metric} is undefined for at least one seed") },
                None => Finding::Missing { why: why_missing(run, &model.name()) },
            };
            let interval = model.intervals.get(metric).copied();
            checks.push(Check {
                model: model.name(),
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
        issues: comparability::issues(run, baseline, split),
        notes: comparability::notes(run, baseline, split),
        allowed: allowed.to_vec(),
    })
}

/// The tolerance of each checked metric. The baseline must have each metric.
fn tolerance_by_metric(baseline: &ReferenceScores, tolerances: &[Tolerance]) -> Result<IndexMap<String, f64>> {
    let mut by_metric = IndexMap::new();
    for Tolerance { metric, by } in tolerances {
        if by_metric.insert(metric.clone(), *by).is_some_and(|earlier| earlier != *by) {
            bail!(UserError::usage(format!("--tolerance is given twice for {metric}, with different numbers")));
        }
    }
    if tolerances.is_empty() {
        by_metric.insert(baseline.metric.clone(), 0.0);
    }
    let split = baseline.split();
    let models: Vec<_> = baseline.models_of(split).collect();
    if models.is_empty() {
        bail!(UserError::usage(format!("the baseline {} has no results", baseline.origin.path.display())));
    }
    for metric in by_metric.keys() {
        if models.iter().all(|model| !model.metrics.contains_key(metric)) {
            let mut known: Vec<&str> =
                models.iter().flat_map(|model| model.metrics.keys().map(String::as_str)).collect();
            known.sort_unstable();
            known.dedup();
            bail!(UserError::usage(format!(
                "the baseline {} has no {metric}, only: {}",
                baseline.origin.path.display(),
                known.join(", ")
            )));
        }
    }
    Ok(by_metric)
}

fn why_missing(run: &ReferenceScores, model: &str) -> String {
    let of_model = |key: &str| key.strip_prefix(model).is_some_and(|rest| rest.starts_with(".s"));
    match run.origin.failures.iter().find(|(key, _)| of_model(key)) {
        Some((key, why)) => format!("{key} failed: {why}"),
        None if run.models.is_empty() => "the run has no results".to_owned(),
        None => "the run has no such model".to_owned(),
    }
}
