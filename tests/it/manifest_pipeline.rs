//! From a table that nobody here wrote to a trained, evaluated and served model.

use std::fs;
use std::path::Path;

use serde_json::Value;
use timbre_signal::audio::wav_write::write_pcm16;

use crate::test_dir::{TestDir, text};
use crate::test_server::{Server, post};

/// A tone with some overtones and a little noise: `pitch` sets its class, `take` its details.
pub fn tone(seconds: f64, pitch: f64, take: usize) -> Vec<f32> {
    let mut noise = take as u32 * 7919 + 1;
    let sample = |i: usize| {
        let time = i as f64 / 8000.0;
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let overtones: f64 = (1..4).map(|k| (std::f64::consts::TAU * pitch * k as f64 * time).sin() / k as f64).sum();
        let loud = 0.1 + 0.02 * (take % 5) as f64;
        (loud * overtones + 0.005 * (f64::from(noise >> 8) / f64::from(1 << 24) - 0.5)) as f32
    };
    (0..(seconds * 8000.0) as usize).map(sample).collect()
}

pub fn write(path: &Path, samples: &[f32]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let samples: Vec<i16> = samples.iter().map(|s| (s.clamp(-1.0, 1.0) * 32767.0) as i16).collect();
    write_pcm16(path, &samples, 1, 8000).unwrap();
}

/// Recordings of one or two of three birds with odd names, three takes of each of eight birds a class.
fn birds(dir: &TestDir) {
    let classes = [("Great tit", 300.0), ("Wren, winter", 900.0), ("path", 2100.0)];
    let mut table = String::from("filename;species;bird id\n");
    for take in 0..24 {
        for (n, (class, pitch)) in classes.iter().enumerate() {
            let mut samples = tone(0.6, *pitch, take * 3 + n);
            let mut names = vec![*class];
            if take % 2 == 1 {
                let (other, pitch) = classes[(n + 1) % 3];
                samples.iter_mut().zip(tone(0.6, pitch, take)).for_each(|(sum, more)| *sum += more);
                names.push(other);
            }
            let file = format!("field notes/{class} {take}.wav");
            write(&dir.path("birds").join(&file), &samples);
            table += &format!("{file};{};{n}-{}\n", names.join("|"), take / 3);
        }
    }
    fs::write(dir.path("birds/all birds.csv"), table).unwrap();
}

const COLUMNS: [&str; 4] = [
    "--set",
    "data.columns={ path = \"filename\", labels = { column = \"species\", separator = \"|\" }, group = \"bird id\" }",
    "--set",
    "evaluate.task=\"multi_label\"",
];

#[test]
fn a_table_with_several_labels_becomes_a_trained_evaluated_and_served_model_in_three_commands() {
    let dir = TestDir::new();
    birds(&dir);
    let small = ["--set", "split.validation=0.25", "--device", "cpu", "-q"];
    let table = ["run", "quickstart", "--data", "birds/all birds.csv"];
    dir.done(&[&table[..], &COLUMNS, &small].concat());
    dir.done(&["report", "quickstart/latest"]);
    let results = dir.read("runs/quickstart/latest/results.csv");
    let header: Vec<&str> = results.lines().next().unwrap().split(',').collect();
    let f1 = header.iter().position(|name| *name == "f1_micro").unwrap();
    let fft = results.lines().find(|line| line.starts_with("fft,logistic,1,test")).unwrap();
    assert!(fft.split(',').nth(f1).unwrap().parse::<f64>().unwrap() > 0.9, "{fft}");
    let recordings = dir.read("runs/quickstart/latest/recordings.csv");
    assert!(recordings.contains("field notes/Great tit 1.wav,0-0,\"Great tit;Wren, winter\","), "{recordings}");
    assert!(dir.read("runs/quickstart/latest/report.html").contains("Wren, winter"));
    // A class may have the name of a column.
    let predicted = dir.read("runs/quickstart/latest/per_class.csv");
    assert!(predicted.contains("path") && predicted.contains("\"Wren, winter\""), "{predicted}");
    let wav = dir.path("birds/field notes/Wren, winter 1.wav");
    let output = dir.done(&["predict", "quickstart/latest:fft.logistic.s1", wav.to_str().unwrap(), "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let named = |prediction: &Value, list: &str, name: &str| {
        prediction[list].as_array().unwrap().iter().any(|class| class.to_string().contains(name))
    };
    assert!(named(&report["files"][0], "classes", "Wren, winter"), "{report}");
    let server = Server::spawn(dir.command(&["serve", "quickstart/latest:fft.logistic.s1", "--addr", "127.0.0.1:0"]));
    let response = post(server.address, "Content-Type: audio/wav\r\n", &fs::read(&wav).unwrap());
    assert_eq!(response.status, 200, "{}", text(&response.body));
    let mut decided: Vec<String> = crate::test_server::decided(&response.json());
    decided.sort();
    assert_eq!(decided, ["Wren, winter", "path"]);
}

#[test]
fn a_table_is_enough_for_a_single_label_run_and_its_columns_are_guessed_aloud() {
    let dir = TestDir::new();
    let mut table = String::from("file,song,class\n");
    for take in 0..20 {
        for (class, pitch) in [("low", 200.0), ("high", 1500.0)] {
            let file = format!("{class}-{take}.wav");
            write(&dir.path("set").join(&file), &tone(0.5, pitch, take));
            table += &format!("{file},{class}{},{class}\n", take / 2);
        }
    }
    fs::write(dir.path("set/labels.csv"), table).unwrap();
    let output = dir.done(&["run", "quickstart", "--data", "set/labels.csv", "--device", "cpu"]);
    let said = text(&output.stderr);
    assert!(
        said.contains("columns of labels.csv, by their names: path = `file`, group = `song`, labels = `class`"),
        "{said}"
    );
    assert!(!said.contains("a song of its own"), "{said}");
    let results = dir.read("runs/quickstart/latest/results.csv");
    let fft = results.lines().find(|line| line.starts_with("fft,logistic,1,test")).unwrap();
    assert!(fft.contains(",1.0,"), "{fft}");
    // The run repeats from its own record.
    dir.done(&["reproduce", "quickstart/latest", "--device", "cpu"]);
    let described = text(&dir.done(&["data", "describe", "set/labels.csv"]).stdout);
    assert!(described.contains("40 recordings of 20 songs"), "{described}");
    assert!(text(&dir.done(&["data", "check", "set/labels.csv"]).stdout).contains("40 recordings: 0 unusable"));
}

#[test]
fn excerpts_of_one_file_train_as_the_files_cut_from_it_do() {
    let dir = TestDir::new();
    let (mut long, mut cut, mut whole) =
        (Vec::new(), String::from("path,label,song\n"), String::from("path,label,song,start,end\n"));
    for take in 0..16 {
        for (class, pitch) in [("low", 200.0), ("high", 1500.0)] {
            let samples = tone(0.75, pitch, take);
            let file = format!("{class}-{take}.wav");
            write(&dir.path("cut").join(&file), &samples);
            cut += &format!("{file},{class},{class}{take}\n");
            let start = long.len() as f64 / 8000.0;
            long.extend(samples);
            whole += &format!("long.wav,{class},{class}{take},{start},{}\n", long.len() as f64 / 8000.0);
        }
    }
    write(&dir.path("whole/long.wav"), &long);
    fs::write(dir.path("cut/t.csv"), cut).unwrap();
    fs::write(dir.path("whole/t.csv"), whole).unwrap();
    let experiment = "[data]\nuse = \"demo\"\n[audio]\nsample_rate = 8000\nclip_seconds = 0.5\n[features.mel]\nn_fft = 256\nhop_length = 64\nn_mels = 32\n[models.knn]\n\
                      [models.cnn]\nkind = \"cnn_small\"\nepochs = 2\ncrop = \"random\"\n[evaluate]\nmode = \"windows\"\nwindow = { seconds = 0.5, hop = 0.25 }\n";
    fs::write(dir.path("birds.toml"), experiment).unwrap();
    let rows = |data: &str| dir.run("birds.toml", &["--data", data])["results"].clone();
    let scores = |rows: Value| -> Vec<String> {
        rows.as_array()
            .unwrap()
            .iter()
            .map(|row| format!("{} {} {}", row["model"], row["metrics"]["accuracy"], row["n"]))
            .collect()
    };
    let (from_files, from_excerpts) = (rows("cut/t.csv"), rows("whole/t.csv"));
    assert_eq!(scores(from_files), scores(from_excerpts));
    let log = text(&dir.done(&["data", "check", "whole/t.csv"]).stdout);
    assert!(log.contains("32 recordings: 0 unusable, 0 groups"), "{log}");
}

#[test]
fn unknown_labels_are_left_out_of_fits_scores_and_tables() {
    let dir = TestDir::new();
    let (mut partial, mut known) = (String::from("file,song,low,high\n"), String::from("file,song,low,high\n"));
    for take in 0..24 {
        for (n, name) in ["low", "high"].into_iter().enumerate() {
            let file = format!("{name}-{take}.wav");
            write(&dir.path("set").join(&file), &tone(0.5, [200.0, 1500.0][n], take));
            let cells = [["1", "0"], ["0", "1"]][n];
            known += &format!("{file},{name}{},{},{}\n", take / 2, cells[0], cells[1]);
            // Of half of the recordings only one class is known.
            let cell = |class: usize| if take % 2 == 1 && (take / 2) % 2 != class { "" } else { cells[class] };
            partial += &format!("{file},{name}{},{},{}\n", take / 2, cell(0), cell(1));
        }
    }
    fs::write(dir.path("set/partial.csv"), partial).unwrap();
    fs::write(dir.path("set/known.csv"), known).unwrap();
    let experiment = "[data]\nuse = \"demo\"\n[audio]\nsample_rate = 8000\nclip_seconds = 0.5\n[split]\nvalidation = 0.25\n[features.mel]\nn_fft = 256\nhop_length = 64\nn_mels = 32\n\
                      [models.knn]\nk = 3\n[models.logistic]\n[models.cnn]\nkind = \"cnn_small\"\nepochs = 12\n\
                      [models.both]\nkind = \"ensemble\"\nmembers = [\"knn\", \"logistic\"]\nweights = \"search\"\n\
                      [evaluate]\ntask = \"multi_label\"\nbootstrap = 50\n[evaluate.search]\nresamples = 20\n";
    fs::write(dir.path("birds.toml"), experiment).unwrap();
    let report = dir.run("birds.toml", &["--data", "set/partial.csv", "--set", "save_models=true"]);
    for row in report["results"].as_array().unwrap().iter().filter(|row| row["features"] != "-") {
        let (f1, hamming) = (row["metrics"]["f1_micro"].as_f64().unwrap(), row["metrics"]["hamming"].as_f64().unwrap());
        // The network has seen few clips in few epochs.
        let least = if row["model"] == "cnn" { 0.5 } else { 0.9 };
        assert!(f1 > least && hamming > least, "{row}");
    }
    let latest = || fs::canonicalize(dir.path("runs/birds/latest")).unwrap().to_str().unwrap().to_owned();
    let folder = latest();
    let recordings = dir.read(&format!("{folder}/recordings.csv"));
    assert!(recordings.starts_with("path,song,labels,content,split,labels_unknown\n"), "{recordings}");
    assert!(recordings.lines().any(|line| line.starts_with("high-1.wav") && line.ends_with(",high")), "{recordings}");
    // A known truth elsewhere gives the same table without the column.
    dir.run("birds.toml", &["--data", "set/known.csv"]);
    let whole = latest();
    assert!(!dir.read(&format!("{whole}/recordings.csv")).contains("unknown"));
    assert!(!dir.read(&format!("{whole}/units/mel.knn.s1.json")).contains("unknown"));
    // True negatives are counted among the known labels alone.
    let confusion = dir.read(&format!("{folder}/confusion.csv"));
    let test = confusion.lines().find(|line| line.starts_with("mel,logistic,1,test,low")).unwrap();
    let counted: u32 = test.split(',').skip(5).map(|cell| cell.parse::<u32>().unwrap()).sum();
    let n =
        report["results"].as_array().unwrap().iter().find(|row| row["split"] == "test").unwrap()["n"].as_u64().unwrap();
    assert!(u64::from(counted) < n && counted > 0, "{test} of {n}");
    // A saved model of known rows predicts, and finished runs are compared and evaluated again.
    let wav = dir.path("set/low-3.wav");
    let output = dir.done(&["predict", &format!("{folder}:mel.logistic.s1"), wav.to_str().unwrap(), "--json"]);
    assert!(text(&output.stdout).contains("low"), "{}", text(&output.stdout));
    dir.done(&["thresholds", &folder]);
    dir.done(&["reproduce", &folder, "--device", "cpu"]);
    // One class per recording leaves no room for an unknown one.
    let experiment =
        experiment.replace("task = \"multi_label\"", "").replace("[evaluate.search]\nresamples = 20\n", "");
    fs::write(dir.path("single.toml"), experiment).unwrap();
    let single = ["run", "single.toml", "--data", "set/partial.csv"];
    let refused = dir.timbre(&single);
    let said = text(&refused.stderr);
    assert!(refused.status.code() == Some(2) && said.contains("have unknown classes"), "{said}");
}
