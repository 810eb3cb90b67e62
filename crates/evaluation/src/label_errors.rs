//! Finds labels that are probably wrong, by confident learning (Northcutt, Jiang and Chuang, "Confident Learning: Estimating
//! Uncertainty in Dataset Labels", 2021).
//!
//! The predictions must come from models that did not see the recording in training. A class is confident for a recording if its
//! probability is at least the mean probability of that class over the recordings that are labelled with it. A label is probably wrong
//! if another class is confident, and also the most likely one. Equal to `cleanlab` with `filter_by="confident_learning"`.

use crate::predictions::argmax;

/// cleanlab's tolerance, and its least threshold.
const TOLERANCE: f64 = 1e-6;
const LEAST: f64 = 2e-6;

/// A label that is probably wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelError {
    /// The row of the predictions.
    pub row: usize,
    /// The class that it is labelled with.
    pub given: usize,
    /// The class that it probably has.
    pub likely: usize,
    /// The probability of the given label.
    pub self_confidence: f64,
}

/// The probable errors among the labels `given`, those with the least probability of their label first. `probabilities` has a row of
/// `classes` per label.
pub fn label_errors(given: &[usize], probabilities: &[f64], classes: usize) -> Vec<LabelError> {
    assert_eq!(given.len() * classes, probabilities.len(), "one row per label");
    let rows = || probabilities.chunks_exact(classes.max(1));
    let (mut sums, mut counts) = (vec![0.0; classes], vec![0usize; classes]);
    for (row, &given) in rows().zip(given) {
        sums[given] += row[given];
        counts[given] += 1;
    }
    let threshold = |(sum, &n): (&f64, &usize)| if n == 0 { f64::INFINITY } else { (sum / n as f64).max(LEAST) };
    let thresholds: Vec<f64> = sums.iter().zip(&counts).map(threshold).collect();
    let error = |(row, (p, &given)): (usize, (&[f64], &usize))| {
        let confident: Vec<usize> = (0..classes).filter(|&class| p[class] >= thresholds[class] - TOLERANCE).collect();
        let most_likely = argmax(p);
        let likely = match confident[..] {
            [] => return None,
            [one] => one,
            _ => most_likely,
        };
        (likely != given && most_likely != given).then(|| LabelError { row, given, likely, self_confidence: p[given] })
    };
    let mut errors: Vec<LabelError> = rows().zip(given).enumerate().filter_map(error).collect();
    errors.sort_by(|a, b| a.self_confidence.total_cmp(&b.self_confidence).then(a.row.cmp(&b.row)));
    errors
}

/// The probable errors of one class in a task with several labels per recording: whether each recording has the class, and its probability.
pub fn presence_errors(has: &[bool], probabilities: &[f64]) -> Vec<LabelError> {
    let given: Vec<usize> = has.iter().map(|has| usize::from(*has)).collect();
    let both: Vec<f64> = probabilities.iter().flat_map(|p| [1.0 - p, *p]).collect();
    label_errors(&given, &both, 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confident_other_class_is_an_error_and_a_doubtful_one_is_not() {
        // Class 0 has the threshold (0.9 + 0.8 + 0.05) / 3 = 0.58, class 1 (0.9 + 0.7) / 2 = 0.8.
        let rows = [[0.9, 0.1], [0.8, 0.2], [0.05, 0.95], [0.1, 0.9], [0.3, 0.7]].concat();
        let errors = label_errors(&[0, 0, 0, 1, 1], &rows, 2);
        assert_eq!(errors, [LabelError { row: 2, given: 0, likely: 1, self_confidence: 0.05 }]);
        assert_eq!(presence_errors(&[false, false, false, true, true], &[0.1, 0.2, 0.95, 0.9, 0.7])[0].row, 2);
        assert!(label_errors(&[], &[], 2).is_empty());
    }
}
