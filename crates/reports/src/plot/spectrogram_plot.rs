//! Draws the mel spectrogram of a clip with axes in seconds and Hz, small enough for a list of clips.

use std::fmt::Write;

use timbre_signal::audio::Clip;

use super::axis::AxisLayout;
use super::drawing::Drawing;
use super::spectrogram_image::{RANGE_DB, SpectrogramImage};
use super::text_width::TextStyle;
use super::{Scale, data_uri, palette_image};

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

/// The level of the loudest point in the spectrograms of clips: the top of their common scale.
pub fn loudest<'a>(clips: impl Iterator<Item = &'a Clip>) -> f32 {
    clips.filter_map(|clip| image(clip).loudest()).fold(f32::MIN, f32::max)
}

fn image(clip: &Clip) -> SpectrogramImage {
    let mut picture = SpectrogramImage::new(clip.sample_rate);
    picture.add(&clip.samples);
    picture
}

/// The image of a spectrogram at `(left, top)` of that size, with labelled frequencies; nothing without samples. The image may cover a
/// little more time than the clip: `width` is that of the clip. `loudest` is the top of the scale.
pub(super) fn with_frequencies(
    clip: &Clip,
    loudest: f32,
    (left, top): (f64, f64),
    (width, height): (f64, f64),
) -> String {
    let mut out = String::new();
    let seconds = clip.samples.len() as f64 / f64::from(clip.sample_rate);
    let mut picture = image(clip);
    if let Some(png) = picture.png_below(loudest) {
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

/// Draws the colour scale of spectrograms.
pub fn level_legend() -> Drawing {
    const BAR: f64 = 130.0;
    const HEIGHT: f64 = 10.0;
    let shades: Vec<u8> = (0..=255).collect();
    let png = palette_image::encode(&shades, shades.len(), &palette_image::shades());
    let words = "dB below the loudest point of these images";
    let from = 1.0 + TextStyle::Small.width("−80") / 2.0;
    let mut out = format!(
        "<image x=\"{from:.1}\" y=\"2\" width=\"{BAR}\" height=\"{HEIGHT}\" preserveAspectRatio=\"none\" href=\"{}\"/>\n",
        data_uri("image/png", &png)
    );
    for step in 0..=4 {
        let (share, below) = (f64::from(step) / 4.0, RANGE_DB * (1.0 - step as f32 / 4.0));
        let sign = if step < 4 { "−" } else { "" };
        let x = from + BAR * share;
        let _ = writeln!(
            out,
            "<path class=\"axis\" d=\"M{x:.1} {0}v4\"/><text class=\"soft middle small\" x=\"{x:.1}\" y=\"{1}\">{sign}{below:.0}</text>",
            2.0 + HEIGHT,
            HEIGHT + 17.0
        );
    }
    let after = from + BAR + 14.0;
    let _ = writeln!(out, "<text class=\"ink small\" x=\"{after:.1}\" y=\"{HEIGHT}\">{words}</text>");
    Drawing::new(
        &format!("Colours of the spectrograms: {words}"),
        (after + TextStyle::Small.width(words) + 2.0, HEIGHT + 22.0),
        out,
    )
}

/// Draws the clip; `description` is for screen readers, `loudest` is the top of the colour scale.
pub fn spectrogram_plot(description: &str, clip: &Clip, loudest: f32) -> Drawing {
    let seconds = clip.samples.len() as f64 / f64::from(clip.sample_rate);
    let (right, bottom) = (WIDTH - RIGHT, TOP + IMAGE);
    let mut out = with_frequencies(clip, loudest, (LEFT, TOP), (right - LEFT, IMAGE));
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
    use crate::plot::svg_reader::{spans, texts};

    #[test]
    fn a_clip_has_its_seconds_and_its_frequencies_beside_it() {
        let of_rate = |sample_rate: u32| {
            let samples = (0..2 * sample_rate).map(|n| (n as f32 * 0.3).sin()).collect();
            spectrogram_plot("a <clip>", &Clip { samples, sample_rate }, 40.0).in_page()
        };
        let drawing = of_rate(22050);
        let words = texts(&drawing);
        for word in ["time (s)", "Hz", "1000", "8000", "2.0"] {
            assert!(words.iter().any(|text| text == word), "{word} in {words:?}");
        }
        assert!(drawing.contains("<title>a &lt;clip&gt;</title>") && drawing.contains("href=\"data:image/png"));
        // The axis ends at half the sample rate.
        assert!(!texts(&of_rate(8000)).iter().any(|text| text == "8000"));
        let empty = spectrogram_plot("t", &Clip { samples: Vec::new(), sample_rate: 8000 }, 40.0).in_page();
        assert!(!empty.contains("NaN") && !empty.contains("<image"), "{empty}");
    }

    #[test]
    fn a_quieter_recording_is_darker_on_the_common_scale_of_several() {
        let of_level = |level: f32| {
            let samples = (0..22050).map(|n| level * (n as f32 * 0.3).sin()).collect();
            Clip { samples, sample_rate: 22050 }
        };
        let (loud, quiet) = (of_level(1.0), of_level(0.01));
        let (alone, common) = (loudest([&quiet].into_iter()), loudest([&quiet, &loud].into_iter()));
        assert!((common - alone - 40.0).abs() < 0.1, "{common} and {alone}");
        let brightest = |clip: &Clip, top: f32| {
            let (_, pixels) = palette_image::decode(&image(clip).png_below(top).unwrap());
            pixels.iter().map(|[r, g, b]| u32::from(*r) + u32::from(*g) + u32::from(*b)).max().unwrap()
        };
        assert_eq!(brightest(&quiet, alone), brightest(&loud, common));
        assert!(brightest(&quiet, common) < brightest(&loud, common));
        let legend = level_legend().in_page();
        assert!(["−80", "−40", "0"].iter().all(|level| texts(&legend).iter().any(|text| text == level)), "{legend}");
        assert!(spans(&legend).iter().all(|(begin, end, _)| *begin >= 0.0 && *end <= 440.0), "{:?}", spans(&legend));
    }
}
