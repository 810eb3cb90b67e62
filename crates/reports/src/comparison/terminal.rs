//! Formats a comparison as text for a terminal or a file.

use super::schema::{Comparison, DifferingKey};
use super::text_tables::{self, TextTable, remarks, status};
use super::{best, config_keys, short_values};
use timbre_core::text::count;
use timbre_runs::tables;

/// Up to this number of runs, the keys are listed above the table; with more runs they are columns.
const SIDE_BY_SIDE: usize = 4;

/// Characters of a value above the table.
const WIDEST: usize = 60;
/// Values of a key above the table.
const VALUES: usize = 12;

/// The comparison as text. `width` is the number of columns of the terminal; None leaves lines as long as they are.
pub fn text(comparison: &Comparison, width: Option<usize>) -> String {
    let mut text = String::new();
    let inline = comparison.runs.len() > SIDE_BY_SIDE;
    for run in &comparison.runs {
        let unfinished = if run.status.is_final() { String::new() } else { format!("  {}", status(run.status)) };
        let reference =
            if run.number == comparison.reference.run + 1 && comparison.runs.len() > 1 { "  (reference)" } else { "" };
        text += &format!(
            "{}: {}  {} of {}  {}{unfinished}{reference}\n",
            run.number,
            run.name,
            count(run.clips, "clip"),
            run.data,
            run.path
        );
    }
    if !comparison.keys.is_empty() {
        text += "\nDiffering keys\n";
        text += &if inline { values_of_keys(&comparison.keys) } else { side_by_side(&comparison.keys) };
    }
    if let (Some([headline, sentence]), Some(best)) = (best::sentences(comparison), best::view(comparison)) {
        text += &format!("\n{headline}. {sentence}\n");
        for table in text_tables::tables(&best, false) {
            let title = format!("{}, best models", table.title);
            text += &format!("\n{}", Table::new(&best, 0, TextTable { title, ..table }, false).text(width));
        }
    }
    for (metric, table) in text_tables::tables(comparison, false).into_iter().enumerate() {
        text += &format!("\n{}", Table::new(comparison, metric, table, inline).text(width));
    }
    for line in remarks(comparison) {
        text += &format!("\n{line}");
    }
    text.push('\n');
    text
}

fn side_by_side(keys: &[DifferingKey]) -> String {
    let line = |key: &DifferingKey| {
        format!("  {}: {}\n", key.name, short_values::short_values(&key.values, WIDEST).join(" | "))
    };
    keys.iter().map(line).collect()
}

/// Each key with its distinct values over many runs. Tables that the same runs have are listed together.
fn values_of_keys(keys: &[DifferingKey]) -> String {
    let mut text = String::new();
    let mut tables: Vec<(&[Option<String>], Vec<&str>)> = Vec::new();
    for key in keys {
        if is_presence_only(key) {
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
        let shown = short_values::short_values(&distinct, WIDEST);
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

/// Whether the key is a table that only some runs have, so that it has no value to show in a row.
fn is_presence_only(key: &DifferingKey) -> bool {
    key.values.iter().flatten().all(|value| value == config_keys::PRESENT)
}

struct Column {
    title: String,
    cells: Vec<String>,
    is_text: bool,
    /// The order in which columns are dropped on a narrow terminal: the smallest first. None: never.
    drop_order: Option<usize>,
    /// The full name, for the list of dropped columns.
    name: String,
}

struct Table {
    title: String,
    columns: Vec<Column>,
    /// Rows of models; the rows of trivial baselines follow.
    lines: usize,
}

impl Table {
    /// With `keys` each row begins with the differing keys.
    fn new(comparison: &Comparison, metric: usize, table: TextTable, keys: bool) -> Table {
        let name = &comparison.metrics[metric];
        let level = table.head[table.text_columns + 1].clone();
        let mut intervals = [format!("{level} of {name}"), format!("{level} of the difference")].into_iter();
        let mut columns: Vec<Column> = Vec::new();
        for (at, title) in table.head.iter().enumerate() {
            let drop_order = match title.as_str() {
                "clips/s" => Some(0),
                "parameters" => Some(1),
                "training s" => Some(2),
                title if title == level => Some(3),
                "p" => Some(4),
                "p (Holm)" => Some(5),
                _ => None,
            };
            let name = if *title == level { intervals.next() } else { None };
            columns.push(Column {
                name: name.unwrap_or_else(|| title.clone()),
                title: title.clone(),
                cells: table.rows.iter().map(|row| row[at].clone()).collect(),
                is_text: at < table.text_columns,
                drop_order: drop_order.filter(|_| at >= table.text_columns),
            });
        }
        let shown: Vec<&DifferingKey> = comparison.keys.iter().filter(|key| keys && !is_presence_only(key)).collect();
        let names: Vec<&str> = shown.iter().map(|key| key.name.as_str()).collect();
        for (at, (key, short)) in shown.iter().zip(timbre_core::text::short_names(&names, &table.head)).enumerate() {
            let values = short_values::short_values(&key.values, short_values::CELL);
            let of_lines = comparison.lines.iter().map(|line| values[line.run].clone());
            let of_baselines = comparison.baselines.iter().map(|baseline| match baseline.runs.as_slice() {
                [run] => values[*run].clone(),
                _ => String::new(),
            });
            let column = Column {
                title: short.to_owned(),
                cells: of_lines.chain(of_baselines).collect(),
                is_text: true,
                // The last key is dropped first.
                drop_order: Some(6 + shown.len() - at),
                name: key.name.clone(),
            };
            columns.insert(1 + at, column);
        }
        Table { title: table.title, columns, lines: comparison.lines.len() }
    }

    fn text(mut self, width: Option<usize>) -> String {
        let mut left_out: Vec<String> = Vec::new();
        if let Some(width) = width {
            self.drop_uninformative_columns();
            while self.width() > width {
                let next =
                    self.columns.iter().enumerate().filter_map(|(at, column)| Some((column.drop_order?, at))).min();
                let Some((_, at)) = next else { break };
                left_out.push(self.columns.remove(at).name);
            }
        }
        let row = |cell: &dyn Fn(&Column) -> String| self.columns.iter().map(cell).collect::<Vec<_>>();
        let mut rows = vec![row(&|column| column.title.clone())];
        let height = self.columns.first().map_or(0, |column| column.cells.len());
        rows.extend((0..height).map(|at| row(&|column| column.cells[at].clone())));
        let text_columns = self.columns.iter().filter(|column| column.is_text).count();
        let mut text = format!("{}\n{}", self.title, tables::aligned(&rows, text_columns));
        if !left_out.is_empty() {
            text += &format!("hidden (use a wider terminal or --csv FILE): {}\n", left_out.join(", "));
        }
        text
    }

    /// Drops columns that are equal in all rows: the features move to the title, and the keys are listed above the table.
    fn drop_uninformative_columns(&mut self) {
        let lines = self.lines;
        let is_same = |column: &Column| lines > 1 && column.cells[..lines].windows(2).all(|pair| pair[0] == pair[1]);
        if let Some(features) = self.columns.iter().find(|column| column.title == "features" && is_same(column)) {
            self.title += &format!(", {} features", features.cells[0]);
        }
        let is_needed = |column: &Column| column.title == "run" || column.title == "model" || !column.is_text;
        self.columns.retain(|column| is_needed(column) || !is_same(column));
        let is_cost = |column: &Column| column.drop_order.is_some_and(|drop_order| drop_order < 3);
        self.columns
            .retain(|column| !is_cost(column) || column.cells.iter().any(|cell| !cell.is_empty() && cell != "–"));
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

    /// One model in each run, with these keys and their values by run.
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
            leaky: false,
            classes: Vec::new(),
            failures: Vec::new(),
            seconds: None,
        };
        let score = Score {
            values: vec![0.5],
            mean: Some(0.5),
            sd: None,
            interval: Some((0.4, 0.6)),
            versus: Versus::Not("not compared".into()),
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
            resampled: "songs",
            runs: (1..=n).map(run).collect(),
            reference: Reference { run: 0, place: None },
            keys: keys
                .iter()
                .map(|(name, values)| DifferingKey { name: (*name).to_owned(), values: values.clone() })
                .collect(),
            best: Vec::new(),
            lines: (0..n).map(line).collect(),
            baselines: Vec::new(),
            tests: 0,
            notes: Vec::new(),
        }
    }

    fn sweep_comparison() -> Comparison {
        let values = |of: &dyn Fn(usize) -> String| (0..6).map(|n| Some(of(n))).collect::<Vec<_>>();
        comparison(&[
            ("features.mel.window", values(&|n| ["\"hann\"", "\"boxcar\""][n % 2].to_owned())),
            ("models.cnn_small", (0..6).map(|n| (n == 3).then(|| config_keys::PRESENT.to_owned())).collect()),
            ("models.knn.k", values(&|n| n.to_string())),
        ])
    }

    #[test]
    fn with_many_runs_keys_are_columns_with_short_names_and_are_listed_above_with_full_names() {
        let text = text(&sweep_comparison(), None);
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
    fn a_narrow_terminal_drops_columns_and_lists_them() {
        let table = |width: usize| {
            let text = text(&sweep_comparison(), Some(width));
            let own: Vec<String> =
                text.lines().skip_while(|line| !line.starts_with("accuracy")).take(9).map(str::to_owned).collect();
            (own, text)
        };
        let (wide, text) = table(100);
        assert_eq!(wide[0], "accuracy (test), mel features");
        assert!(wide[1].contains("clips/s") && !wide[1].contains("parameters"), "{text}");
        assert!(!text.contains("hidden (use"), "{text}");
        let (narrow, text) = table(40);
        assert!(narrow[1..].iter().all(|line| line.chars().count() <= 40), "{text}");
        assert!(narrow[1].contains("window") && narrow[1].contains("accuracy"), "{text}");
        assert!(
            text.contains("hidden (use a wider terminal or --csv FILE): clips/s, training s, 95 % of accuracy\n"),
            "{text}"
        );
    }

    #[test]
    fn a_very_long_value_is_cut_where_the_runs_agree() {
        let list = |last: &str| Some(format!("[{}{last}]", "\"drums\", ".repeat(500)));
        let text = text(&comparison(&[("data.classes", vec![list("1"), list("2")])]), None);
        assert!(text.contains("  data.classes: …s\", 1] | …s\", 2]\n"), "{text}");
    }
}
