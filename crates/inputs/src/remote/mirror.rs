//! A folder that mirrors a bucket: what is there by name, and as much of it as was read.
//!
//! A recording that was not downloaded yet is an empty file, so that walks and tables find its name. Whether a file is an object as the
//! server has it now follows from the journal and its size. A download gets a temporary name until it is complete. Processes at once may
//! download an object twice, and leave the same bytes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};

use super::Url;
use super::journal::{self, Version};
use super::store::{Store, Wanted};
use super::usage;
use timbre_core::{error::UserError, files::remove_temp_files};
use timbre_signal::audio::{AUDIO_EXTENSIONS, UNREAD_EXTENSIONS};

/// What is below a root and never read: the archives from which a set was unpacked, and pictures.
const PASSED_OVER: [&str; 13] =
    ["zip", "tar", "gz", "tgz", "bz2", "xz", "zst", "7z", "rar", "png", "jpg", "jpeg", "pdf"];

/// The mirrors that this process has opened, by their folders of files: a bucket is listed once, so that all points of a sweep see the same.
static OPENED: Mutex<BTreeMap<PathBuf, Arc<Mirror>>> = Mutex::new(BTreeMap::new());

/// Learns what is below a URL, and brings its tables and label files. Every recording has its name in the mirror afterwards.
pub fn list(url: &Url, cache: &Path) -> Result<()> {
    opened(url, cache)?.list()
}

/// [`list`] for a server that does not list: asks for each of these files. Those that are not there get no name in the mirror.
pub fn list_named<'n>(url: &Url, cache: &Path, names: impl IntoIterator<Item = &'n str>) -> Result<()> {
    opened(url, cache)?.list_named(names)
}

/// Brings one file, such as a table.
pub fn file(url: &Url, cache: &Path) -> Result<PathBuf> {
    let (folder, name) = url.split_name();
    let mirror = opened(&folder, cache)?;
    mirror.list_named([name])?;
    if !mirror.has(name) {
        return Err(UserError::usage(format!("{url} does not exist")).into());
    }
    mirror.download(mirror.lacking([name.to_owned()]), || Ok(()))?;
    Ok(mirror.files().join(name))
}

/// A folder as a message names it: of a mirror, the URL.
pub fn shown(folder: &Path) -> String {
    let all = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    all.get(folder).map_or_else(|| folder.display().to_string(), |mirror| mirror.store.url.to_string())
}

fn opened(url: &Url, cache: &Path) -> Result<Arc<Mirror>> {
    let files = url.mirror(cache);
    let mut all = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(mirror) = all.get(&files) {
        return Ok(mirror.clone());
    }
    let folder = files.parent().expect("the folder of files is in that of the mirror").to_owned();
    let mirror = Arc::new(Mirror::open(Store::open(url)?, folder)?);
    all.insert(files, mirror.clone());
    Ok(mirror)
}

/// The downloads that these paths need: those in a mirror whose objects are not there, or have changed.
pub struct Downloads(Vec<(Arc<Mirror>, Vec<Wanted>)>);

impl Downloads {
    pub fn of(paths: &[&Path]) -> Downloads {
        let all = OPENED.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let keys_in = |files: &Path| {
            let key = |path: &&Path| Some(path.strip_prefix(files).ok()?.to_str()?.to_owned());
            paths.iter().filter_map(key).collect::<Vec<_>>()
        };
        let of_mirror = |(files, mirror): (PathBuf, Arc<Mirror>)| {
            let lacking = mirror.lacking(keys_in(&files));
            (mirror, lacking)
        };
        Downloads(all.into_iter().map(of_mirror).filter(|(_, lacking)| !lacking.is_empty()).collect())
    }

    /// The number of files.
    pub fn len(&self) -> usize {
        self.0.iter().map(|(_, lacking)| lacking.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Downloads; `step` is called after each file, and its error ends the work.
    pub fn run(self, mut step: impl FnMut() -> Result<()>) -> Result<()> {
        self.0.into_iter().try_for_each(|(mirror, lacking)| mirror.download(lacking, &mut step))
    }
}

/// The mirror of one URL.
struct Mirror {
    store: Store,
    folder: PathBuf,
    state: Mutex<State>,
    /// Locked while this process may use the mirror.
    _lock: File,
}

#[derive(Default)]
struct State {
    /// What the server has, as far as it was asked.
    objects: HashMap<String, Version>,
    /// What was downloaded, by the journal.
    here: HashMap<String, Version>,
    is_listed: bool,
}

impl Mirror {
    fn open(store: Store, folder: PathBuf) -> Result<Mirror> {
        let lock = usage::lock(&folder).and_then(|lock| fs::create_dir_all(folder.join("files")).map(|()| lock));
        let lock =
            lock.with_context(|| format!("cannot create {}: choose another cache with --cache", folder.display()))?;
        remove_temp_files(&folder);
        let here = journal::read(&folder.join(JOURNAL));
        Ok(Mirror { store, folder, _lock: lock, state: Mutex::new(State { here, ..State::default() }) })
    }

    fn files(&self) -> PathBuf {
        self.folder.join("files")
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, key: &str) -> bool {
        self.state().objects.contains_key(key)
    }

    fn list(&self) -> Result<()> {
        if self.state().is_listed {
            return Ok(());
        }
        let url = &self.store.url;
        let mut objects: HashMap<String, Version> = self.store.list()?.into_iter().collect();
        let folders: HashSet<String> = objects.keys().flat_map(|key| folders_of(key)).map(str::to_owned).collect();
        // Consoles mark a folder by an empty object with its name.
        objects
            .retain(|key, version| is_below(key) && is_mirrored(key) && !(version.size == 0 && folders.contains(key)));
        if objects.is_empty() {
            return Err(UserError::usage(format!("no object is below {url}")).into());
        }
        let mut both: Vec<&String> = objects.keys().filter(|key| folders.contains(*key)).collect();
        both.sort();
        if let Some(key) = both.first() {
            let sentence = format!("{url}/{key} is an object, and others are below it: a folder cannot hold both");
            return Err(UserError::usage(sentence).into());
        }
        let mut keys: Vec<String> = objects.keys().cloned().collect();
        keys.sort();
        self.state().objects = objects;
        remove_others(&self.files(), "", &keys.iter().map(String::as_str).collect(), &folders)?;
        keys.iter().try_for_each(|key| self.keep_place(key))?;
        let tables = keys.into_iter().filter(|key| !is_audio(key));
        self.download(self.lacking(tables), || Ok(()))?;
        self.state().is_listed = true;
        Ok(())
    }

    fn list_named<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Result<()> {
        let unknown: Vec<&str> = {
            let state = self.state();
            let mut seen = HashSet::new();
            let is_new = |name: &&'n str| !state.is_listed && !state.objects.contains_key(*name) && seen.insert(*name);
            // An absolute path in a table, or one with `..`, is none of a file in the mirror.
            names.into_iter().filter(|name| is_below(name)).filter(is_new).collect()
        };
        let found = self.store.heads(&unknown)?;
        for (name, version) in unknown.into_iter().zip(found) {
            match version {
                Some(version) => {
                    self.keep_place(name)?;
                    self.state().objects.insert(name.to_owned(), version);
                }
                // Of an earlier time.
                None => drop(fs::remove_file(self.files().join(name))),
            }
        }
        Ok(())
    }

    /// An empty file in the place of an object that is not there yet.
    fn keep_place(&self, key: &str) -> Result<()> {
        let path = self.files().join(key);
        if path.is_file() {
            return Ok(());
        }
        let create = || {
            fs::create_dir_all(path.parent().expect("a file is in a folder"))?;
            // Another process may have created it meanwhile.
            File::options().create(true).append(true).open(&path)
        };
        create().map(drop).with_context(|| format!("cannot create {} for {}/{key}", path.display(), self.store.url))
    }

    /// The objects among these that are not here as the server has them.
    fn lacking(&self, keys: impl IntoIterator<Item = String>) -> Vec<Wanted> {
        let state = self.state();
        let mut seen = HashSet::new();
        let wanted = |key: String| {
            let version = state.objects.get(&key)?.clone();
            let file = self.files().join(&key);
            let is_here = state.here.get(&key).is_some_and(|here| here.is_same(&version))
                && file.metadata().is_ok_and(|meta| meta.len() == version.size);
            (!is_here).then_some(Wanted { key, version, file })
        };
        keys.into_iter().filter(|key| seen.insert(key.clone())).filter_map(wanted).collect()
    }

    fn download(&self, wanted: Vec<Wanted>, mut step: impl FnMut() -> Result<()>) -> Result<()> {
        if wanted.is_empty() {
            return Ok(());
        }
        let (files, bytes) = (wanted.len(), wanted.iter().map(|wanted| wanted.version.size).sum::<u64>());
        self.store.download(wanted, &self.folder, |Wanted { key, version, .. }| {
            journal::append(&self.folder.join(JOURNAL), key, version)?;
            self.state().here.insert(key.clone(), version.clone());
            step()
        })?;
        tracing::info!("{files} files of {} downloaded, {bytes} bytes", self.store.url);
        Ok(())
    }
}

const JOURNAL: &str = "objects.jsonl";

/// Whether a key stays a path below the folder that it is joined to.
fn is_below(key: &str) -> bool {
    key.split('/').all(|name| !matches!(name, "" | "." | "..")) && !key.contains('\0')
}

/// The folders above a key.
fn folders_of(key: &str) -> impl Iterator<Item = &str> {
    key.match_indices('/').map(|(at, _)| &key[..at])
}

fn extension_of(key: &str) -> String {
    Path::new(key).extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_lowercase()
}

fn is_audio(key: &str) -> bool {
    let extension = extension_of(key);
    AUDIO_EXTENSIONS.contains(&extension.as_str()) || UNREAD_EXTENSIONS.contains(&extension.as_str())
}

/// Walks pass over hidden files and those of `__MACOSX`.
fn is_mirrored(key: &str) -> bool {
    let is_hidden = |name: &str| name.starts_with('.') || name == "__MACOSX";
    !key.split('/').any(is_hidden) && !PASSED_OVER.contains(&extension_of(key).as_str())
}

/// Removes the files of objects that are gone, and folders without any.
fn remove_others(folder: &Path, above: &str, keys: &HashSet<&str>, folders: &HashSet<String>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?.flatten() {
        let path = entry.path();
        let key = entry.file_name().to_str().map(|name| format!("{above}{name}"));
        let key = key.as_deref();
        let removed = match entry.file_type()?.is_dir() {
            true if key.is_some_and(|key| folders.contains(key)) => {
                remove_others(&path, &format!("{}/", key.unwrap_or_default()), keys, folders)?;
                Ok(())
            }
            true => fs::remove_dir_all(&path),
            false if key.is_some_and(|key| keys.contains(key)) => Ok(()),
            false => fs::remove_file(&path),
        };
        // Another process may have removed it.
        if let Err(error) = removed.or_else(|error| if path.exists() { Err(error) } else { Ok(()) }) {
            return Err(error).with_context(|| format!("cannot remove {}", path.display()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::memory::InMemory;
    use object_store::path::Path as Key;
    use object_store::{ObjectStore, ObjectStoreExt};

    fn bucket(objects: &[(&str, &str)]) -> Arc<InMemory> {
        let bucket = Arc::new(InMemory::new());
        objects.iter().for_each(|(key, text)| put(&bucket, key, text));
        bucket
    }

    fn now<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    fn put(bucket: &InMemory, key: &str, text: &str) {
        now(bucket.put(&Key::parse(key).unwrap(), text.to_owned().into())).unwrap();
    }

    fn delete(bucket: &InMemory, key: &str) {
        now(bucket.delete(&Key::parse(key).unwrap())).unwrap();
    }

    /// As a new process opens it.
    fn mirror(bucket: &Arc<InMemory>, folder: &Path) -> Mirror {
        let inner: Arc<dyn ObjectStore> = bucket.clone();
        Mirror::open(Store::of("s3://bucket/set", inner), folder.to_owned()).unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let found = crate::data::walk::files_below(folder).unwrap();
        found.into_iter().map(|file| file.names.join("/")).collect()
    }

    fn fetch(mirror: &Mirror, keys: &[&str]) -> Vec<String> {
        let lacking = mirror.lacking(keys.iter().map(|key| (*key).to_owned()));
        let fetched = lacking.iter().map(|wanted| wanted.key.clone()).collect();
        mirror.download(lacking, || Ok(())).unwrap();
        fetched
    }

    #[test]
    fn recordings_have_names_before_they_are_downloaded_and_tables_are_there_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let bucket = bucket(&[
            ("set/cel/a.wav", "aaa"),
            ("set/labels.csv", "x,y"),
            ("set/raw.zip", "zip"),
            ("set/.hidden/b.wav", "b"),
            ("settings/c.wav", "c"),
        ]);
        let mirror = mirror(&bucket, folder.path());
        mirror.list().unwrap();
        assert_eq!(names(&mirror.files()), ["cel/a.wav", "labels.csv"]);
        let read = |key: &str| fs::read_to_string(mirror.files().join(key)).unwrap();
        assert_eq!((read("cel/a.wav").as_str(), read("labels.csv").as_str()), ("", "x,y"));
        assert_eq!(fetch(&mirror, &["cel/a.wav", "cel/a.wav", "no.wav"]), ["cel/a.wav"]);
        assert_eq!(read("cel/a.wav"), "aaa");
    }

    #[test]
    fn the_next_process_downloads_only_what_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let bucket = bucket(&[("set/a.wav", "aaa"), ("set/b.wav", "bbb"), ("set/sub/c.wav", "ccc"), ("set/d.wav", "")]);
        let all = ["a.wav", "b.wav", "sub/c.wav", "d.wav"];
        let first = mirror(&bucket, folder.path());
        first.list().unwrap();
        assert_eq!(fetch(&first, &all).len(), 4);
        let second = mirror(&bucket, folder.path());
        second.list().unwrap();
        assert!(fetch(&second, &all).is_empty());
        // Of the same length, so that only the ETag tells.
        put(&bucket, "set/b.wav", "BBB");
        delete(&bucket, "set/sub/c.wav");
        let third = mirror(&bucket, folder.path());
        third.list().unwrap();
        assert_eq!(fetch(&third, &all), ["b.wav"]);
        assert_eq!(fs::read(third.files().join("b.wav")).unwrap(), b"BBB");
        assert!(!third.files().join("sub").exists(), "an empty folder would be a class");
    }

    #[test]
    fn a_file_that_was_cut_or_lost_is_downloaded_again() {
        let folder = tempfile::tempdir().unwrap();
        let bucket = bucket(&[("set/a.wav", "aaa"), ("set/b.wav", "bbb")]);
        let first = mirror(&bucket, folder.path());
        first.list().unwrap();
        fetch(&first, &["a.wav", "b.wav"]);
        fs::write(first.files().join("a.wav"), "a").unwrap();
        fs::remove_file(first.files().join("b.wav")).unwrap();
        let second = mirror(&bucket, folder.path());
        second.list().unwrap();
        assert_eq!(fetch(&second, &["a.wav", "b.wav"]).len(), 2);
        assert_eq!(fs::read(second.files().join("a.wav")).unwrap(), b"aaa");
    }

    #[test]
    fn an_object_that_changed_or_vanished_after_the_list_is_an_error_and_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let bucket = bucket(&[("set/a.wav", "aaa"), ("set/b.wav", "bbb")]);
        let mirror = mirror(&bucket, folder.path());
        mirror.list().unwrap();
        put(&bucket, "set/a.wav", "AAA");
        delete(&bucket, "set/b.wav");
        for (key, words) in [("a.wav", "was changed"), ("b.wav", "is gone: run again")] {
            let error = mirror.download(mirror.lacking([key.to_owned()]), || Ok(())).unwrap_err();
            assert!(error.is::<UserError>() && error.to_string().contains(words), "{error}");
            assert_eq!(fs::read(mirror.files().join(key)).unwrap(), b"", "{key} is still a name only");
        }
        let left = fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.file_name());
        assert_eq!(left.filter(|name| name != usage::LOCK).collect::<Vec<_>>(), ["files"]);
    }

    #[test]
    fn named_files_are_looked_for_one_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let bucket = bucket(&[("set/a.wav", "aaa"), ("set/b.wav", "bbb")]);
        let mirror = mirror(&bucket, folder.path());
        fs::write(mirror.files().join("gone.wav"), "of an earlier time").unwrap();
        mirror.list_named(["a.wav", "gone.wav"]).unwrap();
        assert_eq!(names(&mirror.files()), ["a.wav"]);
        assert_eq!(fetch(&mirror, &["a.wav", "gone.wav"]), ["a.wav"]);
    }

    #[test]
    fn a_table_that_names_files_elsewhere_touches_none_of_them() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mine = elsewhere.path().join("mine.wav");
        fs::write(&mine, "mine").unwrap();
        let mirror = mirror(&bucket(&[("set/a.wav", "aaa")]), folder.path());
        let (absolute, upwards) = (mine.to_str().unwrap(), format!("../../{}", mine.display()));
        mirror.list_named([absolute, &upwards, "x//a.wav", "./a.wav", "a.wav"]).unwrap();
        assert_eq!(fs::read(&mine).unwrap(), b"mine");
        assert_eq!(names(&mirror.files()), ["a.wav"]);
        assert_eq!(mirror.lacking(["a.wav".to_owned(), absolute.to_owned()]).len(), 1);
    }

    #[test]
    fn the_mark_of_a_folder_is_no_file_and_an_object_with_others_below_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let marked = bucket(&[("set/cel", ""), ("set/cel/a.wav", "aaa")]);
        let mirror_of_marked = mirror(&marked, folder.path());
        mirror_of_marked.list().unwrap();
        assert_eq!(names(&mirror_of_marked.files()), ["cel/a.wav"]);
        let both = bucket(&[("set/cel", "text"), ("set/cel/a.wav", "aaa")]);
        let error = mirror(&both, folder.path()).list().unwrap_err().to_string();
        assert!(error.contains("s3://bucket/set/cel is an object"), "{error}");
    }

    #[test]
    fn an_empty_prefix_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = mirror(&bucket(&[("other/a.wav", "aaa")]), folder.path()).list().unwrap_err().to_string();
        assert_eq!(error, "no object is below s3://bucket/set");
    }

    #[test]
    fn a_signal_stops_the_downloads_and_the_finished_ones_count() {
        let folder = tempfile::tempdir().unwrap();
        let keys: Vec<String> = (0..40).map(|n| format!("set/{n:02}.wav")).collect();
        let objects: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "bytes")).collect();
        let bucket = bucket(&objects);
        let first = mirror(&bucket, folder.path());
        first.list().unwrap();
        let all = || (0..40).map(|n| format!("{n:02}.wav"));
        let mut steps = 0;
        let stopped = first.download(first.lacking(all()), || {
            steps += 1;
            if steps == 10 { Err(timbre_core::cancel::Cancelled.into()) } else { Ok(()) }
        });
        assert!(stopped.unwrap_err().is::<timbre_core::cancel::Cancelled>());
        let second = mirror(&bucket, folder.path());
        second.list().unwrap();
        assert_eq!(second.lacking(all()).len(), 30);
    }
}
