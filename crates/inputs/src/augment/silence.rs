//! Segments set to zero.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spec::faults_of;
use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Sound};
use timbre_core::seed::uniform_below;

augment_spec! {
    /// Segments of the clip are set to zero.
    pub struct Silence {
        /// How many; they may overlap. Default: 1.
        pub segments: Amount = Amount::Fixed(1.0),
        /// How long each is, as a share of the clip. Default: 0.05 to 0.25.
        pub share: Amount = Amount::Range(0.05, 0.25),
        /// Milliseconds of fading out before a segment and in after it, so that nothing clicks. Default: 0.
        pub fade_ms: Amount = Amount::Fixed(0.0),
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SilenceDraw {
    /// Start and length of each segment, in samples.
    pub segments: Vec<[usize; 2]>,
    /// Samples of fading at each side, outside the segment.
    pub fade: usize,
}

impl AugmentKind for Silence {
    fn version(&self) -> u32 {
        1
    }

    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        faults_of([
            ("segments", self.segments.whole_fault(0.0, 1000.0)),
            ("share", self.share.fault(0.0, 1.0)),
            ("fade_ms", self.fade_ms.fault(0.0, 60_000.0)),
        ])
    }

    fn draw(&self, scene: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let segment = |rng: &mut ChaCha8Rng| {
            let length = (self.share.draw(rng) * scene.samples as f64).round() as usize;
            [uniform_below(rng, (scene.samples - length.min(scene.samples)) as u64 + 1) as usize, length]
        };
        let segments = (0..self.segments.draw_whole(rng)).map(|_| segment(rng)).collect();
        let fade = (self.fade_ms.draw(rng) * 1e-3 * f64::from(scene.sample_rate)).round() as usize;
        Ok(vec![SilenceDraw { segments, fade }.into()])
    }
}

impl Effect for SilenceDraw {
    fn fault(&self) -> Option<String> {
        // One more, as the fade is divided by what follows it.
        let end = |[start, length]: [usize; 2]| start.checked_add(length)?.checked_add(self.fade)?.checked_add(1);
        let beyond = self.segments.iter().find(|segment| end(**segment).is_none())?;
        Some(format!("`segments`: {beyond:?} with a fade of {} ends beyond all samples", self.fade))
    }

    fn on_sound(&self, sound: &mut Sound, _company: &dyn ClipPool) -> Result<()> {
        let samples = &mut sound.samples;
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
    use crate::augment::probe::drawn;
    use crate::augment::tests::{alone, sound};

    #[test]
    fn a_segment_is_zero_and_the_rest_as_it_was() {
        let mut heard = sound(&[1.0; 8]);
        SilenceDraw { segments: vec![[2, 3]], fade: 0 }.on_sound(&mut heard, &alone()).unwrap();
        assert_eq!(heard.samples, [1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn fades_lie_outside_of_the_segment() {
        let mut heard = sound(&[1.0; 8]);
        SilenceDraw { segments: vec![[3, 2]], fade: 3 }.on_sound(&mut heard, &alone()).unwrap();
        assert_eq!(heard.samples, [0.75, 0.5, 0.25, 0.0, 0.0, 0.25, 0.5, 0.75]);
    }

    proptest! {
        #[test]
        fn as_many_segments_as_asked_for_lie_within_the_clip(samples in 0usize..500, segments in 0.0f64..5.0, seed: u64) {
            let spec = Silence { segments: Amount::Fixed(segments.floor()), ..Default::default() };
            let Draw::SilenceDraw(draw) = drawn(&spec, samples, seed).remove(0) else { panic!("one draw") };
            prop_assert_eq!(draw.segments.len(), segments as usize);
            prop_assert!(draw.segments.iter().all(|[start, length]| start + length <= samples));
        }
    }
}
