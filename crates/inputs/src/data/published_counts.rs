//! Numbers of recordings as the publisher of a set counts them.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DataSet, Subset};

/// The numbers of a set as published; what is not given is not compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PublishedCounts {
    /// All recordings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recordings: Option<usize>,
    /// Recordings of the training subset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub training: Option<usize>,
    /// Recordings of the validation subset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<usize>,
    /// Recordings of the testing subset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub testing: Option<usize>,
    /// Recordings of each class, of all subsets.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub classes: IndexMap<String, usize>,
}

impl PublishedCounts {
    pub(super) fn is_empty(&self) -> bool {
        *self == PublishedCounts::default()
    }

    /// Where the set has other numbers, in sentences.
    pub fn differences(&self, set: &DataSet) -> Vec<String> {
        let of = |subset: Subset| set.records.iter().filter(|record| record.subset == subset).count();
        let mut compared = vec![
            ("recordings".to_owned(), self.recordings, set.records.len()),
            ("training recordings".to_owned(), self.training, of(Subset::Training)),
            ("validation recordings".to_owned(), self.validation, of(Subset::Validation)),
            ("testing recordings".to_owned(), self.testing, of(Subset::Testing)),
        ];
        for (class, published) in &self.classes {
            let label = set.classes.index(class);
            let here = set.records.iter().filter(|record| label.is_some_and(|label| record.labels.contains(&label)));
            compared.push((format!("recordings of {class}"), Some(*published), here.count()));
        }
        let differs = |(what, published, here): (String, Option<usize>, usize)| {
            published
                .filter(|published| *published != here)
                .map(|published| format!("{here} {what}; published are {published}"))
        };
        compared.into_iter().filter_map(differs).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ClipRecord;
    use timbre_core::labels::Classes;

    #[test]
    fn only_numbers_that_are_given_and_differ_are_named() {
        let record = |id: &str, subset| ClipRecord { subset, ..ClipRecord::new(id, id, vec![0]) };
        let set = DataSet {
            name: "x".into(),
            classes: Classes::new(["p", "q"]),
            records: vec![record("1", Subset::Training), record("2", Subset::Testing), record("3", Subset::Testing)],
            notes: Vec::new(),
        };
        let counts: PublishedCounts =
            toml::from_str("recordings = 3\ntraining = 2\ntesting = 2\nclasses = { p = 3, q = 1, r = 4 }").unwrap();
        let differences = counts.differences(&set);
        assert_eq!(
            differences,
            [
                "1 training recordings; published are 2",
                "0 recordings of q; published are 1",
                "0 recordings of r; published are 4"
            ]
        );
        assert!(PublishedCounts::default().differences(&set).is_empty());
    }
}
