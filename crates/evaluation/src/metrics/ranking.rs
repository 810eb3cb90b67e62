//! Metrics of the ranking of the classes of one clip by their scores.
//!
//! Conventions: scikit-learn's `label_ranking_average_precision_score` (1 for a clip with no class or with all),
//! `label_ranking_loss` (0 for such a clip) and `coverage_error` (0 for a clip with no class). Equal scores count against the
//! model everywhere: a rank is the number of classes with that score or a higher one, and a wrong class with the score of a
//! right one is in the wrong order. Coverage counts classes: with every class ranked right it is the number of a clip's
//! classes, not 1.

/// Label ranking average precision, from 0 to 1. `truth` has the classes of the clip, ascending; `scores` one value per class.
pub fn average_precision(truth: &[usize], scores: &[f32]) -> f64 {
    of_clip(truth, scores)[0]
}

/// The share of (wrong, right) pairs of classes in the wrong order, from 0 to 1.
pub fn loss(truth: &[usize], scores: &[f32]) -> f64 {
    of_clip(truth, scores)[1]
}

/// How far down the ranking the last right class is, in classes: 0 to the number of classes.
///
/// ```
/// use timbre_evaluation::metrics::ranking::{average_precision, coverage_error, loss};
///
/// let scores = [0.9, 0.2, 0.5];
/// assert_eq!((average_precision(&[0], &scores), loss(&[0], &scores), coverage_error(&[0], &scores)), (1.0, 0.0, 1.0));
/// assert_eq!(coverage_error(&[1], &scores), 3.0);
/// ```
pub fn coverage_error(truth: &[usize], scores: &[f32]) -> f64 {
    of_clip(truth, scores)[2]
}

/// 1 if at most `count` classes have the score of the class or a higher one, otherwise 0.
pub fn is_among(count: usize, class: usize, scores: &[f32]) -> f64 {
    let rank = scores.iter().filter(|&&score| score >= scores[class]).count();
    f64::from(u8::from(rank <= count))
}

/// The three metrics of a clip. `truth` is ascending.
fn of_clip(truth: &[usize], scores: &[f32]) -> [f64; 3] {
    if truth.is_empty() {
        return [1.0, 0.0, 0.0];
    }
    let at_least =
        |classes: &mut dyn Iterator<Item = usize>, score: f32| classes.filter(|&c| scores[c] >= score).count();
    let (mut precision, mut misordered, mut coverage) = (0.0, 0, 0);
    for &class in truth {
        let right = at_least(&mut truth.iter().copied(), scores[class]);
        let rank = at_least(&mut (0..scores.len()), scores[class]);
        precision += right as f64 / rank as f64;
        misordered += rank - right;
        coverage = coverage.max(rank);
    }
    let absent = scores.len() - truth.len();
    if absent == 0 {
        return [1.0, 0.0, coverage as f64];
    }
    [precision / truth.len() as f64, misordered as f64 / (absent * truth.len()) as f64, coverage as f64]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scores_count_against_the_model() {
        // Class 1 shares the first rank with the wrong class 0; class 3 is behind class 2.
        let [lrap, loss, coverage] = of_clip(&[1, 3], &[0.9, 0.9, 0.5, 0.1]);
        assert_eq!(lrap, (1.0 / 2.0 + 2.0 / 4.0) / 2.0);
        assert_eq!((loss, coverage), (3.0 / 4.0, 4.0));
    }

    #[test]
    fn a_clip_with_no_class_or_with_all_poses_no_ranking() {
        assert_eq!(of_clip(&[], &[0.5, 0.25]), [1.0, 0.0, 0.0]);
        assert_eq!(of_clip(&[0, 1], &[0.5, 0.25]), [1.0, 0.0, 2.0]);
    }
}
