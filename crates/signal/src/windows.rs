//! Cuts a long recording into overlapping windows of one length.
//!
//! Conventions
//! - Length and hop are rounded to whole samples once, at the rate of the features; window k begins at k hops, so the
//!   distances stay equal. The last window is aligned to the end of the recording: if the hops do not end there, one more
//!   window is taken, with a larger overlap. Peers drop the rest or pad it.
//! - A recording no longer than a window has one window, which begins at 0.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use timbre_core::registry::Fault;

/// Increase when the same spec cuts other windows: part of the cache key of windows.
pub const VERSION: u32 = 1;

/// Sliding windows over the recordings: `evaluate.window`.
///
/// ```
/// use timbre_signal::windows::WindowSpec;
///
/// // 3 s windows every second: 10.5 s have windows at 0, 1, … 7 s, and one that ends with the recording.
/// let spec = WindowSpec::default();
/// assert_eq!(spec.starts(105, 10), [0, 10, 20, 30, 40, 50, 60, 70, 75]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WindowSpec {
    /// Length of a window in seconds; networks need the length of their training clips. Default: 3.0.
    #[schemars(range(min = 0.01, max = 36000.0))]
    pub seconds: f64,
    /// Seconds from one window to the next. Default: 1.0.
    #[schemars(range(min = 0.001, max = 36000.0))]
    pub hop: f64,
    /// How to fill the window of a shorter recording: "pad" (zeros after it), "repeat" (the recording again) or "mirror" (back and
    /// forth). Default: `pad`.
    pub short: Short,
}

impl Default for WindowSpec {
    fn default() -> Self {
        WindowSpec { seconds: 3.0, hop: 1.0, short: Short::Pad }
    }
}

/// How to fill a clip or window with a recording that is shorter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Short {
    /// Zeros after the recording.
    #[default]
    Pad,
    /// The recording again, as often as needed.
    Repeat,
    /// The recording backwards, forwards again, and so on.
    Mirror,
}

impl Short {
    pub fn is_default(&self) -> bool {
        *self == Short::default()
    }

    /// Makes `samples` at least `length` samples long.
    pub fn fill(self, samples: &mut Vec<f32>, length: usize) {
        let n = samples.len();
        samples.resize(length.max(n), 0.0);
        if self == Short::Pad || n == 0 {
            return;
        }
        for i in n..samples.len() {
            let (repeated, turned) = (i % n, i % (2 * n));
            samples[i] = samples[if self == Short::Repeat { repeated } else { turned.min(2 * n - 1 - turned) }];
        }
    }
}

impl WindowSpec {
    /// Samples per window.
    pub fn length(&self, sample_rate: u32) -> usize {
        whole_samples(self.seconds, sample_rate)
    }

    /// Samples from the start of one window to the next.
    pub fn hop_length(&self, sample_rate: u32) -> usize {
        whole_samples(self.hop, sample_rate)
    }

    /// The starts of the windows of a recording with `samples` samples: at least one, ascending.
    pub fn starts(&self, samples: usize, sample_rate: u32) -> Vec<usize> {
        let last = samples.saturating_sub(self.length(sample_rate));
        let mut starts: Vec<usize> = (0..=last).step_by(self.hop_length(sample_rate)).collect();
        if starts.last().is_some_and(|&start| start < last) {
            starts.push(last);
        }
        starts
    }

    /// The window that begins at `start`, one of the [`starts`](Self::starts).
    pub fn cut(&self, recording: &[f32], start: usize, sample_rate: u32) -> Vec<f32> {
        let length = self.length(sample_rate);
        if start + length <= recording.len() {
            return recording[start..start + length].to_vec();
        }
        let mut window = recording.get(start..).unwrap_or_default().to_vec();
        self.short.fill(&mut window, length);
        window
    }

    /// Invalid keys, each with a sentence. The schema checks files for the same.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if !(self.seconds > 0.0 && self.seconds.is_finite()) {
            faults.push(Fault::new(
                "seconds",
                format!("must be a positive number of seconds, e.g. 3.0, not {}", self.seconds),
            ));
        }
        if !(self.hop > 0.0 && self.hop.is_finite()) {
            faults.push(Fault::new("hop", format!("must be a positive number of seconds, e.g. 1.0, not {}", self.hop)));
        }
        faults
    }
}

/// At least 1, so that loops over windows end.
fn whole_samples(seconds: f64, sample_rate: u32) -> usize {
    ((seconds * f64::from(sample_rate)).round() as usize).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spec(seconds: f64, hop: f64) -> WindowSpec {
        WindowSpec { seconds, hop, short: Short::Pad }
    }

    /// Checks every sample for the start of a window.
    fn slow_starts(length: usize, hop: usize, samples: usize) -> Vec<usize> {
        if samples <= length {
            return vec![0];
        }
        let begins = |start: &usize| start.is_multiple_of(hop) || *start == samples - length;
        (0..=samples - length).filter(begins).collect()
    }

    #[test]
    fn a_short_recording_is_padded_repeated_or_mirrored() {
        let filled = |short: Short, mut samples: Vec<f32>| {
            short.fill(&mut samples, 8);
            samples
        };
        assert_eq!(filled(Short::Pad, vec![1.0, 2.0, 3.0]), [1.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(filled(Short::Repeat, vec![1.0, 2.0, 3.0]), [1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 1.0, 2.0]);
        assert_eq!(filled(Short::Mirror, vec![1.0, 2.0, 3.0]), [1.0, 2.0, 3.0, 3.0, 2.0, 1.0, 1.0, 2.0]);
        for short in [Short::Pad, Short::Repeat, Short::Mirror] {
            assert_eq!(filled(short, Vec::new()), [0.0; 8]);
            assert_eq!(filled(short, vec![1.0; 9]), [1.0; 9], "a long recording stays as it is");
        }
    }

    proptest! {
        #[test]
        fn windows_start_at_every_hop_and_the_last_one_ends_with_the_recording(
            (length, hop, samples) in (1usize..80, 1usize..50, 1usize..400),
        ) {
            // At 1 Hz a second is a sample.
            let starts = spec(length as f64, hop as f64).starts(samples, 1);
            prop_assert_eq!(&starts, &slow_starts(length, hop, samples));
            prop_assert!(starts.windows(2).all(|pair| pair[0] < pair[1]));
            if samples >= length {
                prop_assert_eq!(starts.last().unwrap() + length, samples);
            }
            // With hops no longer than a window, the windows cover every sample.
            let covered = |at: usize| starts.iter().any(|&start| (start..start + length).contains(&at));
            prop_assert!(hop > length || (0..samples).all(covered));
        }

        #[test]
        fn a_window_is_a_part_of_the_recording_or_the_padded_whole(
            (length, hop, samples, repeat) in (1usize..40, 1usize..30, 1usize..90, any::<bool>()),
        ) {
            let recording: Vec<f32> = (0..samples).map(|n| n as f32 + 1.0).collect();
            let short = if repeat { Short::Repeat } else { Short::Pad };
            let spec = WindowSpec { short, ..spec(length as f64, hop as f64) };
            for start in spec.starts(samples, 1) {
                let window = spec.cut(&recording, start, 1);
                prop_assert_eq!(window.len(), length);
                for (n, value) in window.iter().enumerate() {
                    let expected = match start + n {
                        at if at < samples => at as f32 + 1.0,
                        at if repeat => (at % samples) as f32 + 1.0,
                        _ => 0.0,
                    };
                    prop_assert_eq!(*value, expected);
                }
            }
        }
    }

    #[test]
    fn twenty_seconds_have_eighteen_windows_of_three_seconds_and_a_longer_recording_one_more() {
        let spec = WindowSpec::default();
        assert_eq!(spec.starts(20 * 22050, 22050), (0..18).map(|k| k * 22050).collect::<Vec<_>>());
        let starts = spec.starts(20 * 22050 + 5, 22050);
        assert_eq!((starts.len(), starts[17], starts[18]), (19, 17 * 22050, 17 * 22050 + 5));
        assert_eq!(spec.starts(3 * 22050, 22050), [0]);
        assert_eq!(spec.starts(10, 22050), [0]);
    }

    #[test]
    fn hops_of_odd_length_do_not_drift() {
        let spec = spec(3.0, 0.3333);
        let starts = spec.starts(60 * 22050, 22050);
        assert!(starts[..starts.len() - 1].windows(2).all(|pair| pair[1] - pair[0] == 7349));
    }

    #[test]
    fn invalid_values_are_faults() {
        assert!(WindowSpec::default().faults().is_empty());
        let keys = |spec: WindowSpec| spec.faults().into_iter().map(|fault| fault.key).collect::<Vec<_>>();
        assert_eq!(keys(spec(0.0, -1.0)), ["seconds", "hop"]);
        assert_eq!(keys(spec(3.0, f64::NAN)), ["hop"]);
    }
}
