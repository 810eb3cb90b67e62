//! Merges one file over another: tables merge key by key, all other values are replaced.

use crate::read::tree::{Node, Value, kind_of};
use timbre_inputs::features::FeatureSpec;
use timbre_models::ModelSpec;

/// The kinds that can be implied by the name of a table in `section`.
pub fn kinds_by_name(section: &str) -> &'static [&'static str] {
    match section {
        "features" => FeatureSpec::KINDS,
        "models" => ModelSpec::KINDS,
        _ => &[],
    }
}

/// Merges `over` into `base`. Adds a note for each table that is replaced because its kind changes.
pub fn merge(base: &mut Node, over: Node, notes: &mut Vec<String>) {
    merge_at(base, over, &mut Vec::new(), notes);
}

/// [`merge`] for the tables under one key of the file.
pub fn merge_section(section: &str, base: &mut Node, over: Node, notes: &mut Vec<String>) {
    merge_at(base, over, &mut vec![section.to_owned()], notes);
}

pub(crate) fn merge_at(base: &mut Node, over: Node, path: &mut Vec<String>, notes: &mut Vec<String>) {
    let (Value::Table(under), Value::Table(above)) = (&mut base.value, &over.value) else {
        *base = over;
        return;
    };
    let implied = match path.as_slice() {
        [section, name] => kinds_by_name(section).iter().find(|kind| **kind == name.as_str()).copied(),
        _ => None,
    };
    if let (Some(old), Some(new)) = (kind_of(under).or(implied), kind_of(above))
        && old != new
    {
        // The old keys belong to another kind and would only cause errors.
        let lost: Vec<&str> = under.keys().map(String::as_str).filter(|key| *key != "kind").collect();
        if !lost.is_empty() {
            let table = path.join(".");
            notes
                .push(format!("warning: [{table}] kind changed from `{old}` to `{new}`; ignoring {}", lost.join(", ")));
        }
        *base = over;
        return;
    }
    base.at = over.at;
    // `[data]` with its own kind defines a data set; the parent's `use` would merge in another file.
    if path.as_slice() == ["data"] && above.contains_key("kind") && !above.contains_key("use") {
        under.shift_remove("use");
    }
    let Value::Table(above) = over.value else { return };
    for (key, entry) in above {
        match under.get_mut(&key) {
            Some(old) => {
                path.push(key);
                old.key = entry.key;
                merge_at(&mut old.node, entry.node, path, notes);
                path.pop();
            }
            None => {
                under.insert(key, entry);
            }
        }
    }
}
