//! The page of `timbre data check`: the warnings of the set, how many findings of each kind there are, and each of them.

use timbre_core::text::{count, escape_xml};
use timbre_inputs::audit::{Audit, Finding, FindingKind};

use super::co_occurrence;
use crate::page::{Cell, Page, Section, beside, facts, paragraph, table};

/// Findings of a kind that the page lists: with thousands it would be too large to open.
const LISTED: usize = 1000;

/// The page as HTML.
pub fn check_page(audit: &Audit) -> String {
    let kinds: Vec<FindingKind> = FindingKind::ALL.into_iter().filter(|kind| audit.number_of(*kind) > 0).collect();
    let unusable = audit.number_of(FindingKind::Unusable);
    let (class, words) = match (unusable, kinds.len() + audit.warnings.len()) {
        (0, 0) => ("better", "Nothing is wrong with the recordings, as far as can be computed.".to_owned()),
        (0, _) => ("open", "Every recording can be used. Look at the warnings and findings below.".to_owned()),
        (1, _) => ("worse", "1 recording cannot be used.".to_owned()),
        (n, _) => ("worse", format!("{n} recordings cannot be used.")),
    };
    let lead = facts(&[
        count(audit.recordings, "recording"),
        count(audit.labels.classes.len(), "class"),
        format!("{:.1} minutes", audit.seconds / 60.0),
    ]) + &format!("<div class=\"conclusion {class}\"><strong>{}</strong></div>\n", escape_xml(&words))
        + &audit.warnings.iter().map(|warning| paragraph(&format!("Warning: {warning}."))).collect::<String>();
    let summary = |kind: &FindingKind| vec![Cell::text(kind.title()), Cell::count(audit.number_of(*kind) as u64)];
    let rows: Vec<Vec<Cell>> = kinds.iter().map(summary).collect();
    let summary = match rows.is_empty() {
        true => paragraph("There are no findings."),
        false => table("", &[("finding", false), ("number", true)], &rows),
    };
    let mut sections = vec![Section { id: "findings", title: "Findings".to_owned(), html: summary + &lists(audit) }];
    sections.push(Section { id: "labels", title: "Labels".to_owned(), html: labels(audit) });
    Page { title: format!("Check of {}", audit.data), signature: String::new(), lead, sections }.html()
}

/// A table for each kind; what duplicates differ in is in theirs.
fn lists(audit: &Audit) -> String {
    let of_kind = |findings: &[Finding]| {
        let kind = findings[0].kind;
        let row = |finding: &Finding| {
            let names: Vec<String> = finding.recordings.iter().map(|name| escape_xml(name)).collect();
            let detail = format!("{}{}", finding.detail, finding.notes());
            vec![
                Cell { html: names.join("<br>"), ..Cell::default() },
                Cell::text(detail.trim_start_matches([',', ':']).trim_start()),
            ]
        };
        let rows: Vec<Vec<Cell>> = findings.iter().take(LISTED).map(row).collect();
        let more = match findings.len().saturating_sub(LISTED) {
            0 => String::new(),
            n => paragraph(&format!("{n} more are in the output of --json.")),
        };
        format!("<h3>{}</h3>\n", escape_xml(kind.title()))
            + &table("", &[("what", false), ("detail", false)], &rows)
            + &more
    };
    audit.findings.chunk_by(|a, b| a.kind == b.kind).map(of_kind).collect()
}

fn labels(audit: &Audit) -> String {
    let labels = &audit.labels;
    let all = audit.recordings.max(1) as f64;
    let row = |(class, counts): (usize, &Vec<usize>)| {
        let own = counts[class];
        vec![Cell::text(&labels.classes[class]), Cell::count(own as u64), Cell::number(Some(own as f64 / all))]
    };
    let rows: Vec<Vec<Cell>> = labels.co_occurrence.iter().enumerate().map(row).collect();
    let classes = table("", &[("class", false), ("recordings", true), ("share", true)], &rows);
    beside(
        &(paragraph(&format!("Labels: {}.", labels.sentence())) + &classes),
        &co_occurrence(&labels.classes, &labels.co_occurrence),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbre_inputs::audit::{Published, audit};
    use timbre_inputs::data::{ClipRecord, DataSet, PublishedCounts};
    use timbre_signal::audio::AudioSpec;

    #[test]
    fn names_are_escaped_and_every_finding_is_listed() {
        let record = |id: &str| ClipRecord::new(id, format!("/nowhere/{id}"), vec![0]);
        let set = DataSet {
            name: "<x>".into(),
            classes: timbre_core::labels::Classes::new(["a&b"]),
            records: vec![record("<b>.wav"), record("c.wav")],
            notes: Vec::new(),
        };
        let counts = PublishedCounts { recordings: Some(3), ..PublishedCounts::default() };
        let published = Published { set: &set, counts, is_no_recording: &|_, _| false };
        let page = check_page(&audit(&set, &published, &AudioSpec::default(), || ()));
        assert!(!page.contains("<b>.wav") && page.contains("&lt;b&gt;.wav") && page.contains("a&amp;b"));
        assert!(page.contains("2 recordings cannot be used") && page.contains("2 recordings; published are 3"));
        assert!(page.contains("No recording has several classes"));
    }
}
