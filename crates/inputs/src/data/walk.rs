//! Lists the files below a folder under normalised names.
//!
//! Names are in Unicode NFC, so that a set unpacked on another system has the same ids. Names are never used as patterns, since
//! real ones contain brackets.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use timbre_signal::audio::AUDIO_EXTENSIONS;
use unicode_normalization::UnicodeNormalization;

/// A file below the walked folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFile {
    pub path: PathBuf,
    /// The folders below the walked one and the file name last; NFC.
    pub names: Vec<String>,
}

impl FoundFile {
    pub fn file_name(&self) -> &str {
        self.names.last().expect("a file has a name")
    }

    /// The folders between the walked one and the file.
    pub fn folders(&self) -> &[String] {
        &self.names[..self.names.len() - 1]
    }

    /// Whether it has the extension of a format that the decoder reads.
    pub fn is_audio(&self) -> bool {
        AUDIO_EXTENSIONS.contains(&self.stem_and_extension().1.as_str())
    }

    /// The name without its last extension, and that extension in lower case.
    pub fn stem_and_extension(&self) -> (&str, String) {
        match self.file_name().rsplit_once('.') {
            Some((stem, extension)) if !stem.is_empty() => (stem, extension.to_lowercase()),
            _ => (self.file_name(), String::new()),
        }
    }
}

/// Every file below `folder`. Hidden files and the `__MACOSX` folders of zip files are skipped. A folder to which several links
/// lead is entered once: under its own name if it lies beside a link, else under the first.
pub fn files_below(folder: &Path) -> Result<Vec<FoundFile>> {
    let mut walk = Walk::default();
    walk.enter(folder, &mut Vec::new())?;
    Ok(walk.found)
}

/// The folders directly below `folder`, by name.
pub(super) fn folders_in(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut folders = Vec::new();
    for entry in entries(folder)?.into_iter().filter(Entry::is_folder) {
        folders.push((entry.name, entry.path));
    }
    folders.sort();
    Ok(folders)
}

/// The hidden folders directly below `folder`, whose names begin with a dot.
pub(super) fn hidden_folders_in(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let hidden = all_entries(folder)?.into_iter().filter(|entry| entry.name.starts_with('.') && entry.is_folder());
    Ok(hidden.map(|entry| (entry.name, entry.path)).collect())
}

#[derive(Default)]
struct Walk {
    /// Device and inode of each folder.
    entered: HashSet<(u64, u64)>,
    found: Vec<FoundFile>,
}

impl Walk {
    fn enter(&mut self, folder: &Path, above: &mut Vec<String>) -> Result<()> {
        let metadata = folder.metadata().with_context(|| format!("list the folder {folder:?}"))?;
        if !self.entered.insert((metadata.dev(), metadata.ino())) {
            return Ok(());
        }
        let mut entries = entries(folder)?;
        entries.sort_by(|a, b| (a.is_link, &a.name).cmp(&(b.is_link, &b.name)));
        for entry in entries {
            let is_folder = entry.is_folder();
            above.push(entry.name);
            if is_folder {
                self.enter(&entry.path, above)?;
            } else {
                self.found.push(FoundFile { path: entry.path, names: above.clone() });
            }
            above.pop();
        }
        Ok(())
    }
}

/// An entry of a folder. Its type comes with the list of the folder on common file systems, so that nothing asks for it again.
pub(super) struct Entry {
    pub name: String,
    pub path: PathBuf,
    is_link: bool,
    is_own_folder: bool,
}

impl Entry {
    /// Whether it is a folder, or a link to one.
    pub fn is_folder(&self) -> bool {
        self.is_own_folder || self.is_link && self.path.is_dir()
    }
}

/// The entries of a folder, apart from those that are skipped.
pub(super) fn entries(folder: &Path) -> Result<Vec<Entry>> {
    let mut entries = all_entries(folder)?;
    entries.retain(|entry| !entry.name.starts_with('.') && entry.name != "__MACOSX");
    Ok(entries)
}

fn all_entries(folder: &Path) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in folder.read_dir().with_context(|| format!("list the folder {folder:?}"))? {
        let entry = entry.with_context(|| format!("list the folder {folder:?}"))?;
        let kind = entry.file_type().with_context(|| format!("look at {:?}", entry.path()))?;
        let (name, path) = (readable(&entry.file_name()), entry.path());
        entries.push(Entry { name, path, is_link: kind.is_symlink(), is_own_folder: kind.is_dir() });
    }
    Ok(entries)
}

/// The parts of a path with `/`, in NFC.
pub(super) fn names_of(path: &str) -> Vec<String> {
    path.split('/').map(|name| readable(OsStr::new(name))).collect()
}

/// The name in NFC. Bytes that are not UTF-8 become `\xNN`, so that different names stay different.
fn readable(name: &OsStr) -> String {
    let mut text = String::new();
    for chunk in name.as_encoded_bytes().utf8_chunks() {
        text.extend(chunk.valid().nfc());
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_extension_is_removed() {
        let found = |name: &str| FoundFile { path: PathBuf::new(), names: vec!["a".into(), name.into()] };
        let stem = |name: &str| {
            let found = found(name);
            let (stem, extension) = found.stem_and_extension();
            (stem.to_owned(), extension)
        };
        assert_eq!(stem("04. Op. 3, No. 2.-11.WAV"), ("04. Op. 3, No. 2.-11".into(), "wav".into()));
        assert_eq!(stem("none"), ("none".into(), String::new()));
    }

    #[test]
    fn hidden_files_are_skipped_and_names_are_composed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("x/__MACOSX")).unwrap();
        for name in ["x/e\u{301}.wav", "x/._e.wav", "x/__MACOSX/f.wav", ".DS_Store"] {
            std::fs::write(dir.path().join(name), b"").unwrap();
        }
        let found = files_below(dir.path()).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].names, ["x", "\u{e9}.wav"]);
        assert!(found[0].path.exists(), "the path keeps the bytes of the disk");
    }

    #[cfg(unix)]
    #[test]
    fn names_that_are_not_unicode_stay_different() {
        use std::os::unix::ffi::OsStrExt;
        assert_eq!(readable(OsStr::from_bytes(b"caf\xe9.wav")), "caf\\xe9.wav");
        assert_ne!(readable(OsStr::from_bytes(b"\xe9")), readable(OsStr::from_bytes(b"\xe8")));
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_is_entered_once_however_many_links_lead_to_it() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let folder = |n: usize| dir.path().join(format!("f{n:02}"));
        // 2^25 paths lead to the last folder.
        for n in 0..26 {
            std::fs::create_dir(folder(n)).unwrap();
        }
        for n in 0..25 {
            for link in ["a", "b"] {
                symlink(folder(n + 1), folder(n).join(link)).unwrap();
            }
        }
        symlink(dir.path(), folder(25).join("circle")).unwrap();
        std::fs::write(folder(25).join("x.wav"), b"").unwrap();
        let names = |folder: &Path| {
            files_below(folder).unwrap().into_iter().map(|file| file.names.join("/")).collect::<Vec<_>>()
        };
        assert_eq!(names(&folder(24)), ["a/x.wav"]);
        assert_eq!(names(dir.path()).len(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_beside_a_link_to_it_keeps_its_own_name() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("viola")).unwrap();
        std::fs::write(dir.path().join("viola/x.wav"), b"").unwrap();
        std::os::unix::fs::symlink(dir.path().join("viola"), dir.path().join("alto")).unwrap();
        let found = files_below(dir.path()).unwrap();
        assert_eq!(found.iter().map(|file| file.names.join("/")).collect::<Vec<_>>(), ["viola/x.wav"]);
    }
}
