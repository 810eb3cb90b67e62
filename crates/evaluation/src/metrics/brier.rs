//! The Brier score: squared differences of the probabilities from 1 for the true classes and 0 for the others.
//!
//! Conventions: with one class per clip scikit-learn's `brier_score_loss` of several classes: the mean over the clips of the sum
//! over the classes, from 0 to 2. With several, the mean over all pairs of clip and class, which is scikit-learn's for the
//! flattened matrix.

/// The sum over the classes of a clip.
pub fn sum(truth: &[usize], probabilities: &[f32]) -> f64 {
    let square = |(class, &p): (usize, &f32)| (f64::from(p) - f64::from(u8::from(truth.contains(&class)))).powi(2);
    probabilities.iter().enumerate().map(square).sum()
}

/// The mean over the classes of a clip.
pub fn mean(truth: &[usize], probabilities: &[f32]) -> f64 {
    sum(truth, probabilities) / probabilities.len().max(1) as f64
}
