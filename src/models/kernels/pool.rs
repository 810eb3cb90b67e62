//! Max pooling of channels-last images.
//!
//! The place of each maximum is remembered as the number of its tap, one byte. Of equal ones the first counts, as in PyTorch;
//! NaN wins. Each pixel of the gradient gathers from the windows it lies in, in their order.

use rayon::prelude::*;

use super::images::{Images, Window};
use super::simd::{Vector, Work, on_best};

/// The largest of each window, and its tap.
pub fn forward(x: &Images, window: &Window) -> (Vec<f32>, Vec<u8>) {
    assert!(window.taps() <= 256, "the tap of a maximum is a byte");
    let [height, width] = window.output(x.height, x.width);
    let row = width * x.channels;
    let (mut out, mut taps) = (vec![0.0; x.count * height * row], vec![0u8; x.count * height * row]);
    out.par_chunks_mut(row).zip(taps.par_chunks_mut(row)).enumerate().for_each(|(row, (out, taps))| {
        on_best(x.channels, Largest { x, window, image: row / height, row: row % height, out, taps });
    });
    (out, taps)
}

/// The gradient with respect to an input of `[height, width]`.
pub fn backward(dy: &Images, taps: &[u8], [height, width]: [usize; 2], window: &Window) -> Vec<f32> {
    let row = width * dy.channels;
    let mut dx = vec![0.0; dy.count * height * row];
    dx.par_chunks_mut(row).enumerate().for_each(|(row, dx)| {
        on_best(dy.channels, Spread { dy, taps, window, image: row / height, row: row % height, dx });
    });
    dx
}

struct Largest<'a> {
    x: &'a Images<'a>,
    window: &'a Window,
    image: usize,
    row: usize,
    out: &'a mut [f32],
    taps: &'a mut [u8],
}

impl Work for Largest<'_> {
    type Result = ();

    #[inline(always)]
    fn with<V: Vector, const P: usize>(self) {
        let (channels, stride) = (self.x.channels, self.window.stride);
        let above = (self.row * stride[0]) as isize;
        for (column, (out, taps)) in
            self.out.chunks_exact_mut(channels).zip(self.taps.chunks_exact_mut(channels)).enumerate()
        {
            let left = (column * stride[1]) as isize;
            out.fill(f32::NEG_INFINITY);
            for tap in 0..self.window.taps() {
                let [down, right] = self.window.offset(tap);
                let Some(at) = self.x.at(self.image, above + down, left + right) else { continue };
                let x = &self.x.values[at..][..channels];
                for c in 0..channels {
                    // NaN is larger than all, and nothing is larger than NaN.
                    let larger = (x[c] > out[c]) | x[c].is_nan();
                    out[c] = if larger { x[c] } else { out[c] };
                    taps[c] = if larger { tap as u8 } else { taps[c] };
                }
            }
        }
    }
}

struct Spread<'a> {
    dy: &'a Images<'a>,
    taps: &'a [u8],
    window: &'a Window,
    image: usize,
    row: usize,
    dx: &'a mut [f32],
}

impl Work for Spread<'_> {
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
