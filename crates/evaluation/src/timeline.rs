//! Window predictions become segments: which class is present from when to when.
//!
//! Conventions
//! - A window stands for the time around its middle: from half way to the middle of the previous window to half way to that of
//!   the next. The first stands for the time from the start of the recording, the last for the time to its end. These intervals
//!   cover a recording without overlap, so windows of 3 s that are 1 s apart locate a class to the second.
//! - Hysteresis: a segment of a class starts with a window whose probability is **more than** `on` (as for a vote) and continues
//!   while probabilities are **at least** `off`. Then gaps of at most `bridge` seconds between two segments are filled, and
//!   segments shorter than `shortest` are dropped, in this order.
//! - The confidence of a segment is the mean of its windows' probabilities, windows in bridge_gaps gaps included, weighted by the
//!   time that each window stands for.

use serde::Serialize;

use crate::aggregation::{is_above, reaches};
use crate::predictions::WindowPredictions;

/// How probabilities over time become segments.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hysteresis {
    /// One per class: a window above this starts a segment.
    pub on: Vec<f64>,
    /// One per class: a window below this ends it.
    pub off: Vec<f64>,
    /// In seconds: shorter segments are dropped.
    pub shortest: f64,
    /// In seconds: gaps up to this length are filled.
    pub bridge: f64,
}

/// The default of `off` as a share of `on`.
pub const OFF_RATIO: f64 = 0.8;
/// The default of `shortest`, in seconds.
pub const MIN_SEGMENT_SECONDS: f64 = 1.0;
/// The default of `bridge`, in seconds.
pub const MAX_GAP_SECONDS: f64 = 1.0;

/// Times are sums of samples divided by rates: smaller differences count as equal.
const SAME: f64 = 1e-6;

impl Hysteresis {
    /// `on` at these thresholds, and defaults for everything else.
    pub fn from_thresholds(cutoffs: Vec<f64>) -> Hysteresis {
        let off = cutoffs.iter().map(|on| OFF_RATIO * on).collect();
        Hysteresis { on: cutoffs, off, shortest: MIN_SEGMENT_SECONDS, bridge: MAX_GAP_SECONDS }
    }
}

/// An interval of a recording in which a class is present.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Segment {
    /// The class that is present.
    pub class: usize,
    /// Seconds from the start of the recording.
    pub start: f64,
    /// Seconds from the start of the recording; after `start`.
    pub end: f64,
    /// From 0 to 1.
    pub confidence: f64,
}

/// The intervals that the windows stand for: one boundary more than there are windows, from 0 to `seconds`.
pub fn window_boundaries(starts: &[f64], window: f64, seconds: f64) -> Vec<f64> {
    let between = starts.windows(2).map(|pair| ((pair[0] + pair[1] + window) / 2.0).min(seconds));
    std::iter::once(0.0).chain(between).chain([seconds]).collect()
}

/// The segments of the first recording of `windows`, ordered by start and then class. Each window is `length` seconds long.
pub fn segments(windows: &WindowPredictions, length: f64, seconds: f64, rule: &Hysteresis) -> Vec<Segment> {
    let boundaries = window_boundaries(&windows.starts[windows.windows_of(0)], length, seconds);
    let mut segments = Vec::new();
    for class in 0..windows.n_classes {
        let of_class: Vec<f32> = windows.rows_of(0).map(|row| row[class]).collect();
        let runs = runs(&of_class, rule.on[class], rule.off[class]);
        for (from, to) in drop_short(bridge_gaps(runs, &boundaries, rule.bridge), &boundaries, rule.shortest) {
            let weighted: f64 = (from..to).map(|w| f64::from(of_class[w]) * (boundaries[w + 1] - boundaries[w])).sum();
            let (start, end) = (boundaries[from], boundaries[to]);
            let plain = || of_class[from..to].iter().copied().map(f64::from).sum::<f64>() / (to - from) as f64;
            let confidence = if end > start { weighted / (end - start) } else { plain() };
            segments.push(Segment { class, start, end, confidence });
        }
    }
    segments.sort_by(|a, b| a.start.total_cmp(&b.start).then(a.class.cmp(&b.class)));
    segments
}

/// Ranges of windows in which the class is on.
fn runs(probabilities: &[f32], on: f64, off: f64) -> Vec<(usize, usize)> {
    let mut runs = Vec::new();
    let mut begun = None;
    for (w, &p) in probabilities.iter().enumerate() {
        match begun {
            None if is_above(p, on) => begun = Some(w),
            // Where `off` is above `on`, the window that starts a segment still counts.
            Some(from) if !reaches(p, off) => {
                runs.push((from, w));
                begun = is_above(p, on).then_some(w);
            }
            _ => {}
        }
    }
    runs.extend(begun.map(|from| (from, probabilities.len())));
    runs
}

fn bridge_gaps(runs: Vec<(usize, usize)>, boundaries: &[f64], longest: f64) -> Vec<(usize, usize)> {
    let mut joined: Vec<(usize, usize)> = Vec::new();
    for (from, to) in runs {
        match joined.last_mut() {
            Some((_, end)) if boundaries[from] - boundaries[*end] <= longest + SAME => *end = to,
            _ => joined.push((from, to)),
        }
    }
    joined
}

fn drop_short(runs: Vec<(usize, usize)>, boundaries: &[f64], shortest: f64) -> Vec<(usize, usize)> {
    runs.into_iter().filter(|(from, to)| boundaries[*to] - boundaries[*from] >= shortest - SAME).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::predictions::Predictions;

    fn windows(n_classes: usize, probabilities: Vec<f32>, starts: Vec<f64>) -> WindowPredictions {
        WindowPredictions::new(Predictions { n_classes, probabilities }, &[starts])
    }

    fn rule(on: f64, off: f64, shortest: f64, bridge: f64) -> Hysteresis {
        Hysteresis { on: vec![on], off: vec![off], shortest, bridge }
    }

    /// For one class, in windows of 3 s that are 1 s apart and end with the recording.
    fn segments_of(probabilities: &[f32], rule: &Hysteresis) -> Vec<(f64, f64)> {
        let starts = (0..probabilities.len()).map(|w| w as f64).collect();
        let seconds = probabilities.len() as f64 + 2.0;
        let windows = windows(1, probabilities.to_vec(), starts);
        segments(&windows, 3.0, seconds, rule).into_iter().map(|s| (s.start, s.end)).collect()
    }

    #[test]
    fn a_window_stands_for_the_second_around_its_middle_and_the_end_windows_for_the_rest() {
        assert_eq!(window_boundaries(&[0.0, 1.0, 2.0, 2.5], 3.0, 5.5), [0.0, 2.0, 3.0, 3.75, 5.5]);
        assert_eq!(window_boundaries(&[0.0], 3.0, 1.2), [0.0, 1.2]);
        assert_eq!(segments_of(&[0.1, 0.1, 0.9, 0.1], &rule(0.5, 0.4, 0.0, 0.0)), [(3.0, 4.0)]);
        assert_eq!(segments_of(&[0.9, 0.1, 0.1, 0.9], &rule(0.5, 0.4, 0.0, 0.0)), [(0.0, 2.0), (4.0, 6.0)]);
    }

    #[test]
    fn a_segment_starts_above_on_and_continues_down_to_off() {
        let found = |ps: &[f32]| segments_of(ps, &rule(0.5, 0.25, 0.0, 0.0));
        assert_eq!(found(&[0.3, 0.6, 0.3, 0.25, 0.2, 0.3]), [(2.0, 5.0)]);
        assert_eq!(found(&[0.5, 0.5, 0.5]), [], "a probability equal to `on` starts no segment");
        assert_eq!(found(&[0.5, 0.75, 0.5]), [(2.0, 5.0)]);
        // 0.3 is larger in f32 than in f64, 0.7 is smaller.
        let found = |ps: &[f32]| segments_of(ps, &rule(0.3, 0.24, 0.0, 0.0));
        assert_eq!(found(&[0.3, 0.3, 0.3]), []);
        assert_eq!(found(&[0.31, 0.24, 0.1]), [(0.0, 3.0)]);
        assert_eq!(segments_of(&[0.9, 0.7, 0.1], &rule(0.8, 0.7, 0.0, 0.0)), [(0.0, 3.0)]);
    }

    #[test]
    fn short_gaps_are_filled_before_short_segments_are_dropped() {
        let ps = [0.1, 0.9, 0.1, 0.9, 0.1, 0.1, 0.1, 0.9, 0.1];
        assert_eq!(segments_of(&ps, &rule(0.5, 0.4, 1.0, 0.0)), [(2.0, 3.0), (4.0, 5.0), (8.0, 9.0)]);
        assert_eq!(segments_of(&ps, &rule(0.5, 0.4, 2.0, 1.0)), [(2.0, 5.0)]);
        assert_eq!(segments_of(&ps, &rule(0.5, 0.4, 2.0, 3.0)), [(2.0, 9.0)]);
        assert_eq!(segments_of(&ps, &rule(0.5, 0.4, 2.0, 0.5)), []);
    }

    #[test]
    fn confidence_is_the_mean_over_the_time_and_classes_are_in_order() {
        let both = windows(2, vec![0.9, 0.6, 0.7, 0.8, 0.1, 0.9], vec![0.0, 1.0, 1.5]);
        let rule = Hysteresis { on: vec![0.5; 2], off: vec![0.4; 2], shortest: 0.0, bridge: 0.0 };
        let segments = segments(&both, 3.0, 4.5, &rule);
        assert_eq!(
            segments.iter().map(|s| (s.class, s.start, s.end)).collect::<Vec<_>>(),
            [(0, 0.0, 2.75), (1, 0.0, 4.5)]
        );
        assert!((segments[0].confidence - (0.9 * 2.0 + 0.7 * 0.75) / 2.75).abs() < 1e-6, "{segments:?}");
    }

    proptest! {
        #[test]
        fn segments_are_apart_long_enough_and_contain_a_window_above_on(
            ps in prop::collection::vec(0.0f32..=1.0, 1..60),
            (on, share, shortest, bridge) in (0.1..0.9f64, 0.2..1.0f64, 0.0..4.0f64, 0.0..4.0f64),
        ) {
            let rule = rule(on, on * share, shortest, bridge);
            let segments = segments_of(&ps, &rule);
            let centre = |w: usize| w as f64 + 1.5;
            for (start, end) in &segments {
                prop_assert!(end - start >= shortest - SAME);
                prop_assert!((0..ps.len()).any(|w| (*start..*end).contains(&centre(w)) && ps[w] > on as f32));
            }
            prop_assert!(segments.windows(2).all(|pair| pair[1].0 - pair[0].1 > bridge));
            // With nothing dropped, every window above `on` is in a segment.
            let all = segments_of(&ps, &Hysteresis { shortest: 0.0, ..rule });
            for w in (0..ps.len()).filter(|&w| ps[w] > on as f32) {
                prop_assert!(all.iter().any(|(start, end)| (*start..*end).contains(&centre(w))), "window {w}");
            }
        }
    }
}
