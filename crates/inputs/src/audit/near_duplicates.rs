//! Finds recordings that share sound, by their acoustic fingerprints, without comparing every pair.
//!
//! An index lists where each group of [`KEY_BITS`] bits occurs. Two occurrences with the same group suggest a pair at an offset; only
//! such pairs are compared, first around the occurrence and then over the whole overlap. In a crowded entry of the index each occurrence
//! is paired with its next [`NEIGHBOURS`] occurrences only, so the work grows with the number of occurrences, not with its square.

use rayon::prelude::*;
use timbre_signal::dsp::acoustic_fingerprint::{AcousticFingerprint, STEP_SECONDS, different_bits};

/// Bits of a key. Each word of a fingerprint has two: its upper and its lower bits.
const KEY_BITS: u32 = 20;
const NEIGHBOURS: usize = 32;
/// Steps before and after an occurrence that are compared first, and their least similarity.
const AROUND: usize = 16;
const LEAST_AROUND: f64 = 0.64;
/// The shortest overlap, 1 s, or half of a shorter recording but at least a third of a second, and the similarity from which it
/// counts; and those of a long overlap, 2 s. Between them the least similarity falls in a line: few bits are equal by chance more
/// often. docs/data-tools.md has the recall and precision.
const SHORT: (f64, f64) = (43.0, 0.8);
const LONG: (f64, f64) = (86.0, 0.7);
const SHORTEST: usize = 15;
/// A copy of the whole recording, which begins and ends at the same place within [`SAME_PLACE`] steps, counts from this similarity:
/// of the hundreds of offsets of a pair it is one.
const WHOLE: f64 = 0.65;
const SAME_PLACE: usize = 3;

/// Two recordings that share sound: step `n` of the first is step `n + offset` of the second.
#[derive(Clone, Debug, PartialEq)]
pub struct NearDuplicate {
    pub first: usize,
    pub second: usize,
    pub offset: isize,
    /// The share of equal bits.
    pub similarity: f64,
    /// Steps with sound in both.
    pub steps: usize,
}

impl NearDuplicate {
    /// By how much the first begins after the second began, in seconds.
    pub fn seconds(&self) -> f64 {
        self.offset as f64 * STEP_SECONDS
    }
}

/// Where a key occurs: the key, the recording, the step.
type Occurrence = (u32, u32, u32);

/// All pairs that share sound, in order, each with its best offset.
pub fn near_duplicates(fingerprints: &[&AcousticFingerprint]) -> Vec<NearDuplicate> {
    let mut found: Vec<(u32, u32, isize)> = Vec::new();
    for shift in [32 - KEY_BITS, 0] {
        let occurrences = occurrences(fingerprints, shift);
        let buckets: Vec<&[Occurrence]> =
            occurrences.chunk_by(|a, b| a.0 == b.0).filter(|bucket| bucket.len() > 1).collect();
        found.par_extend(buckets.par_iter().flat_map_iter(|bucket| suggested(bucket, fingerprints)));
    }
    found.par_sort_unstable();
    found.dedup();
    let verified: Vec<NearDuplicate> = found
        .par_iter()
        .filter_map(|&(first, second, offset)| verified(fingerprints, first as usize, second as usize, offset))
        .collect();
    let best = verified.chunk_by(|a, b| (a.first, a.second) == (b.first, b.second)).map(|same| {
        let order = |pair: &&NearDuplicate| pair.similarity * pair.steps as f64;
        same.iter().max_by(|a, b| order(a).total_cmp(&order(b))).expect("a chunk is not empty").clone()
    });
    best.collect()
}

/// The occurrences of every key, sorted. A key that a recording repeats from step to step is listed once.
fn occurrences(fingerprints: &[&AcousticFingerprint], shift: u32) -> Vec<Occurrence> {
    let key = move |word: u32| (word >> shift) & ((1 << KEY_BITS) - 1);
    let of = |(recording, fingerprint): (usize, &&AcousticFingerprint)| {
        let mut before = None;
        let mut own = Vec::with_capacity(fingerprint.steps.len());
        for (step, word) in fingerprint.steps.iter().enumerate() {
            let now = word.map(key);
            if let Some(key) = now.filter(|_| now != before) {
                own.push((key, recording as u32, step as u32));
            }
            before = now;
        }
        own
    };
    let mut occurrences: Vec<Occurrence> = fingerprints.par_iter().enumerate().flat_map_iter(of).collect();
    occurrences.par_sort_unstable();
    occurrences
}

/// The pairs of occurrences of one key around which the recordings are similar.
fn suggested(bucket: &[Occurrence], fingerprints: &[&AcousticFingerprint]) -> Vec<(u32, u32, isize)> {
    let mut pairs = Vec::new();
    for (n, &(_, one, at)) in bucket.iter().enumerate() {
        let next = bucket[n + 1..].iter().filter(|occurrence| occurrence.1 != one).take(NEIGHBOURS);
        for &(_, other, there) in next {
            let offset = there as isize - at as isize;
            if is_similar_around(fingerprints[one as usize], fingerprints[other as usize], at as usize, offset) {
                pairs.push((one, other, offset));
            }
        }
    }
    pairs
}

fn is_similar_around(one: &AcousticFingerprint, other: &AcousticFingerprint, at: usize, offset: isize) -> bool {
    let first = at.saturating_sub(AROUND).max(offset.min(0).unsigned_abs());
    let last = (at + AROUND + 1).min(one.steps.len()).min(other.steps.len().saturating_add_signed(-offset));
    let there = &other.steps[first.saturating_add_signed(offset)..];
    let (different, steps) = different_bits(&one.steps[first..last], there);
    different as f64 <= (1.0 - LEAST_AROUND) * (32 * steps) as f64
}

fn verified(
    fingerprints: &[&AcousticFingerprint],
    first: usize,
    second: usize,
    offset: isize,
) -> Option<NearDuplicate> {
    let (one, other) = (fingerprints[first], fingerprints[second]);
    let (similarity, steps) = one.similarity(other, offset);
    let sounding = |fingerprint: &AcousticFingerprint| fingerprint.steps.iter().flatten().count();
    let shortest = (sounding(one).min(sounding(other)) / 2).clamp(SHORTEST, SHORT.0 as usize);
    let share = ((steps as f64 - SHORT.0) / (LONG.0 - SHORT.0)).clamp(0.0, 1.0);
    let is_whole = offset.unsigned_abs() <= SAME_PLACE && one.steps.len().abs_diff(other.steps.len()) <= SAME_PLACE;
    let least = if is_whole { WHOLE } else { SHORT.1 + share * (LONG.1 - SHORT.1) };
    (steps >= shortest && similarity >= least).then_some(NearDuplicate { first, second, offset, similarity, steps })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words without a pattern.
    fn random(seed: u64, steps: usize) -> AcousticFingerprint {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            Some((state >> 16) as u32)
        };
        AcousticFingerprint { steps: (0..steps).map(|_| next()).collect() }
    }

    /// The fingerprint with one bit in `every` flipped.
    fn damaged(of: &AcousticFingerprint, every: usize) -> AcousticFingerprint {
        let flipped = |(step, word): (usize, &Option<u32>)| {
            word.map(|word| (0..32).filter(|bit| (step * 32 + bit) % every == 0).fold(word, |w, bit| w ^ (1 << bit)))
        };
        AcousticFingerprint { steps: of.steps.iter().enumerate().map(flipped).collect() }
    }

    fn pairs(all: &[AcousticFingerprint]) -> Vec<(usize, usize, isize)> {
        let all: Vec<&AcousticFingerprint> = all.iter().collect();
        near_duplicates(&all).into_iter().map(|pair| (pair.first, pair.second, pair.offset)).collect()
    }

    #[test]
    fn copies_with_wrong_bits_and_excerpts_are_found_and_others_are_not() {
        let mut all: Vec<AcousticFingerprint> = (0..200).map(|seed| random(seed, 120)).collect();
        all[150] = damaged(&all[20], 23);
        all[151] = AcousticFingerprint { steps: all[30].steps[50..].to_vec() };
        all[152] = AcousticFingerprint { steps: [&random(7777, 40).steps[..], &all[40].steps[..70]].concat() };
        // Too short to count.
        all[153] = AcousticFingerprint { steps: [&random(8888, 90).steps[..], &all[50].steps[..30]].concat() };
        assert_eq!(pairs(&all), [(20, 150, 0), (30, 151, -50), (40, 152, 40)]);
    }

    #[test]
    fn hundreds_of_versions_of_one_recording_are_connected() {
        let original = random(1, 120);
        let all: Vec<AcousticFingerprint> = (0..300).map(|n| damaged(&original, 60 + n)).collect();
        let found = pairs(&all);
        let mut reached = vec![false; 300];
        reached[0] = true;
        // Pairs are ordered by their first recording, so one pass reaches everything that is connected forwards.
        found.iter().for_each(|&(first, second, _)| reached[second] |= reached[first]);
        assert!(reached.iter().all(|reached| *reached), "{}", found.len());
    }

    #[test]
    fn recordings_without_sound_are_no_duplicates() {
        let silent = AcousticFingerprint { steps: vec![None; 120] };
        assert_eq!(pairs(&[silent.clone(), silent, AcousticFingerprint::default()]), []);
    }
}
