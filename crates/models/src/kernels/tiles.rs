//! The tiles of Winograd's minimal filtering F(4×4, 3×3), and the matrices that transform them (see `winograd.rs`).

use std::ops::Range;

use super::images::Images;
use super::simd::Vector;

/// Output and input pixels of a tile along one axis.
pub const OUT: usize = 4;
pub const IN: usize = 6;
pub const POSITIONS: usize = IN * IN;

/// The positions of the tiles of a batch.
#[derive(Clone, Copy)]
pub struct Tiles {
    down: usize,
    along: usize,
    /// Rows and columns of the output.
    pub size: [usize; 2],
    padding: [usize; 2],
}

impl Tiles {
    pub fn new(size: [usize; 2], padding: [usize; 2]) -> Tiles {
        Tiles { down: size[0].div_ceil(OUT), along: size[1].div_ceil(OUT), size, padding }
    }

    pub fn count(&self, images: usize) -> usize {
        images * self.down * self.along
    }

    /// The image of a tile, and its first output row and column.
    pub fn position(&self, tile: usize) -> (usize, usize, usize) {
        let (image, tile) = (tile / (self.down * self.along), tile % (self.down * self.along));
        (image, tile / self.along * OUT, tile % self.along * OUT)
    }
}

/// Transforms `N × N` vectors into `M × M`, rows first.
macro_rules! both_ways {
    ($values:expr, $n:expr, $m:expr, $along:ident) => {{
        let values = $values;
        let mut half = [[V::splat(0.0); $n]; $m];
        for column in 0..$n {
            let mut line = [V::splat(0.0); $n];
            for row in 0..$n {
                line[row] = values[row][column];
            }
            let line = $along(line);
            for row in 0..$m {
                half[row][column] = line[row];
            }
        }
        let mut whole = [[V::splat(0.0); $m]; $m];
        for row in 0..$m {
            whole[row] = $along(half[row]);
        }
        whole
    }};
}
pub(super) use both_ways;

/// G · g
#[inline(always)]
pub fn weights_along<V: Vector>([a, b, c]: [V; 3]) -> [V; IN] {
    let (even, odd) = (a.plus(c).times(V::splat(-1.0 / 6.0)), b.times(V::splat(-1.0 / 6.0)));
    let wide = c.times(V::splat(1.0 / 6.0)).plus(a.times(V::splat(1.0 / 24.0)));
    let step = b.times(V::splat(1.0 / 12.0));
    [a.times(V::splat(0.25)), even.plus(odd), even.minus(odd), wide.plus(step), wide.minus(step), c]
}

/// Bᵀ · d
#[inline(always)]
pub fn input_along<V: Vector>(d: [V; IN]) -> [V; IN] {
    let (two, four) = (V::splat(2.0), V::splat(4.0));
    let minus_five = V::splat(-5.0);
    let even = d[4].minus(four.times(d[2]));
    let odd = d[3].minus(four.times(d[1]));
    let (near, far) = (d[4].minus(d[2]), two.times(d[3].minus(d[1])));
    [
        four.times_plus(d[0], minus_five.times_plus(d[2], d[4])),
        even.plus(odd),
        even.minus(odd),
        near.plus(far),
        near.minus(far),
        four.times_plus(d[1], minus_five.times_plus(d[3], d[5])),
    ]
}

/// Aᵀ · m
#[inline(always)]
pub fn output_along<V: Vector>(m: [V; IN]) -> [V; OUT] {
    let (two, four, eight) = (V::splat(2.0), V::splat(4.0), V::splat(8.0));
    let (near, far) = (m[1].plus(m[2]), m[3].plus(m[4]));
    let (left, right) = (m[1].minus(m[2]), m[3].minus(m[4]));
    [
        m[0].plus(near).plus(far),
        two.times_plus(right, left),
        four.times_plus(far, near),
        eight.times_plus(right, left).plus(m[5]),
    ]
}

/// A · y
#[inline(always)]
pub fn gradient_along<V: Vector>(y: [V; OUT]) -> [V; IN] {
    let (two, four, eight) = (V::splat(2.0), V::splat(4.0), V::splat(8.0));
    let (even, odd) = (y[0].plus(y[2]), y[1].plus(y[3]));
    let (far_even, far_odd) = (four.times_plus(y[2], y[0]), eight.times_plus(y[3], two.times(y[1])));
    [y[0], even.plus(odd), even.minus(odd), far_even.plus(far_odd), far_even.minus(far_odd), y[3]]
}

/// Gᵀ · u
#[inline(always)]
pub fn taps_along<V: Vector>(u: [V; IN]) -> [V; 3] {
    let (near, far) = (u[1].plus(u[2]), u[3].plus(u[4]));
    let (left, right) = (u[1].minus(u[2]), u[3].minus(u[4]));
    let (sixth, twelfth, small) = (V::splat(-1.0 / 6.0), V::splat(1.0 / 12.0), V::splat(1.0 / 24.0));
    [
        V::splat(0.25).times_plus(u[0], sixth.times_plus(near, small.times(far))),
        sixth.times_plus(left, twelfth.times(right)),
        sixth.times_plus(near.minus(far), u[5]),
    ]
}

/// Writes the 36 transformed values of every channel of an input tile, beginning at `at(position)`.
#[inline(always)]
pub fn transform_input<V: Vector>(
    x: &Images,
    channels: Range<usize>,
    tiles: &Tiles,
    tile: usize,
    at: impl Fn(usize) -> usize,
    transformed: &mut [f32],
) {
    let (image, down, along) = tiles.position(tile);
    let first = [down as isize - tiles.padding[0] as isize, along as isize - tiles.padding[1] as isize];
    let mut from = [[None; IN]; IN];
    for (row, from) in from.iter_mut().enumerate() {
        for (column, from) in from.iter_mut().enumerate() {
            *from = x.at(image, first[0] + row as isize, first[1] + column as isize);
        }
    }
    transform::<V, IN>(x, channels, from, at, transformed, |values| both_ways!(values, IN, IN, input_along));
}

/// Writes the 36 transformed values of every channel of a gradient tile.
#[inline(always)]
pub fn transform_gradient<V: Vector>(
    dy: &Images,
    channels: Range<usize>,
    tiles: &Tiles,
    tile: usize,
    at: impl Fn(usize) -> usize,
    transformed: &mut [f32],
) {
    let (image, down, along) = tiles.position(tile);
    let mut from = [[None; OUT]; OUT];
    for (row, from) in from.iter_mut().enumerate() {
        for (column, from) in from.iter_mut().enumerate() {
            *from = dy.at(image, (down + row) as isize, (along + column) as isize);
        }
    }
    transform::<V, OUT>(dy, channels, from, at, transformed, |values| both_ways!(values, OUT, IN, gradient_along));
}

#[inline(always)]
fn transform<V: Vector, const N: usize>(
    x: &Images,
    channels: Range<usize>,
    from: [[Option<usize>; N]; N],
    at: impl Fn(usize) -> usize,
    transformed: &mut [f32],
    transform: impl Fn([[V; N]; N]) -> [[V; IN]; IN],
) {
    let mut channel = channels.start;
    while channel < channels.end {
        // The last vector starts early enough to end with the last channel; some channels are then transformed twice.
        let first = channel.min(channels.end - V::LANES);
        let mut values = [[V::splat(0.0); N]; N];
        for (values, from) in values.iter_mut().zip(&from) {
            for (value, from) in values.iter_mut().zip(from) {
                if let Some(from) = from {
                    *value = V::load(&x.values[from + first..]);
                }
            }
        }
        for (row, values) in transform(values).into_iter().enumerate() {
            for (column, value) in values.into_iter().enumerate() {
                value.store(&mut transformed[at(row * IN + column) + first - channels.start..]);
            }
        }
        channel += V::LANES;
    }
}
