//! The sampler: which clips an epoch uses, in which order. Pure functions of a seed and the epoch.

use crate::hyperparameters::Sampling;
use timbre_core::labels::Labels;
use timbre_core::seed::{Seed, shuffle, uniform, uniform_below};

/// The rows of an epoch, as many as there are clips.
pub fn epoch_order(sampling: Sampling, labels: &[Labels], n_classes: usize, seed: Seed, epoch: usize) -> Vec<usize> {
    let mut rng = seed.child("order").child(epoch).rng();
    match sampling {
        Sampling::Shuffle => {
            let mut rows: Vec<usize> = (0..labels.len()).collect();
            shuffle(&mut rows, &mut rng);
            rows
        }
        Sampling::Weighted => {
            let members = members(labels, n_classes);
            let rarity = |class: usize| 1.0 / members[class].len() as f64;
            let mut total = 0.0;
            let ends: Vec<f64> = labels
                .iter()
                .map(|labels| {
                    total += match labels[..] {
                        [] => rarity(n_classes),
                        _ => labels.iter().map(|&class| rarity(class)).sum::<f64>() / labels.len() as f64,
                    };
                    total
                })
                .collect();
            let draw = |_| {
                let point = uniform(&mut rng) * total;
                ends.partition_point(|&end| end <= point).min(ends.len() - 1)
            };
            (0..labels.len()).map(draw).collect()
        }
        Sampling::Balanced => {
            let members: Vec<Vec<usize>> =
                members(labels, n_classes).into_iter().filter(|rows| !rows.is_empty()).collect();
            let draw = |_| {
                let rows = &members[uniform_below(&mut rng, members.len() as u64) as usize];
                rows[uniform_below(&mut rng, rows.len() as u64) as usize]
            };
            (0..labels.len()).map(draw).collect()
        }
    }
}

/// The rows of each class; clips without a label form an additional class, the last.
fn members(labels: &[Labels], n_classes: usize) -> Vec<Vec<usize>> {
    let mut members = vec![Vec::new(); n_classes + 1];
    for (row, labels) in labels.iter().enumerate() {
        labels.iter().for_each(|&class| members[class].push(row));
        if labels.is_empty() {
            members[n_classes].push(row);
        }
    }
    members
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;

    /// Sixty clips of class 0, six of class 1, six of both, three of neither.
    fn labels() -> Vec<Labels> {
        let mut labels = vec![vec![0]; 60];
        labels.extend([vec![1], vec![0, 1]].into_iter().flat_map(|l| vec![l; 6]));
        labels.extend(vec![vec![]; 3]);
        labels.into_iter().map(Labels::from).collect()
    }

    /// How often each clip is drawn in two thousand epochs, as a share of all draws.
    fn shares(sampling: Sampling) -> Vec<f64> {
        let (labels, epochs) = (labels(), 2000);
        let mut counts = vec![0.0; labels.len()];
        for epoch in 0..epochs {
            let rows = epoch_order(sampling, &labels, 3, Seed::new(1), epoch);
            assert_eq!(rows.len(), labels.len());
            rows.into_iter().for_each(|row| counts[row] += 1.0 / (epochs * labels.len()) as f64);
        }
        counts
    }

    #[test]
    fn an_order_depends_only_on_seed_and_epoch() {
        for sampling in [Sampling::Shuffle, Sampling::Weighted, Sampling::Balanced] {
            let of = |seed, epoch| epoch_order(sampling, &labels(), 3, Seed::new(seed), epoch);
            assert_eq!(of(1, 4), of(1, 4));
            assert_ne!(of(1, 4), of(1, 5));
            assert_ne!(of(1, 4), of(2, 4));
        }
    }

    #[test]
    fn a_shuffled_epoch_contains_every_clip_once() {
        let mut rows = epoch_order(Sampling::Shuffle, &labels(), 3, Seed::new(1), 0);
        assert_ne!(rows, (0..75).collect::<Vec<_>>());
        rows.sort_unstable();
        assert_eq!(rows, (0..75).collect::<Vec<_>>());
    }

    #[test]
    fn a_weighted_epoch_draws_clips_in_proportion_to_the_rarity_of_their_labels() {
        // 66 clips have class 0, 12 class 1, 3 none.
        let weights = [1.0 / 66.0, 1.0 / 12.0, (1.0 / 66.0 + 1.0 / 12.0) / 2.0, 1.0 / 3.0];
        let total: f64 = weights.iter().zip([60.0, 6.0, 6.0, 3.0]).map(|(w, n)| w * n).sum();
        let shares = shares(Sampling::Weighted);
        for (clips, weight) in [(0..60, weights[0]), (60..66, weights[1]), (66..72, weights[2]), (72..75, weights[3])] {
            let (n, share) = (clips.len() as f64, shares[clips].iter().sum::<f64>());
            assert!((share - n * weight / total).abs() < 0.01, "{share} of {}", n * weight / total);
        }
    }

    #[test]
    fn a_balanced_epoch_draws_the_classes_equally_often() {
        let shares = shares(Sampling::Balanced);
        let share = |clips: Range<usize>| shares[clips].iter().sum::<f64>();
        // A third for class 0 (a clip of both is a 66th of it), a third for class 1, a third for neither.
        for (clips, expected) in
            [(0..60, 60.0 / 66.0 / 3.0), (60..66, 0.5 / 3.0), (66..72, (6.0 / 66.0 + 0.5) / 3.0), (72..75, 1.0 / 3.0)]
        {
            let drawn = share(clips.clone());
            assert!((drawn - expected).abs() < 0.01, "{clips:?}: {drawn} of {expected}");
        }
    }
}
