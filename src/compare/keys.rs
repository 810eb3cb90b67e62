//! The keys of configurations, dotted, and those that differ.

use anyhow::Result;

use super::comparison::DifferingKey;

/// Every leaf of a TOML text by its dotted key. Entries of a list of tables are counted from 1: `augment.2.kind`.
pub fn flat(text: &str) -> Result<Vec<(String, String)>> {
    let mut keys = Vec::new();
    flatten(&toml::Value::Table(text.parse()?), "", &mut keys);
    Ok(keys)
}

fn flatten(value: &toml::Value, path: &str, keys: &mut Vec<(String, String)>) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
                let key = if plain { key.clone() } else { toml::Value::String(key.clone()).to_string() };
                flatten(value, &below(&key), keys);
            }
        }
        toml::Value::Array(list) if !list.is_empty() && list.iter().all(toml::Value::is_table) => {
            list.iter().enumerate().for_each(|(at, value)| flatten(value, &below(&(at + 1).to_string()), keys));
        }
        leaf => keys.push((path.to_owned(), leaf.to_string())),
    }
}

/// The keys that are not the same in all runs, by name. What an experiment says of itself decides nothing and is left out.
pub fn differing(runs: &[&[(String, String)]]) -> Vec<DifferingKey> {
    let mut names: Vec<&str> = runs.iter().flat_map(|keys| keys.iter()).map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .filter(|name| *name != "description")
        .map(|name| {
            let value = |keys: &&[(String, String)]| Some(keys.iter().find(|(key, _)| key == name)?.1.clone());
            DifferingKey { name: name.to_owned(), values: runs.iter().map(value).collect() }
        })
        .filter(|key| key.values.windows(2).any(|pair| pair[0] != pair[1]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_tables_is_told_entry_by_entry_and_a_list_of_values_as_one() {
        let text = "seeds = [1, 2]\n[[augment]]\nkind = \"noise\"\np = 0.5\n[[augment]]\nkind = \"echo\"\n[\"odd key\"]\nx = 1";
        let keys: Vec<(String, String)> = flat(text).unwrap();
        let names: Vec<&str> = keys.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["seeds", "augment.1.kind", "augment.1.p", "augment.2.kind", "\"odd key\".x"]);
        assert_eq!(keys[0].1, "[1, 2]");
    }

    #[test]
    fn only_what_differs_is_told_and_a_missing_key_is_a_difference() {
        let runs = ["a = 1\nb = 2\ndescription = \"x\"", "a = 1\nb = 3\ndescription = \"y\"", "a = 1\nb = 2\nc = 4"];
        let runs: Vec<_> = runs.iter().map(|text| flat(text).unwrap()).collect();
        let found = differing(&runs.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let value = |text: &str| Some(text.to_owned());
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].name.as_str(), &found[0].values), ("b", &vec![value("2"), value("3"), value("2")]));
        assert_eq!((found[1].name.as_str(), &found[1].values), ("c", &vec![None, None, value("4")]));
        assert!(differing(&[&runs[0]]).is_empty());
    }
}
