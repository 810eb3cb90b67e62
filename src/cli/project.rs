//! The project: the folder with `experiments`, found upwards from the current directory as git finds its repository.
//!
//! The program works in the root of the project, so that every relative path in a file is relative to the root. Paths on the
//! command line stay relative to the directory in which the command was started: [`PathFromHere`].

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use clap::builder::TypedValueParser;
use timbre_core::error::UserError;
use timbre_inputs::data::table::is_table;

/// The directory in which the command was started, if it is not the root.
static STARTED_IN: OnceLock<PathBuf> = OnceLock::new();

/// Changes to the root of the project, which `--project DIR` names, and returns it if it is another directory.
pub fn enter(arguments: &[OsString]) -> Result<Option<PathBuf>, UserError> {
    let Ok(here) = std::env::current_dir() else { return Ok(None) };
    let root = match named(arguments) {
        Some(named) => here.join(named),
        None => here.ancestors().find(|folder| is_project(folder)).unwrap_or(&here).to_owned(),
    };
    if root == here {
        return Ok(None);
    }
    std::env::set_current_dir(&root)
        .map_err(|error| UserError::usage(format!("cannot use the project {}: {error}", root.display())))?;
    // Only the first call has an effect; there is one per process.
    let _ = STARTED_IN.set(here);
    Ok(Some(root))
}

/// Whether the folder has an experiment in `experiments`.
fn is_project(folder: &Path) -> bool {
    let entries = folder.join("experiments").read_dir();
    entries.is_ok_and(|entries| entries.flatten().any(|entry| entry.path().extension() == Some(OsStr::new("toml"))))
}

/// The value of `--project`. The arguments are not parsed yet: their paths depend on it.
fn named(arguments: &[OsString]) -> Option<PathBuf> {
    let mut arguments = arguments.iter().take_while(|argument| *argument != "--");
    while let Some(argument) = arguments.next() {
        if argument == "--project" {
            return arguments.next().map(PathBuf::from);
        }
        if let Some(value) = argument.as_bytes().strip_prefix(b"--project=") {
            return Some(PathBuf::from(OsStr::from_bytes(value)));
        }
    }
    None
}

/// A path as written on the command line, from the current directory.
pub fn from_here(path: &Path) -> PathBuf {
    match STARTED_IN.get() {
        // `-` is standard input or output.
        Some(here) if path != Path::new("-") && !is_remote(path) => here.join(path),
        _ => path.to_owned(),
    }
}

fn is_remote(path: &Path) -> bool {
    path.to_str().is_some_and(timbre_inputs::remote::is_url)
}

/// Parses an argument that is a name or a path (an experiment, a run, a data set): a path that exists is taken from here.
pub fn name_from_here(text: &str) -> Result<String, Infallible> {
    let path = text.split_once(':').map_or(text, |(path, _)| path);
    let is_path = path.contains('/') || path.ends_with(".toml") || is_table(path);
    let exists = STARTED_IN.get().map(|here| here.join(path)).filter(|path| is_path && path.exists());
    Ok(match exists {
        Some(found) => format!("{}{}", found.display(), &text[path.len()..]),
        None => text.to_owned(),
    })
}

/// Parses a path argument.
#[derive(Clone)]
pub struct PathFromHere;

impl TypedValueParser for PathFromHere {
    type Value = PathBuf;

    fn parse_ref(&self, _: &clap::Command, _: Option<&clap::Arg>, value: &OsStr) -> Result<PathBuf, clap::Error> {
        Ok(from_here(Path::new(value)))
    }
}
