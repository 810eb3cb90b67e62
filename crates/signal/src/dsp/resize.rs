//! Resizes images: separable, bilinear, antialiased.
//!
//! Pixel centres are at half steps. When an axis shrinks, the triangle is widened by the same factor, so that every input
//! counts. This is Pillow's `BILINEAR` on a float image (torchvision's with `antialias=True`); OpenCV and
//! `scipy.ndimage.zoom` skip inputs when shrinking. Columns first, then rows, as in Pillow.

/// The inputs of one output.
struct Taps {
    start: usize,
    weights: Vec<f32>,
}

/// Inputs and weights of each output along an axis; the weights sum to one.
fn taps(input: usize, output: usize) -> Vec<Taps> {
    let scale = input as f64 / output as f64;
    let reach = scale.max(1.0);
    (0..output)
        .map(|at| {
            let centre = (at as f64 + 0.5) * scale;
            let start = (centre - reach + 0.5).max(0.0) as usize;
            let end = ((centre + reach + 0.5) as usize).min(input);
            let weight = |i: usize| (1.0 - ((i as f64 + 0.5 - centre) / reach).abs()).max(0.0);
            let total: f64 = (start..end).map(weight).sum();
            Taps { start, weights: (start..end).map(|i| (weight(i) / total) as f32).collect() }
        })
        .collect()
}

/// The weights as a matrix, `input` × `output` (row-major): a row of pixels times the matrix is the resized row.
pub fn weights(input: usize, output: usize) -> Vec<f64> {
    let mut matrix = vec![0.0; input * output];
    for (at, Taps { start, weights }) in taps(input, output).into_iter().enumerate() {
        for (i, weight) in (start..).zip(weights) {
            matrix[i * output + at] = f64::from(weight);
        }
    }
    matrix
}

/// Resizes `rows` × `cols` (row-major) to `height` × `width`. Panics if a side is 0.
///
/// ```
/// let wide = timbre_signal::dsp::resize::bilinear(&[0.0, 4.0], (1, 2), (1, 4));
/// assert_eq!(wide, [0.0, 1.0, 3.0, 4.0]);
/// ```
pub fn bilinear(image: &[f32], (rows, cols): (usize, usize), (height, width): (usize, usize)) -> Vec<f32> {
    assert_eq!(image.len(), rows * cols, "an image of {rows} x {cols}");
    assert!(rows > 0 && cols > 0 && height > 0 && width > 0, "an image has pixels");
    let wide = if width == cols { image.to_vec() } else { resize_columns(image, cols, width) };
    if height == rows { wide } else { resize_rows(&wide, rows, width, height) }
}

fn resize_columns(image: &[f32], cols: usize, width: usize) -> Vec<f32> {
    let taps = taps(cols, width);
    let mut output = Vec::with_capacity(image.len() / cols * width);
    for row in image.chunks_exact(cols) {
        output.extend(taps.iter().map(|Taps { start, weights }| {
            row[*start..start + weights.len()].iter().zip(weights).map(|(x, w)| x * w).sum::<f32>()
        }));
    }
    output
}

fn resize_rows(image: &[f32], rows: usize, width: usize, height: usize) -> Vec<f32> {
    let mut output = vec![0.0; height * width];
    for (out, Taps { start, weights }) in output.chunks_exact_mut(width).zip(taps(rows, height)) {
        for (row, weight) in image[start * width..].chunks_exact(width).zip(weights) {
            for (out, x) in out.iter_mut().zip(row) {
                *out += weight * x;
            }
        }
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Sums over the whole image for every output.
    fn slow_bilinear(image: &[f32], (rows, cols): (usize, usize), (height, width): (usize, usize)) -> Vec<f64> {
        let triangle = |i: usize, at: usize, input: usize, output: usize| {
            let scale = input as f64 / output as f64;
            (1.0 - ((i as f64 + 0.5) - (at as f64 + 0.5) * scale).abs() / scale.max(1.0)).max(0.0)
        };
        let mut output = Vec::new();
        for y in 0..height {
            for x in 0..width {
                let (mut sum, mut total) = (0.0, 0.0);
                for r in 0..rows {
                    for c in 0..cols {
                        let weight = triangle(r, y, rows, height) * triangle(c, x, cols, width);
                        sum += weight * f64::from(image[r * cols + c]);
                        total += weight;
                    }
                }
                output.push(sum / total);
            }
        }
        output
    }

    fn sides() -> impl Strategy<Value = ((usize, usize), (usize, usize))> {
        ((1usize..20, 1usize..20), (1usize..20, 1usize..20))
    }

    proptest! {
        #[test]
        fn two_passes_equal_the_definition((from, to) in sides(), seed in any::<u32>()) {
            let image: Vec<f32> = (0..from.0 * from.1)
                .map(|i| ((i as u32 ^ seed).wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32)
                .collect();
            let fast = bilinear(&image, from, to);
            for (a, b) in fast.iter().zip(slow_bilinear(&image, from, to)) {
                prop_assert!((f64::from(*a) - b).abs() < 1e-5, "{a} is not {b}");
            }
        }

        #[test]
        fn a_constant_image_stays_constant((from, to) in sides(), value in -100.0f32..100.0) {
            let output = bilinear(&vec![value; from.0 * from.1], from, to);
            prop_assert_eq!(output.len(), to.0 * to.1);
            prop_assert!(output.iter().all(|x| (x - value).abs() < 1e-4));
        }

        #[test]
        fn every_input_counts_when_an_image_shrinks(from in 2usize..60, to in 1usize..60) {
            let to = to.min(from);
            for at in 0..from {
                let mut image = vec![0.0; from];
                image[at] = 1.0;
                prop_assert!(bilinear(&image, (1, from), (1, to)).iter().sum::<f32>() > 0.0);
            }
        }

        #[test]
        fn an_enlarged_ramp_stays_a_ramp_between_its_outer_pixel_centres(from in 2usize..40, to in 2usize..80) {
            let to = to.max(from);
            let image: Vec<f32> = (0..from).map(|i| i as f32).collect();
            for (at, value) in bilinear(&image, (1, from), (1, to)).into_iter().enumerate() {
                let expected = (at as f32 + 0.5) * from as f32 / to as f32 - 0.5;
                prop_assert!((value - expected.clamp(0.0, (from - 1) as f32)).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn the_same_size_is_the_same_image() {
        let image = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        assert_eq!(bilinear(&image, (2, 3), (2, 3)), image);
    }

    #[test]
    fn two_pixels_become_four_with_centres_at_half_steps() {
        assert_eq!(bilinear(&[0.0, 4.0], (1, 2), (1, 4)), [0.0, 1.0, 3.0, 4.0]);
    }
}
