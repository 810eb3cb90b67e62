//! A recording of any length at the rate of an experiment, block after block.
//!
//! The samples are those of [`load`](super::load) with neither crop nor padding, to the bit, and so are the reasons for
//! which a recording cannot be used; those that need the whole come when its end is reached. Memory: a block of each
//! stage, the index of an MP4 file, and nothing that grows with the seconds.

use std::io::Read;
use std::path::Path;

use super::bounds::Bounds;
use super::decoding::Decoding;
use super::resample::Resampling;
use super::source::Source;
use super::unusable::Unusable;

/// Samples at the rate of the recording that are decoded before they are resampled together.
const BLOCK: usize = 1 << 15;

/// A recording that is being heard.
pub struct Stream<'a> {
    decoding: Decoding<'a>,
    resampling: Resampling,
    /// Of the rate of the recording.
    block: Vec<f32>,
    ended: bool,
}

impl Stream<'static> {
    /// The file at `path`, of which no more than a block is in memory.
    pub fn open(path: &Path, sample_rate: u32) -> Result<Stream<'static>, Unusable> {
        Stream::of(Source::open(path)?, super::extension(path), sample_rate)
    }

    /// What comes out of a pipe. It goes to a temporary file first: whether a recording is whole, and how some formats are
    /// read, stands at the end.
    pub fn of_pipe(mut pipe: impl Read, sample_rate: u32) -> Result<Stream<'static>, Unusable> {
        Stream::of(Source::copied(&mut pipe)?, None, sample_rate)
    }
}

impl<'a> Stream<'a> {
    /// The bytes of a file; `extension` is the file's, without the dot.
    pub fn of_bytes(bytes: &'a [u8], extension: Option<&str>, sample_rate: u32) -> Result<Stream<'a>, Unusable> {
        Stream::of(Source::Memory(bytes), extension, sample_rate)
    }

    /// The same recording, unusable where it is more than these.
    pub fn within(self, bounds: Bounds) -> Result<Stream<'a>, Unusable> {
        Ok(Stream { decoding: self.decoding.within(bounds)?, ..self })
    }

    fn of(source: Source<'a>, extension: Option<&str>, sample_rate: u32) -> Result<Stream<'a>, Unusable> {
        let decoding = Decoding::open(source, extension)?;
        let resampling = Resampling::new(decoding.sample_rate(), sample_rate);
        Ok(Stream { decoding, resampling, block: Vec::new(), ended: false })
    }

    /// Appends the next samples, mono; false once all were given and the recording as a whole is usable.
    pub fn next_block(&mut self, samples: &mut Vec<f32>) -> Result<bool, Unusable> {
        if self.ended {
            return Ok(false);
        }
        self.block.clear();
        while self.block.len() < BLOCK {
            if !self.decoding.next_block(&mut self.block)? {
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
        self.decoding.frames() as f64 / f64::from(self.decoding.sample_rate())
    }
}
