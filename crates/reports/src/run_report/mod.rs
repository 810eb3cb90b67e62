//! Builds the report of a run (`report.html`, `report.md`) and the page of a comparison.
//!
//! A report depends only on the run folder, and on the recordings if they are available. Every number is in the
//! tables or is computed by `metrics`. The page is one file: it loads nothing from the network and has only a small script of its own,
//! without which everything is readable.

use std::path::Path;
use timbre_core::text::{count, escape_xml};

use anyhow::{Context, Result};

use timbre_runs::{
    run_dir::{self, ReportFile, TrialRecord},
    tables::ScoredSplit,
};

mod citation;
mod data_section;
mod group_scores;
mod hardest_clips;
mod comparison_page;
mod model_details;
mod comparison_figures;
mod figures;
mod recording_map;
mod report_data;
mod markdown;
mod overview;
mod threshold_section;
mod configuration;
mod conclusion;

use crate::page::{self, Page, Section, paragraph, prose};
use conclusion::{Conclusion, ConclusionKind};
use figures::Figure;
use group_scores::GroupScores;
use hardest_clips::HardestClips;

pub use comparison_figures::comparison_figures;
pub use comparison_page::comparison_page;
pub use figures::{FigureFile, FigureOptions, write_figures};
pub use hardest_clips::{FindRecording, WITHOUT_MEDIA};
pub(crate) use hardest_clips::{MAX_MEDIA, Media};
pub use report_data::ReportData;

/// The largest size of a page in bytes, so that it can be sent by mail and opened on a phone.
pub const LARGEST: usize = 5_000_000;

/// A report in memory.
pub struct Report {
    pub html: String,
    pub markdown: String,
    /// The conclusion as one line for a terminal.
    pub sentence: String,
    /// Recordings with a player.
    pub playable: usize,
    /// Recordings that should have a player but cannot be found or read.
    pub missing: usize,
    /// The figures of the page.
    pub figures: Vec<FigureFile>,
}

/// How much is shown, from most to least: models in detail, and characters of images and audio.
const LEVELS: [(usize, usize); 4] = [(6, MAX_MEDIA), (3, 1_500_000), (1, 500_000), (0, 0)];

/// Builds the report of a run. `find` locates recordings; without media it has no spectrograms and players. With hundreds of classes
/// less is shown, so that the page stays below [`LARGEST`].
pub fn run_report(run: &Path, has_media: bool, find: FindRecording) -> Result<Report> {
    let run = ReportData::read(run)?;
    let conclusion = conclusion::conclude(&run);
    let best = overview::best_models(&run);
    let shared = Shared {
        conclusion: &conclusion,
        best: best.as_ref(),
        groups: group_scores::read(&run),
        data: data_section::html(&run, find),
    };
    let level = |&(models, budget): &(usize, usize)| {
        with_level(&run, &shared, find, models, if has_media { budget } else { 0 })
    };
    let mut pages = LEVELS.iter().map(level);
    let fitting = pages.find(|report| report.html.len() < LARGEST);
    fitting.with_context(|| format!("the page would be larger than {LARGEST} bytes"))
}

/// The figures of a run as files, laid out for another width than that of the page, in SVG units without margins.
pub fn figures(run: &Path, width: f64) -> Result<Vec<FigureFile>> {
    let run = ReportData { figure_width: width, ..ReportData::read(run)? };
    let trials = run.shown(LEVELS[0].0);
    let shown: Vec<(&TrialRecord, ScoredSplit)> =
        trials.iter().filter_map(|record| Some((record, run.scored(record)?))).collect();
    let figures: Vec<Vec<Figure>> =
        shown.iter().map(|(record, scored)| model_details::trial_figures(&run, record, scored)).collect();
    let search = run_dir::read_search(&run.path);
    let searched = search.as_ref().and_then(|search| run_dir::read_threshold_plot(&run.path, search));
    Ok(files(&run, overview::best_models(&run).as_ref(), &shown, &figures, searched))
}

/// How the best model of a run compares with the best trivial baseline, and how it was chosen.
pub fn conclusion(run: &Path) -> Result<String> {
    Ok(sentence(&conclusion::conclude(&ReportData::read(run)?)))
}

fn sentence(conclusion: &Conclusion) -> String {
    let choice = conclusion.choice.as_ref().map_or(String::new(), |choice| format!(" {choice}"));
    format!("{}: {}{choice}", conclusion.headline, conclusion.sentence)
}

/// What does not depend on how much is shown.
struct Shared<'a> {
    conclusion: &'a Conclusion,
    /// The figure of the best models, and the legend for its file.
    best: Option<&'a (Figure, String)>,
    groups: Vec<GroupScores>,
    /// The section about the recordings.
    data: String,
}

fn with_level(run: &ReportData, shared: &Shared, find: FindRecording, models: usize, budget: usize) -> Report {
    let Shared { conclusion, best, groups, data } = shared;
    let trials = run.shown(models);
    let shown: Vec<(&TrialRecord, ScoredSplit)> =
        trials.iter().filter_map(|record| Some((record, run.scored(record)?))).collect();
    let figures: Vec<Vec<Figure>> =
        shown.iter().map(|(record, scored)| model_details::trial_figures(run, record, scored)).collect();
    let models = overview::html(run, best.map(|(figure, _)| figure));
    let mut sections = vec![Section { id: "models", title: "Models".to_owned(), html: models }];
    if !shown.is_empty() {
        sections.push(details(run, &shown, &figures));
    }
    if !groups.is_empty() {
        let by: Vec<&str> = groups.iter().map(|own| own.divided_by.as_str()).collect();
        let title = if by.len() > 3 { "Results by group".to_owned() } else { format!("Results by {}", by.join(", ")) };
        sections.push(Section { id: "groups", title, html: group_scores::html(run, groups) });
    }
    let search = run_dir::read_search(&run.path);
    let searched = search.as_ref().and_then(|search| run_dir::read_threshold_plot(&run.path, search));
    if let Some(search) = &search {
        let html = threshold_section::html(search, &run.classes, searched.as_ref().map(|(_, svg)| svg.as_str()));
        sections.push(Section { id: "thresholds", title: "Threshold search".to_owned(), html });
    }
    let (mut playable, mut missing) = (0, 0);
    if !shown.is_empty() {
        let all = hardest(run, &shown, find, budget);
        (playable, missing) = (all.playable, all.missing);
        sections.push(Section { id: "hardest", title: "Hardest recordings".to_owned(), html: all.html });
    }
    if !data.is_empty() {
        sections.push(Section { id: "data", title: "Data".to_owned(), html: data.clone() });
    }
    sections.push(Section { id: "configuration", title: "Configuration".to_owned(), html: configuration::html(run) });
    let citation = citation::html(run, conclusion);
    if !citation.is_empty() {
        sections.push(Section { id: "cite", title: "Cite".to_owned(), html: citation });
    }
    sections.push(Section {
        id: "environment",
        title: "Environment".to_owned(),
        html: configuration::environment(run),
    });
    let page = Page {
        title: run.record.experiment.clone(),
        signature: run.record.signature[..8].to_owned(),
        lead: lead(run, conclusion),
        sections,
    };
    Report {
        html: page.html(),
        markdown: markdown::markdown(run, conclusion, shown.first().map(|(_, scored)| scored)),
        sentence: sentence(conclusion),
        playable,
        missing,
        figures: files(run, *best, &shown, &figures, searched),
    }
}

impl Report {
    /// `report.html` and `report.md` into the folder of the run.
    pub fn write(&self, run: &Path) -> Result<()> {
        run_dir::write_report(run, ReportFile::Html, &self.html)?;
        run_dir::write_report(run, ReportFile::Markdown, &self.markdown)
    }
}

/// Builds the report of a run and writes it into the run folder. Returns its conclusion.
pub fn write(run: &Path, has_media: bool, find: FindRecording) -> Result<String> {
    run_report(run, has_media, find)
        .and_then(|report| report.write(run).map(|()| report.sentence))
        .with_context(|| format!("cannot write the report of {}", run.display()))
}

fn lead(run: &ReportData, conclusion: &Conclusion) -> String {
    let record = &run.record;
    let description = if record.description.is_empty() { String::new() } else { paragraph(&record.description) };
    let facts = [
        format!("{} of {}", count(record.data.clips, "recording"), record.data.name),
        count(record.classes.len(), "class"),
        count(run.ranked.len(), "model"),
        count(record.seeds.len(), "seed"),
        format!("signature {}", &record.signature[..8]),
        format!("started {} UTC", record.started.get(..16).unwrap_or(&record.started).replace('T', " ")),
    ];
    let facts = page::facts(&facts);
    let class = match conclusion.kind {
        ConclusionKind::Better => "better",
        ConclusionKind::NotBetter => "worse",
        ConclusionKind::Open | ConclusionKind::Unknown => "open",
    };
    let notes: String =
        conclusion.notes.iter().map(|note| format!("<p class=\"quiet\">{}</p>\n", prose(note))).collect();
    let warning = conclusion.warning.as_ref().map_or(String::new(), |words| {
        format!("<div class=\"conclusion worse\" role=\"alert\"><strong>{}</strong></div>\n", escape_xml(words))
    });
    format!(
        "{description}{warning}{facts}<div class=\"conclusion {class}\"><strong>{}</strong>\n{}{notes}</div>\n",
        escape_xml(&conclusion.headline),
        paragraph(&conclusion.sentence)
    )
}

fn details(run: &ReportData, shown: &[(&TrialRecord, ScoredSplit)], figures: &[Vec<Figure>]) -> Section {
    let panel = |((record, scored), figures): (&(&TrialRecord, ScoredSplit), &Vec<Figure>)| {
        let name = escape_xml(&record.trial.to_string());
        format!(
            "<div class=\"panel\" id=\"unit-{name}\" data-name=\"{name}\">\n<h3>{name}</h3>\n{}</div>\n",
            model_details::html(run, record, scored, figures)
        )
    };
    let panels: String = shown.iter().zip(figures).map(panel).collect();
    let intro = match (run.ranked.len() > shown.len(), run.ranked_on != run.split()) {
        (true, true) => format!(
            "The best {} of {} models by the {} split, best first; all numbers are from the {} split.",
            shown.len(),
            run.ranked.len(),
            run.ranked_on,
            run.split()
        ),
        (true, false) => {
            format!("The best {} of {} models, on the {} split.", shown.len(), run.ranked.len(), run.split())
        }
        (false, _) => format!("On the {} split.", run.split()),
    };
    let seeds = run.record.seeds.len();
    let of_seeds = if seeds > 1 { format!(" Figures show the first of {seeds} seeds.") } else { String::new() };
    let intro = paragraph(&(intro + &of_seeds));
    Section {
        id: "details",
        title: "Details".to_owned(),
        html: format!("{intro}<div class=\"panels\" data-label=\"Models\">\n{panels}</div>\n"),
    }
}

fn hardest(
    run: &ReportData,
    shown: &[(&TrialRecord, ScoredSplit)],
    find: FindRecording,
    budget: usize,
) -> HardestClips {
    let (mut playable, mut missing) = (0, 0);
    let mut panels = String::new();
    for (n, (record, scored)) in shown.iter().enumerate() {
        let html = if n == 0 {
            let own = hardest_clips::of_best(run, scored, find, budget);
            (playable, missing) = (own.playable, own.missing);
            own.html
        } else {
            hardest_clips::of_other(run, scored)
        };
        let name = escape_xml(&record.trial.to_string());
        panels += &format!(
            "<div class=\"panel\" id=\"hardest-{name}\" data-name=\"{name}\">\n<h3>{name}</h3>\n{html}</div>\n"
        );
    }
    let intro = paragraph(&hardest_clips::how_to_read(run));
    let html = format!("{intro}<div class=\"panels\" data-label=\"Models\">\n{panels}</div>\n");
    HardestClips { html, playable, missing }
}

/// Every figure as a separate file with a footer.
fn files(
    run: &ReportData,
    best: Option<&(Figure, String)>,
    shown: &[(&TrialRecord, ScoredSplit)],
    figures: &[Vec<Figure>],
    searched: Option<(String, String)>,
) -> Vec<FigureFile> {
    let run_name = format!("{} {}", run.record.experiment, &run.record.signature[..8]);
    let mut files: Vec<FigureFile> =
        best.map(|(figure, note)| figure.file("", &format!("{run_name}; {note}"))).into_iter().collect();
    for ((record, _), own) in shown.iter().zip(figures) {
        let name = record.trial.to_string();
        let footer = |figure: &Figure| model_details::footer(figure, &name, &run_name, run.split());
        files.extend(own.iter().map(|figure| figure.file(&name, &footer(figure))));
    }
    files.extend(searched.map(|(name, svg)| FigureFile::of_svg(name, svg)));
    files
}
