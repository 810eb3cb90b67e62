//! Reads tables of any size that fit in memory: CSV, TSV, JSON Lines and Parquet, as texts by row.
//!
//! CSV follows RFC 4180 (quotes, line breaks in quotes), with a byte order mark, CRLF, blank lines, spaces around cells, and `;` or a
//! tab instead of `,` if the header has no comma: what spreadsheets of all languages write.

use std::path::Path;

use anyhow::{Context, Result, bail};
use polars_core::prelude::{ArrowDataType, ArrowField as Field, Column, DataType};
use polars_io::prelude::{ParquetReader, SerReader};
use timbre_core::suggest;

/// The file extensions of tables, in lower case.
pub const TABLE_EXTENSIONS: [&str; 6] = ["csv", "tsv", "tab", "jsonl", "ndjson", "parquet"];

/// A table with named columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    pub columns: Vec<String>,
    pub rows: Vec<Row>,
    /// What is wrong with rows that are left out, in sentences.
    pub faults: Vec<String>,
    /// Columns of a Parquet file whose type is not read, such as categories and dates.
    pub unread: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// The line in the file, or the number of the row where a file has no lines; from 1.
    pub line: usize,
    pub cells: Vec<Cell>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Empty for a cell without a value.
    Text(String),
    List(Vec<String>),
}

impl Cell {
    /// The text; the items of a list are joined by `|`.
    pub fn text(&self) -> String {
        match self {
            Cell::Text(text) => text.clone(),
            Cell::List(items) => items.join("|"),
        }
    }
}

/// Whether a file is a table, by its extension.
pub fn is_table(name: &str) -> bool {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_lowercase());
    extension.is_some_and(|extension| TABLE_EXTENSIONS.contains(&extension.as_str()))
}

impl Table {
    /// Reads a file in the format of its extension.
    pub fn read(path: &Path) -> Result<Table> {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_lowercase();
        let table = match extension.as_str() {
            "csv" => text_of(path).map(|text| Table::from_csv(&text, None)),
            "tsv" | "tab" => text_of(path).map(|text| Table::from_csv(&text, Some('\t'))),
            "jsonl" | "ndjson" => text_of(path).map(|text| Table::from_json_lines(&text)),
            "parquet" => from_parquet(path),
            _ => bail!("{} is not a table: it must end in .{}", path.display(), TABLE_EXTENSIONS.join(", .")),
        };
        let table = table.with_context(|| format!("cannot read {}", path.display()))?;
        if let Some(twice) = (1..table.columns.len()).find(|&i| table.columns[..i].contains(&table.columns[i])) {
            bail!("{} has two columns named `{}`", path.display(), table.columns[twice]);
        }
        Ok(table)
    }

    /// A table whose first row names the columns.
    pub fn from_csv(text: &str, delimiter: Option<char>) -> Table {
        let delimiter = delimiter.unwrap_or_else(|| delimiter_of(text));
        let (mut lines, mut faults) = csv_rows(text, delimiter);
        if lines.is_empty() {
            return Table { faults, ..Table::default() };
        }
        let (_, columns) = lines.remove(0);
        let mut rows = Vec::with_capacity(lines.len());
        for (line, cells) in lines {
            if cells.len() == columns.len() {
                rows.push(Row { line, cells: cells.into_iter().map(Cell::Text).collect() });
            } else {
                faults.push(format!("line {line} has {} cells, and the header {}", cells.len(), columns.len()));
            }
        }
        Table { columns, rows, faults, unread: Vec::new() }
    }

    /// One JSON object a line. The columns are the keys in the order in which they first appear.
    pub fn from_json_lines(text: &str) -> Table {
        let mut table = Table::default();
        for (n, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let line_number = n + 1;
            match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(line) {
                Ok(object) => table.push_object(line_number, object),
                Err(error) => table.faults.push(format!("line {line_number} is not a JSON object: {error}")),
            }
        }
        for row in &mut table.rows {
            row.cells.resize(table.columns.len(), Cell::Text(String::new()));
        }
        table
    }

    fn push_object(&mut self, line: usize, object: serde_json::Map<String, serde_json::Value>) {
        let mut cells = vec![Cell::Text(String::new()); self.columns.len()];
        for (key, value) in object {
            let at = self.column(&key).unwrap_or_else(|| {
                self.columns.push(key);
                cells.push(Cell::Text(String::new()));
                self.columns.len() - 1
            });
            cells[at] = match value {
                serde_json::Value::Array(items) => Cell::List(items.iter().map(json_text).collect()),
                other => Cell::Text(json_text(&other)),
            };
        }
        self.rows.push(Row { line, cells });
    }

    /// The texts of these columns in each row, with its line; an error if a column is missing or a row cannot be read: rows of a
    /// published table do not go missing without a word.
    pub fn texts<const N: usize>(&self, names: [&str; N]) -> Result<Vec<(usize, [String; N])>> {
        if let Some(fault) = self.faults.first() {
            let more = self.faults.len() - 1;
            let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
            bail!("{fault}{more}: the table is damaged; get it again");
        }
        let mut places = [0; N];
        for (at, name) in places.iter_mut().zip(names) {
            *at = self.existing_column(name)?;
        }
        Ok(self.rows.iter().map(|row| (row.line, places.map(|at| row.cells[at].text()))).collect())
    }

    /// The names of the columns for a message.
    pub fn header(&self) -> String {
        let quoted = |names: &[String]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        match self.unread.is_empty() {
            true => quoted(&self.columns),
            false => format!("{} (of a type that is not read: {})", quoted(&self.columns), quoted(&self.unread)),
        }
    }

    /// The index of a column, or an error that names those that there are.
    pub fn existing_column(&self, name: &str) -> Result<usize> {
        self.column(name).with_context(|| {
            let near = suggest::nearest(name, self.columns.iter().map(String::as_str));
            let guess =
                if near.is_empty() { String::new() } else { format!("did you mean {}? ", suggest::quoted(&near)) };
            format!("no column `{name}`: {guess}its columns are {}", self.header())
        })
    }

    /// The index of a column.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column == name)
    }
}

fn text_of(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path)?;
    let text = String::from_utf8(bytes);
    text.map_err(|error| {
        anyhow::anyhow!("it is not UTF-8 text (byte {}): save it as \"CSV UTF-8\"", error.utf8_error().valid_up_to())
    })
}

/// A JSON value as the text of a cell.
pub(super) fn json_text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The comma if the header has one, else `;` or a tab.
fn delimiter_of(text: &str) -> char {
    let header = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    [',', ';', '\t'].into_iter().find(|&delimiter| header.contains(delimiter)).unwrap_or(',')
}

/// The rows of a CSV text with the number of their first lines; rows without any text are left out.
pub(super) fn csv_rows(text: &str, delimiter: char) -> (Vec<(usize, Vec<String>)>, Vec<String>) {
    let (mut rows, mut faults) = (Vec::new(), Vec::new());
    let mut rest = text.trim_start_matches('\u{feff}');
    let mut line = 1;
    while !rest.is_empty() {
        let first_line = line;
        let mut cells = Vec::new();
        loop {
            let blank = |c: char| c == ' ' || (c == '\t' && delimiter != '\t');
            let trimmed = rest.trim_start_matches(blank);
            let mut cell = String::new();
            if let Some(quoted) = trimmed.strip_prefix('"') {
                rest = quoted;
                loop {
                    let Some(quote) = rest.find('"') else {
                        faults.push(format!("line {first_line}: a quote is never closed"));
                        cell += rest;
                        rest = "";
                        break;
                    };
                    cell += &rest[..quote];
                    rest = &rest[quote + 1..];
                    match rest.strip_prefix('"') {
                        Some(after) => {
                            cell.push('"');
                            rest = after;
                        }
                        None => break,
                    }
                }
                line += cell.matches('\n').count();
            }
            // The rest of the cell, which is all of a cell without quotes.
            let end = rest.find([delimiter, '\n']).unwrap_or(rest.len());
            cell += rest[..end].trim_matches(|c: char| blank(c) || c == '\r');
            cells.push(cell);
            let ended = rest[end..].chars().next();
            rest = &rest[(end + usize::from(ended.is_some())).min(rest.len())..];
            if ended != Some(delimiter) {
                line += 1;
                break;
            }
        }
        if cells.iter().any(|cell| !cell.is_empty()) {
            rows.push((first_line, cells));
        }
    }
    (rows, faults)
}

fn from_parquet(path: &Path) -> Result<Table> {
    let mut reader = ParquetReader::new(std::fs::File::open(path)?);
    let schema = reader.schema()?;
    let (read, unread): (Vec<_>, Vec<_>) = schema.iter_values().partition(|field| is_read(field.dtype()));
    let names = |fields: Vec<&Field>| fields.into_iter().map(|field| field.name.to_string()).collect::<Vec<_>>();
    let (read, unread) = (names(read), names(unread));
    let frame = reader.with_columns(Some(read)).finish()?;
    let columns: Vec<Vec<Cell>> = frame.columns().iter().map(cells_of).collect::<Result<_>>()?;
    let row = |n: usize| Row { line: n + 1, cells: columns.iter().map(|column| column[n].clone()).collect() };
    Ok(Table {
        columns: frame.columns().iter().map(|column| column.name().to_string()).collect(),
        rows: (0..frame.height()).map(row).collect(),
        faults: Vec::new(),
        unread,
    })
}

/// The types that this build of polars reads; others are refused by it, some with a panic.
fn is_read(dtype: &ArrowDataType) -> bool {
    match dtype {
        ArrowDataType::Boolean
        | ArrowDataType::Int32
        | ArrowDataType::Int64
        | ArrowDataType::UInt32
        | ArrowDataType::UInt64
        | ArrowDataType::Float32
        | ArrowDataType::Float64
        | ArrowDataType::Utf8
        | ArrowDataType::LargeUtf8
        | ArrowDataType::Utf8View => true,
        ArrowDataType::List(item) | ArrowDataType::LargeList(item) => {
            !matches!(item.dtype(), ArrowDataType::List(_) | ArrowDataType::LargeList(_)) && is_read(item.dtype())
        }
        _ => false,
    }
}

fn cells_of(column: &Column) -> Result<Vec<Cell>> {
    let texts = |column: &Column| -> Result<Vec<String>> {
        let texts = column.cast(&DataType::String)?;
        Ok(texts.str()?.iter().map(|text| text.unwrap_or_default().to_owned()).collect())
    };
    if let DataType::List(_) = column.dtype() {
        let items = |list: Option<polars_core::prelude::Series>| match list {
            Some(list) => Ok(Cell::List(texts(&Column::from(list))?)),
            None => Ok(Cell::Text(String::new())),
        };
        let lists = column.list()?;
        return (0..column.len()).map(|row| items(lists.get_as_series(row))).collect();
    }
    Ok(texts(column)?.into_iter().map(Cell::Text).collect())
}

/// The items of a Python or JSON list that was written as text: `[21, 45]`, `['a', "b"]`. None for another text.
pub(super) fn list_items(text: &str) -> Option<Vec<String>> {
    let inner = text.trim().strip_prefix('[')?.strip_suffix(']')?;
    let unquoted = |item: &str| {
        let item = item.trim();
        let quote = item.chars().next().filter(|quote| ['\'', '"'].contains(quote));
        quote.and_then(|quote| item.strip_prefix(quote)?.strip_suffix(quote)).unwrap_or(item).to_owned()
    };
    Some(inner.split(',').map(unquoted).filter(|item| !item.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use polars_core::prelude::{DataFrame, NamedFrom, Series};
    use polars_io::prelude::ParquetWriter;

    fn texts(table: &Table) -> Vec<Vec<String>> {
        table.rows.iter().map(|row| row.cells.iter().map(Cell::text).collect()).collect()
    }

    #[test]
    fn a_missing_column_is_followed_by_the_nearest_and_by_those_of_types_that_are_not_read() {
        let table = Table { unread: vec!["when".to_owned()], ..Table::from_csv("path,instrument\na.wav,x", None) };
        let error = |name: &str| table.existing_column(name).unwrap_err().to_string();
        let columns = "its columns are `path`, `instrument` (of a type that is not read: `when`)";
        assert_eq!(error("instrumnet"), format!("no column `instrumnet`: did you mean `instrument`? {columns}"));
        assert_eq!(error("singer"), format!("no column `singer`: {columns}"));
        assert_eq!(table.existing_column("instrument").unwrap(), 1);
    }

    #[test]
    fn quotes_line_breaks_spaces_and_other_delimiters_are_read() {
        let text = "\u{feff}path, label\r\n\"a \"\"1\"\".wav\", \"x,y\"\r\n\r\n b.wav ,\"two\nlines\"\n,\nc.wav,z";
        let table = Table::from_csv(text, None);
        assert_eq!(table.columns, ["path", "label"]);
        assert_eq!(texts(&table), [["a \"1\".wav", "x,y"], ["b.wav", "two\nlines"], ["c.wav", "z"]]);
        assert_eq!(table.rows.iter().map(|row| row.line).collect::<Vec<_>>(), [2, 4, 7]);
        assert!(table.faults.is_empty(), "{:?}", table.faults);
        for (text, delimiter) in [("p;l\na,b;c\n", None), ("p\tl\na,b\tc\n", None), ("p\tl\na,b\tc", Some('\t'))] {
            assert_eq!(texts(&Table::from_csv(text, delimiter)), [["a,b", "c"]]);
        }
        // AudioSet writes a space before the quote.
        let (rows, _) = csv_rows("--4gq, 0.000, 10.000, \"/m/068hy,/m/07q6cd_\"\n", ',');
        assert_eq!(rows, [(1, ["--4gq", "0.000", "10.000", "/m/068hy,/m/07q6cd_"].map(str::to_owned).to_vec())]);
    }

    #[test]
    fn rows_of_another_length_and_open_quotes_are_faults() {
        let table = Table::from_csv("a,b\n1,2\n3\n4,\"5", None);
        assert_eq!(texts(&table), [["1", "2"], ["4", "5"]]);
        assert_eq!(table.faults, ["line 4: a quote is never closed", "line 3 has 1 cells, and the header 2"]);
    }

    #[test]
    fn json_lines_may_have_lists_and_lack_keys() {
        let table =
            Table::from_json_lines("{\"file\":\"a.wav\",\"tags\":[\"x\",2]}\n\n{\"song\":7,\"file\":\"b.wav\"}\n[1]\n");
        let columns: std::collections::BTreeSet<&str> = table.columns.iter().map(String::as_str).collect();
        assert_eq!(columns.into_iter().collect::<Vec<_>>(), ["file", "song", "tags"]);
        let cell = |row: usize, name: &str| table.rows[row].cells[table.column(name).unwrap()].clone();
        assert_eq!(cell(0, "tags"), Cell::List(vec!["x".into(), "2".into()]));
        assert_eq!((cell(0, "song").text(), cell(1, "song").text()), (String::new(), "7".to_owned()));
        assert!(table.faults.len() == 1 && table.faults[0].starts_with("line 4 is not a JSON object"));
    }

    #[test]
    fn parquet_gives_texts_numbers_and_lists() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        let list = Series::new("labels".into(), [Series::new("".into(), ["x", "y"]), Series::new("".into(), ["z"])]);
        let columns = vec![
            Column::new("path".into(), ["a.wav", "b.wav"]),
            Column::new("start".into(), [0.5, 2.0]),
            Column::new("fold".into(), [Some(1i64), None]),
            Column::from(list),
        ];
        let mut frame = DataFrame::new(2, columns).unwrap();
        ParquetWriter::new(std::fs::File::create(&path).unwrap()).finish(&mut frame).unwrap();
        let table = Table::read(&path).unwrap();
        assert_eq!(table.columns, ["path", "start", "fold", "labels"]);
        assert_eq!(texts(&table), [["a.wav", "0.5", "1", "x|y"], ["b.wav", "2.0", "", "z"]]);
    }

    #[test]
    fn a_damaged_row_of_a_published_table_is_an_error() {
        let texts = |text: &str| Table::from_csv(text, None).texts(["a"]).map(|rows| rows.len());
        assert_eq!(texts("a,b\n1,2\n").unwrap(), 1);
        for (text, expected) in
            [("a,b\n1,2\n3\n", "line 3"), ("a,b\n\"1,2\n3,4\n5,6\n", "line 2: a quote is never closed")]
        {
            let error = texts(text).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("damaged"), "{error}");
        }
    }

    #[test]
    fn a_list_that_was_written_as_text_is_divided() {
        assert_eq!(list_items("[21, 45]").unwrap(), ["21", "45"]);
        assert_eq!(list_items("['a b', \"c\"]").unwrap(), ["a b", "c"]);
        assert_eq!((list_items("[]").unwrap().len(), list_items("a")), (0, None));
    }

    #[test]
    fn other_files_and_other_encodings_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            std::fs::write(folder.path().join(name), bytes).unwrap();
            format!("{:#}", Table::read(&folder.path().join(name)).unwrap_err())
        };
        assert!(file("a.xlsx", b"PK").contains("must end in .csv"));
        assert!(file("a.csv", b"path\ncaf\xe9").contains("not UTF-8"));
        assert!(file("b.csv", b"path,path\na,b").contains("two columns named `path`"));
        assert!(is_table("x/A.CSV") && !is_table("csv") && !is_table("a.toml"));
    }
}
