//! Shows the hardest recordings of a model, with spectrograms and players if the files are available.
//!
//! Each excerpt is the audio that the model was given, at most [`SECONDS`] of it, as a 16-bit WAV of at most [`RATE`]; the
//! page says so if the model was given more. Images and audio of a page stay within a budget.

use std::path::{Path, PathBuf};
use timbre_core::text::{count, escape_xml};

use super::report_data::ReportData;
use crate::page::{Cell, paragraph, table};
use crate::player::player;
use crate::plot::{self, ClipTimeline, Strip};
use indexmap::IndexSet;
use timbre_evaluation::{aggregation::Aggregate, timeline::window_boundaries};
use timbre_runs::tables::{ScoredSplit, class_list};
use timbre_signal::audio::{self, AudioSpec, Clip, Crop};

const SEEN: usize = 12;
const SECONDS: f64 = 5.0;
const RATE: u32 = 22050;
/// Longer recordings have no player: decoding them would take too long for a few seconds.
const LONGEST: f64 = 600.0;

/// Finds the file of a recording, and its part of the file, by its id in the tables.
pub type FindRecording<'a> = &'a dyn Fn(&str) -> Option<(PathBuf, Option<audio::Excerpt>)>;

pub struct HardestClips {
    pub html: String,
    /// Recordings with a player.
    pub playable: usize,
    /// Recordings that cannot be found or read.
    pub missing: usize,
}

/// An excerpt of a recording.
struct Excerpt {
    sound: Clip,
    /// Seconds that the model was given, if these are more.
    of: Option<f64>,
}

/// The hardest recordings of the best model, with images and players of at most `budget` characters.
pub fn of_best(run: &ReportData, scored: &ScoredSplit, find: FindRecording, budget: usize) -> HardestClips {
    let hardest = scored.hardest();
    if hardest.is_empty() {
        return HardestClips { html: paragraph("Every recording was classified correctly."), playable: 0, missing: 0 };
    }
    let (mut left, mut playable, mut missing, mut items) = (budget, 0, 0, String::new());
    let mut too_large = 0;
    let shown = &hardest[..hardest.len().min(SEEN)];
    let paths = shown.iter().map(|&clip| scored.split.clips[clip].path.as_str());
    let all = (budget > 0).then(|| Media::new(run, paths, find));
    for (n, &clip) in shown.iter().enumerate() {
        let mut media = String::new();
        match all.as_ref().map(|all| all.html(n, &summary(run, scored, clip))) {
            Some(Some(parts)) if parts.len() <= left => {
                left -= parts.len();
                playable += 1;
                media = parts;
            }
            Some(None) => missing += 1,
            Some(Some(_)) | None => too_large += 1,
        }
        let windows = timeline(run, scored, clip, !media.is_empty()).unwrap_or_default();
        items += &format!("<li>{media}{windows}{}</li>\n", description(run, scored, clip));
    }
    let unavailable = if playable == 0 && missing > 0 {
        paragraph("The recordings are not available, so there are no spectrograms and players.")
    } else {
        String::new()
    };
    let silent = if too_large > 0 {
        let all = if budget == 0 { format!(" {WITHOUT_MEDIA}") } else { String::new() };
        let without = count(too_large, "recording");
        paragraph(&format!("{without} without spectrogram and player, to keep the page small.{all}"))
    } else {
        String::new()
    };
    let more = hardest.len().saturating_sub(SEEN);
    let more = if more > 0 {
        paragraph(&format!("{} wrong in total; hardest.csv has more of them.", count(hardest.len(), "recording")))
    } else {
        String::new()
    };
    let legend = if playable > 0 { plot::level_legend().in_page() } else { String::new() };
    let html = format!("{unavailable}{legend}<ol class=\"clips\">\n{items}</ol>\n{silent}{more}");
    HardestClips { html, playable, missing }
}

/// What a page without spectrograms and players says.
pub const WITHOUT_MEDIA: &str = "`timbre report RUN` writes the page with them.";

/// The maximum number of characters of images and audio of a page.
pub const MAX_MEDIA: usize = 2_500_000;

/// Images and players of what the models were given of recordings. The images have one colour scale.
pub struct Media {
    /// None for a recording that cannot be found or read.
    excerpts: Vec<Option<Excerpt>>,
    crop: Crop,
    loudest: f32,
}

impl Media {
    pub fn new<'a>(run: &ReportData, recordings: impl Iterator<Item = &'a str>, find: FindRecording) -> Media {
        let spec = model_input(&run.experiment.audio, run.experiment.evaluate.windows().is_some());
        let of_recording = |recording: &str| {
            let (path, part) = find(recording)?;
            excerpt(&path, part.as_ref(), &spec)
        };
        let excerpts: Vec<Option<Excerpt>> = recordings.map(of_recording).collect();
        let loudest = plot::loudest(excerpts.iter().flatten().map(|excerpt| &excerpt.sound));
        Media { excerpts, crop: spec.crop, loudest }
    }

    /// The image and player of a recording; `words` are for screen readers.
    pub fn html(&self, n: usize, words: &str) -> Option<String> {
        Some(embedded(self.excerpts[n].as_ref()?, self.crop, self.loudest, words))
    }
}

/// Classes that have a strip in the timeline of a recording.
const STRIPS: usize = 4;

/// What the model predicted in each window for the true and the predicted classes, if recordings were evaluated in several windows.
fn timeline(run: &ReportData, scored: &ScoredSplit, clip: usize, is_played: bool) -> Option<String> {
    let (spec, windows) = (run.experiment.evaluate.windows()?, scored.split.windows.as_ref()?);
    let starts = &windows.starts[windows.windows_of(clip)];
    if starts.len() < 2 {
        return None;
    }
    let seconds = starts[starts.len() - 1] + spec.seconds;
    let (truth, decided) = (&scored.split.clips[clip].truth, &scored.decided[clip]);
    let cutoffs = run.has_several_labels().then(|| run.decision_rule.cutoffs(windows.n_classes));
    let classes: IndexSet<usize> = truth.iter().chain(decided.iter()).copied().collect();
    let strip = |class: usize| {
        let roles = [(truth.contains(&class), "true"), (decided.contains(&class), "predicted")];
        let roles: Vec<&str> = roles.into_iter().filter_map(|(is_of, role)| is_of.then_some(role)).collect();
        Strip {
            name: format!("{} ({})", run.names.name(class), roles.join(" and ")),
            probabilities: windows.rows_of(clip).map(|row| row[class]).collect(),
            threshold: cutoffs.as_ref().map(|cutoffs| cutoffs[class]),
        }
    };
    let audio = model_input(&run.experiment.audio, true);
    let (given, length) = lengths(&audio, seconds);
    let from = if audio.crop == Crop::Centre { (given - length) / 2.0 } else { 0.0 };
    let of = ClipTimeline {
        boundaries: &window_boundaries(starts, spec.seconds, seconds),
        strips: classes.into_iter().take(STRIPS).map(strip).collect(),
        played: (is_played && length < given).then_some((from, from + length)),
    };
    let description = format!("Probabilities over time of {}", summary(run, scored, clip));
    Some(plot::clip_timeline(&description, &of).in_page())
}

/// The hardest recordings of another model, as a table.
pub fn of_other(run: &ReportData, scored: &ScoredSplit) -> String {
    let hardest = scored.hardest();
    if hardest.is_empty() {
        return paragraph("Every recording was classified correctly.");
    }
    let row = |&clip: &usize| {
        let of = &scored.split.clips[clip];
        let p = |labels: &[usize]| Cell::number(scored.mean_probability(clip, labels).map(f64::from));
        vec![
            Cell::text(&of.path),
            Cell::text(&or_none(class_list(&run.names, &of.truth))),
            p(&of.truth),
            Cell::text(&or_none(class_list(&run.names, &scored.decided[clip]))),
            p(&scored.decided[clip]),
        ]
    };
    let rows: Vec<Vec<Cell>> = hardest.iter().take(SEEN).map(row).collect();
    let headings =
        [("recording", false), ("truth", false), ("p (truth)", true), ("predicted", false), ("p (predicted)", true)];
    table("", &headings, &rows)
}

fn or_none(classes: String) -> String {
    if classes.is_empty() { "no class".to_owned() } else { classes.replace(';', ", ") }
}

fn summary(run: &ReportData, scored: &ScoredSplit, clip: usize) -> String {
    let truth = or_none(class_list(&run.names, &scored.split.clips[clip].truth));
    format!("{truth}, predicted as {}", or_none(class_list(&run.names, &scored.decided[clip])))
}

/// The true classes, the predicted classes, and the path of a recording.
fn description(run: &ReportData, scored: &ScoredSplit, clip: usize) -> String {
    let of = &scored.split.clips[clip];
    let p = |labels: &[usize]| scored.mean_probability(clip, labels).map_or(String::new(), |p| format!(" ({p:.2})"));
    format!(
        "<div>Truth <strong>{}</strong>{}</div><div>Predicted <strong>{}</strong>{}</div><div class=\"path\">{}</div>",
        escape_xml(&or_none(class_list(&run.names, &of.truth))),
        p(&of.truth),
        escape_xml(&or_none(class_list(&run.names, &scored.decided[clip]))),
        p(&scored.decided[clip]),
        escape_xml(&of.path)
    )
}

/// Explains the order of the recordings and the numbers.
pub fn how_to_read(run: &ReportData) -> String {
    let in_windows = match run.experiment.evaluate.windows() {
        Some(_) => {
            " Below a recording: the probability of its true and predicted classes in each window, dashed the threshold; the thick \
             line is the part that is played."
        }
        None => "",
    };
    if !run.has_several_labels() {
        return format!(
            "Misclassified recordings, sorted by the probability of the true class, lowest first (probabilities in \
             parentheses).{in_windows}"
        );
    }
    let votes = run.experiment.evaluate.windows().is_some() && run.decision_rule.aggregate == Aggregate::Vote;
    let number = if votes { "share of windows that voted for the class" } else { "probability" };
    format!(
        "Misclassified recordings, sorted by the probability of their exact set of classes, lowest first (in parentheses: the \
         {number}, averaged over several classes).{in_windows}"
    )
}

/// The audio that the models were given. Windows cover the whole recording.
fn model_input(audio: &AudioSpec, in_windows: bool) -> AudioSpec {
    AudioSpec {
        sample_rate: audio.sample_rate.min(RATE),
        clip_seconds: audio.clip_seconds.filter(|_| !in_windows),
        ..audio.clone()
    }
}

/// Decodes the excerpt. None if the recording cannot be read or is too long.
fn excerpt(path: &Path, part: Option<&audio::Excerpt>, spec: &AudioSpec) -> Option<Excerpt> {
    let header = audio::probe_file(path, part).ok().filter(|header| header.seconds <= LONGEST)?;
    let (given, played) = lengths(spec, header.seconds);
    let sound = audio::load_file(path, part, &AudioSpec { clip_seconds: Some(played), ..spec.clone() }).ok()?;
    Some(Excerpt { sound, of: (given > played).then_some(given) })
}

/// The seconds that the model was given of a recording of this length, and the seconds of the excerpt.
fn lengths(spec: &AudioSpec, recording: f64) -> (f64, f64) {
    let given = spec.clip_seconds.unwrap_or(recording);
    (given, given.min(SECONDS))
}

fn embedded(excerpt: &Excerpt, crop: Crop, loudest: f32, words: &str) -> String {
    let sound = &excerpt.sound;
    let note = excerpt.of.map_or(String::new(), |of| {
        let part = if crop == Crop::Centre { "the middle" } else { "the first" };
        format!("<div class=\"path\">Excerpt: {part} {SECONDS:.0} s of the {of:.1} s given to the model.</div>")
    });
    let image = plot::spectrogram_plot(&format!("Spectrogram of {words}"), sound, loudest).in_page();
    image + &player(sound, words) + &note
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_of_a_recording_in_windows_is_five_seconds_of_the_whole() {
        let audio = AudioSpec { clip_seconds: Some(3.0), ..AudioSpec::default() };
        assert_eq!(lengths(&model_input(&audio, true), 16.4), (16.4, 5.0));
        assert_eq!(lengths(&model_input(&audio, true), 2.0), (2.0, 2.0));
        assert_eq!(lengths(&model_input(&audio, false), 16.4), (3.0, 3.0));
        assert_eq!(lengths(&model_input(&AudioSpec::default(), false), 16.4), (16.4, 5.0));
        let of_seconds = |of| Excerpt { sound: Clip { samples: vec![0.1; 8000], sample_rate: 8000 }, of };
        let html = embedded(&of_seconds(Some(16.4)), Crop::Centre, 40.0, "x");
        assert!(html.contains("Excerpt: the middle 5 s of the 16.4 s given to the model."), "{html}");
        assert!(!embedded(&of_seconds(None), Crop::Centre, 40.0, "x").contains("Excerpt"));
    }
}
