//! The audio half of the library by itself, from the same files.

#[path = "../../src/audio/mod.rs"]
pub mod audio;
