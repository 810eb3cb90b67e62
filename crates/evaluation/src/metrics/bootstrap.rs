//! Confidence intervals of scores: a bootstrap over groups.
//!
//! Conventions: whole groups (songs) are drawn with replacement, as many as there are, because clips of one song are not
//! independent; an interval over clips would be several times too narrow. The interval is the percentile interval: the
//! empirical quantiles at (1 - level)/2 and (1 + level)/2, with linear interpolation as in numpy. Groups are taken in the order
//! of their names and each resample has its own seed, so neither threads nor the order of unrelated work changes a bit. A
//! single group says nothing about the spread: it has no interval.

use std::collections::BTreeMap;

use rayon::prelude::*;

use timbre_core::seed::{Seed, uniform_below};

/// With fewer groups an interval is too unreliable to conclude anything from it.
pub const LEAST: usize = 5;

/// With fewer groups the percentile interval is known to be too narrow.
const ENOUGH: usize = 20;

/// What limits an interval over so many groups, such as `songs`. None if nothing does.
pub fn caution(groups: usize, plural: &str) -> Option<String> {
    match groups {
        1 => Some(format!("one {}: no interval and no difference can be told", plural.trim_end_matches('s'))),
        2..LEAST => Some(format!("only {groups} {plural}: intervals over fewer than {LEAST} are unreliable")),
        LEAST..ENOUGH => Some(format!("only {groups} {plural}: intervals from fewer than {ENOUGH} are too narrow")),
        _ => None,
    }
}

/// The clips of each group, with the groups in the order of their names.
pub fn group_members<G: Ord>(groups: &[G]) -> Vec<Vec<usize>> {
    let mut by_name: BTreeMap<&G, Vec<usize>> = BTreeMap::new();
    groups.iter().enumerate().for_each(|(clip, group)| by_name.entry(group).or_default().push(clip));
    by_name.into_values().collect()
}

/// Draws one resample: writes the number of times that each clip is drawn to `times`.
pub fn resample(members: &[Vec<usize>], seed: Seed, times: &mut [u32]) {
    let mut rng = seed.rng();
    times.fill(0);
    for _ in 0..members.len() {
        let group = &members[uniform_below(&mut rng, members.len() as u64) as usize];
        group.iter().for_each(|&clip| times[clip] += 1);
    }
}

/// The confidence interval of `statistic` at `level` (0.95). `groups` names the group of each clip. `statistic` gets the number
/// of times that each clip was drawn; where it returns None, the resample is left out. With fewer than two groups, or without values:
/// (NaN, NaN).
pub fn bootstrap_interval<G: Ord>(
    groups: &[G],
    statistic: impl Fn(&[u32]) -> Option<f64> + Sync,
    resamples: usize,
    level: f64,
    seed: Seed,
) -> (f64, f64) {
    assert!((0.0..1.0).contains(&level), "a level is at least 0 and below 1, such as 0.95");
    let members = group_members(groups);
    if members.len() < 2 {
        return (f64::NAN, f64::NAN);
    }
    let clips = groups.len();
    let mut values: Vec<f64> = (0..resamples)
        .into_par_iter()
        .map_init(
            || vec![0; clips],
            |times, index| {
                resample(&members, seed.child(index), times);
                statistic(times)
            },
        )
        .flatten()
        .collect();
    if values.is_empty() {
        return (f64::NAN, f64::NAN);
    }
    values.sort_unstable_by(f64::total_cmp);
    (quantile(&values, (1.0 - level) / 2.0), quantile(&values, (1.0 + level) / 2.0))
}

/// With linear interpolation between neighbours. `sorted` is not empty.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    low + (high - low) * at.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accuracy(hits: &[bool]) -> impl Fn(&[u32]) -> Option<f64> + Sync {
        move |times: &[u32]| {
            let right: u32 = times.iter().zip(hits).filter(|(_, hit)| **hit).map(|(times, _)| times).sum();
            Some(f64::from(right) / f64::from(times.iter().sum::<u32>()))
        }
    }

    fn interval(groups: &[usize], hits: &[bool], resamples: usize) -> (f64, f64) {
        bootstrap_interval(groups, accuracy(hits), resamples, 0.95, Seed::new(7))
    }

    /// 400 groups of five clips; the clips of a group are all right or all wrong, in 7 of 10 groups right.
    fn songs() -> (Vec<usize>, Vec<bool>) {
        (0..2000).map(|clip| (clip / 5, (clip / 5) % 10 < 7)).unzip()
    }

    #[test]
    fn the_interval_of_a_share_is_the_binomial_one_over_groups() {
        let (groups, hits) = songs();
        let (low, high) = interval(&groups, &hits, 4000);
        // 1.96 · sqrt(0.7 · 0.3 / 400) = 0.0449
        assert!((low - 0.6551).abs() < 0.006 && (high - 0.7449).abs() < 0.006, "{low} {high}");
    }

    #[test]
    fn clips_of_one_song_count_as_one_observation() {
        let (groups, hits) = songs();
        let alone: Vec<usize> = (0..hits.len()).collect();
        let ((a, b), (c, d)) = (interval(&groups, &hits, 1000), interval(&alone, &hits, 1000));
        let ratio = (b - a) / (d - c);
        assert!((2.0..2.5).contains(&ratio), "expected the square root of 5, found {ratio}");
    }

    #[test]
    fn neither_threads_nor_group_names_change_a_bit() {
        let (groups, hits) = songs();
        let names: Vec<String> = groups.iter().map(|group| format!("song {group:04}")).collect();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let single = pool.install(|| interval(&groups, &hits, 300));
        assert_eq!(single, interval(&groups, &hits, 300));
        assert_eq!(single, bootstrap_interval(&names, accuracy(&hits), 300, 0.95, Seed::new(7)));
        assert_ne!(single, bootstrap_interval(&names, accuracy(&hits), 300, 0.95, Seed::new(8)));
    }

    #[test]
    fn one_group_and_no_clips_have_no_interval() {
        assert!(interval(&[3, 3, 3, 3], &[true, false, false, false], 50).0.is_nan());
        assert!(interval(&[], &[], 50).0.is_nan());
        assert!(interval(&[3, 3, 3, 4], &[true, false, false, false], 50).0.is_finite());
    }

    #[test]
    fn few_groups_are_cautioned_against() {
        assert_eq!(caution(1, "songs").unwrap(), "one song: no interval and no difference can be told");
        assert_eq!(caution(4, "files").unwrap(), "only 4 files: intervals over fewer than 5 are unreliable");
        assert_eq!(caution(19, "songs").unwrap(), "only 19 songs: intervals from fewer than 20 are too narrow");
        assert_eq!((caution(0, "songs"), caution(20, "songs")), (None, None));
    }

    #[test]
    fn resamples_without_a_value_are_left_out() {
        let seldom = |times: &[u32]| (times[0] > 0).then_some(f64::from(times[0]));
        let (low, _) = bootstrap_interval(&[1, 2, 3], seldom, 200, 0.95, Seed::new(1));
        assert_eq!(low, 1.0);
        assert!(bootstrap_interval(&[1, 2, 3], |_| None, 200, 0.95, Seed::new(1)).0.is_nan());
    }

    #[test]
    fn quantiles_are_interpolated_between_neighbours() {
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.75), 3.0);
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 1.0), 4.0);
    }
}
