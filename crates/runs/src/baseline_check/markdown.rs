//! The judgement as Markdown (GitHub's), for the summary of a CI's step.

use timbre_core::text::escape_markdown as escape;

use super::check::CheckReport;
use super::text::{HEAD, reasons, rows, verdict};

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
