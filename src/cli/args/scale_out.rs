//! Arguments of the commands that divide work over machines: `plan`, `merge`, `collect`, `launch`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::examples;
use super::{ExperimentArgs, ThreadArgs};
use crate::cli::project::PathFromHere;
use crate::execution::scale_out::shard::{MAX_SHARDS, Shard};
use timbre_models::device::DeviceChoice;

/// Parses `--shard`; `auto` reads the environment.
pub fn shard(text: &str) -> Result<Shard, String> {
    Shard::parse(text, |name| std::env::var(name).ok())
}

/// How an experiment is divided into work items.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options for work items")]
pub struct ItemArgs {
    /// Divide the recordings into N shards, by the hashes of their paths [default: one for 1,000 recordings].
    #[arg(long, value_name = "N", value_parser = shard_count)]
    pub shards: Option<usize>,
    /// CPU cores, and threads, of each item.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub cpus: u16,
    /// Memory of each item in GiB [default: by what it holds].
    #[arg(long, value_name = "GIB", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub memory: Option<u32>,
    /// Device of the networks, as in `run`; with cpu no item asks for a GPU.
    #[arg(long, value_name = "DEVICE", default_value_t)]
    pub device: DeviceChoice,
    #[command(flatten)]
    pub parts: PartsArgs,
}

impl ItemArgs {
    /// Whether an option that has no default is given.
    pub fn is_chosen(&self) -> bool {
        self.shards.is_some() || self.memory.is_some() || self.parts.parts.is_some()
    }
}

fn shard_count(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=MAX_SHARDS).contains(count));
    count.ok_or_else(|| format!("1 to {MAX_SHARDS} shards are possible"))
}

#[derive(Clone, Debug, Args)]
pub struct PartsArgs {
    /// Directory of the parts and their manifests, which all machines share [default: `parts` in the directory of the cache].
    #[arg(long, value_name = "DIR", value_parser = PathFromHere)]
    pub parts: Option<PathBuf>,
}

/// Arguments of `timbre merge`.
#[derive(Debug, Args)]
pub struct MergeArgs {
    #[command(flatten)]
    pub target: ExperimentArgs,
    #[command(flatten)]
    pub parts: PartsArgs,
    /// Write the tables of trials that `run --only-trial` has finished, or list those that are missing.
    #[arg(long, conflicts_with = "parts")]
    pub trials: bool,
    /// Device of networks that predict again, as in `run`.
    #[arg(long, value_name = "DEVICE", default_value_t, requires = "trials")]
    pub device: DeviceChoice,
    #[command(flatten)]
    pub pool: ThreadArgs,
}

/// Arguments of `timbre collect`.
#[derive(Debug, Args)]
pub struct CollectArgs {
    #[command(flatten)]
    pub target: ExperimentArgs,
    /// Folders of runs of other machines, or projects with a folder `runs`.
    #[arg(value_name = "DIR", required = true, value_parser = PathFromHere)]
    pub folders: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum LaunchCommand {
    /// Submit the work items to Slurm as arrays: features, merge, trials, tables.
    ///
    /// Writes the scripts into `slurm` in the directory of the parts. All nodes must see the project, the directory of the parts and the
    /// directory of the runs under the same paths.
    Slurm(SlurmArgs),
    /// Run the work items on a Ray cluster, and wait for them.
    ///
    /// Needs Python with the package `ray` on this machine. All nodes must see the project, the directory of the parts and the directory of the
    /// runs under the same paths; the program is sent to them. The same command continues after failures.
    Ray(RayArgs),
    /// Print the work items as a file of another program.
    Emit(EmitArgs),
}

#[derive(Debug, Args)]
pub struct LaunchArgs {
    #[command(flatten)]
    pub target: ExperimentArgs,
    #[command(flatten)]
    pub items: ItemArgs,
    /// Run at most N items of an array at the same time [default: no limit; of GNU parallel 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub at_once: Option<u32>,
}

#[derive(Debug, Args)]
#[command(after_long_help = examples::LAUNCH_SLURM)]
pub struct SlurmArgs {
    #[command(flatten)]
    pub launch: LaunchArgs,
    /// What a trial of a network asks for.
    #[arg(long, value_name = "GRES", default_value = "gpu:1")]
    pub gres: String,
    /// An option for every sbatch script, e.g. `--sbatch=--partition=long` (repeatable).
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    pub sbatch: Vec<String>,
    /// Submit only shards and trials that are not finished, with the number of shards of the launch before.
    #[arg(long, conflicts_with = "shards")]
    pub retry: bool,
    /// Print the scripts and the sbatch commands instead of submitting.
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_long_help = examples::LAUNCH_RAY)]
pub struct RayArgs {
    #[command(flatten)]
    pub launch: LaunchArgs,
    /// The cluster: `auto`, HOST:PORT, or ray://HOST:PORT [default: a new one on this machine alone].
    #[arg(long, value_name = "ADDRESS")]
    pub address: Option<String>,
    /// The Python that has Ray.
    #[arg(long, value_name = "PATH", default_value = "python3")]
    pub python: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EmitFormat {
    /// Indexed Jobs for Kubernetes.
    K8s,
    /// A job definition file for HyperQueue.
    Hq,
    /// A shell script that calls GNU parallel.
    Parallel,
    /// A Snakefile.
    Snakemake,
}

#[derive(Debug, Args)]
#[command(after_long_help = examples::LAUNCH_EMIT)]
pub struct EmitArgs {
    #[command(flatten)]
    pub launch: LaunchArgs,
    /// The program that runs the items.
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: EmitFormat,
    /// The program in the commands.
    #[arg(long, value_name = "PATH", default_value = "timbre")]
    pub program: String,
    /// Container image with the program, for k8s.
    #[arg(long, value_name = "IMAGE", required_if_eq("format", "k8s"))]
    pub image: Option<String>,
    /// PersistentVolumeClaim with the project, which all nodes can write, for k8s.
    #[arg(long, value_name = "NAME", required_if_eq("format", "k8s"))]
    pub claim: Option<String>,
}
