//! Arguments of `timbre data` and `timbre cache`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::project::{PathFromHere, name_from_here};

use super::{ExperimentArgs, ThreadArgs};

#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// List the data sets described in `data`, and whether their recordings are on disk.
    List,
    /// Generate a data set as WAV files: `demo`, or one of kind `rendered` or `combined`.
    ///
    /// Experiments generate these sets on first use in the cache; this writes them where other programs can read them.
    Make {
        /// The data set.
        name: String,
        /// Output folder, which must not exist yet.
        #[arg(long, value_name = "DIR", value_parser = PathFromHere)]
        out: Option<PathBuf>,
        /// Number of training clips in each of the eleven classes of `demo` or `rendered`.
        #[arg(long, value_name = "N")]
        clips_per_class: Option<usize>,
    },
    /// Download a published data set, verify and unpack it, and check its recordings.
    ///
    /// Tells licence and size first, and asks. `curl` downloads; the same command continues an interrupted download. Compares the files with the checksums of their
    /// publisher. The folder of the set appears when everything is in it.
    Get(GetArgs),
    /// Read every recording of a data set; list unusable and duplicate recordings, and what else may be wrong.
    ///
    /// Lists unusable, quiet, clipped and short recordings; files with the same bytes, the same samples or the same sound, and whether
    /// they differ in labels, songs or subsets; songs in several subsets; numbers other than the publisher's; files on disk that are in
    /// no recording. Then the balance of the labels. Ends with exit code 3 if a recording is unusable.
    Check {
        /// The data set: see `timbre data list`.
        name: String,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
        /// Also write a page to this file.
        #[arg(long, value_name = "FILE", value_parser = PathFromHere)]
        html: Option<PathBuf>,
        /// End with exit code 8 if there is a finding of this kind: a name of `kind` or `also` in the JSON, such as other_labels, or
        /// all (repeatable).
        #[arg(long, value_name = "KIND", value_delimiter = ',')]
        deny: Vec<String>,
        #[command(flatten)]
        pool: ThreadArgs,
    },
    /// Show the number of clips and songs, durations and sample rates of a data set, by class.
    Describe {
        /// The data set: see `timbre data list`.
        name: String,
        /// Also write a page to this file: counts, durations, levels, mean spectra, an example of each class to hear, classes that occur
        /// together, and a map of the recordings.
        #[arg(long, value_name = "FILE", value_parser = PathFromHere)]
        html: Option<PathBuf>,
        /// With --html: the number of recordings that are decoded, drawn at random.
        #[arg(long, value_name = "N", default_value_t = 2000, requires = "html")]
        measure: usize,
    },
    /// List recordings whose labels are probably wrong, by the predictions of a run for its test recordings.
    ///
    /// With `[split] kind = "cross_validation"` and a seed for each fold, every recording is tested.
    Suspects(SuspectsArgs),
    /// Exchange labels with Label Studio.
    #[command(subcommand)]
    LabelStudio(LabelStudioCommand),
    /// Preview the training examples of a network: audio, images before and after augmentation, and the drawn parameters.
    ///
    /// The audio is identical to the bit to what training uses in its first epochs. Without `--clip`, only the drawn parameters
    /// of all training clips are written, for a model's key `replay`.
    Augment {
        #[command(flatten)]
        what: AugmentPreviewArgs,
        #[command(flatten)]
        pool: ThreadArgs,
    },
}

#[derive(Debug, Args)]
pub struct GetArgs {
    /// The data set: see `timbre data list`.
    pub name: String,
    /// Take the files from this folder instead of downloading them. They stay there.
    #[arg(long, value_name = "DIR", value_parser = PathFromHere, conflicts_with = "url")]
    pub from: Option<PathBuf>,
    /// Download the files from below this address, such as that of a mirror.
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Do not ask for confirmation. Required without a terminal.
    #[arg(short, long)]
    pub yes: bool,
    /// Do not read the recordings afterwards.
    #[arg(long)]
    pub no_check: bool,
}

#[derive(Debug, Args)]
pub struct SuspectsArgs {
    /// A run as in `compare`; with `:MODEL` one of its models, e.g. `folds/latest:mel.logistic` [default: the best model].
    #[arg(value_name = "RUN", value_parser = name_from_here)]
    pub run: String,
    /// Also write a table.
    #[arg(long, value_name = "FILE", value_parser = PathFromHere)]
    pub csv: Option<PathBuf>,
    /// Also write a page with players.
    #[arg(long, value_name = "FILE", value_parser = PathFromHere)]
    pub html: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Which recordings to label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Chosen {
    /// Drawn at random by their names.
    Random,
    /// Those that `data suspects` lists.
    Suspects,
    /// Those with wrong predictions, the hardest first.
    Hardest,
}

#[derive(Debug, Subcommand)]
pub enum LabelStudioCommand {
    /// Write tasks with the predictions of a run as pre-annotations, and the labelling configuration beside them (`.xml`).
    Export {
        /// A run as in `compare`; with `:MODEL` one of its models [default: the best model]. Its test recordings can be chosen.
        #[arg(value_name = "RUN", value_parser = name_from_here)]
        run: String,
        /// The file of the tasks (JSON).
        #[arg(long, value_name = "FILE", value_parser = PathFromHere)]
        out: PathBuf,
        /// Which recordings to label.
        #[arg(long, value_enum, default_value_t = Chosen::Suspects)]
        choose: Chosen,
        /// Maximum number of tasks.
        #[arg(long, value_name = "N", default_value_t = 300)]
        number: usize,
        /// Seed of a random choice.
        #[arg(long, value_name = "N", default_value_t = 1)]
        seed: u64,
        /// URL prefix of the recordings. The default is for local files, with the folder of the set as
        /// LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT.
        #[arg(long, value_name = "PREFIX", default_value = "/data/local-files/?d=")]
        prefix: String,
    },
    /// Read an export of Label Studio in the format JSON, and add the labels that changed to a table of corrections.
    Import {
        /// The exported file.
        #[arg(value_name = "FILE", value_parser = PathFromHere)]
        file: PathBuf,
        /// The corrections; those that are in the file stay, unless the recording was labelled again.
        #[arg(long, value_name = "FILE", default_value = "data/corrections.csv", value_parser = PathFromHere)]
        out: PathBuf,
    },
}

#[derive(Debug, Args)]
pub struct AugmentPreviewArgs {
    #[command(flatten)]
    pub target: ExperimentArgs,
    /// A training clip, by its path in the data set or a part of it.
    #[arg(long, value_name = "CLIP")]
    pub clip: Option<String>,
    /// Number of epochs, starting with the first [default: 8 with --clip, else all].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub count: Option<u32>,
    /// Output folder.
    #[arg(long, value_name = "DIR", value_parser = PathFromHere)]
    pub out: PathBuf,
    /// The network [default: the first with augmentations].
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// A seed of the experiment [default: the first].
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Show the size of the cache.
    Show,
    /// Remove features that no run has written for some days, and mirrors of recordings by URL that none has used.
    Gc {
        /// Keep features written, and mirrors used, within N days.
        #[arg(long, value_name = "N", default_value_t = 30)]
        days: u64,
        /// Remove everything that no process is using.
        #[arg(long, conflicts_with = "days")]
        all: bool,
    },
}
