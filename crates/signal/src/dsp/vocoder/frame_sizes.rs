//! How long the frames are, and how far apart.
//!
//! A frame of `analysis` samples is transformed; its spectrum, laid on `synthesis` bins instead, is a frame whose frequencies
//! are `analysis / synthesis` times as high. So a pitch shift needs no resampler: what a higher pitch would push beyond the
//! Nyquist frequency is not laid down. Both lengths are even products of 2, 3, 5, 7 and 11, for which the transforms are fast;
//! their ratio hits the wanted one within 2 cents (5 at 8 kHz, where frames are short), and the rest is made up for exactly in the
//! phases and nearly in the shape of the frames (see `frames.rs`).

/// The window at 22050 Hz, in samples: librosa's. At other rates as long in time, about, where librosa keeps the samples.
const WINDOW: f64 = 2560.0;
const WINDOW_RATE: f64 = 22050.0;
/// How far the two lengths of a pitch shift may lie from those that would be as long in the geometric mean as the window.
const SPREAD: (f64, f64) = (0.78, 1.3);

/// What will be done to a clip, frame by frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrameSizes {
    /// Samples of a frame that is read.
    pub analysis: usize,
    /// Samples of the frame that is written for it.
    pub synthesis: usize,
    /// Samples of the output from one frame to the next.
    pub hop: usize,
    /// How many times as high each frequency becomes.
    pub pitch: f64,
}

impl FrameSizes {
    /// `rate` input samples for each output sample, and every frequency `pitch` times as high.
    pub fn new(sample_rate: u32, rate: f64, pitch: f64) -> FrameSizes {
        let window = window(sample_rate);
        let (analysis, synthesis) = if pitch == 1.0 { (window, window) } else { pair(window, pitch) };
        // Four frames on each other; more where frames that far apart would be read more than half a frame apart, for then
        // nobody knows how often a partial went round in between.
        let most = (analysis as f64 / (2.0 * rate)).floor() as usize;
        let hop = (1..).map(|n| synthesis / (4 * n)).find(|&hop| hop <= most.max(1)).unwrap_or(1).max(1);
        let hop = whole_step(hop, pitch);
        FrameSizes { analysis, synthesis, hop, pitch }
    }

    /// Bins that both sides have, without the one at half the rate.
    pub fn bins(&self) -> usize {
        self.analysis.min(self.synthesis) / 2
    }
}

/// The longest of slightly shorter hops that are whole numbers of samples at the pace of the frames, too, as near as matters: frames
/// around an onset are that far apart in the recording, and a click must not lie half a sample elsewhere in each of them.
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

/// Lengths whose ratio is nearly `pitch`; of those equally near, the ones nearest to the window.
fn pair(window: usize, pitch: f64) -> (usize, usize) {
    let long = window as f64 * pitch.sqrt().max(1.0);
    let short = long / pitch;
    let lengths = |middle: f64| {
        let range = (middle * SPREAD.0) as usize / 2..=(middle * SPREAD.1) as usize / 2;
        range.map(|half| 2 * half).filter(|&n| n > 0 && is_fast(n))
    };
    let analyses: Vec<usize> = lengths(long).collect();
    // A cent is as bad as a window that is 20 % too long, and as transforms that take twice as long.
    let cost = |&(a, s): &(usize, usize)| {
        let cents = 1200.0 * (a as f64 / s as f64 / pitch).log2().abs();
        2.0 * cents + 5.0 * (away(a, long) + away(s, short)) + unwieldy(a) + unwieldy(s)
    };
    lengths(short)
        .flat_map(|s| analyses.iter().map(move |&a| (a, s)))
        .map(|pair| (pair, cost(&pair)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .expect("there are fast lengths in every range that long")
        .0
}

/// Vectors of eight want lengths that divide by eight.
fn unwieldy(n: usize) -> f64 {
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
    fn a_stretch_reads_and_writes_frames_of_one_length() {
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
