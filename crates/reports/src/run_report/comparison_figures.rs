//! What is drawn of a comparison: scores and differences, each line named by what differs.

use super::figures::{Figure, FigureFile};
use crate::comparison::{ComparedModel, Comparison, DifferingKey, Paired, Score, Versus};
use crate::plot::{self, Interval, TextStyle};
use timbre_core::text::count;

/// Keys that a line of a figure is named by, at most.
const KEYS: usize = 3;
/// Of the value of a key, in a figure, and of the whole name of a line.
const VALUE: f64 = 120.0;
const NAME: f64 = 345.0;
/// Runs of which a figure says which number they have, at most.
const NAMED: usize = 4;
/// Lines of a figure.
const DRAWN: usize = 30;

/// Every figure of a comparison as a file of its own.
pub fn comparison_figures(of: &Comparison) -> Vec<FigureFile> {
    let whose = whose(of);
    let metrics = of.metrics.iter().enumerate();
    let drawn = metrics.flat_map(|(at, metric)| drawn(of, at, metric).into_iter().map(move |own| (metric, own)));
    drawn.map(|(metric, own)| own.file(metric, &whose)).collect()
}

pub(super) fn title(of: &Comparison) -> String {
    let mut names: Vec<&str> = of.runs.iter().map(|run| run.experiment.as_str()).collect();
    names.dedup();
    let names = if names.len() <= 4 { names.join(", ") } else { count(of.runs.len(), "run") };
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
pub(super) fn against(of: &Comparison) -> String {
    match &of.reference.place {
        Some((features, model)) => format!("{features}.{model} of {}", reference(of)),
        None => format!("the same model in {}", reference(of)),
    }
}

pub(super) fn paired(score: &Score) -> Option<&Paired> {
    match &score.versus {
        Versus::Paired(paired) => Some(paired),
        _ => None,
    }
}

/// What a line is called in a figure: by that in which it differs from the others.
fn name_of(of: &Comparison, line: &ComparedModel) -> String {
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
        if said < KEYS && TextStyle::Plain.width(&format!("{number}: {longer}{more}")) <= NAME {
            (name, said) = (longer, said + 1);
        }
    }
    format!("{number}: {name}{}", if said < keys.len() { more } else { "" })
}

/// The keys that tell this line from others like it; those of its own model and features first, and such with short values.
fn telling<'a>(of: &'a Comparison, line: &ComparedModel) -> Vec<&'a DifferingKey> {
    let differs = |key: &DifferingKey| {
        let own = value(key, line);
        of.lines.iter().any(|other| concerns(key, other).is_some() && value(key, other) != own)
    };
    let concerned = of.keys.iter().filter_map(|key| Some((concerns(key, line)?, key)));
    let is_long = |key: &DifferingKey| key.values.iter().flatten().any(|value| TextStyle::Plain.width(value) > VALUE);
    let mut keys: Vec<(bool, &DifferingKey)> = concerned.filter(|(_, key)| differs(key)).collect();
    keys.sort_by_key(|(is_common, key)| (*is_common, is_long(key)));
    keys.into_iter().map(|(_, key)| key).collect()
}

/// Whether a key is common to all lines or of the model or the features of this one; none for those of others.
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
    if is_path { TextStyle::Plain.end_of(plain, VALUE) } else { TextStyle::Plain.cut(plain, VALUE) }
}

pub(super) fn drawn(of: &Comparison, at: usize, metric: &str) -> Vec<Figure> {
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

#[cfg(test)]
mod tests {
    use super::super::comparison_page::tests::{comparison, run};
    use super::*;

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
}
