//! Convolution as a sum over taps: each output pixel gathers rows of channels and multiplies them with packed weights.
//!
//! There is no matrix of patches: a row of six pixels is read in place, one tap after the other, and its sums stay in registers
//! over channels and taps. The gradient with respect to the input is the same loop with other taps: with a stride of s, pixels
//! form s × s phases with their own taps. Every sum has a fixed order, independent of threads.

use std::ops::Range;

use rayon::prelude::*;

use super::images::{Images, Window};
use super::simd::{Kernel, Vector, on_best, panel_width};

/// Pixels whose sums are kept in registers together.
const ROWS: usize = 6;
/// Packed weights that stay in the second-level cache while the pixels of a chunk are processed.
const CACHED_BYTES: usize = 320 << 10;
/// Pixels of a chunk: enough to amortize reading the weights.
const CHUNK_PIXELS: usize = 128;
/// With fewer channels than this, the taps of a pixel are first copied side by side.
pub const FEW_CHANNELS: usize = 8;

/// Output pixels that use the same taps.
struct Phase {
    /// The first row and column of the output, and the step to the next.
    origin: [usize; 2],
    step: [usize; 2],
    /// How far the source moves with each step.
    source_step: [usize; 2],
    taps: Vec<[isize; 2]>,
    /// `[panel][tap][channel of the source][column of the panel]`.
    weights: Vec<f32>,
}

/// `x * weight + bias`; `weight` is `[out, in, row, column]`.
pub fn forward(x: &Images, weight: &[f32], bias: Option<&[f32]>, out_channels: usize, window: &Window) -> Vec<f32> {
    let [height, width] = window.output(x.height, x.width);
    let taps: Vec<usize> = (0..window.taps()).collect();
    let phase = Phase {
        origin: [0, 0],
        step: [1, 1],
        source_step: window.stride,
        taps: taps.iter().map(|&tap| window.offset(tap)).collect(),
        weights: pack(weight, [out_channels, x.channels, window.taps()], &taps, Order::ColumnsAreOutputs),
    };
    gather(x, &[phase], bias, [height, width, out_channels])
}

/// The gradient with respect to an input of `[height, width]` with `in_channels`.
pub fn input_gradient(
    dy: &Images,
    weight: &[f32],
    in_channels: usize,
    [height, width]: [usize; 2],
    window: &Window,
) -> Vec<f32> {
    let step = window.stride;
    let mut phases = Vec::new();
    for first in 0..step[0] * step[1] {
        let origin = [first / step[1], first % step[1]];
        // Output `j + source` read the pixel `origin + step * j` through this tap, if the division has no remainder.
        let (taps, sources): (Vec<usize>, Vec<[isize; 2]>) = (0..window.taps())
            .filter_map(|tap| {
                let distance: [isize; 2] = std::array::from_fn(|axis| origin[axis] as isize - window.offset(tap)[axis]);
                let whole = (0..2).all(|axis| distance[axis].rem_euclid(step[axis] as isize) == 0);
                let source = std::array::from_fn(|axis| distance[axis].div_euclid(step[axis] as isize));
                whole.then_some((tap, source))
            })
            .unzip();
        let weights = pack(weight, [in_channels, dy.channels, window.taps()], &taps, Order::ColumnsAreInputs);
        phases.push(Phase { origin, step, source_step: [1, 1], taps: sources, weights });
    }
    gather(dy, &phases, None, [height, width, in_channels])
}

/// Which channels of a weight `[out, in, …]` are the columns of a panel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Order {
    ColumnsAreOutputs,
    ColumnsAreInputs,
}

/// Rows whose weights are packed together.
pub const AT_ONCE: usize = 16;

impl Order {
    /// The index of this pair of channels in the weight.
    pub fn at(self, row: usize, column: usize, rows: usize, columns: usize) -> usize {
        match self {
            Order::ColumnsAreOutputs => column * rows + row,
            Order::ColumnsAreInputs => row * columns + column,
        }
    }

    /// Calls with the column's position in the panel, the row relative to `rows` and the column, in the order of the weights in memory.
    pub fn each(self, columns: Range<usize>, rows: Range<usize>, mut call: impl FnMut(usize, usize, usize)) {
        match self {
            Order::ColumnsAreOutputs => {
                for (at, column) in columns.enumerate() {
                    (0..rows.len()).for_each(|row| call(at, row, column));
                }
            }
            Order::ColumnsAreInputs => {
                for row in 0..rows.len() {
                    columns.clone().enumerate().for_each(|(at, column)| call(at, row, column));
                }
            }
        }
    }
}

/// Packs the weights of some taps by panels of columns, with zeros beyond the last column.
fn pack(weight: &[f32], [columns, rows, all]: [usize; 3], taps: &[usize], order: Order) -> Vec<f32> {
    let width = panel_width(columns);
    let mut packed = vec![0.0; columns.div_ceil(width) * taps.len() * rows * width];
    if packed.is_empty() {
        return packed;
    }
    packed.par_chunks_mut(taps.len() * rows * width).enumerate().for_each(|(panel, packed)| {
        let here = panel * width..(panel * width + width).min(columns);
        for first in (0..rows).step_by(AT_ONCE) {
            order.each(here.clone(), first..(first + AT_ONCE).min(rows), |at, row, column| {
                let from = &weight[order.at(row + first, column, rows, columns) * all..][..all];
                for (slot, &tap) in taps.iter().enumerate() {
                    packed[(slot * rows + first + row) * width + at] = from[tap];
                }
            });
        }
    });
    packed
}

fn gather(x: &Images, phases: &[Phase], bias: Option<&[f32]>, [height, width, channels]: [usize; 3]) -> Vec<f32> {
    let rows = x.count * height;
    let mut out = vec![0.0; rows * width * channels];
    // Split by sizes alone: at least sixteen chunks if there are that many rows, so that a few threads end together.
    let rows_of_chunk = CHUNK_PIXELS.div_ceil(width).min(rows.div_ceil(16)).max(1);
    out.par_chunks_mut(rows_of_chunk * width * channels).enumerate().for_each(|(chunk, out)| {
        let first_row = chunk * rows_of_chunk;
        on_best(channels, Chunk { x, phases, bias, height, width, channels, first_row, out });
    });
    out
}

struct Chunk<'a> {
    x: &'a Images<'a>,
    phases: &'a [Phase],
    bias: Option<&'a [f32]>,
    height: usize,
    width: usize,
    channels: usize,
    first_row: usize,
    out: &'a mut [f32],
}

/// An output pixel: its index in the chunk, and the origin of its taps.
#[derive(Clone, Copy)]
struct Pixel {
    index: usize,
    image: usize,
    row: isize,
    column: isize,
}

impl Kernel for Chunk<'_> {
    type Result = ();

    #[inline(always)]
    fn with<V: Vector, const P: usize>(self) {
        let nothing = vec![0.0; self.x.channels];
        let mut unrolled = Vec::new();
        for phase in self.phases.iter().filter(|phase| !phase.taps.is_empty()) {
            let pixels = self.pixels(phase);
            if self.x.channels < FEW_CHANNELS {
                let depth = phase.taps.len() * self.x.channels;
                unroll(self.x, &pixels, &phase.taps, depth, &mut unrolled);
                let row = |pixel: usize, _: usize| &unrolled[pixel * depth..][..depth];
                multiply::<V, P>(row, &pixels, [1, depth], &phase.weights, self.bias, self.channels, self.out);
            } else {
                let row = |pixel: usize, tap: usize| {
                    let (pixel, tap) = (pixels[pixel], phase.taps[tap]);
                    match self.x.at(pixel.image, pixel.row + tap[0], pixel.column + tap[1]) {
                        Some(at) => &self.x.values[at..][..self.x.channels],
                        None => &nothing,
                    }
                };
                let sizes = [phase.taps.len(), self.x.channels];
                multiply::<V, P>(row, &pixels, sizes, &phase.weights, self.bias, self.channels, self.out);
            }
        }
    }
}

impl Chunk<'_> {
    fn pixels(&self, phase: &Phase) -> Vec<Pixel> {
        let rows = self.out.len() / (self.width * self.channels);
        let mut pixels = Vec::with_capacity(rows * self.width);
        for at in 0..rows {
            let row = self.first_row + at;
            let (image, row) = (row / self.height, row % self.height);
            if row % phase.step[0] != phase.origin[0] {
                continue;
            }
            for column in (phase.origin[1]..self.width).step_by(phase.step[1]) {
                pixels.push(Pixel {
                    index: (at * self.width + column) * self.channels,
                    image,
                    row: (row / phase.step[0] * phase.source_step[0]) as isize,
                    column: (column / phase.step[1] * phase.source_step[1]) as isize,
                });
            }
        }
        pixels
    }
}

/// The taps of each pixel side by side: `[pixel][tap][channel]`.
fn unroll(x: &Images, pixels: &[Pixel], taps: &[[isize; 2]], depth: usize, unrolled: &mut Vec<f32>) {
    unrolled.clear();
    unrolled.resize(pixels.len() * depth, 0.0);
    // Taps in one row of the kernel are also adjacent in the image.
    let runs: Vec<&[[isize; 2]]> = taps.chunk_by(|a, b| a[0] == b[0] && a[1] + 1 == b[1]).collect();
    for (pixel, mut patch) in pixels.iter().zip(unrolled.chunks_exact_mut(depth)) {
        for run in &runs {
            let (to, rest) = patch.split_at_mut(run.len() * x.channels);
            patch = rest;
            copy_run(x, pixel.image, [pixel.row + run[0][0], pixel.column + run[0][1]], to);
        }
    }
}

/// Copies adjacent pixels of one row, those inside the image.
pub fn copy_run(x: &Images, image: usize, [row, column]: [isize; 2], to: &mut [f32]) {
    let pixels = to.len() / x.channels;
    let first = (-column).clamp(0, pixels as isize) as usize;
    let end = (x.width as isize - column).clamp(first as isize, pixels as isize) as usize;
    if first < end
        && let Some(at) = x.at(image, row, column + first as isize)
    {
        let values = &x.values[at..][..(end - first) * x.channels];
        for (to, &value) in to[first * x.channels..].iter_mut().zip(values) {
            *to = value;
        }
    }
}

/// The products of all pixels with all panels. `row(pixel, tap)` gives `depth` values.
#[inline(always)]
fn multiply<'x, V: Vector, const P: usize>(
    row: impl Fn(usize, usize) -> &'x [f32],
    pixels: &[Pixel],
    [taps, depth]: [usize; 2],
    weights: &[f32],
    bias: Option<&[f32]>,
    channels: usize,
    out: &mut [f32],
) {
    let width = P * V::LANES;
    let group = (CACHED_BYTES / (depth * width * size_of::<f32>())).clamp(1, taps);
    for (panel, weights) in weights.chunks_exact(taps * depth * width).enumerate() {
        let columns = width.min(channels - panel * width);
        let mut start = vec![0.0; width];
        if let Some(bias) = bias {
            start[..columns].copy_from_slice(&bias[panel * width..][..columns]);
        }
        for (nth, weights) in weights.chunks(group * depth * width).enumerate() {
            for first in (0..pixels.len()).step_by(ROWS) {
                // The last rows lack pixels: the last pixel fills them and is written once.
                let mut these = [pixels.len() - 1; ROWS];
                these.iter_mut().zip(first..pixels.len()).for_each(|(this, pixel)| *this = pixel);
                let mut sums = [load::<V, P>(&start, width); ROWS];
                if nth > 0 {
                    for r in 0..ROWS {
                        sums[r] = load::<V, P>(&out[pixels[these[r]].index + panel * width..], columns);
                    }
                }
                for (tap, weights) in weights.chunks_exact(depth * width).enumerate() {
                    let mut rows = [&start[..0]; ROWS];
                    for r in 0..ROWS {
                        rows[r] = row(these[r], nth * group + tap);
                    }
                    sums = add_products(rows, weights, sums);
                }
                for (&pixel, &sums) in these.iter().zip(&sums).take(pixels.len() - first) {
                    store(sums, &mut out[pixels[pixel].index + panel * width..], columns);
                }
            }
        }
    }
}

/// `sums[r] += Σ rows[r][i] · weights[i]`, in the order of `i`.
#[inline(always)]
pub fn add_products<V: Vector, const R: usize, const P: usize>(
    rows: [&[f32]; R],
    weights: &[f32],
    mut sums: [[V; P]; R],
) -> [[V; P]; R] {
    let depth = weights.len() / (P * V::LANES);
    assert!(rows.iter().all(|row| row.len() >= depth));
    for (i, weights) in weights.chunks_exact(P * V::LANES).enumerate() {
        let weights = load::<V, P>(weights, P * V::LANES);
        for r in 0..R {
            // SAFETY: every row has a value for each chunk of the weights, as asserted above.
            let factor = V::splat(unsafe { *rows[r].get_unchecked(i) });
            for p in 0..P {
                sums[r][p] = factor.times_plus(weights[p], sums[r][p]);
            }
        }
    }
    sums
}

#[inline(always)]
pub fn load<V: Vector, const P: usize>(values: &[f32], columns: usize) -> [V; P] {
    let mut whole = [0.0; 64];
    let values = if columns == P * V::LANES {
        values
    } else {
        whole[..columns].copy_from_slice(&values[..columns]);
        &whole
    };
    // Not `from_fn`: a library function is compiled for the baseline processor and would be called, not inlined.
    let mut vectors = [V::splat(0.0); P];
    for (p, vector) in vectors.iter_mut().enumerate() {
        *vector = V::load(&values[p * V::LANES..]);
    }
    vectors
}

#[inline(always)]
pub fn store<V: Vector, const P: usize>(sums: [V; P], values: &mut [f32], columns: usize) {
    if columns == P * V::LANES {
        for (p, sum) in sums.into_iter().enumerate() {
            sum.store(&mut values[p * V::LANES..]);
        }
        return;
    }
    let mut whole = [0.0; 64];
    for (p, sum) in sums.into_iter().enumerate() {
        sum.store(&mut whole[p * V::LANES..]);
    }
    values[..columns].copy_from_slice(&whole[..columns]);
}

#[cfg(test)]
mod tests {
    use super::super::twins::*;
    use super::*;

    #[test]
    fn a_convolution_equals_the_sum_over_taps() {
        for case in cases() {
            let (x, weight) = (case.x(), case.weight());
            let ours = forward(&Images::new(&x, case.shape), &weight, None, case.out_channels, &case.window);
            let difference = difference(&ours, &slow_forward(&case));
            assert!(difference < 3e-6, "{:?} to {}, {:?}: {difference}", case.shape, case.out_channels, case.window);
        }
    }

    #[test]
    fn a_bias_is_the_start_of_every_sum() {
        for case in cases() {
            let (x, weight, bias) = (case.x(), case.weight(), noise(case.out_channels, 4));
            let x = Images::new(&x, case.shape);
            let ours = forward(&x, &weight, Some(&bias), case.out_channels, &case.window);
            let slow =
                slow_forward(&case).into_iter().zip(bias.iter().cycle()).map(|(sum, &bias)| sum + f64::from(bias));
            assert!(difference(&ours, &slow.collect::<Vec<_>>()) < 3e-6);
        }
    }

    #[test]
    fn the_input_gradient_sums_over_every_output_that_read_the_pixel() {
        for case in cases() {
            let (dy, weight) = (case.dy(), case.weight());
            let [_, height, width, channels] = case.shape;
            let dy = Images::new(&dy, case.out_shape());
            let ours = input_gradient(&dy, &weight, channels, [height, width], &case.window);
            let difference = difference(&ours, &slow_input_gradient(&case));
            assert!(difference < 3e-6, "{:?} to {}, {:?}: {difference}", case.shape, case.out_channels, case.window);
        }
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let case = Case { shape: [3, 40, 33, 40], out_channels: 70, window: square(3, 2, 1) };
        let (x, weight, dy) = (case.x(), case.weight(), case.dy());
        ensure_same_on_any_number_of_threads(|| {
            let out = forward(&Images::new(&x, case.shape), &weight, None, 70, &case.window);
            (out, input_gradient(&Images::new(&dy, case.out_shape()), &weight, 40, [40, 33], &case.window))
        });
    }
}
