//! `timbre diff`: what differs between two runs.

use anyhow::Result;
use serde_json::json;

use super::{Ended, print};
use crate::cli::Common;
use crate::compare;

pub fn diff(common: &Common, one: &str, other: &str, as_json: bool) -> Result<Ended> {
    let single = |name: &str| compare::choose_one(&common.runs, name);
    let found = compare::diff(&[single(one)?, single(other)?])?;
    print(&if as_json { format!("{}\n", json!(found)) } else { compare::diff_text(&found) })?;
    Ok(Ended::Done)
}
