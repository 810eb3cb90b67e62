//! The JSON responses of the API, whose schemas appear in `/openapi.json`.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Serialize;

use super::Limits;
use super::examples::{Example, ExampleCard};
use super::query::PredictQuery;
use super::served_models::{ENSEMBLE, ServedModel};
use crate::inference::{Confusion, Prediction, Predictor, UsedPart};
use timbre_core::labels::Task;
use timbre_evaluation::aggregation::Aggregate;
use timbre_evaluation::metrics::DecisionRule;
use timbre_evaluation::predictions::Predictions;
use timbre_evaluation::timeline::{self, Hysteresis};
use timbre_inputs::data::irmas;
use timbre_runs::run_dir::ResultRow;
use timbre_signal::audio::CutOff;

/// Version of the responses. Adding a key keeps it.
pub const SCHEMA: u32 = 2;

/// The prediction for a recording.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Answer")]
pub struct PredictResponse {
    pub schema: u32,
    pub model: ModelId,
    /// Length of the recording, as far as its file goes.
    pub seconds: f64,
    /// Null unless a part of the recording is missing at the end of its file.
    pub cut_off: Option<CutOff>,
    #[serde(rename = "hears")]
    pub coverage: Coverage,
    pub used: UsedPart,
    /// How far the recording is from the training recordings, as a multiple of the distance that 99 % of the validation recordings keep:
    /// above 1 its probabilities mean little. Null for a model that was saved without it.
    pub training_distance: Option<f64>,
    /// The decision rule of this response.
    pub rule: Rule,
    /// Every class, in descending order of confidence.
    pub instruments: Vec<Instrument>,
    /// The windows; null for a model that uses one clip, and with `timeline=false`.
    pub timeline: Option<Timeline>,
    pub timings: RequestTimings,
}

/// Identifies a model.
#[derive(Clone, Serialize, JsonSchema)]
pub struct ModelId {
    /// The value of `?model=`.
    pub id: String,
    /// The experiment of the run; for an ensemble, that of its first model.
    pub experiment: String,
    /// The signature of the run.
    pub signature: String,
    /// `<features>.<model>.s<seed>`, or `ensemble`.
    pub model: String,
}

/// The part of a recording that a model uses.
#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Hears")]
pub enum Coverage {
    /// One clip.
    Clip,
    /// The whole recording, in windows.
    Windows,
}

/// The decision rule.
#[derive(Serialize, JsonSchema)]
pub struct Rule {
    pub task: Task,
    pub aggregate: Aggregate,
    /// One threshold for each class, in the order of the model's classes.
    pub cutoffs: Vec<f64>,
    pub window_fraction: f64,
    pub at_most: Option<usize>,
    pub at_least_one: bool,
}

/// A class with its confidence and decision.
#[derive(Serialize, JsonSchema)]
pub struct Instrument {
    pub code: String,
    /// English name; the code if there is no known name.
    pub name: String,
    /// Probability of the clip, or aggregated score of the windows.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub confidence: f32,
    pub decided: bool,
}

/// Probabilities and segments over time.
#[derive(Serialize, JsonSchema)]
pub struct Timeline {
    /// Window length in seconds.
    pub window: f64,
    /// Seconds from one window to the next; the last window ends with the recording.
    pub hop: f64,
    /// Class codes, in the order of the columns of `probabilities`.
    pub codes: Vec<String>,
    /// Start of each window in seconds.
    pub starts: Vec<f64>,
    /// Window i represents the time from `borders[i]` to `borders[i + 1]`.
    pub borders: Vec<f64>,
    /// One row per window, one column per class.
    pub probabilities: Vec<Vec<f32>>,
    pub segments: Vec<SegmentResponse>,
}

/// A segment of time with a class.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Stretch")]
pub struct SegmentResponse {
    pub code: String,
    pub start: f64,
    pub end: f64,
    pub confidence: f64,
}

/// Seconds in each stage. Decoding, features and model run concurrently: their sum may differ from the total.
#[derive(Clone, Copy, Default, Serialize, JsonSchema)]
#[schemars(rename = "Took")]
pub struct RequestTimings {
    /// Receiving the body.
    pub receive: f64,
    /// Waiting for a free job.
    pub wait: f64,
    pub decode: f64,
    pub features: f64,
    pub model: f64,
    pub total: f64,
}

/// The loaded models.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Models")]
pub struct ModelsResponse {
    pub schema: u32,
    /// The `id` of the default model.
    pub default: String,
    pub models: Vec<ModelCard>,
    /// Recordings of the program to try, with classes of the default model.
    pub examples: Vec<ExampleCard>,
    pub limits: LimitsCard,
}

/// A model.
#[derive(Serialize, JsonSchema)]
pub struct ModelCard {
    pub id: String,
    pub experiment: String,
    pub signature: String,
    pub model: String,
    pub classes: Vec<ClassCard>,
    #[serde(rename = "hears")]
    pub coverage: Coverage,
    pub window: Option<WindowCard>,
    /// Seconds of a recording that the model uses; null: all.
    pub clip_seconds: Option<f64>,
    pub rule: Rule,
    /// The data set of the run; null for an ensemble, which has no scores.
    pub data: Option<String>,
    /// The headline metric of the run.
    pub metric: Option<String>,
    /// Whether the split of the run divided songs: the scores are then too good.
    pub leaky: bool,
    /// Whether predictions have a `training_distance`. False for a run with fewer than 20 validation recordings.
    pub has_training_distance: bool,
    pub quality: Vec<Quality>,
    /// The scores of trivial baselines, which ignore the recordings.
    pub baselines: Vec<Baseline>,
    /// The most frequent confusions of the run, the largest first; empty for a multi-label model.
    pub confusions: Vec<Confusion>,
    /// The members of an ensemble.
    pub members: Vec<Member>,
}

#[derive(Serialize, JsonSchema)]
pub struct ClassCard {
    pub code: String,
    pub name: String,
}

/// Seconds.
#[derive(Serialize, JsonSchema)]
pub struct WindowCard {
    pub seconds: f64,
    pub hop: f64,
}

/// The scores of the run on one subset of the split.
#[derive(Serialize, JsonSchema)]
pub struct Quality {
    pub split: String,
    /// Number of recordings.
    pub n: usize,
    /// Null if a metric is undefined.
    pub metrics: IndexMap<String, Option<f64>>,
}

/// The scores of a trivial baseline on one subset of the split.
#[derive(Serialize, JsonSchema)]
pub struct Baseline {
    pub name: String,
    pub split: String,
    /// Null if a metric is undefined.
    pub metrics: IndexMap<String, Option<f64>>,
}

#[derive(Serialize, JsonSchema)]
pub struct Member {
    pub id: String,
    pub weight: f64,
}

/// Limits of a recording.
#[derive(Serialize, JsonSchema)]
pub struct LimitsCard {
    pub bytes: usize,
    pub seconds: f64,
    /// Limit for models that use one clip.
    pub clip_seconds: f64,
    pub channels: u16,
}

fn model_id(served: &ServedModel) -> ModelId {
    let name = served.primary().name();
    let model = if served.is_ensemble() { ENSEMBLE } else { name.model.as_str() };
    ModelId {
        id: served.id.clone(),
        experiment: name.experiment.clone(),
        signature: name.signature.clone(),
        model: model.to_owned(),
    }
}

fn coverage(predictor: &Predictor) -> Coverage {
    if predictor.window().is_some() { Coverage::Windows } else { Coverage::Clip }
}

fn rule(decision_rule: &DecisionRule, n_classes: usize) -> Rule {
    let &DecisionRule { task, aggregate, window_fraction, at_most, at_least_one, .. } = decision_rule;
    Rule { task, aggregate, cutoffs: decision_rule.cutoffs(n_classes), window_fraction, at_most, at_least_one }
}

/// The model's own rule, or the requested one: then every class that reaches the threshold is decided.
pub fn decision_rule_for(query: &PredictQuery, prediction: &Prediction, predictor: &Predictor) -> DecisionRule {
    let mut decision_rule = predictor.decision_rule_for(prediction.windows.as_ref());
    if query.cutoff.is_some() || query.fraction.is_some() {
        decision_rule.task = Task::MultiLabel;
    }
    if let Some(cutoff) = query.cutoff {
        (decision_rule.cutoff, decision_rule.cutoffs) = (cutoff, Vec::new());
    }
    if let Some(fraction) = query.fraction {
        (decision_rule.aggregate, decision_rule.window_fraction) = (Aggregate::Vote, fraction);
    }
    decision_rule
}

/// Every class in descending order of confidence; ties keep the order of the classes.
pub fn instruments(decision_rule: &DecisionRule, prediction: &Prediction, predictor: &Predictor) -> Vec<Instrument> {
    let classes = predictor.classes();
    let predictions = Predictions { n_classes: classes.len(), probabilities: prediction.probabilities.clone() };
    let decisions = decision_rule.decide_recordings(&predictions, prediction.windows.as_ref());
    let decided = decisions.decided.concat();
    let mut all: Vec<Instrument> = (decisions.scores.probabilities.iter().enumerate())
        .map(|(class, &confidence)| {
            let code = classes.name(class).to_owned();
            Instrument {
                name: irmas::display_name(classes, &code).to_owned(),
                code,
                confidence,
                decided: decided.contains(&class),
            }
        })
        .collect();
    all.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    all
}

fn timeline(decision_rule: &DecisionRule, prediction: &Prediction, predictor: &Predictor) -> Option<Timeline> {
    let (windows, spec) = (prediction.windows.as_ref()?, predictor.window()?);
    let codes = predictor.classes().names();
    let rule = Hysteresis::from_thresholds(decision_rule.cutoffs(codes.len()));
    let segments = timeline::segments(windows, spec.seconds, prediction.seconds, &rule);
    let response = |segment: timeline::Segment| SegmentResponse {
        code: codes[segment.class].clone(),
        start: segment.start,
        end: segment.end,
        confidence: segment.confidence,
    };
    Some(Timeline {
        window: spec.seconds,
        hop: spec.hop,
        codes: codes.to_vec(),
        starts: windows.starts.clone(),
        borders: timeline::window_boundaries(&windows.starts, spec.seconds, prediction.seconds),
        probabilities: windows.rows_of(0).map(<[f32]>::to_vec).collect(),
        segments: segments.into_iter().map(response).collect(),
    })
}

impl PredictResponse {
    pub fn new(
        served: &ServedModel,
        query: &PredictQuery,
        prediction: &Prediction,
        timings: RequestTimings,
    ) -> PredictResponse {
        let primary = served.primary();
        let decision_rule = decision_rule_for(query, prediction, primary);
        PredictResponse {
            schema: SCHEMA,
            model: model_id(served),
            seconds: prediction.seconds,
            cut_off: prediction.cut_off,
            coverage: coverage(primary),
            used: prediction.used,
            training_distance: prediction.training_distance,
            instruments: instruments(&decision_rule, prediction, primary),
            timeline: if query.timeline == Some(false) { None } else { timeline(&decision_rule, prediction, primary) },
            rule: rule(&decision_rule, primary.classes().len()),
            timings,
        }
    }
}

impl ModelsResponse {
    pub fn new(all: &[ServedModel], examples: &[Example], limits: &Limits) -> ModelsResponse {
        ModelsResponse {
            schema: SCHEMA,
            default: all[0].id.clone(),
            models: all.iter().map(|served| card(served, all)).collect(),
            examples: examples.iter().map(|example| example.card.clone()).collect(),
            limits: LimitsCard {
                bytes: limits.bytes,
                seconds: limits.seconds,
                clip_seconds: limits.clip_seconds,
                channels: limits.channels,
            },
        }
    }
}

fn card(served: &ServedModel, all: &[ServedModel]) -> ModelCard {
    let primary = served.primary();
    let ModelId { id, experiment, signature, model } = model_id(served);
    let scores = (!served.is_ensemble()).then(|| primary.run_scores());
    let metrics = |row: &ResultRow| -> IndexMap<String, Option<f64>> {
        row.metrics.iter().map(|(name, value)| (name.clone(), value.is_finite().then_some(*value))).collect()
    };
    let quality = |row: &ResultRow| Quality { split: row.split.clone(), n: row.n, metrics: metrics(row) };
    let baseline =
        |row: &ResultRow| Baseline { name: row.trial.model.clone(), split: row.split.clone(), metrics: metrics(row) };
    let id_of = |member: &Predictor| {
        let is_member = |served: &&ServedModel| !served.is_ensemble() && served.primary().name() == member.name();
        all.iter().find(is_member).map_or_else(String::new, |served| served.id.clone())
    };
    ModelCard {
        id,
        experiment,
        signature,
        model,
        classes: primary
            .classes()
            .names()
            .iter()
            .map(|code| ClassCard { code: code.clone(), name: irmas::display_name(primary.classes(), code).to_owned() })
            .collect(),
        coverage: coverage(primary),
        window: primary.window().map(|window| WindowCard { seconds: window.seconds, hop: window.hop }),
        clip_seconds: primary.clip_seconds(),
        rule: rule(primary.decision_rule(), primary.classes().len()),
        data: scores.map(|scores| scores.data.clone()),
        metric: scores.map(|scores| scores.metric.clone()),
        leaky: scores.is_some_and(|scores| scores.leaky),
        has_training_distance: primary.has_training_distance()
            || served.members().iter().any(|(member, _)| member.has_training_distance()),
        quality: scores.iter().flat_map(|scores| &scores.rows).map(quality).collect(),
        baselines: scores.iter().flat_map(|scores| &scores.baselines).map(baseline).collect(),
        confusions: scores.map(|scores| scores.confusions.clone()).unwrap_or_default(),
        members: (served.members().iter())
            .map(|(member, weight)| Member { id: id_of(member), weight: *weight })
            .collect(),
    }
}
