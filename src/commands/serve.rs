//! `timbre serve`.

use anyhow::Result;

use super::Ended;
use crate::cli::Common;
use crate::predictor::Predictor;
use crate::progress::Show;
use crate::serve;

pub fn serve(common: &Common, run: &str, address: &str) -> Result<Ended> {
    serve::serve(Predictor::open(&common.runs, run)?, address, Show::fitting(common.quiet))?;
    Ok(Ended::Done)
}
