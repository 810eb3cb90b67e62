//! The windows of a recording that comes block after block.

use timbre_signal::windows::WindowSpec;

/// Holds no more of a recording than a window, a hop, and the block in hand.
pub(super) struct WindowCutter {
    spec: WindowSpec,
    sample_rate: u32,
    length: usize,
    hop: usize,
    /// Samples from `origin` on, of which later windows need some.
    held: Vec<f32>,
    origin: usize,
    /// Where the next of the windows that are a hop apart begins.
    next: usize,
}

/// A window and the sample of the recording at which it begins.
pub(super) type Cut = (usize, Vec<f32>);

impl WindowCutter {
    pub fn new(spec: WindowSpec, sample_rate: u32) -> WindowCutter {
        let (length, hop) = (spec.length(sample_rate), spec.hop_length(sample_rate));
        WindowCutter { spec, sample_rate, length, hop, held: Vec::new(), origin: 0, next: 0 }
    }

    /// Where the next samples of the recording are to be appended, before [`next`](Self::next) is asked.
    pub fn more(&mut self) -> &mut Vec<f32> {
        // The last window, wherever it will be aligned, begins no earlier than this.
        let keep = self.next.min(self.received().saturating_sub(self.length));
        let used = keep.saturating_sub(self.origin);
        self.held.drain(..used);
        self.origin += used;
        &mut self.held
    }

    fn received(&self) -> usize {
        self.origin + self.held.len()
    }

    /// The next window that is whole.
    pub fn next(&mut self) -> Option<Cut> {
        if self.next + self.length > self.received() {
            return None;
        }
        let start = self.next;
        self.next += self.hop;
        Some((start, self.held[start - self.origin..][..self.length].to_vec()))
    }

    /// At the end of the recording, the windows that [`next`](Self::next) has not given.
    pub fn rest(&self) -> Vec<Cut> {
        let starts = self.spec.starts(self.received(), self.sample_rate).into_iter();
        // Where hops are longer than windows, the next one may lie beyond the window that ends the recording.
        let given = self.next.checked_sub(self.hop);
        let cut = |start| (start, self.spec.cut(&self.held, start - self.origin, self.sample_rate));
        starts.filter(|start| given.is_none_or(|given| *start > given)).map(cut).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use timbre_signal::windows::Short;

    proptest! {
        #[test]
        fn whatever_the_blocks_the_windows_are_those_of_the_whole(
            (length, hop, repeat) in (1usize..40, 1usize..60, any::<bool>()),
            blocks in prop::collection::vec(0usize..70, 1..12),
        ) {
            let short = if repeat { Short::Repeat } else { Short::Pad };
            let spec = WindowSpec { seconds: length as f64, hop: hop as f64, short };
            let whole: Vec<f32> = (0..blocks.iter().sum()).map(|n| n as f32 + 1.0).collect();
            let expected: Vec<Cut> =
                spec.starts(whole.len(), 1).into_iter().map(|start| (start, spec.cut(&whole, start, 1))).collect();
            let (mut cutter, mut found, mut at) = (WindowCutter::new(spec, 1), Vec::new(), 0);
            for block in blocks {
                let held = cutter.more();
                held.extend_from_slice(&whole[at..at + block]);
                prop_assert!(held.len() <= length + hop + 70, "memory is bounded");
                at += block;
                found.extend(std::iter::from_fn(|| cutter.next()));
            }
            found.extend(cutter.rest());
            prop_assert_eq!(found, expected);
        }
    }
}
