//! Wraps text for people at the width of a terminal.

/// The width of the terminal; none if stdout is not a terminal.
pub fn terminal_width() -> Option<usize> {
    console::Term::stdout().size_checked().map(|(_, columns)| columns.into())
}

/// The text with line breaks between words where the terminal ends.
pub fn wrapped_lines(text: &str, width: usize) -> String {
    text.split('\n').map(|line| wrapped_to(line, width)).collect::<Vec<_>>().join("\n")
}

/// Where the further lines of a line begin: two columns after it, or below the value of `name   value`. None for a row of a table, and for a
/// command to copy.
fn further_indent(line: &str) -> Option<usize> {
    let start = line.len() - line.trim_start().len();
    let gaps: Vec<usize> = line[start..].match_indices("  ").map(|(at, _)| at).collect();
    let is_one = gaps.windows(2).all(|two| two[1] == two[0] + 2);
    match gaps.first() {
        _ if line.starts_with("Next: ") => None,
        None => Some(start + 2),
        Some(at) if is_one => {
            let value = line[start + at..].trim_start();
            Some(console::measure_text_width(&line[..line.len() - value.len()]))
        }
        Some(_) => None,
    }
}

pub fn wrapped_to(line: &str, width: usize) -> String {
    let Some(indent) = further_indent(line).filter(|indent| indent + 20 <= width) else { return line.to_owned() };
    let mut text = String::new();
    let mut used = 0;
    for word in line.split_inclusive(' ') {
        let length = console::measure_text_width(word.trim_end());
        if used > indent && used + length > width {
            text.truncate(text.trim_end().len());
            // A comment of a TOML file continues as one.
            let sign = if line.starts_with("# ") { "# " } else { "" };
            text += &format!("\n{sign:indent$}");
            used = indent;
        }
        text += word;
        used += console::measure_text_width(word);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_broken_between_words_and_a_long_word_is_not_torn() {
        assert_eq!(wrapped_to("warning: one two three four", 22), "warning: one two three\n  four");
        let path = "runs/a/very/long/path/of/a/run";
        assert_eq!(wrapped_to(&format!("see {path} now"), 22), format!("see\n  {path}\n  now"));
        assert_eq!(wrapped_to("a  b", usize::MAX), "a  b");
        assert_eq!(wrapped_to("", 30), "");
    }

    #[test]
    fn a_value_is_continued_below_itself_and_rows_of_tables_and_commands_stay_whole() {
        assert_eq!(
            wrapped_to("  fit   one, two, three, four, five", 30),
            "  fit   one, two, three, four,\n        five"
        );
        assert_eq!(wrapped_to("# of a key that is long", 22), "# of a key that is\n# long");
        for line in ["a row  of a table  with three columns", "Next: timbre compare runs/one runs/two"] {
            assert_eq!(wrapped_to(line, 25), line);
        }
    }
}
