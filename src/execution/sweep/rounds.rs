//! The rounds of a grid as far as the folder of runs knows them. Without a halving there is one.

use anyhow::Result;

use super::SweepOutcome;
use super::halving;
use super::point::{Candidate, Gathering, There};
use crate::execution::run::Settings;
use timbre_experiment::ExpandedGrid;
use timbre_runs::run_dir;
use timbre_runs::sweep_record::{PointRecord, PointStatus, SweepDir, SweepRecord};

/// A point with what lies on disk of it.
pub struct Seen<'d> {
    pub candidate: Candidate<'d>,
    pub there: There,
    pub record: PointRecord,
}

impl Seen<'_> {
    /// Whether it is still to be run, for the first time or again.
    pub fn is_open(&self) -> bool {
        !self.record.status.is_final() && self.candidate.dataset.is_ok()
    }
}

/// Each round whose points are known: all that are through, and the one that is open, if one is.
pub struct Followed<'d> {
    pub rounds: Vec<Vec<Seen<'d>>>,
}

impl Followed<'_> {
    /// The last round of which is known who is in it.
    pub fn last(&self) -> &[Seen<'_>] {
        self.rounds.last().expect("there is a first round")
    }

    pub fn is_open(&self) -> bool {
        self.last().iter().any(Seen::is_open)
    }
}

/// Goes from round to round, as a run of the grid would that finds everything there.
pub fn follow<'d>(
    declared: &'d ExpandedGrid,
    settings: &Settings,
    gathering: &mut Gathering,
    first: Vec<Candidate<'d>>,
) -> Result<Followed<'d>> {
    let mut followed = Followed { rounds: Vec::new() };
    let mut current = first;
    loop {
        let round = current[0].round;
        followed.rounds.push(current.into_iter().map(|candidate| seen(candidate, settings)).collect());
        let Some(halving) = declared.halving.as_ref().filter(|halving| round < halving.budgets().len()) else { break };
        if followed.is_open() {
            break;
        }
        let records: Vec<PointRecord> = followed.last().iter().map(|seen| seen.record.clone()).collect();
        let mut kept = halving::kept(&records, round, halving);
        if kept.is_empty() {
            break;
        }
        kept.sort_unstable();
        let indices: Vec<usize> = kept.into_iter().map(|number| number - 1).collect();
        current = gathering.round(declared, round + 1, &indices)?;
    }
    Ok(followed)
}

/// A grid whose folder cannot be written, if nothing of it is to be run.
pub fn shown_again(
    declared: &ExpandedGrid,
    settings: &Settings,
    mut gathering: Gathering,
    first: Vec<Candidate>,
    home: SweepDir,
    error: anyhow::Error,
) -> Result<SweepOutcome> {
    let followed = follow(declared, settings, &mut gathering, first)?;
    if followed.is_open() {
        return Err(error);
    }
    settings.printer.message(&format!("nothing is to be run; nothing is written either: {error:#}"));
    let points = followed.rounds.into_iter().flatten().map(|seen| seen.record).collect();
    let now = run_dir::now();
    let mut record = SweepRecord { ended: Some(now.clone()), ..super::declared_as(declared, now, points) };
    record.status = record.final_status();
    Ok(SweepOutcome { home, record, ran: 0, no_report: Vec::new() })
}

fn seen<'d>(candidate: Candidate<'d>, settings: &Settings) -> Seen<'d> {
    let there = if settings.fresh { There::Nothing } else { candidate.there(settings) };
    let record = declared_as(&candidate, &there);
    Seen { candidate, there, record }
}

/// A point as a start of the grid finds it: one whose recordings cannot be read has failed already.
pub fn declared_as(candidate: &Candidate, there: &There) -> PointRecord {
    let mut record = candidate.record(there);
    if let Err(error) = &candidate.dataset {
        (record.status, record.why) = (PointStatus::Failed, Some(format!("{error:#}")));
    }
    record
}
