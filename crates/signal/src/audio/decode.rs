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

use std::path::Path;

use super::Recording;
use super::block_decoder::{BlockDecoder, reserve};
use super::excerpt::{Excerpt, decode_excerpt};
use super::limits::DecodeLimits;
use super::source::ByteSource;
use super::unusable::Unusable;

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
