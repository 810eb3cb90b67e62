//! The JSON schema of an experiment, generated from the types, for the checker and for editors.

use std::sync::LazyLock;

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use crate::Experiment;
use crate::grid_spec::GridSpec;
use crate::read::merge::kinds_by_name;
use crate::read::presets::{PRESET, PRESETS};
use crate::read::tree::{Node, kind_of};
use timbre_core::range::RangeSpec;
use timbre_models::SEARCHABLE;

/// The schema of the merged file: every table of a kind has the key `kind`.
pub fn strict() -> &'static Value {
    static STRICT: LazyLock<Value> = LazyLock::new(|| {
        let mut schema = schemars::schema_for!(Experiment).to_value();
        schema["properties"]["extends"] = json!({
            "description": "One parent, by its path from this file or its bare name in `experiments`: tables merge key by key, arrays replace.",
            "type": "string", "minLength": 1
        });
        schema["properties"]["grid"] = define(&mut schema, schemars::schema_for!(GridSpec).to_value());
        schema["$defs"]["GridRange"] = define(&mut schema, schemars::schema_for!(RangeSpec).to_value());
        schema["properties"]["grid"]["additionalProperties"] = json!({
            "description": "An axis: any key of the file, such as \"models.knn.k\", with its values or a range, also as \"FROM..TO/STEP\".",
            "anyOf": [
                { "type": "array", "minItems": 1 }, { "$ref": "#/$defs/GridRange" }, { "type": "object" },
                { "type": "string", "pattern": r"^[^/]*\.\.[^/]*/[^/]*$" }
            ]
        });
        // Every kind of data set can be given by name.
        for variant in schema["$defs"]["DataSpec"]["oneOf"].as_array_mut().into_iter().flatten() {
            let properties = variant["properties"].as_object_mut().expect("a kind has keys");
            properties.entry("use").or_insert_with(|| {
                json!({ "description": "A data set by name: `data/NAME.toml`, whose keys can be overridden here.", "type": "string" })
            });
        }
        // Replaced by the keys that it stands for before anything is checked.
        for variant in schema["$defs"]["FeatureSpec"]["oneOf"].as_array_mut().into_iter().flatten() {
            variant["properties"][PRESET] = json!({
                "description": "The defaults of another program, or of another version of librosa, for the keys that are not set. Default: none.",
                "type": "string", "enum": PRESETS
            });
        }
        schema
    });
    &STRICT
}

/// Embeds a schema into another; its definitions move there.
fn define(schema: &mut Value, mut own: Value) -> Value {
    let object = own.as_object_mut().expect("a struct is an object");
    ["$schema", "title"].iter().for_each(|key| drop(object.remove(*key)));
    if let Some(Value::Object(definitions)) = object.remove("$defs") {
        definitions.into_iter().for_each(|(name, definition)| schema["$defs"][name] = definition);
    }
    own
}

/// The schema of the keys of `[grid]` that are not axes.
pub fn grid_options() -> &'static Value {
    static OPTIONS: LazyLock<Value> = LazyLock::new(|| {
        let mut grid = strict()["properties"]["grid"].clone();
        grid["additionalProperties"] = false.into();
        grid
    });
    &OPTIONS
}

/// The schema of a range in a grid.
pub fn range() -> &'static Value {
    &strict()["$defs"]["GridRange"]
}

/// The schema of the key at `path`, with the kinds of the tables in `tree`; `None` for an unknown key.
pub fn property(tree: &Node, path: &[&str]) -> Option<&'static Value> {
    let (mut schema, mut node) = (strict(), Some(tree));
    for part in path {
        schema = property_of(schema, node, part)?;
        node = node.and_then(Node::table).and_then(|table| table.get(*part)).map(|entry| &entry.node);
    }
    Some(resolve(strict(), schema))
}

fn property_of(schema: &'static Value, node: Option<&Node>, part: &str) -> Option<&'static Value> {
    let schema = resolve(strict(), schema);
    if let Some(kinds) = kinds(schema) {
        let kind = node.and_then(Node::table).and_then(kind_of)?;
        let own = kinds.into_iter().find(|(name, _)| *name == kind)?.1;
        return properties(strict(), own).get(part).copied();
    }
    let own = properties(strict(), schema).get(part).copied();
    let own = own.or(schema.get("additionalProperties").filter(|others| others.is_object()));
    let branches = schema.get("anyOf").and_then(Value::as_array);
    own.or_else(|| branches.into_iter().flatten().find_map(|branch| property_of(branch, node, part)))
}

/// Whether the schema accepts only whole numbers.
pub fn takes_whole_numbers(schema: &Value) -> bool {
    let types = |word: &str| match schema.get("type") {
        Some(Value::String(one)) => one == word,
        Some(Value::Array(many)) => many.iter().any(|one| one == word),
        _ => false,
    };
    types("integer") && !types("number")
}

/// A key that a search may choose has one value, or a list or a range of them.
fn several(own: &mut Value) {
    if own.as_object_mut().is_none_or(|own| own.remove(SEARCHABLE).is_none()) {
        return;
    }
    let description = own.as_object_mut().and_then(|own| own.remove("description"));
    let is_number = |schema: &Value| {
        let kind = &schema["type"];
        ["integer", "number"]
            .iter()
            .any(|word| kind == word || kind.as_array().is_some_and(|kinds| kinds.contains(&json!(word))))
    };
    let mut branches = vec![own.clone(), json!({ "type": "array", "minItems": 1, "items": own.clone() })];
    if is_number(own) || own["anyOf"].as_array().is_some_and(|branches| branches.iter().any(is_number)) {
        branches.push(reference("GridRange"));
    }
    *own = json!({ "anyOf": branches });
    if let Some(description) = description {
        own["description"] = description;
    }
}

/// The sections whose tables have kinds, with the name of the enum and of each kind's definition.
const SECTIONS: [(&str, &str, &str); 4] = [
    ("features", "FeatureSpec", "feature"),
    ("models", "ModelSpec", "model"),
    ("data", "DataSpec", "data"),
    ("split", "SplitSpec", "split"),
];

/// The schema of a file before merging, for editors: a table may omit the `kind` that its name, its parent or its data set
/// implies, and no key is required. Misspelt keys stay errors. Each kind is defined once.
pub fn written() -> Value {
    let mut schema = strict().clone();
    for variant in schema["$defs"]["ModelSpec"]["oneOf"].as_array_mut().into_iter().flatten() {
        variant["properties"].as_object_mut().into_iter().flat_map(Map::values_mut).for_each(several);
    }
    schema["title"] = "A Timbre experiment".into();
    schema.as_object_mut().expect("a struct is an object").remove("required");
    for (_, spec, prefix) in SECTIONS {
        define_kinds(&mut schema["$defs"], spec, prefix);
    }
    for (section, _, prefix) in &SECTIONS[..2] {
        let any = with_removal(any_kind(&schema, prefix));
        let by_name = kinds_by_name(section).iter().map(|kind| {
            let of_name = reference(&format!("{prefix}.{kind}"));
            ((*kind).to_owned(), json!({ "anyOf": [of_name, reference(&format!("any_{prefix}"))] }))
        });
        let table = &mut schema["properties"][*section];
        table["properties"] = Value::Object(by_name.collect());
        table["additionalProperties"] = reference(&format!("any_{prefix}"));
        schema["$defs"][format!("any_{prefix}")] = any;
    }
    let mut list = schema["properties"]["augment"].clone();
    let description = list.as_object_mut().and_then(|list| list.remove("description"));
    schema["properties"]["augment"] = json!({
        "description": description,
        "anyOf": [list, { "type": "object", "additionalProperties": removal() }]
    });
    for (section, _, prefix) in &SECTIONS[2..] {
        schema["$defs"][format!("any_{prefix}")] = any_kind(&schema, prefix);
        let table = schema["properties"][*section].as_object_mut().expect("a section has a schema");
        table.remove("$ref");
        table.remove("default");
        table.insert("anyOf".into(), json!([reference(&format!("any_{prefix}"))]));
    }
    // A set among several may have the kind of its file, too.
    let set = reference("any_data");
    let forms = schema["properties"]["data"]["anyOf"].as_array_mut().expect("just written");
    forms.push(json!({ "type": "array", "minItems": 2, "items": set }));
    for definition in schema["$defs"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        if let Some(sets) = definition.pointer_mut("/properties/sets/items") {
            *sets = set.clone();
        }
    }
    schema
}

/// Moves every kind of an enum into a definition of its own, where `kind` may be left out; the enum refers to it and requires it.
fn define_kinds(definitions: &mut Value, spec: &str, prefix: &str) {
    let variants = definitions[spec]["oneOf"].as_array_mut().expect("a spec has kinds");
    let mut own = Vec::new();
    for variant in variants {
        let name = format!("{prefix}.{}", variant["properties"]["kind"]["const"].as_str().expect("a kind has a name"));
        let required = json!({ "$ref": format!("#/$defs/{name}"), "required": ["kind"] });
        let mut kind = std::mem::replace(variant, required);
        kind.as_object_mut().expect("a kind is an object").remove("required");
        own.push((name, kind));
    }
    own.into_iter().for_each(|(name, kind)| definitions[name] = kind);
}

/// A table of any kind, whose kind may come from its parent, its data set or the default.
fn any_kind(schema: &Value, prefix: &str) -> Value {
    let definitions = schema["$defs"].as_object().expect("there are definitions");
    let kinds = definitions.keys().filter(|name| name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.')));
    json!({ "anyOf": kinds.map(|name| reference(name)).collect::<Vec<Value>>() })
}

fn with_removal(mut schema: Value) -> Value {
    schema["anyOf"].as_array_mut().expect("a list of forms").push(removal());
    schema
}

/// `NAME = false`
fn removal() -> Value {
    json!({ "description": "Removes the table of this name that a parent defines.", "const": false })
}

/// Follows `$ref` to the definition.
pub fn resolve<'a>(root: &'a Value, mut schema: &'a Value) -> &'a Value {
    while let Some(pointer) = schema.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix('#')) {
        match root.pointer(pointer) {
            Some(target) => schema = target,
            None => break,
        }
    }
    schema
}

/// The keys of a table, then those of the schemas that it includes (`allOf`).
pub fn properties<'a>(root: &'a Value, schema: &'a Value) -> IndexMap<&'a str, &'a Value> {
    let included = schema.get("allOf").and_then(Value::as_array).into_iter().flatten();
    let mut keys = IndexMap::new();
    for part in std::iter::once(schema).chain(included.map(|part| resolve(root, part))) {
        for (key, own) in part.get("properties").and_then(Value::as_object).into_iter().flatten() {
            keys.entry(key.as_str()).or_insert(own);
        }
    }
    keys
}

/// The kinds of a tagged enum, each with its schema; `None` for other schemas.
pub fn kinds(schema: &Value) -> Option<Vec<(&str, &Value)>> {
    let variants = schema.get("oneOf")?.as_array()?;
    variants.iter().map(|variant| Some((variant.pointer("/properties/kind/const")?.as_str()?, variant))).collect()
}

fn reference(spec: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{spec}") })
}

/// The keys of a kind of data set.
pub fn data_keys(kind: &str) -> Vec<&'static str> {
    let kinds = kinds(&strict()["$defs"]["DataSpec"]).unwrap_or_default();
    let found = kinds.into_iter().find(|(name, _)| *name == kind);
    found
        .and_then(|(_, variant)| variant["properties"].as_object())
        .into_iter()
        .flatten()
        .map(|(key, _)| key.as_str())
        .collect()
}
