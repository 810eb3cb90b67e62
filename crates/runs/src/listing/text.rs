//! The list of runs for a terminal.

use super::{ListedRun, RunState};
use crate::tables::aligned;
use timbre_core::{progress::duration, text::one_line};

const HEADER: [&str; 9] =
    ["experiment", "run", "status", "when (UTC)", "best model", "metric", "score", "95 %", "time"];
/// Columns that a narrow terminal lacks, the first one first. The name of a run begins with its time.
const OPTIONAL: [&str; 5] = ["when (UTC)", "time", "95 %", "metric", "status"];

/// One line per run, with `metric` instead of the headline metric of each run. `width` is that of the terminal, `colour` highlights runs
/// that are not done.
pub fn text(runs: &[ListedRun], metric: Option<&str>, width: Option<usize>, colour: bool) -> String {
    let mut lines = vec![HEADER.map(str::to_owned).to_vec()];
    lines.extend(runs.iter().map(|run| line(run, metric)));
    let text = fitting(lines, width);
    if !colour {
        return text;
    }
    // The table has two header lines.
    let coloured = text.lines().enumerate().map(|(at, line)| match at.checked_sub(2).and_then(|at| runs.get(at)) {
        Some(run) => painted(line, run.state),
        None => format!("{line}\n"),
    });
    coloured.collect()
}

/// The table without as many of the optional columns as `width` requires.
fn fitting(mut lines: Vec<Vec<String>>, width: Option<usize>) -> String {
    let mut words = 6;
    let mut text = aligned(&lines, words);
    for column in OPTIONAL {
        let is_wider = |width| text.lines().any(|line| line.chars().count() > width);
        if !width.is_some_and(is_wider) {
            break;
        }
        let at = lines[0].iter().position(|name| name == column).expect("each is a column");
        lines.iter_mut().for_each(|line| drop(line.remove(at)));
        words -= usize::from(at < words);
        text = aligned(&lines, words);
    }
    text
}

fn line(run: &ListedRun, metric: Option<&str>) -> Vec<String> {
    let entry = &run.entry;
    let metric = metric.unwrap_or(&entry.metric);
    let best = entry.best(metric);
    let none = || "–".to_owned();
    let score = best.as_ref().map(|best| {
        let optimistic = if entry.is_selected_on_reported_split() { "*" } else { "" };
        let leaky = if entry.leaky { "†" } else { "" };
        format!("{:.3}{optimistic}{leaky}", best.score)
    });
    let interval = best.as_ref().and_then(|best| best.interval);
    let time = entry.seconds.map(duration);
    vec![
        one_line(&entry.experiment),
        one_line(&run.name()),
        status(run),
        entry.started.get(..16).unwrap_or(&entry.started).replace('T', " "),
        best.as_ref().map_or_else(none, |best| one_line(best.model)),
        one_line(metric),
        score.unwrap_or_else(none),
        interval.map_or_else(none, |(low, high)| format!("{low:.3} to {high:.3}")),
        // The duration of an unfinished run is not known yet.
        time.filter(|_| run.state != RunState::Running && run.state != RunState::CutOff).unwrap_or_else(none),
    ]
}

/// The state of a run, with numbers where something is wrong.
fn status(run: &ListedRun) -> String {
    let name = run.state.name();
    match (run.state, run.entry.failed) {
        (RunState::Failed, 1..) => format!("{name} ({} of its trials)", run.entry.failed),
        (RunState::TooManyUnusable, _) => format!("{name} ({})", run.entry.unusable),
        _ => name.to_owned(),
    }
}

fn painted(line: &str, state: RunState) -> String {
    let code = match state {
        RunState::Done => return format!("{line}\n"),
        RunState::Running => "36",
        RunState::Stopped | RunState::CutOff | RunState::TooManyUnusable => "33",
        RunState::Failed => "31",
    };
    format!("\u{1b}[{code}m{line}\u{1b}[0m\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_terminal_lacks_columns_and_a_file_has_all() {
        let row = [
            "quickstart",
            "20261129T211202Z-e0703da9",
            "done",
            "2026-11-29 21:12",
            "fft.logistic",
            "accuracy",
            "0.630",
            "0.350 to 0.895",
            "13 s",
        ];
        let of = |width| fitting(vec![HEADER.map(str::to_owned).to_vec(), row.map(str::to_owned).to_vec()], width);
        assert!([None, Some(120)].map(of).iter().all(|text| OPTIONAL.iter().all(|column| text.contains(column))));
        let narrower = of(Some(100));
        assert!(!narrower.contains("when (UTC)") && narrower.contains("0.350 to 0.895"), "{narrower}");
        let narrow = of(Some(85));
        assert!(narrow.lines().all(|line| line.chars().count() <= 85) && narrow.contains("0.630"), "{narrow}");
        let least = of(Some(60));
        assert!(least.lines().all(|line| line.chars().count() <= 60) && least.contains("0.630"), "{least}");
    }
}
