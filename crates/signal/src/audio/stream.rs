//! A recording of any length at the rate of an experiment, block after block.
//!
//! The samples are those of [`load`](super::load) with neither crop nor padding, to the bit, and so are the reasons for
//! which a recording cannot be used; those that need the whole come when its end is reached. Memory: a block of each
//! stage, the index of an MP4 file, and nothing that grows with the seconds.

use std::io::Read;
use std::path::Path;

use super::block_decoder::BlockDecoder;
use super::bounds::DecodeLimits;
use super::resample::StreamResampler;
use super::source::ByteSource;
use super::unusable::Unusable;

/// Samples at the rate of the recording that are decoded before they are resampled together.
const BLOCK: usize = 1 << 15;

/// A recording that is being heard.
pub struct Stream<'a> {
    block_decoder: BlockDecoder<'a>,
    resampling: StreamResampler,
    /// Of the rate of the recording.
    block: Vec<f32>,
    ended: bool,
}

impl Stream<'static> {
    /// The file at `path`, of which no more than a block is in memory.
    pub fn open(path: &Path, sample_rate: u32) -> Result<Stream<'static>, Unusable> {
        Stream::of(ByteSource::open(path)?, super::extension(path), sample_rate)
    }

    /// What comes out of a pipe. It goes to a temporary file first: whether a recording is whole, and how some formats are
    /// read, stands at the end.
    pub fn from_pipe(mut pipe: impl Read, sample_rate: u32) -> Result<Stream<'static>, Unusable> {
        Stream::of(ByteSource::from_pipe(&mut pipe)?, None, sample_rate)
    }
}

impl<'a> Stream<'a> {
    /// The bytes of a file; `extension` is the file's, without the dot.
    pub fn from_bytes(bytes: &'a [u8], extension: Option<&str>, sample_rate: u32) -> Result<Stream<'a>, Unusable> {
        Stream::of(ByteSource::Memory(bytes), extension, sample_rate)
    }

    /// The same recording, unusable where it is more than these.
    pub fn with_limits(self, bounds: DecodeLimits) -> Result<Stream<'a>, Unusable> {
        Ok(Stream { block_decoder: self.block_decoder.with_limits(bounds)?, ..self })
    }

    fn of(source: ByteSource<'a>, extension: Option<&str>, sample_rate: u32) -> Result<Stream<'a>, Unusable> {
        let block_decoder = BlockDecoder::open(source, extension)?;
        let resampling = StreamResampler::new(block_decoder.sample_rate(), sample_rate);
        Ok(Stream { block_decoder, resampling, block: Vec::new(), ended: false })
    }

    /// Appends the next samples, mono; false once all were given and the recording as a whole is usable.
    pub fn next_block(&mut self, samples: &mut Vec<f32>) -> Result<bool, Unusable> {
        if self.ended {
            return Ok(false);
        }
        self.block.clear();
        while self.block.len() < BLOCK {
            if !self.block_decoder.next_block(&mut self.block)? {
                self.ended = true;
                break;
            }
        }
        self.resampling.push(&self.block, samples);
        if self.ended {
            self.resampling.finish(samples);
        }
        Ok(true)
    }

    /// The length of what was decoded so far; at the end, of the recording.
    pub fn seconds(&self) -> f64 {
        self.block_decoder.frames() as f64 / f64::from(self.block_decoder.sample_rate())
    }
}
