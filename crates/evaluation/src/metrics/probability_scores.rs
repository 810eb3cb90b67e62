//! Scores of probabilities, which need no threshold.
//!
//! Each score is prepared once (sorted, or computed for each clip) and then evaluated for many weightings of the clips. This
//! makes a bootstrap cheap: a pass over sorted clips instead of a sort.
//!
//! Unknown labels: a pair of a clip and a class whose label is unknown is left out of every score. A clip is scored over
//! its known classes. A class that is unknown in every clip is left out of means over classes.

use super::WeightedScore;
use super::sorted_scores::SortedScores;
use crate::predictions::Predictions;
use timbre_core::labels::Labels;

/// A score of clips in the order of their scores; the second argument is the number of times that a clip counts.
type Curve = fn(&SortedScores, &dyn Fn(usize) -> u32) -> Option<f64>;

/// The score of all pairs of clip and class.
pub fn micro<'a>(curve: Curve, truth: &'a [Labels], predictions: &'a Predictions) -> WeightedScore<'a> {
    let items = truth.iter().enumerate().flat_map(|(clip, truth)| {
        let pair = move |(class, &p): (usize, &f32)| (clip as u32, p, truth.contains(&class));
        predictions.row(clip).iter().enumerate().filter(|(class, _)| truth.is_known(*class)).map(pair)
    });
    let ranked = SortedScores::new(items);
    Box::new(move |times| curve(&ranked, &|clip| times[clip]))
}

/// The score of one class, from the clips whose label of it is known.
pub fn class_score(curve: Curve, truth: &[Labels], predictions: &Predictions, class: usize) -> Option<f64> {
    curve(&of_class(truth, predictions, class), &|_| 1)
}

fn of_class(truth: &[Labels], predictions: &Predictions, class: usize) -> SortedScores {
    let item = |(clip, truth): (usize, &Labels)| (clip as u32, predictions.row(clip)[class], truth.contains(&class));
    SortedScores::new(truth.iter().enumerate().filter(|(_, truth)| truth.is_known(class)).map(item))
}

/// The mean over the classes.
pub fn macro_mean<'a>(curve: Curve, truth: &'a [Labels], predictions: &'a Predictions) -> WeightedScore<'a> {
    over_classes(curve, truth, predictions, |_| 1)
}

/// The mean over the classes, weighted by their clips.
pub fn weighted_mean<'a>(curve: Curve, truth: &'a [Labels], predictions: &'a Predictions) -> WeightedScore<'a> {
    over_classes(curve, truth, predictions, |support| support)
}

fn over_classes<'a>(
    curve: Curve,
    truth: &'a [Labels],
    predictions: &'a Predictions,
    weight: fn(u64) -> u64,
) -> WeightedScore<'a> {
    let ranked: Vec<SortedScores> =
        (0..predictions.n_classes).map(|class| of_class(truth, predictions, class)).collect();
    Box::new(move |times| {
        let (mut support, mut unknown, mut n) = (vec![0u64; ranked.len()], vec![0u64; ranked.len()], 0u64);
        for (truth, &times) in truth.iter().zip(times) {
            truth.iter().for_each(|&class| support[class] += u64::from(times));
            truth.unknown().iter().for_each(|&class| unknown[class] += u64::from(times));
            n += u64::from(times);
        }
        let (mut sum, mut whole) = (0.0, 0.0);
        for ((ranked, support), unknown) in ranked.iter().zip(support).zip(unknown) {
            if unknown == n {
                continue;
            }
            let (Some(value), weight) = (curve(ranked, &|clip| times[clip]), weight(support) as f64) else { continue };
            sum += value * weight;
            whole += weight;
        }
        // If no clip has a class, a weighted average precision is 0, as in scikit-learn; an area is undefined.
        if whole > 0.0 { Some(sum / whole) } else { curve(&SortedScores::new(std::iter::empty()), &|_| 1) }
    })
}

/// The mean over the clips; in each clip the classes are ranked.
pub fn samples_mean<'a>(curve: Curve, truth: &'a [Labels], predictions: &'a Predictions) -> WeightedScore<'a> {
    let of_clip = |(clip, truth): (usize, &Labels)| {
        let row = predictions.row(clip).iter().enumerate().filter(|(class, _)| truth.is_known(*class));
        curve(&SortedScores::new(row.map(|(c, &p)| (c as u32, p, truth.contains(&c)))), &|_| 1)
    };
    mean_of_defined(truth.iter().enumerate().map(of_clip).collect())
}

/// The mean of a score of single clips, computed from the classes and probabilities of each; unknown classes are left out.
pub fn mean_over_clips<'a>(
    score: fn(&[usize], &[f32]) -> f64,
    truth: &'a [Labels],
    predictions: &'a Predictions,
) -> WeightedScore<'a> {
    mean_of_defined(truth.iter().enumerate().map(|(clip, t)| Some(of_known(score, t, predictions.row(clip)))).collect())
}

/// The mean over all known pairs of clip and class of a score that is a mean over the classes of a clip.
pub fn mean_over_pairs<'a>(
    score: fn(&[usize], &[f32]) -> f64,
    truth: &'a [Labels],
    predictions: &'a Predictions,
) -> WeightedScore<'a> {
    if truth.iter().all(|truth| truth.unknown().is_empty()) {
        return mean_over_clips(score, truth, predictions);
    }
    let of_clip = |(clip, truth): (usize, &Labels)| {
        let known = (predictions.n_classes - truth.unknown().len()) as f64;
        (of_known(score, truth, predictions.row(clip)) * known, known)
    };
    let sums: Vec<(f64, f64)> = truth.iter().enumerate().map(of_clip).collect();
    Box::new(move |times| {
        let add = |(sum, pairs): (f64, f64), (own, &times): (&(f64, f64), &u32)| {
            (sum + own.0 * f64::from(times), pairs + own.1 * f64::from(times))
        };
        let (sum, pairs) = sums.iter().zip(times).fold((0.0, 0.0), add);
        (pairs > 0.0).then(|| sum / pairs)
    })
}

/// A score of the known classes of a clip, renumbered.
fn of_known(score: fn(&[usize], &[f32]) -> f64, truth: &Labels, probabilities: &[f32]) -> f64 {
    if truth.unknown().is_empty() {
        return score(truth, probabilities);
    }
    let known: Vec<usize> = (0..probabilities.len()).filter(|&class| truth.is_known(class)).collect();
    let present: Vec<usize> = (0..known.len()).filter(|&at| truth.contains(&known[at])).collect();
    score(&present, &known.iter().map(|&class| probabilities[class]).collect::<Vec<_>>())
}

/// The mean over the clips that have a value; 0 without any clips.
fn mean_of_defined<'a>(values: Vec<Option<f64>>) -> WeightedScore<'a> {
    Box::new(move |times| {
        let (mut sum, mut n) = (0.0, 0u64);
        for (value, &times) in values.iter().zip(times) {
            if let Some(value) = value {
                sum += value * f64::from(times);
                n += u64::from(times);
            }
        }
        (n > 0 || values.is_empty()).then(|| sum / n.max(1) as f64)
    })
}
