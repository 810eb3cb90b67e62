//! Decodes a recording whose content is known: what is computed of it must belong to its content hash.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use timbre_core::files::FileStamp;
use timbre_signal::audio::{self, AudioSpec, Clip, DecodeLimits, Recording, Unusable};

use crate::features::cache::{Hash, content_hashes::hash_file};

/// Decodes a recording that had the hash `content` when this run hashed it. A file that has become unreadable or has changed
/// since is an error of the run: neither state is permanent, so neither may become part of a result.
pub fn decode_unchanged(path: &Path, content: &Hash, limits: DecodeLimits) -> Result<Result<Recording, Unusable>> {
    unchanged(path, content, || audio::decode_file(path, limits))
}

/// The clip of a recording, as [`decode_unchanged`]. Of a long recording only the clip is in memory.
pub(super) fn clip_unchanged(path: &Path, content: &Hash, spec: &AudioSpec) -> Result<Result<Clip, Unusable>> {
    unchanged(path, content, || audio::load_file(path, spec))
}

/// The file is hashed last, while the system still holds what the decoder has read.
fn unchanged<T>(
    path: &Path,
    content: &Hash,
    decode: impl FnOnce() -> Result<T, Unusable>,
) -> Result<Result<T, Unusable>> {
    let gone = || format!("cannot read {} any more: run again", path.display());
    let before = FileStamp::of(path).with_context(gone)?;
    let decoded = decode();
    let is_same = hash_file(path).with_context(gone)? == *content && FileStamp::of(path).with_context(gone)? == before;
    ensure!(is_same, "{} was changed while this run was reading it: run again", path.display());
    match decoded {
        Err(why @ Unusable::Unreadable { .. }) => Err(why).with_context(gone),
        decoded => Ok(decoded),
    }
}
