//! From the rows of a table to the records of a data set. All faults of a table are reported together.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::walk::{files_below, names_of};
use super::{ClipRecord, CommonKeys, DataDirs, DataSet, MissingData, Subset, listed, some_of, sorted_by_id};
use crate::remote;
use timbre_core::{
    labels::{Classes, Labels},
    registry::Fault,
    text::{count, one_line},
};
use timbre_signal::audio::Excerpt;

/// A recording as a table describes it; whether its file exists is not known yet.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// The path of the file, below the root of the set or absolute.
    pub path: String,
    pub excerpt: Option<Excerpt>,
    /// Class names.
    pub labels: Vec<String>,
    /// Names of the classes of which it is unknown whether the recording has them.
    pub unknown: Vec<String>,
    /// The song; `None`: the file is a song of its own.
    pub group: Option<String>,
    pub subset: Option<Subset>,
    pub fold: Option<String>,
    pub tags: BTreeMap<String, String>,
    /// How much the recording counts in the fit. Default: 1.
    pub weight: Option<f64>,
    /// The line of the table.
    pub line: usize,
}

/// The entries of a table.
pub struct Entries<'a> {
    pub name: String,
    /// The folder of the recordings.
    pub root: PathBuf,
    /// What messages call the table.
    pub table: String,
    pub common: &'a CommonKeys,
    pub entries: Vec<Entry>,
    /// Class names in their order; `None`: those that occur, in bytewise order.
    pub classes: Option<Vec<String>>,
    /// Recordings that are not on disk are left out, not faults.
    pub skip_missing: bool,
    pub faults: Faults,
    pub notes: Vec<String>,
}

/// Faults by kind, in the order in which the kinds were first found.
#[derive(Debug, Default)]
pub struct Faults(Vec<(String, Vec<String>)>);

impl Faults {
    /// Adds a fault; `kind` is a sentence about several of them.
    pub fn add(&mut self, kind: &str, what: String) {
        match self.0.iter_mut().find(|(known, _)| known == kind) {
            Some((_, all)) => all.push(what),
            None => self.0.push((kind.to_owned(), vec![what])),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn message(&self) -> String {
        let one = |(kind, all): &(String, Vec<String>)| {
            let lines: Vec<String> = all.iter().map(|what| one_line(what)).collect();
            format!("\n{kind} ({}):{}", all.len(), listed(&lines))
        };
        self.0.iter().map(one).collect()
    }
}

impl<'a> Entries<'a> {
    /// No entries yet of a published set, whose root must have the paths `needed`. `table` is what messages call its table.
    pub fn begin(
        common: &'a CommonKeys,
        kind: &str,
        dirs: &DataDirs,
        needed: &[&str],
        table: &str,
    ) -> Result<Entries<'a>> {
        let (name, root) = (common.name_or(kind), common.root_in(dirs, kind));
        let missing: Vec<PathBuf> = needed.iter().map(|path| root.join(path)).filter(|path| !path.exists()).collect();
        if !missing.is_empty() {
            return Err(MissingData::new(&name, missing, root, common).into());
        }
        Ok(Entries {
            name,
            root,
            table: table.to_owned(),
            common,
            entries: Vec::new(),
            classes: None,
            skip_missing: false,
            faults: Faults::default(),
            notes: Vec::new(),
        })
    }

    /// Leaves out files that the field knows to be damaged.
    pub fn leave_out(&mut self, is_damaged: impl Fn(&Entry) -> bool) {
        let (damaged, kept): (Vec<Entry>, Vec<Entry>) =
            std::mem::take(&mut self.entries).into_iter().partition(|entry| is_damaged(entry));
        self.entries = kept;
        if !damaged.is_empty() {
            let names = some_of(10, damaged.iter().map(|entry| entry.path.as_str()));
            self.notes.push(format!("{} known to be damaged left out: {names}", count(damaged.len(), "recording")));
        }
    }

    /// The data set, or all faults of the table.
    pub fn into_set(mut self) -> Result<DataSet> {
        let mut files = Files::new(&self.root);
        let mut records: Vec<ClipRecord> = Vec::with_capacity(self.entries.len());
        let mut lines: HashMap<String, usize> = HashMap::new();
        let (mut missing, mut labels) = (Vec::new(), Vec::new());
        for entry in std::mem::take(&mut self.entries) {
            let place = |what: &str| format!("{what} (line {})", entry.line);
            let path = files.find(&entry.path);
            let file = self.file_id(&entry.path);
            let id = entry.excerpt.map_or_else(|| file.clone(), |excerpt| format!("{file}#{excerpt}"));
            if let Some(first) = lines.insert(id.clone(), entry.line) {
                self.faults.add("rows describe a recording a second time", format!("{} and {first}", place(&id)));
                continue;
            }
            let Some(path) = path else {
                missing.push(place(&file));
                continue;
            };
            labels.push((entry.labels, entry.unknown));
            records.push(ClipRecord {
                excerpt: entry.excerpt,
                group: entry.group.unwrap_or(file),
                subset: entry.subset.unwrap_or(Subset::Training),
                fold: entry.fold,
                tags: entry.tags,
                weight: entry.weight.unwrap_or(1.0),
                ..ClipRecord::new(id, path, Vec::new())
            });
        }
        if records.is_empty() && self.faults.is_empty() {
            let looked_for = missing.first().map_or(self.root.clone(), |first| {
                self.root.join(first.rsplit_once(" (line").map_or(first.as_str(), |(path, _)| path))
            });
            return Err(MissingData::new(&self.name, vec![looked_for], self.root, self.common).into());
        }
        if self.skip_missing && !missing.is_empty() {
            let names = some_of(5, missing.iter().map(String::as_str));
            let all = records.len() + missing.len();
            self.notes.push(format!("{} of {all} recordings are not on disk and are left out: {names}", missing.len()));
        } else {
            let kind = format!(
                "recordings are not in {} (`skip_missing = true` goes on without them)",
                remote::shown(&self.root)
            );
            missing.into_iter().for_each(|what| self.faults.add(&kind, what));
        }
        self.check_songs(&records);
        let classes = self.class_list(&labels);
        if !self.faults.is_empty() {
            bail!("read data set `{}`: {} has faults:{}", self.name, self.table, self.faults.message());
        }
        let index: HashMap<&str, usize> = classes.iter().enumerate().map(|(i, name)| (name.as_str(), i)).collect();
        let numbers = |names: &[String]| names.iter().map(|name| index[name.as_str()]).collect();
        for (record, (present, unknown)) in records.iter_mut().zip(&labels) {
            record.labels = Labels::new(numbers(present), numbers(unknown));
        }
        self.notes.extend(leave_out_unknown(&mut records, classes.len()));
        let records = sorted_by_id(records, &self.name)?;
        Ok(DataSet { name: self.name, classes: Classes::new(classes), records, notes: self.notes })
    }

    /// The path below the root, with `/`, in Unicode NFC.
    fn file_id(&self, path: &str) -> String {
        let below = Path::new(path).strip_prefix(&self.root).ok().and_then(Path::to_str).unwrap_or(path);
        names_of(&below.replace('\\', "/")).into_iter().filter(|name| name != ".").collect::<Vec<_>>().join("/")
    }

    /// A song in two declared subsets leaks the answers.
    fn check_songs(&mut self, records: &[ClipRecord]) {
        let mut subset_of: BTreeMap<&str, &ClipRecord> = BTreeMap::new();
        let mut divided: BTreeSet<&str> = BTreeSet::new();
        for record in records {
            let first = *subset_of.entry(&record.group).or_insert(record);
            if first.subset != record.subset && divided.insert(&record.group) {
                let what = format!("{}: {} and {}", record.group, first.id, record.id);
                self.faults.add("songs are in two of the declared splits", what);
            }
        }
    }

    fn class_list(&mut self, labels: &[(Vec<String>, Vec<String>)]) -> Vec<String> {
        let found: BTreeSet<&str> =
            labels.iter().flat_map(|(present, unknown)| present.iter().chain(unknown)).map(String::as_str).collect();
        // Every table joins the classes of a recording by `;`.
        for class in found.iter().filter(|class| class.contains(';')) {
            self.faults
                .add("classes have a `;` in their names, which separates classes in tables", (*class).to_owned());
        }
        let classes = self.classes.take().unwrap_or_else(|| found.iter().map(|class| (*class).to_owned()).collect());
        for class in found.iter().filter(|class| !classes.iter().any(|known| known == *class)) {
            self.faults.add("classes are unknown", (*class).to_owned());
        }
        if classes.is_empty() && self.faults.is_empty() {
            self.faults.add("recordings have no class", format!("none of {}", count(labels.len(), "recording")));
        }
        classes
    }
}

/// Leaves out recordings of which no class is known, and says how many.
pub(super) fn leave_out_unknown(records: &mut Vec<ClipRecord>, n_classes: usize) -> Option<String> {
    let all = records.len();
    records.retain(|record| record.labels.unknown().len() < n_classes);
    let left_out = all - records.len();
    (left_out > 0).then(|| format!("{} left out because none of their classes is known", count(left_out, "recording")))
}

/// A class that sounds from `start` to `end`, in seconds.
pub struct Sounding {
    pub start: f64,
    pub end: f64,
    pub class: String,
}

/// The faults of the length of these clips.
pub fn clip_length_faults(seconds: f64) -> Vec<Fault> {
    let is_possible = seconds >= 0.1 && seconds.is_finite();
    Fault::of_keys([("seconds", (!is_possible).then(|| "must be at least 0.1".to_owned()))])
}

/// Clips of a recording, one after the other to where the last class ends; the shorter rest is left out. A clip has the classes
/// that sound in it.
pub fn clips_of(whole: &Entry, sounding: &[Sounding], seconds: f64) -> Vec<Entry> {
    let end = sounding.iter().map(|one| one.end).fold(0.0, f64::max);
    let clip = |n: usize| {
        let (from, to) = (n as f64 * seconds, (n + 1) as f64 * seconds);
        let classes: BTreeSet<&String> =
            sounding.iter().filter(|one| one.start < to && one.end > from).map(|one| &one.class).collect();
        Entry {
            excerpt: Some(Excerpt { start: from, end: Some(to) }),
            labels: classes.into_iter().cloned().collect(),
            line: n + 1,
            ..whole.clone()
        }
    };
    (0..(end / seconds) as usize).map(clip).collect()
}

/// Finds files, also those whose names are on disk in another Unicode form than in the table.
struct Files<'a> {
    root: &'a Path,
    known: HashMap<String, Option<PathBuf>>,
    /// The files below the root by their names in NFC, listed when the first one is missing.
    normalised: Option<HashMap<String, PathBuf>>,
}

impl<'a> Files<'a> {
    fn new(root: &'a Path) -> Files<'a> {
        Files { root, known: HashMap::new(), normalised: None }
    }

    fn find(&mut self, path: &str) -> Option<PathBuf> {
        if let Some(known) = self.known.get(path) {
            return known.clone();
        }
        let direct = self.root.join(path);
        // As Windows writes it.
        let with_slashes =
            || path.contains('\\').then(|| self.root.join(path.replace('\\', "/"))).filter(|p| p.is_file());
        let found = match direct.is_file() {
            true => Some(direct),
            false => with_slashes().or_else(|| self.find_normalised(path)),
        };
        self.known.insert(path.to_owned(), found.clone());
        found
    }

    fn find_normalised(&mut self, path: &str) -> Option<PathBuf> {
        let names = names_of(&path.replace('\\', "/"));
        let name = names.iter().filter(|name| *name != ".").map(String::as_str).collect::<Vec<_>>().join("/");
        if name.is_ascii() && name == path {
            return None;
        }
        let root = self.root;
        let all = self.normalised.get_or_insert_with(|| {
            let files = files_below(root).unwrap_or_default();
            files.into_iter().map(|file| (file.names.join("/"), file.path)).collect()
        });
        all.get(&name).cloned()
    }
}
