//! Pure functions from truth and decisions to scores, intervals and trivial baselines.
//!
//! One file a family, each opening with its definitions. Scores of decisions are functions of counts (`tally`), scores of
//! probabilities are prepared once and evaluated for any weighting of the clips (`ranked`).

/// Raised by hand when the same predictions give other scores.
pub const VERSION: u32 = 2;

pub mod precision_recall_curve;
pub mod average_precision;
pub mod trivial_baseline;
pub mod bootstrap;
pub mod sorted_scores;
pub mod calibration;
mod decision_rule;
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

pub use bootstrap::bootstrap_interval;
pub use decision_rule::{DecisionRule, Decisions};
pub use metric::{Metric, is_loss, is_of_probabilities, names};
pub use multi_label::{multi_label, multi_label_confusion};
pub use probability_scores::probability_scores;
pub use single_label::{ClassScores, Scores, single_label};
pub use trivial_baseline::{TrivialBaseline, constant_decisions, multi_label_baselines, single_label_baselines};
pub use weighted_metric::weighted_metric;
