//! `timbre watch`: follow a run or a sweep of another terminal.

use anyhow::Result;

use super::{ExitStatus, listen_for_signals};
use crate::cli::args::GlobalArgs;
use crate::execution::sweep::watch;
use timbre_core::progress::Printer;

pub fn watch(common: &GlobalArgs, experiment: Option<&str>) -> Result<ExitStatus> {
    let stop = Default::default();
    listen_for_signals(&stop)?;
    let watched = watch::wait_for(&common.runs, experiment, Printer::new(common.quiet), &stop)?;
    watch::until_it_ends(&watched, &stop)?;
    Ok(ExitStatus::Done)
}
