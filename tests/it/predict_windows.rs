//! Predictions in windows of recordings of any length: equal to those of the run, in every output format.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;
use timbre::inference::Predictor;
use timbre_runs::run_dir::{self, Trial};
use timbre_signal::{
    audio::{DecodeLimits, RecordingSource},
    windows::WindowSpec,
};

use crate::test_dir::{OFFICIAL_SPLIT, TWO_MODELS};
use crate::trained_model::{Trained, path_text, text};

/// Classic models and a network, evaluated on windows that do not divide the recordings; some recordings are shorter than a window.
const WINDOWS: &str = r#"resize = [32, 48]
[models.cnn_small]
filters = [8, 16]
epochs = 2
batch_size = 16
loss = "bce"
[evaluate]
task = "multi_label"
mode = "windows"
window = { seconds = 3.0, hop = 0.7, short = "repeat" }
cutoff = 0.4
window_fraction = 0.26
bootstrap = 0
"#;

fn windows() -> String {
    let data = "test_recordings = 12\ntraining_share_of_test = 0.5";
    let other = "test_recordings = 10\ntraining_share_of_test = 0.3";
    format!("{}{WINDOWS}", OFFICIAL_SPLIT.replace(data, other))
}

/// Single-label models with windows of one second.
const SINGLE: &str = r#"
[data]
use = "demo"
clips_per_class = 10
test_recordings = 2
[audio]
clip_seconds = 1.0
[split]
kind = "holdout"
test = 0.2
validation = 0.2
[features.mel]
[features.fft]
[models.average]
[models.knn]
[models.logistic]
[evaluate]
mode = "windows"
window = { seconds = 1.0, hop = 0.3 }
bootstrap = 0
"#;

fn bits(row: &[f32]) -> Vec<u32> {
    row.iter().map(|p| p.to_bits()).collect()
}

fn success(output: Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// Compares every model's predictions of every recording of every split with the run. Returns the number of predictions.
fn compare_with_run(trained: &Trained) -> usize {
    let (recordings, run) = (trained.recordings(), trained.runs().join("windows/latest"));
    let mut predicted = 0;
    for model in run_dir::models(&run) {
        let parts: Vec<&str> = model.split('.').collect();
        let [features, kind, seed] = parts[..] else { panic!("{model}") };
        let trial = Trial { features: features.into(), model: kind.into(), seed: seed[1..].parse().unwrap() };
        let trial = run_dir::read_trial(&run, &trial).unwrap();
        let predictor = Predictor::open(&trained.runs(), &format!("windows/latest:{model}")).unwrap();
        for split in &trial.splits {
            let windows = split.windows.as_ref().unwrap();
            for (i, clip) in split.clips.iter().enumerate() {
                let path = recordings.join(&clip.path);
                let here = predictor.predict_file(&path).unwrap();
                let own = here.windows.as_ref().unwrap();
                let of_run: Vec<f32> = windows.rows_of(i).flatten().copied().collect();
                assert_eq!(own.starts, windows.starts[windows.windows_of(i)], "{model} on {}", clip.path);
                assert_eq!(bits(&own.probabilities), bits(&of_run), "{model} on {}", clip.path);
                assert_eq!(bits(&here.probabilities), bits(split.predictions.row(i)), "{model} on {}", clip.path);
                let bytes = fs::read(&path).unwrap();
                for mut again in [
                    predictor.predict(&bytes, None),
                    predictor.predict_recording(RecordingSource::Pipe(&mut &bytes[..]), None),
                ] {
                    if let Ok(again) = &mut again {
                        again.timings = here.timings;
                    }
                    assert_eq!(again.unwrap(), here, "{model} on {}", clip.path);
                }
                predicted += 1;
            }
        }
    }
    predicted
}

#[test]
fn every_saved_model_predicts_the_windows_of_its_run_to_the_bit() {
    let trained = Trained::of("windows", SINGLE);
    assert!(compare_with_run(&trained) >= 6 * 20);
    let trained = Trained::of("windows", &windows());
    assert!(compare_with_run(&trained) >= 10);

    // The printed numbers read back to the same bits, whatever the number of threads.
    let testing: Vec<PathBuf> = trained.recordings_of("cel");
    let table = |more: &[&str]| {
        let files: Vec<&str> = testing.iter().map(|path| path_text(path)).collect();
        success(trained.timbre(&[&["predict", "windows", "-q", "--format", "windows"], &files[..], more].concat()))
    };
    let printed = table(&[]);
    assert_eq!(printed, table(&["--jobs", "1"]));
    assert_eq!(printed, table(&["--jobs", "3"]));
    let predictor = Predictor::open(&trained.runs(), "windows").unwrap();
    let mut lines = printed.lines().skip(1);
    for path in &testing {
        let windows = predictor.predict_file(path).unwrap().windows.unwrap();
        for (start, row) in windows.starts.iter().zip(windows.rows_of(0)) {
            let fields: Vec<&str> = lines.next().unwrap().split(',').collect();
            assert_eq!((fields[0], fields[1].parse::<f64>().unwrap()), (path_text(path), *start));
            let read: Vec<f32> = fields[2..].iter().map(|p| p.parse().unwrap()).collect();
            assert_eq!(bits(&read), bits(row));
        }
    }
    assert_eq!(lines.next(), None);
    formats(&trained);
    errors(&trained);
}

#[test]
fn all_of_a_long_recording_is_used_unless_the_clip_is_requested_and_every_format_says_so() {
    let multi_label = format!("{TWO_MODELS}[evaluate]\ntask = \"multi_label\"\ncutoff = 0.3\n");
    for trained in [Trained::tiny(), Trained::of("tiny", &multi_label)] {
        let (minute, cello) = (minute(&trained), trained.recordings_of("cel")[0].clone());
        let predict = |file: &Path, more: &[&str]| {
            success(trained.timbre(&[&["predict", "tiny:fft.logistic.s1", "-q", path_text(file)], more].concat()))
        };
        let file = |file: &Path, more: &[&str]| -> (Value, Value) {
            let mut report: Value = serde_json::from_str(&predict(file, &[&["--json"], more].concat())).unwrap();
            (report["files"][0].take(), report["window"].take())
        };
        let number = |value: &Value| value.as_f64().unwrap();

        let (all, window) = file(&minute, &[]);
        let seconds = number(&all["seconds"]);
        assert_eq!(window["seconds"], 3.0);
        assert_eq!(all["used"], serde_json::json!({ "start": 0.0, "seconds": seconds, "share": 1.0 }));
        assert_eq!(all, file(&minute, &["--windows"]).0);
        let text = predict(&minute, &[]);
        assert!(!text.contains("used"), "{text}");

        let (clip, window) = file(&minute, &["--clip"]);
        let used = &clip["used"];
        assert_eq!((&window, &used["seconds"]), (&Value::Null, &3.0.into()));
        assert!((number(&used["start"]) - (seconds - 3.0) / 2.0).abs() < 1e-3, "{clip}");
        assert!((number(&used["share"]) - 3.0 / seconds).abs() < 1e-6, "{clip}");
        assert_ne!(clip["classes"], all["classes"]);
        let text = predict(&minute, &["--clip"]);
        let percent = format!(": {:.1} %)\n", 300.0 / seconds);
        assert!(text.contains("  (used 3.0 s of ") && text.ends_with(&percent), "{text}");
        let table = predict(&minute, &["--clip", "--csv"]);
        let cells = table.lines().nth(1).unwrap().rsplitn(9, ',').skip(5).take(3);
        let row: Vec<f64> = cells.map(|n| n.parse().unwrap()).collect();
        assert_eq!(row, [number(&used["share"]), 3.0, number(&used["start"])]);

        // With gaps between the windows, of which the last one ends with the recording, formats without a place for it say so on stderr.
        for format in ["windows", "segments", "audacity", "text"] {
            let gaps = ["--window", "3", "--hop", "6", "--format", format];
            let output =
                trained.timbre(&[&["predict", "tiny:fft.logistic.s1", "-q", path_text(&minute)], &gaps[..]].concat());
            assert_eq!(output.status.code(), Some(0), "{format}");
            let stream = crate::test_dir::text(if format == "text" { &output.stdout } else { &output.stderr });
            assert!(stream.contains("used 33.0 s of ") && stream.contains(" in windows: "), "{format}: {stream}");
        }

        // A recording no longer than a clip has the probabilities of the clip, also from a model that takes votes.
        let (short, _) = file(&cello, &[]);
        let (its_clip, _) = file(&cello, &["--clip"]);
        assert_eq!((&short["classes"], &short["decided"]), (&its_clip["classes"], &its_clip["decided"]));
        assert_eq!((number(&short["used"]["share"]), number(&its_clip["used"]["share"])), (1.0, 1.0));
        assert_eq!(predict(&cello, &[]), predict(&cello, &["--clip"]));

        for (wrong, says) in
            [(&["--clip", "--format", "jams"][..], "leave it out"), (&["--clip", "--windows"], "cannot be used with")]
        {
            let output = trained.timbre(&[&["predict", "tiny:fft.logistic.s1", path_text(&minute)], wrong].concat());
            let error = crate::test_dir::text(&output.stderr);
            assert!(output.status.code() == Some(2) && error.contains(says), "{error}");
        }
    }
}

/// A minute of the recordings of some classes, one after the other.
fn minute(trained: &Trained) -> PathBuf {
    let path = trained.path("minute.wav");
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 44100,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(&path, spec).unwrap();
    for class in ["cel", "flu", "pia", "voi"] {
        for recording in trained.recordings_of(class).into_iter().take(5) {
            let mut reader = hound::WavReader::open(recording).unwrap();
            let channels = usize::from(reader.spec().channels);
            reader.samples::<i16>().step_by(channels).for_each(|sample| writer.write_sample(sample.unwrap()).unwrap());
        }
    }
    writer.finalize().unwrap();
    path
}

/// Every format has the same segments; plots and output files are written.
fn formats(trained: &Trained) {
    let minute = minute(trained);
    let predict = |more: &[&str]| {
        let low = ["predict", "windows", "-q", path_text(&minute), "--on", "0.2", "--shortest", "0.5"];
        success(trained.timbre(&[&low[..], more].concat()))
    };
    let report: Value = serde_json::from_str(&predict(&["--json"])).unwrap();
    let file = &report["files"][0];
    let seconds = file["seconds"].as_f64().unwrap();
    assert_eq!((&report["schema"], &report["window"]["hop"]), (&1.into(), &0.7.into()));
    assert!((55.0..65.0).contains(&seconds), "{seconds}");
    let segments = file["segments"].as_array().unwrap();
    assert!(segments.len() > 1, "{file}");
    let number = |segment: &Value, key: &str| segment[key].as_f64().unwrap();
    for segment in segments {
        let (start, end) = (number(segment, "start"), number(segment, "end"));
        assert!(0.0 <= start && start + 0.5 <= end + 1e-6 && end <= seconds, "{segment}");
        assert!((0.0..=1.0).contains(&number(segment, "confidence")), "{segment}");
    }
    let csv = predict(&["--format", "segments"]);
    let rows: Vec<Vec<&str>> = csv.lines().skip(1).map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), segments.len());
    for (row, segment) in rows.iter().zip(segments) {
        assert_eq!(row[3], segment["code"]);
        assert_eq!(row[1].parse::<f64>().unwrap(), number(segment, "start"));
        assert_eq!(row[4].parse::<f64>().unwrap(), number(segment, "confidence"));
    }
    let labels = predict(&["--format", "audacity"]);
    for (line, segment) in labels.lines().zip(segments) {
        let fields: Vec<&str> = line.split('\t').collect();
        assert!((fields[0].parse::<f64>().unwrap() - number(segment, "start")).abs() < 1e-6, "{line}");
        assert!((fields[1].parse::<f64>().unwrap() - number(segment, "end")).abs() < 1e-6, "{line}");
        assert_eq!(fields[2], segment["code"]);
    }
    assert_eq!(labels.lines().count(), segments.len());
    let jams: Value = serde_json::from_str(&predict(&["--format", "jams"])).unwrap();
    assert_eq!(jams["file_metadata"]["duration"].as_f64(), Some(seconds));
    let over_time = jams["annotations"][1]["data"].as_array().unwrap();
    assert_eq!(over_time.len(), segments.len());
    assert!(over_time.iter().zip(segments).all(|(tag, segment)| tag["value"] == segment["code"]));
    let lines = predict(&[]);
    assert_eq!(lines.lines().count(), 1 + segments.len(), "{lines}");

    let short = Predictor::open(&trained.runs(), "windows")
        .unwrap()
        .with_limits(DecodeLimits { seconds: 20.0, ..DecodeLimits::NONE });
    assert_eq!(short.predict_file(&minute).expect_err("it is too long").code, "too_long");

    // One file and one plot for each recording of a folder.
    let folder = trained.recordings().join("IRMAS-TrainingData/cel");
    let arguments =
        ["predict", "windows", "-q", path_text(&folder), "--format", "jams", "--out", "predicted", "--plot", "drawn"];
    assert_eq!(success(trained.timbre(&arguments)), "");
    for recording in trained.recordings_of("cel") {
        let name = recording.file_stem().unwrap().to_str().unwrap();
        let jams = fs::read(trained.path(&format!("predicted/{name}.jams"))).unwrap();
        let jams: Value = serde_json::from_slice(&jams).unwrap();
        assert_eq!(jams["sandbox"]["path"], path_text(&recording));
        let drawing = fs::read_to_string(trained.path(&format!("drawn/{name}.svg"))).unwrap();
        assert!(drawing.contains("data:image/png;base64,") && drawing.ends_with("</svg>\n"));
    }
    predict(&["--plot", "new/one.svg"]);
    assert!(fs::read_to_string(trained.path("new/one.svg")).unwrap().contains("minute.wav"));
    predict(&["--plot", "new/one.PNG"]);
    predict(&["--plot", "new", "--png"]);
    let png = fs::read(trained.path("new/one.PNG")).unwrap();
    assert!(png.starts_with(b"\x89PNG") && fs::read(trained.path("new/minute.png")).unwrap() == png);
}

/// Usage errors exit with code 2, unusable recordings with 3 or 4.
fn errors(trained: &Trained) {
    let cello = trained.recordings_of("cel")[0].clone();
    let folder = trained.recordings().join("IRMAS-TrainingData/cel");
    let refused = |arguments: &[&str], says: &str| {
        let output = trained.timbre(&[&["predict", "windows"], arguments].concat());
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains(says), "{}", text(&output.stderr));
    };
    refused(&[path_text(&folder), "--format", "audacity"], "--out");
    refused(&[path_text(&folder), "--plot", "x.svg"], "--plot");
    refused(&[path_text(&cello), "--plot", "x.eps"], ".svg, .png or .pdf");
    refused(&[path_text(&cello), "--plot", "x.svg", "--png"], "ends with .png");
    refused(&[path_text(&cello), "--plot", "x.pdf", "--png"], "ends with .png");
    refused(&[path_text(&cello), "--png"], "--plot");
    // The feature is resized, so the weights would fit.
    refused(&[path_text(&cello), "--window", "2.0"], "trained on clips of 3 s, and these windows last 2 s");
    refused(&[path_text(&cello), "--hop", "0"], "hop");
    refused(&[path_text(&cello), "--clip"], "has no clip");
    refused(&[path_text(&cello), "--on", "0.3", "--off", "0.4"], "--off");
    refused(&[path_text(&cello), "--on", "1.5"], "--on");
    // Of a recording that is cut off, what is there is predicted.
    let mut bytes = fs::read(&cello).unwrap();
    bytes.truncate(bytes.len() / 2);
    fs::write(trained.path("half.wav"), bytes).unwrap();
    let output = trained.timbre(&["predict", "windows", "half.wav", path_text(&cello), "--json"]);
    assert_eq!(output.status.code(), Some(0));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let is_cut_off: Vec<bool> =
        report["files"].as_array().unwrap().iter().map(|file| file["cut_off"].is_object()).collect();
    assert_eq!(is_cut_off, [true, false]);
    let piped = trained.command(&["predict", "windows", "-", "--format", "audacity"]);
    assert!(piped_from(piped, &cello).status.success());
}

fn piped_from(mut command: std::process::Command, path: &Path) -> Output {
    command.stdin(File::open(path).unwrap()).output().unwrap()
}

#[test]
fn a_model_evaluated_on_clips_can_predict_windows() {
    let trained = Trained::tiny();
    let cello = trained.recordings_of("cel")[0].clone();
    let clip = Predictor::open(&trained.runs(), "tiny:fft.logistic.s1").unwrap();
    let prediction = clip.predict_file(&cello).unwrap();
    assert_eq!((prediction.windows.is_some(), clip.window(), clip.clip_seconds()), (false, None, Some(3.0)));
    let clip = clip.with_windows(WindowSpec { hop: 0.5, ..WindowSpec::default() }).unwrap();
    let in_windows = clip.predict_file(&cello).unwrap();
    // Clips of the demo set last three seconds: the only window is the clip.
    assert_eq!(bits(&in_windows.windows.as_ref().unwrap().probabilities), bits(&prediction.probabilities));
    assert_eq!(bits(&in_windows.probabilities), bits(&prediction.probabilities));

    let output = trained.timbre(&["predict", "tiny", path_text(&cello), "--format", "jams"]);
    let jams: Value = serde_json::from_str(&success(output)).unwrap();
    assert_eq!(jams["annotations"][0]["namespace"], "tag_open");
    assert_eq!(jams["sandbox"]["used"]["share"], 1.0);
    // Features of another length do not fit the weights.
    let clip = Predictor::open(&trained.runs(), "tiny:fft.logistic.s1").unwrap();
    let error = clip.with_windows(WindowSpec { seconds: 2.0, ..WindowSpec::default() }).err().expect("it is refused");
    assert!(format!("{error:#}").contains("2 s"), "{error:#}");
}
