//! Which points of a halving go on: the best on the validation split.

use super::table::{self, short_name};
use timbre_evaluation::metrics::is_loss;
use timbre_experiment::HalvingSpec;
use timbre_runs::run_dir;
use timbre_runs::sweep_record::PointRecord;

/// The model that the budget is for, where the key says so: points are judged by it alone.
fn model_of(halving: &HalvingSpec) -> Option<&str> {
    halving.key.strip_prefix("models.").and_then(|rest| rest.rsplit_once('.')).map(|(model, _)| model)
}

/// The points of a round with what they came to, the best first; of equal ones the earlier. Failed points are not among them.
fn ranked<'a>(points: &'a [PointRecord], round: usize, halving: &HalvingSpec) -> Vec<(&'a PointRecord, f64)> {
    let judged = |point: &'a PointRecord| {
        let run = point.run.as_ref().filter(|_| point.status.is_final())?;
        let score = table::score(&run_dir::read_record(run).ok()?, model_of(halving))?;
        // Never on the test split: a choice made there is no result there.
        let sign = if is_loss(&score.metric) { -1.0 } else { 1.0 };
        (score.split == "validation").then_some((point, sign * score.value))
    };
    let mut points: Vec<_> = points.iter().filter(|point| point.round == round).filter_map(judged).collect();
    points.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.number.cmp(&b.0.number)));
    points
}

/// The numbers of the points that go on.
pub fn kept(points: &[PointRecord], round: usize, halving: &HalvingSpec) -> Vec<usize> {
    let all = points.iter().filter(|point| point.round == round).count();
    ranked(points, round, halving).into_iter().take(halving.survivors(all)).map(|(point, _)| point.number).collect()
}

/// What is said between two rounds.
pub fn sentence(points: &[PointRecord], round: usize, halving: &HalvingSpec, kept: &[usize]) -> String {
    let budgets = halving.budgets();
    let key = short_name(&halving.key);
    let best =
        ranked(points, round, halving).first().map_or(String::new(), |(point, _)| format!(", best {}", point.name));
    let go = match kept.len() {
        1 => "1 of its points goes".to_owned(),
        n => format!("{n} of its points go"),
    };
    format!("round {round}: {go} on to {key} = {}{best}", budgets[round])
}
