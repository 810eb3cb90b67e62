//! Audio decoding and signal processing: files become clips, and pure functions work on samples.

pub mod audio;
pub mod dsp;
pub mod windows;
