//! Every format that symphonia demuxes: packets, one after the other or from a place within the recording.

use std::io::ErrorKind;

use symphonia::core::audio::conv::IntoSample;
use symphonia::core::audio::sample::Sample;
use symphonia::core::audio::{Audio, AudioBuffer, GenericAudioBufferRef};
use symphonia::core::codecs::audio::AudioDecoder;
use symphonia::core::codecs::audio::well_known::{
    CODEC_ID_AAC, CODEC_ID_ALAC, CODEC_ID_FLAC, CODEC_ID_MP1, CODEC_ID_MP2, CODEC_ID_MP3, CODEC_ID_OPUS,
    CODEC_ID_VORBIS,
};
use symphonia::core::errors::Error;
use symphonia::core::formats::{FormatReader, SeekMode, SeekTo};
use symphonia::core::packet::Packet;
use symphonia::core::units::{Duration, TimeBase, Timestamp};

use super::formats::{self, AudioTrack, corrupt};
use super::opus::{self, OpusHead};
use super::probe::check_rate;
use super::source::ByteSource;
use super::unusable::Unusable;

pub(super) struct Packets<'a> {
    format: Box<dyn FormatReader + 'a>,
    chosen: AudioTrack,
    decoder: Box<dyn AudioDecoder>,
    /// The rate that the container declares.
    sample_rate: u32,
    pub declared: Option<u64>,
    /// Samples decoded so far, with the encoder delay.
    decoded: usize,
    /// Samples of the encoder delay, and how many of them remain to be cut.
    delay: usize,
    run_in: usize,
    /// Number of padding samples at the end of the last packet, and the decoded samples that may be padding.
    padding: usize,
    tail: Vec<f32>,
    /// Whether the file is known to be complete, whatever the reader reports.
    whole: bool,
    /// Rate and channels, after the first decoded packet.
    pub shape: Option<(u32, usize)>,
    slack: u64,
    /// From the first packet that was decoded whole.
    timing: Option<SampleTiming>,
    /// The packet at which `seek` stopped.
    pending: Option<Packet>,
}

/// How timestamps and packets relate to samples.
#[derive(Clone, Copy)]
struct SampleTiming {
    /// What a timestamp lacks to the number of samples decoded before it.
    offset: i64,
    /// The samples of a packet, where all packets have equally many.
    block: usize,
}

impl<'a> Packets<'a> {
    pub fn open(source: &ByteSource<'a>, extension: Option<&str>) -> Result<Packets<'a>, Unusable> {
        let scan = formats::scan(source)?;
        let format = formats::open(source, extension)?;
        let chosen = formats::audio_track(format.as_ref())?;
        let sample_rate = check_rate(chosen.parameters.sample_rate)?;
        let declared = formats::declared_frames(format.as_ref(), &chosen.track, source)?;
        let decoder = formats::make_decoder(&chosen.parameters)?;
        let (run_in, padding) = formats::encoder_padding(format.as_ref(), &chosen, scan.as_ref(), source)?;
        let whole = declared.is_some() || scan.is_some();
        let (decoded, slack, tail) = (0, 0, Vec::new());
        let (shape, timing, pending) = (None, None, None);
        Ok(Packets {
            format,
            chosen,
            decoder,
            sample_rate,
            declared,
            decoded,
            delay: run_in,
            run_in,
            padding,
            tail,
            whole,
            shape,
            slack,
            timing,
            pending,
        })
    }

    /// Whether the timestamps can be compared with what was decoded. The first packets of some formats decode to nothing, or to less
    /// than their length.
    pub fn can_seek(&self) -> bool {
        self.timing.is_some()
    }

    /// Moves to the packet of a sample and returns its first sample; 0 where decoding has to begin at the beginning. `None` if
    /// the place cannot be found. What a codec remembers of the packets before is decoded and dropped.
    pub fn seek(&mut self, first: usize) -> Option<usize> {
        let (Some(remembered), Some(timing)) = (remembered(self.decoder.as_ref()), self.timing) else { return Some(0) };
        let first = first + self.delay;
        let Some(from) = first.checked_sub(remembered).filter(|&from| from > self.decoded) else { return Some(0) };
        let codec = self.chosen.parameters.codec;
        if codec == CODEC_ID_OPUS && formats::is_mp4(self.format.as_ref()) {
            return Some(0);
        }
        // MP3 has no index, frames that are no audio, and padding within files that were joined; the timestamps of AAC in MP4 are not always
        // those of its samples. Their packets have equal lengths, and are counted.
        let counts = matches!(codec, CODEC_ID_MP1 | CODEC_ID_MP2 | CODEC_ID_MP3 | CODEC_ID_AAC | CODEC_ID_ALAC);
        if !counts {
            let track = &self.chosen.track;
            if track.time_base != TimeBase::try_from_recip(self.sample_rate) {
                return Some(0);
            }
            let to = SeekTo::Timestamp { ts: Timestamp::new(from as i64 - timing.offset), track_id: track.id };
            self.format.seek(SeekMode::Accurate, to).ok()?;
        }
        self.decoder.reset();
        let mut counted = self.decoded;
        loop {
            let mut packet = self.format.next_packet().ok()??;
            if packet.track_id != self.chosen.track.id {
                continue;
            }
            // Speech has longer memories than music, and silence in it is made of random numbers.
            let is_speech = |packet: &Packet| packet.data.first().is_some_and(|toc| toc >> 3 < 16);
            if codec == CODEC_ID_OPUS && is_speech(&packet) {
                return None;
            }
            self.keep_what_follows(&mut packet);
            let trimmed = (packet.trim_start.get() + packet.trim_end.get()) as usize;
            let (start, length) = match counts {
                true => (counted, timing.block.checked_sub(trimmed)?),
                false => (usize::try_from(packet.pts.get() + timing.offset).ok()?, packet.dur.get() as usize),
            };
            counted = start + length;
            if start > first {
                return None;
            }
            if counted > first {
                self.decoded = start;
                self.run_in = 0;
                self.pending = Some(packet);
                return start.checked_sub(self.delay);
            }
            if counted > from {
                // Its own samples are not asked for, and the packets before it may be missing.
                let _ = self.decoder.decode(&packet);
            }
        }
    }

    /// Behind the padding of an MP3 another may follow; symphonia trims all of it.
    fn keep_what_follows(&self, packet: &mut Packet) {
        let padding = u64::from(self.chosen.track.padding.unwrap_or(0));
        let is_beyond = |all: u64| packet.pts.get() >= (all + padding) as i64;
        if self.chosen.parameters.codec == CODEC_ID_MP3 && self.declared.is_some_and(is_beyond) {
            packet.trim_end = Duration::ZERO;
        }
    }

    /// Decodes a packet. Returns false at the end.
    pub fn step(&mut self, mono: &mut Vec<f32>) -> Result<bool, Unusable> {
        let next = self.pending.take().map_or_else(|| self.format.next_packet(), |packet| Ok(Some(packet)));
        let mut packet = match next {
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
            // A file that ends early gets no tolerance.
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
        // symphonia skips damaged FLAC frames. A gap in the frame numbers is the only trace.
        if codec == CODEC_ID_FLAC && packet.pts.get() > self.decoded as i64 {
            let missing = packet.pts.get() - self.decoded as i64;
            let found = format!("{missing} samples are missing where a frame was damaged");
            return Err(Unusable::Corrupt { seconds, found });
        }
        self.keep_what_follows(&mut packet);
        let buffer = self.decoder.decode(&packet).map_err(|error| corrupt(&error, self.decoded, self.sample_rate))?;
        let here = (buffer.spec().rate(), buffer.num_planes());
        if *self.shape.get_or_insert(here) != here {
            let found = "the sample rate or the number of channels changes".into();
            return Err(Unusable::Corrupt { seconds, found });
        }
        let before = mono.len();
        mix_into(&buffer, mono);
        // In MP4 the duration of the last Opus packet excludes its padding.
        let is_last =
            self.declared.is_some_and(|all| packet.pts.get().saturating_add_unsigned(packet.dur.get()) == all as i64);
        if codec == CODEC_ID_OPUS && is_last && formats::is_mp4(self.format.as_ref()) {
            mono.truncate(before + packet.dur.get() as usize);
        }
        let new = mono.len() - before;
        self.decoded += new;
        let is_whole = packet.trim_start == Duration::ZERO && packet.trim_end == Duration::ZERO;
        if new > 0 && is_whole && self.timing.is_none() {
            let end = packet.pts.get() + packet.dur.get() as i64;
            self.timing = Some(SampleTiming { offset: self.decoded as i64 - end, block: new });
        }
        // Writers of AAC and ALAC count whole packets although the last one is shorter. Opus remuxed from WebM into Ogg or MP4
        // is counted in milliseconds.
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

/// Number of samples before a packet on which its own depend; `None` for codecs that cannot begin within a recording.
fn remembered(decoder: &dyn AudioDecoder) -> Option<usize> {
    match decoder.codec_params().codec {
        CODEC_ID_FLAC | CODEC_ID_ALAC => Some(0),
        // Halves of two blocks overlap.
        CODEC_ID_VORBIS => Some(4 * 8192),
        // A frame takes up to 511 bytes of frames before it, which hold down to ten each.
        CODEC_ID_MP1 | CODEC_ID_MP2 | CODEC_ID_MP3 => Some(64 * 1152),
        CODEC_ID_AAC => Some(4 * 2048),
        // Music is predicted from the past, which fades: RFC 7845 asks for 80 ms.
        CODEC_ID_OPUS => Some(2 * opus::RATE as usize),
        _ => decoder.codec_info().short_name.starts_with("pcm_").then_some(0),
    }
}

/// Appends the mean over the channels of a packet.
pub(super) fn mix_into(buffer: &GenericAudioBufferRef<'_>, mono: &mut Vec<f32>) {
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::block_decoder::BlockDecoder;
    use super::*;

    #[test]
    fn decoding_begins_shortly_before_an_excerpt() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/seek");
        let place = |name: &str, first: usize| {
            let source = ByteSource::open_regular(&folder.join(name)).unwrap();
            let mut decoder = BlockDecoder::open(source, super::super::extension(Path::new(name))).unwrap();
            decoder.seek(first).unwrap().unwrap()
        };
        for (name, rate) in [
            ("cbr.mp3", 22050),
            ("vbr.mp3", 22050),
            ("xing.mp3", 44100),
            ("vorbis.ogg", 22050),
            ("aac.m4a", 22050),
            ("jitter.m4a", 22050),
            ("adts.aac", 22050),
            ("opus.opus", 48000),
            ("pcm.aiff", 2000),
            ("pcm.caf", 2000),
            ("alac.m4a", 2000),
        ] {
            let first = 8 * rate;
            let found = place(name, first);
            assert!(found <= first && first - found < 4097, "{name}: {found} for {first}");
        }
        let speech = ByteSource::open_regular(&folder.join("speech.opus")).unwrap();
        assert_eq!(BlockDecoder::open(speech, Some("opus")).unwrap().seek(8 * 48000).unwrap(), None);
        // Matroska counts milliseconds, which are not exact enough.
        assert_eq!(place("vorbis.mka", 8 * 22050), 0);
    }
}
