//! Execution: experiments become runs.

pub mod run;
pub mod sweep;
pub mod scale_out;
pub mod reproduce;
