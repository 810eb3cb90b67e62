//! Nested tables by dotted keys: their leaves, and the leaves in which two of them differ.

use serde_json::Value;

/// The leaves of a nested value with their dotted keys, in its order. `children` lists what is directly below a value by its key;
/// None makes the value a leaf.
pub fn leaves<'a, V>(root: &'a V, children: impl Fn(&'a V) -> Option<Vec<(String, &'a V)>>) -> Vec<(String, &'a V)> {
    let mut found = Vec::new();
    let mut open = vec![(String::new(), root)];
    while let Some((path, value)) = open.pop() {
        match children(value) {
            Some(below) => open.extend(below.into_iter().rev().map(|(key, value)| (joined(&path, &key), value))),
            None => found.push((path, value)),
        }
    }
    found
}

/// The leaves of a JSON object. A list is a leaf.
pub fn json_leaves(root: &Value) -> Vec<(String, &Value)> {
    leaves(root, |value| Some(value.as_object()?.iter().map(|(key, value)| (key.clone(), value)).collect()))
}

/// The dotted keys at which two JSON values differ, sorted level by level, with the old and the new value. What only one of them has is null in
/// the other.
pub fn differences<'a>(old: &'a Value, new: &'a Value) -> Vec<(String, &'a Value, &'a Value)> {
    let mut found = Vec::new();
    let mut open = vec![(String::new(), old, new)];
    while let Some((path, old, new)) = open.pop() {
        match (old, new) {
            (Value::Object(a), Value::Object(b)) => {
                let mut keys: Vec<&String> = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))).collect();
                keys.sort();
                open.extend(keys.into_iter().rev().map(|key| (joined(&path, key), &old[key], &new[key])));
            }
            (old, new) if old == new => {}
            (old, new) => found.push((path, old, new)),
        }
    }
    found
}

fn joined(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn leaves_have_dotted_keys_and_lists_are_leaves() {
        let value = json!({ "a": { "b": 1, "c": [2, 3] }, "d": null });
        let found: Vec<(String, String)> =
            json_leaves(&value).into_iter().map(|(key, value)| (key, value.to_string())).collect();
        let expected = [("a.b", "1"), ("a.c", "[2,3]"), ("d", "null")];
        assert_eq!(found, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn differences_name_changed_added_and_removed_keys() {
        let old = json!({ "same": 1, "models": { "knn": 1, "svm": 1 }, "files": {} });
        let new = json!({ "same": 1, "models": { "knn": 2, "svm": 1 }, "search": 1 });
        let found: Vec<String> =
            differences(&old, &new).iter().map(|(key, old, new)| format!("{key} {old} {new}")).collect();
        assert_eq!(found, ["files {} null", "models.knn 1 2", "search null 1"]);
    }
}
