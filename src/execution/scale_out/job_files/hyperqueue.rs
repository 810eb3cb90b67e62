//! A job definition file for HyperQueue (`hq job submit-file`).

use serde_json::json;

use super::super::items::WorkPlan;
use super::{JobOptions, RETRIES};

/// One task for each item, with its dependencies.
pub fn job_file(plan: &WorkPlan, options: &JobOptions) -> String {
    let mut text = format!(
        "# {0}: submit with `hq job submit-file`. Written by `timbre launch emit --format hq`.\nname = {1}\n",
        plan.name,
        json!(format!("timbre {}", plan.name))
    );
    let number =
        |id: &String| plan.items.iter().position(|item| item.id == *id).expect("an item needs items of its plan");
    for (n, item) in plan.items.iter().enumerate() {
        let needs: Vec<usize> = item.needs.iter().map(number).collect();
        // Strings and lists of JSON are strings and lists of TOML.
        text += &format!(
            "\n[[task]]\nid = {n}\ncommand = {}\ncwd = {}\ndeps = {}\ncrash_limit = {RETRIES}\n[[task.request]]\nresources = {{ {} }}\n",
            json!(item.argv),
            json!(options.folder),
            json!(needs),
            match item.gpus {
                0 => format!("\"cpus\" = {}", item.cpus),
                gpus => format!("\"cpus\" = {}, \"gpus/nvidia\" = {gpus}", item.cpus),
            }
        );
    }
    text
}
