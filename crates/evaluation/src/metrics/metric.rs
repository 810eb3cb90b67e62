//! The metrics by name: which task has which, in which order tables show them, and which way is better.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tally;
use timbre_core::labels::Task;

/// The headline metric; larger is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// One label: share of recordings that are given their class.
    Accuracy,
    /// One label: mean recall of the classes that occur.
    BalancedAccuracy,
    /// One label: the multi-class correlation of truth and decisions.
    Matthews,
    /// Several labels: share of (recording, class) pairs that are right.
    Hamming,
    /// Several labels: share of recordings whose classes are exactly right.
    ExactMatch,
    /// Several labels: precision over all (recording, class) pairs.
    PrecisionMicro,
    /// Several labels: recall over all (recording, class) pairs.
    RecallMicro,
    /// Several labels: F1 over all (recording, class) pairs.
    F1Micro,
    /// Several labels: Jaccard index over all (recording, class) pairs.
    JaccardMicro,
    /// Mean precision of the classes.
    PrecisionMacro,
    /// Mean recall of the classes.
    RecallMacro,
    /// Mean F1 of the classes.
    F1Macro,
    /// Several labels: mean Jaccard index of the classes.
    JaccardMacro,
    /// Several labels: mean precision of the classes, weighted by their recordings.
    PrecisionWeighted,
    /// Several labels: mean recall of the classes, weighted by their recordings.
    RecallWeighted,
    /// Mean F1 of the classes, weighted by their recordings.
    F1Weighted,
    /// Several labels: mean Jaccard index of the classes, weighted by their recordings.
    JaccardWeighted,
    /// Several labels: mean precision of the recordings.
    PrecisionSamples,
    /// Several labels: mean recall of the recordings.
    RecallSamples,
    /// Several labels: mean F1 of the recordings.
    F1Samples,
    /// Several labels: mean Jaccard index of the recordings.
    JaccardSamples,
    /// Several labels: average precision over all (recording, class) pairs, without a cut-off.
    AveragePrecisionMicro,
    /// Several labels: mean average precision of the classes ("mAP"), without a cut-off.
    AveragePrecisionMacro,
    /// Several labels: mean average precision of the classes, weighted by their recordings.
    AveragePrecisionWeighted,
    /// Several labels: mean average precision of the recordings.
    AveragePrecisionSamples,
    /// Several labels: area under the ROC curve over all (recording, class) pairs.
    RocAucMicro,
    /// Several labels: mean area under the ROC curve of the classes.
    RocAucMacro,
    /// Several labels: mean area under the ROC curve of the classes, weighted by their recordings.
    RocAucWeighted,
    /// Several labels: mean area under the ROC curve of the recordings.
    RocAucSamples,
    /// Several labels: label ranking average precision.
    Lrap,
}

impl Metric {
    /// The word that selects it, which is also its column in the tables.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Accuracy => "accuracy",
            Metric::BalancedAccuracy => "balanced_accuracy",
            Metric::Matthews => "matthews",
            Metric::Hamming => "hamming",
            Metric::ExactMatch => "exact_match",
            Metric::PrecisionMicro => "precision_micro",
            Metric::RecallMicro => "recall_micro",
            Metric::F1Micro => "f1_micro",
            Metric::JaccardMicro => "jaccard_micro",
            Metric::PrecisionMacro => "precision_macro",
            Metric::RecallMacro => "recall_macro",
            Metric::F1Macro => "f1_macro",
            Metric::JaccardMacro => "jaccard_macro",
            Metric::PrecisionWeighted => "precision_weighted",
            Metric::RecallWeighted => "recall_weighted",
            Metric::F1Weighted => "f1_weighted",
            Metric::JaccardWeighted => "jaccard_weighted",
            Metric::PrecisionSamples => "precision_samples",
            Metric::RecallSamples => "recall_samples",
            Metric::F1Samples => "f1_samples",
            Metric::JaccardSamples => "jaccard_samples",
            Metric::AveragePrecisionMicro => "average_precision_micro",
            Metric::AveragePrecisionMacro => "average_precision_macro",
            Metric::AveragePrecisionWeighted => "average_precision_weighted",
            Metric::AveragePrecisionSamples => "average_precision_samples",
            Metric::RocAucMicro => "roc_auc_micro",
            Metric::RocAucMacro => "roc_auc_macro",
            Metric::RocAucWeighted => "roc_auc_weighted",
            Metric::RocAucSamples => "roc_auc_samples",
            Metric::Lrap => "lrap",
        }
    }
}

/// Scores of single-label decisions, in the order of the tables.
pub(super) const SINGLE_LABEL: [&str; 7] =
    ["accuracy", "precision_macro", "recall_macro", "f1_macro", "f1_weighted", "balanced_accuracy", "matthews"];

/// Scores of the probabilities of a single-label task.
pub(super) const SINGLE_LABEL_RANKED: [&str; 2] = ["log_loss", "calibration_error"];

/// Scores of the probabilities of a multi-label task: those that are better when larger, then the losses.
pub(super) const MULTI_LABEL_RANKED: [&str; 13] = [
    "average_precision_micro",
    "average_precision_macro",
    "average_precision_weighted",
    "average_precision_samples",
    "roc_auc_micro",
    "roc_auc_macro",
    "roc_auc_weighted",
    "roc_auc_samples",
    "lrap",
    "ranking_loss",
    "coverage_error",
    "log_loss",
    "calibration_error",
];

/// Every metric of a task, in the order of the tables: decisions first, then probabilities.
pub fn names(task: Task) -> impl Iterator<Item = &'static str> {
    let (decisions, probabilities): (&[&str], &[&str]) = match task {
        Task::SingleLabel => (&SINGLE_LABEL, &SINGLE_LABEL_RANKED),
        Task::MultiLabel => (&tally::NAMES, &MULTI_LABEL_RANKED),
    };
    decisions.iter().chain(probabilities).copied()
}

/// Whether it is a score of probabilities, in which no decision has a part.
pub fn is_of_probabilities(task: Task, name: &str) -> bool {
    match task {
        Task::SingleLabel => SINGLE_LABEL_RANKED.contains(&name),
        Task::MultiLabel => MULTI_LABEL_RANKED.contains(&name),
    }
}

/// The one place that knows which way a metric is better: these when smaller, all others when larger.
pub fn is_loss(name: &str) -> bool {
    matches!(name, "ranking_loss" | "coverage_error" | "log_loss" | "calibration_error" | "loss")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_metric_but_the_losses_can_be_the_headline_and_no_other_word_can() {
        let all: BTreeSet<&str> = names(Task::SingleLabel).chain(names(Task::MultiLabel)).collect();
        for name in &all {
            let chosen: Result<Metric, _> = serde_json::from_value(serde_json::json!(name));
            assert_eq!(chosen.is_err(), is_loss(name), "{name}");
            assert!(chosen.is_err() || chosen.unwrap().name() == *name);
        }
        assert_eq!(all.iter().filter(|name| !is_loss(name)).count(), 30);
    }
}
