//! Draws the map of recordings: where a model places them, by the principal components of its output before the last activation.

use std::cmp::Reverse;

use super::figures::Figure;
use super::report_data::ReportData;
use crate::plot::scatter::{Point, PointGroup, scatter};
use crate::principal_components::principal_components;
use timbre_core::labels::Task;
use timbre_runs::tables::ScoredSplit;

/// Recordings on the map, evenly spaced: each has a name of its own, and the page has to stay small.
const RECORDINGS: usize = 400;
/// Classes with a colour and shape of their own.
const CLASSES: usize = 18;
/// Probabilities of 0 and 1 have no finite logit.
const SMALLEST: f64 = 1e-6;

/// None for too few recordings.
pub fn recording_map(run: &ReportData, scored: &ScoredSplit) -> Option<Figure> {
    let clips = &scored.split.clips;
    let n = clips.len().min(RECORDINGS);
    if n < 3 || run.classes.len() < 2 {
        return None;
    }
    let shown: Vec<usize> = (0..n).map(|at| at * clips.len() / n).collect();
    let task = run.decision_rule.task;
    let mut rows: Vec<Vec<f64>> = shown.iter().map(|&at| logits(task, scored.split.predictions.row(at))).collect();
    for column in 0..run.classes.len() {
        let mean = rows.iter().map(|row| row[column]).sum::<f64>() / n as f64;
        rows.iter_mut().for_each(|row| row[column] -= mean);
    }
    let (places, shares) = principal_components(&rows);
    let names = |classes: &[usize]| -> String {
        let names: Vec<&str> = classes.iter().map(|&class| run.names.name(class)).collect();
        if names.is_empty() { "no class".to_owned() } else { names.join(", ") }
    };
    let mut groups: Vec<(usize, PointGroup)> = Vec::new();
    let drawn = drawn_classes(shown.iter().map(|&at| &clips[at].truth[..]), run.classes.len());
    for (&at, (x, y)) in shown.iter().zip(places) {
        let truth = &clips[at].truth[..];
        let (key, name) = match truth {
            [class] if drawn.contains(class) => (*class, run.names.name(*class).to_owned()),
            [_] => (usize::MAX, "other classes".to_owned()),
            [] => (usize::MAX - 1, "no class".to_owned()),
            _ => (usize::MAX - 2, "several classes".to_owned()),
        };
        let point = Point {
            x,
            y,
            name: format!("{}: {}, predicted {}", clips[at].path, names(truth), names(&scored.decided[at])),
        };
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, group)) => group.points.push(point),
            None => groups.push((key, PointGroup { name, points: vec![point] })),
        }
    }
    groups.sort_by_key(|(key, _)| *key);
    let groups: Vec<PointGroup> = groups.into_iter().map(|(_, group)| group).collect();
    let axes = [0, 1].map(|n| format!("component {} ({:.0} % of the variance)", n + 1, 100.0 * shares[n]));
    let of_all =
        if n < clips.len() { format!(" {n} of {} recordings, evenly spaced.", clips.len()) } else { String::new() };
    Some(Figure {
        name: "map",
        drawing: scatter("Recordings as the model places them", [&axes[0], &axes[1]], &groups, run.figure_width),
        caption: format!(
            "The two principal components of the logits of each recording; colours and shapes are the true classes. The pointer shows the \
             recording, its classes and the predicted ones. Classes that overlap here may be apart in other components.{of_all}"
        ),
    })
}

/// The output before the last activation: of a single-label model up to a constant, which is left out.
fn logits(task: Task, probabilities: &[f32]) -> Vec<f64> {
    let clipped = probabilities.iter().map(|&p| f64::from(p).clamp(SMALLEST, 1.0 - SMALLEST));
    match task {
        Task::MultiLabel => clipped.map(|p| (p / (1.0 - p)).ln()).collect(),
        Task::SingleLabel => {
            let logs: Vec<f64> = clipped.map(f64::ln).collect();
            let mean = logs.iter().sum::<f64>() / logs.len() as f64;
            logs.iter().map(|log| log - mean).collect()
        }
    }
}

/// The classes that most recordings have alone.
fn drawn_classes<'a>(truths: impl Iterator<Item = &'a [usize]>, n_classes: usize) -> Vec<usize> {
    let mut counts = vec![0; n_classes];
    for truth in truths {
        if let [class] = truth {
            counts[*class] += 1;
        }
    }
    let mut classes: Vec<usize> = (0..n_classes).filter(|&class| counts[class] > 0).collect();
    classes.sort_by_key(|&class| (Reverse(counts[class]), class));
    classes.truncate(CLASSES);
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logits_are_those_of_the_softmax_without_their_mean_and_of_the_sigmoid() {
        let scores = [2.0f64, -1.0, 0.5];
        let sum: f64 = scores.iter().map(|score| score.exp()).sum();
        let shares: Vec<f32> = scores.iter().map(|score| (score.exp() / sum) as f32).collect();
        for (found, score) in logits(Task::SingleLabel, &shares).iter().zip(scores) {
            assert!((found - (score - 0.5)).abs() < 1e-5);
        }
        let sigmoids: Vec<f32> = scores.iter().map(|score| (1.0 / (1.0 + (-score).exp())) as f32).collect();
        for (found, score) in logits(Task::MultiLabel, &sigmoids).iter().zip(scores) {
            assert!((found - score).abs() < 1e-5);
        }
        assert!(logits(Task::SingleLabel, &[1.0, 0.0]).iter().all(|logit| logit.is_finite()));
    }

    #[test]
    fn the_most_frequent_classes_are_drawn() {
        let truths: [&[usize]; 6] = [&[2], &[2], &[0], &[0, 1], &[], &[3]];
        assert_eq!(drawn_classes(truths.into_iter(), 4), [2, 0, 3]);
        let many: Vec<Vec<usize>> = (0..30).map(|class| vec![class]).collect();
        assert_eq!(drawn_classes(many.iter().map(Vec::as_slice), 30).len(), CLASSES);
    }
}
