//! A folder a class: the layout that needs no label file.
//!
//! The class is the folder directly below the root (below the part, with `part_folders`); what lies deeper belongs to it. A file
//! counts as a recording by its extension alone: whether it really is one, the decoder finds out and counts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::walk::{files_below, folders_in};
use super::{About, ClipRecord, CommonKeys, DataDirs, DataKind, DataSet, MissingData, Subset, sorted_by_id};
use timbre_core::labels::Classes;
use timbre_core::registry::Fault;

/// What the decoder knows how to open.
pub const AUDIO_EXTENSIONS: [&str; 21] = [
    "wav", "wave", "flac", "ogg", "oga", "mp3", "mp2", "mp1", "aac", "m4a", "m4b", "mp4", "aif", "aiff", "aifc", "caf",
    "mka", "mkv", "opus", "weba", "webm",
];

/// Recordings in folders that are named after their classes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Folder {
    /// Name of the set: `data/NAME.toml`.
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Folder of the class folders; a relative one is below `data`. Left out: the name of the set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// Only the first so many usable training clips of each class, in bytewise order of their names. Left out: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub limit_per_class: Option<usize>,
    /// The class folders to read, in the order of the classes. Left out: every folder that holds a recording, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<String>>,
    /// Regular expression on the file name; its first capture group is the song (or performer), which no split cuts in two.
    /// Left out: every file stands alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Regular expression on the file name; its first capture group is the official fold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fold: Option<String>,
    /// The class folders lie in folders named training, validation and test (or train, valid, val, dev, testing).
    pub part_folders: bool,
    /// Where the set comes from.
    pub about: About,
}

impl DataKind for Folder {
    fn version(&self) -> u32 {
        1
    }

    fn common_keys(&self) -> CommonKeys<'_> {
        CommonKeys {
            name: self.name.as_deref(),
            root: self.root.as_deref(),
            limit_per_class: self.limit_per_class,
            about: &self.about,
        }
    }

    fn faults(&self) -> Vec<Fault> {
        let mut faults = self.common_keys().limit_faults();
        for (key, pattern) in [("group", &self.group), ("fold", &self.fold)] {
            if let Some(Err(sentence)) = pattern.as_deref().map(capturing) {
                faults.push(Fault::new(key, sentence));
            }
        }
        if let Some(classes) = &self.classes {
            let distinct: BTreeSet<_> = classes.iter().collect();
            if classes.is_empty() {
                faults.push(Fault::new("classes", "names no class; leave it out to take every folder"));
            } else if distinct.len() < classes.len() {
                faults.push(Fault::new("classes", "names a class twice"));
            }
        }
        faults
    }

    fn load(&self, places: &DataDirs) -> Result<DataSet> {
        let common = self.common_keys();
        let name = common.name_or("folder");
        let root = common.root_below(&places.data_dir, "folder");
        if !root.is_dir() {
            return Err(MissingData::new(&name, vec![root.clone()], root, &common).into());
        }
        let clips = self.clips(&root).with_context(|| format!("read data set `{name}` in {root:?}"))?;
        if clips.is_empty() {
            let missing = root.join(if self.part_folders { "PART/CLASS/….wav" } else { "CLASS/….wav" });
            return Err(MissingData::new(&name, vec![missing], root, &common).into());
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
            records.push(ClipRecord {
                group: song.unwrap_or_else(|| clip.id.clone()),
                id: clip.id,
                path: clip.path,
                labels: vec![label],
                subset: clip.subset,
                fold,
                tags: BTreeMap::new(),
            });
        }
        Ok(DataSet { records: sorted_by_id(records, &name)?, name, classes })
    }
}

/// A file that looks like a recording, and what its folders say.
struct Found {
    id: String,
    path: PathBuf,
    file_name: String,
    class: String,
    subset: Subset,
}

impl Folder {
    fn clips(&self, root: &Path) -> Result<Vec<Found>> {
        let mut clips = Vec::new();
        if !self.part_folders {
            let folders = folders_in(root)?;
            ensure!(
                self.classes.is_some()
                    || folders.is_empty()
                    || folders.iter().any(|(name, _)| subset_named(name).is_none()),
                "its folders are named like parts ({}), not like classes: set `part_folders = true`, or list the `classes`",
                folders.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
            );
            clips_in_classes(root, "", Subset::Training, &mut clips)?;
            return Ok(clips);
        }
        for (name, path) in folders_in(root)? {
            let subset = subset_named(&name).with_context(|| {
                format!("`part_folders` is set, but {name:?} is none of training, train, validation, valid, val, dev, test, testing")
            })?;
            clips_in_classes(&path, &format!("{name}/"), subset, &mut clips)?;
        }
        Ok(clips)
    }

    fn class_list(&self, clips: &[Found]) -> Result<Classes> {
        let there: BTreeSet<&str> = clips.iter().map(|clip| clip.class.as_str()).collect();
        // Every table joins the classes of a recording by it.
        if let Some(class) = there.iter().find(|class| class.contains(';')) {
            bail!(
                "the class `{class}` has a `;` in its name, which stands between classes in every table: rename its folder"
            );
        }
        let Some(wanted) = &self.classes else { return Ok(Classes::new(there)) };
        let absent: Vec<&str> = wanted.iter().map(String::as_str).filter(|class| !there.contains(class)).collect();
        ensure!(
            absent.is_empty(),
            "`classes` names {} without a recording: {}; there are {}",
            if absent.len() == 1 { "a folder" } else { "folders" },
            absent.join(", "),
            there.into_iter().collect::<Vec<_>>().join(", ")
        );
        Ok(Classes::new(wanted))
    }
}

fn clips_in_classes(folder: &Path, above: &str, subset: Subset, clips: &mut Vec<Found>) -> Result<()> {
    for file in files_below(folder)? {
        let (_, extension) = file.stem_and_extension();
        // A recording that lies beside the class folders has no class.
        let Some(class) = file.folders().first().cloned() else { continue };
        if AUDIO_EXTENSIONS.contains(&extension.as_str()) {
            let id = format!("{above}{}", file.names.join("/"));
            clips.push(Found { id, class, subset, file_name: file.file_name().to_owned(), path: file.path });
        }
    }
    Ok(())
}

fn subset_named(folder: &str) -> Option<Subset> {
    match folder.to_lowercase().as_str() {
        "training" | "train" => Some(Subset::Training),
        "validation" | "valid" | "val" | "dev" => Some(Subset::Validation),
        "testing" | "test" => Some(Subset::Testing),
        _ => None,
    }
}

fn capturing(pattern: &str) -> std::result::Result<Regex, String> {
    let regex = Regex::new(pattern).map_err(|error| format!("{pattern:?} is no regular expression: {error}"))?;
    if regex.captures_len() < 2 {
        return Err(format!(
            "{pattern:?} has no capture group: put what is to be taken from the file name in parentheses"
        ));
    }
    Ok(regex)
}

/// What a regular expression takes from a file name; a name that it does not match is an error, because a file that silently
/// became a song of its own could leak into the test side.
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
