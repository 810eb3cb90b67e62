//! What a user reads when an experiment is wrong: all of it at once, word for word.

use crate::config_project::{Project, assert_golden};

/// Replaces the folder of the test, which has another name each time.
fn shown(project: &Project, text: String) -> String {
    text.replace(&project.root().display().to_string(), "PROJECT") + "\n"
}

#[test]
fn all_errors_of_a_file_are_reported_at_once() {
    let project = Project::new(&[(
        "experiments/many.toml",
        r#"description = 3
seeds = [1, 1, -2]
max_unusable = 1.5
verbose = true

[data]
use = "demo"
limit_per_clas = 10

[audio]
sample_rate = "22050"
clip_seconds = 0
crop = "center"

[split]
kind = "holdot"

[features.mel]
n_mel = 64
n_mels = 64.0
n_fft = 99999999999999999999

[features.loud]
kind = "loudness"

[features."a/b"]
kind = "raw"

[models.knn]
features = ["mell", "mel"]
k = 0
metric = "cosin"

[models.nearest]
k = 3

[evaluate]
metric = "f1"
bootstrap = nan

[grid]
"models.knn.k" = [1, 3]
"#,
    )]);
    assert_golden("many.txt", &shown(&project, project.faults("many")));
}

#[test]
fn each_error_points_into_its_file_or_argument() {
    let project = Project::new(&[
        ("data/mine.toml", "kind = \"irmas\"\nrot = \"/x\"\n"),
        ("experiments/parent.toml", "sed = [1]\n[features.raw]\n[models.average]\n"),
        ("experiments/child.toml", "extends = \"parent\"\n[data]\nuse = \"mine\"\n[models.knn]\nkk = 3\n"),
    ]);
    let set = ["models.knn.metrc=cosine", "audio.sample_rate=a lot", "no equals", "=3", "extends=other", "a.b.=1"];
    let faults = project.resolve_with("child", None, &set).unwrap_err().to_string();
    assert_golden("sources.txt", &shown(&project, faults));
}

#[test]
fn unknown_names_get_the_nearest_known_name() {
    let project = Project::new(&[
        ("experiments/base.toml", "extends = \"quickstrat\"\n[data]\nuse = \"imras\"\n[models.knn]\nk = 0\n"),
        ("experiments/alone.toml", "[data]\nuse = 3\n"),
    ]);
    let mut text = project.faults("bse") + "\n\n" + &project.faults("base") + "\n\n" + &project.faults("alone");
    text += "\n\n";
    text += &project.resolve_with("quickstart", Some("dmo"), &[]).unwrap_err().to_string();
    assert_golden("names.txt", &shown(&project, text));
}

#[test]
fn syntax_errors_have_a_position() {
    let project = Project::new(&[
        ("experiments/bracket.toml", "seeds = [1,\n[features.raw]\n"),
        ("experiments/twice.toml", "seeds = [1]\nseeds = [2]\n"),
        ("experiments/value.toml", "description = \n"),
        ("experiments/word.toml", "extends = \"bracket\"\n[models.knn]\nkk = 1\n"),
        ("experiments/bad name.toml", ""),
    ]);
    std::fs::write(project.root().join("experiments/latin.toml"), b"description = \"\xe9\"\n").unwrap();
    let names = ["bracket", "twice", "value", "word", "latin", "bad name"];
    let text: Vec<String> = names.iter().map(|name| project.faults(name)).collect();
    assert_golden("syntax.txt", &shown(&project, text.join("\n\n")));
}

#[test]
fn a_cycle_of_parents_is_reported() {
    let project = Project::new(&[
        ("experiments/a.toml", "extends = \"b.toml\"\n[features.raw]\n"),
        ("experiments/b.toml", "extends = \"c\"\n[models.average]\n"),
        ("experiments/c.toml", "extends = \"../experiments/a.toml\"\n"),
        ("experiments/self.toml", "extends = \"self\"\n"),
    ]);
    let faults = project.faults("a");
    assert!(
        faults.contains("experiments/c.toml:1:11: `extends`: `../experiments/a.toml` leads back to this file"),
        "{faults}"
    );
    assert!(faults.ends_with("1 error"), "{faults}");
    assert!(project.faults("self").contains("leads back to this file"));
}

#[test]
fn an_experiment_needs_a_feature_and_a_model() {
    let project = Project::new(&[("experiments/empty.toml", ""), ("experiments/none.toml", "[features]\n[models]\n")]);
    for name in ["empty", "none"] {
        let faults = project.faults(name);
        assert!(faults.contains("no feature is defined") && faults.contains("no model is defined"), "{faults}");
    }
}

#[test]
fn errors_of_a_kind_point_at_its_keys() {
    let project = Project::new(&[(
        "experiments/x.toml",
        "[audio]\nsample_rate = 8000\n[split]\ntest = 1.0\n[features.mel]\nfmax = 6000.0\n[models.knn]\nkk = 1\n",
    )]);
    let faults = project.faults("x");
    for place in ["x.toml:4:8: `test`: ", "x.toml:6:8: `fmax`: ", "x.toml:8:1: unknown key `kk`"] {
        assert!(faults.contains(place), "{place} is missing in\n{faults}");
    }
    assert!(faults.ends_with("3 errors"), "{faults}");
}

/// The faults of an experiment with this `[evaluate]` and whatever else it says.
fn evaluated(more: &str) -> String {
    let head = "[audio]\nclip_seconds = 3.0\n[features.mel]\n[models.cnn_small]\nloss = \"bce\"\n";
    let project = Project::new(&[("experiments/x.toml", &format!("{head}[evaluate]\n{more}"))]);
    project.resolve("x").map_or_else(|faults| faults.to_string(), |_| "valid".to_owned())
}

#[test]
fn invalid_windows_are_reported_with_a_remedy() {
    let several = "task = \"multi_label\"\nmode = \"windows\"\n";
    for (more, says) in [
        (
            "window = { seconds = 4.0 }",
            "windows of 4 s are longer than the clips of 3 s that `cnn_small` is trained on",
        ),
        ("window = { seconds = 1.5, hop = 0.5 }", "shorter than the clips of 3 s"),
        ("window = { seconds = 1.5 }", "write window = { seconds = 3.0 }, or change audio.clip_seconds"),
        ("window = { hop = 0 }", "`hop`: expected a number from 0.001 to 36000, found 0"),
        ("window = { hop = -1.0 }", "`hop`: expected a number"),
        ("window = { seconds = 3.0, hops = 1.0 }", "did you mean `hop`?"),
        ("cutoffs = { cal = 0.4 }", "unknown class `cal`"),
        ("cutoffs = { cal = 0.4 }", "did you mean `cel` or `cla`"),
        ("cutoffs = { cel = 1.4 }", "`cel`: expected a number from 0 to 1, found 1.4"),
        ("window_fraction = 1.0", "`window_fraction`: expected a number of at least 0 and below 1, found 1.0"),
        ("window_fraction = -0.1", "`window_fraction`: expected a number"),
        (
            "aggregate = \"mean\"\nwindow_fraction = 0.3",
            "`window_fraction`: only for the aggregate \"vote\", not \"mean\"",
        ),
        ("aggregate = \"loud\"", "did you mean `loudest`?"),
        ("at_most = 0", "`at_most`: expected a whole number of at least 1, found 0"),
    ] {
        let faults = evaluated(&format!("{several}{more}\n"));
        assert!(faults.contains(says) && faults.ends_with("1 error"), "{more}: {says} is missing in\n{faults}");
    }
    let whole = "window = { hop = 0.5, short = \"repeat\" }\naggregate = \"vote\"\nwindow_fraction = 0.0\ncutoff = 0.56\n\
                 cutoffs = { cel = 0.4 }\nat_most = 3\nat_least_one = true\n";
    assert_eq!(evaluated(&format!("{several}{whole}")), "valid");
    assert_eq!(evaluated("mode = \"windows\"\n"), "valid");
}

#[test]
fn window_and_multi_label_keys_are_refused_without_windows_or_multi_label() {
    for key in ["window = { seconds = 3.0 }", "aggregate = \"mean\"", "window_fraction = 0.3"] {
        let faults = evaluated(&format!("task = \"multi_label\"\n{key}\n"));
        assert!(faults.contains("set mode = \"windows\"") && faults.ends_with("1 error"), "{key}: {faults}");
    }
    for key in ["cutoffs = { cel = 0.4 }", "at_most = 2", "at_least_one = true"] {
        let faults = evaluated(&format!("{key}\n"));
        assert!(faults.contains("set task = \"multi_label\"") && faults.ends_with("1 error"), "{key}: {faults}");
    }
    let faults = evaluated("mode = \"windows\"\naggregate = \"vote\"\n");
    assert!(faults.contains("for single-label choose \"mean\"") && faults.ends_with("1 error"), "{faults}");
}

#[test]
fn windows_of_another_length_need_a_fixed_feature_shape_and_no_network() {
    let experiment = |features: &str, model: &str| {
        let text = format!(
            "[audio]\nclip_seconds = 3.0\n[features.mel]\n{features}\n[models.{model}]\n[evaluate]\nmode = \"windows\"\n\
             window = {{ seconds = 1.0 }}\n"
        );
        let project = Project::new(&[("experiments/x.toml", &text)]);
        project.resolve("x").map_or_else(|faults| faults.to_string(), |_| "valid".to_owned())
    };
    assert_eq!(experiment("summary = [\"mean\"]", "knn"), "valid");
    let faults = experiment("", "knn");
    assert!(
        faults.contains("the feature `mel` of a window of 1 s is 128 × 44") && faults.contains("128 × 130"),
        "{faults}"
    );
    // As many pixels, but three times as fast.
    let faults = experiment("resize = [64, 64]", "cnn_small");
    assert!(faults.contains("windows of 1 s are shorter than the clips"), "{faults}");
}

#[test]
fn all_errors_of_ensembles_are_reported() {
    let project = Project::new(&[(
        "experiments/x.toml",
        r#"[split]
kind = "holdout"
[features.mel]
[features.fft]
[models.knn]
[models.average]
features = "mel"
[models.one]
kind = "ensemble"
members = ["mel.knnn", "knn", "fft.average", "average", "mel.average"]
[models.two]
kind = "ensemble"
members = ["mel.knn", "+.three"]
weights = [0.5, 0.2, 0.3]
[models.three]
kind = "ensemble"
members = ["two", "average"]
weights = "search"
[models.four]
kind = "ensemble"
members = ["mel.knn"]
fuse = "rank_mean"
[models.five]
kind = "ensemble"
members = ["mel.knn", "+.six"]
[models.six]
kind = "ensemble"
members = ["mel.knn", "fft.knn"]
weights = "serch"
feature = "mel"
"#,
    )]);
    assert_golden("ensembles.txt", &shown(&project, project.faults("x")));
}
