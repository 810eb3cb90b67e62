//! Signal: bytes become clips, and pure functions work on their samples.

pub mod audio;
pub mod dsp;
pub mod windows;
