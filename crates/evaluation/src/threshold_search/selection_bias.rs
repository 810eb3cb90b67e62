//! How optimistic the chosen point's score is: a bootstrap over songs around the whole choice.
//!
//! Conventions
//! - Resamples are those of `metrics::bootstrap`: whole songs with replacement, each with its own seed. The choice is repeated on
//!   each by the same rule.
//! - `held_out` is the mean over the resamples of the score that the choice reaches on the songs that were not drawn (about
//!   37 %): the expected score on new songs, a little pessimistic, since each choice saw fewer songs than there are. The
//!   difference to the chosen point's score is its optimism.
//! - `regret` is the mean over the resamples of how much less the resample's choice scores on all songs than the chosen point:
//!   the expected cost of having had another sample of songs.
//! - The plateau is the set of points whose score cannot be distinguished from the best: they are worse by at most one standard
//!   error of that difference, the standard deviation of the (paired) difference over the resamples.
//! - With fewer than two songs nothing can be left out, and there is no result.

use rayon::prelude::*;

use super::best_point::{Point, best_point};
use super::coordinate_ascent::coordinate_ascent;
use super::threshold_grid::ThresholdGrid;
use crate::metrics::bootstrap;
use timbre_core::seed::Seed;

/// The bootstrap of a choice.
#[derive(Clone, Debug, PartialEq)]
pub struct SelectionBias {
    /// The number of resamples.
    pub resamples: usize,
    /// The standard error of the chosen point's score.
    pub standard_error: f64,
    /// By point: whether it belongs to the plateau.
    pub plateau: Vec<bool>,
    /// The expected score on new songs.
    pub held_out: f64,
    /// The expected loss of score by another sample of songs.
    pub regret: f64,
    /// `held_out` and `regret` of one threshold per class.
    pub per_class: Option<(f64, f64)>,
    /// The point that each resample chooses.
    pub choices: Vec<Point>,
}

struct Resampled {
    choice: Point,
    /// The score of the point that all songs choose.
    chosen: f64,
    /// The score of the resample's choice on the songs left out, and on all.
    scores: [f64; 2],
    per_class: Option<[f64; 2]>,
}

/// Some consecutive resamples, and the shortfall of each point in them: sum and sum of squares. One grid per resample would take
/// gigabytes.
struct Block {
    resampled: Vec<Resampled>,
    shortfall: Vec<[f64; 2]>,
}

/// Resamples in a block, independent of the number of threads.
const BLOCK: usize = 16;

/// `scores` are those of `metric` on all recordings. `songs` names the song of each. `per_class` includes the coordinate ascent.
pub fn selection_bias<G: Ord + Sync>(
    grid: &ThresholdGrid,
    metric: usize,
    songs: &[G],
    scores: &[f64],
    per_class: bool,
    resamples: usize,
    seed: Seed,
) -> Option<SelectionBias> {
    let members = bootstrap::group_members(songs);
    if members.len() < 2 || resamples == 0 {
        return None;
    }
    let cutoffs = grid.cutoffs.len();
    let index_of = |point: Point| point.fraction * cutoffs + point.cutoff;
    let chosen = best_point(scores, cutoffs);
    let at = index_of(chosen);
    let all = vec![1; songs.len()];
    let resample = |number: usize, times: &mut [u32], shortfall: &mut [[f64; 2]]| {
        bootstrap::resample(&members, seed.child(number), times);
        let left_out: Vec<u32> = times.iter().map(|&n| u32::from(n == 0)).collect();
        // Every song was drawn, so nothing is left out.
        if left_out.iter().all(|&n| n == 0) {
            return None;
        }
        let own = grid.one_metric(times, metric);
        for (sums, score) in shortfall.iter_mut().zip(&own) {
            let difference = own[at] - score;
            *sums = [sums[0] + difference, sums[1] + difference * difference];
        }
        let choice = best_point(&own, cutoffs);
        let per_class = per_class.then(|| {
            let own = coordinate_ascent(grid, choice.fraction, choice.cutoff, metric, times);
            let scores = |times: &[u32]| grid.tally_of(choice.fraction, &own.cutoffs, times).score(metric);
            [scores(&left_out), scores(&all)]
        });
        let held_out = grid.tally_at(choice, &left_out).score(metric);
        Some(Resampled { choice, chosen: own[at], scores: [held_out, scores[index_of(choice)]], per_class })
    };
    let block = |number: usize| {
        let (mut times, mut shortfall) = (vec![0; songs.len()], vec![[0.0; 2]; scores.len()]);
        let numbers = number * BLOCK..resamples.min((number + 1) * BLOCK);
        let resampled = numbers.filter_map(|number| resample(number, &mut times, &mut shortfall)).collect();
        Block { resampled, shortfall }
    };
    let blocks = resamples.div_ceil(BLOCK);
    let mut shortfall = vec![[0.0; 2]; scores.len()];
    let mut resampled: Vec<Resampled> = Vec::new();
    for own in (0..blocks).into_par_iter().map(block).collect::<Vec<Block>>() {
        shortfall.iter_mut().zip(own.shortfall).for_each(|(sums, own)| *sums = [sums[0] + own[0], sums[1] + own[1]]);
        resampled.extend(own.resampled);
    }
    let n = resampled.len() as f64;
    if resampled.len() < 2 {
        return None;
    }
    let mean = |of: &dyn Fn(&Resampled) -> f64| resampled.iter().map(of).sum::<f64>() / n;
    let error = |[sum, squares]: [f64; 2]| ((squares - sum * sum / n).max(0.0) / (n - 1.0)).sqrt();
    let is_on_plateau = |(score, &shortfall): (&f64, &[f64; 2])| scores[at] - score <= error(shortfall);
    let standard_error = {
        let middle = mean(&|r| r.chosen);
        (resampled.iter().map(|r| (r.chosen - middle).powi(2)).sum::<f64>() / (n - 1.0)).sqrt()
    };
    let per_class = per_class.then(|| {
        let own = |r: &Resampled| r.per_class.expect("computed with `per_class`");
        let best = coordinate_ascent(grid, chosen.fraction, chosen.cutoff, metric, &all).score;
        (mean(&|r| own(r)[0]), mean(&|r| best - own(r)[1]))
    });
    Some(SelectionBias {
        resamples: resampled.len(),
        standard_error,
        plateau: scores.iter().zip(&shortfall).map(is_on_plateau).collect(),
        held_out: mean(&|r| r.scores[0]),
        regret: mean(&|r| scores[at] - r.scores[1]),
        per_class,
        choices: resampled.iter().map(|r| r.choice).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::decision_scores;
    use crate::predictions::Predictions;
    use crate::threshold_search::parse_axis;
    use timbre_core::{labels::Labels, seed::uniform};

    /// 60 recordings of 20 songs and 4 classes. With a `skill` of 0 the scores carry no information.
    fn grid(skill: f64) -> (ThresholdGrid, Vec<usize>) {
        let mut rng = Seed::new(4).rng();
        let mut draw = || uniform(&mut rng);
        let truth: Vec<Labels> = (0..60).map(|_| (0..4).filter(|_| draw() < 0.3).collect::<Vec<_>>().into()).collect();
        let score = |truth: &Labels, class: usize, noise: f64| {
            let own = if truth.contains(&class) { 0.8 } else { 0.2 };
            (skill * own + (1.0 - skill) * noise) as f32
        };
        let probabilities =
            truth.iter().flat_map(|t| [0, 1, 2, 3].map(|class| (t, class))).map(|(t, c)| score(t, c, draw()));
        let predictions = Predictions { n_classes: 4, probabilities: probabilities.collect() };
        (
            ThresholdGrid::of_scores(&predictions, &truth, parse_axis("0.05..0.95/0.05").unwrap()),
            (0..60).map(|r| r / 3).collect(),
        )
    }

    fn of(skill: f64, metric: &str, per_class: bool) -> (SelectionBias, Vec<f64>) {
        let (grid, songs) = grid(skill);
        let metric = decision_scores::position(metric).unwrap();
        let scores = grid.one_metric(&[1; 60], metric);
        (selection_bias(&grid, metric, &songs, &scores, per_class, 100, Seed::new(1)).unwrap(), scores)
    }

    #[test]
    fn for_uninformative_scores_the_choice_is_optimistic_and_more_so_per_class() {
        let (bias, scores) = of(0.0, "f1_macro", true);
        let most = scores.iter().copied().fold(0.0, f64::max);
        assert!(bias.held_out < most, "{} {most}", bias.held_out);
        let by_class = bias.per_class.unwrap();
        assert!(by_class.0 < most && by_class.1 > 0.0 && bias.regret >= 0.0, "{by_class:?}");
    }

    #[test]
    fn for_perfect_scores_nothing_is_optimistic_and_the_plateau_is_the_gap() {
        let (bias, scores) = of(1.0, "exact_match", false);
        assert_eq!((bias.held_out, bias.regret, bias.standard_error), (1.0, 0.0, 0.0));
        // Thresholds above 0.2 and up to 0.8, in single precision.
        let perfect: Vec<bool> = scores.iter().map(|&score| score == 1.0).collect();
        assert_eq!(bias.plateau, perfect);
        assert!((11..=13).contains(&perfect.iter().filter(|p| **p).count()));
        // Of equal scores the middle, whichever songs were drawn.
        assert!(bias.choices.iter().all(|choice| *choice == bias.choices[0]));
    }

    #[test]
    fn threads_do_not_change_a_bit_and_one_song_gives_no_result() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(pool.install(|| of(0.3, "f1_samples", true)), of(0.3, "f1_samples", true));
        let (grid, _) = grid(0.5);
        assert_eq!(selection_bias(&grid, 0, &[7; 60], &grid.one_metric(&[1; 60], 0), false, 50, Seed::new(1)), None);
    }
}
