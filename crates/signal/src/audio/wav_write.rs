//! Writes WAV files: interleaved 16-bit PCM with a header of 44 bytes, and mono f32, which keeps every bit.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Writes `samples` (interleaved) as 16-bit PCM. The caller renames the file into place if needed.
pub fn write_pcm16(path: &Path, samples: &[i16], channels: u16, sample_rate: u32) -> Result<()> {
    let header = pcm16_header(samples.len(), channels, sample_rate).with_context(|| format!("write {path:?}"))?;
    let write = || -> std::io::Result<()> {
        let mut file = BufWriter::with_capacity(1 << 18, File::create(path)?);
        file.write_all(&header)?;
        if cfg!(target_endian = "little") {
            file.write_all(bytemuck::cast_slice(samples))?;
        } else {
            samples.iter().try_for_each(|sample| file.write_all(&sample.to_le_bytes()))?;
        }
        file.flush()
    };
    write().with_context(|| format!("write {path:?}"))
}

/// A file with `samples` (interleaved) as 16-bit PCM, in memory.
pub fn pcm16(samples: &[i16], channels: u16, sample_rate: u32) -> Result<Vec<u8>> {
    let mut file = pcm16_header(samples.len(), channels, sample_rate)?.to_vec();
    file.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    Ok(file)
}

/// Writes mono samples as 32-bit floats, bit for bit.
pub fn write_f32(path: &Path, samples: &[f32], sample_rate: u32) -> Result<()> {
    let bytes = u32::try_from(4 * samples.len()).ok().filter(|bytes| *bytes <= u32::MAX - 50);
    let bytes = bytes.context("a WAV file holds at most 4 GiB").with_context(|| format!("write {path:?}"))?;
    let mut header = Vec::with_capacity(58);
    header.extend_from_slice(b"RIFF");
    header.extend_from_slice(&(50 + bytes).to_le_bytes());
    header.extend_from_slice(b"WAVEfmt ");
    header.extend_from_slice(&18u32.to_le_bytes());
    // IEEE float, one channel.
    header.extend_from_slice(&3u16.to_le_bytes());
    header.extend_from_slice(&1u16.to_le_bytes());
    header.extend_from_slice(&sample_rate.to_le_bytes());
    header.extend_from_slice(&(4 * sample_rate).to_le_bytes());
    header.extend_from_slice(&4u16.to_le_bytes());
    header.extend_from_slice(&32u16.to_le_bytes());
    header.extend_from_slice(&0u16.to_le_bytes());
    // Formats other than PCM declare the number of samples.
    header.extend_from_slice(b"fact");
    header.extend_from_slice(&4u32.to_le_bytes());
    header.extend_from_slice(&(samples.len() as u32).to_le_bytes());
    header.extend_from_slice(b"data");
    header.extend_from_slice(&bytes.to_le_bytes());
    let write = || -> std::io::Result<()> {
        let mut file = BufWriter::with_capacity(1 << 18, File::create(path)?);
        file.write_all(&header)?;
        samples.iter().try_for_each(|sample| file.write_all(&sample.to_le_bytes()))?;
        file.flush()
    };
    write().with_context(|| format!("write {path:?}"))
}

/// The header for `n_samples` samples, counted over all channels.
pub fn pcm16_header(n_samples: usize, channels: u16, sample_rate: u32) -> Result<[u8; 44]> {
    ensure!(channels > 0 && n_samples.is_multiple_of(usize::from(channels)), "{n_samples} samples are no whole frames");
    let bytes = u32::try_from(2 * n_samples).ok().filter(|bytes| *bytes <= u32::MAX - 36);
    let bytes = bytes.context("a WAV file holds at most 4 GiB")?;
    let block = 2 * channels;
    let mut header = [0u8; 44];
    header[0..4].copy_from_slice(b"RIFF");
    header[4..8].copy_from_slice(&(36 + bytes).to_le_bytes());
    header[8..16].copy_from_slice(b"WAVEfmt ");
    header[16..20].copy_from_slice(&16u32.to_le_bytes());
    header[20..22].copy_from_slice(&1u16.to_le_bytes());
    header[22..24].copy_from_slice(&channels.to_le_bytes());
    header[24..28].copy_from_slice(&sample_rate.to_le_bytes());
    header[28..32].copy_from_slice(&(sample_rate * u32::from(block)).to_le_bytes());
    header[32..34].copy_from_slice(&block.to_le_bytes());
    header[34..36].copy_from_slice(&16u16.to_le_bytes());
    header[36..40].copy_from_slice(b"data");
    header[40..44].copy_from_slice(&bytes.to_le_bytes());
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_reader_finds_the_same_samples() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.wav");
        let samples: Vec<i16> = vec![0, 1, -1, i16::MAX, i16::MIN, 1234];
        write_pcm16(&path, &samples, 2, 44100).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 44 + 12);
        let mut reader = hound::WavReader::open(&path).unwrap();
        let spec = reader.spec();
        assert_eq!((spec.channels, spec.sample_rate, spec.bits_per_sample), (2, 44100, 16));
        assert_eq!(reader.samples::<i16>().collect::<Result<Vec<_>, _>>().unwrap(), samples);
    }

    #[test]
    fn floats_come_back_as_the_same_bits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.wav");
        let samples = vec![0.0, -0.0, 1.5, -1e-30, f32::MIN_POSITIVE, 0.1];
        write_f32(&path, &samples, 22050).unwrap();
        let mut reader = hound::WavReader::open(&path).unwrap();
        assert_eq!((reader.spec().channels, reader.spec().sample_rate, reader.spec().bits_per_sample), (1, 22050, 32));
        let bits = |samples: Vec<f32>| samples.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        let read = bits(reader.samples::<f32>().collect::<Result<_, _>>().unwrap());
        assert_eq!(read, bits(samples.clone()));
        let decoded = crate::audio::decode(&std::fs::read(&path).unwrap(), Some("wav")).unwrap();
        assert_eq!((bits(decoded.samples), decoded.sample_rate), (bits(samples), 22050));
    }

    #[test]
    fn half_a_frame_is_refused() {
        assert!(pcm16_header(3, 2, 44100).is_err());
        assert!(pcm16_header(1 << 32, 1, 44100).is_err());
    }
}
