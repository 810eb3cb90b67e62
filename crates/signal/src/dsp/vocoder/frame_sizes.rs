//! Chooses the lengths and the hop of the frames.
//!
//! A frame of `analysis` samples is transformed; its spectrum, placed on `synthesis` bins, is a frame whose frequencies are
//! `analysis / synthesis` times as high. So a pitch shift needs no resampler, and frequencies that would exceed the Nyquist
//! frequency are dropped. Both lengths are even products of 2, 3, 5, 7 and 11, whose transforms are fast; their ratio is
//! within 2 cents of the wanted one (5 at 8 kHz, where frames are short), and the rest is corrected exactly in the phases and
//! approximately in the shape of the frames (see `frames.rs`).

/// Window length at 22050 Hz, in samples. At other rates it has about the same duration, whereas librosa keeps the samples.
const WINDOW: f64 = 2560.0;
const WINDOW_RATE: f64 = 22050.0;
/// Allowed range of the two lengths of a pitch shift, relative to lengths whose geometric mean is the window.
const SPREAD: (f64, f64) = (0.78, 1.3);

/// Lengths of the frames of a clip.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrameSizes {
    /// Samples of a frame that is read.
    pub analysis: usize,
    /// Samples of a frame that is written.
    pub synthesis: usize,
    /// Output samples from one frame to the next.
    pub hop: usize,
    /// Factor on every frequency.
    pub pitch: f64,
}

impl FrameSizes {
    /// Sizes for `rate` input samples per output sample and frequencies multiplied by `pitch`.
    pub fn new(sample_rate: u32, rate: f64, pitch: f64) -> FrameSizes {
        let window = window(sample_rate);
        let (analysis, synthesis) = if pitch == 1.0 { (window, window) } else { pair(window, pitch) };
        // Four overlapping frames; more where frames would otherwise be read more than half a frame apart, since then the number
        // of periods of a partial in between is unknown.
        let most = (analysis as f64 / (2.0 * rate)).floor() as usize;
        let hop = (1..).map(|n| synthesis / (4 * n)).find(|&hop| hop <= most.max(1)).unwrap_or(1).max(1);
        let hop = whole_step(hop, pitch);
        FrameSizes { analysis, synthesis, hop, pitch }
    }

    /// Number of bins that both lengths have, without the one at the Nyquist frequency.
    pub fn bins(&self) -> usize {
        self.analysis.min(self.synthesis) / 2
    }
}

/// The longest of slightly shorter hops that are nearly whole numbers of samples at the speed of the frames as well: frames
/// around an onset are that far apart in the recording, and a click must not shift by half a sample between them.
fn whole_step(hop: usize, pitch: f64) -> usize {
    let off = |hop: usize| (hop as f64 * pitch - (hop as f64 * pitch).round()).abs();
    let hops = (hop - hop / 16..=hop).rev();
    let near = hops.clone().find(|&hop| off(hop) < 0.03);
    near.or(hops.min_by(|&a, &b| off(a).total_cmp(&off(b)))).unwrap_or(hop)
}

/// Four to seven times a power of two, nearest to the window.
fn window(sample_rate: u32) -> usize {
    let wanted = (WINDOW * f64::from(sample_rate) / WINDOW_RATE).max(64.0);
    let lengths = (4..28).flat_map(|n| [4usize << n, 5 << n, 6 << n, 7 << n]);
    lengths.min_by(|&a, &b| away(a, wanted).total_cmp(&away(b, wanted))).expect("some lengths")
}

fn away(length: usize, wanted: f64) -> f64 {
    (length as f64 / wanted).ln().abs()
}

/// Lengths whose ratio is nearly `pitch`; of equally near ones those nearest to the window.
fn pair(window: usize, pitch: f64) -> (usize, usize) {
    let long = window as f64 * pitch.sqrt().max(1.0);
    let short = long / pitch;
    let lengths = |middle: f64| {
        let range = (middle * SPREAD.0) as usize / 2..=(middle * SPREAD.1) as usize / 2;
        range.map(|half| 2 * half).filter(|&n| n > 0 && is_fast(n))
    };
    let analyses: Vec<usize> = lengths(long).collect();
    // A cent costs as much as a window that is 20 % too long, and as transforms that take twice as long.
    let cost = |&(a, s): &(usize, usize)| {
        let cents = 1200.0 * (a as f64 / s as f64 / pitch).log2().abs();
        2.0 * cents + 5.0 * (away(a, long) + away(s, short)) + alignment_cost(a) + alignment_cost(s)
    };
    lengths(short)
        .flat_map(|s| analyses.iter().map(move |&a| (a, s)))
        .map(|pair| (pair, cost(&pair)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .expect("there are fast lengths in every range that long")
        .0
}

/// Cost of a length that is not a multiple of eight, the width of a vector.
fn alignment_cost(n: usize) -> f64 {
    match n.trailing_zeros() {
        0 | 1 => 1.0,
        2 => 0.4,
        _ => 0.0,
    }
}

fn is_fast(mut n: usize) -> bool {
    for factor in [2, 3, 5, 7, 11] {
        while n.is_multiple_of(factor) {
            n /= factor;
        }
    }
    n == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_stretch_reads_and_writes_frames_of_equal_length() {
        let plain = FrameSizes { analysis: 2560, synthesis: 2560, hop: 640, pitch: 1.0 };
        assert_eq!(FrameSizes::new(22050, 1.2, 1.0), plain);
        assert_eq!(FrameSizes::new(22050, 0.25, 1.0), plain);
        assert_eq!(FrameSizes::new(22050, 4.0, 1.0), FrameSizes { hop: 320, ..plain });
        assert_eq!(
            FrameSizes::new(44100, 1.2, 1.0),
            FrameSizes { analysis: 5120, synthesis: 5120, hop: 1280, pitch: 1.0 }
        );
        assert_eq!(FrameSizes::new(16000, 1.0, 1.0).analysis, 1792);
    }

    #[test]
    fn the_lengths_of_a_pitch_shift_are_within_two_cents_of_it() {
        for rate in [22050, 44100, 48000] {
            for step in -240..=240 {
                let pitch = 2f64.powf(f64::from(step) / 120.0);
                let FrameSizes { analysis, synthesis, hop, .. } = FrameSizes::new(rate, 1.0, pitch);
                let cents = 1200.0 * (analysis as f64 / synthesis as f64 / pitch).log2();
                assert!(cents.abs() < 2.5, "{cents} cents at {pitch}");
                assert!(
                    4 * hop <= synthesis && 2 * hop <= analysis && synthesis <= 9 * hop,
                    "{analysis} {synthesis} {hop}"
                );
            }
        }
    }
}
