//! One threshold per class, by coordinate ascent.
//!
//! Starts from the common threshold and visits the classes in their order. For one class every threshold is tried with those of
//! the other classes fixed, and the best is taken if it improves the score; of equal scores the one nearest to their middle, then
//! the smaller. It ends when a round changes nothing, at a point that no single change improves. For macro means that is the
//! global optimum, for other metrics not always. The score only rises, so the ascent ends.

use super::threshold_grid::{ThresholdGrid, values};
use crate::metrics::{decision_scores, tally::Tally};
use timbre_core::labels::Labels;

/// Thresholds by class, as positions on the axis.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassCutoffs {
    /// The index of the threshold of each class.
    pub cutoffs: Vec<usize>,
    /// The score that they reach.
    pub score: f64,
    /// Rounds over the classes; the last one changed nothing.
    pub rounds: usize,
}

/// The ascent at one fraction, from one threshold for all classes. `times`: how often each recording counts.
pub fn coordinate_ascent(
    grid: &ThresholdGrid,
    fraction: usize,
    cutoff: usize,
    metric: usize,
    times: &[u32],
) -> ClassCutoffs {
    let mut ascent = Ascent::new(grid, fraction, cutoff, metric, times);
    let mut score = ascent.tally.score(metric);
    for rounds in 1.. {
        let mut changed = false;
        for class in 0..grid.n_classes {
            let (best, new_score) = ascent.best_of(class);
            if new_score > score {
                ascent.set(class, best);
                (score, changed) = (new_score, true);
            }
        }
        if !changed {
            return ClassCutoffs { cutoffs: ascent.cutoffs, score, rounds };
        }
    }
    unreachable!("a score that rises in every round reaches an end")
}

struct Ascent<'a> {
    grid: &'a ThresholdGrid,
    metric: usize,
    times: &'a [u32],
    cutoffs: Vec<usize>,
    /// By (recording, class): the number of thresholds that are passed.
    passed: Vec<u16>,
    /// The number of decided classes of each recording, and how many of them are true.
    decided: Vec<(u64, u64)>,
    tally: Tally,
}

impl Ascent<'_> {
    fn new<'a>(grid: &'a ThresholdGrid, fraction: usize, cutoff: usize, metric: usize, times: &'a [u32]) -> Ascent<'a> {
        let n = grid.n_classes;
        let mut passed = vec![0; grid.truth.len() * n];
        for (recording, row) in grid.rows_for(fraction).into_iter().enumerate() {
            for step in row.map_or(&[][..], |row| grid.row(row)) {
                passed[recording * n + usize::from(step.class)] = step.passed;
            }
        }
        let cutoffs = vec![cutoff; n];
        let of = |(own, truth): (&[u16], &Labels)| {
            let is_decided = |class: &usize| usize::from(own[*class]) > cutoff;
            let common = truth.iter().filter(|class| is_decided(class)).count() as u64;
            ((0..n).filter(is_decided).count() as u64, common)
        };
        let decided = passed.chunks_exact(n.max(1)).zip(&grid.truth).map(of).collect();
        let tally = grid.tally_of(fraction, &cutoffs, times);
        Ascent { grid, metric, times, cutoffs, passed, decided, tally }
    }

    /// Visits the tally at every threshold of one class.
    fn for_each_threshold(&self, class: usize, mut on: impl FnMut(&Tally)) {
        let levels = self.grid.cutoffs.len() + 1;
        let of_recordings = decision_scores::is_of_recordings(self.metric);
        let mut counts = vec![[0u64; 2]; levels];
        let mut steps = vec![[0i64; 5]; levels];
        let mut tally = self.tally.clone();
        for (recording, truth) in self.grid.truth.iter().enumerate() {
            let times = self.times[recording];
            if times == 0 {
                continue;
            }
            let passed = usize::from(self.passed[recording * self.grid.n_classes + class]);
            let is_true = truth.contains(&class);
            counts[passed][0] += u64::from(times);
            counts[passed][1] += u64::from(times) * u64::from(is_true);
            if of_recordings {
                let (decided, common) = self.decided[recording];
                let is_decided = passed > self.cutoffs[class];
                let (truths, own) = (truth.len() as u64, u64::from(is_true));
                let without = (decided - u64::from(is_decided), common - u64::from(is_decided) * own);
                let (now, without, with) = (
                    values(truths, decided, common),
                    values(truths, without.0, without.1),
                    values(truths, without.0 + 1, without.1 + own),
                );
                for i in 0..5 {
                    let base = (without[i] - now[i]) * i64::from(times);
                    if i < 4 {
                        tally.samples[i] += base
                    } else {
                        tally.exact = tally.exact.wrapping_add_signed(base)
                    }
                    steps[passed][i] += (with[i] - without[i]) * i64::from(times);
                }
            }
        }
        for level in (1..levels - 1).rev() {
            let (count, step) = (counts[level + 1], steps[level + 1]);
            counts[level].iter_mut().zip(count).for_each(|(own, above)| *own += above);
            steps[level].iter_mut().zip(step).for_each(|(own, above)| *own += above);
        }
        let base = tally.clone();
        for level in 1..levels {
            (tally.classes[class].predicted, tally.classes[class].hits) = (counts[level][0], counts[level][1]);
            (0..4).for_each(|i| tally.samples[i] = base.samples[i] + steps[level][i]);
            tally.exact = base.exact.wrapping_add_signed(steps[level][4]);
            on(&tally);
        }
    }

    /// The best threshold of a class, and its score.
    fn best_of(&self, class: usize) -> (usize, f64) {
        let mut scores = Vec::with_capacity(self.grid.cutoffs.len());
        self.for_each_threshold(class, |tally| scores.push(tally.score(self.metric)));
        let point = super::best_point::best_point(&scores, scores.len());
        (point.cutoff, scores[point.cutoff])
    }

    fn set(&mut self, class: usize, cutoff: usize) {
        let (mut at, mut tally) = (0, None);
        self.for_each_threshold(class, |own| {
            if at == cutoff {
                tally = Some(own.clone());
            }
            at += 1;
        });
        self.tally = tally.expect("a threshold on the axis");
        for (recording, truth) in self.grid.truth.iter().enumerate() {
            let passed = usize::from(self.passed[recording * self.grid.n_classes + class]);
            let change = i64::from(passed > cutoff) - i64::from(passed > self.cutoffs[class]);
            let own = &mut self.decided[recording];
            own.0 = own.0.wrapping_add_signed(change);
            own.1 = own.1.wrapping_add_signed(if truth.contains(&class) { change } else { 0 });
        }
        self.cutoffs[class] = cutoff;
    }
}
