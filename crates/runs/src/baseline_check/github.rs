//! The judgement as lines that GitHub Actions shows beside the code: `::error file=…,title=…::what fell`.

use std::path::Path;

use super::check::CheckReport;
use super::text::reasons;

/// A line a reason: an error for what fails, a warning for what was allowed. `file` is the one that they are shown at.
pub fn annotations(judged: &CheckReport, file: Option<&Path>) -> String {
    let title = property(&format!("timbre: {}", judged.experiment));
    let file = file.map_or(String::new(), |file| format!("file={},", property(&file.display().to_string())));
    reasons(judged)
        .iter()
        .map(|(sentence, allowed)| {
            let level = if *allowed { "warning" } else { "error" };
            format!("::{level} {file}title={title}::{}\n", data(sentence))
        })
        .collect()
}

/// What stands after the second `::`.
pub fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// What stands between a property's `=` and the next comma or colon.
pub fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_signs_come_first_and_line_ends_begin_no_command() {
        assert_eq!(data("95 %\r\n::set-output a"), "95 %25%0D%0A::set-output a");
        assert_eq!(data("%0A"), "%250A");
        assert_eq!(property("a,b:c%"), "a%2Cb%3Ac%25");
    }
}
