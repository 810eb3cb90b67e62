//! 3 × 3 convolutions with stride 1 by Winograd's minimal filtering F(4×4, 3×3): 36 products where the sum over taps has 144.
//!
//! Tiles of 6 × 6 pixels of the input, four apart, and the weights are turned into 36 numbers each; numbers of one place are
//! multiplied with each other, as matrices over the channels; 36 sums become 4 × 4 pixels. The gradient with respect to the
//! input is the same convolution with the weights turned round; the one with respect to the weights multiplies the turned
//! tiles of input and gradient, summed over tiles. The matrices are those of Lavin and Gray (2015), for the points 0, ±1, ±2.
//! What rounding costs: about ten times the error of the sum over taps, still some 1e-6 of the largest number.

use std::ops::Range;

use rayon::prelude::*;

use super::gather::{AT_ONCE, Order, add_products, load, store};
use super::images::{Images, Window};
use super::memory;
use super::simd::{Vector, Work, on_best, panel_width};
use super::tiles::{
    IN, OUT, PLACES, Tiles, both_ways, output_along, taps_along, turn_gradient, turn_input, weights_along,
};

const ROWS: usize = 6;

/// Images of a batch for which [`pays`] decides. The batch at hand is not asked: the numbers of a clip would depend on how many
/// others are computed with it.
const BATCH: usize = 16;

/// Whether [`forward`] and [`input_gradient`] know this window, and need less time than the sum over taps.
pub fn pays(window: &Window, [height, width]: [usize; 2], channels: [usize; 2]) -> bool {
    let three = Window { padding: window.padding, kernel: [3, 3], stride: [1, 1], dilation: [1, 1] };
    let tiles = BATCH * height.div_ceil(OUT) * width.div_ceil(OUT);
    // Turning the weights costs as much as so many tiles do.
    let products = (tiles + 100) * PLACES;
    *window == three
        && window.padding.iter().all(|&padding| padding <= 2)
        && channels.iter().all(|&channels| channels >= 16)
        && products * 10 < BATCH * height * width * 9 * 8
}

/// `x * weight`; `weight` is `[out, in, 3, 3]`.
pub fn forward(x: &Images, weight: &[f32], out_channels: usize, window: &Window) -> Vec<f32> {
    let turned = turn_weights(weight, out_channels, x.channels, Order::ColumnsAreOutputs);
    multiply(x, &turned, out_channels, window.padding)
}

/// The gradient with respect to the input.
pub fn input_gradient(dy: &Images, weight: &[f32], in_channels: usize, window: &Window) -> Vec<f32> {
    let turned = turn_weights(weight, in_channels, dy.channels, Order::ColumnsAreInputs);
    multiply(dy, &turned, in_channels, window.padding.map(|padding| 2 - padding))
}

/// `[panel][place][row][column of the panel]`, zero beyond the last column.
fn turn_weights(weight: &[f32], columns: usize, rows: usize, order: Order) -> Vec<f32> {
    let width = panel_width(columns);
    let mut turned = vec![0.0; columns.div_ceil(width) * PLACES * rows * width];
    turned.par_chunks_mut(PLACES * rows * width).enumerate().for_each(|(panel, turned)| {
        let here = panel * width..(panel * width + width).min(columns);
        let mut taps = vec![0.0; 9 * AT_ONCE * width];
        for first in (0..rows).step_by(AT_ONCE) {
            let some = first..(first + AT_ONCE).min(rows);
            order.each(here.clone(), some, |at, row, column| {
                let from = &weight[order.at(row + first, column, rows, columns) * 9..][..9];
                for tap in 0..9 {
                    let turned_round = if order == Order::ColumnsAreOutputs { tap } else { 8 - tap };
                    taps[(row * 9 + tap) * width + at] = from[turned_round];
                }
            });
            on_best(columns, TurnWeights { taps: &taps, turned, first, rows });
        }
    });
    turned
}

struct TurnWeights<'a> {
    taps: &'a [f32],
    turned: &'a mut [f32],
    first: usize,
    rows: usize,
}

impl Work for TurnWeights<'_> {
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
                        value.store(&mut self.turned[to..]);
                    }
                }
            }
        }
    }
}

/// Tiles whose numbers are held at once: in the second-level cache with few channels; with many, enough that the weights that
/// pass by are not read for nothing.
fn tiles_of_block(channels: usize, tiles: usize) -> usize {
    let held = if channels <= 128 { 24 } else { 48 };
    held.min(tiles.div_ceil(8).next_multiple_of(ROWS)).max(ROWS)
}

fn multiply(x: &Images, turned: &[f32], out_channels: usize, padding: [usize; 2]) -> Vec<f32> {
    let size = [x.height + 2 * padding[0] - 2, x.width + 2 * padding[1] - 2];
    let tiles = Tiles::new(size, padding);
    let mut out = vec![0.0; x.count * size[0] * size[1] * out_channels];
    let count = tiles.count(x.count);
    let block = tiles_of_block(x.channels + out_channels, count);
    let pixels = Pixels(out.as_mut_ptr());
    (0..count.div_ceil(block)).into_par_iter().for_each(|nth| {
        let these = nth * block..(nth * block + block).min(count);
        on_best(out_channels, Block { x, turned, tiles, these, out_channels, pixels });
    });
    out
}

/// The output of all tiles. Each tile writes pixels of its own.
#[derive(Clone, Copy)]
struct Pixels(*mut f32);

// SAFETY: tasks write through the pointer where their own tiles lie, and nobody reads until all have ended.
unsafe impl Send for Pixels {}
// SAFETY: as above.
unsafe impl Sync for Pixels {}

struct Block<'a> {
    x: &'a Images<'a>,
    turned: &'a [f32],
    tiles: Tiles,
    these: Range<usize>,
    out_channels: usize,
    pixels: Pixels,
}

impl Work for Block<'_> {
    type Result = ();

    #[inline(always)]
    fn with<V: Vector, const P: usize>(self) {
        let (width, depth, count) = (P * V::LANES, self.x.channels, self.these.len());
        let [mut input, mut sums, third] = memory::borrow();
        input.resize(PLACES * count * depth, 0.0);
        for (nth, tile) in self.these.clone().enumerate() {
            turn_input::<V>(self.x, 0..depth, &self.tiles, tile, |place| (place * count + nth) * depth, &mut input);
        }
        let panels = self.out_channels.div_ceil(width);
        sums.resize(PLACES * count * panels * width, 0.0);
        for (place, (input, sums)) in
            input.chunks_exact(count * depth).zip(sums.chunks_exact_mut(count * panels * width)).enumerate()
        {
            for panel in 0..panels {
                let weights = &self.turned[(panel * PLACES + place) * depth * width..][..depth * width];
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
            self.turn_output::<V>(tile, |place| (place * count + nth) * panels * width, &sums);
        }
        memory::give_back([input, sums, third]);
    }
}

impl Block<'_> {
    #[inline(always)]
    fn turn_output<V: Vector>(&self, tile: usize, at: impl Fn(usize) -> usize, sums: &[f32]) {
        let (image, down, along) = self.tiles.place(tile);
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
                    // SAFETY: the pixel is inside the images, `first + LANES` is no more than the channels (at least 16, see
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

/// Whether [`GradientBlock`] knows this window and these channels of input and gradient, a panel of the input being so wide.
pub fn knows_gradient(window: &Window, [input, output]: [usize; 2], panel: usize) -> bool {
    let three = Window { padding: window.padding, kernel: [3, 3], stride: [1, 1], dilation: [1, 1] };
    *window == three && input % panel == 0 && panel >= 16 && output % 16 == 0
}

/// Tiles whose numbers of input and gradient stay in the second-level cache.
const GRADIENT_TILES: usize = 32;

/// The gradient of some weights, summed over some tiles.
pub struct GradientBlock<'a> {
    pub x: &'a Images<'a>,
    pub dy: &'a Images<'a>,
    pub tiles: Tiles,
    pub these: Range<usize>,
    /// A panel of channels that begins here.
    pub first_in: usize,
    pub outs: Range<usize>,
}

impl Work for GradientBlock<'_> {
    /// `[tap][output channel][column of the panel]`
    type Result = Vec<f32>;

    #[inline(always)]
    fn with<V: Vector, const P: usize>(self) -> Vec<f32> {
        let (width, outs) = (P * V::LANES, self.outs.len());
        let [mut input, mut sums, mut gradient] = memory::borrow();
        sums.clear();
        sums.resize(PLACES * outs * width, 0.0);
        for first in self.these.clone().step_by(GRADIENT_TILES) {
            let count = GRADIENT_TILES.min(self.these.end - first);
            input.resize(PLACES * count * width, 0.0);
            gradient.resize(PLACES * count * outs, 0.0);
            for nth in 0..count {
                let columns = self.first_in..self.first_in + width;
                let at = |place| (place * count + nth) * width;
                turn_input::<V>(self.x, columns, &self.tiles, first + nth, at, &mut input);
                let at = |place| (place * count + nth) * outs;
                turn_gradient::<V>(self.dy, self.outs.clone(), &self.tiles, first + nth, at, &mut gradient);
            }
            let places = input.chunks_exact(count * width).zip(gradient.chunks_exact(count * outs));
            for ((input, gradient), sums) in places.zip(sums.chunks_exact_mut(outs * width)) {
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

    fn known() -> Vec<Case> {
        let three = cases().into_iter().filter(|case| case.window == square(3, 1, case.window.padding[0]));
        let known: Vec<Case> = three.filter(|case| case.shape[3] >= 16 && case.out_channels >= 16).collect();
        assert!(known.len() >= 6);
        known
    }

    #[test]
    fn tiles_give_the_sum_over_taps() {
        for case in known() {
            let (x, weight) = (case.x(), case.weight());
            let ours = forward(&Images::new(&x, case.shape), &weight, case.out_channels, &case.window);
            let difference = difference(&ours, &slow_forward(&case));
            assert!(difference < 1e-5, "{:?} to {}, {:?}: {difference}", case.shape, case.out_channels, case.window);
        }
    }

    #[test]
    fn tiles_give_the_gradient_of_the_input() {
        for case in known() {
            let (dy, weight) = (case.dy(), case.weight());
            let dy = Images::new(&dy, case.out_shape());
            let ours = input_gradient(&dy, &weight, case.shape[3], &case.window);
            let difference = difference(&ours, &slow_input_gradient(&case));
            assert!(difference < 1e-5, "{:?} to {}, {:?}: {difference}", case.shape, case.out_channels, case.window);
        }
    }

    #[test]
    fn threads_change_no_bit() {
        let case = Case { shape: [3, 40, 33, 64], out_channels: 64, window: square(3, 1, 1) };
        let (x, weight) = (case.x(), case.weight());
        ensure_same_on_any_threads(|| forward(&Images::new(&x, case.shape), &weight, 64, &case.window));
    }

    #[test]
    fn only_what_the_tiles_know_is_theirs() {
        let large = [32, 20];
        assert!(pays(&square(3, 1, 1), large, [64, 64]));
        assert!(!pays(&square(3, 2, 1), large, [64, 64]) && !pays(&square(1, 1, 0), large, [64, 64]));
        assert!(!pays(&square(3, 1, 3), large, [64, 64]), "the turned window has a padding of 2 less its own");
        assert!(!pays(&square(3, 1, 1), large, [3, 64]) && !pays(&square(3, 1, 1), [8, 5], [512, 512]));
    }
}
