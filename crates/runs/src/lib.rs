//! Runs: the folder of a run, its tables, and what reads finished runs.

pub mod run_dir;
pub mod housekeeping;
pub mod tables;
pub mod exports;
pub mod baseline_check;
pub mod listing;
