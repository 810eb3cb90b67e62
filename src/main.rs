//! The `timbre` program: parse, dispatch, exit.

mod allocator;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use timbre::cli::args::{self, Command, DEFAULT_CACHE, DEFAULT_RUNS};
use timbre::cli::{colours::eprint_coloured, commands, project};
use timbre_core::error::ExitStatus;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let root = match project::enter(&arguments) {
        Ok(root) => root,
        Err(error) => {
            eprint_coloured(&format!("error: {error}"));
            return ExitCode::from(error.exit() as u8);
        }
    };
    let mut cli = args::parse(&arguments).unwrap_or_else(|error| error.exit());
    if let Err(error) = cli.common.divide_cache() {
        eprint_coloured(&format!("error: {error}"));
        return ExitCode::from(ExitStatus::Usage as u8);
    }
    // The defaults are relative to the root.
    for (path, default) in [(&mut cli.common.runs, DEFAULT_RUNS), (&mut cli.common.cache, DEFAULT_CACHE)] {
        if path != Path::new(default) {
            *path = project::from_here(path);
        }
    }
    if let Some(root) = root.filter(|_| !cli.common.quiet) {
        eprintln!("project: {}", root.display());
    }
    if matches!(cli.command, Command::Run { .. } | Command::Reproduce(_)) {
        allocator::keep_freed_memory();
    }
    commands::main(cli)
}
