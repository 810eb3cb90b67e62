//! What lies around the samples: which container it is, how long it claims to be, and whether its end is there.

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

/// The container that symphonia recognises, once its end was looked at.
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
            // The index may lie behind the samples: cut off, there is none.
            Error::Unsupported(_) if start.get(4..8) == Some(b"ftyp") => {
                Unusable::damaged_header("an MP4 file without an index, cut off or never finished")
            }
            Error::Unsupported(_) => Unusable::NotAudio { found: first_bytes(&start) },
            Error::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Unusable::damaged_header("it ends within its header")
            }
            other => Unusable::damaged_header(other.to_string()),
        })?;
    // symphonia looks for the mark of a format up to a mebibyte into the file. No MP4 begins there, and what was
    // looked at above began at the first byte.
    if is_mp4(opened.as_ref()) && start.get(4..8) != Some(b"ftyp") {
        return Err(Unusable::NotAudio { found: first_bytes(&start) });
    }
    Ok(opened)
}

/// The beginning of a file that no one knows, for the reader to recognise.
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

/// The length that the header claims, or `None` where symphonia's number is an estimate from the bit rate.
pub(super) fn declared_frames(
    format: &dyn FormatReader,
    track: &Track,
    source: &ByteSource,
) -> Result<Option<u64>, Unusable> {
    let Some(frames) = track.num_frames.filter(|frames| *frames > 0) else { return Ok(None) };
    Ok(match format.format_info().format {
        FORMAT_ID_MP1 | FORMAT_ID_MP2 | FORMAT_ID_MP3 => mp3_counts_its_frames(source)?.then_some(frames),
        // What a browser records comes in fragments, of which the header knows nothing.
        FORMAT_ID_ISOMP4 if mp4::is_fragmented(source)? => None,
        // A stream cut from a broadcast starts late; what lies before its start was never in the file.
        _ => Some(frames.saturating_sub(track.start_ts.get().max(0) as u64)),
    })
}

pub(super) fn is_mp4(format: &dyn FormatReader) -> bool {
    format.format_info().format == FORMAT_ID_ISOMP4
}

/// Whether the first frame holds a Xing, Info or VBRI header. It follows the tags and lies at most 40 bytes into the frame.
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

/// How many samples at the start are the encoder's, and how many at the end fill up its last packet: none of them is part
/// of the recording. What a reader of the format cuts itself is not among them.
pub(super) fn encoder_padding(
    format: &dyn FormatReader,
    chosen: &AudioTrack,
    survey: Option<&WebmScan>,
    source: &ByteSource,
) -> Result<(usize, usize), Unusable> {
    let rate = chosen.parameters.sample_rate.unwrap_or(0);
    match chosen.parameters.codec {
        CODEC_ID_AAC if is_mp4(format) => Ok((mp4::samples_before_start(source, rate)?, 0)),
        CODEC_ID_OPUS => {
            let (delay, padding) = survey.map_or((0, 0), |survey| survey.encoder_padding(chosen.track.id, rate));
            let pre_skip = OpusHead::of(&chosen.parameters)?.pre_skip;
            Ok((if pre_skip > 0 { pre_skip } else { delay }, padding))
        }
        _ => Ok((0, 0)),
    }
}

/// The end of a WebM file was looked at: a reader that meets the end of the file there has met the end.
pub(super) fn scan(source: &ByteSource) -> Result<Option<WebmScan>, Unusable> {
    webm::scan(source)
}

/// symphonia's readers of AIFF and CAF stop at samples that are cut off, without saying how many are there.
fn check_data_chunk(source: &ByteSource) -> Result<(), Unusable> {
    let (mut at, size_bytes, wanted) = match source.read(0, 12)?[..] {
        [b'F', b'O', b'R', b'M', _, _, _, _, b'A', b'I', b'F', b'F' | b'C'] => (12, 4, b"SSND"),
        [b'c', b'a', b'f', b'f', ..] => (8, 8, b"data"),
        _ => return Ok(()),
    };
    let mut heads = source.header_reader();
    while let Some((id, size)) = heads.get(at, 4 + size_bytes)?.map(|head| head.split_at(4)) {
        let declared = size.iter().fold(0, |size: u64, byte| size << 8 | u64::from(*byte));
        at += 4 + size_bytes as u64;
        let found = source.len() - at;
        // Of a stream the size is not known: all ones.
        if id == wanted && declared > found && declared != u64::MAX {
            return Err(Unusable::Truncated { declared, found, unit: "bytes of samples" });
        }
        // The chunks of AIFF begin at even places.
        let padding = if size_bytes == 4 { declared & 1 } else { 0 };
        at += declared.saturating_add(padding).min(found);
    }
    Ok(())
}

/// The longest head of an Ogg page: 27 bytes and the sizes of its segments.
const OGG_HEAD: u64 = 27 + 255;

/// An Ogg file has no length in its header, but its pages have: the last one must be whole.
fn check_ogg_end(source: &ByteSource) -> Result<(), Unusable> {
    let mut heads = source.header_reader();
    let mut at = 0;
    loop {
        let head = heads.up_to(at, OGG_HEAD)?;
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
