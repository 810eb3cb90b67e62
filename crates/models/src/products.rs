//! Dense linear algebra: products of matrices and panels, sums over pairs of f32 rows.
//!
//! Conventions: data are f32; sums are f64. A product of two f32 is exact in f64, so a sum over 66,150 columns
//! keeps about 12 digits where f32 would keep 4; the subtractions that follow (centring, ‖a‖² + ‖b‖² - 2ab) can lose some. Panels of f32
//! are for what is measured again in f64 (`neighbours.rs`).
//! Sums have a fixed order. A product runs on one thread, so that callers distribute fixed tiles; those of networks in f32 divide the
//! rows and columns of the result among threads. The number of threads does not change a bit.

use gemm::{Parallelism, gemm};

/// The number of feature columns that are widened to f64 at once: enough to pay for packing, few enough to stay in cache.
pub const PANEL_COLUMNS: usize = 1024;

/// A matrix inside a slice, with a step per row and per column.
#[derive(Clone, Copy)]
pub struct View<'a, T = f64> {
    values: &'a [T],
    rows: usize,
    columns: usize,
    row_step: usize,
    column_step: usize,
}

impl<'a, T> View<'a, T> {
    /// The element of row `r` and column `c` is at `r * row_step + c * column_step`.
    pub fn new(values: &'a [T], rows: usize, columns: usize, row_step: usize, column_step: usize) -> Self {
        assert!(reach(rows, columns, row_step, column_step) <= values.len(), "a view must stay inside its slice");
        View { values, rows, columns, row_step, column_step }
    }

    /// The same matrix with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        View { rows: self.columns, columns: self.rows, row_step: self.column_step, column_step: self.row_step, ..self }
    }
}

fn reach(rows: usize, columns: usize, row_step: usize, column_step: usize) -> usize {
    if rows == 0 || columns == 0 { 0 } else { (rows - 1) * row_step + (columns - 1) * column_step + 1 }
}

/// `out += a · b`; the element of row `r` and column `c` of `out` is at `r * row_step + c * column_step`.
pub fn add_product<T: From<f32> + 'static>(out: &mut [T], row_step: usize, column_step: usize, a: View<T>, b: View<T>) {
    add(out, row_step, column_step, a, b, Parallelism::None);
}

/// [`add_product`] on all threads, if it is large.
pub fn add_product_in_parallel(out: &mut [f32], row_step: usize, column_step: usize, a: View<f32>, b: View<f32>) {
    const LARGE: usize = 192 * 192 * 192;
    let is_large = a.rows.saturating_mul(b.columns).saturating_mul(a.columns) >= LARGE;
    // With 0, as many as the pool has.
    add(out, row_step, column_step, a, b, if is_large { Parallelism::Rayon(0) } else { Parallelism::None });
}

fn add<T: From<f32> + 'static>(
    out: &mut [T],
    row_step: usize,
    column_step: usize,
    a: View<T>,
    b: View<T>,
    parallelism: Parallelism,
) {
    assert_eq!(a.columns, b.rows, "the inner sizes of a product must agree");
    assert!(reach(a.rows, b.columns, row_step, column_step) <= out.len(), "a product must stay inside its slice");
    if a.rows == 0 || b.columns == 0 || a.columns == 0 {
        return;
    }
    // SAFETY: both views checked their reach when they were created, the reach of `out` is checked above, and `out` is borrowed
    // mutably, so it overlaps neither.
    unsafe {
        gemm(
            a.rows,
            b.columns,
            a.columns,
            out.as_mut_ptr(),
            column_step as isize,
            row_step as isize,
            true,
            a.values.as_ptr(),
            a.column_step as isize,
            a.row_step as isize,
            b.values.as_ptr(),
            b.column_step as isize,
            b.row_step as isize,
            T::from(1.0),
            T::from(1.0),
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// Sum of products of two f64 vectors.
pub fn dot64(a: &[f64], b: &[f64]) -> f64 {
    let (a, a_rest) = a.as_chunks::<8>();
    let (b, b_rest) = b.as_chunks::<8>();
    let mut lanes = [0.0f64; 8];
    for (x, y) in a.iter().zip(b) {
        (0..8).for_each(|i| lanes[i] += x[i] * y[i]);
    }
    lanes.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum::<f64>()
}

/// Sum of products, in f64.
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    sum_of_pairs(a, b, |x, y| x * y)
}

/// Sum of squared differences, in f64.
pub fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    sum_of_pairs(a, b, |x, y| (x - y) * (x - y))
}

/// Sum of absolute differences, in f64.
pub fn manhattan_distance(a: &[f32], b: &[f32]) -> f64 {
    sum_of_pairs(a, b, |x, y| (x - y).abs())
}

// Eight partial sums in a fixed order, which the compiler can keep in vector registers.
#[inline(always)]
fn sum_of_pairs(a: &[f32], b: &[f32], term: impl Fn(f64, f64) -> f64) -> f64 {
    assert_eq!(a.len(), b.len(), "two rows must have the same length");
    let (a, a_rest) = a.as_chunks::<8>();
    let (b, b_rest) = b.as_chunks::<8>();
    let mut lanes = [0.0f64; 8];
    for (x, y) in a.iter().zip(b) {
        (0..8).for_each(|i| lanes[i] += term(f64::from(x[i]), f64::from(y[i])));
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(&x, &y)| term(f64::from(x), f64::from(y))).sum();
    lanes.iter().sum::<f64>() + rest
}

/// The sum of absolute differences to about six digits at twice the speed: f32 sums in 16 lanes over at most 256 columns.
pub fn rough_manhattan_distance(a: &[f32], b: &[f32]) -> f64 {
    let mut total = 0.0f64;
    for (a, b) in a.chunks(256).zip(b.chunks(256)) {
        let (a, a_rest) = a.as_chunks::<16>();
        let (b, b_rest) = b.as_chunks::<16>();
        let mut lanes = [0.0f32; 16];
        for (x, y) in a.iter().zip(b) {
            (0..16).for_each(|i| lanes[i] += (x[i] - y[i]).abs());
        }
        let rest: f32 = a_rest.iter().zip(b_rest).map(|(x, y)| (x - y).abs()).sum();
        total += f64::from(lanes.iter().sum::<f32>() + rest);
    }
    total
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sums_over_pairs_equal_their_slow_twins(pairs in prop::collection::vec((-9.0f32..9.0, -9.0f32..9.0), 0..600)) {
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.iter().copied().unzip();
            let slow = |term: fn(f64, f64) -> f64| pairs.iter().map(|&(x, y)| term(x.into(), y.into())).sum::<f64>();
            let wide = |v: &[f32]| v.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
            prop_assert!((dot(&a, &b) - slow(|x, y| x * y)).abs() < 1e-9);
            prop_assert!((dot64(&wide(&a), &wide(&b)) - slow(|x, y| x * y)).abs() < 1e-9);
            prop_assert!((squared_distance(&a, &b) - slow(|x, y| (x - y).powi(2))).abs() < 1e-9);
            let manhattan = slow(|x, y| (x - y).abs());
            prop_assert!((manhattan_distance(&a, &b) - manhattan).abs() < 1e-9);
            prop_assert!((rough_manhattan_distance(&a, &b) - manhattan).abs() <= 1e-5 * manhattan);
        }

        #[test]
        fn a_product_of_views_equals_the_triple_loop(
            (m, n, k) in (1usize..9, 1usize..9, 1usize..40),
            values in prop::collection::vec(-3.0f64..3.0, 720),
        ) {
            // a is row-major, b is transposed: row-major n × k.
            let (a, b) = (&values[..m * k], &values[360..360 + n * k]);
            let mut out = vec![1.0; m * n];
            add_product(&mut out, n, 1, View::new(a, m, k, k, 1), View::new(b, n, k, k, 1).transposed());
            for i in 0..m {
                for j in 0..n {
                    let slow = 1.0 + (0..k).map(|l| a[i * k + l] * b[j * k + l]).sum::<f64>();
                    prop_assert!((out[i * n + j] - slow).abs() < 1e-9);
                }
            }
        }
    }
}
