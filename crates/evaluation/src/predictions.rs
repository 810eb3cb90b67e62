//! What a model predicts for a set: probabilities, one row per clip, one column per class.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Row-major probabilities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Predictions {
    /// The number of columns.
    pub n_classes: usize,
    /// From 0 to 1, row after row.
    pub probabilities: Vec<f32>,
}

impl Predictions {
    /// The number of rows.
    pub fn len(&self) -> usize {
        self.probabilities.len() / self.n_classes.max(1)
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.probabilities.is_empty()
    }

    /// The probabilities of one clip.
    ///
    /// ```
    /// use timbre_evaluation::predictions::Predictions;
    ///
    /// let predictions = Predictions { n_classes: 2, probabilities: vec![0.9, 0.1, 0.3, 0.7] };
    /// assert_eq!((predictions.len(), predictions.row(1)), (2, &[0.3, 0.7][..]));
    /// assert_eq!(predictions.most_likely_classes(), [0, 1]);
    /// ```
    pub fn row(&self, clip: usize) -> &[f32] {
        &self.probabilities[clip * self.n_classes..(clip + 1) * self.n_classes]
    }

    /// The most likely class of each clip; of equal probabilities the first.
    pub fn most_likely_classes(&self) -> Vec<usize> {
        self.probabilities.chunks_exact(self.n_classes.max(1)).map(argmax).collect()
    }
}

/// What a model predicts for every window of the recordings of a set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WindowPredictions {
    /// The number of columns.
    pub n_classes: usize,
    /// One row per window; the windows of a recording follow each other.
    pub probabilities: Vec<f32>,
    /// Recording r has the windows `bounds[r]..bounds[r + 1]`.
    pub bounds: Vec<usize>,
    /// The start of each window in its recording, in seconds.
    pub starts: Vec<f64>,
}

impl WindowPredictions {
    /// Groups the predictions of windows by recording. `starts` has the windows of each recording.
    pub fn new(windows: Predictions, starts: &[Vec<f64>]) -> WindowPredictions {
        let mut bounds = vec![0];
        starts.iter().for_each(|of_one| bounds.push(bounds[bounds.len() - 1] + of_one.len()));
        let starts = starts.concat();
        assert_eq!(windows.probabilities.len(), starts.len() * windows.n_classes, "one row per window");
        WindowPredictions { n_classes: windows.n_classes, probabilities: windows.probabilities, bounds, starts }
    }

    /// The number of recordings.
    pub fn len(&self) -> usize {
        self.bounds.len().saturating_sub(1)
    }

    /// Whether there is no recording.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The indices of a recording's windows.
    pub fn windows_of(&self, recording: usize) -> Range<usize> {
        self.bounds[recording]..self.bounds[recording + 1]
    }

    /// The probabilities of one window.
    pub fn row(&self, window: usize) -> &[f32] {
        &self.probabilities[window * self.n_classes..(window + 1) * self.n_classes]
    }

    /// The rows of a recording's windows.
    pub fn rows_of(&self, recording: usize) -> impl Iterator<Item = &[f32]> {
        self.windows_of(recording).map(|window| self.row(window))
    }
}

/// The index of the largest value; of equal values the first.
pub fn argmax<T: PartialOrd>(row: &[T]) -> usize {
    (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_grouped_by_recording() {
        let windows = Predictions { n_classes: 2, probabilities: (0..8).map(|n| n as f32).collect() };
        let windows = WindowPredictions::new(windows, &[vec![0.0, 1.0, 1.5], vec![0.0]]);
        assert_eq!((windows.len(), &windows.bounds[..]), (2, &[0, 3, 4][..]));
        assert_eq!(windows.rows_of(0).collect::<Vec<_>>(), [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]);
        assert_eq!((windows.rows_of(1).count(), windows.row(3), windows.starts[2]), (1, &[6.0, 7.0][..], 1.5));
    }
}
