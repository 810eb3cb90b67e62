//! The hardest recordings of a model, to be seen and heard where they are at hand.
//!
//! What is heard is embedded, not linked: a report is sent around, and a link into the file system of another machine plays
//! nothing. Each is the part that the model was given, at most [`SECONDS`] of it, as a 16-bit WAV of at most [`RATE`], and where
//! that is not all it is said of how much; pictures and sounds of a page together stay within a budget.

use std::path::{Path, PathBuf};
use timbre_core::text::{count, escape_xml};

use super::page::{Cell, paragraph, table};
use super::report_data::ReportData;
use crate::plot::base64;
use crate::plot::spectrogram_image::SpectrogramImage;
use timbre_evaluation::aggregation::Aggregate;
use timbre_runs::tables::{ScoredSplit, class_list};
use timbre_signal::audio::{self, AudioSpec, Clip, Crop, wav_write};

const SEEN: usize = 12;
const SECONDS: f64 = 5.0;
const RATE: u32 = 22050;
/// Longer recordings would have to be decoded for a few seconds of them.
const LONGEST: f64 = 600.0;

/// Where recordings lie, by the names that the tables give them.
pub type FindRecording<'a> = &'a dyn Fn(&str) -> Option<PathBuf>;

pub struct HardestClips {
    pub html: String,
    /// How many could be heard.
    pub heard: usize,
    /// How many cannot be found or read.
    pub out_of_reach: usize,
}

/// A part of a recording.
struct Excerpt {
    sound: Clip,
    /// Of what the model was given, where that was more.
    of: Option<f64>,
}

/// The hardest of one model, with pictures and players of at most `budget` characters.
pub fn of_best(run: &ReportData, scored: &ScoredSplit, find: FindRecording, budget: usize) -> HardestClips {
    let hardest = scored.hardest();
    if hardest.is_empty() {
        return HardestClips { html: paragraph("Every recording was decided rightly."), heard: 0, out_of_reach: 0 };
    }
    let spec = given(&run.experiment.audio, run.experiment.evaluate.windows().is_some());
    let (mut left, mut heard, mut out_of_reach, mut items) = (budget, 0, 0, String::new());
    for &clip in hardest.iter().take(SEEN) {
        let mut media = String::new();
        let found = find(&scored.split.clips[clip].path).and_then(|path| listen(&path, &spec));
        if let Some(excerpt) = found {
            let parts = embedded(&excerpt, spec.crop, &words(run, scored, clip));
            if parts.len() <= left {
                left -= parts.len();
                heard += 1;
                media = parts;
            }
        } else {
            out_of_reach += 1;
        }
        items += &format!("<li>{media}{}</li>\n", said(run, scored, clip));
    }
    let missing = if heard == 0 && out_of_reach > 0 {
        paragraph("The recordings are not at hand: neither seen nor heard here.")
    } else {
        String::new()
    };
    let more = hardest.len().saturating_sub(SEEN);
    let more = if more > 0 {
        paragraph(&format!("{} wrong in all; more of them in hardest.csv.", count(hardest.len(), "recording")))
    } else {
        String::new()
    };
    HardestClips { html: format!("{missing}<ol class=\"clips\">\n{items}</ol>\n{more}"), heard, out_of_reach }
}

/// The hardest of another model, in words.
pub fn of_other(run: &ReportData, scored: &ScoredSplit) -> String {
    let hardest = scored.hardest();
    if hardest.is_empty() {
        return paragraph("Every recording was decided rightly.");
    }
    let row = |&clip: &usize| {
        let of = &scored.split.clips[clip];
        let p = |labels: &[usize]| Cell::number(scored.mean_probability(clip, labels).map(f64::from));
        vec![
            Cell::words(&of.path),
            Cell::words(&or_none(class_list(&run.classes, &of.truth))),
            p(&of.truth),
            Cell::words(&or_none(class_list(&run.classes, &scored.decided[clip]))),
            p(&scored.decided[clip]),
        ]
    };
    let rows: Vec<Vec<Cell>> = hardest.iter().take(SEEN).map(row).collect();
    let headings =
        [("recording", false), ("truth", false), ("p (truth)", true), ("decided", false), ("p (decided)", true)];
    table("", &headings, &rows)
}

fn or_none(classes: String) -> String {
    if classes.is_empty() { "nothing".to_owned() } else { classes.replace(';', ", ") }
}

fn words(run: &ReportData, scored: &ScoredSplit, clip: usize) -> String {
    let truth = or_none(class_list(&run.classes, &scored.split.clips[clip].truth));
    format!("{truth}, taken for {}", or_none(class_list(&run.classes, &scored.decided[clip])))
}

/// What it is, what was said of it, and its name.
fn said(run: &ReportData, scored: &ScoredSplit, clip: usize) -> String {
    let of = &scored.split.clips[clip];
    let p = |labels: &[usize]| scored.mean_probability(clip, labels).map_or(String::new(), |p| format!(" ({p:.2})"));
    format!(
        "<div>Truth <strong>{}</strong>{}</div><div>Decided <strong>{}</strong>{}</div><div class=\"path\">{}</div>",
        escape_xml(&or_none(class_list(&run.classes, &of.truth))),
        p(&of.truth),
        escape_xml(&or_none(class_list(&run.classes, &scored.decided[clip]))),
        p(&scored.decided[clip]),
        escape_xml(&of.path)
    )
}

/// What the order is, and what the numbers are.
pub fn how_to_read(run: &ReportData) -> String {
    if !run.has_several_labels() {
        return "Recordings that were decided wrongly, those first to whose class the model gave least. In brackets the \
                probability that it gave."
            .to_owned();
    }
    let votes = run.experiment.evaluate.windows().is_some() && run.decision_rule.aggregate == Aggregate::Vote;
    let number = if votes { "share of windows that voted for a class" } else { "probability that it gave" };
    format!(
        "Recordings that were decided wrongly, those first whose classes, there or not, the model held least likely as a whole. In \
         brackets (of several classes the mean): the {number}."
    )
}

/// How recordings were given to the models. Windows run over the whole of a recording.
fn given(audio: &AudioSpec, in_windows: bool) -> AudioSpec {
    AudioSpec {
        sample_rate: audio.sample_rate.min(RATE),
        clip_seconds: audio.clip_seconds.filter(|_| !in_windows),
        crop: audio.crop,
    }
}

/// Of what was given to the model so much as is heard; nothing where it cannot be read any more.
fn listen(path: &Path, spec: &AudioSpec) -> Option<Excerpt> {
    let header = audio::probe_file(path).ok().filter(|header| header.seconds <= LONGEST)?;
    let (given, heard) = lengths(spec, header.seconds);
    let sound = audio::load_file(path, &AudioSpec { clip_seconds: Some(heard), ..spec.clone() }).ok()?;
    Some(Excerpt { sound, of: (given > heard).then_some(given) })
}

/// Seconds that the model was given of a recording so long, and those that are heard here.
fn lengths(spec: &AudioSpec, recording: f64) -> (f64, f64) {
    let given = spec.clip_seconds.unwrap_or(recording);
    (given, given.min(SECONDS))
}

fn embedded(excerpt: &Excerpt, crop: Crop, words: &str) -> String {
    let sound = &excerpt.sound;
    let note = excerpt.of.map_or(String::new(), |of| {
        let part = if crop == Crop::Centre { "the middle" } else { "the first" };
        format!("<div class=\"path\">Here {part} {SECONDS:.0} s of the {of:.1} s that it was given.</div>")
    });
    let mut picture = SpectrogramImage::new(sound.sample_rate);
    picture.add(&sound.samples);
    let image = picture.png().map_or(String::new(), |png| {
        format!("<img alt=\"Spectrogram of {}\" src=\"data:image/png;base64,{}\">", escape_xml(words), base64(&png))
    });
    let Some(wav) = wav(sound) else { return image + &note };
    format!(
        "{image}<audio controls preload=\"none\" aria-label=\"{}\" src=\"data:audio/wav;base64,{}\"></audio>{note}",
        escape_xml(words),
        base64(&wav)
    )
}

fn wav(sound: &Clip) -> Option<Vec<u8>> {
    let mut bytes = wav_write::pcm16_header(sound.samples.len(), 1, sound.sample_rate).ok()?.to_vec();
    let whole = |sample: &f32| (sample.clamp(-1.0, 1.0) * 32767.0).round() as i16;
    bytes.extend(sound.samples.iter().flat_map(|sample| whole(sample).to_le_bytes()));
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_recording_that_was_heard_in_windows_five_seconds_are_heard_here_and_it_is_said_of_how_many() {
        let audio = AudioSpec { clip_seconds: Some(3.0), ..AudioSpec::default() };
        assert_eq!(lengths(&given(&audio, true), 16.4), (16.4, 5.0));
        assert_eq!(lengths(&given(&audio, true), 2.0), (2.0, 2.0));
        assert_eq!(lengths(&given(&audio, false), 16.4), (3.0, 3.0));
        assert_eq!(lengths(&given(&AudioSpec::default(), false), 16.4), (16.4, 5.0));
        let excerpt = |of| Excerpt { sound: Clip { samples: vec![0.1; 8000], sample_rate: 8000 }, of };
        let html = embedded(&excerpt(Some(16.4)), Crop::Centre, "x");
        assert!(html.contains("Here the middle 5 s of the 16.4 s that it was given."), "{html}");
        assert!(!embedded(&excerpt(None), Crop::Centre, "x").contains("Here"));
    }
}
