//! Divides the work of an experiment into items that other programs (Slurm, GNU parallel, …) run on many machines.
//!
//! The result of n machines has the same bytes as that of one. The features of a shard of the recordings become a part with a
//! manifest, `merge` brings the parts into one feature cache, each trial is fitted by itself in the run folder (`collect` brings
//! those of other folders there), and the usual `run` writes the tables. Every item may be run twice, at once or after a kill.

pub mod shard;
pub mod feature_plan;
pub mod manifest;
pub mod features;
pub mod merge;
pub mod trials;
pub mod collect;
pub mod items;
pub mod job_files;
