//! The feature cache: content-addressed matrices in a few append-only files.
//!
//! The key of a record is a pair of hashes: of the bytes of the recording, and of its [`Recipe`] (decode settings,
//! feature spec, versions). A moved folder is a hit, an edited recording is a miss, and a miss of a known recording can
//! name the field of the recipe that changed.
//!
//! Records lie in packs (`*.pack`): 1,000 clips × 5 features as separate files would cost 5,000 syncs and opens; a pack
//! costs one. The process that writes a pack holds a lock on it, so that concurrent runs use different packs. The index
//! of a pack (`*.idx`) is written after the pack is complete and synced. A pack without an index, left by a killed
//! process, is scanned record by record, and every record with a valid checksum counts.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::features::FeatureMatrix;
pub use crate::hash::{Hash, hex};
use timbre_core::{dotted_keys, files};

pub mod content_hashes;
mod pack;
pub mod parts;
pub mod shared;

use pack::{PackWriter, RecordHeader};

/// A pack is closed at this size, so that `gc` can drop old packs and keep the rest.
const PACK_BYTES: u64 = 512 << 20;

/// Everything that determines the numbers of a record beside the recording, as canonical JSON with its hash.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    pub hash: Hash,
    pub json: Value,
}

impl Recipe {
    pub fn new(json: Value) -> Self {
        // serde_json keeps the order of keys here; the specs are structs, so the code fixes their order.
        Recipe { hash: *blake3::hash(json.to_string().as_bytes()).as_bytes(), json }
    }
}

/// The entry of a recording under a recipe.
#[derive(Clone, Debug)]
pub enum CacheEntry {
    Matrix(CachedMatrix),
    /// The recording cannot be used.
    Unusable {
        code: String,
        sentence: String,
    },
}

/// A matrix on disk.
#[derive(Clone, Debug)]
pub struct CachedMatrix {
    pub rows: usize,
    pub cols: usize,
    file: Arc<File>,
    offset: u64,
    checksum: [u8; 8],
}

impl CachedMatrix {
    /// Whether the values are those that were written: disks decay, and a wrong number is worse than a miss.
    pub fn is_intact(&self) -> bool {
        let mut bytes = vec![0; 4 * self.dims()];
        self.file.read_exact_at(&mut bytes, self.offset).is_ok() && pack::checksum(&bytes) == self.checksum
    }

    pub fn dims(&self) -> usize {
        self.rows * self.cols
    }

    /// Copies the values `range` (row-major) to `out`. The read that includes the last value verifies the whole record: a
    /// model that reads all of it, in one piece or in ranges from left to right, has then seen the values that were written.
    pub fn read(&self, range: Range<usize>, out: &mut [f32]) -> Result<()> {
        let bytes = bytemuck::cast_slice_mut(out);
        self.file.read_exact_at(bytes, self.offset + 4 * range.start as u64).context(
            "cannot read the feature cache: run again; if the error stays, run `timbre cache gc --all` first",
        )?;
        let is_intact = match (range.start, range.end == self.dims()) {
            (0, true) => pack::checksum(bytes) == self.checksum,
            (_, true) => self.is_intact(),
            _ => true,
        };
        ensure!(is_intact, "the feature cache was changed while this run was reading it: run again");
        Ok(())
    }
}

/// An open cache folder.
pub struct FeatureCache {
    folder: PathBuf,
    /// By content and recipe.
    entries: BTreeMap<(Hash, Hash), CacheEntry>,
    /// The JSON of recipes by the first digits of their hash; read when a miss is first explained.
    recipes: OnceLock<HashMap<String, Value>>,
    writer: Mutex<Option<PackWriter>>,
}

impl FeatureCache {
    /// Opens or creates the cache in `folder` and reads its indices.
    pub fn open(folder: &Path) -> Result<FeatureCache> {
        fs::create_dir_all(folder.join("recipes")).with_context(|| {
            format!("cannot create the feature cache {}: choose another with --cache", folder.display())
        })?;
        // Of killed processes: here, among the recipes, and beside the list of content hashes.
        for leftovers in [folder, &folder.join("recipes"), folder.parent().unwrap_or(folder)] {
            files::remove_temp_files(leftovers);
        }
        let mut cache = FeatureCache {
            folder: folder.to_owned(),
            entries: BTreeMap::new(),
            recipes: OnceLock::new(),
            writer: Mutex::new(None),
        };
        for path in pack::packs_in(folder)? {
            let (file, headers) = match pack::open(&path) {
                Ok(opened) => opened,
                // Another process removed this pack meanwhile: its records are misses.
                Err(error) if is_not_found(&error) => continue,
                Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
            };
            let file = Arc::new(file);
            for header in headers {
                cache.insert(&file, header);
            }
        }
        Ok(cache)
    }

    fn insert(&mut self, file: &Arc<File>, header: RecordHeader) {
        let (content, recipe) = (header.content, header.recipe);
        let Some(entry) = entry_of(file, header) else { return };
        self.entries.insert((content, recipe), entry);
    }

    fn recipes_of(&self, content: &Hash) -> impl Iterator<Item = &Hash> {
        self.entries.range((*content, [0; 32])..=(*content, [255; 32])).map(|((_, recipe), _)| recipe)
    }

    pub fn get(&self, content: &Hash, recipe: &Hash) -> Option<&CacheEntry> {
        self.entries.get(&(*content, *recipe))
    }

    /// Appends a matrix and returns its handle. The next [`FeatureCache::open`] finds the record; this process uses the
    /// handle.
    pub fn put(&self, content: &Hash, recipe: &Hash, matrix: &FeatureMatrix) -> Result<CachedMatrix> {
        let bytes = bytemuck::cast_slice(&matrix.values);
        let shape = (matrix.rows as u32, matrix.cols as u32);
        let (file, offset) = self.append(pack::MATRIX, content, recipe, shape, bytes)?;
        Ok(CachedMatrix { rows: matrix.rows, cols: matrix.cols, file, offset, checksum: pack::checksum(bytes) })
    }

    /// Records that a recording cannot be used, so that it is not decoded again.
    pub fn put_unusable(&self, content: &Hash, recipe: &Hash, code: &str, sentence: &str) -> Result<()> {
        let text = format!("{code}\n{sentence}");
        self.append(pack::UNUSABLE, content, recipe, (0, 0), text.as_bytes()).map(|_| ())
    }

    fn append(
        &self,
        kind: u8,
        content: &Hash,
        recipe: &Hash,
        shape: (u32, u32),
        bytes: &[u8],
    ) -> Result<(Arc<File>, u64)> {
        let full = || format!("cannot write to the feature cache {}: is the disk full?", self.folder.display());
        let mut slot = self.writer.lock().expect("no writer panics");
        if slot.as_ref().is_some_and(|w| w.bytes() >= PACK_BYTES) {
            slot.take().expect("just looked").close().with_context(full)?;
        }
        if slot.is_none() {
            *slot = Some(PackWriter::open(&self.folder, PACK_BYTES).with_context(full)?);
        }
        let writer = slot.as_mut().expect("just made");
        let offset = writer.append(kind, content, recipe, shape, bytes).with_context(full)?;
        Ok((writer.file(), offset))
    }

    /// Stores the JSON of a recipe, so that a later miss can name what changed.
    pub fn save_recipe(&self, recipe: &Recipe) -> Result<()> {
        let path = self.recipe_path(&recipe.hash);
        if path.exists() { Ok(()) } else { files::write_bytes(&path, recipe.json.to_string().as_bytes()) }
    }

    fn recipe_path(&self, hash: &Hash) -> PathBuf {
        self.folder.join("recipes").join(format!("{}.json", recipe_name(hash)))
    }

    fn recipes(&self) -> &HashMap<String, Value> {
        self.recipes.get_or_init(|| {
            let entries = fs::read_dir(self.folder.join("recipes")).into_iter().flatten().flatten();
            let read = |path: PathBuf| {
                let name = path.file_stem()?.to_str()?.to_owned();
                Some((name, serde_json::from_slice(&fs::read(&path).ok()?).ok()?))
            };
            entries.filter_map(|entry| read(entry.path())).collect()
        })
    }

    /// The reason why `recipe` was a miss for this recording: the fields in which it differs from the most similar
    /// recipe.
    pub fn explain_miss(&self, content: &Hash, recipe: &Recipe) -> String {
        let kind = recipe.json.pointer("/feature/kind");
        let nearest = self
            .recipes_of(content)
            .filter_map(|hash| self.recipes().get(&recipe_name(hash)))
            .filter(|json| json.pointer("/feature/kind") == kind)
            .map(|json| dotted_keys::differences(json, &recipe.json))
            .min_by_key(Vec::len);
        match nearest {
            Some(fields) => {
                let change = |(key, old, new): &(String, &Value, &Value)| format!("{key} {old} → {new}");
                fields.iter().map(change).collect::<Vec<_>>().join(", ")
            }
            None if self.recipes_of(content).next().is_some() => "feature not computed before".to_owned(),
            None => "new or edited recording".to_owned(),
        }
    }

    /// Syncs and indexes what was written.
    pub fn close(&self) -> Result<()> {
        match self.writer.lock().expect("no writer panics").take() {
            Some(writer) => writer.close(),
            None => Ok(()),
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

fn is_not_found(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::NotFound)
}

fn entry_of(file: &Arc<File>, header: RecordHeader) -> Option<CacheEntry> {
    if header.kind == pack::MATRIX {
        let (rows, cols) = (header.rows as usize, header.cols as usize);
        return Some(CacheEntry::Matrix(CachedMatrix {
            rows,
            cols,
            file: file.clone(),
            offset: header.offset,
            checksum: header.checksum,
        }));
    }
    let mut text = vec![0; header.bytes as usize];
    file.read_exact_at(&mut text, header.offset).ok()?;
    let text = String::from_utf8(text).ok()?;
    let (code, sentence) = text.split_once('\n')?;
    Some(CacheEntry::Unusable { code: code.to_owned(), sentence: sentence.to_owned() })
}

fn recipe_name(hash: &Hash) -> String {
    hex(hash)[..16].to_owned()
}

/// The size of a cache.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub packs: usize,
    pub records: usize,
    pub bytes: u64,
}

/// Measures the cache in `folder`.
pub fn usage(folder: &Path) -> Result<Usage> {
    let mut usage = Usage { records: FeatureCache::open(folder)?.len(), ..Usage::default() };
    for path in pack::packs_in(folder)? {
        usage.packs += 1;
        usage.bytes += fs::metadata(&path).map(|m| m.len()).unwrap_or(0);
    }
    Ok(usage)
}

/// Removes packs that were last written before `keep_after` and that no process is writing; returns the number of bytes
/// freed.
pub fn remove_packs_before(folder: &Path, keep_after: std::time::SystemTime) -> Result<u64> {
    let mut freed = 0;
    for path in pack::packs_in(folder)? {
        let Ok(meta) = fs::metadata(&path) else { continue };
        if meta.modified()? < keep_after && pack::try_remove(&path)? {
            freed += meta.len();
        }
    }
    Ok(freed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn matrix(value: f32) -> FeatureMatrix {
        FeatureMatrix { rows: 2, cols: 3, values: vec![value; 6] }
    }

    fn read(entry: Option<&CacheEntry>) -> Vec<f32> {
        let Some(CacheEntry::Matrix(stored)) = entry else { panic!("not a matrix: {entry:?}") };
        let mut out = vec![0.0; stored.dims()];
        stored.read(0..stored.dims(), &mut out).unwrap();
        out
    }

    #[test]
    fn what_a_killed_process_left_is_removed_by_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("features");
        fs::create_dir_all(cache.join("recipes")).unwrap();
        let left = ["features/recipes/.part-a", "features/.part-b", ".part-c"].map(|name| folder.path().join(name));
        for path in &left {
            let file = File::create(path).unwrap();
            file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(60)).unwrap();
        }
        FeatureCache::open(&cache).unwrap();
        assert!(left.iter().all(|path| !path.exists()));
    }

    #[test]
    fn the_next_process_finds_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let cache = FeatureCache::open(folder.path()).unwrap();
        cache.put(&[1; 32], &[2; 32], &matrix(0.5)).unwrap();
        cache.put_unusable(&[3; 32], &[4; 32], "silent", "every sample is zero").unwrap();
        cache.close().unwrap();
        let again = FeatureCache::open(folder.path()).unwrap();
        assert_eq!(read(again.get(&[1; 32], &[2; 32])), vec![0.5; 6]);
        assert!(matches!(again.get(&[3; 32], &[4; 32]), Some(CacheEntry::Unusable { code, .. }) if code == "silent"));
        assert!(again.get(&[1; 32], &[4; 32]).is_none());
    }

    #[test]
    fn after_a_kill_complete_records_count_and_the_torn_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let cache = FeatureCache::open(folder.path()).unwrap();
        cache.put(&[1; 32], &[9; 32], &matrix(1.0)).unwrap();
        cache.put(&[2; 32], &[9; 32], &matrix(2.0)).unwrap();
        std::mem::forget(cache); // Neither closed nor indexed, as after kill -9, except that this process keeps the lock.
        let path = pack::packs_in(folder.path()).unwrap().remove(0);
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let again = FeatureCache::open(folder.path()).unwrap();
        assert_eq!(read(again.get(&[1; 32], &[9; 32])), vec![1.0; 6]);
        assert!(again.get(&[2; 32], &[9; 32]).is_none());
    }

    #[test]
    fn a_flipped_bit_in_an_unindexed_pack_is_detected() {
        let folder = tempfile::tempdir().unwrap();
        let cache = FeatureCache::open(folder.path()).unwrap();
        cache.put(&[1; 32], &[9; 32], &matrix(1.0)).unwrap();
        std::mem::forget(cache);
        let path = pack::packs_in(folder.path()).unwrap().remove(0);
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::remove_file(&path).unwrap();
        fs::write(&path, &bytes).unwrap();
        assert!(FeatureCache::open(folder.path()).unwrap().is_empty());
    }

    #[test]
    fn a_record_that_changes_after_the_cache_is_opened_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let cache = FeatureCache::open(folder.path()).unwrap();
        cache.put(&[1; 32], &[9; 32], &matrix(1.0)).unwrap();
        cache.put(&[2; 32], &[9; 32], &matrix(2.0)).unwrap();
        cache.close().unwrap();
        let cache = FeatureCache::open(folder.path()).unwrap();
        let stored = |content: u8| match cache.get(&[content; 32], &[9; 32]) {
            Some(CacheEntry::Matrix(stored)) => stored.clone(),
            other => panic!("not a matrix: {other:?}"),
        };
        assert!(stored(2).is_intact());
        let path = pack::packs_in(folder.path()).unwrap().remove(0);
        let file = File::options().write(true).open(&path).unwrap();
        let first_value_of_2 = file.metadata().unwrap().len() - 4 * 6;
        file.write_all_at(&3.0f32.to_le_bytes(), first_value_of_2).unwrap();
        let read = |content: u8, range: Range<usize>| stored(content).read(range.clone(), &mut vec![0.0; range.len()]);
        assert!(read(1, 0..6).is_ok() && read(1, 4..6).is_ok());
        assert!(read(2, 0..6).unwrap_err().to_string().contains("run again"));
        // In ranges from left to right, the last one reports the change of the first value.
        assert!(read(2, 0..4).is_ok() && read(2, 4..6).is_err());
    }

    #[test]
    fn a_pack_without_an_index_is_read_also_where_nothing_can_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let cache = FeatureCache::open(folder.path()).unwrap();
        cache.put(&[1; 32], &[9; 32], &matrix(1.0)).unwrap();
        cache.close().unwrap();
        let index = pack::packs_in(folder.path()).unwrap()[0].with_extension("idx");
        fs::remove_file(&index).unwrap();
        // The index cannot take the place of a folder: like a read-only file system, also for root.
        fs::create_dir_all(index.join("x")).unwrap();
        let again = FeatureCache::open(folder.path()).unwrap();
        assert_eq!(read(again.get(&[1; 32], &[9; 32])), vec![1.0; 6]);
    }

    #[test]
    fn a_record_larger_than_its_pack_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = FeatureCache::open(folder.path()).unwrap();
        cache.put(&[1; 32], &[9; 32], &matrix(1.0)).unwrap();
        cache.close().unwrap();
        let path = pack::packs_in(folder.path()).unwrap().remove(0);
        let size = fs::metadata(&path).unwrap().len();
        // 2^19 x 2^19 values are a terabyte; 2^31 x 2^31 are 0 bytes in 64 bits.
        for (kind, rows, bytes) in
            [(pack::MATRIX, 1 << 19, 1 << 40), (pack::MATRIX, 1 << 31, 0), (pack::UNUSABLE, 0, 1 << 40)]
        {
            pack::write_hostile_index(&path, size, kind, rows, bytes);
            let again = FeatureCache::open(folder.path()).unwrap();
            assert_eq!(
                (again.len(), read(again.get(&[1; 32], &[9; 32]))),
                (1, vec![1.0; 6]),
                "the pack itself is read"
            );
        }
    }

    #[test]
    fn successive_runs_append_to_the_same_pack() {
        let folder = tempfile::tempdir().unwrap();
        for run in 0..5u8 {
            let cache = FeatureCache::open(folder.path()).unwrap();
            assert_eq!(cache.len(), usize::from(run));
            cache.put(&[run; 32], &[9; 32], &matrix(f32::from(run))).unwrap();
            cache.close().unwrap();
        }
        assert_eq!(pack::packs_in(folder.path()).unwrap().len(), 1);
        let cache = FeatureCache::open(folder.path()).unwrap();
        assert!((0..5u8).all(|run| read(cache.get(&[run; 32], &[9; 32])) == vec![f32::from(run); 6]));
    }

    #[test]
    fn concurrent_writers_use_different_packs() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (FeatureCache::open(folder.path()).unwrap(), FeatureCache::open(folder.path()).unwrap());
        one.put(&[1; 32], &[9; 32], &matrix(1.0)).unwrap();
        two.put(&[2; 32], &[9; 32], &matrix(2.0)).unwrap();
        one.close().unwrap();
        two.close().unwrap();
        assert_eq!(pack::packs_in(folder.path()).unwrap().len(), 2);
        assert_eq!(FeatureCache::open(folder.path()).unwrap().len(), 2);
    }

    #[test]
    fn a_miss_names_the_field_that_changed() {
        let folder = tempfile::tempdir().unwrap();
        let recipe = |n: u32| {
            Recipe::new(json!({ "audio": { "sample_rate": 22050 }, "feature": { "kind": "mel", "n_mels": n } }))
        };
        let cache = FeatureCache::open(folder.path()).unwrap();
        cache.save_recipe(&recipe(128)).unwrap();
        cache.put(&[1; 32], &recipe(128).hash, &matrix(0.0)).unwrap();
        cache.close().unwrap();
        let again = FeatureCache::open(folder.path()).unwrap();
        assert_eq!(again.explain_miss(&[1; 32], &recipe(64)), "feature.n_mels 128 → 64");
        assert_eq!(again.explain_miss(&[7; 32], &recipe(64)), "new or edited recording");
    }

    #[test]
    fn a_pack_in_use_is_kept_and_a_closed_one_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = FeatureCache::open(folder.path()).unwrap();
        cache.put(&[1; 32], &[9; 32], &matrix(1.0)).unwrap();
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
        assert_eq!(remove_packs_before(folder.path(), later).unwrap(), 0);
        cache.close().unwrap();
        assert!(remove_packs_before(folder.path(), later).unwrap() > 0);
        assert!(FeatureCache::open(folder.path()).unwrap().is_empty());
    }
}
