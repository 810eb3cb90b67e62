//! What a search found, for programs (`thresholds.json`) and for people.

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::{DecisionScores, ThresholdSearch, TrialThresholds};
use timbre_evaluation::metrics::Metric;
use timbre_evaluation::metrics::tally::NAMES;
use timbre_evaluation::threshold_search::{Point, SearchSpec, SelectionBias};
use timbre_runs::run_dir::{RunDir, SCHEMA, ThresholdFile};
use timbre_runs::tables::aligned;

pub fn write(search: &ThresholdSearch, dir: &RunDir, found: &[TrialThresholds]) -> Result<()> {
    let text = serde_json::to_string_pretty(&report(search, found))? + "\n";
    dir.write_thresholds(&ThresholdFile::Report, |out| Ok(out.write_all(text.as_bytes())?))
}

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
        "units": found.iter().map(|own| of_unit(search, own)).collect::<Vec<_>>(),
    })
}

/// Whether the files in the folder of a run are those of this search of so many units, and all of them are there.
pub fn is_written(run: &Path, spec: &SearchSpec, metric: Metric, units: usize) -> bool {
    let is_of = |report: Value| {
        let searched = report["units"].as_array().map_or(0, Vec::len);
        report["search"] == json!(spec) && report["metric"] == json!(metric) && searched == units
    };
    run.join(ThresholdFile::Long.name()).is_file()
        && fs::read(run.join(ThresholdFile::Report.name()))
            .is_ok_and(|bytes| serde_json::from_slice(&bytes).is_ok_and(is_of))
}

fn of_unit(search: &ThresholdSearch, found: &TrialThresholds) -> Value {
    let named = |scores: &DecisionScores| {
        NAMES.iter().zip(scores).map(|(n, s)| ((*n).to_owned(), json!(s))).collect::<Map<_, _>>()
    };
    let metric = search.metric_at();
    let sides: Vec<Value> = found
        .sides
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
        "recordings": found.sides[0].n,
        "songs": found.songs,
        "of_several_windows": found.of_several_windows,
        "points": found.surface.scores.len(),
        "cutoff": found.cutoff(),
        "window_fraction": found.fraction(),
        "score": found.surface.at(found.chosen)[metric],
        "on_the_edge": on_the_edge(found),
        "luck": found.luck.as_ref().map(|luck| of_luck(found, luck, metric)),
        "per_class": found.per_class.as_ref().zip(cutoffs).map(|(own, cutoffs)| {
            let luck = found.luck.as_ref().and_then(|luck| luck.per_class);
            json!({
                "cutoffs": cutoffs,
                "score": own.score,
                "rounds": own.rounds,
                "elsewhere": luck.map(|luck| luck.0),
                "optimism": luck.map(|luck| own.score - luck.0),
                "regret": luck.map(|luck| luck.1),
            })
        }),
        "splits": sides,
    })
}

fn of_luck(found: &TrialThresholds, luck: &SelectionBias, metric: usize) -> Value {
    let (points, cutoff, fraction) = plateau(found, luck);
    json!({
        "resamples": luck.resamples,
        "standard_error": luck.standard_error,
        "elsewhere": luck.held_out,
        "optimism": found.surface.at(found.chosen)[metric] - luck.held_out,
        "regret": luck.regret,
        "plateau": { "points": points, "cutoff": cutoff, "window_fraction": fraction },
        "choices": { "cutoff": central(&luck.choices, |p| found.cutoffs[p.cutoff]),
            "window_fraction": (!found.fractions.is_empty()).then(|| central(&luck.choices, |p| found.fractions[p.fraction])) },
    })
}

/// Points, and the smallest and largest cut-off and fraction of them.
fn plateau(found: &TrialThresholds, luck: &SelectionBias) -> (usize, [f64; 2], Option<[f64; 2]>) {
    let width = found.cutoffs.len();
    let on: Vec<usize> = (0..luck.plateau.len()).filter(|&at| luck.plateau[at]).collect();
    let range = |axis: &[f64], place: &dyn Fn(usize) -> usize| {
        let places = || on.iter().map(|&at| place(at));
        [axis[places().min().expect("the best is on it")], axis[places().max().expect("the best is on it")]]
    };
    let fractions = (!found.fractions.is_empty()).then(|| range(&found.fractions, &|at| at / width));
    (on.len(), range(&found.cutoffs, &|at| at % width), fractions)
}

/// Nine tenths of the choices lie between these.
fn central(choices: &[Point], value: impl Fn(&Point) -> f64) -> [f64; 2] {
    let mut values: Vec<f64> = choices.iter().map(value).collect();
    values.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
    [at(0.05), at(0.95)]
}

/// The axes at whose end the chosen point lies: the best may lie beyond.
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

/// What a person wants to know of one unit.
pub fn summary_text(search: &ThresholdSearch, found: &TrialThresholds) -> String {
    let (metric, at) = (search.metric.name(), search.metric_at());
    let own = &found.sides[0];
    let mut text = format!(
        "{}: {metric}, chosen on {} ({} recordings of {} songs, {} points)\n",
        found.trial,
        own.split,
        own.n,
        found.songs,
        found.surface.scores.len()
    );
    let fraction = |value: Option<f64>| value.map_or("–".to_owned(), |value| value.to_string());
    let mut lines = vec![vec!["".to_owned(), "cut-off".to_owned(), "fraction".to_owned()]];
    lines[0].extend(found.sides.iter().map(|side| side.split.clone()));
    let votes = !found.fractions.is_empty();
    let mut line = |name: &str, cutoff: String, fraction: String, of: &dyn Fn(&super::SplitScores) -> Option<f64>| {
        let cells = found.sides.iter().map(|side| of(side).map_or("–".to_owned(), |score| format!("{score:.3}")));
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
    if votes && 2 * found.of_several_windows < own.n {
        text += &format!(
            "Only {} of these recordings have more than one window: they alone speak about the fraction\n",
            found.of_several_windows
        );
    }
    for axis in on_the_edge(found) {
        text += &format!("The best {axis} is the last that was tried: widen evaluate.search.{axis}\n");
    }
    if let Some(luck) = &found.luck {
        let (points, cutoffs, fractions) = plateau(found, luck);
        let also = fractions.map_or(String::new(), |[a, b]| format!(", fractions {a} to {b}"));
        text += &format!(
            "Plateau: {points} of {} points cannot be told from the best: cut-offs {} to {}{also}\n",
            found.surface.scores.len(),
            cutoffs[0],
            cutoffs[1]
        );
        let score = found.surface.at(found.chosen)[at];
        text += &format!(
            "Luck: a choice on some of these songs scores {:.3} on the others ({} resamples): {:.3} of the {score:.3} are owed to \
             the choice. Another sample would choose a point that scores {:.3} less here\n",
            luck.held_out,
            luck.resamples,
            score - luck.held_out,
            luck.regret
        );
        if let (Some((elsewhere, regret)), Some(own)) = (luck.per_class, &found.per_class) {
            text += &format!(
                "Luck by class: {elsewhere:.3} on the others, {:.3} of the {:.3} are owed to the choice; another sample {regret:.3}\n",
                own.score - elsewhere,
                own.score
            );
        }
    }
    if let Some(cutoffs) = found.class_cutoffs() {
        let own = search.classes.names().iter().zip(cutoffs).map(|(name, cutoff)| format!("{name} = {cutoff}"));
        text += &format!("cutoffs = {{ {} }}\n", own.collect::<Vec<_>>().join(", "));
    }
    if search.tuned_on() == "test" {
        text += "Tuned on the test split: none of these numbers is a result on the test split\n";
    }
    text
}
