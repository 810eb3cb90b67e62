//! The search for decision thresholds: cut-off × window fraction for every metric of decisions, and a cut-off a class.
//!
//! Conventions
//! - The rule is that of `decisions`: a window votes for a class if its probability is more than the cut-off, and the class is
//!   decided with `votes_needed` votes. A recording with n windows therefore decides a class exactly if the
//!   `votes_needed(n, fraction)`-th largest of its probabilities is more than the cut-off, so that one sorted pass knows every
//!   cut-off at once. Scores of whole recordings (no windows, or another aggregate) are one window each, decided if the score is at
//!   least the cut-off.
//! - Scores are those of `metrics::tally`: the same counts, the same bits as the tables of a run.
//! - The chosen point is the one with the highest score. Equal scores are common (a step between two probabilities changes
//!   nothing): of them the one nearest to their centre is taken, in steps of the grid, of these the one with the smaller fraction,
//!   then the smaller cut-off. The plateau is information for the reader, not part of the choice.

/// Raised by hand when the same units come to other points or other numbers.
pub const VERSION: u32 = 1;

mod coordinate_ascent;
mod best_point;
mod selection_bias;
mod spec;
mod threshold_grid;

pub use best_point::{Point, best_point};
pub use coordinate_ascent::{ClassCutoffs, coordinate_ascent};
pub use selection_bias::{SelectionBias, selection_bias};
pub use spec::{SearchSpec, TuneOn, parse_axis};
pub use threshold_grid::{Rule, Surface, ThresholdGrid};
