//! Where the rows of a feature set come from: storage, or examples that differ from epoch to epoch.

use std::ops::Range;

use anyhow::Result;

use crate::features::FeatureSpec;

/// The storage of the rows.
pub trait RowSource: Send + Sync {
    /// Copies `columns` of row `row` to `out`, which has their length.
    fn read(&self, row: usize, columns: Range<usize>, out: &mut [f32]) -> Result<()>;
}

/// Makes examples that differ from epoch to epoch, by random crops and augmentations of the waveform.
pub trait ExampleGenerator: Send + Sync {
    /// The example of row `row` in an epoch, counted from 0; every call gives the same numbers. `targets`: in, the
    /// one-hot or multi-hot labels of the row; out, soft targets after mixing. NaN is an unknown class.
    fn example(&self, row: usize, epoch: usize, out: &mut [f32], targets: &mut [f32]) -> Result<()>;

    /// The waveforms behind the examples, for a device that cuts and transforms them itself; `None` if only the CPU can
    /// make the examples.
    fn waveforms(&self) -> Option<&dyn WaveformSource> {
        None
    }
}

/// The recordings of a set, and where they are cut.
pub trait WaveformSource: Send + Sync {
    /// The feature of every clip.
    fn feature(&self) -> &FeatureSpec;

    fn sample_rate(&self) -> u32;

    /// The length of a clip.
    fn clip_samples(&self) -> usize;

    /// The whole recording of a row at the sample rate of the set, at least as long as a clip.
    fn waveform(&self, row: usize) -> Result<Vec<f32>>;

    /// The first sample of the clip of an epoch, in a recording of `samples` samples.
    fn start(&self, row: usize, epoch: usize, samples: usize) -> usize;
}
