//! Foundations: what every other crate of Timbre builds on.

#![warn(missing_docs)]

pub mod seed;
pub mod error;
pub mod labels;
#[macro_use]
pub mod registry;
pub mod cancel;
pub mod files;
pub mod progress;
pub mod range;
pub mod text;
pub mod dotted_keys;
