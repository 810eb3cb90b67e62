//! Execution: experiments become runs.

pub mod run;
pub mod sweep;
pub mod reproduce;
