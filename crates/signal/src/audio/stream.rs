//! Decodes and resamples a recording of any length block by block.
//!
//! The samples are those of [`load`](super::load) without crop and padding, bit for bit, and the errors are the same;
//! errors that depend on the whole recording come at its end. Memory: one block per stage and the index of an MP4 file,
//! whatever the length.

use std::io::Read;
use std::path::Path;

use super::block_decoder::BlockDecoder;
use super::limits::DecodeLimits;
use super::resample::StreamResampler;
use super::source::ByteSource;
use super::unusable::Unusable;

/// Samples at the rate of the recording that are resampled together.
const BLOCK: usize = 1 << 15;

/// A recording that is decoded block by block.
///
/// ```
/// use timbre_signal::audio::{Stream, wav_write};
///
/// let mut wav = wav_write::pcm16_header(4, 1, 8000).unwrap().to_vec();
/// wav.extend([0i16, 16384, -8192, 0].iter().flat_map(|sample| sample.to_le_bytes()));
/// let mut stream = Stream::from_bytes(&wav, Some("wav"), 8000).unwrap();
/// let mut samples = Vec::new();
/// while stream.next_block(&mut samples).unwrap() {}
/// assert_eq!(samples, [0.0, 0.5, -0.25, 0.0]);
/// ```
pub struct Stream<'a> {
    decoder: BlockDecoder<'a>,
    resampler: StreamResampler,
    /// Samples at the rate of the recording.
    block: Vec<f32>,
    ended: bool,
}

impl Stream<'static> {
    /// Opens a file; only a block of it is in memory at a time.
    pub fn open(path: &Path, sample_rate: u32) -> Result<Stream<'static>, Unusable> {
        Stream::of(ByteSource::open(path)?, super::extension(path), sample_rate)
    }

    /// Reads a pipe. It is copied to a temporary file first, because whether a recording is complete, and how to read some
    /// formats, is stored at the end.
    pub fn from_pipe(mut pipe: impl Read, sample_rate: u32) -> Result<Stream<'static>, Unusable> {
        Stream::of(ByteSource::from_pipe(&mut pipe)?, None, sample_rate)
    }
}

impl<'a> Stream<'a> {
    /// Reads the bytes of a file; `extension` is the file extension without the dot.
    pub fn from_bytes(bytes: &'a [u8], extension: Option<&str>, sample_rate: u32) -> Result<Stream<'a>, Unusable> {
        Stream::of(ByteSource::Memory(bytes), extension, sample_rate)
    }

    /// The same recording; returns an error if it exceeds `limits`.
    pub fn with_limits(self, limits: DecodeLimits) -> Result<Stream<'a>, Unusable> {
        Ok(Stream { decoder: self.decoder.with_limits(limits)?, ..self })
    }

    fn of(source: ByteSource<'a>, extension: Option<&str>, sample_rate: u32) -> Result<Stream<'a>, Unusable> {
        let decoder = BlockDecoder::open(source, extension)?;
        let resampler = StreamResampler::new(decoder.sample_rate(), sample_rate);
        Ok(Stream { decoder, resampler, block: Vec::new(), ended: false })
    }

    /// Appends the next samples, mono. Returns false once all are returned and the whole recording is known to be usable.
    pub fn next_block(&mut self, samples: &mut Vec<f32>) -> Result<bool, Unusable> {
        if self.ended {
            return Ok(false);
        }
        self.block.clear();
        while self.block.len() < BLOCK {
            if !self.decoder.next_block(&mut self.block)? {
                self.ended = true;
                break;
            }
        }
        self.resampler.push(&self.block, samples);
        if self.ended {
            self.resampler.finish(samples);
        }
        Ok(true)
    }

    /// Seconds decoded so far; at the end, the length of the recording.
    pub fn seconds(&self) -> f64 {
        self.decoder.frames() as f64 / f64::from(self.decoder.sample_rate())
    }
}
