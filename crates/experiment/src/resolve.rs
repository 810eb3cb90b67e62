//! From a request to a resolved experiment: defaults < data file < parents < file < `--data` < `--set`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::Experiment;
use super::axes::Grid;
use super::check::Checker;
use super::cross;
use super::faults::ConfigErrors;
use super::files::{self, Loader};
use super::merge::{kinds_by_name, merge, merge_section};
use super::schema;
use super::source::Origin;
use super::tree::{self, Entry, Node, Table, Value, kind_of, parse_assignment};
use timbre_inputs::data::DataSpec;
use timbre_inputs::data::split::SplitSpec;

/// What the command line asks for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The path of an experiment, or the bare name of a file in `experiments`.
    pub exp: String,
    /// `--data NAME`: another data set.
    pub data: Option<String>,
    /// `--set KEY=VALUE`, in order.
    pub set: Vec<String>,
    /// The root of the project, which holds `experiments` and `data`.
    pub root: PathBuf,
}

/// An experiment that is right, and how it came to be.
#[derive(Clone, Debug)]
pub struct ResolvedExperiment {
    pub experiment: Experiment,
    /// The files as written, parents first, each under a comment with its path; then the arguments.
    pub written: String,
    /// Every default filled in; reads back as the same experiment.
    pub resolved_toml: String,
    /// What the reader should know: keys that were dropped, and why.
    pub notes: Vec<String>,
}

/// Reads, merges and checks an experiment, its grid aside. Everything that is wrong is reported at once.
pub fn resolve(request: &Request) -> Result<ResolvedExperiment, ConfigErrors> {
    let mut merged = Merged::read(request)?;
    merged.grid();
    let tree = merged.tree.clone();
    match merged.check(tree, "") {
        Some(resolved) => Ok(ResolvedExperiment { notes: merged.loader.notes, ..resolved }),
        None => Err(merged.loader.faults.finish()),
    }
}

/// An experiment merged from its files and the arguments, not yet checked.
pub(super) struct Merged<'a> {
    pub loader: Loader<'a>,
    /// How many of the files are the experiment and its parents.
    chain: usize,
    pub name: String,
    /// Without the grid.
    pub tree: Node,
    pub grid: Option<Node>,
    /// What `--set` and `--data` say.
    pub said: Node,
    /// How many faults there were when the schema had told its own.
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
        let Some(mut tree) = tree else { return Err(loader.faults.finish()) };
        let mut said = empty_table(tree.at).node;
        if let Some((data, at)) = wanted {
            let mut own = empty_table(at);
            own.node.table_mut().into_iter().for_each(|table| drop(table.insert("use".into(), text_entry(data, at))));
            said.table_mut().into_iter().for_each(|table| drop(table.insert("data".into(), own.clone())));
        }
        if let Some(settings) = settings {
            merge(&mut said, settings.clone(), &mut Vec::new());
            merge(&mut tree, settings, &mut loader.notes);
        }
        let grid = tree.table_mut().and_then(|table| table.shift_remove("grid")).map(|entry| entry.node);
        Ok(Merged { loader, chain, name, tree, grid, said, by_schema: 0, request })
    }

    /// The axes, without those that the command line gives one value.
    pub fn grid(&mut self) -> Option<Grid> {
        let node = self.grid.as_ref()?;
        let mut base = self.tree.clone();
        let mut quiet = Vec::new();
        std::mem::swap(&mut quiet, &mut self.loader.notes);
        lay_over_data_set(&mut self.loader, &mut base);
        std::mem::swap(&mut quiet, &mut self.loader.notes);
        imply_kinds(&mut base);
        let mut grid = Grid::read(node, &base, &mut self.loader.faults);
        let (said, notes) = (&self.said, &mut self.loader.notes);
        grid.axes.retain(|axis| {
            let is_said = tree::at(said, axis.path.iter().map(|(name, _)| name.as_str())).is_some();
            if is_said {
                notes.push(format!("the command line says what {} is: it is no axis here", axis.key));
            }
            !is_said
        });
        if let (Some((path, _)), Some(halving)) = (&grid.budget, &grid.spec.halving)
            && let Some(node) = tree::at(said, path.iter().map(|(name, _)| name.as_str()))
        {
            let message =
                format!("`{}` is the budget of the halving: from {} to {}", halving.key, halving.from, halving.to);
            self.loader.faults.add(node.at, message, "set grid.halving.from or grid.halving.to instead");
        }
        Some(grid)
    }

    /// Checks what the experiment has become; `point` is the comment that says how.
    pub fn check(&mut self, mut tree: Node, point: &str) -> Option<ResolvedExperiment> {
        lay_over_data_set(&mut self.loader, &mut tree);
        imply_kinds(&mut tree);
        let (complete, strict) = (self.loader.complete, schema::strict());
        let faults = &mut self.loader.faults;
        Checker { root: strict, faults, complete }.check(&tree, strict, "experiment");
        self.by_schema = faults.count();
        cross::check(&tree, complete, faults);
        let experiment = cross::build(&tree, &self.name, faults)?;
        let written = as_written(&self.loader, self.chain, self.request) + point;
        match toml::to_string(&experiment) {
            Ok(resolved_toml) => Some(ResolvedExperiment { experiment, written, resolved_toml, notes: Vec::new() }),
            Err(error) => {
                let message = format!("this cannot be written as TOML again: {error}");
                self.loader.faults.add(tree.at, message, "");
                None
            }
        }
    }
}

/// The experiment of a run, from its `config.resolved.toml`, with other keys of its search: `set` may hold
/// `evaluate.search.KEY=VALUE`. What else is wrong with it was judged when it ran.
pub fn load_from_run(resolved: &Path, set: &[String]) -> Result<Experiment, ConfigErrors> {
    let mut loader = Loader::new(Path::new("."));
    let path = resolved.display().to_string();
    let Some((_, mut tree)) = loader.experiment(&path) else { return Err(loader.faults.finish()) };
    // The set is written out there; its file may have changed since.
    if let Some(data) = tree.table_mut().and_then(|table| table.get_mut("data")).and_then(|data| data.node.table_mut())
    {
        data.shift_remove("use");
    }
    if let Some(mut settings) = assignments(&mut loader, set) {
        keep_search(&mut settings, &mut loader);
        merge(&mut tree, settings, &mut loader.notes);
    }
    let strict = schema::strict();
    Checker { root: strict, faults: &mut loader.faults, complete: true }.check(&tree, strict, "experiment");
    tree.table().into_iter().for_each(|root| drop(cross::evaluation(root, &mut loader.faults)));
    let experiment = cross::build(&tree, "", &mut loader.faults);
    experiment.filter(|_| loader.faults.is_empty()).ok_or_else(|| loader.faults.finish())
}

/// The experiment of a run as it was, from its `config.resolved.toml`, to be run again; `root` says where its data lies now. What was
/// the name of its file becomes the name of a folder again.
pub fn load_for_rerun(resolved: &Path, name: &str, root: Option<&str>) -> Result<ResolvedExperiment> {
    let read = |path: &Path| std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let text = read(resolved)?;
    let understood = || format!("this version does not understand {}", resolved.display());
    let mut table: toml::Table = text.parse().with_context(understood)?;
    if let Some((data, root)) = table.get_mut("data").and_then(toml::Value::as_table_mut).zip(root) {
        data.insert("root".to_owned(), root.into());
    }
    let mut experiment: Experiment = table.try_into().with_context(understood)?;
    if !files::is_plain(name) {
        bail!("`{name}` cannot be the name of an experiment");
    }
    experiment.name = name.to_owned();
    // Beside it lies what the person wrote.
    let written = read(&resolved.with_file_name("config.toml"))?;
    let resolved_toml = toml::to_string(&experiment).with_context(understood)?;
    Ok(ResolvedExperiment { experiment, written, resolved_toml, notes: Vec::new() })
}

/// Tells of settings that a finished run cannot follow.
fn keep_search(settings: &mut Node, loader: &mut Loader) {
    let mut path = Vec::new();
    for wanted in ["evaluate", "search"] {
        let mut here = &*settings;
        for key in &path {
            let Some(entry) = here.table().and_then(|table| table.get(*key)) else { return };
            here = &entry.node;
        }
        for (key, entry) in here.table().into_iter().flatten().filter(|(key, _)| *key != wanted) {
            let help = "a run that is finished can be searched anew, not made anew: only evaluate.search.* can be set";
            loader.faults.add(entry.key, format!("`{key}` is no key of the search"), help);
        }
        path.push(wanted);
    }
}

/// One data set by its name, as `timbre data` shows it: its file, and what `--set data.KEY=VALUE` says.
pub fn data_set(root: &Path, name: &str, set: &[String]) -> Result<DataSpec, ConfigErrors> {
    let mut loader = Loader::new(root);
    let at = argument_origin(&mut loader, "data", name);
    let mut data = empty_table(at);
    data.node.table_mut().into_iter().for_each(|table| drop(table.insert("use".into(), text_entry(name, at))));
    let mut tree = Node { value: Value::Table(Table::from([("data".into(), data)])), at };
    if let Some(settings) = assignments(&mut loader, set) {
        merge(&mut tree, settings, &mut loader.notes);
    }
    lay_over_data_set(&mut loader, &mut tree);
    let strict = schema::strict();
    // A misspelt setting of another table is told too; that an experiment is missing around it is no fault here.
    Checker { root: strict, faults: &mut loader.faults, complete: false }.check(&tree, strict, "experiment");
    let data = tree.table().and_then(|table| table.get("data"));
    if let Some(data) = data {
        let own = &strict["properties"]["data"];
        Checker { root: strict, faults: &mut loader.faults, complete: true }.check(&data.node, own, "data");
    }
    let spec = data.and_then(|data| cross::data_spec(data, &mut loader.faults));
    match spec {
        Some(spec) if loader.faults.is_empty() => Ok(spec),
        _ => {
            if loader.faults.is_empty() {
                loader.faults.add(at, "this data set cannot be read".into(), "");
            }
            Err(loader.faults.finish())
        }
    }
}

/// The data sets that can be named: the files in `data`, and those that the program carries.
pub fn data_set_names(root: &Path) -> Vec<String> {
    files::data_set_names(root)
}

fn argument_origin(loader: &mut Loader, option: &str, value: &str) -> Origin {
    let source = loader.faults.sources.add(format!("{option} {value}"), value.to_owned(), true);
    Origin { source, start: 0, end: value.len() }
}

/// All `--set` arguments as one tree; a later one wins.
fn assignments(loader: &mut Loader, arguments: &[String]) -> Option<Node> {
    let mut all: Option<Node> = None;
    for argument in arguments {
        let source = argument_origin(loader, "--set", argument).source;
        let Some(mut node) = parse_assignment(source, &mut loader.faults) else { continue };
        if let Some(extends) = node.table_mut().and_then(|table| table.shift_remove("extends")) {
            let help = "name another experiment instead, or write it into a file";
            loader.faults.add(extends.key, "`extends` can only stand in a file".into(), help);
            continue;
        }
        match &mut all {
            // Nothing that an argument replaces in another is worth a note.
            Some(all) => merge(all, node, &mut Vec::new()),
            None => all = Some(node),
        }
    }
    all
}

/// `--data NAME`: the experiment's own `[data]` stays as far as NAME's kind knows its keys.
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
    // These say what the other set is and where it lies, whatever its kind.
    let of_the_set = ["use", "kind", "root", "about"];
    let mut dropped = Vec::new();
    own.retain(|key, _| {
        let keep = known.contains(&key.as_str()) && !of_the_set.contains(&key.as_str());
        if !keep && key != "use" && key != "kind" {
            dropped.push(key.clone());
        }
        keep
    });
    if !dropped.is_empty() && kind.is_some() {
        loader.notes.push(format!("--data {name}: dropped from [data]: {}", dropped.join(", ")));
    }
    own.insert("use".into(), text_entry(name, at));
}

/// Puts the file of the named data set under `[data]`. Without a name and without a kind it is `demo`.
fn lay_over_data_set(loader: &mut Loader, tree: &mut Node) {
    let at = tree.at;
    let complete = loader.complete;
    let Some(table) = tree.table_mut() else { return };
    let data = match table.get_mut("data") {
        Some(data) => data,
        // The name may stand in the file that could not be read.
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
            loader.faults.add(*at, "`use`: expected the name of a data set".into(), "in quotes");
            None
        }
        None => None,
    };
    match set {
        Some(set) => {
            let own = std::mem::replace(&mut data.node, set);
            merge_section("data", &mut data.node, own, &mut loader.notes);
        }
        // Told; and without its set nothing can be said of the keys.
        None => data.node.value = Value::Unreadable,
    }
}

/// Writes down the kinds that need not be written: a feature's or model's name, the default split.
pub(super) fn imply_kinds(tree: &mut Node) {
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

/// `chain`: how many of the files are the experiment and its parents; the others are data sets.
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
