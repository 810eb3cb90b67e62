//! Draws the figures of a comparison: scores and differences, each row named by what differs.

use super::figures::{Figure, FigureFile};
use crate::comparison::{ComparedModel, Comparison, DifferingKey, Paired, Score, Versus};
use crate::plot::{self, Interval, TextStyle};
use timbre_core::text::count;
use timbre_evaluation::metrics::{gain, is_loss};

/// The largest number of keys in the name of a row.
const KEYS: usize = 3;
/// The largest width of a value of a key, and of the whole name of a row.
const VALUE: f64 = 120.0;
const NAME: f64 = 345.0;
/// Up to this number of runs, a figure lists the numbers of the runs.
const NAMED: usize = 4;
/// The largest number of rows of a figure.
const DRAWN: usize = 30;

/// Every figure of a comparison as a separate file, of this width without margins.
pub fn comparison_figures(comparison: &Comparison, width: f64) -> Vec<FigureFile> {
    let footer = footer(comparison);
    let metrics = comparison.metrics.iter().enumerate();
    let drawn =
        metrics.flat_map(|(at, metric)| drawn(comparison, at, metric, width).into_iter().map(move |own| (metric, own)));
    drawn.map(|(metric, own)| own.file(metric, &footer)).collect()
}

pub(super) fn title(comparison: &Comparison) -> String {
    let mut names: Vec<&str> = comparison.runs.iter().map(|run| run.experiment.as_str()).collect();
    names.dedup();
    let names = if names.len() <= 4 { names.join(", ") } else { count(comparison.runs.len(), "run") };
    format!("Comparison: {names}")
}

/// The footer of a figure file.
fn footer(comparison: &Comparison) -> String {
    [title(comparison) + ".", format!("Reference: {}.", against(comparison)), numbers(comparison)]
        .join(" ")
        .trim_end()
        .to_owned()
}

/// The numbers and names of the runs, if there are few.
fn numbers(comparison: &Comparison) -> String {
    if !(2..=NAMED).contains(&comparison.runs.len()) {
        return String::new();
    }
    let names: Vec<String> = comparison.runs.iter().map(|run| format!("{}:\u{a0}{}", run.number, run.name)).collect();
    format!("{}.", names.join(", "))
}

/// The number and name of the reference run.
fn reference(comparison: &Comparison) -> String {
    comparison
        .runs
        .get(comparison.reference.run)
        .map_or("–".to_owned(), |run| format!("run {} ({})", run.number, run.name))
}

/// The model or run that rows are compared with.
pub(super) fn against(comparison: &Comparison) -> String {
    match &comparison.reference.place {
        Some((features, model)) => format!("{features}.{model} of {}", reference(comparison)),
        None => format!("the same model in {}", reference(comparison)),
    }
}

pub(super) fn paired(score: &Score) -> Option<&Paired> {
    match &score.versus {
        Versus::Paired(paired) => Some(paired),
        _ => None,
    }
}

/// The names of the rows of a figure. As long as rows that differ have equal names but for their numbers, the key that tells most of
/// them apart is named first.
fn names(comparison: &Comparison, lines: &[&ComparedModel]) -> Vec<String> {
    let mut first: Vec<&DifferingKey> = Vec::new();
    loop {
        let names: Vec<String> = lines.iter().map(|line| name_of(comparison, line, &first)).collect();
        let plain = |at: usize| names[at].split_once(": ").map_or("", |(_, rest)| rest);
        let mut alike = Vec::new();
        for a in 0..lines.len() {
            alike.extend((a + 1..lines.len()).filter(|&b| plain(a) == plain(b)).map(|b| (lines[a], lines[b])));
        }
        let separated = |key: &DifferingKey| {
            let separates = |(a, b): &&(&ComparedModel, &ComparedModel)| {
                concerns(key, a).is_some() && concerns(key, b).is_some() && value(key, a) != value(key, b)
            };
            alike.iter().filter(separates).count()
        };
        let open = comparison.keys.iter().filter(|key| !first.iter().any(|known| known.name == key.name));
        let best =
            open.map(|key| (separated(key), key)).reduce(|best, other| if other.0 > best.0 { other } else { best });
        match best {
            Some((1.., key)) => first.push(key),
            _ => return names,
        }
    }
}

/// The name of a row in a figure, made from what differs from the other rows: the keys `first`, then others.
fn name_of(comparison: &Comparison, line: &ComparedModel, first: &[&DifferingKey]) -> String {
    let model = format!("{}.{}", line.features, line.model);
    if comparison.runs.len() < 2 {
        return model;
    }
    let number = comparison.runs.get(line.run).map_or(line.run + 1, |run| run.number);
    let is_one_model = comparison.lines.iter().all(|own| (&own.features, &own.model) == (&line.features, &line.model));
    let mut keys = distinguishing_keys(comparison, line);
    keys.sort_by_key(|key| first.iter().position(|other| other.name == key.name).unwrap_or(first.len()));
    let mut name = if is_one_model && !keys.is_empty() { String::new() } else { model };
    let (mut shown_keys, more) = (0, ", …");
    for key in &keys {
        let between = if name.is_empty() { "" } else { ", " };
        let longer = format!("{name}{between}{} {}", short(key, &keys), shown(value(key, line)));
        // The run number tells apart what differs in all runs, so fewer keys are better than a cut name.
        if shown_keys < KEYS.max(first.len()) && TextStyle::Plain.width(&format!("{number}: {longer}{more}")) <= NAME {
            (name, shown_keys) = (longer, shown_keys + 1);
        }
    }
    format!("{number}: {name}{}", if shown_keys < keys.len() { more } else { "" })
}

/// The keys that distinguish this row from similar ones: keys of its own model and features first, then keys with short values.
fn distinguishing_keys<'a>(comparison: &'a Comparison, line: &ComparedModel) -> Vec<&'a DifferingKey> {
    let differs = |key: &DifferingKey| {
        let own = value(key, line);
        comparison.lines.iter().any(|other| concerns(key, other).is_some() && value(key, other) != own)
    };
    let concerned = comparison.keys.iter().filter_map(|key| Some((concerns(key, line)?, key)));
    let is_long = |key: &DifferingKey| key.values.iter().flatten().any(|value| TextStyle::Plain.width(value) > VALUE);
    let mut keys: Vec<(bool, &DifferingKey)> = concerned.filter(|(_, key)| differs(key)).collect();
    keys.sort_by_key(|(is_common, key)| (*is_common, is_long(key)));
    keys.into_iter().map(|(_, key)| key).collect()
}

/// Whether a key concerns all rows (true), or only the model or the features of this row (false). None if it concerns other rows.
fn concerns(key: &DifferingKey, line: &ComparedModel) -> Option<bool> {
    let of = |table: &str, name: &str| {
        key.name.strip_prefix(table).map(|rest| rest.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
    };
    match of("models.", &line.model).or(of("features.", &line.features)) {
        Some(is_own) => is_own.then_some(false),
        None => Some(true),
    }
}

fn value<'a>(key: &'a DifferingKey, line: &ComparedModel) -> Option<&'a str> {
    key.values.get(line.run).and_then(Option::as_deref)
}

/// The last part of a key, with the part before it if another of these keys has the same last part.
fn short<'a>(key: &'a DifferingKey, beside: &[&DifferingKey]) -> &'a str {
    let last = |name: &'a str, n: usize| name.rmatch_indices('.').nth(n).map_or(name, |(at, _)| &name[at + 1..]);
    let own = last(&key.name, 0);
    let alike = beside.iter().filter(|other| other.name.rsplit('.').next() == Some(own)).count();
    if alike > 1 { last(&key.name, 1) } else { own }
}

/// A value cut to its largest width; of a path the end stays.
fn shown(value: Option<&str>) -> String {
    let Some(value) = value else { return "–".to_owned() };
    let plain = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
    let is_path = plain.contains(['/', '\\']);
    if is_path { TextStyle::Plain.keep_end(plain, VALUE) } else { TextStyle::Plain.cut(plain, VALUE) }
}

/// The values of the seeds, if there are several.
fn several(values: Vec<f64>) -> Vec<f64> {
    if values.len() > 1 { values } else { Vec::new() }
}

pub(super) fn drawn(comparison: &Comparison, at: usize, metric: &str, width: f64) -> Vec<Figure> {
    let scores = || comparison.lines.iter().filter_map(move |line| Some((line, line.scores.get(at)?)));
    let mut values: Vec<(&ComparedModel, Interval)> = scores()
        .filter_map(|(line, score)| {
            Some((
                line,
                Interval {
                    name: String::new(),
                    value: score.mean?,
                    ends: score.interval,
                    seeds: several(score.values.clone()),
                },
            ))
        })
        .collect();
    // The best first.
    values.sort_by(|a, b| gain(metric, b.1.value).total_cmp(&gain(metric, a.1.value)));
    values.truncate(DRAWN);
    let differences: Vec<(&ComparedModel, Interval)> = scores()
        .filter_map(|(line, score)| Some((line, paired(score)?)))
        .map(|(line, own)| {
            let seeds = several(own.by_seed.iter().flatten().copied().collect());
            (line, Interval { name: String::new(), value: own.difference, ends: Some(own.interval), seeds })
        })
        .take(DRAWN)
        .collect();
    let named = |rows: Vec<(&ComparedModel, Interval)>| -> Vec<Interval> {
        let (lines, rows): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        let marked = |(name, line): (String, &&ComparedModel)| match line.scores[at].versus {
            Versus::Reference => format!("{name} (reference)"),
            _ => name,
        };
        let names = names(comparison, &lines).into_iter().zip(&lines).map(marked);
        rows.into_iter().zip(names).map(|(row, name)| Interval { name, ..row }).collect()
    };
    let (values, differences) = (named(values), named(differences));
    let captioned = |words: &str| [words, &numbers(comparison)].join(" ").trim_end().to_owned();
    let mut all = Vec::new();
    if !values.is_empty() {
        let means = comparison.baselines.iter().filter_map(|own| own.scores.get(at)?.mean);
        let trivial = means.reduce(|a, b| if is_loss(metric) { a.min(b) } else { a.max(b) });
        let trivial = trivial.map(|score| (score, "best trivial baseline"));
        let label = format!("{metric} ({})", comparison.split);
        all.push(Figure {
            name: "scores",
            drawing: plot::intervals("Scores", &label, &values, trivial, width),
            caption: captioned(&format!(
                "Best first. Mean over the seeds (small circles), with the interval over {} and seeds.",
                comparison.resampled
            )),
        });
    }
    if !differences.is_empty() {
        let title = match &comparison.reference.place {
            Some(_) => format!("Differences to {}", against(comparison)),
            None => format!("Differences to {}", reference(comparison)),
        };
        all.push(Figure {
            name: "differences",
            drawing: plot::differences(&title, &format!("difference in {metric}"), &differences, width),
            caption: captioned(&format!(
                "Compared with {}. Paired: both are scored on the same resamples of {} and seeds. Not corrected for the number \
                 of tests.",
                against(comparison),
                comparison.resampled
            )),
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::comparison_page::tests::{comparison, run};
    use super::*;

    fn key(name: &str, values: [&str; 3]) -> DifferingKey {
        DifferingKey { name: name.to_owned(), values: values.map(|value| Some(value.to_owned())).to_vec() }
    }

    #[test]
    fn a_row_of_a_figure_is_named_by_what_differs() {
        let mut comparison = comparison();
        let names = |comparison: &Comparison| super::names(comparison, &comparison.lines.iter().collect::<Vec<_>>());
        assert_eq!(names(&comparison), ["1: k 3", "2: k –", "3: k <5>"]);
        comparison.keys.push(key("seeds", ["[1]", "[1]", "[1, 2]"]));
        comparison.keys.push(key("data.path", ["\"/a/very/long/folder/of/recordings/one\"", "b", "c"]));
        assert_eq!(names(&comparison)[2], "3: k <5>, seeds [1, 2], path c");
        assert!(
            names(&comparison)[0].starts_with("1: k 3, seeds [1], path …")
                && names(&comparison)[0].ends_with("/recordings/one")
        );
        comparison.keys.push(key("windows.seconds", ["1", "2", "3"]));
        assert_eq!(names(&comparison)[2], "3: k <5>, seeds [1, 2], seconds 3, …");
        comparison.keys.push(key("models.knn.seconds", ["1", "2", "3"]));
        assert_eq!(names(&comparison)[2], "3: k <5>, knn.seconds 3, seeds [1, 2], …");
        comparison.runs.truncate(1);
        assert_eq!(names(&comparison)[0], "mel.knn");
    }

    #[test]
    fn rows_that_differ_are_told_apart_by_more_than_their_numbers() {
        let mut comparison = comparison();
        comparison.keys = vec![
            key("audio.clip_seconds", ["5.0", "5.0", "3.0"]),
            key("audio.crop", ["start", "start", "centre"]),
            key("data.limit", ["10", "10", "20"]),
            key("windows.hop", ["1.0", "1.0", "2.0"]),
            key("audio.sample_rate", ["22050", "16000", "22050"]),
        ];
        let lines: Vec<&ComparedModel> = comparison.lines.iter().collect();
        assert_eq!(
            names(&comparison, &lines),
            [
                "1: sample_rate 22050, clip_seconds 5.0, limit 10, …",
                "2: sample_rate 16000, clip_seconds 5.0, limit 10, …",
                "3: sample_rate 22050, clip_seconds 3.0, limit 20, …"
            ]
        );
        // Rows of one run have the values of that run.
        comparison.keys.clear();
        let lines: Vec<&ComparedModel> = comparison.lines.iter().collect();
        assert_eq!(names(&comparison, &lines), ["1: mel.knn", "2: mel.knn", "3: mel.knn"]);
    }

    #[test]
    fn a_name_that_would_be_cut_has_fewer_keys() {
        let mut comparison = comparison();
        comparison.lines[2].model = "logistic_regression".to_owned();
        let long = "a description of some length that says where it is from";
        comparison.keys =
            vec![key("data.licence", [long, "b", "c"]), key("data.sample_rate", ["22050", "16000", "8000"])];
        assert_eq!(name_of(&comparison, &comparison.lines[0], &[]), "1: mel.knn, sample_rate 22050, …");
        comparison.keys.push(key("windows.hop", ["0.25", "0.5", "1.0"]));
        assert_eq!(name_of(&comparison, &comparison.lines[0], &[]), "1: mel.knn, sample_rate 22050, hop 0.25, …");
    }

    #[test]
    fn a_row_of_a_figure_is_not_named_by_keys_of_other_models_or_equal_keys() {
        let mut comparison = comparison();
        comparison.lines[2].model = "logistic".to_owned();
        comparison.keys = vec![
            key("models.knn.k", ["3", "5", "7"]),
            key("models.logistic.c", ["1", "2", "3"]),
            key("features.raw.frames", ["1", "2", "3"]),
            key("features.mel.n_mels", ["64", "64", "96"]),
        ];
        let names: Vec<String> = comparison.lines.iter().map(|line| name_of(&comparison, line, &[])).collect();
        assert_eq!(names, ["1: mel.knn, k 3, n_mels 64", "2: mel.knn, k 5, n_mels 64", "3: mel.logistic, n_mels 96"]);
        comparison.keys.pop();
        assert_eq!(name_of(&comparison, &comparison.lines[2], &[]), "3: mel.logistic");
    }

    #[test]
    fn figures_name_the_reference_and_the_numbers_of_the_runs() {
        let mut comparison = comparison();
        let files = comparison_figures(&comparison, 440.0);
        assert!(files[1].svg.contains(">Differences to run 1 (x1 01234567)</text>"));
        assert!(files[1].svg.contains(">+0.250</text>"));
        let reference_line = "Reference: the same model in run 1 (x1 01234567). 1:\u{a0}x1 01234567, 2:\u{a0}x2 01234567, 3:\u{a0}x3 01234567.";
        assert_eq!(footer(&comparison), format!("Comparison: <x1>, <x2>, <x3>. {reference_line}"));
        comparison.reference.place = Some(("mel".to_owned(), "knn".to_owned()));
        assert!(
            comparison_figures(&comparison, 440.0)[1]
                .svg
                .contains(">Differences to mel.knn of run 1 (x1 01234567)</text>")
        );
        comparison.runs = (1..=5).map(run).collect();
        assert_eq!(numbers(&comparison), "");
    }

    #[test]
    fn scores_stand_beside_the_best_trivial_baseline() {
        let mut comparison = comparison();
        let has_line =
            |comparison: &Comparison| comparison_figures(comparison, 440.0)[0].svg.contains(">best trivial baseline");
        assert!(!has_line(&comparison));
        let score = |mean: f64| Score { mean: Some(mean), ..comparison.lines[0].scores[0].clone() };
        let baseline = |name: &str, mean: f64| crate::comparison::ComparedBaseline {
            name: name.to_owned(),
            runs: vec![0],
            scores: vec![score(mean), score(mean)],
        };
        comparison.baselines = vec![baseline("chance", 0.1), baseline("commonest", 0.3)];
        assert!(has_line(&comparison));
    }

    #[test]
    fn every_metric_has_its_figures_as_files() {
        let files = comparison_figures(&comparison(), 440.0);
        let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["accuracy.scores", "accuracy.differences", "log_loss.scores", "log_loss.differences"]);
        assert!(files.iter().all(|file| file.svg.contains("Comparison: &lt;x1&gt;, &lt;x2&gt;, &lt;x3&gt;")));
    }
}
