//! Properties of the parser: a misspelt key gets a suggestion, and no input causes a panic.

use crate::config_project::Project;
use proptest::prelude::*;
use serde_json::Value;
use timbre_experiment::schema;

/// Every key of every kind of feature and model, with the table to put it into.
fn known_keys() -> Vec<(String, String, Vec<String>)> {
    let schema = schema();
    let mut keys = Vec::new();
    let definitions = schema["$defs"].as_object().unwrap();
    for (prefix, table) in [("feature.", "features.x"), ("model.", "models.x"), ("data.", "data")] {
        for (kind, variant) in definitions.iter().filter_map(|(name, own)| Some((name.strip_prefix(prefix)?, own))) {
            let shared = variant.get("allOf").map(|_| &schema["$defs"]["Training"]["properties"]);
            let own: Vec<String> = std::iter::once(&variant["properties"])
                .chain(shared)
                .flat_map(|keys| keys.as_object().unwrap().keys().cloned())
                .collect();
            for key in own.iter().filter(|key| *key != "kind") {
                keys.push((format!("[{table}]\nkind = \"{kind}\"\n"), key.clone(), own.clone()));
            }
        }
    }
    for (table, properties) in [
        ("", &schema["properties"]),
        ("[audio]\n", &schema["$defs"]["AudioSpec"]["properties"]),
        ("[evaluate]\n", &schema["$defs"]["EvaluateSpec"]["properties"]),
    ] {
        let own: Vec<String> = properties.as_object().map(|own| own.keys().cloned().collect()).unwrap_or_default();
        assert!(!own.is_empty(), "{table} has keys");
        keys.extend(own.iter().map(|key| (table.to_owned(), key.clone(), own.clone())));
    }
    keys
}

/// One letter left out, put in, changed, or swapped with the next.
fn slip(key: &str, how: u8, at: usize, letter: char) -> String {
    let mut letters: Vec<char> = key.chars().collect();
    let at = at % letters.len();
    match how % 4 {
        0 => drop(letters.remove(at)),
        1 => letters.insert(at, letter),
        2 => letters[at] = letter,
        _ if at + 1 < letters.len() => letters.swap(at, at + 1),
        _ => letters.push(letter),
    }
    letters.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_edit_in_a_known_key_suggests_that_key(which: prop::sample::Index, how: u8, at: usize, letter in "[a-z_]") {
        let keys = known_keys();
        let (table, key, others) = which.get(&keys);
        let wrong = slip(key, how, at, letter.chars().next().unwrap());
        prop_assume!(!others.contains(&wrong));
        let project = Project::new(&[("experiments/x.toml", &format!("{table}\"{wrong}\" = 1\n"))]);
        let faults = project.faults("x");
        let told = faults.split(&format!("unknown key `{wrong}`\n")).nth(1).unwrap_or("").lines().nth(1).unwrap_or("");
        let suggested = told.split('?').next().unwrap_or("");
        prop_assert!(suggested.contains("did you mean") && suggested.contains(&format!("`{key}`")), "{} -> {}", wrong, faults);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,200}", set in ".{0,40}") {
        let project = Project::new(&[("experiments/x.toml", &text)]);
        if let Err(faults) = project.resolve_with("x", Some("demo"), &[&set]) {
            prop_assert!(!faults.is_empty() && !faults.to_string().is_empty());
        }
    }

    #[test]
    fn no_value_makes_the_parser_panic(which: prop::sample::Index, value in value(), other in value()) {
        let keys = known_keys();
        let (table, key, _) = which.get(&keys);
        let text = format!("{table}{key} = {value}\n");
        let project = Project::new(&[("experiments/x.toml", &text)]);
        let set = format!("{key}.models.a.'{key}'={other}");
        if let Err(faults) = project.resolve_with("x", None, &[&set, &format!("models={other}")]) {
            prop_assert!(!faults.is_empty() && !faults.to_string().is_empty());
        }
    }
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f32>().prop_map(|n| format!("{n:e}").to_lowercase()),
        Just("1979-05-27T07:32:00Z".to_owned()),
        Just("07:32:00".to_owned()),
        Just("-inf".to_owned()),
        Just("99999999999999999999".to_owned()),
        Just("true".to_owned()),
        "[a-z/. ]{0,9}".prop_map(|text| format!("{text:?}")),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|items| format!("[{}]", items.join(", "))),
            ("[a-z]{1,5}", inner).prop_map(|(key, item)| format!("{{ {key} = {item} }}")),
        ]
    })
}

#[test]
fn the_schema_lists_all_kinds() {
    let named = |spec: &str| schema()["$defs"][spec]["oneOf"].as_array().map_or(0, Vec::len);
    assert_eq!(named("FeatureSpec"), timbre_inputs::features::FeatureSpec::KINDS.len());
    assert_eq!(named("ModelSpec"), timbre_models::ModelSpec::KINDS.len());
    assert!(matches!(schema()["additionalProperties"], Value::Bool(false)));
}
