//! Splits that never cut a song in two.
