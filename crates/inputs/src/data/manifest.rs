//! Data sets that a table describes: one row per recording, or per excerpt of one.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entries::{Entries, Entry, Faults};
use super::labels::MissingLabel;
use super::table::{Cell, Row, Table, is_table, list_items};
use super::{CommonKeys, DataDirs, DataKind, DataSet, MissingData, subset_named};
use crate::remote::{self, Url};
use timbre_core::registry::Fault;
use timbre_signal::audio::{AUDIO_EXTENSIONS, Excerpt};

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

/// Usual names of columns, in lower case and with underscores.
const PATHS: [&str; 16] = [
    "path",
    "file",
    "filename",
    "file_name",
    "filepath",
    "file_path",
    "fname",
    "audio",
    "audio_path",
    "audio_file",
    "wav",
    "recording",
    "clip",
    "clip_path",
    "clip_name",
    "mp3_path",
];
const LABELS: [&str; 19] = [
    "labels",
    "label",
    "class",
    "classes",
    "class_name",
    "category",
    "categories",
    "instruments",
    "instrument",
    "genres",
    "genre",
    "tags",
    "tag",
    "target",
    "species",
    "event",
    "call_type",
    "emotion",
    "word",
];
const GROUPS: [&str; 18] = [
    "group",
    "song",
    "song_id",
    "artist",
    "artist_id",
    "artist_name",
    "track",
    "track_id",
    "performer",
    "speaker",
    "speaker_id",
    "src_file",
    "recording_id",
    "session",
    "individual",
    "individual_id",
    "subject",
    "subject_id",
];
const SPLITS: [&str; 4] = ["split", "subset", "partition", "set"];
const FOLDS: [&str; 2] = ["fold", "folds"];
const STARTS: [&str; 5] = ["start", "start_seconds", "start_time", "onset", "begin"];
const ENDS: [&str; 5] = ["end", "end_seconds", "end_time", "offset", "stop"];

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

/// The places of the columns in a table.
struct Chosen {
    path: usize,
    labels: ChosenLabels,
    group: Option<usize>,
    split: Option<usize>,
    fold: Option<usize>,
    start: Option<usize>,
    end: Option<usize>,
    weight: Option<usize>,
    tags: Vec<(String, usize)>,
}

/// Whether several rows have the same value in a column.
fn repeats(table: &Table, column: usize) -> bool {
    let mut seen = HashSet::new();
    !table.rows.iter().all(|row| seen.insert(row.cells[column].text()))
}

enum ChosenLabels {
    Column { at: usize, separator: Option<String> },
    Scores { columns: Vec<(String, usize)>, threshold: f64, empty: MissingLabel },
}

impl Chosen {
    /// The columns that are written, and those that are guessed, with a note that names the guesses.
    fn new(written: &Columns, table: &Table, shown: &str) -> Result<(Chosen, Vec<String>)> {
        let header = || table.header();
        let usual = |names: &[&str]| {
            let plain = |column: &String| column.trim().to_lowercase().replace([' ', '-'], "_");
            let at = |name: &&str| table.columns.iter().position(|column| plain(column) == **name);
            names.iter().find_map(at)
        };
        let place = |key: &str, name: &String| {
            table.existing_column(name).map_err(|error| anyhow!("`columns.{key}`: {shown} has {error}"))
        };
        let mut guesses: Vec<String> = Vec::new();
        let mut guess = |key: &str, at: Option<usize>| {
            guesses.extend(at.map(|at| format!("{key} = `{}`", table.columns[at])));
            at
        };
        let Some(path) = (match &written.path {
            Some(name) => Some(place("path", name)?),
            None => guess("path", usual(&PATHS).or_else(|| only_column_of_files(table))),
        }) else {
            bail!(
                "{shown} has no column named like a path ({}, …), nor a single one with names of audio files: name it, \
                 `--set data.columns.path=NAME`; its columns are {}",
                PATHS[..3].join(", "),
                header()
            );
        };
        // Once a user has written [columns], only what is needed is guessed.
        let mut optional = |key: &str, name: &Option<String>, names: &[&str]| match name {
            Some(name) => place(key, name).map(Some),
            None if written.is_default() => Ok(guess(key, usual(names))),
            None => Ok(None),
        };
        let group = optional("group", &written.group, &GROUPS)?;
        let split = optional("split", &written.split, &SPLITS)?;
        let fold = optional("fold", &written.fold, &FOLDS)?;
        // The times of a file that is in one row are often those of the recording from which it was cut.
        let (starts, ends): (&[&str], &[&str]) = if repeats(table, path) { (&STARTS, &ENDS) } else { (&[], &[]) };
        let start = optional("start", &written.start, starts)?;
        let end = optional("end", &written.end, ends)?;
        let unread = usual(&STARTS).or_else(|| usual(&ENDS)).filter(|_| written.is_default() && starts.is_empty());
        let weight = written.weight.as_ref().map(|name| place("weight", name)).transpose()?;
        let tags =
            written.tags.iter().map(|name| Ok((name.clone(), place("tags", name)?))).collect::<Result<Vec<_>>>()?;
        let scores = |names: &[String], threshold: Option<f64>, empty: Option<MissingLabel>| -> Result<ChosenLabels> {
            let columns = names.iter().map(|name| Ok((name.clone(), place("labels", name)?))).collect::<Result<_>>()?;
            let (threshold, empty) = (threshold.unwrap_or(0.5), empty.unwrap_or(MissingLabel::Unknown));
            Ok(ChosenLabels::Scores { columns, threshold, empty })
        };
        let labels = match &written.labels {
            Some(LabelColumns::One(name)) => ChosenLabels::Column { at: place("labels", name)?, separator: None },
            Some(LabelColumns::Each(names)) => scores(names, None, None)?,
            Some(LabelColumns::Detailed(DetailedLabels { column: Some(name), separator, .. })) => {
                ChosenLabels::Column { at: place("labels", name)?, separator: separator.clone() }
            }
            Some(LabelColumns::Detailed(DetailedLabels { columns, threshold, empty, .. })) => {
                scores(columns, *threshold, *empty)?
            }
            None => {
                let taken = [Some(path), group, split, fold, start, end];
                let free = |at: &usize| !taken.contains(&Some(*at));
                match usual(&LABELS).filter(free) {
                    Some(at) => {
                        let separator = separator_of(table, at);
                        guesses.push(match &separator {
                            Some(separator) => format!("labels = `{}`, divided at `{separator}`", table.columns[at]),
                            None => format!("labels = `{}`", table.columns[at]),
                        });
                        ChosenLabels::Column { at, separator }
                    }
                    None => {
                        let columns: Vec<usize> =
                            (0..table.columns.len()).filter(|at| free(at) && is_score_column(table, *at)).collect();
                        if columns.len() < 2 {
                            bail!(
                                "{shown} has no column named like a class ({}, …), and no columns of 0 and 1, one a class: name it, \
                                 `--set data.columns.labels=NAME`; its columns are {}",
                                LABELS[..3].join(", "),
                                header()
                            );
                        }
                        let columns: Vec<(String, usize)> =
                            columns.into_iter().map(|at| (table.columns[at].clone(), at)).collect();
                        guesses.push(format!("labels = {} columns of 0 and 1, one a class", columns.len()));
                        ChosenLabels::Scores { columns, threshold: 0.5, empty: MissingLabel::Unknown }
                    }
                }
            }
        };
        let note =
            format!("columns of {shown}, by their names: {} (`columns` in [data] names others)", guesses.join(", "));
        let mut notes = if guesses.is_empty() { Vec::new() } else { vec![note] };
        let unread_group = usual(&GROUPS).filter(|_| group.is_none() && !written.is_default());
        notes.extend(unread_group.map(|at| {
            let name = &table.columns[at];
            format!("`{name}` of {shown} is not read as the song of a recording, because other columns are written: `columns.group = \"{name}\"` in [data] reads it")
        }));
        notes.extend(unread.map(|at| {
            format!(
                "`{}` of {shown} is not read as a time in the file, because no file is in two rows (`columns` in [data] says otherwise)",
                table.columns[at]
            )
        }));
        Ok((Chosen { path, labels, group, split, fold, start, end, weight, tags }, notes))
    }

    /// The classes, if columns name them.
    fn classes(&self) -> Option<Vec<String>> {
        match &self.labels {
            ChosenLabels::Column { .. } => None,
            ChosenLabels::Scores { columns, .. } => Some(columns.iter().map(|(name, _)| name.clone()).collect()),
        }
    }
}

/// The column whose cells all have the ending of an audio file, if there is one such column.
fn only_column_of_files(table: &Table) -> Option<usize> {
    let is_file = |cell: &Cell| {
        let ending = if let Cell::Text(text) = cell { text.rsplit_once('.').map(|(_, ending)| ending) } else { None };
        ending.is_some_and(|ending| AUDIO_EXTENSIONS.contains(&ending.to_lowercase().as_str()))
    };
    let mut found = (0..table.columns.len()).filter(|at| table.rows.iter().all(|row| is_file(&row.cells[*at])));
    found.next().filter(|_| !table.rows.is_empty() && found.next().is_none())
}

/// `|` or `;` if a cell has one; `,` if a cell has one and none is followed by a space, as in the class "Violin, fiddle".
fn separator_of(table: &Table, at: usize) -> Option<String> {
    let cells: Vec<&str> = table
        .rows
        .iter()
        .filter_map(|row| if let Cell::Text(text) = &row.cells[at] { Some(text.as_str()) } else { None })
        .collect();
    let has = |separator: &str| cells.iter().any(|cell| cell.contains(separator));
    let found = ["|", ";"].into_iter().find(|separator| has(separator));
    found.or((has(",") && !has(", ")).then_some(",")).map(str::to_owned)
}

fn is_score_column(table: &Table, at: usize) -> bool {
    !table.rows.is_empty()
        && table.rows.iter().all(|row| {
            let text = row.cells[at].text();
            text.trim().is_empty() || score(&text).is_some_and(|n| (0.0..=1.0).contains(&n))
        })
}

/// The number in a cell; `false` and `no` are 0.
fn score(text: &str) -> Option<f64> {
    match text.trim().to_lowercase().as_str() {
        "false" | "no" => Some(0.0),
        "true" | "yes" => Some(1.0),
        number => number.parse().ok(),
    }
}

impl ChosenLabels {
    /// A table that marks only what is present has empty cells for what is absent: they cannot be unknown.
    fn check_absent(&self, table: &Table, faults: &mut Faults) {
        let ChosenLabels::Scores { columns, threshold, empty: MissingLabel::Unknown } = self else { return };
        let mut has_empty = false;
        for text in table.rows.iter().flat_map(|row| columns.iter().map(|(_, at)| row.cells[*at].text())) {
            match score(&text) {
                _ if text.trim().is_empty() => has_empty = true,
                Some(score) if score >= *threshold => {}
                _ => return,
            }
        }
        if has_empty {
            let kind = "columns of classes have empty cells, which are unknown classes, and no cell says that a class is absent";
            let advice = "write `labels = { columns = [...], empty = \"absent\" }` if empty cells mean that";
            faults.add(kind, advice.to_owned());
        }
    }

    /// The classes that a recording has, and those that are unknown.
    fn of(&self, row: &Row, path: &str, faults: &mut Faults) -> (Vec<String>, Vec<String>) {
        match self {
            ChosenLabels::Column { at, separator } => {
                let parts: Vec<String> = match (&row.cells[*at], separator) {
                    (Cell::List(items), _) => items.clone(),
                    (Cell::Text(text), Some(separator)) => text.split(separator.as_str()).map(str::to_owned).collect(),
                    (Cell::Text(text), None) => list_items(text).unwrap_or_else(|| vec![text.clone()]),
                };
                let present = parts.iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect();
                (present, Vec::new())
            }
            ChosenLabels::Scores { columns, threshold, empty } => {
                let (mut present, mut unknown) = (Vec::new(), Vec::new());
                for (name, at) in columns {
                    let text = row.cells[*at].text();
                    if text.trim().is_empty() {
                        unknown.extend((*empty == MissingLabel::Unknown).then(|| name.clone()));
                        continue;
                    }
                    match score(&text) {
                        Some(score) if score >= *threshold => present.push(name.clone()),
                        Some(_) => {}
                        None => {
                            let what = format!("{path}: {name} is {text:?} (line {})", row.line);
                            faults.add("cells of a class are not a number", what);
                        }
                    }
                }
                (present, unknown)
            }
        }
    }
}
