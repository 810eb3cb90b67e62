//! Decodes recordings whose headers declare no length, or a wrong number: all of their samples must be there.

use std::path::{Path, PathBuf};

use serde_json::Value;
use timbre_signal::audio::{AudioSpec, decode, load_file, probe_file};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Name, bytes and last samples of a golden file, and the number of samples that ffmpeg decodes.
fn golden_files() -> Vec<(String, Vec<u8>, Vec<f32>, usize)> {
    let read = |name: &str| std::fs::read(folder().join("streams").join(name)).expect("a golden file");
    let lengths: Value = serde_json::from_slice(&read("lengths.json")).expect("JSON");
    let file = |(name, length): (&String, &Value)| {
        let end = bytemuck::pod_collect_to_vec(&read(&format!("{name}.end.f32")));
        (name.clone(), read(name), end, length.as_u64().expect("a number") as usize)
    };
    lengths.as_object().expect("an object").iter().map(file).collect()
}

#[test]
fn recordings_without_a_declared_length_are_decoded_to_their_end() {
    let files = golden_files();
    assert!(files.len() >= 8);
    for (name, bytes, end, length) in files {
        let extension = name.rsplit_once('.').map(|(_, extension)| extension);
        let recording = decode(&bytes, extension).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(recording.samples.len(), length, "{name}");
        for (i, (a, b)) in recording.samples[length - end.len()..].iter().zip(&end).enumerate() {
            assert!((a - b).abs() < 1e-5, "{name}: {a} and {b} at {i} of the end");
        }
    }
}

#[test]
fn the_header_gives_the_length_of_recordings_without_a_declared_length() {
    for (name, _, _, length) in golden_files() {
        let header =
            probe_file(&folder().join("streams").join(&name), None).unwrap_or_else(|error| panic!("{name}: {error}"));
        let seconds = length as f64 / f64::from(header.sample_rate);
        // AAC in MP4 declares the length without the padding of its last packet.
        let bound = if name.ends_with("m4a") { 1024.0 / 88200.0 } else { 1e-9 };
        assert!((header.seconds - seconds).abs() < bound, "{name}: {header:?}, {seconds} s");
    }
}

#[test]
fn the_rate_of_aac_in_mp4_comes_from_the_decoder_configuration() {
    for (name, rate) in [("88200.m4a", 88200), ("96000.m4a", 96000)] {
        let path = folder().join("streams").join(name);
        assert_eq!(probe_file(&path, None).expect("usable").sample_rate, rate);
        let clip = load_file(&path, None, &AudioSpec { sample_rate: rate, ..AudioSpec::default() }).expect("usable");
        assert_eq!(clip.samples.len(), 6144, "{name}");
        let whole = std::fs::read(path).expect("a golden file");
        let code = decode(&whole[..whole.len() * 9 / 10], None).expect_err("cut").code();
        assert!(["truncated", "corrupt"].contains(&code), "{name}: {code}");
    }
}

#[test]
fn a_second_mp3_behind_the_first_is_decoded_too() {
    let one = std::fs::read(folder().join("audio/lame.mp3")).expect("a golden file");
    let first = decode(&one, None).expect("usable").samples;
    let both = decode(&[&one[..], &one[..]].concat(), None).expect("usable").samples;
    assert_eq!(both[..first.len()], first);
    // Every frame of the second: its header lies within the stream, where it is not read.
    assert_eq!((both.len() - first.len()) % 576, 0);
    assert!(both.len() >= 2 * first.len(), "{} and {}", both.len(), first.len());
}
