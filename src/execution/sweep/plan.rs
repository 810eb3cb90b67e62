//! Plans a sweep: its points, the runs that exist, and the estimated cost of the rest.

use std::path::PathBuf;

use anyhow::{Result, bail};
use indexmap::IndexMap;
use serde_json::{Value as Json, json};

use super::estimate::{Estimate, Likeness, PastRuns};
use super::features::{self, Group};
use super::point::{PointLoader, PriorRun, SweepPoint};
use super::rescoring;
use super::rounds::{RoundPoint, known_rounds};
use crate::execution::run::{self, Settings, inspect::Inspection, select::extraction_of};
use timbre_core::{error::ExitStatus, progress::duration, text::count};
use timbre_experiment::{ExpandedGrid, Experiment, shapes};
use timbre_inputs::features::cache::FeatureCache;
use timbre_runs::sweep_table::{cell_text, short_name, short_names};
use timbre_runs::{
    run_dir,
    sweep_record::SCHEMA,
    tables::{aligned, fit},
};

/// A sweep before it runs.
pub struct Plan {
    experiment: String,
    axes: Vec<String>,
    /// The key of successive halving, and its number of rounds.
    halving: Option<(String, usize)>,
    /// The points of all rounds whose points are known.
    points: Vec<PlannedPoint>,
    later: Vec<LaterRound>,
    /// The number of points that a search will choose.
    chosen_later: usize,
    /// The features with their cache hits and misses.
    features: Vec<FeaturePlan>,
    feature_seconds: Option<f64>,
    clips: usize,
    /// Recordings of the data set that a run will generate first; 0 if it is in place.
    to_generate: usize,
    warnings: Vec<String>,
}

/// A round of successive halving whose points are not known yet.
struct LaterRound {
    round: usize,
    budget: u64,
    points: usize,
    /// The mean over the points from which its points will be chosen.
    models: Option<Estimate>,
    bytes: Option<u64>,
}

struct PlannedPoint {
    number: usize,
    round: usize,
    budget: Option<u64>,
    values: IndexMap<String, Json>,
    signature: Option<String>,
    state: State,
    trials: usize,
    models: Option<Estimate>,
    bytes: Option<u64>,
    /// The trials that are bound to fail, and why.
    failures: Vec<String>,
    too_many_unusable: bool,
}

enum State {
    Done(PathBuf),
    Failed(PathBuf),
    Started,
    New,
    /// Decided from the predictions of another point.
    Rescored,
    /// Its data cannot be read, or not be split.
    Unreadable(String),
}

#[derive(Clone)]
struct FeaturePlan {
    name: String,
    kind: &'static str,
    hits: usize,
    misses: usize,
    /// The size of the missing features; None if the recordings have no common length.
    bytes: Option<u64>,
}

/// Reads recordings, cache and past runs; computes and runs nothing.
pub fn plan(grid: &ExpandedGrid, settings: &Settings) -> Result<Plan> {
    let mut loader = PointLoader::planned(settings);
    let first = loader.round(grid, 1, &grid.first_points())?;
    if let Some(error) = super::common_error(&first) {
        drop(loader);
        drop(first);
        return Err(super::unshared(error));
    }
    let past = PastRuns::read(&settings.runs, &grid.name);
    let known = known_rounds(grid, settings, &mut loader, first)?;
    let (later, candidates) = rounds_candidates(grid, &mut loader, known.last(), &past)?;
    let known: Vec<&RoundPoint> = known.rounds.iter().flatten().collect();
    let mut warnings: Vec<String> = Vec::new();
    // The points that are scored from the predictions of one of them share its data and its failures.
    let source = rescoring::applies(grid).then(|| {
        let is_finished = |point: &&&RoundPoint| matches!(point.prior, PriorRun::Finished { .. });
        known.iter().find(is_finished).copied().unwrap_or(known[0])
    });
    let is_rescored = |point: &RoundPoint| {
        let shares = |source: &&RoundPoint| {
            !std::ptr::eq(*source, point) && rescoring::share_models(&source.point, &point.point)
        };
        point.is_missing() && source.as_ref().is_some_and(shares)
    };
    let mut points = Vec::with_capacity(known.len());
    for point in &known {
        points.push(planned(point, is_rescored(point), &past, &mut warnings));
    }
    let planned_sets = known.iter().filter_map(|known| known.point.dataset.as_ref().ok());
    let planned_sets = planned_sets.filter(|(dataset, _)| dataset.planned.is_some());
    let to_generate = planned_sets.map(|(dataset, _)| dataset.set.records.len()).max().unwrap_or(0);
    let clips = known.iter().map(|known| clips_of(&known.point)).max().unwrap_or(0);
    let missing = known.iter().filter(|known| known.is_missing()).map(|known| &known.point);
    let missing: Vec<&SweepPoint> = missing.chain(&candidates).collect();
    let groups = features::groups(&missing);
    for group in &groups {
        settings.bring_shared(&extraction_of(&group.experiment)?)?;
    }
    let cache = settings.feature_cache()?;
    let features = groups.iter().map(|group| group_features(group, &cache)).collect::<Result<Vec<_>>>()?.concat();
    let misses: usize = features.iter().map(|feature| feature.misses).sum();
    let feature_seconds = match groups.as_slice() {
        _ if misses == 0 => Some(0.0),
        groups => groups.iter().map(|group| past.features(&group.experiment, misses / groups.len())).sum(),
    };
    let halving = grid.halving.as_ref().map(|halving| (halving.key.clone(), halving.budgets().len()));
    let axes = grid.axes.iter().map(|axis| axis.key.clone()).collect();
    let experiment = grid.name.clone();
    let sample = grid.tpe.as_ref().map_or(0, |tpe| tpe.sample);
    let chosen_later = sample.saturating_sub(points.len());
    Ok(Plan {
        experiment,
        axes,
        halving,
        points,
        later,
        chosen_later,
        features,
        feature_seconds,
        clips,
        to_generate,
        warnings,
    })
}

/// The number of recordings of a point if every one is usable.
fn clips_of(point: &SweepPoint) -> usize {
    point.dataset.as_ref().map_or(0, |(dataset, _)| dataset.expected_clips(point.experiment()).len())
}

fn planned(known: &RoundPoint, is_rescored: bool, past: &PastRuns, warnings: &mut Vec<String>) -> PlannedPoint {
    let point = &known.point;
    let inspection = match &point.dataset {
        Ok((dataset, _)) if known.is_missing() && !is_rescored => dataset.inspect(point.experiment()),
        _ => Ok(Inspection::default()),
    };
    let unusable = match (&point.dataset, &inspection) {
        (Ok((dataset, _)), Ok(found)) => dataset.unusable_text(point.experiment(), found),
        _ => None,
    };
    let new_warnings = inspection.iter().flat_map(|found| &found.warnings).cloned();
    for warning in unusable.into_iter().chain(new_warnings) {
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    let failures = inspection.iter().flat_map(|found| &found.failures);
    let failures = failures.map(|(trial, why)| format!("{trial}: {why}")).collect();
    let unreadable = match (&point.dataset, &inspection) {
        (Err(error), _) => Some(format!("{error:#}")),
        (_, Err(error)) => Some(format!("{error:#}")),
        _ => None,
    };
    let state = match (&known.prior, unreadable) {
        (PriorRun::Finished { run, .. }, _) => State::Done(run.clone()),
        (_, Some(why)) => State::Unreadable(why),
        _ if is_rescored => State::Rescored,
        (PriorRun::Failed { run, .. }, _) => State::Failed(run.clone()),
        (PriorRun::Started, _) => State::Started,
        (PriorRun::None, _) => State::New,
    };
    PlannedPoint {
        number: point.number,
        round: point.round,
        budget: point.budget,
        values: point.values.clone(),
        signature: point.signature().map(str::to_owned),
        state,
        trials: run::trials_of(point.experiment()).len(),
        models: past.models(point, clips_of(point)),
        bytes: past.bytes(point.experiment()),
        failures,
        too_many_unusable: inspection.is_ok_and(|found| found.too_many_unusable),
    }
}

/// The rounds after the last known one, and the points from which their points will be chosen, as they would run there.
fn rounds_candidates<'d>(
    grid: &'d ExpandedGrid,
    loader: &mut PointLoader,
    last: &[RoundPoint],
    past: &PastRuns,
) -> Result<(Vec<LaterRound>, Vec<SweepPoint<'d>>)> {
    let (mut later, mut all) = (Vec::new(), Vec::new());
    let Some((halving, reached)) = grid.halving.as_ref().zip(last[0].point.budget) else {
        return Ok((later, all));
    };
    // A failed point is run again. If no point must be run, none reaches the next round.
    let is_readable = |known: &&RoundPoint| known.point.dataset.is_ok();
    let left = if last.iter().any(RoundPoint::is_missing) { last.iter().filter(is_readable).count() } else { 0 };
    let indices: Vec<usize> = last.iter().filter(is_readable).map(|known| known.point.number - 1).collect();
    for (n, (budget, points)) in halving.later_rounds(reached, last.len(), left).into_iter().enumerate() {
        let round = last[0].point.round + 1 + n;
        let candidates = loader.round(grid, round, &indices)?;
        let models = candidates.iter().filter_map(|point| past.models(point, clips_of(point)));
        let sizes: Vec<u64> = candidates.iter().filter_map(|point| past.bytes(point.experiment())).collect();
        let bytes = (!sizes.is_empty()).then(|| sizes.iter().sum::<u64>() / sizes.len() as u64);
        later.push(LaterRound { round, budget, points, models: Estimate::mean(models), bytes });
        all.extend(candidates);
    }
    Ok((later, all))
}

fn group_features(group: &Group, cache: &FeatureCache) -> Result<Vec<FeaturePlan>> {
    let experiment = &group.experiment;
    let mut plans = Vec::new();
    for (name, spec) in &experiment.features {
        let alone = Experiment { features: [(name.clone(), spec.clone())].into(), ..experiment.clone() };
        let extraction = extraction_of(&alone)?;
        let (hits, misses) = match group.dataset.count_cached(&alone, &extraction, cache) {
            Ok(found) => found,
            Err(error) => bail!("cannot look for {name} in the cache: {error:#}"),
        };
        // Windows have another length than clips.
        let shape = shapes::feature_shape(&alone.audio, spec).filter(|_| alone.evaluate.windows().is_none());
        let bytes =
            shape.map(|shape| (misses * (RECORD_OVERHEAD + 4 * shape.channels * shape.height * shape.width)) as u64);
        plans.push(FeaturePlan { name: name.clone(), kind: spec.kind(), hits, misses, bytes });
    }
    Ok(plans)
}

/// The bytes of a cache record beside its values.
const RECORD_OVERHEAD: usize = 208;

impl PlannedPoint {
    fn is_missing(&self) -> bool {
        !matches!(self.state, State::Done(_) | State::Rescored | State::Unreadable(_))
    }

    fn state(&self) -> String {
        let state = match &self.state {
            State::Done(run) => format!("done  {}", run_dir::short_signature(run)),
            State::Failed(run) => format!("failed, will run again  {}", run_dir::short_signature(run)),
            State::Started => "unfinished, will continue".to_owned(),
            State::New => "to run".to_owned(),
            State::Rescored => "from the predictions of another point".to_owned(),
            State::Unreadable(why) => return format!("cannot run: {}", why.lines().next().unwrap_or_default()),
        };
        match self.failures.first() {
            Some(why) => format!("{state}; would fail: {why}"),
            None if self.too_many_unusable => format!("{state}; too many recordings are unusable"),
            None => state,
        }
    }

    /// Whether a run of this point would not end well.
    fn would_fail(&self) -> bool {
        matches!(self.state, State::Unreadable(_)) || !self.failures.is_empty()
    }
}

impl Plan {
    /// How a run of the sweep would end, as far as that is known.
    pub fn exit_status(&self) -> ExitStatus {
        if self.points.iter().any(PlannedPoint::would_fail) {
            ExitStatus::SomeFailed
        } else if self.points.iter().any(|point| point.too_many_unusable) {
            ExitStatus::TooManyUnusable
        } else {
            ExitStatus::Done
        }
    }

    fn missing(&self) -> impl Iterator<Item = &PlannedPoint> + Clone {
        self.points.iter().filter(|point| point.is_missing())
    }

    /// The number of points to run in all rounds.
    fn to_run(&self) -> usize {
        self.missing().count() + self.later.iter().map(|round| round.points).sum::<usize>()
    }

    /// The estimates of the models to fit: of each missing point, and of each later round with its number of points.
    fn estimates(&self) -> impl Iterator<Item = (Option<Estimate>, usize)> + Clone {
        let later = self.later.iter().map(|round| (round.models, round.points));
        self.missing().map(|point| (point.models, 1)).chain(later)
    }

    /// The duration of all models to fit; the number of points without an estimate if there are any.
    fn models(&self) -> Result<f64, usize> {
        let unknown = self.estimates().filter(|(known, _)| known.is_none()).map(|(_, points)| points).sum();
        let sum = self.estimates().filter_map(|(known, points)| Some(known?.seconds * points as f64)).sum();
        if unknown == 0 { Ok(sum) } else { Err(unknown) }
    }

    fn bytes(&self) -> Option<u64> {
        let later = self.later.iter().map(|round| Some(round.bytes? * round.points as u64));
        self.missing().map(|point| point.bytes).chain(later).sum()
    }

    fn cache_bytes(&self) -> Option<u64> {
        self.features.iter().filter(|feature| feature.misses > 0).map(|feature| feature.bytes).sum()
    }

    pub fn text(&self) -> String {
        let keys: Vec<&str> = self.axes.iter().map(String::as_str).collect();
        let failing = self.points.iter().filter(|point| point.would_fail()).count();
        let conclusion = match failing {
            0 => "is valid".to_owned(),
            n => format!("has errors: {} would fail", count(n, "point")),
        };
        let mut text = format!(
            "`{}` {conclusion}. Its grid has {}: {}\n\n",
            self.experiment,
            count(self.points.iter().filter(|point| point.round == 1).count(), "point"),
            self.axes.join(" × ")
        );
        let mut head = vec!["point".to_owned()];
        head.extend(self.halving.iter().map(|(key, _)| short_name(key).to_owned()));
        head.extend(short_names(&keys).into_iter().map(str::to_owned));
        head.extend(["models", "time", "disk", "state"].map(str::to_owned));
        let words = head.len();
        let mut lines = vec![head];
        for point in &self.points {
            let mut line = vec![point.number.to_string()];
            line.extend(point.budget.map(|budget| budget.to_string()));
            line.extend(self.axes.iter().map(|axis| cell_text(point.values.get(axis))));
            line.push(point.trials.to_string());
            let is_missing = point.is_missing();
            let time = time(point.models, 1);
            line.push(if is_missing { time } else { String::new() });
            line.push(if is_missing { disk(point.bytes, 1) } else { String::new() });
            line.push(point.state());
            lines.push(line);
        }
        fit(&mut lines, 1..words - 4);
        text += &aligned(&lines, words);
        for later in &self.later {
            text += &self.later_line(later);
        }
        if self.chosen_later > 0 {
            text += &format!("then {}, chosen by the scores of those before\n", count(self.chosen_later, "point"));
        }
        let all = self.points.len() + self.later.iter().map(|round| round.points).sum::<usize>();
        let rounds = self.halving.as_ref().map_or(String::new(), |(_, rounds)| format!(" of all {rounds} rounds"));
        text += &format!(
            "\n{} of {}{rounds} to run, on up to {}\n",
            self.to_run(),
            count(all, "point"),
            count(self.clips, "clip")
        );
        for feature in &self.features {
            text += &format!(
                "  {} ({}): {} to compute, {} in the cache\n",
                feature.name, feature.kind, feature.misses, feature.hits
            );
        }
        text += &self.costs();
        if self.to_generate > 0 {
            text += &format!("a run generates {} first\n", count(self.to_generate, "recording"));
        }
        self.warnings.iter().for_each(|warning| text += &format!("warning: {warning}\n"));
        text
    }

    /// A later round as one line.
    fn later_line(&self, later: &LaterRound) -> String {
        let Some((key, rounds)) = &self.halving else { return String::new() };
        format!(
            "then round {} of {rounds} ({} = {}): the best {}, time {}, disk {}\n",
            later.round,
            short_name(key),
            later.budget,
            count(later.points, "point"),
            time(later.models, later.points),
            disk(later.bytes, later.points)
        )
    }

    fn costs(&self) -> String {
        if self.to_run() == 0 {
            return String::new();
        }
        let features =
            self.feature_seconds.map_or("features: no past run".to_owned(), |s| format!("features {}", about(s)));
        let models = match self.models() {
            Ok(sum) => {
                let known = self.estimates().filter_map(|(known, _)| known);
                let least = known.clone().map(|known| known.past).min().unwrap_or(0);
                let nearest = match known.map(|known| known.likeness).min() {
                    Some(Likeness::Kind) => "models of the same kind",
                    _ => "the same models",
                };
                format!("models {} (at least {least} past fits of {nearest} each)", about(sum))
            }
            Err(points) => format!("models: no past run of {}", count(points, "point")),
        };
        let runs = self.bytes().map_or("runs: no past run".to_owned(), |bytes| format!("runs {}", megabytes(bytes)));
        let cache = self
            .cache_bytes()
            .map_or("cache: recordings have no common length".to_owned(), |b| format!("cache {}", megabytes(b)));
        format!("time: {features}, {models}\ndisk: {runs}, {cache}\n")
    }

    /// The rounds of successive halving: the points of each, the number to run, and the estimated cost of later rounds.
    fn rounds(&self) -> Vec<Json> {
        let Some((_, rounds)) = self.halving else { return Vec::new() };
        let known = |round: usize| {
            let own = || self.points.iter().filter(move |point| point.round == round);
            let budget = own().next()?.budget;
            let to_run = own().filter(|point| point.is_missing()).count();
            Some(json!({ "round": round, "budget": budget, "points": own().count(), "to_run": to_run }))
        };
        let later = self.later.iter().map(|later| {
            let seconds = later.models.map(|known| known.seconds * later.points as f64);
            let bytes = later.bytes.map(|bytes| bytes * later.points as u64);
            json!({
                "round": later.round, "budget": later.budget, "points": later.points, "to_run": later.points,
                "seconds": seconds, "bytes": bytes,
            })
        });
        (1..=rounds).filter_map(known).chain(later).collect()
    }

    pub fn json(&self) -> Json {
        let state = |point: &PlannedPoint| match &point.state {
            State::Done(_) => "done",
            State::Failed(_) => "failed",
            State::Started => "begun",
            State::New => "new",
            State::Rescored => "judged",
            State::Unreadable(_) => "unreadable",
        };
        let run = |point: &PlannedPoint| match &point.state {
            State::Done(run) | State::Failed(run) => Some(run.clone()),
            _ => None,
        };
        let points: Vec<Json> = self
            .points
            .iter()
            .map(|point| {
                json!({
                    "point": point.number, "round": point.round, "budget": point.budget, "values": point.values, "signature": point.signature, "state": state(point),
                    "run": run(point), "units": point.trials, "failures": point.failures, "seconds": point.models.map(|known| known.seconds),
                    "past_fits": point.models.map(|known| known.past), "bytes": point.bytes,
                })
            })
            .collect();
        let features: Vec<Json> = self.features.iter().map(|feature| {
            json!({ "features": feature.name, "kind": feature.kind, "hits": feature.hits, "misses": feature.misses, "bytes": feature.bytes })
        }).collect();
        let rounds = self.rounds();
        json!({
            "schema": SCHEMA, "experiment": self.experiment, "axes": self.axes, "points": points, "features": features, "rounds": rounds,
            "chosen_later": self.chosen_later, "to_run": self.to_run(), "to_generate": self.to_generate, "warnings": self.warnings,
            "estimate": {
                "feature_seconds": self.feature_seconds, "model_seconds": self.models().ok(),
                "run_bytes": self.bytes(), "cache_bytes": self.cache_bytes(),
            },
        })
    }
}

fn time(known: Option<Estimate>, points: usize) -> String {
    known.map_or("no past run".to_owned(), |known| about(known.seconds * points as f64))
}

fn disk(bytes: Option<u64>, points: usize) -> String {
    bytes.map_or("no past run".to_owned(), |bytes| megabytes(bytes * points as u64))
}

fn about(time: f64) -> String {
    format!("about {}", duration(time))
}

fn megabytes(bytes: u64) -> String {
    match bytes {
        0..100_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}
