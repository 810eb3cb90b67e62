//! The score grid, and aligned text for a terminal.

use std::ops::Range;

use anyhow::Result;
use polars_core::prelude::{Column, DataFrame};

use super::frame;
use crate::run_dir::{ResultRow, reported_split};
use timbre_core::text::{cut, one_line};
use timbre_evaluation::metrics::replicates;

/// The headline metric by feature (rows) and model (columns): `grid.csv`.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreGrid {
    pub metric: String,
    pub split: String,
    pub features: Vec<String>,
    pub models: Vec<String>,
    /// `cells[feature][model]`: one value per seed.
    pub cells: Vec<Vec<Vec<f64>>>,
    /// Name and values (one per seed) of each trivial baseline.
    pub baselines: Vec<(String, Vec<f64>)>,
}

impl ScoreGrid {
    /// Rows and columns are in the order of first appearance. The split is the test split if there is one.
    pub fn new(rows: &[ResultRow], metric: &str) -> ScoreGrid {
        let split = reported_split(rows.iter().map(|row| row.split.as_str()));
        let mut grid = ScoreGrid {
            metric: metric.to_owned(),
            split: split.to_owned(),
            features: Vec::new(),
            models: Vec::new(),
            cells: Vec::new(),
            baselines: Vec::new(),
        };
        let shown = || rows.iter().filter(|r| r.split == split);
        for row in shown().filter(|r| !r.is_baseline()) {
            index_of(&mut grid.features, &row.trial.features);
            index_of(&mut grid.models, &row.trial.model);
        }
        grid.cells = vec![vec![Vec::new(); grid.models.len()]; grid.features.len()];
        for row in shown() {
            let Some(&value) = row.metrics.get(metric) else { continue };
            if row.is_baseline() {
                match grid.baselines.iter_mut().find(|(name, _)| *name == row.trial.model) {
                    Some((_, values)) => values.push(value),
                    None => grid.baselines.push((row.trial.model.clone(), vec![value])),
                }
            } else {
                let (f, m) =
                    (index_of(&mut grid.features, &row.trial.features), index_of(&mut grid.models, &row.trial.model));
                grid.cells[f][m].push(value);
            }
        }
        grid
    }

    pub fn frame(&self) -> Result<DataFrame> {
        let mut columns = vec![Column::new("features".into(), self.features.clone())];
        for (m, model) in self.models.iter().enumerate() {
            let texts: Vec<String> = self.cells.iter().map(|row| cell(&row[m])).collect();
            columns.push(Column::new(model.as_str().into(), texts));
        }
        frame(self.features.len(), columns)
    }

    /// The grid for a terminal, with the trivial baselines below.
    pub fn text(&self) -> String {
        let corner = format!("{} ({})", self.metric, self.split);
        let mut lines: Vec<Vec<String>> = vec![std::iter::once(corner).chain(self.models.iter().cloned()).collect()];
        for (feature, row) in self.features.iter().zip(&self.cells) {
            lines.push(std::iter::once(feature.clone()).chain(row.iter().map(|values| cell(values))).collect());
        }
        let mut text = aligned(&lines, 1);
        for (name, values) in &self.baselines {
            text += &format!("baseline {name}: {}\n", cell(values));
        }
        text
    }
}

/// Aligns cells in columns with a rule under the first line: the first `words` columns to the left, the others to the right.
pub fn aligned(lines: &[Vec<String>], words: usize) -> String {
    let lines: Vec<Vec<String>> = lines.iter().map(|line| line.iter().map(|cell| one_line(cell)).collect()).collect();
    let columns = lines.first().map_or(0, Vec::len);
    let width = |c: usize| lines.iter().map(|l| l[c].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (i, line) in lines.iter().enumerate() {
        let pad = |(c, (word, &w)): (usize, (&String, &usize))| {
            if c < words { format!("{word:<w$}") } else { format!("{word:>w$}") }
        };
        text += line.iter().zip(&widths).enumerate().map(pad).collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
        if i == 0 {
            text += &"─".repeat(widths.iter().sum::<usize>() + 2 * columns.saturating_sub(1));
            text.push('\n');
        }
    }
    text
}

/// The width of the narrowest usual terminal.
pub const TERMINAL: usize = 80;
/// A column is not made narrower than this.
const NARROWEST: usize = 10;

/// Shortens cells of these columns until the table is as wide as a usual terminal, those of the widest column first.
pub fn fit(lines: &mut [Vec<String>], columns: Range<usize>) {
    let all = lines.first().map_or(0, Vec::len);
    loop {
        let width = |c: usize| lines.iter().map(|line| line[c].chars().count()).max().unwrap_or(0);
        let total = (0..all).map(width).sum::<usize>() + 2 * all.saturating_sub(1);
        let widest = columns.clone().map(|c| (width(c), c)).max().filter(|(width, _)| *width > NARROWEST);
        let Some((width, column)) = widest.filter(|_| total > TERMINAL) else { return };
        let to = width.saturating_sub(total - TERMINAL).max(width / 2).max(NARROWEST);
        lines.iter_mut().for_each(|line| line[column] = cut(&line[column], to));
    }
}

/// The index of a name, which is added if it is new.
fn index_of(names: &mut Vec<String>, name: &str) -> usize {
    names.iter().position(|n| n == name).unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    })
}

/// `0.712`; `0.712 ± 0.013` (sample standard deviation) over several seeds; `–` without a value.
pub fn cell(values: &[f64]) -> String {
    match (replicates::mean(values), replicates::deviation(values)) {
        (None, _) => "–".to_owned(),
        (Some(mean), None) => format!("{mean:.3}"),
        (Some(mean), Some(sd)) => format!("{mean:.3} ± {sd:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::{tests::row, write_csv};

    #[test]
    fn long_cells_are_shortened_until_the_table_fits_a_terminal() {
        let long = "[\"noise\", \"pitch_shift\", \"time_stretch\", \"mix\", \"frequency_mask\"]".to_owned();
        let row =
            |first: &str, value: &str| vec!["1".to_owned(), first.to_owned(), value.to_owned(), "0.812".to_owned()];
        let mut lines = vec![row("k", "augment"), row("3", &long), row("5", &long.repeat(6))];
        fit(&mut lines, 1..3);
        let text = aligned(&lines, 3);
        assert!(text.lines().all(|line| line.chars().count() <= TERMINAL), "{text}");
        assert!(text.contains("[\"noise\"") && text.contains('…') && text.contains("mask\"]"), "{text}");
        // A table that fits stays as it is.
        let mut short = vec![row("k", "augment"), row("3", &long)];
        let before = short.clone();
        fit(&mut short, 1..3);
        assert_eq!(short == before, aligned(&before, 3).lines().all(|line| line.chars().count() <= TERMINAL));
    }

    #[test]
    fn the_grid_keeps_the_order_of_features_and_models() {
        let rows = [
            row("raw", "knn", 1, 0.125),
            row("raw", "average", 1, 0.25),
            row("mel", "knn", 1, 0.5),
            row("-", "commonest_class", 1, 0.1),
        ];
        let grid = ScoreGrid::new(&rows, "accuracy");
        let mut csv = Vec::new();
        write_csv(grid.frame().unwrap(), &mut csv).unwrap();
        assert_eq!(String::from_utf8(csv).unwrap(), "features,knn,average\nraw,0.125,0.250\nmel,0.500,–\n");
        assert!(grid.text().ends_with("baseline commonest_class: 0.100\n"), "{}", grid.text());
    }

    #[test]
    fn several_seeds_give_a_mean_and_a_standard_deviation() {
        assert_eq!(cell(&[0.5, 0.7]), "0.600 ± 0.141");
        assert_eq!(cell(&[0.5]), "0.500");
        assert_eq!(cell(&[]), "–");
    }
}
