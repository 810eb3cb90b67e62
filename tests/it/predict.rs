//! Predictions of saved models: equal to those of the run, and the output of `timbre predict`.

use std::fs;
use std::process::Stdio;

use serde_json::Value;
use timbre::inference::Predictor;
use timbre_runs::run_dir::{self, TrialRecord};

use crate::trained_model::{Trained, path_text, text};

/// Every model of the run predicts from its file the bits that the run recorded.
fn assert_bits(trained: &Trained, experiment: &str, count: usize) {
    let (recordings, run) = (trained.recordings(), trained.runs().join(experiment).join("latest"));
    let models = run_dir::models(&run);
    assert_eq!(models.len(), count, "{models:?}");
    for model in models {
        let trial = fs::read(run.join("units").join(format!("{model}.json"))).unwrap();
        let trial: TrialRecord = serde_json::from_slice(&trial).unwrap();
        let predictor = Predictor::open(&trained.runs(), &format!("{experiment}/latest:{model}")).unwrap();
        let mut predicted = 0;
        for split in &trial.splits {
            for (i, clip) in split.clips.iter().enumerate() {
                let here = predictor.predict_file(&recordings.join(&clip.path)).unwrap();
                let bits = |row: &[f32]| row.iter().map(|p| p.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&here.probabilities), bits(split.predictions.row(i)), "{model} on {}", clip.path);
                predicted += 1;
            }
        }
        assert!(predicted >= 20, "{model}: {predicted} clips");
    }
}

#[test]
fn every_kind_of_classic_model_predicts_from_its_file() {
    let experiment = r#"
[data]
use = "demo"
clips_per_class = 10
test_recordings = 2
[audio]
clip_seconds = 1.0
[split]
kind = "holdout"
test = 0.2
[features.both]
kind = "concat"
of = [{ kind = "mfcc", summary = ["mean", "std", "median"] }, { kind = "chroma", summary = ["max"] }, { kind = "tempo" }]
[models.naive_bayes]
pca = 10
standardize = true
[models.gmm]
n_components = 2
[models.linear_svm]
[models.svm]
[models.decision_tree]
[models.bagging]
[models.random_forest]
n_estimators = 10
[models.extra_trees]
n_estimators = 10
[models.hist_gradient_boosting]
max_iterations = 5
[models.mlp]
max_iterations = 5
[models.logistic]
class_weight = "balanced"
select = { score = "l1", c = 1.0 }
[evaluate]
bootstrap = 0
"#;
    assert_bits(&Trained::of("classic", experiment), "classic", 11);
}

#[test]
fn every_saved_model_predicts_the_bits_of_its_run() {
    let trained = Trained::quickstart();
    assert_bits(&trained, "quickstart", 15);
    // Without a validation split no model is chosen; with the one of the quickstart the best on it.
    let output = trained.timbre(&["predict", "quickstart", path_text(&trained.recordings_of("cel")[0])]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    let sentence = text(&output.stderr);
    assert!(sentence.contains("quickstart:bandwidth.average.s1") && sentence.contains("mel.knn.s1"), "{sentence}");
    let small = ["--set", "data.clips_per_class=10", "--set", "data.test_recordings=2"];
    assert!(trained.timbre(&[&["run", "quickstart", "-q"], &small[..]].concat()).status.success());
    let output = trained.timbre(&["predict", "quickstart", path_text(&trained.recordings_of("cel")[0])]);
    assert!(
        output.status.success() && text(&output.stderr).contains("model: fft.logistic.s1"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn predictions_keep_the_order_of_the_arguments_and_unusable_recordings_go_to_stderr() {
    let trained = Trained::tiny();
    let (cello, organ) = (&trained.recordings_of("cel")[0], trained.recordings().join("IRMAS-TrainingData/org"));
    fs::write(trained.path("letter.wav"), "Dear reader, this is no recording.").unwrap();
    fs::create_dir_all(trained.path("empty")).unwrap();
    let run = |more: &[&str]| {
        let files = ["letter.wav", path_text(&organ), "gone.flac", path_text(cello)];
        trained.timbre(&[&["predict", "tiny/latest"], &files[..], more].concat())
    };
    let mut expected: Vec<String> = trained.recordings_of("org").iter().map(|p| path_text(p).to_owned()).collect();
    expected.push(path_text(cello).to_owned());

    let output = run(&[]);
    assert_eq!(output.status.code(), Some(3));
    let errors = text(&output.stderr);
    assert!(errors.contains("letter.wav: ") && errors.contains("gone.flac: the file cannot be read"), "{errors}");
    let lines = text(&output.stdout);
    let paths: Vec<&str> = lines.lines().map(|line| line.split("  ").next().unwrap()).collect();
    assert_eq!(paths, expected);
    assert!(lines.lines().all(|line| line.split("  ").count() == 4), "{lines}");
    let is_marked = |part: &str| part.split_once(' ').is_some_and(|(class, _)| class.ends_with('*'));
    for line in lines.lines() {
        let marked: Vec<bool> = line.split("  ").skip(1).map(is_marked).collect();
        assert_eq!(marked, [true, false, false], "{line}");
    }

    let output = run(&["--json"]);
    assert_eq!(output.status.code(), Some(3));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["schema"], &report["model"]["experiment"]), (&1.into(), &"tiny".into()));
    let files = report["files"].as_array().unwrap();
    assert_eq!(files.iter().map(|f| f["path"].as_str().unwrap()).collect::<Vec<_>>(), expected);
    for file in files {
        let shares: Vec<f64> =
            file["classes"].as_array().unwrap().iter().map(|c| c["probability"].as_f64().unwrap()).collect();
        assert!(shares.len() == 11 && shares.is_sorted_by(|a, b| a >= b), "{file}");
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-5, "{file}");
    }
    assert_eq!(report["unusable"][0]["path"], "letter.wav");
    assert_eq!(report["unusable"][1]["code"], "unreadable");

    let output = run(&["--csv"]);
    let table = text(&output.stdout);
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.rsplitn(20, ',').collect()).collect();
    let head = "path,cel,cla,flu,gac,gel,org,pia,sax,tru,vio,voi,used_start,used_seconds,used_share,even_guess,training_distance,unlike_training,cut_off,declared_seconds";
    assert_eq!(table.lines().next().unwrap(), head);
    assert_eq!(rows.len(), expected.len() + 1);
    let last = files.last().unwrap();
    let cel = last["classes"].as_array().unwrap().iter().find(|c| c["code"] == "cel").unwrap();
    assert_eq!(rows.last().unwrap()[18].parse::<f32>().unwrap(), cel["probability"].as_f64().unwrap() as f32);

    // One thread gives the same output.
    assert_eq!(run(&["--csv", "--jobs", "1"]).stdout, output.stdout);

    assert_eq!(trained.timbre(&["predict", "tiny", path_text(cello)]).status.code(), Some(0));
    for nothing in ["letter.wav", "empty", "gone.flac"] {
        assert_eq!(trained.timbre(&["predict", "tiny", nothing]).status.code(), Some(4), "{nothing}");
    }
}

#[test]
fn of_a_file_that_is_cut_off_the_beginning_is_predicted_and_the_output_says_how_much() {
    let trained = Trained::tiny();
    let whole = fs::read(&trained.recordings_of("flu")[0]).unwrap();
    fs::write(trained.path("cut.wav"), &whole[..44 + (whole.len() - 44) / 2]).unwrap();
    let output = trained.timbre(&["predict", "tiny", "cut.wav"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(said.contains("(the file is cut off after 0:01.5 of 0:03.0)"), "{said}");
    let report: Value =
        serde_json::from_slice(&trained.timbre(&["predict", "tiny", "cut.wav", "--json"]).stdout).unwrap();
    let file = &report["files"][0];
    let declared = &file["cut_off"]["declared_seconds"];
    assert!((declared.as_f64().unwrap() - 3.0).abs() < 1e-3, "{file}");
    assert!((file["seconds"].as_f64().unwrap() - 1.5).abs() < 1e-3, "{file}");
    let csv = trained.timbre(&["predict", "tiny", "cut.wav", "--csv"]).stdout;
    assert!(text(&csv).trim_end().ends_with(&format!(",true,{declared}")), "{}", text(&csv));
    // Label tracks have no place for it.
    let labels = trained.timbre(&["predict", "tiny", "cut.wav", "--windows", "--format", "audacity"]);
    assert!(
        text(&labels.stderr).contains("cut.wav: the file is cut off after 0:01.5 of 0:03.0"),
        "{}",
        text(&labels.stderr)
    );
    // A header alone is no recording.
    fs::write(trained.path("head.wav"), &whole[..44]).unwrap();
    let nothing = trained.timbre(&["predict", "tiny", "head.wav"]);
    assert_eq!(nothing.status.code(), Some(4));
    assert!(text(&nothing.stderr).contains("truncated"), "{}", text(&nothing.stderr));
}

#[test]
fn a_recording_on_stdin_is_predicted_like_a_file() {
    let trained = Trained::tiny();
    let flute = &trained.recordings_of("flu")[0];
    let shares = |output: std::process::Output| {
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).split_once("  ").unwrap().1.to_owned()
    };
    let piped = trained.command(&["predict", "tiny", "-"]).stdin(fs::File::open(flute).unwrap()).output().unwrap();
    assert_eq!(shares(piped), shares(trained.timbre(&["predict", "tiny", path_text(flute)])));
    let twice = trained.command(&["predict", "tiny", "-", "-"]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(twice.status.code(), Some(2));
    assert!(text(&twice.stderr).contains("only once"));
}

#[test]
fn a_truncated_model_or_one_of_another_schema_is_refused_with_a_message() {
    let trained = Trained::tiny();
    let flute = &trained.recordings_of("flu")[0];
    let refusal = || {
        let output = trained.timbre(&["predict", "tiny/latest:fft.logistic.s1", path_text(flute)]);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
        let sentence = text(&output.stderr);
        assert!(sentence.contains("--fresh") && !sentence.contains("panicked"), "{sentence}");
        sentence
    };
    let description = trained.runs().join("tiny/latest/models/fft.logistic.s1/model.json");
    let good = fs::read_to_string(&description).unwrap();
    // Models of older versions have this key.
    assert!(good.contains("\"judge\": {"), "{good}");
    fs::write(&description, good.replace("\"schema\": 1", "\"schema\": 99")).unwrap();
    assert!(refusal().contains("schema 99"));
    fs::write(&description, &good).unwrap();
    trained.truncate("tiny/latest/models/fft.logistic.s1/model.safetensors");
    assert!(refusal().contains("truncated"));
    trained.truncate("tiny/latest/models/fft.logistic.s1/model.json");
    trained.truncate("tiny/latest/models/fft.logistic.s1/model.json");
    assert!(refusal().contains("is damaged"));
}

#[test]
fn weights_that_do_not_fit_the_feature_are_refused_before_the_first_recording() {
    let trained = Trained::tiny();
    let description = trained.runs().join("tiny/latest/models/fft.logistic.s1/model.json");
    let good = fs::read_to_string(&description).unwrap();
    for (from, to, says) in [
        ("\"clip_seconds\": 3.0", "\"clip_seconds\": 2.0", "columns"),
        ("\"clip_seconds\": 3.0", "\"clip_seconds\": 1e9", "long"),
        ("\"clip_seconds\": 3.0", "\"clip_seconds\": 36000.0", "columns"),
        ("\"sample_rate\": 22050", "\"sample_rate\": 0", "0 Hz"),
        ("\"voi\"", "\"voi\", \"more\"", "11"),
        ("\"at_least_one\": false", "\"cutoffs\": [0.5], \"at_least_one\": false", "1 thresholds for 11 classes"),
    ] {
        assert!(good.contains(from), "{good}");
        fs::write(&description, good.replace(from, to)).unwrap();
        let error = Predictor::open(&trained.runs(), "tiny:fft.logistic.s1").err().expect("it is refused");
        let sentence = format!("{error:#}");
        assert!(sentence.contains("cannot be used") && sentence.contains(says), "{sentence}");
    }
    // A clip of ten hours, and its features, would not fit into the memory of this process.
    fs::write(&description, good.replace("\"clip_seconds\": 3.0", "\"clip_seconds\": 36000.0")).unwrap();
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "ulimit -v 2000000; exec \"$0\" \"$@\""]).arg(trained.command(&[]).get_program());
    limited.args(["predict", "tiny:fft.logistic.s1", "-"]).current_dir(trained.path(".")).stdin(Stdio::null());
    let output = limited.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("columns"), "{}", text(&output.stderr));
}

#[test]
fn names_cannot_control_the_terminal_and_data_keeps_them() {
    let trained = Trained::tiny();
    let names = ["\u{1b}]0;pwned\u{7}\u{1b}[2J.wav", "two\nlines.wav"];
    for class in ["cel", "flu"] {
        let folder = trained.path("set").join(class);
        fs::create_dir_all(&folder).unwrap();
        for name in names {
            fs::write(folder.join(name), b"no recording").unwrap();
        }
        let good = &trained.recordings_of(class)[0];
        fs::copy(good, folder.join(format!("good {}", names[0]))).unwrap();
        fs::copy(good, folder.join(format!("good {}", names[1]))).unwrap();
    }
    fs::create_dir_all(trained.path("data")).unwrap();
    let described = format!("kind = \"folder\"\nroot = '{}'\n", path_text(&trained.path("set")));
    fs::write(trained.path("data/weird.toml"), described).unwrap();
    let model = "tiny/latest:fft.logistic.s1";
    for arguments in [["predict", model, "set"], ["data", "check", "weird"]] {
        let output = trained.timbre(&arguments);
        assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
        for printed in [text(&output.stdout), text(&output.stderr)] {
            assert!(!printed.contains(|c: char| c.is_control() && c != '\n'), "{printed:?}");
            assert!(!printed.lines().any(|line| line.starts_with("lines.wav")), "{printed:?}");
        }
        assert!(text(&output.stdout).contains("]0;pwned"), "{}", text(&output.stdout));
    }
    let json = trained.timbre(&["predict", model, "set", "--json", "-q"]);
    let files: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let paths = files["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap());
    assert_eq!(paths.filter(|path| path.ends_with(names[0]) || path.ends_with(names[1])).count(), 4);
    let csv = text(&trained.timbre(&["predict", model, "set", "--csv", "-q"]).stdout);
    assert!(csv.contains(names[0]) && csv.contains(names[1]), "{csv:?}");
}

#[test]
fn audio_files_that_are_not_read_are_counted_and_named() {
    let trained = Trained::tiny();
    let folder = trained.path("mixed");
    fs::create_dir_all(folder.join("old")).unwrap();
    fs::copy(&trained.recordings_of("cel")[0], folder.join("a.wav")).unwrap();
    for name in ["b.WV", "old/c.w64", "notes.txt", "cover.jpg"] {
        fs::write(folder.join(name), b"no audio").unwrap();
    }
    let predict = |more: &[&str]| {
        let output = trained.timbre(&[&["predict", "tiny/latest:fft.logistic.s1", "mixed"], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        output
    };
    let sentence = "2 audio files passed over, in formats that are not read: mixed/b.WV, mixed/old/c.w64\n";
    let printed = text(&predict(&[]).stderr);
    assert!(printed.contains(sentence), "{printed}");
    let report: Value = serde_json::from_slice(&predict(&["--json"]).stdout).unwrap();
    assert_eq!(report["passed_over"], serde_json::json!(["mixed/b.WV", "mixed/old/c.w64"]));
    assert_eq!(report["files"].as_array().unwrap().len(), 1);
}

const WITH_VALIDATION: &str = r#"
[data]
use = "demo"
clips_per_class = 14
test_recordings = 2
[audio]
clip_seconds = 3.0
[split]
kind = "holdout"
test = 0.2
validation = 0.2
[features.mel]
db = true
[models.average]
[models.logistic]
[models.both]
kind = "ensemble"
members = ["average", "logistic"]
"#;

#[test]
fn a_recording_unlike_those_of_training_is_marked_in_every_output_and_an_older_model_says_nothing() {
    let trained = Trained::of("tiny", WITH_VALIDATION);
    let recordings = trained.path("recordings");
    fs::create_dir_all(&recordings).unwrap();
    let mut state = 1u32;
    let mut noise = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as i16 / 6
    };
    let noise: Vec<i16> = (0..4 * 44_100).map(&mut noise).collect();
    let path = recordings.join("noise.wav");
    timbre_signal::audio::wav_write::write_pcm16(&path, &noise, 1, 44_100).unwrap();
    let of = |model: &str, more: &[&str], file: &std::path::Path| {
        let output = trained.timbre(&[&["predict", model, path_text(file)], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        output
    };
    let json = |model: &str, file: &std::path::Path| -> Value {
        let report: Value = serde_json::from_slice(&of(model, &["--json"], file).stdout).unwrap();
        report["files"][0].clone()
    };
    for model in ["tiny:mel.logistic", "tiny:+.both"] {
        let answer = json(model, &path);
        assert_eq!(answer["unlike_training"], true, "{answer}");
        let printed = text(&of(model, &[], &path).stdout);
        assert!(printed.contains("  (unlike the training recordings: "), "{printed}");
        let csv = text(&of(model, &["--csv"], &path).stdout);
        assert!(csv.lines().nth(1).unwrap().ends_with(",true,false,"), "{csv}");
        let segments = of(model, &["--format", "segments"], &path);
        assert!(text(&segments.stderr).contains("unlike the training recordings"), "{}", text(&segments.stderr));
    }
    // The recordings of training and validation are within the limit, but for a few.
    let own = trained.recordings_of("org");
    let beyond = own.iter().filter(|path| json("tiny:mel.logistic", path)["unlike_training"] == true).count();
    assert!(beyond <= 1, "{beyond} of {}", own.len());

    let file = "tiny/latest/models/mel.logistic.s1/training_distance.safetensors";
    trained.truncate(file);
    let damaged = trained.timbre(&["predict", "tiny:mel.logistic", path_text(&path)]);
    assert!(text(&damaged.stderr).contains("training_distance.safetensors is damaged"), "{}", text(&damaged.stderr));
    fs::remove_file(trained.runs().join(file)).unwrap();
    let older = json("tiny:mel.logistic", &path);
    assert_eq!((&older["unlike_training"], &older["training_distance"]), (&Value::Null, &Value::Null));
    assert!(!text(&of("tiny:mel.logistic", &[], &path).stdout).contains("unlike"));
}
