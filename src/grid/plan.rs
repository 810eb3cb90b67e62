//! What a grid would do: its points, what of them is there, and what the rest will cost.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use indexmap::IndexMap;
use serde_json::{Value as Json, json};

use super::candidate::{Candidate, Gathering, There};
use super::estimate::{Known, Likeness, Past};
use super::features::{self, Group};
use super::state::SCHEMA;
use super::table::{short_names, word};
use crate::experiment::{Declared, Experiment, shapes};
use crate::precompute::Extraction;
use crate::progress::seconds;
use crate::runner::{self, Settings};
use crate::store::Store;
use crate::tables::aligned;

/// A grid before it is run.
pub struct Plan {
    experiment: String,
    axes: Vec<String>,
    rounds: Vec<Round>,
    points: Vec<Planned>,
    /// The features that the cache lacks: how many there are, and how many of them are missing.
    features: Vec<FeaturePlan>,
    feature_seconds: Option<f64>,
    clips: usize,
}

/// A round of a halving.
struct Round {
    budget: u64,
    points: usize,
}

struct Planned {
    number: usize,
    values: IndexMap<String, Json>,
    signature: Option<String>,
    state: State,
    units: usize,
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
pub fn plan(declared: &Declared, settings: &Settings) -> Result<Plan> {
    let all: Vec<usize> = (0..declared.points.len()).collect();
    let candidates = Gathering::new(settings).round(declared, 0, &all)?;
    if candidates.iter().all(|candidate| candidate.material.is_err()) {
        let error = candidates.into_iter().find_map(|candidate| candidate.material.err()).expect("there is a point");
        return Err(std::sync::Arc::try_unwrap(error).unwrap_or_else(|shared| anyhow!("{shared:#}")));
    }
    let past = Past::read(&settings.runs, &declared.name);
    let mut clips = 0;
    let mut points = Vec::new();
    for candidate in &candidates {
        let state = match candidate.there(&settings.runs) {
            There::Finished { run, .. } => State::Done(run),
            There::Failed { run, .. } => State::Failed(run),
            There::Begun => State::Begun,
            There::Nothing => match &candidate.material {
                Ok(_) => State::New,
                Err(error) => State::Unreadable(format!("{error:#}")),
            },
        };
        let own =
            candidate.material.as_ref().map_or(0, |(material, _)| material.all_chosen(candidate.experiment()).len());
        clips = clips.max(own);
        points.push(Planned {
            number: candidate.number,
            values: candidate.values.clone(),
            signature: candidate.signature().map(str::to_owned),
            state,
            units: runner::units_of(candidate.experiment()).len(),
            models: past.models(candidate, own),
            bytes: past.bytes(candidate.experiment()),
        });
    }
    let open: Vec<&Candidate> =
        candidates.iter().zip(&points).filter(|(_, point)| point.is_open()).map(|(candidate, _)| candidate).collect();
    let groups = features::groups(&open);
    let store = settings.store()?;
    let features = groups.iter().map(|group| of_group(group, &store)).collect::<Result<Vec<_>>>()?.concat();
    let misses: usize = features.iter().map(|feature| feature.misses).sum();
    let feature_seconds = match groups.as_slice() {
        _ if misses == 0 => Some(0.0),
        groups => groups.iter().map(|group| past.features(&group.experiment, misses / groups.len())).sum(),
    };
    let budgets = declared.halving.as_ref().map_or(Vec::new(), |halving| halving.budgets());
    let mut left = candidates.len();
    let mut rounds = Vec::new();
    for budget in budgets {
        rounds.push(Round { budget, points: left });
        left = declared.halving.as_ref().map_or(left, |halving| halving.kept(left));
    }
    let axes = declared.axes.iter().map(|axis| axis.key.clone()).collect();
    Ok(Plan { experiment: declared.name.clone(), axes, rounds, points, features, feature_seconds, clips })
}

fn of_group(group: &Group, store: &Store) -> Result<Vec<FeaturePlan>> {
    let experiment = &group.experiment;
    let mut plans = Vec::new();
    for (name, spec) in &experiment.features {
        let alone = Experiment { features: [(name.clone(), spec.clone())].into(), ..experiment.clone() };
        let extraction = Extraction::new(&alone.audio, &alone.features, alone.evaluate.windows())?;
        let (hits, misses) = match group.material.look(&alone, &extraction, store) {
            Ok(found) => found,
            Err(error) => bail!("cannot look for {name} in the cache: {error:#}"),
        };
        // How long windows are is not how long clips are.
        let shape = shapes::of_feature(&alone.audio, spec).filter(|_| alone.evaluate.windows().is_none());
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

    /// Seconds of all models that are to be fitted, where each of them is known; else how many points are not.
    fn models(&self) -> Result<f64, usize> {
        let unknown = self.open().filter(|point| point.models.is_none()).count();
        let sum = self.open().filter_map(|point| point.models).map(|known| known.seconds).sum();
        if unknown == 0 { Ok(sum) } else { Err(unknown) }
    }

    fn bytes(&self) -> Option<u64> {
        self.open().map(|point| point.bytes).sum()
    }

    fn cache_bytes(&self) -> Option<u64> {
        self.features.iter().filter(|feature| feature.misses > 0).map(|feature| feature.bytes).sum()
    }

    pub fn text(&self) -> String {
        let keys: Vec<&str> = self.axes.iter().map(String::as_str).collect();
        let mut text = format!(
            "`{}` is sound. Its grid has {} points: {}\n\n",
            self.experiment,
            self.points.len(),
            self.axes.join(" × ")
        );
        let mut head = vec!["point".to_owned()];
        head.extend(short_names(&keys).into_iter().map(str::to_owned));
        head.extend(["models", "time", "disk", "state"].map(str::to_owned));
        let words = head.len();
        let mut lines = vec![head];
        for point in &self.points {
            let mut line = vec![point.number.to_string()];
            line.extend(self.axes.iter().map(|axis| word(point.values.get(axis))));
            line.push(point.units.to_string());
            let is_open = point.is_open();
            let time = point.models.map_or("no past run".to_owned(), |known| about(known.seconds));
            line.push(if is_open { time } else { String::new() });
            line.push(if is_open { point.bytes.map_or("no past run".to_owned(), megabytes) } else { String::new() });
            line.push(point.state());
            lines.push(line);
        }
        text += &aligned(&lines, words);
        let open = self.open().count();
        text += &format!("\n{open} of {} points are to be run, on up to {} clips\n", self.points.len(), self.clips);
        for feature in &self.features {
            text += &format!(
                "  {} ({}): {} to compute, {} in the cache\n",
                feature.name, feature.kind, feature.misses, feature.hits
            );
        }
        if !self.rounds.is_empty() {
            let rounds: Vec<String> =
                self.rounds.iter().map(|round| format!("{} with {}", round.points, round.budget)).collect();
            text += &format!("  the halving: {} (the table above is of its first round)\n", rounds.join(", then "));
        }
        text + &self.costs()
    }

    fn costs(&self) -> String {
        if self.open().count() == 0 {
            return String::new();
        }
        let features =
            self.feature_seconds.map_or("features: no past run".to_owned(), |s| format!("features {}", about(s)));
        let models = match self.models() {
            Ok(sum) => {
                let known = self.open().filter_map(|point| point.models);
                let least = known.clone().map(|known| known.of).min().unwrap_or(0);
                let nearest = match known.map(|known| known.likeness).min() {
                    Some(Likeness::Kind) => "models of the same kind",
                    _ => "the same models",
                };
                format!("models {} (at least {least} past fits of {nearest} each)", about(sum))
            }
            Err(points) => format!("models: no past run of {points} points"),
        };
        let runs = self.bytes().map_or("runs: no past run".to_owned(), |bytes| format!("runs {}", megabytes(bytes)));
        let cache = self
            .cache_bytes()
            .map_or("cache: recordings have no common length".to_owned(), |b| format!("cache {}", megabytes(b)));
        format!("time: {features}, {models}\ndisk: {runs}, {cache}\n")
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
                    "point": point.number, "values": point.values, "signature": point.signature, "state": state(point),
                    "run": run(point), "units": point.units, "seconds": point.models.map(|known| known.seconds),
                    "past_fits": point.models.map(|known| known.of), "bytes": point.bytes,
                })
            })
            .collect();
        let features: Vec<Json> = self.features.iter().map(|feature| {
            json!({ "features": feature.name, "kind": feature.kind, "hits": feature.hits, "misses": feature.misses, "bytes": feature.bytes })
        }).collect();
        let rounds: Vec<Json> =
            self.rounds.iter().map(|round| json!({ "budget": round.budget, "points": round.points })).collect();
        json!({
            "schema": SCHEMA, "experiment": self.experiment, "axes": self.axes, "points": points, "features": features, "rounds": rounds,
            "to_run": self.open().count(),
            "estimate": {
                "feature_seconds": self.feature_seconds, "model_seconds": self.models().ok(),
                "run_bytes": self.bytes(), "cache_bytes": self.cache_bytes(),
            },
        })
    }
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
