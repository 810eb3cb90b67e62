//! The arguments of the command line, and their help texts.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::project::{PathFromHere, name_from_here};
use crate::execution::run::FeatureFormat;
use crate::execution::scale_out::shard::Shard;
use timbre_inputs::features::cache::shared::SharedCache;
use timbre_models::device::DeviceChoice;

mod comparison;
mod data;
pub mod examples;
mod experiment;
mod inference;
mod program;
pub mod reference;
mod runs;
mod scale_out;

pub use comparison::{Annotate, BaselineArgs, BaselineCommand, CompareArgs, FigureArgs, Length};
pub use data::{AugmentPreviewArgs, CacheCommand, Chosen, DataCommand, GetArgs, LabelStudioCommand, SuspectsArgs};
pub use experiment::{EvaluateArgs, ExperimentArgs, GridArgs, ThreadArgs};
pub use inference::{OutputFormat, PredictOutputArgs, ServeArgs, WindowArgs};
pub use program::{parse, program};
pub use runs::{ConfirmArgs, ExportCommand, GcArgs, ReproduceArgs, RmArgs, RunsArgs};
pub use scale_out::{
    CollectArgs, EmitArgs, EmitFormat, ItemArgs, LaunchArgs, LaunchCommand, MergeArgs, PartsArgs, RayArgs, SlurmArgs,
};

/// Run audio classification experiments from TOML files.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, after_long_help = exit_codes())]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,

    #[command(flatten)]
    pub common: GlobalArgs,
}

/// The exit codes, as the end of `timbre --help`.
fn exit_codes() -> String {
    let codes = reference::EXIT_CODES.iter().map(|(code, meaning)| format!("  {code:2}  {meaning}"));
    format!("Exit codes:\n{}", codes.collect::<Vec<_>>().join("\n").replace('`', ""))
}

/// The first run creates it.
pub const DEFAULT_RUNS: &str = "runs";
pub const DEFAULT_CACHE: &str = "data/.cache";

/// Options of every command.
#[derive(Debug, Args)]
pub struct GlobalArgs {
    /// Directory of the project [default: the nearest directory upwards with `experiments/*.toml`, else the current one].
    // `project::enter` reads it before the other arguments are parsed.
    #[arg(long, value_name = "DIR", global = true)]
    pub project: Option<PathBuf>,

    /// Override a key of the experiment, e.g. `--set models.knn.k=3` or `--set data.root=DIR` (repeatable).
    #[arg(long = "set", value_name = "KEY=VALUE", global = true)]
    pub set: Vec<String>,

    /// Directory of the runs.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_RUNS, global = true)]
    pub runs: PathBuf,

    /// Directory of the feature cache and of generated data sets; or a URL (`s3://bucket/prefix`) of features that machines share.
    #[arg(long, value_name = "DIR", env = "TIMBRE_CACHE", default_value = DEFAULT_CACHE, global = true)]
    pub cache: PathBuf,

    /// `cache`, where it is a URL: `cache` then is the default directory.
    #[arg(skip)]
    pub shared_cache: Option<SharedCache>,

    /// In CSV files, put an apostrophe before names that a spreadsheet would compute as a formula.
    #[arg(long, env = "TIMBRE_ESCAPE_FORMULAS", value_parser = clap::builder::FalseyValueParser::new(), global = true, hide_short_help = true)]
    pub escape_formulas: bool,

    /// Suppress progress output; print results and errors only.
    #[arg(short, long, global = true)]
    pub quiet: bool,

    /// Print more: -v the time of each stage and model, and why features are computed; -vv also the augmentations of each example.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
}

impl GlobalArgs {
    /// Moves a URL out of `cache`.
    pub fn divide_cache(&mut self) -> Result<(), anyhow::Error> {
        if let Some(shared) = self.cache.to_str().and_then(SharedCache::at) {
            self.shared_cache = Some(shared?);
            self.cache = PathBuf::from(DEFAULT_CACHE);
        }
        Ok(())
    }

    /// The value of `--cache` for another command.
    pub fn cache_option(&self) -> PathBuf {
        self.shared_cache.as_ref().map_or_else(|| self.cache.clone(), |shared| PathBuf::from(shared.to_string()))
    }
}

/// What `timbre list` lists.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Listed {
    /// Experiments of the project and built-in ones.
    Experiments,
    /// Kinds of features.
    Features,
    /// Kinds of models.
    Models,
    /// Kinds of augmentations.
    Augmentations,
    /// Metrics of the evaluation.
    Metrics,
    /// Data sets.
    Data,
}

/// What `timbre completions --values` prints.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum CompletedValues {
    /// Experiments of the project and built-in ones.
    Experiments,
    /// Experiments with runs, and run folders.
    Runs,
    /// Runs, and the models of the newest run of each experiment.
    Models,
    /// Metrics.
    Metrics,
    /// Data sets.
    Data,
    /// The keys of the experiment --of, for --set.
    Keys,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a project: a first experiment, a data folder, a Makefile.
    Init {
        /// The directory; files that exist are kept.
        #[arg(value_name = "DIR", default_value = ".", value_parser = PathFromHere)]
        dir: PathBuf,
    },
    /// Copy an experiment to a new file in `experiments`.
    New {
        /// Name of the new experiment.
        name: String,
        /// The experiment to copy: see `timbre list experiments`.
        #[arg(long, value_name = "EXP", default_value = "quickstart")]
        from: String,
    },
    /// List experiments, features, models, augmentations, metrics or data sets.
    List {
        /// What to list.
        #[arg(value_enum)]
        what: Listed,
    },
    /// List experiments: `timbre list experiments`.
    Experiments,
    /// Show all keys of a table of an experiment file, with their documentation and defaults, as TOML.
    Show {
        /// A table or key, e.g. `models.resnet18`, `features.mel.n_mels`, `evaluate`.
        key: String,
    },
    /// Run an experiment and print its score grid.
    #[command(after_long_help = examples::RUN)]
    Run {
        #[command(flatten)]
        target: ExperimentArgs,
        #[command(flatten)]
        pool: ThreadArgs,
        /// Device of the networks: auto (the first working GPU, else the CPU), cpu, cuda, wgpu, or a GPU by number, e.g.
        /// cuda:1. All other models use the CPU.
        #[arg(long, value_name = "DEVICE", default_value_t)]
        device: DeviceChoice,
        /// Print one JSON object at the end and nothing else on stdout.
        #[arg(long)]
        json: bool,
        /// Run again even if the same run is finished.
        #[arg(long)]
        fresh: bool,
        /// Show what would be done, as `plan` does, and the layers of each network.
        #[arg(long, conflicts_with = "json")]
        dry_run: bool,
        /// Only fit and evaluate one trial, such as mel.knn.s1, or 3/mel.knn.s1 of point 3 of a grid, while other processes work on others.
        /// `timbre merge --trials` then writes the tables.
        #[arg(long, value_name = "ID", conflicts_with_all = ["json", "fresh", "dry_run", "only", "retry_failed", "fail_fast", "keep_going", "at_once", "devices"])]
        only_trial: Option<String>,
        #[command(flatten)]
        grid_args: GridArgs,
    },
    /// Evaluate the saved models of a run on other recordings, or with other thresholds and windows. Fits nothing, and writes a run of its own:
    /// `timbre compare` tests the two against each other.
    #[command(after_long_help = examples::EVALUATE)]
    Evaluate(EvaluateArgs),
    /// Follow a running experiment from another terminal.
    Watch {
        /// The experiment [default: the one that is running].
        #[arg(value_name = "EXP")]
        experiment: Option<String>,
    },
    /// Validate an experiment and look at its recordings, without decoding them.
    ///
    /// Ends with the exit code that a run would have, as far as it is known.
    #[command(after_long_help = examples::CHECK)]
    Check {
        #[command(flatten)]
        target: ExperimentArgs,
        /// Print one JSON object: the errors with file, line, column, key, message and help, or what a run would do, as `plan --json`.
        #[arg(long)]
        json: bool,
    },
    /// Show what a run would compute; of a grid also the estimated cost.
    #[command(after_long_help = examples::PLAN)]
    Plan {
        #[command(flatten)]
        target: ExperimentArgs,
        /// Print one JSON object, with the work items that several machines can run (docs/scale.md).
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        items: ItemArgs,
    },
    /// Compute the features of an experiment into the cache, without training.
    #[command(after_long_help = examples::FEATURES)]
    Features {
        #[command(flatten)]
        target: ExperimentArgs,
        /// Also write the features of every recording to this folder, with `recordings.csv` for the order of the rows. With `--plot`: the
        /// folder of the figure [default: that of the project].
        #[arg(long, value_name = "DIR", value_parser = PathFromHere)]
        out: Option<PathBuf>,
        /// `npy`: an array of recordings, bands and frames. `parquet`: a table with one matrix per row.
        #[arg(long, value_enum, default_value_t = FeatureFormat::Npy, requires = "out", conflicts_with = "plot")]
        format: FeatureFormat,
        /// Only draw each feature of one recording, with axes in seconds and Hz: its path in the data set, or a part of it.
        #[arg(long, value_name = "CLIP")]
        plot: Option<String>,
        /// Draw as PNG [default: SVG].
        #[arg(long, requires = "plot")]
        png: bool,
        /// Only compute shard i of n, counted from 0: the recordings whose paths hash to it, as a part that `timbre merge` takes in. `auto`
        /// and `auto/n` take the number from Slurm, HyperQueue, Kubernetes or RANK.
        #[arg(long, value_name = "I/N", value_parser = scale_out::shard, conflicts_with_all = ["out", "plot"])]
        shard: Option<Shard>,
        #[command(flatten)]
        parts: PartsArgs,
        #[command(flatten)]
        pool: ThreadArgs,
    },
    /// Bring the work of several machines together: the parts of all shards into the feature cache, or finished trials into tables.
    ///
    /// Prints the shards that are missing as the specification of an array job (`3,17,40-44`), and ends with exit code 6.
    #[command(after_long_help = examples::MERGE)]
    Merge(MergeArgs),
    /// Copy finished trials from folders of runs that the machines did not share.
    ///
    /// Trials of other recordings, configurations or versions are left where they are. Prints the trials that are still missing, and ends with
    /// exit code 6 if there are any.
    #[command(after_long_help = examples::COLLECT)]
    Collect(CollectArgs),
    /// Run the work of an experiment on many machines, by Slurm and other programs.
    #[command(subcommand)]
    Launch(LaunchCommand),
    /// Compare runs: configuration, scores, and significance tests.
    #[command(after_long_help = examples::COMPARE)]
    Compare {
        #[command(flatten)]
        what: CompareArgs,
        #[command(flatten)]
        check: BaselineArgs,
    },
    /// Show the differences between two runs: configuration, data, environment, class scores, changed predictions.
    #[command(after_long_help = examples::DIFF)]
    Diff {
        /// A run as in `compare`; with `:MODEL` one of its models, e.g. `quickstart/latest:mel.knn`.
        #[arg(value_name = "A", value_parser = name_from_here)]
        one: String,
        /// The other run, or one of its models.
        #[arg(value_name = "B", value_parser = name_from_here)]
        other: String,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Search the threshold and window fraction of a finished multi-label run.
    ///
    /// Uses the stored predictions; no model is loaded. `--set evaluate.search.KEY=VALUE` sets the search space, e.g.
    /// `--set evaluate.search.cutoff=0.30..0.80/0.02`.
    #[command(after_long_help = examples::THRESHOLDS)]
    Thresholds {
        /// A run as in `compare`; with `:MODEL` one of its models, e.g. `resnet_windows:mel.resnet18`.
        #[arg(value_name = "RUN", value_parser = name_from_here)]
        run: String,
        /// The metric to optimize: a score of decisions, such as f1_micro or hamming.
        #[arg(long, value_name = "METRIC")]
        metric: Option<String>,
        /// Search on the test split. The resulting test score is optimistic, and every table says so.
        #[arg(long)]
        on_test: bool,
        /// Print the content of thresholds.json and nothing else on stdout.
        #[arg(long)]
        json: bool,
    },
    /// Rewrite report.html and report.md of a run, or grid.html of a sweep.
    #[command(after_long_help = examples::REPORT)]
    Report {
        /// A run as in `compare`, or the experiment of a sweep.
        #[arg(value_name = "RUN", value_parser = name_from_here)]
        run: String,
        /// Directory with the recordings to embed [default: as in the run].
        #[arg(long, value_name = "DIR", value_parser = PathFromHere)]
        recordings: Option<PathBuf>,
        #[command(flatten)]
        figures: FigureArgs,
    },
    /// List runs with their status and best score.
    #[command(after_long_help = examples::RUNS)]
    Runs(RunsArgs),
    /// Manage baselines for `compare RUN --baseline FILE`.
    #[command(subcommand)]
    Baseline(BaselineCommand),
    /// Classify recordings with a saved model.
    ///
    /// Classifies whole recordings in windows, whatever their length, and reports when each class is present: in the windows of the
    /// run, or in windows as long as its clips. With --clip, a model that was evaluated on clips classifies one clip of each
    /// recording, cropped as in the run (`audio.clip_seconds`, `audio.crop`). The output says which part was used.
    #[command(after_long_help = examples::PREDICT)]
    Predict {
        /// A run as in `compare`; with `:MODEL` one of its models, e.g. `quickstart:mel.logistic` [default: the
        /// best model on the validation split].
        #[arg(value_name = "RUN", value_parser = name_from_here)]
        run: String,
        /// Recordings, folders of recordings, URLs of either, or `-` for a recording on stdin.
        #[arg(value_name = "FILE", required = true, value_parser = PathFromHere)]
        files: Vec<PathBuf>,
        /// Device of a network: cpu (the bits of a run on the CPU), auto (the first working GPU), cuda, wgpu, or a GPU by number.
        #[arg(long, value_name = "DEVICE", default_value_t = DeviceChoice::Cpu)]
        device: DeviceChoice,
        #[command(flatten)]
        windows: WindowArgs,
        #[command(flatten)]
        form: PredictOutputArgs,
        #[command(flatten)]
        pool: ThreadArgs,
    },
    /// Serve saved models over HTTP (web page and API).
    ///
    /// Recordings are classified as by `predict`: in the windows of the run, or one clip of each, cropped as in the run
    /// (`audio.clip_seconds`, `audio.crop`), unless --windows is given. Responses say which part was used.
    /// If TIMBRE_TOKEN is set in the environment, API requests must carry that token.
    #[command(after_long_help = examples::SERVE)]
    Serve(ServeArgs),
    Rm(RmArgs),
    Gc(GcArgs),
    Reproduce(ReproduceArgs),
    /// Export runs to other tools' formats.
    #[command(subcommand)]
    Export(ExportCommand),
    /// Generate shell completions.
    ///
    /// Completes commands, options and (in bash, zsh and fish) the names of experiments, runs, models, metrics, data sets and keys.
    ///
    /// For bash: `timbre completions bash > ~/.local/share/bash-completion/completions/timbre`; for zsh, into a folder of its
    /// $fpath: `timbre completions zsh > _timbre`; for fish: `timbre completions fish > ~/.config/fish/completions/timbre.fish`.
    Completions {
        /// The shell to generate completions for.
        #[arg(value_name = "SHELL", required_unless_present = "values")]
        shell: Option<clap_complete::Shell>,
        /// Print the names that can be completed instead, one per line: the scripts of bash, zsh and fish ask for them.
        #[arg(long, value_enum, value_name = "WHAT", conflicts_with = "shell")]
        values: Option<CompletedValues>,
        /// The experiment whose keys are printed.
        #[arg(long, value_name = "EXP", requires = "values")]
        of: Option<String>,
    },
    /// Print the manual page: `timbre man | man -l -`.
    Man {
        /// Write one page per command into this folder instead.
        #[arg(long, value_name = "DIR", value_parser = PathFromHere)]
        out: Option<PathBuf>,
        /// Print the reference of all commands as Markdown instead.
        #[arg(long, conflicts_with = "out")]
        markdown: bool,
    },
    /// Manage data sets.
    #[command(subcommand)]
    Data(DataCommand),
    /// Manage the feature cache.
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Show what this machine offers: devices, memory, SIMD instructions, data sets, disk space.
    Doctor {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
}

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::{parse, program};

    #[test]
    fn the_examples_of_the_help_texts_are_valid_commands() {
        let mut command = program();
        command.build();
        let mut examples = 0;
        for subcommand in command.get_subcommands() {
            let Some(help) = subcommand.get_after_long_help().map(ToString::to_string) else { continue };
            for line in help.lines().skip(1) {
                // After two spaces is a remark.
                let example =
                    line[line.find("timbre ").expect("every line has a command")..].split("  ").next().unwrap();
                let example = example.split(" | ").next().unwrap().split(" > ").next().unwrap().replace('\'', "");
                let words: Vec<&str> = example.split_whitespace().collect();
                assert_eq!(words[1], subcommand.get_name(), "{line}");
                assert!(parse(&words.iter().map(Into::into).collect::<Vec<_>>()).is_ok(), "{line}");
                examples += 1;
            }
        }
        assert!(examples > 20);
    }

    #[test]
    fn the_argument_definitions_are_consistent() {
        program().debug_assert();
    }

    #[test]
    fn every_command_and_argument_has_help_and_is_listed() {
        fn check(command: &Command) {
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{}: {}", command.get_name(), argument.get_id());
            }
            for child in command.get_subcommands() {
                assert!(child.get_about().is_some() && !child.is_hide_set(), "{}", child.get_name());
                check(child);
            }
        }
        check(&program());
    }
}
