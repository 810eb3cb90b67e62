//! `timbre thresholds`: cut-offs and window fractions of a finished run, searched without its models.

use anyhow::{Context, Result};

use super::{Ended, print};
use crate::cli::Common;
use crate::experiment;
use crate::labels::{Classes, Task};
use crate::progress::Show;
use crate::run_dir::{self, RunDir, ThresholdFile, Unit};
use crate::search::TuneOn;
use crate::thresholds::{CannotSearch, Found, Search, best_unit, read_units, report, sentences};

pub fn thresholds(common: &Common, run: &str, metric: Option<&str>, on_test: bool, json: bool) -> Result<Ended> {
    let (name, chosen) = match run.rsplit_once(':') {
        Some((name, unit)) if !unit.contains('/') => (name, Some(unit)),
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
    let experiment = experiment::of_run(&run_dir::resolved_config(&folder), &set)?;
    let classes = Classes::new(&record.classes);
    let spec = experiment.evaluate.search.clone().unwrap_or_default();
    if experiment.evaluate.task != Task::MultiLabel {
        return Err(CannotSearch("the run gives each recording one class: there is no cut-off to search".into()).into());
    }
    let search = Search {
        spec: &spec,
        metric: spec.metric(experiment.evaluate.metric()),
        judge: experiment.evaluate.judge(&classes),
        classes: &classes,
    };
    if search.judge.at_most.is_some() || search.judge.at_least_one {
        let sentence = "the run limits how many classes a recording has (`at_most`, `at_least_one`), which a search of \
                        cut-offs does not know";
        return Err(CannotSearch(sentence.into()).into());
    }
    let wanted = |unit: &Unit| chosen.is_none_or(|name| unit.to_string() == name);
    let units = read_units(&folder, &classes)?;
    let known: Vec<String> = units.iter().map(|(unit, _)| unit.to_string()).collect();
    let found: Vec<Found> = units
        .iter()
        .filter(|(unit, _)| wanted(unit))
        .map(|(unit, splits)| search.of_unit(unit, splits))
        .collect::<Result<_>>()?;
    if found.is_empty() {
        let sentence = format!("the run has no `{}`, only: {}", chosen.unwrap_or_default(), known.join(", "));
        return Err(CannotSearch(sentence).into());
    }
    search.write(&RunDir::lock(folder.clone())?, &found)?;
    if json {
        print(&format!("{}\n", report(&search, &found)))?;
    } else {
        let text: Vec<String> = found.iter().map(|own| sentences(&search, own)).collect();
        print(&text.join("\n"))?;
    }
    let show = Show::fitting(common.quiet);
    let picture = ThresholdFile::Picture { metric: search.metric.name(), unit: None }.name();
    // What was chosen on the test split is nobody's next step.
    let best = best_unit(&found, search.metric_at()).filter(|_| spec.tune_on == TuneOn::Validation);
    let give = best.map_or(String::new(), |best| next(&search, best));
    show.say(&format!("{}\nNext: look at {picture} there{give}", folder.display()));
    Ok(Ended::Done)
}

/// The chosen values as arguments.
fn next(search: &Search, found: &Found) -> String {
    let fraction = found.fraction().map_or(String::new(), |f| format!(" --set evaluate.window_fraction={f}"));
    let of_classes = if search.judge.cutoffs.is_empty() {
        ""
    } else {
        " (and take evaluate.cutoffs out of it: they go before the common one)"
    };
    let values = format!("--set evaluate.cutoff={}{fraction}", found.cutoff());
    format!(", or give the values chosen for {} to the experiment: {values}{of_classes}", found.unit)
}
