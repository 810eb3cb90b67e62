//! `timbre launch`: hands the work items of an experiment to Slurm, or prints them as a file of another program.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::{ExitStatus, expand_grid, print, print_data, settings};
use crate::cli::args::{
    DEFAULT_CACHE, DEFAULT_RUNS, EmitArgs, EmitFormat, ExperimentArgs, GlobalArgs, ItemArgs, LaunchArgs, LaunchCommand,
    RayArgs, SlurmArgs,
};
use crate::execution::run::Settings;
use crate::execution::scale_out::feature_plan::{FeaturePlan, load};
use crate::execution::scale_out::items::{Request, WorkPlan, work_plan};
use crate::execution::scale_out::job_files::kubernetes::{self, Cluster};
use crate::execution::scale_out::job_files::slurm::{self, SlurmJobs, SlurmOptions, Submission};
use crate::execution::scale_out::job_files::{JobOptions, RAY_DRIVER, hyperqueue, parallel, snakemake};
use crate::execution::scale_out::{manifest::PartsFolder, merge::missing};
use timbre_core::{error::UserError, files, text::shell_quoted};
use timbre_experiment::ExpandedGrid;

pub fn launch(common: &GlobalArgs, command: &LaunchCommand) -> Result<ExitStatus> {
    match command {
        LaunchCommand::Slurm(args) => launch_slurm(common, args),
        LaunchCommand::Ray(args) => launch_ray(common, args),
        LaunchCommand::Emit(args) => emit(common, args),
    }
}

/// Becomes the driver of Ray.
fn launch_ray(common: &GlobalArgs, args: &RayArgs) -> Result<ExitStatus> {
    let target = &args.launch.target;
    let grid = expand_grid(common, target)?;
    let settings = settings(common, false);
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let plan = plan_items(common, target, &grid, &settings, &args.launch.items, &program.display().to_string())?;
    let folder = std::path::absolute(plan.parts.join("ray"))?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let (driver, items) = (folder.join("driver.py"), folder.join("plan.json"));
    files::write_bytes(&driver, RAY_DRIVER.as_bytes())?;
    files::write_bytes(&items, &serde_json::to_vec_pretty(&plan)?)?;
    let mut command = Command::new(&args.python);
    command.arg(driver).arg(items).arg("--program").arg(program);
    if let Some(address) = &args.address {
        command.args(["--address", address]);
    }
    if let Some(most) = args.launch.at_once {
        command.args(["--at-once", &most.to_string()]);
    }
    let error = command.exec();
    bail!(UserError::usage(format!("cannot start {}: {error}; see --python", args.python.display())))
}

/// The work items of an experiment, whose commands start with `program`.
pub fn plan_items(
    common: &GlobalArgs,
    target: &ExperimentArgs,
    grid: &ExpandedGrid,
    settings: &Settings,
    items: &ItemArgs,
    program: &str,
) -> Result<WorkPlan> {
    let device = items.device.to_string();
    let request = Request {
        program,
        experiment: &arguments(common, target, items.cpus),
        shards: items.shards,
        parts: items.parts.parts.as_deref(),
        cpus: usize::from(items.cpus),
        memory: items.memory.map(|gibibytes| u64::from(gibibytes) << 30),
        device: &device,
    };
    work_plan(grid, settings, &request)
}

/// The arguments that select an experiment and its folders, one word each.
fn arguments(common: &GlobalArgs, target: &ExperimentArgs, cpus: u16) -> Vec<String> {
    let mut words = vec![target.experiment.clone(), "-q".to_owned(), "--jobs".to_owned(), cpus.to_string()];
    let mut add = |option: &str, value: String| words.extend([option.to_owned(), value]);
    target.data.iter().for_each(|data| add("--data", data.clone()));
    common.set.iter().for_each(|set| add("--set", set.clone()));
    let folders = [("--runs", common.runs.clone(), DEFAULT_RUNS), ("--cache", common.cache_option(), DEFAULT_CACHE)];
    for (option, folder, default) in folders {
        if folder != Path::new(default) {
            add(option, folder.display().to_string());
        }
    }
    words
}

fn job_options(args: &LaunchArgs) -> Result<JobOptions> {
    let folder = std::env::current_dir().context("cannot tell the current folder")?;
    Ok(JobOptions { folder, at_once: args.at_once.map(|n| n as usize) })
}

fn emit(common: &GlobalArgs, args: &EmitArgs) -> Result<ExitStatus> {
    let grid = expand_grid(common, &args.launch.target)?;
    let settings = settings(common, false);
    let plan = plan_items(common, &args.launch.target, &grid, &settings, &args.launch.items, &args.program)?;
    let options = job_options(&args.launch)?;
    let text = match args.format {
        EmitFormat::K8s => {
            let given = |value: &Option<String>| value.clone().context("clap requires it for k8s");
            let cluster = Cluster { image: given(&args.image)?, claim: given(&args.claim)? };
            kubernetes::manifests(&plan, &options, &cluster)
        }
        EmitFormat::Hq => hyperqueue::job_file(&plan, &options),
        EmitFormat::Parallel => parallel::script(&plan, &options),
        EmitFormat::Snakemake => snakemake::snakefile(&plan, &options),
    };
    print_data(&text)?;
    Ok(ExitStatus::Done)
}

/// What a launch leaves for the next: the jobs by their scripts.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Launched {
    shards: usize,
    plan_hash: String,
    jobs: IndexMap<String, String>,
}

const LAUNCHED: &str = "jobs.json";

fn launch_slurm(common: &GlobalArgs, args: &SlurmArgs) -> Result<ExitStatus> {
    let target = &args.launch.target;
    let grid = expand_grid(common, target)?;
    let settings = settings(common, false);
    let folder = PartsFolder::new(args.launch.items.parts.parts.as_deref(), &settings, &grid.name);
    let scripts = std::path::absolute(folder.path().join("slurm"))?;
    let earlier = fs::read(scripts.join(LAUNCHED)).ok();
    let earlier: Option<Launched> = earlier.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let mut items = args.launch.items.clone();
    if args.retry {
        let Some(earlier) = &earlier else {
            bail!(UserError::usage(format!("`{}` was not launched before: leave --retry out", grid.name)));
        };
        items.shards = Some(earlier.shards);
    }
    if !args.dry_run {
        earlier.iter().try_for_each(ensure_ended)?;
    }
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let plan = plan_items(common, target, &grid, &settings, &items, &program.display().to_string())?;
    let shards = match args.retry {
        true => {
            let points = load(&grid, &settings, None)?;
            Some(missing(&FeaturePlan::new(&points, plan.shards)?, &folder)?)
        }
        false => None,
    };
    let (job, gres, sbatch) = (job_options(&args.launch)?, args.gres.clone(), args.sbatch.clone());
    let options = SlurmOptions { job, gres, sbatch, scripts: scripts.clone(), shards };
    let jobs = slurm::jobs(&plan, &options);
    if args.dry_run {
        return dry_run(&jobs, &scripts);
    }
    fs::create_dir_all(&scripts).with_context(|| format!("cannot create {}", scripts.display()))?;
    for (name, text) in &jobs.files {
        files::write_bytes(&scripts.join(name), text.as_bytes())?;
    }
    let mut launched = Launched { shards: plan.shards, plan_hash: plan.plan_hash.clone(), jobs: IndexMap::new() };
    for submission in &jobs.submissions {
        let job = submit(submission, &launched.jobs, &scripts)?;
        print(&format!("{job}  {}\n", submission.script))?;
        launched.jobs.insert(submission.script.clone(), job);
        // After each, so that a launch that fails half-way knows its jobs.
        files::write_bytes(&scripts.join(LAUNCHED), &serde_json::to_vec_pretty(&launched)?)?;
    }
    settings.printer.message(&format!("scripts and logs: {}", scripts.display()));
    settings.printer.message("Next: squeue; after failures the same command with --retry");
    Ok(ExitStatus::Done)
}

fn dry_run(jobs: &SlurmJobs, scripts: &Path) -> Result<ExitStatus> {
    for (name, text) in &jobs.files {
        print_data(&format!("==> {} <==\n{text}\n", scripts.join(name).display()))?;
    }
    for submission in &jobs.submissions {
        let options = dependency(submission, |script| format!("<{script}>"));
        let words = ["sbatch".to_owned(), "--parsable".to_owned()].into_iter().chain(options);
        let path = scripts.join(&submission.script).display().to_string();
        let line: Vec<String> = words.chain([path]).map(|word| shell_quoted(&word, false)).collect();
        print_data(&format!("{}\n", line.join(" ")))?;
    }
    Ok(ExitStatus::Done)
}

/// The options of sbatch that make a script wait for others.
fn dependency(submission: &Submission, job: impl Fn(&str) -> String) -> Vec<String> {
    let list = |word: &str, scripts: &[String]| {
        let jobs: Vec<String> = scripts.iter().map(|script| job(script)).collect();
        (!jobs.is_empty()).then(|| format!("{word}:{}", jobs.join(":")))
    };
    let all = [list("afterok", &submission.after_ok), list("afterany", &submission.after_any)];
    let all: Vec<String> = all.into_iter().flatten().collect();
    if all.is_empty() {
        return Vec::new();
    }
    vec![format!("--dependency={}", all.join(",")), "--kill-on-invalid-dep=yes".to_owned()]
}

/// Submits a script, and returns the number of its job.
fn submit(submission: &Submission, jobs: &IndexMap<String, String>, scripts: &Path) -> Result<String> {
    let options = dependency(submission, |script| jobs[script].clone());
    let path = scripts.join(&submission.script);
    let ended = Command::new("sbatch").arg("--parsable").args(options).arg(&path).output();
    let output =
        ended.map_err(|error| UserError::usage(format!("cannot start sbatch: {error}. Is this a node of Slurm?")))?;
    if !output.status.success() {
        bail!("sbatch refused {}: {}", path.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    // The cluster follows a semicolon, where there are several.
    let answer = String::from_utf8_lossy(&output.stdout);
    Ok(answer.trim().split(';').next().unwrap_or_default().to_owned())
}

/// Refuses to submit the same work twice.
fn ensure_ended(earlier: &Launched) -> Result<()> {
    let jobs: Vec<&str> = earlier.jobs.values().map(String::as_str).collect();
    if jobs.is_empty() {
        return Ok(());
    }
    let jobs = jobs.join(",");
    // An error: none of the jobs is known any more.
    let output = Command::new("squeue").args(["--noheader", "--format=%i", "--jobs", &jobs]).output();
    let waiting = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    if waiting.is_empty() {
        return Ok(());
    }
    let waiting = waiting.lines().collect::<Vec<_>>().join(", ");
    bail!(UserError::usage(format!(
        "jobs of the launch before have not ended: {waiting}. Wait for them, or `scancel {jobs}`"
    )))
}
