//! Limits on the length and channels of a recording: a small uploaded file may hold many hours.

use super::unusable::Unusable;

/// Maximum length and number of channels of a recording.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DecodeLimits {
    pub seconds: f64,
    /// At the rate of the file, after mixing to mono.
    pub samples: usize,
    pub channels: u16,
    /// The TOML key of `seconds`, for the message.
    pub key: Option<&'static str>,
}

impl DecodeLimits {
    /// No limits, for recordings that are decoded block by block.
    pub const NONE: DecodeLimits =
        DecodeLimits { seconds: f64::INFINITY, samples: usize::MAX, channels: u16::MAX, key: None };

    /// The stricter of two limits in every respect.
    pub fn and(self, other: DecodeLimits) -> DecodeLimits {
        DecodeLimits {
            seconds: self.seconds.min(other.seconds),
            samples: self.samples.min(other.samples),
            channels: self.channels.min(other.channels),
            key: if self.seconds <= other.seconds { self.key } else { other.key },
        }
    }

    pub(super) fn check_channels(&self, found: u16) -> Result<(), Unusable> {
        if found > self.channels {
            return Err(Unusable::TooManyChannels { found, most: self.channels });
        }
        Ok(())
    }

    /// Returns an error for a recording of more frames than allowed.
    pub fn check_length(&self, frames: usize, sample_rate: u32) -> Result<(), Unusable> {
        if frames as f64 > self.seconds * f64::from(sample_rate) {
            let key = self.key.map_or_else(String::new, |key| format!(" (`{key}`)"));
            return Err(Unusable::TooLong { most: format!("{} s{key}", self.seconds) });
        }
        if frames > self.samples {
            return Err(Unusable::TooLong { most: format!("{} samples", self.samples) });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_itself_is_allowed_and_no_sample_more() {
        let limits = DecodeLimits { seconds: 2.0, samples: 50, channels: 2, key: Some("audio.max_seconds") };
        assert!(limits.check_length(20, 10).is_ok() && limits.check_channels(2).is_ok());
        assert_eq!(limits.check_length(21, 10).unwrap_err().code(), "too_long");
        assert!(limits.check_length(21, 10).unwrap_err().to_string().contains("2 s (`audio.max_seconds`)"));
        assert_eq!(
            limits.and(DecodeLimits { seconds: 1.0, ..DecodeLimits::NONE }),
            DecodeLimits { seconds: 1.0, key: None, ..limits }
        );
        assert!(limits.check_length(51, 1000).unwrap_err().to_string().contains("50 samples"));
        assert_eq!(limits.check_channels(3).unwrap_err().code(), "too_many_channels");
        assert!(
            DecodeLimits::NONE.check_length(usize::MAX, 1000).is_ok()
                && DecodeLimits::NONE.check_channels(u16::MAX).is_ok()
        );
    }
}
