//! Draws a clip before and after augmentation: waveform and feature image side by side, with the drawn parameters.

use std::fmt::Write;

use super::{data_uri, palette_image};
use timbre_core::text::escape_xml;

/// A clip before or after augmentation.
pub struct ClipView<'a> {
    pub name: &'a str,
    pub samples: &'a [f32],
    /// The feature image. Rows are bands, the lowest first.
    pub image: &'a [f32],
}

const WIDTH: usize = 960;
/// Width of each of the two columns.
const COLUMN: usize = 450;
const MARGIN: usize = 20;
const WAVE: usize = 110;
const IMAGE: usize = 260;
const TOP: usize = 66;
const LINE: usize = 18;
/// Characters of a line of parameters.
const CAPTION: usize = 130;

fn range<'a>(values: impl Iterator<Item = &'a f32>) -> (f32, f32) {
    values
        .filter(|value| value.is_finite())
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), v| (a.min(*v), b.max(*v)))
}

/// The image as a PNG: one pixel per value, the lowest band at the bottom.
pub fn png(image: &[f32], shape: [usize; 2]) -> Vec<u8> {
    coloured(image, shape, range(image.iter()))
}

fn coloured(image: &[f32], [_, cols]: [usize; 2], (low, high): (f32, f32)) -> Vec<u8> {
    let scale = if high > low { 255.0 / (high - low) } else { 0.0 };
    let colour = |value: &f32| ((value - low) * scale).clamp(0.0, 255.0) as u8;
    let pixels: Vec<u8> = image.chunks_exact(cols.max(1)).rev().flatten().map(colour).collect();
    palette_image::encode(&pixels, cols, &palette_image::shades())
}

/// Draws both clips on the same scales, and `captions` below them.
pub fn svg(title: &str, sides: &[ClipView; 2], shape: [usize; 2], sample_rate: u32, captions: &[String]) -> String {
    let lines: Vec<&str> = captions.iter().flat_map(|caption| wrap(caption)).collect();
    let height = TOP + WAVE + 12 + IMAGE + 40 + LINE * lines.len() + 10;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n\
         <title>{0}</title>\n<style>text{{font:13px system-ui,sans-serif;fill:#1f2328}}.title{{font-size:15px;font-weight:600}}\
         .soft{{fill:#59636e}}.drawn{{font:12px ui-monospace,monospace}}.wave{{fill:#0072b2}}.paper{{fill:#fff}}.axis{{stroke:#8b949e}}\
         @media (prefers-color-scheme:dark){{text{{fill:#e6edf3}}.soft{{fill:#9da7b3}}.wave{{fill:#56b4e9}}.paper{{fill:#0d1117}}}}</style>\n\
         <rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>\n<text class=\"title\" x=\"{MARGIN}\" y=\"26\">{0}</text>\n",
        escape_xml(title)
    );
    let mut put = |text: std::fmt::Arguments| out.write_fmt(text).expect("a string takes any text");
    let loudest = sides.iter().flat_map(|side| side.samples).fold(1e-9f32, |most, sample| most.max(sample.abs()));
    let colours = range(sides.iter().flat_map(|side| side.image));
    for (column, side) in sides.iter().enumerate() {
        let left = MARGIN + column * (COLUMN + MARGIN);
        let middle = TOP as f32 + WAVE as f32 / 2.0;
        put(format_args!("<text class=\"soft\" x=\"{left}\" y=\"{}\">{}</text>\n", TOP - 10, side.name));
        put(format_args!(
            "<line class=\"axis\" x1=\"{left}\" x2=\"{}\" y1=\"{middle}\" y2=\"{middle}\"/>\n<path class=\"wave\" d=\"{}\"/>\n",
            left + COLUMN,
            outline(side.samples, (left as f32, COLUMN as f32), middle, WAVE as f32 / 2.0 / loudest)
        ));
        put(format_args!(
            "<image x=\"{left}\" y=\"{}\" width=\"{COLUMN}\" height=\"{IMAGE}\" preserveAspectRatio=\"none\" \
             href=\"{}\"/>\n",
            TOP + WAVE + 12,
            data_uri("image/png", &coloured(side.image, shape, colours))
        ));
        let seconds = side.samples.len() as f64 / f64::from(sample_rate);
        put(format_args!(
            "<text class=\"soft\" x=\"{left}\" y=\"{}\">{seconds:.2} s; {} bands × {} frames</text>\n",
            TOP + WAVE + 12 + IMAGE + 18,
            shape[0],
            shape[1]
        ));
    }
    for (number, line) in lines.iter().enumerate() {
        let y = TOP + WAVE + 12 + IMAGE + 44 + number * LINE;
        put(format_args!("<text class=\"drawn\" x=\"{MARGIN}\" y=\"{y}\">{}</text>\n", escape_xml(line)));
    }
    out + "</svg>\n"
}

/// The highest and the lowest sample per half pixel, as a closed path.
pub(super) fn outline(samples: &[f32], (left, width): (f32, f32), middle: f32, scale: f32) -> String {
    let columns = (2 * width as usize).min(samples.len().max(1));
    let piece = |column: usize| &samples[column * samples.len() / columns..(column + 1) * samples.len() / columns];
    let point = |column: usize, value: f32| {
        let x = left + column as f32 * width / columns as f32;
        format!("{x:.1} {:.1}", middle - scale * value)
    };
    let tops = (0..columns).map(|column| point(column, range(piece(column).iter()).1.max(0.0)));
    let bottoms = (0..columns).rev().map(|column| point(column, range(piece(column).iter()).0.min(0.0)));
    format!("M{}Z", tops.chain(bottoms).collect::<Vec<_>>().join("L"))
}

/// Wraps a caption into lines that fit.
fn wrap(caption: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = caption;
    while rest.chars().count() > CAPTION {
        let end = rest.char_indices().nth(CAPTION).map_or(rest.len(), |(at, _)| at);
        // Break after a comma, if there is one in the second half.
        let end = rest[..end].rfind(',').filter(|at| *at > end / 2).map_or(end, |at| at + 1);
        lines.push(&rest[..end]);
        rest = &rest[end..];
    }
    lines.push(rest);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clips_and_all_parameters_are_drawn() {
        let (samples, image) = ([0.5, -0.5, 0.25, 0.0], [0.0, 1.0, 2.0, 3.0]);
        let side = |name| ClipView { name, samples: &samples, image: &image };
        let captions = ["{\"kind\":\"gain\"}".to_owned(), "x, ".repeat(100)];
        let picture = svg("a <clip>", &[side("before"), side("after")], [2, 2], 8000, &captions);
        assert_eq!(picture.matches("data:image/png;base64,").count(), 2);
        assert!(picture.contains("a &lt;clip&gt;") && picture.contains("&quot;gain&quot;"));
        assert!(picture.lines().filter(|line| line.contains("class=\"drawn\"")).count() >= 4);
    }

    #[test]
    fn the_lowest_band_is_at_the_bottom_and_the_largest_value_is_the_brightest() {
        let file = png(&[0.0, 0.0, 9.0, 9.0], [2, 2]);
        let (darkest, brightest) = ([0, 0, 4], [252, 236, 176]);
        assert_eq!(palette_image::decode(&file), ((2, 2), vec![brightest, brightest, darkest, darkest]));
    }

    #[test]
    fn empty_clips_and_constant_images_are_drawn() {
        let side = |name| ClipView { name, samples: &[], image: &[1.0, 1.0] };
        assert!(!svg("t", &[side("before"), side("after")], [1, 2], 8000, &[]).contains("NaN"));
    }
}
