//! Crops: where recordings are cut, and what is held.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::Ordering;

use rayon::prelude::*;
use tempfile::TempDir;

use super::*;
use timbre_signal::audio::wav_write::write_pcm16;
use timbre_signal::audio::{self, Crop};

/// Seconds of each recording, of clips of one second.
const SECONDS: [f64; 4] = [2.5, 0.6, 1.0, 4.0];

pub fn audio(sample_rate: u32, crop: Crop) -> AudioSpec {
    AudioSpec { sample_rate, clip_seconds: Some(1.0), crop }
}

/// Nothing but crops.
fn random_crops() -> ExampleSpec {
    ExampleSpec { random_crop: true, chain: Chain::default(), replay: None }
}

pub fn raw() -> FeatureSpec {
    serde_json::from_value(serde_json::json!({ "kind": "raw" })).unwrap()
}

pub fn mel() -> FeatureSpec {
    serde_json::from_value(serde_json::json!({ "kind": "mel", "n_mels": 20, "n_fft": 512 })).unwrap()
}

/// Recordings at 8 kHz whose sample n is n: a clip of the raw wave tells where it was cut.
pub fn recordings(folder: &TempDir) -> Vec<ExampleSource> {
    let source = |(n, seconds): (usize, f64)| {
        let path = folder.path().join(format!("{n}.wav"));
        let samples: Vec<i16> = (0..(seconds * 8000.0) as i16).map(|sample| sample + 1).collect();
        write_pcm16(&path, &samples, 1, 8000).unwrap();
        let content = *blake3::hash(&fs::read(&path).unwrap()).as_bytes();
        ExampleSource { path, id: format!("set/{n}.wav"), content, ..ExampleSource::default() }
    };
    SECONDS.into_iter().enumerate().map(source).collect()
}

/// The rows that the cache has.
pub fn cached(sources: &[ExampleSource], audio: &AudioSpec, feature: &FeatureSpec) -> FeatureSet {
    let extractor = feature.as_kind().build(audio.sample_rate).unwrap();
    let rows: Vec<_> = sources
        .iter()
        .map(|source| extractor.extract(&ClipAnalysis::new(&audio::load_file(&source.path, audio).unwrap())).unwrap())
        .collect();
    let shape = [rows[0].rows, rows[0].cols];
    FeatureSet::from_matrices(rows.into_iter().flat_map(|m| m.values).collect(), shape, vec![vec![0]; sources.len()], 1)
}

fn waves(sources: &[ExampleSource], audio: &AudioSpec, feature: &FeatureSpec, seed: u64) -> TrainingExamples {
    let cached = cached(sources, audio, feature);
    TrainingExamples::new(&cached, sources.to_vec(), audio, feature, Seed::new(seed), random_crops()).unwrap()
}

fn example(waves: &TrainingExamples, row: usize, epoch: usize) -> Vec<f32> {
    let mut out = vec![0.0; waves.cached.dims()];
    waves.example(row, epoch, &mut out, &mut [1.0]).unwrap();
    out
}

/// The first sample of a clip of the ramp.
fn start_of(clip: &[f32]) -> usize {
    (clip[0] * 32768.0) as usize - 1
}

#[test]
fn a_long_recording_is_cut_at_another_place_in_each_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let sources = recordings(&folder);
    let waves = waves(&sources, &audio(8000, Crop::Centre), &raw(), 1);
    let starts: Vec<usize> = (0..400)
        .map(|epoch| {
            let clip = example(&waves, 0, epoch);
            let start = start_of(&clip);
            let whole = (0..8000).all(|n| clip[n] == (start + n + 1) as f32 / 32768.0);
            assert!(whole, "the clip is a part of the recording");
            start
        })
        .collect();
    // Uniform over 0 to 12,000: mean 6000, its deviation over 400 draws 173.
    let mean = starts.iter().sum::<usize>() as f64 / 400.0;
    assert!((mean - 6000.0).abs() < 700.0, "{mean}");
    assert!(starts.iter().all(|&start| start <= 12_000));
    assert!(*starts.iter().min().unwrap() < 300 && *starts.iter().max().unwrap() > 11_700);
    assert!(starts.iter().collect::<BTreeSet<_>>().len() > 380);
}

#[test]
fn the_draw_depends_on_seed_epoch_and_recording_and_on_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let sources = recordings(&folder);
    let spec = audio(8000, Crop::Centre);
    let ask = |waves: &TrainingExamples| -> Vec<Vec<f32>> {
        (0..40).into_par_iter().map(|n| example(waves, [0, 3][n % 2], n / 2)).collect()
    };
    let here = waves(&sources, &spec, &raw(), 1);
    let first = ask(&here);
    assert_eq!(ask(&here), first, "the second time the recordings lie in memory");
    let mut without_room = waves(&sources, &spec, &raw(), 1);
    without_room.recordings.left = 0.into();
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert!(alone.install(|| ask(&without_room)) == first);
    assert!(without_room.recordings.known[0].get().is_none() && here.recordings.known[0].get().is_some());
    let elsewhere = tempfile::tempdir().unwrap();
    assert!(ask(&waves(&recordings(&elsewhere), &spec, &raw(), 1)) == first);
    let differing = ask(&waves(&sources, &spec, &raw(), 2)).iter().zip(&first).filter(|(a, b)| a != b).count();
    assert!(differing > 35, "{differing} of 40 under another seed");
    let of_both = first.chunks(2).filter(|pair| start_of(&pair[0]) != start_of(&pair[1])).count();
    assert!(of_both > 15, "two recordings are cut at different places: {of_both} of 20");
}

#[test]
fn cut_where_the_cache_cuts_an_example_is_the_cached_row_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let sources = recordings(&folder);
    // Resampled down, up, and not at all; the held recording is at the wanted rate or at its own.
    for (rate, crop) in [(5000, Crop::Centre), (11025, Crop::Centre), (8000, Crop::Centre), (5000, Crop::Start)] {
        let spec = audio(rate, crop);
        let waves = waves(&sources, &spec, &mel(), 1);
        for row in [0, 3] {
            let mut expected = vec![0.0; waves.cached.dims()];
            waves.cached.read_row(row, &mut expected).unwrap();
            let decoded = waves.recordings.decode(row).unwrap();
            let start = if crop == Crop::Start { 0 } else { decoded.max_start(&spec) / 2 };
            let mut cut = vec![0.0; waves.cached.dims()];
            let cut_at = |recording: &Recording, out: &mut [f32]| {
                let samples = waves.sound(recording, Some(start), &[], &mut [1.0]).unwrap();
                waves.extract(samples, out).unwrap();
            };
            cut_at(&decoded, &mut cut);
            assert!(cut == expected, "{rate} Hz, {crop:?}, row {row}, as decoded");
            assert!(waves.recordings.keep(row, decoded).is_none());
            let Found::Held(held) = waves.recordings.find(row).unwrap() else { panic!("there is room") };
            cut_at(held, &mut cut);
            assert!(cut == expected, "{rate} Hz, {crop:?}, row {row}, as held");
        }
    }
}

#[test]
fn a_recording_that_is_no_longer_than_a_clip_is_as_the_cache_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let sources = recordings(&folder);
    for rate in [8000, 5000] {
        let waves = waves(&sources, &audio(rate, Crop::Centre), &mel(), 1);
        for (row, epoch) in [(1, 0), (2, 0), (1, 1), (2, 7)] {
            let mut expected = vec![0.0; waves.cached.dims()];
            waves.cached.read_row(row, &mut expected).unwrap();
            assert!(example(&waves, row, epoch) == expected, "row {row} in epoch {epoch}");
        }
        assert_eq!(waves.recordings.left.load(Ordering::Relaxed), HELD_BYTES, "nothing of them is held");
    }
}

#[test]
fn what_is_held_needs_no_file_and_what_finds_no_room_does() {
    let folder = tempfile::tempdir().unwrap();
    let sources = recordings(&folder);
    let mut waves = waves(&sources, &audio(8000, Crop::Centre), &raw(), 1);
    // Room for the recording of 2.5 s alone.
    waves.recordings.left = (4 * 20_000 + 10).into();
    let (first, _) = (example(&waves, 0, 0), example(&waves, 3, 0));
    assert_eq!(waves.recordings.left.load(Ordering::Relaxed), 10);
    sources.iter().for_each(|source| fs::remove_file(&source.path).unwrap());
    assert_eq!(example(&waves, 0, 0), first);
    let error = waves.example(3, 0, &mut vec![0.0; 8000], &mut [1.0]).unwrap_err().to_string();
    assert!(error.contains("3.wav any more: run again"), "{error}");
}

#[test]
fn a_recording_that_was_edited_since_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let sources = recordings(&folder);
    let waves = waves(&sources, &audio(8000, Crop::Centre), &raw(), 1);
    write_pcm16(&sources[0].path, &[1; 20_000], 1, 8000).unwrap();
    let error = waves.example(0, 0, &mut vec![0.0; 8000], &mut [1.0]).unwrap_err().to_string();
    assert!(error.contains("was changed while this run"), "{error}");
}

#[test]
fn clips_of_no_length_cannot_be_cut() {
    let folder = tempfile::tempdir().unwrap();
    let sources = recordings(&folder);
    let set = FeatureSet::from_memory(vec![0.0; 4], 1, vec![0; 4], 1);
    let spec = AudioSpec { clip_seconds: None, ..audio(8000, Crop::Centre) };
    let error =
        TrainingExamples::new(&set, sources, &spec, &raw(), Seed::new(1), random_crops()).err().unwrap().to_string();
    assert!(error.contains("audio.clip_seconds"), "{error}");
}
