//! What models read: feature sets for classic models, training examples for networks.

pub mod examples;
pub mod feature_set;
mod recordings;
pub mod row_source;
pub mod tags;
