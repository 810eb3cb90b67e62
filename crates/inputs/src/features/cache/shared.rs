//! A feature cache that machines share by URL, with the cache folder of each machine in front of it.
//!
//! Below the URL is a folder for each recipe, with packs that are sorted by key and named by their hash, as [parts](super::parts) are. A
//! pack is created once and never changed, so machines at once do no harm: equal records have equal names, and others another name. A run
//! downloads the packs of its recipes, works in its own folder, and uploads the records that no pack had.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::Result;

use super::{Hash, Recipe};
use crate::remote::Url;
use timbre_core::error::UserError;

/// A feature cache by URL.
#[derive(Clone, Debug)]
pub struct SharedCache {
    url: Url,
    /// The recipes whose packs this process has downloaded: the points of a sweep share them.
    #[cfg_attr(not(feature = "cloud"), allow(dead_code))]
    brought: Arc<Mutex<HashSet<Hash>>>,
}

impl std::fmt::Display for SharedCache {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        self.url.fmt(f)
    }
}

impl SharedCache {
    /// None if the location is a folder of this machine.
    pub fn at(location: &str) -> Option<Result<SharedCache>> {
        let cache = |url: Result<Url, String>| {
            let url = url.map_err(UserError::usage)?;
            if url.is_web() {
                let sentence = format!(
                    "{url}: a web server cannot be the cache, because nothing can be written to it: use a bucket"
                );
                return Err(UserError::usage(sentence).into());
            }
            if !cfg!(feature = "cloud") {
                return Err(crate::remote::without_cloud(&url));
            }
            Ok(SharedCache { url, brought: Arc::default() })
        };
        Url::parse(location).map(cache)
    }
}

#[cfg(not(feature = "cloud"))]
impl SharedCache {
    /// Never called: [`at`](Self::at) returns no cache.
    pub fn bring<'r>(&self, _folder: &Path, _recipes: impl IntoIterator<Item = &'r Recipe>) -> Result<usize> {
        Err(crate::remote::without_cloud(&self.url))
    }

    /// Never called either.
    pub fn share(&self, _folder: &Path, _keys: Vec<(Hash, (Hash, Hash))>) -> Result<usize> {
        Err(crate::remote::without_cloud(&self.url))
    }
}

#[cfg(feature = "cloud")]
mod cloud {
    use std::collections::BTreeMap;
    use std::fs;
    use std::sync::PoisonError;

    use anyhow::Context;

    use super::*;
    use crate::features::cache::{
        CacheEntry, FeatureCache,
        pack::{self, SHARED_PREFIX},
        recipe_name,
    };
    use crate::remote::store::{Store, Wanted};
    use timbre_core::files;

    /// An object has about so many bytes at most: it is uploaded in one request.
    const OBJECT_BYTES: usize = 128 << 20;

    impl SharedCache {
        /// Downloads the packs of these recipes that the folder of this machine lacks. Returns how many there were.
        pub fn bring<'r>(&self, folder: &Path, recipes: impl IntoIterator<Item = &'r Recipe>) -> Result<usize> {
            let mut brought = self.brought.lock().unwrap_or_else(PoisonError::into_inner);
            let new: Vec<Hash> =
                recipes.into_iter().map(|recipe| recipe.hash).filter(|hash| !brought.contains(hash)).collect();
            if new.is_empty() {
                return Ok(0);
            }
            let packs = bring(&Store::open(&self.url)?, folder, new.iter().copied())?;
            brought.extend(new);
            Ok(packs)
        }

        /// Uploads the records of these keys that no pack has; each key follows the hash of its recipe. Returns how many there were.
        pub fn share(&self, folder: &Path, keys: Vec<(Hash, (Hash, Hash))>) -> Result<usize> {
            share(&Store::open(&self.url)?, folder, keys)
        }
    }

    /// The folder of a recipe below the URL, and what the names of its packs in the local folder begin with.
    fn names_of(recipe: &Hash) -> (String, String) {
        let name = recipe_name(recipe);
        (format!("features/{name}/"), format!("{SHARED_PREFIX}{name}-"))
    }

    fn bring(store: &Store, folder: &Path, recipes: impl IntoIterator<Item = Hash>) -> Result<usize> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let names: Vec<(String, String)> = recipes.into_iter().map(|recipe| names_of(&recipe)).collect();
        let mut wanted = Vec::new();
        let mut own = None;
        for (key, version) in store.list()? {
            let file = names.iter().find_map(|(above, local)| Some(format!("{local}{}", key.strip_prefix(above)?)));
            let Some(file) = file.filter(|file| file.ends_with(".pack") && !file.contains('/')) else { continue };
            let file = folder.join(file);
            let is_here = file.metadata().is_ok_and(|meta| meta.len() == version.size);
            if is_here {
                continue;
            }
            // This machine uploaded it, and has the records in packs of its own unless `cache gc` removed them.
            if let Some(keys) = read_keys(&file) {
                let cache = match &own {
                    Some(cache) => cache,
                    None => own.insert(FeatureCache::open(folder)?),
                };
                if keys.iter().all(|(content, recipe)| cache.get(content, recipe).is_some()) {
                    continue;
                }
            }
            wanted.push(Wanted { key, version, file });
        }
        let packs = wanted.len();
        store.download(wanted, folder, |_| Ok(()))?;
        Ok(packs)
    }

    fn share(store: &Store, folder: &Path, keys: Vec<(Hash, (Hash, Hash))>) -> Result<usize> {
        let mut by_recipe: BTreeMap<Hash, Vec<(Hash, Hash)>> = BTreeMap::new();
        keys.into_iter().for_each(|(recipe, key)| by_recipe.entry(recipe).or_default().push(key));
        for (recipe, keys) in &mut by_recipe {
            let known = known_keys(folder, &names_of(recipe).1)?;
            keys.retain(|key| !known.contains(key));
            keys.sort_unstable();
            keys.dedup();
        }
        by_recipe.retain(|_, keys| !keys.is_empty());
        if by_recipe.is_empty() {
            return Ok(0);
        }
        let cache = FeatureCache::open(folder)?;
        let packs = tempfile::Builder::new().prefix(".sharing-").tempdir_in(folder);
        let packs = packs.with_context(|| format!("cannot create a folder in {}", folder.display()))?;
        let mut shared = 0;
        for (recipe, keys) in by_recipe {
            let (above, local) = names_of(&recipe);
            for keys in in_objects(&cache, keys) {
                let pack = cache.write_part(keys.clone(), packs.path(), "part")?;
                let name = format!("{}.pack", &pack.blake3[..16]);
                let file = packs.path().join(&pack.file);
                // False if another machine was faster with the same records.
                store.create_from(&format!("{above}{name}"), &file)?;
                fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
                write_keys(&folder.join(format!("{local}{name}")), &keys)?;
                shared += keys.len();
            }
        }
        Ok(shared)
    }

    /// The keys in pieces whose records fit into one object.
    fn in_objects(cache: &FeatureCache, keys: Vec<(Hash, Hash)>) -> Vec<Vec<(Hash, Hash)>> {
        let mut pieces: Vec<Vec<(Hash, Hash)>> = Vec::new();
        let mut room = 0;
        for key in keys {
            let bytes = match cache.get(&key.0, &key.1) {
                Some(CacheEntry::Matrix(stored)) => 4 * stored.dims(),
                Some(CacheEntry::Unusable { .. }) => 1 << 10,
                None => continue,
            };
            if bytes > room {
                pieces.push(Vec::new());
                room = OBJECT_BYTES;
            }
            room = room.saturating_sub(bytes);
            pieces.last_mut().expect("just made").push(key);
        }
        pieces
    }

    /// The keys of a recipe that a shared pack has, as far as this machine knows: of downloaded packs and of its own uploads.
    fn known_keys(folder: &Path, prefix: &str) -> Result<HashSet<(Hash, Hash)>> {
        let mut known = HashSet::new();
        for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?.flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let Some(name) = name.to_str().filter(|name| name.starts_with(prefix)) else { continue };
            if name.ends_with(".keys") {
                known.extend(read_keys(&path).into_iter().flatten());
            } else if name.ends_with(".pack")
                && let Ok((_, headers)) = pack::open(&path)
            {
                known.extend(headers.iter().map(|header| (header.content, header.recipe)));
            }
        }
        Ok(known)
    }

    /// The list of keys beside a pack, after a checksum.
    fn write_keys(pack: &Path, keys: &[(Hash, Hash)]) -> Result<()> {
        let mut bytes: Vec<u8> = keys.iter().flat_map(|(content, recipe)| [*content, *recipe].concat()).collect();
        let sum = pack::checksum(&bytes);
        bytes.splice(0..0, sum);
        files::write_bytes(&pack.with_extension("keys"), &bytes)
    }

    /// None if there is no list, or a damaged one.
    fn read_keys(pack: &Path) -> Option<Vec<(Hash, Hash)>> {
        let bytes = fs::read(pack.with_extension("keys")).ok()?;
        let (sum, keys) = bytes.split_first_chunk::<8>()?;
        if *sum != pack::checksum(keys) {
            return None;
        }
        let hash = |bytes: &[u8]| Hash::try_from(bytes).ok();
        keys.chunks(64).map(|key| Some((hash(key.get(..32)?)?, hash(key.get(32..)?)?))).collect()
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::features::{FeatureMatrix, cache::hex};
        use object_store::{ObjectStore, memory::InMemory};
        use std::sync::Arc;

        const RECIPE: Hash = [9; 32];

        fn store(bucket: &Arc<InMemory>) -> Store {
            let inner: Arc<dyn ObjectStore> = bucket.clone();
            Store::of("s3://bucket/cache", inner)
        }

        fn compute(folder: &Path, contents: &[u8]) {
            let cache = FeatureCache::open(folder).unwrap();
            for &content in contents {
                let matrix = FeatureMatrix { rows: 1, cols: 3, values: vec![f32::from(content); 3] };
                cache.put(&[content; 32], &RECIPE, &matrix).unwrap();
            }
            cache.close().unwrap();
        }

        fn keys(contents: &[u8]) -> Vec<(Hash, (Hash, Hash))> {
            contents.iter().map(|&content| (RECIPE, ([content; 32], RECIPE))).collect()
        }

        fn known(folder: &Path) -> Vec<u8> {
            let cache = FeatureCache::open(folder).unwrap();
            (0..255).filter(|&content| cache.get(&[content; 32], &RECIPE).is_some()).collect()
        }

        #[test]
        fn what_one_machine_computed_another_finds() {
            let (bucket, one, other) = (Arc::default(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let store = store(&bucket);
            compute(one.path(), &[1, 2]);
            assert_eq!(share(&store, one.path(), keys(&[1, 2])).unwrap(), 2);
            assert_eq!(share(&store, one.path(), keys(&[1, 2])).unwrap(), 0, "it is shared already");
            assert_eq!(bring(&store, one.path(), [RECIPE]).unwrap(), 0, "the records are here");
            assert_eq!(bring(&store, other.path(), [[8; 32]]).unwrap(), 0, "another recipe");
            assert_eq!(bring(&store, other.path(), [RECIPE]).unwrap(), 1);
            assert_eq!(known(other.path()), [1, 2]);
            let cache = FeatureCache::open(other.path()).unwrap();
            let Some(CacheEntry::Matrix(stored)) = cache.get(&[2; 32], &RECIPE) else { panic!("not a matrix") };
            let mut values = [0.0; 3];
            stored.read(0..3, &mut values).unwrap();
            assert_eq!(values, [2.0; 3]);
            // It adds what it computes itself, and only that.
            compute(other.path(), &[3]);
            assert_eq!(share(&store, other.path(), keys(&[1, 2, 3])).unwrap(), 1);
            assert_eq!(bring(&store, one.path(), [RECIPE]).unwrap(), 1);
            assert_eq!(known(one.path()), [1, 2, 3]);
        }

        #[test]
        fn equal_records_of_two_machines_become_one_object() {
            let (bucket, one, other) = (Arc::default(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let store = store(&bucket);
            for (folder, contents) in [(&one, [1, 2]), (&other, [2, 1])] {
                compute(folder.path(), &contents);
                share(&store, folder.path(), keys(&contents)).unwrap();
            }
            assert_eq!(store.list().unwrap().len(), 1);
        }

        #[test]
        fn records_that_were_removed_here_are_downloaded() {
            let (bucket, one) = (Arc::default(), tempfile::tempdir().unwrap());
            let store = store(&bucket);
            compute(one.path(), &[1]);
            share(&store, one.path(), keys(&[1])).unwrap();
            let soon = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
            super::super::super::remove_packs_before(one.path(), soon).unwrap();
            assert!(known(one.path()).is_empty());
            assert_eq!(bring(&store, one.path(), [RECIPE]).unwrap(), 1);
            assert_eq!(known(one.path()), [1]);
        }

        #[test]
        fn a_downloaded_pack_is_not_written_to() {
            let (bucket, one, other) = (Arc::default(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let store = store(&bucket);
            compute(one.path(), &[1]);
            share(&store, one.path(), keys(&[1])).unwrap();
            bring(&store, other.path(), [RECIPE]).unwrap();
            compute(other.path(), &[2]);
            assert_eq!(bring(&store, other.path(), [RECIPE]).unwrap(), 0, "it has its size");
            assert_eq!(known(other.path()), [1, 2]);
        }

        #[test]
        fn a_damaged_object_counts_as_far_as_it_is_intact_and_the_rest_is_shared_again() {
            let (bucket, one, other) = (Arc::default(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let store = store(&bucket);
            compute(one.path(), &[1, 2]);
            let cache = FeatureCache::open(one.path()).unwrap();
            let part = cache.write_part(vec![([1; 32], RECIPE), ([2; 32], RECIPE)], one.path(), "part").unwrap();
            let mut bytes = fs::read(one.path().join(&part.file)).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            store.create(&format!("features/{}/damaged.pack", &hex(&RECIPE)[..16]), bytes).unwrap();
            bring(&store, other.path(), [RECIPE]).unwrap();
            assert_eq!(known(other.path()), [1]);
            compute(other.path(), &[2]);
            assert_eq!(share(&store, other.path(), keys(&[1, 2])).unwrap(), 1);
        }
    }
}
