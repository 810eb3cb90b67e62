//! Caches the list of runs in `.runs.index`, in the folder of the runs. The file can be removed at any time.
//!
//! Its first line has the version of the format and the BLAKE3 of the rest; each other line is a run. An entry is valid only for a
//! `run.json` with the same size, times and inode. The file is replaced as a whole: of two processes the last one wins, and both
//! versions are correct. A damaged file is ignored. If the file cannot be written, nothing is cached.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Entry;
use timbre_core::files::{self, FileStamp};

/// Raise it when an entry changes its form or its meaning.
const VERSION: u32 = 2;

const FILE: &str = ".runs.index";

#[derive(Serialize, Deserialize)]
struct Head {
    version: u32,
    hash: String,
}

pub struct Index {
    file: PathBuf,
    known: HashMap<String, (FileStamp, Arc<Entry>)>,
}

impl Index {
    /// Reads the index; empty if the file is missing, damaged, or of another version.
    pub fn read(runs: &Path) -> Index {
        let file = runs.join(FILE);
        let known = fs::read(&file).ok().and_then(|bytes| parse(&bytes)).unwrap_or_default();
        Index { file, known }
    }

    /// The entry of a run, if it was made from the current `run.json`.
    pub fn entry(&self, run: &str, stamp: FileStamp) -> Option<&Arc<Entry>> {
        self.known.get(run).filter(|(known, _)| *known == stamp).map(|(_, entry)| entry)
    }

    /// Replaces the index by these runs. An equal file is not written again.
    pub fn replace(self, kept: Vec<(String, FileStamp, Arc<Entry>)>) {
        let same = |(run, stamp, _): &(String, FileStamp, Arc<Entry>)| self.entry(run, *stamp).is_some();
        if kept.len() == self.known.len() && kept.iter().all(same) {
            return;
        }
        let lines: Vec<Vec<u8>> = kept
            .par_iter()
            .map(|(run, stamp, entry)| {
                let mut line = serde_json::to_vec(&(run, stamp, entry.as_ref())).expect("an entry is plain data");
                line.push(b'\n');
                line
            })
            .collect();
        let body = lines.concat();
        let head = Head { version: VERSION, hash: blake3::hash(&body).to_hex().to_string() };
        let mut bytes = serde_json::to_vec(&head).expect("a head is plain data");
        bytes.push(b'\n');
        bytes.extend(body);
        if let Err(error) = files::write_bytes(&self.file, &bytes) {
            tracing::debug!("the index of runs was not written: {error:#}");
        }
    }
}

fn parse(bytes: &[u8]) -> Option<HashMap<String, (FileStamp, Arc<Entry>)>> {
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    let head: Head = serde_json::from_slice(&bytes[..end]).ok()?;
    let body = &bytes[end + 1..];
    if head.version != VERSION || blake3::hash(body).to_hex().as_str() != head.hash {
        return None;
    }
    let entries: Option<Vec<(String, FileStamp, Entry)>> = body
        .par_split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|l| serde_json::from_slice(l).ok())
        .collect();
    Some(entries?.into_iter().map(|(run, stamp, entry)| (run, (stamp, Arc::new(entry)))).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::list;
    use super::*;

    #[test]
    fn an_unchanged_run_is_not_read_again() {
        let runs = tempfile::tempdir().unwrap();
        let run = runs.path().join("x/20261124T150020Z-01234567");
        fs::create_dir_all(&run).unwrap();
        let record = serde_json::json!({
            "schema": 1, "experiment": "x", "description": "", "signature": "0123456789abcdef", "status": "done",
            "started": "2026-11-24T15:00:20.156Z", "ended": null, "seeds": [1], "classes": ["a"], "metric": "accuracy",
            "data": { "name": "demo", "hash": "", "clips": 1, "unusable": 0, "set_aside": 0 },
            "cache": { "hits": 0, "misses": 0 }, "seconds": {}, "failures": {}, "results": [], "environment": null
        });
        fs::write(run.join("run.json"), record.to_string()).unwrap();
        list(runs.path());
        assert!(
            !runs.path().join(FILE).exists(),
            "a file that was written just now may change within the same clock tick"
        );
        std::thread::sleep(Duration::from_nanos(files::SETTLED_NANOS as u64 + 100_000_000));
        list(runs.path());
        let (key, (stamp, entry)) = Index::read(runs.path()).known.into_iter().next().unwrap();
        let entry = Entry { metric: "from the index".to_owned(), ..Entry::clone(&entry) };
        Index { file: runs.path().join(FILE), known: HashMap::new() }.replace(vec![(key, stamp, Arc::new(entry))]);
        assert_eq!(list(runs.path()).runs[0].entry.metric, "from the index");
    }
}
