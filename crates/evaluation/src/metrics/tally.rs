//! Counts of right and wrong decisions, and the scores computed from them.
//!
//! Every score of decisions (in a run's tables, in the bootstrap, in the threshold search) is a function of these counts, so
//! equal decisions have equal scores to the last bit. Means over recordings are sums in fixed point (42 binary places: an
//! error of at most 1.2e-13), which do not depend on the order of addition; up to two million recordings fit.
//!
//! Conventions: scikit-learn's with `zero_division=0`. Multi-label means run over all classes of the data set. Single-label
//! macro means run over the classes that occur in the truth or in the decisions (scikit-learn's default labels), and
//! `balanced_accuracy` over the classes that occur in the truth. `matthews` is the multi-class correlation R_K, 0 where it is
//! undefined.
//!
//! Unknown labels: a pair of a recording and a class whose label is unknown counts nowhere: each class is scored as by
//! scikit-learn on the rows whose label is known. A recording is scored over its known classes. A class that is unknown in every
//! recording is left out of macro means.

use timbre_core::labels::Labels;

/// The counts of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassCounts {
    /// Recordings of this class.
    pub support: u64,
    /// Recordings decided to be of this class.
    pub predicted: u64,
    /// Recordings for which both are true.
    pub hits: u64,
    /// Recordings of which it is unknown whether they are of this class.
    pub unknown: u64,
}

impl ClassCounts {
    /// This and the next three are 0 where they are undefined.
    pub fn precision(&self) -> f64 {
        share(self.hits, self.predicted)
    }

    /// `hits / support`.
    pub fn recall(&self) -> f64 {
        share(self.hits, self.support)
    }

    /// The harmonic mean of precision and recall.
    pub fn f1(&self) -> f64 {
        share(2 * self.hits, self.support + self.predicted)
    }

    /// `hits` as a share of the recordings that are of this class or decided to be.
    pub fn jaccard(&self) -> f64 {
        share(self.hits, self.support + self.predicted - self.hits)
    }
}

/// The counts of a set of decisions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The number of recordings, each as often as it was counted.
    pub n: u64,
    /// The counts of each class, by label.
    pub classes: Vec<ClassCounts>,
    /// Recordings whose classes are exactly right.
    pub exact: u64,
    /// Sums of [`scores_of_recording`] over the recordings.
    pub samples: [i64; 4],
}

/// One, in fixed point.
const ONE: f64 = (1u64 << 42) as f64;

/// Precision, recall, F1 and Jaccard index of one recording, in fixed point; 0 where they are undefined.
pub fn scores_of_recording(truth: u64, decided: u64, common: u64) -> [i64; 4] {
    [(common, decided), (common, truth), (2 * common, truth + decided), (common, truth + decided - common)]
        .map(|(part, whole)| (share(part, whole) * ONE).round() as i64)
}

impl Tally {
    /// A tally without recordings.
    ///
    /// ```
    /// use timbre_core::labels::Labels;
    /// use timbre_evaluation::metrics::tally::Tally;
    ///
    /// let mut tally = Tally::new(3);
    /// tally.count(&Labels::new(vec![0, 2], Vec::new()), &[0, 1], 1);
    /// let hits: Vec<u64> = tally.classes.iter().map(|class| class.hits).collect();
    /// assert_eq!((hits, tally.exact), (vec![1, 0, 0], 0));
    /// ```
    pub fn new(n_classes: usize) -> Tally {
        Tally { classes: vec![ClassCounts::default(); n_classes], ..Tally::default() }
    }

    /// Counts one recording `times` times. The decided classes are ascending.
    pub fn count(&mut self, truth: &Labels, decided: &[usize], times: u32) {
        let decided = &*truth.known_of(decided);
        let common = self.count_known(truth, decided, times);
        self.exact += if *truth.present() == *decided { u64::from(times) } else { 0 };
        self.count_unknown(truth, times);
        let own = scores_of_recording(truth.len() as u64, decided.len() as u64, common);
        self.samples.iter_mut().zip(own).for_each(|(sum, value)| *sum += value * i64::from(times));
    }

    /// [`Self::count`] without the sums over recordings, which only scores of recordings need.
    pub(crate) fn count_classes(&mut self, truth: &Labels, decided: &[usize], times: u32) {
        self.count_known(truth, &truth.known_of(decided), times);
        self.count_unknown(truth, times);
    }

    fn count_unknown(&mut self, truth: &Labels, times: u32) {
        truth.unknown().iter().for_each(|&class| self.classes[class].unknown += u64::from(times));
    }

    /// Counts a recording whose decided classes are all known. Returns the number of classes that are both true and decided.
    pub(super) fn count_known(&mut self, truth: &[usize], decided: &[usize], times: u32) -> u64 {
        let weight = u64::from(times);
        truth.iter().for_each(|&class| self.classes[class].support += weight);
        decided.iter().for_each(|&class| self.classes[class].predicted += weight);
        self.n += weight;
        let both = decided.iter().filter(|class| truth.contains(class));
        both.inspect(|&&class| self.classes[class].hits += weight).count() as u64
    }

    /// The counts of all classes together.
    pub(super) fn total(&self) -> ClassCounts {
        self.classes.iter().fold(ClassCounts::default(), |sum, class| ClassCounts {
            support: sum.support + class.support,
            predicted: sum.predicted + class.predicted,
            hits: sum.hits + class.hits,
            unknown: sum.unknown + class.unknown,
        })
    }

    /// One minus scikit-learn's `hamming_loss`.
    pub(super) fn hamming(&self) -> f64 {
        let (total, cells) = (self.total(), self.n * self.classes.len() as u64);
        let cells = cells - total.unknown;
        share(cells - (total.support + total.predicted - 2 * total.hits), cells)
    }

    pub(super) fn exact_match(&self) -> f64 {
        share(self.exact, self.n)
    }

    pub(super) fn macro_mean(&self, score: fn(&ClassCounts) -> f64) -> f64 {
        mean(self.classes.iter().filter(|class| class.unknown < self.n).map(score))
    }

    /// Weighted by the recordings of each class.
    pub(super) fn weighted_mean(&self, score: fn(&ClassCounts) -> f64) -> f64 {
        let weighted = self.classes.iter().map(|class| score(class) * class.support as f64);
        sum(weighted) / self.total().support.max(1) as f64
    }

    /// Over the classes that occur in the truth or in the decisions. Others would count as failures without a trial.
    pub(super) fn mean_of_occurring(&self, score: fn(&ClassCounts) -> f64) -> f64 {
        mean(self.classes.iter().filter(|class| class.support + class.predicted > 0).map(score))
    }

    /// The mean over recordings of one of the [`scores_of_recording`].
    pub(super) fn samples_mean(&self, score: usize) -> f64 {
        self.samples[score] as f64 / ONE / self.n.max(1) as f64
    }

    pub(super) fn balanced_accuracy(&self) -> f64 {
        mean(self.classes.iter().filter(|class| class.support > 0).map(ClassCounts::recall))
    }

    /// 0 where truth and decisions are all of one class, and agreement tells nothing.
    pub(super) fn cohen_kappa(&self) -> f64 {
        let sum = |term: fn(&ClassCounts) -> u64| self.classes.iter().map(|c| i128::from(term(c))).sum::<i128>();
        let (hits, n) = (sum(|c| c.hits), sum(|c| c.support));
        let by_chance = sum(|c| c.support * c.predicted);
        let most = n.pow(2) - by_chance;
        if most == 0 { 0.0 } else { (hits * n - by_chance) as f64 / most as f64 }
    }

    pub(super) fn matthews(&self) -> f64 {
        let sum = |term: fn(&ClassCounts) -> u64| self.classes.iter().map(|c| i128::from(term(c))).sum::<i128>();
        let (hits, n) = (sum(|c| c.hits), sum(|c| c.support));
        let covariance = hits * n - sum(|c| c.support * c.predicted);
        let truth = n.pow(2) - sum(|c| c.support * c.support);
        let decided = n.pow(2) - sum(|c| c.predicted * c.predicted);
        if truth == 0 || decided == 0 {
            return 0.0;
        }
        covariance as f64 / ((truth as f64).sqrt() * (decided as f64).sqrt())
    }
}

/// From 0.0: `Iterator::sum` of nothing is -0.0.
fn sum(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, |sum, value| sum + value)
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let mut n = 0u64;
    sum(values.inspect(|_| n += 1)) / n.max(1) as f64
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_recordings_does_not_change_a_bit() {
        let pairs: Vec<(Vec<usize>, Vec<usize>)> = (0..500)
            .map(|i| {
                (
                    (0..7).filter(|c| (i * 31 + c * 17) % 5 < 2).collect(),
                    (0..7).filter(|c| (i * 7 + c * 3) % 4 == 0).collect(),
                )
            })
            .collect();
        let tally = |order: &mut dyn Iterator<Item = &(Vec<usize>, Vec<usize>)>| {
            let mut tally = Tally::new(7);
            order.for_each(|(truth, decided)| tally.count(&truth.clone().into(), decided, 1));
            tally
        };
        let (forward, backward) = (tally(&mut pairs.iter()), tally(&mut pairs.iter().rev()));
        assert_eq!(forward, backward);
        assert_eq!(forward.scores(), backward.scores());
    }

    #[test]
    fn a_recording_counted_twice_equals_two_recordings() {
        let (mut twice, mut two) = (Tally::new(3), Tally::new(3));
        let truth = vec![0, 2].into();
        twice.count(&truth, &[0], 2);
        (0..2).for_each(|_| two.count(&truth, &[0], 1));
        assert_eq!(twice, two);
    }

    #[test]
    fn unknown_pairs_count_nowhere() {
        let mut tally = Tally::new(3);
        // Class 2 is unknown everywhere. The decision for class 1 of the first recording is neither right nor wrong.
        tally.count(&Labels::new(vec![0], vec![1, 2]), &[0, 1, 2], 1);
        tally.count(&Labels::new(vec![], vec![2]), &[1], 1);
        assert_eq!(tally.hamming(), 2.0 / 3.0);
        assert_eq!((tally.total().predicted, tally.exact_match()), (2, 0.5));
        // Class 0 is right, class 1 has a wrong decision.
        assert_eq!(tally.macro_mean(ClassCounts::f1), 0.5);
        assert_eq!(Tally::new(2).macro_mean(ClassCounts::f1), 0.0);
    }
}
