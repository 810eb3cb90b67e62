//! Files on disk that are in no recording, and label files without a recording.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use timbre_signal::audio::Excerpt;
use unicode_normalization::UnicodeNormalization;

use super::{Finding, FindingKind, IsNoRecording};
use crate::data::ClipRecord;
use crate::data::several::SET_TAG;
use crate::data::walk::{FoundFile, files_below};

/// Endings of label files that lie beside their recordings.
const LABEL_EXTENSIONS: [&str; 4] = ["txt", "jams", "lab", "csv"];

/// Compares the files below the root of the set, or of each of several sets, with its recordings. Audio files that
/// `is_no_recording` are meant to be in none.
pub fn unused_and_orphans(records: &[ClipRecord], is_no_recording: IsNoRecording) -> Vec<Finding> {
    let used: HashSet<&Path> = records.iter().map(|record| record.path.as_path()).collect();
    let mut sets: BTreeMap<Option<&str>, Vec<&ClipRecord>> = BTreeMap::new();
    records.iter().for_each(|record| sets.entry(set_of(record)).or_default().push(record));
    let roots: BTreeMap<PathBuf, Option<&str>> =
        sets.iter().filter_map(|(set, records)| Some((root(records)?, *set))).collect();
    let below = |(root, set): (&PathBuf, &Option<&str>)| below(root, &used, &|file| is_no_recording(*set, file));
    roots.iter().flat_map(below).collect()
}

fn below(root: &Path, used: &HashSet<&Path>, is_no_recording: &dyn Fn(&str) -> bool) -> Vec<Finding> {
    let Ok(files) = files_below(root) else { return Vec::new() };
    let is_unused = |file: &&FoundFile| {
        file.is_audio() && !used.contains(file.path.as_path()) && !is_no_recording(&file.names.join("/"))
    };
    let unused: Vec<&FoundFile> = files.iter().filter(is_unused).collect();
    let mut findings: Vec<Finding> =
        unused.iter().map(|file| Finding::of(FindingKind::UnusedFile, &file.names.join("/"), String::new())).collect();
    findings.extend(orphans(&files, &unused));
    findings
}

/// The set of a recording where several sets are joined: its ids begin with the name.
fn set_of(record: &ClipRecord) -> Option<&str> {
    let name = record.tags.get(SET_TAG)?;
    record.id.strip_prefix(name.as_str())?.starts_with('/').then_some(name)
}

/// The folder to which the ids are relative, where all recordings agree on it.
fn root(records: &[&ClipRecord]) -> Option<PathBuf> {
    let of = |record: &ClipRecord| {
        let id = Excerpt::split_name(&record.id).0;
        let own = set_of(record).map_or(id, |set| &id[set.len() + 1..]);
        record.path.ancestors().nth(own.split('/').count()).map(Path::to_owned)
    };
    let first = of(records.first()?)?;
    records.iter().all(|record| of(record).as_ref() == Some(&first)).then_some(first)
}

/// Label files without an audio file of their name beside them, in folders where others of that ending have one. A name that
/// differs from that of an unused recording only by letters outside of ASCII or by case was probably damaged when it was unpacked.
fn orphans(files: &[FoundFile], unused: &[&FoundFile]) -> Vec<Finding> {
    let place = |file: &FoundFile| (file.folders().to_vec(), file.stem_and_extension().0.to_owned());
    let audio: HashSet<_> = files.iter().filter(|file| file.is_audio()).map(place).collect();
    let mut by_folder: BTreeMap<(Vec<String>, String), Vec<&FoundFile>> = BTreeMap::new();
    for file in files {
        let (_, ending) = file.stem_and_extension();
        if LABEL_EXTENSIONS.contains(&ending.as_str()) {
            by_folder.entry((file.folders().to_vec(), ending)).or_default().push(file);
        }
    }
    let plain: HashMap<String, &FoundFile> = unused.iter().map(|file| (plain_stem(file), *file)).collect();
    let mut findings = Vec::new();
    for labels in by_folder.into_values() {
        let (with, without): (Vec<&FoundFile>, Vec<&FoundFile>) =
            labels.into_iter().partition(|file| audio.contains(&place(file)));
        if with.is_empty() {
            continue;
        }
        for file in without {
            let probable = plain.get(&plain_stem(file)).map(|file| format!(": probably of {}", file.names.join("/")));
            findings.push(Finding::of(FindingKind::OrphanLabels, &file.names.join("/"), probable.unwrap_or_default()));
        }
    }
    findings
}

/// The folders and the stem in lower case with the letters of ASCII alone, which every damage of the encoding leaves alone.
fn plain_stem(file: &FoundFile) -> String {
    let stem = file.stem_and_extension().0;
    let folders = file.folders().join("/");
    format!("{folders}/{stem}")
        .nfc()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '/')
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_outside_of_the_set_and_label_files_without_recordings_are_found_in_any_unicode_form() {
        let dir = tempfile::tempdir().unwrap();
        let names = [
            "a/one.wav",
            "a/one.txt",
            "a/extra.wav",
            "a/gone.txt",
            "a/cafe\u{301}.wav",
            "a/caf\u{e9}.txt",
            "a/B\u{fc}rger.wav",
            "a/b\u{251c}\u{255d}rger.txt",
            "b/README.txt",
            "b/two.flac",
        ];
        for name in names {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
        let record = |id: &str, file: &str| ClipRecord::new(id, dir.path().join(file), vec![0]);
        let records = [
            record("a/one.wav", "a/one.wav"),
            record("a/caf\u{e9}.wav", "a/cafe\u{301}.wav"),
            record("b/two.flac#t=1,2", "b/two.flac"),
        ];
        let found: Vec<(FindingKind, String, String)> = unused_and_orphans(&records, &|_, _| false)
            .into_iter()
            .map(|finding| (finding.kind, finding.recordings.concat(), finding.detail))
            .collect();
        let expected = [
            (FindingKind::UnusedFile, "a/B\u{fc}rger.wav", ""),
            (FindingKind::UnusedFile, "a/extra.wav", ""),
            (FindingKind::OrphanLabels, "a/b\u{251c}\u{255d}rger.txt", ": probably of a/B\u{fc}rger.wav"),
            (FindingKind::OrphanLabels, "a/gone.txt", ""),
        ];
        assert_eq!(found, expected.map(|(kind, name, detail)| (kind, name.to_owned(), detail.to_owned())));
        // Of several sets each has its own root.
        let joined: Vec<ClipRecord> = records
            .iter()
            .map(|record| ClipRecord {
                id: format!("birds/{}", record.id),
                tags: [(SET_TAG.to_owned(), "birds".to_owned())].into(),
                ..record.clone()
            })
            .collect();
        let all = |records: &[ClipRecord]| unused_and_orphans(records, &|_, _| false);
        assert_eq!(all(&joined), all(&records));
        assert!(unused_and_orphans(&records, &|_, file| file == "a/extra.wav").len() + 1 == all(&records).len());
        // Without a common root nothing is listed.
        let elsewhere = ClipRecord::new("c.wav", "/nowhere/c.wav", vec![0]);
        assert_eq!(all(&[records[0].clone(), elsewhere]), []);
    }
}
