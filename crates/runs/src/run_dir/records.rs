//! The records that a run folder stores: `run.json` and `units/<trial>.json`.

use std::path::PathBuf;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ReusedTrials;
use timbre_core::labels::{Labels, Task};
use timbre_evaluation::{
    metrics::{DecisionRule, average_precision::average_precision, class_score, roc_auc::roc_auc},
    predictions::{Predictions, WindowPredictions},
};
use timbre_experiment::Arguments;
use timbre_inputs::data::split::LEAKY;
use timbre_models::{Epoch, SearchResults};

/// One model on one feature with one seed: the unit of work that survives a kill once it is finished.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Trial {
    pub features: String,
    pub model: String,
    pub seed: u64,
}

impl std::fmt::Display for Trial {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}.{}.s{}", self.features, self.model, self.seed)
    }
}

/// The record of a finished trial (`units/<trial>.json`). All tables are made from these records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialRecord {
    #[serde(rename = "unit")]
    pub trial: Trial,
    /// The number of training clips of each class, for the trivial baselines.
    pub trained_on: Vec<usize>,
    pub splits: Vec<SplitRecord>,
    /// BLAKE3 of the file of window predictions, where recordings were predicted in windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windows_hash: Option<String>,
    /// The epochs of a network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub epochs: Vec<Epoch>,
    /// The values that a search within the model tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<SearchResults>,
    /// Facts about the fit: iterations, tolerance reached.
    pub notes: IndexMap<String, String>,
    pub fit_seconds: f64,
    pub predict_seconds: f64,
}

/// The predictions of a trial on one subset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SplitRecord {
    pub split: String,
    pub clips: Vec<ClipTruth>,
    /// One row per recording: probabilities, or the scores aggregated from its windows.
    pub predictions: Predictions,
    /// The predictions of each window, where recordings were predicted in windows. A binary file of its own holds them: as
    /// text they would be the largest part of the record.
    #[serde(skip)]
    pub windows: Option<WindowPredictions>,
    pub curve: Vec<CurvePoint>,
}

impl SplitRecord {
    /// The classes of each recording.
    pub fn truth(&self) -> Vec<Labels> {
        self.clips.iter().map(|clip| clip.truth.clone()).collect()
    }

    /// (score, whether the recording has the class) of every known pair of recording and class.
    pub fn pairs(&self) -> impl Iterator<Item = (f32, bool)> + '_ {
        (0..self.predictions.n_classes).flat_map(|class| self.cases(class))
    }

    /// (score, whether it has the class) of every recording where that is known.
    pub fn cases(&self, class: usize) -> impl Iterator<Item = (f32, bool)> + '_ {
        let known = self.clips.iter().enumerate().filter(move |(_, of)| of.truth.is_known(class));
        known.map(move |(clip, of)| (self.predictions.row(clip)[class], of.truth.contains(&class)))
    }

    /// The areas under the curves of each class.
    pub fn areas(&self) -> Vec<ClassAreas> {
        let truth = self.truth();
        let of_class = |class: usize| ClassAreas {
            average_precision: class_score(
                |ranked, times| Some(average_precision(ranked, times)),
                &truth,
                &self.predictions,
                class,
            )
            .filter(|_| truth.iter().any(|own| own.contains(&class))),
            roc_auc: class_score(roc_auc, &truth, &self.predictions, class),
        };
        (0..self.predictions.n_classes).map(of_class).collect()
    }

    pub(super) fn is_finite(&self) -> bool {
        let windows = self.windows.as_ref().map_or(&[][..], |windows| &windows.probabilities[..]);
        self.predictions.probabilities.iter().chain(windows).all(|p| p.is_finite())
    }

    /// The classes that `decision_rule` decides for each recording, from its windows where there are any.
    pub fn decided(&self, decision_rule: &DecisionRule) -> Vec<Vec<usize>> {
        decision_rule.decide_recordings(&self.predictions, self.windows.as_ref()).decided
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClipTruth {
    pub path: String,
    pub song: String,
    /// Its classes in ascending order; exactly one in a single-label task.
    pub truth: Labels,
}

impl TrialRecord {
    /// Whether the sizes and classes of the record belong together. One that was edited or damaged counts as missing.
    pub(super) fn is_consistent(&self) -> bool {
        let is_consistent = |split: &SplitRecord| {
            let n_classes = split.predictions.n_classes;
            let windows_agree = |windows: &WindowPredictions| {
                let ends = (windows.bounds.first(), windows.bounds.last());
                windows.n_classes == n_classes
                    && windows.bounds.is_sorted()
                    && ends == (Some(&0), Some(&windows.starts.len()))
                    && windows.probabilities.len() == n_classes * windows.starts.len()
            };
            // What `Labels::new` makes, below the number of classes.
            let is_valid = |truth: &Labels| {
                *truth == Labels::new(truth.to_vec(), truth.unknown().to_vec())
                    && truth.iter().chain(truth.unknown()).all(|class| *class < n_classes)
            };
            n_classes == self.trained_on.len()
                && split.predictions.probabilities.len() == n_classes * split.clips.len()
                && split.is_finite()
                && split.windows.as_ref().is_none_or(windows_agree)
                && split.clips.iter().all(|clip| is_valid(&clip.truth))
        };
        self.splits.iter().all(is_consistent)
    }

    /// Whether a task of this kind can have these labels: a single-label task has one class per clip.
    pub fn fits(&self, task: Task) -> bool {
        let has_one_class = |split: &SplitRecord| split.clips.iter().all(|clip| clip.truth.len() == 1);
        task == Task::MultiLabel || self.splits.iter().all(has_one_class)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    pub parameter: String,
    pub value: f64,
    /// `accuracy`; the headline metric in a multi-label task.
    pub metric: String,
    /// None where the metric is undefined.
    pub score: Option<f64>,
    /// Its 95 % interval from a bootstrap over songs; None without a bootstrap, and in records of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<(f64, f64)>,
}

/// The areas under the curves of a class, where they are defined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassAreas {
    pub average_precision: Option<f64>,
    pub roc_auc: Option<f64>,
}

/// The `features` column of a trivial baseline.
pub const NO_FEATURES: &str = "-";

/// One row of `results.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultRow {
    #[serde(flatten)]
    pub trial: Trial,
    pub split: String,
    pub n: usize,
    #[serde(with = "finite_values")]
    pub metrics: IndexMap<String, f64>,
}

/// Leaves out values that are not finite, which JSON cannot hold: a metric without a value is undefined.
mod finite_values {
    use indexmap::IndexMap;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(values: &IndexMap<String, f64>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(values.iter().filter(|(_, value)| value.is_finite()))
    }

    /// A value that is not finite was once written as `null`.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IndexMap<String, f64>, D::Error> {
        let values = IndexMap::<String, Option<f64>>::deserialize(deserializer)?;
        Ok(values.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
    }
}

impl ResultRow {
    pub fn is_baseline(&self) -> bool {
        self.trial.features == NO_FEATURES
    }
}

/// `run.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    pub schema: u32,
    pub experiment: String,
    pub description: String,
    pub signature: String,
    pub status: Status,
    pub started: String,
    pub ended: Option<String>,
    pub seeds: Vec<u64>,
    pub classes: Vec<String>,
    /// The headline metric.
    pub metric: String,
    pub data: DataRecord,
    /// The signature of everything that decides the trials: runs with an equal one have equal trials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<String>,
    /// How the run was started; None in records of older versions and of reproduced runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Arguments>,
    /// Trials copied from another run.
    #[serde(default, rename = "taken_over", skip_serializing_if = "Option::is_none")]
    pub reused: Option<ReusedTrials>,
    /// What decides the fitted model of each trial, as one hash; only where models are saved.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub fits: IndexMap<String, String>,
    /// The run whose model a trial used instead of a fit of its own.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub fitted_in: IndexMap<String, PathBuf>,
    /// What a reader of the results should know, found before any recording was decoded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    pub cache: CacheRecord,
    pub seconds: IndexMap<String, f64>,
    /// The most memory, in bytes, that the process held when it finished the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<u64>,
    /// Trials that failed, and why.
    pub failures: IndexMap<String, String>,
    /// The rows of `results.csv` of a finished run.
    pub results: Vec<ResultRow>,
    pub environment: Value,
}

impl RunRecord {
    /// What to say of the split, if it divided songs.
    pub fn leaky_split(&self) -> Option<&str> {
        self.warnings.iter().map(String::as_str).find(|warning| *warning == LEAKY)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Running,
    Stopped,
    Failed,
    /// Finished, but more recordings were unusable than `max_unusable` allows.
    TooManyUnusable,
    Done,
}

impl Status {
    /// Whether the run is finished.
    pub fn is_final(self) -> bool {
        matches!(self, Status::Done | Status::TooManyUnusable)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataRecord {
    pub name: String,
    /// BLAKE3 over all recordings that the experiment can use, with labels and songs.
    pub hash: String,
    pub clips: usize,
    pub unusable: usize,
    /// Recordings with no label or several, which a single-label experiment leaves out.
    pub set_aside: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheRecord {
    pub hits: usize,
    pub misses: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_whose_numbers_do_not_belong_together_counts_as_missing() {
        let clip = |truth: &[usize]| ClipTruth { path: "a".into(), song: "a".into(), truth: truth.to_vec().into() };
        let good = || TrialRecord {
            trial: Trial { features: "mel".into(), model: "knn".into(), seed: 1 },
            trained_on: vec![1, 1],
            splits: vec![SplitRecord {
                split: "test".into(),
                clips: vec![clip(&[0]), clip(&[1])],
                predictions: Predictions { n_classes: 2, probabilities: vec![0.5; 4] },
                windows: None,
                curve: Vec::new(),
            }],
            windows_hash: None,
            epochs: Vec::new(),
            search: None,
            notes: IndexMap::new(),
            fit_seconds: 0.0,
            predict_seconds: 0.0,
        };
        assert!(good().is_consistent() && good().fits(Task::SingleLabel));
        let edits: [fn(&mut SplitRecord); 5] = [
            |split| split.clips[0].truth = vec![2].into(),
            |split| split.clips[0].truth = vec![1, 0].into(),
            |split| drop(split.clips.pop()),
            |split| split.predictions.n_classes = 3,
            |split| split.predictions.probabilities[0] = f32::INFINITY,
        ];
        for (number, edit) in edits.into_iter().enumerate() {
            let mut edited = good();
            edit(&mut edited.splits[0]);
            assert!(!edited.is_consistent(), "edit {number}");
        }
        for labels in [&[][..], &[0, 1]] {
            let mut edited = good();
            edited.splits[0].clips[0].truth = labels.to_vec().into();
            assert!(edited.is_consistent() && edited.fits(Task::MultiLabel) && !edited.fits(Task::SingleLabel));
        }
    }

    #[test]
    fn labels_are_stored_as_a_list_unless_some_are_unknown() {
        let stored = |labels: &Labels| serde_json::to_string(labels).unwrap();
        let known = Labels::from(vec![0, 2]);
        assert_eq!((stored(&known), serde_json::from_str(&stored(&known)).unwrap()), ("[0,2]".to_owned(), known));
        let partial = Labels::new(vec![2, 0], vec![3, 1, 2]);
        assert_eq!(stored(&partial), r#"{"present":[0,2],"unknown":[1,3]}"#);
        assert_eq!(serde_json::from_str::<Labels>(&stored(&partial)).unwrap(), partial);
    }

    #[test]
    fn a_metric_without_a_number_keeps_the_record_readable() {
        let trial = Trial { features: "mel".into(), model: "knn".into(), seed: 1 };
        let metrics = [("accuracy", 0.5), ("log_loss", f64::NAN), ("mse", f64::INFINITY)];
        let metrics = metrics.map(|(name, value)| (name.to_owned(), value)).into();
        let row = ResultRow { trial, split: "test".into(), n: 2, metrics };
        let json = serde_json::to_string(&row).unwrap();
        let read: ResultRow = serde_json::from_str(&json).unwrap();
        assert_eq!(read.metrics, IndexMap::from([("accuracy".to_owned(), 0.5)]));
        let old = json.replace("0.5", "null");
        assert!(serde_json::from_str::<ResultRow>(&old).unwrap().metrics.is_empty());
    }
}
