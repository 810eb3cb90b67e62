//! Evaluation: predictions become decisions, scores and confidence intervals.

#![warn(missing_docs)]

// Probabilities of clips and of windows.
pub mod predictions;
// From the windows to the recording.
pub mod aggregation;
// From the windows to segments in time.
pub mod timeline;
// Decisions, scores, intervals, trivial baselines.
pub mod metrics;
// The choice of thresholds.
pub mod threshold_search;
// Labels that are probably wrong.
pub mod label_errors;
