//! Tests of crops: where recordings are cut, and which are kept in memory.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::Ordering;

use rayon::prelude::*;
use tempfile::TempDir;

use super::*;
use timbre_signal::audio::{self, Crop, wav_write::write_pcm16};

/// Duration of each recording in seconds; clips take one second.
const SECONDS: [f64; 4] = [2.5, 0.6, 1.0, 4.0];

pub fn audio(sample_rate: u32, crop: Crop) -> AudioSpec {
    AudioSpec { sample_rate, clip_seconds: Some(1.0), crop, ..AudioSpec::default() }
}

/// Random crops and no augmentations.
fn random_crops() -> ExampleSpec {
    ExampleSpec { random_crop: true, chain: Chain::default(), copies: Vec::new(), replay: None }
}

pub fn raw() -> FeatureSpec {
    serde_json::from_value(serde_json::json!({ "kind": "raw" })).unwrap()
}

pub fn mel() -> FeatureSpec {
    serde_json::from_value(serde_json::json!({ "kind": "mel", "n_mels": 20, "n_fft": 512 })).unwrap()
}

/// Recordings at 8 kHz whose sample n has the value n + 1: a raw clip shows where it was cut.
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

/// The rows of the feature cache.
pub fn cached(sources: &[ExampleSource], audio: &AudioSpec, feature: &FeatureSpec) -> FeatureSet {
    let extractor = feature.as_kind().build(audio.sample_rate).unwrap();
    let rows: Vec<_> = sources
        .iter()
        .map(|source| {
            extractor.extract(&ClipAnalysis::new(&audio::load_file(&source.path, None, audio).unwrap())).unwrap()
        })
        .collect();
    let shape = [rows[0].rows, rows[0].cols];
    FeatureSet::from_matrices(rows.into_iter().flat_map(|m| m.values).collect(), shape, vec![vec![0]; sources.len()], 1)
}

fn examples(sources: &[ExampleSource], audio: &AudioSpec, feature: &FeatureSpec, seed: u64) -> TrainingExamples {
    let cached = cached(sources, audio, feature);
    TrainingExamples::new(&cached, sources.to_vec(), audio, feature, Seed::new(seed), random_crops(), Arc::default())
        .unwrap()
}

fn example(examples: &TrainingExamples, row: usize, epoch: usize) -> Vec<f32> {
    let mut out = vec![0.0; examples.cached.dims()];
    examples.example(row, epoch, &mut out, &mut [1.0]).unwrap();
    out
}

/// The start of a clip, by its first sample.
fn start_of(clip: &[f32]) -> usize {
    (clip[0] * 32768.0) as usize - 1
}

#[test]
fn a_long_recording_is_cut_at_a_different_position_in_each_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let sources = recordings(&folder);
    let examples = examples(&sources, &audio(8000, Crop::Centre), &raw(), 1);
    let starts: Vec<usize> = (0..400)
        .map(|epoch| {
            let clip = example(&examples, 0, epoch);
            let start = start_of(&clip);
            let whole = (0..8000).all(|n| clip[n] == (start + n + 1) as f32 / 32768.0);
            assert!(whole, "the clip is a part of the recording");
            start
        })
        .collect();
    // Uniform over 0 to 12,000: the mean is 6000, with a standard deviation of 173 over 400 draws.
    let mean = starts.iter().sum::<usize>() as f64 / 400.0;
    assert!((mean - 6000.0).abs() < 700.0, "{mean}");
    assert!(starts.iter().all(|&start| start <= 12_000));
    assert!(*starts.iter().min().unwrap() < 300 && *starts.iter().max().unwrap() > 11_700);
    assert!(starts.iter().collect::<BTreeSet<_>>().len() > 380);
}

#[test]
fn the_crop_depends_on_seed_epoch_and_recording_only() {
    let folder = tempfile::tempdir().unwrap();
    let sources = recordings(&folder);
    let spec = audio(8000, Crop::Centre);
    let read_all = |examples: &TrainingExamples| -> Vec<Vec<f32>> {
        (0..40).into_par_iter().map(|n| example(examples, [0, 3][n % 2], n / 2)).collect()
    };
    let here = examples(&sources, &spec, &raw(), 1);
    let first = read_all(&here);
    assert_eq!(read_all(&here), first, "the second read uses the recordings in memory");
    let mut without_room = examples(&sources, &spec, &raw(), 1);
    without_room.recordings.free = 0.into();
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert!(one_thread.install(|| read_all(&without_room)) == first);
    assert!(without_room.recordings.decoded[0].get().is_none() && here.recordings.decoded[0].get().is_some());
    let elsewhere = tempfile::tempdir().unwrap();
    assert!(read_all(&examples(&recordings(&elsewhere), &spec, &raw(), 1)) == first);
    let differing = read_all(&examples(&sources, &spec, &raw(), 2)).iter().zip(&first).filter(|(a, b)| a != b).count();
    assert!(differing > 35, "{differing} of 40 under another seed");
    let of_both = first.chunks(2).filter(|pair| start_of(&pair[0]) != start_of(&pair[1])).count();
    assert!(of_both > 15, "two recordings are cut at different places: {of_both} of 20");
}

#[test]
fn an_example_cut_where_the_cache_cuts_has_the_bits_of_the_cached_row() {
    let folder = tempfile::tempdir().unwrap();
    let sources = recordings(&folder);
    // Resampled down, up, and not at all; the kept recording has the requested sample rate or its own.
    for (rate, crop) in [(5000, Crop::Centre), (11025, Crop::Centre), (8000, Crop::Centre), (5000, Crop::Start)] {
        let spec = audio(rate, crop);
        let examples = examples(&sources, &spec, &mel(), 1);
        for row in [0, 3] {
            let mut expected = vec![0.0; examples.cached.dims()];
            examples.cached.read_row(row, &mut expected).unwrap();
            let decoded = examples.recordings.decode(row).unwrap();
            let start = if crop == Crop::Start { 0 } else { decoded.max_start(&spec) / 2 };
            let mut cut = vec![0.0; examples.cached.dims()];
            let cut_at = |recording: &Recording, out: &mut [f32]| {
                let samples = examples.augmented_waveform(recording, Some(start), &[], &mut [1.0]).unwrap();
                examples.extract(samples, out).unwrap();
            };
            cut_at(&decoded, &mut cut);
            assert!(cut == expected, "{rate} Hz, {crop:?}, row {row}, as decoded");
            assert!(examples.recordings.keep(row, decoded).is_none());
            let Some(Cow::Borrowed(kept)) = examples.recordings.find(row).unwrap() else { panic!("there is room") };
            cut_at(kept, &mut cut);
            assert!(cut == expected, "{rate} Hz, {crop:?}, row {row}, as kept");
        }
    }
}

#[test]
fn a_recording_no_longer_than_a_clip_is_read_from_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let sources = recordings(&folder);
    for rate in [8000, 5000] {
        let examples = examples(&sources, &audio(rate, Crop::Centre), &mel(), 1);
        for (row, epoch) in [(1, 0), (2, 0), (1, 1), (2, 7)] {
            let mut expected = vec![0.0; examples.cached.dims()];
            examples.cached.read_row(row, &mut expected).unwrap();
            assert!(example(&examples, row, epoch) == expected, "row {row} in epoch {epoch}");
        }
        assert_eq!(examples.recordings.free.load(Ordering::Relaxed), MAX_DECODED_BYTES, "no recording is kept");
    }
}

#[test]
fn a_kept_recording_needs_no_file_and_one_without_room_does() {
    let folder = tempfile::tempdir().unwrap();
    let sources = recordings(&folder);
    let mut examples = examples(&sources, &audio(8000, Crop::Centre), &raw(), 1);
    // Room for the recording of 2.5 s only.
    examples.recordings.free = (4 * 20_000 + 10).into();
    let (first, _) = (example(&examples, 0, 0), example(&examples, 3, 0));
    assert_eq!(examples.recordings.free.load(Ordering::Relaxed), 10);
    sources.iter().for_each(|source| fs::remove_file(&source.path).unwrap());
    assert_eq!(example(&examples, 0, 0), first);
    let error = examples.example(3, 0, &mut vec![0.0; 8000], &mut [1.0]).unwrap_err().to_string();
    assert!(error.contains("3.wav any more: run again"), "{error}");
}

#[test]
fn a_recording_that_was_edited_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let sources = recordings(&folder);
    let examples = examples(&sources, &audio(8000, Crop::Centre), &raw(), 1);
    write_pcm16(&sources[0].path, &[1; 20_000], 1, 8000).unwrap();
    let error = examples.example(0, 0, &mut vec![0.0; 8000], &mut [1.0]).unwrap_err().to_string();
    assert!(error.contains("was changed while this run"), "{error}");
}

#[test]
fn clips_without_a_length_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let sources = recordings(&folder);
    let set = FeatureSet::from_memory(vec![0.0; 4], 1, vec![0; 4], 1);
    let spec = AudioSpec { clip_seconds: None, ..audio(8000, Crop::Centre) };
    let error = TrainingExamples::new(&set, sources, &spec, &raw(), Seed::new(1), random_crops(), Arc::default())
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("audio.clip_seconds"), "{error}");
}
