//! How often classes occur, and occur together.

use serde::Serialize;

use crate::data::DataSet;

/// How many pairs of classes the text names.
const PAIRS: usize = 5;

/// The balance of the labels of a data set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LabelBalance {
    pub classes: Vec<String>,
    /// Mean number of labels of a recording, and their share of the classes that are known of it.
    pub cardinality: f64,
    pub density: f64,
    /// The share of pairs of a recording and a class of which it is unknown whether they belong together.
    pub unknown: f64,
    /// Recordings of the largest class by those of the smallest that has any.
    pub imbalance: Option<f64>,
    /// Recordings with both classes, row by row; on the diagonal the recordings of a class.
    pub co_occurrence: Vec<Vec<usize>>,
}

impl LabelBalance {
    pub fn of(set: &DataSet) -> LabelBalance {
        let n = set.classes.len();
        let mut co_occurrence = vec![vec![0; n]; n];
        for record in &set.records {
            for &one in &record.labels {
                record.labels.iter().for_each(|&other| co_occurrence[one][other] += 1);
            }
        }
        let counts = || (0..n).map(|class| co_occurrence[class][class]).filter(|count| *count > 0);
        let labels: usize = counts().sum();
        let cardinality = labels as f64 / set.records.len().max(1) as f64;
        let pairs = n * set.records.len();
        let unknown: usize = set.records.iter().map(|record| record.labels.unknown().len()).sum();
        let imbalance = counts().max().zip(counts().min()).map(|(most, least)| most as f64 / least as f64);
        LabelBalance {
            classes: set.classes.names().to_vec(),
            cardinality,
            density: labels as f64 / (pairs - unknown).max(1) as f64,
            unknown: unknown as f64 / pairs.max(1) as f64,
            imbalance,
            co_occurrence,
        }
    }

    /// Pairs of different classes that occur together, the most frequent first.
    pub fn pairs(&self) -> Vec<(&str, &str, usize)> {
        let n = self.classes.len();
        let mut pairs: Vec<(&str, &str, usize)> = (0..n)
            .flat_map(|one| (one + 1..n).map(move |other| (one, other)))
            .map(|(one, other)| {
                (self.classes[one].as_str(), self.classes[other].as_str(), self.co_occurrence[one][other])
            })
            .filter(|pair| pair.2 > 0)
            .collect();
        pairs.sort_by_key(|pair| std::cmp::Reverse(pair.2));
        pairs
    }

    /// How many labels there are, and how they are distributed over the classes.
    pub fn sentence(&self) -> String {
        let known = if self.unknown > 0.0 { "known classes" } else { "classes" };
        let mut text = format!("{:.2} a recording, {:.1}% of the {known}", self.cardinality, 100.0 * self.density);
        if self.unknown > 0.0 {
            text += &format!("; {:.1}% of the pairs of a recording and a class are unknown", 100.0 * self.unknown);
        }
        let counts =
            || self.co_occurrence.iter().enumerate().map(|(class, row)| (row[class], class)).filter(|c| c.0 > 0);
        if let (Some(most), Some(least), Some(ratio)) = (counts().max(), counts().min(), self.imbalance) {
            let (most, least) = ((&self.classes[most.1], most.0), (&self.classes[least.1], least.0));
            text += &format!("; from {} of {} to {} of {}, {ratio:.1} to 1", least.1, least.0, most.1, most.0);
        }
        let absent = self.classes.len() - counts().count();
        if absent > 0 {
            text += &format!("; {absent} of {} classes have none", self.classes.len());
        }
        text
    }

    /// Lines for a terminal.
    pub fn text(&self) -> String {
        let mut text = format!("labels    {}", self.sentence());
        let pairs = self.pairs();
        if !pairs.is_empty() {
            let named: Vec<String> =
                pairs.iter().take(PAIRS).map(|(one, other, n)| format!("{one} + {other} {n}")).collect();
            text += &format!("\ntogether  {}", named.join(", "));
            if pairs.len() > PAIRS {
                text += &format!(", and {} other pairs", pairs.len() - PAIRS);
            }
        }
        text + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ClipRecord;
    use timbre_core::labels::Classes;

    #[test]
    fn labels_are_counted_alone_and_together() {
        let record = |id: &str, labels: &[usize]| ClipRecord::new(id, id, labels.to_vec());
        let set = DataSet {
            name: "x".into(),
            classes: Classes::new(["p", "q", "r", "s"]),
            records: vec![record("1", &[0, 1]), record("2", &[0]), record("3", &[0, 1, 2]), record("4", &[])],
            notes: Vec::new(),
        };
        let balance = LabelBalance::of(&set);
        assert_eq!(balance.co_occurrence, [[3, 2, 1, 0], [2, 2, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0]]);
        assert_eq!((balance.cardinality, balance.density, balance.imbalance), (1.5, 0.375, Some(3.0)));
        assert_eq!(balance.pairs(), [("p", "q", 2), ("p", "r", 1), ("q", "r", 1)]);
        assert_eq!(
            balance.text(),
            "labels    1.50 a recording, 37.5% of the classes; from 1 of r to 3 of p, 3.0 to 1; 1 of 4 classes have none\n\
             together  p + q 2, p + r 1, q + r 1\n"
        );
        let none = LabelBalance::of(&DataSet { records: Vec::new(), ..set });
        assert_eq!((none.cardinality, none.imbalance), (0.0, None));
    }
}
