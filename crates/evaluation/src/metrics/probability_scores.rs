//! The scores of probabilities: no cut-off has a part in them.
//!
//! Each is prepared once (sorted, or computed for each clip) and then evaluated for as many weightings of the clips as are
//! wanted, which is what makes a bootstrap cheap: a pass over sorted clips instead of a sort.

use indexmap::IndexMap;

use super::average_precision::average_precision;
use super::calibration::{self, Bins};
use super::metric::{MULTI_LABEL_RANKED, SINGLE_LABEL_RANKED};
use super::roc_auc::roc_auc;
use super::sorted_scores::SortedScores;
use super::{log_loss, ranking};
use crate::predictions::Predictions;
use timbre_core::labels::Task;

/// A score that is ready to be evaluated: the argument says how often each clip counts. None where it is undefined.
pub type WeightedScore<'a> = Box<dyn Fn(&[u32]) -> Option<f64> + Sync + 'a>;

/// The scores of `predictions` by name, in the order of the tables; those that are undefined are left out. `truth`: the classes
/// of each clip, ascending.
pub fn probability_scores(task: Task, truth: &[Vec<usize>], predictions: &Predictions) -> IndexMap<String, f64> {
    let once = vec![1; truth.len()];
    let names: &[&str] = match task {
        Task::SingleLabel => &SINGLE_LABEL_RANKED,
        Task::MultiLabel => &MULTI_LABEL_RANKED,
    };
    let value = |name: &&str| {
        let score = prepared(task, name, truth, predictions).expect("every name of the list is known");
        Some(((*name).to_owned(), score(&once)?))
    };
    names.iter().filter_map(value).collect()
}

/// The score of that name; none if it is no score of probabilities.
pub fn prepared<'a>(
    task: Task,
    metric: &str,
    truth: &'a [Vec<usize>],
    predictions: &'a Predictions,
) -> Option<WeightedScore<'a>> {
    let clips = || truth.iter().enumerate().map(|(clip, truth)| (truth.as_slice(), predictions.row(clip)));
    let of_clips = |value: &dyn Fn(&[usize], &[f32]) -> f64| clips().map(|(t, p)| value(t, p)).collect::<Vec<f64>>();
    Some(match (task, metric) {
        (_, "calibration_error") => calibration_error(task, truth, predictions),
        (Task::SingleLabel, "log_loss") => mean(of_clips(&|truth, p| log_loss::single_label(truth[0], p))),
        (Task::SingleLabel, _) => return None,
        (Task::MultiLabel, "log_loss") => mean(of_clips(&log_loss::multi_label)),
        (Task::MultiLabel, "lrap") => mean(of_clips(&|truth, p| ranking::of_clip(truth, p)[0])),
        (Task::MultiLabel, "ranking_loss") => mean(of_clips(&|truth, p| ranking::of_clip(truth, p)[1])),
        (Task::MultiLabel, "coverage_error") => mean(of_clips(&|truth, p| ranking::of_clip(truth, p)[2])),
        (Task::MultiLabel, _) => {
            let (curve, average): (Curve, &str) = if let Some(average) = metric.strip_prefix("average_precision_") {
                (|ranked, times| Some(average_precision(ranked, times)), average)
            } else {
                (|ranked, times| roc_auc(ranked, times), metric.strip_prefix("roc_auc_")?)
            };
            match average {
                "micro" => micro(curve, truth, predictions),
                "macro" => over_classes(curve, truth, predictions, |_| 1),
                "weighted" => over_classes(curve, truth, predictions, |support| support),
                "samples" => {
                    let alone = |truth: &[usize], p: &[f32]| {
                        let items = p.iter().enumerate().map(|(c, &p)| (c as u32, p, truth.contains(&c)));
                        curve(&SortedScores::new(items), &|_| 1)
                    };
                    mean_of_defined(clips().map(|(t, p)| alone(t, p)).collect())
                }
                _ => return None,
            }
        }
    })
}

type Curve = fn(&SortedScores, &dyn Fn(usize) -> u32) -> Option<f64>;

fn micro<'a>(curve: Curve, truth: &'a [Vec<usize>], predictions: &'a Predictions) -> WeightedScore<'a> {
    let items = truth.iter().enumerate().flat_map(|(clip, truth)| {
        let pair = move |(class, &p): (usize, &f32)| (clip as u32, p, truth.contains(&class));
        predictions.row(clip).iter().enumerate().map(pair)
    });
    let ranked = SortedScores::new(items);
    Box::new(move |times| curve(&ranked, &|clip| times[clip]))
}

fn over_classes<'a>(
    curve: Curve,
    truth: &'a [Vec<usize>],
    predictions: &'a Predictions,
    weight: fn(u64) -> u64,
) -> WeightedScore<'a> {
    let of_class = |class: usize| {
        let item =
            |(clip, truth): (usize, &Vec<usize>)| (clip as u32, predictions.row(clip)[class], truth.contains(&class));
        SortedScores::new(truth.iter().enumerate().map(item))
    };
    let ranked: Vec<SortedScores> = (0..predictions.n_classes).map(of_class).collect();
    Box::new(move |times| {
        let mut support = vec![0u64; ranked.len()];
        truth.iter().zip(times).for_each(|(t, &times)| t.iter().for_each(|&c| support[c] += u64::from(times)));
        let (mut sum, mut whole) = (0.0, 0.0);
        for (ranked, support) in ranked.iter().zip(support) {
            let (Some(value), weight) = (curve(ranked, &|clip| times[clip]), weight(support) as f64) else { continue };
            sum += value * weight;
            whole += weight;
        }
        // Of truths without any class a weighted average precision is 0, as in scikit-learn; an area is undefined.
        if whole > 0.0 { Some(sum / whole) } else { curve(&SortedScores::new(std::iter::empty()), &|_| 1) }
    })
}

fn mean<'a>(values: Vec<f64>) -> WeightedScore<'a> {
    mean_of_defined(values.into_iter().map(Some).collect())
}

/// Of clips without a value nothing is counted; of no clips at all it is 0.
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

fn calibration_error<'a>(task: Task, truth: &'a [Vec<usize>], predictions: &'a Predictions) -> WeightedScore<'a> {
    let mut cases: Vec<(u32, u8, bool, f64)> = Vec::new();
    for (clip, truth) in truth.iter().enumerate() {
        let row = predictions.row(clip);
        let likeliest = (1..row.len()).fold(0, |best, c| if row[c] > row[best] { c } else { best });
        let classes = match task {
            Task::SingleLabel => likeliest..likeliest + 1,
            Task::MultiLabel => 0..row.len(),
        };
        cases.extend(classes.map(|class| {
            let p = f64::from(row[class]);
            (clip as u32, calibration::bin(p) as u8, truth.contains(&class), p)
        }));
    }
    Box::new(move |times| {
        let mut bins = Bins::default();
        for &(clip, bin, came_true, p) in &cases {
            bins.add(usize::from(bin), p, came_true, times[clip as usize]);
        }
        Some(bins.error())
    })
}
