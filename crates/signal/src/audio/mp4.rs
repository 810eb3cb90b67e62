//! Reads two things of MP4 that symphonia ignores: the edit list, which gives the AAC encoder delay (1024 samples from most
//! encoders, 2112 from Apple's; ffmpeg cuts them too), and the sizes of fragments, of which symphonia accepts a truncated
//! sequence as the whole recording.

use std::borrow::Cow;

use super::source::{ByteSource, HeaderReader};
use super::unusable::Unusable;

/// A larger index is damage: two days of AAC have one of 32 MiB.
const LARGEST_INDEX: u64 = 256 << 20;

/// Samples at `sample_rate` that precede the recording in the first audio track.
pub(super) fn samples_before_start(source: &ByteSource, sample_rate: u32) -> Result<usize, Unusable> {
    Ok(index(source)?.map_or(0, |index| samples_before_first_edit(&index, sample_rate)))
}

/// Whether the file is fragmented: each fragment has its own index.
pub(super) fn is_fragmented(source: &ByteSource) -> Result<bool, Unusable> {
    Ok(index(source)?.is_some_and(|index| child(&index, b"mvex").is_some()))
}

/// Refuses a file whose last atom is incomplete. Trailing bytes that are not an atom (some writers leave zeros or tags) are ignored.
pub(super) fn check_end(source: &ByteSource) -> Result<(), Unusable> {
    let mut headers = source.header_reader();
    if headers.up_to(4, 4)? != b"ftyp" {
        return Ok(());
    }
    let mut at = 0;
    while let Some(atom) = atom(&mut headers, at, source.len())? {
        let there = source.len() - at;
        if atom.size > there && atom.id.iter().all(|letter| letter.is_ascii_alphanumeric()) {
            return source.cut_off(Unusable::Truncated {
                declared: atom.size,
                found: there,
                unit: "bytes in its last atom",
            });
        }
        if atom.size < atom.head || atom.size > there {
            return Ok(());
        }
        if matches!(&atom.id, b"moov" | b"moof") && atom.size <= LARGEST_INDEX {
            let index = source.read(at + atom.head, (atom.size - atom.head) as usize)?;
            // symphonia iterates over them one by one.
            if most_samples(&index, 0) > source.len() {
                return Err(Unusable::damaged_header("an index of more packets than the file has bytes"));
            }
        }
        at += atom.size;
    }
    match source.len() - at {
        0 => Ok(()),
        found => source.cut_off(Unusable::Truncated { declared: 8, found, unit: "bytes in the head of its last atom" }),
    }
}

/// The largest number of samples that a table in a `moov` or `moof` atom declares.
fn most_samples(atom: &[u8], depth: usize) -> u64 {
    let inside = children(atom).map(|(id, body)| match id {
        b"trak" | b"mdia" | b"minf" | b"stbl" | b"traf" if depth < 4 => most_samples(body, depth + 1),
        b"trun" => body.get(4..8).map_or(0, number),
        b"stsz" | b"stz2" => body.get(8..12).map_or(0, number),
        _ => 0,
    });
    inside.max().unwrap_or(0)
}

/// The body of the first `moov` atom.
fn index<'a>(source: &ByteSource<'a>) -> Result<Option<Cow<'a, [u8]>>, Unusable> {
    let (mut headers, mut at) = (source.header_reader(), 0);
    while let Some(atom) = atom(&mut headers, at, source.len())? {
        if atom.size < atom.head || atom.size > source.len() - at {
            break;
        }
        if &atom.id == b"moov" {
            let size = atom.size - atom.head;
            return if size > LARGEST_INDEX { Ok(None) } else { Ok(Some(source.read(at + atom.head, size as usize)?)) };
        }
        at += atom.size;
    }
    Ok(None)
}

struct Atom {
    id: [u8; 4],
    head: u64,
    /// Including the header.
    size: u64,
}

/// The atom at `at`; `None` where its header does not fit.
fn atom(headers: &mut HeaderReader, at: u64, length: u64) -> Result<Option<Atom>, Unusable> {
    let Some(first) = headers.get(at, 8)?.map(|head| <[u8; 8]>::try_from(head).expect("eight bytes")) else {
        return Ok(None);
    };
    let (head, size) = match number(&first[..4]) {
        0 => (8, length - at),
        1 => match headers.get(at + 8, 8)? {
            Some(long) => (16, number(long)),
            None => return Ok(None),
        },
        size => (8, size),
    };
    Ok(Some(Atom { id: [first[4], first[5], first[6], first[7]], head, size }))
}

fn samples_before_first_edit(moov: &[u8], sample_rate: u32) -> usize {
    let track = children(moov).find_map(|(id, trak)| {
        let mdia = child(trak, b"mdia").filter(|_| id == b"trak")?;
        let handler = child(mdia, b"hdlr")?;
        (handler.get(8..12)? == b"soun").then_some((trak, mdia))
    });
    let start = track.and_then(|(trak, mdia)| Some((first_edit(trak)?, ticks_per_second(mdia)?)));
    match start {
        Some((ticks, scale)) if scale > 0 => (u128::from(ticks) * u128::from(sample_rate) / u128::from(scale)) as usize,
        _ => 0,
    }
}

/// The media time at which the first non-empty edit begins.
fn first_edit(trak: &[u8]) -> Option<u64> {
    let list = child(child(trak, b"edts")?, b"elst")?;
    let entries = list.get(8..)?;
    let mut starts: Box<dyn Iterator<Item = i64>> = match list[0] {
        0 => Box::new(entries.chunks_exact(12).map(|entry| i64::from(number(&entry[4..8]) as i32))),
        _ => Box::new(entries.chunks_exact(20).map(|entry| number(&entry[8..16]) as i64)),
    };
    starts.find(|start| *start >= 0).map(|start| start as u64)
}

fn ticks_per_second(mdia: &[u8]) -> Option<u64> {
    let header = child(mdia, b"mdhd")?;
    let at = if *header.first()? == 0 { 12 } else { 20 };
    header.get(at..at + 4).map(number)
}

fn child<'a>(atom: &'a [u8], wanted: &[u8; 4]) -> Option<&'a [u8]> {
    children(atom).find(|(id, _)| *id == wanted).map(|(_, body)| body)
}

/// Id and body of each atom, up to the first with an invalid size.
fn children(mut rest: &[u8]) -> impl Iterator<Item = (&[u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let (head, size) = match number(rest.get(..4)?) {
            0 => (8, rest.len() as u64),
            1 => (16, number(rest.get(8..16)?)),
            size => (8, size),
        };
        let size = usize::try_from(size).ok().filter(|size| (head..=rest.len()).contains(size))?;
        let (atom, after) = rest.split_at(size);
        rest = after;
        Some((atom[4..8].try_into().ok()?, &atom[head..]))
    })
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn atom(id: &[u8; 4], body: &[u8]) -> Vec<u8> {
        [&(body.len() as u32 + 8).to_be_bytes(), &id[..], body].concat()
    }

    fn file(list: &[u8]) -> Vec<u8> {
        let header = atom(b"mdhd", &[[0; 12].as_slice(), &44100u32.to_be_bytes(), &[0; 8]].concat());
        let handler = |kind: &[u8; 4]| atom(b"hdlr", &[&[0; 8], &kind[..]].concat());
        let picture = atom(b"trak", &atom(b"mdia", &handler(b"vide")));
        let sound = [atom(b"edts", &atom(b"elst", list)), atom(b"mdia", &[header, handler(b"soun")].concat())].concat();
        [atom(b"ftyp", b"M4A "), atom(b"moov", &[picture, atom(b"trak", &sound)].concat())].concat()
    }

    #[test]
    fn the_first_non_empty_edit_of_the_audio_track_counts() {
        let entry = |start: i32| [&[0, 0, 1, 0], &start.to_be_bytes()[..], &[0, 1, 0, 0]].concat();
        let list = |starts: &[i32]| [vec![0; 8], starts.iter().flat_map(|start| entry(*start)).collect()].concat();
        let samples_before_start = |file: &[u8], rate| samples_before_start(&ByteSource::memory(file), rate).unwrap();
        assert_eq!(samples_before_start(&file(&list(&[1024])), 44100), 1024);
        assert_eq!(samples_before_start(&file(&list(&[-1, 2112, 7])), 44100), 2112);
        assert_eq!(samples_before_start(&file(&list(&[1024])), 22050), 512);
        assert_eq!(samples_before_start(&file(&list(&[])), 44100), 0);
    }

    #[test]
    fn atoms_with_invalid_sizes_are_ignored() {
        let samples_before_start = |file: &[u8], rate| samples_before_start(&ByteSource::memory(file), rate).unwrap();
        let whole = file(&[[0; 8].as_slice(), &[0, 0, 1, 0, 0, 0, 4, 0, 0, 1, 0, 0]].concat());
        assert_eq!(samples_before_start(&whole, 44100), 1024);
        for end in 0..whole.len() {
            assert_eq!(samples_before_start(&whole[..end], 44100), 0);
        }
    }
}
