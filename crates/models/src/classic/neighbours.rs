//! The nearest training rows of each test row, by comparing all pairs.
//!
//! Two steps. Every pair gets a cheap distance in f32: Euclidean and cosine from inner products by matrix multiplication
//! (‖a‖² + ‖b‖² - 2ab, about the mean of some training rows), Manhattan by sums. Those that may be near enough, given the largest error of
//! f32, are measured again term by term in f64, so that no rounding decides an order and equal rows are at distance 0 exactly. Of equally near rows
//! the one with the lower number comes first; scikit-learn leaves that order to a partial sort.
//!
//! Memory: at most one block of test rows, half a block of training rows, their products (16 MB) and panels of 1,024 columns in
//! f32. Only the lists of neighbours grow with the number of clips, by `count` entries of 16 bytes each.

use std::ops::Range;

use anyhow::{Result, ensure};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::scaling::Scaler;
use crate::products::{
    PANEL_COLUMNS, View, add_product, dot, manhattan_distance, rough_manhattan_distance, squared_distance,
};
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

const MOST_TEST_ROWS: usize = 1024;
const MOST_TRAIN_ROWS: usize = 4096;
/// The most test rows that one thread compares at a time: every strip packs the training rows again.
const STRIP: usize = 512;
/// The training rows whose least distance is looked at together.
const GROUPS: usize = 256;

/// A training row and its distance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbour {
    pub distance: f64,
    pub row: usize,
}

/// The `count` nearest training rows of each test row, the nearest first.
pub fn nearest(
    train: &FeatureSet,
    test: &FeatureSet,
    scaler: Option<&Scaler>,
    metric: Distance,
    count: usize,
) -> Result<Vec<Vec<Neighbour>>> {
    let test_rows = test.block_rows().min(MOST_TEST_ROWS);
    let train_rows = (train.block_rows() / 2).clamp(1, MOST_TRAIN_ROWS);
    let blocks = chunk_ranges(train.len(), train_rows);
    let (mut near, mut far) = (Rows::default(), Rows::default());
    let mut centre = vec![0.0; train.dims()];
    far.load(train, blocks[0].clone(), scaler, &centre)?;
    if metric == Distance::Euclidean {
        centre = far.mean();
        far.measure_from(&centre);
    }
    let mut found = Vec::with_capacity(test.len());
    let mut products = Products::default();
    for rows in chunk_ranges(test.len(), test_rows) {
        near.load(test, rows, scaler, &centre)?;
        let mut lists = vec![Vec::new(); near.norms.len()];
        for rows in &blocks {
            if far.first != rows.start {
                far.load(train, rows.clone(), scaler, &centre)?;
            }
            products.compute(metric, &near, &far, &centre);
            let most = far.norms.iter().copied().fold(0.0, f64::max);
            lists.par_iter_mut().enumerate().for_each_init(Scratch::default, |scratch, (i, list)| {
                products.distances(metric, i, &near, &far, &mut scratch.distances);
                let error = Error::of(metric, near.dims, near.norms[i], most);
                let exact = |j| Neighbour { distance: exact_distance(metric, &near, i, &far, j), row: rows.start + j };
                scratch.merge(list, error, count, exact, metric);
            });
        }
        found.append(&mut lists);
    }
    Ok(found)
}

/// How far a cheap distance may be from the exact one.
#[derive(Clone, Copy)]
struct Error {
    absolute: f64,
    relative: f64,
}

impl Error {
    /// Of one test row against training rows whose squared norms are at most `most`.
    fn of(metric: Distance, dims: usize, norm: f64, most: f64) -> Error {
        // A sum of n products in f32, in any order, errs by at most n roundings of the product of the norms; centring, the conversion of the
        // result and the sum of the panels by a few more.
        let roundings = (dims.min(PANEL_COLUMNS) + dims / PANEL_COLUMNS + 8) as f64 * f64::from(f32::EPSILON);
        match metric {
            Distance::Euclidean => {
                Error { absolute: roundings * (2.0 * (norm * most).sqrt() + norm + most), relative: 0.0 }
            }
            Distance::Cosine => Error { absolute: 2.0 * roundings, relative: 0.0 },
            // Sums of sixteen differences, and of panels.
            Distance::Manhattan => {
                Error { absolute: 0.0, relative: (33 + dims / PANEL_COLUMNS) as f64 * f64::from(f32::EPSILON) }
            }
        }
    }

    fn above(self, cheap: f64) -> f64 {
        cheap * (1.0 + self.relative) + self.absolute
    }
}

/// A block of rows with their squared norms.
#[derive(Default)]
struct Rows {
    /// The number of the first row in its set.
    first: usize,
    dims: usize,
    values: Vec<f32>,
    norms: Vec<f64>,
}

impl Rows {
    fn load(&mut self, set: &FeatureSet, rows: Range<usize>, scaler: Option<&Scaler>, centre: &[f32]) -> Result<()> {
        (self.first, self.dims) = (rows.start, set.dims());
        set.read_rows(rows, &mut self.values)?;
        if let Some(scaler) = scaler {
            scaler.apply(&mut self.values);
        }
        self.measure_from(centre);
        if let Some(at) = self.norms.iter().position(|norm| !norm.is_finite()) {
            ensure!(false, "compare clips: the features of clip {} hold NaN or infinite values", self.first + at);
        }
        Ok(())
    }

    /// The mean of the rows.
    fn mean(&self) -> Vec<f32> {
        let mut sums = vec![0.0f64; self.dims];
        for row in self.values.chunks_exact(self.dims) {
            sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        sums.iter().map(|sum| (sum / self.norms.len() as f64) as f32).collect()
    }

    /// Takes the norms from this point.
    fn measure_from(&mut self, centre: &[f32]) {
        self.norms = self.values.par_chunks_exact(self.dims).map(|row| squared_distance(row, centre)).collect();
    }

    fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.dims..(i + 1) * self.dims]
    }

    /// The `columns` of every row, from the centre.
    fn panel(&self, columns: Range<usize>, centre: &[f32], out: &mut Vec<f32>) {
        let centre = &centre[columns.clone()];
        out.resize(self.norms.len() * columns.len(), 0.0);
        out.par_chunks_exact_mut(columns.len()).enumerate().for_each(|(i, out)| {
            let row = self.row(i)[columns.clone()].iter().zip(centre);
            out.iter_mut().zip(row).for_each(|(out, (&x, &c))| *out = x - c);
        });
    }
}

/// What the cheap distances between the rows of two blocks are made of.
#[derive(Default)]
struct Products {
    /// Row-major, one row per test row: inner products, of Manhattan the distances themselves.
    values: Vec<f32>,
    /// A panel of the test rows and one of the training rows.
    panels: [Vec<f32>; 2],
}

impl Products {
    fn compute(&mut self, metric: Distance, near: &Rows, far: &Rows, centre: &[f32]) {
        let (height, width, dims) = (near.norms.len(), far.norms.len(), near.dims);
        self.values.clear();
        self.values.resize(height * width, 0.0);
        let strip = height.div_ceil(rayon::current_num_threads()).clamp(1, STRIP);
        let strips = self.values.par_chunks_mut(strip * width);
        if metric == Distance::Manhattan {
            return strips.enumerate().for_each(|(n, out)| {
                // Short ranges of columns, so that a strip of rows stays in cache while it is compared.
                for columns in chunk_ranges(dims, PANEL_COLUMNS) {
                    for (i, out) in out.chunks_exact_mut(width).enumerate() {
                        let a = &near.row(n * strip + i)[columns.clone()];
                        for (j, out) in out.iter_mut().enumerate() {
                            *out += rough_manhattan_distance(a, &far.row(j)[columns.clone()]) as f32;
                        }
                    }
                }
            });
        }
        let [a, b] = &mut self.panels;
        for columns in chunk_ranges(dims, PANEL_COLUMNS) {
            let depth = columns.len();
            near.panel(columns.clone(), centre, a);
            far.panel(columns, centre, b);
            let b = View::new(b, width, depth, depth, 1).transposed();
            let strips = self.values.par_chunks_mut(strip * width).zip(a.par_chunks(strip * depth));
            strips.for_each(|(out, a)| add_product(out, width, 1, View::new(a, a.len() / depth, depth, depth, 1), b));
        }
    }

    /// The cheap distances of a test row. Only the order matters: squared distances stay squared.
    fn distances(&self, metric: Distance, i: usize, near: &Rows, far: &Rows, out: &mut Vec<f64>) {
        let (width, norm) = (far.norms.len(), near.norms[i]);
        let products = self.values[i * width..(i + 1) * width].iter().map(|&product| f64::from(product));
        out.clear();
        match metric {
            Distance::Manhattan => out.extend(products),
            Distance::Euclidean => {
                out.extend(products.zip(&far.norms).map(|(product, other)| norm + other - 2.0 * product));
            }
            Distance::Cosine => {
                out.extend(products.zip(&far.norms).map(|(product, &other)| cosine_distance(product, norm, other)));
            }
        }
    }
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

/// The memory of one thread. A whole block may be measured again, and the list of a test row must not keep room for it.
#[derive(Default)]
struct Scratch {
    /// Cheap distances.
    distances: Vec<f64>,
    /// The least distance among the rows j, j + `GROUPS`, j + 2 · `GROUPS`, ….
    least: Vec<f64>,
    values: Vec<f64>,
    candidates: Vec<Neighbour>,
}

impl Scratch {
    /// Keeps the `count` nearest of the list and of a block, whose cheap distances are known.
    fn merge(
        &mut self,
        list: &mut Vec<Neighbour>,
        error: Error,
        count: usize,
        exact: impl Fn(usize) -> Neighbour,
        metric: Distance,
    ) {
        let Scratch { distances, least, values, candidates } = self;
        // In the unit of the cheap distances.
        let worst = match list.get(count - 1).map(|last| last.distance) {
            None => f64::INFINITY,
            Some(distance) if metric == Distance::Euclidean => distance * distance,
            Some(distance) => distance,
        };
        let mut limit = error.above(worst);
        least.clear();
        least.resize(GROUPS.min(distances.len()), f64::INFINITY);
        for distances in distances.chunks(GROUPS) {
            least.iter_mut().zip(distances).for_each(|(least, &distance)| {
                *least = if distance < *least { distance } else { *least };
            });
        }
        if limit.is_infinite() && distances.len() > count {
            // At least `count` rows are at most that far away.
            values.clone_from(if least.len() > count { least } else { distances });
            let (_, &mut last, _) = values.select_nth_unstable_by(count - 1, f64::total_cmp);
            limit = error.above(error.above(last));
        }
        candidates.clear();
        for (group, _) in least.iter().enumerate().filter(|(_, least)| **least <= limit) {
            let rows = (group..distances.len()).step_by(GROUPS);
            candidates.extend(rows.filter(|&j| distances[j] <= limit).map(&exact));
        }
        if candidates.is_empty() {
            return;
        }
        candidates.extend_from_slice(list);
        let order = |a: &Neighbour, b: &Neighbour| a.distance.total_cmp(&b.distance).then(a.row.cmp(&b.row));
        if candidates.len() > count {
            candidates.select_nth_unstable_by(count - 1, order);
            candidates.truncate(count);
        }
        candidates.sort_unstable_by(order);
        list.clear();
        list.reserve_exact(candidates.len());
        list.extend_from_slice(candidates);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All distances in f64, in the order of the result.
    fn slow(train: &[f32], test: &[f32], dims: usize, metric: Distance, count: usize) -> Vec<Vec<usize>> {
        let distance = |a: &[f32], b: &[f32]| match metric {
            Distance::Euclidean => squared_distance(a, b),
            Distance::Manhattan => manhattan_distance(a, b),
            Distance::Cosine => cosine_distance(dot(a, b), dot(a, a), dot(b, b)),
        };
        let of = |a: &[f32]| {
            let mut all: Vec<(f64, usize)> = train.chunks(dims).map(|b| distance(a, b)).zip(0..).collect();
            all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            all.into_iter().take(count).map(|(_, row)| row).collect()
        };
        test.chunks(dims).map(of).collect()
    }

    proptest! {
        #[test]
        fn the_neighbours_are_those_of_distances_in_f64(
            (dims, offset) in (1usize..7, prop::sample::select(vec![0.0f32, 1.0, 1e3])),
            // Steps of 1/8, so that many rows are equally near, and far from 0, where f32 has few digits for differences.
            values in prop::collection::vec(-20i32..20, 300), count in 1usize..9, which in 0usize..3,
        ) {
            let metric = [Distance::Euclidean, Distance::Cosine, Distance::Manhattan][which];
            let values: Vec<f32> = values.iter().map(|&x| x as f32 / 8.0 + offset).collect();
            let (train, test) = (&values[..40 * dims], &values[40 * dims..48 * dims]);
            let set = |values: &[f32]| FeatureSet::from_memory(values.to_vec(), dims, vec![0; values.len() / dims], 1);
            let found = nearest(&set(train), &set(test), None, metric, count).unwrap();
            let rows: Vec<Vec<usize>> = found.iter().map(|list| list.iter().map(|near| near.row).collect()).collect();
            prop_assert_eq!(rows, slow(train, test, dims, metric, count));
        }
    }

    #[test]
    fn the_neighbours_among_several_blocks_are_those_of_distances_in_f64() {
        // Halves, so that rows of different groups and blocks are equally near.
        let values: Vec<f32> = (0..3 * 5000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 26) as f32 / 2.0).collect();
        let set = |values: &[f32]| FeatureSet::from_memory(values.to_vec(), 3, vec![0; values.len() / 3], 1);
        for (metric, count) in
            [(Distance::Euclidean, 7), (Distance::Cosine, 5), (Distance::Manhattan, 1), (Distance::Euclidean, 300)]
        {
            let test = &values[300..300 + 3 * 40];
            let found = nearest(&set(&values), &set(test), None, metric, count).unwrap();
            let rows: Vec<Vec<usize>> = found.iter().map(|list| list.iter().map(|near| near.row).collect()).collect();
            assert_eq!(rows, slow(&values, test, 3, metric, count), "{metric:?}");
        }
    }

    #[test]
    fn a_test_row_keeps_room_for_its_neighbours_alone() {
        let values: Vec<f32> = (0..5000).map(|i| ((i * 37) % 5000) as f32).collect();
        let set = FeatureSet::from_memory(values, 1, vec![0; 5000], 1);
        let found = nearest(&set, &set, None, Distance::Euclidean, 5).unwrap();
        assert!(found.iter().all(|list| list.len() == 5 && list.capacity() == 5), "{}", found[0].capacity());
    }
}
