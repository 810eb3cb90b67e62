//! How much of the chosen point's score is luck: a bootstrap over songs around the whole choice.
//!
//! Conventions
//! - Resamples are those of `metrics::bootstrap`: whole songs with replacement, a seed of its own each. On each the choice is made
//!   anew, by the same rule.
//! - `elsewhere` is the mean over the resamples of the score that the choice reaches on the songs that were not drawn (about 37 %):
//!   what to expect of other songs, a little too strict, since each choice saw fewer songs than there are. What the score
//!   of the chosen point has more than that is owed to the choice.
//! - `regret` is the mean over the resamples of what the choice scores less than the chosen point, on all songs: what having
//!   another sample of songs would cost.
//! - The plateau are the points whose score cannot be told from the best: they fall short of it by at most one standard error of
//!   that very difference, the standard deviation of the (paired) difference over the resamples.
//! - With fewer than two songs there is nothing to be left out, and no answer.

use rayon::prelude::*;

use super::best_point::{Point, best_point};
use super::coordinate_ascent::coordinate_ascent;
use super::threshold_grid::ThresholdGrid;
use crate::metrics::bootstrap;
use timbre_core::seed::Seed;

/// What the resamples say of a choice.
#[derive(Clone, Debug, PartialEq)]
pub struct SelectionBias {
    pub resamples: usize,
    /// Of the chosen point's score: its standard error.
    pub standard_error: f64,
    /// By point.
    pub plateau: Vec<bool>,
    pub held_out: f64,
    pub regret: f64,
    /// The same two for a cut-off a class.
    pub per_class: Option<(f64, f64)>,
    /// The chosen points of the resamples.
    pub choices: Vec<Point>,
}

struct Resampled {
    choice: Point,
    /// Of the point that all songs choose.
    chosen: f64,
    /// On the songs left out, and on all.
    reached: [f64; 2],
    per_class: Option<[f64; 2]>,
}

/// Some resamples, one after the other, and how far each point falls short in them: the sums, and the sums of squares. A grid for
/// each resample would be gigabytes.
struct Block {
    resampled: Vec<Resampled>,
    short: Vec<[f64; 2]>,
}

/// Resamples of a block: always the same ones, whoever computes them.
const BLOCK: usize = 16;

/// `scores` are those of `metric` on all recordings; `songs` names the song of each; with `per_class` the ascent is judged, too.
pub fn selection_bias<G: Ord + Sync>(
    sweep: &ThresholdGrid,
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
    let cutoffs = sweep.cutoffs.len();
    let place = |point: Point| point.fraction * cutoffs + point.cutoff;
    let chosen = best_point(scores, cutoffs);
    let at = place(chosen);
    let all = vec![1; songs.len()];
    let resample = |number: usize, times: &mut [u32], short: &mut [[f64; 2]]| {
        bootstrap::resample(&members, seed.child(number), times);
        let left_out: Vec<u32> = times.iter().map(|&n| u32::from(n == 0)).collect();
        // Every song was drawn: nothing is left out.
        if left_out.iter().all(|&n| n == 0) {
            return None;
        }
        let own = sweep.one_metric(times, metric);
        for (sums, score) in short.iter_mut().zip(&own) {
            let difference = own[at] - score;
            *sums = [sums[0] + difference, sums[1] + difference * difference];
        }
        let choice = best_point(&own, cutoffs);
        let per_class = per_class.then(|| {
            let own = coordinate_ascent(sweep, choice.fraction, choice.cutoff, metric, times);
            let reached = |times: &[u32]| sweep.tally_of(choice.fraction, &own.cutoffs, times).score(metric);
            [reached(&left_out), reached(&all)]
        });
        let elsewhere = sweep.tally_at(choice, &left_out).score(metric);
        Some(Resampled { choice, chosen: own[at], reached: [elsewhere, scores[place(choice)]], per_class })
    };
    let block = |number: usize| {
        let (mut times, mut short) = (vec![0; songs.len()], vec![[0.0; 2]; scores.len()]);
        let numbers = number * BLOCK..resamples.min((number + 1) * BLOCK);
        let resampled = numbers.filter_map(|number| resample(number, &mut times, &mut short)).collect();
        Block { resampled, short }
    };
    let blocks = resamples.div_ceil(BLOCK);
    let mut short = vec![[0.0; 2]; scores.len()];
    let mut resampled: Vec<Resampled> = Vec::new();
    for own in (0..blocks).into_par_iter().map(block).collect::<Vec<Block>>() {
        short.iter_mut().zip(own.short).for_each(|(sums, own)| *sums = [sums[0] + own[0], sums[1] + own[1]]);
        resampled.extend(own.resampled);
    }
    let n = resampled.len() as f64;
    if resampled.len() < 2 {
        return None;
    }
    let mean = |of: &dyn Fn(&Resampled) -> f64| resampled.iter().map(of).sum::<f64>() / n;
    let error = |[sum, squares]: [f64; 2]| ((squares - sum * sum / n).max(0.0) / (n - 1.0)).sqrt();
    let is_on_plateau = |(score, &short): (&f64, &[f64; 2])| scores[at] - score <= error(short);
    let standard_error = {
        let middle = mean(&|r| r.chosen);
        (resampled.iter().map(|r| (r.chosen - middle).powi(2)).sum::<f64>() / (n - 1.0)).sqrt()
    };
    let per_class = per_class.then(|| {
        let own = |r: &Resampled| r.per_class.expect("asked for");
        let best = coordinate_ascent(sweep, chosen.fraction, chosen.cutoff, metric, &all).score;
        (mean(&|r| own(r)[0]), mean(&|r| best - own(r)[1]))
    });
    Some(SelectionBias {
        resamples: resampled.len(),
        standard_error,
        plateau: scores.iter().zip(&short).map(is_on_plateau).collect(),
        held_out: mean(&|r| r.reached[0]),
        regret: mean(&|r| scores[at] - r.reached[1]),
        per_class,
        choices: resampled.iter().map(|r| r.choice).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::tally;
    use crate::predictions::Predictions;
    use crate::threshold_search::parse_axis;
    use timbre_core::seed::uniform;

    /// 60 recordings of 20 songs and 4 classes; `skill` of 0: the scores speak of nothing.
    fn sweep(skill: f64) -> (ThresholdGrid, Vec<usize>) {
        let mut rng = Seed::new(4).rng();
        let mut draw = || uniform(&mut rng);
        let truth: Vec<Vec<usize>> = (0..60).map(|_| (0..4).filter(|_| draw() < 0.3).collect()).collect();
        let score = |truth: &Vec<usize>, class: usize, noise: f64| {
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
        let (sweep, songs) = sweep(skill);
        let metric = tally::position(metric).unwrap();
        let scores = sweep.one_metric(&[1; 60], metric);
        (selection_bias(&sweep, metric, &songs, &scores, per_class, 100, Seed::new(1)).unwrap(), scores)
    }

    #[test]
    fn of_scores_that_say_nothing_the_choice_is_luck_and_the_more_so_by_class() {
        let (luck, scores) = of(0.0, "f1_macro", true);
        let most = scores.iter().copied().fold(0.0, f64::max);
        assert!(luck.held_out < most, "{} {most}", luck.held_out);
        let by_class = luck.per_class.unwrap();
        assert!(by_class.0 < most && by_class.1 > 0.0 && luck.regret >= 0.0, "{by_class:?}");
    }

    #[test]
    fn of_scores_that_say_all_nothing_is_luck_and_the_plateau_is_the_gap() {
        let (luck, scores) = of(1.0, "exact_match", false);
        assert_eq!((luck.held_out, luck.regret, luck.standard_error), (1.0, 0.0, 0.0));
        // Cut-offs above 0.2 and up to 0.8, as single precision has them.
        let perfect: Vec<bool> = scores.iter().map(|&score| score == 1.0).collect();
        assert_eq!(luck.plateau, perfect);
        assert!((11..=13).contains(&perfect.iter().filter(|p| **p).count()));
        // Of the equals the middle, whoever was drawn.
        assert!(luck.choices.iter().all(|choice| *choice == luck.choices[0]));
    }

    #[test]
    fn threads_change_no_bit_and_one_song_says_nothing() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(pool.install(|| of(0.3, "f1_samples", true)), of(0.3, "f1_samples", true));
        let (sweep, _) = sweep(0.5);
        assert_eq!(selection_bias(&sweep, 0, &[7; 60], &sweep.one_metric(&[1; 60], 0), false, 50, Seed::new(1)), None);
    }
}
