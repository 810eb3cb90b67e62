//! Lays a comparison out as tables of text, one per metric.

use super::schema::{ComparedBaseline, ComparedModel, Comparison, Score, Versus};
use super::short_values;
use timbre_core::text::{cut, thousands};
use timbre_runs::run_dir::Status;

/// A table of text cells. The first `text_columns` columns hold text, the others numbers.
pub struct TextTable {
    pub title: String,
    pub text_columns: usize,
    pub head: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

/// One table per metric. With `keys` each row begins with the differing keys.
pub fn tables(comparison: &Comparison, keys: bool) -> Vec<TextTable> {
    (0..comparison.metrics.len()).map(|metric| table(comparison, metric, keys)).collect()
}

fn table(comparison: &Comparison, metric: usize, keys: bool) -> TextTable {
    let name = &comparison.metrics[metric];
    let level = format!("{:.0} %", 100.0 * comparison.level);
    let mut head: Vec<String> = vec!["run".into()];
    if keys {
        head.extend(comparison.keys.iter().map(|key| key.name.clone()));
    }
    head.extend(["features".to_owned(), "model".to_owned()]);
    let text_columns = head.len();
    head.push(name.clone());
    head.push(level.clone());
    let is_paired = |line: &ComparedModel| matches!(line.scores[metric].versus, Versus::Paired(_));
    let compared = comparison.lines.iter().any(is_paired);
    if compared {
        head.extend(["difference", level.as_str(), "p", "p (Holm)", "result"].map(str::to_owned));
    }
    head.extend(["training s", "parameters", "clips/s"].map(str::to_owned));
    let row = |runs: &[usize], features: &str, model: &str, score: &Score| {
        let numbers: Vec<String> = runs.iter().map(|run| (run + 1).to_string()).collect();
        let mut row = vec![run_list(&numbers)];
        if keys {
            let value = |values: &[Option<String>]| match runs {
                [run] => cut(values[*run].as_deref().unwrap_or("–"), short_values::CELL),
                _ => String::new(),
            };
            row.extend(comparison.keys.iter().map(|key| value(&key.values)));
        }
        row.extend([features.to_owned(), model.to_owned(), mean(score), between(score.interval)]);
        if compared {
            row.extend(versus(&score.versus));
        }
        row
    };
    let of_line = |line: &ComparedModel| {
        let mut row = row(&[line.run], &line.features, &line.model, &line.scores[metric]);
        row.extend([
            line.cost.training_seconds.map_or("–".into(), seconds_cell),
            line.cost.parameters.map_or("–".into(), thousands),
            line.cost.clips_per_second.map_or("–".into(), rate),
        ]);
        row
    };
    let of_baseline = |baseline: &ComparedBaseline| {
        let mut row = row(&baseline.runs, "-", &baseline.name, &baseline.scores[metric]);
        row.extend(std::iter::repeat_n(String::new(), 3));
        row
    };
    let rows = comparison.lines.iter().map(of_line).chain(comparison.baselines.iter().map(of_baseline));
    TextTable { title: format!("{name} ({})", comparison.split), text_columns, rows: rows.collect(), head }
}

/// The lines below the tables: first the rows that could not be compared, then the notes.
pub fn remarks(comparison: &Comparison) -> Vec<String> {
    let mut reasons: Vec<(String, Vec<String>)> = Vec::new();
    for line in &comparison.lines {
        let Some(Versus::Not(why)) =
            line.scores.iter().map(|score| &score.versus).find(|v| matches!(v, Versus::Not(_)))
        else {
            continue;
        };
        let who = format!("{}.{} of run {}", line.features, line.model, line.run + 1);
        match reasons.iter_mut().find(|(known, _)| known == why) {
            Some((_, lines)) => lines.push(who),
            None => reasons.push((why.clone(), vec![who])),
        }
    }
    let sentence = |(why, lines): (String, Vec<String>)| {
        let more = lines.len().saturating_sub(3);
        let shown = lines[..lines.len() - more].join(", ");
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("not compared: {shown}{more}: {why}")
    };
    reasons.into_iter().map(sentence).chain(comparison.notes.iter().cloned()).collect()
}

/// `1, 2, 3`, or the number of runs if there are more.
fn run_list(numbers: &[String]) -> String {
    if numbers.len() <= 3 { numbers.join(", ") } else { format!("{} runs", numbers.len()) }
}

/// The status of a run in words.
pub fn status(status: Status) -> &'static str {
    match status {
        Status::Running => "running (or killed)",
        Status::Stopped => "stopped",
        Status::Failed => "failed",
        Status::TooManyUnusable => "done, too many unusable recordings",
        Status::Done => "done",
    }
}

/// `0.712 ± 0.013 (3)`.
fn mean(score: &Score) -> String {
    match (score.mean, score.sd) {
        (Some(mean), Some(sd)) => format!("{mean:.3} ± {sd:.3} ({})", score.values.len()),
        (Some(mean), None) => format!("{mean:.3}"),
        _ => "–".to_owned(),
    }
}

fn between(interval: Option<(f64, f64)>) -> String {
    interval.map_or("–".to_owned(), |(low, high)| format!("[{low:.3}, {high:.3}]"))
}

fn versus(versus: &Versus) -> [String; 5] {
    match versus {
        Versus::Reference => ["reference", "", "", "", ""].map(str::to_owned),
        Versus::Not(_) => ["–", "", "", "", ""].map(str::to_owned),
        Versus::Paired(paired) => [
            signed(paired.difference),
            format!("[{}, {}]", signed(paired.interval.0), signed(paired.interval.1)),
            p(paired.p),
            p(paired.p_holm),
            paired.word().to_owned(),
        ],
    }
}

/// Three decimals with a sign. A value that rounds to 0 has no sign.
pub fn signed(value: f64) -> String {
    let text = format!("{value:+.3}");
    if text[1..].bytes().all(|c| matches!(c, b'0' | b'.')) { text[1..].to_owned() } else { text }
}

fn p(p: f64) -> String {
    if p < 0.0005 { "<0.001".to_owned() } else { format!("{p:.3}") }
}

/// Seconds with two significant digits, as [`duration`](timbre_core::progress::duration) has them, but in one unit.
pub fn seconds_cell(seconds: f64) -> String {
    match seconds {
        s if s < 0.0995 => format!("{s:.3}"),
        s if s < 0.995 => format!("{s:.2}"),
        s if s < 9.95 => format!("{s:.1}"),
        s => thousands(s.round() as u64),
    }
}

fn rate(rate: f64) -> String {
    if rate < 100.0 { format!("{rate:.1}") } else { thousands(rate.round() as u64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_decimals_and_p_values_a_lower_bound() {
        assert_eq!(
            (signed(0.0316), signed(-0.0316), signed(-0.0001)),
            ("+0.032".into(), "-0.032".into(), "0.000".into())
        );
        assert_eq!((p(0.0004), p(0.0005), p(1.0)), ("<0.001".into(), "0.001".into(), "1.000".into()));
    }
}
