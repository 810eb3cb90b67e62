//! Reports: plots, the report of a run and of a sweep, comparisons of runs, the report of a threshold search, and pages about data sets.

mod page;
mod player;
pub mod plot;
pub mod thresholds;
pub mod comparison;
pub mod run_report;
pub mod sweep_report;
pub mod data_report;
pub mod label_studio;
pub mod suspects;
