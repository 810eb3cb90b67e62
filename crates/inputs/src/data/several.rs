//! Several data sets as one: their classes together, and which of them are for training and for testing.
//!
//! Conventions: ids and songs begin with the name of the set, so those of two sets never collide, and every recording has the name as
//! the tag `set`. The classes are those of the first set, then those that the second one adds, and so on. A class that a set does not
//! have is unknown in its recordings.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use indexmap::IndexSet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::labels::MissingLabel;
use super::{ClipRecord, CommonKeys, DataDirs, DataKind, DataSet, DataSpec, Subset, some_of, sorted_by_id};
use timbre_core::{
    labels::{Classes, Labels},
    registry::Fault,
    text::count,
};

/// The tag with the name of the set of a recording.
pub const SET_TAG: &str = "set";

/// Several data sets as one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Several {
    #[serde(flatten)]
    pub common: CommonKeys,
    /// The sets, each as in `[data]`: by name (`use = "irmas"`) or with a `kind` and its keys. `labels` of a set brings its classes to common
    /// names; `weight` says how much its recordings count in the fit.
    #[schemars(length(min = 2))]
    pub sets: Vec<DataSpec>,
    /// Names of the sets to train on. The recordings of the others are for testing alone: those that their makers declare for testing
    /// or, if there are none, all. Needs `[split] kind = "official"`. Default: all sets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub train_on: Vec<String>,
    /// Names of the sets to test on. The testing recordings of the others take no part. Needs `[split] kind = "official"`. Default: all
    /// sets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub test_on: Vec<String>,
    /// The label of a class that the set of a recording does not have: "unknown" or "absent". With one class per recording it is always absent.
    #[serde(skip_serializing_if = "MissingLabel::is_default")]
    pub missing: MissingLabel,
}

/// What a set is for.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Role {
    trains: bool,
    tests: bool,
}

impl DataKind for Several {
    fn version(&self) -> u32 {
        self.sets.iter().fold(1, |sum: u32, set| sum.wrapping_mul(101).wrapping_add(set.as_kind().version()))
    }

    fn common_keys(&self) -> &CommonKeys {
        &self.common
    }

    fn own_faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut fault = |key: &str, sentence: String| faults.push(Fault::new(key, sentence));
        if self.sets.len() < 2 {
            fault("sets", "name two sets or more, each in a table [[data.sets]]".to_owned());
        }
        let names = self.names();
        for (at, (set, name)) in self.sets.iter().zip(&names).enumerate() {
            if names[..at].contains(name) {
                fault(
                    "sets",
                    format!("two sets have the name `{name}`: describe one in a file data/NAME.toml, and `use` it"),
                );
            }
            if matches!(set, DataSpec::Several(_)) {
                fault("sets", format!("`{name}` is several sets itself: list them here"));
            }
            let common = set.as_kind().common_keys();
            if common.limit_per_class.is_some() {
                fault("sets", format!("`{name}` has a `limit_per_class`: set it in [data], for all sets together"));
            }
            if common.weight.is_some_and(|weight| !(weight > 0.0 && weight.is_finite())) {
                fault("sets", format!("the `weight` of `{name}` is not a number above 0"));
            }
            for found in common.faults().into_iter().chain(set.as_kind().own_faults()) {
                fault("sets", format!("`{}` of `{name}`: {}", found.key, found.sentence));
            }
        }
        for (key, chosen) in [("train_on", &self.train_on), ("test_on", &self.test_on)] {
            for name in chosen.iter().filter(|name| !names.contains(name)) {
                fault(key, format!("no set `{name}`; the sets are {}", names.join(", ")));
            }
        }
        let idle = |name: &&String| {
            let role = self.role(name);
            !role.trains && !role.tests
        };
        for name in names.iter().filter(idle) {
            fault("sets", format!("`{name}` is neither in `train_on` nor in `test_on`"));
        }
        faults
    }

    fn load(&self, dirs: &DataDirs) -> Result<DataSet> {
        self.join(|set| set.load(dirs))
    }

    fn load_planned(&self, dirs: &DataDirs) -> Result<DataSet> {
        self.join(|set| set.load_planned(dirs))
    }
}

impl Several {
    /// Whether sets are chosen for training or testing.
    pub fn has_roles(&self) -> bool {
        !self.train_on.is_empty() || !self.test_on.is_empty()
    }

    /// A set by its name.
    pub fn set_named(&self, name: &str) -> Option<&DataSpec> {
        self.names().iter().position(|own| own == name).map(|at| &self.sets[at])
    }

    fn names(&self) -> Vec<String> {
        self.sets.iter().map(|set| set.as_kind().common_keys().name_or(set.kind())).collect()
    }

    fn role(&self, name: &str) -> Role {
        let is_in = |chosen: &[String]| chosen.is_empty() || chosen.iter().any(|own| own == name);
        Role { trains: is_in(&self.train_on), tests: is_in(&self.test_on) }
    }

    fn join(&self, load: impl Fn(&DataSpec) -> Result<DataSet>) -> Result<DataSet> {
        let mut notes = Vec::new();
        let mut loaded: Vec<(String, f64, DataSet)> = Vec::new();
        for (spec, name) in self.sets.iter().zip(self.names()) {
            let mut set = load(spec)?;
            notes.extend(set.notes.iter().map(|note| format!("{name}: {note}")));
            notes.extend(self.apply_role(&name, &mut set)?);
            loaded.push((name, spec.as_kind().common_keys().weight.unwrap_or(1.0), set));
        }
        let some_have_songs = loaded.iter().any(|(.., set)| !set.has_no_songs());
        for (name, _, set) in loaded.iter().filter(|(.., set)| some_have_songs && set.has_no_songs()) {
            let files = count(set.records.len(), "file");
            notes.push(format!("{name}: each of {files} counts as a song of its own: the set has no `group`"));
        }
        notes.extend(self.check_classes(&loaded)?);
        notes.extend(mixed_cardinality(&loaded));
        let names = loaded.iter().flat_map(|(.., set)| set.classes.names().iter().cloned());
        let classes: IndexSet<String> = names.collect();
        let mut records = Vec::new();
        for (name, weight, set) in loaded {
            let number = |class: &usize| classes.get_index_of(set.classes.name(*class)).expect("a class of this set");
            let missing: Vec<usize> = match self.missing {
                MissingLabel::Unknown => {
                    (0..classes.len()).filter(|&class| set.classes.index(&classes[class]).is_none()).collect()
                }
                MissingLabel::Absent => Vec::new(),
            };
            for record in set.records {
                let unknown = record.labels.unknown().iter().map(number).chain(missing.iter().copied()).collect();
                let mut tags = record.tags;
                tags.insert(SET_TAG.to_owned(), name.clone());
                records.push(ClipRecord {
                    id: format!("{name}/{}", record.id),
                    labels: Labels::new(record.labels.iter().map(number).collect(), unknown),
                    group: format!("{name}/{}", record.group),
                    weight: record.weight * weight,
                    tags,
                    ..record
                });
            }
        }
        let name = self.common.name_or("several");
        let records = sorted_by_id(records, &name)?;
        Ok(DataSet { name, classes: Classes::new(classes), records, notes })
    }

    /// Gives the recordings of a set their subsets.
    fn apply_role(&self, name: &str, set: &mut DataSet) -> Result<Option<String>> {
        let role = self.role(name);
        let is_test = |record: &ClipRecord| record.subset == Subset::Testing;
        let all = set.records.len();
        match (role.trains, role.tests) {
            (true, true) => return Ok(None),
            (true, false) => set.records.retain(|record| !is_test(record)),
            (false, _) => {
                if set.records.iter().any(is_test) {
                    set.records.retain(is_test);
                }
                set.records.iter_mut().for_each(|record| record.subset = Subset::Testing);
            }
        }
        if set.records.is_empty() {
            bail!("read the sets of [data]: no recording of `{name}` is left to train on: all are for testing");
        }
        let left_out = all - set.records.len();
        let purpose = if role.trains { "training" } else { "testing" };
        Ok((left_out > 0).then(|| {
            format!("{name}: {} left out, because the set is for {purpose} alone", count(left_out, "recording"))
        }))
    }

    /// Classes that no set to train on has cannot be learned.
    fn check_classes(&self, loaded: &[(String, f64, DataSet)]) -> Result<Vec<String>> {
        let of = |wanted: &dyn Fn(Role) -> bool| -> BTreeSet<&str> {
            let sets = loaded.iter().filter(|(name, ..)| wanted(self.role(name)));
            sets.flat_map(|(.., set)| set.classes.names().iter().map(String::as_str)).collect()
        };
        let (trained, tested) = (of(&|role| role.trains), of(&|role| role.tests));
        if self.has_roles() && trained.is_disjoint(&tested) {
            bail!(
                "read the sets of [data]: the sets to train on ({}) and those to test on ({}) have no class in common; `labels.map` of a \
                 set gives its classes common names",
                some_of(10, trained),
                some_of(10, tested)
            );
        }
        let mut notes = Vec::new();
        let untrained: Vec<&str> = tested.difference(&trained).copied().collect();
        if !untrained.is_empty() {
            let names = some_of(10, untrained.iter().copied());
            notes.push(format!("{} only in sets that are not trained on: {names}", count(untrained.len(), "class")));
        }
        for (name, _, set) in loaded {
            let others = || loaded.iter().filter(|(other, ..)| other != name);
            let is_shared = |class: &String| others().any(|(.., other)| other.classes.index(class).is_some());
            if !set.classes.names().iter().any(is_shared) {
                notes.push(format!(
                    "{name}: no other set has any of its classes (`labels.map` of a set gives other names)"
                ));
            }
        }
        Ok(notes)
    }
}

/// A note where some sets have one class per recording and others several.
fn mixed_cardinality(loaded: &[(String, f64, DataSet)]) -> Option<String> {
    let has_several = |set: &DataSet| set.records.iter().any(|record| record.labels.len() != 1);
    let (several, one): (Vec<_>, Vec<_>) = loaded.iter().partition(|(.., set)| has_several(set));
    let names = |sets: &[&(String, f64, DataSet)]| some_of(5, sets.iter().map(|(name, ..)| name.as_str()));
    (!several.is_empty() && !one.is_empty()).then(|| {
        format!(
            "every recording of {} has one class, and recordings of {} have none or several: check that an absent class means the same \
             in both",
            names(&one),
            names(&several)
        )
    })
}

/// For a task with one class per recording: a class that a set does not have is absent in its recordings.
pub fn exclude_missing_classes(set: &mut DataSet) {
    let mut known: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    let of_set = |record: &ClipRecord| record.tags.get(SET_TAG).cloned().unwrap_or_default();
    for record in &set.records {
        let own = (0..set.classes.len()).filter(|&class| record.labels.is_known(class));
        known.entry(of_set(record)).or_default().extend(own);
    }
    for record in &mut set.records {
        let known = &known[&of_set(record)];
        let unknown = record.labels.unknown().iter().copied().filter(|class| known.contains(class)).collect();
        record.labels = Labels::new(record.labels.to_vec(), unknown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::About;

    fn member(toml: &str) -> DataSpec {
        toml::from_str(&format!("kind = \"folder\"\n{toml}")).unwrap()
    }

    fn several(keys: &str) -> Several {
        let two = "[[sets]]\nkind = \"folder\"\nuse = \"a\"\nweight = 2.0\n[[sets]]\nkind = \"folder\"\nuse = \"b\"\n";
        toml::from_str(&format!("{keys}\n{two}")).unwrap()
    }

    fn record(id: &str, labels: Labels, subset: Subset) -> ClipRecord {
        ClipRecord { group: "song".into(), subset, ..ClipRecord::new(id, id, labels) }
    }

    /// `a` has violin and guitar, with one unknown label; `b` has guitar and drums, one recording for testing.
    fn loaded(spec: &DataSpec) -> Result<DataSet> {
        let name = spec.as_kind().common_keys().name.clone().unwrap();
        let (classes, records) = match name.as_str() {
            "a" => (
                ["violin", "guitar"],
                vec![
                    record("1", vec![0].into(), Subset::Training),
                    record("2", Labels::new(vec![1], vec![0]), Subset::Training),
                ],
            ),
            _ => (
                ["guitar", "drums"],
                vec![record("1", vec![0, 1].into(), Subset::Training), record("9", vec![1].into(), Subset::Testing)],
            ),
        };
        Ok(DataSet { name, classes: Classes::new(classes), records, notes: vec!["a note".into()] })
    }

    fn lines(set: &DataSet) -> Vec<String> {
        let line = |r: &ClipRecord| {
            let (present, unknown) = (r.labels.present(), r.labels.unknown());
            format!("{} {} {present:?} ?{unknown:?} {} {:?}", r.id, r.group, r.weight, r.subset)
        };
        set.records.iter().map(line).collect()
    }

    #[test]
    fn the_sets_keep_their_names_and_a_class_that_a_set_lacks_is_unknown_there() {
        let set = several("").join(loaded).unwrap();
        assert_eq!(set.classes.names(), ["violin", "guitar", "drums"]);
        assert_eq!(
            lines(&set),
            [
                "a/1 a/song [0] ?[2] 2 Training",
                "a/2 a/song [1] ?[0, 2] 2 Training",
                "b/1 b/song [1, 2] ?[0] 1 Training",
                "b/9 b/song [2] ?[0] 1 Testing"
            ]
        );
        assert!(set.records.iter().all(|r| r.tags[SET_TAG] == r.id[..1]));
        assert_eq!(set.notes[..2], ["a: a note", "b: a note"]);
        assert!(set.notes[2].starts_with("every recording of a has one class, and recordings of b"), "{:?}", set.notes);
        let absent = several("missing = \"absent\"").join(loaded).unwrap();
        assert_eq!(absent.records[1].labels, Labels::new(vec![1], vec![0]), "its own unknown label stays unknown");
        assert!(absent.records[3].labels.unknown().is_empty());
    }

    #[test]
    fn with_one_class_per_recording_a_missing_class_is_absent() {
        let mut set = several("").join(loaded).unwrap();
        exclude_missing_classes(&mut set);
        let unknown: Vec<&[usize]> = set.records.iter().map(|r| r.labels.unknown()).collect();
        assert_eq!(unknown, [&[][..], &[0], &[], &[]]);
    }

    #[test]
    fn a_set_is_for_training_or_for_testing_alone() {
        let set = several("train_on = [\"a\"]\ntest_on = [\"b\"]").join(loaded).unwrap();
        assert_eq!(set.records.iter().map(|r| r.id.as_str()).collect::<Vec<_>>(), ["a/1", "a/2", "b/9"]);
        assert!(set.notes.contains(&"b: 1 recording left out, because the set is for testing alone".to_owned()));
        assert!(
            set.notes.contains(&"1 class only in sets that are not trained on: drums".to_owned()),
            "{:?}",
            set.notes
        );
        // A set without declared subsets is tested as a whole.
        let set = several("train_on = [\"b\"]\ntest_on = [\"a\"]").join(loaded).unwrap();
        let subsets: Vec<(&str, Subset)> = set.records.iter().map(|r| (r.id.as_str(), r.subset)).collect();
        assert_eq!(subsets, [("a/1", Subset::Testing), ("a/2", Subset::Testing), ("b/1", Subset::Training)]);
        // Trained on both, tested on one.
        let set = several("test_on = [\"a\"]").join(loaded).unwrap();
        assert_eq!(set.records.len(), 3, "the testing recording of b takes no part");
    }

    #[test]
    fn sets_without_a_common_class_cannot_be_trained_and_tested_on() {
        let other = |spec: &DataSpec| {
            let set = loaded(spec)?;
            let classes = if set.name == "a" { ["x", "y"] } else { ["z", "w"] };
            Ok(DataSet { classes: Classes::new(classes), ..set })
        };
        let error = several("train_on = [\"a\"]\ntest_on = [\"b\"]").join(other).unwrap_err().to_string();
        assert!(error.contains("have no class in common"), "{error}");
        let set = several("").join(other).unwrap();
        assert!(
            set.notes.iter().any(|note| note.starts_with("a: no other set has any of its classes")),
            "{:?}",
            set.notes
        );
    }

    #[test]
    fn faults_of_the_sets_are_told_with_their_names() {
        let says = |spec: Several, what: &str| {
            let faults = spec.own_faults();
            assert!(faults.iter().any(|fault| fault.sentence.contains(what)), "{what}: {faults:?}");
        };
        assert!(several("train_on = [\"a\"]\ntest_on = [\"b\", \"a\"]").own_faults().is_empty());
        says(several("test_on = [\"c\"]"), "no set `c`; the sets are a, b");
        says(several("train_on = [\"a\"]\ntest_on = [\"a\"]"), "`b` is neither in `train_on` nor in `test_on`");
        let with = |one: &str| Several { sets: vec![member("use = \"a\""), member(one)], ..Several::default() };
        says(with("use = \"a\""), "two sets have the name `a`");
        says(with("use = \"b\"\nweight = 0.0"), "the `weight` of `b` is not a number above 0");
        says(with("use = \"b\"\nlimit_per_class = 3"), "set it in [data]");
        says(
            with("use = \"b\"\nlabels = { include = [\"x\", \"x\"] }"),
            "`labels` of `b`: `include` contains \"x\" twice",
        );
        says(Several { sets: vec![member("")], ..Several::default() }, "two sets or more");
        let nested = DataSpec::Several(several(""));
        says(Several { sets: vec![member("use = \"c\""), nested], ..Several::default() }, "is several sets itself");
        assert_eq!(several("").common.about, About::default());
    }
}
