//! The published JSON schema equals the one of the program.

use crate::config_project::repository;
use timbre_experiment::schema;

#[test]
fn the_schema_in_docs_is_up_to_date() {
    let path = repository().join("docs/experiment.schema.json");
    let text = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    if std::env::var_os("TIMBRE_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap_or_default() == text,
        "docs/experiment.schema.json is stale: TIMBRE_BLESS=1 cargo test --release --test config_schema"
    );
}

#[test]
fn every_key_of_every_kind_has_a_description() {
    let schema = schema();
    let mut silent = Vec::new();
    for (spec, definition) in schema["$defs"].as_object().unwrap() {
        for (i, variant) in definition["oneOf"].as_array().into_iter().flatten().enumerate() {
            for (key, own) in variant["properties"].as_object().into_iter().flatten().filter(|(key, _)| *key != "kind")
            {
                if own.get("description").is_none() {
                    silent.push(format!("{spec}[{i}].{key}"));
                }
            }
        }
    }
    assert!(silent.is_empty(), "keys without a doc comment: {silent:?}");
}
