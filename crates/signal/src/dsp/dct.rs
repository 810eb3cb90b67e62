//! The discrete cosine transform of columns: type II with orthonormal scaling (scipy's `dct(type=2, norm="ortho")`).
//!
//! Only a few outputs of short inputs are needed (20 of 128), so a dense product over contiguous frames is fastest.

use std::f64::consts::PI;

/// The first `outputs` rows of the orthonormal matrix of size `inputs`, row-major.
pub fn matrix(outputs: usize, inputs: usize) -> Vec<f32> {
    let mut matrix = Vec::with_capacity(outputs * inputs);
    for k in 0..outputs {
        let scale = (if k == 0 { 1.0 } else { 2.0 } / inputs as f64).sqrt();
        matrix.extend((0..inputs).map(|n| {
            // The angle repeats after 4 * inputs half steps; reducing it first keeps it exact.
            let steps = (k * (2 * n + 1)) % (4 * inputs);
            (scale * (PI * steps as f64 / (2 * inputs) as f64).cos()) as f32
        }));
    }
    matrix
}

/// The transform of each column of `input` (`inputs` rows of `cols` values): the product with `matrix`.
///
/// ```
/// use timbre_signal::dsp::dct;
///
/// let coefficients = dct::transform_columns(&dct::matrix(2, 4), &[1.0; 4], 4, 1);
/// assert_eq!(coefficients[0], 2.0);
/// assert!(coefficients[1].abs() < 1e-7);
/// ```
pub fn transform_columns(matrix: &[f32], input: &[f32], inputs: usize, cols: usize) -> Vec<f32> {
    assert_eq!(input.len(), inputs * cols, "a matrix of {inputs} x {cols}");
    let mut output = vec![0.0; matrix.len() / inputs * cols];
    if cols == 0 {
        return output;
    }
    // The first coefficient is a long sum of similar numbers, which loses digits in f32: sum a few rows in f32, then in f64.
    const ROWS: usize = 8;
    const COLS: usize = 32;
    for (weights, out) in matrix.chunks_exact(inputs).zip(output.chunks_exact_mut(cols)) {
        for (tile, out) in out.chunks_mut(COLS).enumerate() {
            let span = tile * COLS..tile * COLS + out.len();
            let mut sums = [0.0f64; COLS];
            for (weights, rows) in weights.chunks(ROWS).zip(input.chunks(ROWS * cols)) {
                let mut partial = [0.0f32; COLS];
                for (&weight, row) in weights.iter().zip(rows.chunks_exact(cols)) {
                    for (partial, &value) in partial.iter_mut().zip(&row[span.clone()]) {
                        *partial += weight * value;
                    }
                }
                for (sum, partial) in sums.iter_mut().zip(partial) {
                    *sum += f64::from(partial);
                }
            }
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = sum as f32;
            }
        }
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_output_is_the_sum_over_cosines(
            column in prop::collection::vec(-100.0f32..100.0, 1..200),
            outputs in 1usize..40,
        ) {
            let n = column.len();
            let outputs = outputs.min(n);
            let fast = transform_columns(&matrix(outputs, n), &column, n, 1);
            for (k, value) in fast.iter().enumerate() {
                let mut sum = 0.0;
                for (i, &x) in column.iter().enumerate() {
                    sum += 2.0 * f64::from(x) * (PI * k as f64 * (2.0 * i as f64 + 1.0) / (2.0 * n as f64)).cos();
                }
                sum *= if k == 0 { (1.0 / (4.0 * n as f64)).sqrt() } else { (1.0 / (2.0 * n as f64)).sqrt() };
                prop_assert!((f64::from(*value) - sum).abs() < 1e-3, "{value} is not {sum}");
            }
        }

        #[test]
        fn the_full_transform_keeps_the_energy_of_every_column(
            rows in 1usize..24, cols in 1usize..70, seed in any::<u32>(),
        ) {
            let input: Vec<f32> = (0..rows * cols)
                .map(|i| ((i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8) as f32 / (1 << 24) as f32 - 0.5)
                .collect();
            let output = transform_columns(&matrix(rows, rows), &input, rows, cols);
            for c in 0..cols {
                let energy = |m: &[f32]| (0..rows).map(|r| m[r * cols + c].powi(2)).sum::<f32>();
                prop_assert!((energy(&input) - energy(&output)).abs() < 1e-5 * (1.0 + energy(&input)));
            }
        }
    }
}
