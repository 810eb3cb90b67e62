//! A recording, decoded block after block: the samples of [`decode`](super::decode()), in memory that does not grow with them.
//!
//! What only the whole can tell (that it is silent, or cut off) is told when the end is reached. Whatever is told is what
//! would be told of the whole at once: when a number is found that is none, the rest is still decoded in silence, because
//! damage further on would be the better reason.

use std::io::ErrorKind;

use symphonia::core::audio::conv::IntoSample;
use symphonia::core::audio::sample::Sample;
use symphonia::core::audio::{Audio, AudioBuffer, GenericAudioBufferRef};
use symphonia::core::codecs::audio::AudioDecoder;
use symphonia::core::codecs::audio::well_known::{CODEC_ID_AAC, CODEC_ID_ALAC, CODEC_ID_FLAC, CODEC_ID_OPUS};
use symphonia::core::errors::Error;
use symphonia::core::formats::FormatReader;
use symphonia::core::packet::PacketRef;
use symphonia::core::units::{Duration, Timestamp};

use super::bounds::DecodeLimits;
use super::decode::{catch_decoder_panic, check_rate};
use super::formats::{self, AudioTrack, corrupt};
use super::opus::{self, OpusHead};
use super::source::ByteSource;
use super::unusable::Unusable;
use super::wav::{self, Wav, WavCodec};

/// No recording is as loud; beyond it sums of squares over a frame leave the range of f32, in the filter and in the features.
const LOUDEST: f32 = 1e12;
/// Frames that a WAVE decoder gets at a time.
const FRAMES_PER_PACKET: u64 = 4096;
/// Plain samples are mixed by so many frames.
const FRAMES_PER_BLOCK: u64 = 1 << 15;

/// A recording on its way from bytes to mono samples at its own rate.
pub(super) struct BlockDecoder<'a> {
    source: ByteSource<'a>,
    way: Way<'a>,
    sample_rate: u32,
    channels: u16,
    /// Decoded to learn the rate, and not given yet.
    first: Vec<f32>,
    /// Samples found, given or not.
    frames: usize,
    /// The largest sample so far, as the bits of its magnitude.
    largest: u32,
    /// What is wrong with the samples, told unless the decoder finds worse.
    fault: Option<Unusable>,
    ended: bool,
    bounds: DecodeLimits,
}

enum Way<'a> {
    Plain(Plain),
    Blocks(Box<Blocks>),
    Packets(Box<Packets<'a>>),
}

impl<'a> BlockDecoder<'a> {
    pub fn open(source: ByteSource<'a>, extension: Option<&str>) -> Result<BlockDecoder<'a>, Unusable> {
        catch_decoder_panic(|| {
            if wav::is_wav(&source.read(0, 12)?) {
                let wav = wav::read(&source)?;
                let (sample_rate, channels) = (check_rate(Some(wav.sample_rate))?, wav.channels);
                let way = match wav.codec {
                    WavCodec::Blocks { .. } => Way::Blocks(Box::new(Blocks::new(wav)?)),
                    _ => Way::Plain(Plain { at: wav.data.start, wav }),
                };
                return Ok(BlockDecoder::on(source, way, sample_rate, channels));
            }
            let packets = Packets::open(&source, extension)?;
            let mut block_decoder = BlockDecoder::on(source, Way::Packets(Box::new(packets)), 0, 0);
            block_decoder.learn_shape()?;
            Ok(block_decoder)
        })
    }

    fn on(source: ByteSource<'a>, way: Way<'a>, sample_rate: u32, channels: u16) -> BlockDecoder<'a> {
        let first = Vec::new();
        let (frames, largest, fault, ended, bounds) = (0, 0, None, false, DecodeLimits::NONE);
        BlockDecoder { source, way, sample_rate, channels, first, frames, largest, fault, ended, bounds }
    }

    /// The same recording, unusable where it is more than these.
    pub fn with_limits(self, bounds: DecodeLimits) -> Result<BlockDecoder<'a>, Unusable> {
        bounds.check_channels(self.channels)?;
        // What a header declares is there, or the recording is cut off: none of it need be decoded to refuse it.
        let declared = match &self.way {
            Way::Plain(Plain { wav, .. }) => wav.frames,
            Way::Blocks(blocks) => blocks.wav.frames,
            Way::Packets(packets) => packets.declared.unwrap_or(0),
        };
        bounds.check_length(self.frames.max(declared as usize), self.sample_rate)?;
        Ok(BlockDecoder { bounds, ..self })
    }

    pub fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    pub fn channels(&self) -> u16 {
        self.channels
    }

    /// Samples found so far; once the end was reached, all.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// How many samples will come, where that was counted and is more than a claim.
    pub fn exact_length(&self) -> usize {
        match &self.way {
            Way::Plain(plain) => plain.wav.frames as usize,
            _ => 0,
        }
    }

    /// Appends some samples; false when there were no more, and the whole is usable.
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
            self.verdict()
        })
    }

    /// The decoder knows better than the container: an AAC stream may double the rate of its header.
    fn learn_shape(&mut self) -> Result<(), Unusable> {
        let mut first = Vec::new();
        while self.sample_rate == 0 {
            if self.ended {
                return Err(Unusable::NoSamples);
            }
            self.step(&mut first)?;
        }
        if let Err(odd) = check_rate(Some(self.sample_rate)) {
            self.fault = Some(odd);
            while !self.ended {
                first.clear();
                self.step(&mut first)?;
            }
            return self.verdict().map(drop);
        }
        self.first = first;
        Ok(())
    }

    /// Decodes a little more; what is not fit to be given is counted and dropped.
    fn step(&mut self, mono: &mut Vec<f32>) -> Result<(), Unusable> {
        let before = mono.len();
        let more = match &mut self.way {
            Way::Plain(plain) => plain.step(&self.source, mono),
            Way::Blocks(blocks) => blocks.step(&self.source, mono),
            Way::Packets(packets) => packets.step(mono),
        };
        let more = match (self.source.failure(), more) {
            (Some(failure), _) => return Err(failure),
            (None, more) => more?,
        };
        self.ended = !more;
        if let Way::Packets(packets) = &self.way
            && let Some((rate, channels)) = packets.shape
        {
            (self.sample_rate, self.channels) = (rate, channels as u16);
        }
        // Almost always all are fine: one pass without a branch tells, and only its failure is worth the search. As numbers,
        // the bits of a positive float are in the order of the floats, infinity and NaN above all.
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
        self.bounds.check_length(self.frames, self.sample_rate)?;
        if self.fault.is_some() {
            mono.truncate(before);
        }
        Ok(())
    }

    /// What the whole is, now that it is known.
    fn verdict(&mut self) -> Result<bool, Unusable> {
        match self.fault.take() {
            Some(fault) => Err(fault),
            None if self.frames == 0 => Err(Unusable::NoSamples),
            None if self.largest == 0 => Err(Unusable::Silent { frames: self.frames }),
            None => Ok(false),
        }
    }
}

/// PCM of a WAVE file.
struct Plain {
    wav: Wav,
    at: u64,
}

impl Plain {
    fn step(&mut self, source: &ByteSource, mono: &mut Vec<f32>) -> Result<bool, Unusable> {
        let frame = self.wav.frame_bytes();
        let bytes = (FRAMES_PER_BLOCK * frame).min(self.wav.data.end - self.at) / frame * frame;
        self.wav.mix_into(&source.read(self.at, bytes as usize)?, mono);
        self.at += bytes;
        Ok(self.wav.data.end - self.at >= frame)
    }
}

/// ADPCM, A-law and mu-law of a WAVE file.
struct Blocks {
    wav: Wav,
    at: u64,
    /// Of one block.
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
        // The last block may be filled up.
        let meant = self.wav.frames.saturating_sub(self.decoded);
        self.decoded += (mono.len() - before) as u64;
        mono.truncate(before + meant.min((mono.len() - before) as u64) as usize);
        Ok(true)
    }
}

/// Everything that symphonia takes apart.
struct Packets<'a> {
    format: Box<dyn FormatReader + 'a>,
    chosen: AudioTrack,
    decoder: Box<dyn AudioDecoder>,
    /// As the container has it.
    sample_rate: u32,
    declared: Option<u64>,
    /// Decoded so far, the run-in among them.
    decoded: usize,
    /// What is left of the encoder's run-in.
    run_in: usize,
    /// How many samples at the end fill up the last packet, and those that may turn out to be among them.
    padding: usize,
    tail: Vec<f32>,
    /// The file is known to end where it should, whatever the reader says.
    whole: bool,
    /// Rate and channels, once a packet was decoded.
    shape: Option<(u32, usize)>,
    slack: u64,
}

impl<'a> Packets<'a> {
    fn open(source: &ByteSource<'a>, extension: Option<&str>) -> Result<Packets<'a>, Unusable> {
        let survey = formats::scan(source)?;
        let format = formats::open(source, extension)?;
        let chosen = formats::audio_track(format.as_ref())?;
        let sample_rate = check_rate(chosen.parameters.sample_rate)?;
        let declared = formats::declared_frames(format.as_ref(), &chosen.track, source)?;
        let decoder = formats::make_decoder(&chosen.parameters)?;
        let (run_in, padding) = formats::encoder_padding(format.as_ref(), &chosen, survey.as_ref(), source)?;
        let whole = declared.is_some() || survey.is_some();
        let (decoded, shape, slack, tail) = (0, None, 0, Vec::new());
        Ok(Packets {
            format,
            chosen,
            decoder,
            sample_rate,
            declared,
            decoded,
            run_in,
            padding,
            tail,
            whole,
            shape,
            slack,
        })
    }

    /// Decodes a packet; false at the end.
    fn step(&mut self, mono: &mut Vec<f32>) -> Result<bool, Unusable> {
        let packet = match self.format.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => return self.end(),
            Err(Error::ResetRequired) => {
                self.chosen = formats::audio_track(self.format.as_ref())?;
                self.decoder = formats::make_decoder(&self.chosen.parameters)?;
                if self.chosen.parameters.codec == CODEC_ID_OPUS {
                    self.run_in = OpusHead::of(&self.chosen.parameters)?.pre_skip;
                }
                return Ok(true);
            }
            // A file that ends early gets no grace.
            Err(Error::IoError(error)) if error.kind() == ErrorKind::UnexpectedEof && self.whole => {
                self.slack = 0;
                return self.end();
            }
            Err(error) => return Err(corrupt(&error, self.decoded, self.sample_rate)),
        };
        if packet.track_id != self.chosen.track.id {
            return Ok(true);
        }
        let codec = self.chosen.parameters.codec;
        let seconds = self.decoded as f64 / f64::from(self.sample_rate);
        // FLAC numbers its frames, and symphonia steps over damaged ones: a gap in the numbers is the only trace.
        if codec == CODEC_ID_FLAC && packet.pts.get() > self.decoded as i64 {
            let missing = packet.pts.get() - self.decoded as i64;
            let found = format!("{missing} samples are missing where a frame was damaged");
            return Err(Unusable::Corrupt { seconds, found });
        }
        let buffer = self.decoder.decode(&packet).map_err(|error| corrupt(&error, self.decoded, self.sample_rate))?;
        let here = (buffer.spec().rate(), buffer.num_planes());
        if *self.shape.get_or_insert(here) != here {
            let found = "the sample rate or the number of channels changes".into();
            return Err(Unusable::Corrupt { seconds, found });
        }
        let before = mono.len();
        mix_into(&buffer, mono);
        // In MP4 the last packet of Opus lasts as long as it is meant to be heard.
        let is_last =
            self.declared.is_some_and(|all| packet.pts.get().saturating_add_unsigned(packet.dur.get()) == all as i64);
        if codec == CODEC_ID_OPUS && is_last && formats::is_mp4(self.format.as_ref()) {
            mono.truncate(before + packet.dur.get() as usize);
        }
        let new = mono.len() - before;
        self.decoded += new;
        // Writers of AAC and ALAC count whole packets where the last one is shorter; what was moved from WebM into Ogg or
        // MP4 counts Opus by its milliseconds.
        match codec {
            CODEC_ID_AAC | CODEC_ID_ALAC => self.slack = self.slack.max(packet.dur.get().saturating_sub(1)),
            CODEC_ID_OPUS => self.slack = opus::MAX_PACKET_SAMPLES as u64,
            _ => {}
        }
        let cut = self.run_in.min(new);
        mono.drain(before..before + cut);
        self.run_in -= cut;
        if self.padding > 0 {
            self.tail.extend(mono.drain(before..));
            mono.extend(self.tail.drain(..self.tail.len().saturating_sub(self.padding)));
        }
        Ok(true)
    }

    fn end(&mut self) -> Result<bool, Unusable> {
        match self.declared {
            Some(declared) if (self.decoded as u64 + self.slack) < declared => {
                Err(Unusable::Truncated { declared, found: self.decoded as u64, unit: "samples" })
            }
            _ => Ok(false),
        }
    }
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
