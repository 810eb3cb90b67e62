//! `concatenate`: a clip becomes a sequence of other training recordings and itself, one after the other with a little overlap, and
//! gets the labels of all of them.
//!
//! All parts have the same length, each from the beginning of its clip, in a random order. Neighbours cross-fade with equal power,
//! since they are not correlated. Levels stay as they are. A label of any part is a label of the sequence, as in [`mix`](super::mix).

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::mix::add_labels;
use super::mixup::row_of;
use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};
use timbre_core::seed::uniform_below;

augment_spec! {
    /// Makes a sequence of the clip and other training recordings, with the labels of all.
    pub struct Concatenate {
        /// Number of recordings beside the clip. Default: 1.
        pub n: Amount = Amount::Fixed(1.0),
        /// Overlap of neighbours in seconds; at most the length of a part. Default: 0.1.
        pub overlap: Amount = Amount::Fixed(0.1),
    }

    pub struct ConcatenateDraw {
        pub parts: Vec<JoinedClip>,
        /// The number of parts before the clip itself.
        pub before: usize,
        /// Overlap in samples.
        pub overlap: usize,
    }
}

/// A recording of the sequence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinedClip {
    pub clip: String,
    /// Where it is cut: see [`ClipPool::waveform`].
    pub cut: u64,
}

impl Kind for Concatenate {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([("n", self.n.whole_fault(0.0, 20.0)), ("overlap", self.overlap.fault(0.0, 60.0))])
    }
}

impl AugmentKind for Concatenate {
    fn draw(&self, context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let mut parts = Vec::new();
        for _ in 0..self.n.draw_whole(rng) {
            let Some(row) = context.another(rng) else { break };
            parts.push(JoinedClip { clip: context.pool.info(row).id.to_owned(), cut: rng.next_u64() });
        }
        if parts.is_empty() {
            return Ok(Vec::new());
        }
        let before = uniform_below(rng, parts.len() as u64 + 1) as usize;
        let overlap = (self.overlap.draw(rng) * f64::from(context.sample_rate)).round() as usize;
        Ok(vec![ConcatenateDraw { parts, before, overlap }.into()])
    }

    fn makes_copies(&self) -> bool {
        false
    }
}

impl Effect for ConcatenateDraw {
    fn apply_to_waveform(&self, clip: &mut Waveform, pool: &dyn ClipPool) -> Result<()> {
        let own = std::mem::take(&mut clip.samples);
        let (samples, count) = (own.len(), self.parts.len() + 1);
        let overlap = self.overlap.min(samples / count);
        // A part reaches half an overlap over its borders.
        let border = |place: usize| samples * place / count;
        let begin = |place: usize| if place == 0 { 0 } else { border(place) - overlap / 2 };
        let end = |place: usize| if place + 1 == count { samples } else { begin(place + 1) + overlap };
        clip.samples = vec![0.0; samples];
        for place in 0..count {
            let other = match place.cmp(&self.before) {
                std::cmp::Ordering::Less => Some(&self.parts[place]),
                std::cmp::Ordering::Equal => None,
                std::cmp::Ordering::Greater => Some(&self.parts[place - 1]),
            };
            let theirs = match other {
                Some(part) => {
                    let row = row_of(pool, &part.clip)?;
                    add_labels(&mut clip.targets, pool.info(row).labels);
                    Some(pool.waveform(row, part.cut)?)
                }
                None => None,
            };
            let (begin, end) = (begin(place), end(place));
            // The gain at a distance from the end of a cross-fade.
            let gain = |distance: usize| match distance < overlap {
                true => (std::f32::consts::FRAC_PI_2 * (distance as f32 + 0.5) / overlap as f32).sin(),
                false => 1.0,
            };
            let target = &mut clip.samples[begin..end];
            for (n, (sum, &sample)) in target.iter_mut().zip(theirs.as_ref().unwrap_or(&own)).enumerate() {
                let fade_in = if place == 0 { 1.0 } else { gain(n) };
                let fade_out = if place + 1 == count { 1.0 } else { gain(end - begin - 1 - n) };
                *sum += sample * fade_in * fade_out;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::augment::tests::{POOL_SIZE, TestClip, TestPool, context, five_clips, waveform};
    use timbre_core::seed::Seed;

    fn pool_of_levels() -> TestPool {
        TestPool::new([0.25, 0.5].map(|level| TestClip {
            id: format!("{level}.wav"),
            labels: vec![(level * 4.0) as usize].into(),
            samples: vec![level; 900],
            ..TestClip::default()
        }))
    }

    fn part(clip: &str) -> JoinedClip {
        JoinedClip { clip: clip.into(), cut: 0 }
    }

    #[test]
    fn the_parts_follow_one_another_and_the_clip_gets_their_labels() {
        let mut output = waveform(&[1.0; 900]);
        output.targets = vec![1.0, 0.0, 0.0];
        let draw = ConcatenateDraw { parts: vec![part("0.25.wav"), part("0.5.wav")], before: 1, overlap: 0 };
        draw.apply_to_waveform(&mut output, &pool_of_levels()).unwrap();
        let levels: Vec<f32> = [150, 450, 750].map(|n| output.samples[n]).to_vec();
        assert_eq!(levels, [0.25, 1.0, 0.5]);
        assert!(output.samples[..300].iter().all(|&sample| sample == 0.25));
        assert_eq!(output.targets, [1.0, 1.0, 1.0]);
    }

    #[test]
    fn neighbours_overlap_with_constant_power() {
        let mut output = waveform(&[1.0; 900]);
        output.targets = vec![1.0, 0.0, 0.0];
        let draw = ConcatenateDraw { parts: vec![part("0.5.wav")], before: 0, overlap: 100 };
        draw.apply_to_waveform(&mut output, &pool_of_levels()).unwrap();
        assert!(output.samples[..400].iter().all(|&sample| sample == 1.0));
        assert!(output.samples[500..].iter().all(|&sample| sample == 0.5));
        // a = 1 · cos and b = 0.5 · sin: cos² + sin² = 1.
        for n in 400..500 {
            let angle = std::f32::consts::FRAC_PI_2 * (n as f32 - 399.5) / 100.0;
            let expected = angle.cos() + 0.5 * angle.sin();
            assert!((output.samples[n] - expected).abs() < 1e-3, "{n}: {} {expected}", output.samples[n]);
        }
    }

    proptest! {
        #[test]
        fn the_length_stays_and_the_labels_are_those_of_all_parts(
            row in 0..POOL_SIZE, n in 1u8..8, overlap in 0.0f64..2.0, seed: u64, samples in 1usize..900,
        ) {
            let pool = five_clips();
            let spec = Concatenate { n: Amount::Fixed(f64::from(n)), overlap: Amount::Fixed(overlap), ..Concatenate::default() };
            let mut draws = spec.draw(&context(&pool, row), &mut Seed::new(seed).rng()).unwrap();
            let Draw::ConcatenateDraw(draw) = draws.remove(0) else { unreachable!() };
            prop_assert_eq!(draw.parts.len(), usize::from(n));
            prop_assert!(draw.before <= draw.parts.len());
            let mut output = waveform(&vec![0.5; samples]);
            output.targets = vec![0.0; 3];
            pool.info(row).labels.iter().for_each(|&label| output.targets[label] = 1.0);
            draw.apply_to_waveform(&mut output, &pool).unwrap();
            let mut expected = vec![0.0; 3];
            let rows = draw.parts.iter().map(|part| pool.row_of(&part.clip).unwrap()).chain([row]);
            rows.for_each(|row| pool.info(row).labels.iter().for_each(|&label| expected[label] = 1.0));
            prop_assert_eq!(output.targets, expected);
            prop_assert_eq!(output.samples.len(), samples);
            prop_assert!(output.samples.iter().all(|sample| sample.is_finite()));
        }
    }
}
