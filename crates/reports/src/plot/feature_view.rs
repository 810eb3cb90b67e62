//! Draws the features of a clip below each other: images with a time axis in seconds and a frequency axis in Hz, series and vectors as lines.

use std::fmt::Write;

use timbre_core::text::{count, escape_xml};
use timbre_inputs::features::FeatureMatrix;
use timbre_inputs::features::axes::{ColumnAxis, FeatureAxes, RowAxis};

use super::augmentation_preview::png;
use super::axis::AxisLayout;
use super::drawing::Drawing;
use super::{Scale, data_uri};

/// A feature of the clip.
pub struct FeatureView {
    pub name: String,
    pub matrix: FeatureMatrix,
    pub axes: FeatureAxes,
}

const WIDTH: f64 = 760.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 14.0;
const TITLE: f64 = 30.0;
const HEIGHT: f64 = 150.0;
const BOTTOM: f64 = 46.0;
/// Points of a line; more values are drawn by their extremes.
const POINTS: usize = 1200;
/// Rows with a label.
const LABELS: usize = 6;

/// Draws the features; `title` names the clip.
pub fn feature_view(title: &str, features: &[FeatureView]) -> Drawing {
    let mut out = format!("<text class=\"ink title\" x=\"1\" y=\"18\">{}</text>\n", escape_xml(title));
    let mut top = 28.0;
    for feature in features {
        draw(feature, top, &mut out);
        top += TITLE + HEIGHT + BOTTOM;
    }
    Drawing::new(title, (WIDTH, top), out)
}

fn draw(feature: &FeatureView, top: f64, out: &mut String) {
    let FeatureView { name, matrix: FeatureMatrix { rows, cols, values }, axes } = feature;
    let (rows, cols) = (*rows, *cols);
    let (from, bottom, right) = (top + TITLE, top + TITLE + HEIGHT, WIDTH - RIGHT);
    let mut put = |text: std::fmt::Arguments| out.write_fmt(text).expect("a string takes any text");
    let size = if rows == 1 || cols == 1 { count(rows * cols, "value") } else { format!("{rows} × {cols}") };
    put(format_args!(
        "<text class=\"ink\" x=\"{LEFT}\" y=\"{:.1}\">{} ({size})</text>\n",
        from - 8.0,
        escape_xml(name)
    ));
    // A vector has its values side by side, whichever way it stands.
    let is_image = rows > 1 && cols > 1;
    let length = if is_image { cols } else { rows * cols };
    let (step, label, scale) = match axes.columns {
        ColumnAxis::Seconds(step) => (step, "time (s)", Scale::Linear),
        ColumnAxis::Hertz(step) => (step, "frequency (Hz)", Scale::Linear),
        ColumnAxis::Index if axes.rows == RowAxis::Coefficient => (1.0, "coefficient", Scale::Counts),
        ColumnAxis::Index => (1.0, "index", Scale::Counts),
    };
    // The columns of an image have a width.
    let end = if is_image { length } else { length.saturating_sub(1).max(1) };
    let x = AxisLayout::new(scale, [0.0, end as f64 * step].into_iter(), (LEFT, right), 8, false);
    for tick in &x.ticks {
        put(format_args!(
            "<path class=\"axis\" d=\"M{0:.1} {bottom}v4\"/><text class=\"soft middle small\" x=\"{0:.1}\" y=\"{1:.1}\">{2}</text>\n",
            tick.position,
            bottom + 15.0,
            tick.text
        ));
    }
    put(format_args!(
        "<text class=\"ink middle small\" x=\"{:.1}\" y=\"{:.1}\">{label}</text>\n",
        (LEFT + right) / 2.0,
        bottom + 30.0
    ));
    let side = |label: &str, ticks: &[(f64, String)], put: &mut dyn FnMut(std::fmt::Arguments)| {
        for (y, text) in ticks {
            put(format_args!(
                "<path class=\"axis\" d=\"M{} {y:.1}H{LEFT}\"/><text class=\"soft end small\" x=\"{}\" y=\"{:.1}\">{text}</text>\n",
                LEFT - 4.0,
                LEFT - 6.0,
                y + 4.0
            ));
        }
        let middle = (from + bottom) / 2.0;
        put(format_args!(
            "<text class=\"ink middle small\" x=\"11\" y=\"{middle}\" transform=\"rotate(-90 11 {middle})\">{label}</text>\n"
        ));
    };
    if is_image {
        put(format_args!(
            "<image x=\"{LEFT}\" y=\"{from}\" width=\"{:.1}\" height=\"{HEIGHT}\" preserveAspectRatio=\"none\" href=\"{}\"/>\n",
            right - LEFT,
            data_uri("image/png", &png(values, [rows, cols]))
        ));
        let (label, ticks) = row_ticks(&axes.rows, rows, bottom);
        side(label, &ticks, &mut put);
    } else {
        let numbers = values.iter().map(|&value| f64::from(value));
        let y = AxisLayout::new(Scale::Linear, numbers, (bottom - 2.0, from + 2.0), 5, true);
        let ticks: Vec<(f64, String)> = y.ticks.iter().map(|tick| (tick.position, tick.text.clone())).collect();
        side(axes.values, &ticks, &mut put);
        let place = |(at, value): (usize, f32)| {
            let x = x.position(at as f64 * step).unwrap_or(LEFT);
            Some(format!("{x:.1},{:.1}", y.position(f64::from(value))?))
        };
        let points: Vec<String> = extremes(values).into_iter().filter_map(place).collect();
        put(format_args!("<polyline class=\"line s0\" points=\"{}\"/>\n", points.join(" ")));
    }
    put(format_args!("<path class=\"axis\" fill=\"none\" d=\"M{LEFT} {from}V{bottom}H{right}\"/>\n"));
}

/// The label of the rows of an image, and some of them with their heights: the middle of a row, the first at the bottom.
fn row_ticks(axis: &RowAxis, rows: usize, bottom: f64) -> (&'static str, Vec<(f64, String)>) {
    let height = |row: usize| bottom - (row as f64 + 0.5) * HEIGHT / rows as f64;
    let count = rows.min(LABELS);
    let chosen = (0..count).map(|n| if count > 1 { n * (rows - 1) / (count - 1) } else { 0 });
    match axis {
        RowAxis::Hertz(frequencies) => {
            ("frequency (Hz)", chosen.map(|row| (height(row), format!("{:.0}", frequencies[row]))).collect())
        }
        RowAxis::Coefficient => ("coefficient", chosen.map(|row| (height(row), row.to_string())).collect()),
        RowAxis::Index => ("row", chosen.map(|row| (height(row), row.to_string())).collect()),
    }
}

/// The values with their places; of many the least and the greatest of each part.
fn extremes(values: &[f32]) -> Vec<(usize, f32)> {
    let all = values.iter().copied().enumerate();
    if values.len() <= POINTS {
        return all.collect();
    }
    let all: Vec<(usize, f32)> = all.collect();
    let part = values.len().div_ceil(POINTS / 2);
    let of_part = |part: &[(usize, f32)]| {
        let least = part.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1));
        let most = part.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
        let mut both: Vec<(usize, f32)> = least.into_iter().chain(most).collect();
        both.sort_by_key(|(at, _)| *at);
        both
    };
    all.chunks(part).flat_map(of_part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::svg_reader::{polylines, texts};

    fn view(name: &str, [rows, cols]: [usize; 2], row_axis: RowAxis, columns: ColumnAxis) -> FeatureView {
        let values = (0..rows * cols).map(|at| at as f32).collect();
        FeatureView {
            name: name.to_owned(),
            matrix: FeatureMatrix { rows, cols, values },
            axes: FeatureAxes { rows: row_axis, columns, values: "frequency (Hz)" },
        }
    }

    #[test]
    fn images_have_axes_in_seconds_and_hertz_and_vectors_an_index() {
        let bands = (0..40).map(|band| 100.0 * f64::from(band)).collect();
        let features = [
            view("mel", [40, 87], RowAxis::Hertz(bands), ColumnAxis::Seconds(512.0 / 22050.0)),
            view("mfcc", [13, 87], RowAxis::Coefficient, ColumnAxis::Seconds(512.0 / 22050.0)),
            view("<mean>", [20, 1], RowAxis::Index, ColumnAxis::Index),
            view("raw", [1, 22050], RowAxis::Index, ColumnAxis::Seconds(1.0 / 22050.0)),
        ];
        let drawing = feature_view("a & b", &features).in_page();
        let words = texts(&drawing);
        for word in [
            "a &amp; b",
            "time (s)",
            "frequency (Hz)",
            "3900",
            "coefficient",
            "12",
            "index",
            "&lt;mean&gt; (20 values)",
            "2.0",
        ] {
            assert!(words.iter().any(|text| text == word), "{word} in {words:?}");
        }
        assert_eq!(drawing.matches("data:image/png").count(), 2);
        let lines = polylines(&drawing);
        assert_eq!((lines.len(), lines[0].len()), (2, 20));
        assert!(lines[1].len() <= POINTS && lines.iter().flatten().all(|(x, _)| (LEFT..=WIDTH - RIGHT).contains(x)));
        // The values rise from left to right, that is, to a smaller y.
        assert!(lines[0].windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 > pair[1].1));
    }

    #[test]
    fn a_single_value_is_drawn() {
        let drawing = feature_view("t", &[view("tempo", [1, 1], RowAxis::Index, ColumnAxis::Index)]).in_page();
        assert!(!drawing.contains("NaN") && !drawing.contains("inf"));
    }
}
