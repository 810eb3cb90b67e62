//! The judgement as Markdown (GitHub's), for the summary of a CI's step.

use super::check::CheckReport;
use super::text::{HEAD, plain, reasons, rows, verdict};

/// A section of its own, to be appended to what is there.
pub fn section(judged: &CheckReport) -> String {
    let title = if judged.passed() { "no worse than its baseline" } else { "worse than its baseline, or in doubt" };
    let mut text = format!(
        "### {}: {title}\n\n{} against {} ({}), {} split: **{}**\n\n",
        escape(&judged.experiment),
        escape(&judged.run.0),
        escape(&judged.baseline.0),
        escape(&judged.baseline.1.display().to_string()),
        escape(&judged.split),
        verdict(judged)
    );
    for (sentence, allowed) in reasons(judged) {
        let word = if allowed { "Allowed" } else { "**Fails**" };
        text += &format!("- {word}: {}\n", escape(&sentence));
    }
    for note in &judged.notes {
        text += &format!("- Note: {}\n", escape(note));
    }
    text += &format!("\n| {} |\n|---|---|---|--:|--:|--:|--:|--:|\n", HEAD.join(" | "));
    for row in rows(judged) {
        text += &format!("| {} |\n", row.map(|cell| escape(&cell)).join(" | "));
    }
    text + "\n"
}

/// Text that means itself: what Markdown, a table of it, or HTML would read as its own is taken for a character.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in plain(text).chars() {
        match c {
            // A backslash keeps neither an entity nor a mention from being one everywhere.
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '@' => escaped += "&#64;",
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '(' | ')' | '#' | '!' | '|' | '~' | '$' => {
                escaped.push('\\');
                escaped.push(c);
            }
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_open_a_cell_a_tag_a_link_or_a_line() {
        assert_eq!(escape("f1_micro"), r"f1\_micro");
        assert_eq!(escape("a|b\n\n# c"), "a\\|b\u{fffd}\u{fffd}\\# c");
        assert_eq!(escape("<script>[x](y)`@me`&amp;"), r"&lt;script&gt;\[x\]\(y\)\`&#64;me\`&amp;amp;");
    }
}
