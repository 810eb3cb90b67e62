//! Concludes whether the best model is better than the best trivial baseline, and by how much.
//!
//! The difference is paired: model and baseline are scored on the same resamples of whole songs, so that its interval is not
//! wider than necessary. `chance` makes no decisions to pair with, so its expected score is taken as exact.

use timbre_core::{seed::Seed, text::count};
use timbre_evaluation::{
    metrics::{self, bootstrap},
    predictions::Predictions,
};
use timbre_runs::{
    run_dir::{self, Status, TrialRecord},
    tables::resampled,
};

use super::report_data::{RankedModel, ReportData, mean};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConclusionKind {
    /// The intervals of all seeds are above zero.
    Better,
    /// The difference is above zero but not significant, or it has no interval.
    Open,
    NotBetter,
    /// There is no comparison, or only one song to compare on.
    Unknown,
}

pub struct Conclusion {
    /// A warning about an incomplete run, which comes first.
    pub warning: Option<String>,
    pub kind: ConclusionKind,
    pub headline: String,
    pub sentence: String,
    /// How the model was chosen, if there are several.
    pub choice: Option<String>,
    /// Remarks that limit the conclusion.
    pub notes: Vec<String>,
}

/// The differences of one model to a trivial baseline, by seed.
struct Differences {
    values: Vec<f64>,
    /// Micro F1 beside the Hamming score, which also rewards a model that finds nothing. Empty for other metrics.
    f1_micro: Vec<f64>,
    intervals: Vec<(f64, f64)>,
    /// Recordings of each seed, since each seed may draw its own split.
    clips: Vec<usize>,
    songs: Vec<usize>,
}

/// Compares the best model of a run with its best trivial baseline.
pub fn conclude(run: &ReportData) -> Conclusion {
    let (metric, split) = (run.metric(), run.split());
    let unknown = |sentence: String| Conclusion {
        warning: warning(run),
        kind: ConclusionKind::Unknown,
        headline: "No conclusion".to_owned(),
        sentence,
        choice: choice(run),
        notes: notes(run),
    };
    let Some(best) = run.ranked.first() else {
        return unknown("No model was evaluated: see the failures below.".to_owned());
    };
    let trivial = run.grid.baselines.iter().map(|(name, values)| (name.as_str(), mean(values.iter().copied())));
    let Some((trivial, score)) =
        trivial.filter(|(_, score)| !score.is_nan()).reduce(|a, b| if b.1 > a.1 { b } else { a })
    else {
        return unknown(format!("No trivial baseline has a {metric} to compare {} with.", best.name()));
    };
    if best.mean.is_nan() {
        return unknown(format!("The {metric} of {} is undefined on the {split} split.", best.name()));
    }
    let differences_by_seed = differences(run, best, trivial);
    let difference = best.mean - score;
    let above = |bound: &dyn Fn(&(f64, f64)) -> bool| {
        !differences_by_seed.intervals.is_empty() && differences_by_seed.intervals.iter().all(bound)
    };
    let songs = differences_by_seed.songs.iter().copied().min();
    let caution = songs.and_then(|songs| bootstrap::caution(songs, resampled(run.has_no_songs)));
    let is_few = songs.is_some_and(|songs| songs < bootstrap::LEAST);
    let kind = if songs == Some(1) {
        ConclusionKind::Unknown
    } else if difference <= 0.0 {
        ConclusionKind::NotBetter
    } else if !is_few && differences_by_seed.intervals.len() == best.rows.len() && above(&|interval| interval.0 > 0.0) {
        ConclusionKind::Better
    } else {
        ConclusionKind::Open
    };
    let headline = match kind {
        ConclusionKind::Better => "Better than trivial",
        ConclusionKind::Open => "Not shown to be better than trivial",
        ConclusionKind::NotBetter => "No better than trivial",
        ConclusionKind::Unknown => "No conclusion",
    };
    let seeds = if best.rows.len() > 1 { format!(" (mean of {} seeds)", best.rows.len()) } else { String::new() };
    let on = match counts(&differences_by_seed.clips, &differences_by_seed.songs, run.has_no_songs) {
        Some(counts) => format!(" on the {split} split ({counts})"),
        None => format!(" on the {split} split"),
    };
    let interval = match differences_by_seed.intervals.as_slice() {
        [] => ", without an interval".to_owned(),
        [(low, high)] => format!(", 95 % interval {low:+.3} to {high:+.3}"),
        several => {
            let each: Vec<String> = several.iter().map(|(low, high)| format!("{low:+.3} to {high:+.3}")).collect();
            format!(", 95 % intervals of the seeds {}", each.join(", "))
        }
    };
    let f1_micro = match differences_by_seed.f1_micro.as_slice() {
        [] => String::new(),
        of_seeds => format!(" (f1_micro {:.3})", mean(of_seeds.iter().copied())),
    };
    let direction = if difference < 0.0 { "less" } else { "more" };
    let mut sentence = format!(
        "{} has {metric} {:.3}{f1_micro}{seeds}{on}: {:.3} {direction} than the best trivial baseline, {} ({score:.3}){interval}.",
        best.name(),
        best.mean,
        difference.abs(),
        baseline_label(trivial),
    );
    let mut notes = notes(run);
    match caution.map(|caution| format!("{}{}.", caution[..1].to_uppercase(), &caution[1..])) {
        Some(caution) if is_few => sentence += &format!(" {caution}"),
        caution => notes.extend(caution),
    }
    Conclusion { warning: warning(run), kind, headline: headline.to_owned(), sentence, choice: choice(run), notes }
}

/// A warning if the run is not done.
fn warning(run: &ReportData) -> Option<String> {
    let record = &run.record;
    match record.status {
        Status::Done => None,
        Status::TooManyUnusable => Some(format!(
            "Too many recordings are unusable: {} of {}, more than max_unusable allows. Everything below is about the \
             others; see unusable.jsonl for the reasons.",
            record.data.unusable,
            record.data.clips + record.data.unusable
        )),
        Status::Stopped => Some("This run was stopped before it was complete: the report is partial.".to_owned()),
        Status::Running => Some("This run is not complete: it is still running or was killed.".to_owned()),
        Status::Failed if record.failures.is_empty() => Some("This run failed: see log.jsonl.".to_owned()),
        Status::Failed => {
            Some(format!("This run failed: {} could not be trained.", count(record.failures.len(), "trial")))
        }
    }
}

/// The description of a trivial baseline.
pub fn baseline_label(name: &str) -> String {
    match name {
        "commonest" => "“always the most common class”".to_owned(),
        "two_commonest" => "“always the two most common classes”".to_owned(),
        "nothing" => "“never any class”".to_owned(),
        "all" => "“always every class”".to_owned(),
        "chance" => "“a random class”".to_owned(),
        other => other.to_owned(),
    }
}

/// What to do about a choice on the test split; a citation leaves it out.
pub const ADVICE: &str = ": add a validation split (split.validation) to avoid this";

/// How the best of several models was chosen.
fn choice(run: &ReportData) -> Option<String> {
    let models = count(run.ranked.len(), "model");
    let optimistic = match run.ranked_on == run.split() {
        true => format!(" itself, so this score is optimistic{ADVICE}"),
        false => String::new(),
    };
    (run.ranked.len() > 1)
        .then(|| format!("Selected as the best of {models} on the {} split{optimistic}.{}", run.ranked_on, tie(run)))
}

fn notes(run: &ReportData) -> Vec<String> {
    let mut notes: Vec<String> = choice(run).into_iter().collect();
    if let Some(best) = run.ranked.first()
        && best.rows.len() == 1
        && run.experiment.models.get(&best.model).is_some_and(|spec| spec.as_network().is_some())
    {
        notes.push("A single seed does not show the variation between training runs.".to_owned());
    }
    let record = &run.record;
    notes.extend(record.warnings.iter().map(|warning| format!("Warning: {warning}.")));
    if record.data.unusable > 0 {
        notes.push(format!("{} unusable (see unusable.jsonl).", count(record.data.unusable, "recording")));
    }
    if record.data.set_aside > 0 {
        notes.push(format!("{} without exactly one class not used.", count(record.data.set_aside, "recording")));
    }
    if !record.failures.is_empty() {
        notes.push(format!("{} failed: see the end of this page.", count(record.failures.len(), "trial")));
    }
    notes
}

/// A note if several models are equally good.
fn tie(run: &ReportData) -> String {
    let equals = run.equal_to_the_best();
    if equals < 2 {
        return String::new();
    }
    let value = run.ranked[0].rank_by;
    format!(" A tie: {equals} models have {} {value:.3} there; the first in the results was taken.", run.metric())
}

/// The recordings and songs over all seeds, as text. None without data.
fn counts(clips: &[usize], songs: &[usize], no_songs: bool) -> Option<String> {
    let range = |of: &[usize], noun: &str| {
        let (least, most) = (*of.iter().min()?, *of.iter().max()?);
        Some(if least == most { count(least, noun) } else { format!("{least} to {}", count(most, noun)) })
    };
    let (recordings, songs_of) = (range(clips, "recording")?, range(songs, "song")?);
    let alike = |of: &[usize]| of.iter().all(|n| *n == of[0]);
    let each = if alike(clips) && alike(songs) { "" } else { ", depending on the seed" };
    Some(match no_songs {
        true => format!("{recordings}, every file a song of its own{each}"),
        false => format!("{recordings} of {songs_of}{each}"),
    })
}

fn differences(run: &ReportData, best: &RankedModel, trivial: &str) -> Differences {
    let mut found = Differences {
        values: Vec::new(),
        f1_micro: Vec::new(),
        intervals: Vec::new(),
        clips: Vec::new(),
        songs: Vec::new(),
    };
    for trial in best.trials().filter_map(|trial| run_dir::read_trial(&run.path, trial)) {
        add_seed(run, &trial, trivial, &mut found);
    }
    found
}

fn add_seed(run: &ReportData, trial: &TrialRecord, trivial: &str, found: &mut Differences) -> Option<()> {
    let own_split = run.split_of(trial)?;
    let (metric, task, n_classes) = (run.metric(), run.decision_rule.task, own_split.predictions.n_classes);
    let (truth, decided) = (own_split.truth(), own_split.decided(&run.decision_rule));
    let songs: Vec<&str> = own_split.clips.iter().map(|clip| clip.song.as_str()).collect();
    found.clips.push(songs.len());
    found.songs.push(metrics::bootstrap::group_members(&songs).len());
    let own = metrics::weighted_metric(task, metric, &truth, &decided, &own_split.predictions);
    let once = vec![1; truth.len()];
    if metric == "hamming" {
        found
            .f1_micro
            .extend(metrics::weighted_metric(task, "f1_micro", &truth, &decided, &own_split.predictions)(&once));
    }
    let resamples = run.experiment.evaluate.bootstrap;
    let seed = Seed::new(trial.trial.seed).child("bootstrap").child(&own_split.split);
    let mut push = |value: f64, interval: (f64, f64)| {
        found.values.push(value);
        if interval.0.is_finite() {
            found.intervals.push(interval);
        }
    };
    match metrics::constant_decisions(task, trivial, &trial.trained_on) {
        Some(classes) => {
            let row: Vec<f32> = (0..n_classes).map(|class| if classes.contains(&class) { 1.0 } else { 0.0 }).collect();
            let constant = Predictions { n_classes, probabilities: row.repeat(truth.len()) };
            let always = vec![classes; truth.len()];
            let other = metrics::weighted_metric(task, metric, &truth, &always, &constant);
            let difference = |times: &[u32]| Some(own(times)? - other(times)?);
            push(difference(&once)?, metrics::bootstrap_interval(&songs, difference, resamples, 0.95, seed));
        }
        None => {
            let counts = trial.trained_on.iter().enumerate();
            let train: Vec<Vec<usize>> = counts.flat_map(|(class, &n)| std::iter::repeat_n(vec![class], n)).collect();
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
    fn with_a_split_per_seed_the_range_is_named() {
        assert_eq!(
            counts(&[30, 31, 32], &[11, 11, 10], false).unwrap(),
            "30 to 32 recordings of 10 to 11 songs, depending on the seed"
        );
        assert_eq!(counts(&[32, 30], &[1, 1], false).unwrap(), "30 to 32 recordings of 1 song, depending on the seed");
        assert_eq!(counts(&[99, 99], &[11, 11], false).unwrap(), "99 recordings of 11 songs");
        assert_eq!(counts(&[9, 9], &[9, 9], true).unwrap(), "9 recordings, every file a song of its own");
        assert_eq!(counts(&[], &[], false), None);
    }
}
