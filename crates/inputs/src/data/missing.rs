//! The error for recordings that are not on disk, which most new users see first.

use std::fmt;
use std::path::PathBuf;

use super::walk::entries;
use super::{About, CommonKeys, some_of};

/// The recordings of a set are not on disk. The message says where to get them, where to put them, and what runs without them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct MissingData {
    /// The name of the set.
    pub name: String,
    /// The paths that do not exist.
    pub missing: Vec<PathBuf>,
    /// The folder of the set.
    pub root: PathBuf,
    /// What is in that folder instead; empty if nothing is.
    pub found: String,
    pub about: About,
    /// Whether `timbre data get` can download it.
    pub can_be_fetched: bool,
}

impl MissingData {
    pub(super) fn new(name: &str, missing: Vec<PathBuf>, root: PathBuf, common: &CommonKeys) -> Self {
        let mut found: Vec<String> = entries(&root).unwrap_or_default().into_iter().map(|entry| entry.name).collect();
        found.sort();
        let found = some_of(5, found.iter().map(String::as_str));
        let can_be_fetched = common.name.is_some() && common.about.can_be_downloaded();
        MissingData { name: name.to_owned(), missing, root, found, about: common.about.clone(), can_be_fetched }
    }
}

impl fmt::Display for MissingData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the recordings of data set `{}` are not on disk", self.name)?;
        for path in &self.missing {
            writeln!(f, "  looked for   {}", path.display())?;
        }
        if !self.found.is_empty() {
            writeln!(f, "  found        {} in {}", self.found, self.root.display())?;
        }
        let about = &self.about;
        let facts = [
            ("title", &about.title),
            ("homepage", &about.homepage),
            ("size", &about.size),
            ("licence", &about.licence),
        ];
        for (word, fact) in facts {
            if let Some(fact) = fact {
                writeln!(f, "  {word:<12} {fact}")?;
            }
        }
        for (i, file) in about.files.iter().enumerate() {
            let word = if i == 0 { "files" } else { "" };
            let md5 = file.md5.as_ref().map(|md5| format!("  md5 {md5}")).unwrap_or_default();
            writeln!(f, "  {word:<12} {}{md5}", file.name)?;
        }
        let other = "or name another folder: `--set data.root=DIR`; a relative DIR is below the folder `data`";
        writeln!(f, "  put it in    {} ({other})", self.root.display())?;
        if let Some(obtain) = &about.obtain {
            writeln!(f, "  how          {obtain}")?;
        }
        if self.can_be_fetched {
            writeln!(f, "  or           download, verify and unpack it: `timbre data get {}`", self.name)?;
        }
        write!(f, "  or           run the same experiment on generated data: `DATA=demo` (`--data demo`)")
    }
}
