//! `timbre completions`: scripts that complete commands and options, and in bash, zsh and fish also names, which they ask the program for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap_complete::Shell;

use super::{ExitStatus, print_data};
use crate::cli::args::{CompletedValues, GlobalArgs, program};
use timbre_experiment::{Request, data_set_names, reference, resolve};
use timbre_reports::comparison::config_keys;
use timbre_runs::run_dir;

pub fn script(shell: Shell) -> Result<ExitStatus> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut program(), "timbre", &mut text);
    let text = String::from_utf8(text).context("completions are text")?;
    print_data(&match shell {
        Shell::Bash => text + include_str!("completions/bash.sh"),
        Shell::Zsh => in_zsh(&text),
        Shell::Fish => text + &in_fish(),
        _ => text,
    })?;
    Ok(ExitStatus::Done)
}

/// Commands with an experiment or a run as their arguments, and what their names are.
const ARGUMENTS: [(&str, &str); 16] = [
    ("run", "experiments"),
    ("check", "experiments"),
    ("plan", "experiments"),
    ("features", "experiments"),
    ("watch", "experiments"),
    ("runs", "runs"),
    ("report", "runs"),
    ("reproduce", "runs"),
    ("rm", "runs"),
    ("baseline", "runs"),
    ("compare", "models"),
    ("diff", "models"),
    ("thresholds", "models"),
    ("evaluate", "models"),
    ("predict", "models"),
    ("serve", "models"),
];

/// Options whose values are names.
const OPTIONS: [(&str, &str); 6] = [
    ("set", "keys"),
    ("metric", "metrics"),
    ("data", "data"),
    ("from", "experiments"),
    ("reference", "models"),
    ("baseline", "runs"),
];

/// The script of zsh, whose arguments complete files where they should complete names.
fn in_zsh(script: &str) -> String {
    const ELSE_FILES: &str = ":_default' \\";
    let mut command = String::new();
    let mut lines = Vec::new();
    for line in script.lines() {
        // `(run)` begins the arguments of a command.
        if let Some(name) = line.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
            command = name.to_owned();
        }
        let argument = ["experiment", "run", "chosen", "one", "other", "experiments"];
        let is_argument = argument.iter().any(|id| line.contains(&format!(":{id} -- ")));
        let of_command = ARGUMENTS.iter().find(|(name, _)| is_argument && *name == command);
        let of_option = OPTIONS.iter().find(|(name, _)| line.contains(&format!("--{name}=[")));
        lines.push(match (of_command.or(of_option), line.strip_suffix(ELSE_FILES)) {
            (Some((_, what)), Some(before)) => format!("{before}:{{_timbre_values {what}}}' \\"),
            _ => line.to_owned(),
        });
    }
    let (first, rest) = lines.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    format!("{first}\n{}{}\n", include_str!("completions/zsh.sh"), rest.join("\n"))
}

fn in_fish() -> String {
    let mut text = String::from("# Names, which the program knows.\n");
    let values = |what: &str| match what {
        "keys" => "(timbre completions --values keys --of=(commandline -opc)[3] 2>/dev/null)".to_owned(),
        what => format!("(timbre completions --values {what} 2>/dev/null)"),
    };
    for (command, what) in ARGUMENTS {
        text +=
            &format!("complete -c timbre -n \"__fish_seen_subcommand_from {command}\" -k -a \"{}\"\n", values(what));
    }
    for (option, what) in OPTIONS {
        text += &format!("complete -c timbre -n \"not __fish_is_first_arg\" -l {option} -x -a \"{}\"\n", values(what));
    }
    text
}

/// Prints the names that a shell offers, one per line. Whatever cannot be read is left out.
pub fn values(common: &GlobalArgs, what: CompletedValues, of: Option<&str>) -> Result<ExitStatus> {
    let names: Vec<String> = match what {
        CompletedValues::Experiments => {
            reference::experiments(Path::new(".")).into_iter().map(|(name, _)| name).collect()
        }
        CompletedValues::Data => data_set_names(Path::new(".")),
        CompletedValues::Metrics => reference::metric_names().into_iter().map(|(name, _)| name).collect(),
        CompletedValues::Runs => runs(&common.runs),
        CompletedValues::Models => [runs(&common.runs), models(&common.runs)].concat(),
        CompletedValues::Keys => of.map_or_else(Vec::new, |experiment| keys(common, experiment)),
    };
    print_data(&names.into_iter().map(|name| name + "\n").collect::<String>())?;
    Ok(ExitStatus::Done)
}

/// `experiment`, which is its newest run, and every run folder as `experiment/folder`.
fn runs(folder: &Path) -> Vec<String> {
    let name = |path: &PathBuf| path.strip_prefix(folder).ok().map(|name| name.display().to_string());
    let all: Vec<String> = run_dir::all(folder).iter().filter_map(name).collect();
    let experiments: BTreeSet<&str> =
        all.iter().filter_map(|name| name.split_once('/')).map(|(name, _)| name).collect();
    experiments.iter().map(|name| (*name).to_owned()).chain(all.iter().cloned()).collect()
}

/// The models of the newest run of each experiment: `experiment:features.model`, with the seed where there are several.
fn models(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for experiment in run_dir::run_folders(folder) {
        let Some(run) = run_dir::newest(&experiment) else { continue };
        let Ok(record) = run_dir::read_record(&run) else { continue };
        let trials: BTreeSet<(String, u64)> = record
            .results
            .iter()
            .filter(|row| !row.is_baseline())
            .map(|row| (format!("{}.{}", row.trial.features, row.trial.model), row.trial.seed))
            .collect();
        for (model, seed) in &trials {
            let seeds = trials.iter().filter(|(other, _)| other == model).count();
            let seed = if seeds > 1 { format!(".s{seed}") } else { String::new() };
            names.push(format!("{}:{model}{seed}", record.experiment));
        }
    }
    names
}

/// The keys of an experiment with all defaults, each with the `=` that follows.
fn keys(common: &GlobalArgs, experiment: &str) -> Vec<String> {
    let request = Request { exp: experiment.to_owned(), data: None, set: common.set.clone(), root: PathBuf::from(".") };
    let flat = resolve(&request).ok().and_then(|one| config_keys(&one.resolved_toml).ok());
    flat.into_iter().flatten().map(|(key, _)| format!("{key}=")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_completed_argument_is_one_of_the_command_line() {
        let command = program();
        let known: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
        assert!(ARGUMENTS.iter().all(|(name, _)| known.contains(name)));
        let has_option = |name: &str| {
            let all = command.get_subcommands().flat_map(clap::Command::get_arguments).chain(command.get_arguments());
            all.filter_map(clap::Arg::get_long).any(|long| long == name)
        };
        assert!(OPTIONS.iter().all(|(name, _)| has_option(name)));
    }

    #[test]
    fn the_script_of_zsh_completes_names_where_arguments_are_experiments_runs_or_models() {
        let mut text = Vec::new();
        clap_complete::generate(Shell::Zsh, &mut program(), "timbre", &mut text);
        let script = in_zsh(&String::from_utf8(text).unwrap());
        assert!(script.starts_with("#compdef timbre\n"));
        for what in ["experiments", "runs", "models", "keys", "metrics", "data"] {
            assert!(script.contains(&format!(":{{_timbre_values {what}}}' \\")), "{what}");
        }
    }
}
