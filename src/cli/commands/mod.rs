//! The commands, one function each.
//!
//! Data goes to stdout, everything else to stderr. The exit code tells scripts how the command ended.

use std::borrow::Cow;
use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};

use crate::cli::args::{
    Cli, Command, DEFAULT_CACHE, DEFAULT_RUNS, DataCommand, ExperimentArgs, GlobalArgs, Listed, PartsArgs, ThreadArgs,
};
use crate::cli::colours::{self, eprint_coloured};
use crate::cli::wrapping::{terminal_width, wrapped_lines};
use crate::execution::run::Settings;
use crate::inference::Predictor;
use timbre_core::{
    cancel::Cancelled,
    error::{ExitStatus, UserError},
    progress::{AboveBars, Printer},
    text::{for_terminal, shell_quoted},
};
use timbre_experiment::{Arguments, ConfigErrors, ExpandedGrid, Request, ResolvedExperiment};
use timbre_inputs::data::MissingData;
use timbre_models::device::{Device, DeviceChoice, DeviceUnavailable};
use timbre_reports::plot::ImageFormat;
use timbre_runs::run_dir::Trial;

mod artifacts;
mod augment;
mod baseline;
mod cache;
mod compare;
mod completions;
mod data;
mod device;
mod diff;
mod doctor;
mod evaluate;
mod export;
mod get;
mod grid;
mod housekeeping;
mod latest;
mod launch;
mod machine;
mod manual;
mod merge;
mod plan;
mod predict;
mod predict_inputs;
mod project;
mod relabel;
mod report;
mod reproduce;
mod run;
mod runs;
mod serve;
mod thresholds;
mod watch;

/// Runs the command and returns its exit code.
pub fn main(cli: Cli) -> ExitCode {
    start_logging(&cli.common);
    timbre_models::embedding::register();
    if cli.common.escape_formulas {
        timbre_core::text::escape_formulas();
    }
    let ended = check_clock(SystemTime::now()).and_then(|()| dispatch(cli)).unwrap_or_else(|error| {
        eprint_coloured(&explain(&error));
        exit_of(&error)
    });
    ExitCode::from(ended as u8)
}

/// Names of runs, records and logs hold the time, and no library counts before 1970.
fn check_clock(now: SystemTime) -> Result<()> {
    let is_possible = now >= SystemTime::UNIX_EPOCH;
    ensure!(
        is_possible,
        UserError::new(ExitStatus::Failed, "the clock of this machine is before 1970: set it and try again")
    );
    Ok(())
}

fn dispatch(cli: Cli) -> Result<ExitStatus> {
    let common = &cli.common;
    match cli.command {
        Command::Init { dir } => project::init(&dir),
        Command::New { name, from } => project::new(&name, &from),
        Command::List { what } => project::list(common, what),
        Command::Experiments => project::list(common, Listed::Experiments),
        Command::Show { key } => project::show(&key),
        Command::Run { target, dry_run: true, .. } => plan::dry_run(common, &target),
        Command::Run { target, pool, device, only_trial: Some(id), .. } => {
            merge::only_trial(common, &target, &pool, device, &id)
        }
        Command::Run { target, pool, device, json, fresh, grid_args, .. } => {
            run::run(common, &target, &pool, device, json, fresh, &grid_args)
        }
        Command::Evaluate(wanted) => evaluate::evaluate(common, &wanted),
        Command::Watch { experiment } => watch::watch(common, experiment.as_deref()),
        Command::Check { target, json } => plan::check(common, &target, json),
        Command::Plan { json: false, items, .. } if items.is_chosen() => {
            Err(UserError::usage("--shards, --memory and --parts need --json".to_owned()).into())
        }
        Command::Plan { target, json, items } => plan::plan(common, &target, json.then_some(&items)),
        Command::Features { shard: None, parts: PartsArgs { parts: Some(_) }, .. } => {
            Err(UserError::usage("--parts needs --shard".to_owned()).into())
        }
        Command::Features { target, out, plot: Some(clip), png, .. } => {
            run::plot_features(common, &target, &clip, out.as_deref(), ImageFormat::from_flag(png))
        }
        Command::Features { target, shard: Some(shard), parts, pool, .. } => {
            merge::shard(common, &target, shard, &parts, &pool)
        }
        Command::Features { target, out, format, pool, .. } => {
            run::features(common, &target, out.as_deref(), format, &pool)
        }
        Command::Merge(args) => merge::merge(common, &args),
        Command::Collect(args) => merge::collect(common, &args),
        Command::Launch(command) => launch::launch(common, &command),
        Command::Compare { what, check } => compare::compare(common, &what, &check),
        Command::Diff { one, other, json } => diff::diff(common, &one, &other, json),
        Command::Thresholds { run, metric, on_test, json } => {
            thresholds::thresholds(common, &run, metric.as_deref(), on_test, json)
        }
        Command::Report { run, recordings, figures } => report::report(common, &run, recordings.as_deref(), &figures),
        Command::Runs(wanted) => runs::runs(common, &wanted),
        Command::Baseline(command) => baseline::baseline(common, command),
        Command::Predict { run, files, device, windows, form, pool } => {
            start_threads(&pool)?;
            predict::predict(common, open(common, &run, device)?, &files, &windows, &form)
        }
        Command::Serve(serving) => serve::serve(common, &serving, |run| open(common, run, serving.device)),
        Command::Rm(rm) => housekeeping::rm(common, &rm),
        Command::Gc(gc) => housekeeping::gc(common, &gc),
        Command::Reproduce(args) => reproduce::reproduce(common, &args),
        Command::Export(command) => export::export(common, &command),
        Command::Completions { values: Some(what), of, .. } => completions::values(common, what, of.as_deref()),
        Command::Completions { shell, .. } => {
            completions::script(shell.expect("clap requires a shell without --values"))
        }
        Command::Man { markdown: true, .. } => manual::markdown(),
        Command::Man { out, .. } => manual::man(out.as_deref()),
        Command::Data(command) => data_command(common, command),
        Command::Cache(command) => cache::cache(common, command),
        Command::Doctor { json } => doctor::doctor(common, json),
    }
}

fn exit_of(error: &anyhow::Error) -> ExitStatus {
    if let Some(error) = error.downcast_ref::<UserError>() {
        error.exit()
    } else if error.is::<ConfigErrors>() || error.is::<MissingData>() || error.is::<DeviceUnavailable>() {
        ExitStatus::Usage
    } else if error.is::<Cancelled>() {
        ExitStatus::Stopped
    } else {
        ExitStatus::Failed
    }
}

/// The message of an error. [`ConfigErrors`] have their own layout; other errors are printed with their causes.
fn explain(error: &anyhow::Error) -> String {
    match error.downcast_ref::<ConfigErrors>() {
        // Its lines show files, with marks below them.
        Some(faults) => faults.to_string(),
        None => wrapped(&format!("error: {error:#}")),
    }
}

fn start_logging(common: &GlobalArgs) {
    let level = match (common.quiet, common.verbose) {
        (true, _) => tracing::Level::ERROR,
        (false, 0) => tracing::Level::WARN,
        (false, 1) => tracing::Level::INFO,
        (false, _) => tracing::Level::DEBUG,
    };
    // A closed stderr must not end the program.
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(|| AboveBars)
        .with_ansi(false)
        .without_time()
        .log_internal_errors(false)
        .init();
}

/// Prints text for people to stdout, wrapped at the width of a terminal, without escape sequences that names may contain. A closed pipe (`| head`) is not an error.
fn print(text: &str) -> Result<()> {
    let text = match terminal_width() {
        Some(width) => Cow::Owned(wrapped_lines(text, width)),
        None => Cow::Borrowed(text),
    };
    write_out(&colours::shown(&text, &std::io::stdout())).map(drop)
}

/// Prints a list for people, each line cut to the width of the terminal.
fn print_list(text: &str) -> Result<()> {
    let Some(width) = terminal_width() else { return print(text) };
    print(&text.lines().map(|line| format!("{}\n", console::truncate_str(line, width, "…"))).collect::<String>())
}

/// A message for stderr with line breaks between words where its terminal ends.
fn wrapped(message: &str) -> String {
    let width = console::Term::stderr().size_checked().map_or(usize::MAX, |(_, columns)| columns.into());
    wrapped_lines(message, width)
}

/// Prints data for programs to stdout: unchanged, except on a terminal, as `ls` prints names. Returns whether the pipe is still
/// open.
fn print_data(text: &str) -> Result<bool> {
    if std::io::stdout().is_terminal() { write_out(&for_terminal(text)) } else { write_out(text) }
}

fn write_out(text: &str) -> Result<bool> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        other => other.context("cannot write to stdout").map(|()| true),
    }
}

fn request(common: &GlobalArgs, target: &ExperimentArgs) -> Request {
    Request {
        exp: target.experiment.clone(),
        data: target.data.clone(),
        set: common.set.clone(),
        root: PathBuf::from("."),
    }
}

/// Resolves the experiment with all points of its grid.
fn expand_grid(common: &GlobalArgs, target: &ExperimentArgs) -> Result<ExpandedGrid> {
    let expanded = timbre_experiment::expand_grid(&request(common, target))?;
    let printer = Printer::new(common.quiet);
    expanded.notes.iter().for_each(|note| printer.message(note));
    Ok(expanded)
}

/// Resolves the experiment without its grid.
fn resolve(common: &GlobalArgs, target: &ExperimentArgs) -> Result<ResolvedExperiment> {
    let resolved = timbre_experiment::resolve(&request(common, target))?;
    let printer = Printer::new(common.quiet);
    resolved.notes.iter().for_each(|note| printer.message(note));
    Ok(resolved)
}

/// The arguments that select the same experiment in another command, with its folders unless they are the defaults.
fn again(common: &GlobalArgs, target: &ExperimentArgs) -> String {
    let (experiment, data, set) = (target.experiment.clone(), target.data.clone(), common.set.clone());
    arguments_text(common, &Arguments { experiment, data, set })
}

/// [`again`] for the arguments of a run.
fn arguments_text(common: &GlobalArgs, arguments: &Arguments) -> String {
    let data = arguments.data.iter().map(|name| format!(" --data {name}"));
    let set = arguments.set.iter().map(|set| format!(" --set {}", shell_quoted(set, true)));
    let runs = (common.runs != Path::new(DEFAULT_RUNS)).then(|| format!(" --runs {}", folder(&common.runs)));
    let is_default = |cache: &Path| match std::env::var_os("TIMBRE_CACHE") {
        Some(default) => cache == Path::new(&default),
        None => cache == Path::new(DEFAULT_CACHE),
    };
    let cache = common.cache_option();
    let cache = (!is_default(&cache)).then(|| format!(" --cache {}", folder(&cache)));
    std::iter::once(arguments.experiment.clone()).chain(data).chain(set).chain(runs).chain(cache).collect()
}

fn folder(path: &Path) -> String {
    shell_quoted(&path.display().to_string(), false)
}

fn settings(common: &GlobalArgs, fresh: bool) -> Settings {
    Settings {
        runs: common.runs.clone(),
        cache: common.cache.clone(),
        shared_cache: common.shared_cache.clone(),
        data_dir: PathBuf::from("data"),
        fresh,
        device: Device::cpu(),
        printer: Printer::new(common.quiet),
        artifacts: &artifacts::WrittenArtifacts,
        has_media: true,
        stop: Arc::new(AtomicBool::new(false)),
    }
}

/// Whether a name is that of a trial (`mel.knn.s1`), or of its model, which stands for all seeds (`mel.knn`).
fn is_named(trial: &Trial, name: &str) -> bool {
    trial.to_string() == name || format!("{}.{}", trial.features, trial.model) == name
}

/// Opens a saved model on a device that was tested.
fn open(common: &GlobalArgs, run: &str, device: DeviceChoice) -> Result<Predictor> {
    let chosen = device.choose()?;
    if device != DeviceChoice::Cpu {
        Printer::new(common.quiet).message(&chosen.message);
    }
    Predictor::open_on(&common.runs, run, &chosen.device)
}

/// Asks a question on the terminal. Without one, it is an error with this sentence.
fn answered_yes(question: &str, without_terminal: impl FnOnce() -> String) -> Result<bool> {
    let stdin = std::io::stdin();
    ensure!(stdin.is_terminal(), UserError::usage(without_terminal()));
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).context("cannot read the answer")?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// The first signal stops the work at a point from which it can be resumed; the second ends the program at once.
fn listen_for_signals(stop: &Arc<AtomicBool>) -> Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
    // Slurm sends USR1 before the time limit (`sbatch --signal`).
    for (signal, code) in [(SIGINT, 130), (SIGTERM, 143), (SIGUSR1, 138)] {
        signal_hook::flag::register_conditional_shutdown(signal, code, stop.clone())?;
        signal_hook::flag::register(signal, stop.clone())?;
    }
    Ok(())
}

fn start_threads(pool: &ThreadArgs) -> Result<()> {
    // Without a number rayon takes the cores that affinity and cgroup leave to this process.
    let of_slurm = || std::env::var("SLURM_CPUS_PER_TASK").ok()?.parse().ok();
    let threads = pool.jobs.map(usize::from).or_else(of_slurm).unwrap_or(0);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().context("cannot start the threads")
}

/// `timbre data`.
fn data_command(common: &GlobalArgs, command: DataCommand) -> Result<ExitStatus> {
    match command {
        DataCommand::List => data::list(common),
        DataCommand::Make { name, out, clips_per_class } => data::make(common, &name, out, clips_per_class),
        DataCommand::Get(args) => get::get(common, &args),
        DataCommand::Check { name, json, html, deny, pool } => {
            start_threads(&pool)?;
            data::check(common, &name, json, html.as_deref(), &deny)
        }
        DataCommand::Describe { name, html, measure } => data::describe(common, &name, html.as_deref(), measure),
        DataCommand::Suspects(wanted) => relabel::suspects(common, &wanted),
        DataCommand::LabelStudio(command) => relabel::label_studio(common, &command),
        DataCommand::Augment { what, pool } => augment::augment(common, &what, &pool),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_clock_before_1970_is_reported_in_a_sentence() {
        let error = check_clock(SystemTime::UNIX_EPOCH - Duration::from_secs(1)).unwrap_err();
        assert!(error.to_string().contains("clock") && exit_of(&error) == ExitStatus::Failed);
        assert!(check_clock(SystemTime::UNIX_EPOCH).is_ok());
    }
}
