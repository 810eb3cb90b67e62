//! `silence`: sets segments of the clip to zero.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};
use timbre_core::seed::uniform_below;

augment_spec! {
    /// Sets segments of the clip to zero.
    pub struct Silence {
        /// Number of segments; they may overlap. Default: 1.
        pub segments: Amount = Amount::Fixed(1.0),
        /// Length of each segment as a share of the clip. Default: 0.05 to 0.25.
        pub share: Amount = Amount::Range(0.05, 0.25),
        /// Milliseconds of fade-out before and fade-in after each segment, which avoid clicks. Default: 0.
        pub fade_ms: Amount = Amount::Fixed(0.0),
    }

    pub struct SilenceDraw {
        /// Start and length of each segment, in samples.
        pub segments: Vec<[usize; 2]>,
        /// Length of each fade in samples; fades lie outside the segment.
        pub fade: usize,
    }
}

impl Kind for Silence {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([
            ("segments", self.segments.whole_fault(0.0, 1000.0)),
            ("share", self.share.fault(0.0, 1.0)),
            ("fade_ms", self.fade_ms.fault(0.0, 60_000.0)),
        ])
    }
}

impl AugmentKind for Silence {
    fn draw(&self, context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let segment = |rng: &mut ChaCha8Rng| {
            let length = (self.share.draw(rng) * context.samples as f64).round() as usize;
            [uniform_below(rng, (context.samples - length.min(context.samples)) as u64 + 1) as usize, length]
        };
        let segments = (0..self.segments.draw_whole(rng)).map(|_| segment(rng)).collect();
        let fade = (self.fade_ms.draw(rng) * 1e-3 * f64::from(context.sample_rate)).round() as usize;
        Ok(vec![SilenceDraw { segments, fade }.into()])
    }
}

impl Effect for SilenceDraw {
    fn fault(&self) -> Option<String> {
        // One more, because the fade is divided by `fade + 1`.
        let end = |[start, length]: [usize; 2]| start.checked_add(length)?.checked_add(self.fade)?.checked_add(1);
        let beyond = self.segments.iter().find(|segment| end(**segment).is_none())?;
        Some(format!("`segments`: {beyond:?} with a fade of {} exceeds the largest sample index", self.fade))
    }

    fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        let samples = &mut clip.samples;
        for &[start, length] in &self.segments {
            let start = start.min(samples.len());
            let end = (start + length).min(samples.len());
            samples[start..end].fill(0.0);
            let weight = |away: usize| away as f32 / (self.fade + 1) as f32;
            for away in 1..=self.fade {
                if let Some(sample) = start.checked_sub(away).and_then(|at| samples.get_mut(at)) {
                    *sample *= weight(away);
                }
                if let Some(sample) = samples.get_mut(end + away - 1) {
                    *sample *= weight(away);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::augment::kind_tests::drawn;
    use crate::augment::tests::{empty_pool, waveform};

    #[test]
    fn a_segment_is_zero_and_the_rest_is_unchanged() {
        let mut output = waveform(&[1.0; 8]);
        SilenceDraw { segments: vec![[2, 3]], fade: 0 }.apply_to_waveform(&mut output, &empty_pool()).unwrap();
        assert_eq!(output.samples, [1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn fades_lie_outside_the_segment() {
        let mut output = waveform(&[1.0; 8]);
        SilenceDraw { segments: vec![[3, 2]], fade: 3 }.apply_to_waveform(&mut output, &empty_pool()).unwrap();
        assert_eq!(output.samples, [0.75, 0.5, 0.25, 0.0, 0.0, 0.25, 0.5, 0.75]);
    }

    proptest! {
        #[test]
        fn the_requested_number_of_segments_lies_within_the_clip(samples in 0usize..500, segments in 0.0f64..5.0, seed: u64) {
            let spec = Silence { segments: Amount::Fixed(segments.floor()), ..Default::default() };
            let Draw::SilenceDraw(draw) = drawn(&spec, samples, seed).remove(0) else { panic!("one draw") };
            prop_assert_eq!(draw.segments.len(), segments as usize);
            prop_assert!(draw.segments.iter().all(|[start, length]| start + length <= samples));
        }
    }
}
