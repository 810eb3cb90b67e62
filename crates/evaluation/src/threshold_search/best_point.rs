//! The best point of a grid.

/// A point of the grid, by its positions on the axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// The index of the threshold.
    pub cutoff: usize,
    /// The index of the window fraction; 0 where one score decides a recording.
    pub fraction: usize,
}

/// The point with the highest score; of equal scores the one nearest to their centre, then the first. `scores` are ordered by
/// fraction, then threshold.
pub fn best_point(scores: &[f64], cutoffs: usize) -> Point {
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let ties: Vec<usize> = (0..scores.len()).filter(|&at| scores[at] == most).collect();
    let position_of = |at: usize| ((at % cutoffs) as i64, (at / cutoffs) as i64);
    let n = ties.len() as i64;
    let (x, y) =
        ties.iter().map(|&at| position_of(at)).fold((0, 0), |sum, position| (sum.0 + position.0, sum.1 + position.1));
    // Squared distances to the centre, times the number of equal scores squared, so that they are integers.
    let distance = |at: usize| {
        let position = position_of(at);
        (position.0 * n - x).pow(2) + (position.1 * n - y).pow(2)
    };
    let at = ties.into_iter().min_by_key(|&at| distance(at)).expect("a grid has points");
    Point { cutoff: at % cutoffs, fraction: at / cutoffs }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_scores_the_middle_one_is_chosen() {
        let row = [0.1, 0.7, 0.7, 0.7, 0.2];
        assert_eq!(best_point(&row, 5), Point { cutoff: 2, fraction: 0 });
        let grid = [0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0];
        assert_eq!(best_point(&grid, 4), Point { cutoff: 1, fraction: 0 });
        // The centre is not one of them: a ring.
        let ring = [1.0, 1.0, 1.0, 1.0, 0.5, 1.0, 1.0, 1.0, 1.0];
        assert_eq!(best_point(&ring, 3), Point { cutoff: 1, fraction: 0 });
        assert_eq!(best_point(&[0.5], 1), Point { cutoff: 0, fraction: 0 });
    }
}
