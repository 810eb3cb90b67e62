//! Data sets that the program generates: each once, into the cache, completely or not at all.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::DataDirs;

/// A callback after each recording, to count it or to cancel.
pub type AfterRecording<'a> = &'a (dyn Fn() -> Result<()> + Sync);

/// A kind of data set that the program generates.
pub trait Generator: Sync {
    /// The name of the kind, with which the folder in the cache begins.
    fn kind(&self) -> &'static str;

    /// Whether the recordings are in a folder of the user's, and nothing is generated.
    fn has_root(&self) -> bool;

    /// A hash of everything that changes the recordings, in hexadecimal.
    fn fingerprint(&self, dirs: &DataDirs) -> Result<String>;

    /// The length of each recording in seconds, by its id, without generating it.
    fn planned_seconds(&self, dirs: &DataDirs) -> Result<HashMap<String, f64>>;

    /// Writes the set into a new folder. Several threads call `after_recording`.
    fn fill(&self, dirs: &DataDirs, folder: &Path, after_recording: AfterRecording) -> Result<Summary>;
}

/// Numbers and size of a generated set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub training_clips: usize,
    pub validation_recordings: usize,
    pub testing_recordings: usize,
    /// Total size of the recordings.
    pub bytes: u64,
}

/// The folder of the set in the cache.
pub fn cache_folder(set: &dyn Generator, dirs: &DataDirs) -> Result<PathBuf> {
    let hash = set.fingerprint(dirs)?;
    Ok(dirs.cache_dir.join(format!("{}-{}", set.kind(), &hash[..12])))
}

/// Whether nothing has to be generated: the set is in the cache, or in a folder of its own.
pub fn is_in_place(set: &dyn Generator, dirs: &DataDirs) -> Result<bool> {
    Ok(set.has_root() || cache_folder(set, dirs)?.is_dir())
}

/// Generates the set in the cache unless it is there, and returns its folder. The error of `after_recording` cancels the work.
///
/// If two processes call this at once, the second waits and uses the set of the first.
pub fn ensure_in_cache(set: &dyn Generator, dirs: &DataDirs, after_recording: AfterRecording) -> Result<PathBuf> {
    let folder = cache_folder(set, dirs)?;
    if folder.is_dir() {
        return Ok(folder);
    }
    let name = folder.file_name().expect("the folder has a name").to_string_lossy().into_owned();
    let cache_dir = &dirs.cache_dir;
    fs::create_dir_all(cache_dir).with_context(|| format!("create the cache folder {cache_dir:?}"))?;
    let lock_path = cache_dir.join(format!("{name}.lock"));
    let lock = fs::File::create(&lock_path).with_context(|| format!("create the lock file {lock_path:?}"))?;
    // On a file system without locks, both processes generate the set, and the second to finish uses that of the first.
    if lock.lock().is_ok() && folder.is_dir() {
        return Ok(folder);
    }
    if let Err(error) = write(set, dirs, &folder, after_recording)
        && !folder.is_dir()
    {
        return Err(error);
    }
    Ok(folder)
}

/// Writes the set into the new or empty folder `into`, completely or not at all. The error of `after_recording` cancels the work.
/// A partial set of a killed process is removed by the next call.
pub fn write(set: &dyn Generator, dirs: &DataDirs, into: &Path, after_recording: AfterRecording) -> Result<Summary> {
    let holds_something = into.exists() && into.read_dir().map_or(true, |mut entries| entries.next().is_some());
    ensure!(
        !holds_something,
        "generate the {} data set: {into:?} already exists and is not empty; choose another folder, or remove it",
        set.kind()
    );
    let into = std::path::absolute(into).with_context(|| format!("find the folder {into:?}"))?;
    let parent = into.parent().with_context(|| format!("{into:?} has no folder above it"))?;
    let name = into.file_name().with_context(|| format!("{into:?} has no name"))?.to_string_lossy().into_owned();
    fs::create_dir_all(parent).with_context(|| format!("create the folder {parent:?}"))?;
    let prefix = format!(".{name}.partial-");
    remove_partial_sets(parent, &prefix)?;
    let partial = tempfile::Builder::new()
        .prefix(&prefix)
        .tempdir_in(parent)
        .with_context(|| format!("create a folder in {parent:?}"))?;
    let lock = fs::File::open(partial.path()).with_context(|| format!("open the folder {:?}", partial.path()))?;
    // Without locks on this file system nothing is removed.
    let _ = lock.try_lock();
    let summary = set.fill(dirs, partial.path(), after_recording)?;
    make_readable(partial.path())?;
    let _ = fs::remove_dir(&into);
    fs::rename(partial.path(), &into).with_context(|| format!("move the data set to {into:?}"))?;
    // The folder was moved: there is nothing to remove.
    let _ = partial.keep();
    Ok(summary)
}

/// Removes the partial sets that killed processes left. A process locks its own.
fn remove_partial_sets(parent: &Path, prefix: &str) -> Result<()> {
    for (other, path) in super::walk::hidden_folders_in(parent)? {
        if other.starts_with(prefix) && fs::File::open(&path).is_ok_and(|folder| folder.try_lock().is_ok()) {
            fs::remove_dir_all(&path).with_context(|| format!("remove the partial data set {path:?}"))?;
        }
    }
    Ok(())
}

/// Gives the folder the usual permissions: temporary folders are private to their owner.
fn make_readable(folder: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let inner = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).find(|path| path.is_dir());
        let inner = inner.with_context(|| format!("{folder:?} has no folder"))?;
        let usual = fs::metadata(&inner).with_context(|| format!("look at {inner:?}"))?.permissions().mode();
        fs::set_permissions(folder, fs::Permissions::from_mode(usual))
            .with_context(|| format!("set the permissions of {folder:?}"))?;
    }
    Ok(())
}
