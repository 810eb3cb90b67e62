//! Draws one bar per class: true positives and false negatives to the right, false positives to the left.

use std::fmt::Write;

use super::Scale;
use super::axis::AxisLayout;
use timbre_core::text::escape_xml;

use super::drawing::Drawing;
use super::text_width::TextStyle;

/// The recordings of one class by outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassBar {
    pub class: String,
    pub true_positives: u64,
    pub false_negatives: u64,
    pub false_positives: u64,
    /// The text at the end of the bar.
    pub note: String,
}

/// Height of the title and of a line of the legend below it.
const TITLE: f64 = 72.0;
const LEGEND: f64 = 18.0;
/// The width from which the legend and the heading of the notes are one line.
const BROAD: f64 = 400.0;
const ROW: f64 = 24.0;
const BOTTOM: f64 = 50.0;
/// The largest width of a class name, and of the text at the end of its bar.
const NAME: f64 = 180.0;
const NOTE: f64 = 100.0;

/// Draws the bars. `note` is the heading of the texts at their ends.
pub fn class_bars(title: &str, note: &str, bars: &[ClassBar], width: f64) -> Drawing {
    let is_narrow = width < BROAD;
    let top = TITLE + if is_narrow { LEGEND } else { 0.0 };
    let height = top + ROW * bars.len() as f64 + BOTTOM;
    let mut out = String::new();
    let style = TextStyle::Plain;
    let left = 14.0 + style.widest(bars.iter().map(|bar| bar.class.as_str())).clamp(20.0, NAME);
    let notes = bars.iter().map(|bar| bar.note.as_str()).chain([note]);
    let right = width - 12.0 - style.widest(notes).min(NOTE);
    let most = |of: fn(&ClassBar) -> u64| bars.iter().map(of).max().unwrap_or(0) as f64;
    let (alarms, recordings) =
        (most(|bar| bar.false_positives), most(|bar| bar.true_positives + bar.false_negatives).max(1.0));
    let ruler = AxisLayout::new(Scale::Counts, [-alarms, recordings].into_iter(), (left + 4.0, right - 6.0), 6, false);
    let place = |count: f64| ruler.position(count).unwrap_or(left);
    let (zero, bottom) = (place(0.0), height - BOTTOM);
    let mut put = |text: std::fmt::Arguments| out.write_fmt(text).expect("a string takes any text");
    put(format_args!("<text class=\"ink title\" x=\"1\" y=\"22\">{}</text>\n", escape_xml(title)));
    for (x, class, words) in
        [(1.0, "wrong", "false positive"), (130.0, "right", "true positive"), (250.0, "missed", "false negative")]
    {
        let (x, y) = if is_narrow && class == "missed" { (1.0, 36.0 + LEGEND) } else { (x, 36.0) };
        put(format_args!(
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"14\" height=\"12\"/><text class=\"ink\" x=\"{}\" y=\"{}\">{words}</text>\n",
            x + 20.0,
            y + 11.0
        ));
    }
    put(format_args!(
        "<text class=\"soft end\" x=\"{}\" y=\"{}\">{}</text>\n",
        width - 8.0,
        top - 25.0,
        escape_xml(note)
    ));
    for tick in &ruler.ticks {
        put(format_args!(
            "<path class=\"grid\" d=\"M{0:.1} {top}V{bottom}\"/><text class=\"soft middle\" x=\"{0:.1}\" y=\"{1:.1}\">{2}</text>\n",
            tick.position,
            bottom + 18.0,
            tick.text.trim_start_matches('−')
        ));
    }
    for (n, bar) in bars.iter().enumerate() {
        let y = top + ROW * n as f64 + 4.0;
        let found = place(bar.true_positives as f64);
        let mut rect = |class: &str, from: f64, to: f64| {
            if to > from {
                let length = to - from;
                put(format_args!(
                    "<rect class=\"{class}\" x=\"{from:.1}\" y=\"{y}\" width=\"{length:.1}\" height=\"{}\"/>",
                    ROW - 8.0
                ));
            }
        };
        rect("wrong", place(-(bar.false_positives as f64)), zero);
        rect("right", zero, found);
        rect("missed", found, place((bar.true_positives + bar.false_negatives) as f64));
        let name = style.cut(&bar.class, NAME);
        put(format_args!(
            "<text class=\"ink end\" x=\"{:.1}\" y=\"{1:.1}\">{2}</text><text class=\"soft end\" x=\"{3:.1}\" y=\"{1:.1}\">{4}</text>\n",
            left - 4.0,
            y + 13.0,
            escape_xml(&name),
            width - 8.0,
            escape_xml(&bar.note)
        ));
    }
    put(format_args!("<path class=\"axis\" d=\"M{zero:.1} {top}V{bottom}\"/>\n"));
    put(format_args!(
        "<text class=\"ink middle\" x=\"{:.1}\" y=\"{:.1}\">recordings</text>\n",
        (left + right) / 2.0,
        bottom + 38.0
    ));
    Drawing::new(title, (width, height), out)
}

#[cfg(test)]
mod tests {
    use super::super::svg_reader::{spans, texts};
    use super::*;

    fn bar(class: &str, true_positives: u64, false_negatives: u64, false_positives: u64) -> ClassBar {
        ClassBar { class: class.to_owned(), true_positives, false_negatives, false_positives, note: "0.50".to_owned() }
    }

    /// Left edge and width of the bars of that class.
    fn rects(picture: &str, class: &str) -> Vec<(f64, f64)> {
        let number = |tag: &str, key: &str| -> f64 {
            tag.split(&format!(" {key}=\"")).nth(1).unwrap().split('"').next().unwrap().parse().unwrap()
        };
        let begin = format!("<rect class=\"{class}\"");
        // The first rectangle is the legend's.
        let bars = picture.split(&begin).skip(2);
        bars.map(|rest| (number(rest, "x"), number(rest, "width"))).collect()
    }

    #[test]
    fn bars_are_as_long_as_their_counts_and_false_positives_are_on_the_left() {
        let picture = class_bars("t", "F1", &[bar("gel", 6, 2, 4), bar("<voi>", 3, 0, 0)], 440.0).in_page();
        let (found, missed, alarms) = (rects(&picture, "right"), rects(&picture, "missed"), rects(&picture, "wrong"));
        assert!((found[0].1 - 2.0 * found[1].1).abs() < 0.2);
        assert!((found[0].1 - 3.0 * missed[0].1).abs() < 0.3);
        assert_eq!((missed.len(), alarms.len()), (1, 1));
        assert!((alarms[0].0 + alarms[0].1 - found[0].0).abs() < 0.2 && (alarms[0].1 - 2.0 * missed[0].1).abs() < 0.2);
        assert!(texts(&picture).iter().any(|text| text == "&lt;voi&gt;"));
    }

    #[test]
    fn no_classes_and_classes_without_recordings_are_drawn() {
        for bars in [vec![], vec![bar("a", 0, 0, 0)]] {
            let picture = class_bars("t", "F1", &bars, 440.0).in_page();
            assert!(!picture.contains("NaN") && !texts(&picture).is_empty());
        }
    }

    #[test]
    fn wide_names_stay_inside_the_drawing_and_long_names_keep_their_ends() {
        let names = ["小提琴与大提琴的合奏", "WWWWWWWWWWWW", "a_rather_long_instrument_name_number_07"];
        for name in names {
            let picture = class_bars("t", "F1", &[bar(name, 6, 2, 4)], 440.0).in_page();
            let (begin, _, shown) =
                spans(&picture).into_iter().find(|(_, _, text)| text.starts_with(&name[..3])).unwrap();
            assert!(begin >= 0.0, "{shown} begins at {begin}");
        }
        let picture = class_bars("t", "F1", &[bar(names[2], 6, 2, 4)], 440.0).in_page();
        assert!(texts(&picture).iter().any(|text| text.ends_with("_07")));
    }
}
