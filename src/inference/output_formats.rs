//! Output formats of `timbre predict`, as pure functions from predictions to text.
//!
//! Conventions
//! - JSON: one versioned object with keys in a fixed order; adding a key keeps the version.
//! - CSV: RFC 4180; numbers in their shortest form that reads back to the same bits.
//! - Audacity: a label track, one segment per line: start, end and name separated by tabs, seconds with six decimals.
//! - JAMS 0.3 (`jams` 0.3.4): two annotations in the namespace `tag_open`, the classes of the whole recording and the segments.

use serde::Serialize;
use serde_json::{Value, json};

use super::{ModelName, Prediction, Predictor, UsedPart};
use timbre_core::text::{csv_field, csv_text, one_line};
use timbre_evaluation::timeline::{self, Hysteresis, Segment};
use timbre_inputs::features::extraction::RecordingError;
use timbre_runs::tables::class_column;
use timbre_signal::{audio::CutOff, windows::WindowSpec};

/// Version of the object of [`json()`].
const SCHEMA: u32 = 1;
/// Classes on a line of [`text`], in addition to the decided ones.
const TOP: usize = 3;

/// A recording with its prediction.
pub struct PredictedRecording<'a> {
    /// The path as the caller wrote it.
    pub path: String,
    pub prediction: Prediction,
    /// The most likely class; of a multi-label model every decided class.
    pub decided: Vec<&'a str>,
    /// Empty for a model that predicts one clip.
    pub segments: Vec<Segment>,
    pub is_even_guess: bool,
}

impl<'a> PredictedRecording<'a> {
    pub fn new(
        path: String,
        prediction: Prediction,
        predictor: &'a Predictor,
        rule: &Hysteresis,
    ) -> PredictedRecording<'a> {
        let decided = predictor.decided_classes(&prediction);
        let segments = match (&prediction.windows, predictor.window()) {
            (Some(windows), Some(spec)) => timeline::segments(windows, spec.seconds, prediction.seconds, rule),
            _ => Vec::new(),
        };
        let is_even_guess = predictor.is_even_guess(&prediction);
        PredictedRecording { path, prediction, decided, segments, is_even_guess }
    }
}

#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    model: &'a ModelName,
    /// The data set of the model's run.
    data: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<WindowSpec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    segments: Option<&'a Hysteresis>,
    files: Vec<File<'a>>,
    unusable: Vec<Value>,
    /// Audio files in folders whose formats are not read.
    passed_over: &'a [String],
}

#[derive(Serialize)]
struct File<'a> {
    path: &'a str,
    seconds: f64,
    cut_off: Option<CutOff>,
    used: UsedPart,
    decided: &'a [&'a str],
    even_guess: bool,
    /// Null for a model that was saved without it.
    training_distance: Option<f64>,
    unlike_training: Option<bool>,
    classes: Vec<ClassShare<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    segments: Option<Vec<SegmentOut<'a>>>,
}

#[derive(Serialize)]
struct ClassShare<'a> {
    code: &'a str,
    probability: f32,
}

#[derive(Serialize)]
struct SegmentOut<'a> {
    start: f64,
    end: f64,
    code: &'a str,
    confidence: f64,
}

/// One object for all recordings, including the unusable ones.
pub fn json(
    predictor: &Predictor,
    rule: &Hysteresis,
    recordings: &[PredictedRecording],
    unusable: &[(String, RecordingError)],
    passed_over: &[String],
) -> String {
    let classes = predictor.classes();
    let has_windows = predictor.window().is_some();
    let segment =
        |s: &Segment| SegmentOut { start: s.start, end: s.end, code: classes.name(s.class), confidence: s.confidence };
    let report = Report {
        schema: SCHEMA,
        model: predictor.name(),
        data: &predictor.run_scores().data,
        window: predictor.window(),
        segments: has_windows.then_some(rule),
        files: recordings
            .iter()
            .map(|recording| File {
                path: &recording.path,
                seconds: recording.prediction.seconds,
                cut_off: recording.prediction.cut_off,
                used: recording.prediction.used,
                decided: &recording.decided,
                even_guess: recording.is_even_guess,
                training_distance: recording.prediction.training_distance,
                unlike_training: recording.prediction.is_unlike_training(),
                classes: recording
                    .prediction
                    .ranked(classes)
                    .into_iter()
                    .map(|(code, probability)| ClassShare { code, probability })
                    .collect(),
                segments: has_windows.then(|| recording.segments.iter().map(segment).collect()),
            })
            .collect(),
        unusable: unusable
            .iter()
            .map(|(path, why)| json!({ "path": path, "code": why.code, "reason": why.sentence }))
            .collect(),
        passed_over,
    };
    serde_json::to_string(&report).expect("numbers and names are JSON") + "\n"
}

/// A line per recording, decided classes marked with `*`; at its end where its file is cut off, the used part if that is not all of it, and
/// what speaks against the prediction. A line per segment follows. A recording of one window has no lines of segments: they would say nothing more.
pub fn text(predictor: &Predictor, recording: &PredictedRecording) -> String {
    let ranked = recording.prediction.ranked(predictor.classes());
    // Decided classes need not be the most likely ones: votes and thresholds per class give another order.
    let shown = |(rank, (class, p)): (usize, (&str, f32))| {
        let is_decided = recording.decided.contains(&class);
        let mark = if is_decided { "*" } else { "" };
        (is_decided || rank < TOP).then(|| format!("{}{mark} {p:.3}", one_line(class)))
    };
    let shown: Vec<String> = ranked.into_iter().enumerate().filter_map(shown).collect();
    let segment = |s: &Segment| {
        let name = one_line(predictor.classes().name(s.class));
        format!("    {} - {}  {name} {:.3}\n", clock(s.start), clock(s.end), s.confidence)
    };
    let has_times = recording.prediction.windows.as_ref().is_some_and(|windows| windows.starts.len() > 1);
    let segments = recording.segments.iter().filter(|_| has_times).map(segment).collect::<String>();
    let notes = [part_text(&recording.prediction), doubt(predictor, recording)];
    let notes: String = notes.into_iter().flatten().map(|note| format!("  ({note})")).collect();
    format!("{}  {}{notes}\n{segments}", one_line(&recording.path), shown.join("  "))
}

/// Why the prediction means little, if that is known: the recording is unlike everything in training, or no class stands out.
pub fn doubt(predictor: &Predictor, recording: &PredictedRecording) -> Option<String> {
    let unlike = recording.prediction.is_unlike_training() == Some(true);
    let distance = recording.prediction.training_distance.filter(|_| unlike).map(|distance| {
        format!("unlike the training recordings: {distance:.1} times the distance that 99 % of the validation recordings keep")
    });
    let even = recording
        .is_even_guess
        .then(|| format!("no better than an even guess among {} classes", predictor.classes().len()));
    let doubts: Vec<String> = distance.into_iter().chain(even).collect();
    (!doubts.is_empty()).then(|| doubts.join("; "))
}

/// Where the file is cut off, and the used part of it; none if all of a whole recording was used.
pub fn part_text(prediction: &Prediction) -> Option<String> {
    let parts: Vec<String> = [cut_off_text(prediction), used_text(prediction)].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// `the file is cut off after 0:01.1 of 0:49.1`
fn cut_off_text(prediction: &Prediction) -> Option<String> {
    let whole = prediction.cut_off?.declared_seconds;
    let of = whole.map_or(String::new(), |whole| format!(" of {}", clock(whole)));
    Some(format!("the file is cut off after {}{of}", clock(prediction.seconds)))
}

/// `used 3.0 s of 47:33.8 from 23:45.4 on: 0.1 %`, or `in windows` if there are gaps between them; none if all of the recording
/// was used.
fn used_text(prediction: &Prediction) -> Option<String> {
    let UsedPart { start, seconds, share } = prediction.used;
    let place = match prediction.windows {
        Some(_) => "in windows".to_owned(),
        None => format!("from {} on", clock(start)),
    };
    let (whole, percent) = (clock(prediction.seconds), 100.0 * share);
    // Resampling rounds the length of a recording to whole samples.
    (share < 0.9999).then(|| format!("used {seconds:.1} s of {whole} {place}: {percent:.1} %"))
}

/// `1:02:03.4`
fn clock(seconds: f64) -> String {
    let tenths = (seconds * 10.0).round() as u64;
    let (whole, tenth) = (tenths / 10, tenths % 10);
    match whole / 3600 {
        0 => format!("{}:{:02}.{tenth}", whole / 60, whole % 60),
        hours => format!("{hours}:{:02}:{:02}.{tenth}", whole / 60 % 60, whole % 60),
    }
}

/// The columns after those of the classes: the used part, what speaks against the prediction, and whether the file is cut off, with the
/// length that its header declares.
const AFTER: [&str; 8] = [
    "used_start",
    "used_seconds",
    "used_share",
    "even_guess",
    "training_distance",
    "unlike_training",
    "cut_off",
    "declared_seconds",
];

/// The header: the path, one column per class, the used part, what speaks against the prediction, and whether the file is cut off.
pub fn csv_head(predictor: &Predictor) -> String {
    format!("path{},{}\n", class_columns(predictor), AFTER.join(","))
}

pub fn csv(recording: &PredictedRecording) -> String {
    let UsedPart { start, seconds, share } = recording.prediction.used;
    let classes = columns(&recording.prediction.probabilities);
    let even = recording.is_even_guess;
    let distance = recording.prediction.training_distance.map_or(String::new(), |distance| distance.to_string());
    let unlike = recording.prediction.is_unlike_training().map_or(String::new(), |unlike| unlike.to_string());
    let cut_off = recording.prediction.cut_off;
    let declared = cut_off.and_then(|cut_off| cut_off.declared_seconds).map_or(String::new(), |s| s.to_string());
    format!(
        "{}{classes},{start},{seconds},{share},{even},{distance},{unlike},{},{declared}\n",
        quoted(&recording.path),
        cut_off.is_some()
    )
}

/// The header of one line per window: the path, the start and one column per class.
pub fn windows_head(predictor: &Predictor) -> String {
    format!("path,start{}\n", class_columns(predictor))
}

pub fn windows(recording: &PredictedRecording) -> String {
    let Some(windows) = &recording.prediction.windows else { return String::new() };
    let path = quoted(&recording.path);
    let line = |(start, row): (&f64, &[f32])| format!("{path},{start}{}\n", columns(row));
    windows.starts.iter().zip(windows.rows_of(0)).map(line).collect()
}

pub const SEGMENTS_HEAD: &str = "path,start,end,class,confidence\n";

pub fn segments(predictor: &Predictor, recording: &PredictedRecording) -> String {
    let path = quoted(&recording.path);
    let line = |s: &Segment| {
        let name = quoted(predictor.classes().name(s.class));
        format!("{path},{},{},{name},{}\n", s.start, s.end, s.confidence)
    };
    recording.segments.iter().map(line).collect()
}

pub fn audacity(predictor: &Predictor, recording: &PredictedRecording) -> String {
    let line = |s: &Segment| {
        // A tab or a line break in a name would end the field.
        let name: String = predictor.classes().name(s.class).replace(char::is_control, " ");
        format!("{:.6}\t{:.6}\t{name}\n", s.start, s.end)
    };
    recording.segments.iter().map(line).collect()
}

pub fn jams(predictor: &Predictor, recording: &PredictedRecording) -> String {
    let seconds = recording.prediction.seconds;
    let classes = predictor.classes();
    let of_class = |name: &str| classes.index(name).map_or(0.0, |class| recording.prediction.probabilities[class]);
    let observation = |time: f64, duration: f64, name: &str, confidence: Value| json!({ "time": time, "duration": duration, "value": name, "confidence": confidence });
    let whole = recording.decided.iter().map(|name| observation(0.0, seconds, name, json!(of_class(name)))).collect();
    let parts = recording
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
    let title = std::path::Path::new(&recording.path)
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into());
    let file = json!({
        "annotations": [
            annotation(whole, "classes of the whole recording"),
            annotation(parts, "classes over time"),
        ],
        "file_metadata": {
            "title": title,
            "artist": "",
            "release": "",
            "duration": seconds,
            "identifiers": {},
            "jams_version": "0.3.4",
        },
        "sandbox": {
            "path": recording.path, "used": recording.prediction.used, "cut_off": recording.prediction.cut_off,
        },
    });
    serde_json::to_string_pretty(&file).expect("numbers and names are JSON") + "\n"
}

fn class_columns(predictor: &Predictor) -> String {
    let column = |name: &String| match AFTER.contains(&name.as_str()) {
        true => format!(",{name} (class)"),
        false => format!(",{}", quoted(&class_column(name))),
    };
    predictor.classes().names().iter().map(column).collect()
}

fn columns(row: &[f32]) -> String {
    row.iter().map(|p| format!(",{p}")).collect()
}

/// A name as the field of a CSV file.
fn quoted(name: &str) -> String {
    csv_field(&csv_text(name)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_with_commas_or_quotes_are_quoted() {
        assert_eq!(quoted("plain [x].wav"), "plain [x].wav");
        assert_eq!(quoted("a, \"b\".wav"), "\"a, \"\"b\"\".wav\"");
    }

    #[test]
    fn times_are_written_in_minutes_and_hours() {
        assert_eq!(
            [clock(0.0), clock(59.96), clock(605.0), clock(3725.44)],
            ["0:00.0", "1:00.0", "10:05.0", "1:02:05.4"]
        );
    }
}
