//! Text for people: escaping for XML, HTML, Markdown and terminals, counts with their noun, shortened text, grouped digits, name patterns, parts of dotted keys and short names for them.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};

use glob::{MatchOptions, Pattern};

/// Escapes text for an element or a quoted attribute of XML, SVG or HTML.
///
/// Newlines and tabs stay. Every other control character, and each that reverses the direction of the text around it, becomes
/// U+FFFD: XML cannot hold the former even escaped, and the latter could make a name look like another one.
pub fn escape_xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            '\n' | '\t' => escaped.push(c),
            c => escaped.push(printable(c)),
        }
    }
    escaped
}

/// The text that [`escape_xml`] has escaped, but for the characters that it has replaced.
pub fn unescape_xml(escaped: &str) -> String {
    let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")];
    entities.iter().fold(escaped.to_owned(), |text, (entity, character)| text.replace(entity, character))
}

/// Escapes text for one line of Markdown (GitHub's), such as a cell of a table: nothing in it is read as markup.
pub fn escape_markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => escaped.push(' '),
            // GitHub reads an entity, a tag and a mention behind a backslash, too.
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '@' => escaped += "&#64;",
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '(' | ')' | '#' | '!' | '|' | '~' | '$' => {
                escaped.extend(['\\', c]);
            }
            c => escaped.push(printable(c)),
        }
    }
    escaped
}

/// The character, or U+FFFD in place of a control character and of one that changes the direction of the text.
pub fn printable(c: char) -> char {
    let is_hidden =
        c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}');
    if is_hidden { '\u{fffd}' } else { c }
}

/// A name for one line of a terminal: nothing in it moves the cursor, begins a line or changes the writing direction.
pub fn one_line(name: &str) -> String {
    let without_separators = |c: char| if matches!(c, '\u{2028}' | '\u{2029}') { '\u{fffd}' } else { c };
    name.chars().map(printable).map(without_separators).collect()
}

static ESCAPE_FORMULAS: AtomicBool = AtomicBool::new(false);

/// From now on, text in CSV files is escaped where a spreadsheet would compute it.
pub fn escape_formulas() {
    ESCAPE_FORMULAS.store(true, Ordering::Relaxed);
}

/// The text of a CSV cell. With [`escape_formulas`], text that begins like a formula has an apostrophe in front, as spreadsheets write it
/// themselves; a lone `-` or `+` is no formula.
pub fn csv_text(text: &str) -> Cow<'_, str> {
    if ESCAPE_FORMULAS.load(Ordering::Relaxed) { escaped_formula(text) } else { Cow::Borrowed(text) }
}

fn escaped_formula(text: &str) -> Cow<'_, str> {
    let is_formula = text.len() > 1 && text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if is_formula { Cow::Owned(format!("'{text}")) } else { Cow::Borrowed(text) }
}

/// Text for a terminal: line breaks and tabs stay, everything else is as in [`one_line`].
pub fn for_terminal(text: &str) -> String {
    let kept = |c: char| if matches!(c, '\n' | '\t') { c } else { printable(c) };
    text.chars().map(kept).collect()
}

/// A number with its noun: `1 class`, `3 classes`, `0 runs`.
pub fn count(n: usize, noun: &str) -> String {
    match n {
        1 => format!("1 {noun}"),
        n if noun.ends_with('s') => format!("{n} {noun}es"),
        n => format!("{n} {noun}s"),
    }
}

/// Digits in groups of three: `11,183,062`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A part of a dotted TOML key, quoted unless it is a bare key.
pub fn toml_key(name: &str) -> String {
    if !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
        return name.to_owned();
    }
    let escaped = name.chars().map(|c| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\u{:04X}", u32::from(c)),
        c => c.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

/// Whether a name matches a shell pattern: `*` and `?` match any characters but `/`, `[a-c]` and `[!a-c]` one of a list. An invalid
/// pattern, such as one with an open bracket, matches only itself.
pub fn glob_matches(pattern: &str, name: &str) -> bool {
    let options =
        MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };
    Pattern::new(pattern).map_or(pattern == name, |pattern| pattern.matches_with(name, options))
}

/// The shortest suffix of each dotted key that is unique among `keys` and not in `taken`: `k` for `models.knn.k`.
pub fn short_names<'a>(keys: &[&'a str], taken: &[String]) -> Vec<&'a str> {
    let suffixes = |key: &'a str| key.rmatch_indices('.').map(move |(at, _)| &key[at + 1..]).chain([key]);
    let is_unique = |suffix: &&str| {
        let same = keys.iter().filter(|key| *key == suffix || key.ends_with(&format!(".{suffix}"))).count();
        same == 1 && !taken.iter().any(|other| other == suffix)
    };
    keys.iter().map(|key| suffixes(key).find(is_unique).unwrap_or(key)).collect()
}

/// The beginning and the end of a text that is longer than `widest` characters.
pub fn cut(text: &str, widest: usize) -> String {
    let n = text.chars().count();
    if n <= widest {
        return text.to_owned();
    }
    let (head, tail) = (widest / 2, widest.saturating_sub(widest / 2 + 1));
    text.chars().take(head).chain(['…']).chain(text.chars().skip(n - tail)).collect()
}

/// A field of a CSV file (RFC 4180).
pub fn csv_field(text: &str) -> Cow<'_, str> {
    if text.contains([',', '"', '\n', '\r']) {
        Cow::Owned(format!("\"{}\"", text.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(text)
    }
}

/// Quotes a word for the shell, always or only where needed.
pub fn shell_quoted(word: &str, always: bool) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+=:@%,~".contains(c);
    if !always && !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_xml_is_read_back() {
        for text in ["a < b & c > \"d\"", "it's", "&lt;", "&amp;#39;"] {
            assert_eq!(unescape_xml(&escape_xml(text)), text);
        }
    }

    #[test]
    fn names_that_are_formulas_are_escaped_on_request() {
        for formula in ["=HYPERLINK(\"http:x\")", "+1+1", "-2+3", "@SUM(1)", "\t=1"] {
            assert_eq!(csv_text(formula), formula);
            assert_eq!(escaped_formula(formula), format!("'{formula}"));
        }
        for name in ["-", "+", "", "a=b", "cel-1"] {
            assert_eq!(escaped_formula(name), name);
        }
    }

    #[test]
    fn a_part_of_a_dotted_key_is_quoted_where_toml_needs_it() {
        for (name, key) in
            [("k", "k"), ("a-b_1", "a-b_1"), ("", "\"\""), ("a.b", "\"a.b\""), ("\"\n", "\"\\\"\\u000A\"")]
        {
            assert_eq!(toml_key(name), key);
        }
    }

    #[test]
    fn escaped_text_stays_inside_an_element_and_an_attribute() {
        assert_eq!(escape_xml("</td><script>'&\""), "&lt;/td&gt;&lt;script&gt;&#39;&amp;&quot;");
        assert_eq!(escape_xml("a\u{0}b\u{8}\u{202e}c\u{ffff}\nä🎷"), "a\u{fffd}b\u{fffd}\u{fffd}c\u{fffd}\nä🎷");
    }

    #[test]
    fn escaped_text_cannot_open_a_cell_a_tag_a_link_or_a_line() {
        assert_eq!(escape_markdown("f1_micro"), r"f1\_micro");
        assert_eq!(escape_markdown("a|b\n\n# c\u{0}"), "a\\|b  \\# c\u{fffd}");
        assert_eq!(escape_markdown("<b>[x](y)`@me`&amp;"), r"&lt;b&gt;\[x\]\(y\)\`&#64;me\`&amp;amp;");
    }

    #[test]
    fn names_cannot_control_a_terminal() {
        let name = "\u{1b}]0;title\u{7}\u{1b}[2J\u{9b}2J\u{202e}\r\n\tä🎷.wav";
        assert_eq!(for_terminal(name), "\u{fffd}]0;title\u{fffd}\u{fffd}[2J\u{fffd}2J\u{fffd}\u{fffd}\n\tä🎷.wav");
        assert!(
            one_line(name).ends_with("\u{fffd}\u{fffd}\u{fffd}ä🎷.wav") && !one_line("a\u{2028}b").contains('\u{2028}')
        );
    }

    #[test]
    fn counts_have_a_singular_and_a_plural() {
        assert_eq!([count(1, "class"), count(2, "class"), count(0, "run")], ["1 class", "2 classes", "0 runs"]);
        assert_eq!([11183062, 999, 1000].map(thousands), ["11,183,062", "999", "1,000"]);
    }

    #[test]
    fn patterns_match_like_those_of_a_shell() {
        let cases = [
            ("lr_*", "lr_1e-3", true),
            ("lr_*", "lr/1", false),
            ("*/2026*", "lr/20260101T-ab", true),
            ("*", "a/b", false),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]x]", "]", true),
            ("[ab", "[ab", true),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1b2b3", false),
            ("", "", true),
            ("?", "", false),
        ];
        for (pattern, name, matches) in cases {
            assert_eq!(glob_matches(pattern, name), matches, "{pattern} {name}");
        }
    }

    #[test]
    fn a_long_text_keeps_its_beginning_and_its_end() {
        assert_eq!(cut("[0.001, 0.0003, 0.0001, 0.00003]", 24), "[0.001, 0.00…1, 0.00003]");
        assert_eq!((cut("žica", 4), cut("žica!", 4)), ("žica".to_owned(), "ži…!".to_owned()));
    }

    #[test]
    fn the_last_part_of_a_key_names_it_unless_another_key_has_the_same() {
        let keys = ["models.knn.k", "features.mel.n_mels", "features.mfcc.n_mels", "other.model"];
        assert_eq!(short_names(&keys, &["model".to_owned()]), ["k", "mel.n_mels", "mfcc.n_mels", "other.model"]);
    }
}
