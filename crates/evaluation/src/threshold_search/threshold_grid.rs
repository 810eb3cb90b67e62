//! The scores at every threshold and window fraction at once.
//!
//! Each probability is located among the thresholds once, and the windows of a recording are sorted once per class. The result is
//! one row per recording and number of votes: how many of the thresholds each class passes. One row gives the decisions at every
//! threshold, as steps along the thresholds; the steps of all recordings are added up, and running sums give the counts at each
//! threshold. From one fraction to the next, only recordings whose needed votes change are removed and added again: over a whole
//! grid each row is touched about twice, however many fractions there are.

use rayon::prelude::*;

use super::best_point::Point;
use crate::aggregation::{is_above, reaches, votes_needed};
use crate::metrics::decision_scores;
use crate::metrics::tally::{self, Tally};
use crate::predictions::{Predictions, WindowPredictions};
use timbre_core::labels::Labels;

/// When a probability passes a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// When it is above: the vote of a window.
    MoreThan,
    /// When it is at least the threshold: the score of a recording.
    AtLeast,
}

/// The recordings of one split, prepared for scoring at any thresholds and with any weights.
pub struct ThresholdGrid {
    /// The thresholds, ascending.
    pub cutoffs: Vec<f64>,
    /// Empty where recordings are decided by one score.
    pub fractions: Vec<f64>,
    pub(super) n_classes: usize,
    /// Recording r has the rows `bounds[r]..bounds[r + 1]`; its m-th row is for m + 1 votes.
    bounds: Vec<usize>,
    /// The steps of a row, those at high thresholds first: `n_classes` per row.
    steps: Vec<Step>,
    pub(super) truth: Vec<Labels>,
    /// Precision, recall, F1, Jaccard index and exactness by (classes, decided classes, classes in both).
    values: Values,
}

/// A class that is decided by the first `passed` thresholds and by none above.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub passed: u16,
    pub class: u16,
    pub is_true: bool,
}

/// The scores of every point, ordered by fraction, then threshold.
pub struct Surface {
    /// The number of thresholds.
    pub cutoffs: usize,
    /// Every metric of [`decision_scores::NAMES`] at each point.
    pub scores: Vec<[f64; decision_scores::NAMES.len()]>,
}

impl Surface {
    /// Every metric at one point.
    pub fn at(&self, point: Point) -> &[f64; decision_scores::NAMES.len()] {
        &self.scores[point.fraction * self.cutoffs + point.cutoff]
    }

    /// One metric at every point.
    pub fn of(&self, metric: usize) -> Vec<f64> {
        self.scores.iter().map(|scores| scores[metric]).collect()
    }
}

impl ThresholdGrid {
    /// For votes of windows. `truth`: the classes of each recording, ascending. Thresholds and fractions are ascending.
    pub fn of_windows(
        windows: &WindowPredictions,
        truth: &[Labels],
        cutoffs: Vec<f64>,
        fractions: Vec<f64>,
    ) -> ThresholdGrid {
        ThresholdGrid::new(
            &windows.probabilities,
            windows.bounds.clone(),
            windows.n_classes,
            truth,
            cutoffs,
            fractions,
            Comparison::MoreThan,
        )
    }

    /// For one score per recording and class.
    pub fn of_scores(scores: &Predictions, truth: &[Labels], cutoffs: Vec<f64>) -> ThresholdGrid {
        let bounds = (0..=scores.len()).collect();
        ThresholdGrid::new(
            &scores.probabilities,
            bounds,
            scores.n_classes,
            truth,
            cutoffs,
            Vec::new(),
            Comparison::AtLeast,
        )
    }

    fn new(
        probabilities: &[f32],
        bounds: Vec<usize>,
        n_classes: usize,
        truth: &[Labels],
        cutoffs: Vec<f64>,
        fractions: Vec<f64>,
        rule: Comparison,
    ) -> ThresholdGrid {
        assert_eq!(bounds.len(), truth.len() + 1, "one truth per recording");
        assert!(
            cutoffs.is_sorted() && fractions.is_sorted() && cutoffs.len() < usize::from(u16::MAX),
            "axes are ascending"
        );
        let recording = |(r, truth): (usize, &Labels)| {
            let own = &probabilities[bounds[r] * n_classes..bounds[r + 1] * n_classes];
            steps_of(own, n_classes, truth, &cutoffs, rule)
        };
        let steps: Vec<Vec<Step>> = truth.par_iter().enumerate().with_min_len(64).map(recording).collect();
        let most = truth.iter().map(|truth| truth.len()).max().unwrap_or(0);
        ThresholdGrid {
            cutoffs,
            fractions,
            n_classes,
            bounds,
            steps: steps.concat(),
            truth: truth.to_vec(),
            values: Values::new(most, n_classes),
        }
    }

    /// The scores of every point. `times`: how often each recording counts.
    pub fn surface(&self, times: &[u32]) -> Surface {
        let mut surface = Surface { cutoffs: self.cutoffs.len(), scores: Vec::with_capacity(self.points()) };
        self.each_point(times, true, |tally| surface.scores.push(tally.scores()));
        surface
    }

    /// One metric at every point, equal to [`surface`](Self::surface); cheaper.
    pub fn one_metric(&self, times: &[u32], metric: usize) -> Vec<f64> {
        let mut scores = Vec::with_capacity(self.points());
        self.each_point(times, decision_scores::is_of_recordings(metric), |tally| scores.push(tally.score(metric)));
        scores
    }

    /// The number of points.
    pub fn points(&self) -> usize {
        self.cutoffs.len() * self.fractions.len().max(1)
    }

    /// The number of recordings.
    pub fn recordings(&self) -> usize {
        self.truth.len()
    }

    /// The tally of one point.
    pub fn tally_at(&self, point: Point, times: &[u32]) -> Tally {
        self.tally_of(point.fraction, &vec![point.cutoff; self.n_classes], times)
    }

    /// The tally at one fraction and one threshold per class.
    pub fn tally_of(&self, fraction: usize, cutoffs: &[usize], times: &[u32]) -> Tally {
        let mut tally = Tally::new(self.n_classes);
        let rows = self.rows_for(fraction);
        for (recording, (truth, &times)) in self.truth.iter().zip(times).enumerate() {
            if times > 0 {
                let decided = self.decided(rows[recording], cutoffs);
                tally.count(truth, &decided, times);
            }
        }
        tally
    }

    fn decided(&self, row: Option<usize>, cutoffs: &[usize]) -> Vec<usize> {
        let passes = |step: &&Step| usize::from(step.passed) > cutoffs[usize::from(step.class)];
        let mut decided: Vec<usize> =
            row.map_or(Vec::new(), |row| self.row(row).iter().filter(passes).map(|s| usize::from(s.class)).collect());
        decided.sort_unstable();
        decided
    }

    pub(super) fn row(&self, row: usize) -> &[Step] {
        &self.steps[row * self.n_classes..(row + 1) * self.n_classes]
    }

    /// The row of each recording at a fraction; None where no number of votes is enough.
    pub(super) fn rows_for(&self, fraction: usize) -> Vec<Option<usize>> {
        let row = |bounds: &[usize]| {
            let windows = bounds[1] - bounds[0];
            let needed = match self.fractions.get(fraction) {
                Some(&fraction) => votes_needed(windows, fraction).max(1),
                None => 1,
            };
            (needed <= windows).then(|| bounds[0] + needed - 1)
        };
        self.bounds.windows(2).map(row).collect()
    }

    /// Visits all points, fraction by fraction. `of_recordings`: also count the scores of single recordings.
    fn each_point(&self, times: &[u32], of_recordings: bool, mut on: impl FnMut(&Tally)) {
        assert_eq!(times.len(), self.truth.len(), "how often each recording counts");
        let mut sums = Sums::new(self, times);
        let mut now: Vec<Option<usize>> = vec![None; self.truth.len()];
        for fraction in 0..self.fractions.len().max(1) {
            for (recording, (row, now)) in self.rows_for(fraction).into_iter().zip(&mut now).enumerate() {
                if times[recording] > 0 && row != *now {
                    let (truth, times) = (self.truth[recording].len(), i64::from(times[recording]));
                    now.iter().for_each(|row| sums.add(self, *row, truth, -times, of_recordings));
                    row.into_iter().for_each(|row| sums.add(self, row, truth, times, of_recordings));
                    *now = row;
                }
            }
            sums.each_cutoff(&mut on);
        }
    }
}

/// The steps of one recording: one row per number of votes.
fn steps_of(own: &[f32], n_classes: usize, truth: &Labels, cutoffs: &[f64], rule: Comparison) -> Vec<Step> {
    let windows = own.len() / n_classes.max(1);
    let passed = |p: f32| {
        let count = match rule {
            Comparison::MoreThan => cutoffs.partition_point(|&cutoff| is_above(p, cutoff)),
            Comparison::AtLeast => cutoffs.partition_point(|&cutoff| reaches(p, cutoff)),
        };
        count as u16
    };
    let mut steps = vec![Step { passed: 0, class: 0, is_true: false }; own.len()];
    let mut of_class = vec![0; windows];
    for class in 0..n_classes {
        // An unknown class passes no threshold, as if it were never decided.
        let is_known = truth.is_known(class);
        for (window, passes) in of_class.iter_mut().enumerate() {
            *passes = if is_known { passed(own[window * n_classes + class]) } else { 0 };
        }
        of_class.sort_unstable_by(|a, b| b.cmp(a));
        let is_true = truth.contains(&class);
        for (window, &passed) in of_class.iter().enumerate() {
            steps[window * n_classes + class] = Step { passed, class: class as u16, is_true };
        }
    }
    for row in steps.chunks_exact_mut(n_classes.max(1)) {
        row.sort_unstable_by_key(|step| std::cmp::Reverse((step.passed, step.class)));
    }
    steps
}

/// The scores of single recordings: what each further decided class adds.
struct Values {
    n_classes: usize,
    /// By (classes, decided classes, classes in both): precision, recall, F1, Jaccard index in fixed point, and 1 if exact.
    table: Vec<[i64; 5]>,
    most: usize,
}

impl Values {
    fn new(most: usize, n_classes: usize) -> Values {
        let mut table = Vec::with_capacity((most + 1) * (n_classes + 1) * (most + 1));
        for truth in 0..=most as u64 {
            for decided in 0..=n_classes as u64 {
                for common in 0..=most as u64 {
                    // Impossible combinations are never looked up.
                    let own = if common <= truth.min(decided) { values(truth, decided, common) } else { [0; 5] };
                    table.push(own);
                }
            }
        }
        Values { n_classes, table, most }
    }

    fn of(&self, truth: usize, decided: usize, common: usize) -> &[i64; 5] {
        &self.table[(truth * (self.n_classes + 1) + decided) * (self.most + 1) + common]
    }
}

/// What one recording adds to the sums of a tally; the last is 1 if its classes are exactly right.
pub(super) fn values(truth: u64, decided: u64, common: u64) -> [i64; 5] {
    let [precision, recall, f1, jaccard] = tally::scores_of_recording(truth, decided, common);
    [precision, recall, f1, jaccard, i64::from(truth == common && decided == common)]
}

/// The steps of the recordings, summed by the number of thresholds that they pass.
struct Sums {
    /// By (passed, class): recordings with the class decided so far, and how many of them have it.
    classes: Vec<[i64; 2]>,
    /// By the number of thresholds passed.
    recordings: Vec<[i64; 5]>,
    /// What recordings without decisions add: above all thresholds nothing is decided.
    nothing: [i64; 5],
    /// Without decisions, until [`Self::each_cutoff`] fills in the counts of a threshold.
    tally: Tally,
    n_classes: usize,
}

impl Sums {
    fn new(grid: &ThresholdGrid, times: &[u32]) -> Sums {
        let (levels, n_classes) = (grid.cutoffs.len() + 1, grid.n_classes);
        let (mut tally, mut nothing) = (Tally::new(n_classes), [0; 5]);
        for (truth, &times) in grid.truth.iter().zip(times) {
            tally.count_classes(truth, &[], times);
            let own = grid.values.of(truth.len(), 0, 0);
            nothing.iter_mut().zip(own).for_each(|(sum, value)| *sum += value * i64::from(times));
        }
        Sums { classes: vec![[0; 2]; levels * n_classes], recordings: vec![[0; 5]; levels], nothing, tally, n_classes }
    }

    fn add(&mut self, grid: &ThresholdGrid, row: usize, truth: usize, times: i64, of_recordings: bool) {
        let (mut common, mut before) = (0, grid.values.of(truth, 0, 0));
        for (decided, step) in grid.row(row).iter().enumerate() {
            let level = usize::from(step.passed);
            if level == 0 {
                // A class that passes no threshold is never decided, and neither are those after it.
                break;
            }
            let own = &mut self.classes[level * self.n_classes + usize::from(step.class)];
            own[0] += times;
            own[1] += times * i64::from(step.is_true);
            if of_recordings {
                common += usize::from(step.is_true);
                let after = grid.values.of(truth, decided + 1, common);
                let own = &mut self.recordings[level];
                own.iter_mut().zip(after.iter().zip(before)).for_each(|(sum, (a, b))| *sum += (a - b) * times);
                before = after;
            }
        }
    }

    /// Visits the tally at each threshold, in their order.
    fn each_cutoff(&mut self, on: &mut impl FnMut(&Tally)) {
        let levels = self.recordings.len();
        let n = self.n_classes;
        // Running sums from the highest threshold down, replacing the steps: `sums[level]` is for the threshold `level - 1`.
        let (mut classes, mut recordings) = (self.classes.clone(), self.recordings.clone());
        for level in (1..levels - 1).rev() {
            for class in 0..n {
                let above = classes[(level + 1) * n + class];
                let own = &mut classes[level * n + class];
                *own = [own[0] + above[0], own[1] + above[1]];
            }
            let above = recordings[level + 1];
            recordings[level].iter_mut().zip(above).for_each(|(own, above)| *own += above);
        }
        for level in 1..levels {
            for (counts, own) in self.tally.classes.iter_mut().zip(&classes[level * n..(level + 1) * n]) {
                (counts.predicted, counts.hits) = (own[0] as u64, own[1] as u64);
            }
            let own = recordings[level];
            for (at, sum) in self.tally.samples.iter_mut().enumerate() {
                *sum = self.nothing[at] + own[at];
            }
            self.tally.exact = (self.nothing[4] + own[4]) as u64;
            on(&self.tally);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::aggregation::Aggregate;
    use crate::metrics::{DecisionRule, multi_label};
    use crate::threshold_search::{best_point, coordinate_ascent};
    use timbre_core::labels::Task;

    #[derive(Clone, Debug)]
    struct Case {
        windows: WindowPredictions,
        truth: Vec<Labels>,
        cutoffs: Vec<f64>,
        fractions: Vec<f64>,
        times: Vec<u32>,
    }

    /// Few distinct probabilities, so that many equal a threshold, and numbers of windows that share fractions.
    fn cases() -> impl Strategy<Value = Case> {
        (1usize..5, prop::collection::vec(1usize..7, 1..8)).prop_flat_map(|(k, counts)| {
            let n: usize = counts.iter().sum();
            let set = || prop::collection::btree_set(0..k, 0..=k).prop_map(|set| set.into_iter().collect::<Vec<_>>());
            let sets = (set(), set(), any::<bool>())
                .prop_map(|(present, unknown, known)| Labels::new(present, if known { vec![] } else { unknown }));
            let axis = |most: f64| {
                prop::collection::btree_set(0u8..20, 1..7)
                    .prop_map(move |set| set.into_iter().map(|n| f64::from(n) / 20.0 * most).collect::<Vec<f64>>())
            };
            let starts: Vec<Vec<f64>> = counts.iter().map(|&n| vec![0.0; n]).collect();
            (
                prop::collection::vec((0u8..=20).prop_map(|n| f32::from(n) / 20.0), n * k),
                prop::collection::vec(sets, counts.len()),
                axis(1.0),
                axis(1.0),
                prop::collection::vec(0u32..4, counts.len()),
            )
                .prop_map(move |(probabilities, truth, cutoffs, fractions, times)| Case {
                    windows: WindowPredictions::new(Predictions { n_classes: k, probabilities }, &starts),
                    truth,
                    cutoffs,
                    fractions,
                    times,
                })
        })
    }

    fn decision_rule() -> DecisionRule {
        DecisionRule { task: Task::MultiLabel, aggregate: Aggregate::Vote, ..DecisionRule::default() }
    }

    fn values_of(truth: &[Labels], decided: &[Vec<usize>], n_classes: usize) -> Vec<f64> {
        multi_label(truth, decided, n_classes).metrics.into_values().collect()
    }

    /// Each recording as often as it counts.
    fn repeated<T: Clone>(items: &[T], times: &[u32]) -> Vec<T> {
        items.iter().zip(times).flat_map(|(item, &n)| std::iter::repeat_n(item.clone(), n as usize)).collect()
    }

    proptest! {
        #[test]
        fn every_score_of_the_grid_equals_scoring_the_run_at_that_point(case in cases()) {
            let n = case.windows.n_classes;
            let grid = ThresholdGrid::of_windows(&case.windows, &case.truth, case.cutoffs.clone(), case.fractions.clone());
            let once = vec![1; case.truth.len()];
            let (plain, weighted) = (grid.surface(&once), grid.surface(&case.times));
            for (f, &window_fraction) in case.fractions.iter().enumerate() {
                for (c, &cutoff) in case.cutoffs.iter().enumerate() {
                    let point = Point { cutoff: c, fraction: f };
                    let decided = DecisionRule { cutoff, window_fraction, ..decision_rule() }.decide_windows(&case.windows).decided;
                    prop_assert_eq!(&plain.at(point)[..], &values_of(&case.truth, &decided, n)[..]);
                    let many = values_of(&repeated(&case.truth, &case.times), &repeated(&decided, &case.times), n);
                    prop_assert_eq!(&weighted.at(point)[..], &many[..]);
                    prop_assert_eq!(grid.tally_at(point, &once).scores(), *plain.at(point));
                }
            }
            for metric in 0..decision_scores::NAMES.len() {
                prop_assert_eq!(grid.one_metric(&case.times, metric), weighted.of(metric));
            }
        }

        #[test]
        fn scores_of_whole_recordings_are_thresholded_as_in_a_run(case in cases()) {
            let scores = Aggregate::Mean.clip_scores(&case.windows, &vec![0.5; case.windows.n_classes]);
            let grid = ThresholdGrid::of_scores(&scores, &case.truth, case.cutoffs.clone());
            let surface = grid.surface(&vec![1; case.truth.len()]);
            prop_assert_eq!(surface.scores.len(), case.cutoffs.len());
            for (c, &cutoff) in case.cutoffs.iter().enumerate() {
                let decided = DecisionRule { cutoff, aggregate: Aggregate::Mean, ..decision_rule() }.decide(&scores);
                let values = values_of(&case.truth, &decided, scores.n_classes);
                prop_assert_eq!(&surface.at(Point { cutoff: c, fraction: 0 })[..], &values[..]);
            }
        }

        #[test]
        fn thresholds_per_class_are_scored_as_in_a_run_and_no_single_change_is_better(case in cases()) {
            let n = case.windows.n_classes;
            let grid = ThresholdGrid::of_windows(&case.windows, &case.truth, case.cutoffs.clone(), case.fractions.clone());
            prop_assume!(case.times.iter().any(|&n| n > 0));
            for metric in [0, 1, 4, 8, 16] {
                let scores = grid.one_metric(&case.times, metric);
                let start = best_point(&scores, case.cutoffs.len());
                let own = coordinate_ascent(&grid, start.fraction, start.cutoff, metric, &case.times);
                let score = |cutoffs: &[usize]| {
                    let decision_rule = DecisionRule {
                        cutoffs: cutoffs.iter().map(|&c| case.cutoffs[c]).collect(),
                        window_fraction: case.fractions[start.fraction],
                        ..decision_rule()
                    };
                    let decided = decision_rule.decide_windows(&case.windows).decided;
                    values_of(&repeated(&case.truth, &case.times), &repeated(&decided, &case.times), n)[metric]
                };
                prop_assert_eq!(score(&own.cutoffs), own.score);
                prop_assert!(own.score >= scores[start.fraction * case.cutoffs.len() + start.cutoff]);
                for class in 0..n {
                    for cutoff in 0..case.cutoffs.len() {
                        let mut other = own.cutoffs.clone();
                        other[class] = cutoff;
                        prop_assert!(score(&other) <= own.score);
                    }
                }
            }
        }
    }
}
