//! Matrices ready for a model: one feature of many clips, a row a clip.
//!
//! A [`FeatureSet`] may lie in memory or in the feature cache. Models read blocks of rows or columns and never ask for the
//! whole, so that memory does not grow with the number of clips.

use std::ops::Range;
use std::sync::Arc;

use anyhow::{Result, bail};
use rayon::prelude::*;

use crate::features::FeatureSpec;
use crate::features::cache::CachedMatrix;
use crate::features::extraction::CachedWindows;

/// How many bytes of features a model should hold at once.
pub const BLOCK_BYTES: usize = 64 << 20;

/// Where the rows lie.
pub trait RowSource: Send + Sync {
    /// Copies `columns` of row `row` to `out` (as long as `columns`).
    fn read(&self, row: usize, columns: Range<usize>, out: &mut [f32]) -> Result<()>;
}

/// Examples that differ from epoch to epoch: made of the wave each time, by another crop or an augmentation.
pub trait ExampleGenerator: Send + Sync {
    /// What row `row` looks like in an epoch, counted from 0; the same numbers whenever it is asked. `targets` come as the labels
    /// of the row say, and leave with what was mixed into it.
    fn example(&self, row: usize, epoch: usize, out: &mut [f32], targets: &mut [f32]) -> Result<()>;

    /// The waves behind the examples, for a device that cuts and transforms them itself; nothing where only the CPU can.
    fn waveforms(&self) -> Option<&dyn WaveformSource> {
        None
    }
}

/// The recordings of a set and where they are cut.
pub trait WaveformSource: Send + Sync {
    /// What is computed of each clip.
    fn feature(&self) -> &FeatureSpec;

    fn sample_rate(&self) -> u32;

    /// The length of a clip.
    fn clip_samples(&self) -> usize;

    /// The whole recording of a row at that rate, at least as long as a clip.
    fn waveform(&self, row: usize) -> Result<Vec<f32>>;

    /// The first sample of the clip of an epoch, in a wave of so many samples.
    fn start(&self, row: usize, epoch: usize, samples: usize) -> usize;
}

/// One feature of many clips with their labels. A clone shares the source: a model that needs its training rows later
/// keeps one.
#[derive(Clone)]
pub struct FeatureSet {
    /// Of the matrix that a row holds: bands and frames.
    shape: [usize; 2],
    /// The classes of each row, ascending.
    labels: Arc<Vec<Vec<usize>>>,
    /// The one class of each row; empty if any row has none or several.
    targets: Vec<usize>,
    n_classes: usize,
    source: Arc<dyn RowSource>,
    fresh: Option<Arc<dyn ExampleGenerator>>,
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
struct InStore(Vec<CachedMatrix>);

impl RowSource for InStore {
    fn read(&self, row: usize, columns: Range<usize>, out: &mut [f32]) -> Result<()> {
        self.0[row].read(columns, out)
    }
}

/// The windows of recordings in the feature cache, a row each.
struct WindowsInStore {
    recordings: Vec<CachedWindows>,
    /// The recording of each row, and which of its windows it is.
    rows: Vec<(usize, usize)>,
}

impl RowSource for WindowsInStore {
    fn read(&self, row: usize, columns: Range<usize>, out: &mut [f32]) -> Result<()> {
        let (recording, window) = self.rows[row];
        self.recordings[recording].read(window, columns, out)
    }
}

impl FeatureSet {
    /// The feature `name` of every window of recordings in the cache, one recording after the other; a window has the labels of
    /// its recording.
    pub fn from_windows(
        name: &str,
        recordings: Vec<CachedWindows>,
        labels: &[Vec<usize>],
        n_classes: usize,
    ) -> Result<Self> {
        let shape = recordings.first().map_or([0, 0], CachedWindows::shape);
        if let Some(other) = recordings.iter().find(|r| r.shape() != shape) {
            bail!("the windows of `{name}` are {shape:?} in one recording and {:?} in another", other.shape());
        }
        let windows = |(recording, of): (usize, &CachedWindows)| (0..of.starts().len()).map(move |w| (recording, w));
        let rows: Vec<(usize, usize)> = recordings.iter().enumerate().flat_map(windows).collect();
        let labels = rows.iter().map(|&(recording, _)| labels[recording].clone()).collect();
        Ok(Self::new(Box::new(WindowsInStore { recordings, rows }), shape, labels, n_classes))
    }

    /// The feature `name` of recordings in the cache.
    pub fn from_cache(name: &str, rows: Vec<CachedMatrix>, labels: Vec<Vec<usize>>, n_classes: usize) -> Result<Self> {
        let shape = rows.first().map_or([0, 0], |r| [r.rows, r.cols]);
        if let Some(other) = rows.iter().find(|r| [r.rows, r.cols] != shape) {
            bail!(
                "the clips differ in length, so `{name}` has {} values for one and {} for another: \
                 set `audio.clip_seconds`, or give the feature a `summary`",
                shape[0] * shape[1],
                other.dims()
            );
        }
        Ok(Self::new(Box::new(InStore(rows)), shape, labels, n_classes))
    }

    /// A set that lies in `source`: rows of that shape, each with its classes.
    pub fn new(source: Box<dyn RowSource>, shape: [usize; 2], labels: Vec<Vec<usize>>, n_classes: usize) -> Self {
        let targets: Option<Vec<usize>> =
            labels.iter().map(|l| if let [one] = l[..] { Some(one) } else { None }).collect();
        FeatureSet {
            shape,
            labels: Arc::new(labels),
            targets: targets.unwrap_or_default(),
            n_classes,
            source: source.into(),
            fresh: None,
        }
    }

    /// A set held in memory, row-major, one class a row.
    pub fn from_memory(values: Vec<f32>, dims: usize, targets: Vec<usize>, n_classes: usize) -> Self {
        Self::from_matrices(values, [1, dims], targets.into_iter().map(|t| vec![t]).collect(), n_classes)
    }

    /// Matrices held in memory, one after the other.
    pub fn from_matrices(values: Vec<f32>, shape: [usize; 2], labels: Vec<Vec<usize>>, n_classes: usize) -> Self {
        let dims = shape[0] * shape[1];
        assert_eq!(values.len(), dims * labels.len(), "one matrix a list of labels");
        Self::new(Box::new(InMemory { dims, values }), shape, labels, n_classes)
    }

    /// The same set, whose rows a network sees afresh in each epoch.
    pub fn with_generator(self, fresh: Arc<dyn ExampleGenerator>) -> Self {
        FeatureSet { fresh: Some(fresh), ..self }
    }

    /// The number of clips.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The length of a row.
    pub fn dims(&self) -> usize {
        self.shape[0] * self.shape[1]
    }

    /// Bands and frames of the matrix that a row holds.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    pub fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// The class of each row, of a set in which each row has one.
    pub fn targets(&self) -> &[usize] {
        assert!(self.targets.len() == self.len(), "every row has one class: the task is single_label");
        &self.targets
    }

    /// The classes of each row, ascending.
    pub fn labels(&self) -> &[Vec<usize>] {
        &self.labels
    }

    /// Whether rows differ from epoch to epoch.
    pub fn has_generator(&self) -> bool {
        self.fresh.is_some()
    }

    /// The waves of a set whose rows differ from epoch to epoch, where a device may cut them itself.
    pub fn waveforms(&self) -> Option<&dyn WaveformSource> {
        self.fresh.as_ref()?.waveforms()
    }

    /// Row `row` as a network sees it in an epoch, counted from 0, and how much of each class is in it.
    pub fn read_example(&self, row: usize, epoch: usize, out: &mut [f32], targets: &mut [f32]) -> Result<()> {
        self.write_targets(row, targets);
        match &self.fresh {
            Some(fresh) => fresh.example(row, epoch, out, targets),
            None => self.read_row(row, out),
        }
    }

    /// Row `row` as it is stored.
    pub fn read_row(&self, row: usize, out: &mut [f32]) -> Result<()> {
        self.source.read(row, 0..self.dims(), out)
    }

    /// 1 for each class of a row, 0 for the others.
    pub fn write_targets(&self, row: usize, targets: &mut [f32]) {
        targets.fill(0.0);
        self.labels[row].iter().for_each(|&class| targets[class] = 1.0);
    }

    /// How many whole rows make a block of [`BLOCK_BYTES`] (at least one).
    pub fn block_rows(&self) -> usize {
        (BLOCK_BYTES / (4 * self.dims().max(1))).max(1)
    }

    /// How many whole columns make a block of [`BLOCK_BYTES`] (at least one).
    pub fn block_columns(&self) -> usize {
        (BLOCK_BYTES / (4 * self.len().max(1))).max(1).min(self.dims())
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
        self.read(rows, 0..self.dims(), out)
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
