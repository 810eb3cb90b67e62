//! Runs side by side: what differs in their configuration, what came of it, and whether the difference may be luck.
//!
//! Everything is read from the folders of the runs; scores of resampled or exchanged recordings come from [`crate::metrics`].

use std::collections::HashMap;

use anyhow::{Result, bail};
use rayon::prelude::*;

use crate::experiment::suggest;
use crate::metrics;
use crate::progress::Show;
use crate::run_dir::{self, ResultRow, SplitRecord, Unit};
use crate::seed::Seed;

mod choosing;
mod comparison;
mod diff;
mod diff_text;
mod keys;
mod pairing;
mod run;
mod sheet;
pub mod significance;
mod written;

pub use choosing::{Chosen, choose, newest};
pub use comparison::*;
pub use diff::{Difference, diff};
pub use diff_text::diff_text;
pub use sheet::text;
pub use written::{csv, html, markdown};

use pairing::{Heard, Matched, Side};
use run::{Place, Run, Said};
use significance::Alone;

/// Raised when [`Comparison`] changes its form.
pub const SCHEMA: u32 = 1;

const LEVEL: f64 = 0.95;

/// What is asked for cannot be compared: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CannotCompare(pub String);

/// What is to be shown of the runs.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The place of the reference in the list of runs.
    pub reference: usize,
    /// The one model of it to which all lines are compared, where one is named.
    pub model: Option<String>,
    /// The headline metric of the reference unless told.
    pub metrics: Vec<String>,
    /// The test side unless told.
    pub split: Option<String>,
    /// Draws behind each interval and p; unless told as many as the number of tests asks for.
    pub resamples: Option<usize>,
}

/// Compares the runs, in their order.
pub fn compare(chosen: &[Chosen], wanted: &Wanted, show: Show) -> Result<Comparison> {
    let runs: Vec<Run> = chosen.iter().map(|one| Run::read(&one.path)).collect::<Result<_>>()?;
    let chosen_places: Vec<Option<Place>> = chosen
        .iter()
        .zip(&runs)
        .map(|(one, run)| {
            one.model.as_ref().map(|model| choosing::place(&run.places(), model, &run.name())).transpose()
        })
        .collect::<Result<_>>()?;
    let Some(first) = runs.get(wanted.reference) else { bail!(CannotCompare("there is no run to compare".into())) };
    let places_of = |at: usize| match &chosen_places[at] {
        Some(place) => vec![place.clone()],
        None => runs[at].places(),
    };
    let own = places_of(wanted.reference);
    let place = match &wanted.model {
        Some(model) => Some(choosing::place(&first.places(), model, &first.name())?),
        None => (own.len() == 1).then(|| own[0].clone()),
    };
    let reference = Reference { run: wanted.reference, place };
    let split = split(&runs, wanted.split.as_deref())?;
    let metrics = shown_metrics(first, &wanted.metrics)?;
    let mut all: Vec<Place> = Vec::new();
    for place in (0..runs.len()).flat_map(places_of) {
        if !all.contains(&place) {
            all.push(place);
        }
    }
    let lines: Vec<(usize, Place)> = all
        .iter()
        .flat_map(|place| (0..runs.len()).map(move |run| (run, place)))
        .filter(|(run, place)| places_of(*run).contains(place))
        .map(|(run, place)| (run, place.clone()))
        .collect();
    let references = if reference.place.is_some() { 1 } else { own.len() };
    let compared = lines.len().saturating_sub(references).max(1) * metrics.len();
    let resamples = wanted.resamples.unwrap_or_else(|| enough(compared));
    let work = Work { runs: &runs, reference: &reference, split: &split, metrics: &metrics, resamples };
    let (mut lines, mut notes) = work.lines(&lines, show);
    let tests = correct(&mut lines);
    notes.extend(work.notes(&lines, tests));
    let flat: Vec<&[(String, String)]> = runs.iter().map(|run| run.keys.as_slice()).collect();
    Ok(Comparison {
        schema: SCHEMA,
        metrics: metrics.clone(),
        level: LEVEL,
        resamples,
        runs: runs.iter().enumerate().map(|(at, run)| run.described(at + 1)).collect(),
        keys: keys::differing(&flat),
        baselines: work.baselines(),
        lines,
        tests,
        notes,
        reference: reference.clone(),
        split: split.clone(),
    })
}

/// The least p is 2 / (resamples + 1): enough of them that one clear difference among so many is below 0.05 / 2 when corrected.
fn enough(tests: usize) -> usize {
    (80 * tests).max(2000)
}

fn split(runs: &[Run], wanted: Option<&str>) -> Result<String> {
    let mut there: Vec<&str> = Vec::new();
    for row in runs.iter().flat_map(|run| &run.results) {
        if !there.contains(&row.split.as_str()) {
            there.push(&row.split);
        }
    }
    match wanted {
        Some(wanted) if there.contains(&wanted) || there.is_empty() => Ok(wanted.to_owned()),
        Some(wanted) => bail!(CannotCompare(format!("no run has a split `{wanted}`, only: {}", there.join(", ")))),
        None => Ok(["test", "validation"].into_iter().find(|name| there.contains(name)).unwrap_or("test").to_owned()),
    }
}

fn shown_metrics(reference: &Run, wanted: &[String]) -> Result<Vec<String>> {
    let known: Vec<&str> = match &reference.judge {
        Ok(judge) => metrics::names(judge.task).collect(),
        Err(_) => Vec::new(),
    };
    let mut shown: Vec<String> = Vec::new();
    for name in wanted {
        let names =
            if name == "all" { known.iter().map(|name| (*name).to_owned()).collect() } else { vec![name.clone()] };
        for name in names {
            if !known.is_empty() && !known.contains(&name.as_str()) {
                let help = suggest::help(&name, known.iter().copied(), "Metrics of this task");
                bail!(CannotCompare(format!("unknown metric `{name}`: {help}")));
            }
            if !shown.contains(&name) {
                shown.push(name);
            }
        }
    }
    if shown.is_empty() {
        shown.push(reference.record.metric.clone());
    }
    Ok(shown)
}

/// Holm over every test of the table; how many there are.
fn correct(lines: &mut [Line]) -> usize {
    let mut paired: Vec<(usize, usize)> = Vec::new();
    for (line, own) in lines.iter().enumerate() {
        let of_line = own.scores.iter().enumerate().filter(|(_, score)| matches!(score.versus, Versus::Paired(_)));
        paired.extend(of_line.map(|(score, _)| (line, score)));
    }
    let ps: Vec<f64> = paired.iter().map(|&(line, score)| paired_mut(lines, line, score).p).collect();
    for (&(line, score), p) in paired.iter().zip(significance::holm(&ps)) {
        let own = paired_mut(lines, line, score);
        own.p_holm = p;
        if p > 1.0 - LEVEL {
            own.verdict = Verdict::Open;
        }
    }
    ps.len()
}

fn paired_mut(lines: &mut [Line], line: usize, score: usize) -> &mut Paired {
    match &mut lines[line].scores[score].versus {
        Versus::Paired(paired) => paired,
        _ => unreachable!("only those that are paired were listed"),
    }
}

struct Work<'a> {
    runs: &'a [Run],
    reference: &'a Reference,
    split: &'a str,
    metrics: &'a [String],
    resamples: usize,
}

/// What the units of one run said, or why that cannot be known.
type Heeded = Result<Vec<Said>, String>;

impl Work<'_> {
    /// The lines in their order. No more than two runs' predictions are in memory at a time.
    fn lines(&self, wanted: &[(usize, Place)], show: Show) -> (Vec<Line>, Vec<String>) {
        let first = self.said(self.reference.run);
        let progress = show.start("comparing", wanted.len());
        let mut done: Vec<Option<Line>> = wanted.iter().map(|_| None).collect();
        let mut notes = Vec::new();
        for at in 0..self.runs.len() {
            let of_run: Vec<usize> = (0..wanted.len()).filter(|&line| wanted[line].0 == at).collect();
            let own = if at == self.reference.run || of_run.is_empty() { None } else { Some(self.said(at)) };
            let own = own.as_ref().unwrap_or(&first);
            let mut left_out = LeftOut::default();
            for line in of_run {
                done[line] = Some(self.line(at, &wanted[line].1, own, &first, &mut left_out));
                progress.step();
            }
            notes.extend(left_out.sentences(self.runs, self.reference.run, at));
        }
        progress.finish();
        (done.into_iter().flatten().collect(), notes)
    }

    fn said(&self, run: usize) -> Heeded {
        self.runs[run].said().map_err(|error| format!("what it said cannot be read: {error:#}"))
    }

    fn line(&self, run: usize, place: &Place, own: &Heeded, first: &Heeded, left_out: &mut LeftOut) -> Line {
        let other = self.reference.place.as_ref().unwrap_or(place);
        let is_reference = run == self.reference.run && place == other;
        let side = self.side(run, place, own);
        let matched = if is_reference {
            Err(String::new())
        } else {
            self.side(self.reference.run, other, first)
                .map_err(|why| if first.is_err() { why } else { "the reference has no such model".to_owned() })
                .and_then(|reference| pairing::matched(&reference, side.as_ref().map_err(Clone::clone)?))
        };
        if let Ok(matched) = &matched {
            left_out.count(matched);
        }
        let score = |metric: &String| {
            let rows: Vec<&ResultRow> = self.runs[run].rows(place, self.split).collect();
            let mut score = scored(&rows, metric);
            score.interval = self.interval(&rows, metric, &side);
            score.versus = match &matched {
                _ if is_reference => Versus::Reference,
                Err(why) => Versus::Not(why.clone()),
                Ok(matched) => self.versus(matched, metric),
            };
            score
        };
        Line {
            run,
            features: place.0.clone(),
            model: place.1.clone(),
            scores: self.metrics.iter().map(score).collect(),
            cost: self.cost(run, place),
        }
    }

    /// What a model on features of a run said on the side of the split that is shown.
    fn side<'s>(&'s self, run: usize, place: &Place, said: &'s Heeded) -> Result<Side<'s>, String> {
        let own = &self.runs[run];
        let judge = own.judge.as_ref().map_err(Clone::clone)?;
        let units = said.as_ref().map_err(Clone::clone)?;
        let of_place = units.iter().filter(|(unit, _)| unit.features == place.0 && unit.model == place.1);
        let shown = |splits: &'s [SplitRecord]| splits.iter().find(|split| split.split == self.split);
        let heard: Vec<Heard> =
            of_place.filter_map(|(unit, splits)| Some(Heard::new(unit.seed, shown(splits)?, judge))).collect();
        if heard.is_empty() {
            return Err(format!("it said nothing of a {} split", self.split));
        }
        Ok(Side { classes: &own.classes, judge, contents: own.contents.as_ref(), heard })
    }

    /// Of one seed that of the run's own tables, where it has one; else of the mean over the seeds.
    fn interval(&self, rows: &[&ResultRow], metric: &str, side: &Result<Side, String>) -> Option<(f64, f64)> {
        if let [row] = rows {
            let bound = |end: &str| row.metrics.get(&format!("{metric}_{end}")).copied();
            if let Some(interval) = bound("low").zip(bound("high")) {
                return Some(interval);
            }
        }
        let side = side.as_ref().ok()?;
        let mut names: Vec<&str> =
            side.heard.iter().flat_map(|h| &h.split.clips).map(|clip| clip.song.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let songs: HashMap<&str, usize> = names.iter().enumerate().map(|(at, name)| (*name, at)).collect();
        let truths: Vec<Vec<Vec<usize>>> = side.heard.iter().map(|heard| heard.split.truth()).collect();
        let mut terms = Vec::new();
        for (heard, truth) in side.heard.iter().zip(&truths) {
            let score = metrics::resampled(side.judge.task, metric, truth, &heard.decided, &heard.split.predictions);
            terms.push(Alone { song: heard.split.clips.iter().map(|clip| songs[clip.song.as_str()]).collect(), score });
        }
        significance::interval(&terms, songs.len(), self.resamples, LEVEL, seed())
    }

    fn versus(&self, matched: &Matched, metric: &str) -> Versus {
        let pairs = matched.pairs(metric);
        let found = significance::difference(&pairs, matched.seeds, matched.songs, self.resamples, LEVEL, seed());
        let Some(found) = found else {
            return Versus::Not(format!("{metric} is undefined on the recordings that both have"));
        };
        let p = found.p_bootstrap.max(found.p_permutation);
        let is_better = (found.mean > 0.0) != metrics::is_loss(metric);
        let fits = pairs.len() == 1 && matched.one_a_song;
        Versus::Paired(Paired {
            difference: found.mean,
            interval: found.interval,
            p_bootstrap: found.p_bootstrap,
            p_permutation: found.p_permutation,
            p,
            p_holm: p,
            verdict: if is_better { Verdict::Better } else { Verdict::Worse },
            seeds: matched.seed_numbers(),
            by_seed: found.of_pairs,
            clips: matched.clips,
            songs: matched.songs,
            only_reference_right: matched.only_reference_right,
            only_this_right: matched.only_line_right,
            mcnemar: fits.then(|| significance::mcnemar(matched.only_reference_right, matched.only_line_right)),
        })
    }

    fn cost(&self, run: usize, place: &Place) -> Cost {
        let own = &self.runs[run];
        let units: Vec<&Unit> = own.rows(place, self.split).map(|row| &row.unit).collect();
        let costs: Vec<_> = units.par_iter().filter_map(|unit| run_dir::read_cost(&own.path, unit)).collect();
        let mean = |of: &dyn Fn(&run_dir::UnitCost) -> Option<f64>| {
            let values: Vec<f64> = costs.iter().filter_map(of).filter(|value| value.is_finite()).collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        Cost {
            training_seconds: mean(&|cost| Some(cost.fit_seconds)),
            parameters: mean(&|cost| Some(cost.parameters? as f64)).map(|mean| mean.round() as u64),
            clips_per_second: mean(&|cost| {
                (cost.predict_seconds > 0.0).then(|| cost.predicted as f64 / cost.predict_seconds)
            }),
        }
    }

    /// What needs no model, each once if it scores the same in several runs.
    fn baselines(&self) -> Vec<Baseline> {
        let mut all: Vec<Baseline> = Vec::new();
        for (at, run) in self.runs.iter().enumerate() {
            let mut names: Vec<&str> = Vec::new();
            let own = run.results.iter().filter(|row| row.is_baseline() && row.split == self.split);
            for row in own.clone() {
                if !names.contains(&row.unit.model.as_str()) {
                    names.push(&row.unit.model);
                }
            }
            for name in names {
                let rows: Vec<&ResultRow> = own.clone().filter(|row| row.unit.model == name).collect();
                let scores: Vec<Score> = self.metrics.iter().map(|metric| scored(&rows, metric)).collect();
                match all.iter_mut().find(|known| known.name == name && known.scores == scores) {
                    Some(known) => known.runs.push(at),
                    None => all.push(Baseline { name: name.to_owned(), runs: vec![at], scores }),
                }
            }
        }
        all
    }

    /// How the numbers were made, and what has to be known of them.
    fn notes(&self, lines: &[Line], tests: usize) -> Vec<String> {
        let mut notes = Vec::new();
        let several = |score: &Score| score.values.len() > 1;
        let any = |what: &dyn Fn(&Score) -> bool| lines.iter().flat_map(|line| &line.scores).any(what);
        if any(&several) {
            notes.push("mean ± sample standard deviation (number of seeds)".to_owned());
        }
        notes.push(format!(
            "intervals: {:.0} %, bootstrap over whole songs{}",
            100.0 * LEVEL,
            if any(&several) { " and over seeds" } else { "" }
        ));
        if tests > 0 {
            let versus = match &self.reference.place {
                Some((features, model)) => format!("{features}.{model} of run {}", self.reference.run + 1),
                None => format!("the same model on the same features of run {}", self.reference.run + 1),
            };
            notes.push(format!(
                "difference: to {versus}, on the recordings that both were tested on; of each seed that both have, then \
                 averaged (without a common seed: of each with each)"
            ));
            notes.push(format!(
                "p: the larger of a paired bootstrap over songs and seeds ({} draws) and of a permutation test over songs; \
                 p (Holm) is corrected for the {tests} test{} of this table, and better or worse is said below 0.05",
                self.resamples,
                if tests == 1 { "" } else { "s" }
            ));
        }
        let fewest = lines.iter().flat_map(|line| &line.scores).filter_map(|score| match &score.versus {
            Versus::Paired(paired) => Some(paired.songs),
            _ => None,
        });
        if let Some(songs) = fewest.min().filter(|&songs| songs < FEW_SONGS) {
            notes.push(format!("as few as {songs} songs are common: intervals of so few are too narrow"));
        }
        let unfinished = self.runs.iter().enumerate().filter(|(_, run)| !run.record.status.is_final());
        notes.extend(unfinished.map(|(at, run)| {
            let failed = match run.record.failures.len() {
                0 => String::new(),
                n => format!(" ({n} units failed)"),
            };
            format!(
                "run {} is not finished: {}{failed}; its lines are what is there",
                at + 1,
                sheet::status(run.record.status)
            )
        }));
        notes
    }
}

/// Below this the percentile interval is known to be too narrow.
const FEW_SONGS: usize = 20;

/// The same draws for every line: two lines differ by what they said alone.
fn seed() -> Seed {
    Seed::new(0).child("compare")
}

/// A metric over the seeds.
fn scored(rows: &[&ResultRow], metric: &str) -> Score {
    let values: Vec<f64> = rows.iter().filter_map(|row| row.metrics.get(metric).copied()).collect();
    let n = values.len() as f64;
    let mean = (!values.is_empty()).then(|| values.iter().sum::<f64>() / n);
    let variance = |mean: f64| values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let sd = mean.filter(|_| values.len() > 1).map(|mean| variance(mean).sqrt());
    Score { values, mean, sd, interval: None, versus: Versus::Not("it is no model".to_owned()) }
}

/// What was left out of the pairs of one run, whatever the line.
#[derive(Default)]
struct LeftOut {
    relabelled: usize,
    changed: usize,
    by_path: bool,
}

impl LeftOut {
    fn count(&mut self, matched: &Matched) {
        self.relabelled = self.relabelled.max(matched.relabelled);
        self.changed = self.changed.max(matched.changed);
        self.by_path |= !matched.by_content;
    }

    fn sentences(&self, runs: &[Run], reference: usize, run: usize) -> Vec<String> {
        let number = run + 1;
        let mut sentences = Vec::new();
        for (count, what) in [(self.changed, "content"), (self.relabelled, "labels")] {
            if count > 0 {
                sentences.push(format!(
                    "run {number}: {count} recordings have other {what} than in the reference and are left out of the \
                     difference"
                ));
            }
        }
        if self.by_path && runs[run].record.data.hash != runs[reference].record.data.hash {
            sentences.push(format!(
                "run {number} has other data than the reference, and one of the two did not write down what its recordings \
                 hold: they are told apart by their paths alone"
            ));
        }
        sentences
    }
}
