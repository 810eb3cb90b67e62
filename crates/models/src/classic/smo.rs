//! Sequential minimal optimization: the dual problem of a support vector machine of two classes.
//!
//! Conventions: second-order working sets (Fan, Chen and Lin 2005), without shrinking; `tolerance` bounds the violation of the
//! optimality conditions, as libsvm's `eps` does.
//!
//! Cost: each step reads two rows of the kernel and updates the gradient of all active rows.

use anyhow::{Result, bail};

use super::kernel::KernelMatrix;

pub struct Solution {
    /// Sign times multiplier of each row.
    pub coefficients: Vec<f64>,
    /// What is subtracted from the weighted sum of the kernel.
    pub threshold: f64,
    pub steps: usize,
}

/// A curvature that stands for one that is not positive.
const LEAST_CURVATURE: f64 = 1e-12;

/// Minimizes ½ aᵀQa - Σa with 0 ≤ a ≤ costs and Σ signs·a = 0. Of the kernel, the rows and columns `active` count.
pub fn solve(
    kernel: &KernelMatrix,
    active: &[usize],
    signs: &[f64],
    costs: &[f64],
    tolerance: f64,
) -> Result<Solution> {
    let n = active.len();
    let diagonal: Vec<f64> = active.iter().map(|&row| kernel.diagonal(row)).collect();
    let mut a = vec![0.0f64; n];
    let mut gradient = vec![-1.0f64; n];
    let most_steps = 1_000_000.max(200 * n);
    let mut steps = 0;
    loop {
        let can_rise = |t: usize| if signs[t] > 0.0 { a[t] < costs[t] } else { a[t] > 0.0 };
        let can_fall = |t: usize| if signs[t] > 0.0 { a[t] > 0.0 } else { a[t] < costs[t] };
        // The first of equals, so that the order of the rows decides.
        let (mut i, mut most) = (n, f64::NEG_INFINITY);
        for t in (0..n).filter(|&t| can_rise(t)) {
            let value = -signs[t] * gradient[t];
            if value > most {
                (i, most) = (t, value);
            }
        }
        if i == n {
            break;
        }
        let row_i = kernel.row(active[i]);
        let row_i: &[f32] = &row_i;
        let (mut j, mut least, mut best) = (n, f64::INFINITY, 0.0);
        for t in (0..n).filter(|&t| can_fall(t)) {
            let value = -signs[t] * gradient[t];
            least = least.min(value);
            let gain = most - value;
            if gain > 0.0 {
                let curvature = diagonal[i] + diagonal[t] - 2.0 * f64::from(row_i[active[t]]);
                let decrease = gain * gain / if curvature > 0.0 { curvature } else { LEAST_CURVATURE };
                if decrease > best {
                    (j, best) = (t, decrease);
                }
            }
        }
        if most - least < tolerance || j == n {
            break;
        }
        if steps == most_steps {
            bail!("fit svm: no solution after {steps} steps; lower `c`, raise `tolerance`, or standardize");
        }
        steps += 1;
        let row_j = kernel.row(active[j]);
        let row_j: &[f32] = &row_j;
        let (before_i, before_j) = (a[i], a[j]);
        let curvature = diagonal[i] + diagonal[j] - 2.0 * f64::from(row_i[active[j]]);
        let step = (-signs[i] * gradient[i] + signs[j] * gradient[j])
            / if curvature > 0.0 { curvature } else { LEAST_CURVATURE };
        // Along the line on which the constraint holds, cut to the box.
        let room = |t: usize, a: f64, up: bool| if up { costs[t] - a } else { a };
        let step = step.min(room(i, before_i, signs[i] > 0.0)).min(room(j, before_j, signs[j] < 0.0));
        a[i] = clamped(before_i + signs[i] * step, costs[i]);
        a[j] = clamped(before_j - signs[j] * step, costs[j]);
        let (change_i, change_j) = (signs[i] * (a[i] - before_i), signs[j] * (a[j] - before_j));
        for (t, gradient) in gradient.iter_mut().enumerate() {
            let column = active[t];
            *gradient += signs[t] * (f64::from(row_i[column]) * change_i + f64::from(row_j[column]) * change_j);
        }
    }
    // The threshold from the rows on the margin; without any, midway between the bounds that the others give.
    let (mut sum, mut free, mut low, mut high) = (0.0, 0, f64::NEG_INFINITY, f64::INFINITY);
    for t in 0..n {
        let value = signs[t] * gradient[t];
        if a[t] > 0.0 && a[t] < costs[t] {
            sum += value;
            free += 1;
        } else if (a[t] >= costs[t]) == (signs[t] > 0.0) {
            low = low.max(value);
        } else {
            high = high.min(value);
        }
    }
    let threshold = if free > 0 { sum / f64::from(free) } else { 0.5 * (low + high) };
    let coefficients = a.iter().zip(signs).map(|(a, sign)| a * sign).collect();
    Ok(Solution { coefficients, threshold, steps })
}

/// Within the box; what rounding leaves beside a bound is on it.
fn clamped(a: f64, cost: f64) -> f64 {
    let margin = 1e-12 * cost;
    if a <= margin {
        0.0
    } else if a >= cost - margin {
        cost
    } else {
        a
    }
}

#[cfg(test)]
mod tests {
    use super::super::kernel::{Kernel, Similarity};
    use super::super::rows::Rows;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_solution_meets_the_optimality_conditions(
            values in prop::collection::vec(-3i8..4, 40), c in 0.1f64..20.0, linear: bool,
        ) {
            let rows = Rows::new(2, values.iter().map(|&x| f32::from(x) / 2.0).collect());
            let signs: Vec<f64> = (0..20).map(|i| if i % 3 == 0 { 1.0 } else { -1.0 }).collect();
            let kernel = if linear { Kernel::Linear } else { Kernel::Rbf };
            let active: Vec<usize> = (0..20).collect();
            let matrix = KernelMatrix::new(Similarity { kernel, gamma: 0.7 }, &rows, active.clone(), usize::MAX);
            let solution = solve(&matrix, &active, &signs, &[c; 20], 1e-6).unwrap();
            prop_assert!(solution.coefficients.iter().sum::<f64>().abs() < 1e-9 * c.max(1.0));
            for (i, sign) in signs.iter().enumerate() {
                let a = solution.coefficients[i] * sign;
                let score: f64 =
                    (0..20).map(|j| solution.coefficients[j] * f64::from(matrix.row(i)[j])).sum::<f64>() - solution.threshold;
                let margin = sign * score;
                prop_assert!((0.0..=c).contains(&a));
                prop_assert!(a > 0.0 || margin >= 1.0 - 1e-5, "{i}: {a} {margin}");
                prop_assert!(a < c || margin <= 1.0 + 1e-5, "{i}: {a} {margin}");
                prop_assert!(a == 0.0 || a == c || (margin - 1.0).abs() < 1e-5, "{i}: {a} {margin}");
            }
        }
    }
}
