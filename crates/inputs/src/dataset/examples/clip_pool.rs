//! The training clips as the company of each of them.

use anyhow::Result;

use super::TrainingExamples;
use super::held::Found;
use crate::augment::{ClipInfo, ClipPool, Music};
use timbre_signal::audio::Recording;

impl ClipPool for TrainingExamples {
    fn len(&self) -> usize {
        self.cached.len()
    }

    fn companion(&self, row: usize) -> ClipInfo<'_> {
        let source = self.recordings.source(row);
        ClipInfo { id: &source.id, labels: &self.cached.labels()[row], song: &source.song, tags: &source.tags }
    }

    fn waveform(&self, row: usize, cut: u64) -> Result<Vec<f32>> {
        let cut_out = |recording: &Recording| {
            let places = recording.max_start(self.audio()) as u128 + 1;
            // The upper half of the product: uniform over the places.
            let begin = (u128::from(cut) * places) >> 64;
            self.recordings.piece(recording, begin as usize, self.samples())
        };
        Ok(match self.recordings.find(row)? {
            Found::Held(recording) => cut_out(recording),
            Found::Passing(recording) => cut_out(&recording),
            Found::Short => cut_out(&self.recordings.decode(row)?),
        })
    }

    fn image(&self, row: usize, out: &mut [f32]) -> Result<()> {
        self.cached.read_row(row, out)
    }

    fn shape(&self) -> [usize; 2] {
        self.cached.shape()
    }

    fn row_of(&self, id: &str) -> Option<usize> {
        self.row(id)
    }

    fn music(&self, row: usize) -> Option<Music> {
        self.music.get(row).copied()
    }
}
