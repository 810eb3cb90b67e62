//! What browsers and Opus encoders write: the samples of libopus, and every way to be cut off or damaged.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use timbre_signal::audio::{Stream, Unusable, decode, probe};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/opus")
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).expect("a golden file")
}

/// How many samples there are, and every eighth of them.
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

/// Without the one that is refused.
fn usable() -> impl Iterator<Item = &'static str> {
    NAMES.into_iter().filter(|name| *name != "family.opus")
}

fn drained(bytes: &[u8], rate: u32) -> Result<Vec<f32>, Unusable> {
    all_of(Stream::from_bytes(bytes, None, rate)?)
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
fn every_layer_frame_size_and_container_decodes_to_libopus_samples() {
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
fn the_header_or_the_packets_tell_the_length_that_decoding_gives() {
    for name in usable() {
        let (header, recording) =
            (probe(&bytes(name), None).expect("usable"), decode(&bytes(name), None).expect("usable"));
        assert_eq!((header.sample_rate, header.channels), (recording.sample_rate, recording.channels), "{name}");
        let seconds = recording.samples.len() as f64 / f64::from(recording.sample_rate);
        // AAC fills its last packet.
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
fn channels_that_belong_nowhere_are_refused_with_a_sentence() {
    for outcome in [decode(&bytes("family.opus"), None).map(drop), probe(&bytes("family.opus"), None).map(drop)] {
        let refused = outcome.expect_err("family 255");
        assert_eq!(refused.code(), "unsupported");
        assert!(refused.to_string().contains("channel mapping family 255"), "{refused}");
    }
}

#[test]
fn every_stream_is_the_whole_to_the_bit() {
    let as_bits = |samples: Vec<f32>| samples.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    for name in usable() {
        let recording = decode(&bytes(name), None).expect("usable");
        let rate = recording.sample_rate;
        let samples = as_bits(recording.samples);
        assert!(as_bits(drained(&bytes(name), rate).expect("usable")) == samples, "{name}");
        let file = Stream::open(&folder().join(name), rate).and_then(all_of);
        assert!(as_bits(file.expect("usable")) == samples, "{name}, from a file");
    }
}

/// Where one more byte begins a new page, block or fragment, nobody can tell that more was meant to come: but then it is
/// a recording that ends there, with the samples that the whole begins with.
#[test]
fn a_file_cut_anywhere_is_cut_off_or_ends_there() {
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
            // The first link is a file; what follows may be anything until it is a page.
            "chained.opus" => 20,
            // What was recorded live.
            "chromium.webm" | "chromium.mp4" | "fragments.mp4" | "live.webm" => 16,
            _ => 0,
        };
        assert!(shorter <= ends, "{name}: {shorter} cuts were taken for the end");
    }
}

#[test]
fn a_cut_off_webm_says_what_was_declared_and_what_is_there() {
    let whole = bytes("music.webm");
    let cut = decode(&whole[..whole.len() - 100], None).expect_err("cut off");
    assert!(matches!(cut, Unusable::Truncated { declared, found, .. } if declared - found == 100), "{cut}");
    // Of unknown size: only the last block is known not to be whole.
    let live = bytes("live.webm");
    let at = live.windows(4).position(|word| word == [0x1F, 0x43, 0xB6, 0x75]).expect("a cluster") + 40;
    assert_eq!(code(&live[..at]), "truncated");
}

#[test]
fn two_recordings_in_one_webm_are_not_taken_for_the_first() {
    let twice = [bytes("music.webm"), bytes("music.webm")].concat();
    let refused = decode(&twice, None).expect_err("two recordings");
    assert_eq!((refused.code(), refused.to_string().contains("several")), ("unsupported", true), "{refused}");
    // A browser's has no end to which the second could be added.
    let twice = [bytes("chromium.webm"), bytes("chromium.webm")].concat();
    assert_eq!(code(&twice), "unsupported");
}

/// symphonia counts the packets of a fragment one by one: four thousand million of them would take many seconds.
#[test]
fn a_fragment_of_more_packets_than_bytes_is_damage() {
    let mut file = bytes("fragments.mp4");
    let trun = file.windows(4).position(|word| word == b"trun").expect("a fragment");
    file[trun + 8..trun + 12].copy_from_slice(&[0xFF, 0xFF, 0xFF, 0xF0]);
    assert_eq!(code(&file), "corrupt");
}

/// Fuzzing found one behind the head of another format, where nothing had counted its packets.
#[test]
fn an_mp4_that_does_not_begin_at_the_first_byte_is_none() {
    for name in ["opus.mp4", "fragments.mp4"] {
        assert_eq!(code(&[b"FO.M....AIFFCOMM".as_slice(), &bytes(name)].concat()), "not_audio", "{name}");
    }
}

/// A head of eight bytes that claims more than there is.
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
    fn flipped_bytes_are_usable_or_not_and_never_a_panic(which in 0..NAMES.len(), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
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
