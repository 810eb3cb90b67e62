//! Eigenvalues and eigenvectors of a symmetric matrix: Householder's reduction to three diagonals, then QR steps with implicit
//! shifts (Golub and Van Loan, sections 8.3.1 and 8.3.3).

/// The most QR steps per eigenvalue; two are usual.
const MOST_STEPS: usize = 60;

/// The eigenvalues of a symmetric matrix of `n` rows, the largest first, and their eigenvectors of unit length, one per row.
pub fn symmetric_eigen(mut a: Vec<f64>, n: usize) -> (Vec<f64>, Vec<f64>) {
    assert_eq!(a.len(), n * n, "a square matrix");
    let (mut diagonal, mut beside) = (vec![0.0; n], vec![0.0; n]);
    // `a` becomes Q transposed: its rows are turned into eigenvectors.
    let reflectors = reduce(&mut a, n, &mut diagonal, &mut beside);
    let mut vectors = vec![0.0; n * n];
    (0..n).for_each(|i| vectors[i * n + i] = 1.0);
    for (k, (reflector, factor)) in reflectors.iter().enumerate().rev() {
        // The rows of `vectors` are those of Q transposed; a reflector acts on their elements from k + 1 on.
        for row in vectors.chunks_exact_mut(n) {
            let row = &mut row[k + 1..];
            let share = factor * row.iter().zip(reflector).map(|(x, v)| x * v).sum::<f64>();
            if share != 0.0 {
                row.iter_mut().zip(reflector).for_each(|(x, v)| *x -= share * v);
            }
        }
    }
    diagonalize(&mut diagonal, &mut beside, &mut vectors, n);
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| diagonal[j].total_cmp(&diagonal[i]));
    let sorted = order.iter().flat_map(|&i| vectors[i * n..(i + 1) * n].to_vec()).collect();
    (order.iter().map(|&i| diagonal[i]).collect(), sorted)
}

/// Reduces the matrix to three diagonals: `beside[i]` is the element of rows i - 1 and i. Returns the reflectors with their
/// factors; the k-th acts on the elements from k + 1 on.
fn reduce(a: &mut [f64], n: usize, diagonal: &mut [f64], beside: &mut [f64]) -> Vec<(Vec<f64>, f64)> {
    let mut reflectors = Vec::new();
    for k in 0..n.saturating_sub(1) {
        let mut v: Vec<f64> = a[k * n + k + 1..(k + 1) * n].to_vec();
        let length = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        let rest: f64 = v[1..].iter().map(|x| x * x).sum();
        diagonal[k] = a[k * n + k];
        if rest == 0.0 {
            beside[k + 1] = v[0];
            reflectors.push((v, 0.0));
            continue;
        }
        let alpha = if v[0] > 0.0 { -length } else { length };
        beside[k + 1] = alpha;
        v[0] -= alpha;
        let factor = 2.0 / v.iter().map(|x| x * x).sum::<f64>();
        // p = factor A v, w = p - (factor pᵀv / 2) v, A -= v wᵀ + w vᵀ, over the rows and columns from k + 1 on.
        let mut w: Vec<f64> = (k + 1..n)
            .map(|i| factor * a[i * n + k + 1..(i + 1) * n].iter().zip(&v).map(|(x, v)| x * v).sum::<f64>())
            .collect();
        let share = 0.5 * factor * w.iter().zip(&v).map(|(p, v)| p * v).sum::<f64>();
        w.iter_mut().zip(&v).for_each(|(w, v)| *w -= share * v);
        for (i, (vi, wi)) in v.iter().zip(&w).enumerate() {
            let row = &mut a[(k + 1 + i) * n + k + 1..(k + 2 + i) * n];
            for ((x, vj), wj) in row.iter_mut().zip(&v).zip(&w) {
                *x -= vi * wj + wi * vj;
            }
        }
        reflectors.push((v, factor));
    }
    if n > 0 {
        diagonal[n - 1] = a[n * n - 1];
    }
    reflectors
}

/// QR steps with Wilkinson's shift until nothing is left beside the diagonal; `vectors` has a row per eigenvector.
fn diagonalize(diagonal: &mut [f64], beside: &mut [f64], vectors: &mut [f64], n: usize) {
    let mut end = n;
    let mut steps = 0;
    while end > 1 {
        let is_zero = |diagonal: &[f64], beside: &[f64], i: usize| {
            beside[i].abs() <= f64::EPSILON * (diagonal[i - 1].abs() + diagonal[i].abs())
        };
        if is_zero(diagonal, beside, end - 1) || steps == MOST_STEPS {
            beside[end - 1] = 0.0;
            end -= 1;
            steps = 0;
            continue;
        }
        steps += 1;
        let start = (1..end - 1).rev().find(|&i| is_zero(diagonal, beside, i)).unwrap_or(0);
        let half = 0.5 * (diagonal[end - 2] - diagonal[end - 1]);
        let square = beside[end - 1] * beside[end - 1];
        let shift = diagonal[end - 1] - square / (half + half.hypot(beside[end - 1]).copysign(half));
        let (mut x, mut z) = (diagonal[start] - shift, beside[start + 1]);
        for k in start..end - 1 {
            let length = x.hypot(z);
            let (c, s) = if length == 0.0 { (1.0, 0.0) } else { (x / length, z / length) };
            if k > start {
                beside[k] = length;
            }
            let (d, e, next) = (diagonal[k], beside[k + 1], diagonal[k + 1]);
            diagonal[k] = c * c * d + 2.0 * c * s * e + s * s * next;
            diagonal[k + 1] = s * s * d - 2.0 * c * s * e + c * c * next;
            beside[k + 1] = c * s * (next - d) + (c * c - s * s) * e;
            if k + 2 < end {
                x = beside[k + 1];
                z = s * beside[k + 2];
                beside[k + 2] *= c;
            }
            let (upper, lower) = vectors.split_at_mut((k + 1) * n);
            for (a, b) in upper[k * n..].iter_mut().zip(&mut lower[..n]) {
                (*a, *b) = (c * *a + s * *b, c * *b - s * *a);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn vectors_are_orthonormal_and_the_matrix_only_scales_them(
            n in 1usize..14, numbers in prop::collection::vec(-4i8..5, 196), zeros: bool,
        ) {
            let mut a = vec![0.0; n * n];
            for i in 0..n {
                for j in 0..=i {
                    let x = if zeros && (i + j) % 3 > 0 { 0.0 } else { f64::from(numbers[i * 14 + j]) };
                    (a[i * n + j], a[j * n + i]) = (x, x);
                }
            }
            let (values, vectors) = symmetric_eigen(a.clone(), n);
            prop_assert!(values.is_sorted_by(|a, b| a >= b));
            for (i, v) in vectors.chunks_exact(n).enumerate() {
                for (j, w) in vectors.chunks_exact(n).enumerate() {
                    let dot: f64 = v.iter().zip(w).map(|(a, b)| a * b).sum();
                    prop_assert!((dot - f64::from(u8::from(i == j))).abs() < 1e-12, "{i} {j}: {dot}");
                }
                for (row, x) in a.chunks_exact(n).zip(v) {
                    let product: f64 = row.iter().zip(v).map(|(a, b)| a * b).sum();
                    prop_assert!((product - values[i] * x).abs() < 1e-11, "{product} {}", values[i] * x);
                }
            }
        }
    }
}
