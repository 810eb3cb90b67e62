//! The result of a comparison as plain values. Every output form (terminal, CSV, Markdown, HTML, JSON) is made from it.

use serde::Serialize;

use timbre_runs::run_dir::Status;

/// A comparison of runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Version of the JSON form.
    pub schema: u32,
    /// The split that is shown, usually `test`.
    pub split: String,
    /// The metrics of each row.
    pub metrics: Vec<String>,
    /// Confidence level of the intervals: 0.95.
    pub level: f64,
    /// Resamples of whole songs for each difference and its p-value.
    pub resamples: usize,
    /// What they draw: `songs`, or `files` where the data sets name no songs.
    pub resampled: &'static str,
    pub runs: Vec<ComparedRun>,
    pub reference: Reference,
    /// The keys of the resolved configurations that differ between the runs, sorted by name.
    pub keys: Vec<DifferingKey>,
    /// The best model of each run, chosen on its validation split, compared with that of the reference run by the first metric; the highest
    /// score first. [`Paired::p_holm`] is corrected for these tests alone. Empty where there is nothing to choose.
    pub best: Vec<ComparedModel>,
    /// One row per model of a run: in the order in which models first appear, then in the order of the runs.
    pub lines: Vec<ComparedModel>,
    /// The trivial baselines. Equal ones of several runs share an entry.
    pub baselines: Vec<ComparedBaseline>,
    /// The number of tests of all rows and metrics together, for which [`Paired::p_holm`] is corrected. Rows that equal the reference
    /// are not tests.
    pub tests: usize,
    /// Notes about the numbers: how they were computed, what could not be compared.
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComparedRun {
    /// The number by which rows refer to the run, from 1.
    pub number: usize,
    /// The experiment and the first characters of the signature.
    pub name: String,
    pub experiment: String,
    pub description: String,
    pub signature: String,
    /// The run folder, as it was given or found.
    pub path: String,
    pub status: Status,
    pub started: String,
    pub seeds: Vec<u64>,
    /// The name of the data set.
    pub data: String,
    pub data_hash: String,
    /// Usable recordings.
    pub clips: usize,
    pub unusable: usize,
    /// Whether the split divided songs, so that the scores are too good.
    pub leaky: bool,
    pub classes: Vec<String>,
    /// Trials that could not be fitted, and why.
    pub failures: Vec<(String, String)>,
    /// Duration of the whole run.
    pub seconds: Option<f64>,
}

/// What every other row is compared with.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reference {
    /// Index of the run in [`Comparison::runs`].
    pub run: usize,
    /// Features and model with which every row is compared. None: each row is compared with the row of the reference run that has
    /// the same features and model.
    pub place: Option<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DifferingKey {
    /// Dotted: `models.knn.k`.
    pub name: String,
    /// The value in each run, as TOML. None if the run has no such key.
    pub values: Vec<Option<String>>,
}

/// One model on one feature in one run, over its seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComparedModel {
    /// Index of the run in [`Comparison::runs`].
    pub run: usize,
    pub features: String,
    pub model: String,
    /// One score per metric, in the order of [`Comparison::metrics`].
    pub scores: Vec<Score>,
    pub cost: Cost,
}

/// One metric of one row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    /// The values of the seeds that have one, in order.
    pub values: Vec<f64>,
    pub mean: Option<f64>,
    /// Sample standard deviation over the seeds. None for a single seed.
    pub sd: Option<f64>,
    /// Interval of the mean, over songs and seeds.
    pub interval: Option<(f64, f64)>,
    pub versus: Versus,
}

/// How a row compares with the reference.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Versus {
    /// The row is the reference.
    Reference,
    Paired(Paired),
    /// The row cannot be paired, for this reason.
    Not(String),
}

/// This row minus the reference, on the recordings that both were tested on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Paired {
    /// The mean of [`by_seed`](Self::by_seed).
    pub difference: f64,
    /// Percentile interval of a paired bootstrap over whole songs, and over seeds if there are several.
    pub interval: (f64, f64),
    /// Two-sided p of that bootstrap.
    pub p_bootstrap: f64,
    /// Two-sided p of the permutation test that exchanges the predictions for whole songs.
    pub p_permutation: f64,
    /// The larger of both p-values.
    pub p: f64,
    /// `p`, corrected for all tests of the comparison (Holm).
    pub p_holm: f64,
    /// The outcome of the test at the level of the comparison.
    #[serde(rename = "verdict")]
    pub outcome: Outcome,
    /// The paired seeds: of the reference, and of this row.
    pub seeds: Vec<(u64, u64)>,
    /// The difference of each pair of seeds. None where it is undefined.
    pub by_seed: Vec<Option<f64>>,
    /// Distinct recordings that both were tested on.
    pub clips: usize,
    pub songs: usize,
    /// Decisions (a recording with a pair of seeds) that are right only in the reference.
    pub only_reference_right: usize,
    pub only_this_right: usize,
    /// McNemar's exact test of those two counts, for one pair of seeds. It takes recordings as independent, which those of one song
    /// are not: with fewer songs than recordings it is too small.
    pub mcnemar: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Better,
    Worse,
    /// The difference is not significant.
    Open,
    /// The row does not differ from the reference: it is not a test. See [`Paired::is_same`].
    Same,
}

impl Paired {
    /// Whether the difference is 0 in every resample and every exchange of songs: the same model, or one with the same decisions.
    /// Its p could not be below 1, so it is not a test (Tarone 1990), and the other tests need no correction for it.
    pub fn is_same(&self) -> bool {
        self.difference == 0.0 && self.interval == (0.0, 0.0) && self.p >= 1.0
    }

    /// The outcome as a word.
    pub fn word(&self) -> &'static str {
        match self.outcome {
            Outcome::Better => "better",
            Outcome::Worse => "worse",
            Outcome::Open => "open",
            Outcome::Same => "same",
        }
    }
}

/// The cost of a row, as means over its seeds. None where the run did not record it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    pub training_seconds: Option<f64>,
    /// Numbers in the saved model: weights, or the training set of a kNN.
    pub parameters: Option<u64>,
    /// Recordings that it predicts per second, with features already computed.
    pub clips_per_second: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComparedBaseline {
    pub name: String,
    /// Indices in [`Comparison::runs`] of the runs in which the baseline has these scores.
    pub runs: Vec<usize>,
    /// One score per metric.
    pub scores: Vec<Score>,
}
