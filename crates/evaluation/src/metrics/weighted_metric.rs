//! A prepared metric that can be evaluated for any weights of the clips: a bootstrap evaluates it a thousand times.

use super::WeightedScore;
use super::metric::{Formula, formula};
use super::tally::Tally;
use crate::predictions::Predictions;
use timbre_core::labels::{Labels, Task};

/// A metric of these decisions and probabilities. With every clip counted once it equals the number in the tables to the last
/// bit. It gives None where it is undefined, and always where the task has no such metric.
pub fn weighted_metric<'a>(
    task: Task,
    metric: &str,
    truth: &'a [Labels],
    decided: &'a [Vec<usize>],
    predictions: &'a Predictions,
) -> WeightedScore<'a> {
    let tally = move |times: &[u32], count: fn(&mut Tally, &Labels, &[usize], u32)| {
        let mut tally = Tally::new(predictions.n_classes);
        for ((truth, decided), &times) in truth.iter().zip(decided).zip(times) {
            if times > 0 {
                count(&mut tally, truth, decided, times);
            }
        }
        tally
    };
    match formula(task, metric) {
        None => Box::new(|_| None),
        Some(Formula::Probabilities(prepare)) => prepare(truth, predictions),
        Some(Formula::Recordings(score)) => Box::new(move |times| Some(score(&tally(times, Tally::count)))),
        Some(Formula::Classes(score)) => Box::new(move |times| Some(score(&tally(times, Tally::count_classes)))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metrics::{multi_label, names, probability_scores, single_label};

    type Clip = (Vec<bool>, Vec<u8>, Vec<bool>, u32, Vec<bool>);

    fn clips(k: usize) -> impl Strategy<Value = Vec<Clip>> {
        let flags = || prop::collection::vec(any::<bool>(), k);
        prop::collection::vec((flags(), prop::collection::vec(0u8..=8, k), flags(), 0u32..4, flags()), 1..25)
    }

    fn cases() -> impl Strategy<Value = (usize, Vec<Clip>)> {
        (2usize..6).prop_flat_map(|k| (Just(k), clips(k)))
    }

    fn set(flags: &[bool]) -> Vec<usize> {
        (0..flags.len()).filter(|&class| flags[class]).collect()
    }

    fn tables(task: Task, clips: &[Clip], k: usize) -> indexmap::IndexMap<String, f64> {
        let (truth, decided, predictions) = prepared(task, clips, k);
        let mut metrics = match task {
            Task::SingleLabel => {
                let (truth, decided): (Vec<usize>, Vec<usize>) =
                    truth.iter().zip(&decided).map(|(truth, decided)| (truth[0], decided[0])).unzip();
                single_label(&truth, &decided, k).metrics
            }
            Task::MultiLabel => multi_label(&truth, &decided, k).metrics,
        };
        metrics.extend(probability_scores(task, &truth, &predictions));
        metrics
    }

    fn prepared(task: Task, clips: &[Clip], k: usize) -> (Vec<Labels>, Vec<Vec<usize>>, Predictions) {
        let classes = |flags: &[bool]| match task {
            Task::SingleLabel => vec![set(flags).first().copied().unwrap_or(0)],
            Task::MultiLabel => set(flags),
        };
        let probabilities = clips.iter().flat_map(|clip| clip.1.iter().map(|&n| f32::from(n) / 8.0)).collect();
        let truth = |clip: &Clip| match task {
            Task::SingleLabel => classes(&clip.0).into(),
            Task::MultiLabel => Labels::new(set(&clip.0), set(&clip.4)),
        };
        (
            clips.iter().map(truth).collect(),
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
