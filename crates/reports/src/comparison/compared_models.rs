//! The lines of a comparison: each model on features of each run, scored, and paired with the reference.

use std::collections::HashMap;

use rayon::prelude::*;

use super::LEVEL;
use super::comparison::{ComparedBaseline, ComparedModel, Cost, Outcome, Paired, Reference, Score, Versus};
use super::pairing::{self, MatchedDecisions, ModelDecisions, SeedDecisions};
use super::run::{ModelKey, Run, TrialPredictions};
use super::significance::{self, SeedScore};
use timbre_core::progress::Printer;
use timbre_core::seed::Seed;
use timbre_evaluation::metrics::{self, replicates};
use timbre_runs::run_dir::{self, ResultRow, SplitRecord, Trial};

/// What every line is made from.
pub struct ModelComparer<'a> {
    pub runs: &'a [Run],
    pub reference: &'a Reference,
    pub split: &'a str,
    pub metrics: &'a [String],
    /// Behind each test, and behind the interval of each line.
    pub resamples: usize,
    pub draws: usize,
}

/// What the units of one run said, or why that cannot be known.
type Heeded = Result<Vec<TrialPredictions>, String>;

impl ModelComparer<'_> {
    /// How many scores of the lines may differ from the reference by luck: pairs that said the same of everything are no test.
    pub fn tests(&self, wanted: &[(usize, ModelKey)]) -> usize {
        let mut tests = 0;
        self.of_each_run(wanted, |lines, own, first| {
            for &line in lines {
                let (run, place) = &wanted[line];
                if let Ok(matched) = self.paired(*run, place, own, first).1 {
                    tests += self.metrics.iter().filter(|metric| !matched.is_same(metric)).count();
                }
            }
        });
        tests
    }

    /// The lines in their order.
    pub fn lines(&self, wanted: &[(usize, ModelKey)], printer: Printer) -> (Vec<ComparedModel>, Vec<String>) {
        let progress = printer.start("comparing", wanted.len());
        let mut done: Vec<Option<ComparedModel>> = wanted.iter().map(|_| None).collect();
        let mut notes = Vec::new();
        let mut of_reference = None;
        self.of_each_run(wanted, |lines, own, first| {
            // That of another run stands where it is not compared.
            of_reference = first.as_ref().err().cloned();
            let mut left_out = LeftOut::default();
            for &line in lines {
                done[line] = Some(self.line(wanted[line].0, &wanted[line].1, own, first, &mut left_out));
                progress.step();
            }
            notes.extend(
                lines
                    .first()
                    .into_iter()
                    .flat_map(|&line| left_out.sentences(self.runs, self.reference.run, wanted[line].0)),
            );
        });
        progress.finish();
        notes.extend(of_reference.map(|why| {
            format!(
                "run {}: {why}; nothing is compared with it, and it has no intervals over several seeds",
                self.reference.run + 1
            )
        }));
        (done.into_iter().flatten().collect(), notes)
    }

    /// Hands over the lines of one run after the other, with what it said and what the reference said. No more than two runs'
    /// predictions are in memory at a time.
    fn of_each_run(&self, wanted: &[(usize, ModelKey)], mut each: impl FnMut(&[usize], &Heeded, &Heeded)) {
        let first = self.said(self.reference.run);
        for at in 0..self.runs.len() {
            let of_run: Vec<usize> = (0..wanted.len()).filter(|&line| wanted[line].0 == at).collect();
            let own = (at != self.reference.run && !of_run.is_empty()).then(|| self.said(at));
            each(&of_run, own.as_ref().unwrap_or(&first), &first);
        }
    }

    fn said(&self, run: usize) -> Heeded {
        self.runs[run].said().map_err(|error| format!("what it said cannot be read: {error:#}"))
    }

    fn line(
        &self,
        run: usize,
        place: &ModelKey,
        own: &Heeded,
        first: &Heeded,
        left_out: &mut LeftOut,
    ) -> ComparedModel {
        let is_reference = self.is_reference(run, place);
        let (side, matched) = self.paired(run, place, own, first);
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
        ComparedModel {
            run,
            features: place.0.clone(),
            model: place.1.clone(),
            scores: self.metrics.iter().map(score).collect(),
            cost: self.cost(run, place),
        }
    }

    /// The model of the reference that a line is compared to.
    fn other<'p>(&'p self, place: &'p ModelKey) -> &'p ModelKey {
        self.reference.place.as_ref().unwrap_or(place)
    }

    fn is_reference(&self, run: usize, place: &ModelKey) -> bool {
        run == self.reference.run && place == self.other(place)
    }

    /// What a line said, and beside it the reference, or why they cannot be paired.
    fn paired<'s>(
        &'s self,
        run: usize,
        place: &ModelKey,
        own: &'s Heeded,
        first: &'s Heeded,
    ) -> (Result<ModelDecisions<'s>, String>, Result<MatchedDecisions, String>) {
        let side = self.side(run, place, own);
        if self.is_reference(run, place) {
            return (side, Err(String::new()));
        }
        let matched = self
            .side(self.reference.run, self.other(place), first)
            .map_err(|why| if first.is_err() { why } else { "the reference has no such model".to_owned() })
            .and_then(|reference| pairing::matched(&reference, side.as_ref().map_err(Clone::clone)?));
        (side, matched)
    }

    /// What a model on features of a run said on the side of the split that is shown.
    fn side<'s>(&'s self, run: usize, place: &ModelKey, said: &'s Heeded) -> Result<ModelDecisions<'s>, String> {
        let own = &self.runs[run];
        let decision_rule = own.decision_rule.as_ref().map_err(Clone::clone)?;
        let units = said.as_ref().map_err(Clone::clone)?;
        let of_place = units.iter().filter(|(unit, _)| unit.features == place.0 && unit.model == place.1);
        let shown = |splits: &'s [SplitRecord]| splits.iter().find(|split| split.split == self.split);
        let heard: Vec<SeedDecisions> = of_place
            .filter_map(|(unit, splits)| Some(SeedDecisions::new(unit.seed, shown(splits)?, decision_rule)))
            .collect();
        if heard.is_empty() {
            return Err(format!("it said nothing of a {} split", self.split));
        }
        Ok(ModelDecisions { classes: &own.classes, decision_rule, contents: own.contents.as_ref(), heard })
    }

    /// Of one seed that of the run's own tables, where it has one; else of the mean over the seeds.
    fn interval(&self, rows: &[&ResultRow], metric: &str, side: &Result<ModelDecisions, String>) -> Option<(f64, f64)> {
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
            let score = metrics::weighted_metric(
                side.decision_rule.task,
                metric,
                truth,
                &heard.decided,
                &heard.split.predictions,
            );
            terms.push(SeedScore {
                song: heard.split.clips.iter().map(|clip| songs[clip.song.as_str()]).collect(),
                score,
            });
        }
        significance::interval(&terms, songs.len(), self.draws, LEVEL, seed())
    }

    fn versus(&self, matched: &MatchedDecisions, metric: &str) -> Versus {
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
            verdict: if is_better { Outcome::Better } else { Outcome::Worse },
            seeds: matched.seed_numbers(),
            by_seed: found.of_pairs,
            clips: matched.clips,
            songs: matched.songs,
            only_reference_right: matched.only_reference_right,
            only_this_right: matched.only_line_right,
            mcnemar: fits.then(|| significance::mcnemar(matched.only_reference_right, matched.only_line_right)),
        })
    }

    fn cost(&self, run: usize, place: &ModelKey) -> Cost {
        let own = &self.runs[run];
        let units: Vec<&Trial> = own.rows(place, self.split).map(|row| &row.trial).collect();
        let costs: Vec<_> = units.par_iter().filter_map(|unit| run_dir::read_cost(&own.path, unit)).collect();
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

    /// What needs no model, each once if it scores the same in several runs.
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

/// The same draws for every line: two lines differ by what they said alone.
fn seed() -> Seed {
    Seed::new(0).child("compare")
}

/// A metric over the seeds.
fn scored(rows: &[&ResultRow], metric: &str) -> Score {
    let here = rows.iter().filter_map(|row| row.metrics.get(metric).copied());
    let values: Vec<f64> = here.filter(|value| value.is_finite()).collect();
    let (mean, sd) = (replicates::mean(&values), replicates::deviation(&values));
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
    fn count(&mut self, matched: &MatchedDecisions) {
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
