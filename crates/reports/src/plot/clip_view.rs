//! Draws a clip: its wave, its spectrogram, and its spectral centroid and bandwidth over time, on one time axis in seconds.

use std::fmt::Write;

use timbre_inputs::sound_survey::SpectralCourse;
use timbre_signal::{audio::Clip, dsp::level};

use super::Scale;
use super::augmentation_preview::outline;
use super::axis::AxisLayout;
use super::drawing::Drawing;
use super::spectrogram_plot::with_frequencies;

const WIDTH: f64 = 440.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 10.0;
const WAVE: f64 = 64.0;
const IMAGE: f64 = 130.0;
const CURVES: f64 = 90.0;
const GAP: f64 = 12.0;
const LEGEND: f64 = 24.0;
const BOTTOM: f64 = 40.0;
const TOP: f64 = 8.0;
/// Draws the clip; `description` is for screen readers, `loudest` is the top of the colour scale.
pub fn clip_view(description: &str, clip: &Clip, course: &SpectralCourse, loudest: f32) -> Drawing {
    let seconds = clip.samples.len() as f64 / f64::from(clip.sample_rate);
    let (image_top, curves_top) = (TOP + WAVE + GAP, TOP + WAVE + GAP + IMAGE + LEGEND);
    let (bottom, right) = (curves_top + CURVES, WIDTH - RIGHT);
    let time = AxisLayout::new(Scale::Linear, [0.0, seconds].into_iter(), (LEFT, right), 6, false);
    let x = |seconds: f64| time.position(seconds).unwrap_or(LEFT).clamp(LEFT, right);
    let mut out = String::new();
    let mut put = |text: std::fmt::Arguments| out.write_fmt(text).expect("a string takes any text");
    for tick in &time.ticks {
        for (from, to) in [(TOP, TOP + WAVE), (curves_top, bottom)] {
            put(format_args!("<path class=\"grid\" d=\"M{0:.1} {from}V{to}\"/>", tick.position));
        }
        put(format_args!(
            "<text class=\"soft middle small\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
            tick.position,
            bottom + 15.0,
            tick.text
        ));
    }
    put(format_args!(
        "<text class=\"ink middle small\" x=\"{:.1}\" y=\"{:.1}\">time (s)</text>\n",
        (LEFT + right) / 2.0,
        bottom + 32.0
    ));
    let mut ruler = |axis: &AxisLayout, label: &str, (from, to): (f64, f64)| {
        for tick in &axis.ticks {
            put(format_args!("<path class=\"grid\" d=\"M{LEFT} {0:.1}H{right}\"/>", tick.position));
            put(format_args!(
                "<text class=\"soft end small\" x=\"{}\" y=\"{:.1}\">{}</text>\n",
                LEFT - 5.0,
                tick.position + 4.0,
                tick.text
            ));
        }
        let middle = (from + to) / 2.0;
        put(format_args!(
            "<text class=\"ink middle small\" x=\"11\" y=\"{middle}\" transform=\"rotate(-90 11 {middle})\">{label}</text>\n"
        ));
    };
    let peak = level::peak(&clip.samples).max(1e-6);
    let amplitude = f64::from(peak);
    let wave = AxisLayout::new(Scale::Linear, [-amplitude, amplitude].into_iter(), (TOP + WAVE, TOP), 4, false);
    ruler(&wave, "amplitude", (TOP, TOP + WAVE));
    let curves = [("centroid", &course.centroid), ("bandwidth", &course.bandwidth)];
    let values = curves.iter().flat_map(|(_, values)| values.iter().map(|value| f64::from(*value)));
    let hertz = AxisLayout::new(Scale::Linear, values.chain([0.0]), (bottom, curves_top), 3, true);
    ruler(&hertz, "Hz", (curves_top, bottom));
    let image = with_frequencies(clip, loudest, (LEFT, image_top), (x(seconds) - LEFT, IMAGE));
    put(format_args!("{image}"));
    let middle = image_top + IMAGE / 2.0;
    put(format_args!(
        "<text class=\"ink middle small\" x=\"11\" y=\"{middle}\" transform=\"rotate(-90 11 {middle})\">frequency (Hz)</text>\n"
    ));
    let (zero, scale) = (TOP + WAVE / 2.0, WAVE / 2.0 / amplitude);
    put(format_args!(
        "<path class=\"right\" d=\"{}\"/>\n",
        outline(&clip.samples, (LEFT as f32, (x(seconds) - LEFT) as f32), zero as f32, scale as f32)
    ));
    let mut at = LEFT;
    for (n, (name, values)) in curves.into_iter().enumerate() {
        let middle = curves_top - LEGEND / 2.0 + 2.0;
        put(format_args!(
            "<path class=\"line s{n}\" d=\"M{at:.1} {middle}h22\"/><text class=\"ink small\" x=\"{:.1}\" y=\"{}\">{name}</text>\n",
            at + 27.0,
            middle + 4.0
        ));
        at += 110.0;
        let place = |(n, value): (usize, &f32)| {
            let y = hertz.position(f64::from(*value)).unwrap_or(bottom);
            format!("{:.1},{y:.1}", x(n as f64 * course.step))
        };
        let points: Vec<String> = values.iter().enumerate().map(place).collect();
        put(format_args!("<polyline class=\"line s{n}\" points=\"{}\"/>\n", points.join(" ")));
    }
    put(format_args!("<path class=\"axis\" fill=\"none\" d=\"M{LEFT} {curves_top}V{bottom}H{right}\"/>\n"));
    Drawing::new(description, (WIDTH, bottom + BOTTOM), out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::svg_reader::{polylines, texts};
    use timbre_inputs::sound_survey::spectral_course;

    #[test]
    fn a_clip_has_axes_in_seconds_and_hertz_and_its_centroid_at_the_right_height() {
        let samples = (0..44100).map(|n| 0.5 * (std::f32::consts::TAU * 2000.0 * n as f32 / 22050.0).sin()).collect();
        let clip = Clip { samples, sample_rate: 22050 };
        let drawing = clip_view("a <clip>", &clip, &spectral_course(&clip).unwrap(), 40.0).in_page();
        let words = texts(&drawing);
        for word in ["time (s)", "frequency (Hz)", "Hz", "1000", "2.0", "amplitude", "centroid"] {
            assert!(words.iter().any(|text| text == word), "{word} in {words:?}");
        }
        assert!(drawing.contains("a &lt;clip&gt;") && drawing.contains("data:image/png"));
        let lines = polylines(&drawing);
        let (centroid, bandwidth) = (lines[0][20].1, lines[1][20].1);
        assert!(centroid < bandwidth, "a tone has its frequency as centroid and almost no bandwidth");
        assert!(lines.iter().flatten().all(|(x, _)| (LEFT..=WIDTH - RIGHT).contains(x)));
        let empty = Clip { samples: vec![0.0; 10], sample_rate: 8000 };
        assert!(!clip_view("t", &empty, &spectral_course(&empty).unwrap(), 40.0).in_page().contains("NaN"));
    }
}
