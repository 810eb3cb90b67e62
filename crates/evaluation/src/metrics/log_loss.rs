//! The mean negative log-likelihood of the true classes, in nats.
//!
//! Conventions: with one class per clip scikit-learn's `log_loss`: minus the logarithm of the probability of the true class.
//! With several, each (clip, class) pair is a yes-or-no question of its own: the mean binary log loss over all pairs, which is
//! scikit-learn's for the flattened matrix (for an indicator matrix scikit-learn leaves the absent classes out).
//! Probabilities are single-precision and clipped to [2⁻²³, 1 - 2⁻²³], as in scikit-learn: a wrong certainty costs 15.9, not
//! infinity. Arithmetic is double.

const LEAST: f64 = f32::EPSILON as f64;

fn cost(probability: f64) -> f64 {
    -probability.clamp(LEAST, 1.0 - LEAST).ln()
}

/// For a clip with one class.
pub fn single_label(truth: usize, probabilities: &[f32]) -> f64 {
    cost(f64::from(probabilities[truth]))
}

/// For a clip with any number of classes: the mean over all classes.
pub fn multi_label(truth: &[usize], probabilities: &[f32]) -> f64 {
    let of_class = |(class, &p): (usize, &f32)| {
        let p = f64::from(p);
        cost(if truth.contains(&class) { p } else { 1.0 - p })
    };
    probabilities.iter().enumerate().map(of_class).sum::<f64>() / probabilities.len().max(1) as f64
}
