//! Features that are made of others: in the key `of`, the name of a feature stands for its table.

use crate::errors::ErrorCollector;
use crate::read::tree::{Node, Table, Value};
use timbre_core::suggest;

/// The key that holds features.
const OF: &str = "of";

/// Replaces the names of features in `of` by their tables. An unknown name, and a feature that contains itself, are errors.
pub fn insert_parts(tree: &mut Node, errors: &mut ErrorCollector) {
    let features = tree.table_mut().and_then(|root| root.get_mut("features")).and_then(|entry| entry.node.table_mut());
    let Some(features) = features else { return };
    let written = features.clone();
    for (name, entry) in features.iter_mut() {
        insert_into(&mut entry.node, &written, &mut vec![name.clone()], errors);
    }
}

/// `path`: the features that this one is part of, itself last.
fn insert_into(feature: &mut Node, written: &Table, path: &mut Vec<String>, errors: &mut ErrorCollector) {
    let Some(of) = feature.table_mut().and_then(|table| table.get_mut(OF)) else { return };
    match &mut of.node.value {
        Value::List(parts) => parts.iter_mut().for_each(|part| insert(part, written, path, errors)),
        _ => insert(&mut of.node, written, path, errors),
    }
}

fn insert(part: &mut Node, written: &Table, path: &mut Vec<String>, errors: &mut ErrorCollector) {
    let Some(name) = part.text().map(str::to_owned) else { return insert_into(part, written, path, errors) };
    let at = part.at;
    let Some(entry) = written.get(&name) else {
        errors.add(
            at,
            format!("no feature `{name}`"),
            &suggest::help(&name, written.keys().map(String::as_str), "Features"),
        );
        part.value = Value::Unreadable;
        return;
    };
    if path.contains(&name) {
        errors.add(at, format!("`{name}` contains itself"), &path.join(" → "));
        part.value = Value::Unreadable;
        return;
    }
    // Errors in its keys are those of its own table.
    *part = entry.node.clone();
    path.push(name);
    insert_into(part, written, path, errors);
    path.pop();
}
