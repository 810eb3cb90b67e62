//! Metrics, confidence intervals and trivial baselines: pure functions of true classes, decisions and probabilities.
//!
//! `metric.rs` has the table of all metrics. Scores of decisions are functions of counts (`tally`); scores of probabilities are
//! prepared once and evaluated for any weights of the clips (`probability_scores`). Each file opens with its conventions.

/// Raise this number by hand when the same predictions give different scores.
pub const VERSION: u32 = 4;

pub mod threshold_curve;
pub mod average_precision;
mod brier;
pub mod trivial_baseline;
pub mod bootstrap;
pub mod sorted_scores;
pub mod calibration;
mod d_prime;
mod decision_rule;
mod keras;
pub mod log_loss;
mod metric;
pub mod multi_label;
pub mod probability_scores;
pub mod ranking;
pub mod replicates;
pub mod weighted_metric;
pub mod roc_auc;
pub mod single_label;
pub mod tally;
pub mod decision_scores;

/// A prepared score. Its argument is the number of times that each clip counts. None where the score is undefined.
pub type WeightedScore<'a> = Box<dyn Fn(&[u32]) -> Option<f64> + Sync + 'a>;

pub use bootstrap::bootstrap_interval;
pub use decision_rule::{DecisionRule, Decisions};
pub use metric::{Metric, gain, is_loss, is_of_probabilities, names, probability_scores};
pub use multi_label::{multi_label, multi_label_confusion};
pub use probability_scores::class_score;
pub use single_label::{ClassScores, Scores, single_label};
pub use trivial_baseline::{TrivialBaseline, constant_decisions, multi_label_baselines, single_label_baselines};
pub use weighted_metric::weighted_metric;
