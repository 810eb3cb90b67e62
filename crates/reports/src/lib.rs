//! Reports: plots, the report of a run and of a sweep, comparisons of runs, the report of a threshold search, and pages about data sets.

// Figures as SVG and PNG.
pub mod plot;
// Self-contained HTML pages.
mod page;
// Principal components of a few rows.
mod principal_components;
// Embedded audio.
mod player;
// The report of a run, and the page of a comparison.
pub mod run_report;
// The report of a sweep.
pub mod sweep_report;
// Comparisons of runs: scores and tests.
pub mod comparison;
// Threshold searches: files and plots.
pub mod thresholds;
// Pages about a data set.
pub mod data_report;
// Recordings whose labels are probably wrong.
pub mod suspects;
// Labels from and to Label Studio.
pub mod label_studio;
