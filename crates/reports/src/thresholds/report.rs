//! Reports the result of a threshold search as JSON (`thresholds.json`) and as text.

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::{DecisionScores, ThresholdSearch, TrialThresholds};
use timbre_core::text::count;
use timbre_evaluation::{
    metrics::{Metric, decision_scores::NAMES},
    threshold_search::{Point, SearchSpec, SelectionBias},
};
use timbre_runs::{
    run_dir::{RunDir, SCHEMA, ThresholdFile},
    tables::{aligned, resampled},
};

pub fn write(search: &ThresholdSearch, dir: &RunDir, found: &[TrialThresholds]) -> Result<()> {
    let text = serde_json::to_string_pretty(&report(search, found))? + "\n";
    dir.write_thresholds(&ThresholdFile::Report, |out| Ok(out.write_all(text.as_bytes())?))
}

/// The content of `thresholds.json`.
pub fn report(search: &ThresholdSearch, found: &[TrialThresholds]) -> Value {
    json!({
        "schema": SCHEMA,
        "metric": search.metric,
        "tuned_on": search.tuned_on(),
        "search": search.spec,
        "as_run": {
            "aggregate": search.decision_rule.aggregate,
            "cutoff": search.decision_rule.cutoff,
            "cutoffs": search.decision_rule.cutoffs,
            "window_fraction": search.decision_rule.window_fraction,
        },
        "units": found.iter().map(|own| trial_json(search, own)).collect::<Vec<_>>(),
    })
}

/// Whether the folder of the run has all files of this search of that many trials.
pub fn is_written(run: &Path, spec: &SearchSpec, metric: Metric, trials: usize) -> bool {
    let is_same = |report: Value| {
        let searched = report["units"].as_array().map_or(0, Vec::len);
        report["search"] == json!(spec) && report["metric"] == json!(metric) && searched == trials
    };
    run.join(ThresholdFile::Long.name()).is_file()
        && fs::read(run.join(ThresholdFile::Report.name()))
            .is_ok_and(|bytes| serde_json::from_slice(&bytes).is_ok_and(is_same))
}

fn trial_json(search: &ThresholdSearch, found: &TrialThresholds) -> Value {
    let named = |scores: &DecisionScores| {
        NAMES.iter().zip(scores).map(|(n, s)| ((*n).to_owned(), json!(s))).collect::<Map<_, _>>()
    };
    let metric = search.metric_at();
    let sides: Vec<Value> = found
        .splits
        .iter()
        .map(|side| {
            json!({
                "split": side.split,
                "n": side.n,
                "as_run": named(&side.as_run),
                "chosen": named(&side.chosen),
                "per_class": side.per_class.as_ref().map(named),
            })
        })
        .collect();
    let cutoffs = found.class_cutoffs().map(|cutoffs| {
        let own = search.classes.names().iter().cloned().zip(cutoffs);
        own.map(|(name, cutoff)| (name, json!(cutoff))).collect::<Map<_, _>>()
    });
    json!({
        "features": found.trial.features,
        "model": found.trial.model,
        "seed": found.trial.seed,
        "recordings": found.splits[0].n,
        "songs": found.songs,
        "no_songs": found.no_songs,
        "of_several_windows": found.multi_window_recordings,
        "points": found.surface.scores.len(),
        "cutoff": found.cutoff(),
        "window_fraction": found.fraction(),
        "score": found.surface.at(found.chosen)[metric],
        "on_the_edge": on_the_edge(found),
        "luck": found.bias.as_ref().map(|bias| bias_json(found, bias, metric)),
        "per_class": found.per_class.as_ref().zip(cutoffs).map(|(own, cutoffs)| {
            let bias = found.bias.as_ref().and_then(|bias| bias.per_class);
            json!({
                "cutoffs": cutoffs,
                "score": own.score,
                "rounds": own.rounds,
                "elsewhere": bias.map(|bias| bias.0),
                "optimism": bias.map(|bias| own.score - bias.0),
                "regret": bias.map(|bias| bias.1),
            })
        }),
        "splits": sides,
    })
}

fn bias_json(found: &TrialThresholds, bias: &SelectionBias, metric: usize) -> Value {
    let (points, cutoff, fraction) = plateau(found, bias);
    json!({
        "resamples": bias.resamples,
        "standard_error": bias.standard_error,
        "elsewhere": bias.held_out,
        "optimism": found.surface.at(found.chosen)[metric] - bias.held_out,
        "regret": bias.regret,
        "plateau": { "points": points, "cutoff": cutoff, "window_fraction": fraction },
        "choices": { "cutoff": central(&bias.choices, |p| found.cutoffs[p.cutoff]),
            "window_fraction": (!found.fractions.is_empty()).then(|| central(&bias.choices, |p| found.fractions[p.fraction])) },
    })
}

/// The number of points of the plateau, and their smallest and largest threshold and window fraction.
fn plateau(found: &TrialThresholds, bias: &SelectionBias) -> (usize, [f64; 2], Option<[f64; 2]>) {
    let width = found.cutoffs.len();
    let on: Vec<usize> = (0..bias.plateau.len()).filter(|&at| bias.plateau[at]).collect();
    let range = |axis: &[f64], place: &dyn Fn(usize) -> usize| {
        let places = || on.iter().map(|&at| place(at));
        [
            axis[places().min().expect("the best point is on the plateau")],
            axis[places().max().expect("the best point is on the plateau")],
        ]
    };
    let fractions = (!found.fractions.is_empty()).then(|| range(&found.fractions, &|at| at / width));
    (on.len(), range(&found.cutoffs, &|at| at % width), fractions)
}

/// The 5th and 95th percentile of the choices.
fn central(choices: &[Point], value: impl Fn(&Point) -> f64) -> [f64; 2] {
    let mut values: Vec<f64> = choices.iter().map(value).collect();
    values.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
    [at(0.05), at(0.95)]
}

/// The axes at whose end the chosen point is, so that a better point may be outside the searched range.
fn on_the_edge(found: &TrialThresholds) -> Vec<&'static str> {
    let is_end = |at: usize, axis: &[f64]| axis.len() > 1 && (at == 0 || at == axis.len() - 1);
    let mut edges = Vec::new();
    if is_end(found.chosen.cutoff, &found.cutoffs) {
        edges.push("cutoff");
    }
    if is_end(found.chosen.fraction, &found.fractions) {
        edges.push("window_fraction");
    }
    edges
}

/// The result for one trial as text for the terminal.
pub fn summary_text(search: &ThresholdSearch, found: &TrialThresholds) -> String {
    let (metric, at) = (search.metric.name(), search.metric_at());
    let own = &found.splits[0];
    let mut text = format!(
        "{}: {metric}, tuned on {} ({}{}, {})\n",
        found.trial,
        own.split,
        count(own.n, "recording"),
        if found.no_songs {
            ", every file a song of its own".to_owned()
        } else {
            format!(" of {}", count(found.songs, "song"))
        },
        count(found.surface.scores.len(), "point")
    );
    let fraction = |value: Option<f64>| value.map_or("–".to_owned(), |value| value.to_string());
    let mut lines = vec![vec!["".to_owned(), "threshold".to_owned(), "fraction".to_owned()]];
    lines[0].extend(found.splits.iter().map(|side| side.split.clone()));
    let votes = !found.fractions.is_empty();
    let mut line = |name: &str, cutoff: String, fraction: String, of: &dyn Fn(&super::SplitScores) -> Option<f64>| {
        let cells = found.splits.iter().map(|side| of(side).map_or("–".to_owned(), |score| format!("{score:.3}")));
        lines.push([name.to_owned(), cutoff, fraction].into_iter().chain(cells).collect());
    };
    let as_run = if search.decision_rule.cutoffs.is_empty() {
        search.decision_rule.cutoff.to_string()
    } else {
        "by class".to_owned()
    };
    line("as run", as_run, fraction(votes.then_some(search.decision_rule.window_fraction)), &|side| {
        Some(side.as_run[at])
    });
    line("chosen", found.cutoff().to_string(), fraction(found.fraction()), &|side| Some(side.chosen[at]));
    if found.per_class.is_some() {
        line("by class", "by class".to_owned(), fraction(found.fraction()), &|side| Some(side.per_class.as_ref()?[at]));
    }
    text += &aligned(&lines, 1);
    if votes && 2 * found.multi_window_recordings < own.n {
        text += &format!(
            "Only {} with more than one window, so the fraction is poorly determined\n",
            count(found.multi_window_recordings, "recording")
        );
    }
    for axis in on_the_edge(found) {
        text += &format!("The best {axis} is at the end of the searched range: widen evaluate.search.{axis}\n");
    }
    if let Some(bias) = &found.bias {
        let (points, cutoffs, fractions) = plateau(found, bias);
        let also = fractions.map_or(String::new(), |[a, b]| format!(", fractions {a} to {b}"));
        text += &format!(
            "Plateau: {points} of {} points are within one standard error of the best: thresholds {} to {}{also}\n",
            found.surface.scores.len(),
            cutoffs[0],
            cutoffs[1]
        );
        let score = found.surface.at(found.chosen)[at];
        text += &format!(
            "Expected on new {}: {:.3} (optimism {:.3}, from {} resamples). Expected regret of the chosen point: {:.3}\n",
            resampled(found.no_songs),
            bias.held_out,
            score - bias.held_out,
            bias.resamples,
            bias.regret
        );
        if let (Some((elsewhere, regret)), Some(own)) = (bias.per_class, &found.per_class) {
            text += &format!(
                "By class: expected on new {} {elsewhere:.3} (optimism {:.3}), expected regret {regret:.3}\n",
                resampled(found.no_songs),
                own.score - elsewhere
            );
        }
    }
    if let Some(cutoffs) = found.class_cutoffs() {
        let own = search.classes.names().iter().zip(cutoffs).map(|(name, cutoff)| format!("{name} = {cutoff}"));
        text += &format!("cutoffs = {{ {} }}\n", own.collect::<Vec<_>>().join(", "));
    }
    if search.tuned_on() == "test" {
        text += "Tuned on the test split: these scores are not a test result\n";
    }
    text
}
