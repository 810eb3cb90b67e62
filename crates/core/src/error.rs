//! The exit code of the program, and the error that carries one.

use std::fmt;

/// How a command ended, as scripts see it: the exit code of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// Success.
    Done = 0,
    /// A trial failed, or the program met an error that it has no code for.
    Failed = 1,
    /// The command line, the configuration or the stored data cannot be used as they are.
    Usage = 2,
    /// More recordings are unusable than `max_unusable` allows.
    TooManyUnusable = 3,
    /// The selection matches nothing, or nothing that is selected can be used.
    NothingSelected = 4,
    /// Worse than the baseline, or not comparable with it; or a rerun gives other numbers.
    Regression = 5,
    /// Some points of a sweep failed, or their runs were removed while it ran.
    SomeFailed = 6,
    /// The recordings or the program have changed since the run.
    RunChanged = 7,
    /// `data check --deny` found what it was to deny.
    DataFindings = 8,
    /// Stopped by a signal. The same command resumes the work.
    Stopped = 75,
}

/// An error that the user can correct: a sentence that says what to do, and the exit code.
///
/// Every other error ends the program with [`ExitStatus::Failed`], apart from the few types that the program's `main` lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserError {
    exit: ExitStatus,
    message: String,
}

impl UserError {
    /// An error with this exit code. The message names the thing, the cause and the next step.
    ///
    /// ```
    /// use timbre_core::error::{ExitStatus, UserError};
    ///
    /// let error = UserError::new(ExitStatus::NothingSelected, "no run is called `x`: see `timbre runs`");
    /// assert_eq!(error.exit() as u8, 4);
    /// ```
    pub fn new(exit: ExitStatus, message: impl Into<String>) -> UserError {
        UserError { exit, message: message.into() }
    }

    /// An error with exit code 2.
    pub fn usage(message: impl Into<String>) -> UserError {
        UserError::new(ExitStatus::Usage, message)
    }

    /// An error with exit code 2 out of one that carries no code; its causes become part of the message.
    pub fn from_cause(error: anyhow::Error) -> anyhow::Error {
        UserError::usage(format!("{error:#}")).into()
    }

    /// The exit code of the program.
    pub fn exit(&self) -> ExitStatus {
        self.exit
    }
}

impl std::error::Error for UserError {}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.message)
    }
}
