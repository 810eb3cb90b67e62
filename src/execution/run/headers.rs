//! What the headers of recordings say.

use std::collections::HashMap;

use timbre_inputs::features::extraction::RecordingError;

/// The length of every recording of a set according to its header, or why it is unusable.
pub(super) type Headers = HashMap<usize, Result<Length, RecordingError>>;

/// The length of a recording according to its header.
pub(super) struct Length {
    pub(super) seconds: f64,
    pub(super) sample_rate: u32,
    /// Whether the header counts the samples. MPEG headers do not: their length is an estimate.
    pub(super) is_exact: bool,
}
