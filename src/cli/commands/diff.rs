//! `timbre diff`: show the differences between two runs.

use anyhow::Result;
use serde_json::json;

use super::{ExitStatus, print, print_data};
use crate::cli::args::GlobalArgs;
use timbre_reports::comparison;

pub fn diff(common: &GlobalArgs, one: &str, other: &str, as_json: bool) -> Result<ExitStatus> {
    let single = |name: &str| comparison::select_run(&common.runs, name);
    let found = comparison::diff(&[single(one)?, single(other)?])?;
    if as_json {
        print_data(&format!("{}\n", json!(found)))?;
    } else {
        print(&comparison::diff_text(&found))?;
    }
    Ok(ExitStatus::Done)
}
