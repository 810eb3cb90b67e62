//! The kernel of a support vector machine: how similar each pair of training clips is.
//!
//! Conventions: values are computed in f64 and held in f32, as in libsvm.
//!
//! Memory: all pairs of n clips take 4n² bytes. Where that is more than the caller allows, rows are computed when they are asked for, and
//! those used last are kept, as in libsvm.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rows::Rows;
use crate::products::{PANEL_COLUMNS, View, add_product, dot, squared_distance};
use crate::tensor::chunk_ranges;

/// Rows and columns of a tile of the matrix.
const TILE: usize = 256;

/// How similar two clips are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kernel {
    /// `exp(-gamma * squared distance)`.
    #[default]
    Rbf,
    /// The inner product.
    Linear,
}

/// The kernel with its parameter.
#[derive(Clone, Copy)]
pub struct Similarity {
    pub kernel: Kernel,
    pub gamma: f32,
}

impl Similarity {
    pub fn of(self, a: &[f32], b: &[f32]) -> f64 {
        match self.kernel {
            Kernel::Rbf => (-f64::from(self.gamma) * squared_distance(a, b)).exp(),
            Kernel::Linear => dot(a, b),
        }
    }
}

/// The kernel of all pairs of some rows, which are numbered anew from 0.
pub struct KernelMatrix<'a> {
    similarity: Similarity,
    rows: &'a Rows,
    members: Vec<usize>,
    values: Values,
}

enum Values {
    /// Of all pairs, row-major.
    All(Vec<f32>),
    /// Of the rows that were used last.
    Latest(Mutex<Latest>),
}

/// A row of the matrix.
pub enum KernelRow<'a> {
    Held(&'a [f32]),
    Shared(Arc<[f32]>),
}

impl Deref for KernelRow<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            KernelRow::Held(row) => row,
            KernelRow::Shared(row) => row,
        }
    }
}

impl<'a> KernelMatrix<'a> {
    /// Holds at most `most_bytes` of values, or two rows.
    pub fn new(similarity: Similarity, rows: &'a Rows, members: Vec<usize>, most_bytes: usize) -> Self {
        let values = if matrix_bytes(members.len()) <= most_bytes {
            Values::All(all_pairs(similarity, rows, &members))
        } else {
            let most = (most_bytes / (size_of::<f32>() * members.len())).max(2);
            Values::Latest(Mutex::new(Latest { most, clock: 0, rows: vec![None; members.len()], held: Vec::new() }))
        };
        KernelMatrix { similarity, rows, members, values }
    }

    pub fn row(&self, row: usize) -> KernelRow<'_> {
        let n = self.members.len();
        let latest = match &self.values {
            Values::All(values) => return KernelRow::Held(&values[row * n..(row + 1) * n]),
            Values::Latest(latest) => latest,
        };
        let lock = || latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(values) = lock().get(row) {
            return KernelRow::Shared(values);
        }
        // Not under the lock: several solvers share the rows.
        let values: Arc<[f32]> = self.computed(row).into();
        lock().put(row, values.clone());
        KernelRow::Shared(values)
    }

    pub fn diagonal(&self, row: usize) -> f64 {
        match &self.values {
            Values::All(values) => f64::from(values[row * self.members.len() + row]),
            Values::Latest(_) => {
                let clip = self.rows.row(self.members[row]);
                f64::from(self.similarity.of(clip, clip) as f32)
            }
        }
    }

    fn computed(&self, row: usize) -> Vec<f32> {
        let clip = self.rows.row(self.members[row]);
        let similarity = |&other: &usize| self.similarity.of(clip, self.rows.row(other)) as f32;
        self.members.par_iter().with_min_len(TILE).map(similarity).collect()
    }
}

/// The bytes of the kernel of all pairs of `clips`.
pub fn matrix_bytes(clips: usize) -> usize {
    clips.saturating_mul(clips).saturating_mul(size_of::<f32>())
}

/// The rows that were used last.
struct Latest {
    /// The most rows that are held.
    most: usize,
    /// The number of uses so far.
    clock: u64,
    /// Each row that is held, with the time of its last use.
    rows: Vec<Option<(Arc<[f32]>, u64)>>,
    /// The numbers of the rows that are held.
    held: Vec<usize>,
}

impl Latest {
    fn get(&mut self, row: usize) -> Option<Arc<[f32]>> {
        self.clock += 1;
        let (values, used) = self.rows[row].as_mut()?;
        *used = self.clock;
        Some(values.clone())
    }

    fn put(&mut self, row: usize, values: Arc<[f32]>) {
        if self.rows[row].is_some() {
            return;
        }
        if self.held.len() == self.most {
            let last_use = |&place: &usize| self.rows[self.held[place]].as_ref().map(|(_, used)| *used);
            let oldest = (0..self.held.len()).min_by_key(last_use).expect("at least two rows");
            self.rows[self.held.swap_remove(oldest)] = None;
        }
        self.rows[row] = Some((values, self.clock));
        self.held.push(row);
    }
}

fn all_pairs(similarity: Similarity, rows: &Rows, members: &[usize]) -> Vec<f32> {
    let n = members.len();
    // Centred, which changes no distance and keeps a large mean out of the products.
    let mut mean = vec![0.0; rows.dims];
    if similarity.kernel == Kernel::Rbf {
        for &member in members {
            mean.iter_mut().zip(rows.row(member)).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        mean.iter_mut().for_each(|sum| *sum /= n as f64);
    }
    let square =
        |&member: &usize| -> f64 { rows.row(member).iter().zip(&mean).map(|(&x, m)| (f64::from(x) - m).powi(2)).sum() };
    let squares: Vec<f64> = members.par_iter().map(square).collect();
    let strips = chunk_ranges(n, TILE);
    let widen = |strip: &std::ops::Range<usize>, columns: &std::ops::Range<usize>| -> Vec<f64> {
        let row = |i: usize| rows.row(members[i])[columns.clone()].iter().zip(&mean[columns.clone()]);
        strip.clone().flat_map(|i| row(i).map(|(&x, m)| f64::from(x) - m)).collect()
    };
    let mut matrix = vec![0.0f32; n * n];
    // One thread makes a strip of rows, up to the diagonal.
    matrix.par_chunks_mut(TILE * n).zip(&strips).for_each(|(out, strip)| {
        for other in &strips[..strip.start / TILE + 1] {
            let mut products = vec![0.0; strip.len() * other.len()];
            for columns in chunk_ranges(rows.dims, PANEL_COLUMNS) {
                let (a, b) = (widen(strip, &columns), widen(other, &columns));
                let depth = columns.len();
                let (a, b) = (View::new(&a, strip.len(), depth, depth, 1), View::new(&b, other.len(), depth, depth, 1));
                add_product(&mut products, other.len(), 1, a, b.transposed());
            }
            for (r, products) in products.chunks_exact(other.len()).enumerate() {
                for (c, &product) in products.iter().enumerate() {
                    let value = match similarity.kernel {
                        Kernel::Linear => product,
                        Kernel::Rbf => {
                            let square = squares[strip.start + r] + squares[other.start + c] - 2.0 * product;
                            (-f64::from(similarity.gamma) * square.max(0.0)).exp()
                        }
                    };
                    out[r * n + other.start + c] = value as f32;
                }
            }
        }
    });
    for i in 0..n {
        for j in i + 1..n {
            matrix[i * n + j] = matrix[j * n + i];
        }
    }
    matrix
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn similarity(linear: bool) -> Similarity {
        Similarity { kernel: if linear { Kernel::Linear } else { Kernel::Rbf }, gamma: 0.5 }
    }

    proptest! {
        #[test]
        fn the_matrix_holds_the_kernel_of_every_pair(values in prop::collection::vec(-2.0f32..2.0, 900), linear: bool) {
            let rows = Rows::new(3, values.iter().map(|x| x + 50.0).collect());
            let matrix = KernelMatrix::new(similarity(linear), &rows, (0..300).collect(), usize::MAX);
            for (i, j) in [(0, 0), (3, 280), (280, 3), (299, 299), (257, 256)] {
                let expected = similarity(linear).of(rows.row(i), rows.row(j));
                prop_assert!((f64::from(matrix.row(i)[j]) - expected).abs() < 1e-5 * expected.max(1.0));
            }
        }

        #[test]
        fn rows_that_are_computed_when_asked_for_are_those_of_the_whole_matrix(
            values in prop::collection::vec(-2.0f32..2.0, 120), asked in prop::collection::vec(0usize..20, 1..60), linear: bool,
        ) {
            let rows = Rows::new(3, values);
            let members: Vec<usize> = (0..40).step_by(2).collect();
            let whole = KernelMatrix::new(similarity(linear), &rows, members.clone(), usize::MAX);
            let three = KernelMatrix::new(similarity(linear), &rows, members, 3 * 4 * 20);
            for row in asked {
                for (a, b) in whole.row(row).iter().zip(three.row(row).iter()) {
                    prop_assert!((a - b).abs() < 1e-5);
                }
                prop_assert!((whole.diagonal(row) - three.diagonal(row)).abs() < 1e-5);
                let Values::Latest(latest) = &three.values else { panic!("20 rows are more than three") };
                let latest = latest.lock().unwrap();
                prop_assert!(latest.held.len() <= 3 && latest.rows.iter().flatten().count() == latest.held.len());
            }
        }
    }
}
