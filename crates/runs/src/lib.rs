//! Runs: the folder of a run, its tables, and what reads finished runs.

// The folder of a run: names, lock, records, saved models.
pub mod run_dir;
// The tables of a run.
pub mod tables;
// Features as Parquet.
pub mod feature_tables;
// The progress of a sweep (`grid.json`).
pub mod sweep_record;
// The results of a sweep (`grid_results.csv`).
pub mod sweep_table;
// The memory of this process.
pub mod memory;
// The list of runs.
pub mod listing;
// The regression check in CI.
pub mod baseline_check;
// Files for DVC, MLflow and TensorBoard.
pub mod exports;
// Removal of stale runs.
pub mod housekeeping;
