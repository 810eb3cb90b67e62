//! Opens containers: recognises the format, reads the declared length, and checks that the file is complete.

use std::io::ErrorKind;

use symphonia::core::codecs::audio::well_known::{CODEC_ID_AAC, CODEC_ID_OPUS};
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::well_known::{
    FORMAT_ID_ADTS, FORMAT_ID_ISOMP4, FORMAT_ID_MP1, FORMAT_ID_MP2, FORMAT_ID_MP3,
};
use symphonia::core::formats::{FormatOptions, FormatReader, Track, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream, MediaSourceStreamOptions, ReadOnlySource};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::units::TimeBase;

use super::mp4;
use super::opus::{self, OpusDecoder, OpusHead};
use super::source::{ByteSource, Patch};
use super::unusable::Unusable;
use super::webm::{self, WebmScan};

/// Opens the container that symphonia recognises, after checking that the file is complete.
pub(super) fn open<'a>(
    source: &ByteSource<'a>,
    extension: Option<&str>,
) -> Result<Box<dyn FormatReader + 'a>, Unusable> {
    if source.len() == 0 {
        return Err(Unusable::Empty);
    }
    let data_size = check_data_chunk(source)?;
    opus::check_ogg_head(source)?;
    check_ogg_end(source)?;
    mp4::check_end(source)?;
    let start = source.read(0, 16)?;
    let mut opened = probe(source.media(data_size), extension, &start)?;
    // These formats declare no length, but for a Xing or VBRI header. Where it can seek, symphonia estimates one from a few
    // packets, and cuts MP3 there.
    if matches!(opened.format_info().format, FORMAT_ID_MP1 | FORMAT_ID_MP2 | FORMAT_ID_MP3 | FORMAT_ID_ADTS) {
        let media = ReadOnlySource::new(source.media(lame_checksum(source)?));
        opened = probe(Box::new(media), extension, &start)?;
    }
    // symphonia searches the first mebibyte for a format signature. No MP4 begins there, and the checks above started at
    // the first byte.
    if is_mp4(opened.as_ref()) && start.get(4..8) != Some(b"ftyp") {
        return Err(Unusable::NotAudio { found: first_bytes(&start) });
    }
    Ok(opened)
}

fn probe<'a>(
    media: Box<dyn MediaSource + 'a>,
    extension: Option<&str>,
    start: &[u8],
) -> Result<Box<dyn FormatReader + 'a>, Unusable> {
    let mut hint = Hint::new();
    if let Some(extension) = extension {
        hint.with_extension(extension);
    }
    let media = MediaSourceStream::new(media, MediaSourceStreamOptions::default());
    symphonia::default::get_probe().probe(&hint, media, FormatOptions::default(), MetadataOptions::default()).map_err(
        |error| match error {
            // The index may follow the samples: a truncated file has none.
            Error::Unsupported(_) if start.get(4..8) == Some(b"ftyp") => {
                Unusable::damaged_header("an MP4 file without an index, cut off or never finished")
            }
            Error::Unsupported(_) => Unusable::NotAudio { found: first_bytes(start) },
            Error::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Unusable::damaged_header("it ends within its header")
            }
            other => Unusable::damaged_header(other.to_string()),
        },
    )
}

/// The first bytes of an unknown file, for the error message.
fn first_bytes(bytes: &[u8]) -> String {
    let start: String = bytes.iter().flat_map(|byte| byte.escape_ascii()).map(char::from).collect();
    format!("it begins with \"{start}\"")
}

pub(super) struct AudioTrack {
    pub track: Track,
    pub parameters: AudioCodecParameters,
}

pub(super) fn audio_track(format: &dyn FormatReader) -> Result<AudioTrack, Unusable> {
    let track = format.default_track(TrackType::Audio);
    let found = || format!("a {} file without a readable audio track", format.format_info().short_name);
    let track = track.ok_or_else(|| Unusable::Unsupported { found: found() })?;
    let parameters = track.codec_params.as_ref().and_then(|parameters| parameters.audio());
    let mut parameters = parameters.ok_or_else(|| Unusable::Unsupported { found: found() })?.clone();
    let mut track = track.clone();
    if parameters.codec == CODEC_ID_OPUS {
        parameters.with_sample_rate(opus::RATE);
    }
    // The field of MP4 ends at 65,535 Hz; the configuration of the decoder always holds the rate.
    if parameters.codec == CODEC_ID_AAC
        && let Some(rate) = parameters.extra_data.as_deref().and_then(aac_sample_rate)
    {
        parameters.with_sample_rate(rate);
        if track.time_base == TimeBase::try_from_recip(rate) {
            track.num_frames = track.num_frames.or(track.duration.map(|duration| duration.get()));
        }
    }
    Ok(AudioTrack { track, parameters })
}

/// The sample rate in an AudioSpecificConfig: after the object type, an index of the usual rates or the rate itself.
fn aac_sample_rate(config: &[u8]) -> Option<u32> {
    const RATES: [u32; 13] = [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350];
    let mut bits = config.iter().flat_map(|byte| (0..8).rev().map(move |bit| u32::from(byte >> bit & 1)));
    let mut number = |n: usize| (0..n).try_fold(0, |number, _| Some(number << 1 | bits.next()?));
    if number(5)? == 31 {
        number(6)?;
    }
    match number(4)? {
        15 => number(24),
        index => RATES.get(index as usize).copied(),
    }
}

/// Samples of a packet that are no damage yet. The decoders reserve the memory of the longest packet that is declared.
const LONGEST_PACKET: u64 = 1 << 20;

pub(super) fn make_decoder(parameters: &AudioCodecParameters) -> Result<Box<dyn AudioDecoder>, Unusable> {
    if parameters.codec == CODEC_ID_OPUS {
        return Ok(Box::new(OpusDecoder::new(parameters)?));
    }
    if let Some(frames) = parameters.max_frames_per_packet.filter(|frames| *frames > LONGEST_PACKET) {
        return Err(Unusable::damaged_header(format!("packets of {frames} samples")));
    }
    symphonia::default::get_codecs().make_audio_decoder(parameters, &AudioDecoderOptions::default()).map_err(|error| {
        match error {
            Error::Unsupported(what) => Unusable::Unsupported { found: what.into() },
            other => Unusable::damaged_header(other.to_string()),
        }
    })
}

/// The length that the header declares.
pub(super) fn declared_frames(
    format: &dyn FormatReader,
    track: &Track,
    source: &ByteSource,
) -> Result<Option<u64>, Unusable> {
    let Some(frames) = track.num_frames.filter(|frames| *frames > 0) else { return Ok(None) };
    Ok(match format.format_info().format {
        // Browsers record in fragments, whose length the header does not contain.
        FORMAT_ID_ISOMP4 if mp4::is_fragmented(source)? => None,
        // A stream cut from a broadcast starts late: the time before its start was never in the file.
        _ => Some(frames.saturating_sub(track.start_ts.get().max(0) as u64)),
    })
}

pub(super) fn is_mp4(format: &dyn FormatReader) -> bool {
    format.format_info().format == FORMAT_ID_ISOMP4
}

/// Zeros in place of the checksum of a LAME header in the first frame. symphonia ignores the encoder delay where the checksum is
/// wrong; ffmpeg and libsndfile do not check it. The frame follows the tags.
fn lame_checksum(source: &ByteSource) -> Result<Option<Patch>, Unusable> {
    let tag = match source.read(0, 10)?[..] {
        [b'I', b'D', b'3', _, _, _, a, b, c, d] => {
            10 + [a, b, c, d].iter().fold(0u64, |size, byte| size << 7 | u64::from(*byte & 0x7F))
        }
        _ => 0,
    };
    let start = source.read(tag, 2048)?;
    let lame = start.windows(4).position(|word| matches!(word, b"Xing" | b"Info")).and_then(|xing| {
        // A flag for each optional part: frames, bytes, table, quality.
        let flags = start.get(xing + 7)?;
        let parts = [4, 4, 100, 4].iter().enumerate().filter(|(bit, _)| flags >> bit & 1 == 1);
        Some(xing + 8 + parts.map(|(_, size)| size).sum::<usize>())
    });
    let is_lame = |at: &usize| matches!(start.get(*at..at + 4), Some(b"LAME" | b"Lavf" | b"Lavc"));
    Ok(lame.filter(is_lame).map(|at| Patch { at: tag + at as u64 + 34, bytes: vec![0; 2] }))
}

/// Number of samples of encoder delay at the start and of padding at the end, which are not part of the recording. Samples
/// that the format reader cuts itself are not counted.
pub(super) fn encoder_padding(
    format: &dyn FormatReader,
    chosen: &AudioTrack,
    scan: Option<&WebmScan>,
    source: &ByteSource,
) -> Result<(usize, usize), Unusable> {
    let rate = chosen.parameters.sample_rate.unwrap_or(0);
    match chosen.parameters.codec {
        CODEC_ID_AAC if is_mp4(format) => Ok((mp4::samples_before_start(source, rate)?, 0)),
        CODEC_ID_OPUS => {
            let (delay, padding) = scan.map_or((0, 0), |scan| scan.encoder_padding(chosen.track.id, rate));
            let pre_skip = OpusHead::of(&chosen.parameters)?.pre_skip;
            Ok((if pre_skip > 0 { pre_skip } else { delay }, padding))
        }
        _ => Ok((0, 0)),
    }
}

/// Scans a WebM file to its end; afterwards an early end of file in the reader is the real end.
pub(super) fn scan(source: &ByteSource) -> Result<Option<WebmScan>, Unusable> {
    webm::scan(source)
}

/// Checks the data chunk of AIFF and CAF files: symphonia's readers stop at a truncated chunk without reporting its length.
/// Returns the size of a chunk that lasts to the end of the file: a CAF chunk of unknown size, or one that is cut off.
fn check_data_chunk(source: &ByteSource) -> Result<Option<Patch>, Unusable> {
    let (mut at, size_bytes, wanted) = match source.read(0, 12)?[..] {
        [b'F', b'O', b'R', b'M', _, _, _, _, b'A', b'I', b'F', b'F' | b'C'] => (12, 4, b"SSND"),
        [b'c', b'a', b'f', b'f', ..] => (8, 8, b"data"),
        _ => return Ok(None),
    };
    let mut headers = source.header_reader();
    while let Some((id, size)) = headers.get(at, 4 + size_bytes)?.map(|head| head.split_at(4)) {
        let declared = size.iter().fold(0, |size: u64, byte| size << 8 | u64::from(*byte));
        at += 4 + size_bytes as u64;
        let found = source.len() - at;
        if id == wanted && declared == u64::MAX {
            return Ok(Some(Patch { at: at - 8, bytes: found.to_be_bytes().to_vec() }));
        }
        if id == wanted && declared > found {
            let why = Unusable::Truncated { declared, found, unit: "bytes of samples" };
            // symphonia's reader of AIFF wants the end of the file.
            if size_bytes == 4 {
                return Err(why);
            }
            source.cut_off(why)?;
            return Ok(Some(Patch { at: at - 8, bytes: found.to_be_bytes().to_vec() }));
        }
        // AIFF chunks begin at even offsets.
        let padding = if size_bytes == 4 { declared & 1 } else { 0 };
        at += declared.saturating_add(padding).min(found);
    }
    Ok(None)
}

/// The longest header of an Ogg page: 27 bytes and the segment sizes.
const OGG_HEAD: u64 = 27 + 255;

/// Checks that the last Ogg page is complete: the file header declares no length, but each page does.
fn check_ogg_end(source: &ByteSource) -> Result<(), Unusable> {
    let mut headers = source.header_reader();
    let mut at = 0;
    loop {
        let head = headers.up_to(at, OGG_HEAD)?;
        if !head.starts_with(b"OggS") {
            return Ok(());
        }
        let segments = head.get(26).map(|count| usize::from(*count));
        let sizes = segments.and_then(|count| head.get(27..27 + count));
        let length = match sizes {
            Some(sizes) => 27 + sizes.len() + sizes.iter().map(|size| usize::from(*size)).sum::<usize>(),
            None => 27 + segments.unwrap_or(0),
        } as u64;
        let there = source.len() - at;
        if length > there {
            return source.cut_off(Unusable::Truncated {
                declared: length,
                found: there,
                unit: "bytes in its last page",
            });
        }
        at += length;
    }
}

pub(super) fn corrupt(error: &Error, frames: usize, sample_rate: u32) -> Unusable {
    let seconds = frames as f64 / f64::from(sample_rate);
    let found = match error {
        Error::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => "it ends within a packet".into(),
        other => other.to_string(),
    };
    Unusable::Corrupt { seconds, found }
}
