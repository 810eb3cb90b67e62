//! Minimizes ½‖W‖² + C · Σ loss(margins + bias) with Newton's method and conjugate gradients.
//!
//! The solver never sees the features. A [`Space`] turns coefficients into margins and residuals into coefficients: in
//! `primal.rs` a coefficient belongs to a column of the features, in `dual.rs` to a training row. The solver keeps the margins
//! of each vector beside it. They are linear too, so a line search needs no product with the data and a step of conjugate
//! gradients needs one product each way. A space may precondition them.
//!
//! With [`Link::Sigmoid`] and [`Link::SquaredHinge`] the columns are separate problems (one class against the rest), solved in step so that they share the
//! products; with [`Link::Softmax`] they are one problem. Every number that controls a problem is a list with one entry per
//! column; [`Link::pool`] makes the entries of one problem equal.
//!
//! Everything is f64. The bias is penalized like a weight if the problem says so.

use anyhow::{Result, ensure};
use rayon::prelude::*;

use crate::products::dot64;

/// The maximum number of conjugate-gradient steps in a Newton step.
const MOST_INNER_STEPS: usize = 400;
const MOST_HALVINGS: usize = 40;

/// Column-major numbers, one column per class.
#[derive(Clone, Debug, PartialEq)]
pub struct Columns {
    pub len: usize,
    pub count: usize,
    pub values: Vec<f64>,
}

impl Columns {
    pub fn zeros(len: usize, count: usize) -> Self {
        Columns { len, count, values: vec![0.0; len * count] }
    }

    pub fn column(&self, k: usize) -> &[f64] {
        &self.values[k * self.len..(k + 1) * self.len]
    }

    fn column_mut(&mut self, k: usize) -> &mut [f64] {
        &mut self.values[k * self.len..(k + 1) * self.len]
    }

    /// `self = scale * self + factor * other`, each column by its own factor.
    fn blend(&mut self, scale: &[f64], factor: &[f64], other: &Columns) {
        for k in 0..self.count {
            let (scale, factor) = (scale[k], factor[k]);
            self.column_mut(k).iter_mut().zip(other.column(k)).for_each(|(x, &y)| *x = scale * *x + factor * y);
        }
    }
}

/// Which rows have the class of which column, and how much each counts; column-major like [`Columns`].
pub struct Targets {
    rows: usize,
    values: Vec<bool>,
    /// One number for each row, or for each row of each column. None: all count 1.
    weights: Option<Vec<f64>>,
}

impl Targets {
    pub fn new(rows: usize, columns: usize, has: impl Fn(usize, usize) -> bool) -> Self {
        let columns = 0..columns;
        let values: Vec<bool> = columns.flat_map(|k| (0..rows).map(move |i| (i, k))).map(|(i, k)| has(i, k)).collect();
        Targets { rows, weights: None, values }
    }

    /// With the weight of the loss of each row, the same in all columns.
    pub fn with_row_weights(self, weight: impl Fn(usize) -> f64) -> Self {
        let weights = (0..self.rows).map(weight).collect();
        Targets { weights: Some(weights), ..self }
    }

    /// With the weight of the loss of each row in each column. For a softmax a row has the same weight in all columns.
    pub fn weighted(self, weight: impl Fn(usize, usize) -> f64) -> Self {
        let weights = (0..self.values.len()).map(|at| weight(at % self.rows, at / self.rows)).collect();
        Targets { weights: Some(weights), ..self }
    }

    fn weight(&self, row: usize, column: usize) -> f64 {
        let of = |weights: &Vec<f64>| weights[if weights.len() == self.rows { row } else { column * self.rows + row }];
        self.weights.as_ref().map_or(1.0, of)
    }

    /// Multiplies numbers of rows and columns by their weights.
    fn weigh(&self, numbers: &mut [f64]) {
        if let Some(weights) = &self.weights {
            numbers.iter_mut().zip(weights.iter().cycle()).for_each(|(number, weight)| *number *= weight);
        }
    }

    pub fn column(&self, k: usize) -> &[bool] {
        &self.values[k * self.rows..(k + 1) * self.rows]
    }

    /// The weight of the loss of each row in a column.
    pub fn weights(&self, k: usize) -> Vec<f64> {
        (0..self.rows).map(|row| self.weight(row, k)).collect()
    }
}

/// The space of the coefficients.
pub trait Space {
    /// Whether `inner` reads the margins.
    const INNER_OF_MARGINS: bool;

    /// The number of training rows.
    fn rows(&self) -> usize;

    /// The number of coefficients per class.
    fn size(&self) -> usize;

    /// X·w for every row and column.
    fn margins(&self, coefficients: &Columns) -> Result<Columns>;

    /// The coefficients of Xᵀ·r.
    fn pull(&self, residuals: Columns) -> Result<Columns>;

    /// ⟨a, b⟩ in the space of the features, for one column.
    fn inner(&self, a: &Vector, b: &Vector, column: usize) -> f64;

    /// A factor of I + `scale` · XᵀX, if it is worth its cost. Only where `inner` reads no margins.
    fn factor(&self, _scale: f64) -> Result<Option<Factor>> {
        Ok(None)
    }
}

/// The triangle L of a positive definite matrix LLᵀ (Cholesky), row-major.
pub struct Factor {
    size: usize,
    lower: Vec<f64>,
}

impl Factor {
    /// Of a matrix of which the lower triangle is read.
    pub fn new(mut lower: Vec<f64>, size: usize) -> Factor {
        for i in 0..size {
            let (above, rest) = lower.split_at_mut(i * size);
            let row = &mut rest[..i + 1];
            for j in 0..i {
                let other = &above[j * size..j * size + j + 1];
                row[j] = (row[j] - dot64(&row[..j], &other[..j])) / other[j];
            }
            row[i] = (row[i] - dot64(&row[..i], &row[..i])).sqrt();
        }
        Factor { size, lower }
    }

    /// Solves LLᵀx = b in place.
    fn solve(&self, b: &mut [f64]) {
        let row = |i: usize| &self.lower[i * self.size..i * self.size + i + 1];
        for i in 0..self.size {
            b[i] = (b[i] - dot64(&row(i)[..i], &b[..i])) / row(i)[i];
        }
        for i in (0..self.size).rev() {
            b[i] /= row(i)[i];
            let (before, last) = (i, b[i]);
            b[..before].iter_mut().zip(row(i)).for_each(|(b, l)| *b -= l * last);
        }
    }
}

/// A point or a direction: coefficients, their margins (without the bias), and the bias.
#[derive(Clone, Debug)]
pub struct Vector {
    pub coefficients: Columns,
    pub margins: Columns,
    pub bias: Vec<f64>,
}

impl Vector {
    fn zeros<S: Space>(space: &S, columns: usize) -> Vector {
        Vector {
            coefficients: Columns::zeros(space.size(), columns),
            margins: Columns::zeros(space.rows(), columns),
            bias: vec![0.0; columns],
        }
    }

    fn blend(&mut self, scale: &[f64], factor: &[f64], other: &Vector) {
        self.coefficients.blend(scale, factor, &other.coefficients);
        self.margins.blend(scale, factor, &other.margins);
        for (k, bias) in self.bias.iter_mut().enumerate() {
            *bias = scale[k] * *bias + factor[k] * other.bias[k];
        }
    }

    /// The input of the link: margins plus bias.
    fn logits(&self) -> Columns {
        let mut logits = self.margins.clone();
        for (k, &bias) in self.bias.iter().enumerate() {
            logits.column_mut(k).iter_mut().for_each(|x| *x += bias);
        }
        logits
    }
}

/// The loss of logits, and what they become: probabilities, or slopes of the hinge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Sigmoid,
    Softmax,
    /// max(0, 1 - margin)², where the margin is the logit with the sign of the target.
    SquaredHinge,
}

impl Link {
    /// The sum over the columns of one problem, at each of them.
    fn pool(self, mut values: Vec<f64>) -> Vec<f64> {
        if self == Link::Softmax {
            let sum = values.iter().sum();
            values.fill(sum);
        }
        values
    }

    /// Probabilities (or half the slopes of the hinge), and the loss of each column. For a sigmoid a row may have the classes of several columns, for a softmax of
    /// one.
    fn evaluate(self, logits: &Columns, targets: &Targets) -> (Columns, Vec<f64>) {
        let mut p = logits.clone();
        let mut losses = vec![0.0; p.count];
        match self {
            Link::Sigmoid => {
                for (k, loss) in losses.iter_mut().enumerate() {
                    for (i, (x, &has)) in p.column_mut(k).iter_mut().zip(targets.column(k)).enumerate() {
                        let z = if has { -*x } else { *x };
                        *loss += targets.weight(i, k) * (z.max(0.0) + (-z.abs()).exp().ln_1p());
                        *x = sigmoid(*x);
                    }
                }
            }
            Link::SquaredHinge => {
                for (k, loss) in losses.iter_mut().enumerate() {
                    for (i, (x, &has)) in p.column_mut(k).iter_mut().zip(targets.column(k)).enumerate() {
                        let sign = if has { 1.0 } else { -1.0 };
                        let short = (1.0 - sign * *x).max(0.0);
                        *loss += targets.weight(i, k) * short * short;
                        *x = -sign * short;
                    }
                }
            }
            Link::Softmax => {
                let (n, count) = (p.len, p.count);
                for i in 0..n {
                    let at = |k: usize| k * n + i;
                    let top = (0..count).map(|k| p.values[at(k)]).fold(f64::NEG_INFINITY, f64::max);
                    let sum: f64 = (0..count).map(|k| (p.values[at(k)] - top).exp()).sum();
                    if let Some(k) = (0..count).find(|&k| targets.values[at(k)]) {
                        losses[k] += targets.weight(i, k) * (top + sum.ln() - p.values[at(k)]);
                    }
                    (0..count).for_each(|k| p.values[at(k)] = (p.values[at(k)] - top).exp() / sum);
                }
            }
        }
        (p, self.pool(losses))
    }

    /// The derivative of the loss by the logits.
    fn slope(self, p: &Columns, targets: &Targets) -> Columns {
        let mut slope = p.clone();
        match self {
            Link::SquaredHinge => slope.values.iter_mut().for_each(|slope| *slope *= 2.0),
            Link::Sigmoid | Link::Softmax => {
                let having = slope.values.iter_mut().zip(&targets.values).filter(|&(_, &has)| has);
                having.for_each(|(p, _)| *p -= 1.0);
            }
        }
        targets.weigh(&mut slope.values);
        slope
    }

    /// The second derivative of the loss of one row and column by its own logit, without its weight.
    fn curvature(self, p: f64) -> f64 {
        match self {
            Link::SquaredHinge => 2.0 * f64::from(p != 0.0),
            Link::Sigmoid | Link::Softmax => p * (1.0 - p),
        }
    }

    /// The second derivative of the loss applied to logits `z`.
    fn curve(self, p: &Columns, targets: &Targets, mut z: Columns) -> Columns {
        match self {
            Link::Sigmoid | Link::SquaredHinge => {
                z.values.iter_mut().zip(&p.values).for_each(|(z, &p)| *z *= self.curvature(p));
            }
            Link::Softmax => {
                for i in 0..z.len {
                    let at = |k: usize| k * p.len + i;
                    let mean: f64 = (0..p.count).map(|k| p.values[at(k)] * z.values[at(k)]).sum();
                    (0..p.count).for_each(|k| z.values[at(k)] = p.values[at(k)] * (z.values[at(k)] - mean));
                }
            }
        }
        targets.weigh(&mut z.values);
        z
    }
}

pub fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 { 1.0 / (1.0 + (-x).exp()) } else { x.exp() / (1.0 + x.exp()) }
}

/// The end of the search.
pub struct Solution {
    pub point: Vector,
    /// The number of Newton steps.
    pub iterations: usize,
    /// The number of conjugate-gradient steps in all Newton steps.
    pub inner_steps: usize,
    /// The norm of the gradient as a share of that at zero; that of the worst problem.
    pub gradient_norm: f64,
}

/// The problem to minimize, and when to stop.
pub struct Problem<'a, S: Space> {
    pub space: &'a S,
    pub link: Link,
    pub targets: &'a Targets,
    pub columns: usize,
    /// C: the weight of the losses against ½‖W‖².
    pub strength: f64,
    /// Add ½·bias² to the objective.
    pub penalizes_bias: bool,
    /// Stop when the 2-norm of the gradient is this share of that at zero.
    pub tolerance: f64,
    pub max_iterations: usize,
}

impl<S: Space> Problem<'_, S> {
    pub fn solve(&self) -> Result<Solution> {
        let k = self.columns;
        let mut x = Vector::zeros(self.space, k);
        let mut first: Option<Vec<f64>> = None;
        let (mut iterations, mut inner_steps) = (0, 0);
        loop {
            let (p, losses) = self.link.evaluate(&x.logits(), self.targets);
            let gradient = self.gradient(&x, &p)?;
            let norms: Vec<f64> = self.squares(&gradient).iter().map(|s| s.sqrt()).collect();
            ensure!(
                norms.iter().all(|norm| norm.is_finite()),
                "fit a linear model: the training features contain NaN or infinite values, or values too large to multiply"
            );
            let first = first.get_or_insert_with(|| norms.clone());
            let shares: Vec<f64> = norms
                .iter()
                .zip(first.iter())
                .map(|(&norm, &first)| if first > 0.0 { norm / first } else { 0.0 })
                .collect();
            let gradient_norm = shares.iter().copied().fold(0.0, f64::max);
            if gradient_norm <= self.tolerance || iterations == self.max_iterations {
                return Ok(Solution { point: x, iterations, inner_steps, gradient_norm });
            }
            let done: Vec<bool> = shares.iter().map(|&share| share <= self.tolerance).collect();
            let (step, steps) = self.newton_step(&gradient, &norms, &shares, &done, &p)?;
            let lengths = self.line_search(&x, &gradient, &step, &losses, &done);
            iterations += 1;
            inner_steps += steps;
            if lengths.iter().all(|&t| t == 0.0) {
                // No step lowers the objective: the remaining gradient is rounding error.
                return Ok(Solution { point: x, iterations, inner_steps, gradient_norm });
            }
            x.blend(&vec![1.0; k], &lengths, &step);
        }
    }

    fn gradient(&self, x: &Vector, p: &Columns) -> Result<Vector> {
        let mut gradient = self.pull(self.link.slope(p, self.targets))?;
        let (ones, strength) = (vec![1.0; self.columns], vec![self.strength; self.columns]);
        gradient.coefficients.blend(&strength, &ones, &x.coefficients);
        for (bias, &at) in gradient.bias.iter_mut().zip(&x.bias) {
            *bias = self.strength * *bias + self.bias_penalty() * at;
        }
        self.complete(&mut gradient)?;
        Ok(gradient)
    }

    /// Adds the margins if inner products read them.
    fn complete(&self, v: &mut Vector) -> Result<()> {
        if S::INNER_OF_MARGINS {
            v.margins = self.space.margins(&v.coefficients)?;
        }
        Ok(())
    }

    /// The factor of ½·bias² in the objective.
    fn bias_penalty(&self) -> f64 {
        f64::from(self.penalizes_bias)
    }

    /// The inner product of what is penalized.
    fn penalized_inner(&self, a: &Vector, b: &Vector, column: usize) -> f64 {
        self.space.inner(a, b, column) + self.bias_penalty() * a.bias[column] * b.bias[column]
    }

    /// Xᵀ·r and the sums of r; the margins stay empty.
    fn pull(&self, residuals: Columns) -> Result<Vector> {
        let bias = (0..self.columns).map(|k| residuals.column(k).iter().sum()).collect();
        let coefficients = self.space.pull(residuals)?;
        Ok(Vector { coefficients, margins: Columns::zeros(0, self.columns), bias })
    }

    fn squares(&self, v: &Vector) -> Vec<f64> {
        let square = |k| self.space.inner(v, v, k) + v.bias[k] * v.bias[k];
        // Rounding may leave slightly negative values; `max` would also swallow NaN, which must be seen.
        let checked = |k| if square(k) < 0.0 { 0.0 } else { square(k) };
        self.link.pool((0..self.columns).map(checked).collect())
    }

    /// Solves H·s = -gradient: roughly while far from the minimum, more precisely near it.
    fn newton_step(
        &self,
        gradient: &Vector,
        norms: &[f64],
        shares: &[f64],
        done: &[bool],
        p: &Columns,
    ) -> Result<(Vector, usize)> {
        let k = self.columns;
        let (zeros, ones) = (vec![0.0; k], vec![1.0; k]);
        let target: Vec<f64> =
            norms.iter().zip(shares).map(|(norm, share)| norm * share.sqrt().clamp(1e-3, 0.1)).collect();
        let mut done = done.to_vec();
        let mut step = Vector::zeros(self.space, k);
        let mut residual = gradient.clone();
        residual.blend(&vec![-1.0; k], &zeros, gradient);
        // The mean of the second derivatives stands for all of them.
        let rows = p.len;
        let of = |(at, &p): (usize, &f64)| self.targets.weight(at % rows, at / rows) * self.link.curvature(p);
        let curvature = p.values.iter().enumerate().map(of).sum::<f64>();
        let scale = self.strength * curvature / k as f64;
        let factor = self.space.factor(scale / rows as f64)?;
        let bias_scale = self.bias_penalty() + scale.max(1e-6 * self.strength);
        let mut direction = self.preconditioned(&residual, factor.as_ref(), bias_scale)?;
        let mut products = self.products(&residual, &direction);
        for taken in 0..MOST_INNER_STEPS {
            let logits = direction.logits();
            let curved = self.link.curve(p, self.targets, logits.clone());
            let curvatures = (0..k).map(|k| {
                self.penalized_inner(&direction, &direction, k)
                    + self.strength * dot64(logits.column(k), curved.column(k))
            });
            let curvatures = self.link.pool(curvatures.collect());
            let alpha: Vec<f64> = (0..k)
                .map(|k| if done[k] || curvatures[k] <= 0.0 { 0.0 } else { products[k] / curvatures[k] })
                .collect();
            step.blend(&ones, &alpha, &direction);
            let pulled = self.pull(curved)?;
            let bent_alpha: Vec<f64> = alpha.iter().map(|a| -a * self.strength).collect();
            let straight: Vec<f64> = alpha.iter().map(|a| -a).collect();
            residual.coefficients.blend(&ones, &bent_alpha, &pulled.coefficients);
            residual.coefficients.blend(&ones, &straight, &direction.coefficients);
            for (k, bias) in residual.bias.iter_mut().enumerate() {
                *bias += bent_alpha[k] * pulled.bias[k] + straight[k] * self.bias_penalty() * direction.bias[k];
            }
            self.complete(&mut residual)?;
            let squares = self.squares(&residual);
            for k in 0..k {
                done[k] |= alpha[k] == 0.0 || squares[k].sqrt() <= target[k];
            }
            if done.iter().all(|&done| done) {
                return Ok((step, taken + 1));
            }
            let next = self.preconditioned(&residual, factor.as_ref(), bias_scale)?;
            let before = std::mem::replace(&mut products, self.products(&residual, &next));
            let beta: Vec<f64> = (0..k).map(|k| if done[k] { 0.0 } else { products[k] / before[k] }).collect();
            direction.blend(&beta, &ones, &next);
        }
        Ok((step, MOST_INNER_STEPS))
    }

    /// The residual in the metric of the factor, with its margins.
    fn preconditioned(&self, residual: &Vector, factor: Option<&Factor>, bias_scale: f64) -> Result<Vector> {
        let mut out = residual.clone();
        if let Some(factor) = factor {
            out.coefficients.values.par_chunks_exact_mut(factor.size).for_each(|column| factor.solve(column));
            out.bias.iter_mut().for_each(|bias| *bias /= bias_scale);
        }
        if !S::INNER_OF_MARGINS {
            out.margins = self.space.margins(&out.coefficients)?;
        }
        Ok(out)
    }

    /// The inner product of each problem.
    fn products(&self, a: &Vector, b: &Vector) -> Vec<f64> {
        let product = |k| self.space.inner(a, b, k) + a.bias[k] * b.bias[k];
        self.link.pool((0..self.columns).map(product).collect())
    }

    /// The largest of 1, ½, ¼ … that lowers each problem enough (Armijo); 0 where the problem is solved or no step does.
    fn line_search(&self, x: &Vector, gradient: &Vector, step: &Vector, losses: &[f64], done: &[bool]) -> Vec<f64> {
        let inner = |a: &Vector, b: &Vector| {
            self.link.pool((0..self.columns).map(|k| self.penalized_inner(a, b, k)).collect::<Vec<_>>())
        };
        let (xx, xs, ss) = (inner(x, x), inner(x, step), inner(step, step));
        let slope = self.link.pool(
            (0..self.columns)
                .map(|k| self.space.inner(gradient, step, k) + gradient.bias[k] * step.bias[k])
                .collect::<Vec<_>>(),
        );
        let mut lengths: Vec<f64> = done.iter().map(|&done| if done { 0.0 } else { 1.0 }).collect();
        let mut open: Vec<bool> = done.iter().map(|done| !done).collect();
        for _ in 0..MOST_HALVINGS {
            let mut candidate = x.clone();
            candidate.blend(&vec![1.0; self.columns], &lengths, step);
            let (_, new_losses) = self.link.evaluate(&candidate.logits(), self.targets);
            for k in 0..self.columns {
                if !open[k] {
                    continue;
                }
                let t = lengths[k];
                let before = 0.5 * xx[k] + self.strength * losses[k];
                let after = before + t * xs[k] + 0.5 * t * t * ss[k] + self.strength * (new_losses[k] - losses[k]);
                // Near the minimum the gain is lost in rounding: a step that costs no more than that is accepted.
                if after <= before + 1e-4 * t * slope[k] + 1e-12 * before.abs() {
                    open[k] = false;
                } else {
                    lengths[k] = t / 2.0;
                }
            }
            if open.iter().all(|open| !open) {
                break;
            }
        }
        (0..self.columns).map(|k| if open[k] { 0.0 } else { lengths[k] }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_factor_solves_its_matrix(values in prop::collection::vec(-2.0f64..2.0, 7 * 5), b in prop::collection::vec(-1.0f64..1.0, 5)) {
            let mut matrix = vec![0.0; 25];
            for (i, j) in (0..5).flat_map(|i| (0..5).map(move |j| (i, j))) {
                matrix[5 * i + j] = values.chunks(5).map(|x| x[i] * x[j]).sum::<f64>() + f64::from(u8::from(i == j));
            }
            let mut x = b.clone();
            Factor::new(matrix.clone(), 5).solve(&mut x);
            for i in 0..5 {
                let product: f64 = (0..5).map(|j| matrix[5 * i + j] * x[j]).sum();
                prop_assert!((product - b[i]).abs() < 1e-9, "{product} is not {}", b[i]);
            }
        }
    }
}
