//! Significance of differences: bootstrap intervals, paired tests, and the correction for multiple tests.
//!
//! Conventions
//! - The sampling unit is the song: recordings of one song are resampled, or exchanged, together. A song is the same for all
//!   seeds, so the predictions of several seeds for it move together.
//! - **Bootstrap** (interval and p): draws all songs with replacement. With n > 1 seeds, draws n - 1 of them with replacement: the
//!   variance of such a mean is an unbiased estimate of that of the mean of n seeds (Rao and Wu 1988; n draws would make it too small
//!   by (n - 1)/n). The interval is the percentile interval. p is two-sided, 2·(1 + the smaller of #(d <= 0), #(d >= 0)) /
//!   (1 + resamples), at most 1: it is below 0.05 where the 95 % interval excludes 0.
//! - **Permutation** (p only): if the two models were equal, their predictions for a song could be exchanged. p is the share of
//!   exchanges with a difference at least as large in size. All exchanges are enumerated if there are no more of them than
//!   resamples; otherwise that many are drawn and the observed one is counted with them. It is exact for these models, however few
//!   songs there are, and does not account for other seeds; the bootstrap does.
//! - **McNemar**: the exact two-sided binomial test of the recordings that only one of the two decides right.
//! - **Holm**: step-down, adjusted p at most 1.
//! - Differences below 1e-12 in size count as 0: they come from summing the same numbers in another order.

use rayon::prelude::*;

use timbre_core::seed::{Seed, uniform, uniform_below};
use timbre_evaluation::metrics::{WeightedScore, bootstrap};

const TOLERANCE: f64 = 1e-12;

/// The predictions of one model with one seed, as its score for any weighting of the recordings.
pub struct SeedScore<'a> {
    /// The song of each recording, as an index.
    pub song: Vec<usize>,
    pub score: WeightedScore<'a>,
}

/// The predictions of two models for the same recordings, with one seed each.
pub struct PairedScore<'a> {
    /// Indices of the seeds of the reference and of the other model.
    pub seeds: (usize, usize),
    pub song: Vec<usize>,
    /// Whether their predictions for a recording differ.
    pub differs: Vec<bool>,
    /// The score for weights of twice the recordings: first those of the reference, then those of the other model.
    pub score: WeightedScore<'a>,
}

impl SeedScore<'_> {
    fn value(&self, times: &[u32]) -> Option<f64> {
        let weights: Vec<u32> = self.song.iter().map(|&song| times[song]).collect();
        weights.iter().any(|&w| w > 0).then(|| (self.score)(&weights)).flatten()
    }
}

impl PairedScore<'_> {
    /// The difference to the reference, each song counted `times`. None if no recording is drawn, or a score is undefined.
    fn difference(&self, times: &[u32]) -> Option<f64> {
        let n = self.song.len();
        let mut weights = vec![0; 2 * n];
        self.song.iter().zip(&mut weights).for_each(|(&song, weight)| *weight = times[song]);
        if weights.iter().all(|&weight| weight == 0) {
            return None;
        }
        let reference = (self.score)(&weights)?;
        weights.rotate_right(n);
        Some((self.score)(&weights)? - reference)
    }

    /// The difference to the reference with the songs of the mask exchanged.
    fn exchanged(&self, mask: &[bool]) -> Option<f64> {
        let n = self.song.len();
        let mut weights: Vec<u32> = self.song.iter().map(|&song| u32::from(!mask[song])).collect();
        weights.extend(self.song.iter().map(|&song| u32::from(mask[song])));
        let reference = (self.score)(&weights)?;
        weights.rotate_right(n);
        Some((self.score)(&weights)? - reference)
    }
}

/// How the seeds of the two models are paired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeedPairing {
    /// Each term belongs to one common seed.
    Matched,
    /// Every seed of the one (so many) with every seed of the other (so many).
    Crossed(usize, usize),
}

/// Draws how often each term counts.
fn draw_terms(places: &[(usize, usize)], seeds: SeedPairing, seed: Seed) -> Vec<u32> {
    let mut rng = seed.rng();
    let mut draw = |n: usize| {
        let mut times = vec![0u32; n];
        (0..(n.max(2) - 1)).for_each(|_| times[uniform_below(&mut rng, n as u64) as usize] += 1);
        times
    };
    match seeds {
        SeedPairing::Matched => draw(places.len()),
        SeedPairing::Crossed(left, right) => {
            let (left, right) = (draw(left), draw(right));
            places.iter().map(|&(a, b)| left[a] * right[b]).collect()
        }
    }
}

fn mean(terms: impl Iterator<Item = (Option<f64>, u32)>) -> Option<f64> {
    let (mut sum, mut all) = (0.0, 0.0);
    for (value, times) in terms {
        if let Some(value) = value {
            sum += value * f64::from(times);
            all += f64::from(times);
        }
    }
    (all > 0.0).then(|| sum / all)
}

/// The bootstrap distribution of the mean of the terms, ascending.
#[derive(Clone, Debug, PartialEq)]
pub struct Resampled(Vec<f64>);

impl Resampled {
    /// Resamples songs and seeds. `value(term, times)` is the value of a term with each song counted `times`. Resamples without a value
    /// are left out.
    pub fn new(
        places: &[(usize, usize)],
        seeds: SeedPairing,
        songs: usize,
        resamples: usize,
        seed: Seed,
        value: impl Fn(usize, &[u32]) -> Option<f64> + Sync,
    ) -> Resampled {
        let alone: Vec<Vec<usize>> = (0..songs).map(|song| vec![song]).collect();
        let (of_songs, of_seeds) = (seed.child("songs"), seed.child("seeds"));
        let one = |times: &mut Vec<u32>, resample: usize| {
            bootstrap::resample(&alone, of_songs.child(resample), times);
            let terms = draw_terms(places, seeds, of_seeds.child(resample));
            let drawn = terms.iter().enumerate().filter(|(_, times)| **times > 0);
            mean(drawn.map(|(term, &often)| (value(term, times), often)))
        };
        let mut values: Vec<f64> = (0..resamples).into_par_iter().map_init(|| vec![0; songs], one).flatten().collect();
        values.sort_unstable_by(f64::total_cmp);
        Resampled(values)
    }

    /// The percentile interval. None without values.
    pub fn interval(&self, level: f64) -> Option<(f64, f64)> {
        let at = |share: f64| bootstrap::quantile(&self.0, share);
        (!self.0.is_empty()).then(|| (at((1.0 - level) / 2.0), at((1.0 + level) / 2.0)))
    }

    /// The two-sided p of the hypothesis that the mean is 0.
    pub fn p(&self) -> f64 {
        let below = self.0.iter().filter(|&&d| d <= TOLERANCE).count();
        let above = self.0.iter().filter(|&&d| d >= -TOLERANCE).count();
        (2.0 * (1 + below.min(above)) as f64 / (1 + self.0.len()) as f64).min(1.0)
    }
}

/// The interval of the mean over the seeds of one model.
pub fn interval(terms: &[SeedScore], songs: usize, resamples: usize, level: f64, seed: Seed) -> Option<(f64, f64)> {
    let places: Vec<(usize, usize)> = (0..terms.len()).map(|at| (at, at)).collect();
    Resampled::new(&places, SeedPairing::Matched, songs, resamples, seed, |term, times| terms[term].value(times))
        .interval(level)
}

/// The difference of two models.
#[derive(Clone, Debug, PartialEq)]
pub struct PairedDifference {
    /// The mean of the differences of the pairs.
    pub mean: f64,
    /// The difference of each pair. None where it is undefined.
    pub of_pairs: Vec<Option<f64>>,
    pub interval: (f64, f64),
    pub p_bootstrap: f64,
    pub p_permutation: f64,
}

/// Computes the paired difference with its interval and p-values. None if the score is undefined on the recordings of all pairs.
pub fn difference(
    pairs: &[PairedScore],
    seeds: SeedPairing,
    songs: usize,
    resamples: usize,
    level: f64,
    seed: Seed,
) -> Option<PairedDifference> {
    let once = vec![1; songs];
    let of_pairs: Vec<Option<f64>> = pairs.iter().map(|pair| pair.difference(&once)).collect();
    let observed = mean(of_pairs.iter().map(|&value| (value, 1)))?;
    if pairs.iter().all(|pair| !pair.differs.contains(&true)) {
        // The difference is 0 in every resample and every exchange.
        let of_pairs = of_pairs.into_iter().map(|value| value.map(|_| 0.0)).collect();
        return Some(PairedDifference {
            mean: 0.0,
            of_pairs,
            interval: (0.0, 0.0),
            p_bootstrap: 1.0,
            p_permutation: 1.0,
        });
    }
    let places: Vec<(usize, usize)> = pairs.iter().map(|pair| pair.seeds).collect();
    let drawn = Resampled::new(&places, seeds, songs, resamples, seed, |term, times| pairs[term].difference(times));
    Some(PairedDifference {
        mean: observed,
        of_pairs,
        interval: drawn.interval(level).unwrap_or((observed, observed)),
        p_bootstrap: drawn.p(),
        p_permutation: permutation(pairs, songs, resamples, seed.child("exchange"), observed),
    })
}

fn permutation(pairs: &[PairedScore], songs: usize, resamples: usize, seed: Seed, observed: f64) -> f64 {
    let mut differ = vec![false; songs];
    for pair in pairs {
        pair.song.iter().zip(&pair.differs).for_each(|(&song, &differs)| differ[song] |= differs);
    }
    let differing: Vec<usize> = (0..songs).filter(|&song| differ[song]).collect();
    let as_large = |mask: &[bool]| {
        let exchanged = mean(pairs.iter().map(|pair| (pair.exchanged(mask), 1)));
        // An exchange with an undefined score is not counted.
        exchanged.map(|d| d.abs() >= observed.abs() - TOLERANCE)
    };
    let all = u32::try_from(differing.len()).ok().and_then(|n| 1usize.checked_shl(n)).filter(|&all| all <= resamples);
    let tried = |exchange: usize| {
        let mut mask = vec![false; songs];
        match all {
            Some(_) => differing.iter().enumerate().for_each(|(bit, &song)| mask[song] = exchange >> bit & 1 == 1),
            None => {
                let mut rng = seed.child(exchange).rng();
                differing.iter().for_each(|&song| mask[song] = uniform(&mut rng) < 0.5);
            }
        }
        as_large(&mask)
    };
    let outcomes: Vec<bool> = (0..all.unwrap_or(resamples)).into_par_iter().filter_map(tried).collect();
    // The enumeration of all exchanges contains the observed one.
    let own = usize::from(all.is_none());
    let large = outcomes.iter().filter(|&&large| large).count() + own;
    large as f64 / (outcomes.len() + own).max(1) as f64
}

/// McNemar's exact test, from the numbers of recordings that only the one and only the other decides right.
pub fn mcnemar(one: usize, other: usize) -> f64 {
    let n = (one + other) as f64;
    let choose = |k: f64| libm::lgamma(n + 1.0) - libm::lgamma(k + 1.0) - libm::lgamma(n - k + 1.0);
    let term = |k: usize| (choose(k as f64) - n * std::f64::consts::LN_2).exp();
    (2.0 * (0..=one.min(other)).map(term).sum::<f64>()).min(1.0)
}

/// Holm's adjusted p-values, in the order of `ps`.
pub fn holm(ps: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..ps.len()).collect();
    order.sort_by(|&a, &b| ps[a].total_cmp(&ps[b]));
    let mut adjusted = vec![1.0; ps.len()];
    let mut largest: f64 = 0.0;
    for (rank, &at) in order.iter().enumerate() {
        largest = largest.max((ps.len() - rank) as f64 * ps[at]).min(1.0);
        adjusted[at] = largest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The share of recordings that are right.
    fn accuracy<'a>(right: Vec<bool>) -> WeightedScore<'a> {
        Box::new(move |weights| {
            let hits: u32 = right.iter().zip(weights).filter(|(right, _)| **right).map(|(_, w)| w).sum();
            Some(f64::from(hits) / f64::from(weights.iter().sum::<u32>()))
        })
    }

    /// A recording: its song, whether the reference is right, whether the other model is.
    type Clip = (usize, bool, bool);

    fn pair<'a>(clips: &[Clip], seeds: (usize, usize)) -> PairedScore<'a> {
        let right = clips.iter().map(|c| c.1).chain(clips.iter().map(|c| c.2)).collect();
        let (song, differs) = clips.iter().map(|c| (c.0, c.1 != c.2)).unzip();
        PairedScore { seeds, song, differs, score: accuracy(right) }
    }

    fn compare(clips: &[Clip], resamples: usize) -> PairedDifference {
        difference(&[pair(clips, (0, 0))], SeedPairing::Matched, SONGS, resamples, 0.95, Seed::new(1)).unwrap()
    }

    const SONGS: usize = 12;

    fn clips() -> impl Strategy<Value = Vec<Clip>> {
        prop::collection::vec((0..SONGS, any::<bool>(), any::<bool>()), 1..40)
    }

    proptest! {
        #[test]
        fn a_model_against_itself_differs_by_zero_and_p_is_one(clips in clips(), seeds in 1usize..4, known in any::<bool>()) {
            let same: Vec<Clip> = clips.iter().map(|c| (c.0, c.1, c.1)).collect();
            let mut pairs: Vec<PairedScore> = (0..seeds).map(|s| pair(&same, (s, s))).collect();
            // Whether the equality is known beforehand or comes from the resamples.
            pairs.iter_mut().flat_map(|pair| &mut pair.differs).for_each(|differs| *differs = !known);
            let found = difference(&pairs, SeedPairing::Matched, SONGS, 50, 0.95, Seed::new(1)).unwrap();
            prop_assert_eq!((found.mean, found.interval), (0.0, (0.0, 0.0)));
            prop_assert_eq!((found.p_bootstrap, found.p_permutation), (1.0, 1.0));
        }

        #[test]
        fn exchanging_the_two_models_changes_the_sign_and_keeps_every_p(clips in clips()) {
            let turned: Vec<Clip> = clips.iter().map(|c| (c.0, c.2, c.1)).collect();
            let (one, other) = (compare(&clips, 200), compare(&turned, 200));
            prop_assert!((one.mean + other.mean).abs() < 1e-12);
            prop_assert!((one.interval.0 + other.interval.1).abs() < 1e-12);
            prop_assert!((one.p_bootstrap - other.p_bootstrap).abs() < 1e-12);
            prop_assert!((one.p_permutation - other.p_permutation).abs() < 1e-12);
        }

        #[test]
        fn every_p_is_above_zero_and_at_most_one_and_the_interval_is_ordered(clips in clips(), crossed in any::<bool>()) {
            let (seeds, places) = if crossed { (SeedPairing::Crossed(2, 2), vec![(0, 0), (0, 1), (1, 0), (1, 1)]) } else { (SeedPairing::Matched, vec![(0, 0), (1, 1)]) };
            let pairs: Vec<PairedScore> = places.iter().map(|&at| pair(&clips, at)).collect();
            let found = difference(&pairs, seeds, SONGS, 60, 0.95, Seed::new(3)).unwrap();
            for p in [found.p_bootstrap, found.p_permutation] {
                prop_assert!(p > 0.0 && p <= 1.0, "{p}");
            }
            prop_assert!(found.interval.0 <= found.interval.1);
            prop_assert!(found.of_pairs.iter().flatten().all(|d| (d - found.mean).abs() < 1e-12));
        }

        #[test]
        fn with_one_recording_per_song_the_exact_permutation_test_of_accuracy_is_mcnemar(
            both in 0usize..5, one in 0usize..6, other in 0usize..6,
        ) {
            prop_assume!(both + one + other > 0 && both + one + other <= SONGS);
            let kinds = [(true, true, both), (true, false, one), (false, true, other)];
            let mut clips = Vec::new();
            for (a, b, n) in kinds {
                (0..n).for_each(|_| clips.push((clips.len(), a, b)));
            }
            prop_assert!((compare(&clips, 5000).p_permutation - mcnemar(one, other)).abs() < 1e-9);
        }

        #[test]
        fn holm_is_between_the_raw_p_and_bonferroni_and_keeps_the_order(ps in prop::collection::vec(0.0..=1.0f64, 1..20)) {
            let adjusted = holm(&ps);
            for (at, &p) in ps.iter().enumerate() {
                prop_assert!(adjusted[at] >= p && adjusted[at] <= (p * ps.len() as f64).min(1.0).max(p));
                for (other, &q) in ps.iter().enumerate() {
                    prop_assert!(p > q || adjusted[at] <= adjusted[other]);
                }
            }
        }
    }

    #[test]
    fn the_interval_of_a_paired_difference_matches_its_analytic_variance_over_songs() {
        // 400 songs with one recording each: only the reference is right in 60, only the other model in 100. The variance of the mean difference is
        // (160/400 - (40/400)²)/400.
        let kind = |song: usize| if song < 60 { (true, false) } else { (false, song < 160) };
        let clips: Vec<Clip> = (0..400).map(|song| (song, kind(song).0, kind(song).1)).collect();
        let found = difference(&[pair(&clips, (0, 0))], SeedPairing::Matched, 400, 4000, 0.95, Seed::new(5)).unwrap();
        let sd = ((0.4 - 0.01) / 400.0f64).sqrt();
        assert!((found.interval.0 - (0.1 - 1.96 * sd)).abs() < 0.005, "{found:?}");
        assert!((found.interval.1 - (0.1 + 1.96 * sd)).abs() < 0.005, "{found:?}");
        assert!(found.p_bootstrap < 0.01 && found.p_permutation < 0.01, "{found:?}");
    }

    #[test]
    fn seeds_that_disagree_widen_the_interval_by_the_variance_of_their_mean() {
        // 2000 songs: the model is right in a tenth more of them with one seed, in no more with the second, in two tenths more with the third.
        let with =
            |more: usize| -> Vec<Clip> { (0..2000).map(|song| (song, song < 1000, song < 1000 + more)).collect() };
        let pairs: Vec<PairedScore> =
            [200, 0, 400].iter().enumerate().map(|(s, &more)| pair(&with(more), (s, s))).collect();
        let found = difference(&pairs, SeedPairing::Matched, 2000, 4000, 0.95, Seed::new(5)).unwrap();
        assert!((found.mean - 0.1).abs() < 1e-12);
        let values =
            Resampled::new(&[(0, 0), (1, 1), (2, 2)], SeedPairing::Matched, 2000, 8000, Seed::new(5), |term, times| {
                pairs[term].difference(times)
            });
        let centre = values.0.iter().sum::<f64>() / values.0.len() as f64;
        let variance = values.0.iter().map(|v| (v - centre).powi(2)).sum::<f64>() / values.0.len() as f64;
        // The seeds contribute 0.01 / 3; the songs add a hundredth of that.
        assert!((variance / (0.01 / 3.0) - 1.0).abs() < 0.08, "{variance}");
        assert!(
            found.p_bootstrap > 0.05,
            "three seeds, one of them without a difference, are not significant: {found:?}"
        );
        assert!(found.p_permutation < 0.01, "for these particular models it is significant");
    }

    #[test]
    fn a_pair_without_a_drawn_song_is_left_out_of_the_mean() {
        let one: Vec<Clip> = vec![(0, false, true)];
        let pairs = [pair(&one, (0, 0))];
        assert_eq!(pairs[0].difference(&[0, 3]), None);
        let found = difference(&pairs, SeedPairing::Matched, 2, 200, 0.95, Seed::new(1)).unwrap();
        assert_eq!(found.interval, (1.0, 1.0), "song 1 alone has no recording");
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_bit() {
        let clips: Vec<Clip> = (0..40).map(|i| (i % SONGS, i % 3 == 0, i % 4 == 0)).collect();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(pool.install(|| compare(&clips, 300)), compare(&clips, 300));
    }

    #[test]
    fn mcnemar_is_symmetric_and_1_without_discordant_recordings() {
        assert_eq!(mcnemar(0, 0), 1.0);
        assert_eq!(mcnemar(3, 9), mcnemar(9, 3));
        assert!((mcnemar(0, 5) - 0.0625).abs() < 1e-12);
        assert!(mcnemar(2000, 2300) < 1e-4, "large counts do not overflow");
    }
}
