//! The check as GitHub Markdown, for the summary of a CI step.

use super::check::CheckReport;
use super::text::{HEAD, plain, reasons, rows, summary};

/// A section to append to a summary.
pub fn section(report: &CheckReport) -> String {
    let title =
        if report.passed() { "no worse than its baseline" } else { "worse than its baseline, or not comparable" };
    let mut text = format!(
        "### {}: {title}\n\n{} against {} ({}), {} split: **{}**\n\n",
        escape(&report.experiment),
        escape(&report.run.0),
        escape(&report.baseline.0),
        escape(&report.baseline.1.display().to_string()),
        escape(&report.split),
        summary(report)
    );
    for (sentence, allowed) in reasons(report) {
        let word = if allowed { "Allowed" } else { "**Fails**" };
        text += &format!("- {word}: {}\n", escape(&sentence));
    }
    for note in &report.notes {
        text += &format!("- Note: {}\n", escape(note));
    }
    text += &format!("\n| {} |\n|---|---|---|--:|--:|--:|--:|--:|\n", HEAD.join(" | "));
    for row in rows(report) {
        text += &format!("| {} |\n", row.map(|cell| escape(&cell)).join(" | "));
    }
    text + "\n"
}

/// Escapes text: characters with a meaning in Markdown, its tables, or HTML become plain characters.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in plain(text).chars() {
        match c {
            // A backslash does not prevent entities and mentions everywhere.
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
    fn names_cannot_begin_a_cell_a_tag_a_link_or_a_line() {
        assert_eq!(escape("f1_micro"), r"f1\_micro");
        assert_eq!(escape("a|b\n\n# c"), "a\\|b\u{fffd}\u{fffd}\\# c");
        assert_eq!(escape("<script>[x](y)`@me`&amp;"), r"&lt;script&gt;\[x\]\(y\)\`&#64;me\`&amp;amp;");
    }
}
