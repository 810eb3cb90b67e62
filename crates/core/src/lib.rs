//! Foundations: what every other crate of Timbre builds on.

#![warn(missing_docs)]

// The exit codes, and the error that a user can correct.
pub mod error;
// The error of a job that a signal ended.
pub mod cancel;
// Named random streams.
pub mod seed;
// Classes, and the labels of a recording.
pub mod labels;
// The registry of kinds: features, augmentations, models, data sets.
#[macro_use]
pub mod registry;
// Evenly spaced values.
pub mod range;
// Atomic file writes.
pub mod files;
// Progress bars, messages and durations.
pub mod progress;
// "Did you mean".
pub mod suggest;
// Escaping, counts, name patterns.
pub mod text;
// Nested tables by dotted keys.
pub mod dotted_keys;
