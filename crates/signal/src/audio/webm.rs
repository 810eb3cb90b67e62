//! Reads two things of WebM and Matroska that symphonia ignores: whether the file is complete, and how many samples of the
//! last packet are padding.
//!
//! Browsers write a live recording without the sizes of the segment and its clusters and without a length, and the file
//! just ends. Cut between two blocks, it is a shorter recording, which cannot be noticed; cut within a block, it is
//! truncated. There are no checksums.

use super::opus;
use super::source::{ByteSource, HeaderReader};
use super::unusable::Unusable;

const EBML: u32 = 0x1A45_DFA3;
const SEGMENT: u32 = 0x1853_8067;
const INFO: u32 = 0x1549_A966;
const TIMESTAMP_SCALE: u32 = 0x2A_D7B1;
const TRACKS: u32 = 0x1654_AE6B;
const TRACK_ENTRY: u32 = 0xAE;
const TRACK_NUMBER: u32 = 0xD7;
const CODEC_DELAY: u32 = 0x56AA;
const CLUSTER: u32 = 0x1F43_B675;
const TIMESTAMP: u32 = 0xE7;
const SIMPLE_BLOCK: u32 = 0xA3;
const BLOCK_GROUP: u32 = 0xA0;
const BLOCK: u32 = 0xA1;
const DISCARD_PADDING: u32 = 0x75A2;

/// Other elements of a segment (SeekHead, Cues, Chapters, Attachments, Tags), of a cluster (SilentTracks, Position,
/// PrevSize, EncryptedBlock) or of both (Void, CRC-32).
const STEPPED_OVER: [u32; 11] =
    [0x114D_9B74, 0x1C53_BB6B, 0x1043_A770, 0x1941_A469, 0x1254_C367, 0x5854, 0xA7, 0xAB, 0xAF, 0xEC, 0xBF];

/// Larger headers are damage.
const LARGEST_HEADER: u64 = 1 << 20;

/// Nanoseconds of the longest packet, the maximum padding. A larger value in a file would only hold back decoded samples that
/// may still be cut.
const LONGEST_PADDING: u64 = opus::MAX_PACKET_SAMPLES as u64 * 1_000_000_000 / opus::RATE as u64;

/// Track delays and the time scale of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct WebmScan {
    tracks: Vec<Delays>,
    /// Nanoseconds per tick.
    scale: u64,
}

/// Delay and padding of a track in nanoseconds, which are not part of the recording.
#[derive(Clone, Debug, Default, PartialEq)]
struct Delays {
    number: u64,
    before: u64,
    /// Padding of the last block so far.
    after: u64,
}

impl WebmScan {
    /// Samples at `rate` of encoder delay and of padding of a track.
    pub fn encoder_padding(&self, track: u32, rate: u32) -> (usize, usize) {
        let found = self.tracks.iter().find(|found| found.number == u64::from(track));
        found.map_or((0, 0), |found| (samples(found.before, rate), samples(found.after, rate)))
    }

    fn last_block(&mut self, track: Option<u64>, padding: u64) {
        if let Some(found) = self.tracks.iter_mut().find(|found| Some(found.number) == track) {
            found.after = padding;
        }
    }
}

fn samples(nanoseconds: u64, rate: u32) -> usize {
    ((u128::from(nanoseconds) * u128::from(rate) + 500_000_000) / 1_000_000_000) as usize
}

/// Walks over all elements of the file; `None` for other formats.
pub(super) fn scan(source: &ByteSource) -> Result<Option<WebmScan>, Unusable> {
    let mut headers = source.header_reader();
    let Some(head) = element(&mut headers, 0)?.filter(|head| head.id == EBML) else { return Ok(None) };
    let mut walk = Walk { source, headers, found: WebmScan { tracks: Vec::new(), scale: 1_000_000 }, ticks: 0 };
    let after = head.size.and_then(|size| head.body.checked_add(size)).filter(|at| *at < source.len());
    let Some(after) = after else { return Err(Unusable::damaged_header("it ends within its header")) };
    match element(&mut walk.headers, after)? {
        Some(segment) if segment.id == SEGMENT => walk.segment(segment)?,
        Some(_) => {}
        None => return Err(Unusable::damaged_header("it ends within its header")),
    }
    Ok(Some(walk.found))
}

struct Walk<'s, 'a> {
    source: &'s ByteSource<'a>,
    headers: HeaderReader<'s, 'a>,
    found: WebmScan,
    /// Start time of the current cluster.
    ticks: u64,
}

impl Walk<'_, '_> {
    fn segment(&mut self, segment: Element) -> Result<(), Unusable> {
        let there = self.source.len() - segment.body;
        let end = match segment.size {
            Some(size) if size > there => {
                self.source.cut_off(Unusable::Truncated { declared: size, found: there, unit: "bytes" })?;
                self.source.len()
            }
            size => segment.body + size.unwrap_or(there),
        };
        let mut at = segment.body;
        // Elements of a cluster never occur beside one, so a cluster of unknown size needs no explicit end.
        let mut cluster_end = end;
        while at < end {
            if at >= cluster_end {
                cluster_end = end;
            }
            let next = element(&mut self.headers, at)?.filter(|next| next.body <= cluster_end);
            let Some(next) = next else {
                // The head of an element is cut off, too.
                let is_known = self.source.why_cut_off().is_some() && cluster_end == self.source.len();
                return if is_known { Ok(()) } else { Err(self.damage("it ends within the head of an element")) };
            };
            let there = cluster_end - next.body;
            let size = match next.size {
                None if next.id == CLUSTER => there,
                None => return Err(self.damage("an element of unknown size")),
                Some(size) if size > there && cluster_end == self.source.len() => {
                    let unit = "bytes in its last element";
                    return self.source.cut_off(Unusable::Truncated { declared: size, found: there, unit });
                }
                Some(size) if size > there => return Err(self.damage("an element is larger than what it stands in")),
                Some(size) => size,
            };
            if next.id == CLUSTER {
                cluster_end = next.body + size;
                at = next.body;
                continue;
            }
            self.element(next.id, next.body, size)?;
            at = next.body + size;
        }
        match element(&mut self.headers, end)? {
            Some(next) if next.id == EBML => Err(several()),
            _ => Ok(()),
        }
    }

    fn element(&mut self, id: u32, body: u64, size: u64) -> Result<(), Unusable> {
        match id {
            INFO => {
                let info = self.source.read(body, size.min(LARGEST_HEADER) as usize)?;
                self.found.scale = child(&info, TIMESTAMP_SCALE).map_or(1_000_000, number);
            }
            TRACKS => {
                let tracks = self.source.read(body, size.min(LARGEST_HEADER) as usize)?;
                self.found.tracks =
                    children(&tracks).filter(|(id, _)| *id == TRACK_ENTRY).map(|(_, track)| delays(track)).collect();
            }
            TIMESTAMP => self.ticks = number(self.headers.up_to(body, size.min(8))?),
            SIMPLE_BLOCK => {
                let block = self.headers.up_to(body, size.min(8))?;
                let track = vint(block).map(|(number, _)| number);
                self.found.last_block(track, 0);
            }
            BLOCK_GROUP => self.group(body, body + size)?,
            EBML => return Err(several()),
            id if STEPPED_OVER.contains(&id) => {}
            _ => return Err(self.damage("something that is no element of WebM")),
        }
        Ok(())
    }

    /// Reads a block group, for its padding.
    fn group(&mut self, mut at: u64, end: u64) -> Result<(), Unusable> {
        let (mut track, mut padding) = (None, 0);
        while at < end {
            let inside = element(&mut self.headers, at)?.filter(|next| next.body <= end);
            let sized = inside.and_then(|next| Some((next, next.size.filter(|size| *size <= end - next.body)?)));
            let Some((next, size)) = sized else { return Err(self.damage("a block is larger than its group")) };
            match next.id {
                BLOCK => track = vint(self.headers.up_to(next.body, size.min(8))?).map(|(number, _)| number),
                // Signed. Negative values would be silence at the start, which no encoder writes.
                DISCARD_PADDING if (1..=8).contains(&size) => {
                    let bytes = self.headers.up_to(next.body, size)?;
                    let is_positive = bytes.first().is_some_and(|first| *first < 0x80);
                    padding = if is_positive { number(bytes).min(LONGEST_PADDING) } else { 0 };
                }
                _ => {}
            }
            at = next.body + size;
        }
        self.found.last_block(track, padding);
        Ok(())
    }

    fn damage(&self, found: &str) -> Unusable {
        let seconds = self.ticks as f64 * self.found.scale as f64 * 1e-9;
        Unusable::Corrupt { seconds, found: found.into() }
    }
}

fn several() -> Unusable {
    Unusable::Unsupported { found: "several WebM recordings, one after the other, in one file".into() }
}

fn delays(track: &[u8]) -> Delays {
    let number_of = |id| child(track, id).map_or(0, number);
    Delays { number: number_of(TRACK_NUMBER), before: number_of(CODEC_DELAY), after: 0 }
}

#[derive(Clone, Copy)]
struct Element {
    id: u32,
    body: u64,
    /// `None` if unknown.
    size: Option<u64>,
}

/// The header of the element at `at`; `None` if it is incomplete.
fn element(headers: &mut HeaderReader, at: u64) -> Result<Option<Element>, Unusable> {
    let parsed = parse(headers.up_to(at, 12)?);
    Ok(parsed.map(|(id, length, size)| Element { id, body: at + length as u64, size }))
}

/// Id, length of the header, and size.
fn parse(bytes: &[u8]) -> Option<(u32, usize, Option<u64>)> {
    let id_length = bytes.first()?.leading_zeros() as usize + 1;
    let id = number(bytes.get(..id_length).filter(|id| id.len() <= 4)?) as u32;
    let (size, length) = vint(&bytes[id_length..])?;
    // All ones: unknown.
    let size = (size != (1 << (7 * length)) - 1).then_some(size);
    Some((id, id_length + length, size))
}

/// A variable-length integer, whose first byte encodes its length, and that length.
fn vint(bytes: &[u8]) -> Option<(u64, usize)> {
    let length = bytes.first()?.leading_zeros() as usize + 1;
    let all = number(bytes.get(..length).filter(|_| length <= 8)?);
    Some((all & ((1 << (7 * length)) - 1), length))
}

/// Id and body of each element, up to the first with an invalid size.
fn children(mut rest: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    std::iter::from_fn(move || {
        let (id, head, size) = parse(rest)?;
        let size = usize::try_from(size?).ok().filter(|size| *size <= rest.len() - head)?;
        let (body, after) = rest[head..].split_at(size);
        rest = after;
        Some((id, body))
    })
}

fn child(element: &[u8], wanted: u32) -> Option<&[u8]> {
    children(element).find(|(id, _)| *id == wanted).map(|(_, body)| body)
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
