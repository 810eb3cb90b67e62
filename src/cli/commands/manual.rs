//! `timbre completions` and `timbre man`: generated from the argument definitions.

use std::path::Path;

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use super::{ExitStatus, print};
use crate::cli::args::{Cli, examples};

pub fn completions(shell: Shell) -> Result<ExitStatus> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "timbre", &mut text);
    print(&String::from_utf8(text).context("completions are text")?)?;
    Ok(ExitStatus::Done)
}

/// Prints one page to stdout, or writes one page per subcommand into a folder.
pub fn man(out: Option<&Path>) -> Result<ExitStatus> {
    // Without this, every command would get a page `timbre-…-help`.
    let command = Cli::command().disable_help_subcommand(true);
    match out {
        Some(folder) => {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
            write_pages(command, folder).with_context(|| format!("cannot write in {}", folder.display()))?;
        }
        None => {
            print(&page(&Man::new(command)).context("cannot write the page")?)?;
        }
    }
    Ok(ExitStatus::Done)
}

/// The pages of a command and of its subcommands.
fn write_pages(mut command: clap::Command, folder: &Path) -> Result<()> {
    command.build();
    for subcommand in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        write_pages(subcommand.clone(), folder)?;
    }
    let manual = Man::new(command);
    Ok(std::fs::write(folder.join(manual.get_filename()), page(&manual)?)?)
}

/// A page with its examples in a section of this name; clap's name for what follows the options is EXTRA.
fn page(manual: &Man) -> Result<String> {
    let mut page = Vec::new();
    manual.render(&mut page)?;
    let page = String::from_utf8(page)?;
    let extra = format!(".SH EXTRA\n{}\n", examples::HEADING);
    Ok(page.replace(&extra, ".SH EXAMPLES\n.nf\n").replace(".SH EXTRA\n", ".SH \"EXIT STATUS\"\n"))
}
