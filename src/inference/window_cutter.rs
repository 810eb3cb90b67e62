//! Cuts the windows of a recording that arrives in blocks.

use timbre_signal::windows::WindowSpec;

/// Keeps at most a window, a hop and the current block of the recording in memory.
pub(super) struct WindowCutter {
    spec: WindowSpec,
    sample_rate: u32,
    length: usize,
    hop: usize,
    /// Samples from `origin` on that later windows may need.
    buffer: Vec<f32>,
    origin: usize,
    /// Start of the next window on the hop grid.
    next: usize,
}

/// The start of a window in samples, and its samples.
pub(super) type Cut = (usize, Vec<f32>);

impl WindowCutter {
    pub fn new(spec: WindowSpec, sample_rate: u32) -> WindowCutter {
        let (length, hop) = (spec.length(sample_rate), spec.hop_length(sample_rate));
        WindowCutter { spec, sample_rate, length, hop, buffer: Vec::new(), origin: 0, next: 0 }
    }

    /// The buffer to append the next block to, before calling [`next`](Self::next). Drops samples that no window needs.
    pub fn buffer(&mut self) -> &mut Vec<f32> {
        // The last window ends with the recording, so it starts no earlier than this.
        let keep = self.next.min(self.received().saturating_sub(self.length));
        let used = keep.saturating_sub(self.origin);
        self.buffer.drain(..used);
        self.origin += used;
        &mut self.buffer
    }

    fn received(&self) -> usize {
        self.origin + self.buffer.len()
    }

    /// The next complete window.
    pub fn next(&mut self) -> Option<Cut> {
        if self.next + self.length > self.received() {
            return None;
        }
        let start = self.next;
        self.next += self.hop;
        Some((start, self.buffer[start - self.origin..][..self.length].to_vec()))
    }

    /// At the end of the recording: the windows that [`next`](Self::next) has not returned.
    pub fn rest(&self) -> Vec<Cut> {
        let starts = self.spec.starts(self.received(), self.sample_rate).into_iter();
        // With hops longer than windows, `next` may be past the window that ends the recording.
        let returned = self.next.checked_sub(self.hop);
        let cut = |start| (start, self.spec.cut(&self.buffer, start - self.origin, self.sample_rate));
        starts.filter(|start| returned.is_none_or(|returned| *start > returned)).map(cut).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use timbre_signal::windows::Short;

    proptest! {
        #[test]
        fn windows_do_not_depend_on_the_blocks(
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
                let buffer = cutter.buffer();
                buffer.extend_from_slice(&whole[at..at + block]);
                prop_assert!(buffer.len() <= length + hop + 70, "memory is bounded");
                at += block;
                found.extend(std::iter::from_fn(|| cutter.next()));
            }
            found.extend(cutter.rest());
            prop_assert_eq!(found, expected);
        }
    }
}
