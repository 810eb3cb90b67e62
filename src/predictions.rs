//! What a model says of a set: probabilities, a row a clip, a column a class.

use serde::{Deserialize, Serialize};

/// Row-major probabilities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Predictions {
    pub n_classes: usize,
    pub probabilities: Vec<f32>,
}

impl Predictions {
    pub fn len(&self) -> usize {
        self.probabilities.len() / self.n_classes.max(1)
    }

    pub fn is_empty(&self) -> bool {
        self.probabilities.is_empty()
    }

    pub fn row(&self, clip: usize) -> &[f32] {
        &self.probabilities[clip * self.n_classes..(clip + 1) * self.n_classes]
    }

    /// The likeliest class of each clip; of equals the first.
    pub fn decisions(&self) -> Vec<usize> {
        self.probabilities.chunks_exact(self.n_classes.max(1)).map(argmax).collect()
    }
}

fn argmax(row: &[f32]) -> usize {
    (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}
