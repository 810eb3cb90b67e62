//! Merges one file over another: tables merge key by key, all other values are replaced.

use crate::errors::ErrorCollector;
use crate::read::tree::{Node, Table, Value, kind_of, name_of, path_of_key};
use crate::source::Origin;
use timbre_core::suggest;
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

/// The sections whose tables can be removed by name.
const REMOVABLE: [&str; 3] = ["features", "models", "augment"];

/// A table to remove from what is below in the order of precedence: `models.knn = false`.
#[derive(Clone, Debug)]
pub struct Removal {
    pub section: &'static str,
    pub name: String,
    pub at: Origin,
}

impl Removal {
    /// The removal that setting the key at `path` to `value` means.
    pub fn of(path: &[(String, Origin)], value: &Node) -> Option<Removal> {
        let ([(section, _), (name, at)], Value::Boolean(false)) = (path, &value.value) else { return None };
        let section = REMOVABLE.into_iter().find(|known| known == section)?;
        Some(Removal { section, name: name.clone(), at: *at })
    }

    /// Takes the removals out of a file, which is then merged as if they were not written.
    pub fn take(over: &mut Node) -> Vec<Removal> {
        let mut removals = Vec::new();
        let Some(root) = over.table_mut() else { return removals };
        for section in REMOVABLE {
            let Some(table) = root.get_mut(section).and_then(|entry| entry.node.table_mut()) else { continue };
            let before = removals.len();
            table.retain(|name, entry| {
                let is_removal = matches!(entry.node.value, Value::Boolean(false));
                if is_removal {
                    removals.push(Removal { section, name: name.clone(), at: entry.key });
                }
                !is_removal
            });
            if table.is_empty() && removals.len() > before {
                root.shift_remove(section);
            }
        }
        removals
    }

    pub fn apply(&self, base: &mut Node, errors: &mut ErrorCollector) {
        let names = self.names(base);
        if !names.contains(&self.name) {
            let help = suggest::help(&self.name, names.iter().map(String::as_str), "Tables here");
            return errors.add(self.at, format!("no `{}.{}` to remove", self.section, self.name), &help);
        }
        let Some(root) = base.table_mut() else { return };
        match root.get_mut(self.section).map(|entry| &mut entry.node.value) {
            Some(Value::Table(tables)) => drop(tables.shift_remove(&self.name)),
            Some(Value::List(items)) => {
                items.retain(|item| name_of(item) != self.name);
                if items.is_empty() {
                    root.shift_remove(self.section);
                }
            }
            _ => {}
        }
    }

    /// Whether there is such a table.
    pub fn exists_in(&self, tree: &Node) -> bool {
        self.names(tree).contains(&self.name)
    }

    fn names(&self, tree: &Node) -> Vec<String> {
        match tree.table().and_then(|root| root.get(self.section)).map(|entry| &entry.node.value) {
            Some(Value::Table(tables)) => tables.keys().cloned().collect(),
            Some(Value::List(items)) => items.iter().map(name_of).collect(),
            _ => Vec::new(),
        }
    }

    /// Removes the axes below the table from a grid, and returns their keys. `path`: the keys above `grid`.
    pub fn prune_axes(&self, grid: &mut Node, path: &[String]) -> Vec<String> {
        let mut keys = Vec::new();
        let Some(table) = grid.table_mut() else { return keys };
        let table_path = [self.section, self.name.as_str()];
        table.retain(|key, entry| {
            let parts = path_of_key(key).unwrap_or_default().into_iter().map(|(part, _)| part);
            let own: Vec<String> = path.iter().cloned().chain(parts).collect();
            if own.iter().map(String::as_str).take(2).eq(table_path) {
                keys.push(own.join("."));
                return false;
            }
            if own.len() == 1 && own[0] == self.section {
                keys.extend(self.prune_axes(&mut entry.node, &own));
                return entry.node.table().is_none_or(|left| !left.is_empty());
            }
            true
        });
        keys
    }
}

/// Removes keys of windows from `[evaluate]` if what is merged over it evaluates without them: they would only cause errors.
fn drop_unused_window_keys(under: &mut Table, above: &Table, notes: &mut Vec<String>) {
    let text = |key: &str| above.get(key).and_then(|entry| entry.node.text());
    let (unused, why): (&[&str], String) = match (text("mode"), text("aggregate")) {
        (Some("centre"), _) => (&["window", "aggregate", "window_fraction"], "mode = \"centre\"".to_owned()),
        (_, Some(aggregate)) if aggregate != "vote" => (&["window_fraction"], format!("aggregate = \"{aggregate}\"")),
        _ => return,
    };
    let lost: Vec<&str> = unused.iter().copied().filter(|key| under.shift_remove(*key).is_some()).collect();
    if !lost.is_empty() {
        notes.push(format!("note: [evaluate] has {why} now; ignoring {}", lost.join(", ")));
    }
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
    if path.as_slice() == ["evaluate"] {
        drop_unused_window_keys(under, above, notes);
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
