//! Whether a difference may be luck: intervals, tests, and the correction for many of them.
//!
//! Conventions
//! - The unit of chance is the song: recordings of one song are drawn, or exchanged, together. A song is the same song for all
//!   seeds, so that what several seeds said of it moves together.
//! - **Bootstrap** (interval and p): songs are drawn with replacement, as many as there are. Where a line has n > 1 seeds, n - 1 of
//!   them are drawn with replacement: the variance of such a mean is that of the mean of n seeds without bias (Rao and Wu 1988; n
//!   draws would make it too small by (n - 1)/n). The interval is the percentile one. p is two-sided,
//!   2·(1 + the smaller of #(d <= 0), #(d >= 0)) / (1 + resamples), at most 1: it is below 0.05 where the 95 % interval leaves 0 out.
//! - **Permutation** (p alone): if the two lines were the same, what they say of a song could be exchanged. p is the share of
//!   exchanges that give a difference at least as large in size. All exchanges are tried where there are no more of them than
//!   resamples, else as many are drawn and the observed one is counted with them. It is exact for the models at hand, however few
//!   songs there are, and knows nothing of other seeds: the bootstrap does.
//! - **McNemar**: exact, the two-sided binomial test of the recordings that one line alone has right.
//! - **Holm**: step-down, adjusted p at most 1.
//! - Differences smaller than 1e-12 in size are none: sums of the same numbers in another order.

use rayon::prelude::*;

use timbre_core::seed::{Seed, uniform, uniform_below};
use timbre_evaluation::metrics::bootstrap;
use timbre_evaluation::metrics::probability_scores::WeightedScore;

const NOTHING: f64 = 1e-12;

/// What a line said with one seed: its score for any weighting of the recordings.
pub struct SeedScore<'a> {
    /// The song of each recording, a number below that of all songs.
    pub song: Vec<usize>,
    pub score: WeightedScore<'a>,
}

/// What two lines said of the same recordings, with one seed each.
pub struct PairedScore<'a> {
    /// The places of the seeds among those of the reference and of the line.
    pub seeds: (usize, usize),
    pub song: Vec<usize>,
    /// Whether they said different things of a recording.
    pub differs: Vec<bool>,
    /// The score of both: the weights of the recordings as the reference heard them, then as the line did.
    pub score: WeightedScore<'a>,
}

impl SeedScore<'_> {
    fn value(&self, times: &[u32]) -> Option<f64> {
        let weights: Vec<u32> = self.song.iter().map(|&song| times[song]).collect();
        weights.iter().any(|&w| w > 0).then(|| (self.score)(&weights)).flatten()
    }
}

impl PairedScore<'_> {
    /// Line minus reference, each song counted so many times. Nothing where no recording is drawn, or a score is undefined.
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

    /// Line minus reference with the songs of the mask exchanged.
    fn exchanged(&self, mask: &[bool]) -> Option<f64> {
        let n = self.song.len();
        let mut weights: Vec<u32> = self.song.iter().map(|&song| u32::from(!mask[song])).collect();
        weights.extend(self.song.iter().map(|&song| u32::from(mask[song])));
        let reference = (self.score)(&weights)?;
        weights.rotate_right(n);
        Some((self.score)(&weights)? - reference)
    }
}

/// How seeds are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeedPairing {
    /// The terms are those of so many seeds, one each.
    Matched,
    /// The terms are every one of so many seeds with every one of so many others.
    Crossed(usize, usize),
}

/// How often each term is drawn.
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

/// The means of the terms over resamples of songs and seeds, ascending.
#[derive(Clone, Debug, PartialEq)]
pub struct Resampled(Vec<f64>);

impl Resampled {
    /// `value(term, times)`: of a term, each song counted so many times. Resamples without a value are left out.
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

    /// The percentile interval; nothing where there is no value.
    pub fn interval(&self, level: f64) -> Option<(f64, f64)> {
        let at = |share: f64| bootstrap::quantile(&self.0, share);
        (!self.0.is_empty()).then(|| (at((1.0 - level) / 2.0), at((1.0 + level) / 2.0)))
    }

    /// Two-sided, of the mean being 0.
    pub fn p(&self) -> f64 {
        let below = self.0.iter().filter(|&&d| d <= NOTHING).count();
        let above = self.0.iter().filter(|&&d| d >= -NOTHING).count();
        (2.0 * (1 + below.min(above)) as f64 / (1 + self.0.len()) as f64).min(1.0)
    }
}

/// The interval of the mean over the seeds of a line.
pub fn interval(terms: &[SeedScore], songs: usize, resamples: usize, level: f64, seed: Seed) -> Option<(f64, f64)> {
    let places: Vec<(usize, usize)> = (0..terms.len()).map(|at| (at, at)).collect();
    Resampled::new(&places, SeedPairing::Matched, songs, resamples, seed, |term, times| terms[term].value(times))
        .interval(level)
}

/// What two lines differ by.
#[derive(Clone, Debug, PartialEq)]
pub struct PairedDifference {
    /// The mean of those of the pairs.
    pub mean: f64,
    /// Of each pair; nothing where it is undefined.
    pub of_pairs: Vec<Option<f64>>,
    pub interval: (f64, f64),
    pub p_bootstrap: f64,
    pub p_permutation: f64,
}

/// Nothing where the score is undefined on the recordings of all pairs.
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
        // Whatever is drawn or exchanged.
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
    let open: Vec<usize> = (0..songs).filter(|&song| differ[song]).collect();
    let as_large = |mask: &[bool]| {
        let exchanged = mean(pairs.iter().map(|pair| (pair.exchanged(mask), 1)));
        // An exchange that leaves the score undefined speaks for nothing.
        exchanged.map(|d| d.abs() >= observed.abs() - NOTHING)
    };
    let all = u32::try_from(open.len()).ok().and_then(|n| 1usize.checked_shl(n)).filter(|&all| all <= resamples);
    let tried = |exchange: usize| {
        let mut mask = vec![false; songs];
        match all {
            Some(_) => open.iter().enumerate().for_each(|(bit, &song)| mask[song] = exchange >> bit & 1 == 1),
            None => {
                let mut rng = seed.child(exchange).rng();
                open.iter().for_each(|&song| mask[song] = uniform(&mut rng) < 0.5);
            }
        }
        as_large(&mask)
    };
    let outcomes: Vec<bool> = (0..all.unwrap_or(resamples)).into_par_iter().filter_map(tried).collect();
    // Of all exchanges the observed one is the first.
    let own = usize::from(all.is_none());
    let large = outcomes.iter().filter(|&&large| large).count() + own;
    large as f64 / (outcomes.len() + own).max(1) as f64
}

/// McNemar's exact test: so many recordings that one alone has right, and that the other alone has right.
pub fn mcnemar(one: usize, other: usize) -> f64 {
    let n = (one + other) as f64;
    let choose = |k: f64| libm::lgamma(n + 1.0) - libm::lgamma(k + 1.0) - libm::lgamma(n - k + 1.0);
    let term = |k: usize| (choose(k as f64) - n * std::f64::consts::LN_2).exp();
    (2.0 * (0..=one.min(other)).map(term).sum::<f64>()).min(1.0)
}

/// Adjusted for as many tests as there are, in their order.
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

    /// The share of right recordings.
    fn accuracy<'a>(right: Vec<bool>) -> WeightedScore<'a> {
        Box::new(move |weights| {
            let hits: u32 = right.iter().zip(weights).filter(|(right, _)| **right).map(|(_, w)| w).sum();
            Some(f64::from(hits) / f64::from(weights.iter().sum::<u32>()))
        })
    }

    /// A recording: its song, whether the reference has it right, whether the line has.
    type Clip = (usize, bool, bool);

    fn pair<'a>(clips: &[Clip], seeds: (usize, usize)) -> PairedScore<'a> {
        let right = clips.iter().map(|c| c.1).chain(clips.iter().map(|c| c.2)).collect();
        let (song, differs) = clips.iter().map(|c| (c.0, c.1 != c.2)).unzip();
        PairedScore { seeds, song, differs, score: accuracy(right) }
    }

    fn of(clips: &[Clip], resamples: usize) -> PairedDifference {
        difference(&[pair(clips, (0, 0))], SeedPairing::Matched, SONGS, resamples, 0.95, Seed::new(1)).unwrap()
    }

    const SONGS: usize = 12;

    fn clips() -> impl Strategy<Value = Vec<Clip>> {
        prop::collection::vec((0..SONGS, any::<bool>(), any::<bool>()), 1..40)
    }

    proptest! {
        #[test]
        fn a_line_against_itself_differs_by_nothing_and_p_is_one(clips in clips(), seeds in 1usize..4, known in any::<bool>()) {
            let same: Vec<Clip> = clips.iter().map(|c| (c.0, c.1, c.1)).collect();
            let mut pairs: Vec<PairedScore> = (0..seeds).map(|s| pair(&same, (s, s))).collect();
            // Whether it is known beforehand or comes of the draws.
            pairs.iter_mut().flat_map(|pair| &mut pair.differs).for_each(|differs| *differs = !known);
            let found = difference(&pairs, SeedPairing::Matched, SONGS, 50, 0.95, Seed::new(1)).unwrap();
            prop_assert_eq!((found.mean, found.interval), (0.0, (0.0, 0.0)));
            prop_assert_eq!((found.p_bootstrap, found.p_permutation), (1.0, 1.0));
        }

        #[test]
        fn exchanging_the_two_turns_the_sign_and_keeps_every_p(clips in clips()) {
            let turned: Vec<Clip> = clips.iter().map(|c| (c.0, c.2, c.1)).collect();
            let (one, other) = (of(&clips, 200), of(&turned, 200));
            prop_assert!((one.mean + other.mean).abs() < 1e-12);
            prop_assert!((one.interval.0 + other.interval.1).abs() < 1e-12);
            prop_assert!((one.p_bootstrap - other.p_bootstrap).abs() < 1e-12);
            prop_assert!((one.p_permutation - other.p_permutation).abs() < 1e-12);
        }

        #[test]
        fn every_p_is_a_share_above_zero_and_the_interval_is_in_order(clips in clips(), crossed in any::<bool>()) {
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
        fn of_one_recording_a_song_the_exact_permutation_of_accuracy_is_mcnemar(
            both in 0usize..5, one in 0usize..6, other in 0usize..6,
        ) {
            prop_assume!(both + one + other > 0 && both + one + other <= SONGS);
            let kinds = [(true, true, both), (true, false, one), (false, true, other)];
            let mut clips = Vec::new();
            for (a, b, n) in kinds {
                (0..n).for_each(|_| clips.push((clips.len(), a, b)));
            }
            prop_assert!((of(&clips, 5000).p_permutation - mcnemar(one, other)).abs() < 1e-9);
        }

        #[test]
        fn holm_is_between_the_bare_p_and_bonferroni_and_keeps_the_order(ps in prop::collection::vec(0.0..=1.0f64, 1..20)) {
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
    fn the_interval_of_a_paired_difference_is_that_of_the_differences_of_songs() {
        // 400 songs of one recording: 60 for the one, 100 for the other. The variance of the mean difference is
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
    fn seeds_that_disagree_make_the_interval_wider_by_what_their_mean_may_be_off() {
        // 2000 songs: with one seed the line has a tenth more of them right, with two others no more and two tenths.
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
        // Of the three seeds 0.01 / 3; the songs add a hundredth of it.
        assert!((variance / (0.01 / 3.0) - 1.0).abs() < 0.08, "{variance}");
        assert!(found.p_bootstrap > 0.05, "three seeds of which one shows nothing do not settle it: {found:?}");
        assert!(found.p_permutation < 0.01, "of these very models it is settled");
    }

    #[test]
    fn a_pair_without_a_drawn_song_is_left_out_of_the_mean() {
        let one: Vec<Clip> = vec![(0, false, true)];
        let pairs = [pair(&one, (0, 0))];
        assert_eq!(pairs[0].difference(&[0, 3]), None);
        let found = difference(&pairs, SeedPairing::Matched, 2, 200, 0.95, Seed::new(1)).unwrap();
        assert_eq!(found.interval, (1.0, 1.0), "song 1 alone says nothing");
    }

    #[test]
    fn threads_change_no_bit() {
        let clips: Vec<Clip> = (0..40).map(|i| (i % SONGS, i % 3 == 0, i % 4 == 0)).collect();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(pool.install(|| of(&clips, 300)), of(&clips, 300));
    }

    #[test]
    fn mcnemar_is_symmetric_and_one_without_a_discordant_recording() {
        assert_eq!(mcnemar(0, 0), 1.0);
        assert_eq!(mcnemar(3, 9), mcnemar(9, 3));
        assert!((mcnemar(0, 5) - 0.0625).abs() < 1e-12);
        assert!(mcnemar(2000, 2300) < 1e-4, "large counts do not overflow");
    }
}
