//! The command line: what can be said, not what is done.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::models::device::DeviceChoice;
use crate::timeline;

/// Experiments in audio classification: one TOML file in, tables out.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,

    #[command(flatten)]
    pub common: Common,
}

/// What every command understands.
#[derive(Debug, Args)]
pub struct Common {
    /// Override one key of the experiment, e.g. `--set models.knn.k=3` or `--set data.root=DIR`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", global = true)]
    pub set: Vec<String>,

    /// Where runs are written and looked for.
    #[arg(long, value_name = "DIR", default_value = "runs", global = true)]
    pub runs: PathBuf,

    /// Where features and made data are kept.
    #[arg(long, value_name = "DIR", env = "TIMBRE_CACHE", default_value = "data/.cache", global = true)]
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
pub struct Target {
    /// A TOML file, or the bare name of one in `experiments`.
    #[arg(value_name = "EXP")]
    pub experiment: String,

    /// Run it on another data set, e.g. `--data demo`.
    #[arg(long, value_name = "NAME")]
    pub data: Option<String>,
}

#[derive(Debug, Args)]
pub struct Pool {
    /// Threads; all cores unless told.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
}

/// What is to be heard of an experiment.
#[derive(Debug, Args)]
pub struct Rehearse {
    #[command(flatten)]
    pub target: Target,
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

/// How predictions are told; for people unless told.
#[derive(Debug, Args)]
pub struct PredictAs {
    /// As one JSON object with every probability: `--format json`.
    #[arg(long, conflicts_with_all = ["csv", "format"])]
    pub json: bool,
    /// As CSV, the path, then one column a class: `--format csv`.
    #[arg(long, conflicts_with = "format")]
    pub csv: bool,
    /// The form; those about time need a model that hears windows (see --windows).
    #[arg(long, value_enum, value_name = "FORM", default_value_t = Form::Text)]
    pub format: Form,
    /// Write a file for each recording into this folder instead of printing.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Draw what is heard when below the spectrogram, as SVG: into this file, or into a folder a file for each recording.
    #[arg(long, value_name = "FILE|DIR")]
    pub plot: Option<PathBuf>,
}

/// A form of predictions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
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
pub struct Listening {
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
    #[arg(long, value_name = "SECONDS", default_value_t = timeline::BRIDGE)]
    pub bridge: f64,
    /// Shorter segments are dropped.
    #[arg(long, value_name = "SECONDS", default_value_t = timeline::SHORTEST)]
    pub shortest: f64,
}

/// What is served, where and to whom.
#[derive(Debug, Args)]
pub struct Serving {
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
        target: Target,
        #[command(flatten)]
        pool: Pool,
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
    },
    /// Say what is wrong with an experiment, or what it would do.
    Check {
        #[command(flatten)]
        target: Target,
    },
    /// Say what an experiment would do.
    Plan {
        #[command(flatten)]
        target: Target,
        /// As one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Compute the features of an experiment and no more.
    Features {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        pool: Pool,
    },
    /// Put the results of runs side by side.
    Compare {
        /// Run folders, `experiment/latest`, or beginnings of signatures; the latest of each experiment unless told.
        #[arg(value_name = "RUN")]
        chosen: Vec<String>,
        /// Write the table to a CSV file, too.
        #[arg(long, value_name = "FILE")]
        csv: Option<PathBuf>,
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
    /// List the runs.
    Runs {
        /// As one JSON object.
        #[arg(long)]
        json: bool,
    },
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
        listening: Listening,
        #[command(flatten)]
        form: PredictAs,
        #[command(flatten)]
        pool: Pool,
    },
    /// Let saved models hear recordings over HTTP: a page and an API.
    ///
    /// Recordings are heard as `predict` hears them: in windows, or cropped as in the run (`audio.clip_seconds`, `audio.crop`).
    /// With TIMBRE_TOKEN in the environment, the API wants that token.
    Serve(Serving),
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
        what: Rehearse,
        #[command(flatten)]
        pool: Pool,
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
