//! Parsing and error messages of `[grid]`.

use crate::config_project::Project;
use proptest::prelude::*;
use serde_json::{Value, json};
use timbre_experiment::{ExpandedGrid, expand_grid};

const BASE: &str = "[split]\nvalidation = 0.2\n[features.mel]\n[models.knn]\n[models.logistic]\n";

fn project(grid: &str) -> Project {
    Project::new(&[("experiments/x.toml", &format!("{BASE}{grid}"))])
}

fn expanded(grid: &str) -> ExpandedGrid {
    let project = project(grid);
    expand_grid(&project.request("x")).unwrap_or_else(|faults| panic!("{grid}\n{faults}"))
}

fn errors_of(grid: &str) -> String {
    let project = project(grid);
    expand_grid(&project.request("x")).expect_err("the grid is wrong").to_string()
}

/// The values of one axis over the points.
fn along(expanded: &ExpandedGrid, key: &str) -> Vec<Value> {
    expanded.points.iter().map(|point| point.values[key].clone()).collect()
}

#[test]
fn the_points_are_the_product_of_the_axes_and_the_last_axis_varies_fastest() {
    let grid = expanded(
        "[grid]\n\"models.knn.k\" = [1, 3]\n\"models.knn.metric\" = [\"cosine\", \"euclidean\", \"manhattan\"]\n",
    );
    assert_eq!(along(&grid, "models.knn.k"), [1, 1, 1, 3, 3, 3]);
    let words = ["cosine", "euclidean", "manhattan"];
    assert_eq!(along(&grid, "models.knn.metric"), [words, words].concat());
    let last = &grid.points[5].rounds[0];
    assert!(last.resolved_toml.contains("k = 3") && last.resolved_toml.contains("metric = \"manhattan\""));
    assert!(last.written.ends_with("# grid: models.knn.k=3 models.knn.metric=manhattan\n"), "{}", last.written);
    assert!(!last.resolved_toml.contains("[grid"), "a point is an experiment without a grid");
}

#[test]
fn an_experiment_without_axes_is_one_point() {
    for grid in ["", "[grid]\n"] {
        let one = expanded(grid);
        assert!(!one.is_grid() && one.points.len() == 1 && one.points[0].rounds.len() == 1);
    }
}

#[test]
fn keys_can_be_written_with_dots_or_as_tables() {
    let quoted =
        expanded("[grid]\n\"models.knn.k\" = [1, 3]\n\"features.mel.n_mels\" = { from = 16, to = 64, steps = 2 }\n");
    let dotted = expanded("[grid]\nmodels.knn.k = [1, 3]\nfeatures.mel.n_mels = { from = 16, to = 64, steps = 2 }\n");
    let tables =
        expanded("[grid.models]\nknn = { k = [1, 3] }\n[grid.features.mel.n_mels]\nfrom = 16\nto = 64\nsteps = 2\n");
    for other in [&dotted, &tables] {
        assert_eq!(other.axes, quoted.axes);
    }
}

#[test]
fn ranges_are_linear_or_logarithmic_and_whole_for_integer_keys() {
    let grid = expanded("[grid]\n\"models.logistic.c\" = { from = 0.001, to = 10, steps = 5, log = true }\n");
    assert_eq!(along(&grid, "models.logistic.c"), [0.001, 0.01, 0.1, 1.0, 10.0]);
    let grid = expanded("[grid]\n\"models.knn.k\" = { from = 1, to = 10, steps = 7, log = true }\n");
    // 1, 1.47, 2.15, 3.16, 4.64, 6.81, 10
    assert_eq!(along(&grid, "models.knn.k"), [1, 2, 3, 5, 7, 10]);
    let grid =
        expanded("[grid]\n\"evaluate.cutoff\" = { from = 0, to = 1, steps = 5 }\n[evaluate]\ntask = \"multi_label\"\n");
    assert_eq!(along(&grid, "evaluate.cutoff"), [0.0, 0.25, 0.5, 0.75, 1.0]);
}

#[test]
fn a_misspelt_axis_is_reported_with_its_position_and_a_suggestion() {
    let lines = BASE.lines().count();
    let errors = errors_of("[grid]\n\"models.knn.kk\" = [1]\n");
    assert!(errors.contains(&format!("x.toml:{}:13: unknown key `kk`", lines + 2)), "{errors}");
    assert!(errors.contains("did you mean `k`?"), "{errors}");
    let errors = errors_of("[grid]\n\"models.knnn.k\" = [1]\n\"feature.mel.n_mels\" = [32]\nsamples = 3\n");
    assert!(errors.contains(&format!("x.toml:{}:9: unknown model `knnn`", lines + 2)), "{errors}");
    assert!(errors.contains("did you mean `knn`?"), "{errors}");
    assert!(errors.contains("unknown key `feature`") && errors.contains("did you mean `features`?"), "{errors}");
    assert!(
        errors.contains("unknown key `samples`") && errors.contains("did you mean `sample` or `sampler`?"),
        "{errors}"
    );
}

#[test]
fn a_wrong_value_is_reported_at_its_position_in_the_list() {
    let line = BASE.lines().count() + 2;
    let errors = errors_of("[grid]\n\"models.knn.k\" = [1, 0, \"three\"]\n");
    assert!(
        errors.contains(&format!("x.toml:{line}:22: `k`: expected a whole number of at least 1, found 0")),
        "{errors}"
    );
    assert!(errors.contains(&format!("x.toml:{line}:25: `k`: expected a whole number")), "{errors}");
    let errors = errors_of("[grid]\n\"models.knn.metric\" = [\"cosin\"]\n");
    assert!(errors.contains("did you mean `cosine`?"), "{errors}");
}

#[test]
fn an_error_of_a_single_point_names_the_point() {
    let errors =
        errors_of("[grid]\n\"evaluate.mode\" = [\"centre\", \"windows\"]\n\"audio.clip_seconds\" = [1.0, 3.0]\n");
    // Windows of 3 s fit clips of 3 s alone.
    assert!(errors.contains("(with evaluate.mode=windows audio.clip_seconds=1.0)"), "{errors}");
    assert_eq!(errors.matches("of a window of 3 s").count(), 1, "{errors}");
}

#[test]
fn invalid_axes_are_refused_with_an_explanation() {
    assert!(errors_of("[grid]\nseeds = [1, 2]\n").contains("replicates"));
    assert!(errors_of("[grid]\ndescription = [\"a\", \"b\"]\n").contains("does not change results"));
    assert!(errors_of("[grid]\n\"models.knn.k\" = []\n").contains("has no values"));
    assert!(errors_of("[grid]\n\"models.knn.k\" = [1, 1]\n").contains("duplicate value"));
    assert!(errors_of("[grid]\n\"models.knn.k\" = 3\n").contains("expected a list of values"));
    assert!(errors_of("[grid]\n\"models.knn.k\" = { from = 1, to = 9 }\n").contains("without `steps`"));
    assert!(errors_of("[grid]\n\"models.knn.k\" = { from = 9, to = 1, steps = 3 }\n").contains("is empty"));
    assert!(errors_of("[grid]\n\"models.knn.k\" = { from = 1, to = 9, step = 3 }\n").contains("did you mean `steps`?"));
    assert!(errors_of("[grid]\nsample = 3\n").contains("has no axis"));
    assert!(errors_of("[grid]\nmodels.knn.k = [1]\n\"models.knn.k\" = [1]\n").contains("duplicate axis"));
    assert!(errors_of("[grid]\n\"models..k\" = [1]\n").contains("is not a key"));
    assert!(
        errors_of("grid = 3\n").contains("expected a table of axes") || errors_of("grid = 3\n").contains("unknown key")
    );
    let long: Vec<String> = (1..200).map(|n| n.to_string()).collect();
    let long = long.join(", ");
    let errors = errors_of(&format!("[grid]\n\"models.knn.k\" = [{long}]\n\"features.mel.n_mels\" = [{long}]\n"));
    assert!(errors.contains("the grid has 39601 points"), "{errors}");
}

#[test]
fn a_sample_has_no_repetitions_and_a_larger_one_starts_with_the_smaller() {
    let grid = |sample: usize, seed: u64| {
        expanded(&format!(
            "[grid]\nsample = {sample}\nsample_seed = {seed}\n\"models.knn.k\" = [1, 2, 3, 4, 5, 6, 7, 8]\n\
             \"models.logistic.c\" = {{ from = 0.001, to = 10, log = true }}\n\"features.mel.n_mels\" = [16, 32]\n"
        ))
    };
    let (few, many) = (grid(5, 1), grid(12, 1));
    let values = |grid: &ExpandedGrid| grid.points.iter().map(|point| json!(point.values)).collect::<Vec<_>>();
    assert_eq!(values(&few), values(&many)[..5]);
    assert_eq!(values(&many), values(&grid(12, 1)));
    assert_ne!(values(&many), values(&grid(12, 2)));
    assert!(along(&many, "models.logistic.c").iter().all(|c| (0.001..=10.0).contains(&c.as_f64().unwrap())));
    let all = expanded("[grid]\nsample = 100\n\"models.knn.k\" = [1, 2, 3]\n\"features.mel.n_mels\" = [16, 32]\n");
    let mut found = values(&all).iter().map(ToString::to_string).collect::<Vec<_>>();
    found.sort();
    found.dedup();
    assert_eq!((all.points.len(), found.len()), (6, 6), "all there are, each once");
}

#[test]
fn the_command_line_can_set_or_remove_an_axis() {
    let project = project("[grid]\n\"models.knn.k\" = [1, 3]\n\"features.mel.n_mels\" = [16, 32]\n");
    let with = |set: &[&str]| {
        let set = set.iter().map(|s| (*s).to_owned()).collect();
        expand_grid(&timbre_experiment::Request { set, ..project.request("x") }).unwrap()
    };
    let pinned = with(&["models.knn.k=7"]);
    assert_eq!(pinned.points.len(), 2);
    assert!(pinned.points.iter().all(|point| point.rounds[0].resolved_toml.contains("k = 7")));
    assert!(pinned.notes.iter().any(|note| note.contains("models.knn.k")), "{:?}", pinned.notes);
    assert_eq!(with(&["grid.\"models.knn.k\"=[1, 3, 5]"]).points.len(), 6);
    assert_eq!(with(&["grid.models.knn.k=[1, 3, 5]"]).points.len(), 6);
    assert_eq!(with(&["grid.sample=3"]).points.len(), 3);
}

#[test]
fn grids_are_inherited_key_by_key() {
    let project = project("[grid]\n\"models.knn.k\" = [1, 3]\n\"features.mel.n_mels\" = [16, 32]\n");
    project.write("experiments/y.toml", "extends = \"x\"\n[grid]\n\"models.knn.k\" = [9]\n");
    let grid = expand_grid(&project.request("y")).unwrap();
    assert_eq!(along(&grid, "models.knn.k"), [9, 9]);
}

#[test]
fn tables_kinds_and_list_items_can_be_values() {
    let grid = expanded("[grid]\n\"models.knn\" = [{ kind = \"average\" }, { k = 9 }]\n");
    let kinds: Vec<&str> = grid.points.iter().map(|p| p.rounds[0].experiment.models["knn"].kind()).collect();
    assert_eq!(kinds, ["average", "knn"]);
    let networks = "[audio]\nclip_seconds = 3.0\n[models.cnn_small]\n[[augment]]\nkind = \"noise\"\n";
    let grid = expanded(&format!("{networks}[grid]\n\"augment.noise.p\" = [0.25, 0.75]\n"));
    assert!(grid.points[1].rounds[0].resolved_toml.contains("p = 0.75"));
    let errors = errors_of(&format!("{networks}[grid]\n\"augment.noize.p\" = [0.25]\n"));
    assert!(errors.contains("did you mean `noise`?"), "{errors}");
}

#[test]
fn halving_has_one_round_per_budget_and_never_selects_on_the_test_split() {
    let network = "[audio]\nclip_seconds = 3.0\n[models.cnn_small]\n";
    let halving = "halving = { key = \"models.cnn_small.epochs\", from = 1, to = 9, eta = 3 }\n";
    let grid = expanded(&format!("{network}[grid]\n{halving}\"models.cnn_small.learning_rate\" = [0.1, 0.01]\n"));
    assert_eq!(grid.points[0].rounds.len(), 3);
    let epochs = |round: usize| {
        grid.points[1].rounds[round].experiment.models["cnn_small"].as_network().unwrap().training().epochs
    };
    assert_eq!([0, 1, 2].map(epochs), [1, 3, 9]);
    let none = Project::new(&[(
        "experiments/x.toml",
        &format!("[features.mel]\n{network}[grid]\n{halving}\"models.cnn_small.learning_rate\" = [0.1, 0.01]\n"),
    )]);
    let errors = expand_grid(&none.request("x")).unwrap_err().to_string();
    assert!(errors.contains("needs a validation split"), "{errors}");
    let errors = errors_of(&format!("{network}[grid]\n{halving}\"models.cnn_small.epochs\" = [1, 2]\n"));
    assert!(errors.contains("and an axis"), "{errors}");
    let errors = errors_of(&format!(
        "{network}[grid]\nhalving = {{ key = \"models.cnn_smal.epochs\", from = 1, to = 9 }}\n\"models.knn.k\" = [1]\n"
    ));
    assert!(errors.contains("unknown model `cnn_smal`"), "{errors}");
}

#[test]
fn a_wrong_option_causes_exactly_one_error() {
    let grid =
        |options: &str| errors_of(&format!("[grid]\n{options}\n\"models.logistic.c\" = {{ from = 0.1, to = 10 }}\n"));
    let errors = grid("sample = 0");
    assert!(errors.contains("`sample`") && errors.ends_with("\n1 error"), "{errors}");
    let errors = grid("sample = 4\nhalving = { key = \"models.knn.k\", from = 1, to = 9, eta = 1 }");
    assert!(errors.contains("`eta`") && errors.ends_with("\n1 error"), "{errors}");
    let errors = errors_of(
        "[audio]\nclip_seconds = 3.0\n[models.cnn_small]\n[grid]\n\"models.logistic.c\" = [0.1, 1.0]\n\
         halving = { key = \"models.cnn_small.epochs\", from = 1, to = 1000000000 }\n",
    );
    assert!(errors.contains("`epochs`") && errors.ends_with("\n1 error"), "{errors}");
}

#[test]
fn a_search_has_candidates_and_needs_a_sample_and_a_validation_split() {
    let grid = |options: &str| format!("[grid]\nsampler = \"tpe\"\n{options}\n\"models.knn.k\" = \"1..400/1\"\n");
    let expanded = expanded(&grid("sample = 12"));
    assert_eq!((expanded.points.len(), expanded.first_points().len()), (400, 10));
    assert!(errors_of(&grid("")).contains("needs `sample`"));
    let halving = "sample = 3\nhalving = { key = \"models.logistic.max_iterations\", from = 1, to = 9 }";
    assert!(errors_of(&grid(halving)).contains("do not go together"));
    assert!(errors_of("[grid]\nbatch = 2\n\"models.knn.k\" = [1, 2]\n").contains("needs `sampler"));
    let none =
        Project::new(&[("experiments/x.toml", &format!("[features.mel]\n[models.knn]\n{}", grid("sample = 3")))]);
    let errors = expand_grid(&none.request("x")).unwrap_err().to_string();
    assert!(errors.contains("needs a validation split"), "{errors}");
}

#[test]
fn the_command_line_cannot_set_the_budget_of_a_halving() {
    let project =
        project("[grid]\nhalving = { key = \"models.knn.k\", from = 1, to = 9 }\n\"models.logistic.c\" = [0.1, 1.0]\n");
    let with =
        |set: &str| expand_grid(&timbre_experiment::Request { set: vec![set.to_owned()], ..project.request("x") });
    let errors = with("models.knn.k=3").expect_err("it has no effect").to_string();
    assert!(
        errors.contains("--set models.knn.k=3") && errors.contains("the budget of the halving, from 1 to 9"),
        "{errors}"
    );
    assert_eq!(with("grid.halving.to=3").unwrap().points[0].rounds.len(), 2);
}

#[test]
fn ranges_accept_the_syntax_of_the_threshold_search() {
    let grid = expanded("[grid]\n\"models.knn.k\" = \"1..10/3\"\n");
    // Whole numbers stay whole: 4, not 4.0.
    assert_eq!(along(&grid, "models.knn.k"), [1, 4, 7, 10]);
    let grid = expanded("[grid]\n\"models.logistic.c\" = \"0.50..0.56/0.02\"\n");
    assert_eq!(along(&grid, "models.logistic.c"), [0.5, 0.52, 0.54, 0.56]);
    assert!(errors_of("[grid]\n\"models.knn.k\" = \"1..3/0.5\"\n").contains("expected whole numbers, found 1.5"));
    assert!(errors_of("[grid]\n\"models.knn.k\" = \"1..9\"\n").contains("expected \"FROM..TO/STEP\""));
    assert!(errors_of("[grid]\n\"models.knn.metric\" = \"cosine\"\n").contains("expected a list of values or a range"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_grid_makes_the_parser_panic(key in "[a-z._\"]{0,12}", value in prop_oneof![
        Just("[1]".to_owned()), Just("[]".to_owned()), Just("{ from = 1 }".to_owned()), Just("{ from = 1, to = 2, steps = 0 }".to_owned()),
        Just("3".to_owned()), Just("{ a = { b = [1] } }".to_owned()), Just("[[1], {}]".to_owned()),
    ]) {
        let project = project(&format!("[grid]\n'{key}' = {value}\n"));
        if let Err(faults) = expand_grid(&project.request("x")) {
            prop_assert!(!faults.is_empty());
        }
    }
}

#[test]
fn a_removed_table_takes_its_axes_along() {
    for knn in ["\"models.knn.k\" = [1, 3]\n", "models.knn = { k = [1, 3] }\n"] {
        let parent = format!("{BASE}[grid]\n{knn}\"features.mel.n_mels\" = [16, 32]\n");
        let child = "extends = \"parent\"\n[models]\nknn = false\n";
        let project = Project::new(&[("experiments/parent.toml", &parent), ("experiments/child.toml", child)]);
        let grid = expand_grid(&project.request("child")).unwrap();
        assert_eq!(grid.axes.iter().map(|axis| axis.key.as_str()).collect::<Vec<_>>(), ["features.mel.n_mels"]);
        assert!(
            grid.notes[0].starts_with("models.knn is removed, and with it the axis models.knn"),
            "{:?}",
            grid.notes
        );
        assert!(grid.points.iter().all(|point| point.rounds[0].experiment.models.keys().eq(["logistic"])));
        let set = vec!["models.knn=false".to_owned()];
        let grid = expand_grid(&timbre_experiment::Request { set, ..project.request("parent") }).unwrap();
        assert_eq!((grid.points.len(), grid.axes.len()), (2, 1));
    }
}

#[test]
fn an_axis_can_leave_a_table_out() {
    let grid = expanded("[grid]\n\"models.logistic\" = [false, { kind = \"logistic\" }]\n");
    let models: Vec<usize> = grid.points.iter().map(|point| point.rounds[0].experiment.models.len()).collect();
    assert_eq!(models, [1, 2]);
    let errors = errors_of("[grid]\n\"models.logistik\" = [false]\n");
    assert!(
        errors.contains("no `models.logistik` to remove") && errors.contains("did you mean `logistic`?"),
        "{errors}"
    );
}

#[test]
fn a_network_whose_epoch_is_chosen_by_decisions_is_fitted_again_for_other_decisions_and_a_note_says_so() {
    let notes = |monitor: &str, grid: &str, set: &[&str]| {
        let text = format!(
            "[data]\nuse = \"demo\"\n[audio]\nclip_seconds = 3.0\n[split]\nkind = \"official\"\nvalidation = 0.1\n[features.mel]\n\
             [models.cnn_small]\nmonitor = \"{monitor}\"\n[evaluate]\ntask = \"multi_label\"\n{grid}"
        );
        let project = Project::new(&[("experiments/x.toml", &text)]);
        let set = set.iter().map(|s| (*s).to_owned()).collect();
        expand_grid(&timbre_experiment::Request { set, ..project.request("x") }).unwrap().notes.join("\n")
    };
    let axis = "[grid]\n\"evaluate.cutoff\" = [0.3, 0.5]\n";
    let again = "`models.cnn_small`, which is fitted again: `monitor = \"f1_micro\"`";
    assert!(notes("f1_micro", axis, &[]).contains(again));
    assert!(notes("f1_micro", "", &["evaluate.cutoff=0.4"]).contains(again));
    assert_eq!(notes("f1_micro", "[grid]\n\"evaluate.bootstrap\" = [10, 20]\n", &[]), "");
    for monitor in ["loss", "roc_auc_samples"] {
        assert_eq!(notes(monitor, axis, &["evaluate.at_most=2"]), "", "{monitor}");
    }
}
