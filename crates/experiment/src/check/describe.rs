//! Describes schemas and values in messages: "a whole number from 1 to 4096", `the text "x"`.

use serde_json::Value as Schema;

use crate::check::schema::{kinds, resolve};
use crate::read::tree::Value;

/// Describes what a schema expects.
pub fn describe(root: &Schema, schema: &Schema) -> String {
    let schema = resolve(root, schema);
    if kinds(schema).is_some() {
        return "a table with a `kind`".into();
    }
    if let Some(branches) = schema.get("anyOf").or(schema.get("oneOf")).and_then(Schema::as_array) {
        let words: Vec<String> = branches
            .iter()
            .filter(|branch| branch.get("type").and_then(Schema::as_str) != Some("null"))
            .map(|branch| describe(root, branch))
            .collect();
        return words.join(" or ");
    }
    if let Some(words) = schema.get("enum").and_then(Schema::as_array) {
        let words: Vec<String> = words.iter().filter_map(Schema::as_str).map(|word| format!("\"{word}\"")).collect();
        return words.join(" or ");
    }
    if let Some(word) = schema.get("const").and_then(Schema::as_str) {
        return format!("\"{word}\"");
    }
    let types: Vec<&str> = match schema.get("type") {
        Some(Schema::String(one)) => vec![one],
        Some(Schema::Array(many)) => many.iter().filter_map(Schema::as_str).filter(|kind| *kind != "null").collect(),
        _ => return "something else".into(),
    };
    let words: Vec<String> = types.iter().map(|kind| describe_type(root, schema, kind)).collect();
    words.join(" or ")
}

fn describe_type(root: &Schema, schema: &Schema, kind: &str) -> String {
    match kind {
        "integer" => format!("a whole number{}", limits(schema).words()),
        "number" => format!("a number{}", limits(schema).words()),
        "boolean" => "true or false".into(),
        "object" => "a table".into(),
        "array" => describe_list(root, schema),
        "string" => match (schema.get("pattern").and_then(Schema::as_str), schema.get("minLength")) {
            (Some(pattern), _) => format!("text of the form {pattern}"),
            (None, Some(_)) => "text that is not empty".into(),
            (None, None) => "text".into(),
        },
        other => other.into(),
    }
}

fn describe_list(root: &Schema, schema: &Schema) -> String {
    let count = |key| schema.get(key).and_then(Schema::as_u64);
    let what = match schema.get("items").filter(|items| items.is_object()) {
        Some(items) => format!("list, each item {}", describe(root, items)),
        None => "list".into(),
    };
    match (count("minItems"), count("maxItems")) {
        (Some(low), Some(high)) if low == high => format!("a {what}, {low} items"),
        (Some(low), Some(high)) => format!("a {what}, {low} to {high} items"),
        (Some(1), None) => format!("a {what}, not empty"),
        (Some(low), None) => format!("a {what}, at least {low} items"),
        (None, Some(high)) => format!("a {what}, at most {high} items"),
        (None, None) => format!("a {what}"),
    }
}

/// Describes a value.
pub fn found(value: &Value) -> String {
    match value {
        Value::Text(text) if text.chars().count() > 40 => {
            format!("the text \"{}…\"", text.chars().take(40).collect::<String>().escape_debug())
        }
        Value::Text(text) => format!("the text \"{}\"", text.escape_debug()),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => format!("{number:?}").to_lowercase(),
        Value::Boolean(truth) => truth.to_string(),
        Value::Date(date) => format!("the date {date}"),
        Value::List(_) => "a list".into(),
        Value::Table(_) => "a table".into(),
        Value::Unreadable => "something unreadable".into(),
    }
}

/// The accepted range of a number.
pub struct Limits {
    low: Option<(f64, bool)>,
    high: Option<(f64, bool)>,
    /// The largest magnitude of the type.
    widest: Option<f64>,
}

/// The range of a schema. An exclusive limit takes precedence over an inclusive one.
pub fn limits(schema: &Schema) -> Limits {
    let number = |key| schema.get(key).and_then(Schema::as_f64);
    let limit = |exclusive, inclusive| number(exclusive).map(|n| (n, true)).or(number(inclusive).map(|n| (n, false)));
    let widest = match schema.get("format").and_then(Schema::as_str) {
        Some("uint32") => Some(f64::from(u32::MAX)),
        Some("int32") => Some(f64::from(i32::MAX)),
        Some("float") => Some(f64::from(f32::MAX)),
        _ => None,
    };
    Limits { low: limit("exclusiveMinimum", "minimum"), high: limit("exclusiveMaximum", "maximum"), widest }
}

impl Limits {
    pub fn hold(&self, number: f64) -> bool {
        let above = self.low.is_none_or(|(low, exclusive)| number > low || (number == low && !exclusive));
        let below = self.high.is_none_or(|(high, exclusive)| number < high || (number == high && !exclusive));
        above && below && self.widest.is_none_or(|widest| number.abs() <= widest)
    }

    fn words(&self) -> String {
        // The largest f32 is not worth mentioning.
        let widest = self.widest.filter(|widest| *widest < f64::from(f32::MAX));
        let high = self.high.or(widest.map(|widest| (widest, false)));
        match (self.low, high) {
            (Some((low, false)), Some((high, false))) => format!(" from {low} to {high}"),
            (Some((low, false)), None) => format!(" of at least {low}"),
            (Some((low, true)), None) => format!(" above {low}"),
            (None, Some((high, false))) => format!(" of at most {high}"),
            (None, Some((high, true))) => format!(" below {high}"),
            (Some((low, low_open)), Some((high, high_open))) => {
                let low_word = if low_open { "above" } else { "of at least" };
                let high_word = if high_open { "below" } else { "at most" };
                format!(" {low_word} {low} and {high_word} {high}")
            }
            (None, None) => String::new(),
        }
    }
}
