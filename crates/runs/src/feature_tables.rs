//! The matrices of a feature as Parquet: a row per recording.

use std::io::Write;

use anyhow::Result;
use polars_core::prelude::{Column, DataFrame, NamedFrom, Series};

use crate::tables::{self, Recording};

/// One recording with the matrix of a feature.
pub struct MatrixRow {
    pub recording: Recording,
    /// Bands and frames.
    pub shape: [usize; 2],
    /// Row-major.
    pub values: Vec<f32>,
}

/// Writes matrices as Parquet, a row per recording; only some of them are in memory at a time.
pub fn write(rows: impl Iterator<Item = Result<MatrixRow>>, out: &mut dyn Write) -> Result<()> {
    const BATCH_BYTES: usize = 64 << 20;
    let (mut rows, mut is_first) = (rows.peekable(), true);
    let frames = std::iter::from_fn(|| {
        let is_more = std::mem::take(&mut is_first) || rows.peek().is_some();
        is_more.then(|| {
            let (mut batch, mut bytes) = (Vec::new(), 0);
            while bytes < BATCH_BYTES
                && let Some(row) = rows.next().transpose()?
            {
                bytes += 4 * row.values.len();
                batch.push(row);
            }
            matrices(&batch)
        })
    });
    tables::write_parquet(frames, out)
}

fn matrices(rows: &[MatrixRow]) -> Result<DataFrame> {
    let text = |name: &str, of: fn(&Recording) -> &str| {
        Column::new(name.into(), rows.iter().map(|row| of(&row.recording)).collect::<Vec<_>>())
    };
    let size = |name: &str, axis: usize| {
        Column::new(name.into(), rows.iter().map(|row| row.shape[axis] as u64).collect::<Vec<_>>())
    };
    let values: Vec<Series> = rows.iter().map(|row| Series::new("".into(), &row.values)).collect();
    let columns = vec![
        text("path", |r| &r.path),
        text("song", |r| &r.song),
        text("labels", |r| &r.labels),
        size("bands", 0),
        size("frames", 1),
        Column::new("values".into(), values),
    ];
    tables::frame(rows.len(), columns)
}
