//! Limits on the length and channels of a recording: a small uploaded file may hold many hours.

use super::unusable::Unusable;

/// Maximum length and number of channels of a recording.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DecodeLimits {
    pub seconds: f64,
    /// At the rate of the file, after mixing to mono.
    pub samples: usize,
    pub channels: u16,
}

impl DecodeLimits {
    /// No limits, for the user's own recordings.
    pub const NONE: DecodeLimits = DecodeLimits { seconds: f64::INFINITY, samples: usize::MAX, channels: u16::MAX };

    pub(super) fn check_channels(&self, found: u16) -> Result<(), Unusable> {
        if found > self.channels {
            return Err(Unusable::TooManyChannels { found, most: self.channels });
        }
        Ok(())
    }

    pub(super) fn check_length(&self, frames: usize, sample_rate: u32) -> Result<(), Unusable> {
        if frames as f64 > self.seconds * f64::from(sample_rate) {
            return Err(Unusable::TooLong { most: format!("{} s", self.seconds) });
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
        let limits = DecodeLimits { seconds: 2.0, samples: 50, channels: 2 };
        assert!(limits.check_length(20, 10).is_ok() && limits.check_channels(2).is_ok());
        assert_eq!(limits.check_length(21, 10).unwrap_err().code(), "too_long");
        assert!(limits.check_length(51, 1000).unwrap_err().to_string().contains("50 samples"));
        assert_eq!(limits.check_channels(3).unwrap_err().code(), "too_many_channels");
        assert!(
            DecodeLimits::NONE.check_length(usize::MAX, 1000).is_ok()
                && DecodeLimits::NONE.check_channels(u16::MAX).is_ok()
        );
    }
}
