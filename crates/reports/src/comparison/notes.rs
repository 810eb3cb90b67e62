//! The sentences that have to be read with the numbers.

use super::LEVEL;
use super::compared_models::ModelComparer;
use super::comparison::{ComparedModel, Paired, Score, Versus};
use super::text_tables;

/// Below this the percentile interval is known to be too narrow.
const FEW_SONGS: usize = 20;

/// How the numbers were made, and what has to be known of them.
pub fn notes(work: &ModelComparer, lines: &[ComparedModel], tests: usize) -> Vec<String> {
    let mut notes = Vec::new();
    let several = |score: &Score| score.values.len() > 1;
    let any = |what: &dyn Fn(&Score) -> bool| lines.iter().flat_map(|line| &line.scores).any(what);
    if any(&several) {
        notes.push("mean ± sample standard deviation (number of seeds)".to_owned());
    }
    if any(&|score| score.interval.is_some()) {
        notes.push(format!(
            "intervals: {:.0} %, bootstrap over whole songs{}",
            100.0 * LEVEL,
            if any(&several) { " and over seeds" } else { "" }
        ));
    }
    let scores = lines.iter().flat_map(|line| &line.scores);
    let paired: Vec<&Paired> = scores
        .filter_map(|score| match &score.versus {
            Versus::Paired(paired) => Some(paired),
            _ => None,
        })
        .collect();
    let Some(songs) = paired.iter().map(|paired| paired.songs).min() else {
        notes = unfinished(work, notes);
        // At the end, where it is seen.
        if work.runs.len() > 1 {
            let reference = work.reference.run + 1;
            notes.push(format!(
                "nothing was compared: no line of another run could be paired with one of run {reference}"
            ));
        }
        return notes;
    };
    let versus = match &work.reference.place {
        Some((features, model)) => format!("{features}.{model} of run {}", work.reference.run + 1),
        None => format!("the same model on the same features of run {}", work.reference.run + 1),
    };
    notes.push(format!(
        "difference: to {versus}, on the recordings that both were tested on; of each seed that both have, then averaged \
         (without a common seed: of each with each)"
    ));
    let same = paired.iter().filter(|paired| paired.is_same()).count();
    notes.push(format!(
        "p: the larger of a paired bootstrap over songs and seeds ({} draws) and of a permutation test over songs; p (Holm) is \
         corrected for {tests} test{}, and better or worse is said below 0.05{}",
        work.resamples,
        if tests == 1 { "" } else { "s" },
        if same > 0 { "; what decides the same in both is no test" } else { "" }
    ));
    if songs < FEW_SONGS {
        notes.push(format!("as few as {songs} songs are common: intervals of so few are too narrow"));
    }
    unfinished(work, notes)
}

fn unfinished(work: &ModelComparer, mut notes: Vec<String>) -> Vec<String> {
    let unfinished = work.runs.iter().enumerate().filter(|(_, run)| !run.record.status.is_final());
    notes.extend(unfinished.map(|(at, run)| {
        let failed = match run.record.failures.len() {
            0 => String::new(),
            n => format!(" ({n} units failed)"),
        };
        format!(
            "run {} is not finished: {}{failed}; its lines are what is there",
            at + 1,
            text_tables::status(run.record.status)
        )
    }));
    notes
}
