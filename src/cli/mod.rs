//! The command line: arguments, and one function a command.

pub mod args;
pub mod colours;
pub mod commands;
pub mod project;
mod wrapping;
