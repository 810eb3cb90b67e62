//! Reads the chunks of RIFF/WAVE files. symphonia's reader refuses files that every player plays (a wrong RIFF size, more
//! than 26 channels, a stream with sizes of 0) and does not notice truncated files. Compressed samples still go through
//! symphonia's decoders; see `decode.rs`.
//!
//! Conventions
//! - Integers of n bits are divided by 2^(n-1); 8-bit samples are unsigned around 128: libsndfile's numbers, bit for bit.
//! - Programs that write to a pipe leave a data chunk size of 0, 0xFFFFFFFF or 0x7FFFF000: the chunk extends to the end of
//!   the file. A size of 0 followed by nothing or only by valid chunks is taken literally: no samples.
//! - Any other data chunk that exceeds the file is truncated. The size of the outermost RIFF chunk is ignored.
//! - Bytes after the last whole frame of a complete data chunk are ignored.

use std::ops::Range;

use symphonia::core::audio::{Channels, Position};
use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::codecs::audio::well_known::{
    CODEC_ID_ADPCM_IMA_WAV, CODEC_ID_ADPCM_MS, CODEC_ID_PCM_ALAW, CODEC_ID_PCM_MULAW,
};

use super::source::{ByteSource, HeaderReader};
use super::unusable::Unusable;

/// Sizes that mean "not known when the header was written": ffmpeg and GStreamer to a pipe, sox to a pipe.
const UNKNOWN_SIZES: [u64; 2] = [0xFFFF_FFFF, 0x7FFF_F000];
/// The 14 bytes after the format tag in the sub-format of an extensible header.
const SUBFORMAT_TAIL: [u8; 14] = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xAA, 0, 0x38, 0x9B, 0x71];

/// The sample format and the position of the samples in a WAVE or AU file.
#[derive(Clone, Debug)]
pub(super) struct Wav {
    pub codec: WavCodec,
    pub sample_rate: u32,
    pub channels: u16,
    /// Byte range of the encoded samples in the file.
    pub data: Range<u64>,
    /// Number of frames in `data`.
    pub frames: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WavCodec {
    U8,
    S16,
    S24,
    S32,
    F32,
    F64,
    S8,
    S16Be,
    S24Be,
    S32Be,
    F32Be,
    F64Be,
    /// Decoded by symphonia in blocks of `bytes` bytes, each of `frames` frames.
    Blocks {
        kind: BlockKind,
        bytes: usize,
        frames: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockKind {
    AdpcmMs,
    AdpcmIma,
    ALaw,
    MuLaw,
}

impl WavCodec {
    /// Bytes of a plain sample; 0 for block codecs.
    pub fn bytes_per_sample(self) -> u64 {
        match self {
            WavCodec::U8 | WavCodec::S8 => 1,
            WavCodec::S16 | WavCodec::S16Be => 2,
            WavCodec::S24 | WavCodec::S24Be => 3,
            WavCodec::S32 | WavCodec::F32 | WavCodec::S32Be | WavCodec::F32Be => 4,
            WavCodec::F64 | WavCodec::F64Be => 8,
            WavCodec::Blocks { .. } => 0,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            WavCodec::U8 => "pcm_u8",
            WavCodec::S16 => "pcm_s16le",
            WavCodec::S24 => "pcm_s24le",
            WavCodec::S32 => "pcm_s32le",
            WavCodec::F32 => "pcm_f32le",
            WavCodec::F64 => "pcm_f64le",
            WavCodec::S8 => "pcm_s8",
            WavCodec::S16Be => "pcm_s16be",
            WavCodec::S24Be => "pcm_s24be",
            WavCodec::S32Be => "pcm_s32be",
            WavCodec::F32Be => "pcm_f32be",
            WavCodec::F64Be => "pcm_f64be",
            WavCodec::Blocks { kind: BlockKind::AdpcmMs, .. } => "adpcm_ms",
            WavCodec::Blocks { kind: BlockKind::AdpcmIma, .. } => "adpcm_ima_wav",
            WavCodec::Blocks { kind: BlockKind::ALaw, .. } => "pcm_alaw",
            WavCodec::Blocks { kind: BlockKind::MuLaw, .. } => "pcm_mulaw",
        }
    }
}

pub(super) fn is_wav(bytes: &[u8]) -> bool {
    bytes.len() >= 12 && matches!(&bytes[..4], b"RIFF" | b"RF64" | b"BW64") && &bytes[8..12] == b"WAVE"
}

struct Format {
    tag: u16,
    channels: u16,
    sample_rate: u32,
    block_align: u16,
    bits: u16,
}

/// Only these bytes of a format chunk are read.
const FORMAT_BYTES: u64 = 64;

/// Reads the chunks of a file that [`is_wav`] recognised.
pub(super) fn read(source: &ByteSource) -> Result<Wav, Unusable> {
    let mut headers = source.header_reader();
    let mut format = None;
    let mut fact = None;
    let mut long_size = None;
    let mut data = None;
    let mut at = 12;
    while let Some((id, size, body)) = chunk_at(&mut headers, at)? {
        match &id {
            b"fmt " => format = Some(read_format(headers.up_to(body, size.min(FORMAT_BYTES))?)?),
            b"fact" => fact = u32_at(headers.up_to(body, size.min(4))?, 0),
            b"ds64" => {
                let content = headers.up_to(body, size.min(16))?;
                long_size = u32_at(content, 8).zip(u32_at(content, 12));
            }
            b"data" => {
                let size = match long_size {
                    Some((low, high)) if size == 0xFFFF_FFFF => u64::from(high) << 32 | u64::from(low),
                    _ => size,
                };
                data = Some((body, size));
                // The chunks after the data are needed only if the format follows the samples.
                if format.is_some() {
                    break;
                }
            }
            _ => {}
        }
        at = end_of_chunk(body, size);
    }
    let format = format.ok_or_else(|| Unusable::damaged_header("a WAVE file without a format chunk"))?;
    let (body, declared) = data.ok_or_else(|| Unusable::damaged_header("a WAVE file without a data chunk"))?;
    let there = source.len() - body;
    let streamed =
        UNKNOWN_SIZES.contains(&declared) || (declared == 0 && !only_chunks_follow(&mut headers, body, source.len())?);
    if declared > there && !streamed {
        source.cut_off(Unusable::Truncated { declared, found: there, unit: "bytes of samples" })?;
    }
    let size = if streamed { there } else { declared.min(there) };
    let codec = codec_of(&format)?;
    let frames = count_frames(codec, format.channels, size, fact);
    Ok(Wav { codec, sample_rate: format.sample_rate, channels: format.channels, data: body..body + size, frames })
}

/// Id, declared size and start of the body of the chunk at `at`.
fn chunk_at(headers: &mut HeaderReader, at: u64) -> Result<Option<([u8; 4], u64, u64)>, Unusable> {
    let head = headers.get(at, 8)?;
    Ok(head.map(|head| {
        let (id, size) = head.split_at(4);
        let (id, size): ([u8; 4], [u8; 4]) = (id.try_into().expect("four bytes"), size.try_into().expect("four bytes"));
        (id, u64::from(u32::from_le_bytes(size)), at + 8)
    }))
}

/// Chunks begin at even offsets.
fn end_of_chunk(body: u64, size: u64) -> u64 {
    body.saturating_add(size + (size & 1))
}

fn only_chunks_follow(headers: &mut HeaderReader, mut at: u64, length: u64) -> Result<bool, Unusable> {
    while at < length {
        match chunk_at(headers, at)? {
            Some((id, size, body)) if id.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ') => {
                at = end_of_chunk(body, size);
                // A last odd chunk may lack its padding byte.
                if at > length + 1 {
                    return Ok(false);
                }
            }
            _ => return Ok(false),
        }
    }
    Ok(true)
}

fn read_format(content: &[u8]) -> Result<Format, Unusable> {
    let short = || Unusable::damaged_header("a WAVE format chunk that is too short");
    let number = |at| u16_at(content, at).ok_or_else(short);
    let mut tag = number(0)?;
    // An extensible header names the format by a longer id that begins with the tag.
    if tag == 0xFFFE {
        if content.get(26..40) != Some(&SUBFORMAT_TAIL[..]) {
            return Err(Unusable::Unsupported { found: "a WAVE file of an unknown extensible format".into() });
        }
        tag = number(24)?;
    }
    let format = Format {
        tag,
        channels: number(2)?,
        sample_rate: u32_at(content, 4).ok_or_else(short)?,
        block_align: number(12)?,
        bits: number(14)?,
    };
    if format.channels == 0 {
        return Err(Unusable::damaged_header("a WAVE file of 0 channels"));
    }
    Ok(format)
}

fn codec_of(format: &Format) -> Result<WavCodec, Unusable> {
    let channels = u64::from(format.channels);
    let block = usize::from(format.block_align);
    let adpcm = |kind, head: usize, extra: u64| {
        let too_small = block <= head * channels as usize;
        if channels > 2 || format.bits != 4 || too_small {
            let found = format!("ADPCM of {channels} channels, {} bits and blocks of {block} bytes", format.bits);
            return Err(Unusable::Unsupported { found });
        }
        // Two samples per byte after a header per channel, which holds one sample (IMA) or two (Microsoft).
        let frames = 2 * (block - head * channels as usize) as u64 / channels + extra;
        Ok(WavCodec::Blocks { kind, bytes: block, frames })
    };
    let per_sample = |kind| Ok(WavCodec::Blocks { kind, bytes: channels as usize, frames: 1 });
    match (format.tag, format.bits) {
        (1, 8) => Ok(WavCodec::U8),
        (1, 9..=16) => Ok(WavCodec::S16),
        (1, 17..=24) => Ok(WavCodec::S24),
        (1, 25..=32) => Ok(WavCodec::S32),
        (3, 32) => Ok(WavCodec::F32),
        (3, 64) => Ok(WavCodec::F64),
        (2, _) => adpcm(BlockKind::AdpcmMs, 7, 2),
        (0x11, _) => adpcm(BlockKind::AdpcmIma, 4, 1),
        (6, 8) => per_sample(BlockKind::ALaw),
        (7, 8) => per_sample(BlockKind::MuLaw),
        (tag, bits) => {
            Err(Unusable::Unsupported { found: format!("a WAVE file of format {tag:#06x} with {bits} bits a sample") })
        }
    }
}

fn count_frames(codec: WavCodec, channels: u16, bytes: u64, fact: Option<u32>) -> u64 {
    match codec {
        WavCodec::Blocks { bytes: block, frames, .. } => {
            let all = bytes / block as u64 * frames;
            // The fact chunk counts the real frames when the last block is padded. Some writers store nonsense, so the count is
            // used only if it ends within the last block.
            match fact {
                Some(meant) if u64::from(meant) <= all && u64::from(meant) + frames > all => u64::from(meant),
                _ => all,
            }
        }
        _ => bytes / (codec.bytes_per_sample() * u64::from(channels)),
    }
}

impl Wav {
    /// Bytes of a frame of plain samples.
    pub fn frame_bytes(&self) -> u64 {
        self.codec.bytes_per_sample() * u64::from(self.channels)
    }

    /// Appends plain samples, mixed to mono; appends nothing for block codecs.
    pub fn mix_into(&self, bytes: &[u8], mono: &mut Vec<f32>) {
        let channels = usize::from(self.channels);
        match self.codec {
            WavCodec::U8 => mix(bytes, channels, mono, |[byte]| (f32::from(byte) - 128.0) / 128.0),
            WavCodec::S16 => mix(bytes, channels, mono, |bytes| f32::from(i16::from_le_bytes(bytes)) / 32768.0),
            WavCodec::S24 => mix(bytes, channels, mono, |[low, middle, high]| {
                (i32::from_le_bytes([0, low, middle, high]) >> 8) as f32 / 8_388_608.0
            }),
            WavCodec::S32 => mix(bytes, channels, mono, |bytes| i32::from_le_bytes(bytes) as f32 / 2_147_483_648.0),
            WavCodec::F32 => mix(bytes, channels, mono, f32::from_le_bytes),
            WavCodec::F64 => mix(bytes, channels, mono, |bytes| f64::from_le_bytes(bytes) as f32),
            WavCodec::S8 => mix(bytes, channels, mono, |[byte]| f32::from(byte as i8) / 128.0),
            WavCodec::S16Be => mix(bytes, channels, mono, |bytes| f32::from(i16::from_be_bytes(bytes)) / 32768.0),
            WavCodec::S24Be => mix(bytes, channels, mono, |[high, middle, low]| {
                (i32::from_be_bytes([high, middle, low, 0]) >> 8) as f32 / 8_388_608.0
            }),
            WavCodec::S32Be => mix(bytes, channels, mono, |bytes| i32::from_be_bytes(bytes) as f32 / 2_147_483_648.0),
            WavCodec::F32Be => mix(bytes, channels, mono, f32::from_be_bytes),
            WavCodec::F64Be => mix(bytes, channels, mono, |bytes| f64::from_be_bytes(bytes) as f32),
            WavCodec::Blocks { .. } => {}
        }
    }

    /// Parameters of symphonia's decoder for a block codec.
    pub fn codec_parameters(&self, frames_per_packet: u64) -> Option<AudioCodecParameters> {
        let WavCodec::Blocks { kind, frames, .. } = self.codec else { return None };
        let channels = match Position::from_count(u32::from(self.channels)) {
            Some(positions) => Channels::Positioned(positions),
            None => Channels::Discrete(self.channels),
        };
        let mut parameters = AudioCodecParameters::new();
        parameters
            .for_codec(match kind {
                BlockKind::AdpcmMs => CODEC_ID_ADPCM_MS,
                BlockKind::AdpcmIma => CODEC_ID_ADPCM_IMA_WAV,
                BlockKind::ALaw => CODEC_ID_PCM_ALAW,
                BlockKind::MuLaw => CODEC_ID_PCM_MULAW,
            })
            .with_sample_rate(self.sample_rate)
            .with_channels(channels)
            .with_max_frames_per_packet(frames_per_packet)
            .with_frames_per_block(frames);
        Some(parameters)
    }
}

/// Appends the mean over the channels, summed in f32 in their order, as numpy does for librosa.
fn mix<const BYTES: usize>(data: &[u8], channels: usize, mono: &mut Vec<f32>, sample: impl Fn([u8; BYTES]) -> f32) {
    let (samples, _) = data.as_chunks::<BYTES>();
    match channels {
        1 => mono.extend(samples.iter().map(|bytes| sample(*bytes))),
        2 => mono.extend(samples.as_chunks::<2>().0.iter().map(|[left, right]| (sample(*left) + sample(*right)) / 2.0)),
        _ => mono.extend(
            samples
                .chunks_exact(channels)
                .map(|frame| frame.iter().map(|bytes| sample(*bytes)).sum::<f32>() / channels as f32),
        ),
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}
