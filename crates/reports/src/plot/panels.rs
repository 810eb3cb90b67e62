//! Draws line plots as panels, one below the other.

use std::fmt::Write;

use super::axis::AxisLayout;
use timbre_core::text::escape_xml;

use super::drawing::{Drawing, LINES};
use super::text_width::TextStyle;
use super::{LineShape, Marker, Panel};

pub(super) const WIDTH: f64 = 760.0;

/// The usual width of a figure in a page, without margins.
pub const PAGE_WIDTH: f64 = 440.0;

/// The size of a plot, and whether it is part of a page.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlotSize {
    pub width: f64,
    /// Height of the axes of a panel.
    pub height: f64,
    /// Approximate number of ticks on the horizontal axis.
    pub ticks: usize,
    /// Whether the plot is part of an HTML page, where the title starts at the left edge.
    pub in_page: bool,
}

impl PlotSize {
    /// A separate file.
    pub const FILE: PlotSize = PlotSize { width: WIDTH, height: 260.0, ticks: 9, in_page: false };
    /// One of several figures in a page: narrow enough for text to be readable on a phone.
    pub const FIGURE: PlotSize = PlotSize { width: PAGE_WIDTH, height: 220.0, ticks: 6, in_page: true };

    /// [`Self::FIGURE`] with another width.
    pub fn figure(width: f64) -> PlotSize {
        let ticks = (Self::FIGURE.ticks as f64 * width / PAGE_WIDTH).round() as usize;
        PlotSize { width, ticks: ticks.max(2), ..Self::FIGURE }
    }
}

const LEFT: f64 = 74.0;
const RIGHT: f64 = 24.0;
/// Height of the title, and of a line of the legend.
const TITLE: f64 = 40.0;
const LEGEND: f64 = 20.0;
/// Height of the text of a marker.
const MARK: f64 = 20.0;
/// Space between legend and axes.
const AIR: f64 = 6.0;
/// Height of the ticks and the label of the horizontal axis.
const BOTTOM: f64 = 62.0;
/// Up to this number of points each point is a dot.
const DOTS: usize = 40;
/// Width of a line sample in the legend, and space before the next entry.
const SAMPLE: f64 = 34.0;
const ASIDE: f64 = 18.0;

pub fn panels(panels: &[Panel], paper: PlotSize) -> Drawing {
    let heights: Vec<f64> =
        panels.iter().map(|panel| head_height(panel, paper.width) + paper.height + BOTTOM).collect();
    let description = panels.iter().map(|panel| panel.title.as_str()).collect::<Vec<_>>().join("; ");
    let (mut body, mut top) = (String::new(), 0.0);
    for (panel, height) in panels.iter().zip(heights) {
        draw(panel, top, paper, &mut body);
        top += height;
    }
    Drawing::new(&description, (paper.width, top), body)
}

/// The position (x, line) of each entry of the legend.
fn legend(panel: &Panel, width: f64) -> Vec<(f64, usize)> {
    let (mut x, mut line) = (LEFT, 0);
    let place = |entry: &super::Line| {
        let wide = SAMPLE + TextStyle::Plain.width(&legend_name(&entry.name, width)) + ASIDE;
        if x > LEFT && x + wide - ASIDE > width - RIGHT {
            (x, line) = (LEFT, line + 1);
        }
        let at = (x, line);
        x += wide;
        at
    };
    panel.lines.iter().map(place).collect()
}

/// A name of the legend, cut to the width of the axes.
fn legend_name(name: &str, width: f64) -> String {
    TextStyle::Plain.cut(name, width - LEFT - RIGHT - SAMPLE)
}

/// Height above the axes. A single line needs no legend, because its axis names it.
fn head_height(panel: &Panel, width: f64) -> f64 {
    let lines = legend(panel, width).last().map_or(0, |(_, line)| line + 1);
    let legend = if panel.lines.len() > 1 { LEGEND * lines as f64 + AIR } else { 0.0 };
    TITLE + legend + if panel.mark.is_some() { MARK } else { 0.0 }
}

/// Both axes of a panel that begins at `top`.
pub(super) fn rulers(panel: &Panel, top: f64, paper: PlotSize) -> (AxisLayout, AxisLayout) {
    let from = top + head_height(panel, paper.width);
    let points = || panel.lines.iter().flat_map(|line| line.points.iter().chain(line.thin.iter().flatten()));
    let across = (LEFT + 8.0, paper.width - RIGHT - 8.0);
    (
        AxisLayout::new(panel.x.scale, points().map(|p| p.0), across, paper.ticks, false),
        AxisLayout::new(panel.y.scale, points().map(|p| p.1), (from + paper.height, from), 5, true),
    )
}

fn draw(panel: &Panel, top: f64, paper: PlotSize, out: &mut String) {
    let from = top + head_height(panel, paper.width);
    let (left, right, bottom) = (LEFT, paper.width - RIGHT, from + paper.height);
    let (x, y) = rulers(panel, top, paper);
    let mut put = |text: std::fmt::Arguments| out.write_fmt(text).expect("a string takes any text");
    let title_at = if paper.in_page { 1.0 } else { left };
    put(format_args!(
        "<text class=\"ink title\" x=\"{}\" y=\"{:.1}\">{}</text>\n",
        title_at,
        top + 26.0,
        escape_xml(&TextStyle::Title.cut(&panel.title, paper.width - title_at - 2.0))
    ));
    if panel.lines.len() > 1 {
        for (n, (line, (at, row))) in panel.lines.iter().zip(legend(panel, paper.width)).enumerate() {
            let (n, middle) = (n % LINES, top + TITLE + LEGEND * (row as f64 + 0.4));
            match line.shape {
                LineShape::Points => {
                    put(format_args!("<circle class=\"d{n}\" cx=\"{:.1}\" cy=\"{middle:.1}\" r=\"4\"/>", at + 14.0));
                }
                _ => put(format_args!("<path class=\"line s{n}\" d=\"M{at:.1} {middle:.1}h28\"/>")),
            }
            put(format_args!(
                "<text class=\"ink\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
                at + SAMPLE,
                middle + 4.5,
                escape_xml(&legend_name(&line.name, paper.width))
            ));
        }
    }
    for tick in &y.ticks {
        put(format_args!("<path class=\"grid\" d=\"M{left} {:.1}H{right}\"/>", tick.position));
        put(format_args!(
            "<text class=\"soft end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
            left - 8.0,
            tick.position + 4.5,
            tick.text
        ));
    }
    for tick in &x.ticks {
        put(format_args!("<path class=\"grid\" d=\"M{:.1} {from}V{bottom}\"/>", tick.position));
        put(format_args!(
            "<text class=\"soft middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
            tick.position,
            bottom + 19.0,
            tick.text
        ));
    }
    put(format_args!("<path class=\"axis\" fill=\"none\" d=\"M{left} {from}V{bottom}H{right}\"/>\n"));
    let middle = (left + right) / 2.0;
    put(format_args!(
        "<text class=\"ink middle\" x=\"{middle}\" y=\"{:.1}\">{}</text>\n",
        bottom + 41.0,
        escape_xml(&panel.x.label)
    ));
    let (side, half) = (22.0, (from + bottom) / 2.0);
    put(format_args!(
        "<text class=\"ink middle\" x=\"{side}\" y=\"{half}\" transform=\"rotate(-90 {side} {half})\">{}</text>\n",
        escape_xml(&panel.y.label)
    ));
    let marked = panel.mark.as_ref().and_then(|mark| Some((mark, x.position(mark.x)?)));
    if let Some((_, at)) = marked {
        put(format_args!("<path class=\"guide\" d=\"M{at:.1} {from}V{bottom}\"/>\n"));
    }
    for (n, line) in panel.lines.iter().enumerate() {
        let n = n % LINES;
        for part in line.thin.iter().flat_map(|points| parts(points, &x, &y)) {
            put(format_args!("<polyline class=\"line s{n} faint\" points=\"{}\"/>\n", joined(&part)));
        }
        for part in parts(&line.points, &x, &y) {
            let places = if line.shape == LineShape::Steps { joined(&steps(&part)) } else { joined(&part) };
            if part.len() > 1 && line.shape != LineShape::Points {
                put(format_args!("<polyline class=\"line s{n}\" points=\"{places}\"/>\n"));
            }
            if part.len() == 1 || line.points.len() <= DOTS && line.shape == LineShape::Straight {
                part.iter().for_each(|(x, y)| {
                    put(format_args!("<circle class=\"dot d{n}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>"))
                });
                put(format_args!("\n"));
            }
        }
    }
    if let Some((mark, at)) = marked {
        draw_marker(mark, at, mark.y.and_then(|value| y.position(value)), (from, right), &mut put);
    }
}

/// Draws a circle around the marked point, and its text above the axes, where no line is.
fn draw_marker(
    mark: &Marker,
    at: f64,
    ring: Option<f64>,
    (from, right): (f64, f64),
    put: &mut impl FnMut(std::fmt::Arguments),
) {
    if let Some(height) = ring {
        put(format_args!("<circle class=\"mark\" cx=\"{at:.1}\" cy=\"{height:.1}\" r=\"5\"/>\n"));
    }
    let half = TextStyle::Plain.width(&mark.text) / 2.0;
    let x = at.min(right - half).max(LEFT + half);
    put(format_args!(
        "<text class=\"ink middle\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>\n",
        from - 6.0,
        escape_xml(&mark.text)
    ));
}

/// The corners of a line of steps: each point with the one before it at the same height.
fn steps(part: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let corners = part.windows(2).flat_map(|pair| [(pair[0].0, pair[1].1), pair[1]]);
    part.first().copied().into_iter().chain(corners).collect()
}

fn joined(places: &[(f64, f64)]) -> String {
    places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ")
}

/// The segments of a line between its gaps, as positions.
fn parts(points: &[(f64, f64)], x: &AxisLayout, y: &AxisLayout) -> Vec<Vec<(f64, f64)>> {
    let places: Vec<Option<(f64, f64)>> = points.iter().map(|p| Some((x.position(p.0)?, y.position(p.1)?))).collect();
    places
        .split(Option::is_none)
        .filter(|part| !part.is_empty())
        .map(|part| part.iter().flatten().copied().collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::svg_reader::{circles, polylines, spans, texts};
    use super::*;
    use crate::plot::{Axis, Line, Scale};

    fn panel(lines: Vec<Line>) -> Panel {
        let axis = |label: &str| Axis { label: label.to_owned(), scale: Scale::Linear };
        Panel { title: "a < b & \"c\"".to_owned(), x: axis("time (s)"), y: axis("loss"), lines, mark: None }
    }

    fn line(name: &str, points: &[(f64, f64)]) -> Line {
        Line::new(name, points.to_vec())
    }

    #[test]
    fn names_with_special_characters_are_well_formed_text() {
        let picture = panels(
            &[panel(vec![line("<x>", &[(0.0, 1.0), (1.0, 2.0)]), line("\u{1}&", &[(0.0, 1.0)])])],
            PlotSize::FILE,
        )
        .as_file();
        let texts = texts(&picture);
        for text in ["a &lt; b &amp; &quot;c&quot;", "&lt;x&gt;", "\u{fffd}&amp;", "time (s)", "loss"] {
            assert!(texts.iter().any(|t| t == text), "{text:?} in {texts:?}");
        }
    }

    #[test]
    fn a_value_that_is_not_finite_is_a_gap() {
        let points =
            [(0.0, 1.0), (1.0, 2.0), (2.0, f64::NAN), (3.0, 1.5), (4.0, f64::INFINITY), (5.0, 1.0), (6.0, 2.0)];
        let picture = panels(&[panel(vec![line("a", &points)])], PlotSize::FILE).as_file();
        assert_eq!(polylines(&picture).iter().map(Vec::len).collect::<Vec<_>>(), [2, 2]);
        assert_eq!(circles(&picture, "dot").len(), 5);
        assert!(!picture.contains("NaN") && !picture.contains("inf"));
    }

    #[test]
    fn steps_go_only_up_down_and_sideways_and_points_are_not_connected() {
        let points = [(0.0, 1.0), (0.5, 1.0), (0.5, 0.5), (1.0, 0.25)];
        let shaped = |shape| panels(&[panel(vec![Line { shape, ..line("a", &points) }])], PlotSize::FILE).as_file();
        let lines = polylines(&shaped(LineShape::Steps));
        assert_eq!((lines.len(), lines[0].len()), (1, 7));
        assert!(lines[0].windows(2).all(|pair| pair[0].0 == pair[1].0 || pair[0].1 == pair[1].1), "{lines:?}");
        assert!(polylines(&shaped(LineShape::Points)).is_empty());
    }

    #[test]
    fn a_panel_without_points_is_empty_axes() {
        let picture = panels(&[panel(Vec::new()), panel(vec![line("a", &[])])], PlotSize::FILE).as_file();
        assert!(polylines(&picture).is_empty() && !picture.contains("NaN"));
    }

    #[test]
    fn everything_is_inside_the_drawing() {
        let many: Vec<Line> = (0..12)
            .map(|n| {
                line(
                    &format!("metric number {n}"),
                    &(0..50).map(|i| (f64::from(i), f64::from(i * n) * 1e3)).collect::<Vec<_>>(),
                )
            })
            .collect();
        let picture = panels(&[panel(many.clone()), panel(many)], PlotSize::FILE).as_file();
        let height: f64 = picture.split("height=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
        for (x, y) in polylines(&picture).into_iter().flatten() {
            assert!((LEFT..=WIDTH - RIGHT).contains(&x) && (0.0..height).contains(&y), "{x}, {y}");
        }
    }

    #[test]
    fn wide_names_and_titles_stay_inside_the_drawing() {
        let wide = ["W".repeat(30), "小提琴与大提琴的合奏".repeat(6), "a".to_owned()];
        let lines: Vec<Line> = wide.iter().map(|name| line(name, &[(0.0, 1.0), (1.0, 2.0)])).collect();
        let own = Panel { title: wide[1].clone(), ..panel(lines) };
        let spans = spans(&panels(&[own], PlotSize::FIGURE).in_page());
        assert!(spans.iter().all(|(begin, end, _)| *begin >= 0.0 && *end <= 440.0), "{spans:?}");
    }
}
