//! How much of the chosen point's score is luck: a bootstrap over songs around the whole choice.
//!
//! Conventions
//! - Resamples are those of `metrics::bootstrap`: whole songs with replacement, a seed of its own each. On each the choice is made
//!   anew, by the same rule.
//! - `optimism` is the mean over the resamples of the score that the choice reaches on the songs that made it, less the score that
//!   it reaches on the songs that were not drawn (about 37 %): what a reported score promises too much. `honest` is the
//!   score of the chosen point less that.
//! - `regret` is the mean over the resamples of what the choice scores less than the chosen point, on all songs: what having
//!   another sample of songs would cost.
//! - The plateau are the points whose score cannot be told from the best: they fall short of it by at most one standard error of
//!   that very difference, the standard deviation of the (paired) difference over the resamples.
//! - With fewer than two songs there is nothing to be left out, and no answer.

use rayon::prelude::*;

use super::ascent::ascend;
use super::choice::{Point, best};
use super::sweep::Sweep;
use crate::metrics::bootstrap;
use crate::seed::Seed;

/// What the resamples say of a choice.
#[derive(Clone, Debug, PartialEq)]
pub struct Luck {
    pub resamples: usize,
    /// Of the chosen point's score: its standard error.
    pub standard_error: f64,
    /// By point.
    pub plateau: Vec<bool>,
    pub optimism: f64,
    pub regret: f64,
    /// The same two for a cut-off a class.
    pub per_class: Option<(f64, f64)>,
    /// The chosen points of the resamples.
    pub choices: Vec<Point>,
}

struct Resampled {
    scores: Vec<f64>,
    choice: Point,
    /// On the songs that chose, on the songs left out, on all.
    reached: [f64; 3],
    per_class: Option<[f64; 3]>,
}

/// `scores` are those of `metric` on all recordings; `songs` names the song of each; with `per_class` the ascent is judged, too.
pub fn luck<G: Ord>(
    sweep: &Sweep,
    metric: usize,
    songs: &[G],
    scores: &[f64],
    per_class: bool,
    resamples: usize,
    seed: Seed,
) -> Option<Luck> {
    let members = bootstrap::members(songs);
    if members.len() < 2 || resamples == 0 {
        return None;
    }
    let cutoffs = sweep.cutoffs.len();
    let clips = songs.len();
    let all = vec![1; clips];
    let resample = |times: &mut Vec<u32>, number: usize| {
        bootstrap::draw(&members, seed.child(number), times);
        let left_out: Vec<u32> = times.iter().map(|&n| u32::from(n == 0)).collect();
        // Every song was drawn: nothing is left out.
        if left_out.iter().all(|&n| n == 0) {
            return None;
        }
        let scores_here = sweep.one_metric(times, metric);
        let choice = best(&scores_here, cutoffs);
        let own = scores_here[choice.fraction * cutoffs + choice.cutoff];
        let elsewhere = sweep.tally_at(choice, &left_out).score(metric);
        let on_all = scores[choice.fraction * cutoffs + choice.cutoff];
        let classes = per_class.then(|| {
            let own = ascend(sweep, choice.fraction, choice.cutoff, metric, times);
            let reached = |times: &[u32]| sweep.tally_of(choice.fraction, &own.cutoffs, times).score(metric);
            [own.score, reached(&left_out), reached(&all)]
        });
        Some(Resampled { scores: scores_here, choice, reached: [own, elsewhere, on_all], per_class: classes })
    };
    let resampled: Vec<Resampled> =
        (0..resamples).into_par_iter().map_init(|| vec![0; clips], resample).flatten().collect();
    let n = resampled.len() as f64;
    if resampled.len() < 2 {
        return None;
    }
    let chosen = best(scores, cutoffs);
    let at = chosen.fraction * cutoffs + chosen.cutoff;
    let mean = |of: &dyn Fn(&Resampled) -> f64| resampled.iter().map(of).sum::<f64>() / n;
    let spread = |of: &dyn Fn(&Resampled) -> f64| {
        let mean = mean(of);
        (resampled.iter().map(|r| (of(r) - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt()
    };
    let is_on_plateau = |point: usize| {
        let short = scores[at] - scores[point];
        short <= spread(&|r: &Resampled| r.scores[at] - r.scores[point])
    };
    let per_class = per_class.then(|| {
        let own = |r: &Resampled| r.per_class.expect("asked for");
        let best = ascend(sweep, chosen.fraction, chosen.cutoff, metric, &all).score;
        (mean(&|r| own(r)[0] - own(r)[1]), mean(&|r| best - own(r)[2]))
    });
    Some(Luck {
        resamples: resampled.len(),
        standard_error: spread(&|r| r.scores[at]),
        plateau: (0..scores.len()).into_par_iter().map(is_on_plateau).collect(),
        optimism: mean(&|r| r.reached[0] - r.reached[1]),
        regret: mean(&|r| scores[at] - r.reached[2]),
        per_class,
        choices: resampled.iter().map(|r| r.choice).collect(),
    })
}
