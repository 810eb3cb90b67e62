//! Sums of the kernels: f32 within a part, f64 over the parts.

/// Sums side by side, so that the compiler can use vectors.
pub const LANES: usize = 16;

/// Sums `of(i)` over `0..len`, in an order that vectors can follow.
#[inline(always)]
pub fn sum(len: usize, of: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let whole = len - len % LANES;
    for start in (0..whole).step_by(LANES) {
        (0..LANES).for_each(|lane| lanes[lane] += of(start + lane));
    }
    (whole..len).for_each(|i| lanes[i - whole] += of(i));
    lanes.iter().sum()
}

/// The sums of rows of several parts.
pub fn over_parts<'a>(columns: usize, parts: impl Iterator<Item = &'a [f32]>) -> Vec<f32> {
    let mut sums = vec![0.0f64; columns];
    parts.for_each(|part| sums.iter_mut().zip(part).for_each(|(sum, &value)| *sum += f64::from(value)));
    sums.into_iter().map(|sum| sum as f32).collect()
}
