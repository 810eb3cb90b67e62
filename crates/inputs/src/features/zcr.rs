//! `zcr`: the zero-crossing rate, `librosa.feature.zero_crossing_rate`: the share of the samples of a frame whose sign differs
//! from that of the sample before.
//!
//! As in librosa, the sign of a sample of at most 1e-10 is that of zero, the first sample of a frame is not counted, and a
//! centred clip is continued by its first and last sample.

use anyhow::Result;

use crate::features::samplewise::OfSamples;

samplewise_spec! {
    "zcr",
    /// The zero-crossing rate of each frame: one row, one column per frame.
    pub struct Zcr {
        /// Whether frame t is centred at sample t × hop_length (the clip is padded) or starts there. Default true.
        center
    }
}

/// Samples of at most this size count as zero.
const THRESHOLD: f32 = 1e-10;

impl OfSamples for Zcr {
    fn row(&self, samples: &[f32]) -> Result<Vec<f32>> {
        // crossings[i]: how many of the samples 1 to i have another sign than the one before.
        let is_negative = |x: f32| x < -THRESHOLD;
        let mut count = 0u32;
        let crossings: Vec<u32> = std::iter::once(0)
            .chain(samples.windows(2).map(|pair| {
                count += u32::from(is_negative(pair[0]) != is_negative(pair[1]));
                count
            }))
            .collect();
        let rate = |[start, end]: [isize; 2]| {
            let at = |i: isize| crossings[i.clamp(0, samples.len() as isize - 1) as usize];
            (f64::from(at(end - 1) - at(start)) / self.frame_length as f64) as f32
        };
        Ok(self.frames().spans(samples.len())?.map(rate).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{ClipAnalysis, FeatureKind};
    use timbre_signal::audio::Clip;

    fn rates(spec: &Zcr, samples: &[f32]) -> Vec<f32> {
        let clip = Clip { samples: samples.to_vec(), sample_rate: 8000 };
        spec.build(8000).unwrap().extract(&ClipAnalysis::new(&clip)).unwrap().values
    }

    #[test]
    fn every_change_of_sign_within_a_frame_counts() {
        let spec = Zcr { frame_length: 4, hop_length: 2, center: false, ..Zcr::default() };
        assert_eq!(rates(&spec, &[1.0, -1.0, 1.0, 1.0, -1.0, -1.0]), [0.5, 0.25]);
        // Zero has the sign of positive samples, and so have samples next to it.
        assert_eq!(rates(&spec, &[1.0, 0.0, -1e-11, 1.0]), [0.0]);
    }

    #[test]
    fn a_centred_clip_continues_with_its_first_and_last_sample() {
        let spec = Zcr { frame_length: 4, hop_length: 2, center: true, ..Zcr::default() };
        assert_eq!(rates(&spec, &[1.0, -1.0, 1.0]), [0.25, 0.5]);
    }
}
