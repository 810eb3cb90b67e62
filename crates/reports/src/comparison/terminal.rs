//! A comparison as a person reads it in a terminal, or in a file that it was written to.

use super::comparison::{Comparison, DifferingKey};
use super::text_tables::{self, TextTable, remarks, status};
use super::{config_keys, short_values};
use timbre_runs::tables;

/// With so many runs their keys still stand side by side above the table.
const SIDE_BY_SIDE: usize = 4;

/// So many characters of a value are shown above the table, and so many values.
const WIDEST: usize = 60;
const VALUES: usize = 12;

/// The comparison in a terminal of so many columns; elsewhere lines are as long as they are.
pub fn text(comparison: &Comparison, width: Option<usize>) -> String {
    let mut text = String::new();
    let inline = comparison.runs.len() > SIDE_BY_SIDE;
    for run in &comparison.runs {
        let unfinished = if run.status.is_final() { String::new() } else { format!("  {}", status(run.status)) };
        let reference =
            if run.number == comparison.reference.run + 1 && comparison.runs.len() > 1 { "  (reference)" } else { "" };
        text += &format!(
            "{}: {}  {} clips of {}  {}{unfinished}{reference}\n",
            run.number, run.name, run.clips, run.data, run.path
        );
    }
    if !comparison.keys.is_empty() {
        text += "\nDiffering keys\n";
        text += &if inline { values_of_keys(&comparison.keys) } else { side_by_side(&comparison.keys) };
    }
    for (metric, sheet) in text_tables::sheets(comparison, false).into_iter().enumerate() {
        text += &format!("\n{}", Table::new(comparison, metric, sheet, inline).text(width));
    }
    for line in remarks(comparison) {
        text += &format!("\n{line}");
    }
    text.push('\n');
    text
}

fn side_by_side(keys: &[DifferingKey]) -> String {
    let line =
        |key: &DifferingKey| format!("  {}: {}\n", key.name, short_values::of_values(&key.values, WIDEST).join(" | "));
    keys.iter().map(line).collect()
}

/// Of many runs each key with the values that it has in any of them; tables that the same runs have stand together.
fn values_of_keys(keys: &[DifferingKey]) -> String {
    let mut text = String::new();
    let mut tables: Vec<(&[Option<String>], Vec<&str>)> = Vec::new();
    for key in keys {
        if says_only_there(key) {
            match tables.iter_mut().find(|(runs, _)| *runs == key.values) {
                Some((_, names)) => names.push(&key.name),
                None => tables.push((&key.values, vec![&key.name])),
            }
            continue;
        }
        let mut distinct: Vec<Option<String>> = Vec::new();
        key.values.iter().for_each(|value| {
            if !distinct.contains(value) {
                distinct.push(value.clone())
            }
        });
        let more = distinct.len().saturating_sub(VALUES);
        let shown = short_values::of_values(&distinct, WIDEST);
        let more_words = if more > 0 { format!(" and {more} more") } else { String::new() };
        text += &format!("  {}: {}{more_words}\n", key.name, shown[..shown.len() - more].join(" | "));
    }
    for (values, names) in tables {
        let runs: Vec<String> = (1..).zip(values).filter(|(_, v)| v.is_some()).map(|(n, _)| n.to_string()).collect();
        let runs = match runs.len() {
            1 => format!("run {}", runs[0]),
            2..=VALUES => format!("runs {}", runs.join(", ")),
            n => format!("{n} runs of {}", values.len()),
        };
        text += &format!("  only in {runs}: {}\n", names.join(", "));
    }
    text
}

/// Whether it is a table that some runs lack: no value that a line could have.
fn says_only_there(key: &DifferingKey) -> bool {
    key.values.iter().flatten().all(|value| value == config_keys::THERE)
}

struct Column {
    title: String,
    cells: Vec<String>,
    /// Text, not a number.
    is_word: bool,
    /// How soon it is left out of a narrow terminal: the smallest first. Nothing: never.
    rank: Option<usize>,
    /// What it is called where that is told.
    name: String,
}

struct Table {
    title: String,
    columns: Vec<Column>,
    /// Rows of models; those of trivial baselines follow.
    lines: usize,
}

impl Table {
    /// With `keys` each row begins with the keys that differ.
    fn new(comparison: &Comparison, metric: usize, sheet: TextTable, keys: bool) -> Table {
        let name = &comparison.metrics[metric];
        let level = sheet.head[sheet.words + 1].clone();
        let mut intervals = [format!("{level} of {name}"), format!("{level} of the difference")].into_iter();
        let mut columns: Vec<Column> = Vec::new();
        for (at, title) in sheet.head.iter().enumerate() {
            let rank = match title.as_str() {
                "clips/s" => Some(0),
                "parameters" => Some(1),
                "training s" => Some(2),
                title if title == level => Some(3),
                "p" => Some(4),
                _ => None,
            };
            let name = if *title == level { intervals.next() } else { None };
            columns.push(Column {
                name: name.unwrap_or_else(|| title.clone()),
                title: title.clone(),
                cells: sheet.rows.iter().map(|row| row[at].clone()).collect(),
                is_word: at < sheet.words,
                rank: rank.filter(|_| at >= sheet.words),
            });
        }
        let shown: Vec<&DifferingKey> = comparison.keys.iter().filter(|key| keys && !says_only_there(key)).collect();
        let names: Vec<&str> = shown.iter().map(|key| key.name.as_str()).collect();
        for (at, (key, short)) in shown.iter().zip(timbre_core::text::short_names(&names, &sheet.head)).enumerate() {
            let values = short_values::of_values(&key.values, short_values::CELL);
            let of_lines = comparison.lines.iter().map(|line| values[line.run].clone());
            let of_baselines = comparison.baselines.iter().map(|baseline| match baseline.runs.as_slice() {
                [run] => values[*run].clone(),
                _ => String::new(),
            });
            let column = Column {
                title: short.to_owned(),
                cells: of_lines.chain(of_baselines).collect(),
                is_word: true,
                // The last first.
                rank: Some(5 + shown.len() - at),
                name: key.name.clone(),
            };
            columns.insert(1 + at, column);
        }
        Table { title: sheet.title, columns, lines: comparison.lines.len() }
    }

    fn text(mut self, width: Option<usize>) -> String {
        let mut left_out: Vec<String> = Vec::new();
        if let Some(width) = width {
            self.leave_out_what_says_nothing();
            while self.width() > width {
                let next = self.columns.iter().enumerate().filter_map(|(at, column)| Some((column.rank?, at))).min();
                let Some((_, at)) = next else { break };
                left_out.push(self.columns.remove(at).name);
            }
        }
        let row = |cell: &dyn Fn(&Column) -> String| self.columns.iter().map(cell).collect::<Vec<_>>();
        let mut rows = vec![row(&|column| column.title.clone())];
        let height = self.columns.first().map_or(0, |column| column.cells.len());
        rows.extend((0..height).map(|at| row(&|column| column.cells[at].clone())));
        let words = self.columns.iter().filter(|column| column.is_word).count();
        let mut text = format!("{}\n{}", self.title, tables::aligned(&rows, words));
        if !left_out.is_empty() {
            text += &format!("for a wider terminal, or in --csv FILE: {}\n", left_out.join(", "));
        }
        text
    }

    /// What is the same in every line is no column: the features stand in the title, values of keys above.
    fn leave_out_what_says_nothing(&mut self) {
        let lines = self.lines;
        let is_same = |column: &Column| lines > 1 && column.cells[..lines].windows(2).all(|pair| pair[0] == pair[1]);
        if let Some(features) = self.columns.iter().find(|column| column.title == "features" && is_same(column)) {
            self.title += &format!(", {} features", features.cells[0]);
        }
        let is_needed = |column: &Column| column.title == "run" || column.title == "model" || !column.is_word;
        self.columns.retain(|column| is_needed(column) || !is_same(column));
        let costs = |column: &Column| column.rank.is_some_and(|rank| rank < 3);
        self.columns.retain(|column| !costs(column) || column.cells.iter().any(|cell| !cell.is_empty() && cell != "–"));
    }

    fn width(&self) -> usize {
        let count = |text: &String| text.chars().count();
        let of = |column: &Column| column.cells.iter().chain([&column.title]).map(count).max().unwrap_or(0);
        self.columns.iter().map(of).sum::<usize>() + 2 * self.columns.len().saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::{ComparedModel, ComparedRun, Cost, Reference, Score, Versus};
    use timbre_runs::run_dir::Status;

    /// One model in so many runs, with these keys: a value a run.
    fn comparison(keys: &[(&str, Vec<Option<String>>)]) -> Comparison {
        let run = |number: usize| ComparedRun {
            number,
            name: format!("lr {number:08}"),
            experiment: "lr".into(),
            description: String::new(),
            signature: format!("{number:08}"),
            path: format!("runs/lr/{number}"),
            status: Status::Done,
            started: String::new(),
            seeds: vec![1],
            data: "demo".into(),
            data_hash: String::new(),
            clips: 10,
            unusable: 0,
            classes: Vec::new(),
            failures: Vec::new(),
            seconds: None,
        };
        let score = Score {
            values: vec![0.5],
            mean: Some(0.5),
            sd: None,
            interval: Some((0.4, 0.6)),
            versus: Versus::Not("it was not asked for".into()),
        };
        let line = |run: usize| ComparedModel {
            run,
            features: "mel".into(),
            model: "knn".into(),
            scores: vec![score.clone()],
            cost: Cost { training_seconds: Some(1.5), parameters: None, clips_per_second: Some(2e4) },
        };
        let n = keys[0].1.len();
        Comparison {
            schema: 1,
            split: "test".into(),
            metrics: vec!["accuracy".into()],
            level: 0.95,
            resamples: 10,
            runs: (1..=n).map(run).collect(),
            reference: Reference { run: 0, place: None },
            keys: keys
                .iter()
                .map(|(name, values)| DifferingKey { name: (*name).to_owned(), values: values.clone() })
                .collect(),
            lines: (0..n).map(line).collect(),
            baselines: Vec::new(),
            tests: 0,
            notes: Vec::new(),
        }
    }

    fn of_grid() -> Comparison {
        let values = |of: &dyn Fn(usize) -> String| (0..6).map(|n| Some(of(n))).collect::<Vec<_>>();
        comparison(&[
            ("features.mel.window", values(&|n| ["\"hann\"", "\"boxcar\""][n % 2].to_owned())),
            ("models.cnn_small", (0..6).map(|n| (n == 3).then(|| config_keys::THERE.to_owned())).collect()),
            ("models.knn.k", values(&|n| n.to_string())),
        ])
    }

    #[test]
    fn of_many_runs_keys_are_columns_by_their_last_word_and_stand_above_by_their_whole_name() {
        let text = text(&of_grid(), None);
        assert!(text.contains("  features.mel.window: hann | boxcar\n"), "{text}");
        assert!(text.contains("  models.knn.k: 0 | 1 | 2 | 3 | 4 | 5\n"), "{text}");
        assert!(text.contains("  only in run 4: models.cnn_small\n"), "{text}");
        let head = text.lines().find(|line| line.starts_with("run ")).unwrap();
        let words: Vec<&str> = head.split_whitespace().collect();
        assert_eq!(
            words,
            [
                "run",
                "window",
                "k",
                "features",
                "model",
                "accuracy",
                "95",
                "%",
                "training",
                "s",
                "parameters",
                "clips/s"
            ]
        );
    }

    #[test]
    fn a_narrow_terminal_has_no_wide_table_and_says_what_it_lacks() {
        let table = |width: usize| {
            let text = text(&of_grid(), Some(width));
            let own: Vec<String> =
                text.lines().skip_while(|line| !line.starts_with("accuracy")).take(9).map(str::to_owned).collect();
            (own, text)
        };
        let (wide, text) = table(100);
        assert_eq!(wide[0], "accuracy (test), mel features");
        assert!(wide[1].contains("clips/s") && !wide[1].contains("parameters"), "{text}");
        assert!(!text.contains("for a wider terminal"), "{text}");
        let (narrow, text) = table(40);
        assert!(narrow[1..].iter().all(|line| line.chars().count() <= 40), "{text}");
        assert!(narrow[1].contains("window") && narrow[1].contains("accuracy"), "{text}");
        assert!(
            text.contains("for a wider terminal, or in --csv FILE: clips/s, training s, 95 % of accuracy\n"),
            "{text}"
        );
    }

    #[test]
    fn a_list_of_thousands_of_letters_is_cut_where_the_runs_agree() {
        let list = |last: &str| Some(format!("[{}{last}]", "\"drums\", ".repeat(500)));
        let text = text(&comparison(&[("data.classes", vec![list("1"), list("2")])]), None);
        assert!(text.contains("  data.classes: …s\", 1] | …s\", 2]\n"), "{text}");
    }
}
