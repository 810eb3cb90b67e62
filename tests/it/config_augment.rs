//! Parsing and error messages of `[[augment]]`.

use crate::config_project::Project;

const BASE: &str = r#"
[audio]
clip_seconds = 3.0
[features.mel]
[models.cnn_small]
"#;

fn errors_of(augment: &str) -> String {
    Project::new(&[("experiments/e.toml", &format!("{BASE}{augment}"))]).faults("e")
}

#[test]
fn misspelt_kinds_and_keys_get_a_suggestion() {
    let text = errors_of("[[augment]]\nkind = \"gian\"\n[[augment]]\nkind = \"translate\"\nshar = 0.5\n");
    assert!(text.contains("unknown kind `gian`") && text.contains("did you mean `gain`?"), "{text}");
    assert!(text.contains("unknown key `shar`") && text.contains("did you mean `share`?"), "{text}");
    let inner =
        errors_of("[[augment]]\nkind = \"one_of\"\nof = [{ kind = \"gain\", bd = 1 }, { kind = \"gain\", p = 2 }]\n");
    assert!(
        inner.contains("unknown key `bd`") && inner.contains("`p`: expected a number from 0 to 1, found 2"),
        "{inner}"
    );
}

#[test]
fn invalid_ranges_are_reported_at_their_position() {
    let text = errors_of("[[augment]]\nkind = \"gain\"\ndb = [3, -3]\n[[augment]]\nkind = \"one_of\"\n");
    assert!(text.contains("`db`: the range goes from 3 down to -3") && text.contains("db = [3, -3]"), "{text}");
    assert!(text.contains("there is nothing to choose from"), "{text}");
    assert!(errors_of("[[augment]]\nkind = \"gain\"\ndb = \"loud\"\n").contains("`db`: expected a number"));
}

#[test]
fn an_augmentation_that_happens_in_no_epoch_is_an_error() {
    let faults = |keys: &str| errors_of(&format!("epochs = 5\n[[augment]]\nkind = \"gain\"\n{keys}\n"));
    assert!(faults("from_epoch = 6").contains("no network trains for so long: the longest has 5 epochs"));
    assert!(faults("from_epoch = 3\nuntil_epoch = 2").contains("it ends before epoch 3, in which it begins"));
    assert!(faults("until_epoch = 0").contains("`until_epoch`"));
    assert!(faults("from_epoch = 2\ncopies = 2").contains("copies are the same in all epochs"));
}

#[test]
fn duplicate_and_unknown_names_are_reported() {
    let text = errors_of(
        "augment = [\"nose\"]\n[[augment]]\nkind = \"gain\"\nname = \"noise\"\n[[augment]]\nkind = \"gain\"\nname = \"noise\"\n",
    );
    assert!(text.contains("duplicate augmentation name `noise`"), "{text}");
    assert!(text.contains("unknown augmentation `nose`") && text.contains("did you mean `noise`?"), "{text}");
    let same_kind = errors_of("[[augment]]\nkind = \"gain\"\n[[augment]]\nkind = \"gain\"\n");
    assert!(same_kind.contains("duplicate augmentation name `gain`") && same_kind.contains("`name = "), "{same_kind}");
    let none = errors_of("augment = [\"gain\"]\n");
    assert!(none.contains("unknown augmentation `gain`") && none.contains("no [[augment]]"), "{none}");
}

#[test]
fn augmentations_without_a_network_are_reported() {
    let project = Project::new(&[(
        "experiments/e.toml",
        &format!("{}[[augment]]\nkind = \"gain\"\n", BASE.replace("cnn_small", "knn")),
    )]);
    assert!(project.faults("e").contains("no model uses these augmentations"));
    let unbounded = Project::new(&[(
        "experiments/e.toml",
        &format!("{}[[augment]]\nkind = \"gain\"\n", BASE.replace("clip_seconds = 3.0", "")),
    )]);
    assert!(unbounded.faults("e").contains("augmentations need a fixed clip length"));
}

#[test]
fn resolved_augmentations_parse_back_to_the_same_value() {
    let all = r#"augment = []
[models.other]
kind = "cnn_small"
augment = ["quiet", "one_of"]
[[augment]]
kind = "gain"
name = "quiet"
db = { any = [-3.0, -6.0] }
[[augment]]
kind = "one_of"
p = 0.5
of = [{ kind = "time_mask", width = [0, 48] }, { kind = "mix", snr_db = { log = [1.0, 10.0] } }]
weights = [2, 1]
"#;
    let project = Project::new(&[("experiments/e.toml", &format!("{BASE}{all}"))]);
    let resolved = project.resolve("e").unwrap();
    assert_eq!(resolved.experiment.augment.len(), 2);
    project.write("experiments/again.toml", &resolved.resolved_toml);
    let again = project.resolve("again").unwrap();
    assert_eq!(again.experiment.augment, resolved.experiment.augment);
    assert_eq!(again.experiment.canonical_json(), resolved.experiment.canonical_json());
    // An experiment without any is what it always was.
    let plain = Project::new(&[("experiments/e.toml", BASE)]).resolve("e").unwrap();
    assert!(!plain.experiment.canonical_json().contains("augment"));
    assert_ne!(plain.experiment.canonical_json(), resolved.experiment.canonical_json());
}

#[test]
fn copies_that_cannot_be_made_are_reported() {
    let text =
        errors_of("[[augment]]\nkind = \"gain\"\np = 0.5\ncopies = 2\n[[augment]]\nkind = \"time_mask\"\ncopies = 1\n");
    assert!(
        text.contains("`p`: a copy is always made") && text.contains("needs other recordings or the image"),
        "{text}"
    );
    let mixed =
        errors_of("[[augment]]\nkind = \"one_of\"\ncopies = 1\nof = [{ kind = \"gain\" }, { kind = \"mix\" }]\n");
    assert!(mixed.contains("needs other recordings or the image"), "{mixed}");
    assert!(errors_of("[[augment]]\nkind = \"gain\"\ncopies = 101\n").contains("copies"));
    let imported = errors_of(
        "[features.table]\nkind = \"imported\"\npath = \"t.csv\"\n[[augment]]\nkind = \"gain\"\ncopies = 1\n",
    );
    assert!(imported.contains("an imported feature has no rows for the copies"), "{imported}");
}

#[test]
fn copies_serve_models_that_are_no_networks() {
    let classic = format!("{}[[augment]]\nkind = \"gain\"\ncopies = 1\n", BASE.replace("cnn_small", "knn"));
    let project = Project::new(&[("experiments/e.toml", &classic)]);
    project.resolve("e").unwrap();
}
