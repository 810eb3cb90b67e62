//! Draws the mel spectrogram of a clip with axes in seconds and Hz, small enough for a list of clips.

use std::fmt::Write;

use timbre_signal::audio::Clip;

use super::axis::AxisLayout;
use super::drawing::Drawing;
use super::spectrogram_image::SpectrogramImage;
use super::{Scale, data_uri};

const WIDTH: f64 = 240.0;
const LEFT: f64 = 38.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 8.0;
const IMAGE: f64 = 110.0;
const BOTTOM: f64 = 34.0;
/// The smallest distance of two labels.
const APART: f64 = 13.0;
/// Frequencies with a label.
const TICKS: [(f64, &str); 6] =
    [(250.0, "250"), (500.0, "500"), (1000.0, "1000"), (2000.0, "2000"), (4000.0, "4000"), (8000.0, "8000")];

/// The image of a spectrogram at `(left, top)` of that size, with labelled frequencies; nothing without samples. The image may cover a
/// little more time than the clip: `width` is that of the clip.
pub(super) fn with_frequencies(clip: &Clip, (left, top): (f64, f64), (width, height): (f64, f64)) -> String {
    let mut out = String::new();
    let seconds = clip.samples.len() as f64 / f64::from(clip.sample_rate);
    let mut picture = SpectrogramImage::new(clip.sample_rate);
    picture.add(&clip.samples);
    if let Some(png) = picture.png() {
        let width = width * (picture.seconds() / seconds.max(1e-9)).min(1.0);
        let _ = writeln!(
            out,
            "<image x=\"{left}\" y=\"{top}\" width=\"{width:.1}\" height=\"{height}\" preserveAspectRatio=\"none\" href=\"{}\"/>",
            data_uri("image/png", &png)
        );
    }
    let mut before = f64::INFINITY;
    for (hertz, text) in TICKS {
        let Some(share) = picture.height_of(hertz) else { continue };
        let y = top + height * (1.0 - share);
        if before - y < APART {
            continue;
        }
        before = y;
        let _ = writeln!(
            out,
            "<path class=\"axis\" d=\"M{} {y:.1}H{left}\"/><text class=\"soft end small\" x=\"{}\" y=\"{:.1}\">{text}</text>",
            left - 4.0,
            left - 6.0,
            y + 4.0
        );
    }
    out
}

/// Draws the clip; `description` is for screen readers.
pub fn spectrogram_plot(description: &str, clip: &Clip) -> Drawing {
    let seconds = clip.samples.len() as f64 / f64::from(clip.sample_rate);
    let (right, bottom) = (WIDTH - RIGHT, TOP + IMAGE);
    let mut out = with_frequencies(clip, (LEFT, TOP), (right - LEFT, IMAGE));
    let time = AxisLayout::new(Scale::Linear, [0.0, seconds].into_iter(), (LEFT, right), 5, false);
    for tick in &time.ticks {
        let _ = writeln!(
            out,
            "<path class=\"axis\" d=\"M{0:.1} {bottom}v4\"/><text class=\"soft middle small\" x=\"{0:.1}\" y=\"{1}\">{2}</text>",
            tick.position,
            bottom + 15.0,
            tick.text
        );
    }
    let _ = writeln!(
        out,
        "<text class=\"ink middle small\" x=\"{}\" y=\"{}\">time (s)</text><text class=\"ink end small\" x=\"{}\" y=\"{}\">Hz</text>",
        (LEFT + right) / 2.0,
        bottom + 29.0,
        LEFT - 6.0,
        bottom + 29.0
    );
    Drawing::new(description, (WIDTH, bottom + BOTTOM), out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::svg_reader::texts;

    #[test]
    fn a_clip_has_its_seconds_and_its_frequencies_beside_it() {
        let of_rate = |sample_rate: u32| {
            let samples = (0..2 * sample_rate).map(|n| (n as f32 * 0.3).sin()).collect();
            spectrogram_plot("a <clip>", &Clip { samples, sample_rate }).in_page()
        };
        let drawing = of_rate(22050);
        let words = texts(&drawing);
        for word in ["time (s)", "Hz", "1000", "8000", "2.0"] {
            assert!(words.iter().any(|text| text == word), "{word} in {words:?}");
        }
        assert!(drawing.contains("<title>a &lt;clip&gt;</title>") && drawing.contains("href=\"data:image/png"));
        // The axis ends at half the sample rate.
        assert!(!texts(&of_rate(8000)).iter().any(|text| text == "8000"));
        let empty = spectrogram_plot("t", &Clip { samples: Vec::new(), sample_rate: 8000 }).in_page();
        assert!(!empty.contains("NaN") && !empty.contains("<image"), "{empty}");
    }
}
