//! Draws a heat map as an SVG file: a value over two stepped axes, with markers and an outlined region.
//!
//! Colours are perceptually uniform from dark to light for any colour vision (anchors of matplotlib's viridis). Cells of one
//! colour form one path, so that ten thousand cells stay a small file.

use std::fmt::Write;

use super::Scale;
use super::axis::AxisLayout;
use timbre_core::text::escape_xml;

use super::drawing::Drawing;
use super::panels::WIDTH;
use super::text_width::{TextStyle, with_minus};

const LEFT: f64 = 74.0;
/// Width of the colour bar with its numbers.
const RIGHT: f64 = 110.0;
const TITLE: f64 = 40.0;
/// Height of a line of the legend.
const LINE: f64 = 20.0;
const HEIGHT: f64 = 400.0;
const BOTTOM: f64 = 62.0;
const COLOURS: usize = 48;
/// Approximate number of tick labels on an axis.
const TICKS: usize = 13;

/// A value for each cell of a grid.
#[derive(Clone, Debug, PartialEq)]
pub struct HeatMap {
    pub title: String,
    /// The second line of the title.
    pub note: String,
    /// The label of the axis, and its values, which rise in equal steps.
    pub x: (String, Vec<f64>),
    pub y: (String, Vec<f64>),
    /// The name of the value that the colours show.
    pub value: String,
    /// The values row by row, the first y first.
    pub cells: Vec<f64>,
    /// The outlined cells, and their label.
    pub outlined: Option<(Vec<bool>, String)>,
    pub markers: Vec<MapMarker>,
}

/// A marked point with its legend text.
#[derive(Clone, Debug, PartialEq)]
pub struct MapMarker {
    pub x: f64,
    pub y: f64,
    pub shape: MarkerShape,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkerShape {
    Ring,
    Cross,
    Diamond,
}

const ANCHORS: [[f64; 3]; 7] = [
    [68.0, 1.0, 84.0],
    [70.0, 50.0, 127.0],
    [54.0, 92.0, 141.0],
    [39.0, 127.0, 142.0],
    [31.0, 161.0, 135.0],
    [74.0, 194.0, 109.0],
    [253.0, 231.0, 37.0],
];

fn colour(level: usize) -> String {
    let at = level as f64 / (COLOURS - 1) as f64 * (ANCHORS.len() - 1) as f64;
    let low = (at as usize).min(ANCHORS.len() - 2);
    let mix = |i: usize| (ANCHORS[low][i] + (ANCHORS[low + 1][i] - ANCHORS[low][i]) * (at - low as f64)).round() as u8;
    format!("#{:02x}{:02x}{:02x}", mix(0), mix(1), mix(2))
}

/// Positions in the drawing.
struct Layout {
    from: f64,
    cell: (f64, f64),
}

/// Draws the heat map as a separate SVG file.
pub fn heat_map(map: &HeatMap) -> String {
    let (columns, rows) = (map.x.1.len(), map.y.1.len());
    assert_eq!(map.cells.len(), columns * rows, "one value per cell");
    let lines = map.markers.len() + usize::from(map.outlined.is_some()) + 1;
    let from = TITLE + LINE * lines as f64 + 8.0;
    let height = from + HEIGHT + BOTTOM;
    let mut out = String::new();
    let layout = Layout { from, cell: ((WIDTH - RIGHT - LEFT) / columns as f64, HEIGHT / rows as f64) };
    text(&mut out, "ink title", (LEFT, 26.0), &map.title);
    text(&mut out, "ink", (LEFT, 46.0), &map.note);
    cells(map, &layout, &mut out);
    if let Some((is_in, _)) = &map.outlined {
        let path = outline(is_in, columns, &layout);
        let _ = writeln!(out, "<path class=\"under outline\" d=\"{path}\"/><path class=\"over\" d=\"{path}\"/>");
    }
    axes(map, &layout, &mut out);
    legend(map, &layout, &mut out);
    Drawing::new(&format!("{}, {}", map.title, map.note), (WIDTH, height), out).as_file()
}

fn text(out: &mut String, class: &str, (x, y): (f64, f64), words: &str) {
    let _ = writeln!(out, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escape_xml(words));
}

impl Layout {
    fn left(&self, column: f64) -> f64 {
        LEFT + column * self.cell.0
    }

    /// The first row is at the bottom.
    fn bottom(&self, row: f64) -> f64 {
        self.from + HEIGHT - row * self.cell.1
    }
}

fn cells(map: &HeatMap, layout: &Layout, out: &mut String) {
    let columns = map.x.1.len();
    let (low, high) = range(&map.cells);
    let level = |value: f64| {
        let share = if high > low { (value - low) / (high - low) } else { 1.0 };
        ((share * COLOURS as f64) as usize).min(COLOURS - 1)
    };
    let mut shapes = vec![String::new(); COLOURS];
    for (row, values) in map.cells.chunks_exact(columns).enumerate() {
        let levels: Vec<usize> = values.iter().map(|&value| level(value)).collect();
        let mut begin = 0;
        for end in 1..=columns {
            if end == columns || levels[end] != levels[begin] {
                let (x, y) = (layout.left(begin as f64), layout.bottom(row as f64 + 1.0));
                let width = (end - begin) as f64 * layout.cell.0;
                let _ = write!(shapes[levels[begin]], "M{x:.2} {y:.2}h{width:.2}v{:.2}h-{width:.2}z", layout.cell.1);
                begin = end;
            }
        }
    }
    for (level, shape) in shapes.iter().enumerate().filter(|(_, shape)| !shape.is_empty()) {
        let _ = writeln!(out, "<path fill=\"{}\" shape-rendering=\"crispEdges\" d=\"{shape}\"/>", colour(level));
    }
}

fn range(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &value| (low.min(value), high.max(value)))
}

/// The edges between cells inside and cells outside.
fn outline(is_in: &[bool], columns: usize, layout: &Layout) -> String {
    let rows = is_in.len() / columns;
    let at = |row: isize, column: isize| {
        let inside = row >= 0 && column >= 0 && (row as usize) < rows && (column as usize) < columns;
        inside && is_in[row as usize * columns + column as usize]
    };
    let mut path = String::new();
    for row in 0..rows as isize {
        for column in (0..columns as isize).filter(|&column| at(row, column)) {
            let (x, y) = (layout.left(column as f64), layout.bottom(row as f64));
            let (wide, high) = layout.cell;
            for (is_open, x, y, step) in [
                (!at(row - 1, column), x, y, format!("h{wide:.2}")),
                (!at(row + 1, column), x, y - high, format!("h{wide:.2}")),
                (!at(row, column - 1), x, y, format!("v-{high:.2}")),
                (!at(row, column + 1), x + wide, y, format!("v-{high:.2}")),
            ] {
                if is_open {
                    let _ = write!(path, "M{x:.2} {y:.2}{step}");
                }
            }
        }
    }
    path
}

fn axes(map: &HeatMap, layout: &Layout, out: &mut String) {
    let (bottom, right) = (layout.from + HEIGHT, WIDTH - RIGHT);
    let every = |n: usize| n.div_ceil(TICKS).max(1);
    for (column, value) in map.x.1.iter().enumerate().step_by(every(map.x.1.len())) {
        text(out, "soft middle", (layout.left(column as f64 + 0.5), bottom + 19.0), &with_minus(&value.to_string()));
    }
    for (row, value) in map.y.1.iter().enumerate().step_by(every(map.y.1.len())) {
        text(out, "soft end", (LEFT - 8.0, layout.bottom(row as f64 + 0.5) + 4.5), &with_minus(&value.to_string()));
    }
    text(out, "ink middle", ((LEFT + right) / 2.0, bottom + 41.0), &map.x.0);
    let (side, half) = (22.0, (layout.from + bottom) / 2.0);
    let _ = writeln!(
        out,
        "<text class=\"ink middle\" x=\"{side}\" y=\"{half}\" transform=\"rotate(-90 {side} {half})\">{}</text>",
        escape_xml(&map.y.0)
    );
    let (low, high) = range(&map.cells);
    let (x, step) = (right + 22.0, HEIGHT / COLOURS as f64);
    for level in 0..COLOURS {
        let y = bottom - (level + 1) as f64 * step;
        let _ = write!(
            out,
            "<rect fill=\"{}\" x=\"{x}\" y=\"{y:.2}\" width=\"16\" height=\"{:.2}\"/>",
            colour(level),
            step + 0.5
        );
    }
    out.push('\n');
    let ruler = AxisLayout::new(Scale::Linear, [low, high].into_iter(), (bottom, layout.from), 6, false);
    for tick in &ruler.ticks {
        text(out, "soft", (x + 22.0, tick.position + 4.5), &tick.text);
    }
}

/// Draws the markers in the map and the legend above it.
fn legend(map: &HeatMap, layout: &Layout, out: &mut String) {
    let mut y = TITLE + LINE + 12.0;
    if let Some((_, words)) = &map.outlined {
        let _ = writeln!(
            out,
            "<rect class=\"under\" x=\"{:.1}\" y=\"{:.1}\" width=\"16\" height=\"10\"/><rect class=\"over\" x=\"{:.1}\" y=\"{:.1}\" \
             width=\"16\" height=\"10\"/>",
            LEFT,
            y - 9.5,
            LEFT,
            y - 9.5
        );
        text(out, "ink", (LEFT + 28.0, y), words);
        y += LINE;
    }
    for marker in &map.markers {
        let spot = along(&map.x.1, marker.x).zip(along(&map.y.1, marker.y));
        if let Some((column, row)) = spot {
            draw(out, marker.shape, "place", (layout.left(column), layout.bottom(row)));
        }
        draw(out, marker.shape, "key", (LEFT + 8.0, y - 4.5));
        let beyond = if spot.is_some() { "" } else { " (outside this map)" };
        text(out, "ink", (LEFT + 28.0, y), &format!("{}{beyond}", marker.text));
        y += LINE;
    }
    let wide = TextStyle::Plain.width(&map.value);
    let value = (WIDTH - RIGHT + 22.0 - wide / 4.0).min(WIDTH - 8.0 - wide);
    text(out, "soft", (value, layout.from - 8.0), &map.value);
}

fn draw(out: &mut String, shape: MarkerShape, role: &str, (x, y): (f64, f64)) {
    let path = match shape {
        MarkerShape::Ring => format!("M{:.1} {y:.1}a6 6 0 1 0 12 0a6 6 0 1 0 -12 0z", x - 6.0),
        MarkerShape::Cross => format!("M{:.1} {:.1}l10 10m0 -10l-10 10", x - 5.0, y - 5.0),
        MarkerShape::Diamond => format!("M{x:.1} {:.1}l6 6l-6 6l-6 -6z", y - 6.0),
    };
    let _ = writeln!(out, "<path class=\"under {role}\" d=\"{path}\"/><path class=\"over\" d=\"{path}\"/>");
}

/// The position of a value along an axis, in cells. None outside its range.
fn along(axis: &[f64], value: f64) -> Option<f64> {
    let (first, last) = (*axis.first()?, *axis.last()?);
    let step = if axis.len() > 1 { (last - first) / (axis.len() - 1) as f64 } else { 1.0 };
    let at = (value - first) / step + 0.5;
    (at >= 0.0 && at <= axis.len() as f64).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::super::svg_reader::{paths, texts};
    use super::*;

    fn map() -> HeatMap {
        let (x, y): (Vec<f64>, Vec<f64>) =
            ((0..5).map(|i| f64::from(30 + 2 * i) / 100.0).collect(), (0..4).map(|i| f64::from(i) / 10.0).collect());
        HeatMap {
            title: "f1 <micro>".to_owned(),
            note: "on validation".to_owned(),
            x: ("threshold".to_owned(), x),
            y: ("window fraction".to_owned(), y),
            value: "f1_micro".to_owned(),
            cells: (0..20).map(|i| f64::from(i) / 20.0).collect(),
            outlined: Some(((0..20).map(|i| matches!(i, 6 | 7 | 11)).collect(), "plateau".to_owned())),
            markers: vec![
                MapMarker { x: 0.34, y: 0.1, shape: MarkerShape::Ring, text: "chosen".to_owned() },
                MapMarker { x: 0.9, y: 0.1, shape: MarkerShape::Cross, text: "as run".to_owned() },
            ],
        }
    }

    #[test]
    fn markers_are_in_the_middle_of_their_cells_and_outside_points_are_listed() {
        let picture = heat_map(&map());
        let places = paths(&picture, "place");
        assert_eq!(places.len(), 1);
        let begin: Vec<f64> = places[0][1..].split(['a', ' ']).take(2).map(|n| n.parse().unwrap()).collect();
        let (width, top) = ((WIDTH - RIGHT - LEFT) / 5.0, TITLE + 4.0 * LINE + 8.0);
        assert!((begin[0] + 6.0 - (LEFT + 2.5 * width)).abs() < 0.1);
        assert!((begin[1] - (top + 2.5 * HEIGHT / 4.0)).abs() < 0.1);
        let texts = texts(&picture);
        for words in [
            "f1 &lt;micro&gt;",
            "chosen",
            "as run (outside this map)",
            "plateau",
            "0.34",
            "threshold",
            "window fraction",
        ] {
            assert!(texts.iter().any(|t| t == words), "{words} in {texts:?}");
        }
    }

    #[test]
    fn the_outline_runs_only_between_inside_and_outside() {
        let picture = heat_map(&map());
        let outline = &paths(&picture, "outline")[0];
        // An L of three cells has eight edges.
        assert_eq!(outline.matches('M').count(), 8);
    }

    #[test]
    fn equal_values_and_a_single_cell_are_drawn() {
        let one = HeatMap {
            x: ("x".to_owned(), vec![0.5]),
            y: ("y".to_owned(), vec![0.5]),
            cells: vec![0.25],
            outlined: None,
            markers: Vec::new(),
            ..map()
        };
        let picture = heat_map(&one);
        assert!(!picture.contains("NaN") && !picture.contains("inf"));
    }
}
