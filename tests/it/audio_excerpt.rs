//! Excerpts of recordings: the samples of the whole, from where they begin.

use std::path::{Path, PathBuf};

use timbre_signal::audio::wav_write::write_pcm16;
use timbre_signal::audio::{AudioSpec, DecodeLimits, Excerpt, decode_file, load_file, probe_file, visit_file};

use crate::test_dir::test_data;

fn excerpt(start: f64, end: Option<f64>) -> Excerpt {
    Excerpt { start, end }
}

/// Ten seconds whose samples all differ from their neighbours.
fn ten_seconds(folder: &Path) -> PathBuf {
    let path = folder.join("long.wav");
    let samples: Vec<i16> = (0..80_000i32).map(|i| ((i * 7919) % 60_001 - 30_000) as i16).collect();
    write_pcm16(&path, &samples, 1, 8000).unwrap();
    path
}

#[test]
fn an_excerpt_in_any_format_has_the_samples_of_the_whole() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut formats = 0;
    for folder in ["audio", "streams", "opus"] {
        for entry in std::fs::read_dir(golden.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension == "f32") {
                continue;
            }
            let Ok(whole) = decode_file(&path, None, DecodeLimits::NONE) else { continue };
            let (rate, frames) = (f64::from(whole.sample_rate), whole.samples.len());
            for (first, end) in [(0, frames / 3), (frames / 3, frames / 2), (frames * 2 / 3, frames), (1, 2)] {
                let times = excerpt(first as f64 / rate, (end < frames).then_some(end as f64 / rate));
                let wanted = &whole.samples[first..end];
                match decode_file(&path, Some(&times), DecodeLimits::NONE) {
                    Ok(part) => assert!(part.samples == wanted, "{} from {first} to {end}", path.display()),
                    Err(why) => assert!(why.code() == "silent" && wanted.iter().all(|s| *s == 0.0), "{path:?}: {why}"),
                }
            }
            formats += 1;
        }
    }
    assert!(formats >= 30, "{formats}");
}

/// Returns the largest difference of excerpts of a recording from the same place of the whole.
fn largest_difference(path: &Path) -> f32 {
    let whole = decode_file(path, None, DecodeLimits::NONE).unwrap();
    let (rate, frames) = (f64::from(whole.sample_rate), whole.samples.len());
    let places = [0, 1, 4095, 4096, 4097, frames / 3, frames / 2, frames * 3 / 4, frames - frames / 9, frames - 1];
    let difference = |first: usize| {
        let part = decode_file(path, Some(&excerpt(first as f64 / rate, None)), DecodeLimits::NONE).unwrap();
        let wanted = &whole.samples[first..];
        assert_eq!(part.samples.len(), wanted.len(), "{} from {first}", path.display());
        part.samples.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    places.into_iter().map(difference).fold(0.0, f32::max)
}

#[test]
fn an_excerpt_that_is_found_by_seeking_has_the_samples_of_the_whole() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    for entry in std::fs::read_dir(home.join("tests/golden/seek")).unwrap() {
        let path = entry.unwrap().path();
        // What an Opus decoder remembers of music fades.
        let bound = if path.ends_with("opus.opus") { 1e-6 } else { 0.0 };
        let difference = largest_difference(&path);
        assert!(difference <= bound, "{}: {difference}", path.display());
    }
}

#[test]
#[ignore = "needs TIMBRE_TEST_DATA=DIR with an excerpt of Medley-solos-DB in medley_solos: make test-peers"]
fn excerpts_of_recordings_of_medley_solos_have_the_samples_of_the_whole() {
    let piano = std::fs::read_dir(test_data().join("medley_solos/training/piano")).unwrap();
    let files: Vec<PathBuf> = piano.take(2).map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 2);
    for file in files {
        assert_eq!(largest_difference(&file), 0.0, "{}", file.display());
    }
}

#[test]
fn limits_header_and_clip_are_those_of_the_excerpt() {
    let folder = tempfile::tempdir().unwrap();
    let path = ten_seconds(folder.path());
    let spec = AudioSpec { sample_rate: 8000, clip_seconds: Some(1.0), max_seconds: 2.0, ..AudioSpec::default() };
    assert_eq!(load_file(&path, None, &spec).unwrap_err().code(), "too_long");
    let clip = load_file(&path, Some(&excerpt(4.0, Some(6.0))), &spec).unwrap();
    let whole = decode_file(&path, None, DecodeLimits::NONE).unwrap().samples;
    assert!(clip.samples == whole[36_000..44_000], "the middle of the excerpt");
    assert_eq!(load_file(&path, Some(&excerpt(4.0, None)), &spec).unwrap_err().code(), "too_long");
    let seconds = |start, end| probe_file(&path, Some(&excerpt(start, end))).unwrap().seconds;
    assert_eq!((seconds(4.0, Some(6.0)), seconds(4.0, None), seconds(9.0, Some(12.0))), (2.0, 6.0, 1.0));
}

#[test]
fn an_excerpt_that_reaches_beyond_the_end_is_what_there_is_and_one_that_begins_there_is_unusable() {
    let folder = tempfile::tempdir().unwrap();
    let path = ten_seconds(folder.path());
    let part = decode_file(&path, Some(&excerpt(9.5, Some(12.0))), DecodeLimits::NONE).unwrap();
    assert_eq!(part.samples.len(), 4000);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/audio");
    for path in [path, golden.join("plain.mp3"), golden.join("alaw.wav")] {
        let why = visit_file(&path, Some(&excerpt(3600.0, None)), DecodeLimits::NONE, |_, _| ()).unwrap_err();
        assert_eq!(why.code(), "outside", "{why}");
        assert!(why.to_string().starts_with("the excerpt begins at 3600 s, and the recording has only "), "{why}");
    }
}
