//! The judgement as a person reads it. Names come from files: control characters are shown as what they are.

use super::check::{Check, CheckReport, Finding, ROUNDING};
use super::comparability::IssueKind;
use crate::tables::aligned;

/// What the columns of `rows` are called.
pub const HEAD: [&str; 8] = ["verdict", "unit", "metric", "baseline", "run", "change", "tolerance", "95 % of baseline"];

/// A line a check. The first word is the program's own, so that no name of a trial begins a line of a CI's log.
pub fn rows(judged: &CheckReport) -> Vec<[String; 8]> {
    judged.checks.iter().map(row).collect()
}

fn row(check: &Check) -> [String; 8] {
    let nothing = || "–".to_owned();
    let word = match check.finding {
        Finding::Held { worse_by, .. } if worse_by < -ROUNDING => "better",
        Finding::Held { worse_by, .. } if worse_by > ROUNDING => "worse, ok",
        Finding::Held { .. } => "ok",
        Finding::Fell { .. } => "FELL",
        Finding::Missing { .. } => "MISSING",
    };
    [
        word.to_owned(),
        plain(&check.trial),
        plain(&check.metric),
        number(check.baseline),
        check.run().map_or_else(nothing, number),
        check.run().map_or_else(nothing, |run| signed(run - check.baseline)),
        check.tolerance.to_string(),
        check.interval.map_or_else(nothing, |(low, high)| format!("{} to {}", number(low), number(high))),
    ]
}

/// The table, and what is worth knowing.
pub fn text(judged: &CheckReport) -> String {
    let clips = judged.clips.map_or(String::new(), |n| format!(" ({n} clips)"));
    let (run, baseline) = (plain(&judged.run.0), plain(&judged.baseline.0));
    let mut lines = vec![HEAD.map(str::to_owned).to_vec()];
    lines.extend(rows(judged).into_iter().map(Vec::from));
    let mut text = format!("Run {run} against {baseline}, {} split{clips}\n\n{}", judged.split, aligned(&lines, 3));
    for note in &judged.notes {
        text += &format!("note: {}\n", plain(note));
    }
    text
}

/// Every reason not to pass, and every one that was allowed, a sentence each; whether it is allowed.
pub fn reasons(judged: &CheckReport) -> Vec<(String, bool)> {
    let doubt = |kind: IssueKind, sentence: String| {
        let allowed = judged.allows(kind);
        let word = kind.word();
        let hint = if allowed { format!("allowed by --allow {word}") } else { format!("--allow {word} lets it pass") };
        (format!("{sentence} ({hint})"), allowed)
    };
    let fallen = judged.fallen().map(|check| (sentence(judged, check), false));
    let missing = judged.missing().map(|check| doubt(IssueKind::Missing, sentence(judged, check)));
    let doubts = judged.doubts.iter().map(|own| doubt(own.kind, plain(&own.sentence)));
    doubts.chain(fallen).chain(missing).collect()
}

/// `mel.knn: accuracy fell by 0.0505, from 0.3636 to 0.3131, against … (tolerance 0): inside the 95 % interval …`
pub fn sentence(judged: &CheckReport, check: &Check) -> String {
    let (trial, metric) = (plain(&check.trial), plain(&check.metric));
    let against = format!("{} ({})", plain(&judged.baseline.0), plain(&judged.baseline.1.display().to_string()));
    match &check.finding {
        Finding::Missing { why } => {
            format!("{trial}: no {metric} to hold against the {} of {against}: {}", number(check.baseline), plain(why))
        }
        Finding::Held { run, worse_by } | Finding::Fell { run, worse_by } => {
            // A loss that got worse has risen.
            let (up, by) = (*run > check.baseline, number(worse_by.abs()));
            let moved = match worse_by.abs() <= ROUNDING {
                true => "did not move".to_owned(),
                false => format!("{} by {by}", if up { "rose" } else { "fell" }),
            };
            let (from, to) = apart(check.baseline, *run);
            let inside = match (check.is_inside(), check.interval) {
                (Some(true), Some((low, high))) => format!(
                    "; that is inside the baseline's 95 % interval, {} to {}: other songs would move it as far",
                    number(low),
                    number(high)
                ),
                (Some(false), Some((low, high))) => {
                    format!("; that is outside the baseline's 95 % interval, {} to {}", number(low), number(high))
                }
                _ => "; the baseline has no interval for it".to_owned(),
            };
            format!(
                "{trial}: {metric} {moved}, from {from} to {to}, against {against}, tolerance {}{inside}",
                check.tolerance
            )
        }
    }
}

/// `passed`, or what did not: `2 fell, 1 missing, 1 in doubt`.
pub fn verdict(judged: &CheckReport) -> String {
    let doubts = judged.doubts.iter().filter(|doubt| !judged.allows(doubt.kind)).count();
    let missing = judged.missing().filter(|check| judged.fails(check)).count();
    let counts = [(judged.fallen().count(), "fell"), (missing, "missing"), (doubts, "in doubt")];
    let told: Vec<String> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    if told.is_empty() { "passed".to_owned() } else { told.join(", ") }
}

/// Four decimals; what they would show as zero as a power of ten.
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

/// Two numbers with so many decimals, four or more, that they are not told as the same.
fn apart(a: f64, b: f64) -> (String, String) {
    let with = |decimals: usize| (format!("{a:.decimals$}"), format!("{b:.decimals$}"));
    let seen = |pair: &(String, String)| a == b || pair.0 != pair.1;
    (4..17).map(with).find(seen).unwrap_or_else(|| with(17))
}

/// A name without what would move the cursor, begin a line, or turn the direction of reading.
pub fn plain(name: &str) -> String {
    let moves = |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    name.chars().map(|c| if moves(c) { '\u{fffd}' } else { c }).collect()
}
