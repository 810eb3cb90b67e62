//! The program as clap sees it: the commands in groups, global options only where they apply, and tips for usual mistakes.

use std::ffi::OsString;

use clap::builder::{StyledStr, Styles};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, CommandFactory, FromArgMatches};

use super::Cli;
use crate::cli::wrapping::{terminal_width, wrapped_to};

/// The commands, as `timbre --help` lists them.
const GROUPS: &[(&str, &[&str])] = &[
    ("Experiments", &["init", "new", "list", "experiments", "show", "check", "plan", "run", "watch", "evaluate"]),
    ("Results", &["runs", "report", "compare", "diff", "thresholds", "baseline", "export", "reproduce", "rm", "gc"]),
    ("Saved models", &["predict", "serve"]),
    ("Data and features", &["data", "features", "cache"]),
    ("Many machines", &["launch", "merge", "collect"]),
    ("This program", &["doctor", "completions", "man", "help"]),
];

/// Commands, and the global options that they do not use. Their help leaves these out; `--set`, which would change nothing, is refused.
const UNUSED: &[(&[&str], &[&str])] = &[
    (&["init", "new", "list", "experiments", "show", "man"], &[SET, "runs", "cache"]),
    (&["watch", "compare", "diff", "runs", "baseline", "predict", "serve", "rm", "gc", "export"], &[SET, "cache"]),
    (&["report", "doctor"], &[SET]),
    (&["cache"], &[SET, "runs"]),
    (&["thresholds", "completions"], &["cache"]),
];
const SET: &str = "set";

/// The global options that a command does not use.
fn unused_by(command: &str) -> &'static [&'static str] {
    UNUSED.iter().find(|(commands, _)| commands.contains(&command)).map_or(&[], |(_, options)| options)
}

/// The commands that read an experiment.
const OF_EXPERIMENTS: [&str; 4] = ["run", "check", "plan", "features"];

/// Words of other programs for a command.
const OTHER_WORDS: &[(&[&str], &str)] = &[
    (&["train", "fit", "experiment", "start"], "run"),
    (&["validate", "lint"], "check"),
    (&["classify", "infer", "tag"], "predict"),
    (&["eval", "test", "score"], "evaluate"),
    (&["ls", "history"], "runs"),
    (&["remove", "delete"], "rm"),
    (&["clean"], "gc"),
];

/// The definitions of all commands.
pub fn program() -> Command {
    let mut program = Cli::command();
    let globals: Vec<Arg> = program.get_arguments().cloned().collect();
    // A changed command moves to the end: all of them are then in the order of the groups.
    for name in GROUPS.iter().flat_map(|(_, commands)| *commands).filter(|name| **name != "help") {
        let unused = globals.iter().filter(|argument| unused_by(name).contains(&argument.get_id().as_str()));
        program =
            program.mut_subcommand(name, |command| command.args(unused.map(|argument| argument.clone().hide(true))));
    }
    let template = template(&program);
    program.help_template(template)
}

/// The help of the program, with the commands in groups.
fn template(program: &Command) -> StyledStr {
    let styles = Styles::styled();
    let (header, literal) = (styles.get_header(), styles.get_literal());
    let width = terminal_width().unwrap_or(usize::MAX);
    let mut text = "{about-with-newline}\n{usage-heading} {usage}\n".to_owned();
    for (title, commands) in GROUPS {
        text += &format!("\n{header}{title}:{header:#}\n");
        for name in *commands {
            let about = program.find_subcommand(name).and_then(Command::get_about).map(ToString::to_string);
            let about = about.unwrap_or_else(|| "Print the help of a command".to_owned());
            let end = [". ", ": ", "; "].iter().filter_map(|mark| about.find(mark)).min().unwrap_or(about.len());
            let line = wrapped_to(&format!("  {name:11}  {}", &about[..end]), width);
            text += &format!("{}\n", line.replacen(name, &format!("{literal}{name}{literal:#}"), 1));
        }
    }
    (text + &format!("\n{header}Options:{header:#}\n{{options}}{{after-help}}")).into()
}

/// Parses the arguments.
pub fn parse(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let mut program = program();
    let matches = program.try_get_matches_from_mut(arguments).map_err(|error| with_tip(error, arguments))?;
    let cli = Cli::from_arg_matches(&matches)?;
    match matches.subcommand_name() {
        Some(name) if !cli.common.set.is_empty() && unused_by(name).contains(&SET) => {
            let sentence = format!("`--set` changes keys of an experiment, and `timbre {name}` reads none");
            Err(program.error(ErrorKind::ArgumentConflict, sentence))
        }
        _ => Ok(cli),
    }
}

/// Adds what was probably meant, if clap knows no similar word.
fn with_tip(mut error: clap::Error, arguments: &[OsString]) -> clap::Error {
    let wrong = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.clone()),
        _ => None,
    };
    let command = arguments.get(1).and_then(|word| word.to_str()).unwrap_or_default();
    let tip = match error.kind() {
        ErrorKind::UnknownArgument if error.get(ContextKind::SuggestedArg).is_none() => {
            wrong(ContextKind::InvalidArg).filter(|_| OF_EXPERIMENTS.contains(&command)).and_then(|word| {
                let key = word.strip_prefix("--")?.split('=').next()?.replace('-', "_");
                Some(format!("keys of an experiment are set with --set, e.g. --set models.NAME.{key}=VALUE"))
            })
        }
        ErrorKind::InvalidSubcommand if error.get(ContextKind::SuggestedSubcommand).is_none() => {
            let meant = wrong(ContextKind::InvalidSubcommand).and_then(|word| {
                OTHER_WORDS.iter().find_map(|(words, meant)| words.contains(&word.as_str()).then_some(*meant))
            });
            meant.map(|meant| format!("the command is `timbre {meant}`"))
        }
        _ => None,
    };
    if let Some(tip) = tip {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn parsed(line: &str) -> Result<Cli, clap::Error> {
        parse(&line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    fn message(line: &str) -> String {
        parsed(line).map(drop).unwrap_err().to_string()
    }

    #[test]
    fn every_command_is_in_one_group() {
        let program = program();
        let all: BTreeSet<&str> = program.get_subcommands().map(Command::get_name).chain(["help"]).collect();
        let grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, commands)| commands.iter().copied()).collect();
        assert_eq!((grouped.iter().copied().collect(), grouped.len()), (all.clone(), all.len()));
        let in_order = program.get_subcommands().map(Command::get_name);
        assert!(in_order.eq(grouped.iter().copied().filter(|name| *name != "help")));
        let help = program.clone().render_help().to_string();
        assert!(help.contains("\nResults:\n  runs         List runs with their status and best score\n"), "{help}");
        assert_eq!(help.matches("Options:").count(), 1);
        assert!(!help.contains('{'), "{help}");
    }

    #[test]
    fn an_option_is_in_the_help_of_the_commands_that_use_it() {
        let mut program = program();
        program.build();
        let help = |name: &str| program.find_subcommand(name).unwrap().clone().render_help().to_string();
        assert!(help("run").contains("--set") && help("run").contains("--cache"));
        assert!(!help("man").contains("--set") && !help("man").contains("--runs") && help("man").contains("--quiet"));
        assert!(!help("rm").contains("--cache") && help("rm").contains("--runs"));
        // Scripts give all commands the same folders.
        assert!(parsed("timbre rm x --runs a --cache b").is_ok_and(|cli| cli.common.runs.as_os_str() == "a"));
        assert!(message("timbre man --set a.b=1").contains("`timbre man` reads none"));
        assert!(message("timbre baseline save x --out y --set a.b=1").contains("`timbre baseline` reads none"));
        assert_eq!(parsed("timbre run x --set a.b=1").unwrap().common.set, ["a.b=1"]);
    }

    #[test]
    fn a_word_of_another_program_is_answered_with_the_command_or_the_key() {
        assert!(message("timbre train x").contains("tip: the command is `timbre run`"));
        assert!(
            message("timbre run x --epochs 3")
                .contains("tip: keys of an experiment are set with --set, e.g. --set models.NAME.epochs=VALUE")
        );
        assert!(message("timbre run x --dataa y").contains("'--data'"));
        assert!(!message("timbre runs --epochs 3").contains("models.NAME"));
    }
}
