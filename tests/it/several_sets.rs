//! Several data sets in one experiment, weights and tags of recordings, and splits that divide songs.

use std::fs;

use crate::manifest_pipeline::{tone, write};
use crate::test_dir::{TestDir, text};

const MODELS: &str = "[audio]\nsample_rate = 8000\nclip_seconds = 0.5\n[features.mel]\nn_fft = 256\nhop_length = 64\nn_mels = 32\n\
                      [models.logistic]\n[models.knn]\nk = 3\n";

/// Tables `data/one.csv` (low, high; songs of two takes) and `data/two.csv` (high, called `top`, and noisy; some for testing).
fn two_sets(dir: &TestDir) {
    let (mut one, mut two) = (String::from("file,song,low,high,heavy,mood\n"), String::from("file,song,label,split\n"));
    for take in 0..12 {
        for (class, pitch) in [("low", 200.0), ("high", 1500.0)] {
            let file = format!("one/{class}-{take}.wav");
            write(&dir.path("data").join(&file), &tone(0.5, pitch, take));
            let cells = if class == "low" { "1,0" } else { "0,1" };
            let mood = ["sad", "glad"][take % 2];
            one += &format!("{file},{class}{},{cells},{},{mood}\n", take / 2, 1 + take % 3);
        }
        for (class, pitch) in [("top", 1600.0), ("middle", 700.0)] {
            let file = format!("two/{class}-{take}.wav");
            write(&dir.path("data").join(&file), &tone(0.5, pitch, take + 50));
            two += &format!("{file},{class}{},{class},{}\n", take / 2, if take < 8 { "train" } else { "test" });
        }
    }
    fs::write(dir.path("data/one.csv"), one).unwrap();
    fs::write(dir.path("data/two.csv"), two).unwrap();
    let sets = [
        ("one", "labels = [\"low\", \"high\"]\ngroup = \"song\"\ntags = [\"mood\"]\n"),
        ("two", "labels = \"label\"\ngroup = \"song\"\nsplit = \"split\"\n"),
    ];
    for (name, columns) in sets {
        let toml = format!("kind = \"manifest\"\npath = \"{name}.csv\"\n[columns]\npath = \"file\"\n{columns}");
        fs::write(dir.path(&format!("data/{name}.toml")), toml).unwrap();
    }
}

fn experiment(dir: &TestDir, data: &str, rest: &str) {
    // Without keys of their own, several sets can be written as [[data]].
    let (data, table) = match data {
        "" => (String::new(), "data"),
        data => (format!("[data]\nkind = \"several\"\n{data}\n"), "data.sets"),
    };
    let data =
        format!("{data}[[{table}]]\nuse = \"one\"\n[[{table}]]\nuse = \"two\"\nlabels.map = {{ top = \"high\" }}\n");
    fs::write(dir.path("both.toml"), format!("{data}{MODELS}{rest}")).unwrap();
}

/// The cells of a table, by the names of its columns.
fn cells(csv: &str, columns: &[&str]) -> Vec<Vec<String>> {
    let mut lines = csv.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let places: Vec<usize> = columns
        .iter()
        .map(|name| header.iter().position(|own| own == name).unwrap_or_else(|| panic!("no {name} in {header:?}")))
        .collect();
    lines.map(|line| places.iter().map(|&at| line[at].clone()).collect()).collect()
}

#[test]
fn a_model_is_trained_on_one_set_and_tested_on_another() {
    let dir = TestDir::new();
    two_sets(&dir);
    let rest = "[split]\nkind = \"official\"\nvalidation = 0.25\n[evaluate]\ntask = \"multi_label\"\n";
    experiment(&dir, "train_on = [\"one\"]\ntest_on = [\"two\"]", rest);
    let output = dir.done(&["run", "both.toml", "--device", "cpu"]);
    let said = text(&output.stderr);
    assert!(said.contains("two: 16 recordings left out, because the set is for testing alone"), "{said}");
    assert!(said.contains("1 class only in sets that are not trained on: middle"), "{said}");
    let recordings = dir.read("runs/both/latest/recordings.csv");
    let rows = cells(&recordings, &["path", "song", "labels", "split", "labels_unknown", "set"]);
    let of = |path: &str| rows.iter().find(|row| row[0] == path).unwrap_or_else(|| panic!("{recordings}")).clone();
    assert_eq!(of("two/two/top-9.wav")[1..], ["two/top4", "high", "test", "low", "two"]);
    let low = of("one/one/low-3.wav");
    assert_eq!((&low[1][..], &low[2][..], &low[4][..], &low[5][..]), ("one/low1", "low", "middle", "one"));
    assert_eq!(rows.iter().filter(|row| row[5] == "two").count(), 8);
    assert!(rows.iter().all(|row| (row[3] == "test") == (row[5] == "two")));
    // The scores of the class that both have: the classes that the test set lacks take no part.
    let classes = cells(&dir.read("runs/both/latest/per_class.csv"), &["model", "split", "class", "support", "f1"]);
    let high = classes.iter().find(|row| row[..3] == ["logistic", "test", "high"]).unwrap();
    // The model was never trained on `middle`, and may take it for `high`.
    assert!(high[3] == "4" && high[4].parse::<f64>().unwrap() > 0.5, "{high:?}");
    let by_tag = cells(&dir.read("runs/both/latest/by_tag.csv"), &["model", "split", "tag", "value", "n"]);
    assert!(by_tag.contains(&["knn", "test", "set", "two", "8"].map(str::to_owned).to_vec()), "{by_tag:?}");
    dir.done(&["reproduce", "both/latest", "--device", "cpu"]);
}

#[test]
fn sets_are_checked_before_anything_is_computed() {
    let dir = TestDir::new();
    two_sets(&dir);
    let check = |data: &str, rest: &str, code: i32| {
        experiment(&dir, data, rest);
        let output = dir.timbre(&["check", "both.toml"]);
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{said}");
        said
    };
    let several = "[evaluate]\ntask = \"multi_label\"\n";
    let said = check("", several, 0);
    assert!(said.contains("8 of the testing subset"), "{said}");
    // The split has to follow the sets.
    let said = check("test_on = [\"two\"]", several, 2);
    assert!(said.contains("`test_on`: the split of this experiment divides the sets in its own way"), "{said}");
    let said = check("test_on = [\"tow\"]", "[split]\nkind = \"official\"\n", 2);
    assert!(said.contains("no set `tow`; the sets are one, two"), "{said}");
    let said = check("train_on = [\"one\"]\nlabels.include = [\"violin\"]", "[split]\nkind = \"official\"\n", 2);
    assert!(said.contains("unknown classes in `labels.include`: violin; the classes are low, high, middle"), "{said}");
    // Keys of a set are checked as those of a data set.
    fs::write(dir.path("data/one.toml"), "kind = \"manifest\"\npath = \"one.csv\"\nskip_mising = true\n").unwrap();
    let said = check("", several, 2);
    assert!(
        said.contains("unknown key `skip_mising`: did you mean `skip_missing`?") || said.contains("skip_missing"),
        "{said}"
    );
    fs::write(dir.path("both.toml"), format!("[data]\nuse = \"demo\"\nweight = 2.0\n{MODELS}")).unwrap();
    let output = dir.timbre(&["check", "both.toml"]);
    assert!(text(&output.stderr).contains("is for one of several sets"), "{}", text(&output.stderr));
}

#[test]
fn one_class_per_recording_joins_sets_too_and_weights_reach_the_fit() {
    let dir = TestDir::new();
    two_sets(&dir);
    experiment(&dir, "", "[split]\ntest = 0.25\n[evaluate]\nby_tag = [\"set\", \"mood\", \"length\"]\n");
    let output = dir.done(&["run", "both.toml", "--device", "cpu", "--set", "seeds=[1,2]"]);
    let said = text(&output.stderr);
    assert!(!said.contains("ignore"), "all weights are 1: {said}");
    let recordings = dir.read("runs/both/latest/recordings.csv");
    assert!(recordings.lines().next().unwrap().ends_with(",split_s1,split_s2,set"), "{recordings}");
    let plain = dir.read("runs/both/latest/results.csv");
    let means =
        cells(&dir.read("runs/both/latest/results_means.csv"), &["model", "split", "seeds", "accuracy", "accuracy_sd"]);
    let scores: Vec<f64> = cells(&plain, &["model", "split", "accuracy"])
        .iter()
        .filter(|row| row[..2] == ["logistic", "test"])
        .map(|row| row[2].parse().unwrap())
        .collect();
    let mean = means.iter().find(|row| row[0] == "logistic").unwrap();
    assert!(
        mean[2] == "2" && (mean[3].parse::<f64>().unwrap() - (scores[0] + scores[1]) / 2.0).abs() < 1e-12,
        "{mean:?}"
    );
    for table in ["per_class_means.csv", "by_tag_means.csv", "confusion_means.csv"] {
        assert!(dir.read(&format!("runs/both/latest/{table}")).contains("_sd"), "{table}");
    }
    for (report, mean) in [("report.md", "F1, all seeds"), ("report.html", ">all<")] {
        assert!(dir.read(&format!("runs/both/latest/{report}")).contains(mean), "{report}");
    }
    let moods = cells(&dir.read("runs/both/latest/by_tag.csv"), &["tag", "value", "model"]);
    for (tag, value) in [("mood", "glad"), ("mood", "sad"), ("set", "one"), ("set", "two"), ("length", "0 to 1 s")] {
        assert!(moods.contains(&[tag, value, "knn"].map(str::to_owned).to_vec()), "{moods:?}");
    }
    // The weight of a set changes the fit of a model that takes it, and the others say that they do not.
    let toml = dir.read("both.toml").replace("use = \"two\"", "use = \"two\"\nweight = 20.0");
    fs::write(dir.path("both.toml"), toml.replace("[models.logistic]", "[models.logistic]\nc = 0.001")).unwrap();
    let said = text(&dir.done(&["run", "both.toml", "--device", "cpu"]).stderr);
    assert!(said.contains("recordings have weights, which these models ignore: knn"), "{said}");
    let rows = cells(&dir.read("runs/both/latest/recordings.csv"), &["set", "weight"]);
    assert!(rows.iter().all(|row| row[1] == if row[0] == "two" { "20.0" } else { "1.0" }), "{rows:?}");
    let predictions = dir.bytes("runs/both/latest/predictions.parquet");
    let toml = dir.read("both.toml").replace("weight = 20.0", "weight = 1.0");
    fs::write(dir.path("both.toml"), toml).unwrap();
    dir.done(&["run", "both.toml", "--device", "cpu", "-q"]);
    assert_ne!(dir.bytes("runs/both/latest/predictions.parquet"), predictions);
}

#[test]
fn a_table_has_weights_of_its_recordings() {
    let dir = TestDir::new();
    two_sets(&dir);
    let columns =
        "[data.columns]\npath = \"file\"\nlabels = [\"low\", \"high\"]\ngroup = \"song\"\nweight = \"heavy\"\n";
    let data = format!("[data]\nkind = \"manifest\"\npath = \"one.csv\"\n{columns}");
    fs::write(dir.path("one.toml"), format!("{data}{MODELS}[models.cnn]\nkind = \"cnn_small\"\nepochs = 1\n")).unwrap();
    let said = text(&dir.done(&["run", "one.toml", "--device", "cpu"]).stderr);
    assert!(said.contains("which these models ignore: knn"), "{said}");
    let weights = cells(&dir.read("runs/one/latest/recordings.csv"), &["path", "weight"]);
    assert!(weights.contains(&["one/low-5.wav", "3.0"].map(str::to_owned).to_vec()), "{weights:?}");
    let table = dir.read("data/one.csv").replace(",2,", ",-2,");
    fs::write(dir.path("data/one.csv"), table).unwrap();
    let output = dir.timbre(&["check", "one.toml"]);
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("a weight that is not a number above 0"), "{said}");
}

#[test]
fn a_leaky_split_is_refused_until_it_is_named_and_then_every_table_says_so() {
    let dir = TestDir::new();
    two_sets(&dir);
    let run = ["run", "one.toml", "--device", "cpu"];
    let data = "[data]\nuse = \"one\"\n[split]\nkind = \"random\"\ntest = 0.25\n";
    fs::write(dir.path("one.toml"), format!("{data}{MODELS}")).unwrap();
    let refused = dir.timbre(&run);
    let said = text(&refused.stderr);
    assert!(refused.status.code() == Some(2) && said.contains("12 of 12 songs have several recordings"), "{said}");
    let leaky = ["--set", "split.leaky=true", "--set", "evaluate.task=\"multi_label\""];
    let said = text(&dir.done(&[&run[..], &leaky].concat()).stderr);
    let sentence = "leaky split: clips of one song may be in training and test, so scores are too good";
    assert!(said.contains(sentence), "{said}");
    for table in ["results", "grid", "per_class", "confusion", "hardest", "by_labels", "recordings"] {
        let csv = dir.read(&format!("runs/one/latest/{table}.csv"));
        let mut lines = csv.lines();
        assert!(
            lines.next().unwrap().ends_with(",leaky") && lines.all(|line| line.ends_with(",true")),
            "{table}: {csv}"
        );
    }
    assert!(dir.read("runs/one/latest/report.md").contains(sentence));
    assert!(dir.read("runs/one/latest/report.html").contains(sentence));
    let metrics: serde_json::Value = serde_json::from_str(&dir.read("runs/one/latest/metrics.json")).unwrap();
    assert_eq!(metrics["leaky"], true);
    assert!(text(&dir.done(&[&run[..], &leaky, &["-q"]].concat()).stdout).ends_with(&format!("{sentence}\n")));
    let listed = dir.done(&["runs"]);
    assert!(text(&listed.stdout).contains('†') && text(&listed.stderr).contains(&format!("† {sentence}")));
    assert!(text(&dir.done(&["runs", "--json"]).stdout).contains("\"leaky\":true"));
    dir.done(&["thresholds", "one/latest", "--on-test"]);
    for table in ["thresholds", "thresholds_f1_micro"] {
        let csv = dir.read(&format!("runs/one/latest/{table}.csv"));
        assert!(csv.lines().next().unwrap().ends_with(",leaky"), "{table}: {csv}");
    }
    let first = fs::canonicalize(dir.path("runs/one/latest")).unwrap();
    dir.done(&[&run[..], &leaky, &["--set", "seeds=[7]", "-q"]].concat());
    let compared = text(&dir.done(&["compare", first.to_str().unwrap(), "one/latest"]).stdout);
    assert!(compared.contains(&format!("run 1: {sentence}")), "{compared}");
    dir.done(&["compare", first.to_str().unwrap(), "one/latest", "--csv", "compared.csv"]);
    let csv = dir.read("compared.csv");
    assert!(
        csv.lines().next().unwrap().ends_with(",leaky") && csv.lines().skip(1).all(|line| line.ends_with(",true")),
        "{csv}"
    );
    dir.done(&["reproduce", "one/latest", "--device", "cpu"]);
    dir.done(&[&run[..], &leaky, &["--set", "grid.models.knn.k=[1, 2]", "-q"]].concat());
    assert!(
        dir.read("runs/one/grid_results.csv").lines().all(|line| line.ends_with(",leaky") || line.ends_with(",true"))
    );
    assert!(dir.read("runs/one/grid.html").contains(sentence));
}

#[test]
fn polyphonic_recordings_of_the_test_part_are_for_validation() {
    let dir = TestDir::new();
    let experiment = "[data]\nuse = \"demo\"\nclips_per_class = 3\ntest_recordings = 12\ntraining_share_of_test = 0.25\nvalidation_share_of_test = 0.5\n\
                      [audio]\nsample_rate = 16000\nclip_seconds = 1.0\n[split]\nkind = \"official\"\n[features.centroid]\n[models.knn]\n\
                      [evaluate]\ntask = \"multi_label\"\nbootstrap = 0\n[evaluate.search]\n";
    fs::write(dir.path("shares.toml"), experiment).unwrap();
    dir.done(&["run", "shares.toml", "--device", "cpu", "-q"]);
    let rows = cells(&dir.read("runs/shares/latest/recordings.csv"), &["path", "split"]);
    let count = |split: &str| rows.iter().filter(|row| row[0].contains("Testing") && row[1] == split).count();
    assert_eq!(rows.iter().filter(|row| row[0].contains("Testing")).count(), 12);
    // Songs stay whole, so the shares are at least a quarter and a half.
    assert!(count("training") >= 3 && count("validation") >= 6 && count("test") >= 1, "{rows:?}");
    let refused = dir.timbre(&["check", "shares.toml", "--set", "data.validation_share_of_test=0.75"]);
    assert!(text(&refused.stderr).contains("leave nothing to test on"), "{}", text(&refused.stderr));
}
