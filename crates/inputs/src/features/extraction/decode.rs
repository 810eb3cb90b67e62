//! Decodes a recording whose content is known: what is computed of it must belong to its content hash.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use timbre_signal::audio::{self, Recording, Unusable};

use crate::features::cache::Hash;

/// Reads and decodes a recording that had the hash `content` when this run hashed it. A file that has become unreadable or has
/// changed since is an error of the run: neither state is permanent, so neither may become part of a result.
pub fn decode_unchanged(path: &Path, content: &Hash) -> Result<Result<Recording, Unusable>> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {} any more: run again", path.display()))?;
    ensure!(
        blake3::hash(&bytes).as_bytes() == content,
        "{} was changed while this run was reading it: run again",
        path.display()
    );
    Ok(audio::decode(&bytes, path.extension().and_then(|extension| extension.to_str())))
}
