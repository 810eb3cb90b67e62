//! TOML as a tree in which every key and value has its origin, so that an error found after merging several files still points
//! into the right one.

use indexmap::IndexMap;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::errors::ErrorCollector;
use crate::source::Origin;

#[derive(Clone, Debug)]
pub struct Node {
    pub value: Value,
    pub at: Origin,
}

#[derive(Clone, Debug)]
pub enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    /// A TOML date or time, which no key of an experiment accepts.
    Date(String),
    List(Vec<Node>),
    Table(Table),
    /// Already reported; not checked further.
    Unreadable,
}

pub type Table = IndexMap<String, Entry>;

#[derive(Clone, Debug)]
pub struct Entry {
    /// The origin of the key.
    pub key: Origin,
    pub node: Node,
}

impl Node {
    pub fn table(&self) -> Option<&Table> {
        if let Value::Table(table) = &self.value { Some(table) } else { None }
    }

    pub fn table_mut(&mut self) -> Option<&mut Table> {
        if let Value::Table(table) = &mut self.value { Some(table) } else { None }
    }

    pub fn text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value { Some(text) } else { None }
    }

    /// The value without origins, for serde.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Text(text) | Value::Date(text) => text.as_str().into(),
            Value::Integer(number) => (*number).into(),
            Value::Float(number) => (*number).into(),
            Value::Boolean(truth) => (*truth).into(),
            Value::Unreadable => serde_json::Value::Null,
            Value::List(nodes) => nodes.iter().map(Node::to_json).collect(),
            Value::Table(table) => serde_json::Value::Object(
                table.iter().map(|(key, entry)| (key.clone(), entry.node.to_json())).collect(),
            ),
        }
    }
}

/// The entry `kind` of a table, if it is a string.
pub fn kind_of(table: &Table) -> Option<&str> {
    table.get("kind").and_then(|entry| entry.node.text())
}

/// The name of an item in a list of tables, by default its kind.
pub fn name_of(item: &Node) -> String {
    let table = item.table();
    let own = table.and_then(|table| table.get("name")).and_then(|entry| entry.node.text());
    own.or(table.and_then(kind_of)).unwrap_or_default().to_owned()
}

/// The value at a path.
pub fn at<'a, 'k>(node: &'a Node, path: impl IntoIterator<Item = &'k str>) -> Option<&'a Node> {
    path.into_iter().try_fold(node, |node, key| Some(&node.table()?.get(key)?.node))
}

/// Parses one file. After a syntax error there is no tree: half a file would cause follow-up errors.
pub fn parse(source: usize, errors: &mut ErrorCollector) -> Option<Node> {
    let text = errors.sources.get(source).text.clone();
    match DeTable::parse(&text) {
        Ok(document) => {
            let (span, table) = (document.span(), document.into_inner());
            let at = Origin { source, start: span.start, end: span.end };
            let mut table = convert_table(&table, source, 0, errors);
            table.get_mut("data").into_iter().for_each(several_sets);
            Some(Node { value: Value::Table(table), at })
        }
        Err(error) => {
            // The end of the file has no character to mark, so the last one is marked.
            let end = text.trim_end().len();
            let span = error.span().unwrap_or(end..end);
            let start = span.start.min(end);
            let at = Origin { source, start, end: span.end.max(start) };
            errors.add(at, format!("invalid TOML: {}", error.message().trim()), "");
            None
        }
    }
}

/// `[[data]]`, several sets without keys of their own, is `[data]` of the kind `several` with these sets.
fn several_sets(data: &mut Entry) {
    let (key, at) = (data.key, data.node.at);
    if let Value::List(sets) = &mut data.node.value {
        let sets = Node { value: Value::List(std::mem::take(sets)), at };
        let kind = Node { value: Value::Text("several".to_owned()), at: key };
        let keys = [("kind", kind), ("sets", sets)].map(|(name, node)| (name.to_owned(), Entry { key, node }));
        data.node.value = Value::Table(Table::from(keys));
    }
}

/// Parses `--set KEY=VALUE` into a tree with that one leaf.
pub fn parse_assignment(source: usize, errors: &mut ErrorCollector) -> Option<Node> {
    let text = errors.sources.get(source).text.clone();
    let whole = Origin { source, start: 0, end: text.len() };
    let Some(equals) = find_unquoted_equals(&text) else {
        errors.add(whole, "expected KEY=VALUE".into(), "For example `--set models.knn.k=3`.");
        return None;
    };
    let Some(path) = path_of_key(&text[..equals]) else {
        let at = Origin { source, start: 0, end: equals };
        errors.add(
            at,
            format!("`{}` is not a key", &text[..equals]),
            "Keys are names separated by dots: `models.knn.k`.",
        );
        return None;
    };
    let written = &text[equals + 1..];
    let start = equals + 1 + (written.len() - written.trim_start().len());
    let written = written.trim();
    let at = Origin { source, start, end: start + written.len() };
    let mut node = match DeValue::parse(written) {
        Ok(value) => convert(value.get_ref(), at, start, errors),
        Err(_) => Node { value: Value::Text(written.to_owned()), at },
    };
    for (key, span) in path.into_iter().rev() {
        let key_at = Origin { source, start: span.start, end: span.end };
        node = Node { value: Value::Table(Table::from([(key, Entry { key: key_at, node })])), at: key_at };
    }
    Some(node)
}

/// The parts of a dotted key with their spans; `None` if it is not a key.
pub fn path_of_key(key: &str) -> Option<Vec<(String, std::ops::Range<usize>)>> {
    let text = format!("{key}=0");
    let path = DeTable::parse(&text).ok().and_then(|document| path_of(document.get_ref()));
    path.filter(|_| !text.contains(['\n', '#']))
}

fn find_unquoted_equals(text: &str) -> Option<usize> {
    let mut quote = None;
    text.char_indices().find_map(|(i, c)| {
        match (quote, c) {
            (None, '=') => return Some(i),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
        None
    })
}

/// The keys on the path to the only leaf, with their spans; `None` if there are several leaves.
fn path_of(table: &DeTable) -> Option<Vec<(String, std::ops::Range<usize>)>> {
    let mut path = Vec::new();
    let mut table = table;
    loop {
        let (key, value) = table.iter().next().filter(|_| table.len() == 1)?;
        path.push((key.get_ref().to_string(), key.span()));
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => return Some(path),
        }
    }
}

fn convert_table(table: &DeTable, source: usize, shift: usize, errors: &mut ErrorCollector) -> Table {
    let place = |span: std::ops::Range<usize>| Origin { source, start: span.start + shift, end: span.end + shift };
    let mut converted = Table::with_capacity(table.len());
    for (key, value) in table {
        let entry =
            Entry { key: place(key.span()), node: convert(value.get_ref(), place(value.span()), shift, errors) };
        converted.insert(key.get_ref().to_string(), entry);
    }
    converted
}

/// `shift` is added to the spans below `at`.
fn convert(value: &DeValue, at: Origin, shift: usize, errors: &mut ErrorCollector) -> Node {
    let value = match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => {
                errors.add(at, "the number does not fit into 64 bits".into(), "");
                Value::Unreadable
            }
        },
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(truth) => Value::Boolean(*truth),
        DeValue::Datetime(date) => Value::Date(date.to_string()),
        DeValue::Array(items) => {
            let place = |item: &Spanned<DeValue>| {
                let span = item.span();
                Origin { source: at.source, start: span.start + shift, end: span.end + shift }
            };
            Value::List(items.iter().map(|item| convert(item.get_ref(), place(item), shift, errors)).collect())
        }
        DeValue::Table(table) => Value::Table(convert_table(table, at.source, shift, errors)),
    };
    Node { value, at }
}
