//! Late fusion: combines the probabilities of several models.
//!
//! Conventions
//! - `mean` is the weighted mean of the probabilities.
//! - `mean_logits` is the weighted mean of the logits, as a probability; with one label per recording it is the weighted
//!   geometric mean, divided by its sum. Probabilities are clamped to 0.001 and 0.999: a share of none of five neighbours is no
//!   certainty that should outweigh all other members.
//! - `rank_mean` makes models comparable whose probabilities mean different things. The rank of a probability is the share of
//!   the reference (the member's predictions on the validation split, for the same class) that is less; ties count half. The
//!   weighted mean of the ranks is turned back into a probability: the weighted mean of the members' probabilities at that rank,
//!   with linear interpolation. A threshold therefore means the same as for the members, and a single recording can be fused as
//!   well as a set (ranks within the set at hand, as often used, would depend on the other recordings).
//! - Weights are divided by their sum. Sums are f64, over the members in their order.
//!
//! The search for weights takes the best score; of equal scores the weights nearest to equal ones, then those with less for the
//! earlier members. Up to four members it tries every division of the whole into twentieths (and equal weights). With more
//! members it tries one weight after the other, 0 to 2 in twentieths relative to the others, until none improves.

use std::cmp::Ordering;

use anyhow::{Result, ensure};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::newton::sigmoid;
use crate::classifier::probability_row;
use crate::tensor::{Tensor, take_shaped, take_tensor};
use timbre_core::labels::Task;
use timbre_evaluation::predictions::{Predictions, argmax};

/// How the probabilities of the members are combined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fuse {
    /// The mean of the probabilities.
    #[default]
    Mean,
    /// The mean of the logits.
    MeanLogits,
    /// The mean of the ranks within each member's predictions on the validation split.
    RankMean,
}

/// Logits are taken of probabilities at least this far from 0 and 1.
const LEAST: f64 = 1e-3;
/// Steps from 0 to 1 in the search for weights.
const STEPS: usize = 20;
/// Up to this number of members every division is tried.
const MOST_IN_GRID: usize = 4;
/// The maximum number of rounds over all members, if there are more.
const MOST_TURNS: usize = 100;

/// An ensemble that is ready to combine predictions.
#[derive(Clone, Debug, PartialEq)]
pub struct Fusion {
    pub fuse: Fuse,
    pub task: Task,
    /// One per member; their sum is 1.
    pub weights: Vec<f64>,
    /// For ranks: the reference of each member.
    pub references: Vec<Reference>,
}

/// A member's predictions on the validation split, ascending for each class.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// One row per class.
    rows: Vec<Vec<f32>>,
}

impl Reference {
    pub fn new(predictions: &Predictions) -> Reference {
        let row = |class: usize| {
            let mut row: Vec<f32> = (0..predictions.len()).map(|clip| predictions.row(clip)[class]).collect();
            row.sort_unstable_by(f32::total_cmp);
            row
        };
        Reference { rows: (0..predictions.n_classes).map(row).collect() }
    }

    /// The share of the reference that is less; ties count half.
    fn rank(&self, class: usize, p: f32) -> f64 {
        let row = &self.rows[class];
        let (less, not_more) = (row.partition_point(|&x| x < p), row.partition_point(|&x| x <= p));
        (less + not_more) as f64 / (2 * row.len().max(1)) as f64
    }

    /// The probability at a rank: the inverse of [`Self::rank`].
    fn value(&self, class: usize, rank: f64) -> f64 {
        let row = &self.rows[class];
        let at = (rank * row.len() as f64 - 0.5).clamp(0.0, (row.len() - 1) as f64);
        let (low, high) = (f64::from(row[at.floor() as usize]), f64::from(row[at.ceil() as usize]));
        low + (high - low) * at.fract()
    }
}

impl Fusion {
    /// `predictions` has each member's predictions of the same rows.
    pub fn fuse(&self, predictions: &[&Predictions]) -> Predictions {
        let terms: Vec<Vec<f64>> = predictions.iter().enumerate().map(|(member, p)| self.terms_of(member, p)).collect();
        self.combine(&terms, &self.weights, predictions[0].n_classes)
    }

    /// Sets the weights with the best score on `predictions`. Returns the score and the number of weights tried.
    pub fn search(&mut self, predictions: &[&Predictions], score: impl Fn(&Predictions) -> f64 + Sync) -> (f64, usize) {
        let terms: Vec<Vec<f64>> = predictions.iter().enumerate().map(|(member, p)| self.terms_of(member, p)).collect();
        let n_classes = predictions[0].n_classes;
        let of = |shares: &[usize]| score(&self.combine(&terms, &normalize_weights(shares), n_classes));
        let (shares, best, tried) = search(predictions.len(), of);
        self.weights = normalize_weights(&shares);
        (best, tried)
    }

    /// The terms of a member's weighted sum.
    fn terms_of(&self, member: usize, predictions: &Predictions) -> Vec<f64> {
        let probabilities = predictions.probabilities.iter().enumerate();
        let clamped = |p: f32| f64::from(p).clamp(LEAST, 1.0 - LEAST);
        let number = |(i, &p): (usize, &f32)| match (self.fuse, self.task) {
            (Fuse::Mean, _) => f64::from(p),
            (Fuse::MeanLogits, Task::SingleLabel) => clamped(p).ln(),
            (Fuse::MeanLogits, Task::MultiLabel) => (clamped(p) / (1.0 - clamped(p))).ln(),
            (Fuse::RankMean, _) => self.references[member].rank(i % predictions.n_classes, p),
        };
        probabilities.map(number).collect()
    }

    fn combine(&self, terms: &[Vec<f64>], weights: &[f64], n_classes: usize) -> Predictions {
        let mut sums = vec![0.0f64; terms[0].len()];
        for (terms_of, &weight) in terms.iter().zip(weights) {
            sums.iter_mut().zip(terms_of).for_each(|(sum, x)| *sum += weight * x);
        }
        if self.fuse == Fuse::RankMean {
            for (i, x) in sums.iter_mut().enumerate() {
                let predictions = self.references.iter().zip(weights);
                *x = predictions.map(|(reference, weight)| weight * reference.value(i % n_classes, *x)).sum();
            }
        }
        let row = |row: &[f64]| -> Vec<f32> {
            match (self.task, self.fuse) {
                (Task::MultiLabel, Fuse::MeanLogits) => row.iter().map(|&z| sigmoid(z) as f32).collect(),
                // A mean of numbers up to 1 may exceed it by a rounding error.
                (Task::MultiLabel, _) => row.iter().map(|&p| p.min(1.0) as f32).collect(),
                (Task::SingleLabel, Fuse::MeanLogits) => {
                    let top = row[argmax(row)];
                    shares(&row.iter().map(|z| (z - top).exp()).collect::<Vec<_>>())
                }
                (Task::SingleLabel, _) => shares(row),
            }
        };
        Predictions { n_classes, probabilities: sums.chunks_exact(n_classes.max(1)).flat_map(row).collect() }
    }

    /// The tensors saved beside the names of the members.
    pub fn tensors(&self) -> Vec<Tensor> {
        let weights = self.weights.iter().map(|&weight| weight as f32).collect();
        let mut tensors = vec![Tensor::new("weights", vec![self.weights.len()], weights)];
        tensors.extend(self.references.iter().enumerate().map(|(member, reference)| {
            let shape = vec![reference.rows.len(), reference.rows.first().map_or(0, Vec::len)];
            Tensor::new(&reference_name(member), shape, reference.rows.concat())
        }));
        tensors
    }

    /// The fusion from [`Self::tensors`]. The weights come from the description, because f32 would change them.
    pub fn restore(
        fuse: Fuse,
        task: Task,
        weights: Vec<f64>,
        mut tensors: Vec<Tensor>,
        n_classes: usize,
    ) -> Result<Fusion> {
        let valid = weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0);
        ensure!(valid && !weights.is_empty(), "the weights of an ensemble must be 0 or more, not {weights:?}");
        let saved = take_tensor(&mut tensors, "weights")?;
        ensure!(saved.len() == weights.len(), "{} weights are saved for {} members", saved.len(), weights.len());
        let mut references = Vec::new();
        for member in (0..weights.len()).filter(|_| fuse == Fuse::RankMean) {
            let (shape, values) = take_shaped(&mut tensors, &reference_name(member))?;
            ensure!(
                matches!(shape[..], [classes, clips] if classes == n_classes && clips > 0),
                "`{}` has the shape {shape:?} for {n_classes} classes",
                reference_name(member)
            );
            let rows = values.chunks_exact(shape[1]).map(<[f32]>::to_vec).collect();
            references.push(Reference { rows });
        }
        Ok(Fusion { fuse, task, weights, references })
    }
}

fn reference_name(member: usize) -> String {
    format!("reference.{member}")
}

/// Divided by their sum; equal shares if the sum is 0.
fn shares(row: &[f64]) -> Vec<f32> {
    let total: f64 = row.iter().sum();
    let share = |&p: &f64| if total > 0.0 { p / total } else { 1.0 / row.len() as f64 };
    probability_row(&row.iter().map(share).collect::<Vec<_>>(), argmax(row))
}

/// Parts divided by their sum.
pub fn normalize_weights(parts: &[usize]) -> Vec<f64> {
    let total: usize = parts.iter().sum();
    parts.iter().map(|&part| part as f64 / total as f64).collect()
}

/// The parts with the best score, that score, and the number of weights tried.
fn search(members: usize, score: impl Fn(&[usize]) -> f64 + Sync) -> (Vec<usize>, f64, usize) {
    let best_of = |candidates: Vec<Vec<usize>>| {
        let scores: Vec<f64> = candidates.par_iter().map(|parts| score(parts)).collect();
        let better = |a: usize, b: usize| {
            let (near_a, near_b) = (from_equal(&candidates[a]), from_equal(&candidates[b]));
            scores[a].total_cmp(&scores[b]).then(near_b.total_cmp(&near_a)) == Ordering::Greater
        };
        let best = (1..candidates.len()).fold(0, |best, at| if better(at, best) { at } else { best });
        (candidates[best].clone(), scores[best], candidates.len())
    };
    if members <= MOST_IN_GRID {
        let mut candidates = vec![vec![1; members]];
        divisions(STEPS, members, &mut Vec::new(), &mut candidates);
        return best_of(candidates);
    }
    let (mut parts, mut best, mut tried) = best_of(vec![vec![STEPS; members]]);
    for _ in 0..MOST_TURNS {
        let before = best;
        for member in 0..members {
            let with = |part: usize| {
                let mut changed = parts.clone();
                changed[member] = part;
                changed
            };
            let candidates = (0..=2 * STEPS).map(with).filter(|parts| parts.iter().sum::<usize>() > 0).collect();
            let (found, score, count) = best_of(candidates);
            tried += count;
            if score.total_cmp(&best) == Ordering::Greater {
                (parts, best) = (found, score);
            }
        }
        if best == before {
            break;
        }
    }
    (parts, best, tried)
}

/// Every way to divide `left` steps among the members, in lexicographic order.
fn divisions(left: usize, members: usize, begun: &mut Vec<usize>, found: &mut Vec<Vec<usize>>) {
    if members == 1 {
        begun.push(left);
        found.push(begun.clone());
        begun.pop();
        return;
    }
    for part in 0..=left {
        begun.push(part);
        divisions(left - part, members - 1, begun, found);
        begun.pop();
    }
}

/// The squared distance from equal weights.
fn from_equal(parts: &[usize]) -> f64 {
    let equal = 1.0 / parts.len() as f64;
    normalize_weights(parts).iter().map(|weight| (weight - equal).powi(2)).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(n_classes: usize, probabilities: Vec<f32>) -> Predictions {
        Predictions { n_classes, probabilities }
    }

    fn fusion(fuse: Fuse, task: Task, weights: &[f64], references: Vec<Reference>) -> Fusion {
        Fusion { fuse, task, weights: weights.to_vec(), references }
    }

    fn predictions(members: usize) -> impl Strategy<Value = Vec<Predictions>> {
        let p = prop_oneof![3 => 0.0f32..=1.0, 1 => prop::sample::select(vec![0.0f32, 0.2, 0.5, 1.0])];
        prop::collection::vec(prop::collection::vec(p, 36).prop_map(|values| rows(3, values)), members)
    }

    const EVERY: [Fuse; 3] = [Fuse::Mean, Fuse::MeanLogits, Fuse::RankMean];

    proptest! {
        #[test]
        fn a_member_with_all_the_weight_decides_alone(predictions in predictions(2), several: bool) {
            let task = if several { Task::MultiLabel } else { Task::SingleLabel };
            let predictions: Vec<&Predictions> = predictions.iter().collect();
            for fuse in EVERY {
                let references = predictions.iter().map(|p| Reference::new(p)).collect();
                let fused = fusion(fuse, task, &[0.0, 1.0], references).fuse(&predictions);
                if several {
                    let least = if fuse == Fuse::MeanLogits { LEAST as f32 } else { 0.0 };
                    for (a, b) in fused.probabilities.iter().zip(&predictions[1].probabilities) {
                        prop_assert!((a - b.clamp(least, 1.0 - least)).abs() < 1e-6, "{fuse:?}: {a} {b}");
                    }
                }
                // Of equal probabilities rounding may pick another; beyond the clamp logits cannot be distinguished.
                if fuse == Fuse::Mean && !several {
                    prop_assert_eq!(fused.most_likely_classes(), predictions[1].most_likely_classes());
                }
            }
        }

        #[test]
        fn single_label_shares_sum_to_one_and_multi_label_probabilities_stay_between_0_and_1(predictions in predictions(3), several: bool) {
            let task = if several { Task::MultiLabel } else { Task::SingleLabel };
            let predictions: Vec<&Predictions> = predictions.iter().collect();
            for fuse in EVERY {
                let references = predictions.iter().map(|p| Reference::new(p)).collect();
                let fused = fusion(fuse, task, &normalize_weights(&[1, 1, 1]), references).fuse(&predictions);
                for row in fused.probabilities.chunks_exact(3) {
                    prop_assert!(row.iter().all(|p| (0.0..=1.0).contains(p)), "{fuse:?} {row:?}");
                    prop_assert!(several || (row.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{fuse:?} {row:?}");
                }
            }
        }

        #[test]
        fn a_row_alone_is_fused_as_in_a_set(predictions in predictions(2), row in 0usize..12) {
            let references: Vec<Reference> = predictions.iter().map(Reference::new).collect();
            let alone: Vec<Predictions> = predictions.iter().map(|p| rows(3, p.row(row).to_vec())).collect();
            for fuse in EVERY {
                let fusion = fusion(fuse, Task::MultiLabel, &[0.3, 0.7], references.clone());
                let together = fusion.fuse(&predictions.iter().collect::<Vec<_>>());
                let apart = fusion.fuse(&alone.iter().collect::<Vec<_>>());
                prop_assert_eq!(together.row(row), apart.row(0));
            }
        }

        #[test]
        fn a_rank_equals_its_definition_and_its_value_is_recovered(values in prop::collection::vec(0.0f32..1.0, 1..30), p in 0.0f32..1.0) {
            let reference = Reference::new(&rows(1, values.clone()));
            let count = |test: &dyn Fn(f32) -> bool| values.iter().filter(|&&x| test(x)).count() as f64;
            let slow = (count(&|x| x < p) + 0.5 * count(&|x| x == p)) / values.len() as f64;
            prop_assert!((reference.rank(0, p) - slow).abs() < 1e-12);
            for &value in &values {
                let back = reference.value(0, reference.rank(0, value));
                prop_assert!((back - f64::from(value)).abs() < 1e-6, "{value} {back}");
            }
        }

        #[test]
        fn the_search_finds_the_same_as_a_walk_over_the_grid(peak in prop::collection::vec(0usize..=20, 2), flat in 0usize..4) {
            // A hill of integers with a plateau.
            let score = |parts: &[usize]| {
                let weights = normalize_weights(parts);
                let off = weights.iter().zip(&peak).map(|(w, &p)| (w * 20.0 - p as f64).abs()).sum::<f64>();
                -(off.round() / (flat + 1) as f64).floor()
            };
            let (found, best, tried) = search(3, score);
            prop_assert_eq!(tried, 232);
            let mut most = score(&[1, 1, 1]);
            let mut near = 0.0;
            for a in 0..=20usize {
                for b in 0..=20 - a {
                    let parts = [a, b, 20 - a - b];
                    let (s, d) = (score(&parts), from_equal(&parts));
                    if s > most || (s == most && d < near) {
                        (most, near) = (s, d);
                    }
                }
            }
            prop_assert_eq!(best, most);
            prop_assert!((from_equal(&found) - near).abs() < 1e-12);
        }
    }

    #[test]
    fn means_are_weighted() {
        let (a, b) = (rows(2, vec![0.2, 0.8]), rows(2, vec![0.6, 0.4]));
        let fuse = |how, task| fusion(how, task, &[0.75, 0.25], Vec::new()).fuse(&[&a, &b]).probabilities;
        let near = |found: Vec<f32>, wanted: [f64; 2]| {
            assert!(found.iter().zip(wanted).all(|(&a, b)| (f64::from(a) - b).abs() < 1e-6), "{found:?} {wanted:?}");
        };
        near(fuse(Fuse::Mean, Task::MultiLabel), [0.3, 0.7]);
        near(fuse(Fuse::Mean, Task::SingleLabel), [0.3, 0.7]);
        let odds = (0.2f64 / 0.8).powf(0.75) * (0.6f64 / 0.4).powf(0.25);
        let other = (0.8f64 / 0.2).powf(0.75) * (0.4f64 / 0.6).powf(0.25);
        near(fuse(Fuse::MeanLogits, Task::MultiLabel), [odds / (1.0 + odds), other / (1.0 + other)]);
        let (first, second) = (0.2f64.powf(0.75) * 0.6f64.powf(0.25), 0.8f64.powf(0.75) * 0.4f64.powf(0.25));
        near(fuse(Fuse::MeanLogits, Task::SingleLabel), [first / (first + second), second / (first + second)]);
    }

    #[test]
    fn ranks_give_a_member_with_small_probabilities_equal_influence() {
        // The same order, but one member never exceeds 0.03.
        let large = rows(1, vec![0.1, 0.3, 0.5, 0.7, 0.9]);
        let small = rows(1, vec![0.01, 0.015, 0.02, 0.025, 0.03]);
        let references = vec![Reference::new(&large), Reference::new(&small)];
        let fused = fusion(Fuse::RankMean, Task::MultiLabel, &[0.5, 0.5], references).fuse(&[&large, &small]);
        let wanted = [0.055, 0.1575, 0.26, 0.3625, 0.465];
        assert!(fused.probabilities.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{fused:?}");
    }

    #[test]
    fn five_members_are_searched_in_turn_and_never_end_below_equal_weights() {
        // Only the third is informative; the others disagree with it.
        let score = |parts: &[usize]| normalize_weights(parts)[2];
        let (parts, best, _) = search(5, score);
        assert!(best > 0.99 && parts[2] > 0, "{parts:?} {best}");
        let (parts, best, tried) = search(5, |_: &[usize]| 0.5);
        assert_eq!((parts, best), (vec![STEPS; 5], 0.5));
        assert_eq!(tried, 1 + 5 * 41);
    }

    #[test]
    fn a_saved_fusion_is_restored() {
        let (a, b) = (rows(2, vec![0.2, 0.8, 0.5, 0.1]), rows(2, vec![0.6, 0.4, 0.3, 0.9]));
        let references = vec![Reference::new(&a), Reference::new(&b)];
        let one = fusion(Fuse::RankMean, Task::MultiLabel, &[0.35, 0.65], references);
        let again = Fusion::restore(one.fuse, one.task, one.weights.clone(), one.tensors(), 2).unwrap();
        assert_eq!(again, one);
        let error = Fusion::restore(one.fuse, one.task, one.weights.clone(), one.tensors(), 3).unwrap_err();
        assert!(error.to_string().contains("3 classes"), "{error}");
    }
}
