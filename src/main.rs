//! The `timbre` program: parse, dispatch, exit.

mod allocator;

use std::process::ExitCode;

use clap::Parser;
use timbre::cli::args::{Cli, Command};
use timbre::cli::commands;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if matches!(cli.command, Command::Run { .. } | Command::Reproduce(_)) {
        allocator::keep_freed_memory();
    }
    commands::main(cli)
}
