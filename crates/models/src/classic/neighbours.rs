//! The nearest training rows of each test row, by comparing all pairs.
//!
//! Two steps. Every pair gets a cheap distance: Euclidean and cosine from inner products by matrix multiplication in f64
//! (‖a‖² + ‖b‖² - 2ab), Manhattan by f32 sums accumulated in f64. The few candidates are then measured again term by term in
//! f64, so that cancellation decides no order and equal rows are at distance 0 exactly. Of equally near rows the one with the
//! lower number comes first; scikit-learn leaves that order to a partial sort.
//!
//! Memory: at most one block of test rows, half a block of training rows, their distances (32 MB) and panels of 1,024 columns in
//! f64. Only the lists of neighbours grow with the number of clips, by `count` entries of 16 bytes each.

use anyhow::{Result, ensure};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::products::{
    PANEL_COLUMNS, View, add_product, dot, manhattan_distance, rough_manhattan_distance, squared_distance,
};
use super::scaling::Scaler;
use crate::tensor::chunk_ranges;
use timbre_inputs::dataset::feature_set::FeatureSet;

/// The distance between two clips.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Distance {
    /// The root of the sum of squared differences.
    #[default]
    Euclidean,
    /// One minus the cosine of the angle: loudness does not count.
    Cosine,
    /// The sum of the absolute differences.
    Manhattan,
}

/// Candidates beyond the wanted number, in case the cheap distance misplaced some at the limit.
const SPARE: usize = 8;
const MOST_TEST_ROWS: usize = 1024;
const MOST_TRAIN_ROWS: usize = 4096;
/// Test rows that one thread compares at a time.
const STRIP: usize = 64;

/// A training row and its distance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbour {
    pub distance: f64,
    pub row: usize,
}

#[derive(Clone, Copy)]
struct Candidate {
    cheap: f64,
    exact: f64,
    row: usize,
}

/// The `count` nearest training rows of each test row, the nearest first.
pub fn nearest(
    train: &FeatureSet,
    test: &FeatureSet,
    scaler: Option<&Scaler>,
    metric: Distance,
    count: usize,
) -> Result<Vec<Vec<Neighbour>>> {
    let kept = (count + SPARE).min(train.len());
    let test_rows = test.block_rows().min(MOST_TEST_ROWS);
    let train_rows = (train.block_rows() / 2).clamp(1, MOST_TRAIN_ROWS);
    let (mut near, mut far) = (Rows::default(), Rows::default());
    let mut found = Vec::with_capacity(test.len());
    for rows in chunk_ranges(test.len(), test_rows) {
        near.load(test, rows, scaler)?;
        let mut lists = vec![Vec::new(); near.norms.len()];
        for rows in chunk_ranges(train.len(), train_rows) {
            let first = rows.start;
            far.load(train, rows, scaler)?;
            let width = far.norms.len();
            let cheap = cheap_distances(metric, &near, &far);
            lists.par_iter_mut().enumerate().for_each_init(Vec::new, |candidates, (i, list)| {
                let cheap = &cheap[i * width..(i + 1) * width];
                merge(list, candidates, cheap, first, kept, |j| exact_distance(metric, &near, i, &far, j));
            });
        }
        found.par_extend(lists.into_par_iter().map(|mut list: Vec<Candidate>| {
            list.sort_unstable_by(|a, b| a.exact.total_cmp(&b.exact).then(a.row.cmp(&b.row)));
            // Through a slice: collecting the list itself would keep its allocation.
            list[..count.min(list.len())].iter().map(|c| Neighbour { distance: c.exact, row: c.row }).collect()
        }));
    }
    Ok(found)
}

/// A block of rows with their squared norms.
#[derive(Default)]
struct Rows {
    dims: usize,
    values: Vec<f32>,
    norms: Vec<f64>,
}

impl Rows {
    fn load(&mut self, set: &FeatureSet, rows: std::ops::Range<usize>, scaler: Option<&Scaler>) -> Result<()> {
        self.dims = set.dims();
        set.read_rows(rows.clone(), &mut self.values)?;
        if let Some(scaler) = scaler {
            scaler.apply(&mut self.values);
        }
        self.norms = self.values.par_chunks_exact(self.dims).map(|row| dot(row, row)).collect();
        if let Some(at) = self.norms.iter().position(|norm| !norm.is_finite()) {
            ensure!(false, "compare clips: the features of clip {} hold NaN or infinite values", rows.start + at);
        }
        Ok(())
    }

    fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.dims..(i + 1) * self.dims]
    }

    /// The `columns` of every row, in f64.
    fn widen(&self, columns: std::ops::Range<usize>, out: &mut Vec<f64>) {
        out.resize(self.norms.len() * columns.len(), 0.0);
        out.par_chunks_exact_mut(columns.len()).enumerate().for_each(|(i, out)| {
            out.iter_mut().zip(&self.row(i)[columns.clone()]).for_each(|(out, &x)| *out = f64::from(x));
        });
    }
}

/// Row-major, one row per test row. Only the order matters: squared distances stay squared.
fn cheap_distances(metric: Distance, near: &Rows, far: &Rows) -> Vec<f64> {
    let (width, dims) = (far.norms.len(), near.dims);
    let mut out = vec![0.0f64; near.norms.len() * width];
    if metric == Distance::Manhattan {
        out.par_chunks_mut(STRIP * width).enumerate().for_each(|(strip, out)| {
            // Short ranges of columns, so that a strip of rows stays in cache while it is compared.
            for columns in chunk_ranges(dims, PANEL_COLUMNS) {
                for (i, out) in out.chunks_exact_mut(width).enumerate() {
                    let a = &near.row(strip * STRIP + i)[columns.clone()];
                    for (j, out) in out.iter_mut().enumerate() {
                        *out += rough_manhattan_distance(a, &far.row(j)[columns.clone()]);
                    }
                }
            }
        });
        return out;
    }
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for columns in chunk_ranges(dims, PANEL_COLUMNS) {
        let depth = columns.len();
        near.widen(columns.clone(), &mut a);
        far.widen(columns, &mut b);
        out.par_chunks_mut(STRIP * width).zip(a.par_chunks(STRIP * depth)).for_each(|(out, a)| {
            let a = View::new(a, a.len() / depth, depth, depth, 1);
            add_product(out, width, 1, a, View::new(&b, width, depth, depth, 1).transposed());
        });
    }
    out.par_chunks_exact_mut(width).zip(&near.norms).for_each(|(out, &a)| {
        for (out, &b) in out.iter_mut().zip(&far.norms) {
            *out = match metric {
                Distance::Cosine => cosine_distance(*out, a, b),
                _ => a + b - 2.0 * *out,
            };
        }
    });
    out
}

fn exact_distance(metric: Distance, near: &Rows, i: usize, far: &Rows, j: usize) -> f64 {
    let (a, b) = (near.row(i), far.row(j));
    match metric {
        Distance::Euclidean => squared_distance(a, b).sqrt(),
        Distance::Manhattan => manhattan_distance(a, b),
        Distance::Cosine => cosine_distance(dot(a, b), near.norms[i], far.norms[j]),
    }
}

/// From the inner product and the squared norms; a row of zeros is at distance 1 from everything, as in scikit-learn.
fn cosine_distance(product: f64, a: f64, b: f64) -> f64 {
    if a == 0.0 || b == 0.0 { 1.0 } else { 1.0 - product / (a.sqrt() * b.sqrt()) }
}

/// Keeps the `kept` cheapest candidates of the list and of a block whose first row is `first`. `candidates` is scratch memory:
/// a whole block of candidates may be cheaper than the limit, and the list of a test row must not keep room for it.
fn merge(
    list: &mut Vec<Candidate>,
    candidates: &mut Vec<Candidate>,
    cheap: &[f64],
    first: usize,
    kept: usize,
    exact: impl Fn(usize) -> f64,
) {
    let order = |a: &Candidate, b: &Candidate| a.cheap.total_cmp(&b.cheap).then(a.row.cmp(&b.row));
    let limit = if list.len() < kept { f64::INFINITY } else { list[kept - 1].cheap };
    candidates.clone_from(list);
    candidates.extend(cheap.iter().enumerate().filter(|&(_, &cheap)| cheap <= limit).map(|(j, &cheap)| Candidate {
        cheap,
        exact: f64::NAN,
        row: first + j,
    }));
    if candidates.len() > kept {
        candidates.select_nth_unstable_by(kept - 1, order);
        candidates.truncate(kept);
    }
    candidates.sort_unstable_by(order);
    for candidate in candidates.iter_mut().filter(|c| c.exact.is_nan()) {
        candidate.exact = exact(candidate.row - first);
    }
    list.clear();
    list.reserve_exact(candidates.len());
    list.extend_from_slice(candidates);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_row_keeps_room_for_its_neighbours_alone() {
        let values: Vec<f32> = (0..5000).map(|i| ((i * 37) % 5000) as f32).collect();
        let set = FeatureSet::from_memory(values, 1, vec![0; 5000], 1);
        let found = nearest(&set, &set, None, Distance::Euclidean, 5).unwrap();
        assert!(found.iter().all(|list| list.len() == 5 && list.capacity() == 5), "{}", found[0].capacity());
    }
}
