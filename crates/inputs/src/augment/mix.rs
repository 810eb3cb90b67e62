//! `mix`: makes polyphonic examples of solo clips. It adds other training recordings to a clip, and the clip gets their
//! labels.
//!
//! A label of any part is a label of the sum, however soft that part is: unlike mixup, labels have no weights. Levels
//! are mean squares of whole clips: `snr_db` is the level of the clip relative to each part. A part below -100 dB
//! counts as silence and is not amplified: it adds only its labels. Parts are added unscaled to a silent clip. Parts
//! come from the training split alone, as all clips of the pool do.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::mixup::row_of;
use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, TempoAndKey, Waveform};
use timbre_core::{labels::Labels, seed::uniform_below};
use timbre_signal::dsp::level;

augment_spec! {
    /// Adds other training recordings to the clip, which gets their labels too.
    pub struct Mix {
        /// Number of recordings to add. Default: 1.
        pub n: Amount = Amount::Fixed(1.0),
        /// Level of the clip relative to each added recording, in decibels. Default: -5 to 5.
        pub snr_db: Amount = Amount::Range(-5.0, 5.0),
        /// Delay of each added recording as a share of the clip, 0 to 0.9. Default: 0.
        pub offset: Amount = Amount::Fixed(0.0),
        /// Whether every added recording has other labels than the clip and the others: `n` different instruments. Default: false.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        pub distinct: bool = false,
        /// Whether to add only recordings of the same genre, if the data set has genres. Default: false.
        pub same_genre: bool = false,
        /// Whether to add only recordings in the same estimated key. Default: false.
        pub match_key: bool = false,
        /// Whether to add only recordings of the same estimated tempo, its double or its half. Default: false.
        pub match_tempo: bool = false,
        /// Largest relative difference of two tempos that count as the same. Default: 0.05.
        #[schemars(range(min = 0.0, max = 0.4))]
        pub tempo_tolerance: f64 = 0.05,
    }

    pub struct MixDraw {
        pub parts: Vec<MixedClip>,
    }
}

/// A recording that is added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MixedClip {
    pub clip: String,
    /// Where it is cut: see [`ClipPool::waveform`].
    pub cut: u64,
    /// Level of the clip relative to this part.
    pub snr_db: f64,
    /// Delay in samples.
    pub offset: usize,
}

impl Mix {
    /// Whether the recording `other` may be added to the clip of `context`, to which the others of `rows` were added.
    fn fits(&self, context: &AugmentContext, rows: &[usize], other: usize) -> bool {
        let genre = |row: usize| context.pool.info(row).tags.get("genre");
        let tempo_and_key = |row: usize| context.pool.tempo_and_key(row).unwrap_or_default();
        // An unknown value equals no other.
        other != context.row
            && (!self.distinct
                || rows
                    .iter()
                    .all(|&row| share_no_label(context.pool.info(row).labels, context.pool.info(other).labels)))
            && (!self.same_genre || (genre(other).is_some() && genre(other) == genre(context.row)))
            && (!self.match_key || same_key(tempo_and_key(other), tempo_and_key(context.row)))
            && (!self.match_tempo || same_tempo(tempo_and_key(other), tempo_and_key(context.row), self.tempo_tolerance))
    }

    /// A random recording that may be added, uniform over all of them; `None` if there is none.
    fn partner(&self, context: &AugmentContext, rows: &[usize], rng: &mut ChaCha8Rng) -> Option<usize> {
        if !(self.distinct || self.same_genre || self.needs_tempo_and_key()) {
            return context.another(rng);
        }
        let fitting: Vec<usize> = (0..context.pool.len()).filter(|&other| self.fits(context, rows, other)).collect();
        (!fitting.is_empty()).then(|| fitting[uniform_below(rng, fitting.len() as u64) as usize])
    }
}

fn share_no_label(a: &[usize], b: &[usize]) -> bool {
    a.iter().all(|label| !b.contains(label))
}

fn same_key(a: TempoAndKey, b: TempoAndKey) -> bool {
    a.key.is_some() && a.key == b.key
}

fn same_tempo(a: TempoAndKey, b: TempoAndKey, tolerance: f64) -> bool {
    let (Some(a), Some(b)) = (a.tempo, b.tempo) else { return false };
    let octaves = libm::log2(a / b);
    // The same tempo, its double or its half; four times the tempo is different music.
    octaves.abs() < 1.5 && (octaves - octaves.round()).abs() <= libm::log2(1.0 + tolerance)
}

impl Kind for Mix {
    fn version(&self) -> u32 {
        2
    }

    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([
            ("n", self.n.whole_fault(0.0, 100.0)),
            ("snr_db", self.snr_db.fault(-120.0, 120.0)),
            // A part that begins at the end would add its labels without any sound.
            ("offset", self.offset.fault(0.0, 0.9)),
        ])
    }
}

impl AugmentKind for Mix {
    fn draw(&self, context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let mut parts = Vec::new();
        let mut rows = vec![context.row];
        for _ in 0..self.n.draw_whole(rng) {
            let Some(row) = self.partner(context, &rows, rng) else { break };
            rows.push(row);
            parts.push(MixedClip {
                clip: context.pool.info(row).id.to_owned(),
                cut: rng.next_u64(),
                snr_db: self.snr_db.draw(rng),
                offset: (self.offset.draw(rng) * context.samples as f64).round() as usize,
            });
        }
        Ok(if parts.is_empty() { Vec::new() } else { vec![MixDraw { parts }.into()] })
    }

    fn makes_copies(&self) -> bool {
        false
    }

    fn needs_tempo_and_key(&self) -> bool {
        self.match_key || self.match_tempo
    }
}

impl Effect for MixDraw {
    fn apply_to_waveform(&self, clip: &mut Waveform, pool: &dyn ClipPool) -> Result<()> {
        let own = mean_square(&clip.samples);
        for part in &self.parts {
            let row = row_of(pool, &part.clip)?;
            let samples = pool.waveform(row, part.cut)?;
            let theirs = mean_square(&samples);
            let gain = if own > 0.0 && theirs > level::SILENCE {
                (own / theirs).sqrt() * level::db_to_amplitude(-part.snr_db)
            } else {
                1.0
            };
            // A ratio written by hand may be any number.
            let gain = Some(gain as f32).filter(|gain| gain.is_finite()).unwrap_or(1.0);
            let later = clip.samples.iter_mut().skip(part.offset);
            later.zip(&samples).for_each(|(sample, added)| *sample += gain * added);
            add_labels(&mut clip.targets, pool.info(row).labels);
        }
        Ok(())
    }
}

/// Gives a clip the labels of another clip that it contains.
pub(super) fn add_labels(targets: &mut [f32], labels: &Labels) {
    labels.iter().for_each(|&label| targets[label] = 1.0);
    // What is present in one of the clips is present in both together; otherwise an unknown class stays unknown.
    for &label in labels.unknown() {
        if targets[label] != 1.0 {
            targets[label] = f32::NAN;
        }
    }
}

/// The mean square of a clip; summed in f64, in a fixed order.
fn mean_square(samples: &[f32]) -> f64 {
    // Eight independent sums fill the vector registers.
    let mut sums = [0.0f64; 8];
    let chunks = samples.chunks_exact(8);
    let rest: f64 = chunks.remainder().iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    for chunk in chunks {
        sums.iter_mut().zip(chunk).for_each(|(sum, &x)| *sum += f64::from(x) * f64::from(x));
    }
    (sums.iter().sum::<f64>() + rest) / samples.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::augment::tests::{POOL_SIZE, TestClip, TestPool, context, five_clips, waveform};
    use timbre_core::seed::Seed;
    use timbre_signal::dsp::key::Key;

    fn drawn(spec: &Mix, row: usize, seed: u64) -> Option<MixDraw> {
        let pool = five_clips();
        let context = context(&pool, row);
        let mut draws = spec.draw(&context, &mut Seed::new(seed).rng()).unwrap();
        draws.pop().map(|draw| if let Draw::MixDraw(mix) = draw { mix } else { unreachable!() })
    }

    proptest! {
        #[test]
        fn the_sum_has_the_labels_of_all_parts(row in 0..POOL_SIZE, n in 1u8..5, seed: u64, silent: bool, snr in -60.0f64..60.0) {
            let pool = five_clips();
            let spec = Mix { n: Amount::Fixed(f64::from(n)), snr_db: Amount::Fixed(snr), ..Mix::default() };
            let mix = drawn(&spec, row, seed).unwrap();
            let mut output = waveform(&[if silent { 0.0 } else { 0.5 }; 800]);
            output.targets = vec![0.0; 3];
            pool.info(row).labels.iter().for_each(|&label| output.targets[label] = 1.0);
            mix.apply_to_waveform(&mut output, &pool).unwrap();
            let parts = mix.parts.iter().map(|part| pool.row_of(&part.clip).unwrap()).chain([row]);
            let mut expected = vec![0.0; 3];
            parts.for_each(|row| pool.info(row).labels.iter().for_each(|&label| expected[label] = 1.0));
            prop_assert_eq!(output.targets, expected);
            prop_assert!(output.samples.iter().all(|sample| sample.is_finite()));
            prop_assert!(mix.parts.iter().all(|part| part.clip != pool.info(row).id));
        }
    }

    #[test]
    fn the_clip_exceeds_the_added_part_by_the_ratio() {
        let pool = five_clips();
        for snr_db in [-7.0, 0.0, 12.0] {
            let clip: Vec<f32> = (0..800).map(|n| (n as f32 * 0.1).sin()).collect();
            let mut output = waveform(&clip);
            output.targets = vec![1.0, 0.0, 0.0];
            let part = MixedClip { clip: pool.info(2).id.to_owned(), cut: 0, snr_db, offset: 0 };
            MixDraw { parts: vec![part] }.apply_to_waveform(&mut output, &pool).unwrap();
            let added: Vec<f32> = output.samples.iter().zip(&clip).map(|(sum, own)| sum - own).collect();
            let found = 10.0 * (mean_square(&clip) / mean_square(&added)).log10();
            assert!((found - snr_db).abs() < 0.01, "{found}, not {snr_db}");
        }
    }

    #[test]
    fn a_part_may_begin_later() {
        let pool = five_clips();
        let mut output = waveform(&[0.0; 800]);
        output.targets = vec![0.0; 3];
        let part = MixedClip { clip: pool.info(1).id.to_owned(), cut: 0, snr_db: 0.0, offset: 300 };
        MixDraw { parts: vec![part] }.apply_to_waveform(&mut output, &pool).unwrap();
        assert!(output.samples[..300].iter().all(|sample| *sample == 0.0));
        assert!(output.samples[300..] == pool.waveform(1, 0).unwrap()[..500]);
    }

    #[test]
    fn partners_are_chosen_by_genre_key_and_tempo() {
        // Rows 0 and 2 share a genre, 0 and 3 a key, 0 and 4 a tempo (one is the double of the other).
        let only = |spec: Mix, expected: &str| {
            for seed in 0..40 {
                assert_eq!(drawn(&spec, 0, seed).unwrap().parts[0].clip, expected);
            }
        };
        only(Mix { same_genre: true, ..Mix::default() }, "2.wav");
        only(Mix { match_key: true, ..Mix::default() }, "3.wav");
        only(Mix { match_tempo: true, ..Mix::default() }, "4.wav");
        assert_eq!(drawn(&Mix { match_key: true, same_genre: true, ..Mix::default() }, 0, 1), None);
    }

    #[test]
    fn distinct_parts_share_no_label_with_the_clip_or_each_other() {
        let pool = five_clips();
        for seed in 0..40 {
            for row in 0..POOL_SIZE {
                let spec = Mix { n: Amount::Fixed(4.0), distinct: true, ..Mix::default() };
                let mix = drawn(&spec, row, seed);
                let parts = mix.iter().flat_map(|mix| &mix.parts).map(|part| pool.row_of(&part.clip).unwrap());
                let labels: Vec<usize> = parts.chain([row]).flat_map(|row| pool.info(row).labels.to_vec()).collect();
                let different: std::collections::BTreeSet<usize> = labels.iter().copied().collect();
                assert_eq!(labels.len(), different.len(), "{labels:?}");
                assert_eq!(different.len(), 3, "as many as there are classes");
            }
        }
    }

    #[test]
    fn every_other_clip_is_drawn_with_equal_probability() {
        let mut counts = [0; POOL_SIZE];
        for seed in 0..2000 {
            let mix = drawn(&Mix::default(), 1, seed).unwrap();
            counts[five_clips().row_of(&mix.parts[0].clip).unwrap()] += 1;
        }
        assert!(
            counts[1] == 0 && counts.iter().enumerate().all(|(row, n)| row == 1 || (430..570).contains(n)),
            "{counts:?}"
        );
    }

    #[test]
    fn an_unknown_key_or_tempo_equals_no_other() {
        let some = TempoAndKey { tempo: Some(120.0), key: Some(Key { tonic: 0, minor: false }) };
        assert!(!same_key(TempoAndKey::default(), TempoAndKey::default()) && same_key(some, some));
        assert!(!same_tempo(TempoAndKey::default(), some, 0.1));
        let at = |tempo: f64| TempoAndKey { tempo: Some(tempo), ..some };
        assert!(same_tempo(at(120.0), at(62.0), 0.05) && !same_tempo(at(120.0), at(64.0), 0.05));
    }

    #[test]
    fn double_and_half_tempo_match_and_a_quarter_does_not() {
        let at = |tempo: f64| TempoAndKey { tempo: Some(tempo), ..TempoAndKey::default() };
        for (tempo, fits) in [(50.0, false), (100.0, true), (200.0, true), (400.0, true), (800.0, false)] {
            assert_eq!(same_tempo(at(tempo), at(200.0), 0.05), fits, "{tempo}");
        }
    }

    #[test]
    fn a_part_must_begin_before_the_end() {
        assert_eq!(Mix { offset: Amount::Range(0.0, 0.9), ..Mix::default() }.faults(8000), []);
        assert_eq!(Mix { offset: Amount::Fixed(1.0), ..Mix::default() }.faults(8000)[0].key, "offset");
    }

    #[test]
    fn silence_is_not_amplified_and_no_ratio_makes_a_sample_infinite() {
        let pool = |value| {
            TestPool::new([TestClip {
                id: "one".into(),
                labels: vec![1].into(),
                samples: vec![value; 3],
                ..TestClip::default()
            }])
        };
        let mixed = |loud: f32, snr_db: f64| {
            let mut output = waveform(&[0.5; 3]);
            output.targets = vec![1.0, 0.0];
            let part = MixedClip { clip: "one".into(), cut: 0, snr_db, offset: 0 };
            MixDraw { parts: vec![part] }.apply_to_waveform(&mut output, &pool(loud)).unwrap();
            assert_eq!(output.targets, [1.0, 1.0]);
            output.samples[0] - 0.5
        };
        assert!(mixed(9e-6, 0.0).abs() < 1e-5, "below -100 dB it is not amplified");
        assert!((mixed(1.1e-5, 0.0) - 0.5).abs() < 1e-3, "above -100 dB it is brought to the level of the clip");
        assert!(mixed(0.25, -1e6).is_finite() && mixed(0.0, -1e6) == 0.0);
    }

    #[test]
    fn an_unknown_class_stays_unknown_unless_a_part_has_it() {
        let labels = timbre_core::labels::Labels::new(vec![0], vec![1, 2]);
        let clip = TestClip { id: "one".into(), labels, samples: vec![0.1; 3], ..TestClip::default() };
        let mut output = waveform(&[0.5; 3]);
        // Unknown, present, absent and unknown in the clip itself.
        output.targets = vec![f32::NAN, 1.0, 0.0, f32::NAN];
        let part = MixedClip { clip: "one".into(), cut: 0, snr_db: 0.0, offset: 0 };
        MixDraw { parts: vec![part] }.apply_to_waveform(&mut output, &TestPool::new([clip])).unwrap();
        assert_eq!(output.targets[..2], [1.0, 1.0]);
        assert!(output.targets[2].is_nan() && output.targets[3].is_nan(), "{:?}", output.targets);
    }
}
