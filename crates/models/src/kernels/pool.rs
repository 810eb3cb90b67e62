//! Max pooling of channels-last images.
//!
//! The position of each maximum is stored as the number of its tap, one byte. Of equal values the first counts, as in PyTorch;
//! NaN wins. Each pixel of the gradient sums over the windows that contain it, in their order.

use rayon::prelude::*;

use super::images::{Images, Window};
use super::simd::{Kernel, Vector, on_best};

/// The maximum of each window, and its tap.
pub fn forward(x: &Images, window: &Window) -> (Vec<f32>, Vec<u8>) {
    assert!(window.taps() <= 256, "the tap of a maximum must fit a byte");
    let [height, width] = window.output(x.height, x.width);
    let row = width * x.channels;
    let (mut out, mut taps) = (vec![0.0; x.count * height * row], vec![0u8; x.count * height * row]);
    out.par_chunks_mut(row).zip(taps.par_chunks_mut(row)).enumerate().for_each(|(row, (out, taps))| {
        on_best(x.channels, Maximum { x, window, image: row / height, row: row % height, out, taps });
    });
    (out, taps)
}

/// The gradient with respect to an input of `[height, width]`.
pub fn backward(dy: &Images, taps: &[u8], [height, width]: [usize; 2], window: &Window) -> Vec<f32> {
    let row = width * dy.channels;
    let mut dx = vec![0.0; dy.count * height * row];
    dx.par_chunks_mut(row).enumerate().for_each(|(row, dx)| {
        on_best(dy.channels, Scatter { dy, taps, window, image: row / height, row: row % height, dx });
    });
    dx
}

struct Maximum<'a> {
    x: &'a Images<'a>,
    window: &'a Window,
    image: usize,
    row: usize,
    out: &'a mut [f32],
    taps: &'a mut [u8],
}

impl Kernel for Maximum<'_> {
    type Result = ();

    #[inline(always)]
    fn with<V: Vector, const P: usize>(self) {
        let (channels, stride) = (self.x.channels, self.window.stride);
        let above = (self.row * stride[0]) as isize;
        let (mut best, mut positions) = (vec![0.0f32; channels], vec![0u32; channels]);
        for (column, (out, taps)) in
            self.out.chunks_exact_mut(channels).zip(self.taps.chunks_exact_mut(channels)).enumerate()
        {
            let left = (column * stride[1]) as isize;
            // Tap numbers are as wide as the values while they are compared, so that both fit the same vectors.
            let (best, positions) = (&mut best[..channels], &mut positions[..channels]);
            best.fill(f32::NEG_INFINITY);
            positions.fill(0);
            for tap in 0..self.window.taps() {
                let [down, right] = self.window.offset(tap);
                let Some(at) = self.x.at(self.image, above + down, left + right) else { continue };
                for ((best, position), &x) in
                    best.iter_mut().zip(positions.iter_mut()).zip(&self.x.values[at..][..channels])
                {
                    // NaN is larger than all values, and nothing is larger than NaN.
                    let larger = (x > *best) | x.is_nan();
                    *position = if larger { tap as u32 } else { *position };
                    *best = if larger { x } else { *best };
                }
            }
            out.copy_from_slice(best);
            taps.iter_mut().zip(positions.iter()).for_each(|(tap, &position)| *tap = position as u8);
        }
    }
}

struct Scatter<'a> {
    dy: &'a Images<'a>,
    taps: &'a [u8],
    window: &'a Window,
    image: usize,
    row: usize,
    dx: &'a mut [f32],
}

impl Kernel for Scatter<'_> {
    type Result = ();

    #[inline(always)]
    fn with<V: Vector, const P: usize>(self) {
        let channels = self.dy.channels;
        let stride = self.window.stride.map(|step| step as isize);
        for (column, dx) in self.dx.chunks_exact_mut(channels).enumerate() {
            for tap in 0..self.window.taps() {
                let [down, right] = self.window.offset(tap);
                let [above, left] = [self.row as isize - down, column as isize - right];
                if above.rem_euclid(stride[0]) != 0 || left.rem_euclid(stride[1]) != 0 {
                    continue;
                }
                let (above, left) = (above.div_euclid(stride[0]), left.div_euclid(stride[1]));
                let Some(at) = self.dy.at(self.image, above, left) else { continue };
                let (dy, taps) = (&self.dy.values[at..][..channels], &self.taps[at..][..channels]);
                for c in 0..channels {
                    dx[c] += if taps[c] == tap as u8 { dy[c] } else { 0.0 };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::twins::*;
    use super::*;

    #[test]
    fn the_first_of_equal_values_is_the_maximum_and_nan_wins() {
        let values = [1.0, 3.0, 3.0, 2.0, 5.0, f32::NAN, 7.0, -1.0];
        let x = Images::new(&values, [1, 2, 4, 1]);
        let (out, taps) = forward(&x, &Window { kernel: [1, 4], stride: [1, 4], padding: [0, 0], dilation: [1, 1] });
        assert_eq!((out[0], taps[0]), (3.0, 1));
        assert!(out[1].is_nan() && taps[1] == 1);
    }

    #[test]
    fn every_output_is_the_maximum_of_its_window_and_receives_its_gradient() {
        for (shape, window) in [([2, 11, 8, 5], square(3, 2, 1)), ([2, 6, 6, 64], square(2, 2, 0))] {
            let values = noise(shape.iter().product(), 1);
            let x = Images::new(&values, shape);
            let [height, width] = window.output(shape[1], shape[2]);
            let dy = noise(shape[0] * height * width * shape[3], 2);
            let (out, taps) = forward(&x, &window);
            let mut expected = vec![0.0; values.len()];
            for (at, &out) in out.iter().enumerate() {
                let (pixel, channel) = (at / shape[3], at % shape[3]);
                let (image, row, column) = (pixel / (height * width), pixel / width % height, pixel % width);
                let seen = (0..window.taps()).filter_map(|tap| {
                    let [down, right] = window.offset(tap);
                    let [row, column] = [row * window.stride[0], column * window.stride[1]];
                    x.at(image, row as isize + down, column as isize + right).map(|at| at + channel)
                });
                let largest = seen.max_by(|&a, &b| values[a].total_cmp(&values[b])).unwrap();
                assert_eq!(out, values[largest]);
                expected[largest] += f64::from(dy[at]);
            }
            let dy = Images::new(&dy, [shape[0], height, width, shape[3]]);
            assert!(difference(&backward(&dy, &taps, [shape[1], shape[2]], &window), &expected) < 1e-6);
        }
    }
}
