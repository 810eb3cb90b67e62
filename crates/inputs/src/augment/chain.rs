//! The augmentations of one network, one after the other: drawn for a clip of an epoch, then done.
//!
//! Each augmentation draws from a stream of its own, named after it: one more or one less in the chain changes nothing of what
//! the others do.

use anyhow::{Context, Result};
use rand_chacha::ChaCha8Rng;

use super::{AugmentContext, AugmentSpec, ClipPool, Draw, Image, Sound};
use timbre_core::seed::{Seed, uniform};

/// Raised by hand when the same draws are done in another order or otherwise than before.
pub const VERSION: u32 = 1;

impl AugmentSpec {
    /// What the key `augment` of a model calls it.
    pub fn name(&self) -> &str {
        self.as_kind().name().unwrap_or(self.kind())
    }

    /// Draws whether it happens at all, then what happens.
    pub(super) fn draw_by_chance(&self, scene: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let kind = self.as_kind();
        if uniform(rng) < kind.p() { kind.draw(scene, rng) } else { Ok(Vec::new()) }
    }
}

/// Augmentations in the order of the experiment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chain(Vec<AugmentSpec>);

impl Chain {
    /// Those of `all` whose names are `chosen`, in the order of `all`; all, where nothing was chosen.
    pub fn of(all: &[AugmentSpec], chosen: Option<&[String]>) -> Chain {
        let wanted = |spec: &&AugmentSpec| chosen.is_none_or(|names| names.iter().any(|name| name == spec.name()));
        Chain(all.iter().filter(wanted).cloned().collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether anything of it may be done to the wave.
    pub fn is_on_sound(&self) -> bool {
        self.0.iter().any(|spec| spec.as_kind().is_on_sound())
    }

    pub fn wants_music(&self) -> bool {
        self.0.iter().any(|spec| spec.as_kind().wants_music())
    }

    /// What happens to the clip of `scene`, drawn from `address` (seed, epoch and clip): first on the wave, what changes its length
    /// before the rest, then on the image.
    pub fn draw(&self, address: Seed, scene: &AugmentContext) -> Result<Vec<Draw>> {
        let mut draws = Vec::new();
        for spec in &self.0 {
            let drawn = spec.draw_by_chance(scene, &mut address.child(spec.name()).rng());
            draws.extend(drawn.with_context(|| format!("draw the augmentation `{}`", spec.name()))?);
        }
        // One that chooses among others may give either. What is done before a change of the length would be done to a sound of
        // another length than it was drawn for. A stable sort keeps the order of the file.
        draws.sort_by_key(|draw| {
            let (effect, samples) = (draw.as_kind(), scene.samples);
            (effect.is_on_image(), !effect.is_on_image() && effect.span(samples) == samples)
        });
        Ok(draws)
    }
}

/// The draws on the wave, and after them those on the image.
pub fn parted(draws: &[Draw]) -> (&[Draw], &[Draw]) {
    draws.split_at(draws.partition_point(|draw| !draw.as_kind().is_on_image()))
}

/// How many samples it takes to make `samples` by these draws on the wave.
pub fn span(on_sound: &[Draw], samples: usize) -> usize {
    on_sound.iter().rev().fold(samples, |samples, draw| draw.as_kind().span(samples))
}

/// Does the draws on the wave to a sound of as many samples as [`span`] says; `samples` are left. A draw that gives too few is
/// followed by silence.
pub fn play_on_sound(on_sound: &[Draw], sound: &mut Sound, samples: usize, company: &dyn ClipPool) -> Result<()> {
    for (place, draw) in on_sound.iter().enumerate() {
        draw.as_kind().on_sound(sound, company).with_context(|| format!("do the augmentation `{}`", draw.kind()))?;
        sound.samples.resize(span(&on_sound[place + 1..], samples), 0.0);
    }
    Ok(())
}

/// Does the draws on the image.
pub fn play_on_image(on_image: &[Draw], image: &mut Image, company: &dyn ClipPool) -> Result<()> {
    on_image.iter().try_for_each(|draw| {
        draw.as_kind().on_image(image, company).with_context(|| format!("do the augmentation `{}`", draw.kind()))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::augment::probe::tone;
    use crate::augment::tests::{alone, friends, sound};

    fn specs(value: serde_json::Value) -> Vec<AugmentSpec> {
        serde_json::from_value(value).unwrap()
    }

    fn drawn(chain: &Chain, seed: u64) -> Vec<Draw> {
        let company = friends();
        chain
            .draw(Seed::new(seed), &AugmentContext { sample_rate: 8000, samples: 800, row: 0, company: &company })
            .unwrap()
    }

    fn three() -> Vec<AugmentSpec> {
        specs(
            json!([{ "kind": "time_mask" }, { "kind": "gain", "p": 0.5 }, { "kind": "gain", "name": "soft", "db": -3.0 }]),
        )
    }

    #[test]
    fn a_chain_holds_those_that_are_named_in_the_order_of_the_file() {
        let names = |chosen: Option<&[String]>| -> Vec<String> {
            Chain::of(&three(), chosen).0.iter().map(|spec| spec.name().to_owned()).collect()
        };
        assert_eq!(names(None), ["time_mask", "gain", "soft"]);
        assert_eq!(names(Some(&["soft".into(), "gain".into()])), ["gain", "soft"]);
        assert!(names(Some(&[])).is_empty());
    }

    #[test]
    fn what_one_draws_does_not_depend_on_the_others() {
        let all = Chain::of(&three(), None);
        let alone = Chain::of(&three(), Some(&["gain".into()]));
        let mut happened = 0;
        for seed in 0..200 {
            let one = drawn(&alone, seed);
            assert!(one.iter().all(|draw| drawn(&all, seed).contains(draw)), "{seed}");
            happened += one.len();
        }
        assert!((70..130).contains(&happened), "half of 200 times: {happened}");
    }

    #[test]
    fn draws_on_the_wave_come_before_those_on_the_image() {
        let draws = drawn(&Chain::of(&three(), Some(&["time_mask".into(), "soft".into()])), 1);
        let (on_sound, on_image) = parted(&draws);
        assert_eq!((on_sound.len(), on_image.len()), (1, 1));
        assert_eq!((on_sound[0].kind(), on_image[0].kind()), ("gain", "time_mask"));
    }

    #[test]
    fn what_changes_the_length_comes_first_wherever_it_stands() {
        let stretch = json!({ "kind": "time_stretch", "rate": 0.25 });
        let crop = json!({ "kind": "crop", "share": 0.5 });
        let silence = json!({ "kind": "silence", "share": 0.1 });
        let mask = json!({ "kind": "time_mask" });
        let before = Chain::of(&specs(json!([mask, crop, silence, stretch])), None);
        let after = Chain::of(&specs(json!([mask, stretch, crop, silence])), None);
        let company = friends();
        let scene = AugmentContext { sample_rate: 8000, samples: 8000, row: 0, company: &company };
        for seed in 0..20 {
            let draws = before.draw(Seed::new(seed), &scene).unwrap();
            assert_eq!(draws, after.draw(Seed::new(seed), &scene).unwrap());
            let kinds: Vec<&str> = draws.iter().map(Draw::kind).collect();
            assert_eq!(kinds, ["time_stretch", "crop", "silence", "time_mask"]);
            let (on_sound, _) = parted(&draws);
            let mut heard = sound(&tone(span(on_sound, 8000)));
            play_on_sound(on_sound, &mut heard, 8000, &company).unwrap();
            assert_eq!(heard.samples.len(), 8000);
            // Half of a tone of power 0.5, less a tenth at most, is an energy of 1600.
            assert!(timbre_signal::dsp::level::energy(&heard.samples) > 400.0, "silenced with seed {seed}");
        }
    }

    #[test]
    fn a_clip_keeps_its_length() {
        let draws = drawn(&Chain::of(&three(), None), 1);
        let (on_sound, _) = parted(&draws);
        let mut heard = sound(&[0.5; 100]);
        play_on_sound(on_sound, &mut heard, 100, &alone()).unwrap();
        assert_eq!((heard.samples.len(), span(on_sound, 100)), (100, 100));
    }
}
