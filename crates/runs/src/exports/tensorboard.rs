//! Learning curves for TensorBoard: an event file that grows by a record an epoch.
//!
//! Conventions: TFRecord framing (length, masked CRC-32C of the length, bytes, masked CRC-32C of the bytes, little-endian)
//! around `Event` messages of Protocol Buffers, written by hand: four fields are all that scalars need. Values are f32, as the
//! format has them.
//! Differences from the peers' writers: the file is a function of its first moment and of the epochs so far. Wall times are
//! that moment plus the seconds that the epochs took, without the breaks between two runs. So a resumed run finds the
//! bytes that it would write itself, keeps them as far as they agree and goes on after them: no step comes twice, a record
//! torn by a kill is mended, and a TensorBoard that has the file open sees it grow in place.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use timbre_models::Epoch;

/// Brings the event file at `path` up to these epochs.
pub fn write(path: &Path, epochs: &[Epoch]) -> Result<()> {
    let fail = || format!("cannot write {}: is the disk full, or the folder read-only?", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(fail)?;
    }
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path).with_context(fail)?;
    let mut found = Vec::new();
    file.read_to_end(&mut found).with_context(fail)?;
    let records = records(first_moment(&found).unwrap_or_else(|| now_before(epochs)), epochs);
    let agreed = agreement(&found, &records);
    if agreed < found.len() {
        file.set_len(agreed as u64).with_context(fail)?;
    }
    let wanted = records.concat();
    if agreed < wanted.len() {
        file.seek(SeekFrom::Start(agreed as u64)).with_context(fail)?;
        // In one go: a reader finds whole records.
        file.write_all(&wanted[agreed..]).with_context(fail)?;
    }
    Ok(())
}

/// How many bytes of `found` are whole records as wanted.
fn agreement(found: &[u8], records: &[Vec<u8>]) -> usize {
    let mut agreed = 0;
    for record in records {
        if found.get(agreed..agreed + record.len()) != Some(record) {
            break;
        }
        agreed += record.len();
    }
    agreed
}

/// When training began, in seconds since 1970, if it ended this epoch now.
fn now_before(epochs: &[Epoch]) -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |passed| passed.as_secs_f64());
    now - epochs.iter().map(|epoch| epoch.seconds).sum::<f64>()
}

/// The wall time of the first record, if that is one of ours.
fn first_moment(found: &[u8]) -> Option<f64> {
    let event = found.get(FRONT..)?;
    let moment = f64::from_le_bytes(event.get(1..9)?.try_into().ok()?);
    found.starts_with(&header(moment)).then_some(moment)
}

fn header(moment: f64) -> Vec<u8> {
    let mut event = Vec::new();
    put_f64(&mut event, 1, moment);
    put_bytes(&mut event, 3, b"brain.Event:2");
    framed(&event)
}

/// A record that says what the file is, then one an epoch.
fn records(moment: f64, epochs: &[Epoch]) -> Vec<Vec<u8>> {
    let mut wall_time = moment;
    let of_epochs = epochs.iter().map(|epoch| {
        wall_time += epoch.seconds;
        let mut summary = Vec::new();
        for (tag, value) in scalars(epoch) {
            let mut scalar = Vec::new();
            put_bytes(&mut scalar, 1, tag.as_bytes());
            put_f32(&mut scalar, 2, value as f32);
            put_bytes(&mut summary, 1, &scalar);
        }
        let mut event = Vec::new();
        put_f64(&mut event, 1, wall_time);
        put_varint(&mut event, 2 << 3);
        put_varint(&mut event, epoch.epoch as u64);
        put_bytes(&mut event, 5, &summary);
        framed(&event)
    });
    std::iter::once(header(moment)).chain(of_epochs).collect()
}

/// The curves of an epoch by tag; TensorBoard makes a group of what stands before the slash.
fn scalars(epoch: &Epoch) -> Vec<(String, f64)> {
    let mut scalars = vec![("loss/train".to_owned(), epoch.train_loss)];
    scalars.extend(epoch.validation_loss.map(|loss| ("loss/validation".to_owned(), loss)));
    scalars.extend(epoch.metrics.iter().map(|(name, &value)| (format!("metrics/{name}"), value)));
    scalars.push(("learning_rate".to_owned(), epoch.learning_rate));
    scalars.push(("speed/clips_per_second".to_owned(), epoch.clips_per_second));
    scalars.push(("speed/waited".to_owned(), epoch.waited));
    scalars
}

/// Bytes of a frame before its message.
const FRONT: usize = 12;

fn framed(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    let mut frame = length.to_vec();
    frame.extend(masked(crc32c(&length)).to_le_bytes());
    frame.extend(message);
    frame.extend(masked(crc32c(message)).to_le_bytes());
    frame
}

/// Rotated and shifted, as the format wants it: a CRC of bytes that contain their own CRC would tell nothing.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The remainders of all bytes under Castagnoli's polynomial, lowest bit first.
const REMAINDERS: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut remainder = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            remainder = if remainder & 1 == 1 { remainder >> 1 ^ 0x82f6_3b78 } else { remainder >> 1 };
            bit += 1;
        }
        table[byte] = remainder;
        byte += 1;
    }
    table
};

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| crc >> 8 ^ REMAINDERS[usize::from(crc as u8 ^ byte)])
}

// Protocol Buffers: each field is its number and wire type, then its value.

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_f64(out: &mut Vec<u8>, field: u64, value: f64) {
    put_varint(out, field << 3 | 1);
    out.extend(value.to_le_bytes());
}

fn put_f32(out: &mut Vec<u8>, field: u64, value: f32) {
    put_varint(out, field << 3 | 5);
    out.extend(value.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_varint(out, field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        // RFC 3720, B.4.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }
}
