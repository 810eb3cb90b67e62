//! The check for a terminal. Names come from files, so control characters are replaced.

use super::check::{Check, CheckReport, Finding, ROUNDING};
use super::comparability::IssueKind;
use crate::tables::aligned;
use timbre_core::text::{count, one_line};

/// The header of `rows`.
pub const HEAD: [&str; 8] = ["result", "model", "metric", "baseline", "run", "change", "tolerance", "95 % of baseline"];

/// One row per check. The first word is fixed, so that no name begins a line of a CI log.
pub fn rows(report: &CheckReport) -> Vec<[String; 8]> {
    report.checks.iter().map(row).collect()
}

fn row(check: &Check) -> [String; 8] {
    let none = || "–".to_owned();
    let word = match check.finding {
        Finding::Held { worse_by, .. } if worse_by < -ROUNDING => "better",
        Finding::Held { worse_by, .. } if worse_by > ROUNDING => "worse, ok",
        Finding::Held { .. } => "ok",
        Finding::Fell { .. } => "FELL",
        Finding::Missing { .. } => "MISSING",
    };
    [
        word.to_owned(),
        one_line(&check.model),
        one_line(&check.metric),
        number(check.baseline),
        check.run().map_or_else(none, number),
        check.run().map_or_else(none, |run| signed(run - check.baseline)),
        check.tolerance.to_string(),
        check.interval.map_or_else(none, |(low, high)| format!("{} to {}", number(low), number(high))),
    ]
}

/// The table and the notes.
pub fn text(report: &CheckReport) -> String {
    let clips = report.clips.map_or(String::new(), |n| format!(" ({})", count(n, "clip")));
    let (run, baseline) = (one_line(&report.run.0), one_line(&report.baseline.0));
    let mut lines = vec![HEAD.map(str::to_owned).to_vec()];
    lines.extend(rows(report).into_iter().map(Vec::from));
    let mut text = format!("Run {run} against {baseline}, {} split{clips}\n\n{}", report.split, aligned(&lines, 3));
    for note in &report.notes {
        text += &format!("note: {}\n", one_line(note));
    }
    text
}

/// One message per reason not to pass, and whether it is allowed.
pub fn reasons(report: &CheckReport) -> Vec<(String, bool)> {
    let issue = |kind: IssueKind, sentence: String| {
        let allowed = report.allows(kind);
        let name = kind.name();
        let hint = if allowed { format!("allowed by --allow {name}") } else { format!("--allow {name} lets it pass") };
        (format!("{sentence} ({hint})"), allowed)
    };
    let fallen = report.fallen().map(|check| (sentence(report, check), false));
    let missing = report.missing().map(|check| issue(IssueKind::Missing, sentence(report, check)));
    let issues = report.issues.iter().map(|own| issue(own.kind, one_line(&own.sentence)));
    issues.chain(fallen).chain(missing).collect()
}

/// `mel.knn: accuracy fell by 0.0505, from 0.3636 to 0.3131, against … (tolerance 0): inside the 95 % interval …`
pub fn sentence(report: &CheckReport, check: &Check) -> String {
    let (model, metric) = (one_line(&check.model), one_line(&check.metric));
    let against = format!("{} ({})", one_line(&report.baseline.0), one_line(&report.baseline.1.display().to_string()));
    match &check.finding {
        Finding::Missing { why } => {
            format!(
                "{model}: no {metric} to compare with the {} of {against}: {}",
                number(check.baseline),
                one_line(why)
            )
        }
        Finding::Held { run, worse_by } | Finding::Fell { run, worse_by } => {
            // A worse loss has risen.
            let (up, by) = (*run > check.baseline, number(worse_by.abs()));
            let moved = match worse_by.abs() <= ROUNDING {
                true => "did not change".to_owned(),
                false => format!("{} by {by}", if up { "rose" } else { "fell" }),
            };
            let (from, to) = distinct(check.baseline, *run);
            let inside = match (check.is_inside(), check.interval) {
                (Some(true), Some((low, high))) => format!(
                    "; inside the baseline's 95 % interval, {} to {}: other songs could change it as much",
                    number(low),
                    number(high)
                ),
                (Some(false), Some((low, high))) => {
                    format!("; outside the baseline's 95 % interval, {} to {}", number(low), number(high))
                }
                _ => "; the baseline has no interval".to_owned(),
            };
            format!(
                "{model}: {metric} {moved}, from {from} to {to}, against {against}, tolerance {}{inside}",
                check.tolerance
            )
        }
    }
}

/// `passed`, or the counts of failures: `2 fell, 1 missing, 1 not comparable`.
pub fn summary(report: &CheckReport) -> String {
    let issues = report.issues.iter().filter(|issue| !report.allows(issue.kind)).count();
    let missing = report.missing().filter(|check| report.fails(check)).count();
    let counts = [(report.fallen().count(), "fell"), (missing, "missing"), (issues, "not comparable")];
    let parts: Vec<String> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    if parts.is_empty() { "passed".to_owned() } else { parts.join(", ") }
}

/// Four decimals; numbers that would show as zero in scientific notation.
pub fn number(value: f64) -> String {
    if value != 0.0 && value.abs() < 5e-5 { format!("{value:.1e}") } else { format!("{value:.4}") }
}

fn signed(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        v if v > 0.0 => format!("+{}", number(v)),
        v => number(v),
    }
}

/// Formats two numbers with at least four decimals, and enough to tell them apart.
fn distinct(a: f64, b: f64) -> (String, String) {
    let with = |decimals: usize| (format!("{a:.decimals$}"), format!("{b:.decimals$}"));
    let differ = |pair: &(String, String)| a == b || pair.0 != pair.1;
    (4..17).map(with).find(differ).unwrap_or_else(|| with(17))
}
