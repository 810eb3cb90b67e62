//! `timbre diff`: what differs between two runs.

use anyhow::Result;
use serde_json::json;

use super::{Ended, print};
use crate::cli::Common;
use crate::compare::{self, CannotCompare, Chosen};

pub fn diff(common: &Common, one: &str, other: &str, as_json: bool) -> Result<Ended> {
    let found = compare::diff(&[single(common, one)?, single(common, other)?])?;
    print(&if as_json { format!("{}\n", json!(found)) } else { compare::diff_text(&found) })?;
    Ok(Ended::Done)
}

fn single(common: &Common, name: &str) -> Result<Chosen> {
    let [one] = <[Chosen; 1]>::try_from(compare::choose(&common.runs, &[name.to_owned()])?)
        .map_err(|many| CannotCompare(format!("`{name}` is {} runs: name two of them", many.len())))?;
    Ok(one)
}
