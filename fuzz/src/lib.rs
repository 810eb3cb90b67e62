//! The code that parses untrusted bytes: the crate `timbre-signal`, and two files of the server.

pub use timbre_signal::audio;

/// Parses the query of a request.
#[path = "../../src/serve/query.rs"]
pub mod query;

/// Finds the recording in a form.
#[path = "../../src/serve/multipart.rs"]
pub mod multipart;
