//! The check as JUnit XML: one test case per model × metric, and one per kind of issue.
//!
//! The format follows Jenkins' schema (junit-10.xsd), which other readers share: a fallen metric is a `failure`, an issue an `error`,
//! an allowed issue `skipped`. It contains no times: equal results give equal bytes.

use std::fmt::Write;

use timbre_core::text::escape_xml;

use super::check::{CheckReport, Finding};
use super::comparability::IssueKind;
use super::text::sentence;

/// The kinds of issues, and the names of their test cases.
const COMPARABILITY_CASES: [(IssueKind, &str); 3] = [
    (IssueKind::Unfinished, "the run is finished without failed trials"),
    (IssueKind::Classes, "the classes equal those of the baseline"),
    (IssueKind::Clips, "the clips equal those of the baseline"),
];

enum Outcome {
    Passed,
    /// Element, type, messages.
    Not(&'static str, &'static str, String),
}

/// The whole file.
pub fn document(report: &CheckReport) -> String {
    let comparable: Vec<(String, Outcome)> =
        COMPARABILITY_CASES.iter().map(|&(kind, name)| (name.to_owned(), issue_case(report, kind))).collect();
    let scores: Vec<(String, Outcome)> = report
        .checks
        .iter()
        .map(|check| {
            let outcome = match check.finding {
                Finding::Held { .. } => Outcome::Passed,
                Finding::Fell { .. } => Outcome::Not("failure", "fell", sentence(report, check)),
                Finding::Missing { .. } if report.allows(IssueKind::Missing) => {
                    Outcome::Not("skipped", "missing", sentence(report, check))
                }
                Finding::Missing { .. } => Outcome::Not("error", "missing", sentence(report, check)),
            };
            (format!("{} {}", check.model, check.metric), outcome)
        })
        .collect();
    let (a, b) = (Counts::of(&comparable), Counts::of(&scores));
    let (tests, failures, errors) = (a.tests + b.tests, a.failures + b.failures, a.errors + b.errors);
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        xml,
        "<testsuites name=\"timbre\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" time=\"0\">"
    );
    xml += &suite(report, "comparable", &comparable, &a);
    xml += &suite(report, &format!("scores on the {} split", report.split), &scores, &b);
    xml + "</testsuites>\n"
}

fn issue_case(report: &CheckReport, kind: IssueKind) -> Outcome {
    let of_kind: Vec<&str> =
        report.issues.iter().filter(|issue| issue.kind == kind).map(|issue| issue.sentence.as_str()).collect();
    match (of_kind.is_empty(), report.allows(kind)) {
        (true, _) => Outcome::Passed,
        (false, true) => Outcome::Not("skipped", kind.name(), of_kind.join("; ")),
        (false, false) => Outcome::Not("error", kind.name(), of_kind.join("; ")),
    }
}

struct Counts {
    tests: usize,
    failures: usize,
    errors: usize,
    skipped: usize,
}

impl Counts {
    fn of(cases: &[(String, Outcome)]) -> Counts {
        let number = |word: &str| cases.iter().filter(|(_, o)| matches!(o, Outcome::Not(w, ..) if *w == word)).count();
        Counts { tests: cases.len(), failures: number("failure"), errors: number("error"), skipped: number("skipped") }
    }
}

fn suite(report: &CheckReport, name: &str, cases: &[(String, Outcome)], counts: &Counts) -> String {
    let Counts { tests, failures, errors, skipped } = counts;
    let mut xml = format!(
        "  <testsuite name=\"{}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\" \
         time=\"0\">\n    <properties>\n",
        escape(name)
    );
    let paths = [&report.run, &report.baseline].map(|(title, path)| format!("{title} ({})", path.display()));
    for (name, value) in ["run", "baseline"].iter().zip(&paths) {
        let _ = writeln!(xml, "      <property name=\"{name}\" value=\"{}\"/>", escape(value));
    }
    xml += "    </properties>\n";
    let class = escape(&format!("timbre.{}", report.experiment));
    for (name, outcome) in cases {
        let open = format!("    <testcase classname=\"{class}\" name=\"{}\" time=\"0\"", escape(name));
        let _ = match outcome {
            Outcome::Passed => writeln!(xml, "{open}/>"),
            Outcome::Not("skipped", _, why) => {
                writeln!(xml, "{open}>\n      <skipped message=\"{}\"/>\n    </testcase>", escape(why))
            }
            Outcome::Not(element, kind, why) => writeln!(
                xml,
                "{open}>\n      <{element} type=\"{kind}\" message=\"{0}\">{0}</{element}>\n    </testcase>",
                escape(why)
            ),
        };
    }
    xml + "  </testsuite>\n"
}

/// Text for an attribute or an element. A reader of an attribute would turn a plain line break or tab into a space.
pub fn escape(text: &str) -> String {
    let parts: Vec<String> = text.split('\r').map(escape_xml).collect();
    parts.join("&#13;").replace('\t', "&#9;").replace('\n', "&#10;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_end_an_attribute() {
        assert_eq!(escape("a\"><b/>&'"), "a&quot;&gt;&lt;b/&gt;&amp;&#39;");
        assert_eq!(escape("a\r\n\tb"), "a&#13;&#10;&#9;b");
        assert_eq!(escape("a\nb\u{0}\u{8}\u{ffff}ä🎷"), "a&#10;b\u{fffd}\u{fffd}\u{fffd}ä🎷");
    }
}
