//! Counts the recordings of a data set by subset, class, fold and number of labels.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{ClipRecord, DataSet, Subset};

/// Counts of a data set: `timbre data describe`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Description {
    pub name: String,
    pub recordings: usize,
    pub songs: usize,
    pub parts: Vec<SubsetCounts>,
    pub classes: Vec<ClassCounts>,
    /// Number of recordings with 0, 1, 2, … labels.
    pub by_label_count: Vec<usize>,
    /// Recordings of which not every class is known.
    #[serde(skip_serializing_if = "is_zero")]
    pub incomplete: usize,
    pub folds: BTreeMap<String, usize>,
}

/// Recordings and songs of a subset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SubsetCounts {
    #[serde(rename = "part")]
    pub subset: Subset,
    pub recordings: usize,
    pub songs: usize,
}

/// Recordings and songs of a class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClassCounts {
    pub class: String,
    pub training: usize,
    pub validation: usize,
    pub testing: usize,
    pub songs: usize,
    /// Recordings of which it is unknown whether they have the class.
    #[serde(skip_serializing_if = "is_zero")]
    pub unknown: usize,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Counts recordings and songs per class and subset. Lengths and rates are known only after decoding.
pub fn describe(set: &DataSet) -> Description {
    let songs_of = |keep: &dyn Fn(&ClipRecord) -> bool| {
        set.records.iter().filter(|r| keep(r)).map(|r| r.group.as_str()).collect::<BTreeSet<_>>().len()
    };
    let count = |keep: &dyn Fn(&ClipRecord) -> bool| set.records.iter().filter(|r| keep(r)).count();
    let classes = set.classes.names().iter().enumerate().map(|(label, class)| {
        let of = |subset: Subset| count(&|r| r.subset == subset && r.labels.contains(&label));
        ClassCounts {
            class: class.clone(),
            training: of(Subset::Training),
            validation: of(Subset::Validation),
            testing: of(Subset::Testing),
            songs: songs_of(&|r| r.labels.contains(&label)),
            unknown: count(&|r| !r.labels.is_known(label)),
        }
    });
    let parts = Subset::ALL.into_iter().map(|subset| SubsetCounts {
        subset,
        recordings: count(&|r| r.subset == subset),
        songs: songs_of(&|r| r.subset == subset),
    });
    let mut by_label_count = vec![0; set.records.iter().map(|r| r.labels.len() + 1).max().unwrap_or(0)];
    let mut folds = BTreeMap::new();
    for record in &set.records {
        by_label_count[record.labels.len()] += 1;
        if let Some(fold) = &record.fold {
            *folds.entry(fold.clone()).or_default() += 1;
        }
    }
    Description {
        name: set.name.clone(),
        recordings: set.records.len(),
        songs: songs_of(&|_| true),
        parts: parts.filter(|p| p.recordings > 0).collect(),
        classes: classes.collect(),
        by_label_count,
        incomplete: count(&|r| !r.labels.unknown().is_empty()),
        folds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbre_core::labels::Classes;

    fn record(id: &str, label: usize, subset: Subset) -> ClipRecord {
        ClipRecord { group: id[..1].into(), subset, ..ClipRecord::new(id, id, vec![label]) }
    }

    #[test]
    fn a_description_counts_recordings_and_songs() {
        let set = DataSet {
            name: "x".into(),
            classes: Classes::new(["p", "q"]),
            records: vec![
                record("a/1", 0, Subset::Training),
                record("a/2", 0, Subset::Training),
                record("b/1", 1, Subset::Testing),
            ],
            notes: Vec::new(),
        };
        let all = describe(&set);
        assert_eq!((all.recordings, all.songs, all.by_label_count), (3, 2, vec![0, 3]));
        assert_eq!(all.parts.len(), 2);
        assert_eq!((all.classes[0].training, all.classes[0].songs, all.classes[1].testing), (2, 1, 1));
    }
}
