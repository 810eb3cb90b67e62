//! Manifests for Kubernetes: indexed Jobs for shards and trials, and Jobs for the merge and the tables.

use serde_json::{Value, json};

use super::super::items::{WorkItem, WorkPlan};
use super::{JobOptions, RETRIES, Stages, largest, mebibytes, shell_line, shell_line_with, value_of};
use timbre_core::text::shell_quoted;

/// Where the containers come from and what they share.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub image: String,
    /// The name of a PersistentVolumeClaim that all nodes can write; it is mounted at the folder of the project.
    pub claim: String,
}

/// Four Jobs as one stream of documents. Kubernetes knows no order of Jobs: each waits for the one before in `kubectl wait`.
pub fn manifests(plan: &WorkPlan, options: &JobOptions, cluster: &Cluster) -> String {
    let stages = Stages::of(plan);
    let mut jobs: Vec<Value> = Vec::new();
    if let (Some(first), Some(merge)) = (stages.features.first(), stages.merge) {
        let shard = value_of(first, "--shard");
        let command = shell_line_with(first, &[(shard, &format!("auto/{}", plan.shards))]);
        jobs.push(indexed(plan, "features", &stages.features, &format!("exec {command}"), options, cluster));
        jobs.push(job(plan, "merge", &[merge], format!("exec {}", shell_line(&merge.argv)), options, cluster));
    }
    if let Some(first) = stages.trials.first() {
        let ids: Vec<String> =
            stages.trials.iter().map(|item| shell_quoted(value_of(item, "--only-trial"), false)).collect();
        let command =
            shell_line_with(first, &[(value_of(first, "--only-trial"), "\"${trials[$JOB_COMPLETION_INDEX]}\"")]);
        let command = format!("trials=({})\nexec {command}", ids.join(" "));
        jobs.push(indexed(plan, "trials", &stages.trials, &command, options, cluster));
    }
    let tables = format!("exec {}", shell_line(&stages.tables.argv));
    jobs.push(job(plan, "tables", &[stages.tables], tables, options, cluster));
    let mut text = format!(
        "# {}: create these Jobs one after the other, each after `kubectl wait --for=condition=complete` of the one before.\n\
         # Written by `timbre launch emit --format k8s`. JSON is YAML.\n",
        plan.name
    );
    for job in jobs {
        text += &format!("---\n{job:#}\n");
    }
    text
}

fn indexed(
    plan: &WorkPlan,
    name: &str,
    items: &[&WorkItem],
    command: &str,
    options: &JobOptions,
    cluster: &Cluster,
) -> Value {
    let mut job = job(plan, name, items, command.to_owned(), options, cluster);
    let spec = &mut job["spec"];
    spec["completionMode"] = json!("Indexed");
    spec["completions"] = json!(items.len());
    spec["parallelism"] = json!(options.at_once.unwrap_or(items.len()).min(items.len()));
    spec["backoffLimitPerIndex"] = json!(RETRIES);
    // An index that cannot succeed does not stop the others.
    spec["maxFailedIndexes"] = json!(items.len());
    spec.as_object_mut().expect("a spec is an object").remove("backoffLimit");
    let rules = spec["podFailurePolicy"]["rules"].as_array_mut().expect("rules are a list");
    let hopeless = json!({ "containerName": "timbre", "operator": "In", "values": [2, 7] });
    rules.push(json!({ "action": "FailIndex", "onExitCodes": hopeless }));
    job
}

fn job(
    plan: &WorkPlan,
    name: &str,
    items: &[&WorkItem],
    command: String,
    options: &JobOptions,
    cluster: &Cluster,
) -> Value {
    let (cpus, memory) = largest(items);
    let mut limits = json!({ "cpu": cpus.to_string(), "memory": format!("{}Mi", mebibytes(memory)) });
    if items.iter().any(|item| item.gpus > 0) {
        limits["nvidia.com/gpu"] = json!(1);
    }
    let interrupted = json!({ "action": "Ignore", "onPodConditions": [{ "type": "DisruptionTarget" }] });
    let container = json!({
        "name": "timbre", "image": cluster.image, "workingDir": options.folder,
        "command": ["bash", "-c", command],
        "resources": { "requests": limits, "limits": limits },
        "volumeMounts": [{ "name": "project", "mountPath": options.folder }],
    });
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": { "name": object_name(&format!("timbre-{}-{name}", plan.name)) },
        "spec": {
            "backoffLimit": RETRIES,
            "podFailurePolicy": { "rules": [interrupted] },
            "template": { "spec": {
                "restartPolicy": "Never",
                // Time for a checkpoint after SIGTERM.
                "terminationGracePeriodSeconds": 120,
                "containers": [container],
                "volumes": [{ "name": "project", "persistentVolumeClaim": { "claimName": cluster.claim } }],
            } },
        },
    })
}

/// Lower case letters, digits and hyphens, at most 63.
fn object_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    name.chars().map(plain).take(63).collect::<String>().trim_end_matches('-').to_owned()
}
