//! `timbre completions` and `timbre man`: generated from the argument definitions.

use std::path::Path;

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::Shell;

use super::{ExitStatus, print};
use crate::cli::args::Cli;

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
            clap_mangen::generate_to(command, folder)
                .with_context(|| format!("cannot write in {}", folder.display()))?;
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page).context("cannot write the page")?;
            print(&String::from_utf8(page).context("a page is text")?)?;
        }
    }
    Ok(ExitStatus::Done)
}
