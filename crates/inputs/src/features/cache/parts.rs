//! Parts of a feature cache: the records of some recordings as one file, which another cache takes in.
//!
//! A part is a pack whose records are sorted by their keys, so that equal records give equal bytes whichever process wrote
//! them. Its name contains its hash.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::pack::{self, RecordHeader};
use super::{CacheEntry, FeatureCache, Hash, content_hashes};
use timbre_core::files;

/// A part file as its manifest describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartFile {
    pub file: String,
    /// The number of records.
    pub rows: usize,
    pub bytes: u64,
    pub blake3: String,
}

impl PartFile {
    /// Whether the file is there in its full size. Reads nothing of it.
    pub fn is_there(&self, folder: &Path) -> bool {
        folder.join(&self.file).metadata().is_ok_and(|meta| meta.is_file() && meta.len() == self.bytes)
    }

    /// Whether the file has the bytes that were written.
    pub fn is_intact(&self, folder: &Path) -> bool {
        self.is_there(folder)
            && content_hashes::hash_file(&folder.join(&self.file)).is_ok_and(|hash| super::hex(&hash) == self.blake3)
    }
}

impl FeatureCache {
    /// Writes the records of these keys to a part in `folder`. Its name begins with `name`.
    pub fn write_part(&self, mut keys: Vec<(Hash, Hash)>, folder: &Path, name: &str) -> Result<PartFile> {
        keys.sort_unstable();
        keys.dedup();
        let rows = keys.len();
        let write = |out: &mut dyn Write| {
            let (mut hasher, mut bytes) = (blake3::Hasher::new(), 0u64);
            for (content, recipe) in &keys {
                let entry = self.get(content, recipe).context("a record of the feature cache is missing: run again")?;
                let (kind, shape, payload) = payload_of(entry)?;
                let header = RecordHeader::new(kind, (content, recipe), shape, &payload, bytes);
                for piece in [&header.to_bytes()[..], &payload] {
                    hasher.update(piece);
                    out.write_all(piece)?;
                    bytes += piece.len() as u64;
                }
            }
            let blake3 = hasher.finalize().to_hex().to_string();
            Ok(PartFile { file: format!("{name}-{}.pack", &blake3[..16]), rows, bytes, blake3 })
        };
        files::write_then_name(folder, write, |part| part.file.clone())
    }

    /// Appends the records of a part that this cache lacks. Returns how many there were.
    pub fn take_in(&mut self, folder: &Path, part: &PartFile) -> Result<usize> {
        let path = folder.join(&part.file);
        let cannot_read = || format!("cannot read {}", path.display());
        let file = File::open(&path).with_context(cannot_read)?;
        let headers = pack::scan(&file, part.bytes);
        ensure!(headers.len() == part.rows, "{} has {} of {} records", path.display(), headers.len(), part.rows);
        let (mut taken, mut payload) = (0, Vec::new());
        for header in headers {
            if self.get(&header.content, &header.recipe).is_some_and(is_readable) {
                continue;
            }
            payload.resize(header.bytes as usize, 0);
            file.read_exact_at(&mut payload, header.offset).with_context(cannot_read)?;
            let shape = (header.rows, header.cols);
            let (own, offset) = self.append(header.kind, &header.content, &header.recipe, shape, &payload)?;
            // Recordings with equal bytes are in several parts.
            self.insert(&own, RecordHeader { offset, ..header });
            taken += 1;
        }
        Ok(taken)
    }
}

/// Whether this cache can use its own record; a damaged one is replaced.
fn is_readable(entry: &CacheEntry) -> bool {
    match entry {
        CacheEntry::Matrix(stored) => stored.is_intact(),
        CacheEntry::Unusable { .. } => true,
    }
}

fn payload_of(entry: &CacheEntry) -> Result<(u8, (u32, u32), Vec<u8>)> {
    Ok(match entry {
        CacheEntry::Matrix(stored) => {
            let mut bytes = vec![0; 4 * stored.dims()];
            stored.read(0..stored.dims(), bytemuck::cast_slice_mut(&mut bytes))?;
            (pack::MATRIX, (stored.rows as u32, stored.cols as u32), bytes)
        }
        CacheEntry::Unusable { code, sentence } => (pack::UNUSABLE, (0, 0), format!("{code}\n{sentence}").into_bytes()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::FeatureMatrix;

    fn cache_with(folder: &Path, contents: &[u8]) -> FeatureCache {
        let cache = FeatureCache::open(folder).unwrap();
        for &content in contents {
            let matrix = FeatureMatrix { rows: 1, cols: 3, values: vec![f32::from(content); 3] };
            cache.put(&[content; 32], &[9; 32], &matrix).unwrap();
        }
        cache.put_unusable(&[200; 32], &[9; 32], "silent", "every sample is zero").unwrap();
        cache.close().unwrap();
        FeatureCache::open(folder).unwrap()
    }

    fn keys(contents: &[u8]) -> Vec<(Hash, Hash)> {
        contents.iter().map(|&content| ([content; 32], [9; 32])).collect()
    }

    #[test]
    fn equal_records_give_equal_parts_whatever_the_order() {
        let (one, other, parts) = (tempfile::tempdir(), tempfile::tempdir(), tempfile::tempdir().unwrap());
        let (one, other) = (one.unwrap(), other.unwrap());
        let first = cache_with(one.path(), &[1, 2, 3]).write_part(keys(&[1, 2, 3, 200]), parts.path(), "part-0");
        let second = cache_with(other.path(), &[3, 1, 2]).write_part(keys(&[200, 3, 2, 1, 1]), parts.path(), "part-0");
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!(first, second);
        assert_eq!((first.rows, std::fs::read_dir(parts.path()).unwrap().count()), (4, 1));
    }

    #[test]
    fn another_cache_takes_in_what_it_lacks() {
        let (from, to, parts) = (tempfile::tempdir(), tempfile::tempdir(), tempfile::tempdir().unwrap());
        let (from, to) = (from.unwrap(), to.unwrap());
        let part = cache_with(from.path(), &[1, 2, 3]).write_part(keys(&[1, 2, 3, 200]), parts.path(), "p").unwrap();
        let mut cache = cache_with(to.path(), &[2]);
        assert_eq!(cache.take_in(parts.path(), &part).unwrap(), 2);
        assert_eq!(cache.take_in(parts.path(), &part).unwrap(), 0, "at once the same");
        cache.close().unwrap();
        let mut again = FeatureCache::open(to.path()).unwrap();
        assert_eq!((again.len(), again.take_in(parts.path(), &part).unwrap()), (4, 0));
        let Some(CacheEntry::Matrix(stored)) = again.get(&[3; 32], &[9; 32]) else { panic!("not a matrix") };
        let mut values = [0.0; 3];
        stored.read(0..3, &mut values).unwrap();
        assert_eq!(values, [3.0; 3]);
    }

    #[test]
    fn a_flipped_bit_in_a_part_is_detected() {
        let (from, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let part = cache_with(from.path(), &[1, 2]).write_part(keys(&[1, 2]), parts.path(), "p").unwrap();
        assert!(part.is_intact(parts.path()));
        let path = parts.path().join(&part.file);
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(part.is_there(parts.path()) && !part.is_intact(parts.path()));
        assert!(FeatureCache::open(&from.path().join("new")).unwrap().take_in(parts.path(), &part).is_err());
    }
}
