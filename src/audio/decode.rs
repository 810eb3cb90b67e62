//! Bytes of a file to mono samples at the rate of the recording.
//!
//! Conventions
//! - The format is told by the content; the extension only helps where the content leaves a doubt.
//! - Channels are mixed by their mean, in f32 and in their order, as in librosa. Files without loss give libsndfile's
//!   numbers to the bit.
//! - MP3: the encoder's delay and padding are cut where a LAME header gives them (the length of the original returns).
//!   Vorbis: cut as the granule positions say. AAC: the encoder's priming (usually 1024 samples, 2112 from Apple's) stays at
//!   the start, where ffmpeg cuts it if the file has an edit list.
//! - A packet that cannot be decoded makes the recording corrupt. A recording with fewer samples than the header
//!   declares is cut off; more samples than declared are kept.
//! - Of several audio tracks the default one is read. A chained Ogg file continues if rate and channels stay the same.

use std::io::{Cursor, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};

use symphonia::core::audio::conv::IntoSample;
use symphonia::core::audio::sample::Sample;
use symphonia::core::audio::{Audio, AudioBuffer, GenericAudioBufferRef};
use symphonia::core::codecs::audio::well_known::CODEC_ID_FLAC;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::well_known::{FORMAT_ID_MP1, FORMAT_ID_MP2, FORMAT_ID_MP3};
use symphonia::core::formats::{FormatOptions, FormatReader, Track, TrackType};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::PacketRef;
use symphonia::core::units::{Duration, Timestamp};

use super::unusable::Unusable;
use super::wav::{self, Wav, WavCodec};

/// Rates outside are damage: resampling from 1 Hz would turn a small file into one that fills the memory.
const RATES: std::ops::RangeInclusive<u32> = 1000..=1_536_000;
/// Frames that a WAVE decoder gets at a time.
const FRAMES_PER_PACKET: u64 = 4096;

/// A decoded recording: finite, not silent, mono.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    pub samples: Vec<f32>,
    pub sample_rate: u32,
    /// Of the file, before they were mixed.
    pub channels: u16,
}

/// What the header of a recording says.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    pub seconds: f64,
    pub sample_rate: u32,
    pub channels: u16,
    /// A short name of the codec, such as `pcm_s16le` or `flac`.
    pub codec: String,
}

/// Decodes the bytes of a file; `extension` is the file's, without the dot.
pub fn decode(bytes: &[u8], extension: Option<&str>) -> Result<Recording, Unusable> {
    guarded(|| {
        let recording = if wav::is_wav(bytes) { decode_wav(&wav::read(bytes)?)? } else { decode_any(bytes, extension)? };
        check(recording)
    })
}

/// Reads what the header says, and of the samples only as much as it takes to count them.
pub fn probe(bytes: &[u8], extension: Option<&str>) -> Result<Header, Unusable> {
    guarded(|| {
        if !wav::is_wav(bytes) {
            return probe_any(bytes, extension);
        }
        let wav = wav::read(bytes)?;
        let sample_rate = check_rate(Some(wav.sample_rate))?;
        Ok(Header {
            seconds: wav.frames as f64 / f64::from(sample_rate),
            sample_rate,
            channels: wav.channels,
            codec: wav.codec.name().into(),
        })
    })
}

/// One damaged file must never end a sweep of days, and a decoder that reads damaged bytes may run into an index or an
/// overflow that its authors did not foresee. What it panics over, we count as damage; nothing of the decoder outlives it.
fn guarded<T>(work: impl FnOnce() -> Result<T, Unusable>) -> Result<T, Unusable> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<&str>().map(|text| text.to_string());
        let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(Unusable::damaged_header(format!("the decoder failed on it ({said})")))
    })
}

fn check(recording: Recording) -> Result<Recording, Unusable> {
    let samples = &recording.samples;
    if samples.is_empty() {
        return Err(Unusable::NoSamples);
    }
    check_finite(samples, recording.sample_rate)?;
    if samples.iter().all(|sample| *sample == 0.0) {
        return Err(Unusable::Silent { frames: samples.len() });
    }
    Ok(recording)
}

pub(super) fn check_finite(samples: &[f32], sample_rate: u32) -> Result<(), Unusable> {
    // Almost always all are finite: one pass without a branch tells, and only its failure is worth the search.
    let largest = samples.iter().fold(0, |largest: u32, sample| largest.max(sample.abs().to_bits()));
    if largest < f32::INFINITY.to_bits() {
        return Ok(());
    }
    match samples.iter().position(|sample| !sample.is_finite()) {
        Some(frame) => Err(Unusable::NotFinite {
            frame,
            seconds: frame as f64 / f64::from(sample_rate),
            value: samples[frame],
        }),
        None => Ok(()),
    }
}

fn check_rate(rate: Option<u32>) -> Result<u32, Unusable> {
    match rate {
        Some(rate) if RATES.contains(&rate) => Ok(rate),
        Some(rate) => Err(Unusable::damaged_header(format!("a sample rate of {rate} Hz"))),
        None => Err(Unusable::damaged_header("no sample rate is given")),
    }
}

fn decode_wav(wav: &Wav<'_>) -> Result<Recording, Unusable> {
    let sample_rate = check_rate(Some(wav.sample_rate))?;
    let samples = match wav.mixed_pcm() {
        Some(samples) => samples,
        None => decode_wav_blocks(wav)?,
    };
    Ok(Recording { samples, sample_rate, channels: wav.channels })
}

fn decode_wav_blocks(wav: &Wav<'_>) -> Result<Vec<f32>, Unusable> {
    let WavCodec::Blocks { bytes, frames, .. } = wav.codec else { return Ok(Vec::new()) };
    let blocks = (FRAMES_PER_PACKET / frames).max(1);
    let parameters = wav.codec_parameters(blocks * frames).expect("a codec of blocks has parameters");
    let mut decoder = make_decoder(&parameters)?;
    let mut samples = Vec::new();
    let whole = wav.data.len() / bytes * bytes;
    for packet in wav.data[..whole].chunks(blocks as usize * bytes) {
        let length = Duration::new((packet.len() / bytes) as u64 * frames);
        let packet = PacketRef::new(0, Timestamp::new(samples.len() as i64), length, packet);
        match decoder.decode_ref(&packet) {
            Ok(buffer) => mix_into(&buffer, &mut samples),
            Err(error) => return Err(damaged(&error, samples.len(), wav.sample_rate)),
        }
    }
    samples.truncate(wav.frames as usize);
    Ok(samples)
}

fn decode_any(bytes: &[u8], extension: Option<&str>) -> Result<Recording, Unusable> {
    let mut format = open(bytes, extension)?;
    let mut track = audio_track(format.as_ref())?;
    let sample_rate = check_rate(track.parameters.sample_rate)?;
    let declared = declared_frames(format.as_ref(), &track.track, bytes);
    let mut decoder = make_decoder(&track.parameters)?;
    let mut samples = Vec::new();
    let mut shape = None;
    // Writers of MP4 and CAF count whole packets where the last one is shorter. A file that ends early gets no such grace.
    let mut slack = 0;
    let counts_packets = !matches!(format.format_info().format, FORMAT_ID_FLAC | FORMAT_ID_MP3 | FORMAT_ID_OGG);
    loop {
        let packet = match format.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => break,
            Err(Error::ResetRequired) => {
                track = audio_track(format.as_ref())?;
                decoder = make_decoder(&track.parameters)?;
                continue;
            }
            Err(Error::IoError(error)) if error.kind() == ErrorKind::UnexpectedEof && declared.is_some() => {
                slack = 0;
                break;
            }
            Err(error) => return Err(damaged(&error, samples.len(), sample_rate)),
        };
        if packet.track_id != track.track.id {
            continue;
        }
        // FLAC numbers its frames, and symphonia steps over damaged ones: a gap in the numbers is the only trace.
        if track.parameters.codec == CODEC_ID_FLAC && packet.pts.get() > samples.len() as i64 {
            let missing = packet.pts.get() - samples.len() as i64;
            let found = format!("{missing} samples are missing where a frame was damaged");
            return Err(Unusable::Corrupt { seconds: samples.len() as f64 / f64::from(sample_rate), found });
        }
        match decoder.decode(&packet) {
            Ok(buffer) => {
                let here = (buffer.spec().rate(), buffer.num_planes());
                if *shape.get_or_insert(here) != here {
                    let found = "the sample rate or the number of channels changes".into();
                    return Err(Unusable::Corrupt { seconds: samples.len() as f64 / f64::from(sample_rate), found });
                }
                mix_into(&buffer, &mut samples);
                if counts_packets && is_compressed(track.parameters.codec) {
                    slack = slack.max(packet.dur.get().saturating_sub(1));
                }
            }
            Err(error) => return Err(damaged(&error, samples.len(), sample_rate)),
        }
    }
    if let Some(declared) = declared
        && (samples.len() as u64 + slack) < declared
    {
        return Err(Unusable::Truncated { declared, found: samples.len() as u64, unit: "samples" });
    }
    check_ogg_end(bytes)?;
    // The decoder knows better than the container: an AAC stream may double the rate of its header.
    let Some((rate, channels)) = shape else { return Err(Unusable::NoSamples) };
    Ok(Recording { samples, sample_rate: check_rate(Some(rate))?, channels: channels as u16 })
}

fn probe_any(bytes: &[u8], extension: Option<&str>) -> Result<Header, Unusable> {
    let mut format = open(bytes, extension)?;
    let Chosen { track, parameters } = audio_track(format.as_ref())?;
    let sample_rate = check_rate(parameters.sample_rate)?;
    let frames = match declared_frames(format.as_ref(), &track, bytes) {
        Some(frames) => frames as f64,
        None => {
            let mut length = 0.0;
            while let Ok(Some(packet)) = format.next_packet() {
                if packet.track_id == track.id {
                    length += packet.dur.get() as f64;
                }
            }
            let tick = track.time_base.map_or(0.0, |base| f64::from(base.numer.get()) / f64::from(base.denom.get()));
            length * tick * f64::from(sample_rate)
        }
    };
    let decoder = make_decoder(&parameters)?;
    let channels = parameters.channels.as_ref().map_or(decoder.last_decoded().num_planes(), |all| all.count());
    Ok(Header {
        seconds: frames / f64::from(sample_rate),
        sample_rate,
        channels: channels as u16,
        codec: decoder.codec_info().short_name.into(),
    })
}

fn open<'a>(bytes: &'a [u8], extension: Option<&str>) -> Result<Box<dyn FormatReader + 'a>, Unusable> {
    if bytes.is_empty() {
        return Err(Unusable::Empty);
    }
    let mut hint = Hint::new();
    if let Some(extension) = extension {
        hint.with_extension(extension);
    }
    let source = MediaSourceStream::new(Box::new(Cursor::new(bytes)), MediaSourceStreamOptions::default());
    symphonia::default::get_probe()
        .probe(&hint, source, FormatOptions::default(), MetadataOptions::default())
        .map_err(|error| match error {
            Error::Unsupported(_) => Unusable::NotAudio { found: first_bytes(bytes) },
            Error::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Unusable::damaged_header("it ends within its header")
            }
            other => Unusable::damaged_header(other.to_string()),
        })
}

/// The beginning of a file that no one knows, for the reader to recognise.
fn first_bytes(bytes: &[u8]) -> String {
    let start: String = bytes.iter().take(16).flat_map(|byte| byte.escape_ascii()).map(char::from).collect();
    format!("it begins with \"{start}\"")
}

struct Chosen {
    track: Track,
    parameters: AudioCodecParameters,
}

fn audio_track(format: &dyn FormatReader) -> Result<Chosen, Unusable> {
    let track = format.default_track(TrackType::Audio);
    let found = || format!("a {} file without a readable audio track", format.format_info().short_name);
    let track = track.ok_or_else(|| Unusable::Unsupported { found: found() })?;
    let parameters = track.codec_params.as_ref().and_then(|parameters| parameters.audio());
    let parameters = parameters.ok_or_else(|| Unusable::Unsupported { found: found() })?.clone();
    Ok(Chosen { track: track.clone(), parameters })
}

fn make_decoder(parameters: &AudioCodecParameters) -> Result<Box<dyn AudioDecoder>, Unusable> {
    symphonia::default::get_codecs().make_audio_decoder(parameters, &AudioDecoderOptions::default()).map_err(|error| {
        match error {
            Error::Unsupported(what) => Unusable::Unsupported { found: what.into() },
            other => Unusable::damaged_header(other.to_string()),
        }
    })
}

/// The length that the header claims, or `None` where symphonia's number is an estimate from the bit rate.
fn declared_frames(format: &dyn FormatReader, track: &Track, bytes: &[u8]) -> Option<u64> {
    let frames = track.num_frames.filter(|frames| *frames > 0)?;
    match format.format_info().format {
        FORMAT_ID_MP1 | FORMAT_ID_MP2 | FORMAT_ID_MP3 => mp3_counts_its_frames(bytes).then_some(frames),
        // A stream cut from a broadcast starts late; what lies before its start was never in the file.
        _ => Some(frames.saturating_sub(track.start_ts.get().max(0) as u64)),
    }
}

/// Whether the first frame holds a Xing, Info or VBRI header. It follows the tags and lies at most 40 bytes into the frame.
fn mp3_counts_its_frames(bytes: &[u8]) -> bool {
    let tag = match bytes.get(..10) {
        Some([b'I', b'D', b'3', _, _, _, a, b, c, d]) => {
            10 + [a, b, c, d].iter().fold(0usize, |size, byte| size << 7 | usize::from(**byte & 0x7F))
        }
        _ => 0,
    };
    let start = bytes.get(tag..).unwrap_or_default();
    let start = &start[..start.len().min(2048)];
    start.windows(4).any(|word| matches!(word, b"Xing" | b"Info" | b"VBRI"))
}

/// An Ogg file has no length in its header, but its pages have: the last one must be whole.
fn check_ogg_end(bytes: &[u8]) -> Result<(), Unusable> {
    if !bytes.starts_with(b"OggS") {
        return Ok(());
    }
    let mut at = 0;
    while let Some(page) = bytes.get(at..).filter(|page| page.starts_with(b"OggS")) {
        let segments = page.get(26).map(|count| usize::from(*count));
        let sizes = segments.and_then(|count| page.get(27..27 + count));
        let length = match sizes {
            Some(sizes) => 27 + sizes.len() + sizes.iter().map(|size| usize::from(*size)).sum::<usize>(),
            None => 27 + segments.unwrap_or(0),
        };
        if length > page.len() {
            let (declared, found) = (length as u64, page.len() as u64);
            return Err(Unusable::Truncated { declared, found, unit: "bytes in its last page" });
        }
        at += length;
    }
    Ok(())
}

fn damaged(error: &Error, frames: usize, sample_rate: u32) -> Unusable {
    let seconds = frames as f64 / f64::from(sample_rate);
    let found = match error {
        Error::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => "it ends within a packet".into(),
        other => other.to_string(),
    };
    Unusable::Corrupt { seconds, found }
}

/// Appends the mean over the channels of a packet.
fn mix_into(buffer: &GenericAudioBufferRef<'_>, mono: &mut Vec<f32>) {
    match buffer {
        GenericAudioBufferRef::U8(buffer) => mix(buffer, mono),
        GenericAudioBufferRef::U16(buffer) => mix(buffer, mono),
        GenericAudioBufferRef::U24(buffer) => mix(buffer, mono),
        GenericAudioBufferRef::U32(buffer) => mix(buffer, mono),
        GenericAudioBufferRef::S8(buffer) => mix(buffer, mono),
        GenericAudioBufferRef::S16(buffer) => mix(buffer, mono),
        GenericAudioBufferRef::S24(buffer) => mix(buffer, mono),
        GenericAudioBufferRef::S32(buffer) => mix(buffer, mono),
        GenericAudioBufferRef::F32(buffer) => mix(buffer, mono),
        GenericAudioBufferRef::F64(buffer) => mix(buffer, mono),
    }
}

fn mix<S: Sample + IntoSample<f32>>(buffer: &AudioBuffer<S>, mono: &mut Vec<f32>) {
    let start = mono.len();
    let channels = buffer.num_planes();
    for (channel, plane) in buffer.iter_planes().enumerate() {
        if channel == 0 {
            mono.extend(plane.iter().map(|sample| (*sample).into_sample()));
        } else {
            for (sum, sample) in mono[start..].iter_mut().zip(plane) {
                *sum += (*sample).into_sample();
            }
        }
    }
    if channels > 1 {
        mono[start..].iter_mut().for_each(|sum| *sum /= channels as f32);
    }
}
