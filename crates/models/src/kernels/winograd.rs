//! 3 × 3 convolutions with stride 1 by Winograd's minimal filtering F(4×4, 3×3): 36 products where the sum over taps has 144.
//!
//! Input tiles of 6 × 6 pixels, four apart, and the weights are transformed into 36 values each; the values of each position are
//! multiplied as matrices over the channels; 36 sums become 4 × 4 pixels. The gradient with respect to the input is the same
//! convolution with rotated weights; that with respect to the weights multiplies the transformed tiles of input and gradient,
//! summed over tiles. The matrices are those of Lavin and Gray (2015), for the points 0, ±1, ±2. The rounding error is about ten
//! times that of the sum over taps, still about 1e-6 of the largest value.

use std::ops::Range;

use rayon::prelude::*;

use super::gather::{AT_ONCE, Order, add_products, load, store};
use super::images::{Images, Window};
use super::memory;
use super::simd::{Kernel, Vector, on_best, panel_width};
use super::tiles::{
    IN, OUT, POSITIONS, Tiles, both_ways, output_along, taps_along, transform_gradient, transform_input, weights_along,
};

const ROWS: usize = 6;

/// The batch size for which [`pays`] decides. It must not use the actual batch: the numbers of a clip would depend on how many
/// others are computed with it.
const BATCH: usize = 16;

/// Whether [`forward`] and [`input_gradient`] support this window and are faster than the sum over taps.
pub fn pays(window: &Window, [height, width]: [usize; 2], channels: [usize; 2]) -> bool {
    let three = Window { padding: window.padding, kernel: [3, 3], stride: [1, 1], dilation: [1, 1] };
    let tiles = BATCH * height.div_ceil(OUT) * width.div_ceil(OUT);
    // Transforming the weights costs as much as this many tiles.
    let products = (tiles + 100) * POSITIONS;
    *window == three
        && window.padding.iter().all(|&padding| padding <= 2)
        && channels.iter().all(|&channels| channels >= 16)
        && products * 10 < BATCH * height * width * 9 * 8
}

/// `x * weight`; `weight` is `[out, in, 3, 3]`.
pub fn forward(x: &Images, weight: &[f32], out_channels: usize, window: &Window) -> Vec<f32> {
    let transformed = transform_weights(weight, out_channels, x.channels, Order::ColumnsAreOutputs);
    multiply(x, &transformed, out_channels, window.padding)
}

/// The gradient with respect to the input.
pub fn input_gradient(dy: &Images, weight: &[f32], in_channels: usize, window: &Window) -> Vec<f32> {
    let transformed = transform_weights(weight, in_channels, dy.channels, Order::ColumnsAreInputs);
    multiply(dy, &transformed, in_channels, window.padding.map(|padding| 2 - padding))
}

/// `[panel][position][row][column of the panel]`, zero beyond the last column.
fn transform_weights(weight: &[f32], columns: usize, rows: usize, order: Order) -> Vec<f32> {
    let width = panel_width(columns);
    let mut transformed = vec![0.0; columns.div_ceil(width) * POSITIONS * rows * width];
    transformed.par_chunks_mut(POSITIONS * rows * width).enumerate().for_each(|(panel, transformed)| {
        let here = panel * width..(panel * width + width).min(columns);
        let mut taps = vec![0.0; 9 * AT_ONCE * width];
        for first in (0..rows).step_by(AT_ONCE) {
            let some = first..(first + AT_ONCE).min(rows);
            order.each(here.clone(), some, |at, row, column| {
                let from = &weight[order.at(row + first, column, rows, columns) * 9..][..9];
                for tap in 0..9 {
                    let tap_of_weight = if order == Order::ColumnsAreOutputs { tap } else { 8 - tap };
                    taps[(row * 9 + tap) * width + at] = from[tap_of_weight];
                }
            });
            on_best(columns, TransformWeights { taps: &taps, transformed, first, rows });
        }
    });
    transformed
}

struct TransformWeights<'a> {
    taps: &'a [f32],
    transformed: &'a mut [f32],
    first: usize,
    rows: usize,
}

impl Kernel for TransformWeights<'_> {
    type Result = ();

    #[inline(always)]
    fn with<V: Vector, const P: usize>(self) {
        let width = P * V::LANES;
        for at in 0..AT_ONCE.min(self.rows - self.first) {
            for p in 0..P {
                let mut taps = [[V::splat(0.0); 3]; 3];
                for (row, taps) in taps.iter_mut().enumerate() {
                    for (column, tap) in taps.iter_mut().enumerate() {
                        *tap = V::load(&self.taps[(at * 9 + row * 3 + column) * width + p * V::LANES..]);
                    }
                }
                for (row, values) in both_ways!(taps, 3, IN, weights_along).into_iter().enumerate() {
                    for (column, value) in values.into_iter().enumerate() {
                        let to = ((row * IN + column) * self.rows + self.first + at) * width + p * V::LANES;
                        value.store(&mut self.transformed[to..]);
                    }
                }
            }
        }
    }
}

/// Tiles whose values are held at once: for few channels they fit the second-level cache; for many there are enough of them to
/// amortize reading the weights.
fn tiles_of_block(channels: usize, tiles: usize) -> usize {
    let held = if channels <= 128 { 24 } else { 48 };
    held.min(tiles.div_ceil(8).next_multiple_of(ROWS)).max(ROWS)
}

fn multiply(x: &Images, transformed: &[f32], out_channels: usize, padding: [usize; 2]) -> Vec<f32> {
    let size = [x.height + 2 * padding[0] - 2, x.width + 2 * padding[1] - 2];
    let tiles = Tiles::new(size, padding);
    let mut out = vec![0.0; x.count * size[0] * size[1] * out_channels];
    let count = tiles.count(x.count);
    let block = tiles_of_block(x.channels + out_channels, count);
    let pixels = Pixels(out.as_mut_ptr());
    (0..count.div_ceil(block)).into_par_iter().for_each(|nth| {
        let these = nth * block..(nth * block + block).min(count);
        on_best(out_channels, Block { x, transformed, tiles, these, out_channels, pixels });
    });
    out
}

/// The output of all tiles. Each tile writes its own pixels.
#[derive(Clone, Copy)]
struct Pixels(*mut f32);

// SAFETY: tasks write through the pointer only to their own tiles' pixels, and nothing reads until all have ended.
unsafe impl Send for Pixels {}
// SAFETY: as above.
unsafe impl Sync for Pixels {}

struct Block<'a> {
    x: &'a Images<'a>,
    transformed: &'a [f32],
    tiles: Tiles,
    these: Range<usize>,
    out_channels: usize,
    pixels: Pixels,
}

impl Kernel for Block<'_> {
    type Result = ();

    #[inline(always)]
    fn with<V: Vector, const P: usize>(self) {
        let (width, depth, count) = (P * V::LANES, self.x.channels, self.these.len());
        let [mut input, mut sums, third] = memory::take();
        input.resize(POSITIONS * count * depth, 0.0);
        for (nth, tile) in self.these.clone().enumerate() {
            transform_input::<V>(
                self.x,
                0..depth,
                &self.tiles,
                tile,
                |position| (position * count + nth) * depth,
                &mut input,
            );
        }
        let panels = self.out_channels.div_ceil(width);
        sums.resize(POSITIONS * count * panels * width, 0.0);
        for (position, (input, sums)) in
            input.chunks_exact(count * depth).zip(sums.chunks_exact_mut(count * panels * width)).enumerate()
        {
            for panel in 0..panels {
                let weights = &self.transformed[(panel * POSITIONS + position) * depth * width..][..depth * width];
                for first in (0..count).step_by(ROWS) {
                    let mut rows = [&input[..0]; ROWS];
                    for (r, row) in rows.iter_mut().enumerate() {
                        *row = &input[(first + r).min(count - 1) * depth..][..depth];
                    }
                    let products = add_products(rows, weights, [[V::splat(0.0); P]; ROWS]);
                    for (r, products) in products.into_iter().take(count - first).enumerate() {
                        store(products, &mut sums[((first + r) * panels + panel) * width..], width);
                    }
                }
            }
        }
        for (nth, tile) in self.these.clone().enumerate() {
            self.transform_output::<V>(tile, |position| (position * count + nth) * panels * width, &sums);
        }
        memory::give_back([input, sums, third]);
    }
}

impl Block<'_> {
    #[inline(always)]
    fn transform_output<V: Vector>(&self, tile: usize, at: impl Fn(usize) -> usize, sums: &[f32]) {
        let (image, down, along) = self.tiles.position(tile);
        let [height, width] = self.tiles.size;
        let mut channel = 0;
        while channel < self.out_channels {
            let first = channel.min(self.out_channels.saturating_sub(V::LANES));
            let mut values = [[V::splat(0.0); IN]; IN];
            for (row, values) in values.iter_mut().enumerate() {
                for (column, value) in values.iter_mut().enumerate() {
                    *value = V::load(&sums[at(row * IN + column) + first..]);
                }
            }
            let values = both_ways!(values, IN, OUT, output_along);
            for (row, values) in values.into_iter().enumerate().take(height - down) {
                for (column, value) in values.into_iter().enumerate().take(width - along) {
                    let pixel = (image * height + down + row) * width + along + column;
                    // SAFETY: the pixel is inside the images, `first + LANES` is at most the number of channels (at least 16, see
                    // `pays`), and the pixel belongs to this tile alone.
                    let to = unsafe {
                        std::slice::from_raw_parts_mut(self.pixels.0.add(pixel * self.out_channels + first), V::LANES)
                    };
                    value.store(to);
                }
            }
            channel += V::LANES;
        }
    }
}

/// Whether [`GradientBlock`] supports this window and these channels of input and gradient, for input panels `panel` wide.
pub fn supports_gradient(window: &Window, [input, output]: [usize; 2], panel: usize) -> bool {
    let three = Window { padding: window.padding, kernel: [3, 3], stride: [1, 1], dilation: [1, 1] };
    *window == three && input % panel == 0 && panel >= 16 && output % 16 == 0
}

/// Tiles whose transformed input and gradient stay in the second-level cache.
const GRADIENT_TILES: usize = 32;

/// The gradient of some weights, summed over some tiles.
pub struct GradientBlock<'a> {
    pub x: &'a Images<'a>,
    pub dy: &'a Images<'a>,
    pub tiles: Tiles,
    pub these: Range<usize>,
    /// The first channel of a panel.
    pub first_in: usize,
    pub outs: Range<usize>,
}

impl Kernel for GradientBlock<'_> {
    /// `[tap][output channel][column of the panel]`
    type Result = Vec<f32>;

    #[inline(always)]
    fn with<V: Vector, const P: usize>(self) -> Vec<f32> {
        let (width, outs) = (P * V::LANES, self.outs.len());
        let [mut input, mut sums, mut gradient] = memory::take();
        sums.clear();
        sums.resize(POSITIONS * outs * width, 0.0);
        for first in self.these.clone().step_by(GRADIENT_TILES) {
            let count = GRADIENT_TILES.min(self.these.end - first);
            input.resize(POSITIONS * count * width, 0.0);
            gradient.resize(POSITIONS * count * outs, 0.0);
            for nth in 0..count {
                let columns = self.first_in..self.first_in + width;
                let at = |position| (position * count + nth) * width;
                transform_input::<V>(self.x, columns, &self.tiles, first + nth, at, &mut input);
                let at = |position| (position * count + nth) * outs;
                transform_gradient::<V>(self.dy, self.outs.clone(), &self.tiles, first + nth, at, &mut gradient);
            }
            let positions = input.chunks_exact(count * width).zip(gradient.chunks_exact(count * outs));
            for ((input, gradient), sums) in positions.zip(sums.chunks_exact_mut(outs * width)) {
                add_outer_products::<V, P>(gradient, outs, input, sums);
            }
        }
        let mut taps = vec![0.0; 9 * outs * width];
        for at in (0..outs * width).step_by(V::LANES) {
            let mut values = [[V::splat(0.0); IN]; IN];
            for (row, values) in values.iter_mut().enumerate() {
                for (column, value) in values.iter_mut().enumerate() {
                    *value = V::load(&sums[(row * IN + column) * outs * width + at..]);
                }
            }
            for (row, values) in both_ways!(values, IN, 3, taps_along).into_iter().enumerate() {
                for (column, value) in values.into_iter().enumerate() {
                    value.store(&mut taps[(row * 3 + column) * outs * width + at..]);
                }
            }
        }
        memory::give_back([input, sums, gradient]);
        taps
    }
}

/// `sums[out][column] += Σ gradient[tile][out] · input[tile][column]`
#[inline(always)]
fn add_outer_products<V: Vector, const P: usize>(gradient: &[f32], outs: usize, input: &[f32], sums: &mut [f32]) {
    let width = P * V::LANES;
    let mut out = 0;
    for sums in sums.chunks_mut(ROWS * width) {
        if sums.len() == ROWS * width {
            add_rows::<V, ROWS, P>(&gradient[out..], outs, input, sums);
        } else {
            for (r, sums) in sums.chunks_exact_mut(2 * width).enumerate() {
                add_rows::<V, 2, P>(&gradient[out + 2 * r..], outs, input, sums);
            }
        }
        out += ROWS;
    }
}

#[inline(always)]
fn add_rows<V: Vector, const R: usize, const P: usize>(gradient: &[f32], outs: usize, input: &[f32], sums: &mut [f32]) {
    let width = P * V::LANES;
    let mut held = [[V::splat(0.0); P]; R];
    for r in 0..R {
        held[r] = load(&sums[r * width..], width);
    }
    for (gradient, input) in gradient.chunks(outs).zip(input.chunks_exact(width)) {
        let (gradient, input) = (&gradient[..R], load::<V, P>(input, width));
        for r in 0..R {
            let factor = V::splat(gradient[r]);
            for p in 0..P {
                held[r][p] = factor.times_plus(input[p], held[r][p]);
            }
        }
    }
    for (r, held) in held.into_iter().enumerate() {
        store(held, &mut sums[r * width..], width);
    }
}

#[cfg(test)]
mod tests {
    use super::super::twins::*;
    use super::*;

    fn supported() -> Vec<Case> {
        let three = cases().into_iter().filter(|case| case.window == square(3, 1, case.window.padding[0]));
        let supported: Vec<Case> = three.filter(|case| case.shape[3] >= 16 && case.out_channels >= 16).collect();
        assert!(supported.len() >= 6);
        supported
    }

    #[test]
    fn tiles_give_the_same_as_the_sum_over_taps() {
        for case in supported() {
            let (x, weight) = (case.x(), case.weight());
            let ours = forward(&Images::new(&x, case.shape), &weight, case.out_channels, &case.window);
            let difference = difference(&ours, &slow_forward(&case));
            assert!(difference < 1e-5, "{:?} to {}, {:?}: {difference}", case.shape, case.out_channels, case.window);
        }
    }

    #[test]
    fn tiles_give_the_input_gradient() {
        for case in supported() {
            let (dy, weight) = (case.dy(), case.weight());
            let dy = Images::new(&dy, case.out_shape());
            let ours = input_gradient(&dy, &weight, case.shape[3], &case.window);
            let difference = difference(&ours, &slow_input_gradient(&case));
            assert!(difference < 1e-5, "{:?} to {}, {:?}: {difference}", case.shape, case.out_channels, case.window);
        }
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let case = Case { shape: [3, 40, 33, 64], out_channels: 64, window: square(3, 1, 1) };
        let (x, weight) = (case.x(), case.weight());
        ensure_same_on_any_number_of_threads(|| forward(&Images::new(&x, case.shape), &weight, 64, &case.window));
    }

    #[test]
    fn only_supported_convolutions_that_are_faster_use_tiles() {
        let large = [32, 20];
        assert!(pays(&square(3, 1, 1), large, [64, 64]));
        assert!(!pays(&square(3, 2, 1), large, [64, 64]) && !pays(&square(1, 1, 0), large, [64, 64]));
        assert!(!pays(&square(3, 1, 3), large, [64, 64]), "the rotated window has a padding of 2 minus its own");
        assert!(!pays(&square(3, 1, 1), large, [3, 64]) && !pays(&square(3, 1, 1), [8, 5], [512, 512]));
    }
}
