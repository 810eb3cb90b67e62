//! Formats the differences between two runs as text.

use super::diff::{Common, DataDifference, ModelDifference, RunDiff};
use super::schema::DifferingKey;
use super::short_values;
use super::text_tables::{signed, status};
use timbre_core::text::count;
use timbre_runs::tables;

/// Characters of a value. A longer one is cut where both runs agree; `--json` has all of it.
const WIDEST: usize = 100;

/// Entries shown of a list; `--json` has all.
const SHOWN: usize = 10;

/// The differences as text for a terminal.
pub fn diff_text(difference: &RunDiff) -> String {
    let mut text = String::new();
    for run in &difference.runs {
        text += &format!("{}: {}  {}  {}\n", run.number, run.name, run.path, status(run.status));
    }
    text += &keys("Configuration", &difference.configuration);
    text += &data(&difference.data);
    text += &keys("Environment", &difference.environment);
    for model in &difference.models {
        text += &model_text(model, difference);
    }
    text += &not_compared(&difference.models);
    for (side, names) in difference.only_in.iter().enumerate().filter(|(_, names)| !names.is_empty()) {
        text += &format!("\nOnly run {} has {}\n", side + 1, names.join(", "));
    }
    if difference.models.iter().all(|model| model.common.is_none()) {
        let why = if difference.models.is_empty() { ": the runs have no model in common" } else { "" };
        text += &format!("\nNo model was compared{why}\n");
    }
    text
}

/// The models that could not be compared, grouped by reason.
fn not_compared(models: &[ModelDifference]) -> String {
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for model in models.iter().filter(|model| model.common.is_none()) {
        let why = model.why_not.as_deref().unwrap_or("unknown");
        match reasons.iter_mut().find(|(known, _)| *known == why) {
            Some((_, names)) => names.push(name(model)),
            None => reasons.push((why, vec![name(model)])),
        }
    }
    reasons.into_iter().map(|(why, names)| format!("\nNot compared: {}: {why}\n", names.join(", "))).collect()
}

fn name(model: &ModelDifference) -> String {
    let name = |place: &(String, String)| format!("{}.{}", place.0, place.1);
    let [one, other] = &model.places;
    if one == other { name(one) } else { format!("{} | {}", name(one), name(other)) }
}

fn keys(title: &str, keys: &[DifferingKey]) -> String {
    if keys.is_empty() {
        return format!("\n{title}: the same\n");
    }
    let line = |key: &DifferingKey| {
        format!("  {}: {}\n", key.name, short_values::short_values(&key.values, WIDEST).join(" | "))
    };
    format!("\n{title}\n{}", keys.iter().map(line).collect::<String>())
}

fn data(data: &DataDifference) -> String {
    if data.same {
        return "\nData: the same recordings\n".to_owned();
    }
    let mut text = "\nData\n".to_owned();
    for (side, _) in data.known.iter().enumerate().filter(|(_, known)| !**known) {
        text += &format!("  differs; run {} has no list of its recordings\n", side + 1);
    }
    for (side, paths) in data.only_in.iter().enumerate() {
        text += &list(&format!("only in run {}", side + 1), paths.iter().cloned());
    }
    text += &list("different content", data.content.iter().cloned());
    let both = |(path, [one, other]): &(String, [String; 2])| format!("{path}: {one} | {other}");
    text += &list("different labels", data.labels.iter().map(both));
    text += &list("different song", data.songs.iter().map(both));
    text + &list(
        "moved (same content, different path)",
        data.moved.iter().map(|[one, other]| format!("{one} | {other}")),
    )
}

fn list(what: &str, items: impl ExactSizeIterator<Item = String>) -> String {
    let n = items.len();
    if n == 0 {
        return String::new();
    }
    let shown: String = items.take(SHOWN).map(|item| format!("    {item}\n")).collect();
    format!("  {what}: {n}\n{shown}{}", more(n))
}

fn more(n: usize) -> String {
    if n > SHOWN { format!("    and {} more (--json has them all)\n", n - SHOWN) } else { String::new() }
}

fn model_text(model: &ModelDifference, difference: &RunDiff) -> String {
    let common = model.common.as_ref();
    common.map_or(String::new(), |common| format!("\n{} ({})\n{}", name(model), difference.split, compared(common)))
}

fn compared(common: &Common) -> String {
    let seeds = match common.seeds.len() {
        1 => String::new(),
        n => format!(", means of {n} pairs of seeds"),
    };
    let left_out = match common.left_out {
        0 => String::new(),
        n => format!(", {n} left out because their content or labels differ"),
    };
    let of_songs = match common.no_songs {
        true => ", every file a song of its own".to_owned(),
        false => format!(" of {}", count(common.songs, "song")),
    };
    let mut text = format!("  {}{of_songs}{seeds}{left_out}\n", count(common.clips, "common recording"));
    let head = |first: &str| [first, "1", "2", "difference"].map(str::to_owned).to_vec();
    let row = |name: &str, values: [f64; 2]| {
        vec![name.to_owned(), format!("{:.3}", values[0]), format!("{:.3}", values[1]), signed(values[1] - values[0])]
    };
    let scores = common.scores.iter().filter(|score| score.values[0] != score.values[1]);
    let scores: Vec<Vec<String>> = scores.map(|score| row(&score.metric, score.values)).collect();
    if scores.is_empty() {
        text += "  all scores are equal\n";
    } else {
        text += &tables::aligned(&[vec![head("metric")], scores].concat(), 1);
    }
    let differs = |pair: [f64; 2]| pair[0] != pair[1];
    let classes = common.classes.iter().filter(|c| differs(c.precision) || differs(c.recall));
    let cell = |pair: [f64; 2]| format!("{:.3} {:.3} {}", pair[0], pair[1], signed(pair[1] - pair[0]));
    let classes: Vec<Vec<String>> = classes
        .map(|c| vec![c.class.clone(), format!("{:.0}", c.support), cell(c.precision), cell(c.recall), cell(c.f1)])
        .collect();
    if !classes.is_empty() {
        let head = ["class", "clips", "precision", "recall", "f1"].map(str::to_owned).to_vec();
        text += &format!("\n{}", tables::aligned(&[vec![head], classes].concat(), 1));
    }
    if common.changed_sides.is_empty() {
        return text + "  no recording changed between right and wrong\n";
    }
    text += &format!(
        "\n  changed decisions: {} ({} right only in run 1, {} only in run 2)\n",
        count(common.changed_sides.len(), "recording"),
        count(common.only_first_right, "decision"),
        common.only_second_right
    );
    for clip in common.changed_sides.iter().take(SHOWN) {
        let decided = |side: usize| {
            let named: Vec<&str> =
                clip.decided[side].iter().map(|d| if d.is_empty() { "no class" } else { d.as_str() }).collect();
            let right = match clip.seeds {
                1 => if clip.right[side] == 1 { "right" } else { "wrong" }.to_owned(),
                n => format!("right {} of {n}", clip.right[side]),
            };
            format!("{} ({right})", named.join(" or "))
        };
        text += &format!("    {}: {}: {} | {}\n", clip.path, clip.truth, decided(0), decided(1));
    }
    text + &more(common.changed_sides.len())
}
