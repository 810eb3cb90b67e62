//! The command line: what can be said, not what is done.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use timbre_evaluation::timeline;
use timbre_models::device::DeviceChoice;
use timbre_runs::baseline_check::{IssueKind, Tolerance};
use timbre_runs::listing::{MetricBound, RunState, SortBy, TimeBound};

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 failed; 2 it cannot be meant like this; 3 too many recordings are unusable; 4 nothing is selected or \
usable; 5 worse than the baseline, or numbers that differ; 6 points of a grid failed; 7 the recordings or the program are no \
longer those of the run; 75 stopped, to go on later.";

/// Experiments in audio classification: one TOML file in, tables out.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, after_long_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,

    #[command(flatten)]
    pub common: GlobalArgs,
}

/// Made by the first run.
pub const DEFAULT_RUNS: &str = "runs";
pub const DEFAULT_CACHE: &str = "data/.cache";

/// What every command understands.
#[derive(Debug, Args)]
pub struct GlobalArgs {
    /// Override one key of the experiment, e.g. `--set models.knn.k=3` or `--set data.root=DIR`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", global = true)]
    pub set: Vec<String>,

    /// Where runs are written and looked for.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_RUNS, global = true)]
    pub runs: PathBuf,

    /// Where features and made data are kept.
    #[arg(long, value_name = "DIR", env = "TIMBRE_CACHE", default_value = DEFAULT_CACHE, global = true)]
    pub cache: PathBuf,

    /// Say nothing but errors.
    #[arg(short, long, global = true)]
    pub quiet: bool,

    /// Say more; twice: everything.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
}

/// Which experiment, on which data.
#[derive(Debug, Args)]
pub struct ExperimentArgs {
    /// A TOML file, or the bare name of one in `experiments`.
    #[arg(value_name = "EXP")]
    pub experiment: String,

    /// Run it on another data set, e.g. `--data demo`.
    #[arg(long, value_name = "NAME")]
    pub data: Option<String>,
}

#[derive(Debug, Args)]
pub struct ThreadArgs {
    /// Threads; all cores unless told.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
}

/// What of a grid is run, and what happens when a point fails.
#[derive(Debug, Args)]
#[command(next_help_heading = "Of an experiment with a [grid]")]
pub struct GridArgs {
    /// When a point fails, the others are run all the same: so it is unless --fail-fast says otherwise.
    #[arg(long, conflicts_with = "fail_fast")]
    pub keep_going: bool,
    /// Begin no further point once one has failed.
    #[arg(long)]
    pub fail_fast: bool,
    /// Run only the points that failed before. Without it everything is run that is missing or has failed.
    #[arg(long)]
    pub retry_failed: bool,
    /// Run only the points with this in their name, or with this value of an axis (`--only k=3`); may be repeated, then all must
    /// hold.
    #[arg(long, value_name = "PART|KEY=VALUE")]
    pub only: Vec<String>,
    /// Run so many points at once; they share the threads. The same command in another terminal shares the points, too.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub at_once: u16,
}

/// What is to be heard of an experiment.
#[derive(Debug, Args)]
pub struct AugmentPreviewArgs {
    #[command(flatten)]
    pub target: ExperimentArgs,
    /// A training clip, by its path in the set or a part of it.
    #[arg(long, value_name = "CLIP")]
    pub clip: Option<String>,
    /// How many epochs, from the first on; 8 of one clip, or all of the training.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub count: Option<u32>,
    /// The folder that the files are written to.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// The network that hears; the first that has augmentations unless told.
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// One of the seeds of the experiment; the first unless told.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

/// Which runs are put side by side, and in which forms.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Run folders, `experiment/latest`, beginnings of signatures, or patterns (`'lr_*'`, `'lr/*'`); with `:MODEL` one of its
    /// models, e.g. `quickstart/latest:mel.knn`. The latest of each experiment unless told.
    #[arg(value_name = "RUN")]
    pub chosen: Vec<String>,
    /// The run (or `RUN:MODEL`) to which all others are compared; the first unless told.
    #[arg(long, value_name = "RUN")]
    pub reference: Option<String>,
    /// Show this metric, too, or `all`; may be repeated. The headline metric of the reference unless told.
    #[arg(long, value_name = "METRIC")]
    pub metric: Vec<String>,
    /// The side of the splits that is compared; `test` unless told.
    #[arg(long, value_name = "SPLIT")]
    pub split: Option<String>,
    /// Draws behind each interval and each p; 2000 unless told, 50 a test where there are more than 40.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    pub resamples: Option<u32>,
    /// Write the table to a CSV file, too.
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Write it as Markdown, too.
    #[arg(long, value_name = "FILE")]
    pub md: Option<PathBuf>,
    /// Write it as an HTML page, too.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    #[command(flatten)]
    pub figures: FigureArgs,
    /// Print the comparison as one JSON object and nothing else on stdout.
    #[arg(long, conflicts_with = "baseline")]
    pub json: bool,
}

/// FigureArgs as files of their own.
#[derive(Debug, Args)]
pub struct FigureArgs {
    /// Write each figure as a file of its own into this folder, too: as SVG, light and dark.
    #[arg(long, value_name = "DIR")]
    pub figures: Option<PathBuf>,
    /// Write these files as PNG, for slides and chats.
    #[arg(long, requires = "figures")]
    pub png: bool,
}

/// How predictions are told; for people unless told.
#[derive(Debug, Args)]
pub struct PredictOutputArgs {
    /// As one JSON object with every probability: `--format json`.
    #[arg(long, conflicts_with_all = ["csv", "format"])]
    pub json: bool,
    /// As CSV, the path, then one column a class: `--format csv`.
    #[arg(long, conflicts_with = "format")]
    pub csv: bool,
    /// The form; those about time need a model that hears windows (see --windows).
    #[arg(long, value_enum, value_name = "FORM", default_value_t = OutputFormat::Text)]
    pub format: OutputFormat,
    /// Write a file for each recording into this folder instead of printing.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Draw what is heard when below the spectrogram: into this file (.svg or .png), or into a folder an SVG for each recording.
    #[arg(long, value_name = "FILE|DIR")]
    pub plot: Option<PathBuf>,
    /// Draw PNG instead of SVG into the folder.
    #[arg(long, requires = "plot")]
    pub png: bool,
}

/// A form of predictions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// A line a recording, and below it a line a segment.
    Text,
    /// One object.
    Json,
    /// A line a recording, a column a class.
    Csv,
    /// CSV, a line a window.
    Windows,
    /// CSV, a line a segment.
    Segments,
    /// A label track for Audacity.
    Audacity,
    /// A JAMS 0.3 file, for tools of music research.
    Jams,
}

/// What of a recording is heard, and how windows become segments.
#[derive(Debug, Args)]
pub struct WindowArgs {
    /// Hear all of a recording in windows, also with a model that was judged on clips: as long as its clips, a second apart.
    #[arg(long)]
    pub windows: bool,
    /// Length of a window; takes --windows for granted. Networks hear no other length than they were trained on.
    #[arg(long, value_name = "SECONDS")]
    pub window: Option<f64>,
    /// From one window to the next; takes --windows for granted.
    #[arg(long, value_name = "SECONDS")]
    pub hop: Option<f64>,
    /// A segment begins with a window of a higher probability than this. The model's cut-offs unless told.
    #[arg(long, value_name = "P")]
    pub on: Option<f64>,
    /// A segment ends with a window of a lower probability than this. 0.8 of --on unless told.
    #[arg(long, value_name = "P")]
    pub off: Option<f64>,
    /// Gaps of at most so long within a class are filled.
    #[arg(long, value_name = "SECONDS", default_value_t = timeline::MAX_GAP_SECONDS)]
    pub bridge: f64,
    /// Shorter segments are dropped.
    #[arg(long, value_name = "SECONDS", default_value_t = timeline::MIN_SEGMENT_SECONDS)]
    pub shortest: f64,
}

/// Which runs are listed, and in which order.
#[derive(Debug, Args)]
pub struct RunsArgs {
    /// Experiments, `*` and `?` allowed (in quotes); all unless told.
    #[arg(value_name = "EXP")]
    pub experiments: Vec<String>,
    /// Only runs that ended so; several with commas.
    #[arg(long, value_enum, value_name = "STATUS", value_delimiter = ',')]
    pub status: Vec<RunState>,
    /// Show this metric instead of each run's headline, and only runs that have it.
    #[arg(long, value_name = "METRIC", value_parser = timbre_runs::baseline_check::metric_named)]
    pub metric: Option<&'static str>,
    /// Only runs whose best unit does so well, e.g. `--where 'f1_micro>=0.6'`; may be repeated.
    #[arg(long = "where", value_name = "METRIC>=X")]
    pub bounds: Vec<MetricBound>,
    /// Only runs that began then or later: 2026-11-24, 2026-11-24T15:00 (UTC), or so long ago: 36h, 7d.
    #[arg(long, value_name = "WHEN")]
    pub since: Option<TimeBound>,
    /// Only runs that began then or earlier; of a day its end.
    #[arg(long, value_name = "WHEN")]
    pub until: Option<TimeBound>,
    /// In which order.
    #[arg(long, value_enum, value_name = "KEY", default_value_t)]
    pub sort: SortBy,
    /// The other way round.
    #[arg(long)]
    pub reverse: bool,
    /// No more than these.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// As one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// A run held against a baseline.
#[derive(Debug, Args)]
pub struct BaselineArgs {
    /// Hold the run against this one, a run or a file of `timbre baseline save`: worse ends with code 5.
    #[arg(long, value_name = "RUN|FILE.json")]
    pub baseline: Option<String>,
    /// How much worse a metric may be, e.g. `--tolerance f1_micro=0.01`; may be repeated. The headline metric by nothing
    /// unless told.
    #[arg(long, value_name = "METRIC=NUMBER", requires = "baseline")]
    pub tolerance: Vec<Tolerance>,
    /// What is no reason to fail; several with commas. It is said nevertheless.
    #[arg(long, value_enum, value_name = "WHAT", value_delimiter = ',', requires = "baseline")]
    pub allow: Vec<IssueKind>,
    /// Append the judgement as Markdown, e.g. to "$GITHUB_STEP_SUMMARY".
    #[arg(long, value_name = "FILE", requires = "baseline")]
    pub summary: Option<PathBuf>,
    /// Write the judgement as JUnit XML.
    #[arg(long, value_name = "FILE", requires = "baseline")]
    pub junit: Option<PathBuf>,
    /// Print lines that a CI shows beside the code; for GitHub unless told where GITHUB_ACTIONS is set.
    #[arg(long, value_enum, value_name = "CI", requires = "baseline")]
    pub annotate: Option<Annotate>,
}

/// Whose lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Annotate {
    /// `::error file=…::…`
    Github,
    /// None.
    None,
}

#[derive(Debug, Subcommand)]
pub enum BaselineCommand {
    /// Write how well a run does into a small JSON file, fit for git.
    Save {
        /// A run as in `compare`.
        #[arg(value_name = "RUN")]
        run: String,
        /// The file. One that says the same already is left alone.
        #[arg(long, value_name = "FILE.json")]
        out: PathBuf,
    },
}

/// What is served, where and to whom.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Runs as in `compare`; with `:MODEL` one of its models, e.g. `quickstart/latest:mel.logistic.s1`, left out: the best on
    /// the validation split; with `=WEIGHT` a member of the ensemble that all with a weight make up, e.g. `a/latest=0.6`.
    #[arg(value_name = "RUN[:MODEL][=WEIGHT]", required = true)]
    pub chosen: Vec<String>,
    /// Where to listen. With port 0 the system picks one; the address is the first line on stdout.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    pub addr: String,
    /// Hear all of a recording in windows, also with a model that was judged on clips, as in `predict`.
    #[arg(long)]
    pub windows: bool,
    /// A site whose pages may use the API, e.g. `https://example.org`; may be repeated. None unless told.
    #[arg(long, value_name = "ORIGIN")]
    pub allow_origin: Vec<String>,
    /// What a network computes on, as in `run`.
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceChoice::Cpu)]
    pub device: DeviceChoice,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run an experiment and print its grid.
    Run {
        #[command(flatten)]
        target: ExperimentArgs,
        #[command(flatten)]
        pool: ThreadArgs,
        /// What networks compute on: auto (the first GPU that works, else the CPU), cpu, cuda, wgpu, or one GPU by its number,
        /// e.g. cuda:1. All other models compute on the CPU.
        #[arg(long, value_name = "DEVICE", default_value_t)]
        device: DeviceChoice,
        /// Print one JSON object at the end and nothing else on stdout.
        #[arg(long)]
        json: bool,
        /// Run again even if this very run is finished.
        #[arg(long)]
        fresh: bool,
        /// Only say what would be done, as `plan` does, and print the layers of each network.
        #[arg(long, conflicts_with = "json")]
        dry_run: bool,
        #[command(flatten)]
        grid_args: GridArgs,
    },
    /// Look on while a grid or a run is at work in another terminal; ends when it does.
    Watch {
        /// The experiment; the one that is at work unless told.
        #[arg(value_name = "EXP")]
        experiment: Option<String>,
    },
    /// Say what is wrong with an experiment, or what it would do.
    Check {
        #[command(flatten)]
        target: ExperimentArgs,
    },
    /// Say what an experiment would do.
    Plan {
        #[command(flatten)]
        target: ExperimentArgs,
        /// As one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Compute the features of an experiment and no more.
    Features {
        #[command(flatten)]
        target: ExperimentArgs,
        #[command(flatten)]
        pool: ThreadArgs,
    },
    /// Put runs side by side: what differs in their configuration, what they score, and whether the difference may be luck.
    Compare {
        #[command(flatten)]
        what: CompareArgs,
        #[command(flatten)]
        gate: BaselineArgs,
    },
    /// Say what differs between two runs: configuration, data, environment, scores of classes, clips that changed sides.
    Diff {
        /// A run as in `compare`; with `:MODEL` one of its models, e.g. `quickstart/latest:mel.knn`.
        #[arg(value_name = "A")]
        one: String,
        #[arg(value_name = "B")]
        other: String,
        /// As one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Search cut-off and window fraction of a finished run of several labels. It needs no model, only what the run wrote.
    ///
    /// `--set evaluate.search.KEY=VALUE` says what is tried, e.g. `--set evaluate.search.cutoff=0.30..0.80/0.02`.
    Thresholds {
        /// A run as in `compare`; with `:UNIT` one of its units, e.g. `resnet_windows/latest:mel.resnet18.s1`.
        #[arg(value_name = "RUN")]
        run: String,
        /// The metric that chooses: a score of decisions, such as f1_micro or hamming.
        #[arg(long, value_name = "METRIC")]
        metric: Option<String>,
        /// Choose on the test split. What it scores there is then no result, and every table says so.
        #[arg(long)]
        on_test: bool,
        /// Print the content of thresholds.json and nothing else on stdout.
        #[arg(long)]
        json: bool,
    },
    /// Write the report of a run again: report.html and report.md in its folder, as every run does at its end.
    Report {
        /// A run as in `compare`.
        #[arg(value_name = "RUN")]
        run: String,
        /// Where the recordings lie that can be seen and heard in it; where the run found them unless told.
        #[arg(long, value_name = "DIR")]
        recordings: Option<PathBuf>,
        #[command(flatten)]
        figures: FigureArgs,
    },
    /// List the runs: what was run when, how it ended, and how well its best unit does.
    Runs(RunsArgs),
    /// Baselines that later runs are held against (`compare RUN --baseline FILE`).
    #[command(subcommand)]
    Baseline(BaselineCommand),
    /// Say what a saved model of a run hears in recordings.
    ///
    /// A model that was judged on windows hears all of a recording, of hours too, in the same windows, and says what is heard
    /// when. For any other, a recording longer than the clips of the run is cropped exactly as there (`audio.clip_seconds`,
    /// `audio.crop`), and only that part is heard, unless --windows is given.
    Predict {
        /// A run as in `compare`; with `:MODEL` one of its models, e.g. `quickstart/latest:mel.logistic.s1`. Left out: the
        /// best on the validation split.
        #[arg(value_name = "RUN")]
        run: String,
        /// Recordings, folders of recordings, or `-` for a recording on stdin.
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        /// What a network computes on, as in `run`.
        #[arg(long, value_name = "DEVICE", default_value_t = DeviceChoice::Cpu)]
        device: DeviceChoice,
        #[command(flatten)]
        listening: WindowArgs,
        #[command(flatten)]
        form: PredictOutputArgs,
        #[command(flatten)]
        pool: ThreadArgs,
    },
    /// Let saved models hear recordings over HTTP: a page and an API.
    ///
    /// Recordings are heard as `predict` hears them: in windows, or cropped as in the run (`audio.clip_seconds`, `audio.crop`).
    /// With TIMBRE_TOKEN in the environment, the API wants that token.
    Serve(ServeArgs),
    Rm(Rm),
    Gc(Gc),
    Reproduce(Reproduce),
    /// Write runs as other tools keep them.
    #[command(subcommand)]
    Export(ExportCommand),
    /// Print what lets a shell complete the words of this program.
    ///
    /// For bash: `timbre completions bash > ~/.local/share/bash-completion/completions/timbre`; for zsh, into a folder of its
    /// $fpath: `timbre completions zsh > _timbre`; for fish: `timbre completions fish > ~/.config/fish/completions/timbre.fish`.
    Completions {
        #[arg(value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
    /// Print the manual page: `timbre man | man -l -`.
    Man {
        /// Write a page a command into this folder instead.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Data sets.
    #[command(subcommand)]
    Data(DataCommand),
    /// The feature cache.
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Say what this machine offers: devices, memory, instructions, data, disk.
    Doctor {
        /// As one JSON object.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// The data sets that are described in `data`, and whether they are on disk.
    List,
    /// Make a data set that the program can make itself, as WAV files.
    Make {
        /// The set: `demo`.
        name: String,
        /// Where to: a folder that does not exist yet.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Training clips of each of the eleven classes.
        #[arg(long, value_name = "N")]
        clips_per_class: Option<usize>,
    },
    /// Read every recording of a set: what is unusable, and which recordings are there twice.
    Check { name: String },
    /// Clips, songs, seconds and rates of a set, by class.
    Describe { name: String },
    /// Write what a network would hear of a training clip: sounds, pictures of before and after, and the draws.
    ///
    /// The sounds are to the bit what its training hears in its first epochs. Without `--clip`, only the draws of all training
    /// clips are written, for a model's key `replay`.
    Augment {
        #[command(flatten)]
        what: AugmentPreviewArgs,
        #[command(flatten)]
        pool: ThreadArgs,
    },
}

#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// How much lies in the cache.
    Show,
    /// Remove features that no run has written for some days.
    Gc {
        /// Keep what was written within this many days.
        #[arg(long, value_name = "N", default_value_t = 30)]
        days: u64,
        /// Remove everything that no process is writing.
        #[arg(long, conflicts_with = "days")]
        all: bool,
    },
}

/// Remove runs with their models, and let `latest` point to the newest that is left.
///
/// A run that a process is at work on stays. Runs that took units over from a removed one, and baselines that were saved from
/// it, have copies and need nothing of it.
#[derive(Debug, Args)]
pub struct Rm {
    /// Run folders, `experiment/latest`, or beginnings of signatures. All runs of an experiment: `runs/EXPERIMENT/*`.
    #[arg(value_name = "RUN", required = true)]
    pub chosen: Vec<String>,
    #[command(flatten)]
    pub asking: ConfirmArgs,
}

/// Remove what nobody misses from the folder of runs: it says what and how many bytes, and asks before it does.
///
/// Runs that were stopped, killed or failed and that nothing was written to for --days; of several finished runs of one signature
/// all but the youngest, as old as that; checkpoints of what is finished; and an hour after the last write what killed processes left:
/// temporary files, half-removed runs. Never what a process is at work on, and never the only finished run of its signature.
/// Features are not runs: see `timbre cache gc`.
#[derive(Debug, Args)]
pub struct Gc {
    /// Keep every run that was written to within this many days.
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub days: u64,
    #[command(flatten)]
    pub asking: ConfirmArgs,
}

/// How sure one is.
#[derive(Debug, Args)]
pub struct ConfirmArgs {
    /// Do not ask. Needed where there is no terminal to ask on.
    #[arg(short, long, conflicts_with = "dry_run")]
    pub yes: bool,
    /// Only say what would be removed.
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// Run a finished run once more, from its stored configuration, and compare its numbers.
///
/// Everything is fitted anew in a temporary folder. Code 0: the numbers of results.csv are the same; 5: they differ by more than
/// --tolerance; 7: the stored configuration does not lead to the stored signature, because the recordings or a stage of the program
/// are no longer the same, and it says which. What differs in the environment is told, too.
/// Features come from the cache: name an empty one with --cache to compute them anew.
#[derive(Debug, Args)]
pub struct Reproduce {
    /// A run as in `compare`. `--set data.root=DIR` says where its recordings lie now.
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Keep the new run, with its models, in this folder.
    #[arg(long, value_name = "DIR")]
    pub into: Option<PathBuf>,
    /// How far a number may be from what it was. The CPU gives the same bits; a GPU does not.
    #[arg(long, value_name = "D", default_value_t = 0.0, allow_negative_numbers = true, value_parser = tolerance)]
    pub tolerance: f64,
    /// What networks compute on, as in `run`. The CPU if that is what the run was made on, else the first GPU that works.
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<DeviceChoice>,
    /// As one JSON object.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub pool: ThreadArgs,
}

fn tolerance(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().map_err(|_| "it is no number".to_owned())?;
    if number >= 0.0 { Ok(number) } else { Err("it is no number of 0 or more".to_owned()) }
}

#[derive(Debug, Subcommand)]
pub enum ExportCommand {
    /// In the layout of MLflow's file store: runs, parameters, metrics with epochs as steps, tags, and the tables as artifacts.
    ///
    /// A run becomes a run of MLflow, and below it a run for each of its units. What is exported again takes its own place.
    Mlflow {
        /// An empty folder, a new one, or a file store.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Runs as in `compare`; all with results unless told.
        #[arg(value_name = "RUN")]
        chosen: Vec<String>,
        /// Copy the saved models, too.
        #[arg(long)]
        models: bool,
    },
    /// Not yet: it says what to do instead.
    Onnx {
        #[arg(value_name = "RUN")]
        chosen: Vec<String>,
    },
}
