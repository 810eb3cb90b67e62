//! Audio decoding and signal processing: files become clips, and pure functions work on samples.

#![allow(unsafe_code, reason = "AVX2 versions of loops: noise, phase vocoder, resampler")]

// Decoding: bytes to a `Clip`.
pub mod audio;
// Signal processing over slices of samples.
pub mod dsp;
// The positions of sliding windows.
pub mod windows;
