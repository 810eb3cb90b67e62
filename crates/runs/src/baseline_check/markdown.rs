//! The check as GitHub Markdown, for the summary of a CI step.

use timbre_core::text::escape_markdown as escape;

use super::check::CheckReport;
use super::text::{HEAD, reasons, rows, summary};

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
