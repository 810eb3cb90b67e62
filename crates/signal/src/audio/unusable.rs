//! Why a recording is left out of a run: one word for the machine, one sentence for the reader.

use thiserror::Error;

/// A recording that cannot be used. The run lists it in `unusable.jsonl` and goes on.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum Unusable {
    #[error("the file is empty (0 bytes)")]
    Empty,
    #[error("no audio format was recognised in the file: {found}")]
    NotAudio { found: String },
    #[error("the file is audio that cannot be decoded here: {found}")]
    Unsupported { found: String },
    /// Something in the file contradicts its format. A damaged packet makes the whole recording corrupt: dropping the
    /// packet would shorten the recording and shift what comes after it, and nobody would know.
    #[error("the file is damaged after {seconds:.3} s of audio: {found}")]
    Corrupt { seconds: f64, found: String },
    #[error("the file is cut off: its header declares {declared} {unit}, and {found} are there")]
    Truncated { declared: u64, found: u64, unit: &'static str },
    /// NaN, infinity, or a number so large that it can only be damage.
    #[error("sample {frame} (at {seconds:.3} s) is {value}, not a number that can be played")]
    NotFinite { frame: usize, seconds: f64, value: f32 },
    #[error("the recording is silent throughout: all of its {frames} samples are zero once its channels are mixed")]
    Silent { frames: usize },
    #[error("the file has an audio header and no samples")]
    NoSamples,
    #[error("the file cannot be read: {found}")]
    Unreadable { found: String },
    /// Usable elsewhere, perhaps: here it is more than [`DecodeLimits`](super::DecodeLimits) allow.
    #[error("the recording is longer than is heard here ({most}): send a part of it")]
    TooLong { most: String },
    #[error("the recording has {found} channels, more than the {most} that are heard here: mix it down")]
    TooManyChannels { found: u16, most: u16 },
}

impl Unusable {
    /// A stable word for the reason.
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
            Unusable::Unreadable { .. } => "unreadable",
            Unusable::TooLong { .. } => "too_long",
            Unusable::TooManyChannels { .. } => "too_many_channels",
        }
    }

    /// Damage that shows before the first sample.
    pub(super) fn damaged_header(found: impl Into<String>) -> Self {
        Unusable::Corrupt { seconds: 0.0, found: found.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_gives_both_numbers_of_a_cut_off_file() {
        let cut = Unusable::Truncated { declared: 1000, found: 400, unit: "bytes" };
        assert_eq!(cut.code(), "truncated");
        assert_eq!(cut.to_string(), "the file is cut off: its header declares 1000 bytes, and 400 are there");
    }

    #[test]
    fn the_sentence_says_where_the_first_nan_is() {
        let nan = Unusable::NotFinite { frame: 22050, seconds: 0.5, value: f32::NAN };
        assert_eq!(nan.to_string(), "sample 22050 (at 0.500 s) is NaN, not a number that can be played");
    }
}
