//! Panels, one below the other, as the text of an SVG file. It needs no font, script or file beside it.

use std::fmt::Write;

use super::axis::Ruler;
use super::{Mark, Panel};

pub(super) const WIDTH: f64 = 760.0;

/// How large a picture is, and where it is seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Paper {
    pub width: f64,
    /// Of the axes of a panel.
    pub height: f64,
    /// About so many numbers on the horizontal axis.
    pub ticks: usize,
    /// Part of an HTML page, which has the [`page_style`]; otherwise a file of its own.
    pub in_page: bool,
}

impl Paper {
    /// A file, read on a screen of its own.
    pub const FILE: Paper = Paper { width: WIDTH, height: 260.0, ticks: 9, in_page: false };
    /// One of several in a page: narrow enough for letters to be read on a phone.
    pub const FIGURE: Paper = Paper { width: 440.0, height: 220.0, ticks: 6, in_page: true };
}

const LEFT: f64 = 74.0;
const RIGHT: f64 = 24.0;
/// Title, and a line of the legend.
const TITLE: f64 = 40.0;
const LEGEND: f64 = 20.0;
/// What is said of a mark.
const MARK: f64 = 20.0;
/// Between legend and axes.
const AIR: f64 = 6.0;
/// Numbers and label of the horizontal axis, and air.
const BOTTOM: f64 = 62.0;
/// Points are dots where they are few enough to be told apart.
const DOTS: usize = 40;
/// About the width of a letter.
pub(super) const LETTER: f64 = 7.0;

/// Colours on white and on black, and dashes, by the number of the line.
const LINES: [(&str, &str, &str); 6] = [
    ("#0072b2", "#56b4e9", ""),
    ("#d55e00", "#ff9a4d", "8 4"),
    ("#00805d", "#2fc79d", "2 3"),
    ("#b5568c", "#e79fc8", "10 3 2 3"),
    ("#8a6d00", "#f0e442", "5 2"),
    ("#555555", "#c4c4c4", "1 4"),
];

pub fn svg(panels: &[Panel], paper: Paper) -> String {
    let heights: Vec<f64> =
        panels.iter().map(|panel| head_height(panel, paper.width) + paper.height + BOTTOM).collect();
    let said = panels.iter().map(|panel| panel.title.as_str()).collect::<Vec<_>>().join("; ");
    let mut out = opening(&said, (paper.width, heights.iter().sum()), paper.in_page);
    let mut top = 0.0;
    for (panel, height) in panels.iter().zip(heights) {
        draw(panel, top, paper, &mut out);
        top += height;
    }
    out + "</svg>\n"
}

/// The first tags of a picture: what it is for those who do not see it, and its paper.
pub(super) fn opening(said: &str, (width, height): (f64, f64), in_page: bool) -> String {
    let said = escaped(said);
    let size = format!("viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\"");
    if in_page {
        return format!("<svg class=\"plot\" {size} role=\"img\">\n<title>{said}</title>\n");
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" {size} role=\"img\">\n<title>{said}</title>\n<style>{}</style>\n\
         <rect class=\"paper\" width=\"{width}\" height=\"{height}\"/>\n",
        style()
    )
}

/// A figure of a page as a file of its own.
pub fn as_file(figure: &str) -> String {
    let size = figure.split("viewBox=\"0 0 ").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
    let (width, height) = size.split_once(' ').unwrap_or_default();
    let paper = format!(
        "</title>\n<style>{}</style>\n<rect class=\"paper\" width=\"{width}\" height=\"{height}\"/>\n",
        style()
    );
    figure.replacen("<svg class=\"plot\"", "<svg xmlns=\"http://www.w3.org/2000/svg\"", 1).replacen(
        "</title>\n",
        &paper,
        1,
    )
}

/// The style that the pictures of a page share.
pub fn page_style() -> String {
    style()
}

pub(super) fn style() -> String {
    let mut light =
        "text{font:13px system-ui,sans-serif}.title{font-size:16px;font-weight:600}.line{fill:none;stroke-width:2;\
        stroke-linejoin:round}.middle{text-anchor:middle}.end{text-anchor:end}.paper{fill:#fff}.ink{fill:#1f2328}\
        .soft{fill:#59636e}.grid{stroke:#e4e7eb}.axis{stroke:#8b949e}.guide{stroke:#59636e;stroke-dasharray:3 3}\
        .mark{fill:#fff;stroke:#1f2328;stroke-width:2}.right{fill:#0072b2}.wrong{fill:#d55e00}.missed{fill:#0072b2;\
        fill-opacity:.25}.thick{stroke-width:3;stroke:#0072b2}.thin{stroke-width:1.5;stroke:#59636e}.small{font-size:11px}\
        .beside{stroke-width:2;stroke:#d55e00;stroke-dasharray:6 4}"
            .to_owned();
    let mut dark =
        ".paper{fill:#0d1117}.ink{fill:#e6edf3}.soft{fill:#9da7b3}.grid{stroke:#262c36}.axis{stroke:#6e7681}\
        .guide{stroke:#9da7b3}.mark{fill:#0d1117;stroke:#e6edf3}.right{fill:#56b4e9}.wrong{fill:#ff9a4d}\
        .missed{fill:#56b4e9;fill-opacity:.3}.thick{stroke:#56b4e9}.thin{stroke:#9da7b3}.beside{stroke:#ff9a4d}"
            .to_owned();
    for (n, (on_white, on_black, dashes)) in LINES.iter().enumerate() {
        let _ = write!(
            light,
            ".s{n}{{stroke:{on_white};stroke-dasharray:{}}}.d{n}{{fill:{on_white}}}",
            if dashes.is_empty() { "none" } else { dashes }
        );
        let _ = write!(dark, ".s{n}{{stroke:{on_black}}}.d{n}{{fill:{on_black}}}");
    }
    format!("{light}@media screen and (prefers-color-scheme:dark){{{dark}}}")
}

/// Where each entry of the legend begins: (x, line).
fn legend(panel: &Panel, width: f64) -> Vec<(f64, usize)> {
    let (mut x, mut line) = (LEFT, 0);
    let place = |entry: &super::Line| {
        let wide = 34.0 + LETTER * entry.name.chars().count() as f64 + 18.0;
        if x > LEFT && x + wide > width - RIGHT {
            (x, line) = (LEFT, line + 1);
        }
        let at = (x, line);
        x += wide;
        at
    };
    panel.lines.iter().map(place).collect()
}

/// What stands above the axes. One line alone is named by its axis.
fn head_height(panel: &Panel, width: f64) -> f64 {
    let lines = legend(panel, width).last().map_or(0, |(_, line)| line + 1);
    let legend = if panel.lines.len() > 1 { LEGEND * lines as f64 + AIR } else { 0.0 };
    TITLE + legend + if panel.mark.is_some() { MARK } else { 0.0 }
}

/// Both axes of a panel that begins at `top`.
pub(super) fn rulers(panel: &Panel, top: f64, paper: Paper) -> (Ruler, Ruler) {
    let from = top + head_height(panel, paper.width);
    let points = || panel.lines.iter().flat_map(|line| &line.points);
    let across = (LEFT + 8.0, paper.width - RIGHT - 8.0);
    (
        Ruler::new(panel.x.scale, points().map(|p| p.0), across, paper.ticks, false),
        Ruler::new(panel.y.scale, points().map(|p| p.1), (from + paper.height, from), 5, true),
    )
}

fn draw(panel: &Panel, top: f64, paper: Paper, out: &mut String) {
    let from = top + head_height(panel, paper.width);
    let (left, right, bottom) = (LEFT, paper.width - RIGHT, from + paper.height);
    let (x, y) = rulers(panel, top, paper);
    let mut put = |text: std::fmt::Arguments| out.write_fmt(text).expect("a string takes any text");
    put(format_args!(
        "<text class=\"ink title\" x=\"{}\" y=\"{:.1}\">{}</text>\n",
        if paper.in_page { 1.0 } else { left },
        top + 26.0,
        escaped(&panel.title)
    ));
    if panel.lines.len() > 1 {
        for (n, (line, (at, row))) in panel.lines.iter().zip(legend(panel, paper.width)).enumerate() {
            let (n, middle) = (n % LINES.len(), top + TITLE + LEGEND * (row as f64 + 0.4));
            put(format_args!("<path class=\"line s{n}\" d=\"M{at:.1} {middle:.1}h28\"/>"));
            put(format_args!(
                "<text class=\"ink\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
                at + 34.0,
                middle + 4.5,
                escaped(&line.name)
            ));
        }
    }
    for tick in &y.ticks {
        put(format_args!("<path class=\"grid\" d=\"M{left} {:.1}H{right}\"/>", tick.place));
        put(format_args!(
            "<text class=\"soft end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
            left - 8.0,
            tick.place + 4.5,
            tick.text
        ));
    }
    for tick in &x.ticks {
        put(format_args!("<path class=\"grid\" d=\"M{:.1} {from}V{bottom}\"/>", tick.place));
        put(format_args!(
            "<text class=\"soft middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
            tick.place,
            bottom + 19.0,
            tick.text
        ));
    }
    put(format_args!("<path class=\"axis\" fill=\"none\" d=\"M{left} {from}V{bottom}H{right}\"/>\n"));
    let middle = (left + right) / 2.0;
    put(format_args!(
        "<text class=\"ink middle\" x=\"{middle}\" y=\"{:.1}\">{}</text>\n",
        bottom + 41.0,
        escaped(&panel.x.label)
    ));
    let (side, half) = (22.0, (from + bottom) / 2.0);
    put(format_args!(
        "<text class=\"ink middle\" x=\"{side}\" y=\"{half}\" transform=\"rotate(-90 {side} {half})\">{}</text>\n",
        escaped(&panel.y.label)
    ));
    let marked = panel.mark.as_ref().and_then(|mark| Some((mark, x.place(mark.x)?)));
    if let Some((_, at)) = marked {
        put(format_args!("<path class=\"guide\" d=\"M{at:.1} {from}V{bottom}\"/>\n"));
    }
    for (n, line) in panel.lines.iter().enumerate() {
        let n = n % LINES.len();
        for part in parts(&line.points, &x, &y) {
            let places: Vec<String> = part.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            if part.len() > 1 {
                put(format_args!("<polyline class=\"line s{n}\" points=\"{}\"/>\n", places.join(" ")));
            }
            if part.len() == 1 || line.points.len() <= DOTS {
                part.iter().for_each(|(x, y)| {
                    put(format_args!("<circle class=\"dot d{n}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>"))
                });
                put(format_args!("\n"));
            }
        }
    }
    if let Some((mark, at)) = marked {
        say(mark, at, mark.y.and_then(|value| y.place(value)), (from, right), &mut put);
    }
}

/// The ring around a marked point, and its text above the axes, where no line runs.
fn say(mark: &Mark, at: f64, ring: Option<f64>, (from, right): (f64, f64), put: &mut impl FnMut(std::fmt::Arguments)) {
    if let Some(height) = ring {
        put(format_args!("<circle class=\"mark\" cx=\"{at:.1}\" cy=\"{height:.1}\" r=\"5\"/>\n"));
    }
    let half = LETTER * mark.text.chars().count() as f64 / 2.0;
    let x = at.min(right - half).max(LEFT + half);
    put(format_args!(
        "<text class=\"ink middle\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>\n",
        from - 6.0,
        escaped(&mark.text)
    ));
}

/// The stretches of a line between its gaps, on the paper.
fn parts(points: &[(f64, f64)], x: &Ruler, y: &Ruler) -> Vec<Vec<(f64, f64)>> {
    let places: Vec<Option<(f64, f64)>> = points.iter().map(|p| Some((x.place(p.0)?, y.place(p.1)?))).collect();
    places
        .split(Option::is_none)
        .filter(|part| !part.is_empty())
        .map(|part| part.iter().flatten().copied().collect())
        .collect()
}

pub(super) fn escaped(text: &str) -> String {
    // Characters that XML does not have, even escaped, are shown as such.
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(shown).collect::<String>().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Reads pictures back, for tests.
#[cfg(test)]
pub(super) mod reading {
    type Attributes = Vec<(String, String)>;

    /// The elements of that name as their attributes and text; the whole must be well-formed.
    fn elements(picture: &str, name: &str) -> Vec<(Attributes, String)> {
        let mut open: Vec<(String, Attributes, String)> = Vec::new();
        let mut found = Vec::new();
        let mut rest = picture;
        while let Some(begin) = rest.find('<') {
            let text = &rest[..begin];
            assert!(
                !text.contains('>')
                    && text
                        .split('&')
                        .skip(1)
                        .all(|t| t.starts_with("amp;") || t.starts_with("lt;") || t.starts_with("gt;"))
            );
            if let Some((.., content)) = open.last_mut() {
                content.push_str(text);
            }
            let end = begin + rest[begin..].find('>').expect("a tag ends");
            let tag = &rest[begin + 1..end];
            rest = &rest[end + 1..];
            if let Some(closed) = tag.strip_prefix('/') {
                let (name_, attributes, text) = open.pop().expect("something is open");
                assert_eq!(name_, closed, "tags are nested");
                if closed == name {
                    found.push((attributes, text));
                }
                continue;
            }
            let (tag, alone) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
            let (element, mut list) = tag.split_once(' ').unwrap_or((tag, ""));
            let mut attributes = Vec::new();
            while let Some((key, after)) = list.split_once("=\"") {
                let (value, after) = after.split_once('"').expect("a quote ends");
                assert!(!value.contains(['<', '&']));
                attributes.push((key.trim().to_owned(), value.to_owned()));
                list = after;
            }
            assert!(list.trim().is_empty(), "{tag}");
            if !alone {
                open.push((element.to_owned(), attributes, String::new()));
            } else if element == name {
                found.push((attributes, String::new()));
            }
        }
        assert!(open.is_empty() && rest.trim().is_empty(), "every tag is closed");
        found
    }

    fn attribute<'a>(attributes: &'a [(String, String)], key: &str) -> &'a str {
        &attributes.iter().find(|(k, _)| k == key).unwrap_or_else(|| panic!("{key} in {attributes:?}")).1
    }

    pub fn polylines(picture: &str) -> Vec<Vec<(f64, f64)>> {
        let point = |pair: &str| {
            let (x, y) = pair.split_once(',').unwrap();
            (x.parse().unwrap(), y.parse().unwrap())
        };
        let points = |attributes: &[(String, String)]| attribute(attributes, "points").split(' ').map(point).collect();
        elements(picture, "polyline").iter().map(|(attributes, _)| points(attributes)).collect()
    }

    pub fn circles(picture: &str, class: &str) -> Vec<(f64, f64)> {
        let number = |attributes: &[(String, String)], key| attribute(attributes, key).parse().unwrap();
        elements(picture, "circle")
            .iter()
            .filter(|(attributes, _)| attribute(attributes, "class").split(' ').any(|c| c == class))
            .map(|(attributes, _)| (number(attributes, "cx"), number(attributes, "cy")))
            .collect()
    }

    /// The shapes of the paths of that class.
    pub fn paths(picture: &str, class: &str) -> Vec<String> {
        let is_of = |attributes: &Attributes| {
            attributes.iter().any(|(key, value)| key == "class" && value.split(' ').any(|c| c == class))
        };
        let found = elements(picture, "path").into_iter().filter(|(attributes, _)| is_of(attributes));
        found.map(|(attributes, _)| attribute(&attributes, "d").to_owned()).collect()
    }

    pub fn texts(picture: &str) -> Vec<String> {
        elements(picture, "text").into_iter().map(|(_, text)| text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::reading::{circles, polylines, texts};
    use super::*;
    use crate::plot::{Axis, Line, Scale};

    fn panel(lines: Vec<Line>) -> Panel {
        let axis = |label: &str| Axis { label: label.to_owned(), scale: Scale::Linear };
        Panel { title: "a < b & \"c\"".to_owned(), x: axis("time (s)"), y: axis("loss"), lines, mark: None }
    }

    fn line(name: &str, points: &[(f64, f64)]) -> Line {
        Line { name: name.to_owned(), points: points.to_vec() }
    }

    #[test]
    fn names_with_angles_and_ampersands_are_well_formed_text() {
        let picture =
            svg(&[panel(vec![line("<x>", &[(0.0, 1.0), (1.0, 2.0)]), line("\u{1}&", &[(0.0, 1.0)])])], Paper::FILE);
        let texts = texts(&picture);
        for text in ["a &lt; b &amp; \"c\"", "&lt;x&gt;", "\u{fffd}&amp;", "time (s)", "loss"] {
            assert!(texts.iter().any(|t| t == text), "{text:?} in {texts:?}");
        }
    }

    #[test]
    fn a_value_that_is_no_number_is_a_gap() {
        let points =
            [(0.0, 1.0), (1.0, 2.0), (2.0, f64::NAN), (3.0, 1.5), (4.0, f64::INFINITY), (5.0, 1.0), (6.0, 2.0)];
        let picture = svg(&[panel(vec![line("a", &points)])], Paper::FILE);
        assert_eq!(polylines(&picture).iter().map(Vec::len).collect::<Vec<_>>(), [2, 2]);
        assert_eq!(circles(&picture, "dot").len(), 5);
        assert!(!picture.contains("NaN") && !picture.contains("inf"));
    }

    #[test]
    fn a_panel_without_points_is_empty_axes() {
        let picture = svg(&[panel(Vec::new()), panel(vec![line("a", &[])])], Paper::FILE);
        assert!(polylines(&picture).is_empty() && !picture.contains("NaN"));
    }

    #[test]
    fn a_figure_of_a_page_becomes_a_file_with_its_style() {
        let figure = svg(&[panel(vec![line("a", &[(0.0, 1.0), (1.0, 2.0)])])], Paper::FIGURE);
        assert!(!figure.contains("xmlns") && !figure.contains("<style>"));
        let file = as_file(&figure);
        assert!(file.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 440 "));
        assert!(file.contains("<style>") && file.contains("<rect class=\"paper\" width=\"440\""));
        assert_eq!(polylines(&file), polylines(&figure));
    }

    #[test]
    fn everything_lies_on_the_paper() {
        let many: Vec<Line> = (0..12)
            .map(|n| {
                line(
                    &format!("metric number {n}"),
                    &(0..50).map(|i| (f64::from(i), f64::from(i * n) * 1e3)).collect::<Vec<_>>(),
                )
            })
            .collect();
        let picture = svg(&[panel(many.clone()), panel(many)], Paper::FILE);
        let height: f64 = picture.split("height=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
        for (x, y) in polylines(&picture).into_iter().flatten() {
            assert!((LEFT..=WIDTH - RIGHT).contains(&x) && (0.0..height).contains(&y), "{x}, {y}");
        }
    }
}
