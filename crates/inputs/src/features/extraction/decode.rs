//! Decodes a recording whose content is known: what is computed of it must belong to its content hash.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};
use timbre_core::files::FileStamp;
use timbre_signal::audio::{self, AudioSpec, Clip, Excerpt, Recording, Unusable};

use crate::features::cache::{
    Hash,
    content_hashes::{content_of, hash_file},
};

/// Decodes, trims and normalizes a recording that had the hash `content` when this run hashed it. A file that has become unreadable or has changed
/// since is an error of the run: neither state is permanent, so neither may become part of a result.
pub fn decode_unchanged(
    path: &Path,
    excerpt: Option<&Excerpt>,
    content: &Hash,
    spec: &AudioSpec,
) -> Result<Result<Recording, Unusable>> {
    unchanged(path, excerpt, content, || {
        audio::decode_file(path, excerpt, spec.limits()).map(|recording| recording.prepared(spec))
    })
}

/// The clip of a recording, as [`decode_unchanged`]. Of a long recording only the clip is in memory.
pub(super) fn clip_unchanged(
    path: &Path,
    excerpt: Option<&Excerpt>,
    content: &Hash,
    spec: &AudioSpec,
) -> Result<Result<Clip, Unusable>> {
    unchanged(path, excerpt, content, || audio::load_file(path, excerpt, spec))
}

/// The file is hashed last, while the system still holds what the decoder has read.
fn unchanged<T>(
    path: &Path,
    excerpt: Option<&Excerpt>,
    content: &Hash,
    decode: impl FnOnce() -> Result<T, Unusable>,
) -> Result<Result<T, Unusable>> {
    let gone = || format!("cannot read {} any more: run again", path.display());
    let before = FileStamp::of(path).with_context(gone)?;
    let decoded = decode();
    let file = match excerpt {
        Some(_) => hash_once(path, &before),
        None => hash_file(path),
    };
    let is_same =
        content_of(&file.with_context(gone)?, excerpt) == *content && FileStamp::of(path).with_context(gone)? == before;
    ensure!(is_same, "{} was changed while this run was reading it: run again", path.display());
    match decoded {
        Err(why @ Unusable::Unreadable { .. }) => Err(why).with_context(gone),
        decoded => Ok(decoded),
    }
}

/// The hash of a file with many excerpts, which is read once while its size and times stay the same: an hour of excerpts would
/// else be read once for each.
fn hash_once(path: &Path, stamp: &FileStamp) -> std::io::Result<Hash> {
    static KNOWN: Mutex<Option<HashMap<PathBuf, (FileStamp, Hash)>>> = Mutex::new(None);
    let known = || KNOWN.lock().expect("no thread panics while it looks up a hash");
    if let Some((seen, hash)) = known().as_ref().and_then(|known| known.get(path))
        && seen == stamp
    {
        return Ok(*hash);
    }
    let hash = hash_file(path)?;
    if stamp.settled() {
        known().get_or_insert_default().insert(path.to_owned(), (*stamp, hash));
    }
    Ok(hash)
}
