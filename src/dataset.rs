//! Matrices ready for a model: one feature of many clips, a row a clip.
//!
//! A [`FeatureSet`] may lie in memory or in the feature cache. Models read blocks of rows or columns and never ask for the
//! whole, so that memory does not grow with the number of clips.

use std::ops::Range;
use std::sync::Arc;

use anyhow::{Result, bail};
use rayon::prelude::*;

use crate::store::Stored;

/// How many bytes of features a model should hold at once.
pub const BLOCK_BYTES: usize = 64 << 20;

/// Where the rows lie.
pub trait RowSource: Send + Sync {
    /// Copies `columns` of row `row` to `out` (as long as `columns`).
    fn read(&self, row: usize, columns: Range<usize>, out: &mut [f32]) -> Result<()>;
}

/// One feature of many clips with their labels. A clone shares the source: a model that needs its training rows later
/// keeps one.
#[derive(Clone)]
pub struct FeatureSet {
    dims: usize,
    targets: Vec<usize>,
    n_classes: usize,
    source: Arc<dyn RowSource>,
}

struct InMemory {
    dims: usize,
    values: Vec<f32>,
}

impl RowSource for InMemory {
    fn read(&self, row: usize, columns: Range<usize>, out: &mut [f32]) -> Result<()> {
        let start = row * self.dims;
        out.copy_from_slice(&self.values[start + columns.start..start + columns.end]);
        Ok(())
    }
}

/// Rows that stay in the feature cache until they are read.
struct InStore(Vec<Stored>);

impl RowSource for InStore {
    fn read(&self, row: usize, columns: Range<usize>, out: &mut [f32]) -> Result<()> {
        self.0[row].read(columns, out)
    }
}

impl FeatureSet {
    /// The feature `name` of recordings in the cache.
    pub fn from_store(name: &str, rows: Vec<Stored>, targets: Vec<usize>, n_classes: usize) -> Result<Self> {
        let dims = rows.first().map_or(0, Stored::dims);
        if let Some(other) = rows.iter().find(|r| r.dims() != dims) {
            bail!(
                "the clips differ in length, so `{name}` has {dims} values for one and {} for another: \
                 set `audio.clip_seconds`, or give the feature a `summary`",
                other.dims()
            );
        }
        Ok(Self::new(Box::new(InStore(rows)), dims, targets, n_classes))
    }

    /// A set that lies in `source`; `targets` has one class a row.
    pub fn new(source: Box<dyn RowSource>, dims: usize, targets: Vec<usize>, n_classes: usize) -> Self {
        FeatureSet { dims, targets, n_classes, source: source.into() }
    }

    /// A set held in memory, row-major.
    pub fn from_memory(values: Vec<f32>, dims: usize, targets: Vec<usize>, n_classes: usize) -> Self {
        assert_eq!(values.len(), dims * targets.len(), "one row a target");
        Self::new(Box::new(InMemory { dims, values }), dims, targets, n_classes)
    }

    /// The number of clips.
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// The length of a row.
    pub fn dims(&self) -> usize {
        self.dims
    }

    pub fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// The class of each row.
    pub fn targets(&self) -> &[usize] {
        &self.targets
    }

    /// How many whole rows make a block of [`BLOCK_BYTES`] (at least one).
    pub fn block_rows(&self) -> usize {
        (BLOCK_BYTES / (4 * self.dims.max(1))).max(1)
    }

    /// How many whole columns make a block of [`BLOCK_BYTES`] (at least one).
    pub fn block_columns(&self) -> usize {
        (BLOCK_BYTES / (4 * self.len().max(1))).max(1).min(self.dims)
    }

    /// The block `rows` × `columns`, row-major, replacing the contents of `out`.
    pub fn read(&self, rows: Range<usize>, columns: Range<usize>, out: &mut Vec<f32>) -> Result<()> {
        let width = columns.len();
        // Every value is overwritten: what a former block left need not be cleared.
        out.resize(rows.len() * width, 0.0);
        if width == 0 {
            return Ok(());
        }
        out.par_chunks_exact_mut(width)
            .zip(rows)
            .try_for_each(|(row_out, row)| self.source.read(row, columns.clone(), row_out))
    }

    /// Whole rows.
    pub fn read_rows(&self, rows: Range<usize>, out: &mut Vec<f32>) -> Result<()> {
        self.read(rows, 0..self.dims, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_holds_the_rows_and_columns_asked_for() {
        let set = FeatureSet::from_memory((0..12).map(|v| v as f32).collect(), 4, vec![0, 1, 0], 2);
        let mut block = Vec::new();
        set.read(1..3, 1..3, &mut block).unwrap();
        assert_eq!(block, [5.0, 6.0, 9.0, 10.0]);
        set.read(0..0, 0..4, &mut block).unwrap();
        assert!(block.is_empty());
    }
}
