//! Writing so that a kill at any moment leaves the old file or the new one, never half of one; and what a file that was not
//! touched since is known by.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// What the names of temporary files begin with.
pub const TEMP_PREFIX: &str = ".part-";

/// Writes to a temporary name beside `path`, syncs, renames, and syncs the folder. A link stays one, and what it names is replaced;
/// into what is no file (a pipe, a device) it is written as it comes.
pub fn write_atomically(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let fail = || format!("cannot write {}", path.display());
    if is_in_place(path) {
        let mut there = BufWriter::new(File::options().append(true).open(path).with_context(fail)?);
        write(&mut there).with_context(fail)?;
        return there.flush().with_context(fail);
    }
    let named = behind_links(path);
    let folder = named.parent().expect("a file lies in a folder");
    let mut part = tempfile::Builder::new()
        .prefix(TEMP_PREFIX)
        .permissions(permissions(&named))
        .tempfile_in(folder)
        .map_err(|error| no_file_in(folder, &error))?;
    let mut buffered = BufWriter::new(part.as_file_mut());
    write(&mut buffered).with_context(fail)?;
    buffered.flush().with_context(fail)?;
    drop(buffered);
    part.as_file().sync_all().with_context(fail)?;
    if named.exists() {
        // As they were, whatever the umask takes from a new file.
        part.as_file().set_permissions(permissions(&named)).with_context(fail)?;
    }
    part.persist(&named).map_err(|e| e.error).with_context(fail)?;
    sync_folder(folder);
    Ok(())
}

/// Whether it is there and no file that could be replaced. What stands for an open file (`/dev/stdout`) is none either.
fn is_in_place(path: &Path) -> bool {
    let is_open_file = ["/dev", "/proc"].iter().any(|above| path.starts_with(above));
    fs::metadata(path).is_ok_and(|meta| !meta.is_dir() && (!meta.is_file() || is_open_file))
}

/// What a link names, also where that is not there yet.
fn behind_links(path: &Path) -> PathBuf {
    if !path.is_symlink() {
        return path.to_owned();
    }
    let beside = |target: PathBuf| path.parent().unwrap_or(Path::new("")).join(target);
    fs::canonicalize(path).or_else(|_| fs::read_link(path).map(beside)).unwrap_or_else(|_| path.to_owned())
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
pub fn create_parent_folder(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().with_context(|| format!("{} is no file name", path.display()))?;
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder.join(name))
}

/// Those of the file that is replaced. A new one is for everyone whom the process lets (its umask): temporary files are private
/// otherwise.
fn permissions(path: &Path) -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).map_or(fs::Permissions::from_mode(0o666), |meta| meta.permissions())
}

/// A rename is on disk only when its folder is. Some systems cannot open a folder: then the rename alone must do.
fn sync_folder(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

/// Whether the reader of what was written went away (`| head`): that is no error.
pub fn reader_closed(written: std::io::Result<()>) -> Result<bool> {
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(true),
        other => other.context("cannot write to stdout").map(|()| false),
    }
}

/// The temporary files that a killed process left in `folder`.
pub fn remove_temp_files(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(TEMP_PREFIX) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Older than this when it was read: a later change must show in the times.
pub const SETTLED_NANOS: i64 = 2_000_000_000;

/// Size, modification time, change time and inode together stand for the content of a file, as in git.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStamp {
    size: u64,
    modified: i64,
    changed: i64,
    inode: u64,
}

impl FileStamp {
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
    fn a_link_stays_a_link_and_what_it_names_is_replaced() {
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
    fn a_private_file_stays_private_and_a_new_one_is_what_the_process_lets() {
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
    fn a_pipe_and_a_device_are_written_into_and_stay_what_they_are() {
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
