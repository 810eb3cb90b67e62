//! Colours of text for people: the words that begin an error or a warning, and the marks below what is wrong.

use std::io::{IsTerminal, Write};

use timbre_core::{progress::AboveBars, text::for_terminal};

/// Whether text for this stream is coloured: on a terminal, unless NO_COLOR is set (<https://no-color.org>).
pub fn is_coloured(stream: &impl IsTerminal) -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Text without the escape sequences that names may contain, in colour if the stream shows it.
pub fn shown(text: &str, stream: &impl IsTerminal) -> String {
    let text = for_terminal(text);
    if is_coloured(stream) { coloured(&text) } else { text }
}

/// Prints an error or a warning above any bar, with the word in colour on a terminal.
pub fn eprint_coloured(message: &str) {
    // As elsewhere, a closed stderr must not end the program.
    let _ = writeln!(AboveBars, "{}", shown(message, &std::io::stderr()));
}

fn coloured(text: &str) -> String {
    const BOLD_RED: &str = "\x1b[1;31m";
    const BOLD_YELLOW: &str = "\x1b[1;33m";
    const END: &str = "\x1b[0m";
    let line = |line: &str| {
        for (word, colour) in [("error:", BOLD_RED), ("warning:", BOLD_YELLOW)] {
            if let Some(rest) = line.strip_prefix(word) {
                return format!("{colour}{word}{END}{rest}");
            }
        }
        let is_mark = line.trim_start().strip_prefix('|').is_some_and(|rest| rest.trim_start().starts_with('^'));
        let Some(start) = line.find('^').filter(|_| is_mark) else { return line.to_owned() };
        let end = line[start..].find(|c| c != '^').map_or(line.len(), |width| start + width);
        format!("{}{BOLD_RED}{}{END}{}", &line[..start], &line[start..end], &line[end..])
    };
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_error_and_warning_and_marks_are_coloured_and_nothing_else() {
        let text = "error: a.toml:1:2: an error: b\n    1 | k^2 = 0\n      | ^^ warning: no\nwarning: c ^";
        let expected = "\x1b[1;31merror:\x1b[0m a.toml:1:2: an error: b\n    1 | k^2 = 0\n      | \x1b[1;31m^^\x1b[0m warning: no\n\
                        \x1b[1;33mwarning:\x1b[0m c ^";
        assert_eq!(coloured(text), expected);
    }
}
