//! Downloads the published files of a data set, verifies and unpacks them.
//!
//! Everything is prepared in a hidden folder beside that of the set, `.NAME.download`, which one process locks. A download that was cut off stays there,
//! and the next call continues it. The folder of the set appears at the end, by one rename: it is complete, or not there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail, ensure};

use crate::data::{About, AboutFile};
use timbre_core::{cancel::Cancelled, error::UserError, text::count};

mod checksums;
mod curl;
mod unpack;

pub use curl::remote_size;

/// A published file, its address, and its size if it is known.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    pub file: &'a AboutFile,
    pub url: String,
    pub bytes: Option<u64>,
}

/// The published files with their addresses, or below `base`; `None` if one has no address.
pub fn sources<'a>(about: &'a About, base: Option<&str>) -> Option<Vec<Source<'a>>> {
    let url = |file: &AboutFile| match base {
        Some(base) => Some(format!("{}/{}", base.trim_end_matches('/'), file.name)),
        None => file.url.clone(),
    };
    let sources = about.files.iter().map(|file| Some(Source { file, url: url(file)?, bytes: file.bytes }));
    sources.collect::<Option<Vec<_>>>().filter(|sources| !sources.is_empty())
}

/// Fails unless the folder can become that of the set: it does not exist, or is empty.
pub fn ensure_free(folder: &Path) -> Result<()> {
    let holds_something = folder.exists() && folder.read_dir().map_or(true, |mut entries| entries.next().is_some());
    ensure!(
        !holds_something,
        UserError::usage(format!(
            "{} is there, but not as the recordings of the set: move it away, or name another folder (`--set data.root=DIR`)",
            folder.display()
        ))
    );
    Ok(())
}

/// The hidden folder in which a set is prepared.
pub struct Workplace<'a> {
    path: PathBuf,
    target: PathBuf,
    lock: fs::File,
    stop: &'a AtomicBool,
    /// Says what happens, a line each.
    say: &'a dyn Fn(&str),
}

/// Leaves no folder without a download in it.
impl Drop for Workplace<'_> {
    fn drop(&mut self) {
        let is_lock = |entry: io::Result<fs::DirEntry>| entry.is_ok_and(|entry| entry.file_name() == "lock");
        if fs::read_dir(&self.path).is_ok_and(|mut entries| entries.all(is_lock)) {
            let _ = fs::remove_file(self.path.join("lock"));
            let _ = fs::remove_dir(&self.path);
        }
    }
}

impl<'a> Workplace<'a> {
    /// The workplace of the set that will be in `target`, for this process alone.
    pub fn open(target: &Path, stop: &'a AtomicBool, say: &'a dyn Fn(&str)) -> Result<Workplace<'a>> {
        let target = std::path::absolute(target)?;
        let name = target.file_name().with_context(|| format!("{} has no name", target.display()))?;
        let path = target.with_file_name(format!(".{}.download", name.to_string_lossy()));
        fs::create_dir_all(&path).with_context(|| format!("create the folder {}", path.display()))?;
        let lock =
            fs::File::create(path.join("lock")).with_context(|| format!("create a lock in {}", path.display()))?;
        // A file system without locks cannot say that another process is at work.
        if let Err(fs::TryLockError::WouldBlock) = lock.try_lock() {
            bail!(UserError::usage(format!("another process is getting this set: it works in {}", path.display())));
        }
        Ok(Workplace { path, target, lock, stop, say })
    }

    /// Downloads the file unless it is there, and verifies it. With `shown`, curl draws its progress.
    pub fn download(&self, source: &Source, shown: bool) -> Result<PathBuf> {
        let Source { file, url, bytes } = source;
        let complete = self.path.join(&file.name);
        if complete.is_file() {
            self.verify(file, &complete)?;
            return Ok(complete);
        }
        let part = self.path.join(format!("{}.part", file.name));
        let resumed = fs::metadata(&part).map_or(0, |found| found.len());
        let after = if resumed > 0 { format!(", continuing after {resumed} bytes") } else { String::new() };
        (self.say)(&format!("{}: downloading{after}", file.name));
        curl::download(url, &part, *bytes, &self.lock, shown, self.stop)?;
        if let Err(error) = self.verify(file, &part) {
            if self.stop.load(Ordering::Relaxed) || resumed == 0 {
                return Err(error);
            }
            // The beginning may be that of an earlier version.
            (self.say)(&format!("{error}; downloading it from the beginning"));
            curl::download(url, &part, *bytes, &self.lock, shown, self.stop)?;
            self.verify(file, &part)?;
        }
        fs::rename(&part, &complete).with_context(|| format!("rename {}", part.display()))?;
        Ok(complete)
    }

    /// The file in a folder of the user, verified.
    pub fn find_in(&self, folder: &Path, file: &AboutFile) -> Result<PathBuf> {
        let path = folder.join(&file.name);
        self.checked(file, &path)?;
        Ok(path)
    }

    /// Verifies a file of the workplace, and removes it if it is wrong.
    fn verify(&self, file: &AboutFile, path: &Path) -> Result<()> {
        let found = self.checked(file, path);
        if found.as_ref().is_err_and(|error| !error.is::<Cancelled>()) {
            fs::remove_file(path).with_context(|| format!("remove {}", path.display()))?;
        }
        found
    }

    fn checked(&self, file: &AboutFile, path: &Path) -> Result<()> {
        let bytes = fs::metadata(path).with_context(|| format!("look at {}", path.display()))?.len();
        if let Some(expected) = file.bytes {
            ensure!(bytes == expected, "{} has {bytes} bytes instead of {expected}", file.name);
        }
        (self.say)(&format!("{}: {}", file.name, checksums::verify(file, path, self.stop)?));
        Ok(())
    }

    /// Unpacks the files into a new folder, makes it that of the set, and removes the downloads.
    pub fn install(self, files: &[(&AboutFile, PathBuf)]) -> Result<()> {
        let (new, joined) = (self.path.join("unpacked"), self.path.join("joined"));
        if let Err(error) = self.place_all(files, &new, &joined) {
            remove_folder(&new)?;
            remove_folder(&joined)?;
            if !error.is::<Cancelled>() {
                self.remove_unverified(files)?;
            }
            return Err(error);
        }
        ensure_free(&self.target)?;
        let _ = fs::remove_dir(&self.target);
        fs::rename(&new, &self.target)
            .with_context(|| format!("move {} to {}", new.display(), self.target.display()))?;
        remove_folder(&self.path)
    }

    /// Removes downloads that no checksum vouches for: what cannot be unpacked may be a page with an error, and the next start
    /// gets it again.
    fn remove_unverified(&self, files: &[(&AboutFile, PathBuf)]) -> Result<()> {
        for (file, path) in
            files.iter().filter(|(file, path)| file.checksums().next().is_none() && path.starts_with(&self.path))
        {
            fs::remove_file(path).with_context(|| format!("remove {}", path.display()))?;
            (self.say)(&format!(
                "{}: removed, because no checksum of it is known; the next start downloads it again",
                file.name
            ));
        }
        Ok(())
    }

    fn place_all(&self, files: &[(&AboutFile, PathBuf)], new: &Path, joining: &Path) -> Result<()> {
        remove_folder(new)?;
        remove_folder(joining)?;
        fs::create_dir(joining).with_context(|| format!("create the folder {}", joining.display()))?;
        let mut joined: Vec<(&AboutFile, String, PathBuf)> = Vec::new();
        for (file, path) in files {
            let folder = new.join(file.into.as_deref().unwrap_or_default());
            fs::create_dir_all(&folder).with_context(|| format!("create the folder {}", folder.display()))?;
            if let Some(whole) = part_of(&file.name) {
                if joined.last().is_none_or(|(_, name, _)| name != whole) {
                    joined.push((file, whole.to_owned(), joining.join(whole)));
                }
                let (.., into) = joined.last().expect("one is there");
                append(path, into).with_context(|| format!("join {} to {}", path.display(), into.display()))?;
            } else {
                self.place(file, &file.name, path, &folder)?;
            }
        }
        for (file, name, path) in joined {
            self.place(file, &name, &path, &new.join(file.into.as_deref().unwrap_or_default()))?;
        }
        check_stop(self.stop)
    }

    fn place(&self, file: &AboutFile, name: &str, path: &Path, folder: &Path) -> Result<()> {
        let Some(format) = unpack::Format::of(name) else {
            let to = folder.join(name);
            fs::copy(path, &to).with_context(|| format!("copy {} to {}", path.display(), to.display()))?;
            return Ok(());
        };
        (self.say)(&format!("{name}: unpacking"));
        let unpacked = unpack::unpack(path, format, folder, file.top.as_deref(), self.stop)
            .with_context(|| format!("unpack {name}"))?;
        (self.say)(&format!("{name}: {}, {} bytes", count(unpacked.files, "file"), unpacked.bytes));
        Ok(())
    }
}

fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove the folder {}", folder.display()))
        }
        _ => Ok(()),
    }
}

fn check_stop(stop: &AtomicBool) -> Result<()> {
    ensure!(!stop.load(Ordering::Relaxed), Cancelled);
    Ok(())
}

/// `mp3.zip` of `mp3.zip.001`.
fn part_of(name: &str) -> Option<&str> {
    let (whole, number) = name.rsplit_once('.')?;
    (number.len() == 3 && number.bytes().all(|byte| byte.is_ascii_digit()) && !whole.is_empty()).then_some(whole)
}

fn append(from: &Path, to: &Path) -> io::Result<u64> {
    let mut to = fs::OpenOptions::new().create(true).append(true).open(to)?;
    io::copy(&mut fs::File::open(from)?, &mut to)
}
