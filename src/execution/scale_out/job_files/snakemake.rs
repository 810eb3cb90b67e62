//! A Snakefile with one job for each item.

use serde_json::json;

use super::super::items::{WorkItem, WorkPlan};
use super::{JobOptions, RETRIES, mebibytes, shell_line};
use timbre_core::text::shell_quoted;

/// Every job leaves a mark in the folder of the parts; its real outputs are not Snakemake's to remove.
pub fn snakefile(plan: &WorkPlan, options: &JobOptions) -> String {
    let mut text = format!(
        "# {}: run with `snakemake --cores 8`. Written by `timbre launch emit --format snakemake`.\n\nrule all:\n    input: {}\n",
        plan.name,
        mark(plan, options, "tables")
    );
    for item in &plan.items {
        text += &rule(plan, item, options);
    }
    text
}

fn mark(plan: &WorkPlan, options: &JobOptions, id: &str) -> String {
    json!(options.folder.join(&plan.parts).join("snakemake").join(id)).to_string()
}

fn rule(plan: &WorkPlan, item: &WorkItem, options: &JobOptions) -> String {
    let name: String = item.id.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let number = plan.items.iter().position(|other| other.id == item.id).expect("an item of the plan");
    let folder = shell_quoted(&options.folder.display().to_string(), false);
    // Braces are Snakemake's placeholders.
    let command = format!("cd {folder} && {}", shell_line(&item.argv)).replace('{', "{{").replace('}', "}}");
    let needs: Vec<String> = item.needs.iter().map(|id| mark(plan, options, id)).collect();
    let mut resources = format!("mem_mb={}", mebibytes(item.memory));
    if item.gpus > 0 {
        resources += &format!(", gpu={}", item.gpus);
    }
    let input = if needs.is_empty() { String::new() } else { format!("    input: {}\n", needs.join(", ")) };
    format!(
        "\nrule {name}_{number}:\n{input}    output: touch({})\n    threads: {}\n    resources: {resources}\n    retries: {}\n    shell: {}\n",
        mark(plan, options, &item.id),
        item.cpus,
        RETRIES - 1,
        json!(command)
    )
}
