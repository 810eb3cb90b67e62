//! The best model of each run, compared with that of the reference run: the question that most comparisons ask.
//!
//! A run's best model is chosen on its validation split, so the score on the other split does not profit from the choice.

use super::compared_models::ModelComparer;
use super::run::{ModelKey, Run};
use super::schema::{ComparedModel, Comparison, Outcome, Reference, Versus};
use super::text_tables::signed;
use timbre_core::progress::Printer;
use timbre_evaluation::metrics::{self, replicates};

/// The split on which a model is chosen.
const VALIDATION: &str = "validation";

/// The best models with the highest score first, and notes on runs without one. Empty if the models were chosen otherwise: where the
/// rows of a comparison are one model per run anyway, or the user named the model.
pub fn best(
    work: &ModelComparer,
    keys_of: impl Fn(usize) -> Vec<ModelKey>,
    printer: Printer,
) -> (Vec<ComparedModel>, Vec<String>) {
    let nothing = (Vec::new(), Vec::new());
    let several = (0..work.runs.len()).any(|run| keys_of(run).len() > 1);
    if work.runs.len() < 2
        || work.split == VALIDATION
        || !several
        || work.reference.place.is_some() && keys_of(work.reference.run).len() > 1
    {
        return nothing;
    }
    let metric = &work.metrics[0];
    let chosen: Vec<Option<ModelKey>> =
        work.runs.iter().enumerate().map(|(at, run)| best_of(run, &keys_of(at), metric)).collect();
    if chosen[work.reference.run].is_none() || chosen.iter().flatten().count() < 2 {
        return nothing;
    }
    let without = chosen.iter().enumerate().filter(|(at, place)| place.is_none() && !keys_of(*at).is_empty());
    let notes = without.map(|(at, _)| {
        format!("run {} has several models and no validation split, so none of them is chosen as its best", at + 1)
    });
    let notes: Vec<String> = notes.collect();
    let reference = Reference { run: work.reference.run, place: chosen[work.reference.run].clone() };
    let lines: Vec<(usize, ModelKey)> =
        chosen.into_iter().enumerate().filter_map(|(run, place)| Some((run, place?))).collect();
    let comparer = ModelComparer { reference: &reference, metrics: &work.metrics[..1], ..*work };
    // The notes about pairs stand with the rows of all models.
    let (mut best, _) = comparer.lines(&lines, printer);
    super::correct(&mut best);
    let score =
        |line: &ComparedModel| line.scores[0].mean.map_or(f64::NEG_INFINITY, |mean| metrics::gain(metric, mean));
    best.sort_by(|a, b| score(b).total_cmp(&score(a)));
    (best, notes)
}

/// The only model of a run, or the best on the validation split by the mean over its seeds; the first of equal ones.
fn best_of(run: &Run, keys: &[ModelKey], metric: &str) -> Option<ModelKey> {
    if let [only] = keys {
        return Some(only.clone());
    }
    let mut best: Option<(f64, &ModelKey)> = None;
    for key in keys {
        let values: Vec<f64> = run.rows(key, VALIDATION).filter_map(|row| row.metrics.get(metric).copied()).collect();
        let Some(mean) = replicates::mean(&values).filter(|mean| mean.is_finite()) else { continue };
        let gain = metrics::gain(metric, mean);
        if best.is_none_or(|(most, _)| gain > most) {
            best = Some((gain, key));
        }
    }
    best.map(|(_, key)| key.clone())
}

/// The comparison with the best models as its rows, for the tables and figures of all outputs.
pub fn view(comparison: &Comparison) -> Option<Comparison> {
    let reference = comparison.best.iter().find(|line| line.scores[0].versus == Versus::Reference)?;
    Some(Comparison {
        lines: comparison.best.clone(),
        best: Vec::new(),
        metrics: comparison.metrics[..1].to_vec(),
        reference: Reference { run: reference.run, place: Some((reference.features.clone(), reference.model.clone())) },
        baselines: Vec::new(),
        notes: Vec::new(),
        ..comparison.clone()
    })
}

/// What the best models say, as a headline and a sentence: the one with the highest score, and the next one where it is the reference.
pub fn sentences(comparison: &Comparison) -> Option<[String; 2]> {
    let reference = comparison.best.iter().find(|line| line.scores[0].versus == Versus::Reference)?;
    let name = |line: &ComparedModel| format!("{}.{} of run {}", line.features, line.model, line.run + 1);
    let mean = |line: &ComparedModel| line.scores[0].mean.map_or("–".to_owned(), |mean| format!("{mean:.3}"));
    let versus = |line: &ComparedModel| match &line.scores[0].versus {
        Versus::Reference => String::new(),
        Versus::Not(why) => format!("not compared with {}: {why}", name(reference)),
        Versus::Paired(own) if own.outcome == Outcome::Same => format!("the same decisions as {}", name(reference)),
        Versus::Paired(own) => {
            let outcome = match own.outcome {
                Outcome::Better => "better",
                Outcome::Worse => "worse",
                Outcome::Open | Outcome::Same => "not significantly different",
            };
            let ([low, high], difference) = ([own.interval.0, own.interval.1].map(signed), signed(own.difference));
            let p = if own.p_holm < 0.0005 { "p < 0.001".to_owned() } else { format!("p = {:.3}", own.p_holm) };
            format!("{difference} [{low}, {high}] against {}, {p}: {outcome}", name(reference))
        }
    };
    let [first, rest @ ..] = &comparison.best[..] else { return None };
    let headline = format!("Best: {}, {} {}", name(first), comparison.metrics[0], mean(first));
    let sentence = match (first.run == reference.run, rest.first()) {
        (true, Some(next)) => format!("The next is {}, {}: {}.", name(next), mean(next), versus(next)),
        (true, None) => String::new(),
        (false, _) => format!("{}.", capitalized(&versus(first))),
    };
    Some([headline, format!("{sentence} Each is the best of its run on the validation split.").trim_start().to_owned()])
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}
