//! The least of PNG: a picture of 8-bit palette indices, its bytes stored without compression.

/// Black to violet to orange to pale yellow, evenly growing in brightness, as the maps that are safe for every kind of sight.
const COLOURS: [[u8; 3]; 9] = [
    [0, 0, 4],
    [24, 15, 62],
    [69, 16, 119],
    [114, 31, 129],
    [159, 47, 127],
    [205, 64, 113],
    [241, 96, 93],
    [253, 150, 104],
    [252, 236, 176],
];

/// A palette for numbers: 256 shades between these colours.
pub fn shades() -> Vec<[u8; 3]> {
    let steps = (COLOURS.len() - 1) as f32;
    let colour = |shade: usize| {
        let at = shade as f32 / 255.0 * steps;
        let left = (at as usize).min(COLOURS.len() - 2);
        let mixed = |i: usize| {
            let (a, b) = (f32::from(COLOURS[left][i]), f32::from(COLOURS[left + 1][i]));
            (a + (b - a) * (at - left as f32)).round() as u8
        };
        [mixed(0), mixed(1), mixed(2)]
    };
    (0..256).map(colour).collect()
}

/// `indices` row by row, `width` a row, each naming a colour of the palette.
pub fn of_palette(indices: &[u8], width: usize, palette: &[[u8; 3]]) -> Vec<u8> {
    assert!(
        width > 0 && indices.len().is_multiple_of(width) && (1..=256).contains(&palette.len()),
        "rows of a picture"
    );
    let height = indices.len() / width;
    let side = |n: usize| u32::try_from(n).expect("a picture of less than 4 billion pixels a side").to_be_bytes();
    let mut header = [side(width), side(height)].concat();
    // Depth 8, indexed colours, and nothing special.
    header.extend([8, 3, 0, 0, 0]);
    // Each row begins with its filter: none.
    let rows: Vec<u8> =
        indices.chunks_exact(width).flat_map(|row| std::iter::once(0).chain(row.iter().copied())).collect();
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(b"IHDR", &header, &mut file);
    chunk(b"PLTE", palette.as_flattened(), &mut file);
    chunk(b"IDAT", &stored(&rows), &mut file);
    chunk(b"IEND", &[], &mut file);
    file
}

fn chunk(name: &[u8; 4], body: &[u8], file: &mut Vec<u8>) {
    file.extend((body.len() as u32).to_be_bytes());
    let begin = file.len();
    file.extend(name);
    file.extend(body);
    let sum = crc32(&file[begin..]);
    file.extend(sum.to_be_bytes());
}

/// A zlib stream (RFC 1950) of stored blocks (RFC 1951).
fn stored(bytes: &[u8]) -> Vec<u8> {
    const MOST: usize = 0xFFFF;
    let mut stream = vec![0x78, 0x01];
    let blocks = bytes.len().div_ceil(MOST).max(1);
    for n in 0..blocks {
        let block = &bytes[n * MOST..bytes.len().min((n + 1) * MOST)];
        let length = block.len() as u16;
        stream.push(u8::from(n + 1 == blocks));
        stream.extend(length.to_le_bytes());
        stream.extend((!length).to_le_bytes());
        stream.extend(block);
    }
    stream.extend(adler32(bytes).to_be_bytes());
    stream
}

fn adler32(bytes: &[u8]) -> u32 {
    let (mut a, mut b) = (1u32, 0u32);
    for byte in bytes {
        a = (a + u32::from(*byte)) % 65521;
        b = (b + a) % 65521;
    }
    b << 16 | a
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { 0xEDB8_8320 ^ (crc >> 1) } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc: u32, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// Base64 (RFC 4648) with padding, for pictures within a page.
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let four = |three: &[u8]| {
        let bits = (0..3).fold(0u32, |bits, i| bits << 8 | u32::from(three.get(i).copied().unwrap_or(0)));
        (0..4)
            .map(move |i| match i <= three.len() {
                true => char::from(DIGITS[(bits >> (18 - 6 * i) & 63) as usize]),
                false => '=',
            })
            .collect::<Vec<char>>()
    };
    bytes.chunks(3).flat_map(four).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_and_base64_are_those_of_their_standards() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(adler32(b"Wikipedia"), 0x11E6_0398);
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn a_picture_holds_its_rows_in_stored_blocks() {
        let indices: Vec<u8> = (0..300 * 250).map(|n| (n % 7) as u8).collect();
        let file = of_palette(&indices, 300, &[[1, 2, 3]; 7]);
        assert_eq!(&file[..8], b"\x89PNG\r\n\x1a\n");
        let (mut at, mut names, mut data) = (8, Vec::new(), Vec::new());
        while at < file.len() {
            let length = u32::from_be_bytes(file[at..at + 4].try_into().unwrap()) as usize;
            names.push(file[at + 4..at + 8].to_vec());
            if &file[at + 4..at + 8] == b"IDAT" {
                data = file[at + 8..at + 8 + length].to_vec();
            }
            assert_eq!(file[at + 8 + length..at + 12 + length], crc32(&file[at + 4..at + 8 + length]).to_be_bytes());
            at += 12 + length;
        }
        assert_eq!(names, [b"IHDR", b"PLTE", b"IDAT", b"IEND"]);
        // Two blocks: 301 x 250 bytes are more than 65535.
        let (mut at, mut rows) = (2, Vec::<u8>::new());
        loop {
            let length = usize::from(u16::from_le_bytes(data[at + 1..at + 3].try_into().unwrap()));
            rows.extend(&data[at + 5..at + 5 + length]);
            at += 5 + length;
            if data[at - 5 - length] == 1 {
                break;
            }
        }
        assert_eq!((at + 4, rows.len()), (data.len(), 301 * 250));
        assert!(rows.chunks(301).zip(indices.chunks(300)).all(|(row, pixels)| row[0] == 0 && row[1..] == *pixels));
    }
}
