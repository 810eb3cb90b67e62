//! What a search within a model found: the scores of its combinations of values.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a search found: `cv_results.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchResults {
    pub metric: String,
    pub candidates: Vec<CandidateScores>,
    /// The number of the chosen one.
    pub chosen: usize,
}

/// A combination of values and its scores on the folds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CandidateScores {
    pub params: IndexMap<String, Value>,
    /// None where the metric is undefined.
    pub scores: Vec<Option<f64>>,
    pub fit_seconds: Vec<f64>,
    pub score_seconds: Vec<f64>,
}

impl CandidateScores {
    /// Mean and standard deviation over the folds; None if the metric is undefined in one.
    pub fn mean(&self) -> Option<(f64, f64)> {
        self.scores.iter().copied().collect::<Option<Vec<f64>>>().map(|scores| mean_and_deviation(&scores))
    }

    /// The values as text: `k = 3, weights = distance`.
    pub fn text(&self) -> String {
        let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        self.params.iter().map(|(key, value)| format!("{key} = {}", word(value))).collect::<Vec<_>>().join(", ")
    }
}

pub fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt())
}

impl SearchResults {
    /// The rank of each combination, from 1; equal means share the smallest.
    pub fn ranks(&self) -> Vec<usize> {
        let mean = |own: &CandidateScores| own.mean().map_or(f64::NEG_INFINITY, |(mean, _)| mean);
        let means: Vec<f64> = self.candidates.iter().map(mean).collect();
        means.iter().map(|own| 1 + means.iter().filter(|&other| other > own).count()).collect()
    }

    pub fn chosen(&self) -> &CandidateScores {
        &self.candidates[self.chosen]
    }
}
