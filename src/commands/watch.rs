//! `timbre watch`: a grid or a run that is at work in another terminal.

use anyhow::Result;

use super::{Ended, listen_for_signals};
use crate::cli::Common;
use crate::grid::watch;
use crate::progress::Show;

pub fn watch(common: &Common, experiment: Option<&str>) -> Result<Ended> {
    let stop = Default::default();
    listen_for_signals(&stop)?;
    let watched = watch::wait_for(&common.runs, experiment, Show::fitting(common.quiet), &stop)?;
    watch::until_it_ends(&watched, &stop)?;
    Ok(Ended::Done)
}
