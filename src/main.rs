//! The `timbre` program: parse, dispatch, exit.

use std::process::ExitCode;

use clap::Parser;
use timbre::cli::Cli;
use timbre::commands;

fn main() -> ExitCode {
    commands::main(Cli::parse())
}
