//! Signal: bytes become clips, and pure functions work on their samples.

#![allow(unsafe_code, reason = "AVX2 versions of loops: noise, phase vocoder")]

pub mod audio;
pub mod dsp;
pub mod windows;
