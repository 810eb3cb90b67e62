//! Draws predictions over time: one strip per class below the spectrogram, on a common time axis.

use std::fmt::Write;

use super::Scale;
use super::axis::AxisLayout;
use super::data_uri;
use super::spectrogram_image::SpectrogramImage;
use super::text_width::TextStyle;
use timbre_core::text::escape_xml;
use timbre_evaluation::timeline::Segment;

/// The predictions for one recording.
pub struct Timeline<'a> {
    pub title: &'a str,
    /// The model and its run.
    pub model: &'a str,
    pub seconds: f64,
    /// The [`window_boundaries`](timbre_evaluation::timeline::window_boundaries): one more than there are windows.
    pub borders: &'a [f64],
    /// The classes shown, from the top.
    pub strips: Vec<ClassStrip<'a>>,
    pub segments: &'a [Segment],
}

pub struct ClassStrip<'a> {
    pub class: usize,
    pub name: &'a str,
    /// The score of the whole recording.
    pub score: f32,
    /// One probability per window.
    pub probabilities: Vec<f32>,
    /// The probability from which a segment begins.
    pub on: f64,
}

const WIDTH: f64 = 960.0;
/// Width to the left of the axes, for class names and their scores.
const LEFT: f64 = 132.0;
const NAME: f64 = 215.0;
const NAMES_FROM: f64 = 10.0;
const SCORE: f64 = 50.0;
const RIGHT: f64 = 24.0;
const TITLE: f64 = 40.0;
const PICTURE: f64 = 190.0;
const GAP: f64 = 14.0;
const STRIP: f64 = 30.0;
/// Space between two strips.
const AIR: f64 = 6.0;
const BAR: f64 = 6.0;
const BOTTOM: f64 = 54.0;
/// Height of the legend line, and of the line that names the model.
const LINE: f64 = 18.0;

const STYLE: &str = "text{font:13px system-ui,sans-serif;font-variant-ligatures:none}.small{font-size:11px}.title{font-size:16px;font-weight:600}.middle{text-anchor:middle}\
    .end{text-anchor:end}.paper{fill:#fff}.ink{fill:#1f2328}.soft{fill:#59636e}.bed{fill:#f2f4f7}.p{fill:#9cc5e3}\
    .bar{fill:#0072b2}.on{stroke:#59636e;stroke-dasharray:3 3}.axis{stroke:#8b949e;fill:none}.grid{stroke:#1f2328;stroke-opacity:.14}\
    @media (prefers-color-scheme:dark){.paper{fill:#0d1117}.ink{fill:#e6edf3}.soft{fill:#9da7b3}.bed{fill:#1b212a}.p{fill:#2b5f86}\
    .bar{fill:#56b4e9}.on{stroke:#9da7b3}.axis{stroke:#6e7681}.grid{stroke:#e6edf3}}";

/// Draws the timeline as a separate SVG file.
pub fn timeline(of: &Timeline, picture: &mut SpectrogramImage) -> String {
    let top = TITLE + PICTURE + GAP;
    let bottom = top + of.strips.len() as f64 * (STRIP + AIR);
    let (right, height) = (WIDTH - RIGHT, bottom + BOTTOM + 2.0 * LINE);
    let names = TextStyle::Plain.widest(of.strips.iter().map(|strip| strip.name)).min(NAME);
    let left = (NAMES_FROM + names + SCORE).ceil().max(LEFT);
    // The axis is in minutes for recordings longer than ten minutes.
    let (unit, per_unit) = if of.seconds > 600.0 { ("time (min)", 60.0) } else { ("time (s)", 1.0) };
    let ruler = AxisLayout::new(Scale::Linear, [0.0, of.seconds / per_unit].into_iter(), (left, right), 10, false);
    let x = |seconds: f64| ruler.position(seconds / per_unit).unwrap_or(left).clamp(left, right);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n\
         <title>{title}: predictions over time</title>\n<style>{STYLE}</style>\n<rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
         <text class=\"ink title\" x=\"{left}\" y=\"26\">{short}</text>\n",
        title = escape_xml(of.title),
        short = escape_xml(&TextStyle::Title.keep_end(of.title, right - left))
    );
    let mut put = |text: std::fmt::Arguments| out.write_fmt(text).expect("a string takes any text");
    put(format_args!(
        "<rect x=\"{left}\" y=\"{TITLE}\" width=\"{:.1}\" height=\"{PICTURE}\" fill=\"#000004\"/>\n",
        right - left
    ));
    if let Some(png) = picture.png() {
        let width = x(picture.seconds()) - left;
        put(format_args!(
            "<image x=\"{left}\" y=\"{TITLE}\" width=\"{width:.1}\" height=\"{PICTURE}\" preserveAspectRatio=\"none\" \
             href=\"{}\"/>\n",
            data_uri("image/png", &png)
        ));
    }
    put(format_args!("<text class=\"ink end\" x=\"{:.1}\" y=\"{:.1}\">Hz</text>\n", left - 9.0, TITLE - 6.0));
    for hertz in [250, 500, 1000, 2000, 4000, 8000, 16000] {
        let Some(share) = picture.height_of(f64::from(hertz)) else { continue };
        let y = TITLE + PICTURE * (1.0 - share);
        put(format_args!("<path class=\"axis\" d=\"M{:.1} {y:.1}H{left}\"/>", left - 5.0));
        put(format_args!("<text class=\"soft end\" x=\"{:.1}\" y=\"{:.1}\">{hertz}</text>\n", left - 9.0, y + 4.5));
    }
    for (n, strip) in of.strips.iter().enumerate() {
        let from = top + n as f64 * (STRIP + AIR);
        draw(strip, of, from, &x, &mut put);
    }
    for tick in &ruler.ticks {
        put(format_args!("<path class=\"grid\" d=\"M{0:.1} {top}V{bottom}\"/>", tick.position));
        put(format_args!(
            "<text class=\"soft middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
            tick.position,
            bottom + 17.0,
            tick.text
        ));
    }
    put(format_args!("<path class=\"axis\" d=\"M{left} {bottom}H{right}\"/>\n"));
    put(format_args!(
        "<text class=\"ink middle\" x=\"{:.1}\" y=\"{:.1}\">{unit}</text>\n",
        (left + right) / 2.0,
        bottom + 38.0
    ));
    let mut at = left;
    for (sign, words) in [
        (Some("<rect class=\"p\" "), "probability of each window"),
        (None, "detection threshold"),
        (Some("<rect class=\"key bar\" "), "detected"),
    ] {
        let y = bottom + BOTTOM + 7.0;
        match sign {
            Some(rect) => put(format_args!("{rect}x=\"{at:.1}\" y=\"{:.1}\" width=\"18\" height=\"8\"/>", y - 8.0)),
            None => put(format_args!("<path class=\"on\" d=\"M{at:.1} {:.1}h18\"/>", y - 4.0)),
        }
        put(format_args!("<text class=\"soft small\" x=\"{:.1}\" y=\"{y:.1}\">{words}</text>\n", at + 24.0));
        at += 24.0 + TextStyle::Small.width(words) + 24.0;
    }
    put(format_args!(
        "<text class=\"soft small\" x=\"{left}\" y=\"{:.1}\">{}</text>\n",
        bottom + BOTTOM + LINE + 7.0,
        escape_xml(&TextStyle::Small.cut(
            &format!("Predicted by {}. The numbers beside the names are the scores of the whole recording.", of.model),
            right - left
        ))
    ));
    out + "</svg>\n"
}

fn draw(
    strip: &ClassStrip,
    of: &Timeline,
    from: f64,
    x: &impl Fn(f64) -> f64,
    put: &mut impl FnMut(std::fmt::Arguments),
) {
    let (bottom, left, right) = (from + STRIP, x(0.0), x(of.seconds));
    let y = |p: f64| bottom - STRIP * p.clamp(0.0, 1.0);
    put(format_args!(
        "<rect class=\"bed\" x=\"{left}\" y=\"{from}\" width=\"{:.1}\" height=\"{STRIP}\"/>",
        right - left
    ));
    let mut outline = format!("M{left} {bottom}");
    for (from, to, p) in steps(strip, of.borders, x) {
        let _ = write!(outline, "L{from:.1} {0:.1}L{to:.1} {0:.1}", y(p));
    }
    put(format_args!("<path class=\"p\" d=\"{outline}L{right:.1} {bottom}Z\"/>"));
    put(format_args!("<path class=\"on\" d=\"M{left} {0:.1}H{right:.1}\"/>\n", y(strip.on)));
    for segment in of.segments.iter().filter(|segment| segment.class == strip.class) {
        let (from, to) = (x(segment.start), x(segment.end));
        put(format_args!(
            "<rect class=\"bar\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{BAR}\"><title>{} {:.1} to {:.1} s, {:.2}</title></rect>\n",
            bottom - BAR,
            (to - from).max(1.0),
            escape_xml(strip.name),
            segment.start,
            segment.end,
            segment.confidence
        ));
    }
    let name = TextStyle::Plain.cut(strip.name, NAME);
    let middle = from + STRIP / 2.0 + 4.5;
    put(format_args!("<text class=\"ink\" x=\"{NAMES_FROM}\" y=\"{middle:.1}\">{}</text>", escape_xml(&name)));
    put(format_args!("<text class=\"soft end\" x=\"{:.1}\" y=\"{middle:.1}\">{:.2}</text>\n", left - 9.0, strip.score));
}

/// The probability as steps (from, to, value). Windows that share a pixel show the largest, so that peaks stay visible.
fn steps(strip: &ClassStrip, borders: &[f64], x: &impl Fn(f64) -> f64) -> Vec<(f64, f64, f64)> {
    let mut steps: Vec<(f64, f64, f64)> = Vec::new();
    for (window, &p) in borders.windows(2).zip(&strip.probabilities) {
        let (from, to, p) = (x(window[0]), x(window[1]), f64::from(p));
        match steps.last_mut() {
            Some((begun, end, most)) if to - *begun < 1.0 => (*end, *most) = (to, most.max(p)),
            _ => steps.push((from, to, p)),
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::super::svg_reader::spans;
    use super::*;
    use timbre_evaluation::timeline::window_boundaries;

    fn drawn(windows: usize, segments: &[Segment]) -> String {
        let seconds = windows as f64 + 2.0;
        let starts: Vec<f64> = (0..windows).map(|w| w as f64).collect();
        let borders = window_boundaries(&starts, 3.0, seconds);
        let strip = |class, name| ClassStrip {
            class,
            name,
            score: 0.5,
            probabilities: (0..windows).map(|w| (w % 10) as f32 / 10.0).collect(),
            on: 0.5,
        };
        let strips = vec![strip(0, "cel"), strip(4, "a < b & a very long name")];
        let mut picture = SpectrogramImage::new(22050);
        picture.add(&vec![0.1; 22050 * 3]);
        timeline(
            &Timeline { title: "a & b.wav", model: "mel.knn.s1 of x", seconds, borders: &borders, strips, segments },
            &mut picture,
        )
    }

    #[test]
    fn each_segment_is_a_bar_in_the_strip_of_its_class() {
        let segment = |class, start, end| Segment { class, start, end, confidence: 0.75 };
        let picture = drawn(8, &[segment(0, 0.0, 5.0), segment(4, 5.0, 10.0), segment(3, 0.0, 10.0)]);
        let bars: Vec<&str> = picture.split("<rect class=\"bar\"").skip(1).collect();
        assert_eq!(bars.len(), 2, "a class that has no strip has no bar");
        let number = |bar: &str, key: &str| -> f64 {
            bar.split(&format!("{key}=\"")).nth(1).unwrap().split('"').next().unwrap().parse().unwrap()
        };
        let left = number(picture.split("fill=\"#000004\"").next().unwrap().rsplit("<rect").next().unwrap(), " x");
        let near = |a: f64, b: f64| assert!((a - b).abs() < 0.11, "{a}, {b}");
        near(number(bars[0], " x"), left);
        near(number(bars[0], "width"), (WIDTH - left - RIGHT) / 2.0);
        near(number(bars[1], " x"), left + (WIDTH - left - RIGHT) / 2.0);
        assert_eq!(number(bars[1], "y") - number(bars[0], "y"), STRIP + AIR);
        for text in [
            "a &amp; b.wav",
            "a &lt; b &amp; a very long name",
            "cel 0.0 to 5.0 s, 0.75",
            "data:image/png;base64,iVBOR",
        ] {
            assert!(picture.contains(text), "{text}");
        }
    }

    #[test]
    fn wide_names_end_before_their_scores_and_a_long_path_keeps_its_end() {
        let path = format!("{}/name.wav", "folder/".repeat(30));
        for name in ["小提琴与大提琴的合奏", "WWWWWWWWWWWW", "a_rather_long_instrument_name_number_07"] {
            let strip = ClassStrip { class: 0, name, score: 0.5, probabilities: vec![0.5], on: 0.5 };
            let (borders, model) = ([0.0, 1.0], "mel.knn.s1 of x 01234567");
            let of =
                Timeline { title: &path, model, seconds: 1.0, borders: &borders, strips: vec![strip], segments: &[] };
            let spans = spans(&timeline(&of, &mut SpectrogramImage::new(22050)));
            assert!(spans.iter().all(|(begin, end, _)| *begin >= 0.0 && *end <= WIDTH), "{spans:?}");
            let place = |begin: &str| spans.iter().find(|(.., text)| text.starts_with(begin)).unwrap();
            assert!(place(&name[..3]).1 < place("0.50").0);
            assert!(place("…").2.ends_with("/name.wav"));
            assert!(place("Predicted by").2.contains(model));
        }
    }

    #[test]
    fn a_drawing_of_hours_is_not_larger_than_one_of_minutes() {
        assert!(drawn(20_000, &[]).len() < drawn(1_000, &[]).len() + 50_000);
        assert!(drawn(20_000, &[]).contains("time (min)"));
    }
}
