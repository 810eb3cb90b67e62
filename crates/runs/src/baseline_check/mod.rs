//! A run held against a baseline: which metric of which trial fell by how much, and whether the two can be compared at all.
//!
//! Conventions: a trial is a (feature, model), its score the mean over the seeds (`run_dir::trial_means`), on the test split
//! where the baseline has one. Only trials and metrics of the baseline are judged, trivial baselines are not. A metric has
//! fallen if it is worse than the baseline's by more than the tolerance; of losses (`metrics::is_loss`) worse is larger.
//! What cannot be judged does not pass: a doubt is as good as a fall unless it is allowed by name.

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
