//! How often what is said with a probability comes true, and how many cases there are of each.

use std::fmt::Write;

use super::panels::rulers;
use super::{Drawing, Line, Panel, PlotSize, Scale, axis, panels};

/// How much larger the largest circle is: one at the top of the axes stays below the legend.
const MORE: f64 = 7.5;

/// Of each bin: the mean stated probability, the share that came true, the cases. Circles have areas as the cases.
pub fn reliability(title: &str, bins: &[(f64, f64, u64)]) -> Drawing {
    let stated: Vec<(f64, f64)> = bins.iter().map(|bin| (bin.0, bin.1)).collect();
    let panel = Panel {
        title: title.to_owned(),
        x: axis("stated probability", Scale::Share),
        y: axis("share that came true", Scale::Share),
        lines: vec![
            Line { name: "the model".to_owned(), points: stated.clone() },
            Line {
                name: "as it should be".to_owned(),
                points: (0..=50).map(|n| f64::from(n) / 50.0).map(|x| (x, x)).collect(),
            },
        ],
        mark: None,
    };
    let mut drawing = panels(std::slice::from_ref(&panel), PlotSize::FIGURE);
    let (x, y) = rulers(&panel, 0.0, PlotSize::FIGURE);
    let most = bins.iter().map(|bin| bin.2).max().unwrap_or(1).max(1) as f64;
    for (&(stated, came_true, cases), place) in bins.iter().zip(&stated) {
        let Some((x, y)) = x.place(place.0).zip(y.place(place.1)) else { continue };
        let _ = writeln!(
            drawing.over(),
            "<circle class=\"missed case\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{:.1}\"><title>{cases} cases, stated {stated:.2}, came true \
             {came_true:.2}</title></circle>",
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
    fn what_is_stated_rightly_lies_on_the_diagonal() {
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
