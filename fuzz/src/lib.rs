//! What reads bytes from strangers, by itself, from the same files as in the library.

pub use timbre_signal::audio;

/// What reads the parameters of a request.
#[path = "../../src/serve/query.rs"]
pub mod query;

/// What finds the recording in a form.
#[path = "../../src/serve/multipart.rs"]
pub mod multipart;
