//! Lists the differences between two runs: configuration, data, environment, scores by class, and changed decisions.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;

use super::pairing::{self, MatchedDecisions, ModelDecisions, SeedDecisions};
use super::run::{self, ModelKey, Run, TrialPredictions};
use super::run_selection::{self, SelectedRun};
use super::schema::{ComparedRun, DifferingKey};
use super::{SCHEMA, config_keys};
use timbre_core::dotted_keys;
use timbre_evaluation::metrics;

/// The differences between two runs. Arrays of two hold the value of the first and of the second run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunDiff {
    pub schema: u32,
    pub runs: [ComparedRun; 2],
    /// Differing keys of the resolved configurations.
    pub configuration: Vec<DifferingKey>,
    pub data: DataDifference,
    /// Differing environment: commit, versions, host, device.
    pub environment: Vec<DifferingKey>,
    /// The split on which the models were compared.
    pub split: String,
    /// The models that both runs have.
    pub models: Vec<ModelDifference>,
    /// The models that only one run has, such as `mel.knn`.
    pub only_in: [Vec<String>; 2],
}

/// Differences in the recordings that the experiments may use.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DataDifference {
    /// Whether both have the same recordings with the same contents, labels and songs.
    pub same: bool,
    /// Whether each run has a list of its recordings. Without both lists the fields below are empty.
    pub known: [bool; 2],
    pub only_in: [Vec<String>; 2],
    /// Paths whose content differs.
    pub content: Vec<String>,
    /// Paths whose labels differ, with both.
    pub labels: Vec<(String, [String; 2])>,
    /// Paths whose song differs, with both.
    pub songs: Vec<(String, [String; 2])>,
    /// Both paths of recordings that have the same content under different paths.
    pub moved: Vec<[String; 2]>,
}

/// One model that both runs have.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelDifference {
    /// Features and model in each run.
    pub places: [ModelKey; 2],
    /// The comparison on the common recordings.
    pub common: Option<Common>,
    /// Why there is no comparison.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
}

/// The comparison of one model on the common recordings, as means over the seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Common {
    pub seeds: Vec<(u64, u64)>,
    pub clips: usize,
    pub songs: usize,
    /// Whether the data set names no songs, so that every file counts as one.
    pub no_songs: bool,
    /// Recordings left out because their content or labels differ.
    pub left_out: usize,
    pub scores: Vec<ScoreDifference>,
    pub classes: Vec<ClassDifference>,
    pub only_first_right: usize,
    pub only_second_right: usize,
    /// The largest change first.
    pub changed_sides: Vec<ClipDifference>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScoreDifference {
    pub metric: String,
    pub values: [f64; 2],
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassDifference {
    pub class: String,
    pub support: f64,
    pub precision: [f64; 2],
    pub recall: [f64; 2],
    pub f1: [f64; 2],
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClipDifference {
    pub path: String,
    /// Classes, joined by `;`.
    pub truth: String,
    /// The distinct decisions of each run over its seeds.
    pub decided: [Vec<String>; 2],
    /// With how many of the seeds each was right.
    pub right: [usize; 2],
    pub seeds: usize,
}

/// Compares two runs.
pub fn diff(chosen: &[SelectedRun; 2]) -> Result<RunDiff> {
    let runs = [Run::read(&chosen[0].path)?, Run::read(&chosen[1].path)?];
    let mut places: [Vec<ModelKey>; 2] = Default::default();
    for (side, own) in places.iter_mut().enumerate() {
        let all = runs[side].model_keys();
        *own = match &chosen[side].model {
            Some(model) => vec![run_selection::find_model(&all, model, &runs[side].name())?],
            None => all,
        };
    }
    let split = super::split(&runs, None)?;
    let (pairs, only_in) = in_both(&places);
    let predictions = [0, 1].map(|side| runs[side].predictions().map_err(|error| format!("{error:#}")));
    let model = |(one, other): (ModelKey, ModelKey)| {
        let (common, why_not) = match common(&runs, [&one, &other], &predictions, &split) {
            Ok(common) => (Some(common), None),
            Err(why) => (None, Some(why)),
        };
        ModelDifference { places: [one, other], common, why_not }
    };
    let environment = [0, 1].map(|side| text_leaves(&runs[side].record.environment));
    Ok(RunDiff {
        schema: SCHEMA,
        configuration: config_keys::differing(&[&runs[0].keys, &runs[1].keys]),
        data: data(&runs),
        environment: config_keys::differing_leaves(&[&environment[0], &environment[1]]),
        models: pairs.into_iter().map(model).collect(),
        only_in,
        split,
        runs: [runs[0].summary(1), runs[1].summary(2)],
    })
}

/// Pairs the models of the two runs: the only model of each, whatever its name, or all models with equal names.
fn in_both(places: &[Vec<ModelKey>; 2]) -> (Vec<(ModelKey, ModelKey)>, [Vec<String>; 2]) {
    if let ([one], [other]) = (places[0].as_slice(), places[1].as_slice()) {
        return (vec![(one.clone(), other.clone())], Default::default());
    }
    let only = |side: usize| {
        let alone = places[side].iter().filter(|place| !places[1 - side].contains(place));
        alone.map(|(features, model)| format!("{features}.{model}")).collect()
    };
    let both = places[0].iter().filter(|place| places[1].contains(place)).map(|place| (place.clone(), place.clone()));
    (both.collect(), [only(0), only(1)])
}

fn common(
    runs: &[Run; 2],
    places: [&ModelKey; 2],
    predictions: &[Result<Vec<TrialPredictions>, String>; 2],
    split: &str,
) -> Result<Common, String> {
    let side = |at: usize| -> Result<ModelDecisions, String> {
        let decision_rule = runs[at].decision_rule.as_ref().map_err(Clone::clone)?;
        let trials = predictions[at].as_ref().map_err(Clone::clone)?;
        let (features, model) = places[at];
        let of_model = trials.iter().filter(|(trial, _)| trial.features == *features && trial.model == *model);
        let by_seed: Vec<SeedDecisions> = of_model
            .filter_map(|(trial, splits)| {
                Some(SeedDecisions::new(trial.seed, splits.iter().find(|s| s.split == split)?, decision_rule))
            })
            .collect();
        if by_seed.is_empty() {
            return Err(format!("run {} has no predictions on the {split} split", at + 1));
        }
        Ok(ModelDecisions { classes: &runs[at].classes, decision_rule, contents: runs[at].contents.as_ref(), by_seed })
    };
    let found = pairing::match_decisions(&side(0)?, &side(1)?)?;
    Ok(compare_common(&found, &runs[0]))
}

fn compare_common(found: &MatchedDecisions, first: &Run) -> Common {
    let scores = found.scores();
    let both = |of: &dyn Fn(usize) -> f64| [of(0), of(1)];
    // The mean over the pairs of seeds that have a value.
    let mean = |of: &dyn Fn(&metrics::Scores) -> Option<f64>, side: usize| {
        let values: Vec<f64> = scores.iter().filter_map(|pair| of(&pair[side])).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let score = |name: &str| {
        let of = |scores: &metrics::Scores| scores.metrics.get(name).copied();
        let values = [mean(&of, 0)?, mean(&of, 1)?];
        Some(ScoreDifference { metric: name.to_owned(), values })
    };
    let class = |(at, name): (usize, &String)| {
        let of = |term: fn(&metrics::ClassScores) -> f64| {
            both(&|side| mean(&|scores| Some(term(&scores.per_class[at])), side).unwrap_or_default())
        };
        ClassDifference {
            class: name.clone(),
            support: of(|c| c.support as f64)[0],
            precision: of(|c| c.precision),
            recall: of(|c| c.recall),
            f1: of(|c| c.f1),
        }
    };
    let list = |labels: &[usize]| timbre_runs::tables::class_list(&first.classes, labels);
    let clip = |own: pairing::ChangedDecision| ClipDifference {
        path: own.path,
        truth: list(&own.truth),
        decided: own.decided.map(|decided| decided.iter().map(|labels| list(labels)).collect()),
        right: own.right,
        seeds: own.seeds,
    };
    Common {
        seeds: found.seed_numbers(),
        clips: found.clips,
        songs: found.songs,
        no_songs: first.has_no_songs,
        left_out: found.relabelled + found.changed,
        scores: metrics::names(found.task).filter_map(score).collect(),
        classes: first.classes.names().iter().enumerate().map(class).collect(),
        only_first_right: found.only_reference_right,
        only_second_right: found.only_line_right,
        changed_sides: found.changed_sides().into_iter().map(clip).collect(),
    }
}

fn data(runs: &[Run; 2]) -> DataDifference {
    let lists = [0, 1].map(|side| run::recordings(&runs[side].path));
    let known = [lists[0].is_some(), lists[1].is_some()];
    let mut found = DataDifference {
        same: runs[0].record.data.hash == runs[1].record.data.hash,
        known,
        only_in: Default::default(),
        content: Vec::new(),
        labels: Vec::new(),
        songs: Vec::new(),
        moved: Vec::new(),
    };
    let [Some(one), Some(other)] = lists else { return found };
    let by_path = |list: &[timbre_runs::tables::Recording]| -> BTreeMap<String, timbre_runs::tables::Recording> {
        list.iter().map(|recording| (recording.path.clone(), recording.clone())).collect()
    };
    let (one, other) = (by_path(&one), by_path(&other));
    for (path, first) in &one {
        let Some(second) = other.get(path) else { continue };
        if first.content != second.content {
            found.content.push(path.clone());
        }
        if (&first.labels, &first.unknown) != (&second.labels, &second.unknown) {
            found.labels.push((path.clone(), [first.labels.clone(), second.labels.clone()]));
        }
        if first.song != second.song {
            found.songs.push((path.clone(), [first.song.clone(), second.song.clone()]));
        }
    }
    let alone = |own: &BTreeMap<String, timbre_runs::tables::Recording>, others: &BTreeMap<String, _>| -> Vec<_> {
        own.values().filter(|recording| !others.contains_key(&recording.path)).cloned().collect()
    };
    let (mut gone, mut new) = (alone(&one, &other), alone(&other, &one));
    gone.retain(|first| {
        let same =
            |second: &timbre_runs::tables::Recording| second.content == first.content && first.content != "unreadable";
        let Some(at) = new.iter().position(same) else { return true };
        found.moved.push([first.path.clone(), new.remove(at).path]);
        false
    });
    found.only_in = [gone, new].map(|list| list.into_iter().map(|recording| recording.path).collect());
    found
}

/// Every leaf of a JSON object with its dotted key, without those that are null.
fn text_leaves(value: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let leaves = dotted_keys::json_leaves(value).into_iter();
    leaves.filter(|(_, value)| !value.is_null()).map(|(key, value)| (key, text(value))).collect()
}
