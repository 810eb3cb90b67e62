//! Changes the classes of a loaded data set: `[data.labels]`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

use anyhow::{Context, Result, bail};
use indexmap::{IndexMap, IndexSet};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::entries::leave_out_unknown;
use super::table::Table;
use super::{DataDirs, DataSet, some_of};
use timbre_core::{
    labels::{Classes, Labels},
    registry::Fault,
    text::count,
};

/// Which classes a data set has. The keys are applied in this order: `hierarchy`, `exclude`, `map`, `drop`, `include`,
/// `min_recordings`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LabelSpec {
    /// A file with the parents of classes; a relative path starts in the folder `data`. Each recording gets the ancestors of its
    /// classes as well. AudioSet's ontology.json, FMA's genres.csv, or a table with the columns `label` and `parent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hierarchy: Option<String>,
    /// A recording with one of these classes is left out, whatever else it has: `include = ["piano"], exclude = ["organ"]` is
    /// "piano, never organ". The names are those before or after `map`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Other names of classes; several may become one: `map = { "electric guitar" = "guitar", "acoustic guitar" = "guitar" }`.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub map: IndexMap<String, String>,
    /// Classes that are ignored.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drop: Vec<String>,
    /// Only these classes, in this order; the others are ignored. Default: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// Classes with fewer recordings are ignored. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub min_recordings: Option<usize>,
    /// What becomes of a recording whose classes are all ignored. A recording that had no class from the beginning stays.
    #[serde(skip_serializing_if = "Remaining::is_default")]
    pub without_class: Remaining,
}

/// What becomes of a recording whose classes are all ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Remaining {
    /// It is left out.
    #[default]
    LeaveOut,
    /// It stays as an example of none of the classes.
    Keep,
}

impl Remaining {
    fn is_default(&self) -> bool {
        *self == Remaining::LeaveOut
    }
}

impl LabelSpec {
    pub(super) fn is_default(&self) -> bool {
        *self == LabelSpec::default()
    }

    pub(super) fn faults(&self) -> Vec<Fault> {
        let twice =
            |names: &[String]| (1..names.len()).find(|&i| names[..i].contains(&names[i])).map(|i| names[i].clone());
        let both = self.include.iter().find(|name| self.drop.contains(name) || self.exclude.contains(name));
        let sentences = [
            twice(&self.include).map(|name| format!("`include` contains {name:?} twice")),
            both.map(|name| format!("{name:?} is in `include` and also in `drop` or `exclude`")),
            self.map
                .values()
                .find(|name| name.is_empty())
                .map(|_| "`map` gives an empty name; `drop` ignores a class".into()),
            (self.min_recordings == Some(0)).then(|| "`min_recordings` must be at least 1".into()),
        ];
        sentences.into_iter().flatten().map(|sentence| Fault::new("labels", sentence)).collect()
    }

    /// The data set with other classes, and notes on what was left out.
    pub(super) fn apply(&self, set: DataSet, dirs: &DataDirs) -> Result<DataSet> {
        if self.is_default() {
            return Ok(set);
        }
        let name = set.name.clone();
        self.applied(set, dirs).with_context(|| format!("apply the labels of data set `{name}`"))
    }

    fn applied(&self, mut set: DataSet, dirs: &DataDirs) -> Result<DataSet> {
        let mut order: IndexSet<String> = set.classes.names().iter().cloned().collect();
        let names_of = |classes: &[usize]| classes.iter().map(|&label| set.classes.name(label).to_owned()).collect();
        let mut labels: Vec<IndexSet<String>> =
            set.records.iter().map(|record| names_of(record.labels.present())).collect();
        let mut unknown: Vec<IndexSet<String>> =
            set.records.iter().map(|record| names_of(record.labels.unknown())).collect();
        if let Some(file) = &self.hierarchy {
            let parents = Hierarchy::read(&dirs.data_dir.join(file))?;
            for own in &mut labels {
                *own = own.iter().flat_map(|label| parents.with_ancestors(label)).collect();
            }
            for own in &mut unknown {
                // An ancestor that is a class of the set has its own label.
                let is_open = |name: &String| own.contains(name) || !order.contains(name);
                *own = own.iter().flat_map(|label| parents.with_ancestors(label)).filter(is_open).collect();
            }
            let found: BTreeSet<&String> = labels.iter().flatten().collect();
            order.extend(found.into_iter().cloned());
        }
        self.check_names(&order)?;
        let mapped = |name: &String| self.map.get(name).unwrap_or(name).clone();
        let is_excluded = |own: &IndexSet<String>| {
            own.iter().any(|name| self.exclude.contains(name) || self.exclude.contains(&mapped(name)))
        };
        let stays: Vec<bool> = labels.iter().map(|own| !is_excluded(own)).collect();
        let excluded = stays.iter().filter(|stays| !**stays).count();
        if excluded > 0 {
            retain(&mut set.records, &stays);
            retain(&mut labels, &stays);
            retain(&mut unknown, &stays);
            let names = some_of(5, self.exclude.iter().map(String::as_str));
            set.notes.push(format!("{} left out because of `labels.exclude` ({names})", count(excluded, "recording")));
        }
        let had_a_class: Vec<bool> = labels.iter().map(|own| !own.is_empty()).collect();
        let keeps =
            |name: &String| !self.drop.contains(name) && (self.include.is_empty() || self.include.contains(name));
        for own in labels.iter_mut().chain(&mut unknown) {
            *own = own.iter().filter(|name| !self.drop.contains(*name)).map(mapped).filter(keeps).collect();
        }
        let mut classes: IndexSet<String> = if self.include.is_empty() {
            order.iter().filter(|name| !self.drop.contains(*name)).map(mapped).filter(keeps).collect()
        } else {
            self.include.iter().cloned().collect()
        };
        let mut counts: HashMap<&String, usize> = HashMap::new();
        labels.iter().flatten().for_each(|name| *counts.entry(name).or_default() += 1);
        let least = self.min_recordings.unwrap_or(1);
        let rare: Vec<String> =
            classes.iter().filter(|name| counts.get(name).copied().unwrap_or(0) < least).cloned().collect();
        let is_rare: HashSet<&String> = rare.iter().collect();
        if !rare.is_empty() {
            let names = some_of(10, rare.iter().map(String::as_str));
            let fewer = if least == 1 {
                "without a recording".to_owned()
            } else {
                format!("with fewer than {least} recordings")
            };
            set.notes.push(format!("{} {fewer} ignored: {names}", count(rare.len(), "class")));
        }
        for own in &mut labels {
            own.retain(|name| !is_rare.contains(name));
        }
        classes.retain(|name| !is_rare.contains(name));
        if classes.is_empty() {
            bail!("no class is left");
        }
        let mut left_out = 0;
        let mut records = Vec::with_capacity(labels.len());
        for (((mut record, own), unknown), had) in set.records.into_iter().zip(&labels).zip(&unknown).zip(had_a_class) {
            if own.is_empty() && had && self.without_class == Remaining::LeaveOut {
                left_out += 1;
                continue;
            }
            let numbers =
                |names: &IndexSet<String>| names.iter().filter_map(|name| classes.get_index_of(name)).collect();
            record.labels = Labels::new(numbers(own), numbers(unknown));
            records.push(record);
        }
        set.notes.extend(leave_out_unknown(&mut records, classes.len()));
        if left_out > 0 {
            set.notes.push(format!(
                "{} left out because `labels` ignores all their classes (`without_class = \"keep\"` keeps them)",
                count(left_out, "recording")
            ));
        }
        Ok(DataSet { records, classes: Classes::new(classes), ..set })
    }

    /// A misspelt class would silently stay or be missing.
    fn check_names(&self, known: &IndexSet<String>) -> Result<()> {
        let after: HashSet<&String> = known.iter().chain(self.map.values()).collect();
        let unknown = |key: &str, names: &mut dyn Iterator<Item = &String>, is_known: &dyn Fn(&String) -> bool| {
            let wrong: Vec<&str> = names.filter(|name| !is_known(name)).map(String::as_str).collect();
            (!wrong.is_empty()).then(|| format!("`labels.{key}`: {}", some_of(10, wrong)))
        };
        let faults: Vec<String> = [
            unknown("map", &mut self.map.keys(), &|name| known.contains(name)),
            unknown("exclude", &mut self.exclude.iter(), &|name| after.contains(name)),
            unknown("drop", &mut self.drop.iter(), &|name| after.contains(name)),
            unknown("include", &mut self.include.iter(), &|name| after.contains(name)),
        ]
        .into_iter()
        .flatten()
        .collect();
        if !faults.is_empty() {
            let classes = some_of(30, known.iter().map(String::as_str));
            bail!("unknown classes in {}; the classes are {classes}", faults.join(", "));
        }
        Ok(())
    }
}

/// The parents of classes, by name.
#[derive(Debug, Default)]
struct Hierarchy(BTreeMap<String, Vec<String>>);

impl Hierarchy {
    fn read(path: &Path) -> Result<Hierarchy> {
        let read = || -> Result<Hierarchy> {
            if path.extension().is_some_and(|extension| extension == "json") {
                return Self::from_ontology(&serde_json::from_slice(&std::fs::read(path)?)?);
            }
            Self::from_table(&Table::read(path)?)
        };
        read().with_context(|| format!("read the hierarchy {}", path.display()))
    }

    /// AudioSet's ontology: a list of objects with `id`, `name` and `child_ids`. Classes may be called by either.
    fn from_ontology(json: &Value) -> Result<Hierarchy> {
        let nodes = json.as_array().context("expected a list of classes with `id`, `name` and `child_ids`")?;
        let text = |node: &Value, key: &str| node[key].as_str().map(str::to_owned);
        let names: HashMap<String, String> =
            nodes.iter().filter_map(|node| Some((text(node, "id")?, text(node, "name")?))).collect();
        let mut parents: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for node in nodes {
            let (Some(id), Some(name)) = (text(node, "id"), text(node, "name")) else { continue };
            for child in node["child_ids"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                parents.entry(child.to_owned()).or_default().push(id.clone());
                if let Some(child) = names.get(child) {
                    parents.entry(child.clone()).or_default().push(name.clone());
                }
            }
        }
        Ok(Hierarchy(parents))
    }

    /// FMA's genres (`genre_id`, `parent`, `title`; 0 is no parent), or a table with `label` and `parent`.
    fn from_table(table: &Table) -> Result<Hierarchy> {
        let column = |name: &str| table.column(name);
        let text = |row: &super::table::Row, at: usize| row.cells[at].text();
        let mut parents: BTreeMap<String, Vec<String>> = BTreeMap::new();
        if let (Some(id), Some(parent), Some(title)) = (column("genre_id"), column("parent"), column("title")) {
            let titles: HashMap<String, String> =
                table.rows.iter().map(|row| (text(row, id), text(row, title))).collect();
            for row in &table.rows {
                let above = text(row, parent);
                let Some(name) = titles.get(&above) else { continue };
                parents.entry(text(row, title)).or_default().push(name.clone());
                parents.entry(text(row, id)).or_default().push(above);
            }
        } else if let (Some(label), Some(parent)) = (column("label"), column("parent")) {
            let named = table.rows.iter().filter(|row| !text(row, parent).is_empty());
            named.for_each(|row| parents.entry(text(row, label)).or_default().push(text(row, parent)));
        } else {
            bail!("expected the columns `label` and `parent`, or those of FMA's genres.csv");
        }
        Ok(Hierarchy(parents))
    }

    /// A class, its parents, their parents, and so on; each once.
    fn with_ancestors(&self, label: &str) -> IndexSet<String> {
        let mut all = IndexSet::from([label.to_owned()]);
        let mut next = 0;
        while let Some(name) = all.get_index(next) {
            let above = self.0.get(name).cloned().unwrap_or_default();
            all.extend(above);
            next += 1;
        }
        all
    }
}

/// The label of a class about which a table or a set has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MissingLabel {
    /// Unknown: the class takes no part in fits and scores.
    #[default]
    Unknown,
    /// Absent: a negative example.
    Absent,
}

impl MissingLabel {
    pub(super) fn is_default(&self) -> bool {
        *self == MissingLabel::default()
    }
}

/// Keeps the items that stay.
fn retain<T>(items: &mut Vec<T>, stays: &[bool]) {
    let mut stays = stays.iter();
    items.retain(|_| *stays.next().expect("one per item"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ClipRecord;

    fn set(records: &[&[&str]]) -> DataSet {
        let names: BTreeSet<&str> = records.iter().flat_map(|labels| labels.iter().copied()).collect();
        let classes = Classes::new(names);
        let record = |(n, labels): (usize, &&[&str])| {
            let labels: Vec<usize> = labels.iter().map(|name| classes.index(name).unwrap()).collect();
            ClipRecord::new(format!("{n}"), format!("{n}"), labels)
        };
        DataSet {
            name: "x".into(),
            records: records.iter().enumerate().map(record).collect(),
            classes: classes.clone(),
            notes: vec![],
        }
    }

    fn dirs(folder: &Path) -> DataDirs {
        DataDirs { data_dir: folder.to_owned(), cache_dir: folder.to_owned() }
    }

    /// Id and classes of each record, and the classes of the set.
    fn applied(toml: &str, records: &[&[&str]], folder: &Path) -> Result<(Vec<String>, Vec<String>, Vec<String>)> {
        let spec: LabelSpec = toml::from_str(toml).unwrap();
        let set = spec.apply(set(records), &dirs(folder))?;
        let line = |r: &ClipRecord| {
            let names: Vec<&str> = r.labels.iter().map(|&l| set.classes.name(l)).collect();
            format!("{} {}", r.id, names.join("+"))
        };
        Ok((set.records.iter().map(line).collect(), set.classes.names().to_vec(), set.notes.clone()))
    }

    #[test]
    fn classes_are_mapped_dropped_and_chosen() {
        let records: [&[&str]; 5] = [&["egtr", "agtr"], &["piano", "noise"], &["noise"], &[], &["organ", "piano"]];
        let here = Path::new(".");
        let (found, classes, _) = applied("map = { egtr = \"guitar\", agtr = \"guitar\" }", &records, here).unwrap();
        assert_eq!(classes, ["guitar", "noise", "organ", "piano"]);
        assert_eq!(found, ["0 guitar", "1 noise+piano", "2 noise", "3 ", "4 organ+piano"]);
        let (found, classes, notes) = applied("drop = [\"noise\"]", &records, here).unwrap();
        assert_eq!(classes, ["agtr", "egtr", "organ", "piano"]);
        assert_eq!(found, ["0 agtr+egtr", "1 piano", "3 ", "4 organ+piano"], "3 never had a class");
        assert!(notes[0].starts_with("1 recording left out because `labels` ignores all their classes"), "{notes:?}");
        let keep = "drop = [\"noise\"]\nwithout_class = \"keep\"";
        assert_eq!(applied(keep, &records, here).unwrap().0[2], "2 ");
        let never = "include = [\"piano\", \"egtr\"]\nexclude = [\"organ\"]";
        let (found, classes, notes) = applied(never, &records, here).unwrap();
        assert_eq!(
            (found, classes),
            (vec!["0 egtr".into(), "1 piano".into(), "3 ".into()], vec!["piano".into(), "egtr".to_owned()])
        );
        assert!(notes[0].starts_with("1 recording left out because of `labels.exclude` (organ)"), "{notes:?}");
        // A mapped name excludes as well.
        let both = "map = { egtr = \"guitar\" }\nexclude = [\"guitar\"]";
        assert_eq!(applied(both, &records, here).unwrap().0.len(), 4);
    }

    #[test]
    fn classes_with_few_recordings_are_ignored() {
        let records: [&[&str]; 4] = [&["a"], &["a", "b"], &["a"], &["b"]];
        let (found, classes, notes) = applied("min_recordings = 3", &records, Path::new(".")).unwrap();
        assert_eq!((found.len(), classes), (3, vec!["a".to_owned()]));
        assert!(notes[0].contains("1 class with fewer than 3 recordings ignored: b"), "{notes:?}");
        let error = applied("min_recordings = 9", &records, Path::new(".")).unwrap_err();
        assert!(format!("{error:#}").contains("no class is left"), "{error:#}");
    }

    #[test]
    fn an_unknown_class_is_an_error_that_lists_the_classes() {
        for toml in ["map = { c = \"d\" }", "drop = [\"c\"]", "include = [\"c\"]", "exclude = [\"c\"]"] {
            let error = format!("{:#}", applied(toml, &[&["a"], &["b"]], Path::new(".")).unwrap_err());
            assert!(error.contains(": c;") && error.contains("the classes are a, b"), "{error}");
        }
        let faults = |toml: &str| toml::from_str::<LabelSpec>(toml).unwrap().faults();
        assert!(faults("include = [\"a\", \"a\"]")[0].sentence.contains("twice"));
        assert!(faults("include = [\"a\"]\nexclude = [\"a\"]")[0].sentence.contains("also in"));
        assert!(faults("include = [\"a\"]").is_empty());
    }

    #[test]
    fn a_hierarchy_adds_the_ancestors_so_that_excluding_a_parent_excludes_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let ontology = serde_json::json!([
            { "id": "/m/1", "name": "Instrument", "child_ids": ["/m/2", "/m/3"] },
            { "id": "/m/2", "name": "Guitar", "child_ids": ["/m/4"] },
            { "id": "/m/3", "name": "Organ", "child_ids": [] },
            { "id": "/m/4", "name": "Electric guitar", "child_ids": [] },
            { "id": "/m/5", "name": "Rain", "child_ids": ["/m/6"] },
            { "id": "/m/6", "name": "Drizzle", "child_ids": ["/m/5"] },
        ]);
        std::fs::write(folder.path().join("ontology.json"), ontology.to_string()).unwrap();
        let records: [&[&str]; 3] = [&["Electric guitar"], &["Organ"], &["Rain"]];
        let toml = "hierarchy = \"ontology.json\"\n";
        let (found, classes, _) = applied(toml, &records, folder.path()).unwrap();
        assert_eq!(classes, ["Electric guitar", "Organ", "Rain", "Drizzle", "Guitar", "Instrument"]);
        assert_eq!(found[0], "0 Electric guitar+Guitar+Instrument");
        assert_eq!(found[2], "2 Rain+Drizzle", "a circle ends");
        let (found, ..) = applied(&format!("{toml}exclude = [\"Guitar\"]"), &records, folder.path()).unwrap();
        assert_eq!(found, ["1 Organ+Instrument", "2 Rain+Drizzle"]);
        let by_id: [&[&str]; 1] = [&["/m/4"]];
        assert_eq!(applied(toml, &by_id, folder.path()).unwrap().0, ["0 /m/4+/m/1+/m/2"]);
        let genres = "genre_id,#tracks,parent,title,top_level\n2,9,0,International,2\n9,3,2,Afrobeat,2\n";
        std::fs::write(folder.path().join("genres.csv"), genres).unwrap();
        let (found, ..) = applied("hierarchy = \"genres.csv\"", &[&["Afrobeat"], &["9"]], folder.path()).unwrap();
        assert_eq!(found, ["0 Afrobeat+International", "1 9+2"]);
        std::fs::write(folder.path().join("own.csv"), "label,parent\nviolin,strings\nstrings,\n").unwrap();
        let (found, ..) = applied("hierarchy = \"own.csv\"", &[&["violin"]], folder.path()).unwrap();
        assert_eq!(found, ["0 violin+strings"]);
    }

    #[test]
    fn unknown_classes_follow_the_changes_of_names() {
        let mut all = set(&[&["egtr"], &["agtr", "piano"], &["piano"], &[]]);
        let names = all.classes.clone();
        let number = |name: &str| names.index(name).unwrap();
        let unknown = [vec!["agtr"], vec![], vec!["egtr"], vec!["agtr", "egtr"]];
        for (record, unknown) in all.records.iter_mut().zip(unknown) {
            let unknown = unknown.into_iter().map(number).collect();
            record.labels = Labels::new(record.labels.to_vec(), unknown);
        }
        let partial = |toml: &str, set: DataSet, folder: &Path| -> Vec<String> {
            let spec: LabelSpec = toml::from_str(toml).unwrap();
            let set = spec.apply(set, &dirs(folder)).unwrap();
            let list = |classes: &[usize]| classes.iter().map(|&c| set.classes.name(c)).collect::<Vec<_>>().join("+");
            let line = |r: &ClipRecord| format!("{} {} ?{}", r.id, list(r.labels.present()), list(r.labels.unknown()));
            set.records.iter().map(line).collect()
        };
        let here = Path::new(".");
        // Present if one of the names is present, else unknown if one is unknown.
        let map = "map = { egtr = \"guitar\", agtr = \"guitar\" }";
        let found = partial(map, all.clone(), here);
        assert_eq!(found, ["0 guitar ?", "1 guitar+piano ?", "2 piano ?guitar", "3  ?guitar"]);
        // A recording of which nothing is known any more is left out.
        let found = partial("include = [\"agtr\"]\nwithout_class = \"keep\"", all.clone(), here);
        assert_eq!(found, ["1 agtr ?", "2  ?"]);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("h.csv"), "label,parent\negtr,strings\nagtr,piano\n").unwrap();
        let found = partial("hierarchy = \"h.csv\"", all, folder.path());
        // Strings are new, and unknown with their only part; the piano has a label of its own.
        assert_eq!(found[2..], ["2 piano ?egtr+strings", "3  ?agtr+egtr+strings"]);
    }
}
