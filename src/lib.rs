//! Timbre: a batch pipeline and experiment runner for audio classification, musical instruments first.
//!
//! The stages before these are crates of their own, in the order of the data: `timbre_core`, `timbre_signal` (recordings to `Clip`s),
//! `timbre_inputs` (`FeatureMatrix`, `FeatureSet`), `timbre_evaluation` (`Predictions` to `Scores`), `timbre_models`,
//! `timbre_experiment`, `timbre_runs` (`RunRecord`), `timbre_reports`.

// Runs an experiment or a sweep: from an `Experiment` to a run folder.
pub mod execution;
// Predicts the classes of new recordings with a saved model.
pub mod inference;
// Predicts over HTTP: the API and the web page.
pub mod serve;
// Parses the command line; one function a command.
pub mod cli;
