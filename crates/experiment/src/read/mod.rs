//! Reads the files of an experiment and merges them into one tree with origins.

pub(crate) mod built_in;
pub(crate) mod loader;
pub(crate) mod merge;
pub(crate) mod parts;
pub(crate) mod presets;
pub(crate) mod tree;
