//! Signal processing: pure functions over slices of samples.
//!
//! There are two layouts. A spectrogram is frame-major: the bins of a frame are contiguous, as the transform writes them and
//! the filters read them. A feature matrix is band-major: a row per band, a column per frame, as in librosa.

pub mod acoustic_fingerprint;
pub mod window;
pub mod stft;
pub mod mel;
pub mod dct;
pub mod decibel;
pub mod resize;
pub mod vocoder;
pub mod level;
pub mod noise;
pub mod iir;
pub mod loudness;
pub mod convolve;
pub mod room;
pub mod dynamics;
pub mod modulation;
pub mod codec;
pub mod cqt;
pub mod hpss;
pub mod pcen;
pub mod rate_reduction;
pub mod key;
pub mod tempo;

/// Transposes `rows` × `cols` (row-major) to `cols` × `rows`.
///
/// ```
/// assert_eq!(timbre_signal::dsp::transpose(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, 3), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
/// ```
pub fn transpose(input: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    assert_eq!(input.len(), rows * cols, "a matrix of {rows} x {cols}");
    // Square tiles through a small buffer read and write whole cache lines, and rows whose length is near a power of two
    // (n_fft / 2 + 1 bins) do not evict each other from the cache.
    const TILE: usize = 16;
    let mut output = vec![0.0; input.len()];
    let mut tile = [[0.0f32; TILE]; TILE];
    for row in (0..rows).step_by(TILE) {
        let high = TILE.min(rows - row);
        for col in (0..cols).step_by(TILE) {
            let wide = TILE.min(cols - col);
            for (r, line) in input[row * cols..].chunks_exact(cols).take(high).enumerate() {
                for (values, &value) in tile.iter_mut().zip(&line[col..col + wide]) {
                    values[r] = value;
                }
            }
            for (c, values) in tile[..wide].iter().enumerate() {
                let start = (col + c) * rows + row;
                output[start..start + high].copy_from_slice(&values[..high]);
            }
        }
    }
    output
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_transposed_matrix_mirrors_every_value(rows in 1usize..40, cols in 1usize..40) {
            let input: Vec<f32> = (0..rows * cols).map(|i| i as f32).collect();
            let output = super::transpose(&input, rows, cols);
            for r in 0..rows {
                for c in 0..cols {
                    prop_assert_eq!(output[c * rows + r], input[r * cols + c]);
                }
            }
        }
    }
}
