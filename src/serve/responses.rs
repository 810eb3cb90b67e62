//! What the API says, as structures: the answers, and their schemas in `/openapi.json`.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Serialize;

use super::Limits;
use super::query::PredictQuery;
use super::served_models::{ENSEMBLE, ServedModel};
use crate::inference::{Prediction, Predictor};
use timbre_core::labels::Task;
use timbre_evaluation::aggregation::Aggregate;
use timbre_evaluation::metrics::DecisionRule;
use timbre_evaluation::predictions::Predictions;
use timbre_evaluation::timeline::{self, Hysteresis};
use timbre_inputs::data::irmas;
use timbre_runs::run_dir::ResultRow;

/// Raised when an answer changes its form; an addition keeps it.
pub const SCHEMA: u32 = 2;

/// What is heard in a recording.
#[derive(Serialize, JsonSchema)]
pub struct Answer {
    pub schema: u32,
    pub model: ModelId,
    /// The length of the whole recording.
    pub seconds: f64,
    pub hears: Hears,
    /// The rule by which this answer was decided.
    pub rule: Rule,
    /// Every class, the most confident first.
    pub instruments: Vec<Instrument>,
    /// What is heard when; null where one clip was heard, and where it was not asked for.
    pub timeline: Option<Timeline>,
    pub timings: Took,
}

/// Which model has heard.
#[derive(Clone, Serialize, JsonSchema)]
pub struct ModelId {
    /// What `?model=` calls it.
    pub id: String,
    /// Of the run; of an ensemble, that of its first model.
    pub experiment: String,
    /// Of the run.
    pub signature: String,
    /// `<features>.<model>.s<seed>`, or `ensemble`.
    pub model: String,
}

/// What of a recording is heard.
#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Hears {
    /// One part of it.
    Clip,
    /// All of it.
    Windows,
}

/// How confidences become decisions.
#[derive(Serialize, JsonSchema)]
pub struct Rule {
    pub task: Task,
    pub aggregate: Aggregate,
    /// One a class, in the order of the model's classes.
    pub cutoffs: Vec<f64>,
    pub window_fraction: f64,
    pub at_most: Option<usize>,
    pub at_least_one: bool,
}

/// A class and what is said of it.
#[derive(Serialize, JsonSchema)]
pub struct Instrument {
    pub code: String,
    /// In English; the code where no name is known.
    pub name: String,
    /// The probability of the clip, or the score that the windows come to.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub confidence: f32,
    pub decided: bool,
}

/// What is heard when.
#[derive(Serialize, JsonSchema)]
pub struct Timeline {
    /// Seconds of a window.
    pub window: f64,
    /// Seconds from one window to the next; the last one ends with the recording.
    pub hop: f64,
    /// The columns of `probabilities`.
    pub codes: Vec<String>,
    /// Where each window begins.
    pub starts: Vec<f64>,
    /// Window i speaks for the time between borders i and i + 1.
    pub borders: Vec<f64>,
    /// A row a window, a column a code.
    pub probabilities: Vec<Vec<f32>>,
    pub segments: Vec<Stretch>,
}

/// A stretch of time in which a class is heard.
#[derive(Serialize, JsonSchema)]
pub struct Stretch {
    pub code: String,
    pub start: f64,
    pub end: f64,
    pub confidence: f64,
}

/// Seconds. Decoding, features and model run beside each other: they need not sum up to the total.
#[derive(Clone, Copy, Default, Serialize, JsonSchema)]
pub struct Took {
    /// Until the recording was there.
    pub receive: f64,
    /// For a turn.
    pub wait: f64,
    pub decode: f64,
    pub features: f64,
    pub model: f64,
    pub total: f64,
}

/// What is loaded.
#[derive(Serialize, JsonSchema)]
pub struct Models {
    pub schema: u32,
    /// The `id` of the model that is asked unless told.
    pub default: String,
    pub models: Vec<ModelCard>,
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
    pub hears: Hears,
    pub window: Option<WindowCard>,
    /// How many seconds of a recording are heard; null: all.
    pub clip_seconds: Option<f64>,
    pub rule: Rule,
    /// The data set of its run; null of an ensemble, which nobody has measured.
    pub data: Option<String>,
    /// The metric by which its run was judged.
    pub metric: Option<String>,
    pub quality: Vec<Quality>,
    /// The models of an ensemble.
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

/// What its run has measured on a side of the split.
#[derive(Serialize, JsonSchema)]
pub struct Quality {
    pub split: String,
    /// Recordings.
    pub n: usize,
    /// Null where a metric is not defined.
    pub metrics: IndexMap<String, Option<f64>>,
}

#[derive(Serialize, JsonSchema)]
pub struct Member {
    pub id: String,
    pub weight: f64,
}

/// What is taken of a recording at most.
#[derive(Serialize, JsonSchema)]
pub struct LimitsCard {
    pub bytes: usize,
    pub seconds: f64,
    /// Of a recording of which a clip is heard.
    pub clip_seconds: f64,
    pub channels: u16,
}

/// An English name of a class.
fn name(code: &str) -> String {
    irmas::name(code).unwrap_or(code).to_owned()
}

fn model_id(voice: &ServedModel) -> ModelId {
    let name = voice.lead().name();
    let model = if voice.is_ensemble() { ENSEMBLE } else { name.model.as_str() };
    ModelId {
        id: voice.id.clone(),
        experiment: name.experiment.clone(),
        signature: name.signature.clone(),
        model: model.to_owned(),
    }
}

fn hears(predictor: &Predictor) -> Hears {
    if predictor.window().is_some() { Hears::Windows } else { Hears::Clip }
}

fn rule(decision_rule: &DecisionRule, n_classes: usize) -> Rule {
    let &DecisionRule { task, aggregate, window_fraction, at_most, at_least_one, .. } = decision_rule;
    Rule { task, aggregate, cutoffs: decision_rule.cutoffs(n_classes), window_fraction, at_most, at_least_one }
}

/// The model's own rule, or what was asked for: then every class that reaches the cut-off is decided.
pub fn decision_rule_for(ask: &PredictQuery, predictor: &Predictor) -> DecisionRule {
    let mut decision_rule = predictor.decision_rule().clone();
    if ask.cutoff.is_some() || ask.fraction.is_some() {
        decision_rule.task = Task::MultiLabel;
    }
    if let Some(cutoff) = ask.cutoff {
        (decision_rule.cutoff, decision_rule.cutoffs) = (cutoff, Vec::new());
    }
    if let Some(fraction) = ask.fraction {
        (decision_rule.aggregate, decision_rule.window_fraction) = (Aggregate::Vote, fraction);
    }
    decision_rule
}

/// Every class with its confidence, the most confident first, of equals the first class.
pub fn instruments(decision_rule: &DecisionRule, heard: &Prediction, predictor: &Predictor) -> Vec<Instrument> {
    let classes = predictor.classes();
    let said = Predictions { n_classes: classes.len(), probabilities: heard.probabilities.clone() };
    let verdict = decision_rule.decide_recordings(&said, heard.windows.as_ref());
    let decided = verdict.decided.concat();
    let mut all: Vec<Instrument> = (verdict.scores.probabilities.iter().enumerate())
        .map(|(class, &confidence)| {
            let code = classes.name(class).to_owned();
            Instrument { name: name(&code), code, confidence, decided: decided.contains(&class) }
        })
        .collect();
    all.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    all
}

fn timeline(decision_rule: &DecisionRule, heard: &Prediction, predictor: &Predictor) -> Option<Timeline> {
    let (windows, spec) = (heard.windows.as_ref()?, predictor.window()?);
    let codes = predictor.classes().names();
    let rule = Hysteresis::from_thresholds(decision_rule.cutoffs(codes.len()));
    let segments = timeline::segments(windows, spec.seconds, heard.seconds, &rule);
    let stretch = |segment: timeline::Segment| Stretch {
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
        borders: timeline::window_boundaries(&windows.starts, spec.seconds, heard.seconds),
        probabilities: windows.rows_of(0).map(<[f32]>::to_vec).collect(),
        segments: segments.into_iter().map(stretch).collect(),
    })
}

impl Answer {
    pub fn new(voice: &ServedModel, ask: &PredictQuery, heard: &Prediction, timings: Took) -> Answer {
        let lead = voice.lead();
        let decision_rule = decision_rule_for(ask, lead);
        Answer {
            schema: SCHEMA,
            model: model_id(voice),
            seconds: heard.seconds,
            hears: hears(lead),
            instruments: instruments(&decision_rule, heard, lead),
            timeline: if ask.timeline == Some(false) { None } else { timeline(&decision_rule, heard, lead) },
            rule: rule(&decision_rule, lead.classes().len()),
            timings,
        }
    }
}

impl Models {
    pub fn new(voices: &[ServedModel], limits: &Limits) -> Models {
        Models {
            schema: SCHEMA,
            default: voices[0].id.clone(),
            models: voices.iter().map(|voice| card(voice, voices)).collect(),
            limits: LimitsCard {
                bytes: limits.bytes,
                seconds: limits.seconds,
                clip_seconds: limits.clip_seconds,
                channels: limits.channels,
            },
        }
    }
}

fn card(voice: &ServedModel, all: &[ServedModel]) -> ModelCard {
    let lead = voice.lead();
    let ModelId { id, experiment, signature, model } = model_id(voice);
    let measured = (!voice.is_ensemble()).then(|| lead.run_scores());
    let quality = |row: &ResultRow| Quality {
        split: row.split.clone(),
        n: row.n,
        metrics: row.metrics.iter().map(|(name, value)| (name.clone(), value.is_finite().then_some(*value))).collect(),
    };
    let id_of = |member: &Predictor| {
        let is_it = |voice: &&ServedModel| !voice.is_ensemble() && voice.lead().name() == member.name();
        all.iter().find(is_it).map_or_else(String::new, |voice| voice.id.clone())
    };
    ModelCard {
        id,
        experiment,
        signature,
        model,
        classes: lead.classes().names().iter().map(|code| ClassCard { code: code.clone(), name: name(code) }).collect(),
        hears: hears(lead),
        window: lead.window().map(|window| WindowCard { seconds: window.seconds, hop: window.hop }),
        clip_seconds: lead.clip_seconds(),
        rule: rule(lead.decision_rule(), lead.classes().len()),
        data: measured.map(|measured| measured.data.clone()),
        metric: measured.map(|measured| measured.metric.clone()),
        quality: measured.iter().flat_map(|measured| &measured.rows).map(quality).collect(),
        members: (voice.members().iter())
            .map(|(member, weight)| Member { id: id_of(member), weight: *weight })
            .collect(),
    }
}
