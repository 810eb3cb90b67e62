//! Shows the configuration, its differences from the parent file, and the environment of the run.

use std::collections::BTreeSet;

use serde_json::Value;
use timbre_core::progress::duration;
use timbre_core::text::{count, escape_xml};

use super::report_data::ReportData;
use crate::comparison::config_keys;
use crate::page::{Cell, folded, list, paragraph, table};

/// The largest number of characters shown of a configuration.
const MOST: usize = 60_000;

pub fn html(run: &ReportData) -> String {
    let mut html = difference(&run.written);
    html += &folded("As run, with every default (config.resolved.toml)", &code(&run.resolved));
    html + &folded("As written, parents first (config.toml)", &code(&run.written))
}

fn code(words: &str) -> String {
    let shown: String = words.chars().take(MOST).collect();
    let cut = if shown.len() < words.len() {
        paragraph("Truncated; the run folder has the whole file.")
    } else {
        String::new()
    };
    format!("<pre><code>{}</code></pre>\n{cut}", escape_xml(&shown))
}

/// A file inside `config.toml`, where a comment gives its path.
struct File<'a> {
    name: &'a str,
    keys: toml::Table,
}

/// The files in a `config.toml`, and the command-line arguments after them. No files if they cannot be separated.
fn files(written: &str) -> (Vec<File<'_>>, Vec<&str>) {
    let (mut parts, mut arguments): (Vec<(&str, String)>, Vec<&str>) = (Vec::new(), Vec::new());
    let mut after_blank = true;
    for line in written.lines() {
        let name = line.strip_prefix("# ").filter(|name| after_blank && name.ends_with(".toml") && !name.contains(' '));
        let argument =
            line.strip_prefix("# ").filter(|words| words.starts_with("--set ") || words.starts_with("--data "));
        match (name, argument, parts.last_mut()) {
            (Some(name), ..) => parts.push((name, String::new())),
            (_, Some(argument), _) => arguments.push(argument),
            (.., Some((_, text))) => *text += &format!("{line}\n"),
            _ => {}
        }
        after_blank = line.trim().is_empty();
    }
    let parsed: Option<Vec<File>> =
        parts.into_iter().map(|(name, text)| Some(File { name, keys: text.parse().ok()? })).collect();
    (parsed.unwrap_or_default(), arguments)
}

fn merge(below: &mut toml::Table, above: &toml::Table) {
    for (key, value) in above {
        match (below.get_mut(key), value) {
            (Some(toml::Value::Table(inner)), toml::Value::Table(own)) => merge(inner, own),
            _ => drop(below.insert(key.clone(), value.clone())),
        }
    }
}

/// The keys that the file changes of its parents, and the command-line arguments.
fn difference(written: &str) -> String {
    let (files, arguments) = files(written);
    let own: Vec<&File> = files.iter().filter(|file| !file.name.starts_with("data/")).collect();
    let mut html = String::new();
    if let [parents @ .., child] = own.as_slice()
        && let Some(parent) = parents.last()
    {
        let mut below = toml::Table::new();
        parents.iter().for_each(|file| merge(&mut below, &file.keys));
        let (before, after) = (config_keys::leaves_of(below), config_keys::leaves_of(child.keys.clone()));
        let rows: Vec<Vec<Cell>> = after
            .iter()
            .filter(|(key, _)| key != "extends")
            .map(|(key, value)| (key, before.iter().find(|(k, _)| k == key).map(|(_, v)| v), value))
            .filter(|(_, before, value)| *before != Some(*value))
            .map(|(key, before, value)| {
                vec![Cell::text(key), Cell::text(before.map_or("–", |value| value)), Cell::text(value)]
            })
            .collect();
        let caption = format!("Changes of {} from {}.", child.name, parent.name);
        let headings = [("key", false), ("parent", false), ("this run", false)];
        html += &if rows.is_empty() {
            paragraph(&format!("{} changes no key of {}.", child.name, parent.name))
        } else {
            table(&caption, &headings, &rows)
        };
    } else if let [only] = own.as_slice() {
        html += &paragraph(&format!("{} has no parent.", only.name));
    }
    if !arguments.is_empty() {
        html += &format!("<p>On the command line: <code>{}</code></p>\n", escape_xml(&arguments.join(" ")));
    }
    html
}

pub fn environment(run: &ReportData) -> String {
    let record = &run.record;
    let mut pairs = vec![
        ("Folder".to_owned(), run.path.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned())),
        ("Signature".to_owned(), record.signature.clone()),
        (
            "Data".to_owned(),
            format!("{}, {}, {}", record.data.name, count(record.data.clips, "recording"), record.data.hash),
        ),
        ("Seeds".to_owned(), record.seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")),
        ("Started".to_owned(), format!("{} (after scanning the data)", record.started)),
        ("Ended".to_owned(), record.ended.clone().unwrap_or("–".to_owned())),
        ("Features".to_owned(), format!("{} computed, {} from the cache", record.cache.misses, record.cache.hits)),
    ];
    let seconds: Vec<String> = record.seconds.iter().map(|(stage, seconds)| stage_time(stage, *seconds)).collect();
    pairs.push(("Time".to_owned(), seconds.join(", ")));
    if let Some(from) = &record.reused {
        let trials = count(from.trials.len(), "trial");
        pairs.push(("Reused".to_owned(), format!("{trials} from {}", from.run.display())));
    }
    let fitted_in: BTreeSet<String> = record.fitted_in.values().map(|run| run.display().to_string()).collect();
    if !fitted_in.is_empty() {
        let models = count(record.fitted_in.len(), "model");
        let runs = fitted_in.into_iter().collect::<Vec<_>>().join(", ");
        pairs.push(("Fitted".to_owned(), format!("{models} in {runs}, evaluated here")));
    }
    for (name, value) in record.environment.as_object().into_iter().flatten() {
        let words = match value {
            Value::Null => continue,
            value => readable(value),
        };
        pairs.push((name.clone(), words));
    }
    let failures: Vec<Vec<Cell>> =
        record.failures.iter().map(|(trial, why)| vec![Cell::text(trial), Cell::text(why)]).collect();
    let failed = if failures.is_empty() {
        String::new()
    } else {
        table("Failed trials", &[("trial", false), ("reason", false)], &failures)
    };
    failed + &list(&pairs)
}

/// A stage with its duration. The data is scanned before the run starts, because the scan determines the signature.
fn stage_time(stage: &str, seconds: f64) -> String {
    let note = if stage == "data" { " (before the start)" } else { "" };
    format!("{stage} {}{note}", duration(seconds))
}

/// A JSON value as text: nested values with their names.
fn readable(value: &Value) -> String {
    match value {
        Value::String(words) => words.clone(),
        Value::Array(all) => all.iter().map(readable).collect::<Vec<_>>().join(", "),
        Value::Object(all) => {
            let part = |(name, value): (&String, &Value)| match value {
                Value::Object(inner) if inner.is_empty() => None,
                Value::Object(_) => Some(format!("{name} ({})", readable(value))),
                value => Some(format!("{name} {}", readable(value))),
            };
            all.iter().filter_map(part).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN: &str = "# data/demo.toml\nkind = \"demo\"\n\n# experiments/a.toml\n# see b.toml\nx = 1\n[models.knn]\nk = 5\n\n\
        # experiments/b.toml\nextends = \"a.toml\"\nx = 1\n[models.knn]\nk = 7\nweights = \"<i>\"\n\n# --set models.knn.k=9\n";

    #[test]
    fn changes_from_the_parent_are_listed_with_both_values() {
        let html = difference(WRITTEN);
        assert!(html.contains("<td>models.knn.k</td><td>5</td><td>7</td>"), "{html}");
        assert!(html.contains("<td>models.knn.weights</td><td>–</td><td>&quot;&lt;i&gt;&quot;</td>"), "{html}");
        assert!(!html.contains("<td>x</td>") && !html.contains("extends"), "{html}");
        assert!(html.contains("--set models.knn.k=9"));
    }

    #[test]
    fn stage_versions_are_text_and_not_json() {
        let stages =
            serde_json::json!({ "runner": 1, "features": { "mel": 2, "fft": 1 }, "files": {}, "names": ["a", "b"] });
        assert_eq!(readable(&stages), "runner 1, features (mel 2, fft 1), names a, b");
        assert_eq!(readable(&serde_json::json!(true)), "true");
    }

    #[test]
    fn a_file_without_a_parent_and_an_unreadable_file_have_no_changes() {
        assert!(difference("# experiments/a.toml\nx = 1\n").contains("has no parent"));
        assert_eq!(difference("# experiments/a.toml\nx = [\n"), "");
        assert_eq!(difference(""), "");
    }
}
