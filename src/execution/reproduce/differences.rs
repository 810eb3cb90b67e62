//! Compares two `results.csv`, number by number.

use anyhow::{Context, Result, ensure};
use indexmap::IndexMap;

/// The key columns; the other columns are numbers.
const KEYS: [&str; 4] = ["features", "model", "seed", "split"];

/// The differences of two tables.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TableComparison {
    /// The number of compared cells.
    pub compared: usize,
    /// One entry per column that differs, in the order of the columns.
    pub largest: Vec<ColumnDifference>,
    /// Rows and columns of only one table.
    pub only_then: Vec<String>,
    pub only_now: Vec<String>,
}

/// The largest difference of a column.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnDifference {
    pub metric: String,
    /// `mel.knn.s1 test`
    pub row: String,
    /// None for an empty cell.
    pub then: Option<f64>,
    pub now: Option<f64>,
    /// Infinite if only one of them is a number.
    pub difference: f64,
    /// The number of cells of the column that differ.
    pub cells: usize,
}

impl TableComparison {
    pub fn compare(then: &str, now: &str) -> Result<TableComparison> {
        let (then, now) = (Rows::read(then)?, Rows::read(now)?);
        let missing = |of: &Rows, from: &Rows| -> Vec<String> {
            let columns = of.columns.iter().filter(|name| !from.columns.contains(name));
            let rows = of.rows.keys().filter(|row| !from.rows.contains_key(*row));
            columns.map(|name| format!("column {name}")).chain(rows.map(|row| format!("row {row}"))).collect()
        };
        let mut comparison = TableComparison {
            only_then: missing(&then, &now),
            only_now: missing(&now, &then),
            ..TableComparison::default()
        };
        for (at, metric) in then.columns.iter().enumerate() {
            let Some(other) = now.columns.iter().position(|name| name == metric) else { continue };
            let mut largest: Option<ColumnDifference> = None;
            let mut cells = 0;
            for (row, values) in &then.rows {
                let Some(others) = now.rows.get(row) else { continue };
                let (then, now) = (values[at], others[other]);
                comparison.compared += 1;
                let difference = difference(then, now);
                if difference > 0.0 {
                    cells += 1;
                    if largest.as_ref().is_none_or(|largest| difference > largest.difference) {
                        let (metric, row) = (metric.clone(), row.clone());
                        largest = Some(ColumnDifference { metric, row, then, now, difference, cells: 0 });
                    }
                }
            }
            comparison.largest.extend(largest.map(|largest| ColumnDifference { cells, ..largest }));
        }
        Ok(comparison)
    }

    /// Whether all numbers are within the tolerance, and none is missing.
    pub fn within(&self, tolerance: f64) -> bool {
        let is_near = |largest: &ColumnDifference| largest.difference <= tolerance;
        self.only_then.is_empty() && self.only_now.is_empty() && self.largest.iter().all(is_near)
    }
}

/// Two cells without a number are equal.
fn difference(a: Option<f64>, b: Option<f64>) -> f64 {
    let number = |value: Option<f64>| value.filter(|value| !value.is_nan());
    match (number(a), number(b)) {
        (None, None) => 0.0,
        (Some(a), Some(b)) if a == b => 0.0,
        (Some(a), Some(b)) => (a - b).abs(),
        _ => f64::INFINITY,
    }
}

struct Rows {
    columns: Vec<String>,
    rows: IndexMap<String, Vec<Option<f64>>>,
}

impl Rows {
    /// No cell of the table is quoted: its names are folder names, or come from the program.
    fn read(csv: &str) -> Result<Rows> {
        let mut lines = csv.lines();
        let head: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
        ensure!(head.starts_with(&KEYS), "results.csv begins with {head:?}");
        let mut rows = IndexMap::new();
        for (number, line) in lines.enumerate() {
            let cells: Vec<&str> = line.split(',').collect();
            let at = || format!("line {} of results.csv", number + 2);
            ensure!(cells.len() == head.len(), "{} has {} cells, not {}", at(), cells.len(), head.len());
            let name = format!("{}.{}.s{} {}", cells[0], cells[1], cells[2], cells[3]);
            // `leaky` is true in every row, or there is no such column.
            let number = |cell: &&str| match *cell {
                "" => Ok(None),
                "true" => Ok(Some(1.0)),
                number => number.parse::<f64>().map(Some),
            };
            let values = cells[KEYS.len()..].iter().map(number).collect::<Result<Vec<Option<f64>>, _>>();
            let values = values.with_context(|| format!("{} has a cell that is not a number", at()))?;
            ensure!(rows.insert(name, values).is_none(), "{} is a duplicate", at());
        }
        Ok(Rows { columns: head[KEYS.len()..].iter().map(|name| (*name).to_owned()).collect(), rows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THEN: &str =
        "features,model,seed,split,n,accuracy,f1_macro\nmel,knn,1,test,10,0.5,\nraw,knn,1,test,10,0.25,0.1\n";

    #[test]
    fn equal_tables_have_no_differences() {
        let comparison = TableComparison::compare(THEN, THEN).unwrap();
        assert_eq!((comparison.compared, comparison.within(0.0)), (6, true));
        assert!(comparison.largest.is_empty());
    }

    #[test]
    fn the_largest_difference_of_each_metric_has_its_row() {
        let now =
            "features,model,seed,split,n,accuracy,f1_macro\nmel,knn,1,test,10,0.5625,\nraw,knn,1,test,10,0.375,0.1\n";
        let comparison = TableComparison::compare(THEN, now).unwrap();
        let [largest] = &comparison.largest[..] else { panic!("{comparison:?}") };
        assert_eq!((largest.metric.as_str(), largest.row.as_str()), ("accuracy", "raw.knn.s1 test"));
        assert_eq!((largest.then, largest.now, largest.difference, largest.cells), (Some(0.25), Some(0.375), 0.125, 2));
        assert!(comparison.within(0.125) && !comparison.within(0.124));
    }

    #[test]
    fn a_missing_row_column_or_number_exceeds_every_tolerance() {
        for now in [
            "features,model,seed,split,n,accuracy,f1_macro\nmel,knn,1,test,10,0.5,\n",
            "features,model,seed,split,n,accuracy\nmel,knn,1,test,10,0.5\nraw,knn,1,test,10,0.25\n",
            "features,model,seed,split,n,accuracy,f1_macro\nmel,knn,1,test,10,0.5,0.5\nraw,knn,1,test,10,0.25,0.1\n",
            "features,model,seed,split,n,accuracy,f1_macro\nmel,knn,1,test,10,NaN,\nraw,knn,1,test,10,0.25,0.1\n",
        ] {
            assert!(!TableComparison::compare(THEN, now).unwrap().within(1e9), "{now}");
            assert!(!TableComparison::compare(now, THEN).unwrap().within(1e9), "{now}");
        }
    }

    #[test]
    fn a_damaged_table_is_an_error() {
        for damaged in [
            "",
            "a,b\n1,2\n",
            &THEN[..THEN.len() - 5],
            THEN.replace("0.5", "half").as_str(),
            format!("{THEN}mel,knn,1,test,1,1,1\n").as_str(),
        ] {
            assert!(TableComparison::compare(THEN, damaged).is_err(), "{damaged}");
        }
    }
}
