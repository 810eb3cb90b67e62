//! `timbre watch`: a grid or a run that is at work in another terminal.

use anyhow::Result;

use super::{Ended, listen_for_signals};
use crate::cli::Common;
use crate::grid::watch;

pub fn watch(common: &Common, experiment: Option<&str>) -> Result<Ended> {
    let stop = Default::default();
    listen_for_signals(&stop)?;
    let watched = watch::find(&common.runs, experiment)?;
    watch::until_it_ends(&watched, &stop)?;
    Ok(Ended::Done)
}
