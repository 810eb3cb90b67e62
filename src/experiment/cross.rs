//! What no schema can say: names that refer to other tables, and what each kind finds wrong with itself. Then the typed value.

use std::collections::HashMap;

use serde::de::DeserializeOwned;

use super::faults::Collector;
use super::suggest;
use super::tree::{Entry, Node, Table, Value, kind_of};
use super::{EvaluateSpec, Experiment, shapes};
use crate::audio::AudioSpec;
use crate::augment::AugmentSpec;
use crate::data::DataSpec;
use crate::data::split::SplitSpec;
use crate::features::FeatureSpec;
use crate::models::ModelSpec;
use crate::models::networks::InputShape;

/// Checks names across tables, and asks every kind that can be read.
pub fn check(tree: &Node, complete: bool, faults: &mut Collector) {
    let Some(root) = tree.table() else { return };
    if complete {
        for (section, word, kinds) in
            [("features", "feature", FeatureSpec::KINDS), ("models", "model", ModelSpec::KINDS)]
        {
            // Another type than a table has been told already.
            if root.get(section).is_none_or(|entry| entry.node.table().is_some_and(Table::is_empty)) {
                let at = root.get(section).map_or(tree.at, |entry| entry.key);
                let help = format!("write a table [{section}.NAME]. Kinds: {}", kinds.join(", "));
                faults.add(at, format!("no {word} is named"), &help);
            }
        }
        feature_names(root, faults);
        augmentation_names(root, faults);
    }
    if let Some(entry) = root.get("models").and_then(|entry| entry.node.table()).and_then(|table| table.get("features"))
    {
        faults.add(entry.key, "a model cannot be called `features`: its column in the grid would be".into(), "");
    }
    let audio = match root.get("audio") {
        Some(entry) => read::<AudioSpec>(&entry.node),
        None => Some(AudioSpec::default()),
    };
    if let Some(audio) = &audio {
        for entry in tables(root, "features") {
            if let Some(spec) = read::<FeatureSpec>(&entry.node) {
                report(entry, spec.as_kind().faults(audio.sample_rate), faults);
            }
        }
        network_inputs(root, audio, faults);
        augmentations(root, audio, faults);
    }
    let evaluate = match root.get("evaluate") {
        Some(entry) => {
            let spec = read::<EvaluateSpec>(&entry.node);
            spec.iter().for_each(|spec| report(entry, spec.faults(), faults));
            spec
        }
        None => Some(EvaluateSpec::default()),
    };
    for entry in tables(root, "models") {
        if let Some(spec) = read::<ModelSpec>(&entry.node) {
            report(entry, spec.as_kind().faults(), faults);
            if let Some(evaluate) = &evaluate {
                task(entry, &spec, evaluate, faults);
            }
            if let Some(audio) = &audio {
                crop(entry, &spec, audio, faults);
            }
        }
    }
    if let Some(entry) = root.get("data") {
        data_spec(entry, faults);
    }
    if let Some((entry, spec)) = root.get("split").and_then(|entry| Some((entry, read::<SplitSpec>(&entry.node)?))) {
        report(entry, spec.faults(), faults);
    }
}

/// A model that knows one class a recording cannot be asked for several.
fn task(entry: &Entry, spec: &ModelSpec, evaluate: &EvaluateSpec, faults: &mut Collector) {
    let kind = spec.as_kind();
    if !kind.is_for(evaluate.task) {
        let networks = "use a network, such as cnn_small or resnet18";
        let found =
            format!("`{}` gives one class a recording, and evaluate.task asks for several: {networks}", spec.kind());
        faults.add(entry.key, found, "");
    }
    report(entry, kind.task_faults(&evaluate.judge()), faults);
}

/// A random crop needs a length.
fn crop(entry: &Entry, spec: &ModelSpec, audio: &AudioSpec, faults: &mut Collector) {
    if spec.as_kind().crops_at_random() && audio.clip_seconds.is_none() {
        let sentence = "a random crop needs a length: set audio.clip_seconds, or write \"fixed\"";
        report(entry, vec![("crop".to_owned(), sentence.to_owned())], faults);
    }
}

/// A network that is too deep for the features it is given.
fn network_inputs(root: &Table, audio: &AudioSpec, faults: &mut Collector) {
    let Some(features) = root.get("features").and_then(|entry| entry.node.table()) else { return };
    let mut shapes: HashMap<&str, Option<InputShape>> = HashMap::new();
    for entry in tables(root, "models") {
        let Some(model) = read::<ModelSpec>(&entry.node).filter(|spec| spec.as_kind().is_network()) else { continue };
        let kind = model.as_kind();
        if !kind.faults().is_empty() {
            continue;
        }
        for (name, feature) in features {
            if kind.features().0.as_ref().is_some_and(|chosen| !chosen.contains(name)) {
                continue;
            }
            let shape = shapes.entry(name).or_insert_with(|| {
                read::<FeatureSpec>(&feature.node).and_then(|spec| shapes::of_feature(audio, &spec))
            });
            // However many classes there are: a network that fits two fits them all.
            if let Some(Err(why)) = shape.and_then(|shape| kind.layers(shape, 2)) {
                faults.add(entry.key, format!("the feature `{name}` is no input for `{}`: {why:#}", model.kind()), "");
            }
        }
    }
}

/// The data set of a table, with what it finds wrong with itself.
pub fn data_spec(entry: &Entry, faults: &mut Collector) -> Option<DataSpec> {
    let spec = read::<DataSpec>(&entry.node)?;
    report(entry, spec.as_kind().faults(), faults);
    Some(spec)
}

/// Every name in the `features` of a model is a feature of the experiment.
fn feature_names(root: &Table, faults: &mut Collector) {
    let Some(known) = root.get("features").and_then(|entry| entry.node.table()) else { return };
    for model in tables(root, "models") {
        let Some(choice) = model.node.table().and_then(|table| table.get("features")) else { continue };
        let names: Vec<&Node> = match &choice.node.value {
            Value::List(items) => items.iter().collect(),
            _ => vec![&choice.node],
        };
        for (i, node) in names.iter().enumerate() {
            let Some(name) = node.text() else { continue };
            if !known.contains_key(name) {
                let help = suggest::help(name, known.keys().map(String::as_str), "Features here");
                faults.add(node.at, format!("unknown feature `{name}`"), &help);
            } else if names[..i].iter().any(|other| other.text() == Some(name)) {
                faults.add(node.at, format!("the feature `{name}` is named twice"), "");
            }
        }
    }
}

/// Every `[[augment]]` with its name: that of its kind, unless it has one of its own.
fn augment_list(root: &Table) -> Vec<(&Node, Option<&str>)> {
    let Some(Value::List(items)) = root.get("augment").map(|entry| &entry.node.value) else { return Vec::new() };
    let mut named = Vec::new();
    for item in items {
        let table = item.table();
        let own = table.and_then(|table| table.get("name")).and_then(|entry| entry.node.text());
        named.push((item, own.or(table.and_then(kind_of))));
    }
    named
}

/// Augmentations are told apart by their names, and models choose among these.
fn augmentation_names(root: &Table, faults: &mut Collector) {
    let all = augment_list(root);
    let names: Vec<&str> = all.iter().filter_map(|(_, name)| *name).collect();
    for (place, (node, name)) in all.iter().enumerate() {
        let before = all[..place].iter().any(|(_, other)| name.is_some() && other == name);
        if before {
            let name = name.unwrap_or_default();
            let at =
                node.table().and_then(|table| table.get("name").or(table.get("kind"))).map_or(node.at, |e| e.node.at);
            let help = format!("give one of them another: `name = \"{name}_2\"`");
            faults.add(at, format!("two augmentations are called `{name}`"), &help);
        }
    }
    for model in tables(root, "models") {
        let Some(choice) = model.node.table().and_then(|table| table.get("augment")) else { continue };
        let Value::List(chosen) = &choice.node.value else { continue };
        for node in chosen {
            let Some(name) = node.text().filter(|name| !names.contains(name)) else { continue };
            if names.is_empty() {
                faults.add(node.at, format!("unknown augmentation `{name}`"), "the experiment has no [[augment]]");
            } else {
                let help = suggest::help(name, names.iter().copied(), "Augmentations here");
                faults.add(node.at, format!("unknown augmentation `{name}`"), &help);
            }
        }
    }
}

/// What each augmentation finds wrong with itself, and whether there is anybody to hear it.
fn augmentations(root: &Table, audio: &AudioSpec, faults: &mut Collector) {
    let Some(entry) = root.get("augment") else { return };
    let all = augment_list(root);
    for (node, _) in &all {
        let Some(spec) = read::<AugmentSpec>(node) else { continue };
        let item = Entry { key: node.at, node: (*node).clone() };
        report(&item, spec.as_kind().faults(audio.sample_rate), faults);
    }
    if all.is_empty() {
        return;
    }
    let models: Vec<ModelSpec> = tables(root, "models").filter_map(|entry| read(&entry.node)).collect();
    let networks = || models.iter().filter(|model| model.as_kind().is_network());
    // A model that cannot be read may be a network.
    if models.len() == tables(root, "models").count() && networks().next().is_none() {
        let help = "only networks hear another example in each epoch: name one in [models], or leave [[augment]] out";
        faults.add(entry.key, "no model hears these augmentations".into(), help);
    }
    if audio.clip_seconds.is_none() && networks().next().is_some() {
        let help = "set audio.clip_seconds";
        faults.add(entry.key, "augmented clips need a length".into(), help);
    }
}

/// The experiment as a typed value, of a tree without faults. The schema and the types are one, so what is refused here is a
/// case that the checker does not know: told section by section, to be near the place.
pub fn build(tree: &Node, name: &str, faults: &mut Collector) -> Option<Experiment> {
    if !faults.is_empty() {
        return None;
    }
    match serde_json::from_value::<Experiment>(tree.to_json()) {
        Ok(experiment) => Some(Experiment { name: name.to_owned(), ..experiment }),
        Err(error) => {
            let root = tree.table()?;
            let mut at = tree.at;
            for entry in tables(root, "features").filter(|entry| read::<FeatureSpec>(&entry.node).is_none()) {
                at = entry.key;
            }
            for entry in tables(root, "models").filter(|entry| read::<ModelSpec>(&entry.node).is_none()) {
                at = entry.key;
            }
            faults.add(at, format!("this cannot be read: {error}"), "");
            None
        }
    }
}

fn tables<'a>(root: &'a Table, section: &str) -> impl Iterator<Item = &'a Entry> {
    root.get(section).and_then(|entry| entry.node.table()).into_iter().flat_map(Table::values)
}

fn read<T: DeserializeOwned>(node: &Node) -> Option<T> {
    serde_json::from_value(node.to_json()).ok()
}

/// What a kind says is wrong with its keys; a key that is not written is wrong by its default, so the table is shown.
fn report(entry: &Entry, found: Vec<(String, String)>, faults: &mut Collector) {
    for (key, sentence) in found {
        let written = entry.node.table().and_then(|table| table.get(&key));
        let at = written.map_or(entry.key, |entry| entry.node.at);
        // A value out of its range has been told by the schema already.
        if written.is_some() && faults.has(at) {
            continue;
        }
        faults.add(at, format!("`{key}`: {sentence}"), "");
    }
}
