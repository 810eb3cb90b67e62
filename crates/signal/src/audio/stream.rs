//! Decodes and resamples a recording of any length block by block.
//!
//! The samples are those of [`load`](super::load) without crop and padding, bit for bit, and the errors are the same;
//! errors that depend on the whole recording come at its end. Memory: one block per stage and the index of an MP4 file,
//! whatever the length; with `trim` or `normalize` the whole recording.

use std::io::Read;
use std::ops::Range;
use std::path::Path;

use super::block_decoder::{BlockDecoder, CutOff, reserve};
use super::limits::DecodeLimits;
use super::prepare::prepare;
use super::resample::{Part, ResampleFilter, StreamResampler, input_range, resample_part, resampled_len};
use super::source::ByteSource;
use super::unusable::Unusable;
use super::{AudioSpec, Clip, Recording};

/// Samples at the rate of the recording that are resampled together.
const BLOCK: usize = 1 << 15;
/// A recording of more samples, six minutes at 44.1 kHz, is not held in memory for a clip of it.
const LONG: usize = 1 << 24;

/// Where a recording comes from.
pub enum RecordingSource<'a> {
    Bytes {
        bytes: &'a [u8],
        extension: Option<&'a str>,
    },
    /// A file, or a named pipe.
    File(&'a Path),
    /// Anything but a regular file is an error.
    RegularFile(&'a Path),
    /// Read to its end.
    Pipe(&'a mut (dyn Read + Send)),
}

/// A recording that is decoded block by block.
///
/// ```
/// use timbre_signal::audio::{AudioSpec, Stream, wav_write};
///
/// let mut wav = wav_write::pcm16_header(4, 1, 8000).unwrap().to_vec();
/// wav.extend([0i16, 16384, -8192, 0].iter().flat_map(|sample| sample.to_le_bytes()));
/// let spec = AudioSpec { sample_rate: 8000, ..AudioSpec::default() };
/// let mut stream = Stream::from_bytes(&wav, Some("wav"), &spec).unwrap();
/// let mut samples = Vec::new();
/// while stream.next_block(&mut samples).unwrap() {}
/// assert_eq!(samples, [0.0, 0.5, -0.25, 0.0]);
/// ```
pub struct Stream<'a> {
    source: ByteSource<'a>,
    extension: Option<String>,
    decoder: BlockDecoder<'a>,
    /// Output rate and filter of the resampler, which is made for the first block.
    output: (u32, ResampleFilter),
    /// How the whole recording is prepared, which then is one block.
    prepare: Option<AudioSpec>,
    resampler: Option<StreamResampler>,
    /// Samples at the rate of the recording.
    block: Vec<f32>,
    ended: bool,
}

impl Stream<'static> {
    /// Opens a file for the sample rate and filter of `spec`; only a block of it is in memory at a time. A named pipe is read to
    /// its end first.
    pub fn open(path: &Path, spec: &AudioSpec) -> Result<Stream<'static>, Unusable> {
        Stream::of(ByteSource::open(path)?, super::extension(path), spec)
    }

    /// [`open`](Self::open), but for regular files only.
    pub fn open_regular(path: &Path, spec: &AudioSpec) -> Result<Stream<'static>, Unusable> {
        Stream::of(ByteSource::open_regular(path)?, super::extension(path), spec)
    }

    /// Reads a pipe. It is copied to a temporary file first, because whether a recording is complete, and how to read some
    /// formats, is stored at the end.
    pub fn from_pipe(mut pipe: impl Read, spec: &AudioSpec) -> Result<Stream<'static>, Unusable> {
        Stream::of(ByteSource::from_pipe(&mut pipe)?, None, spec)
    }
}

impl<'a> Stream<'a> {
    /// Reads a recording up to the end of its file, also if a part is missing there ([`cut_off`](Self::cut_off)).
    pub fn up_to_cut(recording: RecordingSource<'a>, spec: &AudioSpec) -> Result<Stream<'a>, Unusable> {
        let (source, extension) = match recording {
            RecordingSource::Bytes { bytes, extension } => (ByteSource::memory(bytes), extension),
            RecordingSource::File(path) => (ByteSource::open(path)?, super::extension(path)),
            RecordingSource::RegularFile(path) => (ByteSource::open_regular(path)?, super::extension(path)),
            RecordingSource::Pipe(mut pipe) => (ByteSource::from_pipe(&mut pipe)?, None),
        };
        Stream::of(source.accepting_cut_off(), extension, spec)
    }

    /// Whether and where the recording is cut off. Known at its end.
    pub fn cut_off(&self) -> Option<CutOff> {
        self.decoder.cut_off()
    }

    /// Reads the bytes of a file; `extension` is the file extension without the dot.
    pub fn from_bytes(bytes: &'a [u8], extension: Option<&str>, spec: &AudioSpec) -> Result<Stream<'a>, Unusable> {
        Stream::of(ByteSource::memory(bytes), extension, spec)
    }

    /// The same recording; returns an error if it exceeds `limits`.
    pub fn with_limits(self, limits: DecodeLimits) -> Result<Stream<'a>, Unusable> {
        Ok(Stream { decoder: self.decoder.with_limits(limits)?, ..self })
    }

    fn of(source: ByteSource<'a>, extension: Option<&str>, spec: &AudioSpec) -> Result<Stream<'a>, Unusable> {
        let decoder = BlockDecoder::open(source.clone(), extension)?;
        let (output, extension) = ((spec.sample_rate, spec.resampler), extension.map(str::to_owned));
        let prepare = spec.prepares().then(|| spec.clone());
        Ok(Stream { source, extension, decoder, output, prepare, resampler: None, block: Vec::new(), ended: false })
    }

    /// Reads all of the recording and returns the clip that `spec` cuts, with the length of the recording in seconds; `None`
    /// once `goes_on`, called after each block, returns false. Nothing of the stream may have been read before.
    ///
    /// A long recording is decoded to be checked and counted, and again up to the end of its clip, which alone is kept.
    pub fn clip(&mut self, spec: &AudioSpec, goes_on: impl Fn() -> bool) -> Result<Option<(Clip, f64)>, Unusable> {
        let most = spec.clip_samples().filter(|_| !spec.prepares()).map_or(usize::MAX, |_| LONG);
        let mut samples = Vec::new();
        reserve(&mut samples, self.decoder.exact_length().min(most), &self.decoder)?;
        while self.decoder.next_block(&mut samples)? {
            if !goes_on() {
                return Ok(None);
            }
            if self.decoder.frames() > most {
                samples.clear();
            }
            reserve(&mut samples, 0, &self.decoder)?;
        }
        let seconds = self.seconds();
        let (whole, sample_rate) = (self.decoder.frames(), self.decoder.sample_rate());
        if whole <= most {
            let recording = Recording { samples, sample_rate, channels: self.decoder.channels() };
            return Ok(Some((recording.prepared(spec).into_clip(spec), seconds)));
        }
        drop(samples);
        let range = spec.clip_range(resampled_len(whole, sample_rate, spec.sample_rate));
        let conversion = (sample_rate, spec.sample_rate, spec.resampler);
        let wanted = input_range(whole, conversion, &range);
        let Some(samples) = self.excerpt(&wanted, goes_on)? else { return Ok(None) };
        let part = Part { samples: &samples, first: wanted.start, whole };
        let mut samples = resample_part(part, conversion, range);
        spec.short.fill(&mut samples, spec.clip_samples().unwrap_or(0));
        Ok(Some((Clip { samples, sample_rate: spec.sample_rate }, seconds)))
    }

    /// Decodes the recording anew and returns the samples `wanted`.
    fn excerpt(&self, wanted: &Range<usize>, goes_on: impl Fn() -> bool) -> Result<Option<Vec<f32>>, Unusable> {
        let mut decoder = BlockDecoder::open(self.source.clone(), self.extension.as_deref())?;
        let (mut samples, mut block, mut at) = (Vec::new(), Vec::new(), 0);
        reserve(&mut samples, wanted.len(), &decoder)?;
        while at < wanted.end && decoder.next_block(&mut block)? {
            if !goes_on() {
                return Ok(None);
            }
            let inside = |place: usize| place.saturating_sub(at).min(block.len());
            samples.extend_from_slice(&block[inside(wanted.start)..inside(wanted.end)]);
            at += block.len();
            block.clear();
        }
        if samples.len() < wanted.len() {
            return Err(Unusable::Unreadable { found: "it was changed while it was read".into() });
        }
        Ok(Some(samples))
    }

    /// Appends the next samples, mono. Returns false once all are returned and the whole recording is known to be usable.
    pub fn next_block(&mut self, samples: &mut Vec<f32>) -> Result<bool, Unusable> {
        if self.ended {
            return Ok(false);
        }
        self.block.clear();
        while self.block.len() < BLOCK || self.prepare.is_some() {
            if !self.decoder.next_block(&mut self.block)? {
                self.ended = true;
                break;
            }
            if self.prepare.is_some() {
                reserve(&mut self.block, 0, &self.decoder)?;
            }
        }
        if let Some(spec) = &self.prepare {
            prepare(&mut self.block, self.decoder.sample_rate(), spec);
        }
        let ((to, filter), from) = (self.output, self.decoder.sample_rate());
        let resampler = self.resampler.get_or_insert_with(|| StreamResampler::new(from, to, filter));
        resampler.push(&self.block, samples);
        if self.ended {
            resampler.finish(samples);
        }
        Ok(true)
    }

    /// Seconds decoded so far; at the end, the length of the recording.
    pub fn seconds(&self) -> f64 {
        self.decoder.frames() as f64 / f64::from(self.decoder.sample_rate())
    }
}
