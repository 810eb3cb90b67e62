//! Decodes the bytes of a file to mono samples at the rate of the recording.
//!
//! Conventions
//! - The content determines the format. The file extension is only a hint where the content is ambiguous.
//! - Channels are mixed by their mean, in f32 and in their order, as in librosa. Lossless files give libsndfile's numbers,
//!   bit for bit.
//! - MP3: encoder delay and padding are cut where a LAME header gives them, so the original length returns; a wrong checksum
//!   of that header is ignored, as in ffmpeg and libsndfile. Without a header every packet is decoded, to the end of the file.
//!   Vorbis: cut at the granule positions. AAC in MP4: the encoder delay is cut where an edit list gives it; the padding of
//!   the last packet stays, as in ffmpeg. ADTS has no edit lists: nothing is cut.
//! - Opus: see `opus.rs`, and docs/audio.md for how its decoder was chosen.
//! - A packet that cannot be decoded makes the recording corrupt. A recording with fewer samples than the header
//!   declares is truncated; more samples than declared are kept. MP3 has neither a checksum nor, without a Xing header, a
//!   length: damage that still decodes and a cut at the end go unnoticed there.
//! - Of several audio tracks the default one is read. A chained Ogg file continues while rate and channels stay the same.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::errors::Error;
use symphonia::core::formats::FormatReader;
use symphonia::core::units::TimeBase;

use super::block_decoder::BlockDecoder;
use super::excerpt::{Excerpt, decode_excerpt};
use super::formats::{self, AudioTrack};
use super::limits::DecodeLimits;
use super::opus::{self, OpusHead};
use super::source::ByteSource;
use super::unusable::Unusable;
use super::wav;

/// Accepted sample rates. Others are damage: resampling from 1 Hz would turn a small file into one that fills the memory.
const RATES: std::ops::RangeInclusive<u32> = 1000..=1_536_000;

/// A decoded recording: mono, finite, not silent.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    pub samples: Vec<f32>,
    pub sample_rate: u32,
    /// Number of channels in the file, before mixing.
    pub channels: u16,
}

/// The properties that the header of a recording declares.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    pub seconds: f64,
    pub sample_rate: u32,
    pub channels: u16,
    /// A short name of the codec, such as `pcm_s16le` or `flac`.
    pub codec: String,
}

/// The most samples that a packet of the usual formats decodes to.
const LARGEST_PACKET: usize = 1 << 16;

/// Decodes the bytes of a file. `extension` is the file extension without the dot.
///
/// ```
/// use timbre_signal::audio::{decode, wav_write};
///
/// let mut wav = wav_write::pcm16_header(3, 1, 8000).unwrap().to_vec();
/// wav.extend([0i16, 16384, -8192].iter().flat_map(|sample| sample.to_le_bytes()));
/// let recording = decode(&wav, Some("wav")).unwrap();
/// assert_eq!(recording.samples, [0.0, 0.5, -0.25]);
/// assert_eq!(recording.sample_rate, 8000);
///
/// assert_eq!(decode(b"not a recording", None).unwrap_err().code(), "not_audio");
/// ```
pub fn decode(bytes: &[u8], extension: Option<&str>) -> Result<Recording, Unusable> {
    decode_source(ByteSource::memory(bytes), extension, DecodeLimits::NONE)
}

/// Decodes a regular file, or an excerpt of one, within `limits`. The file itself is read block by block.
pub fn decode_file(path: &Path, excerpt: Option<&Excerpt>, limits: DecodeLimits) -> Result<Recording, Unusable> {
    if let Some(excerpt) = excerpt {
        return decode_excerpt(path, excerpt, limits);
    }
    decode_source(ByteSource::open_regular(path)?, super::extension(path), limits)
}

fn decode_source(source: ByteSource, extension: Option<&str>, limits: DecodeLimits) -> Result<Recording, Unusable> {
    let mut decoder = BlockDecoder::open(source, extension)?.with_limits(limits)?;
    let mut samples = Vec::new();
    reserve(&mut samples, decoder.exact_length(), &decoder)?;
    while decoder.next_block(&mut samples)? {
        reserve(&mut samples, 0, &decoder)?;
    }
    Ok(Recording { samples, sample_rate: decoder.sample_rate(), channels: decoder.channels() })
}

/// Gives the samples of a regular file to `each` as they are decoded, with their rate. The samples and errors are those of
/// [`decode_file`]; one block of the file, or the excerpt, is in memory.
pub fn visit_file(
    path: &Path,
    excerpt: Option<&Excerpt>,
    limits: DecodeLimits,
    mut each: impl FnMut(&[f32], u32),
) -> Result<(), Unusable> {
    if let Some(excerpt) = excerpt {
        let recording = decode_excerpt(path, excerpt, limits)?;
        each(&recording.samples, recording.sample_rate);
        return Ok(());
    }
    let source = ByteSource::open_regular(path)?;
    let mut decoder = BlockDecoder::open(source, super::extension(path))?.with_limits(limits)?;
    let mut block = Vec::new();
    while decoder.next_block(&mut block)? {
        each(&block, decoder.sample_rate());
        block.clear();
    }
    Ok(())
}

/// Makes room for `more` samples and a packet: a recording larger than the memory is an error of its own, not the end of the
/// program.
pub(super) fn reserve(samples: &mut Vec<f32>, more: usize, decoder: &BlockDecoder) -> Result<(), Unusable> {
    let more = more + LARGEST_PACKET;
    let room = samples.try_reserve(more).or_else(|_| samples.try_reserve_exact(more));
    room.map_err(|_| Unusable::OutOfMemory { seconds: samples.len() as f64 / f64::from(decoder.sample_rate()) })
}

/// Reads the header, and only as many samples as it takes to count them.
pub fn probe(bytes: &[u8], extension: Option<&str>) -> Result<Header, Unusable> {
    probe_source(&ByteSource::memory(bytes), extension)
}

pub(super) fn probe_source(source: &ByteSource, extension: Option<&str>) -> Result<Header, Unusable> {
    catch_decoder_panic(|| {
        let Some(wav) = wav::read_plain(source)? else { return probe_any(source, extension) };
        let sample_rate = check_rate(Some(wav.sample_rate))?;
        Ok(Header {
            seconds: wav.frames as f64 / f64::from(sample_rate),
            sample_rate,
            channels: wav.channels,
            codec: wav.codec.name().into(),
        })
    })
}

/// Runs a decoder and turns a panic into an error: a damaged file may trigger an index or overflow panic in a decoder, and
/// must not end a sweep that runs for days. No state of the decoder is used afterwards.
pub(super) fn catch_decoder_panic<T>(work: impl FnOnce() -> Result<T, Unusable>) -> Result<T, Unusable> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<&str>().map(|text| text.to_string());
        let message = message.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(Unusable::damaged_header(format!("the decoder failed on it ({message})")))
    })
}

pub(super) fn check_rate(rate: Option<u32>) -> Result<u32, Unusable> {
    match rate {
        Some(rate) if RATES.contains(&rate) => Ok(rate),
        Some(rate) => Err(Unusable::damaged_header(format!("a sample rate of {rate} Hz"))),
        None => Err(Unusable::damaged_header("no sample rate is given")),
    }
}

fn probe_any(source: &ByteSource, extension: Option<&str>) -> Result<Header, Unusable> {
    let scan = formats::scan(source)?;
    let mut format = formats::open(source, extension)?;
    let chosen = formats::audio_track(format.as_ref())?;
    let sample_rate = check_rate(chosen.parameters.sample_rate)?;
    let declared = formats::declared_frames(format.as_ref(), &chosen.track, source)?;
    let (run_in, padding) = formats::encoder_padding(format.as_ref(), &chosen, scan.as_ref(), source)?;
    if chosen.parameters.codec == CODEC_ID_OPUS && declared.is_none_or(|_| !formats::is_mp4(format.as_ref())) {
        let channels = OpusHead::of(&chosen.parameters)?.channels();
        let frames = opus_frames(format.as_mut(), chosen, run_in)?.saturating_sub(padding);
        let seconds = frames as f64 / f64::from(opus::RATE);
        return Ok(Header { seconds, sample_rate, channels: channels as u16, codec: "opus".into() });
    }
    let AudioTrack { track, parameters } = chosen;
    let frames = match declared {
        Some(frames) => frames as f64,
        None => {
            let mut length = 0.0;
            while let Ok(Some(packet)) = format.next_packet() {
                if packet.track_id == track.id {
                    length += packet.dur.get() as f64;
                }
            }
            let tick = |base: TimeBase| f64::from(base.numer.get()) / f64::from(base.denom.get());
            if length > 0.0 {
                length * track.time_base.map_or(0.0, tick) * f64::from(sample_rate)
            } else {
                // Matroska packets have no duration; the file has one.
                let media = format.media_info();
                let length = media.duration.map_or(0.0, |duration| duration.get() as f64);
                length * media.time_base.map_or(0.0, tick) * f64::from(sample_rate)
            }
        }
    };
    let frames = (frames - (run_in + padding) as f64).max(0.0);
    let decoder = formats::make_decoder(&parameters)?;
    let channels = parameters.channels.as_ref().map_or(decoder.last_decoded().num_planes(), |all| all.count());
    Ok(Header {
        seconds: frames / f64::from(sample_rate),
        sample_rate,
        channels: channels as u16,
        codec: decoder.codec_info().short_name.into(),
    })
}

/// Sums the lengths of Opus packets. They are the only source: WebM declares no length while it is recorded, and every link
/// of a chained Ogg file has its own.
fn opus_frames(format: &mut dyn FormatReader, mut chosen: AudioTrack, mut run_in: usize) -> Result<usize, Unusable> {
    let (mut all, mut link) = (0, 0usize);
    let mut head = OpusHead::of(&chosen.parameters)?;
    loop {
        match format.next_packet() {
            Ok(Some(packet)) if packet.track_id == chosen.track.id => {
                let length = opus::packet_samples(&packet.data, &head);
                link += length - (packet.trim_end.get().min(length as u64) as usize);
            }
            Ok(Some(_)) => {}
            Err(Error::ResetRequired) => {
                all += link.saturating_sub(run_in);
                link = 0;
                chosen = formats::audio_track(format)?;
                head = OpusHead::of(&chosen.parameters)?;
                run_in = head.pre_skip;
            }
            Ok(None) | Err(_) => return Ok(all + link.saturating_sub(run_in)),
        }
    }
}
