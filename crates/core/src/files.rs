//! Atomic file writes, which leave the old or the new file after a kill at any moment; and file stamps, which detect changes.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// The prefix of temporary files.
pub const TEMP_PREFIX: &str = ".part-";

/// Writes to a temporary file beside `path`, syncs, renames, and syncs the folder. A symlink stays, and its target is replaced.
/// A pipe or device is written to directly.
pub fn write_atomically(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let fail = || format!("cannot write {}", path.display());
    if is_in_place(path) {
        let mut there = BufWriter::new(File::options().append(true).open(path).with_context(fail)?);
        write(&mut there).with_context(fail)?;
        return there.flush().with_context(fail);
    }
    let named = behind_links(path);
    let folder = named.parent().expect("a file lies in a folder");
    let (part, ()) = synced_part(folder, permissions(&named), |out| write(out).with_context(fail))?;
    if named.exists() {
        // As they were, whatever the umask takes from a new file.
        part.as_file().set_permissions(permissions(&named)).with_context(fail)?;
    }
    part.persist(&named).map_err(|e| e.error).with_context(fail)?;
    sync_folder(folder);
    Ok(())
}

/// Writes a file whose name follows from what was written: to a temporary file in `folder`, synced, then renamed.
pub fn write_then_name<T>(
    folder: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<T>,
    name: impl FnOnce(&T) -> String,
) -> Result<T> {
    let permissions = permissions(&folder.join(TEMP_PREFIX));
    let (part, written) = synced_part(folder, permissions, write)?;
    let path = folder.join(name(&written));
    part.persist(&path).map_err(|e| e.error).with_context(|| format!("cannot write {}", path.display()))?;
    sync_folder(folder);
    Ok(written)
}

/// A temporary file with what `write` wrote, on disk.
fn synced_part<T>(
    folder: &Path,
    permissions: fs::Permissions,
    write: impl FnOnce(&mut dyn Write) -> Result<T>,
) -> Result<(tempfile::NamedTempFile, T)> {
    let mut part = tempfile::Builder::new()
        .prefix(TEMP_PREFIX)
        .permissions(permissions)
        .tempfile_in(folder)
        .map_err(|error| no_file_in(folder, &error))?;
    // Shows other processes that the file is not a leftover.
    let _ = part.as_file().try_lock();
    let mut buffered = BufWriter::new(part.as_file_mut());
    let written = write(&mut buffered)?;
    let fail = || format!("cannot write a file in {}", folder.display());
    buffered.flush().with_context(fail)?;
    drop(buffered);
    part.as_file().sync_all().with_context(fail)?;
    Ok((part, written))
}

/// Whether `path` exists and cannot be replaced: a pipe, a device, or the name of an open file (`/dev/stdout`).
fn is_in_place(path: &Path) -> bool {
    // `/dev/shm` is a file system like any other.
    let is_open_file =
        path.starts_with("/proc") || path.starts_with("/dev/fd") || path.parent() == Some(Path::new("/dev"));
    fs::metadata(path).is_ok_and(|meta| !meta.is_dir() && (!meta.is_file() || is_open_file))
}

/// The target of a symlink, even if it does not exist yet.
fn behind_links(path: &Path) -> PathBuf {
    if !path.is_symlink() {
        return path.to_owned();
    }
    let beside = |target: PathBuf| path.parent().unwrap_or(Path::new("")).join(target);
    fs::canonicalize(path).or_else(|_| fs::read_link(path).map(beside)).unwrap_or_else(|_| path.to_owned())
}

/// Explains why no file can be created in a folder. Uses only the reason of the io error, which repeats the path.
fn no_file_in(folder: &Path, error: &std::io::Error) -> anyhow::Error {
    let create = format!("cannot create a file in {}", folder.display());
    let reason = error.get_ref().and_then(std::error::Error::source).map_or(error.to_string(), ToString::to_string);
    anyhow::Error::msg(match error.kind() {
        std::io::ErrorKind::NotFound => format!("{create}: no such directory: was it removed?"),
        _ => format!("{create}: is the disk full, or the directory read-only? ({reason})"),
    })
}

/// [`write_atomically`] for a slice of bytes.
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomically(path, |out| Ok(out.write_all(bytes)?))
}

/// Creates the folder of a file that the user named. Returns the path for [`write_atomically`].
pub fn create_parent_folder(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().with_context(|| format!("{} is not a file name", path.display()))?;
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder.join(name))
}

/// The permissions of the replaced file, or those of the umask for a new one. Temporary files would be private by default.
fn permissions(path: &Path) -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).map_or(fs::Permissions::from_mode(0o666), |meta| meta.permissions())
}

/// Syncs the folder, so that the rename is on disk. Skipped on systems that cannot open a folder.
fn sync_folder(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

/// Whether the reader closed the pipe (`| head`), which is not an error.
pub fn reader_closed(written: std::io::Result<()>) -> Result<bool> {
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(true),
        other => other.context("cannot write to stdout").map(|()| false),
    }
}

/// Removes the temporary files that killed processes left in `folder`; never one that a process is writing.
pub fn remove_temp_files(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(TEMP_PREFIX) && is_abandoned(&entry.path()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A process locks its temporary file the moment after it creates it, so a new file without a lock is looked at again a moment later.
fn is_abandoned(path: &Path) -> bool {
    let is_unlocked_after = |wait: Duration| {
        std::thread::sleep(wait);
        let Ok(file) = File::open(path) else { return None };
        let meta = file.metadata().ok().filter(fs::Metadata::is_file)?;
        file.try_lock().ok()?;
        Some(meta.modified().ok()?.elapsed().unwrap_or_default())
    };
    let Some(age) = is_unlocked_after(Duration::ZERO) else { return false };
    age >= LOCKED_AFTER || is_unlocked_after(LOCKED_AFTER - age).is_some()
}

const LOCKED_AFTER: Duration = Duration::from_millis(500);

/// A file older than this when stamped is settled: later changes show in its times.
pub const SETTLED_NANOS: i64 = 2_000_000_000;

/// Size, modification time, change time and inode of a file, which identify its content, as in git's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStamp {
    size: u64,
    modified: i64,
    changed: i64,
    inode: u64,
}

impl FileStamp {
    /// The stamp of a file, or of the target of a link.
    pub fn of(path: &Path) -> std::io::Result<FileStamp> {
        use std::os::unix::fs::MetadataExt;
        let meta = fs::metadata(path)?;
        let nanos = |s: i64, n: i64| s * 1_000_000_000 + n;
        Ok(FileStamp {
            size: meta.len(),
            modified: nanos(meta.mtime(), meta.mtime_nsec()),
            changed: nanos(meta.ctime(), meta.ctime_nsec()),
            inode: meta.ino(),
        })
    }

    /// 32 bytes, for a file of stamps.
    pub fn to_bytes(self) -> [u8; 32] {
        let FileStamp { size, modified, changed, inode } = self;
        let mut bytes = [0; 32];
        for (bytes, number) in bytes.chunks_exact_mut(8).zip([size, modified as u64, changed as u64, inode]) {
            bytes.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    /// When it was last written, in nanoseconds since 1970.
    pub fn modified(&self) -> i64 {
        self.modified
    }

    /// In bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether the file was unchanged for so long that a later change shows in the next stamp. A second change in the same clock
    /// tick would go unseen.
    pub fn settled(&self) -> bool {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i64);
        now - self.modified.max(self.changed) > SETTLED_NANOS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(not(target_os = "linux"), ignore = "needs /dev/shm")]
    fn a_file_in_shared_memory_is_replaced_and_not_appended_to() {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = folder.path().join("run.json");
        for text in ["first", "second"] {
            write_bytes(&path, text.as_bytes()).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "second");
    }

    #[test]
    fn a_symlink_stays_and_its_target_is_replaced() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("there"), b"old").unwrap();
        for (link, target) in [("one", "there"), ("other", "not there yet")] {
            symlink(target, at(link)).unwrap();
            write_bytes(&at(link), b"new").unwrap();
            assert!(at(link).is_symlink());
            assert_eq!(fs::read(at(target)).unwrap(), b"new");
        }
    }

    #[test]
    fn a_private_file_stays_private_and_a_new_file_follows_the_umask() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (private, new, usual) = (folder.path().join("a"), folder.path().join("b"), folder.path().join("c"));
        fs::write(&private, b"old").unwrap();
        fs::set_permissions(&private, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&usual, b"").unwrap();
        for file in [&private, &new] {
            write_bytes(file, b"new").unwrap();
        }
        let mode = |file: &Path| fs::metadata(file).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&private), mode(&new)), (0o600, mode(&usual)));
    }

    #[test]
    fn pipes_and_devices_are_written_to_and_not_replaced() {
        use std::io::Read;
        use std::os::unix::fs::FileTypeExt;
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        std::thread::scope(|scope| {
            let read = scope.spawn(|| {
                let mut text = String::new();
                File::open(&pipe).unwrap().read_to_string(&mut text).unwrap();
                text
            });
            write_bytes(&pipe, b"new").unwrap();
            assert_eq!(read.join().unwrap(), "new");
        });
        assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
        write_bytes(Path::new("/dev/null"), b"new").unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
        if Path::new("/dev/full").exists() {
            assert!(write_bytes(Path::new("/dev/full"), b"new").is_err());
        }
    }

    #[test]
    fn a_failed_write_leaves_only_the_old_file() {
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
    fn leftovers_are_removed_and_files_that_are_being_written_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let left = ["long ago", "a moment ago"].map(|name| folder.path().join(format!("{TEMP_PREFIX}{name}")));
        left.iter().for_each(|path| fs::write(path, b"half").unwrap());
        let long_ago = std::time::SystemTime::now() - Duration::from_secs(60);
        File::options().write(true).open(&left[0]).unwrap().set_modified(long_ago).unwrap();
        for wait in [Duration::ZERO, 2 * LOCKED_AFTER] {
            write_atomically(&folder.path().join("new"), |out| {
                std::thread::sleep(wait);
                remove_temp_files(folder.path());
                Ok(out.write_all(b"whole")?)
            })
            .unwrap();
        }
        assert!(left.iter().all(|path| !path.exists()));
        assert_eq!(fs::read(folder.path().join("new")).unwrap(), b"whole");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_removed_folder_is_named_and_the_reason_is_given_once() {
        let folder = tempfile::tempdir().unwrap();
        let said = |path: &Path| format!("{:#}", write_bytes(path, b"new").unwrap_err());
        let gone = said(&folder.path().join("gone/run.json"));
        assert!(gone.ends_with("gone: no such directory: was it removed?"), "{gone}");
        fs::write(folder.path().join("file"), b"").unwrap();
        let no_folder = said(&folder.path().join("file/run.json"));
        assert_eq!(no_folder.matches("os error").count(), 1, "{no_folder}");
    }
}
