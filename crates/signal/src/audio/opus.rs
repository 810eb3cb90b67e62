//! Decodes Opus packets from any container to samples at 48 kHz.
//!
//! Conventions
//! - The rate is always 48 kHz, whatever the container declares: the format has no other.
//! - The encoder delay (pre-skip) is cut and the output gain of the header applied, as in ffmpeg and opusdec. Gains in tags
//!   are meant for players and ignored.
//! - Channel mapping families 0 (mono, stereo) and 1 (up to eight channels in Vorbis order). Others are refused: they have
//!   no channel positions, or are ambisonics, whose mean has no meaning.
//! - A frame of at most one byte is a pause (DTX) and becomes the decoder's comfort noise. It is random: its samples differ
//!   from libopus', its level does not.

use ruopus::{OpusDecoder as StreamDecoder, Packet, PacketError};
use symphonia::core::audio::{
    AsGenericAudioBufferRef, AudioBuffer, AudioMut, AudioSpec, Channels, GenericAudioBufferRef,
};
use symphonia::core::codecs::CodecInfo;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, FinalizeResult};
use symphonia::core::errors::{Result as Decoded, decode_error};
use symphonia::core::packet::PacketRef;

use super::source::ByteSource;
use super::unusable::Unusable;

/// Sample rate of every decoded Opus stream.
pub(super) const RATE: u32 = 48_000;

/// Samples of the longest packet, 120 ms.
pub(super) const MAX_PACKET_SAMPLES: usize = 5760;

const CODEC: CodecInfo = CodecInfo { short_name: "opus", long_name: "Opus", profiles: &[] };
const MAGIC: &[u8] = b"OpusHead";
/// In a channel mapping: a silent channel.
const NOTHING: u8 = 255;

/// The identification header.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OpusHead {
    /// Encoder delay in samples at 48 kHz.
    pub pre_skip: usize,
    /// Factor for every sample.
    gain: f32,
    streams: usize,
    /// Number of stereo streams; they come first.
    coupled: usize,
    /// The decoded channel of each output channel.
    mapping: Vec<u8>,
}

impl OpusHead {
    /// Parses `OpusHead` of Ogg and Matroska, or, after the same eight letters, `dOps` of MP4, whose numbers are big-endian.
    pub fn read(bytes: &[u8]) -> Result<OpusHead, Unusable> {
        let short = || Unusable::damaged_header("the Opus header is too short");
        let body = bytes.strip_prefix(MAGIC).ok_or_else(|| Unusable::damaged_header("it has no Opus header"))?;
        let (fixed, table) = body.split_first_chunk::<11>().ok_or_else(short)?;
        let [version, channels, skip_a, skip_b, _, _, _, _, gain_a, gain_b, family] = *fixed;
        let word = |a, b| if version == 0 { u16::from_be_bytes([a, b]) } else { u16::from_le_bytes([a, b]) };
        // The upper four bits are the major version: another format.
        if version > 15 {
            return Err(Unusable::Unsupported { found: format!("Opus with a header of version {version}") });
        }
        let (streams, coupled, mapping) = match (family, channels) {
            (0, 1) => (1, 0, vec![0]),
            (0, 2) => (1, 1, vec![0, 1]),
            (1, 1..=8) => {
                let mapping = table.get(2..2 + usize::from(channels)).ok_or_else(short)?;
                (usize::from(table[0]), usize::from(table[1]), mapping.to_vec())
            }
            (0 | 1, _) => return Err(Unusable::damaged_header(format!("an Opus header with {channels} channels"))),
            _ => {
                let found =
                    format!("Opus with channel mapping family {family}: only 0 and 1 say where a channel belongs");
                return Err(Unusable::Unsupported { found });
            }
        };
        let decoded = streams + coupled;
        if streams == 0 || coupled > streams || decoded > 255 {
            return Err(Unusable::damaged_header(format!(
                "an Opus header with {streams} streams, {coupled} of them coupled"
            )));
        }
        if mapping.iter().any(|channel| *channel != NOTHING && usize::from(*channel) >= decoded) {
            return Err(Unusable::damaged_header("an Opus header whose channels are in no stream"));
        }
        let gain = f32::from(word(gain_a, gain_b) as i16) / 256.0;
        let gain = if gain == 0.0 { 1.0 } else { 10f32.powf(gain / 20.0) };
        Ok(OpusHead { pre_skip: usize::from(word(skip_a, skip_b)), gain, streams, coupled, mapping })
    }

    pub fn channels(&self) -> usize {
        self.mapping.len()
    }

    /// The header of a track. A Matroska track without a header has one stream.
    pub fn of(parameters: &AudioCodecParameters) -> Result<OpusHead, Unusable> {
        match parameters.extra_data.as_deref() {
            Some(bytes) if !bytes.is_empty() => OpusHead::read(bytes),
            _ => match parameters.channels.as_ref().map(Channels::count) {
                Some(1) => Ok(OpusHead { pre_skip: 0, gain: 1.0, streams: 1, coupled: 0, mapping: vec![0] }),
                Some(2) => Ok(OpusHead { pre_skip: 0, gain: 1.0, streams: 1, coupled: 1, mapping: vec![0, 1] }),
                _ => Err(Unusable::damaged_header("it has no Opus header")),
            },
        }
    }
}

/// Checks the Opus header of an Ogg file: symphonia's reader skips streams with an unknown one without a reason.
pub(super) fn check_ogg_head(source: &ByteSource) -> Result<(), Unusable> {
    let page = source.read(0, 27 + 255 + 300)?;
    if !page.starts_with(b"OggS") {
        return Ok(());
    }
    let body = page.get(26).and_then(|segments| page.get(27 + usize::from(*segments)..));
    match body {
        Some(body) if body.starts_with(MAGIC) => OpusHead::read(body).map(drop),
        _ => Ok(()),
    }
}

/// Number of samples in a packet; 0 for an invalid one.
pub(super) fn packet_samples(packet: &[u8], head: &OpusHead) -> usize {
    let parsed = if head.streams > 1 {
        Packet::parse_self_delimited(packet).map(|(packet, _)| packet)
    } else {
        Packet::parse(packet)
    };
    parsed.map_or(0, |packet| packet.frames().len() * frame_length(&packet))
}

fn frame_length(packet: &Packet) -> usize {
    packet.toc().frame_size().samples_per_channel_48k()
}

/// One decoder for each stream of the packets.
pub(super) struct OpusDecoder {
    parameters: AudioCodecParameters,
    head: OpusHead,
    streams: Vec<StreamDecoder>,
    /// Samples of each stream, interleaved.
    decoded: Vec<Vec<f32>>,
    buffer: AudioBuffer<f32>,
}

impl OpusDecoder {
    pub fn new(parameters: &AudioCodecParameters) -> Result<OpusDecoder, Unusable> {
        let head = OpusHead::of(parameters)?;
        let channels = Channels::Discrete(head.mapping.len() as u16);
        let buffer = AudioBuffer::new(AudioSpec::new(RATE, channels), MAX_PACKET_SAMPLES);
        let streams = streams(&head);
        let decoded = vec![Vec::new(); head.streams];
        Ok(OpusDecoder { parameters: parameters.clone(), head, streams, decoded, buffer })
    }

    fn decode_streams(&mut self, mut rest: &[u8]) -> Result<usize, PacketError> {
        let last = self.streams.len() - 1;
        let mut length = None;
        for (i, (stream, pcm)) in self.streams.iter_mut().zip(&mut self.decoded).enumerate() {
            // All streams but the last declare their length.
            let packet = if i < last {
                let (packet, used) = Packet::parse_self_delimited(rest)?;
                rest = &rest[used..];
                packet
            } else {
                Packet::parse(rest)?
            };
            let here = packet.frames().len() * frame_length(&packet);
            if *length.get_or_insert(here) != here {
                return Err(PacketError::InvalidFrameCount);
            }
            pcm.clear();
            for frame in packet.frames() {
                decode_frame(stream, &packet, frame, pcm)?;
            }
        }
        Ok(length.unwrap_or(0))
    }

    /// Copies the decoded channels to the output channels of the mapping.
    fn arrange(&mut self, length: usize) {
        self.buffer.clear();
        self.buffer.render_uninit(Some(length));
        for (plane, channel) in self.buffer.iter_planes_mut().zip(&self.head.mapping) {
            let (channel, coupled) = (usize::from(*channel), self.head.coupled);
            let (stream, offset, step) = match channel {
                channel if channel == usize::from(NOTHING) => {
                    plane.fill(0.0);
                    continue;
                }
                channel if channel < 2 * coupled => (channel / 2, channel % 2, 2),
                channel => (channel - coupled, 0, 1),
            };
            let samples = self.decoded[stream][offset..].iter().step_by(step);
            for (to, from) in plane.iter_mut().zip(samples) {
                *to = from * self.head.gain;
            }
        }
    }
}

fn streams(head: &OpusHead) -> Vec<StreamDecoder> {
    (0..head.streams).map(|i| StreamDecoder::new(if i < head.coupled { 2 } else { 1 })).collect()
}

/// Passes each frame to the decoder as a packet of its own: in a packet of several frames the decoder takes an empty frame
/// for damage instead of a pause, and gives a packet that is a pause the length of the previous one.
fn decode_frame(
    stream: &mut StreamDecoder,
    packet: &Packet,
    frame: &[u8],
    pcm: &mut Vec<f32>,
) -> Result<(), PacketError> {
    if frame.len() <= 1 {
        pcm.extend(stream.decode_lost(frame_length(packet)));
        return Ok(());
    }
    let mut alone = Vec::with_capacity(1 + frame.len());
    alone.push(packet.toc().byte() & !3);
    alone.extend_from_slice(frame);
    pcm.extend(stream.decode_packet(&alone)?);
    Ok(())
}

impl AudioDecoder for OpusDecoder {
    fn reset(&mut self) {
        self.streams = streams(&self.head);
    }

    fn codec_info(&self) -> &CodecInfo {
        &CODEC
    }

    fn codec_params(&self) -> &AudioCodecParameters {
        &self.parameters
    }

    fn decode_ref(&mut self, packet: &PacketRef<'_>) -> Decoded<GenericAudioBufferRef<'_>> {
        match self.decode_streams(packet.data) {
            Ok(length) => {
                self.arrange(length);
                self.buffer.trim(0, packet.trim_end.get().min(length as u64) as usize);
                Ok(self.buffer.as_generic_audio_buffer_ref())
            }
            Err(_) => {
                self.buffer.clear();
                decode_error("an Opus packet contradicts itself")
            }
        }
    }

    fn finalize(&mut self) -> FinalizeResult {
        FinalizeResult::default()
    }

    fn last_decoded(&self) -> GenericAudioBufferRef<'_> {
        self.buffer.as_generic_audio_buffer_ref()
    }
}
