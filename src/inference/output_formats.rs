//! What was heard in a recording, in the forms in which it is told. Pure functions: a form is the text of a file.
//!
//! Conventions
//! - JSON: one versioned object, keys in a fixed order; an addition keeps the version.
//! - CSV: RFC 4180; numbers as they are, so that reading them back gives the same bits.
//! - Audacity: a line a segment, `start`, `end` and name between tabs, seconds with six decimals: a label track to import.
//! - JAMS 0.3 (`jams` 0.3.4): two annotations of the namespace `tag_open`, the classes of the whole recording and the segments.

use serde::Serialize;
use serde_json::{Value, json};

use super::{ModelName, Prediction, Predictor};
use timbre_evaluation::timeline::{self, Hysteresis, Segment};
use timbre_inputs::features::extraction::RecordingError;
use timbre_runs::tables::class_column;
use timbre_signal::windows::WindowSpec;

/// Raised when the object of [`json()`] changes its form.
const SCHEMA: u32 = 1;
/// Classes of a line for people, at least: those that were decided stand there besides.
const TOP: usize = 3;

/// A recording that was heard.
pub struct PredictedRecording<'a> {
    /// As it was named.
    pub path: String,
    pub heard: Prediction,
    /// The likeliest class, or every class that is decided of a multi-label run.
    pub decided: Vec<&'a str>,
    /// Nothing where the recording was heard as one clip.
    pub segments: Vec<Segment>,
}

impl<'a> PredictedRecording<'a> {
    pub fn new(path: String, heard: Prediction, predictor: &'a Predictor, rule: &Hysteresis) -> PredictedRecording<'a> {
        let decided = predictor.decided_classes(&heard);
        let segments = match (&heard.windows, predictor.window()) {
            (Some(windows), Some(spec)) => timeline::segments(windows, spec.seconds, heard.seconds, rule),
            _ => Vec::new(),
        };
        PredictedRecording { path, heard, decided, segments }
    }
}

#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    model: &'a ModelName,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<WindowSpec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    segments: Option<&'a Hysteresis>,
    files: Vec<Line<'a>>,
    unusable: Vec<Value>,
}

#[derive(Serialize)]
struct Line<'a> {
    path: &'a str,
    seconds: f64,
    decided: &'a [&'a str],
    classes: Vec<ClassShare<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    segments: Option<Vec<Stretch<'a>>>,
}

#[derive(Serialize)]
struct ClassShare<'a> {
    code: &'a str,
    probability: f32,
}

#[derive(Serialize)]
struct Stretch<'a> {
    start: f64,
    end: f64,
    code: &'a str,
    confidence: f64,
}

/// One object about all recordings, those that could not be used among them.
pub fn json(
    predictor: &Predictor,
    rule: &Hysteresis,
    told: &[PredictedRecording],
    unusable: &[(String, RecordingError)],
) -> String {
    let classes = predictor.classes();
    let in_windows = predictor.window().is_some();
    let stretch =
        |s: &Segment| Stretch { start: s.start, end: s.end, code: classes.name(s.class), confidence: s.confidence };
    let report = Report {
        schema: SCHEMA,
        model: predictor.name(),
        window: predictor.window(),
        segments: in_windows.then_some(rule),
        files: told
            .iter()
            .map(|told| Line {
                path: &told.path,
                seconds: told.heard.seconds,
                decided: &told.decided,
                classes: told
                    .heard
                    .ranked(classes)
                    .into_iter()
                    .map(|(code, probability)| ClassShare { code, probability })
                    .collect(),
                segments: in_windows.then(|| told.segments.iter().map(stretch).collect()),
            })
            .collect(),
        unusable: unusable
            .iter()
            .map(|(path, why)| json!({ "path": path, "code": why.code, "reason": why.sentence }))
            .collect(),
    };
    serde_json::to_string(&report).expect("numbers and names are JSON") + "\n"
}

/// A line for people, the decided classes with a `*`, and below it one a segment.
pub fn text(predictor: &Predictor, told: &PredictedRecording) -> String {
    let ranked = told.heard.ranked(predictor.classes());
    // What was decided need not be the likeliest: votes and cut-offs of their own have another order.
    let shown = |(place, (class, p)): (usize, (&str, f32))| {
        let is_decided = told.decided.contains(&class);
        let mark = if is_decided { "*" } else { "" };
        (is_decided || place < TOP).then(|| format!("{class}{mark} {p:.3}"))
    };
    let shown: Vec<String> = ranked.into_iter().enumerate().filter_map(shown).collect();
    let segment = |s: &Segment| {
        let name = predictor.classes().name(s.class);
        format!("    {} - {}  {name} {:.3}\n", clock(s.start), clock(s.end), s.confidence)
    };
    format!("{}  {}\n{}", told.path, shown.join("  "), told.segments.iter().map(segment).collect::<String>())
}

/// `1:02:03.4`, for people.
fn clock(seconds: f64) -> String {
    let tenths = (seconds * 10.0).round() as u64;
    let (whole, tenth) = (tenths / 10, tenths % 10);
    match whole / 3600 {
        0 => format!("{}:{:02}.{tenth}", whole / 60, whole % 60),
        hours => format!("{hours}:{:02}:{:02}.{tenth}", whole / 60 % 60, whole % 60),
    }
}

/// The path, and a column a class.
pub fn csv_head(predictor: &Predictor) -> String {
    format!("path{}\n", class_columns(predictor))
}

pub fn csv(told: &PredictedRecording) -> String {
    format!("{}{}\n", quoted(&told.path), columns(&told.heard.probabilities))
}

/// A line a window: the path, where it begins, and a column a class.
pub fn windows_head(predictor: &Predictor) -> String {
    format!("path,start{}\n", class_columns(predictor))
}

pub fn windows(told: &PredictedRecording) -> String {
    let Some(windows) = &told.heard.windows else { return String::new() };
    let path = quoted(&told.path);
    let line = |(start, row): (&f64, &[f32])| format!("{path},{start}{}\n", columns(row));
    windows.starts.iter().zip(windows.rows_of(0)).map(line).collect()
}

pub const SEGMENTS_HEAD: &str = "path,start,end,class,confidence\n";

pub fn segments(predictor: &Predictor, told: &PredictedRecording) -> String {
    let path = quoted(&told.path);
    let line = |s: &Segment| {
        let name = quoted(predictor.classes().name(s.class));
        format!("{path},{},{},{name},{}\n", s.start, s.end, s.confidence)
    };
    told.segments.iter().map(line).collect()
}

pub fn audacity(predictor: &Predictor, told: &PredictedRecording) -> String {
    let line = |s: &Segment| {
        // A name with a tab or a line break would end its field.
        let name: String = predictor.classes().name(s.class).replace(char::is_control, " ");
        format!("{:.6}\t{:.6}\t{name}\n", s.start, s.end)
    };
    told.segments.iter().map(line).collect()
}

pub fn jams(predictor: &Predictor, told: &PredictedRecording) -> String {
    let seconds = told.heard.seconds;
    let classes = predictor.classes();
    let of_class = |name: &str| classes.index(name).map_or(0.0, |class| told.heard.probabilities[class]);
    let observation = |time: f64, duration: f64, name: &str, confidence: Value| json!({ "time": time, "duration": duration, "value": name, "confidence": confidence });
    let whole = told.decided.iter().map(|name| observation(0.0, seconds, name, json!(of_class(name)))).collect();
    let parts = told
        .segments
        .iter()
        .map(|s| observation(s.start, s.end - s.start, classes.name(s.class), json!(s.confidence)))
        .collect();
    let annotation = |data: Vec<Value>, rules: &str| {
        json!({
            "namespace": "tag_open",
            "data": data,
            "annotation_metadata": {
                "curator": { "name": "", "email": "" },
                "annotator": { "model": predictor.name().to_string() },
                "version": "",
                "corpus": "",
                "annotation_tools": concat!("timbre ", env!("CARGO_PKG_VERSION")),
                "annotation_rules": rules,
                "validation": "",
                "data_source": "program",
            },
            "sandbox": {},
            "time": 0.0,
            "duration": seconds,
        })
    };
    let title =
        std::path::Path::new(&told.path).file_name().map_or_else(String::new, |name| name.to_string_lossy().into());
    let file = json!({
        "annotations": [
            annotation(whole, "instruments of the whole recording"),
            annotation(parts, "instruments over time"),
        ],
        "file_metadata": {
            "title": title,
            "artist": "",
            "release": "",
            "duration": seconds,
            "identifiers": {},
            "jams_version": "0.3.4",
        },
        "sandbox": { "path": told.path },
    });
    serde_json::to_string_pretty(&file).expect("numbers and names are JSON") + "\n"
}

fn class_columns(predictor: &Predictor) -> String {
    predictor.classes().names().iter().map(|name| format!(",{}", quoted(&class_column(name)))).collect()
}

fn columns(row: &[f32]) -> String {
    row.iter().map(|p| format!(",{p}")).collect()
}

/// A CSV field (RFC 4180).
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_with_a_comma_or_a_quote_is_quoted() {
        assert_eq!(quoted("plain [x].wav"), "plain [x].wav");
        assert_eq!(quoted("a, \"b\".wav"), "\"a, \"\"b\"\".wav\"");
    }

    #[test]
    fn people_read_minutes_and_hours() {
        assert_eq!(
            [clock(0.0), clock(59.96), clock(605.0), clock(3725.44)],
            ["0:00.0", "1:00.0", "10:05.0", "1:02:05.4"]
        );
    }
}
