//! Writes a comparison as a CSV table and as Markdown.

use anyhow::Result;
use polars_core::prelude::{Column, DataFrame};
use timbre_core::text::escape_markdown;

use super::best;
use super::schema::{ComparedModel, Comparison, Paired, Score, Versus};
use super::text_tables::{self, TextTable};
use timbre_runs::tables;

/// One row per metric of each model, trivial baselines last: first the run, then the differing keys (`models.knn.k`, as TOML),
/// then the numbers. Missing values are empty.
pub fn csv(comparison: &Comparison) -> Result<DataFrame> {
    let rows = rows(comparison);
    let texts = |name: &str, of: &dyn Fn(&Row) -> Option<String>| {
        Column::new(name.into(), rows.iter().map(of).collect::<Vec<_>>())
    };
    let numbers = |name: &str, of: &dyn Fn(&Row) -> Option<f64>| {
        Column::new(name.into(), rows.iter().map(of).collect::<Vec<_>>())
    };
    let counts = |name: &str, of: &dyn Fn(&Row) -> Option<u64>| {
        Column::new(name.into(), rows.iter().map(of).collect::<Vec<_>>())
    };
    let run = |row: &Row| &comparison.runs[row.run];
    let paired = |row: &Row| match &row.score.versus {
        Versus::Paired(paired) => Some(paired.clone()),
        _ => None,
    };
    let p = |of: fn(&Paired) -> f64| move |row: &Row| paired(row).map(|paired| of(&paired));
    let count = |of: fn(&Paired) -> usize| move |row: &Row| paired(row).map(|paired| of(&paired) as u64);
    let mut columns = vec![
        counts("run", &|row| Some(run(row).number as u64)),
        texts("experiment", &|row| Some(run(row).experiment.clone())),
        texts("signature", &|row| Some(run(row).signature.clone())),
        texts("path", &|row| Some(run(row).path.clone())),
        texts("status", &|row| Some(serde_json::json!(run(row).status).as_str()?.to_owned())),
    ];
    for key in &comparison.keys {
        // A key may have the name of a column.
        let taken = columns.iter().any(|column| column.name() == key.name.as_str()) || OWN.contains(&key.name.as_str());
        let name = if taken { format!("{} (key)", key.name) } else { key.name.clone() };
        columns.push(texts(&name, &|row| key.values[row.run].clone()));
    }
    columns.extend([
        texts("features", &|row| Some(row.features.clone())),
        texts("model", &|row| Some(row.model.clone())),
        texts("split", &|_| Some(comparison.split.clone())),
        texts("metric", &|row| Some(row.metric.clone())),
        numbers("mean", &|row| row.score.mean),
        numbers("sd", &|row| row.score.sd),
        counts("seeds", &|row| Some(row.score.values.len() as u64)),
        numbers("low", &|row| Some(row.score.interval?.0)),
        numbers("high", &|row| Some(row.score.interval?.1)),
        texts("versus", &|row| match &row.score.versus {
            Versus::Reference => Some("reference".to_owned()),
            Versus::Not(why) => row.line.map(|_| why.clone()),
            Versus::Paired(paired) => Some(paired.word().to_owned()),
        }),
        numbers("difference", &p(|paired| paired.difference)),
        numbers("difference_low", &p(|paired| paired.interval.0)),
        numbers("difference_high", &p(|paired| paired.interval.1)),
        numbers("p_bootstrap", &p(|paired| paired.p_bootstrap)),
        numbers("p_permutation", &p(|paired| paired.p_permutation)),
        numbers("p", &p(|paired| paired.p)),
        numbers("p_holm", &p(|paired| paired.p_holm)),
        numbers("p_mcnemar", &|row| paired(row)?.mcnemar),
        counts("common_clips", &count(|paired| paired.clips)),
        counts("common_songs", &count(|paired| paired.songs)),
        counts("paired_seeds", &count(|paired| paired.seeds.len())),
        counts("only_reference_right", &count(|paired| paired.only_reference_right)),
        counts("only_this_right", &count(|paired| paired.only_this_right)),
        numbers("training_seconds", &|row| row.line?.cost.training_seconds),
        counts("parameters", &|row| row.line?.cost.parameters),
        numbers("clips_per_second", &|row| row.line?.cost.clips_per_second),
    ]);
    if comparison.runs.iter().any(|run| run.leaky) {
        columns.push(Column::new("leaky".into(), rows.iter().map(|row| run(row).leaky).collect::<Vec<_>>()));
    }
    tables::frame(rows.len(), columns)
}

/// Columns whose names a key without a dot could have.
const OWN: [&str; 10] = ["features", "model", "split", "metric", "mean", "sd", "seeds", "low", "high", "leaky"];

struct Row<'a> {
    run: usize,
    features: String,
    model: String,
    metric: String,
    score: &'a Score,
    /// None for a trivial baseline.
    line: Option<&'a ComparedModel>,
}

fn rows(comparison: &Comparison) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for (at, metric) in comparison.metrics.iter().enumerate() {
        let of_line = |line: &'_ ComparedModel| (line.run, line.features.clone(), line.model.clone());
        for line in &comparison.lines {
            let (run, features, model) = of_line(line);
            rows.push(Row { run, features, model, metric: metric.clone(), score: &line.scores[at], line: Some(line) });
        }
        for baseline in &comparison.baselines {
            for &run in &baseline.runs {
                rows.push(Row {
                    run,
                    features: timbre_runs::run_dir::NO_FEATURES.to_owned(),
                    model: baseline.name.clone(),
                    metric: metric.clone(),
                    score: &baseline.scores[at],
                    line: None,
                });
            }
        }
    }
    rows
}

/// The runs, one table per metric with the differing keys first, and the notes.
pub fn markdown(comparison: &Comparison) -> String {
    let mut text = String::from("# Comparison\n\n");
    text += &markdown_table(&runs(comparison));
    if let (Some(sentences), Some(best)) = (best::sentences(comparison), best::view(comparison)) {
        text += &format!("\n## Best models\n\n{}\n\n", escape_markdown(&sentences.join(". ")));
        text_tables::tables(&best, false).iter().for_each(|table| text += &markdown_table(table));
    }
    for table in text_tables::tables(comparison, true) {
        text += &format!("\n## {}\n\n", escape_markdown(&table.title));
        text += &markdown_table(&table);
    }
    text.push('\n');
    text_tables::remarks(comparison).iter().for_each(|line| text += &format!("* {}\n", escape_markdown(line)));
    text
}

fn runs(comparison: &Comparison) -> TextTable {
    let head = ["run", "experiment", "signature", "data", "started", "status", "description", "clips", "seconds"];
    let row = |run: &super::ComparedRun| {
        vec![
            run.number.to_string(),
            run.experiment.clone(),
            run.signature.chars().take(8).collect(),
            run.data.clone(),
            run.started.clone(),
            text_tables::status(run.status).to_owned(),
            run.description.clone(),
            run.clips.to_string(),
            run.seconds.map_or(String::new(), |seconds| format!("{seconds:.1}")),
        ]
    };
    TextTable {
        title: "Runs".to_owned(),
        text_columns: 7,
        head: head.map(str::to_owned).to_vec(),
        rows: comparison.runs.iter().map(row).collect(),
    }
}

fn markdown_table(table: &TextTable) -> String {
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| escape_markdown(cell)).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let rule: Vec<&str> = (0..table.head.len()).map(|c| if c < table.text_columns { "---" } else { "--:" }).collect();
    let rows: String = table.rows.iter().map(|row| line(row)).collect();
    format!("{}| {} |\n{rows}", line(&table.head), rule.join(" | "))
}
