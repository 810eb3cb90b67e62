//! `timbre thresholds`: search thresholds and window fractions of a finished run on its stored predictions.

use anyhow::{Context, Result, bail};

use super::{ExitStatus, is_named, print, print_data};
use crate::cli::args::GlobalArgs;
use timbre_core::{
    error::UserError,
    labels::{Classes, Task},
    progress::Printer,
};
use timbre_evaluation::threshold_search::TuneOn;
use timbre_reports::thresholds::{ThresholdSearch, TrialThresholds, best_trial, read_trials, report, summary_text};
use timbre_runs::run_dir::{self, RunDir, SplitRecord, ThresholdFile, Trial};

pub fn thresholds(
    common: &GlobalArgs,
    run: &str,
    metric: Option<&str>,
    on_test: bool,
    json: bool,
) -> Result<ExitStatus> {
    let (name, chosen) = match run.rsplit_once(':') {
        Some((name, trial)) if !trial.contains('/') => (name, Some(trial)),
        _ => (run, None),
    };
    let folder = run_dir::find(&common.runs, name)?;
    let folder = folder.canonicalize().with_context(|| format!("cannot find {}", folder.display()))?;
    let record = run_dir::read_record(&folder)?;
    let mut set = common.set.clone();
    if let Some(metric) = metric {
        set.push(format!("evaluate.search.metric={metric}"));
    }
    if on_test {
        set.push("evaluate.search.tune_on=test".to_owned());
        set.push("evaluate.search.on_test=true".to_owned());
    }
    let experiment = timbre_experiment::load_from_run(&run_dir::resolved_config(&folder), &set)?;
    let classes = Classes::new(&record.classes);
    let spec = experiment.evaluate.search.clone().unwrap_or_default();
    if experiment.evaluate.task != Task::MultiLabel {
        bail!(UserError::usage("the run is single-label: only multi-label runs have thresholds to search"));
    }
    let search = ThresholdSearch {
        spec: &spec,
        metric: spec.metric(experiment.evaluate.metric()),
        decision_rule: experiment.evaluate.decision_rule(&classes),
        classes: &classes,
        is_leaky: experiment.split.is_leaky(),
    };
    if search.decision_rule.at_most.is_some() || search.decision_rule.at_least_one {
        let sentence = "the run limits the number of classes per recording (`at_most`, `at_least_one`), which the threshold search \
                        does not support";
        bail!(UserError::usage(sentence));
    }
    let wanted = |trial: &Trial| chosen.is_none_or(|name| is_named(trial, name));
    let printer = Printer::new(common.quiet);
    let trials = read_trials(&folder, &classes)?;
    let known: Vec<String> = trials.iter().map(|(trial, _)| trial.to_string()).collect();
    let searched: Vec<_> = trials.iter().filter(|(trial, _)| wanted(trial)).collect();
    let progress = printer.start("searching", searched.len());
    let search_one = |(trial, splits): &(Trial, Vec<SplitRecord>)| {
        let found = search.search_trial(trial, splits);
        progress.step();
        found
    };
    let found: Vec<TrialThresholds> = searched.into_iter().map(search_one).collect::<Result<_>>()?;
    progress.finish();
    if found.is_empty() {
        let sentence = format!("the run has no trial `{}`, only: {}", chosen.unwrap_or_default(), known.join(", "));
        bail!(UserError::usage(sentence));
    }
    search.write(&RunDir::lock(folder.clone())?, &found)?;
    if json {
        print_data(&format!("{}\n", report(&search, &found)))?;
    } else {
        let text: Vec<String> = found.iter().map(|own| summary_text(&search, own)).collect();
        print(&text.join("\n"))?;
    }
    let picture = ThresholdFile::Picture { metric: search.metric.name(), trial: None }.name();
    // Values chosen on the test split are not suggested as a next step.
    let best = best_trial(&found, search.metric_at()).filter(|_| spec.tune_on == TuneOn::Validation);
    let give = best.map_or(String::new(), |best| next(&search, best));
    printer.message(&format!("{}\nNext: look at {picture} there{give}", folder.display()));
    Ok(ExitStatus::Done)
}

/// The chosen values as arguments of `timbre run`.
fn next(search: &ThresholdSearch, found: &TrialThresholds) -> String {
    let fraction = found.fraction().map_or(String::new(), |f| format!(" --set evaluate.window_fraction={f}"));
    let of_classes = if search.decision_rule.cutoffs.is_empty() {
        ""
    } else {
        " (and remove evaluate.cutoffs: thresholds of single classes take precedence)"
    };
    let values = format!("--set evaluate.cutoff={}{fraction}", found.cutoff());
    format!(", or use the values chosen for {} in the experiment: {values}{of_classes}", found.trial)
}
