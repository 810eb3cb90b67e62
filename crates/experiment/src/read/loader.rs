//! Finds and reads the files of an experiment: the file itself, its parents, and the file of its data set.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::errors::ErrorCollector;
use crate::read::built_in;
use crate::read::merge::{Removal, merge};
use crate::read::tree::{Entry, Node, Value, parse};
use crate::source::Origin;
use timbre_core::suggest;
use timbre_inputs::data::table::is_table;
use timbre_inputs::remote;

/// A file on disk or built into the program.
#[derive(Clone, Debug, PartialEq)]
enum ExperimentFile {
    Disk(PathBuf),
    Shipped(&'static str),
}

/// Whether a name can be a folder name: letters, digits, -, _ and . only.
pub fn is_valid_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    name.chars().all(plain) && !name.starts_with('.')
}

/// Reads files and keeps their text.
pub struct Loader<'a> {
    /// The folder that contains `experiments` and `data`.
    pub root: &'a Path,
    pub errors: ErrorCollector,
    pub notes: Vec<String>,
    /// Whether every file could be read.
    pub complete: bool,
    /// Name and text of each file, in the order of reading.
    pub written: Vec<(String, String)>,
    /// The tables that files and the command line removed.
    pub removals: Vec<Removal>,
    data_sets: HashMap<String, Option<Node>>,
}

impl<'a> Loader<'a> {
    pub fn new(root: &'a Path) -> Self {
        Loader {
            root,
            errors: ErrorCollector::default(),
            notes: Vec::new(),
            complete: true,
            written: Vec::new(),
            removals: Vec::new(),
            data_sets: HashMap::new(),
        }
    }

    /// The name of an experiment, and its tree merged over its parents'.
    pub fn experiment(&mut self, exp: &str) -> Option<(String, Node)> {
        let folder = self.root.join("experiments");
        let bases = [PathBuf::new(), self.root.to_owned(), folder.clone()];
        let bases = if is_path(exp) { &bases[..] } else { &bases[2..] };
        let Some(file) = find(exp, bases) else {
            let message = format!("no experiment `{exp}`");
            let help =
                suggest::help(exp, names(&folder, built_in::EXPERIMENTS).iter().map(String::as_str), "Experiments");
            self.errors.add_without_line(String::new(), message, &help);
            self.complete = false;
            return None;
        };
        let name = match &file {
            ExperimentFile::Disk(path) => {
                path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
            }
            ExperimentFile::Shipped(name) => (*name).to_owned(),
        };
        if !is_valid_name(&name) {
            let help = "it becomes a folder name: use letters, digits, -, _ and . only";
            let message = format!("`{name}` is not a valid name of an experiment: rename the file");
            self.errors.add_without_line(self.shown(&file), message, help);
        }
        let node = self.with_parents(file, &mut Vec::new())?;
        Some((name, node))
    }

    fn with_parents(&mut self, file: ExperimentFile, below: &mut Vec<ExperimentFile>) -> Option<Node> {
        let mut node = self.read(&file)?;
        let extends = node.table_mut().and_then(|table| table.shift_remove("extends"));
        let removals = Removal::take(&mut node);
        below.push(canonical(&file));
        let Some(extends) = extends else {
            for Removal { section, name, at } in removals {
                let help = "only what a parent (`extends`) defines can be removed";
                self.errors.add(at, format!("no `{section}.{name}` to remove"), help);
            }
            return Some(node);
        };
        let Value::Text(parent) = &extends.node.value else {
            self.complete = false;
            let help = "the name of one parent: a relative path, or a file in `experiments`";
            self.errors.add(extends.node.at, "`extends`: expected text".into(), help);
            return Some(node);
        };
        let folder = self.root.join("experiments");
        let here = match &file {
            ExperimentFile::Disk(path) => path.parent().unwrap_or(Path::new("")).to_owned(),
            ExperimentFile::Shipped(_) => folder.clone(),
        };
        let found = find(parent, &[here, folder.clone()]);
        if let Some(ExperimentFile::Disk(path)) = &found
            && path.extension().is_none_or(|ending| ending != "toml")
        {
            // Its lines would be shown in messages, and an experiment of somebody else must not read out any file.
            self.complete = false;
            let help = "a parent is a file whose name ends in .toml";
            self.errors.add(extends.node.at, format!("`extends`: `{parent}` is not a TOML file"), help);
            return Some(node);
        }
        let Some(parent_file) = found else {
            self.complete = false;
            let known = names(&folder, built_in::EXPERIMENTS);
            let wrong = parent.strip_suffix(".toml").unwrap_or(parent);
            let help = suggest::help(wrong, known.iter().map(String::as_str), "Experiments");
            self.errors.add(extends.node.at, format!("`extends`: no experiment `{parent}`"), &help);
            return Some(node);
        };
        if below.contains(&canonical(&parent_file)) {
            self.complete = false;
            let help = "an experiment cannot extend itself, directly or through its parents";
            self.errors.add(extends.node.at, format!("`extends`: `{parent}` leads back to this file"), help);
            return Some(node);
        }
        let Some(mut parent) = self.with_parents(parent_file, below) else { return Some(node) };
        self.remove(removals, &mut parent);
        merge(&mut parent, node, &mut self.notes);
        Some(parent)
    }

    /// Removes tables from the tree of the lower precedence.
    pub fn remove(&mut self, removals: Vec<Removal>, base: &mut Node) {
        for removal in &removals {
            // An unreadable file may define what is missing.
            if self.complete || removal.exists_in(base) {
                removal.apply(base, &mut self.errors);
            }
        }
        self.removals.extend(removals);
    }

    /// The tree of the data set named at `at`. Its errors are reported once.
    pub fn data_set(&mut self, name: &str, at: Origin) -> Option<Node> {
        if let Some(known) = self.data_sets.get(name) {
            return known.clone();
        }
        // An unreadable data set does not suppress the other errors of the experiment.
        let complete = self.complete;
        let set = self.read_data_set(name, at);
        self.complete = complete;
        self.data_sets.insert(name.to_owned(), set.clone());
        set
    }

    fn read_data_set(&mut self, name: &str, at: Origin) -> Option<Node> {
        let folder = self.root.join("data");
        let path = folder.join(format!("{name}.toml"));
        if !is_path(name) && path.is_file() {
            return self.read(&ExperimentFile::Disk(path));
        }
        if remote::is_url(name) {
            let (kind, key) = if is_table(name) { ("manifest", "path") } else { ("folder", "root") };
            return Some(data_set_of(kind, key, name.to_owned(), at));
        }
        if is_path(name) && self.root.join(name).is_dir() {
            return Some(data_set_at("folder", "root", &self.root.join(name), at));
        }
        if is_table(name) && self.root.join(name).is_file() {
            return Some(data_set_at("manifest", "path", &self.root.join(name), at));
        }
        if let Some(text) = built_in::find(built_in::DATA_SETS, name) {
            return self.take(format!("data/{name}.toml (built in)"), text.to_owned());
        }
        let known = data_set_names(self.root);
        let help = suggest::help(name, known.iter().map(String::as_str), "Data sets");
        self.errors.add(at, format!("no data set `{name}`"), &help);
        None
    }

    fn read(&mut self, file: &ExperimentFile) -> Option<Node> {
        let shown = self.shown(file);
        match file {
            ExperimentFile::Shipped(name) => {
                let text = built_in::find(built_in::EXPERIMENTS, name).unwrap_or_default();
                self.take(shown, text.to_owned())
            }
            ExperimentFile::Disk(path) => match fs::read(path).map(String::from_utf8) {
                Ok(Ok(text)) => self.take(shown, text),
                Ok(Err(error)) => {
                    self.complete = false;
                    let message = format!("this is not UTF-8 text (byte {})", error.utf8_error().valid_up_to());
                    self.errors.add_without_line(shown, message, "");
                    None
                }
                Err(error) => {
                    self.complete = false;
                    self.errors.add_without_line(shown, format!("cannot read: {error}"), "");
                    None
                }
            },
        }
    }

    fn take(&mut self, shown: String, text: String) -> Option<Node> {
        self.written.push((shown.clone(), text.clone()));
        let source = self.errors.sources.add(shown, text, false);
        let node = parse(source, &mut self.errors);
        self.complete &= node.is_some();
        node
    }

    /// The path for messages, relative to the project root if below it.
    fn shown(&self, file: &ExperimentFile) -> String {
        match file {
            ExperimentFile::Disk(path) => {
                let path = path.strip_prefix(self.root).unwrap_or(path);
                path.strip_prefix(".").unwrap_or(path).display().to_string()
            }
            ExperimentFile::Shipped(name) => format!("experiments/{name}.toml (built in)"),
        }
    }
}

/// The data set at a path, named at `at`: a folder with one subfolder per class, or a table.
fn data_set_at(kind: &str, key: &str, path: &Path, at: Origin) -> Node {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    data_set_of(kind, key, path.to_string_lossy().into_owned(), at)
}

/// [`data_set_at`] for a location as it is written: an absolute path or a URL.
fn data_set_of(kind: &str, key: &str, location: String, at: Origin) -> Node {
    let text = |text: String| Entry { key: at, node: Node { value: Value::Text(text), at } };
    let keys = [("kind", kind.to_owned()), (key, location)];
    Node { value: Value::Table(keys.map(|(key, value)| (key.to_owned(), text(value))).into_iter().collect()), at }
}

/// The names of all data sets.
pub fn data_set_names(root: &Path) -> Vec<String> {
    names(&root.join("data"), built_in::DATA_SETS)
}

fn is_path(name: &str) -> bool {
    name.contains(['/', '\\']) || name.ends_with(".toml")
}

/// The first file of that name in `folders`, with or without `.toml`; else the built-in one.
fn find(name: &str, folders: &[PathBuf]) -> Option<ExperimentFile> {
    if name.is_empty() {
        return None;
    }
    let with_ending = format!("{name}.toml");
    let candidates = folders.iter().flat_map(|folder| [folder.join(name), folder.join(&with_ending)]);
    let on_disk = candidates.into_iter().find(|path| path.is_file()).map(ExperimentFile::Disk);
    on_disk.or_else(|| {
        let stem = name.strip_suffix(".toml").unwrap_or(name);
        let stem = stem.strip_prefix("experiments/").unwrap_or(stem);
        built_in::EXPERIMENTS.iter().find(|(known, _)| *known == stem).map(|(known, _)| ExperimentFile::Shipped(known))
    })
}

/// The canonical path, so that cycles are found through links and `..`.
fn canonical(file: &ExperimentFile) -> ExperimentFile {
    match file {
        ExperimentFile::Disk(path) => ExperimentFile::Disk(path.canonicalize().unwrap_or_else(|_| path.clone())),
        shipped => shipped.clone(),
    }
}

/// The names of the TOML files in a folder and of the built-in ones.
pub fn names(folder: &Path, shipped: &[(&str, &str)]) -> Vec<String> {
    let on_disk = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let on_disk = on_disk.filter(|path| path.extension().is_some_and(|ending| ending == "toml"));
    let mut names: Vec<String> = on_disk
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .chain(shipped.iter().map(|(n, _)| (*n).to_owned()))
        .collect();
    names.sort();
    names.dedup();
    names
}
