//! Pure functions from truth and decisions to scores, intervals and trivial baselines.
//!
//! One file a family of tasks, each opening with its definitions.

/// Raised by hand when the same predictions give other scores.
pub const VERSION: u32 = 1;

pub mod baseline;
pub mod bootstrap;
mod judge;
pub mod multi_label;
pub mod single_label;

pub use baseline::{Baseline, multi_label_baselines, single_label_baselines};
pub use bootstrap::bootstrap_interval;
pub use judge::{Judge, Verdict};
pub use multi_label::multi_label;
pub use single_label::{ClassScores, Scores, single_label};
