//! Shows the scores of groups of recordings: by their number of labels (`by_labels.csv`) and by the values of tags (`by_tag.csv`).

use std::ops::Range;

use indexmap::IndexMap;

use super::conclusion::baseline_label;
use super::figures::Figure;
use super::report_data::{ReportData, mean};
use crate::page::{self, Cell, Heading, paragraph, table};
use crate::plot::{self, Interval};
use timbre_runs::{
    run_dir::{NO_FEATURES, Table},
    tables::{self, cell},
};

/// Models of a table.
const MODELS: usize = 6;
/// Groups of a tag; the table of the run has all.
const GROUPS: usize = 30;

/// The scores of one division of the recordings.
pub struct GroupScores {
    /// What divides: `number of labels`, or the name of a tag.
    pub divided_by: String,
    groups: Vec<Group>,
    /// Groups that are left out.
    more: usize,
    file: &'static str,
}

/// A group of recordings with its scores by features and model; trivial baselines have no features.
struct Group {
    name: String,
    scores: IndexMap<(String, String), GroupScore>,
}

/// The scores of one model, by seed.
#[derive(Default)]
struct GroupScore {
    recordings: Vec<u64>,
    values: Vec<f64>,
    intervals: Vec<(f64, f64)>,
}

/// The scores by number of labels, then by each tag, as far as the run wrote them.
pub fn read(run: &ReportData) -> Vec<GroupScores> {
    let mut all = Vec::new();
    for table in [Table::ByLabels, Table::ByTag] {
        let columns = tables::read_csv(&run.path.join(table.file())).unwrap_or_default();
        let n = columns.first().map_or(0, |(_, cells)| cells.len());
        let name = if table == Table::ByTag { "value" } else { "labels" };
        let tag = |row: usize| columns.get("tag").map_or("number of labels", |cells| cells[row].as_str());
        let mut from = 0;
        for to in (1..=n).filter(|&to| to == n || tag(to) != tag(to - 1)) {
            all.extend(divided(run, &columns, name, tag(from), from..to, table.file()));
            from = to;
        }
    }
    all
}

fn divided(
    run: &ReportData,
    columns: &IndexMap<String, Vec<String>>,
    name: &str,
    divided_by: &str,
    rows: Range<usize>,
    file: &'static str,
) -> Option<GroupScores> {
    let metric = run.metric();
    let (names, splits) = (columns.get(name)?, columns.get("split")?);
    let (features, models, n) = (columns.get("features")?, columns.get("model")?, columns.get("n")?);
    let number = |column: &str, row: usize| columns.get(column)?[row].parse::<f64>().ok();
    let mut groups: IndexMap<&str, IndexMap<(String, String), GroupScore>> = IndexMap::new();
    for row in rows.filter(|&row| splits[row] == run.split()) {
        let group = groups.entry(&names[row]).or_default();
        let own = group.entry((features[row].clone(), models[row].clone())).or_default();
        own.recordings.extend(n[row].parse::<u64>());
        own.values.extend(number(metric, row));
        own.intervals.extend(number(&format!("{metric}_low"), row).zip(number(&format!("{metric}_high"), row)));
    }
    let more = groups.len().saturating_sub(GROUPS);
    let group = |(name, scores): (&str, _)| Group { name: name.to_owned(), scores };
    let groups: Vec<Group> = groups.into_iter().take(GROUPS).map(group).collect();
    (!groups.is_empty()).then(|| GroupScores { divided_by: divided_by.to_owned(), groups, more, file })
}

/// One division after another.
pub fn html(run: &ReportData, all: &[GroupScores]) -> String {
    let intro =
        "Groups differ in how hard they are by chance: compare a score with the trivial baseline of its own group.";
    let part = |own: &GroupScores| {
        let figure = own.figure(run).map_or(String::new(), |figure| figure.html());
        page::beside(&own.table(run), &figure)
    };
    paragraph(intro) + &all.iter().map(part).collect::<String>()
}

impl GroupScores {
    fn table(&self, run: &ReportData) -> String {
        let shown: Vec<_> = run.ranked.iter().take(MODELS).collect();
        let of = |group: &Group, features: &str, model: &str| -> Vec<f64> {
            group.scores.get(&(features.to_owned(), model.to_owned())).map_or(Vec::new(), |own| own.values.clone())
        };
        let means = self
            .groups
            .iter()
            .flat_map(|group| shown.iter().map(move |own| mean(of(group, &own.features, &own.model).into_iter())));
        let range = page::range(means.filter(|mean| !mean.is_nan()));
        let names: Vec<String> = shown.iter().map(|own| own.name()).collect();
        let mut headings: Vec<Heading> = vec![(&self.divided_by, false), ("recordings", true)];
        headings.extend(names.iter().map(|name| (name.as_str(), true)));
        headings.extend([("best trivial baseline", true), ("which", false)]);
        let row = |group: &Group| {
            let mut cells = vec![Cell::text(&group.name), Cell::text(&group.recordings())];
            cells.extend(shown.iter().map(|own| {
                let values = of(group, &own.features, &own.model);
                let value = mean(values.iter().copied());
                match value.is_nan() {
                    true => Cell::number(None),
                    false => Cell { sort: Some(value), ..Cell::text(&cell(&values)) }.heated(value, range),
                }
            }));
            let trivial = group.best_trivial();
            cells.push(Cell::number(trivial.as_ref().map(|own| own.1)));
            cells.push(Cell::text(&trivial.map_or(String::new(), |own| baseline_label(own.0))));
            cells
        };
        let rows: Vec<Vec<Cell>> = self.groups.iter().map(row).collect();
        let seeds = if run.record.seeds.len() > 1 { ", mean ± standard deviation over the seeds" } else { "" };
        let more = if self.more > 0 { format!("; {} more groups are in it", self.more) } else { String::new() };
        let caption = format!(
            "{} on the {} split by {}{seeds}. {} has every metric{more}.",
            run.metric(),
            run.split(),
            self.divided_by,
            self.file
        );
        table(&caption, &headings, &rows)
    }

    /// The best model over the groups. None if it has no score.
    fn figure(&self, run: &ReportData) -> Option<Figure> {
        let best = run.ranked.first()?;
        let place = (best.features.clone(), best.model.clone());
        let interval = |group: &Group| {
            let own = group.scores.get(&place).filter(|own| !own.values.is_empty())?;
            let is_single = own.values.len() == 1;
            Some(Interval {
                name: format!("{} (n = {})", group.name, group.recordings()),
                value: mean(own.values.iter().copied()),
                ends: own.intervals.first().copied().filter(|_| is_single),
                seeds: if is_single { Vec::new() } else { own.values.clone() },
            })
        };
        let rows: Vec<Interval> = self.groups.iter().filter_map(interval).collect();
        let title = format!("{} by {}", best.name(), self.divided_by);
        let label = format!("{} ({})", run.metric(), run.split());
        let marks = match run.record.seeds.len() {
            0 | 1 => "Lines: 95 % intervals.",
            _ => "Means of the seeds; small circles: seeds.",
        };
        (!rows.is_empty()).then(|| Figure {
            name: "by_labels",
            drawing: plot::intervals(&title, &label, &rows, None, run.figure_width),
            caption: format!("The best model. n: recordings. {marks}"),
        })
    }
}

impl Group {
    /// The number of recordings, which depends on the seed if each draws its own split.
    fn recordings(&self) -> String {
        let counts = || self.scores.values().flat_map(|own| own.recordings.iter().copied());
        match (counts().min(), counts().max()) {
            (Some(least), Some(most)) if least < most => format!("{least} to {most}"),
            (Some(least), _) => least.to_string(),
            _ => String::new(),
        }
    }

    fn best_trivial(&self) -> Option<(&str, f64)> {
        let baselines = self.scores.iter().filter(|((features, _), _)| features == NO_FEATURES);
        let means = baselines.map(|((_, name), own)| (name.as_str(), mean(own.values.iter().copied())));
        means.filter(|(_, score)| !score.is_nan()).reduce(|a, b| if b.1 > a.1 { b } else { a })
    }
}
