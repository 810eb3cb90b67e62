//! The `timbre` program: parse, dispatch, exit.

use std::process::ExitCode;

use clap::Parser;
use timbre::cli::args::Cli;
use timbre::cli::commands;

fn main() -> ExitCode {
    commands::main(Cli::parse())
}
