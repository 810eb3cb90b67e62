//! Writes the report in Markdown, for a terminal, an issue, or the summary of a CI job.

use super::conclusion::{Conclusion, baseline_label};
use super::report_data::{ReportData, by_f1};
use timbre_core::text::{count, escape_markdown};
use timbre_runs::tables::{ScoredSplit, cell, class_list};

/// The number of hardest recordings listed.
const HARDEST: usize = 10;

pub fn markdown(run: &ReportData, conclusion: &Conclusion, best: Option<&ScoredSplit>) -> String {
    let record = &run.record;
    let mut out = format!("# {}\n\n", escape_markdown(&record.experiment));
    if !record.description.is_empty() {
        out += &format!("{}\n\n", escape_markdown(&record.description));
    }
    if let Some(warning) = &conclusion.warning {
        out += &format!("**Warning: {}**\n\n", escape_markdown(warning));
    }
    out += &format!("**{}.** {}\n\n", conclusion.headline, escape_markdown(&conclusion.sentence));
    for note in &conclusion.notes {
        out += &format!("{}\n\n", escape_markdown(note));
    }
    out += &format!("## {} on the {} split\n\n", escape_markdown(run.metric()), run.split());
    out += &grid(run);
    if let Some(scored) = best {
        out += &format!("\n## Classes of {}\n\n", escape_markdown(&scored.trial.to_string()));
        out += &classes(run, scored);
        let hardest = scored.hardest();
        if !hardest.is_empty() {
            out += &format!("\n## Hardest recordings of {}\n\n", escape_markdown(&scored.trial.to_string()));
            let rows = hardest.iter().take(HARDEST).map(|&clip| {
                let of = &scored.split.clips[clip];
                let p = |labels: &[usize]| {
                    scored.mean_probability(clip, labels).map_or("–".to_owned(), |p| format!("{p:.2}"))
                };
                vec![
                    of.path.clone(),
                    class_list(&run.names, &of.truth),
                    p(&of.truth),
                    class_list(&run.names, &scored.decided[clip]),
                    p(&scored.decided[clip]),
                ]
            });
            out += &table(&["recording", "truth", "p (truth)", "predicted", "p (predicted)"], rows);
        }
    }
    if !record.failures.is_empty() {
        out += "\n## Failed trials\n\n";
        out +=
            &table(&["trial", "reason"], record.failures.iter().map(|(trial, why)| vec![trial.clone(), why.clone()]));
    }
    out += &format!(
        "\n{} of {}, signature {}, started {}.\n",
        count(record.data.clips, "recording"),
        escape_markdown(&record.data.name),
        &record.signature[..8],
        record.started
    );
    out
}

fn grid(run: &ReportData) -> String {
    let grid = &run.grid;
    let mut head = vec!["features"];
    head.extend(grid.models.iter().map(String::as_str));
    let rows = grid.features.iter().zip(&grid.cells).map(|(feature, cells)| {
        std::iter::once(feature.clone()).chain(cells.iter().map(|values| cell(values))).collect()
    });
    let mut out = table(&head, rows);
    for (name, values) in &grid.baselines {
        out += &format!("\n{}: {}  ", baseline_label(name), cell(values));
    }
    out.trim_end().to_owned() + "\n"
}

fn classes(run: &ReportData, scored: &ScoredSplit) -> String {
    let means = run.class_means(scored.trial);
    let rows = by_f1(scored).into_iter().map(|class| {
        let own = &scored.scores.per_class[class];
        let mut row = vec![
            run.names.name(class).to_owned(),
            own.support.to_string(),
            format!("{:.3}", own.precision),
            format!("{:.3}", own.recall),
            format!("{:.3}", own.f1),
            (own.predicted - own.hits).to_string(),
            (own.support - own.hits).to_string(),
        ];
        row.extend(means.get(class).into_iter().flatten().cloned());
        row
    });
    let mut head = vec!["class", "recordings", "precision", "recall", "F1", "false positives", "false negatives"];
    if !means.is_empty() {
        head.extend(["precision, all seeds", "recall, all seeds", "F1, all seeds"]);
    }
    table(&head, rows)
}

fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let rule: Vec<&str> = head.iter().enumerate().map(|(n, _)| if n == 0 { "---" } else { "---:" }).collect();
    let mut out =
        line(head.iter().map(|cell| escape_markdown(cell)).collect()) + &format!("| {} |\n", rule.join(" | "));
    rows.for_each(|row| out += &line(row.iter().map(|cell| escape_markdown(cell)).collect()));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_in_its_cell() {
        let table = table(&["a|b"], [vec!["x\n| y <img>".to_owned()]].into_iter());
        assert_eq!(table, "| a\\|b |\n| --- |\n| x \\| y &lt;img&gt; |\n");
    }
}
