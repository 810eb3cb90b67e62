//! Flattens configurations to dotted keys and finds the keys that differ.

use anyhow::Result;
use timbre_core::{dotted_keys, text};

use super::schema::DifferingKey;

/// Every leaf of a TOML text with its dotted key. Entries of a list of tables are numbered from 1: `augment.2.kind`.
pub fn flat(text: &str) -> Result<Vec<(String, String)>> {
    Ok(leaves_of(text.parse()?))
}

/// Every leaf of a TOML table with its dotted key.
pub fn leaves_of(table: toml::Table) -> Vec<(String, String)> {
    let table = toml::Value::Table(table);
    let leaves = dotted_keys::leaves(&table, |value| match value {
        toml::Value::Table(table) => Some(table.iter().map(|(key, value)| (text::toml_key(key), value)).collect()),
        toml::Value::Array(list) if !list.is_empty() && list.iter().all(toml::Value::is_table) => {
            Some(list.iter().enumerate().map(|(at, value)| ((at + 1).to_string(), value)).collect())
        }
        _ => None,
    });
    leaves.into_iter().map(|(key, value)| (key, value.to_string())).collect()
}

/// The value shown for a table that only some runs have.
pub const PRESENT: &str = "present";

type Keys = [(String, String)];

/// The keys whose values differ between the runs, sorted by name. The `description` is left out. A table that only some runs have
/// (`models.cnn_small`) is one entry, [`PRESENT`] or its kind; its own keys are listed only if they differ between the runs that have it.
pub fn differing(runs: &[&Keys]) -> Vec<DifferingKey> {
    let names = names(runs);
    let tables = partial_tables(runs, &names);
    let has = |keys: &Keys, table: &str| keys.iter().any(|(key, _)| is_below(key, table));
    let mut found: Vec<DifferingKey> = leaves(runs, names)
        .filter(|key| {
            let table = tables.iter().find(|table| is_below(&key.name, table));
            let with_table =
                runs.iter().zip(&key.values).filter(|(keys, _)| table.is_none_or(|table| has(keys, table)));
            let values: Vec<&Option<String>> = with_table.map(|(_, value)| value).collect();
            values.windows(2).any(|pair| pair[0] != pair[1])
        })
        .collect();
    found.extend(tables.iter().map(|table| DifferingKey {
        name: (*table).to_owned(),
        values: runs.iter().map(|keys| has(keys, table).then(|| kind_of(keys, table))).collect(),
    }));
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// The leaves whose values differ, without grouping by table: for values that are not a configuration.
pub fn differing_leaves(runs: &[&Keys]) -> Vec<DifferingKey> {
    leaves(runs, names(runs)).filter(|key| key.values.windows(2).any(|pair| pair[0] != pair[1])).collect()
}

fn names<'a>(runs: &[&'a Keys]) -> Vec<&'a str> {
    let mut names: Vec<&str> = runs.iter().flat_map(|keys| keys.iter()).map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| *name != "description");
    names
}

fn leaves<'a>(runs: &'a [&Keys], names: Vec<&'a str>) -> impl Iterator<Item = DifferingKey> + 'a {
    names.into_iter().map(|name| {
        let value = |keys: &&Keys| Some(keys.iter().find(|(key, _)| key == name)?.1.clone());
        DifferingKey { name: name.to_owned(), values: runs.iter().map(value).collect() }
    })
}

/// The outermost tables that only some runs have. A table with a single key is left out, because the key says more, unless it is `kind`.
fn partial_tables<'a>(runs: &[&Keys], names: &[&'a str]) -> Vec<&'a str> {
    let mut found: Vec<&str> = Vec::new();
    for name in names {
        let lacks = |table: &&str| {
            let some_lack = || runs.iter().any(|keys| !keys.iter().any(|(key, _)| is_below(key, table)));
            let below = || names.iter().filter(|name| is_below(name, table));
            (below().count() > 1 || below().all(|name| name.ends_with(".kind"))) && some_lack()
        };
        if !found.iter().any(|table| is_below(name, table)) {
            found.extend(tables_of(name).find(lacks));
        }
    }
    found
}

/// The tables of a key: `a` and `a.b` for `a.b.c`. Dots within quotes do not separate.
fn tables_of(name: &str) -> impl Iterator<Item = &str> {
    let mut quote = None;
    name.char_indices().filter_map(move |(at, c)| {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None, '.') => return Some(&name[..at]),
            _ => {}
        }
        None
    })
}

fn is_below(name: &str, table: &str) -> bool {
    name.strip_prefix(table).is_some_and(|rest| rest.starts_with('.'))
}

/// The kind of a table if its name does not tell, or the kinds of its entries.
fn kind_of(keys: &Keys, table: &str) -> String {
    let kinds: Vec<&str> = keys
        .iter()
        .filter(|(key, _)| {
            let entry = key.strip_prefix(table).and_then(|rest| rest.strip_prefix('.')?.strip_suffix("kind"));
            entry.is_some_and(|entry| entry.matches('.').count() == usize::from(!entry.is_empty()))
        })
        .map(|(_, kind)| kind.as_str())
        .collect();
    let own = table.rsplit('.').next().unwrap_or(table);
    match kinds.as_slice() {
        [] => PRESENT.to_owned(),
        [kind] if kind.trim_matches('"') == own => PRESENT.to_owned(),
        kinds => kinds.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_tables_is_flattened_by_entry_and_a_list_of_values_is_one_leaf() {
        let text = "seeds = [1, 2]\n[[augment]]\nkind = \"noise\"\np = 0.5\n[[augment]]\nkind = \"echo\"\n[\"odd key\"]\nx = 1";
        let keys: Vec<(String, String)> = flat(text).unwrap();
        let names: Vec<&str> = keys.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["seeds", "augment.1.kind", "augment.1.p", "augment.2.kind", "\"odd key\".x"]);
        assert_eq!(keys[0].1, "[1, 2]");
    }

    #[test]
    fn only_differing_keys_are_listed_and_a_missing_key_differs() {
        let runs = ["a = 1\nb = 2\ndescription = \"x\"", "a = 1\nb = 3\ndescription = \"y\"", "a = 1\nb = 2\nc = 4"];
        let runs: Vec<_> = runs.iter().map(|text| flat(text).unwrap()).collect();
        let found = differing(&runs.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let value = |text: &str| Some(text.to_owned());
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].name.as_str(), &found[0].values), ("b", &vec![value("2"), value("3"), value("2")]));
        assert_eq!((found[1].name.as_str(), &found[1].values), ("c", &vec![None, None, value("4")]));
        assert!(differing(&[&runs[0]]).is_empty());
    }

    #[test]
    fn a_table_that_only_some_runs_have_is_one_entry_and_its_keys_are_compared_between_these() {
        let cnn = "[models.cnn_small]\nkind = \"cnn_small\"\nepochs = 8\nlr = 0.1\n";
        let noise = "[[augment]]\nkind = \"noise\"\np = 0.5\n";
        let texts = [
            "[models.knn]\nkind = \"knn\"\nk = 1".to_owned(),
            format!("{cnn}{noise}[models.knn]\nkind = \"knn\"\nk = 1"),
            format!("{}[models.knn]\nkind = \"knn\"\nk = 1", cnn.replace("0.1", "0.2")),
        ];
        let runs: Vec<_> = texts.iter().map(|text| flat(text).unwrap()).collect();
        let found = differing(&runs.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let lines: Vec<String> = found
            .iter()
            .map(|key| {
                format!(
                    "{}: {}",
                    key.name,
                    key.values.iter().map(|v| v.as_deref().unwrap_or("–")).collect::<Vec<_>>().join(" | ")
                )
            })
            .collect();
        assert_eq!(
            lines,
            [
                "augment: – | \"noise\" | –",
                "models.cnn_small: – | present | present",
                "models.cnn_small.lr: – | 0.1 | 0.2"
            ]
        );
    }

    #[test]
    fn a_dot_in_quotes_does_not_end_a_table() {
        assert_eq!(tables_of("a.\"b.c\".d").collect::<Vec<_>>(), ["a", "a.\"b.c\""]);
    }
}
