//! Initial weights: every tensor is drawn from its own seed, named after its path. They are the same on every backend, with any
//! number of threads, and whatever else the network contains.
//!
//! Values are drawn in the order of PyTorch's layout, in f64 and with `libm`'s functions, so they are the same on every machine.
//! They follow PyTorch's distributions but not its generator: a PyTorch seed gives other numbers.

use rayon::prelude::*;

use super::Network;
use super::state_dict::{Parameter, map_values};
use timbre_core::seed::{Seed, uniform};

/// The distribution from which a tensor is initialized.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum InitDistribution {
    Constant(f64),
    /// Uniform between minus and plus this value.
    Uniform(f64),
    /// Normal with mean zero and this standard deviation.
    Normal(f64),
    /// This number of square matrices stacked vertically, each orthogonal.
    Orthogonal(usize),
}

/// The fan-in and fan-out of the layer that a tensor belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Fans {
    pub inputs: usize,
    pub outputs: usize,
}

impl Fans {
    /// The fans of weights `[out, in, kernel…]`.
    fn of(shape: &[usize]) -> Fans {
        let kernel: usize = shape[2..].iter().product();
        Fans { inputs: shape[1] * kernel, outputs: shape[0] * kernel }
    }
}

/// The distribution of a tensor, by its name and the fans of its layer. It is not called for batch norms.
pub type InitRule = fn(&str, Fans) -> InitDistribution;

/// `kaiming_normal_(mode="fan_out")` for weights and zero for biases.
pub fn he_fan_out(name: &str, fans: Fans) -> InitDistribution {
    if is_bias(name) {
        InitDistribution::Constant(0.0)
    } else {
        InitDistribution::Normal((2.0 / fans.outputs as f64).sqrt())
    }
}

/// `kaiming_normal_(mode="fan_in")` for weights and zero for biases.
pub fn he_fan_in(name: &str, fans: Fans) -> InitDistribution {
    if is_bias(name) {
        InitDistribution::Constant(0.0)
    } else {
        InitDistribution::Normal((2.0 / fans.inputs as f64).sqrt())
    }
}

/// PyTorch's default for weights and biases.
pub fn torch_default(_: &str, fans: Fans) -> InitDistribution {
    InitDistribution::Uniform(1.0 / (fans.inputs as f64).sqrt())
}

/// Keras's default: Glorot uniform for weights and zero for biases.
pub fn glorot_uniform(name: &str, fans: Fans) -> InitDistribution {
    if is_bias(name) {
        InitDistribution::Constant(0.0)
    } else {
        InitDistribution::Uniform((6.0 / (fans.inputs + fans.outputs) as f64).sqrt())
    }
}

fn is_bias(name: &str) -> bool {
    name.rsplit('.').next().is_some_and(|last| last.starts_with("bias"))
}

/// The network with its initial weights.
pub fn initialize(network: Network, seed: Seed, rule: InitRule) -> Network {
    let mut layer = String::new();
    let mut fans = None;
    map_values(network, |Parameter { name, shape }| {
        let (of, last) = name.rsplit_once('.').unwrap_or(("", name));
        if of != layer {
            of.clone_into(&mut layer);
            fans = None;
        }
        if shape.len() > 1 {
            fans = Some(Fans::of(shape));
        }
        let distribution = match (fans, last) {
            (Some(fans), _) => rule(name, fans),
            // A layer without matrices is a batch norm.
            (None, "weight" | "running_var") => InitDistribution::Constant(1.0),
            (None, _) => InitDistribution::Constant(0.0),
        };
        draw(distribution, shape, seed.child(name))
    })
}

/// Values per random generator: enough to keep a core busy, few enough to spread a matrix over all cores.
const BLOCK: usize = 1 << 16;

fn draw(distribution: InitDistribution, shape: &[usize], seed: Seed) -> Vec<f32> {
    let count = shape.iter().product();
    match distribution {
        InitDistribution::Constant(value) => vec![value as f32; count],
        InitDistribution::Uniform(limit) => {
            for_each_block(count, seed, |rng| [(), ()].map(|()| (2.0 * uniform(rng) - 1.0) * limit))
        }
        InitDistribution::Normal(deviation) => {
            for_each_block(count, seed, |rng| normal_pair(rng).map(|value| value * deviation))
        }
        InitDistribution::Orthogonal(matrices) => {
            let size = shape[1];
            assert_eq!(shape[0], matrices * size, "square matrices stacked vertically");
            (0..matrices).flat_map(|number| orthogonal(size, seed.child(number))).collect()
        }
    }
}

fn for_each_block(
    count: usize,
    seed: Seed,
    pair: impl Fn(&mut rand_chacha::ChaCha8Rng) -> [f64; 2] + Sync,
) -> Vec<f32> {
    let mut values = vec![0.0; count];
    values.par_chunks_mut(BLOCK).enumerate().for_each(|(number, block)| {
        let mut rng = seed.child(number).rng();
        for two in block.chunks_mut(2) {
            two.iter_mut().zip(pair(&mut rng)).for_each(|(value, drawn)| *value = drawn as f32);
        }
    });
    values
}

/// Two normal values by the Box–Muller transform.
fn normal_pair(rng: &mut rand_chacha::ChaCha8Rng) -> [f64; 2] {
    // 1 − u is never zero.
    let radius = (-2.0 * libm::log(1.0 - uniform(rng))).sqrt();
    let angle = std::f64::consts::TAU * uniform(rng);
    [radius * libm::cos(angle), radius * libm::sin(angle)]
}

/// An orthogonal matrix: Gram–Schmidt, applied twice to each row of normal numbers.
fn orthogonal(size: usize, seed: Seed) -> Vec<f32> {
    let mut rng = seed.rng();
    let mut rows: Vec<Vec<f64>> = Vec::with_capacity(size);
    while rows.len() < size {
        let mut row: Vec<f64> = (0..size.div_ceil(2)).flat_map(|_| normal_pair(&mut rng)).take(size).collect();
        for _ in 0..2 {
            for other in &rows {
                let along: f64 = row.iter().zip(other).map(|(a, b)| a * b).sum();
                row.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
            }
        }
        let length = row.iter().map(|a| a * a).sum::<f64>().sqrt();
        // A row in the span of the others is drawn again.
        if length > 1e-6 {
            rows.push(row.into_iter().map(|a| a / length).collect());
        }
    }
    rows.into_iter().flatten().map(|value| value as f32).collect()
}
