//! The names of the files in a run folder. No other module spells them out.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{RunDir, Trial};

/// The lock of a folder: of a run in progress, or of an experiment while a run of it is opened.
pub(super) const LOCK: &str = ".lock";
pub(super) const CHECKPOINTS: &str = "checkpoints";

/// `run.json`.
pub(super) fn record_file(run: &Path) -> PathBuf {
    run.join("run.json")
}

/// `config.toml`: the experiment as written.
pub fn written_config(run: &Path) -> PathBuf {
    run.join("config.toml")
}

/// `config.resolved.toml`: the experiment with every default.
pub fn resolved_config(run: &Path) -> PathBuf {
    run.join("config.resolved.toml")
}

/// `log.jsonl`: one event per line.
pub fn log_file(run: &Path) -> PathBuf {
    run.join("log.jsonl")
}

/// `unusable.jsonl`: one unusable recording per line.
pub fn unusable_file(run: &Path) -> PathBuf {
    run.join("unusable.jsonl")
}

/// `latest` of an experiment: a link to the run that ended or was shown last.
pub fn latest(experiment: &Path) -> PathBuf {
    experiment.join("latest")
}

/// `units/`: the records of the finished trials.
pub(super) fn trials_folder(run: &Path) -> PathBuf {
    run.join("units")
}

/// `units/TRIAL.json`: the record of a finished trial.
pub fn trial_file(run: &Path, trial: &Trial) -> PathBuf {
    trials_folder(run).join(format!("{trial}.json"))
}

const TRIAL_LOCK: &str = ".lock-";

/// The lock of a trial that is worked on by itself.
pub(super) fn trial_lock(run: &Path, trial: &Trial) -> PathBuf {
    trials_folder(run).join(format!("{TRIAL_LOCK}{trial}"))
}

/// The locks of trials that processes have left.
pub(super) fn trial_locks(run: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(trials_folder(run)).into_iter().flatten().flatten();
    entries.filter(|e| e.file_name().as_encoded_bytes().starts_with(TRIAL_LOCK.as_bytes())).map(|e| e.path()).collect()
}

/// `models/`: the saved models, one folder per trial.
pub(super) fn models_folder(run: &Path) -> PathBuf {
    run.join("models")
}

/// `models/<trial>/`: the saved model of a trial.
pub fn model_folder(run: &Path, trial: &Trial) -> PathBuf {
    models_folder(run).join(trial.to_string())
}

/// `networks/<trial>/`: the files of a network beside the tables. TensorBoard finds its learning curves here.
pub fn network_folder(run: &Path, trial: &Trial) -> PathBuf {
    run.join("networks").join(trial.to_string())
}

/// A file in [`network_folder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkFile {
    /// Has one name for all starts of a run: it grows by one record per epoch, and a resumed run continues it.
    TensorBoard,
    LearningCurves,
    /// The result of the search for a learning rate.
    LearningRates,
    LearningRatePlot,
}

impl NetworkFile {
    fn name(self) -> &'static str {
        match self {
            NetworkFile::TensorBoard => "events.out.tfevents.timbre",
            NetworkFile::LearningCurves => "epochs.svg",
            NetworkFile::LearningRates => "rate_finder.json",
            NetworkFile::LearningRatePlot => "rate_finder.svg",
        }
    }
}

impl RunDir {
    /// The path of a network file. Creates the folder.
    pub fn network_file(&self, trial: &Trial, file: NetworkFile) -> Result<PathBuf> {
        let folder = network_folder(self.path(), trial);
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(folder.join(file.name()))
    }

    /// The folder of the checkpoints of a trial while it is fitted.
    pub fn checkpoints(&self, trial: &Trial) -> PathBuf {
        self.path().join(CHECKPOINTS).join(trial.to_string())
    }
}

/// The tables of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    ResultsCsv,
    ResultsParquet,
    Grid,
    Predictions,
    /// Only where recordings are predicted in windows.
    Windows,
    ByLabels,
    /// Only where recordings have tags that divide the scores.
    ByTag,
    PerClass,
    /// The means of a table over the seeds, which are folds in a cross-validation; only with several seeds.
    ResultsMeans,
    ByLabelsMeans,
    ByTagMeans,
    PerClassMeans,
    ConfusionMeans,
    CurvesMeans,
    EpochsMeans,
    Confusion,
    Hardest,
    Curves,
    /// Only where a model has several values for a key.
    CvResults,
    /// Only where a model has coefficients or importances, and is saved.
    Importances,
    /// ROC and precision-recall curves.
    ThresholdCurves,
    Epochs,
    /// The recordings that the experiment can use; written before any work.
    Recordings,
    /// The numbers of `results.csv` for DVC.
    Metrics,
}

impl Table {
    /// The column of numbers that identifies a row beside its texts.
    pub fn number_key(self) -> Option<&'static str> {
        match self {
            Table::Epochs => Some("epoch"),
            Table::Curves => Some("value"),
            _ => None,
        }
    }

    /// The table of its means over the seeds, if it has one.
    pub fn means(self) -> Option<Table> {
        Some(match self {
            Table::ResultsCsv => Table::ResultsMeans,
            Table::ByLabels => Table::ByLabelsMeans,
            Table::ByTag => Table::ByTagMeans,
            Table::PerClass => Table::PerClassMeans,
            Table::Confusion => Table::ConfusionMeans,
            Table::Curves => Table::CurvesMeans,
            Table::Epochs => Table::EpochsMeans,
            _ => return None,
        })
    }

    pub fn file(self) -> &'static str {
        match self {
            Table::ResultsCsv => "results.csv",
            Table::ResultsParquet => "results.parquet",
            Table::Grid => "grid.csv",
            Table::Predictions => "predictions.parquet",
            Table::Windows => "windows.parquet",
            Table::ByLabels => "by_labels.csv",
            Table::ByTag => "by_tag.csv",
            Table::ResultsMeans => "results_means.csv",
            Table::ByLabelsMeans => "by_labels_means.csv",
            Table::ByTagMeans => "by_tag_means.csv",
            Table::PerClassMeans => "per_class_means.csv",
            Table::ConfusionMeans => "confusion_means.csv",
            Table::CurvesMeans => "curves_means.csv",
            Table::EpochsMeans => "epochs_means.csv",
            Table::PerClass => "per_class.csv",
            Table::Confusion => "confusion.csv",
            Table::Hardest => "hardest.csv",
            Table::Curves => "curves.csv",
            Table::CvResults => "cv_results.csv",
            Table::Importances => "importances.csv",
            Table::ThresholdCurves => "threshold_curves.csv",
            Table::Epochs => "epochs.csv",
            Table::Recordings => "recordings.csv",
            Table::Metrics => "metrics.json",
        }
    }
}

/// The report of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportFile {
    Html,
    Markdown,
}

impl ReportFile {
    pub fn name(self) -> &'static str {
        match self {
            ReportFile::Html => "report.html",
            ReportFile::Markdown => "report.md",
        }
    }
}
