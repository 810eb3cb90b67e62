//! What a comparison came to: plain values, from which every form (terminal, CSV, Markdown, HTML, JSON) is made.

use serde::Serialize;

use timbre_runs::run_dir::Status;

/// Runs side by side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Of this form, for those who read it as JSON.
    pub schema: u32,
    /// The side of the splits that is shown: `test` unless told.
    pub split: String,
    /// What is shown of each line; the first is the headline metric of the reference.
    pub metrics: Vec<String>,
    /// Of the intervals: 0.95.
    pub level: f64,
    /// Draws of whole songs behind each difference and its p.
    pub resamples: usize,
    pub runs: Vec<ComparedRun>,
    pub reference: Reference,
    /// The keys of the resolved configurations that are not the same in all runs, by name.
    pub keys: Vec<DifferingKey>,
    /// A line a (model on features) of a run: in the order in which models first appear, then of the runs.
    pub lines: Vec<ComparedModel>,
    /// What needs no model. Equal ones of several runs are one.
    pub baselines: Vec<ComparedBaseline>,
    /// How many tests there are, of all lines and metrics together: what [`Paired::p_holm`] is corrected for. Lines that say the same
    /// as the reference are none.
    pub tests: usize,
    /// Sentences that have to be read with the numbers: how they were made, what could not be compared.
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComparedRun {
    /// What the lines call it, from 1. In the terminal, too.
    pub number: usize,
    /// The experiment and the beginning of the signature.
    pub name: String,
    pub experiment: String,
    pub description: String,
    pub signature: String,
    /// The folder, as it was given or found.
    pub path: String,
    pub status: Status,
    pub started: String,
    pub seeds: Vec<u64>,
    /// Name of the data set, and the hash of what the experiment may use of it.
    pub data: String,
    pub data_hash: String,
    /// Recordings in use, those that could not be used.
    pub clips: usize,
    pub unusable: usize,
    pub classes: Vec<String>,
    /// Units that could not be fitted, and why.
    pub failures: Vec<(String, String)>,
    /// Of the whole run.
    pub seconds: Option<f64>,
}

/// To what every other line is compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reference {
    /// The place of the run in [`Comparison::runs`].
    pub run: usize,
    /// The one model of it that all lines are compared to. Nothing: each line is compared to the line of the reference run that
    /// has the same features and model.
    pub place: Option<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DifferingKey {
    /// Dotted: `models.knn.k`.
    pub name: String,
    /// A value a run, as TOML; nothing where the run has no such key.
    pub values: Vec<Option<String>>,
}

/// A model on features in a run, over its seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComparedModel {
    /// The place of the run in [`Comparison::runs`].
    pub run: usize,
    pub features: String,
    pub model: String,
    /// One a metric, in the order of [`Comparison::metrics`].
    pub scores: Vec<Score>,
    pub cost: Cost,
}

/// One metric of one line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    /// The values over the seeds that have one, in their order: what mean and sd are of. Empty: there is none.
    pub values: Vec<f64>,
    pub mean: Option<f64>,
    /// Sample standard deviation over the seeds; nothing of a single one.
    pub sd: Option<f64>,
    /// Of the mean, over songs and seeds.
    pub interval: Option<(f64, f64)>,
    pub versus: Versus,
}

/// How a line stands to the reference.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Versus {
    /// It is the reference.
    Reference,
    Paired(Paired),
    /// It cannot be paired, for this reason.
    Not(String),
}

/// This line minus the reference, on the recordings that both were tested on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Paired {
    /// The mean of [`by_seed`](Self::by_seed).
    pub difference: f64,
    /// Percentile interval of a paired bootstrap: whole songs are drawn, and seeds where there are several.
    pub interval: (f64, f64),
    /// Two-sided, of that bootstrap.
    pub p_bootstrap: f64,
    /// Two-sided, of the permutation test that exchanges what the two say of whole songs.
    pub p_permutation: f64,
    /// The larger of both.
    pub p: f64,
    /// `p`, corrected for all tests of the comparison (Holm).
    pub p_holm: f64,
    /// What `p_holm` says at the level of the comparison.
    pub verdict: Outcome,
    /// Seeds that were paired: of the reference, of this line.
    pub seeds: Vec<(u64, u64)>,
    /// The difference of each pair of seeds; nothing where it is undefined.
    pub by_seed: Vec<Option<f64>>,
    /// Distinct recordings and songs that both were tested on.
    pub clips: usize,
    pub songs: usize,
    /// Decisions (a recording of a pair of seeds) that are right as a whole in one and not in the other.
    pub only_reference_right: usize,
    pub only_this_right: usize,
    /// McNemar's exact test of those two counts, where it fits: one pair of seeds, and no song with two recordings.
    pub mcnemar: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Better,
    Worse,
    /// The difference may be luck.
    Open,
}

impl Paired {
    /// Whether the difference is nothing in every draw and every exchange of songs: the same model, or one that decides the same.
    /// No p below 1 could have come of it, so it is no test (Tarone 1990), and the others need not be corrected for it.
    pub fn is_same(&self) -> bool {
        self.difference == 0.0 && self.interval == (0.0, 0.0) && self.p >= 1.0
    }

    /// The verdict in a word.
    pub fn word(&self) -> &'static str {
        match self.verdict {
            Outcome::Better => "better",
            Outcome::Worse => "worse",
            Outcome::Open if self.is_same() => "same",
            Outcome::Open => "open",
        }
    }
}

/// What a line costs, as means over its seeds; nothing where the run does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    pub training_seconds: Option<f64>,
    /// Numbers that the model keeps: weights, or the training set of a kNN.
    pub parameters: Option<u64>,
    /// Recordings that it speaks about a second, features at hand.
    pub clips_per_second: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComparedBaseline {
    pub name: String,
    /// The places in [`Comparison::runs`] of the runs that have it with these scores.
    pub runs: Vec<usize>,
    /// One a metric.
    pub scores: Vec<Score>,
}
