//! Draws a reliability diagram: the observed frequency by predicted probability, with its 95 % interval and the number of cases.

use std::fmt::Write;

use super::panels::rulers;
use super::{Drawing, Line, LineShape, Panel, PlotSize, Scale, axis, panels};

/// Growth of the largest circle. A circle at the top of the axes stays below the legend.
const MORE: f64 = 7.5;

/// The 95 % interval of Wilson (1927) for a frequency observed in so many cases.
fn wilson(frequency: f64, cases: u64) -> (f64, f64) {
    let (n, z2) = (cases.max(1) as f64, 1.959_964_f64.powi(2));
    let middle = (frequency + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = (z2 * (frequency * (1.0 - frequency) / n + z2 / (4.0 * n * n))).sqrt() / (1.0 + z2 / n);
    (middle - half, middle + half)
}

/// Draws the diagram. Each bin has its mean predicted probability, observed frequency and number of cases; circle areas grow with the
/// cases, and a vertical line is the interval.
pub fn reliability(title: &str, bins: &[(f64, f64, u64)], size: PlotSize) -> Drawing {
    let predicted: Vec<(f64, f64)> = bins.iter().map(|bin| (bin.0, bin.1)).collect();
    let panel = Panel {
        title: title.to_owned(),
        x: axis("predicted probability", Scale::Share),
        y: axis("observed frequency", Scale::Share),
        lines: vec![
            Line { shape: LineShape::Points, ..Line::new("model", predicted.clone()) },
            Line::new("perfectly calibrated", (0..=50).map(|n| f64::from(n) / 50.0).map(|x| (x, x)).collect()),
        ],
        mark: None,
    };
    let mut drawing = panels(std::slice::from_ref(&panel), size);
    let (x, y) = rulers(&panel, 0.0, size);
    let most = bins.iter().map(|bin| bin.2).max().unwrap_or(1).max(1) as f64;
    for (&(predicted, observed, cases), position) in bins.iter().zip(&predicted) {
        let (low, high) = wilson(observed, cases);
        let Some((low, high)) = y.position(low).zip(y.position(high)) else { continue };
        let Some((x, y)) = x.position(position.0).zip(y.position(position.1)) else { continue };
        let _ = writeln!(
            drawing.body_mut(),
            "<path class=\"line s0 interval\" d=\"M{x:.1} {low:.1}V{high:.1}\"/><circle class=\"d0\" cx=\"{x:.1}\" cy=\"{y:.1}\" \
             r=\"2.5\"/><circle class=\"missed case\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{:.1}\"><title>{cases} cases, predicted {predicted:.2}, observed \
             {observed:.2}</title></circle>",
            3.0 + MORE * (cases as f64 / most).sqrt()
        );
    }
    drawing
}

#[cfg(test)]
mod tests {
    use super::super::svg_reader::{circles, paths, polylines};
    use super::*;

    #[test]
    fn calibrated_bins_are_on_the_diagonal() {
        let picture = reliability("t", &[(0.2, 0.2, 10), (0.8, 0.5, 1)], PlotSize::FIGURE).in_page();
        let (cases, lines) = (circles(&picture, "case"), polylines(&picture));
        assert_eq!(cases.len(), 2);
        let diagonal = &lines[0];
        let on =
            |point: (f64, f64)| diagonal.iter().any(|d| (d.0 - point.0).abs() < 0.2 && (d.1 - point.1).abs() < 0.2);
        assert!(on(cases[0]) && !on(cases[1]));
        assert_eq!(paths(&picture, "interval").len(), 2);
        assert!(!reliability("t", &[], PlotSize::FIGURE).in_page().contains("NaN"));
    }

    #[test]
    fn intervals_are_those_of_wilson() {
        // From the formula, in Python.
        let near = |(low, high): (f64, f64), expected: (f64, f64)| {
            assert!((low - expected.0).abs() < 1e-4 && (high - expected.1).abs() < 1e-4, "{low}, {high}");
        };
        near(wilson(0.5, 10), (0.2366, 0.7634));
        near(wilson(0.0, 10), (0.0, 0.2775));
        near(wilson(1.0, 1), (0.2065, 1.0));
    }
}
