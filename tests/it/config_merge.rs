//! Which of several words counts: defaults < data file < parents < file < `--data` < `--set`.

use crate::config_project::{Project, repository};
use timbre_experiment::{Experiment, Request, data_set, data_set_names, resolve};

const SMALL: &str = "[features.raw]\n[models.average]\n";

fn json(experiment: &Experiment) -> serde_json::Value {
    serde_json::to_value(experiment).unwrap()
}

#[test]
fn each_layer_overrides_the_ones_below_it() {
    let project = Project::new(&[
        (
            "data/layers.toml",
            "kind = \"irmas\"\nroot = \"from data\"\nlimit_per_class = 1\ntraining_share_of_test = 0.1\n",
        ),
        (
            "experiments/grand.toml",
            &format!(
                "description = \"grand\"\nmax_unusable = 0.1\n[data]\nuse = \"demo\"\n[audio]\nsample_rate = 8000\n{SMALL}"
            ),
        ),
        (
            "experiments/parent.toml",
            "extends = \"grand\"\nmax_unusable = 0.2\nseeds = [1, 2]\n[data]\nuse = \"layers\"\nlimit_per_class = 2\n",
        ),
        (
            "experiments/child.toml",
            "extends = \"parent.toml\"\nmax_unusable = 0.3\nseeds = [3]\n[data]\nlimit_per_class = 3\n",
        ),
    ]);
    let child = project.resolve("child").unwrap().experiment;
    assert_eq!((child.name.as_str(), child.description.as_str(), child.max_unusable), ("child", "grand", 0.3));
    assert_eq!(child.seeds, [3], "arrays replace");
    assert_eq!((child.audio.sample_rate, child.audio.clip_seconds), (8000, None));
    let data = &json(&child)["data"];
    assert_eq!((&data["use"], &data["root"]), (&"layers".into(), &"from data".into()));
    assert_eq!(data["limit_per_class"], 3);
    assert_eq!(data["training_share_of_test"], 0.1);

    let set =
        ["data.limit_per_class=4", "max_unusable=0.4", "max_unusable = 0.5", "data.root=/x y/z=1", "seeds=[7, 8]"];
    let set = project.resolve_with("child", None, &set).unwrap().experiment;
    assert_eq!((set.max_unusable, set.seeds.as_slice()), (0.5, &[7, 8][..]));
    assert_eq!(json(&set)["data"]["limit_per_class"], 4);
    assert_eq!(json(&set)["data"]["root"], "/x y/z=1");
}

#[test]
fn a_data_set_defined_in_a_child_drops_the_parents_name() {
    let child = "extends = \"parent\"\n[data]\nkind = \"folder\"\nroot = \"/music\"\n";
    let parent = format!("[data]\nuse = \"demo\"\nlimit_per_class = 7\n{SMALL}");
    let project = Project::new(&[("experiments/parent.toml", &parent), ("experiments/child.toml", child)]);
    let resolved = project.resolve("child").unwrap();
    let data = &json(&resolved.experiment)["data"];
    assert_eq!((&data["kind"], &data["use"]), (&"folder".into(), &serde_json::Value::Null));
    assert_eq!((&data["root"], &data["limit_per_class"]), (&"/music".into(), &7.into()));
    assert!(resolved.notes.is_empty(), "{:?}", resolved.notes);
}

#[test]
fn another_data_set_keeps_the_keys_it_knows_and_reports_the_others() {
    let text = format!("[data]\nuse = \"irmas\"\nroot = \"/music\"\nlimit_per_class = 9\ntest_folders = [1]\n{SMALL}");
    let project = Project::new(&[("experiments/x.toml", &text)]);
    let resolved = project.resolve_with("x", Some("demo"), &[]).unwrap();
    let data = &json(&resolved.experiment)["data"];
    assert_eq!((&data["kind"], &data["use"], &data["limit_per_class"]), (&"demo".into(), &"demo".into(), &9.into()));
    assert_eq!(resolved.notes, ["warning: --data demo: ignoring keys of [data]: root, test_folders"]);
    assert!(resolved.written.contains("# --data demo\n"), "{}", resolved.written);

    let same = project.resolve_with("x", Some("irmas"), &[]).unwrap();
    assert_eq!(json(&same.experiment)["data"]["root"], "/music");
    assert!(same.notes.is_empty());
    let back = project.resolve_with("x", Some("demo"), &["data.use=irmas"]).unwrap();
    assert_eq!(json(&back.experiment)["data"]["kind"], "irmas", "--set comes last");
}

#[test]
fn the_default_data_set_is_demo() {
    let project = Project::new(&[("experiments/x.toml", SMALL)]);
    assert_eq!(json(&project.resolve("x").unwrap().experiment)["data"]["use"], "demo");
    let limited = project.resolve_with("x", None, &["data.limit_per_class=5"]).unwrap();
    assert_eq!(json(&limited.experiment)["data"]["limit_per_class"], 5);
}

#[test]
fn a_data_set_on_disk_takes_precedence_over_the_built_in_one() {
    let project =
        Project::new(&[("experiments/x.toml", SMALL), ("data/demo.toml", "kind = \"demo\"\nlimit_per_class = 2\n")]);
    assert_eq!(json(&project.resolve("x").unwrap().experiment)["data"]["limit_per_class"], 2);
}

#[test]
fn the_kind_defaults_to_the_name_of_the_table() {
    let text = "[features.raw]\n[models.knn]\nk = 3\n[models.knn7]\nkind = \"knn\"\nk = 7\n[models.average]\nkind = \"logistic\"\n";
    let project = Project::new(&[("experiments/x.toml", text)]);
    let models = project.resolve("x").unwrap().experiment.models;
    let kinds: Vec<_> = models.iter().map(|(name, spec)| (name.as_str(), spec.kind())).collect();
    assert_eq!(kinds, [("knn", "knn"), ("knn7", "knn"), ("average", "logistic")]);
}

#[test]
fn another_kind_replaces_the_table_with_a_note() {
    let project = Project::new(&[
        ("experiments/parent.toml", "[features.raw]\n[models.knn]\nk = 3\n[models.b]\nkind = \"knn\"\nk = 4\n"),
        (
            "experiments/child.toml",
            "extends = \"parent\"\n[models.knn]\nkind = \"average\"\n[models.b]\nkind = \"knn\"\n",
        ),
    ]);
    let resolved = project.resolve("child").unwrap();
    assert_eq!(resolved.experiment.models["knn"].kind(), "average");
    assert_eq!(json(&resolved.experiment)["models"]["b"]["k"], 4, "the same kind merges");
    assert_eq!(resolved.notes, ["warning: [models.knn] kind changed from `knn` to `average`; ignoring k"]);
}

#[test]
fn a_set_key_can_be_quoted_and_create_tables() {
    let project = Project::new(&[("experiments/x.toml", SMALL)]);
    let set = ["models.\"my-knn\".kind=knn", "models.my-knn.k = 11", "features.mel={}", "save_models=false"];
    let experiment = project.resolve_with("x", None, &set).unwrap().experiment;
    assert_eq!(json(&experiment)["models"]["my-knn"]["k"], 11);
    assert_eq!(experiment.features.keys().collect::<Vec<_>>(), ["raw", "mel"]);
    assert!(!experiment.save_models);
}

#[test]
fn built_in_experiments_resolve_with_and_without_their_files() {
    let nowhere = Project::new(&[]);
    for exp in ["quickstart", "simple_models"] {
        let [here, there] = [repository().to_owned(), nowhere.root()].map(|root| {
            let request = Request { exp: exp.into(), root, ..Request::default() };
            resolve(&request).unwrap_or_else(|faults| panic!("{faults}")).experiment
        });
        assert_eq!(here, there, "on disk and built in");
        assert_eq!(here.features.keys().collect::<Vec<_>>(), ["raw", "fft", "mel", "centroid", "bandwidth"]);
        assert_eq!(here.models.keys().collect::<Vec<_>>(), ["average", "knn", "logistic"]);
        let demo = Request { exp: exp.into(), data: Some("demo".into()), root: nowhere.root(), ..Request::default() };
        assert_eq!(resolve(&demo).unwrap_or_else(|faults| panic!("{faults}")).experiment.data.kind(), "demo");
    }
}

#[test]
fn every_experiment_in_the_repository_resolves() {
    let files = std::fs::read_dir(repository().join("experiments")).unwrap().map(|entry| entry.unwrap().path());
    let experiments = files.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    for exp in experiments.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()) {
        for data in [None, Some("demo".to_owned())] {
            let request = Request { exp: exp.clone(), data, root: repository().to_owned(), ..Request::default() };
            timbre_experiment::expand_grid(&request).unwrap_or_else(|errors| panic!("{exp}: {errors}"));
        }
    }
}

#[test]
fn a_name_in_a_joined_feature_stands_for_its_table() {
    let text = "[features.mfcc]\nn_mfcc = 13\nsummary = [\"mean\"]\n[features.slope]\nkind = \"delta\"\nof = \"mfcc\"\n\
                [features.all]\nkind = \"concat\"\nof = [\"mfcc\", \"slope\", { kind = \"zcr\" }]\n[models.knn]\nfeatures = \"all\"\n";
    let project = Project::new(&[("experiments/x.toml", text)]);
    let experiment = project.resolve("x").unwrap_or_else(|faults| panic!("{faults}")).experiment;
    let of = &json(&experiment)["features"]["all"]["of"];
    assert_eq!((&of[0]["n_mfcc"], &of[1]["of"]["n_mfcc"], &of[2]["kind"]), (&13.into(), &13.into(), &"zcr".into()));
    let faults = |text: &str| {
        let project = Project::new(&[("experiments/x.toml", &format!("{text}\n[models.knn]\n"))]);
        project.resolve("x").unwrap_err().to_string()
    };
    let unknown = faults("[features.mfcc]\n[features.all]\nkind = \"stack\"\nof = [\"mfc\"]");
    assert!(unknown.contains("no feature `mfc`") && unknown.contains("did you mean `mfcc`?"), "{unknown}");
    let circle = faults("[features.a]\nkind = \"delta\"\nof = \"b\"\n[features.b]\nkind = \"delta\"\nof = \"a\"");
    assert!(circle.contains("`a` contains itself"), "{circle}");
    let nested = faults("[features.a]\nkind = \"concat\"\nof = [{ kind = \"mel\", n_mel = 3 }]");
    assert!(nested.contains("did you mean `n_mels`?"), "{nested}");
}

#[test]
fn the_resolved_form_parses_back_to_the_same_experiment() {
    for exp in ["quickstart", "simple_models", "eight_features", "svm_ensemble"] {
        let request = Request { exp: exp.into(), root: repository().to_owned(), ..Request::default() };
        let first = resolve(&request).unwrap();
        let typed: Experiment = toml::from_str(&first.resolved_toml).unwrap();
        assert_eq!(Experiment { name: exp.into(), ..typed }, first.experiment);
        // The resolved form also passes the checks of a file.
        let project = Project::new(&[(&format!("experiments/{exp}.toml"), &first.resolved_toml)]);
        let again = project.resolve(exp).unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!(again.experiment, first.experiment);
        assert_eq!(again.resolved_toml, first.resolved_toml);
    }
}

#[test]
fn the_sources_are_kept_parents_first_with_the_arguments() {
    let project = Project::new(&[
        ("experiments/parent.toml", SMALL),
        ("experiments/child.toml", "extends = \"parent\"  # why\n"),
        ("data/demo.toml", "kind = \"demo\"\n"),
    ]);
    let resolved = project.resolve_with("experiments/child.toml", None, &["audio.clip_seconds=2"]).unwrap();
    let expected = "# data/demo.toml\nkind = \"demo\"\n\n# experiments/parent.toml\n[features.raw]\n[models.average]\n\n\
                    # experiments/child.toml\nextends = \"parent\"  # why\n\n# --set audio.clip_seconds=2\n";
    assert_eq!(resolved.written, expected);
    assert_eq!(resolved.experiment.audio.clip_seconds, Some(2.0), "whole numbers are accepted");
}

#[test]
fn the_canonical_form_covers_exactly_what_can_change_a_result() {
    let project =
        Project::new(&[("experiments/x.toml", "[features.raw]\n[features.fft]\n[models.average]\n[models.knn]\n")]);
    let canonical = |set: &[&str]| project.resolve_with("x", None, set).unwrap().experiment.canonical_json();
    let plain = canonical(&[]);
    for same in ["description=other", "max_unusable=0.5", "save_models=false", "data.root=/elsewhere", "models.knn.k=5"]
    {
        assert_eq!(canonical(&[same]), plain, "{same}");
    }
    for other in ["seeds=[2]", "audio.sample_rate=8000", "models.knn.k=6", "data.limit_per_class=3", "split.test=0.3"] {
        assert_ne!(canonical(&[other]), plain, "{other}");
    }
    project.write("experiments/x.toml", "[features.fft]\n[features.raw]\n[models.average]\n[models.knn]\n");
    assert_ne!(canonical(&[]), plain, "the order of rows");
}

#[test]
fn a_single_data_set_accepts_settings_and_reports_errors() {
    let nowhere = Project::new(&[("data/mine.toml", "kind = \"irmas\"\n")]);
    let set = ["data.root=/music".to_owned(), "models.knn.k=3".to_owned()];
    let spec = data_set(&nowhere.root(), "mine", &set).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!((spec.kind(), spec.as_kind().common_keys().root.as_deref()), ("irmas", Some("/music")));
    let names = data_set_names(&nowhere.root());
    assert!(
        names.is_sorted()
            && ["demo", "irmas", "mine", "openmic"].iter().all(|name| names.contains(&(*name).to_owned()))
    );
    let faults = data_set(&nowhere.root(), "irma", &[]).unwrap_err().to_string();
    assert!(faults.contains("no data set `irma`") && faults.contains("did you mean `irmas`?"), "{faults}");
    assert!(data_set(&nowhere.root(), "demo", &["data.rot=/x".into()]).is_err());
}

#[test]
fn an_inherited_table_is_removed_by_false() {
    let parent = "[data]\nuse = \"demo\"\n[audio]\nclip_seconds = 1.0\n[features.raw]\n[features.mel]\n[models.knn]\nk = 3\n[models.average]\n\
                  [models.cnn_small]\nfeatures = \"mel\"\n[[augment]]\nkind = \"noise\"\n[[augment]]\nkind = \"gain\"\nname = \"louder\"\n";
    let project = Project::new(&[
        ("experiments/parent.toml", parent),
        (
            "experiments/child.toml",
            "extends = \"parent\"\n[models]\nknn = false\n[models.logistic]\n[features]\nraw = false\n[augment]\nnoise = false\n",
        ),
        ("experiments/again.toml", "extends = \"child\"\n[models.knn]\nk = 7\n"),
        ("experiments/all.toml", "extends = \"parent\"\naugment = { noise = false, louder = false }\n"),
    ]);
    let names = |exp: &str, set: &[&str]| {
        let experiment = project.resolve_with(exp, None, set).unwrap().experiment;
        let augment: Vec<String> = experiment.augment.iter().map(|spec| spec.name().to_owned()).collect();
        let join = |names: Vec<&str>| names.join(" ");
        [
            join(experiment.features.keys().map(String::as_str).collect()),
            join(experiment.models.keys().map(String::as_str).collect()),
            augment.join(" "),
        ]
    };
    assert_eq!(names("parent", &[]), ["raw mel", "knn average cnn_small", "noise louder"]);
    assert_eq!(names("child", &[]), ["mel", "average cnn_small logistic", "louder"]);
    assert_eq!(names("again", &[])[1], "average cnn_small logistic knn");
    assert_eq!(json(&project.resolve("again").unwrap().experiment)["models"]["knn"]["k"], 7);
    assert_eq!(names("all", &[])[2], "");
    let set = ["models.knn=false", "features.raw=false", "augment.louder=false"];
    assert_eq!(names("parent", &set), ["mel", "average cnn_small", "noise"]);
    assert_eq!(
        names("parent", &["models.knn=false", "models.knn.k=5"])[1],
        "knn average cnn_small",
        "the later one wins"
    );
}

#[test]
fn a_removed_table_has_to_exist() {
    let project = Project::new(&[
        ("experiments/parent.toml", SMALL),
        ("experiments/child.toml", "extends = \"parent\"\n[models]\naverag = false\n"),
        ("experiments/alone.toml", "[features.raw]\n[models.average]\n[models]\nknn = false\n"),
        ("experiments/empty.toml", "extends = \"parent\"\n[models]\naverage = false\n"),
    ]);
    let faults = project.faults("child");
    assert!(faults.contains("experiments/child.toml:3:1: no `models.averag` to remove"), "{faults}");
    assert!(faults.contains("did you mean `average`?") && faults.ends_with("1 error"), "{faults}");
    let faults = project.faults("alone");
    assert!(faults.contains("only what a parent (`extends`) defines can be removed"), "{faults}");
    assert!(project.faults("empty").contains("no model is defined"));
    let faults = project.resolve_with("parent", None, &["models.knn=false"]).unwrap_err().to_string();
    assert!(faults.contains("no `models.knn` to remove"), "{faults}");
}

#[test]
fn a_parent_is_a_toml_file_and_no_other_file_is_shown() {
    let project = Project::new(&[
        ("experiments/x.toml", "extends = \"../secrets\"\n[models.average]\n"),
        ("secrets", "root:x:0:0\n"),
        ("experiments/y.toml", "extends = \"../settings.env\"\n[models.average]\n"),
        ("settings.env", "PASSWORD = \"hunter2\"\n"),
    ]);
    for (exp, secret) in [("x", "root:x"), ("y", "hunter2")] {
        let faults = project.faults(exp);
        assert!(faults.contains("is not a TOML file") && !faults.contains(secret), "{faults}");
    }
}

#[test]
fn a_name_that_is_too_long_for_a_file_is_refused() {
    let of = |letters: usize| format!("[features.raw]\n[models.{}]\nkind = \"average\"\n", "m".repeat(letters));
    let project = Project::new(&[("experiments/long.toml", &of(101)), ("experiments/short.toml", &of(100))]);
    assert!(
        project.faults("long").contains("use letters, digits, - and _ only, at most 100"),
        "{}",
        project.faults("long")
    );
    project.resolve("short").unwrap();
}

#[test]
fn a_preset_of_a_feature_sets_the_keys_that_are_not_written() {
    let text = "[features.mel]\npreset = \"torchaudio\"\nn_mels = 40\nhop_length = 100\n[features.old]\nkind = \"delta\"\n\
                of = { kind = \"mfcc\", preset = \"librosa-0.8\" }\n[models.average]\n";
    let project = Project::new(&[("experiments/x.toml", text)]);
    let resolved = project.resolve("x").unwrap();
    let features = &json(&resolved.experiment)["features"];
    let mel = &features["mel"];
    assert_eq!((&mel["n_fft"], &mel["hop_length"], &mel["htk"]), (&400.into(), &100.into(), &true.into()));
    assert_eq!((&mel["pad_mode"], &mel["db"]), (&"reflect".into(), &false.into()));
    assert_eq!(features["old"]["of"]["pad_mode"], "reflect");
    assert!(!resolved.resolved_toml.contains("preset = \"torchaudio\""));
    let fault = |text: &str| Project::new(&[("experiments/x.toml", text)]).faults("x");
    let wrong = fault("[features.mel]\npreset = \"torchaudo\"\n[models.average]\n");
    assert!(wrong.contains("x.toml:2:10: `preset`") && wrong.contains("did you mean `torchaudio`?"), "{wrong}");
    let none = fault("[features.zcr]\npreset = \"kaldi\"\n[models.average]\n");
    assert!(none.contains("`kaldi` has no defaults for the feature `zcr`"), "{none}");
}
