//! Audio decoding and signal processing: files become clips, and pure functions work on samples.

#![allow(unsafe_code, reason = "AVX2 versions of loops: noise, phase vocoder")]

pub mod audio;
pub mod dsp;
pub mod windows;
