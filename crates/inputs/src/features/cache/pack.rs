//! The byte format of a pack and its index.
//!
//! A pack is a sequence of records: a 104-byte header, then the payload (f32 little-endian, or text). The index repeats
//! the headers with the offsets of the payloads. Checksums are the first 8 bytes of BLAKE3.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};

use super::Hash;
use timbre_core::files;

/// The beginning of the names of downloaded packs, and of the lists of uploaded keys, in the folder of this machine.
pub const SHARED_PREFIX: &str = "shared-";

const MAGIC: [u8; 4] = *b"TIM1";
const HEADER_BYTES: usize = 104;
pub const MATRIX: u8 = 1;
pub const UNUSABLE: u8 = 2;

/// Whether a pack came from a shared cache.
fn is_shared(pack: &Path) -> bool {
    pack.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with(SHARED_PREFIX))
}

/// The header of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordHeader {
    pub kind: u8,
    pub rows: u32,
    pub cols: u32,
    pub bytes: u64,
    pub content: Hash,
    pub recipe: Hash,
    pub checksum: [u8; 8],
    /// Of the payload, from the start of the pack.
    pub offset: u64,
}

impl RecordHeader {
    /// Of a record that begins at `start`.
    pub fn new(
        kind: u8,
        (content, recipe): (&Hash, &Hash),
        (rows, cols): (u32, u32),
        payload: &[u8],
        start: u64,
    ) -> RecordHeader {
        RecordHeader {
            kind,
            rows,
            cols,
            bytes: payload.len() as u64,
            content: *content,
            recipe: *recipe,
            checksum: checksum(payload),
            offset: start + HEADER_BYTES as u64,
        }
    }

    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = self.kind;
        bytes[8..12].copy_from_slice(&self.rows.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.cols.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.bytes.to_le_bytes());
        bytes[24..56].copy_from_slice(&self.content);
        bytes[56..88].copy_from_slice(&self.recipe);
        bytes[88..96].copy_from_slice(&self.checksum);
        bytes[96..104].copy_from_slice(&self.offset.to_le_bytes());
        bytes
    }

    fn parse(bytes: &[u8; HEADER_BYTES]) -> Option<RecordHeader> {
        let u32_at = |i: usize| u32::from_le_bytes(bytes[i..i + 4].try_into().expect("4 bytes"));
        let u64_at = |i: usize| u64::from_le_bytes(bytes[i..i + 8].try_into().expect("8 bytes"));
        let header = RecordHeader {
            kind: bytes[4],
            rows: u32_at(8),
            cols: u32_at(12),
            bytes: u64_at(16),
            content: bytes[24..56].try_into().expect("32 bytes"),
            recipe: bytes[56..88].try_into().expect("32 bytes"),
            checksum: bytes[88..96].try_into().expect("8 bytes"),
            offset: u64_at(96),
        };
        let values = (u64::from(header.rows) * u64::from(header.cols)).checked_mul(4);
        let sized = header.kind == UNUSABLE || values == Some(header.bytes);
        (bytes[..4] == MAGIC && (header.kind == MATRIX || header.kind == UNUSABLE) && sized).then_some(header)
    }
}

pub fn checksum(bytes: &[u8]) -> [u8; 8] {
    blake3::hash(bytes).as_bytes()[..8].try_into().expect("a hash has 32 bytes")
}

/// The packs of a folder, sorted by name.
pub fn packs_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let headers =
        fs::read_dir(folder).with_context(|| format!("cannot list the feature cache {}", folder.display()))?;
    let mut packs: Vec<PathBuf> =
        headers.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "pack")).collect();
    packs.sort();
    Ok(packs)
}

/// Opens a pack with its record headers: from its index, or by a scan.
pub fn open(path: &Path) -> Result<(File, Vec<RecordHeader>)> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    if let Some(headers) = read_index(path, size) {
        return Ok((file, headers));
    }
    let headers = scan(&file, size);
    // A process that still holds the lock is writing and will write the index itself.
    if !headers.is_empty() && file.try_lock().is_ok() {
        // A read-only cache is scanned each time.
        let _ = write_index(path, size, &headers);
        file.unlock()?;
    }
    Ok((file, headers))
}

/// The records up to the first that is incomplete or damaged.
pub fn scan(file: &File, size: u64) -> Vec<RecordHeader> {
    let mut headers = Vec::new();
    let mut at = 0;
    let mut payload = Vec::new();
    let mut bytes = [0; HEADER_BYTES];
    while file.read_exact_at(&mut bytes, at).is_ok() {
        let Some(header) = RecordHeader::parse(&bytes) else { break };
        let end = (at + HEADER_BYTES as u64).saturating_add(header.bytes);
        if header.offset != at + HEADER_BYTES as u64 || end > size {
            break;
        }
        payload.resize(header.bytes as usize, 0);
        if file.read_exact_at(&mut payload, header.offset).is_err() || checksum(&payload) != header.checksum {
            break;
        }
        at = end;
        headers.push(header);
    }
    headers
}

fn index_path(pack: &Path) -> PathBuf {
    pack.with_extension("idx")
}

/// The size of the pack, then the headers, then a checksum over both.
fn write_index(pack: &Path, size: u64, headers: &[RecordHeader]) -> Result<()> {
    let mut bytes = size.to_le_bytes().to_vec();
    headers.iter().for_each(|e| bytes.extend_from_slice(&e.to_bytes()));
    let sum = checksum(&bytes);
    bytes.extend_from_slice(&sum);
    files::write_bytes(&index_path(pack), &bytes)
}

/// None if the index is missing, belongs to another size of the pack, or lists a record that the pack cannot hold.
fn read_index(pack: &Path, size: u64) -> Option<Vec<RecordHeader>> {
    let mut bytes = Vec::new();
    BufReader::new(File::open(index_path(pack)).ok()?).read_to_end(&mut bytes).ok()?;
    let (body, sum) = bytes.split_last_chunk::<8>()?;
    if *sum != checksum(body) || body[..8] != size.to_le_bytes() {
        return None;
    }
    let header = |bytes: &[u8]| RecordHeader::parse(bytes.try_into().ok()?);
    let is_inside = |header: &RecordHeader| header.offset.checked_add(header.bytes).is_some_and(|end| end <= size);
    body[8..].chunks(HEADER_BYTES).map(|bytes| header(bytes).filter(is_inside)).collect()
}

/// Removes a pack with its index, unless a process holds it.
pub fn try_remove(path: &Path) -> Result<bool> {
    let file = File::open(path)?;
    match file.try_lock() {
        Ok(()) => {
            let _ = fs::remove_file(index_path(path));
            fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
            Ok(true)
        }
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(e)) => Err(e).with_context(|| format!("cannot lock {}", path.display())),
    }
}

/// A pack that this process is writing.
pub struct PackWriter {
    path: PathBuf,
    file: Arc<File>,
    headers: Vec<RecordHeader>,
    end: u64,
}

impl PackWriter {
    /// Opens the newest pack if it has room and no other process writes to it, else creates one. Many short runs thus
    /// share a pack: each pack costs every later run an open file.
    pub fn open(folder: &Path, room: u64) -> Result<PackWriter> {
        // What another machine computed stays as it was downloaded.
        let own = packs_in(folder)?.into_iter().rfind(|path| !is_shared(path));
        if let Some(path) = own
            && let Ok(file) = File::options().read(true).write(true).open(&path)
            && file.metadata()?.len() < room
            && file.try_lock().is_ok()
        {
            let size = file.metadata()?.len();
            let headers = read_index(&path, size).unwrap_or_else(|| scan(&file, size));
            let end = headers.last().map_or(0, |e| e.offset + e.bytes);
            return Ok(PackWriter { path, file: Arc::new(file), headers, end });
        }
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("{nanos:020}-{}-{count}.pack", std::process::id()));
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        // A reader may hold the lock for a moment while it checks whether an index is missing.
        file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(PackWriter { path, file: Arc::new(file), headers: Vec::new(), end: 0 })
    }

    pub fn append(
        &mut self,
        kind: u8,
        content: &Hash,
        recipe: &Hash,
        shape: (u32, u32),
        payload: &[u8],
    ) -> Result<u64> {
        let header = RecordHeader::new(kind, (content, recipe), shape, payload, self.end);
        // Written at the end of the last complete record: a failed write is overwritten, not kept.
        self.file.write_all_at(&header.to_bytes(), self.end)?;
        self.file.write_all_at(payload, header.offset)?;
        let offset = header.offset;
        self.end = offset + header.bytes;
        self.headers.push(header);
        Ok(offset)
    }

    pub fn bytes(&self) -> u64 {
        self.end
    }

    pub fn file(&self) -> Arc<File> {
        self.file.clone()
    }

    pub fn close(self) -> Result<()> {
        (&*self.file).flush()?;
        self.file.set_len(self.end)?;
        self.file.sync_data()?;
        write_index(&self.path, self.end, &self.headers)?;
        self.file.unlock()?;
        Ok(())
    }
}

/// Replaces the index of a pack by one with a right checksum that lists one record of any size.
#[cfg(test)]
pub(super) fn write_hostile_index(pack: &Path, size: u64, kind: u8, rows: u32, bytes: u64) {
    let (content, recipe) = ([1; 32], [9; 32]);
    let header = RecordHeader { kind, rows, cols: rows, bytes, content, recipe, checksum: [0; 8], offset: 104 };
    write_index(pack, size, &[header]).unwrap();
}
