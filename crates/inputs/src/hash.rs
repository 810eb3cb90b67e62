//! The hashes of contents and recipes.

/// A BLAKE3 hash.
pub type Hash = [u8; 32];

pub fn hex(hash: &Hash) -> String {
    blake3::Hash::from_bytes(*hash).to_hex().to_string()
}
