//! The bytes of a pack and of its index.
//!
//! A pack is a row of records: a 104-byte head, then the payload (f32 little-endian, or text). The index repeats the heads
//! with their offsets. Checksums are the first 8 bytes of BLAKE3.

use std::fs::{self, File, TryLockError};
use std::io::{BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};

use super::Hash;
use timbre_core::files;

const MAGIC: [u8; 4] = *b"TIM1";
const HEAD: usize = 104;
pub const MATRIX: u8 = 1;
pub const UNUSABLE: u8 = 2;

/// One record, without its payload.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
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

impl Entry {
    fn head(&self) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        head[..4].copy_from_slice(&MAGIC);
        head[4] = self.kind;
        head[8..12].copy_from_slice(&self.rows.to_le_bytes());
        head[12..16].copy_from_slice(&self.cols.to_le_bytes());
        head[16..24].copy_from_slice(&self.bytes.to_le_bytes());
        head[24..56].copy_from_slice(&self.content);
        head[56..88].copy_from_slice(&self.recipe);
        head[88..96].copy_from_slice(&self.checksum);
        head[96..104].copy_from_slice(&self.offset.to_le_bytes());
        head
    }

    fn parse(head: &[u8; HEAD]) -> Option<Entry> {
        let u32_at = |i: usize| u32::from_le_bytes(head[i..i + 4].try_into().expect("4 bytes"));
        let u64_at = |i: usize| u64::from_le_bytes(head[i..i + 8].try_into().expect("8 bytes"));
        let entry = Entry {
            kind: head[4],
            rows: u32_at(8),
            cols: u32_at(12),
            bytes: u64_at(16),
            content: head[24..56].try_into().expect("32 bytes"),
            recipe: head[56..88].try_into().expect("32 bytes"),
            checksum: head[88..96].try_into().expect("8 bytes"),
            offset: u64_at(96),
        };
        let sized = entry.kind == UNUSABLE || u64::from(entry.rows) * u64::from(entry.cols) * 4 == entry.bytes;
        (head[..4] == MAGIC && (entry.kind == MATRIX || entry.kind == UNUSABLE) && sized).then_some(entry)
    }
}

pub fn checksum(bytes: &[u8]) -> [u8; 8] {
    blake3::hash(bytes).as_bytes()[..8].try_into().expect("a hash has 32 bytes")
}

/// The packs of a folder, oldest name first.
pub fn packs_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list the feature cache {}", folder.display()))?;
    let mut packs: Vec<PathBuf> =
        entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "pack")).collect();
    packs.sort();
    Ok(packs)
}

/// Opens a pack with its records: from its index, or else record by record.
pub fn open(path: &Path) -> Result<(File, Vec<Entry>)> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    if let Some(entries) = read_index(path, size) {
        return Ok((file, entries));
    }
    let entries = scan(&file, size);
    // Whoever still holds the lock is writing: the index is his to make.
    if !entries.is_empty() && file.try_lock().is_ok() {
        write_index(path, size, &entries)?;
        file.unlock()?;
    }
    Ok((file, entries))
}

fn scan(file: &File, size: u64) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut at = 0;
    let mut payload = Vec::new();
    let mut head = [0; HEAD];
    while file.read_exact_at(&mut head, at).is_ok() {
        let Some(entry) = Entry::parse(&head) else { break };
        let end = (at + HEAD as u64).saturating_add(entry.bytes);
        if entry.offset != at + HEAD as u64 || end > size {
            break;
        }
        payload.resize(entry.bytes as usize, 0);
        if file.read_exact_at(&mut payload, entry.offset).is_err() || checksum(&payload) != entry.checksum {
            break;
        }
        at = end;
        entries.push(entry);
    }
    entries
}

fn index_path(pack: &Path) -> PathBuf {
    pack.with_extension("idx")
}

/// The size of the pack, then the heads, then a checksum over both.
fn write_index(pack: &Path, size: u64, entries: &[Entry]) -> Result<()> {
    let mut bytes = size.to_le_bytes().to_vec();
    entries.iter().for_each(|e| bytes.extend_from_slice(&e.head()));
    let sum = checksum(&bytes);
    bytes.extend_from_slice(&sum);
    files::write_bytes(&index_path(pack), &bytes)
}

fn read_index(pack: &Path, size: u64) -> Option<Vec<Entry>> {
    let mut bytes = Vec::new();
    BufReader::new(File::open(index_path(pack)).ok()?).read_to_end(&mut bytes).ok()?;
    let (body, sum) = bytes.split_last_chunk::<8>()?;
    if *sum != checksum(body) || body[..8] != size.to_le_bytes() {
        return None;
    }
    body[8..].chunks(HEAD).map(|head| Entry::parse(head.try_into().ok()?)).collect()
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

/// A pack being written by this process.
pub struct PackWriter {
    path: PathBuf,
    file: Arc<File>,
    entries: Vec<Entry>,
    end: u64,
}

impl PackWriter {
    /// The newest pack, if it has room and nobody writes to it; else a new one. Many short runs thus share a pack: each
    /// pack costs every later run an open file.
    pub fn open(folder: &Path, room: u64) -> Result<PackWriter> {
        if let Some(path) = packs_in(folder)?.pop()
            && let Ok(file) = File::options().read(true).write(true).open(&path)
            && file.metadata()?.len() < room
            && file.try_lock().is_ok()
        {
            let size = file.metadata()?.len();
            let entries = read_index(&path, size).unwrap_or_else(|| scan(&file, size));
            let end = entries.last().map_or(0, |e| e.offset + e.bytes);
            return Ok(PackWriter { path, file: Arc::new(file), entries, end });
        }
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("{nanos:020}-{}-{count}.pack", std::process::id()));
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        // A reader may hold it for the moment in which it looks whether an index is missing.
        file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(PackWriter { path, file: Arc::new(file), entries: Vec::new(), end: 0 })
    }

    pub fn append(
        &mut self,
        kind: u8,
        content: &Hash,
        recipe: &Hash,
        shape: (u32, u32),
        payload: &[u8],
    ) -> Result<u64> {
        let entry = Entry {
            kind,
            rows: shape.0,
            cols: shape.1,
            bytes: payload.len() as u64,
            content: *content,
            recipe: *recipe,
            checksum: checksum(payload),
            offset: self.end + HEAD as u64,
        };
        // Written at the end of the last whole record: a write that fails half-way is overwritten, not kept.
        self.file.write_all_at(&entry.head(), self.end)?;
        self.file.write_all_at(payload, entry.offset)?;
        let offset = entry.offset;
        self.end = offset + entry.bytes;
        self.entries.push(entry);
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
        write_index(&self.path, self.end, &self.entries)?;
        self.file.unlock()?;
        Ok(())
    }
}
