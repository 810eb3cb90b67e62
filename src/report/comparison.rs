//! The page of a comparison: what differs, what came of it, whether it can be told from luck, what it costs.

use super::figures::{Figure, FigureFile};
use super::page::{Cell, Heading, Page, Section, figures, list, paragraph, table, text};
use super::verdict::{counted, spoken};
use crate::compare::{Comparison, DifferingKey, Line, Paired, Score, Verdict, Versus};
use crate::metrics::is_loss;
use crate::plot::{self, Interval, Letters};

/// Lines of all tables of results together: the page stays below 5 MB.
const ROWS: usize = 4000;
/// Keys that a line of a figure is named by, at most.
const KEYS: usize = 3;
/// Of the value of a key, in a figure, and of the whole name of a line.
const VALUE: f64 = 120.0;
const NAME: f64 = 345.0;
/// Runs of which a figure says which number they have, at most.
const NAMED: usize = 4;
/// Lines of a figure.
const DRAWN: usize = 30;

/// The page of a comparison.
pub fn of_comparison(of: &Comparison) -> String {
    let mut sections = vec![Section { id: "results", title: "Results".to_owned(), html: results(of) }];
    if !of.keys.is_empty() {
        sections.push(Section { id: "keys", title: "What differs in the configuration".to_owned(), html: keys(of) });
    }
    sections.push(Section { id: "cost", title: "Cost".to_owned(), html: cost(of) });
    sections.push(Section { id: "runs", title: "Runs".to_owned(), html: runs(of) });
    let page = Page {
        title: title(of),
        lead: lead(of),
        sections,
        footer: format!("Written by timbre {}.", text(env!("CARGO_PKG_VERSION"))),
    };
    page.html()
}

/// What is drawn in that page, as files of their own.
pub fn comparison_figures(of: &Comparison) -> Vec<FigureFile> {
    let whose = whose(of);
    let metrics = of.metrics.iter().enumerate();
    let drawn = metrics.flat_map(|(at, metric)| drawn(of, at, metric).into_iter().map(move |own| (metric, own)));
    drawn.map(|(metric, own)| own.file(metric, &whose)).collect()
}

fn title(of: &Comparison) -> String {
    let mut names: Vec<&str> = of.runs.iter().map(|run| run.experiment.as_str()).collect();
    names.dedup();
    let names = if names.len() <= 4 { names.join(", ") } else { counted(of.runs.len(), "run") };
    format!("Comparison: {names}")
}

/// What stands below a figure that is a file of its own.
fn whose(of: &Comparison) -> String {
    [title(of) + ".", format!("Reference: {}.", against(of)), numbers(of)].join(" ").trim_end().to_owned()
}

/// Which number is which run, where these are few.
fn numbers(of: &Comparison) -> String {
    if !(2..=NAMED).contains(&of.runs.len()) {
        return String::new();
    }
    let names: Vec<String> = of.runs.iter().map(|run| format!("{}:\u{a0}{}", run.number, run.name)).collect();
    format!("{}.", names.join(", "))
}

/// The run of the reference: its number and its name.
fn reference(of: &Comparison) -> String {
    of.runs.get(of.reference.run).map_or("–".to_owned(), |run| format!("run {} ({})", run.number, run.name))
}

/// What a line is compared with.
fn against(of: &Comparison) -> String {
    match &of.reference.place {
        Some((features, model)) => format!("{features}.{model} of {}", reference(of)),
        None => format!("the same model in {}", reference(of)),
    }
}

fn lead(of: &Comparison) -> String {
    let headline = of.metrics.first().map_or("", String::as_str);
    let verdicts = || of.lines.iter().filter_map(|line| paired(line.scores.first()?)).map(|paired| paired.verdict);
    let count = |verdict| verdicts().filter(|own| *own == verdict).count();
    let (better, worse, open) = (count(Verdict::Better), count(Verdict::Worse), count(Verdict::Open));
    let against = against(of);
    let (class, sentence) = match better + worse + open {
        0 => ("open", format!("Nothing could be paired with {against}.")),
        n => {
            let class = if better > 0 {
                "better"
            } else if worse > 0 {
                "worse"
            } else {
                "open"
            };
            let lines = counted(n, "model");
            (
                class,
                format!(
                    "Of {lines}, compared with {against} by {headline}: {better} better, {worse} worse, {open} that cannot be told from it."
                ),
            )
        }
    };
    let facts = [
        counted(of.runs.len(), "run"),
        format!("{} split", of.split),
        format!("{:.0} % intervals, {} resamples of whole songs", 100.0 * of.level, of.resamples),
        format!("p corrected for {} (Holm)", counted(of.tests, "test")),
    ];
    let facts: String = facts.iter().map(|fact| format!("<li>{}</li>", text(fact))).collect();
    let notes: String = of.notes.iter().map(|note| format!("<p class=\"quiet\">{}</p>\n", text(note))).collect();
    format!("<ul class=\"facts\">{facts}</ul>\n<div class=\"verdict {class}\">{}{notes}</div>\n", paragraph(&sentence))
}

fn paired(score: &Score) -> Option<&Paired> {
    match &score.versus {
        Versus::Paired(paired) => Some(paired),
        _ => None,
    }
}

/// A panel a metric.
fn results(of: &Comparison) -> String {
    let panel = |(at, metric): (usize, &String)| {
        let name = text(metric);
        let way = if is_loss(metric) { ", smaller is better" } else { "" };
        format!(
            "<div class=\"panel\" id=\"metric-{name}\" data-name=\"{name}\">\n<h3>{name}{way}</h3>\n{}{}</div>\n",
            figures(&drawn(of, at, metric).iter().map(Figure::html).collect::<Vec<_>>()),
            lines(of, at, metric)
        )
    };
    let panels: String = of.metrics.iter().enumerate().map(panel).collect();
    format!("<div class=\"panels\" data-label=\"Metrics\">\n{panels}</div>\n")
}

/// What a line is called in a figure: by that in which it differs from the others.
fn name_of(of: &Comparison, line: &Line) -> String {
    let model = format!("{}.{}", line.features, line.model);
    if of.runs.len() < 2 {
        return model;
    }
    let number = of.runs.get(line.run).map_or(line.run + 1, |run| run.number);
    let is_one_model = of.lines.iter().all(|own| (&own.features, &own.model) == (&line.features, &line.model));
    let keys = telling(of, line);
    let mut name = if is_one_model && !keys.is_empty() { String::new() } else { model };
    let (mut said, more) = (0, ", …");
    for key in &keys {
        let between = if name.is_empty() { "" } else { ", " };
        let longer = format!("{name}{between}{} {}", short(key, &keys), shown(value(key, line)));
        // What differs in all runs at once the number says, too: rather a key less than a name that is cut.
        if said < KEYS && Letters::Plain.width(&format!("{number}: {longer}{more}")) <= NAME {
            (name, said) = (longer, said + 1);
        }
    }
    format!("{number}: {name}{}", if said < keys.len() { more } else { "" })
}

/// The keys that tell this line from others like it; those of its own model and features first, and such with short values.
fn telling<'a>(of: &'a Comparison, line: &Line) -> Vec<&'a DifferingKey> {
    let differs = |key: &DifferingKey| {
        let own = value(key, line);
        of.lines.iter().any(|other| concerns(key, other).is_some() && value(key, other) != own)
    };
    let concerned = of.keys.iter().filter_map(|key| Some((concerns(key, line)?, key)));
    let is_long = |key: &DifferingKey| key.values.iter().flatten().any(|value| Letters::Plain.width(value) > VALUE);
    let mut keys: Vec<(bool, &DifferingKey)> = concerned.filter(|(_, key)| differs(key)).collect();
    keys.sort_by_key(|(is_common, key)| (*is_common, is_long(key)));
    keys.into_iter().map(|(_, key)| key).collect()
}

/// Whether a key is common to all lines or of the model or the features of this one; none for those of others.
fn concerns(key: &DifferingKey, line: &Line) -> Option<bool> {
    let of = |table: &str, name: &str| {
        key.name.strip_prefix(table).map(|rest| rest.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
    };
    match of("models.", &line.model).or(of("features.", &line.features)) {
        Some(is_own) => is_own.then_some(false),
        None => Some(true),
    }
}

fn value<'a>(key: &'a DifferingKey, line: &Line) -> Option<&'a str> {
    key.values.get(line.run).and_then(Option::as_deref)
}

/// The last word of a key; with the word before it, where another one of these ends as it does.
fn short<'a>(key: &'a DifferingKey, beside: &[&DifferingKey]) -> &'a str {
    let last = |name: &'a str, n: usize| name.rmatch_indices('.').nth(n).map_or(name, |(at, _)| &name[at + 1..]);
    let own = last(&key.name, 0);
    let alike = beside.iter().filter(|other| other.name.rsplit('.').next() == Some(own)).count();
    if alike > 1 { last(&key.name, 1) } else { own }
}

/// A value in few letters: of a path its end.
fn shown(value: Option<&str>) -> String {
    let Some(value) = value else { return "–".to_owned() };
    let plain = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
    let is_path = plain.contains(['/', '\\']);
    if is_path { Letters::Plain.end_of(plain, VALUE) } else { Letters::Plain.cut(plain, VALUE) }
}

fn drawn(of: &Comparison, at: usize, metric: &str) -> Vec<Figure> {
    let scores = || of.lines.iter().filter_map(move |line| Some((line, line.scores.get(at)?)));
    let values: Vec<Interval> = scores()
        .filter_map(|(line, score)| {
            Some(Interval { name: name_of(of, line), value: score.mean?, ends: score.interval })
        })
        .take(DRAWN)
        .collect();
    let differences: Vec<Interval> = scores()
        .filter_map(|(line, score)| Some((line, paired(score)?)))
        .map(|(line, own)| Interval { name: name_of(of, line), value: own.difference, ends: Some(own.interval) })
        .take(DRAWN)
        .collect();
    let captioned = |words: &str| [words, &numbers(of)].join(" ").trim_end().to_owned();
    let mut all = Vec::new();
    if !values.is_empty() {
        all.push(Figure {
            name: "scores",
            drawing: plot::intervals("Scores", &format!("{metric} ({})", of.split), &values, None),
            caption: captioned("Mean over the seeds, with its interval over songs and seeds."),
        });
    }
    if !differences.is_empty() {
        let title = match &of.reference.place {
            Some(_) => format!("Differences to {}", against(of)),
            None => format!("Differences to {}", reference(of)),
        };
        all.push(Figure {
            name: "differences",
            drawing: plot::differences(&title, &format!("difference in {metric}"), &differences),
            caption: captioned(&format!(
                "Compared with {}. Paired: both are scored on the same draws of songs and seeds. Not corrected for the number \
                 of tests.",
                against(of)
            )),
        });
    }
    all
}

fn lines(of: &Comparison, at: usize, metric: &str) -> String {
    let headings: [Heading; 11] = [
        ("run", true),
        ("features", false),
        ("model", false),
        (metric, true),
        ("sd", true),
        ("seeds", true),
        ("interval", false),
        ("difference", true),
        ("its interval", false),
        ("p (Holm)", true),
        ("verdict", false),
    ];
    let span = |ends: Option<(f64, f64)>| {
        Cell::words(&ends.map_or("–".to_owned(), |(low, high)| format!("{low:.3} to {high:.3}")))
    };
    let row = |line: &Line, score: &Score| {
        let number = of.runs.get(line.run).map_or(line.run + 1, |run| run.number);
        let own = paired(score);
        let mut cells = vec![
            Cell::count(number as u64),
            Cell::words(&line.features),
            Cell::words(&line.model),
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
            Versus::Reference => Cell::words("reference"),
            Versus::Paired(own) => verdict(own.verdict),
            Versus::Not(why) => Cell::words(why),
        });
        cells
    };
    let most = ROWS / of.metrics.len().max(1);
    let rows: Vec<Vec<Cell>> =
        of.lines.iter().take(most).filter_map(|line| Some(row(line, line.scores.get(at)?))).collect();
    let cut = if of.lines.len() > most {
        paragraph(&format!("The first {most} of {} lines; all stand in the CSV.", of.lines.len()))
    } else {
        String::new()
    };
    let trivial = of.baselines.iter().filter_map(|own| Some((own, own.scores.get(at)?)));
    let trivial: Vec<Vec<Cell>> = trivial
        .map(|(own, score)| {
            let numbers: Vec<String> =
                own.runs.iter().filter_map(|&run| of.runs.get(run)).map(|run| run.number.to_string()).collect();
            vec![Cell::words(&spoken(&own.name)), Cell::words(&numbers.join(", ")), Cell::number(score.mean)]
        })
        .collect();
    let trivial = if trivial.is_empty() {
        String::new()
    } else {
        table("What needs no model.", &[("answer", false), ("runs", false), (metric, true)], &trivial)
    };
    cut + &table("", &headings, &rows) + &trivial
}

fn p_value(p: f64) -> Cell {
    let html = if p < 0.001 { "&lt; 0.001".to_owned() } else { format!("{p:.3}") };
    Cell { html, sort: Some(p), ..Cell::default() }
}

fn verdict(verdict: Verdict) -> Cell {
    let (words, class) = match verdict {
        Verdict::Better => ("better", "better"),
        Verdict::Worse => ("worse", "worse"),
        Verdict::Open => ("open", ""),
    };
    Cell { class, ..Cell::words(words) }
}

fn keys(of: &Comparison) -> String {
    let names: Vec<String> = of.runs.iter().map(|run| format!("run {}", run.number)).collect();
    let mut headings: Vec<Heading> = vec![("key", false)];
    headings.extend(names.iter().map(|name| (name.as_str(), false)));
    let row = |key: &DifferingKey| {
        let values = key.values.iter().map(|value| Cell::words(value.as_deref().unwrap_or("–")));
        std::iter::once(Cell::words(&key.name)).chain(values).collect()
    };
    table("", &headings, &of.keys.iter().map(row).collect::<Vec<Vec<Cell>>>())
}

fn cost(of: &Comparison) -> String {
    let seconds = |value: Option<f64>| Cell {
        html: value.map_or("–".to_owned(), |s| format!("{s:.2}")),
        ..Cell::number(value)
    };
    let row = |line: &Line| {
        let number = of.runs.get(line.run).map_or(line.run + 1, |run| run.number);
        let rate = line.cost.clips_per_second;
        vec![
            Cell::count(number as u64),
            Cell::words(&line.features),
            Cell::words(&line.model),
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
    table(
        "Means over the seeds; recordings per second with features at hand.",
        &headings,
        &of.lines.iter().take(ROWS).map(row).collect::<Vec<_>>(),
    )
}

fn runs(of: &Comparison) -> String {
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
    let row = |run: &crate::compare::ComparedRun| {
        let status = serde_json::to_value(run.status).ok().and_then(|status| status.as_str().map(str::to_owned));
        let seeds: Vec<String> = run.seeds.iter().map(u64::to_string).collect();
        vec![
            Cell::count(run.number as u64),
            Cell::words(&run.experiment),
            Cell::words(run.signature.get(..8).unwrap_or(&run.signature)),
            Cell::words(&status.unwrap_or_default()),
            Cell::words(&run.started.get(..16).unwrap_or(&run.started).replace('T', " ")),
            Cell::words(&seeds.join(", ")),
            Cell::words(&format!("{} {}", run.data, run.data_hash.get(..8).unwrap_or(&run.data_hash))),
            Cell::count(run.clips as u64),
            Cell { html: run.seconds.map_or("–".to_owned(), |s| format!("{s:.1}")), ..Cell::number(run.seconds) },
        ]
    };
    let table = table("", &headings, &of.runs.iter().map(row).collect::<Vec<_>>());
    let about: Vec<(String, String)> = of
        .runs
        .iter()
        .map(|run| (format!("Run {}", run.number), format!("{} {}", run.description, run.path).trim().to_owned()))
        .collect();
    let failed = of.runs.iter().flat_map(|run| run.failures.iter().map(move |(unit, why)| (run.number, unit, why)));
    let failed: String =
        failed.map(|(number, unit, why)| paragraph(&format!("Run {number}: {unit} failed: {why}"))).collect();
    table + &list(&about) + &failed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{ComparedRun, Cost, Reference};
    use crate::run_dir::Status;

    fn run(number: usize) -> ComparedRun {
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
            classes: vec!["a".to_owned(), "b".to_owned()],
            failures: vec![("mel.knn.s1".to_owned(), "<why>".to_owned())],
            seconds: Some(1.5),
        }
    }

    fn paired(difference: f64, verdict: Verdict) -> Versus {
        Versus::Paired(Paired {
            difference,
            interval: (difference - 0.1, difference + 0.1),
            p_bootstrap: 0.01,
            p_permutation: 0.02,
            p: 0.02,
            p_holm: 0.0004,
            verdict,
            seeds: vec![(1, 1)],
            by_seed: Vec::new(),
            clips: 10,
            songs: 5,
            only_reference_right: 1,
            only_this_right: 4,
            mcnemar: None,
        })
    }

    fn comparison() -> Comparison {
        let line = |run: usize, mean: f64, versus: &Versus| Line {
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
            runs: vec![run(1), run(2), run(3)],
            reference: Reference { run: 0, place: None },
            keys: vec![DifferingKey {
                name: "models.knn.k".to_owned(),
                values: vec![Some("3".to_owned()), None, Some("\"<5>\"".to_owned())],
            }],
            lines: vec![
                line(0, 0.5, &Versus::Reference),
                line(1, 0.75, &paired(0.25, Verdict::Better)),
                line(2, 0.5, &Versus::Not("other recordings".to_owned())),
            ],
            baselines: Vec::new(),
            tests: 2,
            notes: vec!["read <this>".to_owned()],
        }
    }

    #[test]
    fn a_page_has_a_panel_a_metric_and_says_what_is_better_than_what() {
        let page = of_comparison(&comparison());
        assert_eq!(page.matches("class=\"panel\"").count(), 2);
        for words in [
            "compared with the same model in run 1 (x1 01234567) by accuracy: 1 better, 0 worse, 0 that",
            "+0.250",
            "&lt; 0.001",
            "other recordings",
            "log_loss, smaller is better",
            "<td>models.knn.k</td><td>3</td><td>–</td>",
            ">1: k 3</text>",
            "read &lt;this&gt;",
        ] {
            assert!(page.contains(words), "{words}");
        }
        assert!(!page.contains("<x1>") && !page.contains("<why>") && !page.contains("<5>") && !page.contains("http:"));
    }

    fn key(name: &str, values: [&str; 3]) -> DifferingKey {
        DifferingKey { name: name.to_owned(), values: values.map(|value| Some(value.to_owned())).to_vec() }
    }

    #[test]
    fn a_line_of_a_figure_is_named_by_what_differs() {
        let mut of = comparison();
        let names = |of: &Comparison| of.lines.iter().map(|line| name_of(of, line)).collect::<Vec<_>>();
        assert_eq!(names(&of), ["1: k 3", "2: k –", "3: k <5>"]);
        of.keys.push(key("seeds", ["[1]", "[1]", "[1, 2]"]));
        of.keys.push(key("data.path", ["\"/a/very/long/folder/of/recordings/one\"", "b", "c"]));
        assert_eq!(names(&of)[2], "3: k <5>, seeds [1, 2], path c");
        assert!(names(&of)[0].starts_with("1: k 3, seeds [1], path …") && names(&of)[0].ends_with("/recordings/one"));
        of.keys.push(key("windows.seconds", ["1", "2", "3"]));
        assert_eq!(names(&of)[2], "3: k <5>, seeds [1, 2], seconds 3, …");
        of.keys.push(key("models.knn.seconds", ["1", "2", "3"]));
        assert_eq!(names(&of)[2], "3: k <5>, knn.seconds 3, seeds [1, 2], …");
        of.runs.truncate(1);
        assert_eq!(names(&of)[0], "mel.knn");
    }

    #[test]
    fn a_name_that_would_be_cut_has_a_key_less() {
        let mut of = comparison();
        of.lines[2].model = "logistic_regression".to_owned();
        let long = "a description of some length that says where it is from";
        of.keys = vec![key("data.licence", [long, "b", "c"]), key("data.sample_rate", ["22050", "16000", "8000"])];
        assert_eq!(name_of(&of, &of.lines[0]), "1: mel.knn, sample_rate 22050, …");
        of.keys.push(key("windows.hop", ["0.25", "0.5", "1.0"]));
        assert_eq!(name_of(&of, &of.lines[0]), "1: mel.knn, sample_rate 22050, hop 0.25, …");
    }

    #[test]
    fn a_line_of_a_figure_is_not_named_by_what_concerns_others_or_is_the_same() {
        let mut of = comparison();
        of.lines[2].model = "logistic".to_owned();
        of.keys = vec![
            key("models.knn.k", ["3", "5", "7"]),
            key("models.logistic.c", ["1", "2", "3"]),
            key("features.raw.frames", ["1", "2", "3"]),
            key("features.mel.n_mels", ["64", "64", "96"]),
        ];
        let names: Vec<String> = of.lines.iter().map(|line| name_of(&of, line)).collect();
        assert_eq!(names, ["1: mel.knn, k 3, n_mels 64", "2: mel.knn, k 5, n_mels 64", "3: mel.logistic, n_mels 96"]);
        of.keys.pop();
        assert_eq!(name_of(&of, &of.lines[2]), "3: mel.logistic");
    }

    #[test]
    fn figures_say_what_they_are_compared_with_and_which_run_has_which_number() {
        let mut of = comparison();
        let files = comparison_figures(&of);
        assert!(files[1].svg.contains(">Differences to run 1 (x1 01234567)</text>"));
        assert!(files[1].svg.contains(">+0.250</text>"));
        let signed = "Reference: the same model in run 1 (x1 01234567). 1:\u{a0}x1 01234567, 2:\u{a0}x2 01234567, 3:\u{a0}x3 01234567.";
        assert_eq!(whose(&of), format!("Comparison: <x1>, <x2>, <x3>. {signed}"));
        of.reference.place = Some(("mel".to_owned(), "knn".to_owned()));
        assert!(comparison_figures(&of)[1].svg.contains(">Differences to mel.knn of run 1 (x1 01234567)</text>"));
        of.runs = (1..=5).map(run).collect();
        assert_eq!(numbers(&of), "");
    }

    #[test]
    fn every_metric_has_its_figures_as_files() {
        let files = comparison_figures(&comparison());
        let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["accuracy.scores", "accuracy.differences", "log_loss.scores", "log_loss.differences"]);
        assert!(files.iter().all(|file| file.svg.contains("Comparison: &lt;x1&gt;, &lt;x2&gt;, &lt;x3&gt;")));
    }

    #[test]
    fn a_comparison_of_nothing_is_a_page_too() {
        let nothing =
            Comparison { runs: Vec::new(), lines: Vec::new(), metrics: Vec::new(), keys: Vec::new(), ..comparison() };
        assert!(of_comparison(&nothing).contains("Nothing could be paired"));
    }
}
