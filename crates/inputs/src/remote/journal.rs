//! Which version of each object is in a mirror: a file of JSON lines to which every download adds one.
//!
//! The last line of a key counts. A line that was cut off by a kill, or torn by another process, counts as none: the object is
//! then downloaded again.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// What identifies the bytes of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// When it was last written, in milliseconds since 1970.
    pub modified: i64,
}

impl Version {
    /// Whether two versions have the same bytes: by their ETags, or by the times of a server that has none.
    pub fn is_same(&self, other: &Version) -> bool {
        let same = match (&self.etag, &other.etag) {
            (Some(one), Some(another)) => one == another,
            _ => self.modified == other.modified,
        };
        same && self.size == other.size
    }
}

#[derive(Serialize, Deserialize)]
struct Line {
    key: String,
    #[serde(flatten)]
    version: Version,
}

/// The last version of each key. A file that is missing has none.
pub fn read(file: &Path) -> HashMap<String, Version> {
    let text = fs::read(file).unwrap_or_default();
    let lines = text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Line>(line).ok());
    lines.map(|line| (line.key, line.version)).collect()
}

/// Adds a version. One write, so that lines of processes at once do not mix.
pub fn append(file: &Path, key: &str, version: &Version) -> Result<()> {
    let line = Line { key: key.to_owned(), version: version.clone() };
    let mut line = serde_json::to_vec(&line)?;
    line.push(b'\n');
    let write = || File::options().append(true).create(true).open(file)?.write_all(&line);
    write().with_context(|| format!("cannot write {}: is the disk full?", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(etag: Option<&str>, modified: i64) -> Version {
        Version { size: 5, etag: etag.map(str::to_owned), modified }
    }

    #[test]
    fn the_last_line_of_a_key_counts_and_a_torn_line_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("objects.jsonl");
        append(&file, "a.wav", &version(Some("one"), 1)).unwrap();
        append(&file, "caf\u{e9}\n.wav", &version(None, 2)).unwrap();
        append(&file, "a.wav", &version(Some("two"), 3)).unwrap();
        let mut bytes = fs::read(&file).unwrap();
        bytes.extend(br#"{"key":"a.wav","size":5,"et"#);
        fs::write(&file, bytes).unwrap();
        let known = read(&file);
        assert_eq!(known.len(), 2);
        assert_eq!(known["a.wav"].etag.as_deref(), Some("two"));
    }

    #[test]
    fn versions_are_compared_by_etag_or_else_by_time() {
        assert!(version(Some("x"), 1).is_same(&version(Some("x"), 2)));
        assert!(!version(Some("x"), 1).is_same(&version(Some("y"), 1)));
        assert!(version(None, 1).is_same(&version(Some("y"), 1)));
        assert!(!version(None, 1).is_same(&version(None, 2)));
    }
}
