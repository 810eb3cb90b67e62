//! The augmentations of one network: draws for a clip and an epoch, and their application in order.
//!
//! Each augmentation draws from its own random stream, which carries its name: adding or removing one does not change
//! the draws of the others.

use anyhow::{Context, Result};
use rand_chacha::ChaCha8Rng;

use super::{AugmentContext, AugmentSpec, ClipPool, Draw, Image, Waveform};
use timbre_core::seed::{Seed, uniform};
use timbre_signal::audio::{AudioSpec, Crop, Recording, resample_range, resampled_len};

/// Raised by hand when the same draws are applied in another order or give other results.
pub const VERSION: u32 = 1;

impl AugmentSpec {
    /// The name of the augmentation in the key `augment` of a model.
    pub fn name(&self) -> &str {
        self.as_kind().name().unwrap_or(self.kind())
    }

    /// Whether the augmentation may happen in an epoch, counted from 0.
    fn happens_in(&self, epoch: usize) -> bool {
        let (from, until) = self.as_kind().epochs();
        from.is_none_or(|from| epoch + 1 >= from) && until.is_none_or(|until| epoch < until)
    }

    /// Draws whether the augmentation happens, then its parameters.
    pub(super) fn draw_with_probability(&self, context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let kind = self.as_kind();
        if uniform(rng) < kind.p() { kind.draw(context, rng) } else { Ok(Vec::new()) }
    }
}

/// Augmentations in the order of the experiment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chain(Vec<AugmentSpec>);

impl Chain {
    /// The augmentations of `all` with the names `chosen` that change the clips of each epoch, in the order of `all`; all of them if
    /// `chosen` is `None`.
    pub fn select(all: &[AugmentSpec], chosen: Option<&[String]>) -> Chain {
        let wanted = |spec: &&AugmentSpec| chosen.is_none_or(|names| names.iter().any(|name| name == spec.name()));
        Chain(all.iter().filter(wanted).filter(|spec| spec.as_kind().copies() == 0).cloned().collect())
    }

    /// One augmentation.
    pub fn of(spec: AugmentSpec) -> Chain {
        Chain(vec![spec])
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether any augmentation may change the waveform.
    pub fn changes_waveform(&self) -> bool {
        self.0.iter().any(|spec| spec.as_kind().changes_waveform())
    }

    pub fn needs_tempo_and_key(&self) -> bool {
        self.0.iter().any(|spec| spec.as_kind().needs_tempo_and_key())
    }

    /// Draws what happens in an epoch, counted from 0, to the clip of `context` from the random stream `address` (seed, epoch and
    /// clip): waveform draws first, those that change the length before all others, then image draws.
    pub fn draw(&self, address: Seed, epoch: usize, context: &AugmentContext) -> Result<Vec<Draw>> {
        let mut draws = Vec::new();
        for spec in self.0.iter().filter(|spec| spec.happens_in(epoch)) {
            let drawn = spec.draw_with_probability(context, &mut address.child(spec.name()).rng());
            draws.extend(drawn.with_context(|| format!("draw the augmentation `{}`", spec.name()))?);
        }
        // A choice may give either stage. A draw before a change of length would be applied to a clip of another length
        // than the one it was drawn for. The sort is stable and keeps the order of the file.
        draws.sort_by_key(|draw| {
            let (effect, samples) = (draw.as_kind(), context.samples);
            (effect.changes_image(), !effect.changes_image() && effect.source_samples(samples) == samples)
        });
        Ok(draws)
    }
}

/// The waveform draws, and the image draws after them.
pub fn split_by_stage(draws: &[Draw]) -> (&[Draw], &[Draw]) {
    draws.split_at(draws.partition_point(|draw| !draw.as_kind().changes_image()))
}

/// The number of source samples from which the waveform draws make `samples` samples.
pub fn source_samples(on_waveform: &[Draw], samples: usize) -> usize {
    on_waveform.iter().rev().fold(samples, |samples, draw| draw.as_kind().source_samples(samples))
}

/// Applies the waveform draws to a clip of [`source_samples`] samples; `samples` remain. Silence follows a draw that
/// returns too few.
pub fn apply_to_waveform(on_waveform: &[Draw], clip: &mut Waveform, samples: usize, pool: &dyn ClipPool) -> Result<()> {
    for (place, draw) in on_waveform.iter().enumerate() {
        draw.as_kind()
            .apply_to_waveform(clip, pool)
            .with_context(|| format!("apply the augmentation `{}`", draw.kind()))?;
        clip.samples.resize(source_samples(&on_waveform[place + 1..], samples), 0.0);
    }
    Ok(())
}

/// `length` samples of a recording at the sample rate of the experiment. They start at `begin`, or earlier if the recording
/// would end before them; a recording that is shorter is filled up as `audio.short` says.
pub fn piece(recording: &Recording, audio: &AudioSpec, begin: usize, length: usize) -> Vec<f32> {
    let AudioSpec { sample_rate, resampler, short, .. } = *audio;
    let whole = resampled_len(recording.samples.len(), recording.sample_rate, sample_rate);
    let begin = begin.min(whole.saturating_sub(length));
    let range = begin..whole.min(begin + length);
    let mut samples = resample_range(&recording.samples, recording.sample_rate, sample_rate, resampler, range);
    short.fill(&mut samples, length);
    samples
}

/// The samples of a clip after the waveform draws. It starts at `start`, or where `audio.crop` says; without a length of clips it is
/// the whole recording.
pub fn augmented_clip(
    recording: &Recording,
    audio: &AudioSpec,
    start: Option<usize>,
    on_waveform: &[Draw],
    targets: &mut [f32],
    pool: &dyn ClipPool,
) -> Result<Vec<f32>> {
    let samples = clip_samples(recording, audio);
    let start = start.unwrap_or(match audio.crop {
        Crop::Start => 0,
        Crop::Centre => recording.max_start(audio) / 2,
    });
    let needed = source_samples(on_waveform, samples);
    // The clip lies in the middle of the piece.
    let begin = (start + samples / 2).saturating_sub(needed / 2);
    let piece = piece(recording, audio, if needed == samples { start } else { begin }, needed);
    let mut clip = Waveform { samples: piece, sample_rate: audio.sample_rate, targets: targets.to_vec() };
    apply_to_waveform(on_waveform, &mut clip, samples, pool)?;
    targets.copy_from_slice(&clip.targets);
    Ok(clip.samples)
}

/// The length of a clip, or of the recording if clips have no length of their own.
pub fn clip_samples(recording: &Recording, audio: &AudioSpec) -> usize {
    let whole = || resampled_len(recording.samples.len(), recording.sample_rate, audio.sample_rate);
    audio.clip_samples().unwrap_or_else(whole)
}

/// Applies the image draws.
pub fn apply_to_image(on_image: &[Draw], image: &mut Image, pool: &dyn ClipPool) -> Result<()> {
    on_image.iter().try_for_each(|draw| {
        draw.as_kind().apply_to_image(image, pool).with_context(|| format!("apply the augmentation `{}`", draw.kind()))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::augment::kind_tests::tone;
    use crate::augment::tests::{context, empty_pool, five_clips, waveform};

    fn specs(value: serde_json::Value) -> Vec<AugmentSpec> {
        serde_json::from_value(value).unwrap()
    }

    fn drawn(chain: &Chain, seed: u64) -> Vec<Draw> {
        let pool = five_clips();
        chain.draw(Seed::new(seed), 0, &context(&pool, 0)).unwrap()
    }

    fn three() -> Vec<AugmentSpec> {
        specs(
            json!([{ "kind": "time_mask" }, { "kind": "gain", "p": 0.5 }, { "kind": "gain", "name": "soft", "db": -3.0 }]),
        )
    }

    #[test]
    fn a_chain_holds_the_chosen_augmentations_in_file_order() {
        let names = |chosen: Option<&[String]>| -> Vec<String> {
            Chain::select(&three(), chosen).0.iter().map(|spec| spec.name().to_owned()).collect()
        };
        assert_eq!(names(None), ["time_mask", "gain", "soft"]);
        assert_eq!(names(Some(&["soft".into(), "gain".into()])), ["gain", "soft"]);
        assert!(names(Some(&[])).is_empty());
    }

    #[test]
    fn the_draws_of_one_augmentation_do_not_depend_on_the_others() {
        let all = Chain::select(&three(), None);
        let single = Chain::select(&three(), Some(&["gain".into()]));
        let mut count = 0;
        for seed in 0..200 {
            let one = drawn(&single, seed);
            assert!(one.iter().all(|draw| drawn(&all, seed).contains(draw)), "{seed}");
            count += one.len();
        }
        assert!((70..130).contains(&count), "half of 200 times: {count}");
    }

    #[test]
    fn an_augmentation_happens_from_its_first_to_its_last_epoch() {
        let chain = Chain::select(
            &specs(json!([
                { "kind": "gain", "from_epoch": 3 }, { "kind": "polarity", "until_epoch": 2 },
                { "kind": "time_mask", "from_epoch": 2, "until_epoch": 2 },
            ])),
            None,
        );
        let pool = five_clips();
        let kinds = |epoch: usize| -> Vec<&'static str> {
            let draws = chain.draw(Seed::new(1), epoch, &context(&pool, 0)).unwrap();
            draws.iter().map(Draw::kind).collect()
        };
        assert_eq!(
            [0, 1, 2, 9].map(kinds),
            [vec!["polarity"], vec!["polarity", "time_mask"], vec!["gain"], vec!["gain"]]
        );
    }

    #[test]
    fn waveform_draws_come_before_image_draws() {
        let draws = drawn(&Chain::select(&three(), Some(&["time_mask".into(), "soft".into()])), 1);
        let (on_waveform, on_image) = split_by_stage(&draws);
        assert_eq!((on_waveform.len(), on_image.len()), (1, 1));
        assert_eq!((on_waveform[0].kind(), on_image[0].kind()), ("gain", "time_mask"));
    }

    #[test]
    fn draws_that_change_the_length_come_first() {
        let stretch = json!({ "kind": "time_stretch", "rate": 0.25 });
        let crop = json!({ "kind": "crop", "share": 0.5 });
        let silence = json!({ "kind": "silence", "share": 0.1 });
        let mask = json!({ "kind": "time_mask" });
        let before = Chain::select(&specs(json!([mask, crop, silence, stretch])), None);
        let after = Chain::select(&specs(json!([mask, stretch, crop, silence])), None);
        let pool = five_clips();
        let context = AugmentContext { sample_rate: 8000, samples: 8000, row: 0, pool: &pool };
        for seed in 0..20 {
            let draws = before.draw(Seed::new(seed), 0, &context).unwrap();
            assert_eq!(draws, after.draw(Seed::new(seed), 0, &context).unwrap());
            let kinds: Vec<&str> = draws.iter().map(Draw::kind).collect();
            assert_eq!(kinds, ["time_stretch", "crop", "silence", "time_mask"]);
            let (on_waveform, _) = split_by_stage(&draws);
            let mut output = waveform(&tone(source_samples(on_waveform, 8000)));
            apply_to_waveform(on_waveform, &mut output, 8000, &pool).unwrap();
            assert_eq!(output.samples.len(), 8000);
            // Half of a tone of power 0.5, less at most a tenth, has an energy of 1600.
            assert!(timbre_signal::dsp::level::energy(&output.samples) > 400.0, "silenced with seed {seed}");
        }
    }

    #[test]
    fn a_clip_keeps_its_length() {
        let draws = drawn(&Chain::select(&three(), None), 1);
        let (on_waveform, _) = split_by_stage(&draws);
        let mut output = waveform(&[0.5; 100]);
        apply_to_waveform(on_waveform, &mut output, 100, &empty_pool()).unwrap();
        assert_eq!((output.samples.len(), source_samples(on_waveform, 100)), (100, 100));
    }
}
