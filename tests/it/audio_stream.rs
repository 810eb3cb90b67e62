//! Compares the stream with decoding and resampling the whole recording: the same bits and the same errors.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use timbre_signal::audio::{
    AudioSpec, Crop, Normalize, ResampleFilter, Stream, StreamResampler, Unusable, decode_file, load, load_file,
    resample,
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/audio")
}

fn recordings() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder()).expect("the folder of golden files");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| extension(path) != Some("f32"));
    paths.sort();
    assert!(paths.len() >= 28, "{paths:?}");
    paths
}

fn extension(path: &Path) -> Option<&str> {
    path.extension().and_then(|extension| extension.to_str())
}

fn whole(bytes: &[u8], extension: Option<&str>, sample_rate: u32) -> Result<Vec<f32>, Unusable> {
    let spec = AudioSpec { sample_rate, clip_seconds: None, crop: Crop::Start, ..AudioSpec::default() };
    load(bytes, extension, &spec).map(|clip| clip.samples)
}

fn drained(stream: Result<Stream, Unusable>) -> Result<Vec<f32>, Unusable> {
    let mut stream = stream?;
    let mut samples = Vec::new();
    while stream.next_block(&mut samples)? {}
    assert_eq!(stream.next_block(&mut samples), Ok(false), "the end stays the end");
    Ok(samples)
}

/// The samples as bits: a NaN equals itself, and -0 differs from 0.
fn bits(samples: Result<Vec<f32>, Unusable>) -> Result<Vec<u32>, String> {
    samples.map(|all| all.into_iter().map(f32::to_bits).collect()).map_err(|why| format!("{}: {why}", why.code()))
}

fn written(bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(bytes).expect("its bytes");
    file
}

/// Rates with FFT blocks and odd ones, up, down and the same.
const RATES: [u32; 6] = [22050, 8000, 16000, 44099, 7919, 3001];

#[test]
fn streams_from_file_memory_and_pipe_equal_the_whole_bit_for_bit_in_every_format() {
    for path in recordings() {
        let bytes = std::fs::read(&path).expect("a golden file");
        for rate in RATES {
            let expected = bits(whole(&bytes, extension(&path), rate));
            assert!(expected.is_ok(), "{path:?}: {expected:?}");
            assert_eq!(bits(drained(Stream::open(&path, &AudioSpec::at(rate)))), expected, "{path:?} at {rate}");
            assert_eq!(
                bits(drained(Stream::from_bytes(&bytes, extension(&path), &AudioSpec::at(rate)))),
                expected,
                "{path:?} at {rate}"
            );
            let piped = Stream::from_pipe(File::open(&path).expect("a golden file"), &AudioSpec::at(rate));
            assert_eq!(bits(drained(piped)), bits(whole(&bytes, None, rate)), "{path:?} at {rate}");
        }
    }
}

#[test]
fn a_stream_returns_the_same_error_as_decoding_the_whole() {
    for path in recordings() {
        let good = std::fs::read(&path).expect("a golden file");
        for percent in [1, 10, 30, 50, 70, 90, 97, 99] {
            let cut = &good[..good.len() * percent / 100];
            let file = written(cut);
            let expected = bits(whole(cut, None, 16000));
            assert_eq!(
                bits(drained(Stream::open(file.path(), &AudioSpec::at(16000)))),
                expected,
                "{path:?} at {percent} %"
            );
        }
        for place in (20..good.len()).step_by(41) {
            let mut damaged = good.clone();
            damaged[place] ^= 0x5A;
            let file = written(&damaged);
            let expected = bits(whole(&damaged, None, 7919));
            assert_eq!(
                bits(drained(Stream::open(file.path(), &AudioSpec::at(7919)))),
                expected,
                "{path:?}, byte {place}"
            );
        }
    }
}

fn float_wav(samples: &[f32], rate: u32) -> Vec<u8> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: rate,
        bits_per_sample: 32,
        sample_format: hound::SampleFormat::Float,
    };
    let mut bytes = std::io::Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut bytes, spec).expect("a header");
    samples.iter().for_each(|sample| writer.write_sample(*sample).expect("a sample"));
    writer.finalize().expect("an end");
    bytes.into_inner()
}

#[test]
fn errors_of_the_whole_come_at_the_end_and_non_finite_samples_at_once() {
    let silent = written(&float_wav(&[0.0; 200_000], 44100));
    let mut stream = Stream::open(silent.path(), &AudioSpec::at(22050)).expect("a header is there");
    let mut samples = Vec::new();
    assert_eq!(stream.next_block(&mut samples), Ok(true));
    let end = loop {
        match stream.next_block(&mut samples) {
            Ok(true) => {}
            end => break end,
        }
    };
    assert_eq!(end.expect_err("it is silent").code(), "silent");

    let mut odd = vec![0.25f32; 200_000];
    odd[150_000] = f32::NAN;
    odd[150_007] = f32::INFINITY;
    let bytes = float_wav(&odd, 44100);
    let file = written(&bytes);
    let streamed = drained(Stream::open(file.path(), &AudioSpec::at(22050))).expect_err("it is no number");
    assert_eq!((streamed.code(), streamed.to_string().contains("sample 150000 ")), ("not_finite", true), "{streamed}");
    assert_eq!(bits(Err(streamed)), bits(whole(&bytes, None, 22050)));

    // The rate of a container is known after its first packet.
    let mut caf = std::fs::read(folder().join("f32le.caf")).expect("a golden file");
    let last = caf.len() - 4;
    caf[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    let streamed = drained(Stream::from_bytes(&caf, None, &AudioSpec::at(22050))).expect_err("it is no number");
    assert!(
        matches!(streamed, Unusable::NotFinite { frame: 399, seconds, .. } if seconds == 399.0 / 8000.0),
        "{streamed}"
    );

    assert_eq!(
        drained(Stream::open(Path::new("no such file.wav"), &AudioSpec::at(22050))).expect_err("absent").code(),
        "unreadable"
    );
    assert_eq!(drained(Stream::open(&folder(), &AudioSpec::at(22050))).expect_err("a folder").code(), "unreadable");
    assert_eq!(
        drained(Stream::from_pipe(std::io::empty(), &AudioSpec::at(22050))).expect_err("nothing").code(),
        "empty"
    );
}

#[test]
fn a_stream_of_many_blocks_equals_the_whole_bit_for_bit() {
    let samples: Vec<f32> = (0..300_001).map(|i| ((i * i) as f32 * 1e-5).sin() * 0.5).collect();
    for from in [44100, 44099, 22050] {
        let bytes = float_wav(&samples, from);
        let file = written(&bytes);
        for to in [22050, 16000, 44100] {
            let streamed = bits(drained(Stream::open(file.path(), &AudioSpec::at(to))));
            assert!(streamed == bits(whole(&bytes, None, to)), "{from} to {to}");
        }
    }
}

#[test]
fn a_clip_of_a_recording_too_long_for_memory_is_the_clip_of_the_whole() {
    // Longer than the limit of six minutes at 44.1 kHz, above which only the clip is kept; 8-bit samples keep the file small.
    let n = (1 << 24) + 12_345;
    let mut bytes = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    bytes.extend(44100u32.to_le_bytes().into_iter().chain(44100u32.to_le_bytes()));
    bytes.extend(*b"\x01\0\x08\0data");
    bytes.extend((n as u32).to_le_bytes());
    bytes.extend((0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8));
    let file = written(&bytes);
    let spec = |sample_rate, crop| AudioSpec { clip_seconds: Some(0.5), crop, ..AudioSpec::at(sample_rate) };
    let recording = decode_file(file.path(), None, spec(44100, Crop::Start).limits()).expect("usable");
    assert_eq!(recording.samples.len(), n);
    for rate in [44100, 22050, 44099] {
        for crop in [Crop::Start, Crop::Centre] {
            let spec = spec(rate, crop);
            let clip = load_file(file.path(), None, &spec).expect("usable");
            assert!(clip == recording.clone().into_clip(&spec), "{rate}, {crop:?}");
            assert!(load(&bytes, None, &spec).expect("usable") == clip);
        }
    }
    let longer = AudioSpec { clip_seconds: Some(400.0), ..AudioSpec::at(44100) };
    let clip = load_file(file.path(), None, &longer).expect("usable");
    assert!(clip.samples.len() == 400 * 44100 && clip.samples[..n] == recording.samples);
    let shorter = AudioSpec { max_seconds: 300.0, ..longer };
    let error = load_file(file.path(), None, &shorter).expect_err("too long");
    assert_eq!(
        (error.code(), error.to_string().contains("300 s (`audio.max_seconds`)")),
        ("too_long", true),
        "{error}"
    );
    assert_eq!(decode_file(file.path(), None, shorter.limits()).expect_err("too long").code(), "too_long");
}

#[test]
fn only_regular_files_are_decoded_but_a_pipe_may_be_streamed() {
    let dir = tempfile::tempdir().expect("a folder");
    let pipe = dir.path().join("pipe.wav");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    let spec = AudioSpec::at(8000);
    for error in [load_file(&pipe, None, &spec).map(drop), Stream::open_regular(&pipe, &spec).map(drop)] {
        assert_eq!(error.expect_err("not a regular file").code(), "unreadable");
    }
    let good = std::fs::read(folder().join("s16le.wav")).expect("a golden file");
    let writer = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::write(pipe, good).expect("written")
    });
    assert_eq!(drained(Stream::open(&pipe, &spec)).expect("usable").len(), 400);
    writer.join().expect("written");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_resampled_bits_do_not_depend_on_the_sizes_of_the_blocks(
        from in prop::sample::select(vec![44100u32, 48000, 22050, 8000, 44099, 16001, 11025]),
        to in prop::sample::select(vec![22050u32, 16000, 44100, 44099, 3001, 11025]),
        lengths in prop::collection::vec(prop_oneof![0usize..40, 900..1200usize, 0..6000usize], 0..8),
        soxr: bool,
    ) {
        let total: usize = lengths.iter().sum();
        let input: Vec<f32> = (0..total).map(|i| ((i * 7919) % 1009) as f32 / 504.5 - 1.0).collect();
        let filter = if soxr { ResampleFilter::SoxrHq } else { ResampleFilter::BlackmanHarris };
        let mut resampling = StreamResampler::new(from, to, filter);
        let (mut output, mut at) = (Vec::new(), 0);
        for length in lengths {
            resampling.push(&input[at..at + length], &mut output);
            at += length;
        }
        resampling.finish(&mut output);
        let bits = |samples: &[f32]| samples.iter().map(|sample| sample.to_bits()).collect::<Vec<_>>();
        prop_assert!(bits(&output) == bits(&resample(&input, from, to, filter)), "{from} to {to}, {total} samples");
    }
}

#[test]
fn a_trimmed_and_normalized_recording_is_the_same_in_blocks_and_as_a_clip() {
    let tone = |n: usize| (n as f32 * 0.05).sin() * if (20000..90000).contains(&n) { 0.125 } else { 0.0 };
    let samples: Vec<f32> = (0..120_000).map(tone).collect();
    let louder: Vec<f32> = samples.iter().map(|sample| sample * 4.0).collect();
    let spec = AudioSpec { trim: Some(60.0), normalize: Some(Normalize::Peak), ..AudioSpec::at(16000) };
    let wav = |samples: &[f32]| crate::audio_decode::float_wav(samples);
    let whole = load(&wav(&samples), None, &spec).unwrap();
    assert_eq!(load(&wav(&louder), None, &spec).unwrap(), whole, "the level of the file does not matter");
    let peak = whole.samples.iter().fold(0.0f32, |most, sample| most.max(sample.abs()));
    assert!((0.95..1.1).contains(&peak), "{peak}");
    // 70,000 samples at 8,000 Hz sound, and at most a frame on each side.
    assert!((140_000..140_000 + 2 * 4096).contains(&whole.samples.len()), "{}", whole.samples.len());
    let bytes = wav(&samples);
    let mut stream = Stream::from_bytes(&bytes, None, &spec).unwrap();
    let mut blocks = Vec::new();
    while stream.next_block(&mut blocks).unwrap() {}
    assert_eq!(blocks, whole.samples);
    // A clip is cut from the prepared recording, not prepared itself.
    let short = AudioSpec { clip_seconds: Some(0.5), crop: Crop::Start, ..spec };
    assert_eq!(load(&bytes, None, &short).unwrap().samples, whole.samples[..8000]);
}
