//! `remove_silence`: cuts quiet parts out of the clip, as `silence` and `vad` in SoX; what follows them moves up.
//!
//! A part is quiet if none of its samples reaches a threshold below the peak of the clip; SoX compares the level of short windows.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::crop::CropFill;
use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};
use timbre_signal::dsp::level;

augment_spec! {
    /// Cuts out quiet parts; what follows them moves up.
    pub struct RemoveSilence {
        /// Threshold in decibels of the peak. Default: -50 to -30.
        pub threshold_db: Amount = Amount::Range(-50.0, -30.0),
        /// Milliseconds that a quiet part must exceed. Default: 50 to 200.
        pub min_ms: Amount = Amount::Range(50.0, 200.0),
        /// Filling of the end: "zeros", or repetitions of what remains ("repeat"). Default: zeros.
        pub rest: CropFill = CropFill::Zeros,
    }

    pub struct RemoveSilenceDraw {
        pub threshold_db: f64,
        /// In samples.
        pub min: usize,
        pub rest: CropFill,
    }
}

impl Kind for RemoveSilence {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([
            ("threshold_db", self.threshold_db.fault(-120.0, 0.0)),
            ("min_ms", self.min_ms.fault(1.0, 600_000.0)),
        ])
    }
}

impl AugmentKind for RemoveSilence {
    fn draw(&self, context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let threshold_db = self.threshold_db.draw(rng);
        let min = (1e-3 * self.min_ms.draw(rng) * f64::from(context.sample_rate)).round() as usize;
        Ok(vec![RemoveSilenceDraw { threshold_db, min, rest: self.rest }.into()])
    }
}

impl Effect for RemoveSilenceDraw {
    fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        let n = clip.samples.len();
        let threshold = level::peak(&clip.samples) * level::db_to_amplitude(self.threshold_db) as f32;
        let quiet = |sample: &f32| sample.abs() < threshold;
        let mut kept = Vec::with_capacity(n);
        for part in clip.samples.chunk_by(|a, b| quiet(a) == quiet(b)) {
            if !quiet(&part[0]) || part.len() <= self.min {
                kept.extend_from_slice(part);
            }
        }
        clip.samples = match self.rest {
            CropFill::Repeat if !kept.is_empty() => kept.iter().copied().cycle().take(n).collect(),
            _ => kept,
        };
        clip.samples.resize(n, 0.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::kind_tests::{apply, tone};

    fn removed(rest: CropFill, clip: &[f32]) -> Vec<f32> {
        apply(&RemoveSilenceDraw { threshold_db: -20.0, min: 2, rest }, clip)
    }

    #[test]
    fn long_quiet_parts_are_cut_out_and_the_end_is_filled() {
        // The threshold is 0.05. Two quiet samples stay; three, also at an end, do not.
        let clip = [0.04, 0.0, -0.04, 0.5, 0.01, 0.0, -0.06, 0.02, 0.02, 0.03, 0.3, 0.0, 0.0, 0.0];
        let kept = [0.5, 0.01, 0.0, -0.06, 0.3];
        let zeros = removed(CropFill::Zeros, &clip);
        assert_eq!((&zeros[..5], &zeros[5..]), (&kept[..], &[0.0; 9][..]));
        let repeated = removed(CropFill::Repeat, &clip);
        assert!(repeated.len() == 14 && repeated.iter().zip(kept.iter().cycle()).all(|(a, b)| a == b));
    }

    #[test]
    fn a_clip_without_quiet_parts_and_silence_stay_unchanged_at_any_level() {
        for factor in [1.0, 1e-6] {
            let clip: Vec<f32> = tone(500).iter().map(|x| factor * x).collect();
            assert_eq!(removed(CropFill::Zeros, &clip), clip);
        }
        assert_eq!(removed(CropFill::Repeat, &[0.0; 9]), [0.0; 9]);
        assert!(removed(CropFill::Repeat, &[]).is_empty());
    }
}
