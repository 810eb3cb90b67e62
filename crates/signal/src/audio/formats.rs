//! Opens containers: recognises the format, reads the declared length, and checks that the file is complete.

use std::io::ErrorKind;

use symphonia::core::codecs::audio::well_known::{CODEC_ID_AAC, CODEC_ID_OPUS};
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::well_known::{FORMAT_ID_ISOMP4, FORMAT_ID_MP1, FORMAT_ID_MP2, FORMAT_ID_MP3};
use symphonia::core::formats::{FormatOptions, FormatReader, Track, TrackType};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;

use super::mp4;
use super::opus::{self, OpusDecoder, OpusHead};
use super::source::ByteSource;
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
    check_data_chunk(source)?;
    opus::check_ogg_head(source)?;
    check_ogg_end(source)?;
    mp4::check_end(source)?;
    let start = source.read(0, 16)?;
    let mut hint = Hint::new();
    if let Some(extension) = extension {
        hint.with_extension(extension);
    }
    let media = MediaSourceStream::new(source.media(), MediaSourceStreamOptions::default());
    let opened = symphonia::default::get_probe()
        .probe(&hint, media, FormatOptions::default(), MetadataOptions::default())
        .map_err(|error| match error {
            // The index may follow the samples: a truncated file has none.
            Error::Unsupported(_) if start.get(4..8) == Some(b"ftyp") => {
                Unusable::damaged_header("an MP4 file without an index, cut off or never finished")
            }
            Error::Unsupported(_) => Unusable::NotAudio { found: first_bytes(&start) },
            Error::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Unusable::damaged_header("it ends within its header")
            }
            other => Unusable::damaged_header(other.to_string()),
        })?;
    // symphonia searches the first mebibyte for a format signature. No MP4 begins there, and the checks above started at
    // the first byte.
    if is_mp4(opened.as_ref()) && start.get(4..8) != Some(b"ftyp") {
        return Err(Unusable::NotAudio { found: first_bytes(&start) });
    }
    Ok(opened)
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
    if parameters.codec == CODEC_ID_OPUS {
        parameters.with_sample_rate(opus::RATE);
    }
    Ok(AudioTrack { track: track.clone(), parameters })
}

pub(super) fn make_decoder(parameters: &AudioCodecParameters) -> Result<Box<dyn AudioDecoder>, Unusable> {
    if parameters.codec == CODEC_ID_OPUS {
        return Ok(Box::new(OpusDecoder::new(parameters)?));
    }
    symphonia::default::get_codecs().make_audio_decoder(parameters, &AudioDecoderOptions::default()).map_err(|error| {
        match error {
            Error::Unsupported(what) => Unusable::Unsupported { found: what.into() },
            other => Unusable::damaged_header(other.to_string()),
        }
    })
}

/// The length that the header declares, or `None` where symphonia's number is an estimate from the bit rate.
pub(super) fn declared_frames(
    format: &dyn FormatReader,
    track: &Track,
    source: &ByteSource,
) -> Result<Option<u64>, Unusable> {
    let Some(frames) = track.num_frames.filter(|frames| *frames > 0) else { return Ok(None) };
    Ok(match format.format_info().format {
        FORMAT_ID_MP1 | FORMAT_ID_MP2 | FORMAT_ID_MP3 => mp3_counts_its_frames(source)?.then_some(frames),
        // Browsers record in fragments, whose length the header does not contain.
        FORMAT_ID_ISOMP4 if mp4::is_fragmented(source)? => None,
        // A stream cut from a broadcast starts late: the time before its start was never in the file.
        _ => Some(frames.saturating_sub(track.start_ts.get().max(0) as u64)),
    })
}

pub(super) fn is_mp4(format: &dyn FormatReader) -> bool {
    format.format_info().format == FORMAT_ID_ISOMP4
}

/// Whether the first frame holds a Xing, Info or VBRI header. It follows the tags, at most 40 bytes into the frame.
fn mp3_counts_its_frames(source: &ByteSource) -> Result<bool, Unusable> {
    let tag = match source.read(0, 10)?[..] {
        [b'I', b'D', b'3', _, _, _, a, b, c, d] => {
            10 + [a, b, c, d].iter().fold(0u64, |size, byte| size << 7 | u64::from(*byte & 0x7F))
        }
        _ => 0,
    };
    let start = source.read(tag, 2048)?;
    Ok(start.windows(4).any(|word| matches!(word, b"Xing" | b"Info" | b"VBRI")))
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
fn check_data_chunk(source: &ByteSource) -> Result<(), Unusable> {
    let (mut at, size_bytes, wanted) = match source.read(0, 12)?[..] {
        [b'F', b'O', b'R', b'M', _, _, _, _, b'A', b'I', b'F', b'F' | b'C'] => (12, 4, b"SSND"),
        [b'c', b'a', b'f', b'f', ..] => (8, 8, b"data"),
        _ => return Ok(()),
    };
    let mut headers = source.header_reader();
    while let Some((id, size)) = headers.get(at, 4 + size_bytes)?.map(|head| head.split_at(4)) {
        let declared = size.iter().fold(0, |size: u64, byte| size << 8 | u64::from(*byte));
        at += 4 + size_bytes as u64;
        let found = source.len() - at;
        // All ones: a stream of unknown size.
        if id == wanted && declared > found && declared != u64::MAX {
            return Err(Unusable::Truncated { declared, found, unit: "bytes of samples" });
        }
        // AIFF chunks begin at even offsets.
        let padding = if size_bytes == 4 { declared & 1 } else { 0 };
        at += declared.saturating_add(padding).min(found);
    }
    Ok(())
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
            return Err(Unusable::Truncated { declared: length, found: there, unit: "bytes in its last page" });
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
