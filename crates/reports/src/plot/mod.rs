//! Draws plots as SVG: curves (learning rate finder, learning curves), heat maps (threshold search), and the figures of a report.
//! A [`Drawing`] is part of a page that has the [`page_style`], or a separate file; [`bytes`] turns a file into a PNG.
//!
//! Lines differ in colour and in dashes. The colours are those of Okabe and Ito, which readers with any colour vision can
//! distinguish, adjusted to a contrast of at least three to one against the background; a dark page gets a dark plot. A value that is
//! not finite, or not positive on a logarithmic axis, is a gap in its line.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use timbre_evaluation::metrics;
use timbre_models::{Epoch, RateCurve};

mod axis;
mod class_bars;
mod confusion;
mod drawing;
mod heat_map;
pub mod augmentation_preview;
mod clip_timeline;
pub mod clip_view;
pub mod feature_view;
pub mod scatter;
mod intervals;
mod palette_image;
mod text_width;
mod panels;
mod pdf;
pub mod spectrogram_image;
mod spectrogram_plot;
mod raster;
#[cfg(test)]
mod svg_reader;
mod reliability;
pub mod timeline_plot;

pub use class_bars::{ClassBar, class_bars};
pub use clip_timeline::{ClipTimeline, Strip, clip_timeline};
pub use confusion::{ConfusionMatrix, confusion};
pub use drawing::{Drawing, LINES, page_style};
pub use heat_map::{HeatMap, MapMarker, MarkerShape, heat_map};
pub use intervals::{Interval, differences, intervals};
pub use panels::{PAGE_WIDTH, PlotSize, panels};
pub use raster::{FileStyle, ImageFormat, bytes, styled, without_title};
pub use reliability::reliability;
pub use spectrogram_plot::{level_legend, loudest, spectrogram_plot};
pub use text_width::TextStyle;

/// Metrics shown in the learning curves: more lines could not be distinguished. `epochs.csv` has all.
const METRICS: usize = 6;

/// Lines on one pair of axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    pub lines: Vec<Line>,
    pub mark: Option<Marker>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// The quantity, and its unit if it has one.
    pub label: String,
    pub scale: Scale,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    Linear,
    /// Whole numbers only: no tick between two of them.
    Counts,
    /// Always from 0 to 1.
    Share,
    Log,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
    pub shape: LineShape,
    /// Further lines of the same colour, drawn thin and not named, such as those of other seeds.
    pub thin: Vec<Vec<(f64, f64)>>,
}

impl Line {
    pub fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Line {
        Line { name: name.into(), points, ..Line::default() }
    }
}

/// What connects the points of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineShape {
    #[default]
    Straight,
    /// Steps: the y of a point holds from the x of the point before.
    Steps,
    /// Nothing; other marks may be drawn at the points.
    Points,
}

/// A marked position with a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Marker {
    pub x: f64,
    /// None: marks the whole height with a vertical line.
    pub y: Option<f64>,
    pub text: String,
}

/// A data URI that embeds `bytes` of that media type in a page or a drawing.
pub fn data_uri(media_type: &str, bytes: &[u8]) -> String {
    format!("data:{media_type};base64,{}", STANDARD.encode(bytes))
}

fn axis(label: &str, scale: Scale) -> Axis {
    Axis { label: label.to_owned(), scale }
}

/// The loss by learning rate, with the suggested rate.
pub fn rate_finder(trial: &str, curve: &RateCurve) -> String {
    let nearest = curve.points.iter().min_by(|a, b| {
        let distance = |point: &(f64, f64)| (point.0 / curve.suggestion).ln().abs();
        distance(a).total_cmp(&distance(b))
    });
    let mark = nearest.map(|&(_, loss)| Marker {
        x: curve.suggestion,
        y: Some(loss),
        text: format!("suggested: {:.2e}", curve.suggestion),
    });
    let panel = Panel {
        title: format!("Learning rate finder of {trial}"),
        x: axis("learning rate", Scale::Log),
        y: axis("training loss, smoothed", Scale::Linear),
        lines: vec![Line::new("loss", curve.points.clone())],
        mark,
    };
    panels(&[panel], PlotSize::FILE).as_file()
}

/// Losses, and below them metrics, over the epochs. The best epoch is marked.
pub fn learning_curves(trial: &str, epochs: &[Epoch]) -> String {
    panels(&learning_panels(trial, epochs, &[], ""), PlotSize::FILE).as_file()
}

/// The panels of [`learning_curves`]: losses first. The epochs of other seeds are thin lines; with these, `metric` is the only metric.
pub fn learning_panels(trial: &str, epochs: &[Epoch], others: &[Vec<Epoch>], metric: &str) -> Vec<Panel> {
    let line = |name: &str, of: &dyn Fn(&Epoch) -> Option<f64>| {
        let points = |epochs: &[Epoch]| epochs.iter().filter_map(|e| Some((e.epoch as f64, of(e)?))).collect();
        Line { thin: others.iter().map(|own| points(own)).collect(), ..Line::new(name, points(epochs)) }
    };
    let best = epochs.iter().rev().find(|epoch| epoch.best);
    let mark =
        best.map(|epoch| Marker { x: epoch.epoch as f64, y: None, text: format!("best: epoch {}", epoch.epoch) });
    let panel = |title: String, y: &str, lines: Vec<Line>| Panel {
        title,
        x: axis("epoch", Scale::Counts),
        y: axis(y, Scale::Linear),
        lines: lines.into_iter().filter(|line| !line.points.is_empty()).collect(),
        mark: mark.clone(),
    };
    let losses = vec![line("training", &|e| Some(e.train_loss)), line("validation", &|e| e.validation_loss)];
    let mut panels = vec![panel(format!("Loss of {trial}"), "loss", losses)];
    // F1 summarizes precision and recall, and the Jaccard index is a function of it. Losses have a different scale.
    let is_redundant = |name: &str| {
        let is_summarized = ["precision_", "recall_", "jaccard_"].iter().any(|word| name.starts_with(word));
        is_summarized || name == "f1_weighted" || metrics::is_loss(name)
    };
    let all = || epochs.first().into_iter().flat_map(|epoch| epoch.metrics.keys());
    let names: Vec<&String> = match all().find(|name| *name == metric) {
        Some(metric) if !others.is_empty() => vec![metric],
        _ => all().filter(|name| !is_redundant(name)).take(METRICS).collect(),
    };
    let metrics: Vec<Line> =
        names.into_iter().map(|name| line(name, &|e: &Epoch| e.metrics.get(name).copied())).collect();
    if !metrics.is_empty() {
        // A single line has no legend.
        let score = if metrics.len() == 1 { metrics[0].name.clone() } else { "score".to_owned() };
        panels.push(panel("On the validation split".to_owned(), &score, metrics));
    }
    // A constant rate is in the configuration.
    if epochs.iter().any(|epoch| epoch.learning_rate != epochs[0].learning_rate) {
        panels.push(panel("Learning rate".to_owned(), "learning rate", vec![line("rate", &|e| Some(e.learning_rate))]));
    }
    panels
}

/// A score by threshold, with the chosen threshold marked, and the point of the run with its label.
pub fn threshold_curve(
    title: &str,
    score: &str,
    points: Vec<(f64, f64)>,
    (x, text): (f64, String),
    as_run: Option<(f64, f64, String)>,
) -> String {
    let y = points.iter().find(|point| point.0 == x).map(|point| point.1);
    let panel = Panel {
        title: title.to_owned(),
        x: axis("threshold", Scale::Linear),
        y: axis(score, Scale::Linear),
        lines: std::iter::once(Line::new(score, points))
            .chain(as_run.map(|(cutoff, score, name)| Line::new(name, vec![(cutoff, score)])))
            .collect(),
        mark: Some(Marker { x, y, text }),
    };
    panels(&[panel], PlotSize::FILE).as_file()
}

#[cfg(test)]
mod tests {
    use super::svg_reader::{circles, polylines, texts};
    use super::*;

    fn curve() -> RateCurve {
        let points = (0..=80).map(|n| {
            let rate = 10f64.powf(-7.0 + n as f64 / 10.0);
            (rate, 2.5 - 1.5 / (1.0 + (-(rate.log10() + 3.0) * 2.0).exp()) + (rate * 0.15).powi(2))
        });
        RateCurve { points: points.collect(), suggestion: 1e-3 }
    }

    fn epochs(n: usize) -> Vec<Epoch> {
        let epoch = |number: usize| {
            let x = number as f64;
            let names = ["accuracy", "precision_macro", "recall_macro", "f1_macro", "m3", "balanced", "m5", "m6", "m7"];
            Epoch {
                epoch: number,
                learning_rate: 1e-3,
                train_loss: 2.0 / x,
                validation_loss: Some(2.2 / x + 0.002 * x * x),
                metrics: names
                    .iter()
                    .enumerate()
                    .map(|(i, name)| ((*name).to_owned(), 1.0 - 0.7 / x - i as f64 * 0.03))
                    .collect(),
                best: number <= 8,
                seconds: 1.0,
                clips_per_second: 1.0,
                waited: 0.0,
            }
        };
        (1..=n).map(epoch).collect()
    }

    #[test]
    fn learning_rates_are_on_a_logarithmic_axis_and_the_suggestion_is_on_the_curve() {
        let curve = curve();
        let picture = rate_finder("mel.resnet18.s1", &curve);
        let line = &polylines(&picture)[0];
        assert_eq!(line.len(), 81);
        let step = (line[80].0 - line[0].0) / 80.0;
        assert!(line.iter().enumerate().all(|(n, point)| (point.0 - line[0].0 - n as f64 * step).abs() < 0.11));
        // A higher loss is higher in the drawing, that is, at a smaller y, in proportion to the loss.
        let y_per_loss = (line[0].1 - line[60].1) / (curve.points[0].1 - curve.points[60].1);
        assert!(y_per_loss < 0.0);
        for (point, (_, loss)) in line.iter().zip(&curve.points) {
            assert!((point.1 - line[0].1 - (loss - curve.points[0].1) * y_per_loss).abs() < 0.2);
        }
        let marks = circles(&picture, "mark");
        assert_eq!(marks.len(), 1);
        assert!((marks[0].0 - line[40].0).abs() < 0.1 && (marks[0].1 - line[40].1).abs() < 0.1);
        let texts = texts(&picture);
        for text in ["suggested: 1.00e-3", "1e-7", "1e0", "learning rate", "training loss, smoothed"] {
            assert!(texts.iter().any(|t| t == text), "{text} in {texts:?}");
        }
    }

    #[test]
    fn learning_curves_have_a_panel_of_losses_and_one_of_metrics() {
        let picture = learning_curves("mel.resnet18.s1", &epochs(20));
        let lines = polylines(&picture);
        // Two losses, six metrics.
        assert_eq!(lines.iter().map(Vec::len).collect::<Vec<_>>(), [20; 8]);
        let texts = texts(&picture);
        assert!(texts.iter().any(|t| t == "f1_macro") && !texts.iter().any(|t| t == "recall_macro" || t == "m7"));
        assert_eq!(texts.iter().filter(|t| *t == "best: epoch 8").count(), 2);
        // Both panels have their first and last epoch at the same x.
        assert!(lines.iter().all(|line| line[0].0 == lines[0][0].0 && line[19].0 == lines[0][19].0));
    }

    #[test]
    fn other_seeds_are_thin_lines_of_the_same_colour_and_leave_one_metric() {
        let panels_of = |others: &[Vec<Epoch>]| learning_panels("mel.cnn", &epochs(20), others, "balanced");
        let drawn = panels(&panels_of(&[epochs(12), epochs(5)]), PlotSize::FILE).as_file();
        // Both losses and the metric, each with the lines of two other seeds below its own.
        assert_eq!(polylines(&drawn).iter().map(Vec::len).collect::<Vec<_>>(), [12, 5, 20, 12, 5, 20, 12, 5, 20]);
        assert_eq!(drawn.matches("class=\"line s0 faint\"").count(), 4);
        assert_eq!(drawn.matches("class=\"line s1 faint\"").count(), 2);
        assert_eq!((panels_of(&[epochs(12)])[1].lines.len(), panels_of(&[])[1].lines.len()), (1, 6));
        assert!(drawn.contains(">balanced</text>"), "the axis names it");
    }

    #[test]
    fn a_single_epoch_is_a_point() {
        let mut one = epochs(1);
        one[0].metrics.clear();
        one[0].validation_loss = None;
        let picture = learning_curves("mel.resnet18.s1", &one);
        assert_eq!(circles(&picture, "dot").len(), 1);
    }

    #[test]
    fn a_threshold_curve_shows_the_point_of_the_run_outside_the_searched_range_too() {
        let points = vec![(0.1, 0.2), (0.2, 0.3), (0.3, 0.1)];
        let as_run = Some((0.56, 0.05, "as run: 0.56 → 0.050".to_owned()));
        let draw = |as_run| threshold_curve("t", "f1", points.clone(), (0.2, "chosen".to_owned()), as_run);
        let with = draw(as_run);
        assert!(texts(&with).iter().any(|text| text.starts_with("as run: 0.56")));
        let dots = circles(&with, "d1");
        assert_eq!(dots.len(), 1);
        assert!(polylines(&with)[0].iter().all(|point| point.0 < dots[0].0 && point.1 < dots[0].1));
        assert!(circles(&draw(None), "d1").is_empty());
    }
}
