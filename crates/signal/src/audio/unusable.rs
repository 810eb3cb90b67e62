//! Why a recording cannot be used: a code for programs and a sentence for people.

use thiserror::Error;

/// A recording that cannot be used. The run lists it in `unusable.jsonl` and continues.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum Unusable {
    #[error("the file is empty (0 bytes)")]
    Empty,
    #[error("not a supported audio file: {found}")]
    NotAudio { found: String },
    #[error("unsupported audio: {found}")]
    Unsupported { found: String },
    /// The content contradicts its format. A damaged packet makes the whole recording corrupt: dropping the packet would
    /// silently shorten the recording and shift everything after it.
    #[error("the file is damaged after {seconds:.3} s of audio: {found}")]
    Corrupt { seconds: f64, found: String },
    #[error("the file is truncated: its header declares {declared} {unit}, but it has {found}")]
    Truncated { declared: u64, found: u64, unit: &'static str },
    /// NaN, infinity, or a number so large that it can only be damage.
    #[error("sample {frame} (at {seconds:.3} s) is {value}, not a finite sample")]
    NotFinite { frame: usize, seconds: f64, value: f32 },
    #[error("the recording is silent: all {frames} samples are zero after mixing to mono")]
    Silent { frames: usize },
    #[error("the file has an audio header but no samples")]
    NoSamples,
    #[error("the excerpt begins at {start} s, and the recording has only {seconds:.3} s")]
    OutsideRecording { start: f64, seconds: f64 },
    #[error("the file cannot be read: {found}")]
    Unreadable { found: String },
    /// The recording exceeds [`DecodeLimits`](super::DecodeLimits); it may be usable elsewhere.
    #[error("the recording is longer than the limit of {most}: use a part of it")]
    TooLong { most: String },
    #[error("the recording has {found} channels, more than the limit of {most}: mix it down")]
    TooManyChannels { found: u16, most: u16 },
    /// Depends on the machine, so it must not be remembered.
    #[error("the recording does not fit in memory after {seconds:.0} s: set `audio.clip_seconds`, or cut it")]
    OutOfMemory { seconds: f64 },
}

impl Unusable {
    /// A stable code of the reason.
    pub fn code(&self) -> &'static str {
        match self {
            Unusable::Empty => "empty",
            Unusable::NotAudio { .. } => "not_audio",
            Unusable::Unsupported { .. } => "unsupported",
            Unusable::Corrupt { .. } => "corrupt",
            Unusable::Truncated { .. } => "truncated",
            Unusable::NotFinite { .. } => "not_finite",
            Unusable::Silent { .. } => "silent",
            Unusable::NoSamples => "no_samples",
            Unusable::OutsideRecording { .. } => "outside",
            Unusable::Unreadable { .. } => "unreadable",
            Unusable::TooLong { .. } => "too_long",
            Unusable::TooManyChannels { .. } => "too_many_channels",
            Unusable::OutOfMemory { .. } => "out_of_memory",
        }
    }

    /// Whether another attempt may find the same bytes usable.
    pub fn is_passing(&self) -> bool {
        matches!(self, Unusable::Unreadable { .. } | Unusable::OutOfMemory { .. })
    }

    /// Damage found before the first sample.
    pub(super) fn damaged_header(found: impl Into<String>) -> Self {
        Unusable::Corrupt { seconds: 0.0, found: found.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_gives_both_numbers_of_a_truncated_file() {
        let cut = Unusable::Truncated { declared: 1000, found: 400, unit: "bytes" };
        assert_eq!(cut.code(), "truncated");
        assert_eq!(cut.to_string(), "the file is truncated: its header declares 1000 bytes, but it has 400");
    }

    #[test]
    fn the_message_gives_the_position_of_the_first_nan() {
        let nan = Unusable::NotFinite { frame: 22050, seconds: 0.5, value: f32::NAN };
        assert_eq!(nan.to_string(), "sample 22050 (at 0.500 s) is NaN, not a finite sample");
    }
}
