//! The content hash of every recording: BLAKE3 of its bytes, without reading unchanged files again.
//!
//! A file counts as unchanged if its size, modification time, change time and inode are the same, as in git. A hash of
//! a file that changed within the last seconds is not stored: a second change in the same clock tick would go
//! unnoticed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::{fs, io};

use anyhow::Result;
use rayon::prelude::*;

use super::Hash;
use timbre_core::files::{self, FileStamp};
use timbre_signal::audio::{Excerpt, NOT_REGULAR};

/// The known hashes, stored in one file of the cache folder.
///
/// The file is held as it is and searched in place: a data set may have a million recordings. After `MAGIC` it has a record for each path, in
/// their order: the length of the path (u32, little-endian), the hash, the stamp, the path.
pub struct ContentHashes {
    file: PathBuf,
    bytes: Vec<u8>,
    /// Where each record begins.
    records: Vec<usize>,
}

const MAGIC: &[u8] = b"timbre contents 1\n";
const LENGTH: usize = 4;
const HASH: usize = 32;
/// The bytes of a record before its path.
const HEAD: usize = LENGTH + HASH + 32;

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
    /// Reads the known hashes; an unreadable or damaged file counts as an empty list.
    pub fn open(folder: &Path) -> ContentHashes {
        let file = folder.join("contents.bin");
        let bytes = fs::read(&file).unwrap_or_default();
        let known = ContentHashes { file, records: records_of(&bytes).unwrap_or_default(), bytes };
        match known.records.is_sorted_by_key(|&record| known.path(record)) {
            true => known,
            false => ContentHashes { records: Vec::new(), ..known },
        }
    }

    fn path(&self, record: usize) -> &[u8] {
        let length = u32_at(&self.bytes, record) as usize;
        &self.bytes[record + HEAD..][..length]
    }

    /// The hash of a file with this path and stamp.
    fn find(&self, path: &Path, stamp: FileStamp) -> Option<Hash> {
        let path = path.as_os_str().as_encoded_bytes();
        let at = self.records.binary_search_by_key(&path, |&record| self.path(record)).ok()?;
        let (hash, known) = self.bytes[self.records[at] + LENGTH..][..HEAD - LENGTH].split_at(HASH);
        (known == stamp.to_bytes()).then(|| hash.try_into().expect("the bytes of a hash"))
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
            self.add(new_hashes);
            // A read-only cache cannot keep them: the files are read again each time.
            let _ = files::write_bytes(&self.file, &self.bytes);
        }
        hashes
    }

    fn hash(
        &self,
        path: &Path,
        max_bytes: u64,
        new_hashes: &Mutex<Vec<(PathBuf, FileStamp, Hash)>>,
    ) -> Result<Hash, Unreadable> {
        let before = FileStamp::of(path)?;
        check_size(before.size(), max_bytes)?;
        if let Some(hash) = self.find(path, before) {
            return Ok(hash);
        }
        let hash = hash_file(path)?;
        if before.settled() && FileStamp::of(path)? == before {
            new_hashes.lock().expect("no hashing thread panics").push((path.to_owned(), before, hash));
        }
        Ok(hash)
    }

    /// Adds hashes, in place of older ones of the same paths.
    fn add(&mut self, hashes: Vec<(PathBuf, FileStamp, Hash)>) {
        let head = |path: &[u8], stamp: FileStamp, hash: &Hash| {
            [&(path.len() as u32).to_le_bytes()[..], hash, &stamp.to_bytes(), path].concat()
        };
        let bytes_of = |(path, stamp, hash): (PathBuf, FileStamp, Hash)| {
            let path = path.as_os_str().as_encoded_bytes();
            (path.to_vec(), head(path, stamp, &hash))
        };
        let mut new: BTreeMap<Vec<u8>, Vec<u8>> = hashes.into_iter().map(bytes_of).collect();
        let mut bytes = MAGIC.to_vec();
        for &record in &self.records {
            let path = self.path(record);
            while let Some(first) = new.first_entry().filter(|first| first.key().as_slice() < path) {
                bytes.extend(first.remove());
            }
            match new.first_entry().filter(|first| first.key() == path) {
                Some(newer) => bytes.extend(newer.remove()),
                None => bytes.extend(&self.bytes[record..record + HEAD + path.len()]),
            }
        }
        bytes.extend(new.into_values().flatten());
        self.records = records_of(&bytes).expect("the records that were just written");
        self.bytes = bytes;
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + LENGTH].try_into().expect("four bytes"))
}

/// Where the records of a file begin. None if it is no such file, or cut off.
fn records_of(bytes: &[u8]) -> Option<Vec<usize>> {
    let mut at = bytes.starts_with(MAGIC).then_some(MAGIC.len())?;
    let mut records = Vec::new();
    while at < bytes.len() {
        let path = bytes.get(at..at + HEAD).map(|_| u32_at(bytes, at) as usize)?;
        records.push(at);
        at = at.checked_add(HEAD)?.checked_add(path).filter(|&end| end <= bytes.len())?;
    }
    Some(records)
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
        assert_eq!(again.find(&path, FileStamp::of(&path).unwrap()), Some(hash));
    }

    #[test]
    fn hashes_are_found_by_path_and_stamp_whatever_the_name_and_the_order() {
        use std::os::unix::ffi::OsStrExt;
        let folder = tempfile::tempdir().unwrap();
        let names: [&[u8]; 5] = [b"m.wav", b"a\nb.wav", b"caf\xe9.wav", b"z.wav", b"a.wav"];
        let paths = names.map(|name| folder.path().join(std::ffi::OsStr::from_bytes(name)));
        for (number, path) in paths.iter().enumerate() {
            fs::write(path, [number as u8]).unwrap();
        }
        let stamps = paths.each_ref().map(|path| FileStamp::of(path).unwrap());
        let mut contents = ContentHashes::open(folder.path());
        for numbers in [[0, 1], [2, 0], [3, 4]] {
            contents.add(numbers.map(|n| (paths[n].clone(), stamps[n], [n as u8 + 10; 32])).to_vec());
        }
        contents.add(vec![(paths[1].clone(), stamps[1], [99; 32])]);
        fs::write(&contents.file, &contents.bytes).unwrap();
        let again = ContentHashes::open(folder.path());
        let expected = [10, 99, 12, 13, 14];
        for n in 0..5 {
            assert_eq!(again.find(&paths[n], stamps[n]), Some([expected[n]; 32]), "{:?}", paths[n]);
            assert_eq!(again.find(&paths[n], stamps[(n + 1) % 5]), None);
        }
        assert_eq!(again.find(Path::new("other.wav"), stamps[0]), None);
    }

    #[test]
    fn a_damaged_list_of_hashes_counts_as_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wav");
        fs::write(&path, b"one").unwrap();
        let stamp = FileStamp::of(&path).unwrap();
        let mut contents = ContentHashes::open(folder.path());
        contents.add(vec![(path.clone(), stamp, [7; 32]), (folder.path().join("b.wav"), stamp, [8; 32])]);
        let whole = contents.bytes.clone();
        let swapped = [MAGIC, &whole[contents.records[1]..], &whole[MAGIC.len()..contents.records[1]]].concat();
        for length in 0..whole.len() {
            fs::write(&contents.file, &whole[..length]).unwrap();
            let found = ContentHashes::open(folder.path()).find(&path, stamp);
            assert!(found.is_none_or(|hash| hash == [7; 32]), "cut at {length}");
        }
        let long = [MAGIC, &u32::MAX.to_le_bytes(), &[0; 70]].concat();
        for bytes in [&b"{}"[..], &swapped, &long] {
            fs::write(&contents.file, bytes).unwrap();
            assert_eq!(ContentHashes::open(folder.path()).find(&path, stamp), None);
        }
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
