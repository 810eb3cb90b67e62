//! Logistic regression of one class against the rest with an L1 or elastic-net penalty: weights of columns that do not help are 0.
//!
//! Conventions: the objective is `ρ Σ |w| + ½ (1 - ρ) Σ w² + C Σ loss` with an unpenalized bias, as scikit-learn's LogisticRegression
//! with solver "saga"; ρ is `l1_ratio`, 1 for the L1 penalty. The tolerance is the 2-norm of the smallest subgradient, as a share of
//! that of the loss at zero weights.
//!
//! The solver is the proximal Newton method of glmnet and liblinear's newGLMNET (Yuan, Ho and Lin 2012): coordinate descent on the
//! quadratic approximation of the loss, over the columns that have a weight or whose gradient exceeds the penalty, and a line search.
//!
//! Memory: the columns in f32, and a few numbers in f64 per row and column. The gradient of all columns runs on all threads, each
//! column on one, so the number of threads does not change a bit.

use anyhow::{Result, ensure};
use rayon::prelude::*;

use super::newton::sigmoid;
use super::rows::Rows;
use super::scaling::{Scaler, Scaling};
use crate::tensor::chunk_ranges;
use timbre_inputs::dataset::feature_set::FeatureSet;

/// The maximum number of sweeps of coordinate descent in a Newton step.
const MOST_SWEEPS: usize = 1000;
const MOST_HALVINGS: usize = 40;
/// For the selection of columns.
const SELECTION_TOLERANCE: f64 = 1e-7;
const SELECTION_STEPS: usize = 200;

/// The training rows, one column after the other.
pub struct ByColumn {
    rows: usize,
    values: Vec<f32>,
}

impl ByColumn {
    pub fn of(rows: &Rows) -> ByColumn {
        let n = rows.len();
        let mut values = vec![0.0; rows.values.len()];
        values.par_chunks_exact_mut(n).enumerate().for_each(|(column, out)| {
            out.iter_mut().zip(rows.iter()).for_each(|(x, row)| *x = row[column]);
        });
        ByColumn { rows: n, values }
    }

    /// Reads and scales a set in one pass over its columns.
    pub fn read(set: &FeatureSet, scaling: Scaling) -> Result<(ByColumn, Scaler)> {
        let n = set.len();
        let mut scaler = Scaler::default();
        let mut values = vec![0.0; n * set.dims()];
        let mut block = Vec::new();
        for columns in chunk_ranges(set.dims(), set.block_columns()) {
            set.read(0..n, columns.clone(), &mut block)?;
            let width = columns.len();
            scaler.push_columns(&block, width, scaling);
            let out = &mut values[columns.start * n..columns.end * n];
            out.par_chunks_exact_mut(n).enumerate().for_each(|(at, out)| {
                let mut wide = [0.0];
                for (x, row) in out.iter_mut().zip(block.chunks_exact(width)) {
                    scaler.widen(columns.start + at..columns.start + at + 1, &row[at..=at], &mut wide);
                    *x = wide[0] as f32;
                }
            });
        }
        Ok((ByColumn { rows: n, values }, scaler))
    }

    fn dims(&self) -> usize {
        self.values.len() / self.rows
    }

    fn column(&self, column: usize) -> &[f32] {
        &self.values[column * self.rows..(column + 1) * self.rows]
    }
}

/// The problem to minimize, and when to stop.
pub struct Penalized<'a> {
    pub columns: &'a ByColumn,
    pub has: &'a [bool],
    /// The weight of the loss of each row.
    pub weights: &'a [f64],
    pub c: f64,
    pub l1_ratio: f64,
    pub tolerance: f64,
    pub max_iterations: usize,
}

/// The end of the search.
pub struct Minimum {
    pub weights: Vec<f64>,
    pub bias: f64,
    /// The number of Newton steps.
    pub iterations: usize,
    /// The number of sweeps of coordinate descent in all Newton steps.
    pub sweeps: usize,
    /// The norm of the smallest subgradient as a share of the loss's at zero.
    pub gradient_norm: f64,
}

/// A Newton step: the new weights of some columns, the change of the bias and of the margins.
struct Step {
    active: Vec<usize>,
    weights: Vec<f64>,
    bias: f64,
    margins: Vec<f64>,
    sweeps: usize,
}

/// The gradient of the smooth part, and the second derivative of the loss of each row.
struct Slopes {
    columns: Vec<f64>,
    bias: f64,
    curvature: Vec<f64>,
}

impl Penalized<'_> {
    pub fn solve(&self) -> Result<Minimum> {
        let mut w = vec![0.0; self.columns.dims()];
        let total: f64 = self.weights.iter().sum();
        let having: f64 = self.weights.iter().zip(self.has).filter(|&(_, &has)| has).map(|(weight, _)| weight).sum();
        // The best bias at zero weights.
        let odds = having / (total - having);
        let mut bias = if odds > 0.0 && odds.is_finite() { odds.ln() } else { 0.0 };
        let mut margins = vec![bias; self.columns.rows];
        let mut first = None;
        let (mut iterations, mut sweeps) = (0, 0);
        loop {
            let slopes = self.slopes(&w, &margins);
            let excess: Vec<f64> = w.iter().zip(&slopes.columns).map(|(&w, &slope)| self.excess(w, slope)).collect();
            let norm = (excess.iter().map(|x| x * x).sum::<f64>() + slopes.bias * slopes.bias).sqrt();
            ensure!(
                norm.is_finite(),
                "fit logistic: the training features contain NaN or infinite values, or values too large to multiply"
            );
            let first = *first.get_or_insert_with(|| slopes.columns.iter().map(|x| x * x).sum::<f64>().sqrt());
            let share = if first > 0.0 { norm / first } else { 0.0 };
            let end = |w, bias| Minimum { weights: w, bias, iterations, sweeps, gradient_norm: share };
            if share <= self.tolerance || iterations == self.max_iterations {
                return Ok(end(w, bias));
            }
            let active = (0..w.len()).filter(|&column| w[column] != 0.0 || excess[column] != 0.0).collect();
            let step = self.step(&w, active, &slopes, norm * share.sqrt().clamp(1e-3, 0.1));
            let length = self.line_search(&w, &margins, &slopes, &step);
            if length == 0.0 {
                // No step lowers the objective: the remaining gradient is rounding error.
                return Ok(end(w, bias));
            }
            for (&column, &new) in step.active.iter().zip(&step.weights) {
                w[column] = between(w[column], new, length);
            }
            bias += length * step.bias;
            margins.iter_mut().zip(&step.margins).for_each(|(z, change)| *z += length * change);
            iterations += 1;
            sweeps += step.sweeps;
        }
    }

    fn slopes(&self, w: &[f64], margins: &[f64]) -> Slopes {
        let p: Vec<f64> = margins.iter().map(|&z| sigmoid(z)).collect();
        let of = |row: usize| self.c * self.weights[row] * (p[row] - f64::from(u8::from(self.has[row])));
        let residuals: Vec<f64> = (0..p.len()).map(of).collect();
        let smooth = 1.0 - self.l1_ratio;
        let columns = self.columns.values.par_chunks_exact(self.columns.rows).zip(w);
        let columns = columns.map(|(column, w)| dot_mixed(column, &residuals) + smooth * w).collect();
        let curvature = p.iter().zip(self.weights).map(|(p, weight)| self.c * weight * p * (1.0 - p)).collect();
        Slopes { columns, bias: residuals.iter().sum(), curvature }
    }

    /// The subgradient of smallest size at weight `w`, where the smooth part has this slope.
    fn excess(&self, w: f64, slope: f64) -> f64 {
        if w == 0.0 {
            slope.signum() * (slope.abs() - self.l1_ratio).max(0.0)
        } else {
            slope + w.signum() * self.l1_ratio
        }
    }

    /// Minimizes the quadratic approximation over the active columns and the bias, until its subgradient in a whole sweep has the norm
    /// `target`.
    fn step(&self, w: &[f64], active: Vec<usize>, slopes: &Slopes, target: f64) -> Step {
        let (rows, smooth) = (self.columns.rows, 1.0 - self.l1_ratio);
        let curvature = &slopes.curvature;
        let of = |&column: &usize| {
            let sum: f64 =
                self.columns.column(column).iter().zip(curvature).map(|(&x, d)| d * f64::from(x).powi(2)).sum();
            (sum + smooth).max(f64::MIN_POSITIVE)
        };
        let bends: Vec<f64> = active.par_iter().map(of).collect();
        let bias_bend = curvature.iter().sum::<f64>().max(f64::MIN_POSITIVE);
        let mut weights: Vec<f64> = active.iter().map(|&column| w[column]).collect();
        let mut bias = 0.0;
        // The changes of the margins times the curvature.
        let mut bent = vec![0.0; rows];
        let (mut whole, mut sweeps) = (true, 0);
        while sweeps < MOST_SWEEPS {
            sweeps += 1;
            let mut square = 0.0;
            for (at, &column) in active.iter().enumerate() {
                let old = weights[at];
                if old == 0.0 && !whole {
                    continue;
                }
                let x = self.columns.column(column);
                let slope = slopes.columns[column] + dot_mixed(x, &bent) + smooth * (old - w[column]);
                let excess = self.excess(old, slope);
                if excess == 0.0 {
                    continue;
                }
                square += excess * excess;
                let free = bends[at] * old - slope;
                let new = free.signum() * (free.abs() - self.l1_ratio).max(0.0) / bends[at];
                let change = new - old;
                weights[at] = new;
                bent.iter_mut().zip(x).zip(curvature).for_each(|((b, &x), d)| *b += change * f64::from(x) * d);
            }
            let slope = slopes.bias + bent.iter().sum::<f64>();
            square += slope * slope;
            let change = -slope / bias_bend;
            bias += change;
            bent.iter_mut().zip(curvature).for_each(|(b, d)| *b += change * d);
            // Sweeps over the columns with a weight, until they rest; then all once more.
            let rests = square.sqrt() <= target;
            if rests && whole {
                break;
            }
            whole = rests;
        }
        let mut margins = vec![bias; rows];
        for ((&column, &new), old) in active.iter().zip(&weights).zip(active.iter().map(|&column| w[column])) {
            if new != old {
                let x = self.columns.column(column);
                margins.iter_mut().zip(x).for_each(|(z, &x)| *z += (new - old) * f64::from(x));
            }
        }
        Step { active, weights, bias, margins, sweeps }
    }

    /// The largest of 1, ½, ¼ … that lowers the objective enough (Armijo); 0 if none does.
    fn line_search(&self, w: &[f64], margins: &[f64], slopes: &Slopes, step: &Step) -> f64 {
        let pairs = || step.active.iter().zip(&step.weights).map(|(&column, &new)| (column, w[column], new));
        let penalty = |w: f64| self.l1_ratio * w.abs() + 0.5 * (1.0 - self.l1_ratio) * w * w;
        let loss = |length: f64| -> f64 {
            let rows = margins.iter().zip(&step.margins).zip(self.has).zip(self.weights);
            rows.map(|(((z, change), &has), weight)| {
                let z = z + length * change;
                let z = if has { -z } else { z };
                weight * (z.max(0.0) + (-z.abs()).exp().ln_1p())
            })
            .sum()
        };
        let at_start = loss(0.0);
        let before = self.c * at_start + w.iter().map(|&w| penalty(w)).sum::<f64>();
        let slope = slopes.bias * step.bias
            + pairs()
                .map(|(column, old, new)| {
                    slopes.columns[column] * (new - old) + self.l1_ratio * (new.abs() - old.abs())
                })
                .sum::<f64>();
        let mut length = 1.0;
        for _ in 0..MOST_HALVINGS {
            let change: f64 = pairs().map(|(_, old, new)| penalty(between(old, new, length)) - penalty(old)).sum();
            let after = before + self.c * (loss(length) - at_start) + change;
            // Near the minimum the gain is lost in rounding: a step that costs no more than that is accepted.
            if after <= before + 1e-4 * length * slope.min(0.0) + 1e-12 * before.abs() {
                return length;
            }
            length /= 2.0;
        }
        0.0
    }
}

/// The point between two weights; at the end exactly `new`, so that a weight of 0 stays one.
fn between(old: f64, new: f64, length: f64) -> f64 {
    if length == 1.0 { new } else { old + length * (new - old) }
}

/// The weights of the columns with an L1 penalty, for the selection of columns.
pub fn l1_weights(columns: &ByColumn, has: &[bool], c: f64) -> Result<Vec<f64>> {
    let problem = Penalized {
        columns,
        has,
        weights: &vec![1.0; has.len()],
        c,
        l1_ratio: 1.0,
        tolerance: SELECTION_TOLERANCE,
        max_iterations: SELECTION_STEPS,
    };
    Ok(problem.solve()?.weights)
}

/// Sum of products in f64, in eight partial sums that the compiler can keep in vector registers.
fn dot_mixed(a: &[f32], b: &[f64]) -> f64 {
    let (a, a_rest) = a.as_chunks::<8>();
    let (b, b_rest) = b.as_chunks::<8>();
    let mut lanes = [0.0f64; 8];
    for (x, y) in a.iter().zip(b) {
        (0..8).for_each(|i| lanes[i] += f64::from(x[i]) * y[i]);
    }
    lanes.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(&x, y)| f64::from(x) * y).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> (ByColumn, Vec<bool>) {
        let values =
            (0..60).flat_map(|i| [(i * 7 % 13) as f32 / 6.0 - 1.0, if i % 2 == 0 { 1.0 } else { -1.0 }]).collect();
        (ByColumn::of(&Rows::new(2, values)), (0..60).map(|i| i % 2 == 0).collect())
    }

    #[test]
    fn a_small_c_leaves_no_weight_and_a_larger_one_that_of_the_column_that_helps() {
        let (columns, has) = rows();
        assert_eq!(l1_weights(&columns, &has, 0.01).unwrap(), [0.0, 0.0]);
        let weights = l1_weights(&columns, &has, 0.1).unwrap();
        assert!(weights[0] == 0.0 && weights[1] > 0.1, "{weights:?}");
    }

    #[test]
    fn no_subgradient_is_left_at_the_minimum() {
        let (columns, mut has) = rows();
        has[4] = false;
        let weights: Vec<f64> = (0..60).map(|i| 0.5 + f64::from(i % 3)).collect();
        for l1_ratio in [0.0, 0.3, 1.0] {
            let (tolerance, max_iterations) = (1e-9, 100);
            let problem = Penalized {
                columns: &columns,
                has: &has,
                weights: &weights,
                c: 0.7,
                l1_ratio,
                tolerance,
                max_iterations,
            };
            let minimum = problem.solve().unwrap();
            assert!(minimum.gradient_norm <= tolerance && minimum.iterations < 20, "{l1_ratio}");
            // The slow twin of the objective: it rises in every direction.
            let objective = |w: [f64; 2], bias: f64| {
                let loss = |i: usize| {
                    let z = bias + (0..2).map(|k| w[k] * f64::from(columns.column(k)[i])).sum::<f64>();
                    weights[i] * (1.0 + (if has[i] { -z } else { z }).exp()).ln()
                };
                let penalty = |w: f64| l1_ratio * w.abs() + 0.5 * (1.0 - l1_ratio) * w * w;
                w.iter().map(|&w| penalty(w)).sum::<f64>() + 0.7 * (0..60).map(loss).sum::<f64>()
            };
            let (w, bias) = ([minimum.weights[0], minimum.weights[1]], minimum.bias);
            let least = objective(w, bias);
            for h in [1e-4, -1e-4] {
                assert!(objective([w[0] + h, w[1]], bias) > least, "{l1_ratio}");
                assert!(objective([w[0], w[1] + h], bias) > least, "{l1_ratio}");
                assert!(objective(w, bias + h) > least, "{l1_ratio}");
            }
        }
    }
}
