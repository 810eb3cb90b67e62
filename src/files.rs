//! Writing so that a kill at any moment leaves the old file or the new one, never half of one.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};

/// Writes to a temporary name beside `path`, syncs, renames, and syncs the folder.
pub fn write_atomically(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let folder = path.parent().expect("a file lies in a folder");
    let mut part = tempfile::Builder::new().prefix(".part-").tempfile_in(folder).with_context(|| {
        format!("cannot create a file in {}: is the disk full, or the folder read-only?", folder.display())
    })?;
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

/// [`write_atomically`] for bytes at hand.
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomically(path, |out| Ok(out.write_all(bytes)?))
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
        if entry.file_name().to_string_lossy().starts_with(".part-") {
            let _ = fs::remove_file(entry.path());
        }
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
}
