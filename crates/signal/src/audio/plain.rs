//! Files of plain samples, which are read without symphonia: WAVE and AU.

use super::source::ByteSource;
use super::unusable::Unusable;
use super::wav::Wav;
use super::{au, wav};

/// Reads the header of a WAVE or AU file; `None` for another format.
pub(super) fn read(source: &ByteSource) -> Result<Option<Wav>, Unusable> {
    let start = source.read(0, 12)?;
    match () {
        () if wav::is_wav(&start) => wav::read(source).map(Some),
        () if au::is_au(&start) => au::read(source).map(Some),
        () => Ok(None),
    }
}
