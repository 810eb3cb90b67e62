//! Which columns of a table say what, by the names that are usual.

use std::collections::HashSet;

use anyhow::{Result, anyhow, bail};

use super::{Columns, DetailedLabels, LabelColumns};
use crate::data::entries::Faults;
use crate::data::labels::MissingLabel;
use crate::data::table::{Cell, Row, Table, list_items};
use timbre_signal::audio::AUDIO_EXTENSIONS;

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

/// The places of the columns in a table.
pub(super) struct Chosen {
    pub path: usize,
    pub labels: ChosenLabels,
    pub group: Option<usize>,
    pub split: Option<usize>,
    pub fold: Option<usize>,
    pub start: Option<usize>,
    pub end: Option<usize>,
    pub weight: Option<usize>,
    pub tags: Vec<(String, usize)>,
}

/// Whether several rows have the same value in a column.
fn repeats(table: &Table, column: usize) -> bool {
    let mut seen = HashSet::new();
    !table.rows.iter().all(|row| seen.insert(row.cells[column].text()))
}

pub(super) enum ChosenLabels {
    Column { at: usize, separator: Option<String> },
    Scores { columns: Vec<(String, usize)>, threshold: f64, empty: MissingLabel },
}

impl Chosen {
    /// The columns that are written, and those that are guessed, with a note that names the guesses.
    pub fn new(written: &Columns, table: &Table, shown: &str) -> Result<(Chosen, Vec<String>)> {
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
    pub fn classes(&self) -> Option<Vec<String>> {
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
    pub fn check_absent(&self, table: &Table, faults: &mut Faults) {
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
    pub fn of(&self, row: &Row, path: &str, faults: &mut Faults) -> (Vec<String>, Vec<String>) {
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
