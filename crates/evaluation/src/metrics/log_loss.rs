//! The mean negative log-likelihood of what is there, in nats.
//!
//! Conventions: with one class a clip scikit-learn's `log_loss`: minus the logarithm of the probability of the true class.
//! With several, each (clip, class) pair is a yes or no of its own: the mean binary log loss over all pairs, which is
//! scikit-learn's of the flattened matrix (its own answer for an indicator matrix leaves the absent classes out).
//! Probabilities are single-precision, and are clipped as there to [2⁻²³, 1 - 2⁻²³]: a certainty that was wrong costs 15.9, not
//! infinity. Arithmetic is double.

const LEAST: f64 = f32::EPSILON as f64;

fn cost(probability: f64) -> f64 {
    -probability.clamp(LEAST, 1.0 - LEAST).ln()
}

/// Of a clip that has one class.
pub fn single_label(truth: usize, probabilities: &[f32]) -> f64 {
    cost(f64::from(probabilities[truth]))
}

/// Of a clip that may have several: the mean over the classes.
pub fn multi_label(truth: &[usize], probabilities: &[f32]) -> f64 {
    let of_class = |(class, &p): (usize, &f32)| {
        let p = f64::from(p);
        cost(if truth.contains(&class) { p } else { 1.0 - p })
    };
    probabilities.iter().enumerate().map(of_class).sum::<f64>() / probabilities.len().max(1) as f64
}
