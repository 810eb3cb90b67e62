//! The sentence on top: whether the best model does better than what needs no model, and by how much.
//!
//! The difference is paired: model and trivial answer are scored on the same draws of whole songs, so that its interval is not
//! wider than it has to be. `chance` has no decisions to be paired with: its expected score is taken for certain.

use crate::metrics;
use crate::predictions::Predictions;
use crate::run_dir::{self, UnitRecord};
use crate::seed::Seed;

use super::gathered::{Gathered, Ranked, mean};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The intervals of all seeds lie above zero.
    Better,
    /// Above zero, but not beyond chance; or without an interval.
    Open,
    NotBetter,
    /// There is nothing to compare.
    Unknown,
}

pub struct Verdict {
    pub kind: Kind,
    pub headline: String,
    pub sentence: String,
    /// What has to be read with it.
    pub notes: Vec<String>,
}

/// The differences of one model to the trivial answer, a seed each.
struct Differences {
    values: Vec<f64>,
    intervals: Vec<(f64, f64)>,
    clips: usize,
    songs: usize,
}

pub fn verdict(run: &Gathered) -> Verdict {
    let (metric, split) = (run.metric(), run.split());
    let unknown = |sentence: String| Verdict {
        kind: Kind::Unknown,
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
        Kind::NotBetter
    } else if of.intervals.len() == best.rows.len() && above(&|interval| interval.0 > 0.0) {
        Kind::Better
    } else {
        Kind::Open
    };
    let headline = match kind {
        Kind::Better => "Better than trivial",
        Kind::Open => "Not shown to be better than trivial",
        _ => "No better than trivial",
    };
    let seeds = if best.rows.len() > 1 { format!(" (mean of {} seeds)", best.rows.len()) } else { String::new() };
    let on = if of.clips > 0 {
        format!(" on the {split} split ({} recordings of {} songs)", of.clips, of.songs)
    } else {
        format!(" on the {split} split")
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
    Verdict { kind, headline: headline.to_owned(), sentence, notes: notes(run) }
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

fn notes(run: &Gathered) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(best) = run.ranked.first() {
        if run.ranked.len() > 1 && run.ranked_on != run.split() {
            notes.push(format!(
                "It is the best of {} on the {} split.",
                counted(run.ranked.len(), "model"),
                run.ranked_on
            ));
        } else if run.ranked.len() > 1 {
            notes.push(format!(
                "It was picked as the best of {} on the {} split itself, so that its score there is too good by what luck the \
                 choice had: give the experiment a validation split (split.validation) to choose on.",
                counted(run.ranked.len(), "model"),
                run.split()
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
        notes.push(format!("{} could not be used (unusable.jsonl).", counted(record.data.unusable, "recording")));
    }
    if record.data.set_aside > 0 {
        notes.push(format!("{} with several labels were left aside.", counted(record.data.set_aside, "recording")));
    }
    if !record.failures.is_empty() {
        notes.push(format!("{} failed, see the end of this page.", counted(record.failures.len(), "unit")));
    }
    notes
}

pub fn counted(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

fn differences(run: &Gathered, best: &Ranked, trivial: &str) -> Differences {
    let mut found = Differences { values: Vec::new(), intervals: Vec::new(), clips: 0, songs: 0 };
    for unit in best.units().filter_map(|unit| run_dir::read_unit(&run.path, unit)) {
        of_seed(run, &unit, trivial, &mut found);
    }
    found
}

fn of_seed(run: &Gathered, unit: &UnitRecord, trivial: &str, found: &mut Differences) -> Option<()> {
    let side = run.side(unit)?;
    let (metric, task, n_classes) = (run.metric(), run.judge.task, side.predictions.n_classes);
    let (truth, decided) = (side.truth(), side.decided(&run.judge));
    let songs: Vec<&str> = side.clips.iter().map(|clip| clip.song.as_str()).collect();
    (found.clips, found.songs) = (songs.len(), metrics::bootstrap::members(&songs).len());
    let own = metrics::resampled(task, metric, &truth, &decided, &side.predictions);
    let once = vec![1; truth.len()];
    let resamples = run.experiment.evaluate.bootstrap;
    let seed = Seed::new(unit.unit.seed).child("bootstrap").child(&side.split);
    let mut push = |value: f64, interval: (f64, f64)| {
        found.values.push(value);
        if interval.0.is_finite() {
            found.intervals.push(interval);
        }
    };
    match metrics::always_decided(task, trivial, &unit.trained_on) {
        Some(classes) => {
            let row: Vec<f32> = (0..n_classes).map(|class| if classes.contains(&class) { 1.0 } else { 0.0 }).collect();
            let said = Predictions { n_classes, probabilities: row.repeat(truth.len()) };
            let always = vec![classes; truth.len()];
            let other = metrics::resampled(task, metric, &truth, &always, &said);
            let difference = |times: &[u32]| Some(own(times)? - other(times)?);
            push(difference(&once)?, metrics::bootstrap_interval(&songs, difference, resamples, 0.95, seed));
        }
        None => {
            let counted = unit.trained_on.iter().enumerate();
            let train: Vec<Vec<usize>> = counted.flat_map(|(class, &n)| std::iter::repeat_n(vec![class], n)).collect();
            let all = run.judge.baselines(&train, &truth, n_classes);
            let expected = *all.iter().find(|baseline| baseline.name == trivial)?.metrics.get(metric)?;
            let difference = |times: &[u32]| Some(own(times)? - expected);
            push(difference(&once)?, metrics::bootstrap_interval(&songs, difference, resamples, 0.95, seed));
        }
    }
    Some(())
}
