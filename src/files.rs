//! Writing so that a kill at any moment leaves the old file or the new one, never half of one; and what a file that was not
//! touched since is known by.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// What the names of temporary files begin with.
pub const PART: &str = ".part-";

/// Writes to a temporary name beside `path`, syncs, renames, and syncs the folder.
pub fn write_atomically(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let folder = path.parent().expect("a file lies in a folder");
    let mut part =
        tempfile::Builder::new().prefix(PART).tempfile_in(folder).map_err(|error| no_file_in(folder, &error))?;
    let fail = || format!("cannot write {}", path.display());
    let mut buffered = BufWriter::new(part.as_file_mut());
    write(&mut buffered).with_context(fail)?;
    buffered.flush().with_context(fail)?;
    drop(buffered);
    part.as_file().sync_all().with_context(fail)?;
    restore_permissions(part.as_file())?;
    part.persist(path).map_err(|e| e.error).with_context(fail)?;
    sync_folder(folder);
    Ok(())
}

/// Why a folder takes no file. Its own error tells the reason, and the path again, twice.
fn no_file_in(folder: &Path, error: &std::io::Error) -> anyhow::Error {
    let create = format!("cannot create a file in {}", folder.display());
    let reason = error.get_ref().and_then(std::error::Error::source).map_or(error.to_string(), ToString::to_string);
    anyhow::Error::msg(match error.kind() {
        std::io::ErrorKind::NotFound => format!("{create}: the folder is gone: was it removed?"),
        _ => format!("{create}: is the disk full, or the folder read-only? ({reason})"),
    })
}

/// [`write_atomically`] for bytes at hand.
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomically(path, |out| Ok(out.write_all(bytes)?))
}

/// A file that a person named, its folder made: what `write_atomically` can write.
pub fn with_folder(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().with_context(|| format!("{} is no file name", path.display()))?;
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder.join(name))
}

/// Temporary files are private; results are for everyone who may read the folder.
#[cfg(unix)]
fn restore_permissions(file: &File) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(0o644))?;
    Ok(())
}

#[cfg(not(unix))]
fn restore_permissions(_: &File) -> Result<()> {
    Ok(())
}

/// A rename is on disk only when its folder is. Some systems cannot open a folder: then the rename alone must do.
fn sync_folder(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

/// Whether the reader of what was written went away (`| head`): that is no error.
pub fn is_gone(written: std::io::Result<()>) -> Result<bool> {
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(true),
        other => other.context("cannot write to stdout").map(|()| false),
    }
}

/// The temporary files that a killed process left in `folder`.
pub fn remove_leftovers(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PART) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Older than this when it was read: a later change must show in the times.
pub const SETTLED_NANOS: i64 = 2_000_000_000;

/// Size, modification time, change time and inode together stand for the content of a file, as in git.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    size: u64,
    modified: i64,
    changed: i64,
    inode: u64,
}

impl Stamp {
    pub fn of(path: &Path) -> std::io::Result<Stamp> {
        use std::os::unix::fs::MetadataExt;
        let meta = fs::metadata(path)?;
        let nanos = |s: i64, n: i64| s * 1_000_000_000 + n;
        Ok(Stamp {
            size: meta.len(),
            modified: nanos(meta.mtime(), meta.mtime_nsec()),
            changed: nanos(meta.ctime(), meta.ctime_nsec()),
            inode: meta.ino(),
        })
    }

    /// Whether the file was left alone for so long that a change after this stamp must show in the next. A second change in
    /// the same clock tick would go unseen.
    pub fn settled(&self) -> bool {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i64);
        now - self.modified.max(self.changed) > SETTLED_NANOS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.csv");
        write_bytes(&path, b"old").unwrap();
        let failed = write_atomically(&path, |out| {
            out.write_all(b"half of the new")?;
            anyhow::bail!("no space left")
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_was_removed_is_told_as_such_and_a_reason_once() {
        let folder = tempfile::tempdir().unwrap();
        let said = |path: &Path| format!("{:#}", write_bytes(path, b"new").unwrap_err());
        let gone = said(&folder.path().join("gone/run.json"));
        assert!(gone.ends_with("gone: the folder is gone: was it removed?"), "{gone}");
        fs::write(folder.path().join("file"), b"").unwrap();
        let no_folder = said(&folder.path().join("file/run.json"));
        assert_eq!(no_folder.matches("os error").count(), 1, "{no_folder}");
    }
}
