//! Rows of features in memory.

use std::sync::Arc;

/// Rows in memory, row-major.
pub struct Rows {
    pub dims: usize,
    pub values: Arc<Vec<f32>>,
}

impl Rows {
    pub fn new(dims: usize, values: Vec<f32>) -> Rows {
        Rows { dims, values: Arc::new(values) }
    }

    pub fn len(&self) -> usize {
        self.values.len() / self.dims
    }

    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.dims..(row + 1) * self.dims]
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.dims)
    }

    pub fn select(&self, columns: &[usize]) -> Rows {
        let values = self.iter().flat_map(|row| columns.iter().map(|&column| row[column])).collect();
        Rows::new(columns.len(), values)
    }

    /// The rows of these numbers.
    pub fn subset(&self, rows: &[usize]) -> Rows {
        Rows::new(self.dims, rows.iter().flat_map(|&row| self.row(row)).copied().collect())
    }
}
