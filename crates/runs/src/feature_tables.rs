//! The matrices of a feature as Parquet: a row per recording.

use std::io::Write;

use anyhow::{Context, Result};
use polars_core::prelude::{Column, DataFrame, NamedFrom, Series};
use polars_io::prelude::ParquetWriter;

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
    let mut rows = rows.peekable();
    let mut writer = None;
    loop {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH_BYTES
            && let Some(row) = rows.next().transpose()?
        {
            bytes += 4 * row.values.len();
            batch.push(row);
        }
        let frame = matrices(&batch)?;
        if writer.is_none() {
            writer = Some(ParquetWriter::new(&mut *out).batched(frame.schema())?);
        }
        let writer = writer.as_mut().expect("made above");
        writer.write_batch(&frame)?;
        if rows.peek().is_none() {
            return writer.finish().context("cannot write Parquet").map(|_| ());
        }
    }
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
