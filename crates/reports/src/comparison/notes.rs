//! Writes the notes below a comparison: how its numbers were computed, and what limits them.
use super::LEVEL;
use super::compared_models::ModelComparer;
use super::schema::{ComparedModel, Paired, Score, Versus};
use super::text_tables;
use timbre_core::text::count;
use timbre_evaluation::metrics::bootstrap;

/// The notes of a comparison with that many tests. `has_best`: whether the best models of the runs are compared as well.
pub fn notes(work: &ModelComparer, lines: &[ComparedModel], tests: usize, has_best: bool) -> Vec<String> {
    let mut notes = Vec::new();
    let several = |score: &Score| score.values.len() > 1;
    let any = |what: &dyn Fn(&Score) -> bool| lines.iter().flat_map(|line| &line.scores).any(what);
    if any(&several) {
        notes.push("mean ± sample standard deviation (number of seeds)".to_owned());
    }
    if any(&|score| score.interval.is_some()) {
        notes.push(format!(
            "intervals: {:.0} %, bootstrap over {}{}",
            100.0 * LEVEL,
            work.resampled(),
            if any(&several) { " and over seeds" } else { "" }
        ));
    }
    let folds: Vec<String> =
        (1..).zip(work.runs).filter(|(_, run)| run.has_folds()).map(|(n, _)| n.to_string()).collect();
    if !folds.is_empty() {
        notes.push(format!(
            "cross-validation in run {}: each seed tests a fold of its own, so the predictions of all folds are pooled for intervals, \
             differences and p; the mean is that of the folds",
            folds.join(", ")
        ));
    }
    let without: Vec<String> =
        (1..).zip(work.runs).filter(|(_, run)| run.has_no_songs).map(|(n, _)| n.to_string()).collect();
    if !without.is_empty() {
        notes.push(format!(
            "every file counts as a song of its own in run {}: the data set has no `group`, so clips of one recording may be on both \
             sides of a split",
            without.join(", ")
        ));
    }
    let leaky = (1..).zip(work.runs).filter_map(|(n, run)| Some((n, run.record.leaky_split()?)));
    notes.extend(leaky.map(|(n, sentence)| format!("run {n}: {sentence}")));
    let scores = lines.iter().flat_map(|line| &line.scores);
    let paired: Vec<&Paired> = scores
        .filter_map(|score| match &score.versus {
            Versus::Paired(paired) => Some(paired),
            _ => None,
        })
        .collect();
    let Some(songs) = paired.iter().map(|paired| paired.songs).min() else {
        notes = unfinished(work, notes);
        // The last note is the one that is seen.
        if work.runs.len() > 1 {
            let reference = work.reference.run + 1;
            let what = if has_best { "only the best models were compared" } else { "nothing was compared" };
            notes.push(format!("{what}: no model of another run could be paired with one of run {reference}"));
        }
        return notes;
    };
    let versus = match &work.reference.place {
        Some((features, model)) => format!("{features}.{model} of run {}", work.reference.run + 1),
        None => format!("the same model on the same features of run {}", work.reference.run + 1),
    };
    notes.push(format!(
        "difference: to {versus}, on the common recordings, paired by seed and averaged (without common seeds: every \
         seed with every seed)"
    ));
    let same = paired.iter().filter(|paired| paired.is_same()).count();
    notes.push(format!(
        "p: the larger of a paired bootstrap over {0} and seeds ({1} resamples) and of a permutation test over {0}; p (Holm) \
         is corrected for {2}; \"better\" and \"worse\" mean p (Holm) < 0.05{3}",
        work.resampled(),
        work.resamples,
        count(tests, "test"),
        if same > 0 { "; rows with equal decisions are not tests" } else { "" }
    ));
    if let Some(dependent) = paired.iter().find(|paired| paired.mcnemar.is_some() && paired.songs < paired.clips) {
        notes.push(format!(
            "McNemar's test (CSV, JSON) takes the {} recordings as independent, but they are of {}: its p is too small, and the conclusion \
             does not use it",
            dependent.clips,
            count(dependent.songs, "song")
        ));
    }
    notes.extend(bootstrap::caution(songs, &format!("common {}", work.resampled())));
    unfinished(work, notes)
}

fn unfinished(work: &ModelComparer, mut notes: Vec<String>) -> Vec<String> {
    let unfinished = work.runs.iter().enumerate().filter(|(_, run)| !run.record.status.is_final());
    notes.extend(unfinished.map(|(at, run)| {
        let failed = match run.record.failures.len() {
            0 => String::new(),
            n => format!(" ({} failed)", count(n, "trial")),
        };
        format!(
            "run {} is not finished: {}{failed}; it is compared as far as it got",
            at + 1,
            text_tables::status(run.record.status)
        )
    }));
    notes
}
