//! Features: a [`Clip`] becomes a [`FeatureMatrix`].

use crate::audio::Clip;

/// Rows are bands (or the one row of a series), columns are frames; row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureMatrix {
    pub rows: usize,
    pub cols: usize,
    pub values: Vec<f32>,
}
