//! The scores of a model in its run, beside those of the baselines.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::path::Path;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Serialize;

use timbre_core::labels::Classes;
use timbre_runs::run_dir::{ResultRow, RunRecord, Table};
use timbre_runs::tables::{class_column, read_csv};

/// Confusions of a subset.
const MOST: usize = 5;

/// The scores of the model in its run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunScores {
    /// The data set.
    pub data: String,
    /// The headline metric of the run.
    pub metric: String,
    /// Whether the split divided songs, so that the scores are too good.
    pub leaky: bool,
    /// One row for each subset of the split.
    pub rows: Vec<ResultRow>,
    /// The rows of the trivial baselines.
    pub baselines: Vec<ResultRow>,
    /// The largest of each subset first; only of single-label runs.
    pub confusions: Vec<Confusion>,
}

/// Recordings of one class that the model took for another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Confusion {
    pub split: String,
    /// The code of the true class.
    pub truth: String,
    /// The code of the class that was decided.
    pub decided: String,
    /// Number of recordings.
    pub n: u64,
}

impl RunScores {
    /// `model` is `<features>.<model>.s<seed>`.
    pub(super) fn read(run: &Path, record: &RunRecord, model: &str, classes: &Classes) -> RunScores {
        let rows: Vec<ResultRow> =
            record.results.iter().filter(|row| row.trial.to_string() == model).cloned().collect();
        let seed = rows.first().map(|row| row.trial.seed);
        let is_baseline = |row: &&ResultRow| row.is_baseline() && Some(row.trial.seed) == seed;
        // A run without this table has no confusions to tell.
        let table = read_csv(&run.join(Table::Confusion.file())).unwrap_or_default();
        RunScores {
            data: record.data.name.clone(),
            metric: record.metric.clone(),
            leaky: record.leaky_split().is_some(),
            baselines: record.results.iter().filter(is_baseline).cloned().collect(),
            rows,
            confusions: confusions(&table, model, classes),
        }
    }
}

/// The confusions in `confusion.csv`, which has another form for multi-label runs.
fn confusions(table: &IndexMap<String, Vec<String>>, model: &str, classes: &Classes) -> Vec<Confusion> {
    let cell = |column: &str, row: usize| table.get(column).and_then(|cells| cells.get(row)).map_or("", String::as_str);
    let mut found = Vec::new();
    for (row, truth) in table.get("truth").into_iter().flatten().enumerate() {
        if format!("{}.{}.s{}", cell("features", row), cell("model", row), cell("seed", row)) != model {
            continue;
        }
        for decided in classes.names().iter().filter(|name| *name != truth) {
            let n: u64 = cell(&class_column(decided), row).parse().unwrap_or(0);
            if n > 0 {
                let split = cell("split", row).to_owned();
                found.push(Confusion { split, truth: truth.clone(), decided: decided.clone(), n });
            }
        }
    }
    found.sort_by_key(|one: &Confusion| Reverse(one.n));
    let mut of_split: HashMap<String, usize> = HashMap::new();
    found.retain(|one| {
        let n = of_split.entry(one.split.clone()).or_default();
        *n += 1;
        *n <= MOST
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[[&str; 8]]) -> IndexMap<String, Vec<String>> {
        let names = ["features", "model", "seed", "split", "truth", "dog", "cat", "model (class)"];
        let column = |c: usize| -> Vec<String> { rows.iter().map(|row| row[c].to_owned()).collect() };
        names.iter().enumerate().map(|(c, name)| ((*name).to_owned(), column(c))).collect()
    }

    fn classes() -> Classes {
        Classes::new(["dog", "cat", "model"])
    }

    #[test]
    fn the_largest_confusions_of_the_model_come_first() {
        let table = table(&[
            ["mel", "knn", "1", "test", "dog", "7", "2", "0"],
            ["mel", "knn", "1", "test", "cat", "1", "9", "3"],
            ["mel", "knn", "2", "test", "dog", "0", "50", "0"],
            ["mel", "knn", "1", "validation", "dog", "0", "1", "0"],
        ]);
        let found: Vec<String> = confusions(&table, "mel.knn.s1", &classes())
            .into_iter()
            .map(|one| format!("{} {} {} {}", one.split, one.truth, one.decided, one.n))
            .collect();
        assert_eq!(found, ["test cat model 3", "test dog cat 2", "test cat dog 1", "validation dog cat 1"]);
    }

    #[test]
    fn a_table_of_another_form_has_none() {
        assert!(confusions(&IndexMap::new(), "mel.knn.s1", &classes()).is_empty());
        let mut of_multi_label = table(&[["mel", "knn", "1", "test", "dog", "7", "2", "0"]]);
        of_multi_label.shift_remove("truth");
        assert!(confusions(&of_multi_label, "mel.knn.s1", &classes()).is_empty());
    }
}
