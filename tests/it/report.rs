//! Tests the report of a run: a self-contained page, whatever the names in it.

use std::fs;

use crate::test_dir::{TestDir, text};

/// Two models on hostile names: classes, songs and a description that look like markup.
const HOSTILE: &str = r#"
description = "</p><script>alert(1)</script> & \"quotes\" | pipes"
seeds = [1, 2]
[data]
kind = "folder"
root = "songs"
[audio]
clip_seconds = 0.5
sample_rate = 8000
[split]
kind = "holdout"
test = 0.4
[features.mel]
n_mels = 16
[models.average]
[models.knn]
k = 3
"#;

const HOSTILE_CLASSES: [&str; 2] = ["<img src=x onerror=alert(2)>", "a&b\"'c"];

/// A WAV of a tone with a little noise, 16-bit mono.
fn tone(hertz: f32, seconds: f32, seed: u32) -> Vec<u8> {
    let samples: Vec<i16> = (0..(seconds * 8000.0) as u32)
        .map(|n| {
            let noise =
                (n.wrapping_mul(1_664_525).wrapping_add(seed.wrapping_mul(1_013_904_223)) >> 16) as f32 / 65536.0;
            ((0.5 * (std::f32::consts::TAU * hertz * n as f32 / 8000.0).sin() + 0.2 * (noise - 0.5)) * 20000.0) as i16
        })
        .collect();
    let bytes = 2 * samples.len() as u32;
    let mut file = b"RIFF".to_vec();
    file.extend((36 + bytes).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    file.extend(8000u32.to_le_bytes());
    file.extend(16000u32.to_le_bytes());
    file.extend(b"\x02\0\x10\0data");
    file.extend(bytes.to_le_bytes());
    samples.iter().for_each(|sample| file.extend(sample.to_le_bytes()));
    file
}

fn hostile() -> TestDir {
    let dir = TestDir::with(&[("hostile.toml", HOSTILE)]);
    for (at, class) in HOSTILE_CLASSES.iter().enumerate() {
        let folder = dir.path("data/songs").join(class);
        fs::create_dir_all(&folder).unwrap();
        for n in 0..15u32 {
            // The tones are so similar that some are misclassified.
            let hertz = 400.0 + 30.0 * at as f32 + 7.0 * n as f32;
            fs::write(folder.join(format!("<b>{n}& 'x'.wav")), tone(hertz, 0.6, n + 100 * at as u32)).unwrap();
        }
    }
    dir.done(&["run", "hostile.toml", "-q"]);
    dir
}

/// The names of the elements in the order of their start tags. Panics unless they are nested as in XML, apart from the void elements
/// of HTML.
fn elements(page: &str) -> Vec<String> {
    const VOID: [&str; 4] = ["meta", "link", "img", "br"];
    let (mut open, mut all): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let mut rest = page;
    while let Some(begin) = rest.find('<') {
        rest = &rest[begin + 1..];
        let end = rest.find('>').expect("a tag ends");
        let tag = &rest[..end];
        rest = &rest[end + 1..];
        if tag.starts_with('!') {
            continue;
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "quotes in <{tag}> end within it");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "tags are nested");
            continue;
        }
        let name = tag.split([' ', '/']).next().unwrap().to_owned();
        assert!(!name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric()), "<{tag}>");
        all.push(name.clone());
        if name == "script" || name == "style" {
            let close = format!("</{name}>");
            rest = &rest[rest.find(&close).expect("it is closed") + close.len()..];
        } else if !tag.ends_with('/') && !VOID.contains(&name.as_str()) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
    all
}

/// Checks that a page is well-formed, small enough, and loads nothing from the network.
fn check(page: &str) -> Vec<String> {
    assert!(page.len() < 5_000_000, "{} bytes", page.len());
    for word in ["http:", "https:", "//cdn", "@import", "url(", "file:"] {
        assert!(!page.contains(word), "{word}");
    }
    for part in page.split("src=\"").skip(1).chain(page.split("href=\"").skip(1)) {
        assert!(part.starts_with("data:") || part.starts_with('#'), "{}", &part[..part.len().min(60)]);
    }
    let all = elements(page);
    assert_eq!(all.iter().filter(|name| *name == "script").count(), 1);
    for text in page.split("<svg").skip(1) {
        let picture = &text[..text.find("</svg>").unwrap()];
        assert!(!picture.contains("NaN") && !picture.contains("inf\""), "{}", &picture[..200]);
    }
    // The target of every link exists exactly once.
    for link in page.split("href=\"#").skip(1) {
        let id = link.split('"').next().unwrap();
        assert_eq!(page.matches(&format!(" id=\"{id}\"")).count(), 1, "{id}");
    }
    all
}

#[test]
fn hostile_names_are_only_text_in_a_report() {
    let dir = hostile();
    let page = dir.read("runs/hostile/latest/report.html");
    let all = check(&page);
    assert!(!page.contains("<script>alert") && !page.contains("<img src=x") && !page.contains("<b>"));
    assert!(
        page.contains("&lt;img src=x onerror=alert(2)&gt;") || page.contains("&lt;img src=x…"),
        "the class is named"
    );
    for name in ["svg", "table", "figure", "audio", "image", "details"] {
        assert!(all.iter().any(|own| own == name), "no {name}");
    }
    let markdown = dir.read("runs/hostile/latest/report.md");
    let bare = |(at, _): (usize, &str)| !markdown[..at].ends_with('\\');
    assert!(!markdown.match_indices('<').any(bare), "{markdown}");
    // Every row has as many cells as its heading.
    let bars = |line: &str| line.replace("\\|", "").matches('|').count();
    let tables = markdown.lines().collect::<Vec<_>>();
    for block in tables.split(|line| line.is_empty()).filter(|block| block[0].starts_with('|')) {
        assert!(
            block.iter().filter(|line| line.starts_with('|')).all(|line| bars(line) == bars(block[0])),
            "{block:?}"
        );
    }
}

/// The declared width and height of an SVG.
fn size(picture: &str) -> [u32; 2] {
    let side = |name: &str| {
        let number = picture.split(&format!(" {name}=\"")).nth(1).unwrap().split('"').next().unwrap();
        number.parse::<f64>().unwrap().round() as u32
    };
    [side("width"), side("height")]
}

/// The width and height of a PNG.
fn pixels(dir: &TestDir, file: &str) -> [u32; 2] {
    let bytes = fs::read(dir.path(file)).unwrap();
    assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n", "{file}");
    [16, 20].map(|at| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()))
}

#[test]
fn a_report_is_rewritten_without_the_recordings_and_writes_its_figures_as_files() {
    let dir = hostile();
    let run = dir.path("runs/hostile/latest");
    let before = dir.read("runs/hostile/latest/report.html");
    assert!(before.contains("<audio"));
    fs::rename(dir.path("data/songs"), dir.path("moved")).unwrap();
    let output = dir.done(&["report", "hostile/latest", "--figures", "figures"]);
    dir.done(&["report", "hostile/latest", "--figures", "pixels", "--png"]);
    let page = dir.read("runs/hostile/latest/report.html");
    check(&page);
    assert!(!page.contains("<audio") && page.contains("recordings are not available"));
    assert!(before.contains("Recordings and lengths of each split.<") && page.contains("so there are no lengths."));
    assert!(text(&output.stdout).contains("trivial"), "{}", text(&output.stdout));
    dir.done(&["report", "hostile/latest", "--recordings", "moved"]);
    assert_eq!(dir.read("runs/hostile/latest/report.html"), before, "the same folder, the same bytes");
    let figures: Vec<_> = fs::read_dir(dir.path("figures")).unwrap().flatten().map(|entry| entry.path()).collect();
    // One of all models, and seven of each of the two models: confusion, classes, precision and recall, ROC, thresholds, calibration, map.
    assert_eq!(figures.len(), 15);
    for figure in figures {
        let picture = fs::read_to_string(&figure).unwrap();
        elements(&picture);
        assert!(
            picture.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=") && picture.contains("<style>")
        );
        let name = figure.file_stem().unwrap().to_string_lossy().into_owned();
        assert_eq!(pixels(&dir, &format!("pixels/{name}.png")), size(&picture).map(|side| 2 * side), "{name}");
    }
    assert_eq!(fs::read_dir(dir.path("pixels")).unwrap().count(), 15);
    let models = dir.read("figures/models.svg");
    assert!(
        models.contains("(test), mean of 2 seeds<")
            && models.contains("; lines: 95 % intervals; small circles: seeds<")
    );
    assert!(run.join("report.md").is_file());
}

#[test]
fn figures_for_papers_have_the_wanted_size_and_their_captions_as_files() {
    let dir = hostile();
    let figures = |more: &[&str]| dir.done(&[&["report", "hostile/latest", "--figures"], more].concat());
    let output = figures(&["pdf", "--pdf", "--width", "84mm", "--font-size", "8pt", "--captions"]);
    figures(&["png", "--png", "--width", "84mm", "--dpi", "300"]);
    figures(&["svg", "--width", "84mm", "--captions"]);
    let stems = |folder: &str, extension: &str| -> Vec<String> {
        let paths = fs::read_dir(dir.path(folder)).unwrap().map(|entry| entry.unwrap().path());
        let mut stems: Vec<String> = paths
            .filter(|path| path.extension().is_some_and(|own| own == extension))
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        stems.sort();
        stems
    };
    let names = stems("pdf", "pdf");
    assert_eq!(names.len(), 15);
    assert!(
        [stems("pdf", "txt"), stems("png", "png"), stems("svg", "svg"), stems("svg", "txt")]
            .iter()
            .all(|own| *own == names)
    );
    assert!(stems("png", "txt").is_empty());
    for name in &names {
        let pdf = text(&dir.bytes(&format!("pdf/{name}.pdf")));
        assert!(pdf.starts_with("%PDF-1.") && pdf.contains("/MediaBox [0 0 238.11"), "{name}");
        // 84 mm at 300 pixels per inch.
        assert_eq!(pixels(&dir, &format!("png/{name}.png"))[0], 992);
        let svg = dir.read(&format!("svg/{name}.svg"));
        assert!(svg.contains(" width=\"238.110pt\" ") && !svg.contains("class=\"ink title\""), "{name}");
        let caption = dir.read(&format!("pdf/{name}.txt"));
        assert!(caption.lines().count() >= 3 && caption.contains("hostile"), "{caption}");
    }
    // A figure whose names need more room says so.
    let told = text(&output.stderr).lines().filter(|line| line.contains("its text is")).count();
    assert!(told < names.len(), "{}", text(&output.stderr));
    for (wrong, says) in [
        (&["--figures", "f", "--width", "84"][..], "a length such as 84mm"),
        (&["--figures", "f", "--dpi", "300"], "--png"),
        (&["--figures", "f", "--png", "--pdf"], "--pdf"),
        (&["--width", "84mm"], "--figures"),
    ] {
        let output = dir.timbre(&[&["report", "hostile"], wrong].concat());
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(says), "{}", text(&output.stderr));
    }
}

#[test]
fn a_report_that_cannot_be_written_is_reported_and_the_run_is_finished() {
    let dir = TestDir::with(&[("hostile.toml", HOSTILE)]);
    for class in ["a", "b"] {
        let folder = dir.path("data/songs").join(class);
        fs::create_dir_all(&folder).unwrap();
        (0..6u32).for_each(|n| fs::write(folder.join(format!("{n}.wav")), tone(500.0, 0.6, n)).unwrap());
    }
    dir.done(&["run", "hostile.toml", "-q"]);
    let report = dir.path("runs/hostile/latest/report.html");
    fs::remove_file(&report).unwrap();
    // A folder that is not empty cannot be replaced by a file.
    fs::create_dir_all(report.join("in the way")).unwrap();
    let output = dir.timbre(&["run", "hostile.toml", "-q"]);
    assert!(output.status.success());
    assert!(text(&output.stderr).contains("its report is not"), "{}", text(&output.stderr));
    // Requested figures are written all the same.
    let output = dir.timbre(&["report", "hostile", "--figures", "figures"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cannot write the report of"), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("trivial") && dir.path("figures/models.svg").is_file());
    fs::remove_dir_all(&report).unwrap();
    dir.done(&["run", "hostile.toml", "-q"]);
    check(&dir.read("runs/hostile/latest/report.html"));
}

/// Two classes that every model separates, and a file that is not a recording.
const EASY: &str = r#"
[data]
kind = "folder"
root = "songs"
[audio]
clip_seconds = 0.5
sample_rate = 8000
[split]
kind = "holdout"
test = 0.4
[features.mel]
n_mels = 16
[models.knn]
k = 1
[models.average]
"#;

#[test]
fn a_run_that_was_stopped_or_has_too_many_unusable_recordings_starts_its_report_with_a_warning() {
    let dir = TestDir::with(&[("easy.toml", EASY)]);
    for (class, hertz) in [("low", 300.0), ("high", 3000.0)] {
        let folder = dir.path("data/songs").join(class);
        fs::create_dir_all(&folder).unwrap();
        (0..6u32).for_each(|n| fs::write(folder.join(format!("{n}.wav")), tone(hertz, 0.6, n)).unwrap());
    }
    fs::write(dir.path("data/songs/low/broken.wav"), "no sound").unwrap();
    assert_eq!(dir.timbre(&["run", "easy.toml", "-q"]).status.code(), Some(3));
    let both = || ["html", "md"].map(|ending| dir.read(&format!("runs/easy/latest/report.{ending}")));
    for report in both() {
        let words = report.replace('\\', "");
        let (warning, conclusion) =
            (words.find("Too many recordings"), words.find("Not shown").or(words.find("Better")));
        assert!(warning.unwrap() < conclusion.unwrap());
        assert!(words.contains("1 of 13, more than max_unusable allows"), "{words}");
        assert!(words.contains("A tie: 2 models have accuracy 1.000 there"), "{words}");
    }
    check(&both()[0]);
    // A restart of the same run may allow more.
    dir.done(&["run", "easy.toml", "-q", "--set", "max_unusable=0.5"]);
    assert!(both().iter().all(|report| !report.contains("Too many recordings")));
    assert_eq!(dir.timbre(&["run", "easy.toml", "-q"]).status.code(), Some(3));
    assert!(both().iter().all(|report| report.contains("Too many recordings")));
    // Without misclassified recordings no players are missing.
    fs::rename(dir.path("data/songs"), dir.path("moved")).unwrap();
    let output = dir.done(&["report", "easy"]);
    assert!(!text(&output.stderr).contains("No recordings found"), "{}", text(&output.stderr));
    let record = dir.read("runs/easy/latest/run.json");
    assert!(record.contains("\"too_many_unusable\""));
    fs::write(dir.path("runs/easy/latest/run.json"), record.replace("too_many_unusable", "stopped")).unwrap();
    dir.done(&["report", "easy", "-q"]);
    assert!(both().iter().all(|report| report.contains("stopped before it was complete")));
    fs::write(dir.path("runs/easy/latest/run.json"), record.replace("too_many_unusable", "done")).unwrap();
    dir.done(&["report", "easy", "-q"]);
    assert!(both().iter().all(|report| !report.contains("stopped before") && !report.contains("Too many")));
}

/// A multi-label run in windows, with a threshold search, a network and a validation split.
const WHOLE: &str = r#"
[data]
use = "demo"
clips_per_class = 10
test_recordings = 6
[audio]
clip_seconds = 3.0
[split]
kind = "official"
validation = 0.2
[features.mel]
n_mels = 32
hop_length = 2048
[models.logistic]
[models.cnn_small]
epochs = 2
[evaluate]
task = "multi_label"
mode = "windows"
aggregate = "vote"
cutoff = 0.2
[evaluate.search]
cutoff = "0.1..0.5/0.1"
window_fraction = "0.1..0.5/0.1"
tune_on = "validation"
resamples = 20
"#;

#[test]
fn labels_windows_searches_and_networks_are_all_shown() {
    let dir = TestDir::with(&[("whole.toml", WHOLE)]);
    dir.done(&["run", "whole.toml", "-q", "--set", "models.logistic.tolerance=0.001"]);
    let page = dir.read("runs/whole/latest/report.html");
    check(&page);
    for words in [
        "required share of windows",
        "True and false positives by class",
        "Loss of mel.cnn_small.s1",
        "On the validation split",
        "Calibration",
        "data:image/svg+xml;base64,",
        "on the validation split.",
        "--set models.logistic.tolerance=0.001",
        "“never any class”",
        "Framed: mel.",
        "Selected as the best of 2 models on the validation split.",
        "tuned on the validation split:",
        "<td>as run</td><td>0.2</td><td>0.26</td>",
        "given to the model.",
        "share of windows that voted",
        "Results by number of labels",
        "best trivial baseline</th>",
        "by_labels.csv has every metric.",
        "<td>violin (vio)</td>",
        "Recordings and lengths of each split.<",
        ">time (s)</text>",
        "0 to 100 % of the row",
    ] {
        assert!(page.contains(words), "{words}");
    }
    assert_eq!(page.matches("class=\"panel\"").count(), 4);
    dir.done(&["report", "whole", "-q", "--figures", "pixels", "--png"]);
    for name in ["models", "mel.cnn_small.s1.loss", "mel.cnn_small.s1.learning", "thresholds_f1_micro"] {
        assert!(pixels(&dir, &format!("pixels/{name}.png"))[0] > 900, "{name}");
    }
    dir.done(&["report", "whole", "-q", "--figures", "figures"]);
    let of = |figure: &str| dir.read(&format!("figures/mel.cnn_small.s1.{figure}.svg"));
    assert!(of("confusion").contains("test split"));
    assert!(!of("learning").contains("test split") && !of("loss").contains("test split"));
}
