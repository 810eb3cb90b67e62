//! What reads bytes from strangers, by itself, from the same files as in the library.

#[path = "../../src/audio/mod.rs"]
pub mod audio;

/// What reads the parameters of a request.
#[path = "../../src/serve/ask.rs"]
pub mod ask;

/// What finds the recording in a form.
#[path = "../../src/serve/form.rs"]
pub mod form;
