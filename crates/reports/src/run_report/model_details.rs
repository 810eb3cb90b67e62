//! Shows one model in detail: errors by class, thresholds, calibration, training.

use std::cmp::Reverse;

use super::figures::Figure;
use super::recording_map::recording_map;
use super::report_data::{ReportData, by_f1};
use crate::page::{Cell, figures, folded, paragraph, table};
use crate::plot::{self, Axis, ClassBar, ConfusionMatrix, Line, LineShape, Marker, Panel, PlotSize, Scale};

use timbre_core::{
    progress::duration,
    text::{count, escape_xml},
};
use timbre_evaluation::{
    aggregation::Aggregate,
    metrics::{
        calibration::{Bins, bin},
        multi_label_confusion,
        threshold_curve::{ThresholdPoint, thinned, threshold_curve},
    },
};
use timbre_models::{CandidateScores, SearchResults};
use timbre_runs::{
    run_dir::{CurvePoint, TrialRecord},
    tables::ScoredSplit,
};

/// Names of the training figures. They show the split on which the epoch was selected, not that of the page.
const TRAINING: [&str; 3] = ["loss", "learning", "learning_rate"];

/// Points of a curve: more cannot be distinguished at this size.
const POINTS: usize = 200;

/// All figures of a trial.
pub fn trial_figures(run: &ReportData, trial: &TrialRecord, scored: &ScoredSplit) -> Vec<Figure> {
    let mut all = vec![confusions(run, scored), classes(run, scored)];
    all.extend(cutoffs(run, scored));
    all.push(calibration(run, scored));
    all.extend(recording_map(run, scored));
    if !trial.epochs.is_empty() {
        let others = run.epochs_of_other_seeds(&trial.trial);
        let panels = plot::learning_panels(&trial.trial.to_string(), &trial.epochs, &others, run.metric());
        let thin = if others.is_empty() { "" } else { " Thin lines: the other seeds." };
        for panel in &panels {
            let name = match panel.y.label.as_str() {
                "loss" => "loss",
                "learning rate" => "learning_rate",
                _ => "learning",
            };
            let drawing = plot::panels(std::slice::from_ref(panel), PlotSize::figure(run.figure_width));
            let caption = match name {
                "loss" => format!("{}.{thin}", count(trial.epochs.len(), "epoch")),
                "learning_rate" => "At the end of each epoch.".to_owned(),
                _ => format!("Scores of each epoch; epochs.csv has every metric.{thin}"),
            };
            all.push(Figure { name, drawing, caption });
        }
    }
    all.extend(curve(run, scored));
    all
}

/// The footer of a figure file: the trial, the run, and the split unless the figure is about the training.
pub fn footer(figure: &Figure, trial: &str, run: &str, split: &str) -> String {
    if TRAINING.contains(&figure.name) {
        format!("{trial} of {run}")
    } else {
        format!("{trial} of {run}, {split} split")
    }
}

pub fn html(run: &ReportData, trial: &TrialRecord, scored: &ScoredSplit, all: &[Figure]) -> String {
    let seeds = run.record.seeds.len();
    let mut html = String::new();
    if seeds > 1 {
        html += &paragraph(&format!("Seed {}; the tables of the run have the other seeds.", trial.trial.seed));
    }
    let drawn: Vec<String> = all.iter().map(Figure::html).collect();
    html += &figures(&drawn);
    html += &class_table(run, scored);
    html += &trial.search.as_ref().map_or(String::new(), search_table);
    if !trial.notes.is_empty() {
        let notes: Vec<String> =
            trial.notes.iter().map(|(name, value)| format!("{}: {}", escape_xml(name), escape_xml(value))).collect();
        html += &format!("<p class=\"quiet\">{}</p>\n", notes.join(" · "));
    }
    html + &format!(
        "<p class=\"quiet\">Training {}, inference {}.</p>\n",
        duration(trial.fit_seconds),
        duration(trial.predict_seconds)
    )
}

fn confusions(run: &ReportData, scored: &ScoredSplit) -> Figure {
    let support: Vec<u64> = scored.scores.per_class.iter().map(|class| class.support).collect();
    let of = |title: &str, counts: &[Vec<u64>], truth: &str, decided: &str| {
        plot::confusion(&ConfusionMatrix {
            title,
            classes: run.names.names(),
            counts,
            support: &support,
            truth,
            decided,
            width: run.figure_width,
        })
    };
    let (drawing, caption) = if run.has_several_labels() {
        let counts = multi_label_confusion(&scored.split.truth(), &scored.decided, run.classes.len());
        (
            of("True and false positives by class", &counts, "true class", "predicted class"),
            "Recordings. Diagonal: the class was predicted correctly. Elsewhere: another class was predicted that the recording does not \
             have. Shares and colours: of the recordings of the row. Rows do not add up, because a recording may have several classes.",
        )
    } else {
        (
            of("Confusion matrix", &scored.scores.confusion, "true class", "predicted class"),
            "Recordings, and their share of the row; correct on the diagonal.",
        )
    };
    let frequent = if run.has_several_labels() { String::new() } else { most_confused(run, &scored.scores.confusion) };
    Figure { name: "confusion", drawing, caption: format!("{caption}{frequent}") }
}

/// The most frequent errors, in words.
fn most_confused(run: &ReportData, counts: &[Vec<u64>]) -> String {
    const NAMED: usize = 3;
    let pairs = counts
        .iter()
        .enumerate()
        .flat_map(|(truth, row)| row.iter().enumerate().map(move |(class, &n)| (n, truth, class)));
    let mut errors: Vec<(u64, usize, usize)> = pairs.filter(|&(n, truth, class)| n > 0 && truth != class).collect();
    errors.sort_by_key(|&(n, ..)| Reverse(n));
    let name = |&(n, truth, class): &(u64, usize, usize)| {
        format!("{} taken for {} ({n})", run.names.name(truth), run.names.name(class))
    };
    let named: Vec<String> = errors.iter().take(NAMED).map(name).collect();
    if named.is_empty() { String::new() } else { format!(" Most frequent errors: {}.", named.join(", ")) }
}

fn classes(run: &ReportData, scored: &ScoredSplit) -> Figure {
    let bar = |class: usize| {
        let own = &scored.scores.per_class[class];
        ClassBar {
            class: run.names.name(class).to_owned(),
            true_positives: own.hits,
            false_negatives: own.support - own.hits,
            false_positives: own.predicted - own.hits,
            note: format!("{:.2}", own.f1),
        }
    };
    let bars: Vec<ClassBar> = by_f1(scored).into_iter().map(bar).collect();
    Figure {
        name: "classes",
        drawing: plot::class_bars("Classes, best first", "F1", &bars, run.figure_width),
        caption: "False positives are recordings of other classes.".to_owned(),
    }
}

/// (probability of the predicted class, whether it is correct) of every recording with a single predicted class.
fn decisions<'a>(scored: &'a ScoredSplit) -> impl Iterator<Item = (f32, bool)> + 'a {
    let split = scored.split;
    scored.decided.iter().enumerate().filter_map(move |(clip, decided)| {
        let class = *decided.first()?;
        if !split.clips[clip].truth.is_known(class) {
            return None;
        }
        Some((split.predictions.row(clip)[class], split.clips[clip].truth.contains(&class)))
    })
}

fn cutoffs(run: &ReportData, scored: &ScoredSplit) -> Vec<Figure> {
    let share = |label: &str| Axis { label: label.to_owned(), scale: Scale::Share };
    let steps = threshold_curve(scored.split.pairs());
    let points = |steps: &[ThresholdPoint], point: &dyn Fn(&ThresholdPoint) -> (f64, f64)| -> Vec<(f64, f64)> {
        thinned(steps, POINTS).map(point).collect()
    };
    // A value by the threshold, as steps: it holds from the next smaller score up to its own.
    let by_threshold = |name: &str, steps: &[ThresholdPoint], value: &dyn Fn(&ThresholdPoint) -> f64| {
        let mut points = points(steps, &|step| (f64::from(step.cutoff), value(step)));
        points.extend(points.last().map(|lowest| (0.0, lowest.1)));
        points.reverse();
        Line { shape: LineShape::Steps, ..Line::new(name, points) }
    };
    let of_class = |class: &usize| (run.names.name(*class).to_owned(), threshold_curve(scored.split.cases(*class)));
    let drawn = drawn_classes(scored);
    let of_classes: Vec<(String, Vec<ThresholdPoint>)> = drawn.iter().map(of_class).collect();
    let named = || std::iter::once(("all classes", &steps)).chain(of_classes.iter().map(|(name, own)| (&**name, own)));
    // The average precision is the area under these steps.
    let precision_line = |(name, steps): (&str, &Vec<ThresholdPoint>)| {
        let mut points = points(steps, &|step| (step.recall, step.precision));
        points.splice(0..0, points.first().map(|first| (0.0, first.1)));
        let area = areas(steps, |before, step| step.precision * (step.recall - before.recall));
        Line { shape: LineShape::Steps, ..Line::new(format!("{name} {area:.2}"), points) }
    };
    // Recordings with equal scores are a straight line, as in the area under the curve.
    let roc_line = |(name, steps): (&str, &Vec<ThresholdPoint>)| {
        let mut points = points(steps, &|step| (step.false_positive_rate, step.recall));
        points.insert(0, (0.0, 0.0));
        let area = areas(steps, |before, step| {
            (step.false_positive_rate - before.false_positive_rate) * (step.recall + before.recall) / 2.0
        });
        Line::new(format!("{name} {area:.2}"), points)
    };
    let each = if run.classes.len() < plot::LINES {
        "Over all pairs of recording and class, and of each class"
    } else {
        "Over all pairs of recording and class, and of the two classes with the largest and the three with the smallest average precision"
    };
    let decided = (metric_of(scored, "recall_micro"), metric_of(scored, "precision_micro"));
    let mark = match (run.has_several_labels(), decided) {
        (true, (Some(x), Some(y))) => {
            Some(Marker { x, y: Some(y), text: format!("as run: recall {x:.2}, precision {y:.2}") })
        }
        _ => None,
    };
    let precision_recall = Panel {
        title: "Precision and recall".to_owned(),
        x: share("recall"),
        y: share("precision"),
        lines: named().map(precision_line).collect(),
        mark,
    };
    let roc = Panel {
        title: "ROC".to_owned(),
        x: share("false positive rate"),
        y: share("true positive rate"),
        lines: named().map(roc_line).collect(),
        mark: None,
    };
    let votes = scored.split.windows.is_some() && run.decision_rule.aggregate == Aggregate::Vote;
    let (along, caption) = if run.has_several_labels() {
        let (label, chosen) = if votes {
            ("required share of windows", run.decision_rule.window_fraction)
        } else {
            ("threshold", run.decision_rule.cutoff)
        };
        let text = if run.decision_rule.cutoffs.is_empty() || votes {
            format!("as run: {chosen}")
        } else {
            format!("common: {chosen}")
        };
        let of = |name: &str, value: &dyn Fn(&ThresholdPoint) -> f64| by_threshold(name, &steps, value);
        let panel = Panel {
            title: "Scores by threshold".to_owned(),
            x: share(label),
            y: share("score"),
            lines: vec![
                of("F1", &|step| step.f1),
                of("precision", &|step| step.precision),
                of("recall", &|step| step.recall),
            ],
            mark: Some(Marker { x: chosen, y: None, text }),
        };
        let warning = match run.split() {
            "test" => {
                " Do not choose a threshold from this figure, because it would be tuned on the test split; use the validation split (timbre thresholds)."
            }
            _ => "",
        };
        (panel, format!("Over all pairs of recording and class, with one threshold for all classes.{warning}"))
    } else {
        let steps = threshold_curve(decisions(scored));
        let all = scored.split.clips.len().max(1) as f64;
        let of = |name: &str, value: &dyn Fn(&ThresholdPoint) -> f64| by_threshold(name, &steps, value);
        let panel = Panel {
            title: "Accuracy against coverage".to_owned(),
            x: share("confidence threshold"),
            y: share("share of recordings"),
            lines: vec![of("accuracy", &|step| step.precision), of("coverage", &|step| step.named as f64 / all)],
            mark: None,
        };
        (panel, "Coverage: the share of recordings whose predicted class has at least this probability. Accuracy: on these recordings.".to_owned())
    };
    let draw = |panel: &Panel| plot::panels(std::slice::from_ref(panel), PlotSize::figure(run.figure_width));
    let threshold = if votes { "required share of windows" } else { "threshold on the probability" };
    let (pairs, present) = scored
        .split
        .pairs()
        .fold((0usize, 0usize), |(n, hits), (_, is_present)| (n + 1, hits + usize::from(is_present)));
    let prevalence = present as f64 / pairs.max(1) as f64;
    vec![
        Figure {
            name: "precision_recall",
            drawing: draw(&precision_recall),
            caption: format!(
                "{each}, for every {threshold}; with the average precision. A random ranking has a precision of {prevalence:.2} over all pairs."
            ),
        },
        Figure {
            name: "roc",
            drawing: draw(&roc),
            caption: format!(
                "{each}, for every {threshold}; with the area under the curve. A random ranking is the diagonal. threshold_curves.csv has all classes."
            ),
        },
        Figure { name: "thresholds", drawing: draw(&along), caption },
    ]
}

/// The sum of the areas between neighbouring points of a curve, which begins at 0.
fn areas(steps: &[ThresholdPoint], area: impl Fn(&ThresholdPoint, &ThresholdPoint) -> f64) -> f64 {
    let zero = ThresholdPoint {
        cutoff: 1.0,
        named: 0,
        hits: 0,
        precision: 0.0,
        recall: 0.0,
        false_positive_rate: 0.0,
        f1: 0.0,
    };
    let befores = std::iter::once(&zero).chain(steps);
    befores.zip(steps).map(|(before, step)| area(before, step)).sum()
}

/// The classes whose curves are drawn: all of a few, otherwise two of the best and three of the worst, best first.
fn drawn_classes(scored: &ScoredSplit) -> Vec<usize> {
    let mut areas: Vec<(usize, f64)> = scored
        .split
        .areas()
        .iter()
        .enumerate()
        .filter_map(|(class, own)| Some((class, own.average_precision?)))
        .collect();
    if areas.len() >= plot::LINES {
        areas.sort_by(|a, b| b.1.total_cmp(&a.1));
        areas.drain(2..areas.len() - 3);
    }
    areas.into_iter().map(|(class, _)| class).collect()
}

fn metric_of(scored: &ScoredSplit, name: &str) -> Option<f64> {
    scored.scores.metrics.get(name).copied()
}

fn calibration(run: &ReportData, scored: &ScoredSplit) -> Figure {
    let mut bins = Bins::default();
    let mut add = |(p, is_correct): (f32, bool)| bins.add(bin(f64::from(p)), f64::from(p), is_correct, 1);
    let what = if run.has_several_labels() {
        scored.split.pairs().for_each(&mut add);
        if scored.split.windows.is_some() && run.decision_rule.aggregate == Aggregate::Vote {
            "a pair of recording and class, with the share of windows that voted as its probability"
        } else {
            "a pair of recording and class"
        }
    } else {
        decisions(scored).for_each(&mut add);
        "a recording and its predicted class"
    };
    let points: Vec<(f64, f64, u64)> = bins.filled().collect();
    Figure {
        name: "calibration",
        drawing: plot::reliability("Calibration", &points, PlotSize::figure(run.figure_width)),
        caption: format!(
            "A case is {what}. The area of a circle is proportional to its cases; a vertical line is the 95 % interval (Wilson) of a bin, \
             as if its cases were independent. Expected calibration error {:.3}.",
            bins.error()
        ),
    }
}

/// A score by a parameter of the model.
fn curve(run: &ReportData, scored: &ScoredSplit) -> Option<Figure> {
    let own = &scored.split.curve;
    let first = own.first()?;
    let line = |name: &str, of: &dyn Fn(&CurvePoint) -> Option<f64>| {
        Line::new(name, own.iter().filter_map(|point| Some((point.value, of(point)?))).collect())
    };
    let bounds = [line("95 % from", &|point| Some(point.interval?.0)), line("to", &|point| Some(point.interval?.1))];
    let has_interval = !bounds[0].points.is_empty();
    let bounds = bounds.into_iter().filter(|_| has_interval);
    let lines = std::iter::once(line(&first.metric, &|point| point.score)).chain(bounds).collect();
    let panel = Panel {
        title: format!("Score by {}", first.parameter),
        x: Axis { label: first.parameter.clone(), scale: Scale::Counts },
        y: Axis { label: first.metric.clone(), scale: Scale::Linear },
        lines,
        mark: None,
    };
    let drawing = plot::panels(&[panel], PlotSize::figure(run.figure_width));
    let interval = if has_interval { " The interval comes from a bootstrap over songs." } else { "" };
    let caption = format!("On the {} split: for inspection, not for selection.{interval}", run.split());
    Some(Figure { name: "curve", drawing, caption })
}

/// The values that a search within the model tried, best first.
fn search_table(search: &SearchResults) -> String {
    let mut ranked: Vec<(usize, &CandidateScores)> = search.ranks().into_iter().zip(&search.candidates).collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    let row = |(rank, own): &(usize, &CandidateScores)| {
        let mean = own.mean();
        vec![
            Cell::text(&own.text()),
            Cell::number(mean.map(|(mean, _)| mean)),
            Cell::number(mean.map(|(_, deviation)| deviation)),
            Cell::count(*rank as u64),
        ]
    };
    let metric = format!("{}, mean of the folds", search.metric);
    let headings = [("values", false), (metric.as_str(), true), ("deviation", true), ("rank", true)];
    let title = format!("Search by {}-fold cross-validation on the training split", search.chosen().scores.len());
    folded(&title, &table("", &headings, &ranked.iter().map(row).collect::<Vec<_>>()))
}

fn class_table(run: &ReportData, scored: &ScoredSplit) -> String {
    let (areas, means) = (scored.split.areas(), run.class_means(scored.trial));
    let row = |class: usize| {
        let own = &scored.scores.per_class[class];
        vec![
            Cell::text(run.names.name(class)),
            Cell::count(own.support),
            Cell::count(own.predicted),
            Cell::number(Some(own.precision)),
            Cell::number(Some(own.recall)),
            Cell::number(Some(own.f1)),
            Cell::number(areas[class].average_precision),
            Cell::number(areas[class].roc_auc),
            Cell::count(own.predicted - own.hits),
            Cell::count(own.support - own.hits),
        ]
        .into_iter()
        .chain(means.get(class).into_iter().flatten().map(|text| Cell::text(text)))
        .collect()
    };
    let mut headings = vec![
        ("class", false),
        ("recordings", true),
        ("predicted", true),
        ("precision", true),
        ("recall", true),
        ("F1", true),
        ("average precision", true),
        ("ROC AUC", true),
        ("false positives", true),
        ("false negatives", true),
    ];
    if !means.is_empty() {
        headings.extend([("precision, all seeds", true), ("recall, all seeds", true), ("F1, all seeds", true)]);
    }
    let rows: Vec<Vec<Cell>> = by_f1(scored).into_iter().map(row).collect();
    folded("Scores by class", &table("", &headings, &rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn training_figures_name_no_split_because_they_show_another_one() {
        let panels = plot::learning_panels("mel.cnn.s1", &[], &[], "");
        let figure = |name| Figure { name, drawing: plot::panels(&panels, PlotSize::FIGURE), caption: String::new() };
        let of = |name| footer(&figure(name), "mel.cnn.s1", "x 01234567", "test");
        assert_eq!(of("confusion"), "mel.cnn.s1 of x 01234567, test split");
        assert_eq!(of("learning"), "mel.cnn.s1 of x 01234567");
        assert_eq!(of("loss"), of("learning"));
    }
}
