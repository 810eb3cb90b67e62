//! Decodes every format to its golden samples, and returns every kind of error.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use timbre_signal::audio::{
    AudioSpec, Clip, Crop, Recording, RecordingSource, Stream, Unusable, decode, load, load_file, probe, probe_file,
};

use crate::test_dir::test_data;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/audio")
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).expect("a golden file")
}

fn golden(name: &str) -> Vec<f32> {
    bytemuck::pod_collect_to_vec(&bytes(&format!("{name}.f32")))
}

/// The golden recordings, sorted.
fn recordings() -> Vec<String> {
    let entries = std::fs::read_dir(folder()).expect("the folder of golden files");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("an ASCII name"));
    let mut names: Vec<String> = names.filter(|name| !name.ends_with(".f32")).collect();
    names.sort();
    names
}

fn extension(name: &str) -> Option<&str> {
    name.rsplit_once('.').map(|(_, extension)| extension)
}

fn is_lossy(name: &str) -> bool {
    ["ogg", "mp3", "aac"].contains(&extension(name).unwrap_or_default()) || name == "aac.m4a"
}

fn reason(bytes: &[u8]) -> &'static str {
    match decode(bytes, None) {
        Ok(recording) => panic!("decoded {} samples", recording.samples.len()),
        Err(unusable) => {
            assert!(!unusable.to_string().is_empty());
            unusable.code()
        }
    }
}

#[test]
fn lossless_formats_decode_to_the_peers_samples_bit_for_bit() {
    let names: Vec<String> = recordings().into_iter().filter(|name| !is_lossy(name)).collect();
    assert!(names.len() >= 20, "{names:?}");
    for name in names {
        let recording = decode(&bytes(&name), extension(&name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(recording.samples, golden(&name), "{name}");
        assert_eq!(recording.sample_rate, 8000, "{name}");
    }
}

#[test]
fn lossy_formats_decode_to_ffmpegs_samples_within_rounding() {
    for name in recordings().into_iter().filter(|name| is_lossy(name)) {
        let recording = decode(&bytes(&name), extension(&name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let expected = golden(&name);
        assert_eq!((recording.sample_rate, recording.channels), (22050, 2), "{name}");
        assert_eq!(recording.samples.len(), expected.len(), "{name}");
        for (i, (a, b)) in recording.samples.iter().zip(&expected).enumerate() {
            assert!((a - b).abs() < 1e-5, "{name}: {a} and {b} at {i}");
        }
    }
}

#[test]
fn the_header_gives_the_decoded_length() {
    for name in recordings() {
        let recording = decode(&bytes(&name), extension(&name)).expect("a usable file");
        let header = probe_file(&folder().join(&name), None).expect("a usable file");
        assert_eq!((header.sample_rate, header.channels), (recording.sample_rate, recording.channels), "{name}");
        let seconds = recording.samples.len() as f64 / f64::from(recording.sample_rate);
        // AAC pads its last packet, and the header of an MP4 does not count the padding.
        let bound = if name == "aac.m4a" { 1024.0 / 22050.0 } else { 1e-9 };
        assert!((header.seconds - seconds).abs() < bound, "{name}: {header:?}, {seconds} s");
    }
    assert_eq!(probe(&bytes("six.wav"), None).expect("usable").codec, "pcm_s24le");
    assert_eq!(probe(&bytes("six.wav"), None).expect("usable").channels, 6);
    assert_eq!(probe(&bytes("s16.flac"), None).expect("usable").codec, "flac");
}

#[test]
fn the_content_determines_the_format_even_with_a_wrong_extension() {
    for name in recordings() {
        let right = decode(&bytes(&name), extension(&name));
        for wrong in [None, Some("wav"), Some("mp3"), Some("flac"), Some("m4a"), Some("txt")] {
            assert_eq!(decode(&bytes(&name), wrong), right, "{name} as {wrong:?}");
        }
    }
}

#[test]
fn a_truncated_file_is_never_accepted_as_a_shorter_one() {
    // Formats without a length or an end: a plain MP3, ADTS, a WAVE stream.
    let unmarked = ["plain.mp3", "adts.aac", "stream.wav"];
    for name in recordings().into_iter().filter(|name| !unmarked.contains(&name.as_str())) {
        let whole = bytes(&name);
        for percent in [30, 50, 70, 90, 97] {
            let cut = &whole[..whole.len() * percent / 100];
            match decode(cut, extension(&name)) {
                Err(unusable) => {
                    let code = unusable.code();
                    assert!(["truncated", "corrupt"].contains(&code), "{name} at {percent} %: {unusable}");
                }
                Ok(recording) => assert_eq!(recording.samples, golden(&name), "{name} at {percent} %"),
            }
        }
    }
}

#[test]
fn a_file_that_is_cut_off_can_be_read_up_to_the_cut() {
    let longer = folder().join("../seek");
    // One has no end, and of one a single block is cut.
    let cannot = ["stream.wav", "ms.wav"];
    let waves = recordings().into_iter().filter(|name| name.ends_with(".wav") && !cannot.contains(&name.as_str()));
    let waves = waves.map(|name| (folder().join(&name), name));
    // Recordings of many packets: of a shorter one nothing may be whole.
    let others = ["pcm.caf", "vorbis.ogg", "opus.opus", "xing.mp3"];
    let others = others.iter().map(|name| (longer.join(name), (*name).to_owned()));
    for (path, name) in waves.chain(others) {
        let whole = std::fs::read(path).unwrap();
        let Recording { samples: expected, sample_rate: rate, .. } = decode(&whole, extension(&name)).unwrap();
        let cut = &whole[..whole.len() * 7 / 10];
        assert!(decode(cut, extension(&name)).is_err(), "{name}: a run does not use it");
        let recording = RecordingSource::Bytes { bytes: cut, extension: extension(&name) };
        let mut stream =
            Stream::up_to_cut(recording, &AudioSpec::at(rate)).unwrap_or_else(|why| panic!("{name}: {why}"));
        let mut samples = Vec::new();
        while stream.next_block(&mut samples).unwrap_or_else(|why| panic!("{name}: {why}")) {}
        let cut_off = stream.cut_off().unwrap_or_else(|| panic!("{name} is not known to be cut off"));
        // A decoder may return what it has of the packet in which the file ends.
        let same = samples.iter().zip(&expected).take_while(|(a, b)| a == b).count();
        assert!(same > 0 && same + 8192 >= samples.len(), "{name}: {same} of {} samples", samples.len());
        assert!(samples.len() < expected.len(), "{name}");
        if let Some(declared) = cut_off.declared_seconds {
            let seconds = expected.len() as f64 / f64::from(rate);
            assert!((declared - seconds).abs() < 0.1, "{name}: {declared} of {seconds} s");
        }
        // A whole file is not cut off.
        let recording = RecordingSource::Bytes { bytes: &whole, extension: extension(&name) };
        let mut stream = Stream::up_to_cut(recording, &AudioSpec::at(rate)).unwrap();
        while stream.next_block(&mut samples).unwrap() {}
        assert_eq!(stream.cut_off(), None, "{name}");
    }
}

#[test]
fn the_error_of_a_truncated_file_gives_the_declared_and_the_actual_size() {
    let wav = bytes("s16le.wav");
    let Err(Unusable::Truncated { declared, found, .. }) = decode(&wav[..wav.len() - 600], None) else { panic!() };
    assert_eq!((declared, found), (1600, 1000));
    // These chunks begin with headers of 8 and 4 bytes.
    for (name, bytes_declared) in [("s16be.aiff", 1608), ("f32le.caf", 3204)] {
        let whole = bytes(name);
        let Err(Unusable::Truncated { declared, found, .. }) = decode(&whole[..whole.len() - 600], None) else {
            panic!("{name}")
        };
        assert_eq!((declared, found), (bytes_declared, bytes_declared - 600), "{name}");
    }
    let ogg = bytes("vorbis.ogg");
    let cut = decode(&ogg[..ogg.len() - 100], None);
    assert!(matches!(&cut, Err(Unusable::Truncated { declared, found, .. }) if declared - found == 100), "{cut:?}");
    for name in ["s16.flac", "lame.mp3"] {
        let whole = bytes(name);
        let Err(Unusable::Truncated { declared, found, .. }) = decode(&whole[..whole.len() * 2 / 3], None) else {
            panic!("{name}: {:?}", decode(&whole[..whole.len() * 2 / 3], None).map(|recording| recording.samples.len()))
        };
        assert_eq!(declared, golden(name).len() as u64, "{name}");
        assert!(found < declared, "{name}");
    }
}

/// A WAVE file from its chunks.
fn wav(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut file = b"RIFF\0\0\0\0WAVE".to_vec();
    for (id, body) in chunks {
        file.extend_from_slice(*id);
        file.extend_from_slice(&(body.len() as u32).to_le_bytes());
        file.extend_from_slice(body);
        file.resize(file.len().next_multiple_of(2), 0);
    }
    let size = file.len() as u32 - 8;
    file[4..8].copy_from_slice(&size.to_le_bytes());
    file
}

fn format(tag: u16, channels: u16, rate: u32, bits: u16) -> Vec<u8> {
    let align = channels * bits.div_ceil(8);
    let mut body = Vec::new();
    body.extend_from_slice(&tag.to_le_bytes());
    body.extend_from_slice(&channels.to_le_bytes());
    body.extend_from_slice(&rate.to_le_bytes());
    body.extend_from_slice(&(rate * u32::from(align)).to_le_bytes());
    body.extend_from_slice(&align.to_le_bytes());
    body.extend_from_slice(&bits.to_le_bytes());
    body
}

pub fn float_wav(samples: &[f32]) -> Vec<u8> {
    wav(&[(b"fmt ", &format(3, 1, 8000, 32)), (b"data", bytemuck::cast_slice(samples))])
}

#[test]
fn each_kind_of_unusable_file_has_its_own_code() {
    assert_eq!(reason(b""), "empty");
    assert_eq!(reason(b"This is a text file that someone named song.wav.\n"), "not_audio");
    assert_eq!(reason("Schöne Müllerin\n".repeat(5000).as_bytes()), "not_audio");
    assert_eq!(reason(&[0; 4096]), "not_audio");
    assert_eq!(reason(&float_wav(&[0.0; 500])), "silent");
    assert_eq!(reason(&float_wav(&[0.0, -0.0])), "silent");
    assert_eq!(reason(&float_wav(&[])), "no_samples");
    assert_eq!(reason(&float_wav(&[0.1, f32::NAN, 0.2])), "not_finite");
    assert_eq!(reason(&wav(&[(b"data", &[1, 2, 3, 4])])), "corrupt");
    assert_eq!(reason(&wav(&[(b"fmt ", &format(1, 1, 8000, 16))])), "corrupt");
    assert_eq!(reason(&wav(&[(b"fmt ", &format(1, 0, 8000, 16)), (b"data", &[1, 2])])), "corrupt");
    assert_eq!(reason(&wav(&[(b"fmt ", &format(1, 1, 7, 16)), (b"data", &[1, 2])])), "corrupt");
    assert_eq!(reason(&wav(&[(b"fmt ", &format(0x161, 1, 8000, 16)), (b"data", &[1, 2])])), "unsupported");
    assert_eq!(
        load_file(Path::new("no such file.wav"), None, &AudioSpec::default()).expect_err("absent").code(),
        "unreadable"
    );
}

#[test]
fn packets_declared_to_be_gigabytes_are_refused_before_memory_is_reserved() {
    let mut caf = b"caff\0\x01\0\0desc\0\0\0\0\0\0\0\x20".to_vec();
    caf.extend(8000f64.to_be_bytes());
    caf.extend(b"lpcm\0\0\0\0\0\0\0\x02");
    caf.extend([u32::MAX, 1, 16].iter().flat_map(|number| number.to_be_bytes()));
    caf.extend(b"data\0\0\0\0\0\0\0\x08\0\0\0\0\x10\0\x20\0");
    let error = decode(&caf, None).expect_err("damage");
    assert!(error.code() == "corrupt" && error.to_string().contains("packets of 4294967295"), "{error}");
}

#[test]
fn a_nan_or_an_infinity_is_reported_with_its_position() {
    let mut samples = vec![0.25f32; 8000];
    samples[6000] = f32::NEG_INFINITY;
    let found = decode(&float_wav(&samples), None);
    let value = f32::NEG_INFINITY;
    assert_eq!(found, Err(Unusable::NotFinite { frame: 6000, seconds: 0.75, value }));
    // Finite in f64, infinite as f32.
    let huge = wav(&[(b"fmt ", &format(3, 1, 8000, 64)), (b"data", bytemuck::cast_slice(&[0.5f64, 1e300]))]);
    assert_eq!(reason(&huge), "not_finite");
}

#[test]
fn two_channels_that_cancel_are_silent_and_one_loud_channel_is_not() {
    let pcm = |frames: &[[i16; 2]]| {
        let data: Vec<u8> = frames.as_flattened().iter().flat_map(|sample| sample.to_le_bytes()).collect();
        wav(&[(b"fmt ", &format(1, 2, 8000, 16)), (b"data", &data)])
    };
    assert_eq!(reason(&pcm(&[[5, -5], [100, -100]])), "silent");
    let mixed = decode(&pcm(&[[0, 0], [16384, 0], [1, 2]]), None).expect("usable");
    assert_eq!(mixed.samples, [0.0, 0.25, 1.5 / 32768.0]);
    assert_eq!(mixed.channels, 2);
}

#[test]
fn chunks_of_odd_size_around_the_samples_are_skipped() {
    let data = [0x00, 0x40, 0x00, 0xC0];
    let plain = decode(&wav(&[(b"fmt ", &format(1, 1, 8000, 16)), (b"data", &data)]), None).expect("usable");
    assert_eq!(plain.samples, [0.5, -0.5]);
    let list = b"INFOISFT\x05\0\0\0Lavf5\0LIST";
    let around = wav(&[(b"bext", b"odd"), (b"fmt ", &format(1, 1, 8000, 16)), (b"data", &data), (b"LIST", &list[..])]);
    assert_eq!(decode(&around, None).expect("usable"), plain);
    let behind = wav(&[(b"data", &data), (b"LIST", b"INFO?"), (b"fmt ", &format(1, 1, 8000, 16))]);
    assert_eq!(decode(&behind, None).expect("usable"), plain);
    // An odd data chunk, 24 bits in mono: its padding is not a sample.
    let odd = wav(&[(b"fmt ", &format(1, 1, 8000, 24)), (b"data", &[0, 0, 0x40]), (b"LIST", b"INFO")]);
    assert_eq!(decode(&odd, None).expect("usable").samples, [0.5]);
    let unpadded = &wav(&[(b"fmt ", &format(1, 1, 8000, 24)), (b"data", &[0, 0, 0x40])]);
    assert_eq!(decode(&unpadded[..unpadded.len() - 1], None).expect("usable").samples, [0.5]);
}

#[test]
fn unknown_sizes_of_a_pipe_extend_to_the_end_of_the_file() {
    let whole = wav(&[(b"fmt ", &format(1, 1, 8000, 16)), (b"data", &[0x00, 0x40, 0x00, 0xC0, 0x01, 0x00])]);
    let expected = decode(&whole, None).expect("usable");
    for (riff, data) in [(0u32, 0u32), (u32::MAX, u32::MAX), (0x7FFF_F024, 0x7FFF_F000), (12345, 6)] {
        let mut streamed = whole.clone();
        streamed[4..8].copy_from_slice(&riff.to_le_bytes());
        streamed[40..44].copy_from_slice(&data.to_le_bytes());
        assert_eq!(decode(&streamed, None).expect("usable"), expected, "{riff:#x} {data:#x}");
    }
    // A size of 0 followed by a valid chunk is taken literally.
    let empty = wav(&[(b"fmt ", &format(1, 1, 8000, 16)), (b"data", b""), (b"LIST", b"INFOabcd")]);
    assert_eq!(reason(&empty), "no_samples");
}

#[test]
fn an_extensible_header_names_its_format_by_its_sub_format() {
    let mut extensible = format(0xFFFE, 2, 8000, 32);
    extensible.extend_from_slice(&22u16.to_le_bytes());
    extensible.extend_from_slice(&32u16.to_le_bytes());
    extensible.extend_from_slice(&3u32.to_le_bytes());
    extensible.extend_from_slice(&[3, 0, 0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xAA, 0, 0x38, 0x9B, 0x71]);
    let data: [f32; 4] = [0.5, 0.25, -1.5, 0.5];
    let file = wav(&[(b"fmt ", &extensible), (b"data", bytemuck::cast_slice(&data))]);
    assert_eq!(decode(&file, None).expect("usable").samples, [0.375, -0.5]);
}

#[test]
fn a_damaged_flac_frame_makes_the_recording_corrupt() {
    // The golden file has one frame of 400 samples: damage anywhere in it must be found.
    let whole = bytes("s16.flac");
    let start = whole.len() - 300;
    for place in (start..whole.len()).step_by(17) {
        let mut damaged = whole.clone();
        damaged[place] ^= 0x10;
        assert!(decode(&damaged, None).is_err(), "byte {place}");
    }
}

#[test]
fn a_clip_is_cropped_or_padded_to_its_length() {
    let samples: Vec<f32> = (1..=8000).map(|i| i as f32 / 8000.0).collect();
    let file = float_wav(&samples);
    let clip = |clip_seconds, crop| {
        load(&file, None, &AudioSpec { sample_rate: 8000, clip_seconds, crop, ..AudioSpec::default() }).expect("usable")
    };
    assert_eq!(clip(None, Crop::Centre), Clip { samples: samples.clone(), sample_rate: 8000 });
    assert_eq!(clip(Some(0.25), Crop::Start).samples, samples[..2000]);
    assert_eq!(clip(Some(0.25), Crop::Centre).samples, samples[3000..5000]);
    let padded = clip(Some(1.5), Crop::Centre).samples;
    assert_eq!((&padded[..8000], &padded[8000..]), (&samples[..], &[0.0f32; 4000][..]));
    assert_eq!(clip(Some(0.00019), Crop::Start).samples.len(), 2);
}

#[test]
fn a_clip_of_a_long_recording_equals_a_part_of_the_resampled_whole() {
    let samples: Vec<f32> = (0..40000).map(|i| ((i * i) as f32 * 1e-4).sin() * 0.5).collect();
    let file = float_wav(&samples);
    for rate in [22050, 7999] {
        let spec = |clip_seconds, crop| AudioSpec { sample_rate: rate, clip_seconds, crop, ..AudioSpec::default() };
        let whole = load(&file, None, &spec(None, Crop::Start)).expect("usable").samples;
        let frames = rate as usize;
        let start = (whole.len() - frames) / 2;
        assert_eq!(
            load(&file, None, &spec(Some(1.0), Crop::Centre)).expect("usable").samples,
            whole[start..start + frames]
        );
        assert_eq!(load(&file, None, &spec(Some(1.0), Crop::Start)).expect("usable").samples, whole[..frames]);
    }
}

#[test]
fn the_check_for_silence_looks_at_the_whole_recording() {
    let mut samples = vec![0.0f32; 8000];
    samples[7999] = 0.5;
    let spec = AudioSpec { sample_rate: 8000, clip_seconds: Some(0.1), crop: Crop::Start, ..AudioSpec::default() };
    assert_eq!(load(&float_wav(&samples), None, &spec).expect("usable").samples, vec![0.0; 800]);
}

#[test]
fn samples_that_would_overflow_the_filter_are_refused() {
    assert_eq!(reason(&float_wav(&[0.5, -3e38, 0.5])), "not_finite");
    let spec = AudioSpec { sample_rate: 5000, clip_seconds: None, crop: Crop::Start, ..AudioSpec::default() };
    for rate in [5000, 7999] {
        let clip =
            load(&float_wav(&[1e12; 9000]), None, &AudioSpec { sample_rate: rate, ..spec.clone() }).expect("usable");
        assert!(clip.samples.iter().all(|sample| sample.is_finite()));
    }
}

#[test]
#[ignore = "needs TIMBRE_TEST_DATA=DIR with an excerpt of Medley-solos-DB in medley_solos: make test-peers"]
fn recordings_of_medley_solos_decode_to_the_lengths_of_their_headers() {
    let classes = std::fs::read_dir(test_data().join("medley_solos/test")).expect("a folder of classes");
    let mut count = 0;
    for class in classes {
        for file in std::fs::read_dir(class.expect("an entry").path()).expect("a folder a class") {
            let path = file.expect("an entry").path();
            let header = probe_file(&path, None).expect("a FLAC file");
            let clip = load_file(&path, None, &AudioSpec::default()).expect("a FLAC file");
            assert_eq!((header.sample_rate, header.channels, header.codec.as_str()), (44100, 1, "flac"));
            assert_eq!(clip.samples.len(), (header.seconds * 22050.0).ceil() as usize);
            count += 1;
        }
    }
    assert!(count > 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn random_bytes_never_cause_a_panic(tail in prop::collection::vec(any::<u8>(), 0..4000), head in 0usize..9) {
        let heads: [&[u8]; 9] =
            [b"", b"RIFF\x20\0\0\0WAVEfmt ", b"fLaC", b"OggS", b"ID3\x03", b"\xFF\xFB\x90\x64", b"FORM\0\0\x10\0AIFFCOMM", b"caff\0\x01\0\0desc", b"\0\0\0\x18ftypM4A "];
        let file = [heads[head], &tail[..]].concat();
        for outcome in [decode(&file, None).map(|_| ()), probe(&file, Some("mp3")).map(|_| ())] {
            if let Err(Unusable::Corrupt { found, .. }) = outcome {
                prop_assert!(!found.contains("the decoder failed"), "{found}");
            }
        }
    }

    #[test]
    fn flipped_bits_never_cause_panics_or_non_finite_samples(which in any::<prop::sample::Index>(), flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..8)) {
        let names = recordings();
        let name = which.get(&names);
        let mut file = bytes(name);
        for (place, bit) in &flips {
            let place = place.index(file.len());
            file[place] ^= 1 << bit;
        }
        let spec = AudioSpec { sample_rate: 16000, clip_seconds: Some(0.1), crop: Crop::Centre, ..AudioSpec::default() };
        if let Ok(clip) = load(&file, extension(name), &spec) {
            prop_assert!(clip.samples.len() == 1600 && clip.samples.iter().all(|sample| sample.is_finite()), "{name}");
        }
        let _ = probe(&file, extension(name));
    }
}

/// An AU file of these samples.
fn au(encoding: u32, channels: u32, data: &[u8], declared: u32) -> Vec<u8> {
    let mut file = b".snd".to_vec();
    [28, declared, encoding, 8000, channels, 0].iter().for_each(|number: &u32| file.extend(number.to_be_bytes()));
    file.extend(data);
    file
}

#[test]
fn au_files_have_the_samples_of_the_wave_files_with_the_same_content() {
    let sound = |frames: usize| (0..frames).map(|i| ((i * 7919) % 60_001) as i32 - 30_000).collect::<Vec<i32>>();
    let samples = sound(500);
    let expected: Vec<f32> = samples.iter().map(|&s| s as f32 / 32768.0).collect();
    let data_of = |of: &dyn Fn(i32) -> Vec<u8>| samples.iter().flat_map(|&s| of(s)).collect::<Vec<u8>>();
    let encodings = [
        (3, data_of(&|s| (s as i16).to_be_bytes().to_vec())),
        (4, data_of(&|s| (s << 16).to_be_bytes()[..3].to_vec())),
        (5, data_of(&|s| (s << 16).to_be_bytes().to_vec())),
        (6, data_of(&|s| (s as f32 / 32768.0).to_be_bytes().to_vec())),
        (7, data_of(&|s| (f64::from(s) / 32768.0).to_be_bytes().to_vec())),
    ];
    for (encoding, data) in encodings {
        for declared in [data.len() as u32, u32::MAX] {
            let recording = decode(&au(encoding, 1, &data, declared), None).unwrap();
            assert_eq!((recording.samples.as_slice(), recording.sample_rate), (&expected[..], 8000), "{encoding}");
        }
        let stereo = decode(&au(encoding, 2, &data, data.len() as u32), None).unwrap();
        assert_eq!(stereo.samples[0], (expected[0] + expected[1]) / 2.0);
        assert_eq!((stereo.samples.len(), stereo.channels), (250, 2));
        assert_eq!(probe(&au(encoding, 1, &data, u32::MAX), None).unwrap().seconds, 500.0 / 8000.0);
    }
    assert_eq!(decode(&au(2, 1, &[64, 192], 2), None).unwrap().samples, [0.5, -0.5]);
    for (name, encoding) in [("mulaw.wav", 1), ("alaw.wav", 27)] {
        let wav = bytes(name);
        let at = wav.windows(4).position(|four| four == b"data").unwrap();
        let size = u32::from_le_bytes(wav[at + 4..at + 8].try_into().unwrap()) as usize;
        let channels = u32::from(wav[22]);
        let recording = decode(&au(encoding, channels, &wav[at + 8..at + 8 + size], size as u32), None).unwrap();
        assert_eq!(recording.samples, golden(name), "{name}");
    }
}

#[test]
fn damaged_au_files_are_refused_with_the_reason() {
    assert_eq!(reason(b".snd\0\0\0\x18"), "corrupt");
    assert_eq!(reason(&au(3, 1, &[1; 10], 100)), "truncated");
    assert_eq!(reason(&au(23, 1, &[1; 10], 10)), "unsupported");
    assert_eq!(reason(&au(3, 0, &[1; 10], 10)), "corrupt");
    let mut far = au(3, 1, &[1; 10], 10);
    far[4..8].copy_from_slice(&9999u32.to_be_bytes());
    assert_eq!(reason(&far), "corrupt");
}
