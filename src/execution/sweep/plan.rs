//! What a grid would do: its points, what of them is there, and what the rest will cost.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use indexmap::IndexMap;
use serde_json::{Value as Json, json};

use super::estimate::{Known, Likeness, Past};
use super::failures::counted;
use super::features::{self, Group};
use super::point::{Candidate, Gathering, There};
use super::rounds::{Seen, follow};
use super::table::{short_name, short_names, word};
use crate::execution::run::{self, Settings};
use timbre_core::progress::seconds;
use timbre_experiment::{ExpandedGrid, Experiment, shapes};
use timbre_inputs::features::cache::FeatureCache;
use timbre_inputs::features::extraction::Extraction;
use timbre_runs::sweep_record::SCHEMA;
use timbre_runs::tables::aligned;

/// A grid before it is run.
pub struct Plan {
    experiment: String,
    axes: Vec<String>,
    /// Of a halving the key, and how many rounds it has.
    halving: Option<(String, usize)>,
    /// Of all rounds of which is known who is in them.
    points: Vec<Planned>,
    later: Vec<Later>,
    /// The features that the cache lacks: how many there are, and how many of them are missing.
    features: Vec<FeaturePlan>,
    feature_seconds: Option<f64>,
    clips: usize,
}

/// A round of a halving of which is not known yet who will be in it.
struct Later {
    round: usize,
    budget: u64,
    points: usize,
    /// Of a point as those are from which they will be chosen, the mean.
    models: Option<Known>,
    bytes: Option<u64>,
}

struct Planned {
    number: usize,
    round: usize,
    budget: Option<u64>,
    values: IndexMap<String, Json>,
    signature: Option<String>,
    state: State,
    trials: usize,
    models: Option<Known>,
    bytes: Option<u64>,
}

enum State {
    Done(PathBuf),
    Failed(PathBuf),
    Begun,
    New,
    /// Its recordings cannot be read.
    Unreadable(String),
}

#[derive(Clone)]
struct FeaturePlan {
    name: String,
    kind: &'static str,
    hits: usize,
    misses: usize,
    /// Of all that is missing; nothing where recordings have no common length.
    bytes: Option<u64>,
}

/// Looks at recordings, cache and past runs; computes and runs nothing.
pub fn plan(declared: &ExpandedGrid, settings: &Settings) -> Result<Plan> {
    let all: Vec<usize> = (0..declared.points.len()).collect();
    let mut gathering = Gathering::new(settings);
    let first = gathering.round(declared, 1, &all)?;
    if first.iter().all(|candidate| candidate.dataset.is_err()) {
        let error = first.into_iter().find_map(|candidate| candidate.dataset.err()).expect("there is a point");
        return Err(std::sync::Arc::try_unwrap(error).unwrap_or_else(|shared| anyhow!("{shared:#}")));
    }
    let past = Past::read(&settings.runs, &declared.name);
    let followed = follow(declared, settings, &mut gathering, first)?;
    let (later, to_come) = rounds_to_come(declared, &mut gathering, followed.last(), &past)?;
    let seen: Vec<&Seen> = followed.rounds.iter().flatten().collect();
    let points: Vec<Planned> = seen.iter().map(|seen| planned(seen, &past)).collect();
    let clips = seen.iter().map(|seen| clips_of(&seen.candidate)).max().unwrap_or(0);
    let open = seen.iter().filter(|seen| seen.is_open()).map(|seen| &seen.candidate);
    let open: Vec<&Candidate> = open.chain(&to_come).collect();
    let groups = features::groups(&open);
    let store = settings.feature_cache()?;
    let features = groups.iter().map(|group| of_group(group, &store)).collect::<Result<Vec<_>>>()?.concat();
    let misses: usize = features.iter().map(|feature| feature.misses).sum();
    let feature_seconds = match groups.as_slice() {
        _ if misses == 0 => Some(0.0),
        groups => groups.iter().map(|group| past.features(&group.experiment, misses / groups.len())).sum(),
    };
    let halving = declared.halving.as_ref().map(|halving| (halving.key.clone(), halving.budgets().len()));
    let axes = declared.axes.iter().map(|axis| axis.key.clone()).collect();
    Ok(Plan { experiment: declared.name.clone(), axes, halving, points, later, features, feature_seconds, clips })
}

/// How many recordings a point uses if every one of them can be used.
fn clips_of(candidate: &Candidate) -> usize {
    candidate.dataset.as_ref().map_or(0, |(dataset, _)| dataset.expected_clips(candidate.experiment()).len())
}

fn planned(seen: &Seen, past: &Past) -> Planned {
    let candidate = &seen.candidate;
    let state = match (&seen.there, &candidate.dataset) {
        (There::Finished { run, .. }, _) => State::Done(run.clone()),
        (There::Failed { run, .. }, _) => State::Failed(run.clone()),
        (There::Begun, _) => State::Begun,
        (There::Nothing, Ok(_)) => State::New,
        (There::Nothing, Err(error)) => State::Unreadable(format!("{error:#}")),
    };
    Planned {
        number: candidate.number,
        round: candidate.round,
        budget: candidate.budget,
        values: candidate.values.clone(),
        signature: candidate.signature().map(str::to_owned),
        state,
        trials: run::trials_of(candidate.experiment()).len(),
        models: past.models(candidate, clips_of(candidate)),
        bytes: past.bytes(candidate.experiment()),
    }
}

/// The rounds behind the last that is known, and the points from which theirs are chosen, as they would be there.
fn rounds_to_come<'d>(
    declared: &'d ExpandedGrid,
    gathering: &mut Gathering,
    last: &[Seen],
    past: &Past,
) -> Result<(Vec<Later>, Vec<Candidate<'d>>)> {
    let (mut later, mut all) = (Vec::new(), Vec::new());
    let Some((halving, reached)) = declared.halving.as_ref().zip(last[0].candidate.budget) else {
        return Ok((later, all));
    };
    // A point that has failed is tried again; if nothing is to be tried, nobody went on.
    let able = |seen: &&Seen| seen.candidate.dataset.is_ok();
    let left = if last.iter().any(Seen::is_open) { last.iter().filter(able).count() } else { 0 };
    let indices: Vec<usize> = last.iter().filter(able).map(|seen| seen.candidate.number - 1).collect();
    for (n, (budget, points)) in halving.later_rounds(reached, last.len(), left).into_iter().enumerate() {
        let round = last[0].candidate.round + 1 + n;
        let candidates = gathering.round(declared, round, &indices)?;
        let models = candidates.iter().filter_map(|candidate| past.models(candidate, clips_of(candidate)));
        let sizes: Vec<u64> = candidates.iter().filter_map(|c| past.bytes(c.experiment())).collect();
        let bytes = (!sizes.is_empty()).then(|| sizes.iter().sum::<u64>() / sizes.len() as u64);
        later.push(Later { round, budget, points, models: Known::mean(models), bytes });
        all.extend(candidates);
    }
    Ok((later, all))
}

fn of_group(group: &Group, store: &FeatureCache) -> Result<Vec<FeaturePlan>> {
    let experiment = &group.experiment;
    let mut plans = Vec::new();
    for (name, spec) in &experiment.features {
        let alone = Experiment { features: [(name.clone(), spec.clone())].into(), ..experiment.clone() };
        let extraction = Extraction::new(&alone.audio, &alone.features, alone.evaluate.windows())?;
        let (hits, misses) = match group.dataset.count_cached(&alone, &extraction, store) {
            Ok(found) => found,
            Err(error) => bail!("cannot look for {name} in the cache: {error:#}"),
        };
        // How long windows are is not how long clips are.
        let shape = shapes::feature_shape(&alone.audio, spec).filter(|_| alone.evaluate.windows().is_none());
        let bytes = shape.map(|shape| (misses * (HEAD + 4 * shape.channels * shape.height * shape.width)) as u64);
        plans.push(FeaturePlan { name: name.clone(), kind: spec.kind(), hits, misses, bytes });
    }
    Ok(plans)
}

/// Bytes of a record in the cache beside its values.
const HEAD: usize = 208;

impl Planned {
    fn is_open(&self) -> bool {
        !matches!(self.state, State::Done(_) | State::Unreadable(_))
    }

    fn state(&self) -> String {
        match &self.state {
            State::Done(run) => format!("done  {}", run.display()),
            State::Failed(run) => format!("failed, to run again  {}", run.display()),
            State::Begun => "begun, goes on".to_owned(),
            State::New => "to run".to_owned(),
            State::Unreadable(why) => format!("cannot run: {}", why.lines().next().unwrap_or_default()),
        }
    }
}

impl Plan {
    fn open(&self) -> impl Iterator<Item = &Planned> + Clone {
        self.points.iter().filter(|point| point.is_open())
    }

    /// How many points are to be run, of all rounds.
    fn to_run(&self) -> usize {
        self.open().count() + self.later.iter().map(|round| round.points).sum::<usize>()
    }

    /// What is known of the models that are to be fitted: of each open point, and of each round to come with its number of
    /// points.
    fn known(&self) -> impl Iterator<Item = (Option<Known>, usize)> + Clone {
        let later = self.later.iter().map(|round| (round.models, round.points));
        self.open().map(|point| (point.models, 1)).chain(later)
    }

    /// Seconds of all models that are to be fitted, where each of them is known; else how many points are not.
    fn models(&self) -> Result<f64, usize> {
        let unknown = self.known().filter(|(known, _)| known.is_none()).map(|(_, points)| points).sum();
        let sum = self.known().filter_map(|(known, points)| Some(known?.seconds * points as f64)).sum();
        if unknown == 0 { Ok(sum) } else { Err(unknown) }
    }

    fn bytes(&self) -> Option<u64> {
        let later = self.later.iter().map(|round| Some(round.bytes? * round.points as u64));
        self.open().map(|point| point.bytes).chain(later).sum()
    }

    fn cache_bytes(&self) -> Option<u64> {
        self.features.iter().filter(|feature| feature.misses > 0).map(|feature| feature.bytes).sum()
    }

    pub fn text(&self) -> String {
        let keys: Vec<&str> = self.axes.iter().map(String::as_str).collect();
        let mut text = format!(
            "`{}` is sound. Its grid has {}: {}\n\n",
            self.experiment,
            counted(self.points.iter().filter(|point| point.round == 1).count()),
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
            line.extend(self.axes.iter().map(|axis| word(point.values.get(axis))));
            line.push(point.trials.to_string());
            let is_open = point.is_open();
            let time = time(point.models, 1);
            line.push(if is_open { time } else { String::new() });
            line.push(if is_open { disk(point.bytes, 1) } else { String::new() });
            line.push(point.state());
            lines.push(line);
        }
        text += &aligned(&lines, words);
        for later in &self.later {
            text += &self.sentence(later);
        }
        let all = self.points.len() + self.later.iter().map(|round| round.points).sum::<usize>();
        let rounds = self.halving.as_ref().map_or(String::new(), |(_, rounds)| format!(" of all {rounds} rounds"));
        let are = if self.to_run() == 1 { "is" } else { "are" };
        text += &format!(
            "\n{} of {}{rounds} {are} to be run, on up to {} clips\n",
            self.to_run(),
            counted(all),
            self.clips
        );
        for feature in &self.features {
            text += &format!(
                "  {} ({}): {} to compute, {} in the cache\n",
                feature.name, feature.kind, feature.misses, feature.hits
            );
        }
        text + &self.costs()
    }

    /// A round to come, in a line.
    fn sentence(&self, later: &Later) -> String {
        let Some((key, rounds)) = &self.halving else { return String::new() };
        format!(
            "then round {} of {rounds} ({} = {}): the best {}, time {}, disk {}\n",
            later.round,
            short_name(key),
            later.budget,
            counted(later.points),
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
                let known = self.known().filter_map(|(known, _)| known);
                let least = known.clone().map(|known| known.of).min().unwrap_or(0);
                let nearest = match known.map(|known| known.likeness).min() {
                    Some(Likeness::Kind) => "models of the same kind",
                    _ => "the same models",
                };
                format!("models {} (at least {least} past fits of {nearest} each)", about(sum))
            }
            Err(points) => format!("models: no past run of {}", counted(points)),
        };
        let runs = self.bytes().map_or("runs: no past run".to_owned(), |bytes| format!("runs {}", megabytes(bytes)));
        let cache = self
            .cache_bytes()
            .map_or("cache: recordings have no common length".to_owned(), |b| format!("cache {}", megabytes(b)));
        format!("time: {features}, {models}\ndisk: {runs}, {cache}\n")
    }

    /// Of a halving: each round with its points, those to be run, and what a round to come will cost.
    fn rounds(&self) -> Vec<Json> {
        let Some((_, rounds)) = self.halving else { return Vec::new() };
        let known = |round: usize| {
            let own = || self.points.iter().filter(move |point| point.round == round);
            let budget = own().next()?.budget;
            let to_run = own().filter(|point| point.is_open()).count();
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
        let state = |point: &Planned| match &point.state {
            State::Done(_) => "done",
            State::Failed(_) => "failed",
            State::Begun => "begun",
            State::New => "new",
            State::Unreadable(_) => "unreadable",
        };
        let run = |point: &Planned| match &point.state {
            State::Done(run) | State::Failed(run) => Some(run.clone()),
            _ => None,
        };
        let points: Vec<Json> = self
            .points
            .iter()
            .map(|point| {
                json!({
                    "point": point.number, "round": point.round, "budget": point.budget, "values": point.values, "signature": point.signature, "state": state(point),
                    "run": run(point), "units": point.trials, "seconds": point.models.map(|known| known.seconds),
                    "past_fits": point.models.map(|known| known.of), "bytes": point.bytes,
                })
            })
            .collect();
        let features: Vec<Json> = self.features.iter().map(|feature| {
            json!({ "features": feature.name, "kind": feature.kind, "hits": feature.hits, "misses": feature.misses, "bytes": feature.bytes })
        }).collect();
        let rounds = self.rounds();
        json!({
            "schema": SCHEMA, "experiment": self.experiment, "axes": self.axes, "points": points, "features": features, "rounds": rounds,
            "to_run": self.to_run(),
            "estimate": {
                "feature_seconds": self.feature_seconds, "model_seconds": self.models().ok(),
                "run_bytes": self.bytes(), "cache_bytes": self.cache_bytes(),
            },
        })
    }
}

fn time(known: Option<Known>, points: usize) -> String {
    known.map_or("no past run".to_owned(), |known| about(known.seconds * points as f64))
}

fn disk(bytes: Option<u64>, points: usize) -> String {
    bytes.map_or("no past run".to_owned(), |bytes| megabytes(bytes * points as u64))
}

fn about(time: f64) -> String {
    format!("about {}", seconds(Duration::from_secs_f64(time)))
}

fn megabytes(bytes: u64) -> String {
    match bytes {
        0..100_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}
