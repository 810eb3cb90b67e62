//! Counts of right and wrong decisions of a multi-label task, and the scores that follow from them.
//!
//! Every score of decisions, whoever asks (a run's tables, the bootstrap, the threshold search), is a function of these counts,
//! so that equal decisions have equal scores to the last bit. Means over recordings are sums in fixed point (42 binary
//! places: an error of at most 1.2e-13), which no order of adding changes; up to two million recordings fit.

/// The scores, in the order of the tables.
pub const NAMES: [&str; 18] = [
    "hamming",
    "exact_match",
    "precision_micro",
    "recall_micro",
    "f1_micro",
    "jaccard_micro",
    "precision_macro",
    "recall_macro",
    "f1_macro",
    "jaccard_macro",
    "precision_weighted",
    "recall_weighted",
    "f1_weighted",
    "jaccard_weighted",
    "precision_samples",
    "recall_samples",
    "f1_samples",
    "jaccard_samples",
];

/// What is known of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassCounts {
    /// Recordings of this class.
    pub support: u64,
    /// Recordings decided to be of this class.
    pub predicted: u64,
    /// Recordings for which both are true.
    pub hits: u64,
}

/// What is known of a set of decisions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub n: u64,
    pub classes: Vec<ClassCounts>,
    /// Recordings whose classes are exactly right.
    pub exact: u64,
    /// Sums over the recordings of what [`of_recording`] gives.
    pub samples: [i64; 4],
}

/// One, in fixed point.
const ONE: f64 = (1u64 << 42) as f64;

/// Precision, recall, F1 and Jaccard index of one recording, in fixed point: 0 where they are undefined.
pub fn of_recording(truth: u64, decided: u64, common: u64) -> [i64; 4] {
    [(common, decided), (common, truth), (2 * common, truth + decided), (common, truth + decided - common)]
        .map(|(part, whole)| (share(part, whole) * ONE).round() as i64)
}

impl Tally {
    pub fn new(n_classes: usize) -> Tally {
        Tally { classes: vec![ClassCounts::default(); n_classes], ..Tally::default() }
    }

    /// Counts one recording `times` times; its classes are ascending.
    pub fn count(&mut self, truth: &[usize], decided: &[usize], times: u32) {
        let weight = u64::from(times);
        truth.iter().for_each(|&class| self.classes[class].support += weight);
        decided.iter().for_each(|&class| self.classes[class].predicted += weight);
        let both = decided.iter().filter(|class| truth.contains(class));
        let common = both.inspect(|&&class| self.classes[class].hits += weight).count() as u64;
        self.n += weight;
        self.exact += if truth == decided { weight } else { 0 };
        let own = of_recording(truth.len() as u64, decided.len() as u64, common);
        self.samples.iter_mut().zip(own).for_each(|(sum, value)| *sum += value * i64::from(times));
    }

    /// The scores in the order of [`NAMES`].
    pub fn scores(&self) -> [f64; NAMES.len()] {
        let micro = self.classes.iter().fold(ClassCounts::default(), |sum, class| ClassCounts {
            support: sum.support + class.support,
            predicted: sum.predicted + class.predicted,
            hits: sum.hits + class.hits,
        });
        let cells = self.n * self.classes.len() as u64;
        let wrong = micro.support + micro.predicted - 2 * micro.hits;
        let macros = self.mean(self.classes.len() as u64, |_| 1);
        let weighted = self.mean(micro.support, |class| class.support);
        let samples = self.samples.map(|sum| sum as f64 / ONE / self.n.max(1) as f64);
        let mut scores = [0.0; NAMES.len()];
        scores[0] = share(cells - wrong, cells);
        scores[1] = share(self.exact, self.n);
        for (at, four) in [micro.scores(), macros, weighted, samples].into_iter().enumerate() {
            scores[2 + 4 * at..6 + 4 * at].copy_from_slice(&four);
        }
        scores
    }

    /// One of the scores, by its place in [`NAMES`].
    pub fn score(&self, metric: usize) -> f64 {
        self.scores()[metric]
    }

    fn mean(&self, whole: u64, weight: impl Fn(&ClassCounts) -> u64) -> [f64; 4] {
        let mut sums = [0.0; 4];
        for class in &self.classes {
            let weight = weight(class) as f64;
            sums.iter_mut().zip(class.scores()).for_each(|(sum, score)| *sum += score * weight);
        }
        sums.map(|sum| sum / whole.max(1) as f64)
    }
}

impl ClassCounts {
    /// Precision, recall, F1 and Jaccard index: 0 where they are undefined.
    pub fn scores(&self) -> [f64; 4] {
        let named = self.support + self.predicted;
        [
            share(self.hits, self.predicted),
            share(self.hits, self.support),
            share(2 * self.hits, named),
            share(self.hits, named - self.hits),
        ]
    }
}

pub(super) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Where a metric stands in [`NAMES`].
pub fn position(metric: &str) -> Option<usize> {
    NAMES.iter().position(|name| *name == metric)
}

/// Whether a score is made of single recordings (`exact`, `samples`), not of the counts of the classes alone.
pub fn is_of_recordings(metric: usize) -> bool {
    NAMES[metric] == "exact_match" || NAMES[metric].ends_with("_samples")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_recordings_changes_no_bit() {
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
            order.for_each(|(truth, decided)| tally.count(truth, decided, 1));
            tally
        };
        let (there, back) = (tally(&mut pairs.iter()), tally(&mut pairs.iter().rev()));
        assert_eq!(there, back);
        assert_eq!(there.scores(), back.scores());
    }

    #[test]
    fn a_recording_counted_twice_is_two_recordings() {
        let (mut twice, mut two) = (Tally::new(3), Tally::new(3));
        twice.count(&[0, 2], &[0], 2);
        (0..2).for_each(|_| two.count(&[0, 2], &[0], 1));
        assert_eq!(twice, two);
    }
}
