//! `timbre init`, `new`, `list` and `show`: a project, its experiments, and the reference of all keys.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::{print, print_list};
use crate::cli::args::{GlobalArgs, Listed};
use timbre_core::error::{ExitStatus, UserError};
use timbre_experiment::reference;

const FILES: [(&str, &str); 5] = [
    ("experiments/first.toml", include_str!("../templates/first.toml")),
    ("data/mine.toml", include_str!("../templates/mine.toml")),
    ("Makefile", include_str!("../templates/Makefile")),
    ("README.md", include_str!("../templates/README.md")),
    (".gitignore", include_str!("../templates/gitignore")),
];

/// Writes the files of a project; keeps those that exist.
pub fn init(dir: &Path) -> Result<ExitStatus> {
    let mut text = String::new();
    for (name, content) in FILES {
        let path = dir.strip_prefix(".").unwrap_or(dir).join(name);
        let parent = path.parent().expect("a file is in a folder");
        fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        match create(&path, content)? {
            true => text += &format!("created {}\n", path.display()),
            false => text += &format!("kept    {} (it exists)\n", path.display()),
        }
    }
    fs::create_dir_all(dir.join("data/mine")).with_context(|| format!("cannot create {}", dir.display()))?;
    let enter = if dir == Path::new(".") { String::new() } else { format!("cd {} && ", super::folder(dir)) };
    print(&format!("{text}\nNext: {enter}timbre run first\n"))?;
    Ok(ExitStatus::Done)
}

/// Writes a new file; false if it exists.
fn create(path: &Path, content: &str) -> Result<bool> {
    match fs::OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => {
            file.write_all(content.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
            Ok(true)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot create {}", path.display())),
    }
}

/// Copies an experiment of the project or the program to `experiments/NAME.toml`.
pub fn new(name: &str, from: &str) -> Result<ExitStatus> {
    let name = name.strip_suffix(".toml").unwrap_or(name);
    let valid = timbre_experiment::is_valid_name(name) && !name.is_empty();
    ensure!(valid, UserError::usage(format!("`{name}` is not a valid name: use letters, digits, -, _ and . only")));
    let text = reference::experiment_text(Path::new("."), from)?;
    let path = PathBuf::from("experiments").join(format!("{name}.toml"));
    fs::create_dir_all("experiments").context("cannot create experiments")?;
    ensure!(create(&path, &text)?, UserError::usage(format!("{} exists; choose another name", path.display())));
    print(&format!("created {} from {from}\nNext: timbre check {name}\n", path.display()))?;
    Ok(ExitStatus::Done)
}

/// Lists what experiments can use.
pub fn list(common: &GlobalArgs, what: Listed) -> Result<ExitStatus> {
    let rows = match what {
        Listed::Experiments => reference::experiments(Path::new(".")),
        Listed::Features => reference::kinds("features"),
        Listed::Models => reference::kinds("models"),
        Listed::Augmentations => reference::kinds("augment"),
        Listed::Metrics => reference::metric_names(),
        Listed::Data => return super::data::list(common),
    };
    let lines: String = rows.into_iter().map(|(name, about)| format!("{name}\t{about}\n")).collect();
    print_list(&reference::columns(&lines))?;
    Ok(ExitStatus::Done)
}

/// Shows the keys of a table of an experiment file, with documentation and defaults.
pub fn show(key: &str) -> Result<ExitStatus> {
    print(&reference::show(key)?)?;
    Ok(ExitStatus::Done)
}
