//! Draws what a model predicted in each window of one recording, small enough for a list of recordings.

use std::fmt::Write;

use timbre_core::text::escape_xml;

use super::Scale;
use super::axis::AxisLayout;
use super::drawing::Drawing;
use super::text_width::TextStyle;

/// As wide as a spectrogram of the list, with the same axis of time.
const WIDTH: f64 = 240.0;
const LEFT: f64 = 38.0;
const RIGHT: f64 = 12.0;
const NAME: f64 = 15.0;
const STRIP: f64 = 22.0;
const GAP: f64 = 4.0;
const BOTTOM: f64 = 34.0;

/// The windows of a recording.
pub struct ClipTimeline<'a> {
    /// The [`window_boundaries`](timbre_evaluation::timeline::window_boundaries): one more than there are windows.
    pub boundaries: &'a [f64],
    pub strips: Vec<Strip>,
    /// The part that the player beside it plays, in seconds.
    pub played: Option<(f64, f64)>,
}

/// A class over time.
pub struct Strip {
    pub name: String,
    /// One probability per window.
    pub probabilities: Vec<f32>,
    pub threshold: Option<f64>,
}

/// Draws the strips below each other; `description` is for screen readers.
pub fn clip_timeline(description: &str, of: &ClipTimeline) -> Drawing {
    let end = of.boundaries.last().copied().unwrap_or_default();
    let right = WIDTH - RIGHT;
    let time = AxisLayout::new(Scale::Linear, [0.0, end].into_iter(), (LEFT, right), 5, false);
    let x = |seconds: f64| time.position(seconds).unwrap_or(LEFT).clamp(LEFT, right);
    let bottom = of.strips.len() as f64 * (NAME + STRIP + GAP);
    let mut out = String::new();
    let mut put = |text: std::fmt::Arguments| out.write_fmt(text).expect("a string takes any text");
    for (n, strip) in of.strips.iter().enumerate() {
        let base = n as f64 * (NAME + STRIP + GAP) + NAME + STRIP;
        let y = |p: f64| base - STRIP * p.clamp(0.0, 1.0);
        let name = TextStyle::Small.cut(&strip.name, right - LEFT);
        put(format_args!(
            "<text class=\"ink small\" x=\"{LEFT}\" y=\"{:.1}\">{}</text>\n",
            base - STRIP - 4.0,
            escape_xml(&name)
        ));
        let mut area = format!("M{LEFT} {base}");
        for (window, &p) in of.boundaries.windows(2).zip(&strip.probabilities) {
            let _ = write!(area, "L{0:.1} {2:.1}L{1:.1} {2:.1}", x(window[0]), x(window[1]), y(f64::from(p)));
        }
        put(format_args!("<path class=\"missed\" d=\"{area}L{:.1} {base}Z\"/>\n", x(end)));
        if let Some(threshold) = strip.threshold {
            put(format_args!("<path class=\"guide\" d=\"M{LEFT} {:.1}H{right}\"/>\n", y(threshold)));
        }
        put(format_args!("<path class=\"axis\" d=\"M{LEFT} {base}H{right}\"/>\n"));
        for (p, text) in [(0.0, "0"), (1.0, "1")] {
            let y = y(p) + 4.0;
            put(format_args!("<text class=\"soft end small\" x=\"{}\" y=\"{y:.1}\">{text}</text>\n", LEFT - 6.0));
        }
    }
    if let Some((from, to)) = of.played {
        let line = bottom - GAP + 2.0;
        put(format_args!("<path class=\"thick\" d=\"M{:.1} {line}H{:.1}\"/>\n", x(from), x(to)));
    }
    for tick in &time.ticks {
        put(format_args!(
            "<path class=\"axis\" d=\"M{0:.1} {bottom}v4\"/><text class=\"soft middle small\" x=\"{0:.1}\" y=\"{1}\">{2}</text>\n",
            tick.position,
            bottom + 15.0,
            tick.text
        ));
    }
    put(format_args!(
        "<text class=\"ink middle small\" x=\"{}\" y=\"{}\">time (s)</text>\n",
        (LEFT + right) / 2.0,
        bottom + 29.0
    ));
    Drawing::new(description, (WIDTH, bottom + BOTTOM), out)
}

#[cfg(test)]
mod tests {
    use super::super::svg_reader::{paths, texts};
    use super::*;

    #[test]
    fn each_class_has_a_strip_and_the_played_part_is_marked() {
        let strip = |name: &str, probabilities: &[f32]| Strip {
            name: name.to_owned(),
            probabilities: probabilities.to_vec(),
            threshold: Some(0.5),
        };
        let boundaries = [0.0, 2.0, 8.0];
        let of = |played| ClipTimeline {
            boundaries: &boundaries,
            strips: vec![strip("cello <truth>", &[0.0, 1.0]), strip("violin", &[1.0, 0.25])],
            played,
        };
        let drawn = clip_timeline("a <recording>", &of(Some((2.0, 4.0)))).in_page();
        assert_eq!(
            (paths(&drawn, "missed").len(), paths(&drawn, "guide").len(), paths(&drawn, "thick").len()),
            (2, 2, 1)
        );
        let words = texts(&drawn);
        assert!(
            words.iter().any(|text| text == "cello &lt;truth&gt;") && words.iter().any(|text| text == "time (s)"),
            "{words:?}"
        );
        // The first window is a quarter of the width, at 0; the second the rest, at 1.
        assert!(drawn.contains("M38 37L38.0 37.0L85.5 37.0L85.5 15.0L228.0 15.0L228.0 37Z"), "{drawn}");
        assert!(paths(&clip_timeline("x", &of(None)).in_page(), "thick").is_empty());
        assert!(
            !clip_timeline("x", &ClipTimeline { boundaries: &[], strips: Vec::new(), played: None })
                .in_page()
                .contains("NaN")
        );
    }
}
