//! The judgement as JUnit XML: a test case a trial × metric, and one a thing that may be in doubt.
//!
//! The form is that of Jenkins' schema (junit-10.xsd), which the other readers share: a fallen metric is a `failure`, what
//! cannot be judged an `error`, what was allowed `skipped`. There is no time in it: equal judgements are equal bytes.

use std::fmt::Write;

use timbre_core::text::escape_xml;

use super::check::{CheckReport, Finding};
use super::comparability::IssueKind;
use super::text::sentence;

/// What may be in doubt, and the name of its test case.
const QUESTIONS: [(IssueKind, &str); 3] = [
    (IssueKind::Unfinished, "the run is over and has all its trials"),
    (IssueKind::Classes, "the classes are those of the baseline"),
    (IssueKind::Clips, "the clips are those of the baseline"),
];

enum Outcome {
    Passed,
    /// Element, type, sentences.
    Not(&'static str, &'static str, String),
}

/// The whole file.
pub fn document(judged: &CheckReport) -> String {
    let comparable: Vec<(String, Outcome)> =
        QUESTIONS.iter().map(|&(kind, name)| (name.to_owned(), of_doubts(judged, kind))).collect();
    let scores: Vec<(String, Outcome)> = judged
        .checks
        .iter()
        .map(|check| {
            let outcome = match check.finding {
                Finding::Held { .. } => Outcome::Passed,
                Finding::Fell { .. } => Outcome::Not("failure", "fell", sentence(judged, check)),
                Finding::Missing { .. } if judged.allows(IssueKind::Missing) => {
                    Outcome::Not("skipped", "missing", sentence(judged, check))
                }
                Finding::Missing { .. } => Outcome::Not("error", "missing", sentence(judged, check)),
            };
            (format!("{} {}", check.trial, check.metric), outcome)
        })
        .collect();
    let (a, b) = (Counts::of(&comparable), Counts::of(&scores));
    let (tests, failures, errors) = (a.tests + b.tests, a.failures + b.failures, a.errors + b.errors);
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        xml,
        "<testsuites name=\"timbre\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" time=\"0\">"
    );
    xml += &suite(judged, "comparable", &comparable, &a);
    xml += &suite(judged, &format!("scores on the {} split", judged.split), &scores, &b);
    xml + "</testsuites>\n"
}

fn of_doubts(judged: &CheckReport, kind: IssueKind) -> Outcome {
    let of_kind: Vec<&str> =
        judged.doubts.iter().filter(|doubt| doubt.kind == kind).map(|doubt| doubt.sentence.as_str()).collect();
    match (of_kind.is_empty(), judged.allows(kind)) {
        (true, _) => Outcome::Passed,
        (false, true) => Outcome::Not("skipped", kind.word(), of_kind.join("; ")),
        (false, false) => Outcome::Not("error", kind.word(), of_kind.join("; ")),
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

fn suite(judged: &CheckReport, name: &str, cases: &[(String, Outcome)], counts: &Counts) -> String {
    let Counts { tests, failures, errors, skipped } = counts;
    let mut xml = format!(
        "  <testsuite name=\"{}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\" \
         time=\"0\">\n    <properties>\n",
        escape(name)
    );
    let paths = [&judged.run, &judged.baseline].map(|(title, path)| format!("{title} ({})", path.display()));
    for (name, value) in ["run", "baseline"].iter().zip(&paths) {
        let _ = writeln!(xml, "      <property name=\"{name}\" value=\"{}\"/>", escape(value));
    }
    xml += "    </properties>\n";
    let class = escape(&format!("timbre.{}", judged.experiment));
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

/// Text for an attribute or an element. A reader of an attribute would turn a plain newline or tab into a space.
pub fn escape(text: &str) -> String {
    escape_xml(text).replace('\t', "&#9;").replace('\n', "&#10;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leaves_its_attribute() {
        assert_eq!(escape("a\"><b/>&'"), "a&quot;&gt;&lt;b/&gt;&amp;&#39;");
        assert_eq!(escape("a\nb\u{0}\u{8}\u{ffff}ä🎷"), "a&#10;b\u{fffd}\u{fffd}\u{fffd}ä🎷");
    }
}
