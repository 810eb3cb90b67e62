//! Checks that a schema cannot express: references between tables, and each kind's own checks. Then builds the typed value.

use std::collections::HashMap;

use indexmap::IndexMap;
use serde::de::DeserializeOwned;

use crate::errors::ErrorCollector;
use crate::members::{self, MemberError, ModelOnFeature};
use crate::read::tree::{Entry, Node, Table, Value, kind_of};
use crate::{EvaluateSpec, Experiment, shapes};
use timbre_core::suggest;
use timbre_core::{labels::Classes, registry::Fault};
use timbre_evaluation::threshold_search::TuneOn;
use timbre_inputs::{
    augment::AugmentSpec,
    data::{DataSpec, split::SplitSpec},
    features::FeatureSpec,
};
use timbre_models::{ModelSpec, hyperparameters::TrainingCrop, networks::InputShape};
use timbre_signal::audio::AudioSpec;

/// Checks references between tables, and runs the checks of every kind that can be parsed.
pub fn check(tree: &Node, complete: bool, errors: &mut ErrorCollector) {
    let Some(root) = tree.table() else { return };
    if complete {
        for (section, word, kinds) in
            [("features", "feature", FeatureSpec::KINDS), ("models", "model", ModelSpec::KINDS)]
        {
            // A value that is not a table is already reported.
            if root.get(section).is_none_or(|entry| entry.node.table().is_some_and(Table::is_empty)) {
                let at = root.get(section).map_or(tree.at, |entry| entry.key);
                let help = format!("add a table [{section}.NAME]. Kinds: {}", kinds.join(", "));
                errors.add(at, format!("no {word} is defined"), &help);
            }
        }
        feature_names(root, errors);
        ensembles(root, errors);
        augmentation_names(root, errors);
    }
    if let Some(entry) = root.get("models").and_then(|entry| entry.node.table()).and_then(|table| table.get("features"))
    {
        errors.add(entry.key, "a model cannot be named `features`: that is a column of the score grid".into(), "");
    }
    let audio = audio_spec(root);
    if let Some(audio) = &audio {
        for entry in tables(root, "features") {
            if let Some(spec) = read::<FeatureSpec>(&entry.node) {
                report(entry, spec.as_kind().faults(audio.sample_rate), errors);
            }
        }
        network_inputs(root, audio, errors);
        augmentations(root, audio, errors);
    }
    let evaluate = evaluation(root, errors);
    if let (Some(entry), Some(evaluate)) = (root.get("evaluate"), &evaluate) {
        class_names(root, entry, errors);
        if let Some(audio) = &audio {
            windows(root, entry, evaluate, audio, errors);
        }
    }
    for entry in tables(root, "models") {
        if let Some(spec) = read::<ModelSpec>(&entry.node) {
            report(entry, spec.as_kind().faults(), errors);
            if let Some(evaluate) = &evaluate {
                report(entry, spec.as_kind().task_faults(&evaluate.decision_rule(&Classes::default())), errors);
            }
            if let Some(audio) = &audio {
                crop(entry, &spec, audio, errors);
            }
        }
    }
    if let Some(entry) = root.get("data") {
        let data = data_spec(entry, errors);
        roles_of_sets(root, entry, data.as_ref(), errors);
    }
    if let Some((entry, spec)) = root.get("split").and_then(|entry| Some((entry, read::<SplitSpec>(&entry.node)?))) {
        report(entry, spec.faults(), errors);
    }
}

/// Parses `[evaluate]` and reports its errors.
pub fn evaluation(root: &Table, errors: &mut ErrorCollector) -> Option<EvaluateSpec> {
    let Some(entry) = root.get("evaluate") else { return Some(EvaluateSpec::default()) };
    let spec = read::<EvaluateSpec>(&entry.node);
    spec.iter().for_each(|spec| report(entry, spec.faults(), errors));
    search_split(root, spec.as_ref(), errors);
    spec
}

/// A threshold search on the validation split needs one.
fn search_split(root: &Table, evaluate: Option<&EvaluateSpec>, errors: &mut ErrorCollector) {
    let chooses = evaluate.and_then(|spec| spec.search.as_ref()).map(|search| search.tune_on);
    let split = match root.get("split") {
        Some(entry) => read::<SplitSpec>(&entry.node),
        None => Some(SplitSpec::default()),
    };
    let entry = root.get("evaluate").and_then(|entry| entry.node.table()?.get("search"));
    if let (Some(TuneOn::Validation), Some(split), Some(entry)) = (chooses, split, entry)
        && !split.may_have_validation()
    {
        let help = "set split.validation, such as 0.1: whole songs of the training recordings";
        errors.add(entry.key, "the search uses the validation split, but there is none".into(), help);
    }
}

/// Classes with their own threshold must exist, if the data set's classes are known before it is loaded.
fn class_names(root: &Table, evaluate: &Entry, errors: &mut ErrorCollector) {
    let own = evaluate.node.table().and_then(|table| table.get("cutoffs")).and_then(|entry| entry.node.table());
    let data = root.get("data").and_then(|entry| read::<DataSpec>(&entry.node));
    let (Some(own), Some(classes)) = (own, data.and_then(|data| data.known_classes())) else { return };
    for (name, entry) in own.iter().filter(|(name, _)| classes.index(name).is_none()) {
        let help = suggest::help(name, classes.names().iter().map(String::as_str), "Classes here");
        errors.add(entry.key, format!("unknown class `{name}`"), &help);
    }
}

/// Windows must look like the training clips: a model cannot read features of another shape, and a network trained on another
/// length would see another tempo.
fn windows(root: &Table, at: &Entry, evaluate: &EvaluateSpec, audio: &AudioSpec, errors: &mut ErrorCollector) {
    let Some(window) = evaluate.windows().filter(|window| window.faults().is_empty()) else { return };
    let Some(features) = root.get("features").and_then(|entry| entry.node.table()) else { return };
    let key = |name: &str| at.node.table().and_then(|table| table.get(name)).map(|entry| entry.node.at);
    let place = key("window").or(key("mode")).unwrap_or(at.key);
    let length = window.length(audio.sample_rate);
    if audio.clip_samples() == Some(length) || errors.has(place) {
        return;
    }
    let of_windows = AudioSpec { clip_seconds: Some(window.seconds), ..audio.clone() };
    for entry in tables(root, "models") {
        let Some(model) = read::<ModelSpec>(&entry.node) else { continue };
        let kind = model.as_kind();
        if kind.is_network() {
            let (sentence, help) = match audio.clip_seconds {
                None => (
                    format!(
                        "windows of {} s differ from the training clips of `{}`, which are as long as their recordings",
                        window.seconds,
                        model.kind()
                    ),
                    format!("set audio.clip_seconds = {:?}", window.seconds),
                ),
                Some(clip) => {
                    let relation = if window.seconds > clip { "longer" } else { "shorter" };
                    (
                        format!(
                            "windows of {} s are {relation} than the clips of {clip} s that `{}` is trained on (audio.clip_seconds)",
                            window.seconds,
                            model.kind()
                        ),
                        format!("write window = {{ seconds = {clip:?} }}, or change audio.clip_seconds"),
                    )
                }
            };
            return errors.add(place, sentence, &help);
        }
        for (name, feature) in features {
            if kind.features().0.as_ref().is_some_and(|chosen| !chosen.contains(name)) {
                continue;
            }
            let Some(spec) = read::<FeatureSpec>(&feature.node) else { continue };
            let (Some(clip), Some(own)) =
                (shapes::feature_shape(audio, &spec), shapes::feature_shape(&of_windows, &spec))
            else {
                continue;
            };
            if clip != own {
                let sentence = format!(
                    "the feature `{name}` of a window of {} s is {} × {}, but `{}` is trained on clips with {} × {}",
                    window.seconds,
                    own.height,
                    own.width,
                    model.kind(),
                    clip.height,
                    clip.width
                );
                return errors.add(
                    place,
                    sentence,
                    "make window.seconds and audio.clip_seconds equal, or give the feature a `summary`",
                );
            }
        }
    }
}

/// A random crop needs a clip length.
fn crop(entry: &Entry, spec: &ModelSpec, audio: &AudioSpec, errors: &mut ErrorCollector) {
    let crops = spec.as_network().is_some_and(|network| network.training().crop == TrainingCrop::Random);
    if crops && audio.clip_seconds.is_none() {
        let sentence = "a random crop needs a length: set audio.clip_seconds, or write \"fixed\"";
        report(entry, vec![Fault::new("crop", sentence)], errors);
    }
}

/// Reports networks that are too deep for their input.
fn network_inputs(root: &Table, audio: &AudioSpec, errors: &mut ErrorCollector) {
    let Some(features) = root.get("features").and_then(|entry| entry.node.table()) else { return };
    let mut shapes: HashMap<&str, Option<InputShape>> = HashMap::new();
    for entry in tables(root, "models") {
        let Some(model) = read::<ModelSpec>(&entry.node) else { continue };
        let kind = model.as_kind();
        let Some(network) = model.as_network() else { continue };
        if !kind.faults().is_empty() {
            continue;
        }
        for (name, feature) in features {
            if kind.features().0.as_ref().is_some_and(|chosen| !chosen.contains(name)) {
                continue;
            }
            let shape = shapes.entry(name).or_insert_with(|| {
                read::<FeatureSpec>(&feature.node).and_then(|spec| shapes::feature_shape(audio, &spec))
            });
            let Some(shape) = *shape else { continue };
            let fault = if shape.channels > 1 && !network.training().tags.is_empty() {
                Some("`tags` need an image with one channel".to_owned())
            } else {
                // Two classes suffice: whether the network fits does not depend on their number.
                network.layers(shape, 2).err().map(|why| format!("{why:#}"))
            };
            if let Some(why) = fault {
                let message = format!("the feature `{name}` cannot be the input of `{}`: {why}", model.kind());
                errors.add(entry.key, message, "");
            }
        }
    }
}

/// Parses `[data]` and reports its errors.
pub fn data_spec(entry: &Entry, errors: &mut ErrorCollector) -> Option<DataSpec> {
    let spec = read::<DataSpec>(&entry.node)?;
    report(entry, spec.as_kind().faults(), errors);
    Some(spec)
}

/// `[audio]`, or its defaults; None if the schema check has reported it.
pub fn audio_spec(root: &Table) -> Option<AudioSpec> {
    match root.get("audio") {
        Some(entry) => read(&entry.node),
        None => Some(AudioSpec::default()),
    }
}

/// Sets that are for training or testing alone need a split that follows their subsets.
fn roles_of_sets(root: &Table, data: &Entry, spec: Option<&DataSpec>, errors: &mut ErrorCollector) {
    let Some(DataSpec::Several(several)) = spec else { return };
    let split = match root.get("split") {
        Some(entry) => read::<SplitSpec>(&entry.node),
        None => Some(SplitSpec::default()),
    };
    let follows = |split: SplitSpec| matches!(split, SplitSpec::Official(_) | SplitSpec::TestOnly(_));
    if several.has_roles() && !split.is_none_or(follows) {
        let key = if several.test_on.is_empty() { "train_on" } else { "test_on" };
        let at = data.node.table().and_then(|table| table.get(key)).map_or(data.key, |entry| entry.node.at);
        let help = "write `kind = \"official\"` in [split]; `validation = 0.1` holds out training recordings";
        errors.add(at, format!("`{key}`: the split of this experiment divides the sets in its own way"), help);
    }
}

/// Names in the `features` of a model must be features of the experiment.
fn feature_names(root: &Table, errors: &mut ErrorCollector) {
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
                errors.add(node.at, format!("unknown feature `{name}`"), &help);
            } else if names[..i].iter().any(|other| other.text() == Some(name)) {
                errors.add(node.at, format!("duplicate feature `{name}`"), "");
            }
        }
    }
}

/// Members of an ensemble must be other models of the experiment. Weights chosen on the validation split need one.
fn ensembles(root: &Table, errors: &mut ErrorCollector) {
    let table = |section: &str| root.get(section).and_then(|entry| entry.node.table());
    let (Some(features), Some(written)) = (table("features"), table("models")) else { return };
    let specs: IndexMap<&str, ModelSpec> =
        written.iter().filter_map(|(name, entry)| Some((name.as_str(), read(&entry.node)?))).collect();
    let specs: IndexMap<&str, &ModelSpec> = specs.iter().map(|(name, spec)| (*name, spec)).collect();
    let models: Vec<(&str, &ModelSpec)> = specs.iter().map(|(name, spec)| (*name, *spec)).collect();
    let places = members::models_on_features(features.keys().map(String::as_str), &models);
    // A model with errors of its own has a name all the same.
    let unreadable = written.iter().filter(|(name, _)| !specs.contains_key(name.as_str()));
    let unreadable = unreadable.flat_map(|(name, entry)| {
        if entry.node.table().and_then(kind_of) == Some("ensemble") {
            return vec![name.clone()];
        }
        let chosen = entry.node.table().and_then(|table| table.get("features"));
        let chosen: Vec<&str> = match chosen.map(|entry| &entry.node.value) {
            Some(Value::List(items)) => items.iter().filter_map(Node::text).collect(),
            Some(Value::Text(name)) => vec![name],
            _ => features.keys().map(String::as_str).collect(),
        };
        chosen.into_iter().map(|feature| format!("{feature}.{name}")).collect::<Vec<_>>()
    });
    let names: Vec<String> = places.iter().map(ToString::to_string).chain(unreadable).collect();
    let split = root.get("split").map_or(Some(SplitSpec::default()), |entry| read(&entry.node));
    let may_choose = split.is_none_or(|split: SplitSpec| split.may_have_validation());
    let is_unreadable = |member: &str| {
        let model = member.rsplit('.').next().unwrap_or(member);
        written.contains_key(model) && !specs.contains_key(model)
    };
    for (&name, spec) in specs.iter().filter_map(|(name, spec)| Some((name, spec.as_ensemble()?))) {
        let entry = &written[name];
        let Some(list) = entry.node.table().and_then(|table| table.get("members")) else { continue };
        let Value::List(nodes) = &list.node.value else { continue };
        let mut found_members: Vec<&ModelOnFeature> = Vec::new();
        for (node, member) in nodes.iter().zip(&spec.members) {
            match members::find_member(member, &places) {
                Ok(place) if found_members.contains(&place) => {
                    errors.add(node.at, format!("duplicate member `{place}`"), "give it a larger weight instead");
                }
                Ok(place) => found_members.push(place),
                // Errors of an unreadable model are already reported.
                Err(MemberError::Unknown) if is_unreadable(member) => {}
                Err(MemberError::Unknown) => {
                    let help = suggest::help(member, names.iter().map(String::as_str), "Models here");
                    errors.add(node.at, format!("unknown member `{member}`"), &help);
                }
                Err(MemberError::Several(several)) => {
                    let several: Vec<&str> = several.iter().map(String::as_str).collect();
                    let help = format!("write {}", suggest::quoted(&several));
                    errors.add(node.at, format!("the model `{member}` uses several features"), &help);
                }
            }
        }
        if let Some(way) = members::cycle(name, &specs) {
            errors.add(list.node.at, format!("`{name}` contains itself: {}", way.join(", of ")), "");
        }
        if let (Some((key, word)), false) = (spec.needs_validation(), may_choose) {
            let at = entry.node.table().and_then(|table| table.get(key)).map_or(entry.key, |entry| entry.node.at);
            let help = "set `validation = 0.1` in [split] to hold out training recordings";
            errors.add(at, format!("`{key}`: `{word}` needs a validation split, but there is none"), help);
        }
    }
}

/// Every `[[augment]]` with its name, by default its kind.
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

/// Names of augmentations must be unique; models refer to them by name.
fn augmentation_names(root: &Table, errors: &mut ErrorCollector) {
    let all = augment_list(root);
    let names: Vec<&str> = all.iter().filter_map(|(_, name)| *name).collect();
    for (place, (node, name)) in all.iter().enumerate() {
        let before = all[..place].iter().any(|(_, other)| name.is_some() && other == name);
        if before {
            let name = name.unwrap_or_default();
            let at =
                node.table().and_then(|table| table.get("name").or(table.get("kind"))).map_or(node.at, |e| e.node.at);
            let help = format!("rename one of them: `name = \"{name}_2\"`");
            errors.add(at, format!("duplicate augmentation name `{name}`"), &help);
        }
    }
    for model in tables(root, "models") {
        let Some(choice) = model.node.table().and_then(|table| table.get("augment")) else { continue };
        let Value::List(chosen) = &choice.node.value else { continue };
        for node in chosen {
            let Some(name) = node.text().filter(|name| !names.contains(name)) else { continue };
            if names.is_empty() {
                errors.add(node.at, format!("unknown augmentation `{name}`"), "the experiment has no [[augment]]");
            } else {
                let help = suggest::help(name, names.iter().copied(), "Augmentations here");
                errors.add(node.at, format!("unknown augmentation `{name}`"), &help);
            }
        }
    }
}

/// Runs the checks of each augmentation, and checks that a network uses them.
fn augmentations(root: &Table, audio: &AudioSpec, errors: &mut ErrorCollector) {
    let Some(entry) = root.get("augment") else { return };
    let all = augment_list(root);
    let models: Vec<ModelSpec> = tables(root, "models").filter_map(|entry| read(&entry.node)).collect();
    let networks = || models.iter().filter_map(|model| model.as_network());
    let longest = networks().map(|network| network.training().epochs).max();
    let (mut copies, mut per_epoch) = (false, false);
    for (node, _) in &all {
        let Some(spec) = read::<AugmentSpec>(node) else {
            // What cannot be read may be either.
            (copies, per_epoch) = (true, true);
            continue;
        };
        let item = Entry { key: node.at, node: (*node).clone() };
        report(&item, spec.as_kind().faults(audio.sample_rate), errors);
        report(&item, copy_faults(&spec), errors);
        report(&item, epoch_faults(&spec, longest), errors);
        let makes_copies = spec.as_kind().copies() > 0;
        (copies, per_epoch) = (copies || makes_copies, per_epoch || !makes_copies);
    }
    if all.is_empty() {
        return;
    }
    // An unreadable model may be a network.
    if per_epoch && !copies && models.len() == tables(root, "models").count() && networks().next().is_none() {
        let help = "only networks use augmentations that change from epoch to epoch: add a network to [models], or `copies = 1` to \
                    [[augment]], which makes copies of the training clips for every model";
        errors.add(entry.key, "no model uses these augmentations".into(), help);
    }
    if copies {
        copies_of_imported(root, errors);
        for model in tables(root, "models") {
            let Some(replay) = model.node.table().and_then(|table| table.get("replay")) else { continue };
            let help = "remove `copies` from [[augment]]";
            errors.add(replay.key, "recorded draws have no copies".into(), help);
        }
    }
    if audio.clip_seconds.is_none() && networks().next().is_some() {
        let help = "set audio.clip_seconds";
        errors.add(entry.key, "augmentations need a fixed clip length".into(), help);
    }
}

/// The reasons why an augmentation cannot make fixed copies, if it should.
fn copy_faults(spec: &AugmentSpec) -> Vec<Fault> {
    let kind = spec.as_kind();
    if kind.copies() == 0 {
        return Vec::new();
    }
    let mut faults = Vec::new();
    if kind.p() != 1.0 {
        faults.push(Fault::new("p", "a copy is always made: leave `p` out"));
    }
    if kind.epochs() != (None, None) {
        faults
            .push(Fault::new("copies", "copies are the same in all epochs: leave `from_epoch` and `until_epoch` out"));
    }
    if !kind.makes_copies() {
        let why = "a copy is made of the waveform of its own clip: this kind needs other recordings or the image";
        faults.push(Fault::new("copies", why));
    }
    faults
}

/// The reasons why an augmentation happens in no epoch. `longest`: the most epochs of a network.
fn epoch_faults(spec: &AugmentSpec, longest: Option<usize>) -> Vec<Fault> {
    let (from, until) = spec.as_kind().epochs();
    let first = from.unwrap_or(1);
    let mut faults = Vec::new();
    let zero = "epochs are counted from 1";
    faults.extend((from == Some(0)).then(|| Fault::new("from_epoch", zero)));
    faults.extend((until == Some(0)).then(|| Fault::new("until_epoch", zero)));
    if faults.is_empty() && until.is_some_and(|until| until < first) {
        faults.push(Fault::new("until_epoch", format!("it ends before epoch {first}, in which it begins")));
    }
    if let Some(epochs) = longest.filter(|&epochs| epochs < first) {
        faults
            .push(Fault::new("from_epoch", format!("no network trains for so long: the longest has {epochs} epochs")));
    }
    faults
}

/// An imported table has no rows for copies.
fn copies_of_imported(root: &Table, errors: &mut ErrorCollector) {
    for feature in tables(root, "features") {
        let Some(kind) = feature.node.table().and_then(|table| table.get("kind")) else { continue };
        if kind.node.text() == Some("imported") {
            let help = "remove the feature, or `copies` from [[augment]]";
            errors.add(kind.node.at, "an imported feature has no rows for the copies of [[augment]]".into(), help);
        }
    }
}

/// Builds the typed value from a tree without errors. The schema is generated from the types, so a failure here is a case that
/// the checker does not know. It is reported at its section.
pub fn build(tree: &Node, name: &str, errors: &mut ErrorCollector) -> Option<Experiment> {
    if !errors.is_empty() {
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
            errors.add(at, format!("this cannot be read: {error}"), "");
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

/// Reports the errors of a kind at its keys. If a key is absent, its default is wrong, and the table is shown.
fn report(entry: &Entry, found: Vec<Fault>, errors: &mut ErrorCollector) {
    for Fault { key, sentence } in found {
        let written = entry.node.table().and_then(|table| table.get(&key));
        let at = written.map_or(entry.key, |entry| entry.node.at);
        // Already reported by the schema check.
        if written.is_some() && errors.has(at) {
            continue;
        }
        errors.add(at, format!("`{key}`: {sentence}"), "");
    }
}
