//! The published JSON schema and the reference pages of the configuration equal those of the program.

use crate::config_project::repository;
use serde_json::Value;
use timbre_experiment::{
    reference::{augmentation_kinds_page, configuration_page, data_kinds_page, feature_kinds_page, model_kinds_page},
    schema,
};
use timbre_inputs::{
    augment::AugmentSpec,
    data::{DataSpec, split::SplitSpec},
    features::FeatureSpec,
};
use timbre_models::ModelSpec;

#[test]
fn the_schema_in_docs_is_up_to_date() {
    is_up_to_date("docs/experiment.schema.json", &(serde_json::to_string_pretty(&schema()).unwrap() + "\n"));
}

#[test]
fn the_pages_of_kinds_are_up_to_date_and_have_every_kind() {
    for (name, page, kinds) in [
        ("data", data_kinds_page(), DataSpec::KINDS),
        ("feature", feature_kinds_page(), FeatureSpec::KINDS),
        ("augmentation", augmentation_kinds_page(), AugmentSpec::KINDS),
        ("model", model_kinds_page(), ModelSpec::KINDS),
    ] {
        is_up_to_date(&format!("docs/{name}-kinds.md"), &page);
        for kind in kinds {
            assert!(page.contains(&format!("\n## `{kind}`\n")), "{kind}");
        }
    }
}

#[test]
fn the_page_of_the_configuration_is_up_to_date_and_has_every_key() {
    let page = configuration_page();
    is_up_to_date("docs/configuration.md", &page);
    for section in schema()["properties"].as_object().unwrap().keys() {
        assert!(
            [format!("| `{section}` |"), format!("`[{section}"), format!("`[[{section}")]
                .iter()
                .any(|place| page.contains(place)),
            "{section}"
        );
    }
}

/// Compares a generated file with the repository, or writes it under TIMBRE_BLESS.
fn is_up_to_date(name: &str, text: &str) {
    let path = repository().join(name);
    if std::env::var_os("TIMBRE_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap_or_default() == text,
        "{name} is stale: TIMBRE_BLESS=1 cargo nextest run --release -E 'test(config_schema)'"
    );
}

#[test]
fn every_key_of_every_kind_has_a_description() {
    let schema = schema();
    let mut silent = Vec::new();
    let (mut kinds, mut keys) = (0, 0);
    let mut check = |name: &str, table: &Value| {
        for (key, own) in table["properties"].as_object().into_iter().flatten().filter(|(key, _)| *key != "kind") {
            keys += 1;
            if own.get("description").is_none() {
                silent.push(format!("{name}.{key}"));
            }
        }
    };
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        if definition["properties"].get("kind").is_some() {
            kinds += 1;
            check(name, definition);
            for included in definition["allOf"].as_array().into_iter().flatten() {
                let pointer = included["$ref"].as_str().and_then(|path| path.strip_prefix('#'));
                check(name, pointer.map_or(included, |pointer| schema.pointer(pointer).expect("a definition")));
            }
        }
        for variant in definition["oneOf"].as_array().into_iter().flatten() {
            check(name, variant);
        }
    }
    let all = FeatureSpec::KINDS.len() + ModelSpec::KINDS.len() + DataSpec::KINDS.len() + SplitSpec::KINDS.len();
    assert!(kinds == all && keys > all, "{kinds} of {all} kinds");
    assert!(silent.is_empty(), "keys without a doc comment: {silent:?}");
}
