//! Shows the last threshold search: the chosen point beside that of the run, on every split, and the selection bias.

use crate::page::{Cell, figure, folded, paragraph, table};
use crate::plot;
use timbre_core::{
    labels::Classes,
    text::{count, escape_xml},
};
use timbre_inputs::data::irmas;
use timbre_runs::{
    run_dir::{SearchRecord, SearchedSplit, SearchedTrial},
    tables::resampled,
};

/// Trials shown beside the best one; thresholds.json has all.
const OTHERS: usize = 60;

/// `classes`: those of the run, which may have other names for people.
pub fn html(search: &SearchRecord, classes: &Classes, picture: Option<&str>) -> String {
    let Some(best) = best(search) else { return String::new() };
    let mut html = String::new();
    if search.tuned_on == "test" {
        html += "<p><strong>Tuned on the test split: these scores are not a test result.</strong></p>\n";
    }
    html += &points(search, best);
    html += &remarks(best).iter().map(|words| paragraph(words)).collect::<String>();
    html += &picture.map_or(String::new(), |svg| map(search, best, svg));
    html += &by_class(best, classes);
    let others: Vec<&SearchedTrial> = search.trials.iter().filter(|own| own.trial != best.trial).collect();
    if !others.is_empty() {
        let tables: String = others.iter().take(OTHERS).map(|own| points(search, own)).collect();
        html += &folded(&format!("The other {}", count(others.len(), "trial")), &tables);
    }
    html
}

/// The trial of the plot: the best score on the split that was tuned on, the first of equal ones.
fn best(search: &SearchRecord) -> Option<&SearchedTrial> {
    search.trials.iter().reduce(|best, own| if own.score > best.score { own } else { best })
}

fn map(search: &SearchRecord, best: &SearchedTrial, svg: &str) -> String {
    let what = if best.window_fraction.is_some() { "threshold and window fraction" } else { "threshold" };
    let image = format!(
        "<img class=\"plot large\" alt=\"{} for every {what}\" src=\"{}\">",
        escape_xml(&search.metric),
        plot::data_uri("image/svg+xml", svg.as_bytes())
    );
    let caption = format!(
        "{} of {} on the {} split, on which the point was tuned; thresholds.csv and thresholds.json have all numbers.",
        search.metric, best.trial, search.tuned_on
    );
    figure(&image, &caption)
}

fn points(search: &SearchRecord, of: &SearchedTrial) -> String {
    let own = &search.as_run;
    let fraction = |value: Option<f64>| value.map_or("–".to_owned(), |value| value.to_string());
    let row = |name: &str, cutoff: String, at: Option<f64>, score: &dyn Fn(&SearchedSplit) -> Option<f64>| {
        let mut cells = vec![Cell::text(name), Cell::text(&cutoff), Cell::text(&fraction(at))];
        cells.extend(of.splits.iter().map(|split| Cell::number(score(split))));
        cells
    };
    let named = |scores: &indexmap::IndexMap<String, Option<f64>>| scores.get(&search.metric).copied().flatten();
    let as_run = if own.cutoffs.is_empty() { own.cutoff.to_string() } else { "by class".to_owned() };
    let at = of.window_fraction.map(|_| own.window_fraction);
    let mut rows = vec![
        row("as run", as_run, at, &|split| named(&split.as_run)),
        row("chosen", of.cutoff.to_string(), of.window_fraction, &|split| named(&split.chosen)),
    ];
    if of.per_class.is_some() {
        let score = |split: &SearchedSplit| named(split.per_class.as_ref()?);
        rows.push(row("by class", "by class".to_owned(), of.window_fraction, &score));
    }
    let splits: Vec<String> =
        of.splits.iter().map(|split| format!("{} ({})", split.split, count(split.n, "recording"))).collect();
    let mut headings = vec![("point", false), ("threshold", false), ("window fraction", false)];
    headings.extend(splits.iter().map(|split| (split.as_str(), true)));
    let caption = format!(
        "{} of {}, tuned on the {} split: {}{}, {} searched.",
        search.metric,
        of.trial,
        search.tuned_on,
        count(of.recordings, "recording"),
        if of.no_songs {
            ", every file a song of its own".to_owned()
        } else {
            format!(" of {}", count(of.songs, "song"))
        },
        count(of.points, "point")
    );
    table(&caption, &headings, &rows)
}

/// The remarks that the command prints, too.
fn remarks(of: &SearchedTrial) -> Vec<String> {
    let mut all = Vec::new();
    if of.window_fraction.is_some() && 2 * of.of_several_windows < of.recordings {
        all.push(format!(
            "Only {} with more than one window, so the fraction is poorly determined.",
            count(of.of_several_windows, "recording")
        ));
    }
    for axis in &of.on_the_edge {
        all.push(format!("The best {axis} is at the end of the searched range: widen evaluate.search.{axis}."));
    }
    let Some(bias) = &of.bias else { return all };
    let [low, high] = bias.plateau.cutoff;
    let also = bias.plateau.window_fraction.map_or(String::new(), |[a, b]| format!(", fractions {a} to {b}"));
    all.push(format!(
        "Plateau: {} of {} are within one standard error of the best: thresholds {low} to {high}{also}.",
        bias.plateau.points,
        count(of.points, "point")
    ));
    if let (Some(elsewhere), Some(optimism), Some(regret)) = (bias.elsewhere, bias.optimism, bias.regret) {
        all.push(format!(
            "Expected on new {}: {elsewhere:.3} (optimism {optimism:.3}, from {} resamples). Expected regret of the chosen point: {regret:.3}.",
            resampled(of.no_songs),
            bias.resamples
        ));
    }
    if let Some(own) = &of.per_class
        && let (Some(elsewhere), Some(optimism)) = (own.elsewhere, own.optimism)
    {
        let word = resampled(of.no_songs);
        all.push(format!("By class: expected on new {word} {elsewhere:.3} (optimism {optimism:.3})."));
    }
    all
}

fn by_class(of: &SearchedTrial, classes: &Classes) -> String {
    let Some(own) = &of.per_class else { return String::new() };
    let row = |(class, cutoff): (&String, &f64)| {
        vec![
            Cell::text(irmas::display_name(classes, class)),
            Cell { html: cutoff.to_string(), sort: Some(*cutoff), ..Cell::default() },
        ]
    };
    let rows: Vec<Vec<Cell>> = own.cutoffs.iter().map(row).collect();
    folded("Thresholds by class", &table("", &[("class", false), ("threshold", true)], &rows))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn search() -> SearchRecord {
        let trial = |model: &str, score: f64| {
            json!({
                "features": "mel", "model": model, "seed": 1, "recordings": 33, "songs": 11, "of_several_windows": 0,
                "points": 15, "cutoff": 0.1, "window_fraction": null, "score": score, "on_the_edge": ["cutoff"],
                "luck": { "resamples": 100, "standard_error": 0.04, "elsewhere": 0.167, "optimism": 0.064, "regret": 0.01,
                    "plateau": { "points": 3, "cutoff": [0.1, 0.2], "window_fraction": null }, "choices": {} },
                "per_class": { "cutoffs": { "<cel>": 0.75 }, "score": 0.4, "rounds": 3, "elsewhere": 0.04, "optimism": 0.36,
                    "regret": null },
                "splits": [
                    { "split": "validation", "n": 33, "as_run": { "f1_micro": 0.08 }, "chosen": { "f1_micro": score },
                        "per_class": { "f1_micro": 0.4 } },
                    { "split": "test", "n": 20, "as_run": { "f1_micro": 0.43 }, "chosen": { "f1_micro": 0.29 },
                        "per_class": { "f1_micro": null } },
                ],
            })
        };
        let report = json!({
            "schema": 1, "metric": "f1_micro", "tuned_on": "validation", "search": {},
            "as_run": { "aggregate": "mean", "cutoff": 0.3, "cutoffs": [], "window_fraction": 0.26 },
            "units": [trial("average", 0.2), trial("knn", 0.23), trial("logistic", 0.23)],
        });
        serde_json::from_value(report).unwrap()
    }

    #[test]
    fn the_chosen_point_is_beside_that_of_the_run_on_both_splits() {
        let html = html(&search(), &Classes::default(), None);
        let rest = &html[html.find("f1_micro of mel.knn.s1").expect("the best of them is there")..];
        assert!(!html[..html.len() - rest.len()].contains("<table"), "and comes first");
        let own = &rest[..rest.find("</table>").unwrap()];
        for words in [
            "<td>as run</td><td>0.3</td><td>–</td><td class=\"n\" data-v=\"0.08\">0.080</td><td class=\"n\" data-v=\"0.43\">0.430</td>",
            "<td>chosen</td><td>0.1</td><td>–</td><td class=\"n\" data-v=\"0.23\">0.230</td><td class=\"n\" data-v=\"0.29\">0.290</td>",
            "<td>by class</td><td>by class</td><td>–</td><td class=\"n\" data-v=\"0.4\">0.400</td><td class=\"n\" data-v=\"\">–</td>",
        ] {
            assert!(own.contains(words), "{words} in {own}");
        }
        for words in [
            "widen evaluate.search.cutoff",
            "Plateau: 3 of 15 points",
            "Expected on new songs: 0.167 (optimism 0.064",
            "expected on new songs 0.040 (optimism 0.360)",
            "&lt;cel&gt;",
            "The other 2 trials",
        ] {
            assert!(html.contains(words), "{words} in {html}");
        }
        assert!(!html.contains("Tuned on the test split"));
    }

    #[test]
    fn a_choice_on_the_test_split_is_not_called_a_result() {
        let on_test = SearchRecord { tuned_on: "test".to_owned(), ..search() };
        assert!(html(&on_test, &Classes::default(), None).contains("these scores are not a test result"));
        assert_eq!(html(&SearchRecord { trials: Vec::new(), ..search() }, &Classes::default(), None), "");
    }
}
