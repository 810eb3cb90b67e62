//! `timbre serve`.

use anyhow::Result;

use super::Ended;
use crate::cli::Common;
use crate::predictor::Predictor;
use crate::progress::Show;
use crate::serve;

pub fn serve(common: &Common, predictor: Predictor, address: &str) -> Result<Ended> {
    serve::serve(predictor, address, Show::fitting(common.quiet))?;
    Ok(Ended::Done)
}
