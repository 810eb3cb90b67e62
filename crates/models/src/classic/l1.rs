//! Logistic regression with an L1 penalty, for the selection of columns: its weights are 0 for columns that do not help.
//!
//! Conventions: the objective is `Σ |w| + C Σ loss` with an unpenalized bias, as scikit-learn's LogisticRegression with
//! `l1_ratio=1, solver="saga"`. The solver is the accelerated proximal gradient method with restarts (Beck and Teboulle 2009;
//! O'Donoghue and Candès 2015). It is meant for standardized columns; others need many more steps.

use super::newton::sigmoid;
use super::preparation::Rows;

const MOST_STEPS: usize = 5000;
/// The largest step of a weight, as a share of the largest weight, at which the search ends.
const TOLERANCE: f64 = 1e-7;
const POWER_STEPS: usize = 50;

/// The weights of the columns.
pub fn l1_weights(rows: &Rows, has: &[bool], c: f64) -> Vec<f64> {
    let (dims, n) = (rows.dims, rows.len());
    // The bias is the weight of a last column of ones.
    let margin = |weights: &[f64], row: &[f32]| {
        weights[dims] + row.iter().zip(weights).map(|(&x, w)| f64::from(x) * w).sum::<f64>()
    };
    let add = |sum: &mut [f64], row: &[f32], factor: f64| {
        sum.iter_mut().zip(row).for_each(|(sum, &x)| *sum += factor * f64::from(x));
        sum[dims] += factor;
    };
    // A quarter of the largest eigenvalue of XᵀX bounds the curvature of the loss.
    let mut direction = vec![1.0; dims + 1];
    let mut largest = 0.0;
    for _ in 0..POWER_STEPS {
        let mut next = vec![0.0; dims + 1];
        rows.iter().for_each(|row| add(&mut next, row, margin(&direction, row)));
        largest = next.iter().map(|x| x * x).sum::<f64>().sqrt();
        if largest == 0.0 {
            break;
        }
        direction = next.iter().map(|x| x / largest).collect();
    }
    // The estimate comes from below.
    let step = 1.0 / (0.25 * c * 1.05 * largest).max(f64::MIN_POSITIVE);
    let (mut weights, mut ahead) = (vec![0.0; dims + 1], vec![0.0; dims + 1]);
    let mut momentum = 1.0f64;
    for _ in 0..MOST_STEPS {
        let mut gradient = vec![0.0; dims + 1];
        for (row, &has) in rows.iter().zip(has) {
            add(&mut gradient, row, c * (sigmoid(margin(&ahead, row)) - f64::from(u8::from(has))));
        }
        let shrunk = |at: usize| {
            let moved = ahead[at] - step * gradient[at];
            if at == dims { moved } else { moved.signum() * (moved.abs() - step).max(0.0) }
        };
        let next: Vec<f64> = (0..=dims).map(shrunk).collect();
        let change = next.iter().zip(&weights).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        let size = next.iter().map(|w| w.abs()).fold(0.0, f64::max);
        // Momentum that leads away from the way down is dropped.
        let against: f64 = (0..=dims).map(|at| (ahead[at] - next[at]) * (next[at] - weights[at])).sum();
        let after = if against > 0.0 { 1.0 } else { 0.5 * (1.0 + (1.0 + 4.0 * momentum * momentum).sqrt()) };
        let share = if against > 0.0 { 0.0 } else { (momentum - 1.0) / after };
        ahead = next.iter().zip(&weights).map(|(new, old)| new + share * (new - old)).collect();
        weights = next;
        momentum = after;
        if change <= TOLERANCE * size {
            break;
        }
    }
    debug_assert!(n == has.len());
    weights.truncate(dims);
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_c_leaves_no_weight_and_a_larger_one_that_of_the_column_that_helps() {
        let values =
            (0..60).flat_map(|i| [(i * 7 % 13) as f32 / 6.0 - 1.0, if i % 2 == 0 { 1.0 } else { -1.0 }]).collect();
        let rows = Rows { dims: 2, values };
        let has: Vec<bool> = (0..60).map(|i| i % 2 == 0).collect();
        assert_eq!(l1_weights(&rows, &has, 0.01), [0.0, 0.0]);
        let weights = l1_weights(&rows, &has, 0.1);
        assert!(weights[0] == 0.0 && weights[1] > 0.1, "{weights:?}");
    }
}
