//! A shell script that runs the items with GNU parallel, stage by stage.

use super::super::items::{WorkItem, WorkPlan};
use super::{JobOptions, RETRIES, Stages, shell_line};
use timbre_core::text::shell_quoted;

/// The end of the list of commands within the script.
const END: &str = "END_OF_COMMANDS";

pub fn script(plan: &WorkPlan, options: &JobOptions) -> String {
    let stages = Stages::of(plan);
    let mut text = format!(
        "#!/bin/bash\n# {}: Written by `timbre launch emit --format parallel`. PARALLEL=\"--sshlogin …\" spreads it over machines that share the folder.\n\
         set -eu\ncd {}\n",
        plan.name,
        shell_quoted(&options.folder.display().to_string(), false)
    );
    let jobs = options.at_once.unwrap_or(1);
    let several = |items: &[&WorkItem]| {
        let lines: String = items.iter().map(|item| format!("{}\n", shell_line(&item.argv))).collect();
        // A failed item does not stop the others.
        format!("parallel --jobs {jobs} --retries {RETRIES} --workdir . <<'{END}' || true\n{lines}{END}\n")
    };
    if !stages.features.is_empty() {
        text += &several(&stages.features);
    }
    if let Some(merge) = stages.merge {
        text += &format!("{}\n", shell_line(&merge.argv));
    }
    if !stages.trials.is_empty() {
        text += &several(&stages.trials);
    }
    text + &format!("{}\n", shell_line(&stages.tables.argv))
}
