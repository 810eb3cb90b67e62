//! Reads the header of a recording: its length, rate, channels and codec.

use std::panic::{AssertUnwindSafe, catch_unwind};

use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::errors::Error;
use symphonia::core::formats::FormatReader;
use symphonia::core::units::TimeBase;

use super::formats::{self, AudioTrack};
use super::opus::{self, OpusHead};
use super::plain;
use super::source::ByteSource;
use super::unusable::Unusable;

/// Accepted sample rates. Others are damage: resampling from 1 Hz would turn a small file into one that fills the memory.
const RATES: std::ops::RangeInclusive<u32> = 1000..=1_536_000;

/// The properties that the header of a recording declares.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    pub seconds: f64,
    pub sample_rate: u32,
    pub channels: u16,
    /// A short name of the codec, such as `pcm_s16le` or `flac`.
    pub codec: String,
}

/// Reads the header, and only as many samples as it takes to count them.
pub fn probe(bytes: &[u8], extension: Option<&str>) -> Result<Header, Unusable> {
    probe_source(&ByteSource::memory(bytes), extension)
}

pub(super) fn probe_source(source: &ByteSource, extension: Option<&str>) -> Result<Header, Unusable> {
    catch_decoder_panic(|| {
        let Some(wav) = plain::read(source)? else { return probe_any(source, extension) };
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
