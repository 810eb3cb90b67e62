//! Decodes a recording block by block: the samples of [`decode`](super::decode()), in constant memory.
//!
//! Errors that depend on the whole recording (silent, truncated) are returned at its end. The error is always the one that
//! decoding the whole at once would return: after a sample that is not finite, decoding continues without output, because
//! damage further on is the better reason.

use schemars::JsonSchema;
use serde::Serialize;
use symphonia::core::codecs::audio::AudioDecoder;
use symphonia::core::packet::PacketRef;
use symphonia::core::units::{Duration, Timestamp};

use super::formats::{self, corrupt};
use super::limits::DecodeLimits;
use super::packets::{Packets, mix_into};
use super::plain;
use super::probe::{catch_decoder_panic, check_rate};
use super::source::ByteSource;
use super::unusable::Unusable;
use super::wav::{Wav, WavCodec};

/// Loudest accepted sample. Beyond it, sums of squares over a frame leave the range of f32, in the filter and in the features.
const LOUDEST: f32 = 1e12;
/// The most packets that are decoded to learn how timestamps relate to samples.
const PACKETS_BEFORE_SEEK: usize = 16;
/// Frames per call of a WAVE decoder.
const FRAMES_PER_PACKET: u64 = 4096;
/// Frames and bytes per step of mixing plain PCM. A frame of 65,535 channels has half a megabyte.
const FRAMES_PER_BLOCK: u64 = 1 << 15;
const BYTES_PER_BLOCK: u64 = 1 << 22;

/// The most samples that a packet of the usual formats decodes to.
const LARGEST_PACKET: usize = 1 << 16;

/// The file of a recording is cut off: a part of it is missing at its end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct CutOff {
    /// The length of the whole recording, if its header declares it.
    pub declared_seconds: Option<f64>,
}

/// Decodes a file to mono samples at its own rate.
pub(super) struct BlockDecoder<'a> {
    source: ByteSource<'a>,
    demuxer: Demuxer<'a>,
    sample_rate: u32,
    channels: u16,
    /// Samples that were decoded to learn the rate, not yet returned.
    first: Vec<f32>,
    /// Number of samples decoded so far, returned or not.
    frames: usize,
    /// The largest sample so far, as the bits of its magnitude.
    largest: u32,
    /// The fault found in the samples; returned unless the decoder reports a worse one.
    fault: Option<Unusable>,
    ended: bool,
    limits: DecodeLimits,
}

/// Makes room for `more` samples and a packet: a recording larger than the memory is an error of its own, not the end of the
/// program.
pub(super) fn reserve(samples: &mut Vec<f32>, more: usize, decoder: &BlockDecoder) -> Result<(), Unusable> {
    let more = more + LARGEST_PACKET;
    let room = samples.try_reserve(more).or_else(|_| samples.try_reserve_exact(more));
    room.map_err(|_| Unusable::OutOfMemory { seconds: samples.len() as f64 / f64::from(decoder.sample_rate()) })
}

enum Demuxer<'a> {
    Plain(Plain),
    Blocks(Box<Blocks>),
    Packets(Box<Packets<'a>>),
}

impl<'a> BlockDecoder<'a> {
    pub fn open(source: ByteSource<'a>, extension: Option<&str>) -> Result<BlockDecoder<'a>, Unusable> {
        let noted = source.clone();
        let opened = catch_decoder_panic(|| {
            if let Some(wav) = plain::read(&source)? {
                let (sample_rate, channels) = (check_rate(Some(wav.sample_rate))?, wav.channels);
                let demuxer = match wav.codec {
                    WavCodec::Blocks { .. } => Demuxer::Blocks(Box::new(Blocks::new(wav)?)),
                    _ => Demuxer::Plain(Plain { at: wav.data.start, wav }),
                };
                return Ok(BlockDecoder::on(source, demuxer, sample_rate, channels));
            }
            let packets = Packets::open(&source, extension)?;
            let mut decoder = BlockDecoder::on(source, Demuxer::Packets(Box::new(packets)), 0, 0);
            decoder.read_format()?;
            Ok(decoder)
        });
        // What else is wrong with a file that is cut off follows from that.
        opened.map_err(|why| noted.why_cut_off().filter(|_| !why.is_passing()).cloned().unwrap_or(why))
    }

    fn on(source: ByteSource<'a>, demuxer: Demuxer<'a>, sample_rate: u32, channels: u16) -> BlockDecoder<'a> {
        let first = Vec::new();
        let (frames, largest, fault, ended, limits) = (0, 0, None, false, DecodeLimits::NONE);
        BlockDecoder { source, demuxer, sample_rate, channels, first, frames, largest, fault, ended, limits }
    }

    /// The same recording; returns an error if it exceeds `limits`.
    pub fn with_limits(self, limits: DecodeLimits) -> Result<BlockDecoder<'a>, Unusable> {
        limits.check_channels(self.channels)?;
        // A complete file holds what its header declares, so it can be refused without decoding it.
        let declared = match &self.demuxer {
            Demuxer::Plain(Plain { wav, .. }) => wav.frames,
            Demuxer::Blocks(blocks) => blocks.wav.frames,
            Demuxer::Packets(packets) => packets.declared.unwrap_or(0),
        };
        limits.check_length(self.frames.max(declared as usize), self.sample_rate)?;
        Ok(BlockDecoder { limits, ..self })
    }

    pub fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    pub fn channels(&self) -> u16 {
        self.channels
    }

    /// Number of samples decoded so far; at the end, the length of the recording.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// Whether and where the recording is cut off, as far as that is known: at its end it is.
    pub fn cut_off(&self) -> Option<CutOff> {
        let why = self.source.why_cut_off()?;
        let rate = f64::from(self.sample_rate);
        let seconds = self.frames as f64 / rate;
        let declared_seconds = match (&self.demuxer, why) {
            (_, Unusable::Truncated { declared, found, unit: "bytes of samples" }) if *found > 0 => {
                Some(seconds * *declared as f64 / *found as f64)
            }
            (Demuxer::Packets(packets), _) => packets.declared.map(|frames| frames as f64 / rate),
            _ => None,
        };
        // Of a chain, the first link alone is declared.
        let declared_seconds = declared_seconds.filter(|declared| *declared > seconds);
        Some(CutOff { declared_seconds })
    }

    /// The exact number of samples, if it is known from the file size; otherwise 0.
    pub fn exact_length(&self) -> usize {
        match &self.demuxer {
            Demuxer::Plain(plain) => plain.wav.frames as usize,
            _ => 0,
        }
    }

    /// Moves to sample `first`, or to a place before it from which the same samples can be decoded, and returns that place. After
    /// `None` the decoder cannot be used any more. Nothing may have been returned before.
    pub fn seek(&mut self, first: usize) -> Result<Option<usize>, Unusable> {
        catch_decoder_panic(|| {
            for _ in 0..PACKETS_BEFORE_SEEK {
                if self.ended || !matches!(&self.demuxer, Demuxer::Packets(packets) if !packets.can_seek()) {
                    break;
                }
                let mut first = std::mem::take(&mut self.first);
                self.step(&mut first)?;
                self.first = first;
            }
            let place = match &mut self.demuxer {
                Demuxer::Plain(plain) => Some(plain.seek(first)),
                Demuxer::Blocks(_) => Some(0),
                Demuxer::Packets(packets) => packets.seek(first),
            };
            if let Some(place @ 1..) = place {
                self.first.clear();
                (self.frames, self.largest) = (place, 0);
            }
            Ok(place)
        })
    }

    /// Appends samples. Returns false at the end, once the whole recording is known to be usable.
    pub fn next_block(&mut self, mono: &mut Vec<f32>) -> Result<bool, Unusable> {
        if !self.first.is_empty() {
            mono.append(&mut self.first);
            return Ok(true);
        }
        catch_decoder_panic(|| {
            let before = mono.len();
            while !self.ended {
                self.step(mono)?;
                if mono.len() > before {
                    return Ok(true);
                }
            }
            self.check_whole()
        })
    }

    /// Reads rate and channels from the decoder, which overrides the container: an AAC stream may double the rate of its header.
    fn read_format(&mut self) -> Result<(), Unusable> {
        let mut first = Vec::new();
        while self.sample_rate == 0 {
            if self.ended {
                return self.check_whole().map(drop);
            }
            self.step(&mut first)?;
        }
        if let Err(odd) = check_rate(Some(self.sample_rate)) {
            self.fault = Some(odd);
            while !self.ended {
                first.clear();
                self.step(&mut first)?;
            }
            return self.check_whole().map(drop);
        }
        self.first = first;
        Ok(())
    }

    /// Decodes one more piece. After a fault, samples are counted and dropped.
    fn step(&mut self, mono: &mut Vec<f32>) -> Result<(), Unusable> {
        let before = mono.len();
        let more = match &mut self.demuxer {
            Demuxer::Plain(plain) => plain.step(&self.source, mono),
            Demuxer::Blocks(blocks) => blocks.step(&self.source, mono),
            Demuxer::Packets(packets) => packets.step(mono),
        };
        let more = match (self.source.failure(), more) {
            (Some(failure), _) => return Err(failure),
            (None, Ok(more)) => more,
            // What fails after the first sign of a cut fails at the cut.
            (None, Err(_)) if self.source.why_cut_off().is_some() => false,
            (None, Err(why)) => self.source.cut_off(why).map(|()| false)?,
        };
        self.ended = !more;
        if let Demuxer::Packets(packets) = &self.demuxer
            && let Some((rate, channels)) = packets.shape
        {
            (self.sample_rate, self.channels) = (rate, channels as u16);
        }
        // Almost always every sample is fine, so one pass without branches checks them, and only a failure is worth a search.
        // The bits of positive floats, read as integers, have the order of the floats, with infinity and NaN on top.
        let new = &mono[before..];
        let largest = new.iter().fold(0, |largest: u32, sample| largest.max(sample.abs().to_bits()));
        if largest > LOUDEST.to_bits()
            && self.fault.is_none()
            && let Some(place) = new.iter().position(|sample| sample.abs().to_bits() > LOUDEST.to_bits())
        {
            let frame = self.frames + place;
            let seconds = frame as f64 / f64::from(self.sample_rate);
            self.fault = Some(Unusable::NotFinite { frame, seconds, value: new[place] });
        }
        self.largest = self.largest.max(largest);
        self.frames += new.len();
        self.limits.check_length(self.frames, self.sample_rate)?;
        if self.fault.is_some() {
            mono.truncate(before);
        }
        Ok(())
    }

    /// Checks the whole recording at its end.
    fn check_whole(&mut self) -> Result<bool, Unusable> {
        match self.fault.take() {
            Some(fault) => Err(fault),
            None if self.frames == 0 => Err(self.source.why_cut_off().cloned().unwrap_or(Unusable::NoSamples)),
            None if self.largest == 0 => Err(Unusable::Silent { frames: self.frames }),
            None => Ok(false),
        }
    }
}

/// Plain PCM of a WAVE or AU file.
struct Plain {
    wav: Wav,
    at: u64,
}

impl Plain {
    fn seek(&mut self, first: usize) -> usize {
        let first = (first as u64).min(self.wav.frames);
        self.at = self.wav.data.start + first * self.wav.frame_bytes();
        first as usize
    }

    fn step(&mut self, source: &ByteSource, mono: &mut Vec<f32>) -> Result<bool, Unusable> {
        let frame = self.wav.frame_bytes();
        let block = FRAMES_PER_BLOCK.min(BYTES_PER_BLOCK / frame) * frame;
        let bytes = block.min(self.wav.data.end - self.at) / frame * frame;
        self.wav.mix_into(&source.read(self.at, bytes as usize)?, mono);
        self.at += bytes;
        Ok(self.wav.data.end - self.at >= frame)
    }
}

/// ADPCM, A-law and mu-law of a WAVE or AU file.
struct Blocks {
    wav: Wav,
    at: u64,
    /// Bytes of one block.
    bytes: usize,
    frames: u64,
    per_packet: u64,
    decoder: Box<dyn AudioDecoder>,
    decoded: u64,
}

impl Blocks {
    fn new(wav: Wav) -> Result<Blocks, Unusable> {
        let WavCodec::Blocks { bytes, frames, .. } = wav.codec else { unreachable!("a codec of blocks") };
        let per_packet = (FRAMES_PER_PACKET / frames).max(1);
        let parameters = wav.codec_parameters(per_packet * frames).expect("a codec of blocks has parameters");
        let decoder = formats::make_decoder(&parameters)?;
        Ok(Blocks { at: wav.data.start, bytes, frames, per_packet, decoder, decoded: 0, wav })
    }

    fn step(&mut self, source: &ByteSource, mono: &mut Vec<f32>) -> Result<bool, Unusable> {
        let block = self.bytes as u64;
        let blocks = ((self.wav.data.end - self.at) / block).min(self.per_packet);
        if blocks == 0 {
            return Ok(false);
        }
        let packet = source.read(self.at, (blocks * block) as usize)?;
        let length = Duration::new(blocks * self.frames);
        let before = mono.len();
        match self.decoder.decode_ref(&PacketRef::new(0, Timestamp::new(self.decoded as i64), length, &packet)) {
            Ok(buffer) => mix_into(&buffer, mono),
            Err(error) => return Err(corrupt(&error, self.decoded as usize, self.wav.sample_rate)),
        }
        self.at += blocks * block;
        // The last block may be padded.
        let meant = self.wav.frames.saturating_sub(self.decoded);
        self.decoded += (mono.len() - before) as u64;
        mono.truncate(before + meant.min((mono.len() - before) as u64) as usize);
        Ok(true)
    }
}
