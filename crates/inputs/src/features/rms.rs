//! `rms`: the root mean square of the samples of each frame, `librosa.feature.rms`.

use anyhow::Result;

use crate::features::samplewise::OfSamples;

samplewise_spec! {
    "rms",
    /// The root mean square of each frame: one row, one column per frame.
    pub struct Rms {
        /// Whether frame t is centred at sample t × hop_length (the clip is padded with zeros) or starts there. Default true.
        center
    }
}

impl OfSamples for Rms {
    fn row(&self, samples: &[f32]) -> Result<Vec<f32>> {
        let length = samples.len() as isize;
        let level = |[start, end]: [isize; 2]| {
            let inside = &samples[start.clamp(0, length) as usize..end.clamp(0, length) as usize];
            (sum_of_squares(inside) / self.frame_length as f64).sqrt() as f32
        };
        Ok(self.frames().spans(samples.len())?.map(level).collect())
    }
}

fn sum_of_squares(samples: &[f32]) -> f64 {
    let (lanes, rest) = samples.as_chunks::<8>();
    let mut sums = [0.0f64; 8];
    for lane in lanes {
        (0..8).for_each(|i| sums[i] += f64::from(lane[i]) * f64::from(lane[i]));
    }
    sums.iter().sum::<f64>() + rest.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{ClipAnalysis, FeatureKind};
    use timbre_signal::audio::Clip;

    #[test]
    fn the_level_of_a_frame_is_its_root_mean_square_with_zeros_beyond_the_ends() {
        let clip = Clip { samples: vec![3.0, 4.0, 0.0, 0.0, 2.0, 2.0], sample_rate: 8000 };
        let levels = |center| {
            let spec = Rms { frame_length: 4, hop_length: 2, center, ..Rms::default() };
            spec.build(8000).unwrap().extract(&ClipAnalysis::new(&clip)).unwrap().values
        };
        assert_eq!(levels(false), [2.5, 2f32.sqrt()]);
        assert_eq!(levels(true), [2.5, 2.5, 2f32.sqrt(), 2f32.sqrt()]);
    }
}
