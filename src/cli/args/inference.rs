//! Arguments of `timbre predict` and `timbre serve`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::project::{PathFromHere, name_from_here};

use timbre_evaluation::timeline;
use timbre_models::device::DeviceChoice;

/// The output format of predictions.
#[derive(Debug, Args)]
pub struct PredictOutputArgs {
    /// Print one JSON object with every probability: `--format json`.
    #[arg(long, conflicts_with_all = ["csv", "format"])]
    pub json: bool,
    /// Print CSV with the path and one column per class: `--format csv`.
    #[arg(long, conflicts_with = "format")]
    pub csv: bool,
    /// Output format. The formats with times need windows.
    #[arg(long, value_enum, value_name = "FORM", default_value_t = OutputFormat::Text)]
    pub format: OutputFormat,
    /// Write one file per recording into this folder instead of printing.
    #[arg(long, value_name = "DIR", value_parser = PathFromHere)]
    pub out: Option<PathBuf>,
    /// Plot the predictions over time below the spectrogram: to a file (.svg, .png or .pdf), or an SVG per recording into a folder.
    #[arg(long, value_name = "FILE|DIR", value_parser = PathFromHere)]
    pub plot: Option<PathBuf>,
    /// Write PNG instead of SVG into the folder of --plot.
    #[arg(long, requires = "plot")]
    pub png: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// One line per recording, and one per segment below it.
    Text,
    /// One object.
    Json,
    /// One row per recording, one column per class.
    Csv,
    /// CSV with one row per window.
    Windows,
    /// CSV with one row per segment.
    Segments,
    /// A label track for Audacity.
    Audacity,
    /// A JAMS 0.3 file, for music research tools.
    Jams,
}

/// How recordings are cut into windows, and windows merged into segments.
#[derive(Debug, Args)]
pub struct WindowArgs {
    /// Classify whole recordings in windows: the default, except with a model that was evaluated on whole recordings. Windows of a
    /// model that was evaluated on clips are as long as its clips and one second apart.
    #[arg(long)]
    pub windows: bool,
    /// Classify one clip of each recording, as the run did: fast, but the rest of a longer recording is not used.
    #[arg(long, conflicts_with_all = ["windows", "window", "hop"])]
    pub clip: bool,
    /// Window length in seconds (implies --windows). Networks accept only the length they were trained on.
    #[arg(long, value_name = "SECONDS")]
    pub window: Option<f64>,
    /// Distance between the starts of two windows (implies --windows).
    #[arg(long, value_name = "SECONDS")]
    pub hop: Option<f64>,
    /// A segment starts at a window with a probability above P [default: the model's thresholds].
    #[arg(long, value_name = "P")]
    pub on: Option<f64>,
    /// A segment ends at a window with a probability below P [default: 0.8 × --on].
    #[arg(long, value_name = "P")]
    pub off: Option<f64>,
    /// Fill gaps of at most this length within a class.
    #[arg(long, value_name = "SECONDS", default_value_t = timeline::MAX_GAP_SECONDS)]
    pub bridge: f64,
    /// Drop segments shorter than this.
    #[arg(long, value_name = "SECONDS", default_value_t = timeline::MIN_SEGMENT_SECONDS)]
    pub shortest: f64,
}

/// The models to serve, the address, and who has access.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Runs as in `compare`; with `:MODEL` one model of the run, e.g. `quickstart:mel.logistic` [default: the best
    /// on the validation split]; with `=WEIGHT` a member of the ensemble of all models with a weight, e.g. `a/latest=0.6`.
    #[arg(value_name = "RUN[:MODEL][=WEIGHT]", required = true, value_parser = name_from_here)]
    pub chosen: Vec<String>,
    /// Address to listen on. With port 0 the system picks a port; the address is the first line on stdout.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    pub addr: String,
    /// Classify whole recordings in windows, even with a model that was evaluated on clips, as `predict` does by default.
    #[arg(long)]
    pub windows: bool,
    /// Allow pages of this site to use the API, e.g. `https://example.org` (repeatable), or of every site with `*`, but not together
    /// with a token [default: none].
    #[arg(long, value_name = "ORIGIN")]
    pub allow_origin: Vec<String>,
    /// Accept requests for this host name (header `Host`) and no others but those of this machine, e.g. `music.example.org`
    /// (repeatable) [default: on loopback without a token, the names of this machine; otherwise any].
    #[arg(long, value_name = "NAME")]
    pub allow_host: Vec<String>,
    /// Device of a network: cpu (the bits of a run on the CPU), auto (the first working GPU), cuda, wgpu, or a GPU by number.
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceChoice::Cpu)]
    pub device: DeviceChoice,
}
