//! Evaluation: predictions become decisions, scores and confidence intervals.

#![warn(missing_docs)]

pub mod predictions;
pub mod aggregation;
pub mod timeline;
pub mod metrics;
pub mod label_errors;
pub mod threshold_search;
