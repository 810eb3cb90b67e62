//! The IRMAS data set: training clips of 3 s with one instrument, testing recordings of 5 to 20 s with a label file each.
//!
//! Conventions, and where they differ from other readers:
//! - The class of a training clip is its folder, or else the first tag of its name, never another tag: `cla` is both an
//!   instrument and a genre. mirdata takes a clip with two underscores in its name for a training clip and reads `---` as a
//!   genre; here the folder decides, and `---` is a drum tag without information.
//! - The song of a training clip is the number in its name (unique over all folders); the song of a testing recording is its
//!   name without the number of the excerpt. The prefixes `training/` and `testing/` keep the two apart.
//! - A recording and its label file match if they are in one folder and their names are equal in Unicode NFC.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::{Context, Result, bail, ensure};
use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::walk::{FoundFile, files_below, folders_in, names_of};
use super::{ClipRecord, CommonKeys, DataDirs, DataKind, DataSet, MissingData, Subset, listed, sorted_by_id};
use timbre_core::{
    labels::{Classes, Labels},
    registry::Fault,
    text::count,
};

/// The eleven instruments, in the order of their codes.
pub const INSTRUMENTS: [&str; 11] = ["cel", "cla", "flu", "gac", "gel", "org", "pia", "sax", "tru", "vio", "voi"];

/// Their English names, in the same order.
const NAMES: [&str; 11] = [
    "cello",
    "clarinet",
    "flute",
    "acoustic guitar",
    "electric guitar",
    "organ",
    "piano",
    "saxophone",
    "trumpet",
    "violin",
    "voice",
];

/// The name of a class for people: English if all classes are codes of IRMAS, because another data set may have a class `cla`.
pub fn display_name<'a>(classes: &Classes, class: &'a str) -> &'a str {
    let position = |code: &str| INSTRUMENTS.iter().position(|other| *other == code);
    match position(class) {
        Some(at) if classes.names().iter().all(|code| position(code).is_some()) => NAMES[at],
        _ => class,
    }
}

/// The instrument, as an index of [`INSTRUMENTS`], that a class is or whose name its own contains: `violin`, `tenor_saxophone`.
pub fn instrument_of(classes: &Classes, class: &str) -> Option<usize> {
    let name = display_name(classes, class).replace('_', " ").to_lowercase();
    NAMES.iter().position(|known| name == *known || name.ends_with(&format!(" {known}")))
}

const TRAINING_FOLDER: &str = "IRMAS-TrainingData";
const TESTING_FOLDER: &str = "IRMAS-TestingData-Part";

/// The IRMAS data set, or a set in its layout: `IRMAS-TrainingData/cel/…` and `IRMAS-TestingData-Part1/…`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Irmas {
    #[serde(flatten)]
    pub common: CommonKeys,
    /// Only these instruments, in this order. Other labels of testing recordings are dropped, and recordings without a remaining
    /// label are left out. Default: all eleven.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub classes: Option<Vec<String>>,
    /// Which subsets to read: `training`, `testing`.
    pub parts: Vec<IrmasSubset>,
    /// Which of the three testing folders to read: 1, 2, 3.
    pub test_folders: Vec<u32>,
    /// Share of the testing recordings (0 to 1), the first in bytewise order, that moves to training. A song at the border
    /// moves as a whole.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub training_share_of_test: f64,
    /// Share of the testing recordings (0 to 1), those after the ones that move to training, that moves to validation: polyphonic
    /// recordings on which thresholds and window fractions are chosen. A song at the border moves as a whole.
    #[serde(skip_serializing_if = "super::is_zero")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub validation_share_of_test: f64,
}

/// A subset of IRMAS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IrmasSubset {
    Training,
    Testing,
}

impl Default for Irmas {
    fn default() -> Self {
        Irmas {
            common: CommonKeys::default(),
            classes: None,
            parts: vec![IrmasSubset::Training, IrmasSubset::Testing],
            test_folders: vec![1, 2, 3],
            training_share_of_test: 0.0,
            validation_share_of_test: 0.0,
        }
    }
}

impl DataKind for Irmas {
    fn version(&self) -> u32 {
        1
    }

    fn common_keys(&self) -> &CommonKeys {
        &self.common
    }

    fn known_classes(&self) -> Option<Classes> {
        Some(match &self.classes {
            Some(chosen) => Classes::new(chosen),
            None => Classes::new(INSTRUMENTS),
        })
    }

    fn own_faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut fault = |key: &str, sentence: String| faults.push(Fault::new(key, sentence));
        if self.parts.is_empty() {
            fault("parts", "is empty; name `training`, `testing` or both".into());
        }
        if self.parts.contains(&IrmasSubset::Testing)
            && (self.test_folders.is_empty() || self.test_folders.iter().any(|n| !(1..=3).contains(n)))
        {
            fault("test_folders", format!("the testing folders are 1, 2 and 3, not {:?}", self.test_folders));
        }
        let shares = shares_faults(self.training_share_of_test, self.validation_share_of_test);
        let testing = self.parts.contains(&IrmasSubset::Testing);
        for (key, share) in [
            ("training_share_of_test", self.training_share_of_test),
            ("validation_share_of_test", self.validation_share_of_test),
        ] {
            if share > 0.0 && !testing && !shares.iter().any(|fault| fault.key == key) {
                fault(key, "needs `testing` in `parts`".into());
            }
        }
        faults.extend(shares);
        faults.extend(classes_fault(self.classes.as_deref()));
        faults
    }

    fn load(&self, dirs: &DataDirs) -> Result<DataSet> {
        let common = &self.common;
        self.load_from(&common.root_in(dirs, "irmas"), &common.name_or("irmas"))
    }
}

impl Irmas {
    /// Loads the set from `root`, whatever the spec's own `root`.
    pub(super) fn load_from(&self, root: &Path, name: &str) -> Result<DataSet> {
        let training = self.parts.contains(&IrmasSubset::Training);
        let testing = self.parts.contains(&IrmasSubset::Testing);
        let mut wanted: Vec<(String, Subset)> = Vec::new();
        if training {
            wanted.push((TRAINING_FOLDER.to_owned(), Subset::Training));
        }
        if testing {
            let folders: BTreeSet<u32> = self.test_folders.iter().copied().collect();
            wanted.extend(folders.iter().map(|n| (format!("{TESTING_FOLDER}{n}"), Subset::Testing)));
        }
        let missing: Vec<PathBuf> = wanted.iter().map(|(f, _)| root.join(f)).filter(|path| !path.is_dir()).collect();
        if !missing.is_empty() {
            return Err(MissingData::new(name, missing, root.to_owned(), &self.common).into());
        }
        let mut records = Vec::new();
        for (folder, part) in &wanted {
            let path = root.join(folder);
            let found = files_below(&path).with_context(|| format!("read data set `{name}`"))?;
            let before = records.len();
            match part {
                Subset::Training => training_records(&found, folder, &mut records),
                _ => testing_records(&found, folder, &mut records),
            }
            .with_context(|| format!("read data set `{name}` in {path:?}"))?;
            if records.len() == before && !found.is_empty() {
                let mut endings: BTreeMap<String, usize> = BTreeMap::new();
                found.iter().for_each(|file| *endings.entry(file.stem_and_extension().1).or_default() += 1);
                let endings: Vec<String> = endings.iter().map(|(ending, n)| format!("{n} × .{ending}")).collect();
                bail!(
                    "read data set `{name}`: {path:?} has files ({}), but no .wav, the only format of this kind; \
                     `kind = \"folder\"` reads any format, with any class folders",
                    endings.join(", ")
                );
            }
            if records.len() == before {
                return Err(MissingData::new(name, vec![path.join("….wav")], root.to_owned(), &self.common).into());
            }
        }
        self.set_of(records, name)
    }

    /// The set of files that do not exist yet: the path below `root` of each with its labels, and whether it is a testing
    /// recording. The records are those that [`load_from`](Self::load_from) gives once the files exist.
    pub(super) fn planned<'p>(
        &self,
        root: &Path,
        name: &str,
        files: impl Iterator<Item = (&'p str, &'p [usize], bool)>,
    ) -> Result<DataSet> {
        let mut records = Vec::new();
        for (path, labels, testing) in files {
            let mut names = names_of(path);
            let folder = names.remove(0);
            let file = FoundFile { path: root.join(path), names };
            if testing {
                records.push(testing_record(&file, &folder, labels.to_vec()));
            } else {
                training_records(std::slice::from_ref(&file), &folder, &mut records)?;
            }
        }
        self.set_of(records, name)
    }

    fn set_of(&self, records: Vec<ClipRecord>, name: &str) -> Result<DataSet> {
        let mut records = sorted_by_id(records, name)?;
        let shares = [self.training_share_of_test, self.validation_share_of_test];
        move_shares_of_test(&mut records, shares);
        let classes = Classes::new(INSTRUMENTS);
        let set = DataSet { name: name.to_owned(), classes, records, notes: Vec::new() };
        Ok(match &self.classes {
            Some(wanted) => keep_instruments(set, wanted),
            None => set,
        })
    }
}

/// Checks a choice of instruments.
pub(super) fn classes_fault(classes: Option<&[String]>) -> Option<Fault> {
    let classes = classes?;
    let sentence = match classes
        .iter()
        .enumerate()
        .find(|(i, class)| !INSTRUMENTS.contains(&class.as_str()) || classes[..*i].contains(class))
    {
        Some((_, class)) if !INSTRUMENTS.contains(&class.as_str()) => {
            format!("no instrument {class:?}; the instruments are {}", INSTRUMENTS.join(", "))
        }
        Some((_, class)) => format!("contains {class:?} twice"),
        None if classes.is_empty() => "is empty; remove it for all instruments".to_owned(),
        None => return None,
    };
    Some(Fault::new("classes", sentence))
}

/// Keeps the recordings with at least one of the wanted instruments, which become the classes.
fn keep_instruments(set: DataSet, wanted: &[String]) -> DataSet {
    let classes = Classes::new(wanted);
    let mut records = set.records;
    for record in &mut records {
        let own = record.labels.iter().filter_map(|&label| classes.index(set.classes.name(label)));
        record.labels = Labels::new(own.collect(), Vec::new());
    }
    records.retain(|record| !record.labels.is_empty());
    DataSet { classes, records, ..set }
}

static TRAINING_NAME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^(?:\d+__)?\[(\w{3})\](?:\[(dru|nod|---)\])?\[(cou_fol|cla|pop_roc|lat_sou|jaz_blu)\](\d+)__\d+$")
        .expect("the names of IRMAS")
});

static FIRST_TAG: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^(?:\d+__)?\[(\w{3})\]").expect("a first tag"));

static EXCERPT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?:__|-)\d+$").expect("the number of an excerpt"));

fn training_records(found: &[FoundFile], folder: &str, records: &mut Vec<ClipRecord>) -> Result<()> {
    let mut nameless = Vec::new();
    for file in found {
        let (stem, extension) = file.stem_and_extension();
        if extension != "wav" {
            continue;
        }
        let in_folder = file.folders().iter().rev().find_map(|name| instrument(name));
        let in_name = FIRST_TAG.captures(stem).and_then(|tags| instrument(&tags[1]));
        let Some(label) = in_folder.or(in_name) else {
            nameless.push(file.names.join("/"));
            continue;
        };
        let mut tags = BTreeMap::new();
        let song = match TRAINING_NAME.captures(stem) {
            Some(parts) => {
                tags.insert("genre".to_owned(), parts[3].to_owned());
                match parts.get(2).map(|drums| drums.as_str()) {
                    Some("dru") => tags.insert("drums".to_owned(), "yes".to_owned()),
                    Some("nod") => tags.insert("drums".to_owned(), "no".to_owned()),
                    _ => None,
                };
                parts[4].to_owned()
            }
            // A clip with a name outside the scheme is its own song, or one with its numbered neighbours.
            None => without_excerpt(stem),
        };
        let id = format!("{folder}/{}", file.names.join("/"));
        let group = format!("training/{song}");
        records.push(ClipRecord { group, tags, ..ClipRecord::new(id, &file.path, vec![label]) });
    }
    ensure!(
        nameless.is_empty(),
        "{} with no known instrument: neither the folder nor the first tag of the name is one of {} (`kind = \"folder\"` \
         reads any class folders):{}",
        count(nameless.len(), "clip"),
        INSTRUMENTS.join(", "),
        listed(&nameless)
    );
    Ok(())
}

fn testing_records(found: &[FoundFile], folder: &str, records: &mut Vec<ClipRecord>) -> Result<()> {
    let mut recordings: BTreeMap<(&[String], &str), Vec<&FoundFile>> = BTreeMap::new();
    let mut label_files: BTreeMap<(&[String], &str), Vec<&FoundFile>> = BTreeMap::new();
    for file in found {
        let (stem, extension) = file.stem_and_extension();
        let into = match extension.as_str() {
            "wav" => &mut recordings,
            "txt" if !stem.eq_ignore_ascii_case("readme") => &mut label_files,
            _ => continue,
        };
        into.entry((file.folders(), stem)).or_default().push(file);
    }
    let twins: Vec<String> = recordings
        .values()
        .chain(label_files.values())
        .filter(|files| files.len() > 1)
        .flat_map(|files| files.iter().map(|file| format!("{:?}", file.path)))
        .collect();
    ensure!(
        twins.is_empty(),
        "{} files have equal names apart from the encoding of accents and the case of the extension; keep one of each:{}",
        twins.len(),
        listed(&twins)
    );
    let name_of = |key: &(&[String], &str), extension: &str| {
        let mut names = key.0.to_vec();
        names.push(format!("{}.{extension}", key.1));
        names.join("/")
    };
    let without_labels: Vec<String> =
        recordings.keys().filter(|key| !label_files.contains_key(*key)).map(|key| name_of(key, "wav")).collect();
    let without_recording: Vec<String> =
        label_files.keys().filter(|key| !recordings.contains_key(*key)).map(|key| name_of(key, "txt")).collect();
    if !without_labels.is_empty() || !without_recording.is_empty() {
        bail!("{}", orphans(&without_labels, &without_recording));
    }
    let mut faults = Vec::new();
    for (key, files) in &recordings {
        let file = files[0];
        let labels = match read_labels(&label_files[key][0].path) {
            Ok(labels) => labels,
            Err(fault) => {
                faults.push(format!("{}: {fault:#}", name_of(key, "txt")));
                continue;
            }
        };
        records.push(testing_record(file, folder, labels));
    }
    ensure!(faults.is_empty(), "{} label files cannot be read:{}", faults.len(), listed(&faults));
    Ok(())
}

fn testing_record(file: &FoundFile, folder: &str, labels: Vec<usize>) -> ClipRecord {
    let group = format!("testing/{}", without_excerpt(file.stem_and_extension().0));
    let id = format!("{folder}/{}", file.names.join("/"));
    ClipRecord { group, subset: Subset::Testing, ..ClipRecord::new(id, &file.path, labels) }
}

fn orphans(without_labels: &[String], without_recording: &[String]) -> String {
    let mut message = String::new();
    if !without_labels.is_empty() {
        message +=
            &format!("{} with no label file:{}", count(without_labels.len(), "recording"), listed(without_labels));
    }
    if !without_recording.is_empty() {
        let gap = if message.is_empty() { "" } else { "\n" };
        message +=
            &format!("{gap}{} label files have no recording:{}", without_recording.len(), listed(without_recording));
    }
    let strange = |names: &[String]| names.iter().any(|name| !name.is_ascii() || name.contains("\\x"));
    message += if strange(without_labels) || strange(without_recording) {
        "\nSome of these names hold letters outside ASCII: a zip tool that takes their encoding for another one gives a \
         recording and its labels different names. Unpack the zips again with a tool that keeps UTF-8 names (`7z x`, \
         `bsdtar -xf`), or rename the files."
    } else {
        "\nA recording NAME.wav needs its labels in NAME.txt beside it: unpack the zips again, or remove these files."
    };
    message
}

/// Reads one code per line, which ends with a tab. A byte order mark, CR and blank lines are ignored.
fn read_labels(path: &Path) -> Result<Vec<usize>> {
    let text = std::fs::read_to_string(path).context("read it as text")?;
    let mut labels = BTreeSet::new();
    for (i, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let code = line.trim();
        if code.is_empty() {
            continue;
        }
        let label = instrument(code)
            .with_context(|| format!("line {} says {code:?}, which is not one of {}", i + 1, INSTRUMENTS.join(", ")))?;
        labels.insert(label);
    }
    ensure!(!labels.is_empty(), "it contains no instrument");
    Ok(labels.into_iter().collect())
}

fn instrument(code: &str) -> Option<usize> {
    INSTRUMENTS.iter().position(|known| *known == code)
}

fn without_excerpt(stem: &str) -> String {
    match EXCERPT.find(stem) {
        Some(number) if number.start() > 0 => stem[..number.start()].to_owned(),
        _ => stem.to_owned(),
    }
}

/// Moves the first share of the testing recordings, in bytewise order of the ids and rounded to the nearest number, to training, and
/// the share after it to validation. A song with a recording before a border moves as a whole: training and validation get a few
/// more recordings than their share, never a part of a song.
fn move_shares_of_test(records: &mut [ClipRecord], [training, validation]: [f64; 2]) {
    let mut testing: Vec<usize> = (0..records.len()).filter(|&i| records[i].subset == Subset::Testing).collect();
    let all = testing.len() as f64;
    for (share, subset) in [(training, Subset::Training), (validation, Subset::Validation)] {
        let border = ((share * all).round() as usize).min(testing.len());
        let songs: BTreeSet<String> = testing[..border].iter().map(|&i| records[i].group.clone()).collect();
        testing.retain(|&i| {
            let moves = songs.contains(&records[i].group);
            if moves {
                records[i].subset = subset;
            }
            !moves
        });
    }
}

/// The faults of the shares of the testing recordings that move to training and to validation.
pub(super) fn shares_faults(training: f64, validation: f64) -> Vec<Fault> {
    let wrong = |share: f64| (!(0.0..=1.0).contains(&share)).then(|| format!("{share} is not a share from 0 to 1"));
    let nothing_left = || {
        let leaves_nothing = validation > 0.0 && training + validation >= 1.0;
        leaves_nothing.then(|| format!("training_share_of_test {training} and {validation} leave nothing to test on"))
    };
    Fault::of_keys([
        ("training_share_of_test", wrong(training)),
        ("validation_share_of_test", wrong(validation).or_else(nothing_left)),
    ])
}

/// Whether `folder` has the layout of IRMAS.
pub(super) fn is_in_layout(folder: &Path) -> bool {
    folders_in(folder).is_ok_and(|folders| folders.iter().any(|(name, _)| name == TRAINING_FOLDER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_of_instruments_drops_other_labels_and_recordings_without_any() {
        let record = |id: &str, labels: &[usize]| ClipRecord {
            subset: Subset::Testing,
            ..ClipRecord::new(id, id, labels.to_vec())
        };
        let records = vec![record("a", &[0, 10]), record("b", &[3]), record("c", &[0])];
        let set = DataSet { name: "x".into(), classes: Classes::new(INSTRUMENTS), records, notes: Vec::new() };
        let chosen = keep_instruments(set, &["voi".to_owned(), "cel".to_owned()]);
        assert_eq!(chosen.classes.names(), ["voi", "cel"]);
        let kept: Vec<(&str, &[usize])> = chosen.records.iter().map(|r| (r.id.as_str(), &r.labels[..])).collect();
        assert_eq!(kept, [("a", &[0, 1][..]), ("c", &[1][..])]);
        assert!(
            classes_fault(Some(&["cel".into(), "tuba".into()])).unwrap().sentence.contains("no instrument \"tuba\"")
        );
        assert!(classes_fault(Some(&["cel".into(), "cel".into()])).unwrap().sentence.contains("twice"));
        assert!(classes_fault(Some(&["cel".into()])).is_none() && classes_fault(None).is_none());
    }

    #[test]
    fn shares_of_the_testing_recordings_move_in_order_and_in_whole_songs() {
        let record = |n: usize| ClipRecord {
            group: format!("song {}", n / 2),
            subset: if n < 10 { Subset::Testing } else { Subset::Training },
            ..ClipRecord::new(format!("{n:02}"), "x", vec![0])
        };
        let moved = |shares: [f64; 2]| {
            let mut records: Vec<ClipRecord> = (0..11).map(record).collect();
            move_shares_of_test(&mut records, shares);
            let of = |subset| records.iter().filter(move |r| r.subset == subset).count();
            [Subset::Training, Subset::Validation, Subset::Testing].map(of)
        };
        assert_eq!(moved([0.0, 0.0]), [1, 0, 10]);
        assert_eq!(moved([0.2, 0.4]), [3, 4, 4]);
        // The third and the fifth recording end no song.
        assert_eq!(moved([0.3, 0.1]), [5, 2, 4]);
        assert_eq!(moved([1.0, 0.5]), [11, 0, 0]);
        assert_eq!(shares_faults(0.5, 0.5)[0].key, "validation_share_of_test");
        assert_eq!(shares_faults(1.5, 0.0)[0].key, "training_share_of_test");
        assert!(shares_faults(1.0, 0.0).is_empty() && shares_faults(0.5, 0.25).is_empty());
    }
}
