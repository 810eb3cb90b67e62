//! Feature sets: one feature of many clips, ready for a model, one row per clip.
//!
//! A [`FeatureSet`] is in memory or in the feature cache. Models read blocks of rows or columns and never all of it, so
//! that memory does not grow with the number of clips.

use std::ops::Range;
use std::sync::Arc;

use anyhow::{Result, bail};
use rayon::prelude::*;
use timbre_core::labels::Labels;

use super::row_source::{ExampleGenerator, RowSource, WaveformSource};
use super::tags::{AuxiliaryTargets, Examples, TagRows, WithTagRows};
use crate::features::cache::CachedMatrix;
use crate::features::extraction::CachedWindows;

/// The number of bytes of features that a model should hold at once.
pub const BLOCK_BYTES: usize = 64 << 20;

/// One feature of many clips with their labels. A clone shares the source: a model that needs its training rows later
/// keeps one.
#[derive(Clone)]
pub struct FeatureSet {
    /// The shape of the matrix of a row: bands and frames.
    shape: [usize; 2],
    /// The images of equal size below each other in that matrix.
    channels: usize,
    labels: Arc<Vec<Labels>>,
    /// The single class of each row; empty if any row has none or several.
    targets: Vec<usize>,
    n_classes: usize,
    /// How much each row counts in a fit; None: all the same.
    weights: Option<Arc<Vec<f64>>>,
    /// The song of each row, as a number; None: every row is its own.
    groups: Option<Arc<Vec<usize>>>,
    source: Arc<dyn RowSource>,
    generator: Option<Arc<dyn ExampleGenerator>>,
    auxiliary: Option<Arc<AuxiliaryTargets>>,
    /// The probability of each class of each row that a teacher predicts, row-major.
    teacher: Option<Arc<Vec<f32>>>,
    /// Rows for tags below each image.
    tag_rows: usize,
}

struct InMemory {
    dims: usize,
    values: Arc<Vec<f32>>,
}

impl RowSource for InMemory {
    fn read(&self, row: usize, columns: Range<usize>, out: &mut [f32]) -> Result<()> {
        let start = row * self.dims;
        out.copy_from_slice(&self.values[start + columns.start..start + columns.end]);
        Ok(())
    }
}

/// Some rows of another source.
struct Subset {
    rows: Vec<usize>,
    of: Arc<dyn RowSource>,
}

impl RowSource for Subset {
    fn read(&self, row: usize, columns: Range<usize>, out: &mut [f32]) -> Result<()> {
        self.of.read(self.rows[row], columns, out)
    }
}

/// Rows that stay in the feature cache until they are read.
struct InCache(Vec<CachedMatrix>);

impl RowSource for InCache {
    fn read(&self, row: usize, columns: Range<usize>, out: &mut [f32]) -> Result<()> {
        self.0[row].read(columns, out)
    }
}

/// The windows of recordings in the feature cache, one row each.
struct WindowsInCache {
    recordings: Vec<CachedWindows>,
    /// The recording and the window of each row.
    rows: Vec<(usize, usize)>,
}

impl RowSource for WindowsInCache {
    fn read(&self, row: usize, columns: Range<usize>, out: &mut [f32]) -> Result<()> {
        let (recording, window) = self.rows[row];
        self.recordings[recording].read(window, columns, out)
    }
}

impl FeatureSet {
    /// The feature `name` of every window of recordings in the cache, one recording after the other; a window has the
    /// labels of its recording.
    pub fn from_windows(
        name: &str,
        recordings: Vec<CachedWindows>,
        labels: &[Labels],
        n_classes: usize,
    ) -> Result<Self> {
        let shape = recordings.first().map_or([0, 0], CachedWindows::shape);
        if let Some(other) = recordings.iter().find(|r| r.shape() != shape) {
            bail!("the windows of `{name}` are {shape:?} in one recording and {:?} in another", other.shape());
        }
        let windows = |(recording, of): (usize, &CachedWindows)| (0..of.starts().len()).map(move |w| (recording, w));
        let rows: Vec<(usize, usize)> = recordings.iter().enumerate().flat_map(windows).collect();
        let labels = rows.iter().map(|&(recording, _)| labels[recording].clone()).collect();
        Ok(Self::new(Box::new(WindowsInCache { recordings, rows }), shape, labels, n_classes))
    }

    /// The feature `name` of recordings in the cache.
    pub fn from_cache(name: &str, rows: Vec<CachedMatrix>, labels: Vec<Labels>, n_classes: usize) -> Result<Self> {
        let shape = rows.first().map_or([0, 0], |r| [r.rows, r.cols]);
        if let Some(other) = rows.iter().find(|r| [r.rows, r.cols] != shape) {
            bail!(
                "the clips differ in length, so `{name}` has {} values for one and {} for another: \
                 set `audio.clip_seconds`, or give the feature a `summary`",
                shape[0] * shape[1],
                other.dims()
            );
        }
        Ok(Self::new(Box::new(InCache(rows)), shape, labels, n_classes))
    }

    /// A set stored in `source`: rows of one shape, each with its classes.
    pub fn new(source: Box<dyn RowSource>, shape: [usize; 2], labels: Vec<Labels>, n_classes: usize) -> Self {
        let targets: Option<Vec<usize>> =
            labels.iter().map(|l| if let [one] = l[..] { Some(one) } else { None }).collect();
        FeatureSet {
            shape,
            channels: 1,
            labels: Arc::new(labels),
            targets: targets.unwrap_or_default(),
            n_classes,
            weights: None,
            groups: None,
            source: source.into(),
            generator: None,
            auxiliary: None,
            teacher: None,
            tag_rows: 0,
        }
    }

    /// A set in memory, row-major, with one class per row.
    pub fn from_memory(values: Vec<f32>, dims: usize, targets: Vec<usize>, n_classes: usize) -> Self {
        Self::from_matrices(values, [1, dims], targets.into_iter().map(|t| vec![t]).collect(), n_classes)
    }

    /// Matrices in memory, one after the other, with all their classes: every other class is absent.
    pub fn from_matrices(values: Vec<f32>, shape: [usize; 2], labels: Vec<Vec<usize>>, n_classes: usize) -> Self {
        Self::from_labelled(values, shape, labels.into_iter().map(Labels::from).collect(), n_classes)
    }

    /// Matrices in memory, one after the other.
    pub fn from_labelled(values: Vec<f32>, shape: [usize; 2], labels: Vec<Labels>, n_classes: usize) -> Self {
        let dims = shape[0] * shape[1];
        assert_eq!(values.len(), dims * labels.len(), "one matrix per row");
        Self::new(Box::new(InMemory { dims, values: Arc::new(values) }), shape, labels, n_classes)
    }

    /// As [`FeatureSet::from_memory`], without a copy of rows that have another owner, too.
    pub fn from_shared(values: Arc<Vec<f32>>, dims: usize, targets: Vec<usize>, n_classes: usize) -> Self {
        assert_eq!(values.len(), dims * targets.len(), "one row per class");
        let labels = targets.into_iter().map(|target| vec![target].into()).collect();
        Self::new(Box::new(InMemory { dims, values }), [1, dims], labels, n_classes)
    }

    /// Some rows of this set, with other labels.
    pub fn subset(&self, rows: Vec<usize>, labels: Vec<Labels>, n_classes: usize) -> Self {
        let weights = self.weights().map(|weights| Arc::new(rows.iter().map(|&row| weights[row]).collect()));
        let groups = self.groups().map(|groups| Arc::new(rows.iter().map(|&row| groups[row]).collect()));
        let source = Subset { rows, of: Arc::clone(&self.source) };
        let (tag_rows, channels) = (self.tag_rows, self.channels);
        FeatureSet { weights, groups, tag_rows, channels, ..Self::new(Box::new(source), self.shape, labels, n_classes) }
    }

    /// The same rows with other matrices in memory, one after the other.
    pub fn with_matrices(&self, values: impl Into<Arc<Vec<f32>>>, shape: [usize; 2]) -> Self {
        let (dims, values) = (shape[0] * shape[1], values.into());
        assert_eq!(values.len(), dims * self.len(), "one matrix per row");
        let source = Arc::new(InMemory { dims, values });
        FeatureSet { shape, channels: 1, source, generator: None, tag_rows: 0, ..self.clone() }
    }

    /// The same set with as many images below each other in each matrix: the input channels of a network.
    pub fn with_channels(self, channels: usize) -> Self {
        assert!(channels > 0 && self.shape[0].is_multiple_of(channels), "images of equal size");
        FeatureSet { channels, ..self }
    }

    /// The same set in which rows count by their weights. Equal weights of 1 are none.
    pub fn with_weights(self, weights: Vec<f64>) -> Self {
        assert_eq!(weights.len(), self.len(), "one weight per row");
        let are_equal = weights.iter().all(|&weight| weight == 1.0);
        FeatureSet { weights: (!are_equal).then(|| Arc::new(weights)), ..self }
    }

    /// The same set with the song of each row, as a number.
    pub fn with_groups(self, groups: Vec<usize>) -> Self {
        assert_eq!(groups.len(), self.len(), "one group per row");
        FeatureSet { groups: Some(Arc::new(groups)), ..self }
    }

    /// The song of each row, as a number; None: every row is its own.
    pub fn groups(&self) -> Option<&[usize]> {
        self.groups.as_ref().map(|groups| groups.as_slice())
    }

    /// How much each row counts in a fit; None: all the same.
    pub fn weights(&self) -> Option<&[f64]> {
        self.weights.as_ref().map(|weights| weights.as_slice())
    }

    /// The same set with a generator for the examples of each epoch.
    pub fn with_generator(self, generator: Arc<dyn ExampleGenerator>) -> Self {
        FeatureSet { generator: Some(generator), ..self }
    }

    /// The same set with the tags of its rows below each image, for networks.
    pub fn with_tag_rows(self, tags: TagRows) -> Self {
        assert_eq!(tags.places.len(), self.len(), "the tags of each row");
        assert_eq!(self.channels, 1, "the tags belong to one image");
        let ([rows, width], image, tags) = (self.shape, self.dims(), Arc::new(tags));
        let tag_rows = tags.count();
        let shape = [rows + tag_rows, width];
        let examples = match (&self.generator, tags.dropout > 0.0) {
            (Some(generator), _) => Some(Examples::Generated(Arc::clone(generator))),
            (None, true) => Some(Examples::Stored(Arc::clone(&self.source))),
            (None, false) => None,
        };
        let generator = examples.map(|examples| {
            let of = Arc::new(examples);
            Arc::new(WithTagRows { of, tags: Arc::clone(&tags), image, width }) as Arc<dyn ExampleGenerator>
        });
        let source = Arc::new(WithTagRows { of: Arc::clone(&self.source), tags, image, width });
        FeatureSet { shape, source, generator, tag_rows, ..self }
    }

    /// The number of rows for tags below each image.
    pub fn tag_rows(&self) -> usize {
        self.tag_rows
    }

    /// The same set with targets beside its classes, which networks learn too.
    pub fn with_auxiliary(self, targets: AuxiliaryTargets) -> Self {
        assert_eq!(targets.rows.len(), self.len(), "the targets of each row");
        FeatureSet { auxiliary: Some(Arc::new(targets)), ..self }
    }

    /// The targets beside the classes.
    pub fn auxiliary(&self) -> Option<&AuxiliaryTargets> {
        self.auxiliary.as_deref()
    }

    /// The number of outputs of a network for this set: one for each class, and those beside them.
    pub fn n_outputs(&self) -> usize {
        self.n_classes + self.auxiliary.as_ref().map_or(0, |targets| targets.len())
    }

    /// The same set with what a teacher predicts for each row, row-major: a probability for each class.
    pub fn with_teacher(self, probabilities: Vec<f32>) -> Self {
        assert_eq!(probabilities.len(), self.len() * self.n_classes, "a probability for each row and class");
        FeatureSet { teacher: Some(Arc::new(probabilities)), ..self }
    }

    /// Whether a teacher's predictions are among the targets.
    pub fn has_teacher(&self) -> bool {
        self.teacher.is_some()
    }

    /// The number of targets of a row: those of the outputs, then a teacher's probability of each class.
    pub fn n_targets(&self) -> usize {
        self.n_outputs() + if self.has_teacher() { self.n_classes } else { 0 }
    }

    /// The number of rows.
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

    /// The shape of the matrix of a row: bands and frames.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// The number of images below each other in the matrix of a row.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The shape of one of these images.
    pub fn image_shape(&self) -> [usize; 2] {
        [self.shape[0] / self.channels, self.shape[1]]
    }

    pub fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// The class of each row; every row must have exactly one.
    pub fn targets(&self) -> &[usize] {
        assert!(self.targets.len() == self.len(), "every row has one class: the task is single_label");
        &self.targets
    }

    /// The classes of each row, ascending.
    pub fn labels(&self) -> &[Labels] {
        &self.labels
    }

    /// Whether a class of some row is unknown.
    pub fn has_unknown_labels(&self) -> bool {
        self.labels.iter().any(|labels| !labels.unknown().is_empty())
    }

    /// Whether examples differ from epoch to epoch.
    pub fn has_generator(&self) -> bool {
        self.generator.is_some()
    }

    /// The waveforms of a set whose examples a device can make itself.
    pub fn waveforms(&self) -> Option<&dyn WaveformSource> {
        self.generator.as_ref()?.waveforms()
    }

    /// The training example of row `row` in an epoch, counted from 0, and the share of each class. If other recordings are mixed in, what a
    /// teacher predicts is NaN.
    pub fn read_example(&self, row: usize, epoch: usize, out: &mut [f32], targets: &mut [f32]) -> Result<()> {
        self.write_targets(row, targets);
        let Some(generator) = &self.generator else { return self.read_row(row, out) };
        if !self.has_teacher() {
            return generator.example(row, epoch, out, targets);
        }
        let labels = targets[..self.n_classes].to_vec();
        generator.example(row, epoch, out, targets)?;
        // The teacher knows the recording, and not what was mixed into it.
        let is_same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits();
        if !labels.iter().zip(&*targets).all(is_same) {
            targets[self.n_outputs()..].fill(f32::NAN);
        }
        Ok(())
    }

    /// Row `row` as it is stored.
    pub fn read_row(&self, row: usize, out: &mut [f32]) -> Result<()> {
        self.read_part(row, 0..self.dims(), out)
    }

    /// Copies `columns` of a row.
    pub fn read_part(&self, row: usize, columns: Range<usize>, out: &mut [f32]) -> Result<()> {
        self.source.read(row, columns, out)
    }

    /// Writes 1 for each class of a row, NaN for those that are unknown, and 0 for the others; then the targets beside the classes, and
    /// what a teacher predicts.
    pub fn write_targets(&self, row: usize, targets: &mut [f32]) {
        let (targets, beside) = targets.split_at_mut(self.n_classes);
        let (beside, taught) = beside.split_at_mut(self.n_outputs() - self.n_classes);
        targets.fill(0.0);
        if let Some(auxiliary) = &self.auxiliary {
            auxiliary.write(row, beside);
        }
        if let Some(teacher) = &self.teacher {
            taught.copy_from_slice(&teacher[row * self.n_classes..][..self.n_classes]);
        }
        self.labels[row].iter().for_each(|&class| targets[class] = 1.0);
        self.labels[row].unknown().iter().for_each(|&class| targets[class] = f32::NAN);
    }

    /// The number of whole rows in a block of [`BLOCK_BYTES`], at least one.
    pub fn block_rows(&self) -> usize {
        (BLOCK_BYTES / (4 * self.dims().max(1))).max(1)
    }

    /// The number of whole columns in a block of [`BLOCK_BYTES`], at least one.
    pub fn block_columns(&self) -> usize {
        (BLOCK_BYTES / (4 * self.len().max(1))).max(1).min(self.dims())
    }

    /// Reads the block `rows` × `columns`, row-major, into `out`, which it replaces.
    pub fn read(&self, rows: Range<usize>, columns: Range<usize>, out: &mut Vec<f32>) -> Result<()> {
        let width = columns.len();
        // Every value is overwritten, so old values need not be cleared.
        out.resize(rows.len() * width, 0.0);
        if width == 0 {
            return Ok(());
        }
        out.par_chunks_exact_mut(width)
            .zip(rows)
            .try_for_each(|(row_out, row)| self.source.read(row, columns.clone(), row_out))
    }

    /// Reads whole rows.
    pub fn read_rows(&self, rows: Range<usize>, out: &mut Vec<f32>) -> Result<()> {
        self.read(rows, 0..self.dims(), out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_holds_the_requested_rows_and_columns() {
        let set = FeatureSet::from_memory((0..12).map(|v| v as f32).collect(), 4, vec![0, 1, 0], 2);
        let mut block = Vec::new();
        set.read(1..3, 1..3, &mut block).unwrap();
        assert_eq!(block, [5.0, 6.0, 9.0, 10.0]);
        set.read(0..0, 0..4, &mut block).unwrap();
        assert!(block.is_empty());
    }

    #[test]
    fn a_subset_has_its_own_labels_and_unknown_classes_have_no_target() {
        let set = FeatureSet::from_memory((0..12).map(|v| v as f32).collect(), 4, vec![0, 1, 0], 2);
        let subset = set.subset(vec![2, 0], vec![Labels::new(vec![1], vec![2]), Labels::default()], 3);
        let mut rows = Vec::new();
        subset.read_rows(0..2, &mut rows).unwrap();
        assert_eq!(rows, [8.0, 9.0, 10.0, 11.0, 0.0, 1.0, 2.0, 3.0]);
        let mut targets = [5.0; 3];
        subset.write_targets(0, &mut targets);
        assert!(targets[..2] == [0.0, 1.0] && targets[2].is_nan());
        assert!(subset.has_unknown_labels() && !set.has_unknown_labels());
        let weighted = set.with_weights(vec![1.0, 0.5, 2.0]);
        let subset = weighted.subset(vec![2, 0], vec![Labels::default(); 2], 1);
        assert_eq!((subset.weights(), weighted.with_weights(vec![1.0; 3]).weights()), (Some(&[2.0, 1.0][..]), None));
    }
}
