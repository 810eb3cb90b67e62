//! Data sets that a table describes: one row per recording, or per excerpt of one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entries::{Entries, Entry, Faults};
use super::labels::MissingLabel;
use super::table::{Row, Table, is_table};
use super::{CommonKeys, DataDirs, DataKind, DataSet, MissingData, subset_named};
use crate::remote::{self, Url};
use timbre_core::registry::Fault;
use timbre_signal::audio::Excerpt;

mod chosen_columns;

use chosen_columns::Chosen;

/// Recordings that a table describes: CSV, TSV, JSON Lines or Parquet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Manifest {
    #[serde(flatten)]
    pub common: CommonKeys,
    /// The table: a file that ends in .csv, .tsv, .jsonl or .parquet, or a URL of one. A relative path starts in the folder `data`.
    /// Recordings are found from the folder of the table, or from `root`.
    pub path: String,
    /// The columns of the table. Default: columns with usual names, which a note lists.
    #[serde(skip_serializing_if = "Columns::is_default")]
    pub columns: Columns,
    /// How a file is named, where the table has only a part of it: `{}` stands for the cell, as in "audio/{}.wav".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_name: Option<String>,
    /// Whether recordings that are not on disk are left out, and counted in a note, instead of being a fault.
    #[serde(skip_serializing_if = "super::is_false")]
    pub skip_missing: bool,
}

/// The names of the columns of a table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Columns {
    /// The path of the recording. Default: the first of path, file, filename, … that the table has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The classes: one column with one class or several, or a list of columns, one a class. Default: the first of labels, label,
    /// class, … that the table has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<LabelColumns>,
    /// The song or performer, which no split divides. Default: every file is a song of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The official subset: training, validation or test (also train, valid, val, dev, testing, eval).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// The official fold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fold: Option<String>,
    /// Where the recording begins in its file, in seconds; an empty cell is the beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// Where the recording ends in its file, in seconds; an empty cell is the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// How much a recording counts in the fit of models that take weights: a number above 0; an empty cell is 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<String>,
    /// Columns with other properties of recordings: augmentations can use them, and `evaluate.by_tag` divides the scores by them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

impl Columns {
    fn is_default(&self) -> bool {
        *self == Columns::default()
    }
}

/// The columns that hold the classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum LabelColumns {
    /// One column with one class per recording.
    One(String),
    /// One column per class, with 0 or 1 or a score; from 0.5 on, the class is present. An empty cell is an unknown class.
    Each(Vec<String>),
    Detailed(DetailedLabels),
}

/// A column with several classes per recording, or columns of scores.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DetailedLabels {
    /// The column with the classes of a recording.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The text between two classes in a cell. Default: the cell is one class. Lists of JSON Lines and Parquet need none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub separator: Option<String>,
    /// One column per class instead.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// The score from which a class is present, with `columns`. Default: 0.5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// What an empty cell of `columns` says of its class. Default: unknown, so that it takes no part in fits and scores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty: Option<MissingLabel>,
}

impl DataKind for Manifest {
    fn version(&self) -> u32 {
        2
    }

    fn common_keys(&self) -> &CommonKeys {
        &self.common
    }

    fn own_faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut fault = |key: &str, sentence: &str| faults.push(Fault::new(key, sentence));
        if self.path.is_empty() {
            fault("path", "is missing: write the path of a table, such as \"labels.csv\"");
        } else if let Some(Err(sentence)) = Url::parse(&self.path) {
            fault("path", &sentence);
        } else if !is_table(&self.path) {
            fault("path", "is not a table: its name must end in .csv, .tsv, .jsonl or .parquet");
        }
        if self.file_name.as_ref().is_some_and(|name| !name.contains("{}")) {
            fault("file_name", "has no {}, which stands for the cell of the table");
        }
        match &self.columns.labels {
            Some(LabelColumns::Each(columns)) if columns.is_empty() => {
                fault("columns", "`labels` is an empty list: name one column a class");
            }
            Some(LabelColumns::Detailed(labels)) => match (&labels.column, &labels.columns[..]) {
                (Some(_), [_, ..]) => fault("columns", "`labels` has both `column` and `columns`: keep one of them"),
                (None, []) => fault("columns", "`labels` has neither `column` nor `columns`"),
                (Some(_), []) if labels.threshold.is_some() => {
                    fault("columns", "`threshold` is for `columns`, one a class")
                }
                (Some(_), []) if labels.empty.is_some() => fault("columns", "`empty` is for `columns`, one a class"),
                (_, [_, ..]) if labels.separator.is_some() => fault("columns", "`separator` is for one `column`"),
                _ => {}
            },
            _ => {}
        }
        if let Some(LabelColumns::Detailed(DetailedLabels { separator: Some(separator), .. })) = &self.columns.labels
            && separator.is_empty()
        {
            fault("columns", "`separator` is empty; leave it out for one class a cell");
        }
        faults
    }

    /// The folder of the table.
    fn folder(&self, dirs: &DataDirs, _kind: &str) -> PathBuf {
        match self.remote_table() {
            Some(table) => table.split_name().0.mirror(&dirs.cache_dir),
            None => dirs.data_dir.join(&self.path).parent().unwrap_or(Path::new("")).to_owned(),
        }
    }

    /// Only [`load`](Self::load) knows the names that a web server has to be asked for.
    fn list_remote(&self, _dirs: &DataDirs) -> Result<()> {
        Ok(())
    }

    fn load(&self, dirs: &DataDirs) -> Result<DataSet> {
        let common = &self.common;
        let name = common.name_or("manifest");
        let path = match self.remote_table() {
            Some(table) => remote::file(&table, &dirs.cache_dir)?,
            None => dirs.data_dir.join(&self.path),
        };
        let folder = self.folder(dirs, "manifest");
        let root = common.root.as_ref().map_or(folder, |root| dirs.local(root));
        if !path.is_file() {
            return Err(MissingData::new(&name, vec![path], root, common).into());
        }
        let read = || -> Result<Entries> {
            let table = Table::read(&path)?;
            let shown = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let (columns, notes) = Chosen::new(&self.columns, &table, &shown)?;
            let mut faults = Faults::default();
            table.faults.iter().for_each(|fault| faults.add("rows cannot be read", fault.clone()));
            columns.labels.check_absent(&table, &mut faults);
            let entries = table.rows.iter().filter_map(|row| self.entry(row, &columns, &mut faults)).collect();
            Ok(Entries {
                name: name.clone(),
                root: root.clone(),
                table: shown,
                common,
                entries,
                classes: columns.classes(),
                skip_missing: self.skip_missing,
                faults,
                notes,
            })
        };
        let entries = read().with_context(|| format!("read data set `{name}`"))?;
        if entries.entries.is_empty() && entries.faults.is_empty() {
            bail!("read data set `{name}`: {} has a header and no row", path.display());
        }
        match self.remote_root() {
            Some(url) if url.is_web() => {
                let name = |entry: &Entry| entry.path.replace('\\', "/").trim_start_matches("./").to_owned();
                let names: Vec<String> = entries.entries.iter().map(name).collect();
                remote::list_named(&url, &dirs.cache_dir, names.iter().map(String::as_str))?;
            }
            Some(url) => remote::list(&url, &dirs.cache_dir)?,
            None => {}
        }
        entries.into_set()
    }
}

impl Manifest {
    /// `path`, if it is a URL.
    fn remote_table(&self) -> Option<Url> {
        Url::parse(&self.path)?.ok()
    }

    /// The URL of the recordings: `root`, or the folder of the table.
    fn remote_root(&self) -> Option<Url> {
        match self.common.root {
            Some(_) => self.common.remote_root(),
            None => Some(self.remote_table()?.split_name().0),
        }
    }

    fn entry(&self, row: &Row, columns: &Chosen, faults: &mut Faults) -> Option<Entry> {
        let text = |at: usize| row.cells[at].text();
        let optional = |at: Option<usize>| at.map(text).filter(|text| !text.is_empty());
        let line = row.line;
        let cell = text(columns.path);
        if cell.is_empty() {
            faults.add("rows name no file", format!("line {line}"));
            return None;
        }
        let path = self.file_name.as_ref().map_or(cell.clone(), |name| name.replace("{}", &cell));
        let group = optional(columns.group);
        if columns.group.is_some() && group.is_none() {
            faults.add("rows name no song", format!("{path} (line {line})"));
        }
        let subset = columns.split.and_then(|at| {
            let word = text(at);
            let subset = subset_named(&word);
            if subset.is_none() {
                let kind = "rows have an unknown split (the splits are training, validation and test)";
                faults.add(kind, format!("{path}: {word:?} (line {line})"));
            }
            subset
        });
        let mut number = |at: Option<usize>, kind: &str, is_valid: fn(f64) -> bool| {
            let text = optional(at)?;
            let number = text.parse().ok().filter(|&number: &f64| number.is_finite() && is_valid(number));
            if number.is_none() {
                faults.add(kind, format!("{path}: {text:?} (line {line})"));
            }
            number
        };
        let time = "rows have a time that is not a number of seconds";
        let (start, end) = (number(columns.start, time, |s| s >= 0.0), number(columns.end, time, |s| s >= 0.0));
        let weight = number(columns.weight, "rows have a weight that is not a number above 0", |w| w > 0.0);
        let excerpt = (start.is_some() || end.is_some()).then(|| Excerpt { start: start.unwrap_or(0.0), end });
        if let Some(Excerpt { start, end: Some(end) }) = excerpt
            && end <= start
        {
            faults.add("rows end before they begin", format!("{path}: {start} to {end} s (line {line})"));
        }
        let (labels, unknown) = columns.labels.of(row, &path, faults);
        let tags: BTreeMap<String, String> =
            columns.tags.iter().filter_map(|(name, at)| Some((name.clone(), optional(Some(*at))?))).collect();
        Some(Entry { path, excerpt, labels, unknown, group, subset, fold: optional(columns.fold), tags, weight, line })
    }
}
