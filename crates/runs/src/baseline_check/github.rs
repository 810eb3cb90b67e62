//! The check as annotations of GitHub Actions: `::error file=…,title=…::what fell`.

use std::path::Path;

use super::check::CheckReport;
use super::text::reasons;

/// One line per reason: an error for a failure, a warning for an allowed issue. GitHub shows them at `file`.
pub fn annotations(report: &CheckReport, file: Option<&Path>) -> String {
    let title = property(&format!("timbre: {}", report.experiment));
    let file = file.map_or(String::new(), |file| format!("file={},", property(&file.display().to_string())));
    reasons(report)
        .iter()
        .map(|(sentence, allowed)| {
            let level = if *allowed { "warning" } else { "error" };
            format!("::{level} {file}title={title}::{}\n", data(sentence))
        })
        .collect()
}

/// Escapes the message, after the second `::`.
pub fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Escapes the value of a property.
pub fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_breaks_cannot_begin_a_command() {
        assert_eq!(data("95 %\r\n::set-output a"), "95 %25%0D%0A::set-output a");
        assert_eq!(data("%0A"), "%250A");
        assert_eq!(property("a,b:c%"), "a%2Cb%3Ac%25");
    }
}
