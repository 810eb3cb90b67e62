//! Shows the recordings of a run: how many of each class are in each split, and how long they are.

use indexmap::{IndexMap, IndexSet};
use rayon::prelude::*;

use super::hardest_clips::FindRecording;
use super::report_data::ReportData;
use crate::page::{Cell, folded, paragraph, table};
use timbre_core::{progress::duration, text::count};
use timbre_inputs::data::irmas;
use timbre_runs::{run_dir::Table, tables};
use timbre_signal::audio;

/// The order of the splits; others follow.
const SPLITS: [&str; 4] = ["training", "validation", "test", "held_out"];
/// Recordings whose headers are read for their lengths.
const PROBED: usize = 1000;
/// More classes have no table of their pairs.
const PAIRED: usize = 30;

/// The section; empty for a run of older versions, which did not list its recordings.
pub fn html(run: &ReportData, find: FindRecording) -> String {
    let Ok(columns) = tables::read_csv(&run.path.join(Table::Recordings.file())) else { return String::new() };
    let (Some(paths), Some(songs), Some(labels)) = (columns.get("path"), columns.get("song"), columns.get("labels"))
    else {
        return String::new();
    };
    // Before the recordings are divided there is no such column.
    let of_seed = columns.get_full(&format!("split_s{}", run.record.seeds.first().copied().unwrap_or_default()));
    let split_of = columns.get("split").or(of_seed.map(|found| found.2));
    let split = |row: usize| match split_of.map_or("recordings", |cells| cells[row].as_str()) {
        "" => "not used",
        split => split,
    };
    let present: IndexSet<&str> = (0..paths.len()).map(split).collect();
    let known = SPLITS.into_iter().filter(|split| present.contains(split));
    let splits: IndexSet<&str> = known.chain(present.iter().copied()).collect();
    let mut html = String::new();
    if of_seed.is_some() {
        html +=
            &paragraph(&format!("The seeds divide the recordings differently: this is seed {}.", run.record.seeds[0]));
    }
    html += &classes(run, &splits, labels, songs, &split);
    if run.has_several_labels() {
        html += &pairs(run, labels);
    }
    html + &lengths(&splits, paths, songs, &split, find)
}

/// Recordings of each class in each split. A recording of several classes counts for each.
fn classes<'a>(
    run: &ReportData,
    splits: &IndexSet<&'a str>,
    labels: &[String],
    songs: &[String],
    split: &dyn Fn(usize) -> &'a str,
) -> String {
    let mut counts: IndexMap<&str, (Vec<u64>, IndexSet<&str>)> =
        run.record.classes.iter().map(|class| (class.as_str(), (vec![0; splits.len()], IndexSet::new()))).collect();
    for (row, own) in labels.iter().enumerate() {
        for class in own.split(';') {
            let Some((of_split, of_songs)) = counts.get_mut(class) else { continue };
            of_split[splits.get_index_of(split(row)).unwrap_or(0)] += 1;
            of_songs.insert(&songs[row]);
        }
    }
    let row = |(class, (of_split, of_songs)): (&&str, &(Vec<u64>, IndexSet<&str>))| {
        let name = irmas::display_name(&run.classes, class);
        let name = if name == *class { name.to_owned() } else { format!("{name} ({class})") };
        let mut cells = vec![Cell::text(&name)];
        cells.extend(of_split.iter().map(|&n| Cell::count(n)));
        cells.extend((!run.has_no_songs).then(|| Cell::count(of_songs.len() as u64)));
        cells
    };
    let rows: Vec<Vec<Cell>> = counts.iter().map(row).collect();
    let mut headings = vec![("class", false)];
    headings.extend(splits.iter().map(|split| (*split, true)));
    headings.extend((!run.has_no_songs).then_some(("songs", true)));
    let several = if run.has_several_labels() { " A recording of several classes counts for each." } else { "" };
    let mut html = table(&format!("Recordings of each class.{several}"), &headings, &rows);
    for (at, split) in splits.iter().enumerate().filter(|(_, split)| SPLITS.contains(split)) {
        let missing: Vec<&str> = counts
            .iter()
            .filter(|(_, (of_split, _))| of_split[at] == 0)
            .map(|(class, _)| irmas::display_name(&run.classes, class))
            .collect();
        if !missing.is_empty() {
            html += &paragraph(&format!("No recording of {} in the {split} split.", missing.join(", ")));
        }
    }
    html
}

/// The number of recordings that have both classes of a row and a column.
fn pairs(run: &ReportData, labels: &[String]) -> String {
    let classes = &run.record.classes;
    if classes.len() > PAIRED {
        return String::new();
    }
    let place = |class: &str| classes.iter().position(|own| own == class);
    let mut counts = vec![vec![0u64; classes.len()]; classes.len()];
    for own in labels {
        let own: Vec<usize> = own.split(';').filter_map(place).collect();
        own.iter().for_each(|&a| own.iter().for_each(|&b| counts[a][b] += 1));
    }
    let name = |class: &String| irmas::display_name(&run.classes, class).to_owned();
    let row = |(a, class): (usize, &String)| {
        let cells = (0..classes.len()).map(|b| {
            let share = counts[a][b] as f64 / counts[a][a].max(1) as f64;
            Cell::count(counts[a][b]).heated(share, (0.0, 1.0))
        });
        std::iter::once(Cell::text(&name(class))).chain(cells).collect()
    };
    let rows: Vec<Vec<Cell>> = classes.iter().enumerate().map(row).collect();
    let names: Vec<String> = classes.iter().map(name).collect();
    let headings: Vec<(&str, bool)> =
        std::iter::once(("class", false)).chain(names.iter().map(|name| (name.as_str(), true))).collect();
    let caption = "Recordings with both classes, on the diagonal with the class at all. Colour: the share of the row's recordings.";
    folded("Classes that occur together", &table(caption, &headings, &rows))
}

/// Recordings, songs and lengths of each split.
fn lengths<'a>(
    splits: &IndexSet<&'a str>,
    paths: &[String],
    songs: &[String],
    split: &dyn Fn(usize) -> &'a str,
    find: FindRecording,
) -> String {
    let every = paths.len().div_ceil(PROBED).max(1);
    let files: Vec<_> = (0..paths.len()).step_by(every).map(|row| (row, find(&paths[row]))).collect();
    let probed: Vec<(usize, f64)> = files
        .into_par_iter()
        .filter_map(|(row, file)| {
            let (path, part) = file?;
            Some((row, audio::probe_file(&path, part.as_ref()).ok()?.seconds))
        })
        .collect();
    let row = |wanted: &&'a str| {
        let own = || (0..paths.len()).filter(|&row| split(row) == *wanted);
        let of_songs: IndexSet<&str> = own().map(|row| songs[row].as_str()).collect();
        let mut lengths: Vec<f64> =
            probed.iter().filter(|(row, _)| split(*row) == *wanted).map(|(_, seconds)| *seconds).collect();
        lengths.sort_unstable_by(f64::total_cmp);
        let mut cells = vec![Cell::text(wanted), Cell::count(own().count() as u64), Cell::count(of_songs.len() as u64)];
        let length = |value: Option<&f64>| Cell {
            sort: value.copied(),
            ..Cell::text(&value.map_or("–".to_owned(), |length| duration(*length)))
        };
        cells.extend([lengths.first(), lengths.get(lengths.len() / 2), lengths.last()].map(length));
        let mean = lengths.iter().sum::<f64>() / lengths.len() as f64;
        let total = Some(mean * own().count() as f64).filter(|total| total.is_finite());
        cells.push(length(total.as_ref()));
        cells
    };
    let rows: Vec<Vec<Cell>> = splits.iter().map(row).collect();
    let headings = [
        ("split", false),
        ("recordings", true),
        ("songs", true),
        ("shortest", true),
        ("median", true),
        ("longest", true),
        ("total", true),
    ];
    let read = match probed.len() {
        0 => " The recordings are not available, so there are no lengths.".to_owned(),
        n if n < paths.len() => format!(" Lengths and totals are estimated from {}.", count(n, "recording")),
        _ => String::new(),
    };
    table(&format!("Recordings and lengths of each split.{read}"), &headings, &rows)
}
