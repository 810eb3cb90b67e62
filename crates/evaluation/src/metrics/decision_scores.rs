//! The scores of a [`Tally`] by name.

use indexmap::IndexMap;

use super::metric::{DECISIONS, Formula, METRICS};
use super::tally::Tally;
use timbre_core::labels::Task;

/// The names of the metrics of multi-label decisions, in the order of the tables.
pub const NAMES: [&str; DECISIONS.len()] = {
    let mut names = [""; DECISIONS.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = DECISIONS[at].name;
        at += 1;
    }
    names
};

impl Tally {
    /// The scores in the order of [`NAMES`].
    pub fn scores(&self) -> [f64; NAMES.len()] {
        std::array::from_fn(|metric| self.score(metric))
    }

    /// The score at that position of [`NAMES`].
    pub fn score(&self, metric: usize) -> f64 {
        match DECISIONS[metric].formula(Task::MultiLabel) {
            Some(Formula::Classes(formula) | Formula::Recordings(formula)) => formula(self),
            _ => unreachable!("DECISIONS has metrics of decisions only"),
        }
    }

    /// All metrics of decisions of a task by name, in the order of the tables.
    pub(super) fn metrics(&self, task: Task) -> IndexMap<String, f64> {
        let score = |formula| match formula {
            Formula::Classes(formula) | Formula::Recordings(formula) => Some(formula(self)),
            Formula::Probabilities(_) => None,
        };
        let named = METRICS.iter().filter_map(|entry| Some((entry.name.to_owned(), score(entry.formula(task)?)?)));
        named.collect()
    }
}

/// The position of a metric in [`NAMES`].
pub fn position(metric: &str) -> Option<usize> {
    NAMES.iter().position(|name| *name == metric)
}

/// Whether a score needs sums over single recordings and not only the counts of the classes.
pub fn is_of_recordings(metric: usize) -> bool {
    matches!(DECISIONS[metric].formula(Task::MultiLabel), Some(Formula::Recordings(_)))
}
