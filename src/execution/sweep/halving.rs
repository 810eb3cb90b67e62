//! Successive halving: the points with the best validation score reach the next round.

use timbre_core::text::count;
use timbre_evaluation::metrics::gain;
use timbre_experiment::HalvingSpec;
use timbre_runs::sweep_table::{self, short_name};
use timbre_runs::{run_dir, sweep_record::PointRecord};

/// The model whose budget grows, if the key names one: points are ranked by this model alone.
fn model_of(halving: &HalvingSpec) -> Option<&str> {
    halving.key.strip_prefix("models.").and_then(|rest| rest.rsplit_once('.')).map(|(model, _)| model)
}

/// The points of a round with their scores, the best first; of equal scores the earlier point first. Without failed points.
fn ranked<'a>(points: &'a [PointRecord], round: usize, halving: &HalvingSpec) -> Vec<(&'a PointRecord, f64)> {
    let scored = |point: &'a PointRecord| {
        let run = point.run.as_ref().filter(|_| point.status.is_final())?;
        let score = sweep_table::score(&run_dir::read_record(run).ok()?, model_of(halving))?;
        // Never the test split: a score on the split of the choice is not a result.
        (score.split == "validation").then(|| (point, gain(&score.metric, score.value)))
    };
    let mut points: Vec<_> = points.iter().filter(|point| point.round == round).filter_map(scored).collect();
    points.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.number.cmp(&b.0.number)));
    points
}

/// The numbers of the points that reach the next round.
pub fn kept(points: &[PointRecord], round: usize, halving: &HalvingSpec) -> Vec<usize> {
    let all = points.iter().filter(|point| point.round == round).count();
    ranked(points, round, halving).into_iter().take(halving.survivors(all)).map(|(point, _)| point.number).collect()
}

/// The message between two rounds.
pub fn summary(points: &[PointRecord], round: usize, halving: &HalvingSpec, kept: &[usize]) -> String {
    let budgets = halving.budgets();
    let key = short_name(&halving.key);
    let ranked = ranked(points, round, halving);
    let equal = |a: usize, b: usize| ranked.get(a).zip(ranked.get(b)).is_some_and(|(a, b)| (a.1 - b.1).abs() < 1e-9);
    let best = ranked.first().map_or(String::new(), |(point, _)| {
        let others = (1..ranked.len()).take_while(|&other| equal(0, other)).count();
        let tie = if others > 0 { format!(" (a tie with {others} more)") } else { String::new() };
        format!(", best {}{tie}", point.name)
    });
    let cut = match kept.len() {
        0 => "",
        most if equal(most - 1, most) => "; of equal scores the earlier points",
        _ => "",
    };
    format!("round {round}: kept {} for {key} = {}{best}{cut}", count(kept.len(), "point"), budgets[round])
}
