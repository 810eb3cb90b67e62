//! `timbre man`: generated from the argument definitions.

use std::path::Path;

use anyhow::{Context, Result};
use clap::{Arg, Command};
use clap_mangen::Man;

use super::{ExitStatus, print_data};
use crate::cli::args::reference::{ENVIRONMENT, EXIT_CODES, Entry, FILES, of_command};
use crate::cli::args::{self, examples};

/// Prints one page to stdout, or writes one page per subcommand into a folder.
pub fn man(out: Option<&Path>) -> Result<ExitStatus> {
    match out {
        Some(folder) => {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
            write_pages(program(), None, folder).with_context(|| format!("cannot write in {}", folder.display()))?;
        }
        None => {
            print_data(&page(&program(), None).context("cannot write the page")?)?;
        }
    }
    Ok(ExitStatus::Done)
}

/// The definitions of all commands. Without `help` every command would get a page `timbre-…-help`.
fn program() -> Command {
    let mut command = args::program().disable_help_subcommand(true);
    command.build();
    command
}

/// The pages of a command and of its subcommands. `top` is the name after `timbre`.
fn write_pages(command: Command, top: Option<&str>, folder: &Path) -> Result<()> {
    for subcommand in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        write_pages(subcommand.clone(), Some(top.unwrap_or(subcommand.get_name())), folder)?;
    }
    let name = Man::new(command.clone()).get_filename();
    Ok(std::fs::write(folder.join(name), page(&command, top)?)?)
}

/// A page: the sections of clap, then examples, files, environment, exit codes and related pages.
fn page(command: &Command, top: Option<&str>) -> Result<String> {
    // The text after the options, which clap would call EXTRA, has sections of its own.
    let manual = Man::new(command.clone().after_long_help(None::<&str>));
    let mut page = Vec::new();
    manual.render(&mut page)?;
    let mut page = String::from_utf8(page)?;
    if let Some(examples) = examples_of(command) {
        page += &format!(".SH EXAMPLES\n.nf\n{}.fi\n", examples.lines().map(roff_line).collect::<String>());
    }
    for (heading, entries) in [("FILES", FILES), ("ENVIRONMENT", ENVIRONMENT)] {
        let mut entries = of_command(entries, top).peekable();
        if entries.peek().is_some() {
            page += &format!(".SH {heading}\n");
            page.extend(entries.map(|entry| tagged(entry.name, entry.meaning)));
        }
    }
    page += ".SH \"EXIT STATUS\"\n";
    page.extend(EXIT_CODES.iter().map(|(code, meaning)| tagged(&code.to_string(), meaning)));
    let related = match (top, parent_of(command)) {
        (None, _) => command.get_subcommands().map(name_of_page).collect(),
        (Some(_), parent) => {
            [parent].into_iter().chain(command.get_subcommands().map(name_of_page)).collect::<Vec<_>>()
        }
    };
    let related: Vec<String> = related.iter().map(|name| format!("\\fB{}\\fR(1)", name.replace('-', "\\-"))).collect();
    Ok(page + &format!(".SH \"SEE ALSO\"\n{}\n", related.join(",\n")))
}

/// The examples of a command, without their heading.
fn examples_of(command: &Command) -> Option<String> {
    let text = command.get_after_long_help()?.to_string();
    text.strip_prefix(examples::HEADING).map(|examples| examples.trim_start_matches('\n').to_owned())
}

fn name_of_page(command: &Command) -> String {
    command.get_display_name().unwrap_or(command.get_name()).to_owned()
}

/// The page above: `timbre-data` of `timbre-data-make`.
fn parent_of(command: &Command) -> String {
    let name = name_of_page(command);
    name.strip_suffix(command.get_name()).map_or("timbre", |parent| parent.trim_end_matches('-')).to_owned()
}

/// A paragraph with a hanging tag.
fn tagged(tag: &str, text: &str) -> String {
    format!(".TP\n\\fB{}\\fR\n{}", roff(tag), roff_line(text))
}

/// A line of text that roff does not take for a request.
fn roff_line(line: &str) -> String {
    let guard = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
    format!("{guard}{}\n", roff(line))
}

fn roff(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq").replace('`', "\\(ga")
}

/// Prints the reference of all commands as Markdown: `docs/command-line.md`.
pub fn markdown() -> Result<ExitStatus> {
    let program = program();
    let mut page = "# Command line\n\n\
        This page is what `timbre man --markdown` prints. `timbre COMMAND --help` prints the same in a terminal; \
        `timbre man` writes [manual pages](housekeeping.md#completions-and-manual-pages).\n\n\
        | command | |\n|---|---|\n"
        .to_owned();
    for command in program.get_subcommands() {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        page += &format!("| [`timbre {0}`](#timbre-{0}) | {1} |\n", command.get_name(), cell(&about));
    }
    page += "\n## Options of every command\n\n";
    page += &table(program.get_arguments().filter(|argument| argument.is_global_set()));
    for command in program.get_subcommands() {
        page += &section(command, "timbre", "##");
    }
    page += "\n## Files\n\nPaths are those from the folder of the project.\n\n| file | |\n|---|---|\n";
    page.extend(FILES.iter().map(row));
    page += "\n## Environment variables\n\n| variable | |\n|---|---|\n";
    page.extend(ENVIRONMENT.iter().map(row));
    page += "\n## Exit codes\n\n| code | |\n|---|---|\n";
    page.extend(EXIT_CODES.iter().map(|(code, meaning)| format!("| {code} | {} |\n", cell(meaning))));
    print_data(&page)?;
    Ok(ExitStatus::Done)
}

/// The section of a command, and of its subcommands one level below.
fn section(command: &Command, parent: &str, level: &str) -> String {
    let name = format!("{parent} {}", command.get_name());
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    let mut text = format!("\n{level} `{name}`\n\n{about}\n");
    let mut subcommands = command.get_subcommands().peekable();
    if subcommands.peek().is_none() {
        let usage = command.clone().bin_name(&name).render_usage().to_string();
        text += &format!("\n```text\n{}\n```\n", usage.trim_start_matches("Usage: "));
    }
    let mut own =
        command.get_arguments().filter(|argument| !argument.is_global_set() && argument.get_id() != "help").peekable();
    if own.peek().is_some() {
        text += &format!("\n{}", table(own));
    }
    if let Some(examples) = examples_of(command) {
        let examples = examples.lines().map(|line| format!("{}\n", line.strip_prefix("  ").unwrap_or(line)));
        text += &format!("\n```text\n{}```\n", examples.collect::<String>());
    }
    text + &subcommands.map(|command| section(command, &name, &format!("{level}#"))).collect::<String>()
}

/// The arguments as a table.
fn table<'a>(arguments: impl Iterator<Item = &'a Arg>) -> String {
    let mut text = "| argument | |\n|---|---|\n".to_owned();
    for argument in arguments.filter(|argument| !argument.is_hide_set()) {
        let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
        let mut help = cell(&help);
        let values = argument.get_possible_values();
        let is_flag = argument.get_num_args().is_some_and(|number| !number.takes_values());
        if !values.is_empty() && !is_flag {
            let value = |value: &clap::builder::PossibleValue| match value.get_help() {
                Some(help) => format!("`{}` ({})", value.get_name(), cell(&help.to_string()).trim_end_matches('.')),
                None => format!("`{}`", value.get_name()),
            };
            help += &format!(" Values: {}.", values.iter().map(value).collect::<Vec<_>>().join(", "));
        }
        let defaults: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        if !defaults.is_empty() && !is_flag {
            help += &format!(" [default: `{}`]", defaults.join(", "));
        }
        if let Some(variable) = argument.get_env() {
            help += &format!(" [environment: `{}`]", variable.to_string_lossy());
        }
        text += &format!("| {} | {help} |\n", spelled(argument));
    }
    text
}

/// An argument as it is written: `-y`, `--yes`; `--out DIR`; `FILE…`.
fn spelled(argument: &Arg) -> String {
    let takes_values = argument.get_num_args().is_none_or(|number| number.takes_values());
    let names = argument.get_value_names().unwrap_or_default().join(" ").replace('|', "\\|");
    let value = if takes_values { names } else { String::new() };
    if argument.is_positional() {
        let many = argument.get_num_args().is_some_and(|number| number.max_values() > 1);
        return format!("`{value}{}`", if many { "…" } else { "" });
    }
    let long = argument.get_long().map(|long| format!("`{}`", format!("--{long} {value}").trim_end()));
    let short = argument.get_short().map(|short| format!("`-{short}`"));
    short.into_iter().chain(long).collect::<Vec<_>>().join(", ")
}

fn row(entry: &Entry) -> String {
    format!("| `{}` | {} |\n", entry.name, cell(entry.meaning))
}

/// Text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}
