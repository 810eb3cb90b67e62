//! The content hash of every recording: BLAKE3 of its bytes, without reading unchanged files again.
//!
//! A file counts as unchanged if its size, modification time, change time and inode are the same, as in git. A hash of
//! a file that changed within the last seconds is not stored: a second change in the same clock tick would go
//! unnoticed.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::Result;
use rayon::prelude::*;

use super::Hash;
use timbre_core::files::{self, FileStamp};

/// The known hashes, stored in one file of the cache folder.
pub struct ContentHashes {
    file: PathBuf,
    known: HashMap<PathBuf, (FileStamp, Hash)>,
}

/// The reason why a recording could not be read and has no hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(pub String);

impl ContentHashes {
    /// Reads the known hashes; an unreadable file counts as an empty list.
    pub fn open(folder: &Path) -> ContentHashes {
        let file = folder.join("contents.json");
        let known = fs::read(&file)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Vec<(PathBuf, FileStamp, Hash)>>(&bytes).ok())
            .map(|list| list.into_iter().map(|(path, stamp, hash)| (path, (stamp, hash))).collect())
            .unwrap_or_default();
        ContentHashes { file, known }
    }

    /// The hash of each file, computed in parallel; `step` is called after each.
    pub fn hash_all(
        &mut self,
        paths: &[&Path],
        step: impl Fn() -> Result<()> + Sync,
    ) -> Result<Vec<Result<Hash, Unreadable>>> {
        let new_hashes = Mutex::new(Vec::new());
        let hashes: Result<Vec<Result<Hash, Unreadable>>> = paths
            .par_iter()
            .map(|path| {
                let hash = self.hash(path, &new_hashes).map_err(|e| Unreadable(e.to_string()));
                step().map(|()| hash)
            })
            .collect();
        let new_hashes = new_hashes.into_inner().expect("no hashing thread panics");
        if !new_hashes.is_empty() {
            self.known.extend(new_hashes);
            // A read-only cache cannot keep them: the files are read again each time.
            let _ = self.save();
        }
        hashes
    }

    fn hash(&self, path: &Path, new_hashes: &Mutex<Vec<(PathBuf, (FileStamp, Hash))>>) -> std::io::Result<Hash> {
        let before = FileStamp::of(path)?;
        if let Some((stamp, hash)) = self.known.get(path)
            && *stamp == before
        {
            return Ok(*hash);
        }
        let hash = *blake3::hash(&fs::read(path)?).as_bytes();
        if before.settled() && FileStamp::of(path)? == before {
            new_hashes.lock().expect("no hashing thread panics").push((path.to_owned(), (before, hash)));
        }
        Ok(hash)
    }

    fn save(&self) -> Result<()> {
        // JSON cannot hold a path that is not UTF-8: such a file is read again each time.
        let mut list: Vec<(&PathBuf, &FileStamp, &Hash)> =
            self.known.iter().filter(|(p, _)| p.to_str().is_some()).map(|(p, (s, h))| (p, s, h)).collect();
        list.sort_by_key(|(path, ..)| path.as_path());
        files::write_bytes(&self.file, &serde_json::to_vec(&list)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash_of(contents: &mut ContentHashes, path: &Path) -> Hash {
        contents.hash_all(&[path], || Ok(())).unwrap()[0].clone().unwrap()
    }

    #[test]
    fn an_edit_of_the_same_length_changes_the_hash() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wav");
        fs::write(&path, b"one").unwrap();
        let mut contents = ContentHashes::open(folder.path());
        let before = hash_of(&mut contents, &path);
        fs::write(&path, b"two").unwrap();
        assert_ne!(hash_of(&mut contents, &path), before);
    }

    #[test]
    fn the_hash_of_a_settled_file_is_stored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wav");
        fs::write(&path, b"one").unwrap();
        std::thread::sleep(std::time::Duration::from_nanos(files::SETTLED_NANOS as u64 + 100_000_000));
        let mut contents = ContentHashes::open(folder.path());
        let hash = hash_of(&mut contents, &path);
        let again = ContentHashes::open(folder.path());
        assert_eq!(again.known.get(&path).map(|(_, h)| *h), Some(hash));
    }

    #[test]
    fn a_file_name_that_is_not_utf8_is_hashed_each_time() {
        use std::os::unix::ffi::OsStrExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9.wav"));
        fs::write(&path, b"one").unwrap();
        let stamp = FileStamp::of(&path).unwrap();
        let mut contents = ContentHashes::open(folder.path());
        contents.known.insert(path.clone(), (stamp, [7; 32]));
        contents.save().unwrap();
        assert_eq!(hash_of(&mut ContentHashes::open(folder.path()), &path), *blake3::hash(b"one").as_bytes());
    }

    #[test]
    fn a_missing_file_is_unreadable_and_the_others_are_hashed() {
        let folder = tempfile::tempdir().unwrap();
        let (here, gone) = (folder.path().join("a.wav"), folder.path().join("b.wav"));
        fs::write(&here, b"one").unwrap();
        let hashes = ContentHashes::open(folder.path()).hash_all(&[&gone, &here], || Ok(())).unwrap();
        assert!(hashes[0].is_err() && hashes[1].is_ok());
    }
}
