//! Reads any range of a recording's bytes, in memory or in a file, so that a long file never has to fit in memory.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use symphonia::core::io::MediaSource;

use super::unusable::Unusable;

/// Bytes per read of a file where only chunk headers are wanted.
const WINDOW: usize = 4096;

/// Why a pipe, a device or a folder among the recordings is not read.
pub const NOT_REGULAR: &str = "it is not a regular file";

/// The bytes of a recording. A clone is cheap and reads the same bytes.
#[derive(Clone)]
pub(super) struct ByteSource<'a> {
    bytes: Bytes<'a>,
    /// Why the recording is cut off, once that is known. None if a recording that is cut off is an error.
    cut_off: Option<Arc<OnceLock<Unusable>>>,
}

#[derive(Clone)]
enum Bytes<'a> {
    Memory(&'a [u8]),
    File(Arc<Opened>),
}

/// An open file and the first error of reading it.
struct Opened {
    file: File,
    length: u64,
    failure: Mutex<Option<String>>,
}

impl ByteSource<'static> {
    /// Opens a regular file. Anything else is not even opened: a pipe could wait for ever, and a device has no end.
    pub fn open_regular(path: &Path) -> Result<ByteSource<'static>, Unusable> {
        let metadata = std::fs::metadata(path).map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(Unusable::Unreadable { found: NOT_REGULAR.into() });
        }
        ByteSource::of(File::open(path).map_err(unreadable)?)
    }

    /// Opens a file. Anything but a regular file (a pipe, a device) is copied to a temporary file first.
    pub fn open(path: &Path) -> Result<ByteSource<'static>, Unusable> {
        let mut file = File::open(path).map_err(unreadable)?;
        if file.metadata().map_err(unreadable)?.is_file() {
            ByteSource::of(file)
        } else {
            ByteSource::from_pipe(&mut file)
        }
    }

    /// Copies a pipe to a temporary file: some formats store at the end how to read the beginning.
    pub fn from_pipe(from: &mut dyn Read) -> Result<ByteSource<'static>, Unusable> {
        let mut copied = || -> io::Result<File> {
            let mut file = tempfile::tempfile()?;
            io::copy(from, &mut file)?;
            file.flush()?;
            Ok(file)
        };
        ByteSource::of(copied().map_err(unreadable)?)
    }

    fn of(file: File) -> Result<ByteSource<'static>, Unusable> {
        let length = file.metadata().map_err(unreadable)?.len();
        let bytes = Bytes::File(Arc::new(Opened { file, length, failure: Mutex::new(None) }));
        Ok(ByteSource { bytes, cut_off: None })
    }
}

impl<'a> ByteSource<'a> {
    pub fn memory(bytes: &'a [u8]) -> ByteSource<'a> {
        ByteSource { bytes: Bytes::Memory(bytes), cut_off: None }
    }

    /// The same bytes; a recording that is cut off is decoded as far as it goes.
    pub fn accepting_cut_off(self) -> ByteSource<'a> {
        ByteSource { cut_off: Some(Arc::default()), ..self }
    }

    /// Notes that the recording is cut off, or returns it as an error.
    pub fn cut_off(&self, why: Unusable) -> Result<(), Unusable> {
        match (&self.cut_off, &why) {
            (Some(noted), Unusable::Truncated { .. }) => {
                noted.get_or_init(|| why);
                Ok(())
            }
            _ => Err(why),
        }
    }

    /// Why the recording is cut off, as far as that is known.
    pub fn why_cut_off(&self) -> Option<&Unusable> {
        self.cut_off.as_ref().and_then(|noted| noted.get())
    }

    pub fn len(&self) -> u64 {
        match &self.bytes {
            Bytes::Memory(bytes) => bytes.len() as u64,
            Bytes::File(opened) => opened.length,
        }
    }

    /// Reads up to `n` bytes at `at`; fewer at the end.
    pub fn read(&self, at: u64, n: usize) -> Result<Cow<'a, [u8]>, Unusable> {
        let n = self.len().saturating_sub(at).min(n as u64) as usize;
        match &self.bytes {
            Bytes::Memory(bytes) => {
                let at = at.min(bytes.len() as u64) as usize;
                Ok(Cow::Borrowed(&bytes[at..at + n]))
            }
            Bytes::File(opened) => {
                let mut bytes = vec![0; n];
                opened.file.read_exact_at(&mut bytes, at).map_err(unreadable)?;
                Ok(Cow::Owned(bytes))
            }
        }
    }

    /// A reader for walks from chunk header to chunk header.
    pub fn header_reader(&self) -> HeaderReader<'_, 'a> {
        HeaderReader { source: self, start: 0, window: Cow::Borrowed(&[]) }
    }

    /// A reader for symphonia, from the beginning.
    pub fn media(&self, patch: Option<Patch>) -> Box<dyn MediaSource + 'a> {
        let media: Box<dyn MediaSource + 'a> = match &self.bytes {
            Bytes::Memory(bytes) => Box::new(Cursor::new(*bytes)),
            Bytes::File(opened) => Box::new(Reader { opened: Arc::clone(opened), at: 0 }),
        };
        match patch {
            Some(patch) => Box::new(Patched { media, at: 0, patch }),
            None => media,
        }
    }

    /// The error of the last failed read. Decoders treat a read error as the end of the file: this tells them apart.
    pub fn failure(&self) -> Option<Unusable> {
        let Bytes::File(opened) = &self.bytes else { return None };
        let found = opened.failure.lock().expect("no reader panics while it notes a failure").clone()?;
        Some(Unusable::Unreadable { found })
    }
}

fn unreadable(error: io::Error) -> Unusable {
    Unusable::Unreadable { found: error.to_string() }
}

/// Reads small ranges, mostly forwards.
pub(super) struct HeaderReader<'s, 'a> {
    source: &'s ByteSource<'a>,
    start: u64,
    window: Cow<'a, [u8]>,
}

impl HeaderReader<'_, '_> {
    /// The `n` bytes at `at`; `None` if the recording ends before.
    pub fn get(&mut self, at: u64, n: usize) -> Result<Option<&[u8]>, Unusable> {
        if at.checked_add(n as u64).is_none_or(|end| end > self.source.len()) {
            return Ok(None);
        }
        let inside = at >= self.start && at + n as u64 <= self.start + self.window.len() as u64;
        if !inside {
            self.window = self.source.read(at, n.max(WINDOW))?;
            self.start = at;
        }
        let from = (at - self.start) as usize;
        Ok(self.window.get(from..from + n))
    }

    /// Up to `n` bytes at `at`.
    pub fn up_to(&mut self, at: u64, n: u64) -> Result<&[u8], Unusable> {
        let n = self.source.len().saturating_sub(at).min(n);
        Ok(self.get(at, n as usize)?.unwrap_or_default())
    }
}

/// One of several readers of a file, each with its own position.
struct Reader {
    opened: Arc<Opened>,
    at: u64,
}

impl Read for Reader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.opened.length.saturating_sub(self.at).min(out.len() as u64) as usize;
        let read = self.opened.file.read_at(&mut out[..n], self.at);
        match &read {
            Ok(n) => self.at += *n as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let mut failure = self.opened.failure.lock().expect("no reader panics while it notes a failure");
                failure.get_or_insert(error.to_string());
            }
        }
        read
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.opened.length.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = to.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a place before the beginning"))?;
        Ok(self.at)
    }
}

impl MediaSource for Reader {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.opened.length)
    }
}

/// Bytes that replace those of a file where symphonia would misread them.
pub(super) struct Patch {
    pub at: u64,
    pub bytes: Vec<u8>,
}

struct Patched<'a> {
    media: Box<dyn MediaSource + 'a>,
    at: u64,
    patch: Patch,
}

impl Read for Patched<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.media.read(out)?;
        for (place, byte) in (self.patch.at..).zip(&self.patch.bytes) {
            if (self.at..self.at + n as u64).contains(&place) {
                out[(place - self.at) as usize] = *byte;
            }
        }
        self.at += n as u64;
        Ok(n)
    }
}

impl Seek for Patched<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = self.media.seek(to)?;
        Ok(self.at)
    }
}

impl MediaSource for Patched<'_> {
    fn is_seekable(&self) -> bool {
        self.media.is_seekable()
    }

    fn byte_len(&self) -> Option<u64> {
        self.media.byte_len()
    }
}
