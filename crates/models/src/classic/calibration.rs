//! Out-of-fold scores, from which the curves of the support vector machines are fitted (`calibrated_centroids::platt`).
//!
//! Conventions: the folds are those of scikit-learn's `StratifiedKFold(5)` without shuffling, as in `CalibratedClassifierCV`. They
//! do not know songs: where several clips come from one song, the probabilities are somewhat too sure.

/// The number of folds.
pub const FOLDS: usize = 5;

/// The fold of each row: each class is dealt out evenly, in the order of its rows.
pub fn stratified_folds(targets: &[usize], classes: usize) -> Vec<usize> {
    // Classes in the order of their first row.
    let mut order = Vec::new();
    targets.iter().for_each(|class| {
        if !order.contains(class) {
            order.push(*class);
        }
    });
    let mut folds = vec![0; targets.len()];
    // The rows of all classes one after the other are dealt to the folds in turn; a fold takes as many rows of a class as it was
    // dealt, and its rows are contiguous.
    let mut dealt = 0;
    for &class in &order {
        let members: Vec<usize> = (0..targets.len()).filter(|&row| targets[row] == class).collect();
        let mut counts = [0; FOLDS];
        (dealt..dealt + members.len()).for_each(|i| counts[i % FOLDS] += 1);
        dealt += members.len();
        let numbers = (0..FOLDS).flat_map(|fold| std::iter::repeat_n(fold, counts[fold]));
        members.into_iter().zip(numbers).for_each(|(row, fold)| folds[row] = fold);
    }
    debug_assert!(order.len() <= classes);
    folds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_are_those_of_scikit_learn() {
        // StratifiedKFold(5) of these targets.
        let targets = [2, 2, 0, 2, 0, 0, 2, 2, 0, 2, 0, 2, 0];
        assert_eq!(stratified_folds(&targets, 3), [0, 0, 0, 1, 1, 2, 1, 2, 2, 3, 3, 4, 4]);
    }
}
