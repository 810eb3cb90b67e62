//! The errors of an experiment, all reported at once: each with its position, its line, and what to do.

use std::collections::HashSet;
use std::fmt;

use crate::source::{Origin, Sources};

/// One error of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConfigError {
    /// The file or the argument (`--set KEY=VALUE`); empty if the request itself is wrong.
    pub place: String,
    /// From 1; 0 without a line to show.
    pub line: usize,
    /// In characters, from 1; 0 without a line to show.
    pub column: usize,
    /// The dotted key of that line, such as `models.knn.k`; empty without one.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to do, or what was expected. May be empty.
    pub help: String,
    text: String,
    width: usize,
    is_argument: bool,
}

/// All errors of an experiment, by file and position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.iter().try_for_each(|fault| write!(f, "{fault}"))?;
        match self.0.len() {
            1 => write!(f, "1 error"),
            n => write!(f, "{n} errors"),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "error: ")?;
        if self.line == 0 {
            match self.place.as_str() {
                "" => writeln!(f, "{}", self.message)?,
                place => writeln!(f, "{place}: {}", self.message)?,
            }
            return if self.help.is_empty() { Ok(()) } else { writeln!(f, "  {}", self.help) };
        }
        let (line, before) = window(&self.text, self.column);
        let gutter = if self.is_argument {
            writeln!(f, "{}: column {}: {}", self.place, self.column, self.message)?;
            String::new()
        } else {
            writeln!(f, "{}:{}:{}: {}", self.place, self.line, self.column, self.message)?;
            self.line.to_string()
        };
        writeln!(f, "{gutter:>5} | {line}")?;
        // Tabs are kept, so that the mark is below its word whatever the tab width.
        let indent: String = line.chars().take(before).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let width = self.width.min(line.chars().count().saturating_sub(before)).max(1);
        writeln!(f, "{}", format!("      | {indent}{} {}", "^".repeat(width), self.help).trim_end())
    }
}

/// The line cut to the width of a terminal, and the number of its characters before the column.
fn window(text: &str, column: usize) -> (String, usize) {
    const WIDTH: usize = 140;
    let shown = |c: char| if c.is_control() && c != '\t' { '\u{fffd}' } else { c };
    let before = column - 1;
    if text.chars().count() <= WIDTH {
        return (text.chars().map(shown).collect(), before);
    }
    let start = before.saturating_sub(WIDTH / 2);
    let cut: String = text.chars().map(shown).skip(start).take(WIDTH).collect();
    if start == 0 { (cut + " …", before) } else { (format!("… {cut}"), before - start + 2) }
}

/// The start of the note that names the values of the faulty point.
pub const NOTE: &str = " (with ";

/// Collects errors while the sources are read and checked.
#[derive(Default)]
pub struct ErrorCollector {
    pub sources: Sources,
    found: Vec<(usize, usize, ConfigError)>,
}

impl ErrorCollector {
    pub fn add(&mut self, at: Origin, message: String, help: &str) {
        let source = self.sources.get(at.source);
        let position = source.position(at.start, at.end);
        let fault = ConfigError {
            place: source.name.clone(),
            line: position.line,
            column: position.column,
            key: source.key(at.start),
            message,
            help: help.to_owned(),
            text: position.text.to_owned(),
            width: position.width,
            is_argument: source.is_argument,
        };
        self.found.push((at.source, at.start, fault));
    }

    /// Adds an error of the request, or of an unreadable file.
    pub fn add_without_line(&mut self, place: String, message: String, help: &str) {
        let fault = ConfigError {
            place,
            line: 0,
            column: 0,
            key: String::new(),
            message,
            help: help.to_owned(),
            text: String::new(),
            width: 0,
            is_argument: false,
        };
        self.found.push((0, 0, fault));
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub fn count(&self) -> usize {
        self.found.len()
    }

    /// Removes and returns the errors after the first `known`.
    pub fn take_since(&mut self, known: usize) -> Vec<(usize, usize, ConfigError)> {
        self.found.split_off(known)
    }

    /// Inserts errors in front.
    pub fn put_before(&mut self, mut earlier: Vec<(usize, usize, ConfigError)>) {
        earlier.append(&mut self.found);
        self.found = earlier;
    }

    /// Appends `note` to the messages from index `from` on, except those that are also in `anyway`.
    pub fn note_from(&mut self, from: usize, anyway: &[(usize, usize, ConfigError)], note: &str) {
        for (source, start, fault) in &mut self.found[from..] {
            let same = |(s, at, other): &(usize, usize, ConfigError)| {
                (s, at) == (&*source, &*start) && other.message == fault.message
            };
            if !anyway.iter().any(same) {
                fault.message += note;
            }
        }
    }

    /// Removes errors after the first `known` that repeat an earlier one, ignoring notes.
    pub fn keep_new(&mut self, known: usize) {
        let sentence = |fault: &ConfigError| fault.message.split(NOTE).next().unwrap_or_default().to_owned();
        for (source, start, fault) in self.found.split_off(known) {
            let same = |(s, at, other): &(usize, usize, ConfigError)| {
                (*s, *at) == (source, start) && sentence(other) == sentence(&fault)
            };
            if !self.found.iter().any(same) {
                self.found.push((source, start, fault));
            }
        }
    }

    /// Whether an error at this position is already reported.
    pub fn has(&self, at: Origin) -> bool {
        self.found.iter().any(|(source, start, _)| (*source, *start) == (at.source, at.start))
    }

    /// The errors in the order of reading, then of position, without duplicates.
    pub fn finish(mut self) -> ConfigErrors {
        self.found.sort_by_key(|(source, start, _)| (*source, *start));
        let mut seen = HashSet::new();
        ConfigErrors(
            self.found.into_iter().map(|(.., fault)| fault).filter(|fault| seen.insert(fault.clone())).collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_below_its_word_after_tabs_and_in_long_lines() {
        let mut errors = ErrorCollector::default();
        let text = format!("\tk = 0\nlist = [{}0, 999]", "1, ".repeat(100));
        let source = errors.sources.add("a.toml".into(), text.clone(), false);
        errors.add(Origin { source, start: 1, end: 2 }, "first".into(), "help");
        let end = text.find("999").unwrap();
        errors.add(Origin { source, start: end, end: end + 3 }, "second".into(), "");
        let shown = errors.finish().to_string();
        assert!(shown.starts_with("error: a.toml:1:2: first\n    1 | \tk = 0\n      | \t^ help\n"), "{shown}");
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[4].chars().count(), lines[4].len() - 2, "one ellipsis: {shown}");
        assert_eq!(&lines[5][lines[5].find('^').unwrap()..], "^^^");
        let column = lines[5].chars().position(|c| c == '^').unwrap();
        assert_eq!(lines[4].chars().skip(column).take(3).collect::<String>(), "999");
        assert_eq!(lines.last(), Some(&"2 errors"));
    }
}
