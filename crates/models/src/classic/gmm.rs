//! Gaussian mixtures: one per class.
//!
//! Conventions: each mixture is scikit-learn's GaussianMixture of the clips of a class: expectation and maximization from k-means
//! (k-means++ centres, Lloyd's steps), `reg_covar` added to every variance, until the mean log-likelihood rises by less than
//! `tolerance`. The probability of a class is its share of the training clips times the density of its mixture. A class with
//! fewer clips than components has as many components as clips. The start is random, so a mixture of several components may end
//! in another maximum than scikit-learn's.
//!
//! Memory: one f64 per clip of a class and component; with `covariance = "full"` a square matrix of the columns per component.

use anyhow::{Result, bail, ensure};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::naive_bayes::shares_of_logs;
use super::row_model::{Problem, RowClassifier, RowModel};
use super::rows::Rows;
use crate::Tensor;
use crate::products::squared_distance;
use crate::tensor::{take_matrix, take_tensor};
use timbre_core::{
    registry::Fault,
    seed::{Seed, uniform, uniform_below},
    text::count,
};

/// The most steps of k-means.
const MOST_LLOYD_STEPS: usize = 100;

/// The shape of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Covariance {
    /// Columns are independent within a component.
    Diag,
    /// Any covariance.
    Full,
}

row_spec! {
    /// Gaussian mixtures: the clips of each class are described by a few normal distributions.
    pub struct Gmm {
        /// Standardize every column to zero mean and unit variance over the training clips first. Default: true.
        pub standardize: bool = true,
        /// The number of normal distributions of a class. Default: 4.
        #[schemars(range(min = 1, max = 4096))]
        pub n_components: usize = 4,
        /// The shape of a component: "diag" (independent columns) or "full". Default: "diag".
        pub covariance: Covariance = Covariance::Diag,
        /// What is added to every variance. Default: 1e-6.
        #[schemars(range(min = 1e-12, max = 1e6))]
        pub reg_covar: f64 = 1e-6,
        /// When to stop: the rise of the mean log-likelihood. Default: 1e-3.
        #[schemars(range(min = 0.0, max = 1.0))]
        pub tolerance: f64 = 1e-3,
        /// The maximum number of steps. Default: 100.
        #[schemars(range(min = 1))]
        pub max_iterations: usize = 100,
    }
}

row_model!(Gmm, version 1);

impl RowModel for Gmm {
    type Fitted = Mixtures;

    fn own_faults(&self) -> Vec<Fault> {
        let fault = |wrong: bool, sentence: &str| wrong.then(|| sentence.to_owned());
        Fault::of_keys([
            (
                "n_components",
                fault(!(1..=4096).contains(&self.n_components), "write a number from 1 to 4096, such as 4"),
            ),
            (
                "reg_covar",
                fault(!(1e-12..=1e6).contains(&self.reg_covar), "write a variance between 1e-12 and 1e6, such as 1e-6"),
            ),
            ("tolerance", fault(!(0.0..=1.0).contains(&self.tolerance), "write a rise between 0 and 1, such as 1e-3")),
            ("max_iterations", fault(self.max_iterations == 0, "write 1 or more: at least one step is needed")),
        ])
    }

    fn small_class_warning(&self, clips: usize) -> Option<Fault> {
        let sentence = format!(
            "{} components, but a class has only {}: a class has at most one component for each",
            self.n_components,
            count(clips, "training clip")
        );
        (clips < self.n_components).then(|| Fault::new("n_components", sentence))
    }

    fn fit_rows(&self, problem: &Problem) -> Result<Mixtures> {
        let &Problem { rows, targets, classes, seed, .. } = problem;
        let of_class = |class: usize| -> Result<Vec<Component>> {
            let members: Vec<usize> = (0..rows.len()).filter(|&row| targets[row] == class).collect();
            let prior = members.len() as f64 / rows.len() as f64;
            let mut components = self.mixture(&rows.subset(&members), seed.child("class").child(class))?;
            components.iter_mut().for_each(|component| component.log_weight += prior.ln());
            Ok(components)
        };
        let components: Vec<Vec<Component>> = (0..classes).into_par_iter().map(of_class).collect::<Result<_>>()?;
        let owners = components.iter().enumerate().flat_map(|(class, list)| vec![class; list.len()]).collect();
        Ok(Mixtures::new(self.covariance, classes, rows.dims, owners, components.concat()))
    }

    fn restore_rows(&self, tensors: &mut Vec<Tensor>, prefix: &str, classes: usize, dims: usize) -> Result<Mixtures> {
        let owners = take_tensor(tensors, &format!("{prefix}component_classes"))?;
        let log_weights = take_tensor(tensors, &format!("{prefix}log_weights"))?;
        let (count, columns, means) = take_matrix(tensors, &format!("{prefix}means"))?;
        let (rows, width, spreads) = take_matrix(tensors, &format!("{prefix}spreads"))?;
        let owners: Vec<usize> = owners.iter().map(|&class| class as usize).collect();
        ensure!(
            columns == dims
                && [owners.len(), log_weights.len(), rows] == [count; 3]
                && width == self.covariance.width(dims)
                && (0..classes).all(|class| owners.contains(&class))
                && owners.iter().all(|&class| class < classes),
            "`{prefix}means` has {count} components of {columns} columns, which does not fit the other tensors"
        );
        let components = log_weights
            .iter()
            .zip(means.chunks_exact(dims))
            .zip(spreads.chunks_exact(width))
            .map(|((&weight, mean), spread)| Component {
                log_weight: weight.into(),
                mean: mean.to_vec(),
                spread: spread.to_vec(),
            })
            .collect();
        Ok(Mixtures::new(self.covariance, classes, dims, owners, components))
    }
}

impl Covariance {
    /// The number of values that describe the shape.
    fn width(self, dims: usize) -> usize {
        match self {
            Covariance::Diag => dims,
            Covariance::Full => dims * dims,
        }
    }

    /// The shape in the form in which it is used: the variances, or the lower triangle L of the Cholesky factorization.
    fn spread(self, covariance: Vec<f64>, dims: usize) -> Result<Vec<f32>> {
        if self == Covariance::Diag {
            return Ok(covariance.into_iter().map(|variance| variance as f32).collect());
        }
        let mut lower = covariance;
        for i in 0..dims {
            for j in 0..=i {
                let sum: f64 = (0..j).map(|k| lower[i * dims + k] * lower[j * dims + k]).sum();
                let rest = lower[i * dims + j] - sum;
                if i == j && rest <= 0.0 {
                    bail!("fit gmm: a covariance is not positive; raise `reg_covar`, or choose covariance = \"diag\"");
                }
                lower[i * dims + j] = if i == j { rest.sqrt() } else { rest / lower[j * dims + j] };
            }
            lower[i * dims + i + 1..(i + 1) * dims].fill(0.0);
        }
        Ok(lower.into_iter().map(|x| x as f32).collect())
    }
}

/// A normal distribution with its weight, in f32 but for the weight.
#[derive(Clone)]
struct Component {
    log_weight: f64,
    mean: Vec<f32>,
    spread: Vec<f32>,
}

impl Component {
    /// The weight over the square root of the determinant of 2π times the covariance, as a logarithm.
    fn constant(&self, covariance: Covariance) -> f64 {
        let dims = self.mean.len();
        let half_log_determinant: f64 = match covariance {
            Covariance::Diag => self.spread.iter().map(|&variance| 0.5 * f64::from(variance).ln()).sum(),
            Covariance::Full => (0..dims).map(|i| f64::from(self.spread[i * dims + i]).ln()).sum(),
        };
        self.log_weight - half_log_determinant - 0.5 * dims as f64 * std::f64::consts::TAU.ln()
    }

    /// The squared distance of a row in units of the spread.
    fn square(&self, covariance: Covariance, row: &[f32]) -> f64 {
        let differences = row.iter().zip(&self.mean).map(|(&x, &mean)| f64::from(x) - f64::from(mean));
        match covariance {
            Covariance::Diag => differences.zip(&self.spread).map(|(d, &variance)| d * d / f64::from(variance)).sum(),
            Covariance::Full => {
                // L z = difference, from the top.
                let dims = row.len();
                let mut z: Vec<f64> = Vec::with_capacity(dims);
                for (i, difference) in differences.enumerate() {
                    let lower = &self.spread[i * dims..=i * dims + i];
                    let sum: f64 = z.iter().zip(lower).map(|(z, &l)| z * f64::from(l)).sum();
                    z.push((difference - sum) / f64::from(lower[i]));
                }
                z.iter().map(|z| z * z).sum()
            }
        }
    }
}

impl Gmm {
    /// The mixture of some rows.
    fn mixture(&self, rows: &Rows, seed: Seed) -> Result<Vec<Component>> {
        let count = self.n_components.min(rows.len());
        let nearest = k_means(rows, count, seed);
        let mut shares = vec![0.0; rows.len() * count];
        nearest.iter().enumerate().for_each(|(row, &component)| shares[row * count + component] = 1.0);
        let mut components = self.maximized(rows, &shares, count)?;
        let mut before = f64::NEG_INFINITY;
        for _ in 0..self.max_iterations {
            let constants: Vec<f64> = components.iter().map(|component| component.constant(self.covariance)).collect();
            let mut total = 0.0;
            for (row, shares) in rows.iter().zip(shares.chunks_exact_mut(count)) {
                for ((share, component), constant) in shares.iter_mut().zip(&components).zip(&constants) {
                    *share = constant - 0.5 * component.square(self.covariance, row);
                }
                total += log_sum(shares);
                let (normalized, _) = shares_of_logs(shares);
                shares.copy_from_slice(&normalized);
            }
            let likelihood = total / rows.len() as f64;
            components = self.maximized(rows, &shares, count)?;
            if likelihood - before < self.tolerance {
                break;
            }
            before = likelihood;
        }
        Ok(components)
    }

    /// The components that make the rows most likely, given the share of each component in each row.
    fn maximized(&self, rows: &Rows, shares: &[f64], count: usize) -> Result<Vec<Component>> {
        let dims = rows.dims;
        let component = |k: usize| {
            let weight_of = |row: usize| shares[row * count + k];
            // A component without rows keeps a little weight, as in scikit-learn.
            let total = (0..rows.len()).map(weight_of).sum::<f64>() + 10.0 * f64::EPSILON;
            let mut mean = vec![0.0; dims];
            for (i, row) in rows.iter().enumerate() {
                let weight = weight_of(i);
                mean.iter_mut().zip(row).for_each(|(sum, &x)| *sum += weight * f64::from(x));
            }
            mean.iter_mut().for_each(|sum| *sum /= total);
            let mut covariance = vec![0.0; self.covariance.width(dims)];
            let mut difference = vec![0.0; dims];
            for (i, row) in rows.iter().enumerate() {
                let weight = weight_of(i);
                difference.iter_mut().zip(row).zip(&mean).for_each(|((d, &x), mean)| *d = f64::from(x) - mean);
                match self.covariance {
                    Covariance::Diag => {
                        covariance.iter_mut().zip(&difference).for_each(|(sum, d)| *sum += weight * d * d)
                    }
                    Covariance::Full => {
                        for (out, a) in covariance.chunks_exact_mut(dims).zip(&difference) {
                            out.iter_mut().zip(&difference).for_each(|(sum, b)| *sum += weight * a * b);
                        }
                    }
                }
            }
            covariance.iter_mut().for_each(|sum| *sum /= total);
            let step = if self.covariance == Covariance::Diag { 1 } else { dims + 1 };
            covariance.iter_mut().step_by(step).for_each(|variance| *variance += self.reg_covar);
            Ok(Component {
                log_weight: (total / rows.len() as f64).ln(),
                mean: mean.into_iter().map(|x| x as f32).collect(),
                spread: self.covariance.spread(covariance, dims)?,
            })
        };
        (0..count).map(component).collect()
    }
}

/// The logarithm of the sum of numbers with these logarithms.
fn log_sum(logs: &[f64]) -> f64 {
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    most + logs.iter().map(|log| (log - most).exp()).sum::<f64>().ln()
}

/// The nearest of `count` centres for each row.
fn k_means(rows: &Rows, count: usize, seed: Seed) -> Vec<usize> {
    let mut rng = seed.child("k-means").rng();
    // Each next centre is a row, drawn in proportion to its squared distance to the nearest centre so far.
    let mut centres: Vec<Vec<f32>> = vec![rows.row(uniform_below(&mut rng, rows.len() as u64) as usize).to_vec()];
    let mut squares = vec![f64::INFINITY; rows.len()];
    while centres.len() < count {
        let last = &centres[centres.len() - 1];
        squares.iter_mut().zip(rows.iter()).for_each(|(square, row)| *square = square.min(squared_distance(row, last)));
        let mut rest = uniform(&mut rng) * squares.iter().sum::<f64>();
        let drawn = squares.iter().position(|square| {
            rest -= square;
            rest < 0.0
        });
        centres.push(rows.row(drawn.unwrap_or(rows.len() - 1)).to_vec());
    }
    let mut nearest = vec![0; rows.len()];
    for _ in 0..MOST_LLOYD_STEPS {
        let closest = |row: &[f32]| {
            let distances = centres.iter().map(|centre| squared_distance(row, centre)).enumerate();
            distances.reduce(|best, next| if next.1 < best.1 { next } else { best }).expect("a centre").0
        };
        let now: Vec<usize> = rows.iter().map(closest).collect();
        let is_still = now == nearest;
        nearest = now;
        for (k, centre) in centres.iter_mut().enumerate() {
            let members: Vec<usize> = (0..rows.len()).filter(|&row| nearest[row] == k).collect();
            // A centre without rows stays where it is.
            if !members.is_empty() {
                let mut mean = vec![0.0f64; rows.dims];
                members
                    .iter()
                    .for_each(|&row| mean.iter_mut().zip(rows.row(row)).for_each(|(sum, &x)| *sum += f64::from(x)));
                centre.iter_mut().zip(mean).for_each(|(x, sum)| *x = (sum / members.len() as f64) as f32);
            }
        }
        if is_still {
            break;
        }
    }
    nearest
}

/// The mixtures of all classes.
pub struct Mixtures {
    covariance: Covariance,
    classes: usize,
    dims: usize,
    /// The class of each component.
    owners: Vec<usize>,
    components: Vec<Component>,
    /// [`Component::constant`] of each.
    constants: Vec<f64>,
}

impl Mixtures {
    fn new(
        covariance: Covariance,
        classes: usize,
        dims: usize,
        owners: Vec<usize>,
        mut components: Vec<Component>,
    ) -> Self {
        // In the form in which it is stored.
        components.iter_mut().for_each(|component| component.log_weight = f64::from(component.log_weight as f32));
        let constants = components.iter().map(|component| component.constant(covariance)).collect();
        Mixtures { covariance, classes, dims, owners, components, constants }
    }
}

impl RowClassifier for Mixtures {
    fn shares(&self, row: &[f32]) -> (Vec<f64>, usize) {
        let mut logs = vec![Vec::new(); self.classes];
        for ((component, constant), &class) in self.components.iter().zip(&self.constants).zip(&self.owners) {
            logs[class].push(constant - 0.5 * component.square(self.covariance, row));
        }
        shares_of_logs(&logs.iter().map(|logs| log_sum(logs)).collect::<Vec<_>>())
    }

    fn tensors(&self, prefix: &str) -> Vec<Tensor> {
        let count = self.components.len();
        let tensor = |name: &str, shape, values| Tensor::new(&format!("{prefix}{name}"), shape, values);
        let all = |values: fn(&Component) -> &Vec<f32>| self.components.iter().flat_map(values).copied().collect();
        vec![
            tensor("component_classes", vec![count], self.owners.iter().map(|&class| class as f32).collect()),
            tensor("log_weights", vec![count], self.components.iter().map(|c| c.log_weight as f32).collect()),
            tensor("means", vec![count, self.dims], all(|component| &component.mean)),
            tensor("spreads", vec![count, self.covariance.width(self.dims)], all(|component| &component.spread)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k_means_finds_separate_groups() {
        let values = (0..30).flat_map(|i| [(i / 10 * 100 + i % 10) as f32, (i % 7) as f32]).collect();
        let nearest = k_means(&Rows::new(2, values), 3, Seed::new(1));
        assert!((0..30).all(|i| nearest[i] == nearest[i / 10 * 10]), "{nearest:?}");
        assert!(nearest[0] != nearest[10] && nearest[10] != nearest[20] && nearest[0] != nearest[20]);
    }

    #[test]
    fn a_full_covariance_knows_that_columns_go_together() {
        // Both classes have the same means and variances; their columns rise together, or against each other.
        let values: Vec<f32> = (0..80)
            .flat_map(|i| {
                let (x, noise) = ((i % 9) as f32 - 4.0, (i % 5) as f32 * 0.1 - 0.2);
                if i < 40 { [x, x + noise] } else { [x, noise - x] }
            })
            .collect();
        let rows = Rows::new(2, values);
        let targets: Vec<usize> = (0..80).map(|i| i / 40).collect();
        let problem = Problem { rows: &rows, targets: &targets, classes: 2, weights: None, seed: Seed::new(1) };
        let right = |covariance| {
            let spec = Gmm { covariance, n_components: 1, ..Gmm::default() };
            let mixtures = spec.fit_rows(&problem).unwrap();
            (0..80).filter(|&row| mixtures.shares(rows.row(row)).1 == targets[row]).count()
        };
        assert!(right(Covariance::Full) > 65, "{}", right(Covariance::Full));
        assert!(right(Covariance::Diag) < 60, "{}", right(Covariance::Diag));
    }
}
