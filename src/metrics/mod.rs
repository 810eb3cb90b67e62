//! Pure functions from truth and decisions to scores, intervals and trivial baselines.
//!
//! One file a family, each opening with its definitions. Scores of decisions are functions of counts (`tally`), scores of
//! probabilities are prepared once and evaluated for any weighting of the clips (`ranked`).

/// Raised by hand when the same predictions give other scores.
pub const VERSION: u32 = 2;

pub mod along;
pub mod average_precision;
pub mod baseline;
pub mod bootstrap;
pub mod by_score;
pub mod calibration;
mod judge;
pub mod log_loss;
mod metric;
pub mod multi_label;
pub mod ranked;
pub mod ranking;
pub mod replicates;
pub mod resampled;
pub mod roc_auc;
pub mod single_label;
pub mod tally;

pub use baseline::{Baseline, always_decided, multi_label_baselines, single_label_baselines};
pub use bootstrap::bootstrap_interval;
pub use judge::{Judge, Verdict};
pub use metric::{Metric, is_loss, is_of_probabilities, names};
pub use multi_label::{mistaken, multi_label};
pub use ranked::ranked_scores;
pub use resampled::resampled;
pub use single_label::{ClassScores, Scores, single_label};
