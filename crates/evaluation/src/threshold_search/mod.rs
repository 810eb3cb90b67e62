//! The search for decision thresholds: threshold × window fraction for every metric of decisions, and one threshold per class.
//!
//! Conventions
//! - The rule is that of `aggregation`: a window votes for a class if its probability is above the threshold, and the class is
//!   decided with `votes_needed` votes. A recording with n windows therefore decides a class exactly if the
//!   `votes_needed(n, fraction)`-th largest of its probabilities is above the threshold, so one sorted pass gives the result at
//!   every threshold. Scores of whole recordings (no windows, or another aggregation) count as one window each, decided if the
//!   score is at least the threshold.
//! - Scores are those of `metrics::tally`: the same counts and the same bits as in the tables of a run.
//! - The chosen point has the highest score. Equal scores are common (between two probabilities a step changes nothing): of
//!   them the one nearest to their centre is chosen, in steps of the grid, then the one with the smaller fraction, then the
//!   smaller threshold. The plateau informs the reader and plays no part in the choice.

/// Raise this number by hand when the same trials lead to different points or numbers.
pub const VERSION: u32 = 2;

mod coordinate_ascent;
mod best_point;
mod selection_bias;
mod spec;
mod threshold_grid;

pub use best_point::{Point, best_point};
pub use coordinate_ascent::{ClassCutoffs, coordinate_ascent};
pub use selection_bias::{SelectionBias, selection_bias};
pub use spec::{SearchSpec, TuneOn, parse_axis};
pub use threshold_grid::{Comparison, Surface, ThresholdGrid};
