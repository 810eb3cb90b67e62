//! Draws a reliability diagram: the observed frequency by predicted probability, with the number of cases.

use std::fmt::Write;

use super::panels::rulers;
use super::{Drawing, Line, Panel, PlotSize, Scale, axis, panels};

/// Growth of the largest circle. A circle at the top of the axes stays below the legend.
const MORE: f64 = 7.5;

/// Draws the diagram. Each bin has its mean predicted probability, observed frequency and number of cases; circle areas grow with the
/// cases.
pub fn reliability(title: &str, bins: &[(f64, f64, u64)]) -> Drawing {
    let predicted: Vec<(f64, f64)> = bins.iter().map(|bin| (bin.0, bin.1)).collect();
    let panel = Panel {
        title: title.to_owned(),
        x: axis("predicted probability", Scale::Share),
        y: axis("observed frequency", Scale::Share),
        lines: vec![
            Line { name: "model".to_owned(), points: predicted.clone() },
            Line {
                name: "perfectly calibrated".to_owned(),
                points: (0..=50).map(|n| f64::from(n) / 50.0).map(|x| (x, x)).collect(),
            },
        ],
        mark: None,
    };
    let mut drawing = panels(std::slice::from_ref(&panel), PlotSize::FIGURE);
    let (x, y) = rulers(&panel, 0.0, PlotSize::FIGURE);
    let most = bins.iter().map(|bin| bin.2).max().unwrap_or(1).max(1) as f64;
    for (&(predicted, observed, cases), position) in bins.iter().zip(&predicted) {
        let Some((x, y)) = x.position(position.0).zip(y.position(position.1)) else { continue };
        let _ = writeln!(
            drawing.body_mut(),
            "<circle class=\"missed case\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{:.1}\"><title>{cases} cases, predicted {predicted:.2}, observed \
             {observed:.2}</title></circle>",
            3.0 + MORE * (cases as f64 / most).sqrt()
        );
    }
    drawing
}

#[cfg(test)]
mod tests {
    use super::super::svg_reader::{circles, polylines};
    use super::*;

    #[test]
    fn calibrated_bins_are_on_the_diagonal() {
        let picture = reliability("t", &[(0.2, 0.2, 10), (0.8, 0.5, 1)]).in_page();
        let (cases, lines) = (circles(&picture, "case"), polylines(&picture));
        assert_eq!(cases.len(), 2);
        let diagonal = &lines[1];
        let on =
            |point: (f64, f64)| diagonal.iter().any(|d| (d.0 - point.0).abs() < 0.2 && (d.1 - point.1).abs() < 0.2);
        assert!(on(cases[0]) && !on(cases[1]));
        assert!(!reliability("t", &[]).in_page().contains("NaN"));
    }
}
