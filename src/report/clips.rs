//! The hardest recordings of a model, to be seen and heard where they are at hand.
//!
//! What is heard is embedded, not linked: a report is sent around, and a link into the file system of another machine plays
//! nothing. Each is the part that the model was given, at most [`SECONDS`] of it, as a 16-bit WAV of at most [`RATE`]; pictures
//! and sounds of a page together stay within a budget.

use std::path::{Path, PathBuf};

use super::gathered::Gathered;
use super::page::{Cell, paragraph, table, text};
use crate::audio::{self, AudioSpec, Clip, wav_write};
use crate::plot::base64;
use crate::plot::picture::Picture;
use crate::tables::{Scored, class_list};

const SEEN: usize = 12;
const SECONDS: f64 = 5.0;
const RATE: u32 = 22050;
/// Longer recordings would have to be decoded for a few seconds of them.
const LONGEST: f64 = 600.0;

/// Where recordings lie, by the names that the tables give them.
pub type Find<'a> = &'a dyn Fn(&str) -> Option<PathBuf>;

pub struct Clips {
    pub html: String,
    /// How many could be heard.
    pub heard: usize,
}

/// The hardest of one model, with pictures and players of at most `budget` characters.
pub fn of_best(run: &Gathered, scored: &Scored, find: Find, budget: usize) -> Clips {
    let hardest = scored.hardest();
    if hardest.is_empty() {
        return Clips { html: paragraph("Every recording was decided rightly."), heard: 0 };
    }
    let spec = AudioSpec {
        sample_rate: run.experiment.audio.sample_rate.min(RATE),
        clip_seconds: Some(run.experiment.audio.clip_seconds.unwrap_or(SECONDS).min(SECONDS)),
        crop: run.experiment.audio.crop,
    };
    let (mut left, mut heard, mut items) = (budget, 0, String::new());
    for &clip in hardest.iter().take(SEEN) {
        let mut media = String::new();
        let found = find(&scored.split.clips[clip].path).and_then(|path| listen(&path, &spec));
        if let Some(parts) = found.map(|sound| embedded(&sound, &words(run, scored, clip)))
            && parts.len() <= left
        {
            left -= parts.len();
            heard += 1;
            media = parts;
        }
        items += &format!("<li>{media}{}</li>\n", said(run, scored, clip));
    }
    let missing = if heard == 0 {
        paragraph("The recordings are not at hand: neither seen nor heard here.")
    } else {
        String::new()
    };
    let more = hardest.len().saturating_sub(SEEN);
    let more = if more > 0 {
        paragraph(&format!(
            "{} wrong in all; more of them in hardest.csv.",
            super::verdict::counted(hardest.len(), "recording")
        ))
    } else {
        String::new()
    };
    Clips { html: format!("{missing}<ol class=\"clips\">\n{items}</ol>\n{more}"), heard }
}

/// The hardest of another model, in words.
pub fn of_other(run: &Gathered, scored: &Scored) -> String {
    let hardest = scored.hardest();
    if hardest.is_empty() {
        return paragraph("Every recording was decided rightly.");
    }
    let row = |&clip: &usize| {
        let of = &scored.split.clips[clip];
        let p = |labels: &[usize]| Cell::number(scored.given(clip, labels).map(f64::from));
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

fn words(run: &Gathered, scored: &Scored, clip: usize) -> String {
    let truth = or_none(class_list(&run.classes, &scored.split.clips[clip].truth));
    format!("{truth}, taken for {}", or_none(class_list(&run.classes, &scored.decided[clip])))
}

/// What it is, what was said of it, and its name.
fn said(run: &Gathered, scored: &Scored, clip: usize) -> String {
    let of = &scored.split.clips[clip];
    let p = |labels: &[usize]| scored.given(clip, labels).map_or(String::new(), |p| format!(" ({p:.2})"));
    format!(
        "<div>Truth <strong>{}</strong>{}</div><div>Decided <strong>{}</strong>{}</div><div class=\"path\">{}</div>",
        text(&or_none(class_list(&run.classes, &of.truth))),
        p(&of.truth),
        text(&or_none(class_list(&run.classes, &scored.decided[clip]))),
        p(&scored.decided[clip]),
        text(&of.path)
    )
}

/// The part of a recording that was given to the model; nothing where it cannot be read any more.
fn listen(path: &Path, spec: &AudioSpec) -> Option<Clip> {
    let header = audio::probe_file(path).ok()?;
    (header.seconds <= LONGEST).then(|| audio::load_file(path, spec).ok()).flatten()
}

fn embedded(sound: &Clip, words: &str) -> String {
    let mut picture = Picture::new(sound.sample_rate);
    picture.add(&sound.samples);
    let image = picture.png().map_or(String::new(), |png| {
        format!("<img alt=\"Spectrogram of {}\" src=\"data:image/png;base64,{}\">", text(words), base64(&png))
    });
    let Some(wav) = wav(sound) else { return image };
    format!(
        "{image}<audio controls preload=\"none\" aria-label=\"{}\" src=\"data:audio/wav;base64,{}\"></audio>",
        text(words),
        base64(&wav)
    )
}

fn wav(sound: &Clip) -> Option<Vec<u8>> {
    let mut bytes = wav_write::pcm16_header(sound.samples.len(), 1, sound.sample_rate).ok()?.to_vec();
    let whole = |sample: &f32| (sample.clamp(-1.0, 1.0) * 32767.0).round() as i16;
    bytes.extend(sound.samples.iter().flat_map(|sample| whole(sample).to_le_bytes()));
    Some(bytes)
}
