//! Runs: the folder of a run, its tables, and what reads finished runs.

pub mod run_dir;
pub mod sweep_record;
pub mod sweep_table;
pub mod tables;
pub mod feature_tables;
pub mod listing;
pub mod baseline_check;
pub mod exports;
pub mod housekeeping;
