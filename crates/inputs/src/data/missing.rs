//! The message that a newcomer meets first: the recordings are not there yet.

use std::fmt;
use std::path::PathBuf;

use super::{About, CommonKeys};

/// The data of a set is not on disk. The message says where it comes from, where to put it, and what runs without it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct MissingData {
    /// The name of the set.
    pub name: String,
    /// What was looked for and is not there.
    pub missing: Vec<PathBuf>,
    /// The folder the set belongs in.
    pub root: PathBuf,
    pub about: About,
}

impl MissingData {
    pub(super) fn new(name: &str, missing: Vec<PathBuf>, root: PathBuf, common: &CommonKeys) -> Self {
        MissingData { name: name.to_owned(), missing, root, about: common.about.clone() }
    }
}

impl fmt::Display for MissingData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the recordings of data set `{}` are not on disk", self.name)?;
        for path in &self.missing {
            writeln!(f, "  looked for   {}", path.display())?;
        }
        let about = &self.about;
        let facts = [
            ("what it is", &about.title),
            ("comes from", &about.homepage),
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
        writeln!(f, "  put it in    {} (or name another folder: `--set data.root=DIR`)", self.root.display())?;
        if let Some(obtain) = &about.obtain {
            writeln!(f, "  how          {obtain}")?;
        }
        write!(
            f,
            "  right now    the same experiment runs on the data that Timbre makes itself: `DATA=demo` (`--data demo`)"
        )
    }
}
