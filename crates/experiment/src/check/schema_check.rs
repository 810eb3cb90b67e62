//! Checks a merged tree against the schema: unknown keys and kinds, wrong types, values out of range, missing keys. Continues
//! after every error.

use regex::Regex;
use serde_json::Value as Schema;

use crate::check::describe::{describe, found, limits};
use crate::check::schema::{kinds, properties, resolve};
use crate::errors::ErrorCollector;
use crate::read::tree::{Node, Table, Value, kind_of};
use crate::suggest;

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
        if matches!(node.value, Value::Unreadable) {
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

    fn wrong(&mut self, node: &Node, schema: &Schema, name: &str) {
        let wanted = describe(self.root, schema);
        let help = how_to_write(schema, &node.value);
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
                    let help = "it becomes a folder name: use letters, digits, - and _ only";
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
            let help = format!("Kinds: {}", names().collect::<Vec<_>>().join(", "));
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
                self.errors.add(node.at, message, &format!("Choices: {}", words.join(", ")));
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
        let short = schema.get("minLength").and_then(Schema::as_u64).is_some_and(|n| (text.chars().count() as u64) < n);
        let pattern = schema.get("pattern").and_then(Schema::as_str).and_then(|p| Regex::new(p).ok());
        if short || pattern.is_some_and(|pattern| !pattern.is_match(text)) {
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

/// A hint how to write the value correctly, if there is an obvious one.
fn how_to_write(schema: &Schema, value: &Value) -> String {
    let wants = |value: &Value| accepts(schema, value);
    match value {
        Value::Text(text) if text.parse::<i64>().is_ok_and(|n| wants(&Value::Integer(n))) => {
            format!("without the quotes: {text}")
        }
        Value::Text(text) if text.parse::<f64>().is_ok_and(|n| n.is_finite() && wants(&Value::Float(n))) => {
            format!("without the quotes: {text}")
        }
        Value::Text(text) if matches!(text.as_str(), "true" | "false") && wants(&Value::Boolean(true)) => {
            format!("without the quotes: {text}")
        }
        Value::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 && wants(&Value::Integer(0)) => {
            format!("without the point: {number:.0}")
        }
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) if wants(&Value::Text(String::new())) => {
            "in quotes".into()
        }
        Value::Integer(_) | Value::Float(_) | Value::Text(_) if wants(&Value::List(Vec::new())) => "in brackets".into(),
        _ => String::new(),
    }
}
