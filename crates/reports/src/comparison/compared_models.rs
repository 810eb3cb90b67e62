//! Scores each model of each run and pairs it with the reference.

use std::collections::HashMap;

use rayon::prelude::*;

use super::LEVEL;
use super::pairing::{self, MatchedDecisions, ModelDecisions, SeedDecisions};
use super::pooled_folds;
use super::run::{ModelKey, Run, TrialPredictions};
use super::schema::{ComparedBaseline, ComparedModel, Cost, Outcome, Paired, Reference, Score, Versus};
use super::significance::{self, SeedScore};
use timbre_core::{labels::Labels, progress::Printer, seed::Seed, text};
use timbre_evaluation::metrics::{self, DecisionRule, bootstrap, replicates};
use timbre_runs::{
    run_dir::{self, ResultRow, SplitRecord, Trial},
    tables,
};

/// The input that all rows of a comparison share.
pub struct ModelComparer<'a> {
    pub runs: &'a [Run],
    pub reference: &'a Reference,
    pub split: &'a str,
    pub metrics: &'a [String],
    /// Resamples of each test.
    pub resamples: usize,
    /// Resamples of the interval of each row.
    pub interval_resamples: usize,
}

impl ModelComparer<'_> {
    /// The word for what the bootstrap draws.
    pub fn resampled(&self) -> &'static str {
        tables::resampled(self.runs.iter().all(|run| run.has_no_songs))
    }
}

/// The predictions of one run, or why they are unavailable.
type RunPredictions = Result<Vec<TrialPredictions>, String>;

impl ModelComparer<'_> {
    /// The number of tests: scores that can differ from the reference. Equal predictions are not a test.
    pub fn tests(&self, wanted: &[(usize, ModelKey)]) -> usize {
        let mut tests = 0;
        self.for_each_run(wanted, |lines, own, first| {
            for &line in lines {
                let (run, place) = &wanted[line];
                if let Ok(matched) = self.paired(*run, place, own, first).1 {
                    tests += self.metrics.iter().filter(|metric| !matched.is_same(metric)).count();
                }
            }
        });
        tests
    }

    /// The rows in their order, and notes about them.
    pub fn lines(&self, wanted: &[(usize, ModelKey)], printer: Printer) -> (Vec<ComparedModel>, Vec<String>) {
        let progress = printer.start("comparing", wanted.len());
        let mut done: Vec<Option<ComparedModel>> = wanted.iter().map(|_| None).collect();
        let mut notes = Vec::new();
        let mut reference_error = None;
        self.for_each_run(wanted, |lines, own, first| {
            // An error of another run is reported with its rows.
            reference_error = first.as_ref().err().cloned();
            let mut issues = PairingIssues::default();
            for &line in lines {
                done[line] = Some(self.line(wanted[line].0, &wanted[line].1, own, first, &mut issues));
                progress.step();
            }
            notes.extend(
                lines.first().into_iter().flat_map(|&line| issues.notes(self.runs, self.reference.run, wanted[line].0)),
            );
        });
        progress.finish();
        notes.extend(reference_error.map(|why| {
            format!(
                "run {}: {why}; so there are no differences to it and no intervals over its seeds",
                self.reference.run + 1
            )
        }));
        (done.into_iter().flatten().collect(), notes)
    }

    /// Calls `each` for the rows of one run after another, with the predictions of the run and of the reference. At most two runs
    /// have their predictions in memory.
    fn for_each_run(
        &self,
        wanted: &[(usize, ModelKey)],
        mut each: impl FnMut(&[usize], &RunPredictions, &RunPredictions),
    ) {
        let first = self.predictions(self.reference.run);
        for at in 0..self.runs.len() {
            let of_run: Vec<usize> = (0..wanted.len()).filter(|&line| wanted[line].0 == at).collect();
            let own = (at != self.reference.run && !of_run.is_empty()).then(|| self.predictions(at));
            each(&of_run, own.as_ref().unwrap_or(&first), &first);
        }
    }

    fn predictions(&self, run: usize) -> RunPredictions {
        let own = &self.runs[run];
        let trials = own.predictions().map_err(|error| format!("cannot read its predictions: {error:#}"))?;
        Ok(if own.has_folds() { pooled_folds::pooled(trials, self.split) } else { trials })
    }

    fn line(
        &self,
        run: usize,
        place: &ModelKey,
        own: &RunPredictions,
        reference: &RunPredictions,
        issues: &mut PairingIssues,
    ) -> ComparedModel {
        let is_reference = self.is_reference(run, place);
        let (decisions, matched) = self.paired(run, place, own, reference);
        let tested_songs = decisions.as_ref().ok().map(|decisions| songs(&decisions.by_seed).len());
        issues.tested_songs = issues.tested_songs.into_iter().chain(tested_songs).min();
        if let Ok(matched) = &matched {
            issues.count(matched);
        }
        let score = |metric: &String| {
            let rows: Vec<&ResultRow> = self.runs[run].rows(place, self.split).collect();
            let mut score = scored(&rows, metric);
            let has_interval = tested_songs.is_none_or(|songs| songs > 1);
            score.interval = if has_interval { self.interval(&rows, metric, &decisions) } else { None };
            score.versus = match &matched {
                _ if is_reference => Versus::Reference,
                Err(why) => Versus::Not(why.clone()),
                Ok(matched) => self.versus(matched, metric),
            };
            score
        };
        ComparedModel {
            run,
            features: place.0.clone(),
            model: place.1.clone(),
            scores: self.metrics.iter().map(score).collect(),
            cost: self.cost(run, place),
        }
    }

    /// The model of the reference run that a row is compared with.
    fn reference_model<'p>(&'p self, place: &'p ModelKey) -> &'p ModelKey {
        self.reference.place.as_ref().unwrap_or(place)
    }

    fn is_reference(&self, run: usize, place: &ModelKey) -> bool {
        run == self.reference.run && place == self.reference_model(place)
    }

    /// The decisions of a row, and their pairing with the reference, or why they cannot be paired.
    fn paired<'s>(
        &'s self,
        run: usize,
        place: &ModelKey,
        own: &'s RunPredictions,
        reference: &'s RunPredictions,
    ) -> (Result<ModelDecisions<'s>, String>, Result<MatchedDecisions, String>) {
        let side = self.decisions(run, place, own);
        if self.is_reference(run, place) {
            return (side, Err(String::new()));
        }
        let matched = self
            .decisions(self.reference.run, self.reference_model(place), reference)
            .map_err(|why| if reference.is_err() { why } else { "the reference has no such model".to_owned() })
            .and_then(|reference| pairing::match_decisions(&reference, side.as_ref().map_err(Clone::clone)?))
            .and_then(|matched| match bootstrap::caution(matched.songs, &format!("common {}", self.resampled())) {
                Some(why) if matched.songs < 2 => Err(why),
                _ => Ok(matched),
            });
        (side, matched)
    }

    /// The decisions of one model of a run on the split that is shown.
    fn decisions<'s>(
        &'s self,
        run: usize,
        place: &ModelKey,
        predictions: &'s RunPredictions,
    ) -> Result<ModelDecisions<'s>, String> {
        let own = &self.runs[run];
        let decision_rule = own.decision_rule.as_ref().map_err(Clone::clone)?;
        let trials = predictions.as_ref().map_err(Clone::clone)?;
        let of_model = trials.iter().filter(|(trial, _)| trial.features == place.0 && trial.model == place.1);
        let shown = |splits: &'s [SplitRecord]| splits.iter().find(|split| split.split == self.split);
        let by_seed: Vec<SeedDecisions> = of_model
            .filter_map(|(trial, splits)| Some(SeedDecisions::new(trial.seed, shown(splits)?, decision_rule)))
            .collect();
        if by_seed.is_empty() {
            return Err(format!("it has no predictions on the {} split", self.split));
        }
        Ok(ModelDecisions { classes: &own.classes, decision_rule, contents: own.contents.as_ref(), by_seed })
    }

    /// The interval of one seed from the tables of the run, if they have it; otherwise that of the mean over the seeds.
    fn interval(
        &self,
        rows: &[&ResultRow],
        metric: &str,
        decisions: &Result<ModelDecisions, String>,
    ) -> Option<(f64, f64)> {
        if let [row] = rows {
            let bound = |end: &str| row.metrics.get(&format!("{metric}_{end}")).copied();
            if let Some(interval) = bound("low").zip(bound("high")) {
                return Some(interval);
            }
        }
        let decisions = decisions.as_ref().ok()?;
        mean_interval(&decisions.by_seed, decisions.decision_rule, metric, self.interval_resamples)
    }

    fn versus(&self, matched: &MatchedDecisions, metric: &str) -> Versus {
        let pairs = matched.pairs(metric);
        let found = significance::difference(&pairs, matched.seeds, matched.songs, self.resamples, LEVEL, seed());
        let Some(found) = found else {
            return Versus::Not(format!("{metric} is undefined on the common recordings"));
        };
        let p = found.p_bootstrap.max(found.p_permutation);
        let is_better = (found.mean > 0.0) != metrics::is_loss(metric);
        Versus::Paired(Paired {
            difference: found.mean,
            interval: found.interval,
            p_bootstrap: found.p_bootstrap,
            p_permutation: found.p_permutation,
            p,
            p_holm: p,
            outcome: if is_better { Outcome::Better } else { Outcome::Worse },
            seeds: matched.seed_numbers(),
            by_seed: found.of_pairs,
            clips: matched.clips,
            songs: matched.songs,
            only_reference_right: matched.only_reference_right,
            only_this_right: matched.only_line_right,
            mcnemar: (pairs.len() == 1)
                .then(|| significance::mcnemar(matched.only_reference_right, matched.only_line_right)),
        })
    }

    fn cost(&self, run: usize, place: &ModelKey) -> Cost {
        let own = &self.runs[run];
        let trials: Vec<&Trial> = own.rows(place, self.split).map(|row| &row.trial).collect();
        let costs: Vec<_> = trials.par_iter().filter_map(|trial| run_dir::read_cost(&own.path, trial)).collect();
        let mean = |of: &dyn Fn(&run_dir::TrialCost) -> Option<f64>| {
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

    /// The trivial baselines. Runs in which a baseline has the same scores share one row.
    pub fn baselines(&self) -> Vec<ComparedBaseline> {
        let mut all: Vec<ComparedBaseline> = Vec::new();
        for (at, run) in self.runs.iter().enumerate() {
            let mut names: Vec<&str> = Vec::new();
            let own = run.results.iter().filter(|row| row.is_baseline() && row.split == self.split);
            for row in own.clone() {
                if !names.contains(&row.trial.model.as_str()) {
                    names.push(&row.trial.model);
                }
            }
            for name in names {
                let rows: Vec<&ResultRow> = own.clone().filter(|row| row.trial.model == name).collect();
                let scores: Vec<Score> = self.metrics.iter().map(|metric| scored(&rows, metric)).collect();
                match all.iter_mut().find(|known| known.name == name && known.scores == scores) {
                    Some(known) => known.runs.push(at),
                    None => all.push(ComparedBaseline { name: name.to_owned(), runs: vec![at], scores }),
                }
            }
        }
        all
    }
}

/// The distinct songs on which a model was tested.
fn songs<'a>(by_seed: &'a [SeedDecisions<'a>]) -> Vec<&'a str> {
    let clips = by_seed.iter().flat_map(|own| &own.split.clips);
    let mut names: Vec<&str> = clips.map(|clip| clip.song.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The 95 % interval of the mean over the seeds of one model, from a bootstrap over songs and seeds. None with one song.
pub fn mean_interval(
    by_seed: &[SeedDecisions],
    decision_rule: &DecisionRule,
    metric: &str,
    resamples: usize,
) -> Option<(f64, f64)> {
    let songs: HashMap<&str, usize> = songs(by_seed).into_iter().enumerate().map(|(at, name)| (name, at)).collect();
    if songs.len() < 2 {
        return None;
    }
    let truths: Vec<Vec<Labels>> = by_seed.iter().map(|own| own.split.truth()).collect();
    let mut terms = Vec::new();
    for (own, truth) in by_seed.iter().zip(&truths) {
        terms.push(SeedScore {
            song: own.split.clips.iter().map(|clip| songs[clip.song.as_str()]).collect(),
            score: metrics::weighted_metric(decision_rule.task, metric, truth, &own.decided, &own.split.predictions),
        });
    }
    significance::interval(&terms, songs.len(), resamples, LEVEL, seed())
}

/// The same resamples for every row, so that two rows differ only by their predictions.
fn seed() -> Seed {
    Seed::new(0).child("compare")
}

/// One metric over the seeds.
fn scored(rows: &[&ResultRow], metric: &str) -> Score {
    let here = rows.iter().filter_map(|row| row.metrics.get(metric).copied());
    let values: Vec<f64> = here.filter(|value| value.is_finite()).collect();
    let (mean, sd) = (replicates::mean(&values), replicates::deviation(&values));
    Score { values, mean, sd, interval: None, versus: Versus::Not("trivial baseline".to_owned()) }
}

/// Recordings of one run that could not be paired, over all its rows, and other doubts about the pairs.
#[derive(Default)]
struct PairingIssues {
    relabelled: usize,
    changed: usize,
    by_path: bool,
    /// The numbers of songs in the common recordings, where the reference and the run do not agree.
    songs: Option<(usize, usize)>,
    /// The smallest number of songs on which a model of the run was tested.
    tested_songs: Option<usize>,
}

impl PairingIssues {
    fn count(&mut self, matched: &MatchedDecisions) {
        self.relabelled = self.relabelled.max(matched.relabelled);
        self.changed = self.changed.max(matched.changed);
        self.by_path |= !matched.by_content;
        let songs = Some((matched.songs, matched.songs_of_line)).filter(|(one, other)| one != other);
        self.songs = self.songs.or(songs);
    }

    fn notes(&self, runs: &[Run], reference: usize, run: usize) -> Vec<String> {
        let number = run + 1;
        let mut sentences = Vec::new();
        for (count, what) in [(self.changed, "content"), (self.relabelled, "labels")] {
            if count > 0 {
                sentences.push(format!(
                    "run {number}: {} with different {what} in the reference left out of the difference",
                    text::count(count, "recording")
                ));
            }
        }
        let word = tables::resampled(runs[run].has_no_songs);
        let few = self.tested_songs.filter(|&songs| songs < bootstrap::LEAST);
        sentences.extend(few.and_then(|songs| Some(format!("run {number}: {}", bootstrap::caution(songs, word)?))));
        if let Some((own, other)) = self.songs {
            let first = reference + 1;
            let unaware = if own > other { first } else { number };
            sentences.push(format!(
                "the common recordings are {own} songs in run {first} and {other} in run {number}: run {unaware} does not know all \
                 songs, so it may have trained on songs that it was tested on, and its intervals are too narrow; differences are \
                 resampled by the songs of run {first}"
            ));
        }
        if self.by_path && runs[run].record.data.hash != runs[reference].record.data.hash {
            sentences.push(format!(
                "run {number} has different data than the reference, and one of the two has no content hashes of its recordings: \
                 they are matched by path only"
            ));
        }
        sentences
    }
}
