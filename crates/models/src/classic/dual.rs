//! Logistic regression with one coefficient per training row, for more columns than rows.
//!
//! The minimum of a penalized loss is W = Xᵀ·A for some A with one row per training row (the representer theorem), so n rows of
//! d columns leave n unknowns per class instead of d. The only data needed are the Gram matrix G = X·Xᵀ, computed in one pass
//! over blocks of columns, and one more pass at the end for W = Xᵀ·A. The inner product of two points is aᵀ·G·b, the same as
//! that of their weights, so gradients and tolerances mean the same as in the primal.
//!
//! Conventions: unless the bias is penalized, columns are centred within the pass, which does not change the minimum (the bias is
//! free) and keeps a large mean out of the products. G is f64: f32 sums would be wrong in the seventh digit of ‖x‖², which for features with large n·d
//! is more than one unit of a margin.
//!
//! Memory: 4n² bytes (half of G), a block of columns and a panel of 1,024 columns in f64.

use anyhow::Result;
use rayon::prelude::*;

use super::newton::{Columns, Space, Vector};
use super::scaling::{Scaler, Scaling};
use crate::products::{PANEL_COLUMNS, View, add_product, dot64};
use crate::tensor::chunk_ranges;
use timbre_inputs::dataset::feature_set::FeatureSet;

/// Rows and columns of a tile of G: enough tiles for many cores, each large enough for the product to run near its peak.
const TILE: usize = 256;

/// The Gram matrix of the centred rows: the tiles on and below the diagonal, each row-major.
pub struct Dual {
    rows: usize,
    tiles: Vec<Vec<f64>>,
}

/// The bytes that [`Dual::new`] would hold for that many rows.
pub fn bytes(rows: usize) -> usize {
    let strips = rows.div_ceil(TILE);
    8 * TILE * TILE * (strips * (strips + 1) / 2)
}

fn tile_positions(rows: usize) -> Vec<(usize, usize)> {
    (0..rows.div_ceil(TILE)).flat_map(|i| (0..=i).map(move |j| (i, j))).collect()
}

impl Dual {
    /// One pass over the columns: the Gram matrix, and the scaler that was applied.
    pub fn new(set: &FeatureSet, scaling: Scaling) -> Result<(Dual, Scaler)> {
        let rows = set.len();
        let strips = chunk_ranges(rows, TILE);
        let positions = tile_positions(rows);
        let mut tiles: Vec<Vec<f64>> =
            positions.iter().map(|&(i, j)| vec![0.0; strips[i].len() * strips[j].len()]).collect();
        let mut scaler = Scaler::default();
        let (mut block, mut panel) = (Vec::new(), Vec::new());
        for columns in chunk_ranges(set.dims(), set.block_columns()) {
            set.read(0..rows, columns.clone(), &mut block)?;
            scaler.push_columns(&block, columns.len(), scaling);
            for part in chunk_ranges(columns.len(), PANEL_COLUMNS) {
                let depth = part.len();
                widen(&scaler, &block, columns.start, columns.len(), part, &mut panel);
                let strip = |i: usize| {
                    View::new(&panel[strips[i].start * depth..strips[i].end * depth], strips[i].len(), depth, depth, 1)
                };
                tiles.par_iter_mut().zip(&positions).with_max_len(1).for_each(|(tile, &(i, j))| {
                    add_product(tile, strips[j].len(), 1, strip(i), strip(j).transposed());
                });
            }
        }
        Ok((Dual { rows, tiles }, scaler))
    }

    fn tile(&self, i: usize, j: usize) -> &[f64] {
        &self.tiles[i * (i + 1) / 2 + j]
    }

    /// W = Xᵀ·A in one pass over the columns: row-major, one row per class.
    pub fn weights(set: &FeatureSet, scaler: &Scaler, coefficients: &Columns) -> Result<Vec<f64>> {
        let (rows, dims, count) = (set.len(), set.dims(), coefficients.count);
        let mut weights = vec![0.0; count * dims];
        let (mut block, mut panel) = (Vec::new(), Vec::new());
        for columns in chunk_ranges(dims, set.block_columns()) {
            set.read(0..rows, columns.clone(), &mut block)?;
            for part in chunk_ranges(columns.len(), PANEL_COLUMNS) {
                let (first, depth) = (columns.start + part.start, part.len());
                widen(scaler, &block, columns.start, columns.len(), part, &mut panel);
                let a = View::new(&coefficients.values, rows, count, 1, rows).transposed();
                // Each thread takes a range of columns and sums all rows of it in order.
                let sums: Vec<Vec<f64>> = chunk_ranges(depth, TILE)
                    .into_par_iter()
                    .map(|range| {
                        let mut sums = vec![0.0; count * range.len()];
                        let x = View::new(&panel[range.start..], rows, range.len(), depth, 1);
                        add_product(&mut sums, range.len(), 1, a, x);
                        sums
                    })
                    .collect();
                for (sums, range) in sums.iter().zip(chunk_ranges(depth, TILE)) {
                    for k in 0..count {
                        let at = k * dims + first + range.start;
                        weights[at..at + range.len()].copy_from_slice(&sums[k * range.len()..(k + 1) * range.len()]);
                    }
                }
            }
        }
        Ok(weights)
    }
}

/// The columns `part` of a block, scaled and in f64, row-major. The block begins at column `first` of the set.
fn widen(
    scaler: &Scaler,
    block: &[f32],
    first: usize,
    width: usize,
    part: std::ops::Range<usize>,
    panel: &mut Vec<f64>,
) {
    panel.resize(block.len() / width * part.len(), 0.0);
    panel.par_chunks_exact_mut(part.len()).zip(block.par_chunks_exact(width)).for_each(|(out, row)| {
        scaler.widen(first + part.start..first + part.end, &row[part.clone()], out);
    });
}

impl Space for Dual {
    const INNER_OF_MARGINS: bool = true;

    fn rows(&self) -> usize {
        self.rows
    }

    fn size(&self) -> usize {
        self.rows
    }

    fn margins(&self, coefficients: &Columns) -> Result<Columns> {
        let strips = chunk_ranges(self.rows, TILE);
        let count = coefficients.count;
        let parts: Vec<Vec<f64>> = (0..strips.len())
            .into_par_iter()
            .with_max_len(1)
            .map(|i| {
                let height = strips[i].len();
                let mut out = vec![0.0; height * count];
                for (j, strip) in strips.iter().enumerate() {
                    let tile = if j <= i {
                        View::new(self.tile(i, j), height, strip.len(), strip.len(), 1)
                    } else {
                        View::new(self.tile(j, i), strip.len(), height, height, 1).transposed()
                    };
                    let a = View::new(&coefficients.values[strip.start..], strip.len(), count, 1, self.rows);
                    add_product(&mut out, 1, height, tile, a);
                }
                out
            })
            .collect();
        let mut margins = Columns::zeros(self.rows, count);
        for (part, strip) in parts.iter().zip(&strips) {
            for k in 0..count {
                let at = k * self.rows + strip.start;
                margins.values[at..at + strip.len()].copy_from_slice(&part[k * strip.len()..(k + 1) * strip.len()]);
            }
        }
        Ok(margins)
    }

    fn pull(&self, residuals: Columns) -> Result<Columns> {
        Ok(residuals)
    }

    fn inner(&self, a: &Vector, b: &Vector, column: usize) -> f64 {
        dot64(a.coefficients.column(column), b.margins.column(column))
    }
}
