//! The table of metrics: name, direction and formula of each. Everything else about a metric follows from its entry.
//!
//! To add a metric, add one entry. Its place in the table is its place in the tables of a run.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::WeightedScore;
use super::average_precision::average_precision;
use super::brier;
use super::calibration::calibration_error;
use super::probability_scores::{macro_mean, mean_over_clips, mean_over_pairs, micro, samples_mean, weighted_mean};
use super::roc_auc::roc_auc;
use super::sorted_scores::SortedScores;
use super::tally::{ClassCounts, Tally};
use super::{d_prime::d_prime, keras, log_loss, ranking};
use crate::predictions::Predictions;
use timbre_core::labels::{Labels, Task};

/// How a metric is computed.
#[derive(Clone, Copy)]
pub enum Formula {
    /// From the counts of decisions by class.
    Classes(fn(&Tally) -> f64),
    /// From counts of decisions that include sums over recordings.
    Recordings(fn(&Tally) -> f64),
    /// From the classes of each clip, ascending, and its probabilities. Prepared once, then evaluated for any weights of the
    /// clips. No threshold is involved.
    Probabilities(for<'a> fn(&'a [Labels], &'a Predictions) -> WeightedScore<'a>),
}

/// A row of the table of metrics.
pub struct MetricEntry {
    /// The TOML word that selects the metric, and its column in the tables.
    pub name: &'static str,
    /// Whether smaller values are better.
    pub is_loss: bool,
    single: Option<Formula>,
    multi: Option<Formula>,
}

impl MetricEntry {
    /// None if the task does not have this metric.
    pub const fn formula(&self, task: Task) -> Option<Formula> {
        match task {
            Task::SingleLabel => self.single,
            Task::MultiLabel => self.multi,
        }
    }
}

macro_rules! metrics {
    (
        larger_is_better { $($(#[$doc:meta])* $Variant:ident = $name:literal { $($task:ident: $formula:expr),+ $(,)? })+ }
        smaller_is_better { $($loss:literal { $($loss_task:ident: $loss_formula:expr),+ $(,)? })+ }
    ) => {
        /// The headline metric. Larger is better.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        pub enum Metric {
            $($(#[$doc])* #[serde(rename = $name)] $Variant,)+
        }

        impl Metric {
            /// The word that selects the metric, which is also its column in the tables.
            pub fn name(self) -> &'static str {
                match self { $(Metric::$Variant => $name,)+ }
            }
        }

        /// Every metric, in the order of the tables: metrics of decisions first, then metrics of probabilities.
        pub const METRICS: &[MetricEntry] = &[
            $(MetricEntry { $($task: Some($formula),)+ ..entry($name, false) },)+
            $(MetricEntry { $($loss_task: Some($loss_formula),)+ ..entry($loss, true) },)+
        ];
    };
}

/// [`average_precision`] in the form of [`roc_auc`]: it is always defined.
fn precision(ranked: &SortedScores, times: &dyn Fn(usize) -> u32) -> Option<f64> {
    Some(average_precision(ranked, times))
}

/// d' of the mean area of the classes.
fn sensitivity<'a>(truth: &'a [Labels], predictions: &'a Predictions) -> WeightedScore<'a> {
    let area = macro_mean(roc_auc, truth, predictions);
    Box::new(move |times| d_prime(area(times)?))
}

const fn entry(name: &'static str, is_loss: bool) -> MetricEntry {
    MetricEntry { name, is_loss, single: None, multi: None }
}

use Formula::{Classes, Probabilities, Recordings};

metrics! {
    larger_is_better {
        /// Single-label: the share of recordings whose class is right.
        Accuracy = "accuracy" { single: Classes(|tally| tally.total().recall()) }
        /// Multi-label: the share of (recording, class) pairs that are right.
        Hamming = "hamming" { multi: Classes(Tally::hamming) }
        /// Multi-label: the share of recordings whose classes are exactly right.
        ExactMatch = "exact_match" { multi: Recordings(Tally::exact_match) }
        /// Multi-label: precision over all (recording, class) pairs.
        PrecisionMicro = "precision_micro" { multi: Classes(|tally| tally.total().precision()) }
        /// Multi-label: recall over all (recording, class) pairs.
        RecallMicro = "recall_micro" { multi: Classes(|tally| tally.total().recall()) }
        /// Multi-label: F1 over all (recording, class) pairs.
        F1Micro = "f1_micro" { multi: Classes(|tally| tally.total().f1()) }
        /// Multi-label: Jaccard index over all (recording, class) pairs.
        JaccardMicro = "jaccard_micro" { multi: Classes(|tally| tally.total().jaccard()) }
        /// Mean precision of the classes.
        PrecisionMacro = "precision_macro" {
            single: Classes(|tally| tally.mean_of_occurring(ClassCounts::precision)),
            multi: Classes(|tally| tally.macro_mean(ClassCounts::precision)),
        }
        /// Mean recall of the classes.
        RecallMacro = "recall_macro" {
            single: Classes(|tally| tally.mean_of_occurring(ClassCounts::recall)),
            multi: Classes(|tally| tally.macro_mean(ClassCounts::recall)),
        }
        /// Mean F1 of the classes.
        F1Macro = "f1_macro" {
            single: Classes(|tally| tally.mean_of_occurring(ClassCounts::f1)),
            multi: Classes(|tally| tally.macro_mean(ClassCounts::f1)),
        }
        /// Multi-label: mean Jaccard index of the classes.
        JaccardMacro = "jaccard_macro" { multi: Classes(|tally| tally.macro_mean(ClassCounts::jaccard)) }
        /// Multi-label: mean precision of the classes, weighted by their recordings.
        PrecisionWeighted = "precision_weighted" { multi: Classes(|tally| tally.weighted_mean(ClassCounts::precision)) }
        /// Multi-label: mean recall of the classes, weighted by their recordings.
        RecallWeighted = "recall_weighted" { multi: Classes(|tally| tally.weighted_mean(ClassCounts::recall)) }
        /// Mean F1 of the classes, weighted by their recordings.
        F1Weighted = "f1_weighted" {
            single: Classes(|tally| tally.weighted_mean(ClassCounts::f1)),
            multi: Classes(|tally| tally.weighted_mean(ClassCounts::f1)),
        }
        /// Multi-label: mean Jaccard index of the classes, weighted by their recordings.
        JaccardWeighted = "jaccard_weighted" { multi: Classes(|tally| tally.weighted_mean(ClassCounts::jaccard)) }
        /// Multi-label: mean precision of the recordings.
        PrecisionSamples = "precision_samples" { multi: Recordings(|tally| tally.samples_mean(0)) }
        /// Multi-label: mean recall of the recordings.
        RecallSamples = "recall_samples" { multi: Recordings(|tally| tally.samples_mean(1)) }
        /// Multi-label: mean F1 of the recordings.
        F1Samples = "f1_samples" { multi: Recordings(|tally| tally.samples_mean(2)) }
        /// Multi-label: mean Jaccard index of the recordings.
        JaccardSamples = "jaccard_samples" { multi: Recordings(|tally| tally.samples_mean(3)) }
        /// Single-label: mean recall of the classes that occur.
        BalancedAccuracy = "balanced_accuracy" { single: Classes(Tally::balanced_accuracy) }
        /// Single-label: the multi-class correlation of truth and decisions.
        Matthews = "matthews" { single: Classes(Tally::matthews) }
        /// Single-label: agreement of truth and decisions beyond chance (Cohen's kappa).
        CohenKappa = "cohen_kappa" { single: Classes(Tally::cohen_kappa) }
        /// Single-label: the share of recordings whose class is among the three most likely ones.
        Top3Accuracy = "top_3_accuracy" {
            single: Probabilities(|t, p| mean_over_clips(|truth, p| ranking::is_among(3, truth[0], p), t, p)),
        }
        /// Single-label: the share of recordings whose class is among the five most likely ones.
        Top5Accuracy = "top_5_accuracy" {
            single: Probabilities(|t, p| mean_over_clips(|truth, p| ranking::is_among(5, truth[0], p), t, p)),
        }
        /// Single-label: Keras' `Precision()`: over all (recording, class) pairs with a probability above 0.5.
        KerasPrecision = "keras_precision" { single: Probabilities(keras::precision) }
        /// Single-label: Keras' `Recall()`: the share of recordings whose class has a probability above 0.5.
        KerasRecall = "keras_recall" { single: Probabilities(keras::recall) }
        /// Multi-label: average precision over all (recording, class) pairs. Needs no threshold.
        AveragePrecisionMicro = "average_precision_micro" { multi: Probabilities(|t, p| micro(precision, t, p)) }
        /// Mean average precision of the classes ("mAP"). Needs no threshold.
        AveragePrecisionMacro = "average_precision_macro" {
            single: Probabilities(|t, p| macro_mean(precision, t, p)),
            multi: Probabilities(|t, p| macro_mean(precision, t, p)),
        }
        /// Multi-label: mean average precision of the classes, weighted by their recordings.
        AveragePrecisionWeighted = "average_precision_weighted" {
            multi: Probabilities(|t, p| weighted_mean(precision, t, p)),
        }
        /// Multi-label: mean average precision of the recordings.
        AveragePrecisionSamples = "average_precision_samples" {
            multi: Probabilities(|t, p| samples_mean(precision, t, p)),
        }
        /// Multi-label: area under the ROC curve over all (recording, class) pairs.
        RocAucMicro = "roc_auc_micro" { multi: Probabilities(|t, p| micro(roc_auc, t, p)) }
        /// Mean area under the ROC curve of the classes, each against the rest.
        RocAucMacro = "roc_auc_macro" {
            single: Probabilities(|t, p| macro_mean(roc_auc, t, p)),
            multi: Probabilities(|t, p| macro_mean(roc_auc, t, p)),
        }
        /// Multi-label: mean area under the ROC curve of the classes, weighted by their recordings.
        RocAucWeighted = "roc_auc_weighted" { multi: Probabilities(|t, p| weighted_mean(roc_auc, t, p)) }
        /// Multi-label: mean area under the ROC curve of the recordings.
        RocAucSamples = "roc_auc_samples" { multi: Probabilities(|t, p| samples_mean(roc_auc, t, p)) }
        /// The sensitivity index d' of the mean area under the ROC curve of the classes, as for AudioSet.
        DPrime = "d_prime" { single: Probabilities(sensitivity), multi: Probabilities(sensitivity) }
        /// Multi-label: label ranking average precision.
        Lrap = "lrap" { multi: Probabilities(|t, p| mean_over_clips(ranking::average_precision, t, p)) }
    }
    smaller_is_better {
        "ranking_loss" { multi: Probabilities(|t, p| mean_over_clips(ranking::loss, t, p)) }
        "coverage_error" { multi: Probabilities(|t, p| mean_over_clips(ranking::coverage_error, t, p)) }
        "log_loss" {
            single: Probabilities(|t, p| mean_over_clips(|truth, p| log_loss::single_label(truth[0], p), t, p)),
            multi: Probabilities(|t, p| mean_over_pairs(log_loss::multi_label, t, p)),
        }
        "brier" {
            single: Probabilities(|t, p| mean_over_clips(brier::sum, t, p)),
            multi: Probabilities(|t, p| mean_over_pairs(brier::mean, t, p)),
        }
        "calibration_error" {
            single: Probabilities(|t, p| calibration_error(Task::SingleLabel, t, p)),
            multi: Probabilities(|t, p| calibration_error(Task::MultiLabel, t, p)),
        }
    }
}

/// The metrics of multi-label decisions, which a threshold search can optimize, in the order of the tables.
pub(super) const DECISIONS: [&MetricEntry; count_decisions()] = {
    let mut decisions = [&METRICS[0]; count_decisions()];
    let (mut at, mut n) = (0, 0);
    while at < METRICS.len() {
        if is_decision(&METRICS[at]) {
            decisions[n] = &METRICS[at];
            n += 1;
        }
        at += 1;
    }
    decisions
};

const fn is_decision(entry: &MetricEntry) -> bool {
    matches!(entry.multi, Some(Classes(_) | Recordings(_)))
}

const fn count_decisions() -> usize {
    let (mut at, mut n) = (0, 0);
    while at < METRICS.len() {
        n += is_decision(&METRICS[at]) as usize;
        at += 1;
    }
    n
}

fn find(name: &str) -> Option<&'static MetricEntry> {
    METRICS.iter().find(|entry| entry.name == name)
}

/// The formula of a metric for a task; None if the task does not have it.
pub(super) fn formula(task: Task, name: &str) -> Option<Formula> {
    find(name)?.formula(task)
}

/// The names of a task's metrics, in the order of the tables: metrics of decisions first, then metrics of probabilities.
pub fn names(task: Task) -> impl Iterator<Item = &'static str> {
    METRICS.iter().filter(move |entry| entry.formula(task).is_some()).map(|entry| entry.name)
}

/// Whether a metric depends on probabilities alone and not on decisions.
pub fn is_of_probabilities(task: Task, name: &str) -> bool {
    matches!(formula(task, name), Some(Probabilities(_)))
}

/// Whether smaller values of a metric are better. `loss`, the training loss, is a loss too.
pub fn is_loss(name: &str) -> bool {
    name == "loss" || find(name).is_some_and(|entry| entry.is_loss)
}

/// A score with the sign under which larger values are better.
pub fn gain(name: &str, score: f64) -> f64 {
    if is_loss(name) { -score } else { score }
}

/// The scores of `predictions` by name, in the order of the tables, without those that are undefined. `truth` has the classes
/// of each clip, ascending.
pub fn probability_scores(task: Task, truth: &[Labels], predictions: &Predictions) -> IndexMap<String, f64> {
    let once = vec![1; truth.len()];
    let mut scores = IndexMap::new();
    for entry in METRICS {
        if let Some(Probabilities(prepare)) = entry.formula(task)
            && let Some(score) = prepare(truth, predictions)(&once)
        {
            scores.insert(entry.name.to_owned(), score);
        }
    }
    scores
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_but_the_losses_can_be_the_headline_metric() {
        for entry in METRICS {
            let parsed: Result<Metric, _> = serde_json::from_value(serde_json::json!(entry.name));
            assert_eq!(parsed.is_err(), entry.is_loss, "{}", entry.name);
            assert!(parsed.is_err() || parsed.unwrap().name() == entry.name);
            assert!(entry.single.is_some() || entry.multi.is_some(), "{} has no formula", entry.name);
        }
    }

    #[test]
    fn metrics_of_decisions_come_before_metrics_of_probabilities() {
        for task in [Task::SingleLabel, Task::MultiLabel] {
            assert!(names(task).map(|name| is_of_probabilities(task, name)).is_sorted());
        }
        let single = ["accuracy", "precision_macro", "recall_macro", "f1_macro", "f1_weighted", "balanced_accuracy"];
        assert_eq!(names(Task::SingleLabel).take(6).collect::<Vec<_>>(), single);
        assert_eq!((names(Task::SingleLabel).count(), names(Task::MultiLabel).count()), (18, 33));
    }
}
