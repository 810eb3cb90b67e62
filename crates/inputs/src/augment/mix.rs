//! Polyphony out of solo clips: other training recordings are added to a clip, and the clip gets their labels, too.
//!
//! A label that any part has is a label of the sum, however soft that part is: unlike mixup, nothing is weighed. Levels are set
//! by the mean square of whole clips: `snr_db` is what the clip has over each part. A part below -100 dB is silence, which nothing
//! lifts: it adds nothing but its labels. To a silent clip parts are added as they are. Parts come from the training side of the
//! split alone, as the company does.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::mixup::row_of;
use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Music, Sound};
use timbre_core::seed::uniform_below;
use timbre_signal::dsp::level;

augment_spec! {
    /// Other training recordings are added to the clip, which then has their labels, too.
    pub struct Mix {
        /// How many. Default: 1.
        pub n: Amount = Amount::Fixed(1.0),
        /// How much louder the clip is than each of them, in decibels. Default: -5 to 5.
        pub snr_db: Amount = Amount::Range(-5.0, 5.0),
        /// How much later each of them begins, as a share of the clip, 0 to 0.9. Default: 0.
        pub offset: Amount = Amount::Fixed(0.0),
        /// Only recordings of the same genre, where the data set names one. Default: false.
        pub same_genre: bool = false,
        /// Only recordings in the same key, as far as it can be estimated. Default: false.
        pub match_key: bool = false,
        /// Only recordings of the same tempo, its double or its half, as far as it can be estimated. Default: false.
        pub match_tempo: bool = false,
        /// How far two tempos may lie apart to be the same, as a share. Default: 0.05.
        #[schemars(range(min = 0.0, max = 0.4))]
        pub tempo_tolerance: f64 = 0.05,
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MixDraw {
    pub parts: Vec<MixedClip>,
}

/// One recording that is added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MixedClip {
    pub clip: String,
    /// Where it is cut: see [`ClipPool::wave`].
    pub cut: u64,
    /// Of the clip over this part.
    pub snr_db: f64,
    /// Samples before it begins.
    pub offset: usize,
}

impl Mix {
    /// Whether a recording may be added to another.
    fn fits(&self, scene: &AugmentContext, other: usize) -> bool {
        let genre = |row: usize| scene.company.companion(row).tags.get("genre");
        let music = |row: usize| scene.company.music(row).unwrap_or_default();
        // What is not known cannot be told to be the same.
        other != scene.row
            && (!self.same_genre || (genre(other).is_some() && genre(other) == genre(scene.row)))
            && (!self.match_key || same_key(music(other), music(scene.row)))
            && (!self.match_tempo || same_tempo(music(other), music(scene.row), self.tempo_tolerance))
    }

    /// A recording that may be added, each as likely as the others; nothing where there is none.
    fn partner(&self, scene: &AugmentContext, rng: &mut ChaCha8Rng) -> Option<usize> {
        if !(self.same_genre || self.wants_music()) {
            return scene.another(rng);
        }
        let fitting: Vec<usize> = (0..scene.company.len()).filter(|&other| self.fits(scene, other)).collect();
        (!fitting.is_empty()).then(|| fitting[uniform_below(rng, fitting.len() as u64) as usize])
    }
}

fn same_key(a: Music, b: Music) -> bool {
    a.key.is_some() && a.key == b.key
}

fn same_tempo(a: Music, b: Music, tolerance: f64) -> bool {
    let (Some(a), Some(b)) = (a.tempo, b.tempo) else { return false };
    let octaves = libm::log2(a / b);
    // The same, the double or the half; four times as fast is another music.
    octaves.abs() < 1.5 && (octaves - octaves.round()).abs() <= libm::log2(1.0 + tolerance)
}

impl AugmentKind for Mix {
    fn version(&self) -> u32 {
        2
    }

    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        let n = self.n.whole_fault(0.0, 100.0).map(|why| ("n".to_owned(), why));
        let snr = self.snr_db.fault(-120.0, 120.0).map(|why| ("snr_db".to_owned(), why));
        // A part that begins at the end would give its labels and not be heard.
        let offset = self.offset.fault(0.0, 0.9).map(|why| ("offset".to_owned(), why));
        [n, snr, offset].into_iter().flatten().collect()
    }

    fn draw(&self, scene: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let mut parts = Vec::new();
        for _ in 0..self.n.draw_whole(rng) {
            let Some(row) = self.partner(scene, rng) else { break };
            parts.push(MixedClip {
                clip: scene.company.companion(row).id.to_owned(),
                cut: rng.next_u64(),
                snr_db: self.snr_db.draw(rng),
                offset: (self.offset.draw(rng) * scene.samples as f64).round() as usize,
            });
        }
        Ok(if parts.is_empty() { Vec::new() } else { vec![MixDraw { parts }.into()] })
    }

    fn wants_music(&self) -> bool {
        self.match_key || self.match_tempo
    }
}

impl Effect for MixDraw {
    fn on_sound(&self, sound: &mut Sound, company: &dyn ClipPool) -> Result<()> {
        let own = mean_square(&sound.samples);
        for part in &self.parts {
            let row = row_of(company, &part.clip)?;
            let wave = company.waveform(row, part.cut)?;
            let theirs = mean_square(&wave);
            let gain = if own > 0.0 && theirs > level::SILENCE {
                (own / theirs).sqrt() * level::db_to_amplitude(-part.snr_db)
            } else {
                1.0
            };
            // A ratio that was written by hand may be any number.
            let gain = Some(gain as f32).filter(|gain| gain.is_finite()).unwrap_or(1.0);
            let later = sound.samples.iter_mut().skip(part.offset);
            later.zip(&wave).for_each(|(sample, added)| *sample += gain * added);
            company.companion(row).labels.iter().for_each(|&label| sound.targets[label] = 1.0);
        }
        Ok(())
    }
}

/// Of a whole clip; in f64, in a fixed order.
fn mean_square(samples: &[f32]) -> f64 {
    // Eight sums that the processor can carry at once.
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
    use crate::augment::tests::{FRIENDS, friends, sound};
    use timbre_core::seed::Seed;
    use timbre_signal::dsp::key::Key;

    fn drawn(spec: &Mix, row: usize, seed: u64) -> Option<MixDraw> {
        let company = friends();
        let scene = AugmentContext { sample_rate: 8000, samples: 800, row, company: &company };
        let mut draws = spec.draw(&scene, &mut Seed::new(seed).rng()).unwrap();
        draws.pop().map(|draw| if let Draw::MixDraw(mix) = draw { mix } else { unreachable!() })
    }

    proptest! {
        #[test]
        fn no_label_of_any_part_is_lost(row in 0..FRIENDS, n in 1u8..5, seed: u64, silent: bool, snr in -60.0f64..60.0) {
            let company = friends();
            let spec = Mix { n: Amount::Fixed(f64::from(n)), snr_db: Amount::Fixed(snr), ..Mix::default() };
            let mix = drawn(&spec, row, seed).unwrap();
            let mut heard = sound(&[if silent { 0.0 } else { 0.5 }; 800]);
            heard.targets = vec![0.0; 3];
            company.companion(row).labels.iter().for_each(|&label| heard.targets[label] = 1.0);
            mix.on_sound(&mut heard, &company).unwrap();
            let parts = mix.parts.iter().map(|part| company.row_of(&part.clip).unwrap()).chain([row]);
            let mut expected = vec![0.0; 3];
            parts.for_each(|row| company.companion(row).labels.iter().for_each(|&label| expected[label] = 1.0));
            prop_assert_eq!(heard.targets, expected);
            prop_assert!(heard.samples.iter().all(|sample| sample.is_finite()));
            prop_assert!(mix.parts.iter().all(|part| part.clip != company.companion(row).id));
        }
    }

    #[test]
    fn the_clip_is_so_much_louder_than_what_is_added() {
        let company = friends();
        for snr_db in [-7.0, 0.0, 12.0] {
            let clip: Vec<f32> = (0..800).map(|n| (n as f32 * 0.1).sin()).collect();
            let mut heard = sound(&clip);
            heard.targets = vec![1.0, 0.0, 0.0];
            let part = MixedClip { clip: company.companion(2).id.to_owned(), cut: 0, snr_db, offset: 0 };
            MixDraw { parts: vec![part] }.on_sound(&mut heard, &company).unwrap();
            let added: Vec<f32> = heard.samples.iter().zip(&clip).map(|(sum, own)| sum - own).collect();
            let found = 10.0 * (mean_square(&clip) / mean_square(&added)).log10();
            assert!((found - snr_db).abs() < 0.01, "{found}, not {snr_db}");
        }
    }

    #[test]
    fn a_part_may_begin_later() {
        let company = friends();
        let mut heard = sound(&[0.0; 800]);
        heard.targets = vec![0.0; 3];
        let part = MixedClip { clip: company.companion(1).id.to_owned(), cut: 0, snr_db: 0.0, offset: 300 };
        MixDraw { parts: vec![part] }.on_sound(&mut heard, &company).unwrap();
        assert!(heard.samples[..300].iter().all(|sample| *sample == 0.0));
        assert!(heard.samples[300..] == company.waveform(1, 0).unwrap()[..500]);
    }

    #[test]
    fn partners_are_chosen_by_genre_key_and_tempo() {
        // Rows 0 and 2 share a genre, 0 and 3 a key, 0 and 4 a tempo (one the double of the other).
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
    fn every_other_clip_is_drawn_as_often() {
        let mut counts = [0; FRIENDS];
        for seed in 0..2000 {
            let mix = drawn(&Mix::default(), 1, seed).unwrap();
            counts[friends().row_of(&mix.parts[0].clip).unwrap()] += 1;
        }
        assert!(
            counts[1] == 0 && counts.iter().enumerate().all(|(row, n)| row == 1 || (430..570).contains(n)),
            "{counts:?}"
        );
    }

    #[test]
    fn what_is_not_known_is_not_the_same() {
        let some = Music { tempo: Some(120.0), key: Some(Key { tonic: 0, minor: false }) };
        assert!(!same_key(Music::default(), Music::default()) && same_key(some, some));
        assert!(!same_tempo(Music::default(), some, 0.1));
        let at = |tempo: f64| Music { tempo: Some(tempo), ..some };
        assert!(same_tempo(at(120.0), at(62.0), 0.05) && !same_tempo(at(120.0), at(64.0), 0.05));
    }

    #[test]
    fn the_double_and_the_half_of_a_tempo_fit_and_a_quarter_does_not() {
        let at = |tempo: f64| Music { tempo: Some(tempo), ..Music::default() };
        for (tempo, fits) in [(50.0, false), (100.0, true), (200.0, true), (400.0, true), (800.0, false)] {
            assert_eq!(same_tempo(at(tempo), at(200.0), 0.05), fits, "{tempo}");
        }
    }

    #[test]
    fn a_part_has_to_begin_before_the_end() {
        assert_eq!(Mix { offset: Amount::Range(0.0, 0.9), ..Mix::default() }.faults(8000), []);
        assert_eq!(Mix { offset: Amount::Fixed(1.0), ..Mix::default() }.faults(8000)[0].0, "offset");
    }

    /// One clip of three samples, so many times as loud as 1.
    struct Single(f32, std::collections::BTreeMap<String, String>);

    impl ClipPool for Single {
        fn len(&self) -> usize {
            1
        }
        fn companion(&self, _row: usize) -> crate::augment::ClipInfo<'_> {
            crate::augment::ClipInfo { id: "one", labels: &[1], song: "", tags: &self.1 }
        }
        fn waveform(&self, _row: usize, _cut: u64) -> Result<Vec<f32>> {
            Ok(vec![self.0; 3])
        }
        fn image(&self, _row: usize, _out: &mut [f32]) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn silence_is_not_lifted_and_no_ratio_makes_a_sample_infinite() {
        let mixed = |loud: f32, snr_db: f64| {
            let mut heard = sound(&[0.5; 3]);
            heard.targets = vec![1.0, 0.0];
            let part = MixedClip { clip: "one".into(), cut: 0, snr_db, offset: 0 };
            MixDraw { parts: vec![part] }.on_sound(&mut heard, &Single(loud, Default::default())).unwrap();
            assert_eq!(heard.targets, [1.0, 1.0]);
            heard.samples[0] - 0.5
        };
        assert!(mixed(9e-6, 0.0).abs() < 1e-5, "below -100 dB it stays where it is");
        assert!((mixed(1.1e-5, 0.0) - 0.5).abs() < 1e-3, "above it is brought to the level of the clip");
        assert!(mixed(0.25, -1e6).is_finite() && mixed(0.0, -1e6) == 0.0);
    }
}
