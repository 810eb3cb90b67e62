//! One model in detail: its errors by class, its cut-offs, how far its probabilities can be believed, its training.

use super::figures::Figure;
use super::page::{Cell, figures, folded, paragraph, table, text};
use super::report_data::{ReportData, by_f1};
use crate::plot::{self, Axis, ClassBar, ConfusionMatrix, Line, Marker, Panel, PlotSize, Scale};
use timbre_evaluation::aggregation::Aggregate;
use timbre_evaluation::metrics::average_precision::average_precision;
use timbre_evaluation::metrics::calibration::{Bins, bin};
use timbre_evaluation::metrics::multi_label_confusion;
use timbre_evaluation::metrics::precision_recall_curve::{PrecisionRecallPoint, precision_recall_curve};
use timbre_evaluation::metrics::sorted_scores::SortedScores;
use timbre_runs::run_dir::TrialRecord;
use timbre_runs::tables::ScoredSplit;

/// Names of the figures of the training: they show the split on which an epoch was chosen, not that of the page.
const TRAINING: [&str; 2] = ["loss", "learning"];

/// Points of a line: more cannot be told apart on so small a paper.
const POINTS: usize = 200;

/// Everything that is drawn of a unit.
pub fn of_unit(run: &ReportData, unit: &TrialRecord, scored: &ScoredSplit) -> Vec<Figure> {
    let mut all = vec![confusions(run, scored), classes(run, scored)];
    all.extend(cutoffs(run, scored));
    all.push(calibration(run, scored));
    if !unit.epochs.is_empty() {
        let panels = plot::learning_panels(&unit.trial.to_string(), &unit.epochs);
        for (panel, name) in panels.iter().zip(TRAINING) {
            let drawing = plot::panels(std::slice::from_ref(panel), PlotSize::FIGURE);
            let caption = match name {
                "loss" => format!("{} epochs.", unit.epochs.len()),
                _ => "Scores of each epoch; every metric stands in epochs.csv.".to_owned(),
            };
            all.push(Figure { name, drawing, caption });
        }
    }
    all.extend(curve(run, scored));
    all
}

/// What stands below a figure that is a file of its own: whose it is, and the split only where it is of the split.
pub fn whose(figure: &Figure, unit: &str, run: &str, split: &str) -> String {
    if TRAINING.contains(&figure.name) { format!("{unit} of {run}") } else { format!("{unit} of {run}, {split} split") }
}

pub fn html(run: &ReportData, unit: &TrialRecord, scored: &ScoredSplit, all: &[Figure]) -> String {
    let seeds = run.record.seeds.len();
    let mut html = String::new();
    if seeds > 1 {
        html += &paragraph(&format!(
            "Seed {}; the others are alike in kind and stand in the tables of the run.",
            unit.trial.seed
        ));
    }
    let drawn: Vec<String> = all.iter().map(Figure::html).collect();
    html += &figures(&drawn);
    html += &class_table(run, scored);
    if !unit.notes.is_empty() {
        let notes: Vec<String> =
            unit.notes.iter().map(|(name, value)| format!("{}: {}", text(name), text(value))).collect();
        html += &format!("<p class=\"quiet\">{}</p>\n", notes.join(" · "));
    }
    html + &format!(
        "<p class=\"quiet\">Fitted in {}, asked in {}.</p>\n",
        took(unit.fit_seconds),
        took(unit.predict_seconds)
    )
}

/// A time that may be short.
fn took(seconds: f64) -> String {
    if seconds >= 1.0 { format!("{seconds:.1} s") } else { format!("{:.1} ms", 1000.0 * seconds) }
}

fn confusions(run: &ReportData, scored: &ScoredSplit) -> Figure {
    let support: Vec<u64> = scored.scores.per_class.iter().map(|class| class.support).collect();
    let of = |title: &str, counts: &[Vec<u64>], truth: &str, decided: &str| {
        plot::confusion(&ConfusionMatrix {
            title,
            classes: run.classes.names(),
            counts,
            support: &support,
            truth,
            decided,
        })
    };
    let (drawing, caption) = if run.has_several_labels() {
        let counts = multi_label_confusion(&scored.split.truth(), &scored.decided, run.classes.len());
        (
            of("Found, and named by mistake", &counts, "is there", "was named"),
            "On the diagonal recordings of the class in which it was found; elsewhere those in which another class was named that \
             is not there; the stronger the colour, the larger the share of the recordings of the row. Rows do not add up: a recording \
             may have several classes.",
        )
    } else {
        (
            of("Confusion matrix", &scored.scores.confusion, "truth", "decided"),
            "Recordings; right on the diagonal. The stronger the colour, the larger the share of the row.",
        )
    };
    Figure { name: "confusion", drawing, caption: caption.to_owned() }
}

fn classes(run: &ReportData, scored: &ScoredSplit) -> Figure {
    let bar = |class: usize| {
        let own = &scored.scores.per_class[class];
        ClassBar {
            class: run.classes.name(class).to_owned(),
            found: own.hits,
            missed: own.support - own.hits,
            false_alarms: own.predicted - own.hits,
            note: format!("{:.2}", own.f1),
        }
    };
    let bars: Vec<ClassBar> = by_f1(scored).into_iter().map(bar).collect();
    Figure {
        name: "classes",
        drawing: plot::class_bars("Classes, the best first", "F1", &bars),
        caption: "Missed: false negatives. False alarms: false positives, recordings of other classes.".to_owned(),
    }
}

/// (score, whether it is there) of every pair of recording and class.
fn pairs<'a>(scored: &'a ScoredSplit) -> impl Iterator<Item = (f32, bool)> + 'a {
    let split = scored.split;
    split.clips.iter().enumerate().flat_map(move |(clip, of)| {
        split.predictions.row(clip).iter().enumerate().map(move |(class, &score)| (score, of.truth.contains(&class)))
    })
}

/// (probability of the decided class, whether it is right) of every recording that is given one class.
fn decisions<'a>(scored: &'a ScoredSplit) -> impl Iterator<Item = (f32, bool)> + 'a {
    let split = scored.split;
    scored.decided.iter().enumerate().filter_map(move |(clip, decided)| {
        let class = *decided.first()?;
        Some((split.predictions.row(clip)[class], split.clips[clip].truth.contains(&class)))
    })
}

fn cutoffs(run: &ReportData, scored: &ScoredSplit) -> Vec<Figure> {
    let share = |label: &str| Axis { label: label.to_owned(), scale: Scale::Share };
    let steps = precision_recall_curve(pairs(scored));
    let line = |name: &str, steps: &[PrecisionRecallPoint], point: &dyn Fn(&PrecisionRecallPoint) -> (f64, f64)| Line {
        name: name.to_owned(),
        points: thinned(steps).map(point).collect(),
    };
    let recalls = line("all classes", &steps, &|step| (step.recall, step.precision));
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
        lines: vec![recalls],
        mark,
    };
    let votes = scored.split.windows.is_some() && run.decision_rule.aggregate == Aggregate::Vote;
    let (along, caption) = if run.has_several_labels() {
        let (label, chosen) = if votes {
            ("share of windows that must vote", run.decision_rule.window_fraction)
        } else {
            ("cut-off", run.decision_rule.cutoff)
        };
        let text = if run.decision_rule.cutoffs.is_empty() || votes {
            format!("as run: {chosen}")
        } else {
            format!("common: {chosen}")
        };
        let of = |name: &str, value: &dyn Fn(&PrecisionRecallPoint) -> f64| {
            line(name, &steps, &|step| (f64::from(step.cutoff), value(step)))
        };
        let panel = Panel {
            title: "Along the cut-off".to_owned(),
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
                " To choose a cut-off, look at the validation split (timbre thresholds): one chosen here is tuned on the test split."
            }
            _ => "",
        };
        (panel, format!("Over all pairs of recording and class, one cut-off for all classes.{warning}"))
    } else {
        let steps = precision_recall_curve(decisions(scored));
        let all = scored.split.clips.len().max(1) as f64;
        let of = |name: &str, value: &dyn Fn(&PrecisionRecallPoint) -> f64| {
            line(name, &steps, &|step| (f64::from(step.cutoff), value(step)))
        };
        let panel = Panel {
            title: "If it may keep silent".to_owned(),
            x: share("least probability at which it answers"),
            y: share("share of recordings"),
            lines: vec![
                of("right, of the answered", &|step| step.precision),
                of("answered", &|step| step.named as f64 / all),
            ],
            mark: None,
        };
        (panel, "What a threshold on the probability of the decided class would give.".to_owned())
    };
    let draw = |panel: &Panel| plot::panels(std::slice::from_ref(panel), PlotSize::FIGURE);
    vec![
        Figure {
            name: "precision_recall",
            drawing: draw(&precision_recall),
            caption: if votes {
                "Over all pairs of recording and class, for every share of windows that must vote.".to_owned()
            } else {
                "Over all pairs of recording and class, for every cut-off on the probability.".to_owned()
            },
        },
        Figure { name: "thresholds", drawing: draw(&along), caption },
    ]
}

fn metric_of(scored: &ScoredSplit, name: &str) -> Option<f64> {
    scored.scores.metrics.get(name).copied()
}

/// Every n-th step, and the last.
fn thinned(steps: &[PrecisionRecallPoint]) -> impl Iterator<Item = &PrecisionRecallPoint> {
    let every = steps.len().div_ceil(POINTS).max(1);
    steps.iter().enumerate().filter(move |(n, _)| n % every == 0 || n + 1 == steps.len()).map(|(_, step)| step)
}

fn calibration(run: &ReportData, scored: &ScoredSplit) -> Figure {
    let mut bins = Bins::default();
    let mut add = |(stated, came_true): (f32, bool)| bins.add(bin(f64::from(stated)), f64::from(stated), came_true, 1);
    let what = if run.has_several_labels() {
        pairs(scored).for_each(&mut add);
        if scored.split.windows.is_some() && run.decision_rule.aggregate == Aggregate::Vote {
            "a pair of recording and class, its probability the share of windows that voted"
        } else {
            "a pair of recording and class"
        }
    } else {
        decisions(scored).for_each(&mut add);
        "a recording and the class it was given"
    };
    let points: Vec<(f64, f64, u64)> = bins.filled().collect();
    Figure {
        name: "calibration",
        drawing: plot::reliability("Calibration", &points),
        caption: format!(
            "A case is {what}; the larger the circle, the more of them. Expected calibration error {:.3}.",
            bins.error()
        ),
    }
}

/// A score along a parameter of the model.
fn curve(run: &ReportData, scored: &ScoredSplit) -> Option<Figure> {
    let own = &scored.split.curve;
    let first = own.first()?;
    let panel = Panel {
        title: format!("Along {}", first.parameter),
        x: Axis { label: first.parameter.clone(), scale: Scale::Counts },
        y: Axis { label: first.metric.clone(), scale: Scale::Linear },
        lines: vec![Line {
            name: first.metric.clone(),
            points: own.iter().filter_map(|point| Some((point.value, point.score?))).collect(),
        }],
        mark: None,
    };
    let drawing = plot::panels(&[panel], PlotSize::FIGURE);
    let caption = format!("On the {} split: to be looked at, not to be chosen from.", run.split());
    Some(Figure { name: "curve", drawing, caption })
}

fn class_table(run: &ReportData, scored: &ScoredSplit) -> String {
    let split = scored.split;
    let row = |class: usize| {
        let own = &scored.scores.per_class[class];
        let cases = (0..split.clips.len())
            .map(|clip| (clip as u32, split.predictions.row(clip)[class], split.clips[clip].truth.contains(&class)));
        let area = (own.support > 0).then(|| average_precision(&SortedScores::new(cases), &|_| 1));
        vec![
            Cell::words(run.classes.name(class)),
            Cell::count(own.support),
            Cell::count(own.predicted),
            Cell::number(Some(own.precision)),
            Cell::number(Some(own.recall)),
            Cell::number(Some(own.f1)),
            Cell::number(area),
            Cell::count(own.predicted - own.hits),
            Cell::count(own.support - own.hits),
        ]
    };
    let headings = [
        ("class", false),
        ("recordings", true),
        ("decided", true),
        ("precision", true),
        ("recall", true),
        ("F1", true),
        ("average precision", true),
        ("false positives", true),
        ("false negatives", true),
    ];
    let rows: Vec<Vec<Cell>> = by_f1(scored).into_iter().map(row).collect();
    folded("The numbers of each class", &table("", &headings, &rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_the_figures_of_a_training_stands_no_split_for_they_are_of_another() {
        let panels = plot::learning_panels("mel.cnn.s1", &[]);
        let figure = |name| Figure { name, drawing: plot::panels(&panels, PlotSize::FIGURE), caption: String::new() };
        let of = |name| whose(&figure(name), "mel.cnn.s1", "x 01234567", "test");
        assert_eq!(of("confusion"), "mel.cnn.s1 of x 01234567, test split");
        assert_eq!(of("learning"), "mel.cnn.s1 of x 01234567");
        assert_eq!(of("loss"), of("learning"));
    }

    #[test]
    fn a_short_time_is_not_none() {
        assert_eq!(took(12.34), "12.3 s");
        assert_eq!(took(0.0123), "12.3 ms");
        assert_eq!(took(0.000_4), "0.4 ms");
    }
}
