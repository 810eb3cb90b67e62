//! Writes learning curves for TensorBoard: an event file with one record per epoch.
//!
//! Conventions: TFRecord framing (length, masked CRC-32C of the length, bytes, masked CRC-32C of the bytes, little-endian)
//! around `Event` messages of Protocol Buffers, encoded by hand because scalars need four fields only. Values are f32, as in the
//! format.
//! Differences from the peers' writers: the file depends only on its start time and on the epochs so far. Wall times are the
//! start time plus the seconds that the epochs took, without the pauses between two runs. A resumed run therefore finds the bytes
//! that it would write itself, keeps the part that agrees and continues after it: no step occurs twice, a record truncated by a
//! kill is repaired, and a TensorBoard that has the file open sees it grow in place.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use timbre_models::Epoch;

/// Updates the event file at `path` to these epochs.
pub fn write(path: &Path, epochs: &[Epoch]) -> Result<()> {
    let fail = || format!("cannot write {}: is the disk full, or the folder read-only?", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(fail)?;
    }
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path).with_context(fail)?;
    let mut found = Vec::new();
    file.read_to_end(&mut found).with_context(fail)?;
    let records = records(start_time(&found).unwrap_or_else(|| start_if_ended_now(epochs)), epochs);
    let matching = matching_prefix(&found, &records);
    if matching < found.len() {
        file.set_len(matching as u64).with_context(fail)?;
    }
    let wanted = records.concat();
    if matching < wanted.len() {
        file.seek(SeekFrom::Start(matching as u64)).with_context(fail)?;
        // In one write, so that a reader finds whole records.
        file.write_all(&wanted[matching..]).with_context(fail)?;
    }
    Ok(())
}

/// The length of the prefix of `found` that consists of expected records.
fn matching_prefix(found: &[u8], records: &[Vec<u8>]) -> usize {
    let mut matching = 0;
    for record in records {
        if found.get(matching..matching + record.len()) != Some(record) {
            break;
        }
        matching += record.len();
    }
    matching
}

/// The start time in seconds since 1970 if the last epoch ended now.
fn start_if_ended_now(epochs: &[Epoch]) -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |passed| passed.as_secs_f64());
    now - epochs.iter().map(|epoch| epoch.seconds).sum::<f64>()
}

/// The wall time of the first record, if this module wrote it.
fn start_time(found: &[u8]) -> Option<f64> {
    let event = found.get(HEADER_BYTES..)?;
    let time = f64::from_le_bytes(event.get(1..9)?.try_into().ok()?);
    found.starts_with(&header(time)).then_some(time)
}

fn header(time: f64) -> Vec<u8> {
    let mut event = Vec::new();
    put_f64(&mut event, 1, time);
    put_bytes(&mut event, 3, b"brain.Event:2");
    framed(&event)
}

/// A record with the file version, then one per epoch.
fn records(time: f64, epochs: &[Epoch]) -> Vec<Vec<u8>> {
    let mut wall_time = time;
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
    std::iter::once(header(time)).chain(of_epochs).collect()
}

/// The scalars of an epoch by tag; TensorBoard groups them by the part before the slash.
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
const HEADER_BYTES: usize = 12;

fn framed(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    let mut frame = length.to_vec();
    frame.extend(masked(crc32c(&length)).to_le_bytes());
    frame.extend(message);
    frame.extend(masked(crc32c(message)).to_le_bytes());
    frame
}

/// The masked CRC of the format, rotated and offset: the CRC of bytes that contain their own CRC would detect nothing.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The CRC table of Castagnoli's polynomial, lowest bit first.
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

// Protocol Buffers: each field is its number and wire type followed by its value.

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
    fn the_checksum_equals_that_of_the_standard() {
        // RFC 3720, B.4.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }
}
