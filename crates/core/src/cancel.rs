//! Cancellation: the error of a job that a signal ended.

/// A signal ended the job. What was finished before is on disk, and the same command continues there.
#[derive(Debug, thiserror::Error)]
#[error("stopped: run the same command again to continue")]
pub struct Cancelled;
