//! `[evaluate]`: what of a recording is judged, and how.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::suggest;
use timbre_core::labels::{Classes, Task};
use timbre_core::registry::Fault;
use timbre_evaluation::aggregation::Aggregate;
use timbre_evaluation::metrics::{DecisionRule, Metric};
use timbre_evaluation::threshold_search::SearchSpec;
use timbre_signal::windows::WindowSpec;

/// How models are judged: `[evaluate]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluateSpec {
    /// What a recording has to be given: "single_label" (one class) or "multi_label" (every class that is present).
    /// Default: `single_label`.
    pub task: Task,
    /// The part of a longer recording that is judged: "centre", as long as the clips that were trained on, or "windows", all
    /// of it in windows. Default: `centre`.
    pub mode: Mode,
    /// With several labels: a class is present whose probability is at least this; a window votes for a class whose
    /// probability is more than this. Default: 0.5.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub cutoff: f64,
    /// Cut-offs of their own for some classes, by name: `cutoffs = { cel = 0.4 }`. Default: `cutoff` for all.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    #[schemars(extend("additionalProperties" = json!({ "type": "number", "minimum": 0.0, "maximum": 1.0 })))]
    pub cutoffs: IndexMap<String, f64>,
    /// With several labels: no more than so many classes a recording, those with the highest scores. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub at_most: Option<usize>,
    /// With several labels: a recording that no class reaches is given the class with the highest score. Default: false.
    #[serde(skip_serializing_if = "is_false")]
    pub at_least_one: bool,
    /// With mode "windows": how long they are and how far apart. Default: 3 s, a second apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowSpec>,
    /// With mode "windows": how the windows of a recording become one score a class. Default: `vote` with several labels,
    /// `mean` with one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aggregate: Option<Aggregate>,
    /// With aggregate "vote": a class is present if more than this share of the windows voted for it, 0 to below 1.
    /// Default: 0.26.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub window_fraction: Option<f64>,
    /// The metric of the grid, by which models are ranked. Default: `accuracy`, with several labels `f1_micro`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<Metric>,
    /// With several labels: search cut-off and window fraction when the models are fitted, without fitting them again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<SearchSpec>,
    /// Resamples of whole songs for the confidence intervals; 0: none. Default: 1000.
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
            bootstrap: 1000,
        }
    }
}

impl EvaluateSpec {
    /// How predictions become decisions and scores. A cut-off of a class that is not there counts for nothing here: see
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

    /// How windows become scores; of one clip a recording nothing is made.
    fn aggregate(&self) -> Aggregate {
        match (self.mode, self.task) {
            (Mode::Windows, Task::MultiLabel) => self.aggregate.unwrap_or(Aggregate::Vote),
            _ => self.aggregate.unwrap_or_default(),
        }
    }

    /// The windows that are judged; nothing where it is the centre.
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

    /// A sentence about the cut-offs of classes that are not among these.
    pub fn unknown_classes(&self, classes: &Classes) -> Option<String> {
        let names = || classes.names().iter().map(String::as_str);
        let unknown = self.cutoffs.keys().find(|name| classes.index(name).is_none())?;
        Some(format!(
            "evaluate.cutoffs: unknown class `{unknown}`: {}",
            suggest::help(unknown, names(), "Classes here")
        ))
    }

    pub(super) fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut fault = |key: &str, sentence: String| faults.push(Fault::new(key, sentence));
        let there = self.decision_rule(&Classes::default()).metrics();
        let metric = self.metric().name();
        if !there.iter().any(|name| name == metric) {
            let task = json!(self.task);
            fault("metric", format!("`{metric}` is no metric of the task {task}; there are {}", there.join(", ")));
        }
        if self.mode == Mode::Centre {
            for (key, is_written) in [
                ("window", self.window.is_some()),
                ("aggregate", self.aggregate.is_some()),
                ("window_fraction", self.window_fraction.is_some()),
            ] {
                if is_written {
                    fault(
                        key,
                        "it is for windows, and the centre has none: write mode = \"windows\", or leave it out".into(),
                    );
                }
            }
        } else if self.window_fraction.is_some() && self.aggregate() != Aggregate::Vote {
            let aggregate = json!(self.aggregate());
            fault(
                "window_fraction",
                format!("it counts votes, and the aggregate is {aggregate}: write \"vote\", or leave it out"),
            );
        }
        if self.window_fraction.is_some_and(|fraction| !(0.0..1.0).contains(&fraction)) {
            fault("window_fraction", "a share of the windows from 0 to below 1, such as 0.26".into());
        }
        if let Some(search) = &self.search {
            let own = search.faults().into_iter();
            own.for_each(|Fault { key, sentence }| fault("search", format!("{key}: {sentence}")));
            if self.at_most.is_some() || self.at_least_one {
                fault("search", "it knows cut-off and window fraction: leave `at_most` and `at_least_one` out".into());
            }
        }
        if self.task == Task::SingleLabel {
            if self.mode == Mode::Windows && self.aggregate() == Aggregate::Vote {
                let sentence =
                    "votes are cut-offs for several labels; for one choose \"mean\", \"max\" or \"mean_logits\"";
                fault("aggregate", sentence.into());
            }
            for (key, is_written) in [
                ("cutoffs", !self.cutoffs.is_empty()),
                ("at_most", self.at_most.is_some()),
                ("at_least_one", self.at_least_one),
                ("search", self.search.is_some()),
            ] {
                if is_written {
                    fault(key, "it is for several labels: write task = \"multi_label\", or leave it out".into());
                }
            }
        }
        faults
    }
}

/// The part of a recording that is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// As `[audio]` cuts it: `clip_seconds` from where `crop` says.
    #[default]
    Centre,
    /// All of it, in windows.
    Windows,
}
