//! Trivial baselines: the scores without any model, shown beside every result.
//!
//! Conventions: a baseline knows the training labels and nothing of the clips. `commonest` always decides the most frequent
//! class of the training split (of equal frequencies the first). `chance` draws a class with its frequency in the training
//! split; its scores are exact expectations, so only metrics that are linear in the confusion matrix are given. With several
//! classes per clip, the classes that a baseline decides have score 1 and all others 0, in every clip; its rankings are scored
//! by these (a constant score has no ranking value: an area of a half, an average precision of the share of positives). A log
//! loss or calibration error of such certainties would measure the clipping and not the data: they are left out.

use indexmap::IndexMap;

use super::metric::probability_scores;
use super::multi_label::multi_label;
use super::single_label::single_label;
use crate::predictions::Predictions;
use timbre_core::labels::{Labels, Task};

/// The scores of a trivial baseline by name, as in [`Scores`](super::Scores).
#[derive(Clone, Debug, PartialEq)]
pub struct TrivialBaseline {
    /// `commonest`, `chance` or another rule.
    pub name: &'static str,
    /// Its scores by metric.
    pub metrics: IndexMap<String, f64>,
}

/// The baselines for one class per clip: `commonest` and `chance`. Empty without training clips.
pub fn single_label_baselines(train: &[usize], truth: &[usize], n_classes: usize) -> Vec<TrivialBaseline> {
    let Some(commonest) = most_frequent_class(train, n_classes) else { return Vec::new() };
    let always = single_label(truth, &vec![commonest; truth.len()], n_classes);
    vec![
        TrivialBaseline { name: "commonest", metrics: always.metrics },
        TrivialBaseline { name: "chance", metrics: chance(train, truth, n_classes) },
    ]
}

/// The classes that a baseline decides for every recording, from the number of training clips of each class. None for
/// `chance`, whose decisions vary.
pub fn constant_decisions(task: Task, name: &str, trained_on: &[usize]) -> Option<Vec<usize>> {
    let mut ranked: Vec<usize> = (0..trained_on.len()).filter(|&class| trained_on[class] > 0).collect();
    ranked.sort_by_key(|&class| std::cmp::Reverse(trained_on[class]));
    let mut classes = match (task, name) {
        (_, "commonest") => vec![*ranked.first()?],
        (Task::MultiLabel, "nothing") => Vec::new(),
        (Task::MultiLabel, "two_commonest") => ranked[..ranked.len().min(2)].to_vec(),
        (Task::MultiLabel, "all") => (0..trained_on.len()).collect(),
        _ => return None,
    };
    classes.sort_unstable();
    Some(classes)
}

/// The baselines for any number of classes per clip: `nothing`, `commonest` (the class with most training clips),
/// `two_commonest` and `all`; the middle two only if some training clip has a class.
pub fn multi_label_baselines(train: &[Vec<usize>], truth: &[Labels], n_classes: usize) -> Vec<TrivialBaseline> {
    let named: Vec<usize> = train.iter().flatten().copied().collect();
    let counts = counts(&named, n_classes);
    let mut ranked: Vec<usize> = (0..n_classes).filter(|&class| counts[class] > 0).collect();
    ranked.sort_by_key(|&class| std::cmp::Reverse(counts[class]));
    let always = |name: &'static str, classes: &[usize]| {
        let mut classes = classes.to_vec();
        classes.sort_unstable();
        let row: Vec<f32> = (0..n_classes).map(|class| if classes.contains(&class) { 1.0 } else { 0.0 }).collect();
        let predictions = Predictions { n_classes, probabilities: row.repeat(truth.len()) };
        let mut ranked = probability_scores(Task::MultiLabel, truth, &predictions);
        ranked.retain(|name, _| !matches!(name.as_str(), "log_loss" | "brier" | "calibration_error"));
        let mut metrics = multi_label(truth, &vec![classes; truth.len()], n_classes).metrics;
        metrics.extend(ranked);
        TrivialBaseline { name, metrics }
    };
    let mut baselines = vec![always("nothing", &[])];
    if !ranked.is_empty() {
        baselines.push(always("commonest", &ranked[..1]));
        baselines.push(always("two_commonest", &ranked[..ranked.len().min(2)]));
    }
    baselines.push(always("all", &(0..n_classes).collect::<Vec<_>>()));
    baselines
}

/// The class with the most clips; of equal numbers the first.
pub fn most_frequent_class(train: &[usize], n_classes: usize) -> Option<usize> {
    let counts = counts(train, n_classes);
    (0..n_classes).filter(|&class| counts[class] > 0).reduce(|best, c| if counts[c] > counts[best] { c } else { best })
}

fn chance(train: &[usize], truth: &[usize], n_classes: usize) -> IndexMap<String, f64> {
    let (drawn, wanted) = (counts(train, n_classes), counts(truth, n_classes));
    let share = |class: usize| drawn[class] as f64 / train.len() as f64;
    let accuracy =
        (0..n_classes).map(|class| share(class) * wanted[class] as f64).sum::<f64>() / truth.len().max(1) as f64;
    let present: Vec<usize> = (0..n_classes).filter(|&class| wanted[class] > 0).collect();
    let balanced = present.iter().map(|&class| share(class)).sum::<f64>() / present.len().max(1) as f64;
    IndexMap::from([("accuracy".to_owned(), accuracy), ("balanced_accuracy".to_owned(), balanced)])
}

fn counts(labels: &[usize], n_classes: usize) -> Vec<u64> {
    let mut counts = vec![0; n_classes];
    labels.iter().for_each(|&class| counts[class] += 1);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbre_core::seed::{Seed, uniform_below};

    #[test]
    fn the_most_frequent_training_class_is_decided_whatever_the_test_split_has() {
        let baselines = single_label_baselines(&[2, 1, 2, 0], &[0, 0, 0, 2], 4);
        assert_eq!(baselines[0].name, "commonest");
        assert_eq!(baselines[0].metrics["accuracy"], 0.25);
        assert_eq!(baselines[0].metrics["balanced_accuracy"], 0.5);
        assert_eq!(most_frequent_class(&[3, 1, 1, 3], 5), Some(1));
        assert_eq!(most_frequent_class(&[], 5), None);
    }

    #[test]
    fn the_multi_label_baselines_decide_none_the_most_frequent_and_all() {
        let train = [vec![1, 2], vec![2], vec![0, 2], vec![1]];
        let truth = [vec![1, 2], vec![0]].map(Labels::from);
        let baselines = multi_label_baselines(&train, &truth, 4);
        let of = |name: &str, metric: &str| baselines.iter().find(|b| b.name == name).unwrap().metrics[metric];
        assert_eq!(of("nothing", "hamming"), 5.0 / 8.0);
        assert_eq!(of("commonest", "precision_micro"), 0.5);
        assert_eq!(of("two_commonest", "exact_match"), 0.5);
        assert_eq!(of("all", "recall_micro"), 1.0);
        assert_eq!((of("nothing", "roc_auc_macro"), of("all", "roc_auc_micro")), (0.5, 0.5));
        assert_eq!(of("nothing", "average_precision_micro"), 3.0 / 8.0);
        assert!(baselines.iter().all(|b| !b.metrics.contains_key("log_loss")));
    }

    /// The test split of IRMAS has 2,874 recordings and 4,917 labels. The scores of its baselines need only these counts.
    #[test]
    fn the_baselines_of_irmas_match_the_literature() {
        // cel cla flu gac gel org pia sax tru vio voi, as in the test split.
        let counts = [111, 62, 163, 535, 942, 361, 995, 326, 167, 211, 1044];
        assert_eq!(counts.iter().sum::<usize>(), 4917);
        let mut truth = vec![Vec::new(); 2874];
        // Dealt out in turn, so that no recording gets a class twice.
        let dealt = counts.iter().enumerate().flat_map(|(class, &n)| std::iter::repeat_n(class, n));
        dealt.enumerate().for_each(|(at, class)| truth[at % 2874].push(class));
        let train: Vec<Vec<usize>> =
            counts.iter().enumerate().flat_map(|(class, &n)| std::iter::repeat_n(vec![class], n)).collect();
        let truth: Vec<Labels> = truth.into_iter().map(Labels::from).collect();
        let baselines = multi_label_baselines(&train, &truth, 11);
        let of = |name: &str, metric: &str| baselines.iter().find(|b| b.name == name).unwrap().metrics[metric];
        let expected = [
            ("nothing", "hamming", 0.8445),
            ("nothing", "f1_micro", 0.0),
            ("commonest", "hamming", 0.8196),
            ("commonest", "f1_micro", 0.268),
            ("commonest", "f1_macro", 0.048),
            ("two_commonest", "hamming", 0.7916),
            ("two_commonest", "f1_micro", 0.382),
            ("two_commonest", "f1_macro", 0.095),
            ("all", "hamming", 0.1555),
            ("all", "f1_micro", 0.269),
            ("all", "f1_macro", 0.250),
            ("nothing", "average_precision_macro", 0.1555),
        ];
        for (name, metric, value) in expected {
            let places = if metric == "hamming" || value == 0.1555 { 5e-5 } else { 5e-4 };
            assert!((of(name, metric) - value).abs() <= places, "{name} {metric}: {}, not {value}", of(name, metric));
        }
    }

    #[test]
    fn constant_decisions_have_the_scores_of_their_baseline() {
        let trained_on = [3, 1, 0, 5];
        let one: Vec<usize> =
            trained_on.iter().enumerate().flat_map(|(class, &n)| std::iter::repeat_n(class, n)).collect();
        let several: Vec<Vec<usize>> = one.iter().map(|&class| vec![class]).collect();
        let truth = [vec![0, 3], vec![1], vec![], vec![3]].map(Labels::from);
        for own in multi_label_baselines(&several, &truth, 4) {
            let decided = constant_decisions(Task::MultiLabel, own.name, &trained_on).unwrap();
            let scores = multi_label(&truth, &vec![decided; 4], 4).metrics;
            assert!(scores.iter().all(|(name, value)| own.metrics[name] == *value), "{}", own.name);
        }
        let truth = [3, 0, 1];
        let own = &single_label_baselines(&one, &truth, 4)[0];
        let decided = constant_decisions(Task::SingleLabel, own.name, &trained_on).unwrap();
        assert_eq!(single_label(&truth, &[decided[0]; 3], 4).metrics, own.metrics);
        assert_eq!(constant_decisions(Task::SingleLabel, "chance", &trained_on), None);
    }

    #[test]
    fn chance_is_the_average_score_of_drawn_decisions() {
        let train = [0, 0, 0, 1, 1, 2];
        let truth: Vec<usize> = (0..300).map(|i| [0, 1, 1, 2][i % 4]).collect();
        let expected = &single_label_baselines(&train, &truth, 4)[1].metrics;
        let mut rng = Seed::new(5).rng();
        let mut sums = [0.0; 2];
        for _ in 0..400 {
            let drawn: Vec<usize> = truth.iter().map(|_| train[uniform_below(&mut rng, 6) as usize]).collect();
            let scores = single_label(&truth, &drawn, 4).metrics;
            sums[0] += scores["accuracy"] / 400.0;
            sums[1] += scores["balanced_accuracy"] / 400.0;
        }
        assert!((sums[0] - expected["accuracy"]).abs() < 0.005, "{sums:?} {expected:?}");
        assert!((sums[1] - expected["balanced_accuracy"]).abs() < 0.005, "{sums:?} {expected:?}");
    }
}
