//! Checks a merged tree against the schema: unknown keys and kinds, wrong types, values out of range, missing keys. Continues
//! after every error.

use regex::Regex;
use serde_json::Value as Schema;

use crate::check::describe::{describe, found, limits};
use crate::check::schema::{self, kinds, properties, resolve};
use crate::errors::ErrorCollector;
use crate::read::tree::{Node, Table, Value, kind_of};
use timbre_core::suggest;
use timbre_models::SEARCHABLE;

pub struct Checker<'a> {
    /// The schema that `$ref` points into.
    pub root: &'a Schema,
    pub errors: &'a mut ErrorCollector,
    /// Whether every file could be read. If not, missing keys are not reported: the unreadable file may have them.
    pub complete: bool,
}

impl Checker<'_> {
    /// Checks the value of the key `name`.
    pub fn check(&mut self, node: &Node, schema: &Schema, name: &str) {
        if matches!(node.value, Value::Unreadable) || self.check_search(node, schema, name) {
            return;
        }
        let schema = resolve(self.root, schema);
        if let Some(kinds) = kinds(schema) {
            return self.check_kind(node, &kinds, name);
        }
        if let Some(words) = words_of(schema) {
            return self.check_word(node, &words, name);
        }
        if let Some(branches) = schema.get("anyOf").or(schema.get("oneOf")).and_then(Schema::as_array) {
            let fitting = branches.iter().find(|branch| accepts(resolve(self.root, branch), &node.value));
            // Errors inside the branch of the right type tell more than "none of these".
            return match fitting {
                Some(branch) => self.check(node, branch, name),
                None => self.wrong(node, schema, name),
            };
        }
        if !accepts(schema, &node.value) {
            return self.wrong(node, schema, name);
        }
        match &node.value {
            Value::Table(table) => self.check_table(node, table, schema),
            Value::List(items) => self.check_list(node, items, schema, name),
            Value::Text(text) => self.check_text(node, text, schema, name),
            Value::Integer(number) => self.check_number(node, *number as f64, schema, name),
            Value::Float(number) => self.check_number(node, *number, schema, name),
            Value::Boolean(_) | Value::Date(_) | Value::Unreadable => {}
        }
    }

    /// Checks several values of a key of a model, of which a search chooses. Returns whether there are several.
    fn check_search(&mut self, node: &Node, schema: &Schema, name: &str) -> bool {
        let own = resolve(self.root, schema);
        if schema.get(SEARCHABLE).is_none() || fits(self.root, own, &node.value) {
            return false;
        }
        match &node.value {
            Value::List(items)
                if takes_lists(own) && items.iter().all(|item| !matches!(item.value, Value::List(_))) =>
            {
                false
            }
            Value::List(items) => {
                items.iter().for_each(|item| self.check(item, own, name));
                if items.is_empty() {
                    self.errors.add(node.at, format!("`{name}`: a search needs values"), "such as [1, 3, 5]");
                }
                true
            }
            Value::Table(range) if range.contains_key("from") => {
                self.check(node, schema::range(), name);
                true
            }
            _ => false,
        }
    }

    fn wrong(&mut self, node: &Node, schema: &Schema, name: &str) {
        let wanted = describe(self.root, schema);
        let help = how_to_write(self.root, schema, node);
        self.errors.add(node.at, format!("`{name}`: expected {wanted}, found {}", found(&node.value)), &help);
    }

    fn check_table(&mut self, node: &Node, table: &Table, schema: &Schema) {
        let keys = properties(self.root, schema);
        let others = schema.get("additionalProperties").or(schema.get("unevaluatedProperties"));
        let name_pattern =
            schema.pointer("/propertyNames/pattern").and_then(Schema::as_str).and_then(|p| Regex::new(p).ok());
        for (key, entry) in table {
            if let Some(schema) = keys.get(key.as_str()) {
                self.check(&entry.node, schema, key);
            } else if let Some(schema) = others.filter(|schema| schema.is_object()) {
                if name_pattern.as_ref().is_some_and(|pattern| !pattern.is_match(key)) {
                    let help = "it becomes a file name: use letters, digits, - and _ only, at most 100";
                    self.errors.add(entry.key, format!("`{key}` is not a valid name"), help);
                }
                self.check(&entry.node, schema, key);
            } else if others == Some(&Schema::Bool(false)) {
                let known = keys.keys().copied();
                self.errors.add(entry.key, format!("unknown key `{key}`"), &suggest::help(key, known, "Keys here"));
            }
        }
        if self.complete {
            let required = schema.get("required").and_then(Schema::as_array);
            for key in required.into_iter().flatten().filter_map(Schema::as_str).filter(|key| !table.contains_key(*key))
            {
                let wanted = keys.get(key).map(|schema| describe(self.root, schema));
                let help = wanted.map_or(String::new(), |wanted| format!("expected {wanted}"));
                self.errors.add(node.at, format!("missing key `{key}`"), &help);
            }
        }
    }

    fn check_kind(&mut self, node: &Node, kinds: &[(&str, &Schema)], name: &str) {
        let names = || kinds.iter().map(|(kind, _)| *kind);
        let Value::Table(table) = &node.value else {
            let help = format!("kinds: {}", names().collect::<Vec<_>>().join(", "));
            let message = format!("`{name}`: expected a table with a `kind`, found {}", found(&node.value));
            return self.errors.add(node.at, message, &help);
        };
        let Some(entry) = table.get("kind") else {
            if self.complete {
                let help = suggest::help(name, names(), "Kinds");
                self.errors.add(node.at, "missing key `kind`".into(), &help);
            }
            return;
        };
        let Some(kind) = kind_of(table) else {
            let message = format!("`kind`: expected text, found {}", found(&entry.node.value));
            return self.errors.add(entry.node.at, message, &suggest::help("", names(), "Kinds"));
        };
        let mut likely = kind;
        if !names().any(|known| known == kind) {
            let help = suggest::help(kind, names(), "Kinds");
            self.errors.add(entry.node.at, format!("unknown kind `{kind}`"), &help);
            // If one kind is likely, its keys are checked as keys of that kind.
            match suggest::nearest(kind, names()).as_slice() {
                [near] => likely = near,
                _ => return,
            }
        }
        if let Some((_, schema)) = kinds.iter().find(|(known, _)| *known == likely) {
            let mut rest = table.clone();
            rest.shift_remove("kind");
            let mut keys = (*schema).clone();
            if let Some(required) = keys.get_mut("required").and_then(Schema::as_array_mut) {
                required.retain(|key| key != "kind");
            }
            self.check_table(node, &rest, &keys);
        }
    }

    fn check_word(&mut self, node: &Node, words: &[&str], name: &str) {
        let known = words.iter().copied();
        match &node.value {
            Value::Text(text) if words.contains(&text.as_str()) => {}
            Value::Text(text) => {
                let help = suggest::help(text, known, "Choices");
                self.errors.add(node.at, format!("`{name}`: unknown word `{text}`"), &help);
            }
            other => {
                let message = format!("`{name}`: expected text, found {}", found(other));
                self.errors.add(node.at, message, &format!("choices: {}", words.join(", ")));
            }
        }
    }

    fn check_list(&mut self, node: &Node, items: &[Node], schema: &Schema, name: &str) {
        let count = |key| schema.get(key).and_then(Schema::as_u64).map(|n| n as usize);
        if count("minItems").is_some_and(|n| items.len() < n) || count("maxItems").is_some_and(|n| items.len() > n) {
            let wanted = describe(self.root, schema);
            self.errors.add(node.at, format!("`{name}`: expected {wanted}, found {} items", items.len()), "");
        }
        let fixed = schema.get("prefixItems").and_then(Schema::as_array);
        for (i, item) in items.iter().enumerate() {
            let own = fixed.and_then(|fixed| fixed.get(i)).or(schema.get("items"));
            if let Some(own) = own.filter(|own| own.is_object()) {
                self.check(item, own, name);
            }
            let before = &items[..i];
            if schema.get("uniqueItems") == Some(&Schema::Bool(true))
                && before.iter().any(|other| other.to_json() == item.to_json())
            {
                self.errors.add(item.at, format!("`{name}`: duplicate value {}", found(&item.value)), "");
            }
        }
    }

    fn check_text(&mut self, node: &Node, text: &str, schema: &Schema, name: &str) {
        if !is_text_of(schema, text) {
            let wanted = describe(self.root, schema);
            self.errors.add(node.at, format!("`{name}`: expected {wanted}, found {}", found(&node.value)), "");
        }
    }

    fn check_number(&mut self, node: &Node, number: f64, schema: &Schema, name: &str) {
        if !number.is_finite() || !limits(schema).hold(number) {
            self.wrong(node, schema, name);
        }
    }
}

fn takes_lists(schema: &Schema) -> bool {
    let branches = schema.get("anyOf").and_then(Schema::as_array);
    schema.get("type").is_some_and(|kind| kind == "array") || branches.into_iter().flatten().any(takes_lists)
}

/// The words of an enum of strings.
fn words_of(schema: &Schema) -> Option<Vec<&str>> {
    if let Some(words) = schema.get("enum").and_then(Schema::as_array) {
        return words.iter().map(Schema::as_str).collect();
    }
    if let Some(word) = schema.get("const") {
        return Some(vec![word.as_str()?]);
    }
    // schemars splits an enum into variants with and without a doc comment.
    let parts = schema.get("oneOf")?.as_array()?;
    Some(parts.iter().map(words_of).collect::<Option<Vec<_>>>()?.concat())
}

/// Whether the value has an accepted type. Whole numbers are accepted as numbers.
fn accepts(schema: &Schema, value: &Value) -> bool {
    let types: Vec<&str> = match schema.get("type") {
        Some(Schema::String(one)) => vec![one],
        Some(Schema::Array(many)) => many.iter().filter_map(Schema::as_str).collect(),
        // Enums of words or of kinds have no `type`.
        _ if words_of(schema).is_some() => vec!["string"],
        _ if kinds(schema).is_some() => vec!["object"],
        _ => return true,
    };
    types.iter().any(|kind| {
        matches!(
            (*kind, value),
            ("string", Value::Text(_))
                | ("integer" | "number", Value::Integer(_))
                | ("number", Value::Float(_))
                | ("boolean", Value::Boolean(_))
                | ("array", Value::List(_))
                | ("object", Value::Table(_))
        )
    })
}

/// Whether a value is valid, apart from what tables contain.
fn fits(root: &Schema, schema: &Schema, value: &Value) -> bool {
    let schema = resolve(root, schema);
    if let Some(branches) = schema.get("anyOf").and_then(Schema::as_array) {
        return branches.iter().any(|branch| fits(root, branch, value));
    }
    let fits_inside = match value {
        Value::Integer(number) => limits(schema).hold(*number as f64),
        Value::Float(number) => number.is_finite() && limits(schema).hold(*number),
        Value::Text(text) => {
            words_of(schema).is_none_or(|words| words.contains(&text.as_str())) && is_text_of(schema, text)
        }
        Value::List(items) => match schema.get("items").filter(|own| own.is_object()) {
            Some(own) => items.iter().all(|item| fits(root, own, &item.value)),
            None => true,
        },
        _ => true,
    };
    accepts(schema, value) && fits_inside
}

/// Whether a text has the length and the form that its schema demands.
fn is_text_of(schema: &Schema, text: &str) -> bool {
    let is_short = schema.get("minLength").and_then(Schema::as_u64).is_some_and(|n| (text.chars().count() as u64) < n);
    let pattern = schema.get("pattern").and_then(Schema::as_str).and_then(|p| Regex::new(p).ok());
    !is_short && pattern.is_none_or(|pattern| pattern.is_match(text))
}

/// A hint how to write the value correctly, if there is an obvious one.
fn how_to_write(root: &Schema, schema: &Schema, node: &Node) -> String {
    let fits = |value: &Value| fits(root, schema, value);
    let text = match &node.value {
        Value::Text(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(truth) => truth.to_string(),
        _ => return String::new(),
    };
    let (is_text, is_whole) = match &node.value {
        Value::Text(_) => (true, false),
        Value::Float(number) => (false, number.fract() == 0.0 && number.abs() < 1e15 && !fits(&node.value)),
        _ => (false, false),
    };
    match () {
        _ if is_text && text.parse::<i64>().is_ok_and(|n| fits(&Value::Integer(n))) => {
            format!("without the quotes: {text}")
        }
        _ if is_text && text.parse::<f64>().is_ok_and(|n| fits(&Value::Float(n))) => {
            format!("without the quotes: {text}")
        }
        _ if is_text && text.parse::<bool>().is_ok_and(|b| fits(&Value::Boolean(b))) => {
            format!("without the quotes: {text}")
        }
        _ if is_whole && text.parse::<i64>().is_ok_and(|n| fits(&Value::Integer(n))) => {
            format!("without the point: {text}")
        }
        _ if !is_text && fits(&Value::Text(text)) => "in quotes".into(),
        _ if fits(&Value::List(vec![node.clone()])) => "in brackets".into(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::source::Origin;

    #[test]
    fn a_hint_is_given_only_if_it_works() {
        let hint = |schema: Schema, value: Value| {
            let node = Node { value, at: Origin { source: 0, start: 0, end: 0 } };
            how_to_write(&json!({}), &schema, &node)
        };
        let whole = json!({ "type": "integer", "minimum": 1, "maximum": 9 });
        assert_eq!(hint(whole.clone(), Value::Float(3.0)), "without the point: 3");
        assert_eq!(hint(whole.clone(), Value::Float(1e6)), "");
        assert_eq!(hint(whole.clone(), Value::Text("4".into())), "without the quotes: 4");
        assert_eq!(hint(whole, Value::Text("0".into())), "");
        let rate = json!({ "type": "number", "maximum": 1.0 });
        assert_eq!(hint(rate.clone(), Value::Float(1e6)), "", "the point is no fault");
        assert_eq!(hint(rate.clone(), Value::Text("1e6".into())), "");
        assert_eq!(hint(rate, Value::Text("0.5".into())), "without the quotes: 0.5");
        let words = json!({ "type": "array", "items": { "type": "string", "enum": ["mean", "std"] } });
        assert_eq!(hint(words.clone(), Value::Text("mean".into())), "in brackets");
        assert_eq!(hint(words, Value::Text("median".into())), "");
        let fold = json!({ "type": "string", "minLength": 2 });
        assert_eq!(
            (hint(fold.clone(), Value::Integer(12)), hint(fold, Value::Integer(1))),
            ("in quotes".into(), String::new())
        );
    }
}
