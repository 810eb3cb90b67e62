//! Opens a feature cache with any pack and any index: what it finds lies inside the pack, and reading it gives the values
//! that its checksum names or an error.
//!
//! The first two bytes of the input are the length of the index, which follows; the rest is the pack. Checksums are made right,
//! because no fuzzer guesses them.
#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use timbre_inputs::features::cache::{CacheEntry, FeatureCache, Hash};

const HEADER: usize = 104;

fn checksum(bytes: &[u8]) -> [u8; 8] {
    blake3::hash(bytes).as_bytes()[..8].try_into().expect("a hash has 32 bytes")
}

/// The content and the recipe of a header.
fn key(header: &[u8]) -> (Hash, Hash) {
    (header[24..56].try_into().expect("32 bytes"), header[56..88].try_into().expect("32 bytes"))
}

fuzz_target!(|bytes: &[u8]| {
    let Some((length, rest)) = bytes.split_first_chunk::<2>() else { return };
    let (index, pack) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
    let mut pack = pack.to_vec();
    if let Some((header, payload)) = pack.split_at_mut_checked(HEADER) {
        let wanted = usize::from_le_bytes(header[16..24].try_into().expect("8 bytes"));
        header[88..96].copy_from_slice(&checksum(&payload[..wanted.min(payload.len())]));
    }
    let body = [&(pack.len() as u64).to_le_bytes()[..], index].concat();
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("1.pack"), &pack).expect("room");
    if !index.is_empty() {
        fs::write(folder.path().join("1.idx"), [&body[..], &checksum(&body)].concat()).expect("room");
    }
    let cache = FeatureCache::open(folder.path()).expect("a cache that can be read");
    for header in index.chunks_exact(HEADER).chain(pack.chunks_exact(HEADER).take(1)) {
        let (content, recipe) = key(header);
        if let Some(CacheEntry::Matrix(found)) = cache.get(&content, &recipe) {
            assert!(4 * found.dims() <= pack.len(), "{found:?} is larger than the pack");
            let mut values = vec![0.0; found.dims()];
            assert_eq!(found.read(0..found.dims(), &mut values).is_ok(), found.is_intact());
        }
    }
});
