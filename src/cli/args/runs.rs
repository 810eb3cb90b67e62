//! Arguments of the commands on finished runs: `runs`, `rm`, `gc`, `reproduce`, `export`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::project::{PathFromHere, name_from_here};

use timbre_models::device::DeviceChoice;
use timbre_runs::listing::{MetricBound, RunState, SortBy, TimeBound};

use super::ThreadArgs;

/// Which runs are listed, and in which order.
#[derive(Debug, Args)]
pub struct RunsArgs {
    /// Only these experiments, with the wildcards `*` and `?` (in quotes), or runs as in `compare` [default: all].
    #[arg(value_name = "EXP|RUN", value_parser = name_from_here)]
    pub experiments: Vec<String>,
    /// Filter by status (comma-separated).
    #[arg(long, value_enum, value_name = "STATUS", value_delimiter = ',')]
    pub status: Vec<RunState>,
    /// Show this metric, and only runs that have it [default: the headline metric of each run].
    #[arg(long, value_name = "METRIC", value_parser = timbre_runs::baseline_check::metric_named)]
    pub metric: Option<&'static str>,
    /// Only runs whose best trial satisfies this, e.g. `--where 'f1_micro>=0.6'` (repeatable).
    #[arg(long = "where", value_name = "METRIC>=X")]
    pub bounds: Vec<MetricBound>,
    /// Only runs started at or after this time: 2026-11-24, 2026-11-24T15:00 (UTC), or an age: 36h, 7d.
    #[arg(long, value_name = "WHEN")]
    pub since: Option<TimeBound>,
    /// Only runs started at or before this time; a date means the end of that day.
    #[arg(long, value_name = "WHEN")]
    pub until: Option<TimeBound>,
    /// Sort key.
    #[arg(long, value_enum, value_name = "KEY", default_value_t)]
    pub sort: SortBy,
    /// Reverse the order.
    #[arg(long)]
    pub reverse: bool,
    /// Limit the number of runs.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Remove runs with their models.
///
/// `latest` then points to the newest run that is left. A run that a process is working on stays. Runs that reused trials of a
/// removed run, and baselines saved from it, hold copies and stay valid.
#[derive(Debug, Args)]
pub struct RmArgs {
    /// Run folders, `experiment/latest`, or beginnings of signatures. All runs of an experiment: `runs/EXPERIMENT/*`.
    #[arg(value_name = "RUN", required = true, value_parser = name_from_here)]
    pub chosen: Vec<String>,
    #[command(flatten)]
    pub asking: ConfirmArgs,
}

/// Remove unfinished and superseded runs. Lists them with their sizes and asks first.
///
/// Removes runs that were stopped, killed or failed and not written to for --days; of several finished runs with one signature
/// all but the newest, at the same age; checkpoints of finished trials; and one hour after the last write, what killed
/// processes left: temporary files and half-removed runs. Never removes what a process is working on, nor the only finished
/// run of a signature. For the feature cache see `timbre cache gc`.
#[derive(Debug, Args)]
pub struct GcArgs {
    /// Keep every run that was written to within N days.
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub days: u64,
    #[command(flatten)]
    pub asking: ConfirmArgs,
}

#[derive(Debug, Args)]
pub struct ConfirmArgs {
    /// Do not ask for confirmation. Required without a terminal.
    #[arg(short, long, conflicts_with = "dry_run")]
    pub yes: bool,
    /// Show what would be removed, and remove nothing.
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// Repeat a finished run from its stored configuration, and compare its numbers.
///
/// Everything is fitted again in a temporary folder. Exit code 0: results.csv has the same numbers; 5: they differ by more than
/// --tolerance; 7: the stored configuration no longer leads to the stored signature, because the recordings or a stage of the
/// program have changed (the message names them). Differences in the environment are listed too. Features come from the cache:
/// pass an empty directory with --cache to compute them again.
#[derive(Debug, Args)]
pub struct ReproduceArgs {
    /// A run as in `compare`. `--set data.root=DIR` gives the new location of its recordings.
    #[arg(value_name = "RUN", value_parser = name_from_here)]
    pub run: String,
    /// Keep the new run, with its models, in this folder.
    #[arg(long, value_name = "DIR", value_parser = PathFromHere)]
    pub into: Option<PathBuf>,
    /// Largest accepted difference of a number. The CPU gives the same bits; a GPU does not.
    #[arg(long, value_name = "D", default_value_t = 0.0, allow_negative_numbers = true, value_parser = tolerance)]
    pub tolerance: f64,
    /// Device of the networks, as in `run` [default: the CPU if the run used it, else the first working GPU].
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<DeviceChoice>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub pool: ThreadArgs,
}

fn tolerance(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|number| *number >= 0.0).ok_or_else(|| "expected a number of 0 or more".to_owned())
}

#[derive(Debug, Subcommand)]
pub enum ExportCommand {
    /// Export to an MLflow file store: runs, parameters, metrics with epochs as steps, tags, and tables as artifacts.
    ///
    /// A run becomes an MLflow run with one nested run per trial. A repeated export replaces the earlier one.
    Mlflow {
        /// An empty or new folder, or an existing file store.
        #[arg(value_name = "DIR", value_parser = PathFromHere)]
        folder: PathBuf,
        /// Runs as in `compare` [default: all runs with results].
        #[arg(value_name = "RUN", value_parser = name_from_here)]
        chosen: Vec<String>,
        /// Copy the saved models too.
        #[arg(long)]
        models: bool,
    },
    /// Export a saved network to an ONNX file: features in, logits out, the front end in the metadata.
    Onnx {
        /// A run as in `compare`, and one of its models; without it, the model that `predict` uses.
        #[arg(value_name = "RUN[:MODEL]", value_parser = name_from_here)]
        name: String,
        /// The file to write.
        #[arg(long, value_name = "FILE", default_value = "model.onnx", value_parser = PathFromHere)]
        out: PathBuf,
    },
}
