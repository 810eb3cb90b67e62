//! How much of a recording is decoded: a small file of a stranger may hold many hours.

use super::unusable::Unusable;

/// What a recording may have at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DecodeLimits {
    pub seconds: f64,
    /// At its own rate, once its channels are mixed.
    pub samples: usize,
    pub channels: u16,
}

impl DecodeLimits {
    /// A recording of one's own is taken as it is.
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
        let bounds = DecodeLimits { seconds: 2.0, samples: 50, channels: 2 };
        assert!(bounds.check_length(20, 10).is_ok() && bounds.check_channels(2).is_ok());
        assert_eq!(bounds.check_length(21, 10).unwrap_err().code(), "too_long");
        assert!(bounds.check_length(51, 1000).unwrap_err().to_string().contains("50 samples"));
        assert_eq!(bounds.check_channels(3).unwrap_err().code(), "too_many_channels");
        assert!(
            DecodeLimits::NONE.check_length(usize::MAX, 1000).is_ok()
                && DecodeLimits::NONE.check_channels(u16::MAX).is_ok()
        );
    }
}
