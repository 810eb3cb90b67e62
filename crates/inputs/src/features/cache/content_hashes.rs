//! The content hash of every recording: BLAKE3 of its bytes, without reading unchanged files again.
//!
//! A file counts as unchanged if its size, modification time, change time and inode are the same, as in git. A hash of
//! a file that changed within the last seconds is not stored: a second change in the same clock tick would go
//! unnoticed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::{fs, io};

use anyhow::Result;
use rayon::prelude::*;

use super::Hash;
use timbre_core::files::{self, FileStamp};
use timbre_signal::audio::{Excerpt, NOT_REGULAR};

/// The known hashes, stored in one file of the cache folder.
pub struct ContentHashes {
    file: PathBuf,
    known: HashMap<PathBuf, (FileStamp, Hash)>,
}

/// The reason why a recording is not read and has no hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    pub code: &'static str,
    pub sentence: String,
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Unreadable {
        Unreadable { code: "unreadable", sentence: error.to_string() }
    }
}

/// The identity of an excerpt of a file with this hash; of a whole file, its hash.
pub fn content_of(file: &Hash, excerpt: Option<&Excerpt>) -> Hash {
    let Some(Excerpt { start, end }) = excerpt else { return *file };
    let end = end.unwrap_or(f64::INFINITY);
    *blake3::keyed_hash(file, &[start.to_le_bytes(), end.to_le_bytes()].concat()).as_bytes()
}

/// The hash of a regular file, read piece by piece. Nothing else is opened: a pipe could wait for ever, and a device has no end.
pub fn hash_file(path: &Path) -> io::Result<Hash> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other(NOT_REGULAR));
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(fs::File::open(path)?)?;
    Ok(*hasher.finalize().as_bytes())
}

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

    /// The hash of each file of at most `max_bytes`, computed in parallel; `step` is called after each.
    pub fn hash_all(
        &mut self,
        paths: &[&Path],
        max_bytes: u64,
        step: impl Fn() -> Result<()> + Sync,
    ) -> Result<Vec<Result<Hash, Unreadable>>> {
        let new_hashes = Mutex::new(Vec::new());
        let hashes: Result<Vec<Result<Hash, Unreadable>>> = paths
            .par_iter()
            .map(|path| {
                let hash = self.hash(path, max_bytes, &new_hashes);
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

    fn hash(
        &self,
        path: &Path,
        max_bytes: u64,
        new_hashes: &Mutex<Vec<(PathBuf, (FileStamp, Hash))>>,
    ) -> Result<Hash, Unreadable> {
        let before = FileStamp::of(path)?;
        check_size(before.size(), max_bytes)?;
        if let Some((stamp, hash)) = self.known.get(path)
            && *stamp == before
        {
            return Ok(*hash);
        }
        let hash = hash_file(path)?;
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

/// Refuses a file of more than `max_bytes`.
pub fn check_size(bytes: u64, max_bytes: u64) -> Result<(), Unreadable> {
    if bytes <= max_bytes {
        return Ok(());
    }
    let sentence = format!("the file has {bytes} bytes, more than the limit of {max_bytes} (`audio.max_bytes`)");
    Err(Unreadable { code: "too_large", sentence })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash_of(contents: &mut ContentHashes, path: &Path) -> Hash {
        contents.hash_all(&[path], u64::MAX, || Ok(())).unwrap()[0].clone().unwrap()
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
        let hashes = ContentHashes::open(folder.path()).hash_all(&[&gone, &here], u64::MAX, || Ok(())).unwrap();
        assert!(hashes[0].is_err() && hashes[1].is_ok());
    }

    #[test]
    fn pipes_devices_and_files_above_the_limit_are_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert!(std::process::Command::new("mkfifo").arg(at("pipe.wav")).status().unwrap().success());
        std::os::unix::fs::symlink("/dev/zero", at("zeros.wav")).unwrap();
        // Reading its 8 TB would take hours.
        fs::File::create(at("huge.wav")).unwrap().set_len(8 << 40).unwrap();
        fs::write(at("good.wav"), b"one").unwrap();
        let paths = ["pipe.wav", "zeros.wav", "huge.wav", "good.wav"].map(at);
        let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
        let hashes = ContentHashes::open(folder.path()).hash_all(&paths, 1000, || Ok(())).unwrap();
        let codes: Vec<_> = hashes.iter().map(|hash| hash.as_ref().map_or_else(|why| why.code, |_| "usable")).collect();
        assert_eq!(codes, ["unreadable", "unreadable", "too_large", "usable"]);
        assert!(hashes[0].as_ref().unwrap_err().sentence.contains("regular"), "{hashes:?}");
    }

    #[test]
    fn a_file_is_hashed_in_pieces_to_the_hash_of_the_whole() {
        let folder = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..300_001u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        fs::write(folder.path().join("a.wav"), &bytes).unwrap();
        assert_eq!(hash_file(&folder.path().join("a.wav")).unwrap(), *blake3::hash(&bytes).as_bytes());
    }
}
