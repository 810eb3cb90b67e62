//! Batch scripts for Slurm: an array of shards, their merge, arrays of trials, and the tables.

use std::path::Path;

use super::super::items::{WorkItem, WorkPlan};
use super::super::shard::array_spec;
use super::{JobOptions, Stages, largest, mebibytes, shell_line, shell_line_with, value_of};
use timbre_core::text::shell_quoted;

/// More options for every script.
#[derive(Clone, Debug)]
pub struct SlurmOptions {
    pub job: JobOptions,
    /// What a trial of a network asks for.
    pub gres: String,
    /// Options of sbatch as written.
    pub sbatch: Vec<String>,
    /// The folder of the scripts and the logs.
    pub scripts: std::path::PathBuf,
    /// Of the features, only these shards.
    pub shards: Option<Vec<usize>>,
}

/// When a script is submitted: after the jobs of these scripts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Submission {
    pub script: String,
    /// Which must end well.
    pub after_ok: Vec<String>,
    /// Which must end.
    pub after_any: Vec<String>,
}

/// Scripts and lists by their names, and the order in which to submit.
pub struct SlurmJobs {
    pub files: Vec<(String, String)>,
    pub submissions: Vec<Submission>,
}

const FEATURES: &str = "features.sh";
const MERGE: &str = "merge.sh";
const TABLES: &str = "tables.sh";

/// The scripts of a plan. With an empty list of shards there is no array of features: the merge comes first.
pub fn jobs(plan: &WorkPlan, options: &SlurmOptions) -> SlurmJobs {
    let stages = Stages::of(plan);
    let mut jobs = SlurmJobs { files: Vec::new(), submissions: Vec::new() };
    let mut submit = |script: &str, after_ok: Vec<&str>, after_any: Vec<&str>| {
        let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
        jobs.submissions.push(Submission {
            script: script.to_owned(),
            after_ok: owned(after_ok),
            after_any: owned(after_any),
        });
    };
    let mut merged = Vec::new();
    let all: Vec<usize> = (0..plan.shards).collect();
    let shards = options.shards.as_ref().unwrap_or(&all);
    if let (Some(first), Some(merge)) = (stages.features.first(), stages.merge) {
        if !shards.is_empty() {
            let shard = value_of(first, "--shard");
            let command = shell_line_with(first, &[(shard, &format!("auto/{}", plan.shards))]);
            let head = Head { array: Some(array_spec(shards)), ..Head::new("features", &stages.features) };
            jobs.files.push((FEATURES.to_owned(), script(plan, options, &head, "", &command)));
            submit(FEATURES, Vec::new(), Vec::new());
        }
        jobs.files.push((
            MERGE.to_owned(),
            script(plan, options, &Head::new("merge", &[merge]), "", &shell_line(&merge.argv)),
        ));
        // After failed shards too: the merge says which are missing.
        submit(MERGE, Vec::new(), if shards.is_empty() { Vec::new() } else { vec![FEATURES] });
        merged = vec![MERGE];
    }
    let mut trials = Vec::new();
    for (name, script_name, wants_gpu) in [("trials", "trials.sh", false), ("gpu-trials", "gpu-trials.sh", true)] {
        let items: Vec<&WorkItem> = stages.trials.iter().copied().filter(|item| (item.gpus > 0) == wants_gpu).collect();
        let Some(first) = items.first() else { continue };
        let list = format!("{name}.txt");
        let ids: String = items.iter().map(|item| format!("{}\n", value_of(item, "--only-trial"))).collect();
        let path = shell_quoted(&options.scripts.join(&list).display().to_string(), false);
        let before = format!("trial=$(sed -n \"$((SLURM_ARRAY_TASK_ID + 1))p\" {path})\n");
        let command = shell_line_with(first, &[(value_of(first, "--only-trial"), "\"$trial\"")]);
        let array = array_spec(&(0..items.len()).collect::<Vec<_>>());
        let head = Head { array: Some(array), gres: wants_gpu, ..Head::new(name, &items) };
        jobs.files.push((list, ids));
        jobs.files.push((script_name.to_owned(), script(plan, options, &head, &before, &command)));
        submit(script_name, merged.clone(), Vec::new());
        trials.push(script_name);
    }
    let head = Head { gres: stages.tables.gpus > 0, ..Head::new("tables", &[stages.tables]) };
    jobs.files.push((TABLES.to_owned(), script(plan, options, &head, "", &shell_line(&stages.tables.argv))));
    submit(TABLES, merged, trials);
    jobs
}

/// The head of a script.
struct Head {
    name: String,
    cpus: usize,
    memory: u64,
    array: Option<String>,
    gres: bool,
}

impl Head {
    fn new(name: &str, items: &[&WorkItem]) -> Head {
        let (cpus, memory) = largest(items);
        Head { name: name.to_owned(), cpus, memory, array: None, gres: false }
    }
}

/// A script that passes signals on. Slurm sends USR1 a minute before the time limit: the program stops with code 75, and the
/// task is queued again, where it continues.
fn script(plan: &WorkPlan, options: &SlurmOptions, head: &Head, before: &str, command: &str) -> String {
    let Head { name, cpus, memory, array, gres } = head;
    let log = match array {
        Some(_) => format!("{name}-%a.log"),
        None => format!("{name}.log"),
    };
    let mut text = format!(
        "#!/bin/bash\n# {}: {name}. Written by `timbre launch slurm`.\n#SBATCH --job-name={}\n",
        plan.name,
        quoted(Path::new(&format!("timbre-{}-{name}", plan.name)))
    );
    let mut add = |option: String| text += &format!("#SBATCH {option}\n");
    add(format!("--cpus-per-task={cpus}"));
    add(format!("--mem={}M", mebibytes(*memory)));
    if let Some(array) = array {
        add(format!("--array={array}{}", options.job.at_once.map_or(String::new(), |n| format!("%{n}"))));
    }
    if *gres {
        add(format!("--gres={}", options.gres));
    }
    add(format!("--chdir={}", quoted(&options.job.folder)));
    add(format!("--output={}", quoted(&options.scripts.join(log))));
    for option in ["--open-mode=append", "--signal=B:USR1@60", "--requeue"] {
        add(option.to_owned());
    }
    options.sbatch.iter().for_each(|option| add(option.clone()));
    text += before;
    text += &format!("{command} &\n");
    text + FORWARD_SIGNALS
}

/// A path with a space in the head of a script.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    if path.contains(' ') { format!("\"{path}\"") } else { path }
}

const FORWARD_SIGNALS: &str = r#"child=$!
trap 'time_is_up=1; kill -USR1 $child' USR1
trap 'kill -TERM $child' TERM
wait $child
code=$?
# A signal ends `wait` before the program has ended.
while kill -0 $child 2>/dev/null; do
    wait $child
    code=$?
done
if [ $code = 75 ] && [ -n "$time_is_up" ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit $code
"#;
