//! What happens to the columns before a model: standardization, selection, principal components, in this order.
//!
//! Conventions: as a scikit-learn pipeline of StandardScaler, SelectKBest (or SelectFromModel of an L1 logistic regression, see
//! `l1.rs`) and PCA. The F score of a column is `f_classif`; with
//! several labels per clip it is the mean over the classes of the F score of the class against the rest. The mutual information is that
//! of `mutual_information.rs`, with several labels the mean in the same way. Of equal scores the
//! first columns are kept. The components are those of `PCA(svd_solver="full")`: each has its largest weight positive.
//!
//! Memory: the training rows in f32; for the components also half of them in f64 and a square matrix of the smaller side. Their
//! time grows with the cube of that side: select columns first if there are thousands of both.

use anyhow::{Result, ensure};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::eigen::symmetric_eigen;
use super::l1::{ByColumn, l1_weights};
use super::mutual_information::{Digamma, mutual_information};
use super::rows::Rows;
use super::scaling::Scaler;
use crate::ModelColumn;
use crate::products::{View, add_product, dot64};
use crate::tensor::{Tensor, chunk_ranges, take_matrix, take_tensor};
use timbre_core::{
    labels::{Labels, Task},
    registry::Fault,
    text::count,
};
use timbre_inputs::dataset::feature_set::FeatureSet;

/// How the columns are scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Score {
    /// The variance between the classes over that within them (analysis of variance).
    FClassif,
    /// The mutual information of the column and the class, from nearest neighbours (Ross 2014).
    MutualInfoClassif,
    /// The weights of a logistic regression with an L1 penalty, each class against the rest.
    L1,
}

/// Which columns are kept: `select = { score = "f_classif", k = 100 }`, `select = { score = "l1", c = 0.1 }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Select {
    /// How the columns are scored: "f_classif" (the variance between the classes over that within them), "mutual_info_classif" (the
    /// mutual information with the class, which also sees what is not linear) or "l1" (the weights of a logistic regression with an L1
    /// penalty, which leaves many at 0).
    pub score: Score,
    /// The number of columns with the highest scores that are kept. Required, except for "l1", where it is an upper limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub k: Option<usize>,
    /// With "l1": the weight of the loss against the penalty; smaller values keep fewer columns. Default: 0.1.
    #[serde(default = "default_c")]
    #[schemars(range(min = 1e-12, max = 1e12))]
    pub c: f64,
}

fn default_c() -> f64 {
    0.1
}

impl Select {
    fn fault(&self) -> Option<String> {
        match self {
            Select { score: Score::FClassif | Score::MutualInfoClassif, k: None, .. } => {
                Some("write `k`, the number of columns to keep".to_owned())
            }
            Select { k: Some(0), .. } => Some("write 1 or more for `k`: at least one column is needed".to_owned()),
            Select { c, .. } if !(1e-12..=1e12).contains(c) => {
                Some("write a weight of the loss between 1e-12 and 1e12 for `c`".to_owned())
            }
            _ => None,
        }
    }

    /// The columns that are kept, ascending.
    fn columns(&self, rows: &Rows, labels: &[Labels], n_classes: usize, task: Task) -> Result<Vec<usize>> {
        let scores = match self.score {
            Score::FClassif => f_scores(rows, labels, n_classes, task),
            Score::MutualInfoClassif => mutual_information_scores(rows, labels, n_classes, task),
            Score::L1 => l1_scores(rows, labels, n_classes, self.c)?,
        };
        let mut order: Vec<usize> = (0..rows.dims).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        if self.score == Score::L1 {
            order.retain(|&column| scores[column] > 0.0);
            ensure!(!order.is_empty(), "fit a model: `select` keeps no column; raise `c`, or standardize");
            order.truncate(self.k.unwrap_or(usize::MAX));
        } else {
            let k = self.k.unwrap_or(rows.dims);
            ensure!(k <= rows.dims, "fit a model: `select`: {}", too_many_columns(k, rows.dims));
            order.truncate(k);
        }
        order.sort_unstable();
        Ok(order)
    }
}

fn too_many_columns(kept: usize, columns: usize) -> String {
    format!("{kept} columns are kept, but the feature has {columns}; lower `k`")
}

/// The keys of a model that describe what happens before it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Preparing {
    pub standardize: bool,
    pub select: Option<Select>,
    pub pca: Option<f64>,
}

impl Preparing {
    /// Whether there is more than standardization.
    pub fn reduces(&self) -> bool {
        self.select.is_some() || self.pca.is_some()
    }

    pub fn faults(&self) -> Vec<Fault> {
        let select = self.select.as_ref().and_then(Select::fault);
        let pca = self.pca.filter(|&pca| !(pca > 0.0 && pca.is_finite() && (pca < 1.0 || pca.fract() == 0.0)));
        Fault::of_keys([
            ("select", select),
            (
                "pca",
                pca.map(|pca| format!("{pca} is neither a number of components nor a share of the variance below 1")),
            ),
        ])
    }

    /// The keys that ask for more than so many clips, or so many columns of the feature, can give.
    pub fn size_faults(&self, clips: usize, columns: Option<usize>) -> Vec<Fault> {
        let kept = self.select.as_ref().and_then(|select| select.k);
        let exact = kept.filter(|_| self.select.as_ref().is_some_and(|select| select.score != Score::L1));
        let select = exact.zip(columns).filter(|(kept, columns)| kept > columns);
        let most = [Some(clips), columns, kept].into_iter().flatten().min().unwrap_or(clips);
        let pca = self.pca.filter(|&wanted| wanted >= 1.0 && wanted as usize > most);
        Fault::of_keys([
            ("select", select.map(|(kept, columns)| too_many_columns(kept, columns))),
            (
                "pca",
                pca.map(|wanted| {
                    format!(
                        "{wanted} components are asked for; choose up to {most} ({})",
                        count(clips, "training clip")
                    )
                }),
            ),
        ])
    }

    pub fn fit(&self, train: &FeatureSet, task: Task) -> Result<(Preparation, Rows)> {
        let scaler = self.standardize.then(|| Scaler::fit(train)).transpose()?;
        let mut preparation = Preparation { columns: train.dims(), scaler, selected: None, components: None };
        let mut rows = preparation.read(train)?;
        if let Some(select) = &self.select {
            let selected = select.columns(&rows, train.labels(), train.n_classes(), task)?;
            rows = rows.select(&selected);
            preparation.selected = Some(selected);
        }
        if let Some(wanted) = self.pca {
            let components = Components::fit(&rows, wanted)?;
            rows = components.apply(&rows);
            preparation.components = Some(components);
        }
        Ok((preparation, rows))
    }

    /// Removes the tensors of [`Preparation::tensors`] from the list.
    pub fn take(&self, tensors: &mut Vec<Tensor>) -> Result<Preparation> {
        let columns = take_tensor(tensors, "columns")?;
        ensure!(columns.len() == 1, "`columns` has {} values, expected 1", columns.len());
        let columns = columns[0] as usize;
        let scaler = Scaler::take(tensors, self.standardize, columns)?;
        let mut width = columns;
        let selected = match self.select {
            None => None,
            Some(_) => {
                let selected: Vec<usize> =
                    take_tensor(tensors, "select.columns")?.iter().map(|&c| c as usize).collect();
                ensure!(selected.iter().all(|&c| c < columns), "`select.columns` names columns beyond {columns}");
                width = selected.len();
                Some(selected)
            }
        };
        let components = self.pca.map(|_| Components::take(tensors, width)).transpose()?;
        Ok(Preparation { columns, scaler, selected, components })
    }
}

/// A fitted preparation.
pub struct Preparation {
    /// The number of columns of the feature.
    columns: usize,
    scaler: Option<Scaler>,
    selected: Option<Vec<usize>>,
    components: Option<Components>,
}

impl Preparation {
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The number of columns that the model sees.
    pub fn width(&self) -> usize {
        let selected = self.selected.as_ref().map_or(self.columns, Vec::len);
        self.components.as_ref().map_or(selected, |components| components.count())
    }

    /// What the column `at` of the model is.
    pub fn column(&self, at: usize) -> ModelColumn {
        match (&self.components, &self.selected) {
            (Some(_), _) => ModelColumn::Component(at),
            (None, Some(selected)) => ModelColumn::Feature(selected[at]),
            (None, None) => ModelColumn::Feature(at),
        }
    }

    /// All rows of a set, prepared.
    pub fn read(&self, set: &FeatureSet) -> Result<Rows> {
        let mut values = Vec::with_capacity(set.len() * self.width());
        let mut block = Vec::new();
        for rows in chunk_ranges(set.len(), set.block_rows()) {
            set.read_rows(rows, &mut block)?;
            values.extend_from_slice(&self.apply(std::mem::take(&mut block)).values);
        }
        Ok(Rows::new(self.width(), values))
    }

    /// Whole rows, prepared.
    pub fn apply(&self, mut values: Vec<f32>) -> Rows {
        if let Some(scaler) = &self.scaler {
            scaler.apply(&mut values);
        }
        let rows = Rows::new(self.columns, values);
        let rows = match &self.selected {
            Some(selected) => rows.select(selected),
            None => rows,
        };
        match &self.components {
            Some(components) => components.apply(&rows),
            None => rows,
        }
    }

    pub fn tensors(&self) -> Vec<Tensor> {
        let mut tensors = vec![Tensor::new("columns", vec![1], vec![self.columns as f32])];
        tensors.extend(self.scaler.iter().flat_map(Scaler::tensors));
        if let Some(selected) = &self.selected {
            let columns = selected.iter().map(|&column| column as f32).collect();
            tensors.push(Tensor::new("select.columns", vec![selected.len()], columns));
        }
        tensors.extend(self.components.iter().flat_map(Components::tensors));
        tensors
    }
}

/// The group of each row, and the number of groups: the classes, or with several labels whether a row has the class, for every class.
fn groupings(labels: &[Labels], n_classes: usize, task: Task) -> (Vec<Vec<usize>>, usize) {
    match task {
        Task::SingleLabel => (vec![labels.iter().map(|labels| labels[0]).collect()], n_classes),
        Task::MultiLabel => {
            let has = |class: usize| labels.iter().map(|labels| usize::from(labels.contains(&class))).collect();
            ((0..n_classes).map(has).collect(), 2)
        }
    }
}

/// The F score of every column; a constant column has 0.
fn f_scores(rows: &Rows, labels: &[Labels], n_classes: usize, task: Task) -> Vec<f64> {
    let (groupings, groups) = groupings(labels, n_classes, task);
    let score = |column: usize| {
        let values: Vec<f64> = rows.iter().map(|row| f64::from(row[column])).collect();
        groupings.iter().map(|grouping| f_score(&values, grouping, groups)).sum::<f64>() / groupings.len() as f64
    };
    (0..rows.dims).into_par_iter().map(score).collect()
}

fn mutual_information_scores(rows: &Rows, labels: &[Labels], n_classes: usize, task: Task) -> Vec<f64> {
    let (groupings, groups) = groupings(labels, n_classes, task);
    let table = Digamma::up_to(rows.len());
    let score = |column: usize| {
        let values: Vec<f32> = rows.iter().map(|row| row[column]).collect();
        mutual_information(&values, &groupings, groups, &table)
    };
    (0..rows.dims).into_par_iter().map(score).collect()
}

/// The sum of the absolute weights of a column over the classes, each against the rest.
fn l1_scores(rows: &Rows, labels: &[Labels], n_classes: usize, c: f64) -> Result<Vec<f64>> {
    let columns = ByColumn::of(rows);
    let weights = |class: usize| {
        let has: Vec<bool> = labels.iter().map(|labels| labels.contains(&class)).collect();
        // A class that all clips have, or none, tells nothing about columns.
        let is_open = has.contains(&true) && has.contains(&false);
        if is_open { l1_weights(&columns, &has, c) } else { Ok(vec![0.0; rows.dims]) }
    };
    let of_classes: Vec<Vec<f64>> = (0..n_classes).into_par_iter().map(weights).collect::<Result<_>>()?;
    Ok((0..rows.dims).map(|column| of_classes.iter().map(|weights| weights[column].abs()).sum()).collect())
}

/// The mean square between the groups over that within them.
fn f_score(values: &[f64], grouping: &[usize], groups: usize) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let (mut counts, mut sums) = (vec![0.0; groups], vec![0.0; groups]);
    for (&value, &group) in values.iter().zip(grouping) {
        counts[group] += 1.0;
        sums[group] += value - mean;
    }
    let total: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let between: f64 =
        sums.iter().zip(&counts).filter(|&(_, &count)| count > 0.0).map(|(sum, count)| sum * sum / count).sum();
    let within = (total - between).max(0.0);
    let present = counts.iter().filter(|&&count| count > 0.0).count() as f64;
    if present < 2.0 || n <= present || total <= f64::EPSILON * n * mean * mean {
        return 0.0;
    }
    (between / (present - 1.0)) / (within / (n - present)).max(f64::MIN_POSITIVE)
}

/// Principal components.
struct Components {
    mean: Vec<f32>,
    /// Row-major, one row per component.
    weights: Vec<f32>,
}

impl Components {
    fn count(&self) -> usize {
        self.weights.len() / self.mean.len()
    }

    /// `wanted`: a number of components, or a share of the variance below 1 that they must exceed.
    fn fit(rows: &Rows, wanted: f64) -> Result<Components> {
        let (n, dims) = (rows.len(), rows.dims);
        let most = n.min(dims);
        ensure!(
            wanted < 1.0 || wanted as usize <= most,
            "fit a model: `pca` asks for {wanted} components of {n} clips with {dims} columns; choose up to {most}"
        );
        let mut mean = vec![0.0f64; dims];
        rows.iter().for_each(|row| mean.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x)));
        // Rounded to f32 first, the form in which it is stored.
        let mean: Vec<f32> = mean.iter().map(|sum| (sum / n as f64) as f32).collect();
        let centred: Vec<f64> =
            rows.iter().flat_map(|row| row.iter().zip(&mean).map(|(&x, &m)| f64::from(x) - f64::from(m))).collect();
        let by_rows = n <= dims;
        let products = gram(&centred, n, dims, by_rows);
        let (values, vectors) = symmetric_eigen(products, most);
        let total: f64 = values.iter().map(|value| value.max(0.0)).sum();
        let count = if wanted >= 1.0 {
            wanted as usize
        } else {
            let mut sum = 0.0;
            let reached = values.iter().position(|value| {
                sum += value.max(0.0);
                sum > wanted * total
            });
            reached.map_or(most, |at| at + 1)
        };
        let weights: Vec<Vec<f32>> = vectors[..count * most]
            .par_chunks_exact(most)
            .map(|vector| {
                let mut weights = if by_rows {
                    // From a vector over rows to one over columns.
                    let mut weights = vec![0.0; dims];
                    for (row, &share) in centred.chunks_exact(dims).zip(vector) {
                        weights.iter_mut().zip(row).for_each(|(weight, x)| *weight += share * x);
                    }
                    weights
                } else {
                    vector.to_vec()
                };
                let length = dot64(&weights, &weights).sqrt();
                let largest = weights.iter().copied().fold(0.0f64, |a, b| if b.abs() > a.abs() { b } else { a });
                // Beyond the rank there is nothing left but rounding.
                let scale = if length > 0.0 { largest.signum() / length } else { 0.0 };
                weights.iter_mut().for_each(|weight| *weight *= scale);
                weights.into_iter().map(|weight| weight as f32).collect()
            })
            .collect();
        Ok(Components { mean, weights: weights.concat() })
    }

    fn apply(&self, rows: &Rows) -> Rows {
        let dims = rows.dims;
        let project = |row: &[f32]| -> Vec<f32> {
            let centred: Vec<f64> = row.iter().zip(&self.mean).map(|(&x, &m)| f64::from(x) - f64::from(m)).collect();
            let dot = |weights: &[f32]| centred.iter().zip(weights).map(|(x, &w)| x * f64::from(w)).sum::<f64>() as f32;
            self.weights.chunks_exact(dims).map(dot).collect()
        };
        let values: Vec<Vec<f32>> = rows.values.par_chunks_exact(dims).map(project).collect();
        Rows::new(self.count(), values.concat())
    }

    fn tensors(&self) -> Vec<Tensor> {
        let dims = self.mean.len();
        vec![
            Tensor::new("pca.mean", vec![dims], self.mean.clone()),
            Tensor::new("pca.components", vec![self.count(), dims], self.weights.clone()),
        ]
    }

    fn take(tensors: &mut Vec<Tensor>, width: usize) -> Result<Components> {
        let mean = take_tensor(tensors, "pca.mean")?;
        let (_, dims, weights) = take_matrix(tensors, "pca.components")?;
        ensure!(mean.len() == width && dims == width, "`pca.components` has {dims} columns, expected {width}");
        Ok(Components { mean, weights })
    }
}

/// The products of all pairs of rows, or of all pairs of columns.
fn gram(centred: &[f64], n: usize, dims: usize, by_rows: bool) -> Vec<f64> {
    const STRIP: usize = 64;
    let (side, depth) = if by_rows { (n, dims) } else { (dims, n) };
    let all = if by_rows { View::new(centred, n, dims, dims, 1) } else { View::new(centred, dims, n, 1, dims) };
    let mut products = vec![0.0; side * side];
    products.par_chunks_mut(STRIP * side).enumerate().for_each(|(strip, out)| {
        let first = strip * STRIP;
        let count = out.len() / side;
        let part = if by_rows {
            View::new(&centred[first * dims..], count, depth, dims, 1)
        } else {
            View::new(&centred[first..], count, depth, 1, dims)
        };
        add_product(out, side, 1, part, all.transposed());
    });
    products
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_f_score_is_the_ratio_of_mean_squares() {
        // Two groups, 1 2 3 and 5 6 7: between 24, within 4 with 4 degrees of freedom.
        let score = f_score(&[1.0, 2.0, 3.0, 5.0, 6.0, 7.0], &[0, 0, 0, 1, 1, 1], 3);
        assert!((score - 24.0).abs() < 1e-12, "{score}");
        assert_eq!(f_score(&[2.0; 4], &[0, 1, 0, 1], 2), 0.0);
    }

    #[test]
    fn the_first_component_points_along_the_longest_axis() {
        for copies in [1, 20] {
            // With many copies there are more rows than columns.
            let values: Vec<f32> = [[-3.0f32, -1.5, 0.1], [3.0, 1.5, 0.1]].repeat(copies).concat();
            let components = Components::fit(&Rows::new(3, values), 1.0).unwrap();
            let expected = [2.0 / 5f32.sqrt(), 1.0 / 5f32.sqrt(), 0.0];
            assert!(
                components.weights.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6),
                "{:?}",
                components.weights
            );
        }
    }

    #[test]
    fn wrong_numbers_are_faults() {
        let keys = |preparing: Preparing| preparing.faults().into_iter().map(|fault| fault.key).collect::<Vec<_>>();
        for (score, k, c) in [
            (Score::FClassif, Some(0), 0.1),
            (Score::FClassif, None, 0.1),
            (Score::MutualInfoClassif, None, 0.1),
            (Score::L1, None, 0.0),
        ] {
            let select = Some(Select { score, k, c });
            assert_eq!(keys(Preparing { select, pca: Some(2.5), ..Preparing::default() }), ["select", "pca"]);
        }
        assert!(keys(Preparing { pca: Some(0.95), ..Preparing::default() }).is_empty());
        assert!(keys(Preparing { pca: Some(1.0), ..Preparing::default() }).is_empty());
    }

    #[test]
    fn more_columns_than_the_feature_has_are_a_fault_unless_their_number_is_a_limit() {
        for (score, faults) in [(Score::FClassif, 1), (Score::MutualInfoClassif, 1), (Score::L1, 0)] {
            let preparing = Preparing { select: Some(Select { score, k: Some(9), c: 0.1 }), ..Preparing::default() };
            assert_eq!(preparing.size_faults(100, Some(8)).len(), faults);
            assert!(preparing.size_faults(100, Some(9)).is_empty());
        }
    }
}
