//! Encodes images of palette indices as PNG.

use png::{BitDepth, ColorType, Encoder};

/// Black to violet to orange to pale yellow, with evenly growing brightness, like colour maps that suit any colour vision.
const ANCHORS: [[u8; 3]; 9] = [
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

/// A palette of 256 shades, interpolated between the anchors.
pub fn shades() -> Vec<[u8; 3]> {
    let steps = (ANCHORS.len() - 1) as f32;
    let colour = |shade: usize| {
        let at = shade as f32 / 255.0 * steps;
        let left = (at as usize).min(ANCHORS.len() - 2);
        let mixed = |i: usize| {
            let (a, b) = (f32::from(ANCHORS[left][i]), f32::from(ANCHORS[left + 1][i]));
            (a + (b - a) * (at - left as f32)).round() as u8
        };
        [mixed(0), mixed(1), mixed(2)]
    };
    (0..256).map(colour).collect()
}

/// A PNG of `indices`, row by row, `width` per row; each is an index into the palette.
pub fn encode(indices: &[u8], width: usize, palette: &[[u8; 3]]) -> Vec<u8> {
    let side = |n: usize| u32::try_from(n).expect("an image has fewer than 4 billion pixels a side");
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, side(width), side(indices.len() / width));
    encoder.set_color(ColorType::Indexed);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_palette(palette.as_flattened());
    let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(indices));
    written.expect("whole rows of a positive width are an image");
    file
}

/// The size of a PNG and the colours of its pixels, row by row.
#[cfg(test)]
pub fn decode(file: &[u8]) -> ((u32, u32), Vec<[u8; 3]>) {
    let mut decoder = png::Decoder::new(std::io::Cursor::new(file));
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut bytes).unwrap();
    ((info.width, info.height), bytes.as_chunks::<3>().0.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_read_back_with_its_colours() {
        let palette = shades();
        let indices: Vec<u8> = (0..300 * 250).map(|n| (n % 251) as u8).collect();
        let (size, pixels) = decode(&encode(&indices, 300, &palette));
        assert_eq!(size, (300, 250));
        assert!(pixels.iter().zip(&indices).all(|(pixel, &index)| *pixel == palette[usize::from(index)]));
    }
}
