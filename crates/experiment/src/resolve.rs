//! Resolves an experiment. Precedence: defaults < data file < parents < file < `--data` < `--set`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::Experiment;
use crate::axes::Grid;
use crate::check::schema;
use crate::check::schema_check::Checker;
use crate::check::semantic_checks;
use crate::errors::ConfigErrors;
use crate::read::loader::{self, Loader};
use crate::read::merge::{Removal, kinds_by_name, merge, merge_section};
use crate::read::parts::insert_parts;
use crate::read::presets::insert_presets;
use crate::read::tree::{self, Entry, Node, Table, Value, kind_of, parse_assignment};
use crate::source::Origin;
use timbre_inputs::data::{DataSpec, split::SplitSpec};
use timbre_signal::audio::AudioSpec;

/// The experiment and the overrides of the command line.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The path of an experiment, or the name of a file in `experiments`.
    pub exp: String,
    /// `--data NAME`: another data set.
    pub data: Option<String>,
    /// `--set KEY=VALUE`, in order.
    pub set: Vec<String>,
    /// The project root, which contains `experiments` and `data`.
    pub root: PathBuf,
}

/// The arguments of a [`Request`], as the record of a run keeps them: `timbre run EXP --data NAME --set KEY=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arguments {
    pub experiment: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<String>,
}

/// A valid experiment and its sources.
#[derive(Clone, Debug)]
pub struct ResolvedExperiment {
    pub experiment: Experiment,
    /// The text of the files, parents first, each after a comment with its path; then the arguments.
    pub written: String,
    /// The experiment with all defaults filled in. Parses back to the same experiment.
    pub resolved_toml: String,
    /// None for the experiment of a run that is run again.
    pub arguments: Option<Arguments>,
    /// Notes for the user: dropped keys, and why.
    pub notes: Vec<String>,
}

impl ResolvedExperiment {
    /// An experiment that no file holds: that of a run, changed. `comment` says how.
    pub fn of_changed(experiment: Experiment, comment: &str) -> Result<ResolvedExperiment> {
        let resolved_toml = toml::to_string(&experiment).context("the experiment cannot be written as TOML")?;
        let written = format!("# {comment}\n{resolved_toml}");
        Ok(ResolvedExperiment { experiment, written, resolved_toml, arguments: None, notes: Vec::new() })
    }
}

/// Reads, merges and checks an experiment without its grid. Reports all errors at once.
pub fn resolve(request: &Request) -> Result<ResolvedExperiment, ConfigErrors> {
    let mut merged = Merged::read(request)?;
    merged.grid();
    let tree = merged.tree.clone();
    match merged.check(tree, "") {
        Some(resolved) => Ok(ResolvedExperiment { notes: merged.loader.notes, ..resolved }),
        None => Err(merged.loader.errors.finish()),
    }
}

/// An experiment merged from its files and arguments, before the checks.
pub(crate) struct Merged<'a> {
    pub loader: Loader<'a>,
    /// The number of files that are the experiment and its parents.
    chain: usize,
    pub name: String,
    /// Without the grid.
    pub tree: Node,
    pub grid: Option<Node>,
    /// The keys set by `--set` and `--data`.
    pub overrides: Node,
    /// The number of errors after the schema check.
    pub by_schema: usize,
    request: &'a Request,
}

impl<'a> Merged<'a> {
    pub fn read(request: &'a Request) -> Result<Merged<'a>, ConfigErrors> {
        let mut loader = Loader::new(&request.root);
        let (name, mut tree) = match loader.experiment(&request.exp) {
            Some((name, tree)) => (name, Some(tree)),
            None => (String::new(), None),
        };
        let chain = loader.written.len();
        let wanted = request.data.as_deref().map(|data| (data, argument_origin(&mut loader, "--data", data)));
        if let (Some(tree), Some((data, at))) = (&mut tree, wanted) {
            replace_data(&mut loader, tree, data, at);
        } else if let Some((data, at)) = wanted {
            loader.data_set(data, at);
        }
        let settings = assignments(&mut loader, &request.set);
        let Some(mut tree) = tree else { return Err(loader.errors.finish()) };
        let mut overrides = empty_table(tree.at).node;
        if let Some((data, at)) = wanted {
            let mut own = empty_table(at);
            own.node.table_mut().into_iter().for_each(|table| drop(table.insert("use".into(), text_entry(data, at))));
            overrides.table_mut().into_iter().for_each(|table| drop(table.insert("data".into(), own.clone())));
        }
        if let Some(mut settings) = settings {
            let removals = Removal::take(&mut settings);
            loader.remove(removals, &mut tree);
            merge(&mut overrides, settings.clone(), &mut Vec::new());
            merge(&mut tree, settings, &mut loader.notes);
        }
        let grid = tree.table_mut().and_then(|table| table.shift_remove("grid")).map(|entry| entry.node);
        Ok(Merged { loader, chain, name, tree, grid, overrides, by_schema: 0, request })
    }

    /// The grid, without axes that the command line sets to one value.
    pub fn grid(&mut self) -> Option<Grid> {
        let node = self.grid.as_mut()?;
        for removal in self.loader.removals.iter().filter(|removal| !removal.exists_in(&self.tree)) {
            for key in removal.prune_axes(node, &[]) {
                let Removal { section, name, .. } = removal;
                self.loader
                    .notes
                    .push(format!("{section}.{name} is removed, and with it the axis {key} of this sweep"));
            }
        }
        let mut base = self.tree.clone();
        let mut quiet = Vec::new();
        std::mem::swap(&mut quiet, &mut self.loader.notes);
        merge_over_data_set(&mut self.loader, &mut base);
        std::mem::swap(&mut quiet, &mut self.loader.notes);
        imply_kinds(&mut base);
        let mut grid = Grid::read(node, &base, &mut self.loader.errors);
        let (overrides, notes) = (&self.overrides, &mut self.loader.notes);
        grid.axes.retain(|axis| {
            let is_overridden = tree::at(overrides, axis.path.iter().map(|(name, _)| name.as_str())).is_some();
            if is_overridden {
                notes.push(format!("{} is set on the command line: it is not an axis of this sweep", axis.key));
            }
            !is_overridden
        });
        if let (Some((path, _)), Some(halving)) = (&grid.budget, &grid.spec.halving)
            && let Some(node) = tree::at(overrides, path.iter().map(|(name, _)| name.as_str()))
        {
            let message =
                format!("`{}` is the budget of the halving, from {} to {}", halving.key, halving.from, halving.to);
            self.loader.errors.add(node.at, message, "set grid.halving.from or grid.halving.to instead");
        }
        Some(grid)
    }

    /// Checks the merged tree. `point` is a comment that names the values of the grid point.
    pub fn check(&mut self, mut tree: Node, point: &str) -> Option<ResolvedExperiment> {
        merge_over_data_set(&mut self.loader, &mut tree);
        imply_kinds(&mut tree);
        let (complete, strict) = (self.loader.complete, schema::strict());
        let errors = &mut self.loader.errors;
        insert_presets(&mut tree, errors);
        insert_parts(&mut tree, errors);
        Checker { root: strict, errors, complete }.check(&tree, strict, "experiment");
        self.by_schema = errors.count();
        semantic_checks::check(&tree, complete, errors);
        let experiment = semantic_checks::build(&tree, &self.name, errors)?;
        let written = as_written(&self.loader, self.chain, self.request) + point;
        match toml::to_string(&experiment) {
            Ok(resolved_toml) => {
                let Request { exp, data, set, .. } = self.request;
                let arguments = Arguments { experiment: exp.clone(), data: data.clone(), set: set.clone() };
                let (arguments, notes) = (Some(arguments), Vec::new());
                Some(ResolvedExperiment { experiment, written, resolved_toml, arguments, notes })
            }
            Err(error) => {
                let message = format!("cannot be written as TOML: {error}");
                self.loader.errors.add(tree.at, message, "");
                None
            }
        }
    }
}

/// The experiment of a run, from its `config.resolved.toml`. `set` may override `evaluate.search.KEY=VALUE`. Other checks were
/// made when it ran.
pub fn load_from_run(resolved: &Path, set: &[String]) -> Result<Experiment, ConfigErrors> {
    load_changed(resolved, set, keep_search)
}

/// The experiment of a run, whose models are to be evaluated again: `set` may override keys of `evaluate` and `split`, and `max_unusable`.
pub fn load_to_evaluate(resolved: &Path, set: &[String]) -> Result<Experiment, ConfigErrors> {
    load_changed(resolved, set, |settings, loader| {
        for (key, entry) in settings.table().into_iter().flatten() {
            if !["evaluate", "split", "max_unusable"].contains(&key.as_str()) {
                let help = "only evaluate.*, split.* and max_unusable can be set for models that are fitted already";
                loader.errors.add(entry.key, format!("`{key}` had a part in the fit"), help);
            }
        }
    })
}

fn load_changed(
    resolved: &Path,
    set: &[String],
    refuse: impl Fn(&mut Node, &mut Loader),
) -> Result<Experiment, ConfigErrors> {
    let mut loader = Loader::new(Path::new("."));
    let path = resolved.display().to_string();
    let Some((_, mut tree)) = loader.experiment(&path) else { return Err(loader.errors.finish()) };
    // The resolved file defines the data set; the file of the set, which may have changed since, is not merged.
    if let Some(mut settings) = assignments(&mut loader, set) {
        refuse(&mut settings, &mut loader);
        merge(&mut tree, settings, &mut loader.notes);
    }
    let strict = schema::strict();
    Checker { root: strict, errors: &mut loader.errors, complete: true }.check(&tree, strict, "experiment");
    tree.table().into_iter().for_each(|root| drop(semantic_checks::evaluation(root, &mut loader.errors)));
    let experiment = semantic_checks::build(&tree, "", &mut loader.errors);
    experiment.filter(|_| loader.errors.is_empty()).ok_or_else(|| loader.errors.finish())
}

/// The unchanged experiment of a run, to be run again: from its files `resolved`, with every default, and `written`, as the user
/// wrote it. `root` is the new location of its data. `name` becomes a folder name again.
pub fn load_for_rerun(resolved: &Path, written: &Path, name: &str, root: Option<&str>) -> Result<ResolvedExperiment> {
    let read = |path: &Path| std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let text = read(resolved)?;
    let understood = || format!("this version does not understand {}", resolved.display());
    let mut table: toml::Table = text.parse().with_context(understood)?;
    if let Some((data, root)) = table.get_mut("data").and_then(toml::Value::as_table_mut).zip(root) {
        data.insert("root".to_owned(), root.into());
    }
    let mut experiment: Experiment = table.try_into().with_context(understood)?;
    if !loader::is_valid_name(name) {
        bail!("`{name}` is not a valid name of an experiment");
    }
    experiment.name = name.to_owned();
    let written = read(written)?;
    let resolved_toml = toml::to_string(&experiment).with_context(understood)?;
    Ok(ResolvedExperiment { experiment, written, resolved_toml, arguments: None, notes: Vec::new() })
}

/// Reports settings that cannot be changed in a finished run.
fn keep_search(settings: &mut Node, loader: &mut Loader) {
    let mut path = Vec::new();
    for wanted in ["evaluate", "search"] {
        let mut here = &*settings;
        for key in &path {
            let Some(entry) = here.table().and_then(|table| table.get(*key)) else { return };
            here = &entry.node;
        }
        for (key, entry) in here.table().into_iter().flatten().filter(|(key, _)| *key != wanted) {
            let help = "only evaluate.search.* can be set for a finished run";
            loader.errors.add(entry.key, format!("`{key}` is not a key of the search"), help);
        }
        path.push(wanted);
    }
}

/// A data set by name, from its file and `--set data.KEY=VALUE`.
pub fn data_set(root: &Path, name: &str, set: &[String]) -> Result<DataSpec, ConfigErrors> {
    data_set_and_audio(root, name, set).map(|(data, _)| data)
}

/// [`data_set`], and the keys of `[audio]` from `--set audio.KEY=VALUE`.
pub fn data_set_and_audio(root: &Path, name: &str, set: &[String]) -> Result<(DataSpec, AudioSpec), ConfigErrors> {
    let mut loader = Loader::new(root);
    let at = argument_origin(&mut loader, "data", name);
    let mut data = empty_table(at);
    data.node.table_mut().into_iter().for_each(|table| drop(table.insert("use".into(), text_entry(name, at))));
    let mut tree = Node { value: Value::Table(Table::from([("data".into(), data)])), at };
    if let Some(settings) = assignments(&mut loader, set) {
        merge(&mut tree, settings, &mut loader.notes);
    }
    merge_over_data_set(&mut loader, &mut tree);
    let strict = schema::strict();
    // Misspelt settings of other tables are reported too; the missing rest of an experiment is not.
    Checker { root: strict, errors: &mut loader.errors, complete: false }.check(&tree, strict, "experiment");
    let data = tree.table().and_then(|table| table.get("data"));
    if let Some(data) = data {
        let own = &strict["properties"]["data"];
        Checker { root: strict, errors: &mut loader.errors, complete: true }.check(&data.node, own, "data");
    }
    let spec = data.and_then(|data| semantic_checks::data_spec(data, &mut loader.errors));
    let audio = tree.table().and_then(semantic_checks::audio_spec);
    match spec.zip(audio) {
        Some(found) if loader.errors.is_empty() => Ok(found),
        _ => {
            if loader.errors.is_empty() {
                loader.errors.add(at, "cannot read this data set".into(), "");
            }
            Err(loader.errors.finish())
        }
    }
}

/// The names of all data sets: the files in `data`, and the built-in ones.
pub fn data_set_names(root: &Path) -> Vec<String> {
    loader::data_set_names(root)
}

fn argument_origin(loader: &mut Loader, option: &str, value: &str) -> Origin {
    let source = loader.errors.sources.add(format!("{option} {value}"), value.to_owned(), true);
    Origin { source, start: 0, end: value.len() }
}

/// Merges all `--set` arguments into one tree; a later one wins.
fn assignments(loader: &mut Loader, arguments: &[String]) -> Option<Node> {
    let mut all: Option<Node> = None;
    for argument in arguments {
        let source = argument_origin(loader, "--set", argument).source;
        let Some(mut node) = parse_assignment(source, &mut loader.errors) else { continue };
        if let Some(extends) = node.table_mut().and_then(|table| table.shift_remove("extends")) {
            let help = "pass another experiment instead, or write it into a file";
            loader.errors.add(extends.key, "`extends` is allowed only in a file".into(), help);
            continue;
        }
        match &mut all {
            // Replacements between arguments are not worth a note.
            Some(all) => merge(all, node, &mut Vec::new()),
            None => all = Some(node),
        }
    }
    all
}

/// `--data NAME`: replaces the data set, but keeps the experiment's `[data]` keys that NAME's kind knows.
fn replace_data(loader: &mut Loader, tree: &mut Node, name: &str, at: Origin) {
    let Some(table) = tree.table_mut() else { return };
    let data = table.entry("data".into()).or_insert_with(|| empty_table(at));
    let Some(own) = data.node.table_mut() else { return };
    let same = own.get("use").and_then(|entry| entry.node.text()) == Some(name) && !own.contains_key("kind");
    if same {
        return;
    }
    let set = loader.data_set(name, at);
    let kind = set.as_ref().and_then(Node::table).and_then(kind_of);
    let known: Vec<&str> = schema::data_keys(kind.unwrap_or_default());
    // These keys identify and locate the replaced data set or name its classes, whatever its kind.
    let of_the_set = ["use", "kind", "root", "about", "labels", "corrections", "path", "columns", "file_name", "sets"];
    let mut dropped = Vec::new();
    own.retain(|key, _| {
        let keep = known.contains(&key.as_str()) && !of_the_set.contains(&key.as_str());
        if !keep && key != "use" && key != "kind" {
            dropped.push(key.clone());
        }
        keep
    });
    if !dropped.is_empty() && kind.is_some() {
        loader.notes.push(format!("warning: --data {name}: ignoring keys of [data]: {}", dropped.join(", ")));
    }
    own.insert("use".into(), text_entry(name, at));
}

/// Merges `[data]` over the file of its data set, by default `demo`; if it is several sets, each of them too.
fn merge_over_data_set(loader: &mut Loader, tree: &mut Node) {
    merge_data(loader, tree);
    let sets = tree.table_mut().and_then(|table| table.get_mut("data")?.node.table_mut()?.get_mut("sets"));
    let Some(Value::List(sets)) = sets.map(|entry| &mut entry.node.value) else { return };
    for own in sets {
        let used = own.table().and_then(|table| table.get("use")).map(|entry| entry.node.clone());
        let Some(Node { value: Value::Text(name), at }) = used else { continue };
        let set = loader.data_set(&name, at);
        merge_over(loader, own, set);
    }
}

fn merge_data(loader: &mut Loader, tree: &mut Node) {
    let at = tree.at;
    let complete = loader.complete;
    let Some(table) = tree.table_mut() else { return };
    let data = match table.get_mut("data") {
        Some(data) => data,
        // The unreadable file may name the data set.
        None if !complete => return,
        None => table.entry("data".into()).or_insert_with(|| empty_table(at)),
    };
    let key = data.key;
    let Some(own) = data.node.table_mut() else { return };
    if !own.contains_key("use") {
        if own.contains_key("kind") || !complete {
            return;
        }
        own.shift_insert(0, "use".into(), text_entry("demo", key));
    }
    let set = match own.get("use").map(|entry| &entry.node) {
        Some(Node { value: Value::Text(name), at }) => loader.data_set(name, *at),
        Some(Node { at, .. }) => {
            loader.errors.add(*at, "`use`: expected the name of a data set".into(), "in quotes");
            None
        }
        None => None,
    };
    merge_over(loader, &mut data.node, set);
}

/// Merges keys over the file of their data set.
fn merge_over(loader: &mut Loader, own: &mut Node, set: Option<Node>) {
    match set {
        Some(set) => {
            let over = std::mem::replace(own, set);
            merge_section("data", own, over, &mut loader.notes);
        }
        // Already reported. The keys cannot be checked without the data set.
        None => own.value = Value::Unreadable,
    }
}

/// Fills in implied kinds: the name of a feature or model, and the default split.
pub(crate) fn imply_kinds(tree: &mut Node) {
    let Some(table) = tree.table_mut() else { return };
    for section in ["features", "models"] {
        let Some(tables) = table.get_mut(section).and_then(|entry| entry.node.table_mut()) else { continue };
        for (name, entry) in tables.iter_mut().filter(|(name, _)| kinds_by_name(section).contains(&name.as_str())) {
            imply_kind(entry, name);
        }
    }
    if let Some(split) = table.get_mut("split") {
        imply_kind(split, SplitSpec::default().kind());
    }
}

fn imply_kind(entry: &mut Entry, kind: &str) {
    let key = entry.key;
    if let Some(table) = entry.node.table_mut()
        && !table.contains_key("kind")
    {
        table.shift_insert(0, "kind".into(), text_entry(kind, key));
    }
}

fn text_entry(text: &str, at: Origin) -> Entry {
    Entry { key: at, node: Node { value: Value::Text(text.to_owned()), at } }
}

fn empty_table(at: Origin) -> Entry {
    Entry { key: at, node: Node { value: Value::Table(Table::new()), at } }
}

/// The sources as one text. `chain`: the number of files that are the experiment and its parents; the others are data sets.
fn as_written(loader: &Loader, chain: usize, request: &Request) -> String {
    let (own, data) = loader.written.split_at(chain);
    let mut text = String::new();
    for (name, file) in data.iter().chain(own.iter().rev()) {
        text.push_str(&format!("# {name}\n{}\n\n", file.trim_end()));
    }
    if let Some(data) = &request.data {
        text.push_str(&format!("# --data {data}\n"));
    }
    for set in &request.set {
        text.push_str(&format!("# --set {}\n", set.replace('\n', "\n# ")));
    }
    text
}
