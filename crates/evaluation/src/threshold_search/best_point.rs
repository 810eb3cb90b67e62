//! The best point of a grid.

/// A point of the grid, by its places on the axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    pub cutoff: usize,
    pub fraction: usize,
}

/// The point with the highest score; of equals the one nearest to their centre, then the first. `scores` go fraction by fraction.
pub fn best_point(scores: &[f64], cutoffs: usize) -> Point {
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let equals: Vec<usize> = (0..scores.len()).filter(|&at| scores[at] == most).collect();
    let place = |at: usize| ((at % cutoffs) as i64, (at / cutoffs) as i64);
    let n = equals.len() as i64;
    let (x, y) = equals.iter().map(|&at| place(at)).fold((0, 0), |sum, own| (sum.0 + own.0, sum.1 + own.1));
    // Distances to the centre times the number of equals, so that they are whole numbers.
    let far = |at: usize| {
        let own = place(at);
        (own.0 * n - x).pow(2) + (own.1 * n - y).pow(2)
    };
    let at = equals.into_iter().min_by_key(|&at| far(at)).expect("a grid has points");
    Point { cutoff: at % cutoffs, fraction: at / cutoffs }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_scores_the_middle_is_taken() {
        let row = [0.1, 0.7, 0.7, 0.7, 0.2];
        assert_eq!(best_point(&row, 5), Point { cutoff: 2, fraction: 0 });
        let grid = [0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0];
        assert_eq!(best_point(&grid, 4), Point { cutoff: 1, fraction: 0 });
        // The centre itself is none of them: a ring.
        let ring = [1.0, 1.0, 1.0, 1.0, 0.5, 1.0, 1.0, 1.0, 1.0];
        assert_eq!(best_point(&ring, 3), Point { cutoff: 1, fraction: 0 });
        assert_eq!(best_point(&[0.5], 1), Point { cutoff: 0, fraction: 0 });
    }
}
