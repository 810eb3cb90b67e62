//! The sentence on top: whether the best model does better than what needs no model, and by how much.
//!
//! The difference is paired: model and trivial answer are scored on the same draws of whole songs, so that its interval is not
//! wider than it has to be. `chance` has no decisions to be paired with: its expected score is taken for certain.

use timbre_core::seed::Seed;
use timbre_core::text::count;
use timbre_evaluation::metrics;
use timbre_evaluation::predictions::Predictions;
use timbre_runs::run_dir::{self, Status, TrialRecord};

use super::report_data::{RankedModel, ReportData, mean};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConclusionKind {
    /// The intervals of all seeds lie above zero.
    Better,
    /// Above zero, but not beyond chance; or without an interval.
    Open,
    NotBetter,
    /// There is nothing to compare.
    Unknown,
}

pub struct Conclusion {
    /// Why this is not a run as it should be, before all else.
    pub warning: Option<String>,
    pub kind: ConclusionKind,
    pub headline: String,
    pub sentence: String,
    /// What has to be read with it.
    pub notes: Vec<String>,
}

/// The differences of one model to the trivial answer, a seed each.
struct Differences {
    values: Vec<f64>,
    intervals: Vec<(f64, f64)>,
    /// Of each seed: where a split is drawn, another side for each.
    clips: Vec<usize>,
    songs: Vec<usize>,
}

pub fn verdict(run: &ReportData) -> Conclusion {
    let (metric, split) = (run.metric(), run.split());
    let unknown = |sentence: String| Conclusion {
        warning: warning(run),
        kind: ConclusionKind::Unknown,
        headline: "No verdict".to_owned(),
        sentence,
        notes: notes(run),
    };
    let Some(best) = run.ranked.first() else {
        return unknown("No model was judged: see the failures below.".to_owned());
    };
    let trivial = run.grid.baselines.iter().map(|(name, values)| (name.as_str(), mean(values.iter().copied())));
    let Some((trivial, score)) =
        trivial.filter(|(_, score)| !score.is_nan()).reduce(|a, b| if b.1 > a.1 { b } else { a })
    else {
        return unknown(format!("No trivial answer has a {metric} to compare {} with.", best.name()));
    };
    if best.mean.is_nan() {
        return unknown(format!("The {metric} of {} is undefined on the {split} split.", best.name()));
    }
    let of = differences(run, best, trivial);
    let difference = best.mean - score;
    let above = |bound: &dyn Fn(&(f64, f64)) -> bool| !of.intervals.is_empty() && of.intervals.iter().all(bound);
    let kind = if difference <= 0.0 {
        ConclusionKind::NotBetter
    } else if of.intervals.len() == best.rows.len() && above(&|interval| interval.0 > 0.0) {
        ConclusionKind::Better
    } else {
        ConclusionKind::Open
    };
    let headline = match kind {
        ConclusionKind::Better => "Better than trivial",
        ConclusionKind::Open => "Not shown to be better than trivial",
        _ => "No better than trivial",
    };
    let seeds = if best.rows.len() > 1 { format!(" (mean of {} seeds)", best.rows.len()) } else { String::new() };
    let on = match counts(&of.clips, &of.songs) {
        Some(counts) => format!(" on the {split} split ({counts})"),
        None => format!(" on the {split} split"),
    };
    let interval = match of.intervals.as_slice() {
        [] => ", without an interval".to_owned(),
        [(low, high)] => format!(", 95 % interval {low:+.3} to {high:+.3}"),
        several => {
            let each: Vec<String> = several.iter().map(|(low, high)| format!("{low:+.3} to {high:+.3}")).collect();
            format!(", 95 % intervals of the seeds {}", each.join(", "))
        }
    };
    let way = if difference < 0.0 { "less" } else { "more" };
    let sentence = format!(
        "{} has {metric} {:.3}{seeds}{on}: {:.3} {way} than the best trivial answer, {} ({score:.3}){interval}.",
        best.name(),
        best.mean,
        difference.abs(),
        spoken(trivial),
    );
    Conclusion { warning: warning(run), kind, headline: headline.to_owned(), sentence, notes: notes(run) }
}

/// What a run that is not done lacks.
fn warning(run: &ReportData) -> Option<String> {
    let record = &run.record;
    match record.status {
        Status::Done => None,
        Status::TooManyUnusable => Some(format!(
            "Too many recordings could not be used: {} of {}, more than max_unusable allows. Everything below is of the \
             others; unusable.jsonl says why.",
            record.data.unusable,
            record.data.clips + record.data.unusable
        )),
        Status::Stopped => {
            Some("This run was stopped before it was through: what is shown is not all of it.".to_owned())
        }
        Status::Running => Some("This run is not through: it runs, or was cut off.".to_owned()),
        Status::Failed if record.failures.is_empty() => Some("This run failed: log.jsonl says why.".to_owned()),
        Status::Failed => {
            Some(format!("This run failed: {} could not be fitted.", count(record.failures.len(), "unit")))
        }
    }
}

/// A baseline in words.
pub fn spoken(name: &str) -> String {
    match name {
        "commonest" => "“always the commonest class”".to_owned(),
        "two_commonest" => "“always the two commonest classes”".to_owned(),
        "nothing" => "“never any class”".to_owned(),
        "all" => "“always every class”".to_owned(),
        "chance" => "“a class drawn by chance”".to_owned(),
        other => other.to_owned(),
    }
}

fn notes(run: &ReportData) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(best) = run.ranked.first() {
        if run.ranked.len() > 1 && run.ranked_on != run.split() {
            notes.push(format!(
                "It was chosen as the best of {} on the {} split.{}",
                count(run.ranked.len(), "model"),
                run.ranked_on,
                tie(run)
            ));
        } else if run.ranked.len() > 1 {
            notes.push(format!(
                "It was picked as the best of {} on the {} split itself, so that its score there is too good by what luck the \
                 choice had: give the experiment a validation split (split.validation) to choose on.{}",
                count(run.ranked.len(), "model"),
                run.split(),
                tie(run)
            ));
        }
        if best.rows.len() == 1
            && run.experiment.models.get(&best.model).is_some_and(|spec| spec.as_kind().is_network())
        {
            notes.push("One seed alone does not show how much another start of the training would change.".to_owned());
        }
    }
    let record = &run.record;
    if record.data.unusable > 0 {
        notes.push(format!("{} could not be used (unusable.jsonl).", count(record.data.unusable, "recording")));
    }
    if record.data.set_aside > 0 {
        notes.push(format!("{} with several labels were left aside.", count(record.data.set_aside, "recording")));
    }
    if !record.failures.is_empty() {
        notes.push(format!("{} failed, see the end of this page.", count(record.failures.len(), "unit")));
    }
    notes
}

/// What is to be known of a choice among equals.
fn tie(run: &ReportData) -> String {
    let equals = run.equal_to_the_best();
    if equals < 2 {
        return String::new();
    }
    let value = run.ranked[0].rank_by;
    format!(" A tie: {equals} have {} {value:.3} there, of which the first in the results was taken.", run.metric())
}

/// Recordings and songs of the sides of all seeds; nothing where there is no side.
fn counts(clips: &[usize], songs: &[usize]) -> Option<String> {
    let range = |of: &[usize], noun: &str| {
        let (least, most) = (*of.iter().min()?, *of.iter().max()?);
        Some(if least == most { count(least, noun) } else { format!("{least} to {}", count(most, noun)) })
    };
    let (recordings, songs_of) = (range(clips, "recording")?, range(songs, "song")?);
    let alike = |of: &[usize]| of.iter().all(|n| *n == of[0]);
    let each = if alike(clips) && alike(songs) { "" } else { ", by the seed" };
    Some(format!("{recordings} of {songs_of}{each}"))
}

fn differences(run: &ReportData, best: &RankedModel, trivial: &str) -> Differences {
    let mut found = Differences { values: Vec::new(), intervals: Vec::new(), clips: Vec::new(), songs: Vec::new() };
    for unit in best.units().filter_map(|unit| run_dir::read_trial(&run.path, unit)) {
        of_seed(run, &unit, trivial, &mut found);
    }
    found
}

fn of_seed(run: &ReportData, unit: &TrialRecord, trivial: &str, found: &mut Differences) -> Option<()> {
    let side = run.side(unit)?;
    let (metric, task, n_classes) = (run.metric(), run.decision_rule.task, side.predictions.n_classes);
    let (truth, decided) = (side.truth(), side.decided(&run.decision_rule));
    let songs: Vec<&str> = side.clips.iter().map(|clip| clip.song.as_str()).collect();
    found.clips.push(songs.len());
    found.songs.push(metrics::bootstrap::group_members(&songs).len());
    let own = metrics::weighted_metric(task, metric, &truth, &decided, &side.predictions);
    let once = vec![1; truth.len()];
    let resamples = run.experiment.evaluate.bootstrap;
    let seed = Seed::new(unit.trial.seed).child("bootstrap").child(&side.split);
    let mut push = |value: f64, interval: (f64, f64)| {
        found.values.push(value);
        if interval.0.is_finite() {
            found.intervals.push(interval);
        }
    };
    match metrics::constant_decisions(task, trivial, &unit.trained_on) {
        Some(classes) => {
            let row: Vec<f32> = (0..n_classes).map(|class| if classes.contains(&class) { 1.0 } else { 0.0 }).collect();
            let said = Predictions { n_classes, probabilities: row.repeat(truth.len()) };
            let always = vec![classes; truth.len()];
            let other = metrics::weighted_metric(task, metric, &truth, &always, &said);
            let difference = |times: &[u32]| Some(own(times)? - other(times)?);
            push(difference(&once)?, metrics::bootstrap_interval(&songs, difference, resamples, 0.95, seed));
        }
        None => {
            let counted = unit.trained_on.iter().enumerate();
            let train: Vec<Vec<usize>> = counted.flat_map(|(class, &n)| std::iter::repeat_n(vec![class], n)).collect();
            let all = run.decision_rule.baselines(&train, &truth, n_classes);
            let expected = *all.iter().find(|baseline| baseline.name == trivial)?.metrics.get(metric)?;
            let difference = |times: &[u32]| Some(own(times)? - expected);
            push(difference(&once)?, metrics::bootstrap_interval(&songs, difference, resamples, 0.95, seed));
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_seeds_with_sides_of_their_own_the_range_is_named_and_not_the_last() {
        assert_eq!(counts(&[30, 31, 32], &[11, 11, 10]).unwrap(), "30 to 32 recordings of 10 to 11 songs, by the seed");
        assert_eq!(counts(&[32, 30], &[1, 1]).unwrap(), "30 to 32 recordings of 1 song, by the seed");
        assert_eq!(counts(&[99, 99], &[11, 11]).unwrap(), "99 recordings of 11 songs");
        assert_eq!(counts(&[], &[]), None);
    }
}
