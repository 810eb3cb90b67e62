//! Vectors of f32 for this processor: AVX-512, AVX2 with FMA, or arrays that the compiler vectorizes (NEON on ARM).
//!
//! A kernel is written once, generic over [`Vector`], and compiled for each. [`on_best`] runs the version for this processor.
//! Products of a panel keep `6 × P` sums in registers, where a panel is `P` vectors wide.

/// Several adjacent f32.
pub trait Vector: Copy + Send + Sync {
    const LANES: usize;

    fn splat(value: f32) -> Self;
    /// Loads the first lanes of a slice, which must be long enough.
    fn load(values: &[f32]) -> Self;
    fn store(self, values: &mut [f32]);
    /// `self * factor + term`.
    fn times_plus(self, factor: Self, term: Self) -> Self;
    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
}

/// A kernel that is compiled for every kind of vector.
pub trait Kernel {
    type Result;

    fn with<V: Vector, const P: usize>(self) -> Self::Result;
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Plain,
}

fn kind() -> Kind {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("fma") {
            return Kind::Avx512;
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Kind::Avx2;
        }
    }
    Kind::Plain
}

/// The number of columns of a panel on this processor for a matrix with `columns` columns: no more than needed.
pub fn panel_width(columns: usize) -> usize {
    struct Width;
    impl Kernel for Width {
        type Result = usize;

        fn with<V: Vector, const P: usize>(self) -> usize {
            P * V::LANES
        }
    }
    on_best(columns, Width)
}

/// Runs `kernel` with the widest vectors of this processor, and with panels that fit `columns` columns.
pub fn on_best<K: Kernel>(columns: usize, kernel: K) -> K::Result {
    match kind() {
        // SAFETY: `kind` checked that the processor has these instructions.
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 => unsafe { x86::on_avx512(columns, kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 => unsafe { x86::on_avx2(columns, kernel) },
        Kind::Plain if columns <= 4 => kernel.with::<Plain, 1>(),
        Kind::Plain => kernel.with::<Plain, 2>(),
    }
}

/// e to the power of `x`, for `x` of at most 88, with an error of about a unit in the last place; below -87 it stays at 1e-38. It has no
/// branches, so that the compiler can compute it for a whole vector inside a [`Kernel`].
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Adding it rounds to a whole number, which is then in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts, of which the first has so few bits that its products with whole numbers are exact.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    let x = if x < -87.0 { -87.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    let rest = x - whole * LN_2[0] - whole * LN_2[1];
    // The series of the exponential function: the rest is at most ln 2 / 2.
    let series = [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
    let power = series.into_iter().fold(0.0, |sum, factor| sum * rest + factor);
    power * f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()))
}

/// Four lanes without explicit instructions.
#[derive(Clone, Copy)]
pub struct Plain([f32; 4]);

impl Plain {
    #[inline(always)]
    fn zip(self, other: Self, of: impl Fn(f32, f32) -> f32) -> Self {
        Plain(std::array::from_fn(|i| of(self.0[i], other.0[i])))
    }
}

impl Vector for Plain {
    const LANES: usize = 4;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Plain([value; 4])
    }

    #[inline(always)]
    fn load(values: &[f32]) -> Self {
        Plain(std::array::from_fn(|i| values[i]))
    }

    #[inline(always)]
    fn store(self, values: &mut [f32]) {
        values[..4].copy_from_slice(&self.0);
    }

    #[inline(always)]
    fn times_plus(self, factor: Self, term: Self) -> Self {
        // Without the FMA instruction `mul_add` would call the C library.
        if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
            Plain(std::array::from_fn(|i| self.0[i].mul_add(factor.0[i], term.0[i])))
        } else {
            self.times(factor).plus(term)
        }
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }

    #[inline(always)]
    fn times(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Kernel, Vector};

    #[target_feature(enable = "avx512f,fma")]
    pub fn on_avx512<K: Kernel>(columns: usize, kernel: K) -> K::Result {
        match columns {
            0..=16 => kernel.with::<Avx512, 1>(),
            17..=32 => kernel.with::<Avx512, 2>(),
            _ => kernel.with::<Avx512, 4>(),
        }
    }

    #[target_feature(enable = "avx2,fma")]
    pub fn on_avx2<K: Kernel>(columns: usize, kernel: K) -> K::Result {
        match columns {
            0..=8 => kernel.with::<Avx2, 1>(),
            _ => kernel.with::<Avx2, 2>(),
        }
    }

    macro_rules! vector {
        ($name:ident($inner:ty), $lanes:literal, $splat:ident, $load:ident, $store:ident, $fma:ident, $add:ident, $sub:ident, $mul:ident) => {
            #[derive(Clone, Copy)]
            pub struct $name($inner);

            // SAFETY: only `on_best` uses this type, after checking that the processor has its instructions; loads and stores slice
            // the memory first.
            #[allow(clippy::undocumented_unsafe_blocks, reason = "the comment above covers every block")]
            impl Vector for $name {
                const LANES: usize = $lanes;

                #[inline(always)]
                fn splat(value: f32) -> Self {
                    unsafe { $name($splat(value)) }
                }

                #[inline(always)]
                fn load(values: &[f32]) -> Self {
                    unsafe { $name($load(values[..$lanes].as_ptr())) }
                }

                #[inline(always)]
                fn store(self, values: &mut [f32]) {
                    unsafe { $store(values[..$lanes].as_mut_ptr(), self.0) }
                }

                #[inline(always)]
                fn times_plus(self, factor: Self, term: Self) -> Self {
                    unsafe { $name($fma(self.0, factor.0, term.0)) }
                }

                #[inline(always)]
                fn plus(self, other: Self) -> Self {
                    unsafe { $name($add(self.0, other.0)) }
                }

                #[inline(always)]
                fn minus(self, other: Self) -> Self {
                    unsafe { $name($sub(self.0, other.0)) }
                }

                #[inline(always)]
                fn times(self, other: Self) -> Self {
                    unsafe { $name($mul(self.0, other.0)) }
                }
            }
        };
    }

    vector!(
        Avx512(__m512),
        16,
        _mm512_set1_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_fmadd_ps,
        _mm512_add_ps,
        _mm512_sub_ps,
        _mm512_mul_ps
    );
    vector!(
        Avx2(__m256),
        8,
        _mm256_set1_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_fmadd_ps,
        _mm256_add_ps,
        _mm256_sub_ps,
        _mm256_mul_ps
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_function_is_exact_to_a_few_units_in_the_last_place() {
        for i in -870_000..880_000 {
            let x = i as f32 / 10_000.0;
            let relative = f64::from(exp(x)) / f64::from(x).exp() - 1.0;
            assert!(relative.abs() < 3e-7, "{x}: {relative}");
        }
        assert!(exp(f32::NAN).is_nan() && exp(-1e30) < 1e-37 && exp(0.0) == 1.0);
    }
}
