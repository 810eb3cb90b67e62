//! The reference of every key, for `timbre show` and `timbre list`: text from the JSON schema, values from the defaults of the types.

use std::path::Path;

use indexmap::IndexMap;
use serde_json::{Value as Json, json};
use timbre_core::error::UserError;
use timbre_evaluation::metrics::{self, is_loss};

use crate::check::{
    describe::describe,
    schema::{self, strict},
};
use crate::read::{built_in, loader};
use crate::{AugmentSpec, DataSpec, FeatureSpec, ModelSpec, SplitSpec};
use timbre_core::suggest;

/// The sections whose tables have a kind: the section, the definition of its kinds, the heading of such a table.
const KINDS: [(&str, &str, &str); 5] = [
    ("data", "DataSpec", "[data]"),
    ("split", "SplitSpec", "[split]"),
    ("features", "FeatureSpec", "[features.KIND]"),
    ("augment", "AugmentSpec", "[[augment]]"),
    ("models", "ModelSpec", "[models.KIND]"),
];

/// Text in a comment is wrapped at this column.
const WIDTH: usize = 100;

/// The names of the experiments of a project and of the built-in ones, with their descriptions.
pub fn experiments(root: &Path) -> Vec<(String, String)> {
    let described = |name: String| {
        let table: Option<toml::Table> = find_text(root, &name).and_then(|text| text.parse().ok());
        let description = table.as_ref().and_then(|table| table.get("description")?.as_str());
        let description = description.unwrap_or_default().to_owned();
        (name, description)
    };
    experiment_names(root).into_iter().map(described).collect()
}

/// The text of an experiment: its file, else the built-in one.
pub fn experiment_text(root: &Path, name: &str) -> Result<String, UserError> {
    find_text(root, name).ok_or_else(|| {
        let help = suggest::help(name, experiment_names(root).iter().map(String::as_str), "Experiments");
        UserError::usage(format!("no experiment `{name}`: {help}"))
    })
}

fn experiment_names(root: &Path) -> Vec<String> {
    loader::names(&root.join("experiments"), built_in::EXPERIMENTS)
}

fn find_text(root: &Path, name: &str) -> Option<String> {
    let on_disk = std::fs::read_to_string(root.join("experiments").join(format!("{name}.toml"))).ok();
    on_disk.or_else(|| built_in::find(built_in::EXPERIMENTS, name).map(str::to_owned))
}

/// The kinds of a section (`features`, `models`, `augment`, `data`, `split`) with the first sentence of their description.
pub fn kinds(section: &str) -> Vec<(String, String)> {
    let Some((_, definition, _)) = KINDS.iter().find(|(name, ..)| *name == section) else { return Vec::new() };
    let kinds = schema::kinds(&strict()["$defs"][definition]).unwrap_or_default();
    kinds.into_iter().map(|(kind, own)| (kind.to_owned(), first_sentence(own))).collect()
}

/// The metrics of both tasks, each with its task and direction.
pub fn metric_names() -> Vec<(String, String)> {
    use timbre_core::labels::Task;
    let mut found: Vec<(String, String)> = Vec::new();
    for (task, words) in [(Task::SingleLabel, "single label"), (Task::MultiLabel, "several labels")] {
        for name in metrics::names(task) {
            match found.iter_mut().find(|(known, _)| known == name) {
                Some((_, of)) => *of = of.replacen("single label", "single and several labels", 1),
                None => found.push((name.to_owned(), format!("{words}, {}", direction(name)))),
            }
        }
    }
    found
}

fn direction(metric: &str) -> &'static str {
    if is_loss(metric) { "lower is better" } else { "higher is better" }
}

fn first_sentence(schema: &Json) -> String {
    let text = schema["description"].as_str().unwrap_or_default().replace('\n', " ");
    match text.find(". ") {
        Some(end) => text[..=end].to_owned(),
        None => text,
    }
}

/// A table of the experiment file with all its keys, their documentation and defaults, as TOML to paste: `models.resnet18`,
/// `evaluate`; or one of its keys: `models.resnet18.epochs`.
pub fn show(path: &str) -> Result<String, UserError> {
    let mut parts = path.split('.');
    let section = parts.next().unwrap_or_default();
    let sections = strict()["properties"].as_object().expect("the sections of an experiment");
    let Some(own) = sections.get(section) else {
        let help = suggest::help(section, sections.keys().map(String::as_str), "Tables and keys");
        return Err(UserError::usage(format!("an experiment has no key `{section}`: {help}")));
    };
    let (table, heading, defaults) = match KINDS.iter().find(|(name, ..)| *name == section) {
        Some((_, definition, heading)) => {
            let kinds = schema::kinds(&strict()["$defs"][definition]).unwrap_or_default();
            let Some(kind) = parts.next() else {
                let lines =
                    self::kinds(section).into_iter().map(|(kind, about)| format!("{section}.{kind}\t{about}\n"));
                return Ok(columns(&lines.collect::<String>()));
            };
            let Some((_, table)) = kinds.iter().find(|(name, _)| *name == kind) else {
                let help = suggest::help(kind, kinds.iter().map(|(name, _)| *name), "Kinds");
                return Err(UserError::usage(format!("`{section}` has no kind `{kind}`: {help}")));
            };
            let heading = heading.replace("KIND", kind);
            let named = heading.contains(kind);
            let heading = if named { heading } else { format!("{heading}\nkind = \"{kind}\"") };
            (*table, heading, defaults_of_kind(section, kind))
        }
        None => {
            let table = schema::resolve(strict(), own);
            (table, format!("[{section}]"), own.get("default").cloned().unwrap_or(json!({})))
        }
    };
    let keys = schema::properties(strict(), table);
    if keys.is_empty() {
        return Ok(entry(section, own, own.get("default")));
    }
    if let Some(key) = parts.next() {
        let Some(own) = keys.get(key) else {
            let help = suggest::help(key, keys.keys().copied(), "Keys");
            return Err(UserError::usage(format!("no key `{path}`: {help}")));
        };
        return Ok(entry(key, &as_stated(table, key, own), defaults.get(key).or(own.get("default"))));
    }
    let mut text = comment(table["description"].as_str().or(own["description"].as_str()).unwrap_or_default());
    text += &format!("{heading}\n");
    for (key, own) in keys.into_iter().filter(|(key, _)| *key != "kind") {
        text += "\n";
        text += &entry(key, &as_stated(table, key, own), defaults.get(key).or(own.get("default")));
    }
    Ok(text)
}

/// A key of a table with the description that the table gives it: a network states its own defaults for the keys of the training.
fn as_stated(table: &Json, key: &str, own: &Json) -> Json {
    let mut own = own.clone();
    for part in table["allOf"].as_array().into_iter().flatten() {
        let stated = &schema::resolve(strict(), part)["properties"][key]["description"];
        if stated.is_string() {
            own["description"] = stated.clone();
        }
    }
    own
}

/// `docs/data-kinds.md`: every kind of data set with its keys, and the sets of that kind that are built in.
pub fn data_kinds_page() -> String {
    let kinds = schema::kinds(&strict()["$defs"]["DataSpec"]).unwrap_or_default();
    let keys_of = |table| schema::properties(strict(), table);
    let is_common = |key: &str| kinds.iter().all(|(_, table)| keys_of(table).contains_key(key));
    let mut page = "# Kinds of data sets\n\n\
        This page is generated from the program. [Data sets](../data/README.md) explains how to describe a set.\n"
        .to_owned();
    let Some((first, table)) = kinds.first() else { return page };
    page += &format!("\n## Keys of every kind\n\n{KEY_HEAD}");
    let defaults = defaults_of_kind("data", first);
    for (key, own) in keys_of(table).into_iter().filter(|(key, _)| is_common(key) && *key != "kind") {
        page += &key_row(key, own, defaults.get(key).or(own.get("default")));
    }
    let mut built_in: Vec<(&str, toml::Table)> = Vec::new();
    for (name, text) in built_in::DATA_SETS {
        built_in.extend(text.parse().ok().map(|table| (*name, table)));
    }
    for (kind, table) in &kinds {
        page += &format!("\n## `{kind}`\n\n{}\n", table["description"].as_str().unwrap_or_default().replace('\n', " "));
        let sets = built_in.iter().filter(|(_, set)| set.get("kind").and_then(toml::Value::as_str) == Some(kind));
        for (place, (name, set)) in sets.enumerate() {
            let fact = |key: &str| set.get("about").and_then(|about| about.get(key)?.as_str());
            let facts = [fact("title"), fact("size"), fact("licence").map(|licence| licence.trim_end_matches('.'))];
            let facts: Vec<&str> = facts.into_iter().flatten().collect();
            let page_of = fact("homepage").map_or_else(String::new, |page| format!(" [Page]({page})."));
            let cite = fact("citation").map_or_else(String::new, |citation| format!(" Cite: {citation}."));
            let gap = if place == 0 { "\n" } else { "" };
            page += &format!("{gap}- **`{name}`**: {}.{page_of}{cite}\n", facts.join("; "));
        }
        let defaults = defaults_of_kind("data", kind);
        let own = keys_of(table).into_iter().filter(|(key, _)| !is_common(key));
        let rows: String = own.map(|(key, own)| key_row(key, own, defaults.get(key).or(own.get("default")))).collect();
        if !rows.is_empty() {
            page += &format!("\n{KEY_HEAD}{rows}");
        }
    }
    page + &tables_page(&kinds, "## ")
}

/// A row that so many kinds have is written once.
const MANY: usize = 10;

/// `docs/feature-kinds.md`: every kind of feature with its keys.
pub fn feature_kinds_page() -> String {
    let intro = "[Features](features.md) explains them and compares them with their peers.";
    kinds_page("features", "Kinds of features", intro)
}

/// `docs/augmentation-kinds.md`: every kind of augmentation with its keys.
pub fn augmentation_kinds_page() -> String {
    let intro =
        "[Augmentations](augmentations.md) explains them, and how an amount that is drawn for each example is written.";
    kinds_page("augment", "Kinds of augmentations", intro)
}

/// `docs/model-kinds.md`: every kind of model with its keys.
pub fn model_kinds_page() -> String {
    let intro = "[Models](models.md) and [networks](networks.md) explain them. A key that takes a list or a range of values beside one value is \
        chosen by cross-validation on the training recordings if it has several.";
    kinds_page("models", "Kinds of models", intro)
}

/// The page of the kinds of a section: keys of many kinds, every kind, and the tables that are values of keys.
fn kinds_page(section: &str, title: &str, intro: &str) -> String {
    let definition = KINDS.iter().find(|(name, ..)| *name == section).map_or("", |(_, definition, _)| definition);
    let kinds = schema::kinds(&strict()["$defs"][definition]).unwrap_or_default();
    let rows_of = |(kind, table): &(&str, &'static Json)| -> Vec<(String, String)> {
        let defaults = defaults_of_kind(section, kind);
        let keys = schema::properties(strict(), table).into_iter().filter(|(key, _)| *key != "kind");
        let row = |key: &str, own| key_row(key, &as_stated(table, key, own), defaults.get(key).or(own.get("default")));
        keys.map(|(key, own)| (key.to_owned(), row(key, own))).collect()
    };
    let rows: Vec<Vec<(String, String)>> = kinds.iter().map(rows_of).collect();
    let mut counts: IndexMap<&str, usize> = IndexMap::new();
    rows.iter().flatten().for_each(|(_, row)| *counts.entry(row).or_default() += 1);
    let is_shared = |row: &str| counts[row] >= MANY;
    let mut page =
        format!("# {title}\n\nThis page is generated from the program. {intro}\n\n## Keys of many kinds\n\n");
    page += KEY_HEAD;
    page.extend(counts.keys().copied().filter(|row| is_shared(row)));
    for ((kind, table), rows) in kinds.iter().zip(&rows) {
        page += &format!("\n## `{kind}`\n\n{}\n", table["description"].as_str().unwrap_or_default().replace('\n', " "));
        let own: String = rows.iter().map(|(_, row)| row.as_str()).filter(|row| !is_shared(row)).collect();
        if !own.is_empty() {
            page += &format!("\n{KEY_HEAD}{own}");
        }
        let above = counts.keys().filter(|row| is_shared(row));
        let above: Vec<Option<&str>> =
            above.map(|wanted| rows.iter().find(|(_, row)| row == wanted).map(|(key, _)| key.as_str())).collect();
        let shared: Vec<String> = above.split(Option::is_none).filter(|run| !run.is_empty()).map(run_of_keys).collect();
        if !shared.is_empty() {
            page += &format!("\nAs above: {}.\n", shared.join(", "));
        }
    }
    page + &tables_page(&kinds, "## ")
}

/// Keys that stand below each other in the table of shared keys.
fn run_of_keys(keys: &[Option<&str>]) -> String {
    let named = |key: &Option<&str>| format!("`{}`", key.unwrap_or_default());
    match keys {
        [first, _, _, _, _, .., last] => format!("{} to {}", named(first), named(last)),
        few => few.iter().map(named).collect::<Vec<_>>().join(", "),
    }
}

/// The tables that are values of keys of the kinds, each once: `pcen`, `select`.
fn tables_page(kinds: &[(&str, &'static Json)], heading: &str) -> String {
    let mut tables: IndexMap<String, &'static Json> = IndexMap::new();
    for (key, own) in kinds.iter().flat_map(|(_, table)| schema::properties(strict(), table)) {
        tables.extend(tables_in(own).map(|table| (format!("{heading}The table `{key}`"), table)));
    }
    tables.iter().map(|(heading, table)| table_section(heading, table, None)).collect()
}

/// The table that is the value of a key, if it has keys of its own with descriptions; also one of several possible values.
fn tables_in(schema: &'static Json) -> Option<&'static Json> {
    let own = schema::resolve(strict(), schema);
    let is_described = |keys: &serde_json::Map<String, Json>| keys.values().any(|key| key["description"].is_string());
    if own["properties"].as_object().is_some_and(is_described) && schema::kinds(own).is_none() {
        return Some(own);
    }
    own["anyOf"].as_array().into_iter().flatten().find_map(tables_in)
}

/// A section with the keys of a table.
fn table_section(heading: &str, table: &'static Json, default: Option<&Json>) -> String {
    let about = table["description"].as_str().unwrap_or_default();
    let about = about.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    let keys = schema::properties(strict(), table).into_iter().filter(|(key, _)| *key != "kind");
    let default_of =
        |key: &str, own: &'static Json| default.and_then(|default| default.get(key)).or(own.get("default"));
    let rows: String = keys.map(|(key, own)| key_row(key, own, default_of(key, own))).collect();
    let table = if rows.is_empty() { String::new() } else { format!("\n{KEY_HEAD}{rows}") };
    format!("\n{heading}\n\n{about}\n{table}")
}

/// `docs/configuration.md`: every table of an experiment file. Data sets, features, augmentations and models have pages of their own.
pub fn configuration_page() -> String {
    let pages = [
        ("data", "data-kinds.md"),
        ("features", "feature-kinds.md"),
        ("augment", "augmentation-kinds.md"),
        ("models", "model-kinds.md"),
    ];
    let mut page = "# Configuration\n\n\
        This page is generated from the program. An experiment is a TOML file; [experiments](../experiments/README.md#writing-one) \
        explains how to write one, and which of several values counts. `timbre show KEY` prints each of these tables as TOML to paste, with \
        its defaults; the [JSON schema](experiment.schema.json) lets an editor complete and check keys.\n\n\
        ## Keys outside of tables\n\n"
        .to_owned();
    let sections = strict()["properties"].as_object().expect("the sections of an experiment");
    let is_kind = |section: &str| KINDS.iter().any(|(name, ..)| *name == section);
    let is_key = |section: &str, own| !is_kind(section) && tables_in(own).is_none();
    page += KEY_HEAD;
    page.extend(
        sections
            .iter()
            .filter(|(name, own)| is_key(name, own))
            .map(|(name, own)| key_row(name, own, own.get("default"))),
    );
    for (section, own) in sections.iter().filter(|(name, own)| !is_key(name, own)) {
        let about = own["description"].as_str().unwrap_or_default().replace('\n', " ");
        if let Some((_, file)) = pages.iter().find(|(name, _)| name == section) {
            let heading = KINDS.iter().find(|(name, ..)| name == section).map_or("", |(.., heading)| heading);
            page +=
                &format!("\n## `{}`\n\n{about} [Every kind with its keys]({file}).\n", heading.replace("KIND", "NAME"));
        } else if is_kind(section) {
            page += &format!("\n## `[{section}]`\n\n{about}\n");
            for (kind, table) in schema::kinds(&strict()["$defs"]["SplitSpec"]).unwrap_or_default() {
                let defaults = defaults_of_kind(section, kind);
                page += &table_section(&format!("### `kind = \"{kind}\"`"), table, Some(&defaults));
            }
        } else if let Some(table) = tables_in(own) {
            page += &table_section(&format!("## `[{section}]`"), table, own.get("default"));
            if section == "grid" {
                page += "\nEvery other key is an axis: [sweeps](grids.md).\n";
            }
            page += &tables_page(&[(section, table)], &format!("### `[{section}]`: "));
        }
    }
    page
}

/// The head of a table of keys.
const KEY_HEAD: &str = "| key | value | default | meaning |\n|---|---|---|---|\n";

/// The row of a key in such a table.
fn key_row(key: &str, own: &Json, default: Option<&Json>) -> String {
    let resolved = schema::resolve(strict(), own);
    let about = own["description"].as_str().or(resolved["description"].as_str()).unwrap_or_default();
    let default = default.and_then(toml_value).map_or_else(String::new, |value| format!("`{value}`"));
    let cells = [format!("`{key}`"), describe(strict(), own), default, about.to_owned()];
    format!("| {} |\n", cells.map(|cell| cell.replace('\n', " ").replace('|', "\\|")).join(" | "))
}

/// The keys of a kind with their default values. A kind with a key that has no default has none here.
fn defaults_of_kind(section: &str, kind: &str) -> Json {
    let keys = json!({ "kind": kind });
    let spec = match section {
        "data" => serde_json::from_value::<DataSpec>(keys).and_then(serde_json::to_value),
        "split" => serde_json::from_value::<SplitSpec>(keys).and_then(serde_json::to_value),
        "features" => serde_json::from_value::<FeatureSpec>(keys).and_then(serde_json::to_value),
        "augment" => serde_json::from_value::<AugmentSpec>(keys).and_then(serde_json::to_value),
        _ => serde_json::from_value::<ModelSpec>(keys).and_then(serde_json::to_value),
    };
    spec.unwrap_or(json!({}))
}

/// A key with its documentation and default; commented out if it has no default.
fn entry(key: &str, schema: &Json, default: Option<&Json>) -> String {
    let own = schema::resolve(strict(), schema);
    let about = schema["description"].as_str().or(own["description"].as_str()).unwrap_or_default();
    let expected = describe(strict(), schema);
    let known = expected == "something else" || about.contains(&expected);
    let mut text = comment(about);
    if !known {
        text += &comment(&format!("Expects {expected}."));
    }
    match default.and_then(toml_value) {
        Some(value) => text + &format!("{key} = {value}\n"),
        None => text + &format!("# {key} =\n"),
    }
}

/// A JSON value as an inline TOML value; none for null, which TOML does not have.
fn toml_value(value: &Json) -> Option<toml::Value> {
    toml::Value::try_from(value.clone()).ok()
}

/// A comment, wrapped at [`WIDTH`] columns.
fn comment(text: &str) -> String {
    let mut lines = String::new();
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines += &format!("{line}\n");
            line = String::from("#");
        }
        line += &format!(" {word}");
    }
    if line.len() > 1 {
        lines += &format!("{line}\n");
    }
    lines
}

/// Lines of two cells, separated by a tab, with the second cells below each other.
pub fn columns(lines: &str) -> String {
    let rows: Vec<(&str, &str)> = lines.lines().map(|line| line.split_once('\t').unwrap_or((line, ""))).collect();
    let width = rows.iter().map(|(first, _)| first.chars().count()).max().unwrap_or(0);
    let line = |(first, second): &(&str, &str)| format!("{first:width$}  {second}").trim_end().to_owned() + "\n";
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_shown_with_all_its_keys_as_toml_that_the_program_reads() {
        for (section, definition, _) in KINDS {
            for (kind, _) in kinds(section) {
                let text = show(&format!("{section}.{kind}")).unwrap();
                let table: toml::Table =
                    text.parse().unwrap_or_else(|error| panic!("{section}.{kind}: {error}\n{text}"));
                let shown = match section {
                    "features" | "models" => table[section][&kind].as_table().unwrap().clone(),
                    "augment" => table[section][0].as_table().unwrap().clone(),
                    _ => table[section].as_table().unwrap().clone(),
                };
                let mut keys = serde_json::to_value(shown).unwrap();
                keys["kind"] = json!(kind);
                let all = schema::kinds(&strict()["$defs"][definition]).unwrap();
                let own = all.into_iter().find(|(name, _)| *name == kind).unwrap().1;
                for key in schema::properties(strict(), own).keys().filter(|key| **key != "kind") {
                    let line = |start: String| text.lines().any(|line| line.starts_with(&start));
                    assert!(line(format!("{key} = ")) || line(format!("# {key} =")), "{section}.{kind}: {key}\n{text}");
                }
                // A comment says the default that stands below it.
                let mut stated = None;
                for line in text.lines() {
                    let rest = line.split_once("Default: ").map(|(_, rest)| rest.trim_end_matches('.').to_owned());
                    stated = rest.or(stated.filter(|_| !line.is_empty()));
                    let Some((_, value)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) else { continue };
                    let number = |text: &str| text.parse::<f64>().ok();
                    if let (Some(default), Some(value)) = (stated.take().and_then(|text| number(&text)), number(value))
                    {
                        assert!(
                            (default - value).abs() <= 1e-4 * value.abs(),
                            "{section}.{kind}: {default} for {line}"
                        );
                    }
                }
                // Pasting what is shown changes nothing.
                let defaults = defaults_of_kind(section, &kind);
                if section == "models" && defaults != json!({}) {
                    assert_eq!(
                        serde_json::from_value::<ModelSpec>(keys).unwrap(),
                        serde_json::from_value(defaults).unwrap()
                    );
                }
            }
        }
    }

    #[test]
    fn one_key_and_plain_tables_are_shown_and_unknown_names_get_a_suggestion() {
        assert!(show("models.knn.k").unwrap().ends_with("k = 5\n"));
        assert!(show("audio").unwrap().contains("sample_rate = "));
        assert!(show("seeds").unwrap().ends_with("seeds = [1]\n"));
        assert!(show("features").unwrap().contains("features.mel"));
        for (wrong, near) in [("model.knn", "`models`"), ("models.kn", "`knn`"), ("models.knn.kk", "`k`")] {
            assert!(show(wrong).unwrap_err().to_string().contains(near), "{wrong}");
        }
    }
}
