//! Tests of augmented examples: the same draws give the same example for any caller, at any time.

use std::fs;

use proptest::prelude::*;
use rayon::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::tests::{audio, cached, mel, raw, recordings};
use super::*;
use crate::augment::ClipPool;
use timbre_signal::audio::Crop;

fn spec_of(random_crop: bool, augment: Value) -> ExampleSpec {
    let specs: Vec<_> = serde_json::from_value(augment).unwrap();
    let copies = FixedCopy::all(&specs).unwrap();
    ExampleSpec { random_crop, chain: Chain::select(&specs, None), copies, replay: None }
}

/// Waveform and image draws, with and without partners, always and sometimes.
fn everything() -> Value {
    json!([
        { "kind": "translate" },
        { "kind": "mix", "p": 0.5, "match_tempo": false, "n": [1, 2] },
        { "kind": "gain", "p": 0.5 },
        { "kind": "time_mask", "p": 0.5 },
        { "kind": "some_of", "of": [{ "kind": "frequency_mask" }, { "kind": "frequency_warp" }, { "kind": "time_warp" }] },
        { "kind": "one_of", "p": 0.7, "of": [{ "kind": "mixup" }, { "kind": "cutmix" }, { "kind": "random_erasing" }] },
    ])
}

/// Four recordings of two classes; the second and the third are no longer than a clip.
struct Set {
    folder: TempDir,
    sources: Vec<ExampleSource>,
}

impl Set {
    fn new() -> Set {
        let folder = tempfile::tempdir().unwrap();
        Set { sources: recordings(&folder), folder }
    }

    fn examples(&self, feature: &FeatureSpec, rows: &[usize], seed: u64, spec: ExampleSpec) -> TrainingExamples {
        let audio = audio(5000, Crop::Centre);
        let sources: Vec<ExampleSource> = rows.iter().map(|&row| self.sources[row].clone()).collect();
        let plain = cached(&sources, &audio, feature);
        let repeated = 1 + spec.copies.len();
        let mut values = Vec::new();
        plain.read_rows(0..plain.len(), &mut values).unwrap();
        let labels = rows.repeat(repeated).into_iter().map(|row| vec![row % 2]).collect();
        let set = FeatureSet::from_matrices(values.repeat(repeated), plain.shape(), labels, 2);
        TrainingExamples::new(&set, sources, &audio, feature, Seed::new(seed), spec, Arc::default()).unwrap()
    }
}

/// The example of a row with its targets, as bits.
fn example(examples: &TrainingExamples, row: usize, epoch: usize) -> Vec<u32> {
    let (mut out, mut targets) = (vec![0.0; examples.cached.dims()], vec![0.0; examples.cached.n_classes()]);
    examples.cached.write_targets(row, &mut targets);
    examples.example(row, epoch, &mut out, &mut targets).unwrap();
    out.iter().chain(&targets).map(|value| value.to_bits()).collect()
}

const ALL: [usize; 4] = [0, 1, 2, 3];

#[test]
fn an_example_does_not_depend_on_order_threads_or_memory() {
    let set = Set::new();
    let all_examples: Vec<(usize, usize)> = (0..6).flat_map(|epoch| ALL.map(|row| (row, epoch))).collect();
    let read_all = |examples: &TrainingExamples, order: &[(usize, usize)]| {
        let mut examples: Vec<_> =
            order.par_iter().map(|&(row, epoch)| (epoch, row, example(examples, row, epoch))).collect();
        examples.sort();
        examples
    };
    let examples = || set.examples(&mel(), &ALL, 1, spec_of(true, everything()));
    let first = read_all(&examples(), &all_examples);
    let reversed: Vec<_> = all_examples.iter().rev().copied().collect();
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let mut without_room = examples();
    without_room.recordings.free = 0.into();
    assert!(one_thread.install(|| read_all(&without_room, &reversed)) == first);
    // As if resumed at the fourth epoch.
    let later: Vec<_> = all_examples.iter().filter(|(_, epoch)| *epoch >= 3).copied().collect();
    assert!(read_all(&examples(), &later) == first[12..]);
    let other = set.examples(&mel(), &ALL, 2, spec_of(true, everything()));
    let same = read_all(&other, &all_examples).iter().zip(&first).filter(|(a, b)| a == b).count();
    assert!(same < 3, "{same} of 24 examples are the same under another seed");
}

#[test]
fn draws_depend_on_the_id_of_a_clip_and_not_on_its_row() {
    let set = Set::new();
    let single = json!([{ "kind": "translate" }, { "kind": "gain" }, { "kind": "time_mask" }]);
    let all = set.examples(&mel(), &ALL, 1, spec_of(true, single.clone()));
    let some = set.examples(&mel(), &[3, 1], 1, spec_of(true, single));
    for epoch in 0..4 {
        assert!(example(&all, 3, epoch)[..40] == example(&some, 0, epoch)[..40]);
        assert_eq!(all.draws(1, epoch).unwrap(), some.draws(1, epoch).unwrap());
    }
}

#[test]
fn an_unchanged_example_is_the_cached_row_and_nothing_is_decoded() {
    let set = Set::new();
    let examples =
        set.examples(&mel(), &ALL, 1, spec_of(false, json!([{ "kind": "gain", "p": 0 }, { "kind": "mix", "n": 0 }])));
    let masked = set.examples(&mel(), &ALL, 1, spec_of(false, json!([{ "kind": "time_mask" }, { "kind": "mixup" }])));
    set.sources.iter().for_each(|source| fs::remove_file(&source.path).unwrap());
    for row in ALL {
        let mut plain = vec![0.0; examples.cached.dims()];
        examples.cached.read_row(row, &mut plain).unwrap();
        let bits: Vec<u32> = plain.iter().map(|value| value.to_bits()).collect();
        assert!(example(&examples, row, 0).starts_with(&bits));
        // Image draws need no waveform.
        assert!(!example(&masked, row, 0).starts_with(&bits));
    }
    assert!(set.folder.path().is_dir());
}

#[test]
fn short_recordings_are_augmented_like_long_ones() {
    let set = Set::new();
    let examples = set.examples(&raw(), &ALL, 1, spec_of(false, json!([{ "kind": "gain", "db": 20.0 }])));
    for row in ALL {
        let mut plain = vec![0.0; 5000];
        examples.cached.read_row(row, &mut plain).unwrap();
        let (mut loud, mut targets) = (vec![0.0; 5000], vec![0.0; 2]);
        examples.example(row, 0, &mut loud, &mut targets).unwrap();
        assert!(plain.iter().zip(&loud).all(|(a, b)| (10.0 * a - b).abs() <= 1e-5 * b.abs() + 1e-6), "row {row}");
    }
}

#[test]
fn a_mix_has_the_labels_of_all_parts_and_its_parts_come_from_the_pool() {
    let set = Set::new();
    let examples = set.examples(&raw(), &[0, 3], 1, spec_of(false, json!([{ "kind": "mix", "snr_db": 0.0 }])));
    let (mut sum, mut targets) = (vec![0.0; 5000], vec![1.0, 0.0]);
    examples.example(0, 0, &mut sum, &mut targets).unwrap();
    assert_eq!(targets, [1.0, 1.0]);
    let draws = examples.draws(0, 0).unwrap();
    let Draw::MixDraw(mix) = &draws[0] else { panic!("{draws:?}") };
    assert_eq!(mix.parts[0].clip, "set/3.wav");
    let mut own = vec![0.0; 5000];
    examples.cached.read_row(0, &mut own).unwrap();
    let partner = ClipPool::waveform(&examples, 1, mix.parts[0].cut).unwrap();
    // Both are parts of the ramp: they differ by a factor and an offset, and the sum contains both.
    let power = |values: &[f32]| values.iter().map(|v| f64::from(v * v)).sum::<f64>();
    let added: Vec<f32> = sum.iter().zip(&own).map(|(sum, own)| sum - own).collect();
    assert!((power(&added) / power(&own) - 1.0).abs() < 1e-3);
    let gain = added[100] / partner[100];
    assert!(added.iter().zip(&partner).all(|(added, partner)| (added - gain * partner).abs() < 1e-4));
}

#[test]
fn tempo_and_key_are_estimated_only_if_needed() {
    let set = Set::new();
    let matched = set.examples(&raw(), &ALL, 1, spec_of(false, json!([{ "kind": "mix", "match_key": true }])));
    assert_eq!(matched.tempo_and_key.len(), 4);
    assert!(set.examples(&raw(), &ALL, 1, spec_of(false, json!([{ "kind": "mix" }]))).tempo_and_key.is_empty());
}

#[test]
fn replayed_draws_give_the_same_bits() {
    let set = Set::new();
    let examples = set.examples(&mel(), &ALL, 7, spec_of(true, everything()));
    let path = set.folder.path().join("draws.jsonl");
    let line = |row: usize, epoch: usize| {
        let (start, draws) = examples.draws_for(row, epoch).unwrap();
        serde_json::to_string(&DrawRecord {
            seed: 1,
            epoch: epoch + 1,
            clip: examples.id(row).to_owned(),
            start,
            draws,
        })
        .unwrap()
    };
    let lines: Vec<String> =
        (0..3).flat_map(|epoch| ALL.map(|row| (row, epoch))).map(|(row, epoch)| line(row, epoch)).collect();
    fs::write(&path, lines.join("\n")).unwrap();
    let replay = Replay::read(&path, 1).unwrap();
    let again = ExampleSpec { random_crop: false, chain: Chain::default(), copies: Vec::new(), replay: Some(replay) };
    // Another seed, and no augmentations.
    let again = set.examples(&mel(), &ALL, 99, again);
    for (row, epoch) in (0..3).flat_map(|epoch| ALL.map(|row| (row, epoch))) {
        assert!(example(&again, row, epoch) == example(&examples, row, epoch), "row {row} in epoch {epoch}");
    }
    let error = again.example(0, 3, &mut vec![0.0; again.cached.dims()], &mut [0.0; 2]).unwrap_err();
    assert!(format!("{error:#}").contains("no draws of set/0.wav in epoch 4"), "{error:#}");
}

#[test]
fn a_traced_example_is_the_training_example() {
    let set = Set::new();
    for random_crop in [false, true] {
        let examples = set.examples(&mel(), &ALL, 1, spec_of(random_crop, everything()));
        for (row, epoch) in (0..4).flat_map(|epoch| ALL.map(|row| (row, epoch))) {
            let traced = examples.trace(row, epoch).unwrap();
            let bits: Vec<u32> = traced.image.iter().chain(&traced.targets).map(|value| value.to_bits()).collect();
            assert!(bits == example(&examples, row, epoch), "row {row} in epoch {epoch}");
            assert_eq!((traced.start, traced.draws), examples.draws_for(row, epoch).unwrap());
            if !random_crop {
                let mut plain = vec![0.0; examples.cached.dims()];
                examples.cached.read_row(row, &mut plain).unwrap();
                assert!(traced.clip_image == plain);
            }
        }
    }
}

#[test]
fn a_written_example_has_the_feature_of_the_training_example() {
    let set = Set::new();
    let only_sound = json!([{ "kind": "translate" }, { "kind": "mix", "p": 0.5 }, { "kind": "gain" }]);
    let examples = set.examples(&mel(), &ALL, 1, spec_of(true, only_sound));
    for (row, epoch) in (0..3).flat_map(|epoch| ALL.map(|row| (row, epoch))) {
        let path = set.folder.path().join("example.wav");
        let traced = examples.trace(row, epoch).unwrap();
        timbre_signal::audio::wav_write::write_f32(&path, &traced.samples, 5000).unwrap();
        let clip = timbre_signal::audio::load_file(&path, None, &audio(5000, Crop::Centre)).unwrap();
        let matrix = mel().as_kind().build(5000).unwrap().extract(&ClipAnalysis::new(&clip)).unwrap();
        let bits: Vec<u32> = matrix.values.iter().chain(&traced.targets).map(|value| value.to_bits()).collect();
        assert!(bits == example(&examples, row, epoch), "row {row} in epoch {epoch}");
    }
}

#[test]
fn a_faster_clip_uses_more_of_its_recording_and_ends_in_silence() {
    let set = Set::new();
    let examples = set.examples(&raw(), &ALL, 1, spec_of(false, json!([{ "kind": "time_stretch", "rate": 1.6 }])));
    let ends = |row: usize| {
        let samples = examples.trace(row, 0).unwrap().samples;
        let power = |samples: &[f32]| samples.iter().map(|x| f64::from(x * x)).sum::<f64>() / samples.len() as f64;
        power(&samples[4700..]) / power(&samples)
    };
    // The recordings take four seconds, of which 1.6 are used, and exactly one second.
    assert!(ends(3) > 0.2 && ends(2) < 0.02, "{} {}", ends(3), ends(2));
}

#[test]
fn a_device_makes_examples_only_if_they_are_only_cut() {
    let set = Set::new();
    let only_cut = |random_crop, augment: Value| {
        ExampleGenerator::waveforms(&set.examples(&mel(), &ALL, 1, spec_of(random_crop, augment))).is_some()
    };
    assert!(only_cut(true, json!([])) && !only_cut(false, json!([])));
    assert!(!only_cut(true, json!([{ "kind": "gain" }])) && !only_cut(true, json!([{ "kind": "time_mask" }])));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn a_piece_is_a_part_of_its_recording_followed_by_silence(begin in 0usize..20_000, length in 1usize..24_000) {
        thread_local! {
            static SET: Set = Set::new();
        }
        SET.with(|set| -> Result<(), TestCaseError> {
            let examples = set.examples(&raw(), &ALL, 1, spec_of(false, json!([])));
            let recording = examples.recordings.decode(0).unwrap();
            let whole = timbre_signal::audio::resample(&recording.samples, recording.sample_rate, 5000, Default::default());
            let piece = examples.recordings.piece(&recording, begin, length);
            let from = begin.min(whole.len().saturating_sub(length));
            let there = whole.len().min(from + length) - from;
            prop_assert_eq!(piece.len(), length);
            prop_assert!(piece[..there] == whole[from..from + there]);
            prop_assert!(piece[there..].iter().all(|sample| *sample == 0.0));
            Ok(())
        })?;
    }
}

#[test]
fn augmentations_change_a_copy_after_the_draws_that_made_it() {
    let set = Set::new();
    let half = json!({ "kind": "gain", "name": "half", "db": -6.020_599_913, "copies": 1 });
    let louder = json!({ "kind": "gain", "db": 20.0 });
    let examples = set.examples(&raw(), &ALL, 1, spec_of(false, json!([half, louder])));
    assert_eq!((examples.len(), examples.cached.len()), (4, 8));
    let values = |row: usize| {
        let mut out = vec![0.0; examples.cached.dims()];
        examples.example(row, 0, &mut out, &mut [0.0, 0.0]).unwrap();
        out
    };
    for row in ALL {
        let (own, copy) = (values(row), values(row + 4));
        let plain = timbre_signal::audio::load_file(&set.sources[row].path, None, &audio(5000, Crop::Centre)).unwrap();
        for ((own, copy), plain) in own.iter().zip(&copy).zip(&plain.samples) {
            assert!((own - 10.0 * plain).abs() < 1e-4 && (copy - 5.0 * plain).abs() < 1e-4, "{own}, {copy}, {plain}");
        }
    }
    assert!(examples.waveforms().is_none(), "a device makes no copies");
}

#[test]
fn a_copy_is_cut_elsewhere_than_its_recording() {
    let set = Set::new();
    let copy = json!([{ "kind": "polarity", "copies": 1 }]);
    let examples = set.examples(&raw(), &ALL, 1, spec_of(true, copy));
    let first = |row: usize, epoch: usize| {
        let mut out = vec![0.0; examples.cached.dims()];
        examples.example(row, epoch, &mut out, &mut [0.0, 0.0]).unwrap();
        out[0]
    };
    let pairs: Vec<(f32, f32)> = (0..8).map(|epoch| (first(3, epoch), first(7, epoch))).collect();
    assert!(pairs.iter().all(|(own, copy)| *own > 0.0 && *copy < 0.0), "{pairs:?}");
    assert!(pairs.iter().any(|(own, copy)| own != &-copy), "{pairs:?}");
}
