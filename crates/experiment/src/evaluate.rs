//! `[evaluate]`: how models are evaluated.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use timbre_core::suggest;
use timbre_core::{
    labels::{Classes, Task},
    registry::Fault,
};
use timbre_evaluation::{
    aggregation::Aggregate,
    metrics::{DecisionRule, Metric},
    threshold_search::SearchSpec,
};
use timbre_signal::windows::WindowSpec;

/// How models are evaluated: `[evaluate]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluateSpec {
    /// The task: "single_label" (one class per recording) or "multi_label" (every class that is present).
    /// Default: `single_label`.
    pub task: Task,
    /// The evaluated part of a recording: "centre", one clip as long as the training clips, or "windows", the whole recording in
    /// sliding windows. Default: `centre`.
    pub mode: Mode,
    /// Multi-label: the decision threshold. A class is present if its probability is at least this; a window votes for a class
    /// if its probability is higher. Default: 0.5.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub cutoff: f64,
    /// Thresholds of single classes by name: `cutoffs = { cel = 0.4 }`. Default: `cutoff` for all.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    #[schemars(extend("additionalProperties" = json!({ "type": "number", "minimum": 0.0, "maximum": 1.0 })))]
    pub cutoffs: IndexMap<String, f64>,
    /// Multi-label: the maximum number of classes per recording; those with the highest scores stay. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub at_most: Option<usize>,
    /// Multi-label: a recording in which no class reaches its threshold gets the class with the highest score. Default: false.
    #[serde(skip_serializing_if = "is_false")]
    pub at_least_one: bool,
    /// With mode "windows": window length and hop. Default: 3 s and 1 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowSpec>,
    /// With mode "windows": how the windows of a recording are aggregated to one score per class. Default: `vote` for
    /// multi-label, `mean` for single-label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aggregate: Option<Aggregate>,
    /// With aggregate "vote": a class is present if more than this fraction of the windows voted for it, 0 to below 1.
    /// Default: 0.26.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub window_fraction: Option<f64>,
    /// The headline metric, which ranks the models. Default: `accuracy`, multi-label `f1_micro`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<Metric>,
    /// Multi-label: search threshold and window fraction after training, without training again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<SearchSpec>,
    /// Tags of the recordings, each of which divides the scores: `by_tag.csv` has them for every value of the tag. With several data sets
    /// the tag `set` is their name; `length` is the length of recordings that have no such tag, in ranges. Default: none, and `set` for several data sets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by_tag: Vec<String>,
    /// Bootstrap resamples over songs for the confidence intervals; 0 disables them. Default: 1000.
    #[schemars(range(min = 0, max = 1000000))]
    pub bootstrap: usize,
}

fn is_false(truth: &bool) -> bool {
    !truth
}

impl Default for EvaluateSpec {
    fn default() -> Self {
        EvaluateSpec {
            task: Task::default(),
            mode: Mode::default(),
            cutoff: 0.5,
            cutoffs: IndexMap::new(),
            at_most: None,
            at_least_one: false,
            window: None,
            aggregate: None,
            window_fraction: None,
            metric: None,
            search: None,
            by_tag: Vec::new(),
            bootstrap: 1000,
        }
    }
}

impl EvaluateSpec {
    /// How predictions become decisions and scores. Thresholds of unknown classes are ignored here: see
    /// [`unknown_classes`](Self::unknown_classes).
    pub fn decision_rule(&self, classes: &Classes) -> DecisionRule {
        let of_class = |name: &String| self.cutoffs.get(name).copied().unwrap_or(self.cutoff);
        let named = !self.cutoffs.is_empty();
        DecisionRule {
            task: self.task,
            cutoff: self.cutoff,
            cutoffs: if named { classes.names().iter().map(of_class).collect() } else { Vec::new() },
            aggregate: self.aggregate(),
            window_fraction: self.window_fraction.unwrap_or(DecisionRule::default().window_fraction),
            at_most: self.at_most,
            at_least_one: self.at_least_one,
        }
    }

    /// How windows are aggregated to scores. Unused with one clip per recording.
    fn aggregate(&self) -> Aggregate {
        match (self.mode, self.task) {
            (Mode::Windows, Task::MultiLabel) => self.aggregate.unwrap_or(Aggregate::Vote),
            _ => self.aggregate.unwrap_or_default(),
        }
    }

    /// The evaluated windows; `None` with mode "centre".
    pub fn windows(&self) -> Option<WindowSpec> {
        (self.mode == Mode::Windows).then(|| self.window.unwrap_or_default())
    }

    /// The headline metric.
    pub fn metric(&self) -> Metric {
        self.metric.unwrap_or(match self.task {
            Task::SingleLabel => Metric::Accuracy,
            Task::MultiLabel => Metric::F1Micro,
        })
    }

    /// An error message if a threshold names an unknown class.
    pub fn unknown_classes(&self, classes: &Classes) -> Option<String> {
        let names = || classes.names().iter().map(String::as_str);
        let unknown = self.cutoffs.keys().find(|name| classes.index(name).is_none())?;
        Some(format!(
            "evaluate.cutoffs: unknown class `{unknown}`: {}",
            suggest::help(unknown, names(), "Classes here")
        ))
    }

    pub(crate) fn faults(&self) -> Vec<Fault> {
        let mut errors = Vec::new();
        let mut fault = |key: &str, sentence: String| errors.push(Fault::new(key, sentence));
        let there = self.decision_rule(&Classes::default()).metrics();
        let metric = self.metric().name();
        if !there.iter().any(|name| name == metric) {
            let task = json!(self.task);
            fault("metric", format!("`{metric}` is not a metric of the task {task}. Metrics: {}", there.join(", ")));
        }
        if self.mode == Mode::Centre {
            for (key, is_written) in [
                ("window", self.window.is_some()),
                ("aggregate", self.aggregate.is_some()),
                ("window_fraction", self.window_fraction.is_some()),
            ] {
                if is_written {
                    fault(key, "only for windows: set mode = \"windows\", or remove it".into());
                }
            }
        } else if self.window_fraction.is_some() && self.aggregate() != Aggregate::Vote {
            let aggregate = json!(self.aggregate());
            fault(
                "window_fraction",
                format!("only for the aggregate \"vote\", not {aggregate}: set it, or remove this key"),
            );
        }
        if self.window_fraction.is_some_and(|fraction| !(0.0..1.0).contains(&fraction)) {
            fault("window_fraction", "expected a fraction from 0 to below 1, such as 0.26".into());
        }
        if let Some(search) = &self.search {
            let own = search.faults().into_iter();
            own.for_each(|Fault { key, sentence }| fault("search", format!("{key}: {sentence}")));
            if self.at_most.is_some() || self.at_least_one {
                fault("search", "the search does not support `at_most` and `at_least_one`: remove them".into());
            }
        }
        if self.task == Task::SingleLabel {
            if self.mode == Mode::Windows && self.aggregate() == Aggregate::Vote {
                let sentence =
                    "votes are for multi-label tasks: for single-label choose \"mean\", \"max\" or \"mean_logits\"";
                fault("aggregate", sentence.into());
            }
            for (key, is_written) in [
                ("cutoffs", !self.cutoffs.is_empty()),
                ("at_most", self.at_most.is_some()),
                ("at_least_one", self.at_least_one),
                ("search", self.search.is_some()),
            ] {
                if is_written {
                    fault(key, "only for multi-label tasks: set task = \"multi_label\", or remove it".into());
                }
            }
        }
        errors
    }
}

/// The evaluated part of a recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// One clip, as `[audio]` crops it: `clip_seconds` at the position of `crop`.
    #[default]
    Centre,
    /// The whole recording, in windows.
    Windows,
}
