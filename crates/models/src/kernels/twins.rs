//! Slow reference implementations of the kernels in f64, and the images to compare them on.

use super::images::{Images, Window};
use timbre_core::seed::{Seed, uniform};

/// From -1 to 1.
pub fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut rng = Seed::new(seed).rng();
    (0..len).map(|_| (2.0 * uniform(&mut rng) - 1.0) as f32).collect()
}

pub fn square(kernel: usize, stride: usize, padding: usize) -> Window {
    Window { kernel: [kernel; 2], stride: [stride; 2], padding: [padding; 2], dilation: [1; 2] }
}

/// A convolution to compare.
pub struct Case {
    pub shape: [usize; 4],
    pub out_channels: usize,
    pub window: Window,
}

impl Case {
    pub fn x(&self) -> Vec<f32> {
        noise(self.shape.iter().product(), 1)
    }

    pub fn weight(&self) -> Vec<f32> {
        noise(self.out_channels * self.shape[3] * self.window.taps(), 2)
    }

    pub fn out_shape(&self) -> [usize; 4] {
        let [height, width] = self.window.output(self.shape[1], self.shape[2]);
        [self.shape[0], height, width, self.out_channels]
    }

    pub fn dy(&self) -> Vec<f32> {
        noise(self.out_shape().iter().product(), 3)
    }
}

/// Convolutions with different blind spots: channels just below and above a vector, one pixel, few rows, long kernels.
pub fn cases() -> Vec<Case> {
    let uneven = Window { kernel: [3, 2], stride: [2, 1], padding: [1, 2], dilation: [2, 3] };
    let mut cases = vec![
        Case { shape: [2, 17, 12, 1], out_channels: 64, window: square(7, 2, 3) },
        Case { shape: [2, 9, 12, 64], out_channels: 64, window: square(1, 2, 0) },
        Case { shape: [2, 17, 12, 32], out_channels: 48, window: uneven },
        Case { shape: [1, 1, 1, 64], out_channels: 5, window: square(3, 1, 1) },
        Case { shape: [3, 40, 33, 64], out_channels: 64, window: square(3, 1, 1) },
        Case { shape: [2, 6, 5, 64], out_channels: 128, window: square(3, 1, 0) },
        Case { shape: [2, 6, 9, 128], out_channels: 80, window: square(3, 1, 2) },
        Case { shape: [2, 8, 9, 2], out_channels: 3, window: square(5, 3, 2) },
    ];
    for [inputs, outputs] in [[1, 16], [3, 5], [16, 32], [20, 70], [64, 64], [130, 67]] {
        for stride in [1, 2] {
            let window = square(3, stride, 1);
            cases.push(Case { shape: [2, 11, 7, inputs], out_channels: outputs, window });
        }
    }
    cases
}

/// Calls with the indices of the factors of each product: in the output, in the input, in the weight.
fn each_product(case: &Case, mut call: impl FnMut(usize, usize, usize)) {
    let ([count, height, width, outputs], inputs) = (case.out_shape(), case.shape[3]);
    let values = case.x();
    let (x, window, taps) = (Images::new(&values, case.shape), case.window, case.window.taps());
    for pixel in 0..count * height * width {
        let (image, row, column) = (pixel / (height * width), pixel / width % height, pixel % width);
        for tap in 0..taps {
            let [down, right] = window.offset(tap);
            let row = (row * window.stride[0]) as isize + down;
            let column = (column * window.stride[1]) as isize + right;
            let Some(at) = x.at(image, row, column) else { continue };
            for output in 0..outputs {
                for input in 0..inputs {
                    call(pixel * outputs + output, at + input, (output * inputs + input) * taps + tap);
                }
            }
        }
    }
}

pub fn slow_forward(case: &Case) -> Vec<f64> {
    let (x, weight) = (case.x(), case.weight());
    let mut out = vec![0.0; case.out_shape().iter().product()];
    each_product(case, |o, i, w| out[o] += f64::from(x[i]) * f64::from(weight[w]));
    out
}

pub fn slow_input_gradient(case: &Case) -> Vec<f64> {
    let (dy, weight) = (case.dy(), case.weight());
    let mut gradient = vec![0.0; case.shape.iter().product()];
    each_product(case, |o, i, w| gradient[i] += f64::from(dy[o]) * f64::from(weight[w]));
    gradient
}

pub fn slow_weight_gradient(case: &Case) -> Vec<f64> {
    let (dy, x) = (case.dy(), case.x());
    let mut gradient = vec![0.0; case.weight().len()];
    each_product(case, |o, i, w| gradient[w] += f64::from(dy[o]) * f64::from(x[i]));
    gradient
}

/// The largest difference, as a share of the largest value.
pub fn difference(ours: &[f32], theirs: &[f64]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let largest = theirs.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    let difference = ours.iter().zip(theirs).map(|(&a, &b)| (f64::from(a) - b).abs());
    difference.fold(0.0, |worst, d| if d > worst || d.is_nan() { d } else { worst }) / largest
}

/// Checks that `run` gives the same result on one thread and on many.
pub fn ensure_same_on_any_number_of_threads<T: PartialEq + Send>(run: impl Fn() -> T + Sync) {
    let on = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(&run);
    let alone = on(1);
    assert!([2, 5].into_iter().all(|threads| on(threads) == alone), "the number of threads changed a bit");
}
