//! Data sets with one folder per class, or with a label file beside each recording.
//!
//! The class is the folder directly below the root (with `part_folders`: below the folder of the subset); deeper folders belong
//! to it. Files count as recordings by their extension; whether they are is known only after decoding.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entries::{Entries, Entry};
use super::walk::{FoundFile, files_below, folders_in};
use super::{
    ClipRecord, CommonKeys, DataDirs, DataKind, DataSet, MissingData, Subset, some_of, sorted_by_id, subset_named,
};
use timbre_core::{
    labels::Classes,
    registry::Fault,
    text::{count, one_line},
};
use timbre_signal::audio::{AUDIO_EXTENSIONS, UNREAD_EXTENSIONS};

/// Recordings in folders named after their classes, or with label files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Folder {
    #[serde(flatten)]
    pub common: CommonKeys,
    /// Class folders to read, in the order of the classes. Default: every folder with a recording, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<String>>,
    /// Regular expression on the file name; its first capture group is the song (or performer), which no split divides.
    /// Default: every file is a group of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Regular expression on the file name; its first capture group is the official fold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fold: Option<String>,
    /// Whether the class folders are in folders named training, validation and test (or train, valid, val, dev, testing).
    pub part_folders: bool,
    /// The classes of a recording are in a file with its name and this ending beside it, and folders name no classes: "txt", one
    /// class a line (also IRMAS's and Audacity's), or "jams", the values of its tags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_files: Option<LabelFiles>,
}

impl DataKind for Folder {
    fn version(&self) -> u32 {
        1
    }

    fn common_keys(&self) -> &CommonKeys {
        &self.common
    }

    fn own_faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (key, pattern) in [("group", &self.group), ("fold", &self.fold)] {
            if let Some(Err(sentence)) = pattern.as_deref().map(capturing) {
                faults.push(Fault::new(key, sentence));
            }
        }
        if self.classes.is_some() && self.label_files.is_some() {
            faults.push(Fault::new(
                "classes",
                "names folders, and `label_files` none: choose classes with `labels.include`",
            ));
        }
        if let Some(classes) = &self.classes {
            let distinct: BTreeSet<_> = classes.iter().collect();
            if classes.is_empty() {
                faults.push(Fault::new("classes", "is empty; remove it to use every folder"));
            } else if distinct.len() < classes.len() {
                faults.push(Fault::new("classes", "contains a class twice"));
            }
        }
        faults
    }

    fn load(&self, dirs: &DataDirs) -> Result<DataSet> {
        let common = &self.common;
        let name = common.name_or("folder");
        let root = common.root_in(dirs, "folder");
        if !root.is_dir() {
            return Err(MissingData::new(&name, vec![root.clone()], root, common).into());
        }
        if let Some(format) = self.label_files {
            return self.with_label_files(format, dirs);
        }
        let FolderContent { clips, mut notes, outside, unread } =
            self.content(&root).with_context(|| format!("read data set `{name}` in {root:?}"))?;
        if clips.is_empty() && !outside.is_empty() {
            bail!(
                "read data set `{name}`: no recording in {root:?} is in the folder of a class; found {} outside of one: {}: \
                 put each recording into a folder with the name of its class",
                count(outside.len(), "recording"),
                some_of(5, outside.iter().map(String::as_str))
            );
        }
        if let (Some(sentence), true) = (&unread, clips.is_empty()) {
            bail!("read data set `{name}` in {root:?}: it has only {sentence}");
        }
        notes.extend(unread);
        if clips.is_empty() {
            let layout = if self.part_folders { "PART/CLASS/RECORDING" } else { "CLASS/RECORDING" };
            let wanted = root.join(format!("{layout} ({}, …)", AUDIO_EXTENSIONS[..4].join(", ")));
            return Err(MissingData::new(&name, vec![wanted], root, common).into());
        }
        let classes = self.class_list(&clips).with_context(|| format!("read data set `{name}` in {root:?}"))?;
        let mut records = Vec::with_capacity(clips.len());
        let group = Captured::new("group", self.group.as_deref())?;
        let fold = Captured::new("fold", self.fold.as_deref())?;
        for clip in clips {
            let Some(label) = classes.index(&clip.class) else { continue };
            let song =
                group.of(&clip.file_name).with_context(|| format!("read data set `{name}`, file {:?}", clip.path))?;
            let fold =
                fold.of(&clip.file_name).with_context(|| format!("read data set `{name}`, file {:?}", clip.path))?;
            let own = ClipRecord::new(clip.id, clip.path, vec![label]);
            records.push(ClipRecord {
                group: song.unwrap_or_else(|| own.id.clone()),
                subset: clip.subset,
                fold,
                ..own
            });
        }
        Ok(DataSet { records: sorted_by_id(records, &name)?, name, classes, notes })
    }
}

impl Folder {
    fn with_label_files(&self, format: LabelFiles, dirs: &DataDirs) -> Result<DataSet> {
        let mut set = Entries::begin(&self.common, "folder", dirs, &["."], "its folder")?;
        let read = |set: &mut Entries| -> Result<()> {
            let parts = match self.part_folders {
                true => folders_in(&set.root)?,
                false => vec![(String::new(), set.root.clone())],
            };
            let (group, fold) =
                (Captured::new("group", self.group.as_deref())?, Captured::new("fold", self.fold.as_deref())?);
            for (part, path) in parts {
                let subset = self.part_folders.then(|| subset_of_part(&part)).transpose()?;
                let above = if part.is_empty() { part } else { format!("{part}/") };
                let files = files_below(&path)?;
                let key =
                    |file: &FoundFile| [file.folders(), &[file.stem_and_extension().0.to_owned()]].concat().join("/");
                let is_label = |file: &&FoundFile| file.stem_and_extension().1 == format.extension();
                let mut label_files: BTreeMap<String, &FoundFile> =
                    files.iter().filter(is_label).map(|file| (key(file), file)).collect();
                for file in &files {
                    let (stem, extension) = file.stem_and_extension();
                    if !AUDIO_EXTENSIONS.contains(&extension.as_str()) {
                        continue;
                    }
                    let path = format!("{above}{}", file.names.join("/"));
                    let Some(labels) = label_files.remove(&key(file)) else {
                        let kind =
                            format!("recordings have no label file (NAME.{} beside NAME.wav)", format.extension());
                        set.faults.add(&kind, path);
                        continue;
                    };
                    match format.read(&labels.path) {
                        Ok(labels) => set.entries.push(Entry {
                            labels,
                            subset,
                            group: group.of(file.file_name())?,
                            fold: fold.of(file.file_name())?,
                            path,
                            ..Entry::default()
                        }),
                        Err(error) => {
                            set.faults.add("label files cannot be read", format!("{path}: {stem}: {error:#}"))
                        }
                    }
                }
                label_files.retain(|name, _| !name.to_lowercase().ends_with("readme"));
                for name in label_files.keys() {
                    let name = format!("{above}{name}.{}", format.extension());
                    set.faults.add("label files have no recording", name);
                }
            }
            Ok(())
        };
        read(&mut set).with_context(|| format!("read data set `{}`", set.name))?;
        set.into_set()
    }
}

/// The format of label files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LabelFiles {
    /// One class a line. Of Audacity's labels, with times before them, the classes are used and not the times.
    Txt,
    /// The values of the annotations whose namespace begins with `tag`.
    Jams,
}

impl LabelFiles {
    fn extension(self) -> &'static str {
        match self {
            LabelFiles::Txt => "txt",
            LabelFiles::Jams => "jams",
        }
    }

    fn read(self, path: &Path) -> Result<Vec<String>> {
        let text = std::fs::read_to_string(path)?;
        match self {
            LabelFiles::Txt => Ok(text.trim_start_matches('\u{feff}').lines().filter_map(class_of_line).collect()),
            LabelFiles::Jams => classes_of_jams(&serde_json::from_str(&text)?),
        }
    }
}

fn class_of_line(line: &str) -> Option<String> {
    let cells: Vec<&str> = line.split('\t').map(str::trim).collect();
    let class = match cells[..] {
        [start, end, class, ..] if start.parse::<f64>().is_ok() && end.parse::<f64>().is_ok() => class,
        _ => line.trim(),
    };
    (!class.is_empty()).then(|| class.to_owned())
}

/// The values are a list of observations, or in older files one list of values.
fn classes_of_jams(json: &serde_json::Value) -> Result<Vec<String>> {
    let annotations = json["annotations"].as_array().context("it has no annotations")?;
    let is_tag = |annotation: &&serde_json::Value| {
        annotation["namespace"].as_str().is_some_and(|namespace| namespace.starts_with("tag"))
    };
    let values = |annotation: &serde_json::Value| -> Vec<String> {
        let data = &annotation["data"];
        let observed = data.as_array().into_iter().flatten().map(|observation| &observation["value"]);
        let observed = observed.chain(data["value"].as_array().into_iter().flatten());
        observed.filter_map(|value| value.as_str().map(str::to_owned)).collect()
    };
    Ok(annotations.iter().filter(is_tag).flat_map(values).collect())
}

/// A file with the extension of a recording, and the class and subset of its folders.
struct ClassFile {
    id: String,
    path: PathBuf,
    file_name: String,
    class: String,
    subset: Subset,
}

/// What a folder with class folders holds.
struct FolderContent {
    clips: Vec<ClassFile>,
    /// What is left out, in sentences.
    notes: Vec<String>,
    /// Recordings that are in no class folder, by their paths.
    outside: Vec<String>,
    /// A sentence about audio files that the decoder does not read.
    unread: Option<String>,
}

impl Folder {
    fn content(&self, root: &Path) -> Result<FolderContent> {
        let folders = folders_in(root)?;
        let mut walked = Walked::default();
        if self.part_folders {
            for (name, path) in folders {
                let subset = subset_of_part(&name)?;
                walked.add(&path, &format!("{name}/"), subset)?;
            }
        } else {
            ensure!(
                self.classes.is_some()
                    || folders.is_empty()
                    || folders.iter().any(|(name, _)| subset_named(name).is_none()),
                "the folders are named like subsets ({}), not like classes: set `part_folders = true`, or list the `classes`",
                folders.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
            );
            walked.add(root, "", Subset::Training)?;
        }
        let Walked { clips, outside, mut empty, unread } = walked;
        if let Some(classes) = &self.classes {
            empty.retain(|folder| classes.iter().any(|class| folder.rsplit('/').next() == Some(class.as_str())));
        }
        let note = |folders_or_files: &[String], sentence: &str| {
            let names = some_of(10, folders_or_files.iter().map(String::as_str));
            (!folders_or_files.is_empty()).then(|| format!("{sentence}: {names}"))
        };
        let notes = [
            note(&empty, "class folders without a recording"),
            note(&outside, "recordings in no class folder, which are left out"),
        ];
        let formats: Vec<String> = unread.iter().map(|(extension, count)| format!("{count} .{extension}")).collect();
        let formats = formats.join(", ");
        let unread = (!unread.is_empty())
            .then(|| format!("audio files in formats that are not read: {formats}; convert them, e.g. to FLAC"));
        Ok(FolderContent { clips, notes: notes.into_iter().flatten().collect(), outside, unread })
    }

    fn class_list(&self, clips: &[ClassFile]) -> Result<Classes> {
        let found: BTreeSet<&str> = clips.iter().map(|clip| clip.class.as_str()).collect();
        // Every table joins the classes of a recording by `;`.
        if let Some(class) = found.iter().find(|class| class.contains(';')) {
            let class = one_line(class);
            bail!("the class `{class}` has a `;` in its name, which separates classes in tables: rename its folder");
        }
        let Some(wanted) = &self.classes else { return Ok(Classes::new(found)) };
        let absent: Vec<&str> = wanted.iter().map(String::as_str).filter(|class| !found.contains(class)).collect();
        ensure!(
            absent.is_empty(),
            "`classes` names {} without a recording: {}; the folders are {}",
            if absent.len() == 1 { "a folder" } else { "folders" },
            one_line(&absent.join(", ")),
            one_line(&found.into_iter().collect::<Vec<_>>().join(", "))
        );
        Ok(Classes::new(wanted))
    }
}

/// The files of class folders. All paths begin below the root of the set.
#[derive(Default)]
struct Walked {
    clips: Vec<ClassFile>,
    /// Recordings beside the class folders, which have no class.
    outside: Vec<String>,
    /// Class folders without a recording.
    empty: Vec<String>,
    /// Number of audio files in formats that the decoder does not read, by extension.
    unread: BTreeMap<String, usize>,
}

impl Walked {
    /// Adds the files below `folder`, whose path is `above`.
    fn add(&mut self, folder: &Path, above: &str, subset: Subset) -> Result<()> {
        let mut found: BTreeSet<String> = BTreeSet::new();
        for file in files_below(folder)? {
            let (_, extension) = file.stem_and_extension();
            let id = format!("{above}{}", file.names.join("/"));
            if AUDIO_EXTENSIONS.contains(&extension.as_str()) {
                let Some(class) = file.folders().first().cloned() else {
                    self.outside.push(id);
                    continue;
                };
                found.insert(class.clone());
                self.clips.push(ClassFile {
                    id,
                    class,
                    subset,
                    file_name: file.file_name().to_owned(),
                    path: file.path,
                });
            } else if UNREAD_EXTENSIONS.contains(&extension.as_str()) {
                *self.unread.entry(extension).or_default() += 1;
            }
        }
        let classes = folders_in(folder)?.into_iter().map(|(name, _)| name);
        self.empty.extend(classes.filter(|name| !found.contains(name)).map(|name| format!("{above}{name}")));
        self.outside.sort();
        Ok(())
    }
}

fn subset_of_part(name: &str) -> Result<Subset> {
    subset_named(name).with_context(|| {
        format!(
            "`part_folders` is set, but {name:?} is not one of training, train, validation, valid, val, dev, test, testing, eval, \
             evaluation"
        )
    })
}

fn capturing(pattern: &str) -> std::result::Result<Regex, String> {
    let regex = Regex::new(pattern).map_err(|error| format!("{pattern:?} is not a regular expression: {error}"))?;
    if regex.captures_len() < 2 {
        return Err(format!(
            "{pattern:?} has no capture group: put the part of the file name to capture in parentheses"
        ));
    }
    Ok(regex)
}

/// A regular expression that captures a part of a file name. A name without a match is an error: a file that silently became a
/// song of its own could leak into the test set.
struct Captured {
    key: &'static str,
    regex: Option<Regex>,
}

impl Captured {
    fn new(key: &'static str, pattern: Option<&str>) -> Result<Self> {
        let regex = pattern.map(capturing).transpose().map_err(|sentence| anyhow::anyhow!("`{key}`: {sentence}"))?;
        Ok(Captured { key, regex })
    }

    fn of(&self, file_name: &str) -> Result<Option<String>> {
        let Some(regex) = &self.regex else { return Ok(None) };
        match regex.captures(file_name).and_then(|found| found.get(1)) {
            Some(text) => Ok(Some(text.as_str().to_owned())),
            None => bail!(
                "`{}` does not match the file name {file_name:?}: widen {:?}, or take the file out of the set",
                self.key,
                regex.as_str()
            ),
        }
    }
}
