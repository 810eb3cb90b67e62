//! The source texts of an experiment (files, `--set` arguments) and positions in them.

/// A span in one of the [`Sources`]: bytes `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub source: usize,
    pub start: usize,
    pub end: usize,
}

/// One source text.
#[derive(Clone, Debug)]
pub struct Source {
    /// The name for messages: a path, or the argument.
    pub name: String,
    pub text: String,
    /// A command line argument; messages give only the column.
    pub is_argument: bool,
    /// The byte at which each line starts.
    lines: Vec<usize>,
    /// The lines with the header of a table, and those with a key.
    headers: Vec<usize>,
    keys: Vec<usize>,
}

/// All sources, in the order of reading.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    list: Vec<Source>,
}

impl Sources {
    pub fn add(&mut self, name: String, text: String, is_argument: bool) -> usize {
        self.list.push(Source::new(name, text, is_argument));
        self.list.len() - 1
    }

    pub fn get(&self, source: usize) -> &Source {
        &self.list[source]
    }
}

/// The position of a span: line and column from 1, the column in characters, and the text of the line.
pub struct Position<'a> {
    pub line: usize,
    pub column: usize,
    pub text: &'a str,
    /// Number of characters of this line in the span, at least 1.
    pub width: usize,
}

impl Source {
    fn new(name: String, text: String, is_argument: bool) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(newline, _)| newline + 1)).collect();
        let numbered = || text.lines().map(str::trim).enumerate();
        let headers = numbered().filter(|(_, line)| table_of(line).is_some()).map(|(number, _)| number).collect();
        let keys = numbered().filter(|(_, line)| key_of(line).is_some()).map(|(number, _)| number).collect();
        Self { name, text, is_argument, lines, headers, keys }
    }

    /// The text of a line without the space around it.
    fn line(&self, number: usize) -> &str {
        let end = self.lines.get(number + 1).copied().unwrap_or(self.text.len());
        self.text[self.lines[number]..end].trim()
    }

    /// The position of `start..end`. A span past the end of its line is cut there.
    pub fn position(&self, start: usize, end: usize) -> Position<'_> {
        let start = floor_char_boundary(&self.text, start);
        let end = floor_char_boundary(&self.text, end.max(start));
        let line = self.lines.partition_point(|first| *first <= start);
        let line_start = self.lines[line - 1];
        let line_end = self.text[start..].find('\n').map_or(self.text.len(), |newline| start + newline);
        let text = self.text[line_start..line_end].trim_end_matches('\r');
        let width = self.text[start..end.min(line_end)].trim_end().chars().count();
        Position { line, column: self.text[line_start..start].chars().count() + 1, text, width: width.max(1) }
    }

    /// The dotted key of the line at `at`: its table and its own key. Empty without one. What is within a value of several lines has the
    /// key of that value.
    pub fn key(&self, at: usize) -> String {
        let line = self.lines.partition_point(|first| *first <= at);
        // A file may have a hundred thousand errors: none looks through all of it.
        let last = |numbers: &[usize]| numbers[..numbers.partition_point(|number| *number < line)].last().copied();
        let header = last(&self.headers);
        let table = header.and_then(|number| table_of(self.line(number)));
        let key = last(&self.keys).filter(|number| header.is_none_or(|header| header < *number));
        let key = key.and_then(|number| key_of(self.line(number)));
        [table, key].into_iter().flatten().collect::<Vec<_>>().join(".")
    }
}

/// The name in the header of a table, `[models.knn]` or `[[augment]]`.
fn table_of(line: &str) -> Option<&str> {
    let (name, after) = line.strip_prefix('[')?.trim_start_matches('[').split_once(']')?;
    let after = after.trim_start_matches(']').trim();
    Some(name.trim()).filter(|name| is_key(name) && (after.is_empty() || after.starts_with('#')))
}

/// The key of a line, `k = 3`, which is no header.
fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.split_once('=').filter(|_| table_of(line).is_none())?;
    Some(key.trim()).filter(|key| is_key(key))
}

/// Whether a text can be a dotted key.
fn is_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "_-.\"".contains(c))
}

fn floor_char_boundary(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::new("x.toml".into(), text.into(), false)
    }

    #[test]
    fn a_position_counts_characters_and_not_bytes() {
        let source = source("a = 1\r\n\"žica\" = 2\r\n");
        let start = source.text.find('2').unwrap();
        let position = source.position(start, start + 1);
        assert_eq!((position.line, position.column, position.width), (2, 10, 1));
        assert_eq!(position.text, "\"žica\" = 2");
    }

    #[test]
    fn a_place_has_the_key_of_its_line_or_of_the_value_around_it() {
        let source = source(
            "seeds = [1]\n[models.knn]\nk = 0 # a = b\nlist = [\n  [1],\n  { x = \"y = z\" },\n]\n[[augment]]\nkind = 3\n",
        );
        let key = |word: &str| source.key(source.text.find(word).unwrap());
        assert_eq!(key("1]"), "seeds");
        assert_eq!(key("[models"), "models.knn");
        assert_eq!(key("0 #"), "models.knn.k");
        assert_eq!(key("y = z"), "models.knn.list");
        assert_eq!(key("3"), "augment.kind");
        assert_eq!(Source::new("--set a.b=1".into(), "a.b=1".into(), true).key(4), "a.b");
    }

    #[test]
    fn a_span_over_several_lines_or_past_the_end_is_cut() {
        let source = source("a = [\n1,\n]");
        assert_eq!(source.position(4, 10).width, 1);
        let end = source.position(99, 120);
        assert_eq!((end.line, end.column, end.width), (3, 2, 1));
    }
}
