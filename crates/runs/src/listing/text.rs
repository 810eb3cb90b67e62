//! The list as a person reads it.

use std::time::Duration;

use super::{ListedRun, RunState};
use crate::baseline_check::text::plain;
use crate::tables::aligned;
use timbre_core::progress::seconds;

/// A line a run; `metric` instead of each run's headline. With `colour`, lines of runs that are not done stand out.
pub fn text(runs: &[ListedRun], metric: Option<&str>, colour: bool) -> String {
    const HEAD: [&str; 9] =
        ["experiment", "run", "status", "when (UTC)", "best trial", "metric", "score", "95 %", "time"];
    let mut lines = vec![HEAD.map(str::to_owned).to_vec()];
    lines.extend(runs.iter().map(|run| line(run, metric)));
    let text = aligned(&lines, 6);
    if !colour {
        return text;
    }
    // Two lines of head.
    let coloured = text.lines().enumerate().map(|(at, line)| match at.checked_sub(2).and_then(|at| runs.get(at)) {
        Some(run) => painted(line, run.state),
        None => format!("{line}\n"),
    });
    coloured.collect()
}

fn line(run: &ListedRun, metric: Option<&str>) -> Vec<String> {
    let entry = &run.entry;
    let metric = metric.unwrap_or(&entry.metric);
    let best = entry.best(metric);
    let nothing = || "–".to_owned();
    let score = best.as_ref().map(|best| {
        let chosen = if entry.is_self_chosen() { "*" } else { "" };
        format!("{:.3}{chosen}", best.score)
    });
    let interval = best.as_ref().and_then(|best| best.interval);
    let time = entry.seconds.map(|s| seconds(Duration::try_from_secs_f64(s).unwrap_or_default()));
    vec![
        plain(&entry.experiment),
        plain(&run.name()),
        status(run),
        entry.started.get(..16).unwrap_or(&entry.started).replace('T', " "),
        best.as_ref().map_or_else(nothing, |best| plain(best.trial)),
        plain(metric),
        score.unwrap_or_else(nothing),
        interval.map_or_else(nothing, |(low, high)| format!("{low:.3} to {high:.3}")),
        // That of a run in hand is not over.
        time.filter(|_| run.state != RunState::Running && run.state != RunState::CutOff).unwrap_or_else(nothing),
    ]
}

/// `done`, or what is wrong, with numbers.
fn status(run: &ListedRun) -> String {
    let word = run.state.word();
    match (run.state, run.entry.failed) {
        (RunState::Failed, 1..) => format!("{word} ({} of its trials)", run.entry.failed),
        (RunState::TooManyUnusable, _) => format!("{word} ({})", run.entry.unusable),
        _ => word.to_owned(),
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
