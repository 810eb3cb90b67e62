//! Logistic regression with one coefficient per column, for more rows than columns or too many rows for a Gram matrix.
//!
//! Conventions: as in `dual.rs`, the rows are scaled (at least centred) and f64.
//!
//! Memory: the scaled rows if they fit into the budget of `logistic.rs`; otherwise a quarter block of rows, read again for every
//! product with the data. A few vectors of one f64 per column and class, and for up to 1,024 columns two squares of them in f64.

use std::ops::Range;
use std::sync::OnceLock;

use anyhow::Result;
use rayon::prelude::*;

use super::newton::{Columns, Factor, Space, Vector};
use super::scaling::Scaler;
use crate::products::{View, add_product, dot64};
use crate::tensor::chunk_ranges;
use timbre_inputs::dataset::feature_set::FeatureSet;

/// Rows, or columns, that one thread multiplies at a time.
const STRIP: usize = 128;

/// Up to so many columns, and twice as many rows, XᵀX costs less than the steps of conjugate gradients that it saves.
const MOST_FACTORED: usize = 1024;

/// The scaled training rows, in memory or streamed.
pub struct Primal<'a> {
    set: &'a FeatureSet,
    scaler: &'a Scaler,
    held: Option<Vec<f64>>,
    /// The lower triangle of XᵀX, row-major, when it was needed.
    gram: OnceLock<Vec<f64>>,
}

/// The bytes that a [`Primal`] in memory takes.
pub fn bytes(set: &FeatureSet) -> usize {
    8 * set.len() * set.dims()
}

impl<'a> Primal<'a> {
    pub fn new(set: &'a FeatureSet, scaler: &'a Scaler, hold: bool) -> Result<Self> {
        let mut primal = Primal { set, scaler, held: None, gram: OnceLock::new() };
        if hold {
            let mut all = Vec::with_capacity(set.len() * set.dims());
            primal.each_block(|_, block| all.extend_from_slice(block))?;
            primal.held = Some(all);
        }
        Ok(primal)
    }

    /// The lower triangle of XᵀX.
    fn gram(&self) -> Result<&[f64]> {
        if self.gram.get().is_none() {
            let dims = self.set.dims();
            let mut gram = vec![0.0; dims * dims];
            self.each_block(|rows, block| {
                // A thread owns a strip of rows of the result and adds the clips in their order.
                gram.par_chunks_mut(STRIP * dims).zip(chunk_ranges(dims, STRIP)).for_each(|(out, strip)| {
                    let part = View::new(&block[strip.start..], rows.len(), strip.len(), dims, 1).transposed();
                    add_product(out, dims, 1, part, View::new(block, rows.len(), strip.end, dims, 1));
                });
            })?;
            _ = self.gram.set(gram);
        }
        Ok(self.gram.get().expect("just set"))
    }

    /// Calls `work` with every block of rows, in order.
    fn each_block(&self, mut work: impl FnMut(Range<usize>, &[f64])) -> Result<()> {
        if let Some(held) = &self.held {
            work(0..self.set.len(), held);
            return Ok(());
        }
        let dims = self.set.dims();
        let (mut block, mut wide) = (Vec::new(), Vec::new());
        for rows in chunk_ranges(self.set.len(), self.set.block_rows() / 4) {
            self.set.read_rows(rows.clone(), &mut block)?;
            wide.resize(block.len(), 0.0);
            wide.par_chunks_exact_mut(dims)
                .zip(block.par_chunks_exact(dims))
                .for_each(|(out, row)| self.scaler.widen(0..dims, row, out));
            work(rows, &wide);
        }
        Ok(())
    }
}

impl Space for Primal<'_> {
    const INNER_OF_MARGINS: bool = false;

    fn rows(&self) -> usize {
        self.set.len()
    }

    fn size(&self) -> usize {
        self.set.dims()
    }

    fn margins(&self, coefficients: &Columns) -> Result<Columns> {
        let (dims, count) = (self.set.dims(), coefficients.count);
        let w = View::new(&coefficients.values, dims, count, 1, dims);
        let mut margins = Columns::zeros(self.set.len(), count);
        self.each_block(|rows, block| {
            let parts: Vec<Vec<f64>> = block
                .par_chunks(STRIP * dims)
                .map(|strip| {
                    let height = strip.len() / dims;
                    let mut out = vec![0.0; height * count];
                    add_product(&mut out, 1, height, View::new(strip, height, dims, dims, 1), w);
                    out
                })
                .collect();
            for (part, strip) in parts.iter().zip(chunk_ranges(rows.len(), STRIP)) {
                for k in 0..count {
                    let at = k * margins.len + rows.start + strip.start;
                    margins.values[at..at + strip.len()].copy_from_slice(&part[k * strip.len()..(k + 1) * strip.len()]);
                }
            }
        })?;
        Ok(margins)
    }

    fn pull(&self, residuals: Columns) -> Result<Columns> {
        let (dims, count, n) = (self.set.dims(), residuals.count, residuals.len);
        let strips = chunk_ranges(dims, STRIP);
        let mut sums: Vec<Vec<f64>> = strips.iter().map(|strip| vec![0.0; strip.len() * count]).collect();
        self.each_block(|rows, block| {
            // A thread owns a strip of columns and adds the rows in their order.
            sums.par_iter_mut().zip(&strips).for_each(|(sum, strip)| {
                let x = View::new(&block[strip.start..], rows.len(), strip.len(), dims, 1).transposed();
                let r = View::new(&residuals.values[rows.start..], rows.len(), count, 1, n);
                add_product(sum, 1, strip.len(), x, r);
            });
        })?;
        let mut out = Columns::zeros(dims, count);
        for (sum, strip) in sums.iter().zip(&strips) {
            for k in 0..count {
                let at = k * dims + strip.start;
                out.values[at..at + strip.len()].copy_from_slice(&sum[k * strip.len()..(k + 1) * strip.len()]);
            }
        }
        Ok(out)
    }

    fn inner(&self, a: &Vector, b: &Vector, column: usize) -> f64 {
        dot64(a.coefficients.column(column), b.coefficients.column(column))
    }

    fn factor(&self, scale: f64) -> Result<Option<Factor>> {
        let dims = self.set.dims();
        if dims > MOST_FACTORED || self.set.len() < 2 * dims {
            return Ok(None);
        }
        let mut matrix: Vec<f64> = self.gram()?.iter().map(|value| scale * value).collect();
        matrix.iter_mut().step_by(dims + 1).for_each(|diagonal| *diagonal += 1.0);
        Ok(Some(Factor::new(matrix, dims)))
    }
}
