//! Arguments of the commands that read an experiment file.

use clap::Args;

use crate::cli::project::name_from_here;
use timbre_models::device::DeviceChoice;

/// Arguments of `timbre evaluate`.
#[derive(Debug, Args)]
pub struct EvaluateArgs {
    /// A run, or one of its models: `resnet/latest`, `resnet/latest:mel.resnet18`.
    #[arg(value_name = "RUN[:MODEL]", value_parser = name_from_here)]
    pub run: String,
    /// Evaluate on another data set, by its name or as a folder: on every recording that the models were not trained on. Without it,
    /// on the recordings of the run; `--set evaluate.KEY=VALUE` then changes thresholds, windows and aggregation.
    #[arg(long, value_name = "NAME", value_parser = name_from_here)]
    pub data: Option<String>,
    /// Device of the networks: auto, cpu, cuda, wgpu.
    #[arg(long, value_name = "DEVICE", default_value_t)]
    pub device: DeviceChoice,
    /// Print one JSON object at the end and nothing else on stdout.
    #[arg(long)]
    pub json: bool,
    /// Evaluate again even if the same evaluation is finished.
    #[arg(long)]
    pub fresh: bool,
    #[command(flatten)]
    pub pool: ThreadArgs,
}

/// The experiment and its data set.
#[derive(Debug, Args)]
pub struct ExperimentArgs {
    /// A TOML file, or the name of one in `experiments`.
    #[arg(value_name = "EXP", value_parser = name_from_here)]
    pub experiment: String,

    /// Use another data set: its name (`--data demo`), a folder with one folder a class, or a table (`--data labels.csv`).
    #[arg(long, value_name = "NAME", value_parser = name_from_here)]
    pub data: Option<String>,
}

#[derive(Debug, Args)]
pub struct ThreadArgs {
    /// Number of threads [default: the cores that this process may use, or SLURM_CPUS_PER_TASK].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
}

/// Which points of a grid are run, and what happens when one fails.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Options for experiments with a [grid]")]
pub struct GridArgs {
    /// Continue with the other points after a failure (default).
    #[arg(long, conflicts_with = "fail_fast")]
    pub keep_going: bool,
    /// Start no further point after a failure.
    #[arg(long)]
    pub fail_fast: bool,
    /// Run only the points that failed before [default: all missing and failed points].
    #[arg(long)]
    pub retry_failed: bool,
    /// Run only points whose name contains PART or whose axis has this value, e.g. `--only k=3` (repeatable; all must match).
    #[arg(long, value_name = "PART|KEY=VALUE")]
    pub only: Vec<String>,
    /// Run N points at once; they share the threads. The same command in another terminal shares the points too.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub at_once: u16,
    /// Run one point at a time on each of these devices, e.g. `--devices cuda:0,cuda:1` [default: all points on `--device`].
    #[arg(long, value_name = "DEVICE,DEVICE", value_delimiter = ',', conflicts_with_all = ["at_once", "device"])]
    pub devices: Vec<DeviceChoice>,
}
