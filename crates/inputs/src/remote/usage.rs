//! The mirrors in a cache: their sizes, and which are in use. Every process that opens a mirror holds a shared lock on it.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};

use super::MIRRORS;

/// The file that is locked. It is written anew when the mirror is opened, so its time is that of the last use.
pub(super) const LOCK: &str = "lock";

/// A mirror in the cache.
#[derive(Debug, PartialEq, Eq)]
pub struct MirrorUsage {
    pub folder: PathBuf,
    pub bytes: u64,
}

impl MirrorUsage {
    fn of(folder: PathBuf) -> MirrorUsage {
        MirrorUsage { bytes: bytes_below(&folder), folder }
    }
}

/// The mirrors in a cache, by name.
pub fn mirrors(cache: &Path) -> Vec<MirrorUsage> {
    folders(cache).into_iter().map(MirrorUsage::of).collect()
}

fn folders(cache: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(cache.join(MIRRORS)).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// Removes the mirrors that were last used before `keep_after` and that no process has open. Returns them.
pub fn remove_mirrors_before(cache: &Path, keep_after: SystemTime) -> Result<Vec<MirrorUsage>> {
    let mut removed = Vec::new();
    for folder in folders(cache) {
        let lock = folder.join(LOCK);
        let used = fs::metadata(&lock).or_else(|_| fs::metadata(&folder))?.modified()?;
        if used >= keep_after {
            continue;
        }
        let held = File::options().create(true).append(true).open(&lock);
        let held = held.with_context(|| format!("cannot open {}", lock.display()))?;
        // A file system without locks cannot say that another process has it open.
        if matches!(held.try_lock(), Err(TryLockError::WouldBlock)) {
            continue;
        }
        let mirror = MirrorUsage::of(folder);
        fs::remove_dir_all(&mirror.folder).with_context(|| format!("cannot remove {}", mirror.folder.display()))?;
        removed.push(mirror);
    }
    Ok(removed)
}

/// Marks the folder of a mirror as in use, until the file is closed.
#[cfg(feature = "cloud")]
pub(super) fn lock(folder: &Path) -> std::io::Result<File> {
    fs::create_dir_all(folder)?;
    let lock = File::create(folder.join(LOCK))?;
    // Without locks the mirror works as well.
    let _ = lock.lock_shared();
    Ok(lock)
}

fn bytes_below(folder: &Path) -> u64 {
    let size = |entry: fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => bytes_below(&entry.path()),
        Ok(kind) if kind.is_file() => entry.metadata().map_or(0, |found| found.len()),
        _ => 0,
    };
    fs::read_dir(folder).into_iter().flatten().flatten().map(size).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_old_mirror_is_removed_unless_a_process_has_it_open() {
        let cache = tempfile::tempdir().unwrap();
        let folder = |name: &str| cache.path().join(MIRRORS).join(name);
        for name in ["a", "b"] {
            fs::create_dir_all(folder(name).join("files/cel")).unwrap();
            fs::write(folder(name).join("files/cel/x.wav"), [0; 1000]).unwrap();
        }
        let usage = |name| MirrorUsage { folder: folder(name), bytes: 1000 };
        assert_eq!(mirrors(cache.path()), [usage("a"), usage("b")]);
        let now = SystemTime::now();
        assert_eq!(remove_mirrors_before(cache.path(), now - Duration::from_secs(60)).unwrap(), []);
        let open = File::create(folder("a").join(LOCK)).unwrap();
        open.lock_shared().unwrap();
        let soon = now + Duration::from_secs(60);
        assert_eq!(remove_mirrors_before(cache.path(), soon).unwrap(), [usage("b")]);
        assert_eq!(mirrors(cache.path()), [usage("a")]);
        drop(open);
        assert_eq!(remove_mirrors_before(cache.path(), soon).unwrap(), [usage("a")]);
        assert!(mirrors(cache.path()).is_empty() && mirrors(Path::new("nowhere")).is_empty());
    }
}
