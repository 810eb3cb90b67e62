//! One metric, ready to be evaluated for any weighting of the clips: what a bootstrap asks a thousand times.

use super::metric::SINGLE_LABEL;
use super::probability_scores::{self, WeightedScore};
use super::single_label;
use super::tally::{self, Tally};
use crate::predictions::Predictions;
use timbre_core::labels::Task;

/// The metric of that name of these decisions and probabilities. With every clip counted once it is the number of the tables,
/// to the last bit; None where it is undefined. No such metric: None always.
pub fn weighted_metric<'a>(
    task: Task,
    metric: &str,
    truth: &'a [Vec<usize>],
    decided: &'a [Vec<usize>],
    predictions: &'a Predictions,
) -> WeightedScore<'a> {
    if let Some(score) = probability_scores::prepared(task, metric, truth, predictions) {
        return score;
    }
    let n_classes = predictions.n_classes;
    match task {
        Task::SingleLabel => {
            let one = |classes: &[Vec<usize>]| classes.iter().map(|classes| classes[0]).collect::<Vec<usize>>();
            let (truth, decided) = (one(truth), one(decided));
            let at = SINGLE_LABEL.iter().position(|name| *name == metric);
            Box::new(move |times| {
                Some(single_label::headline(&single_label::counted(&truth, &decided, times, n_classes))[at?])
            })
        }
        Task::MultiLabel => {
            let at = tally::position(metric);
            Box::new(move |times| {
                let mut tally = Tally::new(n_classes);
                for ((truth, decided), &times) in truth.iter().zip(decided).zip(times) {
                    if times > 0 {
                        tally.count(truth, decided, times);
                    }
                }
                Some(tally.scores()[at?])
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metrics::{multi_label, names, probability_scores, single_label};

    type Clip = (Vec<bool>, Vec<u8>, Vec<bool>, u32);

    fn clips(k: usize) -> impl Strategy<Value = Vec<Clip>> {
        let flags = || prop::collection::vec(any::<bool>(), k);
        prop::collection::vec((flags(), prop::collection::vec(0u8..=8, k), flags(), 0u32..4), 1..25)
    }

    fn cases() -> impl Strategy<Value = (usize, Vec<Clip>)> {
        (2usize..6).prop_flat_map(|k| (Just(k), clips(k)))
    }

    fn set(flags: &[bool]) -> Vec<usize> {
        (0..flags.len()).filter(|&class| flags[class]).collect()
    }

    fn tables(task: Task, clips: &[Clip], k: usize) -> indexmap::IndexMap<String, f64> {
        let (truth, decided, predictions) = prepared(task, clips, k);
        let one = |sets: &[Vec<usize>]| sets.iter().map(|set| set[0]).collect::<Vec<_>>();
        let mut metrics = match task {
            Task::SingleLabel => single_label(&one(&truth), &one(&decided), k).metrics,
            Task::MultiLabel => multi_label(&truth, &decided, k).metrics,
        };
        metrics.extend(probability_scores(task, &truth, &predictions));
        metrics
    }

    fn prepared(task: Task, clips: &[Clip], k: usize) -> (Vec<Vec<usize>>, Vec<Vec<usize>>, Predictions) {
        let classes = |flags: &[bool]| match task {
            Task::SingleLabel => vec![set(flags).first().copied().unwrap_or(0)],
            Task::MultiLabel => set(flags),
        };
        let probabilities = clips.iter().flat_map(|clip| clip.1.iter().map(|&n| f32::from(n) / 8.0)).collect();
        (
            clips.iter().map(|clip| classes(&clip.0)).collect(),
            clips.iter().map(|clip| classes(&clip.2)).collect(),
            Predictions { n_classes: k, probabilities },
        )
    }

    proptest! {
        #[test]
        fn a_weighted_clip_is_that_clip_so_many_times((k, clips) in cases()) {
            for task in [Task::SingleLabel, Task::MultiLabel] {
                let (truth, decided, predictions) = prepared(task, &clips, k);
                let times: Vec<u32> = clips.iter().map(|clip| clip.3).collect();
                let repeated: Vec<Clip> =
                    clips.iter().flat_map(|clip| std::iter::repeat_n(clip.clone(), clip.3 as usize)).collect();
                prop_assume!(!repeated.is_empty());
                let (once, many) = (tables(task, &clips, k), tables(task, &repeated, k));
                for name in names(task) {
                    let score = weighted_metric(task, name, &truth, &decided, &predictions);
                    prop_assert_eq!(score(&vec![1; clips.len()]), once.get(name).copied(), "{}", name);
                    match (score(&times), many.get(name)) {
                        (Some(ours), Some(theirs)) => prop_assert!((ours - theirs).abs() < 1e-12, "{name}"),
                        (ours, theirs) => prop_assert_eq!(ours, theirs.copied(), "{}", name),
                    }
                }
            }
        }
    }
}
