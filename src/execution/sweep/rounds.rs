//! The known rounds of a sweep, from the runs that exist. Without successive halving there is one round.

use anyhow::Result;

use super::point::{PointLoader, PriorRun, SweepPoint};
use super::{SweepOutcome, halving, tpe};
use crate::execution::run::Settings;
use timbre_experiment::ExpandedGrid;
use timbre_runs::{
    run_dir,
    sweep_record::{PointRecord, PointStatus, SweepDir, SweepRecord},
};

/// A point with its existing run.
pub struct RoundPoint<'d> {
    pub point: SweepPoint<'d>,
    pub prior: PriorRun,
    pub record: PointRecord,
}

impl RoundPoint<'_> {
    /// Whether the point must be run, for the first time or again.
    pub fn is_missing(&self) -> bool {
        !self.record.status.is_final() && self.point.dataset.is_ok()
    }
}

/// The rounds whose points are known: all finished ones, and the first unfinished one.
pub struct KnownRounds<'d> {
    pub rounds: Vec<Vec<RoundPoint<'d>>>,
}

impl KnownRounds<'_> {
    pub fn last(&self) -> &[RoundPoint<'_>] {
        self.rounds.last().expect("there is a first round")
    }

    /// Whether some point must be run.
    pub fn is_unfinished(&self) -> bool {
        self.last().iter().any(RoundPoint::is_missing)
    }
}

/// Follows the rounds as a start of the sweep does, as long as every point of a round is finished.
pub fn known_rounds<'d>(
    grid: &'d ExpandedGrid,
    settings: &Settings,
    loader: &mut PointLoader,
    first: Vec<SweepPoint<'d>>,
) -> Result<KnownRounds<'d>> {
    let mut known = KnownRounds { rounds: Vec::new() };
    if let Some(spec) = &grid.tpe {
        known.rounds.push(first.into_iter().map(|point| look_up(point, settings)).collect());
        while !known.is_unfinished() {
            let records: Vec<PointRecord> = known.last().iter().map(|point| point.record.clone()).collect();
            let next = tpe::next(grid, spec, &records);
            if next.is_empty() {
                break;
            }
            let more = loader.round(grid, 1, &next)?;
            known.rounds[0].extend(more.into_iter().map(|point| look_up(point, settings)));
        }
        return Ok(known);
    }
    let mut current = first;
    loop {
        let round = current[0].round;
        known.rounds.push(current.into_iter().map(|point| look_up(point, settings)).collect());
        let Some(halving) = grid.halving.as_ref().filter(|halving| round < halving.budgets().len()) else { break };
        if known.is_unfinished() {
            break;
        }
        let records: Vec<PointRecord> = known.last().iter().map(|point| point.record.clone()).collect();
        let mut kept = halving::kept(&records, round, halving);
        if kept.is_empty() {
            break;
        }
        kept.sort_unstable();
        let indices: Vec<usize> = kept.into_iter().map(|number| number - 1).collect();
        current = loader.round(grid, round + 1, &indices)?;
    }
    Ok(known)
}

/// The outcome of a sweep whose folder cannot be written, if no point must be run; otherwise `error`.
pub fn show_finished(
    grid: &ExpandedGrid,
    settings: &Settings,
    mut loader: PointLoader,
    first: Vec<SweepPoint>,
    sweep_dir: SweepDir,
    error: anyhow::Error,
) -> Result<SweepOutcome> {
    let known = known_rounds(grid, settings, &mut loader, first)?;
    if known.is_unfinished() {
        return Err(error);
    }
    settings.printer.message(&format!("all points are finished; nothing is written: {error:#}"));
    let points = known.rounds.into_iter().flatten().map(|point| point.record).collect();
    let now = run_dir::now();
    let mut record = SweepRecord { ended: Some(now.clone()), ..super::new_record(grid, now, points) };
    record.status = record.final_status();
    Ok(SweepOutcome { sweep_dir, record, ran: 0, missing: 0, missing_reports: Vec::new() })
}

fn look_up<'d>(point: SweepPoint<'d>, settings: &Settings) -> RoundPoint<'d> {
    let prior = point.prior_run(settings);
    let record = initial_record(&point, &prior);
    RoundPoint { point, prior, record }
}

/// The record of a point at the start of a sweep. A point whose data cannot be read has failed already.
pub fn initial_record(point: &SweepPoint, prior: &PriorRun) -> PointRecord {
    let mut record = point.record(prior);
    if let Err(error) = &point.dataset {
        (record.status, record.why) = (PointStatus::Failed, Some(format!("{error:#}")));
    }
    record
}
