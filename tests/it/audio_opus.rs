//! Decodes the files of browsers and Opus encoders to the samples of libopus, and finds truncation and damage.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use timbre_signal::audio::{AudioSpec, Stream, Unusable, decode, probe};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/opus")
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).expect("a golden file")
}

/// The number of samples, and every eighth sample.
fn golden(name: &str) -> (usize, Vec<f32>) {
    let raw = bytes(&format!("{name}.f32"));
    let numbers: Vec<f32> = bytemuck::pod_collect_to_vec(&raw);
    (numbers[0] as usize, numbers[1..].to_vec())
}

const NAMES: [&str; 16] = [
    "chained.opus",
    "chromium.mp4",
    "chromium.webm",
    "fragments.mp4",
    "gain.opus",
    "hybrid.opus",
    "live.webm",
    "long.opus",
    "music.webm",
    "opus.mp4",
    "opusenc.opus",
    "short.opus",
    "silk.opus",
    "six.opus",
    "speech.webm",
    "family.opus",
];

/// All files but the refused one.
fn usable() -> impl Iterator<Item = &'static str> {
    NAMES.into_iter().filter(|name| *name != "family.opus")
}

fn drained(bytes: &[u8], rate: u32) -> Result<Vec<f32>, Unusable> {
    all_of(Stream::from_bytes(bytes, None, &AudioSpec::at(rate))?)
}

fn all_of(mut stream: Stream) -> Result<Vec<f32>, Unusable> {
    let mut samples = Vec::new();
    while stream.next_block(&mut samples)? {}
    Ok(samples)
}

fn code(bytes: &[u8]) -> &'static str {
    decode(bytes, None).map_or_else(|unusable| unusable.code(), |_| "usable")
}

#[test]
fn every_mode_frame_size_and_container_decodes_to_the_samples_of_libopus() {
    for name in usable() {
        let recording = decode(&bytes(name), None).unwrap_or_else(|error| panic!("{name}: {error}"));
        let (length, expected) = golden(name);
        let rate = if name == "fragments.mp4" { 22050 } else { 48000 };
        assert_eq!((recording.samples.len(), recording.sample_rate), (length, rate), "{name}");
        for (i, (a, b)) in recording.samples.iter().step_by(8).zip(&expected).enumerate() {
            assert!((a - b).abs() < 1e-5, "{name}: {a} and {b} at {}", 8 * i);
        }
    }
    let channels = |name| decode(&bytes(name), None).expect("usable").channels;
    assert_eq!((channels("silk.opus"), channels("music.webm"), channels("six.opus")), (1, 2, 6));
}

#[test]
fn header_or_packets_give_the_decoded_length() {
    for name in usable() {
        let (header, recording) =
            (probe(&bytes(name), None).expect("usable"), decode(&bytes(name), None).expect("usable"));
        assert_eq!((header.sample_rate, header.channels), (recording.sample_rate, recording.channels), "{name}");
        let seconds = recording.samples.len() as f64 / f64::from(recording.sample_rate);
        // AAC pads its last packet.
        let bound = if name == "fragments.mp4" { 1024.0 / 22050.0 } else { 1e-9 };
        assert!((header.seconds - seconds).abs() < bound, "{name}: {header:?}, {seconds} s");
    }
    assert_eq!(probe(&bytes("live.webm"), None).expect("usable").codec, "opus");
}

#[test]
fn the_output_gain_of_the_header_is_applied() {
    let (plain, gained) = (decode(&bytes("opusenc.opus"), None), decode(&bytes("gain.opus"), None));
    let gain = 10f32.powf(-6.5 / 20.0);
    for (a, b) in plain.expect("usable").samples.iter().zip(&gained.expect("usable").samples) {
        assert!((a * gain - b).abs() < 1e-6, "{a} and {b}");
    }
}

#[test]
fn channels_without_a_position_are_refused() {
    for outcome in [decode(&bytes("family.opus"), None).map(drop), probe(&bytes("family.opus"), None).map(drop)] {
        let refused = outcome.expect_err("family 255");
        assert_eq!(refused.code(), "unsupported");
        assert!(refused.to_string().contains("channel mapping family 255"), "{refused}");
    }
}

#[test]
fn every_stream_equals_the_whole_bit_for_bit() {
    let as_bits = |samples: Vec<f32>| samples.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    for name in usable() {
        let recording = decode(&bytes(name), None).expect("usable");
        let rate = recording.sample_rate;
        let samples = as_bits(recording.samples);
        assert!(as_bits(drained(&bytes(name), rate).expect("usable")) == samples, "{name}");
        let file = Stream::open(&folder().join(name), &AudioSpec::at(rate)).and_then(all_of);
        assert!(as_bits(file.expect("usable")) == samples, "{name}, from a file");
    }
}

/// A file cut exactly between two pages, blocks or fragments cannot be recognised as truncated: it is a shorter recording, whose
/// samples are the first ones of the whole.
#[test]
fn a_file_cut_anywhere_is_truncated_or_a_shorter_recording() {
    for name in usable() {
        let whole = bytes(name);
        let samples = decode(&whole, None).expect("usable").samples;
        let mut shorter = 0;
        for end in 0..whole.len() {
            match decode(&whole[..end], None) {
                Err(unusable) => {
                    let said = ["truncated", "corrupt", "empty", "not_audio", "no_samples"].contains(&unusable.code());
                    assert!(said, "{name}, {end} bytes: {unusable}");
                    let failed = unusable.to_string().contains("the decoder failed");
                    assert!(!failed, "{name}, {end} bytes: {unusable}");
                }
                Ok(recording) => {
                    shorter += 1;
                    assert!(samples.starts_with(&recording.samples), "{name}, {end} bytes");
                }
            }
        }
        let ends = match name {
            // The first link is a complete file; the bytes after it may be anything until they form a page.
            "chained.opus" => 20,
            // Live recordings.
            "chromium.webm" | "chromium.mp4" | "fragments.mp4" | "live.webm" => 16,
            _ => 0,
        };
        assert!(shorter <= ends, "{name}: {shorter} cuts were taken for the end");
    }
}

#[test]
fn the_error_of_a_truncated_webm_gives_the_declared_and_the_actual_size() {
    let whole = bytes("music.webm");
    let cut = decode(&whole[..whole.len() - 100], None).expect_err("cut off");
    assert!(matches!(cut, Unusable::Truncated { declared, found, .. } if declared - found == 100), "{cut}");
    // Of unknown size: only the last block is known to be incomplete.
    let live = bytes("live.webm");
    let at = live.windows(4).position(|word| word == [0x1F, 0x43, 0xB6, 0x75]).expect("a cluster") + 40;
    assert_eq!(code(&live[..at]), "truncated");
}

#[test]
fn two_recordings_in_one_webm_file_are_refused() {
    let twice = [bytes("music.webm"), bytes("music.webm")].concat();
    let refused = decode(&twice, None).expect_err("two recordings");
    assert_eq!((refused.code(), refused.to_string().contains("several")), ("unsupported", true), "{refused}");
    // The recording of a browser has no declared end to which a second one could be appended.
    let twice = [bytes("chromium.webm"), bytes("chromium.webm")].concat();
    assert_eq!(code(&twice), "unsupported");
}

/// symphonia iterates over the packets of a fragment: four thousand million of them would take many seconds.
#[test]
fn a_fragment_with_more_packets_than_bytes_is_corrupt() {
    let mut file = bytes("fragments.mp4");
    let trun = file.windows(4).position(|word| word == b"trun").expect("a fragment");
    file[trun + 8..trun + 12].copy_from_slice(&[0xFF, 0xFF, 0xFF, 0xF0]);
    assert_eq!(code(&file), "corrupt");
}

/// Fuzzing found one after the header of another format, whose packets were not counted.
#[test]
fn an_mp4_file_must_begin_at_the_first_byte() {
    for name in ["opus.mp4", "fragments.mp4"] {
        assert_eq!(code(&[b"FO.M....AIFFCOMM".as_slice(), &bytes(name)].concat()), "not_audio", "{name}");
    }
}

/// An atom header of eight bytes that declares more than the file has.
#[test]
fn sizes_beyond_the_file_cost_neither_memory_nor_time() {
    for name in ["music.webm", "live.webm", "chromium.webm"] {
        let whole = bytes(name);
        for place in (0..whole.len() - 8).step_by(5) {
            let mut huge = whole.clone();
            huge[place..place + 8].copy_from_slice(&[0x01, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xF0]);
            let _ = code(&huge);
        }
    }
    for name in ["chromium.mp4", "opus.mp4", "fragments.mp4"] {
        let whole = bytes(name);
        for place in (1..whole.len() - 4).step_by(4) {
            let mut huge = whole.clone();
            huge[place..place + 4].copy_from_slice(&[0xFF, 0xFF, 0xFF, 0xF0]);
            let _ = code(&huge);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn flipped_bytes_never_cause_a_panic(which in 0..NAMES.len(), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut file = bytes(NAMES[which]);
        for (place, byte) in &flips {
            let place = place.index(file.len());
            file[place] = *byte;
        }
        let whole = decode(&file, None);
        match (&whole, drained(&file, whole.as_ref().map_or(16000, |recording| recording.sample_rate))) {
            (Ok(recording), Ok(streamed)) => {
                prop_assert!(recording.samples.iter().all(|sample| sample.is_finite()));
                prop_assert!(recording.samples.len() == streamed.len());
            }
            (Err(a), Err(b)) => prop_assert_eq!(a.code(), b.code()),
            (a, b) => prop_assert!(false, "{}: {:?}, {:?}", NAMES[which], a.as_ref().map(|r| r.samples.len()), b.map(|s| s.len())),
        }
        let _ = probe(&file, None);
    }
}
