//! The training clips as the pool from which augmentations take partners.

use anyhow::Result;

use super::TrainingExamples;
use crate::augment::{Backgrounds, ClipInfo, ClipPool, TempoAndKey};

impl ClipPool for TrainingExamples {
    fn len(&self) -> usize {
        self.recordings.len()
    }

    fn info(&self, row: usize) -> ClipInfo<'_> {
        let source = self.recordings.source(row);
        ClipInfo { id: &source.id, labels: &self.cached.labels()[row], song: &source.song, tags: &source.tags }
    }

    fn waveform(&self, row: usize, cut: u64) -> Result<Vec<f32>> {
        let recording = self.recordings.load(row)?;
        let positions = recording.max_start(self.audio()) as u128 + 1;
        // The upper half of the product is uniform over the positions.
        let begin = (u128::from(cut) * positions) >> 64;
        Ok(self.recordings.piece(&recording, begin as usize, self.samples()))
    }

    fn image(&self, row: usize, channel: usize, out: &mut [f32]) -> Result<()> {
        let start = channel * out.len();
        self.cached.read_part(row, start..start + out.len(), out)
    }

    fn backgrounds(&self) -> &Backgrounds {
        &self.caches.backgrounds
    }

    fn shape(&self) -> [usize; 2] {
        self.cached.image_shape()
    }

    fn row_of(&self, id: &str) -> Option<usize> {
        self.row(id)
    }

    fn tempo_and_key(&self, row: usize) -> Option<TempoAndKey> {
        self.tempo_and_key.get(row).copied()
    }
}
