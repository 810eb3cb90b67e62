//! Reports: plots, the report of a run, comparisons of runs, and the report of a threshold search.

pub mod plot;
pub mod thresholds;
pub mod comparison;
pub mod run_report;
