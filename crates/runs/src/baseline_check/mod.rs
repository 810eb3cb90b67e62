//! Checks a run against a baseline (regression check in CI): which metric of which model fell, and whether the two are comparable.
//!
//! Conventions: the score of a (feature, model) is the mean over the seeds (`run_dir::trial_means`) on the test split if the baseline
//! has one. Only models and metrics of the baseline are checked, without trivial baselines. A metric has fallen if it is worse than
//! that of the baseline by more than the tolerance; for losses (`metrics::is_loss`) larger is worse. A run that is not comparable
//! does not pass: an issue counts like a fall unless it is allowed by name.

mod reference;
mod clips;
mod comparability;
pub mod github;
pub mod junit;
pub mod markdown;
mod check;
pub mod text;
mod tolerance;

pub use check::{Check, CheckReport, Finding, compare, has_fallen, worse_by};
pub use clips::ClipsOf;
pub use comparability::{Issue, IssueKind};
pub use reference::{DataOf, ReferenceScores};
pub use tolerance::{Tolerance, known_metric, metric_named};

#[cfg(test)]
mod tests;
