//! Reports: plots, the report of a run, comparisons of runs, the report of a threshold search, and pages about data sets.

mod page;
pub mod plot;
pub mod thresholds;
pub mod comparison;
pub mod run_report;
pub mod data_report;
