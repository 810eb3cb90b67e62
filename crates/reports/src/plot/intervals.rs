//! Draws values with their intervals, one per row, beside a reference line.

use std::fmt::Write;

use super::Scale;
use super::axis::AxisLayout;
use timbre_core::text::escape_xml;

use super::drawing::Drawing;
use super::text_width::{TextStyle, with_minus};

/// A value with its interval.
#[derive(Clone, Debug, PartialEq)]
pub struct Interval {
    pub name: String,
    pub value: f64,
    /// The confidence interval.
    pub ends: Option<(f64, f64)>,
    /// The values of the seeds, if there are several: drawn as dots.
    pub seeds: Vec<f64>,
}

const TITLE: f64 = 40.0;
const ROW: f64 = 24.0;
const BOTTOM: f64 = 50.0;
/// The largest width of a name.
const NAME: f64 = 350.0;
/// The smallest width of the axis: long names make the drawing wider.
const SCALE: f64 = 190.0;
/// Width of the value on the right.
const VALUE: f64 = 58.0;

/// Draws values with their intervals. `reference` is a value to compare with, and its label. Long names make the drawing wider than `width`.
pub fn intervals(title: &str, label: &str, rows: &[Interval], reference: Option<(f64, &str)>, width: f64) -> Drawing {
    draw(title, label, rows, reference, width, |value| with_minus(&format!("{value:.3}")))
}

/// Draws differences with their signs, beside a reference line at 0.
pub fn differences(title: &str, label: &str, rows: &[Interval], width: f64) -> Drawing {
    draw(title, label, rows, Some((0.0, "no difference")), width, |value| match with_minus(&format!("{value:.3}")) {
        zero if zero == "0.000" => zero,
        number if value > 0.0 => format!("+{number}"),
        number => number,
    })
}

fn draw(
    title: &str,
    label: &str,
    rows: &[Interval],
    reference: Option<(f64, &str)>,
    width: f64,
    written: impl Fn(f64) -> String,
) -> Drawing {
    let head = TITLE + if reference.is_some() { 22.0 } else { 0.0 };
    let height = head + ROW * rows.len() as f64 + BOTTOM;
    let mut out = String::new();
    let style = TextStyle::Plain;
    let longest = style.widest(rows.iter().map(|row| row.name.as_str())).clamp(20.0, NAME);
    let left = 14.0 + longest;
    let width = width.max(left + SCALE + VALUE);
    let right = width - VALUE;
    let of_row = |row: &Interval| {
        let (low, high) = row.ends.unwrap_or((row.value, row.value));
        row.seeds.iter().copied().chain([row.value, low, high]).collect::<Vec<_>>()
    };
    // From 0, so that lengths compare as the scores do.
    let values = rows.iter().flat_map(of_row).chain([0.0]);
    let ruler =
        AxisLayout::new(Scale::Linear, values.chain(reference.map(|b| b.0)), (left + 8.0, right - 8.0), 5, false);
    let bottom = height - BOTTOM;
    let mut put = |text: std::fmt::Arguments| out.write_fmt(text).expect("a string takes any text");
    put(format_args!(
        "<text class=\"ink title\" x=\"1\" y=\"22\">{}</text>\n",
        escape_xml(&TextStyle::Title.cut(title, width - 2.0))
    ));
    for tick in &ruler.ticks {
        put(format_args!(
            "<path class=\"grid\" d=\"M{0:.1} {head}V{bottom}\"/><text class=\"soft middle\" x=\"{0:.1}\" y=\"{1:.1}\">{2}</text>\n",
            tick.position,
            bottom + 18.0,
            tick.text
        ));
    }
    if let Some((value, words)) = reference
        && let Some(at) = ruler.position(value)
    {
        let half = style.width(words) / 2.0;
        let x = at.min(width - 8.0 - half).max(8.0 + half);
        put(format_args!(
            "<path class=\"beside\" d=\"M{at:.1} {head}V{bottom}\"/><text class=\"ink middle\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>\n",
            head - 6.0,
            escape_xml(words)
        ));
    }
    for (n, row) in rows.iter().enumerate() {
        let y = head + ROW * (n as f64 + 0.5);
        if let Some((low, high)) = row.ends.and_then(|(low, high)| Some((ruler.position(low)?, ruler.position(high)?)))
        {
            put(format_args!("<path class=\"thick interval\" d=\"M{low:.1} {y:.1}H{high:.1}\"/>"));
        }
        for at in row.seeds.iter().filter_map(|value| ruler.position(*value)) {
            put(format_args!("<circle class=\"seed\" cx=\"{at:.1}\" cy=\"{y:.1}\" r=\"2.5\"/>"));
        }
        if let Some(at) = ruler.position(row.value) {
            put(format_args!("<circle class=\"right value\" cx=\"{at:.1}\" cy=\"{y:.1}\" r=\"5\"/>"));
        }
        put(format_args!(
            "<text class=\"ink end\" x=\"{:.1}\" y=\"{1:.1}\">{2}</text><text class=\"soft end\" x=\"{3:.1}\" y=\"{1:.1}\">{4}</text>\n",
            left - 2.0,
            y + 4.5,
            escape_xml(&style.cut(&row.name, NAME)),
            width - 8.0,
            written(row.value)
        ));
    }
    put(format_args!("<path class=\"axis\" d=\"M{left:.1} {bottom}H{right:.1}\"/>\n"));
    put(format_args!(
        "<text class=\"ink middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
        (left + right) / 2.0,
        bottom + 38.0,
        escape_xml(label)
    ));
    Drawing::new(title, (width, height), out)
}

#[cfg(test)]
mod tests {
    use super::super::svg_reader::{circles, paths, spans, texts};
    use super::*;

    #[test]
    fn a_value_is_inside_its_interval_if_it_has_one() {
        let row = |name: &str, value, ends| Interval {
            name: name.to_owned(),
            value,
            ends,
            seeds: vec![value - 0.125, value + 0.125],
        };
        let rows = [row("mel.knn", 0.5, Some((0.25, 0.75))), row("<raw>", 0.0, None)];
        let picture = intervals("t", "accuracy", &rows, Some((0.25, "commonest 0.250")), 440.0).in_page();
        let (values, lines) = (circles(&picture, "value"), paths(&picture, "interval"));
        assert_eq!((values.len(), lines.len()), (2, 1));
        // Half as far from the value as the ends of the interval.
        let seeds = circles(&picture, "seed");
        assert_eq!((seeds.len(), seeds[0].1), (4, values[0].1));
        let ends: Vec<f64> = lines[0][1..].split([' ', 'H']).map(|n| n.parse().unwrap()).collect();
        assert!(((ends[0] + ends[2]) / 2.0 - values[0].0).abs() < 0.2);
        assert!(((ends[0] + values[0].0) / 2.0 - seeds[0].0).abs() < 0.2);
        let beside: f64 = paths(&picture, "beside")[0][1..].split(' ').next().unwrap().parse().unwrap();
        assert!((beside - ends[0]).abs() < 0.11);
        assert!(texts(&picture).iter().any(|text| text == "&lt;raw&gt;"));
        assert!(!intervals("t", "x", &[], None, 440.0).in_page().contains("NaN"));
    }

    #[test]
    fn long_names_widen_the_drawing_and_stay_inside() {
        for name in
            ["小提琴与大提琴的合奏、小提琴与大提琴的合奏、小提琴与大提琴的合奏", "WWWWWWWWWWWWWWWWWWWWWWWWWWWWWW", "a"]
        {
            let drawing = intervals(
                &"long title ".repeat(20),
                "accuracy",
                &[Interval { name: name.to_owned(), value: 0.5, ends: None, seeds: Vec::new() }],
                None,
                440.0,
            );
            let picture = drawing.in_page();
            let width: f64 = picture.split(" width=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
            assert!(spans(&picture).iter().all(|(begin, end, _)| *begin >= 0.0 && *end <= width), "{picture}");
            assert_eq!(width > 440.0, name != "a");
        }
    }

    #[test]
    fn a_difference_has_a_sign_unless_it_is_zero() {
        let row = |value| Interval { name: "x".to_owned(), value, ends: None, seeds: Vec::new() };
        let texts = texts(&differences("t", "difference", &[0.25, -0.25, -0.0001].map(row), 440.0).in_page());
        assert!(["+0.250", "−0.250", "0.000"].iter().all(|value| texts.iter().any(|text| text == value)), "{texts:?}");
    }
}
