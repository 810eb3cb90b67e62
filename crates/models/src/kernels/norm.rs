//! Batch norm of channels-last images, followed by an optional residual addition and ReLU.
//!
//! The variance is that of the batch, divided by the number of pixels; for running statistics it must be made unbiased, as
//! PyTorch does. Sums over pixels are f32 within a part of a few hundred pixels, taken around the part's own mean, and f64 over
//! the parts.

use rayon::prelude::*;

use super::images::Images;
use super::simd::{Kernel, Vector, on_best};

/// Values of a part: its two or three factors stay in the second-level cache.
const PART: usize = 16 << 10;

/// Mean and variance of every channel.
pub struct Statistics {
    pub mean: Vec<f32>,
    pub variance: Vec<f32>,
}

pub fn statistics(x: &Images) -> Statistics {
    let channels = x.channels;
    let parts: Vec<(usize, Vec<f32>, Vec<f32>)> = x
        .values
        .par_chunks(part_size(channels))
        .map(|part_size| {
            let (means, squares) = on_best(channels, Moments { part_size, channels });
            (part_size.len() / channels, means, squares)
        })
        .collect();
    let (mut count, mut mean, mut squares) = (0.0, vec![0.0f64; channels], vec![0.0f64; channels]);
    for (pixels, means, more) in &parts {
        let pixels = *pixels as f64;
        let together: f64 = count + pixels;
        for channel in 0..channels {
            let apart = f64::from(means[channel]) - mean[channel];
            squares[channel] += f64::from(more[channel]) + apart * apart * count * pixels / together;
            mean[channel] += apart * pixels / together;
        }
        count = together;
    }
    Statistics {
        mean: mean.iter().map(|&mean| mean as f32).collect(),
        variance: squares.iter().map(|&squares| (squares / count) as f32).collect(),
    }
}

fn part_size(channels: usize) -> usize {
    (PART / channels).max(1) * channels
}

/// The factor and the term that batch norm applies to each channel.
pub struct Affine {
    pub factor: Vec<f32>,
    pub term: Vec<f32>,
}

impl Affine {
    pub fn new(gamma: &[f32], beta: &[f32], statistics: &Statistics, epsilon: f64) -> Affine {
        let channels = 0..gamma.len();
        let factor: Vec<f32> =
            channels.clone().map(|c| gamma[c] * inverse_deviation(statistics.variance[c], epsilon)).collect();
        let term = channels.map(|c| beta[c] - statistics.mean[c] * factor[c]).collect();
        Affine { factor, term }
    }
}

/// One over the standard deviation.
fn inverse_deviation(variance: f32, epsilon: f64) -> f32 {
    (1.0 / (f64::from(variance) + epsilon).sqrt()) as f32
}

/// `affine(x) + shortcut`, clamped at zero if `relu`.
pub fn apply(x: &Images, affine: &Affine, shortcut: Option<&Images>, relu: bool) -> Vec<f32> {
    let channels = x.channels;
    let mut out = vec![0.0; x.values.len()];
    let size = part_size(channels);
    out.par_chunks_mut(size).enumerate().for_each(|(nth, out)| {
        let here = nth * size..nth * size + out.len();
        let shortcut = shortcut.map(|shortcut| &shortcut.values[here.clone()]);
        on_best(channels, Apply { x: &x.values[here], affine, shortcut, relu, out });
    });
    out
}

/// The gradients through [`apply`] with the statistics of the batch.
pub struct Gradients {
    pub x: Vec<f32>,
    pub gamma: Vec<f32>,
    pub beta: Vec<f32>,
    /// The gradient of the shortcut, if a ReLU changed it.
    pub shortcut: Option<Vec<f32>>,
}

/// `y` is the output, if it has a ReLU.
pub fn gradients(
    dy: &Images,
    x: &Images,
    y: Option<&Images>,
    gamma: &[f32],
    statistics: &Statistics,
    epsilon: f64,
    with_shortcut: bool,
) -> Gradients {
    let (channels, size) = (x.channels, part_size(x.channels));
    let mean = &statistics.mean;
    let part = |images: &Images<'_>, nth: usize| -> std::ops::Range<usize> {
        nth * size..(nth * size + size).min(images.values.len())
    };
    let parts: Vec<(Vec<f32>, Vec<f32>)> = (0..x.values.len().div_ceil(size))
        .into_par_iter()
        .map(|nth| {
            let here = part(x, nth);
            let (dy, x) = (&dy.values[here.clone()], &x.values[here.clone()]);
            on_best(channels, Sums { dy, x, y: y.map(|y| &y.values[here]), mean })
        })
        .collect();
    let (mut sums, mut products) = (vec![0.0f64; channels], vec![0.0f64; channels]);
    for (more_sums, more_products) in &parts {
        for channel in 0..channels {
            sums[channel] += f64::from(more_sums[channel]);
            products[channel] += f64::from(more_products[channel]);
        }
    }
    let pixels = x.pixels() as f64;
    let inverse_deviation: Vec<f32> =
        statistics.variance.iter().map(|&variance| inverse_deviation(variance, epsilon)).collect();
    let factor: Vec<f32> = (0..channels).map(|c| gamma[c] * inverse_deviation[c]).collect();
    let tilt: Vec<f32> = (0..channels)
        .map(|c| (-f64::from(factor[c]) * f64::from(inverse_deviation[c]).powi(2) * products[c] / pixels) as f32)
        .collect();
    let term: Vec<f32> = (0..channels).map(|c| (-f64::from(factor[c]) * sums[c] / pixels) as f32).collect();

    let mut dx = vec![0.0; x.values.len()];
    let mut shortcut = if with_shortcut && y.is_some() { vec![0.0; x.values.len()] } else { Vec::new() };
    let write = |nth: usize, dx: &mut [f32], shortcut: &mut [f32]| {
        let here = part(x, nth);
        let (dy, x) = (&dy.values[here.clone()], &x.values[here.clone()]);
        let y = y.map(|y| &y.values[here]);
        on_best(channels, Backward { dy, x, y, mean, factor: &factor, tilt: &tilt, term: &term, dx, shortcut });
    };
    if shortcut.is_empty() {
        dx.par_chunks_mut(size).enumerate().for_each(|(nth, dx)| write(nth, dx, &mut []));
    } else {
        let both = dx.par_chunks_mut(size).zip(shortcut.par_chunks_mut(size)).enumerate();
        both.for_each(|(nth, (dx, shortcut))| write(nth, dx, shortcut));
    }
    Gradients {
        x: dx,
        gamma: (0..channels).map(|c| (products[c] * f64::from(inverse_deviation[c])) as f32).collect(),
        beta: sums.iter().map(|&sum| sum as f32).collect(),
        shortcut: (!shortcut.is_empty()).then_some(shortcut),
    }
}

struct Moments<'a> {
    part_size: &'a [f32],
    channels: usize,
}

impl Kernel for Moments<'_> {
    /// Means, and sums of squared distances from them.
    type Result = (Vec<f32>, Vec<f32>);

    #[inline(always)]
    fn with<V: Vector, const P: usize>(self) -> (Vec<f32>, Vec<f32>) {
        let (mut means, mut squares) = (vec![0.0; self.channels], vec![0.0; self.channels]);
        for pixel in self.part_size.chunks_exact(self.channels) {
            for (sum, &x) in means.iter_mut().zip(pixel) {
                *sum += x;
            }
        }
        let share = 1.0 / (self.part_size.len() / self.channels) as f32;
        means.iter_mut().for_each(|sum| *sum *= share);
        for pixel in self.part_size.chunks_exact(self.channels) {
            for ((sum, &mean), &x) in squares.iter_mut().zip(&means).zip(pixel) {
                *sum += (x - mean) * (x - mean);
            }
        }
        (means, squares)
    }
}

struct Apply<'a> {
    x: &'a [f32],
    affine: &'a Affine,
    shortcut: Option<&'a [f32]>,
    relu: bool,
    out: &'a mut [f32],
}

impl Kernel for Apply<'_> {
    type Result = ();

    #[inline(always)]
    fn with<V: Vector, const P: usize>(self) {
        let (factor, term) = (&self.affine.factor[..], &self.affine.term[..]);
        let floor = if self.relu { 0.0 } else { f32::NEG_INFINITY };
        let pixels = self.out.chunks_exact_mut(factor.len()).zip(self.x.chunks_exact(factor.len()));
        match self.shortcut {
            None => {
                for (out, x) in pixels {
                    for c in 0..factor.len() {
                        let value = x[c] * factor[c] + term[c];
                        // NaN stays NaN: the reverse comparison would hide it.
                        out[c] = if value < floor { floor } else { value };
                    }
                }
            }
            Some(shortcut) => {
                for ((out, x), shortcut) in pixels.zip(shortcut.chunks_exact(factor.len())) {
                    for c in 0..factor.len() {
                        let value = x[c] * factor[c] + term[c] + shortcut[c];
                        out[c] = if value < floor { floor } else { value };
                    }
                }
            }
        }
    }
}

struct Sums<'a> {
    dy: &'a [f32],
    x: &'a [f32],
    y: Option<&'a [f32]>,
    mean: &'a [f32],
}

impl Kernel for Sums<'_> {
    /// The sums of the gradient, and of its products with the distance from the mean.
    type Result = (Vec<f32>, Vec<f32>);

    #[inline(always)]
    fn with<V: Vector, const P: usize>(self) -> (Vec<f32>, Vec<f32>) {
        let channels = self.mean.len();
        let (mut sums, mut products) = (vec![0.0; channels], vec![0.0; channels]);
        let (sum, product) = (&mut sums[..channels], &mut products[..channels]);
        let pixels = self.dy.chunks_exact(channels).zip(self.x.chunks_exact(channels));
        match self.y {
            None => {
                for (dy, x) in pixels {
                    for c in 0..channels {
                        sum[c] += dy[c];
                        product[c] += dy[c] * (x[c] - self.mean[c]);
                    }
                }
            }
            Some(y) => {
                for ((dy, x), y) in pixels.zip(y.chunks_exact(channels)) {
                    for c in 0..channels {
                        let dy = if y[c] > 0.0 { dy[c] } else { 0.0 };
                        sum[c] += dy;
                        product[c] += dy * (x[c] - self.mean[c]);
                    }
                }
            }
        }
        (sums, products)
    }
}

struct Backward<'a> {
    dy: &'a [f32],
    x: &'a [f32],
    y: Option<&'a [f32]>,
    mean: &'a [f32],
    factor: &'a [f32],
    tilt: &'a [f32],
    term: &'a [f32],
    dx: &'a mut [f32],
    shortcut: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Result = ();

    #[inline(always)]
    fn with<V: Vector, const P: usize>(self) {
        let channels = self.mean.len();
        let (mean, factor) = (self.mean, &self.factor[..channels]);
        let (tilt, term) = (&self.tilt[..channels], &self.term[..channels]);
        let pixels =
            self.dx.chunks_exact_mut(channels).zip(self.dy.chunks_exact(channels)).zip(self.x.chunks_exact(channels));
        match self.y {
            None => {
                for ((dx, dy), x) in pixels {
                    for c in 0..channels {
                        dx[c] = dy[c] * factor[c] + (x[c] - mean[c]) * tilt[c] + term[c];
                    }
                }
            }
            Some(y) if self.shortcut.is_empty() => {
                for (((dx, dy), x), y) in pixels.zip(y.chunks_exact(channels)) {
                    for c in 0..channels {
                        let dy = if y[c] > 0.0 { dy[c] } else { 0.0 };
                        dx[c] = dy * factor[c] + (x[c] - mean[c]) * tilt[c] + term[c];
                    }
                }
            }
            Some(y) => {
                let shortcuts = self.shortcut.chunks_exact_mut(channels);
                for ((((dx, dy), x), y), shortcut) in pixels.zip(y.chunks_exact(channels)).zip(shortcuts) {
                    for c in 0..channels {
                        let dy = if y[c] > 0.0 { dy[c] } else { 0.0 };
                        shortcut[c] = dy;
                        dx[c] = dy * factor[c] + (x[c] - mean[c]) * tilt[c] + term[c];
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::twins::*;
    use super::*;

    const EPSILON: f64 = 1e-5;

    /// Means and variances in f64 from the definition.
    fn slow_statistics(x: &Images) -> (Vec<f64>, Vec<f64>) {
        let of = |channel: usize| x.values[channel..].iter().step_by(x.channels).map(|&value| f64::from(value));
        let pixels = x.pixels() as f64;
        let means: Vec<f64> = (0..x.channels).map(|channel| of(channel).sum::<f64>() / pixels).collect();
        let squares = |channel: usize| of(channel).map(|value| (value - means[channel]).powi(2)).sum::<f64>();
        let variances = (0..x.channels).map(|channel| squares(channel) / pixels).collect();
        (means, variances)
    }

    #[test]
    fn means_far_from_zero_do_not_cost_precision_of_the_variance() {
        for shape in [[3, 40, 33, 64], [2, 5, 5, 7], [16, 1, 1, 512]] {
            let values: Vec<f32> = noise(shape.iter().product(), 1).iter().map(|value| value + 100.0).collect();
            let x = Images::new(&values, shape);
            let (ours, (means, variances)) = (statistics(&x), slow_statistics(&x));
            assert!(difference(&ours.mean, &means) < 1e-6);
            assert!(difference(&ours.variance, &variances) < 1e-5);
        }
    }

    /// In f64 from the definition: the output, and the gradients of x, gamma, beta and the shortcut.
    fn slow(shape: [usize; 4], relu: bool) -> [Vec<f64>; 5] {
        let (values, dy, shortcut) =
            (noise(shape.iter().product(), 1), noise(shape.iter().product(), 2), noise(shape.iter().product(), 3));
        let (gamma, beta) = (noise(shape[3], 4), noise(shape[3], 5));
        let x = Images::new(&values, shape);
        let (means, variances) = slow_statistics(&x);
        let (channels, pixels) = (shape[3], x.pixels() as f64);
        let mut found = [
            vec![0.0; values.len()],
            vec![0.0; values.len()],
            vec![0.0; channels],
            vec![0.0; channels],
            vec![0.0; values.len()],
        ];
        let inverse_deviation = |channel: usize| 1.0 / (variances[channel] + EPSILON).sqrt();
        let hat = |at: usize| (f64::from(values[at]) - means[at % channels]) * inverse_deviation(at % channels);
        for at in 0..values.len() {
            let channel = at % channels;
            let sum = hat(at) * f64::from(gamma[channel]) + f64::from(beta[channel]) + f64::from(shortcut[at]);
            let passes = !relu || sum > 0.0;
            found[0][at] = if passes { sum } else { 0.0 };
            found[4][at] = if passes { f64::from(dy[at]) } else { 0.0 };
            found[2][channel] += found[4][at] * hat(at);
            found[3][channel] += found[4][at];
        }
        for at in 0..values.len() {
            let channel = at % channels;
            let mean = (found[3][channel] + hat(at) * found[2][channel]) / pixels;
            found[1][at] = f64::from(gamma[channel]) * inverse_deviation(channel) * (found[4][at] - mean);
        }
        found
    }

    #[test]
    fn outputs_and_gradients_equal_their_definitions() {
        for (shape, relu) in
            [([3, 40, 33, 64], true), ([3, 40, 33, 64], false), ([2, 5, 5, 7], true), ([5, 1, 1, 40], false)]
        {
            let (values, dy, shortcut) =
                (noise(shape.iter().product(), 1), noise(shape.iter().product(), 2), noise(shape.iter().product(), 3));
            let (gamma, beta) = (noise(shape[3], 4), noise(shape[3], 5));
            let (x, dy, shortcut) =
                (Images::new(&values, shape), Images::new(&dy, shape), Images::new(&shortcut, shape));
            let statistics = statistics(&x);
            let out = apply(&x, &Affine::new(&gamma, &beta, &statistics, EPSILON), Some(&shortcut), relu);
            let y = relu.then(|| Images::new(&out, shape));
            let ours = gradients(&dy, &x, y.as_ref(), &gamma, &statistics, EPSILON, true);
            let slow = slow(shape, relu);
            assert!(difference(&out, &slow[0]) < 1e-6);
            assert!(difference(&ours.x, &slow[1]) < 1e-5);
            assert!(difference(&ours.gamma, &slow[2]) < 1e-5);
            assert!(difference(&ours.beta, &slow[3]) < 1e-5);
            assert_eq!(ours.shortcut.is_some(), relu, "without a ReLU the gradient passes unchanged");
            if let Some(shortcut) = ours.shortcut {
                assert!(difference(&shortcut, &slow[4]) < 1e-7);
            }
        }
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let shape = [3, 40, 33, 64];
        let (values, dy, gamma) = (noise(shape.iter().product(), 1), noise(shape.iter().product(), 2), noise(64, 3));
        let (x, dy) = (Images::new(&values, shape), Images::new(&dy, shape));
        ensure_same_on_any_number_of_threads(|| {
            let found = statistics(&x);
            let back = gradients(&dy, &x, None, &gamma, &found, EPSILON, false);
            (found.mean, found.variance, back.x, back.gamma, back.beta)
        });
    }
}
