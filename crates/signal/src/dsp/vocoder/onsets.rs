//! Detects onsets whose phases matter more than those of the sounds before them.
//!
//! The clip is differentiated (onsets are broadband, sustained sound is mostly low) and cut into blocks of 3 ms. An onset is a
//! block with ten times the energy of each block of the 30 ms before its neighbour. Noise, beats and the pulses of low notes
//! never jump like this; a click or a plucked string does.

/// Blocks per second.
const BLOCKS: u32 = 345;
/// Number of previous blocks to compare with, and how many of them may already belong to the onset.
const BEFORE: usize = 11;
const RISING: usize = 1;
/// Required ratio of power.
const JUMP: f32 = 10.0;
/// Blocks this far below the average power are never onsets.
const QUIET: f32 = 1e-2;

/// The onsets of a clip.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Onsets {
    /// Sample positions, ascending.
    pub positions: Vec<usize>,
    /// Whether the clip begins, or ends, in the middle of a sound.
    pub at_start: bool,
    pub at_end: bool,
}

pub fn onsets(samples: &[f32], sample_rate: u32) -> Onsets {
    let block = (sample_rate / BLOCKS).max(8) as usize;
    let energies: Vec<f32> =
        (0..samples.len() / block).map(|b| energy(&samples[(b * block).saturating_sub(1)..(b + 1) * block])).collect();
    let floor = QUIET * energies.iter().sum::<f32>() / energies.len().max(1) as f32;
    let mut found = Vec::new();
    let mut from = 1;
    for b in 1..energies.len() {
        if b < from || energies[b] <= floor {
            continue;
        }
        let end = b.saturating_sub(RISING);
        let before = energies[b.saturating_sub(BEFORE)..end].iter().copied().fold(0.0f32, f32::max);
        // The very start has nothing to compare with, and `at_start` covers it.
        if end > 0 && energies[b] > JUMP * before {
            found.push(steepest(samples, (b - 1) * block..((b + 2) * block).min(samples.len())));
            from = b + BEFORE;
        }
    }
    let (first, last) = (energies.first(), energies.last());
    let loud = |energy: Option<&f32>| energy.is_none_or(|&energy| energy > floor);
    Onsets { at_start: loud(first), at_end: loud(last), positions: found }
}

/// The energy of the differences between neighbours, in eight sums that fit a vector register.
#[inline(always)]
fn energy(samples: &[f32]) -> f32 {
    let mut sums = [0.0f32; 8];
    let pairs = samples.len().saturating_sub(1);
    let (now, next) = (&samples[..pairs], &samples[samples.len() - pairs..]);
    let rest = pairs - pairs % 8;
    for (a, b) in now.chunks_exact(8).zip(next.chunks_exact(8)) {
        for i in 0..8 {
            sums[i] += (b[i] - a[i]) * (b[i] - a[i]);
        }
    }
    let tail: f32 = now[rest..].iter().zip(&next[rest..]).map(|(a, b)| (b - a) * (b - a)).sum();
    sums.iter().sum::<f32>() + tail
}

fn steepest(samples: &[f32], range: std::ops::Range<usize>) -> usize {
    let slope = |at: usize| (samples[at] - samples[at.saturating_sub(1)]).abs();
    range.fold((0, -1.0), |best, at| if slope(at) > best.1 { (at, slope(at)) } else { best }).0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f32::consts::TAU;

    const RATE: u32 = 22050;

    fn found(samples: &[f32]) -> Vec<usize> {
        onsets(samples, RATE).positions
    }

    #[test]
    fn a_click_is_an_onset_at_its_exact_sample_at_any_level() {
        for level in [1e-4, 1.0] {
            let mut samples = vec![0.0; 30_000];
            samples[12_345] = level;
            samples[20_000] = 0.5 * level;
            assert_eq!(
                onsets(&samples, RATE),
                Onsets { positions: vec![12_345, 20_000], at_start: false, at_end: false }
            );
        }
    }

    #[test]
    fn a_plucked_string_is_an_onset_over_a_sustained_one() {
        let samples: Vec<f32> = (0..40_000)
            .map(|n| {
                let note = |from: i32, step: f32| {
                    if n < from { 0.0 } else { (-(n - from) as f32 / 4000.0).exp() * (step * (n - from) as f32).sin() }
                };
                note(2000, 0.07) + note(20_000, 0.11)
            })
            .collect();
        let positions = found(&samples);
        assert!(
            positions.len() == 2 && positions[0].abs_diff(2000) < 100 && positions[1].abs_diff(20_000) < 100,
            "{positions:?}"
        );
    }

    #[test]
    fn noise_tones_beats_and_the_pulses_of_low_notes_have_no_onsets() {
        let noise: Vec<f32> =
            (0..60_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32).collect();
        let beats = |n: u32| (TAU * 440.0 * n as f32 / 22050.0).sin() + (TAU * 447.0 * n as f32 / 22050.0).sin();
        let beats: Vec<f32> = (0..60_000).map(beats).collect();
        let pulses: Vec<f32> = (0..60_000).map(|n| if n % 400 == 0 { 1.0 } else { 0.0 }).collect();
        for samples in [&noise, &beats, &pulses] {
            assert!(onsets(samples, RATE).positions.is_empty());
        }
        let onsets = onsets(&noise, RATE);
        assert!(onsets.at_start && onsets.at_end);
    }

    #[test]
    fn silent_and_very_short_clips_have_no_onsets() {
        for length in [0, 1, 10, 5000] {
            assert!(found(&vec![0.0; length]).is_empty());
        }
    }
}
