//! Reads the header of Sun's AU files, in which GTZAN was published: plain samples, most significant byte first.

use super::source::ByteSource;
use super::unusable::Unusable;
use super::wav::{BlockKind, Wav, WavCodec};

/// The size of a stream whose length was not known when its header was written.
const UNKNOWN_SIZE: u64 = 0xFFFF_FFFF;

pub(super) fn is_au(bytes: &[u8]) -> bool {
    bytes.starts_with(b".snd")
}

/// Reads the header of a file that [`is_au`] recognised.
pub(super) fn read(source: &ByteSource) -> Result<Wav, Unusable> {
    let header = source.read(0, 24)?;
    if header.len() < 24 {
        return Err(Unusable::damaged_header("an AU file with a header of less than 24 bytes"));
    }
    let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().expect("four bytes"));
    let (start, declared, encoding) = (u64::from(number(4)), u64::from(number(8)), number(12));
    let (sample_rate, channels) = (number(16), number(20));
    let channels = u16::try_from(channels).ok().filter(|channels| *channels > 0);
    let channels =
        channels.ok_or_else(|| Unusable::damaged_header("an AU file of an impossible number of channels"))?;
    let per_sample = |kind| WavCodec::Blocks { kind, bytes: usize::from(channels), frames: 1 };
    let codec = match encoding {
        1 => per_sample(BlockKind::MuLaw),
        2 => WavCodec::S8,
        3 => WavCodec::S16Be,
        4 => WavCodec::S24Be,
        5 => WavCodec::S32Be,
        6 => WavCodec::F32Be,
        7 => WavCodec::F64Be,
        27 => per_sample(BlockKind::ALaw),
        other => return Err(Unusable::Unsupported { found: format!("an AU file of encoding {other}") }),
    };
    if start < 24 || start > source.len() {
        return Err(Unusable::damaged_header(format!("an AU file whose samples begin at byte {start}")));
    }
    let there = source.len() - start;
    if declared != UNKNOWN_SIZE && declared > there {
        source.cut_off(Unusable::Truncated { declared, found: there, unit: "bytes of samples" })?;
    }
    // The unknown size is the largest number.
    let size = declared.min(there);
    let frame = match codec {
        WavCodec::Blocks { bytes, .. } => bytes as u64,
        _ => codec.bytes_per_sample() * u64::from(channels),
    };
    Ok(Wav { codec, sample_rate, channels, data: start..start + size, frames: size / frame })
}
