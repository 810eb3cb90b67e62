//! A clip before and after augmentation: its wave and its image, side by side with what was drawn.

use std::fmt::Write;

use super::png;
use timbre_core::text::escape_xml;

/// A clip as it was, or as the network gets it.
pub struct ClipView<'a> {
    pub name: &'a str,
    pub samples: &'a [f32],
    /// Rows are bands, the lowest first.
    pub image: &'a [f32],
}

const WIDTH: usize = 960;
/// Of each of the two columns.
const COLUMN: usize = 450;
const MARGIN: usize = 20;
const WAVE: usize = 110;
const IMAGE: usize = 260;
const TOP: usize = 66;
const LINE: usize = 18;
/// Characters of a line of what was drawn.
const CAPTION: usize = 130;

fn range<'a>(values: impl Iterator<Item = &'a f32>) -> (f32, f32) {
    values
        .filter(|value| value.is_finite())
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), v| (a.min(*v), b.max(*v)))
}

/// An image as a PNG, the lowest band at the bottom, a pixel a value.
pub fn png(image: &[f32], shape: [usize; 2]) -> Vec<u8> {
    coloured(image, shape, range(image.iter()))
}

fn coloured(image: &[f32], [_, cols]: [usize; 2], (low, high): (f32, f32)) -> Vec<u8> {
    let scale = if high > low { 255.0 / (high - low) } else { 0.0 };
    let colour = |value: &f32| ((value - low) * scale).clamp(0.0, 255.0) as u8;
    let pixels: Vec<u8> = image.chunks_exact(cols.max(1)).rev().flatten().map(colour).collect();
    png::of_palette(&pixels, cols, &png::shades())
}

/// Both sides on the same scales, and below them `captions`.
pub fn svg(title: &str, sides: &[ClipView; 2], shape: [usize; 2], sample_rate: u32, captions: &[String]) -> String {
    let lines: Vec<&str> = captions.iter().flat_map(|caption| broken(caption)).collect();
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
    for (place, side) in sides.iter().enumerate() {
        let left = MARGIN + place * (COLUMN + MARGIN);
        let middle = TOP as f32 + WAVE as f32 / 2.0;
        put(format_args!("<text class=\"soft\" x=\"{left}\" y=\"{}\">{}</text>\n", TOP - 10, side.name));
        put(format_args!(
            "<line class=\"axis\" x1=\"{left}\" x2=\"{}\" y1=\"{middle}\" y2=\"{middle}\"/>\n<path class=\"wave\" d=\"{}\"/>\n",
            left + COLUMN,
            outline(side.samples, left as f32, middle, WAVE as f32 / 2.0 / loudest)
        ));
        put(format_args!(
            "<image x=\"{left}\" y=\"{}\" width=\"{COLUMN}\" height=\"{IMAGE}\" preserveAspectRatio=\"none\" \
             href=\"data:image/png;base64,{}\"/>\n",
            TOP + WAVE + 12,
            png::base64(&coloured(side.image, shape, colours))
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

/// The highest and the lowest sample of each half pixel, as a closed line.
fn outline(samples: &[f32], left: f32, middle: f32, scale: f32) -> String {
    let columns = (2 * COLUMN).min(samples.len().max(1));
    let piece = |column: usize| &samples[column * samples.len() / columns..(column + 1) * samples.len() / columns];
    let point = |column: usize, value: f32| {
        let x = left + column as f32 * COLUMN as f32 / columns as f32;
        format!("{x:.1} {:.1}", middle - scale * value)
    };
    let tops = (0..columns).map(|column| point(column, range(piece(column).iter()).1.max(0.0)));
    let bottoms = (0..columns).rev().map(|column| point(column, range(piece(column).iter()).0.min(0.0)));
    format!("M{}Z", tops.chain(bottoms).collect::<Vec<_>>().join("L"))
}

/// A caption in lines that fit.
fn broken(caption: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = caption;
    while rest.chars().count() > CAPTION {
        let end = rest.char_indices().nth(CAPTION).map_or(rest.len(), |(at, _)| at);
        // After a comma, if there is one not too far back.
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
    fn both_sides_and_every_draw_are_in_the_picture() {
        let (samples, image) = ([0.5, -0.5, 0.25, 0.0], [0.0, 1.0, 2.0, 3.0]);
        let side = |name| ClipView { name, samples: &samples, image: &image };
        let captions = ["{\"kind\":\"gain\"}".to_owned(), "x, ".repeat(100)];
        let picture = svg("a <clip>", &[side("before"), side("after")], [2, 2], 8000, &captions);
        assert_eq!(picture.matches("data:image/png;base64,").count(), 2);
        assert!(
            picture.contains("a &lt;clip&gt;") && picture.contains("&quot;gain&quot;") || picture.contains("\"gain\"")
        );
        assert!(picture.lines().filter(|line| line.contains("class=\"drawn\"")).count() >= 4);
    }

    #[test]
    fn the_lowest_band_is_at_the_bottom_and_the_loudest_the_brightest() {
        let file = png(&[0.0, 0.0, 9.0, 9.0], [2, 2]);
        // After the two bytes of zlib and the five of the block: filter, two pixels, filter, two pixels.
        let data = file.windows(4).position(|four| four == b"IDAT").unwrap() + 4 + 7;
        assert_eq!(file[data..data + 6], [0, 255, 255, 0, 0, 0]);
    }

    #[test]
    fn silence_and_even_images_are_drawn_too() {
        let side = |name| ClipView { name, samples: &[], image: &[1.0, 1.0] };
        assert!(!svg("t", &[side("before"), side("after")], [1, 2], 8000, &[]).contains("NaN"));
    }
}
