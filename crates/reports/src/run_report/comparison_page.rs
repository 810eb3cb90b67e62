//! Builds the page of a comparison: differing keys, scores, significance, cost.

use super::comparison_figures::{against, drawn, paired, title};
use super::conclusion::baseline_label;
use super::figures::Figure;
use crate::comparison::{
    ComparedModel, ComparedRun, Comparison, DifferingKey, Outcome, Score, Versus, best_sentences, best_view,
    seconds_cell,
};
use crate::page::{self, Cell, Heading, Page, Section, figures, list, paragraph, prose, table};
use crate::plot::PAGE_WIDTH;
use crate::plot::scatter::{Point, PointGroup, scatter};
use indexmap::IndexMap;
use timbre_core::progress::duration;
use timbre_core::text::{count, escape_xml};
use timbre_evaluation::metrics::is_loss;

/// Rows of all result tables together, so that the page stays below 5 MB.
const ROWS: usize = 4000;

/// The HTML page of a comparison.
pub fn comparison_page(comparison: &Comparison) -> String {
    let mut sections = Vec::new();
    if let Some(best) = best_view(comparison) {
        let drawn: Vec<String> = drawn(&best, 0, &best.metrics[0], PAGE_WIDTH).iter().map(Figure::html).collect();
        let html = paragraph(
            "The best model of each run, chosen on its validation split, against that of the reference run. p is corrected for these rows alone.",
        ) + &lines(&best, 0, &best.metrics[0])
            + &figures(&drawn);
        sections.push(Section { id: "best", title: "Best against best".to_owned(), html });
    }
    sections.push(Section { id: "results", title: "Every model".to_owned(), html: results(comparison) });
    if !comparison.keys.is_empty() {
        sections.push(Section { id: "keys", title: "Differing configuration".to_owned(), html: keys(comparison) });
    }
    sections.push(Section { id: "cost", title: "Cost".to_owned(), html: cost(comparison) });
    sections.push(Section { id: "runs", title: "Runs".to_owned(), html: runs(comparison) });
    let page = Page { title: title(comparison), signature: String::new(), lead: lead(comparison), sections };
    page.html()
}

fn lead(comparison: &Comparison) -> String {
    let headline = comparison.metrics.first().map_or("", String::as_str);
    let outcomes =
        || comparison.lines.iter().filter_map(|line| paired(line.scores.first()?)).map(|paired| paired.outcome);
    let with = |outcome| outcomes().filter(|own| *own == outcome).count();
    let (better, worse) = (with(Outcome::Better), with(Outcome::Worse));
    let open = with(Outcome::Open) + with(Outcome::Same);
    let against = against(comparison);
    let (class, sentence) = match better + worse + open {
        0 => ("open", format!("No model could be paired with {against}.")),
        n => {
            let class = if better > 0 {
                "better"
            } else if worse > 0 && comparison.runs.len() < 3 {
                // Among several runs, some are worse than the best one.
                "worse"
            } else {
                "open"
            };
            let lines = count(n, "model");
            (
                class,
                format!(
                    "{lines} compared with {against} by {headline}: {better} better, {worse} worse, {open} not significantly different."
                ),
            )
        }
    };
    let facts = [
        count(comparison.runs.len(), "run"),
        format!("{} split", comparison.split),
        format!(
            "{:.0} % intervals, {} resamples of whole {}",
            100.0 * comparison.level,
            comparison.resamples,
            comparison.resampled
        ),
        format!("p corrected for {} (Holm)", count(comparison.tests, "test")),
    ];
    let facts = page::facts(&facts);
    let best = best_sentences(comparison).map_or(String::new(), |[headline, sentence]| {
        format!("<strong>{}</strong>\n{}", escape_xml(&headline), paragraph(&sentence))
    });
    let notes: String =
        comparison.notes.iter().map(|note| format!("<p class=\"quiet\">{}</p>\n", prose(note))).collect();
    format!("{facts}<div class=\"conclusion {class}\">{best}{}{notes}</div>\n", paragraph(&sentence))
}

/// One panel per metric.
fn results(comparison: &Comparison) -> String {
    let panel = |(at, metric): (usize, &String)| {
        let name = escape_xml(metric);
        let direction = if is_loss(metric) { ", smaller is better" } else { "" };
        format!(
            "<div class=\"panel\" id=\"metric-{name}\" data-name=\"{name}\">\n<h3>{name}{direction}</h3>\n{}{}</div>\n",
            figures(&drawn(comparison, at, metric, PAGE_WIDTH).iter().map(Figure::html).collect::<Vec<_>>()),
            lines(comparison, at, metric)
        )
    };
    let panels: String = comparison.metrics.iter().enumerate().map(panel).collect();
    format!("<div class=\"panels\" data-label=\"Metrics\">\n{panels}</div>\n")
}

fn lines(comparison: &Comparison, at: usize, metric: &str) -> String {
    let headings: [Heading; 11] = [
        ("run", true),
        ("features", false),
        ("model", false),
        (metric, true),
        ("sd", true),
        ("seeds", true),
        ("interval", false),
        ("difference", true),
        ("interval of the difference", false),
        ("p (Holm)", true),
        ("result", false),
    ];
    let span = |ends: Option<(f64, f64)>| {
        Cell::text(&ends.map_or("–".to_owned(), |(low, high)| format!("{low:.3}\u{a0}to\u{a0}{high:.3}")))
    };
    let row = |line: &ComparedModel, score: &Score| {
        let number = comparison.runs.get(line.run).map_or(line.run + 1, |run| run.number);
        let own = paired(score);
        let mut cells = vec![
            Cell::count(number as u64),
            Cell::text(&line.features),
            Cell::text(&line.model),
            Cell::number(score.mean),
            Cell::number(score.sd),
            Cell::count(score.values.len() as u64),
            span(score.interval),
        ];
        let signed = |value: f64| Cell { html: format!("{value:+.3}"), sort: Some(value), ..Cell::default() };
        cells.push(own.map_or(Cell::number(None), |own| signed(own.difference)));
        cells.push(span(own.map(|own| own.interval)));
        cells.push(own.map_or(Cell::number(None), |own| p_value(own.p_holm)));
        cells.push(match &score.versus {
            Versus::Reference => Cell::text("reference"),
            Versus::Paired(own) => outcome_cell(own.outcome),
            Versus::Not(why) => Cell::text(why),
        });
        cells
    };
    let most = ROWS / comparison.metrics.len().max(1);
    let rows: Vec<Vec<Cell>> =
        comparison.lines.iter().take(most).filter_map(|line| Some(row(line, line.scores.get(at)?))).collect();
    let cut = if comparison.lines.len() > most {
        paragraph(&format!("The first {most} of {} rows; the CSV has all.", comparison.lines.len()))
    } else {
        String::new()
    };
    let trivial = comparison.baselines.iter().filter_map(|own| Some((own, own.scores.get(at)?)));
    let trivial: Vec<Vec<Cell>> = trivial
        .map(|(own, score)| {
            let numbers: Vec<String> =
                own.runs.iter().filter_map(|&run| comparison.runs.get(run)).map(|run| run.number.to_string()).collect();
            vec![Cell::text(&baseline_label(&own.name)), Cell::text(&numbers.join(", ")), Cell::number(score.mean)]
        })
        .collect();
    let trivial = if trivial.is_empty() {
        String::new()
    } else {
        table("Trivial baselines", &[("baseline", false), ("runs", false), (metric, true)], &trivial)
    };
    cut + &table("", &headings, &rows) + &trivial
}

fn p_value(p: f64) -> Cell {
    let html = if p < 0.001 { "&lt; 0.001".to_owned() } else { format!("{p:.3}") };
    Cell { html, sort: Some(p), ..Cell::default() }
}

fn outcome_cell(outcome: Outcome) -> Cell {
    let (words, class) = match outcome {
        Outcome::Better => ("better", "better"),
        Outcome::Worse => ("worse", "worse"),
        Outcome::Open => ("open", ""),
        Outcome::Same => ("same", ""),
    };
    Cell { class, ..Cell::text(words) }
}

/// Runs that are columns of the table of differing keys; more are its rows.
const RUN_COLUMNS: usize = 8;

fn keys(comparison: &Comparison) -> String {
    if comparison.runs.len() > RUN_COLUMNS && comparison.keys.len() < comparison.runs.len() {
        return keys_as_columns(comparison);
    }
    let names: Vec<String> = comparison.runs.iter().map(|run| format!("run {}", run.number)).collect();
    let mut headings: Vec<Heading> = vec![("key", false)];
    headings.extend(names.iter().map(|name| (name.as_str(), false)));
    let row = |key: &DifferingKey| {
        let values = key.values.iter().map(|value| Cell::text(value.as_deref().unwrap_or("–")));
        std::iter::once(Cell::text(&key.name)).chain(values).collect()
    };
    table("", &headings, &comparison.keys.iter().map(row).collect::<Vec<Vec<Cell>>>())
}

fn keys_as_columns(comparison: &Comparison) -> String {
    let mut headings: Vec<Heading> = vec![("run", true)];
    headings.extend(comparison.keys.iter().map(|key| (key.name.as_str(), false)));
    let row = |(n, run): (usize, &ComparedRun)| {
        let values = comparison.keys.iter().map(|key| Cell::text(key.values[n].as_deref().unwrap_or("–")));
        std::iter::once(Cell::count(run.number as u64)).chain(values).collect()
    };
    table("", &headings, &comparison.runs.iter().enumerate().map(row).collect::<Vec<Vec<Cell>>>())
}

/// Runs with a colour and shape of their own.
const RUN_GROUPS: usize = 18;

/// Where each model lies between training time and score.
fn cost_figure(comparison: &Comparison) -> String {
    let mut groups: IndexMap<usize, PointGroup> = IndexMap::new();
    for line in &comparison.lines {
        let score = line.scores.first().and_then(|score| score.mean);
        let (Some(seconds), Some(score)) = (line.cost.training_seconds, score) else { continue };
        let number = comparison.runs.get(line.run).map_or(line.run + 1, |run| run.number);
        let name = format!("{}.{} of run {number}: {score:.3}, {}", line.features, line.model, duration(seconds));
        let group =
            groups.entry(number).or_insert_with(|| PointGroup { name: format!("run {number}"), points: vec![] });
        group.points.push(Point { x: seconds, y: score, name });
    }
    let groups: Vec<PointGroup> = groups.into_values().collect();
    if groups.iter().map(|group| group.points.len()).sum::<usize>() < 3 || groups.len() > RUN_GROUPS {
        return String::new();
    }
    let axes = ["training (s)", &format!("{} ({})", comparison.metrics[0], comparison.split)];
    let drawing = scatter("Score against training time", axes, &groups, PAGE_WIDTH);
    figures(&[page::figure(&drawing.in_page(), "Means over the seeds. The pointer shows the model.")])
}

fn cost(comparison: &Comparison) -> String {
    let seconds =
        |value: Option<f64>| Cell { html: value.map_or("–".to_owned(), seconds_cell), ..Cell::number(value) };
    let row = |line: &ComparedModel| {
        let number = comparison.runs.get(line.run).map_or(line.run + 1, |run| run.number);
        let rate = line.cost.clips_per_second;
        vec![
            Cell::count(number as u64),
            Cell::text(&line.features),
            Cell::text(&line.model),
            seconds(line.cost.training_seconds),
            line.cost.parameters.map_or(Cell::number(None), Cell::count),
            Cell { html: rate.map_or("–".to_owned(), |rate| format!("{rate:.0}")), ..Cell::number(rate) },
        ]
    };
    let headings = [
        ("run", true),
        ("features", false),
        ("model", false),
        ("training (s)", true),
        ("parameters", true),
        ("recordings per second", true),
    ];
    cost_figure(comparison)
        + &table(
            "Means over the seeds; recordings per second with features already computed.",
            &headings,
            &comparison.lines.iter().take(ROWS).map(row).collect::<Vec<_>>(),
        )
}

fn runs(comparison: &Comparison) -> String {
    let headings: [Heading; 9] = [
        ("run", true),
        ("experiment", false),
        ("signature", false),
        ("status", false),
        ("started", false),
        ("seeds", false),
        ("data", false),
        ("recordings", true),
        ("seconds", true),
    ];
    let row = |run: &crate::comparison::ComparedRun| {
        let status = serde_json::to_value(run.status).ok().and_then(|status| status.as_str().map(str::to_owned));
        let seeds: Vec<String> = run.seeds.iter().map(u64::to_string).collect();
        vec![
            Cell::count(run.number as u64),
            Cell::text(&run.experiment),
            Cell::text(run.signature.get(..8).unwrap_or(&run.signature)),
            Cell::text(&status.unwrap_or_default()),
            Cell::text(&run.started.get(..16).unwrap_or(&run.started).replace('T', " ")),
            Cell::text(&seeds.join(", ")),
            Cell::text(&format!("{} {}", run.data, run.data_hash.get(..8).unwrap_or(&run.data_hash))),
            Cell::count(run.clips as u64),
            Cell { html: run.seconds.map_or("–".to_owned(), |s| format!("{s:.1}")), ..Cell::number(run.seconds) },
        ]
    };
    let table = table("", &headings, &comparison.runs.iter().map(row).collect::<Vec<_>>());
    // The runs of a sweep have one description.
    let before = std::iter::once("").chain(comparison.runs.iter().map(|run| run.description.as_str()));
    let about = |(run, before): (&ComparedRun, &str)| {
        let is_new = !run.description.is_empty() && run.description != before;
        let words = if is_new { format!("{} ({})", run.description, run.path) } else { run.path.clone() };
        (format!("Run {}", run.number), words)
    };
    let about: Vec<(String, String)> = comparison.runs.iter().zip(before).map(about).collect();
    let failed =
        comparison.runs.iter().flat_map(|run| run.failures.iter().map(move |(trial, why)| (run.number, trial, why)));
    let failed: String =
        failed.map(|(number, trial, why)| paragraph(&format!("Run {number}: {trial} failed: {why}"))).collect();
    table + &list(&about) + &failed
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::comparison::{Cost, Paired, Reference};
    use timbre_runs::run_dir::Status;

    pub fn run(number: usize) -> ComparedRun {
        ComparedRun {
            number,
            name: format!("x{number} 01234567"),
            experiment: format!("<x{number}>"),
            description: "a & b".to_owned(),
            signature: "0123456789abcdef".to_owned(),
            path: format!("runs/x{number}"),
            status: Status::Done,
            started: "2026-01-02T03:04:05.678Z".to_owned(),
            seeds: vec![1, 2],
            data: "demo".to_owned(),
            data_hash: "fedcba9876543210".to_owned(),
            clips: 10,
            unusable: 0,
            leaky: false,
            classes: vec!["a".to_owned(), "b".to_owned()],
            failures: vec![("mel.knn.s1".to_owned(), "<why>".to_owned())],
            seconds: Some(1.5),
        }
    }

    fn paired(difference: f64, outcome: Outcome) -> Versus {
        Versus::Paired(Paired {
            difference,
            interval: (difference - 0.1, difference + 0.1),
            p_bootstrap: 0.01,
            p_permutation: 0.02,
            p: 0.02,
            p_holm: 0.0004,
            outcome,
            seeds: vec![(1, 1)],
            by_seed: Vec::new(),
            clips: 10,
            songs: 5,
            only_reference_right: 1,
            only_this_right: 4,
            mcnemar: None,
        })
    }

    pub fn comparison() -> Comparison {
        let line = |run: usize, mean: f64, versus: &Versus| ComparedModel {
            run,
            features: "mel".to_owned(),
            model: "knn".to_owned(),
            scores: ["accuracy", "log_loss"]
                .map(|_| Score {
                    values: vec![mean; 2],
                    mean: Some(mean),
                    sd: Some(0.0),
                    interval: Some((mean - 0.05, mean + 0.05)),
                    versus: versus.clone(),
                })
                .to_vec(),
            cost: Cost { training_seconds: Some(2.0), parameters: Some(12), clips_per_second: None },
        };
        Comparison {
            schema: 1,
            split: "test".to_owned(),
            metrics: vec!["accuracy".to_owned(), "log_loss".to_owned()],
            level: 0.95,
            resamples: 1000,
            resampled: "songs",
            runs: vec![run(1), run(2), run(3)],
            reference: Reference { run: 0, place: None },
            keys: vec![DifferingKey {
                name: "models.knn.k".to_owned(),
                values: vec![Some("3".to_owned()), None, Some("\"<5>\"".to_owned())],
            }],
            best: Vec::new(),
            lines: vec![
                line(0, 0.5, &Versus::Reference),
                line(1, 0.75, &paired(0.25, Outcome::Better)),
                line(2, 0.5, &Versus::Not("other recordings".to_owned())),
            ],
            baselines: Vec::new(),
            tests: 2,
            notes: vec!["read <this>".to_owned()],
        }
    }

    #[test]
    fn a_page_has_one_panel_per_metric_and_summarizes_the_outcomes() {
        let page = comparison_page(&comparison());
        assert_eq!(page.matches("class=\"panel\"").count(), 2);
        for words in [
            "1 model compared with the same model in run 1 (x1 01234567) by accuracy: 1 better, 0 worse, 0 not",
            "+0.250",
            "&lt; 0.001",
            "other recordings",
            "log_loss, smaller is better",
            "<td>models.knn.k</td><td>3</td><td>–</td>",
            ">1: k 3 (reference)</text>",
            "read &lt;this&gt;",
            "mel.knn of run 2: 0.750, 2.0 s</title>",
        ] {
            assert!(page.contains(words), "{words}");
        }
        assert!(!page.contains("<x1>") && !page.contains("<why>") && !page.contains("<5>") && !page.contains("http:"));
    }

    #[test]
    fn the_differing_keys_of_many_runs_are_columns_and_a_description_stands_once() {
        let mut comparison = comparison();
        comparison.runs = (1..=9).map(run).collect();
        comparison.keys[0].values = (1..=9).map(|k| Some(k.to_string())).collect();
        let page = comparison_page(&comparison);
        assert!(page.contains("<th scope=\"col\">models.knn.k</th></tr>"), "the runs are rows");
        assert!(page.contains("data-v=\"9\">9</td><td>9</td></tr>"));
        assert!(page.contains("<dd>a &amp; b (runs/x1)</dd>") && page.contains("<dd>runs/x2</dd>"));
    }

    #[test]
    fn the_best_models_come_first_with_the_highest_score_in_the_headline() {
        let mut comparison = comparison();
        let page = comparison_page(&comparison);
        assert!(!page.contains("Best against best"));
        comparison.best = comparison.lines[..2].iter().rev().cloned().collect();
        let page = comparison_page(&comparison);
        for words in [
            "<strong>Best: mel.knn of run 2, accuracy 0.750</strong>",
            "<p>+0.250 [+0.150, +0.350] against mel.knn of run 1, p &lt; 0.001: better. Each is the best of its run on the validation split.</p>",
            "<h2>Best against best</h2>",
        ] {
            assert!(page.contains(words), "{words}");
        }
        comparison.best.reverse();
        comparison.best[1].scores[0].versus = Versus::Not("other recordings".to_owned());
        let page = comparison_page(&comparison);
        assert!(page.contains(
            "<p>The next is mel.knn of run 2, 0.750: not compared with mel.knn of run 1: other recordings. Each"
        ));
    }

    #[test]
    fn an_empty_comparison_has_a_page() {
        let nothing =
            Comparison { runs: Vec::new(), lines: Vec::new(), metrics: Vec::new(), keys: Vec::new(), ..comparison() };
        assert!(comparison_page(&nothing).contains("No model could be paired"));
    }
}
